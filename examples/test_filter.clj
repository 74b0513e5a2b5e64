(ns test-filter
  "A filter that is steered by the mail itself, for judging milter libraries from outside: mail says
  in its envelope, its X-Test-At and its X-Test-Do fields what the filter is to do, and the filter
  reports in X-Saw fields what it has seen.

    bin/temse run examples/test_filter.clj --listen inet:20025@127.0.0.1 -- default

  Variants negotiate differently: default, nr, leadspc, few, symlist, rcptrej."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.milter :as milter :refer [message respond update-message]])
  (:import
   (java.net Inet4Address InetAddress UnknownHostException)
   (java.security MessageDigest)
   (java.util HexFormat)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

;; ---- octets

(defn- octets
  "Returns text as a string of one character per octet."
  ^String [^String text]
  (String. (Text/encode text) "ISO-8859-1"))

(defn- octets->text
  [^String octets]
  (Text/decode (.getBytes octets "ISO-8859-1")))

(defn- word
  "Returns text with each octet outside 0x21 to 0x7E, and %, as %HH; nothing is a dash."
  [text]
  (if (empty? text)
    "-"
    (string/replace (octets (str text))
                    #"[^\x21-\x24\x26-\x7E]"
                    #(format "%%%02X" (int (first %))))))

(defn- words
  [& texts]
  (string/join " " (map word texts)))

(defn- sha-256
  [^bytes data]
  (.formatHex (HexFormat/of) (.digest (MessageDigest/getInstance "SHA-256") data)))

(defn- unescape
  "Resolves \\n, \\t, \\r, \\\\ and \\xHH."
  [text]
  (octets->text
    (string/replace (octets text)
                    #"\\(?:([ntr\\])|x(\p{XDigit}{2}))"
                    (fn [[_ letter hex]]
                      (if hex
                        (str (char (Integer/parseInt hex 16)))
                        ({"n" "\n", "t" "\t", "r" "\r", "\\" "\\"} letter))))))

(defn- trim
  [text]
  (string/replace text #"^[ \t\r\n]+|[ \t\r\n]+$" ""))

;; ---- verdicts

(defn- capable?
  "Returns true if the MTA has offered :skip or :leading-space, and the filter has asked for it."
  [context capability]
  (contains? (:capabilities (:milter/agreement context)) capability))

(defn- verdict
  "Returns the reply of a verdict word at a stage, or nil to continue."
  [context word stage]
  (case word
    "accept" (when-not (= "unknown" stage) (act/accept))
    "reject" (act/reject)
    "tempfail" (act/temporary-failure)
    "discard" (when-not (#{"connect" "helo" "unknown"} stage) (act/discard))
    "reply5" (act/reply-code 554 "5.7.1" (str stage " refused by test filter"))
    "reply4" (act/reply-code 451 "4.7.1" (str stage " deferred by test filter"))
    "multi" (act/reply-code 550 "5.7.0" (string/join "\n" [(str stage " line one")
                                                           (str stage " line two is 100% sure")
                                                           (str stage " line three")]))
    "close421" (act/reply-code 421 "4.7.0" (str stage " closing"))
    "skip" (when (and (= "body" stage) (capable? context :skip)) (act/skip))
    nil))

(defn- answer
  [context word stage]
  (if-let [reply (verdict context word stage)]
    (respond context reply)
    context))

(defn- local-word
  "Returns what follows the prefix in the local part of an address, cut at its first dot."
  [address prefix]
  (let [bare (milter/bare-address address)
        local (subs bare 0 (or (string/last-index-of bare "@") (count bare)))
        cut (first (string/split local #"\." 2))]
    (when (string/starts-with? cut prefix)
      (subs cut (count prefix)))))

;; ---- what was seen

(def ^:private macro-names
  ["i" "j" "_" "v" "{client_addr}" "{client_name}" "{client_port}" "{client_ptr}" "{daemon_name}"
   "{daemon_addr}" "{daemon_port}" "{auth_type}" "{auth_authen}" "{auth_author}" "{mail_addr}"
   "{mail_host}" "{mail_mailer}" "{rcpt_addr}" "{rcpt_host}" "{rcpt_mailer}" "{tls_version}"
   "{cipher}"])

(defn- macro-words
  "Returns the words of the macros that have a value at the stage."
  [context stage]
  (into []
        (keep (fn [macro]
                (let [value (milter/get-macro context macro)]
                  (when (seq value)
                    (words stage macro value)))))
        macro-names))

(defn- see-stage
  [context stage]
  (cond-> context
    (not= stage (peek (:stages context))) (update :stages (fnil conj []) stage)))

(defn- see-connection-macros
  [context stage]
  (assoc-in context [:macros-seen stage] (macro-words context stage)))

(defn- see-message-macros
  [context stage]
  (update-message context assoc-in [:macros-seen stage] (macro-words context stage)))

(defn- short-ipv6
  "Returns the text of an IPv6 address in the form of RFC 5952: the longest run of zeros, the first
  of several, is left out. Other texts stay as they are."
  [text]
  (try
    (let [address (when (re-matches #"\p{XDigit}*:[\p{XDigit}:.]*" text)
                    (InetAddress/getByName text))
          long-text (if address (.getHostAddress address) text)
          zeros (first (sort-by (comp - count) (re-seq #"\b0(?::0)+\b" long-text)))]
      (cond
        (instance? Inet4Address address) (str "::ffff:" long-text)
        zeros (string/replace-first long-text (re-pattern (str ":?\\b" zeros "\\b:?")) "::")
        :else long-text))
    (catch UnknownHostException _
      text)))

;; ---- handlers

(defonce ^:private open-connections (atom #{}))

(defn- on-open
  [context]
  (swap! open-connections conj (:milter/info context))
  context)

(defn- on-disconnect
  [_event context]
  (swap! open-connections disj (:milter/info context))
  nil)

(defn- on-connect
  [{:keys [host-name family address port]} context]
  (let [client (cond-> address (= :inet6 family) short-ipv6)
        [_ n] (re-matches #"(?:127\.0\.66\.|2001:db8::66:)([1-7])" (or client ""))]
    (-> context
        (see-stage "connect")
        (see-connection-macros "connect")
        (assoc :connect (words host-name (name family) client (str (or port 0))))
        (answer (get {"1" "reject", "2" "tempfail", "3" "accept", "4" "reply5", "5" "reply4"
                      "6" "multi", "7" "close421"} n)
                "connect"))))

(defn- on-hello
  [{:keys [greeting]} context]
  (-> context
      (see-stage "helo")
      (see-connection-macros "helo")
      (assoc :helo greeting)
      (answer (when (string/ends-with? greeting ".do.test")
                (first (string/split greeting #"\." 2)))
              "helo")))

(defn- on-mail
  [{:keys [sender options]} context]
  (-> context
      (see-stage "mail")
      (see-message-macros "mail")
      (update-message assoc :sender sender :mail (apply words sender options))
      (answer (local-word sender "do-") "mail")))

(defn- on-recipient
  [{:keys [address options]} context]
  (-> context
      (see-stage "rcpt")
      (see-message-macros "rcpt")
      (update-message update :recipients (fnil conj []) (apply words address options))
      (answer (local-word address "do-") "rcpt")))

(defn- on-data
  [_event context]
  (-> context
      (see-stage "data")
      (see-message-macros "data")
      (answer (local-word (:sender (message context) "") "at-data-") "data")))

(defn- on-unknown
  [{:keys [command]} context]
  (-> context
      (see-stage "unknown")
      (update :unknown (fnil conj []) command)
      (answer (second (re-matches #"XDO-(.*)" command)) "unknown")))

(defn- on-header
  [{:keys [name value]} context]
  (let [trimmed (trim value)
        [_ stage verb] (when (.equalsIgnoreCase "X-Test-At" name)
                         (re-matches #"(?s)(\w+) (.*)" trimmed))]
    (cond-> (-> context
                (see-stage "header")
                (update-message update :headers (fnil conj []) [name value]))
      stage (update-message assoc-in [:at stage] verb)
      (.equalsIgnoreCase "X-Test-Do" name) (update-message update :commands (fnil conj []) trimmed)
      (= "header" stage) (answer verb "header"))))

(defn- on-end-of-headers
  [_event context]
  (-> context
      (see-stage "eoh")
      (see-message-macros "eoh")
      (answer (get-in (message context) [:at "eoh"]) "eoh")))

(defn- on-body
  [{:keys [data]} context]
  (-> context
      (see-stage "body")
      (update-message update :body (fnil conj []) data)
      (answer (get-in (message context) [:at "body"]) "body")))

(defn- on-abort
  [_event context]
  (-> context
      (see-stage "abort")
      (update :aborts (fnil inc 0))))

;; ---- commands at end of message

(defn- joined
  ^bytes [chunks]
  (let [bytes (java.io.ByteArrayOutputStream.)]
    (run! #(.writeBytes bytes %) chunks)
    (.toByteArray bytes)))

(defn- hex
  [mask]
  (str "0x" (Long/toHexString mask)))

(defn- dump
  "Returns what was seen, as pairs of field name and value."
  [{:keys [connect helo unknown stages aborts messages macros-seen] :as context}]
  (let [{:keys [mail recipients headers body] seen-in-message :macros-seen} (message context)
        {:keys [version action-mask protocol-mask]} (:offer (:milter/agreement context))
        body (joined body)
        names (joined (map (fn [[field]] (Text/encode (str field "\n"))) headers))
        macros (merge macros-seen seen-in-message)]
    (concat
      [["X-Saw-Mta" (words (str version) (hex action-mask) (hex protocol-mask))]]
      [["X-Saw-Connect" (or connect (words nil nil nil "0"))]
       ["X-Saw-Helo" (word helo)]
       ["X-Saw-Mail" (or mail (word nil))]]
      (map-indexed (fn [i seen] ["X-Saw-Rcpt" (str (inc i) " " seen)]) recipients)
      (map-indexed (fn [i seen] ["X-Saw-Unknown" (words (str (inc i)) seen)]) unknown)
      [["X-Saw-Stages" (string/join " " stages)]
       ["X-Saw-Headers" (words (str (count headers)) (sha-256 names))]
       ["X-Saw-Body" (words (str (alength body)) (sha-256 body))]]
      (for [stage ["connect" "helo" "mail" "rcpt" "data" "eoh" "eom"]
            seen (get macros stage)]
        ["X-Saw-Macro" seen])
      [["X-Saw-Count" (words (str "messages=" messages)
                             (str "aborts=" (or aborts 0))
                             (str "open=" (count @open-connections)))]])))

(defn- dump-headers
  [context]
  (map-indexed (fn [i [field value]]
                 (let [bytes (Text/encode value)]
                   ["X-Saw-Header" (words (str (inc i))
                                          field
                                          (if (< 200 (alength bytes))
                                            (str "#" (alength bytes) ":" (sha-256 bytes))
                                            value))]))
               (:headers (message context))))

(defn- upper-case
  "Returns the octets with a-z replaced by A-Z."
  ^bytes [^bytes data]
  (amap data i _ (let [octet (aget data i)]
                   (if (<= (int \a) octet (int \z)) (unchecked-byte (- octet 32)) octet))))

(def ^:private body-line
  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n")

(defn- name-and-value
  "Returns [name value] of NAME:VALUE; one space after the colon is part of the value only if header
  values have their leading space."
  [context text]
  (let [[field value] (string/split text #":" 2)
        value (or value "")]
    [field (cond-> value
             (not (capable? context :leading-space)) (string/replace-first #"^ " ""))]))

(defn- add-field
  "Returns the action that adds a field of this filter so that it looks the same in all variants."
  [context [field value]]
  (act/add-header field (cond->> value (capable? context :leading-space) (str " "))))

(defn- words-of
  [text n]
  (string/split text #" " n))

(defn- address-and-parameters
  [text]
  (rest (re-matches #"(?s)(<[^>]*>|\S*)(?: (.*))?" text)))

(defn- modifications
  "Returns the modifications of a command that makes some, with the flag they need, or nil."
  [context command text]
  (case command
    "add-header" [:add-header [(apply act/add-header (name-and-value context text))]]
    "insert-header" (let [[index field] (words-of text 2)]
                      [:add-header [(apply act/insert-header (parse-long index)
                                           (name-and-value context field))]])
    "change-header" (let [[index field] (words-of text 2)
                          [field value] (name-and-value context field)]
                      [:change-header [(act/change-header field (parse-long index) value)]])
    "delete-header" (let [[index field] (words-of text 2)]
                      [:change-header [(act/delete-header field (parse-long index))]])
    "add-rcpt" (let [[address parameters] (address-and-parameters text)]
                 (if parameters
                   [:add-recipient-parameters [(act/add-recipient address parameters)]]
                   [:add-recipient [(act/add-recipient address)]]))
    "del-rcpt" [:delete-recipient [(act/delete-recipient text)]]
    "change-from" (let [[address parameters] (address-and-parameters text)]
                    [:change-sender [(if parameters
                                       (act/change-sender address parameters)
                                       (act/change-sender address))]])
    "replace-body-text" [:change-body [(act/change-body text)]]
    "replace-body-size" [:change-body [(act/change-body
                                         (repeat (quot (parse-long text) 64) body-line))]]
    "replace-body-upper" [:change-body [(act/change-body
                                          (upper-case (joined (:body (message context)))))]]
    "quarantine" [:quarantine [(act/quarantine text)]]
    "dump" [:add-header (map #(add-field context %) (dump context))]
    "dump-headers" [:add-header (map #(add-field context %) (dump-headers context))]
    nil))

(defn- reply
  "Returns the reply of a command that ends the list, or nil."
  [context command text]
  (case command
    ("reply" "reply-multi") (let [[code enhanced text] (words-of text 3)]
                              (act/reply-code (parse-long code)
                                              (when-not (= "-" enhanced) enhanced)
                                              (or text "")))
    "continue" (act/continue)
    (verdict context command "eom")))

(defn- wait-with-progress
  [context seconds]
  (dotimes [_ seconds]
    (Thread/sleep 1000)
    (milter/progress! context))
  context)

(defn- execute
  "Executes a command; returns the context, reduced if the command was a verdict."
  [context line]
  (let [[command rest] (words-of line 2)
        text (unescape (or rest ""))
        [flag actions] (modifications context command text)
        final (reply context command text)]
    (cond
      (= "progress" command) (wait-with-progress context (parse-long text))
      final (reduced (respond context final))
      (nil? flag) context
      (milter/agreed? context flag) (apply respond context actions)
      (milter/agreed? context :add-header) (->> (add-field context ["X-Saw-Refused" command])
                                                (respond context))
      :else context)))

(defn- on-end-of-message
  [_event context]
  (let [context (-> context
                    (see-stage "eom")
                    (see-message-macros "eom")
                    (update :messages (fnil inc 0)))]
    (assoc (reduce execute context (:commands (message context)))
           :stages [])))

;; ---- negotiation

(def ^:private handlers
  {:connect #'on-connect
   :hello #'on-hello
   :mail #'on-mail
   :recipient #'on-recipient
   :data #'on-data
   :unknown #'on-unknown
   :header #'on-header
   :end-of-headers #'on-end-of-headers
   :body #'on-body
   :end-of-message #'on-end-of-message
   :abort #'on-abort
   :disconnect #'on-disconnect})

(defn- keep-leading-space
  [{:keys [protocol]} context]
  (assoc context :leading-space? (contains? protocol :leading-space)))

(defn- want-few
  "Returns context without handlers for events that the MTA can keep to itself."
  [{:keys [protocol]} context]
  (reduce (fn [context event]
            (cond-> context
              (protocol (keyword (str "no-" (name event)))) (update :handlers dissoc event)))
          context
          [:connect :hello :data :unknown :end-of-headers :body]))

(defn filter
  "Returns the filter in a variant."
  ([] (filter "default"))
  ([variant]
   (let [default {:handlers handlers
                  :init on-open
                  :optional-actions #{:add-header :change-header :change-body :add-recipient
                                      :add-recipient-parameters :delete-recipient :quarantine
                                      :change-sender :request-macros}}]
     (case variant
       "default" default
       "nr" (assoc default :no-reply-events (keys (clojure.core/filter (comp :no-reply-by val)
                                                                       milter/events)))
       "leadspc" (assoc-in default [:handlers :options] #'keep-leading-space)
       "few" (-> default
                 (assoc :optional-actions #{:add-header})
                 (assoc-in [:handlers :options] #'want-few))
       "symlist" (assoc default :request-macros {:connect ["{client_addr}"]
                                                 :mail ["i" "{mail_addr}"]
                                                 :recipient ["{rcpt_addr}"]
                                                 :end-of-message ["{client_port}"]})
       "rcptrej" (assoc default :rejected-recipients? true)))))
