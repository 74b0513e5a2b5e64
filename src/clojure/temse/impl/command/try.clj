(ns temse.impl.command.try
  "The command try: mails against a filter, each with the verdict that its folder is named after."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.client :as client]
   [temse.impl.command.mails :as mails]
   [temse.impl.command.milters :as milters]
   [temse.impl.command.terminal :as terminal]
   [temse.impl.line :as line]
   [temse.test :as mt])
  (:import
   (java.io IOException)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(def ^:private verdicts
  ["accept" "reject" "defer" "discard" "quarantine"])

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse try FILE.clj|ADDRESS MAIL... [OPTIONS] [-- ARGS...]"]
   :about ["Plays mails to a filter, each on a connection of its own, and compares the"
           "verdicts with those that are expected: a mail below a directory accept, reject,"
           "defer, discard or quarantine is to get that verdict."
           ""
           "The filter is that of a Clojure file, as `temse run` takes it, with ARGS, in this"
           "process; or any milter at an address. MAIL is a mail in the Internet message"
           "format (.eml), a mailbox (.mbox), a directory with such files, at any depth, or -"
           "for a mail on the standard input."]
   :args? true
   :options (concat
              ["the mails"]
              mails/envelope-options
              [["--mbox FILE" "all mails of a mailbox, may be repeated" arguments/text :repeated]
               ["--expect VERDICT" (str "of mails in no such directory: " (string/join ", " verdicts))
                (arguments/one-of (zipmap verdicts verdicts))]]
              ["the MTA and its client"]
              client/options
              ["the filter"]
              milters/file-options
              ["the output"
               ["-q, --quiet" "only the mails whose verdict is not the one expected, and the summary"]])
   :exit "0 if all verdicts are those expected, 1 if one is not or the filter has failed, 2 after an error."})

;; ---- what is expected

(defn expected
  "Returns the verdict that the nearest directory above a file is named after, or nil."
  [path]
  (some (set verdicts) (rest (reverse (string/split path #"[/\\\\]")))))

;; ---- what comes of it

(def ^:private verdict-of-fate
  {:delivered "accept", :refused "reject", :deferred "defer", :discarded "discard", :held "quarantine"
   :no-recipients "discard"})

(defn- client-reply
  "Returns the refusal that the client receives, or nil."
  [{:keys [smtp]}]
  (last (filter #(<= 400 (long (:smtp-code %))) (flatten (remove nil? (vals smtp))))))

(defn- settling-action
  [{:keys [at conversation]}]
  (some (fn [{:keys [event response]}]
          (when (= at (:event event))
            (last (filter act/reply? response))))
        (rseq (vec conversation))))

(def ^:private most-changes 3)

(defn- changes
  [{:keys [modifications]}]
  (let [[shown more] (split-at most-changes (remove #(= :quarantine (:action %)) modifications))]
    (concat (map line/action-text shown)
            (when (seq more)
              [(str "and " (count more) " more changes")]))))

(defn- details
  "Returns what is to be said of a report beside its verdict: the reply, why, and what was changed."
  [{:keys [fate message modifications] :as report}]
  (let [{:keys [smtp-code enhanced-code text]} (client-reply report)
        held (last (filter #(= :quarantine (:action %)) modifications))
        why (:why (meta (or held (settling-action report))))]
    (remove nil?
            (concat
              [(when (#{:refused :deferred} fate) (string/join " " (remove nil? [smtp-code enhanced-code text])))
               (when (= :held fate) (:reason held))
               (when (= :no-recipients fate) "no recipients are left")
               (when why (str "(" (line/why-text why) ")"))]
              (when message (changes report))))))

(defn- played
  "Returns a result: {:title :expected}, and :verdict and :details, or :problem of a mail that cannot be
  played, and :failure where the filter has failed."
  [{:keys [title mail problem]} expected {:keys [filter where options]}]
  (let [result {:title title, :expected expected}]
    (if problem
      (assoc result :problem problem)
      (try
        (let [{:keys [fate errors] :as report} (mt/run-message filter mail options)]
          (cond-> (assoc result :verdict (verdict-of-fate fate "defer"), :details (details report))
            (seq errors) (assoc :failure (:explanation (first errors)))))
        (catch IOException e
          (assoc result :problem (str where ": " (ex-message e) (milters/trouble e false))))
        (catch MilterException e
          (assoc result :problem (str where ": " (ex-message e) (milters/trouble e false))))))))

(defn- outcome
  "Returns what a result counts as."
  [{:keys [verdict expected problem failure]}]
  (cond
    problem :unplayed
    failure :failed
    (nil? expected) :unjudged
    (= verdict expected) :as-expected
    :else :other))

;; ---- output

(defn- result-line
  [{:keys [title verdict expected details failure] :as result}]
  (let [outcome (outcome result)]
    (line/printable
      (str (case outcome
             (:failed :other) "not ok  "
             :as-expected "    ok  "
             "        ")
           (if (= :other outcome) (str verdict ", not " expected) verdict)
           "  " title
           (when failure (str ": the filter failed: " failure))
           (when (seq details) (str ": " (string/join "; " details)))))))

(defn- print-result
  [{:keys [title problem] :as result} quiet]
  (cond
    problem (arguments/print-problem title ": " problem)
    (and quiet (not (#{:failed :other} (outcome result)))) nil
    :else (terminal/print-line (result-line result)))
  (flush))

(defn- counted
  [n text]
  (when (and n (pos? (long n)))
    (str n " " text)))

(defn- summary
  [outcomes]
  (let [total (reduce + (vals outcomes))
        {:keys [as-expected other failed unjudged unplayed]} outcomes]
    (str (counted total (if (= 1 total) "mail" "mails")) ": "
         (string/join ", " (remove nil? [(counted as-expected "as expected")
                                         (counted other "not as expected")
                                         (counted failed "at which the filter failed")
                                         (counted unjudged "of which no verdict is expected")
                                         (counted unplayed "that could not be played")])))))

(defn- exit-code
  [{:keys [other failed unplayed]}]
  (cond
    unplayed arguments/failed
    (or other failed) arguments/refused
    :else 0))

;; ---- the command

(defn- sources
  "Returns functions that return the entries of a file or mailbox, with what is expected of them."
  [{:keys [mbox expect] [_ & arguments] :words :as parsed}]
  (let [envelope (mails/envelope parsed)
        source (fn [path entries] {:expected (or (expected path) expect), :entries #(entries envelope path)})]
    (concat (map #(source % mails/of-file) (mapcat mails/tree arguments))
            (map #(source % mails/of-mailbox) mbox))))

(defn- play
  [{[where] :words :keys [quiet] :as parsed}]
  (when-not where
    (arguments/misused command "name the filter, and mails"))
  (let [sources (sources parsed)
        _ (when (empty? sources)
            (fail "there is no mail to try"))
        trial {:filter (milters/of-argument where parsed)
               :where where
               :options (merge (client/session-options parsed) (client/identity-of parsed))}
        outcomes (terminal/with-progress "try" (count sources)
                   (fn [step]
                     (reduce (fn [outcomes {:keys [expected entries]}]
                               (let [results (for [entry (entries)]
                                               (doto (played entry expected trial)
                                                 (print-result quiet)))
                                     outcomes (merge-with + outcomes (frequencies (map outcome results)))]
                                 (step)
                                 outcomes))
                             {}
                             sources)))]
    (println (summary outcomes))
    (exit-code outcomes)))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args play))
