(ns temse.impl.command.config
  "The command config: prints the lines with which an MTA uses a filter."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.class-path :as class-path]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.setup.lines :as lines]
   [temse.impl.setup.needs :as needs])
  (:import
   (java.io File)
   (temse.transport Endpoint Endpoint$Inherited)))

(set! *warn-on-reflection* true)

(def filter-options
  "Options of commands that look at a filter, besides where it listens."
  [["--listen ADDRESS" "where the filter listens (default: as its own options say)" arguments/address]
   ["--class-path PATH" "directories and jars of the filter, with colons between them"
    arguments/text :repeated]
   ["--deps FILE" "whose :paths and :deps the filter needs (default: the deps.edn beside it)"
    arguments/text]])

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse config postfix FILE.clj --listen ADDRESS [OPTIONS] [-- ARGS...]"
           "temse config sendmail FILE.clj --listen ADDRESS [OPTIONS] [-- ARGS...]"]
   :about ["Prints the lines with which Postfix or Sendmail uses the filter of a Clojure"
           "file: for main.cf, or for sendmail.mc. They name the filter's address, defer"
           "mail while it does not run, wait as long as its handlers may take, and send the"
           "macros that it reads. All that is printed may be pasted; what else is to be done"
           "stands in comments."]
   :args? true
   :options (into filter-options
                  [["--cf" "lines for sendmail.cf, not for sendmail.mc"]])
   :exit "0, or 2 if the filter cannot be loaded."})

(def ^:private mtas #{"postfix" "sendmail"})

(defn mta-and-file
  "Returns [MTA FILE] of the words of a command; the file may be nil if it is optional."
  [command [mta file & more]]
  (cond
    (not (mtas mta)) (arguments/misused command "say which MTA: postfix or sendmail"
                                        (when mta (str ", not " mta)))
    more (fail "one file at a time: " file " or " (first more) "; arguments of the filter come after --")
    :else [mta file]))

(defn load-needs
  "Returns what the filter in a file needs of an MTA, see temse.impl.setup.needs."
  [file {:keys [args class-path deps]}]
  (filter-file/extend-class-path! (class-path/entries class-path deps file))
  (let [loaded (filter-file/load-filter file args)
        title (string/replace (.getName (io/file file)) #"\.[^.]*$" "")]
    (needs/of-filter loaded title (map #(.toURL (.toURI ^File %)) (distinct (cons (.getAbsoluteFile (io/file file)) (filter-file/loaded-files)))))))

(defn listening
  "Returns the endpoint where a filter listens: as the command says, or else its own options, or nil."
  ^Endpoint [{:keys [listen]} needs]
  (let [endpoint (if listen
                   (Endpoint/parse listen)
                   (:listen needs))]
    (when (instance? Endpoint$Inherited endpoint)
      (arguments/fail "the filter inherits its socket; say by --listen where that is bound"))
    endpoint))

(defn- print-commented
  [begin file {:keys [lines advice]}]
  (let [comment-line (fn [text] (arguments/say (string/trimr (str begin text))))]
    (comment-line file)
    (run! arguments/say lines)
    (run! comment-line advice)))

(defn- print-lines
  [{:keys [words cf] :as parsed}]
  (let [[mta file] (mta-and-file command words)]
    (when-not file
      (arguments/misused command "name the file of the filter"))
    (when (and cf (= "postfix" mta))
      (arguments/misused command "--cf goes with sendmail, not with postfix"))
    (let [needs (load-needs file parsed)
          endpoint (listening parsed needs)]
      (when-not endpoint
        (fail "say where the filter listens: --listen inet:20025@127.0.0.1"))
      (cond
        (= "postfix" mta)
        (print-commented "# " "/etc/postfix/main.cf: if smtpd_milters names other milters already, add this one to them"
                         (lines/postfix needs endpoint))

        cf
        (print-commented "# " "/etc/mail/sendmail.cf: if InputMailFilters names other filters already, add this one to them"
                         (lines/sendmail "sendmail.cf" needs (:title needs) endpoint))

        :else
        (print-commented "dnl " "/etc/mail/sendmail.mc, before the MAILER lines; then make sendmail.cf from it"
                         (lines/sendmail "sendmail.mc" needs (:title needs) endpoint))))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args print-lines))
