(ns temse.context-test
  "What the context of an event is, seen from the Java server: which connection it has, what is put
  back, and what is let go."
  (:require
   [clojure.test :refer [deftest is]]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (clojure.lang IPersistentMap)
   (java.lang.ref WeakReference)
   (temse.protocol EventType MacroTable Negotiation Offer)
   (temse.server MilterConnection MilterFactory MilterHandler)))

(set! *warn-on-reflection* true)

(defn- connection
  ^MilterConnection [closed]
  (reify MilterConnection
    (id [_] 1)
    (peer [_] "test")
    (agreement [_] nil)
    (macros [_] MacroTable/EMPTY)
    (^void send [_ ^IPersistentMap _])
    (progress [_])
    (awaitMaps [_ _ _ _])
    (close [_] (swap! closed inc))))

(defn- negotiated
  "Returns the handler of a connection that was negotiated with an MTA."
  ^MilterHandler [options]
  (let [opening (connection (atom 0))
        handler (.open (milter/factory options) opening)]
    (.negotiated handler (Negotiation/agree Offer/CURRENT
                                            (.request handler opening {:event :options})))
    handler))

(defn- fire
  [^MilterHandler handler connection event]
  (.onEvent handler connection (EventType/ofKeyword event) {:event event}))

(deftest each-event-has-the-connection-it-came-with
  (let [seen (atom [])
        handler (negotiated {:handlers {:header (fn [_ context]
                                                  (swap! seen conj (:milter/connection context))
                                                  (first (shuffle [context nil []])))}})
        connections (repeatedly 20 #(connection (atom 0)))]
    (run! #(fire handler % :header) connections)
    (is (= connections @seen))))

(deftest a-context-of-an-event-that-is-over-is-mended
  (let [seen (atom [])
        handler (negotiated {:handlers {:header (fn [_ context]
                                                  (swap! seen conj context)
                                                  (assoc (first @seen) :n (count @seen)))}})
        connections (doall (repeatedly 3 #(connection (atom 0))))]
    (run! #(fire handler % :header) connections)
    (is (= connections (map :milter/connection @seen)))
    (is (apply = (map :socket @seen)) "which is the same object for a whole connection")
    (is (= [nil 1 2] (map :n @seen)))))

(deftest on-error-gets-the-connection-it-was-called-with
  (let [seen (promise)
        handler (negotiated {:handlers {:mail (fn [_ _] (throw (Exception. "no luck")))}
                             :on-error (fn [_ _ context]
                                         (deliver seen (:milter/connection context))
                                         nil)})
        [one another] (repeatedly #(connection (atom 0)))]
    (is (thrown? Exception (fire handler one :mail)))
    (.onError handler another (Exception.) EventType/MAIL {:event :mail})
    (is (= another @seen))))

(deftest the-connection-that-closes-is-that-of-the-event
  (let [kept (atom nil)
        handler (negotiated {:handlers {:mail (fn [_ context]
                                                (milter/close (or @kept (reset! kept context))))}})
        closed [(atom 0) (atom 0)]]
    (run! #(fire handler (connection %) :mail) closed)
    (is (= [1 1] (map deref closed)))))

(defn- let-go?
  "Returns true if an object is collected within ten seconds."
  [^WeakReference reference]
  (let [end (+ (System/nanoTime) 10000000000)]
    (loop []
      (System/gc)
      (cond
        (nil? (.get reference)) true
        (< end (System/nanoTime)) false
        :else (recur)))))

(defn- referred
  "Returns a weak reference to something large that the handlers keep in the context."
  [handler]
  (let [large (byte-array 1000000)]
    (.onEvent ^MilterHandler handler (connection (atom 0)) EventType/BODY {:event :body, :data large})
    (WeakReference. large)))

(deftest what-a-message-or-a-client-left-in-the-context-is-let-go-at-its-end
  (doseq [[end keep-it] {EventType/MESSAGE_END #(milter/update-message %2 assoc :data %1)
                         EventType/DISCONNECT #(assoc %2 :data %1)}]
    (let [handler (negotiated {:handlers {:body (fn [{:keys [data]} context] (keep-it data context))}})
          large (referred handler)]
      (fire handler (connection (atom 0)) :header)
      (.scopeEnded handler end)
      (is (let-go? large)))))

(def ^:private silent
  "The offer of an MTA that can do without replies, and sends every event."
  {:protocol #{:no-reply-connect :no-reply-hello :no-reply-mail :no-reply-recipient :no-reply-data
               :no-reply-unknown :no-reply-headers :no-reply-end-of-headers :no-reply-body}})

(deftest a-watcher-that-fails-defers-the-mail-also-where-nothing-but-its-end-is-answered
  (doseq [event [:connect :hello :mail :recipient :data :header :end-of-headers :body]]
    (support/with-logs _logs
      (is (= [:temporary-failure :end-of-message]
             ((juxt :verdict :at)
              (mt/run-message {:handlers {event ^:no-reply (fn [_ _] (throw (Error. "no memory")))}}
                              {:body "text\r\n"}
                              {:offer silent})))
          event))))

(deftest what-on-error-sees-of-a-limit-is-the-context-of-the-last-good-event
  (let [seen (atom [])
        filter {:handlers {:header (fn [_ context]
                                     (milter/update-message context update :fields (fnil inc 0)))
                           :message-end (fn [_ context]
                                          (swap! seen conj (:fields (milter/message context)))
                                          nil)}
                :max-header-fields 2
                :on-error (fn [_ _ context]
                            (swap! seen conj (:fields (milter/message context)))
                            nil)}]
    (support/with-logs _logs
      (is (= :temporary-failure
             (:verdict (mt/run-message filter {:headers [["A" "1"] ["B" "2"] ["C" "3"]]})))))
    (is (= [2 2] @seen))))

(deftest a-failure-at-connect-concerns-every-message-and-keeps-the-context-of-the-client
  (let [inits (atom 0)
        filter {:init (fn [context] (assoc context :number (swap! inits inc)))
                :handlers {:connect ^:no-reply (fn [_ _] (throw (Error. "no memory")))
                           :end-of-message (fn [_ _] nil)}}]
    (support/with-logs _logs
      (with-open [session (mt/connect-to filter)]
        (is (= [:temporary-failure :temporary-failure :temporary-failure]
               (repeatedly 3 #(:verdict (mt/run-message session {})))))))
    (is (= 1 @inits))))
