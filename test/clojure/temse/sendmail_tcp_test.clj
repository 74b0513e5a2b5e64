(ns temse.sendmail-tcp-test
  "The cases of temse.mta-cases behind a real Sendmail, over TCP."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.milter :as milter]
   [temse.mta-cases :as cases]
   [temse.runner :as runner]))

(set! *warn-on-reflection* true)

(use-fixtures :once
  (fn [run-tests]
    (when-let [reason (sendmail/unavailable)]
      (runner/skip! reason))
    (let [{:keys [server use-filter!]} (cases/start-filter "inet:0@127.0.0.1")]
      (with-open [_ ^java.io.Closeable server
                  sink (sink/start)
                  mta (sendmail/start {:sink sink
                                       :milters [(milter/milter-address server)]})]
        (binding [cases/*lab* {:mta :sendmail
                               :port (:port mta)
                               :sink sink
                               :use-filter! use-filter!
                               :held #(keys (sendmail/quarantined mta))}]
          (run-tests))))))

(cases/deftests :sendmail)
