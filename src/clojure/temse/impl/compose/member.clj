(ns temse.impl.compose.member
  "One of several filters behind one connection: to it we are the MTA of a connection of its own, in
  this process. Its engine keeps it to its agreement and settles its replies."
  {:no-doc true}
  (:require
   [temse.impl.handler :as handler]
   [temse.impl.log :as log]
   [temse.impl.macros :as macros]
   [temse.impl.options :as options])
  (:import
   (java.nio ByteBuffer)
   (java.util.concurrent CompletableFuture ConcurrentLinkedQueue)
   (java.util.function Function)
   (temse.message Collector MessageStore)
   (temse.protocol ActionFlag ActionType Agreement EventCodec EventType MacroStage MacroTable MilterException MilterException$Category Offer Packet PacketDecoder Request)
   (temse.server Connection EngineOptions MilterFactory MilterHandler ServerListener)
   (temse.server.internal ConnectionEngine)
   (temse.transport.internal Conversation$End Conversation$Wish Link Output)))

(set! *warn-on-reflection* true)

(def ^:private ^ByteBuffer nothing (ByteBuffer/allocate 0))

(def ^:private largest-packet (* 16 1024 1024))

;; ---- its handler, listener and link

(defn- noting-request
  "Returns a factory like the given one that puts what is asked of the MTA into a volatile."
  ^MilterFactory [^MilterFactory factory request]
  (reify MilterFactory
    (open [_ connection]
      (let [handler (.open factory connection)]
        (reify MilterHandler
          (request [_ connection offer]
            (vreset! request (.request handler connection offer)))
          (negotiated [_ agreement]
            (.negotiated handler agreement))
          (onEvent [_ connection type event]
            (.onEvent handler connection type event))
          (onError [_ connection error type event]
            (.onError handler connection error type event))
          (scopeEnded [_ type]
            (.scopeEnded handler type)))))))

(defn- noting-answers
  "Returns a listener that writes to the log, and puts what answers an event into a volatile, an error
  that ends the connection into another."
  ^ServerListener [server-name answers failure on-exchange]
  (let [log (log/listener server-name (when on-exchange #(on-exchange (assoc % :filter server-name))))]
    (reify ServerListener
      (negotiated [_ connection] (.negotiated log connection))
      (verdict [_ connection event reply ended] (.verdict log connection event reply ended))
      (failed [_ connection type event error] (.failed log connection type event error))
      (violated [_ connection error]
        (vreset! failure error)
        (.violated log connection error))
      (closed [_ connection error]
        (when error (vreset! failure error))
        (.closed log connection error))
      (wantsExchanges [_] true)
      (exchanged [_ connection event response nanos]
        (vswap! answers into response)
        (.exchanged log connection event response nanos)))))

(defn- link
  ^Link [^Connection opened ^Output output ^ConcurrentLinkedQueue tasks wake outer drain]
  (let [peer (.peer opened)]
    (reify Link
      (output [_] output)
      (flush [_] (drain))
      (isCongested [_] false)
      (isBroken [_] false)
      (writeNow [_ _] (some-> ^Connection @outer .progress))
      (enter [_ _] true)
      (leave [_])
      (later [_ task]
        (.add tasks task)
        (some-> ^CompletableFuture @wake (.complete true)))
      (peer [_] peer))))

(defn- engine-options
  "Returns options without limits of their own: the connection to the MTA has them."
  ^EngineOptions [{:keys [default-reply]}]
  (options/engine (options/check {:default-reply (or default-reply {})
                                  :max-packet-size largest-packet
                                  :max-header-fields Integer/MAX_VALUE
                                  :max-header-bytes Long/MAX_VALUE
                                  :max-recipients Integer/MAX_VALUE
                                  :max-macro-bytes Long/MAX_VALUE
                                  :max-unfinished-bytes Long/MAX_VALUE})))

;; ---- what it answers

(defn- take-body
  "Keeps a piece of the body that the filter puts in the place of the message's."
  [{:keys [new-body outer ^MessageStore store]} ^Packet packet]
  (when-not @new-body
    (vreset! new-body (.collector store))
    (.take ^Collector @new-body @outer EventType/MAIL
           (EventCodec/event EventType/MAIL (object-array [:sender "<>" :options []]))))
  (.take ^Collector @new-body @outer EventType/BODY
         (EventCodec/event EventType/BODY (object-array [:data (.payload packet)]))))

(defn- drain
  "Takes what the engine has written. Only bodies and progress are of interest: what else answers an
  event comes by the listener."
  [{:keys [^Output output ^PacketDecoder decoder outer] :as member}]
  (when (pos? (.size output))
    (let [bytes (ByteBuffer/wrap (.toByteArray output))]
      (.clear output)
      (loop []
        (when-let [packet (.next decoder bytes)]
          (condp = (.code ^Packet packet)
            (.-code ActionType/CHANGE_BODY) (take-body member packet)
            (.-code ActionType/PROGRESS) (.progress ^Connection @outer)
            nil)
          (recur))))))

;; ---- talking to it

(defn closed?
  "Returns true if its connection has ended."
  [{:keys [closed]}]
  @closed)

(defn end!
  "Ends its connection, as the MTA would that goes, unless it has ended. Work that it waits for is given
  up."
  [{:keys [^ConnectionEngine engine closed]} ^Conversation$End how]
  (when-not @closed
    (vreset! closed true)
    (.ended engine how nil)))

(defn serve!
  "Lets it go on with what it has been told. Returns :waiting if it waits for a value, or :told."
  [{:keys [^ConnectionEngine engine ^ConcurrentLinkedQueue tasks unread failure] :as member}]
  (loop []
    (when-let [task (.poll tasks)]
      (.run ^Runnable task)
      (recur)))
  (let [wish (.receive engine @unread (System/nanoTime))]
    (drain member)
    (condp = wish
      Conversation$Wish/READ :told
      Conversation$Wish/WAIT :waiting
      Conversation$Wish/CLOSE (do (end! member Conversation$End/CLOSED_HERE)
                                  (drain member)
                                  (when-let [error @failure] (throw error))
                                  :told)
      (recur member))))

(defn give-up!
  "Has the value that it waits for be late: what it then answers is of no interest any more."
  [{:keys [^ConnectionEngine engine closed] :as member}]
  (loop [left 100000]
    (when (and (not @closed) (pos? left)
               (= Conversation$Wish/WAIT (.expired engine (.deadline engine))))
      (drain member)
      (recur (dec left))))
  (drain member))

(defn- joined
  ^ByteBuffer [packets]
  (let [buffer (ByteBuffer/allocate (reduce + (map #(+ 5 (alength (.payload ^Packet %))) packets)))]
    (run! #(.put buffer (.toBytes ^Packet %)) packets)
    (.flip buffer)))

(defn- lost
  [{:keys [title]}]
  (MilterException. MilterException$Category/CONNECTION_LOST
                    (str "the filter " title " has closed its connection, and cannot be asked any more")
                    (object-array 0)))

(defn tell-packets!
  "Sends it packets for an event of the connection to the MTA, and returns as `serve!` does."
  [{:keys [answers outer unread] :as member} connection packets]
  (when (closed? member)
    (throw (lost member)))
  (vreset! outer connection)
  (vreset! answers [])
  (vreset! unread (joined packets))
  (serve! member))

(defn await!
  "Leaves the event of the MTA's connection open until there is something to do for the member."
  [{:keys [wake ^ConcurrentLinkedQueue tasks]} ^Connection connection go-on given-up]
  (let [woken (CompletableFuture.)]
    (vreset! wake woken)
    (when-not (.isEmpty tasks)
      (.complete woken true))
    (.await connection
            woken
            (reify Function (apply [_ _] (go-on)))
            ^Runnable given-up)))

;; ---- macros

(defn- wanted-macros
  "Returns the macros of a stage as an MTA would send them to this filter alone."
  [{:keys [^Request request]} ^MacroStage stage definitions]
  (if-let [names (.get (.macros request) stage)]
    (select-keys definitions (map macros/bare-name names))
    definitions))

(def ^:private stages (vec (MacroStage/values)))

(def ^:private clears-later
  "Events after which macros of later stages are gone."
  #{EventType/CONNECT EventType/HELLO EventType/MAIL EventType/RECIPIENT})

(defn- macro-packet
  [^MacroStage stage definitions]
  (EventCodec/encode {:event :define-macro
                      :command (char (.-letter stage))
                      :definitions definitions}))

(defn- macro-packets
  "Returns the packets after which the member knows the macros that hold at an event."
  [{:keys [table known] :as member} ^EventType type ^MacroTable now]
  (let [own-stage (first (filter #(= (.-keyword ^MacroStage %) (.-keyword type)) stages))]
    (when (or own-stage (not (identical? now @table)))
      (vreset! table now)
      (let [all (.toMap now)]
        (doall
          (for [^MacroStage stage stages
                :let [later? (and own-stage (clears-later type)
                                  (pos? (compare (.ordinal stage) (.ordinal ^MacroStage own-stage))))
                      definitions (if later? {} (wanted-macros member stage (get all (.-keyword stage) {})))
                      before (get @known stage {})]
                :when (do (vswap! known assoc stage definitions)
                          (and (not later?)
                               (or (not= before definitions)
                                   (and (= stage own-stage) (seq definitions)))))]
            (macro-packet stage definitions)))))))

(defn tell!
  "Tells it an event of the MTA's connection, and returns as `serve!` does."
  [member ^Connection connection event]
  (let [type (EventType/ofKeyword (:event event))]
    (tell-packets! member connection
                   (concat (macro-packets member type (.macros connection))
                           [(EventCodec/encode event)]))))

;; ---- its beginning

(defn agreement
  "Returns what holds between it and the MTA."
  ^Agreement [{:keys [^ConnectionEngine engine]}]
  (.agreement (.connection engine)))

(defn open!
  "Opens the connection of a filter, a map of options, and negotiates an offer for it."
  [{:keys [filter title on-exchange]} ^MessageStore store ^Connection connection ^Offer offer]
  (let [request (volatile! nil)
        answers (volatile! [])
        failure (volatile! nil)
        outer (volatile! connection)
        wake (volatile! nil)
        output (Output.)
        tasks (ConcurrentLinkedQueue.)
        self (promise)
        engine (ConnectionEngine. (noting-request (handler/factory (options/check filter)) request)
                                  (engine-options filter)
                                  (noting-answers title answers failure on-exchange)
                                  (link connection output tasks wake outer #(drain @self))
                                  (.id connection))
        member {:title title
                :engine engine
                :store store
                :output output
                :decoder (PacketDecoder. (int largest-packet))
                :tasks tasks
                :wake wake
                :outer outer
                :answers answers
                :failure failure
                :unread (volatile! nothing)
                :closed (volatile! false)
                :new-body (volatile! nil)
                :table (volatile! nil)
                :known (volatile! {})}]
    (deliver self member)
    (when-not (= :told (tell-packets! member connection [(.packet offer)]))
      (throw (lost member)))
    (assoc member :request @request)))

(defn mail
  "Returns what a log calls the mail of a connection by."
  [^Connection connection]
  (.mail connection))

(defn asks-to-change?
  "Returns true if, by an agreement, a filter may change what later ones see."
  [^Agreement agreement]
  (boolean (some #(.allows agreement %)
                 [ActionFlag/ADD_HEADER ActionFlag/CHANGE_HEADER ActionFlag/CHANGE_BODY])))

(defn message-ends!
  "Gives back what it holds of the message."
  [{:keys [new-body]}]
  (when-let [collector @new-body]
    (vreset! new-body nil)
    (.end ^Collector collector)))
