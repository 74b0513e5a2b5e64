(ns temse.restart-mta-test
  "Mail through real MTAs, about 50 a second, while the process of the filter is restarted and killed: no
  connection is refused in a restart, and no mail is lost, unfiltered, or delivered twice. What a kill
  defers was open then, and comes through when it is sent again.

  TEMSE_CASES is how many mails each way to restart gets at least (default: 80). Every 500 of them meet a
  restart, and every 1,000 a kill where there are kills. TEMSE_COMMAND is what serves them, such as bin/temse:
  without it, a program that starts quickly."
  (:require
   [clojure.java.io :as io]
   [clojure.set :as set]
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [temse.harness.mta :as mta]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.runner :as runner]
   [temse.support :as support])
  (:import
   (java.io Closeable File)
   (java.lang ProcessBuilder$Redirect ProcessHandle)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.util List)
   (java.util.concurrent ConcurrentLinkedQueue TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private mails
  "Of each way to restart, for all MTAs together."
  (parse-long (or (System/getenv "TEMSE_CASES") "80")))

(def ^:private restarts
  (max 2 (quot (long mails) 500)))

(def ^:private kills
  (max 1 (quot (long mails) 1000)))

(def ^:private mails-a-second 50)

(def ^:private clients-of-an-mta 6)

(def ^:private mails-of-a-session 5)

;; ---- the filter's process

(defn- filter-text
  []
  (str "(require '[temse.action :as act])\n"
       "{:actions #{:add-header}\n"
       " :handlers {:end-of-message (fn [_ _] [(act/add-header \"X-Marked\" (str (.pid (java.lang.ProcessHandle/current)))) (act/accept)])}}\n"))

(defn- command
  "Returns the words that serve at an address and write a file with the number of the process."
  [^File directory address pid-file take-over?]
  (if-let [temse (System/getenv "TEMSE_COMMAND")]
    (let [file (io/file directory "mark.clj")]
      (spit file (filter-text))
      (cond-> [(str (.getAbsoluteFile (io/file temse))) "run" (str file) "--listen" address "--pid-file" (str pid-file)
               "--drain-timeout" "15"]
        (str/starts-with? address "unix:") (conj "--socket-permissions" "0666")
        take-over? (conj "--take-over")))
    (cond-> [(str (io/file (System/getProperty "java.home") "bin" "java")) "-XX:TieredStopAtLevel=1"
             "-cp" (System/getProperty "java.class.path") "temse.restart.MarkingServer" address (str pid-file)]
      take-over? (conj "--take-over"))))

(defn- start-process
  "Starts a command. What it prints goes to a file."
  ^Process [words output]
  (-> (ProcessBuilder. ^List (vec words))
      (.redirectErrorStream true)
      (.redirectOutput (ProcessBuilder$Redirect/appendTo (io/file output)))
      (.start)))

(defn- await-number
  "Returns the number of the process that has written the file, as soon as it is another one than before."
  [pid-file before output]
  (let [end (+ (System/nanoTime) 60000000000)]
    (loop []
      (let [number (when (.exists (io/file pid-file)) (parse-long (str/trim (slurp pid-file))))]
        (cond
          (and number (not= before number)) number
          (< end (System/nanoTime)) (throw (ex-info (str "no filter has started\n" (slurp output)) {}))
          :else (do (Thread/sleep 10) (recur)))))))

(defn- signal
  [name number]
  (let [^List words ["kill" (str "-" name) (str number)]
        process (.start (ProcessBuilder. words))]
    (when-not (zero? (.waitFor process))
      (throw (ex-info "there is no such process" {:number number})))))

(defn- end
  "Ends a process, which may drain for 15 seconds."
  [^Process process]
  (.destroy (.toHandle process))
  (when-not (.waitFor process 60 TimeUnit/SECONDS)
    (.destroyForcibly process)
    (throw (ex-info "the filter does not end" {}))))

;; Ways to restart: maps of
;;   :title    what is done, for people
;;   :address  where the MTAs connect
;;   :start    a function that starts the filter
;;   :restart  a function that restarts it
;;   :kill     a function that kills it, and returns when another one serves; or nil
;;   :stop     a function that stops it for good

(defn- inet-address
  [port]
  {:postfix (str "inet:127.0.0.1:" port), :sendmail (str "inet:" port "@127.0.0.1")})

(defn- inherited
  "Has a filter served, and served again when it ends, at a socket that outlives it."
  [directory]
  (let [port (support/free-port)
        pid-file (io/file directory "inherited.pid")
        wanted (doto (io/file directory "wanted") (spit ""))
        output (io/file directory "inherited.log")
        supervisor (start-process (into ["systemd-socket-activate" "--inetd" "-l" (str "127.0.0.1:" port)
                                         "-E" "PATH" "-E" "JAVA_HOME" "-E" "LC_ALL=C.UTF-8"
                                         "/bin/sh" "-c" "while [ -e \"$0\" ]; do \"$@\" >&2; done" (str wanted)]
                                        (command directory "inherited" pid-file false))
                                  output)
        number (atom nil)
        await-next #(reset! number (await-number pid-file @number output))]
    {:title "inherited"
     :address (inet-address port)
     :start (fn []
              (support/await-true #(str/includes? (slurp output) "Listening on"))
              (.close (support/dial port))
              (await-next))
     :restart (fn [] (signal "TERM" @number) (await-next))
     :kill (fn [] (signal "KILL" @number) (await-next))
     :stop (fn []
             (io/delete-file wanted)
             (run! #(.destroy ^ProcessHandle %) (iterator-seq (.iterator (.descendants supervisor))))
             (when-not @number
               (.destroy supervisor))
             (.waitFor supervisor))}))

(defn- taken-over
  "Has a filter served at an address, by MTA, which the next one takes over before the present one is told to end."
  [directory address]
  (let [pid-file (io/file directory "taken-over.pid")
        output (io/file directory "taken-over.log")
        started (atom [])
        start (fn []
                (let [before (some-> ^Process (peek @started) .pid)]
                  (swap! started conj (start-process (command directory (:sendmail address) pid-file true) output))
                  (await-number pid-file before output)))]
    {:title (str "taken over, " (first (str/split (:sendmail address) #":")))
     :address address
     :start start
     :restart (fn []
                (let [before ^Process (peek @started)]
                  (start)
                  (end before)))
     :stop (fn [] (run! end @started))}))

;; ---- mail

(defn- number-source
  "Returns a function that returns the next number of a mail when it is due, nil when there are no more: one of
  those that were put back first. `more?` says whether there are to be more than were asked for."
  [^ConcurrentLinkedQueue back most more?]
  (let [begin (System/nanoTime)
        last-number (atom -1)
        interval (quot 2000000000 (long mails-a-second))]
    (fn []
      (or (.poll back)
          (when (or (< (inc (long @last-number)) (long most)) (more?))
            (let [number (long (swap! last-number inc))
                  wait (- (+ begin (* number interval)) (System/nanoTime))]
              (when (pos? wait)
                (Thread/sleep (quot wait 1000000) (rem wait 1000000)))
              number))))))

(defn- sent?
  "Sends a mail over a connection; returns whether it is accepted, and not deferred."
  [connection number]
  (let [{:keys [mail rcpt data message]} (smtp/transact connection {:headers [["Subject" (str " " number)]]})
        codes (mapv :code (remove nil? [mail (first rcpt) data message]))]
    (when-let [wrong (first (remove #{250 354 451 421} codes))]
      (throw (ex-info "the mail is refused" {:code wrong})))
    (= [250 250 354 250] codes)))

(defn- session
  "Sends mails of `next-number` in one session, until one is not accepted. Returns the numbers that were sent;
  :deferred is that one."
  [port next-number]
  (with-open [connection (smtp/connect {:port port})]
    (smtp/command connection "EHLO client.example.org")
    (loop [sent []]
      (if-let [number (when (< (count sent) (long mails-of-a-session)) (next-number))]
        (if (sent? connection number)
          (recur (conj sent number))
          {:sent sent, :deferred number})
        (do (smtp/command connection "QUIT")
            {:sent sent})))))

(defn- send-mails
  "Sends mails in sessions until there are no more, those that were deferred again. `open` is an atom of the ids of
  the sessions that are open. Returns [id result] of each session."
  [port most more? open ids]
  (let [back (ConcurrentLinkedQueue.)
        next-number (number-source back most more?)
        client (fn []
                 (loop [results []]
                   (if-let [number (next-number)]
                     (let [id (swap! ids inc)
                           first-one (atom number)]
                       (swap! open conj id)
                       (let [result (session port #(or (first (reset-vals! first-one nil)) (next-number)))]
                         (swap! open disj id)
                         (when-let [deferred (:deferred result)]
                           (.add back deferred))
                         (recur (conj results [id result]))))
                     results)))]
    (into [] (mapcat deref) (doall (repeatedly clients-of-an-mta #(future (client)))))))

(defn- number-and-mark
  [message]
  (let [field (into {} (sink/headers message))]
    [(parse-long (str/trim (field "Subject")))
     (some-> (field "X-Marked") str/trim)]))

(def ^:private mtas
  {:postfix {:title "Postfix", :unavailable postfix/unavailable, :start postfix/start
             :unreachable #"connect to Milter service .*"}
   :sendmail {:title "Sendmail", :unavailable sendmail/unavailable, :start sendmail/start
              :unreachable #"error connecting to filter.*|local socket name .*unsafe.*|error creating socket.*"}})

(defn- disturb
  "Restarts and kills the filter, each time after some more mails. Returns the ids of the sessions that were open
  when it was killed, a set."
  [{:keys [restart kill]} sinks open]
  (let [arrived #(transduce (map (fn [sink] (count @(:messages sink)))) + sinks)
        steps (concat (repeat restarts restart) (when kill (repeat kills kill)))
        between (quot (long mails) (inc (count steps)))]
    (reduce (fn [open-at-kills step]
              (let [enough (+ between (long (arrived)))
                    end (+ (System/nanoTime) 120000000000)]
                (while (< (long (arrived)) enough)
                  (when (< end (System/nanoTime))
                    (throw (ex-info "the mail has stopped" {:arrived (arrived)})))
                  (Thread/sleep 5))
                (let [opened (atom @open)]
                  (add-watch open ::kill (fn [_ _ _ now] (swap! opened into now)))
                  (step)
                  (remove-watch open ::kill)
                  (cond-> open-at-kills
                    (= kill step) (conj @opened)))))
            []
            steps)))

(defn- outcome
  "Sends mail through MTAs while a filter is restarted in some way. Returns what became of it by MTA."
  [way present]
  (let [sinks (into {} (map (fn [mta] [mta (sink/start)])) present)
        running (into {} (for [mta present
                               :let [{:keys [start]} (mtas mta)]]
                           [mta (start {:sink (sinks mta), :milters [(get-in way [:address mta])]})]))
        open (atom #{})
        ids (atom 0)
        over? (atom false)
        begin (System/nanoTime)]
    (try
      (let [sending (into {} (for [mta present]
                               [mta (future (send-mails (:port (running mta)) (quot (long mails) (count present))
                                                        #(not @over?) open ids))]))
            open-at-kills (try
                            (disturb way (vals sinks) open)
                            (finally (reset! over? true)))
            seconds (fn [] (/ (- (System/nanoTime) begin) 1e9))]
        (into {}
              (for [mta present
                    :let [{:keys [title unreachable]} (mtas mta)
                          sessions @(sending mta)
                          sent (into [] (mapcat (comp :sent second)) sessions)
                          sink (sinks mta)]]
                (do
                  (sink/await-message sink (fn [_] (<= (count sent) (count @(:messages sink)))) 120000)
                  (let [delivered (map number-and-mark @(:messages sink))
                        numbers (map first delivered)
                        unmarked (remove second delivered)
                        deferred (filter (comp :deferred second) sessions)
                        refused (vec (re-seq unreachable ((:log (running mta)))))]
                    (runner/say (format "  %s, %s: %d mails in %.0f s, %d sessions, of %d filters, %d restarts; %d connections refused, %d mails deferred, %d lost, %d unfiltered, %d twice"
                                        (:title way) title (count delivered) (seconds) (count sessions)
                                        (count (distinct (map second delivered))) restarts
                                        (count refused) (count deferred)
                                        (count (set/difference (set sent) (set numbers)))
                                        (count unmarked) (- (count numbers) (count (distinct numbers)))))
                    [mta {:sent (sort sent)
                          :delivered (sort numbers)
                          :unmarked unmarked
                          :filters (count (distinct (map second delivered)))
                          :deferred (set (map first deferred))
                          :open-at-kills (reduce set/union #{} open-at-kills)
                          :unreachable refused}])))))
      (finally
        (run! #(.close ^Closeable %) (concat (vals running) (vals sinks)))))))

(defn- present-mtas
  []
  (let [{missing true, present false} (group-by #(some? ((:unavailable (mtas %)))) (keys mtas))]
    (when (seq missing)
      (runner/skip! ((:unavailable (mtas (first missing))))))
    present))

(defn- with-way
  "Calls f with a way to restart that `start` makes of a directory."
  [start f]
  (let [directory (.toFile (Files/createTempDirectory "temse-restart-" (make-array FileAttribute 0)))]
    (Files/setPosixFilePermissions (.toPath directory) (PosixFilePermissions/fromString "rwxr-xr-x"))
    (try
      (let [way (start directory)]
        (try
          ((:start way))
          (f way)
          (finally
            ((:stop way)))))
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))

(defn- check
  [way outcomes]
  (doseq [[mta {:keys [sent delivered unmarked filters deferred open-at-kills unreachable]}] outcomes]
    (is (<= (quot (long mails) (count outcomes)) (count sent)) mta)
    (is (= (range (count sent)) sent) "each is accepted in the end")
    (is (= sent delivered) "none is lost, and none comes twice")
    (is (= [] unmarked) "none is unfiltered")
    (is (= [] (take 3 unreachable)) "no connection is refused")
    (is (= [] (take 9 (set/difference deferred open-at-kills))) "what is deferred was open when the filter was killed")
    (is (< 1 (long filters)))))

(deftest restarts-at-an-inherited-socket-refuse-no-connection
  (let [present (present-mtas)]
    (when-not (some #(.canExecute (io/file % "systemd-socket-activate")) (str/split (System/getenv "PATH") #":"))
      (runner/skip! "systemd-socket-activate is not installed"))
    (with-way inherited #(check % (outcome % present)))))

(deftest restarts-that-take-a-unix-socket-over-refuse-no-connection
  (let [present (present-mtas)]
    (with-way (fn [directory]
                (let [address (str "unix:" directory "/filter.sock")]
                  (taken-over directory {:postfix address, :sendmail address})))
              #(check % (outcome % present)))))

(deftest restarts-that-take-a-tcp-port-over-refuse-no-connection
  (let [present (present-mtas)]
    (with-open [reservation (mta/reserve-port)]
      (with-way #(taken-over % (inet-address (.getLocalPort reservation)))
                #(check % (outcome % present))))))
