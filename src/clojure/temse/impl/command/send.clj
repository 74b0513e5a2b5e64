(ns temse.impl.command.send
  "The command send: plays mails to a filter, as an MTA would, and tells what became of them."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.arguments :as arguments :refer [fail]]
   [temse.impl.document :as document]
   [temse.impl.load :as load]
   [temse.mail :as mail]
   [temse.report :as report]
   [temse.test :as mt])
  (:import
   (java.io IOException)
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

(defn- macro
  [option text]
  (let [[_ macro-name value] (re-matches #"(?s)([^=]+)=(.*)" text)]
    (when-not macro-name
      (fail option " needs NAME=VALUE, such as auth_authen=alice, not " (pr-str text)))
    [macro-name value]))

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
  "See temse.impl.arguments."
  {:usage ["temse send ADDRESS [OPTIONS] [FILE...]"]
   :about ["Plays mails to any milter as an MTA would, all on one connection, and reports"
           "what happened to them."
           ""
           "ADDRESS is that of the filter: inet:20025@127.0.0.1, unix:/run/filter.sock, or a"
           "local port. FILE is a mail in the Internet message format (.eml), or - for one"
           "on the standard input. Without any, the mail is made of the options."]
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
             "the MTA and its client"
             ["--mta postfix|sendmail" "whose habits to have (default: postfix)"
              (arguments/one-of {"postfix" :postfix, "sendmail" :sendmail})]
             ["--version 2|3|4|6" "highest version of the protocol to offer (default: 6)"
              (arguments/one-of {"2" :postfix-2, "3" :postfix-3, "4" :postfix-4, "6" :postfix})]
             ["--macro NAME=VALUE" "value of a macro, such as auth_authen=alice, sent at the stages
                                    at which the MTA or the filter lists it; may be repeated"
              macro :repeated]
             ["--connect-host NAME" "(default: client.example.org)" arguments/text]
             ["--connect-address IP" "(default: 192.0.2.1)" ip-address]
             ["--connect-port PORT" "(default: 40110)" (arguments/whole-number 0 65535)]
             ["--helo NAME" "(default: client.example.org)" arguments/text]
             ["--timeout SECONDS" "to wait for each answer (default: 30)" arguments/milliseconds]
             "the output"
             ["-v, --verbose" "the whole conversation, and the mail before and after"]
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
  [{:keys [words header body mbox verbose json edn count threads]}]
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
    (fail "-v shows single conversations, --count and --threads measure: take one of them")))

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

(defn- file
  [path]
  (let [file (io/file path)]
    (when-not (.isFile file)
      (fail path ": there is no such file"))
    file))

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

(defn- file-mail
  [path envelope]
  (mail/->mail (assoc envelope :message (if (= "-" path)
                                          (.readAllBytes System/in)
                                          (file path)))))

(defn- mailbox-mails
  "Returns the mails of a mailbox with their titles."
  [path envelope]
  (let [messages (try
                   (mail/read-mbox (file path) envelope)
                   (catch IllegalArgumentException e
                     (fail path ": " (ex-message e))))]
    (when (empty? messages)
      (fail path ": the mailbox is empty"))
    (map-indexed (fn [i message] {:title (str path " " (inc i)), :mail (mail/->mail message)})
                 messages)))

(defn- mails
  "Returns the mails to be sent, each {:title :mail}."
  [{:keys [from rcpt mbox] [_ & paths] :words :as parsed}]
  (let [envelope (cond-> {}
                   from (assoc :sender from)
                   rcpt (assoc :recipients rcpt))]
    (or (seq (concat (map #(hash-map :title %, :mail (file-mail % envelope)) paths)
                     (mapcat #(mailbox-mails % envelope) mbox)))
        [{:title "mail", :mail (own-mail parsed envelope)}])))

;; ---- the filter

(defn- mta-options
  [{:keys [mta version macro timeout]}]
  (cond-> {}
    mta (assoc :mta mta)
    version (assoc :offer version)
    macro (assoc :macros (into {} macro))
    timeout (assoc :timeout timeout)))

(defn- trouble
  "Returns what to do about an exception, or an empty string."
  [e connecting?]
  (cond
    (instance? SocketTimeoutException e)
    "; is the filter stuck? --timeout gives it more time"

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

(defn- told
  "Returns what f returns; what goes wrong with the filter meanwhile is told in one line."
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
  (let [session ^MtaSession (told address true #(mt/connect-to address (mta-options parsed)))
        ip (or connect-address "192.0.2.1")]
    (told address
          false
          #(.greet session
                   {:event :connect
                    :host-name (or connect-host "client.example.org")
                    :family (if (string/includes? ip ":") :inet6 :inet)
                    :port (or connect-port 40110)
                    :address ip}
                   (or helo "client.example.org")))
    session))

;; ---- output

(defn- refused?
  [{:keys [action]}]
  (not (#{:continue :accept :skip} action)))

(defn- print-millis
  [nanos]
  (format "%.3f" (/ (double nanos) 1e6)))

(defn- print-message
  "Prints a report for people."
  [{:keys [reply modifications recipients] :as report} verbose]
  (println "status:" (report/verdict-text (dissoc report :reply)))
  (println "reply:" (report/action-text reply))
  (println "elapsed:" (print-millis (load/message-nanos report)) "ms")
  (doseq [[recipient reply] recipients
          :when (refused? reply)]
    (println "recipient:" recipient (report/action-text reply)))
  (doseq [action modifications]
    (println "modification:" (report/action-text action)))
  (when verbose
    (println)
    (report/print-report report)))

(defn- print-document
  [{:keys [json]} value]
  (println (if json (document/json value) (document/edn value))))

(def ^:private first-keys
  "What a document tells before the rest."
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
    (println (format "%d messages on %d connections in %.3f s: %.1f messages/s"
                     messages connections seconds (/ (long messages) seconds)))
    (println (string/join ", " (for [[verdict word] verdict-words
                                     :let [n (verdicts verdict)]
                                     :when n]
                                 (str word " " n))))
    (println (apply format row "answers, in ms" "count" (map name columns)))
    (doseq [event latency-order
            :let [latency (latencies event)]
            :when latency]
      (println (apply format row (name event) (:count latency)
                      (map (comp print-millis latency) columns))))))

;; ---- the command

(defn- exit-code
  [verdicts]
  (if (every? #{:accept} verdicts) 0 1))

(defn- play-one-by-one
  [{[address] :words :keys [verbose json edn] :as parsed} mails]
  (with-open [session (connect parsed)]
    (exit-code
      (doall
        (for [[i {:keys [title mail]}] (map-indexed vector mails)
              :let [report (told (str address ": " title) false #(mt/run-message session mail))]]
          (do
            (if (or json edn)
              (print-document parsed (message-document title report))
              (do
                (when (next mails)
                  (println (str (when (pos? (long i)) "\n") title)))
                (print-message report verbose)))
            (flush)
            (:verdict report)))))))

(defn- play-load
  [{[address] :words :keys [json edn] :as parsed} mails]
  (let [messages (:count parsed (count mails))
        threads (min (long messages) (long (:threads parsed 1)))
        result (told address
                     false
                     (fn []
                       (load/play #(connect parsed)
                                  (map :mail mails)
                                  {:count messages, :threads threads})))]
    (if (or json edn)
      (print-document parsed result)
      (print-load result))
    (exit-code (keys (:verdicts result)))))

(defn- play
  [{:keys [count threads] [address] :words :as parsed}]
  (check parsed)
  (check-address address)
  (let [mails (mails parsed)]
    (if (or count threads)
      (play-load parsed mails)
      (play-one-by-one parsed mails))))

(defn run
  "Runs the command and returns its exit code, 0 or 1. Throws ex-info of exit code 2 after an
  error."
  [args]
  (arguments/run command args play))
