(ns rate-limit
  "So many messages and recipients of a client, user or sender within a time; what is beyond waits.

    bin/temse run gallery/rate_limit.clj --listen inet:20025@127.0.0.1 -- rate_limit.edn

  Settings, each with its default:

    :limits [{:count :messages, :by :user-or-client, :limit 100, :per 3600}
             {:count :recipients, :by :user-or-client, :limit 500, :per 3600}]
                    ; :count is :messages or :recipients. :by is :client, the network of the client; :user,
                    ; who has logged in, no limit for others; :user-or-client, the client for others; or
                    ; :sender, the address in MAIL FROM, no limit for <>. :per is seconds
    :network-lengths {:ipv4 24, :ipv6 64} ; which clients count as one
    :spared {}      ; who has no limits: {:networks [\"192.0.2.0/24\"] :users [\"ann\"]
                    ; :senders [\"ann@example.org\" \"@example.net\"] :recipients [\"postmaster@example.org\"]}.
                    ; Anybody can write a sender: spare one only if something else proves it
    :database nil   ; settings of temse.database such as {:url \"jdbc:postgresql://db.example.org/temse\"}:
                    ; all filters that name it count together, and go on where they were after a restart. nil:
                    ; this process counts alone, in memory
    :max-keys 10000 ; clients, users and senders that are known in memory; then, those that have sent
                    ; nothing for the longest are forgotten
    :when-unavailable :defer ; mail that cannot be counted, as the database is down: :defer or :accept

  A limit holds for each time of the given length, as it passes. Messages are counted at MAIL and recipients
  at RCPT, also of mail that somebody refuses afterwards; what is beyond is answered 450 and not counted. Mail
  without a client's address and a login, as it comes from the machine itself, has limits by sender only."
  (:refer-clojure :exclude [filter])
  (:require
   [temse.action :as act]
   [temse.address :as address]
   [temse.addresses :as addresses :refer [addresses]]
   [temse.configuration :refer [read-settings settings?]]
   [temse.database :as database]
   [temse.envelope :refer [authenticated-user client-address sender]]
   [temse.network :as network]
   [temse.rate :as rate])
  (:import
   (java.sql SQLException)
   (java.util Locale)))

(set! *warn-on-reflection* true)

(defn- key-of
  "Returns whom a limit counts, or nil for nobody."
  [by {:keys [ipv4 ipv6]} context]
  (let [user (authenticated-user context)
        client (network/around (client-address context) ipv4 ipv6)
        ^String sender (or (address/bare (sender context)) (sender context))]
    (case by
      :client client
      :user user
      :user-or-client (if user [:user user] client)
      :sender (not-empty (.toLowerCase sender Locale/ROOT)))))

(defn- spared?
  [{:keys [networks users senders]} context]
  (or (network/includes? networks (client-address context))
      (contains? users (authenticated-user context))
      (addresses/includes? senders (sender context))))

(defn- answer
  "Returns the reply to one more of what is counted, or nil if there is room for it."
  [{:keys [limits network-lengths spared when-unavailable windows]} counted context]
  (let [wanted (for [{:keys [by limit per] :as given} limits
                     :let [k (key-of by network-lengths context)]
                     :when (and k (= counted (:count given)))]
                 {:key [counted by k] :limit limit :per (* 1000 per)})]
    (when-not (or (empty? wanted) (spared? spared context))
      (try
        (when-let [{[_ by k] :key :keys [limit per]} (rate/exceeded! windows (vec wanted))]
          [(assoc (act/reply-code 450 "4.7.1" (str "Too many " (name counted) " from you, try again later"))
                  :why {:more-than limit, :per (quot per 1000), :of counted, by k})])
        (catch SQLException e
          (cond
            (not (database/unavailable? e)) (throw e)
            (= :defer when-unavailable)
            [(assoc (act/reply-code 451 "4.3.0" "Try again later") :why (ex-message e))]))))))

(defn- on-recipient
  [{:keys [spared] :as settings} {to :address} context]
  (when-not (addresses/includes? (:recipients spared) to)
    (answer settings :recipients context)))

;; ---- settings

(def ^:private limit
  {:count [":messages or :recipients" #{:messages :recipients}]
   :by [":client, :user, :user-or-client or :sender" #{:client :user :user-or-client :sender}]
   :limit ["a number" nat-int?]
   :per ["a number of seconds" pos-int?]})

(def ^:private spared
  {:networks ["networks such as [\"192.0.2.0/24\"]" network/networks nil]
   :users ["a sequence of logins" #(and (sequential? %) (every? string? %)) nil]
   :senders ["addresses such as [\"ann@example.org\"]" addresses nil]
   :recipients ["addresses such as [\"postmaster@example.org\"]" addresses nil]})

(def ^:private lengths
  {:ipv4 ["0 to 32" (set (range 33))]
   :ipv6 ["0 to 128" (set (range 129))]})

(def ^:private table
  {:limits ["a sequence of limits such as {:count :messages, :by :client, :limit 100, :per 3600}"
            #(and (sequential? %) (seq %) (every? (settings? limit) %)
                  (apply distinct? (map (fn [limit] (dissoc limit :limit)) %)))
            [{:count :messages, :by :user-or-client, :limit 100, :per 3600}
             {:count :recipients, :by :user-or-client, :limit 500, :per 3600}]]
   :network-lengths ["lengths of prefixes such as {:ipv4 24, :ipv6 64}"
                     (settings? lengths)
                     {:ipv4 24, :ipv6 64}]
   :spared ["a map of :networks, :users, :senders and :recipients"
            (settings? spared)
            {}]
   :database ["settings of temse.database such as {:url \"jdbc:sqlite:rates.db\"}"
              #(or (nil? %) (map? %)) nil]
   :max-keys ["a number, 1 or more" pos-int? 10000]
   :when-unavailable [":defer or :accept" #{:defer :accept} :defer]})

(defn filter
  ([] (filter nil))
  ([file]
   (let [settings (read-settings file table)
         settings (-> settings
                      (assoc :windows (rate/windows (assoc (select-keys settings [:database :max-keys])
                                                           :name [::windows file])))
                      (update-in [:spared :networks] network/networks)
                      (update-in [:spared :users] set)
                      (update-in [:spared :senders] addresses)
                      (update-in [:spared :recipients] addresses))]
     {:handlers {:mail (fn [_event context] (answer settings :messages context))
                 :recipient (partial on-recipient settings)}
      :actions #{}
      :wants #{:authenticated-user :client-address :sender}})))
