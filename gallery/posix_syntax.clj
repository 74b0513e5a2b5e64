(ns posix-syntax
  "Reads POSIX regular expressions, basic and extended ones, as glibc does in the C locale, with the GNU
  extensions. They are strings whose characters are bytes.

  What `read` returns are branches, the alternatives, each a vector of nodes

    {:set #{97 98}}                        ; one byte, of these
    {:edge :start}                         ; or :end, :word-start, :word-end, :word-edge, :no-word-edge
    {:group [branch …]}                    ; counted from 1 by where they begin
    {:repeat node, :least 0, :most 1}      ; without :most as often as there are
    {:reference 1}                         ; what the group has matched"
  (:refer-clojure :exclude [read])
  (:require
   [clojure.string :as string]))

(set! *warn-on-reflection* true)

(def ^:private max-depth
  "How deep groups may lie in each other."
  200)

(defn- fail
  [& what]
  (throw (ex-info (string/join what) {})))

;; ---- sets of bytes

(defn- bytes-between
  [first last]
  (set (range (int first) (inc (int last)))))

(def ^:private all-bytes (bytes-between 0 255))

(def ^:private classes
  (let [upper (bytes-between \A \Z)
        lower (bytes-between \a \z)
        digit (bytes-between \0 \9)
        alpha (into upper lower)
        alnum (into alpha digit)]
    {"upper" upper, "lower" lower, "digit" digit, "alpha" alpha, "alnum" alnum
     "xdigit" (into digit (mapcat #(map int %)) ["abcdef" "ABCDEF"])
     "space" (into #{32} (bytes-between 9 13))
     "blank" #{9 32}
     "cntrl" (conj (bytes-between 0 31) 127)
     "graph" (bytes-between 33 126)
     "print" (bytes-between 32 126)
     "punct" (reduce disj (bytes-between 33 126) alnum)}))

(def word
  "The bytes of words."
  (conj (classes "alnum") (int \_)))

(defn- others
  [bytes]
  (reduce disj all-bytes bytes))

(defn- upper-case
  [b]
  (if (<= (int \a) (int b) (int \z)) (- (int b) 32) (int b)))

;; ---- tokens

(def ^:private after-backslash
  "What a backslash before a character means in both kinds of expressions."
  {\w {:set word}, \W {:set (others word)}
   \s {:set (classes "space")}, \S {:set (others (classes "space"))}
   \< {:edge :word-start}, \> {:edge :word-end}, \b {:edge :word-edge}, \B {:edge :no-word-edge}
   \` {:edge :start}, \' {:edge :end}})

(def ^:private operators
  {\* :star, \+ :plus, \? :optional, \{ :interval, \} :interval-end, \| :or, \( :open, \) :close})

(def ^:private basic-operators
  "Those that basic expressions write without a backslash."
  #{\*})

(defn- token
  "Returns the kind, length and value of what stands at i. After a group has begun and after an
  alternative, a caret is an anchor in basic expressions, too."
  [{:keys [^String text extended?] :as source} i caret?]
  (let [c (when (< i (count text)) (.charAt text i))
        operator? (if extended? (constantly true) basic-operators)]
    (cond
      (nil? c) [:end 0]

      (= \\ c)
      (let [d (when (< (inc i) (count text)) (.charAt text (inc i)))]
        (cond
          (nil? d) (fail "a backslash at the end; \\\\ is a backslash")
          (after-backslash d) [:atom 2 (after-backslash d)]
          (<= (int \1) (int d) (int \9)) [:reference 2 (- (int d) (int \0))]
          (and (not extended?) (operators d) (not (basic-operators d))) [(operators d) 2 d]
          :else [:escaped 2 d]))

      (and (operators c) (operator? c)) [(operators c) 1 c]
      (= \. c) [:atom 1 {:set all-bytes}]
      (= \[ c) [:bracket 1]

      (and (= \^ c) (or extended? caret? (zero? i))) [:atom 1 {:edge :start}]

      (and (= \$ c)
           (or extended? (contains? #{"" "\\|" "\\)"} (subs text (inc i) (min (count text) (+ 3 (int i)))))))
      [:atom 1 {:edge :end}]

      :else [:character 1 c])))

;; ---- brackets

(defn- bracket-name
  "Returns what stands between [: and :], [. and .] or [= and =], and where it ends."
  [^String text i]
  (let [i (int i)
        closing (str (.charAt text (inc i)) "]")
        end (.indexOf text closing (+ i 2))]
    (when (neg? end)
      (fail "[" (.charAt text (inc i)) " without " closing))
    [(subs text (+ i 2) end) (+ end 2)]))

(defn- bracket-element
  "Returns a byte or a set of bytes, and where it ends."
  [{:keys [^String text ignore-case?]} i]
  (let [c (.charAt text i)
        kind (when (and (= \[ c) (< (inc i) (count text))) (#{\: \. \=} (.charAt text (inc i))))]
    (if-not kind
      [(int c) (inc i)]
      (let [[element end] (bracket-name text i)]
        (cond
          (= \: kind)
          [(or (classes (if (and ignore-case? (#{"upper" "lower"} element)) "alpha" element))
               (fail "there is no class [:" element ":]; there are "
                     (string/join " " (map #(str "[:" % ":]") (sort (keys classes))))))
           end]

          (not= 1 (count element))
          (fail "[" kind element kind "] is no character")

          (= \. kind) [(int (first element)) end]
          :else [#{(int (first element))} end])))))

(defn- bracket
  "Returns the set of bytes of the bracket expression whose inside begins at i, and where it ends."
  [{:keys [^String text ignore-case?] :as source} i]
  (let [byte-at #(when (< % (count text)) (.charAt text %))
        folded #(if ignore-case? (upper-case %) %)
        negated? (= \^ (byte-at i))
        start (if negated? (inc i) i)]
    (loop [i start, found #{}]
      (let [c (byte-at i)]
        (cond
          (nil? c) (fail "[ without ]")

          (and (= \] c) (< start i))
          [(if negated? (others found) found) (inc i)]

          (and (= \- c) (< start i) (not= \] (byte-at (inc i))))
          (fail "a hyphen between others; put it first or last")

          :else
          (let [[low end] (bracket-element source i)]
            (if (and (= \- (byte-at end)) (not (set? low)) (byte-at (inc end)) (not= \] (byte-at (inc end))))
              (let [[high end] (bracket-element source (inc end))]
                (when (or (set? high) (< (int (folded high)) (int (folded low))))
                  (fail "the range " (subs text i end) " is empty"))
                (recur (int end) (into found (bytes-between (folded low) (folded high)))))
              (recur (int end) (if (set? low) (into found low) (conj found (folded low)))))))))))

;; ---- expressions

(declare alternatives)

(defn- interval
  "Returns the least and the largest count of the interval whose inside begins at i, and where it ends."
  [{:keys [text extended?]} i]
  (let [[all low comma high] (re-find (if extended?
                                        #"^(\d*)(,?)(\d*)\}"
                                        #"^(\d*)(,?)(\d*)\\\}")
                                      (subs text i))
        number #(when (seq %) (min 40000 (or (parse-long %) 40000)))]
    (when (or (nil? all) (and (empty? low) (empty? comma)))
      (fail "a brace must hold a count such as 3, 3, or 3,5"))
    (let [least (or (number low) 0)
          most (if (empty? comma) least (number high))]
      (when (< 32767 (long (or most least)))
        (fail "a count above 32767"))
      (when (and most (< (long most) (long least)))
        (fail "the counts " least "," most " are the wrong way round"))
      [least most (+ (long i) (count all))])))

(defn- repeated
  "Returns a node with the repetitions that follow it, and where they end."
  [{:keys [extended?] :as source} node i]
  (loop [node node, i (long i), times 0]
    (let [[kind length] (token source i false)
          end (+ i (long length))]
      (when (and (pos? times) (not extended?) (#{:star :interval} kind))
        (fail "a repetition of a repetition"))
      (when (< (long max-depth) times)
        (fail "more than " max-depth " repetitions of one another"))
      (case kind
        :star (recur {:repeat node, :least 0} end (inc times))
        :plus (recur {:repeat node, :least 1} end (inc times))
        :optional (recur {:repeat node, :least 0, :most 1} end (inc times))
        :interval (let [[least most end] (interval source end)]
                    (recur {:repeat node, :least least, :most most} (long end) (inc times)))
        [node i]))))

(defn- piece
  "Returns the node that begins at i, and where it ends."
  [{:keys [extended? ignore-case? closed groups] :as source} i caret? depth]
  (let [[kind length value] (token source i caret?)
        end (+ (int i) (int length))
        literal #(repeated source {:set #{(if ignore-case? (upper-case value) (int value))}} end)]
    (case kind
      :atom (if (:edge value) [value end] (repeated source value end))
      :character (literal)
      ;; Of any case, it stays as it is: glibc finds a lower-case letter with a backslash nowhere then.
      :escaped (repeated source {:set #{(int value)}} end)
      :bracket (let [[bytes end] (bracket source end)]
                 (repeated source {:set bytes} end))
      :reference (if (contains? @closed value)
                   (repeated source {:reference value} end)
                   (fail "\\" value " without a group of that number before it"))
      :open (let [group (vswap! groups inc)
                  [branches end] (alternatives source end true (inc (int depth)))
                  [kind length] (token source end false)]
              (when (not= :close kind)
                (fail "a group is not closed"))
              (vswap! closed conj group)
              (repeated source {:group branches} (+ (int end) (int length))))
      :interval-end (literal)
      :close (if extended? (literal) (fail "\\) without \\("))
      (if (or extended? (= :interval kind))
        (fail "nothing that " value " could repeat")
        (literal)))))

(defn- branch
  "Returns the nodes up to the next alternative, end of a group or end of the text, and where that is."
  [source i caret? depth]
  (loop [i i, caret? caret?, nodes []]
    (let [[kind] (token source i caret?)]
      (if (or (#{:end :or} kind) (and (= :close kind) (pos? (int depth))))
        [nodes i]
        (let [[node end] (piece source i caret? depth)]
          (recur end false (conj nodes node)))))))

(defn- alternatives
  "Returns the branches of a group or of the whole, and where they end."
  [{:keys [closed] :as source} i caret? depth]
  (when (< (long max-depth) (long depth))
    (fail "groups lie deeper in each other than " max-depth))
  (let [before @closed]
    (loop [i i, caret? caret?, branches [], inside before]
      (vreset! closed before)
      (let [[nodes end] (branch source i caret? depth)
            branches (conj branches nodes)
            [kind length] (token source end false)
            inside (vswap! closed into inside)]
        (if (= :or kind)
          (recur (+ (int end) (int length)) true branches inside)
          [branches end])))))

(defn read
  "Returns the branches of an expression. Flags are a set of :extended and :ignore-case; with the
  latter they are to match a text in upper case.

  Throws an ExceptionInfo that says what is wrong where glibc would refuse it."
  [expression flags]
  (first (alternatives {:text expression
                        :extended? (contains? flags :extended)
                        :ignore-case? (contains? flags :ignore-case)
                        :groups (volatile! 0)
                        :closed (volatile! #{})}
                       0 false 0)))
