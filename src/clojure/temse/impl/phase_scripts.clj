(ns temse.impl.phase-scripts
  "Filters of one small script for each event: files whose forms see `event` and `context`.

  A script is the body of a handler. What defines or requires something comes first in the file, and is
  evaluated once, when it is loaded; the forms behind it are evaluated for each event, and the value of the
  last one is what a handler returns."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.action]
   [temse.address]
   [temse.envelope]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.envelope :as envelope]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.options :as options]
   [temse.mail]
   [temse.milter :as milter]
   [temse.network])
  (:import
   (clojure.lang LineNumberingPushbackReader Var)))

(set! *warn-on-reflection* true)

;; ---- what scripts find without a require

(def ^:private words
  "Names by their namespaces; nil stands for all that are public."
  '{temse.action nil
    temse.envelope nil
    temse.milter [agreed? bare-address close get-macro macros message progress! respond response send-action
                  update-message]})

(def ^:private aliases
  '{act temse.action
    address temse.address
    envelope temse.envelope
    log clojure.tools.logging
    mail temse.mail
    milter temse.milter
    network temse.network
    string clojure.string})

(defn- add-words!
  "Has a namespace find the words and aliases that it does not have otherwise."
  [script-namespace]
  (doseq [[of names] words
          word (or names (keys (ns-publics of)))
          :when (not (contains? (ns-map script-namespace) word))]
    (binding [*ns* script-namespace]
      (refer of :only [word])))
  (doseq [[alias-name of] aliases
          :when (not (contains? (ns-aliases script-namespace) alias-name))]
    (binding [*ns* script-namespace]
      (alias alias-name of))))

;; ---- forms

(def ^:private definers
  '#{declare def definterface defmacro defmethod defmulti defn defn- defonce defprotocol defrecord deftype
     import ns refer refer-clojure require set! use})

(defn- begins-with?
  [operators form]
  (and (seq? form) (contains? operators (first form))))

(defn- read-form
  [reader]
  (read {:read-cond :allow, :eof ::end} reader))

(defn- next-form
  "Returns the next form that is no comment, or ::end."
  [reader]
  (first (drop-while #(begins-with? '#{comment} %) (repeatedly #(read-form reader)))))

(defn- define
  "Evaluates a definition; what it throws says where it is."
  [path form]
  (try
    (eval form)
    (catch Throwable e
      (throw (ex-info (str (ex-message e))
                      {:clojure.error/source path, :clojure.error/line (:line (meta form))}
                      e)))))

(defn- read-script
  "Evaluates the definitions at the beginning of a script, and returns them and the forms behind them."
  [path reader]
  (loop [definitions [], body []]
    (let [form (next-form reader)]
      (cond
        (= ::end form)
        {:definitions definitions, :body body}

        (not (begins-with? definers form))
        (recur definitions (conj body form))

        (seq body)
        (fail path ":" (:line (meta form)) ": (" (first form) " …) comes behind what is done for each event; what"
              " defines or requires something comes first")

        :else
        (do
          (define path form)
          (when (begins-with? '#{ns} form)
            (add-words! *ns*))
          (recur (conj definitions form) body))))))

;; ---- what scripts mention

(defn- mentioned-word
  "Returns the word of temse.envelope that a symbol of a script stands for, or nil."
  [script-namespace symbol]
  (let [found (try
                (ns-resolve script-namespace symbol)
                (catch Exception _))]
    (when (and (var? found) (= "temse.envelope" (str (.-ns ^Var found))))
      (envelope/words (keyword (.-sym ^Var found))))))

(defn- mentions
  "Returns the words and the actions that forms mention."
  [script-namespace forms]
  {:wants (into #{}
                (comp (filter symbol?) (keep #(mentioned-word script-namespace %)))
                (tree-seq coll? seq forms))
   :actions (binding [*ns* script-namespace]
              (milter/mentioned-actions forms))})

;; ---- loading

(defn- handler
  "Returns the function that the body of a script is."
  [title body]
  (eval `(fn ~(symbol (str (string/replace title #"[^A-Za-z0-9_-]" "_") "-script"))
           [~'event ~'context]
           ~@body)))

(defn- load-script
  "Returns the handler of a file, with what it mentions."
  [path script-namespace]
  (let [own (create-ns script-namespace)
        file-name (.getName (io/file path))]
    (with-open [reader (LineNumberingPushbackReader. (io/reader path))]
      (with-bindings {#'*ns* own
                      #'*file* (str path)
                      #'*source-path* file-name
                      #'*warn-on-reflection* false
                      #'*unchecked-math* false}
        (when-not (filter-file/namespace-name path)
          (refer-clojure)
          (add-words! own))
        (let [{:keys [definitions body]} (read-script path reader)]
          (when (empty? body)
            (fail path ": there is nothing to do for an event: the script has no form besides definitions"))
          (assoc (mentions *ns* [definitions body])
                 :handler (handler (string/replace file-name #"[.]clj$" "") body)))))))

(defn- described
  [path script-namespace]
  (try
    (load-script path script-namespace)
    (catch Throwable e
      (if (:temse.cli/exit (ex-data e))
        (throw e)
        (fail (filter-file/load-problem path e))))))

(defn- canonical
  [path]
  (.getCanonicalPath (io/file path)))

(defn load-scripts
  "Returns a filter, a map of options of start-milter, whose handlers are scripts: a map of event to the
  path of a file. A file that serves several events is loaded once.

  The options ask the MTA for the words of temse.envelope that the scripts mention, and for the actions
  that they mention; for others if the MTA offers them.

  Throws with a message of one line, with file and line, where a script does not load."
  [paths]
  (let [files (into {} (map (juxt canonical identity)) (vals paths))
        namespaces (into {}
                         (map-indexed (fn [i [file path]]
                                        (arguments/check-readable path)
                                        (when (.isDirectory (io/file path))
                                          (fail path ": it is a directory"))
                                        [file (or (filter-file/namespace-name path)
                                                  (symbol (str "temse.script-" i)))]))
                         files)]
    (filter-file/extend-class-path! [])
    (filter-file/load-anew
      (set (vals namespaces))
      (fn []
        (let [scripts (into {} (map (fn [[file path]] [file (described path (namespaces file))])) files)
              actions (into #{} (mapcat :actions) (vals scripts))]
          {:handlers (with-meta (update-vals paths #(:handler (scripts (canonical %))))
                       {::milter/mentions actions})
           :wants (into #{} (mapcat :wants) (vals scripts))
           :actions actions
           :optional-actions (reduce disj options/action-names (conj actions :request-macros))})))))
