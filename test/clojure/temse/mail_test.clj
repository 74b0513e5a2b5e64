(ns temse.mail-test
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.mail :as mail]
   [temse.support :refer [thrown]]
   [temse.test :as mt])
  (:import
   (java.io ByteArrayInputStream File)
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
       "<sender@example.org>" ["<recipient@example.com>"]))

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
    {:reciepients []} "there is no key :reciepients in a mail; did you mean :recipients? Its keys are :body"
    {:recipients "<a@b.example>"} ":recipients must be a vector of addresses, not \"<a@b"
    {:body 1} "in a mail, :body must be a string, bytes or a sequence of these, not 1"
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
                "A: b\r\n\r\n\r\n"]]
    (is (= (string/replace text #"\r?\n" "\r\n")
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

;; Mailboxes

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

(deftest an-empty-mailbox-has-no-messages-and-what-is-none-is-told
  (is (= [] (mail/read-mbox "") (mail/read-mbox "\n")))
  (is (thrown-with-msg? IllegalArgumentException #"a mailbox must begin with a line such as"
        (mail/read-mbox text))))
