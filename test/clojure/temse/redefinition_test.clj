(ns temse.redefinition-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing use-fixtures]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [with-logs]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(defn on-end-of-message [_event context]
  (respond context (act/add-header "X-Seen" "once")))

(def handlers
  {:end-of-message #'on-end-of-message})

(defn init [context]
  (assoc context :handlers handlers))

(defn on-error [_error _event _context]
  [(act/temporary-failure)])

(defn- with-old-definitions
  "Puts back what a test redefines."
  [test]
  (with-redefs [on-end-of-message on-end-of-message
                handlers handlers
                init init
                on-error on-error]
    (test)))

(use-fixtures :each with-old-definitions)

(defn- evaluate
  "Evaluates a definition in this namespace, as a user at the REPL does."
  [definition]
  (binding [*ns* (the-ns 'temse.redefinition-test)]
    (eval definition)))

(defn- value
  [session]
  (-> (mt/run-message session {}) :modifications first :value))

(deftest a-function-evaluated-again-is-used-on-the-same-connection
  (doseq [given [{:end-of-message #'on-end-of-message} handlers #'handlers]]
    (with-old-definitions
      #(milter/with-milter [server {:port 0, :handlers given}]
         (with-open [session (mt/connect-to server)]
           (is (= "once" (value session)))
           (evaluate '(defn on-end-of-message [_event context]
                        (respond context (act/add-header "X-Seen" "twice"))))
           (is (= "twice" (value session))))))))

(deftest a-handler-map-evaluated-again-is-used-on-the-same-connection-if-given-as-var
  (with-open [session (mt/connect-to {:handlers #'handlers})
              fixed (mt/connect-to {:handlers handlers})]
    (is (= ["once" "once"] (map value [session fixed])))
    (evaluate '(def handlers
                 {:end-of-message (fn [_event context]
                                    (respond context (act/add-header "X-Seen" "new map")))}))
    (is (= ["new map" "once"] (map value [session fixed])))))

(deftest a-new-event-is-heard-from-the-next-connection-on
  (with-open [session (mt/connect-to {:handlers #'handlers})]
    (is (= "once" (value session)))
    (evaluate '(def handlers
                 {:mail (fn [_event _context] [(act/reject)])
                  :end-of-message #'on-end-of-message}))
    (is (= "once" (value session)))
    (is (= :reject (:verdict (mt/run-message {:handlers #'handlers} {}))))))

(deftest an-event-taken-out-of-the-map-is-no-longer-handled
  (with-open [session (mt/connect-to {:handlers #'handlers})]
    (is (= "once" (value session)))
    (evaluate '(def handlers {}))
    (is (nil? (value session)))))

(deftest init-evaluated-again-is-used-for-the-next-connection
  (milter/with-milter [server {:port 0, :init #'init}]
    (with-open [session (mt/connect-to server)]
      (is (= "once" (value session)))
      (evaluate '(defn init [context]
                   (assoc context :handlers
                          {:end-of-message (fn [_event context]
                                             (respond context (act/add-header "X-Seen" "anew")))})))
      (is (= "once" (value session)))
      (is (= "anew" (value server))))))

(deftest handlers-that-init-looks-up-are-new-for-the-next-connection
  (milter/with-milter [server {:port 0, :init init}]
    (is (= "once" (value server)))
    (evaluate '(def handlers
                 {:end-of-message (fn [_event context]
                                    (respond context (act/add-header "X-Seen" "looked up")))}))
    (is (= "looked up" (value server)))))

(deftest on-error-evaluated-again-is-used-at-once
  (with-logs _logs
    (let [failing {:mail (fn [_ _] (throw (Exception. "no luck")))}]
      (with-open [session (mt/connect-to {:handlers failing, :on-error #'on-error})]
        (is (= :temporary-failure (:verdict (mt/run-message session {}))))
        (evaluate '(defn on-error [_error _event _context] [(act/reject)]))
        (is (= :reject (:verdict (mt/run-message session {}))))))))

(deftest mail-is-deferred-while-a-definition-is-half-finished
  (with-logs logs
    (with-open [session (mt/connect-to {:handlers #'handlers})]
      (doseq [[half-finished text]
              [['(defn on-end-of-message [_event context] (respond context (undefined-yet)))
                nil]
               ['(defn on-end-of-message [_event] nil) "Wrong number of args (2)"]
               ['(def on-end-of-message nil) ""]
               ['(def handlers {:end-of-messages #'on-end-of-message})
                "did you mean :end-of-message?"]
               ['(def handlers [#'on-end-of-message]) ":handlers must be a map"]
               ['(def handlers) nil]]]
        (if text
          (do (with-old-definitions
                #(do (evaluate half-finished)
                     (is (= :temporary-failure (:verdict (mt/run-message session {})))
                         half-finished)))
              (is (string/includes? (last (support/messages logs :error)) text)))
          (try (evaluate half-finished) (catch Exception _ nil)))
        (is (= "once" (value session)))))))

(deftest a-removed-definition-defers-mail-until-it-is-back
  (with-logs logs
    (let [handler (intern 'temse.redefinition-test 'removed (fn [_ _] [(act/accept)]))]
      (with-open [session (mt/connect-to {:handlers {:mail handler}})]
        (is (= :accept (:verdict (mt/run-message session {}))))
        (.unbindRoot ^clojure.lang.Var handler)
        (is (= :temporary-failure (:verdict (mt/run-message session {}))))
        (is (string/includes? (first (support/messages logs :error)) "unbound fn"))
        (intern 'temse.redefinition-test 'removed (fn [_ _] [(act/discard)]))
        (is (= :discard (:verdict (mt/run-message session {})))))
      (ns-unmap 'temse.redefinition-test 'removed))))

(deftest handlers-that-become-no-handlers-defer-all-mail-until-they-are-mended
  (doseq [given [nil [] {:end-of-message nil} {:end-of-mesage #'on-end-of-message} 1]]
    (with-logs logs
      (milter/with-milter [server {:port 0, :handlers #'handlers}]
        (with-open [session (mt/connect-to server)]
          (is (= "once" (value session)))
          (with-redefs [handlers given]
            (dotimes [_ 3]
              (is (= :temporary-failure (:verdict (mt/run-message session {})))))
            (testing "to new connections, too"
              (is (thrown? java.io.IOException (mt/run-message server {}))))
            (is (= 1 (count (support/messages logs :error)))))
          (is (= "once" (value session)))
          (with-redefs [handlers given]
            (is (= :temporary-failure (:verdict (mt/run-message session {}))))
            (is (= 2 (count (support/messages logs :error))))))))))

(deftest on-error-decides-what-mail-gets-while-there-are-no-handlers
  (with-logs _logs
    (with-open [session (mt/connect-to {:handlers #'handlers, :on-error (fn [_ _ _] (act/reject))})]
      (with-redefs [handlers nil]
        (is (= [:reject :reject] (repeatedly 2 #(:verdict (mt/run-message session {})))))))))

(deftest a-new-connection-that-finds-an-empty-map-of-handlers-is-not-served
  (with-logs logs
    (milter/with-milter [server {:port 0, :handlers #'handlers}]
      (with-redefs [handlers {}]
        (is (thrown? java.io.IOException (mt/run-message server {}))))
      (is (string/includes? (str (support/messages logs :warn)) "is empty")))))
