(ns temse.watch-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.compose :as compose]
   [temse.envelope :as envelope]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [awaited thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.time Instant)))

(set! *warn-on-reflection* true)

(def counting
  {:mail (fn [_ context] (assoc context :recipients 0))
   :recipient (fn [_ context] (update context :recipients inc))
   :end-of-message (fn [_ context]
                     (respond context (act/add-header "X-Seen" "yes") (act/accept)))})

(def options
  {:port 0, :handlers counting})

(defn- message
  [& recipients]
  (concat (apply support/envelope recipients) support/content))

(defn- kept
  "Returns an atom to which a watcher of the server, whose key is :kept, adds each exchange."
  [server]
  (let [exchanges (atom [])]
    (milter/watch-milter server :kept #(swap! exchanges conj %))
    exchanges))

(defn- of-event
  [exchanges event]
  (filterv #(= event (:event (:event %))) exchanges))

(deftest a-watcher-comes-and-goes-while-connections-are-open
  (milter/with-milter [server options]
    (with-open [mta (mt/connect-to server)]
      (support/send-events mta (concat support/opening (message)))
      (let [exchanges (kept server)]
        (support/send-events mta (message "<b@example.com>" "<c@example.com>"))
        (milter/unwatch-milter server :kept)
        (support/send-events mta (message))
        (is (= [:mail :recipient :recipient :end-of-message :message-end]
               (into [] (comp (map (comp :event :event)) (remove #{:define-macro})) @exchanges)))
        (is (= #{2} (into #{} (comp (remove #(= :define-macro (:event (:event %)))) (map :mail)) @exchanges)))
        (is (= 1 (count (distinct (map (juxt :id :peer) @exchanges)))))
        (is (every? #(instance? Instant (:at %)) @exchanges))
        (is (every? #(< 0 (:millis %) 60000) @exchanges))
        (is (= [{:action :add-header, :name "X-Seen", :value "yes"} {:action :accept}]
               (:response (first (of-event @exchanges :end-of-message)))))))))

(deftest a-watcher-sees-the-context-before-and-after-a-handler
  (milter/with-milter [server options]
    (let [exchanges (kept server)]
      (mt/run-message server {:recipients ["<b@example.com>" "<c@example.com>"]})
      (is (= [[0 1] [1 2]]
             (mapv (juxt (comp :recipients :before) (comp :recipients :after))
                   (of-event @exchanges :recipient))))
      (testing "without what means nothing outside of its event"
        (is (= #{:recipients :milter/info :milter/agreement}
               (set (keys (:after (first (of-event @exchanges :end-of-message))))))))
      (testing "and nil where no handler ran"
        (is (= [{:before nil, :after nil}]
               (mapv #(select-keys % [:before :after]) (of-event @exchanges :message-end)))))
      (testing "outside of messages there is no number of one"
        (is (= [1] (mapv :mail (of-event @exchanges :message-end))))
        (is (= [nil] (mapv :mail (of-event @exchanges :options))))))))

(deftest the-state-of-a-message-is-seen-at-its-end
  (milter/with-milter [server {:port 0
                               :handlers {:mail (fn [_ context]
                                                  (milter/update-message context assoc :seen true))
                                          :message-end (fn [_ context] context)}}]
    (let [exchanges (kept server)]
      (mt/run-message server {})
      (is (= [{:seen true}] (mapv (comp :milter/message :after) (of-event @exchanges :message-end)))))))

(deftest words-of-the-envelope-take-the-context-of-an-exchange
  (milter/with-milter [server {:port 0, :wants [:sender], :handlers {:recipient (fn [_ _])}}]
    (let [exchanges (kept server)]
      (mt/run-message server {:sender "<a@example.org>"})
      (is (= ["<a@example.org>"] (mapv (comp envelope/sender :after) (of-event @exchanges :recipient)))))))

(deftest a-failure-is-seen-with-the-context-that-stays
  (milter/with-milter [server (assoc-in options [:handlers :recipient]
                                        (fn [_ context]
                                          (throw (ex-info "no luck" {:context context}))))]
    (let [exchanges (kept server)
          {:keys [recipients]} (with-logs _ (mt/run-message server {}))
          {:keys [failure before after response]} (first (of-event @exchanges :recipient))]
      (is (= [:temporary-failure] (map :action (vals recipients))))
      (is (= "no luck" (ex-message failure)))
      (is (= [{:action :temporary-failure}] response))
      (is (= before after))
      (is (not-any? :failure (of-event @exchanges :mail))))))

(deftest a-pending-value-is-seen-when-it-has-come
  (milter/with-milter [server (assoc-in options [:handlers :recipient]
                                        (fn [_ context] (future (update context :recipients inc))))]
    (let [exchanges (kept server)]
      (mt/run-message server {})
      (is (= [[0 1]] (mapv (juxt (comp :recipients :before) (comp :recipients :after))
                           (of-event @exchanges :recipient)))))))

(deftest a-watcher-that-fails-is-logged-and-harms-nobody
  (with-logs logs
    (milter/with-milter [server options]
      (milter/watch-milter server :bad (fn [_] (throw (Exception. "blind"))))
      (let [exchanges (kept server)]
        (is (= :accept (:verdict (mt/run-message server {}))))
        (is (seq (of-event @exchanges :end-of-message)))
        (is (zero? (:listener-failures (milter/milter-status server))))))
    (is (= ["milter the watcher :bad failed: blind"] (support/messages logs :error)))))

(deftest a-watcher-that-blocks-holds-up-its-own-connection-only
  (milter/with-milter [server options]
    (let [held (promise)
          go-on (promise)]
      (milter/watch-milter server :slow (fn [{:keys [event]}]
                                          (when (= "<slow@example.org>" (:sender event))
                                            (deliver held true)
                                            @go-on)))
      (let [slow (future (mt/run-message server {:sender "<slow@example.org>"}))]
        (awaited held)
        (is (= :accept (:verdict (mt/run-message server {:sender "<a@example.org>"}))))
        (is (not (realized? slow)))
        (deliver go-on true)
        (is (= :accept (:verdict (awaited slow))))))))

(deftest several-watch-and-an-equal-key-gives-way
  (milter/with-milter [server options]
    (let [calls (atom #{})
          watch (fn [k f] (is (= server (milter/watch-milter server k f))))]
      (watch [:a] (fn [_] (swap! calls conj :first)))
      (watch [:a] (fn [_] (swap! calls conj :second)))
      (watch :b (fn [_] (swap! calls conj :b) (milter/unwatch-milter server :b)))
      (mt/run-message server {})
      (is (= #{:second :b} @calls))
      (reset! calls #{})
      (testing "one that has gone is not called again, and watchers stay when options are replaced"
        (milter/reload-milter server (assoc options :daemon? true))
        (mt/run-message server {})
        (is (= #{:second} @calls)))
      (is (= server (milter/unwatch-milter server :nobody))))))

(deftest a-filter-of-several-is-watched-as-one
  (milter/with-milter [server (let [filter (dissoc options :port)]
                                (assoc (compose/in-sequence filter filter) :port 0))]
    (let [exchanges (kept server)]
      (is (= :accept (:verdict (mt/run-message server {}))))
      (is (= #{:milter/info :milter/agreement}
             (set (keys (:after (first (of-event @exchanges :end-of-message))))))))))

(deftest what-cannot-watch-is-refused
  (milter/with-milter [server options]
    (is (string/includes? (:message (thrown (milter/watch-milter server :a 1))) "not 1"))
    (is (string/includes? (:message (thrown (milter/watch-milter server nil identity))) "nil"))
    (is (string/includes? (:message (thrown (milter/watch-milter {} :a identity))) "start-milter"))))
