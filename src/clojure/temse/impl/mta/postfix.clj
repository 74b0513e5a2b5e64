(ns temse.impl.mta.postfix
  "What Postfix 3.7 makes of a filter's modifications and replies."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.address :as address]
   [temse.impl.mta.edit :as edit]
   [temse.impl.text :as text])
  (:import
   (temse.client MtaStyle)
   (temse.compose.internal PostfixFields)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

;; ---- header fields

(def ^:private dropped-on-receipt
  "Names of the fields that the parameter message_drop_headers takes out, in lower case."
  #{"bcc" "content-length" "resent-bcc" "return-path"})

;; ---- addresses

(defn- rewritten
  "Returns an address as Postfix writes it: without route, in quotes only where it must be, with a
  domain, and without a dot at its end."
  [host address]
  (-> (or (edit/swapped address) address)
      (dissoc :route)
      (update :domain #(string/replace (or % host) #"\.$" ""))
      address/render-path
      edit/unbracketed))

(defn- internal
  "Returns an address as Postfix compares it when a recipient is deleted."
  [{:keys [route local-part domain]}]
  (str (when route (str (string/join "," (map #(str "@" %) route)) ":"))
       local-part
       (when domain (str "@" domain))))

(defn- first-address
  "Returns the first of the addresses that a text names, or nil."
  [text]
  (first (edit/addresses text)))

(defn- sender
  "Returns a sender as Postfix writes it: its own MAILER-DAEMON is the null sender."
  [host text]
  (let [address (some->> (first-address text) (rewritten host))]
    (edit/bracketed (if (some-> ^String address (.equalsIgnoreCase (str "MAILER-DAEMON@" host)))
                      ""
                      address))))

;; ---- recipients

(defn- same-key
  "Returns what two recipients must have in common to be one."
  [{:keys [key-orcpt notify address original]}]
  (mapv #(if (string? %) (text/lower-case %) %) [(or key-orcpt "") notify address original]))

(defn- add-recipient
  [{:keys [seen] :as state} recipient]
  (let [key (same-key recipient)]
    (if (contains? seen key)
      state
      (-> state
          (update :seen conj key)
          (update :recipients conj recipient)))))

(defn- octet-orcpt
  "Returns the ORCPT that octets make (RFC 3461 section 4)."
  [text]
  (str "rfc822;" (string/replace (edit/octets (Text/encodeBytes text))
                                 #"[^!-*,-<>-~]"
                                 #(text/formatted "+%02X" (int (first %))))))

(defn- text-orcpt
  "Returns the ORCPT that a text makes, beyond ASCII as RFC 6533 section 3 has it."
  [text]
  (if (re-find #"[^\x00-\x7F]" text)
    (str "utf-8;" (string/replace text
                                  #"[^!-*,-<>-\[\]-~]"
                                  #(text/formatted "\\x{%X}" (.codePointAt ^String % 0))))
    (octet-orcpt text)))

(defn- unless-same
  "Returns the ORCPT unless it says what the address does."
  [orcpt address]
  (when (not= orcpt (str "rfc822;" address))
    orcpt))

(defn- received-recipient
  [host text parameters]
  (let [parsed (first-address text)
        given (edit/unbracketed text)
        address (if parsed (rewritten host parsed) given)
        orcpt (edit/parameter parameters "ORCPT")]
    {:address address
     :original (if parsed (internal (dissoc parsed :route)) given)
     :notify (edit/notify-set parameters)
     :orcpt (or orcpt (unless-same (octet-orcpt given) address))
     :key-orcpt (or orcpt (str "rfc822;" given))}))

(defn- added-recipient
  "Of parameters that are given twice the first counts."
  [host {:keys [address parameters]}]
  (when-let [parsed (first-address address)]
    (let [address (rewritten host parsed)
          parameters (reverse (filter edit/well-formed? parameters))
          orcpt (edit/parameter parameters "ORCPT")]
      {:address address
       :original (internal (first-address address))
       :notify (edit/notify-set parameters)
       :orcpt (or orcpt (unless-same (text-orcpt address) address))
       :key-orcpt orcpt})))

(defn- delete-recipient
  "Deletes the recipients of that very address, and forgets what makes an added one a duplicate of
  them, also where only the case of letters differs."
  [{:keys [recipients] :as state} {:keys [address]}]
  (let [original (some-> (first-address address) internal)
        folded (some-> original text/lower-case)
        alike (filter #(= folded (text/lower-case (:original %))) recipients)]
    (-> state
        (update :seen #(reduce disj % (map same-key alike)))
        (assoc :recipients (filterv #(not= original (:original %)) recipients)))))

;; ---- messages

(defn- change-sender
  [{:keys [host] :as state} {:keys [address parameters]}]
  (-> state
      (assoc :sender (sender host address))
      (update :options concat (filter edit/well-formed? parameters))))

(defn- apply-action
  [{:keys [host fields ^PostfixFields rules] :as state} leading-space? {:keys [action] :as given}]
  (case action
    (:add-header :change-header) (assoc state :fields (.edited rules fields given (boolean leading-space?)))
    :add-recipient (if-let [recipient (added-recipient host given)]
                     (add-recipient state recipient)
                     state)
    :delete-recipient (delete-recipient state given)
    :change-sender (change-sender state given)
    :quarantine (assoc state :quarantine (:reason given))
    state))

(defn edited
  "Returns the message after the modifications among the actions, with the Received field of Postfix
  on top. `refused?` says of each recipient whether the filter has refused it; `made` is a map of
  the values of fields that an MTA makes, by name."
  [{:keys [recipients recipient-options headers body options] :as message} refused? actions
   leading-space? made]
  (let [received (edit/made-field "Received" made)
        kept (remove #(dropped-on-receipt (text/lower-case (first %))) headers)
        host (:host-name made edit/host-name)
        start (-> {:host host, :sender (sender host (:sender message))}
                  (assoc :rules (PostfixFields. received)
                         :fields (into [received] (map edit/->field) kept)
                         :options options
                         :seen #{}
                         :recipients []))
        start (->> (map #(received-recipient host %1 %2) recipients (concat recipient-options (repeat nil)))
                   (map vector refused?)
                   (remove first)
                   (map second)
                   (reduce add-recipient start))]
    (edit/edited message (-> (reduce #(apply-action %1 leading-space? %2) start actions)
                             (assoc :body (edit/changed-body body actions))))))

(defn in-sending-order
  "Returns the message with the recipients in the order of the queue manager: by domain,
  and by address without quotes."
  [message]
  (edit/in-order message
                 #(sort-by (fn [[path]]
                             (let [address (or (some-> (address/parse-path path) internal)
                                               (edit/unbracketed path))]
                               [(text/lower-case (re-find #"@[^@]*$|$" address)) address]))
                           %)))

;; ---- replies to the SMTP client

(def broken
  "What the client receives from a malformed reply of the filter on."
  (edit/reply 451 "4.3.5" "Server configuration problem - try again later"))

(defn taken-in
  "Returns the message of a client as Postfix takes it in."
  [message]
  (edit/received message MtaStyle/POSTFIX))

(def no-recipients
  "What the client receives at DATA if it has named no recipient."
  (edit/reply 554 "5.5.1" "Error: no valid recipients"))

(defn- malformed?
  "Returns true if Postfix takes the beginning of the text for an enhanced code of another class."
  [{:keys [smtp-code enhanced-code text]}]
  (let [start (first text)]
    (and (nil? enhanced-code)
         start
         (Character/isDigit (char start))
         (not= start (first (str smtp-code))))))

(defn refusal
  "Returns what the client receives when the filter refuses or defers."
  [_stage {:keys [action] :as given} _address]
  (case action
    :reject (edit/reply 550 "5.7.1" "Command rejected")
    :reply-code (let [reply (edit/written-reply given)]
                  (if (malformed? reply) broken reply))
    (edit/reply 451 "4.7.1" "Service unavailable - try again later")))

(defn refused-greeting
  "Returns the greeting of a refused connection, and the reply to its MAIL command, :later."
  [action {:keys [host-name]}]
  (let [{:keys [smtp-code] :as later} (refusal :connect action nil)]
    (cond
      (= 421 smtp-code)
      {:greeting (edit/reply 421 nil (str host-name " Service unavailable - try again later"))}

      (<= 500 smtp-code)
      {:greeting (edit/reply 554 nil (str host-name " ESMTP not accepting connections"))
       :later later}

      :else
      {:later later})))

(defn approval
  "Returns what the client receives when the filter does not object."
  [stage {:keys [host-name queue-id]} _address]
  (case stage
    :connect (edit/reply 220 nil (str host-name " ESMTP Postfix"))
    :hello (edit/reply 250 nil host-name)
    :mail (edit/reply 250 "2.1.0" "Ok")
    :recipient (edit/reply 250 "2.1.5" "Ok")
    :data (edit/reply 354 nil "End data with <CR><LF>.<CR><LF>")
    :unknown (edit/reply 500 "5.5.2" "Error: command not recognized")
    (edit/reply 250 "2.0.0" (str "Ok: queued as " queue-id))))
