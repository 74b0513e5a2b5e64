(ns temse.cli
  "The command line: bin/temse, clojure -M:temse, lein run, java -cp … clojure.main -m temse.cli."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (clojure.lang LineNumberingPushbackReader)
   (java.util.concurrent CountDownLatch)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def ^:private usage
  "temse - mail filters for Postfix and Sendmail

  temse demo
      plays three mails through an example filter and shows what happens
  temse run FILE.clj --listen ADDRESS [-v] [-- ARGS...]
      serves the filter of a Clojure file: its var `filter`, or else its last value, which is
      a map of handlers, a map of options, or a function of ARGS that returns one of these
        --listen ADDRESS   inet:20025@127.0.0.1, unix:/run/filter.sock, or a port
        -v, --verbose      print every event and every answer, not connections and verdicts only
  temse send ADDRESS [OPTIONS] [FILE...]
      plays mails to any milter as an MTA would
  temse proxy --listen ADDRESS --milter ADDRESS [OPTIONS]
      stands between an MTA and any milter, shows what they say, and records it if asked to
  temse replay RECORDING... --filter FILE.clj | --to ADDRESS [OPTIONS]
      plays recordings to a filter and tells what it answers otherwise today
  temse decode FILE [OPTIONS]
      shows a hex dump or a capture file of a milter's connection as events and actions
  temse version
  temse help
  temse send|proxy|replay|decode --help
")

(defn- fail
  "Throws what -main turns into a message and an exit code."
  [code & message]
  (throw (ex-info (string/join " " message) {::exit code})))

;; ---- the filter of a file

(defn- file-namespace
  "Returns the name in the ns form that a file begins with, or nil."
  [file]
  (with-open [reader (LineNumberingPushbackReader. (io/reader file))]
    (let [form (binding [*read-eval* false]
                 (read {:read-cond :allow :eof nil} reader))]
      (when (and (seq? form) (= 'ns (first form)))
        (second form)))))

(def ^:private plain-namespace
  "Where a file without an ns form is loaded."
  'temse.filter-file)

(defn- own-filter
  "Returns the var named filter that the file's namespace defines by itself, or nil."
  [file]
  (get (ns-interns (or (some-> (file-namespace file) find-ns) plain-namespace)) 'filter))

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
  (let [located (->> (iterate ex-cause e)
                     (take-while some?)
                     (keep #(let [data (ex-data %)]
                              (when (:clojure.error/line data) data)))
                     last)]
    (str (or (:clojure.error/source located) file)
         (when located (str ":" (:clojure.error/line located)
                            (when-let [column (:clojure.error/column located)] (str ":" column))))
         ": "
         (cause-text e))))

(defn load-filter
  "Returns the filter of a Clojure file: a map, or a var of one.

  Throws with a message of one line, with file and line, where the file does not load or holds no
  filter."
  [file args]
  (when-not (.isFile (io/file file))
    (fail 1 (str file ": there is no such file")))
  (remove-ns plain-namespace)
  (let [value (try
                (let [last-value (binding [*ns* (create-ns plain-namespace)]
                                   (refer-clojure)
                                   (load-file file))]
                  (or (own-filter file) last-value))
                (catch Throwable e
                  (fail 1 (load-problem file e))))
        given (if (var? value) @value value)
        found (cond
                (fn? given) (try
                              (apply given args)
                              (catch Throwable e
                                (fail 1 (str file ": the filter's function failed: "
                                             (cause-text e)))))
                (seq args) (fail 2 (str file ": its filter is not a function, so it takes no"
                                        " arguments: " (string/join " " args)))
                :else value)]
    (when-not (map? (if (var? found) @found found))
      (fail 1 (str file ": neither its var `filter` nor its last value is a map of handlers, a map of"
                   " options, or a function that returns one; it is " (pr-str found))))
    found))

;; ---- run

(defn- parse-run
  [args]
  (loop [[arg & more :as args] args, parsed {:args []}]
    (cond
      (empty? args) parsed
      (= "--" arg) (assoc parsed :args (vec more))
      (#{"-v" "--verbose"} arg) (recur more (assoc parsed :verbose? true))
      (= "--listen" arg) (if (seq more)
                           (recur (rest more) (assoc parsed :listen (first more)))
                           (fail 2 "--listen needs an address, such as inet:20025@127.0.0.1"))
      (string/starts-with? arg "-") (fail 2 (str "there is no option " arg "\n\n" usage))
      (:file parsed) (fail 2 (str "one file at a time: " (:file parsed) " or " arg
                                  "; arguments of the filter come after --"))
      :else (recur more (assoc parsed :file arg)))))

(defn- check-address
  [listen]
  (try
    (Endpoint/parse listen)
    (catch IllegalArgumentException e
      (fail 2 (str "--listen: " (ex-message e))))))

(defn- on-signal
  "Has f called when the process is told to end: once, then the process ends at once."
  [f]
  (let [asked (atom false)]
    (doseq [signal ["TERM" "INT"]]
      (sun.misc.Signal/handle
        (sun.misc.Signal. signal)
        (reify sun.misc.SignalHandler
          (handle [_ _]
            (if (compare-and-set! asked false true)
              (.start (Thread. ^Runnable f "temse-stop"))
              (.halt (Runtime/getRuntime) 130))))))))

(def ^:private most-actions
  "Actions of an answer that are printed."
  20)

(defn- exchange-line
  [event-text action-text {:keys [id peer event response millis]}]
  (format "%d  %-60s %s  %.2f ms"
          id
          (if (= :options (:event event))
            (str "connection from " peer)
            (event-text event))
          (string/join ", " (concat (map action-text (take most-actions response))
                                    (when (seq (drop most-actions response)) ["..."])))
          (double millis)))

(defn- run
  [args]
  (let [{:keys [file listen verbose?] filter-args :args} (parse-run args)]
    (when-not file
      (fail 2 (str "name the file of the filter\n\n" usage)))
    (when listen
      (check-address listen))
    ((requiring-resolve 'temse.impl.console/log-briefly!))
    (let [start-milter (requiring-resolve 'temse.milter/start-milter)
          stop-milter (requiring-resolve 'temse.milter/stop-milter)
          address (requiring-resolve 'temse.milter/milter-address)
          of-filter (requiring-resolve 'temse.impl.options/of-filter)
          filter-options (of-filter (load-filter file filter-args))
          print-lines! (requiring-resolve 'temse.impl.console/print-lines!)
          exchange-line (partial exchange-line
                                 (requiring-resolve 'temse.report/event-text)
                                 (requiring-resolve 'temse.report/action-text))
          on-exchange (:on-exchange filter-options identity)
          options (cond-> (merge {:name (string/replace (.getName (io/file file)) #"\.[^.]*$" "")}
                                 filter-options)
                    verbose? (assoc :on-exchange (fn [exchange]
                                                   (print-lines! [(exchange-line exchange)])
                                                   (on-exchange exchange)))
                    listen (-> (dissoc :port :host :socket-path) (assoc :address listen)))
          _ (when-not (some options [:address :port :socket-path])
              (fail 2 "say where to listen: --listen inet:20025@127.0.0.1"))
          stopped (CountDownLatch. 1)
          server (start-milter (assoc options :join? false))]
      (on-signal (fn []
                   (stop-milter server)
                   (.countDown stopped)))
      (print-lines! [(str (:name options) " listens on " (address server))])
      (.await stopped)
      ((requiring-resolve 'temse.impl.console/flush!)))))

;; ---- main

(defn- version
  []
  (or (some-> (io/resource "temse/VERSION") slurp string/trim) "unknown"))

(defn- command
  "Runs a command and returns its exit code, or anything else after success."
  [[command & args]]
  (case command
    "demo" ((requiring-resolve 'temse.demo/run))
    "run" (run args)
    ("send" "proxy" "replay" "decode")
    ((requiring-resolve (symbol (str "temse.impl.command." command) "run")) args)

    "version" (println "temse" (version))
    ("help" "-h" "--help" nil) (println usage)
    (fail 2 (str "there is no command " command "\n\n" usage))))

(defn -main
  "Runs a command; see `temse help`. Exit code 0 after success, 1 after a failure, 2 after a mistake
  in the arguments; some commands have their own, which their --help tells."
  [& args]
  (let [code (try
               (let [code (command args)]
                 (if (int? code) code 0))
               (catch clojure.lang.ExceptionInfo e
                 (binding [*out* *err*]
                   (println (str "temse: " (ex-message e))))
                 (::exit (ex-data e) 1))
               (catch temse.protocol.MilterException e
                 (binding [*out* *err*]
                   (println (str "temse: " (ex-message e))))
                 1))]
    (flush)
    (shutdown-agents)
    (System/exit code)))
