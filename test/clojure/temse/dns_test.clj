(ns temse.dns-test
  "Look-ups in DNS, asked of a server of the test."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.dns :as dns]
   [temse.harness.dns :as server]
   [temse.milter :refer [respond]]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CompletableFuture)
   (java.util.function Function)
   (org.xbill.DNS CNAMERecord DClass DNAMERecord Flags MXRecord Message NSRecord Name Record SOARecord Section TXTRecord)))

(set! *warn-on-reflection* true)

(def ^:private zone
  {"example.org" {:mx [[20 "b.example.org"] [10 "mx.example.org"]]
                  :txt ["v=spf1 -all" ["v=DMARC1; " "p=none"]]}
   "mx.example.org" {:a ["192.0.2.1" "192.0.2.2"], :aaaa ["2001:db8::1"]}
   "ipv4.example" {:a ["192.0.2.3"], :aaaa :servfail}
   "half.example" {:a :servfail}
   "null.example" {:mx [[0 "."]]}
   "xn--bcher-kva.example" {:mx [[10 "mx.example.org"]]}
   "r3---x.example" {:a ["192.0.2.4"]}
   "1.2.0.192.in-addr.arpa" {:ptr ["mx.example.org"]}
   "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa" {:ptr ["six.example.org"]}
   "alias.example" {:cname ["example.org"]}
   "loop.example" {:cname ["pool.example"]}
   "pool.example" {:cname ["loop.example"]}
   "failing.example" {:any :servfail}
   "refusing.example" {:any :refused}
   "silent.example" {:any :silence}
   "echo.example" {:any :query}
   "fleeting.example" {:a ["192.0.2.5"], :ttl 0}
   "many.example" {:mx (for [i (range 300)] [i (str "mx" i ".example.org")])}})

(defn- resolver
  [server & {:as options}]
  (dns/resolver (merge {:servers [(:address server)]} options)))

(defmacro ^:private with-server
  [[server-name zone] & body]
  `(with-open [~(with-meta server-name {:tag `java.io.Closeable}) (server/start ~zone)]
     ~@body))

(deftest what-there-is-is-data
  (with-server [server zone]
    (let [r (resolver server)]
      (are [look-up expected] (= {:status :found, :records expected} @look-up)
        (dns/mx r "example.org") [{:preference 10, :host "mx.example.org"} {:preference 20, :host "b.example.org"}]
        (dns/mx r "Example.ORG.") [{:preference 10, :host "mx.example.org"} {:preference 20, :host "b.example.org"}]
        (dns/mx r "null.example") [{:preference 0, :host "."}]
        (dns/mx r "bücher.example") [{:preference 10, :host "mx.example.org"}]
        (dns/mx r "alias.example") [{:preference 10, :host "mx.example.org"} {:preference 20, :host "b.example.org"}]
        (dns/addresses r "mx.example.org") ["192.0.2.1" "192.0.2.2" "2001:db8:0:0:0:0:0:1"]
        (dns/addresses r "ipv4.example") ["192.0.2.3"]
        (dns/addresses r "r3---x.example") ["192.0.2.4"]
        (dns/txt r "example.org") ["v=spf1 -all" "v=DMARC1; p=none"]
        (dns/names r "192.0.2.1") ["mx.example.org"]
        (dns/names r "2001:db8::1") ["six.example.org"]
        (dns/names r "IPv6:2001:db8::1") ["six.example.org"]
        (dns/names r "::ffff:192.0.2.1") ["mx.example.org"]))))

(deftest what-there-is-not-differs-from-what-cannot-be-known
  (with-server [server zone]
    (let [r (resolver server :timeout 1000 :server-timeout 300)]
      (are [look-up reason] (= {:status :none, :reason reason} @look-up)
        (dns/mx r "missing.example") :no-such-domain
        (dns/mx r "mx.example.org") :no-such-record
        (dns/addresses r "example.org") :no-such-record
        (dns/addresses r "missing.example") :no-such-domain
        (dns/names r "192.0.2.99") :no-such-domain
        (dns/names r "example.org") :bad-name
        (dns/names r nil) :bad-name)
      (are [look-up reason] (let [found @look-up]
                              (and (= :failed (:status found)) (re-find reason (:reason found))))
        (dns/mx r "failing.example") #"ServerFailed"
        (dns/mx r "refusing.example") #"REFUSED"
        (dns/mx r "silent.example") #"no answer within 1000 ms|Timed out"
        (dns/mx r "loop.example") #"loop"
        (dns/mx r "echo.example") #"the query came back"
        (dns/txt r "echo.example") #"the query came back"
        (dns/addresses r "half.example") #"ServerFailed"
        (dns/addresses r "failing.example") #"ServerFailed"))))

(defn- with-record
  "Returns a function that adds a record to a section of a response."
  [^Record record section]
  (fn [^Message response]
    (.addRecord response record (int section))))

(defn- absolute
  ^Name [text]
  (Name/fromString text Name/root))

(deftest a-response-that-says-nothing-about-the-question-is-a-failure
  (let [in DClass/IN
        mx #(MXRecord. (absolute %) in 60 10 (absolute "mx.example.org"))]
    (with-server [server {"referral.example" {:any (with-record (NSRecord. (absolute "example") in 60 (absolute "ns.example"))
                                                                Section/AUTHORITY)}
                          "alias.example" {:cname ["referral.example"]}
                          "lame.example" {:any (fn [^Message response] (.unsetFlag (.getHeader response) Flags/RA))}
                          "truncated.example" {:any (fn [^Message response] (.setFlag (.getHeader response) Flags/TC))}
                          "other-name.example" {:any (with-record (mx "foreign.example") Section/ANSWER)}
                          "other-type.example" {:any (with-record (TXTRecord. (absolute "other-type.example") in 60 "text")
                                                                  Section/ANSWER)}
                          "authority.example" {:any (fn [^Message response]
                                                      (doto (.getHeader response)
                                                        (.unsetFlag Flags/RA)
                                                        (.setFlag Flags/AA)))}
                          "bare.example" {:any (constantly nil)}
                          "stub.example" {:any (fn [^Message response]
                                                 (.unsetFlag (.getHeader response) Flags/RA)
                                                 ((with-record (SOARecord. (absolute "example") in 60 (absolute "ns.example")
                                                                           (absolute "admin.example") 1 1 1 1 1)
                                                               Section/AUTHORITY)
                                                  response))}
                          "under.example" {:any (fn [response]
                                                  (run! #(% response)
                                                        [(with-record (DNAMERecord. (absolute "example") in 60 (absolute "test"))
                                                                      Section/ANSWER)
                                                         (with-record (CNAMERecord. (absolute "under.example") in 60
                                                                                    (absolute "under.test"))
                                                                      Section/ANSWER)
                                                         (with-record (mx "under.test") Section/ANSWER)]))}}]
      (let [r (resolver server :timeout 5000 :server-timeout 1000)]
        (are [domain reason] (let [found @(dns/mx r domain)]
                               (and (= :failed (:status found)) (re-find reason (:reason found))))
          "referral.example" #"refers to other servers"
          "alias.example" #"refers to other servers"
          "lame.example" #"is no resolver"
          "truncated.example" #"is truncated"
          "other-name.example" #"answers another question"
          "other-type.example" #"answers another question")
        (testing "and one that does is not"
          (is (= {:status :none, :reason :no-such-record} @(dns/mx r "authority.example") @(dns/mx r "bare.example")
                 @(dns/mx r "stub.example")))
          (is (= [{:preference 10, :host "mx.example.org"}] (:records @(dns/mx r "under.example")))))))))

(deftest no-server-is-a-failure-and-no-exception
  (let [server (server/start {})]
    (.close ^java.io.Closeable server)
    (is (= :failed (:status @(dns/mx (resolver server :timeout 1000 :server-timeout 300) "example.org"))))))

(deftest names-that-cannot-be-are-not-asked-for
  (with-server [server zone]
    (let [r (resolver server)]
      (doseq [domain [nil "" "a..b" ".a" (string/join (repeat 64 "a")) (string/join "." (repeat 130 "ab"))
                      (string/join (repeat 1000000 "a")) "a\uDC80.example" "\\999.example" :example.org]]
        (is (= {:status :none, :reason :bad-name} @(dns/mx r domain)) (some->> domain str (take 10))))
      (is (= [] @(:questions server))))))

(deftest hostile-characters-stay-within-their-name
  (with-server [server zone]
    (doseq [domain ["a b.example" "a\r\nb.example" "a\u0000b.example" "\"; drop\".example" "a\\.b.example"]]
      (is (= {:status :none, :reason :no-such-domain} @(dns/mx (resolver server) domain))))
    (is (= 5 (count @(:questions server))))))

(deftest answers-that-are-too-long-for-udp-come-by-tcp-and-are-not-kept
  (with-server [server zone]
    (let [r (resolver server)]
      (dotimes [_ 2]
        (is (= (range 300) (map :preference (:records @(dns/mx r "many.example"))))))
      (is (= 4 (count @(:questions server)))))))

(deftest answers-are-kept-as-long-as-their-ttl-says
  (with-server [server zone]
    (let [r (resolver server)]
      (dotimes [_ 2]
        @(dns/mx r "example.org")
        @(dns/mx r "missing.example")
        @(dns/mx r "EXAMPLE.org"))
      (is (= [["example.org" :mx] ["missing.example" :mx]] @(:questions server)))
      (testing "and not at all if it is 0"
        (reset! (:questions server) [])
        @(dns/addresses r "fleeting.example")
        @(dns/addresses r "fleeting.example")
        (is (= 2 (count (filter #{["fleeting.example" :a]} @(:questions server)))))))))

(deftest failures-are-not-kept
  (with-server [server zone]
    (let [r (resolver server)]
      (is (= :failed (:status @(dns/mx r "failing.example"))))
      (swap! (:zone server) assoc "failing.example" {:mx [[10 "mx.example.org"]]})
      (is (= :found (:status @(dns/mx r "failing.example")))))))

(deftest the-cache-has-a-bound
  (with-server [server {}]
    (let [r (resolver server :max-names 10)
          look-up #(deref (dns/mx r (str "n" % ".example")))]
      (run! look-up (range 20))
      (reset! (:questions server) [])
      (run! look-up (range 15 20))
      (is (= [] @(:questions server)))
      (look-up 0)
      (is (= [["n0.example" :mx]] @(:questions server))))))

(deftest the-next-server-is-asked-when-one-is-silent
  (with-open [silent ^java.io.Closeable (server/start {"example.org" {:any :silence}})
              server ^java.io.Closeable (server/start zone)]
    (let [r (dns/resolver {:servers [(:address silent) (:address server)] :server-timeout 200})]
      (is (= :found (:status @(dns/mx r "example.org"))))
      (is (= [["example.org" :mx]] @(:questions silent) @(:questions server))))))

(deftest the-same-options-are-the-same-resolver
  (is (identical? (dns/resolver {:servers ["192.0.2.53"]}) (dns/resolver {:servers ["192.0.2.53"]})))
  (is (not (identical? (dns/resolver {:servers ["192.0.2.53"]}) (dns/resolver {:servers ["192.0.2.54"]})))))

(deftest mistakes-in-options-say-what-is-right
  (is (re-find #"no key :server in the options of resolver; did you mean :servers\?"
               (:message (support/thrown (dns/resolver {:server ["192.0.2.53"]})))))
  (doseq [servers [["ns.example.org"] ["192.0.2.300"] ["192.0.2.53:0"] ["192.0.2.53:99999"] [] "192.0.2.53" ["[::1"]]]
    (is (re-find #":servers must be addresses such as" (:message (support/thrown (dns/resolver {:servers servers}))))
        servers))
  (doseq [servers [["192.0.2.53:5353"] ["::1"] ["[::1]"] ["[2001:db8::53]:5353"]]]
    (is (dns/resolver {:servers servers})))
  (is (re-find #"what temse.dns/resolver returned" (:message (support/thrown (dns/mx {} "example.org"))))))

(deftest a-handler-may-return-a-look-up
  (with-server [server zone]
    (let [r (resolver server)
          on-mail (fn [{:keys [sender]} context]
                    (.thenApply ^CompletableFuture (dns/mx r (second (re-find #"@(.*)>" sender)))
                                (reify Function
                                  (apply [_ {:keys [status]}]
                                    (if (= :found status) context (respond context (act/reject)))))))
          verdict #(:verdict (mt/run-message {:handlers {:mail on-mail}} {:sender %}))]
      (is (= :reject (verdict "<ann@missing.example>")))
      (is (not= :reject (verdict "<ann@example.org>"))))))

(deftest without-dnsjava-it-says-what-to-add
  (let [class-path (->> (string/split (System/getProperty "java.class.path") #":")
                        (remove #(re-find #"dnsjava" %))
                        (string/join ":"))]
    (is (re-find #"requires dnsjava.*\n.*deps.edn    dnsjava/dnsjava \{.*\n.*Leiningen   \[dnsjava .*\n.*Maven       <dependency>"
                 (support/evaluated '(try
                                       (require 'temse.dns)
                                       (catch Throwable e
                                         (println (ex-message (or (ex-cause e) e)))))
                                    :class-path class-path)))))
