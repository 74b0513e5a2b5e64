(ns temse.artifacts-test
  "What the jars hold and what the POM names; and that programs in Java need no more than the library
  and Clojure's jar, on the class path and as modules."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.set :as set]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.xml :as xml]
   [temse.harness.artifacts :as artifacts]
   [temse.runner :as runner])
  (:import
   (java.io File)))

(set! *warn-on-reflection* true)

(defn- files-below
  "Returns the names of the files below a directory."
  [dir]
  (let [dir (io/file dir)]
    (for [^File file (file-seq dir)
          :when (.isFile file)]
      (str (.relativize (.toPath dir) (.toPath file))))))

(deftest the-jar-holds-the-library-and-nothing-else
  (let [jar (artifacts/installed ".jar")
        found (artifacts/entries jar)
        {classes true, others false} (group-by #(string/ends-with? % ".class") found)]
    (is (= (into #{"META-INF/MANIFEST.MF" "META-INF/LICENSE" "META-INF/maven/temse/temse/pom.xml"
                   "META-INF/maven/temse/temse/pom.properties"}
                 (mapcat files-below ["resources" "src/clojure"]))
           (set others)))
    (is (= (set (files-below "target/classes")) (set classes)))
    (is (= #{} (set/intersection (set (files-below "target/test-classes")) (set classes))))
    (is (= {"Manifest-Version" "1.0", "Automatic-Module-Name" "temse"}
           (artifacts/manifest jar)))))

(deftest sources-and-javadoc-are-those-of-java
  (is (= (into #{"META-INF/MANIFEST.MF" "META-INF/LICENSE"} (files-below "src/java"))
         (artifacts/entries (artifacts/installed "-sources.jar"))))
  (let [pages (artifacts/entries (artifacts/installed "-javadoc.jar"))]
    (is (every? pages ["index.html" "temse/server/Milter.html" "temse/protocol/Action.html"
                       "temse/client/MtaSession.html" "temse/junit/MilterExtension.html"]))
    (testing "without what is private to a package"
      (is (not-any? pages ["temse/server/Ledger.html" "temse/transport/SocketLink.html"])))))

(defn- content
  "Returns an element's value: its text, or a map of its children by tag, or a vector of those that go
  by the same tag."
  [{children :content}]
  (cond
    (every? string? children) (apply str children)
    (apply distinct? nil (map :tag children)) (into {} (map (juxt :tag content)) children)
    :else (mapv content children)))

(deftest the-pom-names-licence-commit-and-dependencies
  (let [{:keys [deps :temse/pom aliases]} (edn/read-string (slurp "deps.edn"))
        found (content (xml/parse (artifacts/installed ".pom")))
        dependencies (into {}
                           (for [{:keys [groupId artifactId version scope]} (:dependencies found)]
                             [(symbol groupId artifactId) [version scope]]))]
    (is (= {:modelVersion "4.0.0"
            :groupId "temse"
            :artifactId "temse"
            :version artifacts/version
            :name "temse"
            :description (:description pom)
            :licenses {:license {:name "Apache-2.0", :url "https://www.apache.org/licenses/LICENSE-2.0"}}}
           (dissoc found :dependencies :scm :url)))
    (is (= (merge (update-vals deps (fn [coordinate] [(:mvn/version coordinate) "compile"]))
                  (update-vals (get-in aliases [:build :extra-deps])
                               (fn [coordinate] [(:mvn/version coordinate) "provided"])))
           dependencies))
    (is (= '#{org.clojure/clojure org.clojure/core.async org.clojure/tools.logging}
           (set (keys deps))))
    (when (.exists (io/file ".git"))
      (is (re-matches #"[0-9a-f]{40}" (get-in found [:scm :tag] ""))))))

(def ^:private build
  (delay (binding [*ns* (create-ns 'temse.artifacts-test.build)]
           (load-file "build.clj")
           (find-ns 'build))))

(deftest the-web-address-of-a-remote-names-no-user-and-no-password
  (let [web-address (ns-resolve @build 'web-address)]
    (doseq [remote ["git@example.org:mail/temse.git" "https://example.org/mail/temse.git"
                    "https://me:secret@example.org/mail/temse" "ssh://git@example.org:2222/mail/temse.git"
                    "git://example.org/mail/temse/"]]
      (is (= "https://example.org/mail/temse" (web-address remote)) remote))
    (doseq [path [nil "" "/srv/mail.git" "../temse.git" "./temse" "file:///srv/example.org/temse"]]
      (is (nil? (web-address path)) path))))

(deftest what-does-not-compile-stays-unprepared
  (let [tree (artifacts/clone "broken")
        deps (edn/read-string (slurp "deps.edn"))]
    (spit (io/file tree "src/java/temse/Broken.java") "class Broken {")
    (is (string/includes? (artifacts/ran tree (artifacts/tool "java") "-cp"
                                         (artifacts/class-path "." (System/getProperty "java.class.path"))
                                         "clojure.main" "-e"
                                         "(require 'build)
                                          (println (try (build/compile-java nil) (catch Exception e (ex-message e))))")
                          "Cannot compile src/java"))
    (is (not (.exists (io/file tree (:ensure (:deps/prep-lib deps))))))))

;; Programs in Java

(def ^:private java-sources
  (delay (into {}
               (for [path ["src/main/java/module-info.java" "src/main/java/app/Main.java"]]
                 [path (slurp (io/resource (str "consumer/" path)))]))))

(defn- compiled
  "Compiles sources of a project and returns the directory of its classes."
  [project options sources]
  (let [classes (io/file project "classes")]
    (apply artifacts/ran
           project
           (concat [(artifacts/tool "javac") "--release" "17" "-Xlint:all,-requires-automatic" "-Werror" "-d" classes]
                   options
                   sources))
    classes))

(deftest a-program-needs-no-jar-but-clojures
  (let [project (artifacts/project "class-path" @java-sources)
        log (io/file project "classes.log")
        jars [(artifacts/installed ".jar") (artifacts/jar-of "clojure")]
        classes (compiled project
                          ["-cp" (apply artifacts/class-path jars)]
                          ["src/main/java/app/Main.java"])
        run #(apply artifacts/ran
                    project
                    (artifacts/tool "java")
                    (str "-Xlog:class+load:file=" log)
                    "-cp"
                    (apply artifacts/class-path classes jars)
                    "app.Main"
                    %&)]
    (is (= "X-Count: 2 from the class path\n" (run)))
    (is (string/includes? (slurp log) "temse.server.MilterServer"))
    (testing "none of Clojure's namespaces is loaded"
      (is (empty? (re-seq #"clojure\.(?:core|spec|tools)\S*" (slurp log)))))
    (testing "also if it prints maps, for which they are loaded"
      (is (= "X-Count: 2 from the class path\n{:action :add-header, :name \"X-Count\", :value \"2\"}\n"
             (run "print"))))))

(deftest a-module-needs-no-jar-but-clojures
  (let [project (artifacts/project "module" @java-sources)
        jars [(artifacts/installed ".jar") (artifacts/jar-of "clojure")]
        classes (compiled project
                          ["-p" (apply artifacts/class-path jars)]
                          (keys @java-sources))]
    (doseq [options [[] ["--add-modules" "jdk.net"]]]
      (is (= "X-Count: 2 from a module\n"
             (apply artifacts/ran
                    project
                    (concat [(artifacts/tool "java") "-p" (apply artifacts/class-path classes jars)]
                            options
                            ["-m" "app/app.Main"])))))))

(deftest clojure-reads-the-library-from-a-module-path
  (is (= ":reject\n"
         (artifacts/ran
           "."
           (artifacts/tool "java")
           "-p"
           (apply artifacts/class-path
                  (artifacts/installed ".jar")
                  (map artifacts/jar-of ["clojure" "spec.alpha" "core.specs.alpha" "tools.logging"]))
           "--add-modules"
           "java.sql,ALL-MODULE-PATH"
           "-m"
           "clojure/clojure.main"
           "-e"
           (pr-str '(do (require '[temse.test :as mt])
                        (println (:verdict (mt/run-message {:handlers {:mail (fn [_ _] [{:action :reject}])}}
                                                           {})))))))))

;; Linter

(def ^:private plain-macros
  "Public macros whose arguments are expressions, so that a linter takes them for functions."
  '#{temse.test/check-conversation temse.test/check-message})

(deftest the-linter-is-told-of-each-macro
  (let [config (edn/read-string (slurp (io/resource "clj-kondo.exports/temse/temse/config.edn")))
        public (remove #(string/starts-with? % "temse.impl.") (runner/namespaces "src/clojure" ".clj"))]
    (run! (comp require symbol) public)
    (is (= (set (for [namespace public
                      v (vals (ns-publics (symbol namespace)))
                      :when (and (:macro (meta v)) (not (:no-doc (meta v))))]
                  (symbol v)))
           (into plain-macros (keys (:lint-as config)))))
    (is (= '{temse.milter/define-event-handlers clj-kondo.lint-as/def-catch-all
             temse.milter/with-milter clojure.core/with-open
             temse.async/go clojure.core.async/go}
           (:lint-as config)))
    (is (= [:lint-as] (keys config)))))
