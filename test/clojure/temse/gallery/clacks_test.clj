(ns temse.gallery.clacks-test
  "gallery/clacks.clj: the names are in the overhead of each mail, once."
  (:require
   [clojure.test :refer [deftest is]]
   [temse.gallery.support :as support :refer [behind load-filter]]
   [temse.mail :as mail]
   [temse.support :refer [thrown]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def ^:private configured (partial support/configured "clacks"))

(defn- overhead
  [headers]
  (mail/header-values headers "X-Clacks-Overhead"))

(deftest a-name-that-is-missing-is-added
  (let [names #(overhead (:headers (:message (mt/run-message % {:headers %2}))))]
    (is (= ["GNU Terry Pratchett"] (names (load-filter "clacks") [])))
    (is (= ["GNU Terry Pratchett "] (names (load-filter "clacks") [["x-clacks-overhead" "GNU Terry Pratchett "]])))
    (is (= ["GNU Ann" "GNU Bob"] (names (configured {:names ["Ann" "Bob"]}) [["X-Clacks-Overhead" "GNU Ann"]])))
    (is (= [] (names (configured {:names []}) [])))))

(deftest a-message-has-its-own-overhead
  (with-open [session (mt/connect-to (load-filter "clacks"))]
    (let [sent #(overhead (:headers (:message (mt/run-message session {:headers %}))))]
      (is (= ["GNU Terry Pratchett"] (sent [["X-Clacks-Overhead" "GNU Terry Pratchett"]]) (sent []))))))

(deftest a-wrong-setting-is-named
  (is (re-find #"edn:1: :names must be a sequence of names" (:message (thrown (configured {:names "Ann"}))))))

(defn- check
  [mta-name]
  (behind mta-name (load-filter "clacks") {}
          (fn [mta]
            (doseq [headers [[] [["X-Clacks-Overhead" " GNU Terry Pratchett"]] [["X-CLACKS-overhead" "GNU Terry Pratchett"]]]]
              (is (= ["GNU Terry Pratchett"] (overhead (:headers (support/sent mta {:headers headers})))))))))

(deftest behind-postfix-names-are-kept
  (check :postfix))

(deftest behind-sendmail-names-are-kept
  (check :sendmail))
