(ns temse.patience-mta-test
  "Handlers that take longer than real MTAs wait. The scenes take long and run side by side."
  (:require
   [clojure.string :as str]
   [clojure.test :refer [deftest is use-fixtures]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.support :as support])
  (:import
   (java.io Closeable)
   (java.util.concurrent CompletableFuture CountDownLatch TimeUnit)))

(set! *warn-on-reflection* true)

(defn- seconds-since
  [start]
  (/ (- (System/nanoTime) (long start)) 1e9))

(defn- after
  "Returns a stage that gets the value in so many seconds."
  ^CompletableFuture [seconds value]
  (doto (CompletableFuture.)
    (.completeOnTimeout value seconds TimeUnit/SECONDS)))

(defn- recorder
  "Returns [events record handlers]: an atom of what was told, a function that adds to it, and handlers
  that tell of the ends of messages."
  []
  (let [start (System/nanoTime)
        events (atom [])
        record (fn [& what]
                 (swap! events conj (into [(seconds-since start)] what))
                 nil)]
    [events
     record
     {:abort (fn [{:keys [at]} _] (record :abort at))
      :message-end (fn [{:keys [reason at]} _] (record :message-end reason at))}]))

(defn- sends-to
  "Sends a mail from a sender, and returns the code of the reply to its content."
  [mta sender]
  (get-in (smtp/send-mail {:port (:port mta), :sender sender}) [:message :code]))

(defn- delivered
  "Returns [sender X-Seen] of the mails at the sink, when so many have come."
  [sink number]
  (sink/await-message sink (fn [_] (<= (long number) (count @(:messages sink)))))
  (for [message @(:messages sink)]
    [(:sender message)
     (some (fn [[field value]] (when (= "X-Seen" field) (str/trim value)))
           (sink/headers message))]))

;; ---- scenes

(defn- blocked-behind-sendmail
  "A handler that blocks for 20 s behind a Sendmail that waits for 10 s."
  []
  (let [never (CountDownLatch. 1)]
    (milter/with-milter [server {:port 0
                                 :actions #{:add-header}
                                 :handlers {:end-of-message
                                            (fn [_ _]
                                              (.await never 20 TimeUnit/SECONDS)
                                              [(act/add-header "X-Seen" "patiently") (act/accept)])}}]
      (with-open [sink (sink/start)
                  mta ^Closeable (sendmail/start {:sink sink
                                                  :milters [(milter/milter-address server)]
                                                  :timeouts nil})]
        (let [start (System/nanoTime)]
          {:code (sends-to mta "<a@example.org>")
           :seconds (seconds-since start)
           :delivered (delivered sink 1)
           :log ((:log mta))})))))

(defn- postfix-in-haste
  "Starts a Postfix that waits for 4 s at the end of a message."
  ^Closeable [server sink]
  (postfix/start {:sink sink
                  :milters [(str "inet:127.0.0.1:" (milter/milter-port server))]
                  :main {"milter_content_timeout" "4s"}}))

(defn- late-behind-postfix
  "A promise that is kept after 9 s, and the mail after it."
  []
  (let [[events record handlers] (recorder)
        promised (promise)]
    (milter/with-milter [server {:port 0
                                 :actions #{:add-header}
                                 :progress-interval 60000
                                 :handlers
                                 (assoc handlers
                                        :mail (fn [{:keys [sender]} context]
                                                (milter/update-message context assoc :sender sender))
                                        :end-of-message
                                        (fn [_ context]
                                          (if (= "<late@example.org>"
                                                 (:sender (milter/message context)))
                                            (do (record :waits)
                                                (.thenAccept
                                                  (after 9 [(act/add-header "X-Seen" "late")
                                                            (act/accept)])
                                                  (reify java.util.function.Consumer
                                                    (accept [_ value]
                                                      (record :value)
                                                      (deliver promised value))))
                                                promised)
                                            [(act/add-header "X-Seen" "next") (act/accept)])))}]
      (with-open [sink (sink/start)
                  mta (postfix-in-haste server sink)]
        (let [late (sends-to mta "<late@example.org>")
              next-one (sends-to mta "<next@example.org>")]
          (deref promised 30000 nil)
          (let [after-value (sends-to mta "<next@example.org>")]
            {:codes [late next-one after-value]
             :events @events
             :delivered (delivered sink 2)}))))))

(defn- shared-behind-postfix
  "A CompletableFuture that two mails wait for, and a mail that waits no longer than 4 s."
  []
  (let [[events record handlers] (recorder)
        shared (CompletableFuture.)
        waiting (CountDownLatch. 2)
        lost (promise)
        options {:port 0
                 :actions #{:add-header}
                 :progress-interval 60000
                 :handlers (assoc handlers
                                  :end-of-message (fn [_ _]
                                                    (.countDown waiting)
                                                    shared)
                                  :message-end (fn [event context]
                                                 ((:message-end handlers) event context)
                                                 (deliver lost true)
                                                 nil))}]
    (milter/with-milter [server options]
      (milter/with-milter [patient (assoc options :progress-interval 1000
                                          :handlers {:end-of-message (fn [_ _]
                                                                       (.countDown waiting)
                                                                       shared)})]
        (with-open [sink (sink/start)
                    hasty-mta (postfix-in-haste server sink)
                    patient-mta (postfix-in-haste patient sink)]
          (let [hasty (future (sends-to hasty-mta "<hasty@example.org>"))
                other (future (sends-to patient-mta "<patient@example.org>"))]
            (.await waiting 20 TimeUnit/SECONDS)
            (let [hasty (deref hasty 30000 :late)]
              (record :value)
              (.complete shared [(act/add-header "X-Seen" "shared") (act/accept)])
              {:codes [hasty (deref other 30000 :late)]
               :cancelled? (.isCancelled shared)
               :events (do (support/awaited lost) @events)
               :delivered (delivered sink 1)})))))))

;; ---- tests

(def ^:private scenes (atom nil))

(defn- scene
  "Returns what has come out of a scene, or skips the test if there is no such MTA here."
  [unavailable result]
  (when-let [reason (unavailable)]
    (runner/skip! reason))
  (let [outcome (deref (get @scenes result) 120000 nil)]
    (when (instance? Throwable outcome)
      (throw outcome))
    outcome))

(use-fixtures :once
  (fn [run-tests]
    (reset! scenes
            (into {}
                  (for [[title unavailable f] [[:blocked sendmail/unavailable blocked-behind-sendmail]
                                               [:late postfix/unavailable late-behind-postfix]
                                               [:shared postfix/unavailable shared-behind-postfix]]]
                    [title (when-not (unavailable)
                             (future (try (f) (catch Throwable e e))))])))
    (support/with-logs _logs
      (run-tests))))

(defn- event-time
  [events & what]
  (some (fn [[seconds & told]] (when (= what told) seconds)) events))

(deftest a-plain-handler-that-takes-20-seconds-passes-sendmail-with-its-default-limits
  (let [{:keys [code seconds delivered log]} (scene sendmail/unavailable :blocked)]
    (is (= 250 code))
    (is (<= 20 seconds))
    (is (= [["<a@example.org>" "patiently"]] delivered))
    (is (not (str/includes? log "timeout before data read")))))

(deftest postfix-that-gives-up-waiting-loses-the-message-before-the-value-comes
  (let [{:keys [codes events delivered]} (scene postfix/unavailable :late)
        told (mapv rest events)
        lost-at (event-time events :message-end :lost :end-of-message)]
    (is (= [451 250 250] codes))
    (is (= [["<next@example.org>" "next"] ["<next@example.org>" "next"]] delivered))
    (is (= {[:waits] 1
            [:abort :end-of-message] 1
            [:message-end :lost :end-of-message] 1
            [:message-end :accepted :end-of-message] 2
            [:value] 1}
           (frequencies told)))
    (is (< 3 (- (event-time events :value) lost-at)))))

(deftest a-value-that-postfix-has-given-up-still-comes-to-another-mail
  (let [{:keys [codes cancelled? events delivered]} (scene postfix/unavailable :shared)]
    (is (= [451 250] codes))
    (is (false? cancelled?))
    (is (= {[:value] 1, [:abort :end-of-message] 1, [:message-end :lost :end-of-message] 1}
           (frequencies (map rest events))))
    (is (= [["<patient@example.org>" "shared"]] delivered))))
