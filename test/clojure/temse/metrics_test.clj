(ns temse.metrics-test
  "What watchers of a milter get: over HTTP, over JMX and by Micrometer."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.metrics :as metrics]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (io.micrometer.core.instrument FunctionCounter Gauge MeterRegistry Timer)
   (io.micrometer.core.instrument.simple SimpleMeterRegistry)
   (java.io Closeable IOException)
   (java.lang.management ManagementFactory)
   (java.net Socket URI)
   (java.net.http HttpClient HttpRequest HttpRequest$BodyPublishers HttpResponse HttpResponse$BodyHandlers)
   (java.util.concurrent CountDownLatch)
   (javax.management MBeanServer ObjectName)
   (javax.management.openmbean CompositeData TabularData)
   (temse.metrics MicrometerMetrics)))

(set! *warn-on-reflection* true)

(def ^:private filter-options
  {:port 0
   :name "filter"
   :handlers {:end-of-message (fn [_ _] [(act/reject)])}})

(defn- answer
  "Returns [status body headers] of a request."
  [metrics method path]
  (let [uri (URI/create (str "http://127.0.0.1:" (metrics/port metrics) path))
        request (.build (.method (HttpRequest/newBuilder uri) method (HttpRequest$BodyPublishers/noBody)))
        ^HttpResponse response (.send (HttpClient/newHttpClient) request (HttpResponse$BodyHandlers/ofString))]
    [(.statusCode response) (.body response) (.map (.headers response))]))

(defn- page
  [metrics]
  (second (answer metrics "GET" "/metrics")))

;; ---- the text

(def ^:private sample
  #"([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-z_]+=\"(?:[^\"\\\n]|\\[\\\"n])*\",?)*)\} (\S+)")

(defn- parsed
  "Returns the samples of a page as a map of [name labels] to number, and of each name its type. Throws
  where the page is not as the format wants it."
  [text]
  (is (string/ends-with? text "\n"))
  (reduce (fn [{:keys [types samples] :as page} line]
            (if-let [[_ head name more] (re-matches #"# (HELP|TYPE) (\S+) (.*)" line)]
              (if (= "TYPE" head)
                (do (is (nil? (types name)) (str name " has one type"))
                    (assoc-in page [:types name] more))
                page)
              (let [[_ name labels value] (or (re-matches sample line)
                                              (throw (ex-info (str "no sample: " line) {})))
                    k [name (into {} (map (fn [[_ k v]] [(keyword k) v]))
                                  (re-seq #"([a-z_]+)=\"((?:[^\"\\]|\\.)*)\"" labels))]]
                (is (not (contains? samples k)) (str k " is there once"))
                (is (types (string/replace name #"_(bucket|sum|count)$" "")) (str name " has a type"))
                (assoc-in page [:samples k] (Double/parseDouble value)))))
          {:types {}, :samples {}}
          (string/split-lines text)))

(defn- value
  "Returns the number of a sample that has these labels beside those of the server."
  [{:keys [samples]} name labels]
  (some (fn [[[n l] v]]
          (when (and (= n name) (= labels (dissoc l :milter :address)))
            v))
        samples))

(deftest the-page-has-the-numbers-of-the-status
  (milter/with-milter [server filter-options]
    (with-open [metrics (metrics/start! server {:port 0})]
      (dotimes [_ 2]
        (mt/run-message server {}))
      (let [{:keys [types samples] :as page} (parsed (page metrics))
            {:keys [bytes-read connections accepted]} (milter/milter-status server)]
        (are [n name labels] (= (double n) (value page name labels))
          accepted "temse_connections_accepted_total" {}
          connections "temse_connections" {}
          2 "temse_messages_total" {:verdict "rejected"}
          0 "temse_messages_total" {:verdict "quarantined"}
          2 "temse_events_total" {:event "end-of-message"}
          0 "temse_errors_total" {:kind "handler-timeout"}
          bytes-read "temse_received_bytes_total" {}
          1 "temse_ready" {}
          2 "temse_handler_seconds_count" {:event "end-of-message"}
          2 "temse_handler_seconds_bucket" {:event "end-of-message", :le "+Inf"}
          2 "temse_handler_seconds_bucket" {:event "end-of-message", :le "300"})
        (is (= ["counter" "gauge" "histogram" "gauge"]
               (map types ["temse_messages_total" "temse_connections" "temse_handler_seconds"
                           "temse_handler_quantile_seconds"])))
        (is (every? (fn [[name type]] (= (= "counter" type) (string/ends-with? name "_total"))) types))
        (is (every? #(= {:milter "filter", :address (milter/milter-address server)}
                        (select-keys (second %) [:milter :address]))
                    (keys samples)))
        (is (< 1.7e9 (value page "temse_start_time_seconds" {}) 1e11))))))

(deftest buckets-and-quantiles-grow
  (milter/with-milter [server filter-options]
    (with-open [metrics (metrics/start! server {:port 0})]
      (dotimes [_ 5]
        (mt/run-message server {}))
      (let [lines (string/split-lines (page metrics))
            numbers (fn [begin]
                      (map #(Double/parseDouble (last (string/split % #" ")))
                           (filter #(and (string/starts-with? % begin) (string/includes? % "end-of-message"))
                                   lines)))]
        (is (= 14 (count (numbers "temse_handler_seconds_bucket"))))
        (is (= 4 (count (numbers "temse_handler_quantile_seconds"))))
        (is (apply <= (numbers "temse_handler_seconds_bucket")))
        (is (apply <= (numbers "temse_handler_quantile_seconds")))))))

(deftest labels-are-escaped
  (milter/with-milter [server (assoc filter-options :name "a\"b\\c")]
    (with-open [metrics (metrics/start! server {:port 0})]
      (is (string/includes? (page metrics) "milter=\"a\\\"b\\\\c\""))
      (parsed (page metrics)))))

(deftest several-milters-are-told-apart-by-their-addresses
  (milter/with-milter [one filter-options]
    (milter/with-milter [other filter-options]
      (with-open [metrics (metrics/start! [one other] {:port 0})]
        (mt/run-message other {})
        (let [{:keys [samples]} (parsed (page metrics))]
          (is (= [0.0 1.0]
                 (for [server [one other]]
                   (samples ["temse_messages_total" {:milter "filter"
                                                     :address (milter/milter-address server)
                                                     :verdict "rejected"}])))))))))

;; ---- the server

(deftest it-answers-what-it-has-and-nothing-else
  (milter/with-milter [server filter-options]
    (with-open [metrics (metrics/start! server {:port 0})]
      (are [status method path] (= status (first (answer metrics method path)))
        200 "GET" "/metrics"
        200 "GET" "/healthz"
        200 "GET" "/readyz?verbose"
        200 "HEAD" "/metrics"
        404 "GET" "/"
        404 "GET" "/metrics/"
        404 "GET" "/metricsx"
        404 "GET" "/%2e%2e/etc/passwd"
        405 "POST" "/metrics"
        405 "DELETE" "/nowhere")
      (is (= ["text/plain; version=0.0.4; charset=utf-8"]
             (get (last (answer metrics "GET" "/metrics")) "content-type")))
      (is (= ["GET, HEAD"] (get (last (answer metrics "PUT" "/metrics")) "allow"))))))

(deftest it-listens-on-the-loopback-address-unless-told-otherwise
  (milter/with-milter [server filter-options]
    (with-open [metrics (metrics/start! server {:port 0})]
      (is (re-matches #"metrics at http://127\.0\.0\.1:\d+/metrics" (str metrics))))
    (with-open [metrics (metrics/start! server {:port 0, :host "0.0.0.0"})]
      (is (re-find #"//(0\.0\.0\.0|\[0:0:0:0:0:0:0:0\]):" (str metrics))))))

(defn- status-for-host
  "Returns the status of a request whose Host field is this, or which has none for nil."
  [metrics host]
  (with-open [socket (support/dial (metrics/port metrics))]
    (.write (.getOutputStream socket)
            (.getBytes (str "GET /metrics HTTP/1." (if host 1 0) "\r\n" (when host (str "Host: " host "\r\n")) "\r\n")))
    (parse-long (second (string/split (first (line-seq (io/reader (.getInputStream socket)))) #" ")))))

(deftest a-page-of-elsewhere-reads-no-numbers-of-this-machine
  (milter/with-milter [server filter-options]
    (with-open [metrics (metrics/start! server {:port 0})]
      (are [status host] (= status (status-for-host metrics host))
        200 "127.0.0.1:9100"
        200 "127.0.0.1"
        200 "localhost:9100"
        200 "LOCALHOST"
        200 "[::1]:9100"
        200 nil
        403 "evil.example.org"
        403 "evil.example.org:9100"
        403 "127.0.0.1.evil.example.org:9100"
        403 "localhost.example.org"
        403 ""))
    (with-open [metrics (metrics/start! server {:port 0, :host "0.0.0.0"})]
      (is (= 200 (status-for-host metrics "filter.example.org:9100"))))))

(deftest a-milter-that-stops-is-not-ready-and-one-that-has-stopped-is-not-healthy
  (let [begun (promise)
        go-on (promise)]
    (milter/with-milter [server (assoc filter-options :handlers {:end-of-message (fn [_ _]
                                                                                   (deliver begun true)
                                                                                   (support/awaited go-on)
                                                                                   nil)})]
      (with-open [metrics (metrics/start! server {:port 0})]
        (let [sent (future (mt/run-message server {}))
              _ (support/awaited begun)
              stopped (future (milter/stop-milter server 60000))]
          (while (:listening? (milter/milter-status server))
            (Thread/sleep 5))
          (is (= [200 "ok\n"] (take 2 (answer metrics "GET" "/healthz"))))
          (is (= [503 "stopping\n"] (take 2 (answer metrics "GET" "/readyz"))))
          (deliver go-on true)
          (is (= :accept (:verdict (support/awaited sent))))
          (support/awaited stopped)
          (is (= [503 503 200] (map #(first (answer metrics "GET" %)) ["/healthz" "/readyz" "/metrics"]))))))))

(deftest what-cannot-be-is-told
  (milter/with-milter [server filter-options]
    (are [problem milters options] (string/includes? (:message (support/thrown (metrics/start! milters options)))
                                                     problem)
      ":port must be a port, 0 to 65535, not 65536" server {:port 65536}
      "did you mean :port?" server {:prot 9100}
      "start! needs :port" server {}
      "there is no host \"nowhere.invalid\"" server {:port 0, :host "nowhere.invalid"}
      "start! needs a milter" [] {:port 0}
      "a milter is what start-milter returns" {} {:port 0})
    (with-open [metrics (metrics/start! server {:port 0})]
      (is (= :bind-failed (:milter/error (support/thrown (metrics/start! server {:port (metrics/port metrics)}))))))))

;; ---- hostile clients

(defn- sockets-to
  [metrics n ^String sent]
  (doall
    (for [_ (range n)]
      (doto (Socket. "127.0.0.1" (int (metrics/port metrics)))
        (.setSoTimeout 20000)
        (as-> socket (.write (.getOutputStream ^Socket socket) (.getBytes sent)))))))

(defn- close-all
  [sockets]
  (run! #(.close ^Socket %) sockets))

(deftest bodies-that-do-not-come-and-answers-that-nobody-reads-hold-up-nobody
  (milter/with-milter [server filter-options]
    (with-open [metrics (metrics/start! server {:port 0})]
      (let [hostile (concat (sockets-to metrics 3 "POST /metrics HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
                            (sockets-to metrics 20 (apply str (repeat 20 "GET /metrics HTTP/1.1\r\n\r\n")))
                            (sockets-to metrics 20 "\u0000\u0001\r\n\r\n"))]
        (try
          (is (= :reject (:verdict (mt/run-message server {}))))
          (finally
            (close-all hostile))))
      (testing "and others are answered when there is room again"
        (is (some #{200} (repeatedly 1000 #(try
                                             (first (answer metrics "GET" "/healthz"))
                                             (catch IOException _)))))))))

;; ---- JMX

(def ^:private ^MBeanServer beans (ManagementFactory/getPlatformMBeanServer))

(defn- names
  []
  (.queryNames beans (ObjectName. "temse:type=Milter,name=jmx-test,*") nil))

(defn- attribute
  [^ObjectName name attribute]
  (.getAttribute beans name attribute))

(defn- entry
  [^TabularData table k]
  (.get ^CompositeData (.get table (object-array [k])) "value"))

(deftest jmx-shows-a-milter-until-it-stops
  (milter/with-milter [server (assoc filter-options :name "jmx-test")]
    (metrics/register! server)
    (mt/run-message server {})
    (let [name (first (names))]
      (is (= (str "temse:type=Milter,name=jmx-test,address=\"" (milter/milter-address server) "\"") (str name)))
      (are [expected k] (= expected (attribute name k))
        "jmx-test" "Name"
        true "Listening"
        1 "Accepted"
        0 "Reloads")
      (is (= [(milter/milter-address server)] (seq (attribute name "Addresses"))))
      (is (= 1 (entry (attribute name "Messages") "rejected")))
      (is (= 1 (.get ^CompositeData (entry (attribute name "Handlers") "end-of-message") "count")))
      (testing "each of them can be read"
        (doseq [info (.getAttributes (.getMBeanInfo beans name))]
          (is (some? (attribute name (.getName ^javax.management.MBeanAttributeInfo info)))))))
    (milter/stop-milter server))
  (is (empty? (names))))

(deftest two-milters-of-one-name-do-not-collide-in-jmx
  (milter/with-milter [one (assoc filter-options :name "jmx-test")]
    (milter/with-milter [other (assoc filter-options :name "jmx-test")]
      (metrics/register! one)
      (let [^Closeable registration (metrics/register! other)]
        (with-open [again ^Closeable (metrics/register! other)]
          (is (some? again))
          (is (= 3 (count (names)))))
        (is (= 2 (count (names))))
        (.close registration)
        (.close registration)
        (is (= 1 (count (names)))))))
  (is (empty? (names))))

(deftest a-name-may-hold-anything-in-jmx
  (milter/with-milter [server (assoc filter-options :name "a,b=\"c\"*:?")]
    (with-open [_ ^Closeable (metrics/register! server)]
      (is (= 1 (count (filter #(= "a,b=\"c\"*:?" (ObjectName/unquote (.getKeyProperty ^ObjectName % "name")))
                              (.queryNames beans (ObjectName. "temse:type=Milter,*") nil))))))))

;; ---- Micrometer

(deftest micrometer-has-the-same-numbers-until-the-milter-stops
  (let [^MeterRegistry registry (SimpleMeterRegistry.)]
    (milter/with-milter [server filter-options]
      (.bindTo (MicrometerMetrics. (milter/java-server server)) registry)
      (mt/run-message server {})
      (is (= 1.0 (.count ^FunctionCounter (.functionCounter (.tag (.get registry "temse.messages") "verdict" "rejected")))))
      (is (= 1.0 (.value ^Gauge (.gauge (.get registry "temse.ready")))))
      (is (= 1 (.count ^Timer (.timer (.tag (.get registry "temse.handler") "event" "end-of-message")))))
      (testing "beside histograms of one's own"
        (metrics/measure! server)
        (mt/run-message server {})
        (is (= 2 (.count ^Timer (.timer (.tag (.get registry "temse.handler") "event" "end-of-message")))))
        (is (= 1 (get-in (milter/milter-status server) [:handlers :end-of-message :count])))))
    (is (empty? (.getMeters registry)))))

;; ---- many threads at once

(deftest no-time-is-lost-where-handlers-run-at-once
  (milter/with-milter [server filter-options]
    (metrics/measure! server)
    (let [start (CountDownLatch. 1)
          senders (doall (for [_ (range 8)]
                           (future
                             (.await start)
                             (with-open [session (mt/connect-to server)]
                               (dotimes [_ 50]
                                 (mt/run-message session {}))))))]
      (.countDown start)
      (run! support/awaited senders)
      (is (= [400 400] ((juxt #(get-in % [:handlers :end-of-message :count])
                              #(get-in % [:messages :rejected]))
                        (milter/milter-status server)))))))
