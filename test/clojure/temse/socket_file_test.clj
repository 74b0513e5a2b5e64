(ns temse.socket-file-test
  "The options of Unix-domain sockets, as an operator meets them."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is testing]]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io File)
   (java.nio.file Files LinkOption)
   (java.nio.file.attribute FileAttribute PosixFileAttributes PosixFilePermissions)))

(set! *warn-on-reflection* true)

(defn- call-with-directory
  "Calls f with a new directory, which is to be empty afterwards."
  [f]
  (let [directory (.toFile (Files/createTempDirectory "temse-" (make-array FileAttribute 0)))]
    (try
      (f directory)
      (is (= [] (vec (.list directory))))
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))

(defn- mode-and-group [^File file]
  (let [attributes ^PosixFileAttributes (Files/readAttributes (.toPath file)
                                                              PosixFileAttributes
                                                              ^"[Ljava.nio.file.LinkOption;"
                                                              (make-array LinkOption 0))]
    [(PosixFilePermissions/toString (.permissions attributes))
     (.getName (.group attributes))]))

(def ^:private handlers
  {:mail (fn [_ _] nil)})

(deftest the-mta-gets-in-by-mode-and-group
  (when (not= "root" (System/getProperty "user.name"))
    (runner/skip! "only root can choose any group"))
  (call-with-directory
    (fn [directory]
      (let [file (io/file directory "filter.sock")]
        (milter/with-milter [server {:socket-path (str file)
                                     :handlers handlers
                                     :socket-permissions "rw-rw----"
                                     :socket-group "daemon"}]
          (is (= ["rw-rw----" "daemon"] (mode-and-group file)))
          (is (= :accept (:verdict (mt/run-message server {})))))))))

(deftest what-is-wrong-with-a-socket-is-told-and-nothing-is-left-behind
  (call-with-directory
    (fn [directory]
      (let [path (str (io/file directory "filter.sock"))
            told (fn [options] (support/thrown (milter/start-milter (assoc options :handlers handlers))))]
        (testing "a group that there is not"
          (let [error (told {:socket-path path, :socket-group "no-such-group"})]
            (is (= :bind-failed (:milter/error error)))
            (is (= (str "cannot listen on unix:" path ": there is no group \"no-such-group\"")
                   (:message error)))
            (is (= (str "unix:" path) (:address error)))))
        (testing "a path that is too long"
          (let [error (told {:socket-path (str path (apply str (repeat 100 "x")))})]
            (is (= :bad-options (:milter/error error)))
            (is (str/includes? (:message error) "1 to 106 bytes"))))
        (testing "a directory that there is not"
          (let [error (told {:socket-path (str (io/file directory "none" "filter.sock"))})]
            (is (= :bind-failed (:milter/error error)))
            (is (str/includes? (:message error) "none"))))))))
