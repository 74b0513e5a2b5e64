(ns temse.impl.recording.redaction
  "Takes out of a recording what must not be kept, so that its structure stays.

  All that is not known to be harmless goes, unless it is to be kept: addresses, hosts and users become
  hashes, equal ones equal hashes; of other texts and of bodies their sizes stay. Takes time linear in
  the size of the recording."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.address :as address]
   [temse.impl.recording.file :as recording-file]
   [temse.impl.text :as text])
  (:import
   (java.net IDN InetAddress UnknownHostException)
   (java.nio ByteBuffer)
   (java.nio.charset StandardCharsets)
   (java.security SecureRandom)
   (java.util Base64 HexFormat Locale)
   (javax.crypto Mac)
   (javax.crypto.spec SecretKeySpec)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def kinds
  "What is redacted unless it is kept."
  #{:addresses :bodies :clients :headers :macros :names :texts :users})

;; ---- hashes

(defn secret
  "Returns a random key, without which nobody can try out which address a hash stands for."
  []
  (let [bytes (byte-array 32)]
    (.nextBytes (SecureRandom.) bytes)
    (.formatHex (HexFormat/of) bytes)))

(defn- hasher
  "Returns a function from a text to the bytes of its keyed hash, for one thread."
  [^String key]
  (let [bytes (fn ^bytes [^String text]
                (let [buffer (ByteBuffer/allocate (* 2 (.length text)))]
                  (.put (.asCharBuffer buffer) text)
                  (.array buffer)))
        mac (doto (Mac/getInstance "HmacSHA256")
              (.init (SecretKeySpec. (bytes key) "HmacSHA256")))]
    (fn [text]
      (.doFinal mac (bytes text)))))

(defn- hex
  [{:keys [hash]} text]
  (.formatHex (HexFormat/of) ^bytes (hash text) 0 5))

(def ^:private hashed
  "What a hash looks like, alone or as an address or the name of a header field."
  #"(?:X-|tmp_)?[0-9a-f]{10}(?:@[^@]*)?|<[0-9a-f]{10}(?:@[^@]*)?>")

(def ^:private of-a-size
  "What stands for a text or body."
  #"\s?\[[0-9]+ (?:characters|bytes)\]\s*")

(defn stand-in?
  "Returns true for a text that may stand in the place of a redacted one."
  [text]
  (boolean (or (re-matches hashed text) (re-matches of-a-size text))))

;; ---- values

(defn- lower
  [^String text]
  (.toLowerCase text Locale/ROOT))

(defn- dropped
  [text]
  (if (= "" text)
    ""
    (str "[" (count text) " characters]")))

(defn- dropped-body
  [^bytes body]
  (Text/encodeBytes (str "[" (alength body) " bytes]\r\n")))

(def ^:private octet "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])")

(def ^:private address-shape
  (re-pattern (str octet "(?:\\." octet "){3}|(?=[^:]{0,4}:)[0-9A-Fa-f:][0-9A-Fa-f:.]{1,44}")))

(defn- ip-address
  "Returns the InetAddress of a text that is one, or nil. Nothing is looked up."
  ^InetAddress [text]
  (let [text (string/replace text #"^(?i)IPv6:" "")]
    (when (re-matches address-shape text)
      (try
        (InetAddress/getByName text)
        (catch UnknownHostException _)))))

(defn- ip
  "Returns the text of another IP address: for version 4 one that is reserved for ever, for version 6 one
  of those for documentation. Loopback addresses stay, and what is no address becomes nil."
  [{:keys [hash]} text]
  (when-let [address (ip-address text)]
    (if (.isLoopbackAddress address)
      text
      (let [[a b c d :as digest] (map #(bit-and 0xFF (long %)) (hash (.getHostAddress address)))]
        (if (string/includes? text ":")
          (str (re-find #"^(?i)IPv6:" text) "2001:db8:"
               (string/join ":" (for [[high low] (partition 2 (take 12 digest))]
                                  (text/formatted "%x" (+ (* 256 (long high)) (long low))))))
          (string/join "." [(bit-or 240 (bit-and 15 (long a))) b c d]))))))

(defn- ascii-domain
  "Returns a domain in lower case, in ASCII if it is an internationalized one, without a dot at its end."
  [text]
  (let [text (string/replace (lower text) #"\.$" "")]
    (if (< (count text) 256)
      (try
        (lower (IDN/toASCII text IDN/ALLOW_UNASSIGNED))
        (catch IllegalArgumentException _
          text))
      text)))

(defn- host
  "Returns a host name, an IP address or an address literal for another. Case, and a dot at the end, make
  no difference."
  [redactor text]
  (let [name (ascii-domain text)
        [_ literal] (re-matches #"(?s)\[(.*)\]" text)]
    (cond
      (#{"" "unknown" "localhost"} name) text
      literal (str "[" (or (ip redactor literal) (hex redactor name)) "]")
      :else (or (ip redactor text)
                (str (hex redactor name) ".example")))))

(defn- mailbox
  "Returns another address for that of a mailbox. Case makes no difference, in neither of its parts."
  [redactor {:keys [local-part domain] :as given}]
  (-> (if domain
        (assoc given
               :local-part (hex redactor (str (lower local-part) "@" (ascii-domain domain)))
               :domain (host redactor domain))
        (assoc given :local-part (hex redactor (lower local-part))))
      (dissoc :route)))

(defn- bracketed-like
  "Returns an address in angle brackets if the text is, else without."
  [text address]
  (if (string/starts-with? text "<")
    address
    (string/replace address #"[<>]" "")))

(defn- path
  "Returns an address of the envelope with another in its place; what is none becomes a hash. The null
  sender stays."
  [redactor text]
  (let [{:keys [null?] :as parsed} (address/parse-path text)]
    (bracketed-like text
                    (cond
                      (or null? (= "" text)) "<>"
                      parsed (address/render-path (mailbox redactor parsed))
                      :else (str "<" (hex redactor text) ">")))))

(defn- kept-path
  "Returns an address of the envelope without the names and comments beside it; what is none becomes a
  hash."
  [{:keys [kept?] :as redactor} text]
  (let [[one & more] (address/parse-list text)
        {:keys [null?] :as parsed} (or (address/parse-path text) (when-not more one))]
    (cond
      (or null? (nil? parsed)) (path redactor text)
      (or (kept? :names) (re-matches #"(?s)<[^<(]*>|[^<(]*" text)) text
      :else (bracketed-like text (address/render-path (dissoc parsed :display-name :group))))))

(def ^:private domain-shape
  #"[\p{L}\p{N}_-]{1,63}(?:\.[\p{L}\p{N}_-]{1,63})*\.?|\[[0-9A-Za-z:._-]+\](?::[0-9A-Za-z]+)?")

(defn- kept-host
  "Returns the host of an address, of which what is none becomes a hash."
  [redactor text]
  (if (re-matches domain-shape text)
    text
    (host redactor text)))

(defn- user
  "Returns the hash of a login name; of one that is an address the hash of that."
  [redactor text]
  (if (string/includes? text "@")
    (path redactor text)
    (hex redactor text)))

(defn- size
  [_ text]
  (dropped text))

(defn- unless-kept
  "Returns the text if its kind is kept, of addresses what is one, else what a function of the redactor
  and the text returns."
  [{:keys [kept?] :as redactor} kind redact text]
  (cond
    (not (kept? kind)) (redact redactor text)
    (= path redact) (kept-path redactor text)
    (and (= :addresses kind) (= host redact)) (kept-host redactor text)
    :else text))

;; ---- header fields

(def ^:private address-fields
  #{"apparently-to" "bcc" "cc" "delivered-to" "disposition-notification-to" "envelope-to" "errors-to"
    "from" "mail-followup-to" "mail-reply-to" "reply-to" "resent-bcc" "resent-cc" "resent-from"
    "resent-reply-to" "resent-sender" "resent-to" "return-path" "return-receipt-to" "sender" "to"
    "x-envelope-from" "x-envelope-to" "x-original-to"})

(def ^:private common-names
  "Names of header fields that reveal nothing, since everybody uses them."
  (into address-fields
        #{"accept-language" "arc-authentication-results" "arc-message-signature" "arc-seal"
          "authentication-results" "auto-submitted" "autocrypt" "comments" "content-class"
          "content-description" "content-disposition" "content-id" "content-language" "content-length"
          "content-location" "content-transfer-encoding" "content-type" "date" "deferred-delivery"
          "dkim-signature" "domainkey-signature" "encrypted" "expires" "feedback-id" "importance"
          "in-reply-to" "keywords" "list-archive" "list-help" "list-id" "list-owner" "list-post"
          "list-subscribe" "list-unsubscribe" "list-unsubscribe-post" "message-id" "mime-version"
          "newsgroups" "organization" "original-message-id" "precedence" "priority" "received"
          "received-spf" "references" "resent-date" "resent-message-id" "sensitivity" "solicitation"
          "status" "subject" "thread-index" "thread-topic" "user-agent" "x-auto-response-suppress"
          "x-google-dkim-signature" "x-mailer" "x-mimeole" "x-msmail-priority" "x-originating-ip"
          "x-priority" "x-quarantine-id" "x-rspamd-action" "x-rspamd-queue-id" "x-rspamd-score"
          "x-rspamd-server" "x-spam" "x-spam-flag" "x-spam-level" "x-spam-report" "x-spam-score"
          "x-spam-status" "x-spamd-bar" "x-spamd-result" "x-virus-scanned" "x-virus-status"}))

(defn- field-name
  [{:keys [kept-field?] :as redactor} text]
  (let [name (lower text)]
    (if (or (kept-field? name) (common-names name))
      text
      (unless-kept redactor :headers (fn [_ _] (str "X-" (hex redactor name))) text))))

(def ^:private at-sign
  "What stands between the parts of an address, also for readers."
  #"[@\uFE6B\uFF20]")

(def ^:private plain-charset
  "Character sets in which an @ is the octet of ASCII, in UTF-8 or one octet a character."
  #"(?i)(?:us-ascii|utf-8|iso-8859-[0-9]+|windows-[0-9]+|koi8-[ru])(?:\*.*)?")

(defn- decoded-word
  "Returns the text of an encoded word (RFC 2047), or nil where that is unknown."
  [[_ charset encoding ^String content]]
  (when (re-matches plain-charset charset)
    (if (= "q" (lower encoding))
      (Text/decode (.getBytes ^String (string/replace content
                                                      #"=([0-9A-Fa-f]{2})"
                                                      #(str (char (Integer/parseInt (second %) 16))))
                              StandardCharsets/ISO_8859_1))
      (try
        (Text/decode (.decode (Base64/getDecoder) content))
        (catch IllegalArgumentException _)))))

(defn- address-inside?
  "Returns true if a display name may hold an address. Time is linear in it."
  [text]
  (or (re-find at-sign text)
      (some #(let [decoded (decoded-word %)]
               (or (nil? decoded) (re-find at-sign decoded)))
            (re-seq #"=\?([^?]*)\?([^?]*)\?([^?]*)\?=" text))))

(defn- name-of
  "Returns what stands for a display name; one with an address in it is never kept."
  [redactor text]
  (if (address-inside? text)
    (dropped text)
    (unless-kept redactor :names size text)))

(defn- address-list
  "Returns the value of a field of addresses with others in their places."
  [{:keys [kept?] :as redactor} text]
  (let [entries (for [{:keys [display-name group] :as given} (address/parse-list text)]
                  (cond-> given
                    display-name (update :display-name #(name-of redactor %))
                    group (update :group #(name-of redactor %))
                    (not (kept? :addresses)) (->> (mailbox redactor))))]
    (cond
      (and (kept? :addresses) (kept? :names)) text
      (seq entries) (address/render-list entries)
      :else (dropped text))))

(defn- field-value
  [{:keys [kept-field?] :as redactor} name ^String text]
  (let [name (lower (or name ""))
        space (if (.startsWith text " ") " " "")
        value (subs text (count space))]
    (cond
      (kept-field? name) text
      (address-fields name) (str space (address-list redactor value))
      :else (str space (unless-kept redactor :headers size value)))))

;; ---- macros

(def ^:private macro-kinds
  "What the macros of MTAs hold, and what replaces that; nil for what is harmless."
  (merge
    (zipmap ["auth_ssf" "auth_type" "cipher" "cipher_bits" "client_connections" "client_rate"
             "client_resolve" "daemon_family" "daemon_flags" "daemon_name" "daemon_port" "mail_mailer"
             "msg_size" "nbadrcpts" "nrcpts" "r" "rcpt_mailer" "tls_version" "v" "verify"]
            (repeat nil))
    (zipmap ["mail_addr" "rcpt_addr" "f"] (repeat [:addresses path]))
    (zipmap ["mail_host" "rcpt_host"] (repeat [:addresses host]))
    (zipmap ["client_addr" "client_name" "client_ptr" "daemon_addr" "if_addr" "if_name" "j" "m" "s" "w"]
            (repeat [:clients host]))
    (zipmap ["auth_authen" "auth_author"] (repeat [:users user]))
    (zipmap ["cert_issuer" "cert_subject" "cn_issuer" "cn_subject"] (repeat [:users size]))
    {"_" [:clients size]
     "client_port" [:clients (constantly "0")]
     "i" [:macros (fn [_ text]
                    (if (re-matches #"[0-9A-Za-z]{5,30}" text) text (dropped text)))]}))

(defn- macro
  [{:keys [kept-macro?] :as redactor} name value]
  (let [[kind redact] (get macro-kinds name [:macros size])]
    (if (or (nil? kind) (kept-macro? name))
      value
      (unless-kept redactor kind redact value))))

(defn- macro-name
  [{:keys [kept-macro?] :as redactor} name]
  (if (or (contains? macro-kinds name) (kept-macro? name) (= 1 (count name)))
    name
    (unless-kept redactor :macros #(str "tmp_" (hex %1 %2)) name)))

;; ---- events and actions

(defn- xtext
  "Returns what a value of an ESMTP parameter says (RFC 3461, 4)."
  [text]
  (string/replace text #"\+([0-9A-F]{2})" #(str (char (Integer/parseInt (second %) 16)))))

(defn- as-xtext
  "Returns a text as a value of an ESMTP parameter (RFC 3461, 4)."
  [text]
  (string/replace text #"[^!-~]|[+=]" #(string/join (for [b (Text/encodeBytes %)]
                                                      (text/formatted "+%02X" (bit-and 0xFF (long b)))))))

(defn- kept-recipient
  [redactor recipient]
  (let [given (xtext recipient)
        kept (kept-path redactor given)]
    (if (= given kept) recipient (as-xtext kept))))

(def ^:private harmless-parameter
  (re-pattern (str "(?i)SIZE=[0-9]{1,20}|BODY=(?:7BIT|8BITMIME|BINARYMIME)|RET=(?:FULL|HDRS)|SMTPUTF8|REQUIRETLS|AUTH=<>"
                   "|NOTIFY=(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2})")))

(defn- parameter
  "Returns an ESMTP parameter with another value."
  [{:keys [kept?] :as redactor} text]
  (let [[_ orcpt recipient] (re-matches #"(?is)(ORCPT=(?:rfc822|utf-8);)(.*)" text)
        [_ auth sender] (re-matches #"(?is)(AUTH=)(.*)" text)]
    (cond
      (re-matches harmless-parameter text) text
      orcpt (str orcpt (if (kept? :addresses)
                         (kept-recipient redactor recipient)
                         (path redactor (xtext recipient))))
      auth (str auth (unless-kept redactor :users #(user %1 (xtext %2)) sender))
      :else (unless-kept redactor :texts
                         #(str (or (re-find #"^(?i)ENVID=" %2) "X-") (hex %1 %2))
                         text))))

(defn- command
  "Returns an SMTP command without its arguments. Those of AUTH are a user and a password."
  [{:keys [kept?] :as redactor} text]
  (let [verb (or (re-find #"^(?i)(?:AUTH|BDAT|ETRN|EXPN|HELP|NOOP|STARTTLS|TURN|VRFY|XCLIENT|XFORWARD)\b ?" text)
                 "")
        arguments (subs text (count verb))]
    (str verb (if (and (re-find #"^(?i)AUTH" verb) (not (kept? :users)))
                (dropped arguments)
                (unless-kept redactor :texts size arguments)))))

(defn- redacted-text
  "Returns another text for that under a key of an event or action."
  [redactor {:keys [event name]} k text]
  (case k
    :name (field-name redactor text)
    :value (field-value redactor name text)
    (:host-name :greeting) (unless-kept redactor :clients host text)
    :sender (unless-kept redactor :addresses path text)
    :address (if (= :connect event)
               (unless-kept redactor :clients #(or (ip %1 %2) (dropped %2)) text)
               (unless-kept redactor :addresses path text))
    (:options :parameters) (parameter redactor text)
    :command (command redactor text)
    :enhanced-code (if (re-matches #"[245](?:\.[0-9]{1,3}){2}" text) text (dropped text))
    (:body :data) (unless-kept redactor :bodies size text)
    (unless-kept redactor :texts size text)))

(defn- redacted-value
  [{:keys [kept?] :as redactor} {:keys [event action] :as m} k value]
  (let [undecodable? (= :undecodable (or event action))]
    (cond
      (and (= :port k) (not (kept? :clients))) 0
      (or (nil? value) (keyword? value) (number? value) (boolean? value) (char? value)) value
      (bytes? value) (if (and (kept? :bodies) (not undecodable?)) value (dropped-body value))
      undecodable? (dropped (str value))
      (string? value) (redacted-text redactor m k value)
      (and (#{:options :parameters} k) (sequential? value)) (mapv #(parameter redactor %) value)
      (= :definitions k) (into {} (map (fn [[k v]] [(macro-name redactor k) (macro redactor k v)])) value)
      :else (dropped (pr-str value)))))

(defn- redacted-map
  [redactor {:keys [event] :as m}]
  (if (= :options event)
    m
    (reduce-kv #(assoc %1 %2 (redacted-value redactor m %2 %3)) m m)))

(defn- peer
  [redactor text]
  (let [[_ before address] (re-matches #"(?s)(inet6?:[0-9]+@)(.*)" text)]
    (if address
      (str before (host redactor address))
      "unix:")))

(defn redacted
  "Returns the recording without what the option :redact of a recorder does not keep. What it has lost is
  named by its :redacted."
  [recording {:keys [keep keep-headers keep-macros key]}]
  (let [redactor {:hash (hasher key)
                  :kept? (set keep)
                  :kept-field? (into #{} (map lower) keep-headers)
                  :kept-macro? (into #{} (map #(string/replace % #"^\{|\}$" "")) keep-macros)}
        clean #(redacted-map redactor %)]
    (-> recording
        (update :peer #(some->> % (unless-kept redactor :clients peer)))
        (update :conversation (partial mapv #(-> %
                                                 (update :event clean)
                                                 (update :response (fn [response]
                                                                     (some->> response (mapv clean)))))))
        recording-file/with-queue-ids
        (assoc :redacted (into (sorted-set) (remove (set keep)) kinds)))))
