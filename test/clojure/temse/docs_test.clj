(ns temse.docs-test
  "The documentation tells the truth: its programs run and yield what they say, its tables name what
  there is, and its links lead somewhere.

  In a block of Clojure, `;=> VALUE` after a form is what the form yields; the forms of a file are
  evaluated in order. What stands under #+RESULTS: is what the block prints, and what a REPL prints of the
  value of its last form; times, port numbers, and where a function was defined may differ. The port 20025
  is replaced by any free one."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :as test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.options :as options]
   [temse.milter :as milter]
   [temse.project :as project]
   [temse.runner :as runner]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io BufferedReader File PushbackReader StringReader StringWriter)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util List)
   (java.util.concurrent TimeUnit)
   (javax.tools ToolProvider)
   (temse.protocol MilterException$Category)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def ^:private process-timeout-seconds 300)

;; Reading Org files

(def ^:private documents
  (->> (file-seq (io/file "doc"))
       (filter #(str/ends-with? (str %) ".org"))
       (map str)
       sort
       (into ["README.org" "CHANGELOG.org"])))

(defn- blocks
  "Returns the source blocks of a file in a language: maps of :text, and :results if they follow."
  [language file]
  (for [[_ text results]
        (re-seq (re-pattern (str "(?s)#\\+begin_src " language "\n(.*?)#\\+end_src\n"
                                 "(?:\n#\\+RESULTS:\n((?:: [^\n]*\n)+))?"))
                (slurp file))]
    {:text (str/replace text "20025" "0")
     :results (some-> results (str/replace #"(?m)^: " ""))}))

(defn- section
  "Returns the text between a heading and the next one."
  [file heading]
  (->> (str/split (slurp file) #"(?m)^\*+ ")
       (filter #(str/starts-with? % (str heading "\n")))
       first))

(defn- rows
  "Returns the rows of the tables in a text, without their heads, as vectors of cells."
  [text]
  (->> (str/split-lines text)
       (partition-by #(str/starts-with? % "|"))
       (filter #(str/starts-with? (first %) "|"))
       (mapcat #(drop 2 %))
       (map (fn [line]
              (mapv str/trim (str/split (subs line 1 (dec (count line))) #"\|" -1))))))

(defn- value
  "Returns what the one code in a cell stands for, nil for an empty cell."
  [cell]
  (some-> (re-matches #"=(.*)=" cell) second edn/read-string))

(defn- values [cell]
  (map (comp edn/read-string second) (re-seq #"=(.*?)=" cell)))

;; Programs

(defn- check-test
  "Runs a test that a program has defined."
  [test-var]
  (let [reports (atom [])]
    (binding [test/report #(swap! reports conj (:type %))]
      (test/test-var test-var))
    (is (= [:begin-test-var :pass :end-test-var] (dedupe @reports)) test-var)))

(defn- check-forms
  "Evaluates the forms of a text, runs the tests that they define, checks what they are said to yield,
  and returns the value of the last."
  [text]
  (let [reader (-> text
                   (str/replace ";=>" (str ::yields))
                   (str/replace #"(?m)^;     " "")
                   (StringReader.)
                   (PushbackReader.))]
    (loop [yielded nil]
      (let [form (read {:eof ::end} reader)]
        (case form
          ::end yielded
          ::yields (do (is (= (read reader) yielded))
                       (recur nil))
          (let [result (eval form)]
            (when (and (var? result) (:test (meta result)))
              (check-test result))
            (recur result)))))))

(defn- without-what-differs
  "Returns what was printed without what is different each time."
  [printed]
  (-> printed
      (str/replace #"\d+\.\d ms" "0.1 ms")
      (str/replace #"inet:\d+@" "inet:0@")
      (str/replace #"(?<=192\.0\.2\.1 )\d+" "49152")
      (str/replace #"#inst \"[^\"]+\"" "#inst")
      (str/replace #"[^\s']+/(on-[-\w]+)(?: \([^\s)]+\))?" "$1")))

(defn- check-block
  "Evaluates a block, whose output goes to *out*, a StringWriter, and checks its results."
  [{:keys [text results]}]
  (.setLength (.getBuffer ^StringWriter *out*) 0)
  (let [yielded (check-forms text)]
    (when results
      (is (= (without-what-differs results)
             (without-what-differs (str *out* (pr-str yielded) "\n")))
          text))))

(defn- check-programs
  "Evaluates the Clojure of a file and returns what it logs."
  [file]
  (support/with-logs records
    (binding [*ns* (create-ns (gensym "temse.docs."))
              *out* (StringWriter.)
              *warn-on-reflection* false]
      (refer-clojure)
      (run! check-block (blocks "clojure" file)))
    @records))

(deftest programs-in-clojure-yield-what-is-said
  (doseq [file documents]
    (testing file
      (let [errors (filter #(= :error (:level %)) (check-programs file))]
        ;; some documents show what a mistake leads to
        (is (= (get {"README.org" 1, "doc/testing.org" 1, "doc/repl.org" 1} file 0) (count errors)) errors)))))

(defn- start-process ^Process [^File directory & command]
  (-> (ProcessBuilder. ^List (vec command))
      (.directory directory)
      (.redirectErrorStream true)
      (doto (-> .environment (.put "JAVA_HOME" (System/getProperty "java.home"))))
      (.start)))

(defn- await-exit [^Process process]
  (when-not (.waitFor process process-timeout-seconds TimeUnit/SECONDS)
    (.destroyForcibly process)
    (throw (ex-info "The process does not end" {})))
  (.exitValue process))

(defn- await-address
  "Returns the address that a process says it listens on."
  [^BufferedReader output]
  (loop [lines []]
    (let [line (or (.readLine output)
                   (throw (ex-info (str/join "\n" (cons "It does not listen" lines)) {})))]
      (or (second (re-find #"listens on (\S+)" line))
          (recur (conj lines line))))))

(defn- play-to
  "Returns what becomes of a mail that is played to a filter of another process, which then ends."
  [^Process process]
  (with-open [output (io/reader (.getInputStream process))]
    (try
      (mt/run-message (await-address output) {:headers [["Subject" "You hit the jackpot"]]})
      (finally
        (.destroy process)))))

(deftest commands-of-the-readme-do-what-is-said
  (doseq [command (mapcat (comp str/split-lines :text) (blocks "sh" "README.org"))
          :let [[program subcommand file :as words] (str/split command #" ")
                root (.getAbsoluteFile (io/file "."))]]
    (testing command
      (is (.canExecute (io/file program)))
      (case [program subcommand]
        ["bin/test" nil]
        nil ; that is what is running now

        ["bin/temse" "demo"]
        (let [^Process process (apply start-process root words)
              output (slurp (.getInputStream process))]
          (is (= ["accepted" "refused" "deferred"] (map second (re-seq #"=> (\w+) at" output))))
          (is (= 0 (await-exit process))))

        ["bin/temse" "run"]
        (let [process (apply start-process root words)]
          (is (= (case file
                   "examples/add_header.clj" :accept
                   "examples/refuse_words.clj" :reject)
                 (:verdict (play-to process))))
          (is (= 0 (await-exit process))))))))

(def ^:private javac-options
  ["--release" "17" "-Xlint:all,-path" "-Werror"])

(defn- run-java
  "Starts the Java program of a text, whose class is named in it."
  ^Process [text]
  (let [directory (.toFile (Files/createTempDirectory "temse-docs-" (make-array FileAttribute 0)))
        class-name (second (re-find #"final class (\w+)" text))
        source (io/file directory (str class-name ".java"))
        class-path (System/getProperty "java.class.path")]
    (spit source text)
    (is (= 0 (.run (ToolProvider/getSystemJavaCompiler)
                   nil
                   nil
                   nil
                   (into-array (conj javac-options "-cp" class-path (str source))))))
    (start-process (.getAbsoluteFile (io/file "."))
                   (str (io/file (System/getProperty "java.home") "bin" "java"))
                   "-cp"
                   (str directory File/pathSeparator class-path)
                   class-name)))

(deftest programs-in-java-compile-and-do-what-is-said
  (doseq [file documents
          {:keys [text results]} (blocks "java" file)]
    (testing file
      (let [process (run-java text)]
        (if results
          (is (= results (slurp (.getInputStream process))))
          (is (= [:add-header] (map :action (:modifications (play-to process))))))))))

;; The command line

(defn- run-command
  "Runs a command line of temse in this process, and returns its exit code and what it prints."
  [title args]
  (let [run (requiring-resolve (symbol (str "temse.impl.command." title) "run"))
        out (StringWriter.)]
    [(binding [*out* out] (run args)) (str out)]))

(deftest commands-print-what-is-said
  (let [shown (filter :results (blocks "sh" "doc/commands.org"))]
    (is (seq shown))
    (doseq [{:keys [text results]} shown
            :let [[_ title & args] (str/split (str/trim text) #" ")]]
      (testing text
        (is (= [0 results] (run-command title args)))))))

(deftest scripts-of-smtp-meet-their-expectations
  (doseq [{:keys [text results]} (blocks "smtp" "doc/smtp.org")
          :let [script (File/createTempFile "temse-docs-" ".smtp")]]
    (testing text
      (spit script text)
      (is (= [0 (or results "")]
             (run-command "smtp" (concat ["examples/refuse_words.clj" (str script)]
                                         (when-not results ["-q"])
                                         ["--" "lottery" "jackpot"]))))
      (io/delete-file script))))

;; What goes into the files of others

(deftest coordinates-are-right
  (let [version (str/trim (slurp (io/resource "temse/VERSION")))
        [deps lein] (map (comp edn/read-string :text) (blocks "edn" "README.org"))
        texts #(map :text (blocks %1 %2))]
    (is (= {:deps {'temse/temse {:mvn/version version}}} deps))
    (is (= ['temse version] lein))
    (doseq [xml (concat (texts "xml" "README.org") (texts "xml" "doc/java.org"))]
      (is (= ["temse" "temse" version]
             (rest (re-find #"<groupId>(.*?)</groupId>\s*<artifactId>(.*?)</artifactId>\s*<version>(.*?)</version>" xml)))))
    (is (= ["temse" "temse" version]
           (rest (re-find #"implementation\(\"(.*?):(.*?):(.*?)\"\)" (first (texts "groovy" "README.org"))))))
    (testing "and a Maven project of the tests excludes what Java does not need"
      (let [exclusions #(first (re-seq #"(?s)<exclusions>.*</exclusions>" (str/replace % #"\s+" "")))]
        (is (= (exclusions (slurp (io/resource "consumer/pom.xml")))
               (exclusions (first (texts "xml" "doc/java.org")))))))))

(defn- parameters
  "Returns the parameters of Postfix that the README names, all values of each."
  []
  (->> (blocks "conf" "README.org")
       (mapcat (comp str/split-lines :text))
       (map #(str/split % #" = " 2))
       (reduce (fn [all [parameter value]] (update all parameter (fnil conj []) value)) {})))

(deftest postfix-works-with-the-lines-of-the-readme
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (let [lines (parameters)
        [tcp unix] (get lines "smtpd_milters")
        on-end-of-message (fn [_event context]
                            (let [client (milter/get-macro context "client_addr")]
                              [(act/add-header "X-Client" client)]))]
    (is (Endpoint/parse unix))
    (milter/with-milter [filter {:port 0, :handlers {:end-of-message on-end-of-message}}]
      (let [milters (str/replace tcp #"0$" (str (milter/milter-port filter)))]
        (with-open [sink (sink/start)
                    postfix (postfix/start
                              {:sink sink
                               :main (assoc (update-vals lines first) "smtpd_milters" milters)})]
          (smtp/send-mail {:port (:port postfix)})
          (is (some #{["X-Client" " 127.0.0.1"]}
                    (sink/headers (sink/await-message sink some?)))))))))

(deftest sendmail-understands-the-lines-of-the-readme
  (when-let [reason (sendmail/unavailable)]
    (runner/skip! reason))
  (let [programs (io/file "target/sendmail/usr")
        directory (.getAbsoluteFile (io/file programs "share/sendmail/cf"))
        lines (str/join (map :text (blocks "m4" "README.org")))
        process (start-process directory
                               (str (.getAbsoluteFile (io/file programs "bin/m4")))
                               (str "-D_CF_DIR_=" directory "/")
                               "m4/cf.m4"
                               "-")]
    (with-open [input (io/writer (.getOutputStream process))]
      (.write input (str "OSTYPE(`linux')dnl\n" lines)))
    (let [[_ socket] (re-find #"S=([^,']+)" lines)
          configuration (set (str/split-lines (slurp (.getInputStream process))))]
      (is (= 0 (await-exit process)))
      (is (Endpoint/parse socket))
      (is (contains? configuration (str "Xtemse, S=" socket ", F=T, T=S:30s;R:30s;E:5m")))
      (is (some #(re-matches #"O Milter\.macros\.connect=j, _, .*, \{client_addr\}" %) configuration)))))

;; Tables

(deftest options-are-documented-with-their-defaults
  (is (= (update-vals options/table peek)
         (into {}
               (map (fn [[option _ default]] [(value option) (eval (value default))]))
               (rows (slurp "doc/options.org"))))))

(deftest keys-of-temse-edn-are-documented-with-what-they-must-be-and-their-defaults
  (is (= (update-vals project/table (fn [[words _ default]] [words default]))
         (into {}
               (map (fn [[k words default]] [(value k) [(str/replace words "=" "") (eval (value default))]]))
               (rows (section "doc/configuration.org" "Keys"))))))

(deftest settings-of-temse-edn-that-cannot-change-are-documented
  (is (= (into #{:listen} (filter project/table) (conj options/fixed :name))
         (->> (section "doc/configuration.org" "Changes while it runs")
              (re-find #"(?s)cannot change: (.*?)\. Such")
              second
              values
              set))))

(deftest docstring-of-start-milter-names-all-options
  (is (= (set (keys options/table))
         (->> (:doc (meta #'milter/start-milter))
              (re-seq #"(?m)(?<=^    ):\S+")
              (into #{} (map edn/read-string))))))

(deftest all-events-are-documented
  (is (= (update-vals milter/events #(dissoc % :replies :owes-reply?))
         (into {}
               (map (fn [[event _ code suppressed-by no-reply-by since-version]]
                      [(value event) {:code (some-> (value code) str first)
                                      :suppressed-by (not-empty suppressed-by)
                                      :no-reply-by (not-empty no-reply-by)
                                      :since-version (parse-long since-version)}]))
               (rows (section "doc/spec.org" "Events"))))))

(deftest all-actions-are-documented
  (is (= (update-vals milter/actions #(update % :code str))
         (into {}
               (map (fn [[action code kind flag constant]]
                      [(value action) {:code (str (value code))
                                       :kind (keyword kind)
                                       :flag (value flag)
                                       :constant (not-empty constant)}]))
               (rows (section "doc/spec.org" "Actions"))))))

(deftest legal-replies-are-documented
  (is (= (into {} (keep (fn [[event {:keys [replies]}]] (when (seq replies) [event replies])))
               milter/events)
         (into {}
               (map (fn [[event replies]] [(value event) (set (values replies))]))
               (rows (section "doc/spec.org" "Which reply may answer which event"))))))

(deftest all-errors-are-documented
  (is (= (map #(.-keyword ^MilterException$Category %) (MilterException$Category/values))
         (map (comp value first) (rows (section "doc/spec.org" "Errors"))))))

(deftest keys-are-documented-for-what-there-is
  (let [named (fn [heading]
                (->> (slurp "doc/spec.org")
                     (re-find (re-pattern (str "(?s)\n\\* " heading "\n.*?\n\\*\\* Keys\n(.*?)\n\\*")))
                     second
                     rows
                     (keep (comp value first))))]
    (is (every? milter/events (named "Events")))
    (is (every? milter/actions (named "Actions")))))

;; Links

(defn- headings [file]
  (set (map second (re-seq #"(?m)^\*+ (.*)$" (slurp file)))))

(deftest links-lead-somewhere
  (doseq [file documents
          [link path heading] (re-seq #"\[\[(?:file:([^]:]+))?(?:::)?(?:\*([^]]+))?\]\[" (slurp file))
          :let [directory (.getParentFile (.getAbsoluteFile (io/file file)))
                target (if path (io/file directory path) (io/file file))]]
    (testing (str file " " link)
      (is (.exists target))
      (when heading
        (is (contains? (headings target) heading))))))

;; Docstrings

(def ^:private public-namespaces
  (delay
    (let [root (.toPath (io/file "src/clojure"))
          named (for [file (file-seq (.toFile root))
                      :when (str/ends-with? (str file) ".clj")]
                  (-> (str (.relativize root (.toPath ^File file)))
                      (str/replace #"\.clj$" "")
                      (str/replace "_" "-")
                      (str/replace "/" ".")
                      symbol))]
      (run! require named)
      (remove (comp :no-doc meta) (map the-ns named)))))

(defn- public-vars
  "Returns the public vars of a namespace, without those of the classes that proxy makes."
  [namespace]
  (remove #(or (:no-doc (meta %)) (re-find #"proxy\$" (str %))) (vals (ns-publics namespace))))

(deftest all-that-is-public-has-a-docstring
  (is (some #{(the-ns 'temse.milter)} @public-namespaces))
  (doseq [namespace @public-namespaces
          documented (cons namespace (public-vars namespace))]
    (is (not (str/blank? (:doc (meta documented)))) documented)))

(deftest docstring-of-temse-milter-names-all-that-it-offers
  (doseq [offered (map (comp :name meta) (public-vars 'temse.milter))
          :when (not (str/starts-with? (name offered) "->"))]
    (is (str/includes? (:doc (meta (the-ns 'temse.milter))) (str "`" offered "`")))))
