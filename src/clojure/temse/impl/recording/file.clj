(ns temse.impl.recording.file
  "Recordings as files of readable EDN: one exchange a line, large bodies in files beside."
  {:no-doc true}
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.impl.recording.exchange :as exchange]
   [temse.impl.text :as text])
  (:import
   (clojure.lang EdnReader$ReaderException ExceptionInfo LineNumberingPushbackReader)
   (java.io BufferedOutputStream File IOException OutputStream StringReader StringWriter)
   (java.nio.channels Channels)
   (java.nio.file CopyOption FileSystems Files LinkOption NoSuchFileException StandardCopyOption StandardOpenOption)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.time ZoneOffset)
   (java.time.format DateTimeFormatter)
   (java.util Base64 Date Locale)
   (temse.protocol EventType Text)))

(set! *warn-on-reflection* true)

(def version
  "The value of :temse/recording."
  1)

;; ---- names of files

(def ^:private ^DateTimeFormatter timestamp
  (.withZone (DateTimeFormatter/ofPattern "yyyyMMdd'T'HHmmss.SSS'Z'" Locale/ROOT) ZoneOffset/UTC))

(def ^:private stem-pattern
  "\\d{8}T\\d{6}\\.\\d{3}Z-\\d+(?:-[0-9A-Za-z_+]+)?")

(def ^:private recording-name (re-pattern (str stem-pattern "\\.edn")))

(def ^:private written-name (re-pattern (str "(" stem-pattern ")(\\.edn|\\.\\d+\\.body)(\\.new)?")))

(defn with-queue-ids
  "Returns the recording with the :queue-ids that its macros hold."
  [{:keys [conversation] :as recording}]
  (let [ids (into [] (comp (keep #(get-in % [:event :definitions "i"])) (remove #{""}) (distinct)) conversation)]
    (cond-> (dissoc recording :queue-ids)
      (seq ids) (assoc :queue-ids ids))))

(defn file-name
  "Returns the name of a recording's file: when the MTA connected, a number, and the queue ids of the
  first messages, as far as they can be part of a name."
  [{:keys [^Date recorded queue-ids]} number]
  (let [safe #(string/replace (subs % 0 (min 40 (count %))) #"[^0-9A-Za-z]" "_")]
    (str (.format timestamp (.toInstant recorded))
         (String/format Locale/ROOT "-%06d" (object-array [number]))
         (when (seq queue-ids)
           (str "-" (string/join "+" (map safe (take 3 queue-ids)))))
         ".edn")))

(defn- stem
  "Returns what the names of a recording's files begin with."
  [^File file]
  (re-find #"^[^.]*\.[^.]*" (.getName file)))

(defn files
  "Returns the recordings in a directory, the oldest first: vectors of the file and those beside it
  which hold its large bodies."
  [^File directory]
  (let [listed (.listFiles directory)
        bodies (group-by stem (filter #(string/ends-with? (.getName ^File %) ".body") listed))]
    (mapv #(into [%] (bodies (stem %)))
          (sort (filter #(re-matches recording-name (.getName ^File %)) listed)))))

;; ---- to text

(defn- control?
  [c]
  (or (< (int c) 0x20) (<= 0x7F (int c) 0x9F)))

(defn- lone-surrogate?
  "Returns true for half a pair at i whose other half is not beside it: it stands for a byte."
  [^String text i]
  (let [c (.charAt text i)]
    (cond
      (Character/isHighSurrogate c)
      (not (and (< (inc (int i)) (.length text)) (Character/isLowSurrogate (.charAt text (inc (int i))))))

      (Character/isLowSurrogate c)
      (not (and (pos? (int i)) (Character/isHighSurrogate (.charAt text (dec (int i))))))

      :else false)))

(defn- escaped
  "Returns printed text with \\uXXXX for what nobody can read in it."
  [^String text]
  (let [size (.length text)
        out (StringBuilder. size)]
    (loop [i 0]
      (when (< i size)
        (let [c (.charAt text i)]
          (if (and (not= \newline c) (or (control? c) (lone-surrogate? text i)))
            (.append out (text/formatted "\\u%04x" (int c)))
            (.append out c)))
        (recur (inc i))))
    (str out)))

(defn- plain-text?
  [^String text]
  (let [size (.length text)]
    (loop [i 0]
      (or (= i size)
          (let [c (.charAt text i)]
            (and (or (#{\tab \newline \return} c) (not (control? c)))
                 (not (lone-surrogate? text i))
                 (recur (inc i))))))))

(defn- body-form
  "Returns how bytes are written: as text where they are text, else in base64, and as the name of a
  file where `beside` takes them."
  [^bytes body beside]
  (or (some->> (beside body) (tagged-literal 'temse/file))
      (let [text (Text/decode body)]
        (if (plain-text? text)
          {:text text}
          (tagged-literal 'temse/bytes (.encodeToString (Base64/getEncoder) body))))))

(defn- sorted
  [m]
  (update-vals m #(if (set? %) (into (sorted-set) %) %)))

(defn- with-body-forms
  [m beside]
  (reduce #(cond-> %1 (bytes? (get %1 %2)) (update %2 body-form beside)) (sorted m) [:data :body]))

(defn- event-form
  [event beside]
  (cond-> (with-body-forms event beside)
    (char? (:command event)) (update :command str)
    (:stage event) (dissoc :command)))

(defn- exchange-form
  [exchange beside]
  (-> exchange
      (update :event event-form beside)
      (update :response (fn [response] (some->> response (mapv #(with-body-forms % beside)))))))

(defn- print-head
  [recording]
  (print "{")
  (doseq [[k v] (dissoc recording :conversation :file)]
    (pr k v)
    (print "\n "))
  (print ":conversation\n ["))

(defn- print-exchange
  [i exchange beside]
  (when (pos? (long i))
    (print "\n  "))
  (pr (exchange-form exchange beside)))

(defn- printed
  "Returns what a function prints, as it stands in a file."
  [f & args]
  (let [writer (StringWriter.)]
    (binding [*out* writer
              *flush-on-newline* false
              *print-readably* true
              *print-namespace-maps* false
              *print-length* nil
              *print-level* nil
              *print-meta* false
              *print-dup* false]
      (apply f args))
    (escaped (str writer))))

(defn- texts
  "Returns the text of a recording in pieces, so that it need not be in memory as a whole."
  [{:keys [conversation] :as recording} beside]
  (concat [(printed print-head recording)]
          (map-indexed #(printed print-exchange %1 %2 beside) conversation)
          ["]}\n"]))

(defn text
  "Returns the text of a recording. `beside` is given each body and returns the name of the file that
  takes it, or nil for a body that stays."
  [recording beside]
  (string/join (texts recording beside)))

;; ---- files, for their owner only: they hold whole mails

(defn- permissions
  "Returns what makes a new file or directory private, where the system knows of that."
  ^"[Ljava.nio.file.attribute.FileAttribute;" [mode]
  (into-array FileAttribute
              (when (.contains (.supportedFileAttributeViews (FileSystems/getDefault)) "posix")
                [(PosixFilePermissions/asFileAttribute (PosixFilePermissions/fromString mode))])))

(defn make-directory
  "Makes a directory and those above it where they are missing. That it cannot be made is no error."
  [^File directory]
  (try
    (Files/createDirectories (.toPath directory) (permissions "rwx------"))
    (catch IOException _)))

(defn- new-file
  "Returns an output to a file that must not exist yet."
  ^OutputStream [^File file]
  (BufferedOutputStream.
    (Channels/newOutputStream
      (Files/newByteChannel (.toPath file)
                            #{StandardOpenOption/CREATE_NEW StandardOpenOption/WRITE}
                            (permissions "rw-------")))))

(defn- unfinished-name
  [^File file]
  (io/file (.getParentFile file) (str (.getName file) ".new")))

(defn private?
  "Returns true if only its owner can read a new file in the directory. Throws an IOException where none
  can be made."
  [directory]
  (let [file (unfinished-name (io/file directory "00000000T000000.000Z-0.edn"))]
    (try
      (.close (new-file file))
      (= "rw-------" (PosixFilePermissions/toString
                       (Files/getPosixFilePermissions (.toPath ^File file) (make-array LinkOption 0))))
      (catch UnsupportedOperationException _
        false)
      (finally
        (.delete ^File file)))))

(defn unfinished
  "Returns the files in a directory of recordings that were never completed."
  [^File directory]
  (let [listed (for [^File file (.listFiles directory)
                     :let [[_ stem suffix begun] (re-matches written-name (.getName file))]
                     :when (and stem (.isFile file))]
                 [file stem suffix begun])
        begun-stems (into #{} (keep (fn [[_ stem suffix begun]] (when (and begun (= ".edn" suffix)) stem))) listed)]
    (vec (for [[file stem suffix begun] listed
               :when (or begun (and (not= ".edn" suffix) (begun-stems stem)))]
           file))))

(defn write
  "Writes a recording to a file, and bodies of more than `max-body` bytes to files beside it. The
  files appear when all are complete, and none is left where one cannot be written. Returns them, the
  recording first."
  [recording ^File file max-body]
  (let [bodies (volatile! [])
        made (volatile! #{})
        write-new (fn [^File file pieces]
                    (let [unfinished (unfinished-name file)]
                      (with-open [out (new-file unfinished)]
                        (vswap! made conj unfinished)
                        (doseq [^bytes piece pieces]
                          (.write out piece)))))
        beside (fn [^bytes body]
                 (when (< (long max-body) (alength body))
                   (let [body-file (io/file (.getParentFile file)
                                            (str (stem file) "." (inc (count @bodies)) ".body"))]
                     (write-new body-file [body])
                     (vswap! bodies conj body-file)
                     (.getName body-file))))]
    (try
      (write-new file (map #(Text/encodeBytes %) (texts recording beside)))
      (doseq [^File complete (conj @bodies file)]
        (Files/move (.toPath ^File (unfinished-name complete)) (.toPath complete)
                    (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE]))
        (vswap! made conj complete))
      (into [file] @bodies)
      (catch Throwable e
        (run! #(.delete ^File %) @made)
        (throw e)))))

;; ---- from text

(defn- bytes-of
  [base64]
  (if (string? base64)
    (.decode (Base64/getDecoder) ^String base64)
    (throw (ex-info (str "#temse/bytes must be followed by a string, not " (pr-str base64)) {}))))

(defn- file-reader
  [^File directory]
  (fn [^String file-name]
    (when-not (and (string? file-name) (not (re-find #"[/\\\u0000]|^\.\.?$" file-name)))
      (throw (ex-info (str "a body must be in a file beside its recording, not in " (pr-str file-name)) {})))
    (Files/readAllBytes (.toPath (io/file directory file-name)))))

(defn- damaged
  [what]
  (throw (ex-info what {})))

(defn- with-bodies
  [form]
  (reduce (fn [form k]
            (let [{:keys [text] :as body} (get form k)]
              (cond
                (not (map? body)) form
                (string? text) (assoc form k (Text/encodeBytes text))
                :else (damaged (str "the :text of a body must be a string, not " (pr-str text))))))
          form
          [:data :body]))

(defn- command-letter
  [{:keys [stage command]}]
  (cond
    (nil? command) (if-let [type (EventType/ofKeyword stage)]
                     (char (.code type))
                     (damaged (str "there is no stage " (keys/shown stage))))
    (and (string? command) (= 1 (count command))) (first command)
    :else (damaged (str "the :command of macros must be a letter, not " (keys/shown command)))))

(defn- event-value
  [{:keys [event] :as form}]
  (cond-> (with-bodies form)
    (= :define-macro event) (assoc :command (command-letter form))))

(defn- exchange-value
  [{:keys [event response] :as form}]
  (cond-> form
    (map? event) (update :event event-value)
    (sequential? response) (update :response (partial mapv #(cond-> % (map? %) with-bodies)))))

(defn- checked-names
  "Returns a form. Throws where it has a keyword, symbol or character that `escaped` would change: only in strings
  can these be written otherwise than they are."
  [form]
  (doseq [x (tree-seq coll? seq form)
          :when (or (ident? x) (char? x))
          :let [written (escaped (str x))]]
    (when (not= written (str x))
      (damaged (str "it has the name " written ", which cannot be written"))))
  form)

(defn- exchange-values
  [conversation]
  (if (sequential? conversation)
    (into []
          (map-indexed (fn [i form]
                         (exchange/check i (try
                                             (cond-> (checked-names form) (map? form) exchange-value)
                                             (catch ExceptionInfo e
                                               (damaged (str "exchange " (inc (long i)) " is damaged: "
                                                             (ex-message e))))))))
          conversation)
    (damaged "its :conversation must be a vector of exchanges")))

(defn- problem-text
  [problem]
  (condp instance? problem
    NoSuchFileException (str "there is no file " (ex-message problem))
    StackOverflowError "it is nested too deeply"
    (or (ex-message problem) (str (class problem)))))

(defn- form-of
  "Returns the form that a text holds, with the files of bodies beside it. What is thrown has the :line
  in its data."
  [text directory]
  (let [reader (LineNumberingPushbackReader. (StringReader. text))]
    (try
      (edn/read {:eof nil, :readers {'temse/bytes bytes-of
                                     'temse/file (file-reader directory)}}
                reader)
      (catch RuntimeException e
        (let [cause (if (instance? EdnReader$ReaderException e) (ex-cause e) e)]
          (throw (ex-info (problem-text cause) {:line (.getLineNumber reader)} cause)))))))

(defn- line-count
  [text]
  (inc (count (filter #{\newline} text))))

(defn- kept-exchanges
  "Returns how many exchanges of a text that is cut are whole, and the line on which the last of them
  stands, or nil for none."
  [text directory]
  (when-let [end (string/last-index-of text "\n")]
    (let [whole (subs text 0 end)]
      (try
        (when-let [conversation (seq (:conversation (form-of (str whole "]}") directory)))]
          [(count conversation) (line-count whole)])
        (catch Exception _)))))

(defn- cut-text
  "Returns what to say about a text that ends before its form does."
  [text directory]
  (let [[exchanges last-line] (kept-exchanges text directory)]
    (str "it is cut in line " (line-count text) ", its end is missing"
         (when exchanges
           (str "; its first " (if (= 1 exchanges) "exchange is" (str exchanges " exchanges are"))
                " whole: to use them, write ]} in place of all that follows line " last-line)))))

(defn- parsed
  [text directory]
  (try
    (form-of text directory)
    (catch ExceptionInfo e
      (let [problem (ex-message e)]
        (throw (ex-info (if (string/starts-with? problem "EOF")
                          (cut-text text directory)
                          (str "line " (:line (ex-data e)) ": " problem))
                        {}
                        e))))))

(defn read-file
  "Returns the recording of a file, with the file under :file.

  Throws ex-info that names the file where it holds no recording."
  [^File file]
  (let [directory (.getParentFile (.getAbsoluteFile file))]
    (try
      (let [recording (parsed (Text/decode (Files/readAllBytes (.toPath file))) directory)]
        (when-not (and (map? recording) (:temse/recording recording))
          (damaged "it holds no recording: a map with :temse/recording"))
        (when-not (= version (:temse/recording recording))
          (damaged (str "it is of version " (pr-str (:temse/recording recording))
                        ", this library reads version " version)))
        (-> recording
            (update :conversation exchange-values)
            (assoc :file (str file))))
      (catch Throwable e
        (if (or (instance? Exception e) (instance? StackOverflowError e))
          (throw (ex-info (str file ": " (problem-text e)) {:file (str file)} e))
          (throw e))))))
