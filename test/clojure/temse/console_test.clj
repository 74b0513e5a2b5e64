(ns temse.console-test
  "What waits for a terminal, what is dropped, and what a log line looks like."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.impl.command.console :as console])
  (:import
   (java.io ByteArrayOutputStream IOException OutputStream)
   (java.util.logging Level LogRecord)))

(set! *warn-on-reflection* true)

;; The queue

(defn- queue-of
  "Returns the queue after lines of a kind."
  [queue kind lines]
  (reduce #(@#'console/queued %1 %2 kind) queue lines))

(def ^:private empty-queue @#'console/nothing)

(def ^:private texts @#'console/texts)

(deftest lines-beyond-the-bound-are-dropped-and-counted
  (testing "by their number"
    (let [lines (map #(str "line " %) (range 10003))]
      (is (= (concat (take 10000 lines) ["temse: 3 lines dropped here, since the output was not read"])
             (texts (queue-of empty-queue :line lines))))))
  (testing "by their size"
    (let [{:keys [lines dropped]} (queue-of empty-queue :line (repeat 100 (apply str (repeat 100000 "x"))))]
      (is (= [41 59] [(count lines) dropped])))))

(deftest problems-find-room-when-other-lines-find-none
  (let [full (queue-of empty-queue :line (repeat 10001 "x"))]
    (is (= ["a problem" "temse: 2 lines dropped here, since the output was not read"]
           (take-last 2 (texts (-> full (queue-of :problem ["a problem"]) (queue-of :line ["y"]))))))
    (testing "within a bound"
      (is (= 12000 (count (:lines (queue-of full :problem (repeat 5000 "z")))))))))

(deftest a-queue-in-bounds-is-written-as-it-is
  (is (= ["a" "b" "c"] (texts (-> empty-queue (queue-of :line ["a" "b"]) (queue-of :problem ["c"])))))
  (is (= [] (texts empty-queue))))

(deftest what-a-stream-does-not-take-is-lost-and-disturbs-nothing
  (is (nil? (@#'console/write (proxy [OutputStream] []
                                (write [& _] (throw (IOException. "Broken pipe"))))
              ["a"])))
  (let [stream (ByteArrayOutputStream.)]
    (@#'console/write stream ["a" "ä"])
    (is (= "a\nä\n" (string/replace (str stream) "?" "ä")))))

;; Log lines

(defn- logged
  "Returns the text of a record."
  [level message & {:keys [thrown parameters]}]
  (@#'console/record-text (doto (LogRecord. level message)
                            (.setThrown thrown)
                            (.setParameters (some-> parameters object-array)))))

(defn- failing
  "Returns an object whose text cannot be had."
  []
  (reify Object
    (toString [_] (throw (StackOverflowError.)))))

(deftest a-record-is-one-line-with-its-time
  (is (re-matches #"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} hello" (logged Level/INFO "hello")))
  (is (re-matches #"\S+ \S+ WARNING hello 42" (logged Level/WARNING "hello {0}" :parameters [42]))))

(deftest nothing-in-a-record-steers-the-terminal-or-passes-for-another-record
  (are [message] (let [lines (string/split (logged Level/INFO message) #"\n" -1)]
                   (and (every? #(string/starts-with? % "  ") (rest lines))
                        (not-any? #(or (Character/isISOControl ^char %) (= \u202e %)) (string/join lines))))
    "a\n2026-01-01 00:00:00.000 ERROR forged"
    "a\r2026-01-01 00:00:00.000 ERROR forged"
    "\u001b[2J\u0007\u202egnp.exe\u009b"
    "")
  (let [lines (string/split-lines (logged Level/SEVERE "failed" :thrown (Exception. "no\u001b luck\n2026 forged")))]
    (is (= ["  java.lang.Exception: no\\u001b luck" "  2026 forged"] (take 2 (rest lines))))
    (is (every? #(string/starts-with? % "  ") (rest lines)))))

(deftest an-exception-is-logged-with-its-stack-trace-and-its-causes
  (let [lines (string/split-lines (logged Level/SEVERE "failed" :thrown (ex-info "outer" {} (Exception. "inner"))))]
    (is (string/includes? (second lines) "outer"))
    (is (string/starts-with? (nth lines 2) "    at temse.console_test"))
    (is (some #{"  Caused by: java.lang.Exception: inner"} lines))
    (is (not-any? #{"  ..."} lines))))

(deftest a-record-has-a-bounded-length
  (let [deep (try
               ((fn f [] (+ 1 (long (f)))))
               (catch StackOverflowError e e))]
    (is (> 17000 (count (logged Level/SEVERE (apply str (repeat 100000 "\u001b")) :thrown deep))))
    (is (> 60000 (count (logged Level/SEVERE (apply str (repeat 8000 "\u001b")) :thrown
                                (Exception. ^String (apply str (repeat 1000000 "x")))))))))

(deftest a-record-whose-parts-fail-is-written-as-far-as-they-go
  (is (string/ends-with? (logged Level/INFO "hello {0}" :parameters [(failing)]) "hello {0}"))
  (is (string/ends-with? (logged Level/INFO nil) " "))
  (is (string/ends-with? (logged Level/SEVERE "failed"
                                 :thrown (proxy [Exception] [] (toString [] (throw (StackOverflowError.)))))
                         "failed\n  \n  ...")))
