(ns temse.database
  "State of filters in a database, SQLite or PostgreSQL: a pool of connections, statements with
  parameters, and what happens to mail while the database is down.

  Requires com.zaxxer/HikariCP and the JDBC driver, org.xerial/sqlite-jdbc or org.postgresql/postgresql,
  which temse does not bring along.

    (def counts
      (database {:url \"jdbc:sqlite:/var/lib/temse/counts.db\"
                 :schema [\"create table if not exists seen (sender text primary key, mails bigint not null)\"]}))

    (query counts \"insert into seen values (?, 1)
                   on conflict (sender) do update set mails = seen.mails + 1 returning mails\" sender)
    ;=> [{:mails 3}]

  The SQL is that of the database. Both know the upsert above, which is atomic in one statement (SQLite
  since 3.35, which the driver includes), and the types text and bigint. Parameters and results are
  strings, numbers, booleans, bytes and nil. Every string can be stored, whatever octets a stranger
  has put into an address: NUL and lone surrogates, which databases refuse, are stored as U+001A with
  four hexadecimal digits and read as they were.

  While the database is down, functions throw an SQLException for which `unavailable?` is true. The
  first failure is logged, as `temse.outage` does; for a second after each failure, calls fail at once, so that
  mail does not queue up; then one tries again. The first that succeeds is logged, too. Nothing has to be restarted, and
  the database may be down when the filter starts. `deferring` defers the mail meanwhile."
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.impl.keys :as keys]
   [temse.impl.log :as impl.log]
   [temse.impl.text :as text]
   [temse.outage :as outage])
  (:import
   (clojure.lang IPersistentMap)
   (java.io Closeable File Writer)
   (java.nio.file FileAlreadyExistsException Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.sql Connection PreparedStatement ResultSet SQLException SQLNonTransientConnectionException SQLRecoverableException SQLTimeoutException SQLTransientConnectionException)
   (java.util Collections Map WeakHashMap)))

(set! *warn-on-reflection* true)

;; ---- libraries

(defn- check-library
  "Throws an IllegalStateException that says what to add where a class is missing."
  [what class-name group artifact version]
  (try
    (Class/forName class-name)
    (catch ClassNotFoundException _
      (throw (IllegalStateException.
               (str what " requires " artifact ". Add to deps.edn: "
                    group "/" artifact " {:mvn/version \"" version "\"};"
                    " or to project.clj: [" group "/" artifact " \"" version "\"];"
                    " or to pom.xml: <dependency><groupId>" group "</groupId><artifactId>" artifact
                    "</artifactId><version>" version "</version></dependency>"))))))

(check-library "temse.database" "com.zaxxer.hikari.HikariDataSource" "com.zaxxer" "HikariCP" "6.3.3")

(import '(com.zaxxer.hikari HikariConfig HikariDataSource SQLExceptionOverride SQLExceptionOverride$Override))

;; ---- settings

(def ^:private dialects
  "By the beginning of the URL."
  {"jdbc:sqlite:" {:driver "org.sqlite.JDBC"
                   :library ["org.xerial" "sqlite-jdbc" "3.50.3.0"]
                   ;; Writers take turns in any case; with one connection they do so in order.
                   :pool-size 1
                   :properties (fn [millis]
                                 {"journal_mode" "WAL"
                                  "synchronous" "NORMAL"
                                  "busy_timeout" millis
                                  "transaction_mode" "IMMEDIATE"})
                   ;; BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB
                   :outage? (fn [^SQLException e]
                              (contains? #{5 6 8 10 11 13 14 26} (bit-and 0xFF (.getErrorCode e))))}
   "jdbc:postgresql:" {:driver "org.postgresql.Driver"
                       :library ["org.postgresql" "postgresql" "42.7.13"]
                       :pool-size 4
                       :properties (fn [millis]
                                     (let [seconds (quot (+ (long millis) 999) 1000)]
                                       {"connectTimeout" seconds
                                        "loginTimeout" seconds
                                        "socketTimeout" (inc seconds)
                                        "options" (str "-c statement_timeout=" millis)
                                        "tcpKeepAlive" true
                                        "ApplicationName" "temse"}))
                       ;; One at a time, since "if not exists" alone lets two processes collide.
                       :schema-lock "select pg_advisory_xact_lock(7163746)"
                       :outage? (constantly false)}})

(defn- dialect-of
  "Returns the dialect of a URL, or nil."
  [url]
  (when (string? url)
    (some (fn [[beginning dialect]]
            (when (and (string/starts-with? url beginning) (not= url beginning))
              (assoc dialect :rest (subs url (count beginning)))))
          dialects)))

(def ^:private table
  {:url ["a text such as \"jdbc:sqlite:/var/lib/temse/filter.db\" or \"jdbc:postgresql://db.example.org/temse\""
         dialect-of]
   :user ["a text" string?]
   :password ["a text" string?]
   :pool-size ["a number, 1 to 100" #(and (int? %) (<= 1 (long %) 100))]
   :timeout ["milliseconds, 250 to 60000" #(and (int? %) (<= 250 (long %) 60000)) 3000]
   :schema ["a sequence of SQL statements" #(and (sequential? %) (every? string? %))]})

(defn- title-of
  "Returns what logs call a database: its URL without parameters, which may be secret."
  [{:keys [url]}]
  (string/replace url #"(?s)\?.*" ""))

(defn- private-file!
  "Makes a file that only its owner can read, unless it is there."
  [path]
  (let [file (.getAbsoluteFile (File. (string/replace path #"(?s)^file:|\?.*" "")))
        directory (.getParentFile file)]
    (when-not (.isDirectory directory)
      (throw (keys/bad-option :url path (str "the directory of the database " file " does not exist"))))
    (try
      (Files/createFile (.toPath file)
                        (into-array FileAttribute [(PosixFilePermissions/asFileAttribute
                                                     (PosixFilePermissions/fromString "rw-------"))]))
      (catch FileAlreadyExistsException _))
    (when-not (and (.canRead file) (.canWrite file))
      (throw (keys/bad-option :url path (str "the database " file " cannot be read and written"))))))

(defn- check
  "Returns settings with defaults, and their dialect."
  [settings]
  (let [settings (keys/with-defaults "the settings of a database" settings table)
        {:keys [driver library pool-size] in :rest :as dialect}
        (or (dialect-of (:url settings))
            (throw (keys/bad-option :url nil (str "the settings of a database lack :url, "
                                                  (first (:url table))))))]
    (apply check-library (:url settings) driver library)
    (when (= "org.sqlite.JDBC" driver)
      (when (re-find #":memory:|mode=memory" in)
        (throw (keys/bad-option :url (:url settings) "a database in memory has no second connection: name a file")))
      (private-file! in))
    [(merge {:pool-size pool-size} settings) dialect]))

;; ---- pools

(def ^:private pause-nanos
  "How long calls fail at once after a failure."
  1000000000)

(defn- open-pool
  "Returns a pool. It connects when it is asked to."
  [{:keys [url user password pool-size timeout] :as settings} {:keys [driver properties] :as dialect}]
  (let [config (doto (HikariConfig.)
                 (.setPoolName (str "temse " (title-of settings)))
                 (.setDriverClassName driver)
                 (.setJdbcUrl url)
                 (.setMaximumPoolSize (int pool-size))
                 (.setMinimumIdle 0)
                 (.setIdleTimeout 60000)
                 (.setConnectionTimeout (long timeout))
                 (.setValidationTimeout (long timeout))
                 (.setInitializationFailTimeout -1)
                 ;; The pool would log each connection that an outage breaks.
                 (.setExceptionOverride (reify SQLExceptionOverride
                                          (adjudicate [_ _] SQLExceptionOverride$Override/DO_NOT_EVICT))))]
    (when user (.setUsername config user))
    (when password (.setPassword config password))
    (doseq [[property value] (properties timeout)]
      (.addDataSourceProperty config property (str value)))
    {:title (title-of settings)
     :dialect dialect
     :timeout timeout
     :source (HikariDataSource. config)
     :outage (atom nil)
     :log (outage/outage (str "the database " (title-of settings)))
     :schemas (Collections/synchronizedMap (WeakHashMap.))}))

(defonce ^:private ^{:doc "The pools of this process by their settings, each a delay."} pools (atom {}))

(deftype ^:private Database [settings pool schema connection]
  Closeable
  (close [_]
    (swap! pools dissoc settings)
    (.close ^HikariDataSource (:source pool)))

  Object
  (toString [_]
    (str "database " (:title pool))))

(defmethod print-method Database
  [database ^Writer writer]
  (.write writer (str "#<" database ">")))

(defn database
  "Returns a database for `query`, `execute` and `transaction`. It is connected when it is used first; until
  then it may be down. The same settings give the same pool, however often this is called, so that a
  filter that is loaded again keeps its connections. Closeable; a pool that is not used keeps no
  connection.

    :url        ; jdbc:sqlite:FILE, which is made with mode 0600 if it does not exist, or
                ; jdbc:postgresql://HOST:PORT/DATABASE, with the driver's parameters such as ?sslmode=verify-full
    :user       ; of PostgreSQL (default: none)
    :password   ; (default: none)
    :pool-size  ; connections at most (default: 4; SQLite: 1)
    :timeout    ; milliseconds that a call waits for a connection, and that a statement may take; both
                ; together should be below the time limit of the MTA (default: 3000)
    :schema     ; statements that make what does not exist, run in one transaction before the first
                ; use of each connection of the pool; processes that start together do so one after the other

  SQLite is used with its write-ahead log and synchronous=NORMAL: what was written last may be lost if
  the machine loses power, and nothing else.

  Throws :bad-options if a setting is wrong or the file cannot be written; an IllegalStateException that
  says what to add if the driver is missing.

    (database {:url \"jdbc:postgresql://db.example.org/temse\" :user \"temse\" :password \"secret\"})"
  ^Closeable [settings]
  (let [[{:keys [schema] :as settings} dialect] (check settings)
        settings (dissoc settings :schema)
        opened (swap! pools update settings #(or % (delay (open-pool settings dialect))))]
    (try
      (->Database settings @(opened settings) (vec schema) nil)
      (catch Throwable e
        (swap! pools dissoc settings)
        (throw e)))))

;; ---- outages

(defn- outage-of?
  [{:keys [dialect]} ^SQLException e]
  (or (instance? SQLTransientConnectionException e)
      (instance? SQLNonTransientConnectionException e)
      (instance? SQLRecoverableException e)
      (instance? SQLTimeoutException e)
      ;; Connection, resources, intervention by an operator, system, internal error
      (some? (re-find #"^(?:08|53|57|58|XX)" (str (.getSQLState e))))
      ((:outage? dialect) e)))

(defn unavailable?
  "Returns true for an exception that means that a database is down, overloaded or too slow: what
  failed may succeed later. False if the statement itself is wrong.

    (try (query db \"select 1\")
      (catch SQLException e
        (when-not (unavailable? e) (throw e))))"
  [e]
  (some? (some #(and (instance? SQLException %)
                     (some (fn [dialect] (outage-of? {:dialect dialect} %)) (vals dialects)))
               (take-while some? (iterate ex-cause e)))))

(defn- seconds-since
  [nanos]
  (quot (- (System/nanoTime) (long nanos)) 1000000000))

(defn- check-outage
  "Returns true if this call is to find out whether an outage is over, nil if there is none. Throws
  during an outage."
  [{:keys [outage title timeout]}]
  (when-let [{:keys [since retry problem] :as known} @outage]
    (let [now (System/nanoTime)
          next-retry (+ now (* 1000000 (long timeout)) (long pause-nanos))]
      (or (and (<= (long retry) now)
               (compare-and-set! outage known (assoc known :retry next-retry)))
          (throw (SQLTransientConnectionException.
                   (str "the database " title " has been down for " (seconds-since since) " s: " problem)
                   "08001"))))))

(defn- problem-text
  "Returns what the driver says, which the pool wraps."
  [e]
  (impl.log/problem-text (last (filter #(instance? SQLException %) (take-while some? (iterate ex-cause e))))))

(defn- down!
  [{:keys [outage log ^HikariDataSource source]} e]
  (let [now (System/nanoTime)
        problem (problem-text e)
        [before _] (swap-vals! outage (fn [known]
                                        {:since (:since known now)
                                         :retry (+ now (long pause-nanos))
                                         :problem problem}))]
    (outage/failed! log problem)
    (when-not before
      (.softEvictConnections (.getHikariPoolMXBean source)))))

(defn- up!
  [{:keys [outage log]}]
  (when (first (reset-vals! outage nil))
    (outage/worked! log)))

(defn- with-pooled
  "Returns what f returns for a connection from the pool, which keeps none that an outage may have broken."
  [{:keys [^HikariDataSource source] :as pool} f]
  (with-open [connection (.getConnection source)]
    (try
      (f connection)
      (catch SQLException e
        (when (outage-of? pool e)
          (.evictConnection source connection))
        (throw e)))))

(defn- connected
  "Returns what f returns for a connection from the pool. Notes whether the database is down."
  [pool f]
  (let [finds-out? (check-outage pool)]
    (try
      (let [value (with-pooled pool f)]
        (when finds-out? (up! pool))
        value)
      (catch SQLException e
        (cond
          (outage-of? pool e) (down! pool e)
          finds-out? (up! pool))
        (throw e)))))

;; ---- values

(def ^:private unfit
  "What a database cannot hold, and the character that stands before what was replaced."
  #"[\x{0}\x{1A}]|[\x{D800}-\x{DFFF}]")

(defn- storable
  "Returns a text that a database can hold."
  [^String value]
  (if (re-find unfit value)
    (string/replace value unfit #(text/formatted "\u001a%04x" (int (first %))))
    value))

(defn- as-stored
  [value]
  (if (string? value) (storable value) value))

(defn- as-read
  [value]
  (cond
    (string? value) (if (string/includes? value "\u001a")
                      (string/replace value #"\x{1A}([0-9a-f]{4})" #(str (char (Integer/parseInt (second %) 16))))
                      value)
    (or (instance? Integer value) (instance? Short value)) (long value)
    :else value))

(defn- row-keys
  [^ResultSet results]
  (let [columns (.getMetaData results)]
    (mapv #(keyword (string/replace (text/lower-case (.getColumnLabel columns (int %))) "_" "-"))
          (range 1 (inc (.getColumnCount columns))))))

(defn- rows
  [^ResultSet results]
  (let [names (row-keys results)]
    (loop [found []]
      (if (.next results)
        (recur (conj found (into {}
                                 (map-indexed (fn [i column]
                                                [column (as-read (.getObject results (inc (int i))))]))
                                 names)))
        found))))

(defn- run-statement
  "Prepares a statement with its parameters and returns what f returns for it."
  [^Connection connection ^String sql parameters f]
  (with-open [statement (.prepareStatement connection sql)]
    (dorun (map-indexed (fn [i value] (.setObject statement (inc (int i)) (as-stored value))) parameters))
    (f statement)))

(defn- queried
  [^PreparedStatement statement]
  (with-open [results (.executeQuery statement)]
    (rows results)))

(defn- executed
  [^PreparedStatement statement]
  (.executeLargeUpdate statement))

;; ---- statements

(defn- in-transaction
  "Returns what f returns for a connection, and commits; where f throws, nothing has happened."
  [^Connection connection f]
  (.setAutoCommit connection false)
  (try
    (let [value (f connection)]
      (.commit connection)
      value)
    (catch Throwable e
      (try
        (.rollback connection)
        (catch SQLException suppressed
          (.addSuppressed e suppressed)))
      (throw e))
    (finally
      (try
        (.setAutoCommit connection true)
        ;; Where the connection is lost, the pool gives it up.
        (catch SQLException _)))))

(defn- make-schema
  "Makes what does not exist, once for each connection that the pool opens: a database that was restarted, or
  replaced by another one, may have lost it."
  [{:keys [^Map schemas dialect]} schema ^Connection connection]
  (when (seq schema)
    (let [opened (.unwrap connection Connection)
          made (.get schemas opened)]
      (when-not (contains? made schema)
        (in-transaction connection
                        (fn [connection]
                          (when-let [sql (:schema-lock dialect)]
                            (run-statement connection sql [] queried))
                          (doseq [sql schema]
                            (run-statement connection sql [] executed))))
        (.put schemas opened (conj (or made #{}) schema))))))

(defn- call
  "Returns what f returns for a connection of a database, that of its transaction if there is one."
  [^Database database f]
  (when-not (instance? Database database)
    (throw (IllegalArgumentException.
             (str "the first argument must be what temse.database/database returned, not "
                  (keys/shown database)))))
  (if-let [connection (.-connection database)]
    (f connection)
    (connected (.-pool database)
               (fn [connection]
                 (make-schema (.-pool database) (.-schema database) connection)
                 (f connection)))))

(defn query
  "Returns the rows of a statement, a vector of maps. Keys are the names of columns as keywords, in lower
  case and with hyphens for underscores. The statement may also change something and return rows with
  `returning`. Each ? stands for a parameter.

    (query db \"select sender, first_seen from seen where mails > ?\" 10)
    ;=> [{:sender \"a@example.org\", :first-seen 1764230400000}]"
  [database sql & parameters]
  (call database #(run-statement % sql parameters queried)))

(defn execute
  "Runs a statement that returns no rows, and returns how many rows it has changed. Each ? stands for a
  parameter.

    (execute db \"delete from seen where mails = ?\" 1)   ;=> 12"
  [database sql & parameters]
  (call database #(run-statement % sql parameters executed)))

(defn transaction
  "Returns what f returns for a database on which all statements belong to one transaction, committed
  when f returns; if it throws, none of them has happened. Within another transaction it is part of that.
  In SQLite it excludes other writers from its beginning.

    (transaction db (fn [db]
                      (execute db \"delete from seen\")
                      (execute db \"insert into seen values (?, 1)\" sender)))"
  [^Database database f]
  (call database
        (fn [connection]
          (let [run #(f (->Database (.-settings database) (.-pool database) (.-schema database) %))]
            (if (.-connection database)
              (run connection)
              (in-transaction connection run))))))

;; ---- what waits for the end of an outage

(defn unless-down
  "Returns a function that does what f does, and nothing while a database is down: for periodic work, which is
  due again soon.

    (periodic/every ::expiry 60000 (unless-down #(execute db \"delete from seen where mails = 1\")))"
  [f]
  (fn [& args]
    (try
      (apply f args)
      (catch SQLException e
        (when-not (unavailable? e)
          (throw e))))))

(def ^:private unanswered
  "Events that have no answer, or another one."
  #{:options :message-end :disconnect})

(defn deferring
  "Returns handlers, a map of event to function or var, that answer 451 4.3.0 where they throw because a
  database is down: without it each mail would be logged as a failure. The reason is in the :why of the
  reply. What comes as a future, promise or channel is not covered.

    (start-milter {:port 20025 :handlers (deferring {:recipient #'on-recipient})})"
  [handlers]
  (into {}
        (map (fn [[event-type handler]]
               [event-type
                (with-meta
                  (fn [event context]
                    (try
                      (handler event context)
                      (catch SQLException e
                        (if (and (unavailable? e) (not (unanswered event-type)))
                          [(assoc (act/reply-code 451 "4.3.0" "Temporary failure, please try again later")
                                  :why (problem-text e))]
                          (throw e)))))
                  (select-keys (meta handler) [:no-reply]))]))
        ^IPersistentMap handlers))
