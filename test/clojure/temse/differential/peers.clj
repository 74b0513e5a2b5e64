(ns temse.differential.peers
  "The two filters behind their sockets, and what they make of a conversation."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [temse.differential.conversation :as conversation]
   [temse.differential.rule :as rule]
   [temse.milter :as milter])
  (:import
   (java.io ByteArrayOutputStream IOException)
   (java.lang ProcessBuilder$Redirect ProcessHandle)
   (java.net UnixDomainSocketAddress)
   (java.nio ByteBuffer)
   (java.nio.channels SocketChannel)
   (java.nio.charset StandardCharsets)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util List)
   (java.util.concurrent LinkedBlockingQueue TimeUnit)
   (temse.server MilterServer ServerListener)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def ^:private source "test/c/differential.c")

(def ^:private program "target/differential")

(defn- run [& command]
  (let [process (-> (ProcessBuilder. ^List command)
                    (.redirectErrorStream true)
                    (.start))
        output (slurp (.getInputStream process))]
    {:code (.waitFor process), :output output}))

(defn unavailable
  "Returns the reason why there is no libmilter to compare with, or nil when there is."
  []
  (cond
    (try (pos? (long (:code (run "gcc" "--version")))) (catch IOException _ true))
    "gcc is missing"

    (not (.exists (io/file "/usr/include/libmilter/mfapi.h")))
    "libmilter's header file is missing; Debian has it in libmilter-dev"))

(def ^:private filter-on-libmilter
  "The path of the compiled filter."
  (delay
    (io/make-parents program)
    (let [new (str program "." (.pid (ProcessHandle/current)))
          {:keys [code output]} (run "gcc" "-std=c99" "-D_DEFAULT_SOURCE" "-O1" "-Wall" "-Wextra"
                                     "-Werror" "-pthread" "-o" new source "-lmilter")]
      (when-not (zero? (long code))
        (throw (ex-info (str "gcc cannot compile " source "\n" output) {})))
      (.renameTo (io/file new) (io/file program))
      program)))

(defn- start-libmilter [^String path variant]
  (let [^List command [@filter-on-libmilter path (name variant)]
        process (-> (ProcessBuilder. command)
                    (.redirectError ProcessBuilder$Redirect/INHERIT)
                    (.start))
        output (.getInputStream process)]
    (when-not (= "ready\n" (String. (.readNBytes output 6)))
      (throw (ex-info "the filter on libmilter does not start" {})))
    {:path path
     ;; What a connection has printed is in the pipe before its socket is closed.
     :ended (fn [] {:lines (->> (.readNBytes output (.available output))
                                String.
                                str/split-lines
                                (remove #{""}))})
     :stop #(.waitFor (.destroyForcibly process))}))

(defn- start-temse [path variant]
  (let [lines (atom [])
        violated? (atom false)
        ended (LinkedBlockingQueue.)
        end #(.put ended {:lines (first (reset-vals! lines []))
                          :violated? (first (reset-vals! violated? false))})
        listener (reify ServerListener
                   (violated [_ _ _]
                     (reset! violated? true))
                   (failed [_ _ type _ error]
                     (swap! lines conj (str "temse failed at " type ": " error)))
                   (probed [_ _ _]
                     (end))
                   (closed [_ _ _]
                     (end)))
        server (-> (MilterServer/builder
                     (milter/factory (rule/filter-options variant #(swap! lines conj %))))
                   (.listenOn (Endpoint/parse (str "unix:" path)))
                   (.listener listener)
                   (.start))]
    {:path path
     :ended #(or (.poll ended 10 TimeUnit/SECONDS)
                 (throw (ex-info "temse did not end a connection in ten seconds" {})))
     :stop #(.close server)}))

(defn start
  "Starts the two filters in a variant, :libmilter and :temse, in a :directory of their own."
  [variant]
  (let [directory (.toFile (Files/createTempDirectory "differential" (make-array FileAttribute 0)))
        path #(str (io/file directory %))]
    {:directory directory
     :libmilter (start-libmilter (path "libmilter") variant)
     :temse (start-temse (path "temse") variant)}))

(defn stop
  "Stops both filters."
  [{:keys [directory libmilter temse]}]
  ((:stop libmilter))
  ((:stop temse))
  (run! io/delete-file (reverse (file-seq directory))))

(defn- write [^SocketChannel channel pieces]
  (try
    (doseq [^ByteBuffer piece pieces]
      (while (.hasRemaining piece)
        (.write channel piece)))
    (.shutdownOutput channel)
    (catch IOException _
      :closed-by-the-filter)))

(defn- read-all ^bytes [^SocketChannel channel]
  (let [octets (ByteArrayOutputStream.)
        buffer (ByteBuffer/allocate 65536)]
    (try
      (while (not (neg? (.read channel (.clear buffer))))
        (.write octets (.array buffer) 0 (.position buffer)))
      (catch IOException _
        :reset-by-the-filter))
    (.toByteArray octets)))

(defn- frames
  "Cuts replies into strings, one a frame."
  [^bytes octets]
  (let [buffer (ByteBuffer/wrap octets)]
    (loop [frames []]
      (if (.hasRemaining buffer)
        (let [payload (byte-array (.getInt buffer))]
          (.get buffer payload)
          (recur (conj frames (String. payload StandardCharsets/ISO_8859_1))))
        frames))))

(defn converse
  "Sends a conversation to a filter and returns its :replies, one a frame, and the :lines it has
  printed. Of temse's filter it also tells whether it has :violated? what temse takes for the
  protocol."
  [{:keys [^String path ended]} conversation]
  (with-open [channel (SocketChannel/open (UnixDomainSocketAddress/of path))]
    (write channel (conversation/pieces conversation))
    (let [replies (frames (read-all channel))]
      (assoc (ended) :replies replies))))
