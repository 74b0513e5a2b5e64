(ns temse.impl.wire
  "A socket to a milter: packets out and in, with bounded waits."
  {:no-doc true}
  (:import
   (java.io Closeable IOException)
   (java.net SocketTimeoutException StandardProtocolFamily StandardSocketOptions UnixDomainSocketAddress)
   (java.nio ByteBuffer)
   (java.nio.channels SelectionKey Selector SocketChannel)
   (temse.protocol Packet PacketDecoder)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def ^:private largest-payload 16777216)

(defrecord Wire [^SocketChannel channel ^Selector selector ^PacketDecoder decoder ^ByteBuffer input timeout]
  Closeable
  (close [_]
    (.close channel)
    (.close selector)))

(defn- await-ready
  [{:keys [^SocketChannel channel ^Selector selector timeout]} operation what]
  (.interestOps (.keyFor channel selector) (int operation))
  (when (zero? (.select selector (long timeout)))
    (throw (SocketTimeoutException. (str "timed out after " timeout " ms, " what))))
  (.clear (.selectedKeys selector)))

(defn open
  "Returns a wire to a milter, Closeable, on which each wait may last `timeout` milliseconds.

  Throws IOException where nobody is there."
  ^Wire [^Endpoint milter timeout]
  (let [address (.address milter)
        unix? (instance? UnixDomainSocketAddress address)
        channel (if unix? (SocketChannel/open StandardProtocolFamily/UNIX) (SocketChannel/open))
        wire (->Wire channel (Selector/open) (PacketDecoder. largest-payload)
                     (.limit (ByteBuffer/allocate 65536) 0) timeout)]
    (try
      (.configureBlocking channel false)
      (.register channel (:selector wire) SelectionKey/OP_CONNECT)
      (when-not (.connect channel address)
        (await-ready wire SelectionKey/OP_CONNECT "connecting")
        (.finishConnect channel))
      (when-not unix?
        (.setOption channel StandardSocketOptions/TCP_NODELAY true))
      wire
      (catch IOException e
        (.close ^Wire wire)
        (throw e)))))

(defn send-packet
  "Sends a packet."
  [{:keys [^SocketChannel channel] :as wire} ^Packet packet]
  (let [output (ByteBuffer/wrap (.toBytes packet))]
    (while (.hasRemaining output)
      (when (zero? (.write channel output))
        (await-ready wire SelectionKey/OP_WRITE "writing")))))

(defn read-packet
  "Returns the next packet, or nil where the milter has closed."
  ^Packet [{:keys [^SocketChannel channel ^PacketDecoder decoder ^ByteBuffer input] :as wire}]
  (or (.next decoder input)
      (let [read (.read channel (.clear input))]
        (.flip input)
        (when-not (neg? read)
          (when (zero? read)
            (await-ready wire SelectionKey/OP_READ "waiting for an answer"))
          (recur wire)))))
