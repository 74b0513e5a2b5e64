(ns temse.redaction-test
  "What a redacted recording does not hold, and what it still tells."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.action :as act]
   [temse.impl.command.arguments :as arguments]
   [temse.impl.command.decode :as decode]
   [temse.impl.command.proxy :as proxy]
   [temse.impl.command.redact :as redact]
   [temse.impl.recording.redaction :as redaction]
   [temse.record :as record]
   [temse.record-test :refer [with-directory]]
   [temse.replay :as replay]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io File)
   (java.util Base64 Random)))

(set! *warn-on-reflection* true)

;; ---- secrets in all places

(defn- planter
  "Returns a function that returns another secret each time, and the atom with those it has returned.
  Secrets are of letters that no hexadecimal digit is."
  [^Random random]
  (let [planted (atom [])]
    [(fn []
       (let [secret (apply str (repeatedly 12 #(nth "ghijklmnopqrstuvwxyz" (.nextInt random 20))))]
         (swap! planted conj secret)
         secret))
     planted]))

(defn- base64
  [^String text]
  (.encodeToString (Base64/getEncoder) (.getBytes text)))

(defn- odd-case
  [text]
  (apply str (map-indexed #(if (even? %1) (Character/toUpperCase (char %2)) %2) text)))

(defn- address-with
  "Returns an address of some form with secrets in it."
  [^Random random secret]
  (case (.nextInt random 12)
    0 (str (secret) "@" (secret) ".example.org")
    1 (str (secret) "+" (secret) "=" (secret) ".example@list.example.com")
    2 (str "\"" (secret) " " (secret) "\"@" (secret) ".org.")
    3 (str "@" (secret) ".org,@b.example:" (secret) "@" (secret) ".org")
    4 (secret)
    5 (str (odd-case (secret)) "@" (odd-case (secret)) ".EXAMPLE")
    6 (str "\"\\" (secret) "\\\"" (secret) "\"@[IPv6:" (secret) "]")
    7 (str (secret) "@@" (secret))
    8 (str (secret) "@[" (secret) "]")
    9 (str "(" (secret) ")" (secret) " @ " (secret) ".org")
    10 (str "jörg." (secret) "@" (secret) ".bücher.example")
    11 (str (secret) "%" (secret) "!" (secret) "@")))

(defn- field-text
  "Returns the value of a header field of some form with secrets in it."
  [^Random random secret]
  (let [address #(address-with random secret)]
    (case (.nextInt random 12)
      0 (str (secret) " " (secret) " <" (address) ">")
      1 (str "\"" (secret) ", " (secret) "\" <" (address) ">, " (address) " (" (secret) ")")
      2 (str (secret) ": " (address) ", " (secret) " <" (address) ">;")
      3 (str "=?utf-8?B?" (base64 (secret)) "?= <" (address) ">")
      4 (let [s (secret)] (str (subs s 0 6) "\r\n " (subs s 6) "\r\n\t<" (address) ">"))
      5 (str "<" (address))
      6 (str (address) " \"" (secret))
      7 (str "from " (secret) ".org (" (secret) " [192.0.2.1])\r\n\tby mx with ESMTP for <" (address) ">")
      8 (str " " (secret) "; charset=" (secret) "; name*=utf-8''" (secret))
      9 (str (address) ", " (address) "; " (address))
      10 (str "Tue, 1 Jan 2030 " (secret))
      11 (apply str (map #(format "=%02X" (int %)) (secret))))))

(def ^:private macro-names
  ["j" "_" "f" "b" "s" "u" "w" "mail_addr" "mail_host" "rcpt_addr" "rcpt_host" "client_addr" "client_name"
   "client_ptr" "client_port" "auth_authen" "auth_author" "cert_subject" "cert_issuer" "cn_subject" "if_name"
   "if_addr" "daemon_addr" "greylist_key"])

(def ^:private field-names
  ["From" "Sender" "reply-to" "TO" "Cc" "Bcc" "Return-Path" "Resent-From" "Delivered-To" "X-Original-To" "Subject"
   "Received" "Message-ID" "References" "Date" "Content-Type" "X-Spam-Status" "Authentication-Results" "Comments"])

(defn- body-with
  [^Random random secret]
  (let [^String text (case (.nextInt random 4)
                       0 (str (secret) "\r\n" (odd-case (secret)))
                       1 (base64 (str "<p>" (secret)))
                       2 (string/join "=\r\n" (map str (secret)))
                       3 (apply str (map #(format "=%02x" (int %)) (secret))))]
    (.getBytes text "UTF-8")))

(defn- bodies-with
  "Returns the pieces of a body, between two of which a secret lies."
  [^Random random secret]
  (let [divided (secret)]
    [(body-with random secret)
     (.getBytes (str "a " (subs divided 0 6)))
     (.getBytes (str (subs divided 6) " b"))]))

(defn- response-with
  [^Random random secret]
  (let [text #(field-text random secret)
        path #(str "<" (address-with random secret) ">")]
    [{:action :add-header, :name "X-Seen", :value (text)}
     {:action :insert-header, :position 1, :name (str "X-" (secret)), :value (text)}
     {:action :change-header, :name "To", :index 1, :value (text)}
     {:action :add-recipient, :address (path), :parameters [(str "ORCPT=rfc822;" (secret) "+40" (secret))]}
     {:action :delete-recipient, :address (path)}
     {:action :change-sender, :address (path), :parameters [(str "X" (secret) "=" (secret))]}
     {:action :change-body, :body (body-with random secret)}
     {:action :quarantine, :reason (text)}
     {:action :undecodable, :code 1, :data (.getBytes ^String (secret)), :problem (str "what " (secret))}
     {:action :reply-code, :smtp-code 550, :enhanced-code "5.7.1", :text (str "no " (secret) "\r\n" (secret))}]))

(defn- exchanges-with
  "Returns the exchanges of a conversation with secrets wherever strangers can put them."
  [^Random random secret]
  (let [address #(address-with random secret)
        macros (fn [stage command]
                 {:event :define-macro, :stage stage, :command command
                  :definitions (into {(str "tls_" (secret)) (secret)}
                                     (repeatedly 6 #(vector (nth macro-names (.nextInt random (count macro-names))) (address))))})
        field #(array-map :event :header, :name (if (zero? (.nextInt random 4))
                                                  (str "X-" (secret))
                                                  (nth field-names (.nextInt random (count field-names))))
                          :value (field-text random secret))
        events (concat
                 [{:event :options, :version 6, :actions #{}, :protocol #{}}
                  (macros :connect \C)
                  {:event :connect, :host-name (str (secret) ".org"), :family :inet, :port 25001, :address (secret)}
                  (macros :hello \H)
                  {:event :hello, :greeting (str "[" (secret) "]")}
                  (macros :mail \M)
                  {:event :mail, :sender (str "<" (address) ">")
                   :options [(str "AUTH=" (secret) "+40" (secret)) (str "ENVID=" (secret)) (str (secret) "=" (secret))]}
                  {:event :unknown, :command (str "VRFY " (address))}
                  {:event :unknown, :command (str (secret) " x")}]
                 (mapcat (fn [_]
                           [(macros :recipient \R)
                            {:event :recipient, :address (str "<" (address) ">")
                             :options [(str "ORCPT=rfc822;" (secret) "+40" (secret) ".org") (str "NOTIFY=" (secret))]}])
                         (range 3))
                 (repeatedly 12 field)
                 (for [data (bodies-with random secret)]
                   {:event :body, :data data})
                 [{:event :undecodable, :code 90, :data (.getBytes ^String (secret)), :problem (secret)}
                  {:event :end-of-message, :data (body-with random secret)}
                  {:event :disconnect, :reason :quit}])]
    (for [{:keys [event] :as e} events]
      {:id 1, :peer (str "inet:1@" (if (= :options event) (secret) "127.0.0.1"))
       :event e
       :response (if (= :end-of-message event) (response-with random secret) [])
       :millis 1.0})))

(defn- written
  "Returns the names and contents of the files that a recorder makes of exchanges, as one text."
  [options exchanges]
  (with-directory directory
    (with-open [recorder (record/recorder (assoc options :directory directory, :max-body 1))]
      (run! (record/exchange-recorder recorder) exchanges)
      (is (= 1 (count (record/recordings recorder)))))
    (string/join "\n" (mapcat (fn [^File file] [(.getName file) (slurp file)])
                              (filter #(.isFile ^File %) (file-seq (io/file directory)))))))

(defn- traces
  "Returns what a secret may look like: one of its halves, also in hexadecimal or quoted-printable, or
  itself in base64 at any offset."
  [secret]
  (concat (for [half [(subs secret 0 6) (subs secret 6)]
                form ["%c" "%02x" "=%02x"]]
            (apply str (map #(format form (int %)) half)))
          (for [offset (range 3)]
            (string/lower-case (subs (base64 (str (subs "xx" 0 offset) secret "xxx"))
                                     (nth [0 2 3] offset)
                                     (+ 16 (long offset)))))))

(defn- found
  "Returns the secrets of which the text holds a trace, however it is written."
  [text secrets]
  (let [text (string/lower-case text)
        dense (string/replace text #"=\r\n|=\\r\\n|(?:\\[rnt])+|[^a-z0-9=]+" "")]
    (filter (fn [secret]
              (some #(or (string/includes? text %) (string/includes? dense %)) (traces secret)))
            secrets)))

(defspec no-secret-of-a-conversation-is-in-its-redacted-recording 20
  (prop/for-all [seed gen/large-integer]
    (let [random (Random. seed)
          [secret planted] (planter random)
          exchanges (doall (exchanges-with random secret))]
      (is (< 100 (count @planted)))
      (is (= [] (found (written {:redact true} exchanges) @planted))))))

(deftest the-search-for-secrets-finds-them-where-nothing-is-redacted
  (let [random (Random. 1)
        [secret planted] (planter random)
        exchanges (doall (exchanges-with random secret))
        found (count (found (written {} exchanges) @planted))]
    (is (< (* 0.9 (count @planted)) found) [found (count @planted)])))

;; ---- what stays

(defn- redacted
  "Returns the values of an event with a key, as they are redacted."
  [redact event]
  (let [offer {:event :options, :version 6, :actions #{}, :protocol #{}}]
    (with-open [recorder (record/recorder {:redact redact})]
      (run! (record/exchange-recorder recorder)
            (for [e [offer event {:event :disconnect, :reason :quit}]]
              {:id 1, :peer "inet:1@192.0.2.1", :event e, :response [], :millis 0.0}))
      (:event (second (:conversation (first (record/recordings recorder))))))))

(defn- field
  [redact name value]
  (let [{:keys [name value]} (redacted redact {:event :header, :name name, :value value})]
    [name value]))

(def ^:private spellings
  "One address: as a path, in a header field, in a macro, in a parameter, as a user."
  [[:sender {:event :mail, :sender "<bob@example.com>"}]
   [:sender {:event :mail, :sender "bob@example.com"}]
   [:sender {:event :mail, :sender "<BOB@Example.COM.>"}]
   [:sender {:event :mail, :sender "<\"bob\"@example.com>"}]
   [:sender {:event :mail, :sender "<@a.example,@b.example:bob@example.com>"}]
   [:address {:event :recipient, :address "<bob@example.com>"}]
   [:value {:event :header, :name "To", :value "Bob <bob@example.com>"}]
   [:value {:event :header, :name "CC", :value " bob@example.com (Bob)"}]
   [:value {:event :header, :name "From", :value "bob(x)@ EXAMPLE.com"}]
   [:value {:event :header, :name "To", :value "friends: bob@example.com;"}]
   [:options {:event :recipient, :address "<>", :options ["ORCPT=rfc822;bob+40example.com"]}]
   [:options {:event :mail, :sender "<>", :options ["AUTH=bob@example.com"]}]
   [:definitions {:event :define-macro, :stage :mail, :command \M, :definitions {"mail_addr" "bob@example.com"}}]
   [:definitions {:event :define-macro, :stage :mail, :command \M, :definitions {"auth_authen" "bob@example.com"}}]])

(deftest equal-addresses-have-equal-hashes-wherever-and-however-they-are-written
  (let [hash #(re-find #"[0-9a-f]{10}@[0-9a-f]{10}\.example" (pr-str %))
        hashes (for [[k event] spellings] (hash (k (redacted {:key "k"} event))))]
    (is (= 1 (count (distinct hashes))) (vec (map vector hashes spellings)))
    (is (some? (first hashes)))
    (testing "other addresses have others, though the domain be the same"
      (let [other (hash (redacted {:key "k"} {:event :mail, :sender "<bob2@example.com>"}))]
        (is (not= (first hashes) other))
        (is (= (re-find #"@.*" (first hashes)) (re-find #"@.*" other)))))
    (testing "as have internationalized domains in both of their forms"
      (is (= (:sender (redacted {:key "k"} {:event :mail, :sender "<bob@bücher.example>"}))
             (:sender (redacted {:key "k"} {:event :mail, :sender "<bob@xn--bcher-kva.example>"})))))
    (testing "and hosts, HELO names and macros"
      (is (= (:greeting (redacted {:key "k"} {:event :hello, :greeting "Mail.Example.com"}))
             (:host-name (redacted {:key "k"} {:event :connect, :host-name "mail.example.com.", :family :unknown})))))))

(deftest hashes-are-keyed
  (let [sender #(:sender (redacted % {:event :mail, :sender "<bob@example.com>"}))]
    (is (= (sender {:key "k"}) (sender {:key "k"})))
    (is (not= (sender {:key "k"}) (sender {:key "l"})))
    (testing "at random, unless a key is given"
      (is (not= (sender true) (sender true) (sender {}))))))

(deftest the-structure-of-what-is-redacted-stays
  (are [name value shape] (re-matches shape (string/join ": " (field true name value)))
    "From" "Ann Lee <ann@example.org>" #"From: \"\[7 characters\]\" <\w{10}@\w{10}\.example>"
    "to" " ann@example.org, b@example.com" #"to:  \w{10}@\w{10}\.example, \w{10}@\w{10}\.example"
    "Cc" "undisclosed-recipients:;" #"Cc: \[24 characters\]"
    "Subject" " hello" #"Subject:  \[5 characters\]"
    "X-Odd" "hello" #"X-\w{10}: \[5 characters\]"
    "Subject" "" #"Subject: ")
  (are [event expected] (= (merge event expected) (redacted true event))
    {:event :mail, :sender "<>", :options ["SIZE=12" "BODY=8BITMIME" "AUTH=<>" "RET=HDRS"]} {}
    {:event :recipient, :address "<>", :options ["NOTIFY=SUCCESS,DELAY"]} {}
    {:event :connect, :host-name "unknown", :family :inet, :port 1, :address "127.0.0.1"} {:port 0}
    {:event :unknown, :command "VRFY bob"} {:command "VRFY [3 characters]"}
    {:event :define-macro, :stage :mail, :command \M, :definitions {"i" "4F2A1B3C", "v" "Postfix 3.7.11"}} {})
  (are [address shape] (re-matches shape (:address (redacted true {:event :connect, :host-name "unknown", :family :inet
                                                                   :port 1, :address address})))
    "192.0.2.1" #"2(4\d|5[0-5])(\.\d{1,3}){3}"
    "2001:db8::7" #"2001:db8(:[0-9a-f]{1,4}){6}"
    "IPv6:2001:db8::7" #"IPv6:2001:db8(:[0-9a-f]{1,4}){6}"))

(deftest what-is-to-be-kept-is-kept-and-nothing-else
  (are [keep event k] (= [(k event) true]
                         [(k (redacted {:keep [keep]} event))
                          (every? #(not= (k event) (k (redacted {:keep [%]} event))) (disj redaction/kinds keep))])
    :addresses {:event :mail, :sender "<bob@example.com>"} :sender
    :addresses {:event :recipient, :address "<bob@example.com>", :options ["ORCPT=rfc822;bob@example.com"]} :options
    :clients {:event :hello, :greeting "mail.example.com"} :greeting
    :clients {:event :connect, :host-name "h", :family :inet, :port 1, :address "192.0.2.1"} identity
    :headers {:event :header, :name "Subject", :value "hello"} :value
    :headers {:event :header, :name "X-Odd", :value "hello"} identity
    :texts {:event :unknown, :command "VRFY bob"} :command
    :macros {:event :define-macro, :stage :mail, :command \M, :definitions {"odd" "x"}} :definitions
    :users {:event :define-macro, :stage :mail, :command \M, :definitions {"auth_authen" "bob"}} :definitions)
  (is (= "the plan" (String. ^bytes (:data (redacted {:keep #{:bodies}} {:event :body, :data (.getBytes "the plan")})))))
  (testing "names without addresses, and addresses without names"
    (is (re-matches #"Ann Lee <\w{10}@\w{10}\.example>" (second (field {:keep #{:names}} "From" "Ann Lee <ann@example.org>"))))
    (is (re-matches #"\"\[15 characters\]\" <.*" (second (field {:keep #{:names}} "From" "\"ann@example.org\" <x@y.z>"))))
    (are [name] (re-matches #"\"\[\d+ characters\]\" <.*" (second (field {:keep #{:names}} "From" (str name " <x@y.z>"))))
      (str "=?utf-8?B?" (base64 "ann@example.org") "?=")
      "a =?UTF-8*en?q?ann=40example.org?= b"
      "=?iso-8859-1?Q?ann@example.org?="
      "\"ann\uff20example.org\""
      (str "=?utf-8?b?" (base64 "ann\uff20example.org") "?=")
      "=?utf-8?Q?ann=EF=BC=A0example.org?="
      "=?utf-7?Q?ann+AEA-example.org?="
      "=?utf-8?B?YW5u*?=")
    (is (re-matches #"=\?utf-8\?Q\?J=C3=B6rg\?= <\w{10}@.*" (second (field {:keep #{:names}} "From" "=?utf-8?Q?J=C3=B6rg?= <x@y.z>"))))
    (is (= "\"[7 characters]\" <ann@example.org>" (second (field {:keep #{:addresses}} "From" "Ann Lee <ann@example.org>")))))
  (testing "nor what stands beside an address that is kept"
    (let [keeping #(redacted {:keep #{:addresses}} %)
          macro (fn [k text] (get-in (keeping {:event :define-macro, :stage :mail, :command \M, :definitions {k text}})
                                     [:definitions k]))]
      (are [sender kept] (= kept (:sender (keeping {:event :mail, :sender sender})))
        "<ann@example.org (Ann Lee)>" "<ann@example.org>"
        "Ann Lee <ann@example.org>" "ann@example.org"
        "(Ann Lee) ann@example.org" "ann@example.org"
        "<\"ann lee\"@example.org>" "<\"ann lee\"@example.org>"
        "<@a.example:ann@example.org>" "<@a.example:ann@example.org>"
        "<>" "<>"
        "" "")
      (is (re-matches #"<\w{10}>" (:sender (keeping {:event :mail, :sender "<Ann Lee, at home>"}))))
      (is (= ["ORCPT=rfc822;ann+2Bx@example.org"]
             (:options (keeping {:event :recipient, :address "<b@example.com>"
                                 :options ["ORCPT=rfc822;ann+2Bx@example.org+20+28Ann+29"]}))))
      (are [k text kept] (= kept (macro k text))
        "mail_addr" "ann@example.org (Ann)" "ann@example.org"
        "mail_host" "example.org." "example.org."
        "rcpt_host" "[mx.example.com]:25" "[mx.example.com]:25")
      (is (re-matches #"\w{10}\.example" (macro "mail_host" "Ann Lee's host (home)")))
      (is (= "Ann Lee <ann@example.org>"
             (:sender (redacted {:keep #{:addresses :names}} {:event :mail, :sender "Ann Lee <ann@example.org>"}))))))
  (testing "passwords go with the users"
    (let [command {:event :unknown, :command "AUTH PLAIN AGJvYgBzZWNyZXQ="}]
      (is (= "AUTH [22 characters]" (:command (redacted {:keep #{:texts}} command)) (:command (redacted {:keep #{:users}} command))))
      (is (= command (redacted {:keep #{:texts :users}} command)))))
  (testing "fields and macros by name"
    (is (= ["X-Odd" "hello"] (field {:keep-headers ["x-odd"]} "X-Odd" "hello")))
    (is (= {"odd" "x"} (:definitions (redacted {:keep-macros ["{odd}"]}
                                               {:event :define-macro, :stage :mail, :command \M, :definitions {"odd" "x"}}))))))

(deftest redaction-takes-time-in-proportion-to-what-strangers-send
  (doseq [piece ["a" "@" "<" ">" "\"" "(" ")" "," ";" ":" "\\" "[" "]" "a@" "a," "<a@b>," "a:b;" "é" "=?" " " "\r\n " "."]
          :let [text (apply str (repeat (quot 30000 (count piece)) piece))
                started (System/nanoTime)]]
    (redacted true {:event :header, :name "From", :value text})
    (redacted true {:event :mail, :sender (str "<" text ">"), :options [(str "ORCPT=rfc822;" text) text]})
    (redacted true {:event :hello, :greeting text})
    (redacted true {:event :define-macro, :stage :mail, :command \M, :definitions {"auth_authen" text, "client_addr" text}})
    (is (< (/ (- (System/nanoTime) started) 1e9) 10.0) piece)))

;; ---- use

(deftest what-cannot-be-redacted-is-neither-kept-nor-logged
  (support/with-logs logs
    (with-redefs [redaction/redacted (fn [& _] (throw (ex-info "about bob@example.com" {:secret "bob"})))]
      (with-open [recorder (record/recorder {:redact true})]
        (run! (record/exchange-recorder recorder)
              (for [event [{:event :options, :version 6, :actions #{}, :protocol #{}} {:event :disconnect, :reason :quit}]]
                {:id 1, :event event, :response [], :millis 0.0}))
        (is (= [] (record/recordings recorder)))
        (is (= 1 (:failed (record/recorder-status recorder))))))
    (is (string/includes? (first (support/messages logs :error)) "it could not be redacted: clojure.lang.ExceptionInfo"))
    (is (not (string/includes? (pr-str @logs) "bob")))))

(def ^:private adding
  {:handlers {:mail (fn [_ _])
              :recipient (fn [_ _])
              :header (fn [_ _])
              :body (fn [_ _])
              :end-of-message (fn [_ _] [(act/add-header "X-Seen" "yes")
                                         (act/add-header "X-Note" "for bob@example.com")
                                         (act/change-body "new\r\n")
                                         (act/add-recipient "<archive@example.org>")])}})

(deftest a-redacted-recording-replays-without-a-difference-until-the-filter-changes
  (let [recordings (with-open [recorder (record/recorder {:redact true})]
                     (mt/run-message (record/record adding recorder) {:body "hello"})
                     (record/recordings recorder))
        answering (fn [& actions] (assoc-in adding [:handlers :end-of-message] (fn [_ _] actions)))]
    (is (= [redaction/kinds] (map :redacted recordings)))
    (is (= [] (replay/replay recordings adding)))
    (testing "what was taken out is not compared, the rest is"
      (is (= [#{:verdict}] (map :differs (replay/replay recordings (answering (act/reject))))))
      (is (= [#{:modifications}] (map :differs (replay/replay recordings (answering (act/add-header "X-Seen" "yes")))))))))

(deftest commands-that-record-take-what-is-to-be-kept
  (with-directory directory
    (let [key-file (str directory "/key")
          option (fn [command & args]
                   (redact/of-parsed command (arguments/parse command (map #(string/replace % "FILE" key-file) args))))]
      (spit key-file "secret\n")
      (doseq [command [proxy/command decode/command]]
        (is (nil? (option command "-v")))
        (is (= {:keep [], :keep-headers [], :keep-macros []} (option command "--redact")))
        (is (= {:keep [:bodies :clients], :keep-headers ["Subject"], :keep-macros ["{x}"], :key "secret"}
               (option command "--redact" "--keep" "bodies" "--keep=clients" "--keep-header" "Subject"
                       "--keep-macro" "{x}" "--redact-key" "FILE")))
        (are [args problem] (string/includes? (:message (support/thrown (apply option command args))) problem)
          ["--keep" "bodies"] "go with --redact"
          ["--redact" "--keep" "body"] "--keep is one of addresses, bodies, clients, headers, macros, names, texts, users"
          ["--redact" "--redact-key" "/no/such"] "--redact-key: /no/such"
          ["--redact" "--redact-key" "/dev/null"] "--redact-key: /dev/null is empty")))))

(deftest wrong-options-are-refused-with-what-would-be-right
  (are [redact problem] (let [{:keys [milter/error message]} (support/thrown (record/recorder {:redact redact}))]
                          (and (= :bad-options error) (re-find problem message)))
    "all" #":redact must be true or a map"
    {:bodies? true} #"there is no key :bodies\? in the option :redact"
    {:keep [:body]} #":keep must be some of :addresses, :bodies, :clients"
    {:key ""} #":key must be a text that is not empty"
    {:keep-headers "Subject"} #":keep-headers must be a sequence of names"))
