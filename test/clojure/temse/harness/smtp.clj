(ns temse.harness.smtp
  "An SMTP client for tests: it sends what it is told to, and shows what came back.

  Text is given and returned as octets: a string with one character per byte (ISO-8859-1), so that
  every byte can be sent and none is lost. A reply is a map of its code and of the texts that follow
  the code:

    {:code 250, :lines [\"mx.example.org\" \"8BITMIME\"]}

  * `send-mail` -- one connection, one mail, all replies,
  * `connect`, `command`, `send-octets`, `read-reply`, `send-content`, `transact` -- step by step,
  * `start-tls` -- the same connection, encrypted,
  * `octets`, `octet-bytes`, `utf-8` -- from and to octets.

  No read lasts longer than 30 seconds."
  (:require
   [clojure.string :as str])
  (:import
   (java.io BufferedInputStream Closeable EOFException InputStream OutputStream)
   (java.net InetSocketAddress Socket)
   (java.nio.charset StandardCharsets)
   (java.security SecureRandom)
   (javax.net.ssl SSLContext SSLSocket TrustManager X509TrustManager)))

(set! *warn-on-reflection* true)

(def ^:private timeout-ms 30000)

(defn octets
  "Returns the bytes `data` as octets; a string is taken for octets already."
  ^String [data]
  (if (string? data)
    data
    (String. ^bytes data StandardCharsets/ISO_8859_1)))

(defn octet-bytes
  "Returns the bytes that the string `text` of octets stands for."
  ^bytes [^String text]
  (.getBytes text StandardCharsets/ISO_8859_1))

(defn utf-8
  "Returns the UTF-8 encoding of `text` as octets.

    (utf-8 \"<jörg@example.org>\")"
  ^String [^String text]
  (octets (.getBytes text StandardCharsets/UTF_8)))

(defn read-line-octets
  "Returns the next line of `in` with its line end, or nil when `in` ends before the line does."
  [^InputStream in]
  (let [line (StringBuilder.)]
    (loop []
      (let [octet (.read in)]
        (when-not (neg? octet)
          (.append line (char octet))
          (if (= octet (int \newline))
            (str line)
            (recur)))))))

(defrecord Connection [greeting ^Socket socket ^InputStream in ^OutputStream out]
  Closeable
  (close [_] (.close socket)))

(defn send-octets
  "Sends `text` as it is, without adding a line end."
  [{:keys [^OutputStream out]} text]
  (.write out (octet-bytes text))
  (.flush out))

(defn read-reply
  "Returns the next reply, see the namespace. Throws EOFException when the server has hung up."
  [{:keys [in]}]
  (loop [lines []]
    (let [line (or (read-line-octets in)
                   (throw (EOFException. "the server hung up instead of replying")))
          [_ code separator text] (or (re-matches #"(?s)(\d{3})([ -]?)(.*)\r\n" line)
                                      (throw (ex-info "not an SMTP reply" {:line line})))
          lines (conj lines text)]
      (if (= separator "-")
        (recur lines)
        {:code (parse-long code), :lines lines}))))

(defn command
  "Sends `line` and a line end, returns the reply."
  [connection line]
  (send-octets connection (str line "\r\n"))
  (read-reply connection))

(defn connect
  "Returns a connection, which carries the server's first reply as `:greeting`. Close it: nothing is
  sent then, so the server sees a client which is suddenly gone.

    :port   ; Port of the server
    :host   ; Its address (default: \"127.0.0.1\")
    :from   ; Address of the client, such as \"127.0.66.1\" (default: one that the system chooses)"
  ^Closeable [{:keys [port host from] :or {host "127.0.0.1"}}]
  (let [socket (Socket.)]
    (try
      (when from
        (.bind socket (InetSocketAddress. ^String from 0)))
      (.connect socket (InetSocketAddress. ^String host (int port)) timeout-ms)
      (.setSoTimeout socket timeout-ms)
      (.setTcpNoDelay socket true)
      (let [connection (->Connection nil socket (BufferedInputStream. (.getInputStream socket))
                                     (.getOutputStream socket))]
        (assoc connection :greeting (read-reply connection)))
      (catch Throwable e
        (.close socket)
        (throw e)))))

(defn- trusting
  "Returns an SSLContext that takes every certificate for good."
  ^SSLContext []
  (doto (SSLContext/getInstance "TLS")
    (.init nil
           (into-array TrustManager [(reify X509TrustManager
                                       (checkClientTrusted [_ _ _])
                                       (checkServerTrusted [_ _ _])
                                       (getAcceptedIssuers [_] (make-array java.security.cert.X509Certificate 0)))])
           (SecureRandom.))))

(defn start-tls
  "Sends STARTTLS, and returns the connection, encrypted by TLS 1.2, which says hello anew. Any
  certificate of the server will do."
  [{:keys [^Socket socket] :as connection}]
  (let [reply (command connection "STARTTLS")]
    (when-not (= 220 (:code reply))
      (throw (ex-info "no TLS" reply))))
  (let [^SSLSocket encrypted (.createSocket (.getSocketFactory (trusting)) socket "127.0.0.1" (.getPort socket) true)]
    (.setEnabledProtocols encrypted (into-array ["TLSv1.2"]))
    (.startHandshake encrypted)
    (assoc connection
           :socket encrypted
           :in (BufferedInputStream. (.getInputStream encrypted))
           :out (.getOutputStream encrypted))))

(defn send-content
  "Sends the content of a mail after DATA was accepted, ended by a dot line, returns the reply.

  `headers` are pairs of name and value. A value is what stands between the colon and the last line
  end, so it usually begins with a space. `body` is octets or bytes; lines which begin with a dot
  are stuffed, and a line end is added to the last line if it has none."
  [connection headers body]
  (let [head (str/join (for [[field value] headers] (str field ":" value "\r\n")))
        content (str head "\r\n" (octets body))]
    (send-octets connection (str (str/replace content #"(^|\r\n)\." "$1..")
                                 (when-not (str/ends-with? content "\r\n") "\r\n")
                                 ".\r\n"))
    (read-reply connection)))

(defn- accepted? [reply]
  (boolean (some-> reply :code (< 400))))

(defn- hung-up? [reply]
  (= 421 (:code reply)))

(defn- send-recipients
  "Returns the replies up to the one after which the server has hung up; that is ::last? then."
  [connection recipients]
  (reduce (fn [replies recipient]
            (if-let [reply (try
                             (command connection (str "RCPT TO:" recipient))
                             (catch EOFException _))]
              (cond-> (conj replies reply)
                (hung-up? reply) reduced)
              (reduced (vary-meta replies assoc ::last? true))))
          []
          recipients))

(defn transact
  "Sends one mail over `connection`, which has said hello already, and returns the replies: `:mail`,
  `:rcpt` (a vector), `:data`, and `:message` for the content. It stops at the first refusal which
  leaves nothing to go on with; what was not asked then is nil. After a refusal the transaction is
  still open: end it with RSET.

    :sender       ; What follows \"MAIL FROM:\" (default: \"<sender@example.org>\")
    :recipients   ; What follows each \"RCPT TO:\" (default: [\"<recipient@example.org>\"])
    :headers      ; See `send-content` (default: [[\"Subject\" \" A test\"]])
    :body         ; See `send-content` (default: \"Hello.\\r\\n\")

    (transact connection {:sender \"<a@example.org> BODY=8BITMIME\"})"
  [connection {:keys [sender recipients headers body]
               :or {sender "<sender@example.org>"
                    recipients ["<recipient@example.org>"]
                    headers [["Subject" " A test"]]
                    body "Hello.\r\n"}}]
  (let [mail (command connection (str "MAIL FROM:" sender))
        rcpt (when (accepted? mail) (send-recipients connection recipients))
        data (when (and (some accepted? rcpt) (not (hung-up? (peek rcpt))) (not (::last? (meta rcpt))))
               (command connection "DATA"))
        message (when (accepted? data) (send-content connection headers body))]
    {:mail mail, :rcpt rcpt, :data data, :message message}))

(defn send-mail
  "Connects, says hello, sends one mail, quits, and returns the replies of `transact` together with
  `:greeting` and `:helo`. Takes the options of `connect` and `transact` and

    :hello   ; The line that says hello (default: \"EHLO client.example.org\")

    (send-mail {:port 2525, :recipients [\"<b@example.org>\"], :body \"Hello.\\r\\n\"})"
  [{:keys [hello] :or {hello "EHLO client.example.org"} :as options}]
  (with-open [connection (connect options)]
    (let [greeting (:greeting connection)
          helo (when (accepted? greeting) (command connection hello))
          replies (merge {:greeting greeting, :helo helo}
                         (when (accepted? helo) (transact connection options)))]
      (when-not (some hung-up? (flatten (vals replies)))
        (command connection "QUIT"))
      replies)))
