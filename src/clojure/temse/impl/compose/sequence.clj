(ns temse.impl.compose.sequence
  "Several filters as the options of one: the engine is temse.compose.internal.Sequence.

  A node is a map of one filter and what stands around it:

    :filter      ; its options
    :title       ; its name in logs and verdicts
    :client?     ; function of a context: whether it is there for an SMTP client
    :message?    ; function of a context: whether it is there for a message
    :pretence    ; a Judge: what becomes of its answers, if it only pretends
    :on-exchange ; function of its exchanges"
  {:no-doc true}
  (:require
   [clojure.set :as set]
   [temse.impl.handler :as handler]
   [temse.impl.log :as log]
   [temse.impl.message-store :as store]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options])
  (:import
   (java.util List)
   (java.util.function Predicate)
   (temse.compose Origin)
   (temse.compose.internal Asked Node Sequence Union)
   (temse.message MessageStore)
   (temse.protocol ActionFlag EventType MacroStage Negotiation Offer)
   (temse.server MilterConnection)))

(set! *warn-on-reflection* true)

;; ---- nodes

(defn- predicate
  "Returns a predicate of the context in which `pred` is asked; nil for nil."
  ^Predicate [pred]
  (when pred
    (reify Predicate
      (test [_ origin]
        (boolean (pred {:milter/connection (.connection ^Origin origin)
                        :client (.map (.client ^Origin origin))
                        :sender (.orElse (.sender ^Origin origin) nil)}))))))

(defn- java-node
  ^Node [{:keys [title client? message? pretence on-exchange] {:keys [default-reply] :as filter} :filter}]
  (Node. title
         (handler/factory (options/check filter))
         (options/engine (options/check {:default-reply (or default-reply {})}))
         (log/listener title (when on-exchange #(on-exchange (assoc % :filter title))))
         (predicate client?)
         (predicate message?)
         pretence))

(defn nodes-of
  "Returns the nodes that a filter is made of, or nil if it is not made of nodes alone."
  [filter]
  (let [{:keys [nodes made]} (::made (meta filter))]
    (when (and nodes (= made filter))
      nodes)))

(defn- with-titles
  [nodes]
  (vec (map-indexed #(update %2 :title (fn [title] (or title (str "filter-" (inc (long %1)))))) nodes)))

;; ---- what is asked of the MTA

(def ^:private all-events
  [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message :unknown])

(defn- dynamic?
  "Returns true if what a filter asks for is known for each connection only."
  [{{:keys [init handlers]} :filter}]
  (or init (var? handlers) (contains? (negotiation/handler-map (or handlers {})) :options)))

(defn- asked
  ^Asked [{:keys [filter]} java-node]
  (let [request (negotiation/request filter)]
    (Asked. java-node request (Negotiation/agree Offer/CURRENT request))))

(defn- keywords
  [types]
  (into #{} (map #(if (instance? EventType %)
                    (.-keyword ^EventType %)
                    (.-keyword ^ActionFlag %)))
        types))

(defn- asked-together
  "Returns what the nodes ask for, as :events and :options."
  [nodes java-nodes]
  (let [request (Union/of ^List (mapv asked nodes java-nodes))]
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

;; ---- as options

(defn- on-event
  [{:keys [event] :as given} context]
  (some-> (.onEvent ^Sequence (::sequence context)
                    ^MilterConnection (:milter/connection context)
                    (EventType/ofKeyword event)
                    given)
          vec))

(defn- on-options
  [offer context]
  (assoc context :milter/request (.negotiate ^Sequence (::sequence context)
                                             ^MilterConnection (:milter/connection context)
                                             offer)))

(defn- options-of
  [nodes ^MessageStore store]
  (let [java-nodes (mapv java-node nodes)
        {:keys [events options]} (asked-together nodes java-nodes)
        events (if (some dynamic? nodes) all-events (set/intersection (set all-events) events))]
    (assoc options
           :init (fn [context] (assoc context ::sequence (Sequence. java-nodes store)))
           :handlers (assoc (zipmap events (repeat on-event))
                            :message-end on-event
                            :disconnect on-event
                            :options on-options))))

(defn filter-of
  "Returns the options of one filter that is made of nodes. Where a filter of several is one of nodes
  alone, `nodes-of` returns them, so that it need not be nested."
  ([nodes]
   (let [made (filter-of nodes (store/store {}))]
     (vary-meta made assoc ::made {:nodes nodes :made made})))
  ([nodes store]
   (options-of (with-titles nodes) store)))
