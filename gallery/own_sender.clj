(ns own-sender
  "The From field belongs to whoever has logged in: users write mail with their own addresses only, and
  strangers none with those of this site.

    bin/temse run gallery/own_sender.clj --listen inet:20025@127.0.0.1 -- own_sender.edn

  Settings, each with its default:

    :users {}              ; login to addresses and domains: {\"ann\" [\"ann@example.org\" \"@ann.example\"]},
                           ; see temse.addresses. Who is not listed has the login as address if there is an
                           ; @ in it, or else
    :login-domain nil      ; login@DOMAIN, if this is a domain
    :separators \"+\"        ; ann+news@example.org belongs to ann@example.org; nil: it does not
    :envelope-sender? true ; whether MAIL FROM must belong to the user, too; <> always does
    :names? true           ; whether addresses in display names count: \"boss@example.org\" <x@example.net>
    :protected []          ; what strangers may not have in From, such as [\"@example.org\" \"@.example.org\"]
    :trusted-networks [\"127.0.0.0/8\" \"::1\"] ; clients that may write anything without a login

  Mail of a user is refused (550) unless it has one From field, all of whose addresses are the user's; with
  several it needs a Sender field (RFC 5322 section 3.6.2), which must be the user's, too. A field in which
  anything is no address is refused: other programs could see one there. Without From, MTAs write the envelope
  sender into it, which must be the user's then; that of a stranger may not be :protected."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.address :as address]
   [temse.addresses :as addresses :refer [addresses]]
   [temse.configuration :refer [read-settings]]
   [temse.envelope :refer [authenticated-user client-address]]
   [temse.filter :refer [message-filter]]
   [temse.mime :as mime]
   [temse.network :as network])
  (:import
   (java.text Normalizer Normalizer$Form)))

(set! *warn-on-reflection* true)

(defn- own
  "Returns the addresses of a user."
  [{:keys [users login-domain]} user]
  (addresses (cond
               (contains? users user) (users user)
               (address/domain user) [user]
               login-domain [(address/render-path {:local-part user :domain login-domain})])))

;; ---- what a field says

(defn- field-values
  [headers field-name]
  (vec (for [[given value] headers
             :when (.equalsIgnoreCase ^String field-name (string/trim given))]
         value)))

(defn- written-addresses
  "Returns the addresses that stand anywhere in a text, in encoded words, too."
  [text]
  (->> (string/split (Normalizer/normalize (mime/decode-header text) Normalizer$Form/NFKC)
                     #"[\s<>()\[\],:;\"'\\]+")
       (clojure.core/filter #(string/includes? % "@"))
       (keep address/parse-path)))

(defn- addresses-of
  "Returns the addresses in a field, with those in names if wanted; all that stand in one that is unreadable."
  [names? value]
  (let [found (address/parse-list value)]
    (concat found
            (cond
              (:left-out? (meta found)) (written-addresses value)
              names? (mapcat written-addresses
                             (distinct (remove nil? (mapcat (juxt :display-name :group) found))))))))

;; ---- verdicts

(defn- field-problem
  [field-name [value & more] own? names?]
  (let [found (address/parse-list value)]
    (cond
      more (str "several " field-name " fields")
      (nil? value) nil
      (:left-out? (meta found)) (str "something in " field-name " that is no address")
      (empty? found) (str "no address in " field-name)
      (not-every? own? (addresses-of names? value)) (str "an address in " field-name " that is not yours"))))

(defn- user-problem
  "Returns what is wrong with a mail of a user, or nil."
  [{:keys [separators names? envelope-sender?] :as settings} user {:keys [sender headers]}]
  (let [[from senders] (map #(field-values headers %) ["From" "Sender"])
        mine (own settings user)
        own? #(addresses/includes? mine % separators)
        path (address/parse-path sender)]
    (or (field-problem "From" from own? names?)
        (field-problem "Sender" senders own? names?)
        (when (and (next (address/parse-list (first from)))
                   (not= 1 (count (address/parse-list (first senders)))))
          "several addresses in From, and not one in Sender")
        (when-not (or (own? path) (and (seq from) (or (:null? path) (not envelope-sender?))))
          "a sender that is not you"))))

(defn- stranger-problem
  [{:keys [protected separators names?]} {:keys [sender headers]}]
  (let [found (mapcat #(addresses-of names? %) (field-values headers "From"))
        protected? #(addresses/includes? protected % separators)]
    (cond
      (some protected? found) "an address in From that needs a login here"
      (and (empty? found) (protected? (address/parse-path sender))) "no From, and a sender that needs a login here")))

(defn- judge
  [{:keys [trusted-networks] :as settings} {:keys [sender headers] :as message} context]
  (let [user (authenticated-user context)]
    (when-let [problem (cond
                         user (user-problem settings user message)
                         (network/includes? trusted-networks (client-address context)) nil
                         :else (stranger-problem settings message))]
      [(assoc (act/reply-code 550 "5.7.1" (str "Your mail has " problem))
              :why {:user user :sender sender :from (field-values headers "From")})])))

(def ^:private table
  {:users ["a map of login to addresses, such as {\"ann\" [\"ann@example.org\"]}"
           #(and (map? %) (every? string? (keys %)) (every? addresses (vals %))) {}]
   :login-domain ["a domain such as \"example.org\", or nil"
                  #(or (nil? %) (addresses [(str "@" %)])) nil]
   :separators ["characters such as \"+\", or nil" #(or (nil? %) (and (string? %) (seq %))) "+"]
   :envelope-sender? ["true or false" boolean? true]
   :names? ["true or false" boolean? true]
   :protected ["addresses and domains such as [\"@example.org\"]" addresses []]
   :trusted-networks ["networks such as [\"192.0.2.0/24\"]" network/networks ["127.0.0.0/8" "::1"]]})

(defn filter
  ([] (filter nil))
  ([file]
   (let [settings (-> (read-settings file table)
                      (update :protected addresses)
                      (update :trusted-networks network/networks))]
     {:handlers (message-filter (partial judge settings) {:at :end-of-headers :body? false})
      :actions #{}
      :wants #{:authenticated-user :client-address}})))
