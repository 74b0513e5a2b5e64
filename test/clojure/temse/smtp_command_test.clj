(ns temse.smtp-command-test
  "The command smtp: scripts, what they expect, and what is printed. What the MTAs reply is compared with the
  real ones in temse.dialogues."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.impl.command.smtp :as command]
   [temse.impl.command.smtp-script :as script]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.smtp :as smtp]
   [temse.milter :as milter :refer [respond]])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io File StringWriter)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

;; ---- a filter

(defn- on-recipient
  [{:keys [address]} context]
  (if (string/starts-with? address "<nobody@")
    (respond context (act/reply-code 550 "5.1.1" "no such user"))
    context))

(defn- on-header
  [{:keys [name value]} context]
  (milter/update-message context assoc name value))

(defn- on-end-of-message
  [_event context]
  (case (get (milter/message context) "X-Do")
    "reject" (respond context (assoc (act/reply-code 550 "5.7.1" "no lottery") :why "lottery"))
    "discard" (respond context (act/discard))
    "quarantine" (respond context (act/quarantine "read me first"))
    "fail" (throw (IllegalStateException. "a mistake in the filter"))
    "change" (respond context
                      (act/add-header "X-Seen" (or (milter/get-macro context "auth_authen") "nobody"))
                      (act/add-recipient "<extra@example.com>")
                      (act/change-body "new\r\n"))
    context))

(def handlers
  {:connect (fn [{:keys [address]} context]
              (if (= "192.0.2.66" address) (respond context (act/reject)) context))
   :mail (fn [_ context] (milter/get-macro context "auth_authen") context)
   :recipient #'on-recipient
   :header #'on-header
   :end-of-message #'on-end-of-message
   :unknown (fn [_ context] (respond context (act/reply-code 500 "5.5.1" "what?")))})

;; ---- running

(defn- with-file
  "Calls f with the path of a file of this text."
  [suffix text f]
  (let [file (File/createTempFile "temse_smtp_" suffix)]
    (try
      (io/copy (Text/encodeBytes text) file)
      (f (str file))
      (finally
        (io/delete-file file)))))

(defn- run
  "Runs the command with scripts at the handlers, and returns {:code :out :err}. The paths of the scripts are s1, s2 and so on
  in what is printed."
  [options & scripts]
  (letfn [(with-scripts [paths scripts f]
            (if-let [[text & more] (seq scripts)]
              (with-file ".smtp" text #(with-scripts (conj paths %) more f))
              (f paths)))]
    (with-scripts [] scripts
      (fn [paths]
        (let [out (StringWriter.)
              err (StringWriter.)
              code (binding [*out* out, *err* err]
                     (with-redefs [filter-file/load-filter (constantly {:handlers handlers})]
                       (try
                         (command/run (concat ["examples/add_header.clj"] paths options))
                         (catch ExceptionInfo e
                           (.write err (str (ex-message e)))
                           (:temse.cli/exit (ex-data e))))))
              shown #(reduce (fn [text [n path]] (string/replace text path (str "s" (inc (long n)))))
                             (str %)
                             (map-indexed vector paths))]
          {:code code, :out (shown out), :err (shown err)})))))

(defn- script-of
  [& lines]
  (str (string/join "\n" lines) "\n"))

(def ^:private envelope
  ["EHLO client.example.org" "MAIL FROM:<a@example.org>" "RCPT TO:<b@example.com>" "DATA"])

(defn- mail-script
  "Returns a script of a mail with this X-Do field, and what follows."
  [word & more]
  (apply script-of (concat envelope ["Subject: hi" (str "X-Do: " word) "" "hello" "."] more)))

;; ---- what is shown

(deftest both-worlds-are-shown
  (is (= {:code 0
          :err ""
          :out (script-of
                 "    MTA  --> connect client.example.org 192.0.2.1 40110"
                 "         <-- continue"
                 "S: 220 mx.example.com ESMTP Postfix"
                 "C: HELO me"
                 "S: 250 mx.example.com"
                 "C: MAIL FROM:<a@example.org>"
                 "    MTA  --> mail <a@example.org>"
                 "         <-- continue"
                 "S: 250 2.1.0 Ok"
                 "C: RCPT TO:<nobody@example.com>"
                 "    MTA  --> recipient <nobody@example.com>"
                 "         <-- 550 5.1.1 no such user"
                 "S: 550 5.1.1 no such user"
                 "C: RCPT TO:<b@example.com>"
                 "    MTA  --> recipient <b@example.com>"
                 "         <-- continue"
                 "S: 250 2.1.5 Ok"
                 "C: DATA"
                 "S: 354 End data with <CR><LF>.<CR><LF>"
                 "C: Subject: hi"
                 "C: X-Do: change"
                 "C: "
                 "C: ..hello"
                 "C: ."
                 "    MTA  --> header Subject: hi"
                 "         <-- continue"
                 "    MTA  --> header X-Do: change"
                 "         <-- continue"
                 "    MTA  --> end-of-message"
                 "         <-- add-header X-Seen: nobody"
                 "         <-- add-recipient <extra@example.com>"
                 "         <-- change-body, 5 bytes"
                 "         <-- continue"
                 "    MTA  --> abort"
                 "S: 250 2.0.0 Ok: queued as 4TEMSE0001"
                 "  => delivered"
                 "    MAIL FROM:<a@example.org>"
                 "  - RCPT TO:<nobody@example.com>"
                 "    RCPT TO:<b@example.com>"
                 "  + RCPT TO:<extra@example.com>"
                 "    Subject: hi"
                 "    X-Do: change"
                 "  + X-Seen: nobody"
                 "    "
                 "  - .hello"
                 "  + new"
                 "C: QUIT"
                 "S: 221 2.0.0 Bye")}
         (run [] (script-of "HELO me" "MAIL FROM:<a@example.org>" "RCPT TO:<nobody@example.com>"
                            "RCPT TO:<b@example.com>" "DATA" "Subject: hi" "X-Do: change" "" "..hello" "." "QUIT")))))

(deftest quiet-scripts-print-what-is-unmet-only
  (is (= {:code 0, :out "", :err ""} (run ["-q"] (mail-script "change" ".expect 250"))))
  (is (= {:code 1, :out "", :err "temse: s1:10: expected 550, but the reply is 250 2.0.0 Ok: queued as 4TEMSE0001\n"}
         (run ["-q"] (mail-script "change" ".expect 550")))))

(deftest what-strangers-write-steers-no-terminal
  (let [{:keys [out err]} (run [] (script-of "EHLO a\u001b[31m" "MAIL FROM:<\u0007@example.org>" ".expect 550 \u001b"))]
    (is (not (re-find #"[\u0000-\u0009\u000b-\u001f]" (str out err))))))

;; ---- expectations

(deftest what-is-expected-of-replies
  (are [expectations problem]
       (= [(if problem 1 0) (if problem (str "temse: s1:" problem "\n") "")]
          ((juxt :code :err)
           (run ["-q"] (apply script-of "EHLO c" "MAIL FROM:<a@example.org>" "RCPT TO:<nobody@example.com>" expectations))))
       [".expect 550"] nil
       [".expect 5xx"] nil
       [".expect 550 5.1.1"] nil
       [".expect 550 5.1.1 such"] nil
       [".expect 550 /^no .* user$/"] nil
       [".expect 250 2.1.0" "# of RCPT" "" ".expect 550"] nil
       [".expect 551"] "4: expected 551, but the reply is 550 5.1.1 no such user"
       [".expect 550 5.7.1"] "4: expected 550 5.7.1, but the reply is 550 5.1.1 no such user"
       [".expect 550 5.1.1 other"] "4: expected 550 5.1.1 other, but the reply is 550 5.1.1 no such user"
       [".expect 550 /^user/"] "4: expected 550 /^user/, but the reply is 550 5.1.1 no such user"
       [".expect 250" ".expect 250"] "5: expected 250, but the reply is 550 5.1.1 no such user"
       [".expect 550" ".expect 550"] "4: expected 550, but the reply is 250 2.1.0 Ok"))

(deftest what-is-expected-of-mails
  (are [word expectation problem]
       (= [(if problem 1 0) (if problem (str "temse: s1:10: expected " (subs expectation 8) ", but " problem "\n") "")]
          ((juxt :code :err) (run ["-q"] (mail-script word expectation))))
       "change" ".expect delivered" nil
       "change" ".expect discarded" "the mail was delivered"
       "change" ".expect header X-Seen" nil
       "change" ".expect header x-seen: nobo" nil
       "change" ".expect header X-Seen: /^nobody$/" nil
       "change" ".expect header X-Seen: somebody" "X-Seen is \"nobody\""
       "change" ".expect no header X-Other" nil
       "change" ".expect header X-Other" "there is no field X-Other"
       "change" ".expect no header X-Seen" "X-Seen is \"nobody\""
       "change" ".expect body new" nil
       "change" ".expect no body hello" nil
       "change" ".expect body hello" "the body is \"new\\r\\n\""
       "change" ".expect recipient extra@example.com" nil
       "change" ".expect no recipient <b@example.com>" "the recipients are <b@example.com>, <extra@example.com>"
       "change" ".expect sender a@example.org" nil
       "change" ".expect no quarantine" nil
       "change" ".expect quarantine" "it is not quarantined"
       "quarantine" ".expect quarantine read me" nil
       "quarantine" ".expect quarantine other" "it is quarantined: read me first"
       "quarantine" ".expect delivered" "the mail was quarantined"
       "quarantine" ".expect header Subject: hi" nil
       "discard" ".expect discarded" nil
       "discard" ".expect header Subject" "the mail was discarded"
       "reject" ".expect refused" nil
       "reject" ".expect 550 5.7.1 no lottery" nil
       "reject" ".expect body hello" "the mail was refused: 550 5.7.1 no lottery"
       "fail" ".expect deferred" nil))

(deftest an-expectation-of-a-mail-that-has-not-ended-is-unmet
  (is (= "temse: s1:2: expected delivered, but no mail has ended yet\n"
         (:err (run ["-q"] (script-of "EHLO c" ".expect delivered"))))))

(deftest expectations-may-stand-between-data-and-the-content
  (is (= 0 (:code (run ["-q"] (script-of "EHLO c" "MAIL FROM:<a@example.org>" "RCPT TO:<b@example.com>" "DATA"
                                         ".expect 250" ".expect 250" ".expect 354"
                                         "# a line of the header?" "" "#" "" "body" "."
                                         ".expect body /^# a line of the header\\?\\r\\n\\r\\n#\\r\\n\\r\\nbody\\r\\n$/"
                                         ".expect 250"))))))

(deftest each-script-has-a-connection-of-its-own-and-fails-alone
  (let [{:keys [code err]} (run ["-q"]
                             (script-of ".expect 554")
                             (script-of ".expect 220" "RCPT TO:<b@example.com>" ".expect 503")
                             (script-of ".expect 421"))]
    (is (= 1 code))
    (is (= ["s1:1" "s3:1"] (re-seq #"s\d:\d" err)))))

;; ---- directives

(deftest clients-connect-and-leave
  (is (= {:code 0, :err ""}
         (dissoc (run ["-q"] (script-of ".connect 192.0.2.66 bad.example.net" ".expect 554"
                                        "EHLO bad.example.net" "MAIL FROM:<a@example.org>" ".expect 550 5.7.1"
                                        ".disconnect"
                                        ".connect 2001:db8::1" ".expect 220"
                                        "EHLO c" "MAIL FROM:<a@example.org>" ".expect 250"
                                        ".connect" ".expect 220" "RCPT TO:<b@example.com>" ".expect 503"))
                 :out)))
  (is (= "temse: s1:2: the connection has ended; .connect opens another\n"
         (:err (run ["-q"] (script-of "QUIT" "NOOP"))))))

(deftest macros-have-a-value-from-then-on
  (is (= {:code 0, :err ""}
         (dissoc (run ["-q"] (script-of "EHLO c" ".macro auth_authen=alice" "MAIL FROM:<a@example.org>"
                                        "RCPT TO:<b@example.com>" "DATA" "X-Do: change" "" "." ".expect header X-Seen: alice"
                                        ".connect" "EHLO c" "MAIL FROM:<a@example.org>"
                                        "RCPT TO:<b@example.com>" "DATA" "X-Do: change" "" "." ".expect header X-Seen: alice"))
                 :out)))
  (is (= [2 "s1:2: the macro nonsense would not be sent, since neither the MTA nor the filter lists it"]
         ((juxt :code :err) (run ["-q"] (script-of "EHLO c" ".macro nonsense=1")))))
  (is (= [2 "s1:2: a macro has a stage before .connect only; it is mail here"]
         ((juxt :code :err) (run ["-q"] (script-of "EHLO c" ".macro mail:nonsense=1"))))))

(deftest lines-that-are-no-commands-are-sent-too
  (is (= {:code 0, :err ""}
         (dissoc (run ["-q"] (script-of "EHLO c" ".send .foo" ".expect 500 5.5.1 what?" ".send" ".expect 500 5.5.2"
                                        ".send # no comment" ".expect 500 5.5.1 what?"))
                 :out))))

(deftest mistakes-in-a-script-name-their-place
  (are [line problem] (= [2 problem] ((juxt :code :err) (run ["-q"] (script-of "" line))))
    ".expct 250" "s1:2: there is no .expct; did you mean .expect? A line for the MTA that begins with a dot is sent by .send"
    ".expect" "s1:2: .expect needs a code such as 550, or what becomes of the mail; .help shows all"
    ".expect heder X" "s1:2: nothing can be expected of heder; did you mean header?"
    ".expect xx" "s1:2: nothing can be expected of xx; .expect takes a code such as 550, or one of header, body, sender, recipient, quarantine, delivered, discarded, refused, deferred"
    ".expect body" "s1:2: .expect body needs what it is to be"
    ".expect delivered well" "s1:2: .expect delivered takes nothing more, not \"well\""
    ".expect 250 /(/" "s1:2: /(/ is no regular expression: Unclosed group near index 1"
    ".connect here" "s1:2: .connect needs an address such as 192.0.2.1 or 2001:db8::1, not \"here\""
    ".connect 192.0.2.1 a b" "s1:2: .connect takes an address and a name, not \"192.0.2.1 a b\""
    ".macro x" "s1:2: .macro needs NAME=VALUE or STAGE:NAME=VALUE, such as auth_authen=alice, not \"x\""
    ".disconnect now" "s1:2: .disconnect takes nothing more, not \"now\""))

(deftest wrong-arguments-are-errors
  (are [args problem]
       (= problem (try (command/run args) (catch ExceptionInfo e (ex-message e))))
       [] "name the filter: its file, or an address such as inet:20025@127.0.0.1; temse smtp --help shows what it takes"
       ["nowhere.clj" "nowhere.smtp"] "nowhere.smtp: there is no such file"
       ["20025" "--deps" "deps.edn" "bin/temse"] "the milter at 20025 runs already; arguments and a class path go with the file of a filter"
       ["20025" "--quite"] "there is no option --quite; did you mean --quiet?; temse smtp --help shows what it takes"))

;; ---- filters elsewhere, and filters that are gone

(deftest a-filter-is-loaded-from-its-file-with-its-arguments
  (with-file ".smtp" (script-of "EHLO c" "MAIL FROM:<a@example.org>" "RCPT TO:<b@example.com>" "DATA" "Subject: Jackpot"
                                "" "." ".expect 550 5.7.1 jackpot")
    #(is (= 0 (command/run ["examples/refuse_words.clj" "-q" % "--" "lottery" "jackpot"])))))

(deftest a-filter-is-any-milter-at-an-address
  (milter/with-milter [server {:port 0, :handlers handlers}]
    (let [[connection greeting] (smtp/open (milter/milter-address server) {:mta :sendmail})]
      (is (= 220 (:smtp-code (:reply greeting))))
      (smtp/send-line! connection "EHLO c")
      (is (= [550 "5.1.1" "<nobody@example.com>... no such user"]
             ((juxt :smtp-code :enhanced-code :text)
              (:reply (do (smtp/send-line! connection "MAIL FROM:<a@example.org>")
                          (smtp/send-line! connection "RCPT TO:<nobody@example.com>"))))))
      (testing "that ends: mail is deferred from then on"
        (milter/stop-milter server)
        (is (= [451 451 250]
               (map #(:smtp-code (:reply (smtp/send-line! connection %)))
                    ["RCPT TO:<b@example.com>" "RCPT TO:<c@example.com>" "RSET"])))
        (is (= 451 (:smtp-code (:reply (smtp/send-line! connection "MAIL FROM:<a@example.org>")))))
        (is (nil? (:closed? (smtp/close! connection))))))))

(deftest a-filter-that-fails-is-shown-where-it-fails
  (is (re-find #"(?ms)^ +!!! [^\n]*a mistake in the filter.*^S: 451 4.7.1" (:out (run [] (mail-script "fail"))))))

(deftest help-names-every-directive
  (doseq [word @#'script/words]
    (is (some #(string/starts-with? % word) script/help) word)))
