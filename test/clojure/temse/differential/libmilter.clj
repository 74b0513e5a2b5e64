(ns temse.differential.libmilter
  "libmilter's table of transitions, to know where it stands when the two filters differ."
  (:require
   [clojure.string :as str]
   [temse.differential.conversation :as conversation]))

(set! *warn-on-reflection* true)

(def ^:private targets
  "The state that a command leads to. Macros lead nowhere."
  {"O" :options, "C" :connect, "H" :hello, "M" :mail, "R" :recipient, "T" :data, "L" :header
   "N" :end-of-headers, "B" :body, "E" :end-of-message, "Q" :quit, "A" :abort, "U" :unknown
   "K" :quit-nc})

(def ^:private transitions
  "States in libmilter's order, each with those that may follow."
  (array-map
    :start #{:options}
    :options #{:connect :unknown}
    :connect #{:hello :mail :unknown}
    :hello #{:hello :mail :unknown}
    :mail #{:recipient :abort :unknown}
    :recipient #{:recipient :data :header :end-of-headers :body :end-of-message :abort :unknown}
    :data #{:header :end-of-headers :abort}
    :header #{:header :end-of-headers :abort}
    :end-of-headers #{:body :end-of-message :abort}
    :body #{:body :end-of-message :abort}
    :end-of-message #{:mail :quit :quit-nc :unknown}
    :quit #{}
    :abort #{}
    :unknown #{:hello :mail :recipient :data :body :unknown :abort :quit :quit-nc}
    :quit-nc #{:connect :unknown}))

(def ^:private order (keys transitions))

(def suppressed
  "Per variant, the states that the filter asks to be spared: they count as passed."
  {:few #{:hello :data :header :unknown}
   :content #{:connect :hello :mail :recipient :unknown}})

(defn- reachable? [variant state target]
  (let [[_ & later] (drop-while (complement #{state}) order)]
    (some #(contains? (transitions %) target)
          (cons state (take-while (get suppressed variant #{}) later)))))

(defn accepted
  "Returns how libmilter takes a command: :expected, :anew if it is legal only after all before was
  forgotten, or nil if it ignores it."
  [{:keys [variant state]} [code]]
  (let [target (targets code)]
    (cond
      (or (nil? target) (reachable? variant state target)) :expected
      (reachable? variant :hello target) :anew)))

(def ^:private callbacks
  {"C" "connect", "H" "helo", "M" "envfrom", "R" "envrcpt", "T" "data", "L" "header", "N" "eoh"
   "B" "body", "E" "eom", "U" "unknown"})

(defn- take-answer
  "Returns the answer that the next line tells if it is of this callback, and the other lines."
  [lines callback]
  (let [[line & others] lines]
    (if (and line (= callback (first (str/split line #" "))))
      [(last (str/split line #" ")) others]
      ["continue" lines])))

(defn- answer
  "Returns the answer to a frame, and the lines that tell more answers."
  [lines [code :as frame]]
  (let [[of-body others] (if (and (= "E" code) (not= "" (conversation/payload frame)))
                           (take-answer lines "body")
                           ["continue" lines])]
    (if (and (callbacks code) (= "continue" of-body))
      (take-answer others (callbacks code))
      [of-body others])))

(def ^:private goes-on? #{"continue" "noreply" "skip"})

(defn- message-after [{:keys [variant message]} code answer]
  (case code
    "M" (if (goes-on? answer) :open :settled)
    "R" (cond
          (#{"accept" "discard"} answer) :settled
          (= :content variant) :open
          :else message)
    ("T" "L" "N" "B") (cond
                        (not (goes-on? answer)) :settled
                        (or (nil? message) (= :content variant)) :open
                        :else message)
    ("E" "A" "H" "K" "Q") nil
    message))

(defn- after [{:keys [variant lines] :as standing} [code :as frame]]
  (let [how (accepted standing frame)]
    (cond
      (= "D" code)
      standing

      (nil? how)
      (-> standing
          (assoc :state :hello, :message nil)
          (update :ignored conj code))

      :else
      (let [[answer lines] (answer lines frame)
            back? (and (not (goes-on? answer))
                       (not (and (#{"R" "U"} code) (not= "accept" answer))))]
        (assoc standing
               :lines lines
               :state (if back? :hello (targets code))
               :message (message-after standing code answer)
               :answers (conj (:answers standing) [code answer]))))))

(defn standing
  "Returns where libmilter stands after frames for which its filter has printed these lines:

    :state     ; in its table
    :message   ; :open from MAIL, or what comes first, until the message ends; :settled if a verdict
               ; ended it and the MTA has not yet begun something else; nil outside of messages
    :answers   ; to the commands that it took, [code answer]
    :ignored   ; the commands that it ignored"
  [variant frames lines]
  (reduce after
          {:variant variant, :state :start, :message nil, :answers [], :ignored #{}
           :lines (remove #{"abort" "close"} lines)}
          frames))
