(ns temse.async-test
  (:require
   [clojure.core.async :as async]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [with-handler with-logs]]
   [temse.test :as mt]))

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

(deftest a-channel-that-closes-without-value-leaves-the-context-unchanged
  (doseq [channel [#(doto (async/chan) async/close!)
                   #(async/go nil)
                   #(async/thread nil)
                   #(async/timeout 1)]]
    (let [contexts (atom [])]
      (is (= :accept
             (:verdict (mt/run-message
                         {:init #(assoc % :mine 1)
                          :handlers {:mail (fn [_ _] (channel))
                                     :header (fn [_ context] (swap! contexts conj (:mine context)) nil)}}
                         {:headers [["A" "1"]]}))))
      (is (= [1] @contexts)))))

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
