(ns temse.sendmail-unix-test
  "The cases of temse.mta-cases behind a real Sendmail, over a Unix-domain socket."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.mta-cases :as cases]))

(set! *warn-on-reflection* true)

(use-fixtures :once (cases/fixture :sendmail :unix))

(cases/deftests :sendmail)
