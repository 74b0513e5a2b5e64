(ns temse.bench.chart
  "Charts as self-contained SVG. They bring their own white ground, for pages light and dark."
  (:require
   [clojure.string :as string]
   [temse.bench.text :refer [figure]]))

(set! *warn-on-reflection* true)

;; SVG

(defn- escaped [text]
  (string/escape (str text) {\& "&amp;", \< "&lt;", \> "&gt;", \" "&quot;"}))

(defn- xml
  "Returns the text of an element, [TAG ATTRIBUTES CHILD...]. A child is an element, text, or a
  sequence of children. Attributes that are numbers are rounded to whole pixels."
  [node]
  (cond
    (and (vector? node) (keyword? (first node)))
    (let [[tag attributes & children] node]
      (str "<" (name tag)
           (string/join (for [[attribute value] attributes]
                          (str " " (name attribute) "=\""
                               (escaped (if (number? value) (Math/round (double value)) value))
                               "\"")))
           (if children
             (str ">" (string/join (map xml children)) "</" (name tag) ">\n")
             "/>\n")))

    (sequential? node)
    (string/join (map xml node))

    :else
    (escaped node)))

(def ^:private width 760)
(def ^:private margin 16)
(def ^:private title-height 44)
(def ^:private ink "#1f2328")
(def ^:private faint "#d0d7de")

(defn- text
  ([x y content] (text {} x y content))
  ([attributes x y content] [:text (merge {:x x, :y y, :fill ink} attributes) content]))

(defn- svg [height title & content]
  (xml [:svg {:xmlns "http://www.w3.org/2000/svg"
              :viewBox (str "0 0 " width " " height)
              :width width
              :height height
              :role "img"
              :font-family "sans-serif"
              :font-size 12}
        [:title {} title]
        [:rect {:width width, :height height, :fill "#ffffff"}]
        (text {:font-size 15, :font-weight "bold"} margin 27 title)
        content]))

;; Bars

(def ^:private label-width 220)
(def ^:private figure-width 110)
(def ^:private bar-pitch 20)
(def ^:private bar-height 14)
(def ^:private group-height 28)

(defn- bar-svg [scale unit y {:keys [label value color]}]
  (let [baseline (+ y 11)
        length (* scale value)]
    [(text {:text-anchor "end"} (- label-width 8) baseline label)
     [:rect {:x label-width, :y y, :width (max 1 length), :height bar-height, :fill color}]
     (text (+ label-width length 6) baseline (str (figure value) unit))]))

(defn- group-svg [scale unit y {:keys [label bars]}]
  [(text {:font-weight "bold"} margin (+ y 16) label)
   (map-indexed #(bar-svg scale unit (+ y group-height (* bar-pitch %1)) %2) bars)])

(defn bars
  "Returns an SVG of horizontal bars, which begin at zero and have one scale; nil if there are none.

    :title   ; text above them
    :unit    ; text after each figure, such as \" µs\"
    :groups  ; [{:label \"W1\", :bars [{:label \"libmilter\", :value 354.2, :color \"#0072b2\"}]}]"
  [{:keys [title unit groups]}]
  (when-let [all (seq (mapcat :bars groups))]
    (let [scale (/ (- width label-width figure-width) (apply max (map (comp double :value) all)))
          heights (map #(+ group-height (* bar-pitch (count (:bars %)))) groups)
          tops (reductions + title-height heights)]
      (svg (+ (last tops) margin)
           title
           (map #(group-svg scale unit %1 %2) tops groups)))))

;; Lines

(def ^:private plot {:left 70, :right 730, :top 94, :bottom 334})

(defn- decades
  "Returns the powers of ten that enclose the values, at least two."
  [values]
  (let [low (long (Math/floor (Math/log10 (apply min values))))
        high (long (Math/ceil (Math/log10 (apply max values))))]
    (map #(Math/pow 10 %) (range low (inc (max high (inc low)))))))

(defn- log-scale
  "Returns a function from a value to its pixel between start and end."
  [ticks start end]
  (let [low (Math/log10 (first ticks))
        high (Math/log10 (last ticks))]
    (fn [value]
      (Math/round (+ start (* (- end start) (/ (- (Math/log10 value) low) (- high low))))))))

(defn- series-svg [place-x place-y {:keys [color points]}]
  (let [places (for [[x y] points] [(place-x x) (place-y y)])]
    [[:polyline {:points (string/join " " (flatten places))
                 :fill "none"
                 :stroke color
                 :stroke-width 2}]
     (for [[x y] places]
       [:circle {:cx x, :cy y, :r 4, :fill color}])]))

(defn- legend-svg [series]
  (map-indexed (fn [i {:keys [label color]}]
                 (let [x (+ margin (* i 180))]
                   [[:rect {:x x, :y 46, :width 12, :height 12, :fill color}]
                    (text (+ x 18) 57 label)]))
               series))

(defn- tick-text [tick]
  (if (<= 1 tick) (figure (long tick)) (str tick)))

(defn- grid-svg [place-x place-y x-ticks y-ticks]
  (let [{:keys [left right top bottom]} plot]
    [(for [tick x-ticks
           :let [x (place-x tick)]]
       [[:line {:x1 x, :y1 top, :x2 x, :y2 bottom, :stroke faint}]
        (text {:text-anchor "middle"} x (+ bottom 18) (tick-text tick))])
     (for [tick y-ticks
           :let [y (place-y tick)]]
       [[:line {:x1 left, :y1 y, :x2 right, :y2 y, :stroke faint}]
        (text {:text-anchor "end"} (- left 8) (+ y 4) (tick-text tick))])]))

(defn lines
  "Returns an SVG of lines between points, both axes logarithmic; nil if there are none.

    :title   ; text above them
    :x :y    ; what the axes show
    :series  ; [{:label \"libmilter\", :color \"#0072b2\", :points [[1 40.1] [10 11.8]]}]"
  [{:keys [title x y series]}]
  (when-let [points (seq (mapcat :points series))]
    (let [{:keys [left right top bottom]} plot
          x-ticks (decades (map first points))
          y-ticks (decades (map second points))
          place-x (log-scale x-ticks left right)
          place-y (log-scale y-ticks bottom top)]
      (svg (+ bottom 50)
           title
           (legend-svg series)
           (grid-svg place-x place-y x-ticks y-ticks)
           (text {:text-anchor "end"} right (+ bottom 38) x)
           (text {} margin (- top 10) y)
           (map #(series-svg place-x place-y %) series)))))
