(ns temse.envelope-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.envelope :as envelope]
   [temse.milter :as milter]
   [temse.support :as support :refer [thrown]]
   [temse.test :as mt])
  (:import
   (java.time Instant)))

(set! *warn-on-reflection* true)

(def ^:private words
  {:client-address envelope/client-address
   :client-name envelope/client-name
   :client-port envelope/client-port
   :hello-name envelope/hello-name
   :sender envelope/sender
   :recipients envelope/recipients
   :smtputf8? envelope/smtputf8?
   :receive-time envelope/receive-time
   :queue-id envelope/queue-id
   :mta-name envelope/mta-name
   :authenticated-user envelope/authenticated-user
   :tls-version envelope/tls-version
   :cipher envelope/cipher
   :cipher-bits envelope/cipher-bits
   :cert-subject envelope/cert-subject
   :cert-issuer envelope/cert-issuer})

(defn- known
  "Returns the words that a context knows, without the time."
  [context]
  (into {}
        (keep (fn [[word f]]
                (let [value (f context)]
                  (when-not (contains? #{nil false []} value)
                    [word value]))))
        (dissoc words :receive-time)))

(defn- watching
  "Returns options of a filter that notes what its words say at an event."
  [notes event]
  {:wants (keys words)
   :handlers {event (fn [_ context]
                      (swap! notes conj (known context))
                      nil)}})

(deftest words-are-known-in-a-filter-that-handles-one-event-only
  (doseq [mta [:postfix :sendmail]]
    (testing mta
      (let [notes (atom [])
            filter (watching notes :end-of-message)]
        (mt/run-message filter
                        {:sender "<ann@example.org>", :options ["SMTPUTF8"], :recipients ["<b@example.com>" "<c@example.com>"]}
                        {:mta mta
                         :macros {"{auth_authen}" "ann", "{tls_version}" "TLSv1.3", "{cipher}" "AES", "{cipher_bits}" "256"
                                  "{cert_subject}" "", "j" "mx.example.com"}
                         :client {:host-name "a.example", :address "2001:db8::1", :port 4711}
                         :hello "hello.example"})
        (is (= {:client-address "2001:db8::1", :client-name "a.example", :client-port 4711, :hello-name "hello.example"
                :sender "<ann@example.org>", :recipients ["<b@example.com>" "<c@example.com>"], :smtputf8? true
                :queue-id "4TEMSE0001", :mta-name "mx.example.com", :authenticated-user "ann"
                :tls-version "TLSv1.3", :cipher "AES", :cipher-bits 256}
               (first @notes)))))))

(deftest words-of-a-mail-end-with-it
  (let [notes (atom [])
        filter (assoc-in (watching notes :end-of-message) [:handlers :message-end]
                         (fn [_ context] (swap! notes conj (envelope/sender context)) nil))]
    (with-open [session (mt/connect-to filter)]
      (mt/run-message session {:sender "<a@example.org>", :recipients ["<b@example.com>"]})
      (mt/run-message session {:sender "<>", :recipients ["<c@example.com>"]}))
    (is (= [["<a@example.org>" ["<b@example.com>"]] "<a@example.org>" ["<>" ["<c@example.com>"]] "<>"]
           (map #(if (map? %) [(:sender %) (:recipients %)] %) @notes)))))

(deftest words-of-a-mail-are-unknown-before-it
  (let [notes (atom [])]
    (with-open [session (mt/connect-to (watching notes :hello))]
      (mt/run-message session {})
      (support/send-events session [{:event :hello, :greeting "again.example"}]))
    (is (= ["client.example.org" "again.example"] (map :hello-name @notes)))
    (is (not-any? #(some % [:sender :recipients :queue-id]) @notes))))

(deftest the-context-has-no-part-in-what-is-known
  (let [notes (atom [])]
    (mt/run-message {:wants #{:sender}
                     :handlers {:header (fn [_ context] (dissoc context :milter/envelope))
                                :end-of-message (fn [_ context] (swap! notes conj (envelope/sender context)) nil)}}
                    {:sender "<a@example.org>", :headers [["Subject" "x"]]})
    (is (= ["<a@example.org>"] @notes))))

(deftest a-word-that-was-not-asked-for-defers-the-mail-and-says-what-to-give
  (let [{:keys [verdict errors]} (mt/run-message {:wants #{:sender}
                                                  :handlers {:end-of-message (fn [_ context]
                                                                               (envelope/cipher context)
                                                                               nil)}}
                                                 {})]
    (is (= :temporary-failure verdict))
    (is (re-find #"the filter uses :cipher and has not asked for it: give start-milter :wants #\{.*:cipher"
                 (ex-message (:error (first errors))))))
  (doseq [[word f] words]
    (is (= :bad-options (:milter/error (thrown (f {})))) word)))

(deftest an-unknown-word-is-refused
  (is (re-find #":wants: there is no word :sendr; did you mean :sender\?"
               (:message (thrown (milter/factory {:wants #{:sendr}, :handlers {}})))))
  (is (= :bad-options (:milter/error (thrown (milter/factory {:wants :sender, :handlers {}}))))))

(deftest the-mta-is-asked-for-what-the-words-need
  (let [ask #(select-keys (milter/explain-negotiation (assoc % :handlers {:end-of-message identity})) [:events :no-reply])]
    (is (= #{:connect :mail} (reduce disj (:events (ask {:wants #{:sender :client-name}})) (:events (ask {})))))
    (is (= #{:connect :mail} (:no-reply (ask {:wants #{:sender :client-name}}))))))

(deftest requested-macros-and-those-of-words-go-together
  (let [notes (atom nil)]
    (mt/run-message {:wants #{:authenticated-user :cipher}
                     :request-macros {:mail ["{mail_addr}"], :connect ["{client_port}"]}
                     :handlers {:end-of-message (fn [_ context]
                                                  (reset! notes (update-vals (milter/macros context) (comp set keys)))
                                                  nil)}}
                    {}
                    {:macros {"{auth_authen}" "ann", "{cipher}" "AES"}})
    (is (= {:connect #{"client_port"}, :hello #{"cipher"}, :mail #{"mail_addr" "auth_authen" "cipher"}}
           (select-keys @notes [:connect :hello :mail])))))

(deftest a-client-whose-name-is-not-proved-has-none
  (are [host-name macro expected] (= expected
                                     (let [seen (atom ::none)]
                                       (mt/run-message {:wants #{:client-name}
                                                        :handlers {:mail (fn [_ context]
                                                                           (reset! seen (envelope/client-name context))
                                                                           nil)}}
                                                       {}
                                                       {:client {:host-name host-name}, :macros {"_" macro}})
                                       @seen))
    "a.example" "a.example [192.0.2.1]" "a.example"
    "unknown" "unknown [192.0.2.1]" nil
    "[192.0.2.1]" "[192.0.2.1]" nil
    "a.example" "a.example [192.0.2.1] (may be forged)" nil))

(deftest words-can-be-given-to-a-handler-that-is-called-by-hand
  (let [context (mt/context {:envelope {:sender "<a@example.org>", :recipients ["<b@example.com>"]}
                             :macros {:mail {"auth_authen" "ann"}}})]
    (is (= ["<a@example.org>" ["<b@example.com>"] "ann" nil]
           ((juxt envelope/sender envelope/recipients envelope/authenticated-user envelope/client-address) context))))
  (let [handlers {:end-of-message (fn [_ context] [{:action :quarantine, :reason (envelope/sender context)}])}
        after-mail (mt/fire handlers {:event :mail, :sender "<a@example.org>", :options []} (mt/context))
        after-end (mt/fire handlers {:event :message-end, :reason :accepted} after-mail)]
    (is (= "<a@example.org>" (:reason (first (mt/response (mt/fire handlers {:event :end-of-message} after-mail))))))
    (is (nil? (envelope/sender after-end))))
  (is (re-find #"did you mean :sender\?" (:message (thrown (mt/context {:envelope {:sendr "x"}}))))))

;; ---- the Received field

(def ^:private mail
  {:client-address "192.0.2.1", :client-name "a.example", :hello-name "hello.example", :sender "<a@example.org>"
   :recipients ["<b@example.com>"], :receive-time (Instant/parse "2026-03-05T10:00:00Z")})

(defn- received
  [more macros options]
  (let [known (into {} (filter (comp some? val)) (merge mail more))
        [field value] (envelope/received-header (mt/context {:envelope known, :macros macros}) options)]
    (is (= "Received" field))
    (string/split-lines (string/replace value #"[A-Z][a-z]{2}, +\d+ .*" "DATE"))))

(deftest received-in-the-style-of-postfix
  (let [macros {:connect {"j" "mx.example.com", "v" "Postfix 3.7.11"}, :end-of-message {"i" "4F2A"}}
        tls (assoc macros :mail {"tls_version" "TLSv1.2", "cipher" "AES", "cipher_bits" "256", "auth_authen" "ann"})]
    (is (= ["from hello.example (a.example [192.0.2.1])"
            "\tby mx.example.com (Postfix) with ESMTP id 4F2A"
            "\tfor <b@example.com>; DATE"]
           (received {} macros {})))
    (is (= ["from hello.example (unknown [IPv6:2001:db8::1])"
            "\tby mx.example.com (Postfix) with ESMTPSA id 4F2A;"
            "\tDATE"]
           (received {:client-name nil, :client-address "2001:db8::1", :recipients ["<b@c>" "<d@e>"]} tls {})))
    (is (= ["from hello.example (a.example [192.0.2.1])"
            "\t(using TLSv1.2 with cipher AES (256/256 bits))"
            "\t(No client certificate requested)"
            "\t(Authenticated sender: ann)"
            "\tby mx.example.com (Postfix) with UTF8SMTP id 4F2A"
            "\tfor <b@example.com>; DATE"]
           (received {:smtputf8? true} tls {:tls? true, :authenticated? true})))))

(deftest received-in-the-style-of-sendmail
  (let [macros {:connect {"j" "mx.example.com", "v" "8.17.1", "_" "a.example [192.0.2.1]"}
                :mail {"i" "5F2A", "r" "ESMTPSA", "s" "hello.example", "Z" "8.17.1/x", "auth_type" "PLAIN", "auth_ssf" "0"
                       "tls_version" "TLSv1.2", "cipher" "AES", "cipher_bits" "256", "verify" "NO"
                       "b" "Thu, 5 Mar 2026 10:00:00 GMT"}}]
    (is (= ["from hello.example (a.example [192.0.2.1])"
            "\t(authenticated bits=0)"
            "\tby mx.example.com (8.17.1/8.17.1/x) with ESMTPSA id 5F2A"
            "\t(version=TLSv1.2 cipher=AES bits=256 verify=NO)"
            "\tfor <b@example.com>; DATE"]
           (received {} macros {})))))

(deftest options-of-received-header-are-checked
  (is (re-find #"did you mean :tls\?" (:message (thrown (envelope/received-header (mt/context) {:tsl? true}))))))
