(ns temse.sendmail-tcp-test
  "The cases of temse.mta-cases behind a real Sendmail, over TCP."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.mta-cases :as cases]))

(set! *warn-on-reflection* true)

(use-fixtures :once (cases/fixture :sendmail :tcp))

(cases/deftests :sendmail)
