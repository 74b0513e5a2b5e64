(ns temse.mime
  "Parts of messages (MIME): found, decoded, searched, and replaced where they stand.

  Requires org.apache.james/apache-mime4j-core, which temse does not bring along. A message is a map
  as in temse.mail, {:headers [[\"Subject\" \"hi\"]] :body bytes}; its body may also be a string, a
  sequence of both, or whatever clojure.java.io/input-stream takes; an InputStream can be read once.

  Mail that is broken never makes a function throw: what cannot be taken apart is a part of type
  :unparsed. Time grows with the length of the message alone.

    (for [part (parts message)
          :when (attachment? part)]
      (:filename part))

  Functions that read parts take

    :max-depth         ; how deep parts may lie in each other (default: 100)
    :max-parts         ; how many parts there may be (default: 10000)
    :max-header-bytes  ; bytes that the header of a part may have (default: 102400)"
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.addition :as addition]
   [temse.impl.file-names :as file-names]
   [temse.impl.keys :as keys])
  (:import
   (clojure.lang IReduceInit)
   (java.io ByteArrayOutputStream InputStream)
   (java.util Arrays List Locale)
   (java.util.function BiConsumer)
   (temse.message HeaderField)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(try
  (Class/forName "org.apache.james.mime4j.stream.RawFieldParser")
  (catch ClassNotFoundException _
    (throw (IllegalStateException.
             (str "temse.mime requires mime4j. Add to deps.edn:"
                  " org.apache.james/apache-mime4j-core {:mvn/version \"0.8.14\"};"
                  " or to project.clj: [org.apache.james/apache-mime4j-core \"0.8.14\"];"
                  " or to pom.xml: <dependency><groupId>org.apache.james</groupId>"
                  "<artifactId>apache-mime4j-core</artifactId><version>0.8.14</version></dependency>")))))

(import
  '(temse.mime ContentStream EncodedWords MimeEditor MimeLimits MimePart
               MimePart$Protection MimePart$Reason TextScanner))

;; ---- options

(defn- amount?
  [x]
  (and (int? x) (<= 1 (long x) Integer/MAX_VALUE)))

(def ^:private limits-table
  {:max-depth ["a number, 1 or more" amount? 100]
   :max-parts ["a number, 1 or more" amount? 10000]
   :max-header-bytes ["a number of bytes, 1 or more" amount? 102400]})

(def ^:private search-table
  (assoc limits-table
         :overlap ["a number of characters, 0 or more" #(and (int? %) (<= 0 (long %) 1000000)) 0]))

(def ^:private edit-table
  (assoc limits-table :force? (conj keys/truth false)))

(defn- limits
  ^MimeLimits [{:keys [max-depth max-parts max-header-bytes]}]
  (MimeLimits. (int max-depth) (int max-parts) (int max-header-bytes)))

;; ---- messages

(defn- fields
  "Returns header fields as Java has them."
  ^List [headers]
  (mapv (fn [[field-name value raw]]
          (if raw (HeaderField/ofRaw field-name raw) (HeaderField. field-name value)))
        headers))

(defn- header-vectors
  [fields]
  (mapv (fn [^HeaderField field]
          (cond-> [(.name field) (.value field)]
            (not (.spaced field)) (conj (.raw field))))
        fields))

(defn- body-bytes
  "Returns the bytes of a body."
  ^bytes [body]
  (cond
    (nil? body) (byte-array 0)
    (bytes? body) body
    (string? body) (Text/encodeBytes body)
    (sequential? body) (let [joined (ByteArrayOutputStream.)]
                         (run! #(.writeBytes joined (body-bytes %)) body)
                         (.toByteArray joined))
    :else (with-open [in (io/input-stream body)]
            (.readAllBytes ^InputStream in))))

(defn- open-body
  "Returns a stream of the bytes of a body."
  ^InputStream [body]
  (io/input-stream (if (or (nil? body) (string? body) (sequential? body)) (body-bytes body) body)))

(defn- scan
  "Gives a body to a scanner, piece by piece, until `done?` returns true."
  [^TextScanner scanner body done?]
  (with-open [in (open-body body)]
    (let [buffer (byte-array 8192)]
      (loop []
        (let [n (.read in buffer)]
          (when-not (neg? n)
            (.accept scanner buffer 0 n)
            (when-not (done?)
              (recur)))))))
  (when-not (done?)
    (.finish scanner)))

;; ---- parts as maps

(def ^:private protections
  {MimePart$Protection/SIGNED :signed
   MimePart$Protection/ENCRYPTED :encrypted})

(defn- lower-name
  [^Enum value]
  (keyword (string/replace (.toLowerCase (.name value) Locale/ROOT) \_ \-)))

(defn- part-map
  [^MimePart part]
  (let [^MimePart$Reason reason (.reason part)
        filename (.filename part)]
    (cond-> {:path (.path part)
             :type (if reason :unparsed (.type part))
             :parameters (into {} (.parameters part))
             :encoding (.encoding part)
             :headers (header-vectors (.headers part))
             :start (.start part)
             :content-start (.contentStart part)
             :within (into () (map #(.type ^MimePart %))
                           (take-while some? (iterate #(.parent ^MimePart %) (.parent part))))}
      reason (assoc :reason (lower-name reason) :declared-type (.type part))
      (.charset part) (assoc :charset (.charset part))
      (.disposition part) (assoc :disposition (.disposition part))
      filename (assoc :filename filename)
      (.protection part) (assoc :protection (protections (.protection part)))
      (<= 0 (.end part)) (assoc :end (.end part))
      (.isContainer part) (assoc :container? true)
      (and (.isContainer part) (string/starts-with? (.type part) "multipart/"))
      (assoc :closed? (.isClosed part)))))

;; ---- predicates

(defn text?
  "Returns true for a part of plain text or HTML that is no attachment."
  [{:keys [type disposition]}]
  (and (contains? #{"text/plain" "text/html"} type) (not= "attachment" disposition)))

(defn attachment?
  "Returns true for a part that is kept in a file: its disposition says so, or it has a file name and
  is not shown inline."
  [{:keys [disposition filename container?]}]
  (and (not container?)
       (or (= "attachment" disposition)
           (and (some? filename) (not= "inline" disposition)))))

(defn signed?
  "Returns true for a part that a signature covers, and for the signature (OpenPGP, S/MIME)."
  [{:keys [protection]}]
  (= :signed protection))

(defn encrypted?
  "Returns true for a part that is encrypted (OpenPGP, S/MIME)."
  [{:keys [protection]}]
  (= :encrypted protection))

(defn calendar?
  "Returns true for an invitation or the answer to one: a calendar that is no attachment."
  [{:keys [type disposition]}]
  (and (= "text/calendar" type) (not= "attachment" disposition)))

(defn report?
  "Returns true for a report, such as a bounce or a receipt (RFC 6522)."
  [{:keys [type]}]
  (= "multipart/report" type))

(defn body-text?
  "Returns true for a part that mail readers show as the text of the message, and that may be
  changed: plain text or HTML, each version of a multipart/alternative. Attachments are none, nor are
  the parts of a message that is attached, signed, encrypted (with OpenPGP in the text, too), a
  report or an invitation."
  [part]
  (true? (:body? part)))

(defn filenames
  "Returns every name that some mail reader may give the file of a part: its :filename, and what else may be
  taken from Content-Disposition and Content-Type where fields and parameters are broken, come twice, are
  encoded with %, or have comments or backslashes. A vector, which is empty if there is no name. A filter of names
  looks at all of them.

    (filenames part)   ;=> [\"name.()bat\" \"name.bat\"]"
  [part]
  (file-names/all part))

;; ---- the text that readers show

(def ^:private deepest-body 100)

(defn- main-parts
  "Returns the paths of the parts that hold the text of a message, below one of its parts."
  [by-path {:keys [path type parameters encoding filename disposition container?] :as part}]
  (let [children (take-while some? (map #(by-path (conj path %)) (iterate inc 1)))]
    (cond
      (not container?)
      (when (and (text? part)
                 (or (nil? filename) (= "inline" disposition) (= [] path))
                 (contains? #{"7bit" "8bit" "binary" "base64" "quoted-printable"} encoding))
        [path])

      (or (< (long deepest-body) (count path)) (= "attachment" disposition)
          (not (string/starts-with? type "multipart/")))
      nil

      (= "multipart/alternative" type)
      (mapcat #(main-parts by-path %) children)

      (= "multipart/related" type)
      (let [id (get parameters "start")
            root (or (when id
                       (first (filter #(some (fn [[n v]] (and (.equalsIgnoreCase "Content-ID" n)
                                                              (= (string/trim v) id)))
                                             (:headers %))
                                      children)))
                     (first children))]
        (when root (main-parts by-path root)))

      :else
      (first (keep #(seq (main-parts by-path %)) children)))))

(defn- untouchable?
  "Returns true for a part that makes the whole message one that is left alone."
  [{:keys [within] :as part}]
  (and (not-any? #(string/starts-with? % "message/") within)
       (or (:protection part) (report? part) (calendar? part))))

(defn- with-bodies
  "Returns the parts; those that hold the text of the message have :body?."
  [part-maps pgp?]
  (if (or pgp? (some untouchable? part-maps))
    part-maps
    (let [by-path (into {} (map (juxt :path identity)) part-maps)
          bodies (set (main-parts by-path (by-path [])))]
      (mapv #(if (bodies (:path %)) (assoc % :body? true) %) part-maps))))

;; ---- reading

(defn- chunk-sink
  "Returns a BiConsumer that calls f with {:part :text}; each text begins with the end of the one
  before if both are of the same part."
  ^BiConsumer [f overlap]
  (let [overlap (long overlap)
        before (volatile! nil)]
    (reify BiConsumer
      (accept [_ part piece]
        (let [[known known-map tail] @before
              goes-on? (identical? known part)
              this (if goes-on? known-map (part-map part))
              text (if goes-on? (str tail piece) (str piece))]
          (vreset! before [part this (subs text (max 0 (- (count text) overlap)))])
          (f {:part this, :text text}))))))

(def ^:private pgp-begins #"(?m)^-----BEGIN PGP (?:SIGNED )?MESSAGE-----")

(defn- pgp-finder
  "Returns a BiConsumer of texts that sets a volatile if one that may be the text of a message holds
  OpenPGP."
  ^BiConsumer [found?]
  (let [before (volatile! nil)]
    (reify BiConsumer
      (accept [_ part piece]
        (when-not (or @found? (not (string/starts-with? (.type ^MimePart part) "text/")))
          (let [[known tail] @before
                text (if (identical? known part) (str tail piece) (str piece))]
            (vreset! before [part (subs text (max 0 (- (count text) 40)))])
            (when (and (string/includes? text "-----BEGIN PGP") (re-find pgp-begins text))
              (vreset! found? (not= "attachment" (.disposition ^MimePart part))))))))))

(defn- found
  "Returns the maps of the parts of a message."
  [{:keys [headers body]} options]
  (let [pgp? (volatile! false)
        scanner (TextScanner. (fields headers) (limits options) (pgp-finder pgp?))]
    (scan scanner body (constantly false))
    (with-bodies (mapv part-map (.found scanner)) @pgp?)))

(defn parts
  "Returns the parts of a message in the order in which they begin, as a vector of maps. The first one
  is the message itself; it has the path []. Positions are bytes from the beginning of the body.

    {:path [2 1]              ; the first part of the second part of the message
     :type \"text/plain\"       ; in lower case, or :unparsed
     :parameters {\"charset\" \"utf-8\"}
     :charset \"utf-8\"         ; as it is named, if it is
     :encoding \"base64\"       ; the transfer encoding (default: \"7bit\")
     :disposition \"attachment\", :filename \"Grüße.txt\"  ; decoded, if there are any
     :headers [[name value]]  ; those of the message for the message itself
     :start 120, :content-start 180, :end 400
     :within (\"multipart/mixed\" \"message/rfc822\")  ; what it lies in, from outside
     :container? true         ; if it consists of others: a multipart or message
     :closed? true            ; for a multipart, whether its end was found
     :protection :signed      ; or :encrypted, if it is or lies in a part that is
     :body? true}             ; see `body-text?`

  A part that could not be taken apart is :unparsed, its Content-Type is :declared-type, and :reason
  is one of

    :no-boundary       ; a multipart without boundary, or one of more than 1000 bytes
    :boundary-missing  ; a multipart in which no line begins a part
    :too-deep :too-many-parts :header-too-long  ; a limit is exceeded; see the namespace

    (map :type (parts message))
    ;=> (\"multipart/alternative\" \"text/plain\" \"text/html\")"
  ([message]
   (parts message {}))
  ([message options]
   (found message (keys/with-defaults "the options of parts" options limits-table))))

(defn content-stream
  "Returns the content of a part, without its transfer encoding, as an InputStream, which is to be
  closed. The part is one of `parts`; the body of the message is read again.

    (with-open [in (content-stream message part)]
      (io/copy in (io/file \"attachment\")))"
  ^InputStream [message {:keys [type encoding content-start end]}]
  (ContentStream. (if (= :unparsed type) "binary" encoding)
                  (long content-start) (long end) (open-body (:body message))))

(defn content
  "Returns the content of a part, without its transfer encoding, as a byte array.

    (alength (content message part))"
  ^bytes [message part]
  (with-open [in (content-stream message part)]
    (.readAllBytes in)))

(defn text
  "Returns the content of a part decoded from transfer encoding and charset, whatever its type. A byte
  that the charset does not know is a lone surrogate U+DC00 + byte; without a charset, with US-ASCII
  and with one that Java does not know, bytes are read as UTF-8.

    (map #(text message %) (filter body-text? (parts message)))"
  ^String [message part]
  (MimeEditor/decode (content message part) (:charset part)))

(defn decode-header
  "Returns the value of a header field as text: encoded words decoded (RFC 2047), also where a
  character is split over several, and unfolded. What is no encoded word stays as it is.

    (decode-header \"=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=\")
    ;=> \"Grüße\""
  ^String [^String value]
  (EncodedWords/decode value))

;; ---- searching

(defn text-chunks
  "Returns the texts of a message, decoded, as something that `reduce`, `transduce` and `into` take,
  in pieces {:part part :text string} of a few thousand characters. Only one piece is held, however
  long the message is. The part is as in `parts`, without :end :closed? :body?.

  Texts are the parts of types text and message, those that are :unparsed, and for a multipart what
  stands before its first part and behind its last one.

    :overlap  ; how many characters of the piece before each piece of a part begins with, so that a
              ; word of this length and one more is found (default: 0)

    (reduce (fn [_ {:keys [text]}] (if (re-find #\"(?i)lottery\" text) (reduced true) false))
            false
            (text-chunks message {:overlap 6}))"
  ([message]
   (text-chunks message {}))
  ([{:keys [headers body]} given]
   (let [{:keys [overlap] :as options}
         (keys/with-defaults "the options of text-chunks" given search-table)]
     (reify IReduceInit
       (reduce [_ f init]
         (let [result (volatile! init)
               done? #(reduced? @result)]
           (scan (TextScanner. (fields headers) (limits options)
                               (chunk-sink #(when-not (done?) (vswap! result f %)) overlap))
                 body
                 done?)
           (unreduced @result)))))))

(defn text-scanner
  "Returns a function that finds the texts of a message while its body comes in. Called with a piece of
  the body, a byte array, it returns a vector of the pieces of text that end in it, as `text-chunks`
  has them; called without arguments, when the body is over, it returns the rest. Options are those of
  `text-chunks`. It is to be called by one thread at a time.

    (let [scan (text-scanner headers {:overlap 6})]
      (concat (scan piece) (scan another-piece) (scan)))"
  ([headers]
   (text-scanner headers {}))
  ([headers given]
   (let [{:keys [overlap] :as options}
         (keys/with-defaults "the options of text-scanner" given search-table)
         chunks (volatile! [])
         scanner (TextScanner. (fields headers) (limits options)
                               (chunk-sink #(vswap! chunks conj %) overlap))
         taken (fn []
                 (let [result @chunks]
                   (vreset! chunks [])
                   result))]
     (fn
       ([]
        (.finish scanner)
        (taken))
       ([^bytes piece]
        (.accept scanner piece 0 (alength piece))
        (taken))))))

;; ---- changing

(def ^:private replacement-table
  {:content ["a string or bytes" #(or (string? %) (bytes? %))]
   :headers ["a sequence of [name value]"
             #(and (sequential? %)
                   (every? (fn [field] (and (sequential? field)
                                            (<= 2 (count field) 3)
                                            (every? string? field)))
                           %))]})

(defn- same-content?
  [given result]
  (if (and (bytes? given) (bytes? result))
    (Arrays/equals ^bytes given ^bytes result)
    (= given result)))

(defn- replacement
  "Returns what f has returned as {:content :headers}, or nil if nothing changes."
  [result old]
  (cond
    (or (nil? result) (same-content? old result)) nil
    (or (string? result) (bytes? result)) {:content result}
    (map? result) (merge {:content old}
                         (keys/check "what the function of update-parts returned" result
                                     replacement-table))
    :else (throw (IllegalArgumentException.
                   (str "the function of update-parts must return a string, bytes,"
                        " {:content … :headers …} or nil, not " (keys/shown result))))))

(defn- replace-part
  [^MimeEditor editor ^MimePart part {:keys [headers content]}]
  (let [headers (if headers (fields headers) (.headers part))]
    (if (string? content)
      (.replace editor part ^List headers ^String content)
      (.replace editor part ^List headers ^bytes content))))

(defn- edited
  "Returns the message as the editor has it."
  [message ^MimeEditor editor]
  (assoc message :headers (header-vectors (.headers editor)), :body (.body editor)))

(defn update-parts
  "Returns a message in which parts are replaced. Every byte outside of them stays as it is. `pred` is
  asked about each part that holds no others and is not :unparsed; where it returns true, f is called
  with the part and its content: a string for types text and message, else a byte array. f returns

    a string or byte array  ; the new content
    {:content … :headers …} ; also the new header fields of the part, [[name value]…]
    nil or what it was given ; the part stays as it is

  The transfer encoding stays if it can carry the content; the charset stays if it can hold the text,
  else it becomes UTF-8, in which bytes that could not be read remain the same bytes. Content-Type and
  Content-Transfer-Encoding say so, in the message's own header if the part is the message. In texts,
  LF alone becomes CR LF, unless the part has line ends of LF alone. The new :body is a byte array. A
  message that is :truncated? is not changed: an IllegalArgumentException.

    :force?  ; whether signed and encrypted parts may be replaced, which makes them invalid (default:
             ; false, which throws an IllegalArgumentException)

    (update-parts message
                  attachment?
                  (fn [part _] (when (re-find #\"(?i)\\.exe$\" (:filename part \"\"))
                                 {:headers [[\"Content-Type\" \"text/plain\"]]
                                  :content \"A program was removed here.\"})))"
  ([message pred f]
   (update-parts message pred f {}))
  ([message pred f given]
   (let [{:keys [force?] :as options}
         (keys/with-defaults "the options of update-parts" given edit-table)
         message-bytes (body-bytes (:body message))
         editor (MimeEditor. (fields (:headers message)) message-bytes (limits options))
         part-maps (found (assoc message :body message-bytes) options)
         changed? (volatile! false)]
     (when force?
       (.force editor))
     (doseq [[^MimePart part part-map] (map vector (.parts editor) part-maps)
             :when (not (or (.isContainer part) (.reason part)))
             :when (pred part-map)
             :let [old (or (.text editor part) (.content editor part))
                   new (replacement (f part-map old) old)]
             :when new]
       (replace-part editor part new)
       (vreset! changed? true))
     (cond
       (not @changed?) message
       (:truncated? message) (throw (IllegalArgumentException.
                                      (str "the message is truncated: with a changed body,"
                                           " the rest of it would be lost")))
       :else (edited message editor)))))

(def ^:private addition-table
  {:plain ["a string" string?]
   :html ["a string of HTML" string?]})

(def ^:private append-table
  (assoc edit-table :once? (conj keys/truth false)))

(defn append-text
  "Returns a message with something behind its text, in each of the parts for which `body-text?` is
  true: plain text at the end, HTML before the end of the body. A message without any is returned as
  it is: one that is signed, encrypted, a report or an invitation, or has attachments only. See
  `update-parts` for encodings and further options.

  The addition is a string, or {:plain string :html string}; one of them may be missing: HTML is then
  made of the plain text, and without :plain, plain parts stay as they are.

    :once?  ; whether a part stays as it is if its text ends with the addition already, also quoted, wrapped
            ; otherwise or in other HTML: letters and digits are compared (default: false)

    (append-text message \"-- \\r\\nExample Ltd, Musterstraße 1\\r\\n\")"
  ([message addition]
   (append-text message addition {}))
  ([message given options]
   (let [{:keys [plain html]} (if (string? given)
                                {:plain given}
                                (keys/check "the addition of append-text" given addition-table))
         html (or html (some-> plain addition/html-of))
         {:keys [once?] :as options} (keys/with-defaults "the options of append-text" options append-table)]
     (update-parts message
                   body-text?
                   (fn [{:keys [type parameters]} text]
                     (let [html? (= "text/html" type)
                           addition (if html? html plain)]
                       (cond
                         (nil? addition) nil
                         (and once? (addition/ends-with? text addition html?)) nil
                         html? (addition/with-html text html)
                         :else (addition/with-plain text
                                                    plain
                                                    (= "flowed" (some-> ^String (get parameters "format")
                                                                        (.toLowerCase Locale/ROOT)))))))
                   (dissoc options :once?)))))
