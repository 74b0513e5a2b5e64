(ns temse.test.expect
  "Expectations: values that describe values, readable from EDN.

    literal     ; is equal to it; a string also to bytes that hold its text
    _           ; anything; ... in a vector: any number of anything
    #re \"…\"     ; a text in which the pattern is found, in code a regular expression
    set         ; matches one of its members
    map         ; has these keys and no others, with values that match; `_ _` in it allows others,
                ; nil as a value allows the key to be missing
    vector      ; has elements that match, in this order
    function    ; returns a true value of it (in code only)
    keyword     ; also the action of that name and nothing more: :accept is {:action :accept}

    (matches? '{:action :reply-code :smtp-code #{550 554} _ _} (act/reply-code 550 \"No\"))
    ;=> true"
  (:require
   [clojure.string :as string]
   [temse.report :as report])
  (:import
   (java.util.regex Pattern)
   (temse.protocol ActionCodec Text)))

(set! *warn-on-reflection* true)

(declare matches?)

(defn- text
  [value]
  (cond
    (string? value) value
    (bytes? value) (Text/decode value)))

(defn- elements-match?
  [[expected & more :as patterns] actual]
  (cond
    (empty? patterns) (empty? actual)
    (= '... expected) (or (elements-match? more actual)
                          (and (seq actual) (recur patterns (rest actual))))
    (empty? actual) false
    :else (and (matches? expected (first actual)) (recur more (rest actual)))))

(defn- map-matches?
  [expected actual]
  (let [named (dissoc expected '_)]
    (and (every? (fn [[k pattern]] (matches? pattern (get actual k))) named)
         (or (contains? expected '_) (every? #(contains? named %) (keys actual))))))

(defn matches?
  "Returns true if a value is as expected."
  [expected actual]
  (boolean
    (cond
      (= '_ expected) true
      (instance? Pattern expected) (some->> (text actual) (re-find expected))
      (set? expected) (or (= expected actual) (some #(matches? % actual) expected))
      (map? expected) (and (map? actual) (map-matches? expected (dissoc actual '_)))
      (sequential? expected) (and (sequential? actual) (elements-match? expected actual))
      (fn? expected) (expected actual)
      (or (string? expected) (bytes? expected)) (= (text expected) (text actual))
      (= expected actual) true
      (keyword? expected) (and (map? actual)
                               (= actual (ActionCodec/normalise {:action expected}))))))

;; ---- differences for people

(declare value-line)

(defn- entry-text
  [[k value]]
  (str (pr-str k) " " (value-line value)))

(defn- value-line
  [value]
  (cond
    (bytes? value) (pr-str (Text/decode value))
    (instance? Pattern value) (str "#re " (pr-str (str value)))
    (map? value) (str "{" (string/join ", " (map entry-text value)) "}")
    (sequential? value) (str "[" (string/join " " (map value-line value)) "]")
    :else (pr-str value)))

(defn- message?
  [value]
  (and (map? value) (contains? value :recipients) (contains? value :headers)))

(defn- value-lines
  [value]
  (cond
    (message? value) (report/mail-lines value)
    (and (sequential? value) (seq value)) (map value-line value)
    :else [(value-line value)]))

(defn- agreeing
  "Returns what was expected with the parts that match in the place of their patterns, so that only
  what differs looks different."
  [expected actual]
  (cond
    (matches? expected actual) actual

    (and (sequential? expected) (sequential? actual) (not-any? #{'...} expected))
    (let [actual (vec actual)]
      (vec (map-indexed (fn [i pattern]
                          (if (< (long i) (count actual)) (agreeing pattern (actual i)) pattern))
                        expected)))

    (and (map? expected) (map? actual) (contains? expected '_))
    (into actual (map (fn [[k pattern]] [k (agreeing pattern (get actual k))])) (dissoc expected '_))

    (and (map? expected) (map? actual))
    (into {} (map (fn [[k pattern]] [k (agreeing pattern (get actual k))])) expected)

    :else expected))

(defn difference
  "Returns what was expected and is not, marked \"- \", and what is instead, marked \"+ \", as lines;
  none where it matches."
  [expected actual]
  (when-not (matches? expected actual)
    (report/difference (value-lines (agreeing expected actual)) (value-lines actual))))
