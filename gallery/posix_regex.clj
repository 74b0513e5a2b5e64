(ns posix-regex
  "POSIX regular expressions as glibc matches them in the C locale, with the GNU extensions: one byte is
  one character, a dot matches line ends, only ASCII letters have a case.

  Texts are strings whose characters are bytes, as ISO-8859-1 decodes them. Matching is done by RE2/J,
  in time that grows with the length of the text alone. What is no regular language, a back-reference,
  and what RE2/J cannot write is left to java.util.regex with a bound on the characters that a match
  may read; a match that needs more throws.

    ((matcher \"^colou\\\\?r\" #{}) \"color\")   ;=> true"
  (:require
   [clojure.string :as string]
   [posix-syntax :as syntax])
  (:import
   (java.util.regex Pattern)))

(set! *warn-on-reflection* true)

(def ^:private max-count
  "RE2/J writes a repeated expression out as often as it is repeated, at most so often."
  1000)

(def ^:private max-reads
  "How many characters a match by java.util.regex may read."
  1000000)

;; ---- what RE2/J can match

(defn- at-word?
  "Returns true if all that a node can match has a byte of a word at one side, `first` or `peek`."
  [side {:keys [set group least] :as node}]
  (cond
    set (every? syntax/word set)
    group (every? #(at-word? side (side %)) group)
    (:repeat node) (and (pos? (long least)) (at-word? side (:repeat node)))
    :else false))

(defn- regular?
  "Returns true if RE2/J can match the branches, which are repeated so many times."
  [branches times]
  (every? (fn [nodes]
            (every? (fn [i]
                      (let [{:keys [edge reference group least most] :as node} (nodes i)]
                        (cond
                          reference false
                          (= :word-start edge) (at-word? first (get nodes (inc (long i))))
                          (= :word-end edge) (at-word? peek (get nodes (dec (long i))))
                          group (regular? group times)
                          (:repeat node) (let [times (* (long times) (max 1 (long least) (long (or most 1))))]
                                           (and (<= times (long max-count))
                                                (regular? [[(:repeat node)]] times)))
                          :else true)))
                    (range (count nodes))))
          branches))

;; ---- as others write it

(defn- ranges
  "Returns the [first last] of each run of bytes in a set."
  [bytes]
  (loop [b 0, start nil, found []]
    (cond
      (and (< b 256) (contains? bytes b)) (recur (inc b) (or start b) found)
      start (recur (inc b) nil (conj found [start (dec b)]))
      (< b 256) (recur (inc b) nil found)
      :else found)))

(defn- written-set
  [bytes]
  (let [byte-text #(format "\\x%02x" %)]
    (case (count bytes)
      0 "[^\\x00-\\x{10ffff}]"
      1 (byte-text (first bytes))
      (str "[" (string/join (for [[low high] (ranges bytes)] (str (byte-text low) "-" (byte-text high)))) "]"))))

(def ^:private written-edges
  {:re2 {:start "\\A", :end "\\z", :word-edge "\\b", :no-word-edge "\\B", :word-start "\\b", :word-end "\\b"}
   :java (let [w "[0-9A-Za-z_]"
               start (str "(?<!" w ")(?=" w ")")
               end (str "(?<=" w ")(?!" w ")")
               edge (str "(?:" start "|" end ")")]
           {:start "\\A", :end "\\z", :word-edge edge, :no-word-edge (str "(?!" edge ")")
            :word-start start, :word-end end})})

(defn- written
  [dialect branches]
  (letfn [(text [{:keys [set edge reference group least most] :as node}]
            (cond
              set (written-set set)
              edge (str "(?:" ((written-edges dialect) edge) ")")
              reference (str "(?:\\" reference ")")
              group (str (if (= :java dialect) "(" "(?:") (written dialect group) ")")
              :else (str "(?:" (text (:repeat node)) "{" least "," most "})")))]
    (string/join "|" (map #(string/join (map text %)) branches))))

(defn- bounded
  "Returns a text that throws when it is read too often."
  [^CharSequence text reads]
  (reify CharSequence
    (length [_] (.length text))
    (charAt [_ i]
      (when (neg? (long (vswap! reads dec)))
        (throw (ex-info (str "a match reads more than " max-reads " characters") {})))
      (.charAt text i))
    (subSequence [_ from to] (bounded (.subSequence text from to) reads))
    (toString [_] (str text))))

(defn- in-upper-case
  ^String [^String text]
  (let [characters (.toCharArray text)]
    (dotimes [i (alength characters)]
      (let [c (int (aget characters i))]
        (when (and (<= 97 c) (<= c 122))
          (aset characters i (char (- c 32))))))
    (String. characters)))

(defn matcher
  "Returns a predicate of a text: whether an expression matches it anywhere. Flags are a set of
  :extended and :ignore-case.

  Throws an ExceptionInfo that says what is wrong with the expression where glibc would refuse it. The
  function throws where a match needs more than its bound."
  [expression flags]
  (let [branches (syntax/read expression flags)
        matches? (if (regular? branches 1)
                   (let [pattern (com.google.re2j.Pattern/compile (written :re2 branches))]
                     (fn [^String text]
                       (.find (.matcher pattern text))))
                   (let [pattern (Pattern/compile (written :java branches))]
                     (fn [text]
                       (try
                         (.find (.matcher pattern (bounded text (volatile! max-reads))))
                         (catch StackOverflowError _
                           (throw (ex-info "a match needs more than the stack" {})))))))]
    (if (flags :ignore-case)
      (comp matches? in-upper-case)
      matches?)))
