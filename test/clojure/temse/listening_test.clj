(ns temse.listening-test
  "Who may connect, who listens where another one did, and how long connections may go on when a server stops."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.impl.command.run :as run]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io BufferedReader File)
   (java.net InetAddress ServerSocket)
   (java.util.concurrent TimeUnit)
   (temse.limits RawMta)))

(set! *warn-on-reflection* true)

(defn- marking
  [value]
  {:actions #{:add-header}
   :handlers {:end-of-message (fn [_ _] [(act/add-header "X-Mark" value)])}})

(defn- mark
  [milter-or-session]
  (:value (first (:modifications (mt/run-message milter-or-session {})))))

(deftest peers-of-networks-that-are-not-allowed-are-refused-counted-and-logged
  (support/with-logs logs
    (milter/with-milter [server (assoc (marking "it") :port 0, :allow ["127.0.66.0/24" "2001:db8::7"])]
      (let [port (int (milter/milter-port server))]
        (with-open [stranger (RawMta/connect port)]
          (is (.awaitClose stranger)))
        (with-open [allowed (RawMta/connect port "127.0.66.1")]
          (is (some? (.negotiate allowed))))
        (is (= {:accepted 2, :refused 1, :refused-by-address 1}
               (select-keys (milter/milter-status server) [:accepted :refused :refused-by-address])))))
    (is (some #(str/ends-with? % " its address is not among those that may connect") (support/messages logs :warn)))))

(deftest what-is-no-list-of-networks-is-refused
  (are [allow text] (str/includes? (:message (support/thrown (milter/start-milter (assoc (marking "") :port 0, :allow allow)))) text)
    "127.0.0.1" ":allow must be a vector of networks, such as [\"192.0.2.0/24\" \"2001:db8::/32\"]"
    [] ":allow must be a vector of networks"
    ["127.0.0.1/24"] ":allow: in networks, entry 1, \"127.0.0.1/24\", has bits beyond its prefix; did you mean \"127.0.0.0/24\"?"
    ["mail.example"] ":allow: in networks, entry 1, \"mail.example\", is no network"))

(defn- with-socket
  "Calls f with the path of a socket in a directory that is to be empty afterwards."
  [f]
  (support/with-directory {}
    (fn [^File directory]
      (f (str (io/file directory "filter.sock")))
      (is (= [] (vec (.list directory)))))))

(deftest a-server-takes-over-from-another-and-each-ends-what-it-has-begun
  (testing "at a Unix-domain socket"
    (with-socket
      (fn [path]
        (let [options {:socket-path path, :take-over? true, :drain-timeout 60000}
              one (milter/start-milter (merge (marking "one") options))
              session (mt/connect-to one)
              _ (is (= "one" (mark session)))
              two (milter/start-milter (merge (marking "two") options))
              stopping (future (milter/stop-milter one))]
          (is (= "two" (mark (str "unix:" path))))
          (is (= "one" (mark session)) "between two messages it goes on")
          (.close session)
          (is (nil? (support/awaited stopping)))
          (is (= "two" (mark (str "unix:" path))))
          (milter/stop-milter two)))))
  (testing "at a TCP port"
    (let [one (milter/start-milter (assoc (marking "one") :port 0, :take-over? true))
          two (milter/start-milter (assoc (marking "two") :port (milter/milter-port one), :take-over? true))]
      (milter/stop-milter one)
      (is (= "two" (mark (milter/milter-address two))))
      (milter/stop-milter two))))

(deftest nothing-is-taken-over-by-a-process-that-could-not-serve-its-metrics
  (with-socket
    (fn [path]
      (milter/with-milter [server (assoc (marking "old") :socket-path path)]
        (with-open [taken (ServerSocket. 0 1 (InetAddress/getByName "127.0.0.1"))]
          (doseq [option ["--metrics" "--inspect"]
                  :let [port (str (.getLocalPort taken))
                        error (support/thrown
                                (run/run ["examples/add_header.clj" "--listen" (str "unix:" path) "--take-over" option port]))]]
            (is (str/starts-with? (:message error) (str option " " port ": the port is in use")))
            (is (= 2 (:temse.cli/exit error)))))
        (is (= "old" (mark (str "unix:" path))))
        (is (= (str "unix:" path) (milter/milter-address server)))))))

(deftest a-stop-with-a-timeout-does-not-drain
  (let [server (milter/start-milter (assoc (marking "it") :port 0, :drain-timeout 3600000))]
    (with-open [session (mt/connect-to server)]
      (is (= "it" (mark session)))
      (is (nil? (support/awaited (future (milter/stop-milter server 0))))))))

(deftest what-a-server-cannot-be-started-with-is-said-by-the-command-too
  (are [arguments text] (str/starts-with? (:message (support/thrown (run/run (into ["examples/add_header.clj"] arguments)))) text)
    ["--listen" "inherited"] "cannot listen on inherited: "
    ["--listen" "0" "--allow" "127.0.0.1,127.0.0.1/8"] ":allow: in networks, entry 2, \"127.0.0.1/8\", has bits beyond its prefix"
    ["--listen" "0" "--allow" ""] ":allow: in networks, entry 1, \"\", is no network"))

(defn- serving
  "Starts `temse run` with arguments; returns the process as soon as it says that it listens."
  ^Process [& arguments]
  (let [process (support/process (concat ["-m" "temse.cli" "run"] arguments))
        ^BufferedReader output (io/reader (.getInputStream process))]
    (loop [lines []]
      (let [line (.readLine output)]
        (cond
          (nil? line) (throw (ex-info (str/join "\n" lines) {}))
          (re-find #" listens on " line) process
          :else (recur (conj lines line)))))))

(defn- terminate
  [^Process process]
  (.destroy (.toHandle process)))

(defn- ended
  [^Process process]
  (is (.waitFor process 30 TimeUnit/SECONDS))
  (.exitValue process))

(deftest a-process-takes-over-from-another-and-says-by-a-file-that-it-listens
  (support/with-directory {"one.clj" "{:end-of-message (fn [_ _] [(temse.action/reject)])}"
                           "two.clj" "{:end-of-message (fn [_ _] [(temse.action/discard)])}"}
    (fn [directory]
      (let [path #(str (io/file directory %))
            address (str "unix:" (path "s"))
            pid-file (path "temse.pid")
            number #(when (.exists (io/file pid-file)) (parse-long (str/trim (slurp pid-file))))
            serve #(serving (path %) "--listen" address "--take-over" "--drain-timeout" "30" "--pid-file" pid-file)
            verdict #(:verdict (mt/run-message address {}))
            ^Process one (serve "one.clj")]
        (support/await-true #(= (.pid one) (number)))
        (is (= :reject (verdict)))
        (with-open [session (mt/connect-to address)]
          (is (= :reject (:verdict (mt/run-message session {}))))
          (let [^Process two (serve "two.clj")]
            (support/await-true #(= (.pid two) (number)))
            (terminate one)
            (is (= :discard (verdict)))
            (is (= :reject (:verdict (mt/run-message session {}))) "it goes on between two messages")
            (.close session)
            (is (= 0 (ended one)))
            (is (= (.pid two) (number)))
            (is (= :discard (verdict)))
            (terminate two)
            (is (= 0 (ended two)))
            (is (nil? (number)))
            (is (not (.exists (io/file (path "s")))))))))))
