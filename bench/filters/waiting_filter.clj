(ns waiting-filter
  "Lets a mail wait at header fields that say for how many milliseconds: X-Sleep in the handler's
  thread, X-Pending without one. Answers everything else at once.

    bin/temse run bench/filters/waiting_filter.clj --listen inet:20025@127.0.0.1"
  (:refer-clojure :exclude [filter])
  (:require
   [temse.milter :refer [default-event-handler]])
  (:import
   (java.util.concurrent CompletableFuture ScheduledThreadPoolExecutor TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private ^ScheduledThreadPoolExecutor timer
  (doto (ScheduledThreadPoolExecutor. 1)
    (.prestartCoreThread)))

(defn- later
  "Returns a CompletableFuture that yields the value after `ms`."
  [value ms]
  (let [pending (CompletableFuture.)]
    (.schedule timer ^Runnable #(.complete pending value) (long ms) TimeUnit/MILLISECONDS)
    pending))

(defn on-header
  [{:keys [name value]} context]
  (case name
    "X-Sleep" (do (Thread/sleep (long (parse-long value)))
                  context)
    "X-Pending" (later context (parse-long value))
    context))

(def filter
  {:handlers {:mail #'default-event-handler
              :recipient #'default-event-handler
              :header #'on-header}
   :max-connections nil})
