(ns temse.impl.handler
  "Handler maps as the MilterHandlers that the Java server calls."
  {:no-doc true}
  (:require
   [temse.impl.envelope :as envelope]
   [temse.impl.keys :as keys]
   [temse.impl.macros :as macros]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.return-value :as return-value])
  (:import
   (clojure.lang IPersistentMap Var)
   (java.io Writer)
   (java.util Date List)
   (temse.protocol ActionFlag Agreement EventType MilterException MilterException$Category Negotiation Request)
   (temse.server Connection ConnectionInfo MilterFactory MilterHandler)))

(set! *warn-on-reflection* true)

(defmethod print-method ConnectionInfo
  [^ConnectionInfo connection ^Writer writer]
  (.write writer (str "#<connection " (.id connection) " of " (.peer connection) ">")))

(defmethod print-method Connection
  [^Connection connection ^Writer writer]
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

(defmethod print-method :milter/context
  [{:milter/keys [info message] :as context} ^Writer writer]
  (let [own (reduce dissoc (with-meta context nil) (concat base-keys context-options [:events :milter/agreement :milter/envelope]))]
    (.write writer (str "#<context of connection " (:id info) " of " (:peer info) " "
                        (keys/shown (cond-> own message (assoc :milter/message message)))
                        ">"))))

(defn- base-context
  [options ^Connection connection]
  (into ^{:type :milter/context} {:milter/connection connection
                                  :socket connection
                                  :milter/info {:id (.id connection)
                                                :peer (.peer connection)
                                                :name (:name options)
                                                :started (Date.)}}
        (keep #(find options %))
        context-options))

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
    (check-unanswered ":init" (return-value/check-context ":init" context nil))
    (return-value/without-answer (merge context (select-keys base base-keys)))))

(defn- current-handlers
  [^IPersistentMap context]
  (let [handlers (.valAt context :handlers)]
    (if (var? handlers) (.deref ^Var handlers) handlers)))

(defn- remembering
  "Returns a function like f that remembers its last result: connections mostly ask the same."
  [f]
  (let [last-call (volatile! nil)]
    (fn [& args]
      (let [[known-args result] @last-call]
        (if (= args known-args)
          result
          (let [result (apply f args)]
            (vreset! last-call [args result])
            result))))))

(defn- checked-request
  "Returns what the wishes of a context, and the options that it cannot change, ask of the MTA."
  ^Request [fixed wishes _no-reply]
  (options/check-given (into {} (filter (comp some? val)) wishes))
  (negotiation/request (merge wishes fixed)))

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
    (request (select-keys options [:default-reply :log-mail?])
             (assoc (select-keys context context-options) :handlers handlers)
             (mapv (comp :no-reply meta val) handlers))))

(defn- agreed-context
  [{::keys [agreed]} context ^Agreement agreement]
  (let [{:keys [events actions] :as agreed} (agreed (.offer agreement) (.request agreement))]
    (assoc (reduce dissoc context wanted-options)
           :milter/agreement agreed
           :events events
           :actions actions)))

(defn- await-macros
  "Notes what is to be looked for in the macros that the context has asked for, once for all connections."
  [{::keys [awaited] :as options} {:keys [request-macros wants] :as context} ^Agreement agreement]
  (when (nil? @awaited)
    (let [lists (negotiation/macro-lists context)
          taken? (or (empty? lists) (.allows agreement ActionFlag/REQUEST_MACROS))]
      (when (compare-and-set! awaited nil (macros/awaited
                                            (merge-with into
                                                        (update-vals (or request-macros {}) set)
                                                        (:macros (envelope/needed wants)))))
        (macros/warn-of-unknown-requests request-macros)
        (when-not taken?
          (macros/warn-of-fixed-lists (:name options) lists))))))

(defn- look-for-macros
  "Reports macros that have not come, each once."
  [{::keys [awaited] :as options} ^Connection connection ^EventType type]
  (let [before @awaited]
    (when (seq before)
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
        (.close ^Connection (:milter/connection context)))
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

(deftype ^:private ContextHandler [options
                                   ^:unsynchronized-mutable context
                                   ^:unsynchronized-mutable before
                                   ^:unsynchronized-mutable called
                                   ^:unsynchronized-mutable owned
                                   ^:unsynchronized-mutable handlers
                                   ^:unsynchronized-mutable ^objects table
                                   ^:unsynchronized-mutable ^Agreement agreement
                                   ^:unsynchronized-mutable envelope]
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
    (set! envelope (envelope/beginning (:wants context)))
    (await-macros options context agreed)
    (set! context (agreed-context options context agreed))
    (set! owned (return-value/owned context)))

  (onEvent [this connection type event]
    (set! before nil)
    (set! called nil)
    (when (nil? context)
      (set! context (agreed-context options (initial-context options connection) agreement))
      (set! owned (return-value/owned context)))
    (set! context (return-value/at-event context connection))
    (look-for-macros options connection type)
    (when envelope
      (set! envelope (envelope/after envelope event (.macros ^Connection connection)))
      (set! context (assoc context :milter/envelope envelope)))
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

  (scopeEnded [_ type]
    (set! before nil)
    (set! called nil)
    (when envelope
      (set! envelope (envelope/ended envelope (.-keyword ^EventType type))))
    (if (identical? type EventType/DISCONNECT)
      (set! context nil)
      (when (contains? context :milter/message)
        (set! context (dissoc context :milter/message))))))

(defn factory
  "Returns the MilterFactory of checked options. Where neither handlers nor :init are given, there
  are default replies at most."
  ^MilterFactory [{:keys [init handlers] :as options}]
  (let [options (assoc options
                       :handlers (if (identical? identity init) (or handlers {}) handlers)
                       ::handler-map (remembering negotiation/handler-map)
                       ::request (remembering checked-request)
                       ::table (remembering handler-table)
                       ::broken (atom nil)
                       ::awaited (atom nil)
                       ::agreed (remembering (fn [offer request]
                                               (negotiation/agreement-map
                                                 (Negotiation/agree offer request)))))]
    (reify MilterFactory
      (open [_ _connection]
        (ContextHandler. options nil nil nil nil ::none nil nil nil)))))
