(ns temse.check-test
  (:require
   [clojure.core.async :as async]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.envelope :as envelope]
   [temse.impl.filter-file :as filter-file]
   [temse.milter :as milter :refer [message respond update-message]]
   [temse.support :refer [thrown with-logs]]
   [temse.test :as mt]
   [temse.test.check :as check]))
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
       "examples/seen_whole.clj" [] {}
       "examples/append_note.clj" [] {}
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

(deftest a-filter-that-looks-at-the-client-passes-also-when-a-client-has-left-before
  (is (= [] (found {:connect (fn [{:keys [address]} context] (assoc context ::address address))
                    :end-of-message (fn [_ {::keys [address]}] (refusal address))}
                   {:runs 200, :seed 800}))))

(deftest state-that-is-kept-in-a-global-is-found
  (testing "by the same message a second time"
    (let [messages (atom 0)
          seen (atom #{})]
      (are [filter] (= [[:global-state :end-of-message]] (found filter {:offer mt/postfix}))
        {:end-of-message (fn [_ _] (refusal (swap! messages inc)))}
        {:end-of-message (fn [_ _] (refusal (rand-int 1000000)))}
        {:mail (fn [{:keys [sender]} context] (assoc context ::sender sender))
         :end-of-message (fn [_ {::keys [sender]}]
                           (let [known? (contains? @seen sender)]
                             (swap! seen conj sender)
                             (when-not known?
                               [(act/reply-code 451 "4.7.1" "Come again")])))})))
  (testing "by another message that is under way"
    (let [subject (atom nil)]
      (is (= [[:global-state :end-of-message]]
             (found {:mail (fn [_ _] (reset! subject nil) nil)
                     :header (fn [{:keys [value]} _] (reset! subject value) nil)
                     :end-of-message (fn [_ _]
                                       (let [text (str (hash @subject))]
                                         (refusal text)))}
                    {:offer mt/postfix}))))))

(deftest what-a-filter-keeps-in-globals-on-purpose-passes-if-it-is-said
  (let [messages (atom 0)]
    (is (= [] (found {:end-of-message (fn [_ _] (refusal (swap! messages inc)))} {:global-state? true}))))
  (testing "and what leaks on a connection is still found"
    (is (= [[:leak :end-of-message]] (found counting {:global-state? true, :offer mt/postfix})))))

;; ---- the same message in other words

(def ^:private lottery
  {:headers [["Subject" "You have won"] ["From" "a@example.org"]]
   :body "Take part in our lottery today.\r\n"})

(defn- refusing-body
  "Returns handlers that refuse a word which they look for in each piece of the body."
  [word]
  {:body (fn [{:keys [data]} context]
           (update-message context update :found? #(or % (string/includes? (String. ^bytes data) word))))
   :end-of-message (fn [_ context]
                     (when (:found? (message context))
                       (refusal "No lottery")))})

(deftest a-word-that-is-split-over-pieces-is-found
  (is (= [] (found (refusing-body "lottery"))))
  (let [[{:keys [kind explanation conversation alone]} :as findings]
        (:findings (checked (refusing-body "lottery") {:mails [lottery]}))]
    (is (= 1 (count findings)))
    (is (= :pieces kind))
    (is (= (str "the message with its body in other pieces comes to accept, as it was to"
                " 550 5.7.1 No lottery")
           explanation))
    (is (< (count (filter #(= :body (:event (:event %))) alone))
           (count (filter #(= :body (:event (:event %))) conversation)))))
  (testing "and a filter that gathers the body passes"
    (is (= [] (found {:body (fn [{:keys [data]} context]
                              (update-message context update :text str (String. ^bytes data)))
                      :end-of-message (fn [_ context]
                                        (when (string/includes? (:text (message context) "") "lottery")
                                          (refusal "No lottery")))}
                     {:mails [lottery]})))))

(deftest a-name-that-is-compared-with-its-case-is-found
  (let [handlers (fn [subject?]
                   {:header (fn [{:keys [name value]} context]
                              (cond-> context
                                (subject? name) (update-message assoc :subject value)))
                    :end-of-message (fn [_ context]
                                      (if (string/includes? (:subject (message context) "") "won")
                                        (refusal "No lottery")
                                        context))})]
    (is (= [[:case :end-of-message]] (found (handlers #(= "Subject" %)) {:mails [lottery]})))
    (is (= [] (found (handlers #(= "subject" (string/lower-case %))) {:mails [lottery]})))))

(deftest mails-are-given-in-every-form
  (is (= [[:exception :header]]
         (found {:header (fn [{:keys [value]} _] (when (= "very special" value) (throw (Exception. "oops"))))}
                {:mails ["Subject: very special\n\nhello\n"]}))))

;; ---- the time that it takes

(deftest a-time-limit-ends-the-search
  (let [{:keys [runs stopped pass? findings]}
        (check/check-filter {:header (fn [_ _] (Thread/sleep 5))}
                            {:runs 100000, :time-limit 300, :on-progress identity})]
    (is (= [:time-limit true []] [stopped pass? findings]))
    (is (< runs 100000))))

(deftest a-handler-that-blocks-for-ever-is-found
  (let [blocked (promise)
        {:keys [findings stopped]} (check/check-filter {:mail (fn [_ _] @blocked)}
                                                       {:time-limit 100, :on-progress identity})]
    (is (= [[:blocked :mail]] (map (juxt :kind :event) findings)))
    (is (= :time-limit stopped))
    (is (re-find #"^temse\.check_test\$" (first (:trace (first findings)))))))

(deftest progress-is-told-while-it-takes-long
  (let [told (atom [])]
    (check/check-filter {:header (fn [_ _] (Thread/sleep 5))}
                        {:runs 100000, :time-limit 1500, :on-progress #(swap! told conj %)})
    (is (= #{:runs :of :findings :millis} (set (keys (first @told)))))
    (is (= 100000 (:of (first @told)))))
  (is (re-find #"^check-filter: \d+ of 100000 conversations after 1 s\n"
               (with-out-str (check/check-filter {:header (fn [_ _] (Thread/sleep 5))}
                                                 {:runs 100000, :time-limit 1200})))))

(deftest a-channel-that-closes-without-a-value-is-found
  (is (= [[:bad-handler-return :data]]
         (found {:data (fn [_ _] (doto (async/chan) async/close!))}))))

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
  (let [result (checked stumbling {:runs 100, :offer mt/postfix})
        lines (string/split-lines (with-out-str (check/print-findings result)))]
    (is (= ["100 conversations, seed 42: 1 finding"
            ""
            (str "1. :exception: the handler of :header threw java.lang.IllegalStateException:"
                 " no subject")]
           (take 3 lines)))
    (is (re-find #"^     at temse\.check_test" (nth lines 3)))
    (is (= ["  MTA  --> options version 6"
            "       <-- options version 6"
            "  MTA  --> header Subject: "]
           (take 3 (drop 4 lines))))
    (is (string/starts-with? (last lines) "       <-- temporary-failure"))))

(deftest both-conversations-of-a-leak-are-printed
  (is (string/includes? (with-out-str (check/print-findings (checked counting {:offer mt/postfix})))
                        "\n   On a connection of its own:\n  MTA  --> end-of-message\n")))

(deftest nothing-found-is-said
  (is (= "5 conversations, seed 1: nothing found\n"
         (with-out-str (check/print-findings (check/check-filter {} {:runs 5, :seed 1, :on-progress identity}))))))

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

(deftest a-filter-may-ask-who-is-there-whatever-the-mta-offers
  (is (= [] (found {:handlers {:end-of-message (fn [_ context] (envelope/sender context) context)
                               :disconnect (fn [_ context] context)}
                    :wants #{:sender}
                    :actions #{:add-header}}))))
