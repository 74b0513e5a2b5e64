(ns temse.original-api-test
  "The documentation of the original library, program by program and promise by promise."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.milter :as milter :refer [default-event-handler define-event-handlers get-macro send-action start-milter]]
   [temse.support :as support :refer [awaited thrown with-logs]]
   [temse.test :as mt])
  (:import
   (clojure.lang Compiler$CompilerException)))

(set! *warn-on-reflection* true)

(defn- with-original
  "Calls f with the address of a milter that the original library's call starts: blocking, in a
  future."
  [callback f]
  (let [port (support/free-port)
        blocked (future (start-milter port callback))]
    (support/await-port port true)
    (try
      (f (str port))
      (finally
        (future-cancel blocked)
        (support/await-port port false)))))

;; The byte counter, as it is printed there

(def byte-counter (atom 0))
(def message-counter (atom 0))

(define-event-handlers my-handlers
  (:body
    (send-action {:action :continue} context)
    (update-in context [:byte-count]
               #(+ % (count (event :data)))))
  (:mail
    (send-action {:action :continue} context)
    (assoc context :byte-count 0))
  (:abort
    (->> (assoc context :byte-count 0)
         (default-event-handler event)))
  (:end-of-message
    (swap! byte-counter
           #(+ % (context :byte-count)))
    (swap! message-counter inc)
    (println byte-counter message-counter)
    (default-event-handler event context)))

(defn my-program [port]
  (println "Starting server on port" port)
  (future
    (start-milter port
                  (fn [ctx]
                    (println "got MTA connection" ctx)
                    (assoc ctx :byte-count 0
                           :some-other-internal-state {:foo 1 :bar 2}
                           :handlers my-handlers)))))

(deftest the-byte-counter-counts
  (reset! byte-counter 0)
  (reset! message-counter 0)
  (let [port (support/free-port)
        output (support/printed
                 (let [program (my-program port)]
                   (support/await-port port true)
                   (doseq [mta [:postfix :sendmail]]
                     (with-open [session (mt/connect-to (str port) {:mta mta})]
                       (doseq [body [(string/join (repeat 1000 "12345678\r\n")) "" "12345678\r\n"]]
                         (is (= :accept (:verdict (mt/run-message session {:body body})))))))
                   (future-cancel program)
                   (support/await-port port false)))]
    (is (= [20020 6] [@byte-counter @message-counter]))
    (is (string/includes? output (str "Starting server on port " port)))
    (is (string/includes? output "got MTA connection"))
    (is (string/includes? output ":val 20020"))))

(deftest a-message-in-parts-is-counted-whole
  (reset! byte-counter 0)
  (support/printed
    (with-original #(assoc % :byte-count 0 :handlers my-handlers)
      (fn [address]
        (mt/run-message address {:body (string/join (repeat 200000 "12345678\r\n"))}))))
  (is (= 2000000 @byte-counter)))

(deftest an-aborted-message-is-not-counted
  (reset! byte-counter 0)
  (support/printed
    (with-original #(assoc % :byte-count 0 :handlers my-handlers)
      (fn [address]
        (with-open [session (mt/connect-to address)]
          (support/send-events session (concat support/opening
                                               (support/envelope)
                                               (butlast support/content)
                                               [{:event :abort}]
                                               (support/envelope)
                                               support/content))))))
  (is (= 7 @byte-counter)))

;; The header adder

(define-event-handlers header-adder
  "Adds a header with the number of recipients."
  (:mail
    (assoc context :recipients 0))
  (:recipient
    (update context :recipients inc))
  (:end-of-message
    (send-action {:action :add-header
                  :name "X-Recipients"
                  :value (str (:recipients context))}
                 context)
    (send-action {:action :continue} context)))

(deftest the-header-adder-adds-headers
  (with-original #(assoc % :handlers header-adder :actions #{:add-header})
    (fn [address]
      (with-open [session (mt/connect-to address)]
        (doseq [n [1 3 2]]
          (is (= [["X-Recipients" (str n)]]
                 (:headers (:message (mt/run-message session
                                                     {:recipients (repeat n "<a@example.com>")
                                                      :headers []}))))))))))

(deftest handlers-keep-their-docstring-and-name
  (is (= "Adds a header with the number of recipients." (:doc (meta #'header-adder))))
  (is (string/includes? (str (:mail header-adder)) "header_adder_mail"))
  (is (= #{:mail :recipient :end-of-message} (set (keys header-adder)))))

(defn header
  "Has the name of an event, as many functions have."
  [event]
  (str (:name event) "!"))

(define-event-handlers namesakes
  (:header
    (assoc context :last-header (header event))))

(deftest a-clause-may-call-a-function-named-like-its-event
  (is (= "Subject!" (:last-header ((:header namesakes) {:event :header, :name "Subject"} {})))))

;; Options

(deftest needed-and-optional-actions-are-negotiated
  (let [contexts (atom [])
        callback (fn [ctx]
                   (-> ctx
                       (assoc :actions #{:add-recipient})
                       (assoc :optional-actions #{:add-header})
                       (assoc :handlers {:mail (fn [_ context]
                                                 (swap! contexts conj context)
                                                 context)})))]
    (with-logs logs
      (with-original callback
        (fn [address]
          (testing "what is optional may be missing"
            (mt/run-message address {} {:offer {:actions #{:add-recipient :change-body}}})
            (is (= #{:add-recipient} (:actions (last @contexts)))))
          (testing "what is offered is agreed"
            (mt/run-message address {})
            (is (= #{:add-recipient :add-header} (:actions (last @contexts)))))
          (testing "what is needed may not be missing"
            (is (thrown-with-msg? java.io.IOException #"closed the connection"
                  (mt/run-message address {} {:offer {:actions #{:add-header}}})))
            (is (string/includes? (first (support/messages logs :warn)) ":add-recipient"))))))))

(deftest events-come-from-the-handlers-and-some-may-be-optional
  (let [contexts (atom [])
        keep-context (fn [_ context] (swap! contexts conj context) context)
        handlers {:mail keep-context, :data keep-context, :unkown keep-context}]
    (with-original #(assoc % :handlers handlers :optional-events #{:data :unkown})
      (fn [address]
        (mt/run-message address {})
        (is (= #{:mail :data :unknown :end-of-message :abort :quit :disconnect}
               (:events (last @contexts))))
        (mt/run-message address {} {:offer {:version 2}})
        (is (= #{:mail :end-of-message :abort :quit :disconnect} (:events (last @contexts))))))
    (with-logs logs
      (with-original #(assoc % :handlers handlers :optional-events #{:data})
        (fn [address]
          (is (thrown? java.io.IOException
                (mt/run-message address {} {:offer {:version 2}})))
          (is (string/includes? (first (support/messages logs :warn)) ":unknown")))))))

(deftest an-action-that-was-not-negotiated-is-an-error-and-defers-the-mail
  (with-logs logs
    (with-original #(assoc % :handlers header-adder :actions #{:change-body})
      (fn [address]
        (is (= :temporary-failure (:verdict (mt/run-message address {}))))))
    (is (string/includes? (first (support/messages logs :error)) ":add-header"))))

(deftest the-callback-gets-the-socket-and-is-called-once-per-connection
  (let [contexts (atom [])]
    (with-original (fn [ctx] (swap! contexts conj ctx) (assoc ctx :handlers {}))
      (fn [address]
        (dotimes [_ 3]
          (with-open [session (mt/connect-to address)]
            (mt/run-message session {})
            (mt/run-message session {})))))
    (is (= 3 (count @contexts)))
    (is (every? :socket @contexts))
    (is (string/starts-with? (pr-str (:socket (first @contexts))) "#<connection "))))

;; Events

(deftest each-documented-event-may-be-handled
  (let [seen (atom [])
        gone (promise)
        events [:abort :body :connect :data :disconnect :end-of-headers :end-of-message :header
                :hello :mail :quit :recipient :unkown]
        handlers (zipmap events (repeat (fn [event context]
                                          (swap! seen conj event)
                                          (when (= :disconnect (:event event))
                                            (deliver gone true))
                                          context)))]
    (with-original #(assoc % :handlers handlers)
      (fn [address]
        (with-open [session (mt/connect-to address)]
          (mt/run-message session {:sender "<a@b.example>"
                                   :recipients ["<c@d.example>"]
                                   :headers [["Subject" "hi"]]
                                   :body "hello\r\n"})
          (support/send-events session [{:event :unknown, :command "EXPN staff"}
                                        {:event :mail, :sender "<e@f.example>", :options []}
                                        {:event :abort}]))
        (awaited gone)))
    (let [by-event (group-by :event @seen)]
      (is (= #{:abort :body :connect :data :disconnect :end-of-headers :end-of-message :header
               :hello :mail :quit :recipient :unknown}
             (set (keys by-event))))
      (is (= {:host-name "client.example.org", :address "192.0.2.1", :port 40110, :family :inet}
             (dissoc (first (:connect by-event)) :event)))
      (is (= "client.example.org" (:greeting (first (:hello by-event)))))
      (is (= "<a@b.example>" (:sender (first (:mail by-event)))))
      (is (= "<c@d.example>" (:address (first (:recipient by-event)))))
      (is (= ["Subject" "hi"] ((juxt :name :value) (first (:header by-event)))))
      (is (= "hello\r\n" (String. ^bytes (:data (first (:body by-event))))))
      (is (= "EXPN staff" (:command (first (:unknown by-event)))))
      (is (= :quit (:reason (first (:disconnect by-event))))))))

(deftest state-lives-as-long-as-the-connection
  (let [counts (atom [])]
    (with-original #(assoc % :count 0
                           :handlers {:end-of-message (fn [_ context]
                                                        (swap! counts conj (:count context))
                                                        (update context :count inc))})
      (fn [address]
        (dotimes [_ 2]
          (with-open [session (mt/connect-to address)]
            (dotimes [_ 3]
              (mt/run-message session {}))))))
    (is (= [0 1 2 0 1 2] @counts))))

;; Macros

(defn my-recipient-event-handler [event context]
  (assoc context :my-recipients
         (cons {:address (milter/bare-address (event :address))
                :mailer (get-macro context "rcpt_mailer")
                :host (get-macro context "rcpt_host")
                :client (get-macro context "_")}
               (context :my-recipients))))

(deftest macros-are-read-by-name
  (let [recipients (atom nil)]
    (with-original #(assoc % :handlers {:recipient my-recipient-event-handler
                                        :end-of-message (fn [_ context]
                                                          (reset! recipients
                                                                  (:my-recipients context))
                                                          context)})
      (fn [address]
        (doseq [mta [:postfix :sendmail]]
          (mt/run-message address
                          {:recipients ["<b@example.com>" "<c@example.net>"]}
                          {:mta mta, :client {:host-name "mx.example.org", :address "192.0.2.9"}})
          (is (= [{:address "c@example.net", :mailer "smtp", :host "example.net"
                   :client "mx.example.org [192.0.2.9]"}
                  {:address "b@example.com", :mailer "smtp", :host "example.com"
                   :client "mx.example.org [192.0.2.9]"}]
                 @recipients)))))))

(deftest macro-names-need-no-braces-and-may-be-missing
  (let [context (mt/context {:macros {:connect {"_" "here", "{client_addr}" "192.0.2.1"}
                                      :mail {"mail_host" "example.org"}}})]
    (is (= ["here" "192.0.2.1" "192.0.2.1" "example.org" nil "none"]
           [(get-macro context "_")
            (get-macro context "client_addr")
            (get-macro context "{client_addr}")
            (get-macro context "mail_host")
            (get-macro context "rcpt_host")
            (get-macro context "rcpt_host" "none")]))
    (is (= {:connect {"_" "here", "client_addr" "192.0.2.1"}, :mail {"mail_host" "example.org"}}
           (milter/macros context)))))

;; Mistakes in define-event-handlers

(defn- macro-error
  [form]
  (binding [*ns* (find-ns 'temse.original-api-test)]
    (try
      (macroexpand form)
      nil
      (catch Compiler$CompilerException e
        (assoc (ex-data (ex-cause e)) :message (ex-message (ex-cause e)))))))

(deftest wrong-clauses-are-told-when-they-are-compiled
  (let [unknown (macro-error '(define-event-handlers h (:heder context)))]
    (is (= [:bad-options :handlers :heder :header]
           ((juxt :milter/error :option :value :suggestion) unknown)))
    (is (string/includes? (:message unknown) "did you mean :header?")))
  (is (string/includes? (:message (macro-error '(define-event-handlers h [:header context])))
                        "a clause must be a list that begins with an event"))
  (is (string/includes? (:message (macro-error '(define-event-handlers h (:mail 1) (:mail 2))))
                        "each event may have one clause")))

(deftest actions-that-clauses-mention-and-options-do-not-are-warned-of
  (with-logs logs
    (milter/with-milter [_ {:port 0, :handlers header-adder, :actions #{:change-body}}]
      nil)
    (milter/with-milter [_ {:port 0, :handlers #'header-adder, :optional-actions #{}}]
      nil)
    (is (= 2 (count (support/messages logs :warn))))
    (is (string/includes? (first (support/messages logs :warn))
                          "mention :add-header but ask for no such action"))
    (reset! logs [])
    (milter/with-milter [_ {:port 0, :handlers header-adder, :actions #{:insert-header}}]
      nil)
    (milter/with-milter [_ {:port 0, :handlers header-adder}]
      nil)
    (is (= [] @logs))))

(deftest a-callback-that-returns-no-context-is-told
  (with-logs logs
    (with-original (fn [_] nil)
      (fn [address]
        (is (thrown? java.io.IOException (mt/run-message address {})))))
    (is (string/includes? (first (support/messages logs :warn))
                          ":init must return a context, a map; it returned nil"))))

(deftest what-is-no-callback-is-told
  (is (string/includes? (:message (thrown (start-milter 0 {:handlers my-handlers})))
                        ":init must be a function or var")))
