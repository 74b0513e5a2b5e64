(ns temse.record
  "Recordings of what MTAs say and a filter answers: whole conversations as EDN, for regression
  tests made of real traffic. They are played again by temse.replay.

    (with-open [recorder (recorder {:directory \"recordings\"})]
      (with-milter [server (record options recorder)]
        …))

  A recording is a map of
    :temse/recording  ; 1, the version of its form
    :recorded         ; when the MTA connected
    :queue-ids        ; of its messages, as far as the MTA sent them, a vector
    :mta              ; its name and version, the macro v, if it was sent
    :peer             ; the MTA's end of the socket
    :ended            ; by what: :quit, :connection-lost, :stopping, :error, or :cut where no more
                      ; of it was kept
    :redacted         ; set of what was taken out of it, see `recorder`
    :conversation     ; vector of {:event :response :nanos}; first the offer and its answer. A
                      ; :response of nil never came. Macros are recorded once: those that the MTA repeats
                      ; while they still hold are left out
    :file             ; the file it was read from
  Bodies are bytes; in files they are {:text \"…\"}, #temse/bytes \"BASE64\" or #temse/file \"NAME\". A
  new body that a handler gave as a stream is not known: {:action :change-body :streamed? true}."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.impl.keys :as keys]
   [temse.impl.recording.conversation :as conversation]
   [temse.impl.recording.file :as recording-file]
   [temse.impl.recording.redaction :as redaction]
   [temse.impl.recording.store :as store]
   [temse.impl.recording.weight :as weight])
  (:import
   (java.io Closeable File)
   (java.time Instant)
   (java.util ArrayList Collection Date HashMap LinkedHashMap List)
   (java.util.concurrent ExecutionException LinkedBlockingQueue RejectedExecutionException ThreadFactory ThreadPoolExecutor TimeUnit)))

(set! *warn-on-reflection* true)

;; ---- recording

(def ^:private table
  {:directory ["a path" #(or (string? %) (instance? File %)) nil]
   :max-conversations ["a number" pos-int? 1000]
   :max-bytes ["a number of bytes" pos-int? 104857600]
   :max-memory ["a number of bytes" pos-int? 16777216]
   :max-body ["a number of bytes" nat-int? 8192]
   :redact ["true or a map" #(or (nil? %) (boolean? %) (map? %)) nil]})

(def ^:private redact-table
  (let [names ["a sequence of names" #(and (coll? %) (every? string? %))]]
    {:keep [(str "some of " (string/join ", " (sort redaction/kinds)))
            #(and (coll? %) (every? redaction/kinds %))]
     :keep-headers names
     :keep-macros names
     :key ["a text that is not empty" #(and (string? %) (not= "" %))]}))

(defn- checked
  "Returns the options with defaults, and the key of the hashes."
  [given]
  (let [{:keys [redact] :as options} (keys/with-defaults "the options of a recorder" given table)]
    (when (map? redact)
      (keys/check "the option :redact" redact redact-table))
    (assoc options :redact (when redact
                             (merge {:key (redaction/secret)} (when (map? redact) redact))))))

(declare ^:private close-recorder)

(deftype ^:private Recorder [options store ^LinkedHashMap open ^ThreadPoolExecutor writer counts]
  Closeable
  (close [this]
    (close-recorder this)))

(defn- redacted
  "Returns a redacted recording. What is thrown reveals nothing of its content."
  [recording redact]
  (try
    (redaction/redacted recording redact)
    (catch Exception e
      (throw (ex-info (str "it could not be redacted: " (.getName (class e))) {})))))

(defn- store-recording
  "Stores a conversation. What goes wrong is logged once until it goes right again."
  [^Recorder recorder {:keys [weight] :as conversation}]
  (let [{:keys [redact]} (.-options recorder)
        counts (.-counts recorder)
        failing? (:failing? @counts)]
    (try
      (let [recording (cond-> (conversation/recording-of conversation) redact (redacted redact))
            weight (if redact (weight/of recording) weight)
            outcome (if ((:keep (.-store recorder)) recording weight) :recorded :dropped)]
        (swap! counts #(-> % (update outcome inc) (assoc :failing? false))))
      (catch Throwable e
        (swap! counts #(-> % (update :failed inc) (assoc :failing? true)))
        (when-not failing?
          (log/error e "a conversation could not be recorded; this is not reported again until it works:"
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
                    (try
                      (store-recording recorder (assoc conversation :ended ended, :weight weight))
                      (finally
                        (waiting (- weight))))))
        (catch RejectedExecutionException _
          (waiting (- weight))
          (dropped))))))

(defn- cut
  "Ends the recording of a conversation that goes on."
  [^Recorder recorder key]
  (when-let [conversation (.remove ^LinkedHashMap (.-open recorder) key)]
    (swap! (.-counts recorder) update :cut inc)
    (finish recorder conversation :cut)))

(defn- cut-oldest
  [^Recorder recorder]
  (cut recorder (.next (.iterator (.keySet ^LinkedHashMap (.-open recorder))))))

(def ^:private conversation-weight
  "Bytes that a conversation takes before its first exchange."
  1024)

(def ^:private exchange-weight
  "Bytes that an exchange takes without its event and response."
  160)

(defn- new-conversation
  [leading-space? {:keys [peer]}]
  {:started (Date/from (Instant/now))
   :peer peer
   :leading-space? leading-space?
   :exchanges (ArrayList.)
   :macros (HashMap.)
   :weight (long-array 1)})

(defn- remembered
  "Returns the stages whose macros still hold after an event, nil for all of them. Those of MAIL are sent
  in each message, and begin it where MAIL itself is not wanted."
  [{:keys [event stage]}]
  (case (if (= :mail stage) stage event)
    :connect [\C]
    (:hello :abort :end-of-message) [\C \H]
    :mail (if stage [\C \H] [\C \H \M])
    :recipient [\C \H \M \R]
    (:options :disconnect :quit) []
    nil))

(defn- repeated?
  "Returns true for macros that hold already."
  [{:keys [^HashMap macros]} {:keys [event command] :as e}]
  (some->> ^Collection (remembered e) (.retainAll (.keySet macros)))
  (and (= :define-macro event)
       (= e (.put macros command e))))

(defn- weigh
  "Counts more bytes of a conversation, and cuts the oldest ones where they are too many together."
  [^Recorder recorder {:keys [^longs weight]} more]
  (let [max-memory (long (:max-memory (.-options recorder)))]
    (aset weight 0 (+ (long more) (aget weight 0)))
    (swap! (.-counts recorder) update :held + more)
    (while (and (< max-memory (long (:held @(.-counts recorder))))
                (pos? (.size ^LinkedHashMap (.-open recorder))))
      (cut-oldest recorder))))

(defn- add
  "Adds an exchange to a conversation, or cuts it where it would take too much memory by itself."
  [^Recorder recorder key conversation {:keys [event response millis]}]
  (let [{:keys [^List exchanges ^longs weight]} conversation
        event (with-meta event nil)
        response (some->> response (mapv conversation/keepable))
        more (+ (long exchange-weight) (weight/of event) (weight/of response))]
    (cond
      (repeated? conversation event)
      nil

      (< (long (:max-memory (.-options recorder))) (+ more (aget weight 0)))
      (cut recorder key)

      :else
      (do
        (.add exchanges {:event event, :response response, :millis millis})
        (weigh recorder conversation more)))))

(defn- begin
  [^Recorder recorder key leading-space? exchange]
  (let [conversation (new-conversation leading-space? exchange)]
    (cut recorder key)
    (.put ^LinkedHashMap (.-open recorder) key conversation)
    (weigh recorder conversation (+ (long conversation-weight) (weight/of (:peer exchange))))))

(defn- keep-exchange
  "Takes an exchange of the connection `key`. A conversation of which one cannot be kept is cut."
  [^Recorder recorder key leading-space? {:keys [event] :as exchange}]
  (let [^LinkedHashMap open (.-open recorder)]
    (locking open
      (try
        (when (= :options (:event event))
          (begin recorder key leading-space? exchange))
        (when-let [conversation (.get open key)]
          (cond
            (= :message-end (:event event))
            nil

            (and (= :disconnect (:event event)) (not= :new-connection (:reason event)))
            (do (.remove open key)
                (finish recorder conversation (:reason event)))

            :else
            (add recorder key conversation exchange)))
        (catch Throwable e
          (cut recorder key)
          (throw e))))))

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
  [threads]
  (doto (ThreadPoolExecutor. (int threads) (int threads) 1 TimeUnit/SECONDS (LinkedBlockingQueue.)
                             (reify ThreadFactory
                               (newThread [_ task]
                                 (doto (Thread. task "temse-recorder")
                                   (.setDaemon true)))))
    (.allowCoreThreadTimeOut true)))

(defn- new-recorder
  [options store threads]
  (->Recorder options store (LinkedHashMap.) (writer threads)
              (atom {:recorded 0, :cut 0, :dropped 0, :failed 0, :held 0, :waiting 0})))

(defn ^:no-doc recorder-to
  "Returns a recorder that gives each conversation to f, on one of some threads of its own, and keeps
  none. `on-counts` is called with the counts of `recorder-status` when a conversation was cut, was
  dropped or could not be handled. With the options of `recorder` that concern memory."
  ^Closeable [f on-counts threads options]
  (let [recorder (new-recorder (checked options)
                               {:keep (fn [recording _]
                                        (f recording)
                                        true)
                                :kept (constantly [])}
                               threads)]
    (add-watch (.-counts ^Recorder recorder) ::counts
               (fn [_ _ before now]
                 (when (not= (select-keys before [:cut :dropped :failed])
                             (select-keys now [:cut :dropped :failed]))
                   (on-counts now))))
    recorder))

(defn recorder
  "Returns a recorder, Closeable: it keeps conversations, each when its connection ends, and forgets
  the oldest where there are too many.

    :directory          ; where to write files (default: none, they are kept in memory)
    :max-conversations  ; how many are kept (default: 1000)
    :max-bytes          ; how large they may be together (default: 104857600)
    :max-memory         ; bytes of memory that conversations in progress take, with all that is in
                        ; them, and again those that wait to be written (default: 16777216); beyond
                        ; it the oldest one in progress is cut, and one that would exceed it alone
    :max-body           ; bytes of a body in the recording; larger ones get a file (default: 8192)
    :redact             ; true removes everything that identifies people or their mail (default: false);
                        ; a map does, too, except for what its keys say:
      :keep             ; a set of what stays:
                        ;   :addresses  mail addresses, which otherwise become hashes
                        ;   :names      display names and comments beside addresses
                        ;   :headers    values of all other header fields, and unusual names of fields
                        ;   :clients    HELO and host names, IP addresses, ports; they become hashes
                        ;   :users      authenticated users, which become hashes, and certificates
                        ;   :macros     all macros that are not among the above or known to be harmless
                        ;   :texts      texts of replies, reasons, ESMTP parameters, unknown commands
                        ;   :bodies     bodies, of which otherwise their sizes stay
      :keep-headers     ; names of header fields that stay, such as [\"Subject\"]
      :keep-macros      ; names of macros that stay, such as [\"{tls_subject}\"]
      :key              ; of the hashes, a string (default: a random one, which is not kept)

  Equal addresses have equal hashes wherever they stand and however they are written; case makes no
  difference. Queue ids stay. Without the key nobody can find out what a hash stands for.

  Files are readable and writable for their owner only (0600), and so are directories that are made
  (0700); where a file system knows of no such permissions, a warning is logged.
  Recording never disturbs mail: files are written by a thread of their own, and what it cannot write
  is logged and counted, see `recorder-status`. Closing waits for what is being written; conversations
  in progress are cut.

  Throws :bad-options for a wrong option or a directory that cannot be written to."
  (^java.io.Closeable []
   (recorder {}))
  (^java.io.Closeable [options]
   (let [options (checked options)]
     (new-recorder options
                   (if (:directory options)
                     (store/in-directory options)
                     (store/in-memory options))
                   1))))

(defn ^:no-doc exchange-recorder
  "Returns a function for :on-exchange that has a recorder keep what one server or proxy does. Conversations
  that are played to it in process have numbers of their own."
  ([recorder]
   (exchange-recorder recorder false))
  ([recorder leading-space?]
   (let [server (Object.)]
     (fn [{:keys [id peer] :as exchange}]
       (keep-exchange recorder [server id (= "in-process" peer)] leading-space? exchange)))))

(defn record
  "Returns options of start-milter or temse.test/run-message with which a recorder keeps all
  conversations. An :on-exchange of the options is called as before.

    (start-milter (record options (recorder {:directory \"recordings\"})))"
  [{:keys [on-exchange leading-space?] :as options} recorder]
  (let [recorded (exchange-recorder recorder (boolean leading-space?))]
    (assoc options :on-exchange (if on-exchange
                                  (fn [exchange]
                                    (recorded exchange)
                                    (on-exchange exchange))
                                  recorded))))

(defn recorder-status
  "Returns what a recorder has done: conversations :recorded, those among them that were :cut since
  memory ran short or the recorder was closed, :dropped since the disk was too slow or they alone
  exceed :max-bytes, and :failed to be written; and the bytes of memory :held by conversations in
  progress and :waiting to be written."
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
  (recording-file/read-file (io/file file)))

(defn read-recordings
  "Returns the recordings in a file, or in a directory, the oldest first.

    (read-recordings \"recordings\")"
  [file-or-directory]
  (let [file (io/file file-or-directory)]
    (if (.isDirectory file)
      (store/read-all file)
      [(recording-file/read-file file)])))

(defn recording-text
  "Returns the text of a recording as it stands in a file, with all bodies in it."
  [recording]
  (recording-file/text recording (constantly nil)))
