(ns temse.bench.servers
  "The measured servers, each a process of its own, and what the system tells of them."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.io Closeable File IOException)
   (java.lang ProcessBuilder$Redirect)
   (java.net InetSocketAddress Socket)
   (java.nio.channels SocketChannel)
   (java.nio.file Files)
   (java.nio.file.attribute PosixFilePermissions)
   (java.util.concurrent TimeUnit)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def java-home
  "The JDK that all servers run on."
  (System/getProperty "java.home"))

(def ^:private work "target/bench")

(def ^:private start-timeout-ms 60000)

(defn- temse-run [file]
  ["bin/temse" "run" file "--listen"])

(defn command
  "Returns the command line of a server, to which the address is appended:

    :libmilter  :java  :clojure  :message  ; the filter that counts header fields
    :waiting                               ; the one that waits"
  [server]
  (case server
    :libmilter [(str work "/seen_filter")]
    :java [(str java-home "/bin/java")
           "-XX:+UseSerialGC" "-Xmn64m"
           "-cp" (string/join ":" (concat ["target/classes" "target/example-classes"]
                                          (map #(str "target/bin/lib/" %)
                                               (string/split-lines (slurp "target/bin/run.classpath")))))
           "SeenFilter"]
    :clojure (temse-run "examples/seen_filter.clj")
    :message (temse-run "examples/seen_message.clj")
    :waiting (temse-run "bench/filters/waiting_filter.clj")))

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

(defn- socket-file
  ^File [server]
  (doto (io/file work (str (name server) ".sock"))
    (-> .toPath Files/deleteIfExists)))

(defn connect
  "Returns a SocketChannel to an address."
  ^SocketChannel [address]
  (SocketChannel/open (.address (Endpoint/parse address))))

(defn- listens? [address]
  (try
    (.close (connect address))
    true
    (catch IOException _ false)))

(defrecord Server [^Process process address log ^Closeable reservation]
  Closeable
  (close [_]
    (.destroy process)
    (when-not (.waitFor process 10 TimeUnit/SECONDS)
      (.waitFor (.destroyForcibly process)))
    (some-> reservation .close)))

(defn- launch-command
  "Starts a command and returns a Server without waiting for it."
  [command {:keys [address log environment reservation]}]
  (let [builder (-> (ProcessBuilder. ^java.util.List command)
                    (.redirectErrorStream true)
                    (.redirectOutput (ProcessBuilder$Redirect/to (io/file log))))]
    (.putAll (.environment builder) (assoc environment "JAVA_HOME" java-home))
    (let [process (.start builder)]
      (.addShutdownHook (Runtime/getRuntime) (Thread. #(.destroyForcibly process)))
      (->Server process address log reservation))))

(defn launch
  "Starts a server and returns it without waiting for it. A server is Closeable and has a :process
  and an :address in libmilter's notation. Options:

    :socket        ; :tcp or :unix (default: :tcp)
    :environment   ; further environment variables"
  ^Closeable [server {:keys [socket environment] :or {socket :tcp}}]
  (let [reservation (when (= :tcp socket) (reserve-port))
        address (if reservation
                  (str "inet:" (.getLocalPort reservation) "@127.0.0.1")
                  (str "unix:" (.getAbsolutePath (socket-file server))))]
    (launch-command (conj (command server) address)
                    {:address address
                     :log (io/file work (str (name server) "-" (name socket) ".log"))
                     :environment environment
                     :reservation reservation})))

(defn await-listening
  "Returns the server as soon as it listens."
  [{:keys [^Process process address log] :as server}]
  (loop [patience start-timeout-ms]
    (cond
      (listens? address) server
      (and (.isAlive process) (pos? patience)) (do (Thread/sleep 1)
                                                   (recur (dec patience)))
      :else (throw (ex-info (str "the server does not start:\n" (slurp log)) {})))))

(defn- let-everybody-connect
  "An MTA runs as another user, for whom the umask may have closed the socket."
  [address]
  (when-let [[_ path] (re-matches #"unix:(.*)" address)]
    (Files/setPosixFilePermissions (.toPath (io/file path))
                                   (PosixFilePermissions/fromString "rw-rw-rw-"))))

(defn start
  "Starts a server as `launch` does, and returns it when everybody can connect."
  ^Closeable [server options]
  (let [{:keys [address] :as started} (await-listening (launch server options))]
    (let-everybody-connect address)
    started))

(defn start-command
  "Starts a command and returns it as `launch` does, but when it listens. Options:

    :address       ; which it serves
    :log           ; the file of its output
    :environment   ; further environment variables
    :reservation   ; is closed with it"
  ^Closeable [command options]
  (await-listening (launch-command command options)))

(defn proc
  "Returns a file of a server in /proc."
  ^File [{:keys [^Process process]} & names]
  (apply io/file "/proc" (str (.pid process)) names))

(defn threads
  "Returns the number of threads of a server."
  [server]
  (count (.list (proc server "task"))))

(defn resident-kib
  "Returns the resident memory of a server."
  [server]
  (let [status (Files/readString (.toPath (proc server "status")))]
    (parse-long (second (re-find #"VmRSS:\s+(\d+)" status)))))

(defn await-files
  "Returns once a server has fewer open files than that: its connections are closed."
  [server files]
  (loop [patience start-timeout-ms]
    (when (<= files (count (.list (proc server "fd"))))
      (when (zero? patience)
        (throw (ex-info "the server keeps its connections" {:server (:name server)})))
      (Thread/sleep 1)
      (recur (dec patience)))))

(defn- jcmd
  "Gives a JVM commands and returns what it says."
  [{:keys [^Process process]} & commands]
  (let [^java.util.List line [(str java-home "/bin/jcmd")
                              (str (.pid process))
                              (string/join "\n" commands)]]
    (slurp (.getInputStream (.start (ProcessBuilder. line))))))

(defn- settled
  "Returns what f returns as soon as that has not changed by a thousandth for half a second."
  [f]
  (loop [first-value (f), looks 0]
    (Thread/sleep 100)
    (let [value (f)]
      (cond
        (< 0.001 (abs (- 1.0 (/ (double value) first-value)))) (recur value 0)
        (= 5 looks) value
        :else (recur first-value (inc looks))))))

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

(defn memory
  "Returns the memory of a JVM, in KiB, after its garbage is collected:

    :untrimmed   ; resident, as the JVM leaves it, which may keep 70 % of the heap free
    :resident    ; resident, once it has been told to give free heap back
    :objects     ; the part of the heap that is in use"
  [server]
  (jcmd server "GC.run" "GC.run")
  (let [untrimmed (settled #(resident-kib server))
        heap (jcmd server "VM.set_flag MinHeapFreeRatio 0" "VM.set_flag MaxHeapFreeRatio 5" "GC.run"
                   "GC.heap_info")
        resident (settled #(resident-kib server))]
    (jcmd server "VM.set_flag MaxHeapFreeRatio 70" "VM.set_flag MinHeapFreeRatio 40")
    {:untrimmed untrimmed
     :resident resident
     :objects (used heap)}))
