(ns temse.message-filter-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.filter :refer [message-filter]]
   [temse.milter :as milter]
   [temse.support :refer [thrown with-logs]]
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

(deftest what-a-body-beyond-the-limit-means-may-be-chosen
  (doseq [[outcome verdict] {:defer :temporary-failure, :reject :reject, :accept :accept}]
    (let [seen (atom 0)
          filter {:handlers (message-filter (fn [_ _] (swap! seen inc) [(act/discard)])
                                            {:max-body 8, :when-exceeded outcome})}]
      (with-open [session (mt/connect-to filter)]
        (is (= [verdict :discard]
               (mapv #(:verdict (mt/run-message session (assoc mail :body %)))
                     [(apply str (repeat 70000 "12345678\r\n")) "123456\r\n"])))
        (is (= 1 @seen))))))

(deftest no-more-of-a-body-is-kept-than-is-allowed
  (doseq [size [0 1 65535 65536 200000]]
    (let [[{:keys [body truncated?]}] (seen-by [(assoc mail :body (apply str (repeat 20000 "12345678\r\n")))]
                                               {:max-body size})]
      (is (= [(min size 200000) (< size 200000)] [(count body) truncated?])))))

(deftest a-message-of-many-fields-and-recipients-is-seen-whole
  (let [fields (vec (for [n (range 3000)] [(str "X-" n) (str n)]))
        recipients (vec (for [n (range 300)] (str "<" n "@example.com>")))
        [message] (seen-by [(assoc mail :headers fields :recipients recipients)] {})]
    (is (= [fields recipients] ((juxt :headers :recipients) message)))))

(deftest a-message-of-which-something-could-not-be-collected-is-not-accepted
  (let [seen (atom 0)
        handlers (message-filter (fn [_ _] (swap! seen inc) nil))]
    (doseq [event [:mail :recipient :header :body]
            problem [(OutOfMemoryError. "Java heap space") (StackOverflowError.) (Exception.)]]
      (with-logs _logs
        (is (= :temporary-failure
               (:verdict (mt/run-message {:handlers (update handlers event
                                                            (fn [handler]
                                                              (with-meta
                                                                (fn [_ _] (throw problem))
                                                                (meta handler))))}
                                         mail))))))
    (is (= 0 @seen))))

(deftest a-message-filter-refuses-what-it-does-not-understand
  (doseq [[options text] {{:max-bdy 1} "there is no key :max-bdy in the options of message-filter; did you mean :max-body?"
                          {:max-body -1} ":max-body must be a number of bytes, 0 or more, not -1"
                          {:body? nil} ":body? must be true or false"
                          {:when-exceeded :rejct} ":when-exceeded must be :truncate, :defer, :reject or :accept"}]
    (is (string/includes? (str (:message (thrown (message-filter (fn [_ _] nil) options)))) text)))
  (is (string/includes? (:message (thrown (message-filter {:max-body 1}))) "takes a function or var")))
