(ns temse.bench.text
  "Figures, and Org tables of them."
  (:require
   [clojure.string :as string])
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

(defn formatted
  "Returns numbers by a pattern of java.util.Formatter, as in English."
  [pattern & numbers]
  (String/format Locale/ROOT pattern (object-array numbers)))

(defn figure
  "Returns an integer as text, another number with three digits, or more before the point."
  [x]
  (let [size (abs x)]
    (formatted (cond
                 (int? x) "%,d"
                 (or (zero? size) (<= 100 size)) "%,.0f"
                 (<= 10 size) "%.1f"
                 (<= 1 size) "%.2f"
                 :else "%.3f")
               x)))

(defn- cell [value]
  (cond
    (nil? value) ""
    (number? value) (figure value)
    :else value))

(defn- repeated [n text]
  (string/join (repeat n text)))

(defn- padded
  "Returns the text of a cell as wide as its column, numbers to the right."
  [text width]
  (let [space (repeated (- width (count text)) " ")]
    (if (re-matches #"[\d,.]+" text)
      (str space text)
      (str text space))))

(defn table
  "Returns an Org table. A column is a pair of its title and a function that yields the number or
  the text for a row; what is nil stays empty."
  [columns rows]
  (let [head (map first columns)
        body (for [row rows]
               (for [[_ value] columns] (cell (value row))))
        widths (for [[title & cells] (apply map vector head body)]
                 (apply max (count title) (map count cells)))
        line #(str "| " (string/join " | " (map padded % widths)) " |")
        rule (str "|" (string/join "+" (map #(repeated (+ 2 %) "-") widths)) "|")]
    (string/join "\n" (list* (line head) rule (map line body)))))
