(ns temse.shadow-test
  (:require
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.shadow :as shadow]
   [temse.support :as support :refer [awaited thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CountDownLatch)))

(set! *warn-on-reflection* true)

(def live
  {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-Scanned" "yes")])}
   :actions #{:add-header}})

(def refusing
  {:handlers {:mail (fn [_ _] [(act/reply-code 550 "5.7.1" "No")])}})

(defn- once
  "Returns the value of an atom as soon as the predicate is true of it."
  [pred a]
  (let [found (promise)
        look #(when (pred %) (deliver found %))]
    (add-watch a found (fn [_ _ _ value] (look value)))
    (look @a)
    (awaited found)))

(defn- compared
  "Returns the report of some mails that were sent over TCP to a filter with a candidate in its shadow, and
  the results of these."
  ([live candidate mails]
   (compared live candidate mails {}))
  ([live candidate mails options]
   (let [report (atom {})
         filter (shadow/shadow live candidate (assoc options :report report))]
     (milter/with-milter [server (assoc filter :port 0)]
       (let [results (mapv #(mt/run-message server %) mails)]
         {:report (once #(= (count mails) (:conversations %)) report)
          :results results})))))

(deftest only-the-live-filter-answers
  (let [{:keys [report results]} (compared live refusing [{}])]
    (is (= [:accept] (map :verdict results)))
    (is (= [["X-Scanned" "yes"]] (take-last 1 (get-in results [0 :message :headers]))))
    (is (= {:conversations 1, :disagreed 1, :cut 0, :dropped 0, :failed 0}
           (select-keys report [:conversations :disagreed :cut :dropped :failed])))
    (is (pos? (get-in report [:differs :verdict])))
    (is (= [[:mail [{:action :reply-code, :smtp-code 550, :enhanced-code "5.7.1", :text "No"}]]]
           (map (juxt (comp :event :event) :candidate)
                (filter (comp :verdict :differs) (take 1 (:samples report))))))))

(deftest equal-filters-agree
  (let [{:keys [report]} (compared live live [{} {:headers [["Subject" "x"]], :body "y\r\n"}])]
    (is (= {:conversations 2, :disagreed 0, :differs {}, :samples []}
           (select-keys report [:conversations :disagreed :differs :samples])))))

(deftest another-text-and-other-modifications-are-disagreements
  (let [differs #(set (keys (:differs (:report (compared %1 %2 [{}])))))]
    (is (= #{:reply}
           (differs refusing {:handlers {:mail (fn [_ _] [(act/reply-code 550 "5.7.1" "Never")])}})))
    (is (= #{:modifications}
           (differs live {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-Scanned" "no")])}
                          :actions #{:add-header}})))
    (is (= #{:modifications}
           (differs live {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-Scanned" "yes")
                                                                (act/add-recipient "<b@example.com>")])}
                          :actions #{:add-header :add-recipient}})))))

(deftest values-that-may-differ-are-ignored
  (is (= {} (:differs (:report (compared live
                                         {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-Scanned" "no")])}
                                          :actions #{:add-header}}
                                         [{}]
                                         {:ignore ["x-scanned"]}))))))

(deftest a-candidate-that-fails-harms-nobody
  (with-logs _
    (let [{:keys [report results]}
          (compared live {:handlers {:mail (fn [_ _] (throw (StackOverflowError. "too deep")))}} [{}])]
      (is (= [:accept] (map :verdict results)))
      (is (= 1 (:disagreed report))))))

(deftest a-candidate-that-never-returns-delays-nobody-and-is-counted
  (let [latch (CountDownLatch. 1)
        began (CountDownLatch. 1)
        stuck {:handlers {:mail (fn [_ _]
                                  (.countDown began)
                                  (.await latch))}}
        report (atom {})
        filter (shadow/shadow live stuck {:report report, :threads 1, :max-memory 20000})]
    (try
      (milter/with-milter [server (assoc filter :port 0)]
        (is (= :accept (:verdict (mt/run-message server {}))))
        (.await began)
        (is (= #{:accept} (set (map :verdict (repeatedly 20 #(mt/run-message server {}))))))
        (is (= 0 (:conversations (once #(pos? (long (:dropped %))) report)))))
      (finally
        (.countDown latch)))))

(deftest the-candidate-sees-what-it-has-asked-for-and-the-live-filter-what-it-had
  (let [seen (atom [])
        known (atom [])
        live {:handlers {:mail (fn [_ context]
                                 (swap! known conj (milter/get-macro context "auth_authen"))
                                 nil)}
              :actions #{}}
        candidate {:handlers {:header (fn [{:keys [name value]} context]
                                        (swap! seen conj [name value (milter/get-macro context "auth_authen")])
                                        nil)
                              :body (fn [{:keys [data]} _]
                                      (swap! seen conj (String. ^bytes data "US-ASCII"))
                                      nil)}
                   :request-macros {:mail ["auth_authen"]}}
        report (atom {})
        filter (shadow/shadow live candidate {:report report})]
    (is (= #{:request-macros} (:actions (milter/explain-negotiation filter))))
    (mt/run-message filter {:headers [["Subject" "hi"]], :body "text\r\n"} {:macros {:mail {"auth_authen" "ann"}}})
    (is (= 0 (:disagreed (once #(= 1 (:conversations %)) report))))
    (is (= [["Subject" "hi" "ann"] "text\r\n"] @seen))
    (is (= 1 (count @known)))))

(deftest an-mta-that-offers-too-little-for-the-candidate-is-served
  (let [{:keys [verdict]} (mt/run-message (shadow/shadow refusing
                                                         {:handlers {:unknown (fn [_ _] nil)
                                                                     :end-of-message (fn [_ _] [(act/quarantine "x")])}
                                                          :actions #{:quarantine}
                                                          :request-macros {:mail ["auth_authen"]}})
                                          {}
                                          {:offer :bare})]
    (is (= :reject verdict))))

(deftest samples-are-bounded-in-number-and-size
  (let [{:keys [samples]} (:report (compared live refusing (repeat 4 {}) {:max-samples 2}))]
    (is (= 2 (count samples))))
  (testing "a message that is large is not part of its sample"
    (let [{:keys [samples]}
          (:report (compared live
                             {:handlers {:end-of-message (fn [_ _] [(act/reject)])}}
                             [{:body (apply str (repeat 1000 "twenty characters..\r\n"))}]
                             {:max-sample-bytes 4000}))]
      (is (= [[true []]] (map (juxt :shortened? :conversation) samples))))))

(deftest disagreements-are-reported-and-logged
  (let [found (atom [])]
    (with-logs logs
      (compared live refusing [{}] {:on-disagreement (fn [each]
                                                       (swap! found conj each)
                                                       (throw (RuntimeException. "in the report")))})
      (is (= :mail (:event (:event (first (once seq found))))))
      (is (once (fn [lines] (some #(re-find #":on-disagreement failed: in the report" (:message %)) lines)) logs))
      (is (some #(re-find #"^candidate disagrees at mail in verdict.*: live continue; candidate .*550" (:message %))
                @logs)))))

(deftest wrong-options-are-refused
  (is (re-find #":max-samples" (:message (thrown (shadow/shadow live refusing {:max-sample 1})))))
  (is (re-find #"an atom" (:message (thrown (shadow/shadow live refusing {:report {}})))))
  (is (re-find #"option of the server" (:message (thrown (shadow/shadow live (assoc refusing :port 1)))))))
