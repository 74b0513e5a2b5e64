(ns temse.build-tools-test
  "Projects outside the tree use the library with Maven, with Leiningen, installed and as a checkout,
  and with the Clojure CLI, whose work tools.deps does."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.harness.artifacts :as artifacts])
  (:import
   (java.io File)
   (java.nio.file Files)
   (java.util.zip ZipEntry ZipFile)))

(set! *warn-on-reflection* true)

(def ^:private filter-source
  "(ns app.core
     (:require [clojure.java.io :as io] [temse.action :as act] [temse.test :as mt]))
   (defn -main []
     (println (:verdict (mt/run-message {:handlers {:mail (fn [_ _] [(act/reject)])}} {}))
              (str (io/resource \"temse/action.clj\")))
     (shutdown-agents))")

(defn- maven
  "Runs Maven in a project, with the repository of the tests."
  [project & arguments]
  (artifacts/require-command "mvn")
  (apply artifacts/ran
         project
         "mvn"
         "-B"
         "-q"
         (str "-Dmaven.repo.local=" @artifacts/repository)
         (str "-Dtemse.version=" artifacts/version)
         arguments))

(defn- write-class-path
  "Has Maven write the class path of a project, and returns it."
  [project & goals]
  (apply maven project (concat goals ["dependency:build-classpath" "-Dmdep.outputFile=class-path"]))
  (slurp (io/file project "class-path")))

(deftest a-maven-project-leaves-out-what-java-does-not-need
  (let [project (artifacts/project "maven"
                                   (into {}
                                         (for [path ["pom.xml" "src/main/java/module-info.java"
                                                     "src/main/java/app/Main.java"]]
                                           [path (slurp (io/resource (str "consumer/" path)))])))
        jars (write-class-path project "compile")]
    (is (= #{"temse" "clojure" "spec.alpha" "core.specs.alpha"}
           (set (map #(second (re-matches #"(.*?)-\d.*[.]jar" (.getName (io/file %))))
                     (string/split jars (re-pattern File/pathSeparator))))))
    (is (= "X-Count: 2 from a module\n"
           (artifacts/ran project (artifacts/tool "java") "-p" (artifacts/class-path "target/classes" jars)
                          "-m" "app/app.Main")))
    (is (= "X-Count: 2 from the class path\n"
           (artifacts/ran project (artifacts/tool "java") "-cp" (artifacts/class-path "target/classes" jars)
                          "app.Main")))))

;; Leiningen

(defn- lein
  "Runs Leiningen in a project, with a repository."
  [repository project & arguments]
  (apply artifacts/ran
         project
         "lein"
         "update-in"
         ":"
         "assoc"
         ":local-repo"
         (pr-str (str repository))
         "--"
         arguments))

(defn- lein-project
  []
  (artifacts/project "lein"
                     {"src/app/core.clj" filter-source
                      ;; Without nREPL, which Maven Central does not have.
                      "project.clj"
                      (str "(require '[leiningen.core.project :as lein])"
                           (pr-str (list 'defproject 'app "1"
                                         :dependencies [['temse artifacts/version]]
                                         :main 'app.core
                                         :profiles {:base '(clojure.core/unquote
                                                             (dissoc (:base @lein/default-profiles)
                                                                     :dependencies))})))}))

(deftest leiningen-installs-a-library-and-finds-it-in-a-checkout
  (artifacts/require-command "lein")
  (let [tree (artifacts/clone "lein-temse")
        kept (io/file tree "target/bin/kept")
        repository (artifacts/make-repository "lein-repository")
        jar (artifacts/file-of repository ".jar")]
    (io/make-parents kept)
    (spit kept "")
    (lein repository tree "install")
    (testing "the jar has what that of build.clj has; Leiningen puts the licence elsewhere and adds its own"
      (is (= (into (disj (artifacts/entries (artifacts/installed ".jar")) "META-INF/LICENSE")
                   (map #(str "META-INF/leiningen/temse/temse/" %))
                   ["LICENSE" "README.org" "project.clj"])
             (artifacts/entries jar)))
      (is (= "temse" ((artifacts/manifest jar) "Automatic-Module-Name")))
      (is (not (contains? (artifacts/manifest jar) "Main-Class"))))
    (testing "the POM asks no repository but Maven Central"
      (is (= ["central"]
             (map second (re-seq #"(?s)<repository>\s*<id>(.*?)</id>" (slurp (artifacts/file-of repository ".pom")))))))
    (testing "what bin/temse keeps below target is still there, and nothing new beside it"
      (is (.exists kept))
      (is (not (.exists (io/file tree "pom.xml")))))
    (let [project (lein-project)]
      (is (= (str ":reject jar:" (.toURI jar) "!/temse/action.clj\n")
             (lein repository project "run")))
      (artifacts/checkout project tree)
      (is (= (str ":reject " (.toURI (io/file tree "src/clojure/temse/action.clj")) "\n")
             (lein repository project "run"))))))

;; The Clojure CLI

(def ^:private tools-deps-pom
  "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
     <modelVersion>4.0.0</modelVersion>
     <groupId>app</groupId>
     <artifactId>tools-deps</artifactId>
     <version>1</version>
     <packaging>pom</packaging>
     <dependencies>
       <dependency>
         <groupId>org.clojure</groupId>
         <artifactId>tools.deps</artifactId>
         <version>0.31.1629</version>
       </dependency>
       <dependency>
         <groupId>org.slf4j</groupId>
         <artifactId>slf4j-nop</artifactId>
         <version>1.7.36</version>
       </dependency>
     </dependencies>
     <build>
       <plugins>
         <plugin>
           <artifactId>maven-dependency-plugin</artifactId>
           <version>3.8.1</version>
         </plugin>
       </plugins>
     </build>
   </project>")

(def ^:private tools-deps-class-path
  (delay (write-class-path (artifacts/project "tools-deps" {"pom.xml" tools-deps-pom}))))

(defn- tools-deps
  "Evaluates a form in a directory, with tools.deps as `deps`, and returns the lines that it prints."
  [dir form]
  (string/split-lines
    (artifacts/ran dir
                   (artifacts/tool "java")
                   "-cp"
                   @tools-deps-class-path
                   "clojure.main"
                   "-e"
                   (str "(require '[clojure.tools.deps :as deps])" (pr-str form) "(shutdown-agents)"))))

(defn- basis
  "Returns what the Clojure CLI has tools.deps make of a project's deps.edn, and more."
  [& {:as more}]
  (list 'deps/create-basis
        (merge {:user nil, :project "deps.edn", :extra {:mvn/local-repo (str @artifacts/repository)}} more)))

(defn- contents
  "Returns the entries of a jar with their checksums, but for those of classes: another JDK may have compiled
  them."
  [jar]
  (with-open [zip (ZipFile. ^File jar)]
    (mapv (fn [^ZipEntry entry]
            [(.getName entry) (when-not (string/ends-with? (.getName entry) ".class") (.getCrc entry))])
          (enumeration-seq (.entries zip)))))

(deftest the-clojure-cli-prepares-the-library-and-makes-the-jars
  (let [tree (artifacts/clone "cli-temse")]
    (testing "a project prepares it once, as clojure -X:deps prep does"
      (let [project (artifacts/project "cli"
                                       {"deps.edn" (pr-str '{:paths ["src"]
                                                             :deps {temse/temse {:local/root "../cli-temse"}}})
                                        "src/app/core.clj" filter-source})
            [unprepared class-path]
            (tools-deps project
                        `(let [~'basis ~(basis)
                               ~'prepare (fn [~'action] (~'deps/prep-libs! (:libs ~'basis) {:action ~'action} ~'basis))]
                           (prn (try (~'prepare :error) (catch Exception ~'e (:unprepped (ex-data ~'e)))))
                           (~'prepare :prep)
                           (~'prepare :error)
                           (println (~'deps/join-classpath (:classpath-roots ~'basis)))))]
        (is (= "[temse/temse]" unprepared))
        (is (= (str ":reject " (.toURI (io/file tree "src/clojure/temse/action.clj")) "\n")
               (artifacts/ran project (artifacts/tool "java") "-cp" class-path "clojure.main" "-m" "app.core")))))
    (testing "clojure -T:build install makes the same jars as bin/install"
      (let [[class-path] (tools-deps tree
                                     (list 'println
                                           (list 'deps/join-classpath
                                                 (list :classpath-roots
                                                       (basis :aliases [:build]
                                                              :args {:replace-deps {}, :replace-paths ["."]})))))
            install (fn [tree & options]
                      (let [repository (io/file tree "target/repository")]
                        (apply artifacts/ran tree (artifacts/tool "java")
                               (concat options
                                       ["-cp" class-path "clojure.main" "-e"
                                        (str "((requiring-resolve 'build/install) "
                                             (pr-str {:local-repo (str repository)}) ")")]))
                        repository))
            repository (install tree)]
        (doseq [ending ["-sources.jar" "-javadoc.jar" ".pom"]]
          (is (= -1 (Files/mismatch (.toPath (artifacts/installed ending))
                                    (.toPath (artifacts/file-of repository ending))))
              ending))
        (is (= (contents (artifacts/installed ".jar"))
               (contents (artifacts/file-of repository ".jar"))))
        (testing "to the byte, elsewhere and for somebody of another country, too"
          (let [again (install (artifacts/clone "cli-again") "-Duser.language=de" "-Duser.timezone=Pacific/Apia")]
            (doseq [ending [".jar" ".pom" "-sources.jar" "-javadoc.jar"]]
              (is (= -1 (Files/mismatch (.toPath (artifacts/file-of repository ending))
                                        (.toPath (artifacts/file-of again ending))))
                  ending))))))))
