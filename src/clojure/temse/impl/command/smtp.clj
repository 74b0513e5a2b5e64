(ns temse.impl.command.smtp
  "The command smtp: SMTP by hand, or from a script, at a simulated MTA with a filter behind it."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.client :as client]
   [temse.impl.command.milters :as milters]
   [temse.impl.command.smtp-script :as script]
   [temse.impl.command.terminal :as terminal]
   [temse.impl.line :as line]
   [temse.impl.smtp :as smtp]
   [temse.report :as report])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io BufferedInputStream ByteArrayOutputStream InputStream)
   (java.util Arrays)
   (temse.protocol MilterException Text)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse smtp ADDRESS|FILE.clj [OPTIONS] [SCRIPT...] [-- ARGS...]"]
   :about (into ["Takes SMTP as Postfix or Sendmail would with this filter behind, and shows what"
                 "the client would receive (S:), what the filter gets and answers (-->, <--), and"
                 "the mail that would be delivered. No mail is sent anywhere."
                 ""
                 "The filter is that of a Clojure file, as `temse run` takes it, with ARGS, in this"
                 "process; or any milter at an address. Lines come from the terminal, from"
                 "SCRIPTs, each with a connection of its own, or from the standard input. Those"
                 "that begin with a dot and a word are for temse:"
                 ""]
                (map #(str "  " %))
                script/help)
   :args? true
   :options (concat
              (remove (comp #(string/starts-with? % "--helo") first) client/options)
              milters/file-options
              [["-q, --quiet" "prints unmet expectations only"]])
   :exit "0 if all expectations are met, 1 if one is not, 2 after an error."})

;; ---- output

(defn- print-lines
  [{:keys [quiet?]} lines]
  (when-not quiet?
    (run! terminal/print-line lines)))

(defn- reply-lines
  "Returns a reply as it travels."
  [{:keys [smtp-code enhanced-code text]}]
  (let [lines (string/split text #"\n" -1)
        last-line (dec (count lines))]
    (map-indexed (fn [n text]
                   (str "S: " smtp-code (if (= n last-line) " " "-")
                        (when enhanced-code (str enhanced-code " "))
                        (line/printable text)))
                 lines)))

(def ^:private fate-words
  {:delivered "delivered", :held "quarantined", :discarded "discarded", :refused "refused", :deferred "deferred"
   :no-recipients "no recipients are left"})

(defn- without-made-fields
  [message]
  (update message :headers #(remove (comp :made meta) %)))

(defn- fate-lines
  "Returns what becomes of a mail, and how it has changed."
  [{:keys [fate sent message]}]
  (when fate
    (let [after (some-> message without-made-fields)
          [before after] (map (comp vec report/mail-lines) [sent after])]
      (cons (str "  => " (fate-words fate) (when (and message (= before after)) ", as it came"))
            (when (and message (not= before after))
              (map #(str "  " %) (report/difference before after)))))))

(defn- result-lines
  [{:keys [exchanges errors reply] :as result}]
  (concat
    (map #(str "  " %)
         (report/ladder {:conversation (for [exchange exchanges
                                             :when (or (:nanos exchange) (:problem exchange))]
                                         (dissoc exchange :nanos))
                         :errors errors}))
    (when reply (reply-lines reply))
    (fate-lines result)))

;; ---- a connection
;;
;; A run is {:filter :where its name, :options of the connection, :connection or nil, :replies so far, :mail
;; the result of the last line that ended one, :quiet?}.

(defn- noted
  "Prints what a line has led to, and returns the run with it."
  [run {:keys [reply fate] :as result}]
  (print-lines run (result-lines result))
  (cond-> run
    reply (update :replies conj reply)
    fate (assoc :mail result)))

(defn- disconnect
  [{:keys [connection] :as run}]
  (if (and connection (not (smtp/closed? connection)))
    (noted run (smtp/close! connection))
    run))

(defn- connect
  [{:keys [filter where options] :as run}]
  (let [[connection result] (milters/reporting where true #(smtp/open filter options))]
    (noted (assoc run :connection connection) result)))

(defn- connected
  [{:keys [connection] :as run}]
  (if connection run (connect run)))

(defn- ended
  []
  (throw (ex-info "the connection has ended; .connect opens another" {::unmet true})))

(defn- send-line
  [run line]
  (let [{:keys [connection] :as run} (connected run)]
    (when (smtp/closed? connection)
      (ended))
    (noted run (smtp/send-line! connection line))))

(defn- define-macro
  [{:keys [connection] :as run} {[stage-or-name macro-name :as path] :path, :keys [value]}]
  (let [open? (and connection (not (smtp/closed? connection)))]
    (when (and open? macro-name)
      (fail "a macro has a stage before .connect only; it is " (name stage-or-name) " here"))
    (when (and open? (not (smtp/define-macro! connection stage-or-name value)))
      (fail "the macro " stage-or-name " would not be sent, since neither the MTA nor the filter lists it"))
    (assoc-in run (into [:options :macros] path) value)))

(defn- check-expectations
  "Throws if one of the expectations, the last of which is of the last reply, is not met."
  [run expectations]
  (let [{:keys [replies mail] :as run} (connected run)
        n (count expectations)
        replies (concat (repeat (max 0 (- n (count replies))) nil) (take-last n replies))]
    (doseq [[{:keys [number] :as expected} reply] (map vector expectations replies)]
      (when-let [problem (script/unmet expected reply mail)]
        (throw (ex-info problem {::unmet true, ::number number}))))
    run))

(defn- obey
  "Returns the run after a directive; `more` are expectations that follow one."
  [run {:keys [directive client line] :as given} more]
  (case directive
    :send (send-line run line)
    :connect (-> (disconnect run)
                 (update-in [:options :client] merge client)
                 connect)
    :disconnect (disconnect run)
    :macro (define-macro run given)
    :expect (check-expectations run (cons given more))
    :help (do (run! println script/help) run)))

;; ---- lines

(defn- read-octets
  "Returns the bytes up to the next LF, without the CR before it, or nil at the end."
  ^bytes [^InputStream in]
  (let [line (ByteArrayOutputStream.)]
    (loop [octet (.read in)]
      (cond
        (and (neg? octet) (zero? (.size line))) nil
        (or (neg? octet) (= 10 octet)) (let [octets (.toByteArray line)
                                             length (alength octets)]
                                         (if (and (pos? length) (= 13 (aget octets (dec length))))
                                           (Arrays/copyOf octets (dec length))
                                           octets))
        :else (do (.write line octet)
                  (recur (.read in)))))))

(defn- line-seq-of
  "Returns the lines of a stream as they come, maps of :text and :number. A CR elsewhere stays."
  [stream]
  (let [in (BufferedInputStream. stream)]
    (map-indexed (fn [n octets] {:number (inc (long n)), :text (Text/decode ^bytes octets)})
                 (take-while some? (repeatedly #(read-octets in))))))

(defn- content?
  [{:keys [connection]}]
  (boolean (and connection (smtp/content? connection))))

(defn- at
  "Returns what f returns, whose exceptions get the place in a script."
  [place number f]
  (try
    (f)
    (catch ExceptionInfo e
      (throw (ex-info (str place ":" (::number (ex-data e) number) ": " (ex-message e)) (ex-data e))))
    (catch MilterException e
      (fail place ":" number ": " (ex-message e)))))

(defn- reply-expectation?
  [{:keys [directive of]}]
  (and (= :expect directive) (= :reply of)))

(defn- read-at
  [place content? {:keys [number text]}]
  (some-> (at place number #(script/read-line-of text content?)) (assoc :number number)))

(defn- with-followers
  "Returns the expectations of replies that follow in a row, and the lines behind them."
  [place content? lines]
  (let [shape (if content? #"^\.expect\s+[2-5]" #"^\s*(#.*)?$|^\.expect\s+[2-5]")
        [followers others] (split-with #(re-find shape (:text %)) lines)]
    [(filter reply-expectation? (keep #(read-at place content? %) followers)) others]))

(defn- play-lines
  "Returns the run after the lines of a script."
  [run place lines]
  (loop [run run, [{:keys [number] :as line} & more] lines]
    (if (nil? line)
      (disconnect run)
      (let [content? (content? run)
            given (read-at place content? line)
            run (if (= :send (:directive given)) (at place number #(connected run)) run)
            [expectations others] (if (reply-expectation? given)
                                    (with-followers place content? more)
                                    [nil more])]
        (when (= :send (:directive given))
          (print-lines run [(str "C: " (line/printable (:line given)))]))
        (recur (if given (at place number #(obey run given expectations)) run)
               others)))))

(defn- play-script
  "Plays a script and returns whether its expectations are met."
  [run place ^InputStream stream]
  (try
    (play-lines run place (line-seq-of stream))
    true
    (catch ExceptionInfo e
      (when-not (::unmet (ex-data e))
        (throw e))
      (flush)
      (arguments/print-problem (ex-message e))
      false)))

(defn- prompt
  []
  (print "C: ")
  (flush))

(defn- obey-line
  "Returns the run after a line from the terminal. Mistakes are shown, and it goes on."
  [run {:keys [text]}]
  (try
    (if-let [given (script/read-line-of text (content? run))]
      (obey run given nil)
      run)
    (catch ExceptionInfo e
      (arguments/print-problem (ex-message e))
      (cond-> run
        (::unmet (ex-data e)) (assoc :unmet? true)))
    (catch MilterException e
      (arguments/print-problem (ex-message e))
      run)))

(defn- converse
  "Takes lines from the terminal, and returns whether all expectations among them are met."
  [run]
  (loop [run (connect run), lines (line-seq-of System/in)]
    (prompt)
    (if-let [[line & more] (seq lines)]
      (recur (obey-line run line) more)
      (do
        (println)
        (disconnect run)
        (not (:unmet? run))))))

;; ---- the command

(defn- new-run
  [filter {[where] :words, :keys [quiet] :as parsed}]
  {:filter filter
   :where where
   :options (assoc (client/session-options parsed) :client (:client (client/identity-of parsed)))
   :connection nil
   :replies []
   :quiet? quiet})

(defn- play
  [{[where & scripts] :words :as parsed}]
  (when-not where
    (arguments/misused command "name the filter: its file, or an address such as inet:20025@127.0.0.1"))
  (run! #(when (not= "-" %) (arguments/check-readable %)) scripts)
  (let [filter (milters/of-argument where parsed)
        run (new-run filter parsed)]
    (if (if (and (empty? scripts) @terminal/input?)
          (converse run)
          (every? true? (doall
                          (for [file (or (seq scripts) ["-"])]
                            (if (= "-" file)
                              (play-script run "stdin" System/in)
                              (with-open [stream (io/input-stream file)]
                                (play-script run file stream)))))))
      0
      arguments/refused)))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args play))
