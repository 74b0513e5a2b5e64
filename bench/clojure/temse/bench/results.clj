(ns temse.bench.results
  "What a run of the benchmark showed, as one map of data, and the file that keeps it."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.nio.file Files Path)
   (java.time LocalDate)))

(set! *warn-on-reflection* true)

(defn- processor []
  (or (second (re-find #"model name\s*: (.*)"
                       (Files/readString (Path/of "/proc/cpuinfo" (into-array String [])))))
      (System/getProperty "os.arch")))

(defn- section
  "Returns what a section of the benchmark has written, or nil."
  [section-key]
  (let [file (io/file "target/bench" (str (name section-key) ".edn"))]
    (when (.exists file)
      (edn/read-string (slurp file)))))

(defn joined
  "Returns the sections that were measured, with what they were measured on:

    :date :mode                      ; \"2026-11-21\", and :quick or :all
    :jdk :processor :cores :kernel
    :load :micro :situations         ; what the sections wrote; those not measured are left out"
  [mode]
  (into {:date (str (LocalDate/now))
         :mode mode
         :jdk (System/getProperty "java.vm.version")
         :processor (processor)
         :cores (.availableProcessors (Runtime/getRuntime))
         :kernel (System/getProperty "os.version")}
        (for [section-key [:load :micro :situations]
              :let [figures (section section-key)]
              :when figures]
          [section-key figures])))

(def ^:private key-order
  "Keys that come first in a map, in this order. The others follow in that of the alphabet."
  [:date :mode :jdk :processor :cores :kernel :load :micro :situations
   :workload :mta :benchmark :socket :server :over :count
   :options :connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message])

(def ^:private places (zipmap key-order (range)))

(defn- ordered [m]
  (sort-by (fn [[k]] [(places k (count places)) (str k)]) m))

(defn- one-line [x]
  (cond
    (map? x) (str "{" (string/join " " (for [[k v] (ordered x)] (str k " " (one-line v)))) "}")
    (sequential? x) (str "[" (string/join " " (map one-line x)) "]")
    (double? x) (pr-str (/ (Math/round (* 1000.0 x)) 1000.0))
    :else (pr-str x)))

(defn- nested? [x]
  (some coll? (if (map? x) (vals x) (when (vector? x) x))))

(defn- edn-text
  "Returns data as text, with a line for each row of a vector and each key of a map of maps."
  [indent x]
  (let [inner (str indent " ")
        lines #(string/join (str "\n" inner) %)]
    (cond
      (not (nested? x))
      (one-line x)

      (map? x)
      (str "{"
           (lines (for [[k v] (ordered x)]
                    (str k (if (nested? v) (str "\n" inner) " ") (edn-text inner v))))
           "}")

      :else
      (str "[" (lines (map one-line x)) "]"))))

(defn write
  "Writes results to bench/results/DATE.edn, a row a line, with three decimals."
  [results]
  (let [file (io/file "bench/results" (str (:date results) ".edn"))]
    (io/make-parents file)
    (spit file (str (edn-text "" results) "\n"))))
