(ns temse.miltertest-test
  "The test filter as OpenDKIM's miltertest sees it, an MTA made of Lua scripts that others wrote."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is use-fixtures]]
   [temse.contract :as contract]
   [temse.milter :as milter]
   [temse.runner :as runner])
  (:import
   (java.util List)))

(set! *warn-on-reflection* true)

(use-fixtures :once
  (fn [run-tests]
    (when-not (some #(.canExecute (io/file % "miltertest"))
                    (str/split (System/getenv "PATH") #":"))
      (runner/skip! "miltertest is not installed"))
    (run-tests)))

(defn- judged
  "Returns the exit code and the output of a script that drives a variant of the filter."
  [script variant]
  (milter/with-milter [server (assoc (contract/options variant) :port 0)]
    (let [command ["miltertest" "-D" (str "address=" (milter/milter-address server))
                   "-s" (str "test/miltertest/" script ".lua")]
          process (-> (ProcessBuilder. ^List command)
                      (.redirectErrorStream true)
                      (.start))
          output (slurp (.getInputStream process))]
      [(.waitFor process) output])))

(deftest offers-are-answered
  (is (= [0 ""] (judged "negotiation" "default"))))

(deftest verdicts-are-given-at-each-stage
  (is (= [0 ""] (judged "verdicts" "default"))))

(deftest modifications-are-made-at-the-end
  (is (= [0 ""] (judged "modifications" "default"))))

(deftest messages-of-a-connection-are-reported-each-by-itself
  (is (= [0 ""] (judged "messages" "default"))))

(deftest the-silent-variant-is-silent
  (is (= [0 ""] (judged "nr" "nr"))))
