(ns temse.reflection-test
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [temse.runner :as runner]))

(set! *warn-on-reflection* true)

(deftest no-namespace-of-the-library-reflects
  (let [java (str (io/file (System/getProperty "java.home") "bin" "java"))
        class-path (System/getProperty "java.class.path")
        namespaces (mapv symbol (runner/namespaces "src/clojure" ".clj"))
        program (str "(set! *warn-on-reflection* true) (run! require '" namespaces ")")
        {:keys [exit err]} (shell/sh java "-cp" class-path "clojure.main" "-e" program)
        warnings (filter #(str/starts-with? % "Reflection warning, temse/") (str/split-lines err))]
    (is (seq namespaces))
    (is (zero? exit) err)
    (is (empty? warnings))))
