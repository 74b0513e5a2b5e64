(ns temse.proxy
  "Sits between an MTA and any milter: passes bytes on unchanged and at once, and reports
  the exchanges.

    (with-open [proxy (start-proxy {:listen \"inet:20025@127.0.0.1\"
                                    :milter \"unix:/run/opendkim.sock\"
                                    :on-exchange prn})]
      …)"
  (:require
   [clojure.tools.logging :as log]
   [temse.impl.keys :as keys]
   [temse.impl.log :as log-text]
   [temse.impl.options :as options]
   [temse.impl.proxy.decoder :as decoder]
   [temse.impl.proxy.passage :as passage]
   [temse.record :as record])
  (:import
   (java.io Closeable IOException)
   (java.time Duration)
   (java.util.concurrent.atomic AtomicLong)
   (java.util.function Function)
   (temse.protocol MilterException MilterException$Category)
   (temse.transport Endpoint TransportOptions)
   (temse.transport.internal Conversation$End Link SocketServer TransportListener)))

(set! *warn-on-reflection* true)

(def ^:private pass-millis
  "How long a proxy that is closed passes on what has come already."
  1000)

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

(deftype ^:private Proxy [^SocketServer sockets unreachable stop-passages stop-worker]
  Closeable
  (close [_]
    (.stop sockets (Duration/ofMillis pass-millis))
    (stop-passages pass-millis)
    (stop-worker)))

(defn- listener
  "Returns a listener whose log lines are written by the worker, since a log may block."
  [title say]
  (reify TransportListener
    (closed [_ peer how cause]
      (when (= Conversation$End/FAILED how)
        (say #(log/info title peer "closed:" (log-text/problem-text cause)))))
    (refused [_ peer why]
      (say #(log/warn title "refused" peer why)))
    (failed [_ problem]
      (say #(log/error problem title "failed:" (log-text/problem-text problem))))))

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
  ends where that ends; where the milter cannot be reached the MTA's connection is closed. What fails
  in either direction ends both. A side that does not read holds up the other: at most 256 KB of
  an MTA and 16 KB of a milter wait, and of all MTAs together 64 MB, beyond which each connection has 16 KB.

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
  :undecodable, with its :code, :data and :problem; :remarks say what Postfix and Sendmail make of an
  answer that is not as the protocol wants it; an answer to nothing answers {:event :unasked};
  {:event :disconnect :reason :quit} comes last, with :connection-lost where the MTA sent no quit, and
  with :cut where not all was decoded: what passes faster than it is decoded (64 MB wait), what is no
  packet, and what waits for replies beyond 64 MB of all connections together, of the one that holds the
  most. It is passed on all the same, and logged.

  Throws :bad-options, which says what would be right, and :bind-failed."
  ^java.io.Closeable [given]
  (check given)
  (let [{:keys [name on-exchange recorder] :as options}
        (merge {:name "proxy", :max-connections 1000} given)
        milter (endpoint :milter options)
        listen (endpoint :listen options)
        receivers (keep identity [(some-> recorder record/exchange-recorder) on-exchange])
        on-exchange (apply juxt (map #(log-text/guarded name ":on-exchange" %) (or (seq receivers) [identity])))
        {:keys [submit log stop]} (decoder/worker name)
        {:keys [passage unreachable stop-passages]} (passage/passages name milter)
        holdings (decoder/holdings)
        ids (AtomicLong.)
        converse (fn [^Link link]
                   (let [id (.incrementAndGet ids)]
                     (passage id
                              link
                              (decoder/decoder
                                {:title (str name " " id " " (.peer link))
                                 :submit submit
                                 :holdings holdings
                                 :on-exchange #(on-exchange (assoc % :id id, :peer (.peer link)))}))))
        sockets (try
                  (SocketServer/start [listen]
                                      (transport-options options)
                                      (reify Function
                                        (apply [_ link] (converse link)))
                                      (listener name log))
                  (catch IOException e
                    (stop)
                    (throw (MilterException. MilterException$Category/BIND_FAILED
                                             (ex-message e)
                                             e
                                             (object-array ["address" (:listen options)])))))]
    (->Proxy sockets unreachable stop-passages stop)))

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
