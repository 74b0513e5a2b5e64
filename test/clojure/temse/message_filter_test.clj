(ns temse.message-filter-test
  (:require
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.message :refer [message-filter]]
   [temse.milter :as milter]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CompletableFuture)))

(set! *warn-on-reflection* true)

(defn- seen-by
  "Returns the messages that a message filter sees of the mails, with the body as text."
  [mails options]
  (let [seen (atom [])
        handlers (message-filter (fn [message _] (swap! seen conj message) nil) options)]
    (with-open [session (mt/connect-to {:handlers handlers})]
      (run! #(mt/run-message session %) mails))
    (map #(update % :body (fn [body] (String. ^bytes body "UTF-8"))) @seen)))

(def ^:private mail
  {:sender "<a@example.org>"
   :options ["SIZE=100"]
   :recipients ["<b@example.com>" "<c@example.com>"]
   :headers [["Subject" "hi"] ["X-A" "1"]]
   :body "Hello.\r\n"})

(deftest a-message-filter-sees-the-whole-message
  (is (= [(assoc mail :truncated? false)] (seen-by [mail] {}))))

(deftest each-message-is-seen-by-itself
  (is (= [mail (assoc mail :headers [] :body "")]
         (map #(dissoc % :truncated?) (seen-by [mail (assoc mail :headers [] :body "")] {})))))

(deftest a-body-beyond-the-limit-is-cut-and-said-to-be
  (is (= [["Hel" true]] (map (juxt :body :truncated?) (seen-by [mail] {:max-body 3}))))
  (is (= [["Hello.\r\n" false]] (map (juxt :body :truncated?) (seen-by [mail] {:max-body 8})))))

(deftest what-the-function-returns-answers-the-message
  (doseq [returned [(fn [_ _] [(act/reject)])
                    (fn [_ context] (milter/respond context (act/reject)))
                    (fn [_ _] (CompletableFuture/completedFuture [(act/reject)]))]]
    (is (= :reject (:verdict (mt/run-message {:handlers (message-filter returned)} mail)))))
  (is (= :accept (:verdict (mt/run-message {:handlers (message-filter (fn [_ _] nil))} mail)))))

(deftest the-mta-waits-for-one-reply-per-message
  (let [{:keys [conversation]} (mt/run-message {:handlers (message-filter (fn [_ _] nil))} mail)]
    (is (= [:end-of-message]
           (for [{:keys [event response]} conversation
                 :when (and (seq response) (not= :options (:event event)))]
             (:event event))))))

(deftest an-mta-that-waits-for-every-reply-gets-them
  (is (= :accept (:verdict (mt/run-message {:handlers (message-filter (fn [_ _] nil))}
                                           mail
                                           {:offer {:version 2}})))))

(deftest a-body-that-is-not-wanted-is-not-asked-for
  (let [{:keys [agreement]} (mt/run-message {:handlers (message-filter (fn [_ _] nil) {:body? false})}
                                            mail)]
    (is (contains? (:protocol agreement) :no-body))))
