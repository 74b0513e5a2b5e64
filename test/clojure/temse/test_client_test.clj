(ns temse.test-client-test
  "temse.test in its three rings: handlers by hand, messages in process, messages over sockets."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond send-action]]
   [temse.support :as support :refer [thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.io Closeable IOException)
   (java.net ConnectException ServerSocket SocketTimeoutException)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

;; Handlers by hand

(defn on-header [{:keys [name value]} context]
  (if (= "Subject" name)
    (milter/update-message context assoc :subject value)
    context))

(defn on-end-of-message [_event context]
  (if (= "lottery" (:subject (milter/message context)))
    (respond context (act/reply-code 550 "5.7.1" "No lottery today"))
    (respond context (act/add-header "X-Seen" "yes") (act/accept))))

(def handlers
  {:header #'on-header, :end-of-message #'on-end-of-message})

(deftest a-handler-is-called-with-a-context-made-by-hand
  (is (= "hi" (:subject (milter/message
                          (on-header {:event :header, :name "Subject", :value "hi"} (mt/context))))))
  (is (= [(act/add-header "X-Seen" "yes") (act/accept)]
         (mt/response (on-end-of-message {:event :end-of-message} (mt/context))))))

(deftest a-context-made-by-hand-holds-what-the-library-would-put-there
  (let [context (mt/context {:mine 1
                             :actions #{:add-header}
                             :macros {:mail {"i" "4ABC"}}})]
    (is (= 1 (:mine context)))
    (is (= #{:add-header} (:actions context) (:actions (:milter/agreement context))))
    (is (= "4ABC" (milter/get-macro context "i")))
    (is (milter/agreed? context :add-header))
    (is (not (milter/agreed? context :quarantine)))
    (is (milter/agreed? (mt/context) :quarantine))
    (is (= {} (milter/message context)))))

(deftest a-wrong-context-is-refused
  (is (= :bad-options (:milter/error (thrown (mt/context {:actions #{:ad-header}})))))
  (is (= :bad-options (:milter/error (thrown (mt/context {:macros {:mial {"i" "1"}}}))))))

(deftest what-is-sent-and-what-is-returned-are-recorded-in-order
  (is (= [(act/add-header "A" "1") (act/progress) (act/add-header "B" "2") (act/accept)]
         (mt/response
           (->> (respond (mt/context) (act/add-header "B" "2") (act/accept))
                (send-action (act/add-header "A" "1"))
                milter/progress!)))))

(deftest fire-calls-the-handler-of-an-event
  (let [fire #(mt/fire handlers %2 %1)]
    (is (= [(act/reply-code 550 "5.7.1" "No lottery today")]
           (-> (mt/context)
               (fire {:event :header, :name "Subject", :value "lottery"})
               (fire {:event :end-of-message})
               mt/response)))))

(deftest fire-takes-each-form-of-return-value
  (are [returned] (= [(act/reject)]
                     (mt/response (mt/fire {:mail (fn [_ context] (returned context))}
                                           {:event :mail}
                                           (mt/context))))
    #(respond % (act/reject))
    #(send-action (act/reject) %)
    (fn [_] [(act/reject)])
    (fn [_] (map identity [(act/reject)]))
    (fn [context] (future (respond context (act/reject))))
    (fn [_] (deliver (promise) [(act/reject)]))))

(deftest fire-leaves-the-context-where-nothing-is-returned
  (let [context (mt/context {:mine 1})]
    (is (= 1 (:mine (mt/fire {:mail (fn [_ _] nil)} {:event :mail} context))))
    (is (= context (mt/fire {} {:event :mail} context)))))

(deftest fire-answers-for-the-latest-event-only
  (let [rejecting {:mail (fn [_ context] (send-action (act/reject) context))
                   :recipient (fn [_ context] (respond context (act/discard)))}
        after-mail (mt/fire rejecting {:event :mail} (mt/context))]
    (is (= [(act/reject)] (mt/response after-mail)))
    (is (= [(act/discard)] (mt/response (mt/fire rejecting {:event :recipient} after-mail))))
    (is (= [] (mt/response (mt/fire rejecting {:event :data} after-mail))))))

(deftest fire-keeps-what-the-library-owns-and-ends-the-message
  (let [context (mt/context {:handlers :mine})
        fired (mt/fire {:mail (fn [_ c] (assoc c :a 1 :actions :lost :milter/connection nil))}
                       {:event :mail}
                       context)]
    (is (= (assoc context :a 1) fired)))
  (is (= {} (-> (mt/context)
                (milter/update-message assoc :a 1)
                (->> (mt/fire {} {:event :message-end, :reason :accepted}))
                milter/message))))

(deftest fire-throws-what-the-library-would-log
  (is (= :bad-options (:milter/error (thrown (mt/fire handlers {:event :heder} (mt/context))))))
  (is (= :bad-options (:milter/error (thrown (mt/fire {:heder identity} {:event :mail} (mt/context))))))
  (are [handler] (= :bad-handler-return
                    (:milter/error (thrown (mt/fire {:mail handler} {:event :mail} (mt/context)))))
    (fn [_ _] 1)
    (fn [_ _] (act/reject))
    (fn [_ _] (future [:reject])))
  (are [handler] (= "no luck"
                    (:message (thrown (mt/fire {:mail handler} {:event :mail} (mt/context)))))
    (fn [_ _] (throw (Exception. "no luck")))
    (fn [_ _] (future (throw (Exception. "no luck"))))
    (fn [_ _] (deliver (promise) (Exception. "no luck")))))

(def ^:private wrong-answers
  "What production refuses: event, actions and category."
  [[:mail [(act/add-header "A" "1")] :reply-not-allowed]
   [:connect [(act/discard)] :reply-not-allowed]
   [:mail [(act/skip)] :reply-not-allowed]
   [:abort [(act/reject)] :reply-not-allowed]
   [:end-of-message [(act/quarantine "why")] :action-not-negotiated]
   [:end-of-message [(act/add-header "A:" "1")] :bad-action]
   [:end-of-message [(act/add-header "A" "1") (act/change-body 1)] :bad-action]
   [:mail [{:action :rejct}] :bad-action]
   [:mail [(act/accept) (act/reject)] :double-reply]
   [:end-of-message [(act/accept) (act/add-header "A" "1")] :late-action]])

(deftest fire-refuses-what-production-refuses
  (let [actions #{:add-header :change-body}]
    (doseq [[event actions* category] wrong-answers
            answer [(fn [_ _] actions*)
                    (fn [_ context] (reduce respond context actions*))
                    (fn [_ context] (doseq [action actions*] (send-action action context)))
                    (fn [_ context] (future (reduce respond context actions*)))]]
      (is (= category (:milter/error (thrown (mt/fire {event answer} {:event event}
                                                      (mt/context {:actions actions})))))
          [event actions*])
      (when-not (= :abort event)
        (with-logs logs
          (with-open [session (mt/connect-to {:handlers {event answer}, :actions actions})]
            (mt/send-event session (cond-> {:event event}
                                     (= :mail event) (assoc :sender "<>")
                                     (= :connect event) (assoc :host-name "localhost", :family :unknown))))
          (is (some #{category} (map (comp :milter/error ex-data :throwable) @logs)) [event actions*])))))
  (testing "also of handlers that only watch"
    (is (= :reply-not-allowed
           (:milter/error (thrown (mt/fire {:mail ^:no-reply (fn [_ _] [(act/reject)])} {:event :mail}
                                           (mt/context))))))))

(defn on-quarantine [_event _context]
  [(act/quarantine "why")])

(deftest what-fire-refuses-names-the-handler
  (is (re-find #"; it comes from temse\.test-client-test/on-quarantine \(test_client_test\.clj:\d+\)$"
               (:message (thrown (mt/fire {:end-of-message #'on-quarantine} {:event :end-of-message}
                                          (mt/context {:actions #{:add-header}})))))))

(deftest a-context-made-by-hand-refuses-what-no-event-allows
  (let [context (mt/context {:actions #{:add-header}})]
    (are [category action] (= category (:milter/error (thrown (send-action action context)))
                              (:milter/error (thrown (mt/response (respond context action)))))
      :action-not-negotiated (act/quarantine "why")
      :bad-action (act/add-header "A" 1)
      :bad-action {:action :rejct})
    (are [category actions] (= category (:milter/error (thrown (mt/response (reduce respond context actions)))))
      :double-reply [(act/accept) (act/reject)]
      :late-action [(act/accept) (act/add-header "A" "1")])
    (is (= [(act/skip)] (mt/response (respond context (act/skip)))))))

(deftest a-body-that-is-checked-is-not-read
  (let [body (java.io.ByteArrayInputStream. (.getBytes "new"))]
    (mt/response (mt/fire {:end-of-message (fn [_ _] [(act/change-body body)])} {:event :end-of-message}
                          (mt/context)))
    (is (= "new" (slurp body)))))

;; Messages

(deftest the-three-rings-agree
  (doseq [[subject verdict] [["hi" :accept] ["lottery" :reject]]]
    (let [mail {:headers [["Subject" subject]]}
          filter {:handlers handlers, :actions #{:add-header}}
          interesting #(select-keys % [:verdict :at :reply :modifications :recipients :responses])
          in-process (mt/run-message filter mail)]
      (is (= verdict (:verdict in-process)))
      (milter/with-milter [server (assoc filter :port 0)]
        (is (= (interesting in-process)
               (interesting (mt/run-message server mail))
               (interesting (mt/run-message (milter/milter-address server) mail))
               (interesting (mt/run-message (str (milter/milter-port server)) mail))
               (interesting (with-open [session (mt/connect-to server)]
                              (mt/run-message session mail)))))))))

(deftest the-report-tells-what-became-of-the-message
  (let [report (mt/run-message {:handlers handlers, :actions #{:add-header}}
                               {:sender "<a@x.example>"
                                :recipients ["<b@y.example>"]
                                :headers [["Subject" "hi"]]
                                :body "hello\n"})]
    (is (= {:verdict :accept
            :at :end-of-message
            :reply {:action :accept}
            :modifications [{:action :add-header, :name "X-Seen", :value "yes"}]
            :responses [[:header [{:action :continue}]]
                        [:end-of-message [{:action :add-header, :name "X-Seen", :value "yes"}
                                          {:action :accept}]]]}
           (select-keys report [:verdict :at :reply :modifications :responses])))
    (is (= {:sender "<a@x.example>"
            :options []
            :recipients ["<b@y.example>"]
            :headers [["Subject" "hi"]]
            :body "hello\r\n"}
           (update (:sent report) :body #(String. ^bytes %))))
    (is (= [["Subject" "hi"] ["X-Seen" "yes"]] (:headers (:message report))))
    (is (= [6 #{:add-header}] ((juxt :version :actions) (:agreement report))))
    (is (= [:header :end-of-message] (map (comp :event :event) (:conversation report))))
    (is (every? (comp pos? :nanos) (:conversation report)))))

(deftest a-refused-message-is-not-delivered
  (is (nil? (:message (mt/run-message {:handlers {:mail (fn [_ _] [(act/reject)])}} {})))))

(deftest a-mail-is-given-in-many-ways
  (let [file (java.io.File/createTempFile "temse" ".eml")]
    (try
      (spit file "Subject: hi\n folded\n\nhello\n")
      (doseq [mail ["Subject: hi\n folded\n\nhello\n"
                    "Subject: hi\r\n folded\r\n\r\nhello\r\n"
                    {:message "Subject: hi\n folded\n\nhello\n"}
                    {:message (.getBytes "Subject: hi\n folded\n\nhello\n")}
                    file
                    {:headers [["Subject" "hi\n folded"]], :body "hello\n"}
                    {:headers [["Subject" "hi\n folded"]], :body (.getBytes "hello\n")}
                    {:headers {"Subject" "hi\n folded"}, :body ["hel" (.getBytes "lo\n")]}]]
        (let [sent (:sent (mt/run-message {} mail))]
          (is (= [["Subject" "hi\n folded"]] (:headers sent)))
          (is (= "hello\r\n" (String. ^bytes (:body sent))))))
      (finally
        (.delete file)))))

(deftest what-was-delivered-can-be-sent-again
  (let [filter {:handlers {:end-of-message (fn [_ _] [(act/add-header "A" "1")
                                                      (act/quarantine "why")])}}
        report (mt/run-message filter (:message (mt/run-message filter {:headers []})))]
    (is (= [["A" "1"] ["A" "1"]] (:headers (:message report))))))

(deftest a-wrong-mail-is-told
  (are [mail text] (string/includes? (str (:message (thrown (mt/run-message {} mail)))) text)
    {:reciepients []} "there is no key :reciepients in a mail; did you mean :recipients?"
    {:recipients "<a@b.example>"} ":recipients must be a vector of addresses"
    {:recipients [:a]} ":recipients must be a vector of addresses"
    {:body 1} ":body must be a string, bytes, a Body or a sequence of these"
    1 "a mail must be a map, a string, or a File"
    nil "a mail must be a map, a string, or a File"))

(deftest wrong-options-are-told
  (are [options text] (string/includes? (str (:message (thrown (mt/run-message {} {} options)))) text)
    {:mta :exim} ":mta must be :postfix or :sendmail, not :exim"
    {:macro {}} "there is no key :macro in the options of run-message; did you mean :macros?"))

(deftest what-is-no-filter-is-told
  (doseq [filter [nil 20025 :handlers]]
    (is (string/includes? (str (:message (thrown (mt/run-message filter {}))))
                          "a filter is")))
  (is (thrown-with-msg? IllegalArgumentException #"cannot understand the address"
        (mt/run-message "nonsense" {}))))

(deftest client-greeting-and-macros-are-as-given
  (let [seen (atom {})
        note (fn [event context]
               (swap! seen assoc (:event event)
                      (assoc event :auth (milter/get-macro context "auth_authen")))
               nil)]
    (doseq [mta [:postfix :sendmail]]
      (mt/run-message {:handlers {:connect note, :hello note, :mail note}}
                      {}
                      {:mta mta
                       :client {:host-name "mx.example.net", :address "2001:db8::1", :port 99}
                       :hello "hi.example.net"
                       :macros {"auth_authen" "alice"}})
      (is (= ["mx.example.net" "2001:db8::1" 99 :inet6]
             ((juxt :host-name :address :port :family) (:connect @seen))))
      (is (= "hi.example.net" (:greeting (:hello @seen))))
      (is (= "alice" (:auth (:mail @seen)))))))

(deftest a-step-is-sent-and-its-answer-returned
  (milter/with-milter [server {:port 0, :handlers handlers}]
    (doseq [filter [{:handlers handlers} server]]
      (with-open [session (mt/connect-to filter)]
        (is (= #{:no-connect :no-hello :no-mail :no-recipient :no-data :no-end-of-headers :no-body
                 :no-unknown :skip}
               (disj (:protocol (mt/agreement session)) :payload-1m)))
        (support/send-events session (concat support/opening (support/envelope)))
        (testing "of an event that the filter wants"
          (is (= [{:action :continue}] (mt/send-event session (first support/content)))))
        (testing "of an event that it does not want, and of one that owes no reply"
          (is (= [] (mt/send-event session {:event :end-of-headers})))
          (is (= [] (mt/send-event session {:event :abort}))))))))

;; Faults

(deftest a-milter-that-closes-is-an-io-exception-at-its-event
  (let [closing {:handlers {:mail (fn [_ context] (milter/close context))
                            :recipient (fn [_ context] context)}}]
    (milter/with-milter [server (assoc closing :port 0)]
      (doseq [filter [closing server]]
        (let [error (thrown (mt/run-message filter {}))]
          (is (re-find #"the milter (closed|has closed) the connection" (:message error))))))))

(deftest a-milter-that-refuses-the-offer-is-an-io-exception
  (with-logs _logs
    (is (thrown-with-msg? IOException #"the milter closed the connection instead of answering"
          (mt/connect-to {:actions #{:add-header}} {:offer {:actions #{:quarantine}}})))))

(deftest a-milter-that-is-not-there-is-a-connect-exception
  (is (thrown? ConnectException
        (mt/connect-to (str "inet:" (support/free-port) "@127.0.0.1")))))

(deftest a-milter-that-does-not-answer-in-time-is-a-timeout
  (is (thrown? SocketTimeoutException
        (mt/run-message {:handlers {:mail (fn [_ _] (promise))}} {} {:timeout 50})))
  (with-open [silent (ServerSocket. 0)]
    (is (thrown? SocketTimeoutException
          (mt/connect-to (str (.getLocalPort silent)) {:timeout 50})))))

(deftest a-milter-that-breaks-the-protocol-is-told-with-what-it-did
  (with-open [listening (ServerSocket. 0)]
    (doseq [[answer text] [[[\c] "its first packet is 'c'"]
                           [[\O 0 0 0 6 0 0 2 0 0 0 0 0] "actions that were not offered: 0x200"]
                           [[\O 0 0 0 7 0 0 0 0 0 0 0 0] "its version is higher"]]]
      (let [milter (future (with-open [socket (.accept listening)]
                             (support/read-packet socket)
                             (apply support/write-packet socket answer)))
            error (try
                    (.close ^Closeable (mt/connect-to (str (.getLocalPort listening))))
                    (catch MilterException e
                      (ex-message e)))]
        (support/awaited milter)
        (is (string/includes? (str error) text))))))

(deftest a-report-is-printed-as-ladder-verdict-and-difference
  (let [printed (with-out-str
                  (mt/print-report (mt/run-message {:handlers handlers}
                                                   {:headers [["Subject" "hi"]], :body "hello\n"})))]
    (doseq [line ["  MTA  --> header Subject: hi"
                  "       <-- add-header X-Seen: yes"
                  "  => accepted at end-of-message"
                  "    Subject: hi"
                  "  + X-Seen: yes"
                  "    hello"]]
      (is (some #{line} (string/split-lines printed)) line)))
  (is (string/includes?
        (with-out-str
          (mt/print-report (mt/run-message {:handlers {:mail (fn [_ _] [{:action :reply-code
                                                                         :smtp-code 550}])}}
                                           {})))
        "=> refused at mail: 550")))

;; Header fields

(deftest ^{:conformance ["M23"]} one-space-is-added-to-header-values-unless-the-filter-sends-it
  (doseq [[leading-space? value & delivered] [[false "v" "v"]
                                              [false " v" " v"]
                                              [true " v" "v"]
                                              [true "v" "v" "v"]
                                              [true "  v" " v"]]
          :let [handlers {:end-of-message (fn [_event _context]
                                            [(act/add-header "X" value)
                                             (act/change-header "Subject" value)])}]]
    (is (= [(into ["Subject"] delivered) (into ["X"] delivered)]
           (-> (mt/run-message {:handlers handlers, :leading-space? leading-space?}
                               {:headers [["Subject" "hi"]]})
               :message
               :headers))
        [leading-space? value])))
