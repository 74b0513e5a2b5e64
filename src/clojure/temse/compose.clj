(ns temse.compose
  "Filters made of filters: several behind one connection to the MTA, filters that are there for some
  clients or messages only, and filters with something around them.

  A filter is a map of options as start-milter takes it, with those that say what is done and asked for
  (:handlers :init :on-error :default-reply :actions :optional-actions :optional-events
  :no-reply-events :request-macros :wants :rejected-recipients? :leading-space? and :name, its name in
  verdicts and logs), or a handler map, or a var of one of these. So is what these functions return;
  where to listen and the limits are added to it.

    (def filter
      (in-sequence (named \"spf\" (when-message (complement authenticated?) spf))
                   (named \"dkim\" dkim)))

    (start-milter (assoc filter :port 20025))

  doc/composition.org says more."
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.action :as act]
   [temse.addresses :as addresses]
   [temse.impl.compose.sequence :as sequence]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.log :as impl-log]
   [temse.impl.message-store :as store]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.milter :as milter]
   [temse.network :as network]
   [temse.rate :as rate])
  (:import
   (java.util.function Consumer)
   (temse.compose Origin Pretended)
   (temse.compose.internal Judge)
   (temse.protocol EventType)))

(set! *warn-on-reflection* true)

;; ---- filters

(def ^:private filter-options
  [:handlers :init :on-error :default-reply :actions :optional-actions :optional-events
   :no-reply-events :request-macros :wants :rejected-recipients? :leading-space? :name])

(defn- checked
  "Returns the options of a filter. Throws :bad-options for those that belong to a server, and where
  there is nothing to do."
  [given]
  (let [filter (options/check-given (options/of-filter given))]
    (doseq [[option value] filter
            :when (not (some #{option} filter-options))]
      (throw (keys/bad-option option value
                              (str option " is an option of the server, not of one filter of several:"
                                   " give it beside what the function returns, (assoc filter " option " …)"))))
    (when-not (or (:init filter)
                  (seq (:default-reply filter))
                  (seq (dissoc (negotiation/handler-map (or (:handlers filter) {})) :options)))
      (throw (keys/bad-option :handlers filter
                              "a filter has nothing to do: give :handlers, or :init that returns them")))
    (milter/factory filter)
    filter))

(defn- node
  [given]
  (let [filter (checked given)]
    {:filter (dissoc filter :name)
     :title (:name filter)}))

(defn- around
  "Returns the filter with something around it: the keys of a node."
  [given what]
  (sequence/filter-of [(merge (node given) what)]))

(defn named
  "Returns the filter with a name for verdicts and logs.

    (named \"spf\" {:mail on-mail})"
  [filter-name filter]
  (when-not (string? filter-name)
    (throw (keys/bad-option :name filter-name (str "the name of a filter is a string, not "
                                                   (keys/shown filter-name)))))
  (assoc (checked filter) :name filter-name))

;; ---- several

(def ^:private store-table
  (assoc (select-keys store/table [:max-message :memory-per-message :message-memory :directory])
         :when-exceeded [":defer, :reject or :accept" #{:defer :reject :accept} :defer]))

(defn sequence-of
  "Returns a filter as `in-sequence` does, of a sequence of filters, and with options for the content
  that is kept for those behind a filter that may change it:

    :max-message        ; bytes of header and body (default: 268435456)
    :when-exceeded      ; what a longer message means: :defer, :reject, or :accept it without the
                        ; filters that would have to wait for it (default: :defer)
    :memory-per-message ; bytes of a body that stay in memory; a larger one goes to a temporary file
                        ; (default: 65536)
    :message-memory     ; bytes of memory that all messages take together (default: 67108864)
    :directory          ; where temporary files are (default: the property java.io.tmpdir)

    (sequence-of [spf dkim] {:max-message 50000000})"
  ([filters]
   (sequence-of filters {}))
  ([filters given]
   (when-not (and (sequential? filters) (seq filters))
     (throw (keys/bad-option :filters filters (str "sequence-of takes a sequence of filters, not "
                                                   (keys/shown filters)))))
   (let [options (keys/with-defaults "the options of sequence-of" given store-table)
         nodes (into [] (mapcat #(or (sequence/nodes-of (checked %)) [(node %)])) filters)]
     (if (seq given)
       (sequence/filter-of nodes (store/store options))
       (sequence/filter-of nodes)))))

(defn in-sequence
  "Returns a filter that behaves as the filters would as milters of their own, in that order.

  * Each has its own context, state and error policy, sees the macros that it has asked for, and may do
    what it has asked for.
  * An event of the envelope goes to one after the other; the first that refuses, defers or discards
    decides, and later ones do not see it. Content (header fields, body, end of message) goes to the
    first completely, its modifications are made, and then to the next: a refusal by an earlier one
    wins. Later ones see the header fields and the body as earlier ones have left them, not senders and
    recipients.
  * One that accepts is out for the message, or for the client if it does so at :connect or :hello; the
    others go on.
  * One that fails defers the message, unless its :on-error says otherwise.

  For filters behind one that may change content, the message is kept, see `sequence-of`. Until the end
  of the message the MTA waits for nobody's reply to it then; a filter that is never to change
  anything should say so with :actions #{}.

  Verdicts and modifications carry :why {:filter NAME :why …}.

    (in-sequence (named \"spf\" spf) (named \"dkim\" dkim))"
  [& filters]
  (if (next filters)
    (sequence-of filters)
    (checked (first filters))))

;; ---- there or not

(defn- check-predicate
  [what pred]
  (when-not (options/callable? pred)
    (throw (keys/bad-option what pred (str what " takes a predicate, a function of a context, not "
                                           (keys/shown pred))))))

(defn when-client
  "Returns the filter for those SMTP clients only for which the predicate is true. It is asked when the
  client connects, with a context of which `get-macro` and the predicates below know what the MTA has
  sent until then: authentication comes later. For other clients the filter is not there.

    (when-client (complement local-client?) filter)"
  [pred filter]
  (check-predicate "when-client" pred)
  (around filter {:client? pred}))

(defn when-message
  "Returns the filter for those messages only for which the predicate is true. It is asked at MAIL, before
  any recipient is known, and what it says holds for the message and all its recipients: what concerns
  a recipient belongs into a handler of :recipient. For other messages the filter is not there; it sees
  :connect and :hello of all clients, and decides about them.

    (when-message (complement authenticated?) filter)"
  [pred filter]
  (check-predicate "when-message" pred)
  (around filter {:message? pred}))

;; ---- predicates

(defn authenticated?
  "Returns true if the client has authenticated itself with AUTH: the macro {auth_authen}, which
  Postfix and Sendmail send at MAIL. For `when-message`, and for handlers from :mail on whose filter has
  the macro."
  [context]
  (not (string/blank? (milter/get-macro context "auth_authen"))))

(defn- origin
  ^Origin [{:milter/keys [connection] :keys [client sender] :as context}]
  (when-not (contains? context :client)
    (throw (keys/bad-option :context context
                            "this predicate is for when-client, when-message and wrap-allow")))
  (Origin. connection client sender))

(defn local-client?
  "Returns true if the client is of this machine: its address is one of loopback, or it is connected by a
  Unix-domain socket. For `when-client`, `when-message` and `wrap-allow`."
  [context]
  (.isLocal (origin context)))

(defn from-network?
  "Returns a predicate that is true for clients whose address is in one of the networks, see
  `temse.network/networks`, which throws :bad-options for what is no network. For `when-client`,
  `when-message` and `wrap-allow`.

    (when-client (from-network? \"192.0.2.0/24\" \"2001:db8::/32\") filter)"
  [& networks]
  (let [networks (network/networks networks)]
    #(.isFrom (origin %) networks)))

;; ---- pretending

(def ^:private pretend-table
  {:field? (conj keys/truth false)
   :counts ["an atom" #(instance? clojure.lang.IAtom %)]})

(defn pretend
  "Returns the filter without its effect: it is asked, and its answer is noted and not carried out. The first
  refusal, deferral or discarding of a message is what a real one would have ended with, so that the
  filter sees no more of the message then. Asks the MTA for none of its actions. Each verdict and
  modification is

  * a line of the log, level info, logger temse;
  * counted in an atom, a map such as {:reject 2 :add-header 1}, where :counts gives one;
  * with :field? a header field of the message, such as X-Would-Reject: at mail by spf: no record.

  Options:

    :counts   ; an atom, to be incremented by action (default: none)
    :field?   ; whether verdicts become header fields (default: false)

    (pretend filter {:counts (atom {}) :field? true})"
  ([filter]
   (pretend filter {}))
  ([filter given]
   (let [{:keys [field? counts]} (keys/with-defaults "the options of pretend" given pretend-table)]
     (around filter
             {:pretence
              (Judge. (boolean field?)
                      (reify Consumer
                        (accept [_ note]
                          (let [^Pretended note note]
                            (when counts
                              (swap! counts update (keyword (.verdict note)) (fnil inc 0)))
                            (impl-log/quietly
                              (log/log "temse" :info nil
                                       (line/printable
                                         (str (.filter note) " would answer "
                                              (name (.-keyword ^EventType (.at note)))
                                              " with " (line/action-text (.map (.action note)))
                                              " " (.mail note)))))))))}))))

;; ---- wrappers

(defn- observed
  [filter f]
  (around filter {:on-exchange f}))

(def ^:private log-table
  {:log ["a function" options/callable?]
   :level [":trace, :debug, :info, :warn or :error" #{:trace :debug :info :warn :error} :info]
   :events ["a set of events" #(and (set? %) (every? options/event-names %))]})

(defn wrap-log
  "Returns the filter whose exchanges are logged: what it received and what it answered.

    :events   ; which events, a set (default: those that it answers with something else than continue)
    :level    ; of the log lines (default: :info)
    :log      ; a function of the exchange {:filter :id :peer :event :response :millis} in place of the
              ; log; what it throws is logged

    (wrap-log filter {:events #{:mail :end-of-message}})"
  ([filter]
   (wrap-log filter {}))
  ([filter given]
   (let [{:keys [events level] f :log} (keys/with-defaults "the options of wrap-log" given log-table)
         shown? (if events
                  #(events (:event (:event %)))
                  #(some (comp (complement #{:continue}) :action) (:response %)))
         f (or f
               (fn [{:keys [event response millis] :as exchange}]
                 (log/log "temse" level nil
                          (line/printable
                            (str (:filter exchange) " " (:id exchange) " " (line/event-text event) " <-- "
                                 (string/join ", " (map line/action-text response))
                                 " (" (Math/round (double millis)) " ms)")))))]
     (observed filter #(when (and (shown? %) (not= :options (:event (:event %)))) (f %))))))

(defn wrap-timing
  "Returns the filter whose answers are timed: f is called after each with
  {:filter NAME :event :end-of-message :millis 12.5}. The time includes that for which a value was
  pending. What f throws is logged.

    (wrap-timing filter (fn [{:keys [event millis]}] (.record histogram event millis)))"
  [filter f]
  (check-predicate "wrap-timing" f)
  (observed filter (fn [{:keys [event millis] :as exchange}]
                     (when-not (= :options (:event event))
                       (f {:filter (:filter exchange) :event (:event event) :millis millis})))))

(defn wrap-exceptions
  "Returns the filter with an error policy: f, a function of exception, event and context, returns the
  actions that answer an event whose handler has failed; nil stands for a temporary failure. The same
  as :on-error of the filter, which must not have one.

    (wrap-exceptions filter (fn [_ _ _] [(act/temporary-failure)]))"
  [filter f]
  (check-predicate "wrap-exceptions" f)
  (let [filter (checked filter)]
    (when (:on-error filter)
      (throw (keys/bad-option :on-error (:on-error filter)
                              "the filter has an :on-error already: give one of the two")))
    (assoc filter :on-error f)))

(def ^:private rate-table
  (assoc rate/options
         :limit ["a number, 1 or more" pos-int?]
         :per (conj keys/milliseconds 60000)
         :by ["a function" options/callable?]
         :reply ["an action" map? (assoc (act/reply-code 451 "4.7.1" "Too much mail, try again later")
                                         :why "rate limit")]))

(defn wrap-rate-limit
  "Returns the filter behind a limit of the messages that begin: in no time of :per milliseconds more than
  :limit of them for each key. Those beyond it are answered at MAIL, and the filter does not see them.

    :limit     ; messages for each key and :per (required)
    :per       ; milliseconds (default: 60000)
    :by        ; function of the :mail event and a map {:address ADDRESS-OF-CLIENT :context context} that
               ; returns the key, or nil for no limit (default: the client's address)
    :reply     ; what those beyond are answered (default: 451 4.7.1)

  and where it is counted, the options of `temse.rate/windows`: :database, :max-keys, :name and :clock. In
  one database, and with one :name, filters with the same keys and :per count together.

    (wrap-rate-limit filter {:limit 100 :per 3600000})"
  [filter given]
  (let [{:keys [limit per by reply] :as options}
        (keys/with-defaults "the options of wrap-rate-limit" given rate-table)
        _ (when-not limit
            (throw (keys/bad-option :limit nil "wrap-rate-limit needs :limit, a number of messages")))
        windows (rate/windows (select-keys options (keys rate/options)))
        key-of (or by (fn [_ {:keys [address]}] address))]
    (in-sequence
      {:name "rate-limit"
       :actions #{}
       :handlers {:connect (with-meta (fn [event context] (assoc context ::address (:address event)))
                                      {:no-reply true})
                  :mail (fn [event context]
                          (let [k (key-of event {:address (::address context) :context context})]
                            (when (and (some? k) (rate/exceeded! windows [{:key k :limit limit :per per}]))
                              [reply])))}}
      filter)))

(def ^:private allow-table
  {:networks ["a sequence of networks" #(and (coll? %) (every? string? %))]
   :senders ["a sequence of addresses such as [\"ann@example.org\"]" addresses/addresses nil]
   :authenticated? (conj keys/truth false)
   :local? (conj keys/truth false)})

(defn wrap-allow
  "Returns the filter that is not there for messages that are allowed: those of which one of these is
  true, asked at MAIL.

    :networks        ; networks of clients, such as [\"192.0.2.0/24\"]
    :authenticated?  ; true: clients that have used AUTH
    :local?          ; true: clients of this machine
    :senders         ; entries of temse.addresses such as [\"ann@example.org\" \"@example.net\"]. Anybody
                     ; can write them: only with what proves them is this a proof

    (wrap-allow filter {:networks [\"192.0.2.0/24\"] :authenticated? true})"
  [filter given]
  (let [{:keys [networks senders local?] :as options}
        (keys/with-defaults "the options of wrap-allow" given allow-table)
        sent-by (addresses/addresses senders)
        tests (cond-> []
                (seq networks) (conj (apply from-network? networks))
                (:authenticated? options) (conj authenticated?)
                local? (conj local-client?)
                (seq senders) (conj #(addresses/includes? sent-by (:sender %))))]
    (when (empty? tests)
      (throw (keys/bad-option :networks
                              given
                              "wrap-allow allows nobody: give :networks, :authenticated?, :local? or :senders")))
    (when-message (fn [context] (not-any? #(% context) tests)) filter)))
