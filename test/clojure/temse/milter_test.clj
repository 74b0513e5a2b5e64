(ns temse.milter-test
  (:require
   [clojure.main :as main]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [awaited thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.io Closeable File IOException)
   (java.nio.file Files LinkOption Path)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (temse.client MtaSession)))

(set! *warn-on-reflection* true)

(def marking
  {:end-of-message (fn [_event context]
                     (respond context (act/add-header "X-Seen" "yes") (act/accept)))})

(def options
  {:port 0, :daemon? true, :handlers marking})

(def seen
  {:action :add-header, :name "X-Seen", :value "yes"})

(defn- with-socket-path
  "Calls f with a path in a directory of its own."
  [f]
  (let [directory (Files/createTempDirectory "temse" (make-array FileAttribute 0))
        path (.resolve directory "s")]
    (try
      (f (str path))
      (finally
        (Files/deleteIfExists path)
        (Files/delete directory)))))

(defn- permissions
  [path]
  (PosixFilePermissions/toString
    (Files/getPosixFilePermissions (Path/of path (make-array String 0)) (make-array LinkOption 0))))

(deftest start-with-options-returns-a-server-that-filters
  (with-open [server ^Closeable (milter/start-milter options)]
    (let [{:keys [verdict modifications message]} (mt/run-message server {:headers []})]
      (is (= :accept verdict))
      (is (= [seen] modifications))
      (is (= [["X-Seen" "yes"]] (:headers message))))))

(deftest start-with-port-and-init-blocks-until-its-thread-is-interrupted
  (let [port (support/free-port)
        server (future (milter/start-milter port #(assoc % :handlers marking)))]
    (support/await-port port true)
    (is (= [seen] (:modifications (mt/run-message (str port) {}))))
    (is (not (realized? server)))
    (future-cancel server)
    (support/await-port port false)
    (is (not (support/answers? port)))))

(deftest start-with-port-init-and-join-false-returns-the-server
  (let [server (milter/start-milter 0
                                    #(assoc % :handlers marking)
                                    {:join? false, :daemon? true})]
    (try
      (is (= [seen] (:modifications (mt/run-message server {}))))
      (finally
        (milter/stop-milter server)))))

(deftest join-waits-for-stop
  (let [server (milter/start-milter options)
        joined (future (milter/join-milter server) :joined)]
    (is (not (realized? joined)))
    (milter/stop-milter server)
    (is (= :joined (awaited joined)))))

(deftest stop-refuses-new-connections-and-returns-nil-each-time
  (let [server (milter/start-milter options)
        port (milter/milter-port server)]
    (is (support/answers? port))
    (is (nil? (milter/stop-milter server)))
    (is (not (support/answers? port)))
    (is (nil? (milter/stop-milter server)))))

(deftest a-server-starts-again-on-the-port-of-the-one-before
  (let [port (milter/with-milter [server options]
               (mt/run-message server {})
               (milter/milter-port server))]
    (dotimes [_ 3]
      (milter/with-milter [server (assoc options :port port)]
        (is (= port (milter/milter-port server)))
        (is (= [seen] (:modifications (mt/run-message server {}))))))))

(deftest with-milter-returns-the-value-of-its-body-and-stops-after-an-exception
  (let [port (atom nil)]
    (is (= :value (milter/with-milter [_server options] :value)))
    (is (thrown-with-msg? IllegalStateException #"in the body"
          (milter/with-milter [server options]
            (reset! port (milter/milter-port server))
            (throw (IllegalStateException. "in the body")))))
    (is (not (support/answers? @port)))))

(deftest a-taken-port-is-told-with-its-address
  (milter/with-milter [server options]
    (let [port (milter/milter-port server)
          error (thrown (milter/start-milter (assoc options :port port)))]
      (is (= :bind-failed (:milter/error error)))
      (is (string/includes? (:address error) (str port)))
      (is (string/includes? (:message error) (str "inet:" port "@127.0.0.1"))))))

(deftest an-unknown-host-is-told
  (let [error (thrown (milter/start-milter (assoc options :port 0 :host "no-such-host.invalid")))]
    (is (= :bind-failed (:milter/error error)))
    (is (string/includes? (:message error) "no-such-host.invalid"))))

(deftest a-message-in-progress-may-end-after-stop
  (let [in-handler (promise)
        go-on (promise)
        server (milter/start-milter
                 {:port 0
                  :daemon? true
                  :handlers {:end-of-headers (fn [_event context]
                                               (deliver in-handler true)
                                               (awaited go-on)
                                               context)
                             :end-of-message (:end-of-message marking)}})
        report (future (mt/run-message server {}))]
    (awaited in-handler)
    (let [stopped (future (milter/stop-milter server))]
      (deliver go-on true)
      (is (= [:accept [seen]] ((juxt :verdict :modifications) (awaited report))))
      (is (nil? (awaited stopped))))))

(deftest stop-with-no-time-does-not-wait-for-a-message
  (let [server (milter/start-milter options)]
    (with-open [session (mt/connect-to server)]
      (support/send-events session (concat support/opening (support/envelope)))
      (is (nil? (milter/stop-milter server 0)))
      (is (thrown? IOException (support/send-events session support/content))))))

(deftest messages-pass-over-a-unix-socket
  (with-socket-path
    (fn [path]
      (doseq [where [{:socket-path path} {:address (str "unix:" path)}]]
        (milter/with-milter [server (-> options (dissoc :port) (merge where))]
          (is (= (str "unix:" path) (milter/milter-address server)))
          (is (= -1 (milter/milter-port server)))
          (is (= [seen] (:modifications (mt/run-message server {}))))
          (is (= [seen] (:modifications (mt/run-message (str "unix:" path) {})))))
        (is (not (.exists (File. ^String path))))))))

(deftest the-socket-file-has-the-mode-asked-for
  (with-socket-path
    (fn [path]
      (doseq [mode ["rw-rw----" "rw-------" "rwxrwxrwx"]]
        (milter/with-milter [_server {:socket-path path, :socket-permissions mode, :handlers marking}]
          (is (= mode (permissions path))))))))

(deftest a-socket-path-in-use-is-not-taken-away
  (with-socket-path
    (fn [path]
      (milter/with-milter [server {:socket-path path, :handlers marking}]
        (let [error (thrown (milter/start-milter {:socket-path path, :handlers marking}))]
          (is (= :bind-failed (:milter/error error)))
          (is (string/includes? (:message error) "in use")))
        (is (= [seen] (:modifications (mt/run-message server {}))))))))

(deftest connections-are-served-side-by-side
  (let [together (java.util.concurrent.CyclicBarrier. 8)
        handlers {:end-of-message (fn [_event context]
                                    (.await together 10 java.util.concurrent.TimeUnit/SECONDS)
                                    (respond context
                                             (act/add-header "X-Count"
                                                             (str (:count (milter/message context))))
                                             (act/accept)))
                  :recipient (fn [_event context]
                               (milter/update-message context update :count (fnil inc 0)))}]
    (milter/with-milter [server {:port 0, :handlers handlers}]
      (let [reports (doall
                      (for [n (range 1 9)]
                        (future
                          (mt/run-message server
                                          {:recipients (for [i (range n)]
                                                         (str "<" i "@example.com>"))}))))]
        (is (= (map str (range 1 9))
               (map #(:value (first (:modifications (awaited %)))) reports)))))))

(deftest messages-follow-each-other-on-one-connection
  (milter/with-milter [server options]
    (with-open [^MtaSession session (mt/connect-to server)]
      (dotimes [_ 20]
        (is (= [seen] (:modifications (mt/run-message session {}))))))))

(deftest too-many-connections-are-refused-and-counted
  (with-logs logs
    (milter/with-milter [server (assoc options :max-connections 1 :name "small")]
      (with-open [_session (mt/connect-to server)]
        (is (thrown? IOException (mt/connect-to server)))
        (is (= {:name "small", :connections 1, :accepted 2, :refused 1}
               (select-keys (milter/milter-status server)
                            [:name :connections :accepted :refused])))
        (is (= (milter/milter-address server) (:address (milter/milter-status server))))))
    (is (some #(string/includes? % "small refused") (support/messages logs :warn)))))

(deftest close-ends-the-connection-after-the-response
  (milter/with-milter [server {:port 0
                               :handlers {:mail (fn [_event context]
                                                  (-> context
                                                      (respond (act/reject))
                                                      milter/close))}}]
    (with-open [session (mt/connect-to server)]
      (support/send-events session support/opening)
      (is (= [{:action :reject}]
             (mt/send-event session {:event :mail, :sender "<a@b.example>", :options []})))
      (is (thrown? IOException
            (mt/send-event session {:event :mail, :sender "<a@b.example>", :options []}))))))

(deftest what-is-no-server-is-told-so
  (doseq [wrong [nil 20025 "inet:20025" {}]
          f [milter/stop-milter milter/milter-port milter/milter-address milter/milter-status]]
    (is (thrown-with-msg? IllegalArgumentException #"a milter is what start-milter returns"
          (f wrong)))))

(deftest a-server-prints-its-name-and-address
  (milter/with-milter [server (assoc options :name "printed")]
    (is (= (str "#<milter printed at inet:" (milter/milter-port server) "@127.0.0.1>")
           (pr-str server)))))

(deftest each-exchange-is-told
  (let [exchanges (atom [])]
    (milter/with-milter [server (assoc options :on-exchange #(swap! exchanges conj %))]
      (mt/run-message server {}))
    (let [by-event (into {} (map (juxt (comp :event :event) identity)) @exchanges)]
      (is (= [seen {:action :accept}] (:response (by-event :end-of-message))))
      (is (every? (comp pos? :millis) @exchanges))
      (is (apply = (map :id @exchanges))))))

(deftest a-failing-observer-of-exchanges-is-logged-and-harms-nobody
  (with-logs logs
    (milter/with-milter [server (assoc options :on-exchange (fn [_] (throw (Exception. "blind"))))]
      (is (= [seen] (:modifications (mt/run-message server {})))))
    (is (some #(string/includes? % ":on-exchange failed") (support/messages logs :error)))))

(deftest an-address-loses-its-brackets
  (testing "of a string and of events"
    (is (= "a@example.org" (milter/bare-address "<a@example.org>")))
    (is (= "a@example.org" (milter/bare-address "a@example.org")))
    (is (= "" (milter/bare-address "<>")))
    (is (= "a@b" (milter/bare-address {:event :mail, :sender "<a@b>"})))
    (is (= "c@d" (milter/bare-address {:event :recipient, :address "<c@d>"})))))

(deftest the-reference-data-name-every-event-and-action
  (is (= {:code \L
          :replies #{:continue :accept :reject :temporary-failure :discard :skip :reply-code
                     :shutdown :connection-failure}
          :owes-reply? true
          :suppressed-by "SMFIP_NOHDRS"
          :no-reply-by "SMFIP_NR_HDR"
          :since-version 2}
         (:header milter/events)))
  (is (nil? (:code (:message-end milter/events))))
  (is (= {:code \h, :kind :modification, :flag :add-header, :constant "SMFIF_ADDHDRS"}
         (:add-header milter/actions)))
  (is (= {:code \a, :kind :reply, :flag nil, :constant nil} (:accept milter/actions))))

(deftest a-taken-port-is-told-in-a-sentence-that-a-repl-shows-too
  (milter/with-milter [server options]
    (let [port (milter/milter-port server)
          error (try
                  (milter/start-milter (assoc options :port port))
                  (catch Exception e e))
          sentence (str "cannot listen on inet:" port "@127.0.0.1: another program, or another filter,"
                        " listens there already")]
      (is (= sentence (ex-message error)))
      (is (string/includes? (main/ex-str (main/ex-triage (Throwable->map error))) sentence))))
  (are [address problem] (string/ends-with? (:message (thrown (milter/start-milter {:address address, :handlers marking})))
                                            problem)
    "inet:0@192.0.2.77" "this machine does not have the address"
    "inet:0@no-such-host.invalid" "there is no host of this name"))

(deftest a-milter-that-nobody-has-kept-is-found-and-stopped
  (milter/start-milter (assoc options :name "lost"))
  (let [lost? #(some #{"lost"} (map (comp :name milter/milter-status) (milter/running-milters)))]
    (is (lost?))
    (doseq [milter (milter/running-milters)
            :when (= "lost" (:name (milter/milter-status milter)))]
      (is (nil? (milter/stop-milter milter))))
    (is (not (lost?)))))

(deftest a-milter-takes-other-options-for-those-that-connect-later
  (milter/with-milter [server options]
    (with-open [before (mt/connect-to server)]
      (milter/reload-milter server (assoc options :handlers {:mail (fn [_ _] [(act/reject)])}))
      (is (= [:reject :accept] (map (comp :verdict #(mt/run-message % {})) [server before]))))
    (testing "but not what its sockets were made with, and then nothing changes"
      (are [changed problem] (string/includes? (:message (thrown (milter/reload-milter server (merge options changed))))
                                               problem)
        {:port 20025} ":port cannot change while the milter serves, from 0 to 20025"
        {:name "other", :handlers {:mail (fn [_ _] nil)}} ":name cannot change"
        {:max-unfinished-bytes 1000000} ":max-unfinished-bytes cannot change"
        {:handlers {:mial identity}} "did you mean :mail?"
        {:handlers {}} "there is nothing to do")
      (is (= :reject (:verdict (mt/run-message server {})))))))

(deftest a-handler-that-outlives-the-stop-is-reported
  (support/with-logs logs
    (let [running (promise)
          go-on (atom true)
          server (milter/start-milter {:port 0
                                       :handlers {:hello (fn [_ _]
                                                           (deliver running true)
                                                           (while @go-on
                                                             (Thread/onSpinWait)))}})
          client (future (try (mt/run-message server {}) (catch IOException _)))]
      (support/awaited running)
      (milter/stop-milter server 0)
      (is (some #(re-find #"stopped, but handlers that ignore interrupts still run in milter-" %)
                (support/messages logs :warn)))
      (reset! go-on false)
      (support/awaited client))))
