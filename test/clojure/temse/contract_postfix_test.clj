(ns temse.contract-postfix-test
  "The cases of temse.contract-cases behind a real Postfix."
  (:require
   [clojure.string :as str]
   [clojure.test :refer [use-fixtures]]
   [temse.contract :as contract]
   [temse.contract-cases :as cases]
   [temse.harness.postfix :as postfix]
   [temse.harness.sink :as sink]
   [temse.milter :as milter]
   [temse.runner :as runner])
  (:import
   (java.io Closeable)))

(set! *warn-on-reflection* true)

(defn- start
  "Starts a Postfix that uses the filter at the address."
  ^Closeable [sink address options]
  (postfix/start (merge {:sink sink
                         :milters [(str/replace address #"^inet:(\d+)@(.*)" "inet:$2:$1")]}
                   (:postfix options))))

(use-fixtures :once
  (fn [run-tests]
    (when-let [reason (postfix/unavailable)]
      (runner/skip! reason))
    (with-open [server ^Closeable (milter/start-milter (assoc (contract/options)
                                                              :port 0
                                                              :daemon? true))
                sink (sink/start)
                mta (start sink (milter/milter-address server) {})]
      (binding [cases/*lab* {:mta :postfix
                             :sink sink
                             :port (:port mta)
                             :held #(postfix/hold-queue mta)
                             :start (partial start sink)}]
        (run-tests)))))

(cases/deftests)
