(ns temse.harness.fault-proxy
  "A proxy between an MTA and a milter that does harm on purpose, at a packet or within it.

    (with-open [proxy (fault-proxy/start \"inet:0@127.0.0.1\"
                                         (constantly {:milter \"inet:20025@127.0.0.1\"
                                                      :replies {:incident {:fault :cut, :code \\c, :nth 2, :at 1/2}}}))]
      … let an MTA connect to (:address proxy) …)

  Either side may be a Unix-domain socket.

  What befalls a connection is a plan, a map:

    :milter     ; address of the milter
    :events     ; what befalls what the MTA sends, :replies what the milter sends; each a map:
      :style      ; how packets pass: :whole (the default), :split in pieces, :dribble, byte after byte, or
                  ; :merge, those that come together as one piece
      :seed       ; of the sizes of pieces
      :incident   ; what happens once, a map of
        :fault      ; :cut, both sides are closed; :reset, both are reset; :half-close, the receiver sees the
                    ; end and the other direction goes on; :delay; :duplicate, the packet comes twice.
                    ; A Unix-domain socket has a reset only for who has sent what is not read; for others
                    ; it is closed
        :code       ; code of the packet, a character; nil for any
        :nth        ; of those packets, from 1 on
        :at         ; after which part of the packet: 0 is before it, 1 behind it
        :millis     ; of a delay
    :on-bytes   ; function of :mta or :milter, and the bytes that the milter gets or has sent
    :happened   ; a promise of [fault direction code at] of an incident
    :taken      ; a promise that is delivered when the MTA has connected"
  (:import
   (java.io BufferedInputStream ByteArrayOutputStream Closeable IOException InputStream OutputStream)
   (java.net InetSocketAddress SocketAddress StandardProtocolFamily StandardSocketOptions)
   (java.nio ByteBuffer)
   (java.nio.channels ServerSocketChannel SocketChannel)
   (java.nio.file Files)
   (java.nio.file.attribute PosixFilePermissions)
   (java.util Arrays Random)
   (java.util.concurrent.locks LockSupport)
   (temse.transport Endpoint Endpoint$Inet Endpoint$Unix)))

(set! *warn-on-reflection* true)

;; ---- streams of a socket; those of the JDK let nobody write while somebody reads

(defn- read-now
  "Reads what has come into the buffer, without waiting."
  [^SocketChannel channel ^ByteBuffer ahead]
  (.compact ahead)
  (try
    (.configureBlocking channel false)
    (.read channel ahead)
    (.configureBlocking channel true)
    (finally
      (.flip ahead))))

(defn- input
  "Returns a stream that reads from a socket; its `available` knows of all that has come."
  ^InputStream [^SocketChannel channel]
  (let [ahead (.flip (ByteBuffer/allocate 8192))
        read-some (fn [octets from size]
                    (if (.hasRemaining ahead)
                      (let [n (min (int size) (.remaining ahead))]
                        (.get ahead octets from n)
                        n)
                      (.read channel (ByteBuffer/wrap octets from size))))]
    (BufferedInputStream.
      (proxy [InputStream] []
        (read
          ([] (throw (UnsupportedOperationException.)))
          ([octets] (read-some octets 0 (alength ^bytes octets)))
          ([octets from size] (read-some octets from size)))
        (available []
          (read-now channel ahead)
          (.remaining ahead))))))

(defn- output
  ^OutputStream [^SocketChannel channel]
  (proxy [OutputStream] []
    (write
      ([octets] (.write ^OutputStream this octets 0 (alength ^bytes octets)))
      ([octets from size]
       (let [buffer (ByteBuffer/wrap octets from size)]
         (while (.hasRemaining buffer)
           (.write channel buffer)))))))

;; ---- packets

(defn- read-packet
  "Returns the next packet with its length; at the end what is left of one, which may be nothing."
  ^bytes [^InputStream in]
  (let [head (.readNBytes in 4)
        length (if (= 4 (alength head))
                 (reduce (fn [n octet] (+ (* 256 (long n)) (bit-and 0xFF (long octet)))) 0 head)
                 0)
        packet (ByteArrayOutputStream.)]
    (.write packet head)
    (.write packet (.readNBytes in (int length)))
    (.toByteArray packet)))

(defn- code-of
  "Returns the code of a whole packet, nil of less."
  [^bytes packet]
  (when (< 4 (alength packet))
    (char (bit-and 0xFF (aget packet 4)))))

(defn- pause
  [micros]
  (LockSupport/parkNanos (* 1000 (long micros))))

(def ^:private merge-micros
  "How long packets wait for others that come together with them."
  3000)

(defn- read-together
  "Returns a packet and those that come at the same time."
  ^bytes [^InputStream in]
  (let [together (ByteArrayOutputStream.)]
    (loop []
      (.write together (read-packet in))
      (pause merge-micros)
      (when (and (< 4 (.available in)) (< (.size together) 200000))
        (recur)))
    (.toByteArray together)))

;; ---- ways to pass bytes on

(def ^:private most-dribbled
  "Bytes of a packet that pass one by one; further ones follow together."
  60)

(defn- write-pieces
  [^OutputStream out ^Random random ^bytes bytes]
  (loop [from 0]
    (let [left (- (alength bytes) from)
          size (min left (inc (.nextInt random (if (< left 200) 12 20000))))]
      (when (pos? left)
        (.write out bytes from size)
        (pause 50)
        (recur (+ from size))))))

(defn- write-dribbling
  [^OutputStream out ^bytes bytes]
  (let [dribbled (min (long most-dribbled) (alength bytes))]
    (dotimes [i dribbled]
      (.write out bytes i 1)
      (pause 200))
    (.write out bytes dribbled (- (alength bytes) dribbled))))

(defn- write-in-style
  [{:keys [style random]} out bytes]
  (case style
    :split (write-pieces out random bytes)
    :dribble (write-dribbling out bytes)
    (.write ^OutputStream out ^bytes bytes)))

;; ---- ends

(defn- close
  [^SocketChannel socket]
  (try
    (.close socket)
    (catch IOException _)))

(defn- end-output
  [^SocketChannel socket]
  (try
    (.shutdownOutput socket)
    (catch IOException _)))

(defn- reset
  [^SocketChannel socket]
  (try
    (.setOption socket StandardSocketOptions/SO_LINGER (Integer/valueOf 0))
    (catch IOException _))
  (close socket))

;; ---- one direction

(defn- meant?
  "Returns true if an incident is to happen at the packet, which is one more of those that it counts."
  [{:keys [code nth]} seen packet]
  (let [packet-code (code-of packet)]
    (and packet-code
         (or (nil? code) (= code packet-code))
         (= nth (vswap! seen inc)))))

(defn- passing
  "Returns a function that passes bytes of a direction on."
  [{:keys [on-bytes]} direction way to]
  (let [out (output to)]
    (fn [^bytes bytes]
      (when (pos? (alength bytes))
        (when (= :events direction)
          (on-bytes :mta bytes))
        (write-in-style way out bytes)))))

(defn- befall
  "Has an incident happen to a packet. Returns true if the direction goes on."
  [{:keys [fault at millis]} ^bytes packet pass ^InputStream in from to]
  (let [offset (int (Math/round (* (double at) (alength packet))))
        rest-of-packet (Arrays/copyOfRange packet offset (alength packet))]
    (if (= :duplicate fault)
      (let [twice (ByteArrayOutputStream.)]
        (.write twice packet)
        (.write twice packet)
        (pass (.toByteArray twice))
        true)
      (do
        (pass (Arrays/copyOfRange packet 0 offset))
        (case fault
          :cut (do (run! end-output [to from])
                   (run! close [to from])
                   false)
          :reset (do (run! reset [to from])
                     false)
          :half-close (do (end-output to)
                          (.transferTo in (OutputStream/nullOutputStream))
                          false)
          :delay (do (Thread/sleep (long millis))
                     (pass rest-of-packet)
                     true))))))

(defn- pump
  "Passes what comes from one socket on to the other until it ends."
  [{:keys [on-bytes happened] :as plan} direction from to]
  (let [{:keys [style seed incident] :or {style :whole, seed 0}} (direction plan)
        in (input from)
        pass (passing plan direction {:style style, :random (Random. (long seed))} to)
        seen (volatile! 0)]
    (loop []
      (let [^bytes packet (if (= :merge style) (read-together in) (read-packet in))]
        (when (= :replies direction)
          (on-bytes :milter packet))
        (when (pos? (alength packet))
          (if (and incident (meant? incident seen packet))
            (do (deliver happened [(:fault incident) direction (code-of packet) (:at incident)])
                (when (befall incident packet pass in from to)
                  (recur)))
            (do (pass packet)
                (recur))))))
    (end-output to)))

;; ---- connections

(defn- socket-address
  ^SocketAddress [address]
  (.address (Endpoint/parse address)))

(defn- hurry
  "Has a socket send what it is given at once."
  [^SocketChannel socket]
  (when (contains? (.supportedOptions socket) StandardSocketOptions/TCP_NODELAY)
    (.setOption socket StandardSocketOptions/TCP_NODELAY true)))

(defn- start-thread
  ^Thread [^String title f]
  (doto (Thread. ^Runnable f title)
    (.setDaemon true)
    (.start)))

(defn- serve
  "Passes on between an MTA and its milter until both have ended; a side that resets resets the other."
  [plan ^SocketChannel mta sockets]
  (try
    (with-open [mta mta
                milter (SocketChannel/open (socket-address (:milter plan)))]
      (swap! sockets conj mta milter)
      (run! hurry [mta milter])
      (let [guarded (fn [direction from to]
                      (fn []
                        (try
                          (pump plan direction from to)
                          (catch IOException _
                            (run! reset [from to])))))
            events (start-thread "faults-events" (guarded :events mta milter))]
        ((guarded :replies milter mta))
        (.join events))
      (swap! sockets disj mta milter))
    (catch IOException _)))

(defrecord ^:private Proxy [address ^ServerSocketChannel server sockets]
  Closeable
  (close [_]
    (.close server)
    (run! close @sockets)
    (let [endpoint (Endpoint/parse address)]
      (when (instance? Endpoint$Unix endpoint)
        (Files/delete (.path ^Endpoint$Unix endpoint))))))

(defn- listen
  "Returns [server address] of a server that anybody may connect to."
  [address]
  (let [endpoint (Endpoint/parse address)
        unix? (instance? Endpoint$Unix endpoint)
        server (ServerSocketChannel/open (if unix? StandardProtocolFamily/UNIX StandardProtocolFamily/INET))]
    (.bind server (.address endpoint) 50)
    (if unix?
      (do (Files/setPosixFilePermissions (.path ^Endpoint$Unix endpoint) (PosixFilePermissions/fromString "rw-rw-rw-"))
          [server address])
      [server (str (Endpoint$Inet. false
                                   (.host ^Endpoint$Inet endpoint)
                                   (.getPort ^InetSocketAddress (.getLocalAddress server))))])))

(defn start
  "Starts a proxy at an address, with the port 0 at a free one, and returns it; :address is where it listens, as
  Sendmail writes it. `next-plan` returns the plan of the connection that has come. Close it."
  ^Closeable [address next-plan]
  (let [[^ServerSocketChannel server address] (listen address)
        sockets (atom #{})]
    (start-thread "faults"
                  #(try
                     (while true
                       (let [mta (.accept server)
                             plan (merge {:on-bytes (fn [_ _]), :happened (promise), :taken (promise)}
                                         (next-plan))]
                         (start-thread "faults-replies" (fn [] (serve plan mta sockets)))
                         (deliver (:taken plan) true)))
                     (catch IOException _)))
    (->Proxy address server sockets)))
