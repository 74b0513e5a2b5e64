(ns regex-rules
  "What the rules of a milter-regex.conf decide while more and more of their terms are known.

  A term is known to be true as soon as something matches it, and to be false when nothing can match
  it any more. What is known, a state, is

    {:known {0 true, 2 false}  ; of terms, by their numbers
     :recipients #{{1 true}}   ; what else is known with each of the recipients: a rule is true if it
                               ; is with one of them
     :done #{4}                ; rules that have been true, by their places in the file
     :held rule                ; the last quarantine rule that was true
     :standing 4               ; the quarantine rule that hides those behind it in the file
     :decision rule}           ; what becomes of the mail

  A state with a decision stays as it is, so that functions can be threaded: the first decision wins.")

(set! *warn-on-reflection* true)

(defn- truth
  "Returns whether an expression is true, nil where that is not known yet."
  [known [operator & operands]]
  (case operator
    :term (known (first operands))
    :not (some-> (truth known (first operands)) not)
    (let [decisive (= :or operator)]
      (reduce (fn [value operand]
                (let [v (truth known operand)]
                  (cond
                    (= decisive v) (reduced decisive)
                    (nil? v) nil
                    :else value)))
              (not decisive)
              operands))))

(defn- true-rules
  "Returns the places of the rules that are true and were not before."
  [rules {:keys [known recipients done]}]
  (let [with (fn [recipient] #(if-some [value (recipient %)] value (known %)))
        ways (map with (or (seq recipients) [{}]))]
    (keep-indexed (fn [place {:keys [expression]}]
                    (when (and (not (done place)) (some #(truth % expression) ways))
                      place))
                  rules)))

(defn- decide
  "Returns the state with the decision of the first rule in the file that has become true."
  [{:keys [decision standing] :as state} {:keys [rules]}]
  (if decision
    state
    (let [places (true-rules rules state)
          place (first places)
          {:keys [action] :as rule} (when place (rules place))
          state (update state :done into places)]
      (cond
        (or (nil? place) (and standing (< (long standing) (long place)))) state
        (= :quarantine action) (assoc state :decision rule :standing place :held rule)
        :else (assoc state :decision rule)))))

(defn- go-on
  "Returns the state without the decision to quarantine: the mail is held, and goes on to its end."
  [{:keys [decision] :as state}]
  (cond-> state (= :quarantine (:action decision)) (dissoc :decision)))

(defn- noted
  "Returns the state in which those terms are true that match, of the kinds in a map of kind to texts."
  [{:keys [known decision] :as state} {:keys [terms]} seen]
  (if decision
    state
    (update state :known into
            (for [[kind texts] seen
                  [number patterns] (terms kind)
                  :when (and (nil? (known number))
                             (every? (fn [[matches? text]] (matches? text)) (map vector patterns texts)))]
              [number true]))))

(defn- learn
  "Returns the state as `noted` does, with what the rules then decide."
  [state conf seen]
  (let [after (noted state conf seen)]
    (cond-> after (not= (count (:known after)) (count (:known state))) (decide conf))))

(defn- unknown
  [{:keys [known]} {:keys [terms]} kinds]
  (for [kind kinds
        [number] (terms kind)
        :when (nil? (known number))]
    number))

(defn- settle
  "Returns the state in which those terms of some kinds are false that are not true, with what the
  rules then decide."
  [{:keys [decision] :as state} conf kinds]
  (let [left (unknown state conf kinds)]
    (if (or decision (empty? left))
      state
      (decide (update state :known into (map #(vector % false)) left) conf))))

(defn- accept-early
  "Returns the state with the decision to accept, if all terms of some kinds are known, and thus no
  rule can become true any more, and the mail is not in quarantine."
  [{:keys [decision held] :as state} conf kinds]
  (if (or decision held (seq (unknown state conf kinds)))
    state
    (assoc state :decision {:action :accept})))

;; ---- events, in the order in which they come

(def ^:private content [:header :decoded-header :body :decoded-body])

(def ^:private all-kinds (into [:macro :connect :hello :mail :recipient] content))

(defn connected
  "Returns the state after the macros of a connection, which decide when HELO comes."
  [conf macros]
  (reduce #(noted %1 conf %2) {:known {}, :recipients #{}, :done #{}} macros))

(defn greeted
  "Returns the state after HELO, from what is seen of the connection, of macros and of HELO itself."
  [state conf client macros hello]
  (as-> state state
    (noted state conf client)
    (decide state conf)
    (settle state conf [:connect])
    (accept-early state conf all-kinds)
    (reduce #(learn %1 conf %2) state macros)
    (learn state conf hello)
    (settle state conf [:hello])
    (accept-early state conf all-kinds)
    (go-on state)))

(defn- addressed
  "Returns the state after an address of the envelope."
  [state conf kind seen early? macros]
  (as-> (dissoc state :standing) state
    (learn state conf seen)
    (settle state conf [kind])
    (cond-> state early? (accept-early conf all-kinds))
    (reduce #(learn %1 conf %2) state macros)
    (go-on state)))

(defn sent
  "Returns the state of a message after its sender, from that after HELO. What stands then hides no
  rule behind it from the recipients and the content."
  [state conf seen macros]
  (dissoc (addressed state conf :mail seen true macros) :standing))

(defn received
  "Returns the state after a recipient, from that after the sender, which `mail` is, and that of the
  message so far. A recipient that is refused leaves the message as it was. The message is accepted
  as a whole only if no other recipient can make a difference."
  [message conf mail seen macros]
  (let [open? (some #(nil? (truth (:known mail) (:expression %))) (:rules conf))
        {:keys [known done decision] :as state}
        (addressed (assoc mail :held (:held message)) conf :recipient seen (not open?) macros)]
    (merge message
           (select-keys state [:decision])
           (when-not decision
             {:recipients (conj (:recipients message) known)
              :done (into (:done message) done)
              :held (:held state)
              :standing (:standing state)}))))

(defn headed
  "Returns the state after a header field. While a quarantine rule stands no further one is looked at."
  [state conf seen]
  (let [{:keys [standing] :as state} (settle state conf [:macro])]
    (go-on (cond-> state
             (not standing) (-> (accept-early conf content) (learn conf seen))))))

(defn header-ended
  "Returns the state after the last header field."
  [state conf]
  (-> state
      (settle conf [:macro])
      (settle conf [:header :decoded-header])
      (accept-early conf [:body :decoded-body])
      go-on))

(defn read-lines
  "Returns the state after lines of a body, a map of kind to lines."
  [state conf lines]
  (reduce (fn [state [kind line]] (go-on (learn state conf {kind [line]})))
          state
          (for [[kind lines] lines, line lines] [kind line])))

(defn ended
  "Returns the state after the last lines, which has a decision unless the mail is held."
  [state conf lines]
  (-> state
      (read-lines conf lines)
      (settle conf [:body :decoded-body])
      go-on
      (accept-early conf [])))
