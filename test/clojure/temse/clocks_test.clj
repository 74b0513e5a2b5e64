(ns temse.clocks-test
  "Which code looks at the wall clock, which may be set at any time: nothing that decides how long anything
  may take. That uses System.nanoTime, which goes on whatever the clock says."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]])
  (:import
   (java.io File)))

(set! *warn-on-reflection* true)

(def ^:private wall-clock
  #"currentTimeMillis|Instant[/.]now|InstantSource|\(Date\.\)|new Date\(|(?:Date|Time|Year|Month)[/.]now|Clock[/.]system|java\.util\.(?:Timer|Calendar)|startInstant|[lL]astModified")

(def ^:private uses
  "What a file does with the time of day."
  {"src/java/temse/server/MilterServer.java" "tells when the server was started"
   "src/java/temse/server/internal/Reports.java" "tells watchers when an event was answered"
   "src/java/temse/server/internal/ConnectionState.java" "notes when a mail began, for Received fields"
   "src/java/temse/protocol/Transaction.java" "notes when a mail began, for Received fields"
   "src/java/temse/message/TemporaryFiles.java" "names the process that has made a file, beside its number"
   "src/clojure/temse/record.clj" "tells when a conversation began"
   "src/clojure/temse/repl.clj" "tells when a milter was started"
   "src/clojure/temse/test.clj" "notes when a mail began, for Received fields"
   "src/clojure/temse/envelope.clj" "writes the date of a Received field"
   "src/clojure/temse/impl/handler.clj" "tells when an SMTP client came"
   "src/clojure/temse/impl/file_watch.clj" "asks whether a file is another one than before, not which is older"
   "src/clojure/temse/impl/command/run.clj" "tells when the filter was started"
   "src/clojure/temse/impl/command/reload.clj" "tells when the filter was loaded"
   "src/clojure/temse/impl/shared_rate.clj" "counts in a database for many processes, whose clocks should agree"
   "gallery/greylist.clj" "remembers for weeks, in a database"
   "gallery/mailboxes.clj" "names mails, and deletes what was left for 36 hours"})

(defn- sources
  []
  (for [root ["src" "gallery"]
        ^File file (file-seq (io/file root))
        :when (re-find #"\.(?:clj|java)$" (.getName file))]
    (str file)))

(defn- without-comments
  [text]
  (string/replace text #"(?m)^\s*(?:\*|//|;).*$|^import .*$" ""))

(deftest nothing-looks-at-the-wall-clock-but-what-is-listed
  (is (= (set (keys uses))
         (into #{} (filter #(re-find wall-clock (without-comments (slurp %)))) (sources)))))

(deftest the-transport-and-the-engine-take-time-from-system-nano-time
  (doseq [file ["src/java/temse/transport/internal/EventLoop.java"
                "src/java/temse/transport/internal/Sender.java"
                "src/java/temse/transport/internal/Watcher.java"
                "src/java/temse/server/internal/ConnectionEngine.java"
                "src/java/temse/metrics/LimitedWorkers.java"]]
    (testing file
      (is (string/includes? (slurp file) "System.nanoTime")))))
