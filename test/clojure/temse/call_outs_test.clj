(ns temse.call-outs-test
  "Whatever is thrown wherever temse calls a function of the user: the mail at hand is deferred if the
  function decides about it, and answered as usual if it only watches; the next mail is answered as usual.
  temse.server.internal.CallOutsTest does the same in Java."
  (:require
   [clojure.core.async :as async]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.async]
   [temse.compose :as compose]
   [temse.filter :as filter]
   [temse.milter :as milter]
   [temse.record :as record]
   [temse.shadow :as shadow]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (clojure.lang IBlockingDeref IDeref IPending)
   (java.io Closeable IOException)
   (java.util.concurrent CompletableFuture)
   (java.util.function Supplier)))

(set! *warn-on-reflection* true)

(def ^:private errors
  {"no memory" #(OutOfMemoryError. "made up")
   "no stack" #(StackOverflowError. "made up")
   "no class" #(NoClassDefFoundError. "made up")
   "an assertion" #(AssertionError. "made up")
   "an unsafe access to memory" #(InternalError. "made up")
   "a death" #(Error. "made up")
   "an interruption" #(InterruptedException. "made up")
   "a checked exception" #(IOException. "made up")
   "one that cannot be told" #(proxy [RuntimeException] []
                                (getMessage [] (throw (StackOverflowError. "made up, in getMessage")))
                                (toString [] (throw (OutOfMemoryError. "made up, in toString"))))})

(def ^:private accepting {:end-of-message (fn [_ _] [(act/accept)])})

(defn- deciding
  "Returns filters, by what they call, that call a function which decides about the mail."
  [call]
  {":init" {:init (fn [context] (call) context), :handlers accepting}
   "a handler" {:handlers (assoc accepting :mail (fn [_ _] (call)))}
   "a handler that only watches" {:handlers (assoc accepting :header ^:no-reply (fn [_ _] (call)))}
   "a lazy sequence of actions" {:handlers (assoc accepting :mail (fn [_ _] (map (fn [_] (call) (act/continue)) [1])))}
   ":on-error" {:handlers (assoc accepting :mail (fn [_ _] (throw (Exception. "made up, for :on-error"))))
                :on-error (fn [_ _ _] (call) [(act/accept)])}
   "a future" {:handlers (assoc accepting :mail (fn [_ context] (future (call) context)))}
   "a stage" {:handlers (assoc accepting :mail
                               (fn [_ context] (CompletableFuture/supplyAsync
                                                 (reify Supplier
                                                   (get [_] (call) context)))))}
   "a pending value of a class of its own" {:handlers (assoc accepting :mail
                                                             (fn [_ context]
                                                               (reify
                                                                 IDeref
                                                                 (deref [_] (call) context)
                                                                 IBlockingDeref
                                                                 (deref [_ _ _] (call) context)
                                                                 IPending
                                                                 (isRealized [_] false))))}
   "a go block" {:handlers (assoc accepting :mail
                                  (fn [_ context] (temse.async/go (async/<! (async/timeout 1)) (call) context)))}
   "a predicate of clients" (compose/when-client (fn [_] (call) true) {:handlers accepting})
   "a predicate of messages" (compose/when-message (fn [_] (call) true) {:handlers accepting})
   "the second of a sequence" (compose/in-sequence
                                {:handlers accepting}
                                {:handlers (assoc accepting :header (fn [_ _] (call)))})
   "the key of a rate limit" (compose/wrap-rate-limit {:handlers accepting}
                                                      {:limit 1000000, :by (fn [_ _] (call) 1)})
   "a policy for exceptions" (compose/wrap-exceptions
                               {:handlers (assoc accepting :mail (fn [_ _] (throw (Exception. "made up, for the policy"))))}
                               (fn [_ _ _] (call) [(act/accept)]))
   "a message filter" {:handlers (filter/message-filter (fn [_ _] (call) [(act/accept)]))}})

(defn- watching
  "Returns filters, by what they call, that call a function which only watches."
  [call recorder]
  {":on-exchange" {:handlers accepting, :on-exchange (fn [_] (call))}
   ":on-exchange beside a recorder" (record/record {:handlers accepting, :on-exchange (fn [_] (call))} recorder)
   "a log of exchanges" (compose/wrap-log {:handlers accepting} {:log (fn [_] (call)), :events #{:mail :end-of-message}})
   "a timing" (compose/wrap-timing {:handlers accepting} (fn [_] (call)))
   "a filter that only pretends" (compose/in-sequence
                                   (compose/pretend {:handlers (assoc accepting :mail (fn [_ _] (call)))})
                                   {:handlers accepting})
   "a filter in a shadow" (shadow/shadow {:handlers accepting} {:handlers (assoc accepting :mail (fn [_ _] (call)))})
   "a handler of :message-end" {:handlers (assoc accepting :message-end (fn [_ _] (call)))}
   "a handler of :disconnect" {:handlers (assoc accepting :disconnect (fn [_ _] (call)))}})

(defn- outcome
  "Returns the verdict about a mail, or :closed: then the default action of the MTA holds."
  [server]
  (try
    (:verdict (mt/run-message server {}))
    (catch Exception _
      :closed)))

(defn- once
  "Returns a function that throws what `error` returns when it is called first, and sets an atom then."
  [error blown]
  (fn []
    (when (compare-and-set! blown false true)
      (throw (error)))))

(defn- check
  "Has each error thrown in each of the filters that `filters`, a function of what throws, returns."
  [filters allowed]
  (doseq [[title error] errors
          what (sort (keys (filters (fn []))))]
    (testing (str title " in " what)
      (support/with-logs _logs
        (let [blown (atom false)]
          (milter/with-milter [server (assoc ((filters (once error blown)) what) :port 0)]
            (is (contains? allowed (outcome server)))
            (support/await-true #(deref blown))
            (is (= :accept (outcome server)))))))))

(deftest whatever-is-thrown-by-what-decides-defers-that-mail-and-no-other
  (check deciding #{:temporary-failure :closed}))

(deftest whatever-is-thrown-by-what-watches-changes-nothing
  (with-open [^Closeable recorder (record/recorder)]
    (check #(watching % recorder) #{:accept})))

(deftest whatever-a-watcher-of-a-running-milter-throws-changes-nothing
  (doseq [[title error] errors]
    (testing title
      (support/with-logs _logs
        (let [blown (atom false)
              call (once error blown)]
          (milter/with-milter [server {:port 0, :handlers accepting}]
            (milter/watch-milter server :test (fn [_] (call)))
            (is (= :accept (outcome server)))
            (support/await-true #(deref blown))
            (is (= :accept (outcome server)))))))))
