(ns temse.impl.setup.common
  "What the checks of both MTAs have in common: findings, addresses, macros, and milters that sign.

  A finding is {:problem \"what is wrong, and what follows\", :paste [[\"main.cf\" \"the line\"] …]}."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.macros :as macros]
   [temse.impl.text :as text])
  (:import
   (temse.client MtaStyle)
   (temse.protocol MacroStage)
   (temse.transport Endpoint Endpoint$Inet Endpoint$Unix)))

(set! *warn-on-reflection* true)

(defn finding
  "Returns a finding. Lines to paste are pairs of a file, or of \"shell\", \"filter\" or \"command line\",
  and a line."
  [problem & paste]
  {:problem problem, :paste (vec paste)})

(defn seconds
  "Returns milliseconds as whole seconds, rounded up."
  [ms]
  (long (Math/ceil (/ (long ms) 1000.0))))

(defn enough
  "Returns the seconds that an MTA should wait where a filter may take some milliseconds."
  [ms]
  (+ 5 (long (seconds ms))))

;; ---- addresses

(def ^:private all-addresses #{nil "0.0.0.0" "::"})

(defn- everywhere?
  [host]
  (contains? all-addresses host))

(def ^:private loopback #{"127.0.0.1" "::1"})

(defn- alike?
  "Returns true if a client that connects to a host may reach what listens on another."
  [host listening]
  (let [[host listening] (map #(some-> % text/lower-case) [host listening])]
    (or (= host listening)
        (everywhere? listening)
        (and (or (= "localhost" host) (everywhere? host)) (loopback listening))
        (and (= "localhost" listening) (loopback host)))))

(defn reaches?
  "Returns true if an MTA that connects to an endpoint reaches a filter that listens on another."
  [^Endpoint to ^Endpoint listening]
  (cond
    (and (instance? Endpoint$Inet to) (instance? Endpoint$Inet listening))
    (and (= (.port ^Endpoint$Inet to) (.port ^Endpoint$Inet listening))
         (alike? (.host ^Endpoint$Inet to) (.host ^Endpoint$Inet listening)))

    (and (instance? Endpoint$Unix to) (instance? Endpoint$Unix listening))
    (= (.normalize (.path ^Endpoint$Unix to)) (.normalize (.path ^Endpoint$Unix listening)))

    :else false))

(defn parsed
  "Returns the endpoint of a text in any notation, or nil."
  ^Endpoint [text]
  (try
    (Endpoint/parse text)
    (catch IllegalArgumentException _)))

(defn guessed
  "Returns the endpoint that was probably meant by a text in a notation that no MTA takes, or nil."
  ^Endpoint [text]
  (or (parsed text)
      (parsed (string/replace text #"(?i)^(tcp|tcp4|ipv4|inet4|ip)[:/]+" "inet:"))
      (parsed (string/replace text #"(?i)^(tcp6|ipv6)[:/]+" "inet6:"))
      (parsed (string/replace text #"(?i)^(socket|file|unix-socket|sock)[:/]+" "unix:/"))
      (when (re-matches #"[^:]+:[0-9]+|\[[^\]]+\]:[0-9]+" text)
        (parsed (str "inet:" text)))))

(defn host-to-connect
  "Returns the host by which an MTA on the same machine reaches an endpoint."
  [^Endpoint$Inet endpoint]
  (if (everywhere? (.host endpoint))
    (if (.v6 endpoint) "::1" "127.0.0.1")
    (.host endpoint)))

(defn open-to-all
  "Returns a finding if a filter listens on all addresses of the machine."
  [^Endpoint listening]
  (when (and (instance? Endpoint$Inet listening) (everywhere? (.host ^Endpoint$Inet listening)))
    [(finding "the filter listens on all addresses of the machine: whoever can connect can speak for the MTA"
              ["command line" (str "--listen " (Endpoint$Inet. (.v6 ^Endpoint$Inet listening)
                                                               (host-to-connect listening)
                                                               (.port ^Endpoint$Inet listening)))])]))

;; ---- milters that sign

(def ^:private signs
  "Names, sockets and usual ports of milters that sign mail: OpenDKIM, dkimpy-milter, dkim-milter, OpenARC,
  Rspamd."
  #"(?i)dkim|openarc|rspamd|\b(8891|8892|8894|11332)\b")

(defn signs?
  "Returns true if a milter signs mail, as far as a text with its name or address shows."
  [text]
  (boolean (re-find signs text)))

(defn breaks-signatures?
  "Returns true if a filter may change what is signed: the body, or header fields that are there."
  [needs]
  (boolean (some (:actions needs) [:change-body :change-header])))

(defn signed-before
  "Returns the milters in a list that sign mail before the one that is `ours?` changes it."
  [milters text-of ours?]
  (let [[before from-ours] (split-with (complement ours?) milters)]
    (when (seq from-ours)
      (filter (comp signs? text-of) before))))

(defn signed-last
  "Returns a list of milters with those that sign before ours behind it."
  [milters text-of ours?]
  (let [moved (signed-before milters text-of ours?)
        [before [ours & after]] (split-with (complement ours?) (remove (set moved) milters))]
    (if (seq moved)
      (concat before [ours] moved after)
      milters)))

;; ---- macros

(defn own-macros
  "Returns the macros that an MTA sends unless it is configured otherwise, stage to bare names."
  [^MtaStyle style]
  (into {}
        (map (fn [[^MacroStage stage names]] [(.-keyword stage) (mapv macros/bare-name names)]))
        (.macroNames style)))

(def ^:private stages-by-name
  [[#"auth_.*|mail_.*|r|s|dsn_.*|nrcpts|nbadrcpts" :mail]
   [#"rcpt_.*" :recipient]
   [#"tls_version|cipher.*|cert_.*|cn_.*|alg_bits|verify|sts_sni" :hello]
   [#"msg_.*|u" :end-of-message]])

(defn- stage-of
  "Returns the stage at which an MTA that is configured to send a macro has it."
  [bare]
  (or (some (fn [[stage names]] (when (some #{bare} (map macros/bare-name names)) stage))
            (select-keys macros/usual [:connect :hello :mail :recipient :end-of-message]))
      (some (fn [[pattern stage]] (when (re-matches pattern bare) stage)) stages-by-name)
      :connect))

(defn braced
  "Returns a macro's name as MTAs write it."
  [bare]
  (if (= 1 (count bare)) bare (str "{" bare "}")))

(defn- sent
  "Returns the lists that a filter gets: its own where it asks for some, else the MTA's."
  [configured asked mta]
  (merge configured (if (= :postfix mta) (into {} (filter (comp seq val)) asked) asked)))

(defn request-macros
  "Returns what to paste into the options of a filter so that it asks for macros at stages, a map of stage to
  bare names, besides what it asks for at others."
  [needs lists]
  ["filter" (str ":request-macros " (pr-str (update-vals (merge (:given needs) lists) #(mapv braced %))))])

(defn- list-or-request
  "Returns the line that has macros sent at a stage, besides those that are: where the filter asks for
  them itself, its own option."
  [needs configured paste stage more]
  (if (contains? (:asked needs) stage)
    [(request-macros needs {stage (distinct (concat (get-in needs [:asked stage]) more))})]
    (paste stage (map braced (distinct (concat (configured stage) more))))))

(defn- listed
  [names]
  (string/join ", " (map braced names)))

(defn unsent
  "Returns the macros that a filter reads, that the MTA knows and does not send, by stage."
  [mta needs configured]
  (let [there (into #{} cat (vals (sent configured (:asked needs) mta)))
        mta-knows? (case mta
                     :postfix (into #{"i" "j" "v" "_"} (:postfix macros/names))
                     :sendmail #(or (= 1 (count %)) (contains? (:sendmail macros/names) %)))]
    (group-by stage-of (filter mta-knows? (remove there (:read needs))))))

(defn- missing-macros
  "Returns findings about macros that a filter reads and that do not come, by stage: those of `own?` as
  `problem` says of a stage and their names. The lines to paste send all that are missing at the stage."
  [mta needs configured paste own? problem]
  (for [[stage missing] (unsent mta needs configured)
        :let [found (filter #(own? stage %) missing)]
        :when (seq found)]
    (apply finding (problem stage (listed found)) (list-or-request needs configured paste stage missing))))

(defn macros-not-sent
  "Returns findings about macros that a filter reads and the MTA does not send of itself. `paste` makes
  lines of a stage and the names to be sent there."
  [mta needs configured own paste]
  (missing-macros mta needs configured paste
                  (fn [stage bare] (not-any? #{bare} (own stage)))
                  (fn [_ names]
                    (str "the filter reads " names ", which the MTA does not send: it is always nil"))))

(defn macros-replaced
  "Returns findings about macros that a filter reads, and that the MTA would send of itself, but for a list
  that stands in the place of its own."
  [mta needs configured own paste]
  (missing-macros mta needs configured paste
                  (fn [stage bare] (some #{bare} (own stage)))
                  (fn [stage names]
                    (str "the list of macros at " (name stage) " stands in the place of the MTA's own, and leaves out " names
                         ", which the filter reads: it is always nil"))))

(defn unknown-macros
  "Returns findings about macros that a filter reads and no MTA knows."
  [needs]
  (for [bare (:read needs)
        :when (not (macros/known? bare))
        :let [meant (macros/nearest bare)]]
    (apply finding
           (str "the filter reads the macro " (braced bare) ", which neither Postfix nor Sendmail knows: it is always nil")
           (when meant
             [["filter" (str "(get-macro context \"" meant "\")")]]))))

(defn no-queue-id
  "Returns a finding if no list of macros has the queue id, by which logs name a mail. `stages` are those
  where the MTA has one."
  [mta needs configured paste stages]
  (let [lists (sent configured (:asked needs) mta)]
    (when (not-any? #(some #{"i"} (lists %)) stages)
      (let [stage (or (first (remove (set (keys (:asked needs))) stages)) (first stages))
            missing (get (unsent mta needs configured) stage)]
        [(apply finding
                "no list of macros has i, the queue id: the filter's log lines cannot name the mail"
                (list-or-request needs configured paste stage (cons "i" missing)))]))))

;; ---- files

(defn may?
  "Returns true if a user in some groups has a permission, 4 to read, 2 to write, 1 to enter, on what `look`
  has found."
  [{:keys [owner group mode]} user groups bit]
  (let [shift (cond
                (= user owner) 6
                (contains? groups group) 3
                :else 0)]
    (not (zero? (bit-and (long mode) (bit-shift-left (long bit) shift))))))

(defn directories-above
  "Returns the directories above a path, the root first."
  [path]
  (->> (iterate #(subs % 0 (max 0 (.lastIndexOf ^String % "/"))) path)
       rest
       (take-while seq)
       reverse
       (cons "/")))

;; ---- the checks of a table

(defn findings
  "Returns what checks find in a setup, each finding once and with its :check."
  [checks setup]
  (into []
        (comp (mapcat (fn [[check _ find-in]]
                        (map #(assoc % :check check) (find-in setup))))
              (distinct))
        checks))
