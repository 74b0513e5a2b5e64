(ns temse.impl.session
  "Sessions of an MTA with a filter, wherever it runs: their options, and what goes wrong in a filter
  of this process."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.brief]
   [temse.impl.failure :as failure]
   [temse.impl.keys :as keys]
   [temse.impl.log]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.milter :as milter])
  (:import
   (java.io Closeable IOException)
   (java.util Collections Map WeakHashMap)
   (temse.client Fault MtaClient MtaOptions MtaSession MtaStyle Timeouts)
   (temse.client.internal BriefMap)
   (temse.protocol Action Event EventType MacroStage Offer)
   (temse.server ServerListener)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

;; ---- offers and options

(defn- offer
  [version actions protocol]
  (dissoc (.event (Offer. version actions protocol)) :action-mask :protocol-mask))

(def offers
  "See temse.test/offers."
  {:postfix (offer 6 0x1FF 0x1FFFFF)
   :sendmail (offer 6 0x1FF 0x1FFFFF)
   :postfix-4 (offer 4 0x1FF 0x37F)
   :postfix-3 (offer 3 0x1FF 0x17F)
   :postfix-2 (offer 2 0x1FF 0x7F)
   :sendmail-8.13 (offer 2 0x3F 0x7F)
   :headers-only (offer 2 0x01 0x7F)
   :bare (offer 2 0 0)})

(defn- offer-event
  [given]
  (if (keyword? given)
    (or (offers given)
        (throw (keys/no-such :offer given (str "there is no offer " given) (keys offers)
                             (str "There are " (string/join " " (keys offers))))))
    given))

(def ^:private fault-keys
  "What the keys of faults must be."
  {:after ["an event" keyword?]
   :bytes ["bytes" #(or (bytes? %) (and (sequential? %) (every? int? %)))]
   :size ["a number of bytes, 1 or more" pos-int?]
   :millis keys/milliseconds})

(defn- fault
  ^Fault [{kind :fault, :keys [after size millis bytes] :as given}]
  (let [event #(let [type (options/event-type :faults (or after :mail))]
                 (if (= EventType/OPTIONS type)
                   (throw (IllegalArgumentException. "a fault comes after :connect or later"))
                   type))
        check #(keys/check (str "the fault " kind)
                           given
                           (assoc (select-keys fault-keys %) :fault ["a keyword" keyword?]))]
    (case kind
      :drop-connection (do (check [:after]) (Fault/dropAfter (event)))
      :garbage (do (check [:after :bytes])
                   (Fault/garbageAfter (event) (cond
                                                 (nil? bytes) (byte-array (repeat 8 -1))
                                                 (bytes? bytes) bytes
                                                 :else (byte-array (map unchecked-byte bytes)))))
      :split (do (check [:size]) (Fault/split (or size 1)))
      :slow (do (check [:size :millis])
                (Fault/slow (or size 1) (keys/duration (or millis 1))))
      :early (do (check []) (Fault/early))
      :merge (do (check []) (Fault/merge))
      (throw (IllegalArgumentException.
               (str "a :fault must be :drop-connection, :garbage, :split, :slow, :early or :merge,"
                    " not " (pr-str kind)))))))

(defn- macros?
  "Returns true for values of macros by name, among them maps of these by stage."
  [given]
  (and (map? given)
       (every? (fn [[k value]]
                 (if (keyword? k)
                   (and (MacroStage/ofKeyword k) (map? value) (every? string? (mapcat identity value)))
                   (and (string? k) (string? value))))
               given)))

(def ^:private timeout-table
  (assoc (zipmap [:connect :write :reply :end-of-message] (repeat (conj keys/milliseconds 30000)))
         :message (conj keys/milliseconds 600000)))

(def connect-options
  "Options of connect-to."
  {:mta [":postfix or :sendmail" #{:postfix :sendmail} :postfix]
   :offer ["an :options event, or the name of one of temse.test/offers" #(or (map? %) (keyword? %))]
   :macros ["a map of strings, also one for each of some stages, such as {\"i\" \"4AB\" :mail {\"auth_authen\" \"a\"}}"
            macros?]
   :timeout ["milliseconds, or a map of :connect, :write, :reply, :end-of-message and :message"
             #(or (map? %) (keys/milliseconds? %))
             30000]
   :faults ["a sequence of maps such as {:fault :early}"
            #(and (or (nil? %) (sequential? %)) (every? map? %))]})

(def client-options
  "What the option :client may hold."
  {:host-name ["a string" string?]
   :address ["an address such as \"192.0.2.1\"" string?]
   :port ["a number from 0 to 65535" #(and (int? %) (<= 0 (long %) 65535))]})

(defn client-event
  "Returns the :connect event of a client, {:host-name :address :port}."
  [{:keys [host-name address port] :or {host-name "client.example.org"
                                        address "192.0.2.1"
                                        port 40110}}]
  {:event :connect
   :host-name host-name
   :family (if (string/includes? address ":") :inet6 :inet)
   :port port
   :address address})

(def message-options
  "Options of run-message."
  (assoc connect-options
         :client ["a map of :host-name, :address and :port" map?]
         :hello ["a string" string?]))

(def many-options
  "Options of run-many."
  (assoc message-options :connections ["a number, 1 or more" pos-int? 10]))

(defn check-unused
  "Throws :bad-options if options are given with a session, whose connection was made before."
  [options]
  (when (seq options)
    (throw (options/bad-option (first (keys options)) (first (vals options))
                               (str "options are used where a connection is made; this session has"
                                    " been: give " (string/join ", " (keys options))
                                    " to connect-to")))))

(defn- check-macro-texts
  [path macros]
  (doseq [[k value] macros
          :let [place (conj path k)]]
    (if (map? value)
      (check-macro-texts place value)
      (do (keys/check-text nil place :string k)
          (keys/check-text nil place :string value)))))

(defn- with-macros
  ^MtaOptions [^MtaOptions options macros]
  (check-macro-texts [:macros] macros)
  (reduce-kv (fn [^MtaOptions options stage values]
               (.withMacros options (MacroStage/ofKeyword stage) values))
             (.withMacros options (into {} (filter (comp string? key)) macros))
             (into {} (filter (comp keyword? key)) macros)))

(defn- timeouts
  ^Timeouts [given]
  (let [{:keys [connect write reply end-of-message message]}
        (keys/with-defaults "the option :timeout" given timeout-table)]
    (Timeouts. (keys/duration connect) (keys/duration write) (keys/duration reply)
               (keys/duration end-of-message) (keys/duration message))))

(defn mta-options
  "Returns options of connect-to as those of the Java session."
  ^MtaOptions [{:keys [mta offer macros timeout faults]}]
  (cond-> (if (= :sendmail mta) MtaOptions/SENDMAIL MtaOptions/POSTFIX)
    offer (.withOffer (negotiation/offer (offer-event offer)))
    macros (with-macros macros)
    (seq faults) (.withFaults (into-array Fault (map fault faults)))
    (map? timeout) (.withTimeouts (timeouts timeout))
    (int? timeout) (.withTimeout (keys/duration timeout))))

;; ---- failures of filters in this process

(def ^:private ^Map failures-by-session
  "Of each session with a filter of this process what `listening` keeps."
  (Collections/synchronizedMap (WeakHashMap.)))

(defn- listening
  "Returns a listener that passes all on, and keeps in `failures` what went wrong, with the number of
  exchanges of the same event before it."
  ^ServerListener [^ServerListener listener failures]
  (let [failed (fn [event error]
                 (swap! failures (fn [{:keys [exchanged] :as known}]
                                   (update known :found conj
                                           {:event event, :error error, :nth (get exchanged event 0)}))))]
    (reify ServerListener
      (negotiated [_ connection]
        (swap! failures assoc :negotiated? true)
        (.negotiated listener connection))
      (verdict [_ connection event reply ended]
        (.verdict listener connection event reply ended))
      (closed [_ connection error]
        (.closed listener connection error))
      (violated [_ connection error]
        (failed (when-not (:negotiated? @failures) :options) error)
        (.violated listener connection error))
      (failed [_ connection type event error]
        (failed (.-keyword ^EventType type) error)
        (.failed listener connection type event error))
      (refused [_ peer why]
        (.refused listener peer why))
      (wantsExchanges [_]
        true)
      (exchanged [_ connection event response nanos]
        (let [k (.-keyword (.type ^Event event))
              whys (mapv #(:why (.map ^Action %)) response)]
          (swap! failures (fn [{:keys [exchanged] :as known}]
                            (let [n (get exchanged k 0)]
                              (cond-> (assoc-in known [:exchanged k] (inc n))
                                (some some? whys)
                                (update :reasons conj {:event k, :nth n, :whys whys}))))))
        (when (.wantsExchanges listener)
          (.exchanged listener connection event response nanos))))))

(defn- handler
  "Returns the handler of an event in a filter, or nil where it cannot be known."
  [filter event]
  (try
    (get (negotiation/handler-map (:handlers filter)) event)
    (catch Exception _)))

(defn- place-in
  "Returns the index of the exchange in a conversation that is preceded by `n` of its event, or nil."
  [conversation event n]
  (when-not (neg? (long n))
    (nth (keep-indexed (fn [i exchange] (when (= event (:event (:event exchange))) i)) conversation)
         n
         nil)))

(defn with-reasons
  "Returns the conversation with the :why of each action that was played since `take-errors` was asked
  last, as metadata, so that it is equal to what has travelled. It is known only where the filter runs in
  this process."
  [session conversation]
  (let [[_ failures] (.get failures-by-session session)
        {:keys [reasons before]} (some-> failures deref)]
    (reduce (fn [conversation {n :nth, :keys [event whys]}]
              (let [place (place-in conversation event (- (long n) (long (get before event 0))))
                    response (when place (:response (nth conversation place)))]
                (if (= (count whys) (count response))
                  (assoc-in conversation [place :response]
                            (mapv #(cond-> %1 (some? %2) (vary-meta assoc :why %2)) response whys))
                  conversation)))
            (vec conversation)
            reasons)))

(defn take-errors
  "Returns what went wrong since it was asked last, as the :errors of a conversation; nil where the
  filter runs elsewhere."
  [session conversation]
  (when-let [[filter failures] (.get failures-by-session session)]
    (let [[{:keys [found exchanged before]}]
          (swap-vals! failures (fn [{:keys [exchanged] :as known}]
                                 (assoc known :found [] :reasons [] :before exchanged)))]
      (mapv (fn [{n :nth, :keys [event error]}]
              (let [place (place-in conversation event (- (long n) (long (get before event 0))))]
                (cond-> (failure/of event error (handler filter event))
                  place (assoc :exchange place))))
            found))))

(defn- failed-start
  "Returns the exception of a filter that has failed before it answered the offer; its cause holds
  what went wrong."
  ^IOException [^IOException e {:keys [explanation error] :as failure}]
  (IOException. (str (ex-message e) ": " explanation)
                (ex-info explanation {:errors [(assoc failure :exchange 0)]} error)))

(defn start-errors
  "Returns what went wrong before a filter answered the offer, or nil if the exception says something
  else."
  [e]
  (:errors (ex-data (ex-cause e))))

;; ---- connections

(defn- in-process
  "Returns a session with a filter of this process."
  ^MtaSession [filter mta]
  (let [options (options/of-filter filter)
        {:keys [name on-exchange] :as checked} (options/check options)
        failures (atom {:found []})]
    (try
      (let [session (MtaClient/inProcess (milter/factory options)
                                         (options/engine checked)
                                         (listening (temse.impl.log/listener name on-exchange) failures)
                                         mta)]
        (.put failures-by-session session [options failures])
        session)
      (catch IOException e
        (throw (if-let [{:keys [event error]} (first (:found @failures))]
                 (failed-start e (failure/of event error (handler options event)))
                 e))))))

(defn connected
  "Returns a session with what users call a filter: a map, a var, a server or an address."
  ^MtaSession [filter options]
  (let [mta (mta-options options)]
    (cond
      (string? filter)
      (MtaClient/connect (Endpoint/parse filter) mta)

      (or (map? filter) (var? filter))
      (in-process filter mta)

      (instance? Closeable filter)
      (MtaClient/connect (Endpoint/parse (milter/milter-address filter)) mta)

      :else
      (throw (IllegalArgumentException.
               (str "a filter is a map of options or handlers, a var of one, a server, an address or a"
                    " session, not " (keys/shown filter)))))))

(defn check-client
  "Throws :bad-options if the :client or :hello among options is no client or greeting."
  [{:keys [client hello]}]
  (keys/check "the option :client" (or client {}) client-options)
  (doseq [k [:host-name :address]
          :when (get client k)]
    (keys/check-text nil [:client k] :line (get client k)))
  (when hello
    (keys/check-text nil :hello :line hello)))

(defn mta
  "Returns which MTA a session plays: :postfix or :sendmail."
  [^MtaSession session]
  (if (= MtaStyle/POSTFIX (.style (.options session))) :postfix :sendmail))

(defn macro-letter
  "Returns the letter by which macros name the event that they are for."
  [stage]
  (char (.-code (options/event-type :stage stage))))

(defn with-late-errors
  "Returns a result with what went wrong in the filter when its connection ended among the :errors."
  [result session]
  (let [errors (take-errors session nil)]
    (if (seq errors)
      (BriefMap/of (update result :errors into errors))
      result)))
