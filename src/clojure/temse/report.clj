(ns temse.report
  "Conversations and mails as text for people: a ladder of events and answers, and a difference.
  Every line is printable and bounded, and what repeats or has not changed is left out."
  (:require
   [clojure.string :as string]
   [temse.impl.difference :as difference]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.text :as text])
  (:import
   (temse.protocol Printable Text)))

(set! *warn-on-reflection* true)

(defn- flags-text
  "Returns an offer or the answer to it with its flags."
  [{:keys [version actions protocol macros]}]
  (let [names #(if (seq %) (string/join " " (map name (sort %))) "none")]
    (str "options version " version
         "; actions: " (names actions)
         "; protocol: " (names protocol)
         (when macros
           (str "; macros: " (string/join ", " (map (fn [[stage wanted]]
                                                      (string/join " " (cons (name stage) wanted)))
                                                    macros)))))))

;; ---- ladders

(defn- left-out
  "Returns the items, or `before` of the first and `after` of the last of them and what `text` makes
  of the number of those in between, if they are many."
  [items before after text]
  (let [items (vec items)
        hidden (- (count items) (long before) (long after))]
    (if (< hidden 2)
      items
      (-> (subvec items 0 before)
          (conj (text hidden))
          (into (subvec items (- (count items) (long after))))))))

(defn error-lines
  "Returns an error of a result as lines: what failed, and the filter's own lines in its stack trace."
  [{:keys [explanation trace]}]
  (cons (str "       !!! " (line/printable explanation))
        (map #(str "           at " (line/printable %)) trace)))

(defn remark-text
  "Returns in one printable line what an MTA makes of an answer, one of the :remarks of a result."
  [{:keys [text]}]
  (line/printable text))

(defn- time-text
  [{:keys [nanos millis]}]
  (let [millis (or millis (some-> nanos (/ 1e6)) 0)]
    (if (pos? (double millis))
      (text/formatted "  (%.1f ms)" (double millis))
      "")))

(defn- answer-lines
  [{:keys [response problem] :as exchange} text]
  (let [answers (left-out (map text response) 30 10 #(str "... " % " more actions"))]
    (concat
      (when (seq answers)
        (conj (pop answers) (str (peek answers) (time-text exchange))))
      (when (and (nil? response) (contains? exchange :response))
        ["no answer"])
      (when problem
        [(line/word problem)]))))

(defn- step-lines
  "Returns the lines of an exchange, which a number of its connection or a mark may precede."
  [{:keys [id event pass? errors remarks] ::keys [below] :as exchange} flags?]
  (let [text #(if (and flags? (= :options (:event %))) (line/line "options" (flags-text %)) (%2 %))
        mark (cond
               id (text/formatted "%4d  " id)
               (false? pass?) "! "
               :else "  ")]
    (concat
      (when-not (= :unasked (:event event))
        [(str mark "MTA  --> " (text event line/event-text))])
      (map #(str mark "     <-- " %) (answer-lines exchange #(text % line/action-text)))
      (map #(str mark "      !  " (remark-text %)) remarks)
      (mapcat error-lines errors)
      below)))

(defn exchange-lines
  "Returns an exchange as lines: what the MTA sent, and under it what the milter answered, each after
  the :id of the connection if there is one. With `verbose?` also macros, and the flags of the
  negotiation."
  [exchange verbose?]
  (when (or verbose? (not= :define-macro (:event (:event exchange))))
    (step-lines exchange verbose?)))

(defn- alike
  "What exchanges have in common of which only the first and the last are shown."
  [{:keys [event response problem pass? errors remarks]}]
  [(:event event) response problem pass? (empty? errors) remarks])

(defn- run-lines
  "Returns the lines of exchanges that are alike."
  [[{:keys [event errors]} :as run]]
  (let [shown (if (seq errors) 1 8)]
    (mapcat #(if (string? %) [%] (step-lines % false))
            (left-out run
                      shown
                      3
                      #(str "       ... " % " more " (line/word (:event event)) " events, answered alike")))))

(defn- with-errors
  "Returns the exchanges of a result, each with its own :errors, and the errors of none of them."
  [{:keys [conversation errors]}]
  (let [by-exchange (group-by :exchange errors)]
    [(map-indexed (fn [n exchange]
                    (if-let [own (by-exchange n)] (assoc exchange :errors own) exchange))
                  conversation)
     (by-exchange nil)]))

(defn ladder
  "Returns the conversation of a result as lines: what the MTA sent on the left, what the milter
  answered under it on the right, and the :errors of the result where they occurred. Of many events
  of a kind that were answered alike the first and last are shown."
  [result]
  (let [[exchanges others] (with-errors result)]
    (concat
      (mapcat #(if (string? %) [%] (run-lines %))
              (left-out (partition-by alike exchanges) 200 100
                        #(str "       ... " % " more changes of event or answer")))
      (mapcat error-lines others))))

(defn mail-lines
  "Returns a message map as the lines of its envelope, header and body."
  [{:keys [sender recipients headers body quarantine]}]
  (concat
    [(str "MAIL FROM:" sender)]
    (map #(str "RCPT TO:" %) recipients)
    (when quarantine [(str "QUARANTINE:" quarantine)])
    (mapcat (fn [[header-name value raw]]
              (string/split-lines (str header-name ":" (or raw (str " " value)))))
            headers)
    [""]
    (string/split-lines (if (bytes? body) (Text/decode body) (str body)))))

(defn difference
  "Returns lines of before and after, marked \"- \", \"+ \" or \"  \", without the middle of what is
  long and unchanged, or long and new."
  [before after]
  (mapcat (fn [[mark lines]]
            (let [[start end what] (if (= "  " mark) [3 3 "unchanged"] [50 10 "more"])]
              (map #(str mark (line/printable %))
                   (left-out lines start end #(str "... " % " " what " lines")))))
          (difference/runs before after)))

(defn verdict-text
  "Returns the verdict on the message in one line."
  [{:keys [verdict at reply problem]}]
  (str (case verdict
         :accept "accepted"
         :reject "refused"
         :temporary-failure "deferred"
         :discard "discarded"
         nil "no verdict"
         (name verdict))
       " at " (name at)
       (when (= :reply-code (:action reply))
         (str ": " (line/action-text reply)))
       (when problem
         (str ": " (line/word problem)))))

(defn print-report
  "Prints a report of temse.test/run-message: the ladder, the verdict, and the mail before and after
  where it was changed."
  [{:keys [sent message] :as report}]
  (keys/check-result report :conversation "run-message")
  (run! println (ladder report))
  (println (str "  => " (verdict-text report)))
  (when message
    (let [[before after] (map (comp vec mail-lines) [sent message])]
      (when (not= before after)
        (println)
        (run! #(println (str "  " %)) (difference before after))))))
