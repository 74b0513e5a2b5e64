(ns temse.bench.servers
  "The measured servers, each a process of its own, and what the system reports about them."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.io Closeable File IOException)
   (java.lang ProcessBuilder$Redirect)
   (java.net InetSocketAddress Socket SocketAddress)
   (java.nio.channels SocketChannel)
   (java.nio.file Files)
   (java.nio.file.attribute PosixFilePermissions)
   (java.util.concurrent TimeUnit)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def ^:private java-home (System/getProperty "java.home"))

(def ^:private java (str java-home "/bin/java"))

(def work
  "The directory of compiled programs, sockets and logs."
  "target/bench")

(def ^:private start-timeout-ms 60000)

(defn- class-path [root]
  (string/join ":" (map #(str root "/target/" %)
                        (concat ["bin/temse.jar" "bench/examples.jar"]
                                (map #(str "bin/lib/" %)
                                     (string/split-lines (slurp (str root "/target/bin/run.classpath"))))))))

(defn- java-filter [root main & options]
  (concat [java "-XX:+UseSerialGC" "-Xmn16m"] options ["-cp" (class-path root) main]))

(defn filters
  "Returns the command lines of the filters in a checkout of temse, to which the address is appended."
  [root]
  (let [clojure-filter (fn [file]
                         [(str root "/bin/temse") "run" (str root "/" file) "--listen"])]
    {:java (java-filter root "SeenFilter")
     :clojure (clojure-filter "examples/seen_filter.clj")
     :whole-java (java-filter root "SeenWhole")
     :whole (clojure-filter "examples/seen_whole.clj")}))

(defn commands
  "Returns the command lines of all servers that this machine has: bin/bench sets the properties `jmilter`, a
  class path, and `pymilter`, an interpreter."
  []
  (let [null-server [java "-cp" "target/bench-classes" "temse.bench.NullServer"]
        jmilter (System/getProperty "jmilter")
        pymilter (System/getProperty "pymilter")]
    (cond-> (assoc (filters ".")
                   :libmilter [(str work "/seen_filter")]
                   :null null-server
                   :silent-null (conj null-server "silent"))
      jmilter (assoc :jmilter [java "-Djmilter.netty.soBacklog=1024" "-cp" jmilter "SeenFilter"])
      pymilter (assoc :pymilter [pymilter "bench/python/seen_filter.py"]))))

(defn- reserve-port
  "Returns a bound socket. While it is open the system gives its port to no client; a server can
  listen there all the same, since it allows to reuse addresses."
  ^Socket []
  (doto (Socket.)
    (.setReuseAddress true)
    (.bind (InetSocketAddress. "127.0.0.1" 0))))

(defn reserve-ports
  "Returns different ports of which the system gives none to a client until the :reservation is closed, as
  {:ports :reservation}."
  [n]
  (let [sockets (vec (repeatedly n reserve-port))]
    {:ports (mapv #(.getLocalPort ^Socket %) sockets)
     :reservation (reify Closeable
                    (close [_] (run! #(.close ^Socket %) sockets)))}))

(defn socket-address
  "Returns the address of a server as a SocketAddress."
  ^SocketAddress [{:keys [address]}]
  (.address (Endpoint/parse address)))

(defn- listens? [server]
  (try
    (.close (SocketChannel/open (socket-address server)))
    true
    (catch IOException _ false)))

(defrecord Server [^Process process address log ^Closeable reservation]
  Closeable
  (close [_]
    (.destroy process)
    (when-not (.waitFor process 10 TimeUnit/SECONDS)
      (.waitFor (.destroyForcibly process)))
    (some-> reservation .close)))

(defn- await-listening
  [{:keys [^Process process log] :as server}]
  (loop [patience start-timeout-ms]
    (cond
      (listens? server) server
      (and (.isAlive process) (pos? patience)) (do (Thread/sleep 1)
                                                   (recur (dec patience)))
      :else (throw (ex-info (str "the server does not start:\n" (slurp log)) {})))))

(defn start-command
  "Starts a command and returns it when it listens: Closeable, with a :process and an :address in libmilter's
  notation. Options:

    :address       ; which it serves
    :log           ; the file of its output
    :environment   ; further environment variables
    :reservation   ; is closed with it"
  ^Closeable [command {:keys [address log environment reservation]}]
  (let [builder (-> (ProcessBuilder. ^java.util.List command)
                    (.redirectErrorStream true)
                    (.redirectOutput (ProcessBuilder$Redirect/to (io/file log))))]
    (.putAll (.environment builder) (assoc environment "JAVA_HOME" java-home))
    (let [process (.start builder)]
      (.addShutdownHook (Runtime/getRuntime) (Thread. #(.destroyForcibly process)))
      (await-listening (->Server process address log reservation)))))

(defn- socket-file
  "Returns the file of a Unix socket. libmilter leaves it behind if it runs as root."
  ^File [server]
  (doto (io/file work (str (name server) ".sock"))
    (-> .toPath Files/deleteIfExists)))

(defn- let-everybody-connect
  "An MTA runs as another user, for whom the umask may have closed the socket."
  [^File socket]
  (Files/setPosixFilePermissions (.toPath socket) (PosixFilePermissions/fromString "rw-rw-rw-")))

(defn start
  "Starts a server over :tcp or :unix and returns it as `start-command` does, with its name as :server."
  (^Closeable [server socket] (start server socket ((commands) server)))
  (^Closeable [server socket command]
   (let [reservation (when (= :tcp socket) (reserve-port))
         file (when-not reservation (socket-file server))
         address (if reservation
                   (str "inet:" (.getLocalPort reservation) "@127.0.0.1")
                   (str "unix:" (.getAbsolutePath file)))
         started (start-command (concat command [address])
                                {:address address
                                 :log (io/file work (str (name server) ".log"))
                                 :reservation reservation})]
     (some-> file let-everybody-connect)
     (assoc started :server server))))

(defn java-with-archive
  "Returns the command line of the Java filter with an archive of its classes, as doc/java.org says it is made."
  []
  (let [file (io/file work "seen.archive")
        [write read] (if (<= 25 (.feature (Runtime/version)))
                       ["-XX:AOTCacheOutput=" "-XX:AOTCache="]
                       ["-XX:ArchiveClassesAtExit=" "-XX:SharedArchiveFile="])]
    (Files/deleteIfExists (.toPath file))
    (with-open [server (start :java :tcp (java-filter "." "SeenFilter" (str write file)))]
      (.close (SocketChannel/open (socket-address server))))
    (java-filter "." "SeenFilter" (str read file))))

(defn pid
  "Returns the process number of a server."
  ^long [{:keys [^Process process]}]
  (.pid process))

(defn bind
  "Binds a process, with all its threads, to cores in the notation of taskset."
  [pid cores]
  (let [^java.util.List command ["taskset" "-a" "-c" "-p" cores (str pid)]
        bound? #(-> (ProcessBuilder. command)
                    (.redirectOutput ProcessBuilder$Redirect/DISCARD)
                    .start
                    .waitFor
                    zero?)]
    ;; It fails when a thread ends meanwhile.
    (when-not (some true? (repeatedly 10 bound?))
      (throw (ex-info (str "cannot bind process " pid " to core " cores) {})))))

(defn proc
  "Returns a file of a server in /proc."
  ^File [server & names]
  (apply io/file "/proc" (str (pid server)) names))

(defn threads
  "Returns the number of threads of a server."
  [server]
  (count (.list (proc server "task"))))

(defn resident-kib
  "Returns the resident memory of a server."
  [server]
  (let [status (Files/readString (.toPath (proc server "status")))]
    (parse-long (second (re-find #"VmRSS:\s+(\d+)" status)))))

(defn- jcmd
  "Gives a JVM commands and returns what it prints."
  [server & commands]
  (let [^java.util.List line [(str java-home "/bin/jcmd") (str (pid server)) (string/join "\n" commands)]]
    (slurp (.getInputStream (.start (ProcessBuilder. line))))))

(defn- used
  "Returns the KiB of the heap that are in use: those of all its generations."
  [heap-info]
  (let [[heap] (string/split heap-info #"Metaspace")]
    (transduce (map (comp parse-long second)) + (re-seq #"total \d+K, used (\d+)K" heap))))

(defn collected
  "Has a JVM collect its garbage, and returns how many KiB of its :heap and :metaspace are in use then, or nil if
  it does not say so."
  [server]
  (let [info (jcmd server "GC.run" "GC.heap_info")]
    (when-let [[_ metaspace] (re-find #"Metaspace\s+used (\d+)K" info)]
      {:heap (used info)
       :metaspace (parse-long metaspace)})))
