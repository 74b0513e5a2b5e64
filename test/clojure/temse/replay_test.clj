(ns temse.replay-test
  "What a replay finds different, and what not."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.impl.command.console :as console]
   [temse.impl.command.replay :as command]
   [temse.milter :as milter]
   [temse.record :as record]
   [temse.replay :as replay]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io File)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(def ^:private filter-options
  {:handlers {:mail (fn [_ _])
              :recipient (fn [{:keys [address]} _]
                           (when (= "<trap@example.com>" address) [(act/reject)]))
              :header (fn [_ _])
              :body (fn [_ _])
              :end-of-message (fn [_ _] [(act/add-header "X-Seen" "yes")
                                         (act/change-body "new\r\n")
                                         (act/reply-code 550 "5.7.1" "not today")])}})

(defn- changed
  "Returns the filter with other handlers."
  [& handlers]
  (update filter-options :handlers merge (apply hash-map handlers)))

(defn- recorded
  "Returns the recordings of connections of mails."
  [filter & connections]
  (with-open [recorder (record/recorder)]
    (doseq [mails connections]
      (with-open [session (mt/connect-to (record/record filter recorder))]
        (run! #(mt/run-message session %) mails)))
    (record/recordings recorder)))

(def ^:private mails
  [{} {:recipients ["<trap@example.com>" "<b@example.com>"]} {:recipients ["<trap@example.com>"]} {:body ""}])

(def ^:private recordings
  (delay (recorded filter-options mails [{}])))

(defn- differences
  ([filter]
   (differences filter {}))
  ([filter options]
   (map (juxt :differs (comp :event :event)) (replay/replay @recordings filter options))))

;; Nothing differs

(deftest the-same-filter-makes-no-difference
  (is (= [] (replay/replay @recordings filter-options))))

(deftest a-filter-is-replayed-as-handlers-as-options-as-a-server-and-at-an-address
  (is (= [] (replay/replay @recordings (:handlers filter-options))))
  (milter/with-milter [server (assoc filter-options :port 0)]
    (is (= [] (replay/replay @recordings server)))
    (is (= [] (replay/replay @recordings (milter/milter-address server))))
    (is (= [] (replay/replay (first @recordings) server)))))

(deftest recordings-of-any-mta-are-replayed
  (doseq [options [{:mta :sendmail} {:offer {:version 2}} {:offer {:version 4, :protocol #{}}}
                   {:offer {:protocol #{:no-body :no-headers}}}]
          filter [filter-options
                  (assoc filter-options :leading-space? true)
                  (assoc filter-options :no-reply-events #{:header :body})
                  (assoc filter-options :request-macros {:mail ["i" "{auth_authen}"]})]
          :let [filter (assoc filter :optional-actions #{:add-header :change-body})]]
    (testing [options (dissoc filter :handlers)]
      (with-open [recorder (record/recorder)]
        (with-open [session (mt/connect-to (record/record filter recorder) options)]
          (run! #(mt/run-message session %) mails))
        (is (= [] (replay/replay (record/recordings recorder) filter)))))))

(deftest a-recording-with-a-wrong-value-is-refused-before-anything-is-played
  (let [heard (atom 0)
        filter {:handlers {:mail (fn [_ _] (swap! heard inc) nil)}}
        [recording] @recordings
        problem (fn [path value]
                  (:message (support/thrown (replay/replay [recording (assoc-in recording path value)] filter))))]
    (are [path value expected] (string/starts-with? (str (problem path value)) expected)
      [:conversation 0 :event :version] "6"
      "recording 1: exchange 1 is damaged: in the event :options, :version must be a number, not \"6\""
      [:conversation 2 :event] {:event :nonsense}
      "recording 1: exchange 3 is damaged: :event: there is no event :nonsense. The events are :abort :body"
      [:conversation 1 :response] [{:action :quarantine, :reason 5}]
      "recording 1: exchange 2 is damaged: in the action :quarantine, :reason must be a string, not 5")
    (is (= 0 @heard))))

(deftest every-mta-connection-is-played-with-its-macros
  (let [needs-macro {:handlers {:mail (fn [_ context]
                                        (when-not (milter/get-macro context "auth_authen")
                                          [(act/reject)]))}}]
    (with-open [recorder (record/recorder)]
      (mt/run-message (record/record needs-macro recorder) {} {:macros {"auth_authen" "alice"}})
      (is (= [] (replay/replay (record/recordings recorder) needs-macro))))))

(deftest each-event-is-played-with-the-macros-that-held-then-though-repeated-ones-are-not-recorded
  (doseq [mta [:postfix :sendmail]
          wanted [[:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message]
                  [:recipient :end-of-message]]]
    (testing [mta wanted]
      (let [seen (atom [])
            watching {:handlers (into {} (for [event wanted]
                                           [event (fn [{:keys [event]} context]
                                                    (swap! seen conj [event (milter/macros context)])
                                                    (when (= [:recipient "<trap@example.com>"]
                                                             [event (milter/get-macro context "rcpt_addr")])
                                                      [(act/reject)]))]))}
            given (with-open [recorder (record/recorder)]
                    (with-open [session (mt/connect-to (record/record watching recorder) {:mta mta})]
                      (doseq [mail (concat mails mails)]
                        (mt/run-message session mail)))
                    (record/recordings recorder))
            then @seen]
        (reset! seen [])
        (is (= [] (replay/replay given watching)))
        (is (< 10 (count then)))
        (is (= then @seen))))))

;; Something differs

(deftest another-verdict-is-found
  (is (= [[#{:verdict} :recipient] [#{:verdict} :recipient]]
         (differences (changed :recipient (fn [_ _])))))
  (is (= [:accept :accept :accept :accept]
         (map (comp :action peek :actual)
              (filter #(= :end-of-message (:event (:event %)))
                      (replay/replay @recordings (changed :end-of-message (fn [_ _] [(act/accept)]))))))))

(deftest another-reply-of-the-same-verdict-is-found
  (is (= #{[#{:reply} :end-of-message]}
         (set (differences (changed :end-of-message
                                    (fn [_ _] [(act/add-header "X-Seen" "yes")
                                               (act/change-body "new\r\n")
                                               (act/reply-code 554 "5.7.1" "not today")])))))))

(defn- differences-between
  "Returns what differs between answers to the end of a message."
  [then now options]
  (let [answering #(hash-map :handlers {:end-of-message (fn [_ _] %)})]
    (into #{} (mapcat :differs) (replay/replay (recorded (answering then) [{}]) (answering now) options))))

(deftest modifications-are-compared-by-what-is-delivered
  (let [a (act/add-header "A" "1")
        b (act/add-header "B" "2")
        body (act/change-body "new\r\n")
        refused (act/reply-code 550 "5.7.1" "not today")]
    (are [then now differs] (= differs (differences-between then now {}))
      [a body] [(act/add-header "A" "2") body] #{:modifications}
      [a body] [a (act/change-body "other\r\n")] #{:modifications}
      [a b] [b a] #{:modifications}
      [a body] [body a] #{}
      [a body] [a] #{:modifications}
      [a refused] [refused] #{}
      [a refused] [a] #{:verdict}
      [a (act/accept)] [a] #{}
      [a (act/accept)] [a (act/discard)] #{:verdict})
    (testing "and answers as they are on request"
      (are [then now differs] (= differs (differences-between then now {:exact? true}))
        [a body] [a body] #{}
        [a body] [body a] #{:modifications}
        [a refused] [refused] #{:modifications}
        [a refused] [a] #{:verdict}
        [a (act/accept)] [a] #{:verdict}))))

(deftest another-agreement-is-found-on-request
  (let [other (-> filter-options
                  (assoc :actions #{:add-header :change-body})
                  (update :handlers dissoc :body))]
    (is (= [] (differences other)))
    (let [found (replay/replay @recordings other {:exact? true})]
      (is (= [#{:agreement} #{:agreement}] (map :differs found)))
      (is (= [:options] (distinct (map (comp :event :event) found)))))))

(deftest skip-comes-to-what-going-on-comes-to
  (let [mail {:body (repeat 3 "piece\r\n")}
        with-body (fn [f] {:handlers {:body f, :end-of-message (fn [_ _] [(act/add-header "A" "1")])}})
        going-on (with-body (fn [_ _]))
        skipping (with-body (fn [_ _] [(act/skip)]))
        refusing-late (fn []
                        (let [n (atom 0)]
                          (with-body (fn [_ _] (when (= 3 (swap! n inc)) [(act/reject)])))))]
    (is (= [] (replay/replay (recorded going-on [mail]) skipping)))
    (is (= [] (replay/replay (recorded skipping [mail]) going-on)))
    (testing "but for a refusal of what is skipped"
      (is (= [[#{:verdict} :body]]
             (map (juxt :differs (comp :event :event)) (replay/replay (recorded (refusing-late) [mail]) skipping)))))))

(deftest a-message-may-be-refused-at-another-of-its-parts
  (let [answering (fn [& handlers] {:handlers (merge {:header (fn [_ _]), :body (fn [_ _]), :end-of-message (fn [_ _])}
                                                     (apply hash-map handlers))})
        refused (fn [text] (fn [_ _] [(act/reply-code 550 "5.7.1" text)]))
        at (fn [event text] (answering event (refused text)))
        differing #(map (juxt :differs (comp :event :event) (comp :action peek :actual)) %)]
    (is (= [] (replay/replay (recorded (at :end-of-message "no") [{} {}]) (at :header "no"))))
    (is (= [] (replay/replay (recorded (at :body "no") [{} {}]) (at :header "no"))))
    (testing "with the same reply"
      (is (= [[#{:verdict} :header :reply-code]]
             (differing (replay/replay (recorded (at :end-of-message "no") [{}]) (at :header "never"))))))
    (testing "not where it was accepted"
      (is (= [[#{:verdict} :header :reply-code] [#{:verdict} :header :reply-code]]
             (differing (replay/replay (recorded (answering) [{} {}]) (at :header "no"))))))
    (testing "nor at its envelope"
      (is (= [[#{:verdict} :mail :reply-code]]
             (differing (replay/replay (recorded (assoc-in (at :end-of-message "no") [:handlers :mail] (fn [_ _])) [{}])
                                       (at :mail "no"))))))
    (testing "on request only where it was"
      (is (= [[#{:verdict} :header :reply-code]]
             (differing (replay/replay (recorded (at :end-of-message "no") [{}]) (at :header "no") {:exact? true})))))))

(deftest a-message-that-is-accepted-early-comes-to-what-it-would-have-come-to
  (let [accepting {:handlers {:mail (fn [_ _] [(act/accept)])}}
        ending (fn [& actions] {:handlers {:mail (fn [_ _]), :end-of-message (fn [_ _] actions)}})]
    (is (= [] (replay/replay (recorded (ending) [{} {}]) accepting)))
    (is (= [[#{:modifications} :end-of-message []]]
           (map (juxt :differs (comp :event :event) :actual)
                (replay/replay (recorded (ending (act/add-header "A" "1")) [{}]) accepting))))
    (is (= [[#{:verdict} :end-of-message []] [#{:verdict} :end-of-message []]]
           (map (juxt :differs (comp :event :event) :actual)
                (replay/replay (recorded (ending (act/reject)) [{} {}]) accepting))))))

(deftest an-event-that-is-not-wanted-any-more-counts-as-continue
  (is (= #{[#{:verdict} :recipient]}
         (set (differences (update filter-options :handlers dissoc :recipient))))))

(deftest a-filter-that-hangs-up-is-found-once-and-nothing-after-it
  (is (= [[#{:connection} :header] [#{:connection} :header]]
         (differences (changed :header (fn [_ _] (promise))) {:timeout 300}))))

(deftest the-rest-of-a-refused-message-is-not-played-and-the-next-is
  (let [heard (atom [])
        found (differences (changed :mail (fn [_ _]
                                            (swap! heard conj :mail)
                                            (when (= 1 (count @heard)) [(act/reject)]))
                                    :header (fn [_ _]
                                              (swap! heard conj :header)
                                              nil)))]
    (is (= [[#{:verdict} :mail]] found))
    (is (= [:mail :mail :header] (take 3 @heard)))))

(deftest messages-are-told-apart-where-mail-is-not-wanted
  (let [without-mail {:handlers {:header (fn [{:keys [value]} _]
                                           (when (= "refuse" value) [(act/reject)]))}}
        given (recorded without-mail [{:headers [["A" "refuse"] ["B" "1"]]} {:headers [["A" "1"]]}])
        refuses-more (fn [{:keys [value]} _]
                       (when (#{"refuse" "1"} value) [(act/reject)]))]
    (is (= [] (replay/replay given without-mail)))
    (is (= [[{:action :continue}] [{:action :reject}]]
           ((juxt :expected :actual) (first (replay/replay given {:handlers {:header refuses-more}})))))))

(deftest volatile-headers-can-be-ignored
  (let [n (atom 0)
        stamped {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-Number" (str (swap! n inc)))
                                                       (act/accept)])}}
        given (recorded stamped [{}])]
    (is (= [#{:modifications}] (map :differs (replay/replay given stamped))))
    (is (= [] (replay/replay given stamped {:ignore ["x-number"]})))
    (is (= [] (replay/replay given stamped {:ignore #(when-not (= "X-Number" (:name %)) %)})))
    (is (= [#{:verdict}] (map :differs (replay/replay given
                                                      {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-Number" "9")
                                                                                             (act/reject)])}}
                                                      {:ignore ["X-Number"]}))))))

(deftest a-body-that-was-given-as-a-stream-is-not-compared
  (let [streaming {:handlers {:end-of-message (fn [_ _] [(act/change-body
                                                           (java.io.ByteArrayInputStream. (.getBytes "a")))])}}]
    (is (= [] (replay/replay (recorded streaming [{}]) streaming)))))

(deftest shutdown-is-the-421-that-it-travels-as
  (let [closing {:handlers {:mail (fn [_ _] [{:action :shutdown}])}}]
    (is (= [] (replay/replay (recorded closing [{}]) closing)))))

;; Telling

(deftest a-difference-is-printed-under-the-message-so-far
  (let [printed (support/printed
                  (replay/print-differences
                    (replay/replay (first @recordings)
                                   (changed :end-of-message (fn [_ _] [(act/add-header "X-Seen" "no")
                                                                       (act/change-body "new\r\n")
                                                                       (act/accept)])))))
        first-one (first (string/split printed #"\n\n"))]
    (are [line] (string/includes? first-one line)
      ", exchange 15, end-of-message: differs in verdict"
      "  MTA  --> mail <sender@example.org>\n       <-- continue"
      (str "  MTA  --> end-of-message\n"
           "     - <-- add-header X-Seen: yes\n     + <-- add-header X-Seen: no\n"
           "       <-- change-body, 5 bytes\n"
           "     - <-- 550 5.7.1 not today\n     + <-- accept"))
    (is (not (string/includes? first-one "define-macro")))))

(deftest why-no-answer-came-is-printed
  (is (string/includes? (support/printed
                          (replay/print-differences
                            (replay/replay (first @recordings) (changed :body (fn [_ _] (promise))) {:timeout 100})))
                        "     - <-- continue\n     + <-- no answer: timed out after 100 ms, waiting for a reply")))

(deftest bodies-of-equal-size-that-differ-are-printed
  (let [answering (fn [body] {:handlers {:end-of-message (fn [_ _] [(act/change-body body)])}})]
    (is (string/includes? (support/printed
                            (replay/print-differences
                              (replay/replay (recorded (answering "new\r\n") [{}]) (answering "old\r\n"))))
                          "+ <--"))))

;; The command

(defn- run
  "Returns the exit code and the output of the command, or the exit code and the message of its
  failure."
  [& args]
  (let [code (volatile! nil)
        output (support/printed
                 (vreset! code (try
                                 (with-redefs [console/log-briefly! (fn [_])]
                                   (command/run args))
                                 (catch ExceptionInfo e
                                   (println (ex-message e))
                                   (:temse.cli/exit (ex-data e))))))]
    [@code output]))

(deftest the-command-logs-problems-of-the-filter-in-one-line-each
  (let [directory (str (Files/createTempDirectory "recordings" (make-array FileAttribute 0)))
        file (File/createTempFile "filter_" ".clj")]
    (spit file "{:mail (fn [_ _] (throw (Exception. \"no luck\")))}")
    (with-open [recorder (record/recorder {:directory directory})]
      (mt/run-message (record/record {:handlers {:mail (fn [_ _] nil)}} recorder) {}))
    (let [process (support/process ["-m" "temse.cli" "replay" directory "--filter" (str file)])
          lines (string/split-lines (slurp (.getInputStream process)))
          logged (take-while #(not (re-find #"differs in" %)) lines)]
      (is (= 1 (.waitFor process)))
      (is (some #{"1 difference in 1 of 1 recording"} lines))
      (is (= 1 (count (filter #(re-find #"SEVERE.*the handler of :mail failed: no luck" %) lines))))
      (is (not-any? #(re-find #"(?i)java.util.logging|clojure.tools.logging" %) logged)))))

(deftest the-command-tells-differences-and-its-exit-code-whether-there-are-any
  (let [directory (str (Files/createTempDirectory "recordings" (make-array FileAttribute 0)))
        file (File/createTempFile "filter_" ".clj")]
    (spit file "{:mail (fn [_ _] nil)}")
    (with-open [recorder (record/recorder {:directory directory})]
      (mt/run-message (record/record {:handlers {:mail (fn [_ _] nil)}} recorder) {}))
    (is (= [0 "no differences in 1 recording\n"] (run directory "--filter" (str file))))
    (spit file "{:mail (fn [_ _] nil), :recipient (fn [_ _] nil)}")
    (is (= 0 (first (run directory "--filter" (str file)))))
    (is (= 1 (first (run directory "--filter" (str file) "--exact"))))
    (spit file "(fn [reply] {:mail (fn [_ _] [{:action (keyword reply)}])})")
    (let [[code output] (run directory "--filter" (str file) "--" "reject")]
      (is (= 1 code))
      (is (string/includes? output "mail <sender@example.org>: differs in verdict"))
      (is (string/ends-with? output "1 difference in 1 of 1 recording\n")))
    (milter/with-milter [server {:port 0, :handlers {:mail (fn [_ _] nil)}}]
      (is (= 0 (first (run directory "--to" (milter/milter-address server) "--ignore" "Date" "--timeout" "5")))))
    (testing "mistakes"
      (are [args problem] (let [[code message] (apply run args)]
                            (and (= 2 code) (string/includes? message problem)))
        [directory] "name the filter, either --filter FILE.clj or --to ADDRESS"
        [directory "--to" "nonsense:1"] "write inet:PORT@HOST"
        [directory "--to" (str (support/free-port))] "refused"
        [directory "--filter" "/no/such.clj"] "/no/such.clj: there is no such file"
        [directory "--filer" "x"] "there is no option --filer"
        [directory "--to"] "--to needs a value"
        ["--to" "1"] "name recordings"
        ["/no/such" "--to" "1"] "/no/such: there is no such file"
        [directory "--to" "1" "--timeout" "x"] "--timeout needs seconds"))
    (is (= 0 (first (run "--help"))))))
