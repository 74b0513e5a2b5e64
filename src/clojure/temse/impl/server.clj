(ns temse.impl.server
  "Handler maps as the MilterHandlers that the Java server calls."
  {:no-doc true}
  (:require
   [temse.impl.dispatch :as dispatch]
   [temse.impl.negotiation :as negotiation])
  (:import
   (java.util Date List)
   (temse.protocol EventType MilterException MilterException$Category Request)
   (temse.server Connection MilterFactory MilterHandler)))

(set! *warn-on-reflection* true)

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
  (let [base (base-context options connection)
        context (init base)]
    (when-not (map? context)
      (throw (MilterException. MilterException$Category/BAD_HANDLER_RETURN
                               (str ":init must return a context, a map; it returned "
                                    (pr-str context))
                               (object-array ["value" context]))))
    context))

(defn- agreed-context
  [context agreement]
  (let [agreed (negotiation/agreement-map agreement)]
    (-> (reduce dissoc context wanted-options)
        (assoc :milter/agreement agreed
               :events (:events agreed)
               :actions (:actions agreed)))))

(defn- handler-table
  "Returns the handlers of a map by the ordinals of their events."
  ^objects [handlers]
  (let [table (object-array (count (EventType/values)))]
    (doseq [[event handler] (negotiation/handler-map handlers)]
      (aset table (.ordinal (EventType/ofKeyword event)) handler))
    table))

(deftype ^:private ContextHandler [options ^Connection connection
                                   ^:unsynchronized-mutable context
                                   ^:unsynchronized-mutable handlers
                                   ^:unsynchronized-mutable ^objects table
                                   ^:unsynchronized-mutable agreement]
  dispatch/Holder
  (current-context [_] context)
  (keep-context [_ c] (set! context c))

  MilterHandler
  (request [this offer]
    (set! context (initial-context options connection))
    (let [request (negotiation/request context)
          on-options (:options (negotiation/handler-map (:handlers context)))]
      (if-not on-options
        request
        (let [returned (on-options offer (assoc context :milter/request request))]
          (dispatch/keep-context this (dispatch/next-context context (dissoc returned :milter/request)))
          (let [changed (:milter/request returned)]
            (if (identical? changed request)
              (negotiation/request returned)
              ^Request changed))))))

  (negotiated [_ agreed]
    (set! agreement agreed)
    (set! context (agreed-context context agreed)))

  (onEvent [this type event]
    (when (nil? context)
      (set! context (agreed-context (initial-context options connection) agreement)))
    (let [given (:handlers context)
          current (if (var? given) (deref given) given)]
      (when-not (identical? current handlers)
        (set! table (handler-table current))
        (set! handlers current))
      (when-let [handler (aget table (.ordinal ^EventType type))]
        (dispatch/settle this connection event (handler event context)))))

  (onError [_ error _type event]
    (if-let [on-error (:on-error options)]
      (let [answer (on-error error event context)]
        (if (map? answer) [answer] answer))
      [{:action :temporary-failure}]))

  (scopeEnded [_ type]
    (if (identical? type EventType/DISCONNECT)
      (set! context nil)
      (when (contains? context :milter/message)
        (set! context (dissoc context :milter/message))))))

(defn factory
  "Returns the MilterFactory of checked options."
  ^MilterFactory [options]
  (reify MilterFactory
    (open [_ connection]
      (ContextHandler. options connection nil nil nil nil))))
