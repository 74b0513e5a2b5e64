(ns temse.pending-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.impl.poller :as poller]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [awaited with-handler with-logs]]
   [temse.test :as mt])
  (:import
   (clojure.lang IDeref IPending)
   (java.util.concurrent CompletableFuture CompletionStage CountDownLatch Future FutureTask TimeUnit)
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
        (deliver late [(act/reject)])
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

;; Values that misbehave, and values that belong to others

(defn- thrower
  "Returns what throws any Throwable, checked ones included, and is called as a Future is."
  ^Throwable [^Throwable problem]
  (clojure.lang.Util/sneakyThrow problem))

(defn- user-future
  "Returns a Future of a class of ours."
  [get is-done cancel]
  (reify Future
    (get [_] (get))
    (get [_ _ _] (get))
    (isDone [_] (is-done))
    (isCancelled [_] false)
    (cancel [_ _] (cancel))))

(deftest a-future-that-cannot-be-asked-hurts-no-other
  (with-logs _logs
    (let [forever (CountDownLatch. 1)
          wait-for-ever #(do (.await forever 30 TimeUnit/SECONDS) nil)
          bad [(user-future wait-for-ever #(thrower (StackOverflowError.)) (constantly false))
               (user-future wait-for-ever wait-for-ever wait-for-ever)
               (user-future wait-for-ever (constantly true) #(thrower (AssertionError.)))
               (user-future #(thrower (Exception. "checked")) (constantly false) (constantly false))]]
      (try
        (milter/with-milter [server {:port 0
                                     :handler-timeout 300
                                     :handlers {:mail (fn [{:keys [sender]} _]
                                                        (if-let [n (re-find #"\d" sender)]
                                                          (bad (parse-long n))
                                                          (promised #(vector (act/discard)))))}}]
          (let [verdicts (mapv #(future (:verdict (mt/run-message server {:sender (str "<" % "@a.example>")})))
                               (range (count bad)))]
            (dotimes [_ 5]
              (is (= :discard (:verdict (mt/run-message server {:sender "<a@a.example>"})))))
            (is (= (repeat (count bad) :temporary-failure) (map awaited verdicts)))
            (is (= :discard (:verdict (mt/run-message server {:sender "<a@a.example>"}))))))
        (finally
          (.countDown forever))))))

(deftest a-future-of-another-class-answers-whatever-it-says-of-itself
  (doseq [is-done [(constantly false) #(thrower (Exception.))]]
    (is (= :discard (:verdict (with-handler :mail
                                (fn [_ _] (user-future #(vector (act/discard)) is-done (constantly false)))))))))

(deftest what-a-value-throws-when-it-is-there-is-a-failure-of-its-own
  (doseq [problem [(StackOverflowError.) (Exception. "checked") (AssertionError.) (ThreadDeath.)]
          value [#(user-future (fn [] (thrower problem)) (constantly true) (constantly false))
                 #(reify IPending
                    (isRealized [_] true)
                    IDeref
                    (deref [_] (thrower problem)))]]
    (with-logs logs
      (is (= :temporary-failure (:verdict (with-handler :mail (fn [_ _] (value))))))
      (is (= [problem] (keep :throwable @logs))))))

(deftest where-no-thread-can-be-had-the-value-fails-at-once
  (with-logs logs
    (let [problem (OutOfMemoryError. "unable to create native thread")]
      (with-redefs [poller/running-thread (fn [] (throw problem))]
        (is (= :temporary-failure (:verdict (with-handler :mail (fn [_ _] (promise)))))))
      (is (= [problem] (keep :throwable @logs))))
    (is (= :discard (:verdict (with-handler :mail (fn [_ _] (promised #(vector (act/discard))))))))))

(deftest an-old-value-is-asked-for-more-seldom
  (let [asked (atom 0)
        start (System/nanoTime)
        stage (poller/stage #(<= 80 (long (swap! asked inc))) (constantly :there))]
    (is (= :there (.get stage 10 TimeUnit/SECONDS)))
    (is (< 150 (quot (- (System/nanoTime) start) 1000000)))))

(deftest a-value-that-is-given-up-is-not-asked-for-any-more
  (let [asked (atom 0)
        stage (poller/stage #(do (swap! asked inc) false) (constantly :there))]
    (.cancel stage true)
    (.get (poller/stage #(< 100 (long (swap! asked inc))) (constantly :other)) 10 TimeUnit/SECONDS)
    (is (< (long @asked) 110))))

(defn- timed-out
  "Returns the value after the event that awaited it has timed out."
  [value]
  (with-logs _logs
    (is (= :temporary-failure (:verdict (with-handler :mail (fn [_ _] value) :handler-timeout 20)))))
  value)

(deftest a-stage-is-never-cancelled-since-others-may-wait-for-it
  (let [^CompletableFuture shared (timed-out (CompletableFuture.))]
    (is (not (.isDone shared)))
    (.complete shared [(act/discard)])
    (is (= :discard (:verdict (with-handler :mail (fn [_ _] shared)))))))

(deftest a-future-that-two-events-have-awaited-is-not-cancelled
  (let [go-on (CountDownLatch. 1)
        shared (future (.await go-on 10 TimeUnit/SECONDS) [(act/discard)])
        calls (atom 0)]
    (with-logs _logs
      (milter/with-milter [server {:port 0
                                   :handlers {:mail (fn [_ _] (swap! calls inc) shared)}
                                   :handler-timeout {:default 150}}]
        (is (= [:temporary-failure :temporary-failure]
               (->> (repeatedly 2 #(future (:verdict (mt/run-message server {}))))
                    doall
                    (mapv awaited))))))
    (is (= 2 @calls))
    (is (not (future-cancelled? shared)))
    (.countDown go-on)
    (is (= :discard (:verdict (with-handler :mail (fn [_ _] shared)))))))

(deftest futures-are-told-apart-by-identity-not-by-what-they-say
  (let [cancelled (atom [])
        equal-future (fn [n forever]
                       (proxy [FutureTask] [^Callable (fn [] nil)]
                         (hashCode [] 1)
                         (equals [_] true)
                         (get [] (.await ^CountDownLatch forever 10 TimeUnit/SECONDS))
                         (cancel [_] (swap! cancelled conj n) true)))
        forever (CountDownLatch. 1)
        futures (mapv #(equal-future % forever) (range 2))]
    (run! timed-out futures)
    (.countDown forever)
    (let [end (+ (System/nanoTime) 10000000000)]
      (while (and (not= 2 (count @cancelled)) (< (System/nanoTime) end))
        (Thread/yield)))
    (is (= [0 1] (sort @cancelled)))))
