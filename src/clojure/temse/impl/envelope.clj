(ns temse.impl.envelope
  "What is kept of each SMTP client and its mail for the words of temse.envelope: which events and macros
  each needs, and what the events bring."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (java.time Instant)
   (temse.protocol MacroTable)))

(set! *warn-on-reflection* true)

(def ^:private with-tls
  "The client may start TLS after it has said hello, and not say hello again."
  [:hello :mail])

(def ^:private queue-id-stages
  "Sendmail's queue id at the earlier ones is not that of the mail."
  [:mail :recipient :data :end-of-headers :end-of-message])

(defn- at
  "Returns the need of macros at stages."
  [stages & names]
  {:macros (zipmap stages (repeat names))})

(def ^:private simple-needs
  "What each word needs: events, and macros by stage."
  {:client-address {:events #{:connect}}
   :client-name {:events #{:connect} :macros {:connect ["_"]}}
   :client-port {:events #{:connect}}
   :hello-name {:events #{:hello}}
   :sender {:events #{:mail}}
   :recipients {:events #{:recipient}}
   :smtputf8? {:events #{:mail}}
   :receive-time {:events #{:mail}}
   :queue-id (assoc (at queue-id-stages "i") :events #{:mail})
   :mta-name (at [:connect] "j")
   :authenticated-user (at [:mail] "{auth_authen}")
   :tls-version (at with-tls "{tls_version}")
   :cipher (at with-tls "{cipher}")
   :cipher-bits (at with-tls "{cipher_bits}")
   :cert-subject (at with-tls "{cert_subject}")
   :cert-issuer (at with-tls "{cert_issuer}")})

(def ^:private of-sendmail
  "What Sendmail makes its Received field of, besides."
  (at [:mail] "b" "r" "s" "Z" "{auth_type}" "{auth_ssf}" "{verify}"))

(defn- together
  [needs]
  {:events (into #{} (mapcat :events) needs)
   :macros (apply merge-with (comp vec distinct concat) (keep :macros needs))})

(def needs
  "What each word needs, that of the Received field included."
  (assoc simple-needs
         :received-header (together (conj (vals simple-needs) of-sendmail (at [:connect] "_" "v")))))

(defn words?
  "Returns true for what :wants may be."
  [x]
  (and (or (set? x) (sequential? x)) (every? keyword? x)))

(defn check-words
  "Returns the words, a set. Throws :bad-options if there is no such word."
  [wants]
  (doseq [word wants]
    (when-not (needs word)
      (throw (keys/no-such :wants word (str ":wants: there is no word " (keys/shown word)) (keys needs)
                           (str "The words are " (string/join " " (sort (keys needs))))))))
  (set wants))

(defn needed
  "Returns the :events and :macros that words need together."
  [wants]
  (together (map needs (check-words wants))))

;; ---- what events bring

(def facts
  "What is known of a client and its mail by events, for contexts that are made by hand."
  (let [line ["a string" string?]]
    {:client-address line
     :client-name line
     :client-port ["a number" int?]
     :hello-name line
     :sender line
     :recipients ["a vector of strings" #(and (vector? %) (every? string? %))]
     :smtputf8? keys/truth
     :receive-time ["a java.time.Instant" #(instance? Instant %)]}))

(defn beginning
  "Returns the envelope of a connection on which nothing has come, for words; nil if there are none."
  [wants]
  (let [words (check-words wants)]
    (when (seq words)
      {:words (cond-> words (words :received-header) (into (keys simple-needs)))})))

(defn- verified
  "Returns the name of a client that its address belongs to, or nil."
  [host-name ^MacroTable macros]
  (when-not (or (contains? #{nil "unknown"} host-name)
                (string/starts-with? host-name "[")
                (some-> (.get macros "_") (string/includes? "may be forged")))
    host-name))

(defn- with-client
  [envelope {:keys [family address port host-name]} macros]
  (let [host-name (verified host-name macros)]
    (cond-> (select-keys envelope [:words])
      host-name (assoc :client-name host-name)
      (#{:inet :inet6} family) (assoc :client-address address :client-port port))))

(defn- without-mail
  [envelope]
  (dissoc envelope :sender :recipients :smtputf8? :receive-time))

(defn after
  "Returns the envelope after an event."
  [envelope {:keys [event] :as given} ^MacroTable macros]
  (case event
    :connect (with-client envelope given macros)
    :hello (assoc envelope :hello-name (:greeting given))
    :mail (assoc (without-mail envelope)
                 :sender (:sender given)
                 :smtputf8? (boolean (some #(re-find #"(?i)(?:^| )SMTPUTF8(?: |$)" %) (:options given)))
                 :receive-time (Instant/now))
    :recipient (cond-> envelope
                 (not= "error" (.get macros "rcpt_mailer"))
                 (update :recipients (fnil conj []) (:address given)))
    envelope))

(defn ended
  "Returns the envelope after the end of a message or of a client, by the event that says so."
  [envelope event]
  (if (= :disconnect event)
    (select-keys envelope [:words])
    (without-mail envelope)))
