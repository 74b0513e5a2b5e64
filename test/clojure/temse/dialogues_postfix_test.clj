(ns temse.dialogues-postfix-test
  "What `temse smtp --mta postfix` replies and delivers, against a real Postfix, see temse.dialogues."
  (:require
   [clojure.test :refer [deftest]]
   [temse.dialogues :as dialogues]))

(set! *warn-on-reflection* true)

(deftest clients-hear-and-next-hops-get-what-is-simulated
  (dialogues/check :postfix))
