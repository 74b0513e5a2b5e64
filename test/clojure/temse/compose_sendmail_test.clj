(ns temse.compose-sendmail-test
  "Several filters as one behind a real MTA, see temse.simulate.sequences."
  (:require
   [clojure.test :refer [deftest]]
   [temse.simulate.cases :as cases]
   [temse.simulate.sequences :as sequences]))

(set! *warn-on-reflection* true)

(deftest three-filters-in-sequence-are-to-clients-and-next-hops-what-three-milters-are
  (sequences/check :sendmail (cases/share 1/2) sequences/hand-picked))

(deftest so-they-are-where-some-see-the-leading-space
  (sequences/check :sendmail (cases/share 1/4) sequences/hand-picked [true false true]))
