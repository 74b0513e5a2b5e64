(ns temse.message
  "Messages as maps, and what actions make of them.

  A message is {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
  :headers [[\"Subject\" \"hi\"]] :body bytes}, and may have :options, the ESMTP parameters of the
  sender, and :recipient-options, a vector of them for each recipient. The value of a header field
  is without the space after the colon and has its folds as LF and white space; where no space
  follows the colon, [\"X-Tight\" \"v\" \"v\"] has as third what does."
  (:require
   [temse.action :as act]
   [temse.impl.keys :as keys]
   [temse.impl.options :as options]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.simulate.edit :as edit]
   [temse.simulate.rules :as rules])
  (:import
   (java.io ByteArrayOutputStream)))

(set! *warn-on-reflection* true)

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

;; ---- filters that see a message as a whole

(def ^:private filter-table
  "Options of message-filter."
  {:body? (conj keys/truth true)
   :max-body ["a number of bytes, 0 or more" #(and (int? %) (<= 0 (long %) Integer/MAX_VALUE)) 33554432]
   :when-exceeded [":truncate, :defer, :reject or :accept" #{:truncate :defer :reject :accept}
                   :truncate]})

(defn- watcher
  "Returns the handler, marked as one that never answers."
  [f]
  (with-meta f {:no-reply true}))

(defn- on-mail
  [{:keys [sender options]} context]
  (milter/update-message context assoc :sender sender :options options))

(defn- on-recipient
  [{:keys [address options]} context]
  (milter/update-message context
                         #(-> %
                              (update :recipients (fnil conj []) address)
                              (update :recipient-options (fnil conj []) options))))

(defn- on-header
  [{:keys [name value]} context]
  (milter/update-message context update :headers (fnil conj []) [name value]))

(defn- on-body
  "Returns the handler of pieces of the body. What is beyond the limit is dropped, and all of it
  where nobody will see it."
  [{:keys [max-body when-exceeded]}]
  (fn [{:keys [^bytes data]} context]
    (let [{:keys [collected truncated?]} (milter/message context)
          ^ByteArrayOutputStream collected (or collected (ByteArrayOutputStream.))
          room (- (long max-body) (.size collected))]
      (cond
        (and (not truncated?) (<= (alength data) room))
        (do (.write collected data 0 (alength data))
            (milter/update-message context assoc :collected collected))

        (not= :truncate when-exceeded)
        (milter/update-message context assoc :collected nil :truncated? true)

        :else
        (do (.write collected data 0 (int (min room (alength data))))
            (milter/update-message context assoc :collected collected :truncated? true))))))

(defn- collected-message
  "Returns what was collected as a message map."
  [{:keys [^ByteArrayOutputStream collected recipient-options truncated?] :as parts}]
  (merge {:sender "<>", :options [], :recipients [], :headers []}
         (cond-> (dissoc parts :collected)
           (every? empty? recipient-options) (dissoc :recipient-options))
         {:body (if collected (.toByteArray collected) (byte-array 0))
          :truncated? (boolean truncated?)}))

(def ^:private exceeded-answers
  "What answers a message whose body is too long, unless it is truncated."
  {:defer [(act/temporary-failure)]
   :reject [(act/reject)]
   :accept [(act/accept)]})

(defn message-filter
  "Returns a handler map that collects each message and calls `f` with it and the context when its
  end has come. What f returns is what a handler of :end-of-message returns: a context, actions, nil,
  or a value that will yield one of these. The handlers that collect never answer, and say so: the
  MTA is asked to wait for one reply per message. If one of them fails, f is not called and the
  message is deferred, unless :on-error says otherwise.

  The message has :sender :options :recipients :headers :body, a byte array, and :truncated?; also
  :recipient-options if a recipient has parameters. It is a mail of temse.mail: `run-message` plays it
  again, `write-mbox` keeps it. The recipients are those that the MTA has asked about. How many header fields and recipients there may
  be, start-milter's :max-header-fields, :max-header-bytes and :max-recipients say.

    :body?          ; whether the body is asked for (default: true)
    :max-body       ; bytes of the body that are kept (default: 33554432)
    :when-exceeded  ; what a longer body means: :truncate, f sees the beginning and :truncated? true;
                    ; :defer, :reject or :accept the message without f (default: :truncate)

    (start-milter {:port 20025
                   :handlers (message-filter (fn [{:keys [headers]} _] …))
                   :actions #{:add-header}})"
  ([f]
   (message-filter f {}))
  ([f given]
   (when-not (options/callable? f)
     (throw (IllegalArgumentException.
              (str "message-filter takes a function or var, not " (keys/shown f)))))
   (let [{:keys [body? when-exceeded] :as options}
         (keys/with-defaults "the options of message-filter" given filter-table)]
     (cond-> {:mail (watcher on-mail)
              :recipient (watcher on-recipient)
              :header (watcher on-header)
              :end-of-message (fn [_event context]
                                (let [message (milter/message context)]
                                  (or (when (:truncated? message)
                                        (exceeded-answers when-exceeded))
                                      (f (collected-message message) context))))}
       body? (assoc :body (watcher (on-body options)))))))
