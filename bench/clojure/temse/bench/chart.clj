(ns temse.bench.chart
  "Charts as self-contained SVG. They bring their own white ground, for pages light and dark."
  (:require
   [clojure.string :as string]
   [temse.bench.text :refer [figure formatted]]))

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

(def ^:private usual-width 760)
(def ^:private margin 16)
(def ^:private title-height 44)
(def ^:private ink "#1f2328")
(def ^:private faint "#d0d7de")

(defn- text
  ([x y content] (text {} x y content))
  ([attributes x y content] [:text (merge {:x x, :y y, :fill ink} attributes) content]))

(defn- svg [width height title & content]
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
    (let [scale (/ (- usual-width label-width figure-width) (apply max (map (comp double :value) all)))
          heights (map #(+ group-height (* bar-pitch (count (:bars %)))) groups)
          tops (reductions + title-height heights)]
      (svg usual-width
           (+ (last tops) margin)
           title
           (map #(group-svg scale unit %1 %2) tops groups)))))

;; Panels

(def ^:private panel-width 442)
(def ^:private panel-height 232)
(def ^:private panels-top 92)
(def ^:private panel-plot {:left 58, :right 420, :top 62, :bottom 192})
(def ^:private shade "#f6f8fa")
(def ^:private good "#1a7f37")
(def ^:private bad "#cf222e")

(defn- round-steps
  "Returns about n round numbers from zero on, the last of which is not below the greatest value."
  [greatest n]
  (let [rough (/ (max (double greatest) 1e-9) n)
        power (Math/pow 10 (Math/floor (Math/log10 rough)))
        step (* power (first (filter #(<= rough (* power %)) [1 2 2.5 5 10])))]
    (take (inc (long (Math/ceil (- (/ greatest step) 1e-9)))) (iterate #(+ step %) 0.0))))

(defn- scale
  "Returns a function from a value to its pixel between start and end, which zero and `most` have."
  [most start end]
  (fn [value]
    (+ start (* (- end start) (/ (double value) most)))))

(defn- x-axis
  "Returns the ticks and the scale of an x axis from zero, or from one if it is logarithmic."
  [most log? start end]
  (if log?
    (let [powers (take-while #(<= % most) (iterate #(* 10 %) 1))
          place (scale (Math/log most) start end)]
      [powers #(place (Math/log %))])
    [(filter #(<= % most) (round-steps most 6)) (scale most start end)]))

(defn- step-text [step]
  (if (= (double step) (Math/rint step))
    (figure (long step))
    (let [text (formatted "%.3f" step)]
      (string/replace text #"0+$" ""))))

(defn- polyline [place-x place-y attributes points]
  [:polyline (merge {:points (string/join " " (for [[x y] points]
                                                (formatted "%.1f,%.1f" (place-x x) (place-y y))))
                     :fill "none"
                     :stroke-width "1.5"
                     :stroke-linejoin "round"}
                    attributes)])

(defn- panel-svg
  [x-label most-x log? {:keys [title unit note good? series from lines]}]
  (let [{:keys [left right top bottom]} panel-plot
        values (for [{:keys [points]} series, [_ y] points] y)
        [x-ticks place-x] (x-axis most-x log? left right)
        y-ticks (round-steps (apply max 1e-3 values) 4)
        place-y (scale (last y-ticks) bottom top)]
    [(text {:font-weight "bold"} left 16 (str title (when (seq unit) (str ", " unit))))
     (when note
       (text {:font-size 11, :fill (if good? good bad)} left 34 note))
     (when from
       [:rect {:x (place-x from), :y top, :width (- right (place-x from)), :height (- bottom top), :fill shade}])
     (for [tick y-ticks
           :let [y (place-y tick)]]
       [[:line {:x1 left, :y1 y, :x2 right, :y2 y, :stroke faint}]
        (text {:text-anchor "end", :font-size 11} (- left 6) (+ y 4) (step-text tick))])
     (for [tick x-ticks
           :let [x (place-x tick)]]
       [[:line {:x1 x, :y1 bottom, :x2 x, :y2 (+ bottom 4), :stroke ink}]
        (text {:text-anchor "middle", :font-size 11} x (+ bottom 17) (step-text tick))])
     (text {:text-anchor "end", :font-size 11} right (+ bottom 32) x-label)
     (for [[i {:keys [label color points]}] (map-indexed vector series)]
       [(polyline place-x place-y {:stroke color} points)
        (when label
          (text {:text-anchor "end", :font-size 11, :fill color, :font-weight "bold"}
                right (+ 16 (* 15 i)) label))])
     (for [line lines]
       (polyline place-x place-y {:stroke ink, :stroke-dasharray "5 4"} line))]))

(defn panels
  "Returns an SVG of small charts, two beside each other, whose x axes are the same and whose axes begin at zero;
  nil if there are no points.

    :title   ; text above them
    :texts   ; further lines below it
    :x       ; what the x axes show
    :log?    ; whether they are logarithmic, from one on (default: false)
    :panels  ; [{:title \"Heap\" :unit \"MiB\"
             ;   :series [{:label \"used\" :color \"#0072b2\" :points [[0.5 11.8] …]}]
             ;   :note \"+0.1 MiB\" :good? true    ; what is said about it
             ;   :from 60                          ; where it begins to be shaded
             ;   :lines [[[60 11.7] [120 11.8]]]}] ; dashed"
  [{:keys [title texts x log? panels]}]
  (when-let [xs (seq (for [panel panels, {:keys [points]} (:series panel), [x] points] x))]
    (let [rows (quot (inc (count panels)) 2)]
      (svg (* 2 panel-width)
           (+ panels-top (* rows panel-height))
           title
           (map-indexed #(text {:fill "#57606a"} margin (+ 47 (* 17 %1)) %2) texts)
           (for [[i panel] (map-indexed vector panels)]
             [:g {:transform (str "translate(" (* panel-width (rem i 2)) "," (+ panels-top (* panel-height (quot i 2))) ")")}
              (panel-svg x (apply max xs) log? panel)])))))
