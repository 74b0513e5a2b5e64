(ns temse.async-test
  (:require
   [clojure.core.async :as async]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.async]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [with-handler with-logs]]
   [temse.test :as mt]
   [temse.test.check :as check]))

(set! *warn-on-reflection* true)

(def ^:private channels
  {"go" #(async/go (%))
   "thread" #(async/thread (%))
   "chan" #(let [channel (async/chan)]
             (async/put! channel (%))
             channel)
   "buffered chan" #(let [channel (async/chan 1)]
                      (async/>!! channel (%))
                      channel)
   "promise-chan" #(let [channel (async/promise-chan)]
                     (async/>!! channel (%))
                     channel)
   "timeout first" #(async/go (async/<! (async/timeout 1)) (%))})

(deftest a-channel-answers-as-a-value-that-is-there
  (doseq [[form channel] channels]
    (testing form
      (is (= :reject (:verdict (with-handler :mail
                                 (fn [_ context] (channel #(respond context (act/reject))))))))
      (is (= :discard (:verdict (with-handler :mail (fn [_ _] (channel #(vector (act/discard)))))))))))

(deftest a-channel-answers-over-sockets
  (milter/with-milter [server {:port 0
                               :handlers {:end-of-message
                                          (fn [_ context]
                                            (async/go
                                              (respond context (act/add-header "X-Seen" "yes"))))}}]
    (is (= [(act/add-header "X-Seen" "yes")] (:modifications (mt/run-message server {}))))))

(defn- thrown-in-go
  "Returns the channel of a core.async/go block that throws."
  []
  (async/go (throw (ex-info "lost in a go block on purpose" {}))))

(deftest a-channel-that-closes-without-a-value-defers-the-mail-and-says-why
  (doseq [channel [#(doto (async/chan) async/close!)
                   #(async/go nil)
                   #(async/thread nil)
                   #(async/timeout 1)
                   thrown-in-go]]
    (with-logs logs
      (is (= :temporary-failure (:verdict (with-handler :mail (fn [_ _] (channel))))))
      (is (= [:bad-handler-return] (keep (comp :milter/error ex-data :throwable) @logs)))
      (is (string/includes? (first (support/messages logs :error)) "use temse.async/go")))))

(deftest a-go-block-of-ours-answers-with-what-its-body-returns
  (let [lookup #(async/go (async/<! (async/timeout 1)) %)]
    (doseq [[verdict handler] {:reject (fn [_ context]
                                         (temse.async/go
                                           (respond context (async/<! (lookup (act/reject))))))
                               :discard (fn [_ _] (temse.async/go [(async/<! (lookup (act/discard)))]))
                               :accept (fn [_ _] (temse.async/go (async/<! (lookup :known)) nil))}]
      (is (= verdict (:verdict (with-handler :mail handler)))))))

(deftest a-go-block-of-ours-that-returns-nil-leaves-the-context-unchanged
  (let [contexts (atom [])]
    (is (= :accept
           (:verdict (mt/run-message
                       {:init #(assoc % :mine 1)
                        :handlers {:mail (fn [_ _] (temse.async/go nil))
                                   :header (fn [_ context] (swap! contexts conj (:mine context)) nil)}}
                       {:headers [["A" "1"]]}))))
    (is (= [1] @contexts))))

(deftest a-go-block-of-ours-that-throws-defers-the-mail-with-its-own-exception
  (doseq [problem [(ex-info "no luck" {}) (StackOverflowError.) (AssertionError. "no")]]
    (with-logs logs
      (is (= :temporary-failure
             (:verdict (with-handler :mail
                         (fn [_ _]
                           (temse.async/go
                             (async/<! (async/timeout 1))
                             (throw problem)))))))
      (is (= [problem] (keep :throwable @logs))))))

(deftest check-filter-finds-channels-that-close-without-a-value
  (let [{:keys [findings]} (check/check-filter {:mail (fn [_ _] (async/go nil))} {:runs 20, :seed 1})]
    (is (= #{[:bad-handler-return :mail]} (set (map (juxt :kind :event) findings))))
    (is (string/includes? (:explanation (first findings)) "use temse.async/go"))))

(deftest the-first-value-of-a-channel-counts
  (is (= :reject (:verdict (with-handler :mail
                             (fn [_ _] (async/to-chan! [[(act/reject)] [(act/accept)]])))))))

(deftest an-exception-in-a-channel-is-a-failure-of-the-handler
  (with-logs logs
    (is (= :temporary-failure (:verdict (with-handler :mail
                                          (fn [_ _]
                                            (async/go (ex-info "no luck" {})))))))
    (is (string/includes? (first (support/messages logs :error)) "no luck"))))

(deftest a-channel-that-yields-nothing-in-time-defers-the-mail
  (with-logs logs
    (is (= :temporary-failure (:verdict (with-handler :mail (fn [_ _] (async/chan))
                                          :handler-timeout 20))))
    (is (string/includes? (first (support/messages logs :error)) "did not come in time"))))

(deftest the-library-loads-core-async-only-when-a-channel-is-returned
  (is (= "[false false]"
         (support/evaluated
           '(do
              (require 'temse.milter 'temse.test 'temse.cli)
              ((resolve 'temse.test/run-message) {:handlers {:mail (fn [_ _] (future nil))}} {})
              (pr (mapv #(contains? (loaded-libs) %) ['clojure.core.async 'temse.async]))
              (flush)
              (shutdown-agents)))))
  (with-handler :mail (fn [_ _] (async/go nil)))
  (is (contains? (loaded-libs) 'temse.async)))
