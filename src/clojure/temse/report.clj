(ns temse.report
  "Conversations and mails as text for people: a ladder of events and answers, and a difference."
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private widest-text 60)

(defn- shortened
  [text]
  (let [line (string/replace text #"\r?\n" "\\\\n")]
    (if (< widest-text (count line))
      (str (subs line 0 (- widest-text 3)) "...")
      line)))

(defn event-text
  "Returns an event in one line, in the words of SMTP where there are some."
  [{:keys [event] :as e}]
  (case event
    :options (str "options version " (:version e))
    :connect (string/join " " (remove nil? ["connect" (:host-name e) (:address e) (:port e)]))
    :hello (str "hello " (:greeting e))
    :mail (string/join " " (into ["mail" (:sender e)] (:options e)))
    :recipient (string/join " " (into ["recipient" (:address e)] (:options e)))
    :header (str "header " (:name e) ": " (shortened (:value e)))
    :body (str "body, " (count (:data e)) " bytes")
    :unknown (str "unknown " (shortened (:command e)))
    :define-macro (str "define-macro " (name (or (:stage e) :unknown)) " "
                       (string/join " " (map (fn [[k v]] (str k "=" v)) (:definitions e))))
    (:message-end :disconnect) (str (name event) " (" (name (:reason e)) ")")
    (name event)))

(defn- body-text
  [body]
  (cond
    (string? body) (str (count body) " characters")
    (bytes? body) (str (alength ^bytes body) " bytes")
    :else "new body"))

(defn action-text
  "Returns an action in one line."
  [{:keys [action] :as a}]
  (case action
    :reply-code (str (:smtp-code a) " " (when-let [code (:enhanced-code a)] (str code " "))
                     (shortened (:text a "")))
    :add-header (str "add-header " (when-let [p (:position a)] (str "at " p " "))
                     (:name a) ": " (shortened (:value a)))
    :change-header (if (:value a)
                     (str "change-header " (:name a) " " (:index a 1) ": " (shortened (:value a)))
                     (str "delete-header " (:name a) " " (:index a 1)))
    :change-body (str "change-body, " (body-text (:body a)))
    (:add-recipient :delete-recipient :change-sender)
    (str (name action) " " (string/join " " (cons (:address a) (:parameters a))))
    :quarantine (str "quarantine " (shortened (:reason a)))
    :options (str "options version " (:version a))
    (name (or action (:event a)))))

(defn ladder
  "Returns the conversation of a report as lines: what the MTA said on the left, what the milter
  answered under it on the right."
  [{:keys [conversation]}]
  (mapcat (fn [{:keys [event response nanos]}]
            (cons (format "  MTA  --> %s" (event-text event))
                  (map-indexed
                    (fn [i action]
                      (format "       <-- %s%s"
                              (action-text action)
                              (if (and nanos (= i (dec (count response))))
                                (format "  (%.1f ms)" (/ nanos 1e6))
                                "")))
                    response)))
          conversation))

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

(defn- common-lengths
  "Returns the table of lengths of longest common subsequences of the tails of a and b."
  [a b]
  (let [columns (inc (count b))]
    (vec (reverse
           (reductions
             (fn [below x]
               (vec (reverse
                      (reductions
                        (fn [right j]
                          (if (= x (nth b j))
                            (inc (long (nth below (inc (long j)))))
                            (max (long right) (long (nth below j)))))
                        0
                        (range (- columns 2) -1 -1)))))
             (vec (repeat columns 0))
             (reverse a))))))

(defn difference
  "Returns lines of before and after, marked \"- \", \"+ \" or \"  \"."
  [before after]
  (let [a (vec before)
        b (vec after)
        lengths (common-lengths a b)]
    (loop [i 0, j 0, lines []]
      (cond
        (and (< i (count a)) (< j (count b)) (= (nth a i) (nth b j)))
        (recur (inc i) (inc j) (conj lines (str "  " (nth a i))))

        (and (< i (count a))
             (or (= j (count b))
                 (>= (long (get-in lengths [(inc i) j])) (long (get-in lengths [i (inc j)])))))
        (recur (inc i) j (conj lines (str "- " (nth a i))))

        (< j (count b))
        (recur i (inc j) (conj lines (str "+ " (nth b j))))

        :else
        lines))))

(defn verdict-text
  "Returns what became of the message in one line."
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
         (str ": " (action-text reply)))
       (when problem
         (str ": " problem))))

(defn print-report
  "Prints a report of temse.test/run-message: the ladder, the verdict, and the mail before and after
  where it was changed."
  [{:keys [sent message] :as report}]
  (keys/check-result report :conversation "run-message")
  (run! println (ladder report))
  (println (str "  => " (verdict-text report)))
  (when (and message (not= (mail-lines sent) (mail-lines message)))
    (println)
    (run! #(println (str "  " %)) (difference (mail-lines sent) (mail-lines message)))))
