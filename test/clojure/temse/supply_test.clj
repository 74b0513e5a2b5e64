(ns temse.supply-test
  "What is fetched is what bin/checksums.sha256 knows, and nothing else is used."
  (:require
   [clojure.data.json :as json]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.support :as support])
  (:import
   (java.io File)
   (java.nio.file Files)
   (java.security MessageDigest)
   (java.util HexFormat)))

(set! *warn-on-reflection* true)

(def ^:private listed
  "Checksums by paths."
  (delay (into {}
               (map #(vec (rseq (string/split % #"  " 2))))
               (string/split-lines (slurp "bin/checksums.sha256")))))

(defn- sha256
  [^File file]
  (.formatHex (HexFormat/of) (.digest (MessageDigest/getInstance "SHA-256") (Files/readAllBytes (.toPath file)))))

(defn- ran
  "Returns the exit code of a command and what it prints."
  [& command]
  (let [process (-> (ProcessBuilder. ^java.util.List command)
                    (.redirectErrorStream true)
                    (doto (-> .environment (.put "JAVA_HOME" (System/getProperty "java.home"))))
                    (.start))
        output (slurp (.getInputStream process))]
    [(.waitFor process) output]))

(deftest every-jar-that-the-tests-run-with-is-in-the-list
  (let [by-name (update-keys @listed #(last (string/split % #"/")))
        jars (filter #(string/ends-with? (.getName ^File %) ".jar")
                     (map io/file (string/split (System/getProperty "java.class.path")
                                                (re-pattern File/pathSeparator))))]
    (is (< 30 (count jars)))
    (doseq [^File jar jars]
      (is (= (by-name (.getName jar)) (sha256 jar)) jar))))

(deftest a-jar-that-is-another-one-or-not-in-the-list-is-refused
  (let [jar (some #(when (re-find #"/tools\.logging-[^/]*\.jar$" %) %)
                  (string/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator)))
        path (first (filter #(string/ends-with? % (.getName (io/file jar))) (keys @listed)))
        verify (fn [file]
                 (ran "bash" "-c" "set -euo pipefail; root=$PWD; source bin/setup.sh; verify \"$1\"; echo right"
                      "supply-test" (str file)))]
    (support/with-directory {(str "repository/" path) "no jar", "repository/a/b/1/b-1.jar" "no jar"}
      (fn [directory]
        (let [[code output] (verify (io/file directory "repository" path))]
          (is (= 2 code))
          (is (string/includes? output "is not the file that it should be: its SHA-256 is"))
          (is (string/includes? output (str "says " (@listed path)))))
        (let [[code output] (verify (io/file directory "repository/a/b/1/b-1.jar"))]
          (is (= 2 code))
          (is (string/includes? output "a/b/1/b-1.jar is not in bin/checksums.sha256"))
          (is (string/includes? output "run bin/checksums")))
        (testing "and the right one is not"
          (io/copy (io/file jar) (io/file directory "repository" path))
          (is (= [0 "right\n"] (verify (io/file directory "repository" path)))))))))

(deftest a-tool-that-is-not-in-the-list-is-not-used-whoever-asks-for-it
  (support/with-directory {"bin/checksums.sha256" "", "tool/pom.xml" "", "repository/a/b/1/b-1.jar" "no jar"}
    (fn [directory]
      (let [[code output] (ran "bash" "-c"
                               "set -euo pipefail
                                root=$1
                                source bin/setup.sh
                                mkdir -p \"$new\"
                                mvn() {
                                  local argument
                                  for argument in \"$@\"; do
                                    [[ $argument != -Dmdep.outputFile=* ]] ||
                                      printf %s \"$root/repository/a/b/1/b-1.jar\" >\"${argument#*=}\"
                                  done
                                }
                                fetch tool || echo without
                                echo \"$fetched is used\""
                               "supply-test" (str directory))]
        (is (= 2 code))
        (is (string/includes? output "a/b/1/b-1.jar is not in bin/checksums.sha256"))
        (is (not (string/includes? output "is used")))))))

(deftest the-list-is-there-as-cyclonedx
  (let [[code output] (ran "bin/checksums" "--bom")
        {:keys [bomFormat components]} (json/read-str output {:key-fn keyword})]
    (is (= [0 "CycloneDX"] [code bomFormat]))
    (is (= (sort (vals @listed)) (sort (map #(get-in % [:hashes 0 :content]) components))))
    (is (= #{"clojure" "core.async" "tools.logging"}
           (set (filter #{"clojure" "core.async" "tools.logging" "re2j" "jazzer"}
                        (map :name (filter #(= "required" (:scope %)) components))))))
    (is (some #{"pkg:maven/com.code-intelligence/jazzer@0.24.0"} (map :purl components)))))

(deftest npm-compares-what-it-fetches
  (let [{:strs [packages]} (json/read-str (slurp "bin/tools/standard-clojure-style/package-lock.json"))]
    (doseq [[path {:strs [integrity]}] (dissoc packages "")]
      (is (re-find #"^sha512-" (str integrity)) path))))
