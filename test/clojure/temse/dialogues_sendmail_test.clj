(ns temse.dialogues-sendmail-test
  "What `temse smtp --mta sendmail` replies and delivers, against a real Sendmail, see temse.dialogues."
  (:require
   [clojure.test :refer [deftest]]
   [temse.dialogues :as dialogues]))

(set! *warn-on-reflection* true)

(deftest clients-hear-and-next-hops-get-what-is-simulated
  (dialogues/check :sendmail))
