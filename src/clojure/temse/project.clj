(ns temse.project
  "The milters of a temse.edn: what `temse run` serves, and tests try.

    {:listen \"inet:20025@127.0.0.1\"
     :filter \"src/my_filter.clj\"
     :args [\"lottery\"]}

  doc/configuration.org explains each key."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.configuration :as configuration]
   [temse.impl.command.arguments :as arguments]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.keys :as keys]
   [temse.impl.options :as options]
   [temse.impl.phase-scripts :as phase-scripts]
   [temse.milter :as milter])
  (:import
   (temse.protocol MilterException)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

;; ---- what the file may say

(def ^:private in-code-only
  "Options of start-milter that are functions, that another key of the file stands for, or that the command
  line decides."
  [:handlers :init :bindings :on-error :on-exchange :on-fatal :port :host :socket-path :address :name :daemon? :join?])

(def ^:private option-table
  (apply dissoc options/table in-code-only))

(defn- address?
  [x]
  (and (or (string? x) (int? x))
       (some? (Endpoint/parseListening (str x)))))

(def ^:private script-table
  (into {}
        (map (fn [event] [event ["the path of a script" string? nil]]))
        (disj options/event-names :options :define-macro)))

(def ^:private path-keys
  (cons :filter (keys script-table)))

(def ^:private milter-table
  (merge option-table
         script-table
         {:listen ["an address such as \"inet:20025@127.0.0.1\" or \"unix:/run/filter.sock\", a port of 127.0.0.1, or \"inherited\""
                   address? nil]
          :filter ["the path of a Clojure file" string? nil]
          :args ["a vector of strings" #(and (vector? %) (every? string? %)) []]
          :log-mail? ["true or false" boolean? true]}))

(def ^:no-doc table
  "Every key of temse.edn: what it must be, in words and as a predicate, and its default. Those of
  `milters` may have the keys of `milter-table`."
  (merge milter-table
         {:name ["a string" string? nil]
          :log-level [":error, :warn, :info or :debug" #{:error :warn :info :debug} nil]
          :milters ["a map of name to settings" (configuration/named-settings? milter-table) nil]}))

(def ^:private unset
  "The default of whatever start-milter has a default for."
  ::unset)

(defn- without-defaults
  [table]
  (update-vals table (fn [[words right? _]] [words right? unset])))

;; ---- reading

(defn- scripts
  [settings]
  (select-keys settings (keys script-table)))

(defn- beside
  "Returns the path of what a file names."
  [file path]
  (if (.isAbsolute (io/file path))
    path
    (str (io/file (.getParentFile (io/file file)) path))))

(defn- unreadable-file
  "Returns the first setting of a milter that names a file which cannot be read, and why; or nil."
  [file settings]
  (some (fn [[setting path]]
          (let [path (beside file path)]
            (when-let [problem (or (arguments/unreadable path)
                                   (when (.isDirectory (io/file path)) "it is a directory"))]
              [setting (str (keys/shown setting) ": " path ": " problem)])))
        (select-keys settings path-keys)))

(defn- check-milter
  "Throws :bad-options if the settings of a milter, at a path of the file, do not fit together."
  [file path {:keys [args listen socket-permissions socket-group] filter-path :filter :as settings}]
  (let [bad (fn [setting & words]
              (configuration/bad-setting file (conj path setting)
                                         (str (string/join (map #(str (keys/shown %) ": ") (rest path)))
                                              (string/join words))))
        script (first (keys (scripts settings)))
        [unreadable problem] (unreadable-file file settings)]
    (cond
      unreadable
      (throw (bad unreadable problem))

      (and filter-path script)
      (throw (bad script script " is a script and :filter a whole filter; give one or the other"))

      (not (or filter-path script))
      (throw (bad :filter "there is no filter: give :filter \"FILE.clj\", or a script for an event, such as"
                  " :mail \"handler/mail.clj\""))

      (and (seq args) script)
      (throw (bad :args ":args are for a :filter; scripts take none"))

      (and listen (or socket-permissions socket-group) (not (string/starts-with? (str listen) "unix:")))
      (throw (bad (if socket-permissions :socket-permissions :socket-group)
                  (if socket-permissions :socket-permissions :socket-group)
                  " goes with a :listen of \"unix:PATH\", not with " (keys/shown listen))))))

(defn- check-several
  "Throws :bad-options if a file with :milters says something that one milter alone can have."
  [file {:keys [milters] :as settings}]
  (when (empty? milters)
    (throw (configuration/bad-setting file :milters ":milters is empty: give a map of name to settings")))
  (when-let [name (first (remove string? (keys milters)))]
    (throw (configuration/bad-setting file [:milters name]
                                      (str "in :milters, a name is a string, not " (keys/shown name)))))
  (when-let [k (first (filter #(contains? settings %)
                              (concat [:listen :filter :args :name] (keys script-table))))]
    (throw (configuration/bad-setting file k (str k " belongs to one milter: give it in :milters")))))

(defn- settings-of-milters
  "Returns the settings of each milter by its name, with the path where they are in the file. Settings of
  the file hold for each milter that says nothing else."
  [file {:keys [milters name] filter-path :filter :as settings}]
  (let [common (dissoc settings :milters :log-level :name)]
    (if milters
      (do
        (check-several file settings)
        (into {} (map (fn [[k own]] [k [[:milters k] (merge common own)]])) milters))
      {(or name (some-> filter-path filter-file/title) "milter") [[] common]})))

(defn- read-settings
  [file]
  (into {}
        (remove #(= unset (val %)))
        (configuration/read-settings file (without-defaults table))))

(defn- checked
  "Returns the settings of a file."
  [file]
  (let [settings (read-settings file)]
    (doseq [[_ [path own]] (settings-of-milters file settings)]
      (check-milter file path own))
    settings))

(defn ^:no-doc files
  "Returns the paths of a file and of those that it names, whether or not they are there."
  [file]
  (let [settings (try
                   (read-settings file)
                   (catch MilterException _))]
    (cons file
          (for [milter (cons settings (vals (:milters settings)))
                [_ path] (select-keys milter path-keys)]
            (beside file path)))))

(defn ^:no-doc log-level
  "Returns from which level on a file wants log lines, or nil."
  [file]
  (:log-level (checked file)))

;; ---- loading

(defn- of-scripts
  "Returns the options of scripts; what the file says about words adds to those that the scripts mention,
  and what it says about actions replaces them."
  [file {:keys [wants actions optional-actions] :as settings}]
  (-> (phase-scripts/load-scripts (update-vals (scripts settings) #(beside file %)))
      (cond-> (or actions optional-actions) (dissoc :actions :optional-actions))
      (merge (select-keys (dissoc settings :wants) (keys option-table)))
      (update :wants into wants)))

(defn- of-filter
  [file {:keys [args] filter-path :filter :as settings}]
  (merge (options/of-filter (filter-file/load-filter (beside file filter-path) args))
         (select-keys settings (keys option-table))))

(defn- milter-options
  [file name {:keys [listen] filter-path :filter :as settings}]
  (cond-> (merge {:log-mail? (peek (:log-mail? milter-table))}
                 (if filter-path (of-filter file settings) (of-scripts file settings))
                 {:name name})
    listen (options/elsewhere (str (Endpoint/parseListening (str listen))))))

(defn- check-options
  "Throws what is wrong with the options of a milter, with the line of the file where it is said."
  [file path options]
  (try
    (milter/factory options)
    (catch MilterException e
      (let [{:keys [option]} (ex-data e)]
        (throw (configuration/bad-setting file (cond-> path (keyword? option) (conj option))
                                          (str (:name options) ": " (ex-message e))))))))

(defn milters
  "Returns the milters of a temse.edn (default: the one in the current directory), a map of name to options of
  start-milter, each with its filter loaded anew.

  Throws, with one line that says what is wrong where, if the file or a filter cannot be read, does not load, or
  holds anything that is not understood: then there is none.

    (temse.test/run-message (get (milters) \"my_filter\") \"Subject: Lottery\\n\\n\")"
  ([]
   (milters "temse.edn"))
  ([file]
   (filter-file/extend-class-path! [(.getParentFile (.getAbsoluteFile (io/file file)))])
   (filter-file/load-together
     (fn []
       (into {}
             (map (fn [[name [path settings]]]
                    (let [options (milter-options file name settings)]
                      (check-options file path options)
                      [name options])))
             (settings-of-milters file (checked file)))))))

(defn milter
  "Returns the one milter of a temse.edn (default: the one in the current directory), options of start-milter.
  Throws as `milters` does, and where there are several.

    (temse.test/run-message (milter) \"Subject: Lottery\\n\\n\")"
  ([]
   (milter "temse.edn"))
  ([file]
   (let [[[_ options] & more] (seq (milters file))]
     (when more
       (throw (configuration/bad-setting file :milters "there are several milters; `milters` returns them by name")))
     options)))
