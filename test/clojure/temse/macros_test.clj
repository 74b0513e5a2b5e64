(ns temse.macros-test
  "Warnings of macros that will never come."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def ^:private counter (atom 0))

(defn- fresh
  "Returns a name that nobody has been warned of."
  [text]
  (str text "_" (string/replace (str (random-uuid)) "-" "") (swap! counter inc)))

(defn- warnings
  [records]
  (support/messages records :warn))

(defn- asking
  [names]
  {:end-of-message (fn [_ context]
                     (run! #(milter/get-macro context %) names)
                     nil)})

(deftest a-name-that-no-mta-knows-is-reported-once-with-the-nearest
  (support/with-logs logs
    (milter/with-milter [server {:port 0, :handlers (asking ["auth_autenh" "{client_adr}" "client_adr" "mail_addr" "q"])}]
      (mt/run-many server (repeat 5 {}) {:connections 1}))
    (is (= ["get-macro names the macro \"auth_autenh\", which neither Postfix nor Sendmail knows; did you mean \"{auth_authen}\"?"
            "get-macro names the macro \"{client_adr}\", which neither Postfix nor Sendmail knows; did you mean \"{client_addr}\"?"]
           (warnings logs)))))

(deftest a-requested-name-that-no-mta-knows-is-reported-once-and-that-it-has-not-come
  (let [unknown (str "{" (fresh "x") "}")]
    (support/with-logs logs
      (milter/with-milter [server {:port 0, :name "f", :request-macros {:mail [unknown "{mail_addr}" "{auth_authen}" "i"]}
                                   :handlers (asking [])}]
        (mt/run-many server (repeat 5 {}) {:connections 2}))
      (is (= [(str ":request-macros names the macro \"" unknown "\", which neither Postfix nor Sendmail knows")
              (str "f has asked for the macro \"" unknown "\" at :mail, and the MTA has not sent it;"
                   " doc/macros.org says which MTA sends what")]
             (warnings logs))))))

(deftest a-macro-that-does-not-come-at-its-stage-is-reported-once
  (support/with-logs logs
    (milter/with-milter [server {:port 0, :name "f", :request-macros {:end-of-message ["{client_resolve}" "{client_addr}"]}
                                 :handlers (asking [])}]
      (mt/run-many server (repeat 5 {}) {:connections 2}))
    (is (= ["f has asked for the macro \"{client_resolve}\" at :end-of-message, and the MTA has not sent it; doc/macros.org says which MTA sends what"]
           (warnings logs)))))

(deftest an-mta-that-takes-no-lists-is-reported-once-with-what-it-must-be-configured-for
  (support/with-logs logs
    (milter/with-milter [server {:port 0, :name "f", :wants #{:cipher}, :handlers (asking [])}]
      (dotimes [_ 3]
        (mt/run-message server {} {:offer {:version 6, :actions #{:add-header}}})))
    (let [[warning & more] (warnings logs)]
      (is (nil? more))
      (is (re-find #"^f asks for macros, and the MTA takes no list of them.*:hello \{tls_version\} \{cipher\}.*:mail .*\{cipher\}"
                   warning)))))
