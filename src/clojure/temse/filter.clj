(ns temse.filter
  "Filters that receive each message as a whole: the envelope, the header fields and the body as one
  map."
  (:require
   [clojure.java.io :as io]
   [temse.action :as act]
   [temse.impl.keys :as keys]
   [temse.impl.message-store :as store]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.mail :as mail]
   [temse.milter :as milter])
  (:import
   (clojure.lang AFn Fn IFn)
   (java.io File OutputStream Writer)
   (temse.message Body Changes HeaderField Message)
   (temse.message.internal Collectors)
   (temse.protocol Action EventType MilterException MilterException$Category)
   (temse.server.internal EventCollector)))

(set! *warn-on-reflection* true)

;; ---- bodies for clojure.java.io

(extend Body
  io/IOFactory
  (assoc io/default-streams-impl
         :make-input-stream (fn [^Body body _] (io/make-input-stream (.open body) {}))))

(doseq [target [OutputStream Writer File]]
  (.addMethod ^clojure.lang.MultiFn @#'io/do-copy
              [Body target]
              (fn [^Body body output options]
                (with-open [in (.open body)]
                  (apply io/copy in output (mapcat identity options))))))

;; ---- options

(def ^:private moments
  #{:end-of-headers :end-of-message})

(def ^:private filter-table
  "Options of message-filter."
  (assoc store/table
         :at [":end-of-headers, :end-of-message, or a set of both"
              #(or (moments %) (and (set? %) (seq %) (every? moments %)))
              :end-of-message]
         :body? (conj keys/truth true)
         :handlers ["a map of event to function" map? {}]))

(defn- check-renamed
  [options]
  (when (and (map? options) (contains? options :max-body))
    (throw (keys/bad-option :max-body (:max-body options)
                            (str ":max-body is :max-message now, in the options of message-filter: it"
                                 " counts the header, too, and a message that is longer is deferred"
                                 " unless :when-exceeded says otherwise")
                            :max-message))))

(defn- beside
  "Returns the handlers that stand beside the filter, by the names of their events."
  [given events]
  (let [handlers (negotiation/handler-map given)]
    (when-let [event (first (filter events (keys handlers)))]
      (throw (keys/bad-option :handlers given
                              (str "the message filter itself answers " event ", so that no handler of"
                                   " it can stand beside: let the filter's function do it"))))
    handlers))

;; ---- handlers

(defn- collecting
  "Returns the handler that collects the events of a type, and never answers."
  [^Collectors collectors ^EventType type]
  (with-meta (reify
               Fn
               IFn
               (invoke [_ event context]
                 (.take collectors (:milter/connection context) type event)
                 context)
               (applyTo [this arguments]
                 (AFn/applyToHelper this arguments))
               EventCollector
               (collects [_ other]
                 (identical? type other))
               (collect [_ connection _type event]
                 (.take collectors connection type event))
               (collectField [_ connection name value]
                 (.takeField collectors connection name value)))
             {:no-reply true}))

(defn- collecting-before
  "Returns the handler that collects the events of a type, and then calls the one beside it."
  [collects handler]
  (with-meta (fn [event context]
               (handler event (collects event context)))
             (select-keys (meta handler) [:no-reply])))

(defn- asking
  "Returns the handler that calls f with the message, unless the message is too long for it."
  [^Collectors collectors ^EventType at f]
  (fn [_event context]
    (let [connection (:milter/connection context)]
      (if-let [reply (.replyInstead collectors connection)]
        [(.map reply)]
        (let [received (.message collectors connection at)
              seen (.toMap received)]
          (f seen (milter/update-message context assoc ::received received ::seen seen)))))))

(defn- ending
  "Returns the handler that calls the one beside it, and then `end`."
  [handler end]
  (fn [event context]
    (try
      (if handler (handler event context) context)
      (finally
        (end (:milter/connection context))))))

(defn message-filter
  "Returns a handler map that collects each message and calls `f` with it and the context when its
  end has come. What f returns is what a handler of :end-of-message returns: a context, actions, nil,
  or a value that will yield one of these. The handlers that collect never answer, and say so: the
  MTA is asked to wait for one reply per message. If something of a message could not be collected,
  f is not called and the message is deferred, unless :on-error says otherwise.

  The message is a mail of temse.mail, with what else is known of it:

    :sender :options :recipients :recipient-options :headers
    :body         ; a temse.message.Body: `count` is its size in bytes, input-stream, reader and copy
                  ; of clojure.java.io read it, temse.mail/body-bytes returns all of it; only
                  ; until the message is over
    :client       ; {:host-name :address :port :family :greeting}
    :macros       ; map of stage to map of name to value
    :queue-id     ; the MTA's name for it, or nil
    :at           ; the event at which f is called
    :truncated?   ; whether it is longer than :max-message: then its end is missing

  :recipient-options is missing if no recipient has parameters. `run-message` plays a message again,
  `temse.mail/message` keeps it for longer than it lasts.

    :at                 ; when f is called: :end-of-message; :end-of-headers, without the body; or a
                        ; set of both (default: :end-of-message)
    :body?              ; whether the body is asked for; without it :body is empty (default: true)
    :handlers           ; handlers that stand beside f. A recipient that a handler of :recipient
                        ; refuses is not in the message (default: {})
    :max-message        ; bytes of the header's names and values and of the body (default: 268435456)
    :when-exceeded      ; what a longer message means: :truncate, f sees its beginning and :truncated?
                        ; true; :defer, :reject or :accept it without f (default: :defer)
    :memory-per-message ; bytes of a body that stay in memory; a larger one goes to a temporary file
                        ; (default: 65536)
    :message-memory     ; bytes of memory that all messages of the server take together, those of other
                        ; message filters included; where they are taken, bodies go to files sooner,
                        ; and messages whose header finds no room are deferred (default: 67108864)
    :directory          ; where temporary files are (default: the property java.io.tmpdir)

  How many header fields and recipients there may be, start-milter's :max-header-fields,
  :max-header-bytes and :max-recipients say.

    (start-milter {:port 20025
                   :handlers (message-filter (fn [{:keys [headers]} _] …))
                   :actions #{:add-header}})"
  ([f]
   (message-filter f {}))
  ([f given]
   (when-not (options/callable? f)
     (throw (IllegalArgumentException.
              (str "message-filter takes a function or var, not " (keys/shown f)))))
   (check-renamed given)
   (let [{:keys [at body?] :as options}
         (keys/with-defaults "the options of message-filter" given filter-table)
         at (if (set? at) at #{at})
         given (beside (:handlers options) at)
         collectors (Collectors. (store/store (select-keys options (keys store/table))))
         asked (for [event at]
                 [event (asking collectors (options/event-type :at event) f)])
         collected (for [event (cond-> [:connect :hello :mail :recipient :header]
                                 (and body? (at :end-of-message)) (conj :body))]
                     [event (cond-> (collecting collectors (options/event-type :handlers event))
                              (given event) (collecting-before (given event)))])]
     (-> given
         (into asked)
         (into collected)
         (assoc :message-end (ending (:message-end given) #(.messageEnds collectors %))
                :disconnect (ending (:disconnect given) #(.clientEnds collectors %)))))))

;; ---- changed messages

(def ^:private unchangeable
  "Keys of a message that say where it comes from."
  [:client :macros :queue-id :at :truncated?])

(defn- bad
  [problem]
  (MilterException. MilterException$Category/BAD_ACTION ^String problem (object-array 0)))

(defn- check-changed
  [message seen]
  (mail/check-message "a changed message" message)
  (doseq [k unchangeable
          :when (and (contains? message k) (not= (get message k) (get seen k)))]
    (throw (bad (str "the message cannot be delivered as asked: its " k " says where it comes from and"
                     " cannot be changed")))))

(defn- header-field
  ^HeaderField [[field-name value raw :as field]]
  (when-not (or (nil? raw) (= raw value) (= raw (str " " value)))
    (throw (bad (str "the header field " (keys/shown field) " has another value than what follows its"
                     " colon, its third element; give name and value only"))))
  (if raw (HeaderField/ofRaw field-name raw) (HeaderField. field-name value)))

(defn- wanted
  "Returns the Message that a map stands for; what the map lacks is as it was received."
  ^Message [^Message received seen {:keys [sender options recipients recipient-options headers body]
                                    :as message}]
  (letfn [(differs? [k] (and (contains? message k) (not= (get message k) (get seen k))))]
    (cond-> received
      (differs? :sender) (.withSender sender)
      (differs? :options) (.withSenderParameters (vec options))
      (or (differs? :recipients) (differs? :recipient-options))
      (.withRecipients (vec (if (contains? message :recipients) recipients (:recipients seen)))
                       (mapv vec recipient-options))
      (differs? :headers) (.withHeaders (mapv header-field headers))
      (differs? :body) (.withBody (if (sequential? body) (mail/body-bytes body) (or body ""))))))

(defn changed
  "Returns context with the actions by which the MTA delivers the message as `message` is, and then
  the further actions: for the function of a `message-filter`, at the end of a message. The message
  is what the function has received, with other :headers, :recipients, :recipient-options, :sender,
  :options (RET and ENVID) or :body; with :quarantine, a reason, it is held. A key that is missing stands for
  what was received. The functions on header fields in temse.mail help.

  The actions are as few as possible, and right with the MTA at hand: Postfix and Sendmail differ in
  how they count header fields. Where nothing differs there are none.

  Throws :bad-action, which says what and why, if the MTA cannot deliver the message so, and
  :action-not-negotiated, which names the action that would have to be agreed; the message is
  deferred then.

    (defn on-message [message context]
      (changed context (update message :headers mail/set-header \"Subject\" \"hi\") (act/accept)))"
  [context message & actions]
  (let [{::keys [received seen]} (milter/message context)]
    (when-not received
      (throw (bad (str "changed is for the function of a message-filter: this context has not come"
                       " with a message"))))
    (check-changed message seen)
    (apply milter/respond context
           (concat (map #(.map ^Action %)
                        (Changes/actions received (wanted received seen message) (:milter/connection context)))
                   (when-let [reason (:quarantine message)] [(act/quarantine reason)])
                   actions))))
