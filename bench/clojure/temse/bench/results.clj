(ns temse.bench.results
  "What a run of the benchmark showed, as one map of data, and the file that keeps it."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.io File)
   (java.nio.file Files Path)
   (java.time LocalDate)))

(set! *warn-on-reflection* true)

(defn median [values]
  (when (seq values)
    (nth (sort values) (quot (count values) 2))))

(defn ratio
  "Returns the CPU time of one row beside that of another: the median of what the rounds show, since whatever
  slows the machine down slows both servers of a round."
  [row peer]
  (median (map / (:rounds row) (:rounds peer))))

(defn row
  "Returns the first row with these keys and values, or nil."
  [rows wanted]
  (first (filter #(= wanted (select-keys % (keys wanted))) rows)))

(defn machine
  "Returns what a benchmark runs on, and when."
  []
  (let [processors (Files/readString (Path/of "/proc/cpuinfo" (into-array String [])))]
    (array-map :date (str (LocalDate/now))
               :jdk (System/getProperty "java.vm.version")
               :processor (or (second (re-find #"model name\s*: (.*)" processors))
                              (System/getProperty "os.arch"))
               :cores (.availableProcessors (Runtime/getRuntime))
               :kernel (System/getProperty "os.version"))))

(defn- rounded [x]
  (cond
    (map? x) (update-vals x rounded)
    (coll? x) (mapv rounded x)
    (or (float? x) (ratio? x)) (/ (Math/round (* 1000.0 x)) 1000.0)
    :else x))

(def ^:private directory "bench/results")

(defn write
  "Writes results to bench/results/DATE-jdkN.edn, each row on a line of its own."
  [{:keys [date] :as results}]
  (let [file (io/file directory (str date "-jdk" (.feature (Runtime/version)) ".edn"))
        text (fn [value]
               (if (and (vector? value) (map? (first value)))
                 (str "[" (string/join "\n  " (map pr-str value)) "]")
                 (pr-str value)))]
    (spit file (str "{" (string/join "\n " (for [[k v] (sort-by (comp vector? val) (rounded results))]
                                             (str k " " (text v)))) "}\n"))))

(defn latest
  "Returns the newest results of a JDK, :jdk17 or :jdk25, with their :file, or nil."
  [jdk]
  (when-let [^File file (->> (.listFiles (io/file directory))
                             (filter #(string/ends-with? (str %) (str "-" (name jdk) ".edn")))
                             sort
                             last)]
    (assoc (edn/read-string (slurp file)) :file (.getName file))))
