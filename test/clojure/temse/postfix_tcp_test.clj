(ns temse.postfix-tcp-test
  "The cases of temse.mta-cases behind a real Postfix, over TCP."
  (:require
   [clojure.test :refer [use-fixtures]]
   [temse.harness.postfix :as postfix]
   [temse.harness.sink :as sink]
   [temse.milter :as milter]
   [temse.mta-cases :as cases]
   [temse.runner :as runner]))

(set! *warn-on-reflection* true)

(use-fixtures :once
  (fn [run-tests]
    (when-let [reason (postfix/unavailable)]
      (runner/skip! reason))
    (let [{:keys [server use-filter!]} (cases/start-filter "inet:0@127.0.0.1")]
      (with-open [_ ^java.io.Closeable server
                  sink (sink/start)
                  mta (postfix/start {:sink sink
                                      :milters [(str "inet:127.0.0.1:" (milter/milter-port server))]})]
        (binding [cases/*lab* {:mta :postfix
                               :port (:port mta)
                               :sink sink
                               :use-filter! use-filter!
                               :held #(postfix/hold-queue mta)}]
          (run-tests))))))

(cases/deftests :postfix)
