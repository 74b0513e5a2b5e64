(ns temse.impl.command.milters
  "The milter that a command plays to: one that runs, by its address, or the filter of a Clojure file; and
  what may go wrong with it, in one line."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.class-path :as class-path]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.console :as console]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.options :as options])
  (:import
   (java.io IOException)
   (java.net SocketException SocketTimeoutException UnknownHostException)
   (java.util.logging Level)
   (temse.protocol MilterException)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def file-options
  "Rows for the table of a command that loads the filter of a file."
  [["--class-path PATH" "directories and jars of the filter, with colons between them"
    arguments/text :repeated]
   ["--deps FILE" "whose :paths and :deps the filter needs (default: the deps.edn beside it)"
    arguments/text]])

(defn of-file
  "Returns the filter of a Clojure file, with the arguments behind --, as options of start-milter."
  [file {:keys [args class-path deps]}]
  (console/log-briefly! Level/WARNING)
  (filter-file/extend-class-path! (class-path/entries class-path deps file))
  (options/of-filter (filter-file/load-filter file args)))

(defn file?
  "Returns true if an argument names a file, not an address."
  [argument]
  (or (.isFile (io/file argument)) (string/ends-with? argument ".clj")))

(defn of-argument
  "Returns what temse.test takes for a filter: the options of the one in a file, or an address."
  [argument {:keys [args class-path deps] :as parsed}]
  (if (file? argument)
    (of-file argument parsed)
    (do
      (when (or args class-path deps)
        (fail "the milter at " argument " runs already; arguments and a class path go with the file of a filter"))
      (try
        (str (Endpoint/parse argument))
        (catch IllegalArgumentException e
          (fail (ex-message e)))))))

(defn trouble
  "Returns what to do about an exception, or an empty string."
  [e connecting?]
  (cond
    (instance? SocketTimeoutException e)
    "; is the filter stuck? --timeout and --total-timeout give it more time"

    (instance? MilterException e)
    (if connecting?
      "; is it a milter that listens there?"
      ", which an MTA would not put up with")

    (and connecting? (instance? SocketException e))
    "; is the filter running, and is this its address?"

    (instance? UnknownHostException e)
    ""

    :else
    "; the log of the filter should show why"))

(defn reporting
  "Returns what f returns; what goes wrong with the filter meanwhile is reported in one line."
  [where connecting? f]
  (let [failed #(fail where ": " (ex-message %) (trouble % connecting?))]
    (try
      (f)
      (catch IOException e
        (failed e))
      (catch MilterException e
        (failed e)))))
