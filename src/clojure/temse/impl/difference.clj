(ns temse.impl.difference
  "What two sequences of lines have in common, in time and memory that grow with their length.

  Few edits are found exactly, by the algorithm of Myers. Many edits are found between lines that
  occur once on both sides, as far as these keep their order; what is left is all new."
  {:no-doc true}
  (:import
   (java.util ArrayList HashMap List)))

(set! *warn-on-reflection* true)

(def ^:private most-edits
  "How many lines that are gone or new are looked for exactly: time grows with it, memory with its
  square."
  128)

(def ^:private most-divisions
  "How often what lies between lines that occur once is divided again."
  4)

(defn- numbered
  "Returns lines as numbers, which are equal where the lines are."
  ^ints [^HashMap numbers lines]
  (int-array (map (fn [line]
                    (or (.get numbers line)
                        (let [n (.size numbers)]
                          (.put numbers line n)
                          n)))
                  lines)))

(defn- edge
  "Returns how many pairs of lines are equal, of at most `most` from two places on by steps of 1 or -1."
  [^ints a ^ints b from-a from-b most step]
  (let [from-a (long from-a), from-b (long from-b), most (long most), step (long step)]
    (loop [n 0]
      (if (and (< n most)
               (= (aget a (+ from-a (* n step))) (aget b (+ from-b (* n step)))))
        (recur (inc n))
        n))))

(defn- comes-from
  "Returns the diagonal from which one is reached in a step: by an insertion from the one above, or by
  a deletion from the one below."
  ^long [^ints v ^long zero ^long step ^long diagonal]
  (if (or (= diagonal (- step))
          (and (not= diagonal step)
               (< (aget v (+ zero (dec diagonal))) (aget v (+ zero (inc diagonal))))))
    (inc diagonal)
    (dec diagonal)))

(defn- way-back
  "Returns the pairs of equal lines on the way that the steps have taken to the ends of both sides."
  [^objects trace zero steps size-a size-b]
  (loop [step (long steps), x (long size-a), y (long size-b), pairs ()]
    (let [before (when (pos? step)
                   (comes-from (aget trace step) zero step (- x y)))
          from-x (if before (long (aget ^ints (aget trace step) (+ (long zero) (long before)))) 0)
          from-y (if before (- from-x (long before)) 0)
          equal (long (min (- x from-x) (- y from-y)))
          pairs (into pairs (map (fn [^long n] [(- x n) (- y n)])) (range 1 (inc equal)))]
      (if before
        (recur (dec step) from-x from-y pairs)
        pairs))))

(defn- exact
  "Returns the pairs of equal lines [i j] of a shortest edit, from the ends of the ranges back, or nil if
  it is too long."
  [^ints a ^ints b from-a from-b size-a size-b]
  (let [from-a (long from-a), from-b (long from-b), size-a (long size-a), size-b (long size-b)
        most (min (long most-edits) (+ size-a size-b))
        zero (inc most)
        v (int-array (+ 3 (* 2 most)))
        trace (object-array (inc most))
        reach (fn [^long step]
                (loop [diagonal (- step)]
                  (when (<= diagonal step)
                    (let [before (comes-from v zero step diagonal)
                          x (+ (aget v (+ zero before)) (if (< before diagonal) 1 0))
                          y (- x diagonal)
                          most (min (- size-a x) (- size-b y))
                          x (+ x (long (edge a b (+ from-a x) (+ from-b y) most 1)))]
                      (aset v (+ zero diagonal) (int x))
                      (if (and (= x size-a) (= (- x diagonal) size-b))
                        true
                        (recur (+ diagonal 2)))))))]
    (loop [step 0]
      (when (<= step most)
        (aset trace step (aclone v))
        (if (reach step)
          (map (fn [[x y]] [(+ from-a (long x)) (+ from-b (long y))])
               (way-back trace zero step size-a size-b))
          (recur (inc step)))))))

(defn- places
  "Returns where the lines of a range that occur once are, nil for those that occur again."
  ^HashMap [^ints lines from size]
  (let [found (HashMap.)]
    (dotimes [n size]
      (let [place (+ (long from) n)
            line (aget lines place)]
        (.put found line (if (.containsKey found line) nil place))))
    found))

(defn- rising
  "Returns the longest part of pairs [i j], whose i rise, of which the j rise, too."
  [pairs]
  (let [tops (ArrayList.)]
    (doseq [[_ j :as pair] pairs]
      (let [place (loop [low 0, high (.size tops)]
                    (if (< low high)
                      (let [middle (quot (+ low high) 2)]
                        (if (< (long (second (first (.get tops middle)))) (long j))
                          (recur (inc middle) high)
                          (recur low middle)))
                      low))
            chain [pair (when (pos? place) (.get tops (dec place)))]]
        (if (= place (.size tops))
          (.add tops chain)
          (.set tops place chain))))
    (when-not (.isEmpty tops)
      (loop [[pair before] (.get tops (dec (.size tops))), chain ()]
        (if before
          (recur before (conj chain pair))
          (conj chain pair))))))

(defn- anchors
  "Returns pairs of equal lines that occur once in either range, in order."
  [^ints a ^ints b from-a from-b size-a size-b]
  (let [here (places a from-a size-a)
        there (places b from-b size-b)]
    (rising (for [n (range size-a)
                  :let [i (+ (long from-a) (long n))
                        line (aget a i)]
                  :when (and (.get here line) (.get there line))]
              [i (.get there line)]))))

(defn- equal-pairs
  "Returns pairs of equal lines [i j] of two ranges, in order."
  [^ints a ^ints b from-a from-b to-a to-b divisions]
  (let [size #(- (long %1) (long %2))
        start (long (edge a b from-a from-b (min (size to-a from-a) (size to-b from-b)) 1))
        [i j] [(+ (long from-a) start) (+ (long from-b) start)]
        end (long (edge a b (dec (long to-a)) (dec (long to-b)) (min (size to-a i) (size to-b j)) -1))
        [size-a size-b] [(- (size to-a i) end) (- (size to-b j) end)]
        between (when (and (pos? (long size-a)) (pos? (long size-b)))
                  (or (exact a b i j size-a size-b)
                      (when (pos? (long divisions))
                        (let [fixed (vec (anchors a b i j size-a size-b))
                              ends (conj fixed [(+ (long i) (long size-a)) (+ (long j) (long size-b))])]
                          (when (seq fixed)
                            (mapcat (fn [[from-i from-j] [to-i to-j :as pair]]
                                      (concat (equal-pairs a b from-i from-j to-i to-j (dec (long divisions)))
                                              (when-not (identical? pair (peek ends))
                                                [pair])))
                                    (cons [i j] (map (fn [[i j]] [(inc (long i)) (inc (long j))]) fixed))
                                    ends))))))]
    (concat (map (fn [^long n] [(+ (long from-a) n) (+ (long from-b) n)]) (range start))
            between
            (map (fn [^long n] [(- (long to-a) n) (- (long to-b) n)]) (range end 0 -1)))))

(defn runs
  "Returns the lines of before and after as runs [mark lines], of which the mark is \"- \" for what is
  gone, \"+ \" for what is new, and \"  \" for what both have."
  [before after]
  (let [[before after] [(vec before) (vec after)]
        numbers (HashMap.)
        [a b] [(numbered numbers before) (numbered numbers after)]
        ends [[(count before) (count after)]]]
    (->> (concat (equal-pairs a b 0 0 (count before) (count after) most-divisions) ends)
         (reductions (fn [[_ [i j]] [to-i to-j]]
                       [(cond-> []
                          (< (long i) (long to-i)) (conj ["- " (subvec before i to-i)])
                          (< (long j) (long to-j)) (conj ["+ " (subvec after j to-j)])
                          (< (long to-i) (count before)) (conj ["  " [(before to-i)]]))
                        [(inc (long to-i)) (inc (long to-j))]])
                     [[] [0 0]])
         (mapcat first)
         (partition-by first)
         (map (fn [same] [(ffirst same) (into [] (mapcat second) same)])))))
