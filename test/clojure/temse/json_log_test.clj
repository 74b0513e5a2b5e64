(ns temse.json-log-test
  "Log lines as JSON, read back by a parser that is not ours."
  (:require
   [clojure.data.json :as json]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check :as check]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.action :as act]
   [temse.impl.command.console :as console]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.test :as mt])
  (:import
   (java.time Instant)
   (java.util.function Supplier)
   (java.util.logging Formatter Handler Level LogRecord Logger)
   (temse.logging JsonFormatter)
   (temse.server MilterServer SystemLoggerListener)
   (temse.server.internal LogFields)))

(set! *warn-on-reflection* true)

(def ^:private ^Formatter formatter (JsonFormatter.))

(defn- line
  "Returns the line of a record, which must be one of ASCII, without its end."
  [^LogRecord record]
  (let [text (.format formatter record)]
    (is (re-matches #"[ -~]+\n" text))
    (string/trim-newline text)))

(defn- formatted
  "Returns what a parser reads from the line of a record with fields."
  [level message fields & {:keys [thrown logger parameters]}]
  (let [result (promise)
        record (doto (LogRecord. level message)
                 (.setThrown thrown)
                 (.setLoggerName logger)
                 (.setParameters (some-> parameters object-array))
                 (.setInstant (Instant/parse "2026-11-27T12:00:00.5Z")))]
    (LogFields/during (reify Supplier (get [_] fields))
                      (fn [] (deliver result (line record))))
    (json/read-str @result)))

(deftest a-record-is-an-object-on-one-line
  (is (= {"time" "2026-11-27T12:00:00.500Z", "level" "INFO", "logger" "temse", "message" "hello"}
         (formatted Level/INFO "hello" {} :logger "temse")))
  (is (= {"time" "2026-11-27T12:00:00.500Z", "level" "WARN", "message" "42 mails"
          "connection" 7, "recipients" ["<a@example.org>" "<b@example.org>"], "millis" 0.017165}
         (formatted Level/WARNING "{0} mails" {"connection" 7, "recipients" ["<a@example.org>" "<b@example.org>"], "millis" 0.017165}
                    :parameters [42]))))

(deftest levels-are-those-of-the-documentation
  (are [name level] (= name (get (formatted level "" {}) "level"))
    "ERROR" Level/SEVERE
    "WARN" Level/WARNING
    "INFO" Level/INFO
    "INFO" Level/CONFIG
    "DEBUG" Level/FINE
    "TRACE" Level/FINEST))

(deftest an-exception-comes-with-its-trace-of-bounded-length
  (let [text (get (formatted Level/SEVERE "failed" {} :thrown (Exception. "no \"luck\"\nat all")) "exception")]
    (is (string/starts-with? text "java.lang.Exception: no \"luck\"\nat all\n\tat "))
    (is (< (count text) 8100)))
  (let [endless (proxy [RuntimeException] []
                  (getMessage [] (throw (StackOverflowError.))))]
    (is (string? (get (formatted Level/SEVERE "failed" {} :thrown endless) "exception")))))

(deftest what-is-too-long-is-cut
  (let [long-text (apply str (repeat 100000 "x"))]
    (is (= [8003 1003] (map #(count (get (formatted Level/INFO long-text {"sender" long-text}) %))
                            ["message" "sender"])))))

(deftest objects-that-fail-do-not-fail-the-line
  (let [failing (reify Object (toString [_] (throw (StackOverflowError.))))]
    (is (= "{0}" (get (formatted Level/INFO "{0}" {} :parameters [failing]) "message")))
    (is (string? (get (formatted Level/INFO nil {}) "message")))))

(defn- lossless
  "Returns a text as it comes out: half a surrogate pair is written as text."
  [text]
  (string/replace text #"[\x{D800}-\x{DFFF}]" #(format "\\u%04x" (int (first %)))))

(def ^:private any-text
  "Texts of all characters, with many that are special to JSON, terminals and UTF-16."
  (gen/fmap string/join
            (gen/vector (gen/one-of [(gen/fmap #(str (char %)) (gen/choose 0 0xFFFF))
                                     (gen/fmap #(str (char %)) (gen/choose 0 0x9F))
                                     (gen/elements ["\"" "\\" "\\u" "\n" "\r" "\u2028" "\u202e" "\u001b[2J"
                                                    "\ud83d\ude00" "\ud83d" "\udc80" "}" "{"])])
                        0 30)))

(deftest every-text-is-read-back
  (let [result (check/quick-check
                 300
                 (prop/for-all [message any-text, sender any-text]
                   (= [(lossless message) (lossless sender)]
                      (map (formatted Level/INFO message {"sender" sender}) ["message" "sender"])))
                 :seed runner/seed)]
    (is (:pass? result) (pr-str (get-in result [:shrunk :smallest]) (:seed result)))))

;; ---- what servers log

(defn- logged-by
  "Returns what a logger of java.util.logging receives while f runs, as JSON, read back."
  [logger-name f]
  (let [lines (atom [])
        logger (doto (Logger/getLogger logger-name)
                 (.setUseParentHandlers false)
                 (.setLevel Level/ALL))
        handler (proxy [Handler] []
                  (publish [record] (swap! lines conj (line record)))
                  (flush [])
                  (close []))]
    (.addHandler logger handler)
    (try
      (f)
      (finally
        (doto logger
          (.removeHandler handler)
          (.setLevel nil)
          (.setUseParentHandlers true))))
    (mapv json/read-str @lines)))

(def ^:private hostile "<\"{\\u001b\u001b[2J\u202e\ud83d\ude00\"@example.org>")

(deftest the-line-of-a-verdict-has-its-fields
  (let [lines (logged-by
                "temse"
                (fn []
                  (with-redefs [log/*logger-factory* (logging/jul-factory)]
                    (milter/with-milter [server {:port 0
                                                 :name "filter"
                                                 :log-mail? true
                                                 :handlers {:recipient (fn [{:keys [address]} _]
                                                                         (when (= "<no@example.com>" address)
                                                                           [(act/reject)]))
                                                            :end-of-message (fn [_ _]
                                                                              [(assoc (act/reply-code 550 "5.7.1" "No lottery")
                                                                                      :why "it is \"one\"")])}}]
                      (mt/run-message server {:sender "<a@example.org>"
                                              :recipients ["<no@example.com>" "<b@example.com>"]
                                              :macros {:mail {"i" "4F3A21"}}})))))
        verdicts (filter #(get % "verdict") lines)]
    (is (= [{"server" "filter", "event" "recipient", "verdict" "rejected", "reply" "reject"
             "sender" "<a@example.org>", "recipients" ["<no@example.com>"]}
            {"server" "filter", "event" "end-of-message", "verdict" "rejected", "reply" "reply-code"
             "code" 550, "enhanced_code" "5.7.1", "text" "No lottery", "why" "it is \"one\""
             "sender" "<a@example.org>", "recipients" ["<no@example.com>" "<b@example.com>"]}]
           (map #(select-keys % ["server" "event" "verdict" "reply" "code" "enhanced_code" "text" "why"
                                 "sender" "recipients"])
                verdicts)))
    (is (every? #(and (= 1 (get % "connection")) (string/starts-with? (get % "peer") "inet:")) verdicts))
    (is (= ["DEBUG"] (distinct (map #(get % "level") lines))))
    (testing "and a connection has no mail"
      (is (= #{"time" "level" "logger" "server" "connection" "peer" "message"} (set (keys (first lines))))))))

(deftest the-java-listener-gives-the-same-fields
  (let [lines (logged-by
                "temse.json-log-test"
                (fn []
                  (with-open [server (-> (MilterServer/builder
                                           (milter/factory {:handlers {:connect (fn [_ _])
                                                                       :mail (fn [_ _])
                                                                       :end-of-message (fn [_ _] [(act/reject)])}}))
                                         (.listenOn "inet:0@127.0.0.1")
                                         (.listener (SystemLoggerListener. (System/getLogger "temse.json-log-test")))
                                         (.start))]
                    (mt/run-message (str (.endpoint server)) {:sender hostile}))))
        verdict (first (filter #(get % "verdict") lines))]
    (is (= {"event" "end-of-message", "verdict" "rejected", "reply" "reject", "logger" "temse.json-log-test"
            "sender" hostile}
           (select-keys verdict ["event" "verdict" "reply" "logger" "sender"])))
    (is (contains? verdict "client_address"))))

(deftest the-console-writes-its-own-lines-as-json-too
  (let [json @#'console/json]
    (try
      (reset! json formatter)
      (is (= {"level" "WARN", "logger" "temse", "message" "3 lines dropped here, since the output was not read"}
             (dissoc (json/read-str (last (@#'console/texts {:lines [], :dropped 3}))) "time")))
      (finally
        (reset! json nil)))))
