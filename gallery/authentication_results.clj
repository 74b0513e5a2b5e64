(ns authentication-results
  "Removes forged Authentication-Results fields: those that claim to be ours, in mail from outside (RFC 8601
  section 5). Fields of others stay.

    bin/temse run gallery/authentication_results.clj --listen inet:20025@127.0.0.1 -- ours.edn

  Settings, each with its default:

    :authserv-ids []     ; the names in our own fields, such as [\"mx.example.org\"] (default: the MTA's name)
    :trusted-networks [] ; clients whose fields stay, such as relays of ours: [\"192.0.2.0/24\"]

  It has to be the first filter: those before it may have added fields that are genuine. A field is ours if
  its authserv-id is, in any case of letters, within quotes, after comments, of whatever version and result;
  to be safe also where the text is no well-formed field and other programs might read one of our names there.
  ARC-Authentication-Results fields are signed and stay."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.configuration :refer [read-settings]]
   [temse.envelope :refer [client-address mta-name]]
   [temse.filter :refer [changed message-filter]]
   [temse.mime :as mime]
   [temse.network :as network])
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

(defn- folded
  [text]
  (string/replace (.toLowerCase ^String text Locale/ROOT) #"\.$" ""))

(defn- beginning
  "Returns the text before the first semicolon, without comments, quotes and backslashes, and whether all that
  was opened there was closed, too."
  [^String value]
  (let [text (StringBuilder.)]
    (loop [i 0, depth 0, quoted? false]
      (let [c (when (< i (.length value)) (.charAt value i))
            plain? (and (zero? depth) (not quoted?))]
        (cond
          (or (nil? c) (and plain? (= \; c))) [(str text) plain?]
          (and (= \\ c) (not plain?)) (do (when (and quoted? (< (inc i) (.length value)))
                                            (.append text (.charAt value (inc i))))
                                          (recur (+ i 2) depth quoted?))
          (and (= \" c) (zero? depth)) (recur (inc i) depth (not quoted?))
          (and (= \( c) (not quoted?)) (do (.append text " ") (recur (inc i) (inc depth) false))
          (and (= \) c) (pos? depth)) (recur (inc i) (dec depth) false)
          :else (do (when (zero? depth) (.append text (char c)))
                    (recur (inc i) depth quoted?)))))))

(defn- claims?
  "Returns true if the value of a field begins with one of our names."
  [ours value]
  (let [[text closed?] (beginning value)
        text (folded (string/trim text))]
    (or (contains? ours text)
        (contains? ours (folded (first (string/split text #"[\s/=,]" 2))))
        (and (not closed?) (some #(string/includes? (folded value) %) ours)))))

(defn- forged?
  [ours [field-name value]]
  (and (.equalsIgnoreCase "Authentication-Results" (string/trim field-name))
       (some #(claims? ours %) [value (mime/decode-header value)])))

(defn- cleaned
  [{:keys [authserv-ids trusted-networks]} message context]
  (let [ours (into #{} (map folded) (or (seq authserv-ids) (some-> (mta-name context) list)))]
    (cond
      (network/includes? trusted-networks (client-address context)) nil
      (empty? ours) [(assoc (act/temporary-failure) :why "neither :authserv-ids nor the MTA's name is known")]
      :else (changed context (update message :headers #(into [] (remove (partial forged? ours)) %))))))

(defn filter
  ([] (filter nil))
  ([file]
   (let [settings (read-settings
                    file
                    {:authserv-ids ["a sequence of names such as [\"mx.example.org\"]"
                                    #(and (sequential? %) (every? (fn [x] (re-matches #"[^\s\"();,/=\\]+" x)) %)) []]
                     :trusted-networks ["networks such as [\"192.0.2.0/24\"]" network/networks []]})]
     {:handlers (message-filter (partial cleaned (update settings :trusted-networks network/networks))
                                {:body? false})
      :wants #{:mta-name :client-address}
      :actions #{:change-header :add-header}})))
