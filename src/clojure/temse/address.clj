(ns temse.address
  "Mail addresses as envelopes and header fields write them: RFC 5321 section 4.1.2, RFC 5322 section
  3.4 with the obsolete forms of section 4.4, and RFC 6531 and 6532 for addresses beyond ASCII.

  An address is a map. What does not apply is missing:

    :local-part     ; what is before the @, without quotes and backslashes
    :domain         ; as written: \"example.org\", \"example.org.\", \"[IPv6:2001:db8::1]\"
    :route          ; the domains of a source route, a vector
    :display-name   ; the name beside an address in a header field, in one line
    :group          ; the name of the group that the address is a member of
    :null?          ; true for the null path <>, which has no other key

  One that was read has as metadata :quoted?, true if some of its local part was in quotes.

  Reading never throws and takes time and memory in proportion to the text. White space and comments
  may stand wherever RFC 5322 allows them. More is accepted than the RFCs allow in one respect: dots
  may stand anywhere in a local part, since there are addresses such as a..b@example.org.

    (parse-path \"<ann@example.org>\")
    ;=> {:local-part \"ann\", :domain \"example.org\"}
    (parse-list \"Ann <ann@example.org>, friends: bob@example.com, \\\"c d\\\"@example.com;\")
    ;=> [{:local-part \"ann\", :domain \"example.org\", :display-name \"Ann\"}
    ;    {:local-part \"bob\", :domain \"example.com\", :group \"friends\"}
    ;    {:local-part \"c d\", :domain \"example.com\", :group \"friends\"}]"
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

;; ---- tokens

(def ^:private ^String specials "()<>[]:;@\\,\"")

(defn- atom-character?
  "Returns true for what a dot-atom consists of, dots included."
  [c]
  (and (< 0x20 (int c)) (not= 0x7F (int c)) (neg? (.indexOf specials (int c)))))

(defn- space?
  [c]
  (<= 0 (.indexOf " \t\r\n" (int c))))

(defn- run-end
  "Returns the offset at which the run of characters of a kind ends."
  [^String text start kind?]
  (loop [i (long start)]
    (if (and (< i (.length text)) (kind? (.charAt text i)))
      (recur (inc i))
      i)))

(defn- line?
  "Returns true for a string that neither ends a line nor a C string."
  [x]
  (and (string? x) (not (re-find #"[\r\n\u0000]" x))))

(defn- enclosed
  "Returns the token of what stands between two characters, without the backslashes of quoted pairs.
  An opening character inside is closed first. What is never closed extends to the end and is :bad."
  [^String text start kind opening closing]
  (let [content (StringBuilder.)
        end (.length text)]
    (loop [i (inc (long start))
           depth 0]
      (let [c (when (< i end) (.charAt text i))]
        (cond
          (nil? c)
          [:bad (str content) end]

          (and (= \\ c) (< (inc i) end))
          (do (.append content (.charAt text (inc i)))
              (recur (+ i 2) depth))

          (and (= closing c) (zero? depth))
          [(if (line? (str content)) kind :bad) (str content) (inc i)]

          :else
          (do (.append content (char c))
              (recur (inc i) (+ depth (long (cond (= closing c) -1 (= opening c) 1 :else 0))))))))))

(defn- literal
  [^String text start]
  (let [close (.indexOf text "]" (int start))
        end (if (neg? close) (.length text) (inc close))
        content (string/replace (subs text start end) #"[ \t]" "")]
    [(if (re-matches #"\[[^\x00-\x20\x7F\[\]\\]+\]" content) :literal :bad) content end]))

(defn- token
  "Returns the token that begins at an offset: kind, content and the offset of what follows. Special
  characters are kinds of their own."
  [^String text start]
  (let [c (.charAt text (int start))
        run (fn [kind kind?]
              (let [end (run-end text start kind?)]
                [kind (subs text start end) end]))]
    (cond
      (atom-character? c) (run :word atom-character?)
      (space? c) (run :space space?)
      (= \" c) (enclosed text start :quoted nil \")
      (= \( c) (enclosed text start :comment \( \))
      (= \[ c) (literal text start)
      (string/index-of "<>@,:;" c) [c (str c) (inc (long start))]
      :else [:bad (str c) (inc (long start))])))

(defn- tokens
  "Returns the tokens of a text, [kind content]."
  [text]
  (let [text (string/replace text #"\r?\n(?=[ \t])" "")]
    (loop [start 0
           found (transient [])]
      (if (= start (count text))
        (persistent! found)
        (let [[kind content end] (token text start)]
          (recur (long end) (conj! found [kind content])))))))

(defn- kind?
  [kind]
  (fn [[other]] (= kind other)))

(defn- significant
  [tokens]
  (remove #(contains? #{:space :comment} (first %)) tokens))

;; ---- paths

(defn- dot-between?
  [[[kind-1 ^String text-1] [kind-2 ^String text-2]]]
  (or (and (= :word kind-1) (.endsWith text-1 "."))
      (and (= :word kind-2) (.startsWith text-2 "."))))

(defn- joined
  "Returns tokens of these kinds as one text if there is a dot between any two of them, or nil."
  [tokens kinds]
  (when (and (seq tokens)
             (every? #(contains? kinds (first %)) tokens)
             (every? dot-between? (partition 2 1 tokens)))
    (string/join (map second tokens))))

(defn- read-domain
  [tokens]
  (if (= [:literal] (map first tokens))
    (second (first tokens))
    (when-let [^String labels (joined tokens #{:word})]
      (when-not (or (.startsWith labels ".") (.contains labels ".."))
        labels))))

(defn- divided
  "Returns the tokens before the first of a kind and those after it, nil if there is none."
  [kind tokens]
  (let [[before [separator & after]] (split-with (complement (kind? kind)) tokens)]
    [before (when separator (vec after))]))

(defn- route
  "Returns the domains of a source route, a nil among them if it is none."
  [tokens]
  (for [hop (partition-by (kind? \,) tokens)
        :when (not= \, (ffirst hop))]
    (when (= \@ (ffirst hop))
      (read-domain (rest hop)))))

(defn- address
  "Returns the address that the tokens between angle brackets are, or nil."
  [tokens]
  (let [tokens (significant tokens)
        [hops path] (if (= \@ (ffirst tokens))
                      (divided \: tokens)
                      [nil tokens])
        hops (route hops)
        [before after] (divided \@ path)
        local-part (joined before #{:word :quoted})
        host (read-domain after)]
    (when (and local-part (every? some? hops) (or host (and (nil? after) (empty? hops))))
      (cond-> (with-meta {:local-part local-part} {:quoted? (boolean (some (kind? :quoted) before))})
        host (assoc :domain host)
        (seq hops) (assoc :route (vec hops))))))

(defn parse-path
  "Returns the address that is the path of MAIL FROM or RCPT TO, with angle brackets or without; nil
  if the text is none.

    (parse-path \"<\\\"ann lee\\\"@example.org>\")   ;=> {:local-part \"ann lee\", :domain \"example.org\"}
    (parse-path \"<@a.example,@b.example:c@d.example>\")
    ;=> {:local-part \"c\", :domain \"d.example\", :route [\"a.example\" \"b.example\"]}
    (parse-path \"<Postmaster>\")   ;=> {:local-part \"Postmaster\"}
    (parse-path \"<>\")             ;=> {:null? true}
    (parse-path \"<ann@>\")         ;=> nil"
  [text]
  (when (string? text)
    (let [given (vec (significant (tokens text)))]
      (cond
        (= [\< \>] (map first given)) {:null? true}
        (and (= \< (ffirst given)) (= \> (first (peek given)))) (address (pop (subvec given 1)))
        :else (address given)))))

;; ---- lists

(defn- one-line
  "Returns a text without control characters and with one space wherever there is white space, or
  nil if nothing is left."
  [text]
  (not-empty (string/trim (string/replace text #"[\p{Cntrl} ]+" " "))))

(defn- phrase
  [tokens]
  (one-line (string/join (map (fn [[kind content]] (if (= :comment kind) " " content)) tokens))))

(defn- found
  "Returns the state of reading a list after the end of an address. A word behind an address in angle
  brackets is none."
  [{:keys [group inside behind?] :as state} tokens display-name]
  (let [{:keys [domain] :as address} (address tokens)
        address? (and address (or domain (not behind?)))]
    (cond-> (assoc state :before [] :inside nil :behind? (some? inside))
      address?
      (update :addresses conj (cond-> address
                                display-name (assoc :display-name display-name)
                                group (assoc :group group)))

      (and (not address?) (or inside (seq (significant tokens))))
      (assoc :left-out? true))))

(defn- closed
  "Returns the state after an address in angle brackets, or one without; a comment beside the latter
  is its display name."
  [{:keys [before inside] :as state}]
  (if inside
    (found state inside (phrase before))
    (found state before (some (fn [[kind content]] (when (= :comment kind) (one-line content)))
                              before))))

(defn- read-token
  [{:keys [before inside] :as state} [kind :as token]]
  (cond
    (= \< kind) (assoc state :inside [])
    (and inside (= \> kind)) (closed state)
    (and (= \, kind) (not= \@ (ffirst inside))) (closed state)
    (= \; kind) (dissoc (closed state) :group)
    inside (update state :inside into (significant [token]))
    (= \: kind) (assoc state :group (phrase before) :before [] :behind? false)
    :else (update state :before conj token)))

(defn parse-list
  "Returns the addresses in the value of a header field such as From, To or Cc, a vector. Members of
  groups are among them, empty groups and what is no address are left out. An angle bracket that is
  never closed is taken for closed at the next comma, semicolon or the end. The vector has as metadata
  :left-out?, true if something was no address: whoever decides by the addresses may have to refuse such
  a field, in which another program could see one.

    (parse-list \"\\\"Lee, Ann\\\" <ann@example.org>, bob@example.com (Bob)\")
    ;=> [{:local-part \"ann\", :domain \"example.org\", :display-name \"Lee, Ann\"}
    ;    {:local-part \"bob\", :domain \"example.com\", :display-name \"Bob\"}]
    (parse-list \"undisclosed-recipients:;\")   ;=> []"
  [text]
  (let [{:keys [addresses left-out?]} (closed (reduce read-token
                                                      {:addresses [], :before []}
                                                      (when (string? text) (tokens text))))]
    (with-meta addresses {:left-out? (boolean left-out?)})))

;; ---- writing

(defn- domain?
  [x]
  (and (line? x) (= x (read-domain (tokens x)))))

(defn- name?
  [x]
  (and (string? x) (= x (one-line x))))

(def ^:private table
  "What the keys of an address must be."
  {:local-part ["a string without CR, LF and NUL" line?]
   :domain ["a domain such as \"example.org\" or \"[192.0.2.1]\"" domain?]
   :route ["a vector of domains" #(and (sequential? %) (seq %) (every? domain? %))]
   :display-name ["a text in one line" name?]
   :group ["a text in one line" name?]
   :null? keys/truth})

(defn- checked
  [given]
  (keys/check "an address" given table)
  (let [{:keys [local-part domain route null?]} given]
    (when-not (and (or null? local-part) (or domain (nil? route)))
      (throw (keys/bad-option :local-part
                              given
                              (str "an address has a :local-part, and a :domain if it has a :route; or"
                                   " it is {:null? true}, not " (keys/shown given))))))
  given)

(defn- quoted
  [text]
  (str "\"" (string/replace text #"[\"\\]" "\\\\$0") "\""))

(defn- dot-atom?
  [^String text]
  (and (every? atom-character? text)
       (every? #(not= "" %) (string/split text #"\." -1))))

(defn- written
  "Returns an address as text, without route and angle brackets."
  [{:keys [local-part domain]}]
  (str (when local-part (if (dot-atom? local-part) local-part (quoted local-part)))
       (when domain (str "@" domain))))

(defn render-path
  "Returns an address as the path of MAIL FROM or RCPT TO; names are no part of it. The local part is
  in quotes where it must be.

  Throws :bad-options if it is no address.

    (render-path {:local-part \"ann lee\", :domain \"example.org\"})   ;=> \"<\\\"ann lee\\\"@example.org>\"
    (render-path {:null? true})                                   ;=> \"<>\""
  [address]
  (let [{:keys [route]} (checked address)]
    (str "<"
         (when route (str (string/join "," (map #(str "@" %) route)) ":"))
         (written address)
         ">")))

(defn- render-name
  [text]
  (if (every? #(and (atom-character? %) (not= \. %)) (string/replace text " " ""))
    text
    (quoted text)))

(defn- render-mailbox
  [{:keys [display-name route] :as address}]
  (cond
    display-name (str (render-name display-name) " " (render-path address))
    route (render-path address)
    :else (written (checked address))))

(defn render-list
  "Returns addresses as the value of a header field, in one line; those that follow each other and
  have the same :group are written as a group.

  Throws :bad-options if one of them is no address.

    (render-list [{:local-part \"ann\", :domain \"example.org\", :display-name \"Lee, Ann\"}])
    ;=> \"\\\"Lee, Ann\\\" <ann@example.org>\""
  [addresses]
  (string/join ", " (for [[{:keys [group]} :as members] (partition-by :group addresses)
                          :let [mailboxes (string/join ", " (map render-mailbox members))]]
                      (if group
                        (str (render-name group) ": " mailboxes ";")
                        mailboxes))))

(defn canonical
  "Returns what is equal for two ways to write one address, and for no other address: its text
  without route, names and needless quotes, and with the domain in lower case and without a dot at
  its end. Letters of the local part keep their case, for only its host knows whether that matters.
  It is \"\" for the null path.

    (canonical (parse-path \"<\\\"ann\\\"@Example.ORG.>\"))   ;=> \"ann@example.org\""
  [address]
  (written (cond-> (checked address)
             (:domain address) (update :domain #(-> (.toLowerCase ^String % Locale/ROOT)
                                                    (string/replace #"\.$" ""))))))

;; ---- parts

(defn- given-address
  "Returns the address that is given as a map or as the path of an envelope, or nil."
  [address-or-path]
  (if (map? address-or-path)
    (checked address-or-path)
    (parse-path address-or-path)))

(defn bare
  "Returns an address, or the path of MAIL FROM or RCPT TO, as text without angle brackets, route and
  names: \"\" for the null path, nil for what is no address.

    (bare \"<@a.example:ann@Example.ORG>\")   ;=> \"ann@Example.ORG\"
    (bare \"<>\")                             ;=> \"\""
  [address-or-path]
  (some-> (given-address address-or-path) written))

(defn local-part
  "Returns what is before the @ of an address or path, without quotes and backslashes; nil for the null
  path and for what is no address.

    (local-part \"<\\\"ann lee\\\"@example.org>\")   ;=> \"ann lee\""
  [address-or-path]
  (:local-part (given-address address-or-path)))

(defn domain
  "Returns the domain of an address or path as it is written, or nil if there is none.
  `temse.idna/ascii` makes domains comparable.

    (domain \"<ann@Example.ORG>\")   ;=> \"Example.ORG\"
    (domain \"<ann@[192.0.2.1]>\")   ;=> \"[192.0.2.1]\""
  [address-or-path]
  (:domain (given-address address-or-path)))

(defn sub-address
  "Returns the parts of the local part of an address or path by the names of RFC 5233: :user, and
  :detail if there is one; nil where there is no local part.

  `separators` are the characters that may divide the two (default: \"+\"), as in Postfix's
  recipient_delimiter: the first of them counts, unless nothing is before it.

    (sub-address \"<ann+news@example.org>\")        ;=> {:user \"ann\", :detail \"news\"}
    (sub-address \"<ann-news@example.org>\" \"+-\")   ;=> {:user \"ann\", :detail \"news\"}
    (sub-address \"<ann@example.org>\")             ;=> {:user \"ann\"}

  Throws :bad-options if the separators are no string with a character in it."
  ([address-or-path]
   (sub-address address-or-path "+"))
  ([address-or-path separators]
   (when-not (and (string? separators) (seq separators))
     (throw (keys/bad-option :separators
                             separators
                             (str "the separators of sub-address must be a string such as \"+\", not "
                                  (keys/shown separators)))))
   (when-let [^String text (local-part address-or-path)]
     (let [end (run-end text 0 #(neg? (.indexOf ^String separators (int %))))]
       (if (< 0 (long end) (count text))
         {:user (subs text 0 end), :detail (subs text (inc (long end)))}
         {:user text})))))

(defn smtputf8?
  "Returns true if an address or path holds characters beyond ASCII, so that it can be sent as it is
  only with SMTPUTF8 (RFC 6531); false for what is no address. Where only the domain holds them,
  `temse.idna/ascii` makes it one that every MTA takes.

    (smtputf8? \"<jörg@example.org>\")   ;=> true"
  [address-or-path]
  (boolean (some->> (given-address address-or-path)
                    written
                    (re-find #"[^\p{ASCII}]"))))
