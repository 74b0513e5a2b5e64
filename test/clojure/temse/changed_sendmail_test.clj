(ns temse.changed-sendmail-test
  "Changed messages behind a real MTA, see temse.simulate.edits."
  (:require
   [clojure.test :refer [deftest]]
   [temse.simulate.cases :as cases]
   [temse.simulate.edits :as edits]))

(set! *warn-on-reflection* true)

(deftest what-is-delivered-is-what-was-asked-for
  (edits/check :sendmail (cases/share 5/6) false))

(deftest so-it-is-for-filters-that-see-the-leading-space
  (edits/check :sendmail (cases/share 1/6) true))
