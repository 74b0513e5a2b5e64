(ns temse.harness.sink
  "An SMTP server for tests: the next hop, which accepts every mail and remembers it.

    (with-open [sink (sink/start)]
      … let an MTA deliver to port (:port sink) …
      (sink/await-message sink #(= [\"<b@example.org>\"] (:recipients %))))"
  (:require
   [clojure.string :as str]
   [temse.harness.smtp :as smtp])
  (:import
   (java.io BufferedInputStream Closeable IOException)
   (java.net InetAddress ServerSocket Socket)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private extensions ["sink.example.org" "8BITMIME" "SMTPUTF8" "SIZE" "DSN"])

(defn- reply-text [code lines]
  (str/join (concat (for [line (butlast lines)] (str code "-" line "\r\n"))
                    [(str code " " (last lines) "\r\n")])))

(defn- parse-path
  "Returns [path parameters] of the argument of MAIL or RCPT."
  [argument]
  (rest (re-find #"(?s)(<(?:\"(?:\\.|[^\"\\])*\"|[^\">])*>) ?(.*)" argument)))

(defn- read-content
  "Returns the octets up to the dot line, or nil when the client hangs up before."
  [in]
  (let [content (StringBuilder.)]
    (loop []
      (when-some [^String line (smtp/read-line-octets in)]
        (if (= line ".\r\n")
          (str content)
          (do (.append content (if (str/starts-with? line ".") (subs line 1) line))
              (recur)))))))

(defn- step
  "Returns [code lines mail], the reply to a command line and the mail as known after it."
  [mail line]
  (let [[_ verb argument] (re-matches #"(?s)(\w+) ?(.*)\r\n" line)]
    (case (some-> verb str/upper-case)
      "EHLO" [250 extensions nil]
      ("HELO" "RSET") [250 ["OK"] nil]
      "MAIL" (let [[sender parameters] (parse-path argument)]
               [250 ["OK"] {:sender sender
                            :sender-parameters parameters
                            :recipients []
                            :recipient-parameters []}])
      "RCPT" (let [[recipient parameters] (parse-path argument)]
               [250 ["OK"] (-> mail
                               (update :recipients conj recipient)
                               (update :recipient-parameters conj parameters))])
      "DATA" [354 ["Go on"] mail]
      "QUIT" [221 ["Bye"] nil]
      [500 ["What?"] mail])))

(defn- converse
  "Serves one client, calls `deliver` with each mail before it is acknowledged."
  [^Socket socket deliver]
  (let [in (BufferedInputStream. (.getInputStream socket))
        reply (fn [code lines]
                (.write (.getOutputStream socket) (smtp/octet-bytes (reply-text code lines))))]
    (reply 220 ["sink.example.org ESMTP"])
    (loop [mail nil]
      (when-some [line (smtp/read-line-octets in)]
        (let [[code lines mail] (step mail line)]
          (reply code lines)
          (case (int code)
            221 nil
            354 (when-some [content (read-content in)]
                  (deliver (assoc mail :data (smtp/octet-bytes content)))
                  (reply 250 ["OK"])
                  (recur nil))
            (recur mail)))))))

(defn- start-thread [^String title f]
  (doto (Thread. ^Runnable f title)
    (.setDaemon true)
    (.start)))

(defn- serve
  "Serves `socket` in a thread of its own until the client leaves or the socket is closed."
  [^Socket socket sockets deliver]
  (swap! sockets conj socket)
  (start-thread "smtp-sink-client"
                #(try
                   (converse socket deliver)
                   (catch IOException _)
                   (finally
                     (swap! sockets disj socket)
                     (.close socket)))))

(defrecord Sink [port messages ^ServerSocket server sockets]
  Closeable
  (close [_]
    (.close server)
    (run! (fn [^Socket socket] (.close socket)) @sockets)))

(defn start
  "Returns a running sink: its `:port` on 127.0.0.1 and an atom with the `:messages` delivered so
  far, in order. Close it. A message is a map:

    :sender                 ; \"<a@example.org>\", or \"<>\"
    :sender-parameters      ; \"SIZE=120 BODY=8BITMIME\", or \"\"
    :recipients             ; [\"<b@example.org>\" …]
    :recipient-parameters   ; [\"NOTIFY=NEVER\" …], one for each recipient, or \"\"
    :data                   ; Headers and body, a byte array without dot stuffing

  Addresses and parameters are octets, see `temse.harness.smtp`."
  ^Closeable []
  (let [server (ServerSocket. 0 50 (InetAddress/getByName "127.0.0.1"))
        messages (atom [])
        sockets (atom #{})
        deliver (fn [message]
                  (locking messages
                    (swap! messages conj message)
                    (.notifyAll ^Object messages)))]
    (start-thread "smtp-sink"
                  #(try
                     (while true
                       (serve (.accept server) sockets deliver))
                     (catch IOException _)))
    (->Sink (.getLocalPort server) messages server sockets)))

(defn await-message
  "Returns the first message for which `matches?` is true, as soon as it is there. Throws ex-info
  with the envelopes of all others when it is not there after `timeout-ms` (default: 30000)."
  ([sink matches?] (await-message sink matches? 30000))
  ([{:keys [messages]} matches? timeout-ms]
   (let [deadline (+ (System/nanoTime) (.toNanos TimeUnit/MILLISECONDS timeout-ms))]
     (locking messages
       (loop []
         (or (first (filter matches? @messages))
             (let [nanoseconds (- deadline (System/nanoTime))]
               (when-not (pos? nanoseconds)
                 (throw (ex-info "the message did not arrive"
                                 {:arrived (mapv #(dissoc % :data) @messages)})))
               (.timedWait TimeUnit/NANOSECONDS messages nanoseconds)
               (recur))))))))

(defn- split-content [{:keys [data]}]
  (str/split (smtp/octets data) #"\r\n\r\n" 2))

(defn headers
  "Returns the headers of a message in order, as pairs of name and value. A value is all octets
  between the colon and the last line end: the leading space and line ends in between stay."
  [message]
  (let [[head] (split-content message)]
    (mapv #(str/split % #":" 2) (str/split head #"\r\n(?![ \t])"))))

(defn body
  "Returns the body of a message: the bytes after the empty line."
  ^bytes [message]
  (let [[_ content] (split-content message)]
    (smtp/octet-bytes (or content ""))))
