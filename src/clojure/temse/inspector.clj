(ns temse.inspector
  "A page that shows live what happens in a milter that runs, for a browser on the same machine.

    (def inspector (inspect server))
    (:url inspector)   ;=> \"http://127.0.0.1:41507/4mE…/\"

  doc/inspector.org shows it."
  (:require
   [clojure.java.io :as io]
   [temse.impl.inspector.conversations :as conversations]
   [temse.impl.inspector.disagreement :as disagreement]
   [temse.impl.inspector.entry :as entry]
   [temse.impl.inspector.feed :as feed]
   [temse.impl.inspector.rerun :as rerun]
   [temse.impl.json :as json]
   [temse.impl.keys :as keys]
   [temse.milter :as milter])
  (:import
   (clojure.lang IAtom)
   (com.sun.net.httpserver HttpExchange HttpHandler HttpServer)
   (java.io ByteArrayOutputStream Closeable IOException OutputStream Writer)
   (java.net InetAddress InetSocketAddress)
   (java.nio.charset StandardCharsets)
   (java.security MessageDigest SecureRandom)
   (java.util Base64 Base64$Encoder)
   (java.util.concurrent RejectedExecutionHandler Semaphore SynchronousQueue ThreadFactory ThreadPoolExecutor TimeUnit)
   (temse.protocol MilterException MilterException$Category)))

(set! *warn-on-reflection* true)

(def ^:private most-browsers 8)

(def ^:private most-requests
  "Requests that are answered at once, with those of the browsers that watch."
  24)

(def ^:private heartbeat
  "Milliseconds after which a browser is written to, so that one that is gone is noticed."
  10000)

;; ---- answers

(def ^:private files
  "What the page is made of, with its types."
  {"" ["index.html" "text/html; charset=utf-8"]
   "inspector.css" ["inspector.css" "text/css; charset=utf-8"]
   "inspector.js" ["inspector.js" "text/javascript; charset=utf-8"]})

(def ^:private protections
  "Header fields of every answer."
  {"Content-Security-Policy" (str "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
                                  " base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
   "Referrer-Policy" "no-referrer"
   "Cache-Control" "no-store"
   "X-Content-Type-Options" "nosniff"
   "X-Frame-Options" "DENY"
   "Cross-Origin-Opener-Policy" "same-origin"
   "Cross-Origin-Resource-Policy" "same-origin"})

(defn- answer
  [^HttpExchange http status type ^bytes body]
  (.set (.getResponseHeaders http) "Content-Type" type)
  (if (= "HEAD" (.getRequestMethod http))
    (.sendResponseHeaders http status -1)
    (do (.sendResponseHeaders http status (alength body))
        (.write (.getResponseBody http) body))))

(defn- answer-text
  [http status ^String text]
  (answer http status "text/plain; charset=utf-8" (.getBytes text StandardCharsets/UTF_8)))

(defn- answer-file
  [http [file type]]
  (let [bytes (ByteArrayOutputStream.)]
    (with-open [in (io/input-stream (io/resource (str "temse/inspector/" file)))]
      (io/copy in bytes))
    (answer http 200 type (.toByteArray bytes))))

;; ---- server-sent events

(defn- write-event
  [^OutputStream out ^String text]
  (.write out (.getBytes text StandardCharsets/US_ASCII))
  (.flush out))

(defn- last-number
  "Returns the number of the entry that a browser has received before it lost the connection, or 0."
  [^HttpExchange http]
  (let [given (.getFirst (.getRequestHeaders http) "Last-Event-ID")]
    (if (and given (re-matches #"\d{1,18}" given))
      (parse-long given)
      0)))

(defn- entry-text
  [[number json]]
  (str "id: " number "\ndata: " json "\n\n"))

(defn- shadow-text
  [report]
  (str "event: shadow\ndata: "
       (json/text (try
                    (disagreement/report report)
                    (catch Exception problem
                      {:problem (entry/failure-text problem)})))
       "\n\n"))

(defn- write-shadow
  "Writes the report of a shadow, if there is one and it is another than that written before, and returns it.
  It is written at most once a second."
  [out shadow {:keys [report ^long at] :as written}]
  (let [now (System/nanoTime)]
    (if (or (nil? shadow) (identical? report @shadow) (and report (< (- now at) 1000000000)))
      written
      (let [report @shadow]
        (write-event out (shadow-text report))
        {:report report, :at now}))))

(defn- stream
  "Writes entries to a browser until it goes or the inspector is closed."
  [{:keys [feed open? title shadow]} ^HttpExchange http]
  (.set (.getResponseHeaders http) "Content-Type" "text/event-stream")
  (.sendResponseHeaders http 200 0)
  (let [out (.getResponseBody http)
        reader (feed/reader feed (last-number http))
        patience (if shadow 1000 heartbeat)]
    (try
      (write-event out (str "retry: 1000\nevent: hello\ndata: " (json/text {:title title}) "\n\n"))
      (run! #(write-event out (entry-text %)) (:backlog reader))
      (loop [written (write-shadow out shadow {:at 0})]
        (when @open?
          (let [entry (feed/next-entry reader patience)
                lost (long (feed/lost reader))]
            (when (pos? lost)
              (write-event out (str "event: lost\ndata: " lost "\n\n")))
            (write-event out (if entry (entry-text entry) ": still here\n\n"))
            (recur (write-shadow out shadow written)))))
      (finally
        (feed/forget feed reader)))))

(defn- answer-stream
  [{:keys [^Semaphore browsers] :as inspector} http]
  (if (.tryAcquire browsers)
    (try
      (stream inspector http)
      (finally
        (.release browsers)))
    (answer-text http 503 (str "there are " most-browsers " browsers already\n"))))

;; ---- replay

(defn- answer-replay
  [{:keys [server conversations runner]} http id]
  (let [outcome (rerun/outcome runner
                               #(conversations/recording conversations id)
                               (milter/serving-options server))]
    (answer http 200 "application/json" (.getBytes ^String (json/text outcome) StandardCharsets/US_ASCII))))

;; ---- requests

(defn- own-host?
  "Returns true for a Host field that names this machine: a page of elsewhere, whose name leads here,
  sends its own."
  [^HttpExchange http]
  (let [port (.getPort (.getLocalAddress http))]
    (contains? (into #{} (map #(str % ":" port)) ["127.0.0.1" "localhost" "[::1]"])
               (.getFirst (.getRequestHeaders http) "Host"))))

(defn- own-page?
  "Returns true for a request of the page itself: browsers say with each POST which page makes it."
  [^HttpExchange http]
  (let [field #(.getFirst (.getRequestHeaders http) %)]
    (and (= (str "http://" (field "Host")) (field "Origin"))
         (contains? #{nil "same-origin"} (field "Sec-Fetch-Site")))))

(defn- same?
  "Compares texts in a time that says nothing of where they differ."
  [^String a ^String b]
  (MessageDigest/isEqual (.getBytes a StandardCharsets/UTF_8) (.getBytes b StandardCharsets/UTF_8)))

(defn- handle
  [{:keys [token] :as inspector} ^HttpExchange http]
  (doseq [[k v] protections]
    (.set (.getResponseHeaders http) k v))
  (let [[_ given file] (re-matches #"/([^/]*)/(.*)" (.getRawPath (.getRequestURI http)))
        [_ replayed] (some->> file (re-matches #"replay/(\d{1,18})"))
        method (.getRequestMethod http)]
    (cond
      (not (own-host? http))
      (answer-text http 403 "this is for browsers on the same machine\n")

      (not (and given (same? token given)))
      (answer-text http 403 "the token in the URL is missing or wrong\n")

      (and replayed (not= "POST" method))
      (answer-text http 405 "a replay is asked for with POST\n")

      (and replayed (not (own-page? http)))
      (answer-text http 403 "only the page of the inspector may ask for a replay\n")

      replayed
      (answer-replay inspector http (parse-long replayed))

      (not (#{"GET" "HEAD"} method))
      (answer-text http 405 "only GET and HEAD are answered\n")

      (files file) (answer-file http (files file))
      (and (= "events" file) (= "GET" method)) (answer-stream inspector http)
      :else (answer-text http 404 "there is no such page\n"))))

(defn- handler
  [inspector]
  (reify HttpHandler
    (handle [_ http]
      (try
        (handle inspector http)
        (catch IOException _)
        (catch InterruptedException _)
        (finally
          (.close http))))))

;; ---- opening and closing

(defn- new-token
  []
  (let [bytes (byte-array 16)
        ^Base64$Encoder encoder (.withoutPadding (Base64/getUrlEncoder))]
    (.nextBytes (SecureRandom.) bytes)
    (.encodeToString encoder bytes)))

(def ^:private refusing
  "Closes the connection of a request for which there is no thread: its channel sees the interrupt."
  (reify RejectedExecutionHandler
    (rejectedExecution [_ task _]
      (.interrupt (Thread/currentThread))
      (try
        (.run task)
        (finally
          (Thread/interrupted))))))

(defn- workers
  ^ThreadPoolExecutor []
  (ThreadPoolExecutor. 0 (int most-requests) 5 TimeUnit/SECONDS (SynchronousQueue.)
                       (reify ThreadFactory
                         (newThread [_ task]
                           (doto (Thread. task "temse-inspector")
                             (.setDaemon true))))
                       refusing))

(defn- listening
  ^HttpServer [port]
  (try
    (HttpServer/create (InetSocketAddress. (InetAddress/getByName "127.0.0.1") (int port)) 16)
    (catch IOException e
      (throw (MilterException. MilterException$Category/BIND_FAILED
                               (str "cannot listen on inet:" port "@127.0.0.1 for the inspector: "
                                    "another program listens there, or this user may not use the port")
                               e
                               (object-array ["address" (str "inet:" port "@127.0.0.1")]))))))

(defn- start-as-daemon
  "Starts the server on a thread of its own, whose kind that of the server inherits."
  [^HttpServer http]
  (doto (Thread. (fn [] (.start http)) "temse-inspector")
    (.setDaemon true)
    (.start)
    (.join)))

(defrecord ^:private Inspector [url close]
  Closeable
  (close [_]
    (close)))

(defmethod print-method Inspector
  [{:keys [url]} ^Writer writer]
  (.write writer (str "#<inspector " url ">")))

(def ^:private table
  {:port ["a number from 0 to 65535, 0 for a free one" #(and (int? %) (<= 0 (long %) 65535)) 0]
   :shadow ["the atom that is the :report of temse.shadow/shadow"
            #(or (nil? %) (and (instance? IAtom %) (some? (:conversations @%))))
            nil]})

(defn inspect
  "Opens the inspector of a milter that runs, and returns it: Closeable, and a map with its :url, for a
  browser on this machine. Whoever has the URL sees mails: it holds a token that nobody can guess.

    :port   ; where its page is, on 127.0.0.1 (default: 0, any free port)
    :shadow ; the atom that `temse.shadow/shadow` was given as :report, to show where the candidate
            ; disagrees (default: none)

  The page can play a conversation again to the handlers of now, which are called for it.

  What has happened before is not seen; it ends with `close`, and a milter that nobody inspects spends
  nothing for it.

  Throws :bind-failed if the port is taken, an IllegalArgumentException for what is no milter.

    (with-open [inspector (inspect server)]
      (println (:url inspector))
      (read-line))"
  (^java.io.Closeable [server]
   (inspect server {}))
  (^java.io.Closeable [server options]
   (let [{:keys [port shadow]} (keys/with-defaults "the options of inspect" options table)
         _ (when-not (contains? (milter/running-milters) server)
             (throw (IllegalArgumentException.
                      (str "inspect takes a milter that runs, not " (keys/shown server)))))
         http (listening port)
         workers (workers)
         open? (atom true)
         feed (feed/feed)
         conversations (conversations/conversations)
         watcher (Object.)
         token (new-token)]
     (.createContext http "/" (handler {:token token
                                        :feed feed
                                        :open? open?
                                        :title (str server)
                                        :shadow shadow
                                        :server server
                                        :conversations conversations
                                        :runner (rerun/runner)
                                        :browsers (Semaphore. most-browsers)}))
     (.setExecutor http workers)
     (milter/watch-milter server watcher
                          (fn [exchange]
                            (feed/publish feed exchange)
                            (conversations/remember conversations exchange
                                                    (boolean (:leading-space? (milter/serving-options server))))))
     (start-as-daemon http)
     (->Inspector (str "http://127.0.0.1:" (.getPort (.getAddress http)) "/" token "/")
                  (fn []
                    (reset! open? false)
                    (milter/unwatch-milter server watcher)
                    (.stop http 0)
                    (.shutdownNow workers))))))
