(ns temse.options-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.impl.options :as options]
   [temse.milter :as milter]
   [temse.support :as support :refer [thrown with-logs]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def wrong-values
  "For each option values that it must refuse."
  {:port [-1 65536 "20025" nil 1.5]
   :host [nil :localhost 127]
   :socket-path [nil :path 1]
   :socket-permissions ["0668" "66" "rw-rw---" "rwxrwxrwxrwx" 0660 nil]
   :socket-group [nil 100]
   :address [20025 nil :inet]
   :handlers [nil [] #{} :handlers identity]
   :init [nil {} :init "init"]
   :actions [:add-header "add-header" #{"add-header"} {:add-header true}]
   :optional-actions [:add-header #{1}]
   :optional-events [:data ["data"]]
   :no-reply-events [:header {:header true}]
   :request-macros [["i"] {:mail "i"} {:mail [:i]} #{}]
   :rejected-recipients? [nil 1 "yes"]
   :leading-space? [nil :yes]
   :default-reply [:reject {:mail :reject} {:mail nil}]
   :on-error [nil {} :reject]
   :handler-timeout [0 -1 nil "25s" 2.5 {:default 0} {:mail "1"}]
   :progress-interval [0 nil 1.5]
   :progress-events [:end-of-message ["end-of-message"]]
   :idle-timeout [0 nil]
   :write-timeout [0 nil]
   :packet-timeout [0 -1 nil "60s"]
   :negotiation-timeout [0 -1 nil 1.5]
   :max-header-fields [0 -1 nil 5000000000]
   :max-header-bytes [0 nil "4M"]
   :max-recipients [0 nil]
   :max-macro-bytes [0 nil]
   :max-unfinished-bytes [0 nil 1.5]
   :max-connections-per-peer [0 -1 "many"]
   :backlog [0 -1 nil "many" 1.5]
   :on-fatal [nil :stop {} "exit"]
   :max-packet-size [0 nil 5000000000]
   :max-connections [0 -1 "many"]
   :loops [0 nil 0.5]
   :block-grace [0 nil]
   :max-blocked [0 nil]
   :max-blocked-wait [0 nil 1.5]
   :daemon? [nil 1]
   :join? [nil "no"]
   :drain-timeout [-1 nil 0.5]
   :stop-timeout [-1 nil 0.5]
   :take-over? [nil 1]
   :allow [nil [] "127.0.0.1" [1]]
   :on-exchange [nil {}]
   :name [nil :milter 1]
   :log-mail? [nil :yes]
   :bindings [nil [] {'x 1} {#'clojure.core/inc 1}]
   :wants [:sender "sender" ["sender"]]
   :keep-payload? [nil 0]})

(deftest every-option-refuses-wrong-values-and-says-what-it-wants
  (is (= (set (keys options/table)) (set (keys wrong-values))))
  (doseq [[option values] wrong-values
          value values]
    (testing [option value]
      (let [error (thrown (milter/start-milter {option value}))]
        (is (= [:bad-options option value] ((juxt :milter/error :option :value) error)))
        (is (= (str option " must be " (first (options/table option)) ", not " (pr-str value))
               (:message error)))))))

(deftest each-default-would-be-accepted
  (doseq [[option [_ ok? default]] options/table
          :when (some? default)]
    (is (ok? default) option)))

(deftest every-option-is-documented-with-start-milter
  (let [documented (set (re-seq #"(?m)(?<=^ {4}:)\S+" (:doc (meta #'milter/start-milter))))]
    (is (= (set (map name (keys options/table))) documented))))

(deftest an-unknown-option-is-refused-with-the-one-that-was-meant
  (are [given meant] (let [error (thrown (milter/start-milter {given 1}))]
                       (and (= [:bad-options given meant]
                               ((juxt :milter/error :option :suggestion) error))
                            (= (str "there is no option " (pr-str given) "; did you mean " meant "?")
                               (:message error))))
    :prot :port
    :portt :port
    :handler :handlers
    :adress :address
    :action :actions
    :on-eror :on-error
    :max-connection :max-connections
    "port" :port
    'port :port))

(deftest an-unknown-option-that-resembles-none-is-refused
  (doseq [given [:foo :completely-different 42 nil]]
    (let [error (thrown (milter/start-milter {given 1}))]
      (is (= [:bad-options nil] ((juxt :milter/error :suggestion) error)))
      (is (= (str "there is no option " (pr-str given) ".") (:message error))))))

(deftest handlers-given-as-options-are-told-where-they-belong
  (doseq [f [milter/start-milter milter/explain-negotiation milter/factory]
          event [:header :end-of-message :unkown]]
    (let [error (thrown (f {event (fn [_ context] context)}))]
      (is (= :bad-options (:milter/error error)))
      (is (string/includes? (:message error) "Handlers are given as :handlers {EVENT FUNCTION}")))))

(deftest options-that-are-no-map-are-refused
  (doseq [wrong [nil 20025 "inet:20025" [:port 20025]]]
    (is (= (str "options must be a map, not " (pr-str wrong))
           (:message (thrown (milter/start-milter wrong)))))))

(deftest a-server-without-anything-to-do-is-not-started
  (doseq [options [{} {:handlers {}} {:handlers #'wrong-values :init nil}
                   {:handlers {:options (fn [_ context] context)}}]]
    (is (= :bad-options (:milter/error (thrown (milter/start-milter (assoc options :port 0)))))))
  (is (string/includes? (:message (thrown (milter/start-milter {:port 0})))
                        "give :handlers, or :init that returns them"))
  (is (string/includes? (:message (thrown (milter/start-milter {:port 0, :handlers {}})))
                        ":handlers has no handler of an event")))

(deftest a-server-that-init-or-a-default-reply-gives-something-to-do-is-started
  (doseq [options [{:init #(assoc % :handlers {:mail (fn [_ _] [{:action :reject}])})}
                   {:default-reply {:mail {:action :reject}}}
                   {:handlers {}, :default-reply {:mail {:action :reject}}}]]
    (milter/with-milter [server (assoc options :port 0)]
      (is (= :reject (:verdict (mt/run-message server {})))))))

(deftest an-init-that-loses-the-handlers-lets-no-mail-pass
  (with-logs logs
    (milter/with-milter [server {:port 0, :init #(dissoc % :handlers)}]
      (is (thrown? java.io.IOException (mt/run-message server {}))))
    (is (string/includes? (str (support/messages logs :warn))
                          ":handlers must be a map of event to function"))))

(deftest times-of-any-size-are-taken
  (doseq [option [:idle-timeout :progress-interval :write-timeout :block-grace :stop-timeout :drain-timeout
                  :packet-timeout :negotiation-timeout :handler-timeout]]
    (milter/with-milter [server {:port 0
                                 :handlers {:mail (fn [_ _] (future [{:action :reject}]))}
                                 option Long/MAX_VALUE}]
      (is (= :reject (:verdict (mt/run-message server {} {:timeout Long/MAX_VALUE}))) option))))

(deftest an-option-given-twice-is-refused
  (is (= ":port is given twice: as an argument and as an option"
         (:message (thrown (milter/start-milter 0 identity {:port 1}))))))

(deftest the-timeout-of-stop-milter-is-checked-and-the-server-lives-on
  (milter/with-milter [server {:port 0, :handlers {:mail (fn [_ _] [{:action :reject}])}}]
    (doseq [timeout [-1 nil 0.5 "1"]]
      (is (= (str "the timeout of stop-milter must be milliseconds, 0 or more, not " (pr-str timeout))
             (:message (thrown (milter/stop-milter server timeout))))))
    (is (= :reject (:verdict (mt/run-message server {}))))
    (is (nil? (milter/stop-milter server Long/MAX_VALUE)))))

(deftest where-to-listen-must-be-said-once
  (is (= "say where to listen: :port, :socket-path or :address"
         (:message (thrown (milter/start-milter {})))))
  (are [options] (re-find #"^give one of .*, not all" (:message (thrown (milter/start-milter options))))
    {:port 0, :address "inet:0@127.0.0.1"}
    {:port 0, :socket-path "/tmp/s"}
    {:address "unix:/tmp/s", :socket-path "/tmp/s"}))

(deftest an-address-that-cannot-be-understood-is-refused-with-the-forms
  (are [options option] (let [error (thrown (milter/start-milter options))]
                          (and (= [:bad-options option] ((juxt :milter/error :option) error))
                               (string/includes? (:message error) "inet:PORT@HOST")))
    {:address "inet"} :address
    {:address "inet:99999@127.0.0.1"} :address
    {:address "http://localhost"} :address
    {:address ""} :address
    {:port 0, :host "a b"} :host
    {:port 0, :host ""} :host
    {:socket-path ""} :socket-path
    {:socket-path (string/join (repeat 200 "x"))} :socket-path))

(deftest names-of-events-are-checked-in-each-option-that-takes-them
  (are [options option] (let [error (thrown (milter/start-milter (assoc options :port 0)))]
                          (and (= [:bad-options option :heder :header]
                                  ((juxt :milter/error :option :value :suggestion) error))
                               (string/starts-with? (:message error)
                                                    (str option ": there is no event :heder; did you"
                                                         " mean :header? The events are :abort"))))
    {:handlers {:heder identity}} :handlers
    {:optional-events #{:heder}} :optional-events
    {:no-reply-events #{:heder}} :no-reply-events
    {:progress-events #{:heder}} :progress-events
    {:handler-timeout {:heder 1}} :handler-timeout
    {:default-reply {:heder {:action :accept}}} :default-reply))

(deftest names-of-actions-are-checked-in-each-option-that-takes-them
  (doseq [option [:actions :optional-actions]]
    (let [error (thrown (milter/start-milter {:port 0, option #{:add-headers}}))]
      (is (= [:bad-options option :add-header] ((juxt :milter/error :option :suggestion) error)))
      (is (string/includes? (:message error) "The actions are :add-header ")))))

(deftest a-name-that-resembles-none-is-refused-with-the-list
  (is (string/starts-with? (:message (thrown (milter/start-milter {:port 0, :handlers {:xyzzy identity}})))
                           ":handlers: there is no event :xyzzy. The events are :abort"))
  (is (string/starts-with? (:message (thrown (milter/start-milter {:port 0, :handlers {"header" identity}})))
                           ":handlers: there is no event \"header\"; did you mean :header?"))
  (is (string/starts-with? (:message (thrown (milter/start-milter {:port 0, :request-macros {:mial ["i"]}})))
                           ":request-macros: there is no stage :mial; did you mean :mail?")))

(deftest what-cannot-handle-is-refused
  (doseq [handler [:header "f" nil {:action :reject} [{:action :reject}] #{} 1]]
    (let [error (thrown (milter/start-milter {:port 0, :handlers {:header handler}}))]
      (is (= :bad-options (:milter/error error)))
      (is (= (str "the handler of :header must be a function or var, not " (pr-str handler))
             (:message error)))))
  (is (string/includes? (:message (thrown (milter/start-milter {:port 0, :handlers #'wrong-values})))
                        "there is no event")))

(defmulti on-event (fn [event _] (:event event)))

(defmethod on-event :mail [_ _] [{:action :reject}])

(deftest functions-vars-and-multimethods-may-handle
  (doseq [handler [on-event #'on-event (partial on-event) (comp on-event)]]
    (is (= :reject (:verdict (mt/run-message {:handlers {:mail handler}} {}))))))

(deftest a-default-reply-that-could-not-be-sent-is-refused
  (are [reply text] (let [error (thrown (milter/start-milter {:port 0, :default-reply reply}))]
                      (and (= [:bad-options :default-reply] ((juxt :milter/error :option) error))
                           (string/includes? (:message error) text)))
    {:mail {:action :add-header, :name "A", :value "b"}} ":default-reply: :add-header is no reply"
    {:connect {:action :discard}} ":discard cannot be the default reply to :connect"
    {:mail {:action :rejct}} ":rejct"
    {:mail {}} "there is no action in a map without :action"
    {:mail {:action :reply-code}} ":smtp-code must be a number"
    {:mail {:action :reply-code, :smtp-code 250, :text "ok"}} "it must be from 400 to 599"))

(deftest run-message-and-factory-refuse-as-start-does
  (doseq [f [milter/factory milter/explain-negotiation #(mt/run-message % {})]
          wrong [{:handlers {:heder identity}}
                 {:actions #{:ad-header}}
                 {:idle-timeout 0}]]
    (is (= :bad-options (:milter/error (thrown (f wrong)))))))
