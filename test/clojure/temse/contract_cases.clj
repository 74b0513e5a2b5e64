(ns temse.contract-cases
  "What the test filter achieves behind a real MTA: cases that run behind Postfix and Sendmail.
  Where the two differ, what is expected is a map of MTA to value.

  A case is a function of a lab: {:mta :postfix, :sink sink, :port SMTP-port, :held f, :start f}, in
  which the MTA at the port uses the variant `default`, `(held)` returns the quarantined mails, and
  `(start address options)` starts another MTA that uses the filter at the address, with options of
  the harness by MTA."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [is testing]]
   [temse.contract :as contract :refer [value values]]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter])
  (:import
   (java.io BufferedReader Closeable)
   (java.util.concurrent CyclicBarrier TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:dynamic *lab*
  "The lab of the tests that run now."
  nil)

(defmacro defcase
  "Defines a case whose body sees the lab under `binding`."
  [case-name [binding] & body]
  `(defn ~(vary-meta case-name assoc ::case true) [~binding] ~@body))

(defmacro deftests
  "Defines a test of each case, which runs in *lab*."
  []
  `(do ~@(for [case-var (sort-by (comp :line meta)
                                 (filter (comp ::case meta)
                                         (vals (ns-publics 'temse.contract-cases))))]
           `(clojure.test/deftest ~(:name (meta case-var))
              (~(symbol case-var) *lab*)))))

;; ---- helpers

(def ^:private counter (atom 0))

(defn- fresh-sender []
  (str "<s" (swap! counter inc) "@example.org>"))

(defn- mail-of
  "Returns a mail whose X-Test-Do fields are the commands."
  [& commands]
  {:headers (for [command commands] ["X-Test-Do" (str " " command)])})

(defn- send-mail
  "Sends one mail through the lab; returns the replies with the :sender that marks it."
  [lab mail]
  (let [sender (or (:sender mail) (fresh-sender))]
    (assoc (smtp/send-mail (assoc mail :port (:port lab) :sender sender))
           :sender (first (str/split sender #" ")))))

(defn- delivered
  "Returns the message from a sender, once it has arrived."
  [lab sender]
  (sink/await-message (:sink lab) #(= sender (:sender %))))

(defn- sent
  "Sends one mail and returns it as delivered, with its :headers and :body."
  [lab mail]
  (let [message (delivered lab (:sender (send-mail lab mail)))]
    (assoc message
           :headers (sink/headers message)
           :body (smtp/octets (sink/body message)))))

(defn- dumped
  "Sends one mail that dumps and returns the fields delivered."
  ([lab] (dumped lab {}))
  ([lab mail] (:headers (sent lab (update mail :headers concat [["X-Test-Do" " dump"]])))))

(defn- arrives-after?
  "Returns whether the mail has arrived when a later one has."
  [lab {:keys [sender]}]
  (sent lab {})
  (boolean (some #(= sender (:sender %)) @(:messages (:sink lab)))))

(defn- refusal
  "Returns [place code lines] of the first refusal among replies, or nil."
  [{:keys [greeting helo mail rcpt data message]}]
  (first (for [[place reply] (concat [[:greeting greeting] [:helo helo] [:mail mail]]
                                     (map #(vector :rcpt %) rcpt)
                                     [[:data data] [:message message]])
               :when (and reply (<= 400 (:code reply)))]
           [place (:code reply) (:lines reply)])))

(defn- accepted? [replies]
  (= 250 (:code (:message replies))))

;; ---- verdicts

(def ^:private steered
  "The place where a verdict is seen and a function of it that returns the mail, by stage."
  (merge
    {"helo" [:mail (fn [verb] {:hello (str "EHLO " verb ".do.test")})]
     "mail" [:mail (fn [verb] {:sender (str "<do-" verb "." (swap! counter inc) "@example.org>")})]
     "rcpt" [:rcpt (fn [verb] {:recipients [(str "<do-" verb "@example.org>")]})]
     "data" [:data (fn [verb]
                     {:sender (str "<at-data-" verb "." (swap! counter inc) "@example.org>")})]
     "eom" [:message mail-of]}
    (into {}
          (for [stage ["header" "eoh" "body"]]
            [stage [:message (fn [verb] {:headers [["X-Test-At" (str " " stage " " verb)]]})]]))))

(defn- own-lines
  "Returns the code and the lines of a verdict with a text of its own, by verdict word."
  [stage]
  {"reply5" [554 [(str "5.7.1 " stage " refused by test filter")]]
   "reply4" [451 [(str "4.7.1 " stage " deferred by test filter")]]
   "multi" [550 [(str "5.7.0 " stage " line one")
                 (str "5.7.0 " stage " line two is 100% sure")
                 (str "5.7.0 " stage " line three")]]
   "close421" [421 [(str "4.7.0 " stage " closing")]]})

(defn- default-lines
  "Returns the code and the lines of the MTA's own text at a stage, by verdict word."
  [mta stage]
  (case mta
    :postfix {"reject" [550 ["5.7.1 Command rejected"]]
              "tempfail" [451 ["4.7.1 Service unavailable - try again later"]]}
    :sendmail {"reject" (case stage
                          "helo" [550 ["5.0.0 Command rejected"]]
                          ("mail" "rcpt" "data" "unknown") [550 ["5.7.1 Command rejected"]]
                          [554 ["5.7.1 Command rejected"]])
               "tempfail" [451 ["4.3.2 Please try again later"]]}))

(defn- without-address
  "Returns lines without the address that Sendmail inserts."
  [lines]
  (map #(str/replace % #"<\S+>\.\.\. " "") lines))

(defcase refusals-of-all-kinds-reach-the-client [{:keys [mta] :as lab}]
  (doseq [[stage [place mail]] steered
          [verb [code lines]] (merge (default-lines mta stage) (own-lines stage))]
    (testing (str verb " at " stage)
      (let [[seen-place seen-code seen-lines] (refusal (send-mail lab (mail verb)))]
        (is (= [(if (= ["helo" "close421"] [stage verb]) :helo place) code lines]
               [seen-place seen-code (without-address seen-lines)]))))))

(defcase accept-lets-the-mail-pass-without-further-filtering [lab]
  (doseq [[stage [_ mail]] steered]
    (testing stage
      (is (nil? (value (dumped lab (update (mail "accept") :headers
                                           #(concat % [["X-Test-Do" " accept"]])))
                       "X-Saw-Mta"))))))

(defcase discard-takes-the-mail-and-delivers-nothing [lab]
  (doseq [[stage [_ mail]] (dissoc steered "helo")]
    (testing stage
      (let [replies (send-mail lab (mail "discard"))]
        (is (accepted? replies))
        (is (not (arrives-after? lab replies)))))))

(defcase words-that-are-no-verdict-change-nothing [lab]
  (doseq [[stage [_ mail]] steered
          verb ["continue" "nonsense"]]
    (testing (str verb " at " stage)
      (is (accepted? (send-mail lab (mail verb)))))))

(defcase verdicts-at-connect-concern-the-connection [{:keys [mta port] :as lab}]
  (doseq [[n [greeting mail]]
          (get {:postfix {1 [554 [550 ["5.7.1 Command rejected"]]]
                          2 [220 [451 ["4.7.1 Service unavailable - try again later"]]]
                          4 [554 (get (own-lines "connect") "reply5")]
                          5 [220 (get (own-lines "connect") "reply4")]
                          6 [554 (get (own-lines "connect") "multi")]}
                :sendmail {1 [554 [550 ["5.0.0 Command rejected"]]]
                           2 [220 [451 ["4.3.2 Please try again later"]]]
                           4 [554 [550 ["5.0.0 Command rejected"]]]
                           5 [220 [451 ["4.3.2 Please try again later"]]]
                           6 [554 [550 ["5.0.0 Command rejected"]]]}}
               mta)]
    (testing n
      (with-open [connection (smtp/connect {:port port :from (str "127.0.66." n)})]
        (is (= greeting (:code (:greeting connection))))
        (is (= 250 (:code (smtp/command connection "EHLO client.example.org"))))
        (let [{:keys [code lines]} (smtp/command connection (str "MAIL FROM:" (fresh-sender)))]
          (is (= mail [code lines]))))))
  (is (= [:greeting 421] (take 2 (refusal (send-mail lab {:from "127.0.66.7"})))))
  (is (nil? (value (dumped lab {:from "127.0.66.3"}) "X-Saw-Mta"))))

(defcase verdicts-at-unknown-change-the-error-reply [{:keys [mta port]}]
  (with-open [connection (smtp/connect {:port port})]
    (smtp/command connection "EHLO client.example.org")
    (doseq [[verb reply] (merge (default-lines mta "unknown") (own-lines "unknown")
                                {"nonsense" [500]})
            :when (not= "close421" verb)]
      (let [{:keys [code lines]} (smtp/command connection (str "XDO-" verb))]
        (is (= reply (take (count reply) [code lines])) verb)))
    (is (= (get (own-lines "unknown") "close421")
           ((juxt :code :lines) (smtp/command connection "XDO-close421"))))))

(defcase a-refused-recipient-leaves-the-others [lab]
  (let [{:keys [recipients] :as message}
        (sent lab {:recipients ["<do-reject@example.org>" "<b@example.org>"]
                   :headers [["X-Test-Do" " dump"]]})]
    (is (= ["<b@example.org>"] recipients))
    (is (= #{"1 <do-reject@example.org>" "2 <b@example.org>"}
           (set (values (:headers message) "X-Saw-Rcpt"))))))

(def ^:private large-body
  (str/join (repeat 2048 (str (str/join (repeat 62 "x")) "\r\n"))))

(defcase skip-ends-the-body [lab]
  (let [fields (dumped lab {:headers [["X-Test-At" " body skip"]] :body large-body})]
    (is (= (str "65535 " (contract/sha-256 (subs large-body 0 65535)))
           (value fields "X-Saw-Body")))
    (is (= "connect helo mail rcpt data header eoh body eom" (value fields "X-Saw-Stages")))))

;; ---- commands at end of message

(defcase header-fields-are-changed [lab]
  (let [{:keys [headers]}
        (sent lab (update (mail-of "add-header X-Added:  two"
                                   "add-header X-Folded: one\\n\\ttwo"
                                   "add-header X-Octets: \\xE9\\\\n \\xC3\\xA9"
                                   "insert-header 0 X-Top: first"
                                   "change-header 2 X-Two: changed"
                                   "delete-header 1 X-Gone")
                          :headers concat [["X-Two" " a"] ["X-Gone" " soon"] ["X-Two" " b"]]))
        as-is (fn [field-name] (map second (filter #(= field-name (first %)) headers)))]
    (is (= ["  two"] (as-is "X-Added")))
    (is (= [" one\r\n\ttwo"] (as-is "X-Folded")))
    (is (= [" \u00E9\\n \u00C3\u00A9"] (as-is "X-Octets")))
    (is (= ["X-Top" " first"] (first (remove #(= "Received" (first %)) headers))))
    (is (= [" a" " changed"] (as-is "X-Two")))
    (is (= [] (as-is "X-Gone")))))

(defcase the-envelope-is-changed [lab]
  (let [new-sender (fresh-sender)]
    (send-mail lab (assoc (mail-of "add-rcpt <added@example.org>"
                                   "add-rcpt <never@example.org> NOTIFY=NEVER"
                                   "del-rcpt <gone@example.org>"
                                   (str "change-from " new-sender))
                          :recipients ["<stays@example.org>" "<gone@example.org>"]))
    (is (= ["<added@example.org>" "<never@example.org>" "<stays@example.org>"]
           (sort (:recipients (delivered lab new-sender))))))
  (let [new-sender (fresh-sender)]
    (send-mail lab (mail-of (str "change-from " new-sender " RET=HDRS")))
    (is (delivered lab new-sender))))

(defcase the-body-is-replaced [lab]
  (let [body (fn [command]
               (:body (sent lab (assoc (mail-of command) :body "a\u00E9z{\r\n.B\r\n"))))]
    (is (= "new\r\n.text\t\r\n" (body "replace-body-text new\\r\\n.text\\t\\r\\n")))
    (is (= "" (body "replace-body-text")))
    (is (= (str/join (repeat 4096 (str "0123456789abcdef0123456789abcdef0123456789abcdef"
                                       "0123456789abcd\r\n")))
           (body "replace-body-size 262144")))
    (is (= "A\u00E9Z{\r\n.B\r\n" (body "replace-body-upper")))))

(defcase a-quarantined-mail-is-held [{:keys [held] :as lab}]
  (let [before (count (held))
        replies (send-mail lab (mail-of "quarantine needs a human"))]
    (is (accepted? replies))
    (is (= (inc before) (count (held))))
    (is (not (arrives-after? lab replies)))))

(defcase progress-keeps-the-mta-waiting-and-others-going [lab]
  (let [start (System/nanoTime)
        slow (future (sent lab (mail-of "progress 2" "add-header X-Late: yes")))]
    (is (accepted? (send-mail lab {})))
    (is (not (realized? slow)))
    (is (= ["yes"] (values (:headers @slow) "X-Late")))
    (is (<= 2000000000 (- (System/nanoTime) start)))))

(defcase replies-at-the-end-are-given-as-told [{:keys [mta] :as lab}]
  (doseq [[command reply]
          {"reply 554 5.7.1 100% no" [:message 554 ["5.7.1 100% no"]]
           "reply 451 - later" [:message
                                451
                                (get {:postfix ["later"], :sendmail ["4.0.0 later"]} mta)]
           "reply-multi 550 5.7.0 one\\n100% two" [:message 550 ["5.7.0 one" "5.7.0 100% two"]]}]
    (is (= reply (refusal (send-mail lab (mail-of "add-header A: 1" command "accept")))))))

;; ---- what is reported

(defcase an-ordinary-mail-is-reported [{:keys [mta] :as lab}]
  (let [sender (fresh-sender)
        bare (milter/bare-address sender)
        fields (dumped lab {:sender (str sender " SIZE=100 BODY=8BITMIME")
                            :recipients ["<b@example.org>" "<c@example.org> NOTIFY=NEVER"]
                            :hello "EHLO odd_name"
                            :headers [["Subject" " hi"] ["From" " a@example.org"]
                                      ["Date" " Sat, 21 Nov 2026 12:00:00 +0000"]
                                      ["Message-Id" " <1@example.org>"]]
                            :body "Hello.\r\n.\r\n"})
        macros (contract/macros fields)]
    (is (= "6 0x1ff 0x1fffff" (value fields "X-Saw-Mta")))
    (is (re-matches #"\S+ inet 127\.0\.0\.1 \d+" (value fields "X-Saw-Connect")))
    (is (= "odd_name" (value fields "X-Saw-Helo")))
    (is (= (str sender " SIZE=100 BODY=8BITMIME") (value fields "X-Saw-Mail")))
    (is (= #{"1 <b@example.org>" "2 <c@example.org> NOTIFY=NEVER"}
           (set (values fields "X-Saw-Rcpt"))))
    (is (= [] (values fields "X-Saw-Unknown")))
    (is (= "connect helo mail rcpt data header eoh body eom" (value fields "X-Saw-Stages")))
    (is (= (str "5 " (contract/sha-256 "Subject\nFrom\nDate\nMessage-Id\nX-Test-Do\n"))
           (value fields "X-Saw-Headers")))
    (is (= (str "11 " (contract/sha-256 "Hello.\r\n.\r\n")) (value fields "X-Saw-Body")))
    (is (re-matches #"messages=1 aborts=0 open=\d+" (value fields "X-Saw-Count")))
    (is (= "mx.example.org" (get-in macros ["connect" "j"]) (get-in macros ["eom" "j"])))
    (is (= [nil bare bare] (map #(get-in macros [% "{mail_addr}"]) ["helo" "mail" "eom"])))
    (is (= [nil "c@example.org"] (map #(get-in macros [% "{rcpt_addr}"]) ["mail" "rcpt"])))
    (is (= (get {:postfix [false true true], :sendmail [true true true]} mta)
           (map #(contains? (get macros %) "i") ["mail" "data" "eom"])))))

(defcase header-fields-are-reported-as-they-were-seen [lab]
  (let [long-value (str/join (repeat 201 "x"))
        fields (:headers (sent lab {:headers [["Subject" " a%b"]
                                              ["X-Odd" " \u00E9\u00FF"]
                                              ["X-Fold" " a\r\n\tb"]
                                              ["X-Long" (str " " long-value)]
                                              ["From" " a@example.org"]
                                              ["Date" " Sat, 21 Nov 2026 12:00:00 +0000"]
                                              ["Message-Id" " <1@example.org>"]
                                              ["X-Test-Do" " dump-headers"]]}))]
    (is (= #{"1 Subject a%25b"
             "2 X-Odd %E9%FF"
             "3 X-Fold a%0A%09b"
             (str "4 X-Long #201:" (contract/sha-256 long-value))
             "5 From a@example.org"
             "6 Date Sat,%2021%20Nov%202026%2012:00:00%20+0000"
             "7 Message-Id <1@example.org>"
             "8 X-Test-Do dump-headers"}
           (set (values fields "X-Saw-Header"))))))

(defcase messages-of-a-connection-share-nothing [{:keys [mta port] :as lab}]
  (let [senders [(fresh-sender) (fresh-sender)]]
    (with-open [connection (smtp/connect {:port port})]
      (smtp/command connection "EHLO client.example.org")
      (smtp/command connection "XFOO bar")
      (smtp/command connection "MAIL FROM:<aborted@example.org>")
      (smtp/command connection "RCPT TO:<one@example.org>")
      (smtp/command connection "RSET")
      (smtp/transact connection (assoc (mail-of "reply5") :sender (fresh-sender)))
      (smtp/command connection "RSET")
      (doseq [[sender recipient] (map vector senders ["<two@example.org>" "<three@example.org>"])]
        (is (accepted? (smtp/transact connection (assoc (mail-of "dump")
                                                        :sender sender
                                                        :recipients [recipient]))))))
    (let [[one two] (map #(sink/headers (delivered lab %)) senders)]
      (is (= [["1 <two@example.org>"] ["1 <three@example.org>"]]
             (map #(values % "X-Saw-Rcpt") [one two])))
      (is (= ["mail rcpt data header eoh body eom" "mail rcpt data header eoh body eom"]
             (map #(value % "X-Saw-Stages") [one two])))
      (is (= (repeat 2 (get {:postfix ["1 XFOO"], :sendmail ["1 XFOO%20bar"]} mta))
             (map #(values % "X-Saw-Unknown") [one two])))
      (is (= ["messages=2 aborts=1" "messages=3 aborts=1"]
             (map #(re-find #"\S+ \S+" (value % "X-Saw-Count")) [one two]))))))

(defcase twenty-connections-have-each-their-own-state [{:keys [port] :as lab}]
  (let [barrier (CyclicBarrier. 20)
        senders (repeatedly 20 fresh-sender)
        host-of #(str (re-find #"\w+" %) ".example.org")
        exchange (fn [sender]
                   (with-open [connection (smtp/connect {:port port})]
                     (smtp/command connection (str "EHLO " (host-of sender)))
                     (.await barrier 30 TimeUnit/SECONDS)
                     (let [replies (smtp/transact connection (assoc (mail-of "dump")
                                                                    :sender sender))]
                       (.await barrier 30 TimeUnit/SECONDS)
                       (smtp/command connection "QUIT")
                       replies)))]
    (is (every? accepted? (mapv deref (mapv #(future (exchange %)) senders))))
    (doseq [sender senders]
      (let [fields (sink/headers (delivered lab sender))]
        (is (= [(host-of sender) sender]
               (map #(value fields %) ["X-Saw-Helo" "X-Saw-Mail"])))
        (is (<= 20 (parse-long (re-find #"\d+$" (value fields "X-Saw-Count")))))))))

(defcase clients-that-break-off-leave-the-filter-serving [{:keys [port] :as lab}]
  (doseq [commands (reductions conj [] ["EHLO client.example.org" "MAIL FROM:<a@example.org>"
                                        "RCPT TO:<b@example.org>" "DATA"])]
    (with-open [connection (smtp/connect {:port port})]
      (doseq [command commands]
        (smtp/command connection command))))
  (is (accepted? (send-mail lab {}))))

;; ---- variants

(defn- with-mta
  "Calls f with a lab whose MTA uses the filter at the address."
  [{:keys [start] :as lab} address options f]
  (with-open [mta ^Closeable (start address options)]
    (f (assoc lab :port (:port mta)))))

(defn- in-variant
  "Calls f with a lab whose MTA uses a variant of the filter."
  ([lab variant f] (in-variant lab variant {} f))
  ([lab variant options f]
   (with-open [server ^Closeable (milter/start-milter (assoc (contract/options variant)
                                                             :port 0
                                                             :daemon? true))]
     (with-mta lab (milter/milter-address server) options f))))

(defn- in-process-of-its-own
  "Calls f with a lab whose MTA uses a variant of the filter that was started as users do."
  [lab variant f]
  (let [command ["bin/temse" "run" "examples/test_filter.clj"
                 "--listen" "inet:0@127.0.0.1" "--" variant]
        process (-> (ProcessBuilder. ^java.util.List command)
                    (.redirectErrorStream true)
                    (.start))]
    (try
      (let [^BufferedReader output (io/reader (.getInputStream process))
            [_ address] (some #(re-find #"listens on (\S+)" %) (line-seq output))]
        (future (run! identity (line-seq output)))
        (with-mta lab address {} f))
      (finally
        (.destroy process)
        (.waitFor process 30 TimeUnit/SECONDS)))))

(defcase nr-stays-silent-until-the-end-of-message [lab]
  (in-process-of-its-own
    lab "nr"
    (fn [lab]
      (let [fields (:headers (sent lab (mail-of "add-header X-A: b" "dump")))]
        (is (= ["b"] (values fields "X-A")))
        (is (= "connect helo mail rcpt data header eoh body eom" (value fields "X-Saw-Stages"))))
      (is (= [:message 554 ["5.7.1 eom refused by test filter"]]
             (refusal (send-mail lab (mail-of "reply5"))))))))

(defcase leadspc-yields-the-same-fields [lab]
  (in-variant
    lab "leadspc"
    (fn [lab]
      (let [{:keys [headers]} (sent lab (update (mail-of "add-header X-A:  b"
                                                         "change-header 1 X-B: c"
                                                         "insert-header 0 X-C: d" "dump"
                                                         "dump-headers")
                                                :headers #(cons ["X-B" "  two"] %)))]
        (is (= ["  b" " c" " d"] (map (into {} headers) ["X-A" "X-B" "X-C"])))
        (is (= [" 6 0x1ff 0x1fffff"] (map second (filter #(= "X-Saw-Mta" (first %)) headers))))
        (is (contains? (set (values headers "X-Saw-Header")) "1 X-B %20%20two"))))))

(defcase few-sees-little [lab]
  (in-variant
    lab "few"
    (fn [lab]
      (let [fields (:headers (sent lab (mail-of "add-header X-A: b" "change-header 1 X-A: c"
                                                "del-rcpt <recipient@example.org>" "dump")))]
        (is (= ["b"] (values fields "X-A")))
        (is (= #{"change-header" "del-rcpt"} (set (values fields "X-Saw-Refused"))))
        (is (= "mail rcpt header eom" (value fields "X-Saw-Stages")))
        (is (= (str "0 " (contract/sha-256 "")) (value fields "X-Saw-Body")))))))

(defcase symlist-gets-the-macros-it-asks-for [{:keys [mta] :as lab}]
  (in-variant
    lab "symlist"
    (fn [lab]
      (let [sender (fresh-sender)
            macros (contract/macros (dumped lab {:sender sender}))]
        (is (= {"{client_addr}" "127.0.0.1"} (get macros "connect")))
        (is (= (milter/bare-address sender) (get-in macros ["mail" "{mail_addr}"])))
        (is (nil? (get-in macros ["mail" "{mail_host}"])))
        (is (= "recipient@example.org" (get-in macros ["rcpt" "{rcpt_addr}"])))
        (is (= (get {:postfix true, :sendmail false} mta)
               (contains? (get macros "eom") "{client_port}")))))))

(defcase rcptrej-sees-recipients-that-the-mta-rejects [{:keys [mta] :as lab}]
  (in-variant
    lab "rcptrej"
    {:postfix {:main {"smtpd_recipient_restrictions"
                      "check_recipient_access inline:{{example.net=REJECT}}"}}}
    (fn [lab]
      (let [sender (fresh-sender)
            replies (send-mail lab (assoc (mail-of "dump")
                                          :sender sender
                                          :from "127.0.67.1"
                                          :recipients ["<good@mx.example.org>"
                                                       "<bad@example.net>"]))
            good "1 <good@mx.example.org>"
            bad "2 <bad@example.net>"]
        (is (= [2 5] (map #(quot (:code %) 100) (:rcpt replies))))
        (is (= (get {:postfix #{good bad}, :sendmail #{good}} mta)
               (set (values (sink/headers (delivered lab sender)) "X-Saw-Rcpt")))
            "Sendmail does not report those that its ruleset check_rcpt rejects")))))
