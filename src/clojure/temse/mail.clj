(ns temse.mail
  "Mails as values: read from strings, files and mailboxes, and written back.

  A message is {:sender \"<a@example.org>\" :options [\"SIZE=100\"]
  :recipients [\"<b@example.com>\"] :headers [[\"Subject\" \"hi\"]] :body bytes}: the addresses as in
  MAIL FROM and RCPT TO, :options the ESMTP parameters of the sender, the value of a header field
  without the space after the colon and with its folds as LF and white space, the body with CR LF
  line ends. It may have :recipient-options, a vector of ESMTP parameters for each recipient. Where
  no space follows the colon, [\"Subject\" \"hi\" \"hi\"] has as third what does.

  Texts are lossless: what is no UTF-8 survives reading and writing.

    (read-eml (io/file \"spam.eml\"))
    ;=> {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"] …}"
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (java.io ByteArrayOutputStream File InputStream)
   (java.net URL)
   (java.nio.file Files Path)
   (temse.client Mail Mail$Field)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private default-message
  {:sender "<sender@example.org>"
   :options []
   :recipients ["<recipient@example.com>"]
   :headers [["From" "sender@example.org"]
             ["To" "recipient@example.com"]
             ["Subject" "A test"]]
   :body "This is a test.\r\n"})

(def ^:private envelope-table
  {:sender ["an address such as \"<a@example.org>\"" string?]
   :options ["a vector of strings" keys/strings?]
   :recipients ["a vector of addresses" keys/strings?]
   :recipient-options ["a vector of vectors of strings, one for each recipient"
                       #(and (or (nil? %) (sequential? %)) (every? keys/strings? %))]})

(defn- field?
  [x]
  (and (sequential? x) (<= 2 (count x) 3) (every? string? x)))

(defn- body?
  [x]
  (or (nil? x) (string? x) (bytes? x) (and (sequential? x) (every? body? x))))

(def ^:no-doc message-table
  "What the keys of a message map must be."
  (assoc envelope-table
         :headers ["a sequence of [name value]"
                   #(and (or (nil? %) (coll? %)) (every? field? %))]
         :body ["a string, bytes or a sequence of these" body?]
         :quarantine ["a reason, a string" #(or (nil? %) (string? %))]))

(def ^:private whole-message-table
  (assoc envelope-table :message ["a mail: a string, bytes, a File, a Path, a URL or an InputStream"
                                  any?]))

;; ---- sources

(defn- source?
  [given]
  (or (bytes? given)
      (some #(instance? % given) [String File Path URL InputStream])))

(defn- source-bytes
  ^bytes [source]
  (cond
    (string? source) (Text/encodeBytes source)
    (bytes? source) source
    (instance? Path source) (Files/readAllBytes source)
    (source? source) (with-open [in (io/input-stream source)]
                       (.readAllBytes ^InputStream in))
    :else (throw (IllegalArgumentException.
                   (str "a mail is read from a string, bytes, a File, a Path, a URL or an"
                        " InputStream, not " (class source))))))

(defn- body-bytes
  ^bytes [body]
  (cond
    (nil? body) (byte-array 0)
    (bytes? body) body
    (string? body) (Text/encodeBytes body)
    (sequential? body) (let [joined (ByteArrayOutputStream.)]
                         (run! #(.writeBytes joined (body-bytes %)) body)
                         (.toByteArray joined))
    :else (throw (IllegalArgumentException.
                   (str "a body must be a string, bytes or a sequence of these, not "
                        (class body))))))

;; ---- envelopes

(def ^:private address-token
  "What an address list is made of (RFC 5322, section 3.4): quoted strings, comments, addresses in
  angle brackets, domain literals, separators and the rest."
  (re-pattern (str "\"(?:[^\"\\\\]++|\\\\.)*+\""
                   "|\\((?:[^()\\\\]++|\\\\.|\\((?:[^()\\\\]++|\\\\.)*+\\))*+\\)"
                   "|<(?:\"(?:[^\"\\\\]++|\\\\.)*+\"|[^\">])*+>"
                   "|\\[[^\\]]*+\\]"
                   "|[,:;]"
                   "|\\s++"
                   "|[^\"(<\\[,:;\\s]++"
                   "|.")))

(defn- mailbox-address
  "Returns the address that the tokens of one mailbox hold, in angle brackets, or nil."
  [tokens]
  (or (first (filter #(string/starts-with? % "<") tokens))
      (let [bare (string/join (remove #(re-find #"^[\s(]" %) tokens))]
        (when (string/includes? bare "@")
          (str "<" bare ">")))))

(defn- addresses
  "Returns the addresses in the value of a field such as To, in angle brackets; names of groups go."
  [value]
  (->> (re-seq address-token value)
       (reduce (fn [mailboxes token]
                 (case token
                   ("," ";") (conj mailboxes [])
                   ":" (conj (pop mailboxes) [])
                   (conj (pop mailboxes) (conj (peek mailboxes) token))))
               [[]])
       (keep mailbox-address)))

(defn- field-addresses
  [headers field-name]
  (mapcat (fn [[given value]] (when (.equalsIgnoreCase ^String field-name given) (addresses value)))
          headers))

(defn- header-envelope
  "Returns the envelope that the header fields suggest: :sender and :recipients."
  [headers]
  (let [sender (first (mapcat #(field-addresses headers %) ["Return-Path" "From"]))
        recipients (vec (distinct (mapcat #(field-addresses headers %) ["To" "Cc" "Bcc"])))]
    (cond-> {}
      sender (assoc :sender sender)
      (seq recipients) (assoc :recipients recipients))))

;; ---- messages

(defn- with-recipient-options
  ^Mail [^Mail mail {:keys [recipient-options]}]
  (cond-> mail
    (seq recipient-options) (.withRecipientParameters (mapv vec recipient-options))))

(defn- parsed
  "Returns the mail that a source holds. What the envelope lacks follows from the header."
  ^Mail [source {:keys [options] :as envelope}]
  (let [mail (Mail/parse nil [] (source-bytes source))
        {:keys [sender recipients]} (merge default-message
                                           (header-envelope (:headers (.toMap mail)))
                                           envelope)]
    (with-recipient-options
      (Mail. sender (vec options) (vec recipients) (.headers mail) (.body mail))
      envelope)))

(defn- field
  [[field-name value raw]]
  (Mail$Field. field-name (or raw (str " " value))))

(defn ->mail
  "Returns the Mail, as the MTA side of temse.client sends it, of what a user gives: a message whose
  missing keys are filled in, a map with a whole mail under :message and perhaps an envelope beside
  it, or a source as for `read-eml`.

    (->mail {:headers [[\"Subject\" \"hi\"]]})"
  ^Mail [given]
  (cond
    (instance? Mail given)
    given

    (and (map? given) (contains? given :message))
    (parsed (:message given) (keys/check "a mail with a :message" given whole-message-table))

    (map? given)
    (let [{:keys [sender options recipients headers body]} (merge default-message given)]
      (keys/check "a mail" given message-table)
      (-> (Mail. sender (vec options) (vec recipients) (mapv field headers) (byte-array 0))
          (.withBody (if (sequential? body) (mapv body-bytes body) [(body-bytes body)]))
          (with-recipient-options given)))

    (source? given)
    (parsed given {})

    :else
    (throw (IllegalArgumentException.
             (str "a mail must be a map, a string, or a File, Path, URL, InputStream or byte array,"
                  " not " (class given))))))

(defn message
  "Returns the message map, with all its keys, of what `->mail` takes.

    (message {:headers [[\"Subject\" \"hi\"]]})"
  [given]
  (.toMap (->mail given)))

(defn read-eml
  "Returns the message in the Internet message format (RFC 5322) that a File, Path, URL,
  InputStream, byte array or string holds; a string is the mail itself, not its name. Lines end in
  CR LF or LF.

  The envelope is the one given, {:sender :options :recipients}. What that lacks follows from the
  header: the sender is the Return-Path or else the first address of From, the recipients are the
  addresses of To, Cc and Bcc. Where there are none, it is <sender@example.org> and
  <recipient@example.com>.

    (read-eml (io/resource \"spam.eml\") {:recipients [\"<me@example.com>\"]})"
  ([source]
   (read-eml source {}))
  ([source envelope]
   (.toMap (parsed source (keys/check "an envelope" envelope envelope-table)))))

(defn- lines
  "Returns the lines of a text with their ends."
  [text]
  (re-seq #"[^\n]*+\n|[^\n]++" text))

(defn- blank-line?
  [line]
  (contains? #{"\n" "\r\n"} line))

(defn- mbox-sender
  "Returns the sender that a From_ line names, in angle brackets, or nil."
  [from-line]
  (let [sender (str (second (re-find #"^From +(\S+)" from-line)))]
    (cond
      (= "MAILER-DAEMON" sender) "<>"
      (string/includes? sender "@") (str "<" sender ">"))))

(defn- mbox-message
  "Returns the message of a From_ line and the lines that follow it."
  [from-line content envelope]
  (let [content (cond-> content (and (blank-line? (peek content)) (next content)) pop)
        text (string/join (map #(string/replace-first % #"^>(>*From )" "$1") content))
        message (read-eml text envelope)
        sender (when (empty? (field-addresses (:headers message) "Return-Path"))
                 (mbox-sender from-line))]
    (merge message (when sender {:sender sender}) envelope)))

(defn read-mbox
  "Returns the messages of a mailbox file in the mbox format (RFC 4155) as a vector; sources are
  those of `read-eml`, and so is the envelope, given for all of them, but that the From_ line tells
  the sender where there is no Return-Path.

  A message begins at a line \"From \" at the very beginning or after an empty line. One \">\" is
  taken from lines such as \">From \" and \">>From \", which is right for the variants mboxrd and,
  except for lines that were \">From \" when they were sent, mboxo.

    (map #(:verdict (run-message filter %)) (read-mbox (io/file \"inbox.mbox\")))"
  ([source]
   (read-mbox source {}))
  ([source envelope]
   (keys/check "an envelope" envelope envelope-table)
   (loop [[line & more] (lines (Text/decode (source-bytes source)))
          after-blank? true
          from-line nil
          content []
          messages []]
     (let [done #(cond-> messages from-line (conj (mbox-message from-line content envelope)))]
       (cond
         (nil? line)
         (done)

         (and after-blank? (string/starts-with? line "From "))
         (recur more false line [] (done))

         from-line
         (recur more (blank-line? line) from-line (conj content line) messages)

         (blank-line? line)
         (recur more true nil [] messages)

         :else
         (throw (IllegalArgumentException.
                  "a mailbox must begin with a line such as \"From a@example.org …\"")))))))

(defn message-text
  "Returns the header and body of what `message` takes as text with CR LF line ends; the envelope is
  not part of it.

    (message-text (:message (run-message filter mail)))"
  [given]
  (let [{:keys [headers body]} (message given)
        header (map (fn [[field-name value raw]] (str field-name ":" (or raw (str " " value)) "\n"))
                    headers)]
    (str (string/replace (str (string/join header) "\n") #"\r?\n" "\r\n")
         (Text/decode body))))

(defn message-bytes
  "Returns the bytes of `message-text`, as a file holds them.

    (io/copy (message-bytes message) (io/file \"changed.eml\"))"
  ^bytes [given]
  (Text/encodeBytes (message-text given)))
