(ns temse.log-test
  "What the log says of a server, and that nothing it meets disturbs the mail."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.action :as act]
   [temse.impl.log :as listener]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io IOException)
   (temse.protocol Action Action$Reply Event EventType MessageEndReason MilterException MilterException$Category Printable)
   (temse.server ConnectionInfo ServerListener)))

(set! *warn-on-reflection* true)

(defn- connection
  ^ConnectionInfo [peer]
  (reify ConnectionInfo
    (id [_] 7)
    (peer [_] peer)
    (agreement [_] nil)
    (macros [_] nil)))

(defn- reported
  "Calls every method of a listener."
  [^ServerListener listener connection reply-map event-map ^Throwable problem]
  (.negotiated listener connection)
  (let [^Action$Reply reply (some-> reply-map Action/view)
        event (some->> event-map (Event/view EventType/HEADER))]
    (.verdict listener connection EventType/MAIL reply MessageEndReason/ACCEPTED)
    (.failed listener connection EventType/HEADER event problem)
    (.exchanged listener connection event [reply] 1))
  (.verdict listener connection nil nil nil)
  (.closed listener connection nil)
  (.closed listener connection (IOException. (str (try (ex-message problem) (catch Throwable _)))))
  (.violated listener connection
             (MilterException. MilterException$Category/UNEXPECTED_EVENT "broken"
                               (object-array ["value" event-map])))
  (.failed listener connection nil nil nil)
  (.refused listener nil nil))

(def ^:private failing
  (reify Object
    (toString [_] (throw (StackOverflowError.)))
    (hashCode [_] (throw (IllegalStateException.)))))

(defn- nasty-problem
  []
  (proxy [RuntimeException] []
    (getMessage [] (throw (OutOfMemoryError. "for this test")))))

(deftest every-report-is-one-printable-bounded-line
  (let [hostile (str "\u001b[2J\r\n2026 forged\u202e" (apply str (repeat 100000 "x")))]
    (support/with-logs logs
      (reported (listener/listener hostile nil) (connection hostile) (act/reply-code 550 "5.7.1" hostile)
                {:event :header, :name hostile, :value hostile} (Exception. hostile))
      (is (= 9 (count @logs)))
      (doseq [{:keys [message]} @logs]
        (is (<= (count message) 4000))
        (is (not-any? #(or (Character/isISOControl ^char %) (= \u202e %)) message))))))

(defn- verdicts
  "Returns the lines of verdicts without the name and the peer."
  [records]
  (keep #(second (re-find #"^milter \d+ inet:\d+@127.0.0.1 (.* (?:message|at) .*)" %))
        (support/messages records :debug)))

(deftest the-line-of-a-verdict-names-the-mail
  (support/with-logs logs
    (milter/with-milter [server {:port 0
                                 :log-mail? true
                                 :handlers {:recipient (fn [{:keys [address]} _]
                                                         (when (= "<b@example.com>" address)
                                                           [(act/reply-code 550 "5.1.1" "No such user")]))
                                            :end-of-message (fn [_ _] [(act/accept)])}}]
      (with-open [session (mt/connect-to server)]
        (mt/run-message session {:sender "<a@example.org>", :recipients ["<b@example.com>" "<\"c d\"@example.com>"]})
        (mt/run-message session {:sender "<>", :recipients (map #(str "<r" % "@example.com>") (range 30))})
        (support/send-events session (support/envelope "<e@example.com>"))
        (mt/run-message session {:sender "<f@example.org>"})
        (support/send-events session (support/envelope "<g@example.com>"))))
    (let [lines (verdicts logs)
          [id] (keep #(re-find #"queue-id=\S+" %) lines)
          client " client=client.example.org[192.0.2.1]"
          without-id #(string/replace % #"^queue-id=\S+" "ID")]
      (is id)
      (is (= [(str (subs client 1) " from=<a@example.org> to=<b@example.com> at recipient: 550 5.1.1 No such user")
              (str "ID" client " from=<a@example.org> to=<b@example.com>,\"<\\\"c d\\\"@example.com>\""
                   " message accepted at end-of-message: accept")
              (str "ID" client " from=<> to=" (string/join "," (map #(str "<r" % "@example.com>") (range 20)))
                   " recipients=30 message accepted at end-of-message: accept")
              (str "ID" client " from=<a@example.org> to=<e@example.com> message aborted")
              (str "ID" client " from=<f@example.org> to=<recipient@example.com>"
                   " message accepted at end-of-message: accept")
              (str "ID" client " from=<a@example.org> to=<g@example.com> message aborted")]
             (map without-id lines))))))

(defn- printed
  "Returns what a logging library prints of a record."
  [{:keys [message] ^Throwable throwable :throwable}]
  (let [writer (java.io.StringWriter.)]
    (when throwable
      (.printStackTrace throwable (java.io.PrintWriter. writer)))
    (str message (some-> throwable .getMessage) "\n" writer)))

(deftest a-hostile-mail-steers-no-terminal-and-forges-no-line
  (support/with-logs logs
    (let [hostile "\u001b[2J\u0007\u202e\u2066\r2026 forged\u009b"]
      (milter/with-milter [server {:port 0
                                   :handlers {:mail (fn [_ _] nil)
                                              :recipient (fn [_ _] nil)
                                              :header (fn [{:keys [value]} _]
                                                        (throw (doto ^Exception (ex-info value {:value value}
                                                                                         (Exception. (str "cause\n2026 forged " value)))
                                                                 (.addSuppressed (Exception. ^String value)))))}}]
        (with-open [session (mt/connect-to server)]
          (support/send-events session
                               [{:event :connect, :host-name hostile, :family :inet, :port 1, :address "192.0.2.1"}
                                {:event :mail, :sender (str "<" hostile ">"), :options []}
                                {:event :recipient, :address (str "<" hostile " to=<x>>"), :options []}
                                {:event :data}
                                {:event :header, :name "Subject", :value hostile}]))))
    (let [[failure :as failures] (filter :throwable @logs)]
      (is (= 1 (count failures)))
      (is (string/includes? (:message failure) " from="))
      (is (string/includes? (printed failure) "ExceptionInfo: \\u001b[2J\\u0007\\u202e\\u2066\\r2026 forged\\u009b"))
      (is (string/includes? (printed failure) "Caused by: java.lang.Exception: cause\\n2026 forged")))
    (is (some #(string/includes? % "from=") (verdicts logs)))
    (doseq [record @logs
            line (string/split (printed record) #"\n")]
      (is (re-matches #"[\t -~]*" line))
      (is (not (string/starts-with? line "2026"))))))

(deftest an-exception-with-plain-texts-is-logged-as-it-is
  (let [plain (ex-info "naïve" {} (Exception. "no luck"))
        cyclic (doto (Exception. "a") (.initCause (doto (Exception. "b\u0007") (.initCause plain))))]
    (is (identical? plain (Printable/throwable plain)))
    (is (string/includes? (printed {:throwable (Printable/throwable cyclic)}) "Caused by: java.lang.Exception: b\\u0007"))
    (is (Printable/throwable (nasty-problem)))))

(deftest nothing-in-a-reply-an-event-or-a-failure-makes-a-report-throw
  (are [reply event problem]
       (support/with-logs logs
         (reported (listener/listener "x" (fn [_] (throw (nasty-problem)))) (connection "p") reply event problem)
         (= 10 (count @logs)))
       (act/reply-code 550 "5.7.1" nil) {:event :mail} (Exception.)
       {:action :reply-code, :text failing} {:event failing, :x (range)} (nasty-problem)
       nil nil nil
       {:action :reply-code} {:deep (nth (iterate vector failing) 1000)} (ex-info "x" {:y failing})))

(deftest no-text-is-made-for-a-level-that-is-off
  (let [asked (atom 0)]
    (with-redefs [log/*logger-factory* (reify logging/LoggerFactory
                                         (name [_] "off")
                                         (get-logger [_ _]
                                           (reify logging/Logger
                                             (enabled? [_ _] false)
                                             (write! [_ _ _ _] nil))))]
      (reported (listener/listener "x" nil)
                (reify ConnectionInfo
                  (id [_] (swap! asked inc))
                  (peer [_] (swap! asked inc) "")
                  (agreement [_] nil)
                  (macros [_] nil))
                (act/reject) {:event :mail} (Exception.)))
    (is (= 0 @asked))))

(deftest a-logging-back-end-that-fails-disturbs-no-mail
  (doseq [failure [#(throw (StackOverflowError.)) #(throw (Exception. "disk full"))]]
    (with-redefs [log/*logger-factory* (reify logging/LoggerFactory
                                         (name [_] "broken")
                                         (get-logger [_ _]
                                           (reify logging/Logger
                                             (enabled? [_ _] (failure))
                                             (write! [_ _ _ _] (failure)))))]
      (is (= :accept (:verdict (mt/run-message {:handlers {:header (fn [_ _])}} {}))))
      (testing "and a handler that fails still defers its mail"
        (is (= :temporary-failure
               (:verdict (mt/run-message {:handlers {:mail (fn [_ _] (throw (Exception. "no luck")))}} {}))))))))

(deftest a-reply-without-text-leaves-the-next-message-alone
  (support/with-logs _logs
    (let [filter {:handlers {:mail (fn [{:keys [sender]} _]
                                     (when (= "<bad@example.org>" sender)
                                       [(act/reply-code 550 "5.7.1" nil)]))}}]
      (milter/with-milter [server (assoc filter :port 0)]
        (with-open [session (mt/connect-to server)]
          (is (= [:reply-code :accept :accept]
                 [(:action (:reply (mt/run-message session {:sender "<bad@example.org>"})))
                  (:verdict (mt/run-message session {}))
                  (:verdict (mt/run-message session {}))])))))))

(deftest an-on-exchange-that-fails-is-logged-once-in-a-while
  (support/with-logs logs
    (let [f (listener/guarded "x" ":on-exchange" (fn [_] (throw (Exception. "no luck"))))]
      (dotimes [_ 100]
        (is (nil? (f {}))))
      (is (= ["x :on-exchange failed: no luck"] (support/messages logs :error)))
      (with-redefs [listener/quiet-nanos 0]
        (f {}))
      (is (string/ends-with? (peek (support/messages logs :error))
                             "no luck (and 99 times before that were not logged)")))))
