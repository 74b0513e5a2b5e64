(ns temse.message-test
  (:require
   [clojure.java.io :as io]
   [clojure.test :refer [are deftest is]]
   [temse.action :as act]
   [temse.mta :as mta])
  (:import
   (java.io ByteArrayInputStream)))

(set! *warn-on-reflection* true)

(def mail
  {:sender "<a@example.org>"
   :recipients ["<b@example.com>" "<c@example.com>"]
   :headers [["From" "a"] ["Received" "one"] ["received" "two"] ["Subject" "hi"]]
   :body "hello\r\n"})

(defn- headers
  [& actions]
  (:headers (mta/apply-actions mail actions)))

(deftest replies-change-nothing
  (is (= mail (mta/apply-actions mail [(act/accept) (act/progress) (act/reject)])))
  (is (= mail (mta/apply-actions mail []))))

(deftest added-fields-come-last
  (is (= (conj (:headers mail) ["A" "1"] ["B" "2"])
         (headers (act/add-header "A" "1") (act/add-header "B" "2")))))

(deftest inserted-fields-count-the-received-field-of-the-mta
  (are [position place] (= (vec (concat (take place (:headers mail))
                                        [["A" "1"]]
                                        (drop place (:headers mail))))
                           (headers (act/insert-header position "A" "1")))
    0 0
    1 0
    2 1
    5 4
    99 4))

(deftest fields-are-changed-by-name-and-index
  (are [action place value] (= (assoc-in (:headers mail) [place 1] value)
                               (mapv (fn [[_ v] [n _]] [n v]) (headers action) (:headers mail)))
    (act/change-header "Received" "new") 1 "new"
    (act/change-header "RECEIVED" 2 "new") 2 "new"
    (act/change-header "subject" "new") 3 "new"))

(deftest ^{:conformance ["M24"]} a-field-that-is-not-there-is-added-by-a-change
  (is (= (conj (:headers mail) ["X" "1"]) (headers (act/change-header "X" "1"))))
  (is (= (conj (:headers mail) ["Received" "third"])
         (headers (act/change-header "Received" 3 "third")))))

(deftest fields-are-deleted-by-name-and-index
  (is (= [["From" "a"] ["received" "two"] ["Subject" "hi"]] (headers (act/delete-header "Received"))))
  (is (= [["From" "a"] ["Received" "one"] ["Subject" "hi"]] (headers (act/delete-header "Received" 2))))
  (is (= (:headers mail) (headers (act/delete-header "Received" 3) (act/delete-header "X")))))

(deftest ^{:conformance ["M24"]} index-zero-is-the-first-and-an-empty-value-deletes
  (is (= (headers (act/change-header "Received" 1 "new")) (headers (act/change-header "Received" 0 "new"))))
  (is (= (headers (act/delete-header "Received")) (headers (act/change-header "Received" ""))))
  (is (= (:headers mail) (headers (act/change-header "X" "")))))

(deftest each-deletion-renumbers
  (is (= [["From" "a"] ["Subject" "hi"]]
         (headers (act/delete-header "Received" 2) (act/delete-header "Received" 1))))
  (is (= [["From" "a"] ["received" "two"] ["Subject" "hi"]]
         (headers (act/delete-header "Received" 1) (act/delete-header "Received" 2)))))

(deftest a-body-is-replaced-by-each-kind-of-body
  (are [body] (= "new\r\ntext\r\n"
                 (String. ^bytes (:body (mta/apply-actions mail [(act/change-body body)]))))
    "new\r\ntext\r\n"
    "new\ntext\n"
    "new\ntext"
    (.getBytes "new\r\ntext\r\n")
    ["new\r\n" (.getBytes "text\r\n")]
    (ByteArrayInputStream. (.getBytes "new\r\ntext\r\n"))))

(deftest a-body-is-replaced-by-a-file
  (let [file (java.io.File/createTempFile "temse" ".txt")]
    (try
      (spit file "from a file\n")
      (is (= "from a file\r\n"
             (String. ^bytes (:body (mta/apply-actions mail [(act/change-body file)])))))
      (finally
        (io/delete-file file)))))

(deftest the-envelope-is-changed
  (is (= "<x@y>" (:sender (mta/apply-actions mail [(act/change-sender "<x@y>")]))))
  (is (= "<x@y>" (:sender (mta/apply-actions mail [(act/change-sender "x@y")]))))
  (is (= ["<b@example.com>" "<c@example.com>" "<d@example.com>" "<e@example.com>"]
         (:recipients (mta/apply-actions mail [(act/add-recipient "<d@example.com>")
                                               (act/add-recipient "e@example.com" ["X=1"])]))))
  (is (= ["<c@example.com>"]
         (:recipients (mta/apply-actions mail [(act/delete-recipient "b@example.com")
                                               (act/delete-recipient "<z@example.com>")]))))
  (is (= "why" (:quarantine (mta/apply-actions mail [(act/quarantine "why")])))))

(deftest aliases-are-understood
  (is (= (headers (act/insert-header 0 "A" "1"))
         (headers {:action :insert-header, :name "A", :value "1"})))
  (is (= (headers (act/delete-header "From")) (headers {:action :delete-header, :name "From"})))
  (is (= "x\r\n" (String. ^bytes (:body (mta/apply-actions
                                          mail [{:action :replace-body, :body "x"}]))))))
