(ns temse.contract-sendmail-test
  "The cases of temse.contract-cases behind a real Sendmail."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.contract :as contract]
   [temse.contract-cases :as cases]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.milter :as milter]
   [temse.runner :as runner])
  (:import
   (java.io Closeable)))

(set! *warn-on-reflection* true)

(defn- start
  "Starts a Sendmail that uses the filter at the address."
  ^Closeable [sink address options]
  (sendmail/start (merge {:sink sink :milters [address]}
                    (:sendmail options))))

(use-fixtures :once
  (fn [run-tests]
    (when-let [reason (sendmail/unavailable)]
      (runner/skip! reason))
    (with-open [server ^Closeable (milter/start-milter (assoc (contract/options)
                                                              :port 0
                                                              :daemon? true))
                sink (sink/start)
                mta (start sink (milter/milter-address server) {})]
      (binding [cases/*lab* {:mta :sendmail
                             :sink sink
                             :port (:port mta)
                             :held #(keys (sendmail/quarantined mta))
                             :start (partial start sink)}]
        (run-tests)))))

(cases/deftests)
