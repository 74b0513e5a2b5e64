(ns temse.harness.postfix
  "A real Postfix for tests, isolated from all others on the machine: own configuration, queue and
  port, no DNS, no local delivery. It relays every mail to a sink.

    (with-open [sink (sink/start)
                postfix (postfix/start {:sink sink, :milters [\"inet:127.0.0.1:20025\"]})]
      (smtp/send-mail {:port (:port postfix)})
      (sink/await-message sink some?))

  It needs root and the programs of Postfix, see `unavailable`."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [temse.harness.mta :as mta])
  (:import
   (java.io Closeable)))

(set! *warn-on-reflection* true)

(def ^:private main-defaults
  {"compatibility_level" "3.6"
   "queue_directory" "$config_directory/queue"
   "data_directory" "$config_directory/data"
   "maillog_file" "$config_directory/mail.log"
   "maillog_file_prefixes" "$config_directory"
   ;; names and addresses
   "myhostname" "mx.example.org"
   "mynetworks" "127.0.0.0/8 [::1]/128"
   "inet_interfaces" "loopback-only"
   "smtp_dns_support_level" "disabled"
   "smtp_host_lookup" "native"
   "smtpd_peername_lookup" "no"
   "smtputf8_enable" "yes"
   ;; nothing is delivered here, rewritten or reported
   "mydestination" ""
   "alias_maps" ""
   "alias_database" ""
   "notify_classes" ""
   "append_dot_mydomain" "no"
   "local_header_rewrite_clients" ""
   "smtpd_relay_restrictions" "permit_mynetworks, reject"
   ;; no limit and no delay that a test could meet
   "in_flow_delay" "0"
   "default_process_limit" "100"
   "smtpd_client_connection_count_limit" "0"
   "smtpd_client_connection_rate_limit" "0"
   "smtpd_client_message_rate_limit" "0"
   "smtpd_client_recipient_rate_limit" "0"
   "smtpd_error_sleep_time" "0"
   "smtpd_soft_error_limit" "1000"
   "smtpd_hard_error_limit" "1000"
   "smtpd_junk_command_limit" "1000"
   "initial_destination_concurrency" "20"
   "smtp_connection_cache_on_demand" "no"})

(def ^:private master-services
  "cleanup  unix        n - n -    0 cleanup
qmgr     unix        n - n 300  1 qmgr
rewrite  unix        - - n -    - trivial-rewrite
bounce   unix        - - n -    0 bounce
defer    unix        - - n -    0 bounce
trace    unix        - - n -    0 bounce
flush    unix        n - n -    0 flush
showq    unix        n - n -    - showq
proxymap unix        - - n -    - proxymap
tlsmgr   unix        - - n 1000? 1 tlsmgr
anvil    unix        - - n -    1 anvil
smtp     unix        - - n -    - smtp
error    unix        - - n -    - error
retry    unix        - - n -    - error
discard  unix        - - n -    - discard
postlog  unix-dgram  n - n -    1 postlogd
")

(defn unavailable
  "Returns the reason why Postfix cannot be started here, or nil when it can."
  []
  (cond
    (not= "root" (System/getProperty "user.name"))
    "Postfix starts for root only"

    (not-any? #(.canExecute (io/file % "postconf"))
              (conj (str/split (System/getenv "PATH") #":") "/usr/sbin"))
    "Postfix is not installed"))

(defn- main-text [{:keys [milters main sink certificate]}]
  (let [parameters (merge main-defaults
                          (when certificate
                            {"smtpd_tls_security_level" "may"
                             "smtpd_tls_chain_files" (str certificate)
                             "smtpd_tls_received_header" "yes"})
                          {"relayhost" (str "[127.0.0.1]:" (:port sink))
                           "smtpd_milters" (str/join ", " milters)}
                          main)]
    (str/join (for [[parameter value] (sort parameters)]
                (str parameter " = " value "\n")))))

(defn- master-text [port chroot?]
  (let [smtpd (str ":" port " inet n - " (if chroot? "y" "n") " - - smtpd\n")]
    (str "127.0.0.1" smtpd
         (when (mta/ipv6?) (str "[::1]" smtpd))
         master-services)))

(defn start
  "Starts a Postfix and returns it as soon as it listens. Options:

    :sink      ; Next hop of every mail, see `temse.harness.sink`
    :milters   ; Values for smtpd_milters, as [\"inet:127.0.0.1:20025\" \"unix:/run/x.sock\"]
    :certificate ; See `temse.harness.mta/certificate`: what STARTTLS is offered with (default: no TLS)
    :chroot?   ; Whether smtpd runs in a chroot, below the queue directory (default: false)
    :main      ; Further parameters of main.cf, name to value, stronger than ours

  The result is that of `temse.harness.mta/start`."
  ^Closeable [options]
  (mta/start {:script "temse/harness/postfix.sh"
              :files (fn [port]
                       {"main.cf" (main-text options)
                        "master.cf" (master-text port (:chroot? options))})}))

(defn hold-queue
  "Returns the queue ids of all quarantined mails, sorted."
  [{:keys [queue-directory]}]
  (sort (.list (io/file queue-directory "hold"))))
