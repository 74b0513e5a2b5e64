(ns temse.impl.inspector.rerun
  "Plays a conversation again to the handlers that a milter has now: one at a time, for a bounded time, on a
  thread that serves no mail."
  {:no-doc true}
  (:require
   [temse.impl.inspector.disagreement :as disagreement]
   [temse.impl.inspector.entry :as entry]
   [temse.replay :as replay])
  (:import
   (java.util.concurrent Semaphore)))

(set! *warn-on-reflection* true)

(def ^:private most-differences 50)

(defn runner
  "Returns what plays one conversation at a time, with another bound in milliseconds for tests."
  ([]
   (runner 30000))
  ([time-limit]
   {:turn (Semaphore. 1), :time-limit time-limit}))

(defn- unseen
  "Returns the names of the events that no handler wanted when the conversation was recorded: the MTA did not
  send them."
  [[{[agreed] :response}]]
  (sort (keep #(second (re-matches #"no-(?!reply-)(.*)" (name %))) (:protocol agreed))))

(defn- differences
  [{:keys [conversation] :as recording} options stopped?]
  (let [differences (replay/replay-here [recording]
                                        (update options :name str " (replay)")
                                        {:timeout 10000}
                                        #(when @stopped?
                                           (throw (InterruptedException. "the replay was stopped"))))]
    {:exchanges (count conversation)
     :unseen (unseen conversation)
     :count (count differences)
     :differences (mapv (fn [{:keys [expected actual] :as difference}]
                          (disagreement/of difference expected actual))
                        (take most-differences differences))}))

(defn- played
  [recording options stopped?]
  (let [recording (recording)]
    (if (:problem recording)
      recording
      (differences recording options stopped?))))

(defn- start
  "Plays a conversation on a thread of its own, and returns it."
  ^Thread [{:keys [^Semaphore turn]} result recording options stopped?]
  (let [play (fn []
               (let [outcome (try
                               (played recording options stopped?)
                               (catch Throwable problem
                                 {:problem (str "The replay failed: " (entry/failure-text problem))})
                               (finally
                                 (.release turn)))]
                 (deliver result outcome)))]
    (try
      (doto (Thread. ^Runnable play "temse-inspector-replay")
        (.setDaemon true)
        (.start))
      (catch Throwable problem
        (.release turn)
        (throw problem)))))

(defn outcome
  "Plays what a function without arguments returns, a recording or {:problem why}, to options. Waits for the
  end, and returns {:exchanges :unseen :count :differences}, or {:problem why}. What takes too long is interrupted; until it has ended no other can be played."
  [{:keys [^Semaphore turn time-limit] :as runner} recording options]
  (if-not (.tryAcquire turn)
    {:problem "Another replay has not ended yet."}
    (let [result (promise)
          stopped? (atom false)
          thread (start runner result recording options stopped?)]
      (try
        (deref result time-limit {:problem (str "The replay was stopped: it took longer than "
                                                (quot (long time-limit) 1000) " seconds.")})
        (finally
          (when-not (realized? result)
            (reset! stopped? true)
            (.interrupt thread)))))))
