(ns temse.impl.negotiation
  "From handler map and options to a Request, and from an Agreement to sets of keywords."
  {:no-doc true}
  (:require
   [temse.impl.envelope :as envelope]
   [temse.impl.events :as events]
   [temse.impl.keys :as keys]
   [temse.impl.options :as options])
  (:import
   (java.util Collection List)
   (temse.protocol ActionFlag Agreement EventType Negotiation Offer ProtocolFlag Request Request$Builder)))

(set! *warn-on-reflection* true)

(def ^:private late-events
  "Events that old protocol versions lack: needed only by those who say so."
  #{:data :unknown})

(defn- checked-handler
  "Returns [event handler], the event by its own name."
  [[event handler]]
  (let [type (options/event-type :handlers event)]
    (when-not (options/callable? handler)
      (throw (options/bad-option :handlers
                                 handler
                                 (str "the handler of " event " must be a function or var, not "
                                      (keys/shown handler)))))
    [(.-keyword type) handler]))

(defn- check-distinct
  "Throws :bad-options if an event and its alias have a handler each."
  [handlers pairs]
  (when-not (apply distinct? nil (map first pairs))
    (throw (options/bad-option :handlers
                               handlers
                               (str "each event may have one handler; "
                                    (key (apply max-key val (frequencies (map first pairs))))
                                    " has two, one by another name")))))

(defn handler-map
  "Returns the handler map itself where a var of one was given, with aliases resolved.

  Throws :bad-options that names what would be right, if it is no map of events to functions."
  [handlers]
  (let [given (if (var? handlers) @handlers handlers)]
    (when-not (map? given)
      (throw (options/bad-option :handlers
                                 given
                                 (str ":handlers must be a map of event to function, or a var"
                                      " of one, not " (keys/shown given)))))
    (let [pairs (map checked-handler given)]
      (check-distinct given pairs)
      (into {} pairs))))

(def ^:private events-for-logs
  "The events that name a mail in a log."
  #{:connect :mail :recipient})

(defn- no-reply?
  [[_ handler]]
  (:no-reply (meta handler)))

(defn- flags
  ^Collection [option ks]
  (mapv #(options/action-flag option %) ks))

(defn- types
  ^Collection [option ks]
  (mapv #(options/event-type option %) ks))

(defn offer
  "Returns the Offer of an :options event. Masks win over sets, and what is missing is as a current
  MTA offers it. Throws :bad-options that says what would be right, if one of its keys is unknown or
  has a wrong value."
  ^Offer [{:keys [version actions protocol action-mask protocol-mask] :as given}]
  (events/check-offer given)
  (Offer. (int (or version (.version Offer/CURRENT)))
          (unchecked-int (cond
                           action-mask action-mask
                           actions (ActionFlag/mask (flags :actions actions))
                           :else (.actions Offer/CURRENT)))
          (unchecked-int (cond
                           protocol-mask protocol-mask
                           protocol (ProtocolFlag/mask (mapv #(options/protocol-flag :protocol %)
                                                             protocol))
                           :else (.protocol Offer/CURRENT)))))

(defn request
  "Returns what a context asks of the MTA: the events that have a handler or a default reply, and
  the actions.

  Where neither :actions nor :optional-actions is given, every action is asked for as optional.
  Where :optional-events is not given, the events that old protocol versions lack are optional. With
  :log-mail? the events that name a mail are asked for, too, without a reply; and those that :wants
  needs."
  ^Request [{:keys [handlers default-reply actions optional-actions optional-events no-reply-events
                    request-macros wants rejected-recipients? leading-space? log-mail?]}]
  (let [handled (handler-map (if (nil? handlers) {} handlers))
        watched (remove (some-fn handled default-reply)
                        (when log-mail? events-for-logs))
        everything? (and (nil? actions) (nil? optional-actions))
        builder (doto (Request/builder)
                  (.events (types :handlers (keys handled)))
                  (.events (types :default-reply (keys default-reply)))
                  (.events (types :log-mail? watched))
                  (.optionalEvents (types :optional-events (concat watched (or optional-events late-events))))
                  (.noReplyEvents (types :no-reply-events
                                         (into (into (set no-reply-events) watched)
                                               (map first)
                                               (filter no-reply? handled))))
                  (.actions (flags :actions actions))
                  (.optionalActions (flags :optional-actions
                                           (if everything?
                                             (disj options/action-names :request-macros)
                                             optional-actions)))
                  (.rejectedRecipients (boolean rejected-recipients?))
                  (.leadingSpace (boolean leading-space?))
                  (.facts (envelope/facts wants)))]
    (doseq [[stage names] request-macros]
      (.macros ^Request$Builder builder (options/macro-stage stage) ^List (vec names)))
    (.build ^Request$Builder builder)))

(defn agreement-map
  "Returns an agreement as data."
  [^Agreement agreement]
  {:offer (.event (.offer agreement))
   :version (.version agreement)
   :events (into #{} (map #(.-keyword ^EventType %)) (.events agreement))
   :actions (into #{} (map #(.-keyword ^ActionFlag %)) (.actions agreement))
   :no-reply (into #{}
                   (comp (filter #(and (.-noReplyBy ^EventType %)
                                       (not (.owesReply agreement ^EventType %))))
                         (map #(.-keyword ^EventType %)))
                   (.events agreement))
   :capabilities (into #{}
                       (comp (filter #{ProtocolFlag/SKIP
                                       ProtocolFlag/REJECTED_RECIPIENTS
                                       ProtocolFlag/LEADING_SPACE})
                             (map #(.-keyword ^ProtocolFlag %)))
                       (.protocol agreement))})

(defn explain
  "Returns what would be agreed between the context's request and an offer, as data."
  [context offered]
  (let [agreement (Negotiation/agree (offer offered) (request context))]
    (assoc (agreement-map agreement)
           :protocol-flags (into (sorted-set) (map #(.-constant ^ProtocolFlag %)) (.protocol agreement))
           :action-flags (into (sorted-set) (map #(.-constant ^ActionFlag %)) (.actions agreement)))))
