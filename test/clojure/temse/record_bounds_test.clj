(ns temse.record-bounds-test
  "How much a recorder keeps, in memory and on disk, and what happens beyond."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.impl.recording.file :as recording-file]
   [temse.record :as record]
   [temse.record-test :refer [events names recorded watching with-directory]]
   [temse.runner :as runner]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io Closeable File)
   (java.nio.file Files LinkOption)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.util List)
   (java.util.concurrent CountDownLatch)))

(set! *warn-on-reflection* true)

(deftest the-oldest-recordings-go-first
  (let [mail (fn [n] {:sender (str "<" n "@example.org>"), :body (apply str (repeat 100 "x"))})
        senders (fn [recordings] (mapcat #(keep (comp :sender :event) (:conversation %)) recordings))]
    (testing "by number, in memory"
      (is (= ["<2@example.org>" "<3@example.org>"]
             (senders (apply recorded {:max-conversations 2} watching (map mail (range 4)))))))
    (testing "by size, in memory"
      (is (< 0 (count (apply recorded {:max-bytes 60000} watching (map mail (range 20)))) 20)))
    (testing "one that is too large by itself makes no other go"
      (with-open [recorder (record/recorder {:max-bytes 60000})]
        (doseq [body ["x" (apply str (repeat 100000 "x"))]]
          (mt/run-message (record/record watching recorder) {:body body}))
        (is (= 1 (count (record/recordings recorder))))
        (is (= {:recorded 1, :dropped 1} (select-keys (record/recorder-status recorder) [:recorded :dropped])))))
    (testing "by number, on disk, with the files beside and those of an earlier run"
      (with-directory directory
        (recorded {:directory directory, :max-body 10} watching (mail 0) (mail 1))
        (is (= ["<1@example.org>" "<2@example.org>"]
               (senders (recorded {:directory directory, :max-body 10, :max-conversations 2} watching
                                  (mail 2)))))
        (is (= 4 (count (names directory))))))
    (testing "by size, on disk"
      (with-directory directory
        (apply recorded {:directory directory, :max-bytes 10000} watching (map mail (range 10)))
        (is (<= (reduce + (map #(.length ^File %) (filter #(.isFile ^File %) (file-seq (io/file directory)))))
                10000))
        (is (pos? (count (names directory))))))))

(defn- play-on
  "Plays mails on a session, one after the other, and returns their verdicts."
  [session & mails]
  (mapv #(:verdict (mt/run-message session %)) mails))

(deftest the-oldest-conversation-is-cut-where-memory-is-short
  (with-open [recorder (record/recorder {:max-memory 60000})]
    (let [filter (record/record watching recorder)]
      (with-open [first-session (mt/connect-to filter)
                  second-session (mt/connect-to filter)]
        (mt/run-message first-session {})
        (is (< 5000 (:held (record/recorder-status recorder)) 30000))
        (is (= [:accept] (play-on second-session {:body (apply str (repeat 30000 "x"))})))
        (is (= 1 (:cut (record/recorder-status recorder))))
        (is (= [:cut] (map :ended (record/recordings recorder))))
        (is (= :end-of-message (last (remove #{:abort} (events (first (record/recordings recorder)))))))
        (mt/run-message first-session {})))
    (is (= [:cut :quit] (map :ended (record/recordings recorder))))
    (is (= {:recorded 2, :cut 1, :dropped 0, :failed 0, :held 0, :waiting 0}
           (record/recorder-status recorder)))))

(deftest a-conversation-that-exceeds-the-memory-by-itself-is-cut-and-no-other
  (with-open [recorder (record/recorder {:max-memory 120000})]
    (let [filter (record/record watching recorder)]
      (with-open [small (mt/connect-to filter)
                  large (mt/connect-to filter)]
        (mt/run-message small {})
        (is (= [:accept :accept] (play-on large {:body (apply str (repeat 200000 "x"))} {})))
        (is (= [:accept] (play-on small {})))
        (is (= [:cut] (map :ended (record/recordings recorder))))
        (is (some #{:body} (events (first (record/recordings recorder)))))))
    (is (= [:cut :quit] (map :ended (record/recordings recorder))))
    (is (= {:recorded 2, :cut 1, :dropped 0, :failed 0, :held 0, :waiting 0}
           (record/recorder-status recorder)))))

(defn- exchanges-of
  "Returns exchanges of a connection: the offer, then these events."
  [& events]
  (for [event (cons {:event :options, :version 6, :actions #{}, :protocol #{}} events)]
    {:id 1, :peer "inet:1@192.0.2.1", :event event, :response [], :millis 0.0}))

(defn- held-after
  "Returns the bytes that a recorder holds after the exchanges."
  [& exchanges]
  (with-open [recorder (record/recorder {:max-memory 100000000})]
    (run! (record/exchange-recorder recorder) exchanges)
    (:held (record/recorder-status recorder))))

(deftest whatever-an-exchange-holds-counts
  (let [base (apply held-after (exchanges-of))
        text (apply str (repeat 100000 "x"))]
    (doseq [event [{:event :define-macro, :command \C, :stage :connect, :definitions {"i" text}}
                   {:event :define-macro, :command \C, :stage :connect, :definitions {text "i"}}
                   {:event :mail, :sender text, :options []}
                   {:event :recipient, :address "<>", :options [text]}
                   {:event :hello, :greeting text}
                   {:event :unknown, :command text}
                   {:event :header, :name text, :value ""}
                   {:event :body, :data (.getBytes ^String text)}]]
      (is (< 100000 (- (apply held-after (exchanges-of event)) base) 250000) (:event event)))
    (doseq [action [{:action :add-recipient, :address text, :parameters []}
                    {:action :add-recipient, :address "<>", :parameters [text]}
                    {:action :quarantine, :reason text}
                    {:action :change-body, :body [text]}
                    {:action :change-body, :body (.getBytes ^String text)}]]
      (is (< 100000 (- (apply held-after (map #(assoc % :response [action]) (exchanges-of))) base) 250000)
          action))))

(deftest macros-that-are-said-again-take-no-memory-and-others-do
  (let [macros (fn [value] {:event :define-macro, :command \L, :stage :header
                            :definitions {(str "{name" value "}") (apply str (repeat 10000 "v"))}})
        once (apply held-after (exchanges-of (macros 1)))]
    (is (= once (apply held-after (apply exchanges-of (repeatedly 101 #(macros 1))))))
    (is (< (* 100 10000)
           (- (apply held-after (apply exchanges-of (map macros (range 101)))) once)))))

(deftest a-recorder-takes-time-in-proportion-to-what-it-records
  (let [seconds (fn [conversations]
                  (with-open [recorder (record/recorder {:max-conversations 1000000})]
                    (let [started (System/nanoTime)]
                      (dotimes [n conversations]
                        (run! (record/exchange-recorder recorder)
                              (exchanges-of {:event :disconnect, :reason :quit})))
                      (record/recordings recorder)
                      (/ (- (System/nanoTime) started) 1e9))))]
    (seconds 1000)
    (is (< (seconds 20000) 30.0))))

(deftest a-stream-or-a-source-of-a-body-is-not-read-by-the-recorder
  (let [read? (atom false)
        streamed [{:action :change-body, :streamed? true}]]
    (doseq [body [(proxy [java.io.InputStream] [] (read [& _] (reset! read? true) -1))
                  [(proxy [java.io.InputStream] [] (read [& _] (reset! read? true) -1)) "x"]
                  (reify java.util.function.Supplier (get [_] (reset! read? true) "x"))
                  (File. "/etc/passwd")
                  (.toPath (File. "/etc/passwd"))
                  (lazy-seq (reset! read? true) ["x"])]]
      (with-open [recorder (record/recorder)]
        (run! (record/exchange-recorder recorder)
              (concat (map #(assoc % :response [{:action :change-body, :body body}])
                           (rest (exchanges-of)))
                      (exchanges-of)
                      [{:id 1, :event {:event :end-of-message}, :millis 1.0
                        :response [{:action :change-body, :body body}]}
                       {:id 1, :event {:event :disconnect, :reason :quit}, :millis 1.0}]))
        (is (= [streamed] (keep (comp seq :response) (:conversation (first (record/recordings recorder))))))))
    (is (not @read?))))

(deftest a-second-offer-on-a-connection-begins-another-recording
  (with-open [recorder (record/recorder)]
    (run! (record/exchange-recorder recorder) (concat (exchanges-of) (exchanges-of {:event :disconnect, :reason :quit})))
    (is (= [:cut :quit] (map :ended (record/recordings recorder))))
    (is (= 0 (:held (record/recorder-status recorder))))))

(deftest an-exchange-that-cannot-be-kept-cuts-its-conversation
  (with-open [recorder (record/recorder)]
    (let [hear (record/exchange-recorder recorder)]
      (run! hear (exchanges-of))
      (is (thrown? Error (hear {:id 1, :event {:event :mail}, :response (lazy-seq (throw (Error. "broken")))})))
      (hear {:id 1, :event {:event :disconnect, :reason :quit}})
      (is (= [:cut] (map :ended (record/recordings recorder))))
      (is (= 0 (:held (record/recorder-status recorder)))))))

(deftest conversations-are-dropped-and-counted-where-the-disk-is-too-slow
  (with-directory directory
    (let [go-on (CountDownLatch. 1)
          write recording-file/write]
      (with-redefs [recording-file/write (fn [& args]
                                           (.await go-on)
                                           (apply write args))]
        (with-open [recorder (record/recorder {:directory directory, :max-memory 40000})]
          (dotimes [_ 10]
            (is (= :accept (:verdict (mt/run-message (record/record watching recorder) {})))))
          (let [{:keys [dropped waiting]} (record/recorder-status recorder)]
            (is (< 0 dropped 10))
            (is (<= waiting 40000)))
          (.countDown go-on)
          (is (= 10 (+ (count (record/recordings recorder))
                       (:dropped (record/recorder-status recorder))))))))))

(defn- mode
  [file]
  (PosixFilePermissions/toString (Files/getPosixFilePermissions (.toPath (io/file file))
                                                                (make-array LinkOption 0))))

(deftest recordings-are-for-their-owner-only
  (with-directory parent
    (let [directory (str parent "/a/b")]
      (recorded {:directory directory, :max-body 1} watching {:body "hello"})
      (is (= ["rwx------" "rwx------"] (map mode [(str parent "/a") directory])))
      (is (= ["rw-------" "rw-------"] (map #(mode (str directory "/" %)) (names directory)))))))

(deftest where-permissions-are-not-kept-it-is-said-once
  (with-directory directory
    (support/with-logs logs
      (with-redefs [recording-file/private? (constantly false)]
        (recorded {:directory directory} watching {} {}))
      (is (= [(str "recordings in " directory " may be read by other users: its file system keeps no permissions")]
             (support/messages logs :warn)))
      (recorded {:directory directory} watching {})
      (is (= 1 (count (support/messages logs :warn))))))
  (testing "which is found out with a file"
    (with-directory directory
      (is (true? (recording-file/private? directory)))
      (with-redefs-fn {#'recording-file/new-file (fn [^File file]
                                                   (Files/createFile (.toPath file) (make-array FileAttribute 0))
                                                   (.setReadable file true false)
                                                   (java.io.ByteArrayOutputStream.))}
        #(is (false? (recording-file/private? directory))))
      (is (= [] (names directory))))))

(defn- filling-up
  "Returns a function that makes files on a disk which fails at the n-th operation of all."
  [new-file n]
  (let [operations (atom 0)
        operate (fn []
                  (when (= n (swap! operations inc))
                    (throw (java.io.IOException. "No space left on device"))))]
    (fn [file]
      (operate)
      (let [^java.io.OutputStream out (new-file file)]
        (proxy [java.io.OutputStream] []
          (write [^bytes bytes]
            (operate)
            (.write out bytes))
          (close []
            (.close out)
            (operate)))))))

(deftest at-whatever-write-the-disk-is-full-nothing-is-left
  (let [new-file @#'recording-file/new-file
        outcome (fn [n]
                  (with-directory directory
                    (with-open [recorder (record/recorder {:directory directory, :max-body 1})]
                      (with-redefs-fn {#'recording-file/new-file (filling-up new-file n)}
                        (fn []
                          (mt/run-message (record/record watching recorder) {:body (repeat 3 (.getBytes "body"))})
                          (record/recordings recorder)))
                      [(:failed (record/recorder-status recorder)) (count (names directory))])))]
    (support/with-logs _logs
      (let [outcomes (doall (take-while #(not= [0 4] %) (map outcome (range 1 200))))]
        (is (< 20 (count outcomes) 199))
        (is (= #{[1 0]} (set outcomes)))))))

(deftest where-a-recording-cannot-be-written-nothing-of-it-is-left
  (doseq [failing [#'recording-file/exchange-form #'recording-file/unfinished-name]]
    (with-directory directory
      (let [calls (atom 0)
            f @failing]
        (support/with-logs _logs
          (with-redefs-fn {failing (fn [& args]
                                     (when (= 12 (swap! calls inc))
                                       (throw (java.io.IOException. "No space left on device")))
                                     (apply f args))}
            #(with-open [recorder (record/recorder {:directory directory, :max-body 1})]
               (mt/run-message (record/record watching recorder) {:body (repeat 12 (.getBytes "body"))})
               (record/recordings recorder)
               (is (= 1 (:failed (record/recorder-status recorder)))))))
        (is (= [] (names directory)))))))

(defn- shell
  [& command]
  (= 0 (.waitFor (.start (doto (ProcessBuilder. ^List command) (.inheritIO))))))

(deftest a-full-disk-keeps-what-fits-and-nothing-in-pieces
  (with-directory directory
    (when-not (and (= "root" (System/getProperty "user.name"))
                   (shell "mount" "-t" "tmpfs" "-o" "size=128k" "tmpfs" directory))
      (runner/skip! "a small file system can be mounted by root only"))
    (try
      (support/with-logs _logs
        (let [{:keys [recorded failed]}
              (with-open [recorder (record/recorder {:directory directory, :max-body 100})]
                (dotimes [_ 10]
                  (is (= :accept (:verdict (mt/run-message (record/record watching recorder)
                                                           {:body (apply str (repeat 20000 "x"))})))))
                (record/recordings recorder)
                (record/recorder-status recorder))]
          (is (= 10 (+ recorded failed)))
          (is (pos? failed))
          (is (= recorded (count (record/read-recordings directory))))
          (is (= (* 2 recorded) (count (names directory))))))
      (finally
        (is (shell "umount" directory))))))

(deftest what-an-earlier-process-left-unfinished-is-removed-and-nothing-else
  (with-directory directory
    (let [others ["20260101.edn.new" "20260101T000000.000Z-000003-4F2A.1.body" "notes.new"]]
      (doseq [file (concat others ["20260101T000000.000Z-000001-4F2A.edn.new" "20260101T000000.000Z-000001-4F2A.1.body.new"
                                   "20260101T000000.000Z-000001-4F2A.2.body" "20260101T000000.000Z-000002.edn.new"])]
        (spit (io/file directory file) "x"))
      (.mkdir (io/file directory "20260101T000000.000Z-000004.edn.new"))
      (.close ^Closeable (record/recorder {:directory directory}))
      (is (= (sort (cons "20260101T000000.000Z-000004.edn.new" others))
             (names directory))))))

(deftest what-cannot-be-written-is-logged-once-and-counted
  (let [directory (str (Files/createTempDirectory "recordings" (make-array FileAttribute 0)))]
    (support/with-logs logs
      (with-open [recorder (record/recorder {:directory directory})]
        (io/delete-file directory)
        (dotimes [_ 3]
          (is (= :accept (:verdict (mt/run-message (record/record watching recorder) {})))))
        (record/recordings recorder)
        (is (= 3 (:failed (record/recorder-status recorder)))))
      (is (= 1 (count (filter #(string/includes? % "could not be recorded")
                              (support/messages logs :error))))))))
