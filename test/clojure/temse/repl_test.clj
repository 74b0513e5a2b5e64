(ns temse.repl-test
  (:require
   [clojure.java.io :as io]
   [clojure.pprint :as pprint]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing use-fixtures]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.repl.exchanges :as kept]
   [temse.milter :as milter :refer [respond]]
   [temse.repl :as repl]
   [temse.runner :as runner]
   [temse.support :as support :refer [awaited thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.io File Writer)
   (java.net ServerSocket)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(defn on-mail
  [{:keys [sender]} context]
  (println "mail of" sender)
  context)

(def counting
  {:port 0, :handlers {:mail #'on-mail}})

(defn- stop-all
  []
  (while (repl/stop!)))

(use-fixtures :each (fn [test]
                      (stop-all)
                      (try
                        (test)
                        (finally
                          (stop-all)))))

(defmacro ^:private quietly
  "Evaluates the body and returns its value; what it prints goes nowhere."
  [& body]
  `(let [result# (volatile! nil)]
     (with-out-str (vreset! result# (do ~@body)))
     @result#))

(defn- send!
  [mail]
  (quietly (repl/send-message! mail)))

;; ---- starting and stopping

(deftest a-milter-starts-and-stops
  (is (nil? (repl/status)))
  (is (nil? (repl/stop!)))
  (let [{:keys [name address handlers]} (repl/start! counting)]
    (is (= ["milter" {:mail #'on-mail}] [name handlers]))
    (is (= address (milter/milter-address (repl/milter)) (:address (repl/status))))
    (is (= :accept (:verdict (send! {}))))
    (is (= "milter" (repl/stop!)))
    (is (string/includes? (:message (thrown (repl/send-message! {}))) "start!"))))

(deftest the-same-milter-takes-new-options-when-it-is-started-again
  (repl/start! counting)
  (let [server (repl/milter)]
    (with-open [open (mt/connect-to server)]
      (is (= (milter/milter-address server)
             (:address (repl/start! {:handlers {:mail (fn [_ context] (respond context (act/reject)))}}))))
      (is (= server (repl/milter)))
      (is (= :reject (:verdict (send! {}))))
      (testing "and open connections stay"
        (is (.isOpen open))))
    (testing "unless its sockets would have to change"
      (let [{:keys [message option]} (thrown (repl/start! (assoc counting :port (support/free-port))))]
        (is (= :port option))
        (is (string/includes? message "restart!")))
      (is (= server (repl/milter))))
    (testing "or the options are wrong"
      (is (string/includes? (:message (thrown (repl/start! {:handlers {:mial #'on-mail}}))) ":mail"))
      (is (= :reject (:verdict (send! {})))))))

(deftest a-restarted-milter-keeps-its-port-and-its-options
  (repl/start! (assoc counting :bindings {#'*print-length* 3}))
  (let [before (repl/milter)
        port (milter/milter-port before)]
    (repl/restart!)
    (is (not= before (repl/milter)))
    (is (= port (milter/milter-port (repl/milter))))
    (is (= [] (repl/exchanges)))
    (testing "and goes on as it is if the new options are wrong"
      (is (string/includes? (:message (thrown (repl/restart! {:handlers {:mial #'on-mail}}))) ":mail"))
      (is (= :accept (:verdict (send! {})))))
    (is (= {:mail #'on-mail} (:handlers (repl/restart! (assoc counting :port port)))))))

(deftest an-address-in-use-is-an-error-that-says-what-to-do
  (let [{:keys [address]} (repl/start! counting)
        port (milter/milter-port (repl/milter))]
    (let [{:milter/keys [error] :keys [message]} (thrown (repl/start! (assoc counting :name "b" :port port)))]
      (is (= :bind-failed error))
      (is (string/includes? message address))
      (is (string/includes? message "The milter \"milter\" of this process has it"))))
  (with-open [other (ServerSocket. 0)]
    (is (string/includes? (:message (thrown (repl/start! {:name "b" :port (.getLocalPort other) :handlers {:mail #'on-mail}})))
                          "such as 0"))))

(deftest several-milters-are-told-apart-by-name
  (repl/start! counting)
  (repl/start! (assoc counting :name "b" :handlers {:mail (fn [_ context] (respond context (act/reject)))}))
  (is (= ["b" ["milter"]] ((juxt :name :others) (repl/status))))
  (is (= :reject (:verdict (send! {}))))
  (is (= :accept (:verdict (quietly (repl/send-message! {} {:milter "milter"})))))
  (is (= [1 1] [(count (repl/exchanges {:event :message-end, :milter "milter"}))
                (count (repl/exchanges :message-end))]))
  (is (string/includes? (:message (thrown (repl/stop! "c"))) "there is \"milter\", \"b\""))
  (is (= "milter" (repl/stop! "milter")))
  (is (= "b" (:name (repl/status)))))

(deftest a-milter-that-was-stopped-elsewhere-is-gone-here-too
  (repl/start! counting)
  (milter/stop-milter (repl/milter))
  (is (nil? (repl/status)))
  (is (= "milter" (:name (repl/start! counting)))))

(deftest a-handler-that-is-defined-anew-gets-the-next-event
  (repl/start! counting)
  (is (= :accept (:verdict (send! {}))))
  (with-redefs [on-mail (fn [_ context] (respond context (act/reject)))]
    (is (= :reject (:verdict (send! {}))))))

;; ---- what handlers print

(deftest what-handlers-print-reaches-the-session-that-has-started-them
  (let [printed (with-out-str (repl/start! {:port 0
                                            :handlers {:mail (fn [_ context]
                                                               (future (println "later") context))
                                                       :recipient #(do (println (:address %1)) %2)
                                                       :end-of-message (fn [_ context]
                                                                         (binding [*out* *err*] (println "err"))
                                                                         context)}})
                  (mt/run-message (repl/milter) {:recipients ["<b@example.com>"]}))]
    (is (= "later\n<b@example.com>\n" printed))))

(deftest what-handlers-print-reaches-the-session-that-sends-while-it-sends
  (let [start (java.io.StringWriter.)]
    (binding [*out* start]
      (repl/start! counting))
    (is (= "mail of <a@example.org>\n"
           (with-out-str (repl/send-message! {:sender "<a@example.org>"}))))
    (mt/run-message (repl/milter) {:sender "<b@example.org>"})
    (is (= "mail of <b@example.org>\n" (str start)))
    (is (= "mail of <c@example.org>\n"
           (with-out-str (repl/snoop! (constantly false))
             (mt/run-message (repl/milter) {:sender "<c@example.org>"}))))))

(deftest a-session-that-is-gone-does-no-harm
  (let [gone (proxy [Writer] []
               (write [& _] (throw (IllegalStateException. "gone")))
               (flush [] (throw (IllegalStateException. "gone")))
               (close []))]
    (binding [*out* gone]
      (repl/start! counting)
      (repl/snoop!))
    (let [printed (support/printed
                    (is (= :accept (:verdict (mt/run-message (repl/milter) {:sender "<a@example.org>"})))))]
      (testing "and its output goes where that of the process goes"
        (is (string/includes? printed "\nmail of <a@example.org>\n"))))))

;; ---- seeing

(def mistaken
  {:port 0
   :handlers {:mail (fn [{:keys [sender]} context]
                      (if (= "<bad@example.org>" sender)
                        (throw (ex-info "no luck" {}))
                        (assoc context :sender sender)))
              :recipient (fn [_ context]
                           (respond context (assoc (act/reject) :why "closed")))}})

(deftest exchanges-are-kept-and-chosen
  (repl/start! mistaken)
  (with-logs _
    (send! {:sender "<a@example.org>"})
    (send! {:sender "<bad@example.org>"}))
  (let [events (fn [filter] (mapv (comp :event :event) (repl/exchanges filter)))]
    (is (= [:mail :mail] (events :mail)))
    (is (= [:mail :recipient :mail] (events #{:mail :recipient})))
    (is (= [:mail :recipient] (events {:event #{:mail :recipient}, :sender "A@Example.org"})))
    (is (= [:mail] (events {:sender #"bad@", :event :mail})))
    (is (= [:recipient] (events {:reply :reject})))
    (is (= [:mail] (events {:failure? true})))
    (is (= [:mail] (events #(some-> (:failure %) ex-message (= "no luck")))))
    (is (= [:connect :connect] (events {:client #{"192.0.2.1" "x"}, :event :connect})))
    (is (= [] (events {:client "192.0.2.2"})))
    (is (= [1] (mapv :mail (repl/exchanges {:id 1, :event :mail})))))
  (testing "by what means something only"
    (is (string/includes? (:message (thrown (repl/exchanges {:sendr "a"}))) ":sender"))
    (is (string/includes? (:message (thrown (repl/exchanges :mial))) ":event"))
    (is (string/includes? (:message (thrown (repl/exchanges "a@example.org"))) "{:event :mail"))
    (is (= :bad-options (:milter/error (thrown (repl/snoop! {:sendr "a"})))))))

(deftest few-exchanges-are-kept-and-no-more-bytes-than-said
  (let [exchange (fn [n] {:id n, :event {:event :body, :data (byte-array 1000)}, :response []})
        ids (fn [most most-bytes]
              (map (comp :id first)
                   (:queue (reduce #(kept/keeping %1 (exchange %2) most most-bytes) kept/nothing (range 10)))))]
    (is (= [7 8 9] (ids 3 1000000)))
    (is (= [9] (ids 10 3000)))
    (is (= [] (ids 10 10)))))

(deftest a-repl-prints-exchanges-as-lines-that-are-safe
  (repl/start! {:port 0, :handlers {:header (fn [_ _])}})
  (send! {:headers [["Subject" "\u001b[2Jhi"]]})
  (doseq [text [(pr-str (repl/exchanges :header))
                (with-out-str (pprint/pprint (repl/exchanges :header)))
                (pr-str (peek (repl/exchanges :header)))
                (pr-str (repl/explain (peek (repl/exchanges :header))))]]
    (is (re-find #"(?i)header.+Subject" text))
    (is (not (string/includes? text "\u001b"))))
  (is (= "[]" (pr-str (repl/exchanges :abort)))))

(deftest snooping-begins-and-ends-while-connections-are-open
  (let [tapped (promise)]
    (add-tap tapped)
    (try
      (repl/start! mistaken)
      (with-open [mta (mt/connect-to (repl/milter))]
        (support/send-events mta support/opening)
        (let [printed (with-out-str
                        (is (= "milter" (repl/snoop! #{:mail :recipient})))
                        (is (:snooped? (repl/status)))
                        (support/send-events mta (take 2 (support/envelope)))
                        (repl/unsnoop!)
                        (is (not (:snooped? (repl/status))))
                        (support/send-events mta [{:event :abort} {:event :mail, :sender "<c@example.org>"}]))]
          (is (re-find #"(?s)^   1  MTA  --> mail <a@example.org>\n.*recipient <b@example.com>\n   1       <-- reject \(closed\)  \([.\d]+ ms\)\n$"
                       printed))
          (is (= :mail (:event (:event (awaited tapped)))))))
      (finally
        (remove-tap tapped)))))

(deftest a-filter-that-throws-is-logged-and-harms-nobody
  (repl/start! counting)
  (with-logs logs
    (repl/snoop! (fn [_] (throw (Exception. "bad filter"))))
    (is (= :accept (:verdict (send! {}))))
    (is (= ["milter the filter of snoop! failed: bad filter"] (support/messages logs :error)))))

;; ---- recording and replaying

(deftest conversations-are-recorded-and-replayed-to-the-handlers-of-now
  (let [directory (.toFile (Files/createTempDirectory "temse" (make-array FileAttribute 0)))
        recordings (io/file directory "recordings")]
    (try
      (repl/start! counting)
      (send! {:sender "<a@example.org>"})
      (is (= 1 (count (repl/record!))))
      (is (= 1 (count (repl/record! recordings))))
      (send! {:sender "<b@example.org>"})
      (testing "each is written once"
        (is (= 1 (count (repl/record! (str recordings)))))
        (is (= [] (repl/record! recordings)))
        (is (= 2 (count (.listFiles ^File recordings)))))
      (is (= [] (quietly (repl/replay)) (quietly (repl/replay recordings))))
      (with-redefs [on-mail (fn [_ context] (respond context (act/reject)))]
        (is (= [#{:verdict} #{:verdict}] (map :differs (repl/replay recordings))))
        (is (string/includes? (pr-str (repl/replay)) "+ <-- reject")))
      (testing "which leaves nothing of the played conversations"
        (is (= 2 (count (repl/record!)))))
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))

;; ---- sending and explaining

(deftest a-mail-is-sent-with-what-goes-wrong-in-the-filter
  (repl/start! mistaken)
  (with-logs _
    (let [{:keys [verdict errors conversation]} (send! {:sender "<bad@example.org>"})
          {:keys [kind event explanation exchange]} (first errors)]
      (is (= :temporary-failure verdict))
      (is (= [1 :exception :mail] [(count errors) kind event]))
      (is (string/includes? explanation "no luck"))
      (is (= :mail (:event (:event (conversation exchange))))))
    (testing "and nothing of other connections"
      (let [others (doall (repeatedly 4 #(future (mt/run-message (repl/milter) {:sender "<bad@example.org>"}))))]
        (is (= [] (:errors (send! {:sender "<a@example.org>"}))))
        (run! awaited others)))
    (testing "with any client"
      (is (= [1 1] [(count (:errors (quietly (repl/send-message! {:sender "<bad@example.org>"} {:client {:port 1}}))))
                    (count (:errors (send! {:sender "<bad@example.org>" :client {:host-name "a" :address "192.0.2.7" :port 9}})))])))
    (is (string/includes? (:message (thrown (repl/send-message! {} {:timeot 1}))) ":timeout"))))

(deftest verdicts-and-exchanges-are-explained
  (repl/start! mistaken)
  (with-logs _
    (let [refused (repl/explain (send! {:sender "<a@example.org>"}))]
      (is (= [:reject :recipient "closed"] ((juxt :verdict :at :why) refused)))
      (is (string/includes? (pr-str refused) "reject (closed)"))
      (is (string/includes? (:handler refused) "fn")))
    (testing "also of a mail that somebody else has sent"
      (mt/run-message (repl/milter) {:sender "<bad@example.org>"})
      (let [deferred (repl/explain (peek (repl/exchanges :message-end)))]
        (is (= [:temporary-failure :mail] ((juxt :verdict :at) deferred)))
        (is (= ["no luck"] (map (comp ex-message :error) (:errors deferred))))
        (is (string/includes? (pr-str deferred) "no luck"))))
    (let [{:keys [changed handler]} (repl/explain (first (repl/exchanges :mail)))]
      (is (= {:sender [nil "<a@example.org>"]} changed))
      (is (string/includes? handler "fn"))))
  (testing "and what is agreed with an MTA"
    (is (contains? (:events (repl/explain)) :recipient)))
  (is (string/includes? (:message (thrown (repl/explain 7))) "send-message!")))

(deftest mail-of-a-real-postfix-is-seen-and-decided-at-the-repl
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (repl/start! counting)
  (with-open [sink (sink/start)
              postfix (postfix/start {:sink sink
                                      :milters [(str "inet:127.0.0.1:" (milter/milter-port (repl/milter)))]})]
    (let [printed (with-out-str
                    (repl/snoop! :mail)
                    (smtp/send-mail {:port (:port postfix), :sender "<alice@example.org>"})
                    (sink/await-message sink some?))]
      (is (string/includes? printed "mail of <alice@example.org>"))
      (is (string/includes? printed "MTA  --> mail <alice@example.org>")))
    (repl/unsnoop!)
    (with-redefs [on-mail (fn [_ context] (respond context (act/reply-code 550 "5.7.1" "Not today")))]
      (is (string/includes? (str (smtp/send-mail {:port (:port postfix)})) "Not today")))))
