(ns temse.gallery.greylist-farm-test
  "Greylisting behind real MTAs, and by several processes that share one PostgreSQL, which is restarted, and of
  which one is killed."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing use-fixtures]]
   [temse.gallery.support :as gallery]
   [temse.harness.postfix :as postfix]
   [temse.harness.postgresql :as postgresql]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.runner :as runner]
   [temse.support :as support :refer [awaited]]
   [temse.test :as mt])
  (:import
   (java.io BufferedReader Closeable File)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent ExecutorService Executors)))

(set! *warn-on-reflection* true)

(def ^:dynamic ^:private ^File *directory* nil)

(use-fixtures :each
  (fn [run]
    (let [directory (.toFile (Files/createTempDirectory "temse-greylist-farm-" (make-array FileAttribute 0)))]
      (try
        (binding [*directory* directory]
          (run))
        (finally
          (gallery/stop-periodic-work)
          (run! io/delete-file (reverse (file-seq directory))))))))

(defn- settings-file
  [settings]
  (let [file (io/file *directory* (str (gensym "greylist") ".edn"))]
    (spit file (pr-str settings))
    (str file)))

(defn- sqlite
  []
  {:url (str "jdbc:sqlite:" (io/file *directory* (str (gensym "greylist") ".db")))})

;; ---- behind a real MTA

(defn- with-clock
  "Returns a filter with settings, and the atom that is its clock."
  [settings]
  (gallery/load-filter "greylist" (settings-file {:database (sqlite)}))
  (let [seconds (atom 1764230400)
        parsed (@(requiring-resolve 'greylist-settings/settings-of) (settings-file settings))
        store (@(requiring-resolve 'greylist-store/open) (sqlite))]
    [(@(requiring-resolve 'greylist/filter-of) parsed store #(deref seconds)) seconds]))

(defn- codes
  "Returns the codes that an SMTP client has received for recipients and content."
  [{:keys [rcpt message]}]
  (conj (mapv :code rcpt) (:code message)))

(defn- field
  [{:keys [headers]}]
  (some (fn [[field-name value]] (when (= "X-Greylist" field-name) value)) headers))

(defn- check-behind
  [kind]
  (let [[filter seconds] (with-clock {:delay 300, :spared {:recipients ["postmaster@example.org"]}})]
    (gallery/behind kind filter {}
      (fn [mta]
        (let [mail {:sender "<ann@example.net>", :recipients ["<bob@example.org>"]}]
          (testing "mail that comes again passes"
            (let [{[reply] :rcpt :as replies} (gallery/transact mta mail)]
              (is (= [451 nil] (codes replies)))
              (is (re-find #"4\.7\.1 .*Greylisting in action, please come back in 00:05:00$" (first (:lines reply)))))
            (swap! seconds + 300)
            (is (re-find #"^Delayed for 00:05:00 by temse-greylist \([^ ]+( \[[^\]]+\])?\); " (field (gallery/sent mta mail))))
            (is (re-find #"^IP, sender and recipient auto-whitelisted, not delayed by temse-greylist " (field (gallery/sent mta mail)))))
          (testing "each recipient on its own"
            (is (= [451 250 250] (codes (gallery/transact mta {:recipients ["<eve@example.org>" "<postmaster@example.org>"]})))))
          (testing "callouts pass, bounces wait"
            (let [bounce {:sender "<>", :recipients ["<bob@example.org>"]}]
              (is (= [250 451] (codes (gallery/transact mta bounce))))
              (swap! seconds + 300)
              (is (re-find #"^Delayed for " (field (gallery/sent mta bounce))))))
          (testing "hostile mail"
            (doseq [hostile [{:sender "<%r!s=a=b@example.net>"}
                             {:sender "<\"'; drop table\"@example.net>"}
                             {:headers [["X-Greylist" " Delayed for ever"]], :body "\0\200\r\n.\r\n"}]]
              (is (= [451 nil] (codes (gallery/transact mta hostile))))
              (swap! seconds + 300)
              (is (re-find #"^Delayed for 00:05:00" (last (for [[field value] (:headers (gallery/sent mta hostile))
                                                                :when (and (= "X-Greylist" field) (not= "Delayed for ever" value))]
                                                            value)))))))))))

(deftest mail-is-greylisted-behind-postfix
  (check-behind :postfix))

(deftest mail-is-greylisted-behind-sendmail
  (check-behind :sendmail))

(deftest postfix-tells-clients-apart
  (let [[filter seconds] (with-clock {:spared {:networks ["198.51.100.0/24"]}})]
    (gallery/behind :postfix filter gallery/believing
      (fn [mta]
        (let [from (fn [attributes] (codes (gallery/transact-as mta attributes {})))]
          (is (= [250 250] (from "ADDR=198.51.100.7")))
          (is (= [451 nil] (from "ADDR=192.0.2.7")))
          (is (= [250 250] (from "ADDR=192.0.2.7 LOGIN=ann")))
          (swap! seconds + 300)
          (is (= [250 250] (from "ADDR=192.0.2.8")) "of the same network")
          (is (= [451 nil] (from "ADDR=192.0.3.7"))))))))

;; ---- processes

(defrecord ^:private Running [^Process process port lines]
  Closeable
  (close [_]
    (.waitFor (.destroyForcibly process))))

(defn- start-process
  "Serves greylist.clj in a process of its own, and collects the :lines that it prints: verdicts with their reasons, and
  problems."
  ^Closeable [settings address]
  (let [form `(do (require '~'temse.gallery.support '~'temse.impl.command.console '~'temse.milter)
                  ((resolve '~'temse.impl.command.console/log-briefly!) java.util.logging.Level/FINE)
                  (let [filter# ((resolve '~'temse.gallery.support/load-filter) "greylist" ~settings)
                        server# ((resolve '~'temse.milter/start-milter) (assoc filter# :address ~address :log-mail? true :join? false))]
                    (println "port" ((resolve '~'temse.milter/milter-port) server#))
                    (deref (promise))))
        process (support/process ["-e" (pr-str form)])
        lines (atom [])
        port (promise)]
    (doto (Thread. ^Runnable (fn []
                               (with-open [^BufferedReader reader (io/reader (.getInputStream process))]
                                 (doseq [line (line-seq reader)]
                                   (swap! lines conj line)
                                   (when-let [[_ found] (re-matches #"port (\d+)" line)]
                                     (deliver port (parse-long found)))))
                               (deliver port nil)))
      (.setDaemon true)
      (.start))
    (->Running process
               (or (deref port 120000 nil) (throw (ex-info "the filter does not start" {:lines @lines})))
               lines)))

(defn- running-postgresql
  ^Closeable []
  (when-let [reason (postgresql/unavailable)]
    (runner/skip! reason))
  (postgresql/start))

(defn- shared
  [postgresql]
  {:url (postgresql/url postgresql), :user "temse", :timeout 10000})

(defn- new-triplets
  "Returns the senders that a process has found new."
  [{:keys [lines]}]
  (keep #(second (re-find #":greylist :new,? :triplet \{:sender <([^>]+)>" %)) @lines))

(defn- outages
  [{:keys [lines]} what]
  (count (filter #(re-find what %) @lines)))

(defn- await-value
  "Waits until the value of an atom is enough, a minute at most."
  [reference enough?]
  (let [done (promise)
        watcher (Object.)]
    (add-watch reference watcher (fn [_ _ _ value] (when (enough? value) (deliver done true))))
    (when (enough? @reference)
      (deliver done true))
    (try
      (when-not (deref done 60000 false)
        (throw (ex-info "what was waited for did not happen in a minute" {:last (take-last 5 @reference)})))
      (finally
        (remove-watch reference watcher)))))

(defn- await-verdicts
  "Waits until a process has logged verdicts about so many recipients, which it does after its reply."
  [{:keys [lines]} n]
  (await-value lines (fn [lines] (<= (long n) (count (filter #(re-find #"at recipient" %) lines))))))

(deftest two-processes-never-both-find-a-triplet-new-and-survive-a-restart-of-the-database
  (with-open [postgresql (running-postgresql)]
    (let [settings (settings-file {:delay 86400, :database (shared postgresql)})]
      (with-open [a (start-process settings "inet:0@127.0.0.1")
                  b (start-process settings "inet:0@127.0.0.1")]
        (let [mails (mapv (fn [i] {:sender (str "<n" i "@example.org>")}) (range 400))
              send (fn [{:keys [port]} mails]
                     (future (mt/run-many (str "inet:" port "@127.0.0.1") mails {:connections 4})))
              replies (fn [reports] (frequencies (map (comp (juxt :action :enhanced-code) :reply) reports)))
              greylisted {[:reply-code "4.7.1"] 1}
              await-greylisting (fn [mail]
                                  (doseq [process [a b]]
                                    (awaited (future (loop []
                                                       (when (not= greylisted (replies @(send process [mail])))
                                                         (recur)))))))
              _ (await-greylisting {:sender "<first@example.org>"})
              first-half (mapv #(send % (take 200 mails)) [a b])]
          (testing "under load"
            (is (= {[:reply-code "4.7.1"] 400} (replies (mapcat deref first-half))))
            (doseq [process [a b]]
              (await-verdicts process 201))
            (is (= (into #{"first@example.org"} (map #(str "n" % "@example.org")) (range 200))
                   (set (concat (new-triplets a) (new-triplets b))))))
          (testing "while the database is restarted"
            (let [second-half (mapv #(send % (drop 200 mails)) [a b])]
              (postgresql/control postgresql "restart")
              (is (every? #(= :temporary-failure (:verdict %)) (mapcat deref second-half)))))
          (testing "afterwards"
            (await-greylisting {:sender "<last@example.org>"})
            (is (= {[:reply-code "4.7.1"] 800} (replies (mapcat deref (mapv #(send % mails) [a b]))))))
          (doseq [process [a b]]
            (await-verdicts process 802))
          (is (apply distinct? (concat (new-triplets a) (new-triplets b))) "none is new to both")
          (doseq [process [a b]]
            (is (= (outages process #"is down, and") (outages process #"is back after")))
            (is (<= (outages process #"is down, and") 1))
            (is (zero? (outages process #"the handler of|^\s+at ")) "no exceptions in the log")))))))

;; ---- a farm

(def ^:private farm-hosts
  "Two machines behind one name."
  "127.0.0.1 localhost\n127.0.0.2 milters.example.org\n127.0.0.3 milters.example.org\n")

(defn- name-service
  "Returns the library that reads a hosts file of our own, which the harness of Sendmail brings."
  []
  (when-let [reason (sendmail/unavailable)]
    (runner/skip! reason))
  (some #(when (= "libnss_wrapper.so" (.getName ^File %)) (.getAbsolutePath ^File %))
        (file-seq (io/file "target/sendmail/usr/lib"))))

(defn- start-postfix
  ^Closeable [port sink]
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (let [hosts (io/file *directory* "hosts")]
    (spit hosts farm-hosts)
    (.setExecutable *directory* true false)
    (.setReadable *directory* true false)
    (postfix/start {:milters [(str "inet:milters.example.org:" port)]
                    :sink sink
                    :main {"milter_default_action" "tempfail"
                           "import_environment" (str "MAIL_CONFIG MAIL_LOGTAG TZ LANG=C LD_PRELOAD=" (name-service)
                                                     " NSS_WRAPPER_HOSTS=" hosts)}})))

(defn- start-sendmail
  ^Closeable [port sink]
  (when-let [reason (sendmail/unavailable)]
    (runner/skip! reason))
  (sendmail/start {:milters [(str "inet:" port "@milters.example.org")], :sink sink, :hosts farm-hosts}))

(defn- accepted?
  "Returns true if an MTA takes a mail of a number now."
  [{:keys [port]} i]
  (= 250 (-> (smtp/send-mail {:port port, :sender (str "<farm" i "@example.net>"), :headers [["X-Mark" (str " farm" i)]]})
             :message
             :code)))

(defn- send-all
  "Sends mails again and again, several at a time, until each is accepted, as their clients do."
  [mta numbers]
  (let [threads (Executors/newFixedThreadPool 4)
        until-accepted (fn [i] #(when-not (accepted? mta i) (recur)))]
    (try
      (run! deref (mapv #(.submit ^ExecutorService threads ^Callable (until-accepted %)) numbers))
      (finally
        (.shutdownNow threads)))))

(defn- marks
  "Returns the marks of the mails that have arrived, and how many of their fields are X-Greylist."
  [sink]
  (for [message @(:messages sink)
        :let [headers (sink/headers message)]]
    [(some (fn [[field value]] (when (= "X-Mark" field) (string/trim value))) headers)
     (count (filter #(= "X-Greylist" (first %)) headers))]))

(defn- served
  [{:keys [lines]}]
  (count (filter #(re-find #"at recipient|at end-of-message" %) @lines)))

(defn- check-farm
  [start-mta]
  (with-open [postgresql (running-postgresql)]
    (let [settings (settings-file {:delay 1, :database (shared postgresql)})
          numbers (range 60)]
      (with-open [b (start-process settings "inet:0@127.0.0.3")
                  a (start-process settings (str "inet:" (:port b) "@127.0.0.2"))
                  sink ^Closeable (sink/start)
                  mta ^Closeable (start-mta (:port b) sink)]
        (let [sending (future (send-all mta numbers))
              _ (await-value (:messages sink) #(<= 10 (count %)))
              [in-use other] (sort-by (comp - served) [a b])]
          (is (pos? (served in-use)))
          (.destroyForcibly ^Process (:process in-use))
          (is (not= ::late (deref sending 120000 ::late)))
          (await-value (:messages sink) #(<= 60 (count %)))
          (is (= (into {} (map (fn [i] [[(str "farm" i) 1] 1])) numbers) (frequencies (marks sink)))
              "none is lost, doubled or unfiltered")
          (is (pos? (served other)) "the other machine has taken over"))))))

(deftest behind-postfix-no-mail-is-lost-or-unfiltered-when-a-machine-of-the-farm-dies
  (check-farm start-postfix))

(deftest behind-sendmail-no-mail-is-lost-or-unfiltered-when-a-machine-of-the-farm-dies
  (check-farm start-sendmail))
