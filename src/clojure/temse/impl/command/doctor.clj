(ns temse.impl.command.doctor
  "The command doctor: reports what is wrong with the configuration of an MTA for a filter, with the lines
  to paste."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.config :as config]
   [temse.impl.setup.common :as common]
   [temse.impl.setup.machine :as machine]
   [temse.impl.setup.postfix-cf :as postfix-cf]
   [temse.impl.setup.postfix-checks :as postfix-checks]
   [temse.impl.setup.sendmail-cf :as sendmail-cf]
   [temse.impl.setup.sendmail-checks :as sendmail-checks])
  (:import
   (java.io File)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse doctor postfix [FILE.clj] [OPTIONS] [-- ARGS...]"
           "temse doctor sendmail [FILE.clj] [OPTIONS] [-- ARGS...]"]
   :about ["Looks at the configuration of Postfix or Sendmail, and at the filter of a"
           "Clojure file, and reports what is wrong, with the lines to paste: mail that"
           "would pass unfiltered, addresses that do not fit, timeouts below the filter's,"
           "macros that it reads and that never come, sockets that the MTA cannot reach,"
           "and others."
           ""
           "Without FILE.clj it looks at what is wrong for any filter, and without an"
           "address at all milters."
           ""
           "Postfix: main.cf and master.cf of this machine, and the files of the socket; or"
           "what --main and --master name. Sendmail: /etc/mail/sendmail.cf, or that of --cf."]
   :args? true
   :options (into config/filter-options
                  ["Postfix"
                   ["--main FILE" "main.cf or the output of postconf -n; - is standard input" arguments/text]
                   ["--master FILE" "a master.cf (default: the one beside main.cf)" arguments/text]
                   "Sendmail"
                   ["--cf FILE" "a sendmail.cf; - is standard input" arguments/text]])
   :exit "0 if nothing was found, 1 if something was, 2 if a file cannot be read or the filter cannot be loaded."})

;; ---- what is there

(defn- text-of
  "Returns the text of a file, or of standard input for -."
  [path]
  (if (= "-" path)
    (slurp *in*)
    (do
      (arguments/check-readable path)
      (when (.isDirectory (io/file path))
        (fail path ": it is a directory"))
      (slurp path))))

(defn- beside
  "Returns the path of a file in the directory of another, if it is there and readable."
  [path title]
  (when-not (= "-" path)
    (let [file (io/file (.getParentFile (.getAbsoluteFile (io/file path))) title)]
      (when (.canRead file)
        (str file)))))

(defn- own-main
  "Returns the path of this machine's main.cf."
  []
  (if-let [^File directory (machine/postfix-directory)]
    (str (io/file directory "main.cf"))
    (fail "there is no Postfix on this machine; name a configuration: --main FILE, such as the output of postconf -n")))

(defn- parsed-main
  [path]
  (let [main (postfix-cf/parse-main (text-of path))]
    (when (empty? main)
      (fail path ": it sets no parameter: it is neither a main.cf nor the output of postconf -n"))
    (when-let [{:keys [line text]} (first (remove :name main))]
      (fail path ", line " line ": this is no line of a main.cf, NAME = VALUE: " text))
    main))

(defn- postfix-setup
  [{:keys [main master cf] :as parsed}]
  (when cf
    (arguments/misused command "--cf goes with sendmail, not with postfix"))
  (let [path (or main (own-main))
        master-path (or master (beside path "master.cf"))
        parameters (parsed-main path)]
    (merge parsed
           {:main parameters
            :master (some-> master-path text-of postfix-cf/parse-master)}
           (when-not main
             {:look machine/look
              :groups (machine/groups (postfix-cf/value parameters "mail_owner"))}))))

(defn- sendmail-setup
  [{:keys [main master cf] :as parsed}]
  (when (or main master)
    (arguments/misused command (if main "--main" "--master") " goes with postfix, not with sendmail"))
  (let [path (or cf "/etc/mail/sendmail.cf")
        text (text-of path)]
    (when-not (re-find #"(?m)^(V[0-9]|O |D[a-z{]|X)" text)
      (fail path ": it is no sendmail.cf" (when (string/includes? text "dnl") "; it looks like a sendmail.mc, from which m4 makes one")))
    (merge parsed
           {:cf (sendmail-cf/parse text)}
           (when-not cf
             {:look machine/look}))))

;; ---- what is wrong

(defn- not-looked-at
  "Returns lines about what was not looked at."
  [mta {:keys [needs endpoint main master look]}]
  (cond-> []
    (nil? needs) (conj "the filter: no file was named, so that nothing is known of its macros, timeouts and changes")
    (nil? endpoint) (conj "which milter is the filter: without --listen each is taken for it")
    (and (= "postfix" mta) (nil? master)) (conj "chroots and services: there is no master.cf")
    (and (= "postfix" mta) (seq (postfix-cf/value main "smtpd_milter_maps")))
    (conj "smtpd_milter_maps, which replaces smtpd_milters for some clients")
    (nil? look) (conj "files and sockets: the configuration is not the one that this machine has by default")))

(defn- print-finding
  [n {:keys [problem paste]}]
  (arguments/say (str n ". " problem))
  (doseq [[file line] paste]
    (arguments/say (str "   " file ": " line))))

(defn- report
  [mta setup findings]
  (doseq [[n finding] (map vector (rest (range)) findings)]
    (print-finding n finding))
  (when (seq (mapcat :paste findings))
    (arguments/say "A line takes the place of those that set the same."))
  (when (empty? findings)
    (arguments/say "nothing is wrong, as far as was looked"))
  (doseq [line (not-looked-at mta setup)]
    (arguments/say (str "not looked at: " line)))
  (if (seq findings) arguments/refused 0))

(defn- examine
  [{:keys [words] :as parsed}]
  (let [[mta file] (config/mta-and-file command words)
        setup (if (= "postfix" mta) (postfix-setup parsed) (sendmail-setup parsed))
        needs (when file (config/load-needs file parsed))
        setup (assoc setup :needs needs, :endpoint (config/listening parsed needs))]
    (report mta setup (common/findings (if (= "postfix" mta) postfix-checks/checks sendmail-checks/checks) setup))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args examine))
