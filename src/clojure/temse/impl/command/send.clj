(ns temse.impl.command.send
  "The command send: plays mails to a filter, as an MTA would, and reports the verdicts."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail say]]
   [temse.impl.command.client :as client]
   [temse.impl.command.document :as document]
   [temse.impl.command.load :as load]
   [temse.impl.command.mails :as mails]
   [temse.impl.command.milters :as milters]
   [temse.impl.command.terminal :as terminal]
   [temse.impl.line :as line]
   [temse.impl.session :as session]
   [temse.impl.text :as text]
   [temse.mail :as mail]
   [temse.report :as report]
   [temse.test :as mt])
  (:import
   (java.io IOException OutputStream)
   (temse.client MtaSession)
   (temse.protocol MilterException)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

;; ---- arguments

(defn- header-field
  [option text]
  (let [[_ field-name value] (re-matches #"(?s)([!-9;-~]+):[ ]?(.*)" text)]
    (when-not field-name
      (fail option " needs a name, a colon and a value, such as 'Subject: hi', not " (pr-str text)))
    [field-name value]))

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse send ADDRESS [OPTIONS] [FILE...]"]
   :about ["Plays mails to any milter as an MTA would, all on one connection, and reports"
           "what happened to them."
           ""
           "ADDRESS is that of the filter: inet:20025@127.0.0.1, unix:/run/filter.sock, or a"
           "local port. FILE is a mail in the Internet message format (.eml), a pipe with"
           "one, a directory with a mail in each file, a maildir, or - for a mail on the"
           "standard input. Without any, the mail is made of the options. A mail that cannot"
           "be sent is reported, and the next one follows."]
   :options (concat
              ["the mails"]
              mails/envelope-options
              [["--header 'NAME: VALUE'" "header field, may be repeated; takes the place of the From,
                                         To or Subject that is there by default"
                header-field :repeated]
               ["--body TEXT" "body; where it is repeated, the filter gets these pieces one by one"
                arguments/text :repeated]
               ["--mbox FILE" "all mails of a mailbox, may be repeated" arguments/text :repeated]
               ["--rset" "before each mail, the client sends its envelope and then RSET"]
               ["--unknown COMMAND" "an SMTP command that the MTA does not know, which the client sends
                                    after HELO; may be repeated"
                arguments/text :repeated]]
              ["the MTA and its client"]
              client/options
              ["the output"
               ["-v, --verbose" "the whole conversation, and the mail before and after"]
               ["--output-message FILE" "writes the mail as it would be delivered; several mails become a
                                         mailbox"
                arguments/text]
               ["--json" "one line per mail for other programs, in ASCII"]
               ["--edn" "the same as EDN"]
               "load; with either option, throughput and latencies are printed"
               ["--count N" "messages to play, the mails again and again (default: each once)"
                (arguments/whole-number 1 999999999)]
               ["--threads N" "connections to play them on at the same time, 1 to 1000 (default: 1)"
                (arguments/whole-number 1 1000)]])
   :exit "0 if all mails were accepted, 1 if any was refused, deferred or discarded, 2 after an error."})

(defn- check
  "Throws if options do not go together."
  [{:keys [words header body mbox verbose json edn count threads rset unknown output-message]}]
  (when (empty? words)
    (arguments/misused command "name the address of the filter, such as inet:20025@127.0.0.1"))
  (when (and (or header body) (or mbox (next words)))
    (fail "--header and --body make a mail of their own; they do not change " (or (second words)
                                                                                  (first mbox))))
  (when (and json edn)
    (fail "--json or --edn, not both"))
  (when (and verbose (or json edn))
    (fail "-v prints for people, " (if json "--json" "--edn") " for programs: take one of them"))
  (when (and verbose (or count threads))
    (fail "-v shows single conversations, --count and --threads measure: take one of them"))
  (when (and (or rset unknown output-message) (or count threads))
    (fail "--rset, --unknown and --output-message are for single conversations, --count and --threads measure:"
          " take one of them")))

(defn- check-address
  [address]
  (when (.isFile (io/file address))
    (fail address " is a file; the address of the filter comes first,"
          " such as inet:20025@127.0.0.1"))
  (try
    (Endpoint/parse address)
    (catch IllegalArgumentException e
      (fail (ex-message e)))))

;; ---- mails

(defn- own-mail
  "Returns the mail that is made of options."
  [{:keys [header body]} envelope]
  (let [{:keys [sender recipients headers]} (mail/message envelope)
        bare #(subs % 1 (dec (clojure.core/count %)))
        named (fn [field-name] #(.equalsIgnoreCase ^String field-name (first %)))
        defaults (for [[field-name value] headers]
                   [field-name (case field-name
                                 "From" (bare sender)
                                 "To" (string/join ", " (map bare recipients))
                                 value)])]
    (mail/->mail (cond-> envelope
                   true (assoc :headers (concat (remove #(some (named (first %)) header) defaults)
                                                header))
                   body (assoc :body body)))))

(defn- entries
  "Returns the mails to be sent, as temse.impl.command.mails has them."
  [{:keys [mbox] [_ & paths] :words :as parsed}]
  (let [envelope (mails/envelope parsed)]
    (if (or paths mbox)
      (mails/entries envelope paths mbox)
      [{:title "mail", :mail (own-mail parsed envelope)}])))

;; ---- the filter

(defn- refused?
  [{:keys [action]}]
  (not (#{:continue :accept :skip} action)))

(defn- connect
  "Returns a session on which the client has introduced itself."
  ^MtaSession [{[address] :words :as parsed}]
  (let [{:keys [client hello]} (client/identity-of parsed)
        session ^MtaSession (milters/reporting address true #(mt/connect-to address (client/session-options parsed)))]
    (milters/reporting address false #(.greet session (session/client-event client) hello))
    session))

(defn- unknown-replies
  "Sends the commands that the MTA does not know, and returns [command reply] of each."
  [session {[address] :words :keys [unknown]}]
  (milters/reporting address false
    #(vec (for [command unknown]
            [command (or (peek (mt/send-event session {:event :unknown, :command command}))
                         {:action :continue})]))))

(defn- begin-and-reset
  "Sends the envelope of a mail, up to a recipient or sender that is refused, and RSET."
  [session mail]
  (let [{:keys [sender options recipients]} (mail/message mail)]
    (->> (cons {:event :mail, :sender sender, :options options}
               (for [recipient recipients]
                 {:event :recipient, :address recipient, :options []}))
         (take-while #(not (refused? (or (peek (mt/send-event session %)) {:action :continue}))))
         dorun)
    (mt/send-event session {:event :abort})))

;; ---- output

(defn- print-millis
  [nanos]
  (text/formatted "%.3f" (/ (double nanos) 1e6)))

(defn- print-message
  "Prints a report for people."
  [{:keys [reply modifications recipients unknown remarks] :as report} verbose]
  (doseq [[command reply] unknown]
    (say "unknown:" command (line/action-text reply)))
  (say "status:" (report/verdict-text (dissoc report :reply)))
  (say "reply:" (line/action-text reply))
  (say "elapsed:" (print-millis (load/message-nanos report)) "ms")
  (doseq [[recipient reply] recipients
          :when (refused? reply)]
    (say "recipient:" recipient (line/action-text reply)))
  (doseq [action modifications]
    (say "modification:" (line/action-text action)))
  (doseq [remark remarks]
    (say "remark:" (report/remark-text remark)))
  (when verbose
    (println)
    (terminal/print-coloured #(report/print-report report))))

(defn- print-document
  [{:keys [json]} value]
  (println (if json (document/json value) (document/edn value))))

(def ^:private first-keys
  "What a document begins with."
  [:title :verdict :at :reply :modifications :recipients :nanos])

(defn- message-document
  "Returns a report as it is written for programs."
  [title report]
  (let [content (-> report
                    (dissoc :responses)
                    (assoc :title title, :nanos (load/message-nanos report)))
        ks (concat first-keys (remove (set first-keys) (keys content)))]
    (apply array-map (interleave ks (map content ks)))))

(def ^:private verdict-words
  {:accept "accepted", :reject "refused", :temporary-failure "deferred", :discard "discarded"})

(def ^:private latency-order
  [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message :message])

(defn- print-load
  [{:keys [messages connections nanos verdicts latencies]}]
  (let [seconds (/ (double nanos) 1e9)
        columns [:min :p50 :p90 :p99 :max]
        row "%-16s%10s%10s%10s%10s%10s%10s"]
    (println (text/formatted "%d messages on %d connections in %.3f s: %.1f messages/s"
               messages connections seconds (/ (long messages) seconds)))
    (println (string/join ", " (for [[verdict word] verdict-words
                                     :let [n (verdicts verdict)]
                                     :when n]
                                 (str word " " n))))
    (println (apply text/formatted row "answers, in ms" "count" (map name columns)))
    (doseq [event latency-order
            :let [latency (latencies event)]
            :when latency]
      (println (apply text/formatted row (name event) (:count latency)
                      (map (comp print-millis latency) columns))))))

;; ---- the command

(defn- exit-code
  [verdicts]
  (cond
    (some #{:error} verdicts) arguments/failed
    (every? #{:accept} verdicts) 0
    :else arguments/refused))

(defn- conversations
  "Returns functions :play, of a mail, which returns the report on it, and :close. They share one
  connection; a mail that breaks it is followed by the next one on another."
  [{:keys [rset] :as parsed}]
  (let [session (volatile! nil)
        close #(when-let [^MtaSession open @session]
                 (vreset! session nil)
                 (.close open))
        open (fn []
               (let [^MtaSession known @session]
                 (if (and known (.isOpen known))
                   {:session known}
                   {:session (vreset! session (connect parsed))
                    :unknown (unknown-replies @session parsed)})))]
    {:close close
     :play (fn [mail]
             (let [{:keys [session unknown]} (open)]
               (try
                 (when rset
                   (begin-and-reset session mail))
                 (cond-> (mt/run-message session mail)
                   (seq unknown) (assoc :unknown unknown))
                 (catch Exception e
                   (close)
                   (throw e)))))}))

(defn- played
  "Returns an entry with the :report on its mail, or with its :problem."
  [{[address] :words} {:keys [title mail] :as entry} play]
  (let [failed #(assoc entry :problem (str (ex-message %) (milters/trouble % false)) :title (str address ": " title))]
    (if mail
      (try
        (assoc entry :report (play mail))
        (catch IOException e (failed e))
        (catch MilterException e (failed e)))
      entry)))

(defn- print-entry
  [{:keys [verbose json edn] :as parsed} {:keys [title report problem]} number several?]
  (when problem
    (arguments/print-problem title ": " problem))
  (cond
    (or json edn) (print-document parsed (if report
                                           (message-document title report)
                                           {:title title, :problem problem}))
    report (do (when several?
                 (when (pos? (long number))
                   (println))
                 (say title))
               (print-message report verbose)))
  (flush))

(defn- message-writer
  "Returns a function that writes messages: one as it is, several as a mailbox."
  [^OutputStream out several?]
  (if several?
    #(mail/write-mbox out [%])
    #(.write out (mail/message-bytes %))))

(defn- with-output-to
  "Calls f with an output to the file. Of a file that cannot be written to its end nothing is left."
  [path f]
  (let [file (io/file path)
        out (try
              (io/output-stream file)
              (catch IOException e
                (fail "--output-message: " (ex-message e))))]
    (try
      (with-open [^OutputStream out out]
        (f out))
      (catch IOException e
        (fail "--output-message: " path " could not be written: " (ex-message e)
              (when (and (.isFile file) (.delete file))
                "; what was written of it is deleted"))))))

(defn- play-one-by-one
  [{:keys [output-message] :as parsed} entries]
  (let [{:keys [play close]} (conversations parsed)
        several? (boolean (next entries))
        play-all (fn [write]
                   (exit-code
                     (doall
                       (for [[number entry] (map-indexed vector entries)
                             :let [{:keys [report] :as entry} (played parsed entry play)]]
                         (do
                           (print-entry parsed entry number several?)
                           (some-> (:message report) write)
                           (:verdict report :error))))))]
    (try
      (if output-message
        (with-output-to output-message #(play-all (message-writer % several?)))
        (play-all identity))
      (finally
        (close)))))

(defn- play-load
  [{[address] :words :keys [json edn] :as parsed} entries]
  (let [{good true, bad false} (group-by #(contains? % :mail) entries)
        _ (run! #(arguments/print-problem (:title %) ": " (:problem %)) bad)
        _ (when (empty? good)
            (fail "there is no mail to send"))
        messages (:count parsed (count good))
        threads (min (long messages) (long (:threads parsed 1)))
        result (milters/reporting address
                 false
                 (fn []
                   (terminal/with-progress "sent" messages
                     #(load/play (fn [] (connect parsed))
                                 (map :mail good)
                                 {:count messages, :threads threads, :played %}))))]
    (if (or json edn)
      (print-document parsed result)
      (print-load result))
    (exit-code (concat (keys (:verdicts result)) (map (constantly :error) bad)))))

(defn- play
  [{:keys [count threads] [address] :words :as parsed}]
  (check parsed)
  (check-address address)
  (let [entries (entries parsed)]
    (if (or count threads)
      (play-load parsed entries)
      (play-one-by-one parsed entries))))

(defn run
  "Runs the command and returns its exit code, 0 or 1. Throws ex-info of exit code 2 after an
  error."
  [args]
  (arguments/run command args play))
