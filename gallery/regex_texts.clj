(ns regex-texts
  "What the terms of a milter-regex.conf see of an event: maps of the kind of a term to the texts that its
  regular expressions match, strings whose characters are bytes."
  (:require
   [clojure.string :as string]
   [temse.milter :as milter]
   [temse.mime :as mime])
  (:import
   (java.net Inet4Address InetAddress)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- in-bytes
  ^String [^String text]
  (String. (Text/encodeBytes text) "ISO-8859-1"))

(defn- short-address
  "Returns the address of a client as inet_ntop writes it."
  [{:keys [family ^String address]}]
  (case family
    :inet address
    :inet6 (let [found (InetAddress/getByName (string/replace address #"%.*" ""))
                 text (.getHostAddress found)
                 zeros (first (sort-by (comp - count) (re-seq #"(?<![^:])0(?::0)+(?![^:])" text)))]
             (cond
               (instance? Inet4Address found) (str "::ffff:" text)
               zeros (string/replace (string/replace-first text zeros ":") #":{2,}" "::")
               :else text))
    "unknown"))

(defn seen
  "Returns what an event shows, the value of a header field also decoded if asked to."
  [{:keys [event host-name greeting sender address name value] :as event-map} & [decoded?]]
  (case event
    :connect {:connect [(in-bytes host-name) (short-address event-map)]}
    :hello {:hello [(in-bytes greeting)]}
    :mail {:mail [(in-bytes sender)]}
    :recipient {:recipient [(in-bytes address)]}
    :header (cond-> {:header [(in-bytes name) (in-bytes value)]}
              decoded? (assoc :decoded-header [(in-bytes name) (in-bytes (mime/decode-header value))]))))

;; ---- macros

(def ^:private macros
  "The macros that terms can see, by the event before which they come."
  (let [tls ["{tls_version}" "{cipher}" "{cipher_bits}" "{cert_subject}" "{cert_issuer}" "{verify}"]]
    {:connect ["{daemon_name}" "{if_name}" "{if_addr}" "j" "_"]
     :hello tls
     :mail (-> (into ["i"] tls)
               (into ["{auth_type}" "{auth_authen}" "{auth_ssf}" "{auth_author}"])
               (into ["{mail_mailer}" "{mail_host}" "{mail_addr}"]))
     :recipient ["{rcpt_mailer}" "{rcpt_host}" "{rcpt_addr}"]}))

(defn seen-macros
  "Returns what each of the macros of an event shows, in their order; one that has not come is empty."
  [event context]
  (for [macro (macros event)]
    {:macro [macro (in-bytes (milter/get-macro context macro ""))]}))

;; ---- what the MTA is asked for

(defn needed-macros
  "Returns the macros whose values terms need, a map of event to names."
  [{:keys [terms]}]
  (into {}
        (for [[event names] macros
              :let [needed? (fn [name] (some (fn [[names?]] (names? name)) (vals (:macro terms))))
                    needed (filterv needed? names)]
              :when (seq needed)]
          [event needed])))

(def ^:private needed-by
  "Events, each with the kinds of terms, and the events with macros, that need it. Those after the
  envelope also serve to accept the mail when no rule can become true any more."
  {:connect [:connect]
   :hello [:connect :hello]
   :mail [:connect :hello :mail]
   :recipient [:recipient]
   :header [:macro :recipient :header :decoded-header :decoded-body]
   :end-of-headers [:macro :recipient :header :decoded-header :body :decoded-body]
   :body [:body :decoded-body]})

(defn needed-events
  "Returns the events that the rules need. Without a term all is known with HELO."
  [{:keys [terms] :as conf}]
  (let [needing (into (set (keys terms)) (keys (needed-macros conf)))]
    (into [:end-of-message]
          (if (empty? needing)
            [:hello]
            (for [[event by] needed-by :when (some needing by)] event)))))
