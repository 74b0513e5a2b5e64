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
   [temse.impl.events :as events]
   [temse.impl.keys :as keys]
   [temse.impl.mta.edit :as edit]
   [temse.impl.mta.rules :as rules]
   [temse.impl.mta.stages :as stages]
   [temse.mail :as mail]))

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
  (stages/delivered mta message refused (read-actions actions options) leading-space? made))

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
               :conversation (map stages/as-read conversation)
               :leading-space? (contains? (:protocol agreement) :leading-space)}
        step (fn [state f] (if (:fate state) (reduced state) (f state)))
        {:keys [smtp fate at delivered]}
        (reduce step start [stages/connect stages/hello stages/mail stages/recipients stages/data stages/content
                            stages/end])]
    {:smtp smtp :fate fate :at at :message delivered}))
