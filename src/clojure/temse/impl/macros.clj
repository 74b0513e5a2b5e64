(ns temse.impl.macros
  "The macros that MTAs know, and warnings of those that will never come.

  The names are those in the programs of Postfix 3.7 and Sendmail 8.17; doc/macros.org says when they come."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.impl.keys :as keys])
  (:import
   (temse.protocol EventCodec MacroStage MacroTable)))

(set! *warn-on-reflection* true)

(def names
  "The names of more than one letter, without braces, by MTA. Of one letter Postfix has i j v and _;
  Sendmail may have any."
  {:postfix
   #{"auth_authen" "auth_author" "auth_type" "cert_issuer" "cert_subject" "cipher" "cipher_bits" "client_addr"
     "client_connections" "client_name" "client_port" "client_ptr" "client_resolve" "daemon_addr" "daemon_name"
     "daemon_port" "mail_addr" "mail_host" "mail_mailer" "rcpt_addr" "rcpt_host" "rcpt_mailer" "tls_version"}

   :sendmail
   #{"addr_type" "alg_bits" "auth_authen" "auth_author" "auth_ssf" "auth_type" "bodytype" "cert_altnames" "cert_fp"
     "cert_issuer" "cert_md5" "cert_subject" "cipher" "cipher_bits" "client_addr" "client_connections" "client_flags"
     "client_name" "client_port" "client_ptr" "client_rate" "client_resolve" "cn_issuer" "cn_subject" "currHeader"
     "daemon_addr" "daemon_family" "daemon_flags" "daemon_info" "daemon_name" "daemon_port" "deliveryMode"
     "dsn_envid" "dsn_notify" "dsn_ret" "envid" "hdr_name" "hdrlen" "if_addr" "if_addr_out" "if_family"
     "if_family_out" "if_name" "if_name_out" "load_avg" "mail_addr" "mail_from" "mail_host" "mail_mailer" "msg_id"
     "msg_size" "nbadrcpts" "nrcpts" "ntries" "opMode" "quarantine" "queue_interval" "rcpt_addr" "rcpt_host"
     "rcpt_mailer" "server_addr" "server_name" "sts_sni" "time" "tls_version" "total_rate" "verify"}})

(def ^:private known
  (into (:postfix names) (:sendmail names)))

(defn known?
  "Returns true for the name of a macro that one of the MTAs knows, bare or in braces. Of one letter
  Sendmail may have any."
  [given]
  (let [bare (EventCodec/bareName given)]
    (or (= 1 (count bare)) (contains? known bare))))

(defn nearest
  "Returns the bare name of a macro that was probably meant, or nil."
  [given]
  (keys/closest (EventCodec/bareName given) known))

(def usual
  "What MTAs send of themselves at each stage: the lists that Postfix and Sendmail are configured with."
  (into {}
        (map (fn [^MacroStage stage] [(.-keyword stage) (vec (.-usual stage))]))
        (MacroStage/values)))

(def ^:private steady
  "Those that each MTA that knows them sends of every client."
  #{"_" "j" "v" "client_addr" "client_connections" "client_name" "client_port" "client_ptr" "client_resolve"
    "daemon_addr" "daemon_name" "daemon_port" "mail_addr" "mail_mailer" "rcpt_addr"})

(defn bare-name
  "Returns the name of a macro without braces."
  [given]
  (EventCodec/bareName given))

;; ---- warnings

(defn- warn
  [& text]
  (log/log "temse" :warn nil (apply str text)))

(def ^:private most-warnings
  "Names may be made of what strangers send."
  100)

(defonce ^:private reported (atom #{}))

(defn- first-time?
  [given]
  (let [[before after] (swap-vals! reported #(cond-> % (< (count %) (long most-warnings)) (conj given)))]
    (not= (count before) (count after))))

(defn warn-of-unknown
  "Warns once of a name that no MTA knows, and names the nearest one that is known. `where` says who
  asks for it."
  [where given]
  (let [bare (bare-name given)]
    (when (and (not (known? bare)) (first-time? bare))
      (let [meant (nearest bare)]
        (warn where " names the macro " (keys/shown given) ", which neither Postfix nor Sendmail knows"
              (keys/did-you-mean (when meant (keys/shown (str "{" meant "}")))))))))

(defn warn-of-unknown-requests
  "Warns once of each name in :request-macros that no MTA knows."
  [request-macros]
  (doseq [given (into #{} cat (vals request-macros))]
    (warn-of-unknown ":request-macros" given)))

(defn- expected?
  "Returns true for a macro that comes with every mail, if it ever comes: also for one that nobody knows."
  [given]
  (let [bare (bare-name given)]
    (or (steady bare) (not (known? bare)))))

(def ^:private order
  (zipmap [:connect :hello :mail :recipient :data :end-of-headers :end-of-message] (range)))

(defn awaited
  "Returns what is to be looked for in macros that were asked for, a map of stage to names."
  [lists]
  (into {}
        (keep (fn [[stage asked-for]]
                (when-let [expected (seq (filter expected? asked-for))]
                  [stage (set expected)])))
        lists))

(defn still-awaited
  "Returns what of it is still to come after the macros of an event have come."
  [awaited event]
  (if-let [now (order event)]
    (into {} (filter #(< (long now) (long (order (key %))))) awaited)
    awaited))

(defn warn-of-missing
  "Warns of macros that have not come with their stages."
  [title awaited ^MacroTable table]
  (doseq [[stage expected] awaited
          missing (sort (remove #(.get table %) expected))]
    (warn title " has asked for the macro " (keys/shown missing) " at " stage
          ", and the MTA has not sent it; doc/macros.org says which MTA sends what")))

(defn warn-of-fixed-lists
  "Warns that the MTA takes no lists of macros."
  [title lists]
  (warn title " asks for macros, and the MTA takes no list of them (SMFIF_SETSYMLIST): it sends those that it is"
        " configured to send, milter_*_macros of Postfix, confMILTER_MACROS_* of Sendmail. Asked for are "
        (string/join ", " (for [[stage asked-for] (sort-by (comp order key) lists)]
                            (str stage " " (string/join " " asked-for))))))
