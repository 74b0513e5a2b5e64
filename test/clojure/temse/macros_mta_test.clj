(ns temse.macros-mta-test
  "Behind the real MTAs, over TLS: which macros come when, as doc/macros.org says, the words of
  temse.envelope, and the Received field."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is testing]]
   [temse.envelope :as envelope]
   [temse.harness.mta :as mta]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.macros :as macros]
   [temse.milter :as milter]
   [temse.runner :as runner])
  (:import
   (java.io Closeable)
   (java.time Duration ZonedDateTime)
   (java.time.format DateTimeFormatter)
   (java.util Locale)))

(set! *warn-on-reflection* true)

(def ^:private stages
  "The stages in their order, and the letters by which the page names them."
  [[:connect "C"] [:hello "H"] [:mail "M"] [:recipient "R"] [:data "D"] [:end-of-headers "N"]
   [:end-of-message "E"]])

(def ^:private page "doc/macros.org")

(def ^:private certificate (delay (mta/certificate)))

(defn- start-mta
  ^Closeable [mta options]
  (case mta
    :postfix (postfix/start (assoc options
                                   :main {"smtpd_authorized_xclient_hosts" "127.0.0.0/8"
                                          "smtpd_sasl_authenticated_header" "yes"
                                          "mynetworks" "0.0.0.0/0 [::]/0"}))
    :sendmail (sendmail/start options)))

(defn- milter-address
  [mta server]
  (case mta
    :postfix (str "inet:127.0.0.1:" (milter/milter-port server))
    :sendmail (milter/milter-address server)))

(defn- in-lab
  "Calls f with a connection to an MTA, whose filter has the options, and with its sink."
  [mta options f]
  (when-let [reason (case mta :postfix (postfix/unavailable) :sendmail (sendmail/unavailable))]
    (runner/skip! reason))
  (milter/with-milter [server (assoc options :port 0)]
    (with-open [sink ^Closeable (sink/start)
                running (start-mta mta {:sink sink, :milters [(milter-address mta server)], :certificate @certificate})
                connection (smtp/connect {:port (:port running)})]
      (f connection sink))))

(defn- greeted
  [connection]
  (smtp/command connection "EHLO client.example.org")
  connection)

(defn- logged-in
  "Returns the connection, on which Postfix believes to serve a client far away that has logged in."
  [connection]
  (is (= 220 (:code (smtp/command connection "XCLIENT NAME=spike.example.org ADDR=IPV6:2001:db8::9 LOGIN=ann"))))
  connection)

(defn- send-mail
  [connection mail]
  (is (= 250 (:code (:message (smtp/transact connection mail))))))

;; ---- what comes when

(def ^:private most-names
  "Sendmail takes lists of this length at least."
  40)

(defn- seen-macros
  "Returns the letters of the stages at which each of the names comes. With Postfix's XCLIENT, which
  stands for AUTH here, a second client begins: its greeting does not count."
  [mta names]
  (let [seen (atom {})
        far? (atom false)
        note (fn [[stage letter]]
               [stage (fn [_ context]
                        (doseq [macro-name (keys (get (milter/macros context) stage))
                                :when (not (and @far? (#{:connect :hello} stage)))]
                          (swap! seen update macro-name (fnil conj #{}) letter))
                        nil)])]
    (in-lab mta {:handlers (into {} (map note) stages)
                 :request-macros (into {} (map (fn [[stage]] [stage names])) stages)}
            (fn [connection _]
              (let [encrypted (smtp/start-tls (greeted connection))]
                (greeted encrypted)
                (when (= :postfix mta)
                  (reset! far? true)
                  (greeted (logged-in encrypted)))
                (send-mail encrypted {:sender "<a@example.org> ENVID=abc RET=HDRS"
                                      :recipients ["<b@example.org> NOTIFY=NEVER"]
                                      :headers [["Message-ID" " <1@example.org>"]]}))))
    @seen))

(defn- measured
  "Returns what the page must say of each name: the letters of its stages, in order."
  [mta names]
  (let [seen (into {} (map #(seen-macros mta %)) (partition-all most-names names))]
    (into {}
          (map (fn [given]
                 [given (str/join " " (filter (get seen (macros/bare-name given) #{}) (map second stages)))]))
          names)))

(defn- rows
  "Returns the rows of the table of macros: name, stages of Postfix, stages of Sendmail."
  []
  (for [line (str/split-lines (slurp page))
        :let [[_ macro-name postfix sendmail] (re-matches #"\| =(\S+)= \| ([CHMRDNE ]*|not measured) \| ([CHMRDNE ]*|not measured) \| .*" line)]
        :when macro-name]
    [macro-name (str/trim postfix) (str/trim sendmail)]))

(deftest the-page-names-all-macros
  (is (= (into #{"i" "j" "v" "_" "b" "r" "s" "u" "Z"}
               (map #(str "{" % "}"))
               (into (:postfix macros/names) (:sendmail macros/names)))
         (set (map first (rows))))))

(defn- check-page
  [mta column]
  (let [said (into {} (map (juxt first column)) (rows))
        measured (measured mta (sort (keys said)))]
    (doseq [[macro-name stages] (sort said)]
      (testing macro-name
        (is (= (if (= "not measured" stages) "" stages) (measured macro-name)))))))

(deftest postfix-sends-what-the-page-says
  (check-page :postfix second))

(deftest sendmail-sends-what-the-page-says
  (check-page :sendmail #(nth % 2)))

;; ---- words and the Received field

(defn- noted-mail
  "Sends a mail, and returns what the filter makes of its context, the Received field that it expects,
  and the one with which the mail is delivered."
  [mta prepare mail f]
  (let [notes (atom nil)]
    (in-lab mta
            {:wants #{:received-header}
             :handlers {:end-of-message (fn [_ context]
                                          (reset! notes [(f context)
                                                         (envelope/received-header context {:tls? true, :authenticated? true})])
                                          nil)}}
            (fn [connection sink]
              (send-mail (prepare connection) mail)
              (let [delivered (sink/await-message sink some?)
                    [field value] (first (sink/headers delivered))]
                (conj @notes [field (str/replace (str/triml value) "\r\n" "\n")]))))))

(def ^:private no-clock
  "What matches the date at the end of a Received field."
  #"[A-Z][a-z]{2}, [ \d]\d? [A-Z][a-z]{2} \d{4} .*$")

(defn- instant
  [value]
  (-> (re-find no-clock value)
      (str/replace #" \(.*" "")
      (str/replace #", +" ", ")
      (ZonedDateTime/parse (DateTimeFormatter/ofPattern "EEE, d MMM yyyy HH:mm:ss [xx][z]" Locale/ENGLISH))
      .toInstant))

(defn- same-field?
  "Returns true if two Received fields differ by at most ten seconds."
  [[expected-name expected] [actual-name actual]]
  (is (= [expected-name (str/replace expected no-clock "DATE")] [actual-name (str/replace actual no-clock "DATE")]))
  (is (<= (abs (.toSeconds (Duration/between (instant expected) (instant actual)))) 10)))

(defn- encrypted
  [connection]
  (greeted (smtp/start-tls (greeted connection))))

(def ^:private two-recipients
  {:recipients ["<b@example.org>" "<c@example.org>"]})

(deftest the-received-field-of-postfix-is-foreseen
  (doseq [[title prepare mail] [["plain" greeted {}]
                                ["several recipients" greeted two-recipients]
                                ["TLS" encrypted {}]
                                ["TLS and several recipients" encrypted two-recipients]
                                ["login" (comp greeted logged-in greeted) {}]
                                ["TLS and login" (comp greeted logged-in encrypted) {}]
                                ["SMTPUTF8" greeted {:sender (smtp/utf-8 "<jörg@example.org> SMTPUTF8")}]
                                ["no greeting" identity {}]
                                ["an odd greeting" #(do (smtp/command % "EHLO a(b)<c>\";\\@d") %) {}]
                                ["quoted" greeted {:recipients ["<\"b c\"@example.org>"]}]]]
    (testing title
      (let [[_ expected actual] (noted-mail :postfix prepare mail (constantly nil))]
        (same-field? expected actual)))))

(deftest the-received-field-of-sendmail-is-foreseen
  (doseq [[title prepare mail] [["plain" greeted {}]
                                ["HELO" #(do (smtp/command % "HELO client.example.org") %) {}]
                                ["an odd greeting" #(do (smtp/command % "EHLO [a_b]") %) {}]
                                ["a quoted recipient" greeted {:recipients ["<\"b c\"@example.org>"]}]
                                ["several recipients" greeted two-recipients]
                                ["TLS" encrypted {}]
                                ["TLS and several recipients" encrypted two-recipients]]]
    (testing title
      (let [[_ expected actual] (noted-mail :sendmail prepare mail (constantly nil))]
        (same-field? expected actual)))))

(def ^:private words
  (juxt envelope/client-address envelope/client-name envelope/hello-name envelope/sender envelope/recipients
        envelope/mta-name envelope/authenticated-user envelope/tls-version envelope/cipher-bits
        envelope/cert-subject (comp some? envelope/client-port) (comp some? envelope/receive-time)))

(deftest the-words-are-known-behind-postfix
  (let [[noted] (noted-mail :postfix (comp greeted logged-in encrypted) {:sender "<a@example.org>"} words)]
    (is (= ["2001:db8::9" "spike.example.org" "client.example.org" "<a@example.org>" ["<recipient@example.org>"]
            "mx.example.org" "ann" "TLSv1.2" 256 nil true true]
           noted)))
  (let [[[id address client] _ [_ received]] (noted-mail :postfix greeted {} (juxt envelope/queue-id envelope/client-address envelope/client-name))]
    (is (= ["127.0.0.1" nil] [address client]))
    (is (str/includes? received (str " id " id "\n")))))

(deftest the-words-are-known-behind-sendmail
  (let [[noted] (noted-mail :sendmail encrypted {:sender "<a@example.org>"} words)]
    (is (= ["127.0.0.1" "localhost" "client.example.org" "<a@example.org>" ["<recipient@example.org>"]
            "mx.example.org" nil "TLSv1.2" 256 nil true true]
           noted)))
  (let [[id _ [_ received]] (noted-mail :sendmail greeted {} envelope/queue-id)]
    (is (str/includes? received (str " id " id "\n")))))
