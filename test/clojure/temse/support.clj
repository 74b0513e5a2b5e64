(ns temse.support
  "What several test namespaces use."
  (:require
   [clojure.java.io :as io]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.test :as mt])
  (:import
   (java.io DataInputStream DataOutputStream)
   (java.net InetSocketAddress ServerSocket Socket SocketException)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)))

(set! *warn-on-reflection* true)

(defn awaited
  "Returns the value of a promise or future, which must come within ten seconds."
  [pending]
  (let [value (deref pending 10000 ::late)]
    (if (= ::late value)
      (throw (ex-info "what was waited for did not happen in ten seconds" {}))
      value)))

(defn await-true
  "Waits until f returns true, for ten seconds at most."
  [f]
  (let [end (+ (System/nanoTime) 10000000000)]
    (while (not (f))
      (when (< end (System/nanoTime))
        (throw (ex-info "what was waited for did not happen in ten seconds" {})))
      (Thread/sleep 5))))

(defmacro thrown
  "Returns the ex-data of what the body throws, with its :message, or nil if it throws nothing."
  [& body]
  `(try
     ~@body
     nil
     (catch Throwable e#
       (assoc (or (ex-data e#) {}) :message (ex-message e#)))))

(defn recording-factory
  "Returns a logger factory that adds {:level :message :throwable} to an atom."
  [records]
  (reify logging/LoggerFactory
    (name [_] "recording")
    (get-logger [_ _]
      (reify logging/Logger
        (enabled? [_ _] true)
        (write! [_ level throwable message]
          (swap! records conj {:level level :message message :throwable throwable}))))))

(defmacro with-logs
  "Runs the body with `records` bound to an atom that receives all that is logged meanwhile, by any
  thread."
  [records & body]
  `(let [~records (atom [])]
     (with-redefs [log/*logger-factory* (recording-factory ~records)]
       ~@body)))

(defn with-directory
  "Calls f with a new directory that holds files of these texts."
  [texts f]
  (let [directory (.toFile (Files/createTempDirectory "temse ä'\"-" (make-array FileAttribute 0)))]
    (try
      (doseq [[path text] texts]
        (io/make-parents directory path)
        (spit (io/file directory path) text))
      (f directory)
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))

(defn with-addresses
  "Calls f with a function that returns the address of a name, to listen on: where `kind` is :unix, of a socket of that
  name in a directory that any user may enter; where it is :tcp, of any free port."
  [kind f]
  (case kind
    :tcp (f (constantly "inet:0@127.0.0.1"))
    :unix (let [mode (PosixFilePermissions/asFileAttribute (PosixFilePermissions/fromString "rwxr-xr-x"))
                directory (Files/createTempDirectory "temse-sockets" (into-array FileAttribute [mode]))]
            (try
              (f #(str "unix:" directory "/" %))
              (finally
                (Files/delete directory))))))

(defmacro printed
  "Returns what the body prints, and other threads print meanwhile."
  [& body]
  `(let [writer# (java.io.StringWriter.)]
     (with-redefs [*out* writer#]
       (binding [*out* writer#]
         ~@body))
     (str writer#)))

(defn messages
  "Returns the texts logged at a level."
  [records level]
  (into [] (comp (filter #(= level (:level %))) (map :message)) @records))

(def opening
  "The events that open an SMTP connection."
  [{:event :connect, :host-name "client.example.org", :family :inet, :port 40110
    :address "192.0.2.1"}
   {:event :hello, :greeting "client.example.org"}])

(defn envelope
  "The events of a message up to its header."
  [& recipients]
  (concat [{:event :mail, :sender "<a@example.org>", :options []}]
          (for [recipient (or recipients ["<b@example.com>"])]
            {:event :recipient, :address recipient, :options []})
          [{:event :data}]))

(def content
  "The events of a message from its header on."
  [{:event :header, :name "Subject", :value "hi"}
   {:event :end-of-headers}
   {:event :body, :data (.getBytes "hello\r\n")}
   {:event :end-of-message}])

(defn send-events
  "Sends events one after the other and returns the last answer."
  [session events]
  (reduce (fn [_ event] (mt/send-event session event)) nil events))

(defn with-handler
  "Returns what run-message reports of a message to a milter whose handler of one event is `f`."
  [event f & {:as options}]
  (mt/run-message (merge {:handlers {event f}} options) {}))

(defn answers?
  "Returns true if somebody listens on a port of 127.0.0.1."
  [port]
  (try
    (with-open [socket (Socket.)]
      (.connect socket (InetSocketAddress. "127.0.0.1" (int port)))
      true)
    (catch SocketException _
      false)))

(defn free-port
  "Returns a port that nobody listens on."
  []
  (with-open [socket (ServerSocket. 0)]
    (.getLocalPort socket)))

(defn await-port
  "Waits until somebody listens on the port, or until nobody does any more."
  [port listening?]
  (let [end (+ (System/nanoTime) 10000000000)]
    (while (not= listening? (answers? port))
      (when (< end (System/nanoTime))
        (throw (ex-info "the port did not change in ten seconds" {:port port})))
      (Thread/yield))))

;; Packets by hand, for what only an MTA in the middle of something shows

(defn dial
  "Returns a socket to a port of 127.0.0.1 which waits ten seconds for what it reads."
  ^Socket [port]
  (doto (Socket. "127.0.0.1" (int port))
    (.setSoTimeout 10000)))

(defn write-packet
  "Writes a packet of a command and bytes."
  [^Socket socket command & payload]
  (let [out (DataOutputStream. (.getOutputStream socket))]
    (.writeInt out (inc (count payload)))
    (.write out (byte-array (map unchecked-byte (cons (int command) payload))))
    (.flush out)))

(defn read-packet
  "Returns the code of the next packet."
  [^Socket socket]
  (let [in (DataInputStream. (.getInputStream socket))
        packet (byte-array (.readInt in))]
    (.readFully in packet)
    (char (aget packet 0))))

(defn negotiate
  "Offers what a current MTA offers, and reads the answer."
  [socket]
  (write-packet socket \O 0 0 0 6 0 0 1 0xff 0 0x1f 0xff 0xff)
  (read-packet socket))

;; Processes of their own

(def ^:private java
  (str (io/file (System/getProperty "java.home") "bin" "java")))

(defn process
  "Starts clojure.main with arguments on the class path of the tests, or another, perhaps by another command.
  Its errors go where its output goes, unless `errors` is a file."
  ^Process [arguments & {:keys [errors class-path by]
                         :or {class-path (System/getProperty "java.class.path")}}]
  (let [builder (ProcessBuilder. ^java.util.List
                                 (concat by
                                         [java "-XX:TieredStopAtLevel=1" "-cp" class-path "clojure.main"]
                                         arguments))]
    (if errors
      (.redirectError builder (io/file errors))
      (.redirectErrorStream builder true))
    (.start builder)))

(defn evaluated
  "Returns what a form prints in a process of its own, with the options of `process`."
  [form & {:as options}]
  (with-open [output (.getInputStream (process ["-e" (pr-str form)] options))]
    (slurp output)))
