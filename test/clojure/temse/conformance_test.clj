(ns temse.conformance-test
  "Every rule of the protocol, numbered in conformance.edn, has a test that carries its number: as a
  `@Tag` of JUnit, or in the metadata `^{:conformance [\"W8\"]}` of a `deftest`. doc/conformance.org
  lists them; `write!` writes it."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [temse.differential :as differential]
   [temse.runner :as runner])
  (:import
   (java.lang.reflect Method)
   (org.junit.jupiter.api Tag)))

(set! *warn-on-reflection* true)

(def ^:private page "doc/conformance.org")

(def ^:private rules
  (edn/read-string (slurp (io/resource "conformance.edn"))))

;; Which tests carry which numbers

(def ^:private test-namespaces
  (let [names (map symbol (runner/namespaces "test/clojure" "_test.clj"))]
    (run! require (remove #{(ns-name *ns*)} names))
    names))

(defn- tags [^Method method]
  (map #(.value ^Tag %) (.getAnnotationsByType method Tag)))

(defn- tests-of-class [class-name]
  (let [^Class class (Class/forName class-name false (.getContextClassLoader (Thread/currentThread)))]
    (for [^Method method (.getDeclaredMethods class)
          number (tags method)]
      [number (str (.getSimpleName class) "." (.getName method))])))

(defn- tests-of-namespace [namespace]
  (for [test-var (vals (ns-interns namespace))
        number (:conformance (meta test-var))]
    [number (str (symbol test-var))]))

(defn- tests-by-number
  "Returns a map of number to the sorted names of the tests that carry it."
  []
  (->> (concat (mapcat tests-of-class (runner/namespaces "test/java" "Test.java"))
               (mapcat tests-of-namespace test-namespaces))
       (reduce (fn [tests [number title]]
                 (update tests number (fnil conj (sorted-set)) title))
               {})))

;; The page

(def ^:private sections
  [["W" "Both sides"]
   ["F" "The filter"]
   ["M" "The MTA side (=temse.test=, =temse.client=)"]
   ["L" "The listener"]])

(defn- cell
  "Returns text for a cell of a table: code between backquotes becomes verbatim."
  [text]
  (-> text
      (str/replace #"`([^`]*)`" "=$1=")
      (str/replace "|" "\\vert{}")))

(defn- row [& cells]
  (str "| " (str/join " | " cells) " |"))

(defn- rule-row [tests {:keys [number text status]}]
  (row number
       (cell text)
       (if (= :differs status) (str "[[*" number "][differs]]") "kept")
       (str/join " " (map #(str "=" % "=") (tests number)))))

(defn- of-section? [letter {:keys [number]}]
  (str/starts-with? number letter))

(defn- section-lines [tests [letter title]]
  (concat [(str "* " title)
           ""
           (row "number" "rule" "status" "tests")
           "|---|---|---|---|"]
          (map #(rule-row tests %) (filter #(of-section? letter %) rules))
          [""]))

(defn- reason-lines [{:keys [number reason]}]
  [(str "** " number) "" (cell reason) ""])

(defn- difference-row [{:keys [id what reason]}]
  (row (str "=" (name id) "=") (cell what) (cell reason)))

(defn- text []
  (let [tests (tests-by-number)]
    (->> (concat ["#+title: Conformance"
                  ""
                  "Every rule of the milter protocol, with the tests that hold us to it. This page is generated:"
                  "=(temse.conformance-test/write!)= writes it, in a REPL with the tests' class path, and so does"
                  "=clojure -X:test temse.conformance-test/write!=. A test fails while it is not up to date."
                  ""]
                 (mapcat #(section-lines tests %) sections)
                 ["* Where rules are kept otherwise" ""]
                 (mapcat reason-lines (filter #(= :differs (:status %)) rules))
                 ["* Intended differences to libmilter"
                  ""
                  "Both get the same conversations, byte for byte, and must answer and call back alike, but for"
                  "these:"
                  ""
                  (row "difference" "what" "why")
                  "|---|---|---|"]
                 (map difference-row differential/differences)
                 [""
                  "Libmilter is not asked what would make it read memory that is not its own:"
                  ""
                  (row "what" "temse")
                  "|---|---|"]
                 (for [{:keys [what temse]} differential/not-compared]
                   (row (cell what) (cell temse))))
         (str/join "\n")
         (format "%s\n"))))

(defn write!
  "Writes doc/conformance.org. Arguments are for `clojure -X` and not looked at."
  [& _]
  (spit page (text)))

(deftest every-rule-has-a-test-that-carries-its-number
  (let [tests (tests-by-number)]
    (is (= [] (vec (remove tests (map :number rules)))))))

(deftest tests-carry-numbers-of-rules
  (is (= [] (vec (remove (into #{} (map :number) rules) (keys (tests-by-number)))))))

(deftest rules-are-numbered-without-gaps
  (is (= (for [[letter last] [["W" 12] ["F" 58] ["M" 29] ["L" 6]]
               n (range 1 (inc last))]
           (str letter n))
         (map :number rules))))

(deftest a-rule-that-is-kept-otherwise-has-a-reason
  (doseq [{:keys [number text status reason]} rules]
    (is (not (str/blank? text)) number)
    (is (contains? #{nil :differs} status) number)
    (is (= (= :differs status) (not (str/blank? reason))) number)))

(deftest the-page-is-up-to-date
  (is (= (text) (slurp page))
      "evaluate (temse.conformance-test/write!)"))
