(ns temse.configuration
  "Settings of a filter: read from a file of EDN, checked, and with their defaults.

    (def settings
      {:delay [\"a number of seconds\" nat-int? 300]
       :networks [\"networks such as \\\"192.0.2.0/24\\\"\" network/networks []]
       :database [\"a map\" map?]})

    (defn filter
      [& [file]]
      (let [{:keys [delay networks]} (read-settings file settings)]
        …))"
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (clojure.lang LineNumberingPushbackReader)
   (java.io IOException StringReader)))

(set! *warn-on-reflection* true)

(defn- problem
  "Returns the exception for what is wrong in a file at a line, or nil where no line is known."
  [file line option value message]
  (keys/bad-option option value (str file (when line (str ":" line)) ": " message)))

(defn- text-of
  [file]
  (let [found (io/file file)]
    (cond
      (not (.exists found)) (throw (problem file nil :file file "there is no such file"))
      (.isDirectory found) (throw (problem file nil :file file "it is a directory")))
    (try
      (slurp found :encoding "UTF-8")
      (catch IOException e
        (throw (problem file nil :file file (str "it cannot be read: " (ex-message e))))))))

(defn- reader
  ^LineNumberingPushbackReader [text]
  (LineNumberingPushbackReader. (StringReader. text)))

(defn- read-map
  "Returns the one form of a file, which must be a map."
  [file text]
  (let [in (reader text)
        ;; At its end the reader counts a line too many.
        line #(min (.getLineNumber in) (count (string/split-lines text)))
        next-form #(try
                     (edn/read {:eof ::none} in)
                     (catch RuntimeException e
                       (throw (problem file (line) :file file (ex-message (or (ex-cause e) e)))))
                     (catch StackOverflowError _
                       (throw (problem file (line) :file file "it is nested too deeply"))))
        form (next-form)]
    (when-not (map? form)
      (throw (problem file nil :file form (if (= ::none form)
                                            "it is empty; a map of settings is wanted, such as {}"
                                            (str "a map of settings is wanted, not " (keys/shown form))))))
    (when-not (= ::none (next-form))
      (throw (problem file (line) :file file "there is more behind the map of settings")))
    form))

(defn- skip-blank
  "Reads what separates forms, comments included, and returns the character behind it, unread."
  [^LineNumberingPushbackReader in]
  (loop []
    (let [c (.read in)]
      (cond
        (neg? c) nil
        (= \; (char c)) (do (.readLine in) (recur))
        (or (= \, (char c)) (Character/isWhitespace c)) (recur)
        :else (do (.unread in c) (char c))))))

(defn- line-of-key
  "Reads a map up to the value of a key, and returns the line of the key; nil if it is not there."
  [^LineNumberingPushbackReader in k]
  (let [next-form #(try
                     (edn/read {:eof ::none} in)
                     (catch RuntimeException _ ::none))]
    (when (= \{ (skip-blank in))
      (.read in)
      (loop []
        (when-not (contains? #{\} nil} (skip-blank in))
          (let [line (.getLineNumber in)
                form (next-form)]
            (cond
              (= k form) line
              (= ::none form) nil
              (= ::none (next-form)) nil
              :else (recur))))))))

(defn- line-of
  "Returns the line of what a path of keys leads to in a text, as far as it can be told."
  [text path]
  (let [in (reader text)]
    (last (take-while some? (map #(line-of-key in %) path)))))

(defn- wrong
  "Returns why a value is not what a setting must be, {:why TEXT}, or nil; with the :path of keys to what is
  wrong in it, where the predicate says so."
  [right? value]
  (try
    (when-not (right? value)
      {:why ""})
    (catch Exception e
      (let [{:keys [option]} (ex-data e)]
        {:why (str ": " (ex-message e)), :path (when (vector? option) option)}))))

(defn- mistake
  "Returns the path to the first key of settings with which something is wrong, and what; or nil."
  [given table]
  (or (some (fn [[k value]]
              (let [[words right?] (table k)
                    meant (keys/closest k (clojure.core/keys table))]
                (if (nil? right?)
                  [[k] (str "there is no setting " (keys/shown k)
                            (if meant
                              (keys/did-you-mean meant)
                              (str "; there are " (string/join ", " (sort (clojure.core/keys table))))))]
                  (when-let [{:keys [why path]} (wrong right? value)]
                    (if path
                      [(into [k] path) (str "in " k why)]
                      [[k] (str k " must be " words ", not " (keys/shown value) why)])))))
            given)
      (some (fn [[k [words :as entry]]]
              (when (and (= 2 (count entry)) (not (contains? given k)))
                [[k] (str k " is missing: " words)]))
            table)))

(defn settings?
  "Returns a predicate for a setting that is itself a map of settings, with a table as `read-settings` takes
  it. It is true, or throws what is wrong with the map. Defaults are only said not to be missing.

    {:limits [\"a vector of limits\" #(every? (settings? {:count [\"a number\" nat-int?]}) %)]}"
  [table]
  (fn [given]
    (if (map? given)
      (if-let [[[k] message] (mistake given table)]
        (throw (keys/bad-option k given message))
        true)
      (throw (keys/bad-option nil given (str "a map is wanted, not " (keys/shown given)))))))

(defn named-settings?
  "Returns a predicate for a setting that is a map of name to map of settings, each with a table as
  `read-settings` takes it. It is true, or throws which is wrong in which map.

    {:lists [\"a map of name to list\" (named-settings? {:zone [\"a domain\" string?]})]}"
  [table]
  (fn [given]
    (and (map? given)
         (every? (fn [[k settings]]
                   (let [[path message] (if (map? settings)
                                          (mistake settings table)
                                          [[] (str "a map of settings is wanted, not " (keys/shown settings))])]
                     (when message
                       (throw (keys/bad-option (into [k] path) settings
                                               (str (keys/shown k) ": " message)))))
                   true)
                 given))))

(defn bad-setting
  "Returns the exception for what is wrong in a file that `read-settings` has read, for what a table cannot
  check: a MilterException :bad-options whose message begins with the file and the line of the setting, which
  is a key, or a path of keys where settings hold settings.

    (when (< most least)
      (throw (bad-setting file :most (str \":most is \" most \", less than :least, which is \" least))))"
  [file setting message]
  (let [path (if (vector? setting) setting [setting])
        line (try
               (line-of (text-of file) path)
               (catch Exception _))]
    (problem file line setting nil message)))

(defn read-settings
  "Returns the settings in a file, which holds one map of EDN, with defaults where it says nothing; nil
  stands for a file that says nothing at all.

  The table says of each setting what it must be, in words, then the predicate that is true for it, or
  that throws what is wrong with it, then its default, which may be nil. A setting without a default must
  be given.

  Throws a MilterException :bad-options whose message begins with the file and the line, if the file cannot
  be read, is no map, or holds a setting that is unknown or wrong: it says what would be right.

    (read-settings \"greylist.edn\" {:delay [\"a number of seconds\" nat-int? 300]})
    ;=> {:delay 600}"
  [file table]
  (let [text (if file (text-of file) "{}")
        given (read-map file text)]
    (when-let [[[k :as path] message] (mistake given table)]
      (throw (problem (or file "the settings") (line-of text path) k (get given k) message)))
    (into given
          (for [[k [_ _ default]] table
                :when (not (contains? given k))]
            [k default]))))
