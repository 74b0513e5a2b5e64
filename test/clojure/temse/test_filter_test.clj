(ns temse.test-filter-test
  "The test filter does what its contract says, in the order of the contract, behind the MTA of
  temse.test."
  (:require
   [clojure.string :as str]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.contract :as contract :refer [value values]]
   [temse.milter :as milter]
   [temse.support :as support :refer [envelope opening send-events]]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CyclicBarrier)
   (temse.client MtaSession)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

;; ---- helpers

(def ^:private postfix-masks
  "The protocol bits that Postfix offers with each version."
  {2 0x7F, 3 0x17F, 4 0x37F, 5 0x37F, 6 0x1FFFFF})

(defn- connect
  "Returns a session of the test filter, with options of temse.test/connect-to and a :variant."
  ^MtaSession [& {:keys [variant] :or {variant "default"} :as options}]
  (mt/connect-to (contract/options variant) (dissoc options :variant)))

(defn- tell
  "Sends events over a session of their own and returns the answer to the last."
  [events & {:as options}]
  (with-open [session (connect options)]
    (send-events session events)))

(defn- mail-of
  "Returns a mail whose X-Test-Do fields are the commands."
  [& commands]
  {:headers (for [command commands] ["X-Test-Do" command])})

(defn- run
  "Returns the report of a mail."
  [mail & {:keys [variant] :or {variant "default"} :as options}]
  (mt/run-message (contract/options variant) mail (dissoc options :variant)))

(defn- added
  "Returns the fields that were added, pairs of name and value."
  [report]
  (for [{:keys [action name value position]} (:modifications report)
        :when (and (= :add-header action) (nil? position))]
    [name value]))

(defn- done
  "Returns the modifications of commands."
  [& commands]
  (:modifications (run (apply mail-of commands))))

(defn- dumped
  "Returns the fields of the report of a mail that dumps."
  ([] (dumped {}))
  ([mail & {:as options}]
   (added (run (update mail :headers conj ["X-Test-Do" "dump"]) options))))

(defn- raw
  "Returns the text of octets."
  [& octets]
  (Text/decode (byte-array (map unchecked-byte octets))))

(defn- hello [greeting]
  {:event :hello, :greeting greeting})

(defn- client [family address]
  {:event :connect, :host-name "client.example.test", :family family, :port 40112
   :address address})

(defn- sender [address]
  {:event :mail, :sender address, :options []})

(defn- recipient [address]
  {:event :recipient, :address address, :options []})

(defn- field [name value]
  {:event :header, :name name, :value value})

(defn- piece [^String text]
  {:event :body, :data (.getBytes text "ISO-8859-1")})

(defn- unknown [command]
  {:event :unknown, :command command})

(def ^:private end-of-headers {:event :end-of-headers})

(def ^:private end-of-message {:event :end-of-message})

(def ^:private dump-and-end [(field "X-Test-Do" "dump") end-of-headers end-of-message])

(defn- reported
  "Returns the fields that the answer to an end of message adds."
  [answer]
  (added {:modifications answer}))

(def ^:private going-on [(act/continue)])

;; ---- 1. Starting and option negotiation

(deftest all-actions-offered-are-asked-for-and-of-the-steps-skip-only
  (doseq [[offer answer] {{} [6 0x1FF 0x400]
                          {:action-mask 0x3F} [6 0x3F 0x400]
                          {:action-mask 0x121} [6 0x121 0x400]
                          {:action-mask 0x401} [6 0x001 0x400]
                          {:protocol-mask 0x7F} [6 0x1FF 0]
                          {:protocol-mask 0x1FFBFF} [6 0x1FF 0]
                          {:version 7} [6 0x1FF 0x400]}]
    (with-open [session (connect :offer offer :mta :sendmail)]
      (let [{:keys [version action-mask protocol-mask macros]} (mt/agreement session)]
        (is (= answer [version action-mask protocol-mask]) offer)
        (is (nil? macros))))))

(deftest versions-2-to-6-are-accepted-and-what-was-offered-is-remembered
  (doseq [[version mask] postfix-masks
          mta [:postfix :sendmail]]
    (testing [version mta]
      (is (= (str version " 0x1ff 0x" (Long/toHexString mask))
             (value (dumped {} :mta mta :offer {:version version :protocol-mask mask})
                    "X-Saw-Mta"))))))

(deftest tiny-offers-are-taken
  (doseq [[action-mask protocol-mask] [[0x01 0x3F] [0x01 0x40] [0x41 0x400]]]
    (let [report (run (mail-of "quarantine no" "dump")
                      :offer {:version 2 :action-mask action-mask :protocol-mask protocol-mask})]
      (is (= :accept (:verdict report)))
      (is (= ["quarantine"] (values (added report) "X-Saw-Refused")))
      (is (= (format "2 0x%x 0x%x" action-mask protocol-mask)
             (value (added report) "X-Saw-Mta"))))))

(deftest twenty-connections-at-once-have-each-its-own-state
  (milter/with-milter [server (assoc (contract/options) :port 0)]
    (let [barrier (CyclicBarrier. 20)
          reports (mapv deref
                        (mapv (fn [i]
                                (future
                                  (with-open [session ^MtaSession (mt/connect-to server)]
                                    (send-events session [(first opening)
                                                          (hello (str "client" i))
                                                          (sender (str "<s" i "@example.test>"))
                                                          (recipient "<r@example.test>")])
                                    (.await barrier)
                                    (let [answer (send-events session dump-and-end)]
                                      (.await barrier)
                                      (reported answer)))))
                              (range 20)))]
      (is (= (for [i (range 20)] (str "client" i)) (map #(value % "X-Saw-Helo") reports)))
      (is (= (for [i (range 20)] (str "<s" i "@example.test>"))
             (map #(value % "X-Saw-Mail") reports)))
      (is (= #{"messages=1 aborts=0 open=20"} (set (map #(value % "X-Saw-Count") reports)))))))

(deftest connections-that-break-off-anywhere-leave-the-filter-serving
  (milter/with-milter [server (assoc (contract/options) :port 0)]
    (let [port (milter/milter-port server)]
      (.close (support/dial port))
      (doseq [events (reductions conj [] (concat opening (envelope) dump-and-end))]
        (let [session (mt/connect-to server)]
          (send-events session events)
          (.drop ^MtaSession session)))
      (is (= :accept (:verdict (mt/run-message server {})))))))

;; ---- 2. Verdict words

(defn- replies
  "Returns the answer to each verdict word at a stage."
  [stage]
  {"continue" (act/continue)
   "accept" (act/accept)
   "reject" (act/reject)
   "tempfail" (act/temporary-failure)
   "discard" (act/discard)
   "reply5" (act/reply-code 554 "5.7.1" (str stage " refused by test filter"))
   "reply4" (act/reply-code 451 "4.7.1" (str stage " deferred by test filter"))
   "multi" (act/reply-code 550 "5.7.0" (str stage " line one\n" stage
                                            " line two is 100% sure\n" stage " line three"))
   "close421" (act/reply-code 421 "4.7.0" (str stage " closing"))
   "skip" (if (= "body" stage) (act/skip) (act/continue))
   "Reject" (act/continue)
   "nonsense" (act/continue)})

(def ^:private events-for
  "What is to be sent for a verdict word at each stage; the last event is answered by the verdict."
  {"helo" (fn [verb] [(first opening) (hello (str verb ".do.test"))])
   "mail" (fn [verb] [(sender (str "<do-" verb "@example.test>"))])
   "rcpt" (fn [verb] [(sender "<a@example.test>") (recipient (str "<do-" verb "@example.test>"))])
   "data" (fn [verb] [(sender (str "<at-data-" verb "@example.test>"))
                      (recipient "<r@example.test>")
                      {:event :data}])
   "unknown" (fn [verb] [(unknown (str "XDO-" verb))])
   "header" (fn [verb] (concat (envelope) [(field "X-Test-At" (str "header " verb))]))
   "eoh" (fn [verb] (concat (envelope) [(field "X-Test-At" (str "eoh " verb)) end-of-headers]))
   "body" (fn [verb] (concat (envelope) [(field "X-Test-At" (str "body " verb)) end-of-headers
                                         (piece "text\r\n")]))
   "eom" (fn [verb] (concat (envelope) [(field "X-Test-Do" verb) end-of-headers end-of-message]))})

(deftest each-verdict-word-is-answered-at-each-stage-as-the-table-says
  (doseq [[stage events] events-for
          [verb reply] (cond-> (replies stage)
                         (= "helo" stage) (assoc "discard" (act/continue))
                         (= "unknown" stage) (assoc "discard" (act/continue)
                                                    "accept" (act/continue)))]
    (is (= [reply] (tell (concat (when-not (= "helo" stage) opening) (events verb))))
        (str verb " at " stage))))

(deftest skip-is-continue-where-the-mta-does-not-offer-it
  (with-open [session (connect :offer {:protocol-mask 0x7F})]
    (send-events session (concat opening (envelope)
                                 [(field "X-Test-At" "body skip") (field "X-Test-Do" "dump")
                                  end-of-headers]))
    (is (= going-on (mt/send-event session (piece "one\r\n"))))
    (is (= going-on (mt/send-event session (piece "two\r\n"))))
    (is (= (str "10 " (contract/sha-256 "one\r\ntwo\r\n"))
           (value (reported (mt/send-event session end-of-message)) "X-Saw-Body")))))

;; ---- 3. Verdicts before end of message

(deftest clients-of-the-test-networks-get-verdicts-at-connect
  (doseq [[n verb] (map-indexed vector ["nonsense" "reject" "tempfail" "accept" "reply5" "reply4"
                                        "multi" "close421" "nonsense"])
          [family prefix] [[:inet "127.0.66."]
                           [:inet6 "2001:db8::66:"]
                           [:inet6 "IPv6:2001:DB8::66:"]
                           [:inet6 "2001:0db8:0:0:0:0:0066:000"]]]
    (is (= [(get (replies "connect") verb)] (tell [(client family (str prefix n))]))
        (str prefix n))))

(deftest other-clients-are-let-in
  (doseq [event [(client :inet "127.0.0.1")
                 (client :inet "127.0.66.11")
                 (client :inet6 "2001:db8:1::66:1")
                 (client :inet6 "::ffff:127.0.66.1")
                 (client :inet6 "no address")
                 (client :unix "127.0.66")
                 {:event :connect, :host-name "localhost", :family :unknown}]]
    (is (= going-on (tell [event])) event)))

(deftest names-that-end-in-do-test-get-verdicts-at-helo
  (is (= [(act/reject)] (tell [(first opening) (hello "reject.some.do.test")])))
  (doseq [greeting ["reject" "reject.do.test.org" "do.test" "reject.example.test" ""]]
    (is (= going-on (tell [(first opening) (hello greeting)])) greeting)))

(deftest the-local-part-of-an-address-is-cut-at-its-first-dot
  (doseq [address ["<do-reject@example.test>" "<do-reject.17@example.test>" "do-reject.1.2@a.b"
                   "do-reject" "<do-reject.\"x@y\"@example.test>"]]
    (is (= [(act/reject)] (tell (concat opening [(sender address)]))) address)
    (is (= [(act/reject)] (tell (concat opening [(sender "<>") (recipient address)]))) address))
  (doseq [address ["<>" "" "<@>" "<do-rejec@example.test>" "<xdo-reject@example.test>"
                   "<17.do-reject@example.test>"
                   "<do-reject@x.test@example.test>" "<DO-reject@example.test>"
                   "<at-data-reject@example.test>" "<a@do-reject>"]]
    (is (= going-on (tell (concat opening [(sender address)]))) address)))

(deftest a-refused-recipient-leaves-the-others
  (let [report (run (assoc (mail-of "dump") :recipients ["<do-reject@a.test>" "<b@a.test>"]))]
    (is (= {"<do-reject@a.test>" (act/reject) "<b@a.test>" (act/continue)} (:recipients report)))
    (is (= ["1 <do-reject@a.test>" "2 <b@a.test>"] (values (added report) "X-Saw-Rcpt")))))

(deftest the-verdict-at-data-waits-for-data
  (with-open [session (connect)]
    (is (= [going-on going-on [(act/reject)]]
           (map #(mt/send-event session %)
                (drop 2 (concat (doto opening (->> (send-events session)))
                                ((events-for "data") "reject.3"))))))))

(deftest the-whole-command-line-makes-the-verdict-at-unknown
  (doseq [command ["xdo-reject" "XDO-reject now" "NOOP XDO-reject" "XDO-"]]
    (is (= going-on (tell (concat opening [(unknown command)]))) command)))

(deftest the-header-field-itself-is-answered
  (with-open [session (connect)]
    (is (= [going-on [(act/reject)]]
           (do (send-events session (concat opening (envelope)))
               (mapv #(mt/send-event session %)
                     [(field "Subject" "header reject") (field "X-Test-At" "header reject")]))))))

(deftest field-names-have-no-case-and-values-no-white-space-at-their-ends
  (doseq [[name value] {"x-test-at" "eoh reject", "X-TEST-AT" " \t\n eoh reject \r\n\t"}]
    (is (= [(act/reject)] (tell (concat opening (envelope) [(field name value) end-of-headers])))))
  (is (= [(act/add-header "A" "b")]
         (:modifications (run {:headers [["x-test-do" "\t add-header A: b\t "]]})))))

(deftest a-message-may-have-verdicts-for-several-stages
  (with-open [session (connect)]
    (send-events session (concat opening (envelope)
                                 [(field "X-Test-At" "body reply4")
                                  (field "X-Test-At" "eoh nonsense")]))
    (is (= going-on (mt/send-event session end-of-headers)))
    (is (= [(get (replies "body") "reply4")] (mt/send-event session (piece "text\r\n"))))))

(deftest the-first-body-chunk-alone-gets-the-verdict
  (with-open [session (connect)]
    (send-events session (concat opening (envelope)
                                 [(field "X-Test-At" "body skip") end-of-headers]))
    (is (= [[(act/skip)] going-on going-on]
           (mapv #(mt/send-event session %) [(piece "") (piece "text\r\n") end-of-message])))))

(deftest steering-is-forgotten-with-the-message
  (doseq [ending [[end-of-headers (piece "x")]
                  [end-of-headers end-of-message]
                  [{:event :abort}]
                  []]]
    (with-open [session (connect :mta :sendmail)]
      (send-events session (concat opening (envelope)
                                   [(field "X-Test-At" "body reply5") (field "X-Test-Do" "reject")]
                                   ending
                                   (envelope) [end-of-headers]))
      (is (= [going-on going-on]
             (mapv #(mt/send-event session %) [(piece "text\r\n") end-of-message]))))))

;; ---- 4. Commands at end of message

(deftest each-command-makes-its-modification
  (doseq [[command modification]
          {"add-header X-A: b" (act/add-header "X-A" "b")
           "add-header X-A:b" (act/add-header "X-A" "b")
           "add-header X-A:  b" (act/add-header "X-A" " b")
           "add-header X-A:" (act/add-header "X-A" "")
           "add-header X-A:b: c" (act/add-header "X-A" "b: c")
           "add-header X-A: one\\n\\ttwo" (act/add-header "X-A" "one\n\ttwo")
           "insert-header 0 X-A: b" (act/insert-header 0 "X-A" "b")
           "insert-header 3 X-A:b c" (act/insert-header 3 "X-A" "b c")
           "change-header 2 X-A: b" (act/change-header "X-A" 2 "b")
           "delete-header 2 X-A" (act/delete-header "X-A" 2)
           "add-rcpt <a@b.test>" (act/add-recipient "<a@b.test>")
           "add-rcpt <\"a b\"@b.test>" (act/add-recipient "<\"a b\"@b.test>")
           "add-rcpt <a@b.test> NOTIFY=NEVER ORCPT=rfc822;a@b"
           (act/add-recipient "<a@b.test>" ["NOTIFY=NEVER" "ORCPT=rfc822;a@b"])
           "del-rcpt <a@b.test>" (act/delete-recipient "<a@b.test>")
           "change-from <a@b.test>" (act/change-sender "<a@b.test>")
           "change-from <>" (act/change-sender "<>")
           "change-from <a@b.test> RET=HDRS ENVID=1"
           (act/change-sender "<a@b.test>" ["RET=HDRS" "ENVID=1"])
           "quarantine a good reason" (act/quarantine "a good reason")}]
    (is (= [modification] (done command)) command)))

(defn- octets-of
  "Returns the octets of a replaced body."
  [modifications]
  (let [[{:keys [action body]} & more] modifications]
    (when (and (= :change-body action) (not more))
      (String. ^bytes body "ISO-8859-1"))))

(deftest the-body-is-replaced
  (doseq [[command body] {"replace-body-text" ""
                          "replace-body-text new text\\r\\n" "new text\r\n"
                          "replace-body-text \\x00\\xff\\xC3\\xA9\\n" "\u0000\u00FF\u00C3\u00A9\n"
                          "replace-body-size 0" ""}]
    (is (= body (octets-of (done command))) command))
  (doseq [size [64 65536 262144]]
    (let [body (octets-of (done (str "replace-body-size " size)))]
      (is (= size (count body)))
      (is (= #{"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"}
             (set (map #(apply str %) (partition 64 body))))))))

(deftest a-large-replaced-body-is-sent-in-chunks
  (is (= [65535 65535 2]
         (keep #(some-> ^bytes (:body %) alength)
               (tell (concat opening (envelope) [(field "X-Test-Do" "replace-body-size 131072")
                                                 end-of-headers end-of-message]))))))

(deftest the-body-is-turned-into-upper-case-octet-by-octet
  (let [octets (concat (range 256) [0xC3 0xA9 0x0D 0x0A])
        body #(hash-map :event :body, :data (byte-array (map unchecked-byte %)))]
    (is (= (map #(if (<= 0x61 % 0x7A) (- % 0x20) %) octets)
           (map int
                (octets-of
                  (filter act/modification?
                          (tell (concat opening (envelope)
                                        [(field "X-Test-Do" "replace-body-upper") end-of-headers
                                         (body (take 100 octets)) (body (drop 100 octets))
                                         end-of-message])))))))))

(deftest escapes-are-resolved-once-and-stand-for-octets
  (is (= [(act/add-header "X-A" "\\n\\\\x41A\t%")]
         (done "add-header X-A:\\\\n\\\\\\\\x41\\x41\\t%")))
  (is (= [(act/add-header "X-A" (raw 0xE9 0x20 0xC3 0xA9 0xFF))]
         (done "add-header X-A:\\xe9 \\xC3\\xa9\\xFF"))))

(deftest odd-octets-of-a-field-come-out-as-they-went-in
  (is (= [(act/add-header "X-A" (raw 0xFE 0xC3 0xA9 0x80))]
         (done (str "add-header X-A:" (raw 0xFE 0xC3 0xA9 0x80))))))

(deftest commands-are-executed-in-order
  (is (= [(act/add-header "A" "1") (act/delete-recipient "<r@b.test>") (act/insert-header 1 "A" "2")
          (act/add-header "B" "3")]
         (done "add-header A: 1" "del-rcpt <r@b.test>" "insert-header 1 A: 2" "add-header B: 3"))))

(deftest a-verdict-ends-the-list
  (let [report (run (mail-of "add-header A: 1" "reply5" "add-header B: 2" "accept"))]
    (is (= (get (replies "eom") "reply5") (:reply report)))
    (is (= [(act/add-header "A" "1")] (:modifications report))))
  (is (= [] (done "continue" "add-header B: 2")))
  (is (= [(act/accept)]
         (tell (concat opening (envelope) [(field "X-Test-Do" "accept")
                                           (field "X-Test-Do" "progress 1")
                                           end-of-headers end-of-message])))))

(deftest commands-nobody-knows-are-skipped
  (is (= [(act/add-header "A" "1")]
         (done "" "skip" "Add-Header X: 1" "no-such-command with words" "add-header A: 1"))))

(deftest replies-are-given-as-told
  (doseq [[command reply] {"reply 554 5.7.1 No way" (act/reply-code 554 "5.7.1" "No way")
                           "reply 451 - Later, 100%" (act/reply-code 451 "Later, 100%")
                           "reply 451 - 100% later" (act/reply-code 451 "4.0.0" "100% later")
                           "reply 550 5.1.1" (act/reply-code 550 "5.1.1" "")
                           "reply-multi 550 5.7.0 one\\ntwo is 50%\\nthree"
                           (act/reply-code 550 "5.7.0" "one\ntwo is 50%\nthree")}]
    (is (= reply (:reply (run (mail-of command)))) command)))

(deftest progress-is-told-each-second
  (let [start (System/nanoTime)]
    (is (= [:progress :add-header :continue]
           (map :action (tell (concat opening (envelope)
                                      [(field "X-Test-Do" "progress 1")
                                       (field "X-Test-Do" "add-header A: 1")
                                       end-of-headers end-of-message])))))
    (is (<= 1000000000 (- (System/nanoTime) start)))))

(deftest commands-whose-action-was-not-offered-are-reported-and-not-executed
  (doseq [[bit commands] {0x002 ["replace-body-text x" "replace-body-size 64" "replace-body-upper"]
                          0x004 ["add-rcpt <a@b.test>"]
                          0x008 ["del-rcpt <a@b.test>"]
                          0x010 ["change-header 1 A: b" "delete-header 1 A"]
                          0x020 ["quarantine x"]
                          0x040 ["change-from <a@b.test>" "change-from <a@b.test> RET=HDRS"]
                          0x080 ["add-rcpt <a@b.test> NOTIFY=NEVER"]}
          command commands]
    (let [mail (mail-of command "reply5")
          refused (run mail :offer {:action-mask (bit-and-not 0x1FF bit)})
          obeyed (run mail :offer {:action-mask (bit-or 1 bit)})]
      (is (= [(act/add-header "X-Saw-Refused" (first (str/split command #" ")))]
             (:modifications refused))
          command)
      (is (= 554 (:smtp-code (:reply refused))))
      (is (= 1 (count (:modifications obeyed))))
      (is (empty? (values (added obeyed) "X-Saw-Refused")) command))))

(deftest nothing-is-reported-where-fields-may-not-be-added
  (let [report (run (mail-of "add-header A: 1" "insert-header 0 A: 1" "dump" "dump-headers"
                             "quarantine x" "reply4")
                    :offer {:action-mask 0x002})]
    (is (= [] (:modifications report)))
    (is (= 451 (:smtp-code (:reply report))))))

;; ---- 5. What dump reports

(deftest an-ordinary-message-is-reported-as-in-the-example
  (let [fields (dumped {:sender "<a@example.test>" :options ["SIZE=100"]
                        :recipients ["<b@example.test>" "<c@example.test>"]
                        :headers [["Subject" "x"]]
                        :body "Hello.\r\n"}
                       :client {:host-name "localhost" :address "127.0.0.1" :port 40112}
                       :hello "client.example.test")]
    (is (= [["X-Saw-Mta" "6 0x1ff 0x1fffff"]
            ["X-Saw-Connect" "localhost inet 127.0.0.1 40112"]
            ["X-Saw-Helo" "client.example.test"]
            ["X-Saw-Mail" "<a@example.test> SIZE=100"]
            ["X-Saw-Rcpt" "1 <b@example.test>"]
            ["X-Saw-Rcpt" "2 <c@example.test>"]
            ["X-Saw-Stages" "connect helo mail rcpt data header eoh body eom"]
            ["X-Saw-Headers" (str "2 " (contract/sha-256 "Subject\nX-Test-Do\n"))]
            ["X-Saw-Body" (str "8 " (contract/sha-256 "Hello.\r\n"))]
            ["X-Saw-Count" "messages=1 aborts=0 open=1"]]
           (remove #(= "X-Saw-Macro" (first %)) fields)))))

(deftest a-word-holds-each-octet-that-is-not-printable-as-hex
  (doseq [[greeting word] {"a b" "a%20b"
                           "100%" "100%25"
                           "" "-"
                           "-" "-"
                           "a\u000Bb\tc\u007F!~" "a%0Bb%09c%7F!~"
                           (raw 0xE9 0xC3 0xA9) "%E9%C3%A9"}]
    (is (= word (value (dumped {} :hello greeting) "X-Saw-Helo")))))

(deftest clients-are-reported-with-family-address-and-port
  (doseq [[event words]
          {(client :inet "192.0.2.1") "client.example.test inet 192.0.2.1 40112"
           (client :unix "/run/a socket") "client.example.test unix /run/a%20socket 40112"
           (assoc (client :unix "") :host-name "localhost" :port 0) "localhost unix - 0"
           {:event :connect, :host-name "a b", :family :unknown} "a%20b unknown - 0"
           (client :inet6 "no address") "client.example.test inet6 no%20address 40112"}]
    (is (= words (value (reported (tell (concat [event] (envelope) dump-and-end)))
                        "X-Saw-Connect")))))

(deftest ipv6-addresses-are-reported-in-their-shortest-form
  (doseq [[address short] {"IPv6:2001:DB8:0:0:0:0:0:1" "2001:db8::1"
                           "2001:0db8:0000:0000:0000:0000:0066:0009" "2001:db8::66:9"
                           "0:0:0:0:0:0:0:0" "::"
                           "0:0:0:0:0:0:0:1" "::1"
                           "1:0:0:0:0:0:0:0" "1::"
                           "2001:db8:0:1:1:1:1:1" "2001:db8:0:1:1:1:1:1"
                           "2001:db8:0:0:1:0:0:1" "2001:db8::1:0:0:1"
                           "2001:0:0:1:0:0:0:1" "2001:0:0:1::1"
                           "10:0:0:a0:0:100:0:0" "10::a0:0:100:0:0"
                           "fe80::1" "fe80::1"
                           "::ffff:192.0.2.1" "::ffff:192.0.2.1"
                           "::FFFF:c000:201" "::ffff:192.0.2.1"}]
    (is (= (str "client.example.test inet6 " short " 40112")
           (value (reported (tell (concat [(client :inet6 address)] (envelope) dump-and-end)))
                  "X-Saw-Connect")))))

(deftest what-was-never-said-is-reported-as-missing
  (let [fields (reported (tell (concat (envelope) dump-and-end)))]
    (is (= ["- - - 0" "-"] (map #(value fields %) ["X-Saw-Connect" "X-Saw-Helo"])))
    (is (= "mail rcpt data header eoh eom" (value fields "X-Saw-Stages")))))

(deftest arguments-of-sender-and-recipient-are-reported-as-words
  (let [fields (reported
                 (tell (concat opening
                               [{:event :mail, :sender "", :options ["BODY=8BITMIME" "X= y"]}
                                (assoc (recipient "<b@c.test>") :options ["NOTIFY=NEVER"])
                                (recipient (raw 0xE9))]
                               dump-and-end)))]
    (is (= "- BODY=8BITMIME X=%20y" (value fields "X-Saw-Mail")))
    (is (= ["1 <b@c.test> NOTIFY=NEVER" "2 %E9"] (values fields "X-Saw-Rcpt")))))

(deftest unknown-commands-are-numbered-since-the-connection-began
  (with-open [session (connect)]
    (send-events session (concat opening [(unknown "FOO bar")] (envelope)))
    (is (= ["1 FOO%20bar"] (values (reported (send-events session dump-and-end)) "X-Saw-Unknown")))
    (send-events session (cons (unknown "FOO bar") (envelope)))
    (is (= ["1 FOO%20bar" "2 FOO%20bar"]
           (values (reported (send-events session dump-and-end)) "X-Saw-Unknown")))))

(deftest stages-are-reported-since-the-last-end-of-message
  (with-open [session (connect)]
    (let [stages (fn [events]
                   (value (reported (send-events session (concat events dump-and-end)))
                          "X-Saw-Stages"))]
      (is (= "connect helo unknown mail rcpt data header eoh eom"
             (stages (concat opening [(unknown "A") (unknown "B")]
                             (envelope "<b@c.test>" "<d@e.test>")))))
      (is (= "mail rcpt data abort mail rcpt abort mail rcpt data header eoh eom"
             (stages (concat (envelope) [{:event :abort} {:event :abort}]
                             (butlast (envelope)) (envelope)))))
      (is (= "helo mail unknown rcpt unknown data header eoh eom"
             (stages [(hello "again") (sender "<>") (unknown "A") (recipient "<b@c.test>")
                      (unknown "B") {:event :data}]))))))

(deftest messages-of-a-connection-share-nothing
  (with-open [session (connect)]
    (send-events session (concat opening (envelope "<one@a.test>" "<two@a.test>")
                                 [(field "X-One" "1") (field "X-Test-Do" "add-header X-Again: yes")
                                  end-of-headers (piece "first\r\n") end-of-message]))
    (let [fields (reported (send-events session (concat (envelope "<three@a.test>") dump-and-end)))]
      (is (= ["1 <three@a.test>"] (values fields "X-Saw-Rcpt")))
      (is (= (str "1 " (contract/sha-256 "X-Test-Do\n")) (value fields "X-Saw-Headers")))
      (is (= (str "0 " (contract/sha-256 "")) (value fields "X-Saw-Body")))
      (is (= [] (values fields "X-Again")))
      (is (= "messages=2 aborts=0 open=1" (value fields "X-Saw-Count"))))))

(deftest aborts-and-messages-are-counted
  (with-open [session (connect)]
    (send-events session (concat opening (envelope) [{:event :abort} {:event :abort}]
                                 (envelope) (envelope)))
    (is (= "messages=1 aborts=2 open=1"
           (value (reported (send-events session dump-and-end)) "X-Saw-Count")))))

(deftest open-connections-are-counted-until-they-close
  (letfn [(open-with [session]
            (second (re-find #"open=(\d+)"
                             (-> (send-events session (concat (envelope) dump-and-end))
                                 reported
                                 (value "X-Saw-Count")))))]
    (with-open [first-session (connect)]
      (send-events first-session opening)
      (with-open [second-session (connect)]
        (send-events second-session opening)
        (is (= ["2" "2"] (map open-with [first-session second-session]))))
      (with-open [_ (connect)]
        (is (= "2" (open-with first-session)) "the negotiation alone counts"))
      (is (= "1" (open-with first-session)))
      (testing "a new SMTP client on the same connection"
        (send-events first-session (cons {:event :disconnect} opening))
        (is (= "1" (open-with first-session)))))
    (with-open [session (connect)]
      (is (= "1" (open-with session))))))

(defn- define [letter definitions]
  {:event :define-macro, :command letter, :definitions definitions})

(deftest macros-are-reported-in-the-order-of-stages-and-names
  (is (= ["connect j" "connect _" "connect v" "connect {daemon_name}" "connect {daemon_addr}"
          "helo j" "helo _" "helo v" "helo {daemon_name}" "helo {daemon_addr}"
          "mail j" "mail _" "mail v" "mail {daemon_name}" "mail {daemon_addr}"
          "mail {auth_authen}" "mail {mail_addr}" "mail {mail_host}" "mail {mail_mailer}"]
         (->> (values (dumped {} :macros {"auth_authen" "alice" "cipher" ""}) "X-Saw-Macro")
              (map #(re-find #"^\S+ \S+" %))
              (take-while #(not (str/starts-with? % "rcpt")))))))

(deftest a-macro-holds-from-its-stage-on-and-empty-ones-are-left-out
  (let [macros (contract/macros (dumped {:recipients ["<b@a.test>" "<c@a.test>"]}
                                        :mta :sendmail
                                        :macros {"auth_authen" "a lice" "auth_type" ""}))]
    (is (= [nil nil "a%20lice" "a%20lice" "a%20lice" "a%20lice" "a%20lice"]
           (map #(get-in macros [% "{auth_authen}"])
                ["connect" "helo" "mail" "rcpt" "data" "eoh" "eom"])))
    (is (= [nil "c@a.test" "c@a.test"]
           (map #(get-in macros [% "{rcpt_addr}"]) ["mail" "rcpt" "eom"])))
    (is (not-any? #(contains? % "{auth_type}") (vals macros)))))

(deftest a-later-stage-hides-and-a-new-set-replaces-what-was-defined
  (with-open [session (connect :mta :sendmail)]
    (send-events session opening)
    (let [macros (fn [& definitions]
                   (send-events session (butlast (envelope)))
                   (send-events session definitions)
                   (contract/macros (reported (send-events session
                                                           (cons {:event :data} dump-and-end)))))
          one (macros (define \T {"{i}" "early", "{cipher}" "c"}) (define \T {"{i}" "late"}))
          two (macros)]
      (is (= ["4TEMSE0001" "late" "late"] (map #(get-in one [% "i"]) ["rcpt" "data" "eom"])))
      (is (nil? (get-in one ["data" "{cipher}"])))
      (is (= "4TEMSE0002" (get-in two ["data" "i"])) "macros of a message end with it"))))

(deftest stages-that-did-not-happen-have-no-macros
  (let [macros (with-open [session (connect)]
                 (contract/macros
                   (reported (send-events session (concat (envelope) dump-and-end)))))]
    (is (= #{"mail" "rcpt" "data" "eoh" "eom"} (set (keys macros))))))

(deftest each-header-field-seen-is-reported
  (let [long-value (apply str (repeat 100 "\u00E9"))
        fields (added (run {:headers [["Subject" "a b%"]
                                      ["X-Odd" (raw 0xE9 0xC3 0xA9)]
                                      ["X-Fold" "a\n\tb"]
                                      ["X-Empty" ""]
                                      ["X-Space" "  two"]
                                      ["X-200" long-value]
                                      ["X-201" (str long-value "!")]
                                      ["X-Test-Do" "dump-headers"]]}))]
    (is (= ["1 Subject a%20b%25"
            "2 X-Odd %E9%C3%A9"
            "3 X-Fold a%0A%09b"
            "4 X-Empty -"
            "5 X-Space %20%20two"
            (str "6 X-200 " (apply str (repeat 100 "%C3%A9")))
            (str "7 X-201 #201:"
                 (contract/sha-256 (Text/encode (str long-value "!"))))
            "8 X-Test-Do dump-headers"]
           (values fields "X-Saw-Header")))))

;; ---- 6. Variants

(defn- asked
  "Returns the version, actions, steps and macro lists that a variant answers to an offer."
  [variant offer]
  (with-open [session (connect :variant variant :offer offer)]
    (let [{:keys [version action-mask protocol-mask macros]} (mt/agreement session)]
      (cond-> [version action-mask protocol-mask]
        macros (conj macros)))))

(def ^:private old-offer {:version 2 :action-mask 0x3F :protocol-mask 0x7F})

(deftest nr-asks-for-silence-wherever-the-mta-offers-it-and-keeps-it
  (is (= [6 0x1FF 0xFF480] (asked "nr" {})))
  (is (= [6 0x1FF 0x00080] (asked "nr" {:protocol-mask 0xFF})))
  (is (= [2 0x3F 0] (asked "nr" old-offer)))
  (with-open [session (connect :variant "nr")]
    (let [events (concat opening [(unknown "FOO")] (envelope) dump-and-end)]
      (is (every? empty? (map #(mt/send-event session %) (butlast events))))
      (is (= "connect helo unknown mail rcpt data header eoh eom"
             (value (reported (mt/send-event session (last events))) "X-Saw-Stages"))))))

(deftest nr-answers-an-mta-that-waits
  (is (= "connect helo mail rcpt header eoh body eom"
         (value (dumped {} :variant "nr" :offer old-offer) "X-Saw-Stages"))))

(deftest leadspc-asks-for-the-leading-space-if-it-is-offered
  (is (= [6 0x1FF 0x100400] (asked "leadspc" {})))
  (is (= [2 0x3F 0] (asked "leadspc" old-offer))))

(deftest fields-look-the-same-with-and-without-leading-space
  (let [fields (fn [& {:as options}]
                 (for [{:keys [name value]} (:modifications
                                              (run (mail-of "add-header X-A: b"
                                                            "add-header X-B:c"
                                                            "insert-header 0 X-C: d"
                                                            "change-header 1 X-D: e"
                                                            "quarantine x")
                                                   options))
                       :when name]
                   [name value]))]
    (is (= [["X-A" "b"] ["X-B" "c"] ["X-C" "d"] ["X-D" "e"]]
           (fields)
           (fields :variant "leadspc" :offer old-offer)))
    (is (= [["X-A" " b"] ["X-B" "c"] ["X-C" " d"] ["X-D" " e"]]
           (fields :variant "leadspc")))))

(deftest fields-are-reported-as-they-were-seen
  (is (= [" 1 X-Test-Do %20dump-headers"]
         (map second (added (run (mail-of "dump-headers") :variant "leadspc")))))
  (is (= ["1 X-Test-Do dump-headers"]
         (map second (added (run (mail-of "dump-headers") :variant "leadspc" :offer old-offer)))))
  (is (= [" quarantine"]
         (map second (added (run (mail-of "quarantine x") :variant "leadspc"
                                 :offer {:action-mask 0x1}))))))

(deftest few-asks-for-one-action-and-few-stages
  (is (= [6 0x001 0x753] (asked "few" {})))
  (is (= [4 0x001 0x353] (asked "few" {:version 4 :protocol-mask 0x37F})))
  (is (= [2 0x001 0x053] (asked "few" old-offer)))
  (is (= [6 0x001 0x402] (asked "few" {:protocol-mask 0xFFC82}))))

(deftest few-sees-few-and-does-little
  (let [fields (added (run (mail-of "add-header X-A: b" "change-header 1 X-C: d" "quarantine x"
                                    "dump")
                           :variant "few"))]
    (is (= ["b"] (values fields "X-A")))
    (is (= ["change-header" "quarantine"] (values fields "X-Saw-Refused")))
    (is (= "mail rcpt header eom" (value fields "X-Saw-Stages")))
    (is (= ["- - - 0" "-"] (map #(value fields %) ["X-Saw-Connect" "X-Saw-Helo"])))
    (is (= "messages=1 aborts=0 open=1" (value fields "X-Saw-Count")))
    (is (= #{"mail" "rcpt" "eom"} (set (keys (contract/macros fields)))))))

(deftest few-sees-what-the-mta-cannot-keep-to-itself
  (is (= "connect mail rcpt data header eoh eom"
         (value (dumped {} :variant "few" :offer {:protocol-mask 0x12})
                "X-Saw-Stages"))))

(deftest symlist-asks-for-macros-if-lists-are-offered
  (is (= [6 0x1FF 0x400 {:connect ["client_addr"]
                         :mail ["i" "mail_addr"]
                         :recipient ["rcpt_addr"]
                         :end-of-message ["client_port"]}]
         (asked "symlist" {})))
  (is (= [6 0x0FF 0x400] (asked "symlist" {:action-mask 0xFF}))))

(deftest symlist-gets-what-it-asks-for
  (is (= {"connect" {"{client_addr}" "192.0.2.1"}
          "mail" {"{client_addr}" "192.0.2.1", "i" "4TEMSE0001", "{mail_addr}" "a@b.test"}
          "eom" {"{client_addr}" "192.0.2.1", "i" "4TEMSE0001", "{mail_addr}" "a@b.test"
                 "{rcpt_addr}" "c@d.test", "{client_port}" "40110"}}
         (select-keys (contract/macros (dumped {:sender "<a@b.test>", :recipients ["<c@d.test>"]}
                                               :variant "symlist"
                                               :mta :sendmail))
                      ["connect" "mail" "eom"]))))

(deftest rcptrej-asks-for-rejected-recipients-if-they-are-offered
  (is (= [6 0x1FF 0xC00] (asked "rcptrej" {})))
  (is (= [2 0x3F 0] (asked "rcptrej" old-offer))))

;; ---- 7. Check list

(deftest long-waits-do-not-stop-other-connections
  (milter/with-milter [server (assoc (contract/options) :port 0 :loops 1)]
    (let [waiting (future (mt/run-message server (mail-of "progress 2")))]
      (with-open [session ^MtaSession (mt/connect-to server)]
        (is (= :accept (:verdict (mt/run-message session {}))))
        (is (not (realized? waiting))))
      (is (= :accept (:verdict @waiting))))))
