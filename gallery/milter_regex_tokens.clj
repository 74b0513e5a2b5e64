(ns milter-regex-tokens
  "Takes a milter-regex.conf apart into keywords, texts, regular expressions and the characters ( ) = $.
  Its text is a string whose characters are bytes.

  A source knows where its next token begins. A token is {:kind :value :at :end}: of a kind that is
  :keyword, :string, :end or one of the four characters; :at and :end are places in the text."
  (:require
   [clojure.string :as string])
  (:import
   (java.util Arrays)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private max-length
  "How many bytes a text, a word or a regular expression may have."
  8190)

(def by-country
  "Keywords of milter-regex that need a file of the networks of each country."
  #{"country" "ipv4file" "ipv6file" "geoipCashKeep" "geoipCashMax" "geoipDebugLog"})

(def keywords
  (into #{"and" "or" "not"
          "reject" "tempfail" "quarantine" "discard" "accept"
          "connect" "helo" "envfrom" "envrcpt" "header" "body" "macro"}
        by-country))

;; ---- what is wrong

(defn shown
  "Returns bytes of the file as the text that they are."
  [^String bytes]
  (Text/decode (.getBytes bytes "ISO-8859-1")))

(defn position
  "Returns the line and the column of the byte at i, from 1."
  [{:keys [^ints line-starts]} i]
  (let [found (Arrays/binarySearch line-starts (int i))
        line (if (neg? found) (- -2 found) found)]
    [(inc line) (inc (- (long i) (aget line-starts line)))]))

(defn fail
  "Throws an exception about the byte at i, whose message begins with file, line and column."
  [{:keys [file] :as source} i & what]
  (let [[line column] (position source i)]
    (throw (ex-info (str file ":" line ":" column ": " (shown (string/join what)))
                    {:file file, :line line, :column column}))))

;; ---- tokens

(defn- joined
  "Returns where the next character is, behind backslashes that join lines."
  [^String text i]
  (if (.startsWith text "\\\n" (int i)) (recur text (+ 2 (int i))) i))

(defn- run
  "Returns the characters from i on for which pred is true, and where the next one is."
  [^String text i pred]
  (let [taken (StringBuilder.)]
    (loop [i (int (joined text i))]
      (if (and (< i (count text)) (pred (.charAt text i)))
        (do (.append taken (.charAt text i))
            (recur (int (joined text (inc i)))))
        [(str taken) i]))))

(defn- letter?
  [c]
  (or (<= (int \a) (int c) (int \z)) (<= (int \A) (int c) (int \Z))))

(defn- quoted
  [{:keys [text] :as source} i quote]
  (let [[value end] (run text (inc (long i)) (complement #{quote}))]
    (when (= end (count text))
      (fail source i "the text that begins here has no closing " quote))
    {:kind :string, :value value, :at i, :end (inc (long end))}))

(defn- argument
  "Returns a regular expression with its delimiters and flags, as one string. Where the line ends
  before it does, it has only one delimiter."
  [{:keys [^String text] :as source} i delimiter]
  (when-not (< 31 (int delimiter) 127)
    (fail source i (if (= \return delimiter)
                     "a carriage return: lines must end in LF alone"
                     "this character cannot delimit a regular expression; / and , can")))
  (let [[value end] (run text (inc (long i)) #(not (#{delimiter \newline} %)))
        closed? (and (< (long end) (count text)) (not= \newline (.charAt text end)))
        [flags end] (if closed? (run text (inc (long end)) letter?) [nil end])]
    {:kind :string, :value (str delimiter value (when closed? delimiter) flags), :at i, :end end}))

(defn- token
  "Returns the token that begins at i or behind it: :kind, :value, where it is and where it ends."
  [{:keys [^String text] :as source} i]
  (let [[_ i] (run text i #{\space \tab \newline})
        c (when (< (long i) (count text)) (.charAt text i))]
    (if (= \# c)
      (recur source (second (run text i #(not= \newline %))))
      (let [found (cond
                    (nil? c) {:kind :end, :at i, :end i}
                    (#{\" \'} c) (quoted source i c)
                    (#{\( \) \= \$} c) {:kind c, :at i, :end (inc (long i))}
                    (letter? c) (let [[word end] (run text i #(< 32 (int %) 127))]
                                  {:kind (if (keywords word) :keyword :string), :value word, :at i, :end end})
                    :else (argument source i c))]
        (when (< (long max-length) (count (:value found)))
          (fail source i "longer than " max-length " bytes"))
        found))))

(defn source
  "Returns the source of the tokens of a text."
  [file ^String text]
  (let [starts (cons 0 (keep-indexed #(when (= \newline %2) (inc (long %1))) text))
        source {:file file, :text text, :line-starts (int-array starts), :at (volatile! 0)}]
    (when (string/includes? text "\u0000")
      (fail source (.indexOf text "\u0000") "a NUL: this is no text"))
    source))

(defn upcoming
  "Returns the next token, which stays."
  [{:keys [at] :as source}]
  (token source @at))

(defn keyword-of
  "Returns the keyword that a token is, or nil."
  [{:keys [kind value]}]
  (when (= :keyword kind) value))

(defn take!
  "Goes on behind a token, and returns it."
  [{:keys [at]} {:keys [end] :as token}]
  (vreset! at end)
  token)
