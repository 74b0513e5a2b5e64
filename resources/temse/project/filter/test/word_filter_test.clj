(ns word-filter-test
  (:require
   [clojure.test :refer [deftest is]]
   [temse.project :as project]
   [temse.test :as mt]
   [word-filter :as word-filter]))

(deftest a-subject-with-a-word-is-refused
  (let [result (mt/run-message (word-filter/filter "lottery") {:headers [["Subject" "You won the LOTTERY"]]})]
    (is (= :reject (:verdict result)))
    (is (= "We do not talk about lottery" (:text (:reply result))))))

(deftest all-other-mail-is-marked
  (let [result (mt/run-message (word-filter/filter "lottery") {:headers [["Subject" "Lunch?"]], :body "At noon?"})]
    (is (= :accept (:verdict result)))
    (is (= [["X-Word-Filter" "passed"]] (map (juxt :name :value) (:modifications result))))))

(deftest what-temse-edn-configures-works
  (is (= :reject (:verdict (mt/run-message (project/milter) "Subject: Jackpot!\n\nClick here.\n")))))
