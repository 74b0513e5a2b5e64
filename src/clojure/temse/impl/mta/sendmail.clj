(ns temse.impl.mta.sendmail
  "What Sendmail 8.17 makes of a filter's modifications and replies."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.address :as address]
   [temse.impl.mta.edit :as edit]
   [temse.impl.text :as text])
  (:import
   (temse.client MtaStyle)
   (temse.compose.internal Field SendmailFields)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

;; ---- header fields

(def ^:private never-written
  "Names of fields that are for local delivery only."
  #{"return-path" "full-name" "content-length"})

(def ^:private resent
  #{"resent-sender" "resent-from" "resent-reply-to" "resent-to" "resent-cc" "resent-bcc"
    "resent-message-id" "resent-date"})

(defn- of?
  [names ^Field field]
  (contains? names (text/lower-case (.name field))))

(defn- bound-late
  "Returns the fields with that sender where Sendmail knew none when it made From."
  [fields sender]
  (mapv (fn [^Field field]
          (if (and (.isMade field) (of? #{"from" "resent-from"} field) (= " " (.raw field)))
            (.withRaw field (str " " (edit/unbracketed sender)))
            field))
        fields))

(defn- written
  "Returns the fields as they are written, `received` being those of the client. Bcc is emptied, or
  left out where the client names other recipients; Resent fields are for resent messages."
  [fields received]
  (let [resent? (some #(of? resent %) received)
        recipients? (some #(of? #{"to" "cc" "apparently-to"} %) received)]
    (for [^Field field fields
          :let [blind? (of? #{"bcc" "resent-bcc"} field)]
          :when (and (.raw field)
                     (not (of? never-written field))
                     (or resent? (not (of? resent field)))
                     (not (and blind? recipients?)))]
      (if blind? (.withRaw field "") field))))

;; ---- parameters

(def ^:private known-parameters
  {:add-recipient #{"NOTIFY" "ORCPT"}
   :change-sender #{"SIZE" "BODY" "RET" "ENVID" "AUTH" "BY"}})

(defn parameter-name
  "Returns what is before the = of an ESMTP parameter."
  [parameter]
  (re-find #"[^=]*" parameter))

(defn known?
  "Returns true if Sendmail knows a parameter of :change-sender, or :add-recipient."
  [action parameter]
  (contains? (known-parameters action) (text/upper-case (parameter-name parameter))))

(defn- taken?
  [action parameter]
  (and (known? action parameter) (edit/well-formed? parameter)))

;; ---- addresses

(defn- spelled
  "Returns an address as Sendmail writes it: without route, with the quotes that it had, with a
  domain, and without a dot at its end."
  [host address]
  (let [{:keys [local-part domain] :as address} (or (edit/swapped address) address)]
    (str (if (:quoted? (meta address))
           (str "\"" (string/replace local-part #"[\"\\]" "\\\\$0") "\"")
           local-part)
      "@"
      (string/replace (or domain host) #"\.$" ""))))

(defn- listed
  "Returns the addresses that a text names."
  [host text]
  (map #(spelled host %) (edit/addresses text)))

(defn- single
  "Returns the address in a text that is followed by parameters, or nil: what is up to the first
  bracket that closes, or else the first space."
  [host text]
  (some->> (re-find #"<[^>]*>|\S+" text)
           address/parse-path
           (spelled host)))

(defn- new-sender
  "Returns the address of a new sender: of several the last in angle brackets; what Sendmail cannot
  read is MAILER-DAEMON of the host."
  [host text]
  (let [[address :as addresses] (listed host text)
        path (address/parse-path (or (last (re-seq #"<[^<>]*>" text)) ""))]
    (edit/bracketed
      (cond
        (:null? path) ""
        (= 1 (count addresses)) address
        path (spelled host path)
        :else (str "MAILER-DAEMON@" host)))))

(defn- received
  [host text]
  (if-let [address (first (edit/addresses text))]
    (spelled host address)
    (edit/unbracketed text)))

;; ---- recipients

(defn- place-of
  [recipients address]
  (first (keep-indexed #(when (= address (:address %2)) %1) recipients)))

(defn- pings
  "Returns the conditions that a recipient asks for, or has by default."
  [{:keys [notify]}]
  (or notify #{"FAILURE" "DELAY"}))

(defn- revived
  "Returns a removed recipient that is added again: its conditions are joined, its ORCPT stays."
  [old new]
  (-> (dissoc old :removed)
      (assoc :notify (when (or (:notify old) (:notify new))
                       (into (pings old) (pings new))))))

(defn- add-recipient
  [recipients {:keys [address] :as recipient}]
  (let [place (place-of recipients address)]
    (cond
      (nil? place) (conj recipients recipient)
      (get-in recipients [place :removed]) (update recipients place revived recipient)
      :else recipients)))

(defn- recipient
  [address parameters]
  {:address (str address)
   :notify (edit/notify-set parameters)
   :orcpt (edit/parameter parameters "ORCPT")})

(defn- add-recipients
  [recipients host {:keys [address parameters]}]
  (cond
    (nil? parameters)
    (reduce add-recipient recipients (map #(recipient % nil) (reverse (listed host address))))

    (and (every? #(taken? :add-recipient %) parameters)
         (not (next (filter #(re-find #"(?i)^ORCPT=" %) parameters))))
    (if-let [address (single host address)]
      (add-recipient recipients (recipient address parameters))
      recipients)

    :else
    recipients))

(defn- removed
  [recipients address]
  (if-let [place (place-of recipients address)]
    (assoc-in recipients [place :removed] true)
    recipients))

(defn- delete-recipients
  [recipients host {:keys [address]}]
  (reduce removed recipients (listed host address)))

(defn- receive-recipient
  "A recipient that the filter refuses stays in the list as a removed one."
  [recipients host [text parameters refused?]]
  (let [address (received host text)]
    (cond-> (add-recipient recipients (recipient address parameters))
      refused? (removed address))))

(defn topic
  "Returns the address that Sendmail was busy with last, after these actions, or nil. It stands in
  the reply by which the filter then refuses the message."
  [actions]
  (last
    (for [{:keys [action address parameters]} actions
          :when (or (= :change-sender action)
                    (and (= :add-recipient action) parameters))]
      address)))

(defn complaint
  "Returns what the client receives when the filter defers the message after these actions, or nil:
  Sendmail's own complaint about a parameter that the filter has given, since it is a 5xx reply. A
  mail has AUTH before a filter gives it."
  [actions]
  (last
    (for [{:keys [action parameters]} actions
          :let [auth? #(and (= :change-sender action) (re-find #"(?i)^AUTH=" %))
                wrong (first (filter #(or (auth? %) (not (known? action %))) parameters))]
          :when wrong]
      (if (auth? wrong)
        (edit/reply 501 "5.5.0" "Duplicate AUTH parameter")
        (edit/reply 555 "5.5.4" (str (parameter-name wrong) " parameter unrecognized"))))))

;; ---- messages

(defn- change-sender
  "Parameters replace the old ones, up to the first that Sendmail does not take; of RET with a wrong
  value it makes FULL."
  [{:keys [host] :as state} {:keys [action address parameters]}]
  (let [[taken [wrong]] (split-with #(taken? action %) parameters)]
    (cond-> (assoc state :sender (new-sender host address))
      (seq parameters) (assoc :options taken)
      (and wrong (re-find #"(?i)^RET=" wrong)) (update :options concat ["RET=FULL"]))))

(defn- apply-action
  [{:keys [host fields] :as state} leading-space? {:keys [action] :as given}]
  (case action
    (:add-header :change-header)
    (assoc state :fields (.edited SendmailFields/RULES fields given (boolean leading-space?)))

    :add-recipient (update state :recipients add-recipients host given)
    :delete-recipient (update state :recipients delete-recipients host given)
    :change-sender (change-sender state given)
    :quarantine (assoc state :quarantine (:reason given))
    state))

(defn edited
  "Returns the message after the modifications among the actions, with the fields that Sendmail
  makes: Received always, Date, From and Message-Id where they are missing. `refused?` says of each
  recipient whether the filter has refused it; `made` is a map of the values of those fields."
  [{:keys [recipients recipient-options headers body options] :as message} refused? actions
   leading-space? made]
  (let [fields (map edit/->field headers)
        host (:host-name made edit/host-name)
        start (-> {:host host, :sender (edit/bracketed (received host (:sender message)))}
                  (assoc :fields (.received SendmailFields/RULES (select-keys made SendmailFields/MADE) fields)
                         :options options
                         :recipients (reduce #(receive-recipient %1 host %2) []
                                             (map vector recipients
                                                  (concat recipient-options (repeat nil))
                                                  refused?))))
        state (reduce #(apply-action %1 leading-space? %2) start actions)]
    (edit/edited message (-> state
                             (update :fields #(-> (bound-late % (:sender state)) (written fields)))
                             (update :recipients #(remove :removed %))
                             (assoc :body (edit/changed-body body actions))))))

(defn in-sending-order
  "Returns the message with the recipients in the order of delivery: the last comes first."
  [message]
  (edit/in-order message reverse))

;; ---- replies to the SMTP client

(def ^:private addressed-codes
  "Codes of replies in which Sendmail names the address they are about."
  #{250 450 550 553})

(defn- seven-bit
  "Returns the text as Sendmail without SMTPUTF8 writes it: each byte without its highest bit."
  [text]
  (string/join (map #(char (bit-and 0x7F (int %)))
                    (edit/octets (Text/encodeBytes text)))))

(defn- about
  "Returns the reply with the address it is about."
  [{:keys [smtp-code] :as given} address]
  (cond-> given
    (and address (addressed-codes smtp-code)) (update :text #(str address "... " %))
    true (update :text seven-bit)))

(defn taken-in
  "Returns the message of a client as Sendmail takes it in."
  [message]
  (edit/received message MtaStyle/SENDMAIL))

(def no-recipients
  "What the client receives at DATA if it has named no recipient."
  (edit/reply 503 "5.0.0" "Need RCPT (recipient)"))

(defn own-refusal
  "Returns what a client receives that sends a CR which ends no line, whatever the filter says, or nil."
  [message]
  (when (edit/stray-cr? message)
    (edit/written-reply MtaStyle/STRAY)))

(defn refusal
  "Returns what the client receives when the filter refuses or defers."
  [stage {:keys [action] :as given} address]
  (case action
    :reject (about (case stage
                     (:connect :hello) (edit/reply 550 "5.0.0" "Command rejected")
                     (:mail :recipient :data :unknown) (edit/reply 550 "5.7.1" "Command rejected")
                     (edit/reply 554 "5.7.1" "Command rejected"))
                   address)
    :reply-code (let [{:keys [smtp-code] :as written} (edit/written-reply given)]
                  (about (update written :enhanced-code
                                 #(or % (str (quot (long smtp-code) 100) ".0.0")))
                         address))
    (edit/reply 451 "4.3.2" "Please try again later")))

(defn refused-greeting
  "Returns the greeting of a refused connection, and the reply to its MAIL command, :later. The text
  of the filter is lost."
  [{:keys [smtp-code text] :as action} {:keys [host-name]}]
  (cond
    (and (= 421 smtp-code) (not (string/includes? text "\n")))
    {:greeting (edit/reply 421 "4.7.0" (str host-name " closing connection"))}

    (or (= :reject (:action action)) (<= 500 (or smtp-code 0)))
    {:greeting (edit/reply 554 nil (str host-name " ESMTP not accepting messages"))
     :later (refusal :connect {:action :reject} nil)}

    :else
    {:later (refusal :connect {:action :temporary-failure} nil)}))

(defn approval
  "Returns what the client receives when the filter does not object."
  [stage {:keys [host-name queue-id command]} address]
  (case stage
    :connect (edit/reply 220 nil (str host-name " ESMTP Sendmail"))
    :hello (edit/reply 250 nil host-name)
    :mail (about (edit/reply 250 "2.1.0" "Sender ok") address)
    :recipient (about (edit/reply 250 "2.1.5" "Recipient ok") address)
    :data (edit/reply 354 nil "End data with <CR><LF>.<CR><LF>")
    :unknown (edit/reply 500 "5.5.1" (str "Command unrecognized: \"" command "\""))
    (edit/reply 250 "2.0.0" (str queue-id " Message accepted for delivery"))))
