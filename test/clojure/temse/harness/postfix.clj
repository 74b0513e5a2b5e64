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
   [clojure.string :as str])
  (:import
   (java.io BufferedReader Closeable File)
   (java.net InetAddress InetSocketAddress NetworkInterface Socket StandardSocketOptions)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private stop-timeout-seconds 30)

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

(defn- reserve-port
  "Returns a bound socket whose port is given to nobody else while the socket is open. Postfix can
  bind it all the same, since it allows to share ports. Without this, two Postfixes that happen to
  choose the same port would share its clients."
  ^Socket []
  (doto (Socket.)
    (.setReuseAddress true)
    (.setOption StandardSocketOptions/SO_REUSEPORT true)
    (.bind (InetSocketAddress. 0))))

(defn- listen-addresses []
  (cond-> ["127.0.0.1"]
    (NetworkInterface/getByInetAddress (InetAddress/getByName "::1")) (conj "[::1]")))

(defn- main-text [{:keys [milters main sink]}]
  (let [parameters (merge main-defaults
                          {"relayhost" (str "[127.0.0.1]:" (:port sink))
                           "smtpd_milters" (str/join ", " milters)}
                          main)]
    (str/join (for [[parameter value] (sort parameters)]
                (str parameter " = " value "\n")))))

(defn- master-text [port]
  (str (str/join (for [address (listen-addresses)]
                   (str address ":" port " inet n - n - - smtpd\n")))
       master-services))

(defn- start-guard
  "Starts the script that runs Postfix and cleans up after it, where no signal of our terminal
  reaches it."
  ^Process [^File directory]
  (let [script (slurp (io/resource "temse/harness/postfix.sh"))
        command ["setsid" "sh" "-c" script "postfix.sh" (str directory)]]
    (-> (ProcessBuilder. ^java.util.List command)
        (.redirectErrorStream true)
        (.start))))

(defn- stop-guard
  "Returns the exit code of the guard, which is 0 if Postfix was there to be killed."
  [^Process guard]
  (.close (.getOutputStream guard))
  (when-not (.waitFor guard stop-timeout-seconds TimeUnit/SECONDS)
    (throw (ex-info "Postfix does not stop" {:guard (.pid guard)})))
  (.exitValue guard))

(defn- await-ready [^Process guard]
  (let [^BufferedReader output (io/reader (.getInputStream guard))]
    (loop [lines []]
      (let [line (.readLine output)]
        (cond
          (nil? line) (throw (ex-info (str/join "\n" (cons "Postfix does not start" lines)) {}))
          (not= "ready" line) (recur (conj lines line)))))))

(defrecord Postfix [port stop log queue-directory]
  Closeable
  (close [_]
    (when-not (zero? (stop))
      (throw (ex-info "Postfix ended before it was stopped" {:port port})))))

(defn start
  "Starts a Postfix and returns it as soon as it listens. Options:

    :sink      ; Next hop of every mail, see `temse.harness.sink`
    :milters   ; Values for smtpd_milters, as [\"inet:127.0.0.1:20025\" \"unix:/run/x.sock\"]
    :main      ; Further parameters of main.cf, name to value, stronger than ours

  The result is closeable and a map:

    :port              ; Its port on 127.0.0.1, and on ::1 if the machine has it
    :queue-directory   ; A java.io.File
    :log               ; (log) returns the text of the log so far, for people: a line may come
                       ; after the reply it is about, since Postfix logs in another process
    :stop              ; (stop) kills Postfix and removes all its files; also done if the JVM dies;
                       ; returns 0, or another number if Postfix had ended already

  Throws ex-info with the reason in its message when Postfix does not start."
  ^Closeable [options]
  (let [attributes (make-array FileAttribute 0)
        directory (.toFile (Files/createTempDirectory "temse-postfix-" attributes))
        reservation (reserve-port)
        port (.getLocalPort reservation)]
    (spit (io/file directory "main.cf") (main-text options))
    (spit (io/file directory "master.cf") (master-text port))
    (let [guard (start-guard directory)
          log-file (io/file directory "mail.log")
          stop #(with-open [_ reservation] (stop-guard guard))]
      (try
        (await-ready guard)
        (catch Throwable e
          (stop)
          (throw e)))
      (->Postfix port
                 stop
                 #(if (.exists log-file) (slurp log-file) "")
                 (io/file directory "queue")))))

(defn hold-queue
  "Returns the queue ids of all quarantined mails, sorted."
  [{:keys [queue-directory]}]
  (sort (.list (io/file queue-directory "hold"))))
