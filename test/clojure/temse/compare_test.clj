(ns temse.compare-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.milter :refer [respond]]
   [temse.test.compare :refer [compare-mtas print-comparison]]))

(set! *warn-on-reflection* true)

(def mail
  {:sender "<a@example.org>"
   :recipients ["<b@example.com>"]
   :headers [["From" "a@example.org"] ["X-A" "one"] ["X-A" "two"] ["X-A" "three"]]
   :body "hello\r\n"})

(defn- at-end
  [& actions]
  {:handlers {:end-of-message (fn [_ context] (apply respond context actions))}})

(defn- differences
  [filter]
  (:differences (compare-mtas filter mail)))

(deftest a-filter-that-only-accepts-behaves-the-same
  (is (= [] (differences (at-end (act/accept)))))
  (is (= [:delivered :delivered]
         (map :fate ((juxt :postfix :sendmail) (compare-mtas (at-end (act/accept)) mail))))))

(deftest a-filter-that-sees-the-leading-space-is-understood
  (let [filter (assoc (at-end (act/add-header "X-B" " 1")) :leading-space? true)]
    (is (= ["X-B" "1"] (peek (:headers (:message (:postfix (compare-mtas filter mail)))))))))

(deftest deletions-from-the-first-on-differ-since-only-postfix-renumbers
  (is (= [{:what [:message :headers]
           :postfix [["From" "a@example.org"] ["X-A" "two"]]
           :sendmail [["From" "a@example.org"] ["X-A" "three"]]}]
         (differences (at-end (act/delete-header "X-A" 1) (act/delete-header "X-A" 2)))))
  (is (= [] (differences (at-end (act/delete-header "X-A" 2) (act/delete-header "X-A" 1))))))

(deftest the-texts-of-refusals-differ
  (is (= [{:what [:smtp :message]
           :postfix "550 5.7.1 Command rejected"
           :sendmail "554 5.7.1 Command rejected"}]
         (differences (at-end (act/reject))))))

(deftest a-reply-of-the-filter-s-own-differs-where-sendmail-names-the-recipient
  (is (= [{:what [:smtp :recipients]
           :postfix ["550 5.1.1 gone"]
           :sendmail ["550 5.1.1 <b@example.com>... gone"]}]
         (differences {:handlers {:recipient (fn [_ context]
                                               (respond context (act/reply-code 550 "5.1.1" "gone")))}}))))

(deftest recipients-that-were-added-in-vain-differ
  (is (= [{:what [:message :recipients]
           :postfix {["<b@example.com>" []] 2}
           :sendmail {["<b@example.com>" []] 1}}]
         (differences (at-end (act/add-recipient "<b@example.com>"))))))

(deftest a-comparison-is-printed-as-a-difference
  (is (= ["message headers"
          "    From: a@example.org"
          "  - X-A: two"
          "  + X-A: three"]
         (string/split-lines
           (with-out-str
             (print-comparison
               (compare-mtas (at-end (act/delete-header "X-A" 1) (act/delete-header "X-A" 2)) mail))))))
  (is (= "No difference between Postfix and Sendmail\n"
         (with-out-str (print-comparison (compare-mtas (at-end (act/accept)) mail))))))
