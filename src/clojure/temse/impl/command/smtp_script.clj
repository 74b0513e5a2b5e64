(ns temse.impl.command.smtp-script
  "Lines of the command smtp that are not for the MTA: they begin with a dot, as no SMTP command does.
  What they say is read here, and what they expect is compared.

  A directive is {:directive :connect :client {…}}, {:directive :macro :keys […] :value \"…\"}, {:directive
  :send :line \"…\"}, {:directive :disconnect}, {:directive :help}, or an expectation:
    {:directive :expect, :shown text, :of :reply, :code #\"55.\", :enhanced-code \"5.7.1\", :text matcher}
    {:directive :expect, :shown text, :of :mail, :fate #{:held}}
    {:directive :expect, :shown text, :of :mail, :part :header, :name \"Subject\", :text matcher, :absent? true}"
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.command.arguments :refer [fail]]
   [temse.impl.command.client :as client]
   [temse.impl.keys :as keys]
   [temse.mail :as mail])
  (:import
   (java.util.regex PatternSyntaxException)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def help
  "The directives, as lines for people."
  [".connect [ADDRESS [NAME]]        connects as a client of this IP address"
   ".disconnect                      leaves without QUIT"
   ".macro [STAGE:]NAME=VALUE        a macro; with a STAGE before .connect only"
   ".send TEXT                       a line that is empty, or begins with # or ."
   ".expect 550 [5.7.1] [TEXT]       of the last reply; of n replies n in a row"
   ".expect delivered                or discarded, refused, deferred"
   ".expect [no] quarantine [TEXT]   whether it is held, and why"
   ".expect [no] header NAME[: TEXT] of the mail as it is delivered"
   ".expect [no] body TEXT"
   ".expect [no] sender ADDRESS"
   ".expect [no] recipient ADDRESS"
   ".help                            shows this"
   "TEXT is part of what is there, or /REGEX/. Empty lines and those that begin"
   "with # are comments."])

;; ---- reading

(defn- matcher
  "Returns a function that tells whether a text has another one in it, or what /REGEX/ matches."
  [given]
  (if-let [[_ regex] (re-matches #"/(.+)/" given)]
    (try
      (let [pattern (re-pattern regex)]
        #(boolean (re-find pattern %)))
      (catch PatternSyntaxException e
        (fail given " is no regular expression: " (first (string/split-lines (ex-message e))))))
    #(string/includes? % given)))

(defn- needed
  [what given]
  (if (string/blank? given)
    (fail ".expect " what " needs what it is to be")
    given))

(defn- bracketed
  [address]
  (if (string/starts-with? address "<") address (str "<" address ">")))

(def ^:private fates
  {"delivered" :delivered, "discarded" :discarded, "refused" :refused, "deferred" :deferred})

(defn- part
  "Reads an expectation of a part of a mail."
  [word text]
  (case word
    "header" (let [[_ field-name value] (re-matches #"([!-9;-~]+)(?::[ ]?(.*))?" (needed word text))]
               (when-not field-name
                 (fail ".expect header needs NAME or NAME: TEXT, not " (keys/shown text)))
               {:part :header, :name field-name, :text (matcher (or value ""))})
    "body" {:part :body, :text (matcher (needed word text))}
    "sender" {:part :sender, :address (bracketed (needed word text))}
    "recipient" {:part :recipient, :address (bracketed (needed word text))}
    "quarantine" {:part :quarantine, :text (matcher text)}
    nil))

(defn- mail-expectation
  [given]
  (let [[_ no word text] (re-matches #"(?s)(no )?[ ]*(\S+)[ ]*(.*)" given)
        part (part word text)
        fate (when-not no (fates word))]
    (cond
      part (assoc part :absent? (some? no))
      (and fate (= "" text)) {:fate #{fate}}
      fate (fail ".expect " word " takes nothing more, not " (keys/shown text))
      :else
      (let [words (concat ["header" "body" "sender" "recipient" "quarantine"] (clojure.core/keys fates))
            meant (keys/closest word words)]
        (fail "nothing can be expected of " word
              (if meant
                (keys/did-you-mean meant)
                (str "; .expect takes a code such as 550, or one of " (string/join ", " words))))))))

(defn- expectation
  [given]
  (let [[_ code enhanced-code text]
        (re-matches #"(?s)([2-5](?:[0-9]{2}|xx))(?: +([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?: +(.*))?" given)]
    (merge {:directive :expect, :shown given}
           (cond
             code {:of :reply
                   :code (re-pattern (string/replace code "x" "."))
                   :enhanced-code enhanced-code
                   :text (matcher (or text ""))}
             (= "" given) (fail ".expect needs a code such as 550, or what becomes of the mail; .help shows all")
             :else (assoc (mail-expectation given) :of :mail)))))

(defn- client
  [given]
  (let [[address host-name & more] (remove string/blank? (string/split given #" +"))]
    (when more
      (fail ".connect takes an address and a name, not " (keys/shown given)))
    (cond-> {}
      address (assoc :address (client/ip-address ".connect" address))
      host-name (assoc :host-name host-name))))

(defn- bare
  [directive word given]
  (if (string/blank? given)
    {:directive directive}
    (fail word " takes nothing more, not " (keys/shown given))))

(def ^:private words [".connect" ".disconnect" ".macro" ".send" ".expect" ".help"])

(defn read-line-of
  "Returns what a line is: a directive, {:directive :send} for one that is for the MTA, or nil for a comment,
  which there is outside the content of a mail only. Fails with what is wrong with it.

  A client that keeps to RFC 5321 section 4.5.2 sends no line of content that begins with one dot and goes
  on."
  [line content?]
  (let [[_ word given] (re-matches (if content? #"(?s)(\.[^. ]\S*)[ ]?(.*)" #"(?s)(\.\S+)[ ]?(.*)") line)]
    (cond
      (and (not content?) (or (string/blank? line) (string/starts-with? line "#"))) nil
      (nil? word) {:directive :send, :line line}
      :else
      (case word
        ".connect" {:directive :connect, :client (client given)}
        ".disconnect" (bare :disconnect word given)
        ".help" (bare :help word given)
        ".macro" (let [[path value] (client/macro word (string/trim given))]
                   {:directive :macro, :path path, :value value})
        ".send" {:directive :send, :line given}
        ".expect" (expectation (string/trim given))
        (let [meant (keys/closest word words)]
          (fail "there is no " word (if meant (keys/did-you-mean meant) "; .help shows what there is.")
                " A line for the MTA that begins with a dot is sent by .send"))))))

;; ---- comparing

(defn reply-text
  "Returns a reply in one line."
  [{:keys [smtp-code enhanced-code text]}]
  (string/join " " (remove nil? [smtp-code enhanced-code text])))

(defn- reply-problem
  [{:keys [code enhanced-code text]} reply]
  (cond
    (nil? reply) "there is no reply"
    (not (and (re-matches code (str (:smtp-code reply)))
              (or (nil? enhanced-code) (= enhanced-code (:enhanced-code reply)))
              (text (:text reply))))
    (str "the reply is " (reply-text reply))))

(def ^:private fate-texts
  {:delivered "was delivered", :held "was quarantined", :discarded "was discarded", :refused "was refused"
   :deferred "was deferred", :no-recipients "has no recipients left"})

(defn- found
  "Returns [found? what-there-is] of an expected part in a mail that is delivered or held."
  [{:keys [part name text address]} {:keys [sender recipients headers body quarantine]}]
  (case part
    :header (let [values (mail/header-values headers name)]
              [(boolean (some text values))
               (if (seq values)
                 (str name " is " (string/join " and " (map keys/shown values)))
                 (str "there is no field " name))])
    :body (let [body (Text/decode body)]
            [(text body) (str "the body is " (keys/shown body))])
    :sender [(= address sender) (str "the sender is " sender)]
    :recipient [(boolean (some #{address} recipients)) (str "the recipients are " (string/join ", " recipients))]
    :quarantine [(boolean (some-> quarantine text))
                 (if quarantine
                   (str "it is quarantined: " quarantine)
                   "it is not quarantined")]))

(defn- mail-problem
  [{:keys [fate absent?] :as expected} {actual :fate, :keys [message reply] :as mail}]
  (let [was (str "the mail " (fate-texts actual)
                 (when (#{:refused :deferred} actual)
                   (str ": " (reply-text reply))))]
    (cond
      (nil? mail) "no mail has ended yet"
      fate (when-not (fate actual) was)
      (nil? message) was
      :else (let [[found? there-is] (found expected message)]
              (when (= found? absent?)
                there-is)))))

(defn unmet
  "Returns why an expectation is not met by the last reply, or by what has become of the last mail; nil if it
  is."
  [{:keys [of shown] :as expected} reply mail]
  (when-let [problem (if (= :reply of) (reply-problem expected reply) (mail-problem expected mail))]
    (str "expected " shown ", but " problem)))
