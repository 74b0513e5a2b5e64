(ns temse.hot-change-mta-test
  "Mail through real MTAs while the file of the filter changes every 50 ms: each mail is handled by one
  version, and none is lost or deferred. TEMSE_CASES is how many mails each MTA gets (default: 200); where
  10,000 take longer than bin/test allows a namespace, `clojure.test/run-tests` runs it without a limit."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is use-fixtures]]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.runner :as runner]
   [temse.support :as support])
  (:import
   (java.io BufferedReader Closeable File)
   (java.nio.file CopyOption Files StandardCopyOption)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent Executors ScheduledExecutorService TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private mails
  (parse-long (or (System/getenv "TEMSE_CASES") "200")))

(def ^:private wanted-versions
  "More of them must be seen."
  (min 100 (quot (long mails) 10)))

(def ^:private clients 6)

(def ^:private mails-per-connection 5)

(defn- filter-text
  "Returns a filter that notes its version at each stage and writes the notes into the mail."
  [version]
  (str "(ns counted (:require [temse.action :as act] [temse.milter :as milter]))\n"
       "(def version " version ")\n"
       "(defn at-client [event context] (update context ::client conj version))\n"
       "(defn at-message [event context] (milter/update-message context update ::message (fnil conj []) version))\n"
       "(defn at-end [event context]\n"
       "  [(act/add-header \"X-Versions\" (apply str (interpose \" \" (concat (::client context) (::message (milter/message context)) [version]))))\n"
       "   (act/accept)])\n"
       "(def filter {:init (fn [context] (assoc context ::client []))\n"
       "             :actions #{:add-header}\n"
       "             :log-mail? false\n"
       "             :handlers {:connect at-client, :hello at-client, :mail at-message, :recipient at-message,\n"
       "                        :header at-message, :end-of-headers at-message, :body at-message,\n"
       "                        :end-of-message at-end}})\n"))

(defn- replace-file
  "Puts another file in the place of the filter's, as editors do; every seventh time it is written in place."
  [^File file version]
  (if (zero? (rem (long version) 7))
    (spit file (filter-text version))
    (let [new (io/file (.getParentFile file) "counted.clj~")]
      (spit new (filter-text version))
      (Files/move (.toPath new) (.toPath file)
                  (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE StandardCopyOption/REPLACE_EXISTING])))))

(defn- changing
  "Has the file changed every 50 ms until the result is closed."
  ^Closeable [file]
  (let [version (atom 0)
        executor ^ScheduledExecutorService (Executors/newSingleThreadScheduledExecutor)]
    (.scheduleWithFixedDelay executor #(replace-file file (swap! version inc)) 50 50 TimeUnit/MILLISECONDS)
    (reify Closeable
      (close [_]
        (.shutdown executor)
        (.awaitTermination executor 10 TimeUnit/SECONDS)))))

(defn- with-filter
  "Calls f with the address of a filter that is served with --watch, its file, and an atom of the lines
  that it has printed."
  [f]
  (let [directory (.toFile (Files/createTempDirectory "temse-hot-" (make-array FileAttribute 0)))
        file (io/file directory "counted.clj")
        _ (spit file (filter-text 0))
        process ^Process (support/process ["-m" "temse.cli" "run" (str file) "--listen" "inet:0@127.0.0.1" "--watch"])
        output ^BufferedReader (io/reader (.getInputStream process))
        lines (atom [])
        listening (promise)]
    (future (doseq [line (line-seq output)]
              (swap! lines conj line)
              (when-let [[_ address] (re-find #"listens on (\S+)$" line)]
                (deliver listening address)))
            (deliver listening nil))
    (try
      (f (or (deref listening 300000 nil) (throw (ex-info (str/join "\n" @lines) {}))) file lines)
      (finally
        (.destroy process)
        (.waitFor process)
        (run! io/delete-file (reverse (file-seq directory)))))))

;; ---- mail

(defn- send-over-one-connection
  "Sends mails over a connection and returns [number codes] of each."
  [port numbers]
  (with-open [connection (smtp/connect {:port port})]
    (smtp/command connection "EHLO client.example.org")
    (let [sent (vec (for [number numbers
                          :let [{:keys [mail rcpt data message]}
                                (smtp/transact connection {:headers [["Subject" (str " " number)]
                                                                     ["X-Other" " field"]]})]]
                      [number (mapv :code (concat [mail] rcpt [data message]))]))]
      (smtp/command connection "QUIT")
      sent)))

(defn- versions-of
  "Returns [number versions] of a mail at the sink: its number, and what the filter has noted."
  [message]
  (let [field (into {} (sink/headers message))]
    [(parse-long (str/trim (field "Subject")))
     (some-> (field "X-Versions") str/trim (str/split #" "))]))

(defn- distinct-versions
  [sink]
  (count (distinct (map (comp first second versions-of) @(:messages sink)))))

(defn- send-mails
  "Sends all mails, and then more until enough versions have been seen; returns [number codes] of each, by
  connection."
  [port sink]
  (let [numbers (atom 0)
        wanted? #(or (< (long @numbers) (long mails))
                     (and (<= (long (distinct-versions sink)) (long wanted-versions))
                          (< (long @numbers) (* 10 (long mails)))))
        client (fn []
                 (loop [sent []]
                   (if (wanted?)
                     (let [end (swap! numbers + mails-per-connection)]
                       (recur (conj sent (send-over-one-connection port (range (- (long end) (long mails-per-connection)) end)))))
                     sent)))]
    (into [] (mapcat deref) (doall (repeatedly clients #(future (client)))))))

(defn- reloads
  [lines pattern]
  (count (filter #(re-find pattern %) lines)))

(defn- outcome
  "Sends mails through an MTA that `start` starts with a sink and the address of the filter. Returns what
  became of them: :sent, the codes by number; :delivered, the versions by number; :arrived, how many mails
  the sink has; and :changed-within, over how many connections the version changed."
  [title start address]
  (with-open [sink (sink/start)
              mta ^Closeable (start {:sink sink, :milters [address]})]
    (let [begin (System/nanoTime)
          connections (send-mails (:port mta) sink)
          sent (into (sorted-map) cat connections)]
      (sink/await-message sink (fn [_] (<= (count sent) (count @(:messages sink)))) 120000)
      (let [delivered (into {} (map versions-of) @(:messages sink))
            versions (distinct (map first (vals delivered)))
            changed-within (count (filter #(apply not= (map (comp first delivered first) %)) connections))]
        (runner/say (format "  %s: %d mails in %.0f s over %d connections, of %d versions; it changed within %d connections"
                            title (count delivered) (/ (- (System/nanoTime) begin) 1e9) (count connections)
                            (count versions) changed-within))
        {:sent sent
         :delivered delivered
         :arrived (count @(:messages sink))
         :changed-within changed-within}))))

(def ^:private mtas
  {:postfix {:title "Postfix", :unavailable postfix/unavailable
             :start #(postfix/start (update % :milters (partial mapv (fn [address] (str/replace address #"^inet:(\d+)@(.*)" "inet:$2:$1")))))}
   :sendmail {:title "Sendmail", :unavailable sendmail/unavailable, :start sendmail/start}})

(def ^:private outcomes (atom nil))

(use-fixtures :once
  (fn [run-tests]
    (with-filter
      (fn [address file lines]
        (with-open [_ (changing file)]
          (reset! outcomes
                  (into {}
                        (for [[mta {:keys [title start unavailable]}] mtas
                              :when (not (unavailable))]
                          [mta (future (outcome title start address))])))
          (run! #(try (deref %) (catch Throwable _)) (vals @outcomes)))
        (runner/say (format "  %d reloads, %d failed" (reloads @lines #" reloaded in ") (reloads @lines #" not reloaded ")))))
    (run-tests)))

(defn- check
  [mta]
  (when-let [reason ((:unavailable (mtas mta)))]
    (runner/skip! reason))
  (let [{:keys [sent delivered arrived changed-within]} @(mta @outcomes)]
    (is (<= (long mails) (count sent)))
    (is (= [] (remove #(= [250 250 354 250] (val %)) sent)) "none is refused or deferred")
    (is (= (keys sent) (sort (keys delivered))) "none is lost")
    (is (= (count sent) arrived) "none comes twice")
    (is (= [] (remove #(and (<= 8 (count (val %))) (apply = (val %))) delivered)) "each is of one version")
    (is (< (long wanted-versions) (count (distinct (map first (vals delivered))))))
    (is (pos? (long changed-within)))))

(deftest postfix-loses-no-mail-while-the-filter-changes
  (check :postfix))

(deftest sendmail-loses-no-mail-while-the-filter-changes
  (check :sendmail))
