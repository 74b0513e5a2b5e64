(ns temse.harness.browser
  "A headless Chromium with one page, which tests ask in JavaScript over its debugging protocol."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.json :as json])
  (:import
   (java.io BufferedReader Closeable File)
   (java.net URI)
   (java.net.http HttpClient HttpRequest HttpRequest$BodyPublishers HttpResponse$BodyHandlers WebSocket WebSocket$Listener)
   (java.nio.charset StandardCharsets)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util Base64)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private patience-seconds 60)

(defn unavailable
  "Returns why there is no browser, or nil."
  []
  (when-not (some #(.canExecute (io/file % "chromium")) (string/split (System/getenv "PATH") #":"))
    "there is no chromium: install the Debian package chromium"))

(defn- awaited
  [p what]
  (let [value (deref p (* 1000 (long patience-seconds)) ::late)]
    (when (= ::late value)
      (throw (ex-info (str "waited in vain for " what) {})))
    value))

(defn- debugging-port
  "Returns the port that a browser prints, and reads on what it prints."
  [^Process process]
  (let [port (promise)]
    (doto (Thread. (fn []
                     (with-open [^BufferedReader lines (io/reader (.getErrorStream process))]
                       (doseq [line (line-seq lines)]
                         (when-let [[_ found] (re-find #"DevTools listening on ws://127\.0\.0\.1:(\d+)/" line)]
                           (deliver port found))))))
      (.setDaemon true)
      (.start))
    (awaited port "the port of the browser")))

(defn- new-page
  "Opens an empty page and returns where it is asked."
  [^HttpClient client port]
  (let [request (-> (HttpRequest/newBuilder (URI. (str "http://127.0.0.1:" port "/json/new?about:blank")))
                    (.PUT (HttpRequest$BodyPublishers/noBody))
                    (.build))]
    (second (re-find #"\"webSocketDebuggerUrl\": \"(.*?)\""
                     (.body (.send client request (HttpResponse$BodyHandlers/ofString)))))))

(defn- listener
  "Returns a listener that calls f with each message."
  ^WebSocket$Listener [f]
  (let [parts (StringBuilder.)]
    (reify WebSocket$Listener
      (onText [_ socket data last?]
        (.append parts data)
        (when last?
          (f (str parts))
          (.setLength parts 0))
        (.request ^WebSocket socket 1)
        nil))))

(defn- connected
  ^WebSocket [^HttpClient client address f]
  (-> (.newWebSocketBuilder client)
      (.buildAsync (URI. address) (listener f))
      (.get patience-seconds TimeUnit/SECONDS)))

(defn- delete
  [^File directory]
  (run! #(.delete ^File %) (reverse (file-seq directory))))

(defrecord ^:private Browser [ask close]
  Closeable
  (close [_]
    (close)))

(defn- asking
  "Returns a function of a method and its parameters that returns the result as JSON."
  [^WebSocket socket answers]
  (let [numbers (atom 0)]
    (fn [method parameters]
      (let [n (swap! numbers inc)
            answer (promise)]
        (swap! answers assoc (str n) answer)
        (.get (.sendText socket (json/text {:id n, :method method, :params parameters}) true)
              patience-seconds TimeUnit/SECONDS)
        (awaited answer method)))))

(defn start
  "Opens a page in a browser, which is Closeable."
  ^Closeable [url]
  (let [directory (.toFile (Files/createTempDirectory "temse-browser" (make-array FileAttribute 0)))
        process (.start (ProcessBuilder. ^"[Ljava.lang.String;"
                                         (into-array String
                                                     ["chromium" "--headless=new" "--no-sandbox" "--disable-gpu"
                                                      "--disable-dev-shm-usage" "--remote-debugging-port=0"
                                                      (str "--user-data-dir=" directory) "--window-size=1280,800"])))
        client (HttpClient/newHttpClient)
        answers (atom {})
        loaded (promise)
        close (fn []
                (.destroy process)
                (when-not (.waitFor process 10 TimeUnit/SECONDS)
                  (.waitFor (.destroyForcibly process)))
                (delete directory))]
    (try
      (let [socket (connected client
                              (new-page client (debugging-port process))
                              (fn [text]
                                (when-let [[_ n] (re-find #"^\{\"id\":(\d+)," text)]
                                  (deliver (@answers n) text))
                                (when (string/includes? text "\"Page.loadEventFired\"")
                                  (deliver loaded true))))
            ask (asking socket answers)]
        (ask "Page.enable" {})
        (ask "Page.navigate" {:url url})
        (awaited loaded "the page to be loaded")
        (->Browser ask close))
      (catch Throwable e
        (close)
        (throw e)))))

(defn evaluate
  "Returns the text that an expression of JavaScript comes to on the page."
  [{:keys [ask]} expression]
  (let [answer (ask "Runtime.evaluate"
                    {:expression (str "btoa(unescape(encodeURIComponent(String(" expression "))))")})
        [_ encoded] (re-find #"\"value\":\"([^\"]*)\"" answer)]
    (when-not encoded
      (throw (ex-info answer {})))
    (String. (.decode (Base64/getDecoder) ^String encoded) StandardCharsets/UTF_8)))

(defn await-true
  "Waits until an expression is true on the page, which looks at each change of it."
  [{:keys [ask]} expression]
  (let [answer (ask "Runtime.evaluate"
                    {:awaitPromise true
                     :expression (str "new Promise((done) => {"
                                      "  const look = () => { if (" expression ") { seen.disconnect(); done('true'); } };"
                                      "  const seen = new MutationObserver(look);"
                                      "  seen.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});"
                                      "  look(); })")})]
    (when-not (string/includes? answer "\"value\":\"true\"")
      (throw (ex-info answer {})))))

(defn screenshot
  "Writes what the page looks like to a PNG file."
  [{:keys [ask]} file]
  (let [[_ encoded] (re-find #"\"data\":\"([^\"]*)\"" (ask "Page.captureScreenshot" {:format "png"}))]
    (with-open [out (io/output-stream file)]
      (.write out (.decode (Base64/getDecoder) ^String encoded)))))
