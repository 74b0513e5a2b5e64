(ns temse.gallery.greylist-test
  "Greylisting: what it decides, compared with what milter-greylist decided, and what holds for all mails."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing use-fixtures]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as properties]
   [temse.database :as database]
   [temse.gallery.support :as support]
   [temse.harness.postgresql :as postgresql]
   [temse.impl.filter-file :as filter-file]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.support :refer [await-true thrown with-logs]]
   [temse.test :as mt]
   [temse.test.check :as check])
  (:import
   (java.io Closeable File)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(def ^:dynamic ^:private ^File *directory* nil)

(use-fixtures :each
  (fn [run]
    (let [directory (.toFile (Files/createTempDirectory "temse-greylist-" (make-array FileAttribute 0)))]
      (try
        (binding [*directory* directory]
          (run))
        (finally
          (support/stop-periodic-work)
          (run! io/delete-file (reverse (file-seq directory))))))))

(defn- file
  "Returns the name of a new file with a text."
  [file-name text]
  (let [file (io/file *directory* file-name)]
    (spit file text)
    (str file)))

(defn- function
  "Returns a function of the filter's namespaces, which are loaded before."
  [symbol]
  (when-not (find-ns 'greylist)
    (support/load-filter "greylist" (file "load.edn" (pr-str {:database {:url (str "jdbc:sqlite:" *directory* "/load.db")}}))))
  @(requiring-resolve symbol))

(defn- sqlite
  [file-name]
  {:url (str "jdbc:sqlite:" (io/file *directory* file-name))})

;; ---- what milter-greylist decided

(def ^:private cases
  (edn/read-string (slurp (io/resource "gallery/milter-greylist-cases.edn"))))

(def ^:private differences
  "By id and number of the attempt: what we decide, and why."
  (edn/read-string (slurp (io/resource "gallery/greylist-differences.edn"))))

(def ^:private reasons
  "Texts of X-Greylist by the words that the cases have for them."
  {"client-address" "Sender IP whitelisted"
   "client-name" "Sender DNS name whitelisted"
   "sender" "Sender e-mail whitelisted"
   "recipient" "Recipient e-mail whitelisted"
   "client-address sender recipient" "Sender IP whitelisted, Sender e-mail whitelisted, Recipient e-mail whitelisted"
   "authenticated" "Sender succeeded SMTP AUTH"
   "tls" "Sender succeeded STARTTLS authentication"
   "auto-whitelisted" "IP, sender and recipient auto-whitelisted"
   "default" "Default is to whitelist mail"
   "acl " "Message not sent from an IPv4 neither IPv6 address"})

(defn- clock-text
  [seconds]
  (format "%02d:%02d:%02d" (quot seconds 3600) (rem (quot seconds 60) 60) (rem seconds 60)))

(defn- expected-text
  [{:keys [text verdict remaining-s]}]
  (cond
    (not= :default text) text
    (= :reject verdict) "Not accepted here"
    remaining-s (str "Greylisting in action, please come back in " (clock-text remaining-s))
    :else "Greylisting in action, please come back later"))

(defn- expected-header
  "Returns [name value], without host, program and date where the program writes them."
  [[field value]]
  [field (if (map? value)
           (if (= "delayed" (:reason value))
             (str "Delayed for " (clock-text (:seconds value)))
             (str (reasons (:reason value)) ", not delayed"))
           value)])

(defn- expected
  [{:keys [at nth verdict code enhanced headers recipients] :as expect}]
  (cond-> {:at at, :verdict verdict}
    nth (assoc :nth nth)
    code (assoc :code code, :enhanced enhanced, :text (expected-text expect))
    (= :end-of-message at) (assoc :headers (mapv expected-header headers))
    recipients (assoc :recipients (mapv #(cond-> (select-keys % [:verdict :code :enhanced])
                                           (:code %) (assoc :text (expected-text %)))
                                        recipients))))

(defn- answer
  "Returns what a reply says."
  [actions]
  (let [{:keys [action smtp-code enhanced-code text]} (last actions)]
    (if smtp-code
      {:verdict (if (< smtp-code 500) :temporary-failure :reject), :code smtp-code, :enhanced enhanced-code, :text text}
      {:verdict action})))

(defn- content
  [session {:keys [headers body]}]
  (doseq [event (concat [{:event :data}]
                        (for [[field value] headers] {:event :header, :name field, :value value})
                        [{:event :end-of-headers}]
                        (for [^String text body] {:event :body, :data (.getBytes text)}))]
    (mt/send-event session event))
  (let [actions (mt/send-event session {:event :end-of-message})
        {:keys [verdict] :as answer} (answer actions)]
    (assoc answer
           :at :end-of-message
           :verdict (if (= :continue verdict) :accept verdict)
           :headers (vec (for [{:keys [action name value]} actions :when (= :add-header action)]
                           [name (string/replace value #" by temse-greylist .*" "")])))))

(defn- attempted
  "Returns what a filter decides about one mail of a case, as `expected` returns it."
  [filter {:keys [connect hello mail recipients macros] :as attempt}]
  (with-open [session (mt/connect-to filter {:macros (or macros {})})]
    (let [{:keys [host-name address]} connect]
      (mt/send-event session (if address
                               {:event :connect, :host-name host-name, :port 40000, :address address
                                :family (if (string/includes? address ":") :inet6 :inet)}
                               {:event :connect, :host-name host-name, :family :unknown}))
      (mt/send-event session {:event :hello, :greeting hello})
      (mt/send-event session {:event :mail, :sender mail, :options []})
      (let [answers (mapv #(answer (mt/send-event session {:event :recipient, :address %, :options []})) recipients)]
        (cond-> (if (some #(= :continue (:verdict %)) answers)
                  (content session attempt)
                  (assoc (peek answers) :at :recipient, :nth (dec (count answers))))
          (next recipients) (assoc :recipients answers))))))

(defn- check-case
  "Plays the attempts of a case to a filter with a store, at the times that they were made at."
  [{:keys [id config attempts]} database]
  (let [seconds (atom 1764230400)
        settings ((function 'greylist-settings/settings-of) (file (str id ".conf") config))]
    (with-open [store ^Closeable ((function 'greylist-store/open) database)]
      (let [filter ((function 'greylist/filter-of) settings store #(deref seconds))]
        (doseq [[number {:keys [wait-s expect] :as attempt}] (map-indexed vector attempts)
                :let [wanted (expected (get-in differences [id number :expect] expect))]]
          (swap! seconds + wait-s)
          (testing (str id ", attempt " number)
            (is (= wanted (select-keys (attempted filter attempt) (keys wanted))))))))))

(deftest milter-greylist-decides-the-same-on-sqlite
  (is (<= 29 (count cases)))
  (doseq [{:keys [id] :as case} cases]
    (check-case case (sqlite (str id ".db")))))

(deftest milter-greylist-decides-the-same-on-postgresql
  (when-let [reason (postgresql/unavailable)]
    (runner/skip! reason))
  (with-open [running (postgresql/start)]
    (let [settings {:url (postgresql/url running), :user "temse", :timeout 30000}]
      (doseq [case cases]
        (with-open [db (database/database settings)]
          (database/execute db "drop table if exists greylist"))
        (check-case case settings)))))

;; ---- its own settings

(defn- with-settings
  "Calls f with the filter of settings, a map, and an atom, its clock."
  [settings f]
  (let [seconds (atom 1764230400)
        parsed ((function 'greylist-settings/settings-of) (file (str (gensym "settings") ".edn") (pr-str settings)))]
    (with-open [store ^Closeable ((function 'greylist-store/open) (sqlite (str (gensym "store") ".db")))]
      (f ((function 'greylist/filter-of) parsed store #(deref seconds)) seconds))))

(def ^:private stranger
  {:connect {:host-name "mail.example.net", :address "192.0.2.10"}
   :hello "mail.example.net"
   :mail "<anna@example.net>"
   :recipients ["<bob@example.com>"]
   :headers [["Subject" "lunch"]]
   :body ["At noon?\r\n"]})

(defn- verdict
  [filter attempt]
  ((juxt :at :verdict) (attempted filter (merge stranger attempt))))

(def ^:private greeted [:recipient :temporary-failure])

(def ^:private let-pass [:end-of-message :accept])

(deftest mail-passes-when-it-comes-again-after-the-delay-and-in-its-window
  (with-settings {:delay 300 :retry-window 1000 :autowhite 5000}
    (fn [filter seconds]
      (let [after (fn [wait] (swap! seconds + wait) (verdict filter {}))]
        (is (= greeted (after 0)))
        (is (= greeted (after 299)))
        (is (= let-pass (after 1)))
        (is (= let-pass (after 5000)))
        (is (= greeted (after 5001)) "forgotten")
        (is (= greeted (after 1301)) "too late: new again")
        (is (= let-pass (after 1300)) "as late as possible")))))

(deftest a-clock-that-was-ahead-delays-nobody-for-longer-than-the-delay
  (with-settings {:delay 300 :retry-window 1000 :autowhite 5000}
    (fn [filter seconds]
      (let [after (fn [wait] (swap! seconds + wait) (verdict filter {}))]
        (is (= greeted (after 0)))
        (testing "the clock was a year ahead, and is right again"
          (is (= greeted (after -31536000)))
          (is (= greeted (after 299)))
          (is (= let-pass (after 1)))
          (is (= let-pass (after 4000))))
        (testing "what is known stays known"
          (is (= let-pass (after -3600)))
          (is (= let-pass (after 3600))))))))

(deftest a-triplet-that-clocks-of-machines-see-a-little-apart-is-new-once
  (with-settings {:delay 300}
    (fn [filter seconds]
      (let [at (fn [now] (reset! seconds now) (verdict filter {}))]
        (is (= greeted (at 1000)))
        (testing "a machine whose clock is behind, or whose statement has waited for the database"
          (is (= greeted (at 940))))
        (is (= greeted (at 1299)) "delayed since it was new")
        (is (= let-pass (at 1300)))))))

(deftest clients-of-one-network-are-one
  (with-settings {}
    (fn [filter seconds]
      (let [from (fn [address] (verdict filter {:connect {:host-name "x.example.net", :address address}}))]
        (is (= [greeted greeted] [(from "192.0.2.10") (from "2001:db8:1:2::3")]))
        (swap! seconds + 300)
        (is (= [let-pass let-pass] [(from "192.0.2.77") (from "2001:db8:1:2:ffff::4")]))
        (is (= [greeted greeted] [(from "192.0.3.10") (from "2001:db8:1:3::3")]))))))

(deftest who-is-spared-is-not-delayed
  (with-settings {:spared {:networks ["198.51.100.0/24" "2001:db8::/32"]
                           :domains ["Partner.example"]
                           :senders ["friend@example.org" "@friends.example"]
                           :recipients ["postmaster@example.com"]
                           :users ["ann"]}}
    (fn [filter _]
      (doseq [attempt [{:connect {:host-name "x.example.net", :address "198.51.100.7"}}
                       {:connect {:host-name "x.example.net", :address "2001:db8::7"}}
                       {:connect {:host-name "mx.partner.example", :address "192.0.2.10"}}
                       {:mail "<friend@EXAMPLE.org>"}
                       {:mail "<anybody@friends.example>"}
                       {:recipients ["<Postmaster@example.com>"]}
                       {:macros {:mail {"{auth_authen}" "ann"}}}]]
        (is (= let-pass (verdict filter attempt)) attempt))
      (doseq [attempt [{:connect {:host-name "partner.example.net", :address "192.0.2.10"}}
                       {:connect {:host-name "nopartner.example", :address "192.0.2.10"}}
                       {:connect {:host-name "mx.partner.example", :address "192.0.2.10"}
                        :macros {:connect {"_" "mx.partner.example [192.0.2.10] (may be forged)"}}}
                       {:mail "<otherfriend@example.org>"}
                       {:macros {:mail {"{auth_authen}" "eve"}}}]]
        (is (= greeted (verdict filter attempt)) attempt)))))

(deftest everybody-with-a-login-is-spared-where-none-is-named
  (with-settings {}
    (fn [filter _]
      (is (= let-pass (verdict filter {:macros {:mail {"{auth_authen}" "eve"}}}))))))

(deftest the-null-sender-is-deferred-after-the-content-so-that-callouts-pass
  (with-settings {:delay 10}
    (fn [filter seconds]
      (let [bounce (assoc stranger :mail "<>")
            first-attempt (attempted filter bounce)]
        (is (= [:end-of-message :temporary-failure 451] ((juxt :at :verdict :code) first-attempt)))
        (is (= [] (:headers first-attempt)))
        (swap! seconds + 10)
        (is (= let-pass (verdict filter bounce))))))
  (with-settings {:delayed-reject? false}
    (fn [filter _]
      (is (= greeted (verdict filter {:mail "<>"}))))))

(deftest messages-on-one-connection-do-not-know-each-other
  (with-settings {:spared {:recipients ["free@example.com"]}}
    (fn [filter _]
      (with-open [session (mt/connect-to filter)]
        (let [field (fn [recipients]
                      (mt/send-event session {:event :mail, :sender "<a@example.org>", :options []})
                      (doseq [recipient recipients]
                        (mt/send-event session {:event :recipient, :address recipient, :options []}))
                      (map (juxt :action :name) (mt/send-event session {:event :end-of-message})))]
          (mt/send-event session {:event :connect, :host-name "x", :family :inet, :port 1, :address "192.0.2.1"})
          (is (= [[:add-header "X-Greylist"] [:continue nil]] (field ["<free@example.com>"])))
          (is (= [[:add-header "X-Greylist"] [:continue nil]]
                 (field ["<bob@example.com>" "<free@example.com>"]))))))))

(deftest a-verdict-says-why
  (with-settings {}
    (fn [filter _]
      (let [mail {:sender "<a@example.org>" :recipients ["<b@example.com>"]}
            why (fn [options] (->> (mt/run-message filter mail options)
                                   :conversation
                                   (mapcat :response)
                                   (keep (comp :why meta))))
            triplet {:network "192.0.2.0/24", :sender "<a@example.org>", :recipient "<b@example.com>"}]
        (is (= [{:greylist :new, :triplet triplet}] (why {})))
        (is (= [{:greylist :waiting, :triplet triplet}] (why {})))
        (is (= [{:greylist [:user]}] (why {:macros {"auth_authen" "ann"}})))))))

(deftest mistakes-in-settings-say-what-is-right
  (doseq [[settings message]
          {{:dely 3} #"settings.edn:1: there is no setting :dely; did you mean :delay\?"
           {:delay "5m"} #":delay must be a number of seconds, not \"5m\""
           {:spared {:network []}} #":spared must be a map of :networks, :domains"
           {:spared {:networks ["192.0.2.1/24"]}} #"did you mean \"192.0.2.0/24\"\?"
           {:network-lengths {:ipv4 24}} #":network-lengths must be lengths of prefixes such as"
           {:conf "greylist.conf" :delay 3} #"where :conf is given, only :database can be given beside it"
           {:database {:url "greylist.db"}} #":url must be a text such as \"jdbc:sqlite:"
           {:database {:url "jdbc:sqlite:greylist.db", :schema []}} #":database must be settings .* without :schema"
           {:spared {:domains ["@example.org"]}} #":domains must be"
           {:spared {:domains [".example.org"]}} #":domains must be"}]
    (is (re-find message (:message (thrown (support/load-filter "greylist" (file "settings.edn" (pr-str settings))))))
        settings)))

(deftest settings-on-the-page-load
  (let [page (slurp "doc/gallery.org")
        section (subs page (string/index-of page "\n* greylist\n"))
        [_ shown] (re-find #"(?s)#\+begin_src edn\n(.*?)#\+end_src" section)]
    (is (= {:delay 300, :url "jdbc:postgresql://db.example.org/temse"}
           (let [{:keys [delay database]} ((function 'greylist-settings/settings-of) (file "page.edn" shown))]
             {:delay delay, :url (:url database)})))))

;; ---- greylist.conf

(defn- conf
  "Returns the settings of the lines of a greylist.conf."
  [& lines]
  ((function 'greylist-conf/read-conf) (file "greylist.conf" (string/join "\n" lines))))

(deftest mistakes-in-a-conf-say-where-and-what-is-right
  (doseq [[lines message]
          {["greylist 5m" "racl greylst default"] #"greylist.conf:2: an entry begins with greylist, whitelist, blacklist or continue, not greylst"
           ["greylist soon"] #":1: a time such as 30s, 5m, 2h or 3d is wanted here, not soon"
           ["racl whitelist adr 192.0.2.1"] #":1: adr is not known here; clauses are addr, auth"
           ["racl whitelist addr 192.0.2.300"] #":1: an address or a network such as 192.0.2.0/24 is wanted here, not 192.0.2.300"
           ["racl whitelist addr 192.0.2.0/33"] #"the length of a prefix, /0 to /32"
           ["racl whitelist list \"ours\""] #"there is no list \"ours\" above"
           ["list \"ours\" addr { 192.0.2.1" "racl whitelist default"] #":1: the statement that begins here does not end"
           ["racl whitelist from /[/"] #":1: in /\[/: \[ without \]"
           ["racl whitelist from \"anna"] #":1: a quotation mark without another"
           ["racl blacklist default msg \"100% sure\""] #"in msg, %  is not known; a percent sign is %%"
           ["racl blacklist default code \"350\""] #"code must be such as \"451\""
           ["racl greylist default code \"550\""] #"its code must begin with 4"
           ["racl blacklist default code \"550\" ecode \"4.7.1\""] #"are of different classes"
           ["racl whitelist default addheader \"no field\""] #"addheader must be a header field"
           ["dacl blacklist default"] #":1: dacl is not known here; there are acl, addr"
           ["dnsrbl \"x\" bl.example.org 127.0.0.2"] #":1: dnsrbl is not known here"
           ["racl whitelist geoip DE"] #":1: geoip is not known here"
           ["racl blacklist rcptcount many"] #"rcptcount wants a comparison and a number"
           ["subnetmatch 24"] #"the length of a prefix, /0 to /32, is wanted here, not 24"
           ["greylist 5m 6m"] #"one value is wanted behind greylist"
           ["quiet please"] #"nothing is wanted behind quiet, not please"
           ["report some"] #"report wants none, delays, nodelays or all, not some"}]
    (is (re-find message (str (:message (thrown (apply conf lines))))) lines)))

(deftest statements-go-on-after-a-backslash-and-in-braces
  (is (= 2 (count (:rules (conf "# comment \\" "list \"ours\" addr { \\" " 192.0.2.0/24 # the office" " 198.51.100.7" "}"
                                "racl whitelist \\ ignored" "  list \"ours\"" "racl greylist default # last"))))))

(deftest what-has-no-meaning-here-is-told
  (is (= ["pidfile in line 1" "peer in line 2"]
         (:unused (conf "pidfile \"/run/greylist.pid\"" "peer 192.0.2.18" "greylist 1m"))))
  (with-logs records
    (support/load-filter "greylist" (file "settings.edn" (pr-str {:conf (file "my.conf" "socket \"/run/x.sock\" 660\n")
                                                                  :database (sqlite "unused.db")})))
    (is (= 1 (count (filter #(re-find #"my.conf: without meaning here: socket in line 1" (:message %)) @records))))))

(defn- matching-rule
  "Returns the line of the rule of a conf that decides about a mail."
  [{:keys [rules]} mail]
  (:line ((function 'greylist-conf/rule-for) rules mail)))

(deftest clauses-compare-as-the-program-does
  (let [mail {:address "192.0.2.9", :domain "mail.google.example", :sender "<anna@example.org>", :raw-sender "<x=anna@example.org>"
              :recipient "<bob@example.com>", :hello "mail", :user nil, :certificate nil, :recipient-count 2}]
    (doseq [[clause matches?] {"addr 192.0.2.1/24" true, "addr 192.0.2.8" false, "not addr 192.0.2.8" true
                               "domain gle.example" true, "domain example.org" false, "domain /GOOGLE/" true
                               "from anna@example.org" true, "rawfrom anna@example.org" false, "rawfrom x=anna@example.org" true
                               "rcpt BOB@example.com" true, "rcpt /b\\{2\\}@/" false, "rcpt /bo\\?b@/" true
                               "helo \"MAIL\"" true, "helo \"mai\"" false, "helo /^mail$/" true
                               "auth \"anna\"" false, "auth /.*/" false, "not auth /.*/" true, "tls /x/" false
                               "rcptcount > 1" true, "rcptcount > 2" false, "default" true, "addr 192.0.2.9 rcpt eve@example.com" false}]
      (is (= (when matches? 1) (matching-rule (conf (str "racl whitelist " clause)) mail)) clause))
    (is (= 2 (matching-rule (conf "extendedregex" "racl whitelist rcpt /b(o|x)b+@/") mail)))
    (is (= 1 (matching-rule (conf "racl whitelist domain mail.google.example" "domainexact") mail)))
    (is (nil? (matching-rule (conf "racl whitelist domain gle.example" "domainexact") mail)))))

(deftest a-host-without-a-name-is-what-the-mta-calls-it
  (let [settings (conf "greylist 0" "racl blacklist domain unknown msg \"%d\"" "racl blacklist domain /^\\[/ msg \"%d\"")]
    (with-open [store ^Closeable ((function 'greylist-store/open) (sqlite "unnamed.db"))]
      (let [filter ((function 'greylist/filter-of) settings store (constantly 0))
            text (fn [host-name & {:as macros}]
                   (:text (attempted filter (assoc stranger
                                                   :connect {:host-name host-name, :address "192.0.2.10"}
                                                   :macros {:connect (or macros {})}))))]
        (is (= "unknown" (text "unknown")))
        (is (= "[192.0.2.10]" (text "[192.0.2.10]")))
        (is (= "unknown" (text "bank.example" "_" "bank.example [192.0.2.10] (may be forged)")))
        (is (nil? (text "mail.example.net")))))))

(deftest clauses-about-logins-take-the-place-of-sparing-all-logins
  (is (:spare-authenticated? (conf "racl whitelist from a@example.org")))
  (is (not (:spare-authenticated? (conf "racl whitelist auth \"anna\""))))
  (is (not (:spare-authenticated? (conf "list \"users\" auth { \"anna\" \"bob\" }" "racl whitelist list \"users\"")))))

;; ---- commands

(defn- run-command
  [database & args]
  (let [settings (file "greylist.edn" (pr-str {:database database, :delay 60}))
        code (atom nil)
        output (with-out-str
                 (reset! code (filter-file/load-filter-or-exit-code "gallery/greylist.clj" (into [settings] args))))]
    [@code (vec (rest (string/split-lines output))) (first (string/split-lines output))]))

(def ^:private dump
  (str "#\n# milter-greylist databases, dumped by milter-greylist-4.6.2 on 2026-11-27 07:00:00.\n#\n\n"
       "# Sender IP\tSender e-mail\tRecipient e-mail\tTime accepted\n"
       "192.0.2.1\t<anna@example.org>\t<bob@example.com>\t4102444800 # 2100-01-01 00:00:00\n"
       "2001:db8::1\t<>\t<bob@example.com>\t4102444801 AUTO # 2100-01-01 00:00:01\n"
       "#\n# Summary: 2 records, 1 greylisted, 1 whitelisted\n#\n"))

(deftest what-milter-greylist-has-dumped-is-imported-listed-and-shown
  (let [database (sqlite "commands.db")]
    (is (= [0 [] "2 triplets imported, 0 lines not understood"] (run-command database "import" (file "dump" dump))))
    (let [lines ["192.0.2.0/24\t<anna@example.org>\t<bob@example.com>\t4102444800"
                 "2001:db8:0:0:0:0:0:0/64\t<>\t<bob@example.com>\t4102444801 AUTO"]
          [code listed] (run-command database "list")]
      (is (= [0 lines] [code listed]))
      (is (= [0 lines] (pop (run-command database "show" "bob@example.com"))))
      (is (= [0 (subvec lines 0 1)] (pop (run-command database "show" "192.0.2.77"))))
      (is (= [0 []] (pop (run-command database "show" "eve@example.com"))))
      (testing "and what is listed can be imported"
        (let [other (sqlite "other.db")]
          (run-command other "import" (file "list" (string/join "\n" listed)))
          (is (= [0 lines] (pop (run-command other "list")))))))))

(deftest lines-that-are-no-triplets-are-told
  (is (= [1 ["1 triplets imported, 1 lines not understood"] (str *directory* "/dump:2: no triplet: nonsense")]
         (run-command (sqlite "wrong.db") "import" (file "dump" "192.0.2.1\t<a@example.org>\t<b@example.com>\t1\nnonsense\n")))))

(deftest what-has-expired-is-removed-on-demand
  (let [database (sqlite "expired.db")]
    (run-command database "import" (file "dump" (string/join "\n" (for [i (range 1201)]
                                                                    (str "192.0.2.1\t<a" i "@example.org>\t<b@example.com>\t1000")))))
    (is (= [0 [] "1201 triplets removed"] (run-command database "expire")))
    (is (= [0 []] (pop (run-command database "list"))))))

(deftest another-command-is-an-error
  (is (= [2 [] "The command is list, show ADDRESS, expire or import FILE"] (run-command (sqlite "no.db") "lst"))))

;; ---- what holds for all mails

(def ^:private settings {:delay 10, :retry-window 50, :autowhite 100})

(def ^:private meetings
  "Triplets by number, each after some seconds."
  (gen/vector (gen/tuple (gen/choose 0 2) (gen/frequency [[6 (gen/choose 0 15)] [2 (gen/choose 40 70)] [1 (gen/choose 90 170)]]))
              1 40))

(defn- triplet
  [n]
  {:network "192.0.2.0/24", :sender (str "<a" n "@example.org>"), :recipient "<b@example.com>"})

(defn- model
  "Returns what is known of a triplet after it was met at a time, with its :state."
  [{:keys [state ready expires] :as known} now]
  (let [{:keys [delay retry-window autowhite]} settings]
    (cond
      (or (nil? known) (< expires now)) {:state :new, :ready (+ now delay), :expires (+ now delay retry-window)}
      (#{:passed :known} state) (assoc known :state :known, :expires (+ now autowhite))
      (<= ready now) (assoc known :state :passed, :expires (+ now autowhite))
      :else (assoc known :state :waiting))))

(defspec a-triplet-is-new-once-and-passes-after-its-delay-and-in-its-window-only 40
  (properties/for-all [meetings meetings]
    (let [meet! (function 'greylist-store/meet!)]
      (with-open [store ^Closeable ((function 'greylist-store/open) (sqlite (str (gensym "model") ".db")))]
        (loop [[[n wait] & more] meetings, before 1000, known {}]
          (if (nil? n)
            true
            (let [now (+ (long before) (long wait))
                  expected (model (known n) now)]
              (and (= (:state expected) (:state (meet! store (triplet n) now settings)))
                   (recur more now (assoc known n expected))))))))))

(deftest of-many-that-meet-a-triplet-at-once-one-finds-it-new
  (let [meet! (function 'greylist-store/meet!)]
    (with-open [store ^Closeable ((function 'greylist-store/open) (sqlite "once.db"))]
      (is (= {:new 1, :waiting 39}
             (frequencies (map deref (doall (repeatedly 40 #(future (:state (meet! store (triplet 0) 1000 settings))))))))))))

(deftest expiry-leaves-what-has-not-expired
  (let [meet! (function 'greylist-store/meet!)]
    (with-open [store ^Closeable ((function 'greylist-store/open) (sqlite "expiry.db"))]
      (run! #(meet! store (triplet %) 1000 settings) (range 5))
      (meet! store (triplet 0) 1010 settings)
      (is (= 4 ((function 'greylist-store/expire!) store 1061)))
      (is (= :known (:state (meet! store (triplet 0) 1061 settings)))))))

;; ---- hostile mail

(deftest strange-addresses-are-triplets-like-others
  (with-settings {:delay 10}
    (fn [filter seconds]
      (doseq [address ["<\udc80\udcff@example.org>" "<a'; drop table greylist; --@example.org>" "<\"a b\"@example.org>" "<\u001a0041@x>"
                       (str "<" (string/join (repeat 5000 "a")) "@example.org>") (str "<" (string/join (repeat 5000 "a")) "@example.com>")
                       (str "<" (string/join (repeat 300 "\udc80")) "@x>") "<%r%M{j}@example.org>" "<a@example.org" ""]]
        (is (= greeted (verdict filter {:mail address})) address)
        (is (= greeted (verdict filter {:recipients [address]})) address))
      (swap! seconds + 10)
      (is (= let-pass (verdict filter {:mail "<\udc80\udcff@example.org>"}))))))

(deftest what-strangers-write-stays-in-its-reply
  (let [settings (conf "racl blacklist default msg \"%f may not write to %r, says %h\"")]
    (with-open [store ^Closeable ((function 'greylist-store/open) (sqlite "reply.db"))]
      (let [filter ((function 'greylist/filter-of) settings store (constantly 0))
            {:keys [text]} (attempted filter (assoc stranger :mail "<\u001b[31m\u202e@x>" :hello (string/join (repeat 3000 "h"))))]
        (is (string/starts-with? text "?[31m?@x may not write to bob@example.com, says hhhh"))
        (is (< (count text) 600))))))

(deftest generated-conversations-find-nothing
  (with-settings {:delay 1}
    (fn [filter _]
      (let [report (check/check-filter filter {:runs 60, :seed runner/seed})]
        (is (:pass? report) (pr-str (map #(dissoc % :conversation :events :alone) (:findings report))))))))

;; ---- failures

(deftest what-is-known-survives-a-reload
  (let [settings (file "greylist.edn" (pr-str {:database (sqlite "reload.db"), :delay 0, :spared {:users ["ann"]}}))
        load #(support/load-filter "greylist" settings)]
    (is (= :accept (:verdict (mt/run-message (load) {}))))
    (is (= :accept (:verdict (mt/run-message (load) {}))))))

(deftest without-its-database-mail-is-deferred-and-one-line-says-so
  (let [filter (support/load-filter "greylist" (file "down.edn" (pr-str {:database {:url "jdbc:postgresql://127.0.0.1:1/x"
                                                                                    :timeout 250}})))]
    (with-logs records
      (dotimes [_ 5]
        (let [{:keys [verdict smtp]} (mt/run-message filter {})]
          (is (= :temporary-failure verdict))
          (is (= [451] (map :smtp-code (:recipients smtp))))))
      (is (= [:error] (keep (comp #{:error :warn} :level) @records))))))

(defn- replies
  "Returns how often which enhanced code answers 20 mails at once."
  [server]
  (frequencies (map (comp :enhanced-code :reply) (mt/run-many server (repeat 20 {}) {:connections 20}))))

(deftest while-postgresql-hangs-or-restarts-mail-is-deferred-and-two-lines-say-so
  (when-let [reason (postgresql/unavailable)]
    (runner/skip! reason))
  (with-open [running (postgresql/start)]
    (let [database {:url (postgresql/url running), :user "temse", :timeout 1000}
          settings ((function 'greylist-settings/settings-of) (file "hangs.edn" (pr-str {:delay 86400})))
          greylisted? #(= "4.7.1" (:enhanced-code (:reply (mt/run-message % {}))))
          lines (fn [records]
                  (for [{:keys [level message]} @records
                        :when (or (#{:warn :error :fatal} level) (re-find #"^the database" message))]
                    [level (re-find #"is down|is back after" message)]))
          outage [[:error "is down"] [:info "is back after"]]]
      (doseq [[state begin end] [["hanging" #(postgresql/signal running "STOP") #(postgresql/signal running "CONT")]
                                 ["restarted" #(postgresql/control running "stop") #(postgresql/control running "start")]]]
        (testing state
          (with-open [store ^Closeable ((function 'greylist-store/open) database)
                      server ^Closeable (milter/start-milter (assoc ((function 'greylist/filter-of) settings store (constantly 1764230400))
                                                               :port 0
                                                               :daemon? true))]
            (is (greylisted? server))
            (with-logs records
              (begin)
              (try
                (dotimes [_ 2]
                  (is (= {"4.3.0" 20} (replies server))))
                (finally
                  (end)))
              (await-true #(greylisted? server))
              (is (= outage (lines records))))))))))
