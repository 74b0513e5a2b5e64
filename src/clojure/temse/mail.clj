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
   [temse.address :as address]
   [temse.impl.keys :as keys])
  (:import
   (java.io ByteArrayOutputStream File InputStream OutputStream)
   (java.net URL)
   (java.nio.charset StandardCharsets)
   (java.nio.file Files Path)
   (java.util Arrays)
   (temse.client Mail Mail$Field)
   (temse.message Body)
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
  (or (nil? x) (string? x) (bytes? x) (instance? Body x)
      (and (sequential? x) (every? body? x))))

(def ^:private message-table
  "What the keys of a message map must be."
  (assoc envelope-table
         :headers ["a sequence of [name value]"
                   #(and (or (nil? %) (coll? %)) (every? field? %))]
         :body ["a string, bytes, a Body or a sequence of these" body?]
         :quarantine ["a reason, a string" #(or (nil? %) (string? %))]
         :client ["a map" #(or (nil? %) (map? %))]
         :macros ["a map of stage to map of name to value" #(or (nil? %) (map? %))]
         :queue-id ["a string" #(or (nil? %) (string? %))]
         :at ["an event" #(or (nil? %) (keyword? %))]
         :truncated? ["true or false" #(or (nil? %) (boolean? %))]))

(def ^:private whole-message-table
  (assoc envelope-table :message ["a mail: a string, bytes, a File, a Path, a URL or an InputStream"
                                  any?]))

(defn- check-texts
  "Throws :bad-options for a text of the envelope that cannot be sent in an SMTP command, and for a
  header field or body that cannot be sent at all."
  [what {:keys [sender options recipients recipient-options headers body]}]
  (let [each (fn [path kind texts]
               (doall (map-indexed #(keys/check-text what (conj path %1) kind %2) texts)))]
    (when sender
      (keys/check-text what :sender :line sender))
    (each [:options] :line options)
    (each [:recipients] :line recipients)
    (doall (map-indexed #(each [:recipient-options %1] :line %2) recipient-options))
    (doall (map-indexed (fn [i [field-name & values]]
                          (keys/check-text what [:headers i 0] :field-name field-name)
                          (run! #(keys/check-text what [:headers i 1] :text %) values))
                        headers))
    (cond
      (string? body) (keys/check-text what :body :text body)
      (sequential? body) (each [:body] :text (map #(if (string? %) % "") body)))))

(defn- check-given
  [what given table]
  (keys/check what given table)
  (check-texts what given))

(defn ^:no-doc check-message
  "Throws :bad-options that names the key of a message map that is unknown or wrong; `what` says what the
  map is, such as \"a message\"."
  [what given]
  (check-given what given message-table))

;; ---- sources

(defn- source?
  [given]
  (or (bytes? given)
      (some #(instance? % given) [String File Path URL InputStream])))

(defn- source-bytes
  ^bytes [source]
  (cond
    (string? source) (do (keys/check-text nil 'mail :text source)
                         (Text/encodeBytes source))
    (bytes? source) source
    (instance? Path source) (Files/readAllBytes source)
    (source? source) (with-open [in (io/input-stream source)]
                       (.readAllBytes ^InputStream in))
    :else (throw (IllegalArgumentException.
                   (str "a mail is read from a string, bytes, a File, a Path, a URL or an"
                        " InputStream, not " (class source))))))

(defn- octets
  "Returns bytes as a string of one character each."
  ^String [^bytes data]
  (String. data StandardCharsets/ISO_8859_1))

(defn- octet-bytes
  ^bytes [^String text]
  (.getBytes text StandardCharsets/ISO_8859_1))

(defn body-bytes
  "Returns the bytes of a body: of a string, bytes, a temse.message.Body, a sequence of these, or nil.

    (body-bytes (:body message))"
  ^bytes [body]
  (cond
    (nil? body) (byte-array 0)
    (bytes? body) body
    (instance? Body body) (.bytes ^Body body)
    (string? body) (Text/encodeBytes body)
    (sequential? body) (let [joined (ByteArrayOutputStream.)]
                         (run! #(.writeBytes joined (body-bytes %)) body)
                         (.toByteArray joined))
    :else (throw (IllegalArgumentException.
                   (str "a body must be a string, bytes, a Body or a sequence of these, not "
                        (class body))))))

;; ---- envelopes

(defn- values-of
  [headers field-name]
  (for [[given value] headers
        :when (.equalsIgnoreCase ^String field-name given)]
    value))

(defn- path
  "Returns an address as in MAIL FROM and RCPT TO, or nil if it has no domain."
  [{:keys [domain null?] :as address}]
  (when (or domain null?)
    (address/render-path (dissoc address :route))))

(defn- field-paths
  "Returns the addresses in the header fields of a name."
  [headers field-name]
  (keep path (mapcat address/parse-list (values-of headers field-name))))

(defn- first-word
  "Returns a text up to the first space that is not in quotes."
  [^String text]
  (loop [i 0
         quoted? false]
    (let [c (when (< i (.length text)) (.charAt text i))]
      (cond
        (or (nil? c) (and (Character/isWhitespace (char c)) (not quoted?))) (subs text 0 i)
        (= \\ c) (recur (min (+ i 2) (.length text)) quoted?)
        :else (recur (inc i) (if (= \" c) (not quoted?) quoted?))))))

(defn- from-line-sender
  "Returns the sender that a From_ line names, or nil."
  [^bytes source]
  (when-let [[_ line] (re-find #"^From +([^\r\n]*)" (octets (Arrays/copyOf source 1000)))]
    (let [sender (first-word (Text/decode (octet-bytes line)))]
      (if (= "MAILER-DAEMON" sender)
        "<>"
        (path (address/parse-path sender))))))

(defn- header-envelope
  "Returns the envelope that the header fields and the From_ line of a mail suggest: :sender and
  :recipients."
  [headers from-line-sender]
  (let [sender (or (some (comp path address/parse-path) (values-of headers "Return-Path"))
                   from-line-sender
                   (first (field-paths headers "From")))
        recipients (vec (distinct (mapcat #(field-paths headers %) ["To" "Cc" "Bcc"])))]
    (cond-> {}
      sender (assoc :sender sender)
      (seq recipients) (assoc :recipients recipients))))

;; ---- messages

(defn- with-recipient-options
  ^Mail [^Mail mail {:keys [recipient-options]}]
  (cond-> mail
    (seq recipient-options) (.withRecipientParameters (mapv vec recipient-options))))

(defn- parsed
  "Returns the mail that bytes hold. What the envelope lacks follows from the header."
  ^Mail [^bytes source {:keys [options] :as envelope}]
  (let [source (Mail/plainLines source)
        mail (Mail/parse nil [] source)
        headers (:headers (.toMap mail))
        {:keys [sender recipients]} (merge default-message
                                           (header-envelope headers (from-line-sender source))
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
    (do (check-given "a mail with a :message" given whole-message-table)
        (parsed (source-bytes (:message given)) given))

    (map? given)
    (let [{:keys [sender options recipients headers body]} (merge default-message given)]
      (check-message "a mail" given)
      (-> (Mail. sender (vec options) (vec recipients) (mapv field headers) (byte-array 0))
          (.withBody (if (sequential? body) (mapv body-bytes body) [(body-bytes body)]))
          (with-recipient-options given)))

    (source? given)
    (parsed (source-bytes given) {})

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
  CR LF or LF, or all of them in CR. Whatever the bytes are, they are a mail: lines before the first
  empty one that are no header fields begin the body. A byte order mark is left out, and so are lines
  \"From \" and \">From \" above the header, which mailboxes and UUCP put there.

  The envelope is the one given, {:sender :options :recipients}. What that lacks follows from the
  mail: the sender is the Return-Path, else the sender in a line \"From \" above the header, else the
  first address of From; the recipients are the addresses of To, Cc and Bcc. Where there are none, it
  is <sender@example.org> and <recipient@example.com>. See temse.address for how they are read.

    (read-eml (io/resource \"spam.eml\") {:recipients [\"<me@example.com>\"]})"
  ([source]
   (read-eml source {}))
  ([source envelope]
   (check-given "an envelope" envelope envelope-table)
   (.toMap (parsed (source-bytes source) envelope))))

(defn message-text
  "Returns the header and body of what `message` takes as text with CR LF line ends; the envelope is
  not part of it.

    (message-text (:message (run-message filter mail)))"
  [given]
  (let [{:keys [headers body]} (message given)
        header (map (fn [[field-name value raw]] (str field-name ":" (or raw (str " " value)) "\n"))
                    headers)]
    (str (string/replace (str (string/join header) "\n") "\n" "\r\n")
         (Text/decode body))))

(defn message-bytes
  "Returns the bytes of `message-text`, as a file holds them.

    (io/copy (message-bytes message) (io/file \"changed.eml\"))"
  ^bytes [given]
  (Text/encodeBytes (message-text given)))

;; ---- header fields

(defn- named?
  [field-name [given]]
  (.equalsIgnoreCase ^String field-name given))

(defn header
  "Returns the value of the first of the header fields that has the name, in any case of letters, or
  nil.

    (header [[\"Subject\" \"hi\"]] \"subject\") ;=> \"hi\""
  [headers field-name]
  (second (first (filter #(named? field-name %) headers))))

(defn header-values
  "Returns the values of all header fields that have the name, a vector.

    (header-values [[\"To\" \"a@b.c\"] [\"TO\" \"d@e.f\"]] \"To\") ;=> [\"a@b.c\" \"d@e.f\"]"
  [headers field-name]
  (into [] (comp (filter #(named? field-name %)) (map second)) headers))

(defn add-header
  "Returns the header fields with one more at the end.

    (add-header [[\"Subject\" \"hi\"]] \"X-Seen\" \"yes\") ;=> [[\"Subject\" \"hi\"] [\"X-Seen\" \"yes\"]]"
  [headers field-name value]
  (conj (vec headers) [field-name value]))

(defn insert-header
  "Returns the header fields with one more at a position, 0 being the top. Throws an
  IndexOutOfBoundsException if there are fewer fields.

    (insert-header [[\"Subject\" \"hi\"]] 0 \"X-Seen\" \"yes\") ;=> [[\"X-Seen\" \"yes\"] [\"Subject\" \"hi\"]]"
  [headers position field-name value]
  (let [headers (vec headers)]
    (-> (subvec headers 0 position)
        (conj [field-name value])
        (into (subvec headers position)))))

(defn remove-headers
  "Returns the header fields without those that have the name, or of these only those whose value
  fulfils `pred`.

    (remove-headers [[\"Bcc\" \"a@b.c\"] [\"To\" \"d@e.f\"]] \"bcc\") ;=> [[\"To\" \"d@e.f\"]]"
  ([headers field-name]
   (remove-headers headers field-name any?))
  ([headers field-name pred]
   (into [] (remove #(and (named? field-name %) (pred (second %)))) headers)))

(defn update-headers
  "Returns the header fields where each that has the name has as value what f returns of its value
  and args; where that is nil, the field is left out.

    (update-headers [[\"Subject\" \"hi\"]] \"Subject\" #(str \"[list] \" %)) ;=> [[\"Subject\" \"[list] hi\"]]"
  [headers field-name f & args]
  (into []
        (keep (fn [[given value :as field]]
                (if (named? field-name field)
                  (let [changed (apply f value args)]
                    (cond
                      (nil? changed) nil
                      (= value changed) field
                      :else [given changed]))
                  field)))
        headers))

(defn set-header
  "Returns the header fields with this value in the first field that has the name, and without
  others of that name; with one more at the end where there was none.

    (set-header [[\"subject\" \"hi\"] [\"Subject\" \"ho\"]] \"Subject\" \"hey\") ;=> [[\"subject\" \"hey\"]]"
  [headers field-name value]
  (if (some #(named? field-name %) headers)
    (let [first? (volatile! true)]
      (update-headers headers field-name (fn [_] (when @first? (vreset! first? false) value))))
    (add-header headers field-name value)))

(def ^:private line-length
  "How many characters a line should have at most (RFC 5322 section 2.1.1)."
  78)

(defn- folded-line
  [length line]
  (let [words (re-seq #"[ \t]*[^ \t]+[ \t]*(?=[ \t]|\z)|[ \t]+\z" line)]
    (loop [text "", used (long length), words words]
      (if-let [^String word (first words)]
        (let [size (count (Text/encodeBytes word))
              folds? (and (< (long line-length) (+ used size))
                          (re-find #"^[ \t]" word)
                          (not (string/blank? text)))]
          (recur (str text (when folds? "\n") word) (long (if folds? size (+ used size))) (rest words)))
        text))))

(defn fold
  "Returns the value of a header field in lines of at most 78 octets where its white space allows
  that, the name with its colon included. White space stays as it is, and so do line ends that are
  there already.

    (fold \"References\" (string/join \" \" message-ids))"
  [field-name value]
  (->> (string/split value #"\n" -1)
       (map folded-line (cons (+ 2 (count field-name)) (repeat 0)))
       (string/join "\n")))

;; ---- mailboxes

(def ^:private mailbox-table
  (assoc envelope-table
         :dialect [":mboxo, :mboxrd, :mboxcl or :mboxcl2" #{:mboxo :mboxrd :mboxcl :mboxcl2}]))

(defn- line-end
  "Returns the offset of the line that follows the one at an offset."
  [^String text ^long start]
  (let [end (.indexOf text "\n" (int start))]
    (if (neg? end) (.length text) (inc end))))

(defn- blank-line?
  [^String text start]
  (or (.startsWith text "\n" (int start)) (.startsWith text "\r\n" (int start))))

(defn- from-line?
  [^String text start]
  (.startsWith text "From " (int start)))

(defn- first-line
  "Returns the offset of the first line from an offset on that is not blank, or of the end."
  [text start]
  (loop [i (long start)]
    (if (blank-line? text i) (recur (long (line-end text i))) i)))

(defn- next-from-line
  "Returns the offset of the next From_ line behind a blank one, or of the end."
  [text start]
  (loop [i (long start)
         after-blank? true]
    (if (or (= i (count text)) (and after-blank? (from-line? text i)))
      i
      (recur (long (line-end text i)) (blank-line? text i)))))

(defn- body-start
  [text start]
  (loop [i (long start)]
    (cond
      (= i (count text)) i
      (blank-line? text i) (line-end text i)
      :else (recur (long (line-end text i))))))

(defn- stated-end
  "Returns the offset at which a body ends by the Content-Length in the header if a message ends
  there, or nil."
  [text header-start body-start]
  (let [header (subs text header-start body-start)
        [_ length] (re-find #"(?imd)^Content-Length:[ \t]*(\d{1,15})[ \t\r]*$" header)
        end (+ (long body-start) (long (if length (parse-long length) (count text))))]
    (when (and (<= end (count text)) (= \newline (get text (dec end))))
      (let [next-line (long (first-line text end))]
        (when (or (= next-line (count text)) (from-line? text next-line))
          end)))))

(defn- unquoted
  "Returns the lines of a message without the quotes before From."
  [text dialect exact?]
  (case (or dialect (if exact? :mboxcl2 :mboxrd))
    :mboxrd (string/replace text #"(?md)^>(>*From )" "$1")
    (:mboxo :mboxcl) (string/replace text #"(?md)^>(From )" "$1")
    :mboxcl2 text))

(defn- mailbox-entry
  "Returns the bytes of the message whose From_ line is at an offset, and where the next one is."
  [text start dialect]
  (let [header (line-end text start)
        body (body-start text header)
        exact (when-not (#{:mboxo :mboxrd} dialect) (stated-end text header body))
        end (or exact (next-from-line text body))
        content (cond-> (subs text header end)
                  (not exact) (string/replace #"(?<=\n)\r?\n\z" ""))]
    [(octet-bytes (str (subs text start header) (unquoted content dialect exact)))
     (first-line text end)]))

(defn read-mbox
  "Returns the messages of a mailbox file in the mbox format (RFC 4155) as a vector; sources are
  those of `read-eml`, and so is the envelope, given for all of them.

  A message begins at a line \"From \" at the very beginning or after an empty line. The dialects
  differ in how they keep a line of this kind inside a message; beside the envelope may be

    :dialect   ; :mboxrd, one \">\" is taken from lines such as \">From \" and \">>From \";
               ; :mboxo, from \">From \" only; :mboxcl, so too, and the message ends where its
               ; Content-Length says; :mboxcl2, it ends there and no \">\" is taken
               ; (default: :mboxcl2 for messages with a Content-Length after which the mailbox ends
               ; or another message begins, :mboxrd for the others)

  A Content-Length that leads elsewhere is ignored.

    (map #(:verdict (run-message filter %)) (read-mbox (io/file \"inbox.mbox\")))"
  ([source]
   (read-mbox source {}))
  ([source options]
   (check-given "an envelope" options mailbox-table)
   (let [{:keys [dialect]} options
         envelope (dissoc options :dialect)
         text (octets (Mail/plainLines (source-bytes source)))
         start (long (first-line text 0))]
     (when-not (or (= start (count text)) (from-line? text start))
       (throw (IllegalArgumentException.
                "a mailbox must begin with a line such as \"From a@example.org …\"")))
     (loop [start start
            messages []]
       (if (= start (count text))
         messages
         (let [[source next-start] (mailbox-entry text start dialect)]
           (recur (long next-start) (conj messages (.toMap (parsed source envelope))))))))))

(defn- mbox-entry
  "Returns a message as it stands in a mailbox. The time of the From_ line is that of RFC 4155 for
  unknown."
  ^bytes [given]
  (let [{:keys [sender]} (message given)
        sender (or (some-> (address/parse-path sender) path) "<>")
        from-line (str "From "
                       (if (= "<>" sender) "MAILER-DAEMON" (subs sender 1 (dec (count sender))))
                       " Thu Jan  1 00:00:00 1970")
        content (octets (message-bytes given))
        quoted (string/replace content #"(?md)^(>*From )" ">$1")
        line-end (if (string/includes? content "\r\r\n") "\r\n" "\n")]
    (octet-bytes (string/replace (str (octets (Text/encodeBytes from-line)) "\r\n" quoted "\r\n")
                                 "\r\n"
                                 line-end))))

(defn write-mbox
  "Writes messages, as `message` takes them, to a mailbox in the dialect mboxrd: a File, a Path, or an
  OutputStream, which is not closed. A mailbox keeps header, body, and the sender in the From_ line;
  it has no room for recipients and parameters. Lines end in LF, or in CR LF for a message that has CR
  CR LF.

    (write-mbox (io/file \"seen.mbox\") [{:headers [[\"Subject\" \"hi\"]]}])"
  [target messages]
  (cond
    (instance? OutputStream target)
    (do (run! #(.write ^OutputStream target (mbox-entry %)) messages)
        (.flush ^OutputStream target))

    (instance? File target)
    (with-open [out (io/output-stream target)]
      (write-mbox out messages))

    (instance? Path target)
    (recur (.toFile ^Path target) messages)

    :else
    (throw (IllegalArgumentException.
             (str "a mailbox is written to a File, a Path or an OutputStream, not " (class target))))))
