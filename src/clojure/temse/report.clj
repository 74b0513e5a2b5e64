(ns temse.report
  "Conversations and mails as text for people: a ladder of events and answers, and a difference."
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (temse.protocol Printable Text)))

(set! *warn-on-reflection* true)

(def ^:private widest-text 60)

(def ^:private widest-word 320)

(def ^:private widest-line 2000)

(def ^:private most-words 20)

(defn- plain
  "Returns the text of a value, of one that is no text or name its class: printing it may be a user's
  code, or have no end."
  ^String [value]
  (cond
    (nil? value) ""
    (string? value) value
    (keyword? value) (name value)
    (or (int? value) (double? value) (symbol? value) (char? value) (boolean? value)) (str value)
    :else (str "(" (.getName (class value)) ")")))

(defn- shortened
  [value]
  (let [text (plain value)
        beginning (subs text 0 (min (count text) (* 2 (long widest-text))))]
    (Printable/of ^String (string/replace beginning #"\r?\n" "\\\\n") (int widest-text))))

(defn- word
  [value]
  (Printable/of (plain value) (int widest-word)))

(defn- words
  "Returns the values that are there and, one by one, those of a collection in one text."
  [values more]
  (let [more (if (sequential? more) more (when (some? more) [more]))
        shown (take most-words more)]
    (string/join " " (concat (map word (remove nil? values))
                             (map word shown)
                             (when (seq (drop most-words more)) ["..."])))))

(defmacro ^:private line
  "Returns what the body returns, a text, as a printable line, whatever goes wrong."
  [what & body]
  `(try
     (Printable/of ^String (do ~@body) (int widest-line))
     (catch Throwable problem#
       (str ~what " that cannot be shown: " (.getName (class problem#))))))

(defn- body-text
  [body]
  (cond
    (string? body) (str (count body) " characters")
    (bytes? body) (str (alength ^bytes body) " bytes")
    :else "new body"))

(defn event-text
  "Returns an event in one printable line, in the words of SMTP where there are some. Takes any map."
  [event-map]
  (let [field #(get event-map %)
        event (field :event)]
    (line "an event"
          (case event
            :options (str "options version " (word (field :version)))
            :connect (words ["connect" (field :host-name) (field :address) (field :port)] nil)
            :hello (str "hello " (word (field :greeting)))
            :mail (words ["mail" (field :sender)] (field :options))
            :recipient (words ["recipient" (field :address)] (field :options))
            :header (str "header " (word (field :name)) ": " (shortened (field :value)))
            :body (str "body, " (body-text (or (field :data) (byte-array 0))))
            :unknown (str "unknown " (shortened (field :command)))
            :define-macro (str "define-macro " (word (or (field :stage) :unknown)) " "
                               (string/join " " (map (fn [[k v]] (str (word k) "=" (word v)))
                                                     (take most-words (field :definitions)))))
            (:message-end :disconnect) (str (name event) " (" (word (field :reason)) ")")
            (word event)))))

(defn action-text
  "Returns an action in one printable line. Takes any map."
  [action-map]
  (let [field #(get action-map %)
        action (field :action)]
    (line "an action"
          (case action
            :reply-code (str (word (field :smtp-code)) " "
                             (when-let [code (field :enhanced-code)] (str (word code) " "))
                             (shortened (field :text)))
            (:add-header :insert-header)
            (str (name action) " " (when-let [p (field :position)] (str "at " (word p) " "))
                 (word (field :name)) ": " (shortened (field :value)))
            (:change-header :delete-header)
            (let [which (str (word (field :name)) " " (word (or (field :index) 1)))]
              (if (and (= :change-header action) (some? (field :value)))
                (str "change-header " which ": " (shortened (field :value)))
                (str "delete-header " which)))
            (:change-body :replace-body) (str "change-body, " (body-text (field :body)))
            (:add-recipient :delete-recipient :change-sender)
            (words [action (field :address)] (field :parameters))
            :quarantine (str "quarantine " (shortened (field :reason)))
            :options (str "options version " (word (field :version)))
            (word (or action (field :event)))))))

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
