(ns greylist-texts
  "What greylist.clj writes: replies, and the field X-Greylist as milter-greylist writes it."
  (:require
   [clojure.string :as string])
  (:import
   (java.time Instant ZoneId ZonedDateTime)
   (java.time.format DateTimeFormatter)
   (java.util Locale)))

(set! *warn-on-reflection* true)

(def ^:private longest
  "Characters of what a stranger has chosen, in a text."
  256)

(defn- shown
  "Returns a text of a stranger as it can stand in a reply and in a header field."
  [text]
  (let [text (str text)]
    (string/replace (subs text 0 (min (long longest) (count text))) #"[^ -~]" "?")))

(defn- bare
  [address]
  (string/replace (str address) #"^<|>$" ""))

(defn- parts
  "Returns what is before and behind the first separator of a text."
  [text separator]
  (let [i (string/index-of text separator)]
    (if i
      [(subs text 0 i) (subs text (inc (long i)))]
      [text ""])))

(defn- two-digits
  [n]
  (String/format Locale/ROOT "%02d" (object-array [n])))

(defn- duration
  "Returns seconds, or what a letter wants of them: t for all, h, m and s for their part of hours, minutes
  and seconds."
  [seconds letter]
  (let [seconds (long (or seconds 0))
        [h m s] [(quot seconds 3600) (rem (quot seconds 60) 60) (rem seconds 60)]]
    (case letter
      "t" (str seconds)
      "h" (two-digits h)
      "m" (two-digits m)
      "s" (two-digits s)
      (string/join ":" (map two-digits [h m s])))))

(def ^:private placeholder #"%(%|[rfidhAa]|[ms][rfd]|[ER][thms]?|M\{[^}]*\}|M.)")

(defn expand
  "Returns a text with values in place of what greylist-conf lists. `facts` are :recipient, :sender, :address,
  :domain, :hello, :id and :line of the entry, :elapsed and :remaining seconds, and :macro, a function of a name."
  [text {:keys [recipient sender address domain hello id line elapsed remaining macro]}]
  (let [whole {"r" (bare recipient) "f" (bare sender) "d" domain "i" address "h" hello "a" id "A" line "%" "%"}]
    (string/replace text placeholder
      (fn [[_ code]]
        (let [[kind more] [(subs code 0 1) (subs code 1)]]
          (shown
            (case kind
              "M" (macro (string/replace more #"[{}]" ""))
              "E" (duration elapsed more)
              "R" (duration remaining more)
              ("m" "s") ((if (= "m" kind) first second) (parts (str (whole more)) (if (= "d" more) "." "@")))
              (whole kind))))))))

(def ^:private reasons
  "Why a mail was not delayed, in the order in which it is given."
  [[:domain "Sender DNS name whitelisted"]
   [:address "Sender IP whitelisted"]
   [:sender "Sender e-mail whitelisted"]
   [:user "Sender succeeded SMTP AUTH"]
   [:no-address "Message not sent from an IPv4 neither IPv6 address"]
   [:certificate "Sender succeeded STARTTLS authentication"]
   [:recipient "Recipient e-mail whitelisted"]
   [:auto "IP, sender and recipient auto-whitelisted"]
   [:default "Default is to whitelist mail"]])

(defn- reason-text
  [kinds id]
  (string/join ", " (concat (for [[kind text] reasons :when (some #{kind} kinds)] text)
                            (when-not (every? (set (map first reasons)) kinds)
                              [(str "ACL " (shown id) " matched")]))))

(defn- origin
  [{:keys [macro]} seconds]
  (let [address (some not-empty (map macro ["if_addr" "daemon_addr"]))]
    (str "temse-greylist (" (macro "j") (when address (str " [" address "]")) "); "
         (.format (DateTimeFormatter/ofPattern "EEE, dd MMM yyyy HH:mm:ss xx '('z')'" Locale/ENGLISH)
                  (ZonedDateTime/ofInstant (Instant/ofEpochSecond (long seconds)) (ZoneId/systemDefault))))))

(defn report
  "Returns the value of X-Greylist for a mail that passes after :elapsed seconds, or, where these are 0, because
  of the kinds of entries that :reason lists; `text` is to replace it, or nil. Nil if :report does not want one."
  [wanted {:keys [elapsed reason id] :as facts} text now]
  (let [delayed? (pos? (long elapsed))]
    (when (contains? (if delayed? #{:all :delays} #{:all :nodelays}) wanted)
      (cond
        text (expand text facts)
        delayed? (str "Delayed for " (duration elapsed nil) " by " (origin facts now))
        :else (str (reason-text reason id) ", not delayed by " (origin facts now))))))
