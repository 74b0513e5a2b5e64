(ns temse.soak.traffic
  "Mixed traffic for the server that a soak watches: bench/filters/soak_filter.clj. What is sent follows from
  a seed and a number, and so does what has to be answered, which is compared with every answer."
  (:require
   [clojure.string :as string]
   [soak-filter :as soak-filter]
   [temse.mail :as mail]
   [temse.test :as mt])
  (:import
   (java.io IOException InputStream)
   (java.net InetSocketAddress Socket)
   (java.nio.charset StandardCharsets)
   (java.util SplittableRandom)))

(set! *warn-on-reflection* true)

;; ---- chance

(defn- chance
  "Returns what the number n of a seed draws from."
  ^SplittableRandom [seed n]
  (SplittableRandom. (unchecked-add (unchecked-multiply (long seed) 1000003) (long n))))

(defn- below
  [^SplittableRandom random n]
  (.nextInt random (int n)))

(defn- one-of
  [random choices]
  (nth choices (below random (count choices))))

(defn- weighted
  "Returns one of pairs of a weight and a value."
  [random pairs]
  (loop [left (below random (transduce (map first) + pairs)), [[weight value] & more] pairs]
    (if (< (long left) (long weight))
      value
      (recur (- (long left) (long weight)) more))))

;; ---- mails

(def ^:private actions
  "By filter, what is ordered, with weights."
  {:events [[40 :go] [10 :refuse] [5 :defer] [5 :discard] [5 :accept] [1 :throw] [15 :block] [15 :pend] [1 :never]]
   :whole [[50 :go] [15 :replace] [10 :refuse] [5 :defer] [5 :discard] [1 :throw] [7 :block] [7 :pend]]
   :composed [[50 :go] [10 :replace] [10 :refuse] [5 :defer] [5 :discard] [1 :throw] [10 :block] [10 :pend]]})

(def ^:private harmless-actions
  "What is ordered where all events of a mail shall be sent, with weights."
  [[2 :go] [1 :block] [1 :pend]])

(def ^:private moments
  "By filter, the events at which it obeys."
  {:events [:mail :recipient :header :end-of-headers :body :end-of-message]
   :whole [:end-of-message]
   :composed [:mail :recipient :header :end-of-headers :body :end-of-message]})

(def ^:private events
  "By filter, the events that the MTA sends of a mail, without its end."
  {:events [:mail :recipient :header :end-of-headers :body]
   :whole [:mail :recipient :header :body]
   :composed [:mail :recipient :header :end-of-headers :body]})

(def ^:private body-sizes
  "By filter, octets with weights. Bodies of more than 64 KiB go to files where they are kept."
  {:events [[50 300] [40 4000] [10 100000]]
   :whole [[40 300] [30 4000] [20 100000] [9 600000] [1 2500000]]
   :composed [[40 300] [40 4000] [15 100000] [5 600000]]})

(def ^:private line
  (str (string/join (repeat 7 "seventy-eight ")) "octets in all.\r\n"))

(defn- body
  [token octets]
  (str token "\r\n" (string/join (repeat (quot (long octets) (count line)) line))))

(defn- order-of
  [random filter {:keys [actions early?]}]
  (let [action (weighted random actions)
        possible (cond->> (moments filter)
                   ;; An MTA that does not wait for the answer about the only recipient goes on with the mail.
                   early? (remove #{:recipient})
                   ;; Values have half a second there, which may be too little on a busy machine.
                   (= :pend action) (remove #{:end-of-headers}))]
    {:action action
     :at (case action
           :never :end-of-headers
           :replace :end-of-message
           (one-of random (vec possible)))}))

(defn- message
  "Returns a mail that orders one of :actions, and the order."
  [random filter token options]
  (let [{:keys [action at] :as order} (order-of random filter options)]
    {:order (assoc order :token token)
     :mail {:sender (str "<" (name action) "." (name at) "." token "@soak.example>")
            :recipients [(str "<" token "@example.com>")]
            :headers (into [["From" "ann@soak.example"] ["Subject" token]]
                           (for [i (range (below random 20))]
                             [(str "X-Field-" i) (string/join (repeat (below random 100) "x"))]))
            :body (body token (weighted random (body-sizes filter)))}}))

;; ---- what has to be answered

(defn- report-field
  [field token headers body]
  {:action :add-header
   :name field
   :value (soak-filter/seen token headers [(mail/body-bytes body)])})

(defn- modifications
  "Returns what a filter has to change of a mail that it lets pass."
  [filter {:keys [action token]} {:keys [headers body]}]
  (let [events (report-field "X-Events" token headers body)
        whole (report-field "X-Whole" token headers body)
        replaced (when (= :replace action)
                   [{:action :change-body, :body (str token "\r\n")}])]
    (case filter
      :events (if (= :accept action) [] [events])
      :whole (cons whole replaced)
      :composed (let [headers (conj headers [(:name events) (:value events)])]
                  (concat [events (report-field "X-Whole" token headers body)] replaced)))))

(defn- expected
  "Returns the part of a report that has to be."
  [filter {{:keys [action token] :as order} :order, :keys [mail]}]
  (let [refused (fn [verdict reply] {:verdict verdict, :reply reply, :modifications []})]
    (case action
      :refuse (refused :reject {:action :reply-code, :smtp-code 550, :enhanced-code "5.7.1", :text token})
      :defer (refused :temporary-failure {:action :reply-code, :smtp-code 451, :enhanced-code "4.7.1", :text token})
      :discard (refused :discard {:action :discard})
      (:throw :never) (refused :temporary-failure {:action :temporary-failure})
      {:verdict :accept, :modifications (modifications filter order mail)})))

(defn- found
  "Returns the part of a report that is compared with what is expected."
  [report expected]
  (-> (select-keys report (keys expected))
      (update :modifications
              (partial mapv #(cond-> % (:body %) (update :body (fn [^bytes body]
                                                                 (String. body StandardCharsets/ISO_8859_1))))))))

(defn- check
  "Throws ex-info if a report is not as it has to be."
  [filter message report]
  (let [expected (expected filter message)
        found (found report expected)]
    (when-not (= expected found)
      (throw (ex-info "a wrong reply" {:filter filter
                                       :order (:order message)
                                       :expected expected
                                       :found (merge found (select-keys report [:at :closed-by :problem]))})))))

;; ---- connections

(def ^:private patience-ms
  "How long any answer may take, on a machine that may be busy."
  60000)

(defn- undisturbed?
  "Returns true for orders whose answers come at once."
  [{:keys [action]}]
  (#{:go :refuse :defer :discard :accept :replace} action))

(defn- report-latencies
  "Gives the nanoseconds of each answer to `record`, with the filter that gave it."
  [filter report record]
  (doseq [{:keys [response nanos]} (:conversation report)
          :when (and nanos (seq response))]
    (record filter nanos)))

(defn- play
  "Plays mails over one connection. Returns how many."
  [{:keys [filter address messages faults]} record]
  (with-open [session (mt/connect-to address {:faults faults, :timeout patience-ms})]
    (doseq [{:keys [order mail] :as message} messages
            :let [report (mt/run-message session mail)]]
      (check filter message report)
      (when (and (nil? faults) (undisturbed? order))
        (report-latencies filter report record))))
  (count messages))

(defn- check-end
  "Plays a mail whose connection a fault ends, and throws ex-info if it does not end so."
  [{:keys [address messages faults closed-by]} _]
  (let [{:keys [mail order]} (first messages)
        report (mt/run-message address mail {:faults faults, :timeout patience-ms})]
    (when-not (= [closed-by nil] ((juxt :closed-by :verdict) report))
      (throw (ex-info "the connection did not end as it should"
                      {:order order, :faults faults, :report (select-keys report [:verdict :at :closed-by :problem])})))
    1))

(defn- socket
  ^Socket [address]
  (let [[_ port] (re-matches #"inet:(\d+)@127\.0\.0\.1" address)]
    (doto (Socket.)
      (.connect (InetSocketAddress. "127.0.0.1" (int (parse-long port))))
      (.setSoTimeout patience-ms))))

(defn- reset
  "Begins an offer and resets the connection."
  [{:keys [address]} _]
  (with-open [socket (socket address)]
    (.setSoLinger socket true 0)
    (.write (.getOutputStream socket) (byte-array [0 0 0 13 79 0 0])))
  1)

(defn- leave
  "Connects and goes."
  [{:keys [address]} _]
  (.close (socket address))
  1)

(defn- browse
  "Asks for a page as a browser does, and waits until the server hangs up."
  [{:keys [address]} _]
  (with-open [socket (socket address)]
    (.write (.getOutputStream socket) (.getBytes "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" StandardCharsets/US_ASCII))
    (let [^InputStream in (.getInputStream socket)]
      (try
        (.readAllBytes in)
        (catch IOException _))))
  1)

;; ---- what is drawn

(def ^:private harmless-faults
  "Faults that must change nothing, with weights."
  [[60 nil]
   [10 [{:fault :split, :size 1000}]]
   [5 [{:fault :split, :size 1000} {:fault :merge}]]
   [5 [{:fault :slow, :size 5000, :millis 1}]]
   [10 [{:fault :early}]]
   [10 [{:fault :merge}]]])

(def ^:private kinds
  "What happens on a connection, with weights."
  [[80 :mails] [8 :cut] [4 :garbage] [3 :reset] [3 :leave] [2 :browse]])

(defn connection
  "Returns what the connection n of a seed is to do, a map with its :kind and :filter. `addresses` maps the
  filters to where they listen."
  [addresses seed n]
  (let [random (chance seed n)
        kind (weighted random kinds)
        filter (weighted random [[50 :events] [25 :whole] [25 :composed]])
        ending (fn [fault closed-by possible]
                 {:messages [(message random filter (str seed "-" n) {:actions harmless-actions})]
                  :closed-by closed-by
                  :faults [{:fault fault, :after (one-of random possible)}]})]
    (merge {:kind kind, :filter filter, :address (addresses filter)}
           (case kind
             :mails (let [faults (weighted random harmless-faults)
                          options {:actions (actions filter)
                                   :early? (some (comp #{:early :merge} :fault) faults)}]
                      {:messages (mapv #(message random filter (str seed "-" n "-" %) options)
                                       (range (inc (long (below random 4)))))
                       :faults faults})
             :cut (ending :drop-connection :mta (conj (events filter) :end-of-message))
             :garbage (ending :garbage :milter (events filter))
             nil))))

(defn run
  "Does what a connection is to do, and returns how many mails or attempts that were. `record` is called with the
  filter and the nanoseconds of each answer that came without waits and faults. Throws where an answer is wrong or
  missing."
  [{:keys [kind] :as connection} record]
  ((case kind
     :mails play
     (:cut :garbage) check-end
     :reset reset
     :leave leave
     :browse browse)
   connection
   record))
