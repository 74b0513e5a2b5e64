(ns greylist
  "Greylisting: mail of a client network, sender and recipient that have not met before is deferred, and
  passes when it is sent again. Most programs that send spam never do.

    bin/temse run gallery/greylist.clj --listen inet:20025@127.0.0.1 -- greylist.edn
    bin/temse run gallery/greylist.clj -- greylist.edn list          what is remembered, as text
    bin/temse run gallery/greylist.clj -- greylist.edn show ADDRESS  the same about an IP or mail address
    bin/temse run gallery/greylist.clj -- greylist.edn expire        remove now what has expired
    bin/temse run gallery/greylist.clj -- greylist.edn import FILE   what list or milter-greylist dumped

  Settings, each with its default; times are seconds:

    :delay 300             ; from the first attempt until mail passes
    :retry-window 172800   ; how long after the delay it still may come again; then the triplet is new
    :autowhite 3024000     ; how long after each mail a triplet that has passed is known, and never delayed
    :network-lengths {:ipv4 24, :ipv6 64} ; which clients are one
    :spared {}             ; whose mail is not delayed: {:networks [\"192.0.2.0/24\"] :domains [\"a.example\"],
                           ; names of clients and those below; :senders and :recipients, see temse.addresses;
                           ; :users [\"ann\"], those with these logins, without it all with a login}.
                           ; Anybody can write a sender
    :delayed-reject? true  ; whether <> is deferred after the content, so that others can verify addresses
    :quiet? false          ; whether the reply does not say how long the delay lasts
    :report :all           ; which mail gets X-Greylist: that which was delayed (:delays), that which was
                           ; not (:nodelays), :all or :none
    :conf nil              ; a greylist.conf, whose settings and rules take the place of all of these, see
                           ; gallery/greylist_conf.clj; a CONFIG that ends in .conf is this itself
    :database {:url \"jdbc:sqlite:greylist.db\"} ; see temse.database; machines can share a PostgreSQL

  While the database is down mail is deferred. Mail without a client's address, as of this machine, passes."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [greylist-commands :as commands]
   [greylist-conf :as conf]
   [greylist-settings :refer [settings-of]]
   [greylist-store :as store]
   [greylist-texts :as texts]
   [temse.action :as act]
   [temse.database :as database]
   [temse.envelope :refer [authenticated-user cert-subject client-address client-name hello-name sender]]
   [temse.milter :as milter :refer [message respond update-message]]
   [temse.network :as network]
   [temse.periodic :as periodic]))

(set! *warn-on-reflection* true)

(defn- mail-of
  "Returns what rules and texts want to know of a mail and a recipient, or nil."
  [recipient context]
  (let [path (or (sender context) "<>")]
    {:address (client-address context), :hello (hello-name context)
     :domain (or (client-name context) (re-find #"^unknown$|^\[.*" (::host-name context "")) "unknown")
     :raw-sender path, :sender (string/replace path #"(?s)^.*=" "<"), :recipient recipient
     :user (authenticated-user context), :certificate (cert-subject context)
     :macro #(milter/get-macro context % "")
     :recipient-count (:accepted (message context) 0)}))

(defn- spared-by
  "Returns the kind of what spares a mail before any rule, or nil."
  [{:keys [spare-authenticated?]} {:keys [address user certificate macro]}]
  (cond
    (nil? address) :no-address
    (not spare-authenticated?) nil
    user :user
    (and certificate (= "OK" (macro "verify"))) :certificate))

(defn- reply
  "Returns the reply of a rule, or else the default one."
  [{:keys [code enhanced-code text line]} default-code default-text facts why]
  (let [class (first (or (some-> code str) enhanced-code (str default-code)))]
    (assoc (act/reply-code (or code (parse-long (str class "51")))
                           (or enhanced-code (str class ".7.1"))
                           (texts/expand (or text default-text) facts))
           :why (cond-> why line (assoc :line line)))))

(defn- pass
  "Returns the context with one recipient more, who gets the mail for a reason or after seconds."
  [context reason elapsed]
  (update-message context #(-> % (update :accepted (fnil inc 0)) (update :elapsed (fnil max 0) elapsed)
                               (cond-> reason (assoc :reason reason)))))

(defn- greylisted
  [{:keys [store clock network-lengths quiet? delayed-reject?] :as settings} rule mail context]
  (let [{:keys [ipv4 ipv6]} network-lengths
        network (network/around (:address mail) ipv4 ipv6)
        triplet (assoc (select-keys mail [:sender :recipient]) :network network)
        {:keys [state elapsed] :as met} (store/meet! store triplet (clock) (merge settings rule))]
    (case state
      :known (pass context [:auto] 0)
      :passed (pass context nil elapsed)
      (let [text (str "Greylisting in action, please come back " (if quiet? "later" "in %R"))
            deferred (reply rule 451 text (merge mail met rule) {:greylist state, :triplet triplet})]
        (if (and delayed-reject? (= "<>" (:sender mail)))
          (update-message (pass context nil 0) assoc :deferred deferred)
          (respond context deferred))))))

(defn- on-recipient
  [{:keys [rules] :as settings} {to :address} context]
  (let [mail (mail-of to context)
        kind (spared-by settings mail)
        {:keys [action clauses delay] :as rule} (when-not kind (conf/rule-for rules mail))
        context (update-message context assoc :rule (dissoc rule :clauses))]
    (cond
      kind (pass context [kind] 0)
      (or (= :whitelist action) (and (= :greylist action) (zero? (long (or delay (:delay settings))))))
      (pass context (map :kind clauses) 0)

      (= :blacklist action)
      (respond context (reply rule 551 "Not accepted here" (merge mail rule) {:greylist :refused}))

      :else (greylisted settings rule mail context))))

(defn- on-end-of-message
  [{:keys [report clock]} _event context]
  (let [{:keys [deferred elapsed reason rule] :or {elapsed 0}} (message context)
        facts (merge (mail-of nil context) rule {:elapsed elapsed, :reason reason})
        value (texts/report report facts (:report rule) (clock))
        [index field content] (:header rule)
        content (some-> content (texts/expand facts))]
    (if deferred
      (respond context deferred)
      (cond-> context
        value (respond (act/add-header "X-Greylist" value))
        field (respond (if index (act/insert-header index field content) (act/add-header field content)))
        true (respond (assoc (act/continue)
                             :why {:greylist (if (pos? (long elapsed)) :passed (vec reason))}))))))

(defn filter-of
  "Returns the filter with settings, a store and a clock, a function that returns seconds."
  [settings store clock]
  (let [settings (assoc settings :store store, :clock clock)]
    {:handlers (database/deferring
                 {:connect (fn [{:keys [host-name]} context] (assoc context ::host-name host-name))
                  :recipient (partial on-recipient settings)
                  :end-of-message (partial on-end-of-message settings)})
     :no-reply-events #{:connect}
     :actions #{:add-header}
     :wants #{:client-address :client-name :hello-name :sender :authenticated-user :cert-subject :mta-name}
     :request-macros {:connect ["{if_addr}" "{daemon_addr}"], :hello ["{verify}"], :mail ["{verify}"]}}))

(defn filter
  [& [file command & args]]
  (let [settings (settings-of file)
        store (store/open (:database settings))
        clock #(quot (System/currentTimeMillis) 1000)]
    (if command
      (commands/run settings store (clock) command args)
      (do
        (periodic/every [::expiry (str store)] 60000 (database/unless-down #(store/expire! store (clock))))
        (filter-of settings store clock)))))
