(ns temse.message-scope-test
  (:require
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.support :as support :refer [awaited with-logs]]
   [temse.test :as mt])
  (:import
   (temse.client MtaSession)
   (temse.limits RawMta)))

(set! *warn-on-reflection* true)

(defn- remember
  "A handler that remembers its event in the current message."
  [{:keys [event]} context]
  (milter/update-message context update :events (fnil conj []) event))

(defn- watching
  "Returns a filter that remembers events by message, and adds [:begin message], [:end reason message]
  and [:bye reason] to an atom."
  [seen handlers]
  {:handlers (merge (zipmap [:recipient :data :header :end-of-headers :body :end-of-message :abort]
                            (repeat remember))
                    handlers
                    {:mail (fn [event context]
                             (swap! seen conj [:begin (milter/message context)])
                             ((:mail handlers remember) event context))
                     :message-end (fn [{:keys [reason]} context]
                                    (swap! seen conj [:end reason (milter/message context)])
                                    context)
                     :disconnect (fn [{:keys [reason]} context]
                                   (swap! seen conj [:bye reason (milter/message context)])
                                   context)})})

(defn- once
  "A handler that is f the first time, and remembers its event from then on."
  [f]
  (let [first-time (atom true)]
    (fn [event context]
      ((if (compare-and-set! first-time true false) f remember) event context))))

(def ^:private whole
  (concat (support/envelope) support/content))

(def ^:private all-events
  [:mail :recipient :data :header :end-of-headers :body :end-of-message])

(defn- up-to
  [event]
  (conj (vec (take-while (complement #{event}) all-events)) event))

(defn- events-until
  "The events of a message up to the first of a kind."
  [event]
  (take (count (up-to event)) whole))

(defn- played
  "Returns what was seen of a connection on which the events are sent."
  [handlers & events]
  (let [seen (atom [])]
    (with-open [session (mt/connect-to (watching seen handlers))]
      (support/send-events session (apply concat support/opening events)))
    @seen))

(def ^:private bye
  [:bye :quit {}])

(defn- message
  "What is seen of a message."
  [reason events]
  [[:begin {}] [:end reason {:events events}]])

(deftest a-message-without-incident-ends-once-accepted
  (is (= (concat (message :accepted all-events) (message :accepted all-events) [bye])
         (played {} whole whole)
         (played {} whole [{:event :abort}] whole)
         (played {} whole [{:event :abort} {:event :abort}] whole [{:event :abort}])
         (played {} whole (rest support/opening) whole))))

(deftest a-verdict-ends-the-message-wherever-it-is-given
  (doseq [event all-events
          [answer reason] [[(act/accept) :accepted]
                           [(act/reject) :rejected]
                           [(act/temporary-failure) :deferred]
                           [(act/discard) :discarded]
                           [(act/reply-code 550 "no") :rejected]
                           [(act/reply-code 451 "later") :deferred]]
          :when (not (and (= :recipient event)
                          (#{:rejected :deferred} reason)))]
    (testing [event answer]
      (is (= (concat (message reason (up-to event)) (message :accepted all-events) [bye])
             (played {event (once (fn [e context] (milter/respond (remember e context) answer)))}
                     (events-until event)
                     [{:event :abort}]
                     whole))))))

(deftest a-refused-recipient-does-not-end-the-message
  (is (= (concat (message :accepted [:mail :recipient :recipient :data :header :end-of-headers :body
                                     :end-of-message])
                 [bye])
         (played {:recipient (fn [{:keys [address] :as event} context]
                               (cond-> (remember event context)
                                 (= "<no@b.example>" address) (milter/respond (act/reject))))}
                 (support/envelope "<no@b.example>" "<yes@b.example>")
                 support/content))))

(deftest an-mta-ends-a-message-in-many-ways
  (doseq [event (butlast all-events)
          [way ending] {"abort" [{:event :abort}]
                        "double abort" [{:event :abort} {:event :abort}]
                        "new message" []
                        "hello" (rest support/opening)}]
    (testing [event way]
      (is (= (concat (message :aborted (conj (up-to event) :abort))
                     (message :accepted all-events)
                     [bye])
             (played {} (events-until event) ending whole))))))

(deftest quit-ends-message-and-client
  (doseq [event (butlast all-events)]
    (testing event
      (is (= (concat (message :aborted (conj (up-to event) :abort)) [bye])
             (played {} (events-until event))
             (played {} (events-until event) [{:event :quit}]))))))

(deftest a-new-client-on-the-same-connection-begins-anew
  (doseq [event (butlast all-events)]
    (let [inits (atom 0)
          seen (atom [])]
      (with-open [session (mt/connect-to (assoc (watching seen {})
                                                :init #(assoc % :init (swap! inits inc))))]
        (support/send-events session (concat support/opening
                                             (events-until event)
                                             [{:event :disconnect}]
                                             support/opening
                                             whole)))
      (is (= (concat (message :aborted (conj (up-to event) :abort))
                     [[:bye :new-connection {}]]
                     (message :accepted all-events)
                     [bye])
             @seen))
      (is (= 2 @inits)))))

(deftest a-lost-connection-ends-message-and-client
  (doseq [event (butlast all-events)]
    (let [seen (atom [])
          session ^MtaSession (mt/connect-to (watching seen {}))]
      (support/send-events session (concat support/opening (events-until event)))
      (.drop session)
      (is (= (concat (message :lost (conj (up-to event) :abort)) [[:bye :connection-lost {}]])
             @seen)))))

(deftest a-lost-socket-ends-message-and-client
  (let [seen (atom [])
        gone (promise)
        filter (watching seen {})]
    (milter/with-milter [server (-> filter
                                    (assoc :port 0)
                                    (update-in [:handlers :disconnect]
                                               (fn [handler]
                                                 (fn [event context]
                                                   (handler event context)
                                                   (deliver gone true)
                                                   context))))]
      (let [session ^MtaSession (mt/connect-to server)]
        (support/send-events session (concat support/opening (events-until :header)))
        (.drop session)
        (is (awaited gone))))
    (is (= (concat (message :lost (conj (up-to :header) :abort)) [[:bye :connection-lost {}]])
           @seen))))

(deftest a-server-that-stops-ends-message-and-client
  (let [seen (atom [])
        server (milter/start-milter (assoc (watching seen {}) :port 0 :daemon? true))
        session (mt/connect-to server)]
    (support/send-events session (concat support/opening (events-until :header)))
    (milter/stop-milter server 0)
    (is (= (concat (message :lost (conj (up-to :header) :abort)) [[:bye :stopping {}]])
           @seen))))

(deftest a-protocol-error-ends-message-and-client
  (with-logs _logs
    (let [seen (atom [])]
      (with-open [session (mt/connect-to (watching seen {}))]
        (support/send-events session (concat support/opening (events-until :end-of-headers)))
        (is (thrown? java.io.IOException
              (mt/send-event session {:event :recipient, :address "<a@b.example>", :options []}))))
      (is (= (concat (message :lost (conj (up-to :end-of-headers) :abort)) [[:bye :error {}]])
             @seen)))))

(deftest a-failed-handler-ends-the-message-deferred-without-what-it-did
  (with-logs _logs
    (doseq [event all-events
            :when (not= :recipient event)]
      (testing event
        (is (= (concat [[:begin {}]
                        [:end :deferred (if (= :mail event) {} {:events (pop (up-to event))})]]
                       (message :accepted all-events)
                       [bye])
               (played {event (once (fn [_ _] (throw (Exception. "no luck"))))}
                       (events-until event)
                       [{:event :abort}]
                       whole)))))))

(deftest a-message-without-mail-handler-ends-too
  (let [seen (atom [])]
    (with-open [session (mt/connect-to {:handlers {:message-end (fn [{:keys [reason]} _]
                                                                  (swap! seen conj reason)
                                                                  nil)}})]
      (support/send-events session (concat support/opening whole))
      (support/send-events session (concat (events-until :data) [{:event :abort}])))
    (is (= [:accepted :aborted] @seen))))

(deftest a-failing-handler-of-endings-harms-nobody
  (with-logs logs
    (with-open [session (mt/connect-to {:handlers {:message-end (fn [_ _] (throw (Exception. "a")))
                                                   :disconnect (fn [_ _] (throw (Exception. "b")))
                                                   :mail (fn [_ context]
                                                           (is (= {} (milter/message context)))
                                                           (milter/update-message context
                                                                                  assoc :a 1))}})]
      (dotimes [_ 2]
        (is (= :accept (:verdict (mt/run-message session {}))))))
    (is (= 3 (count (support/messages logs :error))))))

(deftest a-context-without-its-message-begins-with-an-empty-one
  (let [seen (atom [])]
    (mt/run-message {:handlers {:mail (fn [_ context] (milter/update-message context assoc :a 1))
                                :recipient (fn [_ context] (dissoc context :milter/message))
                                :end-of-message (fn [_ context]
                                                  (swap! seen conj (milter/message context))
                                                  context)}}
                    {})
    (is (= [{}] @seen))))

(deftest what-is-put-into-the-context-itself-outlives-the-message
  (let [seen (atom [])]
    (with-open [session (mt/connect-to {:handlers {:mail (fn [_ context]
                                                           (swap! seen conj (:count context))
                                                           (update context :count (fnil inc 0)))}})]
      (dotimes [_ 3]
        (mt/run-message session {})))
    (is (= [nil 1 2] @seen))))

(deftest what-an-mta-says-once-is-answered-once-and-closes-the-connection-when-it-comes-again
  (let [handlers {:connect (fn [_ _])
                  :mail (fn [_ _])
                  :end-of-message (fn [_ _] [(act/add-header "X-Seen" "yes") (act/accept)])}
        opening [[\C "client.example.org\u0000U"]]
        mail [[\M "<a@example.org>\u0000"] [\E ""]]]
    (doseq [[packets answers] [[[[\O "\u0000\u0000\u0000\u0006\u0000\u0000\u0001\u00ff\u0000\u001f\u00ff\u00ff"]] ""]
                               [(into opening opening) "c"]
                               [(concat opening mail [[\E ""]]) "ccha"]
                               [(concat opening mail mail [[\E ""]] mail) "cchacha"]]]
      (testing packets
        (with-logs logs
          (milter/with-milter [server {:port 0, :handlers handlers}]
            (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
              (.negotiate peer)
              (.sendBytes peer (byte-array (mapcat (fn [[code payload]] (RawMta/packet code payload)) packets)))
              (is (= answers (.readCodes peer 20)))))
          (is (some #(re-find #"is not legal" %) (support/messages logs :warn))))))))
