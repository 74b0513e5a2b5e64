(ns temse.envelope
  "Who sends a mail to whom, and how the client is connected: words for what is otherwise spread over
  events and macros, and the same behind Postfix and Sendmail.

  Each word is a function of a context, in any handler. A filter asks for the words that it uses with
  the option :wants, which also asks the MTA for the events and macros that they need; none of these
  events needs a handler or waits for a reply.

    (start-milter {:port 20025
                   :wants #{:sender :recipients :authenticated-user}
                   :handlers {:end-of-message (fn [_ context]
                                                (when-not (authenticated-user context)
                                                  (log/info (sender context) (recipients context))))}})

  A word that is not known yet, or that does not apply, is nil. A word that the filter has not asked for
  throws :bad-options, so that nothing is taken for unknown that nobody has asked about. Those of a mail
  are those of the current one.

  doc/macros.org says which MTA sends which macros when."
  (:require
   [clojure.string :as string]
   [temse.address :as address]
   [temse.impl.keys :as keys]
   [temse.milter :as milter])
  (:import
   (java.time Instant ZoneId ZonedDateTime)
   (java.time.format DateTimeFormatter)
   (java.util Locale Optional)
   (temse.protocol Fact Transaction)))

(set! *warn-on-reflection* true)

(defn- transaction
  "Returns what is known. Throws :bad-options if the filter has not asked for the fact."
  ^Transaction [context ^Fact fact]
  (let [^Transaction known (:milter/envelope context Transaction/NONE)]
    (when-not (.contains (.wanted known) fact)
      (let [asked (into #{} (map #(.-keyword ^Fact %)) (.wanted known))]
        (throw (keys/bad-option :wants
                                asked
                                (str "the filter uses " (.-keyword fact)
                                     " and has not asked for it: give start-milter :wants "
                                     (pr-str (conj asked (.-keyword fact))))))))
    known))

(defn- or-nil
  [^Optional value]
  (.orElse value nil))

;; ---- the client

(defn client-address
  "Returns the IP address of the client, such as \"192.0.2.1\" or \"2001:db8::1\", or nil if it has none: it is
  connected otherwise. `temse.network/includes?` compares it with networks."
  [context]
  (or-nil (.clientAddress (transaction context Fact/CLIENT_ADDRESS))))

(defn client-port
  "Returns the TCP port of the client, a number, or nil."
  [context]
  (let [port (.clientPort (transaction context Fact/CLIENT_PORT))]
    (when (.isPresent port)
      (long (.getAsInt port)))))

(defn client-name
  "Returns the host name of the client that DNS has for its address, and whose address that is; nil
  if the MTA has not found one, or does not believe it."
  [context]
  (or-nil (.clientName (transaction context Fact/CLIENT_NAME))))

(defn hello-name
  "Returns what the client has said in HELO or EHLO last, or nil. It may be anything."
  [context]
  (or-nil (.helloName (transaction context Fact/HELLO_NAME))))

(defn authenticated-user
  "Returns the login name that the client has proved with AUTH for the current mail, or nil ({auth_authen})."
  [context]
  (or-nil (.authenticatedUser (transaction context Fact/AUTHENTICATED_USER))))

;; ---- its connection

(defn tls-version
  "Returns the version of TLS, such as \"TLSv1.3\", or nil if the connection is not encrypted
  ({tls_version})."
  [context]
  (or-nil (.tlsVersion (transaction context Fact/TLS_VERSION))))

(defn cipher
  "Returns the name of the TLS cipher, or nil ({cipher})."
  [context]
  (or-nil (.cipher (transaction context Fact/CIPHER))))

(defn cipher-bits
  "Returns the number of bits of the key of the TLS cipher, or nil ({cipher_bits})."
  [context]
  (let [bits (.cipherBits (transaction context Fact/CIPHER_BITS))]
    (when (.isPresent bits)
      (.getAsLong bits))))

(defn cert-subject
  "Returns the name in the certificate of the client, or nil ({cert_subject}). Postfix sends it of
  verified certificates only; Sendmail's {verify} says whether it has verified one."
  [context]
  (or-nil (.certSubject (transaction context Fact/CERT_SUBJECT))))

(defn cert-issuer
  "Returns who has issued the certificate of the client, or nil ({cert_issuer})."
  [context]
  (or-nil (.certIssuer (transaction context Fact/CERT_ISSUER))))

;; ---- the mail

(defn sender
  "Returns the path of MAIL FROM as the :mail event has it, such as \"<ann@example.org>\" or \"<>\", or nil.
  `temse.address` takes it apart."
  [context]
  (or-nil (.sender (transaction context Fact/SENDER))))

(defn recipients
  "Returns the paths of RCPT TO that the MTA has asked about for the current mail, as the :recipient
  events have them, a vector. Those that this or another filter has refused are among them, those that
  the MTA has refused itself are not."
  [context]
  (:recipients (.known (transaction context Fact/RECIPIENTS)) []))

(defn smtputf8?
  "Returns true if the client has sent the current mail with SMTPUTF8 (RFC 6531)."
  [context]
  (.isSmtpUtf8 (transaction context Fact/SMTPUTF8)))

(defn receive-time
  "Returns when the :mail event of the current mail has come, a java.time.Instant by the clock of this
  machine, or nil."
  [context]
  (or-nil (.receiveTime (transaction context Fact/RECEIVE_TIME))))

(defn queue-id
  "Returns the name that the MTA has given to the current mail, or nil (i). Postfix has one from the
  second recipient on."
  [context]
  (or-nil (.queueId (transaction context Fact/QUEUE_ID))))

(defn mta-name
  "Returns the host name of the MTA, or nil (j)."
  [context]
  (or-nil (.mtaName (transaction context Fact/MTA_NAME))))

;; ---- the Received field

(defn- path
  [text]
  (str "<" (or (address/bare text) text) ">"))

(defn- for-clause
  [context]
  (let [[recipient & more] (recipients context)]
    (when (and recipient (nil? more))
      (str "for " (path recipient) "; "))))

(defn- date
  "Returns when the mail was received, in the form of RFC 5322 and with the name of the time zone."
  [context pattern]
  (.format (DateTimeFormatter/ofPattern pattern Locale/ENGLISH)
           (ZonedDateTime/ofInstant (or (receive-time context) (Instant/now)) (ZoneId/systemDefault))))

(defn- address-literal
  [context]
  (when-let [address (client-address context)]
    (str "[" (when (string/includes? address ":") "IPv6:") address "]")))

(defn- neutered
  "Returns a greeting as Postfix writes it."
  [text]
  (some-> text (string/replace #"[ <>()\\\";@]" "?")))

(defn- postfix-protocol
  [context]
  (cond
    (smtputf8? context) "UTF8SMTP"
    (nil? (hello-name context)) "SMTP"
    :else (str "ESMTP" (when (tls-version context) "S") (when (authenticated-user context) "A"))))

(defn- postfix-lines
  [context {:keys [tls? authenticated?]}]
  (let [host (or (client-name context) "unknown")
        bits (cipher-bits context)
        mail-name (some-> (milter/get-macro context "v") (string/replace #" [^ ]*$" ""))
        user (authenticated-user context)
        to (for-clause context)
        stamp (date context "EEE, ppd MMM yyyy HH:mm:ss xx '('z')'")]
    (concat [(str "from " (or (neutered (hello-name context)) host) " (" host " " (address-literal context) ")")]
            (when (and tls? (tls-version context))
              [(str "(using " (tls-version context) " with cipher " (cipher context)
                    " (" bits "/" bits " bits))")
               (if-let [subject (cert-subject context)]
                 (str "(Client CN \"" subject "\", Issuer \"" (cert-issuer context) "\" (verified OK))")
                 "(No client certificate requested)")])
            (when (and authenticated? user)
              [(str "(Authenticated sender: " user ")")])
            [(str "by " (mta-name context) " (" (or mail-name "Postfix") ") with " (postfix-protocol context)
                  " id " (queue-id context) (when-not to ";"))
             (str to stamp)])))

(defn- sendmail-lines
  [context]
  (let [get-macro #(not-empty (milter/get-macro context %))
        hello (or (get-macro "s") (hello-name context))
        client (get-macro "_")
        version (get-macro "v")
        ssf (get-macro "auth_ssf")]
    [(string/join " " (remove nil? [(when hello (str "from " hello))
                                    (when client (str "(" (when-not hello "from ") client ")"))]))
     (when (get-macro "auth_type")
       (str "(authenticated" (when ssf (str " bits=" ssf)) ")"))
     (str "by " (mta-name context) " (" version "/" (or (get-macro "Z") version) ") with "
          (or (get-macro "r") "ESMTP") " id " (queue-id context)
          (when-not (or (tls-version context) (for-clause context)) ";"))
     (when (tls-version context)
       (str "(version=" (tls-version context) " cipher=" (cipher context) " bits=" (cipher-bits context)
            " verify=" (get-macro "verify") ")" (when-not (for-clause context) ";")))
     (str (for-clause context)
          (or (get-macro "b") (date context "EEE, d MMM yyyy HH:mm:ss xx '('z')'")))]))

(def ^:private received-table
  "Options of received-header."
  {:mta [":postfix or :sendmail" #{:postfix :sendmail}]
   :tls? keys/truth
   :authenticated? keys/truth})

(defn received-header
  "Returns the Received field that the MTA will put on top of the current mail and does not show to
  filters, [\"Received\" value]: for programs such as SpamAssassin that judge by it. The lines of the
  value are folded with LF and TAB. Call it at :end-of-message or at :end-of-headers; the filter must have
  asked for :received-header, which includes all other words.

    :mta             ; :postfix or :sendmail, whose style it has (default: that of the MTA, by its macro v)
    :tls?            ; whether Postfix has smtpd_tls_received_header = yes (default: false)
    :authenticated?  ; whether Postfix has smtpd_sasl_authenticated_header = yes (default: false)

  What a filter cannot know: the second at which the MTA takes the time; from Postfix, whether the
  client has said HELO (EHLO is assumed), and of TLS the key exchange and the bits of the algorithm
  (those in use are taken for them) and certificates that are not verified; recipients that other filters
  refuse; header formats that the administrator has changed; and that a mail has not come by SMTP.

    (received-header context)
    ;=> [\"Received\" \"from a.example (a.example [192.0.2.1])\\n\\tby mx.example.org (Postfix) …\"]"
  ([context]
   (received-header context {}))
  ([context options]
   (transaction context Fact/RECEIVED_HEADER)
   (let [{:keys [mta] :as options} (keys/with-defaults "the options of received-header" options received-table)
         version (milter/get-macro context "v")
         mta (or mta (if (some-> version (string/starts-with? "8.")) :sendmail :postfix))]
     ["Received" (string/join "\n\t" (remove nil? (if (= :postfix mta)
                                                    (postfix-lines context options)
                                                    (sendmail-lines context))))])))
