(ns temse.impl.proxy.tap
  "From the bytes of both directions of a milter connection to exchanges: which response answered
  which event, after how long."
  {:no-doc true}
  (:import
   (clojure.lang PersistentQueue)
   (java.nio ByteBuffer)
   (temse.client AnswerRemarks)
   (temse.protocol ActionCodec ActionType ActionType$Kind Budget EventCodec EventType MilterException Packet PacketDecoder ProtocolFlag)))

(set! *warn-on-reflection* true)

(def ^:private largest-payload 16777216)

(def ^:private packet-bytes
  "Bytes that a decoded packet takes besides its payload."
  400)

;; ---- pairing
;;
;; The state is {:waiting exchanges, :size bytes, :agreed protocol flags}. An exchange that waits has
;; :owed?, true until its reply has come, :at, when its event came, and :size, about how many bytes it
;; and its response take; they are counted together in the :size of the state.

(def beginning
  "The state before the first packet."
  {:waiting PersistentQueue/EMPTY, :size 0, :agreed #{}, :agreed-actions -1})

(defn- owed?
  "Returns true if the milter answers the event."
  [{:keys [agreed]} {:keys [event]}]
  (let [type (EventType/ofKeyword event)]
    (boolean (and type
                  (or (= EventType/OPTIONS type)
                      (and (.owesReply type)
                           (not (some-> (.-noReplyBy type)
                                        (as-> flag (agreed (.-keyword ^ProtocolFlag flag)))))))))))

(def ^:private most-waiting
  "Exchanges that wait behind one without a reply; beyond that nothing is expected for it any more."
  1000)

(def ^:private most-waiting-bytes
  "Bytes of the exchanges that wait, likewise."
  33554432)

(defn- remarks
  "Returns what Postfix and Sendmail make of an answer that is not as the protocol wants it. That a reply
  is missing is remarked upon where the connection is over."
  [{:keys [event]} response agreed-actions over?]
  (let [type (EventType/ofKeyword event)]
    (when (or (= :unasked event) (and type (not= EventType/OPTIONS type)))
      (cond->> (AnswerRemarks/of type (keep (comp ::packet meta) response) agreed-actions)
        (not over?) (remove #(= :no-reply (:remark %)))))))

(defn- let-go
  "Returns an exchange as it is reported: without any action its response is nil where one was owed. `over?`
  is true where the connection is."
  [{:keys [owed? event response] :as exchange} agreed-actions over?]
  (let [remarks (when (or owed? (seq response))
                  (seq (remarks event response agreed-actions over?)))]
    (cond-> (-> exchange
                (dissoc :owed? :at :size)
                (assoc :response (when (or (seq response) (not owed?))
                                   (mapv #(with-meta % nil) response))))
      remarks (assoc :remarks (vec remarks)))))

(defn- settled
  "Returns [state exchanges]: those that wait for nothing any more are let go, in order."
  [{:keys [waiting size agreed-actions] :as state}]
  (loop [waiting waiting, size (long size), done []]
    (let [exchange (peek waiting)]
      (if (and exchange
               (or (not (:owed? exchange))
                   (< (long most-waiting) (count waiting))
                   (< (long most-waiting-bytes) size)))
        (recur (pop waiting) (- size (long (:size exchange))) (conj done (let-go exchange agreed-actions false)))
        [(assoc state :waiting waiting, :size size) done]))))

(defn event-came
  "Returns [state exchanges] after an event of the MTA and the number of bytes that it takes."
  [state event size nanos]
  (settled (-> state
               (update :size + size)
               (update :waiting conj
                       {:event event, :response [], :nanos 0
                        :at nanos, :size size, :owed? (owed? state event)}))))

(defn- reply?
  [{:keys [action event]}]
  (or (= :options event)
      (some-> (ActionType/ofKeyword action) (as-> type (= ActionType$Kind/REPLY (.-kind ^ActionType type))))))

(defn- change-first
  [waiting f & args]
  (into (conj PersistentQueue/EMPTY (apply f (peek waiting) args)) (pop waiting)))

(defn- answered
  "Returns an exchange with an action in its response."
  [{:keys [at] :as exchange} action size nanos]
  (cond-> (-> exchange
              (update :response conj action)
              (update :size + size))
    (reply? action) (assoc :owed? false, :nanos (- (long nanos) (long at)))))

(defn action-came
  "Returns [state exchanges] after an action of the milter and the number of bytes that it takes. One that nothing
  waits for answers the event {:event :unasked}."
  [{:keys [waiting] :as state} action size nanos]
  (if (seq waiting)
    (settled
      (cond-> (-> state
                  (update :size + size)
                  (update :waiting change-first answered action size nanos))
        (= :options (:event action)) (assoc :agreed (:protocol action)
                                            :agreed-actions (unchecked-int (:action-mask action)))))
    [state [(let-go {:event {:event :unasked}, :response [action], :nanos 0} -1 false)]]))

(defn ended
  "Returns the exchanges whose replies never came, or did not come as long as somebody listened."
  [{:keys [waiting agreed-actions]} over?]
  (mapv #(let-go % agreed-actions over?) waiting))

;; ---- packets and bytes

(defn undecodable
  "Returns what stands for a packet that cannot be decoded."
  [^Packet packet e]
  {:event :undecodable, :code (bit-and 0xFF (.code packet)), :data (.payload packet)
   :problem (ex-message e)})

(defn packet-event
  "Returns the event of an MTA's packet."
  [^Packet packet]
  (try
    (let [event (EventCodec/decode packet)]
      (cond-> event
        (= :disconnect (:event event)) (assoc :reason :new-connection)))
    (catch MilterException e
      (undecodable packet e))))

(defn packet-action
  "Returns the action of a milter's packet, for its answer to the offer an :options map."
  [^Packet packet]
  (-> (try
        (if (= (.code packet) (.-code EventType/OPTIONS))
          (EventCodec/decode packet)
          (ActionCodec/decode packet))
        (catch MilterException e
          (-> (undecodable packet e)
              (dissoc :event)
              (assoc :action :undecodable))))
      (with-meta {::packet packet})))

(defn tap
  "Returns a function of :mta or :milter, bytes and the time in nanoseconds, which gives each exchange
  to `on-exchange` and returns about how many bytes wait in it, and of :end, which gives it those that
  were never answered. It is for one thread at a time.

  Bytes that are no packets are reported to `on-problem`, with the side and the exception; the tap takes nothing
  then."
  [on-exchange on-problem]
  (let [unfinished (Budget. Long/MAX_VALUE)
        decoders {:mta (PacketDecoder. largest-payload unfinished)
                  :milter (PacketDecoder. largest-payload unfinished)}
        state (volatile! beginning)
        take-in (fn [side ^Packet packet nanos]
                  (let [size (+ (long packet-bytes) (alength (.payload packet)))
                        [next-state exchanges] (if (= :mta side)
                                                 (event-came @state (packet-event packet) size nanos)
                                                 (action-came @state (packet-action packet) size nanos))]
                    (vreset! state next-state)
                    (run! on-exchange exchanges)))]
    (fn
      ([how]
       (when-let [last-state @state]
         (vreset! state nil)
         (run! on-exchange (ended last-state (= :end how)))))
      ([side ^bytes bytes nanos]
       (let [^PacketDecoder decoder (decoders side)
             buffer (ByteBuffer/wrap bytes)]
         (try
           (loop []
             (when @state
               (when-let [packet (.next decoder buffer)]
                 (take-in side packet nanos)
                 (recur))))
           (catch MilterException e
             (on-problem side e)
             (run! on-exchange (ended @state false))
             (vreset! state nil)))
         (+ (long (:size @state 0)) (.taken unfinished)))))))
