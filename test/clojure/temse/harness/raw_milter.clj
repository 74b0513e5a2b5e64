(ns temse.harness.raw-milter
  "A milter that answers with the packets it is told, right or wrong.

    (with-open [milter (raw-milter/start)]
      ((:use! milter) {:mail [[\\q \"why\\u0000\"] [\\c \"\"]]})
      … an MTA before (:port milter) …)"
  (:require
   [temse.harness.smtp :as smtp])
  (:import
   (java.io BufferedInputStream Closeable DataInputStream EOFException IOException)
   (java.net InetAddress ServerSocket Socket)
   (java.nio ByteBuffer)
   (temse.protocol EventType Packet)))

(set! *warn-on-reflection* true)

(defn- agreement
  "Returns the payload of an answer to the offer."
  ^bytes [actions protocol]
  (.array (doto (ByteBuffer/allocate 12) (.putInt 6) (.putInt actions) (.putInt protocol))))

(defn- packet-bytes
  [[code payload]]
  (.toBytes (Packet. (byte (int code)) (smtp/octet-bytes payload))))

(defn- read-packet
  "Returns [code payload], or nil at the end."
  [^DataInputStream in]
  (try
    (let [length (.readInt in)
          code (.readByte in)
          payload (byte-array (dec length))]
      (.readFully in payload)
      [code payload])
    (catch EOFException _)))

(defn- answers
  "Returns the packets that answer the code, the number-th of its kind."
  [script ^EventType type number]
  (let [given (get script (keyword (.getName (.-keyword type))))]
    (cond
      (map? given) (get given number [[\c ""]])
      (some? given) given
      (.owesReply type) [[\c ""]])))

(defn- serve
  [^Socket socket script]
  (let [in (DataInputStream. (BufferedInputStream. (.getInputStream socket)))
        out (.getOutputStream socket)
        {:keys [actions protocol] :or {actions 0x1FF, protocol 0}} script]
    (loop [seen {}]
      (when-let [[code] (read-packet in)]
        (let [type (EventType/ofCode code)
              number (inc (long (seen type 0)))]
          (if (= EventType/OPTIONS type)
            (.write out ^bytes (packet-bytes [\O (smtp/octets (agreement actions protocol))]))
            (run! #(.write out ^bytes (packet-bytes %)) (answers script type number)))
          (recur (assoc seen type number)))))))

(defrecord RawMilter [port use! ^ServerSocket server]
  Closeable
  (close [_]
    (.close server)))

(defn start
  "Returns a running milter with its :port and :use!, a function of the script of connections to come:
  by event a vector of packets [code payload], or such vectors by number, from 1; what is missing is
  answered by continue. :actions and :protocol are the bits of its answer to the offer."
  ^Closeable []
  (let [server (ServerSocket. 0 50 (InetAddress/getByName "127.0.0.1"))
        script (atom {})]
    (doto (Thread. ^Runnable
            (fn []
              (try
                (while true
                  (let [socket (.accept server)
                        script @script]
                    (doto (Thread. ^Runnable (fn []
                                               (try
                                                 (with-open [socket socket]
                                                   (serve socket script))
                                                 (catch IOException _))))
                      (.setDaemon true)
                      (.start))))
                (catch IOException _))))
      (.setDaemon true)
      (.start))
    (->RawMilter (.getLocalPort server) #(reset! script %) server)))
