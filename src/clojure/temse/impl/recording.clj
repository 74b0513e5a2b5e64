(ns temse.impl.recording
  "Recordings as files of readable EDN: one exchange a line, large bodies in files beside."
  {:no-doc true}
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.io File FileOutputStream StringWriter)
   (java.nio.file CopyOption Files StandardCopyOption)
   (java.util Base64)
   (temse.protocol EventType Text)))

(set! *warn-on-reflection* true)

(def version
  "The value of :temse/recording."
  1)

;; ---- names of files

(defn- recording-file?
  [^File file]
  (re-matches #"\d{8}T\d{6}\.\d{3}Z-\d+\.edn" (.getName file)))

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
          (sort (filter recording-file? listed)))))

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
            (.append out (format "\\u%04x" (int c)))
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

(defn- print-recording
  [{:keys [conversation] :as recording} beside]
  (print "{")
  (doseq [[k v] (dissoc recording :conversation :file)]
    (pr k v)
    (print "\n "))
  (print ":conversation\n [")
  (doseq [[i exchange] (map-indexed vector conversation)]
    (when (pos? (long i))
      (print "\n  "))
    (pr (exchange-form exchange beside)))
  (print "]}\n"))

(defn text
  "Returns the text of a recording. `beside` is given each body and returns the name of the file that
  takes it, or nil for a body that stays."
  [recording beside]
  (let [writer (StringWriter.)]
    (binding [*out* writer
              *flush-on-newline* false
              *print-readably* true
              *print-namespace-maps* false
              *print-length* nil
              *print-level* nil
              *print-meta* false
              *print-dup* false]
      (print-recording recording beside))
    (escaped (str writer))))

(defn- write-bytes
  [^File file ^bytes bytes]
  (with-open [out (FileOutputStream. file)]
    (.write out bytes)))

(defn write
  "Writes a recording to a file, and bodies of more than `max-body` bytes to files beside it. The
  file appears when it is complete. Returns these files, the recording first."
  [recording ^File file max-body]
  (let [directory (.getParentFile file)
        bodies (volatile! [])
        beside (fn [^bytes body]
                 (when (< (long max-body) (alength body))
                   (let [body-file (io/file directory (str (stem file) "." (inc (count @bodies)) ".body"))]
                     (vswap! bodies conj body-file)
                     (write-bytes body-file body)
                     (.getName body-file))))
        new-file (io/file directory (str (.getName file) ".new"))]
    (write-bytes new-file (Text/encodeBytes (text recording beside)))
    (Files/move (.toPath new-file) (.toPath file)
                (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE]))
    (into [file] @bodies)))

;; ---- from text

(defn- bytes-of
  [base64]
  (.decode (Base64/getDecoder) ^String base64))

(defn- file-reader
  [^File directory]
  (fn [^String file-name]
    (when (re-find #"[/\\]|^\.\.?$" file-name)
      (throw (ex-info (str "a body must be in a file beside its recording, not in " file-name) {})))
    (Files/readAllBytes (.toPath (io/file directory file-name)))))

(defn- with-bodies
  [form]
  (reduce #(cond-> %1 (map? (get %1 %2)) (update %2 (comp Text/encodeBytes :text))) form [:data :body]))

(defn- event-value
  [{:keys [event stage command] :as form}]
  (cond-> (with-bodies form)
    (= :define-macro event) (assoc :command
                                   (if command
                                     (first command)
                                     (char (.code (EventType/ofKeyword stage)))))))

(defn- exchange-value
  [form]
  (-> form
      (update :event event-value)
      (update :response (fn [response] (some->> response (mapv with-bodies))))))

(defn read-file
  "Returns the recording of a file, with the file under :file.

  Throws ex-info that names the file where it holds no recording."
  [^File file]
  (let [problem #(ex-info (str file ": " %) {:file (str file)})
        directory (.getParentFile (.getAbsoluteFile file))
        recording (try
                    (edn/read-string {:readers {'temse/bytes bytes-of
                                                'temse/file (file-reader directory)}}
                                     (Text/decode (Files/readAllBytes (.toPath file))))
                    (catch Exception e
                      (throw (ex-info (str file ": " (or (ex-message e) (class e)))
                                      {:file (str file)} e))))]
    (when-not (and (map? recording) (:temse/recording recording))
      (throw (problem "it holds no recording: a map with :temse/recording")))
    (when-not (= version (:temse/recording recording))
      (throw (problem (str "it is of version " (:temse/recording recording)
                           ", this library reads version " version))))
    (-> recording
        (update :conversation #(mapv exchange-value %))
        (assoc :file (str file)))))
