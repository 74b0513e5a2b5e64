(ns temse.impl.setup.sendmail-cf
  "Reads a sendmail.cf: its options, and the filters of its X lines."
  {:no-doc true}
  (:require
   [clojure.string :as string]))

(set! *warn-on-reflection* true)

;; ---- lines

(defn- folded-lines
  "Returns [number text] of each line with those that continue it, without comments and empty lines.
  A line that begins with white space continues the one before."
  [text]
  (->> (string/split text #"\r?\n")
       (map vector (rest (range)))
       (remove (fn [[_ line]] (or (string/blank? line) (string/starts-with? line "#"))))
       (reduce (fn [lines [number line]]
                 (if (and (re-find #"^[ \t]" line) (seq lines))
                   (update-in lines [(dec (count lines)) 1] str " " (string/trim line))
                   (conj lines [number line])))
               [])))

;; ---- times

(def ^:private milliseconds
  {"s" 1000, "m" 60000, "h" 3600000, "d" 86400000, "w" 604800000})

(def ^:private longest
  "A hundred years."
  3155760000000)

(defn time-in-milliseconds
  "Returns a time such as 30s, 5m or 1h30m in milliseconds, or nil. A number without a unit is seconds."
  [text]
  (let [parts (re-seq #"([0-9]{1,9})([smhdw]?)" text)]
    (when (and (seq parts) (= text (string/join (map first parts))))
      (let [total (reduce +' (for [[_ n unit] parts]
                               (* (long (parse-long n)) (long (milliseconds unit 1000)))))]
        (when (<= total longest)
          total)))))

;; ---- the X line

(def default-timeouts
  "How long Sendmail waits in milliseconds, by the letter in T=: to connect (0: as long as the system
  does), to send, to read an answer, and for the end of a message."
  {"C" 0, "S" 10000, "R" 10000, "E" 300000})

(defn- with-timeout
  [entry part]
  (let [[_ letter time] (re-matches #"(?s)\s*(\S)\s*:\s*(\S+)\s*" part)
        duration (some-> time time-in-milliseconds)]
    (cond
      (nil? letter) (update entry :problems conj (str "in T=, \"" (string/trim part) "\" is not LETTER:TIME, such as R:30s"))
      (nil? (default-timeouts letter)) (update entry :problems conj (str "in T=, the letters are C, S, R and E, not " letter))
      (nil? duration) (update entry :problems conj (str "in T=, \"" time "\" is no time, such as 30s or 5m"))
      :else (assoc-in entry [:timeouts letter] duration))))

(defn- with-equate
  [entry equate]
  (let [[_ letter given] (re-matches #"(?s)([^=\s])[^=]*=(.*)" equate)
        given (some-> given string/trim)]
    (case letter
      "S" (assoc entry :socket given)
      "F" (assoc entry :flags given)
      "T" (reduce with-timeout entry (remove string/blank? (string/split given #";")))
      nil (update entry :problems conj (str "\"" equate "\" is no equate: write S=ADDRESS, F=FLAG or T=TIMEOUTS"))
      (update entry :problems conj (str "there is no equate " letter "=, only S=, F= and T=")))))

(defn- filter-of
  [[number text]]
  (let [[title & equates] (map string/trim (string/split (subs text 1) #"," -1))
        [_ title more] (re-matches #"(?s)(\S*)\s*(.*)" title)
        entry {:name title, :line number, :text text, :flags "", :timeouts default-timeouts, :problems []}]
    (cond-> (reduce with-equate entry (remove string/blank? (cons more equates)))
      (string/blank? title) (update :problems conj "the name of the filter is missing"))))

(defn- option-of
  [[number text]]
  (when-let [[_ option given] (re-matches #"(?s)O\s+([^=\s]+)\s*=\s*(.*)" text)]
    [option {:value (string/trim given), :line number}]))

(defn parse
  "Returns what the text of a sendmail.cf configures:

    :filters  a vector of {:name \"temse\", :socket \"inet:20025@127.0.0.1\", :flags \"T\", :line 1800, :text …,
              :timeouts as in `default-timeouts`, :problems […]}, in the order of their X lines; without
              S= there is no :socket
    :options  name to {:value \"temse\", :line 600}; of several O lines the last one holds"
  [text]
  (let [lines (folded-lines text)
        of-kind (fn [letter] (filter #(string/starts-with? (second %) letter) lines))]
    {:filters (mapv filter-of (of-kind "X"))
     :options (into {} (keep option-of) (of-kind "O"))}))

(defn option
  "Returns the value of an option, or nil."
  [cf title]
  (get-in cf [:options title :value]))

(defn names
  "Returns the names or macros in a list of a sendmail.cf."
  [given]
  (remove string/blank? (string/split (or given "") #"[,;\s]+")))

(defn input-filters
  "Returns the names of the filters that mail passes, in their order."
  [cf]
  (names (option cf "InputMailFilters")))
