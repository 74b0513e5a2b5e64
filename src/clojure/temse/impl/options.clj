(ns temse.impl.options
  "Options of start-milter: one table of names, checks and defaults, and their way into Java."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.envelope :as envelope]
   [temse.impl.keys :as keys])
  (:import
   (clojure.lang IPersistentMap MultiFn Var)
   (java.util Collection EnumSet List)
   (java.util.function Consumer)
   (temse.network Networks)
   (temse.protocol Action Action$Reply ActionCodec ActionFlag EventType MacroStage MilterException MilterException$Category ProtocolFlag)
   (temse.server EngineOptions EngineOptions$Builder MilterFactory MilterServer MilterServer$Builder)
   (temse.transport Endpoint TransportOptions TransportOptions$Builder)))

(set! *warn-on-reflection* true)

(def event-aliases
  "Other spellings of event names in handler maps."
  {:unkown :unknown
   :define-macros :define-macro
   :helo :hello})

(def action-aliases
  "Other spellings of action flags."
  {:insert-header :add-header
   :delete-header :change-header
   :replace-body :change-body
   :add-recipient-par :add-recipient-parameters
   :choose-macros :request-macros})

(def event-names
  "The events a handler map may name."
  (into #{} (map #(.-keyword ^EventType %)) (EventType/values)))

(def action-names
  "The action flags that may be asked for."
  (into #{} (map #(.-keyword ^ActionFlag %)) (ActionFlag/values)))

(def ^:private flag-names
  (into #{} (map #(.-keyword ^ProtocolFlag %)) (ProtocolFlag/values)))

(def ^:private stage-names
  (into #{} (map #(.-keyword ^MacroStage %)) (MacroStage/values)))

(def bad-option
  "Returns the exception for a wrong option: see temse.impl.keys."
  keys/bad-option)

(defn- no-such-name
  [option given kind names]
  (keys/no-such option given (str option ": there is no " kind " " (keys/shown given)) names
                (str "The " kind "s are " (string/join " " (sort names)))))

(defn event-type
  "Returns the EventType of a keyword or one of its aliases.

  Throws :bad-options that names `option` where there is none."
  ^EventType [option k]
  (or (EventType/ofKeyword (get event-aliases k k))
      (throw (no-such-name option k "event" event-names))))

(defn action-flag
  "Returns the ActionFlag of a keyword or one of its aliases.

  Throws :bad-options that names `option` where there is none."
  ^ActionFlag [option k]
  (or (ActionFlag/ofKeyword (get action-aliases k k))
      (throw (no-such-name option k "action" action-names))))

(defn protocol-flag
  "Returns the ProtocolFlag of a keyword. Throws :bad-options that names `option` where there is
  none."
  ^ProtocolFlag [option k]
  (or (ProtocolFlag/ofKeyword k)
      (throw (no-such-name option k "flag" flag-names))))

(defn macro-stage
  "Returns the MacroStage of a keyword. Throws :bad-options where there is none."
  ^MacroStage [k]
  (or (MacroStage/ofKeyword k)
      (throw (no-such-name :request-macros k "stage" stage-names))))

(defn- milliseconds-by-event?
  [x]
  (or (keys/milliseconds? x)
      (and (map? x) (every? keys/milliseconds? (vals x)))))

(defn- count?
  [x]
  (and (int? x) (<= 1 (long x) Integer/MAX_VALUE)))

(defn- size?
  [x]
  (and (int? x) (pos? (long x))))

(defn callable?
  "Returns true for a function, var or multimethod: not for maps and keywords, which Clojure could
  call, too."
  [x]
  (or (fn? x) (var? x) (instance? MultiFn x)))

(defn- bindings?
  [x]
  (and (map? x) (every? #(and (var? %) (.isDynamic ^Var %)) (keys x))))

(defn- keywords?
  [x]
  (and (or (set? x) (sequential? x)) (every? keyword? x)))

(defn- networks?
  [x]
  (and (or (sequential? x) (set? x)) (seq x) (every? string? x)))

(defn- mode?
  [x]
  (and (string? x) (re-matches #"([r-][w-][x-]){3}|0?[0-7]{3}" x)))

(defn- symbolic-mode
  "Returns a mode such as \"rw-rw----\" of one that may be octal, such as \"0660\"."
  [mode]
  (if (some->> mode (re-matches #"[0-7]+"))
    (let [bits (Long/parseLong mode 8)]
      (string/join (map-indexed (fn [i letter] (if (bit-test bits (- 8 (long i))) letter "-"))
                                "rwxrwxrwx")))
    mode))

(defn- macro-name?
  "Returns true for a name that Sendmail can read: it answers others with an error, to the client."
  [x]
  (and (string? x) (re-matches #"\w+|\{\w+\}" x)))

(defn- names-by-stage?
  [x]
  (and (map? x)
       (every? #(and (sequential? %) (every? macro-name? %)) (vals x))))

(def table
  "Every option: what it must be, in words and as a predicate, and its default."
  {:port ["a number from 0 to 65535" #(and (int? %) (<= 0 (long %) 65535)) nil]
   :host ["a host name or address" string? "127.0.0.1"]
   :socket-path ["a path" string? nil]
   :socket-permissions ["a mode such as \"rw-rw----\" or \"0660\"" mode? nil]
   :socket-group ["the name of a group" string? nil]
   :address ["an address such as \"inet:20025@127.0.0.1\" or \"unix:/run/filter.sock\", or \"inherited\"" string? nil]
   :take-over? ["true or false" boolean? false]
   :allow ["a vector of networks, such as [\"192.0.2.0/24\" \"2001:db8::/32\"]" networks? nil]
   :handlers ["a map of event to function, or a var of one" #(or (map? %) (var? %)) nil]
   :init ["a function or var" callable? identity]
   :actions ["a set of actions" keywords? nil]
   :optional-actions ["a set of actions" keywords? nil]
   :optional-events ["a set of events" keywords? nil]
   :no-reply-events ["a set of events" keywords? nil]
   :request-macros ["a map of stage to names, such as {:mail [\"{auth_authen}\"]}" names-by-stage? nil]
   :wants ["a set of words of temse.envelope, such as #{:sender}" envelope/words? nil]
   :rejected-recipients? ["true or false" boolean? nil]
   :leading-space? ["true or false" boolean? nil]
   :default-reply ["a map of event to reply, such as {:unknown {:action :reject}}"
                   #(and (map? %) (every? map? (vals %))) {}]
   :on-error ["a function or var" callable? nil]
   :handler-timeout ["milliseconds, 1 or more, or a map of event to milliseconds" milliseconds-by-event?
                     {:default 25000 :end-of-message 270000}]
   :progress-interval (conj keys/milliseconds 5000)
   :progress-events ["a set of events" keywords? #{:end-of-message}]
   :idle-timeout (conj keys/milliseconds 7210000)
   :packet-timeout (conj keys/milliseconds 60000)
   :negotiation-timeout (conj keys/milliseconds 30000)
   :write-timeout (conj keys/milliseconds 30000)
   :max-packet-size ["a number of bytes" count? 2097152]
   :max-header-fields ["a number" count? 10000]
   :max-header-bytes ["a number of bytes" size? 4194304]
   :max-recipients ["a number" count? 50000]
   :max-macro-bytes ["a number of bytes" size? 1048576]
   :max-unfinished-bytes ["a number of bytes" size? 67108864]
   :max-connections-per-peer ["a number, or nil for no limit" #(or (nil? %) (count? %)) nil]
   :max-connections ["a number, or nil for no limit" #(or (nil? %) (count? %)) 1000]
   :backlog ["a number" count? 1024]
   :loops ["a number" count? nil]
   :block-grace (conj keys/milliseconds 1)
   :max-blocked-wait ["milliseconds" keys/milliseconds? 20000]
   :max-blocked ["a number" count? 1000]
   :daemon? ["true or false" boolean? false]
   :join? ["true or false" boolean? false]
   :drain-timeout ["milliseconds, 0 or more" nat-int? 0]
   :stop-timeout ["milliseconds, 0 or more" nat-int? 5000]
   :on-exchange ["a function or var" callable? nil]
   :log-mail? ["true or false" boolean? false]
   :bindings ["a map of dynamic vars to their values" bindings? nil]
   :name ["a string" string? "milter"]
   :on-fatal [":exit, or a function or var" #(or (= :exit %) (callable? %)) :exit]
   :keep-payload? ["true or false" boolean? false]})

(def ^:private defaults
  (into {}
        (keep (fn [[option [_ _ default]]] (when (some? default) [option default])))
        table))

(def fixed
  "The options that the sockets and threads of a server are made with."
  [:port :host :socket-path :socket-permissions :socket-group :address :take-over? :allow :max-unfinished-bytes
   :max-connections-per-peer :max-connections :backlog :loops :block-grace :max-blocked-wait :max-blocked
   :write-timeout :daemon? :drain-timeout :stop-timeout :name])

(defn- check-no-handlers
  "Throws :bad-options if handlers are given where options belong."
  [options]
  (when-let [event (first (filter #(and (not (table %)) (EventType/ofKeyword (get event-aliases % %)))
                                  (keys options)))]
    (throw (keys/no-such event event (str "there is no option " event) (keys table)
                         "Handlers are given as :handlers {EVENT FUNCTION}"))))

(defn check-given
  "Returns the options.

  Throws :bad-options that says what would be right, if one of them is unknown or wrong."
  [options]
  (when (map? options)
    (check-no-handlers options))
  (keys/check nil options table))

(defn- allowed
  "Returns the networks whose peers may connect, or nil for anybody."
  ^Networks [{:keys [allow]}]
  (when allow
    (try
      (Networks/of ^List (vec allow))
      (catch MilterException e
        (throw (bad-option :allow (:value (ex-data e)) (str ":allow: " (ex-message e))))))))

(defn check
  "Returns the options with defaults for all that are missing.

  Throws :bad-options that says which option is wrong, and what would be right."
  [options]
  (check-given options)
  (allowed options)
  (let [given (filterv #(contains? options %) [:port :socket-path :address])]
    (when (< 1 (count given))
      (throw (bad-option (first given)
                         (get options (first given))
                         (str "give one of " (string/join ", " given) ", not all")))))
  (merge defaults options))

(defn of-filter
  "Returns options for what people call a filter: a map of handlers, a map of options, or a var of
  one of these."
  [filter]
  (let [given (if (var? filter) @filter filter)]
    (if (and (map? given)
             (seq given)
             (or (some table (keys given)) (not-any? callable? (vals given))))
      given
      {:handlers filter})))

(defn elsewhere
  "Returns the options of a filter that listens at an address, whatever they say."
  [options address]
  (apply dissoc (assoc options :address address)
         (concat [:port :host :socket-path]
                 (when-not (string/starts-with? address "unix:") [:socket-permissions :socket-group]))))

(defn endpoint
  "Returns where checked options say to listen."
  ^Endpoint [{:keys [^String address socket-path port host]}]
  (try
    (cond
      address (Endpoint/parseListening address)
      socket-path (Endpoint/parse (str "unix:" socket-path))
      port (Endpoint/parse (str (if (string/includes? host ":") "inet6:" "inet:") port "@" host))
      :else (throw (bad-option :port nil "say where to listen: :port, :socket-path or :address")))
    (catch IllegalArgumentException e
      (let [[option value] (cond
                             address [:address address]
                             socket-path [:socket-path socket-path]
                             :else [:host host])]
        (throw (bad-option option value (str option ": " (ex-message e))))))))

(defn- event-set
  ^EnumSet [option ks]
  (let [types (EnumSet/noneOf EventType)]
    (.addAll types ^Collection (mapv #(event-type option %) ks))
    types))

(defn- add-default-reply
  [^EngineOptions$Builder builder [event ^IPersistentMap reply]]
  (let [type (event-type :default-reply event)]
    (try
      (ActionCodec/check reply)
      (let [action (Action/view (ActionCodec/normalise reply))]
        (when-not (instance? Action$Reply action)
          (throw (bad-option :default-reply reply (str ":default-reply: " (:action reply) " is no reply"))))
        (.defaultReply builder type action))
      (catch MilterException e
        (throw (bad-option :default-reply reply (str ":default-reply: " (ex-message e))))))))

(defn engine
  "Returns the EngineOptions of checked options."
  ^EngineOptions [options]
  (let [builder (doto (EngineOptions/builder)
                  (.keywords true)
                  (.progressInterval (keys/duration (:progress-interval options)))
                  (.progressEvents (event-set :progress-events (:progress-events options)))
                  (.idleTimeout (keys/duration (:idle-timeout options)))
                  (.packetTimeout (keys/duration (:packet-timeout options)))
                  (.negotiationTimeout (keys/duration (:negotiation-timeout options)))
                  (.maximumPacketSize (int (:max-packet-size options)))
                  (.maximumUnfinishedBytes (long (:max-unfinished-bytes options)))
                  (.maximumHeaderFields (int (:max-header-fields options)))
                  (.maximumHeaderBytes (long (:max-header-bytes options)))
                  (.maximumRecipients (int (:max-recipients options)))
                  (.maximumMacroBytes (long (:max-macro-bytes options)))
                  (.keepPayload (boolean (:keep-payload? options))))
        timeout (:handler-timeout options)]
    (run! #(add-default-reply builder %) (:default-reply options))
    (if (map? timeout)
      (do (when-let [default (:default timeout)]
            (.handlerTimeout builder (keys/duration default)))
          (doseq [[event ms] (dissoc timeout :default)]
            (.handlerTimeout builder (event-type :handler-timeout event) (keys/duration ms))))
      (.handlerTimeout builder (keys/duration timeout)))
    (.build ^EngineOptions$Builder builder)))

(defn handler-timeouts
  "Returns how long handlers of each event may take with a value that they wait for, in milliseconds, of
  checked options."
  [options]
  (let [engine (engine options)]
    (into {}
          (map (fn [^EventType type]
                 [(.-keyword type) (quot (.handlerTimeout engine type) 1000000)]))
          (EventType/values))))

(defn- consumer
  ^Consumer [f]
  (reify Consumer
    (accept [_ x] (f x))))

(defn server
  "Returns the builder of a server of checked options that serves with a factory."
  ^MilterServer$Builder [^MilterFactory factory options]
  (let [builder (doto (TransportOptions/builder)
                  (.name (:name options))
                  (.blockGrace (keys/duration (:block-grace options)))
                  (.maxBlocked (int (:max-blocked options)))
                  (.maxBlockedWait (keys/duration (:max-blocked-wait options)))
                  (.maxConnections (int (or (:max-connections options) Integer/MAX_VALUE)))
                  (.maxConnectionsPerPeer (int (or (:max-connections-per-peer options) 0)))
                  (.backlog (int (:backlog options)))
                  (.writeTimeout (keys/duration (:write-timeout options)))
                  (.daemon (boolean (:daemon? options)))
                  (.takeOver (boolean (:take-over? options)))
                  (.allow (allowed options))
                  (.unixMode (symbolic-mode (:socket-permissions options)))
                  (.unixGroup (:socket-group options)))]
    (when-let [loops (:loops options)]
      (.loops ^TransportOptions$Builder builder (int loops)))
    (when-not (= :exit (:on-fatal options))
      (.onFatal ^TransportOptions$Builder builder (consumer (:on-fatal options))))
    (-> (MilterServer/builder factory)
        (.listenOn (endpoint options))
        (.transport (.build ^TransportOptions$Builder builder))
        (.engine (engine options))
        (.drainTimeout (keys/duration (:drain-timeout options)))
        (.stopTimeout (keys/duration (:stop-timeout options))))))
