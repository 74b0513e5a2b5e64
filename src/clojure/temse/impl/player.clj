(ns temse.impl.player
  "Plays what an MTA has to say, and leaves out what the replies make it leave out."
  {:no-doc true}
  (:import
   (java.io IOException)
   (temse.client MtaSession)
   (temse.protocol ActionCodec ActionType EventType Session)))

(set! *warn-on-reflection* true)

(def negotiated
  "What an MTA knows of a connection on which nothing was said: the state of the session, how many
  recipients of the message it has told, how many were taken, and which events are to be skipped."
  {:state Session/NEGOTIATED, :told 0, :taken 0, :skipped #{}})

(defn- due?
  "Returns true if the MTA says the event, after what the filter has answered."
  [{:keys [state told taken skipped]} ^EventType type]
  (condp = state
    Session/CONNECTION_SETTLED
    (contains? #{EventType/QUIT EventType/DISCONNECT} type)

    Session/MESSAGE_SETTLED
    (or (= EventType/MAIL type) (not (.inMessage type)))

    (not (or (contains? skipped type)
             (and (pos? (long told))
                  (zero? (long taken))
                  (.inMessage type)
                  (not (contains? #{EventType/MAIL EventType/RECIPIENT} type)))))))

(defn- answered
  "Returns what the MTA knows after an event and its answer."
  [{:keys [state] :as mta} ^EventType type response]
  (let [reply (peek response)
        verdict (if reply (ActionCodec/verdict reply) ActionType/CONTINUE)
        refused? (contains? #{ActionType/REJECT ActionType/TEMPORARY_FAILURE} verdict)
        state (.settle (.after ^Session state type false) type verdict)]
    (cond-> (assoc mta :state (if (= 421 (:smtp-code reply)) Session/CONNECTION_SETTLED state))
      (= EventType/MAIL type) (assoc :told 0 :taken 0 :skipped #{})
      (= EventType/RECIPIENT type) (update :told inc)
      (and (= EventType/RECIPIENT type) (not refused?)) (update :taken inc)
      (= ActionType/SKIP verdict) (update :skipped conj type))))

(defn- last-word?
  "Returns true for the event that ends the connection: :quit, or :disconnect to a filter that
  cannot be told of the next client."
  [^MtaSession session type]
  (or (= EventType/QUIT type)
      (and (= EventType/DISCONNECT type) (not (.wanted session type)))))

(defn- tell
  "Says an event if it is due. Returns what the MTA knows then, reduced if no other event follows."
  [^MtaSession session mta {:keys [event] :as e} heard]
  (let [type (EventType/ofKeyword event)]
    (cond
      (not (due? mta type))
      mta

      (last-word? session type)
      (do (.close session)
          (reduced (assoc mta :state Session/CLOSED)))

      :else
      (let [start (System/nanoTime)
            response (vec (.send session e))
            nanos (- (System/nanoTime) start)]
        (cond-> (answered mta type response)
          (not (heard (cond-> {:event e, :response response}
                        (.wanted session type) (assoc :nanos nanos))))
          reduced)))))

(defn- unheard-end?
  "Returns true if the event ends the message in progress, and the filter would not hear of it."
  [^MtaSession session {:keys [state]} {:keys [event]}]
  (let [type (EventType/ofKeyword event)]
    (and (.aborts ^Session state type) (not (.wanted session type)))))

(defn say
  "Says events to a filter, calls `heard` with each exchange, {:event :response :nanos}, and returns
  what the MTA knows then; the state is CLOSED where the connection is over. Stops where `heard`
  returns false. The filter does not hear of events that it does not want: they have no :nanos; if
  they end a message, an :abort comes first.

  Throws :unexpected-event where no MTA says the event."
  [session mta events heard]
  (try
    (reduce (fn [mta e]
              (let [mta (if (unheard-end? session mta e)
                          (tell session mta {:event :abort} heard)
                          mta)]
                (if (reduced? mta)
                  mta
                  (tell session mta e heard))))
            mta
            events)
    (catch IOException _
      (assoc mta :state Session/CLOSED))))
