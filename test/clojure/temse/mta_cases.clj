(ns temse.mta-cases
  "What a filter must achieve behind a real MTA: cases that run behind Postfix and Sendmail, over TCP
  and over Unix-domain sockets.

  A case is a function of a lab: {:mta :postfix, :port SMTP-port, :sink sink, :use-filter! f,
  :held f}, in which `(use-filter! handlers)` says what the filter does from the next SMTP
  connection on, and `(held)` returns the quarantined mails. Every mail has a sender of its own, by
  which it is found in the sink."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [is testing]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter :refer [respond]]
   [temse.runner :as runner])
  (:import
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.util.concurrent CountDownLatch LinkedBlockingQueue TimeUnit)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def cases
  "All cases: a map of symbol to function."
  (atom (array-map)))

(defmacro defcase
  "Defines a case whose body sees the lab under `binding`. With ^{:only :postfix} on its name it
  concerns no other MTA."
  [case-name [binding] & body]
  `(swap! cases assoc '~case-name (fn [~binding] ~@body)))

;; ---- helpers

(def ^:private counter (atom 0))

(defn- fresh-sender
  []
  (str "<s" (swap! counter inc) "@example.org>"))

(defn- send-mail
  "Sends one mail through the lab; returns the replies with the :sender that marks it."
  [lab mail]
  (let [sender (or (:sender mail) (fresh-sender))]
    (assoc (smtp/send-mail (assoc mail :port (:port lab) :sender sender))
           :sender (first (str/split sender #" ")))))

(defn- delivered
  "Returns the message of a mail that was sent, once it has arrived."
  [lab {:keys [sender]}]
  (sink/await-message (:sink lab) #(= sender (:sender %))))

(defn- arrived?
  [lab {:keys [sender]}]
  (boolean (some #(= sender (:sender %)) @(:messages (:sink lab)))))

(defn- arrives-after?
  "Returns whether the mail has arrived when a later, accepted mail has."
  [lab mail]
  ((:use-filter! lab) {})
  (delivered lab (send-mail lab {}))
  (arrived? lab mail))

(defn- values-of
  "Returns the values of the header fields of that name, unfolded and without the leading space."
  [message header-name]
  (for [[field value] (sink/headers message)
        :when (.equalsIgnoreCase ^String header-name field)]
    (str/trim value)))

(defn- text
  [reply]
  (str/join "\n" (:lines reply)))

(defn- at-end
  "Returns handlers that answer the end of each message with the actions."
  [& actions]
  {:end-of-message (fn [_ context] (apply respond context actions))})

(defn- take-event
  "Returns the next element of the queue, or nil after a long wait."
  [^LinkedBlockingQueue queue]
  (.poll queue 20 TimeUnit/SECONDS))

;; ---- verdicts

(defcase an-accepted-mail-is-delivered [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/accept)))
  (let [mail (send-mail lab {:body "Hello.\r\n"})]
    (is (= 250 (:code (:message mail))))
    (is (= "Hello.\r\n" (smtp/octets (sink/body (delivered lab mail)))))))

(defcase a-refused-mail-is-not-delivered [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/reject)))
  (let [mail (send-mail lab {})]
    (is (= 5 (quot (:code (:message mail)) 100)))
    (is (not (arrives-after? lab mail)))))

(defcase a-deferred-mail-is-not-delivered [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/temporary-failure)))
  (let [mail (send-mail lab {})]
    (is (= 451 (:code (:message mail))))
    (is (not (arrives-after? lab mail)))))

(defcase a-discarded-mail-is-accepted-and-not-delivered [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/discard)))
  (let [mail (send-mail lab {})]
    (is (= 250 (:code (:message mail))))
    (is (not (arrives-after? lab mail)))))

(defcase a-refusal-at-each-stage-reaches-the-client [{:keys [use-filter!] :as lab}]
  (doseq [[stage place] {:mail :mail, :recipient :rcpt, :data :data, :header :message
                         :end-of-headers :message, :body :message, :end-of-message :message}]
    (testing stage
      (use-filter! {stage (fn [_ context]
                            (respond context (act/reply-code 554 "5.7.1" (str "no " (name stage)))))})
      (let [reply (get (send-mail lab {}) place)
            reply (if (vector? reply) (first reply) reply)]
        (is (= 554 (:code reply)))
        (is (str/includes? (text reply) (str "no " (name stage))))))))

(defcase the-text-of-a-reply-reaches-the-client [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/reply-code 451 "4.7.1" "Come back in 5 minutes, 100% sure")))
  (let [reply (:message (send-mail lab {}))]
    (is (= 451 (:code reply)))
    (is (= ["4.7.1 Come back in 5 minutes, 100% sure"] (:lines reply)))))

(defcase a-reply-of-several-lines-reaches-the-client [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/reply-code 550 "5.7.0" "one\ntwo is 100% sure\nthree")))
  (let [reply (:message (send-mail lab {}))]
    (is (= 550 (:code reply)))
    (is (= ["5.7.0 one" "5.7.0 two is 100% sure" "5.7.0 three"] (:lines reply)))))

(defcase a-refused-recipient-leaves-the-others [{:keys [use-filter!] :as lab}]
  (use-filter! {:recipient (fn [{:keys [address]} context]
                             (if (= "<no@example.org>" address)
                               (respond context (act/reject))
                               context))})
  (let [mail (send-mail lab {:recipients ["<a@example.org>" "<no@example.org>" "<b@example.org>"]})]
    (is (= [250 550 250] (map :code (:rcpt mail))))
    (is (= ["<a@example.org>" "<b@example.org>"] (sort (:recipients (delivered lab mail)))))))

(defcase code-421-ends-the-smtp-connection [{:keys [use-filter!] :as lab}]
  (use-filter! {:mail (fn [_ context] (respond context (act/reply-code 421 "4.7.0" "closing")))})
  (is (= 421 (:code (:mail (send-mail lab {}))))))

(defcase a-refusal-at-connect-keeps-its-class-and-on-sendmail-loses-its-text
  [{:keys [use-filter! mta port]}]
  (doseq [[code enhanced-code] [[550 "5.7.1"] [450 "4.7.1"]]]
    (use-filter! {:connect (fn [_ context]
                             (respond context (act/reply-code code enhanced-code "not you")))})
    (with-open [connection (smtp/connect {:port port})]
      (smtp/command connection "EHLO client.example.org")
      (let [{refusal :code lines :lines} (smtp/command connection "MAIL FROM:<a@example.org>")]
        (is (= (quot code 100) (quot refusal 100)))
        (is (= (= :postfix mta) (boolean (some #(str/includes? % "not you") lines))))))))

;; ---- modifications

(defcase header-fields-are-added-inserted-changed-and-deleted [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/add-header "X-Added" "yes")
                       (act/add-header "X-Folded" "one\n\ttwo")
                       (act/insert-header 0 "X-Top" "first")
                       (act/change-header "X-Two" 2 "changed")
                       (act/delete-header "X-Gone")
                       (act/accept)))
  (let [mail (send-mail lab {:headers [["X-Two" " a"] ["X-Gone" " soon"] ["X-Two" " b"]]})
        message (delivered lab mail)]
    (is (= ["yes"] (values-of message "X-Added")))
    (is (= ["one\r\n\ttwo"] (values-of message "X-Folded")))
    (is (= ["X-Top" " first"]
           (first (remove #(= "Received" (first %)) (sink/headers message)))))
    (is (= ["a" "changed"] (values-of message "X-Two")))
    (is (empty? (values-of message "X-Gone")))))

(defcase recipients-and-sender-are-changed [{:keys [use-filter!] :as lab}]
  (let [new-sender (fresh-sender)]
    (use-filter! (at-end (act/add-recipient "<added@example.org>")
                         (act/delete-recipient "<gone@example.org>")
                         (act/change-sender new-sender)
                         (act/accept)))
    (send-mail lab {:recipients ["<stays@example.org>" "<gone@example.org>"]})
    (is (= ["<added@example.org>" "<stays@example.org>"]
           (sort (:recipients (delivered lab {:sender new-sender})))))))

(defcase a-large-body-is-replaced [{:keys [use-filter!] :as lab}]
  (let [line "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"
        body (str/join (repeat (* 200 16) line))]
    (use-filter! (at-end (act/change-body body) (act/accept)))
    (let [mail (send-mail lab {:body "short\r\n"})]
      (is (= body (smtp/octets (sink/body (delivered lab mail))))))))

(defcase a-body-is-emptied [{:keys [use-filter!] :as lab}]
  (use-filter! (at-end (act/change-body "") (act/accept)))
  (let [mail (send-mail lab {:body "secret\r\n"})]
    (is (= "" (smtp/octets (sink/body (delivered lab mail)))))))

(defcase a-quarantined-mail-is-held [{:keys [use-filter! held] :as lab}]
  (let [before (count (held))]
    (use-filter! (at-end (act/quarantine "needs a human") (act/accept)))
    (let [mail (send-mail lab {})]
      (is (= 250 (:code (:message mail))))
      (is (= (inc before) (count (held))))
      (is (not (arrives-after? lab mail))))))

;; ---- conversations

(defcase two-messages-on-one-connection-share-nothing [{:keys [use-filter! port] :as lab}]
  (use-filter! {:recipient (fn [{:keys [address]} context]
                             (milter/update-message context update :seen (fnil conj []) address))
                :end-of-message (fn [_ context]
                                  (respond context
                                           (act/add-header "X-Seen"
                                                           (pr-str (:seen (milter/message context))))
                                           (act/accept)))})
  (let [senders [(fresh-sender) (fresh-sender)]]
    (with-open [connection (smtp/connect {:port port})]
      (smtp/command connection "EHLO client.example.org")
      (doseq [[sender recipient] (map vector senders ["<one@example.org>" "<two@example.org>"])]
        (is (= 250 (:code (:message (smtp/transact connection {:sender sender
                                                               :recipients [recipient]})))))))
    (is (= [["[\"<one@example.org>\"]"] ["[\"<two@example.org>\"]"]]
           (map #(values-of (delivered lab {:sender %}) "X-Seen") senders)))))

(defcase rset-aborts-the-message-once [{:keys [use-filter! port] :as lab}]
  (let [ends (LinkedBlockingQueue.)
        aborts (LinkedBlockingQueue.)
        sender (fresh-sender)]
    (use-filter! {:mail (fn [_ context] context)
                  :abort (fn [_ _] (.put aborts :abort) nil)
                  :message-end (fn [{:keys [reason]} _] (.put ends reason) nil)})
    (with-open [connection (smtp/connect {:port port})]
      (smtp/command connection "EHLO client.example.org")
      (smtp/command connection "MAIL FROM:<aborted@example.org>")
      (smtp/command connection "RCPT TO:<b@example.org>")
      (is (= 250 (:code (smtp/command connection "RSET"))))
      (is (= 250 (:code (:message (smtp/transact connection {:sender sender}))))))
    (delivered lab {:sender sender})
    (is (= :aborted (take-event ends)))
    (is (= :accepted (take-event ends)))
    (is (= [:abort] (vec aborts)))))

(defcase a-client-gone-in-mid-data-leaves-the-filter-serving [{:keys [use-filter! port] :as lab}]
  (let [ends (LinkedBlockingQueue.)]
    (use-filter! {:mail (fn [_ context] context)
                  :message-end (fn [{:keys [reason]} _] (.put ends reason) nil)})
    (with-open [connection (smtp/connect {:port port})]
      (smtp/command connection "EHLO client.example.org")
      (smtp/command connection "MAIL FROM:<gone@example.org>")
      (smtp/command connection "RCPT TO:<b@example.org>")
      (smtp/command connection "DATA")
      (smtp/send-octets connection "Subject: half"))
    (is (contains? #{:aborted :lost} (take-event ends)))
    (is (= 250 (:code (:message (send-mail lab {})))))))

(defcase a-failing-handler-defers-the-mail-and-the-next-is-fine [{:keys [use-filter! port] :as lab}]
  (use-filter! {:header (fn [{:keys [value]} context]
                          (if (= "boom" value)
                            (throw (ex-info "the filter is broken" {}))
                            context))})
  (let [sender (fresh-sender)]
    (with-open [connection (smtp/connect {:port port})]
      (smtp/command connection "EHLO client.example.org")
      (is (= 451 (:code (:message (smtp/transact connection {:headers [["Subject" " boom"]]})))))
      (smtp/command connection "RSET")
      (is (= 250 (:code (:message (smtp/transact connection {:sender sender}))))))
    (is (delivered lab {:sender sender}))))

(defcase macros-are-there-when-they-should-be [{:keys [use-filter!] :as lab}]
  (let [seen (LinkedBlockingQueue.)
        sender (fresh-sender)
        note (fn [stage & names]
               (fn [_ context]
                 (.put seen [stage (mapv #(milter/get-macro context %) names)])
                 context))]
    (use-filter! {:connect (note :connect "j" "{daemon_name}")
                  :mail (note :mail "{mail_addr}" "mail_addr")
                  :recipient (note :recipient "{rcpt_addr}")
                  :end-of-message (note :end-of-message "i" "{rcpt_addr}" "j")})
    (let [mail (send-mail lab {:sender sender :recipients ["<macro@example.org>"]})
          queue-id (some identity
                         (rest (re-find #"queued as (\w+)|^2\.0\.0 (\w+) Message accepted"
                                        (text (:message mail)))))
          [_ [host daemon]] (take-event seen)]
      (is (string? host))
      (is (string? daemon))
      (is (= [:mail [(milter/bare-address sender) (milter/bare-address sender)]] (take-event seen)))
      (is (= [:recipient ["macro@example.org"]] (take-event seen)))
      (let [[_ [id recipient same-host]] (take-event seen)]
        (is (= "macro@example.org" recipient))
        (is (= host same-host))
        (is (some? id))
        (is (= queue-id id))))))

(defcase requested-macros-are-sent [{:keys [use-filter!] :as lab}]
  (let [seen (LinkedBlockingQueue.)]
    (use-filter! {:connect (fn [_ context]
                             (.put seen (or (milter/get-macro context "client_addr") "none"))
                             context)}
                 {:request-macros {:connect ["{client_addr}"]}})
    (send-mail lab {})
    (is (= "127.0.0.1" (take-event seen)))))

(defcase octets-pass-unchanged [{:keys [use-filter! mta] :as lab}]
  (let [seen (LinkedBlockingQueue.)
        odd " caf\u00e9 \u00fe\u00ff \u00c3\u00a9"
        body (apply str (map char (remove #{0 10 13} (range 256))))]
    (use-filter! {:header (fn [{:keys [name value]} context]
                            (when (= "X-Odd" name)
                              (.put seen (smtp/octets (Text/encode value))))
                            (milter/update-message context assoc name value))
                  :end-of-message (fn [_ context]
                                    (respond context
                                             (act/add-header "X-Copy"
                                                             (get (milter/message context) "X-Odd"))
                                             (act/accept)))})
    (let [mail (send-mail lab {:sender (str (fresh-sender) " BODY=8BITMIME")
                               :headers [["X-Odd" odd]]
                               :body (str body "\r\n")})
          message (delivered lab mail)]
      (is (= (subs odd 1) (take-event seen)))
      (is (= [(str/trim odd)] (values-of message "X-Copy")))
      (when (= :postfix mta)
        (is (= (str body "\r\n") (smtp/octets (sink/body message))))))))

(defcase ^{:only :postfix} smtputf8-addresses-pass-unchanged [{:keys [use-filter!] :as lab}]
  (let [seen (LinkedBlockingQueue.)
        sender (smtp/utf-8 (str "<jörg" (swap! counter inc) "@example.org>"))
        recipient (smtp/utf-8 "<日本@example.org>")]
    (use-filter! {:mail (fn [event _] (.put seen event) nil)
                  :recipient (fn [event _] (.put seen event) nil)
                  :end-of-message (fn [_ context]
                                    (respond context
                                             (act/add-recipient "<grüße@example.org>")
                                             (act/accept)))})
    (let [mail (send-mail lab {:sender (str sender " SMTPUTF8") :recipients [recipient]})
          from (take-event seen)]
      (is (= sender (smtp/utf-8 (:sender from))))
      (is (= ["SMTPUTF8"] (:options from)))
      (is (= "<日本@example.org>" (:address (take-event seen))))
      (is (= (sort [recipient (smtp/utf-8 "<grüße@example.org>")])
             (sort (:recipients (delivered lab mail))))))))

(defcase twenty-clients-at-once-are-kept-apart [{:keys [use-filter!] :as lab}]
  (use-filter! {:mail (fn [{:keys [sender]} context]
                        (milter/update-message context assoc :sender sender))
                :end-of-message (fn [_ context]
                                  (respond context
                                           (act/add-header "X-From"
                                                           (:sender (milter/message context)))
                                           (act/accept)))})
  (let [together (CountDownLatch. 20)
        mails (mapv deref
                    (mapv (fn [_]
                            (future
                              (.countDown together)
                              (.await together)
                              (send-mail lab {})))
                          (range 20)))]
    (is (every? #(= 250 (:code (:message %))) mails))
    (doseq [mail mails]
      (is (= [(:sender mail)] (values-of (delivered lab mail) "X-From"))))))

;; ---- the cases as tests

(def ^:dynamic *lab*
  "The lab of the tests that run now."
  nil)

(defmacro deftests
  "Defines a test of each case that concerns the MTA, which runs in *lab*."
  [mta]
  `(do ~@(for [case-name (keys @cases)
               :when (contains? #{nil mta} (:only (meta case-name)))]
           `(clojure.test/deftest ~case-name
              ((get @cases '~case-name) *lab*)))))

(defn start-filter
  "Returns a running milter at the address, whose handlers are chosen by the function it comes with:
  {:server server, :use-filter! (fn [handlers] [handlers options])}."
  ([address]
   (start-filter address {}))
  ([address options]
   (let [current (atom {})]
     {:server (milter/start-milter
                (merge options
                       {:address address
                        :daemon? true
                        :init (fn [context] (merge context @current))}))
      :use-filter! (fn
                     ([handlers] (reset! current {:handlers handlers}))
                     ([handlers more] (reset! current (assoc more :handlers handlers))))})))

(def ^:private mtas
  "How each MTA is started, and how it writes the address of a milter that listens on TCP."
  {:postfix {:unavailable postfix/unavailable
             :start postfix/start
             :held postfix/hold-queue
             :tcp #(str "inet:127.0.0.1:" (milter/milter-port %))}
   :sendmail {:unavailable sendmail/unavailable
              :start sendmail/start
              :held (comp keys sendmail/quarantined)
              :tcp milter/milter-address}})

(defn- run-in-lab
  [mta address options milter-address run-tests]
  (let [{:keys [start held]} (mtas mta)
        {:keys [server use-filter!]} (start-filter address options)]
    (with-open [_ ^java.io.Closeable server
                sink (sink/start)
                running ^java.io.Closeable (start {:sink sink, :milters [(milter-address server)]})]
      (binding [*lab* {:mta mta
                       :port (:port running)
                       :sink sink
                       :use-filter! use-filter!
                       :held #(held running)}]
        (run-tests)))))

(defn- socket-directory
  "Returns a new directory in which an MTA finds sockets."
  []
  (let [mode (PosixFilePermissions/asFileAttribute (PosixFilePermissions/fromString "rwxr-xr-x"))]
    (str (Files/createTempDirectory "temse-socket" (into-array FileAttribute [mode])))))

(defn fixture
  "Returns a fixture that runs the tests in a lab: a filter behind the real MTA, :postfix or :sendmail,
  over :tcp or :unix. It skips them where the MTA is missing."
  [mta transport]
  (fn [run-tests]
    (when-let [reason ((:unavailable (mtas mta)))]
      (runner/skip! reason))
    (if (= :tcp transport)
      (run-in-lab mta "inet:0@127.0.0.1" {} (:tcp (mtas mta)) run-tests)
      (let [directory (socket-directory)
            address (str "unix:" directory "/filter.sock")]
        (try
          (run-in-lab mta address {:socket-permissions "rw-rw-rw-"} (constantly address) run-tests)
          (finally
            (io/delete-file directory)))))))
