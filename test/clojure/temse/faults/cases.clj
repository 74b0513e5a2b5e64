(ns temse.faults.cases
  "Mails through a real MTA whose connections to the milter are harmed: what must come of each.

  A case is one SMTP connection with a few mails and a plan of faults, all made of one seed. A mail that the MTA
  defers stays in the queue of the client, which sends it again when the faults are over."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [temse.faults.filters :as filters]
   [temse.harness.fault-proxy :as fault-proxy]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.proxy.tap :as tap]
   [temse.milter :as milter]
   [temse.proxy :as proxy]
   [temse.report :as report]
   [temse.support :as support])
  (:import
   (java.io Closeable File FileNotFoundException IOException)
   (java.util Random)
   (java.util.concurrent ExecutorService Executors LinkedBlockingQueue TimeUnit)
   (temse.protocol EventType ProtocolFlag)))

(set! *warn-on-reflection* true)

(def patience-seconds
  "How long the MTAs wait for the milter."
  10)

(def ^:private clients 8)

(def ^:private most-rounds
  "How often the client sends what is in its queue."
  3)

;; ---- cases

(defn- one-of
  [^Random random choices]
  (nth choices (.nextInt random (count choices))))

(defn- weighted
  "Returns one of the choices, given as [weight choice …]."
  [random choices]
  (one-of random (mapcat (fn [[weight choice]] (repeat weight choice)) (partition 2 choices))))

(def ^:private event-codes "ODCHMRTLNBEAQ")

(def ^:private reply-codes "Ocaydhimb+-qp")

(defn- incident
  [^Random random direction]
  (when-let [fault (weighted random [4 :cut 4 :reset 4 :half-close 2 :delay 2 :duplicate 3 nil])]
    (merge
      {:fault fault}
      (if (.nextBoolean random)
        {:code (one-of random (case direction :events event-codes :replies reply-codes))
         :nth (weighted random [4 1 1 2 1 3])}
        {:nth (inc (.nextInt random (inc (.nextInt random (case direction :events 40 :replies 12)))))})
      {:at (weighted random [2 0 1 1/100 1 1/10 2 1/2 1 99/100 2 1])
       :millis (if (zero? (.nextInt random 20))
                 (* 1000 (+ 3 (long patience-seconds)))
                 (.nextInt random 150))})))

(defn- styles
  [^Random random]
  (let [way #(hash-map :style (weighted random [3 :whole 1 :split 1 :dribble 1 :merge])
                       :seed (.nextInt random))]
    {:events (way), :replies (way)}))

(defn- body
  [^Random random]
  (let [lines (inc (.nextInt random (weighted random [6 3 1 200 1 3000])))
        word (.nextInt random)]
    (str/join (for [i (range lines)] (str "line " i " with " word " and some more of it\r\n")))))

(defn- mail
  [^Random random id refusing?]
  (let [what (one-of random (vec (concat (keys filters/whats) ["stamped" "everything" "large-body"])))
        recipient (fn [n]
                    (if (and refusing? (< 1 (long n)) (zero? (.nextInt random 4)))
                      (str "<no" n "." id "@example.com>")
                      (str "<r" n "." id "@example.com>")))]
    {:id id
     :what what
     :sender (str "<" what "." id "@example.org>")
     :recipients (mapv recipient (range 1 (+ 2 (.nextInt random 3))))
     :headers (into [["Subject" (str "subject of " id)] ["X-Id" id]]
                    (for [n (range (.nextInt random 4))] ["X-More" (str n " " (.nextInt random))]))
     :body (body random)
     :interrupted? (zero? (.nextInt random 8))}))

(def ^:private filter-names
  [:handlers :pending :message :pending-message :at-the-end :composed :proxied])

(defn a-case
  "Returns the case of a seed."
  [seed]
  (let [random (Random. (* 7919 (long seed)))
        filter-name (one-of random filter-names)
        direction (one-of random [:events :replies])
        incident (incident random direction)
        styles (cond-> (styles random)
                 (= :duplicate (:fault incident)) (assoc-in [direction :style] :whole))]
    {:seed seed
     :filter filter-name
     :mails (mapv #(mail random (str "c" seed "m" %) (not= :at-the-end filter-name))
                  (range (weighted random [2 1 2 2 2 3])))
     :plan (assoc-in styles [direction :incident] incident)}))

(defn- unharmed
  "Returns the case of mails that are sent again."
  [filter-name mails]
  {:filter filter-name, :mails mails, :plan {}})

;; ---- what went over the wire, for people and for checks

(defn- short-of
  "Returns an exchange with little of the body."
  [{:keys [event response] :as exchange}]
  (let [shorten (fn [{:keys [data] :as m}]
                  (cond-> m (bytes? data) (assoc :data (byte-array (take 40 data)))))]
    (assoc exchange :event (shorten event) :response (when response (mapv shorten response)))))

(defn- listening
  "Returns [on-bytes end]: end returns the exchanges of the milter's side of a connection."
  []
  (let [exchanges (atom [])
        problems (atom [])
        tap (tap/tap #(swap! exchanges conj (short-of %)) #(swap! problems conj [%1 (ex-message %2)]))]
    [(fn [side octets]
       (locking tap
         (tap side octets (System/nanoTime))))
     (fn []
       (locking tap
         (tap :end))
       {:conversation @exchanges, :problems @problems})]))

(defn- no-reply-codes
  "Returns the codes of events to which the milter said that no reply comes."
  [{:keys [conversation]}]
  (let [agreed (set (some #(when (= :options (:event (:event %))) (:protocol (first (:response %)))) conversation))]
    (into #{\D \A \Q}
          (for [^EventType type (EventType/values)
                :let [^ProtocolFlag flag (.-noReplyBy type)]
                :when (and flag (agreed (.-keyword flag)))]
            (char (.-code type))))))

(defn- wrong-answers
  "Returns what is wrong with what the milter has said."
  [{:keys [conversation]}]
  (for [{:keys [event response remarks]} conversation
        :let [bad (cond
                    (= :unasked (:event event)) "an answer to nothing"
                    (some #(= :undecodable (:action %)) response) "an answer that is no packet"
                    (seq (remove #(= :no-reply (:remark %)) remarks)) (report/remark-text (first remarks)))]
        :when bad]
    (str "the milter gave " bad)))

(defn- effect
  "Returns what a fault that has happened may come to for the mails of its connection: nil, nothing; :deferred, they
  may be deferred; :doubled, the filter may have seen something of one twice, and they may be deferred; :shifted, the
  MTA may take a reply for that to another event, of which nothing can be said."
  [{:keys [plan]} heard]
  (let [[fault direction code] (deref (:happened plan) 0 nil)
        {:keys [millis]} (:incident (get plan direction))]
    (case fault
      nil nil
      :delay (when (< (* 1000 (long patience-seconds)) (long millis)) :deferred)
      :duplicate (cond
                   (= :replies direction) :shifted
                   (#{\D \A \Q} code) nil
                   (#{\O \C \E} code) :deferred
                   ((no-reply-codes heard) code) :doubled
                   :else :shifted)
      :deferred)))

;; ---- the SMTP client

(defn- refused?
  [reply]
  (<= 400 (:code reply 0)))

(defn- text-of
  [reply]
  (str/join " " (:lines reply)))

(defn- transaction
  "Sends a mail and returns its :result, :accepted, :refused, :deferred or, where the MTA hung up, :lost, with the
  :reply and the [address code text] of :recipients."
  [connection {:keys [sender recipients headers body interrupted?]}]
  (try
    (when interrupted?
      (smtp/command connection "MAIL FROM:<interrupted@example.org>")
      (smtp/command connection "RCPT TO:<nobody@example.com>")
      (smtp/command connection "RSET"))
    (let [{:keys [mail rcpt data message]}
          (smtp/transact connection {:sender sender
                                     :recipients recipients
                                     :headers (for [[field value] headers] [field (str " " value)])
                                     :body body})
          last-reply (or message data (when (refused? mail) mail) (first (filter refused? rcpt)))]
      (when (and last-reply (refused? last-reply) (not= 421 (:code last-reply)))
        (smtp/command connection "RSET"))
      {:result (condp <= (:code last-reply 0)
                 500 :refused
                 400 :deferred
                 200 :accepted
                 :lost)
       :reply last-reply
       :recipients (mapv #(vector %1 (:code %2) (text-of %2)) recipients rcpt)})
    (catch IOException _
      {:result :lost})))

(defn- send-over
  "Sends mails over a connection that has come about, and returns what came of each."
  [^Closeable connection mails]
  (with-open [_ connection]
    (let [ready? (try
                   (not (or (refused? (:greeting connection))
                            (refused? (smtp/command connection "EHLO client.example.org"))))
                   (catch IOException _ false))]
      (loop [mails mails, results []]
        (if-let [mail (and ready? (first mails))]
          (let [{:keys [result reply] :as outcome} (transaction connection mail)]
            (if (or (= :lost result) (= 421 (:code reply)))
              (conj results outcome)
              (recur (rest mails) (conj results outcome))))
          (do (when ready?
                (try
                  (smtp/command connection "QUIT")
                  (catch IOException _)))
              results))))))

(defn- connected
  "Connects to the MTA, whose connection to the milter gets the plan. The greeting is waited for elsewhere, so that
  others may connect meanwhile."
  [{:keys [port ^LinkedBlockingQueue plans]} plan]
  (locking plans
    (.put plans plan)
    (let [connection (future (try
                               (smtp/connect {:port port})
                               (catch IOException _)))]
      (when-not (deref (:taken plan) 30000 nil)
        (throw (ex-info "the MTA has not connected to its milter" {})))
      connection)))

(defn- run-case
  "Runs a case and returns [mail outcome] of each mail, and the case with its :effect and what was :heard."
  [{:keys [addresses] :as lab} {:keys [filter mails] :as given}]
  (let [[on-bytes end] (listening)
        plan (assoc (:plan given)
                    :milter (addresses filter)
                    :on-bytes on-bytes
                    :happened (promise)
                    :taken (promise))
        connection @(connected lab plan)
        outcomes (if connection (send-over connection mails) [])
        heard (end)
        given (assoc given :plan plan)]
    [(map vector mails (concat outcomes (repeat {:result :unsent})))
     (assoc given :heard heard, :effect (effect given heard))]))

;; ---- what must come of a mail

(defn- fate
  [{:keys [what]}]
  (:fate (filters/whats what)))

(defn- foreign
  "Returns ids of other mails in a text."
  [text id]
  (remove #{id} (re-seq #"c\d+m\d+" text)))

(defn- recipient-problems
  [{:keys [id]} {:keys [result recipients]}]
  (for [[address code text] recipients
        :let [no? (str/starts-with? address "<no")
              problem (cond
                        (seq (foreign text id)) "has the reply of another mail"
                        (and no? (= 250 code)) "was let pass"
                        (and (not no?) (<= 500 (long code))) "was refused"
                        (and (= :accepted result) (<= 400 (long code) 499)) "was deferred, and the mail accepted")]
        :when (and problem (not (and no? (= 250 code) (not= :accepted result))))]
    (str "recipient " address " " problem ": " code " " text)))

(defn- problems
  "Returns what is wrong with the outcome of a mail."
  [{:keys [id] :as mail} {:keys [result reply] :as outcome} effect]
  (let [fate (fate mail)
        text (text-of reply)]
    (concat
      (recipient-problems mail outcome)
      (when (seq (foreign text id))
        [(str "the reply of another mail: " text)])
      (case result
        :accepted (when (#{:refused :deferred} fate)
                    ["accepted"])
        :refused (when-not (and (= :refused fate) (str/includes? text id))
                   [(str "refused: " (:code reply) " " text)])
        (when (and (nil? effect) (not= :deferred fate))
          [(str (name result) " without a reason: " (:code reply) " " text)])))))

(defn- queued?
  "Returns true if a mail remains in the client's queue."
  [mail {:keys [result]}]
  (and (#{:deferred :lost :unsent} result) (not= :deferred (fate mail))))

;; ---- what has been delivered

(defn- expected
  "Returns what is to arrive of a mail."
  [{:keys [id what sender recipients headers body]} outcome]
  (let [{:keys [fate subject? recipients?] lines :body} (filters/whats what)
        taken (for [[address code] (:recipients outcome) :when (= 250 code)] address)]
    {:sender sender
     :recipients (if recipients? (sort (conj (rest taken) (filters/added-recipient id))) (sort taken))
     :subject (if subject? (filters/new-subject id) (get (into {} headers) "Subject"))
     :stamp (when-not (= :passed fate)
              (filters/stamp id (filters/digest sender taken headers (smtp/octet-bytes body))))
     :body (if lines (filters/new-body id lines) body)}))

(defn- arrived
  "Returns what has arrived of a mail."
  [{:keys [sender recipients] :as message}]
  (let [field (into {} (map (fn [[field value]] [field (str/trim value)])) (sink/headers message))]
    {:sender sender
     :recipients (sort recipients)
     :subject (field "Subject")
     :stamp (field "X-Stamp")
     :body (smtp/octets (sink/body message))}))

(defn- shown
  [text]
  (if (and (string? text) (< 200 (count text)))
    (str (subs text 0 100) "… of " (count text))
    (pr-str text)))

(defn- differences
  "Returns what differs of a delivered mail from what is to be delivered. Of one of which the filter may have seen
  something twice it must have what the filter said."
  [stamps {:keys [id] :as mail} outcome effect message]
  (let [wanted (expected mail outcome)
        got (arrived message)
        stamp (:stamp got)
        doubled? (= :doubled effect)]
    (for [k (keys wanted)
          :when (not (if (and doubled? (= :stamp k) (:stamp wanted))
                       (and (contains? stamps stamp) (str/starts-with? (str stamp) (str id " ")))
                       (or (= (k wanted) (k got))
                           (and doubled? (= :recipients k)))))]
      (str "delivered with " (name k) " " (shown (k got)) " instead of " (shown (k wanted))))))

(defn- id-of
  [{:keys [sender]}]
  (second (filters/parse sender)))

(defn- delivery-problems
  "Returns [mail problem] of all mails, given [outcome effect] by mail, and the messages that have arrived."
  [stamps outcomes held messages]
  (let [by-id (group-by id-of messages)
        held (frequencies held)]
    (for [[{:keys [id] :as mail} [outcome effect]] outcomes
          :when (not= :shifted effect)
          :let [fate (fate mail)
                accepted? (= :accepted (:result outcome))
                delivered (by-id id)
                wanted (if (and accepted? (#{:delivered :passed} fate)) 1 0)]
          problem (concat
                    (when-not (= wanted (count delivered))
                      [(str "delivered " (count delivered) " times instead of " wanted)])
                    (when-not (= (if (and accepted? (= :held fate)) 1 0) (held id 0))
                      [(str "held " (held id 0) " times")])
                    (mapcat #(differences stamps mail outcome effect %) delivered))]
      [mail problem])))

(defn- shifted
  "Returns the mails of which nothing can be said."
  [outcomes]
  (for [[mail [_ effect]] outcomes :when (= :shifted effect)] mail))

(defn- unfiltered
  "Returns those of the mails that have been delivered as no filter has said."
  [mails messages]
  (let [unstamped (into #{} (comp (remove (comp :stamp arrived)) (map id-of)) messages)]
    (filter #(and (unstamped (:id %)) (not= :passed (fate %))) mails)))

(defn- files
  [^File directory]
  (filter #(.isFile ^File %) (file-seq directory)))

(defn- held-ids
  "Returns the ids of the mails that an MTA holds, by their stamps."
  [held-files]
  (for [file held-files
        :let [text (try
                     (slurp file :encoding "ISO-8859-1")
                     (catch FileNotFoundException _ ""))
              [_ id] (re-find #"X-Stamp: (\w+) " text)]]
    id))

(defn- postfix-files
  [^File queue & names]
  (mapcat #(files (io/file queue %)) names))

(def queues
  "How the queue of an MTA is looked at: the files of :held mails, and what is :on-its-way."
  {:postfix {:held #(postfix-files % "hold")
             :on-its-way #(postfix-files % "incoming" "active" "deferred" "maildrop")}
   :sendmail {:held #(filter (fn [^File file] (str/starts-with? (.getName file) "hf")) (files %))
              :on-its-way #(filter (fn [^File file] (str/starts-with? (.getName file) "qf")) (files %))}})

;; ---- all of them

(defn- in-parallel
  "Returns what f returns of each element, in order."
  [f elements]
  (let [executor ^ExecutorService (Executors/newFixedThreadPool clients)]
    (try
      (mapv deref (doall (for [element elements]
                           (let [result (promise)]
                             (.execute executor #(deliver result (try
                                                                   (f element)
                                                                   (catch Throwable e e))))
                             (delay (let [value @result]
                                      (if (instance? Throwable value) (throw value) value)))))))
      (finally
        (.shutdownNow executor)
        (.awaitTermination executor 30 TimeUnit/SECONDS)))))

(defn- cases-of
  "Returns cases of successive seeds with so many mails together."
  [seed mails]
  (loop [cases [], left mails, seed seed]
    (if (pos? (long left))
      (let [one (a-case seed)]
        (recur (conj cases one) (- (long left) (count (:mails one))) (inc (long seed))))
      cases)))

(defn- sent-again
  "Sends what is in the client's queue until it is empty, and returns [outcome effect] by mail."
  [lab outcomes filter-of]
  (loop [outcomes outcomes, round 0]
    (let [queue (for [[mail [outcome effect]] outcomes
                      :when (and (not= :shifted effect) (queued? mail outcome))]
                  mail)]
      (if (or (empty? queue) (= round most-rounds))
        outcomes
        (recur (into outcomes
                     (mapcat (fn [[results _]] (for [[mail outcome] results] [mail [outcome nil]])))
                     (in-parallel (fn [[filter-name mails]] (run-case lab (unharmed filter-name mails)))
                                  (mapcat (fn [[filter-name mails]]
                                            (for [part (partition-all 20 mails)] [filter-name part]))
                                          (group-by filter-of queue))))
               (inc round))))))

(defn- told
  "Returns a problem of a case with what is needed to repeat it."
  [mta {:keys [seed filter plan heard effect]} mail problem]
  (str/join "\n"
            (concat [(str (name mta) ", TEMSE_SEED=" seed " TEMSE_CASES=1, mail " (:id mail) " (" (:what mail) "): " problem)
                     (str "  filter " filter ", effect " effect ", events " (:events plan) ", replies " (:replies plan)
                          ", happened " (deref (:happened plan) 0 nil))]
                    (map #(str "  " %) (report/ladder heard)))))

(def ^:private plans-empty-millis 30000)

(defn- with-lab
  "Calls f with an MTA before a fault proxy before servers of all filters; of one also
  behind a proxy of temse. `address-of` returns the address of a name, to listen on."
  [{:keys [start address]} address-of f]
  (let [notes {:stamps (atom #{}), :open (atom 0)}
        plans (LinkedBlockingQueue.)
        servers (into {} (for [[title options] (filters/filters notes)]
                           [title (milter/start-milter (assoc options :address (address-of (name title)) :daemon? true))]))
        addresses (update-vals servers milter/milter-address)]
    (try
      (with-open [proxied (proxy/start-proxy {:listen (address-of "proxied")
                                              :milter (:handlers addresses)
                                              :daemon? true})
                  proxy (fault-proxy/start (address-of "faults")
                                           #(or (.poll plans plans-empty-millis TimeUnit/MILLISECONDS)
                                                (throw (ex-info "nobody has asked the MTA to connect" {}))))
                  sink (sink/start)
                  mta ^Closeable (start {:sink sink, :milters [(address (:address proxy))]})]
        (f {:port (:port mta)
            :plans plans
            :servers (vals servers)
            :addresses (assoc addresses :proxied (proxy/proxy-address proxied))
            :notes notes
            :sink sink
            :queue-directory (:queue-directory mta)}))
      (finally
        (run! milter/stop-milter (vals servers))))))

(defn- run-in-lab
  [mta {:keys [sink servers notes queue-directory] :as lab} seed mails]
  (let [{:keys [held on-its-way]} (queues mta)
        cases (cases-of seed mails)
        done (in-parallel (partial run-case lab) cases)
        filter-of (into {} (for [{:keys [filter mails]} cases, mail mails] [mail filter]))
        case-of (into {} (for [[results one] done, [mail] results] [mail one]))
        first-outcomes (into {} (for [[results {:keys [effect]}] done, [mail outcome] results] [mail [outcome effect]]))
        outcomes (sent-again lab first-outcomes filter-of)]
    (support/await-true #(empty? (on-its-way queue-directory)))
    (run! (fn [server] (support/await-true #(zero? (long (:connections (milter/milter-status server))))))
          servers)
    {:incidents (keep (fn [[_ {:keys [plan]}]] (deref (:happened plan) 0 nil)) done)
     :results (frequencies (map (comp :result first val) first-outcomes))
     :shifted (count (shifted first-outcomes))
     :unfiltered (count (unfiltered (shifted first-outcomes) @(:messages sink)))
     :problems (concat
                 (for [[mail [outcome effect]] (distinct (concat first-outcomes outcomes))
                       :when (not= :shifted effect)
                       problem (problems mail outcome effect)]
                   (told mta (case-of mail) mail problem))
                 (for [[_ {:keys [heard] :as one}] done
                       problem (wrong-answers heard)]
                   (told mta one (first (:mails one)) problem))
                 (for [[mail problem] (delivery-problems @(:stamps notes) outcomes (held-ids (held queue-directory))
                                                         @(:messages sink))]
                   (told mta (case-of mail) mail problem))
                 (for [[mail [outcome effect]] outcomes
                       :when (and (not= :shifted effect) (queued? mail outcome))]
                   (told mta (case-of mail) mail "never accepted"))
                 (when-not (zero? (long @(:open notes)))
                   [(str "filters of handlers have begun " @(:open notes) " messages more than have ended")]))}))

(defn run
  "Sends so many mails through an MTA, of cases of successive seeds, over sockets of a kind, :tcp or :unix, and
  returns

    :problems    ; texts, what was not as it must be
    :incidents   ; the [fault direction code at] that have happened
    :results     ; how often which came of a mail at first
    :shifted     ; mails of which nothing can be said
    :unfiltered  ; how many of these have been delivered unfiltered"
  [mta kind started seed mails]
  (support/with-addresses kind
    (fn [address-of]
      (with-lab started address-of #(run-in-lab mta % seed mails)))))
