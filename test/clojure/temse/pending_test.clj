(ns temse.pending-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [awaited with-handler with-logs]]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CompletableFuture CompletionStage CountDownLatch FutureTask TimeUnit)
   (java.util.function Supplier)))

(set! *warn-on-reflection* true)

(defn- stage
  "Returns a stage that another thread completes with the value of f."
  ^CompletionStage [f]
  (CompletableFuture/supplyAsync (reify Supplier (get [_] (f)))))

(defn- promised
  "Returns a promise that another thread delivers."
  [f]
  (let [p (promise)]
    (future (deliver p (f)))
    p))

(defn- future-task
  [f]
  (let [task (FutureTask. ^Callable f)]
    (.start (Thread. task))
    task))

(defn- completed
  [f]
  (CompletableFuture/completedFuture (f)))

(def ^:private forms
  {"stage" stage
   "completed stage" completed
   "view of a stage" #(.minimalCompletionStage ^CompletableFuture (stage %))
   "future" #(future (%))
   "FutureTask" future-task
   "promise" promised
   "delivered promise" #(deliver (promise) (%))})

(deftest a-value-to-come-answers-as-one-that-is-there
  (doseq [[form pending] forms]
    (testing form
      (are [value verdict] (= verdict (:verdict (with-handler :mail
                                                  (fn [_ context] (pending #(value context))))))
        #(respond % (act/reject)) :reject
        (fn [_] [(act/discard)]) :discard
        (fn [_] (map identity [(act/temporary-failure)])) :temporary-failure
        identity :accept
        (fn [_] nil) :accept))))

(deftest a-value-to-come-may-be-the-next-context
  (doseq [[form pending] forms]
    (testing form
      (let [count (promise)]
        (mt/run-message {:handlers {:mail (fn [_ context] (pending #(assoc context :count 1)))
                                    :recipient (fn [_ context]
                                                 (pending #(update context :count inc)))
                                    :end-of-message (fn [_ context]
                                                      (deliver count (:count context))
                                                      context)}}
                        {:recipients ["<a@b.example>" "<c@d.example>"]})
        (is (= 3 (awaited count)))))))

(deftest pending-values-are-awaited-over-sockets
  (doseq [[form pending] forms]
    (testing form
      (milter/with-milter [server {:port 0
                                   :handlers {:mail (fn [_ context]
                                                      (pending #(assoc context :seen true)))
                                              :end-of-message
                                              (fn [_ context]
                                                (pending
                                                  #(respond context
                                                            (act/add-header "X-Seen"
                                                                            (str (:seen context))))))}}]
        (is (= [(act/add-header "X-Seen" "true")]
               (:modifications (mt/run-message server {}))))))))

(deftest the-next-event-waits-for-the-value
  (let [events (atom [])
        filter {:port 0
                :handlers {:header (fn [_ context]
                                     (swap! events conj :header)
                                     (promised #(do (swap! events conj :settled) context)))
                           :end-of-headers (fn [_ _] (swap! events conj :end-of-headers) nil)}}]
    (milter/with-milter [server filter]
      (with-open [socket (support/dial (milter/milter-port server))]
        (support/negotiate socket)
        (support/write-packet socket \L (int \A) 0 (int \1) 0)
        (support/write-packet socket \L (int \B) 0 (int \2) 0)
        (support/write-packet socket \N)
        (is (= [\c \c \c] (repeatedly 3 #(support/read-packet socket))))))
    (is (= [:header :settled :header :settled :end-of-headers] @events))))

(deftest a-delay-is-no-value-to-come
  (with-logs logs
    (is (= :temporary-failure (:verdict (with-handler :mail (fn [_ context] (delay context))))))
    (is (string/includes? (first (support/messages logs :error))
                          "the handler of :mail returned an instance of clojure.lang.Delay"))))

(deftest an-exception-defers-the-mail-and-is-logged-as-it-was-thrown
  (doseq [[form failing] {"stage" #(stage (fn [] (throw %)))
                          "failed stage" #(CompletableFuture/failedFuture %)
                          "future" #(future (throw %))
                          "FutureTask" #(future-task (fn [] (throw %)))
                          "promise of it" #(deliver (promise) %)
                          "stage of it" completed}]
    (testing form
      (with-logs logs
        (let [problem (ex-info "no luck" {})
              failing (if (= form "stage of it") #(completed (constantly %)) failing)]
          (is (= :temporary-failure
                 (:verdict (with-handler :mail (fn [_ _] (failing problem))))))
          (is (= [problem] (keep :throwable @logs))))))))

(deftest a-value-that-means-nothing-defers-the-mail
  (with-logs logs
    (doseq [value [1 :accept "accept" {:action :accept} [:accept] (promise)]]
      (is (= :temporary-failure
             (:verdict (with-handler :mail (fn [_ _] (deliver (promise) value)))))))
    (is (= 6 (count (support/messages logs :error))))))

(deftest a-value-that-does-not-come-in-time-defers-the-mail
  (with-logs logs
    (doseq [timeout [20 {:default 20} {:mail 20}]]
      (reset! logs [])
      (is (= :temporary-failure (:verdict (with-handler :mail (fn [_ _] (promise))
                                            :handler-timeout timeout))))
      (is (string/includes? (first (support/messages logs :error))
                            "the pending value of :mail did not come in time")))
    (milter/with-milter [server {:port 0
                                 :handlers {:mail (fn [_ _] (promise))}
                                 :handler-timeout 20}]
      (is (= :temporary-failure (:verdict (mt/run-message server {})))))))

(deftest a-value-that-comes-too-late-is-not-taken
  (with-logs _logs
    (let [late (promise)
          counts (atom [])]
      (with-open [session (mt/connect-to
                            {:handlers {:mail (fn [_ context]
                                                (swap! counts conj (:count context))
                                                (if (= 1 (count @counts)) late nil))}
                             :handler-timeout 20})]
        (is (= :temporary-failure (:verdict (mt/run-message session {}))))
        (deliver late {:count :late, :milter/response [(act/reject)]})
        (is (= :accept (:verdict (mt/run-message session {})))))
      (is (= [nil nil] @counts)))))

(deftest a-future-that-times-out-is-cancelled
  (with-logs _logs
    (let [interrupted (promise)
          forever (CountDownLatch. 1)]
      (is (= :temporary-failure
             (:verdict (with-handler :mail
                         (fn [_ _]
                           (future (try
                                     (.await forever 10 TimeUnit/SECONDS)
                                     (catch InterruptedException _
                                       (deliver interrupted true)))))
                         :handler-timeout 50))))
      (is (awaited interrupted)))))

(deftest a-future-whose-mta-has-gone-is-cancelled-and-the-message-lost
  (with-logs _logs
    (let [begun (promise)
          interrupted (promise)
          reason (promise)
          forever (CountDownLatch. 1)]
      (milter/with-milter [server {:port 0
                                   :progress-interval 10
                                   :handlers {:mail (fn [_ context] context)
                                              :end-of-message
                                              (fn [_ _]
                                                (future (try
                                                          (deliver begun true)
                                                          (.await forever 10 TimeUnit/SECONDS)
                                                          (catch InterruptedException _
                                                            (deliver interrupted true)))))
                                              :message-end (fn [event _]
                                                             (deliver reason (:reason event))
                                                             nil)}}]
        (with-open [socket (support/dial (milter/milter-port server))]
          (support/negotiate socket)
          (support/write-packet socket \M (int \<) (int \>) 0)
          (support/write-packet socket \E)
          (awaited begun))
        (is (awaited interrupted))
        (is (= :lost (awaited reason)))))))

(deftest progress-is-sent-while-the-end-of-message-is-pending
  (let [verdict (promise)]
    (milter/with-milter [server {:port 0
                                 :handlers {:end-of-message (fn [_ _] verdict)}
                                 :progress-interval 10}]
      (with-open [socket (support/dial (milter/milter-port server))]
        (support/negotiate socket)
        (support/write-packet socket \E)
        (is (= [\p \p \p] (repeatedly 3 #(support/read-packet socket))))
        (deliver verdict [(act/accept)])
        (is (= \a (first (drop-while #{\p} (repeatedly #(support/read-packet socket))))))))))

(deftest progress-at-other-events-only-where-it-is-asked-for
  (with-logs _logs
    (doseq [[events expected] [[#{:end-of-message} [\c]]
                               [#{:header} [\p \p \p]]]]
      (let [value (promise)
            pending (promise)]
        (milter/with-milter [server {:port 0
                                     :handlers {:header (fn [_ _] (deliver pending true) value)}
                                     :progress-interval 10
                                     :progress-events events}]
          (with-open [socket (support/dial (milter/milter-port server))]
            (support/negotiate socket)
            (support/write-packet socket \L (int \A) 0 (int \1) 0)
            (awaited pending)
            (when (= [\c] expected)
              (deliver value nil))
            (is (= expected (repeatedly (count expected) #(support/read-packet socket))))))))))

(deftest an-mta-that-hears-progress-reports-the-verdict-after-it
  (doseq [mta [:postfix :sendmail]]
    (let [report (mt/run-message {:handlers {:end-of-message
                                             (fn [_ context]
                                               (milter/progress! context)
                                               (milter/progress! context)
                                               (future [(act/add-header "A" "1") (act/accept)]))}}
                                 {}
                                 {:mta mta})]
      (is (= :accept (:verdict report)))
      (is (= [(act/add-header "A" "1")] (:modifications report)))
      (is (= [:end-of-message
              [(act/progress) (act/progress) (act/add-header "A" "1") (act/accept)]]
             (last (:responses report)))))))

(deftest two-hundred-pending-handlers-hold-no-thread
  (let [n 200
        called (CountDownLatch. n)
        verdict (promise)]
    (milter/with-milter [server {:port 0
                                 :name "parked"
                                 :handlers {:end-of-message (fn [_ _]
                                                              (.countDown called)
                                                              verdict)}}]
      (let [sockets (vec (repeatedly n #(support/dial (milter/milter-port server))))]
        (run! support/negotiate sockets)
        (run! #(support/write-packet % \E) sockets)
        (is (.await called 10 TimeUnit/SECONDS))
        (is (> 10 (count (filter #(string/starts-with? (.getName ^Thread %) "parked")
                                 (keys (Thread/getAllStackTraces))))))
        (deliver verdict [(act/reject)])
        (is (every? #{\r} (map support/read-packet sockets)))
        (run! #(.close ^java.net.Socket %) sockets)))))
