(ns temse.launcher-test
  "bin/temse in a tree that is set up, with a stand-in for Java that prints its arguments: for other
  users, where nothing can be written, with any names."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]])
  (:import
   (java.io File)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(defn- write
  "Writes a file, as long ago as said, and returns it."
  ^File [directory path text minutes-ago]
  (let [file (io/file directory path)]
    (io/make-parents file)
    (spit file text)
    (.setLastModified file (- (System/currentTimeMillis) (* 60000 (long minutes-ago))))
    file))

(defn- mode
  [^File file text]
  (Files/setPosixFilePermissions (.toPath file) (PosixFilePermissions/fromString text)))

(defn- with-tree
  "Calls f with a tree that is set up and that nobody but its owner can write."
  [f]
  (let [directory (.toFile (Files/createTempDirectory "temse it's \"ä\" $x-" (make-array FileAttribute 0)))
        java (write directory "jdk/bin/java" "#!/bin/sh\nprintf '%s\\n' \"LC_ALL=$LC_ALL\" \"$@\"\n" 9)]
    (try
      (doseq [script ["temse" "compile.clj" "setup.sh"]]
        (mode (write directory (str "bin/" script) (slurp (str "bin/" script)) 9) "rwxr-xr-x"))
      (mode java "rwxr-xr-x")
      (write directory "deps.edn" "{}" 9)
      (write directory "resources/x" "" 9)
      (write directory "src/clojure/x.clj" "" 9)
      (write directory "target/bin/lib/a b.jar" "" 5)
      (write directory "target/bin/lib/c.jar" "" 5)
      (write directory "target/bin/run.classpath" "a b.jar\nc.jar\n" 5)
      (write directory "target/bin/temse.jar" "" 4)
      (doseq [^File d (file-seq directory)
              :when (.isDirectory d)]
        (.setLastModified d (- (System/currentTimeMillis) 540000))
        (mode d "r-xr-xr-x"))
      (f directory)
      (finally
        (doseq [^File d (file-seq directory)
                :when (.isDirectory d)]
          (mode d "rwx------"))
        (run! io/delete-file (reverse (file-seq directory)))))))

(def ^:private ^:dynamic *java-options*
  "-Xa -Xb")

(defn- start
  ^Process [directory & arguments]
  (let [as-nobody (when (= "root" (System/getProperty "user.name"))
                    ["setpriv" "--reuid=65534" "--regid=65534" "--clear-groups"])
        builder (ProcessBuilder. ^java.util.List
                                 (concat as-nobody ["bash" (str (io/file directory "bin/temse"))] arguments))]
    (.redirectErrorStream builder true)
    (.directory builder (io/file "/"))
    (doto (.environment builder)
      (.put "JAVA_HOME" (str (io/file directory "jdk")))
      (.put "LC_ALL" "C")
      (.put "TEMSE_JAVA_OPTIONS" *java-options*))
    (.start builder)))

(defn- ran
  "Returns the exit code and the lines that are printed."
  [directory & arguments]
  (let [process ^Process (apply start directory arguments)
        lines (string/split-lines (slurp (.getInputStream process)))]
    (is (.waitFor process 10 TimeUnit/SECONDS))
    [(.exitValue process) lines]))

(when (.canExecute (io/file "/usr/bin/setpriv"))
  (deftest another-user-starts-it-from-a-tree-that-cannot-be-written
    (with-tree
      (fn [directory]
        (let [[code lines] (ran directory "run" "a b'\"" "ä")
              bin (str directory "/target/bin/")]
          (is (= 0 code))
          (is (= (str bin "temse.jar:" bin "lib/a b.jar:" bin "lib/c.jar")
                 (second (drop-while #(not= "-cp" %) lines))))
          (is (= ["-m" "temse.cli" "run" "a b'\"" "ä"] (rest (drop-while #(not= "clojure.main" %) lines))))
          (is (some #{"-Xb"} lines))
          (testing "in the locale C, too"
            (is (= "LC_ALL=C.UTF-8" (first lines)))))))))

(deftest the-archive-is-of-the-kind-that-the-jdk-reads
  (with-tree
    (fn [directory]
      (doseq [[version option kind] [["17.0.15" "-XX:SharedArchiveFile=" ".jsa"]
                                     ["21.0.4" "-XX:SharedArchiveFile=" ".jsa"]
                                     ["25" "-XX:AOTCache=" ".aot"]
                                     ["100.0.1" "-XX:AOTCache=" ".aot"]]]
        (mode (io/file directory "jdk") "rwx------")
        (write directory "jdk/release" (str "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"" version "\"\n") 0)
        (mode (io/file directory "jdk") "r-xr-xr-x")
        (let [[_ lines] (ran directory "version")
              archives (filter #(re-find #"SharedArchiveFile|AOTCache" %) lines)]
          (is (= 1 (count archives)) version)
          (is (string/starts-with? (first archives) option))
          (is (string/ends-with? (first archives) kind)))))))

(deftest options-about-archives-take-the-place-of-its-own
  (with-tree
    (fn [directory]
      (doseq [option ["-Xshare:off" "-XX:SharedArchiveFile=mine.jsa" "-XX:AOTCache=mine.aot" "-XX:AOTMode=off"]]
        (binding [*java-options* (str "-Xa " option)]
          (is (= [option] (filter #(re-find #"share|Archive|AOT" %) (second (ran directory "version"))))))))))

(deftest what-must-be-set-up-and-cannot-be-is-told-at-once
  (with-tree
    (fn [directory]
      (mode (io/file directory "src/clojure") "rwx------")
      (write directory "src/clojure/x.clj" "" 0)
      (mode (io/file directory "src/clojure") "r-xr-xr-x")
      (when (= "root" (System/getProperty "user.name"))
        (let [[code [line :as lines]] (ran directory "version")]
          (is (= [2 1] [code (count lines)]))
          (is (string/starts-with? line "temse: something is missing or older than its sources below "))
          (is (string/ends-with? line "/bin/temse once")))))))

(deftest who-waits-for-another-start-says-so
  (with-tree
    (fn [directory]
      (let [cache (io/file directory "target/bin")]
        (mode cache "rwxrwxrwx")
        (.delete (io/file cache "temse.jar"))
        (Files/createSymbolicLink (.toPath (io/file cache "lock"))
                                  (.toPath (io/file (str (.pid (java.lang.ProcessHandle/current)))))
                                  (make-array FileAttribute 0))
        (let [process (start directory "version")]
          (try
            (is (re-find #"temse: waiting for process \d+, which sets up"
                         (first (line-seq (io/reader (.getInputStream process))))))
            (finally
              (.destroy process)
              (.waitFor process))))))))
