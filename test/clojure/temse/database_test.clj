(ns temse.database-test
  "State in a database: on SQLite, and on a PostgreSQL that is stopped and started."
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing use-fixtures]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as properties]
   [temse.action :as act]
   [temse.database :as database :refer [database execute query transaction unavailable?]]
   [temse.harness.postgresql :as postgresql]
   [temse.milter :refer [respond]]
   [temse.runner :as runner]
   [temse.support :refer [awaited thrown with-logs]]
   [temse.test :as mt])
  (:import
   (com.zaxxer.hikari HikariDataSource)
   (java.io File FileOutputStream IOException)
   (java.nio.file Files LinkOption)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.sql DriverManager SQLException)
   (java.util.concurrent CyclicBarrier)
   (temse.database Database)))

(set! *warn-on-reflection* true)

(def ^:private schema
  ["create table if not exists seen (sender text primary key, mails bigint not null, note text)"])

(def ^:dynamic ^:private *directory* nil)

(def ^:private postgresql
  "Started by the first test that needs it."
  (atom nil))

(defn- temporary-directory
  ^File []
  (.toFile (Files/createTempDirectory "temse-database-" (make-array FileAttribute 0))))

(use-fixtures :once
  (fn [run]
    (let [directory (temporary-directory)]
      (try
        (binding [*directory* directory]
          (run))
        (finally
          (run! io/delete-file (reverse (file-seq directory)))
          (when-let [started (first (reset-vals! postgresql nil))]
            (.close ^java.io.Closeable started)))))))

(defn- sqlite
  "Returns the settings of a database in a file."
  [file-name]
  {:url (str "jdbc:sqlite:" (io/file *directory* file-name)), :schema schema})

(defn- running-postgresql
  []
  (when-let [reason (postgresql/unavailable)]
    (runner/skip! reason))
  (or @postgresql (reset! postgresql (postgresql/start))))

(defn- settings-of
  "Returns the settings of a database without rows."
  [kind]
  (if (= :sqlite kind)
    (sqlite (str (gensym "sqlite") ".db"))
    (let [settings {:url (postgresql/url (running-postgresql)), :user "temse", :schema schema}]
      (with-open [db (database (dissoc settings :schema))]
        (execute db "drop table if exists seen"))
      settings)))

(defmacro ^:private on-each
  "Runs the body on SQLite and then on PostgreSQL, with the settings of an empty database."
  [settings & body]
  `(doseq [kind# [:sqlite :postgresql]]
     (testing kind#
       (let [~settings (settings-of kind#)]
         ~@body))))

(defn- count-mail
  [db sender]
  (:mails (first (query db "insert into seen (sender, mails) values (?, 1)
                            on conflict (sender) do update set mails = seen.mails + 1 returning mails"
                        sender))))

;; ---- statements

(deftest an-upsert-returns-its-row-in-one-statement-on-both-databases
  (on-each settings
    (with-open [db (database settings)]
      (is (= [1 2 1 3] (mapv #(count-mail db %) ["a" "a" "b" "a"])))
      (is (= [{:sender "a", :mails 3, :note nil} {:sender "b", :mails 1, :note nil}]
             (query db "select * from seen order by sender")))
      (is (= 2 (execute db "update seen set note = ?" "x")))
      (is (= [{:first-seen 1}] (query db "select mails as first_seen from seen where sender = ?" "b"))))))

(def ^:private any-text
  (gen/fmap string/join
            (gen/vector (gen/one-of [gen/char-ascii
                                     (gen/elements ["\u0000" "\u001a" "\u001a0000" "\udc80" "\ud800" "\ud83d\ude00" "é" "'" "\\"])]))))

(defspec every-text-is-read-as-it-was-stored-and-differs-from-every-other 50
  (properties/for-all [texts (gen/vector any-text 1 10)]
    (with-open [db (database (settings-of :sqlite))]
      (run! #(count-mail db %) texts)
      (= (frequencies texts)
         (into {} (map (juxt :sender :mails)) (query db "select sender, mails from seen"))))))

(deftest postgresql-stores-what-it-refuses-by-itself
  (with-open [db (database (settings-of :postgresql))]
    (let [text "a\u0000b\udcff\u001a\ud83d\ude00"]
      (count-mail db text)
      (is (= [{:sender text}] (query db "select sender from seen where sender = ?" text))))))

(deftest a-transaction-happens-as-a-whole-or-not-at-all
  (on-each settings
    (with-open [db (database settings)]
      (is (= 2 (transaction db (fn [db]
                                 (count-mail db "a")
                                 (transaction db #(count-mail % "a"))))))
      (is (= "no" (:message (thrown (transaction db (fn [db]
                                                      (execute db "delete from seen")
                                                      (throw (ex-info "no" {}))))))))
      (is (= [{:mails 2}] (query db "select mails from seen"))))))

(deftest calls-at-once-count-each-mail
  (on-each settings
    (with-open [db (database settings)]
      (let [counts (mapv awaited (doall (repeatedly 40 #(future (count-mail db "a")))))]
        (is (= (set (range 1 41)) (set counts)))))))

(deftest a-wrong-statement-is-no-outage
  (on-each settings
    (with-open [db (database settings)]
      (let [e (try (query db "select nothing from nowhere") (catch SQLException e e))]
        (is (instance? SQLException e))
        (is (not (unavailable? e)))
        (is (= 1 (count-mail db "a")))))))

;; ---- settings and pools

(deftest the-same-settings-have-the-same-pool
  (with-open [db (database (sqlite "pool.db"))]
    (execute db "create temporary table mine (x bigint)")
    (is (= [] (query (database (sqlite "pool.db")) "select * from mine"))
        "a temporary table belongs to one connection")
    (with-open [other (database (assoc (sqlite "pool.db") :timeout 1000))]
      (is (thrown? SQLException (query other "select * from mine"))))))

(deftest a-new-file-can-be-read-by-its-owner-alone
  (with-open [db (database (sqlite "private.db"))]
    (count-mail db "a")
    (doseq [file ["private.db" "private.db-wal"]]
      (is (= "rw-------"
             (PosixFilePermissions/toString
               (Files/getPosixFilePermissions (.toPath (io/file *directory* file)) (make-array LinkOption 0))))
          file))))

(deftest wrong-settings-are-errors-that-say-what-is-right
  (doseq [[settings message]
          {{:url "jdbc:mysql://x"} #":url must be a text such as \"jdbc:sqlite:/var"
           {} #"lack :url, a text such as"
           {:url "jdbc:sqlite:x" :uesr "a"} #"no key :uesr in the settings of a database; did you mean :user\?"
           {:url "jdbc:sqlite:x" :timeout 3} #":timeout must be milliseconds, 250 to 60000"
           {:url "jdbc:sqlite::memory:"} #"name a file"
           {:url "jdbc:sqlite:/nowhere/at/all.db"} #"the directory of the database /nowhere/at/all.db does not exist"}]
    (is (re-find message (:message (thrown (database settings)))))))

(deftest a-database-does-not-show-its-password
  (with-open [db (database (assoc (sqlite "secret.db") :password "secret1"))]
    (is (not (re-find #"secret1" (pr-str db)))))
  (with-open [db (database {:url "jdbc:postgresql://127.0.0.1:1/x?password=secret2"})]
    (is (= "#<database jdbc:postgresql://127.0.0.1:1/x>" (pr-str db)))))

(defn- java-without
  "Requires temse.database and opens one in a JVM without a library, and returns what it prints."
  [library]
  (let [class-path (->> (string/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
                        (remove #(string/includes? % library))
                        (string/join File/pathSeparator))
        {:keys [out err]} (shell/sh (str (io/file (System/getProperty "java.home") "bin" "java"))
                                    "-cp" class-path "clojure.main" "--report" "stderr"
                                    "-e" "((requiring-resolve 'temse.database/database) {:url \"jdbc:sqlite:x\"})")]
    (str out err)))

(deftest a-missing-library-is-an-error-that-says-what-to-add
  (doseq [[library needed]
          {"HikariCP" ["temse.database requires HikariCP"
                       "com.zaxxer/HikariCP {:mvn/version \"6.3.3\"}"
                       "[com.zaxxer/HikariCP \"6.3.3\"]"
                       "<artifactId>HikariCP</artifactId>"]
           "sqlite-jdbc" ["jdbc:sqlite:x requires sqlite-jdbc"
                          "org.xerial/sqlite-jdbc {:mvn/version \"3.50.3.0\"}"]}
          :let [printed (java-without library)]
          text needed]
    (is (string/includes? printed text)))
  (let [dependencies (slurp "deps.edn")]
    (doseq [[_ library] (re-seq #":library \[(\"[^\]]+)\]" (slurp "src/clojure/temse/database.clj"))
            :let [[group artifact version] (map second (re-seq #"\"([^\"]+)\"" library))]]
      (is (string/includes? dependencies (str group "/" artifact " {:mvn/version \"" version "\"}"))))))

(deftest pools-that-start-together-make-the-schema-once
  (on-each settings
    (let [pools (mapv #(database (assoc settings :timeout (+ 3000 (long %)))) (range 6))
          barrier (CyclicBarrier. 6)]
      (try
        (is (= (set (range 1 7))
               (set (mapv awaited (mapv #(future (.await barrier) (count-mail % "a")) pools)))))
        (finally
          (run! #(.close ^java.io.Closeable %) pools))))))

;; ---- outages

(defn- failure
  "Returns the exception of a call that fails because the database is down."
  [f]
  (try
    (f)
    nil
    (catch SQLException e
      (when-not (unavailable? e) (throw e))
      e)))

(defn- await-success
  "Calls f until it does not fail, for ten seconds at most."
  [f]
  (awaited (future (loop []
                     (when (failure f)
                       (Thread/yield)
                       (recur))))))

(defn- await-failure
  "Calls f until it fails because the database is down, a thousand times at most; returns the exception, or nil."
  [f]
  (first (keep (fn [_] (failure f)) (range 1000))))

(defn- outage-lines
  [records]
  (filterv #(re-find #"^the database .*(is down|is back)" %) (map :message @records)))

(deftest an-outage-is-logged-once-and-so-is-its-end
  (let [running (running-postgresql)]
    (with-open [db (database (assoc (settings-of :postgresql) :timeout 500))]
      (with-logs records
        (is (= 1 (count-mail db "a")))
        (postgresql/control running "stop")
        (try
          (let [failures (mapv awaited (doall (repeatedly 100 #(future (failure (fn [] (count-mail db "a")))))))]
            (is (every? some? failures)))
          (is (= 1 (count (outage-lines records))))
          (finally
            (postgresql/control running "start")))
        (await-success #(count-mail db "a"))
        (let [[down back & more] (outage-lines records)]
          (is (re-find #"is down, and what needs it fails: \S" down))
          (is (re-find #"is back after \d+ s$" back))
          (is (nil? more)))))))

(deftest what-fails-during-an-outage-fails-at-once
  (with-open [db (database {:url "jdbc:postgresql://127.0.0.1:1/x", :timeout 250})]
    (with-logs records
      (let [first-failure (failure #(query db "select 1"))
            more (failure #(query db "select 1"))]
        (is (some? first-failure))
        (is (re-find #"^the database jdbc:postgresql://127.0.0.1:1/x has been down for \d+ s: .*(refused|not available)"
                     (ex-message more)))
        (is (= [:error] (map :level @records)))))))

(deftest what-a-database-has-lost-is-made-with-the-next-connection
  (on-each settings
    (with-open [db (database settings)]
      (is (= 1 (count-mail db "a")))
      (execute db "drop table seen")
      (.softEvictConnections (.getHikariPoolMXBean ^HikariDataSource (:source (.-pool ^Database db))))
      (is (= 1 (count-mail db "a"))))))

(deftest a-database-may-be-restarted-and-lose-everything
  (let [running (running-postgresql)]
    (with-open [db (database (settings-of :postgresql))]
      (is (= 1 (count-mail db "a")))
      (with-open [other (database {:url (postgresql/url running), :user "temse", :timeout 1000})]
        (execute other "drop table seen"))
      (postgresql/control running "restart")
      (await-success #(count-mail db "b"))
      (is (= [{:sender "b"}] (query db "select sender from seen"))))))

(deftest a-statement-that-takes-too-long-is-an-outage
  (with-open [db (database (assoc (settings-of :postgresql) :timeout 250))]
    (is (some? (failure #(query db "select pg_sleep(20)"))))))

(deftest a-locked-file-is-an-outage-that-ends-with-the-lock
  (let [settings (assoc (sqlite "locked.db") :timeout 250)]
    (with-open [db (database settings)
                locker (DriverManager/getConnection (:url settings))]
      (count-mail db "a")
      (.execute (.createStatement locker) "begin immediate")
      (is (some? (failure #(count-mail db "a"))))
      (.execute (.createStatement locker) "rollback")
      (await-success #(count-mail db "a")))))

(defmacro ^:private with-small-disk
  "Runs the body where a directory is a disk of 512 KiB."
  [directory & body]
  `(let [^File directory# ~directory
         _# (.mkdir directory#)
         {exit# :exit, problem# :err} (shell/sh "mount" "-t" "tmpfs" "-o" "size=512k" "temse-test" (str directory#))]
     (if (zero? exit#)
       (try
         ~@body
         (finally
           (shell/sh "umount" (str directory#))))
       (runner/skip! (str "a small disk cannot be mounted here: " problem#)))))

(deftest a-full-disk-is-an-outage-that-ends-when-there-is-room
  (let [directory (io/file *directory* "disk")
        ^File rest-of-disk (io/file directory "rest")
        long-note (string/join (repeat 5000 "x"))]
    (with-small-disk directory
      (with-open [db (database (sqlite "disk/seen.db"))]
        (with-logs records
          (is (= 1 (count-mail db "a")))
          (with-open [out (FileOutputStream. rest-of-disk)]
            (try
              (while true
                (.write out (byte-array 4096)))
              (catch IOException _)))
          (is (some? (await-failure #(execute db "insert into seen values (?, 1, ?)" (str (gensym)) long-note))))
          (is (every? some? (repeatedly 50 #(failure (fn [] (count-mail db "a"))))))
          (is (= 1 (count (outage-lines records))))
          (is (re-find #"FULL|IOERR" (first (outage-lines records))))
          (io/delete-file rest-of-disk)
          (await-success #(count-mail db "a"))
          (is (< 1 (long (count-mail db "a"))) "nothing is lost")
          (is (= 2 (count (outage-lines records)))))))))

(deftest what-sqlite-cannot-write-is-an-outage-that-ends-with-another-connection
  (with-open [db (database (sqlite "read-only.db"))]
    (with-logs records
      (is (= 1 (count-mail db "a")))
      (execute db "pragma query_only = on")
      (is (some? (failure #(count-mail db "a"))))
      (is (re-find #"is down, .*READONLY" (first (outage-lines records))))
      (await-success #(count-mail db "a"))
      (is (= 2 (count (outage-lines records)))))))

;; ---- mail

(deftest mail-is-deferred-with-a-reason-while-the-database-is-down
  (with-open [db (database {:url "jdbc:postgresql://127.0.0.1:1/x", :timeout 250})]
    (let [handlers (database/deferring
                     {:recipient (fn [_ context] (query db "select 1") context)
                      :end-of-message (fn [_ context] (respond context (act/accept)))
                      :message-end (fn [_ context] (query db "select 1") context)})]
      (with-logs records
        (is (= :temporary-failure (:verdict (mt/run-message {:handlers handlers} {}))))
        (is (= 1 (count (outage-lines records))))
        (let [[reply] ((:recipient handlers) {:event :recipient} {})]
          (is (= [451 "4.3.0"] ((juxt :smtp-code :enhanced-code) reply)))
          (is (re-find #"has been down" (:why reply))))))))

(deftest periodic-work-is-left-out-while-the-database-is-down
  (with-open [down (database {:url "jdbc:postgresql://127.0.0.1:1/x", :timeout 250})
              up (database (sqlite "periodic.db"))]
    (is (nil? ((database/unless-down #(query down "select 1")))))
    (is (= [{:x 1}] ((database/unless-down query) up "select 1 as x")))
    (is (thrown? SQLException ((database/unless-down query) up "select nothing")))))

(deftest other-failures-of-handlers-remain-failures
  (with-open [db (database (sqlite "wrong.db"))]
    (let [handlers (database/deferring {:recipient (fn [_ _] (query db "select nothing"))})
          report (mt/run-message {:handlers handlers} {})]
      (is (= :temporary-failure (:verdict report)))
      (is (re-find #"syntax error" (ex-message (:error (first (:errors report)))))))))
