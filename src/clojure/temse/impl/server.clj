(ns temse.impl.server
  "Handler maps as the MilterHandlers that the Java server calls."
  {:no-doc true}
  (:require
   [temse.impl.dispatch :as dispatch]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options])
  (:import
   (clojure.lang IPersistentMap Var)
   (java.io Writer)
   (java.util Date List)
   (temse.protocol Agreement EventType MilterException MilterException$Category Negotiation Request)
   (temse.server Connection ConnectionInfo MilterFactory MilterHandler)))

(set! *warn-on-reflection* true)

(defmethod print-method ConnectionInfo
  [^ConnectionInfo connection ^Writer writer]
  (.write writer (str "#<connection " (.id connection) " of " (.peer connection) ">")))

(def ^:private context-options
  "Options that :init finds in its context and may change there."
  [:handlers :actions :optional-actions :optional-events :no-reply-events :request-macros
   :rejected-recipients? :leading-space?])

(def ^:private wanted-options
  "Options whose keys mean something else after the negotiation, or nothing."
  [:optional-actions :optional-events :no-reply-events :request-macros :rejected-recipients?
   :leading-space?])

(defn- base-context
  [options ^Connection connection]
  (into {:milter/connection connection
         :socket connection
         :milter/info {:id (.id connection)
                       :peer (.peer connection)
                       :name (:name options)
                       :started (Date.)}}
        (keep #(find options %))
        context-options))

(defn- initial-context
  "Returns what :init makes of the base context."
  [{:keys [init] :as options} connection]
  (let [context (init (base-context options connection))]
    (when-not (map? context)
      (throw (MilterException. MilterException$Category/BAD_HANDLER_RETURN
                               (str ":init must return a context, a map; it returned "
                                    (pr-str context))
                               (object-array ["value" context]))))
    context))

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
  "Returns what the wishes of a context and the default replies ask of the MTA."
  ^Request [default-reply wishes _no-reply]
  (options/check-each (into {} (filter (comp some? val)) wishes))
  (negotiation/request (assoc wishes :default-reply default-reply)))

(defn- wanted
  "Returns what the context and those options that it cannot change ask of the MTA."
  ^Request [{:keys [default-reply] ::keys [request]} context]
  (let [handlers (current-handlers context)]
    (request default-reply
             (assoc (select-keys context context-options) :handlers handlers)
             (when (map? handlers)
               (mapv (comp :no-reply meta val) handlers)))))

(defn- agreed-context
  [{::keys [agreed]} context ^Agreement agreement]
  (let [{:keys [events actions] :as agreed} (agreed (.offer agreement) (.request agreement))]
    (assoc (reduce dissoc context wanted-options)
           :milter/agreement agreed
           :events events
           :actions actions)))

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
                                        (if (map? value) "a map without :action" (pr-str value)))
                                   (object-array ["value" value])))))

(deftype ^:private ContextHandler [options
                                   ^:unsynchronized-mutable context
                                   ^:unsynchronized-mutable handlers
                                   ^:unsynchronized-mutable ^objects table
                                   ^:unsynchronized-mutable agreement]
  dispatch/Holder
  (current-context [_] context)
  (keep-context [_ c] (set! context c))

  MilterHandler
  (request [_ connection offer]
    (set! context (initial-context options connection))
    (let [request (wanted options context)]
      (if-let [on-options (:options (current-handlers context))]
        (let [given (assoc context :milter/request request)
              returned (or (on-options offer given) given)
              changed (:milter/request returned request)]
          (set! context (dispatch/next-context context (dissoc returned :milter/request)))
          (if (identical? changed request)
            (wanted options (merge context returned))
            changed))
        request)))

  (negotiated [_ agreed]
    (set! agreement agreed)
    (set! context (agreed-context options context agreed)))

  (onEvent [this connection type event]
    (when (nil? context)
      (set! context (agreed-context options (initial-context options connection) agreement)))
    (let [current (current-handlers context)]
      (when-not (identical? current handlers)
        (set! table ((::table options) current))
        (set! handlers current))
      (when-let [handler (aget table (.ordinal ^EventType type))]
        (dispatch/settle this connection event (handler event context)))))

  (onError [_ _connection error _type event]
    (if-let [on-error (:on-error options)]
      (error-answer (on-error error event context))
      temporary-failure))

  (scopeEnded [_ type]
    (if (identical? type EventType/DISCONNECT)
      (set! context nil)
      (when (contains? context :milter/message)
        (set! context (dissoc context :milter/message))))))

(defn factory
  "Returns the MilterFactory of checked options."
  ^MilterFactory [options]
  (let [options (assoc options
                       ::request (remembering checked-request)
                       ::table (remembering handler-table)
                       ::agreed (remembering (fn [offer request]
                                               (negotiation/agreement-map
                                                 (Negotiation/agree offer request)))))]
    (reify MilterFactory
      (open [_ _connection]
        (ContextHandler. options nil nil nil nil)))))
