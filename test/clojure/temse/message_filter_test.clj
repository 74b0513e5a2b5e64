(ns temse.message-filter-test
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.filter :refer [changed message-filter]]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.support :refer [content envelope opening send-events thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CompletableFuture)))

(set! *warn-on-reflection* true)

(defn- seen-by
  "Returns the messages that a message filter sees of the mails, with the body as text."
  [mails options]
  (let [seen (atom [])
        handlers (message-filter (fn [message _]
                                   (swap! seen conj (update message :body #(String. (mail/body-bytes %) "UTF-8")))
                                   nil)
                                 options)]
    (with-open [session (mt/connect-to {:handlers handlers})]
      (run! #(mt/run-message session %) mails))
    @seen))

(defn- as-mail
  "Returns of a message what its client has sent."
  [message]
  (dissoc message :client :macros :queue-id :at :truncated?))

(def ^:private mail
  {:sender "<a@example.org>"
   :options ["SIZE=100"]
   :recipients ["<b@example.com>" "<c@example.com>"]
   :headers [["Subject" "hi"] ["X-A" "1"]]
   :body "Hello.\r\n"})

(deftest a-message-filter-sees-the-whole-message
  (let [[message] (seen-by [mail] {})]
    (is (= mail (as-mail message)))
    (is (= {:at :end-of-message, :truncated? false} (select-keys message [:at :truncated?])))))

(deftest each-message-is-seen-by-itself
  (is (= [mail (assoc mail :headers [] :body "")]
         (map as-mail (seen-by [mail (assoc mail :headers [] :body "")] {})))))

(deftest a-body-beyond-the-limit-is-cut-and-said-to-be
  (doseq [[size expected] {16 ["Hel" true], 21 ["Hello.\r\n" false], 13 ["" true]}]
    (is (= [expected]
           (map (juxt :body :truncated?)
                (seen-by [mail] {:max-message size, :when-exceeded :truncate}))))))

(deftest a-header-beyond-the-limit-is-cut-and-said-to-be
  (is (= [[[["Subject" "hi"]] "" true]]
         (map (juxt :headers :body :truncated?)
              (seen-by [mail] {:max-message 10, :when-exceeded :truncate})))))

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
                                            {:max-message 21, :when-exceeded outcome})}]
      (with-open [session (mt/connect-to filter)]
        (is (= [verdict :discard]
               (mapv #(:verdict (mt/run-message session (assoc mail :body %)))
                     [(apply str (repeat 70000 "12345678\r\n")) "123456\r\n"])))
        (is (= 1 @seen))))))

(deftest no-more-of-a-body-is-kept-than-is-allowed
  (doseq [size [0 1 65535 65536 200000]]
    (let [[{:keys [body truncated?]}] (seen-by [(assoc mail :body (apply str (repeat 20000 "12345678\r\n")))]
                                               {:max-message (+ 13 size), :when-exceeded :truncate})]
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
  (doseq [[options text] {{:max-mesage 1} "there is no key :max-mesage in the options of message-filter; did you mean :max-message?"
                          {:max-message -1} ":max-message must be a number of bytes, 0 or more, not -1"
                          {:max-body 3} ":max-body is :max-message now"
                          {:at :body} ":at must be :end-of-headers, :end-of-message, or a set of both"
                          {:handlers {:end-of-message identity}} "itself answers :end-of-message"
                          {:handlers {:recipent identity}} "there is no event :recipent; did you mean :recipient?"
                          {:body? nil} ":body? must be true or false"
                          {:when-exceeded :rejct} ":when-exceeded must be :truncate, :defer, :reject or :accept"}]
    (is (string/includes? (str (:message (thrown (message-filter (fn [_ _] nil) options)))) text)))
  (is (string/includes? (:message (thrown (message-filter {:max-message 1}))) "takes a function or var")))

;; ---- what a message is

(defn- judging
  "Returns what f returns of the message that a message filter sees of a mail."
  ([f given]
   (judging f given {}))
  ([f given options]
   (let [seen (promise)]
     (mt/run-message {:handlers (message-filter (fn [message _] (deliver seen (f message)) nil)
                                                options)}
                     given)
     (deref seen 0 nil))))

(deftest a-message-knows-its-client-its-macros-and-its-name
  (let [message (judging identity (assoc mail
                                         :client {:host-name "mail.example.org" :address "2001:db8::1"
                                                  :port 4711 :family :inet6 :greeting "me.example.org"}
                                         :macros {:mail {"auth_authen" "alice"}
                                                  :end-of-message {"i" "4AB"}}))]
    (is (= {:host-name "mail.example.org" :address "2001:db8::1" :port 4711 :family :inet6
            :greeting "me.example.org"}
           (:client message)))
    (is (= "alice" (get-in message [:macros :mail "auth_authen"])))
    (is (= "4AB" (:queue-id message)))))

(deftest a-message-seen-is-played-again-as-it-was
  (let [again (fn [message] (judging #(update % :body mail/body-bytes) message))
        seen (again (assoc mail :client {:address "192.0.2.77"} :recipient-options [["NOTIFY=NEVER"] []]))]
    (is (= "192.0.2.77" (:address (:client seen))))
    (is (= (update seen :body seq) (update (again seen) :body seq)))))

(deftest the-exact-bytes-of-a-field-are-there-where-the-leading-space-was-agreed
  (let [seen (promise)
        fields [["X-A" "1"] ["X-B" "1" "1"] ["X-C" "\t1" "\t1"] ["X-D" " 1"] ["X-E" "" ""]]]
    (mt/run-message {:leading-space? true
                     :handlers (message-filter (fn [message _] (deliver seen (:headers message)) nil))}
                    (assoc mail :headers fields))
    (is (= fields @seen))))

(deftest where-an-old-mta-cannot-keep-the-leading-space-no-second-one-appears
  (let [seen (promise)
        report (mt/run-message {:leading-space? true
                                :optional-actions #{:add-header :change-header}
                                :handlers (message-filter
                                            (fn [message context]
                                              (deliver seen (:headers message))
                                              (changed context (update message :headers conj ["X-Two" " v"]))))}
                               (assoc mail :headers [["Subject" "hi"]])
                               {:offer :sendmail-8.13})]
    (is (= [["Subject" "hi"]] @seen))
    (is (= [["Subject" "hi"] ["X-Two" " v"]] (:headers (:message report))))))

(deftest a-body-is-read-by-clojures-own-functions
  (doseq [memory [0 65536]]
    (is (= [8 "Hello.\r\n" "Hello." "Hello.\r\n" "Hello.\r\n" "Hello.\r\n"]
           (judging (fn [{:keys [body]}]
                      (let [out (java.io.ByteArrayOutputStream.)
                            writer (java.io.StringWriter.)
                            file (doto (java.io.File/createTempFile "temse" ".eml") .deleteOnExit)]
                        (io/copy body out)
                        (io/copy body writer :encoding "UTF-8")
                        (io/copy body file)
                        [(count body)
                         (with-open [in (io/input-stream body)] (slurp in))
                         (with-open [reader (io/reader body)] (first (line-seq reader)))
                         (str out)
                         (str writer)
                         (slurp file)]))
                    mail
                    {:memory-per-message memory})))))

(deftest a-body-is-gone-with-its-message
  (let [{:keys [body]} (judging identity mail)]
    (is (= 8 (count body)))
    (is (= :stale-context (:milter/error (thrown (slurp (io/input-stream body))))))
    (is (string/includes? (:message (thrown (mail/body-bytes body))) "the message is over"))
    (is (= :stale-context (:milter/error (thrown (mt/run-message {:handlers {}} {:body body})))))))

;; ---- when it is called

(deftest at-the-end-of-headers-there-is-no-body-yet
  (let [calls (atom [])
        judge (fn [{:keys [at headers body]} _] (swap! calls conj [at (count headers) (count body)]) nil)
        run (fn [at] (reset! calls [])
              (mt/run-message {:handlers (message-filter judge {:at at})} mail))]
    (is (contains? (:protocol (:agreement (run :end-of-headers))) :no-body))
    (is (= [[:end-of-headers 2 0]] @calls))
    (run #{:end-of-headers :end-of-message})
    (is (= [[:end-of-headers 2 0] [:end-of-message 2 8]] @calls))))

(deftest a-message-refused-at-the-end-of-headers-has-no-end
  (let [calls (atom [])
        handlers (message-filter (fn [{:keys [at]} _] (swap! calls conj at) [(act/reject)])
                                 {:at #{:end-of-headers :end-of-message}})]
    (is (= [:reject :end-of-headers] ((juxt :verdict :at) (mt/run-message {:handlers handlers} mail))))
    (is (= [:end-of-headers] @calls))))

;; ---- other handlers beside it

(defn- recipients-beside
  "Returns the recipients of the message where this handler stands beside the filter."
  [handler options]
  (let [seen (promise)]
    (with-logs _logs
      (mt/run-message (merge {:handlers (message-filter (fn [message _]
                                                          (deliver seen ((juxt :recipients :recipient-options) message))
                                                          nil)
                                                        {:handlers {:recipient handler}})}
                             options)
                      (assoc mail
                             :recipients ["<b@example.com>" "<refused@example.com>" "<c@example.com>"]
                             :recipient-options [["NOTIFY=NEVER"] [] ["NOTIFY=DELAY"]])))
    (deref seen 0 nil)))

(deftest a-recipient-that-a-handler-refuses-is-not-in-the-message
  (doseq [[how refuse] {"in what it returns" (fn [context] (milter/respond context (act/reject)))
                        "by actions alone" (fn [_] [(act/temporary-failure)])
                        "by a code" (fn [_] [(act/reply-code 550 "no")])
                        "later" (fn [_] (CompletableFuture/supplyAsync (reify java.util.function.Supplier
                                                                         (get [_] [(act/reject)]))))
                        "by sending" (fn [context] (milter/send-action (act/reject) context))
                        "since it fails" (fn [_] (throw (Exception. "failed")))}]
    (is (= [["<b@example.com>" "<c@example.com>"] [["NOTIFY=NEVER"] ["NOTIFY=DELAY"]]]
           (recipients-beside (fn [{:keys [address]} context]
                                (if (= "<refused@example.com>" address) (refuse context) context))
                              {}))
        how)))

(deftest recipients-beyond-the-limit-are-not-in-the-message
  (is (= [["<b@example.com>"] [["NOTIFY=NEVER"]]]
         (recipients-beside (fn [_ context] context) {:max-recipients 1}))))

(deftest handlers-beside-the-filter-are-called-and-may-answer
  (let [heard (atom [])
        watch (fn [event] (fn [_ context] (swap! heard conj event) context))
        handlers (message-filter (fn [_ _] (swap! heard conj :message) nil)
                                 {:handlers (into {} (map (juxt identity watch))
                                                  [:connect :hello :mail :recipient :data :header
                                                   :end-of-headers :body :message-end :disconnect])})]
    (is (= :accept (:verdict (mt/run-message {:handlers handlers} mail))))
    (is (= [:connect :hello :mail :recipient :recipient :data :header :header :end-of-headers :body
            :message :message-end :disconnect]
           @heard))
    (is (= :reject (:verdict (mt/run-message {:handlers (message-filter (fn [_ _] nil)
                                                                        {:handlers {:mail (fn [_ _] [(act/reject)])}})}
                                             mail))))))

(deftest a-handler-that-skips-keeps-the-filter-from-accepting
  (doseq [event [:recipient :header :body]]
    (with-logs logs
      (is (= :temporary-failure
             (:verdict (mt/run-message {:handlers (message-filter (fn [_ _] [(act/accept)])
                                                                  {:handlers {event (fn [_ _] [(act/skip)])}})}
                                       (assoc mail :body (apply str (repeat 70000 "12345678\r\n")))))))
      (is (some #(string/includes? % "has answered :skip") (map :message @logs))))))

(deftest recipients-that-the-mta-has-rejected-are-not-in-the-message
  (let [seen (promise)]
    (with-open [session (mt/connect-to {:rejected-recipients? true
                                        :handlers (message-filter (fn [message _]
                                                                    (deliver seen (:recipients message))
                                                                    nil))})]
      (send-events session opening)
      (mt/send-event session {:event :mail, :sender "<a@example.org>", :options []})
      (mt/send-macros session :recipient {"rcpt_mailer" "error"})
      (mt/send-event session {:event :recipient, :address "<x@example.com>", :options []})
      (mt/send-macros session :recipient {"rcpt_mailer" "local"})
      (mt/send-event session {:event :recipient, :address "<b@example.com>", :options []})
      (send-events session content))
    (is (= ["<b@example.com>"] @seen))))

(deftest a-filter-that-comes-in-the-middle-of-a-message-defers-it
  (let [handlers (atom (message-filter (fn [_ _] [(act/accept)])))
        redefined (message-filter (fn [_ _] [(act/accept)]))]
    (with-logs logs
      (with-open [session (mt/connect-to {:init (fn [context] context)
                                          :handlers (-> @handlers
                                                        (assoc :data (fn [_ context]
                                                                       (assoc context :handlers redefined))))})]
        (is (= :temporary-failure (:verdict (mt/run-message session mail))))
        (is (= :accept (:verdict (mt/run-message session mail)))))
      (is (some #(string/includes? % "had begun before")
                (map :message @logs))))))

(deftest a-message-filter-that-is-replaced-in-the-middle-of-a-message-defers-it
  (let [others {:header (fn [_ context] context)
                :end-of-message (fn [_ _] [(act/accept)])}
        handlers (message-filter (fn [_ _] [(act/accept)])
                                 {:handlers {:data (fn [_ context] (assoc context :handlers others))}})]
    (with-logs logs
      (with-open [session (mt/connect-to {:init identity, :handlers handlers})]
        (is (= :temporary-failure (:verdict (mt/run-message session mail)))))
      (is (some #(string/includes? % "had begun before its handlers were there")
                (map :message @logs))))))

(deftest what-a-wrapper-does-to-a-handler-that-collects-is-done
  (let [fields (atom [])
        handlers (message-filter (fn [{:keys [headers]} _] [(act/add-header "X-Fields" (str (count headers)))]))
        wrapped (update handlers :header
                        (fn [handler]
                          (with-meta (fn [event context]
                                       (swap! fields conj (:name event))
                                       (apply handler [event context]))
                                     (meta handler))))]
    (is (= [{:action :add-header, :name "X-Fields", :value "2"}]
           (:modifications (mt/run-message {:handlers wrapped, :actions #{:add-header}} mail))))
    (is (= ["Subject" "X-A"] @fields))))

;; ---- memory and files

(def ^:private large
  (assoc mail :body (apply str (repeat 30000 "12345678\r\n"))))

(deftest a-body-that-finds-no-memory-is-kept-in-a-file-of-no-name
  (let [directory (.toFile (java.nio.file.Files/createTempDirectory "temse-bodies" (make-array java.nio.file.attribute.FileAttribute 0)))]
    (try
      (is (= [300000 []]
             (judging (fn [{:keys [body]}] [(count (mail/body-bytes body)) (vec (.list directory))])
                      large
                      {:directory directory})))
      (is (= [] (vec (.list directory))))
      (finally
        (.delete directory)))))

(deftest a-message-that-can-be-kept-nowhere-is-deferred
  (let [seen (atom 0)
        run (fn [given options]
              (with-logs _logs
                (:verdict (mt/run-message {:handlers (message-filter (fn [_ _] (swap! seen inc) [(act/accept)])
                                                                     options)}
                                          given))))]
    (is (= :temporary-failure (run large {:directory "/nonexistent"})))
    (is (= :temporary-failure (run mail {:message-memory 100})))
    (is (= 0 @seen))
    (is (= :accept (run mail {:directory "/nonexistent"})))
    (is (= :accept (run large {:message-memory 2000})))))

(deftest memory-is-given-back-with-each-message
  (let [handlers (message-filter (fn [_ _] nil) {:message-memory 10000})]
    (with-open [session (mt/connect-to {:handlers handlers})]
      (is (= #{:accept} (set (repeatedly 50 #(:verdict (mt/run-message session large)))))))
    (dotimes [_ 20]
      (with-open [session (mt/connect-to {:handlers handlers})]
        (send-events session (concat opening (envelope) (take 1 content)))))
    (is (= :accept (:verdict (mt/run-message {:handlers handlers} large))))))

(deftest an-option-of-a-wrong-kind-says-what-would-be-right
  (doseq [[option value] {:message-memory -1, :memory-per-message "1", :directory nil, :when-exceeded :drop, :at #{}, :handlers [] :body? 1}]
    (is (= option (:option (thrown (message-filter (fn [_ _] nil) {option value})))) option)))
