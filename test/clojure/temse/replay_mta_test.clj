(ns temse.replay-mta-test
  "Real traffic of Postfix and Sendmail, recorded by the filter's server and by a proxy before it, and
  played again."
  (:require
   [clojure.java.io :as io]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter]
   [temse.proxy :as proxy]
   [temse.record :as record]
   [temse.replay :as replay]
   [temse.runner :as runner])
  (:import
   (java.io Closeable)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(defn- filter-options
  [seen]
  {:handlers {:connect (fn [_ _])
              :mail (fn [_ context]
                      (when-not (milter/get-macro context "j") [(act/reject)]))
              :recipient (fn [{:keys [address]} _]
                           (when (re-find #"trap" address) [(act/reply-code 550 "5.1.1" "No such user")]))
              :header (fn [{:keys [name value]} _]
                        (when (= ["Subject" "refuse"] [name value]) [(act/reject)]))
              :body ^:no-reply (fn [_ _])
              :end-of-message (fn [_ _] [(act/add-header "X-Seen" seen) (act/accept)])}})

(defn- send-mails
  "Sends mails of all sorts: several on a connection, refused ones, aborted ones, with odd bytes."
  [port]
  (smtp/send-mail {:port port})
  (smtp/send-mail {:port port, :headers [["Subject" " refuse"]]})
  (smtp/send-mail {:port port, :recipients ["<trap@example.org>" "<b@example.org>"]})
  (smtp/send-mail {:port port, :recipients ["<trap@example.org>"]})
  (smtp/send-mail {:port port, :sender "<>", :headers [["Subject" " folded\r\n\tline"] ["X-Bytes" " \u00c8\u0081"]]
                   :body (apply str (repeat 10000 "0123456789\r\n"))})
  (with-open [connection (smtp/connect {:port port})]
    (smtp/command connection "EHLO client.example.org")
    (dotimes [_ 2]
      (smtp/transact connection {:sender "<a@example.org>"}))
    (smtp/command connection "MAIL FROM:<a@example.org>")
    (smtp/command connection "RSET")
    (smtp/command connection "NONSENSE")
    (smtp/transact connection {:sender "<a@example.org>", :headers [["Subject" " refuse"]]})
    (smtp/command connection "RSET")
    (smtp/transact connection {:sender "<a@example.org>"})
    (smtp/command connection "QUIT")))

(defn- recordings-of
  "Returns what the server and the proxy have recorded of the mails through an MTA that `start` starts
  with a sink and the port of its milter."
  [start]
  (let [directory (str (Files/createTempDirectory "recordings" (make-array FileAttribute 0)))]
    (with-open [of-server (record/recorder {:directory directory, :max-body 1000})
                of-proxy (record/recorder)]
      (milter/with-milter [server (record/record (assoc (filter-options "yes") :port 0) of-server)]
        (with-open [proxy (proxy/start-proxy {:listen "inet:0@127.0.0.1"
                                              :milter (milter/milter-address server)
                                              :recorder of-proxy
                                              :daemon? true})
                    sink (sink/start)]
          (with-open [mta ^Closeable (start sink (re-find #"\d+" (proxy/proxy-address proxy)))]
            (send-mails (:port mta)))))
      (.close ^Closeable of-server)
      (let [recordings {:server (record/read-recordings directory), :proxy (record/recordings of-proxy)}]
        (run! io/delete-file (reverse (file-seq (io/file directory))))
        recordings))))

(defn- check
  [recordings]
  (doseq [[by recordings] recordings]
    (testing by
      (is (= 6 (count recordings)))
      (testing "the same filter"
        (is (= [] (replay/replay recordings (filter-options "yes")))))
      (testing "a filter that adds another value"
        (let [differences (replay/replay recordings (filter-options "no"))]
          (is (= 6 (count differences)))
          (is (= #{[#{:modifications} :end-of-message]}
                 (set (map (juxt :differs (comp :event :event)) differences))))
          (is (= [{:action :add-header, :name "X-Seen", :value "yes"} {:action :accept}]
                 (:expected (first differences))))
          (is (= [] (replay/replay recordings (filter-options "no") {:ignore ["X-Seen"]})))))
      (testing "a filter that refuses less"
        (is (= #{[#{:verdict} :recipient "<trap@example.org>"]}
               (set (map (juxt :differs (comp :event :event) (comp :address :event))
                         (replay/replay recordings
                                        (assoc-in (filter-options "yes") [:handlers :recipient]
                                                  (fn [_ _])))))))))))

(deftest recorded-traffic-of-postfix-replays-without-a-difference-until-the-filter-changes
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (check (recordings-of #(postfix/start {:sink %1, :milters [(str "inet:127.0.0.1:" %2)]}))))

(deftest recorded-traffic-of-sendmail-replays-without-a-difference-until-the-filter-changes
  (when-let [reason (sendmail/unavailable)]
    (runner/skip! reason))
  (check (recordings-of #(sendmail/start {:sink %1, :milters [(str "inet:" %2 "@127.0.0.1")]}))))
