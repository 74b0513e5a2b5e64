(ns temse.impl.mta.stages
  "The stages of an SMTP dialogue, from the greeting to the end of a mail: what the client receives at each,
  and what becomes of the mail.

  Each takes a state and returns the next one, a map of
    :mta             :postfix or :sendmail
    :session         {:host-name :hello :queue-id :date}
    :leading-space?  whether the filter sees values with their leading space
    :message         the mail, as far as the client has sent it
    :conversation    what the filter has answered to it, exchanges {:event :response} of `as-read`
    :smtp            the replies that the client has received, by stage; :recipients a vector
    :refused         of each recipient, whether it was refused
    :later           [event reply], a refusal of the connection or its greeting that answers MAIL
    :discarded-at    the event at which the filter has discarded the mail
    :broken?         true once the MTA does without the filter
    :fate :at        what becomes of the mail, see temse.mta/outcome, and the event that settled it
    :delivered       the message that the next hop gets"
  {:no-doc true}
  (:require
   [temse.action :as act]
   [temse.impl.mta.edit :as edit]
   [temse.impl.mta.rules :as rules])
  (:import
   (temse.protocol ActionCodec)))

(set! *warn-on-reflection* true)

(defn- made-values
  "Returns the values of the fields that an MTA makes, by name."
  [{:keys [host-name hello queue-id date]} {:keys [sender]}]
  (let [from (edit/unbracketed sender)
        message-id (str "<" queue-id "@" host-name ">")]
    {:host-name host-name
     "Received" (str "from " hello " by " host-name " with ESMTP id " queue-id "; " date)
     "Date" date
     "From" from
     "Message-Id" message-id
     "Resent-Date" date
     "Resent-From" from
     "Resent-Message-Id" message-id}))

(defn- final-reply
  "Returns the reply among the actions that answer an event; none means to go on."
  [{:keys [response]}]
  (or (last (filter act/reply? response)) (act/continue)))

(defn- replies
  "Returns the replies to the events of a type, one per exchange."
  [conversation type]
  (for [{:keys [event] :as exchange} conversation
        :when (= type (:event event))]
    (final-reply exchange)))

(defn- effect
  "Returns what a reply does: :pass, :discard or :refuse."
  [reply]
  (case (str (ActionCodec/verdict (ActionCodec/normalise reply)))
    ("CONTINUE" "ACCEPT" "SKIP") :pass
    "DISCARD" :discard
    :refuse))

(defn- settled
  "Returns the state after a refusal."
  [state at {:keys [smtp-code]}]
  (assoc state :at at :fate (if (<= 500 smtp-code) :refused :deferred)))

(defn- after-reply
  "Returns the state after the SMTP client has received a reply that concerns the whole mail."
  [state stage at {:keys [smtp-code] :as reply}]
  (cond-> (assoc-in state [:smtp stage] reply)
    (<= 400 smtp-code) (settled at reply)))

(defn- answer
  "Returns what the client receives after an event at which the filter gave one of the replies, or none,
  and the state, which remembers that the mail is discarded or the filter is out."
  [{:keys [mta session broken?] :as state} at address replies]
  (let [{:keys [approval refusal broken]} (rules/of mta)
        reply (first (remove #(= :pass (effect %)) replies))
        effect (if reply (effect reply) :pass)
        answer (cond
                 broken? broken
                 (= :refuse effect) (refusal at reply address)
                 :else (approval at session address))]
    [answer (cond-> state
              (= :discard effect) (assoc :discarded-at at)
              (= broken answer) (assoc :broken? true))]))

(defn- answered
  "Returns the state after an event that concerns the whole mail."
  [state stage at address replies]
  (let [[answer state] (answer state at address replies)]
    (after-reply state stage at answer)))

(defn connect
  "Returns the state after the client has connected."
  [{:keys [mta session conversation] :as state}]
  (let [{:keys [approval refused-greeting]} (rules/of mta)
        reply (first (replies conversation :connect))
        {:keys [greeting later]} (when (and reply (= :refuse (effect reply)))
                                   (refused-greeting reply session))]
    (cond-> (assoc-in state [:smtp :greeting] (or greeting (approval :connect session nil)))
      later (assoc :later [:connect later])
      (and greeting (not later)) (settled :connect greeting))))

(defn hello
  "Returns the state after HELO or EHLO. A refusal of the greeting answers the MAIL command, unless it
  closes the connection."
  [{:keys [mta session conversation] :as state}]
  (let [{:keys [approval refusal]} (rules/of mta)
        reply (last (replies conversation :hello))
        refused (when (and reply (= :refuse (effect reply)))
                  (refusal :hello reply nil))]
    (if (= 421 (:smtp-code refused))
      (after-reply state :hello :hello refused)
      (cond-> (after-reply state :hello :hello (approval :hello session nil))
        refused (assoc :later [:hello refused])))))

(defn mail
  "Returns the state after MAIL. A refusal of the connection or its greeting is the answer."
  [{:keys [message conversation later] :as state}]
  (if-let [[at reply] later]
    (after-reply state :mail at reply)
    (answered state :mail :mail (:sender message) (replies conversation :mail))))

(defn recipient
  "Returns the state after a recipient and the filter's answer to it, an exchange, or nil where it was not
  asked."
  [state address exchange]
  (let [[{:keys [smtp-code] :as reply} state]
        (answer state :recipient address (when exchange [(final-reply exchange)]))]
    (-> state
        (update-in [:smtp :recipients] (fnil conj []) reply)
        (update :refused (fnil conj []) (<= 400 (long smtp-code))))))

(defn- next-recipient
  "Returns the state after one of the recipients; `asked` are the exchanges about those that are left."
  [{:keys [mta asked] :as state} address]
  (let [{:keys [hangs-up?]} (rules/of mta)
        exchange (first asked)
        asked? (= address (:address (:event exchange)))
        {:keys [smtp] :as state} (recipient state address (when asked? exchange))]
    (cond-> state
      asked? (update :asked rest)
      (hangs-up? (:smtp-code (peek (:recipients smtp)))) reduced)))

(defn recipients
  "Returns the state after all recipients. A client that has named none is refused by the MTA itself at
  DATA."
  [{:keys [mta message conversation] :as state}]
  (let [state (assoc state :asked (filter #(= :recipient (:event (:event %))) conversation))
        {:keys [refused smtp] :as state} (reduce next-recipient state (:recipients message))
        smtp-replies (:recipients smtp)]
    (cond
      (empty? smtp-replies)
      (after-reply state :data :data (:no-recipients (rules/of mta)))

      ((:hangs-up? (rules/of mta)) (:smtp-code (peek smtp-replies)))
      (settled state :recipient (peek smtp-replies))

      (every? true? refused)
      (settled state :recipient (or (first (filter #(< (:smtp-code %) 500) smtp-replies))
                                    (first smtp-replies)))

      :else
      state)))

(defn data
  "Returns the state after DATA."
  [{:keys [conversation] :as state}]
  (answered state :data :data nil (replies conversation :data)))

(def ^:private content-events
  [:header :end-of-headers :body :end-of-message])

(defn- modifications
  "Returns the changes of the mail. Postfix takes quarantine at any event."
  [{:keys [mta conversation]}]
  (let [{:keys [early-quarantine?]} (rules/of mta)]
    (for [{:keys [event response]} conversation
          {:keys [action] :as change} response
          :when (or (= :end-of-message (:event event))
                    (and early-quarantine? (= :quarantine action)))]
      change)))

(defn content
  "Returns the state after the header and the body. The modifications before a refusal may leave traces in
  its text."
  [{:keys [mta message conversation] :as state}]
  (let [{:keys [topic complaint own-refusal]} (rules/of mta)
        own (own-refusal message)
        settling (first (for [event content-events
                              reply (replies conversation event)
                              :when (not= :pass (effect reply))]
                          event))
        before (modifications state)
        after (answered state :message (or settling :end-of-message) (topic before)
                        (mapcat #(replies conversation %) content-events))
        complained (when (= :deferred (:fate after)) (complaint before))]
    (cond-> (if own (after-reply state :message :end-of-message own) after)
      (and complained (not own)) (after-reply :message settling complained))))

(defn delivered
  "Returns the message as the next hop gets it after actions as the MTA has read them; `refused` says of
  the first recipients whether the filter has refused them, `made` has the values of the fields that the
  MTA makes."
  [mta message refused actions leading-space? made]
  (let [{:keys [edited in-sending-order]} (rules/of mta)]
    (in-sending-order (edited message (concat refused (repeat false)) actions leading-space? made))))

(defn end
  "Returns the state after the mail has been accepted."
  [{:keys [mta session message refused discarded-at leading-space?] :as state}]
  (let [{:keys [held-without-recipients? received]} (rules/of mta)
        {:keys [recipients quarantine] :as message}
        (delivered mta (received message) refused (modifications state) leading-space? (made-values session message))]
    (cond
      discarded-at
      (assoc state :fate :discarded :at discarded-at)

      (and (empty? recipients) (not (and quarantine held-without-recipients?)))
      (assoc state :fate :no-recipients :at :end-of-message)

      :else
      (assoc state
             :fate (if quarantine :held :delivered)
             :at :end-of-message
             :delivered message))))

(defn as-read
  "Returns an exchange with the response as the MTA reads it: where it has remarked upon it, it has."
  [{:keys [remarks] :as exchange}]
  (cond-> exchange
    (nil? remarks) (update :response (partial map edit/as-read))))

(defn unknown
  "Returns what the client receives after a command that the MTA does not know, and the state; the exchange
  with the filter is nil where it was not asked."
  [{:keys [mta later] :as state} command exchange]
  (if-let [[_ reply] (when (= :postfix mta) later)]
    [reply state]
    (answer (assoc-in state [:session :command] command)
            :unknown
            nil
            (when exchange [(final-reply exchange)]))))
