(ns temse.full-disk-test
  "A disk that is full: mail that needs it is deferred, nothing is left on it, and mail passes again when
  there is room. On a file system of few kilobytes, which root alone can mount."
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.database :as database]
   [temse.filter :as filter]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io Closeable File IOException)
   (temse.client MtaSession)))

(set! *warn-on-reflection* true)

(defn- mounted
  "Calls the function with a directory that is a disk of this size, such as 512k."
  [size f]
  (support/with-directory {}
    (fn [^File directory]
      (let [{:keys [exit err]} (shell/sh "mount" "-t" "tmpfs" "-o" (str "size=" size) "temse-test" (str directory))]
        (when-not (zero? (long exit))
          (runner/skip! (str "a small disk cannot be mounted here: " err)))
        (try
          (f directory)
          (finally
            (shell/sh "umount" (str directory))))))))

(defn- lines
  "Returns a body of so many lines of 64 octets."
  [n]
  (string/join (repeat n "sixty-four octets in each line of this body, with its line end\r\n")))

(deftest where-the-disk-of-temporary-files-is-full-mail-that-needs-one-is-deferred
  (mounted "512k"
           (fn [^File directory]
             (support/with-logs _logs
               (milter/with-milter [server {:port 0
                                            :handlers (filter/message-filter
                                                        (fn [{:keys [body]} _]
                                                          [(assoc (act/accept) :why (count body))])
                                                        {:directory (str directory), :memory-per-message 1000})}]
                 (with-open [^MtaSession session (mt/connect-to server)]
                   (dotimes [_ 3]
                     (testing "in the midst of a body"
                       (is (= :temporary-failure (:verdict (mt/run-message session {:body (lines 20000)})))))
                     (testing "nothing of it is left, and what fits passes on the same connection"
                       (is (= [] (vec (.list directory))))
                       (is (= :accept (:verdict (mt/run-message session {:body (lines 4000)})))))
                     (let [{:keys [spilled-bodies spilled-bytes]} (milter/milter-status server)]
                       (is (every? #(contains? #{nil 0} %) [spilled-bodies spilled-bytes])))))
                 (testing "mail that needs no file passes while there is no room at all"
                   (with-open [out (io/output-stream (io/file directory "filler"))]
                     (is (thrown? IOException
                           (dotimes [_ 100]
                             (.write out (byte-array 10000))))))
                   (is (= :temporary-failure (:verdict (mt/run-message server {:body (lines 100)}))))
                   (is (= :accept (:verdict (mt/run-message server {:body (lines 10)}))))))))))

(deftest where-the-disk-of-a-database-is-full-mail-is-deferred-until-there-is-room
  (mounted "300k"
           (fn [^File directory]
             (let [settings {:url (str "jdbc:sqlite:" (io/file directory "state.db"))
                             :schema ["create table if not exists seen (number integer primary key, note text)"]}]
               (with-open [^Closeable db (database/database settings)]
                 (let [note (apply str (repeat 20000 "x"))
                       filter {:handlers (database/deferring
                                           {:mail (fn [_ _]
                                                    (database/execute db "insert into seen (note) values (?)" note)
                                                    [(act/accept)])})}
                       rows #(:n (first (database/query db "select count(*) as n from seen")))
                       verdict #(:verdict (mt/run-message filter {}))]
                   (support/with-logs logs
                     (let [kept (count (take-while #{:accept} (repeatedly 100 verdict)))]
                       (is (< 1 kept 100))
                       (is (= :temporary-failure (verdict)))
                       (testing "with room again mail passes, and nothing that was kept is lost"
                         (is (zero? (long (:exit (shell/sh "mount" "-o" "remount,size=3m" (str directory))))))
                         (support/await-true #(= :accept (verdict)))
                         (is (= (inc kept) (rows)))))
                     (is (= 1 (count (support/messages logs :error))) "the outage is one line of the log"))))))))
