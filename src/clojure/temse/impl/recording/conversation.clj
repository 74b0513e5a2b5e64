(ns temse.impl.recording.conversation
  "From the exchanges that a server reports to a recording of what went over the wire."
  {:no-doc true}
  (:require
   [temse.impl.recording.file :as recording-file])
  (:import
   (java.io ByteArrayOutputStream)
   (java.util RandomAccess)
   (temse.protocol ActionCodec MilterException)))

(set! *warn-on-reflection* true)

(defn- known-body?
  "Returns true for a body that can be kept: text, bytes, or pieces of these that are all there. What
  else a handler may give is read once, by the server."
  [body]
  (or (string? body)
      (bytes? body)
      (and (or (counted? body) (instance? RandomAccess body))
           (every? #(or (string? %) (bytes? %)) body))))

(defn keepable
  "Returns an action without a new body that can be read only once."
  [{:keys [body] :as action}]
  (if (or (nil? body) (known-body? body))
    action
    {:action :change-body, :streamed? true}))

(defn joined
  "Returns the actions with the pieces of a replaced body in one."
  [actions]
  (if (some bytes? (map :body actions))
    (let [body (ByteArrayOutputStream.)
          piece? #(bytes? (:body %))]
      (run! #(.writeBytes body (:body %)) (filter piece? actions))
      (let [[before more] (split-with (complement piece?) actions)]
        (-> (vec before)
            (conj {:action :change-body, :body (.toByteArray body)})
            (into (remove piece?) more))))
    actions))

(defn- packets-of
  "Returns the actions that the packets of an action decode to."
  [action]
  (mapv #(ActionCodec/decode %) (ActionCodec/packets action)))

(defn- sent-actions
  "Returns the actions that the MTA gets for an action. What a proxy has seen need not be good enough to be sent."
  [action]
  (if (:streamed? action)
    [action]
    (try
      (packets-of action)
      (catch MilterException _
        [action]))))

(defn- without-space
  [{:keys [^String value] :as m}]
  (cond-> m
    (and value (.startsWith value " ")) (update :value subs 1)))

(defn- travelled
  "Returns a reply as the MTA gets it: skip travels for the body only, and where it was agreed."
  [{:keys [action] :as reply} event protocol]
  (if (and (= :skip action)
           (not (and (= :body (:event event)) (contains? protocol :skip))))
    {:action :continue}
    reply))

(defn- recorded-exchange
  "Returns an exchange of :on-exchange as the wire had it."
  [{:keys [leading-space? protocol]} {:keys [event response millis]}]
  (let [emulated? (and leading-space? (not (contains? protocol :leading-space)))
        on-wire (if emulated? without-space identity)]
    {:event (on-wire event)
     :response (when response
                 (if (= :options (:event event))
                   response
                   (joined
                     (into []
                           (comp (map #(travelled % event protocol)) (map on-wire) (mapcat sent-actions))
                           response))))
     :nanos (long (* 1e6 (double millis)))}))

(defn recording-of
  "Returns the recording of a conversation {:started :peer :ended :leading-space? :exchanges}, as the
  wire had it."
  [{:keys [started peer ended leading-space? exchanges]}]
  (let [[{[answer] :response}] exchanges
        agreed {:leading-space? leading-space?, :protocol (:protocol answer)}
        conversation (mapv #(recorded-exchange agreed %) exchanges)
        mta (some #(get-in % [:event :definitions "v"]) conversation)]
    (cond-> {:temse/recording recording-file/version
             :recorded started}
      mta (assoc :mta mta)
      true (assoc :peer peer, :ended ended, :conversation conversation)
      true recording-file/with-queue-ids)))
