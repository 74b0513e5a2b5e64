(ns temse.soak.watched
  "The server that is soaked, a process of its own, and what is seen of it from outside."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.bench.servers :as servers])
  (:import
   (java.io Closeable File IOException)
   (java.net URI)
   (java.net.http HttpClient HttpRequest HttpResponse$BodyHandlers)
   (java.nio.file Files LinkOption Path)
   (java.util List)))

(set! *warn-on-reflection* true)

(def filters
  "What is served, each at an address of its own."
  [:events :whole :composed])

(def ^:private jvm-options
  "A small heap, so that what is kept for too long is soon too much. The JVM keeps its own threads, so that their
  number tells of the server's."
  "-Xmx256m -XX:-UseDynamicNumberOfCompilerThreads")

(defn- quoted
  "Returns a text as one word of JDK_JAVA_OPTIONS, which has no escapes."
  [text]
  (str \" (string/replace text "\"" "\"'\"'\"") \"))

(defn- configuration
  [addresses]
  {:log-level :error
   :milters (into {}
                  (for [[filter address] addresses]
                    [(name filter) {:listen address
                                    :filter (.getAbsolutePath (io/file "bench/filters/soak_filter.clj"))
                                    :args [(name filter)]
                                    :log-mail? false}]))})

(defn start
  "Starts a server that keeps its files in a directory, and returns it when it listens: a Closeable with its
  :process, :addresses by filter, the port of its :metrics, its :log and the directory of its :temporary files."
  [directory]
  (let [{:keys [ports reservation]} (servers/reserve-ports (inc (count filters)))
        addresses (zipmap filters (map #(str "inet:" % "@127.0.0.1") ports))
        temporary (doto (io/file directory "tmp") .mkdirs)
        settings (io/file directory "temse.edn")
        log (io/file directory "server.log")]
    (spit settings (pr-str (configuration addresses)))
    (assoc (servers/start-command
             ["bin/temse" "run" (str settings) "--metrics" (str (last ports))]
             {:address (addresses (last filters))
              :log log
              :reservation reservation
              :environment {"JDK_JAVA_OPTIONS" (str jvm-options " " (quoted (str "-Djava.io.tmpdir=" (.getAbsolutePath temporary))))}})
           :addresses addresses
           :metrics (last ports)
           :temporary temporary)))

;; ---- what it says of itself

(defonce ^:private ^HttpClient client (HttpClient/newHttpClient))

(defn- page
  [{:keys [metrics]}]
  (let [request (.build (HttpRequest/newBuilder (URI. (str "http://127.0.0.1:" metrics "/metrics"))))]
    (.body (.send client request (HttpResponse$BodyHandlers/ofString)))))

(defn- numbers
  "Returns the sums of metrics over all milters, by their names and labels of their own."
  [text]
  (reduce (fn [found line]
            (if-let [[_ metric labels value] (re-matches #"(\w+)(?:\{(.*)\})? (\S+)" line)]
              (let [own (second (re-find #"(?:event|verdict|kind)=\"([^\"]*)\"" (str labels)))]
                (update found (cond-> [(keyword metric)] own (conj (keyword own)))
                        (fnil + 0.0) (parse-double value)))
              found))
          {}
          (remove #(string/starts-with? % "#") (string/split-lines text))))

(defn counters
  "Returns the numbers of its metrics, over all milters: {[:temse_connections] 3.0, [:temse_errors_total :io-error] 1.0 …}."
  [server]
  (numbers (page server)))

;; ---- what the system says of it

(defn- descriptor-targets
  "Returns what the open files of a server are."
  [server]
  (for [^File descriptor (.listFiles (servers/proc server "fd"))
        :let [target (try
                       (str (Files/readSymbolicLink (.toPath descriptor)))
                       ;; It has been closed meanwhile.
                       (catch IOException _))]
        :when target]
    target))

(defn- temporary-file?
  [{:keys [^File temporary]} target]
  (string/starts-with? target (str (.toRealPath (.toPath temporary) (make-array LinkOption 0)) "/")))

(defn- temporary-files
  "Returns how many temporary files there are: those with a name, and open ones that have lost it."
  [{:keys [^File temporary] :as server} targets]
  (+ (count (filter #(and (temporary-file? server %) (string/ends-with? % " (deleted)")) targets))
     (count (remove #(string/starts-with? % "hsperfdata_") (.list temporary)))))

(defn reading
  "Returns what is seen of a server now. Its garbage is collected for it:

    :heap :metaspace :resident          ; MiB
    :threads :descriptors :files
    :load                               ; of the machine, in the last minute"
  [server]
  (let [targets (descriptor-targets server)
        threads (servers/threads server)
        files (temporary-files server targets)
        {:keys [heap metaspace]} (servers/collected server)
        mebibytes #(some-> % (/ 1024.0))]
    {:heap (mebibytes heap)
     :metaspace (mebibytes metaspace)
     :resident (mebibytes (servers/resident-kib server))
     :threads threads
     :descriptors (count targets)
     :files files
     :load (parse-double (re-find #"\S+" (Files/readString (Path/of "/proc/loadavg" (make-array String 0)))))}))

(defn reload
  "Has a server load its filters again, by SIGHUP."
  [{:keys [^Process process]}]
  (.waitFor (.start (ProcessBuilder. ^List (vector "kill" "-HUP" (str (.pid process)))))))
