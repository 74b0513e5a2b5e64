(ns temse.fuzz.files
  "Fuzz targets: files of users, and what temse keeps."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.fuzz.support :refer [allowing comparable must text]]
   [temse.impl.command.decode :as decode]
   [temse.impl.proxy.tap :as tap]
   [temse.impl.recording.exchange :as exchange]
   [temse.impl.recording.file :as recording-file]
   [temse.impl.recording.redaction :as redaction]
   [temse.impl.setup.postfix-cf :as postfix-cf]
   [temse.impl.setup.sendmail-cf :as sendmail-cf]
   [temse.project :as project])
  (:import
   (clojure.lang Compiler DynamicClassLoader ExceptionInfo RT)
   (java.io File StringWriter)
   (java.nio.file Files OpenOption)
   (temse.fuzz PacketLines)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(defn- file-with
  "Returns a file that holds bytes, the same file each time."
  ^File [file ^bytes content]
  (Files/write (.toPath ^File @file) content ^"[Ljava.nio.file.OpenOption;" (make-array OpenOption 0))
  @file)

(def ^:private some-file
  (delay (doto (File/createTempFile "temse-fuzz" ".edn")
           (.deleteOnExit))))

;; ---- recordings

(defn- read-recording
  "Returns the recording in a file of bytes, or nil where it says that there is none, and where."
  [content]
  (let [file (file-with some-file content)]
    (try
      (recording-file/read-file file)
      (catch ExceptionInfo e
        (must (= (str file) (:file (ex-data e))) e)
        (must (string/starts-with? (ex-message e) (str file)))
        nil))))

(defn recording
  "A file of a recording. What is read is the same when it is written and read again, but for :response nil, which may
  be left out."
  [input]
  (when-let [{:keys [conversation]} (read-recording input)]
    (let [again (read-recording (.getBytes ^String (recording-file/text {:temse/recording recording-file/version
                                                                         :conversation conversation}
                                                                        (constantly nil))
                                           "UTF-8"))
          whole #(mapv (fn [exchange] (merge {:response nil} (comparable exchange))) %)]
      (must (= (whole conversation) (whole (:conversation again))) conversation again))))

;; ---- redaction

(def ^:private secret "GhostlyQuivering")

(defn- exchanges-of
  "Returns the exchanges that lines write: packets of the MTA, and behind < what the milter answers."
  [input]
  (let [found (volatile! [])
        tap (tap/tap #(vswap! found conj %) (fn [_ e] (throw e)))]
    (doseq [^String line (PacketLines/of input)
            :let [milter? (string/starts-with? line "<")
                  packet (string/replace (cond-> line milter? (subs 1)) "$" secret)]
            :when (seq packet)]
      (tap (if milter? :milter :mta) (.toBytes (PacketLines/packet packet)) 0))
    (tap :end)
    (mapv #(select-keys % [:event :response :nanos]) @found)))

(defn redaction
  "A conversation in which a dollar stands for a secret. Redacted it has the same events and actions, can be
  written, and no trace of the secret but where it is the id of a mail."
  [input]
  (let [conversation (exchanges-of input)
        {redacted :conversation :as recording} (redaction/redacted {:conversation conversation}
                                                                   {:keep #{}, :keep-headers [], :keep-macros []
                                                                    :key "key"})
        shape (fn [exchanges]
                (for [{:keys [event response]} exchanges]
                  [(:event event) (set (keys event)) (map (juxt :action :event (comp set keys)) response)]))
        queue-ids (keep #(get-in % [:event :definitions "i"]) conversation)
        written (recording-file/text (assoc recording :temse/recording recording-file/version) (constantly nil))]
    (must (= (shape conversation) (shape redacted)))
    (dorun (map-indexed exchange/check redacted))
    (when-not (some #(string/includes? (string/lower-case %) "ghostly") queue-ids)
      (must (not (re-find #"(?i)ghostly|quivering" written)) written))))

;; ---- captures

(defn capture
  "A hex dump, a capture file or bytes, for `temse decode`: it is shown, or what is wrong with it."
  [input]
  (let [file (file-with some-file input)]
    (must (contains? #{0 2}
                     (binding [*out* (StringWriter.)
                               *err* (StringWriter.)]
                       (decode/run [(str file) "-v"]))))))

;; ---- configurations

(defn postfix-cf
  "A main.cf, output of postconf or master.cf. A service that was read is the same when it is written again."
  [input]
  (let [given (text input)
        main (postfix-cf/parse-main given)]
    (doseq [title (cons "smtpd_milters" (keep :name (take 20 main)))
            :let [value (postfix-cf/value main title)]]
      (must (string? value))
      (postfix-cf/milliseconds value)
      (doseq [{:keys [address]} (postfix-cf/milters value)]
        (postfix-cf/endpoint address "/var/spool/postfix" true)))
    (doseq [service (postfix-cf/parse-master given)
            :let [again (first (postfix-cf/parse-master (postfix-cf/service-line service identity)))]]
      (must (= (dissoc service :line) (dissoc again :line)) again))))

(defn sendmail-cf
  "A sendmail.cf. Each filter has an address, or problems."
  [input]
  (let [{:keys [filters] :as cf} (sendmail-cf/parse (text input))]
    (dorun (sendmail-cf/input-filters cf))
    (doseq [{:keys [socket problems timeouts]} filters]
      (must (every? string? problems))
      (must (= #{"C" "S" "R" "E"} (set (keys timeouts))))
      (when socket
        (try
          (Endpoint/parse socket)
          (catch IllegalArgumentException _))))))

(defn temse-edn
  "A temse.edn. It says what the milters are, or is refused with the file and the line."
  [input]
  (let [file (file-with some-file input)]
    (allowing #{:bad-options}
      (project/log-level (str file)))
    (project/files (str file))))

(def ^:private parse-milter-regex
  (delay
    (let [loader (doto (DynamicClassLoader. (RT/baseLoader))
                   (.addURL (.toURL (.toURI (io/file "gallery")))))]
      (with-bindings {Compiler/LOADER loader}
        (requiring-resolve 'milter-regex-conf/parse)))))

(defn milter-regex
  "A milter-regex.conf. It is read, and its patterns end on any text; or it is refused with line and column."
  [input]
  (let [given (String. ^bytes input "ISO-8859-1")]
    (when-let [{:keys [terms]} (try
                                 (@parse-milter-regex "a.conf" given)
                                 (catch ExceptionInfo e
                                   (must (every? (ex-data e) [:file :line :column]) e)
                                   nil))]
      (doseq [patterns (mapcat vals (vals terms))
              matches? patterns]
        (try
          (matches? "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa <b@example.com> X-Mailer: \n")
          (catch ExceptionInfo _))))))
