(ns temse.dump-command-test
  "The command dump: what a filter sees of a mail."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is]]
   [temse.impl.command.dump :as command])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io File StringWriter)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- run
  "Runs the command with a mail of this text, and returns {:code :out :err}."
  [text & args]
  (let [file (File/createTempFile "temse_dump_" ".eml")
        out (StringWriter.)
        err (StringWriter.)]
    (try
      (io/copy (Text/encodeBytes text) file)
      (let [code (binding [*out* out, *err* err]
                   (command/run (cons (str file) args)))]
        {:code code, :out (str out), :err (str err)})
      (finally
        (io/delete-file file)))))

(def ^:private lunch
  "From: alice@example.org\nTo: bob@example.com\nSubject: Lunch?\n\nAt noon?\n")

(deftest events-are-shown-in-turn
  (is (= {:code 0
          :err ""
          :out (string/join "\n" ["connect client.example.org 192.0.2.1 40110"
                                  "hello client.example.org"
                                  "mail <alice@example.org>"
                                  "recipient <bob@example.com>"
                                  "data"
                                  "header From: alice@example.org"
                                  "header To: bob@example.com"
                                  "header Subject: Lunch?"
                                  "end-of-headers"
                                  "body, 10 bytes"
                                  "  | At noon?"
                                  "end-of-message"
                                  ""])}
         (run lunch))))

(deftest the-envelope-and-the-client-are-options
  (let [{:keys [out]} (run lunch "--from" "<>" "--rcpt" "a@example.com" "--rcpt" "b@example.com"
                        "--connect-address" "2001:db8::1" "--helo" "me")]
    (is (= ["connect client.example.org 2001:db8::1 40110" "hello me" "mail <>" "recipient <a@example.com>"
            "recipient <b@example.com>"]
           (take 5 (string/split-lines out))))))

(deftest macros-are-shown-on-demand
  (is (string/includes? (:out (run lunch "-v" "--macro" "auth_authen=alice"))
                        "\n  macros auth_authen=alice mail_addr=alice@example.org"))
  (is (not (string/includes? (:out (run lunch)) "macros"))))

(deftest long-bodies-are-cut-with-the-count
  (let [long-mail (str "Subject: hi\n\n" (string/join (repeat 1000 "0123456\n")))]
    (is (string/includes? (:out (run long-mail)) "body, 9000 bytes\n"))
    (is (string/includes? (:out (run long-mail)) "  ... 7000 more bytes\n"))
    (is (string/includes? (:out (run long-mail "--bytes" "0")) "body, 9000 bytes\n  ... 9000 more bytes\nend-of"))
    (is (not (string/includes? (:out (run long-mail "--bytes" "9000")) "more bytes")))
    (is (= 7000 (:more-bytes (edn/read-string (:out (run long-mail "--message" "--edn"))))))))

(deftest events-are-edn-on-demand
  (is (= [:connect :hello :mail :recipient :data :header :header :header :end-of-headers :body :end-of-message]
         (map (comp :event edn/read-string) (string/split-lines (:out (run lunch "--edn"))))))
  (is (= {:event :body, :data "At noon?\r\n"}
         (->> (run lunch "--edn") :out string/split-lines (map edn/read-string) (some #(when (= :body (:event %)) %))))))

(def ^:private attached
  (str "From: a@example.org\nTo: b@example.com\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\n"
       "Content-Type: multipart/mixed; boundary=x\n\n"
       "--x\nContent-Type: text/plain; charset=utf-8\n\nHallo\n"
       "--x\nContent-Type: application/pdf; name=\"=?utf-8?q?Rechn=C3=BCng.pdf?=\"\n"
       "Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"a.exe\"\n\nAAAA\n--x--\n"))

(deftest a-message-is-shown-as-a-whole-with-its-parts
  (let [{:keys [out]} (run attached "--message")
        message (edn/read-string out)]
    (is (= ["<a@example.org>" ["<b@example.com>"] "4TEMSE0001"] ((juxt :sender :recipients :queue-id) message)))
    (is (string/ends-with? out
                           (str "decoded\n  Subject: Grüße\nparts\n"
                                "  multipart/mixed, 230 bytes\n"
                                "    text/plain, charset utf-8, 7bit, 5 bytes, the text that readers show\n"
                                "    application/pdf, base64, attachment, named \"a.exe\", also \"Rechnüng.pdf\","
                                " 4 bytes\n")))))

(deftest hostile-text-is-escaped
  (let [hostile (str "Subject: \u001b[31mred\u202e\n\n\u001b]0;title\u0007\n")]
    (doseq [args [[] ["-v"] ["--edn"] ["--message"] ["--message" "--edn"]]
            :let [{:keys [out]} (apply run hostile args)]]
      (is (string/includes? out "\\u001b"))
      (is (not (re-find #"[\u0000-\u0009\u000b-\u001f\u202e]" out))))))

(deftest several-mails-have-titles-and-what-is-no-mail-is-an-error
  (let [{:keys [code out err]} (run lunch "nowhere.eml")]
    (is (= [2 "temse: nowhere.eml: there is no such file\n"] [code err]))
    (is (re-find #"^\S+\.eml\nconnect " out))))

(deftest wrong-arguments-are-errors
  (are [args problem] (= problem (try (command/run args) (catch ExceptionInfo e (ex-message e))))
    [] "name mails; temse dump --help shows what it takes"
    ["a.eml" "--bytes" "many"] "--bytes needs a number from 0 to 999999999, not \"many\""
    ["a.eml" "--timeout" "1"] "there is no option --timeout; temse dump --help shows what it takes"))
