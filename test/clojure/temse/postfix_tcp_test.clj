(ns temse.postfix-tcp-test
  "The cases of temse.mta-cases behind a real Postfix, over TCP."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.mta-cases :as cases]))

(set! *warn-on-reflection* true)

(use-fixtures :once (cases/fixture :postfix :tcp))

(cases/deftests :postfix)
