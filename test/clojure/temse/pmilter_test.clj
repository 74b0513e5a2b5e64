(ns temse.pmilter-test
  "examples/pmilter, the example of pmilter's README as scripts: what they print and decide, alone and behind real MTAs."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.gallery.support :as mta]
   [temse.project :as project]
   [temse.support :as support]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(defn- scripts
  []
  (project/milter "examples/pmilter/temse.edn"))

(def ^:private mail
  {:sender "<from@example.com>"
   :recipients ["<to@example.com>"]
   :headers [["From" "<from@example.com>"] ["To" "<to@example.com>"] ["Subject" "Hello"]]
   :body ["Hello world!!\r\n" "Hello again!!\r\n"]})

(def ^:private mta-side
  {:client {:host-name "mx.example.net", :address "192.168.123.123"}
   :hello "delian"
   :macros {:connect {"_" "mx.example.net [192.168.123.123]", "daemon_name" "milter-test-server", "j" "mail.example.com"}
            :hello {"cert_issuer" "cert_issuer", "cert_subject" "cert_subject"
                    "cipher" "0", "cipher_bits" "0", "tls_version" "0"}
            :mail {"mail_addr" "mail_addr"}
            :recipient {"rcpt_addr" "<to@example.com>"}
            :end-of-message {"i" "message-id"}}})

(deftest each-phase-prints-what-pmilter-does
  (let [result (promise)
        lines (string/split-lines (support/printed (deliver result (mt/run-message (scripts) mail mta-side))))]
    (is (= ["hello pmilter handler called from pmilter"
            "client ipaddr 192.168.123.123"
            "client hostname mx.example.net"
            "client daemon milter-test-server"
            "handler phase name: :connect"
            "helo hostname: delian"
            "tls client issuer: cert_issuer"
            "tls client subject: cert_subject"
            "tls session key size: 0"
            "tls encrypt method: 0"
            "tls version: 0"
            "env from from args: <from@example.com>"
            "env from from symval: mail_addr"
            "SASL login name: nil"
            "SASL login sender: nil"
            "SASL login type: nil"
            "env to from arg: <to@example.com>"
            "env to from symval: <to@example.com>"
            "header: {From <from@example.com>}"
            "header: {To <to@example.com>}"
            "header: {Subject Hello}"
            "body chunk; Hello world!!"
            "myhostname: mail.example.com"
            "message_id: message-id"
            "receive_time: TIME"
            "add_header(X-Pmilter): Enable"]
           (map #(string/replace % #"(?<=^receive_time: )[-0-9]+T[:.0-9]+Z$" "TIME") lines)))
    (is (= [:accept [{:action :add-header, :name "X-Pmilter", :value "Enable"}]]
           ((juxt :verdict :modifications) @result)))))

(deftest the-sender-of-spam-is-refused-at-mail
  (let [result (promise)]
    (support/printed (deliver result (mt/run-message (scripts) (assoc mail :sender "<spam-from@example.com>") mta-side)))
    (is (= [:reject :mail] ((juxt :verdict :at) @result)))))

(defn- check
  "Checks the scripts behind an MTA: what is delivered, refused and printed."
  [mta-name]
  (let [lines (string/split-lines
                (support/printed
                  (mta/behind mta-name (dissoc (scripts) :address) {}
                    (fn [running]
                      (let [delivered (mta/sent running {:sender "<from@example.com>", :body "Hello world!!\r\n"})]
                        (is (= ["Enable"] (keep (fn [[field value]] (when (= "X-Pmilter" field) value)) (:headers delivered))))
                        (is (= "Hello world!!\r\n" (:body delivered))))
                      (testing "and the sender of spam"
                        (is (= 550 (:code (:mail (mta/transact running {:sender "<spam-from@example.com>"}))))))))))]
    (doseq [line ["hello pmilter handler called from pmilter" "client ipaddr 127.0.0.1" "handler phase name: :connect"
                  "env from from args: <from@example.com>" "env from from args: <spam-from@example.com>"
                  "env from from symval: from@example.com" "body chunk; Hello world!!" "add_header(X-Pmilter): Enable"]]
      (is (some #{line} lines)))
    (is (some #(re-matches #"message_id: \w+" %) lines))
    (is (= 1 (count (filter #(string/starts-with? % "env to") (filter #(string/includes? % "arg") lines)))))))

(deftest behind-postfix-the-scripts-decide-and-change
  (check :postfix))

(deftest behind-sendmail-the-scripts-decide-and-change
  (check :sendmail))
