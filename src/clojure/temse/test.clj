(ns temse.test
  "The MTA's side, for tests and for trying filters out without a mail server.

  A filter is given as options of start-milter (no port is used: real packets, the real engine, the
  caller's thread), as a running server, as an address such as \"inet:20025@127.0.0.1\" of any
  milter, or as a session of `connect-to`.

    (:verdict (run-message {:handlers handlers}
                           {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
                            :headers [[\"Subject\" \"hi\"]] :body \"hello\"}))
    ;=> :accept"
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.dispatch :as dispatch]
   [temse.impl.log]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options]
   [temse.impl.pending :as pending]
   [temse.message :as message]
   [temse.milter :as milter]
   [temse.report :as report])
  (:import
   (java.io ByteArrayOutputStream Closeable File)
   (java.time Duration)
   (java.util Map)
   (java.util.concurrent ExecutionException TimeUnit)
   (temse.client Mail Mail$Field MtaClient MtaOptions MtaSession)
   (temse.protocol ActionCodec EventCodec MacroTable Negotiation Offer ProtocolFlag Text)
   (temse.server Connection)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

;; ---- mails

(def ^:private default-mail
  {:sender "<sender@example.org>"
   :recipients ["<recipient@example.com>"]
   :headers [["From" "sender@example.org"]
             ["To" "recipient@example.com"]
             ["Subject" "A test"]]
   :body "This is a test.\r\n"})

(defn- mail-bytes
  ^bytes [body]
  (cond
    (nil? body) (byte-array 0)
    (bytes? body) body
    (string? body) (Text/encodeBytes body)
    (sequential? body) (let [joined (ByteArrayOutputStream.)]
                         (run! #(.writeBytes joined (mail-bytes %)) body)
                         (.toByteArray joined))
    :else (throw (IllegalArgumentException.
                   (str "a body must be a string, bytes or a sequence of these, not "
                        (class body))))))

(defn- check-keys
  [what given known]
  (when-let [unknown (first (remove (set known) (keys given)))]
    (throw (IllegalArgumentException.
             (str "there is no key " (pr-str unknown) " in " what "; its keys are "
                  (string/join " " known))))))

(defn- map->mail
  ^Mail [given]
  (let [{:keys [sender options recipients headers body]} (merge default-mail given)]
    (when-not (and (sequential? recipients) (every? string? recipients))
      (throw (IllegalArgumentException.
               (str ":recipients must be a vector of addresses, not " (pr-str recipients)))))
    (Mail. sender
           (vec options)
           (vec recipients)
           (mapv (fn [[header-name value]] (Mail$Field. header-name (str " " value))) headers)
           (Mail/wireBody (mail-bytes body)))))

(defn- ->mail
  ^Mail [mail]
  (cond
    (instance? Mail mail) mail
    (map? mail) (do
                  (check-keys "a mail" mail
                              [:sender :options :recipients :headers :body :message :quarantine])
                  (if (:message mail)
                    (Mail/parse (:sender mail (:sender default-mail))
                                (:recipients mail (:recipients default-mail))
                                (mail-bytes (:message mail)))
                    (map->mail mail)))
    (string? mail) (recur {:message mail})
    (instance? File mail) (let [bytes (ByteArrayOutputStream.)]
                            (io/copy mail bytes)
                            (recur {:message (.toByteArray bytes)}))
    :else (throw (IllegalArgumentException.
                   (str "a mail must be a map, a string, or a File, not " (class mail))))))

;; ---- sessions

(def postfix
  "The offer of a current Postfix, an :options event: :version, :actions and :protocol."
  (dissoc (.event Offer/CURRENT) :action-mask :protocol-mask))

(defn- mta-options
  ^MtaOptions [{:keys [mta offer macros timeout] :or {mta :postfix timeout 30000} :as given}]
  (check-keys "a map of options" given [:mta :offer :macros :timeout :client :hello])
  (cond-> (case mta
            :postfix MtaOptions/POSTFIX
            :sendmail MtaOptions/SENDMAIL
            (throw (IllegalArgumentException.
                     (str ":mta must be :postfix or :sendmail, not " (pr-str mta)))))
    offer (.withOffer (negotiation/offer offer))
    macros (.withMacros ^Map macros)
    true (.withTimeout (Duration/ofMillis timeout))))

(defn connect-to
  "Returns a session with a filter, Closeable: the MTA's side of one connection, negotiated.

    :mta       ; :postfix or :sendmail (default: :postfix)
    :offer     ; an :options event, such as {:version 2}: what the MTA offers (default: `postfix`)
    :macros    ; values of macros by name, such as {\"auth_authen\" \"alice\"}
    :timeout   ; milliseconds to wait for each reply (default: 30000)

  Throws an IOException where the filter cannot be reached or closes the connection."
  (^MtaSession [filter]
   (connect-to filter {}))
  (^MtaSession [filter options]
   (let [mta (mta-options options)]
     (cond
       (string? filter)
       (MtaClient/connect (Endpoint/parse filter) mta)

       (map? filter)
       (let [checked (options/check filter)]
         (MtaClient/inProcess (milter/factory filter)
                              (options/engine checked)
                              (temse.impl.log/listener (:name checked) (:on-exchange checked))
                              mta))

       (instance? Closeable filter)
       (MtaClient/connect (Endpoint/parse (milter/milter-address filter)) mta)

       :else
       (throw (IllegalArgumentException.
                (str "a filter is a map of options, a server, an address or a session, not "
                     (pr-str filter))))))))

(defn agreement
  "Returns the filter's answer to the offer, an :options map."
  [^MtaSession session]
  (.agreement session))

(defn send-event
  "Sends an event with its macros and returns the actions that answer it, the reply last; [] where
  the filter does not want it or owes no reply.

    (send-event session {:event :hello :greeting \"client.example.org\"})"
  [^MtaSession session event]
  (vec (.send session event)))

(defn- client-event
  [{:keys [host-name address port] :or {host-name "client.example.org"
                                        address "192.0.2.1"
                                        port 40110}}]
  {:event :connect
   :host-name host-name
   :family (if (re-find #":" address) :inet6 :inet)
   :port port
   :address address})

(defn- without-space
  [{:keys [value] :as action}]
  (cond-> action
    (and value (string/starts-with? value " ")) (update :value subs 1)))

(defn- delivered
  "Returns the message as it would be delivered, or nil. With `leading-space?` the values of header
  fields hold the space that the MTA would add otherwise."
  [sent report leading-space?]
  (when (and (not (#{:reject :temporary-failure :discard} (:verdict report))))
    (-> sent
        (update :recipients
                (fn [recipients]
                  (filterv #(let [reply (get-in report [:recipients %])]
                              (or (nil? reply)
                                  (contains? #{"CONTINUE" "ACCEPT" "SKIP"}
                                             (str (ActionCodec/verdict reply)))))
                           recipients)))
        (message/apply-actions (cond->> (:modifications report)
                                 leading-space? (map without-space))))))

(defn run-message
  "Plays one message to a filter and returns what became of it:

    :verdict       ; :accept, :reject, :temporary-failure or :discard
    :at            ; the event that settled it
    :reply         ; the reply that did
    :modifications ; what the filter changed, in order; a replaced body is one action
    :recipients    ; map of recipient to the reply it got
    :responses     ; vector of [event actions]
    :conversation  ; vector of {:event :response :nanos}
    :sent          ; the message as it was, a map
    :message       ; the message as it would be delivered, nil if it is not
    :agreement     ; the filter's answer to the offer

  `mail` is a map {:sender :recipients :headers :body} of which all keys may be missing, a string or
  File in the Internet message format, or a map with such a string under :message. Options are those
  of `connect-to` and
    :client        ; {:host-name :address :port} of the SMTP client
    :hello         ; its greeting (default: \"client.example.org\")

  Options are used where a connection is made; on a session the client stays what it was."
  ([filter mail]
   (run-message filter mail {}))
  ([filter mail {:keys [client hello] :or {hello "client.example.org"} :as options}]
   (if (instance? MtaSession filter)
     (let [mail (->mail mail)
           sent (.toMap mail)
           report (.deliver ^MtaSession filter mail)]
       (assoc report
              :responses (mapv (fn [{:keys [event response]}] [(:event event) response])
                               (:conversation report))
              :sent sent
              :message (delivered sent report (.agreed ^MtaSession filter ProtocolFlag/LEADING_SPACE))
              :agreement (agreement filter)))
     (with-open [session (connect-to filter options)]
       (.greet session (client-event client) hello)
       (run-message session mail)))))

(defn print-report
  "Prints what run-message returned: the conversation as a ladder, the verdict, and the mail before
  and after."
  [report]
  (report/print-report report))

;; ---- handlers by hand

(defn context
  "Returns a context for calling handlers by hand. Its connection records what send-action sends.

    (on-header {:event :header :name \"Subject\" :value \"hi\"} (context))

  :actions    ; agreed actions (default: all)
  :macros     ; map of stage to {name value}
  Other keys are put into the context."
  ([]
   (context {}))
  ([{:keys [actions macros] :as given}]
   (let [sent (atom [])
         request (negotiation/request {:handlers {:end-of-message identity} :actions actions})
         agreement (Negotiation/agree Offer/CURRENT request)
         table (reduce (fn [^MacroTable table [stage definitions]]
                         (.with table
                                (EventCodec/encode {:event :define-macro
                                                    :command (char (.-letter (options/macro-stage stage)))
                                                    :definitions definitions})))
                       MacroTable/EMPTY
                       macros)
         connection (reify Connection
                      (id [_] 0)
                      (peer [_] "test")
                      (agreement [_] agreement)
                      (macros [_] table)
                      (send [_ action] (swap! sent conj action))
                      (progress [_] (swap! sent conj {:action :progress}))
                      (await [_ _ _])
                      (close [_]))
         agreed (negotiation/agreement-map agreement)]
     (merge (dissoc given :actions :macros)
            {:milter/connection connection
             :socket connection
             :milter/info {:id 0 :peer "test" :name "test"}
             :milter/agreement agreed
             :events (:events agreed)
             :actions (:actions agreed)
             ::sent sent}))))

(defn response
  "Returns what a handler has sent and returned, in order, from the context it returned."
  [context]
  (into (vec (some-> (::sent context) deref)) (milter/response context)))

(defn- awaited
  "Returns the value that a handler's return value yields: itself, unless it is pending."
  [returned]
  (if-let [stage (when-not (or (nil? returned) (map? returned) (sequential? returned))
                   (pending/stage returned))]
    (try
      (.get (.toCompletableFuture stage) 30 TimeUnit/SECONDS)
      (catch ExecutionException e
        (throw (or (ex-cause e) e))))
    returned))

(defn fire
  "Calls the handler of an event in a handler map as the library would, without a wire, and returns
  the next context, whose `response` is the one to this event. Waits for a pending value.

  Throws what the handler throws, and :bad-handler-return where it returns what means nothing.

    (-> (context) (->> (fire handlers {:event :header …})) response)"
  [handlers {:keys [event] :as e} context]
  (let [handler (get (negotiation/handler-map handlers)
                     (.-keyword (options/event-type :event event)))
        before (dissoc context :milter/response)
        _ (some-> (::sent before) (reset! []))
        returned (awaited (when handler (handler e before)))
        actions (dispatch/actions-of e returned)]
    (cond-> (if (map? returned)
              (merge (dispatch/next-context before returned) (select-keys before [::sent]))
              before)
      actions (assoc :milter/response (vec actions))
      (= :message-end event) (dissoc :milter/message))))
