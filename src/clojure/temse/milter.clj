(ns temse.milter
  "Milters: start and stop servers, write handlers, answer events, read macros.

  The building blocks are
  * an event map: what the MTA reports,
  * a context map: what is known about this SMTP client,
  * an action map: what the MTA is asked to do (see temse.action),

  and the following functions and macros:
  * `start-milter` -- given options, serves MTAs,
  * `stop-milter`, `swap-handlers!`, `reload-milter`, `running-milters`, `join-milter`, `with-milter`,
    `milter-port`, `milter-address`, `milter-status` -- manage a server,
  * `watch-milter`, `unwatch-milter` -- see what happens in it,
  * `factory` -- given the same options, a handler factory for the Java API,
  * `respond` -- given a context and actions, the context that carries them,
  * `response` -- the actions that a context carries,
  * `close` -- the context that also closes the MTA connection,
  * `message`, `update-message` -- what is remembered of the current message,
  * `get-macro`, `macros` -- what the MTA defined,
  * `agreed?` -- whether an action may be used with this MTA,
  * `bare-address` -- an address without its brackets,
  * `send-action`, `progress!` -- the effectful style,
  * `define-event-handlers`, `default-event-handler` -- the original library's way,
  * `explain-negotiation` -- what would be agreed with an MTA,
  * `events`, `actions` -- reference data.

  A handler is a function of an event and a context. It returns the next context, or a sequence of
  actions, or nil (nothing changes), or a future, promise, CompletionStage or core.async channel
  that yields one of these. What it throws defers the mail and is logged.

    (defn on-end-of-message [event context]
      (respond context (act/add-header \"X-Seen\" \"yes\") (act/accept)))

    (def server (start-milter {:port 20025 :handlers {:end-of-message #'on-end-of-message}}))"
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.impl.handler :as handler]
   [temse.impl.keys :as keys]
   [temse.impl.log :as impl-log]
   [temse.impl.macros :as macros]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.text :as text]
   [temse.impl.watch :as watch])
  (:import
   (clojure.lang IPersistentMap)
   (java.io Closeable)
   (temse.protocol ActionFlag ActionType ActionType$Kind EventType Legality MacroTable MilterException MilterException$Category ProtocolFlag)
   (temse.server HandlerTimes MilterConnection MilterFactory MilterServer OutdatedConnection ServerListener)))

(set! *warn-on-reflection* true)

;; ---- answering

(defn respond
  "Returns context carrying `actions` as the response to the current event.

  Modifications come first, at most one reply comes last. Without a reply the default for the
  event is used, which is to continue. Called again it adds to what the context carries.

    (respond context (act/add-header \"X-Seen\" \"yes\") (act/accept))"
  [context & actions]
  (assoc context :milter/response (into (or (:milter/response context) []) actions)))

(defn response
  "Returns the actions that context carries for the current event, a vector."
  [context]
  (or (:milter/response context) []))

(defn close
  "Returns context marked so that the MTA connection closes after the response."
  [context]
  (assoc context :milter/close? true))

(defn- connection
  ^MilterConnection [context]
  (or (:milter/connection context)
      (throw (MilterException. MilterException$Category/STALE_CONTEXT
                               "this map is no context of a milter: :milter/connection is missing"
                               (object-array 0)))))

(defn send-action
  "Adds an action to the response to the current event, and returns context: the effectful style.

  The response leaves when the handler has returned; `:progress` leaves at once. What is sent so
  comes before what the handler returns.

  Throws (see `:milter/error` in ex-data) :action-not-negotiated, :reply-not-allowed, :bad-action,
  :double-reply or :late-action where the action cannot be sent, :stale-context where the event of
  the context is over.

    (send-action {:action :reject} context)"
  [action context]
  (.send (connection context) ^IPersistentMap action)
  context)

(defn progress!
  "Notifies the MTA that work goes on, so that it keeps waiting, and returns the context (smfi_progress).

  Does nothing at events where progress may not be sent: see the option :progress-events."
  [context]
  (.progress (connection context))
  context)

(defn default-event-handler
  "Returns context unchanged, so that the default reply is given."
  [_event context]
  context)

;; ---- what a context knows

(defn message
  "Returns the map that lives for the current message."
  [context]
  (or (:milter/message context) {}))

(defn update-message
  "Returns context with f applied to the map of the current message and args.

  The library empties the map when the message ends, whatever ended it.

    (update-message context update :bytes (fnil + 0) (count data))"
  ([context f]
   (assoc context :milter/message (f (message context))))
  ([context f x]
   (assoc context :milter/message (f (message context) x)))
  ([context f x y]
   (assoc context :milter/message (f (message context) x y)))
  ([context f x y & more]
   (assoc context :milter/message (apply f (message context) x y more))))

(defn macros
  "Returns all macros that hold now, a map of stage to map of name (without braces) to value."
  [context]
  (.toMap ^MacroTable (.macros (connection context))))

(defn get-macro
  "Returns the value of a macro, latest stage first, or `default` (nil) if there is none
  (smfi_getsymval). The name may be in braces; one that no MTA knows is logged once, with the nearest
  that is known. `temse.envelope` has words for the common ones.

    (get-macro context \"client_addr\")"
  ([context macro-name]
   (get-macro context macro-name nil))
  ([context macro-name default]
   (let [value (.get ^MacroTable (.macros (connection context)) macro-name)]
     (when (nil? value)
       (macros/warn-of-unknown "get-macro" macro-name))
     (if (nil? value) default value))))

(defn agreed?
  "Returns true if the action, such as :add-header, was agreed with this MTA. Throws :bad-options if
  there is no such action flag."
  [context action]
  (contains? (:actions (:milter/agreement context))
             (.-keyword (options/action-flag :agreed? action))))

(defn bare-address
  "Returns the address without angle brackets, from a string or a :mail or :recipient event. Throws
  an IllegalArgumentException where there is no address.

    (bare-address \"<a@example.org>\") ;=> \"a@example.org\""
  [address-or-event]
  (let [address (if (map? address-or-event)
                  (or (:sender address-or-event) (:address address-or-event))
                  address-or-event)]
    (when-not (string? address)
      (throw (IllegalArgumentException.
               (str "bare-address takes a string, or an event with a :sender or an :address, not "
                    (keys/shown address-or-event)))))
    (if (and (string/starts-with? address "<") (string/ends-with? address ">"))
      (subs address 1 (dec (count address)))
      address)))

;; ---- the original library's handler maps

(defn ^:no-doc mentioned-actions
  "Returns the flags of the modifications that forms mention: as literal maps, or as calls of
  functions of temse.action."
  [forms]
  (let [flag (fn [action]
               (when-let [type (ActionType/ofKeyword (get options/action-aliases action action))]
                 (some-> (.-flag ^ActionType type) (as-> f (.-keyword ^ActionFlag f)))))]
    (into #{}
          (comp (keep (fn [form]
                        (cond
                          (and (map? form) (keyword? (:action form)))
                          (:action form)

                          (and (seq? form) (symbol? (first form)))
                          (let [resolved (resolve (first form))]
                            (when (and (var? resolved)
                                       (= "temse.action" (str (.-ns ^clojure.lang.Var resolved))))
                              (keyword (.-sym ^clojure.lang.Var resolved)))))))
                (keep flag))
          (tree-seq coll? seq forms))))

(defmacro define-event-handlers
  "Defines a handler map whose bodies see `event` and `context`.

    (define-event-handlers my-handlers
      (:body
        (send-action {:action :continue} context)
        (update context :byte-count + (count (event :data))))
      (:mail
        (assoc context :byte-count 0)))

  A plain map of vars says the same, can be destructured and tested one function at a time:

    (def my-handlers {:body #'on-body, :mail #'on-mail})"
  {:arglists '([name docstring? & clauses])
   :style/indent [:defn [:inner 0]]}
  [name & clauses]
  (let [[docstring clauses] (if (string? (first clauses))
                              [(first clauses) (rest clauses)]
                              [nil clauses])]
    (doseq [clause clauses]
      (when-not (and (seq? clause) (keyword? (first clause)))
        (throw (options/bad-option :handlers
                                   clause
                                   (str "a clause must be a list that begins with an event, not "
                                        (pr-str clause)))))
      (options/event-type :handlers (first clause)))
    (when-not (apply distinct? nil (map first clauses))
      (throw (options/bad-option :handlers
                                 (map first clauses)
                                 "each event may have one clause")))
    `(def ~(vary-meta name assoc :doc docstring)
       (with-meta
         ~(into {}
                (map (fn [[event & body]]
                       [event `(fn ~(symbol (str name "-" (clojure.core/name event)))
                                 [~'event ~'context]
                                 ~@body)]))
                clauses)
         {::mentions ~(mentioned-actions clauses)}))))

;; ---- serving

(defonce ^:private running (atom #{}))

(defn running-milters
  "Returns the milters of this process that have been started and not stopped, a set: also those that
  nobody has kept.

    (run! stop-milter (running-milters))"
  []
  @running)

(deftype ^:private Milter [^MilterServer server options serving]
  Closeable
  (close [this]
    (.close server)
    (swap! running disj this))

  Object
  (toString [_]
    (str "milter " (:name @options) " at " (.endpoint server))))

(defmethod print-method Milter
  [milter ^java.io.Writer writer]
  (.write writer (str "#<" milter ">")))

(defn ^:no-doc java-server
  "Returns the MilterServer of a milter."
  ^temse.server.MilterServer [milter]
  (when-not (instance? Milter milter)
    (throw (IllegalArgumentException.
             (str "a milter is what start-milter returns, not " (pr-str milter)))))
  (.-server ^Milter milter))

(defn- warn-of-undeclared
  "Warns of modifications that a handler map mentions and the options do not ask for."
  [{:keys [handlers actions optional-actions] :as options}]
  (when (or actions optional-actions)
    (let [mentions (::mentions (meta (if (var? handlers) @handlers handlers)))
          asked-for (map #(get options/action-aliases % %) (concat actions optional-actions))
          missing (reduce disj (set mentions) asked-for)]
      (when (seq missing)
        (log/log "temse" :warn nil
                 (str (:name options) " the handlers mention " (string/join ", " missing)
                      " but ask for no such action: add " (pr-str (into (set actions) missing))
                      " as :actions"))))))

(defn- checked
  "Returns the options with defaults. Throws :bad-options before any MTA can meet what is wrong."
  [given]
  (doto (options/check given)
    negotiation/request))

(defn- check-something-to-do
  "Throws :bad-options if a server with these options would let all mail pass."
  [{:keys [handlers init default-reply]}]
  (when-not (or init (seq default-reply))
    (cond
      (nil? handlers)
      (throw (options/bad-option :handlers nil
                                 (str "there is nothing to do: give :handlers, or :init that returns"
                                      " them")))

      (empty? (dissoc (negotiation/handler-map handlers) :options))
      (throw (options/bad-option :handlers handlers
                                 (str "there is nothing to do: :handlers has no handler of an event;"
                                      " give some, or :init that returns them"))))))

(defn- check-use
  "Checks what options mean for mail; `options` are those given with defaults."
  [given options]
  (check-something-to-do given)
  (warn-of-undeclared options))

(defn- listener
  ^ServerListener [options]
  (impl-log/listener (:name options) (:on-exchange options)))

(defn- start
  ^Milter [given]
  (let [options (checked given)
        builder (doto (options/server (handler/factory options) options)
                  (.listener (listener options)))]
    (check-use given options)
    (doto (->Milter (.start builder) (atom options) (atom options))
      (as-> milter (swap! running conj milter)))))

(defn start-milter
  "Starts serving MTA connections and returns the server, which is Closeable.

  `(start-milter options)` returns at once. `(start-milter port init)` is the original library's
  call: init gets each SMTP client's context and returns it with :handlers, :actions and state, and
  the call blocks until the server is stopped, or the calling thread interrupted, which stops it;
  `(start-milter port init {:join? false})` returns.

  Where to listen, one of
    :port                  ; TCP port, 0 = any free one; see :host
    :host                  ; (default: \"127.0.0.1\")
    :socket-path           ; path of a Unix-domain socket
    :address               ; \"inet:20025@127.0.0.1\", \"unix:/run/filter.sock\" …, or \"inherited\", the
                           ; socket that the process has got as its standard input
  What to do
    :handlers              ; map of event to function (event, context) -> context, or var of one
    :init                  ; function base context -> context, once per SMTP client (default: identity)
    :on-error              ; function (exception, event, context) -> actions, nil = temporary failure
    :default-reply         ; map of event to reply where none was given (default: continue)
    :on-exchange           ; function of {:id :peer :event :response :millis}, called after each event
    :log-mail?             ; also ask for :connect, :mail and :recipient, so that log lines name the mail
                           ; (default: false)
    :bindings              ; map of dynamic vars to what they are while :init, :on-error and handlers run
                           ; (default: none), such as {#'*out* *out*}
  What to ask the MTA for
    :actions               ; needed modifications; neither this nor the next: all, as optional
    :optional-actions      ; modifications that are nice to have
    :optional-events       ; events that the filter can do without (default: #{:data :unknown})
    :no-reply-events       ; events whose handlers only watch (default: #{})
    :request-macros        ; map of stage to names: instead of those that the MTA sends of itself
    :wants                 ; set of words of temse.envelope that the filter uses, such as #{:sender}
    :rejected-recipients?  ; also see recipients that the MTA refuses (default: false)
    :leading-space?        ; header values with the space after the colon (default: false)
  Limits, in milliseconds or counts
    :handler-timeout       ; for pending values (default: {:default 25000 :end-of-message 270000})
    :progress-interval     ; while a value is pending (default: 5000)
    :progress-events       ; where progress may be sent (default: #{:end-of-message})
    :idle-timeout          ; silence of the MTA (default: 7210000)
    :packet-timeout        ; from a packet's first byte to its last (default: 60000)
    :negotiation-timeout   ; from the connection to the MTA's offer (default: 30000)
    :write-timeout         ; an MTA that takes no bytes (default: 30000)
    :drain-timeout         ; for open connections when the server stops, further messages included
                           ; (default: 0)
    :stop-timeout          ; for messages in progress after that (default: 5000)
    :max-packet-size       ; bytes (default: 2097152)
    :max-header-fields     ; of a message, more defer it (default: 10000)
    :max-header-bytes      ; of a message, more defer it (default: 4194304)
    :max-recipients        ; of a message, more are deferred (default: 50000)
    :max-macro-bytes       ; of a connection, more close it (default: 1048576)
    :max-unfinished-bytes  ; of packets in transit to the server (default: 67108864)
    :max-connections       ; or nil for no limit (default: 1000)
    :max-connections-per-peer ; from one address, or nil for no limit (default: nil)
    :backlog               ; connections that may wait to be taken (default: 1024)
  How to run
    :name                  ; in logs and names of threads (default: \"milter\")
    :daemon?               ; whether its threads let the JVM exit (default: false)
    :join?                 ; whether to block until stopped (default: false, true with port and init)
    :loops                 ; event loops (default: half the cores)
    :block-grace           ; a handler that runs longer gives its loop away (default: 1)
    :max-blocked-wait      ; for a thread, longer defers the mail (default: 20000)
    :max-blocked           ; handlers that may block at once (default: 1000)
    :on-fatal              ; what a lost event loop means: :exit, code 70, or a function of the
                           ; Throwable (default: :exit)
    :keep-payload?         ; exact bytes as :milter/payload in the metadata of events (default: false)
    :socket-permissions    ; mode of the socket file, \"rw-rw----\" or \"0660\"
    :socket-group          ; group of the socket file
    :take-over?            ; whether the place may be taken from a server that listens there
                           ; (default: false)
    :allow                 ; networks whose peers may connect over TCP, such as [\"192.0.2.0/24\"]
                           ; (default: anybody)

  Throws :bad-options, which says what would be right, and :bind-failed.

    (def server (start-milter {:port 20025 :handlers #'handlers :actions #{:add-header}}))"
  ([options]
   (let [milter (start options)]
     (when (:join? options)
       (with-open [_ milter]
         (.join (java-server milter))))
     milter))
  ([port init]
   (start-milter port init {}))
  ([port init options]
   (doseq [option [:port :init]
           :when (contains? options option)]
     (throw (options/bad-option option (get options option)
                                (str option " is given twice: as an argument and as an option"))))
   (start-milter (merge {:join? true} options {:port port :init init}))))

(defn- outdated
  [^MilterServer server]
  (mapv (fn [^OutdatedConnection connection]
          (cond-> {:id (.id connection)
                   :peer (.peer connection)
                   :missing (.map (.missing connection))}
            (.failure connection) (assoc :failure (impl-log/problem-text (.failure connection)))))
        (.outdated server)))

(defn- replace-service
  "Has the server go on with checked options, and returns what is known of its connections then.
  `serving` are the options with the :init that the server calls."
  [milter options serving]
  (let [server (java-server milter)]
    (.replace server (handler/factory serving) (options/engine options) (listener options))
    (reset! (.-options ^Milter milter) options)
    (reset! (.-serving ^Milter milter) serving)
    {:connections (.connections server)
     :outdated (outdated server)}))

(defn swap-handlers!
  "Has the server serve mail with other handlers, a map or a var of one, from now on. Each message is
  handled by one map, from its first event to its last:

  * Messages in progress end with the handlers that they began with.
  * An open connection gets the new ones when it begins its next message. For the old ones its SMTP
    client ends then, with a :disconnect whose :reason is :replaced. The new ones begin with a context
    of their own, from :init, and get the :connect and :hello of the client again, so that nothing of
    the context that the old ones have made reaches them. What they answer there holds for the
    messages that follow: a client that they refuse is refused at :mail.
  * What was agreed with the MTA of an open connection cannot change. Where it lacks something that
    the new map needs, the connection keeps the old one.

  The other options of the server stay as they are, :init and :actions too; but what :init returns as
  :handlers is replaced. (To change functions and keep the contexts, give vars as handlers and
  evaluate their definitions again: that takes effect at the next event. To change other options, see
  `reload-milter`.)

  Returns a map:

    :connections  ; open ones
    :outdated     ; a vector of those that keep the old handlers, maps such as {:id 3 :peer \"inet:…\"
                  ; :missing {:events #{:body}}}; `milter-status` says what it is later

  What is :missing is a map with some of the keys :events, :replies (events to which the MTA was told
  that no reply comes), :actions, :macros (names by stage), :rejected-recipients? and
  :leading-space?. Where :init or a handler of :options decides what a connection asks for, it becomes
  known at the connection's next message, and is logged.

  Throws :bad-options, and changes nothing, if the map is wrong or empty.

    (swap-handlers! server {:header #'on-header :end-of-message #'on-end-of-message})"
  [milter handlers]
  (java-server milter)
  (locking milter
    (let [{:keys [init] :as options} (checked (assoc @(.-options ^Milter milter) :handlers handlers))]
      (check-use (dissoc options :init) options)
      (replace-service milter
                       options
                       (cond-> options
                         (not (identical? identity init))
                         (assoc :init #(let [context (init %)]
                                         (cond-> context
                                           (map? context) (assoc :handlers handlers)))))))))

(defn reload-milter
  "Has the server serve mail with other options from now on: as a whole, those that are not given have
  their defaults. Messages in progress end with the options that they began with; open connections
  change at their next message if they have what the new options need of the MTA, as `swap-handlers!`
  says, whose result it returns. Connections that lack something, such as an action that was not asked
  for, keep all of the old options; so do, until they end, :idle-timeout, :packet-timeout and
  :max-packet-size of all open connections.

  Throws :bad-options, and changes nothing, if the options are wrong, or differ in what the sockets
  and threads of the server were made with: where it listens, :name, :loops and the like.

    (reload-milter server {:port 20025 :handlers #'new-handlers})"
  [milter given]
  (java-server milter)
  (locking milter
    (let [options-now @(.-options ^Milter milter)
          options (checked given)]
      (check-use given options)
      (doseq [option options/fixed
              :let [[before after] (map option [options-now options])]
              :when (not= before after)]
        (throw (options/bad-option option after
                                   (str option " cannot change while the milter serves, from "
                                        (keys/shown before) " to " (keys/shown after)
                                        "; stop it and start it again"))))
      (replace-service milter options options))))

(defn ^:no-doc serving-options
  "Returns the checked options with which a milter serves new connections, their :handlers and :init
  those of the last `swap-handlers!`."
  [milter]
  (java-server milter)
  @(.-serving ^Milter milter))

(defn stop-milter
  "Stops the server and returns nil: nobody can connect any more, and connections are served on, their
  further messages too, until the MTAs close them or :drain-timeout is over. Then connections between
  messages are closed, and messages in progress may finish for :stop-timeout.

  With `timeout`, milliseconds from 0, there is no drain, and messages in progress may finish for so long.
  It also shortens a stop that is going on."
  ([milter]
   (java-server milter)
   (.close ^Closeable milter))
  ([milter timeout]
   (when-not (nat-int? timeout)
     (throw (options/bad-option :timeout timeout
                                (str "the timeout of stop-milter must be milliseconds, 0 or more, not "
                                     (keys/shown timeout)))))
   (.stop (java-server milter) (keys/duration timeout))
   (swap! running disj milter)
   nil))

(defmacro with-milter
  "Starts a milter with options, binds it for the body, and stops it afterwards.

    (with-milter [server {:port 0 :handlers handlers}]
      (temse.test/run-message server mail))"
  {:style/indent 1}
  [[binding options :as bindings] & body]
  (when-not (and (vector? bindings) (= 2 (count bindings)))
    (throw (IllegalArgumentException.
             (str "with-milter takes a vector of a name and options, not " (keys/shown bindings)))))
  `(let [milter# (start-milter (merge {:daemon? true} ~options))
         ~binding milter#]
     (try
       ~@body
       (finally
         (stop-milter milter#)))))

(defn watch-milter
  "Has f called with each exchange of a milter that runs, from now on and on open connections too,
  until `unwatch-milter` is called with the same key; returns the milter. Several may watch; a
  watcher with an equal key gives way. It stays over `reload-milter`.

  An exchange is what :on-exchange gets, and more:
    :id :peer            ; of the connection
    :mail                ; number of the message on its connection, from 1; nil outside of messages
    :event               ; what the MTA reported
    :response            ; what answered it, the reply last
    :at                  ; java.time.Instant when it was answered
    :millis              ; from the start of the handler
    :before :after       ; context as the handler got it and left it, without what means nothing outside
                         ; of its event; nil where no handler ran. Functions of `temse.envelope` take it
    :failure             ; why :on-error answered in the handler's place, a Throwable; mostly missing

  An MTA sends only what a filter asked for when the connection began. Fields of a header of which a
  part had come before anybody watched have no :index if no handler sees them.

  f is called in the connection's turn, by several threads at once for different connections. If it
  blocks it delays its connection and no other; what it throws is logged, once in ten seconds. While
  nobody watches, nothing is spent for it.

    (watch-milter server :mine #(println (:event %)))"
  [milter key f]
  (let [server (java-server milter)]
    (when-not (ifn? f)
      (throw (IllegalArgumentException.
               (str "watch-milter takes a milter, a key and a function of an exchange, not "
                    (keys/shown f)))))
    (when (nil? key)
      (throw (IllegalArgumentException. "the key of a watcher must not be nil")))
    (.watch server key (watch/watcher (:name @(.-options ^Milter milter)) key f))
    milter))

(defn unwatch-milter
  "Ends what `watch-milter` began with the same key, if anything, and returns the milter. A call of the
  watcher that has begun is not waited for."
  [milter key]
  (let [server (java-server milter)]
    (when (some? key)
      (.unwatch server key))
    milter))

(defn milter-port
  "Returns the TCP port the server listens on, or -1 for a Unix-domain socket."
  [milter]
  (.port (java-server milter)))

(defn milter-address
  "Returns where the server listens, such as \"inet:20025@127.0.0.1\"."
  [milter]
  (str (.endpoint (java-server milter))))

(defn- occurred
  "Returns counts by name as a map of keywords, without those that are zero."
  [counts]
  (into {} (for [[kind n] counts :when (pos? (long n))] [(keyword kind) n])))

(defn- handler-times
  [^MilterServer server]
  (let [millis #(/ (long %) 1e6)]
    (into {}
          (for [[event ^HandlerTimes times] (.handlerTimes server)]
            [(keyword event)
             {:count (.count times)
              :p50 (millis (.p50 times))
              :p90 (millis (.p90 times))
              :p99 (millis (.p99 times))
              :max (millis (.max times))}]))))

(defn milter-status
  "Returns a map describing the server:

    :name :address
    :started-at          ; a java.time.Instant
    :uptime              ; milliseconds
    :listening?          ; false from when it begins to stop
    :connections         ; open ones
    :outdated            ; of these, those that keep handlers which were replaced: see `swap-handlers!`
    :pending-values      ; events whose handlers wait for a value, without a thread
    :spilled-bodies      ; bodies of messages that are in temporary files
    :spilled-bytes       ; bytes in these
    :handlers            ; map of event to {:count :p50 :p90 :p99 :max}, how long handlers took in
                         ; milliseconds; empty unless `temse.metrics/measure!` has them measured
  and what has been counted since its start:
    :accepted            ; connections
    :refused             ; of these, closed at once: too many, or not allowed
    :refused-per-peer    ; of these, because their peer had too many
    :refused-by-address  ; of these, because :allow does not have their peer
    :probes              ; connections of health checks, browsers and others that are no MTA
    :events              ; map of event to number
    :messages            ; map of how messages have ended to number: :accepted :rejected :deferred
                         ; :discarded, :quarantined (accepted, for the MTA to hold), :aborted by the
                         ; MTA, :lost with its connection
    :errors              ; map of kind to number: :exception that a handler threw, or a :milter/error
                         ; such as :handler-timeout, :malformed-packet and :connection-lost
    :bytes-read :bytes-written
    :reloads             ; calls of `reload-milter`
    :limits-exceeded     ; messages, recipients, packets and connections that went beyond a limit
    :timeouts            ; connections of MTAs that were too slow: to negotiate, with a packet, or
                         ; silent for too long
    :listener-failures   ; reports of what happens that failed
    :hand-overs          ; a loop left its thread to a blocking handler
    :lent                ; a connection was lent to another thread, since its handler was expected to
                         ; block
    :waits               ; that had to wait because :max-blocked handlers were blocking
    :starved             ; mails that were deferred, since that took longer than :max-blocked-wait
    :stalls              ; a loop stood still because no thread could be had
    :dropped-reports     ; refusals and failures that were not reported, since the log blocked

  Maps leave out what has not occurred.

    (get-in (milter-status server) [:messages :rejected] 0)"
  [milter]
  (let [server (java-server milter)
        counters (.counters server)]
    {:name (:name @(.-options ^Milter milter))
     :address (milter-address milter)
     :started-at (.startedAt server)
     :uptime (.toMillis (.uptime server))
     :listening? (.isListening server)
     :connections (.connections server)
     :outdated (outdated server)
     :pending-values (.pendingValues server)
     :spilled-bodies (.spilledBodies server)
     :spilled-bytes (.spilledBytes server)
     :handlers (handler-times server)
     :accepted (.accepted counters)
     :refused (.refused counters)
     :refused-per-peer (.refusedPerPeer counters)
     :refused-by-address (.refusedByAddress counters)
     :probes (.probes counters)
     :events (occurred (.events counters))
     :messages (occurred (.messages counters))
     :errors (occurred (.errors counters))
     :bytes-read (.bytesRead counters)
     :bytes-written (.bytesWritten counters)
     :reloads (.reloads counters)
     :limits-exceeded (.limitsExceeded counters)
     :timeouts (.timeouts counters)
     :listener-failures (.listenerFailures counters)
     :hand-overs (.handOvers counters)
     :lent (.lent counters)
     :waits (.waits counters)
     :starved (.starved counters)
     :stalls (.stalls counters)
     :dropped-reports (.droppedReports counters)}))

(defn join-milter
  "Blocks until the server is stopped, and returns nil."
  [milter]
  (.join (java-server milter)))

(defn factory
  "Returns a Java MilterFactory made of the same options as start-milter, for MilterServer and
  MtaClient. Where to listen is not needed."
  ^MilterFactory [options]
  (handler/factory (checked options)))

;; ---- reference

(defn explain-negotiation
  "Returns what would be agreed with an MTA for these options, as data, without a network:
  :version :events :actions :no-reply :capabilities and the flags under libmilter's names.

  `offer` is an :options event as an MTA sends it, such as {:version 2 :actions #{:add-header}};
  what it does not say is as in a current Postfix or Sendmail, which is the default.

  Throws :bad-options as start-milter does, and for an offer that is none; :actions-refused or
  :events-refused if there would be no agreement.

    (explain-negotiation {:handlers handlers :actions #{:add-header}})"
  ([options]
   (explain-negotiation options {}))
  ([options offer]
   (negotiation/explain (options/check options) offer)))

(def events
  "Every event: its code, the replies that may answer it, libmilter's flags and the protocol version
  that brought it."
  (into (sorted-map)
        (map (fn [^EventType type]
               [(.-keyword type)
                {:code (when-not (zero? (.-code type)) (char (.-code type)))
                 :replies (into #{} (map #(.-keyword ^ActionType %)) (Legality/replies type))
                 :owes-reply? (.owesReply type)
                 :suppressed-by (some-> (.-suppressedBy type) (as-> f (.-constant ^ProtocolFlag f)))
                 :no-reply-by (some-> (.-noReplyBy type) (as-> f (.-constant ^ProtocolFlag f)))
                 :since-version (.-sinceVersion type)}]))
        (EventType/values)))

(def actions
  "Every action: its code, kind, and the flag that must be agreed, under our and libmilter's name."
  (into (sorted-map)
        (map (fn [^ActionType type]
               [(.-keyword type)
                {:code (char (.-code type))
                 :kind (keyword (text/lower-case (.name ^ActionType$Kind (.-kind type))))
                 :flag (some-> (.-flag type) (as-> f (.-keyword ^ActionFlag f)))
                 :constant (some-> (.-flag type) (as-> f (.-constant ^ActionFlag f)))}]))
        (ActionType/values)))
