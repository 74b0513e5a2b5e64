(ns temse.gallery.own-sender-test
  "gallery/own_sender.clj: a user's mail has the user's addresses, and a stranger's none of this site."
  (:require
   [clojure.test :refer [deftest is testing]]
   [temse.gallery.support :as support :refer [behind load-filter]]
   [temse.harness.smtp :as smtp]
   [temse.mail :as mail]
   [temse.support :refer [thrown]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def ^:private configured (partial support/configured "own_sender"))

(def ^:private settings
  {:users {"ann" ["ann@example.org" "@ann.example" "@.lab.example"]}
   :login-domain "example.org"
   :protected ["@example.org" "@.example.org"]})

(defn- verdict
  "Returns what becomes of a mail of a user, or of a stranger where that is nil."
  [filter user mail]
  (:verdict (mt/run-message filter
                            (merge {:sender "<>"} mail)
                            {:client {:address "192.0.2.7"}
                             :macros (if user {"auth_authen" user} {})})))

(defn- from
  [& values]
  {:headers (mapv #(vector "From" %) values)})

(def ^:private own
  "Values of From that are ann's."
  ["ann@example.org" "Ann <ann@example.org>" "ANN@Example.ORG." "\"ann\"@example.org" "ann+news@example.org"
   "x@ann.example" "x@a.lab.example" "Ann (me) <ann@example.org>" "=?utf-8?q?J=C3=B6rg?= <ann@example.org>"
   "friends: ann@example.org;" "Ann\n <ann@example.org>" "\"ann@example.org\" <ann@example.org>"
   "<@relay.example:ann@example.org>"])

(def ^:private foreign
  "Values of From that are not ann's, or that somebody could read as others'."
  ["bob@example.org" "ann@example.net" "ann@example.org, bob@example.org" "bob@example.org, ann@example.org"
   "<ann@example.org> <bob@example.org>" "ann@example.org bob@example.org" "\"bob@example.org\" <ann@example.org>"
   "bob@example.org <ann@example.org>" "=?utf-8?q?bob=40example.org?= <ann@example.org>"
   "=?utf-8?q?bob=EF=BC=A0example.org?= <ann@example.org>" "ann@example.org (bob@example.org)"
   "friends:;" "" "nobody" "x@lab.example" "bob@example.org: ann@example.org;" "a: bob@example.org;, ann@example.org"
   "annn@example.org" "ann@example.org.evil.example" "ann@[127.0.0.1]" "=?utf-8?q?ann=40example.org?="
   "ann@\u0435xample.org" "ann@example.org>" "ann@example.org <bob@example.org" "ann@example.org\n\u0001bob@example.org"
   "+news@example.org" "ann@@example.org"])

(deftest a-user-writes-with-addresses-of-the-user
  (let [filter (configured settings)]
    (doseq [value own]
      (is (= :accept (verdict filter "ann" (from value))) value))
    (doseq [value foreign]
      (is (= :reject (verdict filter "ann" (from value))) value))))

(deftest several-addresses-need-a-sender-field-of-the-user
  (let [filter (configured settings)
        sent #(verdict filter "ann" {:headers (into [["From" "ann@example.org, x@ann.example"]] %)})]
    (is (= :accept (sent [["Sender" "ann@example.org"]])))
    (is (= :reject (sent [])))
    (is (= :reject (sent [["Sender" "bob@example.org"]])))
    (is (= :reject (sent [["Sender" "ann@example.org"] ["sender" "ann@example.org"]])))
    (is (= :reject (sent [["Sender" "ann@example.org, x@ann.example"]])))
    (is (= :reject (verdict filter "ann" {:headers [["From" "ann@example.org"] ["Sender" "bob@example.org"]]})))))

(deftest there-is-one-from-field
  (let [filter (configured settings)]
    (is (= :reject (verdict filter "ann" (from "ann@example.org" "ann@example.org"))))
    (is (= :reject (verdict filter "ann" {:headers [["From" "ann@example.org"] ["FROM" "bob@example.org"]]})))
    (testing "or the envelope sender takes its place"
      (is (= :accept (verdict filter "ann" {:sender "<ann@example.org>" :headers [["Subject" "hi"]]})))
      (is (= :reject (verdict filter "ann" {:sender "<>" :headers [["Subject" "hi"]]})))
      (is (= :reject (verdict (configured (assoc settings :envelope-sender? false))
                              "ann" {:sender "<bob@example.org>" :headers [["Subject" "hi"]]}))))))

(deftest without-an-address-in-from-a-stranger-has-that-of-the-envelope
  (let [filter (configured settings)]
    (doseq [headers [[["Subject" "hi"]] [["From" ""]] [["From" "friends:;"]]]]
      (is (= :reject (verdict filter nil {:sender "<bob@example.org>" :headers headers})) headers)
      (is (= :reject (verdict filter nil {:sender "<bob@a.example.org>" :headers headers})) headers)
      (is (= :accept (verdict filter nil {:sender "<bob@example.net>" :headers headers})) headers)
      (is (= :accept (verdict filter nil {:sender "<>" :headers headers})) headers))
    (is (= :accept (verdict filter nil {:sender "<bob@example.org>" :headers [["From" "list@example.net"]]})))))

(deftest the-envelope-sender-belongs-to-the-user-or-is-null
  (let [sent (fn [filter sender] (verdict filter "ann" (assoc (from "ann@example.org") :sender sender)))
        strict (configured settings)
        lax (configured (assoc settings :envelope-sender? false))]
    (is (= [:accept :accept :accept :reject :reject]
           (map #(sent strict %) ["<>" "<ann@example.org>" "<ann+bounce@ann.example>" "<bob@example.org>" "<ann>"])))
    (is (= :accept (sent lax "<bob@example.org>")))))

(deftest who-is-not-listed-has-the-address-of-the-login
  (let [filter (configured settings)]
    (is (= :accept (verdict filter "bob" (from "bob@example.org"))))
    (is (= :reject (verdict filter "bob" (from "ann@example.org"))))
    (is (= :accept (verdict filter "eve@example.net" (from "eve@example.net"))))
    (is (= :reject (verdict filter "eve@example.net" (from "eve@example.org"))))
    (is (= :reject (verdict (load-filter "own_sender") "bob" (from "bob@example.org"))))))

(deftest sub-addresses-and-names-are-matters-of-settings
  (is (= :reject (verdict (configured (assoc settings :separators nil)) "ann" (from "ann+news@example.org"))))
  (is (= :accept (verdict (configured (assoc settings :separators "-")) "ann" (from "ann-news@example.org"))))
  (is (= :accept (verdict (configured (assoc settings :names? false))
                          "ann" (from "\"bob@example.org\" <ann@example.org>")))))

(deftest strangers-do-not-write-with-protected-addresses
  (let [filter (configured settings)]
    (doseq [value ["ann@example.org" "Boss <boss@EXAMPLE.org>" "x@example.net, boss@example.org" "x@a.example.org"
                   "\"boss@example.org\" <x@example.net>" "=?utf-8?b?Ym9zc0BleGFtcGxlLm9yZw==?= <x@example.net>"
                   "boss@example.org evil <x@example.net>" "friends: boss@example.org;"]]
      (is (= :reject (verdict filter nil (from value))) value))
    (is (= :reject (verdict filter nil (from "x@example.net" "boss@example.org"))))
    (doseq [value ["x@example.net" "Boss <x@example.net>" "nonsense" "" "example.org <x@example.net>" "x@notexample.org"]]
      (is (= :accept (verdict filter nil (from value))) value))
    (is (= :accept (verdict (load-filter "own_sender") nil (from "boss@example.org"))))
    (is (= :accept (:verdict (mt/run-message filter (from "root@example.org") {:client {:address "127.0.0.1"}}))))))

(deftest addresses-beyond-ascii-are-compared-by-their-characters
  (let [filter (configured {:users {"jo" ["j\u00f6rg@b\u00fccher.example"]}})]
    (is (= :accept (verdict filter "jo" (from "J\u00d6RG@b\u00fccher.example"))))
    (is (= :accept (verdict filter "jo" (from "jo\u0308rg@bu\u0308cher.example"))))
    (is (= :reject (verdict filter "jo" (from "jorg@b\u00fccher.example"))))))

(deftest a-wrong-setting-is-named-with-its-line
  (is (re-find #"edn:1: there is no setting :user; did you mean :users\?" (:message (thrown (configured {:user {}})))))
  (is (re-find #":users must be .*\"ann\" .*must be \"ann@example.org\""
               (:message (thrown (configured {:users {"ann" ["ann"]}}))))))

;; ---- behind MTAs

(defn- code
  [replies]
  (:code (:message replies)))

(deftest behind-postfix-users-write-as-themselves
  (behind :postfix (configured settings) support/believing
          (fn [mta]
            (let [sent (fn [attributes sender & values]
                         (code (support/transact-as mta attributes
                                                    {:sender sender
                                                     :headers (mapv #(vector "From" (str " " %)) values)})))
                  ann "ADDR=192.0.2.7 LOGIN=ann"
                  stranger "ADDR=192.0.2.7"]
              (doseq [value (remove #(re-find #"\n" %) own)]
                (is (= 250 (sent ann "<ann@example.org>" value)) value))
              (doseq [value (remove #(re-find #"[\n\u0435]" %) foreign)]
                (is (= 550 (sent ann "<ann@example.org>" value)) value))
              (is (= 550 (sent ann "<bob@example.org>" "ann@example.org")))
              (is (= 550 (sent ann "<ann@example.org>" "ann@example.org" "ann@example.org")))
              (is (= 250 (sent ann "<>" "ann@example.org")))
              (is (= 550 (sent stranger "<x@example.net>" "boss@example.org")))
              (is (= 250 (sent stranger "<x@example.net>" "x@example.net")))
              (testing "a name of a field with a space behind it is the same name"
                (is (= 550 (code (support/transact-as mta ann {:sender "<ann@example.org>"
                                                               :headers [["From" " ann@example.org"]
                                                                         ["From " " bob@example.org"]]})))))
              (testing "with SMTPUTF8"
                (is (= 550 (sent ann "<ann@example.org> SMTPUTF8" (smtp/utf-8 "\u00e4nn@example.org")))))))))

(deftest behind-sendmail-strangers-do-not-write-as-users
  (behind :sendmail (configured (assoc settings :trusted-networks [])) {}
          (fn [mta]
            (let [sent (fn [& values]
                         (code (support/transact mta {:sender "<x@example.net>"
                                                      :headers (mapv #(vector "From" (str " " %)) values)})))]
              (is (= 550 (sent "boss@example.org")))
              (is (= 550 (sent "\"boss@example.org\" <x@example.net>")))
              (is (= 550 (sent "x@example.net" "boss@example.org")))
              (is (= 250 (sent "X <x@example.net>")))))))

(deftest behind-sendmail-users-write-as-themselves
  ;; A macro for all mails stands for AUTH, for which Sendmail would need a database of passwords.
  (behind :sendmail (configured settings) {:options {"MaxHopCount" "25\nD{auth_authen}ann"}}
          (fn [mta]
            (let [sent (fn [sender & values]
                         (code (support/transact mta {:sender sender
                                                      :headers (mapv #(vector "From" (str " " %)) values)})))]
              (doseq [value (remove #(re-find #"\n" %) own)]
                (is (= 250 (sent "<ann@example.org>" value)) value))
              (doseq [value (remove #(re-find #"[\n\u0435]|^$" %) foreign)]
                (is (= 550 (sent "<ann@example.org>" value)) value))
              (testing "Sendmail writes the envelope sender into an empty From"
                (is (re-find #"^<?ann@example.org>?$"
                             (mail/header (:headers (support/sent mta {:sender "<ann@example.org>"
                                                                       :headers [["From" " "]]}))
                                          "From")))
                (is (= 550 (sent "<bob@example.org>" ""))))
              (is (= 550 (sent "<bob@example.org>" "ann@example.org")))
              (is (= 550 (sent "<ann@example.org>" "ann@example.org" "bob@example.org")))
              (is (= 250 (sent "<>" "ann@example.org")))))))
