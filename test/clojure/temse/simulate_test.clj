(ns temse.simulate-test
  "The rules of the simulation, one by one. That the MTAs follow them is shown by
  temse.simulate-postfix-test and temse.simulate-sendmail-test."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.impl.mta.edit :as edit]
   [temse.mta :as mta]
   [temse.simulate.limits :as limits])
  (:import
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

;; ---- helpers

(def mail
  {:sender "<a@example.org>"
   :recipients ["<b@example.com>" "<c@example.com>"]
   :headers [["From" "a@example.org"] ["X-A" "one"] ["Subject" "hi"] ["X-A" "two"]]
   :body "hello\r\n"})

(defn- exchange
  [event & actions]
  {:event (if (map? event) event {:event event}) :response (vec actions)})

(defn- outcome
  [mta & exchanges]
  (mta/outcome {:mta mta :message mail :conversation exchanges}))

(defn- after
  "Returns the message that goes on after the modifications."
  [mta mail & actions]
  (:message (mta/outcome {:mta mta
                               :message mail
                               :conversation [(apply exchange :end-of-message actions)]})))

(defn- headers
  [mta & actions]
  (:headers (apply after mta mail actions)))

(defn- own
  "Returns the fields that the client or the filter has made."
  [headers]
  (into [] (remove (comp :made meta)) headers))

(defn- spelled
  [{:keys [smtp-code enhanced-code text]}]
  [smtp-code enhanced-code text])

(defn- named
  "Returns the fields of these names."
  [headers & names]
  (filter (comp (set names) first) headers))

(defn- added
  "Returns the last field of the message."
  [mta & actions]
  (peek (apply headers mta actions)))

(defn- heard
  "Returns a reply that the SMTP client hears at a stage."
  [mta stage & exchanges]
  (spelled (get-in (apply outcome mta exchanges) [:smtp stage])))

;; ---- header fields

(deftest postfix-adds-fields-at-the-end-and-sendmail-before-the-first-of-that-name
  (is (= (conj (:headers mail) ["x-a" "new"])
         (own (headers :postfix (act/add-header "x-a" "new")))))
  (is (= [["From" "a@example.org"] ["x-a" "new"] ["X-A" "one"] ["Subject" "hi"] ["X-A" "two"]]
         (own (headers :sendmail (act/add-header "x-a" "new")))))
  (is (= (conj (:headers mail) ["X-B" "1"]) (own (headers :sendmail (act/add-header "X-B" "1"))))))

(deftest sendmail-fills-the-field-that-it-would-have-made
  (is (= [["Date" "today"] ["From" "a@example.org"]]
         (named (headers :sendmail (act/add-header "Date" "today")) "From" "Date")))
  (is (= [["From" "new@example.org"] ["From" "a@example.org"]]
         (named (headers :sendmail (act/add-header "From" "new@example.org")) "From"))
      "though the client has sent one"))

(deftest sendmail-makes-what-is-missing-and-postfix-received-only
  (is (= ["Received"] (map first (filter (comp :made meta) (headers :postfix)))))
  (is (= ["Received" "Date" "Message-Id"]
         (map first (filter (comp :made meta) (headers :sendmail))))))

(deftest sendmail-s-from-is-the-sender
  (let [from #(second (first (filter (comp #{"From"} first) (:headers %))))
        bare (assoc mail :headers [])]
    (is (= "a@example.org" (from (after :sendmail bare (act/change-sender "<z@example.org>")))))
    (testing "with the full name"
      (are [full-name expected] (= expected
                                   (from (after :sendmail
                                                (assoc bare :headers [["Full-Name" full-name]]))))
        "Ann" "Ann <a@example.org>"
        "A. Nn" "\"A. Nn\" <a@example.org>"))
    (testing "or the new sender if there was none"
      (is (= "z@example.org"
             (from (after :sendmail
                          (assoc bare :sender "<>")
                          (act/change-sender "<z@example.org>"))))))))

(deftest position-zero-is-above-received-and-one-below-it
  (doseq [mta [:postfix :sendmail]]
    (testing mta
      (is (= ["X-Top" "Received"]
             (take 2 (map first (headers mta (act/insert-header 0 "X-Top" "1"))))))
      (is (= ["Received" "X-Top"]
             (take 2 (map first (headers mta (act/insert-header 1 "X-Top" "1"))))))
      (is (= ["X-End" "1"] (peek (headers mta (act/insert-header 99 "X-End" "1"))))))))

(deftest sendmail-counts-fields-that-it-does-not-write
  (is (= ["Received" "From" "X-New"]
         (take 3 (map first (headers :postfix (act/insert-header 2 "X-New" "1"))))))
  (is (= ["Received" "X-New" "Date"]
         (take 3 (map first (headers :sendmail (act/insert-header 2 "X-New" "1")))))
      "Resent-Date"))

(deftest a-change-spells-the-name-anew-on-postfix-only
  (is (= ["x-A" "new"] (nth (own (headers :postfix (act/change-header "x-A" "new"))) 1)))
  (is (= ["X-A" "new"] (nth (own (headers :sendmail (act/change-header "x-A" "new"))) 1))))

(deftest postfix-renumbers-after-a-deletion-and-sendmail-does-not
  (let [deletions [(act/delete-header "X-A" 1) (act/delete-header "X-A" 2)]]
    (is (= [["X-A" "two"]] (named (apply headers :postfix deletions) "X-A")))
    (is (= [] (named (apply headers :sendmail deletions) "X-A")))))

(deftest what-is-not-there-is-added-by-a-change-and-not-missed-by-a-deletion
  (doseq [mta [:postfix :sendmail]]
    (is (= (conj (:headers mail) ["X-B" "1"]) (own (headers mta (act/change-header "X-B" "1")))))
    (is (= (:headers mail)
           (own (headers mta (act/delete-header "X-B") (act/delete-header "X-A" 3)))))))

(deftest the-mta-s-own-received-cannot-be-changed
  (doseq [mta [:postfix :sendmail]]
    (is (= (:headers mail) (own (headers mta (act/delete-header "Received")))))
    (is (:made (meta (first (headers mta (act/delete-header "Received"))))))))

(deftest what-begins-like-postfix-s-received-passes-for-it
  (let [changed (headers :postfix
                         (act/insert-header 0 "Received" "from")
                         (act/delete-header "Received"))]
    (is (= ["Received" "from"] (first changed)))
    (is (= (:headers mail) (vec (rest changed))))))

(deftest values-keep-the-space-that-they-have
  (let [tight (assoc mail :headers [["X-A" "v" "v"] ["X-B" " w"]])]
    (doseq [mta [:postfix :sendmail]]
      (is (= [["X-A" "v" "v"] ["X-B" " w"]] (own (:headers (after mta tight))))))))

(deftest a-filter-that-sees-the-leading-space-gives-it-too
  (let [changed (fn [value]
                  (-> (mta/outcome {:message mail
                                    :agreement {:protocol #{:leading-space}}
                                    :conversation [(exchange :end-of-message
                                                             (act/add-header "X-B" value))]})
                      :message :headers peek))]
    (is (= ["X-B" "1"] (changed " 1")))
    (is (= ["X-B" "1" "1"] (changed "1")))))

(deftest some-fields-are-not-for-the-next-hop
  (let [odd (assoc mail :headers [["Bcc" "x@example.org"] ["Return-Path" "<p@example.org>"]
                                  ["Content-Length" "5"] ["X-A" "1"]])]
    (is (= [["X-A" "1"]] (own (:headers (after :postfix odd)))))
    (is (= [["Bcc" "" ""] ["X-A" "1"]] (own (:headers (after :sendmail odd)))))
    (is (= [["X-A" "1"] ["To" "y@example.org"]]
           (own (:headers (after :sendmail (update odd :headers conj ["To" "y@example.org"]))))))
    (testing "but Postfix passes those that a filter adds"
      (is (= ["Return-Path" "x"] (added :postfix (act/add-header "Return-Path" "x"))))
      (is (= (:headers mail) (own (headers :sendmail (act/add-header "Return-Path" "x"))))))))

(deftest sendmail-hides-resent-fields-of-a-filter
  (is (= (:headers mail) (own (headers :sendmail (act/add-header "Resent-To" "x@example.org")))))
  (is (= ["Resent-To" "x@example.org"]
         (added :postfix (act/add-header "Resent-To" "x@example.org")))))

;; ---- envelope

(deftest recipients-go-on-in-the-order-of-the-mta
  (is (= ["<b@example.com>" "<c@example.com>" "<a@example.org>"]
         (:recipients (after :postfix mail (act/add-recipient "a@example.org")))))
  (is (= ["<a@example.org>" "<c@example.com>" "<b@example.com>"]
         (:recipients (after :sendmail mail (act/add-recipient "a@example.org"))))))

(deftest quotes-make-no-difference-to-the-order-of-postfix
  (is (= ["<b@example.com>" "<c@example.com>" "<\"d d\"@example.com>"]
         (:recipients (after :postfix mail (act/add-recipient "<\"d d\"@example.com>"))))))

(deftest an-added-recipient-that-is-there-gets-the-mail-twice-on-postfix
  (is (= ["<b@example.com>" "<b@example.com>" "<c@example.com>"]
         (:recipients (after :postfix mail (act/add-recipient "<b@example.com>")
                             (act/add-recipient "<B@EXAMPLE.com>")))))
  (is (= ["<c@example.com>" "<b@example.com>"]
         (:recipients (after :sendmail mail (act/add-recipient "<b@example.com>"))))))

(deftest the-client-s-duplicates-are-one-in-any-case-of-letters-on-postfix-only
  (let [doubled (assoc mail :recipients ["<b@example.com>" "<B@example.com>" "<b@example.com>"])]
    (is (= ["<b@example.com>"] (:recipients (after :postfix doubled))))
    (is (= ["<B@example.com>" "<b@example.com>"] (:recipients (after :sendmail doubled))))))

(deftest a-deletion-must-be-spelled-alike
  (doseq [mta [:postfix :sendmail]]
    (is (= ["<c@example.com>"] (:recipients (after mta mail (act/delete-recipient "b@example.com")))))
    (is (= 2 (count (:recipients (after mta mail (act/delete-recipient "<B@example.com>"))))))))

(deftest postfix-takes-the-first-of-a-list-and-sendmail-all
  (let [delete (act/delete-recipient "<b@example.com>, <c@example.com>")
        add (act/add-recipient "<d@example.com>, e@example.com")]
    (is (= ["<c@example.com>" "<d@example.com>"] (:recipients (after :postfix mail delete add))))
    (is (= ["<d@example.com>" "<e@example.com>"] (:recipients (after :sendmail mail delete add))))))

(deftest a-recipient-that-comes-back-keeps-its-parameters-on-sendmail
  (let [mail (assoc mail
                    :recipients ["<b@example.com>"]
                    :recipient-options [["NOTIFY=FAILURE" "ORCPT=rfc822;o@example.com"]])
        again [(act/delete-recipient "<b@example.com>")
               (act/add-recipient "<b@example.com>" ["NOTIFY=SUCCESS"])]]
    (is (= [["NOTIFY=SUCCESS"]] (:recipient-options (apply after :postfix mail again))))
    (is (= [["NOTIFY=SUCCESS,FAILURE" "ORCPT=rfc822;o@example.com"]]
           (:recipient-options (apply after :sendmail mail again))))))

(deftest postfix-adds-a-duplicate-once-an-address-that-differs-in-case-was-to-be-deleted
  (let [orcpt ["ORCPT=rfc822;o@example.com"]
        mail (assoc mail :recipients ["<B@example.com>"] :recipient-options [orcpt])
        add (act/add-recipient "<b@example.com>" orcpt)]
    (is (= ["<B@example.com>"] (:recipients (after :postfix mail add))))
    (is (= ["<B@example.com>" "<b@example.com>"]
           (:recipients (after :postfix mail (act/delete-recipient "<b@example.com>") add))))))

(deftest sendmail-does-not-add-a-recipient-with-a-parameter-that-it-does-not-know
  (let [add (act/add-recipient "<d@example.com>" ["FOO=1"])]
    (is (= 3 (count (:recipients (after :postfix mail add)))))
    (is (= 2 (count (:recipients (after :sendmail mail add)))))
    (testing "and complains to the client if the filter then defers"
      (is (= [555 "5.5.4" "FOO parameter unrecognized"]
             (heard :sendmail :message (exchange :end-of-message add (act/temporary-failure)))))
      (is (= [554 "5.7.1" "Command rejected"]
             (heard :sendmail :message (exchange :end-of-message add (act/reject))))))))

(deftest malformed-parameters-of-other-filters-are-ignored-by-postfix-and-end-a-recipient-on-sendmail
  (let [add {:action :add-recipient, :address "<d@example.com>", :parameters ["NOTIFY=MAYBE" "ORCPT=rfc822;x@y"]}
        change {:action :change-sender, :address "<z@example.org>", :parameters ["RET=ALL" "ENVID=z"]}]
    (is (= [["ORCPT=rfc822;x@y"]] (filter seq (:recipient-options (after :postfix mail add)))))
    (is (= 2 (count (:recipients (after :sendmail mail add)))))
    (is (= ["ENVID=z"] (:options (after :postfix mail change))))
    (is (= ["RET=FULL"] (:options (after :sendmail mail change))))
    (testing "and of those that are given twice one counts, or ends the recipient"
      (are [mta parameters options] (= [options]
                                       (filter seq (:recipient-options (after mta mail (assoc add :parameters parameters)))))
        :postfix ["NOTIFY=SUCCESS" "NOTIFY=NEVER"] ["NOTIFY=SUCCESS"]
        :sendmail ["NOTIFY=SUCCESS" "NOTIFY=NEVER"] ["NOTIFY=NEVER"]
        :postfix ["ORCPT=rfc822;x@y" "ORCPT=rfc822;z@y"] ["ORCPT=rfc822;x@y"])
      (is (= 2 (count (:recipients (after :sendmail mail (assoc add :parameters ["ORCPT=rfc822;x@y" "ORCPT=rfc822;z@y"])))))))))

(deftest ret-is-written-in-upper-case
  (doseq [mta [:postfix :sendmail]]
    (is (= ["RET=HDRS"] (:options (after mta mail (act/change-sender "<z@example.org>" ["ret=hdrs"])))))))

(deftest sendmail-complains-of-auth
  (is (= [501 "5.5.0" "Duplicate AUTH parameter"]
         (heard :sendmail :message (exchange :end-of-message
                                             (act/change-sender "<z@example.org>" ["AUTH=<>"])
                                             (act/temporary-failure))))))

(deftest parameters-of-a-new-sender-are-added-on-postfix-and-replace-on-sendmail
  (let [mail (assoc mail :options ["RET=FULL" "ENVID=one" "SIZE=100"])
        change (act/change-sender "z@example.org" ["RET=HDRS"])]
    (are [mta options] (= {:sender "<z@example.org>" :options options}
                          (select-keys (after mta mail change) [:sender :options]))
      :postfix ["RET=HDRS" "ENVID=one"]
      :sendmail ["RET=HDRS"])
    (is (= ["RET=FULL" "ENVID=one"] (:options (after :sendmail mail (act/change-sender "<>")))))))

(deftest refused-recipients-are-left-out
  (let [refused (exchange {:event :recipient :address "<b@example.com>"} (act/reject))]
    (doseq [mta [:postfix :sendmail]]
      (is (= ["<c@example.com>"] (:recipients (:message (outcome mta refused))))))
    (testing "until the filter adds them"
      (is (= ["<c@example.com>" "<b@example.com>"]
             (:recipients (:message (outcome :sendmail refused
                                             (exchange :end-of-message
                                                       (act/add-recipient "<b@example.com>"))))))))))

(deftest without-recipients-nothing-goes-on-though-the-client-hears-success
  (doseq [mta [:postfix :sendmail]]
    (let [end (apply exchange :end-of-message (map act/delete-recipient (:recipients mail)))
          {:keys [fate message smtp]} (outcome mta end)]
      (is (= [:no-recipients nil 250] [fate message (:smtp-code (:message smtp))])))))

;; ---- addresses; temse.simulate.addresses shows that the MTAs read them so

(deftest each-mta-reads-addresses-in-its-own-way
  (are [text postfix sendmail]
       (= [postfix sendmail]
          (for [mta [:postfix :sendmail]]
            (remove (set (:recipients mail)) (:recipients (after mta mail (act/add-recipient text))))))
       "Dora <d@example.com>" ["<d@example.com>"] ["<d@example.com>"]
       "d(x)@example.com (Dora)" ["<d@example.com>"] ["<d@example.com>"]
       "<@r.example,@s.example:d@example.com>" ["<d@example.com>"] ["<d@example.com>"]
       "\"d\"@example.com" ["<d@example.com>"] ["<\"d\"@example.com>"]
       "\"d d\"@example.com" ["<\"d d\"@example.com>"] ["<\"d d\"@example.com>"]
       "<d..e@example.com>" ["<\"d..e\"@example.com>"] ["<d..e@example.com>"]
       "<d@example.com.>" ["<d@example.com>"] ["<d@example.com>"]
       "<d@[192.0.2.1]>" ["<d@[192.0.2.1]>"] ["<d@[192.0.2.1]>"]
       "x: d@example.com, e@example.com;" ["<d@example.com>"] ["<d@example.com>" "<e@example.com>"]
       "d" ["<d@mx.example.org>"] ["<d@mx.example.org>"]
       "d%example.com" ["<d@example.com>"] ["<d@example.com>"]
       "example.com!d" ["<d@example.com>"] ["<d@example.com>"]
       "<>" [] []
       " " [] []
       "(d@example.com" [] []))

(deftest each-mta-reads-a-new-sender-in-its-own-way
  (are [text postfix sendmail]
       (= [postfix sendmail] (map #(:sender (after % mail (act/change-sender text))) [:postfix :sendmail]))
       "Dora <d@example.com>" "<d@example.com>" "<d@example.com>"
       "\"d\"@example.com." "<d@example.com>" "<\"d\"@example.com>"
       "<d@example.com>, <e@example.com>" "<d@example.com>" "<e@example.com>"
       "d@example.com, e@example.com" "<d@example.com>" "<MAILER-DAEMON@mx.example.org>"
       "d" "<d@mx.example.org>" "<d@mx.example.org>"
       "<>" "<>" "<>"
       "(" "<>" "<MAILER-DAEMON@mx.example.org>"))

(deftest the-host-s-own-mailer-daemon-is-the-null-sender-on-postfix
  (are [given postfix sendmail]
    (= [postfix sendmail] (map #(:sender (after % mail (act/change-sender given))) [:postfix :sendmail])
       (map #(:sender (after % (assoc mail :sender given))) [:postfix :sendmail]))
    "<MAILER-DAEMON>" "<>" "<MAILER-DAEMON@mx.example.org>"
    "<mailer-daemon@MX.example.org.>" "<>" "<mailer-daemon@MX.example.org>"
    "<MAILER-DAEMON@example.com>" "<MAILER-DAEMON@example.com>" "<MAILER-DAEMON@example.com>"))

(deftest postfix-tells-who-was-added-beyond-ascii
  (let [orcpt (fn [given] (some first (:recipient-options (after :postfix mail (act/add-recipient given)))))]
    (are [given expected] (= expected (orcpt given))
      "<d+x@example.com>" "ORCPT=rfc822;d+2Bx@example.com"
      "<j\u00f6rg+x@example.com>" "ORCPT=utf-8;j\\x{F6}rg\\x{2B}x@example.com"
      "<\"j \\\\ \u00f6=\"@example.com>" "ORCPT=utf-8;\"j\\x{20}\\x{5C}\\x{5C}\\x{20}\\x{F6}\\x{3D}\"@example.com"
      "<\ud83d\udca5@example.com>" "ORCPT=utf-8;\\x{1F4A5}@example.com"))
  (testing "but octets of the client's"
    (is (= ["ORCPT=rfc822;j+C3+B6rg@example.com"]
           (first (:recipient-options (after :postfix (assoc mail :recipients ["<j\u00f6rg@example.com>"]))))))))

(deftest a-recipient-is-deleted-by-what-each-mta-compares
  (are [client text postfix sendmail]
       (= [postfix sendmail]
          (for [mta [:postfix :sendmail]]
            (count (:recipients (after mta (assoc mail :recipients [client "<keep@example.com>"])
                                       (act/delete-recipient text))))))
       "<b@example.com>" "Bob <b@example.com>" 1 1
       "<b@example.com>" "\"b\"@example.com" 1 2
       "<\"b\"@example.com>" "<b@example.com>" 1 2
       "<b@example.com>" "<@r.example:b@example.com>" 2 1
       "<@r.example:b@example.com>" "<b@example.com>" 1 1
       "<b@example.com.>" "<b@example.com>" 2 1
       "<b@example.com>" "<b@example.com.>" 2 1
       "<b@example.com>" "<b@EXAMPLE.com>" 2 2
       "<b@example.com>" "<>" 2 2
       "<b@example.com>" "b@example.com, keep@example.com" 1 0))

(deftest with-parameters-sendmail-reads-one-address-up-to-the-first-space
  (are [text sendmail] (= sendmail (remove (set (:recipients mail))
                                           (:recipients (after :sendmail mail (act/add-recipient text ["NOTIFY=NEVER"])))))
    "<d@example.com>, <e@example.com>" ["<d@example.com>"]
    "d@example.com, e@example.com" []
    "d@example.com (x)" ["<d@example.com>"]
    "x: d@example.com;" []))

;; ---- bodies

(deftest line-ends-of-a-new-body
  (doseq [mta [:postfix :sendmail]]
    (are [given expected] (= expected (edit/octets (:body (after mta mail (act/change-body given)))))
      "a\nb\r\nc" "a\r\nb\r\nc\r\n"
      "a\rb\r\n" "a\rb\r\n"
      "a\r\r\n" "a\r\r\n"
      "a\r" "a\r\r\n"
      "\n" "\r\n"
      "" "")))

(deftest a-body-that-is-not-replaced-stays
  (is (identical? (:body mail) (:body (after :postfix mail (act/add-header "X" "1"))))))

;; ---- verdicts

(deftest an-accepted-mail-is-delivered
  (doseq [mta [:postfix :sendmail]]
    (is (= [:delivered :end-of-message] ((juxt :fate :at) (outcome mta))))
    (is (= [[220 250 250] [250 250] [354 250]]
           (let [{:keys [greeting hello mail recipients data message]} (:smtp (outcome mta))]
             (map #(map :smtp-code %) [[greeting hello mail] recipients [data message]]))))))

(deftest the-mta-s-own-texts
  (are [mta stage event reply text] (= text (heard mta stage (exchange event reply)))
    :postfix :mail :mail (act/reject) [550 "5.7.1" "Command rejected"]
    :postfix :message :body (act/reject) [550 "5.7.1" "Command rejected"]
    :postfix :data :data (act/temporary-failure) [451 "4.7.1" "Service unavailable - try again later"]
    :sendmail :mail :mail (act/reject) [550 "5.7.1" "<a@example.org>... Command rejected"]
    :sendmail :data :data (act/reject) [550 "5.7.1" "Command rejected"]
    :sendmail :message :body (act/reject) [554 "5.7.1" "Command rejected"]
    :sendmail :mail :mail (act/temporary-failure) [451 "4.3.2" "Please try again later"]))

(deftest sendmail-names-the-address-in-some-codes-and-completes-the-enhanced-code
  (are [code expected] (= expected (heard :sendmail :mail (exchange :mail (act/reply-code code "no"))))
    550 [550 "5.0.0" "<a@example.org>... no"]
    554 [554 "5.0.0" "no"]
    450 [450 "4.0.0" "<a@example.org>... no"])
  (is (= [550 nil "no"] (heard :postfix :mail (exchange :mail (act/reply-code 550 "no"))))))

(deftest sendmail-strips-the-highest-bit
  (are [mta text] (= text (last (heard mta :data
                                       (exchange :data (act/reply-code 550 "5.7.1" "café")))))
    :sendmail "cafC)"
    :postfix "café"))

(deftest sendmail-names-the-address-that-it-was-busy-with
  (is (= [550 "5.7.1" "z@example.org... no"]
         (heard :sendmail :message (exchange :end-of-message
                                             (act/change-sender "z@example.org")
                                             (act/reply-code 550 "5.7.1" "no"))))))

(deftest postfix-takes-a-number-at-the-start-of-a-text-for-a-wrong-enhanced-code
  (let [smtp (:smtp (outcome :postfix
                             (exchange {:event :recipient :address "<b@example.com>"}
                                       (act/reply-code 550 "100 times no"))))
        broken [451 "4.3.5" "Server configuration problem - try again later"]]
    (is (= [broken broken] (map spelled (:recipients smtp))) "and is done with the filter"))
  (is (= [550 nil "5 times no"]
         (heard :postfix :mail (exchange :mail (act/reply-code 550 "5 times no")))))
  (is (= [550 "5.0.0" "100 times no"]
         (heard :sendmail :data (exchange :data (act/reply-code 550 "100 times no"))))))

(deftest a-refused-connection
  (let [refused (fn [mta reply]
                  (let [{:keys [smtp fate at]} (outcome mta (exchange :connect reply))]
                    [(spelled (:greeting smtp)) (some-> (:mail smtp) spelled) fate at]))]
    (is (= [[554 nil "mx.example.org ESMTP not accepting connections"] [550 "5.7.1" "no"]
            :refused :connect]
           (refused :postfix (act/reply-code 550 "5.7.1" "no"))))
    (is (= [[554 nil "mx.example.org ESMTP not accepting messages"] [550 "5.0.0" "Command rejected"]
            :refused :connect]
           (refused :sendmail (act/reply-code 550 "5.7.1" "no"))))
    (is (= [[220 nil "mx.example.org ESMTP Postfix"] [450 "4.7.1" "later"] :deferred :connect]
           (refused :postfix (act/reply-code 450 "4.7.1" "later"))))
    (is (= [[220 nil "mx.example.org ESMTP Sendmail"] [451 "4.3.2" "Please try again later"]
            :deferred :connect]
           (refused :sendmail (act/reply-code 450 "4.7.1" "later"))))
    (is (= [[421 nil "mx.example.org Service unavailable - try again later"] nil :deferred :connect]
           (refused :postfix (act/reply-code 421 "bye"))))
    (is (= [[421 "4.7.0" "mx.example.org closing connection"] nil :deferred :connect]
           (refused :sendmail (act/reply-code 421 "bye"))))))

(deftest a-refused-hello-is-heard-by-the-mail-command
  (doseq [mta [:postfix :sendmail]]
    (let [{:keys [smtp fate at]} (outcome mta (exchange :hello (act/reply-code 554 "5.7.1" "no")))]
      (is (= [250 [554 "5.7.1" "no"] :refused :hello]
             [(:smtp-code (:hello smtp)) (spelled (:mail smtp)) fate at]))
      (is (= nil (:recipients smtp))))
    (is (= [421 "4.7.0" "bye"]
           (heard mta :hello (exchange :hello (act/reply-code 421 "4.7.0" "bye")))))))

(deftest the-dialogue-ends-where-there-is-nothing-left-to-send
  (let [refused #(exchange {:event :recipient :address %} %2)]
    (doseq [mta [:postfix :sendmail]]
      (testing "a code 421"
        (let [{:keys [smtp fate]} (outcome mta (refused "<b@example.com>"
                                                        (act/reply-code 421 "4.7.0" "bye")))]
          (is (= [[421] nil :deferred] [(map :smtp-code (:recipients smtp)) (:data smtp) fate]))))
      (testing "no recipient"
        (let [{:keys [smtp fate at]} (outcome mta
                                              (refused "<b@example.com>" (act/reject))
                                              (refused "<c@example.com>" (act/temporary-failure)))]
          (is (= [[550 451] nil :deferred :recipient]
                 [(map :smtp-code (:recipients smtp)) (:data smtp) fate at])))))))

(deftest a-discarded-mail-sounds-like-an-accepted-one
  (doseq [mta [:postfix :sendmail]
          [event reply] [[:mail (act/discard)]
                         [{:event :recipient :address "<c@example.com>"} (act/discard)]
                         [:header (act/discard)]]]
    (let [{:keys [smtp fate at message]} (outcome mta (exchange event reply))]
      (is (= [250 :discarded (:event event event) nil]
             [(:smtp-code (:message smtp)) fate at message])))))

(deftest a-quarantined-mail-is-held
  (doseq [mta [:postfix :sendmail]]
    (let [{:keys [fate message smtp]} (outcome mta (exchange :end-of-message (act/quarantine "why")
                                                             (act/add-header "X-B" "1")))]
      (is (= [:held "why" ["X-B" "1"] 250]
             [fate (:quarantine message) (peek (:headers message)) (:smtp-code (:message smtp))])))
    (is (= :refused
           (:fate (outcome mta (exchange :end-of-message (act/quarantine "why") (act/reject))))))))

(deftest postfix-holds-a-quarantined-mail-without-recipients-too
  (are [mta fate] (= fate (:fate (outcome mta (exchange :end-of-message
                                                        (act/delete-recipient "<b@example.com>")
                                                        (act/delete-recipient "<c@example.com>")
                                                        (act/quarantine "why")))))
    :postfix :held
    :sendmail :no-recipients))

(deftest modifications-before-a-refusal-are-moot
  (is (= [:refused nil]
         ((juxt :fate :message)
          (outcome :postfix (exchange :end-of-message (act/add-header "X-B" "1") (act/reject)))))))

(deftest the-session-appears-in-texts
  (let [session {:host-name "mail.example.net" :queue-id "Q1" :hello "me.example.org" :date "today"}
        {:keys [smtp message]} (mta/outcome {:mta :sendmail :message mail :session session})]
    (is (= [220 nil "mail.example.net ESMTP Sendmail"] (spelled (:greeting smtp))))
    (is (= [250 "2.0.0" "Q1 Message accepted for delivery"] (spelled (:message smtp))))
    (is (= [["Received" "from me.example.org by mail.example.net with ESMTP id Q1; today"]
            ["Date" "today"]]
           (take 2 (:headers message))))))

;; ---- what is shared with temse.mta

(deftest actions-are-applied-by-the-rules-of-either-mta-without-the-fields-that-it-makes
  (let [actions [(act/add-header "Date" "today") (act/add-recipient "<a@example.org>")]]
    (is (= (conj (:headers mail) ["Date" "today"]) (:headers (mta/apply-actions mail actions))))
    (is (= (into [["Date" "today"]] (:headers mail))
           (:headers (mta/apply-actions mail actions {:mta :sendmail}))))
    (is (= (conj (:recipients mail) "<a@example.org>")
           (:recipients (mta/apply-actions mail actions {:mta :sendmail})))
        "in the order of the message")))

(deftest an-mta-that-is-not-simulated-is-refused
  (is (thrown-with-msg? MilterException #":mta must be :postfix or :sendmail, not :exim"
        (mta/outcome {:mta :exim :message mail})))
  (is (thrown-with-msg? MilterException #"not :exim"
        (mta/apply-actions mail [] {:mta :exim}))))

(deftest the-list-of-what-is-not-simulated-is-up-to-date
  (is (string/ends-with? (slurp limits/page) (limits/section))
      "evaluate (temse.simulate.limits/write!)"))
