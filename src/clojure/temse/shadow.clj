(ns temse.shadow
  "A filter in the shadow of another: both see real mail, one of them answers.

    (def report (atom {}))

    (start-milter (assoc (shadow live candidate {:report report}) :port 20025))

    (select-keys @report [:conversations :disagreed :differs])   ;=> {:conversations 12, :disagreed 1, …}

  doc/composition.org says more."
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.compose :as compose]
   [temse.impl.compose.sequence :as sequence]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.log :as impl-log]
   [temse.impl.options :as options]
   [temse.impl.recording.weight :as weight]
   [temse.record :as record]
   [temse.replay :as replay]))

(set! *warn-on-reflection* true)

(def ^:private table
  {:report ["an atom" #(instance? clojure.lang.IAtom %)]
   :on-disagreement ["a function" options/callable?]
   :max-samples ["a number, 0 or more" nat-int? 20]
   :max-sample-bytes ["a number of bytes" pos-int? 65536]
   :max-memory ["a number of bytes" pos-int? 16777216]
   :threads ["a number, 1 or more" pos-int? 2]
   :timeout (conj keys/milliseconds 30000)
   :ignore ["names of header fields, or a function"
            #(or (nil? %) (and (coll? %) (every? string? %)) (options/callable? %))]})

(defn- titled
  "Returns a filter with a name, of its own or else the given one."
  [filter default]
  (merge {:name default} (compose/in-sequence filter)))

;; ---- what is seen for the candidate

(def ^:private seen
  "The handler of an event that the live filter need not want."
  (with-meta (fn [_ _] nil) {:no-reply true}))

(defn- onlooker
  "Returns a filter that asks the MTA for what the candidate wants to see, never for an action or a reply,
  and for nothing without which an MTA would be refused."
  [candidate]
  (let [{:keys [handlers] :as asked} (sequence/filter-of [{:filter candidate, :title "candidate"}])
        events (remove #{:message-end :disconnect :options} (keys handlers))]
    (merge (select-keys asked [:request-macros :rejected-recipients? :leading-space?])
           {:name "shadow"
            :handlers (zipmap events (repeat seen))
            :actions #{}
            :optional-events (set events)})))

;; ---- what comes of it

(def ^:private nothing
  {:conversations 0, :disagreed 0, :differs {}, :samples [], :cut 0, :dropped 0, :failed 0})

(defn- disagreement
  "Returns a difference between the two filters under names that fit."
  [{:keys [event differs expected actual problem conversation]} {:keys [peer queue-ids recorded]}]
  (cond-> {:at recorded
           :peer peer
           :event event
           :differs differs
           :live expected
           :candidate actual
           :conversation conversation}
    (seq queue-ids) (assoc :queue-ids queue-ids)
    problem (assoc :problem problem)))

(defn- small?
  "Returns true for a disagreement of which a sample does not take more memory than it may."
  [disagreement most]
  (>= (long most) (long (weight/of disagreement))))

(defn- sample
  "Returns a disagreement as it is kept: without the message so far where that is too large, and nil
  where it is too large even so."
  [disagreement {:keys [max-sample-bytes]}]
  (let [shorter (assoc disagreement :conversation [] :shortened? true)]
    (cond
      (small? disagreement max-sample-bytes) disagreement
      (small? shorter max-sample-bytes) shorter)))

(defn- counted
  "Returns the report after a conversation."
  [report found {:keys [max-samples] :as options}]
  (-> report
      (update :conversations inc)
      (update :disagreed + (if (seq found) 1 0))
      (update :differs #(merge-with + % (frequencies (mapcat :differs found))))
      (update :samples (fn [samples]
                         (let [samples (into samples (keep #(sample % options)) found)]
                           (vec (take-last max-samples samples)))))))

(defn- answer-text
  [actions]
  (cond
    (nil? actions) "no answer"
    (empty? actions) "continue"
    :else (string/join ", " (map line/action-text (take 5 actions)))))

(defn- log-disagreement
  [title {:keys [event differs live candidate queue-ids]}]
  (impl-log/quietly
    (log/log "temse" :info nil
             (line/printable
               (str title " disagrees at " (name (:event event)) " in "
                    (string/join ", " (map name (sort differs)))
                    (when (seq queue-ids) (str " (" (string/join " " (take 3 queue-ids)) ")"))
                    ": live " (answer-text live) "; candidate " (answer-text candidate))))))

(defn- judge
  "Plays what the live filter has answered to the candidate, and reports where the two disagree."
  [{title :name :as candidate} recording report {:keys [on-disagreement] :as options}]
  (let [found (mapv #(disagreement % recording)
                    (replay/replay-here recording candidate (select-keys options [:timeout :ignore])))]
    (swap! report counted found options)
    (doseq [each found]
      (log-disagreement title each)
      (when on-disagreement
        (on-disagreement each)))))

(defn- recorder
  [{title :name :as candidate} report {:keys [threads max-memory] :as options}]
  (let [on-disagreement (some->> (:on-disagreement options)
                                 (impl-log/guarded title ":on-disagreement"))
        options (assoc options :on-disagreement on-disagreement)]
    (record/recorder-to #(judge candidate % report options)
                        (fn [counts] (swap! report merge (select-keys counts [:cut :dropped :failed])))
                        threads
                        {:max-memory max-memory})))

(defn shadow
  "Returns the live filter, with a candidate in its shadow: both see the same mail, and only the live one
  answers. For the next version of a filter, on the mail of today.

  A conversation with the MTA is played to the candidate when it has ended, by threads of its own, with
  the macros, header fields and bodies that the live filter received, and the candidate's answers are
  compared with the live ones as `temse.replay/replay` does. So the candidate, whether it fails, is slow
  or never returns, can neither change nor delay an answer. What it costs is memory and processor time:
  both are bounded, and conversations for which there is no room are not compared, but counted.

  The handlers of the candidate do run: what they write to a database, say, is written.

    :report           ; an atom that receives the report (default: none)
    :on-disagreement  ; function of each disagreement, called after it is in the report; what it throws is
                      ; logged (default: none)
    :ignore           ; names of header fields whose values may differ, or a function, as for `replay`
    :timeout          ; milliseconds that a pending value of the candidate may take (default: 30000)
    :threads          ; conversations that the candidate handles at once (default: 2)
    :max-memory       ; bytes of conversations in progress, and again of those that wait for the candidate
                      ; (default: 16777216)
    :max-samples      ; disagreements that are kept, the latest (default: 20)
    :max-sample-bytes ; bytes of one that is kept: a larger one is kept without :conversation and with
                      ; :shortened? true (default: 65536)

  The report is
    :conversations ; compared
    :disagreed     ; those among them in which the filters disagree
    :differs       ; how often by what: :verdict, :reply (another code or text), :modifications (header
                   ; fields, body, senders, recipients …), :connection (one of them gave no answer)
    :samples       ; the latest disagreements: {:at DATE :peer :queue-ids :event :differs :live ACTIONS
                   ; :candidate ACTIONS :conversation, the message so far with the candidate's answers}
    :cut           ; conversations that were compared up to a place, since memory ran short
    :dropped       ; conversations that were not compared, since the candidate is too slow
    :failed        ; conversations that could not be played

  After a refusal by the live filter the MTA sends no more of the message, and the candidate cannot see
  more of it either; after one by the candidate no more of it is played to the candidate.

  What the candidate wants to see (events, macros, rejected recipients) is asked of the MTA in addition,
  where the MTA can; no action of the candidate is. The live filter is never refused for it.

    (shadow live candidate {:report (atom {}) :ignore [\"X-Scanned-At\"]})"
  ([live candidate]
   (shadow live candidate {}))
  ([live candidate given]
   (let [options (keys/with-defaults "the options of shadow" given table)
         report (or (:report options) (atom {}))
         live (titled live "live")
         candidate (titled candidate "candidate")
         filter (compose/in-sequence (onlooker candidate) live)
         recorder (recorder candidate report options)
         recorded (record/exchange-recorder recorder (boolean (:leading-space? filter)))]
     (reset! report nothing)
     (sequence/filter-of [{:filter (dissoc filter :name)
                           :title (:name live)
                           :on-exchange recorded}]))))
