(ns temse.differential.generators
  "Conversations, legal and nasty."
  (:require
   [clojure.string :as str]
   [clojure.test.check.generators :as gen]
   [temse.differential.conversation :as conversation]
   [temse.differential.rule :as rule]))

(set! *warn-on-reflection* true)

;; Octets

(def ^:private octet
  (gen/frequency [[8 gen/char-alphanumeric]
                  [1 (gen/elements [\space \{ \} \% \< \> \= \| \tab \newline])]
                  [1 (gen/fmap char (gen/choose 1 255))]]))

(def ^:private text
  (gen/frequency [[3 (gen/fmap str/join (gen/vector octet 0 8))]
                  [1 (gen/elements ["" "Gr\u00c3\u00bcn" "\u00ff\u00fe" "100%"])]]))

(defn- strings [& texts]
  (str/join (map #(str % "\u0000") texts)))

(defn- frame [code & parts]
  [code (vec (remove #{""} parts))])

;; Offers

(def ^:private all-actions 0x1FF)

(def ^:private all-protocol 0x1FFFFF)

(def ^:private skip 0x400)

(def ^:private common-offers
  [[6 all-actions all-protocol]
   [6 all-actions all-protocol]
   [6 all-actions all-protocol]
   [5 all-actions 0x37F]
   [4 all-actions 0x37F]
   [3 all-actions 0x17F]
   [2 all-actions 0x7F]
   [2 0x3F 0x7F]
   [2 all-actions 0xFF]])

(defn- bits [mask]
  (filter #(bit-test (long mask) %) (range 32)))

(def ^:private odd-offers
  (gen/one-of
    [(gen/fmap (fn [bit] [6 (bit-clear all-actions bit) all-protocol])
               (gen/elements (bits all-actions)))
     (gen/fmap (fn [bit] [6 all-actions (bit-clear all-protocol bit)])
               (gen/elements (bits all-protocol)))
     (gen/fmap (fn [bit] [6 (bit-shift-left 1 bit) all-protocol]) (gen/elements (bits all-actions)))
     (gen/fmap (fn [bit] [6 all-actions (bit-shift-left 1 bit)]) (gen/elements (bits all-protocol)))
     (gen/tuple (gen/choose 2 6) (gen/choose 0 all-actions) (gen/choose 0 all-protocol))
     (gen/elements [[6 0 0] [2 0 0] [6 all-actions 0] [6 0 all-protocol]
                    [1 all-actions 0x3F] [0 0 0] [7 all-actions all-protocol]
                    [0x7FFFFFFF all-actions all-protocol] [0xFFFFFFFF all-actions all-protocol]
                    [6 all-actions 0x101FFFFF] [6 all-actions 0x201FFFFF] [6 0xFFFF 0x4FFFFFFF]])]))

(defn- offers
  "A plain filter asks for no skip and temse always does: few offers to it have it."
  [variant offer]
  (gen/fmap (fn [[[version actions protocol] skip?]]
              ["O" [version actions (if skip? protocol (bit-and-not protocol skip))]])
            (gen/tuple offer
                       (if (= :plain variant)
                         (gen/frequency [[19 (gen/return false)] [1 (gen/return true)]])
                         (gen/return true)))))

;; Commands

(def ^:private macro-name
  (gen/frequency
    [[200 (gen/elements ["i" "{i}" "j" "{j}" "x" "{x}" "v" "{mail_addr}" "{rcpt_addr}"])]
     [1 (gen/return "mail_addr")]]))

(def ^:private macro-pair
  (gen/fmap (partial apply strings) (gen/tuple macro-name text)))

(defn- macros [letter]
  (gen/fmap (fn [pairs] (frame "D" letter (str/join pairs)))
            (gen/vector macro-pair 1 4)))

(def ^:private connect
  (gen/fmap (fn [[host address]] (frame "C" (strings host) address))
            (gen/tuple text
                       (gen/elements ["U"
                                      "4\u0000\u0019192.0.2.1\u0000"
                                      "4\u009c\u0040198.51.100.255\u0000"
                                      "6\u0000\u00002001:db8::1\u0000"
                                      "6\u0010\u0000IPv6:2001:db8::1:0:0:2\u0000"
                                      "L\u0000\u0000/run/client.sock\u0000"
                                      "L\u0000\u0000\u0000"]))))

(defn- one-string [code]
  (gen/fmap #(frame code (strings %)) text))

(def ^:private address
  (gen/frequency [[4 (gen/fmap #(str "<" % "@example.org>") gen/string-alphanumeric)]
                  [1 (gen/elements ["<>" "" "a@example.org" "<\"a b\"@example.org>"])]
                  [1 (gen/fmap #(str/replace % #"> " "") text)]]))

(defn- envelope [code]
  (gen/fmap (fn [[address parameters]] (frame code (apply strings address parameters)))
            (gen/tuple address
                       (gen/vector (gen/one-of [(gen/elements ["SIZE=100" "NOTIFY=NEVER"]) text])
                                   0 2))))

(def ^:private header
  (gen/fmap (fn [[name value]] (frame "L" (strings name value)))
            (gen/tuple (gen/one-of [(gen/elements ["Subject" "X-Old" "subject"])
                                    (gen/such-that seq text)])
                       (gen/one-of [text (gen/elements ["" " x" "one\n\ttwo"])]))))

(def ^:private body
  (gen/frequency
    [[9 (gen/fmap #(frame "B" (str % "\r\n"))
                  (gen/fmap str/join
                            (gen/vector (gen/one-of [octet (gen/return \u0000)]) 0 12)))]
     [1 (gen/fmap #(vector "B" [[% "x"]]) (gen/elements [100 4096 20000]))]]))

(defn- bare [code] (gen/return (frame code)))

(defn- command [code]
  (case code
    "C" connect
    ("H" "U") (one-string code)
    ("M" "R") (envelope code)
    "L" header
    "B" body
    (bare code)))

;; Legal conversations

(defn- maybe [generator] (gen/vector generator 0 1))

(defn- with-macros
  "Frames of a command, mostly with its macros before it."
  [code]
  (gen/fmap (fn [[before command]] (conj before command))
            (gen/tuple (gen/frequency [[3 (gen/fmap vector (macros code))]
                                       [1 (gen/fmap vector (macros code))]
                                       [2 (gen/return [])]])
                       (command code))))

(defn- flat [& generators]
  (gen/fmap #(vec (mapcat identity %)) (apply gen/tuple generators)))

(defn- some-of [generator least most]
  (gen/fmap #(vec (mapcat identity %)) (gen/vector generator least most)))

(defn- superfluous-abort
  "An ABORT outside of a message, as Postfix sends it; libmilter tells it to a filter of content."
  [variant]
  (if (= :content variant)
    (gen/frequency [[19 (gen/return [])] [1 (gen/return [(frame "A")])]])
    (maybe (bare "A"))))

(defn- message [variant]
  (gen/fmap (fn [[frames end]]
              (if (< end (count frames))
                (conj (subvec frames 0 end) (frame "A"))
                frames))
            (gen/tuple (flat (with-macros "M")
                             (some-of (with-macros "R") 1 3)
                             (some-of (with-macros "T") 0 1)
                             (some-of (with-macros "L") 0 3)
                             (with-macros "N")
                             (some-of (with-macros "B") 0 2)
                             (with-macros "E")
                             (superfluous-abort variant))
                       (gen/frequency [[4 (gen/return 1000)] [1 (gen/choose 1 20)]]))))

(defn- session [variant offer]
  (flat (gen/fmap vector (offers variant offer))
        (with-macros "C")
        (some-of (with-macros "H") 0 2)
        (some-of (gen/frequency [[4 (message variant)] [1 (with-macros "U")] [1 (with-macros "H")]])
                 0 4)
        (superfluous-abort variant)
        (maybe (bare "Q"))))

;; An MTA that heeds the answers

(def ^:private callbacks
  {"C" "connect", "H" "helo", "M" "envfrom", "R" "envrcpt", "T" "data", "L" "header", "N" "eoh"
   "B" "body", "E" "eom", "U" "unknown"})

(defn- latin-1 ^bytes [^String text]
  (.getBytes text "ISO-8859-1"))

(defn- arguments
  "Returns the arguments that the callback of a legal frame gets."
  [[code :as frame]]
  (let [payload (conversation/payload frame)]
    (map latin-1
         (case code
           "C" (let [[_ host family port address]
                     (re-matches #"(?s)([^\u0000]*)\u0000(.)(..)?(.*?)\u0000?" payload)
                     port #(str (+ (* 256 (int (first port))) (int (second port))))]
                 (case family
                   "U" [host "unknown"]
                   "L" [host "unix" address]
                   "4" [host "inet" address (port)]
                   "6" [host "inet6" (str/replace address "IPv6:" "") (port)]))
           "B" [payload]
           ("H" "M" "R" "L" "U") (first (conversation/strings frame))
           []))))

(defn- spared?
  "True if an MTA would not send the command, after negotiation or because of its version."
  [variant version code]
  (or (contains? (get {:few #{"H" "T" "L" "U"}, :content #{"C" "H" "M" "R" "U"}} variant #{}) code)
      (and (= "U" code) (< version 3))
      (and (= "T" code) (< version 4))))

(defn- heed
  "Takes a frame, or not. :over is :client or :message after a verdict, or :body after skip."
  [{:keys [variant version skip? last over] :as state} [code :as frame]]
  (let [over (if (and (not= :client over) (#{"M" "H" "A"} code)) nil over)
        state (assoc state :over over)
        send #(update state :frames conj frame)]
    (cond
      (#{"D" "Q" "A"} code)
      (send)

      (or (spared? variant version code)
          (= :client over)
          (and (= :message over) (#{"R" "T" "L" "N" "B" "E"} code))
          (and (= :body over) (= "B" code)))
      state

      :else
      (let [{:keys [answer last]} (rule/decide (callbacks code) (arguments frame)
                                               {:last last, :variant variant, :skip? skip?})
            verdict (:name answer)]
        (assoc (send)
               :last last
               :over (cond
                       (= "E" code) nil
                       (= "skip" verdict) :body
                       (#{"continue" "noreply"} verdict) over
                       (#{"C" "H"} code) :client
                       (= "U" code) over
                       (= "R" code) (if (#{"accept" "discard"} verdict) :message over)
                       :else :message))))))

(defn- heeded [variant [[_ [version _ protocol] :as offer] & frames]]
  (:frames (reduce heed
                   {:variant variant, :version version, :last 0, :over nil, :frames [offer]
                    :skip? (pos? (bit-and skip protocol))}
                   frames)))

;; Nasty conversations

(def ^:private odd-frame
  (gen/frequency
    [[6 (gen/bind (gen/elements (map str "CHMRTLNBEAUQK")) command)]
     [1 (bare "K")]
     [1 (gen/fmap #(frame "E" %) (gen/such-that seq text))]
     [1 (gen/fmap (fn [[letter pairs]] (frame "D" letter (str/join pairs)))
                  (gen/tuple (gen/elements (map str "CHMRTNELBUX"))
                             (gen/vector (gen/one-of [macro-pair (gen/fmap strings text) text])
                                         0 3)))]
     [1 (gen/fmap (fn [version] ["O" [version 0x1FF 0x7F]]) (gen/choose 0 7))]
     [1 (gen/fmap (fn [[code payload]] (frame code payload))
                  (gen/tuple (gen/fmap (comp str char) (gen/choose 0 255)) text))]
     [1 (gen/fmap (fn [address] (frame "C" (strings "h") address))
                  (gen/elements ["" "4" "4\u0000" "4\u0000\u0019" "4\u0000\u0019192.0.2.1"
                                 "4\u0000\u0019192.0.2\u0000" "4\u0000\u0019nonsense\u0000"
                                 "4\u0000\u0019\u0000" "6\u0000\u00192001:DB8::0:1\u0000"
                                 "6\u0000\u0019192.0.2.1\u0000" "Utrailing" "X\u0000\u0019a\u0000"
                                 "L\u0000\u0019/a\u0000b\u0000"]))]
     [1 (gen/fmap (fn [code] [code []]) (gen/elements (map str "OCHMRLBUD")))]]))

(def ^:private edit
  (gen/tuple (gen/frequency [[3 (gen/return :insert)] [2 (gen/return :drop)]
                             [2 (gen/return :double)] [2 (gen/return :swap)]
                             [1 (gen/return :shorten)] [1 (gen/return :lengthen)]
                             [1 (gen/return :announce)]])
             (gen/choose 0 1000)
             odd-frame
             (gen/choose 1 4)
             (gen/elements [0 0x80000000 0xFFFFFFFF 0x00010001 0x7FFFFFFF])))

(defn- edited [frames [how place odd size length]]
  (let [i (rem place (count frames))
        [before [[code parts :as frame] & after]] (split-at i frames)
        payload (conversation/payload frame)]
    (vec (concat before
                 (case how
                   :insert [frame odd]
                   :drop (if (seq after) [] [frame])
                   :double [frame frame]
                   :swap (conj (vec (take 1 after)) frame)
                   :shorten [[code [(subs payload 0 (max 0 (- (count payload) size)))]]]
                   :lengthen [[code (conj parts (str/join (repeat size "z")))]]
                   :announce [[code parts length]])
                 (if (= :swap how) (rest after) after)))))

(defn- frames [variant]
  (gen/frequency
    [[5 (gen/fmap #(heeded variant %) (session variant (gen/elements common-offers)))]
     [2 (gen/fmap #(heeded variant %) (session variant odd-offers))]
     [4 (gen/fmap (fn [[frames edits]] (reduce edited (heeded variant frames) edits))
                  (gen/tuple (session variant (gen/elements common-offers)) (gen/vector edit 1 3)))]
     [1 (gen/fmap (fn [[offer frames]] (into [offer] frames))
                  (gen/tuple (offers variant (gen/elements common-offers))
                             (gen/vector odd-frame 0 12)))]
     [1 (gen/vector odd-frame 0 4)]]))

(defn- misleads-libmilter?
  "True if a frame makes libmilter read what is not its own: macros with a name but no value that
  are not replaced at once, and an unknown command without its NUL."
  [[code :as frame] [next-code :as next-frame]]
  (let [stage #(first (conversation/payload %))
        [strings remainder] (conversation/strings frame)
        replaced? (and (= "D" next-code)
                       (= (stage frame) (stage next-frame))
                       (even? (count (first (conversation/strings next-frame)))))]
    (case code
      "D" (and (contains? (set "CHMRTNE") (stage frame)) (odd? (count strings)) (not replaced?))
      "U" (and (empty? strings) (not= "" remainder))
      false)))

(defn- harmless [frames]
  (vec (for [[frame next-frame] (partition 2 1 [nil] frames)
             :when (not (misleads-libmilter? frame next-frame))]
         frame)))

(defn conversation
  "Conversations with a variant: some that an MTA would lead which heeds the answers; some of those
  with an odd offer, or edited here and there; some chaotic. See `temse.differential.conversation`."
  [variant]
  (gen/fmap (fn [[frames cuts lost]]
              (cond-> {:variant variant, :frames (harmless frames)}
                (seq cuts) (assoc :cuts cuts)
                (pos? (long lost)) (assoc :lost lost)))
            (gen/tuple (frames variant)
                       (gen/one-of [(gen/return []) (gen/vector (gen/choose 1 30) 0 20)])
                       (gen/frequency [[9 (gen/return 0)] [1 (gen/choose 1 12)]]))))
