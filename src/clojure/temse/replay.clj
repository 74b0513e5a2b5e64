(ns temse.replay
  "Plays recordings to today's filter, as the recorded MTA would, and reports what it answers differently.

    (print-differences (replay \"recordings\" options))

  A difference is a map of
    :recording     ; the file, or the number of the recording among those given
    :exchange      ; which exchange of its conversation it is, from 0
    :differs       ; set of :verdict, :reply (another code or text of a refusal), :modifications,
                   ; :connection (one of the two filters gave no answer), :agreement (see :exact?)
    :event         ; what was answered
    :expected      ; the recorded answer, nil where none came
    :actual        ; that of today
    :problem       ; why today's did not come, if the connection failed
    :conversation  ; what was played of the message before, with today's answers"
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.log :as log]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.recording.conversation :as conversation]
   [temse.impl.recording.exchange :as exchange]
   [temse.impl.regression :as regression]
   [temse.milter :as milter]
   [temse.record :as record]
   [temse.report :as report])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io Closeable File IOException)
   (java.net SocketException)
   (java.util.function Predicate)
   (temse.client MtaClient MtaOptions MtaSession Script)
   (temse.protocol EventType MilterException)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

;; ---- playing
;;
;; The state of a conversation is {:recording, :script nil where the filter is gone, :played exchanges,
;; :message the number of the first of them that belongs to the message, :spaces, whether the recorded
;; and today's filter get header fields with their leading space, :passes? whether the last answer lets
;; the mail pass, :pending a refusal that came before the recorded one, :differences}.

(defn- macro-type
  "Returns the type of the event that macros are for."
  [{:keys [event stage]}]
  (when (= :define-macro event)
    (EventType/ofKeyword stage)))

(defn- with-space
  "Returns a header event with the leading space as today's filter has agreed to it."
  [{:keys [event] :as e} {:keys [recorded-space? space?]}]
  (cond-> e
    (and (= :header event) space? (not recorded-space?)) (update :value #(str " " %))
    (and (= :header event) recorded-space? (not space?)) (update :value string/replace #"^ " "")))

(defn- difference
  "Returns the difference between the recorded answer and today's, nil for none."
  [{:keys [played message spaces]} [number {:keys [event] expected :response}] actual
   {:keys [name] :as options} problem]
  (let [differs (regression/differs event expected actual (merge options spaces))]
    (when (seq differs)
      (cond-> {:recording name
               :exchange number
               :differs differs
               :event event
               :expected expected
               :actual actual
               :conversation (subvec played message)}
        problem (assoc :problem problem)))))

(defn- content?
  "Returns true for an event, or the stage of macros, whose refusal the SMTP client receives at the end of
  the message."
  [{:keys [event stage]}]
  (contains? #{:header :end-of-headers :body :end-of-message} (or stage event)))

(defn- reported
  "Returns the state with a difference, or nil for none. A refusal of the content that comes before the
  recorded one may still come to the same."
  [state {:keys [event differs expected actual] :as difference} {:keys [exact?]}]
  (cond
    (nil? difference)
    state

    (and (not exact?)
         (content? event)
         (not= :end-of-message (:event event))
         (= #{:verdict} differs)
         (regression/lets-pass? expected))
    (assoc state :pending difference)

    :else
    (update state :differences conj difference)))

(defn- with-pending
  "Returns the state with the difference that was pending."
  [{:keys [pending] :as state}]
  (cond-> state
    pending (-> (dissoc :pending) (update :differences conj pending))))

(defn- exchanged
  "Returns the state after an answer has come, or nil for none."
  [state [_ {:keys [event]} :as numbered] actual nanos options problem]
  (-> state
      (update :played conj {:event event, :response actual, :nanos nanos})
      (cond-> (not (:stage event)) (assoc :passes? (and (some? actual) (regression/lets-pass? actual))))
      (reported (difference state numbered actual options problem) options)))

(defn- settled-before
  "Returns the state after an event that the MTA does not say, since today's filter has settled it."
  [{:keys [pending spaces passes?] :as state} [_ {:keys [event response]} :as numbered]
   {:keys [exact?] :as options}]
  (cond
    (or exact? (not (.owesReply (EventType/ofKeyword (:event event)))))
    state

    (and pending (regression/lets-pass? response) (not= :end-of-message (:event event)))
    state

    pending
    (cond-> state
      (seq (regression/differs event response [(peek (:actual pending))] (merge options spaces))) with-pending
      true (dissoc :pending))

    passes?
    (reported state (difference state numbered [] options nil) options)

    :else
    state))

(defn- mta-options
  "Returns the options of an MTA that makes the recorded offer. Sendmail does not say what it is."
  ^MtaOptions [{:keys [mta]} offer {:keys [timeout]}]
  (-> (if (re-find #"Postfix" (str mta)) MtaOptions/POSTFIX MtaOptions/SENDMAIL)
      (.withOffer (negotiation/offer offer))
      (.withTimeout (keys/duration timeout))))

(defn- play-offer
  [{:keys [recording latest] :as state} open [_ {:keys [event response]} :as numbered] options]
  (let [start (System/nanoTime)
        ^MtaSession session (open (mta-options recording event options))
        script (Script. session (reify Predicate
                                  (test [_ exchange] (some? (vreset! latest exchange)))))
        agreed (.agreement session)
        flag? #(contains? (:protocol %) %2)
        recorded (first response)]
    (.withoutMacros session)
    (when (flag? recorded :no-mail)
      (.withoutMail script))
    (-> state
        (assoc :session session
               :script script
               :spaces {:recorded-space? (flag? recorded :leading-space)
                        :space? (flag? agreed :leading-space)})
        (exchanged numbered [agreed] (- (System/nanoTime) start) options nil))))

(defn- begins-message?
  "Returns true for MAIL and its macros, which come also where MAIL itself is not wanted."
  [event type]
  (= EventType/MAIL (or (macro-type event) type)))

(defn- with-remarks
  "Returns a state with what the MTA makes of its last answer."
  [{:keys [differences] :as state} before remarks]
  (let [add #(conj (pop %) (assoc (peek %) :remarks remarks))]
    (cond-> (update state :played add)
      (not= (count differences) (count (:differences before))) (update :differences add))))

(defn- play-event
  [{:keys [^Script script latest spaces played] :as state} [_ {:keys [event]} :as numbered] options]
  (let [type (EventType/ofKeyword (:event event))
        state (cond-> state
                (not (content? event)) with-pending
                (begins-message? event type) (assoc :message (count played)))]
    (vreset! latest nil)
    (.play script [(with-space event spaces)])
    (if-let [{:keys [response nanos remarks]} @latest]
      (cond-> (exchanged state numbered (conversation/joined response) (or nanos 0) options nil)
        remarks (with-remarks state remarks))
      (settled-before state numbered options))))

(defn- play-exchange
  [{:keys [script] :as state} open [_ {:keys [event]} :as numbered] options]
  (try
    (cond
      (= :options (:event event)) (play-offer state open numbered options)
      (and script (EventType/ofKeyword (:event event))) (play-event state numbered options)
      :else state)
    (catch IOException e
      (when (and (nil? script) (instance? SocketException e))
        (throw e))
      (-> (exchanged state numbered nil 0 options (ex-message e))
          (assoc :script nil)))
    (catch MilterException e
      (-> (exchanged state numbered nil 0 options (ex-message e))
          (assoc :script nil)))))

(defn- play
  "Returns the differences of one recording. `open` returns a session with the filter, given the options
  of an MTA."
  [open {:keys [conversation] :as recording} {:keys [before-exchange] :as options}]
  (let [state (reduce (fn [state numbered]
                        (when before-exchange
                          (before-exchange))
                        (play-exchange state open numbered options))
                      {:recording recording, :latest (volatile! nil), :played [], :message 0
                       :differences []}
                      (map-indexed vector conversation))]
    (some-> ^MtaSession (:session state) .drop)
    (:differences (with-pending state))))

(def ^:private table
  "Options of replay."
  {:ignore ["names of header fields, or a function"
            #(or (nil? %) (and (coll? %) (every? string? %)) (options/callable? %))]
   :exact? keys/truth
   :timeout (conj keys/milliseconds 30000)
   :on-recording ["a function" options/callable?]})

(defn- check-given
  "Returns a recording. Throws an IllegalArgumentException that names what is wrong in it."
  [number {:keys [conversation file] :as recording}]
  (try
    (doall (map-indexed exchange/check conversation))
    recording
    (catch ExceptionInfo e
      (throw (IllegalArgumentException. (str (or file (str "recording " number)) ": " (ex-message e)) e)))))

(defn- all-recordings
  [given]
  (let [recordings (cond
                     (or (string? given) (instance? File given)) (record/read-recordings given)
                     (map? given) [given]
                     :else given)]
    (when-not (and (sequential? recordings) (every? (comp sequential? :conversation) recordings))
      (throw (IllegalArgumentException.
               (str "recordings are maps with a :conversation, or the path of some, not "
                    (keys/shown given)))))
    (doall (map-indexed check-given recordings))))

(defn- play-all
  [open recordings {:keys [on-recording] :as options}]
  (into []
        (comp (map-indexed (fn [number {:keys [file redacted] :as recording}]
                             (let [differences (play open recording (-> options
                                                                        (assoc :name (or file number)
                                                                               :redacted? (boolean redacted))
                                                                        (update :ignore regression/ignoring)))]
                               (when on-recording
                                 (on-recording recording))
                               differences)))
              cat)
        recordings))

(defn- at-address
  [^String address]
  (let [endpoint (Endpoint/parse address)]
    (fn [^MtaOptions mta] (MtaClient/connect endpoint mta))))

(defn ^:no-doc replay-here
  "As `replay`, with a filter whose handlers are called by the calling thread, without a socket.
  `before-exchange`, a function without arguments, is called before each exchange; what it throws ends
  the replay."
  [recordings filter given & [before-exchange]]
  (let [options (keys/with-defaults "the options of replay" given table)
        filter (options/of-filter filter)
        {:keys [name] :as checked} (options/check filter)
        factory (milter/factory filter)]
    (play-all (fn [mta]
                (MtaClient/inProcess factory (options/engine checked) (log/listener name nil) mta))
              (all-recordings recordings)
              (assoc options :before-exchange before-exchange))))

(defn replay
  "Plays recordings to a filter and returns a vector of the differences, [] where there are none.

  `recordings` is a recording, a sequence of these, or the path of a file or directory with some.
  The filter is a map of handlers or of options of start-milter, which is started on a free port
  meanwhile, a running server, or the address of any milter.

    :ignore   ; names of header fields whose values may differ, such as [\"X-Scanned-At\"]; or a
              ; function of an action that returns what is compared, nil for nothing
    :exact?   ; true to compare every answer as it is, and what was agreed with the MTA (default: false)
    :timeout  ; milliseconds to wait for each answer (default: 30000)
    :on-recording ; a function that is called with each recording when it has been played

  Compared is what comes of a mail. Whether it is accepted or not refused at its end makes no
  difference, nor does skip, nor at which of its parts, from the first header field on, it is refused, nor
  how it is changed if it is not delivered. Changes of headers, of recipients and of other parts may
  come in another order.

  What the MTA would not have sent after today's answers is not played: the rest of a message that
  today's filter has refused or accepted. Packets that could not be decoded are not played either. Of a
  redacted recording what was taken out is not compared.

  Throws an IOException where the filter cannot be reached, and ex-info or an IllegalArgumentException
  that names the file or number, exchange, key and value of a recording that is damaged: nothing is
  played then.

    (replay \"recordings\" {:handlers handlers} {:ignore [\"Date\"]})"
  ([recordings filter]
   (replay recordings filter {}))
  ([recordings filter options]
   (let [options (keys/with-defaults "the options of replay" options table)
         recordings (all-recordings recordings)]
     (cond
       (string? filter) (play-all (at-address filter) recordings options)
       (instance? Closeable filter) (play-all (at-address (milter/milter-address filter)) recordings options)
       :else (milter/with-milter [server (-> (options/of-filter filter)
                                             (dissoc :host :socket-path :address :join?)
                                             (assoc :port 0))]
               (play-all (at-address (milter/milter-address server)) recordings options))))))

;; ---- reporting

(defn- answer-lines
  [actions problem]
  (cond
    (nil? actions) [(if problem (str "no answer: " problem) "no answer")]
    (= [] actions) ["continue"]
    :else (mapv line/action-text actions)))

(defn- agreement-lines
  [[answer]]
  (for [k regression/agreed-keys
        :let [value (get answer k)]
        :when value]
    (str (name k) " " (string/join " " (if (set? value) (map name (sort value)) [value])))))

(defn- compared-lines
  "Returns the two answers as lines that differ where the answers do."
  [{:keys [differs expected actual problem]}]
  (if (and (differs :agreement) expected actual)
    (report/difference (agreement-lines expected) (agreement-lines actual))
    (let [then (answer-lines expected nil)
          now (answer-lines actual problem)]
      (if (= then now)
        (report/difference (map pr-str expected) (map pr-str actual))
        (report/difference then now)))))

(defn- difference-lines
  [{:keys [recording exchange differs event conversation remarks] :as difference}]
  (concat
    [(str recording ", exchange " exchange ", " (line/event-text event) ": differs in "
          (string/join ", " (map name (sort differs))))]
    (report/ladder {:conversation (remove #(= :define-macro (:event (:event %))) conversation)})
    [(str "  MTA  --> " (line/event-text event))]
    (map #(str "     " (subs % 0 2) "<-- " (subs % 2)) (compared-lines difference))
    (map #(str "        !  " (report/remark-text %)) remarks)))

(defn print-differences
  "Prints differences: of each the message so far as a ladder, and the recorded and today's answer,
  marked - and +."
  [differences]
  (doseq [difference differences]
    (run! println (difference-lines difference))
    (newline)))
