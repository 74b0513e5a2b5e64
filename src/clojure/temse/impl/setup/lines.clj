(ns temse.impl.setup.lines
  "The lines with which Postfix and Sendmail use a filter: those that every filter needs, and those with
  which the checks of temse.impl.setup find nothing."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.setup.common :as common]
   [temse.impl.setup.postfix-cf :as postfix-cf]
   [temse.impl.setup.postfix-checks :as postfix-checks]
   [temse.impl.setup.sendmail-cf :as sendmail-cf]
   [temse.impl.setup.sendmail-checks :as sendmail-checks])
  (:import
   (temse.transport Endpoint Endpoint$Unix)))

(set! *warn-on-reflection* true)

(defn- pasted
  "Returns the lines of findings that go into a file."
  [findings file]
  (for [{:keys [paste]} findings
        [to line] paste
        :when (= file to)]
    line))

(defn- other-advice
  "Returns what findings advise that is no line of the MTA's files."
  [findings]
  (for [{:keys [problem paste]} findings
        :let [elsewhere (remove #(re-find #"^(main|master|sendmail)\." (first %)) paste)]
        :when (or (seq elsewhere) (empty? paste))
        line (cons (str "Note: " problem)
                   (map (fn [[file line]] (str "  " file ": " line)) elsewhere))]
    line))

;; ---- Postfix

(defn- socket-advice
  "Returns what else a Unix-domain socket needs behind Postfix."
  [^Endpoint endpoint queue-directory]
  (when (instance? Endpoint$Unix endpoint)
    (let [path (str (.path ^Endpoint$Unix endpoint))
          directory (last (common/directories-above path))]
      (concat
        (if (string/starts-with? path (str queue-directory "/"))
          ["As root, with a user temse for the filter:"
           (str "  install -d -o temse -g postfix -m 0750 " directory)]
          ["On Debian smtpd runs in a chroot (master.cf) and cannot see this socket: there,"
           (str "listen on unix:" queue-directory "/temse/" (.getFileName (.path ^Endpoint$Unix endpoint)))])
        [(str "Options of the filter: --listen " endpoint)
         "  --socket-permissions 0660 --socket-group postfix"]))))

(def ^:private content-events
  #{:header :end-of-headers :body :end-of-message})

(defn postfix
  "Returns {:lines [\"smtpd_milters = …\" …] :advice [\"As root, …\" …]} for main.cf, with which a Postfix uses
  a filter that listens on an endpoint. What the filter needs is as in temse.impl.setup.needs, or nil."
  [needs ^Endpoint endpoint]
  (let [queue-directory (postfix-cf/defaults "queue_directory")
        base (concat [(str "smtpd_milters = " (postfix-checks/address-for endpoint queue-directory))]
                     (when (some content-events (:events needs))
                       ["non_smtpd_milters = $smtpd_milters"])
                     ["milter_default_action = tempfail"])
        findings (common/findings postfix-checks/checks
                                  {:main (postfix-cf/parse-main (string/join "\n" base))
                                   :needs needs
                                   :endpoint endpoint})]
    {:lines (vec (concat base (pasted findings "main.cf")))
     :advice (vec (concat (socket-advice endpoint queue-directory) (other-advice findings)))}))

;; ---- Sendmail

(def ^:private usual-timeouts
  (assoc sendmail-cf/default-timeouts "S" 30000 "R" 30000))

(defn sendmail
  "Returns {:lines … :advice …} for a file, \"sendmail.mc\" or \"sendmail.cf\", with which a Sendmail uses a
  filter that listens on an endpoint."
  [file needs title endpoint]
  (let [title (sendmail-checks/filter-name title)
        milter {:name title
                :socket (sendmail-checks/address-for endpoint)
                :flags "T"
                :timeouts (sendmail-checks/timeouts-for needs usual-timeouts)}
        base (concat (when (= "sendmail.cf" file)
                       [(str "O InputMailFilters=" title)])
                     (keep (fn [[to line]] (when (= file to) line)) (sendmail-checks/filter-lines milter)))
        own-lists (for [[stage names] sendmail-checks/own-macros
                        [to line] (sendmail-checks/macro-lines stage (map common/braced names))
                        :when (= "sendmail.cf" to)]
                    line)
        in-cf (concat own-lists [(str "O InputMailFilters=" title)] (map second (rest (sendmail-checks/filter-lines milter))))
        findings (common/findings sendmail-checks/checks
                                  {:cf (sendmail-cf/parse (string/join "\n" in-cf))
                                   :needs needs
                                   :endpoint endpoint})]
    {:lines (vec (concat base (pasted findings file)))
     :advice (vec (other-advice findings))}))
