(ns temse.impl.smtp
  "An SMTP client's connection to a simulated MTA with a filter behind it, line by line.

  What a line leads to is a map of
    :exchanges  what the filter got and answered, as temse.test/run-message has it in :conversation, each
                with the :errors of a filter in this process
    :errors     those that belong to no exchange
    :reply      what the client receives, {:smtp-code :enhanced-code :text}; nil inside the content of a mail
    :fate :sent :message   at the end of a mail, see temse.mta/outcome
    :closed?    true if the MTA has hung up"
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.mta.commands :as commands]
   [temse.impl.mta.rules :as rules]
   [temse.impl.mta.stages :as stages]
   [temse.impl.session :as session])
  (:import
   (java.io ByteArrayOutputStream IOException)
   (java.util.function Predicate)
   (temse.client Mail MtaOptions MtaSession Script)
   (temse.protocol MilterException ProtocolFlag Text)))

(set! *warn-on-reflection* true)

;; ---- the filter

(defn- unanswered
  "Returns the exchange of an event to a filter that is gone: both MTAs defer, as they are set up usually."
  [event problem]
  (cond-> {:event event, :response [{:action :temporary-failure}]}
    problem (assoc :problem problem)))

(defn- play!
  "Plays events by a function of the script, and returns the exchanges. `event` is the one that a filter which
  is gone leaves without an answer."
  [{:keys [script answered gone?]} event f]
  (vreset! answered [])
  (if @gone?
    [(unanswered event nil)]
    (let [problem (try
                    (f script)
                    nil
                    (catch IOException e e)
                    (catch MilterException e e))]
      (cond-> @answered
        problem (conj (do (vreset! gone? true)
                          (unanswered event (ex-message problem))))))))

(defn- play-event!
  [connection event]
  (play! connection event (fn [^Script script] (.play script [event]))))

(defn- play-content!
  [connection mail]
  (play! connection {:event :end-of-message} (fn [^Script script] (.playContent script mail))))

(defn- abort!
  "Plays ABORT if the MTA sends it, and returns the exchanges."
  [{:keys [^Script script gone?] :as connection}]
  (if (and (not @gone?) (.endsWithAbort (.dialogue script)))
    (play-event! connection {:event :abort})
    []))

;; ---- the state
;;
;; That of temse.impl.mta.stages, and :in-mail? between MAIL and the end, :lines the content so far, nil
;; outside of it, :greeted the exchanges before any mail, and :closed?.

(defn- between
  "Returns the state without a mail."
  [{:keys [greeted] :as state}]
  (-> state
      (dissoc :refused :discarded-at :fate :at :delivered)
      (assoc :in-mail? false, :lines nil, :smtp {}, :message nil, :conversation greeted)))

(defn- with-exchanges
  "Returns the state with exchanges, which the MTA has read."
  [state exchanges]
  (update state :conversation into (map stages/as-read) exchanges))

(defn- asked
  "Returns the first exchange about an event, as the MTA has read it, or nil."
  [exchanges event]
  (some #(when (= event (:event (:event %))) (stages/as-read %)) exchanges))

(defn- queue-id
  [state {:keys [^MtaSession session]}]
  (assoc-in state [:session :queue-id] (.queueId session)))

;; ---- commands: each returns the next state and what the line has led to

(defn- hello
  [{:keys [in-mail? later] :as state} connection {:keys [greeting extended?]}]
  (let [aborted (if in-mail? (abort! connection) [])
        exchanges (play-event! connection {:event :hello, :greeting greeting})
        greeted (into (filterv #(= :connect (:event (:event %))) (:greeted state))
                      (map stages/as-read)
                      exchanges)
        state (-> (between state)
                  (assoc :greeted greeted)
                  between
                  (assoc-in [:session :hello] greeting)
                  stages/hello)
        {:keys [smtp-code] :as reply} (get-in state [:smtp :hello])
        state (cond-> state later (assoc :later later))
        extensions (if (:later state)
                     [commands/only-extension]
                     (commands/extensions (:mta state)))]
    [state {:exchanges (into aborted exchanges)
            :reply (cond-> reply
                     (and extended? (= 250 smtp-code))
                     (update :text #(string/join "\n" (cons % extensions))))}]))

(defn- mail
  [state connection {:keys [address options]}]
  (let [exchanges (if (:later state) [] (play-event! connection {:event :mail, :sender address, :options options}))
        state (-> state
                  (assoc :message {:sender address, :options options, :recipients [], :recipient-options []})
                  (with-exchanges exchanges)
                  (queue-id connection)
                  stages/mail)
        reply (get-in state [:smtp :mail])]
    (if (:fate state)
      [(between state) {:reply reply, :exchanges (into exchanges (abort! connection))}]
      [(assoc state :in-mail? true) {:reply reply, :exchanges exchanges}])))

(defn- recipient
  [state connection {:keys [address options]}]
  (let [exchanges (play-event! connection {:event :recipient, :address address, :options options})
        state (-> state
                  (update-in [:message :recipients] conj address)
                  (update-in [:message :recipient-options] conj options)
                  (with-exchanges exchanges)
                  (stages/recipient address (asked exchanges :recipient))
                  (queue-id connection))]
    [state {:reply (peek (get-in state [:smtp :recipients])), :exchanges exchanges}]))

(defn- data
  [state connection _]
  (let [exchanges (play-event! connection {:event :data})
        {:keys [fate] :as state} (-> state (with-exchanges exchanges) stages/data)]
    [(if fate (dissoc state :fate :at) (assoc state :lines []))
     {:reply (get-in state [:smtp :data]), :exchanges exchanges}]))

(defn- reset
  [{:keys [in-mail?] :as state} connection {:keys [reply]}]
  [(between state) {:reply reply, :exchanges (if in-mail? (abort! connection) [])}])

(defn- quit
  [{:keys [in-mail?] :as state} connection {:keys [reply]}]
  [(assoc state :closed? true) {:reply reply, :exchanges (if in-mail? (abort! connection) [])}])

(defn- unknown
  [{:keys [later] :as state} connection {:keys [text]}]
  (let [exchanges (if later [] (play-event! connection {:event :unknown, :command text}))
        [reply state] (stages/unknown state text (asked exchanges :unknown))]
    [state {:reply reply, :exchanges exchanges}]))

(def ^:private commands
  {:hello hello, :mail mail, :recipient recipient, :data data, :reset reset, :quit quit, :unknown unknown})

(defn- command
  [{:keys [mta in-mail? refused] :as state} connection line]
  (let [{:keys [command] :as given}
        (commands/read-command mta line {:in-mail? in-mail?
                                         :recipients? (boolean (some false? refused))
                                         :later (:later state)
                                         :host-name (:host-name (:session state))})]
    (if command
      ((commands command) state connection given)
      [state (assoc given :exchanges [])])))

;; ---- content

(defn- content-bytes
  ^bytes [lines]
  (let [out (ByteArrayOutputStream.)]
    (doseq [^String line lines]
      (.writeBytes out (Text/encodeBytes line))
      (.writeBytes out (.getBytes "\r\n")))
    (.toByteArray out)))

(defn- end
  [{:keys [lines message] :as state} connection]
  (let [parsed (Mail/parse (:sender message) (:recipients message) (content-bytes lines))
        exchanges (play-content! connection parsed)
        sent (merge message (select-keys (.toMap parsed) [:headers :body]))
        state (-> state (assoc :message sent) (with-exchanges exchanges) stages/content)
        {:keys [fate at delivered smtp] :as state} (if (:fate state) state (stages/end state))]
    [(between state)
     {:reply (:message smtp)
      :exchanges (into exchanges (abort! connection))
      :fate fate
      :at at
      :sent sent
      :message delivered}]))

(defn- content-line
  [state connection line]
  (cond
    (= "." line) (end state connection)
    (string/starts-with? line ".") [(update state :lines conj (subs line 1)) {:exchanges []}]
    :else [(update state :lines conj line) {:exchanges []}]))

;; ---- connections

(defn- explained
  "Returns what a line has led to with the :why of actions and the :errors of the filter, where they are
  known."
  [{:keys [exchanges] :as result} session]
  (let [explained (session/with-reasons session exchanges)
        by-exchange (group-by :exchange (session/take-errors session exchanges))]
    (cond-> (assoc result
                   :exchanges (into []
                                    (map-indexed (fn [n exchange]
                                                   (if-let [errors (by-exchange n)]
                                                     (assoc exchange :errors errors)
                                                     exchange)))
                                    explained))
      (by-exchange nil) (assoc :errors (by-exchange nil)))))

(defn- settle!
  "Keeps the state, hangs up where the MTA does, and returns what a line has led to."
  [{:keys [^MtaSession session] current :state} [{:keys [mta closed?] :as state} {:keys [reply] :as result}]]
  (let [closed? (or closed? (and reply ((:hangs-up? (rules/of mta)) (:smtp-code reply))))]
    (vreset! current (assoc state :closed? closed?))
    (when closed?
      (.close session))
    (cond-> (explained result session)
      closed? (assoc :closed? true))))

(defn open
  "Connects a client to an MTA in front of what temse.test calls a filter, and returns the connection and
  what the client receives. Options are those of temse.test/run-message but :hello."
  [filter {:keys [client macros] :as options}]
  (session/check-client options)
  (let [session (session/connected filter (dissoc options :client))
        answered (volatile! [])
        mta (session/mta session)
        connection {:session session
                    :script (Script. session (reify Predicate
                                               (test [_ exchange]
                                                 (vswap! answered conj exchange)
                                                 true)))
                    :answered answered
                    :gone? (volatile! false)
                    :state (volatile! nil)}
        exchanges (play-event! connection (session/client-event client))
        greeted (mapv stages/as-read exchanges)
        {:keys [fate smtp] :as state}
        (stages/connect {:mta mta
                         :session {:host-name (get macros "j" MtaOptions/HOST_NAME)
                                   :hello "client.example.org"
                                   :queue-id "QUEUEID"
                                   :date "Thu, 1 Jan 1970 00:00:00 +0000"}
                         :leading-space? (.agreed session ProtocolFlag/LEADING_SPACE)
                         :greeted greeted
                         :conversation greeted
                         :smtp {}})]
    [connection (settle! connection
                         [(assoc (between state) :closed? (some? fate))
                          {:reply (:greeting smtp), :exchanges exchanges}])]))

(defn closed?
  "Returns true if the MTA has hung up."
  [{:keys [state]}]
  (boolean (:closed? @state)))

(defn content?
  "Returns true if the next line is content of a mail."
  [{:keys [state]}]
  (some? (:lines @state)))

(defn send-line!
  "Sends a line of the client, without its end, and returns what it leads to."
  [{:keys [state] :as connection} line]
  (settle! connection (if (content? connection)
                        (content-line @state connection line)
                        (command @state connection line))))

(defn define-macro!
  "Gives a macro a value from now on. Returns false if it would not be sent at any stage."
  [{:keys [^MtaSession session]} macro-name value]
  (.define session macro-name value))

(defn close!
  "Ends the connection as a client does that is gone, and returns what that leads to."
  [{:keys [^MtaSession session state] :as connection}]
  (let [exchanges (if (and (:in-mail? @state) (not (closed? connection))) (abort! connection) [])]
    (vswap! state assoc :closed? true, :lines nil)
    (.close session)
    (explained {:exchanges exchanges} session)))
