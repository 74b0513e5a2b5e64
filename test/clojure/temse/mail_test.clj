(ns temse.mail-test
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.filter :refer [message-filter]]
   [temse.mail :as mail]
   [temse.mta :as mta]
   [temse.support :refer [thrown]]
   [temse.test :as mt])
  (:import
   (java.io ByteArrayInputStream ByteArrayOutputStream File)
   (java.util Arrays)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private ^String text
  "Subject: hi\n folded\n\nhello\n")

(defn- readable
  [message]
  (update message :body #(String. ^bytes %)))

(defn- with-file
  [content f]
  (let [file (File/createTempFile "temse" ".eml")]
    (try
      (spit file content)
      (f file)
      (finally
        (.delete file)))))

(deftest a-mail-is-read-from-every-kind-of-source
  (with-file text
    (fn [^File file]
      (doseq [source [text
                      (string/replace text "\n" "\r\n")
                      (.getBytes text)
                      file
                      (.toPath file)
                      (io/as-url file)
                      (ByteArrayInputStream. (.getBytes text))]]
        (is (= {:sender "<sender@example.org>"
                :options []
                :recipients ["<recipient@example.com>"]
                :headers [["Subject" "hi\n folded"]]
                :body "hello\r\n"}
               (readable (mail/read-eml source)))
            (class source))))))

(deftest the-envelope-of-a-file-follows-from-its-header
  (are [headers sender recipients]
       (= [sender recipients]
          ((juxt :sender :recipients) (mail/read-eml (str headers "\n\nhello\n"))))
       "Return-Path: <bounce@example.org>\nFrom: a@example.org\nTo: b@example.com"
       "<bounce@example.org>" ["<b@example.com>"]

       "return-path: <>\nFrom: a@example.org"
       "<>" ["<recipient@example.com>"]

       "From: Alice <a@example.org>, Bob <b@example.org>\nTo: c@example.com\nCC: <d@example.com>\nBcc: e@example.com"
       "<a@example.org>" ["<c@example.com>" "<d@example.com>" "<e@example.com>"]

       "To: \"Smith, John\" <john@example.com>,\n Jane (a comment, with (parentheses)) <jane@example.com>,\n john@example.com <john@example.com>"
       "<sender@example.org>" ["<john@example.com>" "<jane@example.com>"]

       "To: Friends: a@example.com, \"b b\"@example.com;, c@[IPv6:2001:db8::1]"
       "<sender@example.org>" ["<a@example.com>" "<\"b b\"@example.com>" "<c@[IPv6:2001:db8::1]>"]

       "To: undisclosed-recipients:;"
       "<sender@example.org>" ["<recipient@example.com>"]

       "From: Ann\nTo: <x@y"
       "<sender@example.org>" ["<x@y>"]

       "From: (no one) <>\nTo: ann lee, <@>, b@example.com"
       "<sender@example.org>" ["<b@example.com>"]

       "Return-Path: (bounces) <@relay.example:\"a b\"@example.org>\nTo: <@relay.example:b@example.com>"
       "<\"a b\"@example.org>" ["<b@example.com>"]

       "Return-Path: nonsense here\nFrom: jörg@exämple.org\nTo: \"ann\"@example.com., ann@example.com"
       "<jörg@exämple.org>" ["<ann@example.com.>" "<ann@example.com>"]))

(deftest a-given-envelope-wins-over-the-header
  (let [source "Return-Path: <bounce@example.org>\nTo: b@example.com\n\nhello\n"
        envelope {:sender "<a@example.org>", :options ["SIZE=7"], :recipients ["<c@example.com>"]}]
    (is (= envelope
           (select-keys (mail/read-eml source envelope) (keys envelope))
           (select-keys (mail/message (assoc envelope :message source)) (keys envelope))))
    (testing "as far as it goes"
      (is (= ["<bounce@example.org>" ["<c@example.com>"]]
             ((juxt :sender :recipients)
              (mail/read-eml source {:recipients ["<c@example.com>"]})))))))

(deftest what-a-mail-lacks-is-filled-in
  (is (= {:sender "<a@example.org>"
          :options []
          :recipients ["<recipient@example.com>"]
          :headers [["From" "sender@example.org"]
                    ["To" "recipient@example.com"]
                    ["Subject" "A test"]]
          :body "This is a test.\r\n"}
         (readable (mail/message {:sender "<a@example.org>"})))))

(deftest a-body-is-given-as-text-bytes-or-pieces-and-its-lines-end-in-cr-lf
  (are [body expected] (= expected (:body (readable (mail/message {:body body}))))
    "a\nb" "a\r\nb\r\n"
    (.getBytes "a\r\nb\r\n") "a\r\nb\r\n"
    ["a" (.getBytes "b\n")] "ab\r\n"
    nil ""))

(deftest a-wrong-mail-is-told
  (are [given expected] (string/includes? (str (:message (thrown (mail/message given)))) expected)
    {:reciepients []} "there is no key :reciepients in a mail; did you mean :recipients? Its keys are :at :body"
    {:recipients "<a@b.example>"} ":recipients must be a vector of addresses, not \"<a@b"
    {:body 1} "in a mail, :body must be a string, bytes, a Body or a sequence of these, not 1"
    {:message 1} "a mail is read from a string, bytes, a File, a Path, a URL or an InputStream"
    {:sender nil} ":sender must be an address"
    {:headers [["Subject"]]} ":headers must be a sequence of [name value]"
    {:message "Subject: hi\n\n", :body "x"} "there is no key :body in a mail with a :message"
    1 "a mail must be a map, a string, or a File")
  (doseq [read-mail [mail/read-eml mail/read-mbox]]
    (is (string/includes? (:message (thrown (read-mail text {:to ["<b@example.com>"]})))
                          "there is no key :to in an envelope"))))

(deftest a-message-is-written-as-it-was-read
  (doseq [text [text
                "Subject: hi\r\nX-Empty: \r\nX-Long: a\r\n\tb\r\n c\r\n\r\nhello\r\n\r\n.\r\n"
                "Subject: gr\u00fc\u00df\r\n\r\n"
                "A: b\r\n\r\n\r\n"
                "A: a CR before the end\r\r\nB: or a fold\r\r\n c\r\n\r\n"]]
    (is (= (string/replace text #"(?<!\r)\n" "\r\n")
           (mail/message-text text)
           (mail/message-text (mail/read-eml text))))))

(deftest a-field-without-the-space-after-the-colon-stays-so
  (let [text "A:1\r\nB:\r\nC:\t2\r\nD: 3\r\n\r\n"]
    (is (= [["A" "1" "1"] ["B" "" ""] ["C" "\t2" "\t2"] ["D" "3"]] (:headers (mail/read-eml text))))
    (is (= text (mail/message-text (mail/read-eml text))))))

(deftest recipients-have-parameters-of-their-own
  (let [message {:recipients ["<b@example.com>" "<c@example.com>"]
                 :recipient-options [[] ["NOTIFY=NEVER"]]}
        heard (atom [])
        note (fn [{:keys [address options]} _] (swap! heard conj [address options]) nil)]
    (is (= message (select-keys (mail/message message) (keys message))))
    (mt/run-message {:handlers {:recipient note}} message)
    (is (= [["<b@example.com>" []] ["<c@example.com>" ["NOTIFY=NEVER"]]] @heard))))

(deftest bytes-that-are-no-utf-8-survive-reading-and-writing
  (let [bytes (byte-array (concat (.getBytes "Subject: ") [-1 -128 0x41] (.getBytes "\r\n\r\n") [-61 13 10]))]
    (is (= (str "Subject: " (Text/decode (byte-array [-1 -128])) "A\r\n\r\n"
                (Text/decode (byte-array [-61])) "\r\n")
           (mail/message-text bytes)))
    (is (Arrays/equals bytes (mail/message-bytes (mail/read-eml bytes))))))

;; ---- mails as people have them

(defn- headers-and-body
  [source]
  ((juxt :headers :body) (readable (mail/read-eml source))))

(deftest what-programs-put-above-a-header-is-left-out
  (doseq [above ["From a@example.org Thu Jan  1 00:00:01 1970\n"
                 ">From a@example.org Thu Jan  1 00:00:01 1970\n"
                 "From a@example.org Thu Jan  1 00:00:01 1970\n>From b!a Thu Jan  1 remote from b\n"
                 "\ufeff"
                 "\ufeffFrom a@example.org Thu Jan  1 00:00:01 1970\r\n"]]
    (testing (pr-str above)
      (is (= [[["Subject" "hi"]] "hello\r\n"] (headers-and-body (str above "Subject: hi\n\nhello\n"))))
      (is (= [[] "hello\r\n"] (headers-and-body (str above "\nhello\n"))))
      (is (= [[] ""] (headers-and-body above))))))

(deftest a-line-from-above-the-header-tells-the-sender
  (are [text sender] (= sender (:sender (mail/read-eml text)))
    "From a@example.org Thu Jan  1 00:00:01 1970\nFrom: b@example.org\n\n" "<a@example.org>"
    "From \"a b\"@example.org Thu Jan  1 00:00:01 1970\nFrom: b@example.org\n\n" "<\"a b\"@example.org>"
    "From MAILER-DAEMON Thu Jan  1 00:00:01 1970\nFrom: b@example.org\n\n" "<>"
    "From - Thu Jan  1 00:00:01 1970\nFrom: b@example.org\n\n" "<b@example.org>"
    "From a@example.org\nReturn-Path: <r@example.org>\n\n" "<r@example.org>"
    "\ufeffFrom a@example.org\rSubject: hi\r\r" "<a@example.org>"))

(deftest a-line-from-before-a-text-is-text
  (is (= [[] "From here on all is text.\r\nYes.\r\n"]
         (headers-and-body "From here on all is text.\nYes.\n"))))

(deftest every-kind-of-line-end-is-read
  (doseq [end ["\n" "\r\n" "\r"]]
    (is (= [[["A" "1\n 2"] ["B" "3"]] "x\r\n\r\ny\r\n"]
           (headers-and-body (string/replace "A: 1\n 2\nB: 3\n\nx\n\ny" "\n" end)))
        (pr-str end))))

(deftest whatever-bytes-there-are-they-are-a-mail
  (are [source expected] (= expected (headers-and-body source))
    "" [[] ""]
    "\n" [[] ""]
    "\r" [[] ""]
    "no header" [[] "no header\r\n"]
    "A: 1" [[["A" "1"]] ""]
    "A: 1\n\r" [[["A" "1"]] ""]
    "A: 1\rB: 2\n\n" [[["A" "1\rB: 2"]] ""]
    "\u0000: 1\n" [[] "\u0000: 1\r\n"])
  (let [latin1 (byte-array (concat (.getBytes "A: ") [-28 10 10 -10]))]
    (is (Arrays/equals (byte-array (concat (.getBytes "A: ") [-28 13 10 13 10 -10 13 10]))
                       (mail/message-bytes (mail/read-eml latin1))))))

(deftest a-field-of-many-lines-is-read-in-linear-time
  (let [folds (string/join (repeat 200000 "\n x"))
        start (System/nanoTime)]
    (is (= (count folds) (count (second (first (:headers (mail/read-eml (str "A:" folds "\n\n"))))))))
    (is (= 50000 (count (:headers (mail/read-eml (string/join (repeat 50000 "To: <<<<<<<<<<<<<\n")))))))
    (mail/read-eml (str "From: " (string/join (repeat 50000 "<")) "\n\n"))
    (is (< (- (System/nanoTime) start) 10000000000))))

(deftest a-message-of-a-filter-is-a-mail
  (let [seen (atom nil)
        given {:sender "<a@example.org>", :options ["SIZE=100"]
               :recipients ["<b@example.com>" "<c@example.com>"]
               :recipient-options [[] ["NOTIFY=NEVER"]]
               :headers [["Subject" "hi"] ["X-Empty" ""]], :body "hello\r\nworld\r\n"}
        filter (message-filter (fn [message _]
                                 (reset! seen (update message :body mail/body-bytes))
                                 nil)
                               {:max-message 21, :when-exceeded :truncate})
        as-given #(select-keys (readable %) (conj (keys given) :truncated?))]
    (mt/run-message {:handlers filter} given)
    (let [first-seen @seen]
      (is (= (assoc given :body "hello" :truncated? true) (as-given first-seen)))
      (mt/run-message {:handlers filter} first-seen)
      (is (= (assoc given :body "hello" :truncated? true) (as-given @seen)))
      (is (= (mail/message-text (assoc given :body "hello\r\n")) (mail/message-text first-seen))))))

;; ---- mailboxes

(def ^:private mailbox
  (str "From alice@example.org Thu Jan  1 00:00:01 1970\n"
       "Subject: one\n\n"
       ">From here on\n>>From there\n> From no\nFrom the middle\n\n"
       "From MAILER-DAEMON Thu Jan  1 00:00:02 1970\n"
       "Subject: two\n\n"
       "\nhello\n\n\n"
       "From - Thu Jan  1 00:00:03 1970\n"
       "From: carol@example.org\nSubject: three\n\n\n"
       "From x@example.org Thu Jan  1 00:00:04 1970\n"
       "Return-Path: <y@example.org>\nSubject: four\n\nlast line"))

(deftest a-mailbox-is-read-as-a-vector-of-messages
  (doseq [mailbox [mailbox (string/replace mailbox "\n" "\r\n")]]
    (let [messages (mail/read-mbox mailbox)]
      (is (vector? messages))
      (is (= ["one" "two" "three" "four"]
             (map #(last (last (:headers %))) messages)))
      (testing "whose sender is that of the Return-Path, the From_ line, or From"
        (is (= ["<alice@example.org>" "<>" "<carol@example.org>" "<y@example.org>"]
               (map :sender messages))))
      (testing "without the quotes before From and the empty line before the next message"
        (is (= ["From here on\r\n>From there\r\n> From no\r\nFrom the middle\r\n"
                "\r\nhello\r\n\r\n"
                ""
                "last line\r\n"]
               (map (comp :body readable) messages)))))))

(deftest a-mailbox-takes-one-envelope-for-all
  (is (= [["<me@example.org>" ["<you@example.com>"]]]
         (distinct (map (juxt :sender :recipients)
                        (mail/read-mbox mailbox {:sender "<me@example.org>"
                                                 :recipients ["<you@example.com>"]}))))))

(defn- bodies
  ([mailbox] (bodies mailbox {}))
  ([mailbox options] (map (comp :body readable) (mail/read-mbox mailbox options))))

(deftest the-dialects-of-mailboxes-are-read
  (let [quoted "From a@example.org\nA: 1\n\n>From x\n>>From y\nz\n\nFrom b@example.org\nA: 2\n\nnext\n"]
    (are [dialect expected] (= [expected "next\r\n"] (bodies quoted {:dialect dialect}))
      :mboxo "From x\r\n>>From y\r\nz\r\n"
      :mboxrd "From x\r\n>From y\r\nz\r\n"
      :mboxcl "From x\r\n>>From y\r\nz\r\n"
      :mboxcl2 ">From x\r\n>>From y\r\nz\r\n"))
  (let [body "hi\n\nFrom the heart\nX: y\n\n>From x\n\n"
        counted (fn [n] (str "From a@example.org\nContent-Length: " n "\n\n" body "\n"
                             "From b@example.org\ncontent-length:5\n\nnext\n"))
        wire (string/replace body "\n" "\r\n")]
    (doseq [mailbox [(counted (count body)) (string/replace (counted (count wire)) "\n" "\r\n")]]
      (is (= [wire "next\r\n"] (bodies mailbox) (bodies mailbox {:dialect :mboxcl2})))
      (is (= [(string/replace wire ">From" "From") "next\r\n"] (bodies mailbox {:dialect :mboxcl})))
      (is (= 3 (count (bodies mailbox {:dialect :mboxrd})))))
    (testing "a length that leads nowhere is ignored"
      (doseq [length [0 1 (- (count body) 2) 100000 "999999999999999999999" "x"]]
        (is (= ["hi\r\n" "From x\r\n\r\n" "next\r\n"] (bodies (counted length))) length)))))

(deftest a-mailbox-may-have-a-byte-order-mark-or-cr-as-line-end
  (is (= ["x\r\n" "y\r\n"]
         (bodies "\ufeffFrom a\nA: 1\n\nx\n\nFrom b\nB: 1\n\ny\n")
         (bodies "From a\rA: 1\r\rx\r\rFrom b\rB: 1\r\ry\r"))))

(defn- written
  [messages]
  (let [out (ByteArrayOutputStream.)]
    (mail/write-mbox out messages)
    (.toByteArray out)))

(deftest a-mailbox-is-written-with-quotes-before-from
  (is (= (str "From a@example.org Thu Jan  1 00:00:00 1970\nA: 1\n b\n\n>From x\n>>From y\n\n"
              "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n\n\n"
              "From \"a b\"@example.org Thu Jan  1 00:00:00 1970\n\n\n")
         (String. (bytes (written [{:sender "<a@example.org>", :headers [["A" "1\n b"]]
                                    :body "From x\n>From y"}
                                   {:sender "<>", :headers [], :body ""}
                                   {:sender "<@relay.example:\"a b\"@example.org>", :headers [], :body ""}])))))
  (testing "to files, too"
    (with-file ""
      (fn [^File file]
        (doseq [target [file (.toPath file)]]
          (mail/write-mbox target [{:body "x"}])
          (is (= ["x\r\n"] (bodies file)))))))
  (is (string/includes? (:message (thrown (mail/write-mbox "name" []))) "a File, a Path or an OutputStream")))

(def ^:private any-message
  (let [line (gen/elements ["" "From " "From x" ">From x" ">>From " " From" "x" "." "\r" "x\r" "ü" "\u0000"
                            "\u0085From x" "From a@b Thu Jan  1 00:00:00 1970" "Subject: hi" "\ufeff"])
        value (gen/fmap #(string/join "\n " %) (gen/vector (gen/elements ["" "x" "From x" "ü" "\t"]) 1 3))]
    (gen/hash-map
      :sender (gen/elements ["<>" "<a@example.org>" "<\"a b\"@example.org>" "<\"a\\\" b\"@example.org>"
                             "<jörg@exämple.org>" "<\"From \"@[192.0.2.1]>"])
      :headers (gen/vector (gen/tuple (gen/elements ["A" "Subject" "From" "To" ">From" "Content-Length"]) value) 0 4)
      :body (gen/fmap #(string/join "\n" %) (gen/vector line 0 6)))))

(defspec a-mailbox-that-was-written-is-read-as-it-was 500
  (prop/for-all [messages (gen/vector any-message 0 4)]
    (let [kept #(map (juxt :sender :headers (comp :body readable)) %)]
      (= (kept (map mail/message messages))
         (kept (mail/read-mbox (written messages)))))))

(deftest an-empty-mailbox-has-no-messages-and-what-is-none-is-told
  (is (= [] (mail/read-mbox "") (mail/read-mbox "\n")))
  (is (thrown-with-msg? IllegalArgumentException #"a mailbox must begin with a line such as"
        (mail/read-mbox text))))

(deftest a-text-that-cannot-be-sent-is-refused-by-the-name-of-its-key
  (let [message (fn [f] (:message (thrown (f))))
        cases {{:sender "<a\u0000@example.org>"}
               ":sender must be one line without NUL, CR and LF, not \"<a\\u0000@example.org>\", which holds U+0000"

               {:sender "<a@example.org>\r\nDATA"}
               ":sender must be one line without NUL, CR and LF, not \"<a@example.org>\\r\\nDATA\", which holds U+000D"

               {:recipients ["<b@example.com>" "<\ud800@example.com>"]}
               "[:recipients 1] must be one line without NUL, CR and LF, not \"<\\ud800@example.com>\", which holds the lone surrogate U+D800"

               {:options ["SIZE=1" "RET=\n"]}
               "[:options 1] must be one line"

               {:recipient-options [[] ["NOTIFY=NEVER" "\u0000"]]}
               "[:recipient-options 1 1] must be one line"

               {:headers [["Subject" "hi"] ["X-\u0000" "hi"]]}
               "[:headers 1 0] must be the name of a header field, without spaces, colons and control characters, not \"X-\\u0000\""

               {:headers [["Subject" "\udfff"]]}
               "[:headers 0 1] must be a text that can be encoded"

               {:headers [["" "hi"]]}
               "[:headers 0 0] must be the name of a header field"

               {:body "\ud800"}
               ":body must be a text that can be encoded"

               {:body [(byte-array 1) "\ud800"]}
               "[:body 1] must be a text that can be encoded"}]
    (doseq [[given expected] cases
            [taker take] {"message" mail/message
                          "run-message" #(mt/run-message {:handlers {:mail (fn [_ context] context)}} %)
                          "apply-actions" #(mta/apply-actions % [])
                          "outcome" #(mta/outcome {:message %, :conversation []})
                          "write-mbox" #(mail/write-mbox (ByteArrayOutputStream.) [%])}]
      (is (string/includes? (str (message #(take given))) expected) taker))
    (is (= "in an envelope, :sender must be one line without NUL, CR and LF, not \"<\\u0000>\", which holds U+0000"
           (message #(mail/read-eml "Subject: hi\n\n" {:sender "<\u0000>"}))))
    (is (string/includes? (message #(mail/message "Subject: \ud800\n\n")) "mail must be a text that can be encoded"))
    (testing "What stands for a byte can be sent, and whole pairs can"
      (is (= "<\udce4\ud83d\ude00@example.org>" (:sender (mail/message {:sender "<\udce4\ud83d\ude00@example.org>"})))))))

(deftest a-text-of-the-client-that-cannot-be-sent-is-refused-by-the-name-of-its-key
  (let [message (fn [options] (:message (thrown (mt/run-message {:handlers {:mail (fn [_ context] context)}} {} options))))]
    (are [options expected] (string/starts-with? (str (message options)) expected)
      {:hello "a\r\nb"} ":hello must be one line without NUL, CR and LF, not \"a\\r\\nb\", which holds U+000D"
      {:client {:host-name "\u0000"}} "[:client :host-name] must be one line"
      {:client {:address "\ud800"}} "[:client :address] must be one line"
      {:macros {"i" "\u0000"}} "[:macros \"i\"] must be a text without NUL, not \"\\u0000\""
      {:macros {:mail {"i" "\u0000"}}} "[:macros :mail \"i\"] must be a text without NUL")))
