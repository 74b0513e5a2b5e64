(ns temse.impl.text
  "Numbers and case the same in every locale: in the Turkish one, TITLE in lower case is no title."
  {:no-doc true}
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

(defn lower-case
  "Returns the text in lower case."
  [text]
  (.toLowerCase (str text) Locale/ROOT))

(defn upper-case
  "Returns the text in upper case."
  [text]
  (.toUpperCase (str text) Locale/ROOT))

(defn formatted
  "Returns a text as clojure.core/format makes it, with numbers such as 1.5."
  [pattern & values]
  (String/format Locale/ROOT ^String pattern (object-array values)))
