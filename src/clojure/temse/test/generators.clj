(ns temse.test.generators
  "Generators of test.check for property tests of filters: mails, and what MTAs say.

  Requires org.clojure/test.check, which temse does not bring along. Texts are lossless, as
  everywhere: among them are some that are no UTF-8.

    (defspec no-mail-is-refused 200
      (prop/for-all [mail generators/mail]
        (= :accept (:verdict (run-message filter mail)))))

  A conversation is a vector of the events that an MTA sends to a filter that wants all of them: one
  SMTP client and its messages, or several clients with a :disconnect between them. It ends with
  :quit; one that does not ends with the loss of the connection. `temse.test.check/play` plays it, and
  leaves out what the filter does not want and what its replies forbid."
  (:require
   [clojure.string :as string]
   [temse.impl.text :as text]
   [temse.mail :as mail])
  (:import
   (java.io FileNotFoundException)
   (java.util Arrays)
   (temse.protocol ActionFlag ProtocolFlag Text)))

(set! *warn-on-reflection* true)

(try
  (require '[clojure.test.check.generators :as gen]
           '[clojure.test.check.random :as random]
           '[clojure.test.check.rose-tree :as rose])
  (catch FileNotFoundException _
    (throw (IllegalStateException.
             (str "temse.test.generators requires test.check:"
                  " add org.clojure/test.check to the dependencies")))))

(defn ^:no-doc sample-tree
  "Returns [value trees-of-smaller-values] of a generator for a seed."
  [generator seed size]
  (letfn [(pair [tree]
            [(rose/root tree) (map pair (rose/children tree))])]
    (pair (gen/call-gen generator (random/make-random seed) size))))

;; ---- texts

(def text
  "Any text that can travel: UTF-8 and other bytes in any order, without NUL."
  (gen/fmap (fn [pieces] (Text/decode (byte-array (mapcat identity pieces))))
            (gen/vector
              (gen/frequency
                [[6 (gen/fmap #(vector (byte (int %))) gen/char-alphanumeric)]
                 [2 (gen/fmap #(vector (unchecked-byte %)) (gen/choose 1 255))]
                 [2 (gen/fmap #(Text/encode (str %))
                              (gen/elements ["ä" "€" "😀" " " "{" "}" "%" "<" ">"]))]])
              0 12)))

(def line
  "A text without line ends."
  (gen/fmap #(Text/decode (Text/encode (string/replace % #"[\r\n]" ""))) text))

(defn- repeated
  "Returns a generator of `piece` repeated from `least` to `most` times."
  [piece least most]
  (gen/fmap #(string/join (repeat % piece)) (gen/choose least most)))

(def ^:private word
  (gen/fmap string/join (gen/vector gen/char-alphanumeric 1 8)))

;; ---- envelopes

(def ^:private local-part
  (gen/frequency
    [[6 word]
     [1 (gen/fmap (fn [[a b]] (str a "+" b)) (gen/tuple word word))]
     [1 (repeated "long" 1 60)]
     [1 (gen/elements ["\"john doe\"" "\"a\\\"b\"" "\"<x>\"" "a%b" "host!user" "a=b" "postmaster"])]
     [1 (gen/elements ["jürgen" "用户" "😀"])]
     [1 (gen/return (Text/decode (byte-array [0x6A (unchecked-byte 0xFC)])))]]))

(def ^:private domain
  (gen/frequency
    [[6 (gen/elements ["example.org" "example.com" "mail.example.net"])]
     [1 (gen/fmap #(str % ".example") (repeated "label" 1 12))]
     [1 (gen/elements ["bücher.example" "xn--bcher-kva.example" "EXAMPLE.ORG"])]
     [1 (gen/elements ["[192.0.2.1]" "[IPv6:2001:db8::1]"])]]))

(def address
  "An address in angle brackets, as SMTP clients write it."
  (gen/frequency
    [[12 (gen/fmap (fn [[local-part domain]] (str "<" local-part "@" domain ">"))
                   (gen/tuple local-part domain))]
     [1 (gen/return "<postmaster>")]]))

(def sender
  "A sender in angle brackets, at times the null sender."
  (gen/frequency [[4 address] [1 (gen/return "<>")]]))

(def sender-options
  "ESMTP parameters of MAIL FROM."
  (gen/fmap (fn [options] (into [] (comp (remove nil?)) options))
            (gen/tuple
              (gen/one-of [(gen/return nil) (gen/fmap #(str "SIZE=" %) (gen/choose 0 100000000))])
              (gen/elements [nil "BODY=7BIT" "BODY=8BITMIME"])
              (gen/elements [nil "SMTPUTF8"])
              (gen/elements [nil "RET=HDRS" "RET=FULL"])
              (gen/elements [nil "ENVID=QQ314159" "AUTH=<>" "AUTH=a+3Db@example.org"]))))

(def recipient-options
  "ESMTP parameters of RCPT TO."
  (gen/elements [[] [] [] ["NOTIFY=NEVER"] ["NOTIFY=SUCCESS,DELAY" "ORCPT=rfc822;b@example.com"]]))

;; ---- mails

(def header-name
  "The name of a header field: printable ASCII without a colon."
  (gen/frequency
    [[4 (gen/elements ["Subject" "From" "To" "Cc" "Received" "SUBJECT" "subject" "X-Spam" "Reply-To"
                       "DKIM-Signature" "Content-Type" "Return-Path"])]
     [1 (gen/fmap string/join
                  (gen/vector (gen/such-that #(not= \: %) (gen/fmap char (gen/choose 33 126)))
                              1 12))]]))

(def header-value
  "The value of a header field of one or more lines, separated by LF and white space."
  (gen/fmap (fn [[first-line more]]
              (apply str first-line (mapcat (fn [[space l]] ["\n" space l]) more)))
            (gen/tuple line (gen/vector (gen/tuple (gen/elements [" " "\t"]) line) 0 2))))

(def ^:private mail-header-value
  (gen/frequency
    [[8 header-value]
     [1 (gen/return "")]
     [1 (gen/elements ["=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=" "Grüße" "multipart/mixed; boundary=\"b\""
                       "from a.example (a.example [192.0.2.1])\n\tby b.example; 1 Jan 2024"])]
     [1 (repeated "0123456789" 1 800)]]))

(def ^:private header-field
  (gen/tuple header-name mail-header-value))

(def ^:private headers
  (gen/frequency
    [[12 (gen/vector header-field 0 8)]
     [2 (gen/fmap (fn [[field times]] (vec (repeat times field)))
                  (gen/tuple header-field (gen/choose 2 5)))]
     [1 (gen/fmap (fn [size] (mapv #(vector (str "X-Field-" %) (str %)) (range size)))
                  (gen/choose 1 400))]
     [1 (gen/fmap #(vector ["X-Long" %]) (repeated "0123456789abcdef" 1 5000))]]))

(def ^:private multipart
  (gen/fmap (fn [parts]
              (str (string/join (map #(str "--b\r\nContent-Type: text/plain\r\n\r\n" % "\r\n")
                                     parts))
                   "--b--\r\n"))
            (gen/vector line 0 4)))

(def body
  "The body of a mail: bytes, which are text, MIME parts or anything else, from none to more than
  64 KiB. The last line may lack its end."
  (gen/frequency
    [[1 (gen/return (byte-array 0))]
     [6 (gen/fmap #(Text/encodeBytes %)
                  (gen/one-of [(gen/fmap #(string/join (map (fn [l] (str l "\r\n")) %))
                                         (gen/vector line 0 6))
                               multipart
                               line
                               (gen/elements [".\r\n" "..\r\n.x\r\n" "\r\n\r\n" "a\rb\r\n" "end"])
                               (repeated "0123456789" 1 300)]))]
     [2 gen/bytes]
     [1 (gen/fmap #(Text/encodeBytes %)
                  (repeated "This line of text has sixty-four octets, and its line end.....\r\n"
                            1 2500))]]))

(def mail
  "A message map, as temse.test/run-message takes it:
  {:sender :options :recipients :headers :body}."
  (gen/hash-map :sender sender
                :options sender-options
                :recipients (gen/vector address 1 4)
                :headers headers
                :body body))

;; ---- what an MTA sends before any mail

(def ^:private offered
  "What MTAs offer by version: masks of actions and protocol."
  [[6 0x1FF 0x1FFFFF]
   [6 0x1FF 0x3FFFFF]
   [6 0x1FF 0x301FFFFF]
   [4 0x1FF 0x3FF]
   [3 0x1FF 0x1FF]
   [2 0x3F 0x7F]
   [2 0x1F 0x3F]
   [2 0 0]])

(defn- options-event
  [[version actions protocol]]
  {:event :options
   :version version
   :actions (into #{} (map #(.-keyword ^ActionFlag %)) (ActionFlag/ofMask actions))
   :action-mask actions
   :protocol (into #{} (map #(.-keyword ^ProtocolFlag %)) (ProtocolFlag/ofMask protocol))
   :protocol-mask protocol})

(def offer
  "What an MTA offers, an :options event: a current MTA's mostly, an older one's, or one from which
  some actions or flags are missing."
  (gen/fmap options-event
            (gen/frequency
              [[4 (gen/return (first offered))]
               [2 (gen/elements offered)]
               [1 (gen/tuple (gen/choose 2 6) (gen/choose 0 0x1FF) (gen/choose 0 0x1FFFFF))]])))

(def macros
  "Values of macros by name, as the option :macros of temse.test/connect-to. An MTA has many of them
  or few."
  (gen/fmap (fn [pairs] (into {} (remove (comp nil? val)) pairs))
            (gen/hash-map
              "j" (gen/elements [nil "mx.example.com"])
              "client_ptr" (gen/elements [nil "unknown" "client.example.org"])
              "tls_version" (gen/elements [nil "TLSv1.3"])
              "cipher_bits" (gen/elements [nil "0" "256"])
              "auth_type" (gen/elements [nil "PLAIN"])
              "auth_authen" (gen/one-of [(gen/return nil) line])
              "mail_host" (gen/elements [nil "" "example.org."])
              "rcpt_mailer" (gen/elements [nil "local" "error"]))))

;; ---- conversations

(def ^:private connect
  (gen/frequency
    [[6 (gen/return {:event :connect
                     :host-name "client.example.org"
                     :family :inet
                     :port 40110
                     :address "192.0.2.1"})]
     [1 (gen/return {:event :connect
                     :host-name "[2001:db8::1]"
                     :family :inet6
                     :port 0
                     :address "2001:db8::1"})]
     [1 (gen/return {:event :connect, :host-name "localhost", :family :unix, :port 0
                     :address "/run/smtp"})]
     [1 (gen/elements [{:event :connect, :host-name "unknown", :family :unknown}
                       {:event :connect, :host-name "localhost", :family :unknown}])]]))

(def ^:private hello
  (gen/fmap #(hash-map :event :hello :greeting %)
            (gen/frequency [[4 domain] [1 line]])))

(def ^:private unknown
  (gen/fmap #(hash-map :event :unknown :command %)
            (gen/one-of [(gen/elements ["XFROBNICATE" "HELP me" "" "VRFY postmaster"]) line])))

(defn ^:no-doc pieces
  "Returns the body events of wire bytes in pieces of these sizes, in turn and again; a body is cut into
  a few hundred pieces at most."
  [^bytes bytes sizes]
  (let [length (alength bytes)
        least (inc (quot length 300))]
    (loop [from 0, [size & more] (cycle sizes), events []]
      (if (< from length)
        (let [end (min length (+ from (max least (long size))))]
          (recur end more (conj events {:event :body, :data (Arrays/copyOfRange bytes from (int end))})))
        events))))

(def ^:private whole
  "The sizes of pieces as MTAs make them."
  [65535])

(def ^:no-doc piece-sizes
  "Sizes of the pieces of a body, in turn and again."
  (gen/vector (gen/frequency [[2 (gen/choose 1 4)] [2 (gen/choose 1 40)] [1 (gen/choose 1 1000)]]) 1 6))

(defn- message-events
  "Returns the events of a mail up to its end, with the parameters of each recipient and the sizes of
  the pieces of its body."
  [given parameters sizes]
  (let [{:keys [sender options recipients headers body]} (mail/message given)]
    (-> [{:event :mail, :sender sender, :options options}]
        (into (map (fn [address options] {:event :recipient, :address address, :options options})
                   recipients
                   (concat parameters (repeat []))))
        (conj {:event :data})
        (into (map (fn [[field-name value]] {:event :header, :name field-name, :value value}))
              headers)
        (conj {:event :end-of-headers})
        (into (pieces body sizes))
        (conj {:event :end-of-message}))))

(def message
  "The events of a message, from :mail to :end-of-message."
  (gen/fmap (fn [[given parameters]] (message-events given parameters whole))
            (gen/tuple mail (gen/vector recipient-options 0 4))))

(defn ^:no-doc with-names
  "Returns the events with a function applied to the names of header fields."
  [f events]
  (mapv #(cond-> % (= :header (:event %)) (update :name f)) events))

(defn message-of
  "Returns a generator of the events of one of some mails, which are given as to
  temse.test/run-message: as it is, with the body in other pieces, or with the names of its fields in
  upper or lower case.

    (gen/sample (message-of [(io/file \"spam.eml\")]))"
  [mails]
  (let [mails (mapv mail/message mails)]
    (gen/fmap (fn [[{:keys [recipient-options] :as given} sizes change]]
                (with-names change (message-events given recipient-options sizes)))
              (gen/tuple (gen/elements mails)
                         (gen/frequency [[2 (gen/return whole)] [1 piece-sizes]])
                         (gen/frequency [[3 (gen/return identity)]
                                         [1 (gen/elements [text/lower-case text/upper-case])]])))))

(defn- said
  "Returns a generator of the events that several generators make, one after the other."
  [& generators]
  (gen/fmap #(into [] (mapcat (fn [events] (if (map? events) [events] events))) %)
            (apply gen/tuple generators)))

(defn- several
  "Returns a generator of the events that a generator makes several times."
  [generator least most]
  (gen/fmap #(into [] (mapcat identity) %) (gen/vector generator least most)))

(def ^:private abort
  (gen/return {:event :abort}))

(def ^:private quit
  (gen/return {:event :quit}))

(defn- given-up
  "A message that the SMTP client gives up before its content, perhaps because the MTA itself has
  refused the recipients."
  [message]
  (gen/fmap (fn [[events size]]
              (-> (into [] (take-while #(not= :data (:event %))) (take size events))
                  (conj {:event :abort})))
            (gen/tuple message (gen/choose 1 3))))

(def ^:private between
  "What an SMTP client sends between messages."
  (gen/fmap vector (gen/frequency [[3 unknown] [2 hello] [2 abort]])))

(defn- local-submission
  "What Postfix sends for a mail that did not come by SMTP: addresses without angle brackets."
  [message]
  (said (gen/return [{:event :connect
                      :host-name "localhost"
                      :family :inet
                      :port 0
                      :address "127.0.0.1"}
                     {:event :hello, :greeting "localhost"}])
        (gen/fmap (fn [events]
                    (mapv (fn [{:keys [event] :as e}]
                            (case event
                              :mail (-> (update e :sender string/replace #"^<|>$" "")
                                        (assoc :options []))
                              :recipient (-> (update e :address string/replace #"^<|>$" "")
                                             (assoc :options []))
                              e))
                          events))
                  message)))

(defn- client
  [message]
  (said connect
        hello
        (several (gen/frequency [[6 message]
                                 [2 (said message abort)]
                                 [1 (given-up message)]
                                 [2 between]])
                 1 3)))

(defn- clients
  "Returns a generator of one client of the generator, or several on one MTA connection."
  [client most]
  (gen/fmap (fn [[one more]]
              (into one (mapcat #(into [{:event :disconnect}] %)) more))
            (gen/tuple client (gen/vector client 0 most))))

(defn conversation-of
  "Returns a generator like `conversation` of a generator of messages, such as `message-of`."
  [message]
  (let [client (client message)]
    (said (gen/frequency [[6 client] [1 (clients client 1)] [1 (local-submission message)]]) quit)))

(def conversation
  "What an MTA sends as a rule: an SMTP client sends HELO and sends messages, with RSET, unknown
  commands and HELO again between them; seldom another client follows on the connection."
  (conversation-of message))

(defn- nasty-message
  "A message that is legal, but that few filters were tried with."
  [message]
  (gen/one-of
    [message
     (gen/fmap (fn [events] (filterv #(not= :recipient (:event %)) events)) message)
     (gen/fmap (fn [events]
                 (into [] (mapcat #(if (= :body (:event %))
                                     (pieces (let [^bytes data (:data %)]
                                               (Arrays/copyOf data (min 24 (alength data))))
                                             [1])
                                     [%]))
                       events))
               message)
     (gen/fmap (fn [events]
                 (conj (filterv #(contains? #{:mail :recipient :data} (:event %)) events)
                       {:event :end-of-headers}
                       {:event :end-of-message}))
               message)
     (gen/fmap (fn [events]
                 (conj (filterv #(not (contains? #{:body :end-of-message} (:event %))) events)
                       {:event :end-of-message, :data (.getBytes "the last piece\r\n")}))
               message)
     (gen/fmap (fn [[events unknown place]]
                 (let [[before after] (split-at (rem place (count events)) events)]
                   (-> (vec before) (conj unknown) (into after))))
               (gen/tuple message unknown gen/nat))]))

(defn- cut-message
  "A message that is cut somewhere."
  [nasty-message]
  (gen/fmap (fn [[events place]] (into [] (take (inc (rem place (count events)))) events))
            (gen/tuple nasty-message (gen/choose 0 10000))))

(defn- nasty-client
  [message]
  (let [nasty-message (nasty-message message)
        cut-message (cut-message nasty-message)]
    (said connect
          (gen/vector hello 0 3)
          (several (gen/one-of [nasty-message
                                cut-message
                                (said cut-message (gen/one-of [abort hello unknown]))
                                (gen/vector (gen/one-of [abort hello unknown]) 1 3)])
                   1 4))))

(defn nasty-conversation-of
  "Returns a generator like `nasty-conversation` of a generator of messages, such as `message-of`."
  [message]
  (gen/fmap (fn [[events quit? lost?]]
              (cond-> (if lost? (into [] (take (quot (inc (count events)) 2)) events) events)
                quit? (conj {:event :quit})))
            (gen/tuple (clients (nasty-client message) 2)
                       gen/boolean
                       (gen/frequency [[3 (gen/return false)] [1 (gen/return true)]]))))

(def nasty-conversation
  "What an MTA may say, but seldom does: aborts, HELO, another MAIL or the loss of the connection in
  every place, no HELO or several, no recipients, unknown commands inside a message, a body in
  pieces of one byte, a last piece within the end of message, several clients on the connection."
  (nasty-conversation-of message))
