(ns temse.impl.log
  "What the Java server reports, written with clojure.tools.logging.

  Texts are made only for levels that are on, are printable and bounded, and nothing in an event, in a
  reply or in a user's data makes a report throw. A logging back end that fails is reported on stderr."
  {:no-doc true}
  (:require
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.impl.line :as line])
  (:import
   (java.io IOException)
   (java.util LinkedHashMap)
   (java.util.function Supplier)
   (temse.protocol Action ActionType Event EventCodec EventType MessageEndReason Printable)
   (temse.server ConnectionInfo OutdatedConnection ServerListener)
   (temse.server.internal LastResort LogFields)))

(set! *warn-on-reflection* true)

(def ^:private longest-line 4000)

(def ^:private longest-value 1000)

(def ^:private quiet-nanos
  "How long a failure of :on-exchange goes unreported after another."
  10000000000)

(defmacro quietly
  "Evaluates the body, which logs, and returns nil. Where that fails it is reported on stderr."
  [& body]
  `(try
     ~@body
     nil
     (catch Throwable problem#
       (LastResort/report "writing to the log" problem#))))

(defn problem-text
  "Returns the message of an exception in one printable line, or its class."
  [^Throwable problem]
  (Printable/of ^String (or (try
                              (ex-message problem)
                              (catch Throwable _))
                            (if problem (.getName (class problem)) "unknown"))
                (int longest-value)))

(defn- data-text
  "Returns data, whose objects may be a user's, in one printable line."
  [data]
  (try
    (binding [*print-length* 20, *print-level* 5]
      (Printable/of ^String (print-str data) (int longest-value)))
    (catch Throwable problem
      (str "(" (.getName (class problem)) " while it was printed)"))))

(def ^:private logger
  "The name of the logger, for users to configure."
  "temse")

(defn- line
  "Returns a report of a connection in one printable line."
  [server ^ConnectionInfo connection text]
  (let [line (doto (StringBuilder. 256)
               (.append (str server))
               (.append " "))]
    (when connection
      (doto line
        (.append (.id connection))
        (.append " ")
        (.append (.peer connection))))
    (Printable/of (.toString (.append line ^String text)) (int longest-line))))

(defn- mail-line
  "Returns a report of a connection and its mail in one printable line."
  [server ^ConnectionInfo connection text]
  (let [mail (when connection (.mail connection))]
    (line server connection (if (seq mail) (str " " mail text) text))))

(defn- logged?
  "Returns true if the error that a connection ended with has been logged already."
  [error]
  (not (or (instance? IOException error)
           (= :connection-lost (:milter/error (ex-data error))))))

(defn outdated-text
  "Returns a line about a connection that keeps the handlers that it has."
  [^OutdatedConnection kept]
  (str (.id kept) " " (.peer kept) " keeps the old handlers: "
       (if-let [failure (.failure kept)]
         (str "the new ones failed: " (problem-text failure))
         (str "it lacks " (.missing kept)))))

(defn- verdict-text
  [event ^Action reply ended]
  (str (when ended " message ")
       (when ended (name (.-keyword ^MessageEndReason ended)))
       (when event " at ")
       (when event (.getName (.-keyword ^EventType event)))
       (when (and event reply (not= ActionType/CONTINUE (.type reply)))
         (str ": " (line/action-text (.map reply))))))

;; ---- fields

(defn- fields
  "Returns the data of a line about a connection, for formatters that write data; `add`, a function of
  the LinkedHashMap, knows more."
  ^LinkedHashMap [server connection add]
  (let [fields (LinkedHashMap.)]
    (.put fields "server" (str server))
    (LogFields/addConnection fields connection)
    (when add
      (add fields))
    fields))

(defmacro ^:private report
  "Logs a text, made only if the level is on, with fields that are made only if a formatter asks."
  [level problem fields text]
  `(let [logger# (logging/get-logger log/*logger-factory* logger)]
     (when (logging/enabled? logger# ~level)
       (LogFields/during (reify Supplier (get [_#] ~fields))
                         (fn [] (log/log* logger# ~level ~problem ~text))))))

(defn note
  "Logs a text of a command about a milter, with fields, a map of strings."
  [level server more text]
  (quietly
    (report level nil (fields server nil #(.putAll ^LinkedHashMap % more))
            (Printable/of ^String text (int longest-line)))))

;; ---- functions of users

(defn- unreported
  "Returns a function that lets one call in ten seconds pass: it returns how many calls were suppressed
  before, or nil where this one is."
  []
  (let [state (atom [nil 0])]
    (fn []
      (let [now (System/nanoTime)
            [[quiet-since missed] [begins-at]]
            (swap-vals! state (fn [[quiet-since missed]]
                                (if (and quiet-since (< (- now (long quiet-since)) (long quiet-nanos)))
                                  [quiet-since (inc (long missed))]
                                  [now 0])))]
        (when (not= quiet-since begins-at)
          missed)))))

(defn guarded
  "Returns a function of an exchange that calls f and never throws: that f failed is logged under a
  title, once in ten seconds. What f is to whoever reads that is a text, such as \":on-exchange\"."
  [title what f]
  (let [unreported (unreported)]
    (fn [exchange]
      (try
        (f exchange)
        (catch Throwable problem
          (quietly
            (when-let [missed (unreported)]
              (log/log logger :error (Printable/throwable problem)
                       (line title nil (str what " failed: " (problem-text problem)
                                            (when (pos? (long missed))
                                              (str " (and " missed " times before that were not logged)"))))))))))))

;; ---- the listener

(defn answers
  "Returns the maps of what answered an event: of actions, or of the answer to the MTA's offer."
  [^ConnectionInfo connection ^Event event response]
  (if (= EventType/OPTIONS (.type event))
    [(EventCodec/decode (.packet (.agreement connection)))]
    (mapv #(.map ^Action %) response)))

(defn- exchange
  [^ConnectionInfo connection event response nanos]
  {:id (.id connection)
   :peer (.peer connection)
   :event (.map ^Event event)
   :response (answers connection event response)
   :millis (/ (long nanos) 1e6)})

(defn listener
  "Returns a listener that writes under the server's name, and calls `on-exchange` (or nil) with a
  map of each exchange. They throw nothing but what the logging back end throws, which the server
  counts and reports on stderr."
  ^ServerListener [server on-exchange]
  (let [on-exchanged (guarded server ":on-exchange" (fn [[connection event response nanos]]
                                                      (on-exchange (exchange connection event response nanos))))]
    (reify ServerListener
      (negotiated [_ connection]
        (report :debug nil (fields server connection nil)
                (line server connection " connected")))
      (probed [_ connection what]
        (report :debug nil (fields server connection nil)
                (line server connection (str " was no MTA's: " what))))
      (verdict [_ connection event reply ended]
        (report :debug nil (fields server connection #(LogFields/addVerdict % event reply ended))
                (mail-line server connection (verdict-text event reply ended))))
      (closed [_ connection error]
        (if (logged? error)
          (report :debug nil (fields server connection nil)
                  (line server connection " closed"))
          (report :info nil (fields server connection nil)
                  (line server connection (str " closed: " (problem-text error))))))
      (violated [_ connection error]
        (report :warn nil (fields server connection nil)
                (line server connection (str " protocol error, closing: " (problem-text error) " "
                                          (data-text (dissoc (ex-data error) :action))))))
      (failed [_ connection type event error]
        (report :error (Printable/throwable error)
                (fields server connection #(LogFields/addEvent % type))
                (mail-line server connection (str " the handler of " (some-> ^EventType type .-keyword)
                                               " failed: " (problem-text error) " "
                                               (data-text (dissoc (some-> ^Event event .map) :data))))))
      (outdated [_ kept]
        (report :warn (some-> (.failure kept) Printable/throwable)
                (fields server nil #(doto ^LinkedHashMap %
                                      (.put "connection" (.id kept))
                                      (.put "peer" (str (.peer kept)))))
                (line server nil (outdated-text kept))))
      (refused [_ peer why]
        (quietly
          (report :warn nil (fields server nil #(.put ^LinkedHashMap % "peer" (str peer)))
                  (line server nil (str "refused " peer " " why)))))
      (troubled [_ what]
        (quietly
          (report :warn nil (fields server nil nil) (line server nil what))))
      (wantsExchanges [_]
        (some? on-exchange))
      (exchanged [_ connection event response nanos]
        (when on-exchange
          (on-exchanged [connection event response nanos]))))))
