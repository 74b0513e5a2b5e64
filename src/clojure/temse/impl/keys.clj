(ns temse.impl.keys
  "Maps that users write, checked against a table of what each of their keys must be:
  {key [words predicate default]}. What is misspelt or wrong is an error that says what is right."
  {:no-doc true}
  (:require
   [clojure.string :as string])
  (:import
   (java.time Duration)
   (java.util Collection)
   (temse.protocol KnownKeys MilterException MilterException$Category)))

(set! *warn-on-reflection* true)

;; ---- what values must be

(defn milliseconds?
  "Returns true for a positive whole number."
  [x]
  (and (int? x) (pos? (long x))))

(defn strings?
  "Returns true for a vector or other sequence of strings, or nil."
  [x]
  (and (or (nil? x) (sequential? x)) (every? string? x)))

(def milliseconds
  "The entry of a table for a duration."
  ["milliseconds, 1 or more" milliseconds?])

(def truth
  "The entry of a table for a switch."
  ["true or false" boolean?])

(def ^:private longest-millis
  "A hundred years: times that lie so far ahead can still be compared."
  3155760000000)

(defn duration
  "Returns the Duration of so many milliseconds, at most a hundred years."
  ^Duration [ms]
  (Duration/ofMillis (min (long ms) (long longest-millis))))

;; ---- errors

(def ^:private longest-text 200)

(defn shown
  "Returns a value as text for an error: cut where it is long or endless."
  [value]
  (try
    (let [text (binding [*print-length* 10, *print-level* 4] (pr-str value))]
      (if (< (long longest-text) (count text))
        (str (subs text 0 longest-text) "…")
        text))
    (catch Throwable _
      (str "an instance of " (.getName (class value))))))

(defn bad-option
  "Returns the exception for a wrong option."
  ([option value problem]
   (bad-option option value problem nil))
  ([option value problem suggestion]
   (MilterException. MilterException$Category/BAD_OPTIONS
                     ^String problem
                     (object-array ["option" option "value" value "suggestion" suggestion]))))

(defn closest
  "Returns the name that was probably meant by a keyword, symbol or string, or nil."
  [given names]
  (KnownKeys/closest given ^Collection (sort names)))

(defn no-such
  "Returns the exception for a name that is none of `names`: the problem, which of them was probably
  meant, and advice (or nil)."
  [option given problem names advice]
  (let [suggestion (closest given names)]
    (bad-option option
                given
                (str problem
                     (if suggestion (str "; did you mean " suggestion "?") ".")
                     (when advice (str " " advice)))
                suggestion)))

;; ---- checking

(defn- no-such-key
  [what given table]
  (let [names (keys table)]
    (no-such given
             given
             (if what
               (str "there is no key " (shown given) " in " what)
               (str "there is no option " (shown given)))
             names
             (when what
               (str "Its keys are " (string/join " " (sort names)))))))

(defn check
  "Returns the map, or nil. `what` says what it is, such as \"the options of replay\"; nil stands for
  the options of start-milter, which must be given.

  Throws :bad-options that names what would be right, if it is no map, or if one of its keys is
  unknown or has a wrong value."
  [what given table]
  (when-not (or (map? given) (and what (nil? given)))
    (throw (bad-option :options given (str (or what "options") " must be a map, not " (shown given)))))
  (doseq [[k value] given
          :let [[words right?] (table k)]]
    (cond
      (nil? right?)
      (throw (no-such-key what k table))

      (not (right? value))
      (throw (bad-option k value (str (when what (str "in " what ", "))
                                      k " must be " words ", not " (shown value))))))
  given)

(defn check-result
  "Returns what a function has returned and another takes. Throws an IllegalArgumentException if it
  is not a map with a sequence under a key."
  [given k from]
  (when-not (and (map? given) (sequential? (get given k)))
    (throw (IllegalArgumentException.
             (str "what " from " returned is wanted here, a map with " k ", not " (shown given)))))
  given)

(defn with-defaults
  "Returns the map with the defaults of a table where it says nothing. Throws as `check` does."
  [what given table]
  (into (or (check what given table) {})
        (keep (fn [[k [_ _ default]]]
                (when (and (some? default) (not (contains? given k)))
                  [k default])))
        table))
