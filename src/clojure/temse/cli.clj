(ns temse.cli
  "The command line: bin/temse, clojure -M:temse, lein run, java -cp … clojure.main -m temse.cli."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.io IOException PrintWriter)
   (java.nio.file Files LinkOption Path)
   (java.util Collection)
   (temse.protocol KnownKeys Printable)))

(set! *warn-on-reflection* true)

(def ^:private usage
  "temse - mail filters for Postfix and Sendmail

  temse demo
      plays three mails through an example filter and shows what happens
  temse init DIRECTORY [--scripts]
      makes a project that runs: a filter, its test and its configuration
  temse run FILE.clj --listen ADDRESS [OPTIONS] [-- ARGS...]
      serves the filter of a Clojure file
  temse run [DIRECTORY | FILE.edn] [OPTIONS]
      serves what a temse.edn says, by default the one in this directory
  temse test
      runs the tests of the project in this directory
  temse config postfix|sendmail FILE.clj --listen ADDRESS [OPTIONS]
      prints the lines with which an MTA uses a filter
  temse doctor postfix|sendmail [FILE.clj] [OPTIONS]
      reports what is wrong with the configuration of an MTA for a filter
  temse smtp ADDRESS|FILE.clj [OPTIONS] [SCRIPT...]
      takes SMTP by hand or from scripts, as an MTA with the filter behind it
  temse try FILE.clj|ADDRESS MAIL... [OPTIONS] [-- ARGS...]
      plays mails to a filter that are sorted by the verdict they should get
  temse dump [OPTIONS] MAIL...
      shows what a filter sees of a mail
  temse send ADDRESS [OPTIONS] [FILE...]
      plays mails to any milter as an MTA would
  temse proxy --listen ADDRESS --milter ADDRESS [OPTIONS]
      stands between an MTA and any milter, shows and records what they say
  temse replay RECORDING... --filter FILE.clj | --to ADDRESS [OPTIONS]
      plays recordings to a filter and shows what it answers differently
  temse decode FILE [OPTIONS]
      shows a hex dump or a capture file of a milter's connection
  temse version
  temse help [COMMAND], temse COMMAND --help

Exit code: 0 if all mail was accepted, or all was done; 1 if mail was refused,
deferred or discarded, or something differs; 2 after an error.")

(defn- version
  []
  (or (some-> (io/resource "temse/VERSION") slurp string/trim) "unknown"))

(def ^:private plain-commands
  "Commands without options: what --help says of them, and what they do."
  {"demo" ["Plays three mails through an example filter and shows what happens."
           #((requiring-resolve 'temse.impl.command.demo/run))]
   "version" ["Prints the version." #(println "temse" (version))]})

(def ^:private other-commands
  #{"init" "run" "test" "config" "doctor" "smtp" "try" "dump" "send" "proxy" "replay" "decode"})

(defn- run-plain
  [title args]
  (let [[about f] (plain-commands title)
        command {:usage [(str "temse " title)], :about [about]}
        misused (requiring-resolve 'temse.impl.command.arguments/misused)]
    ((requiring-resolve 'temse.impl.command.arguments/run)
     command
     args
     (fn [{:keys [words]}]
       (when (seq words)
         (misused command "it takes no " (first words)))
       (f)
       0))))

(defn- no-such-command
  [title]
  (let [commands ^Collection (sort (into other-commands (keys plain-commands)))]
    ((requiring-resolve 'temse.impl.command.arguments/fail)
     "there is no command " title (KnownKeys/didYouMean (KnownKeys/closest title commands))
     "; temse help shows all")))

(defn- command
  "Runs a command and returns its exit code."
  [[title & args]]
  (cond
    (contains? #{nil "-h" "--help"} title) (do (println usage) 0)
    (= "help" title) (recur (if (seq args) [(first args) "--help"] ["--help"]))
    (= "--version" title) (recur ["version"])
    (plain-commands title) (run-plain title args)
    (other-commands title) ((requiring-resolve (symbol (str "temse.impl.command." title) "run")) args)
    :else (no-such-command title)))

(def ^:private longest-problem 4000)

(defn- print-problem
  "Prints why a command failed: a line, or all that is known of what nobody expected."
  [^Throwable e]
  (binding [*out* *err*]
    (if (or (::exit (ex-data e))
            (:milter/error (ex-data e))
            (instance? IOException e))
      (println (str "temse: " (Printable/of ^String (or (ex-message e) (str e)) (int longest-problem))))
      (.printStackTrace e (PrintWriter. *out* true)))
    (flush)))

(defn- check-locale
  "Throws where arguments could not be read."
  [args]
  (when-let [argument (some #(when (string/includes? % "\uFFFD") %) args)]
    (throw (ex-info (str "the argument " argument " cannot be read: "
                         ((requiring-resolve 'temse.impl.command.arguments/undecodable) argument))
                    {::exit 2}))))

(def ^:private serving
  "Commands that go on where nobody reads what they print."
  #{"run" "proxy"})

(defn- to-a-reader?
  "Returns true if stdout is a pipe or socket: what cannot be written to it, nobody wants to read."
  []
  (try
    (let [mode (Files/getAttribute (Path/of "/dev/fd/1" (make-array String 0)) "unix:mode" (make-array LinkOption 0))]
      (contains? #{0x1000 0xC000} (bit-and 0xF000 (long mode))))
    (catch Exception _
      false)))

(defn- check-output
  "Throws if what a command printed could not be written, unless it serves mail, or whoever was reading
  it has stopped, as `head` does."
  [[title]]
  (flush)
  (when (and (.checkError System/out) (not (serving title)) (not (to-a-reader?)))
    (throw (ex-info "the output could not be written, or not all of it" {::exit 2}))))

(defn -main
  "Runs a command; see `temse help`. Exit code 0 if all mail was accepted, or all was done; 1 if mail
  was refused, deferred or discarded, or something differs; 2 after an error."
  [& args]
  (let [code (try
               (check-locale args)
               (let [code (command args)]
                 (check-output args)
                 code)
               (catch Throwable e
                 (print-problem e)
                 2))]
    (shutdown-agents)
    (System/exit code)))
