(ns temse.impl.brief
  "Results, contexts and sessions as a REPL prints them: a few lines, whatever they hold, without
  calling code of users."
  {:no-doc true}
  (:require
   [clojure.pprint :as pprint]
   [clojure.string :as string]
   [temse.impl.failure :as failure])
  (:import
   (clojure.lang Keyword Symbol)
   (java.io Writer)
   (java.time Instant)
   (java.util.regex Pattern)
   (temse.client MtaSession MtaStyle)
   (temse.client.internal BriefMap)
   (temse.protocol Printable)))

(set! *warn-on-reflection* true)

(def ^:private widest-line 100)

(def ^:private most-lines 20)

(def ^:private most-elements 5)

(def ^:private first-keys
  "Keys of results and contexts in the order in which they are printed, before all others."
  [:pass? :runs :of :seed :verdict :at :fate :reply :modifications :recipients :errors :problem :closed-by
   :findings :unsent :differences])

(declare text)

(defn- elements-text
  "Returns the texts of the first elements between brackets."
  [open elements close depth element-text]
  (let [shown (take most-elements elements)]
    (if (or (neg? (long depth)) (and (zero? (long depth)) (seq shown)))
      (str open "…" close)
      (str open
           (string/join (if (= "{" open) ", " " ") (map element-text shown))
           (when (seq (drop most-elements elements)) " …")
           close))))

(defn- entry-text
  [depth [k value]]
  (str (text k depth) " " (text value depth)))

(defn- text
  "Returns a value as Clojure writes it, without what lies deep or comes late in it."
  [value depth]
  (let [deeper (dec (long depth))]
    (cond
      (or (nil? value) (boolean? value) (number? value) (char? value)
          (instance? Keyword value) (instance? Symbol value))
      (pr-str value)

      (string? value) (let [s ^String value]
                        (pr-str (if (< 60 (count s)) (str (subs s 0 60) "…") s)))
      (bytes? value) (str "#<" (alength ^bytes value) " bytes>")
      (instance? Instant value) (str "#inst \"" value "\"")
      (instance? Pattern value) (str "#\"" value "\"")
      (instance? Throwable value) (str "#<" (.getName (class value)) ">")
      (var? value) (str value)
      (fn? value) (str "#<" (failure/handler-text value) ">")
      (map? value) (elements-text "{" value "}" depth #(entry-text deeper %))
      (set? value) (elements-text "#{" value "}" depth #(text % deeper))
      (sequential? value) (elements-text "[" value "]" depth #(text % deeper))
      :else (str "#<" (.getName (class value)) ">"))))

(defn- summary
  "Returns how much there is in a value whose text would be too long."
  [value]
  (let [of #(str %1 "… " (bounded-count 1000 value) " " %3 %2)]
    (cond
      (map? value) (of "{" "}" "entries")
      (set? value) (of "#{" "}" "elements")
      (sequential? value) (of "[" "]" "elements")
      :else (text value 0))))

(defn- value-text
  [k value]
  (if (and (#{:errors :findings} k) (sequential? value) (seq value) (every? :explanation value))
    (str "["
         (string/join "\n          " (map #(Printable/of (str (:kind %) " " (:explanation %))
                                                         (int (* 2 (long widest-line))))
                                          (take most-elements value)))
         (when (seq (drop most-elements value)) " …")
         "]")
    (let [whole (text value 4)]
      (Printable/of ^String (if (< widest-line (+ (count whole) (count (str k)))) (summary value) whole)
                    (int widest-line)))))

(defn- rank
  [k]
  [(let [n (.indexOf ^java.util.List first-keys k)] (if (neg? n) (count first-keys) n)) (text k 0)])

(defn map-text
  "Returns a map as text with a line for each key."
  [m]
  (let [ks (sort-by rank (keys m))]
    (str "{"
         (string/join "\n "
                      (concat
                        (map #(str (text % 0) " " (value-text % (get m %))) (take most-lines ks))
                        (when (seq (drop most-lines ks))
                          [(str "… " (- (count ks) (long most-lines)) " more")])))
         "}")))

(defmethod print-method BriefMap
  [m ^Writer writer]
  (.write writer ^String (map-text m)))

(defmethod pprint/simple-dispatch BriefMap
  [m]
  (doseq [[n line] (map-indexed vector (string/split-lines (map-text m)))]
    (when (pos? (long n))
      (pprint/pprint-newline :mandatory))
    (print line)))

(defmethod pprint/simple-dispatch (Class/forName "[B")
  [value]
  (print (text value 0)))

(defmethod print-method MtaSession
  [^MtaSession session ^Writer writer]
  (.write writer (str "#<session of "
                      (if (= MtaStyle/POSTFIX (.style (.options session))) "postfix" "sendmail")
                      ", version " (:version (.agreement session))
                      (if (.isOpen session) ", open>" ", closed>"))))
