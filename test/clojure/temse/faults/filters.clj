(ns temse.faults.filters
  "Filters that do what each mail asks for in its own envelope, and sign what they have seen of it: of
  whatever kind a filter is, a mail comes to the same.

  The sender of a mail is <WHAT.ID@example.org>, WHAT being one of `whats`. A recipient that begins with \"no\"
  is refused. Whatever a filter says or changes names the ID, and X-Stamp has a hash of all that it has seen."
  (:require
   [clojure.core.async :as async]
   [clojure.string :as str]
   [temse.action :as act]
   [temse.async]
   [temse.compose :as compose]
   [temse.filter :as filter]
   [temse.mail :as mail]
   [temse.milter :as milter :refer [respond]])
  (:import
   (java.nio.charset StandardCharsets)
   (java.security MessageDigest)
   (java.util HexFormat)
   (java.util.concurrent CompletableFuture TimeUnit)))

(set! *warn-on-reflection* true)

(def whats
  "What may become of a mail: its :fate, the event :at which a filter of handlers says so, and what is changed
  besides the stamp."
  {"stamped" {:fate :delivered}
   "body" {:fate :delivered, :body 1}
   "large-body" {:fate :delivered, :body 9000}
   "subject" {:fate :delivered, :subject? true}
   "recipients" {:fate :delivered, :recipients? true}
   "everything" {:fate :delivered, :body 1, :subject? true, :recipients? true}
   "passed" {:fate :passed, :at :end-of-headers}
   "held" {:fate :held}
   "dropped" {:fate :dropped, :at :end-of-message}
   "dropped-early" {:fate :dropped, :at :header}
   "refused-at-mail" {:fate :refused, :at :mail}
   "refused-at-header" {:fate :refused, :at :header}
   "refused-at-body" {:fate :refused, :at :body}
   "refused" {:fate :refused, :at :end-of-message}
   "deferred-at-mail" {:fate :deferred, :at :mail}
   "deferred" {:fate :deferred, :at :end-of-message}})

(defn parse
  "Returns [what id] of a sender."
  [sender]
  (rest (re-find #"<([a-z-]+)\.(\w+)@" sender)))

;; ---- what is signed

(defn digest
  "Returns the hash of what a filter sees of a mail: the path of its sender, those of its recipients, [name value]
  of Subject and X- fields, and the body."
  [sender recipients headers ^bytes body]
  (let [hash (MessageDigest/getInstance "SHA-256")
        text (pr-str sender (vec recipients) (for [[field value] headers
                                                   :when (re-find #"^(Subject|X-)" field)]
                                               [field value]))]
    (.update hash (.getBytes ^String text StandardCharsets/ISO_8859_1))
    (.update hash body)
    (subs (.formatHex (HexFormat/of) (.digest hash)) 0 32)))

(defn stamp
  [id digest]
  (str id " " digest))

(defn- signed
  "Returns the stamp of a mail, and notes it."
  [{:keys [stamps]} id digest]
  (let [stamp (stamp id digest)]
    (swap! stamps conj stamp)
    stamp))

(defn new-body
  [id lines]
  (str/join (repeat lines (str "changed " id "\r\n"))))

(defn new-subject
  [id]
  (str "changed " id))

(defn added-recipient
  [id]
  (str "<added." id "@example.com>"))

;; ---- what is answered

(defn- settling
  "Returns the actions by which a mail is settled without being delivered, nil if it is delivered."
  [fate id]
  (case fate
    :refused [(act/reply-code 550 "5.7.1" (str "not wanted " id))]
    :deferred [(act/reply-code 451 "4.7.1" (str "not now " id))]
    :dropped [(act/discard)]
    :passed [(act/accept)]
    nil))

(defn- settled-at
  [event what id]
  (let [{:keys [fate at]} (whats what)]
    (when (= event at)
      (settling fate id))))

(defn- refusal-of
  "Returns the actions for a recipient that is refused, nil for another."
  [address id]
  (when (str/starts-with? address "<no")
    [(act/reply-code 550 "5.1.1" (str "nobody there " id))]))

(defn- signing
  [notes what id digest]
  (cond-> [(if (= "subject" what)
             (act/insert-header 0 "X-Stamp" (signed notes id digest))
             (act/add-header "X-Stamp" (signed notes id digest)))]
    (= :held (:fate (whats what))) (conj (act/quarantine (str "held " id)))))

(defn- changing
  [what id recipients]
  (let [{:keys [body subject? recipients?]} (whats what)]
    (cond-> []
      subject? (conj (act/change-header "Subject" (new-subject id)))
      body (conj (act/change-body (new-body id body)))
      recipients? (conj (act/delete-recipient (first recipients)) (act/add-recipient (added-recipient id))))))

;; ---- handlers

(defn- settle-or-note
  "Answers an event as the mail wants it, or notes something of the message."
  [context event note & args]
  (let [context (apply milter/update-message context note args)
        {:keys [what id]} (milter/message context)]
    (if-let [actions (settled-at event what id)]
      (apply respond context actions)
      context)))

(defn- envelope
  "The handlers of an envelope."
  []
  {:mail (fn [{:keys [sender]} context]
           (let [[what id] (parse sender)]
             (settle-or-note context :mail merge {:sender sender, :what what, :id id, :recipients [], :headers []
                                                  :body []})))
   :recipient (fn [{:keys [address]} context]
                (or (refusal-of address (:id (milter/message context)))
                    (milter/update-message context update :recipients conj address)))})

(defn- joined
  ^bytes [pieces]
  (mail/body-bytes pieces))

(defn- counting
  "Returns handlers that count messages: one more when it begins, one less when it ends."
  [{:keys [open]} {:keys [mail] :as handlers}]
  (assoc handlers
         :mail (fn [event context]
                 (swap! open inc)
                 (mail event context))
         :message-end (fn [_ context]
                        (swap! open dec)
                        context)))

(defn- handlers
  "A filter of handlers."
  [notes]
  (assoc (envelope)
         :data (fn [_ context] context)
         :header (fn [{:keys [name value]} context]
                   (settle-or-note context :header update :headers conj [name value]))
         :end-of-headers (fn [_ context] (settle-or-note context :end-of-headers identity))
         :body (fn [{:keys [data]} context]
                 (settle-or-note context :body update :body conj data))
         :end-of-message (fn [_ context]
                           (let [{:keys [what id sender recipients headers body]} (milter/message context)]
                             (apply respond context
                                    (or (settled-at :end-of-message what id)
                                        (concat (signing notes what id (digest sender recipients headers (joined body)))
                                                (changing what id recipients)
                                                [(act/accept)])))))))

;; ---- whole messages

(defn- body-of
  ^bytes [message]
  (mail/body-bytes (:body message)))

(defn- stamped
  [notes {:keys [headers sender recipients] :as message} id]
  (mail/add-header headers "X-Stamp"
                   (signed notes id (digest sender recipients (map (partial take 2) headers) (body-of message)))))

(defn- judge
  "Judges a message as a whole."
  [notes {:keys [sender recipients headers] :as message} context]
  (let [[what id] (parse sender)
        {:keys [fate body subject? recipients?]} (whats what)]
    (or (settling fate id)
        (filter/changed context
                        (cond-> (assoc message :headers (stamped notes message id))
                          subject? (update :headers mail/set-header "Subject" (new-subject id))
                          body (assoc :body (new-body id body))
                          recipients? (assoc :recipients (conj (vec (rest recipients)) (added-recipient id)))
                          (= :held fate) (assoc :quarantine (str "held " id)))
                        (act/accept)))))

;; ---- values that are pending

(def ^:private kinds (atom 0))

(defn- later
  "Returns a pending value of what f returns, each time of another kind."
  [f]
  (case (int (mod (long (swap! kinds inc)) 3))
    0 (CompletableFuture/supplyAsync f (CompletableFuture/delayedExecutor 15 TimeUnit/MILLISECONDS))
    1 (future (f))
    2 (temse.async/go
        (async/<! (async/timeout 2))
        (f))))

(defn- pending
  [handler]
  (fn [event context]
    (later #(handler event context))))

(defn- pending-handlers
  [handlers]
  (reduce (fn [handlers event] (update handlers event pending))
          handlers
          [:mail :recipient :end-of-headers :end-of-message]))

;; ---- several filters as one

(defn- composed
  "Four filters in a row: one refuses, one signs, one changes, one pretends to refuse all."
  [notes]
  (let [{:keys [mail recipient]} (envelope)]
    (compose/in-sequence
      (compose/named "refusals"
                     {:handlers {:mail mail
                                 :recipient (pending recipient)
                                 :header (fn [_ context] (settle-or-note context :header identity))}
                      :actions #{}})
      (compose/named "stamps"
                     {:handlers (filter/message-filter
                                  (fn [{:keys [sender] :as message} context]
                                    (let [[what id] (parse sender)
                                          {:keys [fate]} (whats what)]
                                      (later #(or (settling fate id)
                                                  (filter/changed context
                                                                  (cond-> (assoc message :headers (stamped notes message id))
                                                                    (= :held fate) (assoc :quarantine (str "held " id)))))))))
                      :actions #{:add-header :change-header :quarantine}})
      (compose/named "changes"
                     (compose/when-message
                       (constantly true)
                       {:handlers {:mail mail
                                   :recipient recipient
                                   :end-of-message (fn [_ context]
                                                     (let [{:keys [what id recipients]} (milter/message context)]
                                                       (when (= :delivered (:fate (whats what)))
                                                         (apply respond context (changing what id recipients)))))}
                        :actions #{:change-header :change-body :add-recipient :delete-recipient}}))
      (compose/pretend (compose/named "strict" {:handlers {:end-of-message (fn [_ _] [(act/reject)])}
                                                :actions #{}})))))

(defn filters
  "Returns the filters by name, as options of start-milter. They note what they do in atoms: in :stamps what they
  have stamped mails with, in :open how many messages have begun and not ended."
  [notes]
  (let [handlers (handlers notes)]
    {:handlers {:handlers (counting notes handlers)}
     :pending {:handlers (counting notes (pending-handlers handlers)), :progress-interval 5}
     :message {:handlers (filter/message-filter (partial judge notes) {:handlers (envelope)})}
     :pending-message {:handlers (filter/message-filter (fn [message context] (later #(judge notes message context)))
                                                        {:handlers (envelope), :memory-per-message 1000})}
     :at-the-end {:handlers (filter/message-filter (partial judge notes))}
     :composed (composed notes)}))
