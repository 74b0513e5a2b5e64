(ns temse.impl.repl.explanation
  "Why a mail got its verdict, as data that a REPL prints as lines for people."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.failure :as failure]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.text :as text])
  (:import
   (java.io Writer)
   (temse.client.internal BriefMap)
   (temse.protocol ActionType ActionType$Kind)))

(set! *warn-on-reflection* true)

(defmethod print-method ::explanation
  [{:keys [lines]} ^Writer writer]
  (.write writer ^String (string/join "\n" lines)))

(defn- explanation
  [data lines]
  (with-meta (BriefMap/of (assoc data :lines (vec lines))) {:type ::explanation}))

(defn- reply?
  [{:keys [action]}]
  (when-let [type (ActionType/ofKeyword action)]
    (= ActionType$Kind/REPLY (.-kind ^ActionType type))))

(defn- decides?
  "Returns true for an exchange whose reply is more than to go on."
  [{:keys [response]}]
  (some #(and (reply? %) (not (#{:continue :skip} (:action %)))) response))

(defn- handler-of
  "Returns the name of the handler of an event, or nil."
  [handlers event]
  (some-> (get (negotiation/handler-map (or handlers {})) event) failure/handler-text))

(defn- changed-keys
  "Returns the keys of the context that a handler has changed, with their values before and after."
  [{:keys [before after]}]
  (into (sorted-map-by #(compare (str %1) (str %2)))
        (for [k (into (set (keys before)) (keys after))
              :when (not= (get before k ::none) (get after k ::none))]
          [k [(get before k) (get after k)]])))

(defn- failed
  "Returns what went wrong at an exchange as data, or nil."
  [handlers {:keys [failure] {:keys [event]} :event}]
  (when failure
    (failure/of event failure (get (negotiation/handler-map (or handlers {})) event))))

(defn- answer-text
  [actions]
  (if (seq actions) (string/join "; " (map line/action-text actions)) "nothing"))

(defn of-exchange
  "Returns the explanation of one exchange."
  [handlers {:keys [event response mail id millis] :as exchange}]
  (let [handler (handler-of handlers (:event event))
        failure (failed handlers exchange)
        changed (when-not failure (changed-keys exchange))
        whys (keep :why response)]
    (explanation
      (cond-> {:event event
               :handler handler
               :response response
               :changed (or changed {})}
        failure (assoc :failure failure)
        (seq whys) (assoc :why (last whys)))
      (concat
        [(str (line/event-text event) ", connection " id (when mail (str ", mail " mail)))
         (cond
           failure (line/printable (:explanation failure))
           handler (str "handled by " handler)
           :else "no handler sees it")]
        (map #(str "  at " (line/printable %)) (:trace failure))
        [(str "answered with " (answer-text response)
              (when millis (text/formatted " after %.1f ms" (double millis))))]
        (for [[k [before after]] changed]
          (line/printable (str "context " k ": " (keys/shown before) " -> " (keys/shown after))))))))

(defn of-mail
  "Returns the explanation of what became of a mail: its exchanges, and a result of run-message (or
  nil)."
  [handlers exchanges {:keys [verdict at errors modifications problem]}]
  (let [deciding (or (some #(when (= at (:event (:event %))) %) (reverse (filter decides? exchanges)))
                     (last (filter decides? exchanges)))
        {:keys [event response failure]} deciding
        reply (last (filter reply? response))
        errors (or errors (into [] (keep #(failed handlers %)) (when failure [deciding])))
        changes (or modifications
                    (into [] (comp (mapcat :response) (remove reply?))
                          (filter #(= :end-of-message (:event (:event %))) exchanges)))
        verdict (or verdict (:action reply) :accept)
        at (or at (:event event) :end-of-message)
        handler (when-not failure (handler-of handlers at))]
    (explanation
      (cond-> {:verdict verdict
               :at at
               :handler handler
               :reply reply
               :modifications changes
               :errors errors}
        (:why reply) (assoc :why (:why reply)))
      (concat
        [(str (name verdict) " at " (name at)
              (cond
                problem (str ": " (line/printable problem))
                (seq errors) ", because a handler failed"
                (and reply handler) (str ", decided by " handler)
                (nil? reply) ": no handler decided otherwise"))]
        (when reply [(str "reply: " (line/action-text reply))])
        (map #(str "changed: " (line/action-text %)) changes)
        (mapcat (fn [{:keys [explanation trace]}]
                  (cons (line/printable explanation)
                        (map #(str "  at " (line/printable %)) trace)))
                errors)))))
