(ns temse.gallery.authentication-results-test
  "gallery/authentication_results.clj: no field that claims to be ours comes in from outside, and all others stay."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.compose :as compose]
   [temse.filter :refer [changed message-filter]]
   [temse.gallery.support :as support :refer [behind load-filter]]
   [temse.mail :as mail]
   [temse.support :refer [thrown with-logs]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def ^:private configured (partial support/configured "authentication_results"))

(def ^:private ours ["mx.example.org" "example.org-2"])

(def ^:private forged
  "Values that claim to be of mx.example.org."
  ["mx.example.org; spf=pass" "MX.Example.ORG; spf=pass" "mx.example.org 1; dkim=pass" "mx.example.org 99; dkim=pass"
   "mx.example.org" "mx.example.org;" "mx.example.org; none" "mx.example.org.; spf=pass" "example.org-2; spf=pass"
   "(a comment) mx.example.org; spf=pass" "(a (nested \\) ;) one) mx.example.org (more); spf=pass"
   "\"mx.example.org\"; spf=pass" "\"mx.\\example.org\" 1; spf=pass" "\n mx.example.org;\n spf=pass"
   "\tmx.example.org\t;spf=pass" "mx.example.org/1; spf=pass" "mx.example.org(x)1; spf=pass"
   "(never closed mx.example.org; spf=pass" "\"never closed; mx.example.org; spf=pass"
   "=?utf-8?q?mx=2Eexample=2Eorg?=; spf=pass" "mx.example.org spf=pass" "mx.example.org, other.example; spf=pass"
   "\"mx.example.org x\"; spf=pass"])

(def ^:private genuine
  "Values of others."
  ["mx.example.net; spf=pass" "other.mx.example.org; spf=pass" "mx.example.org.example.net; spf=pass"
   "mx.example.net (mx.example.org); spf=pass" "mx.example.net; spf=pass smtp.mailfrom=mx.example.org"
   "(mx.example.org) mx.example.net; none" "amx.example.org; spf=pass" "" ";"
   "(mx.example.org;) mx.example.net" "\"a;mx.example.org\"; spf=pass"])

(defn- fields
  [field-name values]
  (mapv #(vector field-name %) values))

(defn- delivered
  [filter headers & [options]]
  (:headers (:message (mt/run-message filter {:headers headers} (merge {:client {:address "192.0.2.7"}} options)))))

(deftest fields-that-claim-to-be-ours-are-removed
  (let [filter (configured {:authserv-ids ours})]
    (doseq [value forged]
      (is (= [["Subject" "hi"]] (delivered filter [["Authentication-Results" value] ["Subject" "hi"]])) value)
      (is (= [] (delivered filter [["AUTHENTICATION-results" value]])) value))))

(deftest fields-of-others-stay
  (let [filter (configured {:authserv-ids ours})]
    (doseq [value genuine]
      (is (= [["Authentication-Results" value]] (delivered filter [["Authentication-Results" value]])) value))
    (doseq [other ["ARC-Authentication-Results" "X-Authentication-Results" "Subject"]]
      (is (= [[other "mx.example.org; spf=pass"]] (delivered filter [[other "mx.example.org; spf=pass"]]))))))

(deftest the-name-of-the-mta-is-ours-unless-there-is-another
  (let [filter (load-filter "authentication_results")
        headers [["Authentication-Results" "mx.example.org; spf=pass"]]]
    (is (= [] (delivered filter headers {:macros {"j" "mx.example.org"}})))
    (is (= headers (delivered filter headers {:macros {"j" "mx.example.net"}})))
    (is (= headers (delivered (configured {:authserv-ids ["x.example"]}) headers {:macros {"j" "mx.example.org"}})))
    (testing "and where nobody says it, mail is deferred"
      (is (= :temporary-failure (:verdict (mt/run-message filter {:headers headers} {:macros {"j" ""}})))))))

(deftest trusted-clients-may-write-our-fields
  (let [filter (configured {:authserv-ids ours, :trusted-networks ["192.0.2.0/24"]})
        headers [["Authentication-Results" "mx.example.org; spf=pass"]]]
    (is (= headers (delivered filter headers)))
    (is (= [] (delivered filter headers {:client {:address "198.51.100.7"}})))))

(defspec whatever-fields-there-are-those-of-others-stay-in-order 50
  (let [filter (configured {:authserv-ids ours})]
    (prop/for-all [headers (gen/vector (gen/one-of [(gen/tuple (gen/return "Authentication-Results") (gen/elements forged))
                                                    (gen/tuple (gen/return "Authentication-Results") (gen/elements genuine))
                                                    (gen/return ["Subject" "hi"])])
                                       0 12)]
      (= (vec (remove (comp (set forged) second) headers))
         (delivered filter headers)))))

(deftest a-value-of-many-comments-takes-no-longer-than-its-length
  (let [filter (configured {:authserv-ids ours})
        value (apply str (repeat 200000 "(\\)\""))]
    (is (= 1 (count (delivered filter [["Authentication-Results" value]]))))))

(deftest a-wrong-setting-is-named
  (is (re-find #"did you mean :authserv-ids" (:message (thrown (configured {:authserv-id "x"})))))
  (with-logs _
    (doseq [authserv-id [" " " mx.example.org" "mx.example.org; dkim=pass" "a b" "\"mx.example.org\"" "(mx) mx.example.org"]]
      (is (re-find #":authserv-ids must be" (str (:message (thrown (configured {:authserv-ids [authserv-id]}))))) authserv-id))))

;; ---- behind MTAs

(defn- results-of
  "Returns the values of Authentication-Results in a mail that has arrived, in one line each."
  [mail]
  (map #(string/triml (string/replace % #"\n[ \t]*" " ")) (mail/header-values (:headers mail) "Authentication-Results")))

(def ^:private adding
  "A filter behind this one, which adds a genuine field."
  {:handlers (message-filter (fn [message context]
                               (changed context
                                        (update message :headers mail/insert-header
                                                0 "Authentication-Results" "mx.example.org; spf=fail"))))
   :actions #{:add-header}})

(defn- check
  [mta-name]
  (behind mta-name
          (compose/in-sequence (configured {:authserv-ids ours}) adding)
          {}
          (fn [mta]
            (let [shown (remove #(re-find #"\n |^$|^;$" %) genuine)
                  send (fn [values]
                         (results-of (support/sent mta {:headers (into [["Subject" " hi"]]
                                                                       (map (fn [value]
                                                                              ["Authentication-Results"
                                                                               (str " " (string/replace value "\n" "\r\n"))]))
                                                                       values)})))]
              (testing "each alone"
                (doseq [value forged]
                  (is (= ["mx.example.org; spf=fail"] (send [value])) value)))
              (testing "with a space behind the name"
                (is (= [["Authentication-Results" "mx.example.org; spf=fail"]]
                       (filterv #(string/starts-with? (first %) "Authentication-Results")
                                (:headers (support/sent mta {:headers [["Authentication-Results " " mx.example.org; spf=pass"]]}))))))
              (testing "all together, and those of others between them"
                (is (= (cons "mx.example.org; spf=fail" shown)
                       (send (mapcat vector forged (concat shown (repeat "mx.example.org"))))))
                (is (= (cons "mx.example.org; spf=fail" shown)
                       (send (concat shown forged)))))))))

(deftest behind-postfix-no-forged-field-arrives
  (check :postfix))

(deftest behind-sendmail-no-forged-field-arrives
  (check :sendmail))
