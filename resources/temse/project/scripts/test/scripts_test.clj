(ns scripts-test
  (:require
   [clojure.test :refer [deftest is]]
   [temse.project :as project]
   [temse.test :as mt]))

(deftest a-sender-is-refused
  (let [result (mt/run-message (project/milter) {:sender "<spam-from@example.com>"})]
    (is (= [:reject :mail] ((juxt :verdict :at) result)))))

(deftest lotteries-are-refused
  (is (= :reject (:verdict (mt/run-message (project/milter) "Subject: You won the lottery\n\nClick here.\n")))))

(deftest all-other-mail-is-marked
  (is (= [["X-Scripts" "passed, 1 recipients"]]
         (map (juxt :name :value) (:modifications (mt/run-message (project/milter) "Subject: Lunch?\n\nAt noon?\n"))))))
