(ns temse.record
  "Recordings of what MTAs say and a filter answers: whole conversations as EDN, for regression
  tests made of real traffic. They are played again by temse.replay.

    (with-open [recorder (recorder {:directory \"recordings\"})]
      (with-milter [server (record options recorder)]
        …))

  A recording is a map of
    :temse/recording  ; 1, the version of its form
    :recorded         ; when the MTA connected
    :mta              ; its name and version, the macro v, if it told
    :peer             ; the MTA's end of the socket
    :ended            ; by what: :quit, :connection-lost, :stopping, :error, or :cut where no more
                      ; of it was kept
    :conversation     ; vector of {:event :response :nanos}; first the offer and its answer. A
                      ; :response of nil never came
    :file             ; the file it was read from
  Bodies are bytes; in files they are {:text \"…\"}, #temse/bytes \"BASE64\" or #temse/file \"NAME\". A
  new body that a handler gave as a stream is not known: {:action :change-body :streamed? true}."
  (:require
   [clojure.java.io :as io]
   [clojure.tools.logging :as log]
   [temse.impl.keys :as keys]
   [temse.impl.options :as options]
   [temse.impl.recording :as recording]
   [temse.impl.redaction :as redaction]
   [temse.impl.tap :as tap])
  (:import
   (java.io Closeable File InputStream)
   (java.time Instant ZoneOffset)
   (java.time.format DateTimeFormatter)
   (java.util ArrayDeque ArrayList Arrays Collection Date Iterator LinkedHashMap List Map$Entry)
   (java.util.concurrent ExecutionException LinkedBlockingQueue RejectedExecutionException ThreadFactory ThreadPoolExecutor TimeUnit)
   (java.util.concurrent.atomic AtomicLong)
   (temse.protocol ActionCodec MilterException Packet PacketSink)))

(set! *warn-on-reflection* true)

;; ---- from what was exchanged to a recording

(defn- streamed?
  [body]
  (or (instance? InputStream body)
      (and (sequential? body) (some streamed? body))))

(defn- packets-of
  "Returns the actions that the packets of an action decode to."
  [action]
  (let [actions (ArrayList.)]
    (ActionCodec/encode action
                        (reify PacketSink
                          (packet [_ code bytes offset length]
                            (let [payload (Arrays/copyOfRange ^bytes bytes (int offset)
                                                              (int (+ offset length)))]
                              (.add actions (ActionCodec/decode (Packet. code payload)))))))
    (vec actions)))

(defn- sent-actions
  "Returns an action as the MTA gets it. What a proxy has seen need not be good enough to be sent."
  [{:keys [body] :as action}]
  (if (streamed? body)
    [{:action :change-body, :streamed? true}]
    (try
      (packets-of action)
      (catch MilterException _
        [action]))))

(defn- without-space
  [{:keys [^String value] :as m}]
  (cond-> m
    (and value (.startsWith value " ")) (update :value subs 1)))

(defn- travelled
  "Returns a reply as the MTA gets it: skip travels for the body only, and where it was agreed."
  [{:keys [action] :as reply} event protocol]
  (if (and (= :skip action)
           (not (and (= :body (:event event)) (contains? protocol :skip))))
    {:action :continue}
    reply))

(defn- recorded-exchange
  "Returns an exchange of :on-exchange as the wire had it."
  [{:keys [leading-space? protocol]} {:keys [event response millis]}]
  (let [emulated? (and leading-space? (not (contains? protocol :leading-space)))
        on-wire (if emulated? without-space identity)]
    {:event (on-wire event)
     :response (when response
                 (if (= :options (:event event))
                   response
                   (tap/joined
                     (into []
                           (comp (map #(travelled % event protocol)) (map on-wire) (mapcat sent-actions))
                           response))))
     :nanos (long (* 1e6 (double millis)))}))

(defn- recording-of
  [{:keys [started peer ended leading-space? exchanges]}]
  (let [[{[answer] :response}] exchanges
        agreed {:leading-space? leading-space?, :protocol (:protocol answer)}
        conversation (mapv #(recorded-exchange agreed %) exchanges)
        mta (some #(get-in % [:event :definitions "v"]) conversation)]
    (cond-> {:temse/recording recording/version
             :recorded started}
      mta (assoc :mta mta)
      true (assoc :peer peer, :ended ended, :conversation conversation))))

;; ---- where recordings are kept

(def ^:private ^DateTimeFormatter timestamp
  (.withZone (DateTimeFormatter/ofPattern "yyyyMMdd'T'HHmmss.SSS'Z'") ZoneOffset/UTC))

(defn- forget-oldest
  "Takes [thing size] off the deque, the oldest first, until what is left is within the limits."
  [^ArrayDeque things {:keys [max-conversations max-bytes]} forget]
  (while (and (pos? (.size things))
              (or (< (long max-conversations) (.size things))
                  (< (long max-bytes) (long (transduce (map second) + things)))))
    (forget (first (.removeFirst things)))))

(defn- memory-store
  "Returns functions of the writer's thread: :keep, of a recording and its weight, and :kept."
  [options]
  (let [things (ArrayDeque.)]
    {:keep (fn [recording weight]
             (.addLast things [recording weight])
             (forget-oldest things options identity))
     :kept #(mapv first things)}))

(defn- sized
  [files]
  [files (transduce (map #(.length ^File %)) + files)])

(defn- read-all
  [directory]
  (mapv (comp recording/read-file first) (recording/files directory)))

(defn- checked-directory
  ^File [given]
  (let [directory (io/file given)]
    (.mkdirs directory)
    (when-not (and (.isDirectory directory) (.canWrite directory))
      (throw (options/bad-option :directory given
                                 (str "recordings cannot be written to " directory
                                      ": it is no directory, or not for this process"))))
    directory))

(defn- directory-store
  "Returns functions like those of a memory-store. What the directory holds counts, too."
  [{:keys [directory max-body] :as options}]
  (let [directory (checked-directory directory)
        things (ArrayDeque. ^Collection (mapv sized (recording/files directory)))
        numbers (AtomicLong.)]
    {:keep (fn [{:keys [^Date recorded] :as recording} _]
             (let [file (io/file directory (format "%s-%06d.edn" (.format timestamp (.toInstant recorded))
                                                   (.incrementAndGet numbers)))]
               (.addLast things (sized (recording/write recording file max-body)))
               (forget-oldest things options (fn [files] (run! #(.delete ^File %) files)))))
     :kept #(read-all directory)}))

;; ---- recording

(def ^:private table
  {:directory ["a path" #(or (string? %) (instance? File %)) nil]
   :max-conversations ["a number" pos-int? 1000]
   :max-bytes ["a number of bytes" pos-int? 104857600]
   :max-memory ["a number of bytes" pos-int? 16777216]
   :max-body ["a number of bytes" nat-int? 8192]
   :redact ["a map of :addresses?, :bodies?, :headers and :key"
            #(and (map? %) (every? #{:addresses? :bodies? :headers :key} (keys %)))
            nil]})

(defn- checked
  "Returns the options with defaults, and the key of the hashes."
  [given]
  (keys/check "the options of a recorder" given table)
  (let [{:keys [redact] :as options} (merge (update-vals table peek) given)]
    (cond-> options
      redact (update-in [:redact :key] #(or % (redaction/secret))))))

(declare ^:private close-recorder)

(deftype ^:private Recorder [options store ^LinkedHashMap open ^ThreadPoolExecutor writer counts]
  Closeable
  (close [this]
    (close-recorder this)))

(defn- store-recording
  "Stores a conversation. What goes wrong is logged once until it goes right again."
  [^Recorder recorder conversation]
  (let [{:keys [redact]} (.-options recorder)
        counts (.-counts recorder)
        failing? (:failing? @counts)]
    (try
      ((:keep (.-store recorder))
       (cond-> (recording-of conversation) redact (redaction/redacted redact))
       (:weight conversation))
      (swap! counts #(-> % (update :recorded inc) (assoc :failing? false)))
      (catch Throwable e
        (swap! counts #(-> % (update :failed inc) (assoc :failing? true)))
        (when-not failing?
          (log/error e "a conversation could not be recorded; it is not told again until it works:"
                     (ex-message e)))))))

(defn- finish
  "Hands a conversation over to the writer, or drops it where too many wait for it already."
  [^Recorder recorder conversation ended]
  (let [{:keys [^longs weight]} conversation
        weight (aget weight 0)
        counts (.-counts recorder)
        waiting #(swap! counts update :waiting + %)
        max-memory (long (:max-memory (.-options recorder)))
        dropped #(swap! counts update :dropped inc)]
    (swap! counts update :held - weight)
    (if (< max-memory (+ weight (long (:waiting @counts))))
      (dropped)
      (try
        (waiting weight)
        (.execute ^ThreadPoolExecutor (.-writer recorder)
                  (fn []
                    (store-recording recorder (assoc conversation :ended ended, :weight weight))
                    (waiting (- weight))))
        (catch RejectedExecutionException _
          (waiting (- weight))
          (dropped))))))

(defn- cut-oldest
  [^Recorder recorder]
  (let [^Iterator entries (.iterator (.entrySet ^LinkedHashMap (.-open recorder)))
        ^Map$Entry oldest (.next entries)]
    (.remove entries)
    (swap! (.-counts recorder) update :cut inc)
    (finish recorder (.getValue oldest) :cut)))

(defn- text-weight
  [^String text]
  (if text (.length text) 0))

(defn- weight-of
  "Returns about how many bytes of memory an exchange takes."
  ^long [{:keys [event response]}]
  (reduce (fn [^long sum {:keys [value body]}]
            (+ sum 64 (long (text-weight value)) (cond
                                                   (bytes? body) (alength ^bytes body)
                                                   (string? body) (.length ^String body)
                                                   :else 0)))
          (+ 256
             (if-let [^bytes data (:data event)] (alength data) 0)
             (long (text-weight (:value event))))
          response))

(defn- new-conversation
  [leading-space? {:keys [peer]}]
  {:started (Date/from (Instant/now))
   :peer peer
   :leading-space? leading-space?
   :exchanges (ArrayList.)
   :weight (long-array 1)})

(defn- add
  [^Recorder recorder {:keys [^List exchanges ^longs weight]} exchange]
  (let [more (weight-of exchange)]
    (.add exchanges exchange)
    (aset weight 0 (+ more (aget weight 0)))
    (swap! (.-counts recorder) update :held + more)))

(defn- hear
  "Takes an exchange of the connection `key`."
  [^Recorder recorder key leading-space? {:keys [event] :as exchange}]
  (let [^LinkedHashMap open (.-open recorder)
        max-memory (long (:max-memory (.-options recorder)))]
    (locking open
      (when (= :options (:event event))
        (.put open key (new-conversation leading-space? exchange)))
      (when-let [conversation (.get open key)]
        (cond
          (= :message-end (:event event))
          nil

          (and (= :disconnect (:event event)) (not= :new-connection (:reason event)))
          (do (.remove open key)
              (finish recorder conversation (:reason event)))

          :else
          (add recorder conversation exchange)))
      (while (and (< max-memory (long (:held @(.-counts recorder))))
                  (pos? (.size open)))
        (cut-oldest recorder)))))

(defn- close-recorder
  [^Recorder recorder]
  (let [^LinkedHashMap open (.-open recorder)
        ^ThreadPoolExecutor writer (.-writer recorder)]
    (locking open
      (while (pos? (.size open))
        (cut-oldest recorder)))
    (.shutdown writer)
    (when-not (.awaitTermination writer 10 TimeUnit/SECONDS)
      (log/warn "recordings are still being written after ten seconds; the rest is dropped")
      (.shutdownNow writer))))

(defn- writer
  []
  (doto (ThreadPoolExecutor. 1 1 1 TimeUnit/SECONDS (LinkedBlockingQueue.)
                             (reify ThreadFactory
                               (newThread [_ task]
                                 (doto (Thread. task "temse-recorder")
                                   (.setDaemon true)))))
    (.allowCoreThreadTimeOut true)))

(defn recorder
  "Returns a recorder, Closeable: it keeps conversations, each when its connection ends, and forgets
  the oldest where there are too many.

    :directory          ; where to write files (default: none, they are kept in memory)
    :max-conversations  ; how many are kept (default: 1000)
    :max-bytes          ; how large they may be together (default: 104857600)
    :max-memory         ; bytes of conversations in progress, and again of those that wait to be
                        ; written; beyond it the oldest one in progress is cut (default: 16777216)
    :max-body           ; bytes of a body in the recording; larger ones get a file (default: 8192)
    :redact             ; map of what must not be kept (default: nothing)
      :addresses?       ; mail addresses become hashes, equal ones equal hashes; names and IP
                        ; addresses of SMTP clients stay
      :bodies?          ; of bodies their sizes stay
      :headers          ; names of header fields whose values are dropped
      :key              ; of the hashes, a string (default: a random one, which is not kept)

  Recording never disturbs mail: files are written by a thread of their own, and what it cannot write
  is logged and counted, see `recorder-status`. Closing waits for what is being written; conversations
  in progress are cut.

  Throws :bad-options for a wrong option or a directory that cannot be written to."
  (^java.io.Closeable []
   (recorder {}))
  (^java.io.Closeable [options]
   (let [options (checked options)]
     (->Recorder options
                 (if (:directory options)
                   (directory-store options)
                   (memory-store options))
                 (LinkedHashMap.)
                 (writer)
                 (atom {:recorded 0, :cut 0, :dropped 0, :failed 0, :held 0, :waiting 0})))))

(defn ^:no-doc hearer
  "Returns a function for :on-exchange that has a recorder keep what one server or proxy does."
  ([recorder]
   (hearer recorder false))
  ([recorder leading-space?]
   (let [server (Object.)]
     (fn [{:keys [id] :as exchange}]
       (hear recorder [server id] leading-space? exchange)))))

(defn record
  "Returns options of start-milter or temse.test/run-message with which a recorder keeps all
  conversations. An :on-exchange of the options is called as before.

    (start-milter (record options (recorder {:directory \"recordings\"})))"
  [{:keys [on-exchange leading-space?] :as options} recorder]
  (let [hear (hearer recorder (boolean leading-space?))]
    (assoc options :on-exchange (if on-exchange
                                  (fn [exchange]
                                    (hear exchange)
                                    (on-exchange exchange))
                                  hear))))

(defn recorder-status
  "Returns what a recorder has done: conversations :recorded, those among them that were :cut since
  memory ran short or the recorder was closed, :dropped since the disk was too slow, and :failed to
  be written; and the bytes of memory :held by conversations in progress and :waiting to be written."
  [^Recorder recorder]
  (dissoc @(.-counts recorder) :failing?))

(defn recordings
  "Returns the recordings that a recorder keeps, the oldest first; conversations in progress are not
  among them."
  [^Recorder recorder]
  (try
    (.get (.submit ^ThreadPoolExecutor (.-writer recorder) ^Callable (:kept (.-store recorder))))
    (catch RejectedExecutionException _
      ((:kept (.-store recorder))))
    (catch ExecutionException e
      (throw (ex-cause e)))))

;; ---- files

(defn read-recording
  "Returns the recording in a file.

  Throws ex-info that names the file where it holds none."
  [file]
  (recording/read-file (io/file file)))

(defn read-recordings
  "Returns the recordings in a file, or in a directory, the oldest first.

    (read-recordings \"recordings\")"
  [file-or-directory]
  (let [file (io/file file-or-directory)]
    (if (.isDirectory file)
      (read-all file)
      [(recording/read-file file)])))

(defn recording-text
  "Returns the text of a recording as it stands in a file, with all bodies in it."
  [recording]
  (recording/text recording (constantly nil)))
