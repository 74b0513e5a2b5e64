(ns temse.negotiation-test
  (:require
   [clojure.set :as set]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.support :as support :refer [thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.io IOException)))

(set! *warn-on-reflection* true)

(defn- nothing
  [_ context]
  context)

(defn- agreed
  ([options] (agreed options {}))
  ([options offer] (milter/explain-negotiation options offer)))

(def always
  "The events that no MTA can be kept from sending."
  #{:end-of-message :abort :quit :disconnect})

(def suppressible
  {:connect "SMFIP_NOCONNECT"
   :hello "SMFIP_NOHELO"
   :mail "SMFIP_NOMAIL"
   :recipient "SMFIP_NORCPT"
   :data "SMFIP_NODATA"
   :header "SMFIP_NOHDRS"
   :end-of-headers "SMFIP_NOEOH"
   :body "SMFIP_NOBODY"
   :unknown "SMFIP_NOUNKNOWN"})

(deftest the-example-of-the-design-holds
  (is (= {:version 6
          :events (conj always :header)
          :actions #{:add-header}
          :no-reply #{}
          :capabilities #{:skip}
          :protocol-flags (into #{"SMFIP_SKIP"} (vals (dissoc suppressible :header)))
          :action-flags #{"SMFIF_ADDHDRS"}}
         (-> (agreed {:handlers {:header nothing, :end-of-message nothing}
                      :actions #{:add-header}})
             (dissoc :offer)))))

(deftest an-event-without-handler-is-not-sent
  (doseq [event (keys suppressible)]
    (let [{:keys [events protocol-flags]} (agreed {:handlers {event nothing}})]
      (is (= (conj always event) events))
      (is (= (set (vals (dissoc suppressible event)))
             (set/intersection (set (vals suppressible)) protocol-flags))))))

(deftest an-event-that-cannot-be-suppressed-asks-for-no-reply
  (let [{:keys [events no-reply protocol-flags]}
        (agreed {:handlers {:mail nothing}} {:protocol #{:no-reply-headers :no-connect}})]
    (is (= (conj always :mail) events))
    (is (= #{"SMFIP_NOCONNECT" "SMFIP_NR_HDR"} protocol-flags))
    (is (= #{} no-reply))))

(deftest what-the-mta-cannot-suppress-is-answered-by-the-library
  (with-open [session (mt/connect-to {:handlers {:end-of-message (fn [_ _] [(act/reject)])}}
                                     {:offer {:protocol #{:no-connect}}})]
    (is (= [{:action :continue}]
           (support/send-events session (concat (rest support/opening) (support/envelope)))))
    (is (= [{:action :reject}] (support/send-events session support/content)))))

(deftest a-no-reply-event-is-agreed-as-such
  (let [options {:handlers {:header nothing, :body nothing}, :no-reply-events #{:header}}]
    (is (= #{:header} (:no-reply (agreed options))))
    (is (= #{} (:no-reply (agreed options {:protocol #{}}))))
    (with-open [session (mt/connect-to options)]
      (support/send-events session (concat support/opening (support/envelope)))
      (is (= [] (mt/send-event session (first support/content)))))))

(deftest a-handler-of-message-ends-hears-of-every-message
  (is (not (contains? (:protocol-flags (agreed {:handlers {:message-end nothing}}))
                      "SMFIP_NOMAIL"))))

(deftest without-actions-all-are-asked-for-as-optional
  (let [all (disj (set (keep :flag (vals milter/actions))) nil)]
    (is (= (conj all :add-recipient-parameters) (:actions (agreed {}))))
    (is (= #{:add-header :quarantine}
           (:actions (agreed {} {:actions #{:add-header :quarantine}}))))
    (is (= #{} (:actions (agreed {:actions #{}}))))
    (is (= #{} (:actions (agreed {:optional-actions #{}}))))))

(deftest aliases-of-actions-are-understood
  (are [alias action] (= #{action} (:actions (agreed {:actions #{alias}})))
    :replace-body :change-body
    :insert-header :add-header
    :delete-header :change-header
    :add-recipient-par :add-recipient-parameters))

(deftest aliases-of-events-are-understood
  (are [alias event] (= (conj always event) (:events (agreed {:handlers {alias nothing}})))
    :unkown :unknown
    :helo :hello
    :define-macros :define-macro))

(deftest a-needed-action-that-is-not-offered-is-refused
  (let [error (thrown (agreed {:actions #{:add-header :quarantine :change-body}}
                              {:actions #{:add-header}}))]
    (is (= :actions-refused (:milter/error error)))
    (is (= #{:quarantine :change-body} (:missing error)))
    (is (= #{:add-header} (:offered error)))
    (is (= #{:add-header :quarantine :change-body} (:requested error)))
    (is (string/includes? (:message error) ":quarantine (SMFIF_QUARANTINE)"))))

(deftest a-needed-event-that-the-version-lacks-is-refused
  (let [options {:handlers {:data nothing, :unknown nothing}}]
    (testing "where it is named as needed"
      (let [error (thrown (agreed (assoc options :optional-events #{:data}) {:version 2}))]
        (is (= :events-refused (:milter/error error)))
        (is (= #{:unknown} (:missing error)))
        (is (string/includes? (:message error) ":optional-events"))))
    (testing "and else done without"
      (is (= (conj always :data :unknown) (:events (agreed options {:version 4}))))
      (is (= (conj always :unknown) (:events (agreed options {:version 3}))))
      (is (= always (:events (agreed options {:version 2})))))))

(deftest versions-below-two-are-refused-and-above-six-are-six
  (is (= [2 3 4 5 6 6 6] (map #(:version (agreed {} {:version %})) [2 3 4 5 6 7 100])))
  (is (= :version-unsupported (:milter/error (thrown (agreed {} {:version 1}))))))

(deftest refusals-close-the-connection-and-are-logged
  (with-logs logs
    (milter/with-milter [server {:port 0, :handlers {:mail nothing}, :actions #{:quarantine}}]
      (is (thrown-with-msg? IOException #"closed the connection instead of answering"
            (mt/connect-to server {:offer {:actions #{:add-header}}})))
      (is (some? (mt/agreement (mt/connect-to server)))))
    (is (= 1 (count (support/messages logs :warn))))
    (is (string/includes? (first (support/messages logs :warn)) ":quarantine (SMFIF_QUARANTINE)"))))

(deftest what-was-agreed-is-in-the-context
  (let [seen (promise)]
    (mt/run-message {:handlers {:mail (fn [_ context] (deliver seen context) context)
                                :header ^:no-reply (fn [_ context] context)}
                     :optional-actions #{:quarantine :add-header}
                     :leading-space? true}
                    {}
                    {:offer {:version 4, :actions #{:add-header}}})
    (let [context @seen]
      (is (= {:version 4
              :events (conj always :mail :header)
              :actions #{:add-header}
              :no-reply #{:header}
              :capabilities #{:skip :leading-space}}
             (dissoc (:milter/agreement context) :offer)))
      (is (= [4 #{:add-header}]
             ((juxt :version :actions) (:offer (:milter/agreement context)))))
      (is (= [#{:add-header} (conj always :mail :header)] ((juxt :actions :events) context)))
      (is (not-any? context [:optional-actions :optional-events :leading-space?]))
      (is (milter/agreed? context :add-header))
      (is (milter/agreed? context :insert-header))
      (is (not (milter/agreed? context :quarantine))))))

(deftest requested-macros-are-sent
  (let [seen (promise)
        filter {:handlers {:mail (fn [_ context] (deliver seen (:mail (milter/macros context))) nil)}
                :request-macros {:mail ["{auth_authen}" "mail_addr"]}}]
    (mt/run-message filter {} {:macros {"auth_authen" "alice"}})
    (is (= {"auth_authen" "alice", "mail_addr" "sender@example.org"} @seen))
    (is (contains? (:actions (agreed filter)) :request-macros))
    (is (= #{} (:actions (agreed (assoc filter :actions #{}) {:actions #{:add-header}}))))))

(deftest leading-spaces-are-kept-where-they-are-asked-for
  (doseq [offer [mt/postfix {:protocol #{}}]
          [leading-space? value] [[true " hi"] [false "hi"]]]
    (let [seen (promise)]
      (mt/run-message {:handlers {:header (fn [event _] (deliver seen (:value event)) nil)}
                       :leading-space? leading-space?}
                      {:headers [["Subject" "hi"]]}
                      {:offer offer})
      (is (= value @seen)))))

(deftest init-decides-what-is-asked-for
  (let [filter {:handlers {:mail nothing}
                :actions #{:add-header}
                :init #(-> %
                           (assoc :handlers {:mail nothing, :end-of-headers nothing})
                           (update :actions conj :quarantine))}]
    (with-open [session (mt/connect-to filter)]
      (is (= #{:add-header :quarantine} (:actions (mt/agreement session))))
      (is (not (contains? (:protocol (mt/agreement session)) :no-end-of-headers)))
      (is (contains? (:protocol (mt/agreement session)) :no-body)))))

(deftest what-init-gets-wrong-is-logged-in-the-words-of-the-options
  (doseq [[wrong text] [[{:actions :add-header} ":actions must be a set of actions, not :add-header"]
                        [{:handlers {:heder nothing}} "did you mean :header?"]
                        [{:handlers {:header :oops}} "the handler of :header must be a function"]
                        [{:no-reply-events "x"} ":no-reply-events must be a set of events"]
                        [{:request-macros {:mail [:i]}} ":request-macros must be a map of stage"]]]
    (with-logs logs
      (is (thrown? IOException (mt/connect-to {:init #(merge % {:handlers {:mail nothing}} wrong)})))
      (is (string/includes? (str (support/messages logs :warn)) text)))))

(deftest a-handler-of-options-may-overrule
  (let [offers (atom [])]
    (doseq [[handler actions] [[(fn [offer _] (swap! offers conj offer) nil) #{:add-header}]
                               [(fn [_ context] context) #{:add-header}]
                               [(fn [_ context] (assoc context :actions #{:quarantine}))
                                #{:quarantine}]]]
      (with-open [session (mt/connect-to {:handlers {:options handler}, :actions #{:add-header}})]
        (is (= actions (:actions (mt/agreement session))))))
    (is (= [:options 6] ((juxt :event :version) (first @offers))))))

(deftest a-wrong-offer-is-told
  (is (string/includes? (:message (thrown (agreed {} {:actions #{:add-heder}})))
                        "did you mean :add-header?"))
  (is (string/includes? (:message (thrown (agreed {} {:protocol #{:no-conect}})))
                        "did you mean :no-connect?")))
