(ns temse.harness.dns
  "A DNS server for tests, over UDP and TCP on one port of 127.0.0.1, which answers from a map.

    (with-open [server (dns/start {\"example.org\" {:mx [[10 \"mx.example.org\"]]}
                                   \"mx.example.org\" {:a [\"127.0.0.1\"]}})]
      … ask 127.0.0.1 at port (:port server) …
      @(:questions server))"
  (:require
   [clojure.string :as string])
  (:import
   (java.io Closeable DataInputStream DataOutputStream IOException)
   (java.net BindException DatagramPacket DatagramSocket InetAddress ServerSocket Socket)
   (org.xbill.DNS AAAARecord ARecord Address CNAMERecord DClass Flags Header MXRecord Message Name PTRRecord Rcode Record SOARecord Section TXTRecord Type)))

(set! *warn-on-reflection* true)

(defn- absolute
  ^Name [text]
  (Name/fromString text Name/root))

(defn- records
  "Returns the records of a name in the map of a server."
  [^Name owner kind given ttl]
  (let [ttl (long ttl)
        in DClass/IN]
    (for [value given]
      (case kind
        :mx (MXRecord. owner in ttl (first value) (absolute (second value)))
        :a (ARecord. owner in ttl (Address/getByAddress value))
        :aaaa (AAAARecord. owner in ttl (Address/getByAddress value))
        :txt (TXTRecord. owner in ttl ^java.util.List (flatten [value]))
        :ptr (PTRRecord. owner in ttl (absolute value))
        :cname (CNAMERecord. owner in ttl (absolute value))))))

(defn- soa
  [ttl]
  (SOARecord. Name/root DClass/IN (long ttl) (absolute "ns.test") (absolute "admin.test") 1 1 1 1 (long ttl)))

(defn- answer
  "Returns the answer to a question, nil for silence."
  ^Message [zone ^Message query]
  (let [^Record question (.getQuestion query)
        owner (.getName question)
        kind (keyword (string/lower-case (Type/string (.getType question))))
        {:keys [ttl] :or {ttl 60} :as entry} (get zone (string/lower-case (.toString owner true)))
        given (get entry kind (:any entry))
        response (Message. (.getID (.getHeader query)))
        ^Header header (.getHeader response)
        add (fn [record section] (.addRecord response record (int section)))]
    (run! #(.setFlag header (int %)) [Flags/QR Flags/RA Flags/RD])
    (.addRecord response question Section/QUESTION)
    (cond
      (= :silence given) nil
      (= :query given) query
      (fn? given) (do (given response) response)
      (keyword? given) (do (.setRcode header (Rcode/value (string/upper-case (name given)))) response)
      (and given (not= :cname kind)) (do (run! #(add % Section/ANSWER) (records owner kind given ttl)) response)
      (:cname entry) (do (run! #(add % Section/ANSWER) (records owner :cname (:cname entry) ttl)) response)
      :else (do (when-not entry (.setRcode header Rcode/NXDOMAIN))
                (add (soa ttl) Section/AUTHORITY)
                response))))

(defn- reply
  "Returns the octets of the reply to those of a question, nil for silence."
  ^bytes [{:keys [zone questions]} octets longest]
  (let [query (Message. ^bytes octets)
        ^Record question (.getQuestion query)]
    (swap! questions conj [(.toString (.getName question) true)
                           (keyword (string/lower-case (Type/string (.getType question))))])
    (when-let [response (answer @zone query)]
      (.toWire response (int longest)))))

(defn- serve-udp
  [server ^DatagramSocket socket]
  (let [packet (DatagramPacket. (byte-array 4096) 4096)]
    (.receive socket packet)
    (when-let [octets (reply server (java.util.Arrays/copyOf (.getData packet) (.getLength packet)) 512)]
      (.send socket (DatagramPacket. octets (alength octets) (.getSocketAddress packet))))))

(defn- serve-tcp
  [server ^ServerSocket listener]
  (with-open [socket ^Socket (.accept listener)]
    (let [in (DataInputStream. (.getInputStream socket))
          out (DataOutputStream. (.getOutputStream socket))
          query (byte-array (.readUnsignedShort in))]
      (.readFully in query)
      (when-let [octets (reply server query 65535)]
        (.writeShort out (alength octets))
        (.write out octets)))))

(defn- start-thread
  [title ^Closeable socket serve]
  (doto (Thread. ^Runnable (fn []
                             (while (try (serve) true
                                         (catch IOException _
                                           (not (if (instance? DatagramSocket socket)
                                                  (.isClosed ^DatagramSocket socket)
                                                  (.isClosed ^ServerSocket socket)))))))
                 ^String title)
    (.setDaemon true)
    (.start)))

(defn- sockets
  "Returns a socket of UDP and one of TCP with the same port, any free one for 0."
  [port]
  (let [loopback (InetAddress/getByName "127.0.0.1")
        tcp (ServerSocket. port 50 loopback)
        udp (try
              (DatagramSocket. (.getLocalPort tcp) loopback)
              (catch BindException e
                (.close tcp)
                (when-not (zero? (long port))
                  (throw e))))]
    (if udp [udp tcp] (recur port))))

(defrecord Server [port address zone questions ^DatagramSocket udp ^ServerSocket tcp]
  Closeable
  (close [_]
    (.close udp)
    (.close tcp)))

(defn start
  "Returns a running server: its `:port`, its `:address` such as \"127.0.0.1:5353\", an atom of its `:zone`,
  and an atom of the `:questions` that it was asked, as [\"example.org\" :mx]. Close it.

  The zone is a map of names, in lower case and without the dot at the end:

    {\"example.org\" {:mx [[10 \"mx.example.org\"] …]
                    :a [\"192.0.2.1\" …]
                    :aaaa [\"2001:db8::1\" …]
                    :txt [\"one\" [\"put \" \"together\"] …]
                    :ptr [\"host.example.org\" …]
                    :cname [\"www.example.org\"]
                    :any …       ; instead of all that is missing
                    :ttl 60}}    ; seconds

  A keyword in place of records is an error code, such as :servfail or :refused, or :silence, or :query, which
  is sent back. A function in their place is called with the response, which has a question only, to change it.
  Answers by UDP of more than 512 octets are truncated. It listens on a port, or on any free one."
  (^Closeable [zone]
   (start zone 0))
  (^Closeable [zone port]
   (let [[^DatagramSocket udp ^ServerSocket tcp] (sockets port)
         port (.getLocalPort tcp)
         server (->Server port (str "127.0.0.1:" port) (atom zone) (atom []) udp tcp)]
     (start-thread "dns-udp" udp #(serve-udp server udp))
     (start-thread "dns-tcp" tcp #(serve-tcp server tcp))
     server)))
