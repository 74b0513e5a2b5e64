(ns temse.mta-configuration-test
  "Behind the real MTAs: the lines that bin/temse config prints work, and what bin/temse doctor says of
  their behaviour is so."
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.command.config :as config]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.options :as options]
   [temse.impl.setup.common :as common]
   [temse.impl.setup.machine :as machine]
   [temse.impl.setup.needs :as needs]
   [temse.impl.setup.postfix-cf :as postfix-cf]
   [temse.impl.setup.postfix-checks :as postfix-checks]
   [temse.impl.setup.sendmail-cf :as sendmail-cf]
   [temse.impl.setup.sendmail-checks :as sendmail-checks]
   [temse.milter :as milter]
   [temse.runner :as runner])
  (:import
   (java.io Closeable File IOException)
   (java.net InetSocketAddress Socket)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def ^:private filter-file
  "A filter that says in each mail what it sees of a macro that neither MTA sends of itself."
  "test/resources/doctor/client_address.clj")

(defn- require-mta
  [mta]
  (when-let [reason (case mta :postfix (postfix/unavailable) :sendmail (sendmail/unavailable))]
    (runner/skip! reason)))

(defn- start-mta
  ^Closeable [mta options]
  (case mta :postfix (postfix/start options) :sendmail (sendmail/start options)))

(defn- code
  "Returns the code of the last reply to a mail."
  [{:keys [message data rcpt mail]}]
  (:code (or message data (first rcpt) mail)))

(defn- replies
  "Returns the replies of an MTA to a mail, or nil if it hung up."
  [running]
  (try
    (smtp/send-mail {:port (:port running)})
    (catch IOException _)))

(defn- reply-code
  "Returns the code of the last reply of an MTA with options to a mail."
  [mta options]
  (with-open [running (start-mta mta options)]
    (code (replies running))))

;; ---- lines of config

(defn- printed
  [& args]
  (with-out-str (is (= 0 (config/run args)))))

(defn- check-lines
  "Checks that mail passes the filter behind an MTA which is configured by the lines that are printed."
  [mta arguments options-of]
  (require-mta mta)
  (milter/with-milter [server (assoc (options/of-filter (filter-file/load-filter filter-file [])) :port 0)]
    (with-open [sink ^Closeable (sink/start)
                running (start-mta mta (-> (apply printed (first arguments) filter-file
                                                  "--listen" (milter/milter-address server) (rest arguments))
                                           options-of
                                           (assoc :sink sink)))]
      (is (= 250 (code (replies running))) ((:log running)))
      (is (= ["X-Client" " 127.0.0.1"]
             (first (filter #(= "X-Client" (first %)) (sink/headers (sink/await-message sink some?)))))))))

(deftest postfix-takes-the-lines-of-config
  (check-lines :postfix ["postfix"]
               (fn [lines]
                 {:main (into {} (map (juxt :name :value)) (postfix-cf/parse-main lines))})))

(deftest sendmail-takes-the-lines-for-sendmail-mc
  (check-lines :sendmail ["sendmail"] (fn [lines] {:mc lines})))

(deftest sendmail-takes-the-lines-for-sendmail-cf
  (check-lines :sendmail ["sendmail" "--cf"] (fn [lines] {:cf lines})))

(deftest postfix-finds-a-socket-where-the-checks-suppose
  (require-mta :postfix)
  (doseq [[chroot? path expected] [[false "temse.sock" "5.7.1 seen"]
                                   [true "temse.sock" "5.7.1 seen"]
                                   [true "/temse.sock" "5.7.1 seen"]
                                   [false "/temse.sock" "4.7.1 Service unavailable - try again later"]]]
    (testing [chroot? path]
      (with-open [sink ^Closeable (sink/start)
                  running (start-mta :postfix {:sink sink, :chroot? chroot?, :milters [(str "unix:" path)]})]
        (milter/with-milter [_ {:socket-path (str (io/file (:queue-directory running) "temse.sock"))
                                :socket-permissions "0666"
                                :handlers {:mail (fn [_ _] [(act/reply-code 550 "5.7.1" "seen")])}}]
          (is (= [expected] (:lines (:mail (replies running))))))))))

;; ---- what a mistake does

(defn- closed-port
  "Returns a port where nobody listens, and a socket that keeps it so."
  []
  (doto (Socket.) (.bind (InetSocketAddress. "127.0.0.1" 0))))

(defn- checks-of
  "Returns what the checks of Postfix find in a main.cf."
  [main]
  (set (map :check (common/findings postfix-checks/checks
                                    {:main (postfix-cf/parse-main (string/join (for [[title value] main] (str title " = " value "\n"))))}))))

(defn- while-it-is-down
  "Returns the code of the reply to a mail while the filter does not run. `main` makes a main.cf of the port."
  [main]
  (with-open [unused ^Socket (closed-port)
              sink ^Closeable (sink/start)]
    (let [main (main (.getLocalPort unused))]
      [(reply-code :postfix {:sink sink, :main main}) (checks-of main)])))

(deftest postfix-does-as-the-findings-say-while-the-filter-does-not-run
  (require-mta :postfix)
  (doseq [[main expected]
          {#(hash-map "smtpd_milters" (str "inet:127.0.0.1:" %)) [451 #{}]
           #(hash-map "smtpd_milters" (str "inet:127.0.0.1:" %), "milter_default_action" "Accept") [250 #{:passes}]
           #(hash-map "smtpd_milters" (str "{ inet:127.0.0.1:" % ", default_action=accept }")) [250 #{:passes-by-override}]
           #(hash-map "smtpd_milters" (str "inet:127.0.0.1:" %), "milter_default_action" "tempfial") [451 #{:unknown-action}]
           #(hash-map "smtpd_milters" (str "inet:127.0.0.1:" %), "milter_default_action" "tempfail # no") [451 #{:trailing-comment}]
           #(hash-map "smtpd_milters" (str "inet:127.0.0.1:" %), "receive_override_options" "no_milters") [250 #{:switched-off}]
           #(hash-map "smtpd_milters" (str "inet:127.0.0.1:" %), "milter_protocol" "5") [451 #{:unknown-protocol}]
           #(hash-map "smtpd_milters" (str "127.0.0.1:" %)) [451 #{:unknown-transport}]
           #(hash-map "smtpd_milters" (str "inet6:[::1]:" %)) [451 #{:unknown-transport}]
           #(hash-map "smtpd_milters" (str "inet:" % "@127.0.0.1")) [nil #{:sendmail-notation}]
           #(hash-map "smtpd_milters" (str "{ inet:127.0.0.1:" % ", default_actoin=accept }")) [nil #{:unknown-option}]}]
    (testing expected
      (is (= expected (while-it-is-down main))))))

(deftest postfix-shows-milters-no-content-that-goes-to-a-proxy
  (require-mta :postfix)
  (let [events (atom [])]
    (milter/with-milter [server {:port 0
                                 :on-exchange #(swap! events conj (:event (:event %)))
                                 :handlers {:mail (fn [_ context] context)
                                            :end-of-message (fn [_ _] [(act/reject)])}}]
      (with-open [sink ^Closeable (sink/start)]
        (is (= 250 (reply-code :postfix {:sink sink
                                         :milters [(str "inet:127.0.0.1:" (milter/milter-port server))]
                                         :main {"smtpd_proxy_filter" (str "inet:127.0.0.1:" (:port sink))}})))
        (is (contains? (set @events) :mail))
        (is (not (contains? (set @events) :end-of-message)))))))

(deftest postfix-has-the-defaults-that-the-checks-suppose
  (require-mta :postfix)
  (let [postconf (first (filter #(.canExecute (io/file %)) ["/usr/sbin/postconf" "/usr/bin/postconf"]))
        {:keys [out]} (apply shell/sh postconf "-d"
                             (remove #{"mail_name"} (keys postfix-cf/defaults)))]
    (is (= (dissoc postfix-cf/defaults "mail_name")
           (into {} (map (juxt :name :value)) (postfix-cf/parse-main out))))))

;; ---- Sendmail

(defn- cf-checks
  [cf]
  (set (map :check (common/findings sendmail-checks/checks {:cf (sendmail-cf/parse cf)}))))

(deftest sendmail-does-as-the-findings-say-while-the-filter-does-not-run
  (require-mta :sendmail)
  (doseq [[x-line used expected]
          [[", S=inet:%d@127.0.0.1, F=T" "temse" [451 #{}]]
           [", S=inet:%d@127.0.0.1" "temse" [250 #{:passes}]]
           [", S=inet:%d@127.0.0.1, F=t" "temse" [250 #{:unknown-flag}]]
           [", S=inet:%d@127.0.0.1, F=T" "" [250 #{:not-an-input-filter}]]]]
    (testing [x-line used]
      (with-open [unused ^Socket (closed-port)
                  sink ^Closeable (sink/start)]
        (let [cf (str "Xtemse" (format x-line (.getLocalPort unused)) "\nO InputMailFilters=" used "\n")]
          (is (= expected [(reply-code :sendmail {:sink sink, :cf cf}) (cf-checks cf)])))))))

(deftest sendmail-does-not-start-as-the-findings-say
  (require-mta :sendmail)
  (doseq [[lines check words]
          [["Xtemse, S=inet:127.0.0.1:20025, F=T" :postfix-notation "expected port@host"]
           ["Xtemse, S=tcp:20025@127.0.0.1, F=T" :unknown-transport "unknown socket type"]
           ["Xtemse, S=inet:20025, F=T" :unknown-transport "expected port@host"]
           ["Xtemse, S=inet6:20025@::1, F=T" :unknown-transport "Unknown host name"]
           ["Xtemse, S=inet:1@127.0.0.1, F=T, G=1" :malformed "unknown filter equate"]
           ["Xtemse, S=inet:1@127.0.0.1, F=T\nXtemse, S=inet:2@127.0.0.1, F=T" :defined-twice "duplicate filter"]]]
    (testing lines
      (with-open [sink ^Closeable (sink/start)]
        (let [cf (str lines "\nO InputMailFilters=temse\n")
              problem (try
                        (with-open [_ (start-mta :sendmail {:sink sink, :cf cf})])
                        (catch clojure.lang.ExceptionInfo e (ex-message e)))]
          (is (string/includes? (str problem) words))
          (is (= #{check} (cf-checks cf))))))))

(deftest sendmail-does-not-trust-a-socket-in-a-directory-where-others-may-write
  (require-mta :sendmail)
  (let [directory (.toFile (Files/createTempDirectory "temse" (make-array FileAttribute 0)))
        socket (io/file directory "filter.sock")
        found #(set (map :check (common/findings sendmail-checks/checks
                                                 {:cf (sendmail-cf/parse %)
                                                  :endpoint (Endpoint/parse (str socket))
                                                  :look machine/look})))]
    (milter/with-milter [_ {:socket-path (str socket), :handlers {:mail (fn [_ _] [(act/reject)])}}]
      (with-open [sink ^Closeable (sink/start)]
        (let [cf (str "Xtemse, S=unix:" socket ", F=T\nO InputMailFilters=temse\n")]
          (doseq [[mode expected findings] [["rwxrwxr-x" "Group writable directory" #{:unsafe-directory}]
                                            ["rwxr-xr-x" 550 #{}]]]
            (Files/setPosixFilePermissions (.toPath directory) (PosixFilePermissions/fromString mode))
            (is (= findings (found cf)))
            (is (let [outcome (try
                                (reply-code :sendmail {:sink sink, :cf cf})
                                (catch clojure.lang.ExceptionInfo e (ex-message e)))]
                  (if (string? expected)
                    (string/includes? (str outcome) expected)
                    (= expected outcome))))))))
    (.delete directory)))

(defn- debian-cf
  "Returns the sendmail.cf that Debian's sendmail.mc makes with some lines in it."
  [lines]
  (let [programs (str (.getAbsoluteFile (io/file "target/sendmail")))
        source (io/file programs "usr/share/sendmail/cf")
        own (.toFile (Files/createTempDirectory "temse-cf-" (make-array FileAttribute 0)))
        files (filter #(.isFile ^File %) (file-seq source))
        target #(io/file own (str (.relativize (.toPath source) (.toPath ^File %))))]
    (doseq [file files]
      (io/make-parents (target file))
      (spit (target file)
            (-> (slurp file :encoding "ISO-8859-1")
                (string/replace "/usr/share/sendmail/cf" (str own))
                (string/replace #"s?include\(`/etc/mail/[^\n]*" "dnl")
                (string/replace "\nMAILER_DEFINITIONS" (str "\n" lines "MAILER_DEFINITIONS")))
            :encoding "ISO-8859-1"))
    (let [{:keys [out exit err]} (shell/sh (str programs "/usr/bin/m4") (str own "/debian/sendmail.mc")
                                           :env {"LD_LIBRARY_PATH" (str programs "/usr/lib/x86_64-linux-gnu:" programs "/usr/lib/aarch64-linux-gnu")})]
      (is (= 0 exit) err)
      (run! #(.delete ^File %) (reverse (file-seq own)))
      out)))

(deftest debians-own-sendmail-cf-with-a-filter-gives-no-finding
  (require-mta :sendmail)
  (let [address "inet:20025@127.0.0.1"
        text (debian-cf (printed "sendmail" filter-file "--listen" address))]
    (is (< 1000 (count (string/split-lines text))))
    (is (= [] (common/findings sendmail-checks/checks
                               {:cf (sendmail-cf/parse text)
                                :needs (needs/of-filter (filter-file/load-filter filter-file []) "client_address" [(io/file filter-file)])
                                :endpoint (Endpoint/parse address)})))))
