(ns temse.test
  "The MTA's side, for tests and for trying filters out without a mail server.

  A filter is given as options of start-milter or a map of handlers, or a var of one of these (no
  port is used: real packets, the real engine, the caller's thread), as a running server, as an
  address such as \"inet:20025@127.0.0.1\" of any milter, or as a session of `connect-to`.

    (:verdict (run-message {:handlers handlers}
                           {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
                            :headers [[\"Subject\" \"hi\"]] :body \"hello\"}))
    ;=> :accept

  run-message, run-many             ; whole messages, on one connection or on many
  run-conversation                  ; whole connections, with the answers expected
  check-message, check-conversation ; the same as checks of clojure.test
  connect-to, send-event            ; step by step
  context, fire, response           ; handlers without a wire"
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.brief]
   [temse.impl.events :as events]
   [temse.impl.failure :as failure]
   [temse.impl.keys :as keys]
   [temse.impl.log]
   [temse.impl.mta.rules :as rules]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.pending :as pending]
   [temse.impl.return-value :as return-value]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.mta :as mta]
   [temse.report :as report]
   [temse.test.expect :as expect])
  (:import
   (java.io Closeable IOException)
   (java.lang.reflect Method)
   (java.util Base64 Collections Map WeakHashMap)
   (java.util.concurrent ExecutionException ExecutorService Executors Future TimeUnit)
   (temse.client BriefMap Fault Mail MtaClient MtaOptions MtaSession MtaStyle Timeouts)
   (temse.protocol ActionCodec Agreement EventCodec EventType MacroStage MacroTable MilterException Negotiation Offer ProtocolFlag Text)
   (temse.server Connection ServerListener)
   (temse.server.internal Response)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

;; ---- sessions

(defn- offer
  [version actions protocol]
  (dissoc (.event (Offer. version actions protocol)) :action-mask :protocol-mask))

(def offers
  "What MTAs offer, by name, as :options events: :version, :actions and :protocol.

    :postfix         ; Postfix 2.6 and later
    :sendmail        ; Sendmail 8.14 and later
    :postfix-4       ; Postfix with milter_protocol = 4
    :postfix-3       ; Postfix with milter_protocol = 3
    :postfix-2       ; Postfix with milter_protocol = 2, the default of Postfix 2.3 to 2.5
    :sendmail-8.13   ; Sendmail 8.13 and earlier: no :data, no :skip, no :change-sender
    :headers-only    ; version 2 and nothing to change but headers to add
    :bare            ; version 2 without a flag, which stands for the flags of version 1"
  {:postfix (offer 6 0x1FF 0x1FFFFF)
   :sendmail (offer 6 0x1FF 0x1FFFFF)
   :postfix-4 (offer 4 0x1FF 0x37F)
   :postfix-3 (offer 3 0x1FF 0x17F)
   :postfix-2 (offer 2 0x1FF 0x7F)
   :sendmail-8.13 (offer 2 0x3F 0x7F)
   :headers-only (offer 2 0x01 0x7F)
   :bare (offer 2 0 0)})

(def postfix
  "The offer of a current Postfix."
  (:postfix offers))

(def sendmail
  "The offer of a current Sendmail."
  (:sendmail offers))

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

(def ^:private connect-options
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

(def ^:private client-options
  "What the option :client may hold."
  {:host-name ["a string" string?]
   :address ["an address such as \"192.0.2.1\"" string?]
   :port ["a number from 0 to 65535" #(and (int? %) (<= 0 (long %) 65535))]})

(def ^:no-doc message-options
  "Options of run-message."
  (assoc connect-options
         :client ["a map of :host-name, :address and :port" map?]
         :hello ["a string" string?]))

(def ^:private many-options
  "Options of run-many."
  (assoc message-options :connections ["a number, 1 or more" pos-int? 10]))

(defn- check-unused
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

(defn- mta-options
  ^MtaOptions [{:keys [mta offer macros timeout faults]}]
  (cond-> (if (= :sendmail mta) MtaOptions/SENDMAIL MtaOptions/POSTFIX)
    offer (.withOffer (negotiation/offer (offer-event offer)))
    macros (with-macros macros)
    (seq faults) (.withFaults (into-array Fault (map fault faults)))
    (map? timeout) (.withTimeouts (timeouts timeout))
    (int? timeout) (.withTimeout (keys/duration timeout))))

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
        (swap! failures update-in [:exchanged (:event event)] (fnil inc 0))
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

(defn- take-errors
  "Returns what went wrong since it was asked last, as the :errors of a conversation; nil where the
  filter runs elsewhere."
  [session conversation]
  (when-let [[filter failures] (.get failures-by-session session)]
    (let [[{:keys [found exchanged before]}]
          (swap-vals! failures (fn [{:keys [exchanged] :as known}]
                                 (assoc known :found [] :before exchanged)))]
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

(defn- start-errors
  "Returns what went wrong before a filter answered the offer, or nil if the exception says something
  else."
  [e]
  (:errors (ex-data (ex-cause e))))

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

(defn- connected
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

(defn connect-to
  "Returns a session with a filter, Closeable: the MTA's side of one connection, negotiated.

    :mta       ; :postfix or :sendmail (default: :postfix)
    :offer     ; an :options event, such as {:version 2}: what the MTA offers (default: `postfix`)
    :macros    ; values of macros by name, such as {\"auth_authen\" \"alice\"}: sent at the stages
               ; at which the MTA or the filter lists them, at :connect if none does; and by stage,
               ; such as {:mail {\"auth_authen\" \"alice\"}}: sent at that stage
    :timeout   ; milliseconds to wait for the connection, for each reply, and to write (default:
               ; 30000); or a map of :connect, :write, :reply, :end-of-message (each 30000) and
               ; :message, for all replies to a message together (default: 600000)

  Throws an IOException where the filter cannot be reached or closes the connection."
  (^MtaSession [filter]
   (connect-to filter {}))
  (^MtaSession [filter options]
   (connected filter (keys/with-defaults "the options of connect-to" options connect-options))))

(defn- mta
  "Returns which MTA a session plays: :postfix or :sendmail."
  [^MtaSession session]
  (if (= MtaStyle/POSTFIX (.style (.options session))) :postfix :sendmail))

(defn agreement
  "Returns the filter's answer to the offer, an :options map."
  [^MtaSession session]
  (.agreement session))

(defn send-event
  "Sends an event with its macros and returns the actions that answer it, the reply last; [] where
  the filter does not want it or owes no reply.

    (send-event session {:event :hello :greeting \"client.example.org\"})"
  [^MtaSession session event]
  (vec (.send session (events/check event))))

(defn- macro-letter
  [stage]
  (char (.-code (options/event-type :stage stage))))

(defn send-macros
  "Sends macros for the event of that name, which is to follow: it comes without those that the MTA
  would send before it otherwise.

    (send-macros session :mail {\"auth_authen\" \"alice\"})
    (send-event session {:event :mail :sender \"<alice@example.org>\"})"
  [session stage macros]
  (send-event session {:event :define-macro
                       :command (macro-letter stage)
                       :definitions macros})
  nil)

(defn- client-event
  [{:keys [host-name address port] :or {host-name "client.example.org"
                                        address "192.0.2.1"
                                        port 40110}}]
  {:event :connect
   :host-name host-name
   :family (if (re-find #":" address) :inet6 :inet)
   :port port
   :address address})

(def ^:private verdicts
  "By what becomes of a mail."
  {:delivered :accept, :held :accept, :no-recipients :accept, :refused :reject
   :deferred :temporary-failure, :discarded :discard})

(defn- with-outcome
  "Returns the report with what the SMTP client hears and what becomes of the mail, unless a fault
  ended it, or the MTA has hung up before."
  [^MtaSession session sent {:keys [verdict conversation modifications] :as report}]
  (cond
    (nil? verdict)
    (assoc report :message nil)

    (and (= :temporary-failure verdict) (empty? conversation))
    (assoc report :message nil, :smtp {}, :fate :deferred)

    :else
    (let [mta (mta session)
          {:keys [smtp fate]} (mta/outcome {:mta mta
                                                 :message sent
                                                 :conversation conversation
                                                 :agreement (agreement session)})
          refused (map #(<= 400 (long (:smtp-code %))) (:recipients smtp))]
      (assoc report
             :verdict (verdicts fate)
             :smtp smtp
             :fate fate
             :message (when (#{:delivered :held} fate)
                        (mta/apply-actions ((:received (rules/of mta)) sent) modifications
                          {:mta mta
                           :refused refused
                           :read? true
                           :leading-space? (.agreed session ProtocolFlag/LEADING_SPACE)}))))))

(defn- greeted
  "Returns a session whose SMTP client has said hello."
  ^MtaSession [filter {:keys [client hello] :or {hello "client.example.org"} :as options}]
  (keys/check "the option :client" (or client {}) client-options)
  (doseq [k [:host-name :address]
          :when (get client k)]
    (keys/check-text nil [:client k] :line (get client k)))
  (keys/check-text nil :hello :line hello)
  (let [session (connected filter options)]
    (try
      (.greet session (client-event client) hello)
      session
      (catch Throwable e
        (.close session)
        (throw e)))))

(defn- played
  "Plays a mail over a session and returns the report."
  [^MtaSession session ^Mail mail]
  (let [sent (.toMap mail)
        {:keys [conversation] :as report} (.deliver session mail)
        errors (take-errors session conversation)]
    (BriefMap/of
      (cond-> (assoc (with-outcome session sent report)
                     :responses (mapv (fn [{:keys [event response]}] [(:event event) response]) conversation)
                     :sent sent
                     :agreement (agreement session))
        errors (assoc :errors errors)))))

(defn- unstarted
  "Returns the report of a mail to a filter that has failed before it answered the offer, or nil if the
  exception tells of something else."
  [options ^Mail mail e]
  (when-let [errors (start-errors e)]
    (BriefMap/of
      {:verdict nil
       :at :options
       :reply nil
       :modifications []
       :recipients {}
       :responses [[:options []]]
       :conversation [{:event (.event (.offer (mta-options options))), :response []}]
       :sent (.toMap mail)
       :message nil
       :closed-by :milter
       :problem (ex-message e)
       :errors errors})))

(defn- with-late-errors
  "Returns a result with what went wrong in the filter when its connection ended among the :errors."
  [result session]
  (let [errors (take-errors session nil)]
    (if (seq errors)
      (BriefMap/of (update result :errors into errors))
      result)))

(defn- run-some
  "Plays mails over one connection until it ends, and returns the reports."
  [filter mails options]
  (try
    (let [session (greeted filter options)
          reports (with-open [session session]
                    (reduce (fn [reports mail]
                              (let [report (played session (mail/->mail mail))]
                                (cond-> (conj reports report)
                                  (not (.isOpen session)) reduced)))
                            []
                            mails))]
      (conj (pop reports) (with-late-errors (peek reports) session)))
    (catch IOException e
      (if-let [report (unstarted options (mail/->mail (first mails)) e)]
        [report]
        (throw e)))))

(defn- run-in-turn
  "Plays mails over one connection, or over the next one where a fault has ended it."
  [filter mails options]
  (loop [mails mails, reports []]
    (if (empty? mails)
      reports
      (let [more (run-some filter mails options)]
        (recur (drop (count more) mails) (into reports more))))))

(defn run-message
  "Plays one message to a filter and returns what became of it:

    :verdict       ; :accept, :reject, :temporary-failure or :discard
    :at            ; the event that settled it
    :reply         ; the reply that did
    :modifications ; what the filter changed, in order; a replaced body is one action
    :recipients    ; map of recipient to the reply it got
    :responses     ; vector of [event actions]
    :conversation  ; vector of {:event :response :nanos}
    :sent          ; the message as it was, a map
    :smtp          ; what the SMTP client hears at each stage, see temse.mta/outcome
    :fate          ; :delivered, :held, :refused, :deferred, :discarded or :no-recipients
    :message       ; the message as the MTA would deliver it, nil if it does not
    :agreement     ; the filter's answer to the offer
    :errors        ; what went wrong in the filter, vector of
                   ; {:kind :event :explanation :error :trace :exchange}: :exception or the category of
                   ; an error of the library, the event, both in words, the Throwable, the filter's own
                   ; lines of its stack trace, and the index in :conversation; missing where the filter
                   ; is a server or an address: then its log says it

  where the filter's answers were not as the protocol wants them
    :remarks       ; vector of {:remark :event :action :text}: what, in answer to which event, and what
                   ; this MTA makes of it; see temse.client.MtaSession

  and where the connection ended because of :faults, or of :init
    :closed-by     ; :milter or :mta; without an answer to the message :verdict and :reply are nil
    :problem       ; how it ended, in words

  A REPL prints a report in a few lines; `print-report` prints all of it.

  `mail` is what temse.mail/->mail takes: a map {:sender :recipients :headers :body} of which all
  keys may be missing, or a File, Path, URL or string in the Internet message format, or a map with
  such a thing under :message and an envelope beside it. Options are those of `connect-to` and
    :client        ; {:host-name :address :port} of the SMTP client
    :hello         ; its greeting (default: \"client.example.org\")

  Options are used where a connection is made; on a session the client stays what it was.

    (:message (run-message {:handlers handlers} (io/file \"spam.eml\")))"
  ([filter mail]
   (run-message filter mail {}))
  ([filter mail options]
   (if (instance? MtaSession filter)
     (do (check-unused options)
         (take-errors filter nil)
         (played filter (mail/->mail mail)))
     (let [options (keys/with-defaults "the options of run-message" options message-options)]
       (peek (run-in-turn filter [(mail/->mail mail)] options))))))

(defn print-report
  "Prints what run-message returned: the conversation as a ladder, the verdict, and the mail before
  and after."
  [report]
  (report/print-report report))

;; ---- many connections

(defn- thread-per-task
  "Returns an executor of virtual threads where the JDK has them, as of 21, or of platform threads."
  ^ExecutorService []
  (if-let [method (try
                    (.getMethod Executors "newVirtualThreadPerTaskExecutor" (make-array Class 0))
                    (catch NoSuchMethodException _))]
    (.invoke ^Method method nil (object-array 0))
    (Executors/newCachedThreadPool)))

(defn- result
  [^Future running]
  (try
    (.get running)
    (catch ExecutionException e
      (throw (or (ex-cause e) e)))))

(defn run-many
  "Plays messages to a filter over many connections at once and returns their reports in order.
  Options are those of `run-message` and
    :connections ; how many; each takes every so many-th message (default: 10)

  Throws what one of them has thrown.

    (frequencies (map :verdict (run-many server (read-mbox (io/file \"inbox\")))))"
  ([filter mails]
   (run-many filter mails {}))
  ([filter mails options]
   (let [{:keys [connections] :as options} (keys/with-defaults "the options of run-many" options
                                                                many-options)
         mails (vec mails)
         threads (thread-per-task)
         share #(take-nth connections (drop % mails))]
     (try
       (let [task (fn [n] #(run-in-turn filter (share n) options))
             running (mapv #(.submit threads ^Callable (task %))
                           (range (min (long connections) (count mails))))
             reports (mapv result running)]
         (mapv #(get-in reports [(rem % connections) (quot % connections)]) (range (count mails))))
       (finally
         (.shutdownNow threads))))))

;; ---- conversations

(def ^:private readers
  {'re re-pattern
   'temse/bytes #(.decode (Base64/getDecoder) ^String %)})

(defn read-conversation
  "Returns the conversation that a File, URL or other source of `slurp` holds as EDN, or a string
  that is EDN itself: a vector as for `run-conversation`, or a map that has it under :conversation.
  Tags: #re \"pattern\" for texts, #temse/bytes \"base64\" for bodies.

    (read-conversation (io/resource \"conversations/lottery.edn\"))"
  [source]
  (edn/read-string {:readers readers} (if (string? source) source (slurp source))))

(def ^:private exchange-keys
  (zipmap [:event :response :nanos :expected :pass?] (repeat ["anything" any?])))

(defn- exchanges
  [conversation]
  (let [given (cond
                (or (sequential? conversation) (map? conversation)) conversation
                (string? conversation) (throw (IllegalArgumentException.
                                                "a conversation is data or a source, not a string"))
                :else (read-conversation conversation))
        exchanges (if (map? given) (:conversation given) given)]
    (doseq [exchange exchanges]
      (when-not (and (map? exchange) (map? (:event exchange)))
        (throw (IllegalArgumentException.
                 (str "an exchange of a conversation is a map with an event under :event, not "
                      (pr-str exchange)))))
      (keys/check "an exchange" exchange exchange-keys)
      (events/check (:event exchange)))
    exchanges))

(defn- wire-event
  "Returns the event as its codec takes it: a text may stand for bytes, and the stage of macros for
  their letter."
  [{:keys [data stage command] :as event}]
  (cond-> event
    (string? data) (assoc :data (Text/encodeBytes data))
    (and stage (not command)) (assoc :command (macro-letter stage))))

(defn- closed-text
  "Returns how the connection has ended, where an exception tells of that and not of a wrong event."
  [^MtaSession session e]
  (if (.isOpen session)
    (throw e)
    (ex-message e)))

(defn- exchange-with
  [session {:keys [event response] :or {response '_}}]
  (let [start (System/nanoTime)
        [actual problem] (try
                           [(send-event session (wire-event event))]
                           (catch IOException e
                             [[] (closed-text session e)])
                           (catch MilterException e
                             [[] (closed-text session e)]))]
    (cond-> {:event event
             :response actual
             :nanos (- (System/nanoTime) start)
             :expected response
             :pass? (if problem (= :closed response) (expect/matches? response actual))}
      problem (assoc :problem problem))))

(defn- converse
  [session exchanges]
  (loop [[exchange & more] exchanges, played []]
    (if (nil? exchange)
      {:conversation played, :unsent []}
      (let [step (exchange-with session exchange)]
        (if (:problem step)
          {:conversation (conj played step), :unsent (vec more)}
          (recur more (conj played step)))))))

(defn- negotiation-step
  [event expected agreed]
  {:event event
   :response [agreed]
   :expected expected
   :pass? (expect/matches? expected [agreed])})

(defn- conversed
  "Plays exchanges over a session, behind the negotiation if that is compared, too (or nil), and returns
  the result."
  [session opening exchanges]
  (let [result (converse session exchanges)
        conversation (into (if opening [opening] []) (:conversation result))
        errors (take-errors session conversation)]
    (BriefMap/of
      (merge result
             {:pass? (and (empty? (:unsent result)) (every? :pass? conversation))
              :conversation conversation
              :agreement (agreement session)}
             (when errors {:errors errors})))))

(defn run-conversation
  "Plays a whole conversation, one connection of an MTA, to a filter and compares the answers with
  those expected. A conversation is a vector of exchanges, what recordings and reports hold under
  :conversation, or such a map, or a source of `read-conversation`:

    [{:event {:event :options :version 6}}
     {:event {:event :mail :sender \"<a@example.org>\"} :response [:continue]}
     {:event {:event :end-of-message}
      :response [{:action :add-header :name \"X-Seen\" :value #\"yes|no\"} :accept]}]

  The answers under :response are expectations as in temse.test.expect; without it any answer is
  right. :closed expects that the connection is closed, [] that the filter owes no answer or does
  not want the event. The first exchange may be the negotiation: its event is the offer. The :data
  of a body may be a text, and macros, {:event :define-macro :stage :mail :definitions {…}}, replace
  those of the next event of that stage.

  Options are those of `connect-to`. The result is
    :pass?         ; true if all was as expected
    :conversation  ; vector of {:event :response :nanos :expected :pass?}, with a :problem where the
                   ; connection ended
    :unsent        ; the exchanges that were left then
    :agreement     ; the filter's answer to the offer
    :errors        ; what went wrong in the filter, as in the report of `run-message`"
  ([filter conversation]
   (run-conversation filter conversation {}))
  ([filter conversation options]
   (let [[{:keys [event response] :or {response '_}} & more :as exchanges] (exchanges conversation)
         negotiation? (= :options (:event event))]
     (if (instance? MtaSession filter)
       (do (check-unused options)
           (take-errors filter nil)
           (conversed filter
                      (when negotiation?
                        (negotiation-step event response (agreement filter)))
                      (if negotiation? more exchanges)))
       (try
         (let [session (connect-to filter (cond->> options negotiation? (merge {:offer event})))]
           (-> (with-open [session session]
                 (run-conversation session exchanges))
               (with-late-errors session)))
         (catch IOException e
           (if-let [errors (start-errors e)]
             (BriefMap/of
               {:pass? (= :closed response)
                :conversation [{:event (if negotiation? event {:event :options})
                                :response []
                                :expected response
                                :pass? (= :closed response)
                                :problem (ex-message e)}]
                :unsent (vec (if negotiation? more exchanges))
                :errors errors})
             (throw e))))))))

(defn- with-difference
  "Returns an exchange whose answer is not as expected with the difference, which a ladder shows."
  [{:keys [expected response pass? problem] :as exchange}]
  (cond-> exchange
    (not pass?) (assoc ::report/below (map #(str "         " %)
                                           (if problem
                                             [(str "- " (pr-str expected))]
                                             (expect/difference expected response))))))

(defn print-conversation
  "Prints what run-conversation returned as a ladder, in which \"!\" marks answers that are not as
  expected; the difference is below them."
  [{:keys [unsent] :as result}]
  (keys/check-result result :conversation "run-conversation")
  (run! println (report/ladder (update result :conversation #(mapv with-difference %))))
  (when (seq unsent)
    (println (str "  " (count unsent) " more events were not sent"))))

;; ---- checks for clojure.test

(defn- report-check
  "Tells clojure.test of the outcome of a check; `text` prints what is to be said of a failure."
  [place pass? text expected actual]
  ((requiring-resolve 'clojure.test/do-report)
   (merge place
          (if pass?
            {:type :pass, :message nil, :expected expected, :actual actual}
            {:type :fail, :message (with-out-str (text)), :expected expected, :actual actual}))))

(defn ^:no-doc checked-conversation
  "What `check-conversation` expands to."
  [place filter conversation options]
  (let [{:keys [pass?] :as result} (run-conversation filter conversation options)
        {:keys [expected response]} (first (remove :pass? (:conversation result)))]
    (report-check place pass? #(print-conversation result) expected response)
    result))

(def ^:private report-keys
  (zipmap [:verdict :at :reply :modifications :recipients :responses :conversation :sent :message
           :agreement :smtp :fate :errors :closed-by :problem :remarks]
          (repeat ["an expectation" any?])))

(defn- print-differences
  [report expected]
  (report/print-report report)
  (doseq [[k pattern] expected]
    (println (str "! " k))
    (run! #(println (str "    " %)) (expect/difference pattern (get report k)))))

(defn ^:no-doc checked-message
  "What `check-message` expands to."
  [place filter mail expected options]
  (keys/check "a report" expected report-keys)
  (let [report (run-message filter mail options)
        right? (fn [[k pattern]] (expect/matches? pattern (get report k)))
        wrong (into {} (remove right?) expected)]
    (report-check place
                  (empty? wrong)
                  #(print-differences report wrong)
                  (if (empty? wrong) expected wrong)
                  (cons 'not-as-expected (keys wrong)))
    report))

(defn- place
  [form]
  {:file (some-> *file* io/file .getName), :line (:line (meta form))})

(defmacro check-conversation
  "Runs a conversation as `run-conversation` does and tells clojure.test whether all was as
  expected: a failure shows the conversation as a ladder with the difference in its place. Returns
  the result.

    (deftest the-lottery-is-refused
      (check-conversation {:handlers handlers} (io/resource \"conversations/lottery.edn\")))"
  ([filter conversation]
   `(checked-conversation ~(place &form) ~filter ~conversation {}))
  ([filter conversation options]
   `(checked-conversation ~(place &form) ~filter ~conversation ~options)))

(defmacro check-message
  "Plays a message as `run-message` does and tells clojure.test whether the keys of the report that
  are given have values as expected, see temse.test.expect: a failure shows the conversation and the
  differences. Returns the report.

    (deftest mail-is-marked
      (check-message {:handlers handlers} {:headers [[\"Subject\" \"hi\"]]}
                     {:verdict :accept
                      :modifications [{:action :add-header :name \"X-Seen\" :value #\"yes\"}]}))"
  ([filter mail expected]
   `(checked-message ~(place &form) ~filter ~mail ~expected {}))
  ([filter mail expected options]
   `(checked-message ~(place &form) ~filter ~mail ~expected ~options)))

;; ---- handlers by hand

(def ^:private context-options
  {:actions ["a set of actions" #(and (or (nil? %) (set? %) (sequential? %)) (every? keyword? %))]
   :macros ["a map of stage to {name value}"
            #(and (or (nil? %) (map? %)) (every? map? (vals %)))]})

(defn- shorter-words
  [k]
  (let [word (name k)]
    (into #{word} (map #(str (subs word 0 %) (subs word (inc (long %))))) (range (count word)))))

(defn- misspelt
  "Returns the option of context that differs from a key by one letter, or nil."
  [k]
  (when (simple-keyword? k)
    (first (for [option (keys context-options)
                 :when (and (not= k option) (some (shorter-words option) (shorter-words k)))]
             option))))

(defn- check-context
  "Throws :bad-options if an option is misspelt or wrong, or a key means nothing to the library."
  [given]
  (when-not (map? given)
    (throw (options/bad-option :options given (str "the options of context must be a map, not "
                                                   (keys/shown given)))))
  (keys/check "the options of context" (select-keys given (keys context-options)) context-options)
  (doseq [k (keys given)]
    (when-let [option (misspelt k)]
      (throw (keys/no-such k k (str "there is no key " k " in the options of context") [option] nil))))
  (return-value/check-context "temse.test/context" (assoc given :milter/connection nil) nil))

(defn- progress?
  [{:keys [action]}]
  (= :progress action))

(defn- event-of
  "Returns an event that actions may answer, where nobody has said which they do."
  [actions]
  (if (some #(= :skip (:action %)) actions) EventType/RECIPIENT EventType/END_OF_MESSAGE))

(defn- check-response
  "Returns the actions if they may answer the event together. Throws what the library would log."
  [^Agreement agreement ^EventType event answerable? actions]
  (let [response (Response. event answerable? agreement)]
    (doseq [action (remove progress? actions)
            :let [normal (ActionCodec/normalise action)]]
      (.add response (cond-> normal (contains? normal :body) (assoc :body "")))
      (when answerable?
        (ActionCodec/check action (.maximumPayload agreement))))
    actions))

(defn- sending
  "Returns a connection that adds what is sent to the :actions of an atom, if it could be sent at some
  event."
  ^Connection [^Agreement agreement table sent]
  (reify Connection
    (id [_] 0)
    (peer [_] "test")
    (agreement [_] agreement)
    (macros [_] table)
    (send [_ action]
      (check-response agreement (event-of [action]) true [action])
      (swap! sent update :actions conj action))
    (progress [_] (swap! sent update :actions conj {:action :progress}))
    (await [_ _ _ _])
    (close [_])))

(defn context
  "Returns a context for calling handlers by hand. Its connection records what send-action sends, and
  refuses what could be sent at no event, or was not agreed.

    (on-header {:event :header :name \"Subject\" :value \"hi\"} (context))

  :actions    ; agreed actions (default: all)
  :macros     ; map of stage to {name value}
  Other keys are put into the context; one that looks like a misspelt option is refused."
  ([]
   (context {}))
  ([{:keys [actions macros] :as given}]
   (check-context given)
   (let [sent (atom {:actions []})
         request (negotiation/request {:handlers {:end-of-message identity} :actions actions})
         agreement (Negotiation/agree Offer/CURRENT request)
         table (reduce (fn [^MacroTable table [stage definitions]]
                         (.with table
                                (EventCodec/encode {:event :define-macro
                                                    :command (char (.-letter (options/macro-stage stage)))
                                                    :definitions definitions})))
                       MacroTable/EMPTY
                       macros)
         connection (sending agreement table sent)
         agreed (negotiation/agreement-map agreement)]
     (BriefMap/of
       (merge (dissoc given :actions :macros)
              {:milter/connection connection
               :socket connection
               :milter/info {:id 0 :peer "test" :name "test"}
               :milter/agreement agreed
               :events (:events agreed)
               :actions (:actions agreed)
               ::sent sent})))))

(defn response
  "Returns what a handler has sent and returned, in order, from the context it returned.

  Throws what the library would log if no event could be answered so: two replies, a change after the
  reply, an action that was not agreed or cannot travel."
  [{::keys [sent] :as context}]
  (let [{:keys [actions checked?]} (some-> sent deref)
        actions (into (vec actions) (milter/response context))]
    (if (or (nil? sent) checked?)
      actions
      (check-response (.agreement ^Connection (:milter/connection context)) (event-of actions) true actions))))

(defn- awaited
  "Returns the value that a handler's return value yields: itself, unless it is pending."
  [returned]
  (if-let [stage (when-not (or (nil? returned) (map? returned) (sequential? returned))
                   (pending/stage returned))]
    (try
      (.get (.toCompletableFuture stage) 30 TimeUnit/SECONDS)
      (catch ExecutionException e
        (throw (or (ex-cause e) e))))
    returned))

(defn- check-answer
  "Checks what a handler has sent and returned for an event. An exception names the handler."
  [^EventType type handler connection actions]
  (try
    (check-response (.agreement ^Connection connection)
                    type
                    (and (.owesReply type) (not (:no-reply (meta handler))))
                    actions)
    (catch MilterException e
      (throw (MilterException. (.category e)
                               (str (ex-message e) "; it comes from " (failure/handler-text handler))
                               e
                               (object-array (mapcat identity (dissoc (ex-data e) :milter/error))))))))

(defn fire
  "Calls the handler of an event in a filter, a map of handlers or of options, as the library would,
  without a wire, and returns the next context, whose `response` is the one to this event. Waits for a
  pending value.

  Throws what the handler throws, and what the library would log: :bad-handler-return where it returns
  what means nothing, :reply-not-allowed, :action-not-negotiated, :double-reply, :late-action or
  :bad-action where its actions cannot answer the event. The message names the handler.

    (-> (context) (->> (fire handlers {:event :header …})) response)"
  [filter {:keys [event] :as e} context]
  (events/check e)
  (let [type (options/event-type :event event)
        handler (get (negotiation/handler-map (:handlers (options/of-filter filter) {})) (.-keyword type))
        before (dissoc context :milter/response)
        sent (::sent before)
        _ (some-> sent (reset! {:actions [], :checked? true}))
        returned (awaited (when handler (handler e before)))
        actions (return-value/actions-of e returned)]
    (when sent
      (check-answer type handler (:milter/connection before) (into (:actions @sent) actions)))
    (cond-> (if (map? returned)
              (-> (return-value/next-context before returned)
                  (return-value/at-event (:milter/connection before))
                  (merge (select-keys before [::sent])))
              before)
      actions (assoc :milter/response (vec actions))
      (= :message-end event) (dissoc :milter/message))))
