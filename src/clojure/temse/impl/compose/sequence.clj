(ns temse.impl.compose.sequence
  "Several filters behind one connection to the MTA, which go on as if each had a connection of its own.

  Events of the envelope go to one after the other. Content goes to each as it comes, up to the first
  filter that may change it; for those behind it is kept, and played to them at the end of the message
  as the earlier ones have left it.

  A node is a map of one filter and what stands around it:

    :filter      ; its options
    :title       ; its name in logs and verdicts
    :client?     ; function of a context: whether it is there for an SMTP client
    :message?    ; function of a context: whether it is there for a message
    :judged      ; function of {:event :actions :context}: what is to be answered in place of the actions
    :adds        ; actions that :judged may add, at the end of a message
    :on-exchange ; function of its exchanges"
  {:no-doc true}
  (:require
   [clojure.set :as set]
   [temse.impl.compose.member :as member]
   [temse.impl.macros :as macros]
   [temse.impl.message-store :as store]
   [temse.impl.mta.rules :as rules]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options])
  (:import
   (java.io InputStream)
   (temse.message Body Collector HeaderField Message MessageStore Mta)
   (temse.protocol ActionCodec ActionFlag ActionType Agreement EventCodec EventType MacroStage MilterException MilterException$Category Negotiation Offer ProtocolFlag Request Request$Builder)
   (temse.server Connection)
   (temse.transport.internal Conversation$End)))

(set! *warn-on-reflection* true)

;; ---- what is asked of the MTA

(def ^:private content-events
  #{EventType/HEADER EventType/END_OF_HEADERS EventType/BODY})

(defn- changes?
  [{:keys [agreement node]}]
  (if (:judged node)
    (boolean (seq (:adds node)))
    (member/asks-to-change? agreement)))

(defn- with-places
  "Returns the parts, of which each knows whether content is :kept for it."
  [parts]
  (let [changed (reductions #(or %1 (changes? %2)) false parts)]
    (mapv #(assoc %1 :kept? %2) parts changed)))

(defn- wants?
  [{:keys [^Request request]} type]
  (contains? (.events request) type))

(defn- kept-events
  "Returns the events whose content is kept for one of the parts. One that changes header fields by their
  number needs them, since earlier filters may have deleted some."
  [parts]
  (let [kept (filter :kept? parts)]
    (cond-> #{}
      (some #(wants? % EventType/BODY) kept) (conj EventType/BODY)
      (some #(or (wants? % EventType/HEADER)
                 (.allows ^Agreement (:agreement %) ActionFlag/CHANGE_HEADER)
                 (.allows ^Agreement (:agreement %) ActionFlag/ADD_HEADER))
            kept)
      (conj EventType/HEADER))))

(defn- begins-by-mail?
  "Returns true if the filter is told of MAIL, perhaps only because messages begin with it."
  [{:keys [^Agreement agreement]}]
  (not (.suppresses agreement EventType/MAIL)))

(defn- own-events
  "Returns the events that are needed for a part, beside those that its filter asks for."
  [{:keys [node] :as part}]
  (cond-> #{EventType/MESSAGE_END EventType/DISCONNECT}
    (begins-by-mail? part) (conj EventType/MAIL)
    (or (:client? node) (:message? node)) (conj EventType/CONNECT)
    (:message? node) (conj EventType/MAIL)
    (:adds node) (conj EventType/END_OF_MESSAGE)))

(defn- joined-macros
  [parts]
  (let [requests (map :request parts)
        asked (apply merge-with into
                     (for [^Request request requests]
                       (update-vals (into {} (.macros request)) vec)))]
    (update-vals (into {} (for [[stage names] asked]
                            [stage (into names (macros/usual (.-keyword ^MacroStage stage)))]))
                 #(vec (distinct (map macros/bare-name %))))))

(defn- flags-of
  [f parts]
  (into #{} (mapcat f) parts))

(defn joined
  "Returns what all parts together ask of the MTA; a part is a map of :node, :request and :agreement."
  ^Request [parts]
  (let [parts (with-places parts)
        own (into (kept-events parts) (mapcat own-events) parts)
        asked (flags-of #(.events ^Request (:request %)) parts)
        events (into asked own)
        events (cond-> events (some content-events events) (conj EventType/END_OF_MESSAGE))
        needed (into own
                     (mapcat (fn [{:keys [^Request request]}]
                               (set/difference (set (.events request)) (set (.optionalEvents request)))))
                     parts)
        answered (into #{}
                       (mapcat (fn [{:keys [^Request request kept?]}]
                                 (cond-> (set/difference (set (.events request))
                                                         (set (.noReplyEvents request)))
                                   kept? (set/difference content-events))))
                       parts)
        part-actions #(if (:judged (:node %)) [] (.actions ^Request (:request %)))
        actions (into (flags-of part-actions parts)
                      (map #(options/action-flag :actions %))
                      (mapcat #(:adds (:node %)) parts))
        optional (flags-of #(if (:judged (:node %)) [] (.optionalActions ^Request (:request %))) parts)
        builder (doto (Request/builder)
                  (.events ^java.util.Collection events)
                  (.optionalEvents ^java.util.Collection (set/difference events needed))
                  (.noReplyEvents ^java.util.Collection
                                  (disj (set/difference events answered) EventType/END_OF_MESSAGE))
                  (.actions ^java.util.Collection actions)
                  (.optionalActions ^java.util.Collection (set/difference optional actions))
                  (.rejectedRecipients (boolean (some #(.rejectedRecipients ^Request (:request %)) parts)))
                  (.leadingSpace (boolean (some #(.leadingSpace ^Request (:request %)) parts))))]
    (doseq [[stage names] (joined-macros parts)]
      (.macros ^Request$Builder builder stage names))
    (.build ^Request$Builder builder)))

(defn- check-agreed
  "Throws where filters ask for more than the MTA was asked for when it connected."
  [^Connection connection ^Request request]
  (let [agreement (.agreement connection)
        missing (concat (remove #(.handles agreement %)
                                (set/difference (set (.events request)) (set (.optionalEvents request))))
                        (remove #(.allows agreement %) (.actions request)))]
    (when (seq missing)
      (throw (MilterException. MilterException$Category/EVENTS_REFUSED
                               (str "a filter asks for " (pr-str (map str missing)) ", which was not agreed"
                                    " when the MTA has connected, for another SMTP client")
                               (object-array 0))))))

;; ---- sessions: one for each SMTP client

(def ^:private new-message
  "What is known of a message before it begins."
  {:fields nil :body nil})

(defn- open!
  "Returns the parts of a session whose filters have negotiated."
  [{:keys [nodes store]} connection offer]
  (with-places
    (mapv (fn [node]
            (let [member (member/open! node store connection offer)]
              {:node node
               :member member
               :request (:request member)
               :agreement (member/agreement member)
               :status (volatile! {})}))
          nodes)))

(defn session
  "Returns what holds for one SMTP client, before it has begun."
  [nodes store]
  {:nodes nodes
   :store store
   :state (volatile! {:message new-message})})

(defn- opened!
  [{:keys [state] :as session} ^Connection connection offer]
  (let [parts (open! session connection offer)]
    (vswap! state assoc
            :parts parts
            :kept (kept-events parts)
            :collector (.collector ^MessageStore (:store session)))
    parts))

(defn negotiate!
  "Opens the session with the offer of the MTA and returns the Request."
  [session connection offer]
  (joined (opened! session connection (Offer/of offer))))

(defn- parts
  [{:keys [state]}]
  (:parts @state))

(defn- ensure-open!
  [{:keys [state] :as session} ^Connection connection]
  (when-not (:parts @state)
    (let [parts (opened! session connection (.offer (.agreement connection)))]
      (check-agreed connection (joined parts)))))

;; ---- verdicts

(defn- verdict
  [reply]
  (when reply
    (let [type (ActionCodec/verdict reply)]
      (when-not (= ActionType/CONTINUE type) type))))

(def ^:private against
  #{ActionType/REJECT ActionType/TEMPORARY_FAILURE ActionType/DISCARD})

(defn- split
  "Returns [modifications reply] of what a filter has answered."
  [actions]
  (let [reply? #(= "REPLY" (str (.-kind (ActionCodec/type %))))]
    [(filterv (complement reply?) actions) (last (filter reply? actions))]))

(defn- signed
  "Returns an action that says which of several filters has given it, and why."
  [session {:keys [node]} {:keys [why] :as action}]
  (if (next (parts session))
    (assoc action :why (cond-> {:filter (:title node)} (some? why) (assoc :why why)))
    action))

(defn- settle!
  "Ends what a part has to do with the message."
  [part reply]
  (vswap! (:status part) assoc :done reply))

(defn- finish!
  "Decides the event, whatever was still to be done for it."
  [{:keys [state] :as session} part reply]
  (vswap! state assoc :final (signed session part reply) :steps ())
  nil)

(defn- context-of
  "Returns the context that predicates receive."
  [{:keys [state]} connection]
  {:milter/connection connection
   :client (:client @state)
   :sender (:sender @state)})

(defn- judged
  "Returns the actions that stand in the place of those that a part has given."
  [session {:keys [node status]} connection event given]
  (if-let [judge (:judged node)]
    (let [place (if (#{:connect :hello} (:event event)) :client-notes :notes)]
      (judge {:event event
              :actions given
              :title (:title node)
              :connection connection
              :notes (concat (:client-notes @status) (:notes @status))
              :note! #(vswap! status update place (fnil conj []) %)}))
    given))

(defn- answers
  "Returns what a part has answered to an event just now: [modifications reply own], the reply after
  what stands around the filter, and its own."
  [session {:keys [member] :as part} connection event]
  (let [given @(:answers member)
        [changes reply] (split (judged session part connection event given))]
    [changes reply (second (split given))]))

;; ---- who is there

(defn- there?
  "Returns true if the client, and the message, have to do with the part."
  [{:keys [status]} in-message?]
  (let [{:keys [absent? done client-done]} @status]
    (not (or absent? client-done (and in-message? done)))))

(defn- hears?
  [{:keys [agreement] :as part} ^EventType type]
  (and (there? part (.inMessage type))
       (or (.handles ^Agreement agreement type)
           (and (= EventType/MAIL type) (begins-by-mail? part)))))

(defn- ask-gate!
  [session connection part k event-type absent]
  (when-let [pred (k (:node part))]
    (when (= event-type (if (= :client? k) EventType/CONNECT EventType/MAIL))
      (when-not (pred (context-of session connection))
        (vswap! (:status part) merge absent)))))

;; ---- telling one filter

(defn- wait-for!
  [{:keys [state]} part after]
  (vswap! state assoc :waiting [part after])
  nil)

(defn- tell
  "Returns the step that tells a part an event; then `after` is called, which returns further steps."
  [part event after]
  (fn [session connection]
    (when (.inMessage (EventType/ofKeyword (:event event)))
      (vswap! (:status part) assoc :told? true))
    (case (member/tell! (:member part) connection event)
      :waiting (wait-for! session part after)
      :told (after session connection))))

(defn- raw?
  "Returns true if values of header fields have their space on the connection to the MTA."
  [^Connection connection]
  (.leadingSpace (.request (.agreement connection))))

(defn- for-part
  "Returns an event as the part is to receive it."
  [{:keys [^Agreement agreement]} raw? {:keys [event ^String value] :as given}]
  (if (and raw? (= :header event) (not (.has agreement ProtocolFlag/LEADING_SPACE))
           (.startsWith value " "))
    (assoc given :value (subs value 1))
    given))

(defn- of-part
  "Returns an action of a part as the MTA's connection takes it."
  [{:keys [^Request request]} raw? {:keys [action value] :as given}]
  (if (and raw? (not (.leadingSpace request)) (#{:add-header :change-header} action) (some? value)
           (not (and (= :change-header action) (= "" value))))
    (assoc given :value (str " " value))
    given))

;; ---- the envelope

(defn- after-envelope
  [part event]
  (fn [session connection]
    (let [[_ reply own] (answers session part connection event)
          type (:event event)
          verdict (verdict reply)]
      (condp contains? type
        #{:connect :hello} (when (#{ActionType/ACCEPT ActionType/REJECT ActionType/TEMPORARY_FAILURE}
                                  (temse.impl.compose.sequence/verdict own))
                             (vswap! (:status part) assoc :client-done own))
        #{:recipient} (when (#{ActionType/ACCEPT ActionType/DISCARD} (temse.impl.compose.sequence/verdict own))
                        (settle! part own))
        #{:mail :data} (when (temse.impl.compose.sequence/verdict own)
                         (settle! part own))
        nil)
      (when (against verdict)
        (finish! session part reply)))))

(defn- refused-by-mta?
  [^Connection connection ^EventType type]
  (and (= EventType/RECIPIENT type)
       (.has (.agreement connection) ProtocolFlag/REJECTED_RECIPIENTS)
       (= "error" (.get (.macros connection) "rcpt_mailer"))))

(defn- envelope-step
  [part ^EventType type event]
  (fn [session ^Connection connection]
    (ask-gate! session connection part :client? type {:absent? true})
    (ask-gate! session connection part :message? type {:done :absent})
    (when (and (hears? part type)
               (or (not (refused-by-mta? connection type))
                   (.has ^Agreement (:agreement part) ProtocolFlag/REJECTED_RECIPIENTS)))
      [(tell part event (after-envelope part event))])))

;; ---- content as it comes

(defn- begin-collecting!
  [{:keys [state]} connection]
  (when-not (:collecting? @state)
    (vswap! state assoc :collecting? true)
    (.take ^Collector (:collector @state) connection EventType/MAIL
           (EventCodec/event EventType/MAIL (object-array [:sender "<>" :options []])))))

(defn- collect!
  [{:keys [state] :as session} connection ^EventType type event]
  (when (contains? (:kept @state) type)
    (begin-collecting! session connection)
    (.take ^Collector (:collector @state) connection type event)))

(defn- after-content
  [part event]
  (fn [session connection]
    (let [[_ reply own] (answers session part connection event)]
      (when-let [verdict (verdict own)]
        (when-not (= ActionType/SKIP verdict)
          (settle! part own)
          (when (against (temse.impl.compose.sequence/verdict reply))
            (vswap! (:status part) assoc :refusal reply))))
      nil)))

(defn- first-refusal
  "Returns [part reply] of the first part that is still there for the message, if it has refused it."
  [session]
  (let [part (first (drop-while #(and (not (:refusal @(:status %))) (not (there? % true)))
                                (parts session)))]
    (when-let [reply (some-> part :status deref :refusal)]
      [part reply])))

(defn- refuse-if-due
  [session _connection]
  (when-let [[part reply] (first-refusal session)]
    (finish! session part reply)))

(defn- content-steps
  [session connection ^EventType type event]
  (concat
    (for [part (parts session)
          :when (and (not (:kept? part)) (hears? part type))]
      (tell part (for-part part (raw? connection) event) (after-content part event)))
    [refuse-if-due]))

;; ---- content as earlier filters have left it

(def ^:private piece 65535)

(defn mtas
  "Returns the MTAs whose rules may hold."
  [^Connection connection]
  (condp = (Mta/of (.macros connection))
    Mta/POSTFIX [:postfix]
    Mta/SENDMAIL [:sendmail]
    [:postfix :sendmail]))

(defn- collected
  ^Message [{:keys [state] :as session} connection]
  (begin-collecting! session connection)
  (.message ^Collector (:collector @state) connection EventType/END_OF_MESSAGE))

(defn- received-fields
  [session connection]
  (mapv (fn [^HeaderField field] {:name (.name field) :raw (.raw field)})
        (.headers (collected session connection))))

(defn- one-of
  "Returns what the rules of all MTAs that may be there come to. Throws where they differ."
  [results]
  (if (apply = results)
    (first results)
    (throw (MilterException. MilterException$Category/BAD_ACTION
                             (str "what earlier filters have changed looks different behind Postfix and"
                                  " behind Sendmail, and the MTA sends none of the macros v, if_name and"
                                  " if_addr by which it is known; ask for the macro v at :connect")
                             (object-array 0)))))

(defn- shown-fields
  [{:keys [state] :as session} connection]
  (if-let [fields (:fields (:message @state))]
    (one-of (for [[mta fields] fields]
              (map #(select-keys % [:name :raw]) ((:shown-fields (rules/of mta)) fields))))
    (received-fields session connection)))

(defn- shown-body
  ^InputStream [{:keys [state] :as session} connection]
  (if-let [body (:body (:message @state))]
    (.openLines ^Body body (Mta/of (.macros ^Connection connection)))
    (.open (.body (collected session connection)))))

(defn- value-for
  [{:keys [^Agreement agreement]} ^String raw]
  (if (and (.startsWith raw " ") (not (.has agreement ProtocolFlag/LEADING_SPACE)))
    (subs raw 1)
    raw))

(defn- play-fields
  [part fields]
  (fn [_ _]
    (when (and (seq fields) (hears? part EventType/HEADER))
      (let [{:keys [name raw]} (first fields)
            event {:event :header :name name :value (value-for part raw)}]
        [(tell part event (after-content part event))
         (play-fields part (rest fields))]))))

(defn- play-end-of-headers
  [part]
  (fn [_ _]
    (let [event {:event :end-of-headers}]
      (when (hears? part EventType/END_OF_HEADERS)
        [(tell part event (after-content part event))]))))

(defn- play-body
  [part ^InputStream in]
  (fn [_ _]
    (let [data (if (hears? part EventType/BODY) (.readNBytes in piece) (byte-array 0))
          event {:event :body :data data}]
      (if (pos? (alength data))
        [(tell part event (after-content part event))
         (play-body part in)]
        (.close in)))))

(defn- refused?
  [session part]
  (when-let [reply (:refusal @(:status part))]
    (finish! session part reply)
    true))

(defn- play-content
  [part]
  (fn [session connection]
    (let [instead (when (seq (:kept @(:state session)))
                    (some-> (.replyInstead ^Collector (:collector @(:state session))) .map))]
      (cond
        (and instead (against (verdict instead))) (finish! session part instead)
        instead (do (settle! part :absent) nil)
        :else
        (concat
          (when (hears? part EventType/HEADER)
            [(play-fields part (shown-fields session connection))])
          [(play-end-of-headers part)]
          (when (hears? part EventType/BODY)
            [(play-body part (shown-body session connection))])
          [(fn [session _] (refused? session part) nil)])))))

;; ---- the end of a message

(defn- with-new-body
  "Returns an action with the body that was kept of it: the action's own was read when it was answered."
  [{:keys [member]} connection {:keys [action] :as given}]
  (if (and (= :change-body action) @(:new-body member))
    (let [body (.body (.message ^Collector @(:new-body member) connection EventType/END_OF_MESSAGE))]
      (assoc given :body (fn [] (.open body))))
    given))

(defn- pass-on-fields!
  "Returns the modifications as they have to be after those of earlier filters, and notes the fields that
  later ones are shown."
  [{:keys [state] :as session} ^Connection connection changes]
  (let [before (:fields (:message @state))
        touches? (some #(#{:add-header :change-header} (:action %)) changes)]
    (if (and (contains? (:kept @state) EventType/HEADER) touches?)
      (let [before (or before
                       (let [received (received-fields session connection)]
                         (into {} (for [mta (mtas connection)]
                                    [mta ((:kept-fields (rules/of mta)) received)]))))
            after (into {} (for [[mta fields] before]
                             [mta ((:pass-on (rules/of mta)) fields changes (raw? connection))]))]
        (vswap! state assoc-in [:message :fields] (update-vals after first))
        (one-of (map (comp second val) after)))
      changes)))

(defn- note-body!
  [{:keys [state]} {:keys [member]} connection changes]
  (when (some #(= :change-body (:action %)) changes)
    (vswap! state
            (fn [state]
              (-> state
                  (assoc-in [:message :body]
                            (.body (.message ^Collector @(:new-body member) connection EventType/END_OF_MESSAGE)))
                  (update :changes (partial filterv #(not= :change-body (:action %)))))))))

(defn- take-changes!
  "Takes the modifications of a part over, as they have to be after those of earlier ones."
  [{:keys [state] :as session} part connection changes]
  (note-body! session part connection changes)
  (let [changes (map #(of-part part (raw? connection) %) changes)
        changes (pass-on-fields! session connection changes)]
    (vswap! state update :changes into
            (map #(signed session part (with-new-body part connection %)))
            changes)))

(defn- holds?
  "Returns true if the MTA asks no further filter: so does Postfix when one has quarantined the message."
  [^Connection connection changes]
  (and (= Mta/POSTFIX (Mta/of (.macros connection)))
       (some #(= :quarantine (:action %)) changes)))

(defn- hold!
  [{:keys [state]} reply]
  (vswap! state assoc :final (or reply {:action :continue}) :steps ())
  nil)

(defn- after-end
  [part event]
  (fn [session connection]
    (let [[changes reply own] (answers session part connection event)]
      (settle! part (or own {:action :continue}))
      (take-changes! session part connection changes)
      (cond
        (against (verdict reply)) (finish! session part reply)
        (holds? connection changes) (hold! session reply)))))

(defn- adds-at-end?
  "Returns true if what stands around a filter may add something to the message, wherever that is."
  [{:keys [node status]}]
  (and (:adds node) (not (:absent? @status)) (not= :absent (:done @status))))

(defn- tell-end
  "Tells a part the end of the message. Where it is out already, what stands around it may add something."
  [part event]
  (fn [session connection]
    (cond
      (there? part true)
      [(tell part {:event :end-of-message} (after-end part event))]

      (adds-at-end? part)
      (do (take-changes! session part connection (judged session part connection event []))
          nil))))

(defn- end-steps
  [part event]
  (fn [session _connection]
    (when-not (refused? session part)
      (cond-> []
        (and (:kept? part) (there? part true)) (conj (play-content part))
        true (conj (tell-end part event))))))

(defn- last-piece-steps
  "The end of message may bring the last piece of the body."
  [session connection {:keys [data]}]
  (when data
    (let [event {:event :body :data data}]
      (collect! session connection EventType/BODY event)
      (content-steps session connection EventType/BODY event))))

;; ---- the ends of message and client

(defn- reset-message!
  [{:keys [state] :as session}]
  (doseq [{:keys [status member]} (parts session)]
    (vswap! status dissoc :done :told? :refusal :notes)
    (member/message-ends! member))
  (.end ^Collector (:collector @state))
  (vswap! state assoc :message new-message :collecting? false :changes []))

(defn- open-parts
  [session]
  (remove #(member/closed? (:member %)) (parts session)))

(defn- message-end-steps
  "Those that have not settled the message learn that it is aborted. Where the connection is lost they
  will be told so."
  [session {:keys [reason]}]
  (concat
    (when-not (= :lost reason)
      (for [part (open-parts session)
            :let [{:keys [told? done]} @(:status part)]
            :when (and told? (not done))]
        (tell part {:event :abort} (constantly nil))))
    [(fn [session _] (reset-message! session) nil)]))

(defn- disconnect-steps
  [session {:keys [reason]}]
  (for [{:keys [member] :as part} (open-parts session)
        :let [end (fn [_ _]
                    (member/end! member (if (= :stopping reason) Conversation$End/STOPPED Conversation$End/PEER_CLOSED))
                    nil)]]
    (if (#{:quit :new-connection} reason)
      (tell part {:event (if (= :quit reason) :quit :disconnect)} end)
      end)))

;; ---- one event of the MTA

(defn- steps-of
  [session connection ^EventType type event]
  (condp = type
    EventType/MESSAGE_END (message-end-steps session event)
    EventType/DISCONNECT (disconnect-steps session event)
    EventType/END_OF_MESSAGE (concat (last-piece-steps session connection event)
                                     (map #(end-steps % event) (parts session)))
    (if (content-events type)
      (do (collect! session connection type event)
          (content-steps session connection type event))
      (map #(envelope-step % type event) (parts session)))))

(defn- out?
  "Returns true if no part has to do with the message any more, or with the client."
  [session ^EventType type]
  (not-any? #(or (there? % (.inMessage type)) (adds-at-end? %)) (parts session)))

(defn- skips?
  [session ^EventType type]
  (and (= EventType/BODY type)
       (not (contains? (:kept @(:state session)) type))
       (not-any? #(hears? % type) (parts session))))

(defn- accepts?
  "Returns true if a part has accepted the message, or has nothing to do with it."
  [{:keys [status]}]
  (let [{:keys [absent? client-done done]} @status]
    (or absent? client-done (= :absent done) (and done (= ActionType/ACCEPT (verdict done))))))

(defn- answer
  "Returns the actions that answer the event."
  [{:keys [state] :as session} ^Connection connection ^EventType type]
  (let [{:keys [final changes]} @state
        closed? (some #(member/closed? (:member %)) (parts session))]
    (when (and closed? (not= EventType/DISCONNECT type))
      (.close connection))
    (cond
      (not (.mayAnswer (.agreement connection) type)) nil
      (= EventType/END_OF_MESSAGE type) (cond-> (vec changes)
                                          final (conj final)
                                          (and (not final) (every? accepts? (parts session))) (conj {:action :accept}))
      final [final]
      (= EventType/UNKNOWN type) nil
      (out? session type) [{:action :accept}]
      (skips? session type) [{:action :skip}]
      :else nil)))

(declare go-on)

(defn- do-next!
  "Puts steps before those that are left, unless the event is decided."
  [{:keys [state]} steps]
  (let [steps (reverse steps)]
    (when-not (:final @state)
      (vswap! state update :steps #(into % steps)))))

(defn- given-up!
  "Nobody waits for the event any more."
  [{:keys [state]}]
  (when-let [[part] (:waiting @state)]
    (vswap! state assoc :waiting nil :steps ())
    (member/give-up! (:member part))))

(defn- wake
  [{:keys [state] :as session} connection type]
  (let [[part after] (:waiting @state)]
    (when-not (= :waiting (member/serve! (:member part)))
      (vswap! state assoc :waiting nil)
      (do-next! session (after session connection)))
    (go-on session connection type)))

(defn- go-on
  "Returns the actions that answer the event, or nil while a filter waits for a value."
  [{:keys [state] :as session} connection type]
  (loop []
    (let [{:keys [waiting steps final]} @state]
      (cond
        waiting
        (do (member/await! (:member (first waiting)) connection
                           #(wake session connection type)
                           #(given-up! session))
            nil)

        (or final (empty? steps))
        (answer session connection type)

        :else
        (do (vswap! state assoc :steps (rest steps))
            (do-next! session ((first steps) session connection))
            (recur))))))

(defn on-event
  "Returns the actions that answer an event, or nil; the event stays open while a filter waits."
  [{:keys [state] :as session} ^Connection connection {:keys [event] :as given}]
  (ensure-open! session connection)
  (let [type (EventType/ofKeyword event)]
    (condp = type
      EventType/CONNECT (vswap! state assoc :client given)
      EventType/MAIL (vswap! state assoc :sender (:sender given))
      nil)
    (vswap! state assoc :steps () :waiting nil :final nil :changes [])
    (do-next! session (steps-of session connection type given))
    (go-on session connection type)))

;; ---- as options

(def ^:private all-events
  [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message :unknown])

(defn- static-part
  [{:keys [filter] :as node}]
  (let [request (negotiation/request filter)]
    {:node node
     :request request
     :agreement (Negotiation/agree Offer/CURRENT request)}))

(defn- dynamic?
  "Returns true if what a filter asks for is known for each connection only."
  [{{:keys [init handlers]} :filter}]
  (or init (var? handlers) (contains? (negotiation/handler-map (or handlers {})) :options)))

(defn- keywords
  [types]
  (into #{} (map #(if (instance? EventType %)
                    (.-keyword ^EventType %)
                    (.-keyword ^ActionFlag %)))
        types))

(defn- asked
  "Returns what the parts ask for, as options."
  [nodes]
  (let [request (joined (map static-part nodes))]
    {:events (keywords (.events request))
     :options (cond-> {:actions (keywords (.actions request))
                       :optional-actions (keywords (.optionalActions request))
                       :optional-events (keywords (.optionalEvents request))
                       :no-reply-events (keywords (.noReplyEvents request))
                       :rejected-recipients? (.rejectedRecipients request)
                       :leading-space? (.leadingSpace request)}
                (seq (.macros request))
                (assoc :request-macros (into {} (for [[^MacroStage stage names] (.macros request)]
                                                  [(.-keyword stage) (vec names)]))))}))

(defn nodes-of
  "Returns the nodes that a filter is made of, or nil if it is not made of nodes alone."
  [filter]
  (let [{:keys [nodes made]} (::made (meta filter))]
    (when (and nodes (= made filter))
      nodes)))

(defn- with-titles
  [nodes]
  (vec (map-indexed #(update %2 :title (fn [title] (or title (str "filter-" (inc (long %1)))))) nodes)))

(declare options-of)

(defn filter-of
  "Returns the options of one filter that is made of nodes. Where a filter of several is one of nodes
  alone, `nodes-of` returns them, so that it need not be nested."
  ([nodes]
   (let [made (filter-of nodes (store/store {}))]
     (vary-meta made assoc ::made {:nodes nodes :made made})))
  ([nodes store]
   (options-of (with-titles nodes) store)))

(defn- options-of
  [nodes store]
  (let [{:keys [events options]} (asked nodes)
        handler (fn [event context]
                  (on-event (::session context) (:milter/connection context) event))
        events (if (some dynamic? nodes) all-events (set/intersection (set all-events) events))]
    (assoc options
           :init (fn [context] (assoc context ::session (session nodes store)))
           :handlers (-> (zipmap events (repeat handler))
                         (assoc :message-end handler
                                :disconnect handler
                                :options (fn [offer context]
                                           (assoc context :milter/request
                                                  (negotiate! (::session context)
                                                              (:milter/connection context)
                                                              offer))))))))
