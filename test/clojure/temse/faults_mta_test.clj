(ns temse.faults-mta-test
  "Mail through real MTAs while their connections to the milter, over TCP and over Unix-domain sockets, are cut,
  reset, half closed, delayed, chopped up and doubled, at the packets and inside them: each mail is delivered once and
  as the filter said, or deferred, and then comes through when it is sent again.

  TEMSE_CASES is how many mails each MTA gets over each kind of socket. A case is an SMTP connection with up to three
  mails, made of one seed; TEMSE_SEED is that of the first, and each following one has the next seed, so that
  TEMSE_SEED=n TEMSE_CASES=1 repeats the one that failed."
  (:require
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [temse.faults.cases :as cases]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.runner :as runner]
   [temse.support :as support]))

(set! *warn-on-reflection* true)

(defn- setting
  [variable otherwise]
  (or (some-> (System/getenv variable) parse-long) otherwise))

(def ^:private mails
  "How many each MTA gets over a kind of socket."
  (delay (update-vals {:tcp 150, :unix 60} #(setting "TEMSE_CASES" %))))

(def ^:private many
  "From so many mails on every kind of incident must have happened."
  2000)

(def ^:private shown-problems 5)

(def ^:private mtas
  (let [patience (str cases/patience-seconds "s")]
    {:postfix {:unavailable postfix/unavailable
               :address #(str/replace % #"^inet:(\d+)@(.*)" "inet:$2:$1")
               :start #(postfix/start (assoc % :main {"milter_default_action" "tempfail"
                                                      "milter_connect_timeout" patience
                                                      "milter_command_timeout" patience
                                                      "milter_content_timeout" patience}))}
     :sendmail {:unavailable sendmail/unavailable
                :address identity
                :start #(sendmail/start (assoc % :failure "T"
                                               :timeouts (str "C:" patience ";S:" patience ";R:" patience ";E:1m")))}}))

(defn- place
  "Returns whether an incident was at the border of a packet or inside it."
  [[fault direction _ at]]
  [fault direction (if (or (= :duplicate fault) (#{0 1} at)) :border :inside)])

(def ^:private places
  (into #{[:duplicate :events :border] [:duplicate :replies :border]}
        (for [fault [:cut :reset :half-close :delay], direction [:events :replies], where [:border :inside]]
          [fault direction where])))

(defn- codes
  [incidents direction]
  (str/join (sort (distinct (for [[_ where code] incidents :when (= direction where)] code)))))

(defn- check
  [mta kind]
  (when-let [reason ((:unavailable (mtas mta)))]
    (runner/skip! reason))
  (support/with-logs logs
    (let [mails (long (@mails kind))
          begin (System/nanoTime)
          {:keys [problems incidents results shifted unfiltered]} (cases/run mta kind (mtas mta) runner/seed mails)]
      (runner/say (format "  %s over %s, TEMSE_SEED=%d TEMSE_CASES=%d: %s; %d incidents at packets %s of the MTA and %s of the milter; nothing is promised of %d mails, %d of which were delivered unfiltered; %.0f s"
                          (name mta) (name kind) runner/seed mails
                          (str/join ", " (for [[result n] (sort results)] (str n " " (name result))))
                          (count incidents) (codes incidents :events) (codes incidents :replies) shifted unfiltered
                          (/ (- (System/nanoTime) begin) 1e9)))
      (is (empty? problems)
          (str (count problems) " problems, among them\n" (str/join "\n" (take shown-problems problems))))
      (is (= [] (support/messages logs :error)))
      (when (<= (long many) mails)
        (is (= #{} (reduce disj places (map place incidents))))))))

(deftest mail-through-postfix-is-delivered-as-the-filter-said-or-deferred-whatever-happens-to-the-connection
  (check :postfix :tcp))

(deftest mail-through-postfix-over-unix-sockets-is-delivered-as-the-filter-said-or-deferred-too
  (check :postfix :unix))

(deftest mail-through-sendmail-is-delivered-as-the-filter-said-or-deferred-whatever-happens-to-the-connection
  (check :sendmail :tcp))

(deftest mail-through-sendmail-over-unix-sockets-is-delivered-as-the-filter-said-or-deferred-too
  (check :sendmail :unix))
