(ns temse.fuzz.edits
  "Fuzz target: edits of headers that an MTA is to deliver."
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.fuzz.support :refer [must text]]
   [temse.simulate.edits :as edits]))

(set! *warn-on-reflection* true)

(def ^:private field-line #"([!-9;-~]{1,40}):([^\u0000\r]*)")

(defn- field-of
  "Returns the header field that a line writes, in which ~ stands for the end of a line before a space."
  [line]
  (when-let [[_ field-name value] (re-matches field-line line)]
    [field-name (string/replace value "~" "\n ")]))

(defn- step-of
  "Returns the step of temse.simulate.edits that a line writes: its kind, a digit where it has a place, and a
  field or another digit."
  [^String line]
  (let [place #(when (< (long %) (count line)) (bit-and 15 (int (.charAt line %))))
        field (field-of (subs line (min 2 (count line))))]
    (when-let [n (place 1)]
      (case (.charAt line 0)
        \+ (when field (into [:add] field))
        \i (when field (into [:insert n] field))
        \= (when field (into [:set] field))
        \- (when field [:remove (first field)])
        \x [:remove-at n]
        \c (when field [:change-at n (second field)])
        \m (when-let [to (place 2)] [:move n to])
        \r [:respell n]
        \a [:authenticate]
        nil))))

(defn header-editing
  "A line that chooses the MTA, header fields, an empty line, and steps of an edit. What is delivered is what
  the edit wants, with no more actions than it has steps; or there is an error that says why not."
  [input]
  (let [[choice & lines] (string/split (text input) #"\n" -1)
        [fields [_ & steps]] (split-with seq lines)
        mail {:sender "<a@example.org>", :options [], :recipients ["<b@example.com>"], :recipient-options [[]]
              :headers (into [] (keep field-of) (take 30 fields))
              :body "hello\r\n"}
        wrong (binding [log/*logger-factory* logging/disabled-logger-factory]
                (edits/wrong-on-simulator (if (string/includes? choice "s") :sendmail :postfix)
                                          {:leading-space? (string/includes? choice "l")}
                                          {:mail mail, :steps (into [] (keep step-of) (take 30 steps))}))]
    (must (nil? wrong) wrong)))
