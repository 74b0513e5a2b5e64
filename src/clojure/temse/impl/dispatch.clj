(ns temse.impl.dispatch
  "What a handler's return value means: the one place that decides."
  {:no-doc true}
  (:require
   [temse.impl.pending :as pending])
  (:import
   (clojure.lang IPersistentMap)
   (java.util List)
   (temse.protocol MilterException MilterException$Category)
   (temse.server Connection)))

(set! *warn-on-reflection* true)

(def ^:private owned-keys
  "Keys of a context that belong to the library, put back if a handler drops or changes them."
  [:milter/connection :milter/info :milter/agreement :socket :events :actions])

(defn- bad-return
  [event value problem]
  (MilterException. MilterException$Category/BAD_HANDLER_RETURN
                    (str "the handler of " (:event event) " returned " problem
                         "; return a context, a sequence of actions, nil, or a value that will"
                         " yield one of these")
                    (object-array ["event" event "value" value])))

(defn- keeps-owned?
  "Says it without a loop over owned-keys, since it is said for every event."
  [^IPersistentMap before ^IPersistentMap after]
  (and (.containsKey after :handlers)
       (identical? (.valAt before :milter/connection) (.valAt after :milter/connection))
       (identical? (.valAt before :milter/info) (.valAt after :milter/info))
       (identical? (.valAt before :milter/agreement) (.valAt after :milter/agreement))
       (identical? (.valAt before :socket) (.valAt after :socket))
       (identical? (.valAt before :events) (.valAt after :events))
       (identical? (.valAt before :actions) (.valAt after :actions))))

(defn next-context
  "Returns the context a handler has returned, with the library's own keys put back, and the
  handlers if they are missing."
  [before after]
  (if (keeps-owned? before after)
    after
    (merge after
           (when-not (contains? after :handlers) (select-keys before [:handlers]))
           (select-keys before owned-keys))))

(defn- checked
  "Returns the actions without the nils among them. Throws :bad-handler-return if one is none."
  [event actions]
  (if (every? map? actions)
    actions
    (let [given (filterv some? actions)]
      (when-not (every? map? given)
        (throw (bad-return event actions
                           (str (pr-str (first (remove map? given)))
                                " among its actions, each of which is a map such as"
                                " {:action :accept}"))))
      given)))

(defn actions-of
  "Returns the actions that a settled return value of a handler carries, or nil.

  Throws :bad-handler-return that says what would be right, or the Throwable that the value is."
  [event value]
  (cond
    (nil? value)
    nil

    (instance? IPersistentMap value)
    (if (and (contains? value :action) (not (contains? value :milter/connection)))
      (throw (bad-return event value
                         "one action map: return [action] or (respond context action)"))
      (checked event (:milter/response value)))

    (instance? List value)
    (checked event value)

    (instance? Throwable value)
    (throw value)

    :else
    (throw (bad-return event value (str "an instance of " (.getName (class value)))))))

(defprotocol Holder
  "What holds the context of a connection between its events."
  (current-context [holder] "Returns the context.")
  (keep-context [holder context] "Takes over a context for the next event."))

(defn- keep-returned
  [holder returned]
  (let [context (next-context (current-context holder) returned)]
    (when (:milter/close? context)
      (.close ^Connection (:milter/connection context)))
    (keep-context holder
                  (cond-> context
                    (contains? context :milter/response) (dissoc :milter/response)
                    (contains? context :milter/close?) (dissoc :milter/close?)))))

(defn- take-value
  "Keeps the returned context, if it is one, and returns the actions."
  [holder event value]
  (let [actions (actions-of event value)]
    (when (map? value)
      (keep-returned holder value))
    actions))

(defn settle
  "Takes over what a handler has returned for an event, and returns the actions that answer it: a
  list, or nil for none. A pending value leaves the event open on the connection."
  ^List [holder ^Connection connection event value]
  (cond
    (identical? value (current-context holder))
    nil

    (or (nil? value) (instance? IPersistentMap value) (instance? List value))
    (take-value holder event value)

    :else
    (if-let [stage (pending/stage value)]
      (do (.await connection
                  stage
                  (reify java.util.function.Function
                    (apply [_ result] (take-value holder event result))))
          nil)
      (take-value holder event value))))
