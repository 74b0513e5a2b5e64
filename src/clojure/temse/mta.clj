(ns temse.mta
  "What an MTA makes of a filter's answers: the replies that the SMTP client receives, and the mail that goes on.
  Pure functions; the rules are those of Postfix 3.7 and Sendmail 8.17.

    (outcome {:mta :sendmail
              :message {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
                        :headers [[\"Subject\" \"hi\"]] :body (.getBytes \"hello\\r\\n\")}
              :conversation [{:event {:event :mail :sender \"<a@example.org>\"}
                              :response [{:action :reject}]}]})
    ;=> {:fate :refused :at :mail :smtp {… :mail {:smtp-code 550 …}} :message nil}

  A message is {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
  :headers [[\"Subject\" \"hi\"]] :body bytes}, and may have :options, the ESMTP parameters of the
  sender, and :recipient-options, a vector of them for each recipient. The value of a header field
  is without the space after the colon and has its folds as LF and white space; where no space
  follows the colon, [\"X-Tight\" \"v\" \"v\"] has as third what does.

  Both MTAs are taken as they come, without rules of their own about clients, addresses or contents.
  doc/simulate.org lists what is not simulated."
  (:require
   [temse.action :as act]
   [temse.impl.events :as events]
   [temse.impl.keys :as keys]
   [temse.impl.mta.edit :as edit]
   [temse.impl.mta.rules :as rules]
   [temse.mail :as mail])
  (:import
   (temse.protocol ActionCodec)))

(set! *warn-on-reflection* true)

;; ---- modifications

(def ^:private application-table
  "Options of apply-actions."
  {:mta [":postfix or :sendmail" #{:postfix :sendmail} :postfix]
   :leading-space? keys/truth
   :read? keys/truth
   :refused ["a sequence of true and false" #(or (nil? %) (sequential? %))]})

(def ^:private delivery-table
  "Options of delivered."
  (assoc application-table
         :made ["a map of strings" #(or (nil? %) (map? %))]))

(defn- check-actions
  [actions]
  (when-not (and (or (nil? actions) (sequential? actions)) (every? map? actions))
    (throw (IllegalArgumentException.
             (str "actions are a sequence of maps such as {:action :accept}, not "
                  (keys/shown actions))))))

(defn- read-actions
  [actions {:keys [read?]}]
  (if read? actions (map edit/as-read actions)))

(defn delivered
  "Returns the message as the next hop gets it after the modifications among the actions: with the
  header fields that the MTA makes, which have {:made true} as metadata, and with the recipients in
  the order of delivery. Options are those of `apply-actions` and

    :made      ; values of the fields that the MTA makes, such as {\"Received\" \"from …\"}"
  [message actions {:keys [mta leading-space? refused made]
                    :or {mta :postfix}
                    :as options}]
  (mail/check-message "a message" message)
  (keys/check "the options of delivered" options delivery-table)
  (check-actions actions)
  (let [{:keys [edited in-sending-order]} (rules/of mta)]
    (in-sending-order (edited message (concat refused (repeat false)) (read-actions actions options) leading-space? made))))

(def ^:private made
  {"Received" "from client.example.org"})

(defn apply-actions
  "Returns the message as the MTA would deliver it after the modifications among the actions,
  without the header fields that the MTA makes itself. Options:

    :mta              ; :postfix or :sendmail, whose rules apply (default: :postfix)
    :leading-space?   ; values in the actions have the space after the colon (default: false)
    :read?            ; the actions are as the MTA has read them from another milter (default: false)
    :refused          ; booleans, whether the filter has refused each recipient (default: none)

    (apply-actions {:headers [[\"Subject\" \"hi\"]] …} [(act/add-header \"X-Seen\" \"yes\")])"
  ([message actions]
   (apply-actions message actions {}))
  ([message actions {:keys [mta leading-space? refused] :or {mta :postfix} :as options}]
   (mail/check-message "a message" message)
   (keys/check "the options of apply-actions" options application-table)
   (check-actions actions)
   (let [{:keys [edited]} (rules/of mta)]
     (-> (edited message (concat refused (repeat false)) (read-actions actions options) leading-space? made)
         (update :headers #(into [] (remove (comp :made meta)) %))))))

;; ---- outcomes

(def ^:private default-session
  {:host-name edit/host-name
   :hello "client.example.org"
   :queue-id "QUEUEID"
   :date "Thu, 1 Jan 1970 00:00:00 +0000"})

(def ^:private session-table
  (update-vals default-session (constantly ["a string" string?])))

(def ^:private table
  "What outcome is given."
  {:mta [":postfix or :sendmail" #{:postfix :sendmail}]
   :message ["a message map" map?]
   :conversation ["a sequence of exchanges {:event :response}"
                  #(and (or (nil? %) (sequential? %)) (every? (comp map? :event) %))]
   :agreement ["the filter's answer to the offer, an :options map" #(or (nil? %) (map? %))]
   :session ["a map of :host-name, :hello, :queue-id and :date" #(or (nil? %) (map? %))]})

(defn- check
  [{:keys [message agreement session] :as given}]
  (keys/check "what outcome is given" given table)
  (mail/check-message "a message" (or message {}))
  (keys/check "the :session of outcome" (or session {}) session-table)
  (events/check-offer (or agreement {})))

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

;; ---- the SMTP dialogue

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

(defn- connect
  [{:keys [mta session conversation] :as state}]
  (let [{:keys [approval refused-greeting]} (rules/of mta)
        reply (first (replies conversation :connect))
        {:keys [greeting later]} (when (and reply (= :refuse (effect reply)))
                                   (refused-greeting reply session))]
    (cond-> (assoc-in state [:smtp :greeting] (or greeting (approval :connect session nil)))
      later (assoc :later [:connect later])
      (and greeting (not later)) (settled :connect greeting))))

(defn- hello
  "A refusal of the greeting answers the MAIL command, unless it closes the connection."
  [{:keys [mta session conversation] :as state}]
  (let [{:keys [approval refusal]} (rules/of mta)
        reply (last (replies conversation :hello))
        refused (when (and reply (= :refuse (effect reply)))
                  (refusal :hello reply nil))]
    (if (= 421 (:smtp-code refused))
      (after-reply state :hello :hello refused)
      (cond-> (after-reply state :hello :hello (approval :hello session nil))
        refused (assoc :later [:hello refused])))))

(defn- sender
  [{:keys [message conversation later] :as state}]
  (if-let [[at reply] later]
    (after-reply state :mail at reply)
    (answered state :mail :mail (:sender message) (replies conversation :mail))))

(defn- recipient
  "Returns the state after one recipient; `asked` are the exchanges about those that are left."
  [{:keys [mta asked] :as state} address]
  (let [{:keys [hangs-up?]} (rules/of mta)
        exchange (first asked)
        asked? (= address (:address (:event exchange)))
        [{:keys [smtp-code] :as reply} state]
        (answer state :recipient address (when asked? [(final-reply exchange)]))]
    (cond-> (-> state
                (update-in [:smtp :recipients] (fnil conj []) reply)
                (update :refused (fnil conj []) (<= 400 smtp-code)))
      asked? (update :asked rest)
      (hangs-up? smtp-code) reduced)))

(defn- recipients
  "A client that has named no recipient is refused by the MTA itself at DATA."
  [{:keys [mta message conversation] :as state}]
  (let [state (assoc state :asked (filter #(= :recipient (:event (:event %))) conversation))
        {:keys [refused smtp] :as state} (reduce recipient state (:recipients message))
        heard (:recipients smtp)]
    (cond
      (empty? heard)
      (after-reply state :data :data (:no-recipients (rules/of mta)))

      ((:hangs-up? (rules/of mta)) (:smtp-code (peek heard)))
      (settled state :recipient (peek heard))

      (every? true? refused)
      (settled state :recipient (or (first (filter #(< (:smtp-code %) 500) heard))
                                    (first heard)))

      :else
      state)))

(defn- data
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

(defn- content
  "The modifications before a refusal may leave traces in its text."
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

(defn- go-on
  "Returns the state after the mail has been accepted."
  [{:keys [mta session message refused discarded-at leading-space?] :as state}]
  (let [{:keys [held-without-recipients? received]} (rules/of mta)
        {:keys [recipients quarantine] :as delivered}
        (delivered (received message) (modifications state)
          {:mta mta
           :leading-space? leading-space?
           :read? true
           :refused refused
           :made (made-values session message)})]
    (cond
      discarded-at
      (assoc state :fate :discarded :at discarded-at)

      (and (empty? recipients) (not (and quarantine held-without-recipients?)))
      (assoc state :fate :no-recipients :at :end-of-message)

      :else
      (assoc state
             :fate (if quarantine :held :delivered)
             :at :end-of-message
             :delivered delivered))))

(defn- as-read
  "Returns an exchange with the response as the MTA reads it: where it has remarked upon it, it has."
  [{:keys [remarks] :as exchange}]
  (cond-> exchange
    (nil? remarks) (update :response (partial map edit/as-read))))

(defn outcome
  "Returns the outcome for a mail, given what the filter has answered so far:

    :smtp      ; what the SMTP client receives: {:greeting :hello :mail :recipients :data :message},
               ; each a reply {:smtp-code 550 :enhanced-code \"5.7.1\" :text \"…\"}, :recipients a
               ; vector of them; what the client does not come to is missing
    :fate      ; :delivered, :held (quarantined), :refused, :deferred, :discarded, or :no-recipients
               ; where the filter has deleted all of them
    :at        ; the event that settled it
    :message   ; the message that the next hop gets, or would get once released, or nil

  The message is a map {:sender :options :recipients :recipient-options :headers :body}. Fields that
  the MTA has made have {:made true} as metadata. :options and :recipient-options, a vector of ESMTP
  parameters per recipient, hold what travels on: RET and ENVID, NOTIFY and ORCPT. Recipients are in
  the order in which the MTA sends them.

  Given are

    :mta            ; :postfix or :sendmail (default: :postfix)
    :message        ; the mail as the SMTP client sends it, a map of the same shape
    :conversation   ; exchanges {:event :response}: what the filter answered to this mail, and to
                    ; :connect and :hello; what is missing was answered with continue
    :agreement      ; the filter's answer to the offer, an :options map: whether values have their
                    ; leading space is in it (default: they have not)
    :session        ; {:host-name :hello :queue-id :date}, which appear in texts and made fields"
  [{:keys [mta message conversation agreement session] :or {mta :postfix} :as given}]
  (check given)
  (let [start {:mta mta
               :session (merge default-session session)
               :message message
               :conversation (map as-read conversation)
               :leading-space? (contains? (:protocol agreement) :leading-space)}
        step (fn [state f] (if (:fate state) (reduced state) (f state)))
        {:keys [smtp fate at delivered]}
        (reduce step start [connect hello sender recipients data content go-on])]
    {:smtp smtp :fate fate :at at :message delivered}))
