(ns temse.filter
  "Filters that receive each message as a whole: the envelope, the header fields and the body as one
  map."
  (:require
   [temse.action :as act]
   [temse.impl.keys :as keys]
   [temse.impl.options :as options]
   [temse.milter :as milter])
  (:import
   (java.io ByteArrayOutputStream)))

(set! *warn-on-reflection* true)

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
