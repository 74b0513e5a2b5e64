(ns temse.gallery.regex-test
  "The filter gallery/regex.clj decides what milter-regex decides, but for the differences that
  doc/gallery.org explains."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :refer [for-all]]
   [temse.gallery.support :as support]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.milter :as milter]
   [temse.test :as mt])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io File)
   (java.util Base64)))

(set! *warn-on-reflection* true)

;; ---- what milter-regex answered

(def ^:private cases
  (delay (edn/read-string (slurp (io/resource "gallery/milter-regex-cases.edn")))))

(defn- with-file
  "Returns what f returns for the path of a file with a text."
  [text f]
  (let [file (File/createTempFile "milter-regex" ".conf")]
    (try
      (spit file text)
      (f (str file))
      (finally
        (.delete file)))))

(def ^:private loaded
  (delay (with-file "accept helo /^x$/" #(support/load-filter "regex" %))))

(defn- call
  "Calls a function of the gallery, whose file is loaded once."
  [function & arguments]
  @loaded
  (apply @(resolve function) arguments))

(defn- load-rules
  [rules & arguments]
  (with-file rules #(apply call 'regex/filter (concat arguments [%]))))

(defn- verdict
  "Returns what the last of some actions means, nil where the filter goes on."
  [actions]
  (let [{:keys [action smtp-code enhanced-code text]} (peek actions)]
    (case action
      (nil :continue) nil
      (:accept :discard :reject :temporary-failure) {:verdict action}
      :reply-code {:verdict (if (< (long smtp-code) 500) :temporary-failure :reject)
                   :code smtp-code, :enhanced enhanced-code, :text text})))

(defn- events
  "Returns the events of a message, each with :at and :nth, up to where it is aborted."
  [{:keys [connect hello mail recipients headers body abort-after]}]
  (let [numbered (fn [at events] (map-indexed #(assoc %2 :at at, :nth %1) events))
        all (concat
              (when-let [{:keys [host-name ^String address]} connect]
                [(merge {:at :connect, :event :connect, :host-name host-name}
                        (if address
                          {:family (if (string/includes? address ":") :inet6 :inet), :port 40110, :address address}
                          {:family :unknown}))])
              (when hello
                [{:at :hello, :event :hello, :greeting hello}])
              [{:at :mail, :event :mail, :sender mail}]
              (numbered :recipient (for [address recipients] {:event :recipient, :address address}))
              (numbered :header (for [[name value] headers] {:event :header, :name name, :value value}))
              [{:at :end-of-headers, :event :end-of-headers}]
              (numbered :body (for [^String piece body] {:event :body, :data (.getBytes piece "UTF-8")}))
              [{:at :end-of-message, :event :end-of-message}])]
    (if abort-after
      (let [[before behind] (split-with #(not= abort-after (:at %)) all)]
        (concat before (take-while #(= abort-after (:at %)) behind) [{:at :abort, :event :abort}]))
      all)))

(defn- sent-event
  [session {:keys [macros]} event]
  (when (#{:connect :hello :mail :recipient} (:event event))
    (mt/send-macros session (:event event)
                    (update-keys (get macros (:event event) {}) #(string/replace % #"[{}]" ""))))
  (mt/send-event session (dissoc event :at :nth)))

(defn- refused?
  [{:keys [verdict]}]
  (#{:reject :temporary-failure} verdict))

(defn- outcome
  "Plays a message and returns what becomes of it, as the cases have it, and ::closed? if the MTA asks
  no more on this connection."
  [session message]
  (let [refused-all? (fn [answers] (and (= (count answers) (count (:recipients message)))
                                        (every? refused? answers)))]
    (loop [[{:keys [at] :as event} & more] (events message), answers []]
      (let [actions (sent-event session message event)
            quarantine (first (filter #(= :quarantine (:action %)) actions))
            found (if quarantine
                    {:verdict :quarantine, :reason (:reason quarantine)}
                    (verdict actions))
            answers (cond-> answers (= :recipient at) (conj (or found {:verdict :continue})))
            here (cond-> (select-keys event [:at :nth])
                   (seq answers) (assoc :recipients answers))]
        (cond
          (= :abort at) (assoc here :verdict :none)
          (and found (= :recipient at) (refused? found) (not (refused-all? answers))) (recur more answers)
          found (do
                  (when (and (= :recipient at) (refused? found))
                    (mt/send-event session {:event :abort}))
                  (cond-> (merge here found)
                    (#{:connect :hello} at) (assoc ::closed? true)))
          :else (recur more answers))))))

(defn- outcomes
  "Plays the messages of a case over one connection, and returns what becomes of each."
  [filter messages]
  (with-open [session (mt/connect-to filter)]
    (loop [[message & more] messages, found []]
      (cond
        (nil? message) found

        (::closed? (peek found))
        (recur more (conj found {:at :closed, :verdict :accept, ::closed? true}))

        :else
        (recur more (conj found (outcome session message)))))))

(defn- as-expected
  "Returns what became of a message, without what is not said of it."
  [found expected]
  (cond-> (dissoc found ::closed?)
    (not (contains? expected :recipients)) (dissoc :recipients)))

(defn- refused
  [text & place]
  (merge {:verdict :reject, :code 554, :enhanced "5.7.1", :text text} (apply hash-map place)))

(defn- deferred
  [text]
  {:verdict :temporary-failure, :code 451, :enhanced "4.7.1", :text text})

(def ^:private differences
  "What ours decides where milter-regex is at fault, by the reason that doc/gallery.org gives."
  {:each-recipient
   {"envrcpt-one-of-many/2" [{:at :header, :nth 0, :verdict :accept}]
    "envrcpt-one-of-many/3" [{:at :header, :nth 0, :verdict :accept
                              :recipients [(refused "that mailbox is closed")
                                           {:verdict :continue}]}]
    "envrcpt-one-of-many/4" [{:at :header, :nth 0, :verdict :accept
                              :recipients [{:verdict :continue}
                                           (refused "that mailbox is closed")]}]
    "envrcpt-one-of-many/5" [{:at :header, :nth 0, :verdict :accept
                              :recipients [{:verdict :continue}
                                           (refused "that mailbox is closed")
                                           {:verdict :continue}]}]
    "envrcpt-one-of-many/7" [{:at :header, :nth 0, :verdict :accept
                              :recipients [{:verdict :continue} {:verdict :continue}]}]
    "envrcpt-and-header/4" [(refused "not for carol" :at :header, :nth 0)]
    "recipients-cleared/2" [{:at :header, :nth 0, :verdict :accept
                             :recipients [(refused "sender and recipient")
                                          {:verdict :continue}]}]
    "recipients-cleared/4" [{:at :header, :nth 0, :verdict :accept
                             :recipients [{:verdict :continue}
                                          (deferred "helo and recipient")
                                          {:verdict :continue}]}]
    "tempfail-recipient/2" [{:at :header, :nth 0, :verdict :accept
                             :recipients [(deferred "slowly")
                                          {:verdict :continue}]}]
    "tempfail-recipient/3" [{:at :header, :nth 0, :verdict :accept
                             :recipients [{:verdict :continue}
                                          (deferred "slowly")]}]
    "tempfail-recipient/5" [{:at :header, :nth 0, :verdict :accept
                             :recipients [(refused "never")
                                          (deferred "slowly")
                                          {:verdict :continue}]}]
    "tempfail-with-later-rules/2" [{:at :end-of-message, :verdict :accept
                                    :recipients [{:verdict :continue}
                                                 (deferred "slowly")]}]}

   :quarantine
   {"quarantine-abort/1" [{:at :abort, :verdict :none} {:at :mail, :verdict :accept}]
    "quarantine-abort/2" [{:at :abort, :verdict :none}
                          {:at :end-of-message, :verdict :quarantine, :reason "left over"}]
    "quarantine-abort/3" [{:at :end-of-message, :verdict :quarantine, :reason "left over"}
                          {:at :mail, :verdict :accept}]
    "quarantine-abort/4" [{:at :mail, :verdict :accept}
                          {:at :end-of-message, :verdict :quarantine, :reason "left over"}]
    "quarantine-abort/5" [{:at :abort, :verdict :none} {:at :mail, :verdict :accept} {:at :mail, :verdict :accept}]
    "quarantine-before-body/4" [(refused "word" :at :body, :nth 0)
                                {:at :end-of-message, :verdict :accept}]
    "text-eight-bit/3" [{:at :end-of-message, :verdict :quarantine, :reason "geprüft"}]}

   :macros-of-this-message
   {"term-macro-second/3" [{:at :end-of-headers, :verdict :accept}
                           (refused "no mail for those" :at :header, :nth 1)]
    "term-macro-second/4" [(refused "no mail for those" :at :header, :nth 1)
                           {:at :end-of-headers, :verdict :accept}]
    "term-macro-reject-twice/3" [(refused "not with PLAIN" :at :mail)
                                 (refused "not with PLAIN" :at :mail)]
    "term-macro-reject-twice/4" [{:at :header, :nth 0, :verdict :accept}
                                 (refused "not with PLAIN" :at :mail)]}

   :every-line
   {"body-nul/2" [(refused "behind" :at :body, :nth 0)]
    "not-body/4" [{:at :end-of-message, :verdict :accept}]
    "max-lines/7" [{:at :end-of-message, :verdict :accept}
                   (refused "found" :at :body, :nth 0)
                   (refused "found" :at :body, :nth 0)]}})

(deftest decides-as-milter-regex-does-except-where-that-is-at-fault
  (let [different (into {} (vals differences))]
    (doseq [[[rules arguments] same-rules] (group-by (juxt :rules :arguments) (remove :check @cases))
            :let [filter (apply load-rules rules arguments)]
            {:keys [id messages]} same-rules
            :let [expected (different id (mapv :expect messages))]]
      (testing id
        (is (= expected (mapv as-expected (outcomes filter messages) expected)))))))

(deftest a-difference-is-one
  (let [by-id (into {} (map (juxt :id identity)) @cases)]
    (doseq [[id expected] (into {} (vals differences))]
      (testing id
        (is (not= expected (mapv :expect (:messages (by-id id)))))))))

(deftest a-faulty-file-is-refused-with-its-line
  (let [lines {"error-text-lines/1" 4}]
    (doseq [{:keys [id rules check]} (filter :check @cases)]
      (testing id
        (let [{:keys [line column]} (try (load-rules rules) (catch Exception e (ex-data e)))]
          (is (= (lines id (:line check)) line))
          (is (pos-int? column)))))))

;; ---- what the cases do not show

(defn- settled
  "Returns the verdict of a mail, where it was settled and with what text, and the modifications."
  [rules mail & [options]]
  (let [{:keys [verdict at reply modifications]} (mt/run-message (load-rules rules) mail (or options {}))]
    (cond-> [verdict at]
      (:text reply) (conj (:text reply))
      (seq modifications) (conj (mapv :reason modifications)))))

(deftest a-client-without-helo-does-not-pass-by-the-rules-for-connections
  (let [mail {:event :mail, :sender "<a@example.org>"}
        connect {:event :connect, :host-name "pool.example.org", :family :inet, :port 1, :address "192.0.2.1"}]
    (are [rules text]
         (= text (with-open [session (mt/connect-to (load-rules rules))]
                   (mt/send-event session connect)
                   (:text (peek (mt/send-event session mail)))))
         "reject \"no pools\" connect /^pool/ //" "no pools"
         "reject \"say your name\" helo /\\./n" "say your name"
         "reject \"both\" connect /^pool/ // and envfrom /^<a/" "both")))

(deftest a-rule-for-a-macro-of-the-connection-decides-at-helo
  (is (= [:reject :hello "not here"]
         (settled "reject \"not here\"\nmacro /^{daemon_name}$/ /^smtps$/" {}
                  {:macros {:connect {"daemon_name" "smtps"}}}))))

(deftest what-no-mta-can-discard-at-helo-is-discarded-with-each-mail
  (is (= [[:discard :mail] [:discard :mail]]
         (with-open [session (mt/connect-to (load-rules "discard helo /^client/\nreject \"x\" body /x/"))]
           (vec (repeatedly 2 #((juxt :verdict :at) (mt/run-message session {}))))))))

(deftest an-empty-text-is-a-text
  (is (= [:reject :hello ""] (settled "reject \"\" helo //" {}))))

(deftest a-quarantine-of-the-connection-holds-each-of-its-mails
  (let [filter (load-rules "quarantine \"pool\" connect /^client/ //\nreject \"word\" body /xyzzy/")]
    (with-open [session (mt/connect-to filter)]
      (is (= [["pool"] [] ["pool"]]
             (vec (for [body ["one\r\n" "xyzzy\r\n" "two\r\n"]]
                    (mapv :reason (:modifications (mt/run-message session {:body body}))))))))))

(deftest a-mail-without-a-header-does-not-pass-by-rules-for-missing-macros
  (is (= [:reject :end-of-headers "log in"]
         (settled "reject \"log in\"\nnot macro /^{auth_authen}$/ /./" {:headers []}))))

(deftest of-several-recipients-each-counts-in-any-order
  (let [rules "reject \"not for carol\" envrcpt /^<carol@/ and header /^Subject$/ /invoice/
               accept ( not envrcpt /@example/ ) and header /^X-Fast$/ //"]
    (are [recipients headers expected] (= expected (settled rules {:recipients recipients, :headers headers}))
      ["<carol@example.com>" "<bob@example.com>"] [["Subject" "invoice"]] [:reject :header "not for carol"]
      ["<bob@example.com>" "<carol@example.com>"] [["Subject" "invoice"]] [:reject :header "not for carol"]
      ["<bob@example.com>" "<anna@example.com>"] [["Subject" "invoice"]] [:accept :end-of-headers]
      ["<bob@example.com>" "<x@elsewhere>"] [["X-Fast" "1"] ["Subject" "invoice"]] [:accept :header])))

(deftest a-recipient-that-was-refused-is-not-in-the-mail
  (is (= [:accept :end-of-headers]
         (settled "reject \"closed\" envrcpt /^<closed@/
                   reject \"mail for closed\" envrcpt /closed/ and header /^Subject$/ //"
                  {:recipients ["<closed@example.com>" "<bob@example.com>"], :headers [["Subject" "x"]]}))))

(deftest a-recipient-that-cannot-matter-lets-the-mail-pass-at-once
  (is (= [:accept :recipient]
         (settled "reject \"no\" envfrom /^<eve@/ and envrcpt /^<bob@/" {:sender "<a@example.org>"}))))

(deftest long-lines-are-examined-to-their-end
  (let [x #(apply str (repeat % "x"))]
    (are [body] (= [:reject :body "found"] (settled "reject \"found\" body /needle/" {:body body}))
      (str (x 3000) "needle\r\n")
      (str (x 2045) "needle\r\n")
      (str (x 65533) "needle" (x 65533) "\r\n")
      (str (x 200000) "needle" (x 200000)))
    (is (= [:accept :end-of-message] (settled "reject \"found\" body /needle/" {:body (x 200000)})))))

(defn- joined
  "Returns a generator of texts of some of the given ones."
  [texts least most]
  (gen/fmap string/join (gen/vector (gen/elements texts) least most)))

(defn- scanned
  "Returns the lines that a scanner finds in pieces of a body."
  [scan pieces]
  (into (into [] (mapcat #(scan (.getBytes ^String % "UTF-8"))) pieces) (scan)))

(defspec lines-do-not-depend-on-how-a-body-is-cut 200
  (for-all [pieces (gen/vector (joined ["a" "é" "\r" "\n" "\r\n" "\u0000" " b"] 0 6) 0 6)]
    (= (scanned (call 'body-lines/raw 0) [(string/join pieces)])
       (scanned (call 'body-lines/raw 0) pieces)
       (scanned (call 'body-lines/decoded [["Subject" "x"]] 0) pieces))))

(deftest the-flag-d-decodes
  (let [encode #(.encodeToString (Base64/getMimeEncoder) (.getBytes ^String %1 ^String %2))
        rules "reject \"subject\" header /^Subject$/ /gr[üu]*n.*viagra/id
               reject \"body\" body /^Straße [0-9]*$/d
               tempfail \"as it is\" body /^=20/"]
    (are [mail expected] (= expected ((juxt first peek) (settled rules mail)))
      {:headers [["Subject" "=?utf-8?q?GR=75N?= =?utf-8?b?ZSBWaWFncmE=?="]]} [:reject "subject"]
      {:headers [["Subject" "=?iso-8859-1?q?Gr=FCn_viagra?="]]} [:reject "subject"]
      {:headers [["Subject" "=?utf-8?q?blue?="]]} [:accept :end-of-message]
      {:headers [["Content-Type" "text/plain; charset=iso-8859-1"] ["Content-Transfer-Encoding" "quoted-printable"]]
       :body "Stra=DFe =\r\n12\r\n"} [:reject "body"]
      {:headers [["Content-Type" "text/plain; charset=utf-8"] ["Content-Transfer-Encoding" "base64"]]
       :body (encode "Hallo\r\nStraße 7" "UTF-8")} [:reject "body"]
      {:headers [["Content-Type" "text/plain; charset=utf-16be"] ["Content-Transfer-Encoding" "base64"]]
       :body (encode "Straße 7\r\nx" "UTF-16BE")} [:reject "body"]
      {:headers [["Content-Type" "multipart/mixed; boundary=b"]]
       :body (str "--b\r\n\r\none\r\n--b\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\nStra\u00dfe 7")}
      [:accept :end-of-message]
      {:headers [["Content-Type" "multipart/mixed; boundary=b"]]
       :body (.getBytes "--b\r\n\r\none\r\n--b\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\nStra\u00dfe 7"
                        "ISO-8859-1")}
      [:reject "body"]
      {:headers [["Content-Transfer-Encoding" "quoted-printable"]], :body "=20x\r\n"}
      [:temporary-failure "as it is"])))

(deftest texts-that-no-reply-can-hold-give-way-to-those-of-the-mta
  (is (= [:reject :hello] (settled (str "reject \"" (apply str (repeat 981 "x")) "\" helo //") {})))
  (is (= [:accept :end-of-message ["two lines"]] (settled "quarantine \"two\nlines\" helo //" {}))))

(deftest the-log-says-which-line-has-decided
  (let [whys (fn [rules mail]
               (let [{:keys [conversation]} (mt/run-message (load-rules rules) mail)]
                 (keep (comp :why meta) (mapcat :response conversation))))]
    (is (= [2] (map :line (whys "reject \"x\"\nheader /^Subject$/ /x/" {:headers [["Subject" "x"]]}))))
    (is (= [3] (map :line (whys "quarantine \"x\"\n# comment\nbody /x/" {:body "x\r\n"}))))
    (is (= ["no rule can become true any more"] (whys "reject \"x\"\nhelo /^x/" {})))))

(deftest only-what-the-rules-need-is-asked-for
  (are [rules events macros actions]
       (= [events macros actions]
          (let [{:keys [handlers request-macros] asked :actions} (load-rules rules)]
            [(set (keys handlers)) request-macros asked]))
       "" #{:hello :end-of-message} {} #{}
       "reject \"x\" helo /x/" #{:hello :mail :end-of-message} {} #{}
       "reject \"x\" envfrom /x/" #{:mail :end-of-message} {} #{}
       "reject \"x\" connect /x/ /y/" #{:connect :hello :mail :end-of-message} {} #{}
       "reject \"x\" envrcpt /x/" #{:recipient :header :end-of-headers :end-of-message} {} #{}
       "quarantine \"x\" body /x/" #{:end-of-headers :body :end-of-message} {} #{:quarantine}
       "discard header /x/ /y/" #{:header :end-of-headers :end-of-message} {} #{}
       "accept macro /^{auth_authen}$/ /./" #{:mail :header :end-of-headers :end-of-message} {:mail ["{auth_authen}"]} #{}
       "accept macro /cipher_bits/ /./"
       #{:hello :mail :header :end-of-headers :end-of-message} {:hello ["{cipher_bits}"], :mail ["{cipher_bits}"]} #{}))

;; ---- the file

(defn- problem
  [rules]
  (try
    (call 'milter-regex-conf/parse "f" (String. (.getBytes ^String rules "UTF-8") "ISO-8859-1"))
    nil
    (catch ExceptionInfo e (ex-message e))))

(deftest what-is-wrong-with-a-file-is-said-with-what-would-be-right
  (are [rules message] (= message (problem rules))
    "reject \"x\"\nhelo /a/\n" nil
    "Reject \"x\"\nhelo /a/\n"
    "f:1:8: \"x\" does not belong here; there should be = after the name Reject of a definition; did you mean reject?"
    "a=helo /a/\n"
    "f:1:8: \"/a/\" does not belong here; there should be = after the name a=helo of a definition; a name goes up to the next blank"
    "reject \"x\"\n$b helo /a/\n" "f:2:2: nothing is defined as b before this line"
    "ab = helo /a/\nreject \"x\"\n$ac\n" "f:3:2: nothing is defined as ac before this line; there are ab"
    "a = helo /a/\na = helo /b/\n" "f:2:1: a is defined already; choose another name"
    "reject \"x\"\r\nhelo /a/\n" "f:1:11: a carriage return: lines must end in LF alone"
    "reject \"x\"\nhelo /a/x\n" "f:2:6: there is no flag x; flags are e, i, n and d, and a blank follows them"
    "reject \"x\"\nhelo /a/d\n" "f:2:6: the flag d is for the value of a header field and for a body"
    "reject \"x\"\nheader /a/d //\n" "f:2:8: the flag d is for the value of a header field and for a body"
    "reject \"x\"\nhelo //n\n" "f:2:6: an empty regular expression matches whatever there is and takes no flags"
    "reject \"x\"\nhelo §a§\n" "f:2:6: this character cannot delimit a regular expression; / and , can"
    "reject \"x\"\nbody /a\\(/\n" "f:2:6: the regular expression for the line: a group is not closed"
    "reject \"x\"\ncountry /XX/\n"
    (str "f:2:1: country needs the networks of each country, which are not here; there should be a term:"
         " connect, helo, envfrom, envrcpt, header, body, macro, ( or $name")
    "quarantine \"\" helo /a/\n" "f:1:1: a quarantine without a reason is none; give it a text"
    "accept\n\n\\\n  helo /ä/z" "f:4:8: there is no flag z; flags are e, i, n and d, and a blank follows them"
    "accept helo /a\u0000/" "f:1:15: a NUL: this is no text"
    (str "accept helo /" (apply str (repeat 9000 "a")) "/") "f:1:13: longer than 8190 bytes"
    (str "accept " (apply str (repeat 300 "( "))) "f:1:410: parentheses lie deeper in each other than 200"
    (str "a0 = helo /x/\n" (string/join (for [i (range 1 30)] (str "a" i " = $a" (dec i) " and $a" (dec i) "\n"))))
    "f:18:7: an expression must have no more than 100000 terms, no deeper in each other than 200"
    (str "a0 = helo /x/\n" (string/join (for [i (range 1 300)] (str "a" i " = not $a" (dec i) "\n"))))
    "f:201:8: an expression must have no more than 100000 terms, no deeper in each other than 200"))

(deftest long-expressions-are-read
  (is (nil? (problem (str "accept helo /0/" (apply str (for [i (range 1 3000)] (str " and helo /" i "/")))))))
  (is (nil? (problem (apply str "accept\n" (repeat 5000 "helo /x/ or envfrom /y/\n"))))))

(deftest check-tells-whether-a-file-is-faulty
  (let [check (fn [rules]
                (let [code (atom nil)
                      output (with-out-str (reset! code (with-file rules #(call 'regex/filter "--check" %))))]
                  [@code (string/replace output #"\S*\.conf" "F")]))]
    (is (= [0 "F: no fault; number of rules: 2\n"] (check "accept helo /a/ helo /b/")))
    (is (= [0 "F:2: this rule never acts, since in line 4 the same name stands alone, too\nF: no fault; number of rules: 1\n"]
           (check "a = helo /a/\nreject \"x\" $a\n\naccept $a")))
    (is (= [1 "F:1:12: the file ends here; there should be a regular expression for the name, such as /^x/\n"]
           (check "accept helo")))
    (is (= 1 (with-redefs [println (constantly nil)] (call 'regex/filter "--check" "/no/such/file"))))))

(deftest a-file-that-is-not-there-is-no-filter
  (is (thrown-with-msg? ExceptionInfo #"/no/such/file: cannot be read: NoSuchFileException"
                        (call 'regex/filter "/no/such/file"))))

(def ^:private fragments
  ["reject " "\"x\" " "tempfail" " accept\n" "discard " "quarantine " "'q' " "helo " "/a/ " "/^[a-z]*$/ein " "," "header "
   "// " "body " "macro " "connect " "envfrom " "envrcpt " "and " "or " "not " "( " ") " "$" "a " "= " "\n" "\\\n" "#" "\""
   "\\" "/\\(/ " "/[/ " "/a{1,2}/e " "/\\1/ " "/(a)\\1/e " "é" "\r" "\u0000" "country "])

(defspec a-file-of-anything-is-read-or-refused-with-its-place 500
  (for-all [text (joined fragments 0 30)]
    (try
      (call 'milter-regex-conf/parse "f" (String. (.getBytes ^String text "UTF-8") "ISO-8859-1"))
      true
      (catch ExceptionInfo e
        (let [{:keys [line column]} (ex-data e)]
          (string/starts-with? (ex-message e) (str "f:" line ":" column ": ")))))))

;; ---- regular expressions

(defn- matches?
  [expression flags text]
  ((call 'posix-regex/matcher expression flags) text))

(deftest regular-expressions-are-those-of-glibc
  (are [expression flags text expected] (= expected (matches? expression (set flags) text))
    "^*a" [] "*a" true
    "a\\{2\\}" [] "baa" true
    "a{2}" [] "aa" false
    "a{,2}b" [:extended] "b" true
    "\\(a\\|b\\)*c" [] "abc" true
    "a|b" [] "a|b" true
    "(|a)b" [:extended] "b" true
    "a)" [:extended] "a)" true
    "a$b" [] "a$b" true
    "a$b" [:extended] "a$b" false
    "\\(^a\\)" [] "ba" false
    "x^a" [] "x^a" true
    "." [] "\n" true
    "^b" [] "a\nb" false
    "[]x]" [] "]" true
    "[^]x]" [] "y" true
    "[a\\]" [] "\\" true
    "[[.-.]]" [] "-" true
    "[[=a=]b]" [] "a" true
    "[[:upper:]]" [:ignore-case] "a" true
    "[A-z]" [] "_" true
    "[A-z]" [:ignore-case] "_" false
    "é" [:ignore-case] "É" false
    "\\<cat\\>" [] "a cat sat" true
    "\\<cat\\>" [] "concat" false
    "\\<\\(cat\\|dog\\)\\>" [] "hotdog" false
    "\\<[^x]*y" [] "x aby" true
    "\\w\\W\\s\\S" [] "a. b" true
    "\\Bb" [] "ab" true
    "\\d" [] "7" false
    "\\d" [] "d" true
    "\\(a.\\)\\1" [] "xabab" true
    "\\(a.\\)\\1" [] "abac" false
    "x{2000}" [:extended] (apply str (repeat 2000 "x")) true
    "x{2000}" [:extended] (apply str (repeat 1999 "x")) false
    (apply str (repeat 8000 "$")) [] (apply str (repeat 7999 "$")) true
    "" [] "" true))

(deftest what-glibc-refuses-is-refused
  (are [expression flags message] (thrown-with-msg? ExceptionInfo message (matches? expression (set flags) ""))
    "a\\" [] #"a backslash at the end"
    "\\(a" [] #"a group is not closed"
    "a\\)" [] #"without"
    "*a" [:extended] #"nothing that \* could repeat"
    "^*" [:extended] #"nothing that \* could repeat"
    "a|*" [:extended] #"nothing that \* could repeat"
    "\\{1\\}" [] #"nothing that \{ could repeat"
    "a**" [] #"a repetition of a repetition"
    "a{x}" [:extended] #"a brace must hold a count"
    "a{2,1}" [:extended] #"the wrong way round"
    "a{99999}" [:extended] #"above 32767"
    "[a" [] #"without \]"
    "[z-a]" [] #"the range z-a is empty"
    "[_-a]" [:ignore-case] #"is empty"
    "[a-c-e]" [] #"a hyphen between others"
    "[[:foo:]]" [] #"no class"
    "[[.ab.]]" [] #"no character"
    (apply str "a" (repeat 8000 "*")) [:extended] #"more than 200 repetitions"
    (apply str (concat (repeat 300 "(") "a" (repeat 300 ")"))) [:extended] #"deeper in each other than 200"
    "\\1" [] #"without a group of that number"
    "\\(a\\1\\)" [] #"without a group of that number"))

(deftest a-match-that-takes-too-long-throws
  (is (thrown-with-msg? ExceptionInfo #"a match reads more than 1000000 characters"
                        (matches? "^\\(\\(a*\\)*\\)*\\1b$" #{} (apply str (repeat 200 "a")))))
  (is (= [:temporary-failure :header]
         (settled "reject \"x\" header /^Subject$/ /^\\(\\(a*\\)*\\)*\\1b$/"
                  {:headers [["Subject" (apply str (repeat 200 "a"))]]}))))

(def ^:private expression-fragments
  ["a" "b" "A" "." "*" "+" "?" "|" "(a|b)" "(ab)" "(" ")" "[ab]" "[^a]" "[a-z]" "[[:alpha:]]" "^" "$" "\\<" "\\>" "\\b" "\\B"
   "\\w" "\\s" "{2}" "{1,2}" "{,1}" "-" " " "\\." "_" "é" "[é-ü]"])

(defspec both-engines-match-the-same 500
  (for-all [expression (joined expression-fragments 1 6)
            texts (gen/vector (joined ["a" "b" "A" "-" " " "é" "ab" "_"] 0 5) 5)
            flags (gen/elements [#{:extended} #{:extended :ignore-case}])]
    (let [matcher #(try (call 'posix-regex/matcher % flags) (catch ExceptionInfo _ nil))
          linear (matcher expression)
          backtracking (matcher (str expression "|(\u00ff)\\" (inc (count (filter #{\(} expression)))))]
      (or (nil? linear)
          (nil? backtracking)
          (= (map linear texts) (map backtracking texts))))))

;; ---- behind MTAs

(def ^:private site-rules
  "reject \"closed\"
envrcpt /^<closed@/
quarantine \"odd subject\"
header /^Subject$/ /lottery/id
reject \"no word of it\"
body /xyzzy/d or body /\\<plugh\\>/
tempfail \"later\"
helo /^slow/
tempfail \"a macro has not come\"
macro /^{daemon_name}$/ /^$/
macro /^{mail_addr}$/ /^$/
macro /^{rcpt_addr}$/ /^$/
discard
header /^X-Throw$/ //
")

(def ^:private hostile
  "What a stranger may put into a body: control characters, bytes of no charset, MIME that is broken, lines
  beyond all bounds."
  (str "Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n\u0000\u001b[2J\u009b\u00ff\u00fe\r\n"
       "=?utf-8?b?////?=\r\n=\r\n==\r\n" (apply str (repeat 900 "(a*)*")) "\r\n" (apply str (repeat 990 "\u00c3")) "\r\n"))

(deftest rules-hold-behind-real-mtas
  (doseq [mta [:postfix :sendmail]]
    (testing mta
      (support/behind mta (load-rules site-rules) {}
        (fn [running]
          (testing "ordinary mail arrives"
            (is (= "Hello.\r\n" (:body (support/sent running {:body "Hello.\r\n"})))))
          (testing "one of two recipients is refused, and the mail arrives for the other"
            (let [{:keys [rcpt message mark]}
                  (support/transact running {:recipients ["<bob@example.org>" "<closed@example.org>"], :body "Hello.\r\n"})]
              (is (= [250 554] (map :code rcpt)))
              (is (re-find #"5\.7\.1 .*closed" (peek (:lines (second rcpt)))))
              (is (= 250 (:code message)))
              (is (= 1 (count (:recipients (support/delivered running mark)))))))
          (testing "words are found, decoded or not"
            (doseq [mail [{:body "one plugh\r\n"}
                          {:headers [["Content-Transfer-Encoding" " quoted-printable"]], :body "xyz=\r\n=7A=79\r\n"}
                          {:headers [["Content-Transfer-Encoding" " base64"]], :body "eHl6enk=\r\n"}]
                    :let [{:keys [message]} (support/transact running mail)]]
              (is (= 554 (:code message)) (pr-str mail))
              (is (re-find #"no word of it" (peek (:lines message))))))
          (testing "a mail is held"
            (let [{:keys [message]} (support/transact running {:headers [["Subject" " =?utf-8?q?L=4FTTERY?="]]})]
              (is (= 250 (:code message)))
              (is (= 1 (case mta
                         :postfix (count (postfix/hold-queue running))
                         :sendmail (count (sendmail/quarantined running)))))))
          (testing "a client is deferred by its name, another mail is thrown away"
            (let [replies (dissoc (support/transact running {:hello "EHLO slow.example.org"}) :mark)]
              (is (some #{451} (map :code (flatten (vals replies))))))
            (is (= 250 (:code (:message (support/transact running {:headers [["X-Throw" " 1"]]}))))))
          (testing "hostile mail arrives as it was sent"
            (is (string/includes? (str (:body (support/sent running {:body hostile}))) "(a*)*")))
          (testing "after all that the filter still works"
            (is (= 554 (:code (:message (support/transact running {:body "one plugh\r\n"})))))))))))

(deftest rules-hold-over-the-wire
  (milter/with-milter [server (assoc (load-rules site-rules) :port 0)]
    (are [mail expected] (= expected ((juxt :verdict :at (comp :text :reply)) (mt/run-message server mail)))
      {:body hostile} [:accept :end-of-message nil]
      {:body (str hostile "a plugh")} [:reject :body "no word of it"]
      {:recipients ["<closed@example.org>"]} [:reject :recipient "closed"]
      {:headers [["X-Throw" "1"]]} [:discard :header nil])))
