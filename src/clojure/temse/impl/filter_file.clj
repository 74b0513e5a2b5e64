(ns temse.impl.filter-file
  "The filter in a Clojure file: what of it is the filter, where it finds namespaces and libraries, and
  how it is loaded again."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail]])
  (:import
   (clojure.lang Compiler DynamicClassLoader LineNumberingPushbackReader Namespace RT)
   (java.io File)
   (java.net URL)
   (java.util Map)))

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

(defn- namespace-name
  "Returns the name in the ns form that a file begins with, or that of the namespace where it is
  loaded without one."
  [file]
  (or (try
        (with-open [reader (LineNumberingPushbackReader. (io/reader file))]
          (let [form (binding [*read-eval* false]
                       (read {:read-cond :allow :eof nil} reader))]
            (when (and (seq? form) (= 'ns (first form)) (symbol? (second form)))
              (second form))))
        (catch Exception _))
      plain-namespace))

(defn- root-directory
  "Returns the directory below which a file lies as its namespace says, or nil."
  [^File file namespace]
  (let [path (str (string/replace (munge (name namespace)) "." "/") ".clj")
        file-path (.getPath file)]
    (when (string/ends-with? file-path (str "/" path))
      (io/file (subs file-path 0 (- (count file-path) (count path)))))))

(defn- from-directory?
  "Returns true for a namespace that is loaded from a directory on the class path of a filter."
  [namespace]
  (let [path (string/replace (munge (name namespace)) "." "/")]
    (some (fn [suffix]
            (when-let [url (.findResource ^DynamicClassLoader @class-loader (str path suffix))]
              (= "file" (.getProtocol ^URL url))))
          [".clj" ".cljc"])))

(def ^:private ^Map namespaces
  "The namespaces of this process by name."
  (let [field (.getDeclaredField Namespace "namespaces")]
    (.setAccessible field true)
    (.get field nil)))

(defn- without-namespaces
  "Calls f, which loads a file, without the namespaces that were loaded from files before, so that
  their functions keep the vars they know. Where f throws the namespaces are put back."
  [file-namespace f]
  (let [own? #(or (= file-namespace %) (from-directory? %))
        kept (into {} (filter (comp own? key)) namespaces)
        libraries @@#'clojure.core/*loaded-libs*
        forget (fn []
                 (run! remove-ns (filterv own? (keys namespaces)))
                 (dosync (commute @#'clojure.core/*loaded-libs* #(into (empty %) (remove own?) %))))]
    (forget)
    (try
      (with-bindings {Compiler/LOADER @class-loader}
        (f))
      (catch Throwable e
        (forget)
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

(defn- load-problem
  "Returns one line that says what is wrong where."
  [file e]
  (let [{:clojure.error/keys [source line column]}
        (last (filter :clojure.error/line (map ex-data (take-while some? (iterate ex-cause e)))))]
    (str (or source file)
         (when line (str ":" line))
         (when column (str ":" column))
         ": "
         (cause-text e))))

;; ---- the filter

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

(defn load-filter
  "Returns the filter of a Clojure file, a map or a var of one: its var `filter`, or else its var
  `milter`, or else its last value; of a function, what it returns for the arguments.

  The file may require what lies beside it. Loaded again, it and these namespaces are new.

  Throws with a message of one line, with file and line, where the file does not load or holds no
  filter; then nothing is loaded again."
  [path args]
  (let [file (.getAbsoluteFile (io/file path))
        file-namespace (namespace-name file)]
    (arguments/check-readable path)
    (when (.isDirectory file)
      (fail path ": it is a directory"))
    (extend-class-path! (keep identity [(.getParentFile file) (root-directory file file-namespace)]))
    (without-namespaces
      file-namespace
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
                                      (fail path ": the filter's function failed: " (cause-text e))))
                      (seq args) (fail path ": its filter is not a function, so it takes no arguments: "
                                       (string/join " " args))
                      :else value)]
          (when-not (map? (if (var? found) @found found))
            (fail path ": neither its var `filter` nor its last value is a map of handlers, a map of"
                  " options, or a function that returns one; it is " (pr-str found)))
          found)))))
