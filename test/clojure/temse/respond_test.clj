(ns temse.respond-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [with-handler with-logs]]
   [temse.test :as mt])
  (:import
   (java.util Arrays)))

(set! *warn-on-reflection* true)

(def seen
  (act/add-header "X-Seen" "yes"))

(deftest respond-adds-to-what-the-context-carries
  (is (= [] (milter/response {})))
  (is (= [] (milter/response (respond {}))))
  (is (= {:a 1, :milter/response [seen (act/accept)]}
         (-> {:a 1} (respond seen) (respond (act/accept)))))
  (is (= [seen (act/accept)] (milter/response (respond {} seen (act/accept))))))

(deftest each-form-of-return-value-answers-alike
  (are [f] (= [:accept [seen]]
              ((juxt :verdict :modifications) (with-handler :end-of-message f)))
    (fn [_ context] (respond context seen (act/accept)))
    (fn [_ context] (-> context (respond seen) (respond (act/accept))))
    (fn [_ _] [seen (act/accept)])
    (fn [_ _] (list seen (act/accept)))
    (fn [_ _] (lazy-seq [seen (act/accept)]))
    (fn [_ _] (map identity [seen (act/accept)]))
    (fn [_ _] (Arrays/asList (to-array [seen (act/accept)])))
    (fn [_ context] (assoc context :milter/response (list seen (act/accept))))))

(deftest no-answer-is-continue
  (are [f] (= [{:action :continue}]
              (with-open [session (mt/connect-to {:handlers {:mail f}})]
                (support/send-events session support/opening)
                (mt/send-event session {:event :mail, :sender "<a@b.example>", :options []})))
    (fn [_ context] context)
    (fn [_ _] nil)
    (fn [_ _] [])
    (fn [_ _] ())
    (fn [_ context] (respond context))
    (fn [_ context] (assoc context :anything 1))))

(deftest each-reply-settles-the-message-where-it-is-given
  (doseq [event [:mail :data :header :end-of-headers :body :end-of-message]
          [action verdict] [[(act/accept) :accept]
                            [(act/reject) :reject]
                            [(act/temporary-failure) :temporary-failure]
                            [(act/discard) :discard]
                            [(act/reply-code 550 "5.7.1" "100% no\nreally") :reject]
                            [(act/reply-code 451 "later") :temporary-failure]]]
    (testing [event action]
      (let [report (with-handler event (fn [_ context] (respond context action)))]
        (is (= [verdict event action] ((juxt :verdict :at :reply) report)))
        (is (= (contains? #{:accept} verdict) (some? (:message report))))))))

(deftest the-reserved-replies-leave-as-421
  (doseq [action [:shutdown :connection-failure]]
    (let [{:keys [verdict reply]} (with-handler :mail (fn [_ _] [{:action action}]))]
      (is (= :temporary-failure verdict))
      (is (= [:reply-code 421] ((juxt :action :smtp-code) reply))))))

(deftest a-refused-client-delivers-nothing
  (doseq [event [:connect :hello]]
    (let [{:keys [verdict at message]} (with-handler event (fn [_ _] [(act/reject)]))]
      (is (= [:reject event nil] [verdict at message])))))

(deftest a-recipient-is-refused-by-itself
  (let [report (mt/run-message
                 {:handlers {:recipient (fn [{:keys [address]} context]
                                          (cond-> context
                                            (= "<no@example.com>" address) (respond (act/reject))))}}
                 {:recipients ["<yes@example.com>" "<no@example.com>" "<also@example.com>"]})]
    (is (= :accept (:verdict report)))
    (is (= {"<yes@example.com>" {:action :continue}
            "<no@example.com>" {:action :reject}
            "<also@example.com>" {:action :continue}}
           (:recipients report)))
    (is (= ["<yes@example.com>" "<also@example.com>"] (:recipients (:message report))))))

(deftest a-message-without-recipients-left-is-refused
  (let [report (with-handler :recipient (fn [_ _] [(act/reply-code 550 "5.1.1" "who?")]))]
    (is (= [:reject :recipient nil] ((juxt :verdict :at :message) report)))))

(deftest skip-ends-events-of-its-kind-for-this-message-only
  (doseq [event [:recipient :header :body]
          offer [mt/postfix {:version 2, :protocol #{:no-connect}}]]
    (testing [event offer]
      (let [calls (atom 0)
            filter {:handlers {event (fn [_ _] (swap! calls inc) [(act/skip)])}}
            mail {:recipients ["<a@b.example>" "<c@d.example>" "<e@f.example>"]
                  :headers [["A" "1"] ["B" "2"] ["C" "3"]]
                  :body (apply str (repeat 20000 "0123456789"))}]
        (with-open [session (mt/connect-to filter {:offer offer})]
          (dotimes [n 3]
            (let [report (mt/run-message session mail)]
              (is (= :accept (:verdict report)))
              (is (= (:recipients mail) (:recipients (:message report))))
              (is (= (inc n) @calls)))))))))

(deftest modifications-leave-in-order-before-the-reply
  (let [actions [(act/add-header "A" "1")
                 (act/insert-header 0 "B" "2")
                 (act/change-header "Subject" "new")
                 (act/delete-header "X-Old")
                 (act/add-recipient "<c@d.example>")
                 (act/add-recipient "<e@f.example>" ["NOTIFY=NEVER"])
                 (act/delete-recipient "<b@example.com>")
                 (act/change-sender "<s@t.example>")
                 (act/quarantine "look at it")]
        {:keys [verdict modifications]}
        (with-handler :end-of-message (fn [_ _] (conj actions (act/accept))))]
    (is (= :accept verdict))
    (is (= (mapv #(dissoc % :index) actions) (mapv #(dissoc % :index) modifications)))))

(deftest a-large-body-is-replaced-whole
  (let [body (apply str (repeat 20000 "0123456789\r\n"))
        report (with-handler :end-of-message (fn [_ _] [(act/change-body [body "end\r\n"])]))]
    (is (= (str body "end\r\n") (String. ^bytes (:body (:message report)))))
    (is (= 1 (count (:modifications report))))))

(deftest progress-may-be-among-the-actions
  (let [{:keys [responses verdict]} (with-handler :end-of-message
                                      (fn [_ _] [(act/progress) seen (act/accept)]))]
    (is (= :accept verdict))
    (is (= [:end-of-message [(act/progress) seen (act/accept)]] (last responses)))))

(deftest a-default-reply-is-given-where-no-handler-answers
  (doseq [handlers [{} {:mail (fn [_ context] context)} {:mail (fn [_ _] nil)}]
          offer [mt/postfix {:version 2, :actions #{:add-header}, :protocol #{}}]]
    (let [filter {:handlers handlers, :default-reply {:mail {:action :reject}}}]
      (is (= [:reject :mail]
             ((juxt :verdict :at) (mt/run-message filter {} {:offer offer})))))))

(deftest a-handler-cannot-drop-what-the-library-owns
  (let [contexts (atom [])
        forgetful {:mail (fn [_ _] {:mine 1, :milter/connection nil, :actions :lost})
                   :end-of-message (fn [_ context]
                                     (swap! contexts conj context)
                                     [seen])}]
    (with-open [session (mt/connect-to {:handlers forgetful, :actions #{:add-header}})]
      (dotimes [_ 2]
        (is (= [seen] (:modifications (mt/run-message session {}))))))
    (doseq [context @contexts]
      (is (= 1 (:mine context)))
      (is (= #{:add-header} (:actions context)))
      (is (= #{:mail :end-of-message :abort :quit :disconnect} (:events context)))
      (is (= forgetful (:handlers context)))
      (is (= (:socket context) (:milter/connection context)))
      (is (= 6 (:version (:milter/agreement context)))))))

(deftest a-handler-may-exchange-the-handlers
  (let [second-handlers {:mail (fn [_ _] [(act/reject)])}
        handlers {:mail (fn [_ context] (assoc context :handlers second-handlers))}]
    (with-open [session (mt/connect-to {:handlers handlers})]
      (is (= [:accept :reject]
             [(:verdict (mt/run-message session {})) (:verdict (mt/run-message session {}))])))))

(deftest an-answer-to-a-no-reply-event-defers-the-message-and-is-reported-once
  (with-logs logs
    (let [calls (atom 0)
          filter {:handlers {:header (fn [_ context]
                                       (swap! calls inc)
                                       (respond context (act/reject)))}
                  :no-reply-events #{:header}}]
      (doseq [[offer at] {mt/postfix :end-of-message, {:protocol #{:no-connect}} :end-of-headers}]
        (reset! calls 0)
        (reset! logs [])
        (with-open [session (mt/connect-to filter {:offer offer})]
          (dotimes [_ 3]
            (is (= [:temporary-failure at]
                   ((juxt :verdict :at) (mt/run-message session {}))))))
        (is (= 3 @calls) "nothing more of the message is shown to it")
        (is (= 1 (count (support/messages logs :error))))
        (is (string/includes? (first (support/messages logs :error)) ":header takes no reply"))))))

(deftest metadata-on-a-handler-make-its-event-a-no-reply-event
  (let [filter {:handlers {:header ^:no-reply (fn [_ context] context)
                           :mail (fn [_ context] context)}}]
    (is (= #{:header} (:no-reply (milter/explain-negotiation filter))))))
