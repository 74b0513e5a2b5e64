(ns temse.oldest-clojure-test
  "The oldest Clojure that the library works with, in a process of its own."
  (:require
   [clojure.edn :as edn]
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.runner :as runner]
   [temse.support :as support])
  (:import
   (java.io File)))

(set! *warn-on-reflection* true)

(def ^:private oldest
  (get-in (edn/read-string (slurp "deps.edn")) [:aliases :oldest :override-deps 'org.clojure/clojure :mvn/version]))

(defn- class-path
  "Returns the class path of the tests with the oldest Clojure."
  []
  (let [jars (or (System/getProperty "temse.oldest")
                 (runner/skip! "bin/test has the jars of the oldest Clojure, clojure -X:test does not"))]
    (->> (string/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
         (remove #(string/ends-with? % ".jar"))
         (cons jars)
         (string/join File/pathSeparator))))

(defn- evaluated
  "Returns the value that a form prints in the oldest Clojure, or what else it prints."
  [form]
  (let [output (support/evaluated form :class-path (class-path))]
    (try
      (edn/read-string output)
      (catch RuntimeException _
        output))))

(deftest every-namespace-loads
  (is (= oldest
         (evaluated `(do (run! (comp require symbol) '~(vec (runner/namespaces "src/clojure" ".clj")))
                         (print (pr-str (clojure-version))))))))

(deftest a-milter-serves-and-a-message-is-simulated
  (is (= {:served [[{:action :add-header, :name "X-Seen", :value "hi"}] :accept]
          :pending :reject
          :simulated ["From" "To" "Subject" "X-Seen"]
          :filtered :discard}
         (evaluated
           '(do (require '[temse.action :as act] '[temse.filter :as filter] '[temse.milter :as milter]
                         '[temse.test :as mt])
                (let [handlers {:header (fn [{:keys [name value]} context]
                                          (cond-> context
                                            (= "Subject" name) (milter/update-message assoc :subject value)))
                                :end-of-message (fn [_ context]
                                                  [(act/add-header "X-Seen" (:subject (milter/message context)))
                                                   (act/accept)])}
                      mail {:headers [["From" "a@example.org"] ["To" "b@example.com"] ["Subject" "hi"]]}]
                  (print (pr-str {:served (milter/with-milter [server {:port 0, :handlers handlers}]
                                            ((juxt :modifications :verdict) (mt/run-message server mail)))
                                  :pending (:verdict (mt/run-message
                                                       {:handlers {:mail (fn [_ _] (future [(act/reject)]))}} mail))
                                  :simulated (map first (:headers (:message (mt/run-message {:handlers handlers} mail))))
                                  :filtered (:verdict (mt/run-message
                                                        {:handlers (filter/message-filter (fn [_ _] [(act/discard)]))}
                                                        mail))}))
                  (shutdown-agents)))))))

(deftest tests-pass
  (let [process (support/process ["-m" "temse.runner" "temse.mail-test" "temse.negotiation-test" "temse.record-test"
                                  "temse.simulate-test"]
                                 :class-path (class-path))
        output (slurp (.getInputStream process))]
    (is (= 0 (.waitFor process)) output)))

(deftest a-file-that-defines-filter-loads-without-a-warning
  (is (= {:header 1}
         (evaluated
           '(let [file (java.io.File/createTempFile "filter" ".clj")]
              (require 'temse.impl.filter-file)
              (spit file "(def filter {:header 1})")
              (binding [*err* *out*]
                (let [found ((resolve 'temse.impl.filter-file/load-filter) (str file) nil)]
                  (.delete file)
                  (print (pr-str @found)))))))))
