(ns temse.impl.proxy.passage
  "Passes the bytes of an MTA on to a milter, and those of the milter back.

  A connection has two threads: one connects to the milter and writes to it, the other reads from it.
  So neither a milter that is slow to answer the connection nor one that does not read holds a loop. A
  bounded amount waits in each direction, of one connection and of all together; then the other side is
  not read. What fails in one direction ends both."
  {:no-doc true}
  (:require
   [clojure.tools.logging :as log]
   [temse.impl.log :as log-text])
  (:import
   (java.io IOException)
   (java.net StandardProtocolFamily StandardSocketOptions UnixDomainSocketAddress)
   (java.nio ByteBuffer)
   (java.nio.channels SocketChannel)
   (java.util Set)
   (java.util.concurrent CompletableFuture ConcurrentHashMap CountDownLatch Executor LinkedBlockingQueue Semaphore TimeUnit)
   (java.util.concurrent.atomic AtomicBoolean AtomicLong)
   (temse.transport Endpoint)
   (temse.transport.internal Conversation Conversation$Wish Link)))

(set! *warn-on-reflection* true)

(def ^:private connect-millis 10000)

(def ^:private last-millis
  "How long what has come from an MTA is passed on when its connection has ended."
  1000)

(def ^:private gone-nanos
  "How long an MTA that has closed waits for a milter that does not read."
  10000000000)

(def ^:private first-nanos
  "How long an MTA that has connected may be silent."
  30000000000)

(def ^:private idle-nanos
  "How long both sides may be silent: as long as libmilter waits for an MTA."
  7210000000000)

(def ^:private read-size
  "Bytes of a milter that wait for its MTA; beyond that the milter is not read."
  16384)

(def ^:private most-pending
  "Bytes of an MTA that wait for its milter; beyond that the MTA is not read."
  262144)

(def ^:private least-pending
  "Bytes that may wait in any case, so that no connection waits for another."
  16384)

(def ^:private most-pending-together
  "Bytes of all MTAs that wait for their milters; beyond that each has the least."
  67108864)

(def ^:private the-end
  "What stands behind the last bytes of an MTA."
  (byte-array 0))

;; ---- channels

(defn- close
  [^SocketChannel channel]
  (try
    (some-> channel .close)
    (catch IOException _)))

(defn- after
  "Has f, which must not block, called after some time."
  [millis f]
  (.execute (CompletableFuture/delayedExecutor (long millis) TimeUnit/MILLISECONDS
                                               (reify Executor
                                                 (execute [_ task] (.run task))))
            f))

(defn- unix?
  [^Endpoint milter]
  (instance? UnixDomainSocketAddress (.address milter)))

(defn- open-channel
  ^SocketChannel [milter]
  (if (unix? milter)
    (SocketChannel/open StandardProtocolFamily/UNIX)
    (SocketChannel/open)))

(defn- connect
  "Connects a channel to the milter. Throws IOException where nobody is there, or answers."
  [^SocketChannel channel ^Endpoint milter]
  (after connect-millis #(when-not (.isConnected channel)
                           (close channel)))
  (try
    (.connect channel (.address milter))
    (catch IOException e
      (throw (if (ex-message e)
               e
               (IOException. (str "no answer in " (quot (long connect-millis) 1000) " seconds") e)))))
  (when-not (unix? milter)
    (.setOption channel StandardSocketOptions/TCP_NODELAY true)
    (.setOption channel StandardSocketOptions/SO_KEEPALIVE true)))

(defn- taken
  "Takes bytes out of a buffer, all of them or at most n."
  (^bytes [^ByteBuffer buffer]
   (taken buffer (.remaining buffer)))
  (^bytes [^ByteBuffer buffer most]
   (let [bytes (byte-array (min (.remaining buffer) (long most)))]
     (.get buffer bytes)
     bytes)))

(defn- write
  [^SocketChannel channel ^bytes bytes]
  (let [buffer (ByteBuffer/wrap bytes)]
    (while (.hasRemaining buffer)
      (.write channel buffer))))

;; ---- one connection
;;
;; A passage is a map of what its conversation and its two threads share:
;;   :pieces    bytes of the MTA that wait, :pending their number, :together that of all connections
;;   :starved?  true while the conversation waits for room in :pieces
;;   :turn      one permit: whoever has it may put bytes of the milter into the link's output. The
;;              conversation gives it back when the MTA has taken them
;;   :over?     true when the connection of the MTA has ended or is to end

(defn- new-passage
  [id link decoder together]
  {:id id
   :link link
   :decoder decoder
   :channel (volatile! nil)
   :pieces (LinkedBlockingQueue.)
   :pending (AtomicLong.)
   :together together
   :starved? (AtomicBoolean.)
   :turn (Semaphore. 1)
   :in-output? (volatile! false)
   :over? (AtomicBoolean.)})

(defn- finish
  "Ends both sides, that of the MTA behind what was passed on to it before. Any thread."
  [{:keys [^AtomicBoolean over? ^Link link channel]}]
  (close @channel)
  (.later link #(.set over? true)))

(defn- close-soon
  "Closes the milter's side when what waits has had time to be written."
  [{:keys [channel]}]
  (after last-millis #(close @channel)))

(defn- pass-back
  "Passes what the milter sends on to the MTA, one piece at a time, until the milter closes. What it
  sends to an MTA that is gone is dropped."
  [{:keys [^AtomicBoolean over? ^Link link ^Semaphore turn decoder channel in-output?]}]
  (let [buffer (ByteBuffer/allocate read-size)
        ^SocketChannel channel @channel]
    (while (not (neg? (.read channel (.clear buffer))))
      (when-not (.get over?)
        (.acquire turn)
        (when-not (.get over?)
          (let [bytes (taken (.flip buffer))]
            ((:accept decoder) :milter bytes)
            (.later link (fn []
                           (vreset! in-output? true)
                           (.put (.output link) bytes)
                           (.flush link)))))))))

(defn- count-pending
  "Counts more bytes that wait for the milter, or less."
  [{:keys [^AtomicLong pending ^AtomicLong together]} more]
  (.addAndGet pending (long more))
  (.addAndGet together (long more)))

(defn- each-piece
  "Calls f with what the MTA has sent until its connection has ended."
  [{:keys [^LinkedBlockingQueue pieces ^AtomicBoolean starved? ^Link link] :as passage} f]
  (loop []
    (let [^bytes piece (.take pieces)]
      (when-not (identical? the-end piece)
        (try
          (f piece)
          (finally
            (count-pending passage (- (alength piece)))))
        (when (.compareAndSet starved? true false)
          (.later link (fn [])))
        (recur)))))

(defn- pass-pieces
  "Writes what the MTA sends to the milter."
  [{:keys [channel] :as passage}]
  (each-piece passage #(write @channel %)))

(defn- drop-pieces
  "Ends both sides, and drops what the MTA sends until then."
  [passage]
  (finish passage)
  (each-piece passage (fn [_])))

(defn- start-thread
  "Starts a daemon thread whose end is that of the passage. What it throws is logged, unless it is that
  a side has closed."
  [title {:keys [id ^Link link] :as passage} f]
  (doto (Thread. ^Runnable
                 (fn []
                   (let [problem (try
                                   (f)
                                   nil
                                   (catch Throwable problem
                                     problem))]
                     (finish passage)
                     (when-not (or (nil? problem) (instance? IOException problem))
                       (log-text/quietly
                         (log/error problem title id (.peer link) "failed, closing:"
                                    (log-text/problem-text problem))))))
                 (str title "-" id))
    (.setDaemon true)
    (.start)))

(defn- reach
  "Connects to the milter and returns true, or logs why it cannot be reached."
  [title milter unreachable {:keys [id ^Link link ^AtomicBoolean over? channel]}]
  (try
    (let [new-channel (open-channel milter)]
      (vreset! channel new-channel)
      (connect new-channel milter)
      true)
    (catch IOException e
      (when-not (.get over?)
        (swap! unreachable inc)
        (log-text/quietly
          (log/warn title id (.peer link) "refused, since" (str milter)
                    "cannot be reached:" (log-text/problem-text e))))
      false)))

(defn- room
  "Returns how many bytes may be taken from the MTA now."
  [{:keys [^AtomicLong pending ^AtomicLong together]}]
  (let [pending (.get pending)]
    (max (- (long least-pending) pending)
         (min (- (long most-pending) pending)
              (- (long most-pending-together) (.get together))))))

(defn- full?
  "Returns true if no more is to be taken from the MTA, after which the link is called again when it
  is: something of it waits then."
  [{:keys [^AtomicBoolean starved?] :as passage}]
  (let [full? #(not (pos? (long (room passage))))]
    (and (full?)
         (do (.set starved? true)
             (or (full?)
                 (do (.set starved? false)
                     false))))))

(defn- take-in
  "Takes as much from the MTA as there is room for, and returns what is wanted then."
  [{:keys [^LinkedBlockingQueue pieces decoder] :as passage} ^ByteBuffer input]
  (loop []
    (cond
      (not (.hasRemaining input)) Conversation$Wish/READ
      (full? passage) Conversation$Wish/WAIT
      :else (let [bytes (taken input (room passage))]
              ((:accept decoder) :mta bytes)
              (count-pending passage (alength bytes))
              (.add pieces bytes)
              (recur)))))

(defn- conversation
  "Returns the conversation with an MTA; `start` is called before the first bytes are taken in."
  ^Conversation [{:keys [^AtomicBoolean over? ^Link link ^Semaphore turn ^LinkedBlockingQueue pieces
                         decoder in-output?] :as passage}
                 start]
  (let [started? (volatile! false)
        gone? (volatile! false)
        deadline (volatile! (+ (System/nanoTime) (long first-nanos)))]
    (reify Conversation
      (receive [_ input now]
        (when-not @gone?
          (vreset! deadline (+ (long now) (long idle-nanos))))
        (cond
          (.get over?) Conversation$Wish/CLOSE
          (.isCongested link) Conversation$Wish/DRAIN
          :else (do
                  (when @in-output?
                    (vreset! in-output? false)
                    (.release turn))
                  (when (and (.hasRemaining input) (not @started?))
                    (vreset! started? true)
                    (start))
                  (take-in passage input))))
      (deadline [_] @deadline)
      (expired [_ _] Conversation$Wish/CLOSE)
      (peerClosed [_ now]
        (vreset! gone? true)
        (vreset! deadline (+ (long now) (long gone-nanos)))
        Conversation$Wish/WAIT)
      (acknowledgeAtOnce [_] true)
      (idle [_] true)
      (stopping [_] Conversation$Wish/CLOSE)
      (ended [_ _ _]
        (try
          (.set over? true)
          (.release turn)
          (.add pieces the-end)
          (when @started?
            (close-soon passage))
          (finally
            ((:end decoder))))))))

;; ---- all connections

(defn- await-all
  "Waits until all has been passed on, or for so long."
  [passing millis]
  (let [end (+ (System/nanoTime) (* 1000000 (long millis)))]
    (doseq [^CountDownLatch passed passing
            :let [left (quot (- end (System/nanoTime)) 1000000)]
            :when (pos? left)]
      (.await passed left TimeUnit/MILLISECONDS))))

(defn passages
  "Returns what a proxy needs to pass on to a milter:
    :passage        ; function of the number of a connection, its link and its decoder, which returns
                    ; the conversation
    :unreachable    ; atom, how often the milter was not reached
    :stop-passages  ; function of milliseconds that waits until what has come from MTAs that are gone
                    ; is passed on"
  [title ^Endpoint milter]
  (let [unreachable (atom 0)
        together (AtomicLong.)
        ^Set passing (ConcurrentHashMap/newKeySet)
        run (fn [passage ^CountDownLatch passed]
              (let [passed? (volatile! false)]
                (try
                  (when (reach title milter unreachable passage)
                    (when (.get ^AtomicBoolean (:over? passage))
                      (close-soon passage))
                    (start-thread title passage #(pass-back passage))
                    (pass-pieces passage)
                    (vreset! passed? true))
                  (finally
                    (when-not @passed?
                      (drop-pieces passage))
                    (.remove passing passed)
                    (.countDown passed)))))]
    {:passage (fn [id link decoder]
                (let [passage (new-passage id link decoder together)]
                  (conversation passage (fn []
                                          (let [passed (CountDownLatch. 1)]
                                            (.add passing passed)
                                            (try
                                              (start-thread title passage #(run passage passed))
                                              (catch Throwable e
                                                (.remove passing passed)
                                                (throw e))))))))
     :unreachable unreachable
     :stop-passages #(await-all passing %)}))
