(ns temse.message
  "Messages as maps, and what actions make of them.

  A message is {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
  :headers [[\"Subject\" \"hi\"]] :body bytes}."
  (:require
   [clojure.string :as string])
  (:import
   (java.io ByteArrayOutputStream)
   (temse.client Mail)
   (temse.protocol ActionCodec PacketSink)))

(set! *warn-on-reflection* true)

(def ^:private own-received
  "Stands for the MTA's own Received field, which counts in positions and is seen by no filter."
  [::received ""])

(defn- named?
  [header-name [field-name _]]
  (and (string? field-name) (.equalsIgnoreCase ^String header-name field-name)))

(defn- place-of
  "Returns the position of the index-th field of that name, from 1, or nil."
  [headers header-name index]
  (->> headers
       (keep-indexed (fn [place field] (when (named? header-name field) place)))
       (drop (dec (max 1 (long index))))
       first))

(defn- without-place
  [headers place]
  (into (subvec headers 0 place) (subvec headers (inc (long place)))))

(defn- insert-at
  [headers position field]
  (let [place (min (long position) (count headers))]
    (-> (subvec headers 0 place) (conj field) (into (subvec headers place)))))

(defn- change-header
  [headers {:keys [name value index] :or {index 1}}]
  (let [place (place-of headers name index)
        value (not-empty value)]
    (cond
      (and place value) (assoc headers place [name value])
      place (without-place headers place)
      value (conj headers [name value])
      :else headers)))

(defn- body-bytes
  [action]
  (let [bytes (ByteArrayOutputStream.)]
    (ActionCodec/encode action
                        (reify PacketSink
                          (packet [_ _code chunk offset length]
                            (.write bytes ^bytes chunk (int offset) (int length)))))
    (Mail/wireBody (.toByteArray bytes))))

(defn- bracketed
  [address]
  (if (string/starts-with? address "<") address (str "<" address ">")))

(defn- apply-action
  [message given]
  (let [{:keys [name value position address] :as action} (ActionCodec/normalise given)]
    (case (:action action)
      :add-header (if position
                    (update message :headers insert-at position [name value])
                    (update message :headers conj [name value]))
      :change-header (update message :headers change-header action)
      :change-body (assoc message :body (body-bytes action))
      :add-recipient (update message :recipients conj (bracketed address))
      :delete-recipient (update message :recipients #(vec (remove #{(bracketed address)} %)))
      :change-sender (assoc message :sender (bracketed address))
      :quarantine (assoc message :quarantine (:reason action))
      message)))

(defn apply-actions
  "Returns the message as Postfix would deliver it after the modifications among the actions.

    (apply-actions {:headers [[\"Subject\" \"hi\"]] …} [(act/add-header \"X-Seen\" \"yes\")])"
  [message actions]
  (-> (reduce apply-action
              (update message :headers #(into [own-received] %))
              actions)
      (update :headers #(vec (remove #{own-received} %)))))
