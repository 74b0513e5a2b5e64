(ns disclaimer
  "Puts a disclaimer behind the text of outgoing mail, in plain text and in HTML, chosen by the domain of the
  sender (MAIL FROM).

    bin/temse run gallery/disclaimer.clj --listen inet:20025@127.0.0.1 -- disclaimer.edn

  Mail is outgoing if its client has authenticated or is in one of the :networks. Signed and encrypted mail,
  delivery reports and whatever else has the null sender, and invitations stay as they are. Mail whose text ends
  with its disclaimer already, quoted or not, does not get it again.

    {:texts         {\"example.org\" {:plain \"-- \\nExample Ltd\" :html \"<p>Example Ltd</p>\"}
                     :default      {:plain \"…\"}}
                                  ; by domain, as MAIL FROM writes it except for case; :default is for all
                                  ; others, which get none if it is missing.
                                  ; Without :html, the plain text is made HTML (default: a notice for all)
     :networks      [\"192.0.2.0/24\"]  ; (default: 127.0.0.0/8 and ::1)
     :incoming?     false         ; whether all other mail gets a disclaimer, too (default: false)
     :max-message   67108864      ; bytes of a mail (default: 67108864)
     :when-exceeded :defer        ; what becomes of a longer one: :defer, :reject or :accept (default: :defer)
     }

  Let filters that sign, such as DKIM, come after this one: it changes the body."
  (:refer-clojure :exclude [filter])
  (:require
   [temse.action :as act]
   [temse.address :as address]
   [temse.configuration :refer [read-settings settings?]]
   [temse.envelope :as envelope]
   [temse.filter :refer [changed message-filter]]
   [temse.milter :refer [respond]]
   [temse.mime :as mime]
   [temse.network :as network])
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

(def ^:private text
  {:plain ["a string" string?]
   :html ["a string" string? nil]})

(defn- texts?
  [texts]
  (and (map? texts)
       (every? #(or (= :default %) (and (string? %) (re-matches #"[^@*\s]+" %))) (keys texts))
       (every? (settings? text) (vals texts))))

(def ^:private settings
  {:texts ["a map of domain, or :default, to {:plain string, :html string}; :html may be missing"
           texts?
           {:default {:plain (str "-- \nThis message is for its recipients only. If you have received it by mistake,"
                                  " please tell the sender and delete it.\n")}}]
   :networks ["a vector of networks such as \"192.0.2.0/24\"" network/networks ["127.0.0.0/8" "::1"]]
   :incoming? ["true or false" boolean? false]
   :max-message ["a number of bytes" pos-int? 67108864]
   :when-exceeded [":defer, :reject or :accept" #{:defer :reject :accept} :defer]})

(defn- lower-case
  [^String domain]
  (.toLowerCase domain Locale/ROOT))

(defn- text-for
  "Returns the disclaimer for a sender, or nil."
  [texts sender]
  (when-not (= "" (address/bare sender))
    (get texts
         (some-> (address/domain sender) lower-case)
         (:default texts))))

(defn filter
  "Returns the filter for the settings in a file."
  ([] (filter nil))
  ([file]
   (let [{:keys [texts networks incoming? max-message when-exceeded]} (read-settings file settings)
         texts (update-keys texts #(if (string? %) (lower-case %) %))
         local (network/networks networks)
         disclaimer (fn [context]
                      (when (or incoming?
                                (envelope/authenticated-user context)
                                (network/includes? local (envelope/client-address context)))
                        (text-for texts (envelope/sender context))))]
     {:handlers (message-filter (fn [message context]
                                  (changed context
                                           (mime/append-text message (disclaimer context) {:once? true})))
                                {:max-message max-message
                                 :when-exceeded when-exceeded
                                 :handlers {:mail (fn [_event context]
                                                    (if (disclaimer context)
                                                      context
                                                      (respond context
                                                               (assoc (act/accept) :why "no disclaimer"))))}})
      :wants #{:sender :client-address :authenticated-user}
      :actions #{:change-header :add-header :change-body}})))
