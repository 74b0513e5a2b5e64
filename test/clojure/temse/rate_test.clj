(ns temse.rate-test
  "Sliding windows: in no time more than the limit, and after it as much again."
  (:require
   [clojure.java.io :as io]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.database :as database]
   [temse.harness.postgresql :as postgresql]
   [temse.impl.shared-rate :as shared-rate]
   [temse.periodic :as periodic]
   [temse.rate :as rate]
   [temse.runner :as runner]
   [temse.support :refer [awaited thrown with-logs]])
  (:import
   (java.io BufferedReader)
   (java.net InetAddress)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.time Instant)
   (java.util List)))

(set! *warn-on-reflection* true)

(defn- asked
  "Returns whether each of the questions, [milliseconds since the last one, count], is within a limit, with the
  time at which it was asked: [[time count within?]]."
  [limit per questions]
  (let [now (atom 0)
        windows (rate/windows {:clock #(deref now)})]
    (mapv (fn [[pause n]]
            (swap! now + pause)
            [@now n (nil? (rate/exceeded! windows [{:key "k" :limit limit :per per :count n}]))])
          questions)))

(defn- passed-between
  [answers from to]
  (reduce + (for [[time n within?] answers
                  :when (and within? (<= from time) (< time to))]
              n)))

(def ^:private questions
  (gen/vector (gen/tuple (gen/frequency [[5 (gen/choose 0 30)] [1 (gen/choose 0 300)]])
                         (gen/choose 0 4))
              1 80))

(defspec in-no-time-more-than-the-limit-is-let-through 300
  (prop/for-all [limit (gen/choose 0 10)
                 per (gen/choose 1 200)
                 questions questions]
    (let [answers (asked limit per questions)]
      (every? (fn [[time]] (<= (passed-between answers time (+ time per)) limit)) answers))))

(defspec what-is-refused-would-exceed-the-limit-of-a-window-that-is-a-twentieth-longer 300
  (prop/for-all [limit (gen/choose 0 10)
                 per (gen/choose 20 200)
                 questions questions]
    (let [answers (asked limit per questions)
          longer (* 21 (quot (+ per 19) 20))]
      (every? (fn [i]
                (let [[time n within?] (answers i)]
                  (or within?
                      (< limit (+ n (passed-between (subvec answers 0 i) (- time longer) (inc time)))))))
              (range (count answers))))))

(deftest a-limit-that-is-exceeded-is-returned-and-nothing-is-counted
  (let [windows (rate/windows {:clock (constantly 0)})
        wide {:key :a :limit 2 :per 1000}
        narrow {:key :b :limit 1 :per 1000}]
    (is (nil? (rate/exceeded! windows [wide narrow])))
    (is (= :b (:key (rate/exceeded! windows [wide narrow]))))
    (is (nil? (rate/exceeded! windows [wide])))
    (is (= :a (:key (rate/exceeded! windows [wide]))))))

(deftest keys-and-lengths-of-time-are-counted-apart
  (let [windows (rate/windows {:clock (constantly 0)})
        ask #(nil? (rate/exceeded! windows [%]))]
    (is (= [true true true false]
           (map ask [{:key 1 :limit 1 :per 1000} {:key "1" :limit 1 :per 1000} {:key 1 :limit 1 :per 2000}
                     {:key 1 :limit 1 :per 1000}])))))

(deftest one-limit-twice-is-counted-twice
  (let [windows (rate/windows {:clock (constantly 0)})
        limit {:key 1 :limit 3 :per 1000}]
    (is (nil? (rate/exceeded! windows [limit limit])))
    (is (some? (rate/exceeded! windows [limit limit])))
    (is (nil? (rate/exceeded! windows [limit])))))

(deftest so-many-keys-are-remembered
  (let [windows (rate/windows {:clock (constantly 0) :max-keys 2})
        ask #(nil? (rate/exceeded! windows [{:key % :limit 1 :per 1000}]))]
    (is (= [true true false true true false] (map ask [1 2 1 3 2 2])))))

(deftest windows-of-one-name-are-the-same
  (let [ask (fn [window-name]
              (nil? (rate/exceeded! (rate/windows {:name window-name}) [{:key 1 :limit 1 :per 3600000}])))]
    (is (= [true false true true true] (map ask [[::name 1] [::name 1] [::name 2] nil nil])))))

(deftest a-clock-that-was-wrong-does-not-stop-the-counting
  (let [now (atom 1000000)
        windows (rate/windows {:clock #(deref now)})
        ask #(nil? (rate/exceeded! windows [{:key 1 :limit 1 :per 1000}]))]
    (is (ask))
    (reset! now 999500)
    (is (not (ask)))
    (reset! now 1000)
    (is (ask))
    (is (not (ask)))))

(deftest threads-together-get-no-more-than-the-limit
  (let [windows (rate/windows)
        asking (doall (for [_ (range 8)]
                        (future (count (filter #(nil? (rate/exceeded! windows [{:key % :limit 100 :per 3600000}]))
                                               (repeat 200 :k))))))]
    (is (= 100 (reduce + (map awaited asking))))))

(deftest mistakes-say-what-would-be-right
  (let [windows (rate/windows)
        problem #(:message (thrown (rate/exceeded! windows %)))]
    (is (re-find #"did you mean :limit" (problem [{:key 1 :limt 1 :per 1}])))
    (is (re-find #"lacks :per" (problem [{:key 1 :limit 1}])))
    (is (re-find #"takes a sequence of limits" (problem {:key 1})))
    (is (re-find #"temse.rate/windows" (:message (thrown (rate/exceeded! {} [])))))
    (is (re-find #"did you mean :max-keys" (:message (thrown (rate/windows {:max-key 1})))))
    (is (re-find #":database must be .* without :schema"
                 (:message (thrown (rate/windows {:database {:url "jdbc:sqlite:rates.db", :schema []}})))))))

;; ---- in a database

(defn- end
  "Ends what windows in a database have begun."
  [settings]
  (periodic/stop [::shared-rate/expiry settings])
  (.close (database/database settings)))

(defn- with-sqlite
  "Calls f with the settings of a new database."
  [f]
  (let [directory (.toFile (Files/createTempDirectory "temse-rate-" (make-array FileAttribute 0)))
        settings {:url (str "jdbc:sqlite:" (io/file directory "rates.db"))}]
    (try
      (f settings)
      (finally
        (end settings)
        (run! io/delete-file (reverse (file-seq directory)))))))

(defn- with-postgresql
  "Calls f with the settings of a new database, with a time limit in milliseconds, and the PostgreSQL."
  [timeout f]
  (when-let [reason (postgresql/unavailable)]
    (runner/skip! reason))
  (with-open [running (postgresql/start)]
    (let [settings {:url (postgresql/url running), :user "temse", :timeout timeout}]
      (try
        (f settings running)
        (finally
          (end settings))))))

(defn- asker
  "Returns a program that asks as often as it can, once it is told to, and prints how much it got."
  [settings]
  (str "(require 'temse.rate)
   (let [windows (temse.rate/windows {:database " (pr-str settings) "})
         limits [{:key :a, :limit 100, :per 3600000} {:key :b, :limit 1000, :per 3600000}]
         ask #(nil? (temse.rate/exceeded! windows %))]
     (ask [{:key :warm-up, :limit 10, :per 1000}])
     (println \"ready\")
     (read-line)
     (println (count (filter ask (take 150 (cycle [limits (vec (reverse limits))])))))
     (shutdown-agents))"))

(defn- process
  ^Process [settings]
  (-> (ProcessBuilder. ^List (vector (str (io/file (System/getProperty "java.home") "bin" "java"))
                                     "-cp" (System/getProperty "java.class.path")
                                     "clojure.main" "-e" (asker settings)))
      (.redirectErrorStream true)
      (.start)))

(defn- line-of
  "Returns the next line of a process that is no message of a library."
  [^BufferedReader out]
  (loop [before []]
    (let [line (or (.readLine out) (throw (ex-info "the process has ended" {:lines before})))]
      (if (re-matches #"ready|\d+" line) line (recur (conj before line))))))

(defn- check-processes
  "Has two processes ask for more than there is, and checks that they get what there is."
  [settings]
  (let [processes (vec (repeatedly 2 #(process settings)))]
    (try
      (let [outs (mapv #(io/reader (.getInputStream ^Process %)) processes)]
        (run! line-of outs)
        (doseq [^Process process processes]
          (with-open [in (io/writer (.getOutputStream process))]
            (.write in "go\n")))
        (is (= 100 (reduce + (map (comp parse-long line-of) outs)))))
      (finally
        (run! #(.destroyForcibly ^Process %) processes)))))

(deftest a-key-in-a-database-is-the-same-however-it-was-made
  (with-sqlite
    (fn [settings]
      (let [windows (rate/windows {:database settings})
            ask #(nil? (rate/exceeded! windows [{:key %, :limit 1, :per 3600000}]))]
        (doseq [[one same other] [[{:a 1, :b 2} {:b 2, :a 1} {:a 2, :b 1}]
                                  [[:map #{{:a 1, :b #{1 2}}}] (list :map #{(hash-map :b #{2 1}, :a 1)}) [:map #{[:a 1]}]]
                                  [[1 2 3] (map identity [1 2 3]) [1 2 4]]
                                  ["a b" (str "a" " b") 'a]
                                  [(Instant/ofEpochMilli 1) (Instant/ofEpochMilli 1) (Instant/ofEpochMilli 2)]]]
          (is (ask one))
          (is (not (ask same)) same)
          (binding [*print-length* 1, *print-level* 1, *print-readably* false]
            (is (not (ask one)) one)
            (is (ask other) other)))
        (testing "and what has no text of its own is refused"
          (doseq [k [(InetAddress/getByName "192.0.2.1") [:client (byte-array 4)] {:a (Object.)} #{inc}]]
            (is (re-find #":key must be data" (str (:message (thrown (ask k))))) k)))))))

(deftest processes-with-one-sqlite-together-get-no-more-than-the-limit
  (with-sqlite check-processes))

(deftest processes-with-one-postgresql-together-get-no-more-than-the-limit
  (with-postgresql 30000 (fn [settings _] (check-processes settings))))

(defn- check-shared
  [settings]
  (let [now (atom 1000000)
        new-windows #(rate/windows {:database settings, :clock (fn [] @now)})
        [one another] [(new-windows) (new-windows)]
        ask (fn [windows k limit]
              (nil? (rate/exceeded! windows [{:key k :limit limit :per 1000}])))
        long-key (apply str (repeat 10000 "\u0000\udc80x"))]
    (testing "windows go on where others were"
      (is (= [true true false false] [(ask one "k" 2) (ask another "k" 2) (ask one "k" 2) (ask another "k" 2)]))
      (swap! now + 1100)
      (is (= [true true false] [(ask one "k" 2) (ask one "k" 2) (ask another "k" 2)])))
    (testing "nothing is counted where one limit is exceeded"
      (is (= :full (:key (rate/exceeded! one [{:key :free :limit 1 :per 1000} {:key :full :limit 0 :per 1000}]))))
      (is (ask one :free 1)))
    (testing "keys may be anything"
      (is (= [true false true] [(ask one long-key 1) (ask another long-key 1) (ask one (str long-key "y") 1)])))
    (testing "what has expired is forgotten, and the rest is not"
      (ask one :late 1)
      (swap! now + 1500)
      (ask one :later 1)
      (swap! now + 600)
      (#'shared-rate/forget-expired (database/database settings) @now)
      (is (= ["[1000 :later]"]
             (map :window-key (database/query (database/database settings) "select window_key from rate_windows")))))))

(deftest windows-in-sqlite-are-shared
  (with-sqlite check-shared))

(deftest windows-in-postgresql-are-shared
  (with-postgresql 30000 (fn [settings _] (check-shared settings))))

(deftest what-cannot-be-counted-throws-until-the-database-is-back
  (with-postgresql
    2000
    (fn [settings running]
      (with-logs _
        (let [windows (rate/windows {:database settings})
              ask #(try
                     (nil? (rate/exceeded! windows [{:key "k" :limit 2 :per 3600000}]))
                     (catch java.sql.SQLException e
                       (if (database/unavailable? e) :unavailable (throw e))))
              ask-until-available #(first (remove #{:unavailable} (repeatedly ask)))]
          (is (true? (ask-until-available)))
          (postgresql/control running "stop")
          (is (= :unavailable (ask)))
          (postgresql/control running "start")
          (is (= [true false] (vec (repeatedly 2 ask-until-available)))))))))
