(ns temse.proxy-test
  "What a proxy passes on, tells and survives, before temse, libmilter and odd milters."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.differential.peers :as peers]
   [temse.impl.proxy.decoder :as decoder]
   [temse.milter :as milter]
   [temse.proxy :as proxy]
   [temse.record :as record]
   [temse.replay :as replay]
   [temse.runner :as runner]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io File InputStream)
   (java.net ServerSocket Socket)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util Arrays List Random)
   (java.util.concurrent LinkedBlockingQueue TimeUnit)))

(set! *warn-on-reflection* true)

(defmacro ^:private with-proxy
  "Binds a proxy before a milter at an address, on a free port unless options say otherwise."
  [[binding milter-address options] & body]
  `(with-open [proxy# (proxy/start-proxy (merge {:listen "inet:0@127.0.0.1", :milter ~milter-address
                                                 :daemon? true}
                                                ~options))]
     (let [~binding proxy#]
       ~@body)))

(defn- port
  [proxy]
  (parse-long (re-find #"\d+" (proxy/proxy-address proxy))))

(defn- directory
  []
  (str (Files/createTempDirectory "proxy" (make-array FileAttribute 0))))

(def ^:private adding
  {:handlers {:recipient (fn [{:keys [address]} _]
                           (when (= "<trap@example.com>" address) [(act/reject)]))
              :header ^:no-reply (fn [_ _])
              :body (fn [_ _])
              :end-of-message (fn [_ context]
                                (milter/progress! context)
                                [(act/add-header "X-Seen" "yes")
                                 (act/change-body (apply str (repeat 20000 "0123456789")))
                                 (act/accept)])}})

(def ^:private mail
  {:recipients ["<trap@example.com>" "<b@example.com>"], :body (apply str (repeat 10000 "0123456789abcde\n"))})

(defn- outcome
  [report]
  (-> (select-keys report [:verdict :at :reply :recipients])
      (assoc :headers (get-in report [:message :headers])
             :body (count (get-in report [:message :body])))))

;; Passing on

(deftest a-message-through-a-proxy-comes-to-what-it-comes-to-without-one
  (milter/with-milter [server (assoc adding :port 0)]
    (let [direct (outcome (mt/run-message server mail))]
      (testing "from TCP to TCP"
        (with-proxy [proxy (milter/milter-address server) {}]
          (is (= direct (outcome (mt/run-message (proxy/proxy-address proxy) mail))))))
      (testing "from a Unix-domain socket to TCP"
        (with-proxy [proxy (milter/milter-address server) {:listen (str "unix:" (directory) "/s")}]
          (is (= direct (outcome (mt/run-message (proxy/proxy-address proxy) mail)))))))
    (milter/with-milter [server (assoc adding :socket-path (str (directory) "/s"))]
      (with-proxy [proxy (milter/milter-address server) {}]
        (is (= :accept (:verdict (mt/run-message (proxy/proxy-address proxy) mail))))))))

(defn- echo
  "Returns a socket on which whatever is read is written back, by a thread for each connection."
  ^ServerSocket []
  (let [server (ServerSocket. 0)]
    (future
      (try
        (while true
          (let [socket (.accept server)]
            (future
              (with-open [socket socket]
                (.transferTo (.getInputStream socket) (.getOutputStream socket))))))
        (catch java.io.IOException _)))
    server))

(deftest bytes-that-are-no-packets-pass-unchanged-and-it-is-told
  (with-open [milter (echo)]
    (support/with-logs logs
      (with-proxy [proxy (str (.getLocalPort milter)) {}]
        (with-open [socket (support/dial (port proxy))]
          (let [bytes (byte-array 300000)
                _ (.nextBytes (Random. 1) bytes)
                _ (future (.write (.getOutputStream socket) bytes))
                echoed (.readNBytes (.getInputStream socket) (alength bytes))]
            (is (Arrays/equals bytes echoed)))))
      (is (= 1 (count (filter #(string/includes? % "is not decoded any more") (support/messages logs :warn))))))))

(deftest packets-in-pieces-pass-piece-by-piece
  (with-open [milter (echo)]
    (with-proxy [proxy (str (.getLocalPort milter)) {}]
      (with-open [socket (support/dial (port proxy))]
        (doseq [b [0 0 0 13 79 0 0]]
          (.write (.getOutputStream socket) (int b))
          (is (= b (.read (.getInputStream socket)))))))))

(deftest when-the-milter-closes-the-mta-is-closed
  (with-open [milter (ServerSocket. 0)]
    (with-proxy [proxy (str (.getLocalPort milter)) {}]
      (with-open [socket (support/dial (port proxy))]
        (.write (.getOutputStream socket) (int 0))
        (with-open [accepted (.accept milter)]
          (.write (.getOutputStream accepted) (byte-array [1 2 3])))
        (is (= [1 2 3] (vec (.readAllBytes (.getInputStream socket)))))))))

(deftest when-the-mta-closes-the-milter-is-closed
  (let [reason (promise)]
    (milter/with-milter [server {:port 0, :handlers {:disconnect (fn [event _]
                                                                   (deliver reason (:reason event))
                                                                   nil)}}]
      (with-proxy [proxy (milter/milter-address server) {}]
        (with-open [socket (support/dial (port proxy))]
          (support/negotiate socket))
        (is (= :connection-lost (support/awaited reason)))))))

(deftest where-no-milter-is-the-mta-is-closed-and-it-is-counted
  (let [nobody (support/free-port)]
    (support/with-logs logs
      (with-proxy [proxy (str nobody) {}]
        (with-open [socket (support/dial (port proxy))]
          (support/write-packet socket \O 0 0 0 6 0 0 1 0xff 0 0x1f 0xff 0xff)
          (is (= -1 (.read (.getInputStream socket)))))
        (is (= 1 (:unreachable (proxy/proxy-status proxy))))
        (testing "and a milter that comes later is found"
          (milter/with-milter [_ (assoc adding :port nobody)]
            (is (= :accept (:verdict (mt/run-message (proxy/proxy-address proxy) mail)))))))
      (is (some #(string/includes? % "cannot be reached") (support/messages logs :warn))))))

(deftest connections-beyond-the-limit-are-refused
  (support/with-logs logs
    (milter/with-milter [server (assoc adding :port 0)]
      (with-proxy [proxy (milter/milter-address server) {:max-connections 1}]
        (with-open [first-socket (support/dial (port proxy))]
          (support/negotiate first-socket)
          (with-open [second-socket (support/dial (port proxy))]
            (is (= -1 (.read (.getInputStream second-socket)))))
          (is (= 1 (:refused (proxy/proxy-status proxy)))))))))

(deftest many-connections-at-once-are-told-apart
  (let [exchanges (atom [])]
    (milter/with-milter [server (assoc adding :port 0)]
      (with-proxy [proxy (milter/milter-address server) {:on-exchange #(swap! exchanges conj %)}]
        (run! deref (doall (for [n (range 20)]
                             (future (mt/run-message (proxy/proxy-address proxy)
                                                     {:recipients [(str "<" n "@example.com>")]})))))))
    (let [recipients (for [[_ of-one] (group-by :id @exchanges)]
                       (keep #(when (= :recipient (:event (:event %))) (:address (:event %))) of-one))]
      (is (= (set (map #(vector (str "<" % "@example.com>")) (range 20))) (set recipients)))
      (is (= 20 (count recipients))))))

;; Telling

(defn- told
  "Returns the exchanges of a message through a proxy before a filter."
  [filter mail]
  (let [exchanges (atom [])]
    (milter/with-milter [server (assoc filter :port 0)]
      (with-proxy [proxy (milter/milter-address server) {:on-exchange #(swap! exchanges conj %)}]
        (mt/run-message (proxy/proxy-address proxy) mail)))
    @exchanges))

(deftest events-are-told-with-their-answers-in-order
  (let [exchanges (remove #(= :define-macro (:event (:event %))) (told adding mail))
        answers (for [{:keys [event response]} exchanges]
                  [(:event event) (map #(or (:action %) (:event %)) response)])]
    (is (= [[:options [:options]]
            [:recipient [:reject]]
            [:recipient [:continue]]
            [:header []] [:header []] [:header []]
            [:body [:continue]] [:body [:continue]] [:body [:continue]]
            [:end-of-message [:progress :add-header :change-body :change-body :change-body :change-body :accept]]]
           (take 10 answers)))
    (is (= [[:quit []] [:disconnect []]] (take-last 2 answers)))
    (is (= :quit (:reason (:event (last exchanges)))))
    (is (pos? (:millis (first exchanges))))
    (is (string/starts-with? (:peer (first exchanges)) "inet:"))))

(deftest an-answer-that-never-came-is-nil
  (let [exchanges (LinkedBlockingQueue.)]
    (with-open [milter (ServerSocket. 0)]
      (with-proxy [proxy (str (.getLocalPort milter)) {:on-exchange #(.put exchanges %)}]
        (with-open [socket (support/dial (port proxy))]
          (support/write-packet socket \O 0 0 0 6 0 0 1 0xff 0 0x1f 0xff 0xff)
          (with-open [accepted (.accept milter)]
            (.readNBytes (.getInputStream accepted) 17))
          (is (= -1 (.read (.getInputStream socket)))))
        (is (= [[:options nil] [:disconnect []]]
               (repeatedly 2 #(let [{:keys [event response]} (.poll exchanges 10 TimeUnit/SECONDS)]
                                [(:event event) response]))))))))

(deftest packets-that-cannot-be-decoded-and-answers-to-nothing-are-told
  (let [exchanges (LinkedBlockingQueue.)
        next-event #(:event (.poll exchanges 10 TimeUnit/SECONDS))]
    (with-open [milter (ServerSocket. 0)]
      (with-proxy [proxy (str (.getLocalPort milter)) {:on-exchange #(.put exchanges %)}]
        (with-open [socket (support/dial (port proxy))]
          (support/write-packet socket \Z 1 2 3)
          (is (= {:event :undecodable, :code 90, :data [1 2 3]}
                 (-> (next-event) (update :data vec) (dissoc :problem))))
          (with-open [accepted (.accept milter)]
            (support/write-packet accepted \c)
            (let [{:keys [event remarks]} (.poll exchanges 10 TimeUnit/SECONDS)]
              (is (= {:event :unasked} event))
              (is (= [:surplus-reply :surplus-reply] (map :remark remarks))))))))))

(deftest a-reply-that-is-missing-when-the-connection-ends-is-remarked-upon
  (let [exchanges (LinkedBlockingQueue.)
        next-one #(.poll exchanges 10 TimeUnit/SECONDS)]
    (with-open [milter (ServerSocket. 0)]
      (with-proxy [proxy (str (.getLocalPort milter)) {:on-exchange #(.put exchanges %)}]
        (with-open [socket (support/dial (port proxy))]
          (support/write-packet socket \M 60 62 0)
          (with-open [accepted (.accept milter)]
            (.readNBytes (.getInputStream accepted) 8))
          (is (= -1 (.read (.getInputStream socket)))))
        (let [{:keys [event response remarks]} (next-one)]
          (is (= [:mail nil] [(:event event) response]))
          (is (= [[:no-reply :mail "the milter sent no reply at :mail; Postfix defers by 451 4.7.1 and does without the milter from then on"]
                  [:no-reply :mail "the milter sent no reply at :mail; Sendmail defers by 451 4.3.2 and does without the milter from then on"]]
                 (map (juxt :remark :event :text) remarks))))))))

(deftest what-waits-for-replies-on-all-connections-together-is-bounded
  (support/with-logs logs
    (with-redefs [decoder/most-held 1000000]
      (let [reported (atom [])
            holdings (decoder/holdings)
            new-decoder (fn [title]
                          (decoder/decoder {:title title
                                            :submit (fn [task _] (task) true)
                                            :holdings holdings
                                            :on-exchange (fn [{:keys [event response]}]
                                                           (swap! reported conj [title (:event event) response (:reason event)]))}))
            body (concat [0 0 0xEA 0x61 (int \B)] (repeat 60000 65))
            [a b] (map new-decoder ["a" "b"])
            receive (fn [{:keys [accept]} n] (dotimes [_ n] (accept :mta (byte-array (map unchecked-byte body)))))]
        (receive a 10)
        (receive b 6)
        (is (= [] @reported))
        (testing "by cutting the one that holds the most"
          (receive b 1)
          (is (= {["a" :body nil nil] 10} (frequencies @reported)))
          (is (= ["a passes on, but is not decoded any more: together with others it holds too many bytes without replies"]
                 (support/messages logs :warn))))
        (testing "of which no more is decoded"
          (reset! reported [])
          (receive a 1)
          ((:end a))
          (is (= [["a" :disconnect [] :cut]] @reported)))
        (testing "while the others go on, and room is there again"
          (reset! reported [])
          ((:accept b) :milter (byte-array [0 0 0 1 (int \c)]))
          (is (= [["b" :body [{:action :continue}] nil]] @reported))
          (receive b 9)
          (is (= 1 (count @reported)))
          ((:end b))
          (is (= ["b" :disconnect [] :connection-lost] (peek @reported)))
          (is (= 0 (aget ^longs (:total holdings) 0))))))))

(deftest an-on-exchange-that-throws-is-logged-and-disturbs-nothing
  (support/with-logs logs
    (milter/with-milter [server (assoc adding :port 0)]
      (with-proxy [proxy (milter/milter-address server) {:on-exchange (fn [_] (throw (Exception. "no luck")))}]
        (is (= :accept (:verdict (mt/run-message (proxy/proxy-address proxy) mail))))))
    (is (string/includes? (first (support/messages logs :error)) ":on-exchange failed: no luck"))))

(deftest what-a-proxy-records-replays-without-a-difference
  (milter/with-milter [server (assoc adding :port 0)]
    (with-open [recorder (record/recorder)]
      (with-proxy [proxy (milter/milter-address server) {:recorder recorder}]
        (with-open [session (mt/connect-to (proxy/proxy-address proxy))]
          (mt/run-message session mail)
          (mt/run-message session {}))
        (.close ^java.io.Closeable proxy))
      (is (= [:quit] (map :ended (record/recordings recorder))))
      (is (= [] (replay/replay (record/recordings recorder) server))))))

(deftest a-proxy-and-the-server-itself-record-the-same-of-a-message
  (with-open [of-server (record/recorder)
              of-proxy (record/recorder)]
    (let [filter (update adding :handlers assoc :end-of-message (fn [_ _] [(act/add-header "X" "y")]))]
      (milter/with-milter [server (record/record (assoc filter :port 0) of-server)]
        (with-proxy [proxy (milter/milter-address server) {:recorder of-proxy}]
          (mt/run-message (proxy/proxy-address proxy) {}))))
    (let [exchanges #(for [{:keys [event response]} (:conversation (first (record/recordings %)))
                           :when (not= :abort (:event event))]
                       [(dissoc event :index :data) response])]
      (is (= (exchanges of-server) (exchanges of-proxy))))))

;; libmilter

(deftest a-filter-on-libmilter-is-told-recorded-and-replayed
  (when-let [reason (peers/unavailable)]
    (runner/skip! reason))
  (let [program (str (directory) "/seen")
        socket (str (directory) "/s")
        gcc (.start (ProcessBuilder. ^List (vector "gcc" "-O1" "-o" program "bench/c/seen_filter.c" "-lmilter" "-lpthread")))
        _ (.waitFor gcc)
        process (.start (ProcessBuilder. ^List (vector program (str "unix:" socket))))]
    (try
      (let [end (+ (System/nanoTime) 10000000000)]
        (while (not (or (.exists (io/file socket)) (< end (System/nanoTime))))
          (Thread/yield)))
      (doseq [listen ["inet:0@127.0.0.1" (str "unix:" (directory) "/p")]]
        (with-open [recorder (record/recorder)]
          (with-proxy [proxy (str "unix:" socket) {:listen listen, :recorder recorder}]
            (is (= [["X-Seen" "3 170000"]]
                   (filter #(= "X-Seen" (first %))
                           (get-in (mt/run-message (proxy/proxy-address proxy) (dissoc mail :recipients))
                                   [:message :headers]))))
            (.close ^java.io.Closeable proxy))
          (let [recordings (record/recordings recorder)]
            (is (= [] (replay/replay recordings (str "unix:" socket))))
            (is (= #{:modifications}
                   (into #{} (mapcat :differs) (replay/replay recordings {:handlers {:mail (fn [_ _] nil)}})))))))
      (finally
        (.waitFor (.destroyForcibly process))))))

;; Options

(deftest wrong-options-are-refused-with-what-would-be-right
  (are [options problem] (let [{:keys [milter/error message]} (support/thrown (proxy/start-proxy options))]
                           (and (= :bad-options error) (re-find problem message)))
    {:milter "1"} #":listen is missing: it must be an address"
    {:listen "0"} #":milter is missing"
    {:listen "0", :milter "nonsense"} #":milter: cannot understand the address"
    {:listen "0", :milter "1", :on-exchange 1} #":on-exchange must be a function or var, not 1"
    {:listen "0", :milter "1", :upstream "x"} #"there is no key :upstream in the options of a proxy. Its keys are :daemon\?"))

(deftest a-place-that-is-taken-is-told
  (with-open [taken (ServerSocket. 0)]
    (is (= :bind-failed (:milter/error (support/thrown
                                         (proxy/start-proxy {:listen (str (.getLocalPort taken)), :milter "1"})))))))

;; The command

(deftest the-command-prints-the-live-conversation-and-records-it
  (milter/with-milter [server (assoc adding :port 0)]
    (let [recordings (directory)
          process (support/process ["-e" (pr-str `((requiring-resolve 'temse.impl.command.proxy/run)
                                                   ["--listen" "inet:0@127.0.0.1" "--milter" ~(milter/milter-address server)
                                                    "--record" ~recordings]))])]
      (with-open [output (io/reader (.getInputStream process))]
        (let [next-line #(.readLine ^java.io.BufferedReader output)
              [_ address] (re-find #"proxy listens on (\S+) for the milter at" (next-line))]
          (is (= :accept (:verdict (mt/run-message address {}))))
          (let [lines (doall (take-while #(not (string/includes? % "connection closed")) (repeatedly next-line)))]
            (are [line] (some #(re-find line %) lines)
              #"^   1  connection from inet:\d+@127.0.0.1$"
              #"^   1  MTA  --> recipient <recipient@example.com>$"
              #"^   1       <-- continue  \(\d+\.\d ms\)$"
              #"^   1       <-- add-header X-Seen: yes$"
              #"^   1       <-- accept  \(\d+\.\d ms\)$")
            (is (not-any? #(string/includes? % "define-macro") lines)))
          (.destroy process)
          (is (= 0 (.waitFor process)))
          (is (= [] (replay/replay recordings server))))))))

(deftest a-command-that-cannot-write-its-recordings-passes-mail-on-and-ends-with-an-error
  (milter/with-milter [server (assoc adding :port 0)]
    (let [recordings (directory)
          program `(do (require 'temse.impl.command.proxy 'temse.impl.recording.file)
                       (with-redefs-fn {(resolve 'temse.impl.recording.file/write)
                                        (fn [& _#] (throw (java.io.IOException. "No space left on device")))}
                         (fn []
                           (try
                             ((resolve 'temse.impl.command.proxy/run)
                              ["--listen" "inet:0@127.0.0.1" "--milter" ~(milter/milter-address server)
                               "--record" ~recordings])
                             (catch clojure.lang.ExceptionInfo e#
                               (println (:temse.cli/exit (ex-data e#)) (ex-message e#)))))))
          process (support/process ["-e" (pr-str program)])]
      (with-open [output (io/reader (.getInputStream process))]
        (let [next-line #(.readLine ^java.io.BufferedReader output)
              [_ address] (re-find #"proxy listens on (\S+) for the milter at" (next-line))]
          (is (= :accept (:verdict (mt/run-message address {}))))
          (let [served (doall (take-while #(not (string/includes? % "connection closed")) (repeatedly next-line)))
                _ (.destroy (.toHandle process))
                lines (into (vec served) (take-while some?) (repeatedly next-line))]
            (is (some #(re-find #"SEVERE a conversation could not be recorded.*No space left on device" %) lines))
            (is (some #{(str "2 " recordings ": 1 conversation is missing, which could not be written; the log says why")}
                      lines)))
          (is (empty? (.list (File. ^String recordings)))))))))

(deftest a-command-whose-output-nobody-reads-passes-mail-on
  (milter/with-milter [server (assoc adding :port 0)]
    (let [process (support/process ["-e" (pr-str `((requiring-resolve 'temse.impl.command.proxy/run)
                                                   ["--listen" "inet:0@127.0.0.1" "-v"
                                                    "--milter" ~(milter/milter-address server)]))])]
      (with-open [output (io/reader (.getInputStream process))]
        (let [next-line #(.readLine ^java.io.BufferedReader output)
              [_ address] (re-find #"proxy listens on (\S+) for the milter at" (next-line))]
          (with-open [session (mt/connect-to address)]
            (is (= {:accept 900} (frequencies (repeatedly 900 #(:verdict (mt/run-message session {})))))))
          (is (some #(re-find #"^temse: \d+ lines dropped here, since the output was not read$" %)
                    (take-while some? (repeatedly next-line))))
          (.destroy process)
          (is (= 0 (.waitFor process))))))))
