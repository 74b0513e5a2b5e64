(ns temse.fuzz-test
  "No input below test/fuzz breaks a property of its target; and Jazzer, where it can be had, finds no other that
  does in a short time."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.fuzz.support :refer [must]]
   [temse.fuzz.targets :as targets]
   [temse.runner :as runner])
  (:import
   (java.io File)
   (java.nio.file Files)))

(set! *warn-on-reflection* true)

(defn- inputs
  "Returns the files below test/fuzz that are inputs of a target."
  [title]
  (sort (filter #(.isFile ^File %) (file-seq (io/file "test/fuzz" title)))))

(defn- problem
  "Returns what a target says about an input, or nil."
  [target ^File file]
  (try
    (target (Files/readAllBytes (.toPath file)))
    nil
    (catch Throwable e
      [(str file) (str e)])))

(deftest no-input-that-is-kept-breaks-a-property
  (doseq [title (keys targets/targets)
          :let [target (targets/checked title)]]
    (testing title
      (is (seq (inputs title)))
      (is (= [] (keep #(problem target %) (inputs title)))))))

(deftest every-directory-of-inputs-belongs-to-a-target
  (is (= (set (keys targets/targets))
         (set (keep #(when (.isDirectory ^File %) (.getName ^File %)) (.listFiles (io/file "test/fuzz"))))))
  (testing "and together they are small"
    (is (< (transduce (map #(.length ^File %)) + (mapcat inputs (keys targets/targets)))
           300000))))

(deftest a-broken-property-throws
  (is (thrown-with-msg? AssertionError #"does not hold: 2" (must (= 1 2) 2)))
  (testing "and so does memory out of proportion"
    (let [allocating (fn [n] (fn [_] (byte-array n)))]
      (is (thrown-with-msg? AssertionError #"allocates 200\d+ bytes, more than 18\d+, for 10" ((targets/bounded (allocating 20000000)) (byte-array 10))))
      (is (nil? ((targets/bounded (allocating 20000000)) (byte-array 1000))))))
  (testing "which is not what loading takes once"
    (let [loaded? (atom false)]
      (is (nil? ((targets/bounded (fn [_] (when-not @loaded? (reset! loaded? true) (byte-array 20000000))))
                 (byte-array 10))))))
  (testing "a target that does not exist is refused"
    (is (thrown-with-msg? IllegalArgumentException #"no target pakets; there are packets" (targets/checked "pakets")))))

(deftest the-first-byte-chooses-among-all-targets
  (let [chosen (atom [])]
    (with-redefs [targets/bounded (fn [f] (fn [input] (swap! chosen conj [(symbol f) (vec input)])))]
      (let [all (targets/checked "all")]
        (doseq [title ["packets" "milter-regex"]]
          (all (byte-array [(targets/letter title) 1 2])))
        (all (byte-array 0))
        (all (byte-array [0 1]))))
    (is (= '[[temse.fuzz.wire/packets [1 2]] [temse.fuzz.files/milter-regex [1 2]]] @chosen))))

;; ---- bin/fuzz

(defn- bin-fuzz
  "Returns the exit code and the output of bin/fuzz."
  [& arguments]
  (let [process (-> (ProcessBuilder. ^java.util.List (into ["bin/fuzz"] arguments))
                    (doto (-> .environment (.put "JAVA_HOME" (System/getProperty "java.home"))))
                    (.redirectErrorStream true)
                    (.start))
        output (slurp (.getInputStream process))]
    [(.waitFor process) output]))

(deftest jazzer-finds-nothing-in-a-short-time
  (let [[code output] (bin-fuzz (if (= "1" (System/getenv "TEMSE_REQUIRE_ALL")) "1" "0.2") "engine")]
    (when (= 3 code)
      (runner/skip! output))
    (is (= 0 code) output)
    (is (re-find #"(?m)^engine +[1-9]\d* inputs .* coverage +[1-9]" output))
    (runner/say (str "  " (string/trim output)))))

(deftest wrong-arguments-of-bin-fuzz-are-named
  (is (= [0 (string/join (map #(str % "\n") (keys targets/targets)))] (bin-fuzz "--list")))
  (doseq [[arguments message] {["0"] #"positive number such as 10 or 0.5, not 0"
                               ["-1"] #"positive number"
                               ["1" "pakets"] #"there is no target pakets; there are packets events"
                               [] #"usage: bin/fuzz MINUTES"
                               ["1" "packets" "events"] #"usage"
                               ["--list" "x"] #"usage"
                               ["--repeat" "none" "packets"] #"cannot read none"
                               ["--keep" "pakets"] #"there is no target pakets"}
          :let [[code output] (apply bin-fuzz arguments)]]
    (is (= 2 code) arguments)
    (is (re-find message output))))
