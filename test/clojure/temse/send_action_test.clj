(ns temse.send-action-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.milter :as milter :refer [progress! respond send-action]]
   [temse.support :as support :refer [awaited thrown with-handler with-logs]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def seen
  (act/add-header "X-Seen" "yes"))

(deftest an-action-sent-settles-the-event
  (is (= [:reject :mail]
         ((juxt :verdict :at) (with-handler :mail
                                (fn [_ context] (send-action {:action :reject} context)))))))

(deftest send-action-returns-its-context
  (let [context (mt/context)]
    (is (identical? context (send-action {:action :continue} context)))))

(deftest actions-sent-come-before-those-returned
  (let [{:keys [responses]} (with-handler :end-of-message
                              (fn [_ context]
                                (->> (respond context (act/add-header "B" "2") (act/accept))
                                     (send-action (act/add-header "A" "1"))
                                     (send-action (act/change-sender "<>")))))]
    (is (= [:end-of-message [(act/add-header "A" "1")
                             (act/change-sender "<>")
                             (act/add-header "B" "2")
                             (act/accept)]]
           (last responses)))))

(deftest a-handler-that-sends-nothing-and-returns-nothing-continues
  (is (= :accept (:verdict (with-handler :mail (fn [_ context]
                                                 (milter/default-event-handler {} context)))))))

(deftest the-default-event-handler-goes-with-an-action-sent
  (is (= :discard
         (:verdict (with-handler :mail
                     (fn [event context]
                       (send-action {:action :discard} context)
                       (milter/default-event-handler event context)))))))

(deftest the-aliases-of-the-original-library-are-understood
  (is (= [(assoc seen :position 0)
          {:action :change-header, :name "X-Old", :index 1, :value nil}]
         (:modifications
           (with-handler :end-of-message
             (fn [_ context]
               (send-action {:action :insert-header, :name "X-Seen", :value "yes"} context)
               (send-action {:action :delete-header, :name "X-Old"} context))))))
  (is (= "new\r\n"
         (String. ^bytes (:body (:message
                                  (with-handler :end-of-message
                                    (fn [_ context]
                                      (send-action {:action :replace-body, :body "new\r\n"}
                                                   context)))))))))

(deftest a-second-reply-is-refused-where-it-is-sent
  (let [error (promise)
        report (with-handler :mail
                 (fn [_ context]
                   (send-action {:action :reject} context)
                   (deliver error (thrown (send-action {:action :accept} context)))
                   context))]
    (is (= :reject (:verdict report)))
    (is (= :double-reply (:milter/error (awaited error))))
    (is (= {:action :accept} (:action (awaited error))))
    (is (= ":mail was answered with :reject already" (:message (awaited error))))))

(deftest a-reply-returned-after-one-sent-is-a-failure-of-the-handler
  (with-logs logs
    (is (= [:temporary-failure [[:mail [{:action :temporary-failure}]]]]
           ((juxt :verdict :responses)
            (with-handler :mail
              (fn [_ context]
                (send-action {:action :reject} context)
                (respond context (act/accept)))))))
    (is (= 1 (count (support/messages logs :error))))
    (is (string/includes? (first (support/messages logs :error)) "answered with :reject already"))))

(deftest a-modification-after-the-reply-is-late
  (let [error (promise)
        report (with-handler :end-of-message
                 (fn [_ context]
                   (send-action (act/accept) context)
                   (deliver error (thrown (send-action seen context)))
                   context))]
    (is (= [:accept []] ((juxt :verdict :modifications) report)))
    (is (= :late-action (:milter/error (awaited error))))))

(deftest a-modification-before-the-end-of-message-is-refused
  (let [error (promise)]
    (with-handler :header
      (fn [_ context]
        (deliver error (thrown (send-action seen context)))
        context))
    (is (= :reply-not-allowed (:milter/error (awaited error))))
    (is (string/includes? (:message (awaited error)) ":end-of-message only"))))

(deftest an-action-that-was-not-agreed-is-refused-and-can-be-done-without
  (let [error (promise)
        report (with-handler :end-of-message
                 (fn [_ context]
                   (deliver error (thrown (send-action seen context)))
                   context)
                 :actions #{:quarantine})]
    (is (= [:accept []] ((juxt :verdict :modifications) report)))
    (is (= :action-not-negotiated (:milter/error (awaited error))))
    (is (= #{:quarantine} (:agreed (awaited error))))
    (is (string/includes? (:message (awaited error)) "add :add-header to :actions"))))

(deftest a-context-whose-event-is-over-is-stale
  (let [context (promise)]
    (with-open [session (mt/connect-to {:handlers {:mail (fn [_ c] (deliver context c) c)}})]
      (support/send-events session (concat support/opening (support/envelope)))
      (let [error (thrown (send-action {:action :reject} (awaited context)))]
        (is (= :stale-context (:milter/error error)))))
    (is (= :stale-context (:milter/error (thrown (send-action {:action :reject}
                                                              (awaited context))))))))

(deftest a-map-that-is-no-context-is-told-so
  (doseq [swapped [#(send-action {} {:action :reject})
                   #(progress! {})
                   #(milter/get-macro {} "i")
                   #(milter/macros {})]]
    (let [error (thrown (swapped))]
      (is (= :stale-context (:milter/error error)))
      (is (string/includes? (:message error) "no context of a milter")))))

(deftest an-action-may-be-sent-by-the-work-that-a-pending-value-waits-for
  (let [{:keys [verdict modifications]}
        (with-handler :end-of-message
          (fn [_ context]
            (future (send-action seen context)
                    (respond context (act/accept)))))]
    (is (= [:accept [seen]] [verdict modifications]))))

(deftest progress-leaves-at-once
  (let [go-on (promise)
        filter {:handlers {:end-of-message (fn [_ context]
                                             (progress! context)
                                             (send-action {:action :progress} context)
                                             (awaited go-on)
                                             context)}}]
    (milter/with-milter [server (assoc filter :port 0)]
      (with-open [socket (support/dial (milter/milter-port server))]
        (is (= \O (support/negotiate socket)))
        (support/write-packet socket \E)
        (is (= [\p \p] [(support/read-packet socket) (support/read-packet socket)]))
        (deliver go-on true)
        (is (= \c (support/read-packet socket)))))))

(deftest progress-is-not-sent-where-it-may-not-be
  (is (= [[:mail [{:action :continue}]]]
         (filter (comp #{:mail} first)
                 (:responses (with-handler :mail (fn [_ context] (progress! context)))))))
  (is (= [[:mail [{:action :progress} {:action :continue}]]]
         (filter (comp #{:mail} first)
                 (:responses (with-handler :mail (fn [_ context] (progress! context))
                               :progress-events #{:mail}))))))
