(ns temse.soak.page
  "What a soak shows: a picture of its samples, and a verdict in words."
  (:require
   [clojure.string :as string]
   [temse.bench.chart :as chart]
   [temse.bench.text :refer [figure formatted]]
   [temse.soak.verdict :as verdict]))

(set! *warn-on-reflection* true)

(defn- amount
  [x unit]
  (str (figure x) (when (seq unit) (str " " unit))))

(defn- signed
  [x unit]
  (str (if (neg? (double x)) "−" "+") (amount (abs (double x)) unit)))

(defn- judgement
  [{:keys [growth limit unit less? flat?]}]
  (str (signed growth unit) " in the second half, "
       (if less? "at least −" "at most +") (amount limit unit) ": "
       (if flat? "flat" "NOT FLAT")))

(defn- judged?
  [{:keys [minutes]}]
  (<= (long verdict/least-minutes) (double minutes)))

(defn wrong
  "Returns what is wrong with a soak, as texts: an empty sequence if it is flat and all replies were right."
  [{:keys [samples failures left] :as soak}]
  (concat
    (when (pos? (count failures))
      [(str (count failures) " wrong or missing replies, the first of them: " (first failures))])
    left
    (when (judged? soak)
      (for [{:keys [title flat? quiet?] :as series} (map #(verdict/of-samples samples %) verdict/series)
            :when (if quiet? (false? flat?) (not flat?))]
        (str title ": " (if (nil? flat?) "too few samples" (judgement series)))))))

(def ^:private busy "not judged, since the machine had much else to do")

(defn summary
  "Returns the verdict on a soak in one line."
  [{:keys [running?] :as soak}]
  (cond
    (seq (wrong soak)) "FAILED"
    running? "still running, and nothing wrong so far"
    (judged? soak) "flat, and every reply was right"
    :else (str "every reply was right; too short to say whether it is flat, which takes "
               verdict/least-minutes " minutes")))

(defn- counts
  [{:keys [minutes mails connections reloads seed failures]}]
  (str (formatted "%.1f" (double minutes)) " minutes, " (figure mails) " mails and attempts over "
       (figure connections) " connections, " (figure reloads) " reloads, "
       (figure (count failures)) " wrong replies, seed " seed))

(defn lines
  "Returns the result of a soak as lines of text."
  [{:keys [samples] :as soak}]
  (concat
    [(counts soak)]
    (when (judged? soak)
      (for [{:keys [title unit level] :as series} (map #(verdict/of-samples samples %) verdict/series)]
        (str "  " title ": " (if level (str (amount level unit) ", " (judgement series)) busy))))
    (map #(str "  " %) (wrong soak))
    [(summary soak)]))

(def ^:private colors ["#0072b2" "#d55e00" "#009e73"])

(defn- panel
  "Returns the panel of some series, of which each has a label if there are several."
  [{:keys [samples] :as soak} title labels series]
  (let [judged (map #(verdict/of-samples samples %) series)
        worst (first (concat (filter #(false? (:flat? %)) judged) judged))]
    (cond-> {:title title
             :unit (:unit (first series))
             :series (map (fn [one label color]
                            {:label label, :color color, :points (verdict/points samples one)})
                          series
                          (concat labels (repeat nil))
                          colors)}
      (and (judged? soak) (nil? (:level worst)))
      (assoc :note busy, :good? true)

      (and (judged? soak) (:level worst))
      (merge {:note (judgement worst)
              :good? (every? :flat? judged)
              :from (ffirst (:line worst))
              :lines (keep :line judged)}))))

(defn svg
  "Returns the picture of a soak, nil if it has no samples."
  [soak]
  (let [series (into {} (map (juxt :key identity)) verdict/series)
        one #(panel soak (:title (series %)) nil [(series %)])
        both (fn [title a b] (panel soak title ["99th percentile" "median"] [(series b) (series a)]))]
    (chart/panels
      {:title (str "Soak: " (summary soak))
       :texts [(counts soak)
               "Grey: the second half, which is judged. Dashed: the line through the best samples of its stretches."]
       :x "minutes"
       :panels [(one :heap)
                (one :resident)
                (one :metaspace)
                (one :threads)
                (one :descriptors)
                (one :files)
                (both "Answer to an event" :events-p50 :events-p99)
                (both "Answer to a whole message" :whole-p50 :whole-p99)
                (one :mails)
                {:title "Load of the machine, not judged"
                 :series [{:color "#57606a", :points (verdict/points (:samples soak) {:key :load})}]}]})))
