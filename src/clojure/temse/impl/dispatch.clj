(ns temse.impl.dispatch
  "What a handler's return value means: the one place that decides."
  {:no-doc true}
  (:require
   [temse.impl.pending :as pending])
  (:import
   (clojure.lang IPersistentMap Sequential)
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
  [before after]
  (every? #(identical? (get before %) (get after %)) owned-keys))

(defn next-context
  "Returns the context a handler has returned, with the library's own keys put back."
  [before after]
  (if (keeps-owned? before after)
    after
    (merge after (select-keys before owned-keys))))

(defn- forgotten-vector?
  [value]
  (and (contains? value :action) (not (contains? value :milter/connection))))

(defprotocol Holder
  "What holds the context of a connection between its events."
  (current-context [holder])
  (keep-context [holder context]))

(defn- take-context
  "Keeps the returned context and returns the actions it carries, or nil."
  [holder event value]
  (when (forgotten-vector? value)
    (throw (bad-return event value
                       "one action map: return [action] or (respond context action)")))
  (let [context (next-context (current-context holder) value)
        actions (:milter/response context)]
    (when (:milter/close? context)
      (.close ^Connection (:milter/connection context)))
    (keep-context holder (cond-> context
                           actions (dissoc :milter/response)
                           (:milter/close? context) (dissoc :milter/close?)))
    actions))

(defn- take-value
  [holder event value]
  (cond
    (nil? value) nil
    (instance? IPersistentMap value) (take-context holder event value)
    (instance? Throwable value) (throw value)
    (and (instance? Sequential value) (every? map? value)) value
    :else (throw (bad-return event value (str "an instance of " (.getName (class value)))))))

(defn settle
  "Takes over what a handler has returned for an event, and returns the actions that answer it: a
  list, or nil for none. A pending value leaves the event open on the connection."
  ^List [holder ^Connection connection event value]
  (cond
    (identical? value (current-context holder))
    nil

    (or (nil? value) (instance? IPersistentMap value) (instance? Sequential value))
    (take-value holder event value)

    :else
    (if-let [stage (pending/stage value)]
      (do (.await connection
                  stage
                  (reify java.util.function.Function
                    (apply [_ result] (take-value holder event result))))
          nil)
      (take-value holder event value))))
