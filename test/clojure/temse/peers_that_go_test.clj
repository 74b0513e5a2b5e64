(ns temse.peers-that-go-test
  "MTAs that reset, close or half close their connection while a value is pending, over TCP and
  Unix-domain sockets."
  (:require
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.compose :as compose]
   [temse.milter :as milter]
   [temse.support :as support])
  (:import
   (java.nio.file Files Path)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent BlockingQueue CompletableFuture CountDownLatch LinkedBlockingQueue TimeUnit)
   (temse.limits RawMta)))

(set! *warn-on-reflection* true)

(def ^:private no-limits
  "So that nothing but the peer's leaving ends what is pending."
  {:handler-timeout 600000, :progress-interval 600000, :idle-timeout 600000})

(defn- next-of
  "Returns the next element of a queue, which must come within ten seconds."
  [^BlockingQueue queue]
  (or (.poll queue 10 TimeUnit/SECONDS)
      (throw (ex-info "nothing happened in ten seconds" {}))))

(defn- filter-waiting-at
  "Returns options of a filter that waits at an event for what `waiting` returns, and puts what it is
  told of the end of the message into a queue."
  [event waiting ^BlockingQueue queue]
  (assoc no-limits
         :actions #{:add-header}
         :handlers {event (fn [_ _]
                            (.put queue [:waits])
                            (waiting))
                    :abort (fn [{:keys [at]} _] (.put queue [:abort at]))
                    :message-end (fn [{:keys [reason at]} _] (.put queue [:message-end reason at]))
                    :disconnect (fn [{:keys [reason]} _] (.put queue [:disconnect reason]))}))

(defn- with-peer
  "Calls f with a peer of a server with these options that has negotiated."
  [transport options f]
  (support/with-logs logs
    (if (= :tcp transport)
      (milter/with-milter [server (assoc options :port 0)]
        (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
          (f (.negotiate peer))))
      (let [directory (Files/createTempDirectory "gone" (make-array FileAttribute 0))
            path (.resolve directory "milter.sock")]
        (try
          (milter/with-milter [_server (assoc options :socket-path (str path))]
            (with-open [peer (RawMta/connect ^Path path)]
              (f (.negotiate peer))))
          (finally
            (Files/delete directory)))))
    (is (= [] (support/messages logs :error)))))

(defn- sends-up-to
  "Sends a message up to an event, and returns the peer."
  [^RawMta peer event]
  (.send peer \M "<a@example.org>\u0000")
  (when (#{:header :end-of-message} event)
    (.send peer \L "Subject\u0000hi\u0000"))
  (when (= :end-of-message event)
    (.send peer \E ""))
  peer)

(defn- read-but
  "Returns the code of the next packet that is none of these."
  [^RawMta peer codes]
  (first (remove (into #{} (map str) codes) (repeatedly #(.readCodes peer 1)))))

(def ^:private ways
  {:resets #(.reset ^RawMta %)
   :closes #(.close ^RawMta %)
   :half-closes #(.halfClose ^RawMta %)})

(def ^:private leavings
  "Where a value is pending, how the peer leaves, and over what; a Unix-domain socket has no reset."
  (for [transport [:tcp :unix]
        event [:mail :header :end-of-message]
        way [:resets :closes :half-closes]
        :when (not (or (= [:unix :resets] [transport way])
                       (= [:end-of-message :half-closes] [event way])))]
    [transport event way]))

(defn- in-a-sequence
  "Returns a filter as the one of several that `arrange` arranges it with."
  [arrange filter]
  (merge no-limits
         (apply compose/in-sequence
                (arrange (apply dissoc filter (keys no-limits))
                         {:handlers {:mail (fn [_ _])}, :actions #{}}))))

(def ^:private places
  "Where a filter stands: ways to arrange it and another one."
  {:alone identity
   :first #(in-a-sequence vector %)
   :second #(in-a-sequence (comp rseq vector) %)})

(deftest a-peer-that-goes-loses-its-message-at-once-and-the-value-is-given-up
  (doseq [[transport event way :as leaving] leavings
          pending [:future :stage :promise]
          [place placed] places]
    (testing (str leaving " " pending " " place)
      (let [queue (LinkedBlockingQueue.)
            value (case pending
                    :future (future (deref (promise)))
                    :stage (CompletableFuture.)
                    :promise (promise))]
        (with-peer transport (placed (filter-waiting-at event (constantly value) queue))
          (fn [peer]
            (sends-up-to peer event)
            (is (= [:waits] (next-of queue)))
            (let [start (System/nanoTime)]
              ((ways way) peer)
              (is (= [:abort event] (next-of queue)))
              (is (< (/ (- (System/nanoTime) start) 1e9) 1.0) "at once"))
            (is (= [:message-end :lost event] (next-of queue)))
            (is (= [:disconnect :connection-lost] (next-of queue)))
            (case pending
              :future (is (future-cancelled? value))
              :stage (is (not (.isDone ^CompletableFuture value)) "it may belong to others")
              :promise (is (not (realized? value))))
            (is (nil? (.peek queue)))))))))

(deftest a-peer-that-has-said-all-and-reads-on-gets-its-reply
  (doseq [transport [:tcp :unix]
          last-packet [:end-of-message :quit :next-message]
          pending [:stage :future :blocking]]
    (testing [transport last-packet pending]
      (let [queue (LinkedBlockingQueue.)
            answer [(act/add-header "X-Seen" "yes") (act/accept)]
            gate (promise)
            value (CompletableFuture.)
            waiting (case pending
                      :stage (constantly value)
                      :future #(future @gate)
                      :blocking #(deref gate))]
        (with-peer transport (filter-waiting-at :end-of-message waiting queue)
          (fn [^RawMta peer]
            (sends-up-to peer :end-of-message)
            (when (= :quit last-packet)
              (.send peer \Q ""))
            (when (= :next-message last-packet)
              (.send peer \M "<next@example.org>\u0000"))
            (is (= [:waits] (next-of queue)))
            (.halfClose peer)
            (when (= [:end-of-message :stage] [last-packet pending])
              (is (= "p" (read-but peer "c")) "a probe"))
            (deliver gate answer)
            (.complete value answer)
            (is (= "h" (read-but peer "cp")))
            (is (= "a" (.readCodes peer 1)))
            (is (= [:message-end :accepted :end-of-message] (next-of queue)))
            (when (= :next-message last-packet)
              (is (= [:abort :mail] (next-of queue)))
              (is (= [:message-end :lost :mail] (next-of queue))))
            (is (= :disconnect (first (next-of queue))))
            (is (.awaitClose peer))))))))

(deftest a-value-that-comes-when-the-peer-has-just-gone-is-not-taken-for-an-answer
  (doseq [transport [:tcp :unix]
          way [:resets :closes]
          :when (not= [:unix :resets] [transport way])
          _ (range 10)]
    (testing [transport way]
      (let [queue (LinkedBlockingQueue.)
            value (CompletableFuture.)]
        (with-peer transport (assoc (filter-waiting-at :end-of-message (constantly value) queue)
                                    :progress-interval 300)
          (fn [peer]
            (sends-up-to peer :end-of-message)
            (is (= [:waits] (next-of queue)))
            (is (= "p" (read-but peer "c")) "it is pending")
            ((ways way) peer)
            (.complete value [(act/accept)])
            (is (= [:abort :end-of-message] (next-of queue)))
            (is (= [:message-end :lost :end-of-message] (next-of queue)))))))))

(deftest a-peer-that-goes-while-a-handler-blocks-is-told-of-when-it-returns
  (doseq [transport [:tcp :unix]
          way [:closes :half-closes]]
    (testing [transport way]
      (let [queue (LinkedBlockingQueue.)
            gate (promise)]
        (with-peer transport (filter-waiting-at :mail #(do @gate nil) queue)
          (fn [peer]
            (sends-up-to peer :mail)
            (is (= [:waits] (next-of queue)))
            ((ways way) peer)
            (deliver gate nil)
            (is (= [:abort :mail] (next-of queue)))
            (is (= [:message-end :lost :mail] (next-of queue)))))))))

(deftest a-peer-that-goes-while-a-handler-of-end-of-message-blocks-has-lost-its-message
  (doseq [transport [:tcp :unix]
          way [:resets :closes]
          answer [:accept :reject :replace]
          :when (not= [:unix :resets] [transport way])]
    (testing [transport way answer]
      (let [queue (LinkedBlockingQueue.)
            gate (promise)
            stream-closed (promise)
            stream (proxy [java.io.InputStream] []
                     (read ([] -1) ([_] -1) ([_ _ _] -1))
                     (close [] (deliver stream-closed true)))
            waiting #(do @gate
                         (case answer
                           :accept [(act/add-header "X-Seen" "yes") (act/accept)]
                           :reject [(act/reject)]
                           :replace [(act/change-body stream) (act/accept)]))]
        (with-peer transport (assoc (filter-waiting-at :end-of-message waiting queue)
                                    :actions #{:add-header :change-body}
                                    :progress-interval 50)
          (fn [peer]
            (sends-up-to peer :end-of-message)
            (is (= [:waits] (next-of queue)))
            (is (= "pp" (str (read-but peer "c") (read-but peer "c"))))
            ((ways way) peer)
            (.await (CountDownLatch. 1) 400 TimeUnit/MILLISECONDS)
            (deliver gate nil)
            (is (= [:abort :end-of-message] (next-of queue)))
            (is (= [:message-end :lost :end-of-message] (next-of queue)))
            (when (= :replace answer)
              (is (support/awaited stream-closed)))))))))
