(ns temse.gallery.spamassassin-test
  "gallery/spamassassin.clj with a real spamd, and with one of the test that does everything wrong."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.gallery.support :as gallery]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.smtp :as smtp]
   [temse.harness.spamd :as spamd]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.support :as support :refer [with-logs]]
   [temse.test :as mt]
   [temse.test.check :as check])
  (:import
   (java.io Closeable File IOException)
   (java.net InetAddress ServerSocket Socket)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent CountDownLatch)))

(set! *warn-on-reflection* true)

;; ---- a spamd of the test

(defrecord ^:private Fake [address requests ^ServerSocket server]
  Closeable
  (close [_]
    (.close server)))

(defn- serve
  "Returns a server whose clients are given to f, each in a thread of its own."
  ^Fake [f]
  (let [server (ServerSocket. 0 50 (InetAddress/getByName "127.0.0.1"))
        requests (atom [])
        thread (fn [^Runnable run] (doto (Thread. run) (.setDaemon true) (.start)))]
    (thread #(try
               (while true
                 (let [socket (.accept server)]
                   (thread (fn []
                             (try
                               (with-open [socket ^Socket socket]
                                 (f socket requests))
                               (catch IOException _))))))
               (catch IOException _)))
    (->Fake (str "inet:" (.getLocalPort server) "@127.0.0.1") requests server)))

(defn- read-all
  "Reads to the end, which comes when the client closes its sending half."
  [^Socket socket requests]
  (swap! requests conj (smtp/octets (.readAllBytes (.getInputStream socket)))))

(defn- write
  [^Socket socket text]
  (.write (.getOutputStream socket) (smtp/octet-bytes text)))

(defn- verdict
  ([spam-field]
   (verdict spam-field "A,B"))
  ([spam-field tests]
   (str "SPAMD/1.1 0 EX_OK\r\nContent-length: " (count tests) "\r\nSpam: " spam-field "\r\n\r\n" tests)))

(defn- answering
  ^Fake [text]
  (serve (fn [socket requests]
           (read-all socket requests)
           (write socket text))))

;; ---- the filter

(defn- load-filter
  "Returns the filter with settings, which spares nobody unless they say so."
  [settings]
  (let [file (File/createTempFile "spamassassin" ".edn")]
    (try
      (spit file (pr-str (merge {:networks [] :authenticated? false} settings)))
      (gallery/load-filter "spamassassin" (str file))
      (finally
        (io/delete-file file)))))

(defn- run
  ([settings mail]
   (run settings mail {}))
  ([settings mail options]
   (mt/run-message (load-filter settings) mail options)))

(defn- fields
  "Returns the fields X-Spam-… of a delivered mail."
  [{:keys [message]}]
  (filter #(re-find #"(?i)^X-Spam" (first %)) (:headers message)))

(def ^:private client
  {:client {:host-name "a.example", :address "192.0.2.7", :port 40110}
   :hello "a.example"
   :macros {"i" "4TEMSE", "j" "mx.example.org", "v" "Postfix 3.7.11"}})

(deftest the-question-is-that-of-the-protocol-and-ends-with-the-mail
  (with-open [fake (answering (verdict "False ; 0.1 / 5.0"))]
    (run {:spamd (:address fake)}
         {:headers [["Subject" "Grüße"] ["X-Spam-Flag" "NO"] ["x-spam-status" "No"]]
          :body "At noon?\r\n"}
         client)
    (let [[request & more] @(:requests fake)
          [_ length content] (re-matches #"(?s)SYMBOLS SPAMC/1\.5\r\nContent-length: (\d+)\r\n\r\n(.*)" request)]
      (is (nil? more))
      (is (= (parse-long length) (count content)))
      (is (re-matches (re-pattern (str "(?s)Received: from a\\.example \\(a\\.example \\[192\\.0\\.2\\.7\\]\\)\r\n"
                                       "\tby mx\\.example\\.org \\(Postfix\\).* id 4TEMSE\r\n\tfor <recipient@example\\.com>;.*\r\n"
                                       "Subject: " (smtp/utf-8 "Grüße") "\r\n\r\nAt noon\\?\r\n"))
                      content)))))

(deftest the-verdict-is-in-the-header-in-place-of-forged-fields
  (are [spam-field expected]
    (with-open [fake (answering (verdict spam-field))]
      (= expected (fields (run {:spamd (:address fake)}
                               {:headers [["X-Spam-Flag" "YES"] ["Subject" "hi"] ["x-spam-level" "xxxxxxxxxx"]
                                          ["X-Spam-Unchecked" "larger"]]}))))
    "False ; 0.9 / 5.0" [["X-Spam-Status" "No, score=0.9 required=5.0 tests=A, B"]]
    "False ; -2.5 / 5.0" [["X-Spam-Status" "No, score=-2.5 required=5.0 tests=A, B"]]
    "False ; 4.9 / 5" [["X-Spam-Level" "xxxx"] ["X-Spam-Status" "No, score=4.9 required=5 tests=A, B"]]
    "True ; 12.0 / 5.0" [["X-Spam-Flag" "YES"] ["X-Spam-Level" "xxxxxxxxxxxx"]
                         ["X-Spam-Status" "Yes, score=12.0 required=5.0 tests=A, B"]]
    "True ; 1000 / 5.0" [["X-Spam-Flag" "YES"] ["X-Spam-Level" (string/join (repeat 50 "x"))]
                         ["X-Spam-Status" "Yes, score=1000 required=5.0 tests=A, B"]]))

(deftest many-tests-are-folded
  (with-open [fake (answering (verdict "True ; 6 / 5" (string/join "," (map #(str "TEST_NUMBER_" %) (range 500)))))]
    (let [[_ _ [_ status]] (fields (run {:spamd (:address fake)} {}))]
      (is (every? #(<= (count %) 78) (string/split-lines status)))
      (is (= 500 (count (re-seq #"TEST_NUMBER_\d+" status)))))))

(deftest points-refuse-and-hold
  (with-open [fake (answering (verdict "True ; 12.0 / 5.0"))]
    (let [spamd (:address fake)]
      (let [{:keys [verdict reply]} (run {:spamd spamd :reject-score 12} {})]
        (is (= :reject verdict))
        (is (= {:smtp-code 550 :enhanced-code "5.7.1" :text "The mail is taken for spam, score 12.0"}
               (select-keys reply [:smtp-code :enhanced-code :text]))))
      (is (= :accept (:verdict (run {:spamd spamd :reject-score 12.1} {}))))
      (is (= "spam, score 12.0" (:quarantine (:message (run {:spamd spamd :quarantine-score 10} {})))))
      (is (nil? (:quarantine (:message (run {:spamd spamd :quarantine-score 13} {}))))))))

(deftest a-verdict-says-why
  (with-open [fake (answering (verdict "True ; 12.0 / 5.0"))]
    (is (= [{:spam? true :score 12.0M :required 5.0M :tests ["A" "B"]}]
           (->> (run {:spamd (:address fake) :reject-score 5} {})
                :conversation
                (mapcat :response)
                (keep (comp :why meta)))))))

(deftest the-subject-of-spam-is-tagged-once
  (let [subjects (fn [spam-field headers]
                   (with-open [fake (answering (verdict spam-field))]
                     (-> (run {:spamd (:address fake) :subject-tag "[SPAM]"} {:headers headers})
                         :message :headers (mail/header-values "Subject"))))]
    (is (= ["[SPAM] hi"] (subjects "True ; 6 / 5" [["Subject" "hi"]])))
    (is (= ["[SPAM] hi"] (subjects "True ; 6 / 5" [["Subject" "[SPAM] hi"]])))
    (is (= ["[SPAM] =?utf-8?q?gr=C3=BC=C3=9Fe?="] (subjects "True ; 6 / 5" [["subject" "=?utf-8?q?gr=C3=BC=C3=9Fe?="]])))
    (is (= ["[SPAM]"] (subjects "True ; 6 / 5" [["From" "a@example.org"]])))
    (is (= ["[SPAM] hi" "[SPAM] ho"] (subjects "True ; 6 / 5" [["Subject" "hi"] ["subject" "ho"]])))
    (is (= ["hi"] (subjects "False ; 4 / 5" [["Subject" "hi"]])))
    (let [long-subject (string/join (repeat 990 "a"))]
      (is (= [long-subject] (subjects "True ; 6 / 5" [["Subject" long-subject]]))))))

(deftest one-recipient-has-preferences
  (let [user (fn [settings & recipients]
               (with-open [fake (answering (verdict "False ; 0 / 5"))]
                 (run (assoc settings :spamd (:address fake)) {:recipients recipients})
                 (second (re-find #"User: (.*)\r\n" (first @(:requests fake))))))]
    (are [expected settings recipients] (= expected (apply user settings recipients))
      nil {} ["<ann@example.org>"]
      "ann@example.org" {:user :address} ["<Ann@Example.org>"]
      "ann" {:user :local-part} ["<Ann+news@example.org>"]
      nil {:user :address} ["<ann@example.org>" "<bob@example.org>"]
      "site" {:user :address :default-user "site"} ["<ann@example.org>" "<bob@example.org>"]
      "site" {:default-user "site"} ["<ann@example.org>"]
      "site" {:user :address :default-user "site"} ["<\"a/../b\"@example.org>"]
      nil {:user :local-part} ["<../../etc@example.org>"]
      nil {:user :local-part} ["<-x@example.org>"]
      nil {:user :local-part} ["<jörg@example.org>"]
      nil {:user :local-part} [(str "<" (string/join (repeat 100 "a")) "@example.org>")])))

;; ---- what goes wrong

(defn- drip
  "Writes an octet now and then, until the client is gone."
  [socket requests]
  (read-all socket requests)
  (while true
    (write socket "S")
    (Thread/sleep 50)))

(def ^:private broken
  {"rubbish" #(do (read-all %1 %2) (write %1 "220 mx.example.org ESMTP\r\n"))
   "nothing" #(read-all %1 %2)
   "an error" #(do (read-all %1 %2) (write %1 "SPAMD/1.0 76 Bad header line: hi\r\n"))
   "an error with a verdict" #(do (read-all %1 %2) (write %1 (string/replace (verdict "False ; 0 / 5") "0 EX_OK" "74 EX_IOERR")))
   "no points" #(do (read-all %1 %2) (write %1 (verdict "False ; nan / 5.0")))
   "no required points" #(do (read-all %1 %2) (write %1 (verdict "False ; 1.0")))
   "half a verdict" #(do (read-all %1 %2) (write %1 (subs (verdict "False ; 0.0 / 5.0") 0 60)))
   "tests that are none" #(do (read-all %1 %2) (write %1 (verdict "False ; 0 / 5" "A\r\nB: c")))
   "without an end" #(do (read-all %1 %2) (try (while true (write %1 (verdict "False ; 0 / 5"))) (catch IOException _)))
   "before the end of the mail" (fn [socket _] (write socket "SPAMD/1.0 76 Bad\r\n"))
   "with a reset" (fn [^Socket socket _] (.setSoLinger socket true 0))})

(deftest without-a-verdict-mail-is-deferred
  (doseq [[what f] broken]
    (testing what
      (with-open [fake (serve f)]
        (let [{:keys [verdict reply errors]} (run {:spamd (:address fake)} {:body (string/join (repeat 10000 "hello\r\n"))})]
          (is (= :temporary-failure verdict))
          (is (= 451 (:smtp-code reply)))
          (is (= [] errors)))))))

(deftest a-slow-spamd-has-a-time-limit
  (let [end (CountDownLatch. 1)]
    (doseq [[what f] {"that says nothing" (fn [_ _] (.await end))
                      "that never ends" drip}]
      (testing what
        (with-open [fake (serve f)]
          (is (= 451 (:smtp-code (:reply (run {:spamd (:address fake) :timeout 500} {}))))))))
    (.countDown end)))

(deftest without-spamd-the-policy-holds
  (let [spamd (str "inet:" (support/free-port) "@127.0.0.1")]
    (is (= [:temporary-failure 451] ((juxt :verdict (comp :smtp-code :reply)) (run {:spamd spamd} {}))))
    (is (= :temporary-failure (:verdict (run {:spamd "unix:/nowhere/spamd.sock"} {}))))
    (is (= :temporary-failure (:verdict (run {:spamd "inet6:783@127.0.0.1"} {}))))
    (with-logs records
      (let [report (run {:spamd spamd :when-down :pass} {:headers [["X-Spam-Flag" "NO"] ["Subject" "hi"]]})]
        (is (= :accept (:verdict report)))
        (is (= [["X-Spam-Unchecked" "spamd does not answer"]] (fields report)))
        (is (some #(re-find #"spamd at inet:\d+@127.0.0.1 is down, and mail passes unchecked: .*refused" %)
                  (support/messages records :error)))))))

(deftest large-mail-is-not-checked
  (with-open [fake (answering (verdict "True ; 9 / 5"))]
    (let [settings {:spamd (:address fake) :max-size 1000}
          mail {:headers [["Subject" "hi"] ["X-Spam-Flag" "NO"]] :body (string/join (repeat 200 "hello\r\n"))}
          report (run settings mail)]
      (is (= [["X-Spam-Unchecked" "larger than 1000 bytes"]] (fields report)))
      (is (= (:body mail) (smtp/octets (mail/body-bytes (:body (:message report))))))
      (is (= 552 (:smtp-code (:reply (run (assoc settings :when-larger :reject) mail)))))
      (is (= 451 (:smtp-code (:reply (run (assoc settings :when-larger :defer) mail)))))
      (is (= [] @(:requests fake)))
      (run settings {:body (string/join (repeat 100 "hello\r\n"))})
      (is (= 1 (count @(:requests fake)))))))

(deftest some-mail-is-spared
  (with-open [fake (answering (verdict "True ; 9 / 5"))]
    (let [check (fn [settings options]
                  (fields (run (assoc settings :spamd (:address fake))
                               {:headers [["X-Spam-Flag" "MAYBE"]]}
                               (merge client options))))]
      (is (= [["X-Spam-Flag" "MAYBE"]] (check {:networks ["192.0.2.0/24"]} {})))
      (is (= [["X-Spam-Flag" "MAYBE"]] (check {:authenticated? true} {:macros {"auth_authen" "ann"}})))
      (is (= [] @(:requests fake)))
      (is (= 3 (count (check {:networks ["198.51.100.0/24"] :authenticated? true} {})))))))

(defn- send-message
  "Sends the packets of a small message, without waiting for replies."
  [socket]
  (let [text #(map int (str % "\u0000"))]
    (run! #(apply support/write-packet socket %)
          [(cons \C (concat (text "a.example") (map int "4") [0x9c 0xae] (text "192.0.2.7")))
           (cons \H (text "a.example"))
           (cons \M (text "<a@example.org>"))
           (cons \R (text "<b@example.org>"))
           [\T]
           (cons \L (concat (text "Subject") (text "hi")))
           [\N]
           (cons \B (map int "hello\r\n"))
           [\E]])))

(deftest the-mta-gets-progress-while-spamd-thinks
  (let [go-on (promise)]
    (with-open [fake (serve (fn [socket requests]
                              (read-all socket requests)
                              (deref go-on 10000 nil)
                              (write socket (verdict "False ; 0 / 5"))))]
      (milter/with-milter [server (assoc (load-filter {:spamd (:address fake) :networks ["198.51.100.0/24"]})
                                         :port 0 :progress-interval 20)]
        (with-open [socket (support/dial (milter/milter-port server))]
          (support/negotiate socket)
          (send-message socket)
          (let [codes (repeatedly #(support/read-packet socket))
                [_ [_ & more]] (split-with #(not= \p %) (map (fn [code] (when (= \p code) (deliver go-on true)) code) codes))]
            (is (= \i (first (remove #{\p} more))))))))))

;; ---- settings

(deftest mistakes-in-settings-say-what-is-right
  (are [settings problem] (re-find problem (:message (support/thrown (load-filter settings))))
    {:spam "inet:783@127.0.0.1"} #"there is no setting :spam; did you mean :spamd\?"
    {:spamd "nonsense"} #":spamd must be an address, not \"nonsense\": cannot understand"
    {:timeout 0} #":timeout must be milliseconds, 1 to 300000"
    {:reject-score "5"} #":reject-score must be a number of points, or nil"
    {:reject-score ##NaN} #":reject-score must be a number of points, or nil"
    {:subject-tag "a\nb"} #":subject-tag must be a text of printable ASCII"
    {:when-down :accept} #":when-down must be :defer or :pass"
    {:networks ["example.org"]} #":networks must be networks"
    {:default-user "a b"} #":default-user must be the name of a user"))

(deftest it-runs-without-a-file
  (is (:handlers (gallery/load-filter "spamassassin"))))

;; ---- generated conversations

(deftest generated-conversations-find-nothing
  (with-open [fake (answering (verdict "True ; 9 / 5"))]
    (let [report (check/check-filter (load-filter {:spamd (:address fake) :subject-tag "[SPAM]" :user :address})
                                     {:runs 60, :seed runner/seed})]
      (is (:pass? report) (pr-str (map #(dissoc % :conversation :events :alone) (:findings report)))))))

;; ---- a real spamd

(def ^:private rules
  (str "required_score 5\n"
       "body PILLS /buy pills/i\nscore PILLS 6\n"
       "body MORE_PILLS /many pills/i\nscore MORE_PILLS 12\n"
       "header FROM_CLIENT Received =~ /\\Afrom client\\.example\\.org \\(.*\\[127\\.0\\.0\\.1\\]\\)\\s+by mx\\.example\\.org/s\nscore FROM_CLIENT 0.5\n"
       "header FORGED exists:X-Spam-Flag\nscore FORGED 50\n"))

(defmacro ^:private with-spamd
  [[spamd-name] & body]
  `(do
     (when-let [reason# (spamd/unavailable)]
       (runner/skip! reason#))
     (with-open [~(with-meta spamd-name {:tag `Closeable})
                 (spamd/start {:rules rules, :preferences {"ann@example.org" "required_score 9\n"}})]
       ~@body)))

(defn- inet
  [spamd]
  (str "inet:" (:port spamd) "@127.0.0.1"))

(deftest a-real-spamd-answers-by-tcp-and-by-its-socket
  (with-spamd [spamd]
    (doseq [address [(inet spamd) (str "unix:" (:socket spamd))]]
      (testing address
        (is (= [["X-Spam-Status" "No, score=0.0 required=5.0 tests=none"]]
               (fields (run {:spamd address} {:body "Hello.\r\n"}))))
        (is (= [["X-Spam-Flag" "YES"] ["X-Spam-Level" "xxxxxx"] ["X-Spam-Status" "Yes, score=6.0 required=5.0 tests=PILLS"]]
               (fields (run {:spamd address} {:headers [["X-Spam-Flag" "NO"]] :body "Buy pills!\r\n"}))))
        (testing "with the preferences of a user"
          (is (= [["X-Spam-Level" "xxxxxx"] ["X-Spam-Status" "No, score=6.0 required=9.0 tests=PILLS"]]
                 (fields (run {:spamd address :user :address}
                              {:recipients ["<ann@example.org>"] :body "Buy pills!\r\n"})))))))))

(def ^:private hostile
  {"no header" {:headers [] :body "Hello"}
   "no body" {:headers [["Subject" "hi"]] :body ""}
   "bytes that are no text" {:headers [["Subject" "\uDCFF\uDC80"]] :body (byte-array (map unchecked-byte (range 256)))}
   "bare line ends" {:headers [["Subject" "hi"]] :body "a\rb\nc\r\n.\r\nQUIT\r\n"}
   "a header like the protocol" {:headers [["Subject" "hi\n\tSPAMD/1.1 0 EX_OK"]] :body "SPAMD/1.1 0 EX_OK\r\n\r\n"}
   "many fields" {:headers (repeat 900 ["X-Spam-Flag" "NO"]) :body "Hello"}
   "a long line" {:headers [["Subject" "hi"]] :body (string/join (repeat 200000 "a"))}
   "a wrong MIME structure" {:headers [["Content-Type" "multipart/mixed; boundary=\""]] :body "--\r\n--\r\n"}})

(deftest a-real-spamd-judges-hostile-mail
  (with-spamd [spamd]
    (doseq [[what mail] hostile]
      (testing what
        (let [{:keys [verdict errors] :as report} (run {:spamd (inet spamd)} mail)]
          (is (= [:accept []] [verdict errors]))
          (is (= ["X-Spam-Status"] (map first (fields report)))))))))

(defn- with-link
  "Calls f with the path of a symbolic link, and a function that has it lead to a file."
  [f]
  (support/with-directory {}
    (fn [directory]
      (let [link (.toPath (io/file directory "spamd.sock"))]
        (f (str link)
           (fn [file]
             (Files/deleteIfExists link)
             (Files/createSymbolicLink link (.toPath (io/file file)) (make-array FileAttribute 0))))))))

(defn- outage-lines
  [records]
  (filterv #(not= :debug (:level %)) @records))

(defn- verdicts
  "Returns how often 20 mails at once have got each verdict."
  [filter]
  (frequencies (map :verdict (mt/run-many filter (repeat 20 {}) {:connections 20}))))

(deftest when-spamd-is-killed-mail-is-deferred-until-it-is-back-and-two-lines-say-so
  (when-let [reason (spamd/unavailable)]
    (runner/skip! reason))
  (with-link
    (fn [path lead-to!]
      (doseq [[policy verdict meanwhile] [[:defer :temporary-failure "mail is deferred"]
                                          [:pass :accept "mail passes unchecked"]]]
        (testing policy
          (with-logs records
            (let [filter (load-filter {:spamd (str "unix:" path), :when-down policy})
                  spamd (spamd/start {:rules rules})]
              (try
                (lead-to! (:socket spamd))
                (is (= [["X-Spam-Status" "No, score=0.0 required=5.0 tests=none"]] (fields (mt/run-message filter {}))))
                (finally
                  ((:stop spamd))))
              (is (= {verdict 20} (verdicts filter)))
              (is (= [:error] (map :level (outage-lines records))))
              (is (re-find (re-pattern (str "^spamd at unix:.* is down, and " meanwhile ": ."))
                           (:message (first (outage-lines records)))))
              (with-spamd [again]
                (lead-to! (:socket again))
                (is (= [["X-Spam-Status" "No, score=0.0 required=5.0 tests=none"]] (fields (mt/run-message filter {}))))
                (is (= {:accept 20} (verdicts filter)))
                (is (= [:error :info] (map :level (outage-lines records))))
                (is (re-find #"is back after \d+ s$" (:message (second (outage-lines records)))))))))))))

(defn- signal
  [^long pid signal-name]
  (.waitFor (.start (ProcessBuilder. ^java.util.List (vector "kill" (str "-" signal-name) "--" (str (- pid)))))))

(deftest while-a-real-spamd-is-stuck-mail-waits-its-time-and-no-longer
  (with-spamd [spamd]
    (let [pid (parse-long (string/trim (slurp (io/file (.getParentFile ^File (:queue-directory spamd)) "spamd.pid"))))
          filter (load-filter {:spamd (inet spamd), :timeout 1500})]
      (with-logs records
        (is (= {:accept 20} (verdicts (load-filter {:spamd (inet spamd)}))))
        (signal pid "STOP")
        (try
          (is (= {:temporary-failure 20} (verdicts filter)))
          (is (= [:error] (map :level (outage-lines records))))
          (finally
            (signal pid "CONT")))
        (support/await-true #(= :accept (:verdict (mt/run-message filter {}))))
        (is (= [:error :info] (map :level (outage-lines records))))))))

;; ---- behind real MTAs

(defn- held
  "Returns how many mails the MTA holds."
  [{:keys [mta] :as running}]
  (count (case mta
           :postfix (postfix/hold-queue running)
           :sendmail (sendmail/quarantined running))))

(defn- spam-fields
  [{:keys [headers]}]
  (filter #(re-find #"(?i)^X-Spam" (first %)) headers))

(defn- check-behind
  [mta]
  (with-spamd [spamd]
    (gallery/behind mta
                    (load-filter {:spamd (inet spamd) :subject-tag "[SPAM]" :reject-score 10 :networks ["192.0.2.0/24"]})
                    {}
                    (fn [running]
                      (testing "clean mail, and the Received field that spamd sees"
                        (let [{:keys [headers body] :as arrived} (gallery/sent running {:headers [["Subject" " hi"] ["X-Spam-Flag" " YES"]]})]
                          (is (= [["X-Spam-Status" "No, score=0.5 required=5.0 tests=FROM_CLIENT"]] (spam-fields arrived)))
                          (is (= "hi" (mail/header headers "Subject")))
                          (is (= "Hello.\r\n" body))))
                      (testing "spam is marked"
                        (let [{:keys [headers] :as arrived} (gallery/sent running {:headers [["X-Spam-Level" " "] ["Subject" " hi"]]
                                                                                   :body "buy pills\r\n"})]
                          (is (= {"X-Spam-Flag" "YES"
                                  "X-Spam-Level" "xxxxxx"
                                  "X-Spam-Status" "Yes, score=6.5 required=5.0 tests=FROM_CLIENT, PILLS"}
                                 (into {} (spam-fields arrived))))
                          (is (= ["[SPAM] hi"] (mail/header-values headers "Subject")))))
                      (testing "much spam is refused"
                        (let [{:keys [message]} (gallery/sent running {:body "many pills\r\n"})]
                          (is (= [550 ["5.7.1 The mail is taken for spam, score 12.5"]] ((juxt :code :lines) message)))))
                      (testing "8-bit mail arrives as it is"
                        (let [text (smtp/utf-8 "Grüße\r\n")]
                          (is (= text (:body (gallery/sent running {:sender "<a@example.org> BODY=8BITMIME" :body text}))))))
                      (testing "without spamd mail is deferred"
                        ((:stop spamd))
                        (let [{:keys [message]} (gallery/sent running {})]
                          (is (= 451 (:code message)))))))))

(defn- check-held-behind
  [mta]
  (with-open [fake (answering (verdict "True ; 7.0 / 5.0"))]
    (gallery/behind mta
                    (load-filter {:spamd (:address fake) :quarantine-score 7})
                    {}
                    (fn [running]
                      (is (= 250 (:code (:message (gallery/transact running {})))))
                      (is (= 1 (held running)))))))

(deftest mail-is-judged-behind-postfix
  (check-behind :postfix))

(deftest mail-is-judged-behind-sendmail
  (check-behind :sendmail))

(deftest spam-is-held-behind-postfix
  (check-held-behind :postfix))

(deftest spam-is-held-behind-sendmail
  (check-held-behind :sendmail))

(deftest in-postfix-networks-and-authenticated-clients-are-spared
  (with-open [fake (answering (verdict "True ; 50 / 5"))]
    (gallery/behind :postfix
                    (load-filter {:spamd (:address fake) :networks ["192.0.2.0/24"] :authenticated? true :reject-score 5})
                    {:main {"smtpd_authorized_xclient_hosts" "127.0.0.0/8"
                            "mynetworks" "127.0.0.0/8 192.0.2.0/24 198.51.100.0/24"}}
                    (fn [{:keys [port]}]
                      (letfn [(sent-as [xclient]
                                (with-open [connection (smtp/connect {:port port})]
                                  (smtp/command connection "EHLO client.example.org")
                                  (smtp/command connection (str "XCLIENT " xclient))
                                  (smtp/command connection "EHLO client.example.org")
                                  (:code (:message (smtp/transact connection {})))))]
                        (is (= 250 (sent-as "ADDR=192.0.2.9")))
                        (is (= 250 (sent-as "ADDR=198.51.100.9 LOGIN=ann")))
                        (is (= 550 (sent-as "ADDR=198.51.100.9"))))))))
