(ns temse.try-command-test
  "The command try: verdicts against the names of folders."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.impl.command.mails :as mails]
   [temse.impl.command.try :as command]
   [temse.impl.filter-file :as filter-file]
   [temse.milter :as milter :refer [respond]])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io File StringWriter)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(defn- on-header
  [{:keys [name value]} context]
  (milter/update-message context assoc name value))

(defn- on-end-of-message
  [_event context]
  (case (get (milter/message context) "X-Do")
    "reject" (respond context (assoc (act/reply-code 550 "5.7.1" "no lottery") :why "lottery in subject"))
    "defer" (respond context (assoc (act/temporary-failure) :why {:score 7}))
    "discard" (respond context (act/discard))
    "quarantine" (respond context (act/quarantine "read me first"))
    "delete" (respond context (act/delete-recipient "<recipient@example.com>"))
    "fail" (throw (IllegalStateException. "a mistake in the filter"))
    "change" (apply respond context (for [n (range 5)] (act/add-header (str "X-" n) "v")))
    context))

(def handlers
  {:header #'on-header, :end-of-message #'on-end-of-message})

(defn- delete-all
  [^File file]
  (run! delete-all (.listFiles file))
  (io/delete-file file))

(defn- mail
  [word]
  (str "Subject: hi\nX-Do: " word "\n\nbody\n"))

(defn- run
  "Runs the command at the handlers in a directory with these files, {path text}, and returns {:code :out :err}. Arguments
  that begin with / are below the directory, which is not in what is printed."
  [files & args]
  (let [directory (.toFile (Files/createTempDirectory "temse-try-" (make-array FileAttribute 0)))
        out (StringWriter.)
        err (StringWriter.)]
    (try
      (doseq [[path text] files
              :let [file (io/file directory path)]]
        (io/make-parents file)
        (spit file text))
      (let [code (binding [*out* out, *err* err]
                   (with-redefs [filter-file/load-filter (constantly {:handlers handlers})]
                     (try
                       (command/run (map #(if (string/starts-with? % "/") (str directory %) %) args))
                       (catch ExceptionInfo e
                         (.write err (str (ex-message e)))
                         (:temse.cli/exit (ex-data e))))))
            shown #(string/replace (str %) (str directory) "")]
        {:code code, :out (shown out), :err (shown err)})
      (finally
        (delete-all directory)))))

(def ^:private corpus
  {"corpus/accept/a.eml" (mail "nothing")
   "corpus/reject/deep/r.eml" (mail "reject")
   "corpus/defer/d.eml" (mail "defer")
   "corpus/discard/d.eml" (mail "discard")
   "corpus/quarantine/q.eml" (mail "quarantine")})

(deftest verdicts-are-those-of-the-folders
  (is (= {:code 0
          :err ""
          :out (str "    ok  accept  /corpus/accept/a.eml\n"
                    "    ok  defer  /corpus/defer/d.eml: 451 4.7.1 Service unavailable - try again later; ({:score 7})\n"
                    "    ok  discard  /corpus/discard/d.eml\n"
                    "    ok  quarantine  /corpus/quarantine/q.eml: read me first\n"
                    "    ok  reject  /corpus/reject/deep/r.eml: 550 5.7.1 no lottery; (lottery in subject)\n"
                    "5 mails: 5 as expected\n")}
         (run corpus "examples/add_header.clj" "/corpus"))))

(deftest other-verdicts-are-named
  (is (= {:code 1
          :err ""
          :out (str "not ok  accept, not reject  /reject/a.eml: add-header X-0: v; add-header X-1: v;"
                    " add-header X-2: v; and 2 more changes\n"
                    "        accept  /other/o.eml\n"
                    "2 mails: 1 not as expected, 1 of which no verdict is expected\n")}
         (run {"reject/a.eml" (mail "change"), "other/o.eml" (mail "nothing")}
           "examples/add_header.clj" "/reject/a.eml" "/other"))))

(deftest mails-in-no-such-folder-may-be-expected-to-get-a-verdict
  (is (= [1 "not ok  discard, not accept  /o.eml: no recipients are left\n1 mail: 1 not as expected\n"]
         ((juxt :code :out) (run {"o.eml" (mail "delete")} "examples/add_header.clj" "/o.eml"
                              "--expect" "accept" "--rcpt" "recipient@example.com")))))

(deftest a-filter-that-fails-is-never-as-expected
  (is (= [1 (str "not ok  defer  /defer/f.eml: the filter failed: the handler of :end-of-message threw"
                 " java.lang.IllegalStateException: a mistake in the filter: 451 4.7.1 Service unavailable -"
                 " try again later\n1 mail: 1 at which the filter failed\n")]
         ((juxt :code :out) (run {"defer/f.eml" (mail "fail")} "examples/add_header.clj" "/defer")))))

(deftest mailboxes-have-many-mails
  (let [mbox (str "From a@example.org Thu Jan  1 00:00:00 2026\n" (mail "reject")
                  "\nFrom a@example.org Thu Jan  1 00:00:00 2026\n" (mail "nothing"))]
    (is (= [1 (str "    ok  reject  /reject/m.mbox 1: 550 5.7.1 no lottery; (lottery in subject)\n"
                   "not ok  accept, not reject  /reject/m.mbox 2\n"
                   "2 mails: 1 as expected, 1 not as expected\n")]
           ((juxt :code :out) (run {"reject/m.mbox" mbox} "examples/add_header.clj" "/reject"))
           ((juxt :code :out) (run {"reject/m.mbox" mbox} "examples/add_header.clj" "--mbox" "/reject/m.mbox"))))))

(deftest quiet-prints-what-is-not-as-expected
  (is (= [0 "5 mails: 5 as expected\n"]
         ((juxt :code :out) (run corpus "examples/add_header.clj" "/corpus" "-q")))))

(deftest the-mta-decides-what-clients-receive
  (is (re-find #": 451 4.3.2 Please" (:out (run corpus "examples/add_header.clj" "/corpus/defer" "--mta" "sendmail")))))

(deftest a-running-milter-is-tried-too
  (milter/with-milter [server {:port 0, :handlers handlers}]
    (is (= [0 "5 mails: 5 as expected\n"]
           ((juxt :code :out) (run corpus (milter/milter-address server) "/corpus" "-q"))))))

(deftest what-cannot-be-run-is-an-error
  (testing "of one mail: the others are tried"
    (let [{:keys [code out err]} (run corpus "examples/add_header.clj" "/nowhere.eml" "/corpus/accept")]
      (is (= [2 "temse: /nowhere.eml: there is no such file\n"] [code err]))
      (is (string/ends-with? out "2 mails: 1 as expected, 1 that could not be played\n"))))
  (are [args problem] (= [2 problem] ((juxt :code :err) (apply run corpus args)))
    [] "name the filter, and mails; temse try --help shows what it takes"
    ["examples/add_header.clj"] "there is no mail to try"
    ["examples/add_header.clj" "/corpus" "--expect" "ham"]
    "--expect is one of accept, defer, discard, quarantine, reject, not \"ham\""))

(deftest what-strangers-write-steers-no-terminal
  (is (not (re-find #"\u001b" (:out (run {"a.eml" "Subject: \u001b[31m\nX-Do: reject\n\n"} "examples/add_header.clj" "/a.eml"))))))

(deftest a-directory-that-lies-in-itself-is-read-once
  (let [directory (Files/createTempDirectory "temse-try-" (make-array FileAttribute 0))
        link (.resolve directory "again")]
    (spit (str directory "/a.eml") (mail "nothing"))
    (Files/createSymbolicLink link directory (make-array FileAttribute 0))
    (try
      (is (= [(str directory "/a.eml")] (mails/tree (str directory))))
      (finally
        (Files/delete link)
        (delete-all (.toFile directory))))))
