(ns temse.impl.repl.exchanges
  "Exchanges at a REPL: what is kept of them, which are asked for, and how they are printed."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.options :as options]
   [temse.impl.recording.weight :as weight]
   [temse.impl.text :as text]
   [temse.report :as report])
  (:import
   (clojure.lang PersistentQueue)
   (java.io Writer)
   (java.util.regex Pattern)))

(set! *warn-on-reflection* true)

;; ---- printing

(defn lines
  "Returns an exchange as lines for people, with the failure of its handler."
  [{:keys [failure] :as exchange}]
  (concat (report/exchange-lines exchange false)
          (when failure
            [(str "       !!! " (line/printable (str (.getName (class failure))
                                                     (when-let [message (ex-message failure)]
                                                       (str ": " message)))))])))

(defn shown
  "Returns exchanges as a vector that a REPL prints as lines for people."
  [exchanges]
  (with-meta (vec exchanges) {:type ::exchanges}))

(defn- print-lines
  [lines ^Writer writer]
  (.write writer (string/join "\n" lines)))

(defmethod print-method ::exchange
  [exchange writer]
  (print-lines (report/exchange-lines exchange true) writer))

(defmethod print-method ::exchanges
  [exchanges ^Writer writer]
  (if (seq exchanges)
    (print-lines (mapcat lines exchanges) writer)
    (.write writer "[]")))

;; ---- what belongs to an exchange beside its event

(defn about
  "Returns what is known of the SMTP clients and mails by connection, after an exchange."
  [known {:keys [id event]}]
  (case (:event event)
    :connect (assoc known id {:client (select-keys event [:host-name :address :port])})
    :mail (assoc-in known [id :sender] (:sender event))
    :disconnect (dissoc known id)
    known))

(defn after
  "Returns what is known after the end of a mail: its exchange still has the sender."
  [known {:keys [id event]}]
  (if (and (= :message-end (:event event)) (contains? known id))
    (update known id dissoc :sender)
    known))

;; ---- what is kept

(def nothing
  "What is kept at first: the exchanges with their weights, and these together."
  {:queue PersistentQueue/EMPTY, :bytes 0})

(defn- without-oldest
  [{:keys [queue bytes]}]
  {:queue (pop queue), :bytes (- (long bytes) (long (second (peek queue))))})

(defn keeping
  "Returns what is kept after an exchange: the last `most`, and not more than `most-bytes` of events and
  answers."
  [{:keys [queue bytes]} {:keys [event response] :as exchange} most most-bytes]
  (let [weight (+ 1024 (weight/of event) (weight/of response))]
    (loop [kept {:queue (conj queue [exchange weight]), :bytes (+ (long bytes) weight)}]
      (if (and (seq (:queue kept))
               (or (< (long most) (count (:queue kept)))
                   (< (long most-bytes) (long (:bytes kept)))))
        (recur (without-oldest kept))
        kept))))

;; ---- which are asked for

(def ^:private wanted
  "What a text or number may be compared with."
  ["a value, a set of values, a regular expression or a function" some?])

(def ^:private table
  "Keys of a filter of exchanges."
  {:event ["an event or a set of events"
           #(every? options/event-names (if (set? %) % [%]))]
   :reply ["the name of a reply or a set of these, such as :reject" #(or (keyword? %) (set? %))]
   :sender wanted
   :client wanted
   :peer wanted
   :id wanted
   :mail wanted
   :failure? ["true or false" boolean?]})

(defn- bare
  [address]
  (text/lower-case (string/replace (str address) #"^<|>$" "")))

(defn- fits?
  "Returns true if one of the values is what is wanted."
  [wanted values]
  (boolean
    (some (fn [value]
            (cond
              (instance? Pattern wanted) (re-find wanted (str value))
              (fn? wanted) (wanted value)
              (set? wanted) (or (contains? wanted value) (some #(fits? % [value]) (disj wanted value)))
              (string? wanted) (= (bare wanted) (bare value))
              :else (= wanted value)))
          (remove nil? values))))

(defn- asked-values
  "Returns the values of an exchange that a key of a filter is about."
  [k {:keys [event response client] :as exchange}]
  (case k
    :event [(:event event)]
    :reply (map :action response)
    :client [(:host-name client) (:address client)]
    :failure? [(some? (:failure exchange))]
    [(get exchange k)]))

(defn predicate
  "Returns the predicate of exchanges that a filter stands for: an event, a set of events, a map, a
  function; nil for all. Throws :bad-options that says what would be right."
  [filter]
  (cond
    (nil? filter) (constantly true)
    (keyword? filter) (recur {:event filter})
    (set? filter) (recur {:event filter})
    (map? filter) (let [checked (keys/check "a filter of exchanges" filter table)]
                    (fn [exchange]
                      (every? (fn [[k wanted]] (fits? wanted (asked-values k exchange))) checked)))
    (options/callable? filter) filter
    :else (throw (keys/bad-option :filter filter
                                  (str "exchanges are chosen by an event, a set of events, a map such as"
                                       " {:event :mail, :sender \"a@example.org\"}, or a function, not by "
                                       (keys/shown filter))))))
