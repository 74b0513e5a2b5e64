(ns temse.simulate-postfix-test
  "The simulation against a real Postfix, see temse.simulate.cases."
  (:require
   [clojure.test :refer [deftest use-fixtures]]
   [temse.simulate.addresses :as addresses]
   [temse.simulate.cases :as cases]))

(set! *warn-on-reflection* true)

(use-fixtures :once (cases/fixture :postfix))

(cases/deftests)

(deftest addresses-in-all-forms-are-read-as-foreseen
  (addresses/check cases/*lab*))
