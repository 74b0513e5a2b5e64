(ns temse.impl.keys
  "Maps that users write, checked against a table of what each of their keys must be:
  {key [words predicate default]}. What is misspelt or wrong is an error that says what is right."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.text :as text])
  (:import
   (java.time Duration)
   (java.util Collection)
   (temse.protocol KnownKeys MilterException MilterException$Category Printable)))

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
  "Returns a number of milliseconds as a Duration of at most a hundred years."
  ^Duration [ms]
  (Duration/ofMillis (min (long ms) (long longest-millis))))

;; ---- errors

(def ^:private longest-text 200)

(defn shown
  "Returns a value as printable text for an error: cut where it is long or endless."
  [value]
  (try
    (let [text (binding [*print-length* 10, *print-level* 4] (pr-str value))
          printable #(Printable/of ^String % Integer/MAX_VALUE)]
      (if (< (long longest-text) (count text))
        (str (printable (subs text 0 longest-text)) "…")
        (printable text)))
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

(defn did-you-mean
  "Returns the end of an error, such as \"; did you mean :port?\", or an empty text for nil."
  [meant]
  (KnownKeys/didYouMean meant))

(defn no-such
  "Returns the exception for a name that is none of `names`: the problem, which of them was probably
  meant, and advice (or nil)."
  [option given problem names advice]
  (let [suggestion (closest given names)]
    (bad-option option
                given
                (str problem
                     (if suggestion (did-you-mean suggestion) ".")
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

;; ---- texts

(def ^:private texts
  "Of each kind of text what it must be, in words, and the first character that it cannot hold. A lone
  surrogate can be sent where it stands for a byte, see temse.protocol.Text."
  {:line ["one line without NUL, CR and LF" #"[\x{0}\r\n\x{D800}-\x{DC7F}\x{DD00}-\x{DFFF}]"]
   :field-name ["the name of a header field, without spaces, colons and control characters"
                #"^$|[\x{0}-\x{20}\x{7F}:\x{D800}-\x{DC7F}\x{DD00}-\x{DFFF}]"]
   :string ["a text without NUL" #"[\x{0}\x{D800}-\x{DC7F}\x{DD00}-\x{DFFF}]"]
   :text ["a text that can be encoded" #"[\x{D800}-\x{DC7F}\x{DD00}-\x{DFFF}]"]})

(defn unfit
  "Returns why a string is no text of a kind, or nil. The kinds are :line, for SMTP commands, :field-name,
  :string, for packets, and :text, for bytes."
  [kind text]
  (let [[words wrong] (texts kind)]
    (when-let [^String found (re-find wrong text)]
      (str "must be " words ", not " (shown text)
           (when (seq found)
             (let [c (.codePointAt found 0)]
               (str ", which holds "
                    (when (<= 0xD800 c 0xDFFF) "the lone surrogate ")
                    (text/formatted "U+%04X" c))))))))

(defn check-text
  "Throws :bad-options that names the place, a key or a path of keys, of a string that is no text of the
  kind, see `unfit`. `what` says where the place is, such as \"a mail\"."
  [what place kind text]
  (when-let [problem (unfit kind text)]
    (throw (bad-option (if (vector? place) (first place) place)
                       text
                       (str (when what (str "in " what ", ")) (shown place) " " problem)))))

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
