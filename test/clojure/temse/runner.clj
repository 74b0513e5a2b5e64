(ns temse.runner
  "Runs the JUnit and the clojure.test suites in one go.

  A suite is a namespace of `test/clojure` whose name ends in `-test`, or a class of
  `test/java` whose name ends in `Test`. What is counted are tests: `deftest` vars and
  JUnit test cases. A `deftest` that checks nothing fails.

  With `TEMSE_REQUIRE_ALL=1` in the environment a skipped test counts as failed."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :as test])
  (:import
   (java.io File PrintWriter StringWriter)
   (org.junit.platform.engine DiscoverySelector TestExecutionResult TestExecutionResult$Status)
   (org.junit.platform.engine.discovery DiscoverySelectors)
   (org.junit.platform.launcher
    Launcher
    LauncherDiscoveryRequest
    TestExecutionListener
    TestIdentifier
    TestPlan)
   (org.junit.platform.launcher.core LauncherDiscoveryRequestBuilder LauncherFactory)))

(set! *warn-on-reflection* true)

(def ^:private require-all?
  (= "1" (System/getenv "TEMSE_REQUIRE_ALL")))

(def ^:private slow-seconds 1.0)

(def ^:private shown-frames 20)

(defn skip!
  "Ends the running `deftest` and counts it as skipped, for the reason given. In a
  `:once` fixture it skips the whole namespace.

    (deftest mail-passes-postfix
      (when-let [reason (postfix/unavailable)]
        (runner/skip! reason))
      …)"
  [reason]
  (throw (ex-info (str "Skipped: " reason) {::skip reason})))

(defn- skip-reason [throwable]
  (->> (iterate ex-cause throwable)
       (take-while some?)
       (some (comp ::skip ex-data))))

;; Outcomes: {:outcome :passed | :failed | :skipped}, printed when they arise

(defn- failed [& lines]
  (run! println lines)
  (println)
  {:outcome :failed})

(defn- skipped [test-name reason]
  (if require-all?
    (failed (str "FAIL " test-name) (str "  skipped, but TEMSE_REQUIRE_ALL=1: " reason))
    (do (println (str "SKIP " test-name ": " reason))
        {:outcome :skipped})))

(defn- without-frames-of-the-runner ^Throwable [^Throwable throwable]
  (let [ours? (fn [^StackTraceElement frame]
                (not (re-find #"^(org\.junit|java\.lang\.reflect|jdk\.internal|clojure\.test\$)"
                              (.getClassName frame))))]
    (doseq [^Throwable t (take-while some? (iterate ex-cause throwable))]
      (.setStackTrace t (->> (.getStackTrace t)
                             (drop-while (complement ours?))
                             (take-while ours?)
                             (take shown-frames)
                             (into-array StackTraceElement))))
    throwable))

(defn- stack-trace [throwable]
  (let [out (StringWriter.)]
    (.printStackTrace (without-frames-of-the-runner throwable) (PrintWriter. out))
    (str/trimr (str out))))

;; clojure.test

(defn- print-report [report event]
  (binding [test/*test-out* *out*
            test/*stack-trace-depth* shown-frames]
    (report event)))

(defn- run-vars
  "Runs the test vars of one namespace with its fixtures. Returns their outcomes."
  [vars]
  (let [outcomes (atom [])
        results (atom nil)
        report test/report
        test-name #(str/join " " (map (comp :name meta) (reverse test/*testing-vars*)))]
    (binding [test/report
              (fn [{:keys [type actual] :as event}]
                (case type
                  :begin-test-var (reset! results [])
                  :pass (swap! results conj :passed)
                  (:fail :error) (if-let [reason (and (= type :error) (skip-reason actual))]
                                   (swap! results conj (:outcome (skipped (test-name) reason)))
                                   (do (print-report report event)
                                       (println)
                                       (swap! results conj :failed)))
                  :end-test-var (swap! outcomes conj
                                       (if (empty? @results)
                                         (failed (str "FAIL " (test-name)) "  it checks nothing")
                                         {:outcome (or (some #{:failed} @results)
                                                       (some #{:skipped} @results)
                                                       :passed)}))
                  nil))]
      (try
        (test/test-vars vars)
        @outcomes
        (catch Throwable e
          (if-let [reason (skip-reason e)]
            (mapv #(skipped (:name (meta %)) reason) vars)
            (conj @outcomes (failed "ERROR in a fixture" (stack-trace e)))))))))

(defn- run-namespace [suite]
  (try
    (require (symbol suite))
    (->> (ns-interns (symbol suite))
         vals
         (filter (comp :test meta))
         (sort-by (comp (juxt :file :line) meta))
         run-vars)
    (catch Throwable e
      [(failed (str "ERROR " suite " does not load") (stack-trace e))])))

;; JUnit

(defn- test-name [^TestPlan plan ^TestIdentifier identifier]
  (->> identifier
       (iterate #(.orElse (.getParent plan %) nil))
       (take-while #(and % (.isPresent (.getParentId ^TestIdentifier %))))
       reverse
       (map #(.getDisplayName ^TestIdentifier %))
       (str/join " > ")))

(defn- cases
  "The number of test cases which an identifier stands for: itself, or those below it."
  [^TestPlan plan ^TestIdentifier identifier]
  (if (.isTest identifier)
    1
    (max 1 (count (filter #(.isTest ^TestIdentifier %) (.getDescendants plan identifier))))))

(defn- junit-listener [outcomes]
  (let [plan (volatile! nil)
        skip (fn [identifier reason]
               (dotimes [_ (cases @plan identifier)]
                 (swap! outcomes conj (skipped (test-name @plan identifier) reason))))]
    (reify TestExecutionListener
      (testPlanExecutionStarted [_ test-plan]
        (vreset! plan test-plan))
      (executionSkipped [_ identifier reason]
        (skip identifier reason))
      (executionFinished [_ identifier result]
        (let [throwable (.orElse (.getThrowable ^TestExecutionResult result) nil)
              status (.getStatus ^TestExecutionResult result)]
          (condp = status
            TestExecutionResult$Status/FAILED
            (swap! outcomes conj (failed (str "FAIL " (test-name @plan identifier))
                                         (stack-trace throwable)))

            TestExecutionResult$Status/ABORTED
            (skip identifier (ex-message throwable))

            TestExecutionResult$Status/SUCCESSFUL
            (when (.isTest ^TestIdentifier identifier)
              (swap! outcomes conj {:outcome :passed}))))))))

(def ^:private launcher
  (delay (LauncherFactory/create)))

(defn- run-class [suite]
  (try
    (let [loader (.getContextClassLoader (Thread/currentThread))
          selector (DiscoverySelectors/selectClass (Class/forName suite false loader))
          request (-> (LauncherDiscoveryRequestBuilder/request)
                      (.selectors ^DiscoverySelector/1 (into-array DiscoverySelector [selector]))
                      (.build))
          outcomes (atom [])]
      (.execute ^Launcher @launcher
                ^LauncherDiscoveryRequest request
                ^TestExecutionListener/1 (into-array [(junit-listener outcomes)]))
      @outcomes)
    (catch Throwable e
      [(failed (str "ERROR " suite " does not run") (stack-trace e))])))

;; Suites

(defn- names
  "The dotted names of the files below a directory whose path ends in `ending`."
  [dir ending]
  (let [dir (io/file dir)
        path #(str (.relativize (.toPath dir) (.toPath ^File %)))]
    (->> (file-seq dir)
         (map path)
         (filter #(str/ends-with? % ending))
         (map #(-> % (str/replace #"\.[a-z]+$" "") (str/replace File/separator ".")))
         sort)))

(defn- suites []
  (concat (for [class (names "test/java" "Test.java")]
            {:suite class, :run run-class})
          (for [file (names "test/clojure" "_test.clj")]
            {:suite (str/replace file "_" "-"), :run run-namespace})))

(defn- named?
  "True if a suite goes by this name; a class also by its name without the package."
  [{:keys [suite]} wanted]
  (or (= suite wanted)
      (= (last (str/split suite #"\.")) wanted)))

(defn- run-suite [{:keys [suite run]}]
  (let [start (System/nanoTime)
        outcomes (frequencies (map :outcome (run suite)))
        seconds (/ (- (System/nanoTime) start) 1e9)]
    (println (cond-> (format "%-60s %4d tests" suite (reduce + (vals outcomes)))
               (< slow-seconds seconds) (str (format "  %.1f s" seconds))))
    outcomes))

(defn- run-suites
  "Runs the suites with these names, or all. Returns the exit code."
  [wanted]
  (let [all (suites)]
    (if-let [unknown (seq (remove (fn [name] (some #(named? % name) all)) wanted))]
      (do (binding [*out* *err*]
            (println "No such test namespace or class:" (str/join ", " unknown)))
          2)
      (let [chosen (filter (fn [suite] (or (empty? wanted) (some #(named? suite %) wanted))) all)
            {:keys [passed failed skipped] :or {passed 0, failed 0, skipped 0}}
            (reduce (partial merge-with +) {} (map run-suite chosen))]
        (println (format "%d passed, %d failed, %d skipped" passed failed skipped))
        (if (and (zero? failed) (pos? passed)) 0 1)))))

(defn run
  "Runs all suites, or those named in `:only`, and ends the JVM: with exit code 0 if
  tests ran and none failed, 2 if there is no such suite, otherwise 1.

    clojure -X:test :only '[temse.milter-test TextTest]'"
  [{:keys [only]}]
  (let [code (run-suites (map str only))]
    (flush)
    (System/exit code)))

(defn -main
  "Runs all suites, or those with the names given. See `run`."
  [& args]
  (run {:only args}))
