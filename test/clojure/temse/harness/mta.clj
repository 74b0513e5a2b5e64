(ns temse.harness.mta
  "What all real MTAs for tests have in common: each has a directory and a port of its own, and a
  shell script, the guard, which runs it and cleans up after it."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str])
  (:import
   (java.io BufferedReader Closeable File)
   (java.net InetAddress InetSocketAddress NetworkInterface Socket StandardSocketOptions)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private stop-timeout-seconds 30)

(defn ipv6?
  "Returns true if the machine has the address ::1."
  []
  (some? (NetworkInterface/getByInetAddress (InetAddress/getByName "::1"))))

(defn certificate
  "Returns a file with a new self-signed certificate of mx.example.org and its private key, in PEM."
  ^File []
  (let [file (File/createTempFile "temse-certificate" ".pem")
        path (str file)
        command ["openssl" "req" "-x509" "-newkey" "rsa:2048" "-nodes" "-days" "2" "-subj" "/CN=mx.example.org"
                 "-keyout" (str path ".key") "-out" (str path ".crt")]
        process (.start (.redirectErrorStream (ProcessBuilder. ^java.util.List command) true))
        output (slurp (.getInputStream process))
        parts (map io/file [(str path ".key") (str path ".crt")])]
    (when-not (zero? (.waitFor process))
      (throw (ex-info output {})))
    (spit file (str/join (map slurp parts)))
    (run! io/delete-file parts)
    (.setReadable file false false)
    (.setReadable file true true)
    (.deleteOnExit file)
    file))

(defn reserve-port
  "Returns a bound socket whose port is given to nobody else while the socket is open. An MTA can
  bind it all the same, since it allows to share or reuse ports; so can a milter that takes ports over.
  Without this, two MTAs that happen to choose the same port would share its clients."
  ^Socket []
  (doto (Socket.)
    (.setReuseAddress true)
    (.setOption StandardSocketOptions/SO_REUSEPORT true)
    (.bind (InetSocketAddress. 0))))

(defn- start-guard
  "Starts the guard, away from the signals of our terminal."
  ^Process [script arguments]
  (let [command (into ["setsid" "sh" "-c" (slurp (io/resource script)) script] (map str) arguments)]
    (-> (ProcessBuilder. ^java.util.List command)
        (.redirectErrorStream true)
        (.start))))

(defn- stop-guard
  "Returns the exit code of the guard, which is 0 if the MTA was there to be killed."
  [^Process guard]
  (.close (.getOutputStream guard))
  (when-not (.waitFor guard stop-timeout-seconds TimeUnit/SECONDS)
    (throw (ex-info "the MTA does not stop" {:guard (.pid guard)})))
  (.exitValue guard))

(defn- await-ready [^Process guard]
  (let [^BufferedReader output (io/reader (.getInputStream guard))]
    (loop [lines []]
      (let [line (.readLine output)]
        (cond
          (nil? line) (throw (ex-info (str/join "\n" (cons "the MTA does not start" lines)) {}))
          (not= "ready" line) (recur (conj lines line)))))))

(defrecord Mta [port stop log queue-directory]
  Closeable
  (close [_]
    (when-not (zero? (stop))
      (throw (ex-info "the MTA ended before it was stopped" {:port port})))))

(defn start
  "Starts an MTA and returns it as soon as it listens. Options:

    :script      ; Resource with the guard, a shell script: it runs the MTA that is configured in
                 ; the directory $1, prints \"ready\" once it listens, and when standard input ends
                 ; it kills the MTA, removes the directory and exits with 0; if the MTA does not
                 ; start or has ended already, with another number
    :arguments   ; $2 and so on (default: none)
    :files       ; Function of the port that returns the MTA's configuration: the files to write
                 ; into the directory, a map of name to text

  The result is closeable and a map:

    :port              ; Its port on 127.0.0.1, and on ::1 if the machine has it
    :queue-directory   ; A java.io.File, the subdirectory \"queue\"
    :log               ; (log) returns the text of the log so far, the file \"mail.log\"
    :stop              ; (stop) kills the MTA and removes all its files; also done if the JVM dies;
                       ; returns 0, or another number if the MTA had ended already

  Throws ex-info with the reason in its message when the MTA does not start."
  ^Closeable [{:keys [script arguments files]}]
  (let [directory (.toFile (Files/createTempDirectory "temse-mta-" (make-array FileAttribute 0)))
        reservation (reserve-port)
        port (.getLocalPort reservation)]
    (doseq [[file text] (files port)]
      (spit (io/file directory file) text))
    (let [guard (start-guard script (cons directory arguments))
          log-file (io/file directory "mail.log")
          stop #(with-open [_ reservation] (stop-guard guard))]
      (try
        (await-ready guard)
        (catch Throwable e
          (stop)
          (throw e)))
      (->Mta port
             stop
             #(if (.exists log-file) (slurp log-file) "")
             (io/file directory "queue")))))
