(ns temse.repl
  "Prototyping at a REPL: start a milter, send it mails, see what happens in it, and change it while it
  runs. doc/repl.org is a guided first hour.

    (start! {:port 20025, :handlers {:mail #'on-mail}})
    (send-message! {:sender \"<a@example.org>\"})
    (exchanges :mail)

  All functions return data, which a REPL prints as lines for people, and work on the milter that was
  started last; where several run, they take the :name of one. Handlers that are vars may be defined
  anew while the milter runs: the next event calls the new one. What handlers print goes to the session
  that has called `start!` or `snoop!` last, and while `send-message!` or `replay` runs to the one that
  calls it."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.brief]
   [temse.impl.failure :as failure]
   [temse.impl.keys :as keys]
   [temse.impl.log :as log]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.recording.file :as recording-file]
   [temse.impl.repl.exchanges :as kept]
   [temse.impl.repl.explanation :as explanation]
   [temse.impl.repl.session-output :as session-output]
   [temse.inspector :as inspector]
   [temse.milter :as milter]
   [temse.record :as record]
   [temse.replay :as replay]
   [temse.test :as mt])
  (:import
   (java.io Closeable File Writer)
   (java.time Instant)
   (java.util Collections Set WeakHashMap)
   (java.util.concurrent.atomic AtomicInteger)
   (temse.client.internal BriefMap)
   (temse.protocol MilterException MilterException$Category)))

(set! *warn-on-reflection* true)

(def ^:private defaults
  "Options of start-milter that suit a REPL, where none are given."
  {:port 20025
   :name "milter"
   :daemon? true
   :log-mail? true})

(def ^:private most-exchanges 1000)

(def ^:private most-bytes
  "Bytes of events and answers that are kept, and of recordings."
  16777216)

;; ---- which milter

(defonce ^:private ^{:doc "The milters of this namespace by name, and the names in the order in which they were started."}
  started
  (atom {:by-name {}, :names []}))

(defn- running?
  [{:keys [server]}]
  (contains? (milter/running-milters) server))

(defn- running-names
  []
  (let [{:keys [by-name names]} @started]
    (filterv #(running? (by-name %)) names)))

(defn- entry
  "Returns the milter of a name, or the one started last for nil. Throws an IllegalStateException that
  says what there is."
  [milter-name]
  (let [names (running-names)
        milter-name (if (nil? milter-name) (peek names) milter-name)]
    (if (some #{milter-name} names)
      (get-in @started [:by-name milter-name])
      (throw (IllegalStateException.
               (if (empty? names)
                 "no milter runs: (start! {:handlers {:mail #'on-mail}}) starts one"
                 (str "no milter has the name " (keys/shown milter-name) "; there is "
                      (string/join ", " (map pr-str names)))))))))

(defn milter
  "Returns the server of the milter of a name, or of the one started last, for the functions of
  temse.milter.

    (milter-port (milter))"
  ([]
   (milter nil))
  ([milter-name]
   (:server (entry milter-name))))

;; ---- watching

(defn- print-exchange
  [^Writer out exchange]
  (let [text (string/join (map #(str % "\n") (kept/lines exchange)))]
    (when (seq text)
      (locking out
        (.write out ^String text)
        (.flush out)))))

(defn- snoop
  "Shows an exchange to whoever snoops."
  [{:keys [wanted? show]} exchange]
  (when (wanted? exchange)
    (show exchange)))

(defn- watch
  "Has the milter keep its exchanges, record its conversations and show what is snooped on."
  [{:keys [server ring recorder snooping options]}]
  (let [known (atom {})
        record (record/exchange-recorder recorder (boolean (:leading-space? options)))]
    (milter/watch-milter server ::watcher
                         (fn [{:keys [id] :as exchange}]
                           (let [about (get (swap! known kept/about exchange) id)
                                 exchange (with-meta (BriefMap/of (merge exchange about)) {:type ::kept/exchange})]
                             (swap! known kept/after exchange)
                             (swap! ring kept/keeping exchange most-exchanges most-bytes)
                             (record exchange)
                             (when-let [snooping @snooping]
                               (snoop snooping exchange)))))))

;; ---- starting and stopping

(defn- description
  "Returns a milter as data."
  [{:keys [server options since]}]
  {:name (:name options)
   :address (milter/milter-address server)
   :since since
   :handlers (into (sorted-map) (negotiation/handler-map (or (:handlers options) {})))})

(defn- in-use
  "Returns the exception for an address that cannot be listened on, with what to do."
  [^MilterException e]
  (let [address (:address (ex-data e))
        ours (some #(when (= address (milter/milter-address %)) (:name (milter/milter-status %)))
                   (milter/running-milters))]
    (doto (MilterException. MilterException$Category/BIND_FAILED
                            (str (ex-message e) ". "
                                 (if ours
                                   (str "The milter " (pr-str ours) " of this process has it: stop that, or give another :port")
                                   "Give another :port, such as 0 for any that is free; another process may have this one"))
                            (object-array ["address" address]))
      (.addSuppressed e))))

(defn- with-address
  "Returns the options with the default port if they do not say where to listen."
  [given]
  (merge (cond-> defaults
           (some #(contains? given %) [:address :socket-path]) (dissoc :port))
         given))

(defn- prepared
  "Returns the options of a filter as they are used here. What handlers print goes to the output."
  [filter output]
  (let [given (with-address (options/of-filter filter))]
    (when (:join? given)
      (throw (options/bad-option :join? true ":join? would block the REPL: leave it out")))
    (update given :bindings #(merge (:bindings output) %))))

(defn- launch
  "Starts a milter and returns its entry."
  [filter]
  (let [output (session-output/output)
        options (prepared filter output)
        server (try
                 (milter/start-milter options)
                 (catch MilterException e
                   (throw (if (= :bind-failed (:milter/error (ex-data e))) (in-use e) e))))
        entry {:server server
               :given (options/of-filter filter)
               :options options
               :output output
               :since (Instant/now)
               :ring (atom kept/nothing)
               :recorder (record/recorder {:max-bytes most-bytes})
               :written (atom {})
               :snooping (atom nil)}]
    (session-output/lead-here! output)
    (watch entry)
    entry))

(defn- remember
  [{{:keys [name]} :options :as entry}]
  (swap! started (fn [state]
                   (-> state
                       (assoc-in [:by-name name] entry)
                       (update :names #(conj (filterv (complement #{name}) %) name)))))
  entry)

(defn- fixed-as-before
  "Returns the options with what cannot change where they do not say it, such as a port that was any
  free one."
  [given options before]
  (merge (select-keys before [:port :host :address :socket-path])
         (cond-> options
           (not-any? #(contains? given %) [:port :address :socket-path]) (dissoc :port))))

(defn start!
  "Starts a milter and returns its description. A filter is a map of handlers, or of options of
  `temse.milter/start-milter`, or a var of one of these. The defaults are :port 20025, :name
  \"milter\", :daemon? true and :log-mail? true. Give handlers as vars, {:mail #'on-mail}, and the next
  event after you have defined one anew calls the new one.

  If a milter of this :name runs, it goes on with the new options for MTAs that connect from now on, as
  `temse.milter/reload-milter` does; `restart!` is for what cannot change so.

  What handlers print, and what they write to *err*, goes to the session that has called `start!` or `snoop!`
  last, over nREPL, too, and while `send-message!` or `replay` runs to the session that calls it; if that
  is gone, to the standard output of the process.

  Throws :bad-options, and :bind-failed where the address is in use.

    (start! {:port 20025, :handlers {:mail #'on-mail}})"
  [filter]
  (let [name (:name (with-address (options/of-filter filter)))]
    (if-let [{:keys [server output] before :options :as entry} (when (some #{name} (running-names))
                                                                 (get-in @started [:by-name name]))]
      (let [given (options/of-filter filter)
            options (fixed-as-before given (prepared filter output) before)
            entry (assoc entry :options options, :given given)]
        (try
          (milter/reload-milter server options)
          (catch MilterException e
            (throw (if (and (= :bad-options (:milter/error (ex-data e)))
                            (some #{(:option (ex-data e))} options/fixed))
                     (MilterException. MilterException$Category/BAD_OPTIONS
                                       (str (ex-message e) ": (restart! options) does both")
                                       (object-array ["option" (:option (ex-data e)), "value" (:value (ex-data e))]))
                     e))))
        (session-output/lead-here! output)
        (watch entry)
        (BriefMap/of (description (remember entry))))
      (BriefMap/of (description (remember (launch filter)))))))

(defn stop!
  "Stops the milter of a name, or the one started last, and returns its name, or nil if none runs. Messages in
  progress may finish for :stop-timeout milliseconds."
  ([]
   (when-let [milter-name (peek (running-names))]
     (stop! milter-name)))
  ([milter-name]
   (let [{:keys [server recorder options]} (entry milter-name)]
     (milter/stop-milter server)
     (.close ^Closeable recorder)
     (swap! started (fn [state]
                      (-> state
                          (update :by-name dissoc (:name options))
                          (update :names #(filterv (complement #{(:name options)}) %)))))
     (:name options))))

(defn restart!
  "Stops the milter of this name, if one runs, starts it with a filter, and returns its description;
  without a filter the one started last with the options that it has, on the same port. What was kept
  of exchanges and conversations is gone.

    (restart! {:port 20026, :handlers #'handlers})"
  ([]
   (let [{:keys [server given]} (entry nil)
         port (milter/milter-port server)]
     (restart! (cond-> given
                 (pos? port) (assoc :port port)))))
  ([filter]
   (let [{:keys [name] :as options} (with-address (options/of-filter filter))]
     (milter/factory (dissoc options :join?))
     (when (some #{name} (running-names))
       (stop! name))
     (BriefMap/of (description (remember (launch filter)))))))

(defn status
  "Returns what `temse.milter/milter-status` says of the milter of a name, or of the one started last, with
  its :handlers, :since when it runs, the number of :exchanges kept, whether it is :snooped?, and the names of
  :others; nil if none runs."
  ([]
   (when-let [milter-name (peek (running-names))]
     (status milter-name)))
  ([milter-name]
   (let [{:keys [server ring snooping options] :as entry} (entry milter-name)]
     (BriefMap/of (merge (milter/milter-status server)
                         (description entry)
                         {:exchanges (count (:queue @ring))
                          :snooped? (some? @snooping)
                          :others (into [] (remove #{(:name options)}) (running-names))})))))

;; ---- seeing

(defn- chosen
  "Returns [milter filter] of what says which exchanges are asked for, and of which milter."
  [given]
  (if (map? given)
    [(entry (:milter given)) (not-empty (dissoc given :milter))]
    [(entry nil) given]))

(defn exchanges
  "Returns the last exchanges of the milter as a vector, the oldest first: those of
  `temse.milter/watch-milter`, with the :sender of the mail and the :client, {:host-name :address :port}, as far
  as the MTA has sent them. The last 1000 are kept, and not more than 16 MiB of events and answers; contexts are
  not copied.

  Which ones is said by an event, a set of events, a function of an exchange, or a map:

    :event            ; an event or a set of these
    :reply            ; an action that answered it, such as :reject, or a set of these
    :sender           ; of the mail
    :client           ; host name or address
    :peer :id         ; of the connection of the MTA
    :mail             ; number of the message on its connection
    :failure?         ; whether its handler has failed
    :milter           ; the :name of the milter (default: the one started last)

  Values are compared; a set means any of these, a regular expression is looked for, a function called.
  Case and brackets of addresses make no difference. Throws :bad-options for what chooses nothing.

    (exchanges {:event #{:mail :recipient}, :sender #\"@example\\.org\"})"
  ([]
   (exchanges nil))
  ([filter]
   (let [[{:keys [ring]} filter] (chosen filter)]
     (kept/shown (into [] (comp (map first) (clojure.core/filter (kept/predicate filter)))
                       (:queue @ring))))))

(defn snoop!
  "Prints each exchange from now on to the session that calls it, also of connections that are open, and passes
  it to `tap>`, until `unsnoop!`; returns the name of the milter. Which ones is said as for `exchanges`. A
  second call takes the place of the first. A filter that throws is logged, and shows nothing.

    (snoop! {:sender \"a@example.org\"})"
  ([]
   (snoop! nil))
  ([filter]
   (let [[{:keys [snooping options output]} filter] (chosen filter)
         out (get-in output [:bindings #'*out*])]
     (session-output/lead-here! output)
     (reset! snooping {:wanted? (log/guarded (:name options) "the filter of snoop!" (kept/predicate filter))
                       :show (fn [exchange]
                               (print-exchange out exchange)
                               (tap> exchange))})
     (:name options))))

(defn unsnoop!
  "Ends what `snoop!` began with the milter of a name, or the one started last, and returns its name."
  ([]
   (unsnoop! nil))
  ([milter-name]
   (let [{:keys [snooping options]} (entry milter-name)]
     (reset! snooping nil)
     (:name options))))

;; ---- the inspector

(defn inspect!
  "Opens the page that shows live what happens in the milter of a name, or in the one started last: see
  `temse.inspector/inspect`, also for what is returned. It stays open until it is closed.

    (:url (inspect!))   ;=> \"http://127.0.0.1:41507/…/\", for a browser on this machine"
  (^java.io.Closeable []
   (inspect! nil))
  (^java.io.Closeable [milter-name]
   (inspector/inspect (milter milter-name))))

;; ---- recordings

(defn- write-recordings
  "Writes the recordings that are not in the directory yet, and returns their files."
  [recordings ^File directory ^Set written]
  (recording-file/make-directory directory)
  (let [present (count (recording-file/files directory))]
    (vec (map-indexed (fn [n recording]
                        (let [file (io/file directory (recording-file/file-name recording (+ present n 1)))]
                          (recording-file/write recording file 8192)
                          (.add written recording)
                          (str file)))
                      (remove #(.contains written %) recordings)))))

(defn record!
  "Returns recordings of the last conversations of the milter that have ended, the oldest first: at most 1000, and
  16 MiB. With a directory they are written to files there, each once, and the files are returned. Recordings
  are what temse.record makes of conversations; they hold mails and addresses.

    (record! \"test/recordings\")"
  ([]
   (with-meta (into [] (map #(BriefMap/of %)) (record/recordings (:recorder (entry nil))))
              {:type ::recordings}))
  ([directory]
   (let [{:keys [recorder written]} (entry nil)
         file (.getAbsoluteFile (io/file directory))
         known (-> written
                   (swap! update file #(or % (Collections/newSetFromMap (WeakHashMap.))))
                   (get file))]
     (write-recordings (record/recordings recorder) (io/file directory) known))))

(defmethod print-method ::recordings
  [recordings ^Writer writer]
  (.write writer (str "[" (string/join "\n " (map pr-str recordings)) "]")))

(defmethod print-method ::differences
  [differences ^Writer writer]
  (.write writer ^String (if (seq differences)
                           (string/trimr (with-out-str (replay/print-differences differences)))
                           "[]")))

(defn replay
  "Plays recordings, a file or directory of these, or the last conversations (see `record!`) to the handlers
  as they are now, on a port of its own, and returns the differences of their answers: see `temse.replay/replay`,
  also for the options.

    (replay \"test/recordings\" {:ignore [\"Date\"]})"
  ([]
   (replay (vec (record!))))
  ([recordings]
   (replay recordings {}))
  ([recordings options]
   (let [{:keys [output] filter :options} (entry nil)
         differences (session-output/leading-here
                       output
                       #(replay/replay recordings (dissoc filter :on-exchange) options))]
     (with-meta (mapv #(BriefMap/of %) differences) {:type ::differences}))))

;; ---- sending

(def ^:private ^AtomicInteger next-port
  "Ports of SMTP clients by which mails of this namespace are known again."
  (AtomicInteger. 49152))

(defn- with-client
  "Returns the options with the port of a client by which the connection is known again, unless the client is
  given."
  [options mail]
  (if (or (:client options) (and (map? mail) (:client mail)))
    options
    (assoc-in options [:client :port]
              (.getAndUpdate next-port (reify java.util.function.IntUnaryOperator
                                         (applyAsInt [_ port] (if (= 65535 port) 49152 (inc port))))))))

(defn- own-exchanges
  "Returns a function of an exchange, and a promise of the exchanges of the one connection whose client has the
  port, delivered when that has ended."
  [port]
  (let [open (atom {})
        done (promise)]
    [(fn [{:keys [id event] :as exchange}]
       (when (= :options (:event event))
         (swap! open assoc id []))
       (when-let [so-far (get (swap! open (fn [open] (cond-> open (open id) (update id conj exchange)))) id)]
         (cond
           (and (= :connect (:event event)) (not= port (:port event))) (swap! open dissoc id)
           (= :disconnect (:event event)) (when (some #(= :connect (:event (:event %))) so-far)
                                            (deliver done so-far)))))
     done]))

(defn- errors-of
  "Returns what went wrong, each once, as the :errors of a result."
  [handlers conversation exchanges]
  (let [places (reduce (fn [[counts places] {{:keys [event]} :event}]
                         (let [n (get counts event 0)]
                           [(assoc counts event (inc n)) (conj places [event n])]))
                       [{} []]
                       exchanges)
        index-of (fn [[event n]]
                   (nth (keep-indexed (fn [i exchange] (when (= event (:event (:event exchange))) i)) conversation)
                        n nil))]
    (->> (map vector exchanges (second places))
         (filter (comp :failure first))
         (reduce (fn [[seen errors] [{:keys [failure] {:keys [event]} :event} place]]
                   (if (some #(identical? failure %) seen)
                     [seen errors]
                     (let [index (index-of place)]
                       [(conj seen failure)
                        (conj errors
                              (cond-> (failure/of event failure
                                                  (get (negotiation/handler-map (or handlers {})) event))
                                index (assoc :exchange index)))])))
                 [[] []])
         second)))

(defn send-message!
  "Plays a mail to the milter that runs, as an MTA would, and returns what became of it: see
  `temse.test/run-message`, also for mails (a map, a string, a File) and options, which may also have
  :milter, the :name of one. A milter of this process also says what went wrong in it, under :errors.

    (send-message! {:sender \"<a@example.org>\", :headers [[\"Subject\" \"hi\"]], :body \"text\"})
    (send-message! (clojure.java.io/file \"spam.eml\") {:mta :sendmail})"
  ([mail]
   (send-message! mail {}))
  ([mail options]
   (let [{:keys [server output] known :options} (entry (:milter options))
         options (with-client (dissoc options :milter) mail)
         [watch own] (own-exchanges (or (:port (:client options)) (:port (:client mail))))
         k (Object.)
         result (try
                  (milter/watch-milter server k watch)
                  (session-output/leading-here
                    output
                    (fn []
                      (let [result (mt/run-message server mail options)]
                        (deref own 1000 nil)
                        result)))
                  (finally
                    (milter/unwatch-milter server k)))
         exchanges (deref own 0 nil)]
     (cond-> result
       exchanges (-> (assoc :errors (errors-of (:handlers known) (:conversation result) exchanges))
                     (vary-meta assoc ::exchanges exchanges))))))

;; ---- explaining

(defn- of-one-mail
  "Returns the kept exchanges of the mail of an exchange."
  [{:keys [id mail]}]
  (filterv #(and (= id (:id %)) (= mail (:mail %))) (exchanges)))

(defn explain
  "Explains, as data that a REPL prints as lines:
  * without argument what is agreed with an MTA: see `temse.milter/explain-negotiation`,
  * an exchange: which handler was called, how it answered, what it changed in the context,
  * a result of `send-message!`, or the exchange that ended a message: why the mail got its verdict, who
    decided, with the :why of the answer and what went wrong.

    (explain (send-message! {}))
    (explain (peek (exchanges :end-of-message)))"
  ([]
   (BriefMap/of (milter/explain-negotiation (:options (entry nil)))))
  ([what]
   (let [handlers (:handlers (:options (entry nil)))]
     (cond
       (and (map? what) (= :message-end (:event (:event what))))
       (explanation/of-mail handlers (of-one-mail what) {})

       (and (map? what) (map? (:event what)))
       (explanation/of-exchange handlers what)

       (and (map? what) (contains? what :conversation))
       (explanation/of-mail handlers (or (::exchanges (meta what)) (:conversation what)) what)

       :else
       (throw (IllegalArgumentException.
                (str "explain takes a result of send-message!, one of the exchanges, or nothing, not "
                     (keys/shown what))))))))
