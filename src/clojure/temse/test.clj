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
   [clojure.java.io :as io]
   [temse.impl.direct-call :as direct-call]
   [temse.impl.events :as events]
   [temse.impl.keys :as keys]
   [temse.impl.mta.rules :as rules]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.played-events :as played-events]
   [temse.impl.return-value :as return-value]
   [temse.impl.session :as session]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.mta :as mta]
   [temse.report :as report]
   [temse.test.expect :as expect])
  (:import
   (java.io Closeable IOException)
   (java.lang.reflect Method)
   (java.time InstantSource)
   (java.util.concurrent ExecutionException ExecutorService Executors Future)
   (temse.client Mail MtaSession)
   (temse.client.internal BriefMap)
   (temse.protocol EventCodec MacroTable Negotiation Offer ProtocolFlag Transaction)
   (temse.server MilterConnection)))

(set! *warn-on-reflection* true)

;; ---- sessions

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
  session/offers)

(def postfix
  "The offer of a current Postfix."
  (:postfix offers))

(def sendmail
  "The offer of a current Sendmail."
  (:sendmail offers))

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
   (session/connected filter (keys/with-defaults "the options of connect-to" options session/connect-options))))

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

(defn send-macros
  "Sends macros for the event of that name, which is to follow: it comes without those that the MTA
  would send before it otherwise.

    (send-macros session :mail {\"auth_authen\" \"alice\"})
    (send-event session {:event :mail :sender \"<alice@example.org>\"})"
  [session stage macros]
  (send-event session {:event :define-macro
                       :command (session/macro-letter stage)
                       :definitions macros})
  nil)

(def ^:private verdicts
  "By what becomes of a mail."
  {:delivered :accept, :held :accept, :no-recipients :accept, :refused :reject
   :deferred :temporary-failure, :discarded :discard})

(defn- with-outcome
  "Returns the report with what the SMTP client receives and how the mail ends, unless a fault
  ended it, or the MTA has hung up before."
  [^MtaSession session sent {:keys [verdict conversation modifications] :as report}]
  (cond
    (nil? verdict)
    (assoc report :message nil)

    (and (= :temporary-failure verdict) (empty? conversation))
    (assoc report :message nil, :smtp {}, :fate :deferred)

    :else
    (let [mta (session/mta session)
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
  (session/check-client options)
  (let [session (session/connected filter options)]
    (try
      (.greet session (session/client-event client) hello)
      session
      (catch Throwable e
        (.close session)
        (throw e)))))

(defn- played
  "Plays a mail over a session and returns the report."
  [^MtaSession session ^Mail mail]
  (let [sent (.toMap mail)
        {:keys [conversation] :as report} (.deliver session mail)
        explained (session/with-reasons session conversation)
        errors (session/take-errors session conversation)]
    (BriefMap/of
      (cond-> (assoc (with-outcome session sent report)
                     :responses (mapv (fn [{:keys [event response]}] [(:event event) response]) conversation)
                     :conversation explained
                     :sent sent
                     :agreement (agreement session))
        errors (assoc :errors errors)))))

(defn- unstarted
  "Returns the report of a mail to a filter that has failed before it answered the offer, or nil if the
  exception is about something else."
  [options ^Mail mail e]
  (when-let [errors (session/start-errors e)]
    (BriefMap/of
      {:verdict nil
       :at :options
       :reply nil
       :modifications []
       :recipients {}
       :responses [[:options []]]
       :conversation [{:event (.event (.offer (session/mta-options options))), :response []}]
       :sent (.toMap mail)
       :message nil
       :closed-by :milter
       :problem (ex-message e)
       :errors errors})))

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
      (conj (pop reports) (session/with-late-errors (peek reports) session)))
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

(defn- as-seen
  "Returns the options with the client, its greeting and the macros with which a message filter has
  seen the mail, where the options have none."
  [options mail]
  (if (map? mail)
    (let [{:keys [client macros]} mail
          {:keys [family greeting]} client
          connected (select-keys client (if (#{:unix :unknown} family)
                                          [:host-name]
                                          [:host-name :address :port]))]
      (merge (cond-> {}
               (seq connected) (assoc :client connected)
               greeting (assoc :hello greeting)
               (seq macros) (assoc :macros macros))
             options))
    options))

(defn run-message
  "Plays one message to a filter and returns a report:

    :verdict       ; :accept, :reject, :temporary-failure or :discard
    :at            ; the event that settled it
    :reply         ; the reply that did
    :modifications ; what the filter changed, in order; a replaced body is one action
    :recipients    ; map of recipient to the reply it got
    :responses     ; vector of [event actions]
    :conversation  ; vector of {:event :response :nanos}; of a filter in this process each action has its
                   ; :why as metadata
    :sent          ; the message as it was, a map
    :smtp          ; what the SMTP client receives at each stage, see temse.mta/outcome
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
  one of these under :message and an envelope beside it. A message that a message filter has seen is
  played with its client and macros. Options are those of `connect-to` and
    :client        ; {:host-name :address :port} of the SMTP client
    :hello         ; its greeting (default: \"client.example.org\")

  Options are used where a connection is made; on a session the client stays what it was.

    (:message (run-message {:handlers handlers} (io/file \"spam.eml\")))"
  ([filter mail]
   (run-message filter mail {}))
  ([filter mail options]
   (if (instance? MtaSession filter)
     (do (session/check-unused options)
         (session/take-errors filter nil)
         (played filter (mail/->mail mail)))
     (let [options (keys/with-defaults "the options of run-message" (as-seen options mail) session/message-options)]
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
    :connections ; how many; each takes every n-th message (default: 10)

  Throws what one of them has thrown.

    (frequencies (map :verdict (run-many server (read-mbox (io/file \"inbox\")))))"
  ([filter mails]
   (run-many filter mails {}))
  ([filter mails options]
   (let [{:keys [connections] :as options} (keys/with-defaults "the options of run-many" options
                                                                session/many-options)
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

(defn read-conversation
  "Returns the conversation that a File, URL or other source of `slurp` holds as EDN, or a string
  that is EDN itself: a vector as for `run-conversation`, or a map that has it under :conversation.
  Tags: #re \"pattern\" for texts, #temse/bytes \"base64\" for bodies.

    (read-conversation (io/resource \"conversations/lottery.edn\"))"
  [source]
  (played-events/read-source source))

(defn run-conversation
  "Plays a whole conversation, one connection of an MTA, to a filter and compares the answers with
  those expected. A conversation is a vector of exchanges, what recordings and reports hold under
  :conversation, or a map with that key, or a source of `read-conversation`:

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
   (let [[{:keys [event response] :or {response '_}} & more :as exchanges] (played-events/exchanges conversation)
         negotiation? (= :options (:event event))]
     (if (instance? MtaSession filter)
       (do (session/check-unused options)
           (session/take-errors filter nil)
           (played-events/conversed filter
             (when negotiation?
               (played-events/negotiation-step event response (agreement filter)))
             (if negotiation? more exchanges)))
       (try
         (let [session (connect-to filter (cond->> options negotiation? (merge {:offer event})))]
           (-> (with-open [session session]
                 (run-conversation session exchanges))
               (session/with-late-errors session)))
         (catch IOException e
           (if-let [errors (session/start-errors e)]
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
  "Reports the outcome of a check to clojure.test; `text` prints the description of a failure."
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
  "Runs a conversation as `run-conversation` does and reports to clojure.test whether all was as
  expected: a failure shows the conversation as a ladder with the difference in its place. Returns
  the result.

    (deftest the-lottery-is-refused
      (check-conversation {:handlers handlers} (io/resource \"conversations/lottery.edn\")))"
  ([filter conversation]
   `(checked-conversation ~(place &form) ~filter ~conversation {}))
  ([filter conversation options]
   `(checked-conversation ~(place &form) ~filter ~conversation ~options)))

(defmacro check-message
  "Plays a message as `run-message` does and reports to clojure.test whether the keys of the report that
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

(defn context
  "Returns a context for calling handlers by hand. Its connection records what send-action sends, and
  refuses what could be sent at no event, or was not agreed.

    (on-header {:event :header :name \"Subject\" :value \"hi\"} (context))

  :actions    ; agreed actions (default: all)
  :macros     ; map of stage to {name value}
  :envelope   ; what temse.envelope knows by events: :client-address :client-name :client-port
              ; :hello-name :sender :recipients :smtputf8? :receive-time
  Other keys are put into the context; one that looks like a misspelt option is refused."
  ([]
   (context {}))
  ([{:keys [actions macros envelope] :as given}]
   (direct-call/check-context given)
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
         connection (direct-call/sending agreement table sent)
         agreed (negotiation/agreement-map agreement)]
     (BriefMap/of
       (merge (dissoc given :actions :macros :envelope)
              {:milter/connection connection
               :socket connection
               :milter/info {:id 0 :peer "test" :name "test"}
               :milter/agreement agreed
               :milter/envelope (Transaction/known (or envelope {}) table)
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
      (direct-call/check-response (.agreement ^MilterConnection (:milter/connection context))
                                  (direct-call/event-of actions)
                                  true
                                  actions))))

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
        macros (some-> ^MilterConnection (:milter/connection context) .macros)
        before (cond-> (dissoc context :milter/response)
                 ;; an event with nothing but its name says nothing
                 (and macros (next e)) (update :milter/envelope
                                         #(some-> ^Transaction %
                                                  (.after type e macros (InstantSource/system)))))
        sent (::sent before)
        _ (some-> sent (reset! {:actions [], :checked? true}))
        returned (direct-call/awaited (when handler (handler e before)))
        actions (return-value/actions-of e returned)]
    (when sent
      (direct-call/check-answer type handler (:milter/connection before) (into (:actions @sent) actions)))
    (cond-> (if (map? returned)
              (-> (return-value/next-context before returned)
                  (return-value/at-event (:milter/connection before))
                  (merge (select-keys before [::sent :milter/envelope])))
              before)
      actions (assoc :milter/response (vec actions))
      (= :message-end event) (-> (dissoc :milter/message)
                                 (update :milter/envelope #(some-> ^Transaction % (.ended type)))))))
