(ns temse.promises-test
  "The tables of doc/operations.org and doc/security.org: each row names what keeps it, tests and scripts
  that exist, and the options that it names exist and have the defaults that it states."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.database :as database]
   [temse.filter :as filter]
   [temse.impl.options :as options]
   [temse.record :as record]
   [temse.runner :as runner])
  (:import
   (java.lang.reflect Method)
   (org.junit.jupiter.api Test)
   (org.junit.jupiter.params ParameterizedTest)))

(set! *warn-on-reflection* true)

;; ---- reading the tables

(defn- tables
  "Returns the tables of a page, each a sequence of rows: vectors of cells, the head first."
  [page]
  (->> (string/split-lines (slurp page))
       (partition-by #(string/starts-with? % "|"))
       (filter #(string/starts-with? (first %) "|"))
       (map (fn [lines]
              (for [line lines
                    :when (not (string/starts-with? line "|--"))]
                (mapv string/trim (string/split (subs line 1 (dec (count line))) #"\|" -1)))))))

(defn- rows-with
  "Returns the rows of all tables of a page that have a column of this name, as maps of column to cell."
  [page column]
  (for [[head & rows] (tables page)
        :when (some #{column} head)
        row rows]
    (zipmap head row)))

(defn- codes
  [cell]
  (map second (re-seq #"=([^=]+)=" cell)))

;; ---- what keeps a promise

(def ^:private classes
  "The classes of tests by their simple names."
  (delay (group-by #(last (string/split % #"\.")) (map str (runner/namespaces "test/java" "Test.java")))))

(defn- test-method?
  [^Method method]
  (or (.isAnnotationPresent method Test) (.isAnnotationPresent method ParameterizedTest)))

(defn- test-of-class?
  [class-name method-name]
  (let [[found & more] (get @classes class-name)]
    (and found
         (nil? more)
         (some #(and (= method-name (.getName ^Method %)) (test-method? %))
               (.getDeclaredMethods (Class/forName found false (.getContextClassLoader (Thread/currentThread))))))))

(defn- test-of-namespace?
  [test-name]
  (:test (meta (try
                 (requiring-resolve (symbol test-name))
                 (catch java.io.FileNotFoundException _)))))

(defn- there?
  "Returns true for the name of a test, or a script."
  [keeper]
  (if-let [[_ class-name method-name] (re-matches #"([A-Z]\w*)\.(\w+)" keeper)]
    (test-of-class? class-name method-name)
    (if (string/starts-with? keeper "test/")
      (.canExecute (io/file (first (string/split keeper #" "))))
      (and (string/includes? keeper "/") (test-of-namespace? keeper)))))

(def ^:private pages ["doc/operations.org" "doc/security.org"])

(deftest each-promise-names-what-keeps-it
  (doseq [page pages
          :let [rows (rows-with page "kept by")]]
    (is (< 15 (count rows)) page)
    (doseq [row rows
            :let [keepers (codes (row "kept by"))]]
      (testing [page row]
        (is (seq keepers))
        (is (= [] (vec (remove there? keepers))))))))

;; ---- options and their defaults

(def ^:private option-tables
  [options/table @#'filter/filter-table @#'record/table @#'database/table])

(defn- grouped
  [number]
  (format "%,d" (biginteger number)))

(defn- in-words
  "Returns a default as the pages write it."
  [words default]
  (cond
    (nil? default) "none"
    (map? default) (string/join " and " (map #(in-words words %) (vals (sort default))))
    (not (int? default)) (str default)
    (and (string/includes? words "milliseconds") (<= 1000 (long default))) (str (grouped (quot (long default) 1000)) " s")
    (string/includes? words "milliseconds") (str default " ms")
    (string/includes? words "bytes")
    (let [n (long default)]
      (cond
        (and (pos? n) (zero? (mod n 1048576))) (str (grouped (quot n 1048576)) " MiB")
        (and (pos? n) (zero? (mod n 1024))) (str (grouped (quot n 1024)) " KiB")
        :else (grouped n)))
    :else (grouped default)))

(defn- defaults-of
  "Returns the defaults of an option, in words, in each table that has it."
  [option]
  (into #{}
        (for [table option-tables
              :let [[words _ default :as row] (table option)]
              :when row]
          (in-words words default))))

(deftest each-option-exists-and-has-the-default-that-is-stated
  (doseq [{cell "option" :as row} (rows-with "doc/operations.org" "option")
          [_ option default] (re-seq #"=:([a-z?-]+)=(?: \(([^)]*)\))?" cell)]
    (testing [row option]
      (is (contains? (defaults-of (keyword option)) default)))))
