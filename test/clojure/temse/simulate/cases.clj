(ns temse.simulate.cases
  "Generated mails and scripts of a filter, run through a real MTA and through the simulation.

  What is compared is what the SMTP client heard and what the next hop got. Taken out of both, in
  `heard` and `arrived`, is what is not the filter's matter: queue ids, the MTA's version, the
  keywords of EHLO, and the values of the fields that the MTA made."
  (:require
   [clojure.data :as data]
   [clojure.pprint :as pprint]
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.random :as random]
   [clojure.test.check.rose-tree :as rose]
   [clojure.walk :as walk]
   [temse.action :as act]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.mta :as mta]
   [temse.runner :as runner]
   [temse.simulate.lab :as lab]
   [temse.simulate.limits :as limits])
  (:import
   (java.util.concurrent Callable ExecutorService Executors Future)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

;; ---- mails

(def ^:private addresses
  ["<a@example.org>" "<b@example.org>" "<B@example.org>" "<b@EXAMPLE.org>" "<c@example.com>"])

(def ^:private address-fields
  #{"from" "to" "cc" "bcc" "reply-to" "sender" "errors-to" "disposition-notification-to"
    "apparently-to" "resent-from" "resent-to" "resent-sender" "resent-bcc"})

(def ^:private field-name
  "Names that meet each other often, and those that MTAs treat in their own way."
  (gen/frequency
    [[6 (gen/elements ["X-A" "x-a" "X-B" "Subject"])]
     [4 (gen/elements ["Received" "received" "Date" "From" "To" "Message-Id" "Message-ID"])]
     [1 (gen/elements ["Reply-To" "Cc" "Sender" "Comments" "MIME-Version" "Return-Path"
                       "Content-Length" "X-Authentication-Warning" "Via" "Resent-From" "Resent-Date"
                       "Resent-Message-Id" "Resent-To" "Return-Receipt-To" "Bcc" "Errors-To"
                       "Disposition-Notification-To" "Apparently-To" "Resent-Sender" "Resent-Bcc"
                       "X400-Received" "Mail-From" "Content-Type" "Full-Name" "Precedence"
                       "Priority" "Errors" "X-Priority"])]]))

(defn- field-value
  [header-name blank?]
  (if (address-fields (str/lower-case header-name))
    (gen/elements ["x@example.org" "y@example.com"])
    (gen/elements (cond-> ["1" "two" "one\n\ttwo" "a\n b\n  c" "caf\u00e9" " spaced" "from" "100%"
                           ". dot" "From the top" "x  y" "\ttab"]
                    blank? (into ["" " "])))))

(def ^:private long-value
  "Values around the 60,000 octets at which Postfix cuts a field, in one line or several."
  (gen/let [line-length (gen/elements [75 950])
            size (gen/frequency [[3 (gen/choose 59900 60100)] [1 (gen/choose 53000 62000)]])
            last-length (gen/choose 1 900)]
    (let [line (apply str (repeat (dec (long line-length)) "x"))
          lines (repeat (quot (- (long size) (long last-length)) (inc (long line-length))) line)]
      (str/join "\n " (concat lines [(apply str (repeat last-length "y"))])))))

(def ^:private odd-value
  "Values that only clients can send."
  (gen/elements ["a\u0000b" "\u0000" "a\rb" "\r" "a\r\n b" "a\u0000\n\tb" "end\r" "\u0000end"]))

(def ^:private header
  "A field of the client, as in messages."
  (gen/let [header-name field-name
            value (gen/frequency [[60 (field-value header-name true)]
                                  [2 (if (address-fields (str/lower-case header-name))
                                       (gen/return "x@example.org")
                                       odd-value)]
                                  [1 (if (address-fields (str/lower-case header-name))
                                       (gen/return "x@example.org")
                                       long-value)]])
            tight? (gen/frequency [[8 (gen/return false)] [1 (gen/return true)]])]
    (if (and tight? (not (str/starts-with? value " ")))
      [header-name value value]
      [header-name value])))

(def ^:private line
  (gen/elements ["" "." ".." "hello" "From here" "caf\u00e9" "x y " ".com" "0123456789" "\t"]))

(def ^:private odd-line
  (gen/elements ["a\u0000b" "\u0000" "a\rb" "\r" "end\r" "\r\r"]))

(def ^:private body
  (gen/fmap #(str/join (map (fn [l] (str l "\r\n")) %))
            (gen/vector (gen/frequency [[20 line] [1 odd-line]]) 0 5)))

(def ^:private dsn-options
  (gen/elements [["NOTIFY=NEVER"] ["NOTIFY=SUCCESS"] ["NOTIFY=FAILURE,DELAY"]
                 ["NOTIFY=SUCCESS,FAILURE" "ORCPT=rfc822;q@example.net"]
                 ["ORCPT=rfc822;r@example.net"]]))

(def ^:private recipient-options
  (gen/frequency [[5 (gen/return [])] [3 dsn-options]]))

(def ^:private sender-options
  (gen/frequency [[3 (gen/return [])]
                  [2 (gen/elements [["RET=HDRS"] ["RET=FULL" "ENVID=one"] ["ENVID=two"]
                                    ["BODY=8BITMIME" "SIZE=1000"]])]]))

(def ^:private mail
  (gen/let [sender (gen/frequency [[4 (gen/return "<sender@example.org>")]
                                   [1 (gen/return "<>")]
                                   [1 (gen/return "<Sender+x@EXAMPLE.org>")]])
            options sender-options
            recipients (gen/vector (gen/tuple (gen/elements addresses) recipient-options) 0 4)
            headers (gen/vector header 0 7)
            body body]
    {:sender sender
     :options options
     :recipients (mapv first recipients)
     :recipient-options (mapv second recipients)
     :headers headers
     :body body}))

;; ---- what the filter does

(def ^:private index
  (gen/frequency [[12 (gen/choose 0 4)] [2 (gen/choose 5 12)] [1 (gen/elements [1000 2147483647])]]))

(def ^:private position
  (gen/frequency [[12 (gen/choose 0 12)] [2 (gen/elements [13 20 1000 65536 2147483646 2147483647])]]))

(def ^:private new-body
  (gen/fmap str/join
            (gen/vector (gen/elements ["a" "b\r\n" "\r\n" "\n" "\r" "\r\r\n" ".\r\n" "."
                                       "caf\u00e9\r\n" " " "\t" "\n.\n"])
                        0 8)))

(def ^:private header-modification
  (gen/let [header-name field-name
            value (gen/frequency [[30 (field-value header-name true)]
                                  [1 (if (address-fields (str/lower-case header-name))
                                       (gen/return "x@example.org")
                                       long-value)]])
            index index
            position position
            kind (gen/elements [:add :insert :change :change :delete])]
    (case kind
      :add (act/add-header header-name value)
      :insert (act/insert-header position header-name value)
      :change (act/change-header header-name index value)
      :delete (act/delete-header header-name index))))

(def ^:private envelope-modification
  (gen/one-of
    [(gen/fmap act/add-recipient
               (gen/elements (into addresses ["d@example.org" "a@example.org"
                                              "<e@example.org>, <a@example.org>"])))
     (gen/fmap (fn [[address parameters]] (act/add-recipient address parameters))
               (gen/tuple (gen/elements addresses) dsn-options))
     (gen/return (act/add-recipient "<f@example.org>" ["FOO=bar"]))
     (gen/fmap act/delete-recipient
               (gen/elements (into addresses ["b@example.org" "<a@example.org>,<c@example.com>"])))
     (gen/fmap act/change-sender (gen/elements ["<new@example.org>" "new@example.com" "<>"]))
     (gen/fmap (fn [parameters] (act/change-sender "<new@example.org>" parameters))
               (gen/elements [["RET=HDRS"] ["ENVID=three" "RET=FULL"] ["BODY=7BIT" "RET=FULL"]
                              ["FOO=bar" "RET=HDRS"]]))]))

(def ^:private modifications
  (gen/let [most (gen/vector (gen/frequency [[5 header-modification] [2 envelope-modification]])
                             0 8)
            body (gen/frequency [[4 (gen/return nil)]
                                 [2 new-body]
                                 [1 (gen/vector new-body 2 3)]
                                 [1 (gen/fmap #(str/join (repeat % "0123456 \r\n"))
                                              (gen/choose 6000 14000))]])
            progress? (gen/frequency [[8 (gen/return false)] [1 (gen/return true)]])
            quarantine? (gen/frequency [[15 (gen/return false)] [1 (gen/return true)]])]
    (cond-> most
      progress? (conj (act/progress))
      body (conj (act/change-body body))
      quarantine? (conj (act/quarantine "why not")))))

(def ^:private refusal
  (gen/one-of
    [(gen/return (act/reject))
     (gen/return (act/temporary-failure))
     (gen/let [code (gen/frequency [[2 (gen/elements [550 554 553 450 451 452 421 500])]
                                    [1 (gen/choose 400 599)]])
               enhanced? gen/boolean
               text (gen/elements ["no" "100% sure" "5 days" "caf\u00e9" "one\ntwo" "one\ntwo\nthree"
                                   "a b  c" "" "50% more" "<x@example.org>... gone"])]
       (if enhanced?
         (act/reply-code code (str (quot code 100) ".7.1") text)
         (act/reply-code code text)))]))

(def ^:private verdict
  (gen/frequency [[5 refusal] [2 (gen/return (act/discard))] [2 (gen/return (act/accept))]]))

(def ^:private early-verdict
  (gen/frequency [[5 refusal] [1 (gen/return (act/accept))]]))

(def ^:private early-script
  "A verdict at some event, or at several recipients."
  (gen/one-of
    [(gen/let [event (gen/elements [:connect :hello]) reply early-verdict] {event [reply]})
     (gen/let [event (gen/elements [:mail :data :end-of-headers :body])
               reply verdict]
       {event [reply]})
     (gen/let [number (gen/choose 1 3) reply verdict] {:header {number [reply]}})
     (gen/elements [{:body [(act/skip)]}
                    {:header {1 [(act/skip)]}}
                    {:recipient {1 [(act/skip)]}}])
     (gen/fmap #(hash-map :recipient %)
               (gen/map (gen/choose 1 5)
                        (gen/fmap vector (gen/frequency [[6 refusal] [1 (gen/return (act/discard))]
                                                         [1 (gen/return (act/accept))]]))
                        {:min-elements 1 :max-elements 5}))]))

(def ^:private script
  (gen/let [early (gen/frequency [[3 (gen/return {})] [2 early-script]])
            modifications modifications
            last-reply (gen/frequency [[8 (gen/elements [[] [(act/accept)]])]
                                       [1 (gen/fmap vector verdict)]])]
    (assoc early :end-of-message (into modifications last-reply))))

(def any-case
  "A mail, and a script of the filter."
  (gen/hash-map :mail mail :script script))

;; ---- what is compared

(def ^:private made
  "Values of fields that an MTA has made."
  #"(?s) (from .*\sby mx\.example\.org .*|\w+, \d+ \w+ \d+ [\d:]+ GMT|<.*@mx\.example\.org>)")

(defn- text-octets
  [text]
  (smtp/octets (Text/encodeBytes text)))

(defn- raw-field
  "Returns name and raw value of a field of a message, as octets with CR LF."
  [[header-name value raw :as header]]
  [header-name
   (if (and (:made (meta header)) (not (str/ends-with? header-name "From")))
     :made
     (str/replace (text-octets (or raw (str " " value))) "\n" "\r\n"))])

(defn- notify-options
  "Returns parameters with the conditions of NOTIFY in order, without an ORCPT that the MTA made."
  [parameters address]
  (->> parameters
       (remove #{(str "ORCPT=rfc822;" (subs address 1 (dec (count address))))})
       (map #(if-let [[_ conditions] (re-matches #"NOTIFY=(.*)" %)]
               (sort (str/split conditions #","))
               %))
       (into #{})))

(defn- envelope
  [{:keys [sender options recipients recipient-options]}]
  {:sender sender
   :options (set (filter #(re-find #"^(RET|ENVID)=" %) options))
   :recipients (mapv first (partition-by first (map vector recipients)))
   :recipient-options (frequencies (map (fn [address parameters]
                                          [address (notify-options parameters address)])
                                        recipients recipient-options))})

(defn- words
  [text]
  (remove str/blank? (str/split (str text) #" ")))

(defn- arrived
  "Returns a message at the sink, comparable."
  [message]
  (merge (envelope {:sender (:sender message)
                    :options (words (:sender-parameters message))
                    :recipients (:recipients message)
                    :recipient-options (map words (:recipient-parameters message))})
         {:headers (mapv (fn [[header-name raw]]
                           [header-name (if (re-matches made raw) :made raw)])
                         (sink/headers message))
          :body (smtp/octets (sink/body message))}))

(defn- foreseen
  "Returns a message of the simulation, comparable."
  [message]
  (merge (envelope (-> message
                       (update :sender text-octets)
                       (update :recipients #(map text-octets %))))
         {:headers (mapv raw-field (:headers message))
          :body (smtp/octets (:body message))}))

(defn- lines
  "Returns a reply of the simulation as it travels."
  [{:keys [smtp-code enhanced-code text]}]
  [smtp-code (for [line (str/split text #"\n" -1)]
               (text-octets (if enhanced-code (str enhanced-code " " line) line)))])

(def ^:private queue-id-place
  #"^(2\.0\.0 |2\.0\.0 Ok: queued as )(?!Ok)\w+( Message.*)?")

(defn- heard
  "Returns replies [code lines] without what is not the filter's matter."
  [[code texts] stage]
  (case stage
    :greeting [code (map #(str/replace % #"(Sendmail) .*" "$1") texts)]
    :hello (if (= 250 code)
             [code (take 1 (words (first texts)))]
             [code texts])
    :message [code (map #(str/replace % queue-id-place "$1ID$2") texts)]
    [code texts]))

(defn- real-dialogue
  [{:keys [rcpt] :as smtp}]
  (let [reply (juxt :code :lines)]
    (into {}
          (remove (comp nil? val))
          (-> (into {}
                    (for [stage [:greeting :hello :mail :data :message]]
                      [stage (some-> (get smtp stage) reply (heard stage))]))
              (assoc :recipients (some->> rcpt seq (map reply)))))))

(defn- foreseen-dialogue
  [{:keys [recipients] :as smtp}]
  (into {}
        (remove (comp nil? val))
        (-> (into {}
                  (for [stage [:greeting :hello :mail :data :message]]
                    [stage (some-> (get smtp stage) lines (heard stage))]))
            (assoc :recipients (some->> recipients seq (map lines))))))

;; ---- running

(defn- marked
  "Returns the mail with a field by which it is found at the sink."
  [mail mark]
  (update mail :headers conj ["X-Case" mark]))

(defn- marked-as
  [mark]
  #(str/includes? (smtp/octets (:data %)) (str "X-Case: " mark "\r\n")))

(defn- queue-id
  [smtp]
  (some identity (rest (re-find #"^2\.0\.0 (?:(\w+) Message|Ok: queued as (\w+))"
                                (str (first (:lines (:message smtp))))))))

(defn run
  "Runs a case through the MTA of a lab and through the simulation, and returns a map of what
  differs, :expected by the simulation and :actual, or nil. Adds the marks of mails that must not
  arrive to the atom `absent`."
  [{:keys [mta leading-space?] :as lab} absent {:keys [mail script]}]
  (let [mark (str (random-uuid))
        mail (marked mail mark)
        {:keys [smtp conversation]} (lab/run lab mail script)
        {:keys [fate message] :as outcome}
        (mta/outcome {:mta mta
                           :message (update mail :body #(.getBytes ^String % "UTF-8"))
                           :conversation conversation
                           :agreement (when @leading-space? {:protocol #{:leading-space}})})
        expected {:smtp (foreseen-dialogue (:smtp outcome))
                  :held (when (= :held fate)
                          {:reason (when (= :sendmail mta) (:quarantine message))})
                  :message (when (= :delivered fate) (foreseen message))}
        accepted? (= 250 (:code (:message smtp)))
        held (when accepted? (find ((:held lab)) (queue-id smtp)))
        actual {:smtp (real-dialogue smtp)
                :held (when held {:reason (val held)})
                :message (when (and accepted? (= :delivered fate))
                           (try
                             (arrived (sink/await-message (:sink lab) (marked-as mark) 60000))
                             (catch clojure.lang.ExceptionInfo _
                               :missing)))}]
    (when (not= :delivered fate)
      (swap! absent conj mark))
    (when (not= expected actual)
      (let [[expected actual] (data/diff expected actual)]
        {:expected expected :actual actual}))))

(def ^:private clients 8)

(defn- in-parallel
  "Returns what f makes of the elements, several at a time."
  [f elements]
  (let [^ExecutorService executor (Executors/newFixedThreadPool clients)]
    (try
      (->> elements
           (mapv (fn [element] (.submit executor ^Callable (fn [] (f element)))))
           (mapv #(.get ^Future %)))
      (finally
        (.shutdownNow executor)))))

(defn- trees
  "Returns n generated cases that can be shrunk."
  [generator n seed]
  (map (fn [size state] (gen/call-gen generator state (mod size 60)))
       (range 5 (+ 5 n))
       (random/split-n (random/make-random seed) n)))

(def ^:private shrink-steps 60)

(defn- smallest
  "Returns the smallest case that still differs, and how, after a bounded number of trials."
  [{:keys [mta]} differs tree]
  (let [smaller #(remove (fn [child] (limits/left-out? mta (rose/root child))) (rose/children %))]
    (loop [found {:case (rose/root tree), :difference (differs (rose/root tree))}
           left (smaller tree)
           steps shrink-steps]
      (if (and (seq left) (pos? steps))
        (let [child (first left)]
          (if-let [difference (differs (rose/root child))]
            (recur {:case (rose/root child), :difference difference} (smaller child) (dec steps))
            (recur found (rest left) (dec steps))))
        found))))

(defn differences
  "Runs n generated cases in a lab and returns those that differ from the simulation: the first
  shrunk, the others as they are. Mails that should not have arrived and did are named last."
  [lab n seed]
  (let [absent (atom #{})
        differs #(run lab absent %)
        failing (->> (trees any-case n seed)
                     (remove #(limits/left-out? (:mta lab) (rose/root %)))
                     (in-parallel (fn [tree]
                                    (when-let [difference (differs (rose/root tree))]
                                      {:tree tree, :difference difference})))
                     (remove nil?))
        arrived (filter #(some (marked-as %) @(:messages (:sink lab))) @absent)]
    (concat (when (seq failing)
              (cons (smallest lab differs (:tree (first failing)))
                    (map (fn [{:keys [tree difference]}]
                           {:case (rose/root tree), :difference difference})
                         (rest failing))))
            (map #(hash-map :unexpected %) arrived))))

;; ---- the cases as tests

(defn- setting
  "Returns the number that an environment variable holds, or another one."
  [variable otherwise]
  (or (some-> (System/getenv variable) parse-long) otherwise))

(def ^:dynamic *lab*
  "The lab of the tests that run now."
  nil)

(defn fixture
  "Returns a fixture that runs the tests in a lab of the MTA, or skips them where it is missing."
  [mta]
  (fn [run-tests]
    (when-let [reason ((:unavailable (lab/mtas mta)))]
      (runner/skip! reason))
    (with-open [running (lab/start mta)]
      (binding [*lab* running]
        (run-tests)))))

(defn- shortened
  "Returns data whose long texts have their beginning, length and end alone."
  [data]
  (walk/postwalk (fn [x]
                   (if (and (string? x) (< 400 (count x)))
                     (str (subs x 0 100) "... " (count x) " characters ..." (subs x (- (count x) 100)))
                     x))
                 data))

(defn- report
  "Returns the first of the cases that differ as text for people, or nil."
  [n found]
  (when (seq found)
    (with-out-str
      (println (count found) "of" n "cases with seed" runner/seed "differ from the simulation, such as")
      (run! (comp pprint/pprint shortened) (take 3 found)))))

(defn check
  "Checks n cases of a filter that asked for the leading space or did not."
  [n leading-space?]
  (reset! (:leading-space? *lab*) leading-space?)
  (runner/say (str "  " n " cases of " (name (:mta *lab*)) ", TEMSE_SEED=" runner/seed))
  (is (= nil (report n (differences *lab* n runner/seed)))))

(def ^:private cases
  "TEMSE_CASES, how many cases are tried for each MTA."
  (delay (setting "TEMSE_CASES" 200)))

(defn share
  "Returns how many cases a part of them is."
  [part]
  (long (* part (long @cases))))

(defmacro deftests
  "Defines the tests, which run in the lab of the fixture."
  []
  `(do
     (deftest ~'what-clients-hear-and-what-is-delivered-is-foreseen
       (check (share 5/6) false))
     (deftest ~'so-it-is-for-filters-that-see-the-leading-space
       (check (share 1/6) true))))
