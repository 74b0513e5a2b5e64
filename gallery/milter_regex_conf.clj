(ns milter-regex-conf
  "Reads milter-regex.conf, the file of rules of milter-regex 3.1, as that program does.

    reject \"no dial-up lines here\"            an action, and below it
    connect /dial-up/ //                      expressions, each of which is a rule for it

    ours = envrcpt /@example\\.com>$/i          a definition
    tempfail \"come back later\"
    $ours and ( helo /\\./n or header /^Subject$/ /lottery/ei )

  An action is reject TEXT, tempfail TEXT, quarantine TEXT, discard or accept. An expression is a
  term, `term and expression`, `term or expression` or `not term`, where a term is

    connect NAME ADDRESS, helo NAME, envfrom ADDRESS, envrcpt ADDRESS, header NAME VALUE, body LINE,
    macro NAME VALUE, ( expression ), $name

  with a regular expression for each word in capitals, between two of any character. Letters behind
  it are flags: e extended, i ignore case, n not matching; and d, which milter-regex does not know,
  decoded, for the VALUE of a header field and the LINE of a body.

  A backslash at the end of a line joins it with the next one, a # begins a comment, and a name or
  keyword goes up to the next blank: it is `$a )`, and `a = `."
  (:require
   [clojure.string :as string]
   [milter-regex-tokens :as tokens :refer [fail keyword-of take! upcoming]]
   [posix-regex :as regex])
  (:import
   (java.io File IOException)
   (java.nio.file Files)
   (java.util IdentityHashMap Locale)))

(set! *warn-on-reflection* true)

(def ^:private max-depth
  "How deep expressions may lie in each other."
  200)

(def ^:private max-size
  "How many terms an expression may have, those of definitions counted where they are used."
  100000)

(def ^:private actions
  "What each action is, and whether it has a text."
  {"reject" [:reject true], "tempfail" [:temporary-failure true], "quarantine" [:quarantine true]
   "discard" [:discard false], "accept" [:accept false]})

(def ^:private kinds
  "What each term is about, and what its regular expressions are for."
  {"connect" [:connect ["the host name" "the address"]]
   "helo" [:hello ["the name"]]
   "envfrom" [:mail ["the sender"]]
   "envrcpt" [:recipient ["the recipient"]]
   "header" [:header ["the name" "the value"]]
   "body" [:body ["the line"]]
   "macro" [:macro ["the name of the macro" "its value"]]})

;; ---- tokens that must be there

(defn- expect!
  "Takes and returns the next token, which must be of a kind; else fails with what it should have been."
  [source kind what]
  (let [{found :kind :keys [value at] :as token} (upcoming source)]
    (if (= kind found)
      (take! source token)
      (fail source at
            (cond
              (tokens/by-country (keyword-of token))
              (str value " needs the networks of each country, which are not here")

              (= :end found) "the file ends here"
              :else (str (pr-str (or value (str found))) " does not belong here"))
            "; there should be " what))))

;; ---- terms

(def ^:private flags
  {\e :extended, \i :ignore-case, \n :not, \d :decoded})

(defn- pattern
  "Returns what a regular expression asks: whether it matches, a function, and whether what is decoded."
  [source {:keys [^String value at]} kind what]
  (let [given (string/replace value #"^[ \t]+" "")
        end (if (empty? given) -1 (.indexOf given (int (first given)) 1))
        expression (when (pos? end) (subs given 1 end))
        letters (when (pos? end) (set (subs given (inc end))))]
    (cond
      (empty? given)
      (fail source at "an empty text is no regular expression for " what)

      (neg? end)
      (fail source at "the regular expression for " what " has no closing " (first given) " on its line")

      (and (empty? expression) (seq letters))
      (fail source at "an empty regular expression matches whatever there is and takes no flags")

      (not-every? flags letters)
      (fail source at "there is no flag " (first (remove flags letters))
            "; flags are e, i, n and d, and a blank follows them")

      (and (letters \d) (not (#{["header" "the value"] ["body" "the line"]} [kind what])))
      (fail source at "the flag d is for the value of a header field and for a body"))
    {:decoded? (contains? letters \d)
     :matches? (if (empty? expression)
                 (constantly true)
                 (let [matches? (try
                                  (regex/matcher expression (set (map flags letters)))
                                  (catch Exception e
                                    (fail source at "the regular expression for " what ": " (ex-message e))))]
                   (if (letters \n) (complement matches?) matches?)))}))

(defn- term
  "Returns the number of the term that a keyword begins. The same one may stand in several rules."
  [{:keys [numbers terms] :as source} word]
  (let [[kind arguments] (kinds word)
        tokens (mapv #(expect! source :string (str "a regular expression for " % ", such as /^x/")) arguments)
        id [kind (mapv :value tokens)]]
    (when-not (@numbers id)
      (let [patterns (mapv #(pattern source %1 word %2) tokens arguments)
            kind (if (some :decoded? patterns) ({:header :decoded-header, :body :decoded-body} kind) kind)]
        (vswap! terms assoc-in [kind (count @numbers)] (mapv :matches? patterns))
        (vswap! numbers assoc id (count @numbers))))
    (@numbers id)))

;; ---- expressions

(def ^:private term-wanted
  "a term: connect, helo, envfrom, envrcpt, header, body, macro, ( or $name")

(declare expression)

(defn- operand
  "Returns the expression that a term is."
  [{:keys [definitions] :as source} depth]
  (let [{:keys [kind at] :as token} (upcoming source)
        word (keyword-of token)]
    (when (< (long max-depth) (long depth))
      (fail source at "parentheses lie deeper in each other than " max-depth))
    (cond
      (= \( kind)
      (do (take! source token)
          (let [inside (expression source (inc (long depth)))]
            (expect! source \) "and, or or a closing parenthesis")
            inside))

      (= \$ kind)
      (do (take! source token)
          (let [{:keys [value at]} (expect! source :string "the name of a definition")]
            (or (@definitions value)
                (fail source at "nothing is defined as " value " before this line"
                      (when (seq @definitions)
                        (str "; there are " (string/join ", " (sort (keys @definitions)))))))))

      (kinds word)
      (do (take! source token)
          [:term (term source word)])

      :else
      (expect! source :term term-wanted))))

(defn- measured
  "Returns an expression that knows how many terms it has and how deep, definitions included."
  [source at [_ & operands :as expression]]
  (let [sizes (map #(:size (meta %) 1) operands)
        size (reduce + sizes)
        depth (inc (long (reduce max (map #(:depth (meta %) 1) operands))))]
    (when (or (< (long max-depth) depth) (< (long max-size) (long size)))
      (fail source at "an expression must have no more than " max-size
            " terms, no deeper in each other than " max-depth))
    (with-meta expression {:size size, :depth depth})))

(defn- grouped
  "Returns one expression of operands and the operators between them: they group from the right."
  [source at operands operators]
  (loop [runs (reverse (partition-by identity operators)), left (pop operands), right (peek operands)]
    (if-let [run (first runs)]
      (let [n (- (count left) (count run))]
        (recur (rest runs)
               (subvec left 0 n)
               (measured source at (into [(first run)] (conj (subvec left n) right)))))
      right)))

(defn- expression
  [source depth]
  (loop [start (:at (upcoming source)), operands [], operators []]
    (let [{:keys [at] :as token} (upcoming source)
          negated? (= "not" (keyword-of token))
          operands (conj operands (if negated?
                                    (do (take! source token)
                                        (measured source at [:not (operand source (inc (long depth)))]))
                                    (operand source depth)))
          next-token (upcoming source)
          operator ({"and" :and, "or" :or} (keyword-of next-token))]
      (cond
        (and negated? operator)
        (fail source (:at next-token) "not and its term stand alone or last; put them in parentheses before "
              (:value next-token))

        operator
        (do (take! source next-token)
            (recur start operands (conj operators operator)))

        :else
        (grouped source start operands operators)))))

;; ---- rules and definitions

(defn- expression-next?
  [source]
  (let [{:keys [kind] :as token} (upcoming source)
        word (keyword-of token)]
    (or (#{\( \$} kind) (kinds word) (= "not" word))))

(defn- add-rule!
  "Adds a rule. An expression that is only a name belongs to the last rule that uses it so."
  [{:keys [file rules owners warnings]} {:keys [line expression] :as rule}]
  (when-let [earlier (.put ^IdentityHashMap owners expression (count @rules))]
    (vswap! warnings conj (str file ":" (:line (@rules earlier)) ": this rule never acts, since in line " line
                               " the same name stands alone, too"))
    (vswap! rules assoc earlier nil))
  (vswap! rules conj rule))

(defn- read-rules
  "Reads an action and its expressions."
  [source {:keys [value at] :as token}]
  (take! source token)
  (let [[action text?] (actions value)
        {text :value} (when text? (expect! source :string "a text in quotes"))]
    (when (and (= :quarantine action) (empty? text))
      (fail source at "a quarantine without a reason is none; give it a text"))
    (loop []
      (let [line (first (tokens/position source (:at (upcoming source))))]
        (add-rule! source (cond-> {:action action, :line line, :expression (expression source 0)}
                            text? (assoc :text (tokens/shown text)))))
      (when (expression-next? source)
        (recur)))))

(defn- read-definition
  [{:keys [definitions] :as source} {:keys [value at] :as token}]
  (take! source token)
  (expect! source \= (str "= after the name " value " of a definition"
                          (cond
                            (tokens/keywords (.toLowerCase ^String value Locale/ROOT))
                            (str "; did you mean " (.toLowerCase ^String value Locale/ROOT) "?")

                            (string/includes? value "=")
                            "; a name goes up to the next blank")))
  (let [defined (expression source 0)]
    (when (@definitions value)
      (fail source at value " is defined already; choose another name"))
    (vswap! definitions assoc value defined)))

(defn parse
  "Returns what a text holds, given as a string whose characters are bytes:

    :file      ; its name
    :terms     ; map of kind to map of number to patterns; a kind is :connect, :hello, :mail, :recipient,
               ; :macro, :header, :decoded-header, :body or :decoded-body, each pattern a predicate of
               ; such a string
    :rules     ; vector of {:action :text :line :expression}; an expression is [:term number],
               ; [:and expression …], [:or expression …] or [:not expression]
    :warnings  ; rules that never act

  Throws an ExceptionInfo with :file, :line and :column whose message says what would be right."
  [file ^String text]
  (let [source (assoc (tokens/source file text)
                      :definitions (volatile! {}), :numbers (volatile! {}), :terms (volatile! {})
                      :rules (volatile! []), :owners (IdentityHashMap.), :warnings (volatile! []))]
    (loop []
      (let [{:keys [kind] :as token} (upcoming source)]
        (when (not= :end kind)
          (cond
            (actions (keyword-of token)) (read-rules source token)
            (= :string kind) (read-definition source token)
            :else (expect! source :rule (str "an action (reject, tempfail, quarantine, discard, accept),"
                                             " a definition (name = expression) or an expression")))
          (recur))))
    {:file file
     :terms @(:terms source)
     :rules (filterv some? @(:rules source))
     :warnings @(:warnings source)}))

(defn read-file
  "Returns what a file holds, as `parse` does. Throws where it cannot be read, too."
  [path]
  (let [bytes (try
                (Files/readAllBytes (.toPath (File. ^String path)))
                (catch IOException e
                  (throw (ex-info (str path ": cannot be read: " (.getSimpleName (class e)))
                                  {:file path}
                                  e))))]
    (parse path (String. ^bytes bytes "ISO-8859-1"))))
