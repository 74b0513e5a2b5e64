(ns temse.compose-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :refer [for-all]]
   [temse.action :as act]
   [temse.compose :as compose :refer [in-sequence named pretend sequence-of when-client when-message]]
   [temse.filter :as filter :refer [message-filter]]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.simulate.cases :as cases]
   [temse.support :refer [messages thrown with-logs]]
   [temse.test :as mt]
   [temse.test.check :refer [check-filter]])
  (:import
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent CompletableFuture)))

(set! *warn-on-reflection* true)

;; ---- scripted filters

(defn- scripted
  "Returns a filter that answers as a script says: see temse.simulate.lab."
  [script]
  (let [answer (fn [{:keys [event]} context]
                 (let [context (milter/update-message context update event (fnil inc 0))
                       n (get (milter/message context) event)
                       actions (if (#{:header :recipient} event) (get-in script [event n]) (get script event))]
                   (apply milter/respond context actions)))]
    {:handlers (zipmap [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message]
                       (repeat answer))}))

(def ^:private mail-and-scripts
  (gen/tuple @#'cases/mail (gen/vector @#'cases/script 3) (gen/elements [:postfix :sendmail])))

(defn- without-why
  [x]
  (if (map? x) (dissoc x :why) x))

(defn- came-to
  "Returns what became of a mail, comparable."
  [filter mail mta]
  (-> (mt/run-message filter
                      (select-keys mail [:sender :options :recipients :recipient-options :headers :body])
                      (if mta {:mta mta} {}))
      (select-keys [:verdict :reply :fate :smtp :message :recipients])
      (update :reply without-why)
      (update :recipients update-vals without-why)
      (update-in [:message :body] #(some-> ^bytes % String.))))

(defn- sendable?
  [{:keys [headers body]}]
  (not-any? #(re-find #"[\r\u0000]" %) (cons (string/replace body "\r\n" "") (mapcat rest headers))))

(defn- reachable?
  "Returns true if the mail is one that the MTA's side plays: not all scripts of a real client are."
  [mail]
  (and (seq (:recipients mail)) (sendable? mail)))

(def ^:private trials 40)

(defspec a-sequence-of-one-behaves-as-that-one trials
  (for-all [[mail [a] mta] (gen/such-that (comp reachable? first) mail-and-scripts 100)]
    (let [filter (scripted a)]
      (= (came-to filter mail mta)
         (came-to (in-sequence filter) mail mta)
         (came-to (when-client (constantly true) filter) mail mta)
         (came-to (when-message (constantly true) filter) mail mta)))))

(defspec how-a-sequence-is-grouped-makes-no-difference trials
  (for-all [[mail scripts mta] (gen/such-that (comp reachable? first) mail-and-scripts 100)]
    (let [[a b c] (map scripted scripts)]
      (= (came-to (in-sequence a b c) mail mta)
         (came-to (in-sequence a (in-sequence b c)) mail mta)
         (came-to (in-sequence (in-sequence a b) c) mail mta)))))

(defspec a-filter-that-is-not-there-makes-no-difference trials
  (for-all [[mail [a b c] mta] (gen/such-that (comp reachable? first) mail-and-scripts 100)]
    (let [[a b c] (map scripted [a (dissoc b :connect :hello) c])]
      (= (came-to (in-sequence a c) mail mta)
         (came-to (in-sequence a (when-client (constantly false) b) c) mail mta)
         (came-to (in-sequence a (when-message (constantly false) b) c) mail mta)))))

(defn- adding
  [header-name]
  {:handlers {:end-of-message (fn [_ _] [(act/add-header header-name "1")])}})

(defspec each-message-of-a-connection-is-as-if-it-were-alone trials
  (for-all [mails (gen/vector (gen/such-that reachable? @#'cases/mail 100) 2 3)
            scripts (gen/vector (gen/fmap #(dissoc % :connect :hello) @#'cases/script) 3)]
    (let [filters (sequence-of (map scripted scripts))
          alone (mapv #(came-to filters % :postfix) mails)]
      (with-open [session (mt/connect-to filters)]
        (every? true?
                (for [[mail expected] (map vector mails alone)
                      :while (not= 421 (:smtp-code (:reply expected)))]
                  (= (dissoc expected :smtp)
                     (dissoc (came-to session mail nil) :smtp))))))))

(deftest a-refused-message-is-followed-by-another-that-is-judged-anew
  (with-open [session (mt/connect-to (in-sequence {:handlers {:mail (fn [_ _] [(act/reject)])}} (adding "X")))]
    (is (= [:reject :reject :reject] (repeatedly 3 #(:verdict (mt/run-message session {})))))))

(deftest conversations-of-all-kinds-find-no-bug-in-a-sequence
  (let [refusing {:handlers {:mail (fn [{:keys [sender]} _] (when (string/includes? sender "a") [(act/reject)]))
                             :end-of-message (fn [_ _] [(act/insert-header 0 "X-A" "1") (act/delete-header "Subject")])}}
        replacing {:handlers {:header (fn [_ _] nil)
                              :body (fn [_ _] nil)
                              :end-of-message (fn [_ _] [(act/change-header "Subject" 1 "x") (act/change-body "abc")])}}
        deferred-on-purpose? #(string/includes? (:explanation %) "looks different behind Postfix and behind Sendmail")]
    (is (= []
           (->> (check-filter (in-sequence refusing replacing (when-message (constantly true) (adding "X")))
                              {:runs 60, :seed runner/seed, :on-progress (fn [_])})
                :findings
                (remove deferred-on-purpose?))))))

;; ---- negotiation

(def ^:private asking
  "A filter that asks for something."
  (let [events [:connect :mail :recipient :header :body :data :end-of-message :unknown]
        actions [:add-header :change-header :change-body :add-recipient :quarantine]]
    (gen/let [handled (gen/not-empty (gen/set (gen/elements events)))
              needed (gen/set (gen/elements actions))
              optional (gen/set (gen/elements actions))
              optional-events (gen/set (gen/elements events))]
      {:handlers (zipmap handled (repeat (fn [_ _] nil)))
       :actions needed
       :optional-actions optional
       :optional-events (set (filter handled optional-events))})))

(defspec a-sequence-asks-for-what-its-filters-ask-for 100
  (for-all [filters (gen/vector asking 1 4)]
    (let [together (in-sequence (first filters))
          together (if (next filters) (sequence-of filters) together)
          needs (fn [{:keys [handlers optional-events]}] (reduce dissoc handlers optional-events))]
      (and (= (into #{} (mapcat :actions) filters) (:actions together))
           (= (reduce disj (into #{} (mapcat :optional-actions) filters) (mapcat :actions filters))
              (reduce disj (:optional-actions together) (:actions together)))
           (every? (set (keys (:handlers together))) (mapcat (comp keys :handlers) filters))
           (not-any? (:optional-events together) (mapcat (comp keys needs) filters))))))

(deftest what-one-filter-needs-and-another-may-do-without-is-needed
  (let [filter (in-sequence {:handlers {:data (fn [_ _])} :optional-events #{:data} :actions #{}}
                            {:handlers {:data (fn [_ _])} :optional-events #{} :actions #{:add-header}
                             :optional-actions #{:quarantine}})]
    (is (= :events-refused (:milter/error (thrown (milter/explain-negotiation filter {:version 2})))))
    (is (= :actions-refused (:milter/error (thrown (milter/explain-negotiation filter {:actions #{:quarantine}})))))
    (is (= #{:add-header} (:actions (milter/explain-negotiation filter {:actions #{:add-header}}))))))

(deftest an-event-that-all-only-watch-takes-no-reply
  (let [watch (with-meta (fn [_ _]) {:no-reply true})
        explained #(:no-reply (milter/explain-negotiation %))]
    (is (contains? (explained (in-sequence {:handlers {:mail watch}} {:handlers {:mail watch}})) :mail))
    (is (not (contains? (explained (in-sequence {:handlers {:mail watch}} {:handlers {:mail (fn [_ _])}})) :mail)))))

;; ---- state and scopes

(defn- noting
  "Returns a filter that counts in its context and notes each event with what it finds there."
  [notes title]
  {:init #(assoc % :mine title)
   :handlers (zipmap [:connect :mail :header :end-of-message :message-end :disconnect :abort]
                     (repeat (fn [{:keys [event reason]} context]
                               (swap! notes conj [title event reason (:mine context) (:n context)
                                                  (:n (milter/message context))])
                               (cond-> (update context :n (fnil inc 0))
                                 (not= :connect event) (milter/update-message update :n (fnil inc 0))))))})

(deftest no-filter-sees-the-state-of-another
  (let [notes (atom [])]
    (with-open [session (mt/connect-to (in-sequence (noting notes "a") (noting notes "b")))]
      (run! #(mt/run-message session {:headers [["Subject" %]]}) ["1" "2"]))
    (doseq [title ["a" "b"]
            :let [own (filter #(= title (first %)) @notes)]]
      (is (every? #(= title (nth % 3)) own))
      (is (= (cons nil (range 1 (count own))) (map #(nth % 4) own)))
      (is (= [nil] (distinct (map last (filter #(= :mail (second %)) own))))))))

(deftest message-end-and-disconnect-come-once-for-each-filter
  (doseq [[script reasons]
          {{} [:accepted :accepted]
           {:mail [(act/reject)]} [:rejected nil]
           {:mail [(act/accept)]} [:accepted :accepted]
           {:recipient {1 [(act/discard)]}} [:discarded :aborted]
           {:header {1 [(act/temporary-failure)]}} [:deferred :aborted]
           {:end-of-message [(act/reject)]} [:rejected :aborted]}]
    (testing script
      (let [ends (atom [])
            ending (fn [title filter]
                     (update filter :handlers assoc
                             :message-end (fn [{:keys [reason]} _] (swap! ends conj [title reason]) nil)
                             :disconnect (fn [_ _] (swap! ends conj [title :disconnect]) nil)))]
        (mt/run-message (in-sequence (ending :a (scripted script)) (ending :b (scripted {})))
                        {:headers [["Subject" "hi"]]})
        (is (= {[:a :disconnect] 1, [:b :disconnect] 1}
               (select-keys (frequencies @ends) [[:a :disconnect] [:b :disconnect]])))
        (is (= (frequencies (remove (comp nil? second) (map vector [:a :b] reasons)))
               (frequencies (remove #(= :disconnect (second %)) @ends))))))))

(deftest a-connection-that-is-lost-ends-message-and-client-of-each-filter
  (let [notes (atom [])]
    (mt/run-message (in-sequence (noting notes "a") (noting notes "b")) {} {:faults [{:fault :drop-connection :after :mail}]})
    (doseq [title ["a" "b"]]
      (is (= [[:message-end :lost] [:disconnect :connection-lost]]
             (->> @notes
                  (filter #(and (= title (first %)) (#{:message-end :disconnect} (second %))))
                  (map (fn [[_ event reason]] [event reason]))))))))

;; ---- what later filters see

(defn- seeing
  "Returns a filter that puts what it has seen of the content into an atom."
  [seen & actions]
  {:handlers {:header (fn [{:keys [name value]} _] (swap! seen update :headers (fnil conj []) [name value]) nil)
              :body (fn [{:keys [data]} _] (swap! seen update :body str (String. ^bytes data)) nil)
              :end-of-message (fn [_ context] (apply milter/respond context actions))}})

(deftest a-later-filter-sees-what-earlier-ones-have-changed
  (let [seen (atom {})
        {:keys [message]} (mt/run-message
                            (in-sequence {:handlers {:end-of-message (fn [_ _] [(act/change-header "Subject" 1 "new")
                                                                                (act/change-body "other\n")])}}
                                         (seeing seen (act/add-header "X-Seen" "yes")))
                            {:headers [["Subject" "old"] ["X-A" "1"]] :body "hello\r\n"})]
    (is (= {:headers [["Subject" "new"] ["X-A" "1"]] :body "other\r\n"} @seen))
    (is (= [["Subject" "new"] ["X-A" "1"] ["X-Seen" "yes"]] (:headers message)))
    (is (= "other\r\n" (String. ^bytes (:body message))))))

(deftest a-body-that-a-filter-streams-is-read-once-and-seen-by-the-next
  (let [seen (atom {})
        opened (atom 0)
        text (string/join (repeat 20000 "a line of text\r\n"))
        streaming {:handlers {:end-of-message
                              (fn [_ _] [(act/change-body (fn [] (swap! opened inc)
                                                            (java.io.ByteArrayInputStream. (.getBytes ^String text))))])}}
        {:keys [message]} (mt/run-message (in-sequence streaming (seeing seen)) {:body "hello\r\n"})]
    (is (= 1 @opened))
    (is (= text (:body @seen)))
    (is (= text (String. ^bytes (:body message))))))

(deftest where-no-earlier-filter-changes-anything-content-comes-as-it-comes
  (let [events (atom [])
        noting (fn [title] {:actions #{}
                            :handlers {:header (fn [_ _] (swap! events conj [title :header]) nil)
                                       :end-of-message (fn [_ _] (swap! events conj [title :end]) nil)}})]
    (mt/run-message (in-sequence (noting :a) (noting :b)) {:headers [["X" "1"] ["Y" "2"]]})
    (is (= [[:a :header] [:b :header] [:a :header] [:b :header] [:a :end] [:b :end]] @events))))

(deftest a-filter-may-only-do-what-it-has-asked-for
  (let [{:keys [fate errors]} (mt/run-message
                                (in-sequence {:handlers {:end-of-message (fn [_ _] nil)} :actions #{:add-header}}
                                             {:handlers {:end-of-message (fn [_ _] [(act/add-header "X" "1")])}
                                              :actions #{}})
                                {})]
    (is (= :deferred fate))))

(deftest each-filter-sees-the-macros-that-it-has-asked-for
  (let [seen (atom {})
        looking (fn [title options]
                  (merge {:handlers {:mail (fn [_ context]
                                             (swap! seen assoc title
                                                    [(milter/get-macro context "auth_authen")
                                                     (milter/get-macro context "mail_host")])
                                             nil)}}
                         options))]
    (mt/run-message (in-sequence (looking :a {:request-macros {:mail ["{auth_authen}"]}})
                                 (looking :b {}))
                    {}
                    {:macros {:mail {"auth_authen" "ann", "mail_host" "example.org"}}})
    (is (= {:a ["ann" nil] :b ["ann" "example.org"]} @seen))))

(deftest recipients-that-the-mta-refuses-are-for-those-who-ask-for-them
  (let [seen (atom [])
        noting (fn [title options]
                 (merge {:handlers {:recipient (fn [{:keys [address]} _] (swap! seen conj [title address]) nil)}} options))]
    (with-open [session (mt/connect-to (in-sequence (noting :a {:rejected-recipients? true}) (noting :b {})))]
      (mt/send-event session {:event :connect, :host-name "h", :family :inet, :port 1, :address "192.0.2.1"})
      (mt/send-event session {:event :mail, :sender "<a@example.org>", :options []})
      (mt/send-macros session :recipient {"rcpt_mailer" "error"})
      (mt/send-event session {:event :recipient, :address "<no@example.org>", :options []}))
    (is (= [[:a "<no@example.org>"]] @seen))))

(deftest message-filters-in-sequence-see-and-change-what-is-there-by-then
  (let [setting (fn [header-name]
                  {:handlers (message-filter
                               (fn [{:keys [headers body]} context]
                                 (filter/changed context
                                   {:headers (mail/set-header headers header-name (str (count headers)))
                                    :body (str (String. (mail/body-bytes body)) header-name "\r\n")})))})
        {:keys [message]} (mt/run-message (in-sequence (setting "X-A") (setting "X-B") (setting "X-A"))
                                          {:headers [["Subject" "hi"]] :body "hello\r\n"})]
    (is (= [["Subject" "hi"] ["X-A" "3"] ["X-B" "2"]] (:headers message)))
    (is (= "hello\r\nX-A\r\nX-B\r\nX-A\r\n" (String. ^bytes (:body message))))))

(deftest large-bodies-go-to-files-which-are-gone-afterwards
  (let [directory (.toFile (Files/createTempDirectory "temse-compose-" (make-array FileAttribute 0)))
        text (string/join (repeat 5000 "a line of text\r\n"))
        seen (atom {})
        changing {:handlers {:end-of-message (fn [_ _] [(act/change-body (string/upper-case text))])}}
        both (sequence-of [changing (seeing seen)] {:directory directory :memory-per-message 100})]
    (is (= (string/upper-case text)
           (String. ^bytes (:body (:message (mt/run-message both {:body text}))))
           (:body @seen)))
    (is (= [] (vec (.list directory))))
    (.delete directory)))

(def ^:private handlers-that-change
  {:end-of-message (fn [_ _] nil)})

(deftest handlers-behind-a-var-may-change-between-connections
  (let [both (in-sequence {:handlers #'handlers-that-change} (adding "X"))]
    (is (= :accept (:verdict (mt/run-message both {}))))
    (with-redefs [handlers-that-change {:mail (fn [_ _] [(act/reject)])}]
      (is (= [:reject :mail] ((juxt :verdict :at) (mt/run-message both {})))))))

;; ---- values that come later

(deftest values-that-come-later-are-awaited-in-turn
  (let [order (atom [])
        later (fn [title]
                {:handlers {:end-of-message
                            (fn [_ context]
                              (let [value (CompletableFuture.)]
                                (doto (Thread. (fn []
                                                 (swap! order conj title)
                                                 (.complete value (milter/respond context (act/add-header "X" (name title))))))
                                  (.setDaemon true)
                                  (.start))
                                value))}})
        {:keys [message]} (mt/run-message (in-sequence (later :a) (later :b) (later :c)) {})]
    (is (= [:a :b :c] @order))
    (is (= ["a" "b" "c"] (map second (filter #(= "X" (first %)) (:headers message)))))))

(deftest a-value-that-does-not-come-in-time-defers-and-the-next-message-goes-on
  (let [calls (atom 0)
        filter (in-sequence {:handlers {:end-of-message (fn [_ _] (when (= 1 (swap! calls inc)) (promise)))}}
                            {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-B" "yes")])}})]
    (milter/with-milter [server (assoc filter :port 0 :handler-timeout 50)]
      (with-open [session (mt/connect-to server)]
        (is (= :deferred (:fate (mt/run-message session {}))))
        (is (= :delivered (:fate (mt/run-message session {}))))))))

(deftest a-filter-that-never-answers-the-end-of-one-message-is-asked-about-the-next
  (let [asked (atom 0)
        silent {:handlers {:mail (fn [_ _] (swap! asked inc) nil)
                           :abort (fn [_ _] (promise))}
                :actions #{}}
        refusing {:handlers {:end-of-message (fn [_ _] [(act/reject)])} :actions #{}}]
    (with-logs _
      (milter/with-milter [server (assoc (in-sequence (adding "X") refusing silent) :port 0 :handler-timeout 50)]
        (with-open [session (mt/connect-to server)]
          (is (= [:reject :reject :reject] (repeatedly 3 #(:verdict (mt/run-message session {}))))))))
    (is (= 3 @asked))))

(deftest progress-of-each-filter-reaches-the-mta
  (let [filter (in-sequence {:handlers {:end-of-message (fn [_ context] (milter/progress! context) nil)}}
                            {:handlers {:end-of-message (fn [_ context] (milter/progress! context) nil)}})]
    (is (= [{:action :progress} {:action :progress} {:action :continue}]
           (last (last (:responses (mt/run-message filter {}))))))))

;; ---- failures

(deftest a-filter-that-throws-defers-wherever-it-stands
  (doseq [event [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message]
          place [0 1 2]]
    (testing [event place]
      (let [throwing {:handlers {event (fn [_ _] (throw (ex-info "no" {})))}}
            harmless {:handlers {:end-of-message (fn [_ _] [(act/add-header "X" "1")])}}
            filters (assoc (vec (repeat 3 harmless)) place throwing)]
        (is (= :temporary-failure
               (:verdict (with-logs _ (mt/run-message (apply in-sequence filters)
                                                      {:headers [["Subject" "hi"]] :body "x\r\n"})))))))))

(deftest a-watching-filter-that-throws-defers-the-message
  (let [watching {:handlers {:header (with-meta (fn [_ _] (throw (ex-info "no" {}))) {:no-reply true})}}]
    (doseq [filter [(in-sequence watching {:handlers {:mail (fn [_ _])}})
                    (in-sequence {:handlers {:end-of-message (fn [_ _])}} watching)]]
      (is (= :temporary-failure
             (:verdict (with-logs _ (mt/run-message filter {:headers [["Subject" "hi"]]}))))))))

(deftest each-filter-has-its-own-error-policy
  (let [throwing {:handlers {:end-of-message (fn [_ _] (throw (ex-info "no" {})))}}
        lenient (assoc throwing :on-error (fn [_ _ _] [(act/continue)]))]
    (with-logs _
      (is (= :accept (:verdict (mt/run-message (in-sequence lenient lenient) {}))))
      (is (= :temporary-failure (:verdict (mt/run-message (in-sequence lenient throwing) {})))))))

(deftest what-a-filter-changes-before-another-fails-does-not-pass
  (let [{:keys [fate]} (with-logs _
                         (mt/run-message
                           (in-sequence {:handlers {:end-of-message (fn [_ _] [(act/add-header "X" "1") (act/accept)])}}
                                        {:handlers {:header (fn [_ _] (throw (Error. "no")))}})
                           {:headers [["Subject" "hi"]]}))]
    (is (= :deferred fate))))

(deftest where-the-mta-is-unknown-and-it-makes-a-difference-the-message-is-deferred
  (let [fate (fn [position]
               (with-open [session (mt/connect-to
                                     (in-sequence {:handlers {:end-of-message
                                                              (fn [_ _] [(act/insert-header position "X-A" "1")])}}
                                                  (seeing (atom {}))))]
                 (.withoutMacros session)
                 (:fate (mt/run-message session {:headers [["Subject" "hi"]]}))))]
    (with-logs _
      (is (= :delivered (fate 0)))
      (is (= :deferred (fate 2))))))

(deftest an-empty-body-in-the-place-of-the-message-s-is-what-the-next-filter-sees
  (let [seen (atom {})
        {:keys [message]} (mt/run-message (in-sequence {:handlers {:end-of-message (fn [_ _] [(act/change-body "")])}}
                                                       (seeing seen))
                                          {:headers [["Subject" "hi"]] :body "hello\r\n"})]
    (is (= {:headers [["Subject" "hi"]]} @seen))
    (is (= "" (String. ^bytes (:body message))))))

(deftest a-message-that-is-too-large-to-be-kept-has-the-outcome-that-was-chosen
  (let [changing {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-A" "1")])}}
        seen (atom {})
        run (fn [outcome]
              (mt/run-message (sequence-of [changing (seeing seen (act/add-header "X-B" "1"))]
                                           {:max-message 100 :when-exceeded outcome})
                              {:body (apply str (repeat 200 "x"))}))]
    (is (= [:deferred 452] ((juxt :fate (comp :smtp-code :message :smtp)) (run :defer))))
    (is (= [:refused 552] ((juxt :fate (comp :smtp-code :message :smtp)) (run :reject))))
    (is (= [["X-A" "1"]] (filter #(re-find #"X-" (first %)) (:headers (:message (run :accept))))))
    (is (= {} @seen))
    (is (= :bad-options (:milter/error (thrown (run :truncate)))))))

(deftest a-filter-that-closes-its-connection-closes-that-of-the-mta
  (let [closing {:handlers {:mail (fn [_ context] (milter/close context))}}
        run #(:message (thrown (mt/run-message % {})))]
    (is (re-find #"^the milter has closed the connection at :recipient" (run closing)))
    (is (= (run closing)
           (run (in-sequence closing {:handlers {:end-of-message (fn [_ _] [(act/accept)])}}))))))

(deftest what-cannot-be-composed-is-refused-when-it-is-composed
  (let [filter {:handlers {:mail (fn [_ _])}}]
    (is (string/includes? (:message (thrown (in-sequence filter (assoc filter :port 20025)))) ":port is an option of the server"))
    (is (string/includes? (:message (thrown (in-sequence filter {:handler {}}))) "did you mean :handlers?"))
    (is (= :bad-options (:milter/error (thrown (in-sequence filter {:handlers {:mial (fn [_ _])}})))))
    (is (= :bad-options (:milter/error (thrown (in-sequence filter {})))))
    (is (= :bad-options (:milter/error (thrown (sequence-of [])))))
    (is (= :bad-options (:milter/error (thrown (when-client 7 filter)))))
    (is (= :bad-options (:milter/error (thrown (compose/from-network? "192.0.2.0/33")))))))

;; ---- there or not

(defn- added
  [filter options]
  (map first (:headers (:message (mt/run-message filter {:headers []} options)))))

(deftest a-filter-is-there-for-some-clients
  (let [filter (in-sequence (when-client (compose/from-network? "192.0.2.0/24" "2001:db8::/32") (adding "X-Net"))
                            (when-client compose/local-client? (adding "X-Local")))]
    (is (= ["X-Net"] (added filter {:client {:address "192.0.2.7"}})))
    (is (= ["X-Net"] (added filter {:client {:address "2001:db8::7"}})))
    (is (= [] (added filter {:client {:address "198.51.100.7"}})))
    (is (= ["X-Local"] (added filter {:client {:address "127.0.0.1"}})))
    (is (= ["X-Local"] (added filter {:client {:address "::1"}})))))

(deftest a-filter-is-there-for-some-messages
  (let [filter (when-message (complement compose/authenticated?) (adding "X-Checked"))]
    (is (= ["X-Checked"] (added filter {})))
    (is (= [] (added filter {:macros {:mail {"auth_authen" "ann"}}})))))

(deftest a-predicate-that-throws-defers
  (with-logs _
    (is (= :temporary-failure
           (:verdict (mt/run-message (when-message (fn [_] (throw (ex-info "no" {}))) (adding "X")) {}))))))

;; ---- pretending

(deftest a-pretended-filter-does-nothing-and-says-what-it-would-have-done
  (let [counts (atom {})
        filter (named "strict" {:handlers {:mail (fn [_ _] [(assoc (act/reject) :why "no record")])}})
        run #(mt/run-message (in-sequence (pretend filter %) (adding "X-Next")) {:headers []})]
    (with-logs records
      (let [{:keys [fate message]} (run {:counts counts :field? true})]
        (is (= :delivered fate))
        (is (= [["X-Would-Reject" "at mail by strict: no record"] ["X-Next" "1"]] (:headers message))))
      (is (= [["X-Next" "1"]] (:headers (:message (run {})))))
      (is (= {:reject 1} @counts))
      (is (= 2 (count (filter #(string/starts-with? % "strict would answer mail with reject (no record)")
                              (messages records :info))))))))

(deftest a-pretended-filter-asks-for-no-action
  (is (= #{} (:actions (milter/explain-negotiation (pretend (adding "X"))))))
  (is (= :delivered (:fate (mt/run-message (pretend {:handlers {:end-of-message (fn [_ _] [(act/change-body "x") (act/discard)])}
                                                     :actions #{:change-body}})
                                           {})))))

;; ---- why

(deftest a-verdict-says-which-filter-has-given-it-and-why
  (let [exchanges (atom [])
        both (in-sequence (named "mild" (adding "X"))
                          (named "spf" {:handlers {:end-of-message (fn [_ _] [(assoc (act/reject) :why {:result :fail})])}}))]
    (with-logs records
      (milter/with-milter [server (assoc both :port 0 :on-exchange #(swap! exchanges conj %))]
        (mt/run-message server {}))
      (is (= [[:add-header {:filter "mild"}] [:reject {:filter "spf" :why {:result :fail}}]]
             (->> @exchanges
                  (filter #(= :end-of-message (:event (:event %))))
                  (mapcat :response)
                  (map (juxt :action :why)))))
      (is (some #(string/includes? % "at end-of-message: reject (spf: {:result :fail})") (messages records :debug))))))

(deftest a-report-says-why
  (let [both (in-sequence (named "mild" (adding "X"))
                          {:name "spf" :handlers {:end-of-message (fn [_ _] [(assoc (act/reject) :why "no record")])}})
        report (mt/run-message both {})]
    (is (= [{:filter "mild"} {:filter "spf" :why "no record"}]
           (mapcat #(keep (comp :why meta) (:response %)) (:conversation report))))
    (is (string/includes? (with-out-str (mt/print-report report)) "<-- reject (spf: no record)"))))

;; ---- wrappers

(deftest exchanges-of-a-filter-are-logged
  (let [exchanges (atom [])
        filter (compose/wrap-log (named "f" (adding "X")) {:log #(swap! exchanges conj %)})]
    (mt/run-message filter {})
    (is (= [["f" :end-of-message [:add-header :continue]]]
           (map (juxt :filter (comp :event :event) #(map :action (:response %))) @exchanges))))
  (with-logs records
    (mt/run-message (compose/wrap-log (named "f" (adding "X"))) {})
    (is (some #(re-find #"^f \d+ end-of-message <-- add-header X: 1, continue \(\d+ ms\)$" %) (messages records :info)))))

(deftest answers-of-a-filter-are-timed
  (let [times (atom [])]
    (mt/run-message (compose/wrap-timing (named "f" (adding "X")) #(swap! times conj %)) {})
    (is (= ["f" :end-of-message] ((juxt :filter :event) (first (filter #(= :end-of-message (:event %)) @times)))))
    (is (every? #(<= 0.0 (:millis %)) @times))))

(deftest exceptions-become-actions
  (let [throwing {:handlers {:mail (fn [_ _] (throw (ex-info "no" {})))}}]
    (with-logs _
      (is (= 454 (:smtp-code (:reply (mt/run-message
                                       (compose/wrap-exceptions throwing (fn [_ _ _] [(act/reply-code 454 "4.7.0" "later")]))
                                       {}))))))
    (is (= :bad-options (:milter/error (thrown (compose/wrap-exceptions (assoc throwing :on-error (fn [_ _ _])) (fn [_ _ _]))))))))

(deftest messages-beyond-a-rate-are-deferred-until-time-has-passed
  (let [now (atom 0)
        filter (compose/wrap-rate-limit (adding "X") {:limit 2 :per 1000 :clock #(deref now)})
        run #(:fate (mt/run-message filter {} {:client {:address %}}))]
    (is (= [:delivered :delivered :deferred] (repeatedly 3 #(run "192.0.2.1"))))
    (is (= :delivered (run "192.0.2.2")))
    (reset! now 999)
    (is (= :deferred (run "192.0.2.1")))
    (reset! now 1050)
    (is (= [:delivered :delivered :deferred] (repeatedly 3 #(run "192.0.2.1"))))
    (is (= :bad-options (:milter/error (thrown (compose/wrap-rate-limit (adding "X") {})))))))

(deftest a-rate-limit-remembers-so-many-keys-only
  (let [filter (compose/wrap-rate-limit (adding "X") {:limit 1 :max-keys 2 :clock (constantly 0)})
        run #(:fate (mt/run-message filter {} {:client {:address %}}))]
    (is (= [:delivered :delivered :delivered :delivered]
           (map run ["192.0.2.1" "192.0.2.2" "192.0.2.3" "192.0.2.1"])))
    (is (= :deferred (run "192.0.2.1")))))

(deftest those-on-an-allow-list-pass-without-the-filter
  (let [filter (compose/wrap-allow (adding "X-Checked") {:networks ["192.0.2.0/24"] :senders ["Ann@example.org" "@example.net"]})
        run (fn [address sender]
              (map first (:headers (:message (mt/run-message filter {:sender sender :headers []} {:client {:address address}})))))]
    (is (= [] (run "192.0.2.1" "<x@example.org>")))
    (is (= [] (run "198.51.100.1" "<ann@EXAMPLE.org>")))
    (is (= [] (run "198.51.100.1" "<bob@example.net>")))
    (is (= ["X-Checked"] (run "198.51.100.1" "<bob@example.org>")))
    (is (= :bad-options (:milter/error (thrown (compose/wrap-allow (adding "X") {})))))
    (doseq [sender ["ann" "*@example.org" "example.org"]]
      (is (re-find #"entry 1, .* must be" (str (:message (thrown (compose/wrap-allow (adding "X") {:senders [sender]})))))
          sender))))
