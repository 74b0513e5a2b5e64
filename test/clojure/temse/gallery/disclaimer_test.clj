(ns temse.gallery.disclaimer-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.gallery.support :as support]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter]
   [temse.mime :as mime]
   [temse.noted-mails :as noted-mails]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(defn- disclaimer
  [settings]
  (support/configured "disclaimer" settings))

(def ^:private by-domain
  {:texts {"Example.org" {:plain "Example Ltd", :html "<p>Example <b>Ltd</b></p>"}
           "example.net" {:plain "Net AG"}}})

(def ^:private local {:client {:address "127.0.0.1"}})

(defn- texts
  "Returns the texts of the mail that is delivered, by type, without the last line end."
  [filter mail options]
  (let [{:keys [message verdict]} (mt/run-message filter mail options)]
    (is (= :accept verdict))
    (into {}
          (map (juxt :type #(string/trim-newline (mime/text message %))))
          (clojure.core/filter mime/text? (mime/parts message)))))

(defn- text
  ([filter mail]
   (text filter mail local))
  ([filter mail options]
   (get (texts filter (merge {:body "Hello.\r\n"} mail) options) "text/plain")))

(def ^:private alternative
  {:headers [["Content-Type" "multipart/alternative; boundary=b"]]
   :body (str "--b\r\n\r\nHello\r\n--b\r\nContent-Type: text/html\r\n\r\n<body>Hello</body>\r\n--b--\r\n")})

(deftest the-domain-of-the-sender-chooses-the-text
  (let [filter (disclaimer by-domain)]
    (is (= "Hello.\r\nExample Ltd" (text filter {:sender "<ann@EXAMPLE.org>"})))
    (is (= {"text/plain" "Hello\r\nExample Ltd", "text/html" "<body>Hello<p>Example <b>Ltd</b></p></body>"}
           (texts filter (assoc alternative :sender "<ann@example.org>") local)))
    (is (= {"text/plain" "Hello\r\nNet AG", "text/html" "<body>Hello<div>Net AG</div></body>"}
           (texts filter (assoc alternative :sender "<ann@example.net>") local)))
    (doseq [sender ["<ann@a.example.org>" "<ann>" "<>" "<\"example.org\"@[192.0.2.1]>" "ann@@example.org" "@"]]
      (is (= "Hello." (text filter {:sender sender})) sender)))
  (let [filter (disclaimer (assoc-in by-domain [:texts :default] {:plain "Others"}))]
    (doseq [sender ["<ann@example.com>" "<ann>" "<ann@[192.0.2.1]>" "ann@@example.org"]]
      (is (= "Hello.\r\nOthers" (text filter {:sender sender})) sender))
    (is (= "Hello." (text filter {:sender "<>"})) "what has the null sender may be a report")))

(deftest only-outgoing-mail-gets-it
  (let [mail {:sender "<ann@example.org>"}
        noted? #(string/includes? (text (disclaimer %1) mail %2) "Example Ltd")
        remote {:client {:address "192.0.2.1"}}]
    (is (noted? by-domain local))
    (is (noted? by-domain {:client {:address "::1"}}))
    (is (not (noted? by-domain remote)))
    (is (noted? by-domain (assoc remote :macros {"auth_authen" "ann"})))
    (is (not (noted? by-domain (assoc remote :macros {"auth_authen" ""}))))
    (is (noted? (assoc by-domain :networks ["192.0.2.0/24"]) remote))
    (is (not (noted? (assoc by-domain :networks ["192.0.2.0/24"]) local)))
    (is (noted? (assoc by-domain :incoming? true) remote))
    (is (= :mail (:at (mt/run-message (disclaimer by-domain) mail remote)))
        "the MTA does not send the rest of a mail that stays as it is")))

(deftest a-mail-that-ends-with-it-does-not-get-it-again
  (let [filter (disclaimer by-domain)
        once (:message (mt/run-message filter (assoc alternative :sender "<ann@example.org>") local))
        reply {:sender "<ann@example.org>", :body "Yes.\r\n\r\n> Hello.\r\n> Example\r\n> Ltd\r\n"}]
    (is (= [] (:modifications (mt/run-message filter once local))))
    (is (= [] (:modifications (mt/run-message filter reply local))))
    (is (= "> Hello.\r\n> Example Ltd\r\nYes.\r\nExample Ltd"
           (text filter (assoc reply :body "> Hello.\r\n> Example Ltd\r\nYes.\r\n"))))))

(deftest without-settings-there-is-a-notice
  (is (re-find #"\AHello\.\r\n-- \r\nThis message is for its recipients only\."
               (text (support/load-filter "disclaimer") {}))))

(deftest a-mail-that-is-too-long-gets-what-the-settings-say
  (doseq [[given verdict] {{} :temporary-failure
                           {:when-exceeded :reject} :reject
                           {:when-exceeded :accept} :accept}]
    (is (= verdict
           (:verdict (mt/run-message (disclaimer (merge by-domain {:max-message 10} given))
                                     {:sender "<ann@example.org>"}
                                     local))))))

(deftest mistakes-in-the-settings-are-named
  (doseq [[settings problem]
          {{:text {}} #"\.edn:1: there is no setting :text; did you mean :texts"
           {:texts {"example.org" "Ltd"}} #"\.edn:1: :texts must be a map of domain"
           {:texts {"example.org" {:html "Ltd"}}} #":texts must be"
           {:texts {"example.org" {:plain "Ltd", :htm "Ltd"}}} #":texts must be"
           {:texts {:example {:plain "Ltd"}}} #":texts must be"
           {:texts {"@example.org" {:plain "Ltd"}}} #":texts must be"
           {:texts {"*.example.org" {:plain "Ltd"}}} #":texts must be"
           {:texts {"example.org " {:plain "Ltd"}}} #":texts must be"
           {:networks ["192.0.2.1/24"]} #":networks must be .*did you mean \"192.0.2.0/24\""
           {:when-exceeded :pass} #":when-exceeded must be :defer, :reject or :accept, not :pass"}]
    (is (thrown-with-msg? Exception problem (disclaimer settings)))))

(deftest it-is-appended-over-the-wire
  (milter/with-milter [server (assoc (disclaimer by-domain) :port 0)]
    (is (= "Hello.\r\nExample Ltd" (text server {:sender "<ann@example.org>"})))
    (is (= "Hello." (text server {:sender "<ann@example.org>"} {:client {:address "192.0.2.1"}})))))

(deftest mail-that-is-broken-passes-as-it-is-or-with-it
  (let [filter (disclaimer by-domain)]
    (doseq [[content-type body] {"multipart/mixed" "--b\r\n\r\nHello\r\n"
                                 "multipart/mixed; boundary=b" "--b\r\nContent-Type: text/plain\r\n"
                                 "text/html" "</html></body><body"
                                 "text/plain; charset=none" "\u00ff"
                                 "text/plain; format=flowed; charset=utf-7" "+- "}
            :let [{:keys [verdict errors]} (mt/run-message filter
                                                           {:sender "<ann@example.org>"
                                                            :headers [["Content-Type" content-type]]
                                                            :body body}
                                                           local)]]
      (is (= :accept verdict) content-type)
      (is (empty? errors)))))

(def ^:private noted
  {:texts {"example.org" {:plain noted-mails/note}}})

(defn- check-kinds-of-mail
  [mta]
  (support/behind mta (disclaimer noted) {} noted-mails/check))

(deftest every-kind-of-mail-arrives-as-it-should-behind-postfix
  (check-kinds-of-mail :postfix))

(deftest every-kind-of-mail-arrives-as-it-should-behind-sendmail
  (check-kinds-of-mail :sendmail))

(defn- check-others
  "Mail of clients that are not local arrives as it was sent, broken mail, too."
  [mta]
  (support/behind
    mta (disclaimer (assoc noted :networks [])) {}
    (fn [mta]
      (is (= "Hello.\r\n" (:body (support/sent mta {:sender "<ann@example.org>"})))))))

(deftest mail-of-others-stays-as-it-is-behind-postfix
  (check-others :postfix))

(deftest mail-of-others-stays-as-it-is-behind-sendmail
  (check-others :sendmail))

(deftest who-has-authenticated-gets-it-behind-postfix
  (support/behind
    :postfix (disclaimer (assoc noted :networks [])) support/believing
    (fn [mta]
      (doseq [[login gets-it?] {"LOGIN=ann" true, "" false}
              :let [mark (str "who " login "?")]]
        (testing mark
          (is (= 250 (-> (support/transact-as mta
                                              (str "ADDR=127.0.0.1 " login)
                                              {:sender "<ann@example.org>", :headers [["X-Mark" (str " " mark)]]})
                         :message
                         :code)))
          (let [arrived (update (support/delivered mta mark) :body smtp/octet-bytes)]
            (is (= gets-it?
                   (string/includes? (mime/text arrived (first (mime/parts arrived))) noted-mails/note)))))))))
