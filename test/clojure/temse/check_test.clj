(ns temse.check-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.check :as check]
   [temse.impl.filter-file :as filter-file]
   [temse.milter :as milter :refer [message respond update-message]]
   [temse.support :refer [thrown with-logs]]
   [temse.test :as mt]))
(set! *warn-on-reflection* true)

(defn- checked
  ([filter]
   (checked filter {}))
  ([filter options]
   (check/check-filter filter (merge {:runs 60, :seed 42} options))))

(defn- found
  "Returns kind and event of each finding."
  [& arguments]
  (map (juxt :kind :event) (:findings (apply checked arguments))))

(defn- refusal
  "Returns the response that refuses with a value as its text."
  [value]
  [(act/reply-code 550 "5.7.1" (str value))])

(defn- answers
  "Returns handlers of which that of one event returns a value."
  [event value]
  {event (fn [_ _] value)})

;; ---- filters that are right

(deftest a-filter-without-bugs-passes
  (is (= {:pass? true, :runs 60, :seed 42, :findings []}
         (checked {:handlers {:header (fn [{:keys [name]} context]
                                        (update-message context update :names (fnil conj []) name))
                              :end-of-message (fn [_ context]
                                                (let [{:keys [names]} (message context)]
                                                  (respond
                                                    context
                                                    (act/add-header "X-Count" (str (count names)))
                                                    (act/accept))))}
                   :actions #{:add-header}}))))

(deftest the-examples-pass
  (are [file arguments options]
       (= [] (:findings (checked (filter-file/load-filter file arguments) options)))
       "examples/add_header.clj" [] {}
       "examples/refuse_words.clj" ["lottery" "e"] {}
       "examples/seen_filter.clj" [] {}
       "examples/seen_message.clj" [] {}
       "examples/test_filter.clj" [] {:client-state? true}
       "examples/test_filter.clj" ["few"] {:client-state? true}))

(deftest a-filter-is-given-as-handlers-a-var-of-them-or-options
  (let [handlers (answers :mail 42)]
    (are [filter] (= [[:bad-handler-return :mail]] (found filter))
      handlers
      {:handlers handlers}
      {:init (fn [context] (assoc context :handlers handlers))})
    (with-local-vars [v handlers]
      (is (= [[:bad-handler-return :mail]] (found v))))))

(deftest pending-values-that-come-pass
  (is (= [] (found {:mail (fn [_ context] (future context))
                    :recipient (fn [_ context] (delay context) nil)}))))

(deftest a-filter-that-needs-more-than-the-mta-offers-passes
  (is (= [] (found {:handlers {} :actions #{:change-sender}} {:offer {:version 2 :actions #{}}}))))

;; ---- exceptions

(def ^:private stumbling
  {:header (fn [{:keys [name value]} context]
             (if (and (= "Subject" name) (= "" value))
               (throw (IllegalStateException. "no subject"))
               context))})

(deftest an-exception-is-found-with-a-small-conversation
  (let [[{:keys [kind event explanation trace conversation error]} :as findings]
        (:findings (checked stumbling {:runs 100, :offer mt/postfix}))]
    (is (= 1 (count findings)))
    (is (= [:exception :header] [kind event]))
    (is (= "the handler of :header threw java.lang.IllegalStateException: no subject" explanation))
    (is (instance? IllegalStateException error))
    (is (re-find #"^temse\.check_test\$.*\(check_test\.clj:\d+\)$" (first trace)))
    (is (= 1 (count trace)))
    (is (= [:options :header] (map (comp :event :event) conversation)))
    (is (= [{:action :temporary-failure}] (:response (peek conversation))))))

(deftest what-was-found-shows-again-when-its-events-are-played
  (let [[{:keys [events conversation] :as finding}] (:findings (checked stumbling {:runs 100}))
        exchanges (with-logs _
                    (check/play {:handlers stumbling}
                                events
                                (select-keys finding [:mta :offer :macros])))]
    (is (= (:event (peek conversation)) (:event (peek exchanges))))
    (is (= (:response (peek conversation)) (:response (peek exchanges))))))

(deftest exceptions-are-found-where-no-reply-is-owed
  (are [event] (= [[:exception event]] (found {event (fn [_ _] (throw (Exception. "oops")))}))
    :connect
    :abort
    :message-end
    :disconnect))

(deftest exceptions-of-init-are-found
  (is (= [[:exception :options]]
         (found {:handlers {}, :init (fn [_] (throw (Exception. "oops")))}))))

(deftest exceptions-of-pending-values-are-found
  (is (= [[:exception :data]]
         (found {:data (fn [_ _] (future (throw (Exception. "oops"))))}))))

(deftest a-handler-that-fails-after-an-abort-only-is-found
  (is (= [[:exception :mail]]
         (found {:abort (fn [_ context] (assoc context ::aborted? true))
                 :mail (fn [_ context]
                         (when (::aborted? context)
                           (throw (Exception. "oops"))))}))))

(deftest several-bugs-are-found-at-once
  (is (= #{[:exception :hello] [:bad-handler-return :connect]}
         (set (found {:connect (fn [{:keys [family]} _]
                                 (when (= :inet6 family) 42))
                      :hello (fn [{:keys [greeting]} _]
                               (when (= "" greeting) (throw (Exception. "oops"))))}
                     {:runs 300})))))

;; ---- replies

(deftest a-forgotten-reply-is-found
  (is (= [[:handler-timeout :recipient]]
         (found (answers :recipient (promise)) {:timeout 20}))))

(deftest a-doubled-reply-is-found
  (is (= [[:double-reply :recipient]]
         (found (answers :recipient [(act/reject) (act/accept)])))))

(deftest a-change-after-the-reply-is-found
  (is (= [[:late-action :end-of-message]]
         (found (answers :end-of-message [(act/accept) (act/add-header "X-Seen" "yes")])
                {:offer mt/postfix}))))

(deftest a-reply-that-is-sent-too-late-is-found
  (is (= [:stale-context]
         (map :kind
              (:findings (checked {:connect (fn [_ context]
                                              (future
                                                (while true
                                                  (milter/send-action (act/progress) context)))
                                              context)}
                                  {:runs 1}))))))

(deftest a-return-value-that-means-nothing-is-found
  (are [value] (= [[:bad-handler-return :data]] (found (answers :data value) {:offer mt/postfix}))
    42
    (act/reject)
    [:reject]))

(deftest actions-that-may-not-answer-the-event-are-found
  (are [event action] (= [[:reply-not-allowed event]] (found (answers event [action])))
    :connect (act/discard)
    :header (act/add-header "X-Seen" "yes")
    :abort (act/reject)))

(deftest actions-that-were-not-agreed-are-found
  (let [handlers (answers :end-of-message [(act/add-header "X-Seen" "yes")])]
    (is (= [[:action-not-negotiated :end-of-message]] (found handlers)))
    (is (= [] (found {:handlers handlers, :actions #{:add-header}})))
    (is (= [] (found handlers {:offer mt/postfix})))))

(deftest actions-that-cannot-travel-are-found
  (are [action] (= [[:bad-action :end-of-message]]
                   (found (answers :end-of-message [action]) {:offer mt/postfix}))
    (act/add-header "X-Seen:" "yes")
    (act/add-header "X Seen" "yes")
    (act/add-header "X-Seen" "yes\r")
    (act/add-header "X-Seen" (apply str (repeat 70000 "x")))
    (act/add-recipient "")
    (act/reply-code 550 "4.7.1" "classes differ")
    (act/reply-code 550 "5.7.1" (apply str (repeat 2000 "x")))
    {:action :delete-recipient}
    {:action :rejcet}))

(deftest a-text-of-the-mail-that-cannot-travel-in-a-reply-is-found
  (is (= [[:bad-action :end-of-message]]
         (found {:mail (fn [{:keys [sender]} context]
                         (update-message context assoc :sender sender))
                 :end-of-message (fn [_ context]
                                   (let [{:keys [sender]} (message context)]
                                     (refusal (string/join " " (repeat 9 sender)))))}))))

;; ---- state

(def ^:private counting
  "Counts header fields where the count outlives the message."
  {:header (fn [_ context] (update context ::fields (fnil inc 0)))
   :end-of-message (fn [_ context] (refusal (str (::fields context 0) " fields")))})

(deftest state-that-leaks-into-the-next-message-is-found
  (let [[{:keys [kind event explanation conversation alone]} :as findings]
        (:findings (checked counting {:offer mt/postfix}))]
    (is (= 1 (count findings)))
    (is (= [:leak :end-of-message] [kind event]))
    (is (= (str "at :end-of-message the last message is answered by 550 5.7.1 1 fields,"
                " on a connection of its own by 550 5.7.1 0 fields")
           explanation))
    (is (= [:options :header :end-of-message]
           (distinct (map (comp :event :event) conversation))))
    (is (= [:end-of-message] (map (comp :event :event) alone)))))

(deftest state-that-an-abort-does-not-end-is-found
  (is (= [[:leak :end-of-message]]
         (found {:recipient (fn [_ context] (update context ::recipients (fnil inc 0)))
                 :end-of-message (fn [_ context]
                                   (-> (reduce respond context (refusal (::recipients context)))
                                       (dissoc ::recipients)))}))))

(deftest what-a-filter-remembers-of-a-client-on-purpose-passes-if-it-is-said
  (is (= [[:leak :end-of-message]] (found counting)))
  (is (= [] (found counting {:client-state? true}))))

(deftest state-that-leaks-into-the-next-client-is-found
  (let [fields (atom {})
        id #(:id (:milter/info %))]
    (is (= [[:leak :end-of-message]]
           (found {:header (fn [_ context]
                             (swap! fields update (id context) (fnil inc 0))
                             nil)
                   :end-of-message (fn [_ context] (refusal (@fields (id context))))}
                  {:client-state? true, :offer mt/postfix})))))

(deftest answers-that-differ-each-time-are-no-leaks
  (let [messages (atom 0)]
    (is (= [] (found {:end-of-message (fn [_ _] (refusal (swap! messages inc)))})))))

(deftest the-queue-id-may-be-in-an-answer
  (is (= [] (found {:end-of-message (fn [_ context] (refusal (milter/get-macro context "i")))}))))

;; ---- results

(defn- without-times
  [findings]
  (map #(map (fn [{:keys [event response]}] (map :event (cons event response))) (:conversation %))
       findings))

(deftest a-seed-yields-the-same-findings
  (let [[one another] (repeatedly 2 #(:findings (checked stumbling {:runs 100})))]
    (is (seq one))
    (is (= (without-times one) (without-times another)))))

(deftest a-seed-is-chosen-where-none-is-given
  (let [[one another] (repeatedly 2 #(:seed (check/check-filter {} {:runs 1})))]
    (is (int? one))
    (is (not= one another))))

(deftest findings-are-printed-as-ladders
  (let [lines (string/split-lines
                (with-out-str
                  (check/print-findings (checked stumbling {:runs 100, :offer mt/postfix}))))]
    (is (= ["100 conversations, seed 42: 1 finding"
            ""
            (str "1. :exception: the handler of :header threw java.lang.IllegalStateException:"
                 " no subject")]
           (take 3 lines)))
    (is (re-find #"^     at temse\.check_test" (nth lines 3)))
    (is (= ["  MTA  --> options version 6"
            "       <-- options"
            "  MTA  --> header Subject: "]
           (take 3 (drop 4 lines))))
    (is (string/starts-with? (last lines) "       <-- temporary-failure"))))

(deftest both-conversations-of-a-leak-are-printed
  (is (string/includes? (with-out-str (check/print-findings (checked counting {:offer mt/postfix})))
                        "\n   On a connection of its own:\n  MTA  --> end-of-message\n")))

(deftest nothing-found-is-said
  (is (= "5 conversations, seed 1: nothing found\n"
         (with-out-str (check/print-findings (check/check-filter {} {:runs 5, :seed 1}))))))

(deftest misspelt-options-are-told
  (is (string/includes? (:message (thrown (check/check-filter {} {:run 5})))
                        "there is no key :run in the options of check-filter; did you mean :runs?"))
  (is (= :bad-options (:milter/error (thrown (check/check-filter {:handlers {} :port "x"}))))))

;; ---- playing

(def ^:private client
  [{:event :connect, :host-name "localhost", :family :unknown}
   {:event :hello, :greeting "localhost"}])

(def ^:private message-of-two
  [{:event :mail, :sender "<a@example.org>", :options []}
   {:event :recipient, :address "<b@example.com>", :options []}
   {:event :recipient, :address "<c@example.com>", :options []}
   {:event :data}
   {:event :header, :name "Subject", :value "hi"}
   {:event :end-of-headers}
   {:event :body, :data (.getBytes "one\r\n")}
   {:event :body, :data (.getBytes "two\r\n")}
   {:event :end-of-message}])

(defn- said
  "Returns the events that an MTA says of two messages, and QUIT."
  [handlers]
  (let [watchers (zipmap [:connect :hello :mail :recipient :data :header :end-of-headers :body
                          :end-of-message]
                         (repeat milter/default-event-handler))]
    (map (comp :event :event)
         (check/play {:handlers (merge watchers handlers)}
                     (concat client message-of-two message-of-two [{:event :quit}])))))

(deftest an-mta-follows-the-replies
  (let [whole (map :event message-of-two)]
    (are [handlers events] (= events (said handlers))
      {}
      (concat [:connect :hello] whole whole)

      (answers :connect [(act/reject)])
      [:connect]

      (answers :hello [(act/accept)])
      [:connect :hello]

      (answers :mail [(act/temporary-failure)])
      [:connect :hello :mail :mail]

      (answers :recipient [(act/reject)])
      [:connect :hello :mail :recipient :recipient :mail :recipient :recipient]

      (answers :recipient [(act/discard)])
      [:connect :hello :mail :recipient :mail :recipient]

      {:recipient (fn [{:keys [address]} _] (when (= "<b@example.com>" address) [(act/reject)]))}
      (concat [:connect :hello] whole whole)

      (answers :body [(act/skip)])
      (let [skipped (remove #{::again} (map #(if (= %1 %2) ::again %2) (cons nil (drop 3 whole))
                                            (drop 3 whole)))
            message (concat [:mail :recipient :recipient] skipped)]
        (concat [:connect :hello] message message))

      (answers :data [(act/reply-code 421 "4.7.0" "Go away")])
      [:connect :hello :mail :recipient :recipient :data])))

(deftest an-abort-is-said-where-the-filter-would-not-hear-of-the-end-of-a-message
  (let [said (fn [& events]
               (map (comp :event :event)
                    (check/play {:handlers (zipmap events (repeat milter/default-event-handler))}
                                (concat client (take 5 message-of-two) (drop 1 client)))))]
    (is (= [:header :abort] (said :header)))
    (is (= [:hello :header :hello] (said :header :hello)))))

(deftest another-client-ends-the-connection-where-the-filter-cannot-be-told
  (is (= [:connect :disconnect :connect]
         (map (comp :event :event)
              (check/play {:handlers {:connect milter/default-event-handler}}
                          [(first client) {:event :disconnect} (first client)]))))
  (is (= [:connect]
         (map (comp :event :event)
              (check/play {:handlers {:connect milter/default-event-handler}}
                          [(first client) {:event :disconnect} (first client)]
                          {:offer {:version 4}})))))

(deftest what-no-mta-says-is-not-played
  (testing "the end of a message that was not begun"
    (is (= :unexpected-event
           (:milter/error (thrown (check/play {} [{:event :end-of-message}])))))))

(deftest a-filter-may-close-the-connection
  (is (= [] (found {:hello (fn [_ context] (milter/close context))}))))
