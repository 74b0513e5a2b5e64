(ns temse.impl.command.send
  "The command send: plays mails to a filter, as an MTA would, and reports the verdicts."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail say]]
   [temse.impl.command.document :as document]
   [temse.impl.command.load :as load]
   [temse.impl.command.mails :as mails]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.text :as text]
   [temse.mail :as mail]
   [temse.report :as report]
   [temse.test :as mt])
  (:import
   (java.io IOException OutputStream)
   (java.net InetAddress SocketException SocketTimeoutException UnknownHostException)
   (temse.client MtaSession)
   (temse.protocol MilterException)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

;; ---- arguments

(defn- address
  [_ text]
  (if (string/starts-with? text "<") text (str "<" text ">")))

(defn- header-field
  [option text]
  (let [[_ field-name value] (re-matches #"(?s)([!-9;-~]+):[ ]?(.*)" text)]
    (when-not field-name
      (fail option " needs a name, a colon and a value, such as 'Subject: hi', not " (pr-str text)))
    [field-name value]))

(def ^:private stages
  {"connect" :connect, "helo" :hello, "hello" :hello, "mail" :mail, "rcpt" :recipient, "recipient" :recipient
   "data" :data, "end-of-headers" :end-of-headers, "end-of-message" :end-of-message})

(defn- macro
  "Reads a macro as the keys and the value of the option :macros."
  [option text]
  (let [[_ stage macro-name value] (re-matches #"(?s)(?:([^:=]*):)?([^:=]+)=(.*)" text)]
    (cond
      (nil? macro-name) (fail option " needs NAME=VALUE or STAGE:NAME=VALUE, such as auth_authen=alice, not "
                              (keys/shown text))
      (nil? stage) [[macro-name] value]
      :else [[((arguments/one-of stages) (str "the STAGE of " option) stage) macro-name] value])))

(def ^:private ipv4-address
  (let [octet "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"]
    (re-pattern (str octet "(?:\\." octet "){3}"))))

(defn- ipv6-address?
  [text]
  (and (re-matches #"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*" text)
       (try
         (InetAddress/getByName text)
         (catch UnknownHostException _))))

(defn- ip-address
  [option text]
  (if (or (re-matches ipv4-address text) (ipv6-address? text))
    text
    (fail option " needs an address such as 192.0.2.1 or 2001:db8::1, not " (pr-str text))))

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
   :options ["the mails"
             ["--from ADDRESS" "sender; <> for none (default: <sender@example.org>, in a FILE the
                                Return-Path or From)"
              address]
             ["--rcpt ADDRESS" "recipient, may be repeated (default: <recipient@example.com>, in a
                                FILE those of To, Cc and Bcc)"
              address :repeated]
             ["--header 'NAME: VALUE'" "header field, may be repeated; takes the place of the From,
                                        To or Subject that is there by default"
              header-field :repeated]
             ["--body TEXT" "body; where it is repeated, the filter gets these pieces one by one"
              arguments/text :repeated]
             ["--mbox FILE" "all mails of a mailbox, may be repeated" arguments/text :repeated]
             ["--rset" "before each mail, the client sends its envelope and then RSET"]
             ["--unknown COMMAND" "an SMTP command that the MTA does not know, which the client sends
                                   after HELO; may be repeated"
              arguments/text :repeated]
             "the MTA and its client"
             ["--mta postfix|sendmail" "whose habits to have (default: postfix)"
              (arguments/one-of {"postfix" :postfix, "sendmail" :sendmail})]
             ["--version 2|3|4|6" "highest version of the protocol to offer (default: 6)"
              (arguments/one-of {"2" :postfix-2, "3" :postfix-3, "4" :postfix-4, "6" :postfix})]
             ["--macro [STAGE:]NAME=VALUE" "value of a macro, sent at the STAGE connect, helo, mail,
                                            rcpt, data, end-of-headers or end-of-message; without
                                            one, at the stages at which the MTA or the filter
                                            lists it, such as auth_authen=alice, or else at
                                            connect; may be repeated"
              macro :repeated]
             ["--connect-host NAME" "(default: client.example.org)" arguments/text]
             ["--connect-address IP" "(default: 192.0.2.1)" ip-address]
             ["--connect-port PORT" "(default: 40110)" (arguments/whole-number 0 65535)]
             ["--helo NAME" "(default: client.example.org)" arguments/text]
             ["--timeout SECONDS" "longest wait for the connection, for each answer, and for room to
                                   write (default: 30)"
              arguments/milliseconds]
             ["--connect-timeout SECONDS" "the same, only for the connection" arguments/milliseconds]
             ["--write-timeout SECONDS" "the same, only to write" arguments/milliseconds]
             ["--end-of-message-timeout SECONDS" "the same, only for the answer to a whole mail"
              arguments/milliseconds]
             ["--total-timeout SECONDS" "for all answers to a mail together, with all progress
                                         (default: 600, or --timeout if longer)"
              arguments/milliseconds]
             "the output"
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
              (arguments/whole-number 1 1000)]]
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
  [{:keys [from rcpt mbox] [_ & paths] :words :as parsed}]
  (let [envelope (cond-> {}
                   from (assoc :sender from)
                   rcpt (assoc :recipients rcpt))]
    (if (or paths mbox)
      (concat (mapcat #(mails/of-argument envelope %) paths)
              (mapcat #(mails/of-mailbox envelope %) mbox))
      [{:title "mail", :mail (own-mail parsed envelope)}])))

;; ---- the filter

(defn- refused?
  [{:keys [action]}]
  (not (#{:continue :accept :skip} action)))

(defn- timeouts
  [{:keys [timeout connect-timeout write-timeout end-of-message-timeout total-timeout]}]
  (let [timeout (or timeout 30000)]
    {:connect (or connect-timeout timeout)
     :write (or write-timeout timeout)
     :reply timeout
     :end-of-message (or end-of-message-timeout timeout)
     :message (or total-timeout (max 600000 (long timeout) (long (or end-of-message-timeout 0))))}))

(defn- mta-options
  [{:keys [mta version macro] :as parsed}]
  (cond-> {:timeout (timeouts parsed)}
    mta (assoc :mta mta)
    version (assoc :offer version)
    macro (assoc :macros (reduce #(apply assoc-in %1 %2) {} macro))))

(defn- trouble
  "Returns what to do about an exception, or an empty string."
  [e connecting?]
  (cond
    (instance? SocketTimeoutException e)
    "; is the filter stuck? --timeout and --total-timeout give it more time"

    (instance? MilterException e)
    (if connecting?
      "; is it a milter that listens there?"
      ", which an MTA would not put up with")

    (and connecting? (instance? SocketException e))
    "; is the filter running, and is this its address?"

    (instance? UnknownHostException e)
    ""

    :else
    "; the log of the filter should tell why"))

(defn- reporting
  "Returns what f returns; what goes wrong with the filter meanwhile is reported in one line."
  [where connecting? f]
  (let [failed #(fail where ": " (ex-message %) (trouble % connecting?))]
    (try
      (f)
      (catch IOException e
        (failed e))
      (catch MilterException e
        (failed e)))))

(defn- connect
  "Returns a session on which the client has introduced itself."
  ^MtaSession [{[address] :words :keys [connect-host connect-address connect-port helo] :as parsed}]
  (doseq [[option value] {"--connect-host" connect-host, "--connect-address" connect-address, "--helo" helo}
          :let [problem (some->> value (keys/unfit :line))]
          :when problem]
    (fail option " " problem))
  (let [session ^MtaSession (reporting address true #(mt/connect-to address (mta-options parsed)))
        ip (or connect-address "192.0.2.1")]
    (reporting address
      false
      #(.greet session
               {:event :connect
                :host-name (or connect-host "client.example.org")
                :family (if (string/includes? ip ":") :inet6 :inet)
                :port (or connect-port 40110)
                :address ip}
               (or helo "client.example.org")))
    session))

(defn- unknown-replies
  "Sends the commands that the MTA does not know, and returns [command reply] of each."
  [session {[address] :words :keys [unknown]}]
  (reporting address false
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
    (report/print-report report)))

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
  (let [failed #(assoc entry :problem (str (ex-message %) (trouble % false)) :title (str address ": " title))]
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
        result (reporting address
                 false
                 (fn []
                   (load/play #(connect parsed)
                              (map :mail good)
                              {:count messages, :threads threads})))]
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
