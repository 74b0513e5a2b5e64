(ns temse.sendmail-unix-test
  "The cases of temse.mta-cases behind a real Sendmail, over a Unix-domain socket."
  (:require
   [clojure.java.io :as io]
   [clojure.test :refer [use-fixtures]]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.mta-cases :as cases]
   [temse.runner :as runner])
  (:import
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)))

(set! *warn-on-reflection* true)

(defn- socket-directory
  "Returns a new directory in which Sendmail finds sockets."
  []
  (let [mode (PosixFilePermissions/asFileAttribute (PosixFilePermissions/fromString "rwxr-xr-x"))]
    (str (Files/createTempDirectory "temse-socket" (into-array FileAttribute [mode])))))

(use-fixtures :once
  (fn [run-tests]
    (when-let [reason (sendmail/unavailable)]
      (runner/skip! reason))
    (let [directory (socket-directory)
          socket (str directory "/filter.sock")
          {:keys [server use-filter!]} (cases/start-filter (str "unix:" socket)
                                                           {:socket-permissions "rw-rw-rw-"})]
      (try
        (with-open [_ ^java.io.Closeable server
                    sink (sink/start)
                    mta (sendmail/start {:sink sink :milters [(str "unix:" socket)]})]
          (binding [cases/*lab* {:mta :sendmail
                                 :port (:port mta)
                                 :sink sink
                                 :use-filter! use-filter!
                                 :held #(keys (sendmail/quarantined mta))}]
            (run-tests)))
        (finally
          (io/delete-file directory))))))

(cases/deftests :sendmail)
