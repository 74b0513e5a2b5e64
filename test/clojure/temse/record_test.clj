(ns temse.record-test
  "What a recorder keeps, in which form, and within which bounds."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.record :as record]
   [temse.replay :as replay]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io ByteArrayInputStream Closeable File)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defmacro with-directory
  "Binds `directory` to the path of a new directory, which is removed after the body."
  [directory & body]
  `(let [~directory (str (Files/createTempDirectory "recordings" (make-array FileAttribute 0)))]
     (try
       ~@body
       (finally
         (run! io/delete-file (reverse (file-seq (io/file ~directory))))))))

(defn- comparable
  "Returns a recording with its bodies as text, without file and times."
  [recording]
  (let [texts #(reduce (fn [m k] (cond-> m (bytes? (k m)) (update k (fn [b] (Text/decode b))))) % [:data :body])]
    (-> recording
        (dissoc :file :recorded)
        (update :conversation
                (partial mapv #(-> %
                                   (dissoc :nanos)
                                   (update :event texts)
                                   (update :response (partial mapv texts))))))))

(def watching
  "Options of a filter that hears of everything."
  {:handlers {:connect (fn [_ _]), :hello (fn [_ _]), :mail (fn [_ _]), :recipient (fn [_ _])
              :data (fn [_ _]), :header (fn [_ _]), :end-of-headers (fn [_ _]), :body (fn [_ _])
              :end-of-message (fn [_ _] [(act/add-header "X-Seen" "yes")])}})

(defn recorded
  "Returns the recordings of mails to a filter, each on a connection of its own."
  [options filter & mails]
  (with-open [recorder (record/recorder options)]
    (doseq [mail mails]
      (mt/run-message (record/record filter recorder) mail))
    (record/recordings recorder)))

(defn events
  "Returns the names of the events of a recording."
  [recording]
  (map (comp :event :event) (:conversation recording)))

(defn- answer-to
  [event recording]
  (some #(when (= event (:event (:event %))) (:response %)) (:conversation recording)))

(defn names
  "Returns the names of the files in a directory."
  [directory]
  (sort (map #(.getName ^File %) (rest (file-seq (io/file directory))))))

;; What is kept

(deftest a-recording-holds-the-whole-conversation-from-offer-to-quit
  (let [[recording & more] (recorded {} watching {:headers [["Subject" "hi"]]})]
    (is (nil? more))
    (is (= [:options :connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message
            :quit]
           (remove #{:define-macro :abort} (events recording))))
    (is (= {:temse/recording 1, :ended :quit}
           (select-keys recording [:temse/recording :ended])))
    (is (string/starts-with? (:mta recording) "Postfix"))
    (is (= [{:action :add-header, :name "X-Seen", :value "yes"} {:action :continue}]
           (answer-to :end-of-message recording)))
    (is (every? nat-int? (map :nanos (:conversation recording))))))

(deftest several-messages-of-a-connection-are-one-recording
  (with-open [recorder (record/recorder)]
    (with-open [session (mt/connect-to (record/record watching recorder))]
      (dotimes [_ 3]
        (mt/run-message session {})))
    (let [[recording & more] (record/recordings recorder)]
      (is (nil? more))
      (is (= 3 (count (filter #{:mail} (events recording))))))))

(deftest a-second-smtp-client-on-the-connection-is-in-the-same-recording
  (with-open [recorder (record/recorder)]
    (milter/with-milter [server (record/record (assoc watching :port 0) recorder)]
      (with-open [socket (support/dial (milter/milter-port server))]
        (support/negotiate socket)
        (support/write-packet socket \K)
        (support/write-packet socket \H (int \x) 0)
        (support/read-packet socket)
        (support/write-packet socket \Q)
        (is (= -1 (.read (.getInputStream socket))))))
    (is (= [[:options :disconnect :hello :quit]] (map events (record/recordings recorder))))))

(deftest actions-are-recorded-as-the-mta-gets-them
  (let [answer (fn [handlers event]
                 (answer-to event (first (recorded {} {:handlers handlers} {:body "hello\r\n"}))))]
    (are [given expected] (= expected
                             (butlast (map #(cond-> % (:body %) (update :body (fn [b] (Text/decode b))))
                                           (answer {:end-of-message (fn [_ _] [given])} :end-of-message))))
      {:action :delete-header, :name "X"} [{:action :change-header, :name "X", :value nil, :index 1}]
      (act/change-body ["a" (.getBytes "b")]) [{:action :change-body, :body "ab"}]
      (act/change-body (ByteArrayInputStream. (.getBytes "a"))) [{:action :change-body, :streamed? true}])
    (testing "skip travels for the body only"
      (is (= [{:action :continue}] (answer {:header (fn [_ _] [(act/skip)])} :header)))
      (is (= [{:action :skip}] (answer {:body (fn [_ _] [(act/skip)])} :body))))))

(deftest a-leading-space-that-the-library-adds-is-not-recorded
  (with-open [recorder (record/recorder)]
    (mt/run-message (record/record (assoc-in watching [:leading-space?] true) recorder)
                    {:headers [["Subject" "hi"]]}
                    {:offer {:version 6, :protocol #{:no-unknown}}})
    (is (= ["hi"] (keep (comp :value :event) (:conversation (first (record/recordings recorder))))))))

(deftest on-exchange-of-the-options-is-called-as-before
  (let [heard (atom [])]
    (recorded {} (assoc watching :on-exchange #(swap! heard conj (:event (:event %)))) {})
    (is (some #{:message-end} @heard))))

(deftest connections-of-several-servers-with-the-same-numbers-are-told-apart
  (with-open [recorder (record/recorder)]
    (milter/with-milter [a (record/record (assoc watching :port 0) recorder)]
      (milter/with-milter [b (record/record (assoc watching :port 0) recorder)]
        (with-open [session-a (mt/connect-to a)
                    session-b (mt/connect-to b)]
          (mt/run-message session-a {:sender "<a@example.org>"})
          (mt/run-message session-b {:sender "<b@example.org>"}))))
    (is (= #{["<a@example.org>"] ["<b@example.org>"]}
           (set (map #(keep (comp :sender :event) (:conversation %)) (record/recordings recorder)))))))

;; Macros

(defn- macros
  [recording]
  (for [{{:keys [event stage definitions]} :event} (:conversation recording)
        :when (= :define-macro event)]
    [stage definitions]))

(deftest a-connection-in-process-is-told-apart-from-one-of-the-server-with-its-number
  (with-open [recorder (record/recorder)]
    (let [keep-exchange (record/exchange-recorder recorder)
          of-peer #(keep-exchange {:id 1, :peer %1, :event %2, :response [], :millis 0.1})]
      (of-peer "inet:40112@127.0.0.1" {:event :options})
      (of-peer "in-process" {:event :options})
      (of-peer "inet:40112@127.0.0.1" {:event :hello, :greeting "mx.example.org"})
      (of-peer "in-process" {:event :disconnect, :reason :quit})
      (of-peer "inet:40112@127.0.0.1" {:event :disconnect, :reason :quit})
      (is (= [["in-process" [:options]] ["inet:40112@127.0.0.1" [:options :hello]]]
             (map (juxt :peer events) (record/recordings recorder))))
      (is (= 0 (:cut (record/recorder-status recorder)))))))

(deftest macros-that-hold-already-are-recorded-once
  (let [headers (repeat 20 ["X-Header" "value"])
        [recording] (recorded {} watching {:headers headers})]
    (is (= 20 (count (filter #{:header} (events recording)))))
    (is (apply distinct? (macros recording))))
  (testing "and again when they have changed, and in the next message"
    (with-open [recorder (record/recorder)]
      (let [say (fn [command stage value]
                  {:event :define-macro, :command command, :stage stage, :definitions {"i" value}})]
        (run! (record/exchange-recorder recorder)
              (for [event [{:event :options, :version 6, :actions #{}, :protocol #{}}
                           (say \M :mail "1") {:event :mail, :sender "<>", :options []}
                           (say \R :recipient "1") {:event :recipient, :address "<a>", :options []}
                           (say \R :recipient "1") {:event :recipient, :address "<b>", :options []}
                           (say \R :recipient "2") {:event :recipient, :address "<c>", :options []}
                           (say \L :header "1") {:event :header, :name "A", :value ""}
                           (say \L :header "1") {:event :header, :name "B", :value ""}
                           {:event :end-of-message}
                           (say \M :mail "1") {:event :mail, :sender "<>", :options []}
                           (say \L :header "1") {:event :header, :name "A", :value ""}
                           {:event :disconnect, :reason :quit}]]
                {:id 1, :event event, :response [], :millis 0.0})))
      (is (= [[:mail {"i" "1"}] [:recipient {"i" "1"}] [:recipient {"i" "2"}] [:header {"i" "1"}]
              [:mail {"i" "1"}] [:header {"i" "1"}]]
             (macros (first (record/recordings recorder))))))))

;; Files

(def ^:private odd-mail
  {:sender "<jörg@example.org>"
   :headers [["Subject" "folded\n line"] ["X-Bytes" (Text/decode (byte-array (map unchecked-byte [200 7 65])))]]
   :body [(byte-array (map unchecked-byte [0 1 200 255 13 10]))]})

(deftest a-recording-read-from-its-file-is-the-one-in-memory
  (with-directory directory
    (doseq [mail [{} odd-mail {:body "ä € 😀\r\n"} {:body (apply str (repeat 20000 "x"))}]]
      (is (= (map comparable (recorded {} watching mail))
             (map comparable (take-last 1 (recorded {:directory directory} watching mail))))))
    (is (= 4 (count (record/read-recordings directory))))
    (is (= (map comparable (record/read-recordings directory))
           (map #(comparable (record/read-recording (io/file directory %)))
                (filter #(string/ends-with? % ".edn") (names directory)))))))

(deftest a-file-has-one-line-for-each-exchange-and-bodies-as-readable-as-they-are
  (with-directory directory
    (recorded {:directory directory, :max-body 10} watching
              {:body "short"} {:body [(byte-array [0 1 2])]} {:body "more than ten bytes"})
    (let [[text binary large body] (map #(slurp (io/file directory %)) (names directory))
          [text binary large body] (if (string/includes? large "conversation")
                                     [text binary large body]
                                     [text binary body large])]
      (is (string/includes? text "{:event {:event :body, :data {:text \"short\\r\\n\"}}, :response"))
      (is (string/includes? binary "#temse/bytes \"AAECDQo=\""))
      (is (re-find #"#temse/file \"[0-9A-Za-z+.-]+\.1\.body\"" large))
      (is (= "more than ten bytes\r\n" body))
      (is (every? #(re-find #"^ ?[ \[]\{:event \{:event :" %)
                  (drop 1 (drop-while #(not= " :conversation" %) (string/split-lines text))))))))

(deftest queue-ids-are-in-the-recording-and-in-the-name-of-its-file
  (are [ids named] (with-directory directory
                     (with-open [recorder (record/recorder {:directory directory})]
                       (run! (record/exchange-recorder recorder)
                             (for [event (concat [{:event :options, :version 6, :actions #{}, :protocol #{}}]
                                                 (for [id ids]
                                                   {:event :define-macro, :command \M, :stage :mail, :definitions {"i" id}})
                                                 [{:event :disconnect, :reason :quit}])]
                               {:id 1, :event event, :response [], :millis 0.0})))
                     (let [[{:keys [queue-ids]}] (record/read-recordings directory)
                           [file-name] (names directory)]
                       (and (= (seq (distinct ids)) queue-ids)
                            (re-matches (re-pattern (str "\\d{8}T\\d{6}\\.\\d{3}Z-000001" named "\\.edn")) file-name))))
    [] ""
    ["4F2A1B"] "-4F2A1B"
    ["4F2A1B" "4F2A1B" "3Xy"] "-4F2A1B\\+3Xy"
    ["../../x/é.edn\u0001"] "-______x___edn_"
    ["1" "2" "3" "4"] "-1\\+2\\+3"
    [(apply str (repeat 500 "9"))] "-9{40}"))

(deftest recordings-with-all-macros-and-without-queue-ids-are-read-and-replayed
  (with-directory directory
    (let [[recording] (recorded {} watching {})
          repeating (-> recording
                        (dissoc :queue-ids)
                        (update :conversation
                                (fn [exchanges]
                                  (vec (mapcat #(if (= :define-macro (:event (:event %))) [% %] [%]) exchanges)))))
          file (io/file directory "20260101T000000.000Z-000001.edn")]
      (spit file (record/recording-text repeating))
      (is (= (events repeating) (events (first (record/read-recordings directory)))))
      (is (= [] (replay/replay directory watching))))))

(deftest what-is-no-recording-is-told-with-its-file
  (with-directory directory
    (let [file (io/file directory "20260101T000000.000Z-000001.edn")]
      (are [content problem] (do (spit file content)
                                 (re-find problem (:message (support/thrown (record/read-recordings directory)))))
        "{:a 1}" #"000001.edn: it holds no recording"
        "{:temse/recording 2}" #"it is of version 2, this library reads version 1"
        "{:a" #"000001.edn: it is cut in line 1, its end is missing$"
        "{:a\n 1 #nope 5}" #"000001.edn: line 2: No reader function for tag nope"
        "" #"000001.edn"
        "{:temse/recording 1 :conversation [{:event {:data #temse/file \"../../etc/passwd\"}}]}"
        #"a body must be in a file beside its recording"))))

(deftest a-damaged-recording-is-told-with-what-is-damaged
  (with-directory directory
    (let [file (io/file directory "20260101T000000.000Z-000001.edn")]
      (are [conversation problem]
        (let [{:keys [message]} (do (spit file (str "{:temse/recording 1 :conversation " conversation "}"))
                                  (support/thrown (record/read-recording file)))]
          (and (string/starts-with? message (str file ": ")) (string/includes? message problem)))
        "nil" "its :conversation must be a vector of exchanges"
        "[{:event {:event :abort} :response nil} 5]" "exchange 2 is damaged: it must be a map with an :event and its :response"
        "[{:event {:event \"mail\"}}]" "exchange 1 is damaged: it must be a map"
        "[{:event {:event :abort} :response [5]}]" "exchange 1 is damaged: in an exchange, :response must be a vector of actions, or nil, not [5]"
        "[{:event {:event :abort}} {:event {:event :mail :sender 5}}]"
        "exchange 2 is damaged: in the event :mail, :sender must be a string, not 5"
        "[{:event {:event :mial :sender \"<>\"}}]"
        "exchange 1 is damaged: :event: there is no event :mial; did you mean :mail?"
        "[{:event {:event :mail :sedner \"<>\"}}]"
        "exchange 1 is damaged: there is no key :sedner in the event :mail; did you mean :sender?"
        "[{:event {:event :mail}}]"
        "exchange 1 is damaged: in the event :mail, :sender is missing"
        "[{:event {:event :connect :host-name \"a\" :family :inet :port -1 :address \"192.0.2.1\"}}]"
        "exchange 1 is damaged: in the event :connect, :port must be a number from 0 to 65535, not -1"
        "[{:event {:event :header :name \"A\" :value \"b\" :index 0}}]"
        "exchange 1 is damaged: in the event :header, :index must be a number from 1 to 2147483647, not 0"
        "[{:event {:event :define-macro :stage :mail :definitions {\"i\" 5}}}]"
        "exchange 1 is damaged: in the event :define-macro, :definitions must be a map of strings, not {\"i\" 5}"
        "[{:event {:event :body :data 5}}]"
        "exchange 1 is damaged: in the event :body, :data must be bytes, not 5"
        "[{:event {:event :options :version -6}}]"
        "exchange 1 is damaged: in the event :options, :version must be a number from 0 to 4294967295, not -6"
        "[{:event {:event :options} :response [{:event :options :version \"6\"}]}]"
        "exchange 1 is damaged: in an offer, :version must be a number, not \"6\""
        "[{:event {:event :options} :response [{:event :options :macros {:mail\u0085 [\"i\"]}}]}]"
        "exchange 1 is damaged: it has the name :mail\\u0085, which cannot be written"
        "[{:event {:event :abort} :nanos -1}]"
        "exchange 1 is damaged: in an exchange, :nanos must be nanoseconds, 0 or more, not -1"
        "[{:event {:event :abort} :repsonse []}]"
        "exchange 1 is damaged: there is no key :repsonse in an exchange; did you mean :response?"
        "[{:event {:event :end-of-message} :response [{:action :acept}]}]"
        "exchange 1 is damaged: there is no action :acept; did you mean :accept?"
        "[{:event {:event :end-of-message} :response [{:action :add-header :name \"A\" :value \"b\" :position -1}]}]"
        "exchange 1 is damaged: in the action :add-header, :position must be a number from 0 to 4294967295, not -1"
        "[{:event {:event :end-of-message} :response [{:action :change-header :name \"A\" :vlaue \"b\"}]}]"
        "exchange 1 is damaged: :change-header of \"A\": it has no key :vlaue"
        "[{:event {:event :end-of-message} :response [{:action :reply-code :smtp-code \"550\"}]}]"
        "exchange 1 is damaged: in the action :reply-code, :smtp-code must be a number from 0 to 999, not \"550\""
        "[{:event {:event :define-macro :stage :nope}}]" "exchange 1 is damaged: there is no stage :nope"
        "[{:event {:event :define-macro :command 5}}]" "exchange 1 is damaged: the :command of macros must be a letter, not 5"
        "[{:event {:event :body :data {:text 5}}}]" "exchange 1 is damaged: the :text of a body must be a string, not 5"
        "[{:event {:event :body :data #temse/bytes 5}}]" "#temse/bytes must be followed by a string, not 5"
        "[{:event {:event :body :data #temse/file 5}}]" "a body must be in a file beside its recording, not in 5"
        "[{:event {:event :body :data #temse/file \"a\\u0000b\"}}]" "a body must be in a file beside its recording"
        "[{:event {:event :body :data #temse/file \"gone.body\"}}]" "there is no file"
        (apply str (repeat 20000 "[")) "it is nested too deeply"))))

(deftest a-recording-that-is-cut-says-where-and-how-to-use-what-is-whole
  (with-directory directory
    (with-open [recorder (record/recorder {:directory directory})]
      (mt/run-message (record/record watching recorder) {}))
    (let [[^File file] (filter #(.isFile ^File %) (file-seq (io/file directory)))
          whole (slurp file)
          exchanges (count (:conversation (record/read-recording file)))
          lines (string/split-lines whole)
          cut-in (fn [n]
                   (spit file (str (string/join "\n" (take (dec (long n)) lines)) "\n"
                                   (subs (nth lines (dec (long n))) 0 10)))
                   (:message (support/thrown (record/read-recording file))))
          head (- (count lines) exchanges)]
      (is (< 10 exchanges))
      (is (= (str file ": it is cut in line " (+ head 5) ", its end is missing; its first 4 exchanges are whole:"
                  " to use them, write ]} in place of all that follows line " (+ head 4))
             (cut-in (+ head 5))))
      (is (= (str file ": it is cut in line 2, its end is missing") (cut-in 2)))
      (testing "and so they can be used"
        (spit file (str (string/join "\n" (take (+ head 4) lines)) "]}"))
        (is (= 4 (count (:conversation (record/read-recording file)))))))))

;; Use

(deftest closing-a-recorder-cuts-what-is-in-progress-and-writes-it
  (let [^Closeable recorder (record/recorder)]
    (with-open [session (mt/connect-to (record/record watching recorder))]
      (mt/run-message session {})
      (.close recorder)
      (is (= [:cut] (map :ended (record/recordings recorder))))
      (is (= :accept (:verdict (mt/run-message session {})))))))

(deftest wrong-options-are-refused-with-what-would-be-right
  (are [options problem] (let [{:keys [milter/error message]} (support/thrown (record/recorder options))]
                           (and (= :bad-options error) (re-find problem message)))
    {:max-bytes -1} #":max-bytes must be a number of bytes, not -1"
    {:dir "x"} #"there is no key :dir in the options of a recorder; did you mean :directory"
    {:directory "/dev/null/x"} #"recordings cannot be written to /dev/null/x"))
