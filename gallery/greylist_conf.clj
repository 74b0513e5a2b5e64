(ns greylist-conf
  "Reads the common part of greylist.conf, the file of milter-greylist 4, as that program does.

    greylist 5m                                   the delay; autowhite 3d, timeout 5d, subnetmatch /24,
    list \"ours\" addr { 192.0.2.0/24 ::1 }         subnetmatch6 /64, quiet, noauth, lazyaw, domainexact,
    racl whitelist list \"ours\"                    extendedregex, delayedreject, report all
    racl greylist rcpt /@example\\.com$/ delay 1h autowhite 1d
    racl blacklist not domain example.net from eve@example.org msg \"no mail from %f\"
    racl whitelist default

  An entry is `racl` or `acl`, an id in quotes or none; greylist, whitelist, blacklist or continue; clauses,
  all of which must match, `not` before those that must not; and parameters. Clauses: addr, domain, from,
  rawfrom, rcpt, helo, auth, tls, rcptcount, list, default. Parameters: delay, autowhite, code, ecode, msg,
  report, addheader. The first entry that matches decides; `continue` only leaves its parameters. Where none
  matches the mail is greylisted.

  Regular expressions are those of POSIX, without regard to case. In msg, report and addheader the letters of
  milter-greylist are replaced: %r %f %i %d %h %mr %sr %mf %sf %md %sd %M %A %a %E %R, the two with t, h, m
  and s, and %%.

  What belongs to the process of milter-greylist, such as pidfile, has no meaning here and is returned as
  :unused. Everything else is refused with file, line and what would be right."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [posix-regex :as regex]
   [temse.network :as network])
  (:import
   (java.util Locale)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private unused
  "Statements about the process, its dumps and its peers; the database takes the place of the latter two."
  #{"pidfile" "dumpfile" "dumpfreq" "dump_no_time_translation" "socket" "user" "nodetach" "verbose" "logfac"
    "logexpired" "peer" "syncaddr" "syncsrcaddr" "nospf" "noaccessdb" "nodrac" "multiracl" "maxpeek"
    "localaddr"})

(defn- fail
  [{:keys [file line]} & what]
  (throw (ex-info (str file (when line (str ":" line)) ": " (string/join what)) {:file file :line line})))

(defn- one-of
  [names]
  (string/join ", " (sort names)))

;; ---- tokens

(def ^:private token
  #"[ \t\r]*(?:(#.*|$)|(\\.*)|\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|/([^/]+)/|([{},]|[<>!=]=?)|([^\s\"{},\\]+))")

(defn- tokens
  "Returns the tokens of a line, maps of one of :text, :regex and :word, and whether it goes on in the next."
  [place ^String line]
  (let [matcher (re-matcher token line)]
    (loop [start 0, found []]
      (.region matcher start (count line))
      (if-not (.lookingAt matcher)
        (fail place "a quotation mark without another")
        (let [[_ comment continued text regex mark word] (re-groups matcher)]
          (cond
            comment [found false]
            continued [found true]
            :else (recur (.end matcher)
                         (conj found (cond
                                       text {:text (string/replace text #"\\(.)" "$1")}
                                       regex {:regex regex}
                                       :else {:word (or mark word)})))))))))

(defn- open-braces
  [tokens]
  (- (count (filter #(= {:word "{"} %) tokens)) (count (filter #(= {:word "}"} %) tokens))))

(defn- statements
  "Returns [place tokens] of each statement: of a line, and of those that go on after a backslash or in braces."
  [file lines]
  (loop [[line & more] lines, number 1, place nil, begun [], found []]
    (let [place (if (seq begun) place {:file file :line number})
          [read continued?] (when line (tokens {:file file :line number} line))
          all (into begun read)]
      (cond
        (and (nil? line) (seq begun)) (fail place "the statement that begins here does not end")
        (nil? line) found
        (or continued? (pos? (long (open-braces all)))) (recur more (inc (long number)) place all found)
        :else (recur more (inc (long number)) nil [] (cond-> found (seq all) (conj [place all])))))))

;; ---- values

(defn- lower-case
  ^String [^String text]
  (.toLowerCase text Locale/ROOT))

(defn- shown
  [{:keys [text regex word] :as token}]
  (cond
    (nil? token) "the end of the line"
    text (pr-str text)
    regex (str "/" regex "/")
    :else word))

(defn- duration
  [place {:keys [word] :as token}]
  (let [[_ number unit] (re-matches #"([0-9]{1,9})([smhdwSMHDW]?)" (or word ""))]
    (when-not number
      (fail place "a time such as 30s, 5m, 2h or 3d is wanted here, not " (shown token)))
    (* (long (parse-long number)) (long ({"" 1 "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800} (lower-case unit))))))

(defn- prefix-length
  [place {:keys [word] :as token} most]
  (let [[_ number] (re-matches #"/([0-9]{1,3})" (or word ""))]
    (when-not (and number (<= (long (parse-long number)) (long most)))
      (fail place "the length of a prefix, /0 to /" most ", is wanted here, not " (shown token)))
    (parse-long number)))

(defn- text-of
  [place what {:keys [text word] :as token}]
  (or text word (fail place "a text is wanted behind " what ", not " (shown token))))

(defn- in-bytes
  ^String [^String text]
  (String. (Text/encodeBytes text) "ISO-8859-1"))

(defn- regex-matcher
  [place expression extended?]
  (let [matches? (try
                   (regex/matcher (in-bytes expression) (cond-> #{:ignore-case} extended? (conj :extended)))
                   (catch clojure.lang.ExceptionInfo e
                     (fail place "in /" expression "/: " (ex-message e))))]
    #(boolean (matches? (in-bytes %)))))

(defn- network-of
  [place {:keys [word] :as token}]
  (let [[address length] (string/split (or word "") #"/" 2)
        bits (if (string/includes? address ":") 128 32)
        length (if length (prefix-length place {:word (str "/" length)} bits) bits)]
    (or (network/around address (min 32 (long length)) length)
        (fail place "an address or a network such as 192.0.2.0/24 is wanted here, not " (shown token)))))

;; ---- clauses

(defn- bare
  "Returns an address as entries compare it."
  [address]
  (lower-case (string/replace address #"^[< \t]+|[> \t]+$" "")))

(defn- same-address
  [wanted]
  (let [wanted (bare wanted)]
    #(= wanted (bare %))))

(defn- same-name
  [wanted]
  (let [wanted (lower-case wanted)]
    #(= wanted (lower-case %))))

(defn- below
  [wanted exact?]
  (let [wanted (lower-case wanted)
        below-it (str "." wanted)]
    (fn [host-name]
      (let [host-name (lower-case host-name)]
        (if exact?
          (or (= wanted host-name) (string/ends-with? host-name below-it))
          (string/ends-with? host-name wanted))))))

(def ^:private comparisons
  {">=" >= "<=" <= ">" > "<" < "=" = "==" = "!=" not=})

(def ^:private text-clauses
  "What of a mail each clause compares, and how with a text."
  {"domain" [:domain (fn [text {:keys [exact?]}] (below text exact?))]
   "from" [:sender (fn [text _] (same-address text))]
   "rawfrom" [:raw-sender (fn [text _] (same-address text))]
   "rcpt" [:recipient (fn [text _] (same-address text))]
   "helo" [:hello (fn [text _] (same-name text))]
   "auth" [:user (fn [text _] #(= text %))]
   "tls" [:certificate (fn [text _] #(= text %))]})

(def ^:private clause-names
  (into #{"addr" "rcptcount" "list" "default"} (keys text-clauses)))

(defn- value-matcher
  "Returns the kind of a clause with one value, and the function that is true for a mail that it matches."
  [place clause {:keys [regex] :as token} {:keys [extended?] :as state}]
  (if (= "addr" clause)
    (let [networks (network/networks [(network-of place token)])]
      [:address #(network/includes? networks (:address %))])
    (let [[kind comparison] (text-clauses clause)
          matches? (if regex
                     (regex-matcher place regex extended?)
                     (comparison (text-of place clause token) state))]
      [kind (fn [mail] (boolean (some-> (get mail kind) matches?)))])))

(defn- clause
  "Returns [kind matches? rest] of the clause at the beginning of tokens."
  [place [{:keys [word]} & [value & more :as rest]] {:keys [lists] :as state}]
  (case (lower-case word)
    "default" [:default (constantly true) rest]

    "rcptcount" (let [compare? (comparisons (:word value))
                      number (some-> more first :word parse-long)]
                  (when-not (and compare? number)
                    (fail place "rcptcount wants a comparison and a number, such as rcptcount >= 25"))
                  [:recipient-count #(compare? (:recipient-count %) number) (next more)])

    "list" (let [[kind matches?] (or (lists (:text value))
                                     (fail place "there is no list " (shown value) " above"))]
             [kind matches? more])

    (let [[kind matches?] (value-matcher place (lower-case word) value state)]
      [kind matches? more])))

(defn- clause-name?
  [{:keys [word]}]
  (contains? clause-names (some-> word lower-case)))

(defn- list-of
  "Returns the name of a list with the kind of its members and the function that is true for a mail that one
  of them matches."
  [place [{list-name :text} {:keys [word]} opening & more] state]
  (let [members (butlast more)]
    (when-not (and list-name word (= {:word "{"} opening) (= {:word "}"} (last more)) (seq members))
      (fail place "a list is written as in: list \"ours\" addr { 192.0.2.0/24 198.51.100.7 }"))
    (when-not (or (= "addr" (lower-case word)) (text-clauses (lower-case word)))
      (fail place "a list of " word " is not known; there are " (one-of (conj (keys text-clauses) "addr"))))
    (let [matchers (mapv #(value-matcher place (lower-case word) % state) members)]
      [list-name [(ffirst matchers) (fn [mail] (boolean (some (fn [[_ matches?]] (matches? mail)) matchers)))]])))

;; ---- parameters

(def ^:private format-letters #"%(?:%|[rfidhAa]|[ms][rfd]|[ER][thms]?|M\{[^}]*\}|M.)")

(defn- template
  "Returns a text in which only what is known stands behind %."
  [place what token]
  (let [text (text-of place what token)]
    (when-let [unknown (re-find #"%.?" (string/replace text format-letters ""))]
      (fail place "in " what ", " unknown " is not known; a percent sign is %%"))
    text))

(defn- code
  [place pattern wanted token]
  (let [text (text-of place wanted token)]
    (or (re-matches pattern text)
        (fail place wanted " must be such as " (if (= "code" wanted) "\"451\"" "\"4.7.1\"") ", not " text))))

(defn- parameter
  "Returns [parameters rest] with the parameter at the beginning of tokens."
  [place parameters [{:keys [word] :as token} value & more]]
  (case (some-> word lower-case)
    "delay" [(assoc parameters :delay (duration place value)) more]
    "autowhite" [(assoc parameters :autowhite (duration place value)) more]
    "code" [(assoc parameters :code (parse-long (code place #"[45][0-9]{2}" "code" value))) more]
    "ecode" [(assoc parameters :enhanced-code (code place #"[45]\.[0-9]{1,3}\.[0-9]{1,3}" "ecode" value)) more]
    "msg" [(assoc parameters :text (template place "msg" value)) more]
    "report" [(assoc parameters :report (template place "report" value)) more]
    "addheader" (let [[_ field content] (re-matches #"([!-9;-~]+): (.*)" (template place "addheader" value))
                      [comma index & behind] more
                      index (when (= {:word ","} comma)
                              (or (some-> index :word parse-long)
                                  (fail place "behind the comma of addheader, a position is wanted")))]
                  (when-not field
                    (fail place "addheader must be a header field such as \"X-Seen: yes\", not " (shown value)))
                  [(assoc parameters :header [index field content]) (if index behind more)])
    (fail place (shown token) " is not known here; clauses are " (one-of clause-names)
          ", parameters addheader, autowhite, code, delay, ecode, msg, report")))

(defn- check-codes
  [place {:keys [action code enhanced-code] :as entry}]
  (let [class (when code (str (first (str code))))]
    (when (and class enhanced-code (not (string/starts-with? enhanced-code class)))
      (fail place "code " code " and ecode " enhanced-code " are of different classes"))
    (when (and (= :greylist action) (string/starts-with? (str (or class enhanced-code "4")) "5"))
      (fail place "greylist answers a temporary failure: its code must begin with 4")))
  entry)

(defn- entry
  "Returns the entry of an access list: its :action, :clauses, parameters and :line."
  [{:keys [line] :as place} given state]
  (let [[id given] (if (:text (first given)) [(:text (first given)) (rest given)] [nil given])
        action (some-> given first :word lower-case)]
    (when-not (#{"greylist" "whitelist" "blacklist" "continue"} action)
      (fail place "an entry begins with greylist, whitelist, blacklist or continue, not " (shown (first given))))
    (loop [tokens (next given), clauses [], parameters {}]
      (let [not? (= "not" (some-> tokens first :word lower-case))
            after (if not? (next tokens) tokens)]
        (cond
          (empty? tokens)
          (check-codes place (merge parameters
                                    {:action (keyword action) :clauses clauses :line line :id (or id line)}))

          (clause-name? (first after))
          (let [[kind matches? more] (clause place after state)]
            (recur more (conj clauses {:kind kind :matches? (if not? (complement matches?) matches?)}) parameters))

          not? (fail place "a clause is wanted behind not, one of " (one-of clause-names))

          :else (let [[parameters more] (parameter place parameters tokens)]
                  (recur more clauses parameters)))))))

;; ---- statements

(def ^:private switches
  {"quiet" [:quiet? true] "noauth" [:spare-authenticated? false] "lazyaw" [:lazy-autowhite? true]
   "domainexact" [:exact? true] "extendedregex" [:extended? true] "delayedreject" [:delayed-reject? true]})

(def ^:private statement-names
  (into #{"greylist" "autowhite" "timeout" "subnetmatch" "subnetmatch6" "report" "list" "racl" "acl" "addr" "domain"
          "from" "rcpt"}
        (concat unused (keys switches))))

(defn- with-statement
  [state [{:keys [line] :as place} [{:keys [word] :as token} value :as tokens]]]
  (let [keyword-name (string/replace (lower-case (or word "")) #":$" "")
        alone (fn [parsed]
                (if (= 2 (count tokens))
                  parsed
                  (fail place "one value is wanted behind " word)))]
    (cond
      (unused keyword-name) (update state :unused conj (str keyword-name " in line " line))

      (switches keyword-name)
      (if value
        (fail place "nothing is wanted behind " word ", not " (shown value))
        (conj state (switches keyword-name)))

      :else
      (case keyword-name
        "greylist" (assoc state :delay (alone (duration place value)))
        "autowhite" (assoc state :autowhite (alone (duration place value)))
        "timeout" (assoc state :retry-window (alone (duration place value)))
        "subnetmatch" (assoc-in state [:network-lengths :ipv4] (alone (prefix-length place value 32)))
        "subnetmatch6" (assoc-in state [:network-lengths :ipv6] (alone (prefix-length place value 128)))
        "report" (assoc state :report (or (#{:none :delays :nodelays :all} (some-> value :word lower-case keyword))
                                          (fail place "report wants none, delays, nodelays or all, not " (shown value))))
        "list" (let [[list-name members] (list-of place (rest tokens) state)]
                 (assoc-in state [:lists list-name] members))
        ("racl" "acl") (update state :rules conj (entry place (rest tokens) state))
        ("addr" "domain" "from" "rcpt") (update state :first-rules conj
                                                (entry place
                                                       (into [{:word "whitelist"} {:word keyword-name}] (rest tokens))
                                                       state))
        (fail place (shown token) " is not known here; there are " (one-of statement-names))))))

(def ^:private defaults
  {:delay 1800 :autowhite 86400 :retry-window 432000 :network-lengths {:ipv4 32 :ipv6 128} :report :all
   :quiet? false :spare-authenticated? true :lazy-autowhite? false :delayed-reject? false
   :rules [] :first-rules [] :lists {} :unused []})

(defn read-conf
  "Returns the settings in a file: those of greylist.clj with :rules, a vector of entries, and :unused, texts.
  A clause about logins or certificates means that these alone spare nobody."
  [file]
  (let [place {:file file}
        lines (try
                (string/split-lines (Text/decode (java.nio.file.Files/readAllBytes (.toPath (io/file file)))))
                (catch java.io.IOException e
                  (fail place "it cannot be read: " (ex-message e))))
        found (statements file lines)
        ;; Holds for entries above it, too.
        exact? (some #(= "domainexact" (some-> % second first :word lower-case)) found)
        {:keys [rules first-rules] :as state} (reduce with-statement (assoc defaults :exact? exact?) found)
        rules (into (vec (rseq first-rules)) rules)]
    (-> (dissoc state :first-rules :lists :exact? :extended?)
        (assoc :rules rules)
        (cond-> (some #{:user :certificate} (mapcat #(map :kind (:clauses %)) rules))
          (assoc :spare-authenticated? false)))))

(defn rule-for
  "Returns the first of the rules that decides about a mail, with what those that only go on have said."
  [rules mail]
  (reduce (fn [found {:keys [action clauses] :as rule}]
            (cond
              (not-every? #((:matches? %) mail) clauses) found
              (= :continue action) (merge found (dissoc rule :action :clauses))
              :else (reduced (merge found rule))))
          {:action :greylist}
          rules))
