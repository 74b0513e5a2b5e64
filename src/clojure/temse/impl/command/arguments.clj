(ns temse.impl.command.arguments
  "Arguments of the commands: one table per command says which options there are, reads them and makes
  the text of --help.

  A command is a map of
    :usage    lines that show how it is called; the first begins with its name
    :about    lines below them: what it does, and what its words are
    :options  a vector of headings, which are strings, and of options:
              [\"-v, --verbose\" \"what it does\"]                        a switch
              [\"--count N\" \"what it is\" (whole-number 1 9)]           with a value
              [\"--between N M\" \"what it is\" texts]                    with two, a vector
              [\"--rcpt ADDRESS\" \"what it is\" text :repeated]          with several, a vector
    :args?    true if what follows -- is not for the command but for a filter
    :exit     lines about its exit codes

  A reader is a function of the option's name and a text that returns the value, or fails. An option
  is found under its long name as a keyword: :verbose, :count, :rcpt."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.terminal :as terminal]
   [temse.impl.keys :as keys])
  (:import
   (temse.protocol Printable)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def refused
  "The exit code where mail was refused, or something differs. 0: all was accepted, or done."
  1)

(def failed
  "The exit code after an error."
  2)

(defn fail
  "Throws what ends a command: an error in plain words, which are joined."
  [& words]
  (throw (ex-info (string/join words) {:temse.cli/exit failed})))

;; ---- output

(def ^:private longest-line 4000)

(defn say
  "Prints words as one printable line, whoever wrote them."
  [& words]
  (terminal/print-line (Printable/of ^String (string/join " " words) (int longest-line))))

(defn print-problem
  "Prints what went wrong on stderr: texts, which are joined, as one printable line."
  [& texts]
  (binding [*out* *err*]
    (say (string/join (cons "temse: " texts)))))

;; ---- readers

(defn text
  "Takes any text."
  [_ text]
  text)

(defn texts
  "Takes any texts, of an option with several values."
  [_ texts]
  texts)

(defn whole-number
  "Returns a reader of whole numbers within limits."
  [least most]
  (fn [option text]
    (let [n (when (re-matches #"[0-9]{1,18}" text) (parse-long text))]
      (if (and n (<= (long least) (long n) (long most)))
        n
        (fail option " needs a number from " least " to " most ", not " (keys/shown text))))))

(defn milliseconds
  "Reads seconds, such as 30 or 0.5, as milliseconds."
  [option text]
  (let [seconds (when (re-matches #"[0-9]{1,6}(\.[0-9]+)?" text) (parse-double text))]
    (if (and seconds (pos? (double seconds)))
      (max 1 (Math/round (* 1000.0 (double seconds))))
      (fail option " needs seconds, such as 30 or 0.5, not " (keys/shown text)))))

(defn one-of
  "Returns a reader of the keys of a map, whose values they stand for."
  [choices]
  (fn [option text]
    (if-some [choice (choices text)]
      choice
      (fail option " is one of " (string/join ", " (sort (keys choices))) ", not " (keys/shown text)))))

(defn undecodable
  "Returns what is wrong with a text that comes from the system, an argument or the name of a file, and
  has bytes that could not be decoded; nil for any other text."
  [text]
  (when (string/includes? text "\uFFFD")
    (let [encoding (System/getProperty "sun.jnu.encoding")]
      (str "it has bytes that are no text in the locale's encoding, " encoding
           (if (= "UTF-8" encoding)
             "; a file can be named by a link to it"
             "; set LC_ALL to a locale of its encoding, such as C.UTF-8")))))

(defn unreadable
  "Returns why a file or directory cannot be read, or nil."
  [path]
  (let [file (io/file path)]
    (cond
      (not (.exists file)) (if-let [problem (undecodable (str path))]
                             (str "a file of this name cannot be read: " problem)
                             "there is no such file")
      (not (.canRead file)) "this user may not read it")))

(defn check-readable
  "Fails if a file or directory cannot be read, with these words before its path."
  [path & words]
  (when-let [problem (unreadable path)]
    (fail (string/join words) path ": " problem)))

(defn address
  "Reads where a milter listens: inet:20025@127.0.0.1, unix:/run/filter.sock, or a port."
  [option text]
  (try
    (str (Endpoint/parse text))
    (catch IllegalArgumentException e
      (fail option ": " (ex-message e)))))

(defn listening-address
  "Reads where a milter is to listen: like `address`, or inherited."
  [option text]
  (try
    (str (Endpoint/parseListening text))
    (catch IllegalArgumentException e
      (fail option ": " (ex-message e) ", or inherited"))))

(defn networks
  "Reads networks with commas between them."
  [_ text]
  (string/split text #"," -1))

;; ---- the table of a command

(def ^:private help-option
  ["-h, --help" "this text"])

(defn- options
  "Returns the options of a command, --help included."
  [command]
  (concat (filter vector? (:options command)) [help-option]))

(defn- spellings
  "Returns what an option is written as, such as [\"-v\" \"--verbose\"]."
  [[title]]
  (re-seq #"(?<![^ ])--?[a-z][-a-z0-9]*" title))

(defn- option-key
  [option]
  (keyword (subs (last (spellings option)) 2)))

(defn- arity
  "Returns how many values an option takes."
  [[title _ reader]]
  (if reader
    (count (re-seq #"'[^']*'|[^ ]+" (second (string/split title #"--[a-z][-a-z0-9]* ?" 2))))
    0))

(defn- by-spelling
  [command]
  (into {}
        (for [option (options command), spelling (spellings option)]
          [spelling option])))

(defn- command-name
  [command]
  (re-find #"^[a-z/]+(?: [a-z]+)?" (first (:usage command))))

(defn misused
  "Fails with a mistake in a command's arguments, and with what shows how it is called."
  [command & words]
  (fail (string/join words) "; " (command-name command) " --help shows what it takes"))

;; ---- parsing

(defn- no-such-option
  [command spelling known]
  (let [meant (when (string/starts-with? spelling "--")
                (keys/closest spelling (filter #(string/starts-with? % "--") (clojure.core/keys known))))]
    (misused command "there is no option " spelling (keys/did-you-mean meant))))

(defn- with-option
  "Returns what was parsed with an option and its values, none for a switch."
  [command parsed spelling [_ _ reader repeated? :as option] values]
  (let [k (option-key option)
        text (if (next values) (vec values) (first values))]
    (cond
      (nil? reader) (assoc parsed k true)
      repeated? (update parsed k (fnil conj []) (reader spelling text))
      (contains? parsed k) (misused command spelling " is given twice")
      :else (assoc parsed k (reader spelling text)))))

(defn parse
  "Returns a map of the options by key, with all other arguments under :words, and what follows --
  under :args if the command says so. Nothing after --help is looked at."
  [command args]
  (let [known (by-spelling command)]
    (loop [[arg & more :as args] args, parsed {:words []}]
      (let [[_ long-option given] (when arg (re-matches #"(?s)(--[^=]+)=(.*)" arg))
            spelling (or long-option arg)
            [title _ reader :as option] (known spelling)
            following (if given (cons given more) more)
            wanted (if option (arity option) 0)]
        (cond
          (or (empty? args) (:help parsed))
          parsed

          (= "--" arg)
          (update parsed (if (:args? command) :args :words) (fnil into []) more)

          (or (= "-" arg) (not (string/starts-with? arg "-")))
          (recur more (update parsed :words conj arg))

          (nil? option)
          (no-such-option command spelling known)

          (and given (nil? reader))
          (misused command spelling " takes no value")

          (< (count (take wanted following)) (long wanted))
          (misused command spelling " needs " (if (= 1 wanted) "a value" (str wanted " values")) ": "
                   (re-find #"--.*" title))

          :else
          (recur (drop wanted following)
                 (with-option command parsed spelling option (take wanted following))))))))

;; ---- help

(def ^:private columns 80)

(defn- wrapped
  "Returns words as lines of at most `width` characters, where words allow."
  [text width]
  (reduce (fn [lines word]
            (let [line (str (peek lines) " " word)]
              (if (and (seq lines) (<= (count line) (long width)))
                (conj (pop lines) line)
                (conj lines word))))
          []
          (remove string/blank? (string/split text #"\s+"))))

(defn- option-lines
  "Returns the help of an option, with its texts from a column on."
  [[title text] column]
  (let [indent (apply str (repeat column " "))
        lines (wrapped text (- (long columns) (long column)))
        head (str "  " title)]
    (if (< (count head) (dec (long column)))
      (cons (str head (subs indent (count head)) (first lines)) (map #(str indent %) (rest lines)))
      (cons head (map #(str indent %) lines)))))

(def ^:private widest-title 24)

(defn help
  "Returns the text of --help."
  [{:keys [usage about exit] :as command}]
  (let [entries (concat (:options command) [help-option])
        widths (for [[title] (filter vector? entries)
                     :when (<= (count title) (long widest-title))]
                 (count title))
        column (+ 4 (long (apply max widths)))]
    (string/join "\n"
                 (concat (map #(str "usage: " %) (take 1 usage))
                         (map #(str "       " %) (rest usage))
                         [""]
                         about
                         [""]
                         (mapcat #(if (string? %) [%] (option-lines % column)) entries)
                         (when exit
                           (cons "" (wrapped (str "Exit code: " exit) columns)))))))

(defn run
  "Parses the arguments of a command and calls f with them, or prints its help. Returns the exit
  code: what f returns if it is one, else 0."
  [command args f]
  (let [parsed (parse command args)
        code (if (:help parsed)
               (println (help command))
               (f parsed))]
    (if (int? code) code 0)))
