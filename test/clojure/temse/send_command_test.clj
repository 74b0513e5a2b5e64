(ns temse.send-command-test
  "The command send: what it plays to a filter, what it tells, and its exit codes."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.differential.peers :as peers]
   [temse.impl.command.load :as load]
   [temse.impl.command.send :as send]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.support :as support])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io ByteArrayInputStream DataInputStream File IOException OutputStream StringWriter)
   (java.lang ProcessHandle)
   (java.net InetAddress ServerSocket Socket)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util List)
   (java.util.concurrent TimeUnit)
   (java.util.stream LongStream LongStream$Builder)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- run
  "Returns the exit :code, what was printed as :out, and as :error what the command ended with or
  printed as an error."
  [& args]
  (let [out (StringWriter.)
        err (StringWriter.)
        outcome (binding [*out* out, *err* err]
                  (try
                    {:code (send/run (map str args))}
                    (catch ExceptionInfo e
                      {:code (:temse.cli/exit (ex-data e)), :error (ex-message e)})))
        printed (string/trim-newline (string/replace (str err) #"(?m)^temse: " ""))]
    (cond-> (assoc outcome :out (str out))
      (seq printed) (update :error #(if % (str printed "\n" %) printed)))))

(defmacro ^:private with-filter
  "Runs the body with `address` bound to that of a filter of these handlers, which logs nothing."
  {:style/indent 1}
  [[address handlers] & body]
  `(support/with-logs records#
     (milter/with-milter [server# {:port 0, :handlers ~handlers}]
       (let [~address (milter/milter-address server#)]
         ~@body))))

(defn- recording
  "Returns handlers of all events that add what they see to an atom."
  [seen]
  (into {}
        (for [event [:connect :hello :mail :recipient :data :header :end-of-headers :body
                     :end-of-message]]
          [event (fn [e context]
                   (swap! seen conj (assoc e
                                           :connection (:id (:milter/info context))
                                           :macros (apply merge (vals (milter/macros context)))))
                   context)])))

(defn- told
  "Returns the values of keys, or of one, in the events of one kind that were seen."
  [seen event & [k & more :as ks]]
  (for [e @seen
        :when (= event (:event e))]
    (if more (mapv e ks) (get e k))))

(declare json)

(defn- with-files
  "Calls f with the paths of files of these texts."
  [f & texts]
  (let [files (mapv (fn [text]
                      (let [file (File/createTempFile "mail_" ".eml")]
                        (io/copy (Text/encodeBytes text) file)
                        file))
                    texts)]
    (try
      (apply f (map str files))
      (finally
        (run! io/delete-file files)))))

(defn- without-time
  [out]
  (string/replace out #"[0-9.]+ ms" "0 ms"))

;; What the filter gets

(deftest a-mail-is-made-of-options
  (let [seen (atom [])]
    (with-filter [address (recording seen)]
      (is (= 0 (:code (run address
                           "--from" "alice@example.org"
                           "--rcpt" "bob@example.com" "--rcpt" "<carol@example.com>"
                           "--header" "Subject: Buy now!!!" "--header" "X-Empty:"
                           "--body" "Buy via" "--body=gra!!!\n"
                           "--connect-host" "mail.example.net" "--connect-address" "2001:db8::1"
                           "--connect-port" "99" "--helo" "me"
                           "--macro" "auth_authen=alice" "--macro" "{daemon_name}=a=b")))))
    (is (= [["mail.example.net" :inet6 "2001:db8::1" 99]]
           (told seen :connect :host-name :family :address :port)))
    (is (= ["me"] (told seen :hello :greeting)))
    (is (= ["<alice@example.org>"] (told seen :mail :sender)))
    (is (= ["<bob@example.com>" "<carol@example.com>"] (told seen :recipient :address)))
    (is (= [["From" "alice@example.org"] ["To" "bob@example.com, carol@example.com"]
            ["Subject" "Buy now!!!"] ["X-Empty" ""]]
           (told seen :header :name :value)))
    (is (= ["Buy via" "gra!!!\r\n"] (map #(Text/decode %) (told seen :body :data))))
    (is (= {"auth_authen" "alice", "daemon_name" "a=b"}
           (select-keys (first (told seen :mail :macros)) ["auth_authen" "daemon_name"])))))

(deftest what-no-option-says-has-a-default
  (let [seen (atom [])]
    (with-filter [address (recording seen)]
      (is (= 0 (:code (run address)))))
    (is (= [["client.example.org" :inet "192.0.2.1" 40110]]
           (told seen :connect :host-name :family :address :port)))
    (is (= ["client.example.org"] (told seen :hello :greeting)))
    (is (= [["From" "sender@example.org"] ["To" "recipient@example.com"] ["Subject" "A test"]]
           (told seen :header :name :value)))
    (is (= ["This is a test.\r\n"] (map #(Text/decode %) (told seen :body :data))))))

(deftest the-null-sender-is-an-empty-address
  (doseq [given ["<>" ""]]
    (let [seen (atom [])]
      (with-filter [address (recording seen)]
        (run address "--from" given))
      (is (= ["<>"] (told seen :mail :sender))))))

(deftest a-header-field-takes-the-place-of-the-default-of-its-name
  (let [seen (atom [])]
    (with-filter [address (recording seen)]
      (run address "--header" "subject:a" "--header" "SUBJECT:  b" "--header" "X-Folded: a\n\tb"))
    (is (= [["From" "sender@example.org"] ["To" "recipient@example.com"] ["subject" "a"]
            ["SUBJECT" " b"] ["X-Folded" "a\n\tb"]]
           (told seen :header :name :value)))))

(def ^:private two-mails
  (str "From carol@example.net Thu Jan  1 00:00:00 2026\nTo: bob@example.com\nSubject: one\n\n1\n\n"
       "From dave@example.net Thu Jan  1 00:00:00 2026\nTo: bob@example.com\nSubject: two\n\n2\n"))

(deftest mails-of-files-go-over-one-connection
  (with-files
    (fn [eml mbox]
      (let [seen (atom [])
            in System/in
            out (with-filter [address (recording seen)]
                  (try
                    (System/setIn (ByteArrayInputStream. (.getBytes "Subject: piped\n\n")))
                    (:out (run address eml "-" "--mbox" mbox))
                    (finally
                      (System/setIn in))))]
        (is (= ["<alice@example.org>" "<sender@example.org>" "<carol@example.net>"
                "<dave@example.net>"]
               (told seen :mail :sender)))
        (is (= ["a\udce9b" "piped" "one" "two"]
               (for [[field-name value] (told seen :header :name :value)
                     :when (= "Subject" field-name)]
                 value)))
        (is (= 1 (count (distinct (map :connection @seen)))))
        (testing "and each has its title"
          (is (= [eml "-" (str mbox " 1") (str mbox " 2")]
                 (map first (partition 4 5 (string/split-lines out))))))))
    "From: Alice <alice@example.org>\r\nTo: bob@example.com\r\nSubject: a\udce9b\r\n\r\nhi\r\n"
    two-mails))

(deftest the-envelope-given-is-that-of-all-files
  (with-files
    (fn [eml mbox]
      (let [seen (atom [])]
        (with-filter [address (recording seen)]
          (run address eml "--mbox" mbox "--from" "<>" "--rcpt" "x@example.com"))
        (is (= ["<>" "<>" "<>"] (told seen :mail :sender)))
        (is (= ["<x@example.com>" "<x@example.com>" "<x@example.com>"]
               (told seen :recipient :address)))))
    "From: alice@example.org\n\nhi\n"
    two-mails))

(deftest the-mta-has-the-habits-and-the-version-asked-for
  (are [args version daemon-name id-at-mail]
       (let [seen (atom [])
             agreement (with-filter [address (recording seen)]
                         (:agreement (edn/read-string (:out (apply run address "--edn" args)))))]
         (and (= version (:version agreement))
              (= [daemon-name id-at-mail]
                 ((juxt #(get % "daemon_name") #(contains? % "i"))
                  (first (told seen :mail :macros))))))
       [] 6 "mx.example.com" false
       ["--mta" "postfix" "--version" "6"] 6 "mx.example.com" false
       ["--mta" "sendmail"] 6 "MTA" true
       ["--version" "4"] 4 "mx.example.com" false
       ["--version" "3"] 3 "mx.example.com" false
       ["--mta=sendmail" "--version=2"] 2 "MTA" true))

;; Servers of bytes

(defn- with-peer
  "Calls f with the address of a server that treats its first connection as `behave` does."
  [behave f]
  (with-open [server (ServerSocket. 0 1 (InetAddress/getLoopbackAddress))]
    (let [peer (future
                 (with-open [socket (.accept server)]
                   (behave socket)))]
      (try
        (f (str "inet:" (.getLocalPort server) "@127.0.0.1"))
        (finally
          (.close server)
          (future-cancel peer))))))

(def ^:private answer-to-offer
  [0 0 0 13 (int \O) 0 0 0 6 0 0 0 0 0 0 0 0])

(defn- write
  [^Socket socket octets]
  (doto (.getOutputStream socket)
    (.write (byte-array (map unchecked-byte octets)))
    (.flush)))

(defn- skip-packets
  [^Socket socket n]
  (let [in (DataInputStream. (.getInputStream socket))]
    (dotimes [_ n]
      (.readFully in (byte-array (.readInt in))))))

(defn- read-to-end
  [^Socket socket]
  (.readAllBytes (.getInputStream socket)))

(defn- with-server
  "Calls f with the address of a server that treats each connection as `behave` does, which gets its number, too."
  [behave f]
  (with-open [server (ServerSocket. 0 9 (InetAddress/getLoopbackAddress))]
    (let [peer (future
                 (doseq [number (range)]
                   (with-open [socket (.accept server)]
                     (behave socket number))))]
      (try
        (f (str "inet:" (.getLocalPort server) "@127.0.0.1"))
        (finally
          (.close server)
          (future-cancel peer))))))

(defn- answer-all
  "Lets each event go on, and closes at the first packet of one of these codes."
  [^Socket socket closing]
  (let [in (DataInputStream. (.getInputStream socket))]
    (loop []
      (let [packet (byte-array (.readInt in))]
        (.readFully in packet)
        (when-not (closing (aget packet 0))
          (when-not (#{(int \D) (int \A) (int \Q)} (aget packet 0))
            (write socket [0 0 0 1 (int \c)]))
          (recur))))))

;; Where mails come from

(defn- with-directory
  "Calls f with a directory, which is deleted afterwards with all that is in it."
  [f]
  (let [directory (.toFile (Files/createTempDirectory "mails" (make-array FileAttribute 0)))]
    (try
      (f directory)
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))

(defn- put
  [directory & path-and-text]
  (let [file (apply io/file directory (butlast path-and-text))]
    (io/make-parents file)
    (spit file (last path-and-text))))

(defn- subjects
  [seen]
  (for [[field-name value] (told seen :header :name :value)
        :when (= "Subject" field-name)]
    value))

(deftest a-directory-is-its-mails-and-a-maildir-is-its-new-and-other-ones
  (with-directory
    (fn [directory]
      (put directory "plain" "b.eml" "Subject: b\n\n")
      (put directory "plain" "a.eml" "Subject: a\n\n")
      (put directory "plain" ".hidden" "Subject: hidden\n\n")
      (put directory "plain" "below" "c.eml" "Subject: c\n\n")
      (put directory "maildir" "cur" "1:2,S" "Subject: read\n\n")
      (put directory "maildir" "new" "2" "Subject: new\n\n")
      (put directory "maildir" "tmp" "3" "Subject: tmp\n\n")
      (.mkdir (io/file directory "empty"))
      (let [seen (atom [])]
        (with-filter [address (recording seen)]
          (is (= 0 (:code (run address (io/file directory "plain") (io/file directory "maildir")))))
          (is (= ["a" "b" "new" "read"] (subjects seen)))
          (let [empty-directory (str (io/file directory "empty"))]
            (is (= {:code 2, :out "", :error (str empty-directory ": there is no mail in this directory")}
                   (run address empty-directory)))))))))

(deftest a-directory-has-no-pipes-to-wait-for-and-tells-what-cannot-be-read
  (with-directory
    (fn [directory]
      (put directory "a.eml" "Subject: a\n\n")
      (is (zero? (.waitFor (.start (ProcessBuilder. ^List (vector "mkfifo" (str (io/file directory "pipe"))))))))
      (let [lost (.toPath (io/file directory "lost.eml"))
            seen (atom [])]
        (Files/createSymbolicLink lost (.resolveSibling lost "nowhere") (make-array FileAttribute 0))
        (with-filter [address (recording seen)]
          (is (= [2 (str lost ": there is no such file")]
                 ((juxt :code :error) (support/awaited (future (run address directory)))))))
        (is (= ["a"] (subjects seen)))))))

(deftest a-pipe-is-read-to-its-end
  (with-directory
    (fn [directory]
      (let [pipe (io/file directory "pipe")
            seen (atom [])]
        (is (zero? (.waitFor (.start (ProcessBuilder. ^List (vector "mkfifo" (str pipe)))))))
        (with-filter [address (recording seen)]
          (let [writer (future (spit pipe "Subject: piped\n\nhi\n"))]
            (is (= 0 (:code (run address pipe))))
            (support/awaited writer)))
        (is (= ["piped"] (subjects seen)))))))

(deftest a-mail-that-cannot-be-sent-is-reported-and-the-next-one-follows
  (with-files
    (fn [first-mail last-mail]
      (let [seen (atom [])]
        (with-filter [address (recording seen)]
          (let [{:keys [code error out]} (run address first-mail "/no/such.eml" last-mail)]
            (is (= 2 code))
            (is (= "/no/such.eml: there is no such file" error))
            (is (= 2 (count (re-seq #"status: accepted" out)))))
          (is (= ["accept" nil "accept"]
                 (map #(get (json %) "verdict")
                      (string/split-lines (:out (run address "--json" first-mail "/no/such.eml" last-mail)))))))
        (is (= ["first" "last" "first" "last"] (subjects seen)))))
    "Subject: first\n\n"
    "Subject: last\n\n"))

(deftest a-mail-that-breaks-the-connection-is-followed-by-the-next-one
  (with-server (fn [socket number]
                 (skip-packets socket 1)
                 (write socket answer-to-offer)
                 (answer-all socket (if (zero? number) #{(int \M)} #{})))
               (fn [address]
                 (with-files
                   (fn [mbox]
                     (let [{:keys [code error out]} (run address "--mbox" mbox)]
                       (is (= 2 code))
                       (is (= (str address ": " mbox " 1: the milter closed the connection at :mail;"
                                   " Postfix defers by 451 4.7.1 and does without the milter from then on;"
                                   " the log of the filter should show why")
                              error))
                       (is (= 1 (count (re-seq #"status: accepted" out))))))
                   two-mails))))

;; Macros, other commands, the message

(deftest a-macro-is-sent-at-its-stage-or-where-it-is-listed-or-at-connect
  (doseq [mta ["postfix" "sendmail"]
          :let [seen (atom [])
                stages (fn [macro-name]
                         (for [{:keys [event stage-macros]} @seen
                               :when (contains? stage-macros macro-name)]
                           event))]]
    (with-filter [address (into {}
                                (for [event [:connect :hello :mail :recipient :data :end-of-message]]
                                  [event (fn [e context]
                                           (swap! seen conj (assoc e :stage-macros (get (milter/macros context) event)))
                                           context)]))]
      (is (= 0 (:code (run address "--mta" mta "--macro" "nobody_lists=1" "--macro" "auth_authen=a"
                           "--macro" "rcpt:own=2" "--macro" "end-of-message:own=3")))))
    (testing mta
      (is (= [:connect] (stages "nobody_lists")))
      (is (= [:mail] (stages "auth_authen")))
      (is (= [:recipient :end-of-message] (stages "own"))))))

(deftest commands-that-the-mta-does-not-know-are-sent-after-hello
  (let [seen (atom [])]
    (with-filter [address (assoc (recording seen)
                                 :unknown (fn [{:keys [command]} _]
                                            (swap! seen conj {:event :unknown, :command command})
                                            (when (= "EVIL" command) [(act/reject)])))]
      (let [{:keys [code out]} (run address "--unknown" "HELP me" "--unknown" "EVIL")]
        (is (= 0 code))
        (is (string/starts-with? out "unknown: HELP me continue\nunknown: EVIL reject\nstatus: accepted"))))
    (is (= ["HELP me" "EVIL"] (told seen :unknown :command)))
    (is (= [:connect :hello :unknown :unknown :mail] (map :event (take 5 @seen))))))

(deftest a-reset-comes-before-each-mail
  (let [seen (atom [])]
    (with-filter [address (assoc (recording seen)
                                 :message-end (fn [{:keys [reason]} context]
                                                (swap! seen conj {:event :message-end, :reason reason})
                                                context))]
      (with-files
        (fn [mbox]
          (is (= 0 (:code (run address "--rset" "--mbox" mbox)))))
        two-mails))
    (is (= 4 (count (told seen :mail))))
    (is (= [:aborted :accepted :aborted :accepted]
           (told seen :message-end :reason)))))

(deftest the-mail-as-it-would-be-delivered-is-written
  (with-directory
    (fn [directory]
      (let [one (io/file directory "one.eml")
            several (io/file directory "several.mbox")]
        (with-filter [address {:header (fn [{:keys [value]} _] (when (= "refused" value) [(act/reject)]))
                               :end-of-message (fn [_ _] [(act/add-header "X-Seen" "yes")])}]
          (run address "--output-message" one)
          (is (= (str "From: sender@example.org\r\nTo: recipient@example.com\r\nSubject: A test\r\nX-Seen: yes\r\n\r\n"
                      "This is a test.\r\n")
                 (slurp one)))
          (run address "--output-message" one "--header" "Subject: refused")
          (is (= "" (slurp one)))
          (with-files
            (fn [mbox]
              (run address "--output-message" several "--mbox" mbox)
              (is (= [["one" "yes"] ["two" "yes"]]
                     (for [{:keys [headers]} (mail/read-mbox several)]
                       (map (into {} headers) ["Subject" "X-Seen"])))))
            two-mails))))))

(deftest a-mail-that-cannot-be-written-is-an-error-and-nothing-is-left-of-it
  (with-directory
    (fn [directory]
      (let [file (io/file directory "one.eml")
            filling-up (fn [^OutputStream out _]
                         (fn [_]
                           (.write out (.getBytes "Subject: A"))
                           (.flush out)
                           (throw (IOException. "No space left on device"))))]
        (with-filter [address {:mail (fn [_ _] nil)}]
          (with-redefs-fn {#'send/message-writer filling-up}
            (fn []
              (let [{:keys [code error]} (run address "--output-message" file)]
                (is (= 2 code))
                (is (= (str "--output-message: " file " could not be written: No space left on device;"
                            " what was written of it is deleted")
                       error))
                (is (not (.exists file))))))
          (testing "on a device that is full"
            (let [{:keys [code error]} (run address "--output-message" "/dev/full")]
              (is (= 2 code))
              (is (string/starts-with? (str error) "--output-message: /dev/full could not be written: "))
              (is (.exists (io/file "/dev/full")))))
          (testing "where no file can be made"
            (let [{:keys [code error]} (run address "--output-message" (io/file directory "none" "a.eml"))]
              (is (= 2 code))
              (is (string/starts-with? (str error) (str "--output-message: " directory))))))))))

;; What is told, and the exit code

(defn- answering
  "Returns handlers that answer one event with actions."
  [event & actions]
  {event (fn [_ _] (vec actions))})

(deftest people-are-told-status-reply-time-and-modifications
  (are [code lines handlers] (with-filter [address handlers]
                               (= {:code code, :out (str (string/join "\n" lines) "\n")}
                                  (update (run address) :out without-time)))
    0 ["status: accepted at end-of-message" "reply: accept" "elapsed: 0 ms"
       "modification: add-header X-Seen: yes" "modification: quarantine odd"]
    (answering :end-of-message (act/add-header "X-Seen" "yes") (act/quarantine "odd") (act/accept))

    0 ["status: accepted at connect" "reply: accept" "elapsed: 0 ms"]
    (answering :connect (act/accept))

    1 ["status: refused at header" "reply: 550 5.7.1 Not 100% good" "elapsed: 0 ms"]
    (answering :header (act/reply-code 550 "5.7.1" "Not 100% good"))

    1 ["status: deferred at mail" "reply: temporary-failure" "elapsed: 0 ms"]
    (answering :mail (act/temporary-failure))

    1 ["status: discarded at body" "reply: discard" "elapsed: 0 ms"]
    (answering :body (act/discard))))

(deftest a-recipient-that-is-refused-is-told
  (with-filter [address {:recipient (fn [{:keys [address]} _]
                                      (when (= "<trap@example.com>" address)
                                        [(act/reject)]))}]
    (is (= {:code 0
            :out (str "status: accepted at end-of-message\nreply: continue\nelapsed: 0 ms\n"
                      "recipient: <trap@example.com> reject\n")}
           (update (run address "--rcpt" "bob@example.com" "--rcpt" "trap@example.com")
                   :out without-time)))
    (is (= 1 (:code (run address "--rcpt" "trap@example.com"))))))

(deftest one-mail-that-is-not-accepted-makes-the-exit-code
  (with-filter [address {:header (fn [{:keys [value]} _] (when (= "one" value) [(act/reject)]))}]
    (with-files
      (fn [mbox]
        (is (= 1 (:code (run address "--mbox" mbox)))))
      two-mails)))

(deftest the-conversation-and-the-difference-are-shown-on-request
  (with-filter [address {:header (fn [_ _] nil)
                         :end-of-message (fn [_ _] [(act/add-header "X-Seen" "yes")])}]
    (doseq [option ["-v" "--verbose"]
            :let [{:keys [code out]} (run address option)]]
      (is (= 0 code))
      (are [line] (some #{line} (string/split-lines (string/replace out #" +\([0-9.]+ ms\)" "")))
        "modification: add-header X-Seen: yes"
        "  MTA  --> header Subject: A test"
        "       <-- continue"
        "  + X-Seen: yes"))))

(deftest help-is-shown-instead-of-sending
  (doseq [args [["--help"] ["-h"] ["20025" "--count" "3" "--help"]]
          :let [{:keys [code out]} (apply run args)]]
    (is (= 0 code))
    (is (string/starts-with? out "usage: temse send ADDRESS"))))

;; For programs

(def ^:private json-token
  (re-pattern
    (string/join "|"
                 ["\\s++"
                  "[\\[\\]{},:]"
                  "\"(?:[^\"\\\\\\x00-\\x1f]++|\\\\(?:[\"\\\\/bfnrt]|u[0-9a-f]{4}))*+\""
                  "-?(?:0|[1-9]\\d*+)(?:\\.\\d++)?+(?:E-?\\d++)?+"
                  "true|false|null"])))

(declare json-value)

(defn- json-members
  "Returns what is between brackets, and the tokens after it."
  [tokens end member]
  (if (= end (first tokens))
    [[] (rest tokens)]
    (loop [members [], tokens tokens]
      (let [[found [delimiter & more]] (member tokens)
            members (conj members found)]
        (cond
          (= end delimiter) [members more]
          (= "," delimiter) (recur members more)
          :else (throw (ex-info "no delimiter" {:token delimiter})))))))

(defn- json-member
  [[k colon & more]]
  (when-not (and (string/starts-with? k "\"") (= ":" colon))
    (throw (ex-info "no member of an object" {:key k})))
  (let [[value more] (json-value more)]
    [[(edn/read-string k) value] more]))

(defn- json-value
  "Returns the value that tokens begin with, and the tokens after it."
  [[token & more]]
  (case token
    "{" (update (json-members more "}" json-member) 0 #(into {} %))
    "[" (json-members more "]" json-value)
    "null" [nil more]
    [(edn/read-string token) more]))

(defn- json
  "Returns the value of a JSON text, which is nothing else."
  [text]
  (let [tokens (re-seq json-token text)
        [value more] (json-value (remove string/blank? tokens))]
    (is (= text (string/join tokens)))
    (is (empty? more))
    value))

(def ^:private odd-text
  "a\"b\\c\té\udce9\ud83d\ude00")

(deftest programs-get-one-line-of-ascii-for-each-mail
  (with-filter [address (answering :end-of-message
                                   (act/add-header "X-Odd" odd-text)
                                   (act/change-body "\u0001\udcff\n")
                                   (act/reply-code 451 "4.7.1" "Later"))]
    (with-files
      (fn [mbox]
        (doseq [[option read] [["--json" json] ["--edn" edn/read-string]]
                :let [{:keys [code out]} (run address option "--mbox" mbox)
                      lines (string/split-lines out)]]
          (testing option
            (is (= 1 code))
            (is (re-matches #"[\n -~]+" out))
            (is (= 2 (count lines)))
            (let [values (fn [document ks]
                           (get-in document (if (= "--json" option)
                                              (map #(if (keyword? %) (name %) %) ks)
                                              ks)))
                  document (read (second lines))]
              (is (= (str mbox " 2") (values document [:title])))
              (is (= "temporary-failure" (name (values document [:verdict]))))
              (is (= "end-of-message" (name (values document [:at]))))
              (is (= [451 "4.7.1" "Later"]
                     (map #(values document [:reply %]) [:smtp-code :enhanced-code :text])))
              (is (= odd-text (values document [:modifications 0 :value])))
              (is (= "\u0001\udcff\n" (values document [:modifications 1 :body])))
              (is (= ["Subject" "two"] (values document [:sent :headers 1])))
              (is (pos-int? (values document [:nanos])))
              (is (nil? (values document [:message])))
              (is (= "continue"
                     (name (values document [:recipients "<bob@example.com>" :action])))))))
        (testing "and EDN holds keywords"
          (is (= {:action :reply-code, :smtp-code 451, :enhanced-code "4.7.1", :text "Later"}
                 (:reply (edn/read-string (:out (run address "--edn"))))))))
      two-mails)))

;; Load

(deftest many-messages-are-counted-and-measured
  (let [seen (atom [])]
    (with-filter [address (assoc (recording seen)
                                 :header (fn [{:keys [value]} _]
                                           (when (= "two" value) [(act/reject)])))]
      (with-files
        (fn [mbox]
          (let [{:keys [code out]} (run address "--mbox" mbox "--count" 101 "--threads" 3)]
            (is (= 1 code))
            (is (re-find #"^101 messages on 3 connections in \d+\.\d+ s: \d+\.\d messages/s\n" out))
            (is (= "accepted 51, refused 50" (second (string/split-lines out))))
            (is (= 101 (count (told seen :mail))))
            (is (= 3 (count (told seen :connect))))
            (is (= {"connect" 3, "hello" 3, "mail" 101, "recipient" 101, "data" 101, "header" 202
                    "end-of-headers" 51, "body" 51, "end-of-message" 51, "message" 101}
                   (into {} (for [[_ event n] (re-seq #"(?m)^([a-z-]+) +(\d+) " out)]
                              [event (parse-long n)])))))
          (let [document (json (string/trim-newline (:out (run address "--mbox" mbox "--count" 4
                                                            "--json"))))]
            (is (= [4 1 {"accept" 2, "reject" 2}]
                   (map document ["messages" "connections" "verdicts"]))))
          (let [document (edn/read-string (:out (run address "--mbox" mbox "--threads" 9 "--edn")))]
            (is (= [2 2 {:accept 1, :reject 1}]
                   ((juxt :messages :connections :verdicts) document)))
            (doseq [[_ latency] (:latencies document)]
              (is (apply <= 1 ((juxt :min :p50 :p90 :p99 :max) latency))))))
        two-mails))))

(deftest a-client-that-is-settled-at-connect-comes-again
  (with-filter [address (answering :connect (act/temporary-failure))]
    (let [{:keys [code out]} (run address "--count" 5)]
      (is (= 1 code))
      (is (string/starts-with? out "5 messages on 5 connections"))
      (is (string/includes? out "\ndeferred 5\n")))))

(deftest percentiles-are-latencies-that-there-were
  (are [percentiles latencies]
       (let [builders (for [share (partition-all 3 latencies)]
                        (reduce #(.add ^LongStream$Builder %1 (long %2))
                                (LongStream/builder)
                                share))]
         (= percentiles ((juxt :count :min :p50 :p90 :p99 :max) (@#'load/percentiles builders))))
       [1 7 7 7 7 7] [7]
       [2 1 1 9 9 9] [9 1]
       [100 1 50 90 99 100] (shuffle (range 1 101))
       [1000 1 500 900 990 1000] (shuffle (range 1 1001))))

;; What is refused before anything is sent

(deftest mistakes-in-the-arguments-are-told-in-one-line
  (are [args error] (= {:code 2, :error error, :out ""} (apply run args))
    []
    "name the address of the filter, such as inet:20025@127.0.0.1; temse send --help shows what it takes"
    ["1" "--fron" "a"] "there is no option --fron; did you mean --from?; temse send --help shows what it takes"
    ["1" "-x"] "there is no option -x; temse send --help shows what it takes"
    ["1" "--from"] "--from needs a value: --from ADDRESS; temse send --help shows what it takes"
    ["1" "--json=1"] "--json takes no value; temse send --help shows what it takes"
    ["1" "--from" "a" "--from=b"] "--from is given twice; temse send --help shows what it takes"
    ["1" "--header" "Subject"]
    "--header needs a name, a colon and a value, such as 'Subject: hi', not \"Subject\""
    ["1" "--header" ": hi"]
    "--header needs a name, a colon and a value, such as 'Subject: hi', not \": hi\""
    ["1" "--header" "Sub ject: hi"]
    "--header needs a name, a colon and a value, such as 'Subject: hi', not \"Sub ject: hi\""
    ["1" "--macro" "i"] "--macro needs NAME=VALUE or STAGE:NAME=VALUE, such as auth_authen=alice, not \"i\""
    ["1" "--macro" "=i"] "--macro needs NAME=VALUE or STAGE:NAME=VALUE, such as auth_authen=alice, not \"=i\""
    ["1" "--macro" "quit:i=1"]
    (str "the STAGE of --macro is one of connect, data, end-of-headers, end-of-message, hello, helo, mail, rcpt,"
         " recipient, not \"quit\"")
    ["1" "--rset" "--count" "2"]
    (str "--rset, --unknown and --output-message are for single conversations, --count and --threads measure:"
         " take one of them")
    ["1" "--mta" "exim"] "--mta is one of postfix, sendmail, not \"exim\""
    ["1" "--version" "5"] "--version is one of 2, 3, 4, 6, not \"5\""
    ["1" "--connect-port" "65536"]
    "--connect-port needs a number from 0 to 65535, not \"65536\""
    ["1" "--timeout" "0"] "--timeout needs seconds, such as 30 or 0.5, not \"0\""
    ["1" "--timeout" "soon"] "--timeout needs seconds, such as 30 or 0.5, not \"soon\""
    ["1" "--count" "0"] "--count needs a number from 1 to 999999999, not \"0\""
    ["1" "--threads" "1001"] "--threads needs a number from 1 to 1000, not \"1001\""
    ["1" "--json" "--edn"] "--json or --edn, not both"
    ["1" "--json" "-v"] "-v prints for people, --json for programs: take one of them"
    ["1" "--count" "2" "-v"]
    "-v shows single conversations, --count and --threads measure: take one of them"
    ["1" "a.eml" "--body" "b"]
    "--header and --body make a mail of their own; they do not change a.eml"
    ["1" "--mbox" "m" "--header" "a:b"]
    "--header and --body make a mail of their own; they do not change m"
    ["1" "/no/such.eml"] "/no/such.eml: there is no such file"
    ["1" "--mbox" "/no/such.mbox"] "/no/such.mbox: there is no such file"
    ["1" "/no/such.eml" "--count" "2"] "/no/such.eml: there is no such file\nthere is no mail to send")
  (is (= [2 true]
         ((juxt :code #(string/includes? (:error %) "write inet:PORT@HOST")) (run "nonsense")))))

(deftest the-address-of-a-client-is-no-name
  (doseq [given ["localhost" "1.2.3" "1.2.3.4.5" "1.2.3.256" "1:2" ":::" ""]]
    (is (= {:code 2
            :error (str "--connect-address needs an address such as 192.0.2.1 or 2001:db8::1, not "
                        (pr-str given))
            :out ""}
           (run "1" "--connect-address" given))))
  (with-filter [address (answering :connect (act/accept))]
    (doseq [given ["0.0.0.0" "255.255.255.255" "10.20.130.40" "::" "::1" "::ffff:192.0.2.1"]]
      (is (= 0 (:code (run address "--connect-address" given))) given))))

(deftest a-forgotten-address-is-told
  (with-files
    (fn [eml]
      (is (= {:code 2
              :error (str eml " is a file; the address of the filter comes first, such as"
                          " inet:20025@127.0.0.1")
              :out ""}
             (run eml))))
    "Subject: hi\n\n"))

(deftest what-is-no-mailbox-is-told-with-its-name
  (with-files
    (fn [eml empty-file]
      (let [{:keys [code error]} (run "1" "--mbox" eml)]
        (is (= 2 code))
        (is (string/starts-with? error (str eml ": a mailbox must begin with"))))
      (is (= {:code 2, :error (str empty-file ": the mailbox is empty"), :out ""}
             (run "1" "--mbox" empty-file))))
    "Subject: hi\n\n"
    ""))

;; Filters that are not there, or broken

(deftest a-filter-that-is-not-there-is-told
  (let [address (str "inet:" (support/free-port) "@127.0.0.1")
        error (str address ": Connection refused; is the filter running, and is this its address?")]
    (is (= {:code 2, :error error, :out ""} (run address)))
    (is (= {:code 2, :error error, :out ""} (run address "--count" 10 "--threads" 2))))
  (is (= {:code 2
          :error (str "unix:/no/such.sock: No such file or directory; is the filter running, and is"
                      " this its address?")
          :out ""}
         (run "unix:/no/such.sock"))))

(deftest what-goes-wrong-is-told-in-one-line
  (are [error behave args]
       (with-peer behave
                  (fn [address]
                    (= {:code 2, :error (str address ": " error), :out ""}
                       (apply run address args))))
       (str "timed out after 50 ms, waiting for a reply;"
            " is the filter stuck? --timeout and --total-timeout give it more time")
       read-to-end
       ["--timeout" "0.05"]

       (str "the milter closed the connection instead of answering the offer;"
            " the log of the filter should show why")
       #(skip-packets % 1)
       []

       (str "a packet announces 842149919 bytes, the limit is 16777216;"
            " is it a milter that listens there?")
       #(do (write % (.getBytes "220 mx.example.com ESMTP\r\n"))
            (read-to-end %))
       []

       (str "the milter closed the connection at :connect; Postfix defers by 451 4.7.1 and does without the"
            " milter from then on; the log of the filter should show why")
       #(do (skip-packets % 1)
            (write % answer-to-offer)
            (skip-packets % 2))
       []

       (str "mail: the milter closed the connection at :mail; Sendmail defers by 451 4.3.2 and does without the"
            " milter from then on; the log of the filter should show why")
       #(do (skip-packets % 1)
            (write % answer-to-offer)
            (answer-all % #{(int \M)}))
       ["--mta" "sendmail"]

       (str "timed out after 50 ms, waiting for a reply at :connect; Postfix defers by 451 4.7.1 and does without"
            " the milter from then on; is the filter stuck? --timeout and --total-timeout give it more time")
       #(do (skip-packets % 1)
            (write % answer-to-offer)
            (read-to-end %))
       ["--timeout" "0.05"]))

(defn- send-to
  "Returns what the command does with a server that answers the offer and then behaves so."
  [behave & args]
  (with-peer (fn [socket]
               (skip-packets socket 1)
               (write socket answer-to-offer)
               (behave socket))
             #(apply run % args)))

(deftest a-filter-that-drips-is-not-waited-for-longer-than-for-a-silent-one
  (let [{:keys [code error]} (send-to (fn [^Socket socket]
                                        (write socket [0 0 1 0 (int \y)])
                                        (while (not (.isClosed socket))
                                          (Thread/sleep 20)
                                          (write socket [65])))
                                      "--timeout" "0.3")]
    (is (= 2 code))
    (is (string/includes? error "timed out after 300 ms, waiting for a reply"))))

(deftest a-flood-of-progress-ends-with-the-time-of-the-message
  (let [{:keys [code error]} (send-to (fn [^Socket socket]
                                        (while (not (.isClosed socket))
                                          (write socket (take 5000 (cycle [0 0 0 1 (int \p)])))))
                                      "--total-timeout" "0.5")]
    (is (= 2 code))
    (is (string/includes? error "the answers to this message took more than 500 ms together"))))

(deftest each-wait-has-its-own-limit
  (let [continue [0 0 0 1 (int \c)]
        until-end (fn [socket] (answer-all socket #{(int \E)}) (read-to-end socket))]
    (is (string/includes? (:error (send-to until-end "--end-of-message-timeout" "0.1")) "timed out after 100 ms"))
    (is (string/includes? (:error (send-to (fn [socket] (write socket continue) (read-to-end socket)) "--timeout" "0.1"))
                          "timed out after 100 ms"))
    (is (string/includes? (:error (send-to (fn [^Socket socket]
                                             (write socket (mapcat identity (repeat 400 continue)))
                                             (support/awaited (promise)))
                                           "--write-timeout" "0.1" "--timeout" "20"
                                           "--body" (apply str (repeat 8000000 "x"))))
                          "timed out after 100 ms, writing"))))

(defn- answering-at-end
  "Returns how a server behaves that lets all events go on, and answers the end of the message with bytes."
  [& packets]
  (fn [^Socket socket]
    (let [in (DataInputStream. (.getInputStream socket))]
      (loop []
        (let [packet (byte-array (.readInt in))
              code (do (.readFully in packet) (char (aget packet 0)))]
          (cond
            (= \E code) (do (write socket (mapcat identity packets))
                            (recur))
            (#{\D \A} code) (recur)
            (= \Q code) nil
            :else (do (write socket [0 0 0 1 (int \c)])
                      (recur))))))))

(defn- packet
  [code text]
  (concat [0 0 0 (inc (count text)) (int code)] (map int text)))

(deftest what-an-mta-makes-of-a-foreign-answer-is-reported
  (let [continue (packet \c "")]
    (are [mta packets remark] (let [{:keys [out]} (send-to (apply answering-at-end packets) "--mta" mta)]
                                (re-find remark (string/join " " (re-seq #"(?m)^remark: .*" out))))
      "postfix" [(packet \b "one") (packet \h "A\u0000b\u0000") (packet \b "two") continue]
      #"the pieces of the new body are not sent one after the other; Postfix defers by 451 4\.3\.5"

      "postfix" [(packet \h "A\u0000b\r\n c\u0000") continue] #"holds a CR, which Postfix delivers"
      "postfix" [(packet \h "X-\u001b\u0000b\u0000") continue]
      #"the milter sent :add-header of the field \"X-\\u001b\" without having asked for :add-header; Postfix does it all the same"

      "sendmail" [(packet \+ "<c@example.com>\u0000") continue]
      #"the milter sent :add-recipient of \"<c@example.com>\" without having asked for :add-recipient; Sendmail does it all the same"
      "sendmail" [(packet \h "A\u0000b\r\n c\u0000") continue] #"holds a CR, which Sendmail delivers"
      "postfix" [continue continue] #"has sent a reply too many; Postfix takes it for the answer"
      "postfix" [(packet \y "550 4.7.1 no\u0000")] #"Postfix defers by 451 4\.3\.5"
      "sendmail" [(packet \y "550 100% sure\u0000")] #"Sendmail rejects with its own text")
    (testing "and in the conversation, and for programs"
      (let [behave (answering-at-end (packet \h "A\u0000b\r\n c\u0000") continue)]
        (is (re-find #"(?m)^        !  the value of the field \"A\" holds a CR" (:out (send-to behave "-v"))))
        (is (= ["not-agreed" "carriage-return"]
               (map #(get % "remark") (get (json (string/trim-newline (:out (send-to behave "--json")))) "remarks"))))))))

(deftest an-answer-that-loses-the-filter-its-mta-defers-the-mail
  (let [result (with-peer #(do (skip-packets % 1)
                               (write % (concat answer-to-offer
                                                (mapcat identity (repeat 2 [0 0 0 1 (int \c)]))
                                                [0 0 0 5 (int \h) 97 0 98 0]))
                               (read-to-end %))
                          run)]
    (is (= 1 (:code result)))
    (is (string/includes? (:out result) "451 4.7.1 Service unavailable - try again later"))))

;; A filter of libmilter

(def ^:private filter-in-c
  (delay
    (let [program "target/seen_filter"
          new (str program "." (.pid (ProcessHandle/current)))
          ^List command ["gcc" "-O1" "-o" new "bench/c/seen_filter.c" "-lmilter" "-lpthread"]]
      (when-not (zero? (.waitFor (.start (.inheritIO (ProcessBuilder. command)))))
        (throw (ex-info "gcc cannot compile bench/c/seen_filter.c" {})))
      (.renameTo (io/file new) (io/file program))
      program)))

(deftest it-works-against-a-filter-of-libmilter
  (when-let [reason (peers/unavailable)]
    (runner/skip! reason))
  (let [port (support/free-port)
        address (str "inet:" port "@127.0.0.1")
        ^List command [@filter-in-c address]
        process (.start (.inheritIO (ProcessBuilder. command)))]
    (try
      (support/await-port port true)
      (is (= {:code 0
              :out (str "status: accepted at end-of-message\nreply: continue\nelapsed: 0 ms\n"
                        "modification: add-header X-Seen: 4 16\n")}
             (update (run address "--header" "X-More: 1" "--body" "one piece," "--body" " one\n"
                          "--mta" "sendmail")
                     :out without-time)))
      (doseq [version ["2" "3" "4" "6"]]
        (is (= 0 (:code (run address "--version" version))) version))
      (is (string/includes? (:out (run address "--count" 50 "--threads" 2)) "\naccepted 50\n"))
      (finally
        (.waitFor (.destroyForcibly process))))))

;; A process of its own

(deftest the-exit-code-of-the-process-is-that-of-the-mails
  (with-filter [address (answering :mail (act/reject))]
    (let [process (support/process ["-m" "temse.cli" "send" address])
          output (slurp (.getInputStream process))]
      (is (.waitFor process 30 TimeUnit/SECONDS))
      (is (= 1 (.exitValue process)))
      (is (= "status: refused at mail\nreply: reject\nelapsed: 0 ms\n" (without-time output)))))
  (let [process (support/process ["-m" "temse.cli" "send" "nonsense"])
        output (slurp (.getInputStream process))]
    (is (.waitFor process 30 TimeUnit/SECONDS))
    (is (= 2 (.exitValue process)))
    (is (string/starts-with? output "temse: cannot understand the address \"nonsense\""))
    (is (= 1 (count (string/split-lines output))))))
