(ns temse.bench.allocation
  "How many bytes a header event allocates, from decoding to the reply, without a socket."
  (:require
   [seen-filter]
   [temse.impl.log :as log]
   [temse.milter :as milter])
  (:import
   (com.sun.management ThreadMXBean)
   (java.lang.management ManagementFactory)
   (java.nio ByteBuffer)
   (temse.protocol EventCodec Offer Output Packet)
   (temse.server EngineOptions MilterFactory ServerListener SystemLoggerListener)
   (temse.server.internal ConnectionEngine)
   (temse.transport.internal Link)))

(set! *warn-on-reflection* true)

(def ^:private headers 100)
(def ^:private warm-up-mails 5000)
(def ^:private mails 100)

(def ^:private greeting
  [(.packet Offer/CURRENT)
   (EventCodec/encode {:event :connect, :host-name "mail.example.org", :family :inet, :port 40110
                       :address "192.0.2.25"})
   (EventCodec/encode {:event :hello, :greeting "mail.example.org"})])

(def ^:private envelope
  [(EventCodec/encode {:event :mail, :sender "<a@example.org>", :options []})
   (EventCodec/encode {:event :recipient, :address "<b@example.com>", :options []})])

(def ^:private header
  [(Packet. (byte \D) (.getBytes "Li\u00004TEMSE1A2B\u0000"))
   (EventCodec/encode {:event :header, :name "Subject"
                       :value "The minutes of yesterday's meeting, and what comes next"})])

(defn- bytes-of
  "Returns packets as they stand in a read buffer."
  ^ByteBuffer [packets]
  (let [arrays (map #(.toBytes ^Packet %) packets)
        buffer (ByteBuffer/allocateDirect (reduce + (map alength arrays)))]
    (run! #(.put buffer ^bytes %) arrays)
    buffer))

(defn- link
  ^Link [output]
  (reify Link
    (output [_] output)
    (flush [_])
    (enter [_ _] true)
    (leave [_])
    (later [_ _])
    (peer [_] "inet:40112@127.0.0.1")))

(defn- allocated
  "Returns the number of bytes that this thread has allocated so far."
  ^long []
  (.getThreadAllocatedBytes ^ThreadMXBean (ManagementFactory/getThreadMXBean)
                            (.getId (Thread/currentThread))))

(defn- of-header [^MilterFactory factory ^ServerListener listener]
  (let [output (Output.)
        engine (ConnectionEngine. factory EngineOptions/DEFAULTS listener (link output) 1)
        play (fn [^ByteBuffer packets]
               (.clear output)
               (.receive engine (.rewind packets) 0))
        mail (bytes-of (cons (Packet. \A) envelope))
        field (bytes-of header)
        play-mail (fn []
                    (play mail)
                    (let [before (allocated)]
                      (dotimes [_ headers]
                        (play field))
                      (- (allocated) before)))]
    (play (bytes-of greeting))
    (dotimes [_ warm-up-mails]
      (play-mail))
    (quot (reduce + (repeatedly mails play-mail)) (* mails headers))))

(defn- java-factory []
  (let [milter (.getDeclaredMethod (Class/forName "SeenFilter") "milter" (make-array Class 0))]
    (.setAccessible milter true)
    (.invoke milter nil (object-array 0))))

(defn measure
  "Returns the bytes of each API: {:java 389, :clojure 517}."
  []
  {:java (of-header (java-factory) (SystemLoggerListener. (System/getLogger "seen")))
   :clojure (of-header (milter/factory seen-filter/filter) (log/listener "seen" nil))})
