(ns temse.impl.return-value
  "What a handler's return value means: the one place that decides."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.impl.pending :as pending])
  (:import
   (clojure.lang IPersistentMap Keyword)
   (java.util List RandomAccess)
   (temse.protocol MilterException MilterException$Category)
   (temse.server MilterConnection)))

(set! *warn-on-reflection* true)

(def most-actions
  "How many actions may answer one event."
  10000)

(defn bad-return
  "Returns the exception for a value that means nothing: what returned it, the value, what it is and
  what would be right, and the event (or nil)."
  ([who value problem]
   (bad-return who value problem nil))
  ([who value problem event]
   (MilterException. MilterException$Category/BAD_HANDLER_RETURN
                     (str who " returned " problem)
                     (object-array (cond-> ["value" value] event (conj "event" event))))))

(defn- handler-of
  [{:keys [event]}]
  (str "the handler of " event))

(defn- bad-answer
  [event value problem]
  (bad-return (handler-of event) value
              (str problem "; return a context, a sequence of actions, nil, or a value that will"
                   " yield one of these")
              event))

;; ---- contexts

(def ^:private context-keys
  "The keys of a context in the library's namespace."
  #{:milter/connection :milter/info :milter/agreement :milter/envelope :milter/message :milter/response
    :milter/close?})

(def ^:private owned-keys
  "Keys of a context that belong to the library, put back if a handler drops or changes them."
  [:milter/info :milter/agreement :events :actions :socket])

(defn owned
  "Returns the values of the keys of a context that belong to the library."
  ^objects [context]
  (to-array (mapv #(get context %) owned-keys)))

(defn- common-key?
  "Says of most keys of the library's namespace that they are its own, without a set: it is asked for
  each key of each context that is returned."
  [k]
  (or (identical? k :milter/connection)
      (identical? k :milter/info)
      (identical? k :milter/agreement)
      (identical? k :milter/message)
      (identical? k :milter/envelope)))

(defn- unknown-key
  "A step of reduce-kv that ends with the first key in the library's namespace that is none of its
  own."
  [_ k _]
  (when (and (instance? Keyword k) (not (common-key? k)))
    (let [of (.getNamespace ^Keyword k)]
      (when (and of (.equals "milter" of) (not (context-keys k)))
        (reduced k)))))

(defn check-context
  "Returns the map if it is a context. Throws :bad-handler-return if it lacks its connection, or has
  an unknown key in the namespace milter. Who returned it is a text, or nil for the handler of the
  event."
  [who ^IPersistentMap context event]
  (when-not (.containsKey context :milter/connection)
    (throw (bad-return (or who (handler-of event)) context
                       (str "a map that is no context: it lacks :milter/connection; return the"
                            " context, or nil")
                       event)))
  (when-let [k (reduce-kv unknown-key nil context)]
    (throw (bad-return (or who (handler-of event)) context
                       (str "a context with the key " k ", which means nothing"
                            (keys/did-you-mean (keys/closest k context-keys))
                            "; the keys of contexts in the namespace milter are "
                            (string/join " " (sort context-keys)))
                       event)))
  context)

(defn- keeps-owned?
  "Says it without a loop over owned-keys, since it is said for every event."
  [^objects owned ^IPersistentMap after]
  (and (.containsKey after :handlers)
       (identical? (aget owned 0) (.valAt after :milter/info))
       (identical? (aget owned 1) (.valAt after :milter/agreement))
       (identical? (aget owned 2) (.valAt after :events))
       (identical? (aget owned 3) (.valAt after :actions))
       (identical? (aget owned 4) (.valAt after :socket))))

(defn at-event
  "Returns the context with the connection of an event."
  ^IPersistentMap [^IPersistentMap context connection]
  (.assoc context :milter/connection connection))

(defn- with-owned
  [before after]
  (merge after
         (when-not (contains? after :handlers) (select-keys before [:handlers]))
         (select-keys before owned-keys)))

(defn next-context
  "Returns the context that a handler has returned, with the library's own keys put back, and the
  handlers if they are missing."
  [before after]
  (if (keeps-owned? (owned before) after)
    after
    (with-owned before after)))

;; ---- actions

(defn- bounded
  "Returns the actions as a list whose size is known. Throws :bad-handler-return if there are too
  many: a sequence may have no end."
  ^List [event actions]
  (let [given (if (instance? RandomAccess actions)
                actions
                (into [] (take (inc (long most-actions))) actions))]
    (when (< (long most-actions) (.size ^List given))
      (throw (bad-answer event nil (str "more than " most-actions " actions"))))
    given))

(defn- checked
  "Returns the actions without the nils among them. Throws :bad-handler-return if one is none."
  [event actions]
  (let [given (bounded event actions)]
    (if (every? map? given)
      given
      (let [given (filterv some? given)]
        (when-not (every? map? given)
          (throw (bad-answer event given
                             (str (keys/shown (first (remove map? given)))
                                  " among its actions, each of which is a map such as"
                                  " {:action :accept}"))))
        given))))

(defn- response-of
  "Returns the actions of a returned context, or nil."
  [event ^IPersistentMap context]
  (when-some [response (.valAt context :milter/response)]
    (when-not (instance? List response)
      (throw (bad-answer event context
                         (str "a context whose :milter/response is " (keys/shown response)
                              ", no sequence of actions"))))
    (checked event response)))

(defn actions-of
  "Returns the actions that a settled return value of a handler carries, or nil.

  Throws :bad-handler-return that says what would be right, or the Throwable that the value is."
  [event value]
  (cond
    (or (nil? value) (identical? pending/nothing value))
    nil

    (instance? IPersistentMap value)
    (if (and (not (.containsKey ^IPersistentMap value :milter/connection))
             (.containsKey ^IPersistentMap value :action))
      (throw (bad-answer event value
                         "one action map: return [action] or (respond context action)"))
      (response-of event (check-context nil value event)))

    (instance? List value)
    (checked event value)

    (instance? Throwable value)
    (throw value)

    :else
    (throw (bad-answer event value (str "an instance of " (.getName (class value)))))))

;; ---- settling an event

(defprotocol Holder
  "What holds the context of a connection between its events."
  (current-context [holder] "Returns the context.")
  (owned-values [holder] "Returns what `owned` returned of the context at first.")
  (keep-context [holder context] "Takes over a context for the next event."))

(defn without-answer
  "Returns the context without what concerns the current event only."
  [context]
  (dissoc context :milter/response :milter/close?))

(defn- keep-returned
  [holder ^MilterConnection connection ^IPersistentMap returned]
  (let [close? (.valAt returned :milter/close?)
        context (if (keeps-owned? (owned-values holder) returned)
                  returned
                  (with-owned (current-context holder) returned))]
    (keep-context holder
                  (if (or close? (some? (.valAt returned :milter/response)))
                    (without-answer context)
                    context))
    (when close?
      (.close connection))))

(defn- take-value
  "Keeps the returned context, if it is one, and returns the actions."
  [holder connection event value]
  (let [actions (actions-of event value)]
    (when (instance? IPersistentMap value)
      (keep-returned holder connection value))
    actions))

(defn settle
  "Takes over what a handler has returned for an event, and returns the actions that answer it: a
  list, or nil for none. A pending value leaves the event open on the connection."
  ^List [holder ^MilterConnection connection event value]
  (cond
    (identical? value (current-context holder))
    nil

    (or (nil? value) (instance? IPersistentMap value) (instance? List value))
    (take-value holder connection event value)

    :else
    (if-let [stage (pending/stage value)]
      (do (.awaitMaps connection
            stage
            (reify java.util.function.Function
              (apply [_ result] (take-value holder connection event result)))
            #(.cancel (.toCompletableFuture stage) true))
          nil)
      (take-value holder connection event value))))
