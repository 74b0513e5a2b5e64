(ns temse.simulate-postfix-test
  "The simulation against a real Postfix, see temse.simulate.cases."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.simulate.cases :as cases]))

(set! *warn-on-reflection* true)

(use-fixtures :once (cases/fixture :postfix))

(cases/deftests)
