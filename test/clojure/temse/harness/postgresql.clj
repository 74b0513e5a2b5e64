(ns temse.harness.postgresql
  "A real PostgreSQL for tests, isolated from all others on the machine: own data, port and log, no
  password.

    (with-open [postgresql (postgresql/start)]
      (database/database {:url (postgresql/url postgresql), :user \"temse\"})
      (postgresql/control postgresql \"restart\"))

  It needs root and the programs of PostgreSQL, see `unavailable`."
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as str]
   [temse.harness.mta :as mta])
  (:import
   (java.io Closeable File)
   (java.lang ProcessHandle)))

(set! *warn-on-reflection* true)

(def ^:private parameters
  "listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
")

(defn- programs
  "Returns the directory of the newest PostgreSQL of the machine, or nil."
  []
  (->> (.listFiles (io/file "/usr/lib/postgresql"))
       (map #(io/file % "bin"))
       (filter #(.canExecute (io/file % "initdb")))
       (sort-by (fn [^File bin] (parse-double (.getName (.getParentFile bin)))))
       last))

(defn unavailable
  "Returns the reason why PostgreSQL cannot be started here, or nil when it can."
  []
  (cond
    (not= "root" (System/getProperty "user.name")) "PostgreSQL is started by root only"
    (nil? (programs)) "PostgreSQL is not installed"))

(defn start
  "Starts a new PostgreSQL and returns it as soon as it listens: see `temse.harness.mta/start`."
  ^Closeable []
  (mta/start {:script "temse/harness/postgresql.sh"
              :arguments [(programs)]
              :files (fn [port] {"postgresql.conf" (str parameters "port = " port "\n")})}))

(defn url
  "Returns the JDBC URL of its database; the user is \"temse\"."
  [{:keys [port]}]
  (str "jdbc:postgresql://127.0.0.1:" port "/postgres"))

(defn control
  "Has pg_ctl \"start\", \"stop\" or \"restart\" it, and waits until that is done. Connections end at once."
  [{:keys [^File queue-directory]} command]
  (let [directory (.getParentFile queue-directory)
        {:keys [exit out err]} (apply shell/sh
                                      (concat ["runuser" "-u" "postgres" "--" (str (io/file (programs) "pg_ctl"))
                                               "-D" (str directory "/data") "-w"]
                                              (when-not (= "start" command) ["-m" "fast"])
                                              (when-not (= "stop" command) ["-l" (str directory "/mail.log")])
                                              [command :dir "/"]))]
    (when-not (zero? exit)
      (throw (ex-info (str/join "\n" [out err]) {:command command})))))

(defn signal
  "Sends a signal, such as \"STOP\" or \"CONT\", to all processes of it."
  [{:keys [^File queue-directory]} signal]
  (let [[pid] (str/split-lines (slurp (io/file (.getParentFile queue-directory) "data/postmaster.pid")))
        ^ProcessHandle postmaster (.get (ProcessHandle/of (parse-long pid)))
        pids (cons pid (map #(str (.pid ^ProcessHandle %)) (iterator-seq (.iterator (.children postmaster)))))
        {:keys [exit err]} (apply shell/sh "kill" "-s" signal pids)]
    (when-not (zero? exit)
      (throw (ex-info err {:signal signal})))))
