(require '[clojure.edn :as edn]
         '[clojure.java.io :as io]
         '[clojure.string :as str]
         '[leiningen.core.project :as lein])

;; Beside this file, which in the checkouts of another project is not the current directory.
(def root (.getParentFile (io/file *file*)))

(def version (str/trim (slurp (io/file root "resources/temse/VERSION"))))

(def deps (edn/read-string (slurp (io/file root "deps.edn"))))

(defn dependency-vectors [coordinates]
  (vec (for [[artifact {:mvn/keys [version]}] coordinates]
         [artifact version])))

(defproject temse version
  :description ~(get-in deps [:temse/pom :description])
  :license ~(get-in deps [:temse/pom :license])
  ;; The POM names all but Maven Central, and others would have to ask there, too.
  :repositories ~(with-meta (filterv (comp #{"central"} first) lein/default-repositories) {:replace true})
  ;; The jar is a library: without this, Leiningen makes it start Clojure's REPL.
  :main nil
  :manifest {"Automatic-Module-Name" "temse"}
  :jar-exclusions [#"[.]java$" #"^overview[.]html$"]
  :pom-location "target/"
  ;; Each `lein jar` cleans first. What bin/temse runs from, and the tests keep, is also below target.
  :clean-targets ["target/classes" "target/classes.stamp"]
  :dependencies ~(dependency-vectors (:deps deps))
  :source-paths ["src/clojure"]
  :java-source-paths ["src/java"]
  :resource-paths ["resources"]
  :test-paths ["test/clojure"]
  :javac-options ["--release" "17" "-encoding" "UTF-8" "-Xlint:all" "-Werror"]
  :aliases {"test" ["do" "javac," "with-profile" "+test" "run" "-m" "temse.runner"]}
  :profiles
  {;; What Leiningen adds to every run is only for the REPL, and not on Maven Central.
   :base {}
   :dev {:main ^:skip-aot temse.cli}
   ;; What is compiled against and brought by those who use it.
   :provided {:dependencies ~(dependency-vectors (get-in deps [:aliases :build :extra-deps]))}
   :repl {:dependencies ~(get-in @lein/default-profiles [:base :dependencies])}
   ;; The tests are compiled apart from the library, so they cannot slip into its jar.
   :test {:dependencies ~(dependency-vectors (get-in deps [:aliases :test :extra-deps]))
          :source-paths ["test/clojure" "bench/clojure" "bench/filters"]
          :java-source-paths ^:replace ["test/java"]
          :resource-paths ["test/resources" "target/classes"]
          :compile-path "target/test-classes"}
   :oldest {:dependencies ~(dependency-vectors (get-in deps [:aliases :oldest :override-deps]))}})
