(ns temse.difference-test
  "Differences of lines: right for all, shortest where few lines differ, fast for many lines."
  (:require
   [clojure.test :refer [are deftest is]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.impl.difference :as difference]
   [temse.report :as report]))

(set! *warn-on-reflection* true)

(defn- side
  "Returns the lines of runs without those of a mark."
  [mark runs]
  (into [] (comp (remove #(= mark (first %))) (mapcat second)) runs))

(defn- longest
  "Returns the length of the longest common subsequence, by its definition."
  [a b]
  (peek (reduce (fn [above x]
                  (reduce (fn [row j]
                            (conj row (if (= x (b j)) (inc (long (above j))) (max (long (above (inc (long j))))
                                                                               (long (peek row))))))
                          [0]
                          (range (count b))))
                (vec (repeat (inc (count b)) 0))
                a)))

(def ^:private lines
  (gen/vector (gen/elements ["a" "b" "c" "d"]) 0 30))

(defspec runs-hold-both-sides-and-no-more-changes-than-needed 300
  (prop/for-all [a lines
                 b lines]
    (let [runs (difference/runs a b)]
      (and (= a (side "+ " runs))
           (= b (side "- " runs))
           (= (longest a b) (count (mapcat second (filter #(= "  " (first %)) runs))))))))

(defspec runs-hold-both-sides-also-where-much-differs 30
  (prop/for-all [a (gen/vector (gen/choose 0 400) 0 600)
                 b (gen/vector (gen/choose 0 400) 0 600)]
    (let [[a b] (map #(mapv str %) [a b])
          runs (difference/runs a b)]
      (and (= a (side "+ " runs))
           (= b (side "- " runs))))))

(defmacro ^:private in-seconds
  "Returns the value of the body if that takes less than so many seconds, or how long it took."
  [most & body]
  `(let [start# (System/nanoTime)
         value# (do ~@body)
         taken# (/ (- (System/nanoTime) start#) 1e9)]
     (if (< taken# ~most) value# [:took taken#])))

(deftest a-hundred-thousand-lines-take-seconds
  (let [distinct-lines (mapv str (range 100000))
        alike (vec (repeat 100000 "x"))
        few (mapv #(str (rem % 7)) (range 100000))]
    (are [before after marks] (= marks (in-seconds 20 (map first (difference/runs before after))))
      distinct-lines (assoc distinct-lines 50000 "new") ["  " "- " "+ " "  "]
      distinct-lines (into ["first"] (conj distinct-lines "last")) ["+ " "  " "+ "]
      alike (into ["first"] (conj alike "last")) ["+ " "  " "+ "]
      few (into ["first"] (conj few "last")) ["+ " "  " "+ "]
      alike few ["- " "+ "]
      distinct-lines (mapv #(str "other " %) distinct-lines) ["- " "+ "])
    (let [changed (vec (map-indexed #(if (zero? (rem (long %1) 10)) (str "new " %2) %2) distinct-lines))]
      (is (= 30000 (in-seconds 20 (count (difference/runs distinct-lines changed))))))
    (is (vector? (in-seconds 20 (vec (difference/runs few (shuffle few))))))
    (is (vector? (in-seconds 20 (vec (difference/runs distinct-lines (shuffle distinct-lines))))))))

(deftest lines-whose-hashes-are-equal-cost-no-more
  (let [words (reduce (fn [words _] (mapcat #(vector (str % "Aa") (str % "BB")) words)) [""] (range 14))]
    (is (= 1 (count (distinct (map #(.hashCode ^String %) words)))))
    (is (= ["+ " "  "] (in-seconds 20 (map first (difference/runs words (cons "new" words))))))))

(deftest what-is-long-and-unchanged-is-left-out
  (let [before (mapv str (range 100))]
    (is (= ["  0" "  1" "  2" "  ... 44 unchanged lines" "  47" "  48" "  49" "- 50" "+ new"
            "  51" "  52" "  53" "  ... 43 unchanged lines" "  97" "  98" "  99"]
           (report/difference before (assoc before 50 "new"))))
    (is (= (concat (map #(str "- " %) (range 50)) ["- ... 40 more lines"] (map #(str "- " %) (range 90 100)))
           (report/difference before [])))
    (is (= ["  a" "  b" "  c" "  d" "  e" "  f" "  g" "+ h"] (report/difference (map str "abcdefg") (map str "abcdefgh"))))))

(deftest lines-are-printable-and-bounded
  (is (= ["- \\u001b[2J" "+ \\u202e"] (report/difference ["\u001b[2J"] ["\u202e"])))
  (is (> 2100 (count (first (report/difference [(apply str (repeat 100000 "x"))] []))))))
