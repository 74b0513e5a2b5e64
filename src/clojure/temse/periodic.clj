(ns temse.periodic
  "Work that a filter does at intervals beside the mail, such as the expiry of what it has stored.

  All of it shares one daemon thread, so that two pieces of work never overlap: let each be short, and
  do long work in small steps. Work has a key: a filter that is loaded again replaces its own. Logs show the key,
  of a vector its first element.

    (every [::expiry settings] 60000 #(expire! store))"
  (:require
   [clojure.tools.logging :as log]
   [temse.impl.keys :as keys]
   [temse.impl.log :as impl.log])
  (:import
   (java.util.concurrent Future ScheduledThreadPoolExecutor ThreadFactory TimeUnit)
   (temse.protocol Printable)))

(set! *warn-on-reflection* true)

(defonce ^:private ^ScheduledThreadPoolExecutor worker
  (doto (ScheduledThreadPoolExecutor. 1
                                      (reify ThreadFactory
                                        (newThread [_ task]
                                          (doto (Thread. task "temse-periodic")
                                            (.setDaemon true)))))
    (.setRemoveOnCancelPolicy true)))

(defonce ^:private ^{:doc "The Future of each piece of work by its key."} started (atom {}))

(defn- title
  "Returns what logs call a key: of a vector its first element, since others may be secret."
  [key]
  (if (vector? key) (first key) key))

(defn- guarded
  "Returns f without its exceptions. They are logged; one that comes again, once until f succeeds."
  [key f]
  (let [logged (atom nil)]
    (fn []
      (try
        (f)
        (reset! logged nil)
        (catch Throwable e
          (let [problem (impl.log/problem-text e)]
            (when (not= problem (first (reset-vals! logged problem)))
              (impl.log/quietly
                (log/log "temse" :error (Printable/throwable e)
                         (str "the periodic work " (keys/shown (title key)) " failed: " problem))))))))))

(defn stop
  "Ends the work of a key, if there is any; what is in progress is completed.

    (stop ::expiry)"
  [key]
  (let [[before _] (swap-vals! started dissoc key)]
    (when-let [^Future work (get before key)]
      (.cancel work false)))
  nil)

(defn every
  "Has f called without arguments, for the first time after the interval and then each time when the
  interval has passed since it returned. It replaces work that was started with the same key. What f throws
  is logged, once if it is the same again, and f goes on to be called.

    (every ::expiry 60000 (fn [] (execute db \"delete from seen where last_seen < ?\" oldest)))

  Throws :bad-options if the interval is no positive number of milliseconds."
  [key milliseconds f]
  (when-not (keys/milliseconds? milliseconds)
    (throw (keys/bad-option :milliseconds milliseconds
                            (str "the interval must be " (first keys/milliseconds) ", not "
                                 (keys/shown milliseconds)))))
  (locking started
    (stop key)
    (swap! started assoc key
           (.scheduleWithFixedDelay worker (guarded key f) milliseconds milliseconds TimeUnit/MILLISECONDS)))
  nil)
