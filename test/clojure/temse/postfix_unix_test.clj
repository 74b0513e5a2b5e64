(ns temse.postfix-unix-test
  "The cases of temse.mta-cases behind a real Postfix, over a Unix-domain socket."
  (:require
   [clojure.java.io :as io]
   [clojure.test :refer [use-fixtures]]
   [temse.harness.postfix :as postfix]
   [temse.harness.sink :as sink]
   [temse.mta-cases :as cases]
   [temse.runner :as runner])
  (:import
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)))

(set! *warn-on-reflection* true)

(defn- socket-directory
  "Returns a new directory in which Postfix finds sockets."
  []
  (let [mode (PosixFilePermissions/asFileAttribute (PosixFilePermissions/fromString "rwxr-xr-x"))]
    (str (Files/createTempDirectory "temse-socket" (into-array FileAttribute [mode])))))

(use-fixtures :once
  (fn [run-tests]
    (when-let [reason (postfix/unavailable)]
      (runner/skip! reason))
    (let [directory (socket-directory)
          socket (str directory "/filter.sock")
          {:keys [server use-filter!]} (cases/start-filter (str "unix:" socket)
                                                           {:socket-permissions "rw-rw-rw-"})]
      (try
        (with-open [_ ^java.io.Closeable server
                    sink (sink/start)
                    mta (postfix/start {:sink sink :milters [(str "unix:" socket)]})]
          (binding [cases/*lab* {:mta :postfix
                                 :port (:port mta)
                                 :sink sink
                                 :use-filter! use-filter!
                                 :held #(postfix/hold-queue mta)}]
            (run-tests)))
        (finally
          (io/delete-file directory))))))

(cases/deftests :postfix)
