(ns temse.strict-maps-test
  "Every public function that takes a map of options, or of a fixed shape, refuses what it does not
  know or what cannot be right."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.filter :as filter]
   [temse.impl.keys :as keys]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.mta :as mta]
   [temse.replay :as replay]
   [temse.report :as report]
   [temse.support :refer [thrown]]
   [temse.test :as mt]
   [temse.test.check :as check]
   [temse.test.compare :as compare]))

(set! *warn-on-reflection* true)

(def ^:private filter-options
  {:handlers {:mail (fn [_ _] nil)}})

(def ^:private functions
  "Of each function that takes a map: a call with it, a wrong key and the right one, and wrong values."
  {`milter/start-milter [#(milter/start-milter (merge {:port 0} filter-options %))
                         :on-eror :on-error {:idle-timeout 0}]
   `milter/factory [#(milter/factory (merge filter-options %)) :action :actions {:actions 1}]
   `milter/explain-negotiation [#(milter/explain-negotiation filter-options %)
                                :acitons :actions {:version "6"} {:actions :add-header} {:event :mail}]
   `milter/explain-negotiation-options [#(milter/explain-negotiation (merge filter-options %))
                                        :optional-action :optional-actions {:leading-space? 1}]
   `mt/connect-to [#(mt/connect-to filter-options %)
                   :offers :offer {:timeout 0} {:timeout -1} {:macros ["i"]} {:mta "postfix"}
                   {:faults :early}]
   `mt/connect-to-client [#(mt/connect-to filter-options %) :helo nil {:client {}}]
   `mt/run-message [#(mt/run-message filter-options {} %)
                    :helo :hello {:client "client"} {:hello nil} {:offer 6}]
   `mt/run-message-client [#(mt/run-message filter-options {} {:client %})
                           :hostname :host-name {:port -1} {:address 1} {:host-name :a}]
   `mt/run-message-offer [#(mt/run-message filter-options {} {:offer %}) :verison :version {:version "6"}]
   `mt/run-message-mail [#(mt/run-message filter-options %) :recipient :recipients {:sender 1}]
   `mt/run-many [#(mt/run-many filter-options [{}] %)
                 :conections :connections {:connections 0} {:connections 1.5} {:timeout nil}]
   `mt/run-conversation [#(mt/run-conversation filter-options [] %) :timout :timeout {:mta :exim}]
   `mt/run-conversation-event [#(mt/run-conversation filter-options [{:event (merge {:event :mail} %)}])
                               :sendr :sender {:sender :a} {:options "SIZE=1"}]
   `mt/check-message [#(mt/check-message filter-options {} %) :verdikt :verdict]
   `mt/send-event [#(with-open [session (mt/connect-to filter-options)]
                      (mt/send-event session (merge {:event :header} %)))
                   :vlaue :value {:name 1}]
   `mt/context [mt/context :macro :macros {:actions :add-header} {:macros {:mail "i"}}]
   `mt/context-own-keys [mt/context :milter/mesage :milter/message]
   `mt/fire [#(mt/fire {} (merge {:event :connect} %) (mt/context))
             :hostname :host-name {:family :inet4} {:port "25"}]
   `check/play [#(check/play filter-options [] %) :macro :macros {:timeout 0}]
   `check/play-event [#(check/play filter-options [(merge {:event :hello} %)]) :greting :greeting
                      {:greeting nil}]
   `check/check-filter [#(check/check-filter filter-options %)
                        :run :runs {:runs -1} {:timeout 0} {:seed "x"} {:mta :exim} {:client-state? nil}]
   `check/check-filter-offer [#(check/check-filter filter-options {:offer %}) :protocoll :protocol {:version nil}]
   `compare/compare-mtas [#(compare/compare-mtas filter-options {} %) :client-name nil {:mta :postfix}]
   `mta/outcome [mta/outcome :mesage :message {:mta :exim} {:conversation [{}]}]
   `mta/outcome-session [#(mta/outcome {:session %}) :hostname :host-name {:hello 1}]
   `mta/outcome-message [#(mta/outcome {:message %}) :header :headers {:headers [["a"]]}]
   `mta/outcome-agreement [#(mta/outcome {:agreement %}) :protocl :protocol {:protocol 1}]
   `filter/message-filter [#(filter/message-filter (fn [_ _] nil) %)
                           :max-mesage :max-message {:body? 1} {:max-message -1} {:when-exceeded :rejct}]
   `mta/apply-actions [#(mta/apply-actions {:headers []} [] %)
                       :leading-space :leading-space? {:mta nil} {:leading-space? 1}]
   `mta/apply-actions-message [#(mta/apply-actions % []) :header :headers {:headers 1}]
   `mta/delivered [#(mta/delivered {:headers []} [] %) :refuse :refused {:refused true} {:made []}]
   `mail/->mail [mail/->mail :subject nil {:recipients "<a@b.example>"}]
   `mail/message [mail/message :boddy :body {:body 1} {:recipient-options [1]}]
   `mail/read-eml [#(mail/read-eml "Subject: a\n\n" %) :to nil {:recipients [:a]}]
   `mail/read-mbox [#(mail/read-mbox "From a\n\n" %) :recipient :recipients {:sender nil}]
   `mail/message-text [mail/message-text :headrs :headers {:headers {:a "b"}}]
   `mail/message-bytes [mail/message-bytes :boddy :body {:body :b}]
   `replay/replay [#(replay/replay [] filter-options %) :ignored :ignore {:ignore 1} {:timeout 0}]})

(deftest every-function-refuses-misspelt-keys-with-the-right-one
  (doseq [[function [call wrong right]] functions]
    (testing function
      (let [{:keys [option suggestion message] error :milter/error} (thrown (call {wrong 1}))]
        (is (contains? #{:bad-options :bad-handler-return} error))
        (is (string/includes? (str message) (str wrong)))
        (when right
          (is (string/includes? (str message) (str "did you mean " right "?"))))
        (when (= :bad-options error)
          (is (= [wrong right] [option (when right suggestion)])))))))

(deftest every-function-refuses-wrong-values-and-says-what-is-right
  (doseq [[function [call _ _ & wrong]] functions
          options wrong]
    (testing [function options]
      (let [{:keys [message] error :milter/error} (thrown (call options))]
        (is (= :bad-options error))
        (is (re-find #"must be|there is no (key|offer)" (str message)))))))

(deftest options-that-are-no-map-are-refused
  (doseq [[function call] {`mt/connect-to #(mt/connect-to filter-options %)
                           `mt/run-many #(mt/run-many filter-options [] %)
                           `replay/replay #(replay/replay [] filter-options %)
                           `filter/message-filter #(filter/message-filter (fn [_ _]) %)
                           `mail/read-eml #(mail/read-eml "" %)
                           `check/check-filter #(check/check-filter filter-options %)
                           `mt/context mt/context}
          wrong [1 "x" [[:a 1]] :a]]
    (testing [function wrong]
      (is (string/includes? (str (:message (thrown (call wrong)))) "must be a map, not")))))

(deftest what-is-given-in-place-of-anothers-result-is-refused
  (are [call from] (string/includes? (str (:message (thrown (call)))) (str "what " from " returned is wanted here"))
    #(mt/print-report {}) "run-message"
    #(mt/print-report nil) "run-message"
    #(report/print-report {:conversation 1}) "run-message"
    #(mt/print-conversation {}) "run-conversation"
    #(check/print-findings nil) "check-filter"
    #(compare/print-comparison []) "compare-mtas"))

(deftest options-that-a-session-would-pass-over-are-refused
  (with-open [session (mt/connect-to filter-options)]
    (doseq [call [#(mt/run-message session {} {:hello "a"})
                  #(mt/run-conversation session [] {:timeout 1})]]
      (is (string/includes? (:message (thrown (call))) "to connect-to")))
    (is (= :accept (:verdict (mt/run-message session {} {}))))))

(deftest recordings-that-are-none-are-refused
  (doseq [recordings [nil 1 [{}] {:conversation nil} #{}]]
    (is (string/includes? (:message (thrown (replay/replay recordings filter-options)))
                          "recordings are maps with a :conversation"))))

(deftest what-has-no-address-is-refused
  (doseq [given [nil 1 :a {} {:event :mail} ["<a@b.example>"] {:sender nil}]]
    (is (string/includes? (:message (thrown (milter/bare-address given))) "bare-address takes a string")))
  (is (= "a@b.example" (milter/bare-address {:sender "<a@b.example>"}))))

(deftest an-action-flag-that-is-none-is-refused-where-it-is-asked-for
  (is (milter/agreed? (mt/context) :insert-header))
  (is (= :add-header (:suggestion (thrown (milter/agreed? (mt/context) :ad-header))))))

(deftest users-own-keys-of-a-context-are-theirs
  (is (= {:count 1, :actors #{}, "actions" 2, ::macro 3}
         (select-keys (mt/context {:count 1, :actors #{}, "actions" 2, ::macro 3})
                      [:count :actors "actions" ::macro]))))

;; The checker

(def ^:private table
  {:alpha ["a number" int? 1], :beta ["a string" string? "b"], :gamma ["anything" any?]})

(defspec what-a-table-knows-and-only-that-passes 200
  (prop/for-all [given (gen/map (gen/elements [:alpha :beta :gamma :delta "alpha" nil])
                                (gen/elements [1 "x" :k nil]))]
    (let [right? (fn [[k v]]
                   (case k :alpha (int? v) :beta (string? v) :gamma true false))
          result (try
                   (keys/with-defaults "a test" given table)
                   (catch temse.protocol.MilterException e
                     (:milter/error (ex-data e))))]
      (= result (if (every? right? given)
                  (merge {:alpha 1, :beta "b"} given)
                  :bad-options)))))

(deftest wrong-values-of-any-sort-can-be-shown
  (are [value] (< (count (:message (thrown (keys/check "a test" {:alpha value} table)))) 400)
    (range)
    (apply str (repeat 100000 "x"))
    (iterate list 1)
    (reduce (fn [nested _] [nested]) [] (range 5000))
    (reify Object (toString [_] (throw (StackOverflowError.))))))

(deftest durations-of-any-size-can-be-added-to-the-time
  (doseq [ms [1 1000 Long/MAX_VALUE Integer/MAX_VALUE]]
    (is (pos? (+ (System/nanoTime) (.toNanos (keys/duration ms))))))
  (is (= 1000000 (.toNanos (keys/duration 1)))))
