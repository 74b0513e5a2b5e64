(ns temse.message
  "Messages as maps, and what actions make of them.

  A message is {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
  :headers [[\"Subject\" \"hi\"]] :body bytes}, and may have :options, the ESMTP parameters of the
  sender, and :recipient-options, a vector of them for each recipient. The value of a header field
  is without the space after the colon and has its folds as LF and white space; where no space
  follows the colon, [\"X-Tight\" \"v\" \"v\"] has as third what does."
  (:require
   [temse.milter :as milter]
   [temse.simulate.rules :as rules])
  (:import
   (java.io ByteArrayOutputStream)))

(set! *warn-on-reflection* true)

(defn delivered
  "Returns the message as the next hop gets it after the modifications among the actions: with the
  header fields that the MTA makes, which have {:made true} as metadata, and with the recipients in
  the order of delivery. Options are those of `apply-actions` and

    :refused   ; booleans, whether the filter has refused each recipient (default: none)
    :made      ; values of the fields that the MTA makes, such as {\"Received\" \"from …\"}"
  [message actions {:keys [mta leading-space? refused made]
                    :or {mta :postfix refused (repeat false)}}]
  (let [{:keys [edited in-sending-order]} (rules/of mta)]
    (in-sending-order (edited message refused actions leading-space? made))))

(def ^:private made
  {"Received" "from client.example.org"})

(defn apply-actions
  "Returns the message as the MTA would deliver it after the modifications among the actions,
  without the header fields that the MTA makes itself. Options:

    :mta              ; :postfix or :sendmail, whose rules apply (default: :postfix)
    :leading-space?   ; values in the actions have the space after the colon (default: false)

    (apply-actions {:headers [[\"Subject\" \"hi\"]] …} [(act/add-header \"X-Seen\" \"yes\")])"
  ([message actions]
   (apply-actions message actions {}))
  ([message actions {:keys [mta leading-space?] :or {mta :postfix}}]
   (let [{:keys [edited]} (rules/of mta)]
     (-> (edited message (repeat false) actions leading-space? made)
         (update :headers #(into [] (remove (comp :made meta)) %))))))

;; ---- filters that see a message as a whole

(def ^:private default-limit 33554432)

(defn- watcher
  "Returns the handler, marked as one that never answers."
  [f]
  (with-meta f {:no-reply true}))

(defn- on-mail
  [{:keys [sender options]} context]
  (milter/update-message context assoc :sender sender :options options))

(defn- on-recipient
  [{:keys [address]} context]
  (milter/update-message context update :recipients (fnil conj []) address))

(defn- on-header
  [{:keys [name value]} context]
  (milter/update-message context update :headers (fnil conj []) [name value]))

(defn- on-body
  "Returns the handler of pieces of the body; beyond the limit they are dropped."
  [limit]
  (fn [{:keys [data]} context]
    (let [{:keys [^ByteArrayOutputStream collected]
           :or {collected (ByteArrayOutputStream.)}} (milter/message context)
          room (- (long limit) (.size collected))
          length (alength ^bytes data)]
      (.write collected ^bytes data 0 (int (min room length)))
      (milter/update-message context assoc
                             :collected collected
                             :truncated? (or (< room length)
                                             (:truncated? (milter/message context) false))))))

(defn- collected-message
  "Returns what was collected as a message map."
  [{:keys [^ByteArrayOutputStream collected truncated?] :as parts}]
  (merge {:sender "<>", :options [], :recipients [], :headers []}
         (dissoc parts :collected)
         {:body (if collected (.toByteArray collected) (byte-array 0))
          :truncated? (boolean truncated?)}))

(defn message-filter
  "Returns a handler map that collects each message and calls `f` with it and the context when its
  end has come. What f returns is what a handler of :end-of-message returns: a context, actions, nil,
  or a value that will yield one of these. The handlers that collect never answer, and say so: the
  MTA is asked to wait for one reply per message.

  The message has :sender :options :recipients :headers :body, a byte array, and :truncated?. The
  recipients are those that the MTA has asked about.

    :body?      ; whether the body is asked for (default: true)
    :max-body   ; bytes of the body that are kept; :truncated? tells that there were more
                ; (default: 33554432)

    (start-milter {:port 20025
                   :handlers (message-filter (fn [{:keys [headers]} _] …))
                   :actions #{:add-header}})"
  ([f]
   (message-filter f {}))
  ([f {:keys [body? max-body] :or {body? true, max-body default-limit}}]
   (cond-> {:mail (watcher on-mail)
            :recipient (watcher on-recipient)
            :header (watcher on-header)
            :end-of-message (fn [_event context]
                              (f (collected-message (milter/message context)) context))}
     body? (assoc :body (watcher (on-body max-body))))))
