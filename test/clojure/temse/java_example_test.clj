(ns temse.java-example-test
  "The examples in Java compile, run with nothing but our classes and Clojure's jar, load no
  Clojure code, serve a real Postfix, and stop as they say."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.runner :as runner]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (clojure.lang RT)
   (java.io BufferedReader File)
   (java.lang ProcessBuilder$Redirect)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util List)
   (java.util.concurrent TimeUnit)
   (javax.tools ToolProvider)
   (temse.server MilterServer)
   (temse.transport Endpoint Endpoint$Inet)))

(set! *warn-on-reflection* true)

(def ^:private terminated 143)

(defn- location [^Class class]
  (str (io/file (.toURI (.getLocation (.getCodeSource (.getProtectionDomain class)))))))

(def ^:private class-path
  [(location MilterServer) (location RT)])

(defn- start
  "Compiles an example and starts it at an address. Returns a map of the :process, the :address it
  listens on, and :loaded, a function that returns the names of the classes it has loaded."
  [^File directory example address]
  (let [source (str "examples/java/" example ".java")
        log (io/file directory "classes.log")
        path (str/join File/pathSeparator (cons directory class-path))]
    (is (= 0 (.run (ToolProvider/getSystemJavaCompiler) nil nil nil
                   (into-array ["--release" "17" "-Xlint:all" "-Werror" "-d" (str directory)
                                "-cp" path source]))))
    (let [command [(str (io/file (System/getProperty "java.home") "bin" "java"))
                   (str "-Xlog:class+load:file=" log)
                   "-cp" path example address]
          process (-> (ProcessBuilder. ^List command)
                      (.redirectError ProcessBuilder$Redirect/INHERIT)
                      (.start))
          ^BufferedReader output (io/reader (.getInputStream process))]
      {:process process
       :address (second (re-find #"listens on (\S+)" (str (.readLine output))))
       :loaded #(set (map second (re-seq #"\[class,load\] (\S+)" (slurp log))))})))

(defn- exit-code [^Process process]
  (when-not (.waitFor process 30 TimeUnit/SECONDS)
    (throw (ex-info "it does not stop" {})))
  (.exitValue process))

(defn- call-with-example
  "Calls f with an example that listens at an address, which then ends."
  [example address f]
  (let [directory (.toFile (Files/createTempDirectory "temse-" (make-array FileAttribute 0)))
        {:keys [process] :as example} (start directory example address)]
    (try
      (f example)
      (finally
        (.destroyForcibly ^Process process)
        (run! io/delete-file (reverse (file-seq directory)))))))

(deftest the-example-serves-postfix-without-any-clojure
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (call-with-example "HeaderCount" "inet:0@127.0.0.1"
    (fn [{:keys [^Process process address loaded]}]
      (let [port (.port ^Endpoint$Inet (Endpoint/parse address))]
        (with-open [sink (sink/start)
                    mta (postfix/start {:sink sink, :milters [(str "inet:127.0.0.1:" port)]})]
          (doseq [[n fields] {2 [["Subject" " hi"] ["X-A" " 1"]]
                              3 [["Subject" " hi"] ["X-A" " 1"] ["X-A" " 2"]]}
                  :let [sender (str "<" n "@example.org>")]]
            (smtp/send-mail {:port (:port mta), :sender sender, :headers fields})
            (let [message (sink/await-message sink #(= sender (:sender %)))
                  counts (keep (fn [[field value]] (when (= "X-Header-Count" field) value))
                               (sink/headers message))]
              (is (= [(str " " n)] counts))))))
      (.destroy process)
      (is (= terminated (exit-code process)))
      (let [classes (loaded)]
        (is (contains? classes "temse.server.MilterServer"))
        (is (empty? (filter #(str/starts-with? % "clojure.core") classes)))))))

(deftest two-filters-in-sequence-serve-postfix-without-any-clojure
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (call-with-example "FilterInSequence" "inet:0@127.0.0.1"
    (fn [{:keys [^Process process address loaded]}]
      (let [port (.port ^Endpoint$Inet (Endpoint/parse address))]
        (with-open [sink (sink/start)
                    mta (postfix/start {:sink sink, :milters [(str "inet:127.0.0.1:" port)]})]
          (smtp/send-mail {:port (:port mta), :sender "<a@example.org>", :headers [["Subject" " hi"]]})
          (is (= [" nobody as <a@example.org>"]
                 (keep (fn [[field value]] (when (= "X-Login" field) value))
                       (sink/headers (sink/await-message sink #(= "<a@example.org>" (:sender %)))))))
          (is (some #{{:code 550, :lines ["5.7.1 Not from example.net"]}}
                    (flatten (vals (smtp/send-mail {:port (:port mta), :sender "<a@example.net>"})))))))
      (.destroy process)
      (is (= terminated (exit-code process)))
      (is (empty? (filter #(str/starts-with? % "clojure.core") (loaded)))))))

(deftest the-example-ends-mail-in-progress-before-it-stops
  (call-with-example "HeaderCount" "inet:0@127.0.0.1"
    (fn [{:keys [^Process process address]}]
      (with-open [session (mt/connect-to address)]
        (support/send-events session (concat support/opening (support/envelope)))
        (.destroy process)
        (support/await-port (.port ^Endpoint$Inet (Endpoint/parse address)) false)
        (is (.isAlive process))
        (is (= [(act/add-header "X-Header-Count" "1") (act/continue)]
               (support/send-events session support/content))))
      (is (= terminated (exit-code process))))))

(deftest the-example-listens-on-a-unix-socket-and-removes-it
  (let [directory (.toFile (Files/createTempDirectory "temse-" (make-array FileAttribute 0)))
        socket (io/file directory "count.sock")]
    (try
      (call-with-example "HeaderCount" (str "unix:" socket)
        (fn [{:keys [^Process process address]}]
          (is (= (str "unix:" socket) address))
          (is (= [(act/add-header "X-Header-Count" "1")]
                 (:modifications (mt/run-message address {:headers [["Subject" "hi"]]}))))
          (.destroy process)
          (is (= terminated (exit-code process)))
          (testing "nothing is left"
            (is (= [] (vec (.list directory)))))))
      (finally
        (io/delete-file directory)))))
