(ns temse.architecture-test
  "doc/architecture.org lists every file of src and of the gallery with the first sentence of the file
  itself."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is]])
  (:import
   (java.io File)))

(set! *warn-on-reflection* true)

(def ^:private page "doc/architecture.org")

(def ^:private heading "* Files\n")

(defn- first-sentence
  [text]
  (let [paragraph (-> text (string/split #"\n\s*\n|<p>") first (string/replace #"\s+" " ") string/trim)]
    (or (re-find #"^.*?\.(?= [A-Z]|$)" paragraph) paragraph)))

(defn- clojure-text
  [source]
  (some-> (second (re-find #"^\(ns \S+\s+\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)\"" source))
          (string/replace "\\\"" "\"")))

(defn- java-text
  "Returns the Javadoc comment of the type, which is the first one that stands at the margin."
  [source]
  (some-> (second (re-find #"(?s)(?:^|\n)/\*\*(.*?)\*/" source))
          (string/replace #"\n\s*\* ?" "\n")
          (string/replace #"\{@(?:link|code) #?([^}]*)\}" "$1")))

(defn- description
  [^File file]
  (let [source (slurp file)]
    (first-sentence (or (if (string/ends-with? (.getName file) ".clj")
                          (clojure-text source)
                          (java-text source))
                        ""))))

(defn- files
  "Returns [directory name description] of each source file, in order."
  []
  (->> (mapcat #(file-seq (io/file %)) ["src" "gallery"])
       (filter #(re-find #"\.(clj|java)$" (.getName ^File %)))
       (map (fn [^File file]
              [(.getParent file) (.getName file) (description file)]))
       (sort-by (fn [[directory file]] [(= "gallery" directory) directory file]))))

(defn- list-of-files
  "Returns the list of files as it is to stand in the page."
  []
  (string/join
    (for [entries (partition-by first (files))]
      (str "** =" (ffirst entries) "=\n\n"
           (string/join (map (fn [[_ file text]] (str "- =" file "= :: " text "\n")) entries))
           "\n"))))

(def ^:private introduction
  "What stands in the page before the list."
  (delay (let [text (slurp page)
               end (string/index-of text "\n** =src/")]
           (subs text 0 (if end (inc (long end)) (count text))))))

(defn write!
  "Writes the list of files into the page."
  ([] (write! nil))
  ([_] (spit page (str @introduction (string/trimr (list-of-files)) "\n"))))

(deftest every-file-says-in-a-sentence-what-it-is
  (doseq [[directory file text] (files)]
    (is (re-find #"^[A-Z].{10,}[.?:]$" text) (str directory "/" file ": " text))))

(deftest the-page-lists-every-file
  (is (string/includes? @introduction heading))
  (is (= (str @introduction (string/trimr (list-of-files)) "\n") (slurp page))
      "evaluate (temse.architecture-test/write!)"))
