(ns temse.test.check
  "Looks for bugs in a filter with hundreds of generated conversations.

    (deftest the-filter-is-right
      (let [result (check-filter handlers)]
        (is (:pass? result) (with-out-str (print-findings result)))))

  Requires org.clojure/test.check, which temse does not bring along: see temse.test.generators."
  (:require
   [clojure.string :as string]
   [temse.impl.events :as events]
   [temse.impl.failure :as failure]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.text :as text]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.report :as report]
   [temse.test :as mt]
   [temse.test.generators :as generators])
  (:import
   (clojure.lang IPersistentMap)
   (java.io ByteArrayOutputStream IOException)
   (java.util.concurrent.locks LockSupport)
   (java.util.function Predicate)
   (temse.client MtaClient MtaOptions MtaSession Script)
   (temse.client.internal BriefMap)
   (temse.protocol ActionCodec EventType MilterException MilterException$Category Text)
   (temse.server MilterConnection MilterFactory MilterHandler ServerListener)))

(set! *warn-on-reflection* true)

;; Loaded after temse.test.generators, which says what to do where it is missing.
(require '[clojure.test.check.generators :as gen])

(defn- play-events
  "Plays events as far as an MTA would. Returns false if the filter has gone."
  [^Script script events]
  (try
    (.play script events)
    true
    (catch IOException _
      false)))

(defn- script
  "Returns a script for a new session. `on-exchange` is called with each exchange, {:event :response}, with
  :nanos where the filter has received it; nothing more is sent once it returns false."
  ^Script [^MtaSession session on-exchange]
  (Script. session (reify Predicate
                     (test [_ exchange] (boolean (on-exchange exchange))))))

(defn play
  "Plays a conversation of temse.test.generators, a vector of events, to a filter and returns the
  exchanges, {:event :response :nanos}. Left out is what the filter does not want, and what an MTA
  does not say after the filter's replies. Filter and options are those of temse.test/connect-to.

  Throws :unexpected-event where no MTA sends the event.

    (play {:handlers handlers} [{:event :connect, :host-name \"localhost\", :family :unknown}
                                {:event :hello, :greeting \"localhost\"}
                                {:event :quit}])"
  ([filter conversation]
   (play filter conversation {}))
  ([filter conversation options]
   (run! events/check conversation)
   (let [session (mt/connect-to filter options)
         exchanges (volatile! [])]
     (try
       (play-events (script session #(vswap! exchanges conj %)) conversation)
       (filterv :nanos @exchanges)
       (finally
         (.drop session))))))

;; ---- what the library reports

(defn- finding
  "Returns a finding at an event of what was sent in a trial, the MTA's offer first."
  [trial exchanges kind event explanation]
  (merge {:kind kind
          :event event
          :explanation explanation
          :conversation (filterv #(or (:nanos %) (= :options (:event (:event %)))) exchanges)
          :events (mapv :event (rest exchanges))}
         (select-keys trial [:mta :offer :macros])))

(defn- error-finding
  "Returns the finding of an error at an event."
  [{:keys [handlers]} trial exchanges event error]
  (let [{:keys [kind explanation] :as failure} (failure/of event error (get handlers event))]
    (BriefMap/of (merge (finding trial exchanges kind event explanation) failure))))

(defn- reporting
  "Returns a listener that records the failures of handlers."
  ^ServerListener [failed]
  (reify ServerListener
    (failed [_ _connection type _event error]
      (failed (.-keyword ^EventType type) error))))

(deftype ^:private WatchedConnection [^MilterConnection connection owner too-late]
  MilterConnection
  (id [_] (.id connection))
  (peer [_] (.peer connection))
  (agreement [_] (.agreement connection))
  (macros [_] (.macros connection))
  (settledBy [_] (.settledBy connection))
  (transaction [_] (.transaction connection))
  (^void send [_ ^IPersistentMap action]
    (try
      (.send connection action)
      (catch MilterException e
        (when (= MilterException$Category/STALE_CONTEXT (.category e))
          (too-late e))
        (throw e))))
  (progress [_] (.progress connection))
  (awaitMaps [_ stage whenDone givenUp] (.awaitMaps connection stage whenDone givenUp))
  (close [_] (.close connection))

  Object
  (hashCode [_] (.hashCode ^Object owner))
  (equals [_ other]
    (and (instance? WatchedConnection other)
         (identical? owner (.-owner ^WatchedConnection other)))))

(defn- watching
  "Returns the factory, whose handlers get connections that record what is sent too late. The handler
  that runs is kept in an atom, as `begun` describes it."
  ^MilterFactory [^MilterFactory factory too-late running begun]
  (reify MilterFactory
    (open [_ connection]
      (let [handler (.open factory connection)
            owner (Object.)
            watched #(WatchedConnection. % owner too-late)]
        (reify MilterHandler
          (request [_ connection offer]
            (.request handler (watched connection) offer))
          (negotiated [_ agreement]
            (.negotiated handler agreement))
          (onEvent [_ connection type event]
            (let [outer (first (reset-vals! running (begun (.-keyword ^EventType type))))]
              (try
                (.onEvent handler (watched connection) type event)
                (finally
                  (reset! running outer)))))
          (onError [_ connection error type event]
            (.onError handler (watched connection) error type event))
          (scopeEnded [_ type]
            (.scopeEnded handler type)))))))

;; ---- connections

(defn- mta-options
  ^MtaOptions [{:keys [mta offer macros]}]
  (-> (if (= :sendmail mta) MtaOptions/SENDMAIL MtaOptions/POSTFIX)
      (.withOffer (negotiation/offer offer))
      (.withMacros macros)))

(defn- expired?
  "Returns true if the time limit is over."
  [{:keys [deadline]}]
  (neg? (- (long deadline) (System/nanoTime))))

(defn- observe
  "Makes a connection and calls `talk` with a script on it and the atom of the exchanges so far.
  Returns {:value :exchanges}, what talk has returned and what was sent, and what went wrong first as
  :finding: nothing is sent after that, or after the time limit."
  [{:keys [factory engine late running] :as check} {:keys [offer] :as trial} talk]
  (let [exchanges (atom [])
        failure (atom nil)
        too-late (fn [error]
                   (let [{:keys [event]} (:event (peek @exchanges))]
                     (swap! late conj (error-finding check trial @exchanges event error))))
        failed (fn [& event-and-error] (swap! failure #(or % event-and-error)))
        on-exchange (fn [exchange]
                      (swap! exchanges conj exchange)
                      (not (or @failure (expired? check))))
        begun (fn [event]
                {:event event, :since (System/nanoTime), :trial trial, :exchanges exchanges})
        value (try
                (let [session (MtaClient/inProcess (watching factory too-late running begun)
                                                   engine
                                                   (reporting failed)
                                                   (mta-options trial))]
                  (try
                    (on-exchange {:event offer, :response [(.agreement session)]})
                    (talk (script session on-exchange) exchanges)
                    (finally
                      (.drop session))))
                (catch IOException _
                  nil))]
    (cond-> {:value value, :exchanges @exchanges}
      @failure (assoc :finding (apply error-finding check trial @exchanges @failure)))))

;; ---- the same message under other circumstances

(defn- opening
  "Returns the events that opened the last client's session."
  [conversation]
  (let [client (last (remove #(= [:disconnect] (map :event %))
                             (partition-by #(= :disconnect (:event %)) conversation)))]
    (into [(first client)] (take-last 1 (filter #(= :hello (:event %)) client)))))

(defn- play-message
  "Plays events, and then a message, between whose parts `meanwhile` is called. The :value are the
  message's exchanges, nil where the MTA could not send it."
  ([check trial before message]
   (play-message check trial before message (fn [])))
  ([check trial before message meanwhile]
   (observe check trial
            (fn [^Script script exchanges]
              (play-events script before)
              (when (.inMessage (.dialogue script))
                (play-events script [{:event :abort}]))
              (let [before-it (count @exchanges)
                    [one other] (split-at (quot (* 2 (count message)) 3) message)]
                (when (.may (.dialogue script) EventType/MAIL)
                  (when (play-events script one)
                    (meanwhile)
                    (play-events script other))
                  (subvec @exchanges before-it)))))))

(defn- comparable
  "Returns an exchange as a value that is equal to others that say the same."
  [{:keys [event response]}]
  (into [(:event event)]
        (map (fn [action] (update-vals action #(if (bytes? %) (Text/decode %) %))))
        response))

(defn- actions-text
  [actions]
  (if (seq actions)
    (string/join ", " (map line/action-text actions))
    "nothing"))

(defn- parting
  "Returns the first pair of exchanges that say different things, or nil."
  [expected actual]
  (first (drop-while (fn [[a b]] (= (comparable a) (comparable b))) (map vector expected actual))))

(defn- parted
  "Returns the finding that a message was answered otherwise than on a connection of its own, or nil."
  [trial kind alone other circumstances]
  (when-let [[expected actual] (parting (:value alone) (:value other))]
    (let [{:keys [event]} (:event actual)]
      (assoc (finding trial
                      (:exchanges other)
                      kind
                      event
                      (str "at " event " " circumstances " is answered by " (actions-text (:response actual))
                           ", on a connection of its own by " (actions-text (:response expected))))
             :alone (filterv :nanos (:exchanges alone))))))

(defn- verdict
  [{:keys [response]}]
  (let [reply (peek response)]
    (if reply (str (ActionCodec/verdict reply)) "CONTINUE")))

(defn- one-body
  "Returns actions with the pieces of a replaced body in one, as text, and without progress."
  [actions]
  (let [{pieces true, others false} (group-by #(= :change-body (:action %)) actions)
        body (ByteArrayOutputStream.)]
    (run! #(.writeBytes body (:body %)) pieces)
    (cond-> (filterv #(not= :progress (:action %)) others)
      pieces (conj {:action :change-body, :body (Text/decode (.toByteArray body))}))))

(defn- outcome
  "Returns what a message has come to, whichever event has settled it: the reply to each recipient, the
  reply that settled it, and the changes."
  [exchanges]
  (let [final? #(not (#{"CONTINUE" "ACCEPT" "SKIP"} (verdict %)))
        of #(= %1 (:event (:event %2)))
        end (first (filter #(of :end-of-message %) exchanges))]
    [(mapv verdict (filter #(of :recipient %) exchanges))
     (some #(when (and (final? %) (not (of :recipient %))) (peek (:response %))) exchanges)
     (when-not (some-> end final?)
       (one-body (remove #(#{:accept :continue} (:action %)) (:response end))))]))

(defn- outcome-text
  [[recipients reply changes]]
  (actions-text (cond-> (vec changes)
                  reply (conj reply)
                  (empty? (concat changes (when reply [reply])))
                  (conj {:action (if (every? #{"REJECT" "TEMPORARY_FAILURE"} recipients) :reject :accept)}))))

(defn- lower-case
  "Returns a value with all texts in lower case."
  [value]
  (cond
    (string? value) (text/lower-case value)
    (map? value) (update-vals value lower-case)
    (sequential? value) (mapv lower-case value)
    :else value))

(defn- in-pieces
  "Returns the message with its body in pieces of these sizes, or nil if it has none to speak of."
  [message sizes]
  (let [body (ByteArrayOutputStream.)]
    (run! #(.writeBytes body (:data %)) (filter #(= :body (:event %)) message))
    (when (< 1 (.size body))
      (let [pieces (generators/pieces (.toByteArray body) sizes)]
        (into []
              (comp (partition-by #(= :body (:event %)))
                    (mapcat #(if (= :body (:event (first %))) pieces %)))
              message)))))

(defn- skipping?
  [{:keys [value]}]
  (some #(= "SKIP" (verdict %)) value))

(def ^:private variations
  "How a message is varied that should be answered alike: kind, what makes the varied message of a
  trial (or nil), what makes outcomes comparable, and words."
  [{:kind :pieces
    :varied (fn [{:keys [message sizes]}] (in-pieces message sizes))
    :comparable identity
    :words "with its body in other pieces"}
   {:kind :case
    :varied (fn [{:keys [message upper?]}]
              (generators/with-names (if upper? text/upper-case text/lower-case) message))
    :comparable lower-case
    :words "with the names of its fields in another case"}])

(defn- variation-finding
  "Returns the finding that a message, which `play` plays, comes to something else than alone when it is
  varied, or nil."
  [play trial alone {:keys [kind varied comparable words]}]
  (when-let [varied (varied trial)]
    (let [{:keys [value] :as other} (play varied)
          outcomes (map (comp outcome :value) [alone other])
          same? #(apply = (map comparable %))]
      (or (:finding other)
          (when (and value
                     (:value alone)
                     (not-any? skipping? [alone other])
                     (not (same? outcomes))
                     (same? [(first outcomes) (outcome (:value (play (:message trial))))]))
            (assoc (finding trial
                            (:exchanges other)
                            kind
                            (:event (:event (peek value)))
                            (str "the message " words " comes to " (outcome-text (second outcomes))
                                 ", as it was to " (outcome-text (first outcomes))))
                   :alone (filterv :nanos (:exchanges alone))))))))

(defn- comparison-finding
  "Returns the finding that a message is answered otherwise the second time, after a conversation, while
  another message is under way, or when it is varied; or nil. A filter whose answers depend on more
  than a connection on purpose is compared where it answers alike twice."
  [{:keys [client-state? global-state?] :as check} {:keys [conversation message other] :as given}]
  (let [trial (assoc-in given [:macros "i"] "4TEMSE0001")
        client (opening conversation)
        said (filterv #(not= :quit (:event %)) conversation)
        nobody? (= :disconnect (:event (peek said)))
        before (cond
                 nobody? (into said client)
                 client-state? (-> said (conj {:event :disconnect}) (into client))
                 :else said)
        play #(play-message check trial client %)
        alone (play message)
        global (fn [other circumstances]
                 (when-not global-state?
                   (parted trial :global-state alone other circumstances)))
        again (play message)
        compared (fn [kind circumstances play-other]
                   (let [other (play-other)]
                     (or (:finding other)
                         (when-let [found (parted trial kind alone other circumstances)]
                           (let [again (play message)]
                             (cond
                               (parting (:value alone) (:value again))
                               (global again "the message, said again later,")

                               (not (and global-state? (= :global-state kind)))
                               found))))))]
    (or (:finding alone)
        (:finding again)
        (if (parting (:value alone) (:value again))
          (global again "the message, said a second time,")
          (or (compared :leak "the last message" #(play-message check trial before message))
              (compared :global-state "the message, while another one was under way,"
                        #(play-message check trial client message
                                       (fn [] (play-message check trial client other))))
              (some #(variation-finding play trial alone %) variations))))))

;; ---- trials

(defn- trials
  "Returns the generator of what one run tries."
  [{:keys [mta offer mails]}]
  (let [message (if (seq mails)
                  (gen/frequency [[3 (generators/message-of mails)] [1 generators/message]])
                  generators/message)]
    (gen/hash-map :mta (if mta (gen/return mta) (gen/elements [:postfix :sendmail]))
                  :offer (if offer (gen/return (.event (negotiation/offer offer))) generators/offer)
                  :macros generators/macros
                  :conversation (gen/frequency [[2 (generators/conversation-of message)]
                                                [1 (generators/nasty-conversation-of message)]])
                  :message message
                  :other message
                  :sizes generators/piece-sizes
                  :upper? gen/boolean)))

(def ^:private checks
  "What is done with a trial, in turn: functions that return a finding or nil."
  [(fn [check {:keys [conversation] :as trial}]
     (:finding (observe check trial (fn [script _] (play-events script conversation)))))
   comparison-finding])

(def ^:private signature
  "What makes two findings one."
  (juxt :kind :event (comp class :error)))

(defn- shrinking-steps
  [{:keys [kind]}]
  (if (= :handler-timeout kind) 40 200))

(defn- judged
  "Returns what a check finds in a trial. What the time limit has cut short is not compared."
  [f check trial]
  (when-let [found (f check trial)]
    (when (or (:error found) (not (expired? check)))
      found)))

(defn- smallest
  "Returns the finding again that trees of smaller trials have, with the smallest one."
  [judge check found trees]
  (loop [found found, trees trees, steps (long (shrinking-steps found))]
    (if-let [[[trial smaller] & others] (when (and (pos? steps) (not (expired? check)))
                                          (seq trees))]
      (let [again (judge trial)]
        (if (= (signature found) (some-> again signature))
          (recur again smaller (dec steps))
          (recur found others (dec steps))))
      found)))

(defn- new-finding
  "Returns what is wrong in a run and was not found before, shrunk; or nil."
  [check generator seed run findings]
  (let [run (long run)
        [trial smaller] (generators/sample-tree generator (+ (long seed) run) (rem run 60))]
    (some (fn [f]
            (let [judge (partial judged f check)
                  found (judge trial)]
              (when (and found (not (contains? findings (signature found))))
                (smallest judge check found smaller))))
          checks)))

(defn- search
  "Makes runs until the time limit is over, and keeps how many were made and the findings by signature in
  the atom `progress`."
  [{:keys [progress] :as check} generator seed runs]
  (loop [run 0]
    (when-not (or (= run runs)
                  (expired? check)
                  (some #(= :handler-timeout (:kind %)) (vals (:findings @progress))))
      (let [found (new-finding check generator seed run (:findings @progress))]
        (swap! progress #(cond-> %
                           found (assoc-in [:findings (signature found)] found)
                           (not (expired? check)) (assoc :runs (inc run))))
        (recur (inc run))))))

;; ---- the time that it takes

(def ^:private grace-millis
  "How long a handler may run on after the time limit."
  1000)

(defn- print-progress
  [{:keys [runs of findings millis]}]
  (println (str "check-filter: " runs " of " of " conversations after " (quot (long millis) 1000) " s"
                (when (pos? (long findings)) (str ", " findings " found")))))

(defn- stuck
  "Returns the finding of a handler that runs on, or nil."
  [{:keys [running]} ^Thread searching]
  (when-let [{:keys [event since trial exchanges]} @running]
    (let [seconds (quot (- (System/nanoTime) (long since)) 1000000000)]
      (assoc (finding trial @exchanges :blocked event
                      (str "the handler of " event " had not returned after " seconds
                           (if (= 1 seconds) " second" " seconds")))
             :trace (failure/own-frames (.getStackTrace searching))))))

(defn- in-time
  "Calls f on a thread of its own, and `report` once in a while as long as that takes, at most until the
  deadline and a grace are over. Returns the progress made, with the finding of a handler that blocks
  even then as :blocked."
  [{:keys [deadline progress] :as check} f report]
  (let [done (promise)
        work (bound-fn []
               (deliver done (try
                               (f)
                               (catch Throwable e
                                 e))))
        searching (doto (Thread. ^Runnable work "temse-check-filter")
                    (.setDaemon true)
                    (.start))
        start (System/nanoTime)
        end (+ (long deadline) (* 1000000 (long grace-millis)))]
    (try
      (loop [wait 1000]
        (let [left (max 1 (quot (- end (System/nanoTime)) 1000000))
              value (deref done (min wait left) ::late)]
          (cond
            (instance? Throwable value) (throw value)
            (not= ::late value) @progress
            (= 1 left) (assoc @progress :blocked (stuck check searching))
            :else (do (report (quot (- (System/nanoTime) start) 1000000))
                      (recur (min 10000 (* 2 wait)))))))
      (finally
        (.interrupt searching)))))

(def ^:private late-nanos
  "How long to wait for what is sent after the last conversation."
  50000000)

(def ^:private table
  "Options of check-filter."
  {:runs ["a number, 0 or more" nat-int? 300]
   :seed ["a number" int?]
   :mta [":postfix or :sendmail" #{:postfix :sendmail}]
   :offer ["an :options event" map?]
   :mails ["a sequence of mails, as temse.test/run-message takes them" #(or (nil? %) (sequential? %))]
   :client-state? keys/truth
   :global-state? keys/truth
   :timeout (conj keys/milliseconds 250)
   :time-limit (conj keys/milliseconds 60000)
   :on-progress ["a function or var" ifn? print-progress]})

(defn check-filter
  "Plays generated conversations to a filter, in this process, and returns what is wrong with it:

    {:pass? false
     :runs 300
     :seed 42
     :findings [{:kind :exception
                 :event :header              ; where it showed
                 :explanation \"the handler of :header threw …\"
                 :error throwable
                 :trace [\"my.filter$on_header.invoke(filter.clj:12)\"]
                 :conversation [{:event … :response […]} …] ; the MTA's offer first
                 :events [{:event :connect …} …] ; what to `play` to see it again, with the options
                 :mta :postfix, :offer {…}, :macros {…}}]}

  A finding comes once per kind, event and class of error, with a conversation as small as possible.
  Kinds are the library's errors,
    :handler-timeout        ; a pending value never came: a forgotten reply
    :double-reply           ; two replies to one event
    :late-action            ; a change after the reply
    :stale-context          ; an action was sent when the event was over
    :bad-handler-return     ; a handler returned what means nothing, or a channel that closed
                            ; without a value
    :reply-not-allowed      ; an action that may not answer this event
    :action-not-negotiated  ; a change that was not agreed with this MTA
    :bad-action             ; an action that cannot travel: a key is missing, a text is too long …
  and
    :exception              ; a handler threw
    :leak                   ; a message is answered otherwise after what came before it on the
                            ; connection; the finding has :alone, the exchanges on one of its own
    :global-state           ; a message is answered otherwise the second time, or while another one is
                            ; under way on another connection: because of a global, the time or
                            ; chance; the finding has :alone, too
    :pieces                 ; a message comes to something else when its body is cut otherwise
    :case                   ; a message comes to something else when the names of its fields are
                            ; written in another case; these findings have :alone, too: the exchanges
                            ; of the message as it was
    :blocked                ; a handler still ran a second after the time limit

  `filter` is a map of handlers, a var of one, or options of start-milter. Options are
    :runs           ; number of conversations (default: 300)
    :seed           ; a number; the same seed yields the same conversations (default: random)
    :mails          ; mails that are played, varied and among others, as run-message takes them:
                    ; give those that the filter looks for
    :mta            ; :postfix or :sendmail (default: both)
    :offer          ; an :options event, such as {:version 2}: what the MTA offers (default: many)
    :client-state?  ; whether the filter remembers an SMTP client's earlier messages on purpose;
                    ; then only what leaks to the next client is a :leak (default: false)
    :global-state?  ; whether its answers depend on purpose on other connections, the time or chance;
                    ; then there is no :global-state (default: false)
    :timeout        ; milliseconds that a pending value may take (default: 250)
    :time-limit     ; milliseconds after which no more is tried: the result has :stopped :time-limit
                    ; (default: 60000)
    :on-progress    ; function of {:runs :of :findings :millis}, called after a second, two more, four
                    ; more …, at least every ten (default: prints a line)

  No further conversations are tried after a :handler-timeout.

    (check-filter handlers {:runs 1000, :mails [(io/file \"spam.eml\")]})"
  ([filter]
   (check-filter filter {}))
  ([filter given]
   (let [{:keys [runs seed timeout time-limit on-progress] :as given}
         (keys/with-defaults "the options of check-filter" given table)
         options (assoc (options/of-filter filter) :handler-timeout timeout)
         given (update given :mails #(mapv mail/message %))
         seed (or seed (System/nanoTime))
         progress (atom {:runs 0, :findings {}})
         check (merge (select-keys given [:client-state? :global-state?])
                      {:factory (milter/factory options)
                       :engine (options/engine (options/check options))
                       :handlers (negotiation/handler-map (:handlers options {}))
                       :deadline (+ (System/nanoTime) (* 1000000 (long time-limit)))
                       :progress progress
                       :running (atom nil)
                       :late (atom [])})
         {:keys [findings blocked] tried :runs}
         (in-time check
                  #(search check (trials given) seed runs)
                  #(on-progress {:runs (:runs @progress)
                                 :of runs
                                 :findings (count (:findings @progress))
                                 :millis %}))
         _ (LockSupport/parkNanos late-nanos)
         late (cond-> @(:late check) blocked (conj blocked))
         findings (vec (vals (into findings (map (juxt :kind identity)) late)))]
     (BriefMap/of
       (cond-> {:pass? (empty? findings)
                :runs tried
                :seed seed
                :findings findings}
         (and (< (long tried) (long runs)) (expired? check)) (assoc :stopped :time-limit))))))

(defn print-findings
  "Prints what check-filter has returned: each finding with the conversation as a ladder.

    (print-findings (check-filter handlers))"
  [{:keys [runs seed findings stopped] :as result}]
  (keys/check-result result :findings "check-filter")
  (println (str runs " conversations, seed " seed
                (when stopped ", stopped by the time limit")
                ": "
                (case (count findings)
                  0 "nothing found"
                  1 "1 finding"
                  (str (count findings) " findings"))))
  (doseq [[n {:keys [kind explanation trace alone] :as finding}] (map-indexed vector findings)]
    (println)
    (println (str (inc (long n)) ". " kind ": " explanation))
    (run! #(println (str "     at " %)) trace)
    (run! println (report/ladder finding))
    (when alone
      (println (if (#{:pieces :case} kind) "   As it was:" "   On a connection of its own:"))
      (run! println (report/ladder {:conversation alone})))))
