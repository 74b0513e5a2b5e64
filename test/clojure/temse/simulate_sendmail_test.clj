(ns temse.simulate-sendmail-test
  "The simulation against a real Sendmail, see temse.simulate.cases."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.simulate.cases :as cases]))

(set! *warn-on-reflection* true)

(use-fixtures :once (cases/fixture :sendmail))

(cases/deftests)
