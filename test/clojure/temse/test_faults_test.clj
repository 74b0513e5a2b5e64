(ns temse.test-faults-test
  "temse.test: offers, macros, faults on purpose, and many connections."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :refer [thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CyclicBarrier TimeUnit)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(def ^:private options
  {:handlers {:mail (fn [{:keys [sender]} _] (when (= "<refused@example.org>" sender) [(act/reject)]))
              :recipient (fn [_ context] context)
              :header (fn [{:keys [name]} context] (milter/update-message context update :names conj name))
              :body (fn [{:keys [data]} context]
                      (milter/update-message context update :size (fnil + 0) (alength ^bytes data)))
              :end-of-message (fn [_ context]
                                (respond context
                                         (act/add-header "X-Seen" (pr-str (milter/message context)))
                                         (act/accept)))}
   :actions #{:add-header}})

(def ^:private mail
  {:headers [["A" "1"] ["B" "2"]], :body (string/join (repeat 300 "0123456789"))})

(def ^:private interesting
  [:verdict :at :reply :modifications :recipients :responses :message])

(defn- comparable
  [report]
  (update-in (select-keys report interesting) [:message :body] #(some-> ^bytes % alength)))

;; Offers

(deftest every-offer-is-taken-by-a-filter-of-few-wishes
  (doseq [[offer-name offer] mt/offers]
    (let [report (mt/run-message {:handlers (select-keys (:handlers options) [:header :end-of-message])
                                  :actions #{:add-header}}
                                 mail
                                 {:offer offer-name})]
      (is (= :accept (:verdict report)) offer-name)
      (is (= (:version offer) (:version (:agreement report))) offer-name)))
  (is (= (:postfix mt/offers) mt/postfix (dissoc mt/postfix :action-mask)))
  (is (= [6 6] (map :version [mt/postfix mt/sendmail]))))

(deftest what-an-old-mta-does-not-offer-is-refused
  (with-logs _logs
    (are [offer] (thrown? java.io.IOException
                          (mt/connect-to {:handlers {}, :actions #{:quarantine}} {:offer offer}))
      :bare
      :headers-only
      {:version 6, :actions #{:add-header}})
    (is (some? (with-open [session (mt/connect-to {:handlers {}, :actions #{:quarantine}}
                                                  {:offer :sendmail-8.13})]
                 (mt/agreement session))))))

(deftest data-and-unknown-commands-are-sent-as-the-version-has-them
  (let [heard (fn [offer]
                (let [events (atom [])
                      note (fn [{:keys [event]} context] (swap! events conj event) context)]
                  (with-open [session (mt/connect-to {:handlers {:data note, :unknown note}} {:offer offer})]
                    (mt/send-event session {:event :mail, :sender "<a@example.org>"})
                    (mt/send-event session {:event :data})
                    (mt/send-event session {:event :unknown, :command "XCMD"}))
                  @events))]
    (are [offer events] (= events (heard offer))
      :postfix [:data :unknown]
      :postfix-4 [:data :unknown]
      :postfix-3 [:unknown]
      :postfix-2 [])))

(deftest a-wrong-offer-is-told
  (is (string/includes? (:message (thrown (mt/connect-to {} {:offer :exim})))
                        "there is no offer :exim. There are :postfix")))

;; Macros

(deftest macros-that-are-sent-replace-those-of-the-next-event-of-their-stage
  (let [seen (atom [])
        note (fn [_ context]
               (swap! seen conj [(milter/get-macro context "auth_authen") (milter/get-macro context "mail_addr")])
               nil)]
    (with-open [session (mt/connect-to {:handlers {:mail note}})]
      (is (nil? (mt/send-macros session :mail {"auth_authen" "alice"})))
      (dotimes [_ 2]
        (mt/send-event session {:event :mail, :sender "<a@example.org>"})
        (mt/send-event session {:event :abort}))
      (is (= [["alice" nil] [nil "a@example.org"]] @seen)))
    (is (string/includes? (:message (thrown (mt/send-macros nil :mial {}))) "there is no event"))))

;; Faults that a milter must not notice

(deftest packets-in-pieces-and-slow-bytes-change-nothing
  (let [expected (comparable (mt/run-message options mail))]
    (is (= "{:names (\"B\" \"A\"), :size 3002}" (:value (first (:modifications expected)))))
    (milter/with-milter [server (assoc options :port 0)]
      (doseq [filter [options server]
              faults [[{:fault :split, :size 1000}]
                      [{:fault :split}]
                      [{:fault :slow, :size 500, :millis 1}]
                      [{:fault :merge}]
                      [{:fault :early}]
                      [{:fault :merge} {:fault :split, :size 7}]]]
        (testing faults
          (is (= expected (comparable (mt/run-message filter mail {:faults faults})))))))))

(deftest events-that-come-early-are-answered-each
  (milter/with-milter [server (assoc options :port 0)]
    (doseq [fault [:early :merge]
            filter [options server]]
      (testing "also after one that settles the message"
        (let [report (mt/run-message filter (assoc mail :sender "<refused@example.org>")
                                     {:faults [{:fault fault}]})]
          (is (= [:reject :mail] ((juxt :verdict :at) report)))
          (is (= :mail (ffirst (:responses report))))
          (is (= [{:action :reject}] (second (first (:responses report)))))))
      (testing "on the same connection message after message"
        (with-open [session (mt/connect-to filter {:faults [{:fault fault}]})]
          (is (= [:accept :reject :accept]
                 (mapv #(:verdict (mt/run-message session %))
                       [mail (assoc mail :sender "<refused@example.org>") mail]))))))))

;; Faults that end the connection

(defn- ended
  "Returns how a message with faults ended, and what the filter's handlers of the end were told."
  [faults]
  (let [told (atom [])
        note (fn [{:keys [event reason]} _] (swap! told conj [event reason]) nil)
        filter (update options :handlers assoc :message-end note :disconnect note)]
    (with-logs _logs
      [(select-keys (mt/run-message filter mail {:faults faults, :timeout 2000})
                    [:verdict :at :reply :closed-by :message])
       @told])))

(deftest a-dropped-connection-ends-the-report-and-is-told-to-the-filter
  (are [event told] (= [{:verdict nil, :at event, :reply nil, :closed-by :mta, :message nil} told]
                       (ended [{:fault :drop-connection, :after event}]))
    :mail [[:message-end :lost] [:disconnect :connection-lost]]
    :header [[:message-end :lost] [:disconnect :connection-lost]]
    :end-of-message [[:message-end :accepted] [:disconnect :connection-lost]]))

(deftest garbage-makes-the-milter-close-and-the-report-tells-so
  (are [fault] (= [nil :milter] ((juxt :verdict :closed-by)
                                 (first (ended [(merge {:fault :garbage, :after :mail} fault)]))))
    {}
    {:bytes [0 0 0 0]}
    {:bytes (byte-array [0 0 0 1 (int \R)])}
    {:bytes [255 255 255 255 65]}))

(deftest a-milter-that-closes-is-remarked-upon-and-an-mta-that-does-is-not
  (let [remarks (fn [fault]
                  (with-logs _logs
                    (map (juxt :remark :event) (:remarks (mt/run-message options mail {:faults [fault]})))))]
    (is (= [[:no-reply :recipient]] (remarks {:fault :garbage, :after :mail})))
    (is (= [] (remarks {:fault :drop-connection, :after :mail})))))

(deftest a-report-without-a-verdict-is-printed
  (let [report (mt/run-message options mail {:faults [{:fault :drop-connection, :after :header}]})]
    (is (= "the connection was dropped on purpose after header" (:problem report)))
    (is (string/includes? (with-out-str (mt/print-report report))
                          "=> no verdict at header: the connection was dropped on purpose after header"))
    (is (= [[:mail [{:action :continue}]] [:recipient [{:action :continue}]] [:header []]]
           (:responses report)))))

(deftest a-dead-connection-has-no-verdict-for-later-messages-either
  (with-open [session (mt/connect-to options {:faults [{:fault :drop-connection, :after :header}]})]
    (is (= [[nil :header :mta] [nil :mail :mta]]
           (repeatedly 2 #((juxt :verdict :at :closed-by) (mt/run-message session mail)))))))

(deftest without-faults-a-dead-connection-is-an-exception
  (is (thrown? java.io.IOException
        (mt/run-message {:handlers {:mail (fn [_ context] (milter/close context))
                                    :recipient (fn [_ context] context)}}
                        mail))))

(deftest wrong-faults-are-told
  (are [fault text] (string/includes? (str (:message (thrown (mt/connect-to options {:faults [fault]})))) text)
    {:fault :crash} "a :fault must be :drop-connection, :garbage, :split, :slow, :early or :merge, not :crash"
    {:fault :split, :after :mail} "there is no key :after in the fault :split. Its keys are :fault :size"
    {:fault :split, :size 0} ":size must be a number of bytes, 1 or more, not 0"
    {:fault :drop-connection, :after :male} "there is no event"
    {:fault :garbage, :after :options} "a fault comes after :connect or later"))

;; Many connections

(deftest many-connections-play-at-once-and-reports-come-in-order
  (let [together (CyclicBarrier. 8)
        filter {:handlers {:mail (fn [_ context]
                                   (.await together 10 TimeUnit/SECONDS)
                                   context)
                           :end-of-message (fn [_ _] [(act/accept)])}}
        mails (for [n (range 24)] {:sender (str "<" n "@example.org>")})]
    (doseq [reports [(mt/run-many filter mails {:connections 8})
                     (milter/with-milter [server (assoc filter :port 0)]
                       (mt/run-many server mails {:connections 8}))]]
      (is (= (map :sender mails) (map (comp :sender :sent) reports)))
      (is (= #{:accept} (set (map :verdict reports)))))))

(deftest each-of-many-connections-plays-every-so-many-th-message
  (let [filter {:handlers {:connect (fn [_ context] (assoc context :played (atom [])))
                           :mail (fn [{:keys [sender]} {:keys [played]}] (swap! played conj sender) nil)
                           :end-of-message (fn [_ {:keys [played]}] [(act/add-header "X" (string/join @played)) (act/accept)])}}
        values (map (comp :value first :modifications)
                    (mt/run-many filter (map #(hash-map :sender (str %)) "abcde") {:connections 2}))]
    (is (= ["a" "b" "ac" "bd" "ace"] values))))

(deftest a-connection-that-a-fault-has-ended-is-made-anew
  (is (= (repeat 5 [nil :mail :mta])
         (map (juxt :verdict :at :closed-by)
              (mt/run-many options (repeat 5 mail) {:connections 2
                                                    :faults [{:fault :drop-connection}]})))))

(deftest run-many-of-nothing-is-nothing-and-what-fails-is-thrown
  (is (= [] (mt/run-many options [])))
  (is (thrown? java.io.IOException (mt/run-many {:handlers {:mail (fn [_ context] (milter/close context))
                                                            :recipient (fn [_ context] context)}}
                                                [mail mail])))
  (is (thrown-with-msg? MilterException #":connections must be a number, 1 or more, not 0"
        (mt/run-many options [mail] {:connections 0}))))
