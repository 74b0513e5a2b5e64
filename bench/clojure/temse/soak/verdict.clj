(ns temse.soak.verdict
  "Whether what was watched of a server is flat: the rule of a soak.

  The first half is left to warming up. The second half is cut into stretches, of each of which the best sample
  counts: what mails in progress take for a moment, and what a busy machine adds, comes and goes, but what is lost
  is missing in each sample from then on. Through these best samples goes the line of Theil and Sen, whose slope is
  the median of the slopes between all pairs, so that single outliers do not matter. The growth is what this
  line rises, or falls where less is worse, within the half. It must not be more than a share of the
  level, the median, or than a least amount, whichever is more."
  (:import
   (java.lang Runtime)))

(set! *warn-on-reflection* true)

(def series
  "What is watched, in the order in which it is shown.

    :key :title :unit
    :percent :least   ; how much it may grow, of its level or at least
    :less?            ; whether less is worse
    :quiet?           ; whether it is judged on a machine only that has little else to do"
  [{:key :heap, :title "Heap after collection", :unit "MiB", :percent 5, :least 0.5}
   {:key :metaspace, :title "Metaspace", :unit "MiB", :percent 5, :least 0.5}
   {:key :resident, :title "Resident memory", :unit "MiB", :percent 5, :least 2}
   {:key :threads, :title "Threads", :unit "", :percent 5, :least 2}
   {:key :descriptors, :title "Descriptors", :unit "", :percent 5, :least 3}
   {:key :files, :title "Temporary files", :unit "", :percent 25, :least 2}
   {:key :events-p50, :title "Events, median", :unit "ms", :percent 25, :least 0.2, :quiet? true}
   {:key :events-p99, :title "Events, 99th percentile", :unit "ms", :percent 25, :least 2, :quiet? true}
   {:key :whole-p50, :title "Whole messages, median", :unit "ms", :percent 25, :least 0.5, :quiet? true}
   {:key :whole-p99, :title "Whole messages, 99th percentile", :unit "ms", :percent 25, :least 5, :quiet? true}
   {:key :mails, :title "Mails a second", :unit "", :percent 10, :least 1, :less? true, :quiet? true}])

(def least-minutes
  "How long a soak has to be at least to be judged: the JVM takes some minutes to compile what is used often."
  10)

(defn- median
  [numbers]
  (let [sorted (vec (sort numbers))
        middle (quot (count sorted) 2)]
    (if (odd? (count sorted))
      (sorted middle)
      (/ (+ (double (sorted (dec middle))) (double (sorted middle))) 2))))

(defn- slope
  "Returns the median of the slopes between all pairs of points."
  [points]
  (median (for [[[x y] & more] (iterate rest points)
                :while more
                [other-x other-y] more]
            (/ (- (double other-y) (double y)) (- (double other-x) (double x))))))

(defn- second-half
  "Returns the points of the second half of the time."
  [points]
  (let [[first-x] (first points)
        [last-x] (last points)
        middle (/ (+ (double first-x) (double last-x)) 2)]
    (filterv (fn [[x]] (<= middle (double x))) points)))

(def ^:private stretches 12)

(defn- best
  "Returns the best point of each stretch of time."
  [points less?]
  (let [[first-x] (first points)
        length (/ (- (double (first (peek points))) (double first-x)) (long stretches))]
    (for [stretch (partition-by (fn [[x]] (quot (- (double x) (double first-x)) length)) points)]
      (apply (if less? max-key min-key) second stretch))))

(defn judged
  "Returns what becomes of points [minutes value], in the order of time:

    :level :growth :limit   ; in the second half, in the unit of the values
    :line                   ; the two ends of the line through it
    :flat?

  or nil if there are fewer than eight points in it."
  [{:keys [percent least less?]} points]
  (let [half (if (seq points) (second-half points) [])]
    (when (<= 8 (count half))
      (let [[[first-x] [last-x]] [(first half) (peek half)]
            middle (/ (+ (double first-x) (double last-x)) 2)
            best (vec (best half less?))
            slope (slope best)
            level (median (map second best))
            growth (* slope (- (double last-x) (double first-x)))
            limit (max (double least) (* 0.01 (double percent) level))
            ;; The median of what is left over puts the line where the points are.
            height (median (for [[x y] best] (- (double y) (* slope (- (double x) middle)))))]
        {:level level
         :growth growth
         :limit limit
         :line (for [x [first-x last-x]] [x (+ height (* slope (- (double x) middle)))])
         :flat? (<= (if less? (- growth) growth) limit)}))))

(def ^:private most-load
  "Of a machine that has little else to do."
  (* 2 (.availableProcessors (Runtime/getRuntime))))

(defn points
  "Returns the points of a series in samples, which have :minutes, the :load of the machine and the keys of
  `series`."
  [samples {:keys [key]}]
  (into []
        (keep (fn [{:keys [minutes] :as sample}]
                (when-let [value (get sample key)]
                  [minutes value])))
        samples))

(defn of-samples
  "Returns a series with what `judged` returns of it, nothing if most samples are of a busy machine where that
  matters."
  [samples {:keys [quiet?] :as series}]
  (let [quiet (filter #(<= (double (:load %)) (long most-load)) samples)]
    (merge series
           (if quiet?
             (when (< (count samples) (* 2 (count quiet)))
               (judged series (points quiet series)))
             (judged series (points samples series))))))
