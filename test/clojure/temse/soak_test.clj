(ns temse.soak-test
  "bin/soak: the rule by which it judges, the replies that it checks, and a run of some seconds."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [soak-filter :as soak-filter]
   [temse.soak.page :as page]
   [temse.soak.traffic :as traffic]
   [temse.soak.verdict :as verdict]
   [temse.support :as support :refer [with-logs]])
  (:import
   (java.util Random)))

(set! *warn-on-reflection* true)

;; ---- the rule

(defn- series
  "Returns 240 points of two hours, with the noise of a seed."
  [f]
  (let [random (Random. 1)]
    (mapv (fn [i]
            (let [minutes (/ i 2.0)]
              [minutes (+ (double (f minutes)) (* 0.3 (.nextGaussian random)))]))
          (range 1 241))))

(defn- rule
  [k]
  (first (filter #(= k (:key %)) verdict/series)))

(defn- warm
  "What grows at first, and no more later."
  [minutes]
  (- 20 (* 8 (Math/exp (- (/ (double minutes) 10))))))

(deftest what-stays-the-same-after-warming-up-is-flat
  (let [{:keys [flat? level growth limit]} (verdict/judged (rule :heap) (series warm))]
    (is flat?)
    (is (< 19 level 21))
    (is (< (abs (double growth)) limit))))

(deftest a-leak-is-not-flat
  (testing "of two megabytes an hour in 20, in noise"
    (let [{:keys [flat? growth]} (verdict/judged (rule :heap) (series #(+ (warm %) (/ (double %) 30))))]
      (is (false? flat?))
      (is (< 1.5 growth 2.7))))
  (testing "that begins with the second half"
    (is (false? (:flat? (verdict/judged (rule :heap) (series #(+ (warm %) (/ (max 0.0 (- (double %) 60)) 30))))))))
  (testing "of a thread every ten minutes"
    (is (false? (:flat? (verdict/judged (rule :threads) (series #(+ 40 (Math/floor (/ (double %) 10)))))))))
  (testing "in steps"
    (is (false? (:flat? (verdict/judged (rule :descriptors) (series #(+ 40 (* 5 (Math/floor (/ (double %) 45))))))))))
  (testing "of speed"
    (is (false? (:flat? (verdict/judged (rule :mails) (series #(- 40 (/ (double %) 10)))))))
    (is (:flat? (verdict/judged (rule :mails) (series #(+ 40 (/ (double %) 10))))))))

(deftest single-outliers-do-not-matter
  (is (:flat? (verdict/judged (rule :heap)
                              (map-indexed (fn [i [x y]] [x (if (zero? (rem i 7)) (* 5 y) y)]) (series warm))))))

(deftest what-mails-in-progress-take-on-a-busy-machine-does-not-matter
  (let [random (Random. 1)]
    (is (:flat? (verdict/judged (rule :heap)
                                (mapv (fn [[x y]] [x (if (and (< 90 (double x)) (.nextBoolean random)) (+ (double y) 10) y)])
                                      (series warm)))))))

(deftest what-there-are-too-few-samples-of-is-not-judged
  (is (nil? (verdict/judged (rule :heap) [])))
  (is (nil? (verdict/judged (rule :heap) [[1 20] [2 20] [3 20] [4 20]]))))

(defn- soak
  "Returns a soak of two hours in which everything stays the same but what is given, a map of series to function
  of minutes."
  [changes]
  (let [steady (merge (into {} (map (fn [{k :key}] [k (constantly 10)])) verdict/series) changes)]
    {:minutes 120, :seed 1, :mails 10, :connections 5, :reloads 2, :failures [], :left []
     :samples (for [minutes (range 1 121)]
                (merge {:load 1.0} (update-vals steady #(% minutes)) {:minutes minutes}))}))

(deftest a-soak-fails-for-growth-wrong-replies-and-what-is-left-over
  (is (= "flat, and every reply was right" (page/summary (soak {}))))
  (is (re-find #"so far$" (page/summary (assoc (soak {}) :running? true))))
  (is (string/includes? (page/svg (soak {})) "flat, and every reply was right"))
  (doseq [[wrong soak] {"Resident memory: +" (soak {:resident (fn [minutes] (+ 100 minutes))})
                        "wrong or missing replies" (assoc (soak {}) :failures ["connection 1: a wrong reply"])
                        "temporary files left over" (assoc (soak {}) :left ["1 temporary files left over"])}]
    (testing wrong
      (is (= "FAILED" (page/summary soak)))
      (is (string/includes? (string/join "\n" (page/lines soak)) wrong))
      (is (string/includes? (page/svg soak) "FAILED")))))

(deftest what-depends-on-the-machine-is-not-judged-while-that-is-busy
  (let [slower {:events-p99 (fn [minutes] (+ 5 minutes))}]
    (is (= "FAILED" (page/summary (soak slower))))
    (let [busy (soak (assoc slower :load (constantly 40.0)))]
      (is (empty? (page/wrong busy)))
      (is (string/includes? (string/join "\n" (page/lines busy)) "Events, 99th percentile: not judged")))))

(deftest a-short-soak-is-not-called-flat
  (let [short (assoc (soak {:heap identity}) :minutes 5)]
    (is (re-find #"too short to say" (page/summary short)))
    (is (empty? (page/wrong short)))))

;; ---- replies

(def ^:private filters
  (into {} (map (juxt identity #(soak-filter/filter (name %)))) [:events :whole :composed]))

(defn- mails
  "Returns connections of one seed that send mails, to filters of this process."
  [filters]
  (take 60 (filter #(= :mails (:kind %)) (map #(traffic/connection filters 7 %) (range)))))

(deftest replies-of-the-right-filter-are-right
  (with-logs _
    (doseq [connection (mails filters)]
      (is (= (count (:messages connection)) (traffic/run connection (constantly nil)))))))

(deftest a-wrong-reply-is-noticed
  (with-logs _
    (doseq [[what wrong] {"which says nothing" (update-vals filters #(assoc % :handlers {:mail (fn [_ context] context)}))
                          "from another filter" {:events (:whole filters), :whole (:events filters), :composed (:events filters)}}]
      (testing what
        (is (thrown-with-msg? clojure.lang.ExceptionInfo #"a wrong reply"
              (run! #(traffic/run % (constantly nil)) (mails wrong))))))))

;; ---- a run

(deftest a-soak-of-some-seconds-finds-nothing
  (support/with-directory {}
    (fn [directory]
      (let [svg (io/file directory "soak.svg")
            process (.start (.redirectErrorStream
                              (ProcessBuilder. ^java.util.List
                                               (vector "bin/soak" "0.15" "--rate" "15" "--reload" "3" "--seed" "3"
                                                 "--svg" (str svg) "--directory" (str (io/file directory "run"))))
                              true))
            output (slurp (.getInputStream process))]
        (is (= 0 (.waitFor process)) output)
        (is (re-find #"(?m)^0\.\d minutes, \d+ mails and attempts over \d\d+ connections, [1-9]\d* reloads, 0 wrong replies, seed 3$" output) output)
        (is (re-find #"(?m)^every reply was right; too short to say" output) output)
        (let [picture (slurp svg)]
          (doseq [{:keys [title]} verdict/series
                  :when (not (re-find #"median|percentile" title))]
            (is (re-find (re-pattern (str ">" title "[<,]")) picture))))))))
