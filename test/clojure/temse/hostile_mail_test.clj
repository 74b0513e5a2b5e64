(ns temse.hostile-mail-test
  "A mail that would steer a terminal, shown by every command: no byte of it gets through."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.impl.command.decode :as decode]
   [temse.impl.command.proxy :as proxy]
   [temse.impl.command.replay :as replay]
   [temse.impl.command.run :as run]
   [temse.impl.command.send :as send]
   [temse.milter :as milter]
   [temse.record :as record]
   [temse.report :as report]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(def ^:private hostile
  "Clears the screen, rings, turns text around, returns to the line's beginning, sets a title."
  "\u001b[2J\u0007\u202e\u2066\r\u009b31m\u001b]0;owned\u0007\u2028")

(def ^:private hostile-line
  "The same in one line, as commands of SMTP are."
  (string/replace hostile "\r" ""))

(def ^:private mail
  {:sender (str "<" hostile-line "@example.org>")
   :recipients [(str "<" hostile-line "@example.com>")]
   :headers [["Subject" hostile] [(str "X-" (string/replace hostile #"[^!-9;-~]" "")) hostile]]
   :body (str hostile "\r\n" hostile)})

(def ^:private filter-options
  {:handlers {:connect (fn [_ _] nil)
              :hello (fn [_ _] nil)
              :mail (fn [_ _] nil)
              :recipient (fn [_ _] nil)
              :header (fn [_ _] nil)
              :body (fn [_ _] nil)
              :end-of-message (fn [_ _] [(act/change-header "Subject" 1 "\u202e\u0085") (act/add-header "X" "\u2066\u009b")
                                         (act/change-body hostile) (act/quarantine "\u202e")
                                         (act/accept)])}})

(defn- check-harmless
  [what text]
  (testing what
    (is (not (string/blank? text)))
    (is (nil? (re-find #"[^\n\t -~\u00a1-\u024f]" text)) (pr-str text))))

(defn- with-directory
  [f]
  (let [directory (.toFile (Files/createTempDirectory "hostile" (make-array FileAttribute 0)))]
    (try
      (f directory)
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))

(deftest reports-and-ladders-are-harmless
  (let [exchanges (atom [])
        result (mt/run-message (assoc filter-options :on-exchange #(swap! exchanges conj %)) mail)]
    (check-harmless "print-report" (with-out-str (report/print-report result)))
    (check-harmless "run -v" (string/join "\n" (map @#'run/exchange-line @exchanges)))
    (check-harmless "proxy -v" (string/join "\n" (mapcat #(@#'proxy/lines true %) @exchanges)))))

(deftest what-arguments-name-is-harmless
  (with-directory
    (fn [directory]
      (milter/with-milter [server {:port 0, :handlers {:unknown (fn [_ _] nil)
                                                       :recipient (fn [_ _] [(act/reject)])}}]
        (let [address (milter/milter-address server)
              eml (io/file directory "\u001b[2J\nmail.eml")
              errors (java.io.StringWriter.)
              printed (fn [command & args]
                        (support/printed (binding [*err* errors] (command args))))]
          (spit eml (str "Subject: hi\nTo: <\u001b[2J@x>\n\nhi\n"))
          (check-harmless "send" (printed send/run address "--unknown" hostile-line "--rcpt" hostile-line (str eml) (str eml)
                                          (str eml "x")))
          (check-harmless "send --count" (printed send/run address "--count" "1" (str eml) (str eml "x")))
          (printed decode/run (str eml))
          (check-harmless "stderr" (str errors))
          (is (every? #(string/starts-with? % "temse: ") (string/split-lines (str errors)))))))))

(deftest commands-are-harmless
  (with-directory
    (fn [directory]
      (with-open [recorder (record/recorder {:directory (str directory)})]
        (mt/run-message (record/record filter-options recorder) mail))
      (milter/with-milter [server (assoc filter-options :port 0)]
        (let [address (milter/milter-address server)
              eml (io/file directory "mail.eml")]
          (spit eml (str "Subject: " hostile "\nFrom: " hostile "@x\n\n" hostile "\n"))
          (doseq [args [[address "-v" (str eml)] [address "-v" "--from" hostile-line "--body" hostile]
                        [address "--json" (str eml)]]]
            (check-harmless (cons "send" args) (support/printed (send/run args))))
          (io/delete-file eml)))
      (milter/with-milter [server {:port 0, :handlers {:header (fn [_ _] [(act/reply-code 550 "5.7.1" "no")])}}]
        (check-harmless "replay" (support/printed (replay/run [(str directory) "--to" (milter/milter-address server)]))))
      (let [dump (io/file directory "dump")]
        (with-open [out (io/output-stream dump)]
          (doseq [[code payload] [[\O "\u0000\u0000\u0000\u0006\u0000\u0000\u0001\u00ff\u0000\u0000\u0000\u0000"]
                                  [\M (str "<" hostile ">\u0000" hostile "\u0000")]
                                  [\L (str hostile "\u0000" hostile "\u0000")]
                                  [\Z hostile]]
                  :let [bytes (.getBytes (str code payload) "UTF-8")]]
            (.write out (.array (.putInt (java.nio.ByteBuffer/allocate 4) (alength bytes))))
            (.write out bytes)))
        (let [errors (java.io.StringWriter.)]
          (check-harmless "decode" (support/printed (binding [*err* errors]
                                                      (decode/run [(str dump) "-v"]))))
          (is (nil? (re-find #"[^\n -~]" (str errors)))))))))
