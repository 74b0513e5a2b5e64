(ns temse.impl.filter-file
  "The filter in a Clojure file: what of it is the filter, where it finds namespaces and libraries, and
  how it is loaded again."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.action] ; which files name without requiring it
   [temse.impl.command.arguments :as arguments :refer [fail]])
  (:import
   (clojure.lang ArityException Compiler DynamicClassLoader LineNumberingPushbackReader Namespace RT)
   (java.io File)
   (java.lang.ref Reference)
   (java.net URL)
   (java.util HashMap Map)))

(set! *warn-on-reflection* true)

;; ---- the class path

(defonce ^:private ^{:doc "Finds what is on the class paths of filters, in this process."} class-loader
  (delay (DynamicClassLoader. (RT/baseLoader))))

(defn extend-class-path!
  "Adds directories and jars to the class path of what this thread and those that it starts load."
  [files]
  (doseq [file files]
    (.addURL ^DynamicClassLoader @class-loader (.toURL (.toURI (io/file file)))))
  (.setContextClassLoader (Thread/currentThread) @class-loader))

;; ---- namespaces

(def ^:private plain-namespace
  "Where a file without an ns form is loaded."
  'temse.filter-file)

(defn namespace-name
  "Returns the name in the ns form that a file begins with, or nil."
  [file]
  (try
    (with-open [reader (LineNumberingPushbackReader. (io/reader file))]
      (let [form (binding [*read-eval* false]
                   (read {:read-cond :allow :eof nil} reader))]
        (when (and (seq? form) (= 'ns (first form)) (symbol? (second form)))
          (second form))))
    (catch Exception _)))

(defn- root-directory
  "Returns the directory below which a file lies as its namespace says, or nil."
  [^File file namespace]
  (let [path (str (string/replace (munge (name namespace)) "." "/") ".clj")
        file-path (.getPath file)]
    (when (string/ends-with? file-path (str "/" path))
      (io/file (subs file-path 0 (- (count file-path) (count path)))))))

(defn- file-of
  "Returns the file from which a namespace is loaded, in a directory on the class path of a filter, or
  nil."
  ^File [namespace]
  (let [path (string/replace (munge (name namespace)) "." "/")]
    (some (fn [suffix]
            (when-let [^URL url (.findResource ^DynamicClassLoader @class-loader (str path suffix))]
              (when (= "file" (.getProtocol url))
                (io/file (.toURI url)))))
          [".clj" ".cljc"])))

(defn directories
  "Returns the directories on the class path of filters."
  []
  (into []
        (comp (filter #(= "file" (.getProtocol ^URL %)))
              (map #(io/file (.toURI ^URL %)))
              (filter #(.isDirectory ^File %)))
        (.getURLs ^DynamicClassLoader @class-loader)))

(def ^:private ^Map namespaces
  "The namespaces of this process by name."
  (let [field (.getDeclaredField Namespace "namespaces")]
    (.setAccessible field true)
    (.get field nil)))

(defonce ^:private ^{:doc "The files of namespaces that the last load has found, whether or not it has succeeded, by name."} last-loaded
  (atom {}))

(defn loaded-files
  "Returns the files that the last load has read: those of namespaces that lie in directories on the class
  path of filters."
  []
  (set (vals @last-loaded)))

(def ^:private ^Map classes
  "The classes that Clojure has made in this process, references to them by name."
  (let [field (.getDeclaredField DynamicClassLoader "classCache")]
    (.setAccessible field true)
    (.get field nil)))

(defn- link-classes!
  "Has the classes of namespaces that were not among the classes before find now what they know by name: vars,
  which a class finds when its first function or object is made, and types, which it finds when it first uses
  them. By then another load may have made new ones of these names.

  What an earlier load has made is not touched: Clojure refers to classes softly, and the JVM keeps those that
  were asked for lately."
  [namespaces ^Map before]
  (let [prefixes (map (comp munge name) namespaces)
        ours? (fn [class-name]
                (some (fn [prefix]
                        (and (string/starts-with? class-name prefix)
                             (contains? #{\$ \.} (get class-name (count prefix)))))
                      prefixes))
        made (into {}
                   (keep (fn [[class-name ^Reference reference]]
                           (when-let [^Class made (and (ours? class-name)
                                                       (not (identical? reference (.get before class-name)))
                                                       (.get reference))]
                             [class-name (.getClassLoader made)])))
                   classes)
        types (remove #(string/includes? % "$") (keys made))]
    (doseq [[^String class-name loader] made]
      (try
        (doseq [^String type types]
          (Class/forName type false loader))
        (Class/forName class-name true loader)
        ;; It will fail again where it is used.
        (catch LinkageError _)
        (catch ClassNotFoundException _)))))

(defn- files-by-namespace
  []
  (into {}
        (keep (fn [namespace]
                (when-let [file (file-of namespace)]
                  [namespace file])))
        (keys namespaces)))

(def ^:private ^:dynamic *earlier*
  "Of loads that belong together, an atom of the files of namespaces that earlier ones have found, by name."
  nil)

(defn load-together
  "Calls f, which loads several filters: `loaded-files` then returns the files of all of them."
  [f]
  (binding [*earlier* (atom {})]
    (f)))

(defn load-anew
  "Calls f, which loads files of these namespaces, without the namespaces that were loaded from files
  before, so that their functions keep the vars they know. Where f throws the namespaces are put back."
  [file-namespaces f]
  (let [known @last-loaded
        libraries @@#'clojure.core/*loaded-libs*
        classes-before (HashMap. classes)
        own (fn []
              (into #{}
                    (filter #(or (contains? file-namespaces %) (known %) (file-of %)))
                    (concat (keys namespaces) libraries)))
        forget (fn [names]
                 (run! remove-ns names)
                 (dosync (commute @#'clojure.core/*loaded-libs* #(into (empty %) (remove names) %))))
        earlier (own)
        kept (select-keys namespaces earlier)]
    (forget earlier)
    (try
      (with-bindings {Compiler/LOADER @class-loader}
        (let [result (f)
              found (merge (some-> *earlier* deref) (files-by-namespace))]
          (link-classes! (into file-namespaces (keys found)) classes-before)
          (some-> *earlier* (reset! found))
          (reset! last-loaded found)
          result))
      (catch Throwable e
        (reset! last-loaded (merge known (files-by-namespace)))
        (forget (own))
        (.putAll namespaces kept)
        (dosync (ref-set @#'clojure.core/*loaded-libs* libraries))
        (throw e)))))

;; ---- what is wrong

(defn- root-cause
  ^Throwable [^Throwable e]
  (if-let [cause (ex-cause e)] (recur cause) e))

(defn- cause-text
  [^Throwable e]
  (let [cause (root-cause e)]
    (str (when-not (instance? RuntimeException cause) (str (.getSimpleName (class cause)) ": "))
         (or (ex-message cause) (class cause)))))

(defn load-problem
  "Returns one line that says what is wrong where."
  [file e]
  (let [{:clojure.error/keys [source line column]}
        (last (filter :clojure.error/line (map ex-data (take-while some? (iterate ex-cause e)))))]
    (str (or source file)
         (when line (str ":" line))
         (when column (str ":" column))
         ": "
         (cause-text e))))

(defn- refused-arguments
  "Returns what is wrong if the filter's function takes another number of arguments, or nil."
  [f args e]
  (when (and (instance? ArityException e)
             (= (count args) (.-actual ^ArityException e))
             (= (.-name ^ArityException e) (.getName (class f))))
    (if (seq args)
      (str ": its filter does not take these arguments: " (string/join " " args))
      ": its filter wants arguments; they come after --")))

;; ---- the filter

(defn title
  "Returns what a filter is called by its file: the name without its extension."
  [path]
  (string/replace (.getName (io/file path)) #"\.[^.]*$" ""))

(defn- loaded-value
  "Loads a file and returns its var `filter` or `milter`, or else its last value."
  [file file-namespace]
  (let [own (create-ns file-namespace)
        ;; Known before, so that Clojure does not warn of a var of this name.
        core-filter (intern own 'filter clojure.core/filter)
        last-value (binding [*ns* own]
                     (when (= plain-namespace file-namespace)
                       (refer-clojure :exclude '[filter]))
                     (load-file (str file)))
        defined (ns-interns file-namespace)
        own-filter (get defined 'filter)]
    (if (or (not= core-filter own-filter) (not (identical? clojure.core/filter @own-filter)))
      own-filter
      (do
        (ns-unmap own 'filter)
        (binding [*ns* own]
          (refer-clojure :only '[filter]))
        (get defined 'milter last-value)))))

(defn load-filter-or-exit-code
  "Returns the filter of a Clojure file, a map or a var of one: its var `filter`, or else its var
  `milter`, or else its last value; of a function, what it returns for the arguments. A function may
  return a whole number instead, if the arguments asked for something else than a filter: the exit code
  of that.

  The file may require what lies beside it. Loaded again, it and these namespaces are new.

  Throws with a message of one line, with file and line, where the file does not load or holds no
  filter; then nothing is loaded again."
  [path args]
  (let [file (.getAbsoluteFile (io/file path))
        file-namespace (or (namespace-name file) plain-namespace)]
    (arguments/check-readable path)
    (when (.isDirectory file)
      (fail path ": it is a directory"))
    (extend-class-path! (keep identity [(.getParentFile file) (root-directory file file-namespace)]))
    (load-anew
      #{file-namespace}
      (fn []
        (let [value (try
                      (loaded-value path file-namespace)
                      (catch Throwable e
                        (fail (load-problem path e))))
              given (if (var? value) @value value)
              found (cond
                      (fn? given) (try
                                    (apply given args)
                                    (catch Throwable e
                                      (fail path (or (refused-arguments given args e)
                                                     (str ": the filter's function failed: " (cause-text e))))))
                      (seq args) (fail path ": its filter is not a function, so it takes no arguments: "
                                       (string/join " " args))
                      :else value)]
          (when-not (or (map? (if (var? found) @found found))
                        (and (fn? given) (int? found)))
            (fail path ": neither its var `filter` nor its last value is a map of handlers, a map of"
                  " options, or a function that returns one; it is " (pr-str found)))
          found)))))

(defn load-filter
  "Returns the filter of a Clojure file as `load-filter-or-exit-code` does, and fails where the arguments
  ask for something else."
  [path args]
  (let [found (load-filter-or-exit-code path args)]
    (when (int? found)
      (fail path ": for these arguments it returns no filter, but the exit code " found))
    found))
