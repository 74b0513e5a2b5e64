(ns temse.differential
  "temse beside libmilter: where the two treat a conversation differently, and which differences are
  intended."
  (:require
   [clojure.string :as str]
   [temse.differential.conversation :as conversation]
   [temse.differential.libmilter :as libmilter]
   [temse.differential.peers :as peers]
   [temse.support :refer [awaited]]))

(set! *warn-on-reflection* true)

(defn- before-the-end
  "Returns the lines without those that the end of the connection adds."
  [lines]
  (reverse (drop-while #{"abort" "close"} (reverse lines))))

;; What may be said of a situation, see `situation`

(defn- starting? [{:keys [code state]}]
  (and (= "O" code) (= :start state)))

(defn- ignored?
  "True if libmilter ignores the command, and all that it leaves to the filter is an abort."
  [{:keys [code accepted]}]
  (and code (not= "D" code) (nil? accepted)))

(defn- content? [{:keys [code]}]
  (contains? #{"R" "T" "L" "N" "B" "E"} code))

(defn- word
  "Returns a number of 32 bits of an offer or an answer: 0 version, 1 actions, 2 protocol; or nil."
  [payload index]
  (when (<= 12 (count payload))
    (reduce (fn [number octet] (+ (* 256 (long number)) (int octet)))
            0
            (subs payload (* 4 (long index)) (* 4 (inc (long index)))))))

(def ^:private payload-size 0x30000000)

(defn- differ-in?
  "True if the answers to an offer differ in some of these bits and in no others, but for those of the
  payload's size."
  [{:keys [theirs ours]} bits]
  (let [[their-bits our-bits] (for [{[answer] :replies} [theirs ours]]
                                (some-> answer (subs 1) (word 2)))]
    (and their-bits
         our-bits
         (let [different (bit-xor (long their-bits) (long our-bits))]
           (and (not= 0 (bit-and different (long bits)))
                (= 0 (bit-and-not different (bit-or (long bits) payload-size))))))))

(defn- without-macros [line]
  (str/replace line #" \|.*\| " " "))

(defn- differ-in-macros?
  "True if the last of their lines and the last of ours differ in nothing but macros."
  [{:keys [theirs ours]}]
  (let [[their-line our-line] (map (comp last before-the-end :lines) [theirs ours])]
    (and their-line
         our-line
         (not= their-line our-line)
         (= (without-macros their-line) (without-macros our-line)))))

(defn- last-words
  "Returns the words of the last line before the end."
  [{:keys [lines]}]
  (some-> (last (before-the-end lines)) (str/split #" ")))

(def ^:private last-callback (comp first last-words))

(def ^:private last-answer (comp last last-words))

(defn- in-message?
  "True if these answers were given to commands of the same message."
  [answers code answer]
  (some #{[code answer]} (take-while (fn [[code]] (not (#{"M" "E"} code))) (reverse answers))))

(def differences
  "The differences that are intended: what they are, why, and whether they explain that the filters
  part in a situation. The first that explains it counts."
  [{:id :close-without-offer
    :what "libmilter reports the close of a connection that has made no valid offer; temse does not."
    :reason "No filter was notified of such a connection: there is nothing to release."
    :explains? (fn [{:keys [theirs ours]}]
                 (and (= ["close"] (:lines theirs))
                      (= [] (:lines ours) (:replies theirs) (:replies ours))))}

   {:id :offer-first
    :what "Before the offer libmilter calls the filter for HELO, MAIL and unknown commands, ignores all others, and then ignores the offer. temse closes the connection."
    :reason "Without an agreement nobody knows which replies are due and which changes are allowed."
    :explains? (fn [{:keys [code state]}]
                 (and (= :start state) (not= "O" code)))}

   {:id :length-of-nothing
    :what "libmilter takes the announced length 0, and lengths of 2 GiB and more, for 1. temse closes the connection."
    :reason "Where the next frame begins is not known: what follows would be read as something it is not."
    :explains? (fn [{[_ _ length] :frame}]
                 (and length (or (= 0 length) (<= 0x80000000 (long length)))))}

   {:id :large-payload
    :what "libmilter closes the connection at a payload of more than 65535 bytes. temse takes up to 2 MiB."
    :reason "Pieces of a body of up to 1 MiB can be negotiated, and libmilter loses the mails of an MTA that sends more than it expects."
    :explains? (fn [{:keys [payload]}]
                 (< 65535 (count payload)))}

   {:id :version
    :what "libmilter takes an announced version of 2147483648 and more for a negative one and closes the connection. temse answers 6."
    :reason "A version is unsigned, and higher ones than 6 are answered with 6."
    :explains? (fn [{:keys [payload theirs] :as situation}]
                 (and (starting? situation)
                      (<= 0x80000000 (long (or (word payload 0) 0)))
                      (= [] (:replies theirs))))}

   {:id :skip-asked
    :what "Without a negotiation callback libmilter does not ask for `SMFIP_SKIP`. temse always does where it is offered."
    :reason "It costs nothing, and a handler can answer skip without an option."
    :explains? (fn [{:keys [variant] :as situation}]
                 (and (= :plain variant)
                      (starting? situation)
                      (differ-in? situation 0x400)))}

   {:id :payload-size
    :what "Debian's libmilter does not know `SMFIP_MDS_256K` and `SMFIP_MDS_1M`. temse agrees to the larger of those offered."
    :reason "temse takes payloads of that size in any case."
    :explains? (fn [situation]
                 (and (starting? situation)
                      (differ-in? situation payload-size)))}

   {:id :not-spared
    :what "libmilter closes the connection if the MTA does not offer to leave out a command that the filter has no callback for. temse asks for no reply to it where that is offered, and answers continue otherwise."
    :reason "The filter can do its work, only a little slower."
    :explains? (fn [{:keys [variant theirs] :as situation}]
                 (and (#{:few :content} variant)
                      (starting? situation)
                      (or (= [] (:replies theirs))
                          (differ-in? situation 0x30000))))}

   {:id :later-command
    :what "libmilter calls the filter for DATA from an MTA that announced version 2 or 3, and for unknown commands at version 2. temse answers continue, and calls no handler."
    :reason "These versions have no such command, and what was agreed says so: its handler is known not to be called."
    :explains? (fn [{:keys [code before theirs]}]
                 (let [callback (last-callback theirs)
                       version (first (second (first before)))]
                   (or (and (= ["T" "data"] [code callback]) (#{2 3} version))
                       (and (= ["U" "unknown"] [code callback]) (= 2 version)))))}

   {:id :second-offer
    :what "libmilter ignores a second offer. temse closes the connection."
    :reason "The MTA waits for an answer to it, and would wait until its timeout."
    :explains? (fn [{:keys [code state]}]
                 (and (= "O" code) (not= :start state)))}

   {:id :macros-without-stage
    :what "libmilter closes the connection at a macro frame without a stage letter. temse ignores the frame."
    :reason "Macros of unknown stages are ignored by both, and this is one."
    :explains? (fn [{:keys [before]}]
                 (some #(and (= "D" (first %)) (= "" (conversation/payload %))) before))}

   {:id :no-macros
    :what "libmilter ignores a macro frame without a name and a value, so that the macros of the command before stay. temse takes the frame for what it says: there are none."
    :reason "Both Postfix and Sendmail send such frames where nothing is defined, such as TLS macros of a new HELO; the old values belong to something that is over."
    :explains? (fn [{:keys [before] :as situation}]
                 (and (differ-in-macros? situation)
                      (some #(and (= "D" (first %)) (< (count (first (conversation/strings %))) 2))
                            before)))}

   {:id :braces
    :what "libmilter finds a macro with a name of more than one character only with the braces that it came with. temse finds `mail_addr` and `{mail_addr}` by either name."
    :reason "Both MTAs send long names in braces only; a filter's author should not have to think of them."
    :explains? (fn [{:keys [before] :as situation}]
                 (and (differ-in-macros? situation)
                      (some #(and (= "D" (first %)) (re-find #"(?:rcpt|mail)_addr\u0000" (conversation/payload %)))
                            before)))}

   {:id :quit-nc
    :what "libmilter takes QUIT_NC after a message that was continued, and after an unknown command; elsewhere it ignores it, and then the CONNECT of the next client. temse takes it everywhere."
    :reason "The next client would be served with what is left of the one before, and its CONNECT never answered."
    :explains? (fn [{:keys [code ignored] :as situation}]
                 (or (and (= "K" code) (ignored? situation))
                     (contains? ignored "K")))}

   {:id :connect-again
    :what "libmilter ignores CONNECT unless it follows the offer or QUIT_NC directly. temse closes the connection if a client is connected, and takes CONNECT otherwise."
    :reason "The MTA waits for a reply, and would wait until its timeout."
    :explains? (fn [{:keys [code] :as situation}]
                 (and (= "C" code) (ignored? situation)))}

   {:id :close-twice
    :what "If nothing follows QUIT_NC libmilter reports close twice. temse reports it once per client."
    :reason "Nothing is left to close."
    :explains? (fn [{:keys [theirs ours]}]
                 (= (:lines theirs) (conj (:lines ours) "close")))}

   {:id :abort-without-message
    :what "libmilter reports ABORT outside of messages after an unknown command, and anywhere if it has asked to be spared MAIL. temse reports it inside messages only."
    :reason "What was never begun cannot be aborted."
    :explains? (fn [{:keys [code message]}]
                 (and (= "A" code) (not= :open message)))}

   {:id :discard-at-recipient
    :what "For libmilter a message goes on after a recipient was answered with discard, and an abort of it is reported. For temse the message is over: its handlers are not called again for it, and further commands of it get the same answer."
    :reason "Discard concerns the whole message. Neither MTA sends more of it than an ABORT."
    :explains? (fn [{:keys [code answers message theirs]}]
                 (or (and (= :settled message) (in-message? answers "R" "discard"))
                     (and (= "R" code) (= "discard" (last-answer theirs)))))}

   {:id :unknown-in-message
    :what "An unknown command inside a message makes libmilter forget the message: it ignores the rest of it without replies, takes a recipient or a piece of the body outside of one, and reports no abort. temse goes on with the message."
    :reason "A typing error in the SMTP dialogue is no reason to lose a mail, and without replies the MTA would wait until its timeout."
    :explains? (fn [{:keys [code state message]}]
                 (or (= :unknown state)
                     (and (= "U" code) (= :open message))))}

   {:id :after-refusal-of-client
    :what "After CONNECT or HELO was answered with a verdict libmilter goes on calling the filter. temse answers all that follows with the same verdict, and calls nobody."
    :reason "The verdict concerns the whole connection. An MTA sends nothing more but QUIT."
    :explains? (fn [{:keys [answers]}]
                 (some (fn [[code answer]]
                         (and (#{"C" "H"} code) (not (#{"continue" "noreply"} answer))))
                       answers))}

   {:id :after-verdict
    :what "After a verdict that ends the message libmilter ignores what else comes of it. temse gives the same verdict again."
    :reason "The MTA should not send it, but if it does it waits for replies, and would wait until its timeout."
    :explains? (fn [{:keys [message] :as situation}]
                 (and (= :settled message) (content? situation) (ignored? situation)))}

   {:id :body-after-skip
    :what "libmilter goes on calling the filter for pieces of the body after it answered skip. temse answers continue, and calls no handler."
    :reason "The handler has said that it needs no more; an MTA that sends more does not know skip, or has it on the way."
    :explains? (fn [{:keys [code answers]}]
                 (and (#{"B" "E"} code) (in-message? answers "B" "skip")))}

   {:id :last-piece-of-body
    :what "If the end of a message carries a last piece of the body, and the filter's answer to it is not continue, libmilter sends that answer twice, or none if there should be no reply to pieces of the body. temse sends one."
    :reason "The command is one, and so is the reply that the MTA reads: a second would be taken for the reply to the next command."
    :explains? (fn [{:keys [code payload]}]
                 (and (= "E" code) (not= "" payload)))}

   {:id :order-in-message
    :what "libmilter takes a command of a message in one order only: a recipient must precede DATA and all content, the end of the header must precede the body. If not it reports an abort, and ignores the command or, if it has asked to be spared MAIL, begins another message with it. temse takes DATA without a recipient, a recipient after DATA, and the body or the end without an end of the header, and closes the connection at other disorder, which also ends the message."
    :reason "The MTA waits for a reply to the command, and would wait until its timeout."
    :explains? (fn [{:keys [message accepted] :as situation}]
                 (and (= :open message) (content? situation) (not= :expected accepted)))}

   {:id :outside-of-message
    :what "libmilter ignores a command of a message that comes outside of one or, after ABORT and without a callback for unknown commands, calls the filter. temse closes the connection."
    :reason "The MTA waits for a reply to the command, and would wait until its timeout; and a handler counts on a message that was begun."
    :explains? (fn [{:keys [variant message] :as situation}]
                 (and (not= :content variant) (not= :open message) (content? situation)))}

   {:id :empty-and-not-wanted
    :what "libmilter closes the connection at a command without its arguments even if the filter has no callback for it. temse looks at the arguments of those commands only that have a handler, and answers continue."
    :reason "Nobody needs the arguments."
    :explains? (fn [{:keys [code payload ours]}]
                 (and (#{"C" "H" "M" "R" "L" "U"} code) (= "" payload) (not (:violated? ours))))}

   {:id :hello-without-nul
    :what "libmilter gives no reply to a HELO whose string is not terminated. temse closes the connection."
    :reason "The MTA would wait for the reply until its timeout."
    :explains? (fn [{:keys [code payload]}]
                 (and (= "H" code) (not (str/ends-with? payload "\u0000"))))}

   {:id :abort-of-malformed
    :what "At a malformed MAIL libmilter reports the abort of a message that it has not reported, and at one inside a message it reports two. temse reports an abort once for each message that its handlers know."
    :reason "What was never begun cannot be aborted."
    :explains? (fn [{:keys [ours theirs]}]
                 (and (:violated? ours)
                      (= (:lines theirs)
                         (concat (butlast (:lines ours)) ["abort" "close"]))))}

   {:id :unterminated
    :what "libmilter drops the last string of MAIL and RCPT if it is not terminated. temse closes the connection."
    :reason "The frame is malformed: what the MTA meant is not known."
    :explains? (fn [{:keys [code payload]}]
                 (and (#{"M" "R"} code) (not (str/ends-with? payload "\u0000"))))}

   {:id :surplus
    :what "libmilter reads CONNECT, HELO, header fields and unknown commands up to the NUL that ends their last string, and ignores what follows. temse closes the connection."
    :reason "The frame is malformed: what the MTA meant is not known."
    :explains? (fn [{:keys [code frame ours]}]
                 (let [[strings remainder] (conversation/strings frame)
                       expected (get {"C" 2, "H" 1, "U" 1, "L" 2} code 1000)]
                   (and (:violated? ours)
                        (or (< expected (count strings))
                            (and (= expected (count strings)) (not= "" remainder))))))}

   {:id :header-without-name
    :what "libmilter closes the connection at a header field without a name. temse takes it."
    :reason "It is what the message has: a line that begins with a colon is no reason to lose the mail."
    :explains? (fn [{:keys [code payload]}]
                 (and (= "L" code) (str/starts-with? payload "\u0000")))}

   {:id :empty-body
    :what "libmilter closes the connection at an empty piece of the body. temse takes it."
    :reason "Nothing is wrong with it."
    :explains? (fn [{:keys [code payload]}]
                 (and (= "B" code) (= "" payload)))}

   {:id :malformed-address
    :what "libmilter closes the connection if a client's address is no IP address, and brings others into their usual form. temse hands on the text."
    :reason "An address is there to be looked at; a filter that does not should not lose the mail for it."
    :explains? (fn [{:keys [code payload theirs ours]}]
                 (and (= "C" code)
                      (re-find #"\u0000[46]..[^\u0000]*\u0000$" payload)
                      (not (:violated? ours))
                      (not= (:lines theirs) (:lines ours))))}

   {:id :address-and-parameters
    :what "If all parameters of MAIL or RCPT come in one string with an address in brackets libmilter's filter gets that string. temse's handler gets address and parameters."
    :reason "Sendmail 8.17.1 sends them so for SMTPUTF8 mail."
    :explains? (fn [{:keys [code payload]}]
                 (and (#{"M" "R"} code) (re-find #"^<[^\u0000]*> [^\u0000]*\u0000$" payload)))}])

(def not-compared
  "What libmilter is not asked, since it would read memory that is not its own: what, and what temse
  does."
  [{:what "A macro frame with a name that has no value, whose macros are looked up."
    :temse "It ignores the name."}
   {:what "An unknown command that is not terminated."
    :temse "It closes the connection."}])

;; Where they differ

(defn- converse
  "Returns what each peer makes of the conversation, libmilter's in :theirs, temse's in :ours."
  [peers conversation]
  (let [theirs (future (peers/converse (:libmilter peers) conversation))
        ours (future (peers/converse (:temse peers) conversation))]
    {:theirs (awaited theirs), :ours (awaited ours)}))

(defn- same? [{:keys [theirs ours]}]
  (= (select-keys theirs [:replies :lines]) (select-keys ours [:replies :lines])))

(defn- parted?
  "True if the peers have not gone the same way, whatever the end of the connection makes of it."
  [{:keys [theirs ours]}]
  (or (:violated? ours)
      (not= (:replies theirs) (:replies ours))
      (not= (before-the-end (:lines theirs)) (before-the-end (:lines ours)))))

(defn- first-where
  "Returns the smallest number from low to high for which the predicate holds, which then holds up to
  high."
  [holds? low high]
  (if (= low high)
    low
    (let [middle (quot (+ low high) 2)]
      (if (holds? middle)
        (recur holds? low middle)
        (recur holds? (inc middle) high)))))

(defn- parting
  "Returns how many frames it takes to make the peers differ: with one frame less they do not. That
  they differ without any does not count."
  [peers {:keys [frames] :as conversation} outcome]
  (let [of #(converse peers (conversation/prefix conversation %))
        size (count frames)
        parted (if (parted? outcome) (first-where (comp parted? of) 0 size) size)]
    (or (some #(when (same? (of (dec %))) %) (range parted 1 -1))
        (min 1 size))))

(defn- situation
  "Returns what is known of the place where the peers part, after a number of frames:

    :index :frame :code :payload   ; of the last of these frames
    :before                        ; those before it
    :accepted                      ; how libmilter takes it, see `libmilter/accepted`
    :state :message :answers       ; where libmilter stood before it, see `libmilter/standing`
    :theirs :ours                  ; what the peers made of the frames up to it, see `peers/converse`"
  [peers {:keys [variant frames] :as conversation} size]
  (let [{:keys [theirs ours]} (converse peers (conversation/prefix conversation size))
        before (subvec frames 0 (max 0 (dec size)))
        standing (libmilter/standing variant before (:lines theirs))
        [code :as frame] (when (pos? size) (nth frames (dec size)))]
    (merge standing
           {:index (dec size)
            :frame frame
            :code code
            :payload (some-> frame conversation/payload)
            :accepted (when frame (libmilter/accepted standing frame))
            :before before
            :theirs theirs
            :ours ours})))

(defn compared
  "Lets both peers have the conversation. Returns nil if they treat it alike, otherwise the situation
  in which they part, with the :difference that explains it, if one does."
  [peers conversation]
  (let [outcome (converse peers conversation)]
    (when-not (same? outcome)
      (let [situation (situation peers conversation (parting peers conversation outcome))]
        (assoc situation :difference (first (filter #((:explains? %) situation) differences)))))))

(defn- listing [title {:keys [lines replies]}]
  (str/join "\n  " (concat [title]
                           lines
                           (map conversation/literal replies))))

(defn report
  "Returns text that tells where the peers part, if they do, and what each made of it until then."
  [peers conversation]
  (let [{:keys [index theirs ours]} (compared peers conversation)]
    (str/join "\n" (cons (conversation/text conversation)
                         (when index
                           [(str "They part at frame " index ".")
                            (listing "libmilter:" theirs)
                            (listing "temse:" ours)])))))
