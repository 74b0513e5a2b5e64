(ns temse.impl.handler
  "Handler maps as the MilterHandlers that the Java server calls."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.envelope :as envelope]
   [temse.impl.keys :as keys]
   [temse.impl.macros :as macros]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.return-value :as return-value])
  (:import
   (clojure.lang IPersistentMap Named Var)
   (java.io Writer)
   (java.util Date List Optional)
   (temse.protocol ActionFlag Agreement EventType MacroStage MilterException MilterException$Category Request)
   (temse.server ConnectionInfo MilterConnection MilterFactory MilterHandler)
   (temse.server.internal EventCollector)))

(set! *warn-on-reflection* true)

(defmethod print-method ConnectionInfo
  [^ConnectionInfo connection ^Writer writer]
  (.write writer (str "#<connection " (.id connection) " of " (.peer connection) ">")))

(defmethod print-method MilterConnection
  [^MilterConnection connection ^Writer writer]
  (.write writer (str "#<connection " (.id connection) " of " (.peer connection) ">")))

(def ^:private context-options
  "Options that :init finds in its context and may change there."
  [:handlers :actions :optional-actions :optional-events :no-reply-events :request-macros
   :wants :rejected-recipients? :leading-space?])

(def ^:private wanted-options
  "Options whose keys mean something else after the negotiation, or nothing."
  [:optional-actions :optional-events :no-reply-events :request-macros :wants :rejected-recipients?
   :leading-space?])

(def ^:private base-keys
  "Keys of the base context that :init cannot change."
  [:milter/connection :socket :milter/info])

(def ^:private hidden-keys
  "Keys of a context that mean nothing outside of its event, or are options."
  (into #{:milter/connection :milter/request :milter/response :milter/close? :socket :events} context-options))

(defmethod print-method :milter/context
  [{:milter/keys [info message] :as context} ^Writer writer]
  (let [own (reduce dissoc
                    (with-meta context nil)
                    (concat base-keys context-options [:events :milter/agreement :milter/envelope]))]
    (.write writer (str "#<context of connection " (:id info) " of " (:peer info) " "
                        (keys/shown (cond-> own message (assoc :milter/message message)))
                        ">"))))

(defn visible
  "Returns what a context holds outside of its event: the keys of the user, and of the library's those
  that mean something there. Returns nil for nil."
  [context]
  (when context
    (into {}
          (remove (fn [[k _]]
                    (or (hidden-keys k)
                        (and (instance? Named k)
                             (some-> (namespace k) (string/starts-with? "temse.impl."))))))
          context)))

(defn- base-of-all
  "Returns what the base contexts of all connections have in common."
  [options]
  (into ^{:type :milter/context} {:milter/connection nil, :socket nil, :milter/info nil}
        (keep #(find options %))
        context-options))

(defn- base-context
  [{::keys [base] :keys [name]} ^MilterConnection connection]
  (assoc base
         :milter/connection connection
         :socket connection
         :milter/info {:id (.id connection)
                       :peer (.peer connection)
                       :name name
                       :started (Date.)}))

(defn- check-unanswered
  "Throws :bad-handler-return if a context carries actions where no event can be answered."
  [who {:milter/keys [response] :as context}]
  (when (seq response)
    (throw (return-value/bad-return who context
             (str "a context with actions, " (keys/shown response)
                  ", which answer nothing here; answer an event such as"
                  " :connect"))))
  context)

(defn- initial-context
  "Returns what :init makes of the base context."
  [{:keys [init] :as options} connection]
  (let [base (base-context options connection)
        context (init base)]
    (when-not (map? context)
      (throw (MilterException. MilterException$Category/BAD_HANDLER_RETURN
                               (str ":init must return a context, a map; it returned "
                                    (keys/shown context))
                               (object-array ["value" context]))))
    (if (identical? base context)
      base
      (do
        (check-unanswered ":init" (return-value/check-context ":init" context nil))
        (return-value/without-answer (merge context (select-keys base base-keys)))))))

(defn- current-handlers
  [^IPersistentMap context]
  (let [handlers (.valAt context :handlers)]
    (if (var? handlers) (.deref ^Var handlers) handlers)))

(defn- remembering
  "Returns a function like f, of one argument, that remembers its last result, for what `essence` returns
  of the argument: connections mostly ask the same."
  ([f]
   (remembering identity f))
  ([essence f]
   (let [last-call (volatile! nil)]
     (fn [argument]
       (let [asked (essence argument)
             known @last-call]
         (if (and known (= asked (nth known 0)))
           (nth known 1)
           (let [result (f argument)]
             (vreset! last-call [asked result])
             result)))))))

(defn- no-reply-events
  "Returns the events whose handlers want to give no reply, which the metadata of a var may say anew."
  [handlers]
  (reduce-kv (fn [events event handler]
               (if (:no-reply (meta handler)) (conj events event) events))
             []
             handlers))

(defn- checked-request
  "Returns what is asked of the MTA: handlers, those without a reply, and the values of context-options of
  a context, with the options that it cannot change."
  ^Request [fixed [handlers _no-reply wishes]]
  (let [wishes (assoc (zipmap context-options wishes) :handlers handlers)]
    (options/check-given (into {} (filter (comp some? val)) wishes))
    (negotiation/request (merge wishes fixed))))

(defn- wished-handlers
  "Returns the handlers of a context. Throws :bad-options where there is no map of them, or where it
  has become empty: then all mail would pass."
  [{:keys [default-reply] ::keys [handler-map]} {given :handlers}]
  (let [handlers (handler-map (if (var? given) @given given))]
    (when (and (var? given) (empty? handlers) (empty? default-reply))
      (throw (options/bad-option :handlers given (str "the map of handlers " given " is empty"))))
    handlers))

(defn- wanted
  "Returns what the context and those options that it cannot change ask of the MTA."
  ^Request [{::keys [request] :as options} context]
  (let [handlers (wished-handlers options context)]
    (request [handlers (no-reply-events handlers) (mapv #(get context %) context-options)])))

(defn- agreed-context
  [{::keys [agreed]} context ^Agreement agreement]
  (let [{:keys [events actions] :as agreed} (agreed agreement)]
    (assoc (reduce dissoc context wanted-options)
           :milter/agreement agreed
           :events events
           :actions actions)))

(defn- await-macros
  "Notes what is to be looked for in the macros that the context has asked for, once for all connections."
  [options awaited {:keys [request-macros wants] :as context} ^Agreement agreement]
  (when (nil? @awaited)
    (let [lists (update-keys (into {} (.macros (.request agreement))) #(.-keyword ^MacroStage %))
          taken? (or (empty? lists) (.allows agreement ActionFlag/REQUEST_MACROS))]
      (when (compare-and-set! awaited nil (macros/awaited
                                            (merge-with into
                                                        (update-vals (or request-macros {}) set)
                                                        (envelope/macros wants))))
        (macros/warn-of-unknown-requests request-macros)
        (when-not taken?
          (macros/warn-of-fixed-lists (:name options) lists))))))

(defn- look-for-macros
  "Reports macros that have not come, each once."
  [options awaited ^MilterConnection connection ^EventType type]
  (let [before @awaited]
    (when-not (zero? (count before))
      (let [still (macros/still-awaited before (.-keyword type))]
        (when (and (not= before still) (compare-and-set! awaited before still))
          (macros/warn-of-missing (:name options) (reduce dissoc before (keys still)) (.macros connection)))))))

(defn- handler-table
  "Returns the handlers of a map by the ordinals of their events."
  ^objects [handlers]
  (let [table (object-array (count (EventType/values)))]
    (doseq [[event handler] (negotiation/handler-map handlers)]
      (aset table (.ordinal (EventType/ofKeyword event)) handler))
    table))

(def ^:private temporary-failure
  [{:action :temporary-failure}])

(defn- error-answer
  "Returns the actions that a return value of :on-error stands for."
  ^List [value]
  (cond
    (nil? value) temporary-failure
    (and (map? value) (contains? value :action)) [value]
    (and (instance? List value) (every? map? value)) value
    :else (throw (MilterException. MilterException$Category/BAD_HANDLER_RETURN
                                   (str ":on-error must return an action, a sequence of actions, or"
                                        " nil for a temporary failure; it returned "
                                        (if (map? value) "a map without :action" (keys/shown value)))
                                   (object-array ["value" value])))))

(defn- asked-context
  "Returns [context request] after the handler of :options has returned."
  [options context returned request]
  (let [who "the handler of :options"]
    (when-not (map? returned)
      (throw (return-value/bad-return who returned
               (str (keys/shown returned)
                    "; it returns the context or nil, and at once: there is no"
                    " reply to :options"))))
    (let [given (dissoc returned :milter/request)
          changed (:milter/request returned request)]
      (check-unanswered who (return-value/check-context who given nil))
      (when-not (instance? Request changed)
        (throw (return-value/bad-return who returned
                 (str "a context whose :milter/request is "
                      (keys/shown changed) ", no temse.protocol.Request"))))
      (when (:milter/close? given)
        (.close ^MilterConnection (:milter/connection context)))
      [(return-value/without-answer (return-value/next-context context given))
       (if (identical? changed request) (wanted options (merge context given)) changed)])))

(defn- table-or-failure
  "Returns the handlers by the ordinals of their events, or what is wrong with them."
  [{::keys [table broken]} handlers]
  (try
    (let [found (table handlers)]
      (reset! broken nil)
      found)
    (catch MilterException e
      e)))

(defn- reported?
  "Returns true if what is wrong with the handlers was reported before, and remembers it."
  [{::keys [broken]} handlers]
  (let [[before _] (reset-vals! broken [handlers])]
    (and before (identical? handlers (first before)))))

(defn- check-current
  "Throws UNEXPECTED_EVENT if the context's handlers are other ones by now."
  [handlers context]
  (when-not (identical? (current-handlers context) handlers)
    (throw (MilterException. MilterException$Category/UNEXPECTED_EVENT
                             (str "the message had begun before its handlers were there: they have"
                                  " not seen all of it")
                             (object-array 0)))))

(deftype ^:private ContextHandler [options
                                   awaited
                                   ^:unsynchronized-mutable context
                                   ^:unsynchronized-mutable before
                                   ^:unsynchronized-mutable called
                                   ^:unsynchronized-mutable owned
                                   ^:unsynchronized-mutable handlers
                                   ^:unsynchronized-mutable ^objects table
                                   ^:unsynchronized-mutable ^Agreement agreement]
  return-value/Holder
  (current-context [_] context)
  (owned-values [_] owned)
  (keep-context [_ c] (set! context c))

  MilterHandler
  (request [_ connection offer]
    (set! context (initial-context options connection))
    (let [request (wanted options context)]
      (if-let [on-options (:options (current-handlers context))]
        (let [given (assoc context :milter/request request)
              returned (on-options offer given)
              [c request] (asked-context options context (if (nil? returned) given returned) request)]
          (set! context c)
          request)
        request)))

  (negotiated [_ agreed]
    (set! agreement agreed)
    (await-macros options awaited context agreed)
    (set! context (agreed-context options context agreed))
    (set! owned (return-value/owned context)))

  (onEvent [this connection type event]
    (set! before nil)
    (set! called nil)
    (when (nil? context)
      (set! context (agreed-context options (initial-context options connection) agreement))
      (set! owned (return-value/owned context)))
    (set! context (return-value/at-event context connection))
    (look-for-macros options awaited connection type)
    (when (and agreement (not (.isEmpty (.facts (.request agreement)))))
      (set! context (assoc context :milter/envelope (.transaction ^MilterConnection connection))))
    (set! before context)
    (set! called event)
    (let [current (current-handlers context)
          found (if (identical? current handlers) table (table-or-failure options current))]
      (if (instance? MilterException found)
        (do (set! handlers ::none)
            (cond
              (not (reported? options current)) (throw found)
              (.owesReply agreement type) (.onError this connection found type event)
              (.owesReply type) (throw found)))
        (do (set! table ^objects found)
            (set! handlers current)
            (when-let [handler (aget ^objects found (.ordinal type))]
              (return-value/settle this connection event (handler event context)))))))

  (onError [_ connection error _type event]
    (when (identical? event called)
      (set! context before))
    (if-let [on-error (:on-error options)]
      (error-answer (on-error error
                              event
                              (return-value/at-event
                                (or context
                                    (agreed-context options
                                                    (base-context options connection)
                                                    agreement))
                                connection)))
      temporary-failure))

  (state [_] context)
  (stateBefore [_] before)

  (scopeEnded [_ type]
    (set! before nil)
    (set! called nil)
    (if (identical? type EventType/DISCONNECT)
      (set! context nil)
      (when (contains? context :milter/message)
        (set! context (dissoc context :milter/message)))))

  EventCollector
  (collects [_ type]
    (and (some? context)
         (zero? (count @awaited))
         (identical? (current-handlers context) handlers)
         (instance? EventCollector (aget table (.ordinal type)))))

  (collect [_ connection type event]
    (check-current handlers context)
    (.collect ^EventCollector (aget table (.ordinal type)) connection type event))

  (collectField [_ connection name value]
    (check-current handlers context)
    (.collectField ^EventCollector (aget table (.ordinal EventType/HEADER)) connection name value)))

(deftype ^:private BoundHandler [^MilterHandler handler bindings]
  MilterHandler
  (request [_ connection offer]
    (with-bindings bindings (.request handler connection offer)))
  (negotiated [_ agreed]
    (.negotiated handler agreed))
  (onEvent [_ connection type event]
    (with-bindings bindings (.onEvent handler connection type event)))
  (onError [_ connection error type event]
    (with-bindings bindings (.onError handler connection error type event)))
  (state [_] (.state handler))
  (stateBefore [_] (.stateBefore handler))
  (scopeEnded [_ type]
    (.scopeEnded handler type))

  EventCollector
  (collects [_ type]
    (.collects ^EventCollector handler type))
  (collect [_ connection type event]
    (.collect ^EventCollector handler connection type event))
  (collectField [_ connection name value]
    (.collectField ^EventCollector handler connection name value)))

(defn factory
  "Returns the MilterFactory of checked options. Where neither handlers nor :init are given, there
  are default replies at most."
  ^MilterFactory [{:keys [init handlers bindings] :as options}]
  (let [options (assoc options
                       :handlers (if (identical? identity init) (or handlers {}) handlers)
                       ::handler-map (remembering negotiation/handler-map)
                       ::request (remembering (partial checked-request (select-keys options [:default-reply :log-mail?])))
                       ::table (remembering handler-table)
                       ::broken (atom nil)
                       ::agreed (remembering (fn [^Agreement agreement]
                                               [(.offer agreement) (.request agreement) (.protocolMask agreement)])
                                             negotiation/agreement-map))
        options (assoc options ::base (base-of-all options))
        awaited (atom nil)]
    (reify MilterFactory
      (open [_ _connection]
        (cond-> (ContextHandler. options awaited nil nil nil nil ::none nil nil)
          (seq bindings) (BoundHandler. bindings)))
      (knownRequest [_]
        (Optional/ofNullable (when (and (identical? identity init)
                                        (not (:options (current-handlers options))))
                               (wanted options options)))))))
