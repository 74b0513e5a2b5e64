(ns greylist-settings
  "The settings of greylist.clj, from its own file (EDN) or from a greylist.conf."
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [greylist-conf :as conf]
   [temse.addresses :as addresses :refer [addresses]]
   [temse.configuration :refer [read-settings settings?]]
   [temse.network :as network])
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

(defn- strings?
  [x]
  (and (sequential? x) (every? string? x)))

(def ^:private spared
  {:networks ["networks such as [\"192.0.2.0/24\"]" network/networks nil]
   :domains ["a sequence of domains such as \"example.org\""
             #(and (strings? %) (every? (partial re-matches #"[^@*.\s][^@*\s]*") %)) nil]
   :senders ["addresses such as [\"ann@example.org\"]" addresses nil]
   :recipients ["addresses such as [\"postmaster@example.org\"]" addresses nil]
   :users ["a sequence of logins" strings? nil]})

(def ^:private lengths
  {:ipv4 ["0 to 32" (set (range 33))]
   :ipv6 ["0 to 128" (set (range 129))]})

(def ^:private seconds ["a number of seconds" #(and (int? %) (<= 0 (long %) 3155760000))])

(def ^:private table
  {:delay (conj seconds 300)
   :retry-window (conj seconds 172800)
   :autowhite (conj seconds 3024000)
   :network-lengths ["lengths of prefixes such as {:ipv4 24, :ipv6 64}"
                     (settings? lengths)
                     {:ipv4 24, :ipv6 64}]
   :spared ["a map of :networks, :domains, :senders, :recipients and :users, each a sequence of texts"
            (settings? spared)
            {}]
   :delayed-reject? ["true or false" boolean? true]
   :quiet? ["true or false" boolean? false]
   :report [":all, :delays, :nodelays or :none" #{:all :delays :nodelays :none} :all]
   :conf ["the name of a greylist.conf" #(or (nil? %) (string? %)) nil]
   :database ["settings of temse.database such as {:url \"jdbc:sqlite:greylist.db\"}, without :schema"
              #(and (map? %) (not (contains? % :schema)))
              {:url "jdbc:sqlite:greylist.db"}]})

(defn- lower-case
  ^String [^String text]
  (.toLowerCase text Locale/ROOT))

(defn- below?
  "Returns true if a host name is one of some domains, or below one."
  [domains host-name]
  (boolean (some domains (take-while some? (iterate #(second (string/split % #"\." 2)) (lower-case host-name))))))

(defn- rules
  "Returns the rules that spare what is listed."
  [{:keys [networks domains senders recipients users]}]
  (let [networks (network/networks networks)
        domains (into #{} (map lower-case) domains)
        senders (addresses senders)
        recipients (addresses recipients)
        users (set users)]
    (for [[kind matches?] {:address #(network/includes? networks (:address %))
                           :domain #(below? domains (:domain %))
                           :sender #(addresses/includes? senders (:raw-sender %))
                           :recipient #(addresses/includes? recipients (:recipient %))
                           :user #(contains? users (:user %))}]
      {:action :whitelist, :clauses [{:kind kind, :matches? matches?}]})))

(defn- of-conf
  [file]
  (let [{:keys [unused] :as settings} (conf/read-conf file)]
    (when (seq unused)
      (log/log "temse" :warn nil (str file ": without meaning here: " (string/join ", " unused))))
    settings))

(defn settings-of
  "Returns the settings in a file, or the default ones: those of greylist.clj with :rules as greylist-conf has them,
  :spare-authenticated? and :lazy-autowhite?. Throws with file and line what would be right."
  [file]
  (let [{:keys [conf spared] :as settings} (if (some-> file (string/ends-with? ".conf"))
                                             (assoc (read-settings nil table) :conf file)
                                             (read-settings file table))]
    (if conf
      (let [others (dissoc settings :conf :database)]
        (when (not= others (dissoc (read-settings nil table) :conf :database))
          (throw (ex-info (str file ": where :conf is given, only :database can be given beside it") {})))
        (assoc (of-conf conf) :database (:database settings)))
      (assoc settings
             :rules (rules spared)
             :spare-authenticated? (not (contains? spared :users))
             :lazy-autowhite? false))))
