(ns temse.changed-test
  "Changed messages: the actions of examples, and the laws of temse.simulate.edits on the simulator."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.random :as random]
   [clojure.test.check.rose-tree :as rose]
   [temse.action :as act]
   [temse.filter :refer [changed message-filter]]
   [temse.mail :as mail]
   [temse.runner :as runner]
   [temse.simulate.cases :as cases]
   [temse.simulate.edits :as edits]
   [temse.support :refer [thrown with-logs]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def ^:private given
  {:sender "<a@example.org>"
   :recipients ["<b@example.com>" "<c@example.com>"]
   :headers [["From" "a@example.org"] ["X-A" "one"] ["Subject" "hi"] ["x-a" "two"] ["X-A" "three"]]
   :body "hello\r\n"})

(defn- run
  "Returns the report of the mail, which the filter has delivered as f makes it."
  ([f]
   (run f {}))
  ([f {:keys [options filter-options client mail] :or {mail given}}]
   (mt/run-message (merge {:handlers (message-filter (fn [message context] (changed context (f message)))
                                                     (or filter-options {}))}
                          options)
                   mail
                   (or client {}))))

(defn- actions
  "Returns the actions that make of the mail what f makes of it."
  ([f]
   (actions f {}))
  ([f given]
   (:modifications (run f given))))

(defn- spelled
  "Returns the actions with the new body as text."
  [f]
  (for [{:keys [body] :as action} (actions f)]
    (cond-> action body (assoc :body (String. ^bytes body "UTF-8")))))

(defn- header
  [f & args]
  (fn [message] (update message :headers #(apply f % args))))

;; ---- examples

(deftest nothing-changes-where-nothing-was-changed
  (doseq [f [identity
             #(update % :headers vec)
             #(update % :body mail/body-bytes)
             #(assoc % :body "hello")
             #(assoc % :body "hello\n")
             #(dissoc % :body :headers :sender :recipients)
             #(update % :recipients rseq)
             (header mail/remove-headers "X-B")
             (header mail/update-headers "Subject" identity)]]
    (is (= [] (actions f)))))

(deftest each-edit-of-a-header-is-one-action
  (doseq [[f expected] {(header mail/add-header "X-Seen" "yes") [(act/add-header "X-Seen" "yes")]
                        (header mail/insert-header 0 "X-Seen" "yes") [(act/insert-header 0 "X-Seen" "yes")]
                        (header mail/set-header "SUBJECT" "ho") [(act/change-header "Subject" 1 "ho")]
                        (header mail/remove-headers "Subject") [(act/delete-header "Subject" 1)]
                        (header mail/remove-headers "X-A" #{"two"}) [(act/delete-header "x-a" 2)]
                        (header assoc 4 ["X-A" "3"]) [(act/change-header "X-A" 3 "3")]}]
    (doseq [mta [:postfix :sendmail]]
      (is (= expected (actions f {:client {:mta mta}}))))))

(deftest fields-of-one-name-are-deleted-from-the-last-to-the-first
  (is (= [(act/delete-header "X-A" 3) (act/delete-header "x-a" 2) (act/delete-header "X-A" 1)]
         (actions (header mail/remove-headers "X-A")))))

(deftest a-forged-field-does-not-survive-beside-a-new-one
  (let [forged (assoc given :headers (vec (for [n (range 5)] ["Authentication-Results" (str "mx; forged=" n)])))]
    (doseq [mta [:postfix :sendmail]]
      (is (= [["Authentication-Results" "mx; spf=fail"]]
             (-> (run (fn [message]
                        (update message :headers
                                #(-> %
                                     (mail/remove-headers "authentication-results")
                                     (mail/insert-header 0 "Authentication-Results" "mx; spf=fail"))))
                   {:mail forged, :client {:mta mta}})
                 :message :headers))))))

(deftest a-field-in-the-middle-stands-where-the-mta-counts-it
  (let [f (header mail/insert-header 2 "X-Seen" "yes")
        wanted (:headers (f given))]
    (is (= [(act/insert-header 3 "X-Seen" "yes")] (actions f {:client {:mta :postfix}})))
    (is (= [(act/insert-header 10 "X-Seen" "yes")] (actions f {:client {:mta :sendmail}})))
    (doseq [mta [:postfix :sendmail]]
      (is (= wanted (:headers (:message (run f {:client {:mta mta}}))))))))

(deftest the-envelope-and-the-body-are-changed-too
  (is (= [(act/change-sender "<new@example.org>" ["RET=HDRS"])
          (act/delete-recipient "<b@example.com>")
          (act/add-recipient "<d@example.com>" ["NOTIFY=NEVER"])
          (act/change-body "bye\r\n")
          (act/quarantine "later")]
         (spelled #(assoc %
                          :sender "<new@example.org>"
                          :options ["RET=HDRS"]
                          :recipients ["<c@example.com>" "<d@example.com>"]
                          :recipient-options [[] ["NOTIFY=NEVER"]]
                          :body "bye\r\n"
                          :quarantine "later")))))

(deftest further-actions-follow-the-changes
  (is (= :reject
         (:verdict (mt/run-message {:handlers (message-filter (fn [message context]
                                                                (changed context message (act/reject))))}
                                   given)))))

;; ---- what cannot be had

(defn- refusal
  "Returns why the mail was deferred."
  ([f]
   (refusal f {}))
  ([f given]
   (with-logs _logs
     (let [{:keys [verdict errors]} (run f given)]
       (is (= :temporary-failure verdict))
       (ex-message (:error (first errors)))))))

(deftest an-action-that-was-not-agreed-is-named-and-the-mail-deferred
  (is (string/includes? (refusal (header mail/set-header "Subject" "ho") {:options {:actions #{:add-header}}})
                        "needs :change-header for Subject, which was not agreed"))
  (is (string/includes? (refusal #(assoc % :recipients ["<b@example.com>"]) {:options {:actions #{:add-header}}})
                        "needs :delete-recipient for <c@example.com>")))

(deftest what-the-mta-cannot-deliver-is-an-error-that-says-why
  (doseq [[f text] {(header mail/add-header "X-Long" (apply str (repeat 1000 "x"))) "more than 990 octets"
                    (header conj ["X-Tight" "v" "v"]) "no space is to follow its colon"
                    (header conj ["X-Tight" "v" "w"]) "has another value than what follows its colon"
                    (header mail/add-header "X" (string/join "\n " (repeat 800 (apply str (repeat 80 "x"))))) "Postfix cuts"
                    #(assoc % :sender "nobody") "write it as <user@example.org>"
                    #(assoc % :options ["SIZE=1"]) "only RET and ENVID"
                    #(assoc % :queue-id "other") "its :queue-id says where it comes from"
                    #(assoc % :subjct "hi") "there is no key :subjct in a changed message"
                    #(update % :recipients conj "<d@example.com>" "<D@example.com>") "differs in the case"}]
    (is (string/includes? (refusal f) text)))
  (doseq [[f text] {(header mail/add-header "Bcc" "x@example.org") "Sendmail empties it"
                    (header mail/add-header "Return-Path" "<x@example.org>") "local delivery"
                    (header mail/add-header "Resent-To" "x@example.org") "not sent again"
                    #(assoc % :recipient-options [["NOTIFY=NEVER"] []]) "Sendmail joins them"}]
    (is (string/includes? (refusal f {:client {:mta :sendmail}}) text))))

(deftest a-truncated-message-keeps-what-was-not-seen
  (let [limits {:filter-options {:max-message 50, :when-exceeded :truncate}}]
    (is (= [(act/add-header "X-Seen" "yes")] (actions (header mail/add-header "X-Seen" "yes") limits)))
    (is (string/includes? (refusal #(assoc % :body "other") limits) "the message was truncated"))
    (is (string/includes? (refusal (header mail/add-header "X-Seen" "yes")
                            (assoc-in limits [:filter-options :max-message] 20))
                          "truncated in its header"))))

(deftest where-the-mta-is-not-known-only-what-is-right-with-both-is-done
  (let [unknown {:options {:request-macros {:connect ["j"]}}}]
    (is (= [(act/add-header "X-Seen" "yes")] (actions (header mail/add-header "X-Seen" "yes") unknown)))
    (is (string/includes? (refusal (header mail/insert-header 2 "X-Seen" "yes") unknown) "ask for the macro v"))))

(deftest changed-is-for-message-filters
  (is (string/includes? (:message (thrown (changed (mt/context) given))) "for the function of a message-filter")))

;; ---- header fields

(deftest values-are-folded-at-white-space-alone
  (let [words (string/join " " (repeat 60 "reference"))
        folded (mail/fold "References" words)]
    (is (every? #(<= (count %) 78) (string/split-lines (str "References: " folded))))
    (is (= words (string/replace folded "\n" "")))
    (is (= folded (mail/fold "References" folded))))
  (doseq [value ["" " " "x" (apply str (repeat 200 "x")) "a\n b" "  two  spaces  " "\ttab"]]
    (is (= value (mail/fold "X" value)))))

(deftest a-header-is-edited-by-name-whatever-the-case
  (let [headers (:headers given)]
    (is (= "one" (mail/header headers "x-A")))
    (is (nil? (mail/header headers "X-B")))
    (is (= ["one" "two" "three"] (mail/header-values headers "x-a")))
    (is (= [["X-A" "ONE"] ["x-a" "TWO"]]
           (filter #(= "x-a" (string/lower-case (first %)))
                   (mail/update-headers headers "X-a" #(when (not= "three" %) (string/upper-case %))))))
    (is (= [["X-A" "1"]] (mail/set-header [["X-A" "0"] ["x-a" "2"]] "x-a" "1")))
    (is (= [["X-A" "1"]] (mail/set-header nil "X-A" "1")))))

;; ---- the laws on the simulator

(defn- check
  [mta n options]
  (with-logs _logs
    (let [found (keep (fn [[size state]]
                        (edits/wrong-on-simulator mta options (rose/root (gen/call-gen edits/any-case state (mod size 60)))))
                      (map vector (range 5 (+ 5 n)) (random/split-n (random/make-random runner/seed) n)))]
      (is (= nil (#'cases/shortened (first found))) (str "seed " runner/seed)))))

(deftest what-postfix-delivers-is-what-was-asked-for
  (check :postfix (cases/share 3) {})
  (check :postfix (cases/share 1) {:leading-space? true}))

(deftest what-sendmail-delivers-is-what-was-asked-for
  (check :sendmail (cases/share 3) {})
  (check :sendmail (cases/share 1) {:leading-space? true}))

(deftest what-an-unknown-mta-delivers-is-what-was-asked-for
  (doseq [mta [:postfix :sendmail]]
    (check mta (cases/share 2) {:request-macros {:connect ["j"]}})))
