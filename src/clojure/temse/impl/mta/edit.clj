(ns temse.impl.mta.edit
  "What both MTAs have in common when they edit a message.

  A field is a temse.compose.internal.Field, which knows all that follows the colon. In the messages of
  users it is [\"Subject\" \"hi\"], see temse.mta."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.address :as address]
   [temse.impl.text :as text])
  (:import
   (java.io ByteArrayOutputStream)
   (java.nio.charset StandardCharsets)
   (temse.client MtaStyle)
   (temse.compose.internal Field)
   (temse.protocol ActionCodec MilterException Packet)))

(set! *warn-on-reflection* true)

;; ---- header fields

(defn ->field
  "Returns the field of a header field in a message."
  [[header-name value raw]]
  (Field/given header-name (or raw (str " " value))))

(defn made-field
  "Returns a field that the MTA itself makes."
  [header-name values]
  (Field/made header-name (get values header-name)))

(defn field->header
  "Returns a field as it stands in a message; one that the MTA made has {:made true} as metadata."
  [^Field field]
  (let [raw (.raw field)]
    (with-meta (if (string/starts-with? raw " ")
                 [(.name field) (subs raw 1)]
                 [(.name field) raw raw])
      (when (.isMade field) {:made true}))))

;; ---- addresses

(def host-name
  "The name of the MTA's host where none is given."
  "mx.example.org")

(defn addresses
  "Returns the addresses that a text names; none for the null path."
  [text]
  (let [{:keys [null?] :as path} (address/parse-path text)]
    (cond
      null? []
      path [path]
      :else (address/parse-list text))))

(defn swapped
  "Returns the address for which example.org!ann or ann%example.org stands where a domain is missing,
  or nil."
  [{:keys [local-part domain] :as address}]
  (when-not (or domain (:quoted? (meta address)))
    (cond
      (string/includes? local-part "!") (address/parse-path (string/replace local-part #"^([^!]+)!(.+)$" "$2@$1"))
      (string/includes? local-part "%") (address/parse-path (string/replace local-part #"%([^%]*)$" "@$1")))))

(defn unbracketed
  "Returns a text without the angle brackets around it."
  [text]
  (string/replace (str text) #"^<|>$" ""))

(defn bracketed
  "Returns an address in angle brackets."
  [address]
  (str "<" address ">"))

(defn well-formed?
  "Returns true if an ESMTP parameter obeys its grammar, as those of this library's filters do."
  [parameter]
  (try
    (ActionCodec/check {:action :change-sender, :address "<>", :parameters [parameter]})
    true
    (catch MilterException _
      false)))

(defn parameter
  "Returns the value of the last of the ESMTP parameters with this keyword, or nil."
  [parameters keyword]
  (->> parameters
       (keep #(second (re-matches (re-pattern (str "(?i)" keyword "=(.*)")) %)))
       last))

(def conditions
  "The conditions of NOTIFY (RFC 3461 section 4.1), in the order in which they are written."
  ["SUCCESS" "FAILURE" "DELAY"])

(defn notify-set
  "Returns the conditions of a NOTIFY parameter as a set, empty for NEVER, or nil if there is none."
  [parameters]
  (some-> (parameter parameters "NOTIFY")
          text/upper-case
          (string/split #",")
          set
          (disj "NEVER")))

(defn- recipient-parameters
  "Returns the parameters that a recipient's :notify and :orcpt make."
  [{:keys [notify orcpt]}]
  (cond-> []
    notify (conj (str "NOTIFY=" (or (not-empty (string/join "," (filter notify conditions)))
                                    "NEVER")))
    orcpt (conj (str "ORCPT=" orcpt))))

(defn- sender-parameters
  "Returns those parameters of a sender that travel to the next hop: RET and ENVID."
  [parameters]
  (for [keyword ["RET" "ENVID"]
        :let [value (parameter parameters keyword)]
        :when value]
    (str keyword "=" (if (= "RET" keyword) (text/upper-case value) value))))

;; ---- bodies

(defn received
  "Returns the message of a client as the MTA of a style takes it in."
  [{:keys [body] :as message} ^MtaStyle style]
  (-> message
      (update :headers
              (fn [headers]
                (mapv (fn [[header-name value raw :as header]]
                        (let [given (or raw (str " " value))
                              taken (.received style header-name given)]
                          (if (identical? given taken)
                            header
                            (field->header (Field/given header-name taken)))))
                      headers)))
      (cond-> (bytes? body) (assoc :body (.received style ^bytes body)))))

(defn stray-cr?
  "Returns true if the message of a client holds a CR that ends no line."
  [{:keys [headers body]}]
  (or (boolean (some (fn [[_ value raw]] (string/includes? (or raw value) "\r")) headers))
      (and (bytes? body) (MtaStyle/hasStrayCr body))))

(defn octets
  "Returns bytes as a string of one character each."
  ^String [^bytes data]
  (String. data StandardCharsets/ISO_8859_1))

(defn octet-bytes
  "Returns the bytes that `octets` were made of."
  ^bytes [^String text]
  (.getBytes text StandardCharsets/ISO_8859_1))

(defn- joined
  "Returns the action that replaces the body by those of the packets."
  [packets]
  (let [body (ByteArrayOutputStream.)]
    (run! #(.writeBytes body (.payload ^Packet %)) packets)
    {:action :change-body, :body (.toByteArray body)}))

(def ^:private reserved
  "What the two reserved replies travel as."
  {:action :reply-code, :smtp-code 421, :enhanced-code "4.7.0"
   :text "Service not available, closing transmission channel"})

(defn as-read
  "Returns an action as the MTA reads it. What no filter of this library could send, as answers of
  other milters, is taken as it is."
  [given]
  (let [{:keys [action] :as named} (ActionCodec/normalise given)]
    (case action
      (:shutdown :connection-failure) reserved
      :reply-code (update named :text str)
      (try
        (let [packets (ActionCodec/packets named)]
          (if (= :change-body action)
            (joined packets)
            (ActionCodec/decode (first packets))))
        (catch MilterException _
          named)))))

(defn- new-octets
  [actions]
  (some->> (filter #(= :change-body (:action %)) actions)
           seq
           (map (comp octets :body))
           string/join))

(defn- ended
  "Returns the body with CR LF line ends and a last line that is ended; a CR alone stays."
  [octets]
  (let [text (string/replace octets #"\r?\n" "\r\n")]
    (if (or (= "" text) (string/ends-with? text "\n"))
      text
      (str text "\r\n"))))

(defn changed-body
  "Returns the body after the modifications among the actions."
  [body actions]
  (if-let [text (new-octets actions)]
    (octet-bytes (ended text))
    body))

;; ---- replies to the SMTP client

(defn reply
  "Returns a reply of the MTA."
  [smtp-code enhanced-code text]
  {:smtp-code smtp-code :enhanced-code enhanced-code :text text})

(defn written-reply
  "Returns the reply that a filter has written, as it travels: several lines always have an enhanced
  code."
  [{:keys [smtp-code enhanced-code text]}]
  (reply smtp-code
         (or enhanced-code
             (when (string/includes? text "\n") (str (quot (long smtp-code) 100) ".0.0")))
         (string/replace text "\r\n" "\n")))

;; ---- messages

(defn edited
  "Returns the message with what an MTA has made of it. :options and :recipient-options are there if
  the message had them, or has parameters now."
  [message {:keys [sender options recipients fields body quarantine]}]
  (let [options (vec (sender-parameters options))
        recipient-options (mapv recipient-parameters recipients)]
    (cond-> (assoc message
                   :sender sender
                   :recipients (mapv #(bracketed (:address %)) recipients)
                   :headers (mapv field->header fields)
                   :body body)
      (or (:options message) (seq options)) (assoc :options options)
      (or (:recipient-options message) (some seq recipient-options))
      (assoc :recipient-options recipient-options)
      quarantine (assoc :quarantine quarantine))))

(defn in-order
  "Returns the message with its recipients, and what belongs to them, in the order of a function of
  all pairs of address and parameters."
  [{:keys [recipients recipient-options] :as message} order]
  (let [pairs (order (map vector recipients (concat recipient-options (repeat []))))]
    (cond-> (assoc message :recipients (mapv first pairs))
      recipient-options (assoc :recipient-options (mapv second pairs)))))
