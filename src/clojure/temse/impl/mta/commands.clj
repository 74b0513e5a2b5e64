(ns temse.impl.mta.commands
  "SMTP commands as each MTA reads them: what is asked of the filter, and what the MTA replies by itself.

  A command is a map of :command, :hello :mail :recipient :data :reset :quit or :unknown, and of what it is
  about: :greeting and :extended?; :address and :options; :text. What the MTA answers by itself is {:reply
  reply} instead."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.mta.edit :as edit]
   [temse.impl.mta.sendmail :as sendmail]
   [temse.impl.text :as text]))

(set! *warn-on-reflection* true)

(defn- own
  [code enhanced-code & texts]
  {:reply (edit/reply code enhanced-code (string/join texts))})

(def ^:private path-and-parameters
  #"(?s)[ \t]*(<(?:\"(?:\\.|[^\"\\])*+\"|[^\">])*+>|[^ \t]+)[ \t]*(.*)")

(defn- path
  "Returns {:address :options} of what follows MAIL FROM: or RCPT TO:, or nil where nothing does."
  [keyword argument]
  (let [[_ given] (re-matches (re-pattern (str "(?is)" keyword ":(.*)")) argument)
        [_ address parameters] (some->> given (re-matches path-and-parameters))]
    (when address
      {:address address
       :options (into [] (remove string/blank?) (string/split parameters #"[ \t]+"))})))

(defn- unbalanced?
  [address]
  (not= (string/starts-with? address "<") (string/ends-with? address ">")))

;; ---- Postfix

(def ^:private postfix-parameters
  {:mail #"(?i)(SIZE|BODY|SMTPUTF8|RET|ENVID|AUTH)(=.*)?"
   :recipient #"(?i)(NOTIFY|ORCPT)(=.*)?"})

(defn- postfix-path
  "Reads MAIL or RCPT, whose address must not be empty if `required?`."
  [command argument keyword required? bad]
  (let [{:keys [address options] :as given} (path keyword argument)
        unsupported (first (remove #(re-matches (postfix-parameters command) %) options))]
    (cond
      (nil? given) (own 501 "5.5.4" "Syntax: " (if (= :mail command) "MAIL FROM:<address>" "RCPT TO:<address>"))
      (unbalanced? address) bad
      (and required? (= "<>" address)) bad
      unsupported (own 555 "5.5.4" "Unsupported option: " unsupported)
      (some #(re-matches #"(?i)SIZE=(?!\d+$).*" %) options) (own 501 "5.5.4" "Bad message size syntax")
      :else (assoc given :command command))))

(defn- postfix
  [verb argument line {:keys [in-mail? recipients?]}]
  (case verb
    ("HELO" "EHLO")
    (if (= "" argument)
      (own 501 nil "Syntax: " verb " hostname")
      {:command :hello, :greeting argument, :extended? (= "EHLO" verb)})

    "MAIL"
    (if in-mail?
      (own 503 "5.5.1" "Error: nested MAIL command")
      (postfix-path :mail argument "FROM" false (own 501 "5.1.7" "Bad sender address syntax")))

    "RCPT"
    (if in-mail?
      (postfix-path :recipient argument "TO" true (own 501 "5.1.3" "Bad recipient address syntax"))
      (own 503 "5.5.1" "Error: need MAIL command"))

    "DATA"
    (cond
      (not in-mail?) (own 503 "5.5.1" "Error: need RCPT command")
      (not recipients?) (own 554 "5.5.1" "Error: no valid recipients")
      (not= "" argument) (own 501 "5.5.4" "Syntax: DATA")
      :else {:command :data})

    "RSET"
    (if (= "" argument)
      (assoc (own 250 "2.0.0" "Ok") :command :reset)
      (own 501 "5.5.4" "Syntax: RSET"))

    "NOOP" (own 250 "2.0.0" "Ok")
    "QUIT" (assoc (own 221 "2.0.0" "Bye") :command :quit)
    "VRFY" (if (= "" argument)
             (own 501 "5.5.4" "Syntax: VRFY address [SMTPUTF8]")
             (own 252 "2.0.0" argument))
    "ETRN" (own 459 nil "<" argument ">: service unavailable")
    "AUTH" (own 503 "5.5.1" "Error: authentication not enabled")
    ("STARTTLS" "BDAT") (own 502 "5.5.1" "Error: command not implemented")
    {:command :unknown, :text (re-find #"\S+" line)}))

;; ---- Sendmail

(defn- sendmail-path
  [command argument keyword]
  (let [{:keys [address options] :as given} (path keyword argument)
        action ({:mail :change-sender, :recipient :add-recipient} command)
        unrecognized (first (remove #(sendmail/known? action %) options))]
    (cond
      (nil? given) (own 501 "5.5.2" "Syntax error in parameters scanning \"" (re-find #"[^: \t]*" argument) "\"")
      (unbalanced? address) (own 553 "5.0.0" address "... Unbalanced '" (if (string/starts-with? address "<") "<" ">") "'")
      (and (= :recipient command) (= "<>" address)) (own 553 "5.0.0" "<>... User address required")
      unrecognized (own 555 "5.5.4" (sendmail/parameter-name unrecognized) " parameter unrecognized")
      :else (assoc given :command command))))

(defn- sendmail-command
  [verb argument line {:keys [in-mail? recipients? host-name]}]
  (case verb
    ("HELO" "EHLO")
    (if (= "" argument)
      (own 501 "5.0.0" verb " requires domain address")
      {:command :hello, :greeting argument, :extended? (= "EHLO" verb)})

    "MAIL"
    (if in-mail?
      (own 503 "5.5.0" "Sender already specified")
      (sendmail-path :mail argument "FROM"))

    "RCPT"
    (if in-mail?
      (sendmail-path :recipient argument "TO")
      (own 503 "5.0.0" "Need MAIL before RCPT"))

    "DATA"
    (cond
      (not in-mail?) (own 503 "5.0.0" "Need MAIL command")
      (not recipients?) {:reply sendmail/no-recipients}
      :else {:command :data})

    "RSET" (assoc (own 250 "2.0.0" "Reset state") :command :reset)
    "NOOP" (own 250 "2.0.0" "OK")
    "QUIT" (assoc (own 221 "2.0.0" host-name " closing connection") :command :quit)
    "VRFY" (if (= "" argument)
             (own 501 "5.5.2" "Argument required")
             (own 252 "2.1.5" "<" argument ">"))
    "EXPN" (own 250 "2.1.5" "<" argument ">")
    "HELP" (own 502 "5.3.0" "Sendmail -- HELP not implemented")
    "ETRN" (own 250 "2.0.0" "Queuing for node " argument " started")
    "VERB" (own 502 "5.7.0" "Verbose unavailable")
    "AUTH" (own 503 "5.3.3" "AUTH not available")
    "STARTTLS" (own 503 "5.5.0" "TLS not available")
    {:command :unknown, :text line}))

(defn- sendmail
  "Reads a command. A client that was refused for good is refused again whatever it says of a mail."
  [verb argument line {[_ refusal] :later :as stage}]
  (if (and refusal (<= 500 (long (:smtp-code refusal))) (contains? #{"MAIL" "RCPT" "DATA"} verb))
    {:reply refusal}
    (sendmail-command verb argument line stage)))

;; ---- both

(defn read-command
  "Returns the command in a line of a client. `stage` says whether a mail is in progress, :in-mail?, and
  has recipients that were accepted, :recipients?, has the :later of temse.impl.mta.stages, and the MTA's
  :host-name."
  [mta line stage]
  (let [line (string/trimr line)
        [_ verb argument] (re-matches #"(?s)(\S*)\s*(.*)" line)
        read (if (= :postfix mta) postfix sendmail)]
    (if (and (= "" line) (= :postfix mta))
      (own 500 "5.5.2" "Error: bad syntax")
      (read (text/upper-case verb) argument line stage))))

(def extensions
  "The ESMTP extensions in the reply to EHLO."
  {:postfix ["PIPELINING" "SIZE 10240000" "VRFY" "ETRN" "ENHANCEDSTATUSCODES" "8BITMIME" "DSN" "SMTPUTF8"]
   :sendmail ["ENHANCEDSTATUSCODES" "PIPELINING" "EXPN" "VERB" "8BITMIME" "SIZE" "DSN" "ETRN" "DELIVERBY" "HELP"]})

(def only-extension
  "The one that is left for a client who has been refused."
  "ENHANCEDSTATUSCODES")
