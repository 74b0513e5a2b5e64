(ns temse.proxy
  "Stands between an MTA and a milter, whoever wrote it: passes bytes on unchanged and at once, and
  tells what was said.

    (with-open [proxy (start-proxy {:listen \"inet:20025@127.0.0.1\"
                                    :milter \"unix:/run/opendkim.sock\"
                                    :on-exchange prn})]
      …)"
  (:require
   [clojure.tools.logging :as log]
   [temse.impl.keys :as keys]
   [temse.impl.options :as options]
   [temse.impl.tap :as tap]
   [temse.record :as record])
  (:import
   (java.io Closeable IOException)
   (java.net StandardProtocolFamily StandardSocketOptions UnixDomainSocketAddress)
   (java.nio ByteBuffer)
   (java.nio.channels SocketChannel)
   (java.time Duration)
   (java.util.concurrent LinkedBlockingQueue Semaphore)
   (java.util.concurrent.atomic AtomicLong)
   (java.util.function Function)
   (temse.protocol MilterException MilterException$Category)
   (temse.transport Conversation Conversation$End Conversation$Wish Endpoint Link SocketServer TransportListener TransportOptions)))

(set! *warn-on-reflection* true)

(def ^:private connect-millis 10000)

(def ^:private stop-millis 10000)

(def ^:private pass-millis
  "How long a proxy that is closed passes on what has come already."
  1000)

(def ^:private read-size 65536)

(def ^:private most-untold
  "Bytes that may wait to be decoded; of a connection beyond that no more is told."
  67108864)

;; ---- telling
;;
;; One thread per proxy decodes, in the order in which bytes have passed: they are in its queue before
;; a side gets them, so an answer is always behind its event.

(defn- teller
  "Returns functions that have tasks run by a thread of their own, in order: :tell, of a task and a
  number of bytes, which returns false where too many wait, and :stop, which waits for the tasks.
  What a task throws is logged."
  [title]
  (let [tasks (LinkedBlockingQueue.)
        untold (AtomicLong.)
        thread (doto (Thread. ^Runnable
                              (fn []
                                (loop []
                                  (let [[task size] (.take tasks)]
                                    (when task
                                      (try
                                        (task)
                                        (catch Throwable e
                                          (log/error e title "cannot tell what passed:" (ex-message e))))
                                      (.addAndGet untold (- (long size)))
                                      (recur)))))
                              (str title "-teller"))
                 (.setDaemon true)
                 (.start))]
    {:tell (fn [task size]
             (let [room? (<= (+ (.get untold) (long size)) (long most-untold))]
               (when room?
                 (.addAndGet untold (long size))
                 (.add tasks [task size]))
               room?))
     :stop (fn []
             (.add tasks [nil 0])
             (.join thread (long stop-millis)))}))

(defn- guarded
  "Returns f as a function of an exchange whose exceptions are logged."
  [title f]
  (fn [exchange]
    (try
      (f exchange)
      (catch Throwable e
        (log/error e title ":on-exchange failed:" (ex-message e))))))

(defn- ear
  "Returns functions that hear what one connection passes on: :hear, of a side and its bytes, and
  :end."
  [{:keys [name tell on-exchange]} id peer]
  (let [ended-by (volatile! nil)
        deaf? (volatile! false)
        exchanged (fn [{:keys [event response nanos]}]
                    (vreset! ended-by (if (= :quit (:event event)) :quit :connection-lost))
                    (on-exchange {:id id, :peer peer, :event event, :response response
                                  :millis (/ (long nanos) 1e6)}))
        give-up (fn [& why]
                  (vreset! deaf? true)
                  (log/warn name id peer "passes on, but is not decoded any more:" (apply str why)))
        tap (tap/tap exchanged
                     #(give-up "what the " (clojure.core/name %1) " sends is no packet: "
                               (ex-message %2)))]
    {:hear (fn [side ^bytes bytes]
             (when-not @deaf?
               (let [nanos (System/nanoTime)]
                 (when-not (tell #(tap side bytes nanos) (alength bytes))
                   (give-up "too many bytes wait for it")))))
     :end (fn []
            (tell (fn []
                    (tap :end)
                    (when-let [reason @ended-by]
                      (exchanged {:event {:event :disconnect, :reason reason}, :response []
                                  :nanos 0})))
                  0))}))

;; ---- passing on

(defn- connect
  "Returns a channel to the milter. Throws IOException where nobody is there."
  ^SocketChannel [^Endpoint milter]
  (let [address (.address milter)
        unix? (instance? UnixDomainSocketAddress address)
        channel (if unix? (SocketChannel/open StandardProtocolFamily/UNIX) (SocketChannel/open))]
    (try
      (if unix?
        (.connect channel address)
        (do (.connect (.socket channel) address (int connect-millis))
            (.setOption channel StandardSocketOptions/TCP_NODELAY true)))
      channel
      (catch IOException e
        (.close channel)
        (throw e)))))

(defn- taken
  "Returns the bytes that a buffer holds, and leaves it empty."
  ^bytes [^ByteBuffer buffer]
  (let [bytes (byte-array (.remaining buffer))]
    (.get buffer bytes)
    bytes))

(defn- write
  [^SocketChannel channel ^bytes bytes]
  (let [buffer (ByteBuffer/wrap bytes)]
    (while (.hasRemaining buffer)
      (.write channel buffer))))

(defn- pass-back
  "Passes what the milter says on to the MTA until one of them closes, one piece at a time."
  [^SocketChannel channel ^Link link hear ^Semaphore turn milter-closed]
  (let [buffer (ByteBuffer/allocate read-size)]
    (try
      (while (not (neg? (.read channel (.clear buffer))))
        (let [bytes (taken (.flip buffer))]
          (hear :milter bytes)
          (.acquire turn)
          (.later link (fn []
                         (.put (.output link) bytes)
                         (.release turn)))))
      (catch IOException _
        :closed))
    (.later link milter-closed)))

(defn- passage
  "Returns the conversation with an MTA whose bytes go to the milter."
  ^Conversation [{:keys [name milter unreachable] :as proxy} id ^Link link]
  (let [{:keys [hear end]} (ear proxy id (.peer link))
        channel (volatile! nil)
        over? (volatile! false)
        turn (Semaphore. 1)
        milter-closed #(vreset! over? true)
        open (fn []
               (vreset! channel (connect milter))
               (doto (Thread. ^Runnable #(pass-back @channel link hear turn milter-closed)
                              (str name "-" id))
                 (.setDaemon true)
                 (.start)))
        pass-on (fn [bytes]
                  (try
                    (when-not @channel
                      (open))
                    (hear :mta bytes)
                    (write @channel bytes)
                    (catch IOException e
                      (vreset! over? true)
                      (when-not @channel
                        (swap! unreachable inc)
                        (log/warn name id (.peer link) "refused, since" (str milter)
                                  "cannot be reached:" (ex-message e))))))]
    (reify Conversation
      (receive [_ input _]
        (cond
          @over? Conversation$Wish/CLOSE
          (not (.hasRemaining input)) Conversation$Wish/READ
          (not (.enter link 0)) Conversation$Wish/MOVE
          :else (try
                  (pass-on (taken input))
                  (if @over? Conversation$Wish/CLOSE Conversation$Wish/READ)
                  (finally
                    (.leave link)))))
      (deadline [_] Long/MAX_VALUE)
      (expired [_ _] Conversation$Wish/READ)
      (acknowledgeAtOnce [_] true)
      (idle [_] true)
      (stopping [_] Conversation$Wish/CLOSE)
      (ended [_ _ _]
        (some-> ^SocketChannel @channel .close)
        (.release turn)
        (end)))))

;; ---- the proxy

(def ^:private table
  {:listen ["an address such as \"inet:20025@127.0.0.1\"" string?]
   :milter ["an address such as \"unix:/run/filter.sock\"" string?]
   :on-exchange ["a function or var" options/callable?]
   :recorder ["a recorder of temse.record" #(instance? Closeable %)]
   :name ["a string" string?]
   :max-connections ["a number" pos-int?]
   :daemon? ["true or false" boolean?]
   :socket-permissions ["a mode such as \"rw-rw----\"" string?]
   :socket-group ["the name of a group" string?]})

(defn- check
  [given]
  (doseq [option [:listen :milter]]
    (when-not (get given option)
      (throw (options/bad-option option nil (str option " is missing: it must be "
                                                 (first (table option)))))))
  (keys/check "the options of a proxy" given table))

(defn- endpoint
  ^Endpoint [option given]
  (try
    (Endpoint/parse (option given))
    (catch IllegalArgumentException e
      (throw (options/bad-option option (option given) (str option ": " (ex-message e)))))))

(deftype ^:private Proxy [^SocketServer sockets unreachable stop-teller]
  Closeable
  (close [_]
    (.stop sockets (Duration/ofMillis pass-millis))
    (stop-teller)))

(defn- listener
  [title]
  (reify TransportListener
    (closed [_ peer how cause]
      (when (= Conversation$End/FAILED how)
        (log/info title peer "closed:" (str cause))))
    (refused [_ peer why]
      (log/warn title "refused" peer why))
    (failed [_ problem]
      (log/error problem title "failed:" (ex-message problem)))))

(defn- transport-options
  ^TransportOptions [{:keys [name max-connections daemon? socket-permissions socket-group]}]
  (.build (doto (TransportOptions/builder)
            (.name name)
            (.maxConnections (int max-connections))
            (.daemon (boolean daemon?))
            (.unixMode socket-permissions)
            (.unixGroup socket-group))))

(defn start-proxy
  "Starts a proxy and returns it, Closeable. Each MTA connection gets a connection to the milter, and
  ends where that ends; where the milter cannot be reached the MTA's connection is closed.

    :listen              ; where MTAs connect, as \"inet:20025@127.0.0.1\", \"unix:/run/x.sock\"
    :milter              ; where the milter listens
    :on-exchange         ; function of {:id :peer :event :response :millis}, called by one thread
    :recorder            ; of temse.record
    :name                ; in logs and names of threads (default: \"proxy\")
    :max-connections     ; (default: 1000)
    :daemon?             ; whether its threads let the JVM exit (default: false)
    :socket-permissions  ; mode of the socket file, such as \"rw-rw----\"
    :socket-group        ; group of the socket file

  Exchanges are those of start-milter's :on-exchange, as the wire has them: a :response may hold
  {:action :progress} and is nil where none came; what cannot be decoded is an event or action named
  :undecodable, with its :code, :data and :problem; an answer to nothing answers {:event :unasked};
  {:event :disconnect :reason :quit} comes last, with :connection-lost where the MTA said no quit.

  Throws :bad-options, which says what would be right, and :bind-failed."
  ^java.io.Closeable [given]
  (check given)
  (let [{:keys [name on-exchange recorder] :as options}
        (merge {:name "proxy", :max-connections 1000} given)
        {:keys [tell stop]} (teller name)
        hearers (keep identity [(some-> recorder record/hearer) on-exchange])
        ids (AtomicLong.)
        proxy {:name name
               :milter (endpoint :milter options)
               :unreachable (atom 0)
               :tell tell
               :on-exchange (apply juxt (map #(guarded name %) (or (seq hearers) [identity])))}
        sockets (try
                  (SocketServer/start [(endpoint :listen options)]
                                      (transport-options options)
                                      (reify Function
                                        (apply [_ link]
                                          (passage proxy (.incrementAndGet ids) link)))
                                      (listener name))
                  (catch IOException e
                    (stop)
                    (throw (MilterException. MilterException$Category/BIND_FAILED
                                             (ex-message e)
                                             e
                                             (object-array ["address" (:listen options)])))))]
    (->Proxy sockets (:unreachable proxy) stop)))

(defn proxy-address
  "Returns where the proxy listens, such as \"inet:20025@127.0.0.1\"."
  [^Proxy proxy]
  (str (.endpoint ^SocketServer (.-sockets proxy))))

(defn proxy-status
  "Returns a map describing the proxy: :address, :connections (open ones), and what has been counted:
  connections :accepted and, among them, :refused since there were too many, and :unreachable, those
  closed because nobody answered where the milter should be."
  [^Proxy proxy]
  (let [^SocketServer sockets (.-sockets proxy)
        counters (.counters sockets)]
    {:address (proxy-address proxy)
     :connections (.connections sockets)
     :accepted (.accepted counters)
     :refused (.refused counters)
     :unreachable @(.-unreachable proxy)}))

(defn join-proxy
  "Blocks until the proxy is closed, and returns nil."
  [^Proxy proxy]
  (.join ^SocketServer (.-sockets proxy)))
