(ns temse.runner
  "Runs the JUnit and the clojure.test suites in one go.

  A suite is a namespace of `test/clojure` whose name ends in `-test`, or a class of
  `test/java` whose name ends in `Test`. What is counted are tests: `deftest` vars and
  JUnit test cases. A `deftest` that checks nothing fails.

  A suite that hangs ends the run, with the stacks of all threads.

  The terminal shows one line per suite, failures, the slowest tests and the totals. What tests
  and library print or log goes to `target/test-log.txt`.

  With `TEMSE_REQUIRE_ALL=1` in the environment a skipped test counts as failed. Whatever tests
  generate follows from one seed, which is printed: `TEMSE_SEED`, or another one each time."
  (:require
   [clojure.java.io :as io]
   [clojure.main :as main]
   [clojure.string :as str]
   [clojure.test :as test]
   [clojure.test.check.clojure-test :as properties])
  (:import
   (java.io File FileOutputStream OutputStreamWriter PrintStream PrintWriter StringWriter)
   (java.util.concurrent CountDownLatch TimeUnit)
   (java.util.logging LogManager)
   (org.junit.platform.engine DiscoverySelector TestExecutionResult TestExecutionResult$Status)
   (org.junit.platform.engine.discovery DiscoverySelectors)
   (org.junit.platform.launcher Launcher LauncherDiscoveryRequest TestExecutionListener TestIdentifier TestPlan)
   (org.junit.platform.launcher.core LauncherDiscoveryRequestBuilder LauncherFactory)))

(set! *warn-on-reflection* true)

(def ^:private require-all?
  (= "1" (System/getenv "TEMSE_REQUIRE_ALL")))

(def seed
  "The number that whatever tests generate follows from."
  (or (some-> (System/getenv "TEMSE_SEED") parse-long)
      (mod (System/nanoTime) 1000000000)))

(def ^:private slow-seconds 1.0)

(def ^:private slowest-shown 10)

(def ^:private longest-minutes
  "How long a suite may take; the longest need one."
  10)

(def ^:private log-file "target/test-log.txt")

(def ^:private ^PrintStream terminal
  "Where the lines for people go, whatever the tests do with *out*."
  System/out)

(defn say
  "Prints a line on the terminal, for what a person needs to know of a test that passes: its seed."
  [& more]
  (.println terminal (str/join " " more)))

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

;; Outcomes are :passed, :failed and :skipped; what is to be said of one is printed at once,
;; and failures once more at the end

(def ^:private failures (atom []))

(defn- failed [title details]
  (let [failure (str "\nFAIL " title "\n" (str/trim details) "\n")]
    (swap! failures conj failure)
    (say failure))
  :failed)

(defn- skipped [title reason]
  (if require-all?
    (failed title (str "skipped, but TEMSE_REQUIRE_ALL=1: " reason))
    (do (say (str "SKIP " title ": " reason))
        :skipped)))

(defn- trimmed
  "The throwable with the stack frames of the test itself alone."
  ^Throwable [^Throwable throwable]
  (let [foreign? (fn [^StackTraceElement frame]
                   (re-find #"^(org\.junit\.|java\.lang\.reflect\.|jdk\.internal\.|clojure\.test\$)"
                            (.getClassName frame)))]
    (doseq [^Throwable cause (take-while some? (iterate ex-cause throwable))]
      (.setStackTrace cause (->> (.getStackTrace cause)
                                 (drop-while foreign?)
                                 (take-while (complement foreign?))
                                 (take shown-frames)
                                 (into-array StackTraceElement))))
    throwable))

(defn- stack-trace [throwable]
  (let [out (StringWriter.)]
    (.printStackTrace (trimmed throwable) (PrintWriter. out))
    (str out)))

;; How long each test took

(def ^:private durations (atom []))

(defn- seconds-since [start]
  (/ (- (System/nanoTime) (long start)) 1e9))

(defn- took [title start]
  (swap! durations conj {:title title, :seconds (seconds-since start)}))

(defn- slowest []
  (->> @durations
       (filter #(< (double slow-seconds) (double (:seconds %))))
       (sort-by :seconds >)
       (take slowest-shown)))

;; clojure.test

(defn- var-title []
  (let [test-var (first test/*testing-vars*)]
    (str (ns-name (:ns (meta test-var))) "/" (:name (meta test-var)))))

(defn- described
  "What clojure.test prints about a failure or an error, without its title."
  [report {:keys [actual] :as event}]
  (when (instance? Throwable actual)
    (trimmed actual))
  (->> (with-out-str
         (binding [test/*test-out* *out*]
           (report event)))
       str/split-lines
       (remove #(re-find #"^(FAIL|ERROR) in " %))
       (str/join "\n")))

(defn- run-vars
  "Runs test vars of one namespace with its fixtures."
  [vars]
  (let [outcomes (atom [])
        checks (atom [])
        begun (atom nil)
        print-event test/report]
    (binding [test/report
              (fn [{:keys [type actual file line] :as event}]
                (case type
                  :begin-test-var (do (reset! checks [])
                                      (reset! begun (System/nanoTime)))
                  :pass (swap! checks conj :passed)
                  (:fail :error) (swap! checks conj
                                        (if-let [reason (skip-reason actual)]
                                          (skipped (var-title) reason)
                                          (failed (str (var-title) " (" file ":" line ")")
                                                  (described print-event event))))
                  :end-test-var (do (took (var-title) @begun)
                                    (swap! outcomes conj
                                           (or (some #{:failed} @checks)
                                               (some #{:skipped} @checks)
                                               (first @checks)
                                               (failed (var-title) "it checks nothing"))))
                  nil))]
      (try
        (test/test-vars vars)
        @outcomes
        (catch Throwable e
          (if-let [reason (skip-reason e)]
            (into @outcomes (map #(skipped (str (symbol %)) reason)) (drop (count @outcomes) vars))
            (conj @outcomes (failed "a fixture" (stack-trace e)))))))))

(defn- run-namespace [suite]
  (try
    (require (symbol suite))
    (->> (ns-interns (symbol suite))
         vals
         (filter (comp :test meta))
         (sort-by (comp :line meta))
         run-vars)
    (catch Throwable e
      [(failed suite (main/ex-str (main/ex-triage (Throwable->map e))))])))

;; JUnit

(defn- case-title [^TestPlan plan ^TestIdentifier identifier]
  (->> identifier
       (iterate #(.orElse (.getParent plan %) nil))
       (take-while #(and % (.isPresent (.getParentId ^TestIdentifier %))))
       reverse
       (map #(.getDisplayName ^TestIdentifier %))
       (str/join " > ")))

(defn- cases
  "The test cases which an identifier stands for: itself, or those below it."
  [^TestPlan plan ^TestIdentifier identifier]
  (or (seq (filter #(.isTest ^TestIdentifier %) (.getDescendants plan identifier)))
      [identifier]))

(defn- junit-listener [outcomes]
  (let [plan (volatile! nil)
        begun (atom {})
        title #(case-title @plan %)
        skip (fn [identifier reason]
               (doseq [test-case (cases @plan identifier)]
                 (swap! outcomes conj (skipped (title test-case) reason))))]
    (reify TestExecutionListener
      (testPlanExecutionStarted [_ test-plan]
        (vreset! plan test-plan))
      (executionSkipped [_ identifier reason]
        (skip identifier reason))
      (executionStarted [_ identifier]
        (swap! begun assoc identifier (System/nanoTime)))
      (executionFinished [_ identifier result]
        (when (.isTest ^TestIdentifier identifier)
          (took (title identifier) (@begun identifier)))
        (let [throwable (.orElse (.getThrowable ^TestExecutionResult result) nil)]
          (condp = (.getStatus ^TestExecutionResult result)
            TestExecutionResult$Status/FAILED
            (swap! outcomes conj (failed (title identifier) (stack-trace throwable)))

            TestExecutionResult$Status/ABORTED
            (skip identifier (ex-message throwable))

            TestExecutionResult$Status/SUCCESSFUL
            (when (.isTest ^TestIdentifier identifier)
              (swap! outcomes conj :passed))))))))

(def ^:private launcher
  (delay (LauncherFactory/create)))

(defn- run-class [suite]
  (try
    (let [loader (.getContextClassLoader (Thread/currentThread))
          selector (DiscoverySelectors/selectClass (Class/forName suite false loader))
          request (-> (LauncherDiscoveryRequestBuilder/request)
                      (.selectors ^"[Lorg.junit.platform.engine.DiscoverySelector;" (into-array DiscoverySelector [selector]))
                      (.build))
          outcomes (atom [])]
      (.execute ^Launcher @launcher
                ^LauncherDiscoveryRequest request
                ^"[Lorg.junit.platform.launcher.TestExecutionListener;" (into-array [(junit-listener outcomes)]))
      @outcomes)
    (catch Throwable e
      [(failed suite (stack-trace e))])))

;; Suites

(defn- names
  "The dotted names of the files below a directory whose path has this ending."
  [dir ending]
  (let [dir (io/file dir)
        path #(str (.relativize (.toPath dir) (.toPath ^File %)))]
    (->> (file-seq dir)
         (map path)
         (filter #(str/ends-with? % ending))
         (map #(-> % (str/replace #"\.[a-z]+$" "") (str/replace File/separator ".")))
         sort)))

(defn namespaces
  "The names of the namespaces in the files below a directory whose path has this ending.

    (namespaces \"src/clojure\" \".clj\")   ; => (\"temse.action\" …)"
  [dir ending]
  (map #(str/replace % "_" "-") (names dir ending)))

(defn- suites []
  (concat (for [class (names "test/java" "Test.java")]
            {:suite class, :run run-class})
          (for [namespace (namespaces "test/clojure" "_test.clj")]
            {:suite namespace, :run run-namespace})))

(defn- named?
  "True if a suite goes by this name; a class also by its name without the package."
  [{:keys [suite]} wanted]
  (or (= suite wanted)
      (= (last (str/split suite #"\.")) wanted)))

(defn- print-stacks []
  (doseq [[^Thread thread frames] (Thread/getAllStackTraces)]
    (say (str "\n" thread))
    (run! #(say (str "    at " %)) frames)))

(defn- watched
  "Calls f, and ends the JVM, with the stacks of all threads, if it has not returned in time."
  [suite f]
  (let [done (CountDownLatch. 1)
        watch (Thread. ^Runnable (fn []
                                   (when-not (.await done (long longest-minutes) TimeUnit/MINUTES)
                                     (print-stacks)
                                     (failed suite (format "not done after %d minutes; %s"
                                                           longest-minutes
                                                           "the stacks of all threads are above"))
                                     (say "0 passed, 1 failed, 0 skipped")
                                     (.halt (Runtime/getRuntime) 1))))]
    (doto watch
      (.setDaemon true)
      (.start))
    (try
      (f)
      (finally
        (.countDown done)))))

(defn- run-suite [{:keys [suite run]}]
  (let [start (System/nanoTime)
        outcomes (watched suite #(run suite))
        seconds (seconds-since start)
        {:keys [failed skipped]} (frequencies outcomes)]
    (say (str suite " " (count outcomes) " tests"
              (when failed (str ", " failed " failed"))
              (when skipped (str ", " skipped " skipped"))
              (when (< (double slow-seconds) (double seconds)) (format ", %.1f s" seconds))))
    outcomes))

(defn- print-totals [{:keys [passed failed skipped] :or {passed 0, failed 0, skipped 0}} seconds]
  (when-let [slow (seq (slowest))]
    (say "\nSlowest tests:")
    (doseq [{:keys [title seconds]} slow]
      (say (format "%7.1f s  %s" seconds title))))
  (when (seq @failures)
    (say "\nFailures:")
    (run! say @failures))
  (say (format "\n%.0f s; output and logs of the tests are in %s" seconds log-file))
  (say (format "%d passed, %d failed, %d skipped" passed failed skipped)))

(defn- run-suites
  "Runs the suites that go by the names given, or all. Returns the exit code."
  [wanted]
  (let [all (suites)
        unknown (remove (fn [name] (some #(named? % name) all)) wanted)]
    (if (seq unknown)
      (do (say "No such test namespace or class:" (str/join ", " unknown))
          2)
      (let [chosen? (fn [suite] (or (empty? wanted) (some #(named? suite %) wanted)))
            start (System/nanoTime)
            _ (say (str "TEMSE_SEED=" seed))
            {:keys [passed failed] :or {passed 0, failed 0} :as totals}
            (frequencies (mapcat run-suite (filter chosen? all)))]
        (print-totals totals (seconds-since start))
        (if (and (pos? (long passed)) (zero? (long failed))) 0 1)))))

(defn- into-log-file
  "Has the library's log, and what else is printed, written to the log file; calls f."
  [f]
  (io/make-parents log-file)
  (let [stream (PrintStream. (FileOutputStream. ^String log-file) true)
        writer (OutputStreamWriter. stream)]
    (System/setOut stream)
    (System/setErr stream)
    (System/setProperty "java.util.logging.config.file" "test/resources/logging.properties")
    (.readConfiguration (LogManager/getLogManager))
    (run! #(alter-var-root % (constantly writer)) [#'*out* #'*err* #'test/*test-out*])
    (binding [*out* writer
              *err* (PrintWriter. writer true)
              properties/*default-opts* (assoc properties/*default-opts* :seed seed)]
      (f))))

(defn run
  "Runs all suites, or those named in `:only`, and ends the JVM: with exit code 0 if
  tests ran and none failed, 2 if there is no such suite, otherwise 1.

    clojure -X:test :only '[temse.milter-test TextTest]'"
  [{:keys [only]}]
  (System/exit (into-log-file #(run-suites (map str only)))))

(defn -main
  "Runs all suites, or those with the names given. See `run`."
  [& args]
  (run {:only args}))
