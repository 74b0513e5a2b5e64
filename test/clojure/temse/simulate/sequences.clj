(ns temse.simulate.sequences
  "The law of temse.compose/in-sequence behind a real MTA: three scripted filters that are configured as
  three milters, and the same three as one. The same mail must get the same replies, arrive in the same
  form, and look the same to each filter."
  (:require
   [clojure.data :as data]
   [clojure.java.io :as io]
   [clojure.pprint :as pprint]
   [clojure.string :as str]
   [clojure.test :refer [is]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.rose-tree :as rose]
   [temse.action :as act]
   [temse.compose :as compose]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.simulate.cases :as cases]
   [temse.simulate.lab :as lab])
  (:import
   (java.io Closeable File IOException)
   (java.util.concurrent ConcurrentHashMap)
   (java.util.concurrent.locks LockSupport)))

(set! *warn-on-reflection* true)

(defn- greeting-settles?
  "Returns true unless, of filters that have something to say before the first recipient, one comes before
  one that has at the greeting. In a sequence a refusal of the connection, or of the greeting, settles the
  client; Postfix goes on to ask the others what they say to the client's commands, and what the first has to say
  is what the client reads."
  [{:keys [scripts]}]
  (let [greeting #(or (:connect %) (:hello %))
        after-first (drop-while #(not (or (greeting %) (:mail %))) scripts)]
    (not-any? greeting (rest after-first))))

(def any-case
  "A mail, and a script for each of three filters."
  (gen/such-that greeting-settles?
                 (gen/hash-map :mail @#'cases/mail :scripts (gen/vector @#'cases/script 3))
                 100))

(defn- a-mail
  [headers]
  {:sender "<sender@example.org>"
   :options []
   :recipients ["<a@example.org>" "<b@example.org>"]
   :recipient-options [[] []]
   :headers headers
   :body "one\r\ntwo\r\n"})

(def hand-picked
  "Mails and scripts in which filters meet each other."
  (for [[headers & scripts]
        [[[["X-A" "1"] ["X-A" "2"] ["X-A" "3"]]
          {:end-of-message [(act/delete-header "X-A" 1)]}
          {:end-of-message [(act/change-header "X-A" 2 "third") (act/delete-header "X-A" 1)]}
          {:end-of-message [(act/change-header "X-A" 1 "last") (act/change-header "X-A" 2 "new")]}]
         [[["Subject" "hi"] ["X-Z" "z"]]
          {:end-of-message [(act/delete-header "Subject")]}
          {:end-of-message [(act/add-header "Subject" "again")]}
          {:end-of-message [(act/add-header "Subject" "") (act/delete-header "Subject")]}]
         [[["Subject" "hi"]]
          {:end-of-message [(act/insert-header 0 "X-Top" "a") (act/insert-header 1 "X-Second" "a")]}
          {:end-of-message [(act/insert-header 0 "X-Top" "b")]}
          {:end-of-message [(act/change-header "X-Top" 2 "c")]}]
         [[["Subject" "hi"]]
          {:end-of-message [(act/change-body "from a\nwithout an end")]}
          {:end-of-message [(act/add-header "X-B" "b")]}
          {:end-of-message [(act/change-body "from c\r\n")]}]
         [[["Subject" "hi"]]
          {:mail [(act/accept)]}
          {:connect [(act/accept)] :end-of-message [(act/reject)]}
          {:end-of-message [(act/add-header "X-C" "c")]}]
         [[["Subject" "hi"]]
          {:header {1 [(act/accept)]}}
          {:recipient {1 [(act/reject)]} :end-of-message [(act/add-header "X-B" "b")]}
          {:recipient {1 [(act/temporary-failure)]}}]
         [[["Subject" "hi"]]
          {:end-of-message [(act/change-sender "<new@example.org>") (act/add-recipient "<n@example.org>")]}
          {:end-of-message [(act/add-header "X-B" "b")]}
          {:end-of-message [(act/reject)]}]
         [[["Subject" "hi"]]
          {:end-of-message [(act/quarantine "a")]}
          {:end-of-message [(act/add-header "X-B" "b")]}
          {:end-of-message [(act/quarantine "c")]}]
         [[["Subject" "hi"]]
          {:end-of-message [(act/reply-code 554 "5.7.1" "first")]}
          {:header {1 [(act/reply-code 550 "5.7.1" "second")]}}
          {:body [(act/discard)]}]
         [[["Subject" "hi"]]
          {:data [(act/skip)]}
          {:end-of-headers [(act/discard)]}
          {:end-of-message [(act/reject)]}]
         [[["Subject" "hi"]]
          {}
          {:recipient {2 [(act/discard)]}}
          {:end-of-message [(act/reject)]}]
         [[["Received" "r"]]
          {:end-of-message [(act/add-header "Received" "a") (act/delete-header "Received" 1)]}
          {:end-of-message [(act/change-header "Received" 1 "b")]}
          {:end-of-message [(act/add-header "Received" "c") (act/add-header "Date" "today")
                            (act/delete-header "Date")]}]]]
    {:mail (a-mail headers) :scripts scripts}))

;; ---- labs

(defn- scripted
  "Returns the n-th filter. It follows its script and notes what it was told."
  [^ConcurrentHashMap given n leading-space?]
  {:leading-space? leading-space?
   :handlers (-> (into {} (for [event @#'lab/events]
                            [event (fn [e context] (#'lab/play context e))]))
                 (assoc :connect (fn [{:keys [port] :as e} context]
                                   (let [{:keys [scripts conversations]} (.get given port)]
                                     (#'lab/play (assoc context
                                                        ::lab/script (nth scripts n)
                                                        ::lab/conversation (nth conversations n))
                                                 e)))))})

(defn- start-lab
  ^Closeable [mta composed? spaces]
  (let [{:keys [start held address]} (lab/mtas mta)
        given (ConcurrentHashMap.)
        filters (map-indexed #(scripted given %1 %2) spaces)
        filters (if composed? [(apply compose/in-sequence filters)] filters)
        servers (mapv #(milter/start-milter (assoc % :address "inet:0@127.0.0.1" :daemon? true)) filters)
        sink (sink/start)
        running (start {:sink sink, :milters (mapv address servers)})]
    (assoc (lab/->Lab mta (:port running) sink #(held running) given nil (into [running sink] servers))
           :queue (:queue-directory running))))

;; ---- one mail

(defn- queued?
  [{:keys [queue]} id]
  (some #(.exists (io/file ^File queue % id)) ["incoming" "active" "deferred"]))

(defn- delivered
  "Returns the message once the MTA has dealt with it, or nil if it was thrown away."
  [{:keys [mta sink] :as lab} mark id]
  (let [here #(first (filter (#'cases/marked-as mark) @(:messages sink)))]
    (when (= :postfix mta)
      (loop [left 6000]
        (when (and (pos? left) (queued? lab id))
          (LockSupport/parkNanos 10000000)
          (recur (dec left)))))
    (some-> (here) (#'cases/arrived))))

(defn- seen
  "Returns what a filter was told of the content, if it has come to its end."
  [conversation]
  (let [events (map :event @conversation)]
    (when (some #(= :end-of-message (:event %)) events)
      {:headers (->> events
                     (filter #(= :header (:event %)))
                     (mapv (juxt :name :value)))
       :body (apply str (map #(smtp/octets (:data %)) (filter #(= :body (:event %)) events)))})))

(defn- envelope-seen
  "Returns what a filter was told of the envelope. After a refusal at connect the MTA still tells the others
  of what the client then says in vain."
  [conversation]
  (->> @conversation
       (map :event)
       (filter #(#{:connect :hello :mail :recipient :data} (:event %)))
       (mapv #(dissoc % :port))))

(defn- run-in
  [{:keys [held] :as lab} {:keys [mail scripts]}]
  (let [mark (str (random-uuid))
        conversations (vec (repeatedly 3 #(atom [])))
        smtp (lab/deliver lab (#'cases/marked mail mark) {:scripts scripts :conversations conversations})
        id (when (= 250 (:code (:message smtp))) (#'cases/queue-id smtp))
        message (when id (delivered lab mark id))]
    {:smtp (#'cases/real-dialogue smtp)
     :held (when (and id (nil? message)) (some? (find (held) id)))
     :message (some-> message
                      (update :headers #(mapv (fn [[n v]] [n (if (= v (str " " mark)) :mark v)]) %)))
     :envelopes (mapv envelope-seen conversations)
     :seen (mapv #(some-> (seen %)
                          (update :headers (partial mapv (fn [[n v]] [n (if (= (str/trim v) mark) :mark v)]))))
                 conversations)}))

(defn- difference
  [separate composed a-case]
  (let [a (run-in separate a-case)
        b (run-in composed a-case)
        [a b] (if (some #(or (:connect %) (:hello %)) (:scripts a-case))
                [(dissoc a :envelopes) (dissoc b :envelopes)]
                [a b])
        common (mapv (fn [x y] (when (and x y) [x y])) (:seen a) (:seen b))
        a' (assoc a :seen (mapv first common))
        b' (assoc b :seen (mapv second common))]
    (when (not= a' b')
      (let [[x y] (data/diff a' b')]
        {:separate x :composed y :case a-case}))))

(defn- run-twice
  "Sends the mail of a case twice over one SMTP connection, and returns the replies and what has arrived."
  [{:keys [^ConcurrentHashMap scripts port] :as lab} {:keys [mail] :as a-case}]
  (let [marks (vec (repeatedly 2 #(str (random-uuid))))
        given {:scripts (:scripts a-case) :conversations (vec (repeatedly 3 #(atom [])))}]
    (with-open [connection (#'lab/connect port #(.put scripts (long %) given))]
      (smtp/command connection "EHLO client.example.org")
      (mapv (fn [mark]
              (try
                (let [smtp (#'lab/send-mail connection (#'cases/marked mail mark))
                      id (when (= 250 (:code (:message smtp))) (#'cases/queue-id smtp))]
                  (smtp/command connection "RSET")
                  {:smtp (#'cases/real-dialogue smtp)
                   :message (some-> (when id (delivered lab mark id))
                                    (update :headers #(mapv (fn [[n v]] [n (if (= v (str " " mark)) :mark v)]) %)))})
                (catch IOException _
                  :hung-up)))
            marks))))

(defn- stays?
  "Returns true if no filter of the case hangs up on its client, or settles it."
  [{:keys [scripts]}]
  (not-any? #(or (:connect %) (:hello %) (re-find #":smtp-code 421" (pr-str %))) scripts))

(defn- difference-twice
  [separate composed a-case]
  (let [[a b] (map #(run-twice % a-case) [separate composed])]
    (when (not= a b)
      (let [[x y] (data/diff a b)]
        {:separate x :composed y :case a-case}))))

;; ---- many

(defn check
  "Runs cases, and n generated ones, behind an MTA in both ways."
  ([mta n hand-picked]
   (check mta n hand-picked [false false false]))
  ([mta n hand-picked spaces]
   (when-let [reason ((:unavailable (lab/mtas mta)))]
     (runner/skip! reason))
   (with-open [separate (start-lab mta false spaces)
               composed (start-lab mta true spaces)]
     (let [seed runner/seed
           generated (map rose/root (#'cases/trees any-case n seed))
           all (concat hand-picked generated)
           results (into (#'cases/in-parallel #(difference separate composed %) all)
                         (#'cases/in-parallel #(difference-twice separate composed %) (filter stays? all)))
           wrong (remove nil? results)]
       (runner/say (str "  " (count hand-picked) " hand-picked and " n " generated mails behind three filters of "
                        (name mta) " in both ways, once and twice over a connection, TEMSE_SEED=" seed))
       (is (= nil (when (seq wrong)
                    (with-out-str
                      (println (count wrong) "of" (count results) "differ, such as")
                      (run! (comp pprint/pprint (var-get #'cases/shortened)) (take 3 wrong))))))))))
