(ns temse.systemd-test
  "The units in examples/systemd, as systemd reads them."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [temse.runner :as runner]
   [temse.support :as support])
  (:import
   (java.util List)))

(set! *warn-on-reflection* true)

(def ^:private threshold
  "Tenths of a point of exposure, of a hundred."
  20)

(defn- analyze
  "Returns the exit code of systemd-analyze and what it prints."
  [& arguments]
  (when-not (some #(.canExecute (io/file % "systemd-analyze")) (str/split (System/getenv "PATH") #":"))
    (runner/skip! "systemd-analyze is not installed"))
  (let [process (-> (ProcessBuilder. ^List (into ["systemd-analyze" "--no-pager"] arguments))
                    (.redirectErrorStream true)
                    (.start))
        output (slurp (.getInputStream process))]
    [(.waitFor process) output]))

(defn- with-units
  "Calls f with the paths of both units, which start the bin/temse of this checkout."
  [f]
  (let [text #(str/replace (slurp (io/file "examples/systemd" %))
                           "/opt/temse/bin/temse" (.getAbsolutePath (io/file "bin/temse")))]
    (support/with-directory {"temse.service" (text "temse.service"), "temse.socket" (text "temse.socket")}
      (fn [directory]
        (apply f (map #(str (io/file directory %)) ["temse.service" "temse.socket"]))))))

(deftest systemd-understands-each-line-of-the-units
  (with-units
    (fn [service socket]
      (is (= [0 ""] (analyze "verify" service socket))))))

(deftest the-service-is-hardly-exposed
  (with-units
    (fn [service _]
      (let [[code output] (analyze "security" "--offline=true" (str "--threshold=" threshold) service)]
        (is (= 0 code) output)
        (is (re-find #"Overall exposure level for temse.service: [0-2]\.[0-9]" output))))))
