(ns temse.simulate.edits
  "Generated edits of messages, which `temse.filter/changed` has an MTA deliver: what arrives is what
  was asked for, or there is an error that says why; where nothing was changed nothing changes, and
  there are no more actions than edits.

  An edit is a sequence of steps such as [:set \"Subject\" \"hi\"], each of which makes one message of
  another and has a size: how many fields, addresses and bodies it touches."
  (:require
   [clojure.data :as data]
   [clojure.pprint :as pprint]
   [clojure.string :as str]
   [clojure.test :refer [is]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.rose-tree :as rose]
   [temse.action :as act]
   [temse.filter :as filter]
   [temse.harness.sink :as sink]
   [temse.mail :as mail]
   [temse.runner :as runner]
   [temse.simulate.cases :as cases]
   [temse.simulate.lab :as lab]
   [temse.test :as mt])
  (:import
   (temse.client Mail)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

;; ---- messages

(def ^:private field-name
  (gen/frequency [[4 @#'cases/field-name]
                  [3 (gen/elements ["Authentication-Results" "authentication-results"])]
                  [2 (gen/elements ["X-A" "X-a" "X-B" "X-C"])]]))

(def ^:private addresses-as-written
  (gen/elements ["Ann Lee <ann@example.org>" "ann@example.org, bob@example.com"
                 "Ann <ann@example.org>, b.c+d@example.com"]))

(defn- value-of
  [header-name]
  (gen/frequency [[(if (@#'cases/address-fields (str/lower-case header-name)) 15 0) addresses-as-written]
                  [30 (#'cases/field-value header-name true)]
                  [4 (#'cases/field-value header-name false)]
                  [1 (gen/elements ["\u00e4\u00f6 \ud83d\ude00" "" " " "  two" "\tx"])]]))

(def ^:private new-field
  "Name and value of a field that the filter adds."
  (gen/let [header-name field-name
            value (value-of header-name)]
    [header-name value]))

(def ^:private forged
  (gen/fmap (fn [n] ["Authentication-Results" (str "mx.example.org; spf=pass; forged=" n)])
            (gen/choose 1 3)))

(defn- with-distinct-recipients
  "Returns the mail with one recipient at least, and each once, whatever the case of letters."
  [{:keys [recipients recipient-options] :as mail}]
  (let [pairs (->> (map vector recipients recipient-options)
                   (group-by (comp str/lower-case first))
                   vals
                   (map first))
        pairs (or (seq pairs) [["<b@example.org>" []]])]
    (assoc mail :recipients (mapv first pairs), :recipient-options (mapv second pairs))))

(def mail
  "A mail with fields of which several have one name."
  (gen/let [mail @#'cases/mail
            more (gen/vector (gen/one-of [forged forged new-field]) 0 6)
            shuffled (gen/shuffle (into (:headers mail) more))]
    (with-distinct-recipients (assoc mail :headers (vec shuffled)))))

;; ---- steps

(def ^:private place
  (gen/choose 0 12))

(def ^:private addresses
  ["<a@example.org>" "<b@example.org>" "<new@example.org>" "<n.e-w@mail.example.com>" "<B@example.org>"])

(def ^:private header-step
  (gen/frequency
    [[5 (gen/fmap #(into [:add] %) new-field)]
     [5 (gen/fmap (fn [[n field]] (into [:insert n] field)) (gen/tuple place new-field))]
     [2 (gen/fmap #(into [:insert 0] %) new-field)]
     [4 (gen/fmap #(into [:set] %) new-field)]
     [3 (gen/fmap #(vector :remove %) field-name)]
     [3 (gen/fmap #(vector :remove-at %) place)]
     [4 (gen/bind new-field (fn [[_ value]] (gen/fmap #(vector :change-at % value) place)))]
     [1 (gen/fmap #(into [:move] %) (gen/tuple place place))]
     [1 (gen/fmap #(vector :respell %) place)]
     [3 (gen/return [:authenticate])]
     [1 (gen/fmap #(into [:change-at] %) (gen/tuple place @#'cases/long-value))]]))

(def ^:private envelope-step
  (gen/frequency
    [[3 (gen/fmap #(vector :sender %) (gen/elements (conj addresses "<>")))]
     [3 (gen/fmap #(vector :add-recipient % []) (gen/elements addresses))]
     [1 (gen/fmap #(into [:add-recipient] %)
                  (gen/tuple (gen/elements addresses) @#'cases/dsn-options))]
     [3 (gen/fmap #(vector :remove-recipient %) place)]
     [2 (gen/fmap #(vector :body %) @#'cases/new-body)]
     [1 (gen/elements [[:options ["RET=HDRS"]] [:options ["ENVID=three" "RET=FULL"]]])]]))

(def ^:private impossible-step
  (gen/elements [[:add "X-Long" (apply str (repeat 1200 "x"))]
                 [:add "X-Tight" "v" "v"]
                 [:add "Bcc" "x@example.org"]
                 [:insert 0 "Content-Length" "12"]
                 [:set "Return-Path" "<x@example.org>"]
                 [:add "X-Huge" (str/join "\n " (repeat 800 (apply str (repeat 80 "x"))))]
                 [:add-recipient "<no domain>" []]
                 [:sender "nobody"]]))

(def edit
  "A sequence of steps."
  (gen/vector (gen/frequency [[60 header-step] [15 envelope-step] [1 impossible-step]]) 0 6))

(def any-case
  "A mail, and an edit of it."
  (gen/hash-map :mail mail :steps edit))

;; ---- what steps make of a message

(defn- without-at
  [headers n]
  (into (subvec headers 0 n) (subvec headers (inc (long n)))))

(defn- headers-after
  "Returns [headers size] after a step."
  [headers [kind a b c]]
  (let [headers (vec headers)
        n (when (and (int? a) (seq headers)) (mod (long a) (count headers)))
        named #(count (mail/header-values headers %))]
    (case kind
      :add [(conj headers (vec (remove nil? [a b c]))) 1]
      :insert [(mail/insert-header headers (min (long a) (count headers)) b c) 1]
      :set [(mail/set-header headers a b) (+ (max 1 (named a)) (if (and (= "" b) (pos? (named a))) 1 0))]
      :remove [(mail/remove-headers headers a) (named a)]
      :remove-at (if n [(without-at headers n) 1] [headers 0])
      :change-at (if n
                   [(assoc headers n [(first (headers n)) b]) (if (= "" b) 2 1)]
                   [headers 0])
      :move (if n
              (let [rest-of (without-at headers n)
                    target (min (long b) (count rest-of))]
                [(into (conj (subvec rest-of 0 target) (headers n)) (subvec rest-of target)) 2])
              [headers 0])
      :respell (if n [(update headers n update 0 str/upper-case) 2] [headers 0])
      :authenticate [(-> headers
                         (mail/remove-headers "Authentication-Results")
                         (mail/insert-header 0 "Authentication-Results" "mx.example.org; spf=fail"))
                     (inc (named "Authentication-Results"))]
      nil)))

(defn- marked
  "Returns the mail with a recipient by which it is found at the sink."
  [mail mark]
  (-> mail
      (update :recipients conj mark)
      (update :recipient-options conj [])))

(defn- mark?
  [recipient]
  (str/ends-with? recipient "@mark.example.com>"))

(defn- recipients-after
  [{:keys [recipients recipient-options] :as message} [kind a b]]
  (let [known (into {} (map vector recipients (concat recipient-options (repeat []))))
        with (fn [pairs size]
               [(assoc message :recipients (mapv first pairs) :recipient-options (mapv second pairs))
                size])]
    (case kind
      :add-recipient (if (contains? known a)
                       [message 0]
                       (with (concat known [[a b]]) 1))
      :remove-recipient (let [[gone] (nth (seq known) (mod (long a) (count known)))]
                          (if (and (next known) (not (mark? gone)))
                            (with (dissoc known gone) 1)
                            [message 0])))))

(defn- after
  [[message size] [kind a :as step]]
  (let [[message more]
        (case kind
          :sender [(assoc message :sender a) 1]
          :body [(assoc message :body a) 1]
          :options [(assoc message :options (into (vec (remove #(re-find #"(?i)^(RET|ENVID)=" %)
                                                               (:options message)))
                                                  a))
                    1]
          (:add-recipient :remove-recipient) (recipients-after message step)
          (let [[headers size] (headers-after (:headers message) step)]
            [(assoc message :headers headers) size]))]
    [message (+ (long size) (long more))]))

(defn edited
  "Returns [message size]: what the steps make of a message, and how much they touch in all."
  [message steps]
  (reduce after [message 0] steps))

;; ---- the filter

(defn judge
  "Has a message delivered as the :steps say, and puts what it has seen and asked for, and its
  actions or its :error, into the promise :said."
  [message context {:keys [steps said]}]
  (let [seen (update message :body mail/body-bytes)
        [wanted size] (edited message steps)
        note #(deliver said (merge {:seen seen
                                    :wanted (update wanted :body mail/body-bytes)
                                    :size size
                                    :leading-space? (contains? (:capabilities (:milter/agreement context)) :leading-space)}
                              %))]
    (try
      (let [answer (filter/changed context wanted (act/accept))]
        (note {:actions (vec (butlast (:milter/response answer)))})
        answer)
      (catch MilterException e
        (note {:error e})
        (throw e)))))

;; ---- what is to be seen

(def ^:private made-by-sendmail
  #{"date" "from" "message-id" "resent-date" "resent-from" "resent-message-id"})

(def ^:private never-sent
  "Fields that Sendmail leaves out, or empties, of whoever they are."
  #{"return-path" "full-name" "content-length" "bcc" "resent-bcc"})

(defn- names
  [headers]
  (into #{} (map (comp str/lower-case first)) headers))

(defn most-actions
  "Returns how many actions there may be: as many as the edit touches, and where Sendmail may make
  fields itself one for each that is to be another."
  [{:keys [seen wanted size]}]
  (+ (long size)
     (if (get-in seen [:macros :connect "v"])
       0
       (count (filter #(and (made-by-sendmail %) (not ((names (:headers seen)) %)))
                      (names (:headers wanted)))))))

(defn- asked-headers
  [mta headers]
  (cond->> headers
    (= :sendmail mta) (remove #(never-sent (str/lower-case (first %))))))

(defn- comparable
  "A filter that has not asked for the space behind the colon does not know of it."
  [message leading-space?]
  (-> message
      (select-keys [:sender :options :headers :body :recipient-options])
      (update :recipient-options (comp set keys))
      (cond-> (not leading-space?)
        (update :headers (partial mapv (fn [[header-name raw]]
                                         [header-name (if (string? raw) (str/replace raw #"^ " "") raw)]))))))

(defn expected
  "Returns the message as it is to arrive, comparable with `arrived`."
  [mta {:keys [wanted leading-space?]}]
  (comparable (#'cases/foreseen (-> wanted
                                    (update :recipient-options #(take (count (:recipients wanted))
                                                                      (concat % (repeat []))))
                                    (update :headers #(asked-headers mta %))
                                    (update :body #(Mail/wireBody %))))
              leading-space?))

(defn- own-fields
  "Returns the fields that the MTA has not made."
  [mta {:keys [seen wanted]} headers]
  (let [known (into (names (:headers seen)) (names (:headers wanted)))
        made? (fn [[header-name value]]
                (or (= :made value)
                    (and (= :sendmail mta)
                         (#{"from" "resent-from"} (str/lower-case header-name))
                         (not (known (str/lower-case header-name))))))]
    (into [] (remove made?) (asked-headers mta headers))))

(defn arrived
  "Returns a comparable message without what the MTA has made itself."
  [mta said message]
  (comparable (update message :headers #(own-fields mta said %)) (:leading-space? said)))

(def reasons
  "What the errors say that edits may meet."
  #"it takes \d+ bytes, the limit is|cannot be delivered as asked: (no space is to follow its colon|it has a line of more than|it has more than|Sendmail (writes (it|addresses)|empties it|leaves it out|cuts it|joins them)|to Sendmail it ends|MTAs (would write|keep|take only)|Postfix may take it|only RET and ENVID|it stands between others)")

(defn problem
  "Returns what is wrong with what a filter has said and what has arrived of it, or nil. Of a message
  that has not arrived `message` is nil."
  [mta {:keys [error actions] :as said} message]
  (let [most (most-actions said)
        expected (expected mta said)]
    (cond
      error (when-not (re-find reasons (ex-message error)) {:error (ex-message error)})
      (< (long most) (count actions)) {:too-many actions, :most most}
      (nil? message) {:missing actions}
      (not= expected message) (let [[expected actual] (data/diff expected message)]
                                {:expected expected, :actual actual, :actions actions}))))

;; ---- behind the simulator

(defn- dropped?
  "Says of the fields of clients that MTAs take out before a filter sees the message, which the MTA's
  side for tests does not."
  [mta [header-name value raw]]
  (let [header-name (str/lower-case header-name)]
    (if (= :postfix mta)
      (#{"bcc" "content-length" "resent-bcc" "return-path"} header-name)
      (and (str/blank? (str/replace (or raw value) "\u0000" ""))
           (#{"date" "from" "full-name" "message-id" "resent-date" "resent-from" "resent-message-id"} header-name)))))

(defn wrong-on-simulator
  "Returns what is wrong with a case on the simulator, or nil."
  [mta options {:keys [mail steps] :as tried}]
  (let [said (promise)
        mail (update mail :headers #(into [] (remove (partial dropped? mta)) %))
        {:keys [message verdict]} (mt/run-message
                                    (merge {:handlers (filter/message-filter #(judge %1 %2 {:steps steps, :said said}))}
                                           options)
                                    mail
                                    {:mta mta})
        noted (deref said 0 nil)]
    (when noted
      (when-let [problem (if (and (:error noted) (not= :temporary-failure verdict))
                           :accepted
                           (problem mta noted
                             (some->> message
                                      (#(#'cases/foreseen (update % :body mail/body-bytes)))
                                      (arrived mta noted))))]
        {:problem problem, :case tried}))))

;; ---- behind a real MTA

(defn- run
  "Runs a case behind the MTA of a lab and returns :wrong, a map, :error or nil."
  [{:keys [mta] :as lab} {:keys [mail steps]}]
  (let [mark (str "<" (random-uuid) "@mark.example.com>")
        said (promise)
        smtp (lab/deliver lab (marked mail mark) {:steps steps, :said said})
        accepted? (= 250 (:code (:message smtp)))
        {:keys [error] :as noted} (deref said (if accepted? 10000 0) nil)]
    (cond
      (and accepted? (nil? noted)) {:wrong :unseen}
      (nil? noted) nil
      (and error accepted?) {:wrong :accepted}
      :else
      (let [message (when-not error
                      (try
                        (arrived mta noted
                                 (#'cases/arrived
                                   (sink/await-message (:sink lab) #(some #{mark} (:recipients %)) 60000)))
                        (catch clojure.lang.ExceptionInfo _)))]
        (if-let [wrong (problem mta noted message)]
          {:wrong wrong, :case {:mail mail, :steps steps}}
          {:error error})))))

(defn check
  "Runs n cases behind a real MTA."
  [mta n leading-space?]
  (when-let [reason ((:unavailable (lab/mtas mta)))]
    (runner/skip! reason))
  (with-open [lab (lab/start-judging mta judge)]
    (reset! (:leading-space? lab) leading-space?)
    (let [seed runner/seed
          results (#'cases/in-parallel #(run lab %) (map rose/root
                                                      (#'cases/trees any-case n seed)))
          wrong (filter :wrong results)]
      (runner/say (str "  " n " edits behind " (name mta) ", TEMSE_SEED=" seed ": "
                       (count (filter :error results)) " could not be had, "
                       (count (filter nil? results)) " mails were refused before"))
      (is (= nil (when (seq wrong)
                   (with-out-str
                     (println (count wrong) "of" n "cases with seed" seed "are wrong, such as")
                     (run! (comp pprint/pprint (var-get #'cases/shortened)) (take 3 wrong)))))))))
