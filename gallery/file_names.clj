(ns file-names
  "The names that programs may make of the name of a file."
  (:require
   [clojure.string :as string])
  (:import
   (com.google.re2j Pattern)
   (java.text Normalizer Normalizer$Form)
   (java.util Locale)))

(set! *warn-on-reflection* true)

(def ^:private ^Pattern control (Pattern/compile "[\\p{Cc}\\p{Cf}]"))
(def ^:private ^Pattern unseen-end (Pattern/compile "[\\s.,;:'\"()<>]+$"))

(defn- spelling
  "Returns a name without its directory and without what Windows leaves out at the end."
  [text]
  (.replaceAll (.matcher unseen-end ^String (peek (into [""] (string/split text #"[/\\]")))) ""))

(defn spellings
  "Returns the names that a name may become, of compatible characters (NFKC): without control characters and those
  that turn the direction of text, up to the first of them, and without the name of a stream of NTFS.

    (spellings \"dir/a.exe:x\")   ;=> (\"a.exe:x\" \"a.exe\")"
  [file-name]
  (let [^String normal (Normalizer/normalize file-name Normalizer$Form/NFKC)]
    (distinct (for [text [(.replaceAll (.matcher control normal) "")
                          (first (string/split normal #"\p{Cntrl}" 2))]
                    text [text (first (string/split text #":" 2))]]
                (spelling text)))))

(defn extension
  "Returns what is behind the last dot of a name, in lower case, or nil.

    (extension \"a.pdf.EXE\")   ;=> \"exe\""
  [file-name]
  (some-> ^String (second (re-find #"\.\s*+([^.]*+)$" file-name)) (.toLowerCase Locale/ROOT)))
