(ns temse.shadow-mta-test
  "A candidate in the shadow of a filter behind real MTAs: what is delivered is what the live filter makes
  of it, and each mail is compared."
  (:require
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.gallery.support :as gallery]
   [temse.shadow :as shadow]
   [temse.support :refer [awaited]]))

(set! *warn-on-reflection* true)

(def ^:private live
  {:handlers {:end-of-message (fn [_ _] [(act/add-header "X-Scanned" "by the live one")])}
   :actions #{:add-header}})

(def ^:private candidate
  {:handlers {:mail (fn [{:keys [sender]} _]
                      (when (= "<refused@example.org>" sender)
                        [(act/reply-code 550 "5.7.1" "No")]))
              :end-of-message (fn [_ _] [(act/add-header "X-Scanned" "by the live one")])}
   :actions #{:add-header}})

(defn- check
  [mta]
  (let [report (atom {})
        finished (promise)]
    (add-watch report ::finished (fn [_ _ _ {:keys [conversations]}]
                                   (when (= 2 conversations)
                                     (deliver finished true))))
    (gallery/behind mta
                    (shadow/shadow live candidate {:report report})
                    {}
                    (fn [running]
                      (doseq [sender ["<sender@example.org>" "<refused@example.org>"]]
                        (is (= ["by the live one"]
                               (keep (fn [[field value]] (when (= "X-Scanned" field) value))
                                     (:headers (gallery/sent running {:sender sender}))))))
                      (awaited finished)
                      (is (= {:conversations 2, :disagreed 1, :dropped 0, :failed 0}
                             (select-keys @report [:conversations :disagreed :dropped :failed])))
                      (is (= [:mail {:sender "<refused@example.org>"}]
                             (let [{:keys [event]} (first (:samples @report))]
                               [(:event event) (select-keys event [:sender])])))))))

(deftest only-the-live-filter-answers-postfix
  (check :postfix))

(deftest only-the-live-filter-answers-sendmail
  (check :sendmail))
