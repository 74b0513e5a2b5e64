(ns temse.bench.peer
  "The MTA's side of a connection in bare packets: cheap enough for thousands of connections at
  once, and every byte of an answer is checked."
  (:require
   [temse.bench.servers :as servers])
  (:import
   (java.io EOFException)
   (java.net StandardSocketOptions UnixDomainSocketAddress)
   (java.nio ByteBuffer)
   (java.nio.channels SocketChannel)
   (java.util Arrays)
   (temse.protocol EventCodec Offer Packet)))

(set! *warn-on-reflection* true)

(defn packet
  "Returns the bytes of an event."
  ^bytes [event]
  (.toBytes (EventCodec/encode event)))

(def go-on
  "The bytes of the answer `continue`."
  (.toBytes (Packet. \c)))

(defn send-bytes
  "Sends bytes and waits until the system has taken them."
  [^SocketChannel channel ^bytes octets]
  (let [output (ByteBuffer/wrap octets)]
    (while (.hasRemaining output)
      (.write channel output))))

(defn- read-bytes ^bytes [^SocketChannel channel length]
  (let [input (ByteBuffer/allocate length)]
    (while (.hasRemaining input)
      (when (neg? (.read channel input))
        (throw (EOFException. "the server closed the connection"))))
    (.array input)))

(defn expect
  "Reads the bytes of an answer. Throws ex-info when they are others."
  [channel ^bytes answer]
  (let [octets (read-bytes channel (alength answer))]
    (when-not (Arrays/equals octets answer)
      (throw (ex-info "an answer is wrong" {:expected (vec answer), :was (vec octets)})))))

(defn converse
  "Sends each packet when the one before it was answered as expected: pairs of packet and answer."
  [channel exchanges]
  (doseq [[octets answer] exchanges]
    (send-bytes channel octets)
    (expect channel answer)))

(def ^:private offer (.toBytes (.packet Offer/CURRENT)))

(defn connect
  "Returns a SocketChannel to an address over which the offer was answered."
  ^SocketChannel [address]
  (let [channel (servers/connect address)]
    (when-not (instance? UnixDomainSocketAddress (.getRemoteAddress channel))
      (.setOption channel StandardSocketOptions/TCP_NODELAY true))
    (send-bytes channel offer)
    (let [length (.getInt (ByteBuffer/wrap (read-bytes channel 4)))
          answer (read-bytes channel length)]
      (when-not (= (int \O) (aget answer 0))
        (throw (ex-info "the offer was not answered" {:was (vec answer)}))))
    channel))

(defn with-connections
  "Returns what f returns of a vector of n connections to an address, which are closed then."
  [n address f]
  (let [channels (vec (repeatedly n #(connect address)))]
    (try
      (f channels)
      (finally
        (run! #(.close ^SocketChannel %) channels)))))
