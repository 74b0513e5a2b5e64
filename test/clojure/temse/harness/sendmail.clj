(ns temse.harness.sendmail
  "A real Sendmail for tests, isolated from all others on the machine: own configuration, queue and
  port, no local delivery. It relays every mail to a sink and asks DNS for nothing but the names of
  clients that the hosts file of the machine does not tell.

    (with-open [sink (sink/start)
                sendmail (sendmail/start {:sink sink, :milters [\"inet:20025@127.0.0.1\"]})]
      (smtp/send-mail {:port (:port sendmail)})
      (sink/await-message sink some?))

  It needs root and the programs of Sendmail, see `unavailable`. Debian builds it without SMTPUTF8.
  Two limits are built in: from the third HELO or EHLO of a connection on, the reply takes a second,
  then two, then four; and it hangs up on clients that send many unknown commands."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [temse.harness.mta :as mta])
  (:import
   (java.io Closeable File FileNotFoundException)))

(set! *warn-on-reflection* true)

(def ^:private programs (io/file "target/sendmail"))

(defn unavailable
  "Returns the reason why Sendmail cannot be started here, or nil when it can."
  []
  (cond
    (not= "root" (System/getProperty "user.name"))
    "Sendmail starts for root only"

    (not (.isDirectory ^File programs))
    "Sendmail is not unpacked; run test/clojure/temse/harness/sendmail-setup.sh"))

(defn- mc-text
  [{:keys [milters failure timeouts sink certificate mc]
    :or {failure "T", timeouts "C:30s;S:30s;R:30s;E:5m"}}
   port]
  (str "define(`_PORT_', `" port "')dnl\n"
       "define(`_SINK_PORT_', `" (:port sink) "')dnl\n"
       (when (mta/ipv6?) "define(`_IPV6_')dnl\n")
       (when certificate
         (str "define(`_CERTIFICATE_', `" certificate "')dnl\n"))
       (slurp (io/resource "temse/harness/sendmail.mc"))
       mc
       (str/join (for [[index milter] (map-indexed vector milters)]
                   (str "INPUT_MAIL_FILTER(`milter" index "', `S=" milter ", F=" failure
                        (when timeouts (str ", T=" timeouts))
                        "')dnl\n")))))

(defn- options-text [{:keys [options cf]}]
  (str (str/join (for [[option value] (sort options)]
                   (str "O " option "=" value "\n")))
       cf))

(defn start
  "Starts a Sendmail and returns it as soon as it listens. Options:

    :sink      ; Next hop of every mail, see `temse.harness.sink`
    :milters   ; Their sockets, as [\"inet:20025@127.0.0.1\" \"unix:/run/x.sock\"]
    :failure   ; What becomes of mail when a milter fails: \"T\" it is deferred (the default),
               ; \"4\" so too and the connection ends, \"R\" it is refused, \"\" it passes
    :timeouts  ; How long a milter may take, as Sendmail writes it; nil for Sendmail's own limits, of
               ; 10 s to send and to read (default: \"C:30s;S:30s;R:30s;E:5m\")
    :certificate ; See `temse.harness.mta/certificate`: what STARTTLS is offered with (default: no TLS)
    :options   ; Further options of sendmail.cf, name to value, stronger than ours
    :mc        ; Further lines for sendmail.mc, a text
    :cf        ; Further lines for sendmail.cf, a text
    :hosts     ; The hosts file that it sees (default: that of the machine)

  A mail is at the sink when its client sees that it is accepted, since Sendmail is told to deliver
  first. The result is that of `temse.harness.mta/start`."
  ^Closeable [options]
  (mta/start {:script "temse/harness/sendmail.sh"
              :arguments [(.getAbsolutePath ^File programs)]
              :files (fn [port]
                       (cond-> {"sendmail.mc" (mc-text options port)
                                "options.cf" (options-text options)}
                         (:hosts options) (assoc "own-hosts" (:hosts options))))}))

(defn- text-of
  "Returns the text of a file, or nil if it is gone by now."
  [file]
  (try
    (slurp file :encoding "ISO-8859-1")
    (catch FileNotFoundException _)))

(defn quarantined
  "Returns the quarantined mails, a map of queue id to the reason that was given."
  [{:keys [queue-directory]}]
  (into (sorted-map)
        (for [^File file (.listFiles ^File queue-directory)
              :let [[_ id] (re-matches #"hf(.+)" (.getName file))]
              :let [text (when id (text-of file))]
              :when text]
          [id (second (re-find #"(?m)^q(.*)$" text))])))
