(ns temse.metrics
  "What a milter does, for those who watch it: Prometheus and health checks over HTTP, JMX, and how long
  handlers take.

  Requires org.hdrhistogram/HdrHistogram, which temse does not bring along. The numbers are those of
  `temse.milter/milter-status`. `temse.metrics.MicrometerMetrics`, a Java class, has them for
  Micrometer.

    (def metrics (start! server {:port 9100}))   ; http://127.0.0.1:9100/metrics /healthz /readyz
    (register! server)                           ; in jconsole: temse, Milter
    (.close metrics)"
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.milter :as milter])
  (:import
   (java.io Closeable Writer)
   (java.net Inet6Address InetSocketAddress)
   (java.util.function Supplier)))

(set! *warn-on-reflection* true)

(try
  (Class/forName "org.HdrHistogram.AtomicHistogram")
  (catch ClassNotFoundException _
    (throw (IllegalStateException.
             (str "temse.metrics requires HdrHistogram. Add to deps.edn:"
                  " org.hdrhistogram/HdrHistogram {:mvn/version \"2.2.2\"};"
                  " or to project.clj: [org.hdrhistogram/HdrHistogram \"2.2.2\"];"
                  " or to pom.xml: <dependency><groupId>org.hdrhistogram</groupId>"
                  "<artifactId>HdrHistogram</artifactId><version>2.2.2</version></dependency>")))))

(import
  '(temse.metrics HandlerHistograms MetricsServer MilterJmx))

;; ---- how long handlers take

(defn measure!
  "Has a milter measure from now on how long its handlers take, if it does not already, and returns nil:
  :handlers of `temse.milter/milter-status`. It costs 27 KB for each event that occurs.

    (measure! server)
    (get-in (milter/milter-status server) [:handlers :end-of-message :p99])"
  [milter]
  (HandlerHistograms/of (milter/java-server milter))
  nil)

;; ---- HTTP

(defn- port?
  [x]
  (and (int? x) (<= 0 (long x) 65535)))

(def ^:private start-table
  {:port ["a port, 0 to 65535" port?]
   :host ["the name or address of a host" #(and (string? %) (not (string/blank? %))) "127.0.0.1"]})

(defn- socket-address
  ^InetSocketAddress [{:keys [port host]}]
  (when-not port
    (throw (keys/bad-option :port port "start! needs :port, 0 for any free one")))
  (let [address (InetSocketAddress. ^String host (int port))]
    (when (.isUnresolved address)
      (throw (keys/bad-option :host host (str "there is no host " (keys/shown host)))))
    address))

(deftype ^:private Metrics [^MetricsServer server]
  Closeable
  (close [_]
    (.close server))

  Object
  (toString [_]
    (let [address (.address server)]
      (str "metrics at http://"
           (if (instance? Inet6Address (.getAddress address))
             (str "[" (.getHostString address) "]")
             (.getHostString address))
           ":" (.getPort address) "/metrics"))))

(defmethod print-method Metrics
  [metrics ^Writer writer]
  (.write writer (str "#<" metrics ">")))

(defn start!
  "Answers over HTTP for a milter, for several in a sequence, or for those that a function returns at each
  request, and returns what ends that, a Closeable. How long their handlers take is measured from then on.

    :port   ; 0 for any free one
    :host   ; (default: \"127.0.0.1\")

  The paths are
    /metrics   ; the numbers in Prometheus' text format 0.0.4
    /healthz   ; 200 if all event loops come round within a second, else 503
    /readyz    ; 200 if MTAs can connect, 503 from when a milter begins to stop

  Everybody who can connect may read them: they name the milter and its address, no mail and no client.
  Requests have threads and time limits of their own, and hold up no mail.

  Throws :bad-options and :bind-failed.

    (with-open [metrics (start! server {:port 0})]
      (slurp (str \"http://127.0.0.1:\" (port metrics) \"/readyz\")))   ;=> \"ok\\n\""
  ^java.io.Closeable [milters options]
  (let [current (cond
                  (fn? milters) milters
                  (sequential? milters) (constantly milters)
                  :else (constantly [milters]))
        address (socket-address (keys/with-defaults "the options of start!" options start-table))
        servers (fn []
                  (run! measure! (current))
                  (mapv milter/java-server (current)))]
    (when (empty? (servers))
      (throw (keys/bad-option :milters milters "start! needs a milter, or some")))
    (->Metrics (MetricsServer/start address
                                    ^Supplier
                                    (reify Supplier
                                      (get [_] (servers)))))))

(defn- java-metrics
  ^MetricsServer [metrics]
  (when-not (instance? Metrics metrics)
    (throw (IllegalArgumentException. (str "metrics are what start! returns, not " (keys/shown metrics)))))
  (.-server ^Metrics metrics))

(defn port
  "Returns the TCP port on which metrics are served."
  [metrics]
  (.getPort (.address (java-metrics metrics))))

;; ---- JMX

(defn register!
  "Has JMX show a milter from now on until it stops, and returns what ends that before, a Closeable. How
  long handlers take is measured from now on.

  Its name in JMX is made of the milter's and its address, so that two of the same name do not collide:
  temse:type=Milter,name=filter,address=\"inet:20025@127.0.0.1\".

    (register! server)"
  ^java.io.Closeable [milter]
  (measure! milter)
  (let [registration (MilterJmx/register (milter/java-server milter))]
    (reify Closeable
      (close [_] (.close registration)))))
