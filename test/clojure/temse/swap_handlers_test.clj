(ns temse.swap-handlers-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.compose :as compose]
   [temse.filter :as filter]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [thrown with-logs]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(defn- version
  "Returns handlers that note their version at each event, and write the notes into the message."
  [n]
  (let [note (fn [event context] (update context ::notes (fnil conj []) [n (:event event)]))]
    {:connect note
     :hello note
     :mail note
     :recipient note
     :header note
     :end-of-message (fn [event context]
                       (respond (dissoc (note event context) ::notes)
                                (act/add-header "X-Versions"
                                                (string/join " " (map (fn [[n event]] (str n (name event)))
                                                                      (::notes (note event context)))))))}))

(def ^:private one-message
  {:headers [["Subject" "Hi"]] :recipients ["bob@example.com"]})

(defn- versions
  "Sends a message and returns what its handlers have noted."
  [session]
  (-> (mt/run-message session one-message) :modifications first :value))

(def ^:private first-message "connect hello mail recipient header end-of-message")

(defn- by
  [n & events]
  (string/join " " (map #(str n %) (mapcat #(string/split % #" ") events))))

(deftest an-open-connection-gets-new-handlers-at-its-next-message-with-its-client
  (milter/with-milter [server {:port 0, :handlers (version 1)}]
    (with-open [session (mt/connect-to server)]
      (is (= (by 1 first-message) (versions session)))
      (is (= {:connections 1, :outdated []} (milter/swap-handlers! server (version 2))))
      (is (= (by 2 first-message) (versions session)))
      (is (= (by 2 "mail recipient header end-of-message") (versions session)))
      (is (= [] (:outdated (milter/milter-status server)))))))

(deftest a-message-in-progress-ends-with-the-handlers-it-began-with
  (milter/with-milter [server {:port 0, :handlers (version 1)}]
    (with-open [session (mt/connect-to server)]
      (support/send-events session (concat support/opening (support/envelope) (take 1 support/content)))
      (milter/swap-handlers! server (version 2))
      (is (= (by 1 first-message)
             (:value (first (support/send-events session (rest support/content))))))
      (support/send-events session (support/envelope))
      (is (= (by 2 first-message)
             (:value (first (support/send-events session support/content))))))))

(deftest a-message-whose-macros-came-before-the-change-is-of-the-old-handlers
  (let [login (fn [n] {:mail (fn [_ context] (assoc context ::login (milter/get-macro context "auth_authen")))
                       :end-of-message (fn [_ context] [(act/add-header n (str (::login context)))])})
        added (fn [session] (map (juxt :name :value) (:modifications (mt/run-message session {}))))]
    (milter/with-milter [server {:port 0, :handlers (login "1")}]
      (with-open [session (mt/connect-to server)]
        (is (= [["1" ""]] (added session)))
        (let [arrived (promise)]
          (milter/watch-milter server ::macros #(when (= {"auth_authen" "ann"} (get-in % [:event :definitions]))
                                                  (deliver arrived true)))
          (mt/send-macros session :mail {"auth_authen" "ann"})
          (is (deref arrived 10000 false))
          (milter/unwatch-milter server ::macros))
        (milter/swap-handlers! server (login "2"))
        (support/send-events session (support/envelope))
        (is (= (act/add-header "1" "ann") (first (support/send-events session support/content))))
        (mt/send-macros session :mail {"auth_authen" "bob"})
        (support/send-events session (support/envelope))
        (is (= (act/add-header "2" "bob") (first (support/send-events session support/content))))))))

(deftest the-client-ends-for-the-old-handlers-and-begins-for-the-new-ones
  (let [told (atom [])
        tell (fn [n] (fn [event context]
                       (swap! told conj [n (dissoc event :options :sender :family :port :address)
                                         (milter/get-macro context "j")])
                       context))
        handlers (fn [n] (zipmap [:connect :hello :mail :disconnect] (repeat (tell n))))]
    (milter/with-milter [server {:port 0, :handlers (handlers 1)}]
      (with-open [session (mt/connect-to server)]
        (mt/run-message session {})
        (milter/swap-handlers! server (handlers 2))
        (mt/run-message session {}))
      (support/await-true #(= 0 (:connections (milter/milter-status server)))))
    (let [connect {:event :connect, :host-name "client.example.org"}
          hello {:event :hello, :greeting "client.example.org"}
          of (fn [n] (for [[m event macro] @told :when (= n m)] [event macro]))]
      (is (= [[connect "mx.example.com"] [hello "mx.example.com"] [{:event :mail} "mx.example.com"]
              [{:event :disconnect, :reason :replaced} "mx.example.com"]]
             (of 1)))
      (is (= [[connect "mx.example.com"] [hello "mx.example.com"] [{:event :mail} "mx.example.com"]
              [{:event :disconnect, :reason :quit} "mx.example.com"]]
             (of 2)))
      (is (= [1 1 1 1 2 2 2 2] (map first @told))))))

(deftest nothing-of-the-old-context-reaches-the-new-handlers
  (let [contexts (atom [])
        counting (fn [n] {:mail (fn [_ context]
                                  (swap! contexts conj [n (::seen context) (::made context)])
                                  (update context ::seen (fnil inc 0)))})
        made (atom 0)]
    (milter/with-milter [server {:port 0
                                 :init #(assoc % ::made (swap! made inc))
                                 :handlers (counting 1)}]
      (with-open [session (mt/connect-to server)]
        (dotimes [_ 2] (mt/run-message session {}))
        (milter/swap-handlers! server (counting 2))
        (dotimes [_ 2] (mt/run-message session {}))))
    (is (= [[1 nil 1] [1 1 1] [2 nil 2] [2 1 2]] @contexts))))

(deftest what-new-handlers-answer-to-the-client-holds-for-its-next-messages
  (doseq [[event answer fate] [[:connect [(act/reply-code 550 "5.7.1" "Not you")] :reject]
                               [:hello [(act/temporary-failure)] :temporary-failure]
                               [:connect [(act/accept)] :accept]
                               [:hello (delay [(act/reject)]) :reject]]
          :let [handler (if (delay? answer) (fn [_ _] (future @answer)) (fn [_ _] answer))
                late (atom 0)
                handlers (fn [own] (merge (version 1) own))]]
    (milter/with-milter [server {:port 0, :handlers (handlers {})}]
      (with-open [session (mt/connect-to server)]
        (is (= :accept (:verdict (mt/run-message session {}))))
        (milter/swap-handlers! server (handlers {event handler
                                                 :recipient (fn [_ _] (swap! late inc) [(act/reject)])}))
        (is (= [fate fate] (repeatedly 2 #(:verdict (mt/run-message session {})))) [event fate])
        (is (= 0 @late))
        (testing "and the next swap does not ask a client again that is settled"
          (milter/swap-handlers! server (handlers {}))
          (is (= fate (:verdict (mt/run-message session {})))))))))

(deftest new-handlers-that-fail-at-the-client-defer-its-messages
  (with-logs _logs
    (doseq [broken [(fn [_ _] (throw (ex-info "broken" {})))
                    (with-meta (fn [_ _] (throw (ex-info "broken" {}))) {:no-reply true})
                    (fn [_ _] {:not "a context"})
                    (fn [_ _] (future (throw (ex-info "broken" {}))))]]
      (milter/with-milter [server {:port 0, :handlers (version 1)}]
        (with-open [session (mt/connect-to server)]
          (mt/run-message session {})
          (milter/swap-handlers! server (assoc (version 2) :connect broken))
          (is (= :temporary-failure (:verdict (mt/run-message session {})))))))))

;; ---- connections that lack something

(defn- watching
  [f]
  (with-meta f {:no-reply true}))

(deftest a-connection-that-lacks-something-keeps-its-handlers-and-is-listed
  (with-logs logs
    (milter/with-milter [server {:port 0, :handlers (version 1)}]
      (with-open [session (mt/connect-to server)]
        (versions session)
        (let [with-body (assoc (version 2) :body (fn [_ context] context))
              {:keys [connections outdated]} (milter/swap-handlers! server with-body)
              listed [{:id 1, :missing {:events #{:body}}}]
              short-of #(map (fn [connection] (dissoc connection :peer)) %)]
          (is (= 1 connections))
          (is (= listed (short-of outdated)))
          (is (re-find #"^inet:\d+@127.0.0.1$" (:peer (first outdated))))
          (is (= (by 1 "mail recipient header end-of-message") (versions session)))
          (is (= (by 1 "mail recipient header end-of-message") (versions session)))
          (is (= listed (short-of (:outdated (milter/milter-status server)))))
          (is (= 1 (count (filter #(re-find #"keeps the old handlers: it lacks events body$" %)
                                  (support/messages logs :warn))))
              "said once")
          (testing "while one that connects now has the new ones"
            (is (= (by 2 first-message) (versions server))))
          (testing "until there are handlers for which it lacks nothing"
            (is (= [] (:outdated (milter/swap-handlers! server (version 3)))))
            (is (= (by 3 first-message) (versions session)))))))))

(deftest what-is-missing-is-said-exactly
  (let [note (fn [_ context] context)
        base {:handlers {:connect note, :mail note, :recipient note, :header (watching note)
                         :end-of-message note}
              :actions #{:add-header}
              :request-macros {:mail ["i" "{auth_authen}"]}}]
    (doseq [[changed missing]
            [[{:handlers {:mail note, :data note}} {:events #{:data}}]
             [{:handlers {:mail note, :unknown note, :body note}} {:events #{:body :unknown}}]
             [{:handlers {:mail note, :header note}} {:replies #{:header}}]
             [{:handlers {:mail note, :header (watching note)} :no-reply-events #{:mail}} {}]
             [{:actions #{:add-header :quarantine}} {:actions #{:quarantine}}]
             [{:optional-actions #{:change-body}} {:actions #{:change-body}}]
             [{:actions #{}} {}]
             [{:request-macros {:mail ["{auth_authen}"]}} {}]
             [{:request-macros {:mail ["i"], :connect ["{client_addr}"]}} {:macros {:connect ["{client_addr}"]}}]
             [{:request-macros {:mail ["i" "{mail_addr}"]}} {:macros {:mail ["{mail_addr}"]}}]
             [{:rejected-recipients? true} {:rejected-recipients? true}]
             [{:leading-space? true} {:leading-space? true}]
             [{:wants #{:hello-name}} {:events #{:hello}}]
             [{:default-reply {:unknown (act/reject)}} {:events #{:unknown}}]]]
      (milter/with-milter [server (merge base {:port 0})]
        (with-open [session (mt/connect-to server)]
          (mt/run-message session {})
          (with-logs _logs
            (let [result (milter/reload-milter server (merge base {:port 0, :daemon? true} changed))]
              (is (= missing (:missing (first (:outdated result)) {})) changed)
              (mt/run-message session {})
              (is (= missing (:missing (first (:outdated (milter/milter-status server))) {})) changed))))))))

(deftest an-action-that-the-new-options-do-not-ask-for-is-not-agreed-any-more
  (let [adding {:end-of-message (fn [_ context]
                                  (if (milter/agreed? context :add-header)
                                    [(act/add-header "X-Seen" "yes")]
                                    context))}]
    (milter/with-milter [server {:port 0, :handlers adding, :actions #{:add-header}}]
      (with-open [session (mt/connect-to server)]
        (is (= 1 (count (:modifications (mt/run-message session {})))))
        (milter/reload-milter server {:port 0, :daemon? true, :handlers adding, :actions #{}})
        (is (= [] (:modifications (mt/run-message session {}))))
        (milter/reload-milter server {:port 0, :daemon? true, :handlers adding, :actions #{:add-header}})
        (is (= 1 (count (:modifications (mt/run-message session {})))))))))

(deftest an-old-mta-lacks-no-event-that-it-does-not-know
  (let [note (fn [_ context] context)]
    (milter/with-milter [server {:port 0, :handlers {:mail note}}]
      (with-open [session (mt/connect-to server {:offer (:postfix-2 mt/offers)})]
        (mt/run-message session {})
        (is (= [] (:outdated (milter/swap-handlers! server {:mail (fn [_ _] [(act/reject)]), :data note}))))
        (is (= :reject (:verdict (mt/run-message session {}))))
        (milter/reload-milter server {:port 0, :daemon? true, :handlers {:mail note, :data note}
                                      :optional-events #{}})
        (is (= [{:events #{:data}}] (map :missing (:outdated (milter/milter-status server)))))))))

;; ---- init, :options, message filters, composed filters

(deftest handlers-that-init-has-set-are-swapped-and-its-state-is-made-anew
  (milter/with-milter [server {:port 0, :init #(assoc % :handlers (version 1) ::notes [[0 :init]])}]
    (with-open [session (mt/connect-to server)]
      (is (= (str "0init " (by 1 first-message)) (versions session)))
      (milter/swap-handlers! server (version 2))
      (is (= (str "0init " (by 2 first-message)) (versions session)))
      (is (= (str "0init " (by 2 first-message)) (versions server)))
      (testing "and other options let init decide again"
        (milter/reload-milter server {:port 0, :daemon? true, :init #(assoc % :handlers (version 3))})
        (is (= (by 3 first-message) (versions session)))))))

(deftest an-init-that-fails-leaves-the-old-handlers
  (with-logs logs
    (milter/with-milter [server {:port 0, :handlers (version 1)}]
      (with-open [session (mt/connect-to server)]
        (versions session)
        (is (= [] (:outdated (milter/reload-milter server {:port 0, :daemon? true, :handlers (version 2)
                                                           :init (fn [_] (throw (ex-info "no database" {})))}))))
        (is (= (by 1 "mail recipient header end-of-message") (versions session)))
        (is (= [{:missing {}, :failure "no database"}]
               (map #(dissoc % :id :peer) (:outdated (milter/milter-status server)))))
        (is (some #(string/ends-with? % "keeps the old handlers: the new ones failed: no database")
                  (support/messages logs :warn)))))))

(deftest what-a-handler-of-options-asks-for-is-seen-at-the-next-message
  (with-logs _logs
    (let [asking (fn [n wanted] (assoc (version n) :options (fn [_ context] (assoc context :actions wanted))))]
      (milter/with-milter [server {:port 0, :handlers (asking 1 #{:add-header})}]
        (with-open [session (mt/connect-to server)]
          (versions session)
          (is (= [] (:outdated (milter/swap-handlers! server (asking 2 #{:add-header :quarantine})))))
          (is (= (by 1 "mail recipient header end-of-message") (versions session)))
          (is (= [{:actions #{:quarantine}}] (map :missing (:outdated (milter/milter-status server)))))
          (milter/swap-handlers! server (asking 3 #{:add-header}))
          (is (= (by 3 first-message) (versions session))))))))

(deftest a-message-filter-that-takes-over-has-the-whole-message-and-its-client
  (let [seen (atom [])
        filter-of (fn [n] (filter/message-filter (fn [{:keys [client headers body]} _]
                                                   (swap! seen conj [n (:host-name client) (:greeting client)
                                                                     (ffirst headers) (count body)])
                                                   nil)))]
    (milter/with-milter [server {:port 0, :handlers (filter-of 1)}]
      (with-open [session (mt/connect-to server)]
        (mt/run-message session {:headers [["A" "b"]], :body "12345\r\n"})
        (milter/swap-handlers! server (filter-of 2))
        (mt/run-message session {:headers [["C" "d"]], :body "123\r\n"})
        (mt/run-message session {:headers [["E" "f"]], :body ""})))
    (is (= [[1 "client.example.org" "client.example.org" "A" 7]
            [2 "client.example.org" "client.example.org" "C" 5]
            [2 "client.example.org" "client.example.org" "E" 0]]
           @seen))))

(deftest composed-filters-follow-each-other
  (let [marking (fn [n event] {:handlers {:connect (fn [_ context] (assoc context ::of n))
                                          :end-of-message (fn [_ context]
                                                            [(act/add-header (str "X-" (name event))
                                                                             (str n (::of context)))])}
                               :actions #{:add-header}})
        composed (fn [n & more]
                   (assoc (apply compose/in-sequence (marking n :first) (marking n :second) more)
                          :port 0 :daemon? true))
        marks (fn [session] (map (juxt :name :value) (:modifications (mt/run-message session {}))))]
    (with-logs _logs
      (milter/with-milter [server (composed 1)]
        (with-open [session (mt/connect-to server)]
          (is (= [["X-first" "11"] ["X-second" "11"]] (marks session)))
          (milter/reload-milter server (composed 2))
          (is (= [["X-first" "22"] ["X-second" "22"]] (marks session)))
          (milter/reload-milter server (composed 3 {:handlers {:end-of-message (fn [_ _] nil)}
                                                    :actions #{:quarantine}}))
          (is (= [["X-first" "22"] ["X-second" "22"]] (marks session)))
          (is (= [{:actions #{:quarantine}}] (map :missing (:outdated (milter/milter-status server)))))
          (is (= [["X-first" "33"] ["X-second" "33"]] (marks server))))))))

;; ---- mistakes

(deftest a-wrong-map-is-refused-and-the-old-one-stays
  (milter/with-milter [server {:port 0, :handlers (version 1)}]
    (are [handlers problem] (string/includes? (:message (thrown (milter/swap-handlers! server handlers))) problem)
      {:mial identity} "did you mean :mail?"
      {:mail 1} "the handler of :mail must be a function or var, not 1"
      {} "there is nothing to do"
      nil ":handlers"
      [1] ":handlers must be a map of event to function, or a var"
      {:port 1, :handlers {}} ":port")
    (is (= :bad-options (:milter/error (thrown (milter/swap-handlers! server {:mial identity})))))
    (is (= (by 1 first-message) (versions server))))
  (is (string/includes? (:message (thrown (milter/swap-handlers! {} {}))) "a milter is what start-milter returns")))

;; ---- many

(deftest under-load-each-message-is-handled-by-one-version-and-none-is-lost
  (let [stop (promise)]
    (milter/with-milter [server {:port 0, :handlers (version 0)}]
      (let [changes (future (loop [n 1]
                              (when-not (realized? stop)
                                (milter/swap-handlers! server (version n))
                                (recur (inc n)))))
            clients (doall (for [_ (range 8)]
                             (future (with-open [session (mt/connect-to server)]
                                       (vec (repeatedly 100 #(versions session)))))))
            values (mapcat deref clients)]
        (deliver stop true)
        @changes
        (is (= 800 (count (remove nil? values))))
        (doseq [value values
                :let [of (map #(re-find #"\d+" %) (string/split value #" "))]]
          (is (apply = of) value))
        (is (< 10 (count (distinct (map #(re-find #"\d+" %) values)))))))))
