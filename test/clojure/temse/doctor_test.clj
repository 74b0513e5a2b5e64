(ns temse.doctor-test
  "What bin/temse doctor finds: seeded mistakes, each with the lines to paste, and nothing where all is
  right."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.impl.command.config :as config]
   [temse.impl.command.doctor :as doctor]
   [temse.impl.setup.common :as common]
   [temse.impl.setup.machine :as machine]
   [temse.impl.setup.needs :as needs]
   [temse.impl.setup.postfix-cf :as postfix-cf]
   [temse.impl.setup.postfix-checks :as postfix-checks]
   [temse.impl.setup.sendmail-cf :as sendmail-cf]
   [temse.impl.setup.sendmail-checks :as sendmail-checks]
   [temse.impl.setup.x-line :as x-line]
   [temse.support :as support])
  (:import
   (java.io File StringReader)
   (java.net StandardProtocolFamily UnixDomainSocketAddress)
   (java.nio.channels ServerSocketChannel)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(defn- resource
  [title]
  (slurp (io/resource (str "doctor/" title))))

(def ^:private mistakes
  (edn/read-string (resource "mistakes.edn")))

(def ^:private checks
  {:postfix postfix-checks/checks, :sendmail sendmail-checks/checks})

;; ---- files, into which lines are pasted

(defn- sets-the-same?
  "Returns true for lines of a file that set the same parameter, option, service or filter."
  [file]
  (let [pattern (case file
                  "main.cf" #"^([A-Za-z0-9_]+)\s*="
                  "master.cf" #"^(\S+\s+\S+)\s"
                  "sendmail.cf" #"^(O [^=]+=|X[^,]+,)")
        subject #(some-> (re-find pattern %) second (string/replace #"\s+" " "))]
    (fn [line other]
      (= (subject line) (subject other)))))

(defn- paste
  "Returns the text of a file in which a line takes the place of those that set the same."
  [file text line]
  (let [same? (sets-the-same? file)]
    (str (string/join "\n" (remove #(same? line %) (string/split-lines text))) "\n" line "\n")))

(defn- run-in
  "Returns files as a shell command leaves them."
  [files line]
  (let [[command & words] (string/split line #" ")]
    (case command
      "chgrp" (assoc-in files [(second words) :group] (first words))
      "chmod" (update-in files [(second words) :mode]
                         (fn [mode]
                           (case (first words)
                             "g+x" (bit-or (long mode) 010)
                             "go-w" (bit-and-not (long mode) 022)
                             "0660" 0660)))
      "mv" (dissoc files (first words))
      "install" (let [{owner "-o", group "-g", mode "-m"} (apply hash-map (butlast (rest words)))]
                  (assoc files (last words) {:kind :directory
                                             :owner owner
                                             :group (or group "root")
                                             :mode (Long/parseLong mode 8)})))))

(def ^:private right
  "What is right, in which a mistake is made."
  {:events [:mail :header :end-of-message]
   :options {:actions #{:add-header}}
   :listen "inet:20025@127.0.0.1"
   :texts {"main.cf" (resource "main.cf"), "master.cf" (resource "master.cf"), "sendmail.cf" (resource "sendmail.cf")}})

(defn- made
  "Returns what is right with a mistake made in it."
  [{:keys [main master cf added mta] :as mistake}]
  (let [append #(str %1 (string/join "\n" %2) "\n")
        put (fn [state file lines]
              (reduce #(update-in %1 [:texts file] (partial paste file) %2) state lines))]
    (-> (merge right mistake)
        (put "main.cf" main)
        (put "master.cf" master)
        (put "sendmail.cf" cf)
        (update-in [:texts (if (= :postfix mta) "main.cf" "sendmail.cf")] append added))))

(defn- pasted
  "Returns a state in which the lines of a finding have been pasted."
  [state {:keys [paste replaces]}]
  (reduce
    (fn [state [file line]]
      (case file
        ("main.cf" "master.cf" "sendmail.cf") (update-in state [:texts file] (partial temse.doctor-test/paste file) line)
        "sendmail.mc" state
        "shell" (update state :files run-in line)
        "command line" (if-let [[_ address] (re-find #"--listen (\S+)" line)]
                         (assoc state :listen address)
                         state)
        "filter" (if (string/starts-with? line ":")
                   (update state :options merge (edn/read-string (str "{" line "}")))
                   (assoc state :source line))))
    (cond-> state
      replaces (update-in [:texts "main.cf"] #(string/join "\n" (remove (fn [line] (string/starts-with? line (str replaces " "))) (string/split-lines %)))))
    paste))

(defn- setup
  [{:keys [events options listen source files texts]}]
  (let [handlers (zipmap events (repeat (fn [_ context] context)))]
    (cond-> {:needs (needs/of-filter (assoc options :handlers handlers) "filter" (when source [(StringReader. source)]))
             :endpoint (Endpoint/parse listen)
             :main (postfix-cf/parse-main (texts "main.cf"))
             :master (postfix-cf/parse-master (texts "master.cf"))
             :cf (sendmail-cf/parse (texts "sendmail.cf"))}
      files (assoc :look files, :groups #{"postfix"}))))

(defn- found
  [{:keys [mta] :as state}]
  (common/findings (checks mta) (setup state)))

(deftest nothing-is-found-where-all-is-right
  (doseq [mta [:postfix :sendmail]]
    (testing mta
      (is (= [] (found (assoc right :mta mta)))))))

(deftest what-is-right-in-another-way-is-no-finding
  (doseq [right-too [{:mta :postfix, :main ["milter_default_action = accept" "smtpd_milters = { inet:127.0.0.1:20025, default_action=tempfail }"
                                            "non_smtpd_milters = $smtpd_milters"]}
                     {:mta :postfix, :main ["milter_content_timeout = 10s" "smtpd_milters = { inet:127.0.0.1:20025, content_timeout=5m }"]}
                     {:mta :postfix, :main ["own_milters = inet:localhost:20025, unix:opendkim/opendkim.sock" "smtpd_milters = $own_milters"]}
                     {:mta :postfix, :main ["submission_milters = inet:127.0.0.1:20025"]
                      :master ["submission inet n - y - - smtpd -o smtpd_milters=$submission_milters"]}
                     {:mta :postfix, :main ["content_filter = amavis:[127.0.0.1]:10024"]
                      :master ["127.0.0.1:10025 inet n - y - - smtpd -o smtpd_milters= -o receive_override_options=no_milters"]}
                     {:mta :postfix, :main ["smtpd_milters = unix:temse/filter.sock"], :listen "unix:/var/spool/postfix/temse/filter.sock"
                      :files {"/var/spool/postfix/temse" {:kind :directory, :owner "temse", :group "postfix", :mode 0750}
                              "/var/spool/postfix/temse/filter.sock" {:kind :socket, :owner "temse", :group "postfix", :mode 0660}}}
                     {:mta :postfix, :main ["smtpd_milters = inet:127.0.0.1:8891, inet:127.0.0.1:20025"], :options {:actions #{:add-header}}}
                     {:mta :postfix, :main ["non_smtpd_milters ="], :events [:connect :mail]}
                     {:mta :sendmail, :cf ["O InputMailFilters=clamav;temse" "Xclamav, S=unix:/run/clamav/milter.sock, F=, T=R:1s"
                                           "Xunused, S=inet:99@h"]}
                     {:mta :sendmail, :cf ["Xtemse, S=local:/run/temse/filter.sock, F=4, T=R:1m"], :listen "unix:/run/temse/filter.sock"
                      :files {"/" {:kind :directory, :owner "root", :group "root", :mode 0755}
                              "/run" {:kind :directory, :owner "root", :group "root", :mode 01777}
                              "/run/temse" {:kind :directory, :owner "temse", :group "temse", :mode 0755}}}]]
    (testing (pr-str right-too)
      (is (= [] (found (made right-too)))))))

(deftest each-mistake-is-found-with-the-line-to-paste
  (doseq [{:keys [check paste] :as mistake} mistakes
          :let [findings (found (made mistake))]]
    (testing (pr-str (dissoc mistake :paste))
      (is (= #{check} (set (map :check findings))))
      (is (= paste (:paste (first (filter #(= check (:check %)) findings))))))))

(deftest what-is-pasted-ends-the-finding
  (doseq [mistake mistakes
          :let [state (made mistake)]]
    (testing (pr-str (dissoc mistake :paste))
      (is (= [] (found (reduce pasted state (found state))))))))

(deftest each-check-has-a-mistake-that-it-finds
  (doseq [mta [:postfix :sendmail]]
    (is (= (set (map first (checks mta)))
           (set (map :check (filter #(= mta (:mta %)) mistakes)))))))

(deftest all-mistakes-of-a-line-are-mended-at-once
  (doseq [mistake [{:mta :postfix
                    :main ["smtpd_milters = inet:8891@localhost, { inet:20025@127.0.0.1, default_actoin=accept, command_timeout=5s }, inet:127.0.0.1:20025"
                           "milter_default_action = accept"]
                    :options {:actions #{:change-body}}}
                   {:mta :sendmail
                    :cf ["Xtemse, S=inet:127.0.0.1:20025, F=x, T=E:10s"
                         "Xopendkim, S=inet:8891@localhost"
                         "O InputMailFilters=opendkim, temse, temse, opendmakr"]
                    :options {:actions #{:change-body}}}]
          :let [state (made mistake)
                findings (found state)]]
    (is (< 4 (count findings)))
    (is (= [] (remove #{:passes} (map :check (found (reduce pasted state findings))))))))

;; ---- reading

(deftest the-x-line-is-read-as-sendmail-reads-it
  (are [text expected] (= expected (select-keys (first (:filters (sendmail-cf/parse text))) (keys expected)))
    "Xtemse, S=local:/run/x.sock, F=T, T=C:1h30m;S:1s;R:45;E:1d"
    {:name "temse", :socket "local:/run/x.sock", :flags "T", :problems []
     :timeouts {"C" 5400000, "S" 1000, "R" 45000, "E" 86400000}}

    "# Xno, S=1\n\nXtemse,\n\tS=inet:1@h,\n# between\n  F= T,\n\t\n T=R:30s; E:5m"
    {:name "temse", :socket "inet:1@h", :flags "T", :line 3, :timeouts {"C" 0, "S" 10000, "R" 30000, "E" 300000}}

    "Xtemse S=inet:1@h"
    {:name "temse", :socket "inet:1@h", :flags ""}

    "Xtemse, S=inet:1@h, T=R:1x;Q:1s;nonsense, Z=1, what"
    {:problems ["in T=, \"1x\" is no time, such as 30s or 5m"
                "in T=, the letters are C, S, R and E, not Q"
                "in T=, \"nonsense\" is not LETTER:TIME, such as R:30s"
                "there is no equate Z=, only S=, F= and T="
                "\"what\" is no equate: write S=ADDRESS, F=FLAG or T=TIMEOUTS"]}

    "X"
    {:problems ["the name of the filter is missing"]}

    "X,"
    {:problems ["the name of the filter is missing"]}))

(deftest parameters-are-read-as-postfix-reads-them
  (let [main (postfix-cf/parse-main "a = 1\n# b = 2\nsmtpd_milters =\n  inet:localhost:1,\n# c\n\n  $own\nown = { inet:[::1]:2, default_action=accept }\nnon_smtpd_milters = ${smtpd_milters} $$\n")]
    (is (= [1 3 8 9] (map :line main)))
    (is (= ["inet:localhost:1" "inet:[::1]:2"] (map :address (postfix-cf/milters (postfix-cf/value main "smtpd_milters")))))
    (is (= {"default_action" "accept"} (:options (second (postfix-cf/milters (postfix-cf/value main "smtpd_milters"))))))
    (is (string/ends-with? (postfix-cf/value main "non_smtpd_milters") "accept } $"))
    (is (= "/var/spool/postfix" (postfix-cf/value main "queue_directory")))))

(deftest parameters-that-name-each-other-end
  (let [main (postfix-cf/parse-main "a = $b $b $b x\nb = $a $a $a y\n")
        each-twice (postfix-cf/parse-main (string/join "\n" (cons "p0 = inet:1@h," (for [n (range 1 40)] (str "p" n " = $p" (dec n) " $p" (dec n))))))]
    (is (= "$a $a $a y $a $a $a y $a $a $a y x" (postfix-cf/value main "a")))
    (is (= (string/join " " (repeat 4 "inet:1@h,")) (postfix-cf/value each-twice "p2")))
    (is (< (count (postfix-cf/value each-twice "p39")) 10000) "what would be too long stays a name")))

(deftest services-are-read-as-postfix-reads-them
  (is (= [{:name "smtp", :type "inet", :chroot? true, :overrides {"a" "b", "smtpd_milters" "inet:h:1, inet:h:2"}, :line 2}]
         (map #(select-keys % [:name :type :chroot? :overrides :line])
              (postfix-cf/parse-master "# c\nsmtp inet n - y - - smtpd\n  -o a=b\n# d\n  -o { smtpd_milters = inet:h:1, inet:h:2 }\n")))))

(deftest literal-names-of-macros-are-found-in-sources
  (are [source expected] (= expected (vec (needs/macros-read [(StringReader. source)])))
    "(milter/get-macro context \"client_addr\" \"none\")" ["client_addr"]
    "(some-> context (get-macro \"{auth_authen}\") count)" ["auth_authen"]
    "(get-in message [:macros :mail \"i\"])" ["i"]
    "(def names [\"{cipher}\" \"{no_such}\" \"plain\"])" ["cipher"]
    "(comment (get-macro context \"j\"))" []
    "(defn f \"Reads {cipher}.\" [x] #_(get-macro x \"j\") (get-macro x y))" []
    "::no-such/key (get-macro context \"j\")" []
    "#js {} #=(System/exit 3)" []))

(deftest what-a-filter-asks-for-needs-no-configuration
  (is (= [] (found (assoc right :mta :postfix, :options {:wants #{:authenticated-user}} :source "\"{auth_authen}\""))))
  (is (= [] (found (assoc right :mta :postfix, :options {:request-macros {:connect ["{client_addr}"]}} :source "\"{client_addr}\""))))
  (testing "a macro that only the other MTA knows"
    (is (= [] (found (assoc right :mta :postfix, :source "\"{if_addr}\""))))))

;; ---- files of this machine

(deftest sockets-are-looked-at-as-postfix-meets-them
  (let [directory (.toFile (Files/createTempDirectory "temse" (make-array FileAttribute 0)))
        socket (io/file directory "filter.sock")
        permit #(Files/setPosixFilePermissions (.toPath ^File %1) (PosixFilePermissions/fromString %2))
        found-with (fn [user]
                     (set (map :check (common/findings postfix-checks/checks
                                                       {:main (postfix-cf/parse-main (str "smtpd_milters = unix:" socket "\nmail_owner = " user))
                                                        :master (postfix-cf/parse-master "smtp inet n - n - - smtpd")
                                                        :endpoint (Endpoint/parse (str socket))
                                                        :look machine/look
                                                        :groups (machine/groups user)}))))]
    (with-open [channel (ServerSocketChannel/open StandardProtocolFamily/UNIX)]
      (.bind channel (UnixDomainSocketAddress/of (.toPath socket)))
      (permit directory "rwxr-xr-x")
      (permit socket "rw-rw-rw-")
      (is (= #{} (found-with "nobody")))
      (permit socket "rw-rw----")
      (is (= #{:closed-socket} (found-with "nobody")))
      (is (= #{} (found-with (System/getProperty "user.name"))))
      (permit socket "rw-rw-rw-")
      (permit directory "rwx------")
      (is (= #{:closed-directory} (found-with "nobody"))))
    (.delete socket)
    (spit socket "")
    (is (contains? (found-with "nobody") :no-socket))
    (run! #(.delete ^File %) [socket directory])))

;; ---- the commands

(def ^:private filter-file
  "test/resources/doctor/client_address.clj")

(defn- outcome
  "Returns the exit code of a command and what it prints, or [2 MESSAGE]."
  [run & args]
  (let [code (atom nil)
        printed (try
                  (with-out-str (reset! code (run args)))
                  (catch clojure.lang.ExceptionInfo e
                    (reset! code (:temse.cli/exit (ex-data e)))
                    (ex-message e)))]
    [@code printed]))

(defn- with-text
  "Calls f with the path of a file of this text."
  [text f]
  (let [file (File/createTempFile "temse" ".cf")]
    (try
      (spit file text)
      (f (str file))
      (finally
        (io/delete-file file)))))

(deftest the-doctor-reports-what-is-wrong-with-its-line-and-exit-code
  (with-text (resource "main.cf")
    (fn [main]
      (is (= [1 (str "1. the filter reads {client_addr}, which the MTA does not send: it is always nil\n"
                     "   main.cf: milter_connect_macros = j {daemon_name} {daemon_addr} v _ {client_addr}\n"
                     "A line takes the place of those that set the same.\n"
                     "not looked at: chroots and services: there is no master.cf\n"
                     "not looked at: files and sockets: the configuration is not the one that this machine has by default\n")]
             (outcome doctor/run "postfix" filter-file "--listen" "inet:20025@127.0.0.1" "--main" main)))
      (is (= 0 (first (outcome doctor/run "postfix" "--main" main))))))
  (is (= 0 (first (with-in-str (resource "main.cf") (outcome doctor/run "postfix" "--main" "-")))))
  (is (= 0 (first (with-in-str (resource "sendmail.cf") (outcome doctor/run "sendmail" "--cf" "-")))))
  (testing "what strangers write in a file cannot steer a terminal"
    (is (string/includes? (second (with-in-str "smtpd_milters = \u001b[2Jx:1\n" (outcome doctor/run "postfix" "--main" "-")))
                          "\\u001b[2Jx:1 is no address"))))

(deftest what-cannot-be-read-is-told-with-exit-code-two
  (are [args text] (let [[code message] (apply outcome doctor/run args)]
                     (and (= 2 code) (string/includes? message text)))
    [] "say which MTA: postfix or sendmail"
    ["exim"] "say which MTA: postfix or sendmail, not exim"
    ["postfix" "--main" "/no/such"] "/no/such: there is no such file"
    ["postfix" "--main" "/tmp"] "/tmp: it is a directory"
    ["postfix" "--cf" "x"] "--cf goes with sendmail"
    ["sendmail" "--main" "x"] "--main goes with postfix"
    ["sendmail" "--cf" filter-file] "it is no sendmail.cf"
    ["postfix" "a.clj" "b.clj" "--main" "-"] "one file at a time: a.clj or b.clj"
    ["postfix" "--main" filter-file] "line 1: this is no line of a main.cf, NAME = VALUE"
    ["postfix" "--mian" "x"] "there is no option --mian; did you mean --main?")
  (with-text "dnl a sendmail.mc\n" #(is (string/includes? (second (outcome doctor/run "sendmail" "--cf" %)) "from which m4 makes one"))))

(deftest config-prints-lines-with-which-the-doctor-finds-nothing
  (doseq [address ["inet:20025@127.0.0.1" "inet6:20025@[::1]" "unix:/var/spool/postfix/temse/filter.sock"]
          :let [[code lines] (outcome config/run "postfix" filter-file "--listen" address)]]
    (is (= 0 code))
    (is (= [0 ""] (update (with-in-str lines (outcome doctor/run "postfix" filter-file "--listen" address "--main" "-"))
                          1 #(string/replace % #"(?m)^(nothing is wrong|not looked at).*\n" "")))))
  (is (= [0 (str "# /etc/postfix/main.cf: if smtpd_milters names other milters already, add this one to them\n"
                 "smtpd_milters = unix:temse/filter.sock\n"
                 "non_smtpd_milters = $smtpd_milters\n"
                 "milter_default_action = tempfail\n"
                 "milter_connect_macros = j {daemon_name} {daemon_addr} v _ {client_addr}\n"
                 "# As root, with a user temse for the filter:\n"
                 "#   install -d -o temse -g postfix -m 0750 /var/spool/postfix/temse\n"
                 "# Options of the filter: --listen unix:/var/spool/postfix/temse/filter.sock\n"
                 "#   --socket-permissions 0660 --socket-group postfix\n")]
         (outcome config/run "postfix" filter-file "--listen" "unix:/var/spool/postfix/temse/filter.sock")))
  (are [args text] (string/includes? (second (apply outcome config/run args)) text)
    ["postfix"] "name the file of the filter"
    ["postfix" filter-file] "say where the filter listens"
    ["postfix" filter-file "--cf" "--listen" "1"] "--cf goes with sendmail"
    ["psotfix" filter-file] "say which MTA: postfix or sendmail, not psotfix"))

(deftest an-x-line-says-where-to-listen
  (with-text "O InputMailFilters=temse\n\nXtemse, S=local:/run/temse.sock,\n\tT=R:1s\nXodd, S=inet:1@h, T=R:1x\nXnone, F=T\nXbare, S=inet:20025\nXsix, S=inet6:20025@localhost\n"
    (fn [cf]
      (is (= "unix:/run/temse.sock" (x-line/address cf "temse")))
      (is (= "inet6:20025@localhost" (x-line/address cf "six")))
      (are [title text] (= (str cf text) (:message (support/thrown (x-line/address cf title))))
        "tesme" ": there is no filter tesme; did you mean temse?"
        "xyzzy" ": there is no filter xyzzy; its X lines are temse, odd, none, bare, six"
        "odd" ", line 5: in T=, \"1x\" is no time, such as 30s or 5m: Xodd, S=inet:1@h, T=R:1x"
        "none" ", line 6: S= is missing: the filter has no socket: Xnone, F=T"
        "bare" ", line 7: S=inet:20025 is no address for Sendmail, which wants inet:PORT@HOST, inet6:PORT@NAME or unix:PATH: Xbare, S=inet:20025")
      (is (= "/no/such: there is no such file" (:message (support/thrown (x-line/address "/no/such" "temse")))))
      (support/with-logs records
        (x-line/warn-of-mistakes cf "temse" {:handlers {:mail (fn [_ context] context)}})
        (is (= [true true] (map #(string/includes? % "Xtemse, S=local:/run/temse.sock, F=T, T=R:30s")
                                (support/messages records :warn))))
        (is (= ["has no F=" "Sendmail waits 1s"] (map #(re-find #"has no F=|Sendmail waits 1s" %)
                                                      (support/messages records :warn))))))))

;; ---- the page

(deftest the-page-names-every-check
  (doseq [[heading mta] {"Postfix" :postfix, "Sendmail" :sendmail}]
    (is (= (map second (checks mta))
           (map second (re-seq #"(?m)^- (.*)$"
                               (first (filter #(string/starts-with? % (str heading "\n"))
                                              (string/split (slurp "doc/mta-configuration.org") #"(?m)^\*+ ")))))))))

(deftest a-time-beyond-all-times-in-a-sendmail-cf-is-none
  (doseq [time [(apply str (repeat 17 "999999999w")) "999999999w"]
          :let [{:keys [timeouts problems]} (first (:filters (sendmail-cf/parse (str "Xa, S=inet:1@localhost, T=C:" time))))]]
    (is (= [(str "in T=, \"" time "\" is no time, such as 30s or 5m")] problems))
    (is (= sendmail-cf/default-timeouts timeouts))))
