(ns temse.errors-test
  "The error model: each category, what it says, and what becomes of the mail."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond send-action]]
   [temse.support :as support :refer [thrown with-handler with-logs]]
   [temse.test :as mt])
  (:import
   (java.io IOException)
   (java.nio ByteBuffer)
   (temse.protocol Budget MilterException$Category PacketDecoder)))

(set! *warn-on-reflection* true)

(defn- logged
  "Returns the ex-data and :message of the first exception that is logged while the body runs."
  [f]
  (with-logs logs
    (f)
    (let [problem (some :throwable @logs)]
      (assoc (or (ex-data problem) {}) :message (ex-message problem)))))

(defn- failed
  "Returns the verdict on a message whose event is handled by f, and the error that was logged."
  [event f & options]
  (let [verdict (promise)
        error (logged #(deliver verdict (:verdict (apply with-handler event f options))))]
    [@verdict error]))

(defn- closed
  "Returns what is logged of a connection on which the packets are sent to a server, which must close
  it."
  [options packets]
  (with-logs logs
    (milter/with-milter [server (merge {:port 0, :handlers {:mail (fn [_ _] nil)}} options)]
      (with-open [socket (support/dial (milter/milter-port server))]
        (run! #(apply support/write-packet socket %) packets)
        (let [in (.getInputStream socket)]
          (while (not (neg? (.read in)))))))
    (string/join "\n" (support/messages logs :warn))))

(def ^:private offer
  [\O 0 0 0 6 0 0 1 0xff 0 0x1f 0xff 0xff])

(def ^:private ways
  "For each category a way to provoke it, which returns the ex-data and :message, or a log text."
  {:bad-options
   #(thrown (milter/start-milter {:prot 1}))
   :bind-failed
   #(thrown (milter/start-milter {:port 0, :host "no-such-host.invalid", :handlers {:mail identity}}))
   :malformed-packet
   #(closed {:handlers {:header (fn [_ _] nil)}} [offer [\L (int \A)]])
   :packet-too-large
   #(closed {:max-packet-size 100} [offer (into [\B] (repeat 200 0))])
   :limit-exceeded
   #(thrown (.next (PacketDecoder. 1000 (Budget. 10))
                   (ByteBuffer/wrap (byte-array [0 0 1 0 66 1 2 3 4 5 6 7 8 9 10 11]))))
   :unexpected-event
   #(closed {:handlers {:mail (fn [_ _] nil)}} [offer [\E]])
   :version-unsupported
   #(closed {} [[\O 0 0 0 1 0 0 0 0 0 0 0 0]])
   :events-refused
   #(closed {:handlers {:data (fn [_ _] nil)}, :optional-events #{}}
            [[\O 0 0 0 2 0 0 0 0xf 0 0 0 0x7f]])
   :actions-refused
   #(closed {:actions #{:quarantine}} [[\O 0 0 0 6 0 0 0 1 0 0 0 0x7f]])
   :bad-action
   #(second (failed :mail (fn [_ _] [{:action :rejct}])))
   :action-not-negotiated
   #(second (failed :end-of-message (fn [_ _] [(act/quarantine "x")]) :actions #{}))
   :reply-not-allowed
   #(second (failed :connect (fn [_ _] [(act/discard)])))
   :double-reply
   #(second (failed :mail (fn [_ _] [(act/reject) (act/accept)])))
   :late-action
   #(second (failed :end-of-message (fn [_ _] [(act/accept) (act/add-header "A" "b")])))
   :stale-context
   #(thrown (send-action (act/accept) {}))
   :bad-handler-return
   #(second (failed :mail (fn [_ _] 1)))
   :handler-timeout
   #(second (failed :mail (fn [_ _] (promise)) :handler-timeout 10))
   :connection-lost
   #(with-logs logs
      (milter/with-milter [server {:port 0, :idle-timeout 50, :handlers {:mail (fn [_ _] nil)}}]
        (with-open [socket (support/dial (milter/milter-port server))]
          (while (not (neg? (.read (.getInputStream socket)))))))
      (string/join (support/messages logs :info)))})

(def ^:private advice
  "What the message of each category says of what would be right."
  {:bad-options "did you mean :port?"
   :bind-failed "cannot listen on"
   :malformed-packet "header"
   :packet-too-large "100"
   :limit-exceeded "unfinished packets may hold 10 bytes together (:max-unfinished-bytes)"
   :unexpected-event ":end-of-message is not legal in state"
   :version-unsupported "the oldest supported is 2"
   :events-refused "name it in :optional-events if the milter can do without"
   :actions-refused ":quarantine (SMFIF_QUARANTINE)"
   :bad-action "there is no action :rejct"
   :action-not-negotiated "add :quarantine to :actions or :optional-actions"
   :reply-not-allowed ":discard may not answer :connect; it may be answered by :continue"
   :double-reply ":mail was answered with :reject already"
   :late-action ":add-header comes after the reply :accept; the reply goes last"
   :stale-context "this map is no context of a milter"
   :bad-handler-return "return a context, a sequence of actions, nil, or a value that will yield"
   :handler-timeout "the pending value of :mail did not come in time"
   :connection-lost "the MTA was silent for too long"})

(deftest each-category-says-what-would-be-right
  (is (= (into #{} (map #(.-keyword ^MilterException$Category %)) (MilterException$Category/values))
         (set (keys ways))
         (set (keys advice))))
  (doseq [[category provoke] ways]
    (testing category
      (let [result (provoke)]
        (when (map? result)
          (is (= category (:milter/error result))))
        (is (string/includes? (if (map? result) (:message result) result) (advice category)))))))

(deftest an-exception-of-a-handler-defers-the-mail-and-is-logged-with-its-event
  (with-logs logs
    (let [problem (ex-info "no luck" {:mine 1})]
      (is (= [:temporary-failure :header]
             ((juxt :verdict :at) (with-handler :header (fn [_ _] (throw problem))))))
      (is (identical? problem (some :throwable @logs)))
      (is (re-find #"the handler of :header failed: no luck .*:name From"
                   (first (support/messages logs :error)))))))

(deftest errors-and-interruptions-are-caught-like-exceptions
  (doseq [problem [(StackOverflowError.) (AssertionError. "no") (InterruptedException.)]]
    (is (= :temporary-failure (first (failed :mail (fn [_ _] (throw problem))))))
    (Thread/interrupted)))

(deftest a-failed-handler-leaves-the-context-as-it-was-and-the-connection-open
  (with-logs _logs
    (let [seen (atom [])]
      (with-open [session (mt/connect-to
                            {:handlers {:mail (fn [_ context]
                                                (swap! seen conj (:count context))
                                                (update context :count (fnil inc 0)))
                                        :header (fn [_ context]
                                                  (respond (assoc context :count :lost) :junk))}})]
        (is (= [:temporary-failure :temporary-failure]
               [(:verdict (mt/run-message session {})) (:verdict (mt/run-message session {}))])))
      (is (= [nil 1] @seen)))))

(deftest what-was-sent-before-an-exception-is-taken-back
  (is (= [:temporary-failure []]
         (with-logs _logs
           ((juxt :verdict :modifications)
            (with-handler :end-of-message
              (fn [_ context]
                (send-action (act/add-header "A" "b") context)
                (send-action (act/accept) context)
                (throw (Exception. "after all")))))))))

(deftest a-mistake-in-the-third-action-keeps-the-first-two-back
  (let [[verdict error] (failed :end-of-message
                                (fn [_ _] [(act/add-header "A" "b") (act/add-header "C" "d")
                                           (act/add-header "E F" "g")]))]
    (is (= [:temporary-failure :bad-action] [verdict (:milter/error error)]))))

(deftest junk-returned-defers-the-mail-and-says-what-to-return
  (are [value text] (let [[verdict error] (failed :mail (fn [_ _] value))]
                      (and (= [:temporary-failure :bad-handler-return :mail]
                              [verdict (:milter/error error) (:event (:event error))])
                           (string/includes? (:message error) text)))
    1 "the handler of :mail returned an instance of java.lang.Long; return a context"
    :reject "an instance of clojure.lang.Keyword"
    "reject" "an instance of java.lang.String"
    true "an instance of java.lang.Boolean"
    #{{:action :reject}} "an instance of clojure.lang.PersistentHashSet"
    (atom {}) "an instance of clojure.lang.Atom"
    respond "an instance of temse.milter$respond"
    (act/reject) "one action map: return [action] or (respond context action)"
    {:action :nonsense} "one action map: return [action] or (respond context action)"
    [:reject] ":reject among its actions, each of which is a map"
    [[(act/accept)]] "[{:action :accept}] among its actions"
    (list 1) "1 among its actions"
    {} "a map that is no context: it lacks :milter/connection; return the context, or nil"
    {:milter/response [(act/accept)]} "a map that is no context"))

(deftest junk-given-to-respond-is-told-alike
  (are [action text] (let [[verdict error] (failed :mail (fn [_ context] (respond context action)))]
                       (and (= [:temporary-failure :bad-handler-return]
                               [verdict (:milter/error error)])
                            (string/includes? (:message error) text)))
    :reject ":reject among its actions"
    [(act/reject)] "[{:action :reject}] among its actions"))

(deftest nil-among-the-actions-is-passed-over
  (are [handler] (= :reject (:verdict (mt/run-message {:handlers {:mail handler}} {})))
    (fn [_ _] [nil (act/reject)])
    (fn [_ _] [(act/reject) nil])
    (fn [_ context] (respond context nil (act/reject)))))

(deftest no-handler-of-two-arguments-is-told
  (is (string/includes? (:message (second (failed :mail (fn [_event] nil))))
                        "Wrong number of args (2)")))

(deftest errors-of-events-that-owe-no-reply-are-logged-only
  (with-logs logs
    (let [report (with-handler :message-end (fn [_ _] (throw (Exception. "no luck")))
                   :on-error (fn [_ _ _] (throw (Exception. "must not be asked"))))]
      (is (= :accept (:verdict report)))
      (is (= 1 (count (support/messages logs :error)))))))

(deftest on-error-decides-the-answer
  (with-logs _logs
    (doseq [[answer verdict] [[[(act/reject)] :reject]
                              [(act/discard) :discard]
                              [(list (act/reply-code 550 "sorry")) :reject]
                              [[] :accept]
                              [nil :temporary-failure]]]
      (is (= verdict (:verdict (with-handler :mail (fn [_ _] (throw (Exception. "no luck")))
                                 :on-error (constantly answer))))))))

(deftest on-error-gets-exception-event-and-context
  (with-logs _logs
    (let [problem (Exception. "no luck")
          given (promise)]
      (with-handler :mail (fn [_ _] (throw problem))
        :init #(assoc % :mine 1)
        :on-error (fn [error event context]
                    (deliver given [error (:event event) (:mine context)
                                    (milter/get-macro context "j")])
                    nil))
      (is (= [problem :mail 1 "mx.example.com"] (support/awaited given))))))

(deftest on-error-that-throws-or-answers-junk-defers-the-mail-and-is-logged
  (doseq [[on-error text] [[(fn [_ _ _] (throw (Exception. "worse luck"))) "worse luck"]
                           [(fn [_ _ _] 1) ":on-error must return an action"]
                           [(fn [_ _ _] [nil]) ":on-error must return an action"]
                           [(fn [_ _ context] (respond context (act/reject)))
                            "a map without :action"]
                           [(fn [_ _ _] (act/skip)) ":skip may not answer :mail"]
                           [(fn [_ _ _] [(act/add-header "A" "b")]) ":end-of-message only"]
                           [(fn [_ _ _] [{:action :nonsense}]) "there is no action :nonsense"]]]
    (with-logs logs
      (is (= :temporary-failure
             (:verdict (with-handler :mail (fn [_ _] (throw (Exception. "no luck")))
                         :on-error on-error))))
      (let [errors (support/messages logs :error)]
        (is (= 2 (count errors)))
        (is (string/includes? (first errors) "no luck"))
        (is (string/includes? (second errors) text))))))

(deftest each-mistake-of-an-answer-is-logged-once-with-connection-and-event
  (with-logs logs
    (with-handler :connect (fn [_ _] [(act/discard)]) :name "named")
    (is (= 1 (count (support/messages logs :error))))
    (is (re-find #"^named \d+ in-process client=\S+ the handler of :connect failed: :discard may not answer"
                 (first (support/messages logs :error))))))

(deftest a-protocol-error-is-logged-once-as-a-warning
  (with-logs logs
    (with-open [session (mt/connect-to {:handlers {:mail (fn [_ _] nil)
                                                   :recipient (fn [_ _] nil)}})]
      (is (thrown? IOException
            (mt/send-event session {:event :recipient, :address "<a@b.example>", :options []}))))
    (is (= 1 (count (support/messages logs :warn))))
    (is (string/includes? (first (support/messages logs :warn)) "protocol error, closing:"))
    (is (= [] (support/messages logs :info)))))

;; What a handler returns by accident

(defrecord ^:private Stats [messages])

(deftest a-map-that-is-no-context-cannot-replace-the-state-of-the-user
  (doseq [accident [#(swap! (atom {:messages 0}) update :messages inc)
                    #(->Stats 1)
                    #(sorted-map :messages 1)
                    #(future {:messages 1})]]
    (with-logs logs
      (let [seen (atom [])]
        (is (= :temporary-failure
               (:verdict (mt/run-message {:init #(assoc % :mine 1)
                                          :handlers {:mail (fn [_ _] (accident))
                                                     :message-end (fn [_ context]
                                                                    (swap! seen conj (:mine context))
                                                                    nil)}}
                                         {}))))
        (is (= [1] @seen))
        (is (string/includes? (first (support/messages logs :error)) "it lacks :milter/connection"))))))

(deftest an-unknown-key-of-the-library-is-told-with-the-one-that-was-meant
  (doseq [[k text] {:milter/respones "did you mean :milter/response?"
                    :milter/mesage "did you mean :milter/message?"
                    :milter/close "did you mean :milter/close??"
                    :milter/xyzzy "the keys of contexts in the namespace milter are"}]
    (let [[verdict error] (failed :mail (fn [_ context] (assoc context k [(act/reject)])))]
      (is (= [:temporary-failure :bad-handler-return] [verdict (:milter/error error)]))
      (is (string/includes? (:message error) text)))))

(deftest a-key-of-the-library-misspelt-in-place-of-another-key-is-told
  (let [[verdict error] (failed :mail (fn [_ context]
                                        (-> context
                                            (dissoc :mine)
                                            (assoc :milter/respones [(act/reject)])))
                                :init #(assoc % :mine 1))]
    (is (= [:temporary-failure :bad-handler-return] [verdict (:milter/error error)]))))

(deftest keys-of-the-user-are-the-users-own
  (let [seen (atom nil)]
    (mt/run-message {:handlers {:mail (fn [_ context]
                                        (assoc context :respones 1 ::respones 2 "milter/x" 3 nil 4))
                                :recipient (fn [_ context] (reset! seen context) nil)}}
                    {})
    (is (= [1 2 3 4] (map @seen [:respones ::respones "milter/x" nil])))))

(deftest a-response-that-is-no-sequence-is-told
  (doseq [response [(act/accept) :reject #{(act/accept)} "reject" 1]]
    (let [[verdict error] (failed :mail (fn [_ context] (assoc context :milter/response response)))]
      (is (= [:temporary-failure :bad-handler-return] [verdict (:milter/error error)]))
      (is (string/includes? (:message error) "no sequence of actions")))))

(deftest endless-and-huge-sequences-of-actions-are-refused
  (doseq [actions [#(repeat (act/accept))
                   #(iterate identity (act/accept))
                   #(cycle [nil])
                   #(vec (repeat 10001 (act/progress)))
                   #(java.util.LinkedList. ^java.util.Collection (repeat 10001 (act/progress)))]
          handler [(fn [_ _] (actions))
                   (fn [_ context] (assoc context :milter/response (actions)))
                   (fn [_ _] (future (actions)))]]
    (let [[verdict error] (failed :end-of-message handler)]
      (is (= [:temporary-failure :bad-handler-return] [verdict (:milter/error error)]))
      (is (string/includes? (:message error) "more than 10000 actions")))))

(deftest no-more-of-an-endless-sequence-is-made-than-is-needed
  (let [made (atom 0)]
    (failed :mail (fn [_ _] (iterate #(do (swap! made inc) %) (act/accept))))
    (is (<= (long @made) 10001))))

(deftest as-many-actions-as-may-be-are-sent
  (is (= 9999 (count (:modifications
                       (with-handler :end-of-message
                         (fn [_ _] (conj (vec (repeat 9999 (act/add-header "A" "b"))) (act/accept)))))))))

;; Contradictions

(deftest returned-actions-that-contradict-themselves-defer-the-mail
  (doseq [[category actions] {:double-reply [(act/accept) (act/reject)]
                              :late-action [(act/accept) (act/add-header "A" "b")]}
          handler [(fn [_ _] actions)
                   (fn [_ context] (apply respond context actions))
                   (fn [_ _] (future actions))
                   (fn [_ context]
                     (send-action (first actions) context)
                     (rest actions))]]
    (let [report (atom nil)
          error (logged #(reset! report (with-handler :end-of-message handler)))]
      (is (= [:temporary-failure []] ((juxt :verdict :modifications) @report)))
      (is (= category (:milter/error error))))))

(deftest what-a-filter-that-contradicts-itself-gets-is-for-on-error-to-say
  (is (= :reject (first (failed :mail (fn [_ _] [(act/accept) (act/discard)])
                                :on-error (fn [_ _ _] (act/reject)))))))

(deftest a-handler-that-does-not-catch-what-send-action-throws-has-failed
  (let [[verdict error] (failed :mail (fn [_ context]
                                        (send-action (act/accept) context)
                                        (send-action (act/reject) context)
                                        context))]
    (is (= [:temporary-failure :double-reply] [verdict (:milter/error error)]))))

;; :options, :init and :on-error

(deftest a-handler-of-options-that-returns-no-context-is-told-and-nothing-is-agreed
  (doseq [returned [(fn [_] [(act/reject)])
                    (fn [context] (respond context (act/reject)))
                    (fn [_] (future nil))
                    (fn [_] {:mine 1})
                    (fn [context] (assoc context :milter/respones []))
                    (fn [context] (assoc context :milter/request {}))
                    (fn [_] 1)]]
    (with-logs logs
      (is (thrown? IOException
            (mt/connect-to {:handlers {:options (fn [_ context] (returned context))
                                       :mail (fn [_ _] nil)}})))
      (is (string/includes? (first (support/messages logs :warn)) "the handler of :options returned")))))

(deftest an-init-that-returns-no-context-is-told-and-nothing-is-agreed
  (doseq [init [(fn [_] {:handlers {:mail (fn [_ _] nil)}})
                (fn [context] (respond context (act/reject)))
                (fn [context] (assoc context :milter/respones []))
                (fn [context] (future context))
                (fn [_] [(act/reject)])]]
    (with-logs logs
      (is (thrown? IOException (mt/connect-to {:handlers {:mail (fn [_ _] nil)}, :init init})))
      (is (re-find #":init (returned|must return)" (first (support/messages logs :warn)))))))

(deftest on-error-gets-a-context-even-if-init-has-failed
  (with-logs _logs
    (let [clients (atom 0)
          given (promise)]
      (with-open [session (mt/connect-to
                            {:handlers {:mail (fn [_ _] nil)}
                             :init #(if (= 1 (swap! clients inc)) % (throw (Exception. "no luck")))
                             :on-error (fn [error _ context]
                                         (deliver given [(ex-message error)
                                                         (milter/agreed? context :add-header)
                                                         (:peer (:milter/info context))])
                                         (act/reject))})]
        (mt/run-message session {})
        (mt/send-event session {:event :disconnect})
        (is (= [(act/reject)] (mt/send-event session {:event :mail, :sender "<a@b.example>"})))
        (is (= ["no luck" true "in-process"] (support/awaited given)))))))

(deftest a-context-whose-actions-are-refused-is-not-kept
  (with-logs _logs
    (let [seen (atom [])]
      (with-open [session (mt/connect-to
                            {:handlers {:mail (fn [_ context]
                                                (swap! seen conj (:count context))
                                                (respond (assoc context :count :lost)
                                                         {:action :rejct}))}})]
        (dotimes [_ 2]
          (mt/run-message session {})))
      (is (= [nil nil] @seen)))))
