(ns temse.gallery.sender-check-test
  "gallery/sender_check.clj with a DNS server of the test, and with mail servers that are asked: those of the
  test, and real ones."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.gallery.support :as gallery]
   [temse.harness.dns :as dns]
   [temse.harness.smtp :as smtp]
   [temse.runner :as runner]
   [temse.support :as support :refer [with-logs]]
   [temse.test :as mt]
   [temse.test.check :as check])
  (:import
   (java.io BufferedInputStream Closeable File IOException)
   (java.net InetAddress ServerSocket Socket)))

(set! *warn-on-reflection* true)

(def ^:private zone
  {"good.example" {:mx [[10 "mx.good.example"]]}
   "mx.good.example" {:a ["127.0.0.1"]}
   "implicit.example" {:a ["127.0.0.1"]}
   "six.example" {:mx [[10 "mx.six.example"]]}
   "mx.six.example" {:aaaa ["2606:2800::1"]}
   "xn--bcher-kva.example" {:mx [[10 "mx.good.example"]]}
   "null.example" {:mx [[0 "."]]}
   "dangling.example" {:mx [[10 "missing.example"] [20 "also.missing.example"]]}
   "empty.example" {:txt ["nothing else"]}
   "private.example" {:mx [[10 "mx.private.example"]]}
   "mx.private.example" {:a ["10.1.2.3" "169.254.1.1"], :aaaa ["fe80::1"]}
   "failing.example" {:any :servfail}
   "half.example" {:mx [[10 "failing.example"] [20 "missing.example"]]}
   "saved.example" {:mx [[10 "failing.example"] [20 "mx.good.example"]]}
   "literal.example" {:mx [[10 "192.0.2.1"]]}
   "many.example" {:mx (for [i (range 100)] [i (str "mx" i ".missing.example")])}
   "two.example" {:mx [[10 "mx.good.example"] [20 "mx2.good.example"]]}
   "mx2.good.example" {:a ["127.0.0.2"]}
   "own.example" {:mx [[10 "MX.Example.ORG"]]}
   "mx.example.org" {:a ["127.0.0.1"]}})

(defn- load-filter
  "Returns the filter with settings: it asks the DNS server, and spares nobody unless they say so."
  [dns settings]
  (let [file (File/createTempFile "sender-check" ".edn")]
    (try
      (spit file (pr-str (merge {:dns-servers [(:address dns)]
                                 :dns-timeout 3000
                                 :networks []
                                 :authenticated? false
                                 :reachable ["127.0.0.0/8"]}
                                settings)))
      (gallery/load-filter "sender_check" (str file))
      (finally
        (io/delete-file file)))))

(defmacro ^:private with-dns
  [[dns-name] & body]
  `(with-open [~(with-meta dns-name {:tag `Closeable}) (dns/start zone)]
     ~@body))

(defn- answer
  "Returns the code of the reply that refuses a sender, with its enhanced code, or nil."
  ([filter sender]
   (answer filter sender {}))
  ([filter sender options]
   (let [{:keys [verdict reply errors]} (mt/run-message filter {:sender sender} options)]
     (is (= [] errors))
     (when-not (= :accept verdict)
       (str (:smtp-code reply) " " (:enhanced-code reply))))))

;; ---- DNS

(deftest the-domain-of-a-sender-must-have-a-mail-server
  (with-dns [dns]
    (let [filter (load-filter dns {})]
      (are [expected sender] (= expected (answer filter sender))
        nil "<ann@good.example>"
        nil "<ann@GOOD.example.>"
        nil "<ann@implicit.example>"
        nil "<ann@six.example>"
        nil "<ann@bücher.example>"
        nil "<ann@xn--bcher-kva.example>"
        nil "<ann@saved.example>"
        nil "<\"ann lee\"@good.example>"
        nil "<>"
        "550 5.1.8" "<ann@missing.example>"
        "550 5.1.8" "<ann@dangling.example>"
        "550 5.1.8" "<ann@empty.example>"
        "550 5.1.8" "<ann@private.example>"
        "550 5.1.8" "<ann@literal.example>"
        "550 5.1.8" "<ann@many.example>"
        "550 5.7.27" "<ann@null.example>"
        "451 4.4.3" "<ann@failing.example>"
        "451 4.4.3" "<ann@half.example>"
        "553 5.1.7" "<ann>"
        "550 5.1.8" "<ann@[192.0.2.1]>"
        "550 5.1.8" "<ann@[IPv6:2001:db8::1]>"))))

(deftest hostile-senders-are-refused-and-never-an-error
  (with-dns [dns]
    (let [filter (load-filter dns {})]
      (doseq [sender ["<ann@a..b>" "<ann@-x->" "<ann@good.example\\000.example>" "<@>" "<ann@>" "nonsense" ""
                      "<ann@a b.example>" "<ann@xn--\u00fc>" "<ann@\u202egood.example>" "<ann@\uDCFF.example>"
                      (str "<ann@" (string/join (repeat 64 "a")) ".example>")
                      (str "<ann@" (string/join "." (repeat 200 "ab")) ">")
                      "<ann@good.example@missing.example>" "<@good.example:ann@missing.example>"]]
        (is (re-find #"^55[03] 5\.1\.[78]$" (str (answer filter sender))) sender)))))

(deftest a-domain-with-many-mail-servers-costs-a-few-questions
  (with-dns [dns]
    (answer (load-filter dns {}) "<ann@many.example>")
    (testing "for the exchangers, by UDP and TCP, and for two kinds of address of ten of them"
      (is (<= 3 (count @(:questions dns)) 22)))))

(deftest literals-and-private-networks-may-be-allowed
  (with-dns [dns]
    (is (nil? (answer (load-filter dns {:literals :pass}) "<ann@[192.0.2.1]>")))
    (is (nil? (answer (load-filter dns {:reachable ["10.0.0.0/8"]}) "<ann@private.example>")))
    (is (= "550 5.1.8" (answer (load-filter dns {:reachable []}) "<ann@good.example>")))))

(deftest some-mail-is-spared
  (with-dns [dns]
    (let [client {:client {:host-name "a.example", :address "192.0.2.7", :port 40110}}
          sender "<ann@missing.example>"]
      (is (nil? (answer (load-filter dns {:networks ["192.0.2.0/24"]}) sender client)))
      (is (nil? (answer (load-filter dns {:authenticated? true}) sender {:macros {"auth_authen" "ann"}})))
      (is (nil? (answer (load-filter dns {:domains ["Missing.Example"]}) sender)))
      (is (= [] @(:questions dns)))
      (is (= "550 5.1.8" (answer (load-filter dns {:networks ["198.51.100.0/24"] :authenticated? true}) sender client))))))

(deftest a-silent-dns-defers
  (with-open [dns ^Closeable (dns/start {"silent.example" {:any :silence}})]
    (is (= "451 4.4.3" (answer (load-filter dns {:dns-timeout 500}) "<ann@silent.example>")))))

(defn- at-once
  "Returns what f returns of numbers below n, called at the same time."
  [n f]
  (mapv support/awaited (mapv #(future (f %)) (range n))))

(defn- dns-lines
  "Returns the lines about outages of DNS, after their common beginning."
  [records]
  (keep (comp second #(re-matches #"DNS \(127\.0\.0\.1:\d+\) (is .*?)(?: \d+ s)?" %)) (map :message @records)))

(deftest while-dns-is-down-mail-is-deferred-and-it-goes-on-by-itself
  (let [down-zone (fn [answer] (into {} (map (fn [i] [(str "d" i ".example") {:any answer}])) (range 40)))]
    (doseq [[what down reason up] [["no server" #(.close ^Closeable %) #"(?i)timed out|no answer|unreachable" #(dns/start zone (:port %))]
                                   ["a server that says nothing" #(reset! (:zone %) (down-zone :silence)) #"(?i)timed out|no answer" #(do (reset! (:zone %) zone) %)]
                                   ["a server that fails" #(reset! (:zone %) (down-zone :servfail)) #"(?i)servfail|serverfail" #(do (reset! (:zone %) zone) %)]]]
      (testing what
        (with-logs records
          (let [dns (dns/start zone)
                filter (load-filter dns {:dns-timeout 1000})
                outcomes #(frequencies (at-once 40 (fn [i] (answer filter (str "<ann@d" i ".example>")))))]
            (try
              (is (nil? (answer filter "<ann@good.example>")))
              (down dns)
              (is (= {"451 4.4.3" 40} (outcomes)))
              (is (= {"451 4.4.3" 40} (outcomes)))
              (testing "what was asked before is still known"
                (is (nil? (answer filter "<ann@good.example>"))))
              (is (= 1 (count (dns-lines records))))
              (is (re-find #"^is down, and what needs it fails: " (first (dns-lines records))))
              (is (re-find reason (first (dns-lines records))))
              (with-open [_ ^Closeable (up dns)]
                (is (nil? (answer filter "<ann@implicit.example>")))
                (is (= "is back after" (second (dns-lines records))))
                (is (= [:error :info] (remove #{:debug} (map :level @records))) "no other lines"))
              (finally
                (.close ^Closeable dns)))))))))

(deftest one-domain-that-cannot-be-looked-up-is-no-outage
  (with-logs records
    (with-dns [dns]
      (let [filter (load-filter dns {})]
        (dotimes [_ 9]
          (is (= "451 4.4.3" (answer filter "<ann@failing.example>"))))
        (is (= "550 5.1.8" (answer filter "<ann@missing.example>")))
        (dotimes [_ 9]
          (is (= "451 4.4.3" (answer filter "<ann@failing.example>"))))
        (is (= [] (remove #{:debug} (map :level @records))))))))

(deftest answers-of-dns-are-kept-when-the-filter-is-loaded-again
  (with-dns [dns]
    (dotimes [_ 2]
      (answer (load-filter dns {}) "<ann@missing.example>"))
    (is (= 1 (count @(:questions dns))))))

(deftest a-verdict-says-why
  (with-dns [dns]
    (is (= [:missing]
           (->> (mt/run-message (load-filter dns {}) {:sender "<ann@missing.example>"})
                :conversation
                (mapcat :response)
                (keep (comp :why meta)))))))

;; ---- mail servers of the test

(defrecord ^:private Server [port commands connections ^ServerSocket socket]
  Closeable
  (close [_]
    (.close socket)))

(defn- serve
  "Returns a server on an address that gives each client to f, with its streams and an atom of commands."
  ^Server [address f]
  (let [server (ServerSocket. 0 50 (InetAddress/getByName address))
        commands (atom [])
        connections (atom 0)
        thread (fn [^Runnable run] (doto (Thread. run) (.setDaemon true) (.start)))]
    (thread #(try
               (while true
                 (let [socket (.accept server)]
                   (swap! connections inc)
                   (thread (fn []
                             (try
                               (with-open [socket ^Socket socket]
                                 (f (BufferedInputStream. (.getInputStream socket)) (.getOutputStream socket) commands))
                               (catch IOException _))))))
               (catch IOException _)))
    (->Server (.getLocalPort server) commands connections server)))

(defn- smtp-server
  "Returns a mail server that answers commands as a map says, [pattern reply], and others with 250."
  (^Server [replies]
   (smtp-server "127.0.0.1" replies))
  (^Server [address replies]
   (serve address
          (fn [in ^java.io.OutputStream out commands]
            (letfn [(say [text] (.write out (smtp/octet-bytes (str text "\r\n"))))
                    (reply-to [line] (or (some (fn [[pattern reply]] (when (re-find pattern line) reply)) replies) "250 OK"))]
              (say (reply-to "connect"))
              (loop []
                (when-let [line (smtp/read-line-octets in)]
                  (let [line (string/trim line)]
                    (swap! commands conj line)
                    (say (reply-to line))
                    (when-not (= "QUIT" line)
                      (recur))))))))))

(def ^:private greeting [#"^connect$" "220-mx.good.example\r\n220 ESMTP"])

(defn- await-command
  "Waits until a mail server has read a command, which the filter does not wait for."
  [commands command]
  (let [read (promise)
        look (fn [seen] (when (some #{command} seen) (deliver read true)))]
    (add-watch commands read (fn [_ _ _ seen] (look seen)))
    (look @commands)
    (support/awaited read)
    (remove-watch commands read)))

(defn- calling
  "Returns the filter that asks the mail server."
  [dns server & {:as settings}]
  (load-filter dns (merge {:callout? true, :callout-port (:port server), :callout-timeout 3000} settings)))

(deftest the-mail-server-is-asked-as-a-bounce-would
  (with-dns [dns]
    (with-open [server (smtp-server [greeting])]
      (is (nil? (answer (calling dns server) "<Ann@Good.Example>" {:macros {"j" "mx.example.org"}})))
      (await-command (:commands server) "QUIT")
      (is (= ["EHLO mx.example.org" "MAIL FROM:<>" "RCPT TO:<Ann@good.example>" "QUIT"] @(:commands server))))))

(deftest what-the-mail-server-says-decides
  (with-dns [dns]
    (are [expected replies]
      (with-open [server (smtp-server (conj replies greeting))]
        (= expected (answer (calling dns server) "<ann@good.example>")))
      nil []
      nil [[#"^EHLO" "502 What?"]]
      nil [[#"^RCPT" "250-Ok\r\n250 really"]]
      "550 5.1.7" [[#"^RCPT" "550 5.1.1 No such user"]]
      "550 5.1.7" [[#"^RCPT" "553 no"]]
      "550 5.1.7" [[#"^MAIL" "501 5.1.7 no null sender here"]]
      "450 4.1.7" [[#"^RCPT" "450 4.2.0 Greylisted"]]
      "450 4.1.7" [[#"^RCPT" "421 bye"]]
      "450 4.1.7" [[#"^MAIL" "451 later"]]
      "450 4.1.7" [[#"^RCPT" "550 5.7.1 You are on a list"]]
      "450 4.1.7" [[#"^RCPT" "554 You are on a list"]]
      "450 4.1.7" [[#"^connect" "554 no"]]
      "450 4.1.7" [[#"^EHLO" "502 What?"] [#"^HELO" "502 What?"]]
      "450 4.1.7" [[#"^RCPT" "nonsense"]]
      "450 4.1.7" [[#"^RCPT" "450-Greylisted\r\n250 Ok"]]
      "450 4.1.7" [[#"^RCPT" "250-Ok\r\n550 No such user"]]
      "450 4.1.7" [[#"^RCPT" "550-5.7.1 You are on a list\r\n550 See example.org"]]
      "450 4.1.7" [[#"^RCPT" "221 bye"]]
      "450 4.1.7" [[#"^connect" "220 ESMTP\r\n220 ESMTP"] [#"^RCPT" "550 No such user"]]
      "450 4.1.7" [[#"^RCPT" "503 Log in first"]]
      "450 4.1.7" [[#"^MAIL" "500 What?"]]
      "450 4.1.7" [[#"^MAIL" "530 Must issue a STARTTLS command first"]]
      "450 4.1.7" [[#"^RCPT" (string/join (repeat 200 "250-more\r\n"))]]
      "450 4.1.7" [[#"^RCPT" (str "250-" (string/join (repeat 5000 "a")))]])))

(deftest nobody-who-cannot-be-asked-keeps-mail-for-ever-waiting
  (with-dns [dns]
    (testing "nobody listens"
      (is (= "450 4.1.7" (answer (calling dns {:port (support/free-port)}) "<ann@good.example>"))))
    (testing "the server hangs up"
      (with-open [server (serve "127.0.0.1" (fn [_ _ _]))]
        (is (= "450 4.1.7" (answer (calling dns server) "<ann@good.example>")))))
    (testing "the server says nothing"
      (let [end (promise)]
        (with-open [server (serve "127.0.0.1" (fn [_ _ _] (deref end 20000 nil)))]
          (is (= "450 4.1.7" (answer (calling dns server :callout-timeout 500) "<ann@good.example>"))))
        (deliver end true)))
    (testing "the site prefers mail that was not checked"
      (is (nil? (answer (calling dns {:port (support/free-port)} :callout-when-unknown :pass) "<ann@good.example>"))))))

(deftest good-and-bad-answers-are-kept-for-a-time
  (with-dns [dns]
    (with-open [server (smtp-server [greeting [#"bad@" "550 no"] [#"grey@" "450 later"]])]
      (let [clock (atom 0)
            filter (calling dns server :good-ttl 1000 :bad-ttl 100)]
        (with-redefs-fn {(resolve 'callout/now) #(deref clock)}
          (fn []
            (letfn [(asked [user]
                      (let [before @(:connections server)]
                        [(answer filter (str "<" user "@good.example>")) (- (long @(:connections server)) (long before))]))]
              (is (= [[nil 1] [nil 0] ["550 5.1.7" 1] ["550 5.1.7" 0] ["450 4.1.7" 1] ["450 4.1.7" 1]]
                     (map asked ["ann" "ann" "bad" "bad" "grey" "grey"])))
              (swap! clock + 101)
              (is (= [[nil 0] ["550 5.1.7" 1]] (map asked ["ann" "bad"])))
              (swap! clock + 1000)
              (is (= [[nil 1]] (map asked ["ann"]))))))))))

(deftest few-addresses-are-kept
  (with-dns [dns]
    (with-open [server (smtp-server [greeting])]
      (let [filter (calling dns server :max-addresses 2)
            ask #(answer filter (str "<" % "@good.example>"))]
        (run! ask ["a" "b" "c" "c" "b"])
        (is (= 3 @(:connections server)))
        (ask "a")
        (is (= 4 @(:connections server)))))))

(deftest a-mail-server-is-asked-now-and-then-only
  (with-dns [dns]
    (with-open [server (smtp-server [greeting])]
      (let [clock (atom 0)
            filter (calling dns server :callouts-per-minute 2)
            ask #(answer filter (str "<" % "@good.example>"))]
        (with-redefs-fn {(resolve 'callout/now) #(deref clock)}
          (fn []
            (is (= [nil nil "450 4.1.7"] (mapv ask ["a" "b" "c"])))
            (is (= 2 @(:connections server)))
            (swap! clock + 60000)
            (is (= [nil] (mapv ask ["c"])))))))))

(deftest the-next-mail-server-is-asked-if-one-does-not-know
  (with-dns [dns]
    (with-open [server (smtp-server "127.0.0.2" [greeting [#"bad@" "550 no"]])]
      (let [filter (calling dns server)]
        (is (= [nil "550 5.1.7"] (map #(answer filter %) ["<ann@two.example>" "<bad@two.example>"])))))))

(deftest some-are-never-asked-for
  (with-dns [dns]
    (with-open [server (smtp-server [greeting [#"." "550 no"]])]
      (are [sender] (nil? (answer (calling dns server) sender {:macros {"j" "mx.example.org"}}))
        "<>"
        "<Postmaster@good.example>"
        "<jörg@good.example>"
        "<ann@own.example>")
      (is (nil? (answer (load-filter dns {:callout-port (:port server)}) "<ann@good.example>")))
      (testing "nor are mail servers on this machine, or in private networks"
        (is (= "550 5.1.8" (answer (calling dns server :reachable []) "<ann@good.example>"))))
      (is (= 0 @(:connections server))))))

(deftest what-strangers-write-cannot-be-a-command
  (with-dns [dns]
    (with-open [server (smtp-server [greeting])]
      (let [filter (calling dns server)]
        (doseq [sender ["<\"a> QUIT\"@good.example>" "<\"a\\\"b\"@good.example>" "<a+b=c@good.example>"]]
          (is (nil? (answer filter sender))))
        (is (= ["RCPT TO:<\"a> QUIT\"@good.example>" "RCPT TO:<\"a\\\"b\"@good.example>" "RCPT TO:<a+b=c@good.example>"]
               (clojure.core/filter #(string/starts-with? % "RCPT") @(:commands server))))))))

;; ---- settings

(deftest mistakes-in-settings-say-what-is-right
  (with-dns [dns]
    (are [settings problem] (re-find problem (:message (support/thrown (load-filter dns settings))))
      {:calout? true} #"there is no setting :calout\?; did you mean :callout\?"
      {:dns-servers ["ns.example.org"]} #":dns-servers must be addresses such as"
      {:callout-timeout 0} #":callout-timeout must be milliseconds, 1 or more"
      {:reachable ["10.0.0.1/8"]} #":reachable must be networks"
      {:domains "example.org"} #":domains must be domains"
      {:literals :accept} #":literals must be :reject or :pass"
      {:callout-port 0} #":callout-port must be a port")))

(deftest it-runs-without-a-file
  (is (:handlers (gallery/load-filter "sender_check"))))

(deftest generated-conversations-find-nothing
  (with-dns [dns]
    (let [report (check/check-filter (load-filter dns {}) {:runs 60
                                                           :seed runner/seed
                                                           :mails (for [domain ["good" "null" "missing"]]
                                                                    {:sender (str "<ann@" domain ".example>")})})]
      (is (:pass? report) (pr-str (map #(dissoc % :conversation :events :alone) (:findings report)))))))

;; ---- real MTAs

(defn- check-behind
  [mta]
  (with-dns [dns]
    (gallery/behind mta (load-filter dns {}) {}
      (fn [running]
        (let [code-of (fn [sender] (get-in (gallery/transact running {:sender sender}) [:mail :code]))]
          (is (= "Hello.\r\n" (:body (gallery/sent running {:sender "<ann@good.example>"}))))
          (is (= "Hello.\r\n" (:body (gallery/sent running {:sender "<>"}))))
          (is (= 550 (code-of "<ann@missing.example>")))
          (is (= 550 (code-of "<ann@null.example>")))
          (is (= 550 (code-of "<ann@[192.0.2.1]>")))
          (is (= 451 (code-of "<ann@failing.example>")))
          (is (re-find #"^5\.7\.27 .*The domain of the sender takes no mail$"
                       (get-in (gallery/transact running {:sender "<ann@null.example>"}) [:mail :lines 0]))))))))

(deftest senders-are-checked-behind-postfix
  (check-behind :postfix))

(deftest senders-are-checked-behind-sendmail
  (check-behind :sendmail))

(deftest in-postfix-networks-and-authenticated-clients-are-spared
  (with-dns [dns]
    (gallery/behind :postfix
                    (load-filter dns {:networks ["192.0.2.0/24"] :authenticated? true})
                    {:main {"smtpd_authorized_xclient_hosts" "127.0.0.0/8"}}
                    (fn [{:keys [port]}]
                      (letfn [(code-as [xclient]
                                (with-open [connection (smtp/connect {:port port})]
                                  (smtp/command connection "EHLO client.example.org")
                                  (smtp/command connection (str "XCLIENT " xclient))
                                  (smtp/command connection "EHLO client.example.org")
                                  (:code (smtp/command connection "MAIL FROM:<ann@missing.example>"))))]
                        (is (= 250 (code-as "ADDR=192.0.2.9")))
                        (is (= 250 (code-as "ADDR=198.51.100.9 LOGIN=ann")))
                        (is (= 550 (code-as "ADDR=198.51.100.9"))))))))

(def ^:private only-ann
  "A filter for the mail server that is asked: it knows one recipient."
  {:handlers {:recipient (fn [{:keys [address]} _]
                           (case address
                             "<ann@good.example>" nil
                             "<grey@good.example>" [(act/reply-code 451 "4.7.1" "Greylisted")]
                             [(act/reply-code 550 "5.1.1" "No such user")]))}
   :actions #{}})

(defn- check-callout-to
  [mta]
  (with-dns [dns]
    (gallery/behind mta only-ann {}
      (fn [target]
        (let [filter (calling dns target :callout-timeout 20000)]
          (is (= [nil "550 5.1.7" "450 4.1.7"]
                 (map #(answer filter (str "<" % "@good.example>")) ["ann" "bob" "grey"]))))))))

(deftest a-real-postfix-is-asked
  (check-callout-to :postfix))

(deftest a-real-sendmail-is-asked
  (check-callout-to :sendmail))

(defn- relay
  "Returns a server that passes everything on to a port that is known later."
  ^Server [port]
  (serve "127.0.0.1"
         (fn [^java.io.InputStream in ^java.io.OutputStream out _]
           (with-open [target (Socket. "127.0.0.1" (int (support/awaited port)))]
             (doto (Thread. ^Runnable (fn []
                                        (try
                                          (io/copy (.getInputStream target) out)
                                          (catch IOException _))))
               (.setDaemon true)
               (.start))
             (loop []
               (let [octet (.read in)]
                 (when-not (neg? octet)
                   (.write (.getOutputStream target) octet)
                   (recur))))))))

(deftest a-site-that-asks-itself-under-another-name-comes-to-an-end
  (with-dns [dns]
    (let [port (promise)]
      (with-open [itself (relay port)]
        (gallery/behind :postfix (calling dns itself :callout-timeout 20000) {}
          (fn [running]
            (deliver port (:port running))
            (is (= "Hello.\r\n" (:body (gallery/sent running {:sender "<ann@good.example>"}))))
            (is (= 1 @(:connections itself)))))))))
