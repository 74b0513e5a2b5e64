(ns temse.check
  "Finds bugs of a filter by hundreds of generated conversations.

    (deftest the-filter-is-right
      (let [result (check-filter handlers)]
        (is (:pass? result) (with-out-str (print-findings result)))))

  Requires org.clojure/test.check, which temse does not bring along: see temse.generators."
  (:require
   [clojure.string :as string]
   [temse.generators :as generators]
   [temse.impl.events :as events]
   [temse.impl.keys :as keys]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.milter :as milter]
   [temse.report :as report]
   [temse.test :as mt])
  (:import
   (java.io IOException)
   (java.util.concurrent.locks LockSupport)
   (java.util.function Predicate)
   (temse.client MtaClient MtaOptions MtaSession Script)
   (temse.protocol EventType MilterException MilterException$Category)
   (temse.server Connection MilterFactory MilterHandler ServerListener)))

(set! *warn-on-reflection* true)

;; Loaded after temse.generators, which says what to do where it is missing.
(require '[clojure.test.check.generators :as gen])

(defn- say
  "Says events as far as an MTA would, and as long as the filter is there."
  [^Script script events]
  (try
    (.say script events)
    (catch IOException _)))

(defn- script
  "Returns a script for a new session. `heard` is called with each exchange, {:event :response}, with
  :nanos where the filter has heard it; nothing more is said once it returns false."
  ^Script [^MtaSession session heard]
  (Script. session (reify Predicate
                     (test [_ exchange] (boolean (heard exchange))))))

(defn play
  "Plays a conversation of temse.generators, a vector of events, to a filter and returns the
  exchanges, {:event :response :nanos}. Left out is what the filter does not want, and what an MTA
  does not say after the filter's replies. Filter and options are those of temse.test/connect-to.

  Throws :unexpected-event where no MTA says so.

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
       (say (script session #(vswap! exchanges conj %)) conversation)
       (filterv :nanos @exchanges)
       (finally
         (.drop session))))))

;; ---- what the library reports

(def ^:private foreign-frame
  #"^(java\.|jdk\.|clojure\.|temse\.(impl|server|protocol|milter|check)[.$])")

(defn- own-frames
  "Returns the topmost lines of a stack trace that are the filter's."
  [^Throwable error]
  (into []
        (comp (take-while (fn [^StackTraceElement frame]
                            (not= ["temse.server.Settlement" "run"]
                                  [(.getClassName frame) (.getMethodName frame)])))
              (remove #(re-find foreign-frame (.getClassName ^StackTraceElement %)))
              (partition-by #(.getClassName ^StackTraceElement %))
              (map (comp str first))
              (take 5))
        (.getStackTrace error)))

(defn- finding
  "Returns a finding at an event of what was said in a trial, the MTA's offer first."
  [trial exchanges kind event explanation]
  (merge {:kind kind
          :event event
          :explanation explanation
          :conversation (filterv #(or (:nanos %) (= :options (:event (:event %)))) exchanges)
          :events (mapv :event (rest exchanges))}
         (select-keys trial [:mta :offer :macros])))

(defn- error-finding
  "Returns the finding of an error at an event."
  [trial exchanges event ^Throwable error]
  (let [category (when (instance? MilterException error) (:milter/error (ex-data error)))]
    (assoc (finding trial
                    exchanges
                    (or category :exception)
                    event
                    (if category
                      (str "at " event ": " (ex-message error))
                      (str "the handler of " event " threw " (.getName (class error))
                           (some->> (ex-message error) (str ": ")))))
           :error error
           :trace (own-frames error))))

(defn- reporting
  "Returns a listener that tells of the failures of handlers."
  ^ServerListener [failed]
  (reify ServerListener
    (failed [_ _connection type _event error]
      (failed (.-keyword ^EventType type) error))))

(defn- telling
  "Returns the connection, which tells of what is sent too late."
  ^Connection [^Connection connection too-late]
  (reify Connection
    (id [_] (.id connection))
    (peer [_] (.peer connection))
    (agreement [_] (.agreement connection))
    (macros [_] (.macros connection))
    (send [_ action]
      (try
        (.send connection action)
        (catch MilterException e
          (when (= MilterException$Category/STALE_CONTEXT (.category e))
            (too-late e))
          (throw e))))
    (progress [_] (.progress connection))
    (await [_ stage whenDone givenUp] (.await connection stage whenDone givenUp))
    (close [_] (.close connection))))

(defn- watching
  "Returns the factory, whose handlers get connections that tell of what is sent too late."
  ^MilterFactory [^MilterFactory factory too-late]
  (reify MilterFactory
    (open [_ connection]
      (let [handler (.open factory connection)]
        (reify MilterHandler
          (request [_ connection offer]
            (.request handler (telling connection too-late) offer))
          (negotiated [_ agreement]
            (.negotiated handler agreement))
          (onEvent [_ connection type event]
            (.onEvent handler (telling connection too-late) type event))
          (onError [_ connection error type event]
            (.onError handler (telling connection too-late) error type event))
          (scopeEnded [_ type]
            (.scopeEnded handler type)))))))

;; ---- connections

(defn- mta-options
  ^MtaOptions [{:keys [mta offer macros]}]
  (-> (if (= :sendmail mta) MtaOptions/SENDMAIL MtaOptions/POSTFIX)
      (.withOffer (negotiation/offer offer))
      (.withMacros macros)))

(defn- observe
  "Makes a connection and calls `talk` with a script on it and the atom of the exchanges so far. Returns {:value :exchanges}, what talk has returned and what
  was said, and what went wrong first as :finding: nothing is said any more after that."
  [{:keys [factory engine late]} {:keys [offer] :as trial} talk]
  (let [exchanges (atom [])
        failure (atom nil)
        too-late (fn [error]
                   (let [{:keys [event]} (:event (peek @exchanges))]
                     (swap! late conj (error-finding trial @exchanges event error))))
        failed (fn [& event-and-error] (swap! failure #(or % event-and-error)))
        heard (fn [exchange]
                (swap! exchanges conj exchange)
                (nil? @failure))
        value (try
                (let [session (MtaClient/inProcess (watching factory too-late)
                                                   engine
                                                   (reporting failed)
                                                   (mta-options trial))]
                  (try
                    (heard {:event offer, :response [(.agreement session)]})
                    (talk (script session heard) exchanges)
                    (finally
                      (.drop session))))
                (catch IOException _
                  nil))]
    (cond-> {:value value, :exchanges @exchanges}
      @failure (assoc :finding (apply error-finding trial @exchanges @failure)))))

;; ---- state that leaks

(defn- opening
  "Returns the events that opened the last client's session."
  [conversation]
  (let [client (last (remove #(= [:disconnect] (map :event %))
                             (partition-by #(= :disconnect (:event %)) conversation)))]
    (into [(first client)] (take-last 1 (filter #(= :hello (:event %)) client)))))

(defn- play-message
  "Plays events, and then the message of the trial. The :value are the message's exchanges, nil
  where the MTA could not send it."
  [check {:keys [message] :as trial} before]
  (observe check trial
           (fn [^Script script exchanges]
             (say script before)
             (when (.inMessage (.dialogue script))
               (say script [{:event :abort}]))
             (let [told (count @exchanges)]
               (when (.may (.dialogue script) EventType/MAIL)
                 (say script message)
                 (subvec @exchanges told))))))

(defn- comparable
  "Returns an exchange as a value that is equal to others that say the same."
  [{:keys [event response]}]
  (into [(:event event)]
        (map (fn [action] (update-vals action #(if (bytes? %) (vec %) %))))
        response))

(defn- response-text
  [{:keys [response]}]
  (if (seq response)
    (string/join ", " (map report/action-text response))
    "nothing"))

(defn- leak
  "Returns the finding that the message was answered otherwise than on a connection of its own, or
  nil."
  [trial alone after]
  (when-let [[expected actual] (first (drop-while (fn [[a b]] (= (comparable a) (comparable b)))
                                                  (map vector (:value alone) (:value after))))]
    (let [{:keys [event]} (:event actual)]
      (assoc (finding trial
                      (:exchanges after)
                      :leak
                      event
                      (str "at " event " the last message is answered by " (response-text actual)
                           ", on a connection of its own by " (response-text expected)))
             :alone (filterv :nanos (:exchanges alone))))))

(defn- leak-finding
  "Returns the finding that a message is answered otherwise after the conversation than by itself,
  or nil. A filter that answers differently each time is not compared."
  [{:keys [client-state?] :as check} {:keys [conversation] :as trial}]
  (let [trial (assoc-in trial [:macros "i"] "4TEMSE0001")
        client (opening conversation)
        before (cond-> (filterv #(not= :quit (:event %)) conversation)
                 client-state? (-> (conj {:event :disconnect}) (into client)))
        alone (play-message check trial client)
        after (play-message check trial before)]
    (or (:finding alone)
        (:finding after)
        (when-let [found (leak trial alone after)]
          (when-not (leak trial alone (play-message check trial client))
            found)))))

;; ---- trials

(defn- trials
  "Returns the generator of what one run tries."
  [{:keys [mta offer]}]
  (gen/hash-map :mta (if mta (gen/return mta) (gen/elements [:postfix :sendmail]))
                :offer (if offer (gen/return (.event (negotiation/offer offer))) generators/offer)
                :macros generators/macros
                :conversation (gen/frequency [[2 generators/conversation]
                                              [1 generators/nasty-conversation]])
                :message generators/message))

(def ^:private checks
  "What is done with a trial, in turn: functions that return a finding or nil."
  [(fn [check {:keys [conversation] :as trial}]
     (:finding (observe check trial (fn [script _] (say script conversation)))))
   leak-finding])

(def ^:private signature
  "What makes two findings one."
  (juxt :kind :event (comp class :error)))

(defn- shrinking-steps
  [{:keys [kind]}]
  (if (= :handler-timeout kind) 40 200))

(defn- smallest
  "Returns the finding again that trees of smaller trials have, with the smallest one."
  [judge found trees]
  (loop [found found, trees trees, steps (long (shrinking-steps found))]
    (if-let [[[trial smaller] & others] (when (pos? steps) (seq trees))]
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
            (let [judge (partial f check)
                  found (judge trial)]
              (when (and found (not (contains? findings (signature found))))
                (smallest judge found smaller))))
          checks)))

(defn- search
  "Returns how many runs were made, and the findings by signature."
  [check generator seed runs]
  (loop [run 0, findings {}]
    (if (or (= run runs)
            (some #(= :handler-timeout (:kind %)) (vals findings)))
      [run findings]
      (let [found (new-finding check generator seed run findings)]
        (recur (inc run)
               (cond-> findings found (assoc (signature found) found)))))))

(def ^:private late-nanos
  "How long to wait for what is sent after the last conversation."
  50000000)

(def ^:private table
  "Options of check-filter."
  {:runs ["a number, 0 or more" nat-int? 300]
   :seed ["a number" int?]
   :mta [":postfix or :sendmail" #{:postfix :sendmail}]
   :offer ["an :options event" map?]
   :client-state? keys/truth
   :timeout (conj keys/milliseconds 250)})

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

  `filter` is a map of handlers, a var of one, or options of start-milter. Options are
    :runs           ; number of conversations (default: 300)
    :seed           ; a number; the same seed yields the same conversations (default: random)
    :mta            ; :postfix or :sendmail (default: both)
    :offer          ; an :options event, such as {:version 2}: what the MTA offers (default: many)
    :client-state?  ; whether the filter remembers an SMTP client's earlier messages on purpose;
                    ; then only what leaks to the next client is a :leak (default: false)
    :timeout        ; milliseconds that a pending value may take (default: 250)

  A handler that blocks for ever blocks check-filter. No further conversations are tried after a
  :handler-timeout.

    (check-filter handlers {:runs 1000, :offer temse.test/postfix})"
  ([filter]
   (check-filter filter {}))
  ([filter given]
   (let [{:keys [runs seed timeout client-state?] :as given}
         (keys/with-defaults "the options of check-filter" given table)
         options (assoc (options/of-filter filter) :handler-timeout timeout)
         seed (or seed (System/nanoTime))
         check {:factory (milter/factory options)
                :engine (options/engine (options/check options))
                :client-state? client-state?
                :late (atom [])}
         [tried findings] (search check (trials given) seed runs)
         _ (LockSupport/parkNanos late-nanos)
         findings (into findings (map (juxt :kind identity)) @(:late check))]
     {:pass? (empty? findings)
      :runs tried
      :seed seed
      :findings (vec (vals findings))})))

(defn print-findings
  "Prints what check-filter has returned: each finding with the conversation as a ladder.

    (print-findings (check-filter handlers))"
  [{:keys [runs seed findings] :as result}]
  (keys/check-result result :findings "check-filter")
  (println (str runs " conversations, seed " seed ": "
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
      (println "   On a connection of its own:")
      (run! println (report/ladder {:conversation alone})))))
