(ns temse.init-test
  "temse init: the project that it makes is tested and served by the commands of its README, word for word."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.impl.command.init :as init]
   [temse.impl.command.test :as test-command]
   [temse.support :as support :refer [thrown with-directory]]
   [temse.test :as mt])
  (:import
   (java.io BufferedReader)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(defn- made
  "Makes a project in a directory, as bin/temse of this tree does, and returns the lines that are printed."
  [& args]
  (let [before (System/getProperty "temse.root")]
    (try
      (System/setProperty "temse.root" (.getCanonicalPath (io/file ".")))
      (string/split-lines (with-out-str (init/run (map str args))))
      (finally
        (if before
          (System/setProperty "temse.root" before)
          (System/clearProperty "temse.root"))))))

(defn- commands
  "Returns the commands of a README, those that have to do with a port at a port."
  [directory port]
  (map second (re-seq #"(?m)^    (.*)$" (string/replace (slurp (io/file directory "README.md")) "20025" (str port)))))

(defn- shell
  ^Process [directory command]
  (let [words ["sh" "-c" (str "exec " command)]]
    (.start (doto (ProcessBuilder. ^java.util.List words)
              (.directory (io/file directory))
              (.redirectErrorStream true)))))

(defn- finished
  "Returns the exit code and the output of a command."
  [directory command]
  (let [process (shell directory command)
        output (slurp (.getInputStream process))]
    (.waitFor process 60 TimeUnit/SECONDS)
    [(.exitValue process) output]))

(defn- await-line
  [^BufferedReader output pattern]
  (loop [lines []]
    (let [line (or (.readLine output) (throw (ex-info (string/join "\n" lines) {})))]
      (if (re-find pattern line)
        line
        (recur (conj lines line))))))

(defn- check-readme
  "Runs the commands of a new project, and calls f with the output of the process that serves it, its port, and the
  exit code and output of the command that sends a mail."
  [directory f]
  (let [port (support/free-port)
        [test run send] (commands directory port)
        settings (io/file directory "temse.edn")]
    (spit settings (string/replace (slurp settings) "20025" (str port)))
    (testing "its tests pass"
      (let [[code output] (finished directory test)]
        (is (= 0 code) output)
        (is (re-find #"Ran 3 tests" output))))
    (let [process (shell directory run)]
      (try
        (with-open [output (io/reader (.getInputStream process))]
          (await-line output #"listens on")
          (f output port (finished directory send)))
        (.destroy process)
        (is (.waitFor process 30 TimeUnit/SECONDS))
        (finally
          (.destroyForcibly process))))))

(deftest a-new-project-works-as-its-readme-says
  (with-directory {}
    (fn [directory]
      (let [project (io/file directory "my filter")]
        (is (= (str (io/file project "README.md") " says how to test and serve it") (last (made project))))
        (is (<= (count (string/split-lines (slurp (io/file project "README.md")))) 12))
        (check-readme project
          (fn [_ _ [code output]]
            (is (= 1 code))
            (is (string/includes? output "550 5.7.1 We do not talk about lottery"))))
        (testing "and nothing is overwritten"
          (is (re-find #"deps.edn is there already, and init overwrites nothing" (:message (thrown (made project)))))
          (io/delete-file (io/file project "deps.edn"))
          (is (re-find #"is there already" (:message (thrown (made project)))))
          (is (not (.exists (io/file project "deps.edn")))))))))

(deftest a-new-project-of-scripts-works-and-its-scripts-and-settings-change-while-it-runs
  (with-directory {}
    (fn [directory]
      (let [project (io/file directory "scripts")
            settings (io/file project "temse.edn")
            marks #(map :value (:modifications (mt/run-message (str "inet:" %1 "@127.0.0.1") %2)))]
        (made project "--scripts")
        (check-readme project
          (fn [output port [code sent]]
            (is (= 1 code))
            (is (string/includes? sent "550 5.7.1 We have heard enough from you"))
            (is (= ["passed, 1 recipients"] (marks port {})))
            (testing "a script"
              (spit (io/file project "handler/end_of_message.clj") "[(add-header \"X\" \"new\")]")
              (await-line output #"milter at \S+ reloaded in .* after a change of .*end_of_message.clj")
              (is (= ["new"] (marks port {}))))
            (testing "the settings, which are refused as a whole where something is wrong"
              (let [text (slurp settings)]
                (spit settings (string/replace text ":mail " ":mial "))
                (is (re-find #"not reloaded after a change of .*temse.edn, .* temse.edn:\d+: there is no setting :mial; did you mean :mail\?"
                             (await-line output #"not reloaded")))
                (is (= [] (marks port {:sender "<spam-from@example.com>"})))
                (spit settings (string/replace text #":mail .*" ""))
                (await-line output #"milter at \S+ reloaded")
                (is (= ["new"] (marks port {:sender "<spam-from@example.com>"})))))))))))

(deftest what-cannot-be-made-or-tested-is-said
  (is (re-find #"name one directory" (:message (thrown (made)))))
  (is (re-find #"build.clj: it is a file; name a directory" (:message (thrown (made "build.clj")))))
  (is (re-find #"it takes no x" (:message (thrown (test-command/run ["x"]))))))
