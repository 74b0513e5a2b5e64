(ns spamassassin
  "Asks SpamAssassin about each mail, marks it, and refuses or holds what has too many points.

    bin/temse run gallery/spamassassin.clj --listen inet:20025@127.0.0.1 -- spamassassin.edn

  The mail gets these fields on top, in place of all fields X-Spam-… that it came with:

    X-Spam-Flag: YES                                         only if it is spam for spamd
    X-Spam-Level: xxxxxx                                     an x for each point, 50 at most
    X-Spam-Status: Yes, score=6.1 required=5.0 tests=A, B
    X-Spam-Unchecked: larger than 512000 bytes               in place of the others, if it was not checked

  The settings, a map in the file, with their defaults:

    {:spamd \"inet:783@127.0.0.1\"           ; where spamd listens, or \"unix:/run/spamd.sock\"
     :timeout 120000                       ; milliseconds that a check may take, 300000 at most
     :max-size 512000                      ; bytes of a mail that is checked
     :when-larger :pass                    ; what happens to a larger one: :pass, :defer or :reject
     :when-down :defer                     ; what happens if spamd does not answer: :defer or :pass
     :reject-score nil                     ; points from which on a mail is refused; nil: never
     :quarantine-score nil                 ; points from which on a mail is held by the MTA; nil: never
     :subject-tag nil                      ; text that the subject of spam begins with, such as \"[SPAM]\"
     :user :none                           ; whose preferences hold for a single recipient: the :address,
                                           ; its :local-part without +detail, or :none
     :default-user nil                     ; and whose otherwise; nil: spamd's own
     :networks [\"127.0.0.0/8\" \"::1\"]       ; clients whose mail passes as it is
     :authenticated? true}                 ; whether the mail of clients with AUTH does

  At the end of a message the MTA receives progress, so :timeout may be longer than its own."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [spamc]
   [temse.action :as act]
   [temse.address :as address]
   [temse.compose :refer [wrap-allow]]
   [temse.configuration :refer [read-settings]]
   [temse.envelope :refer [received-header]]
   [temse.filter :refer [changed message-filter]]
   [temse.mail :as mail]
   [temse.network :as network]
   [temse.outage :as outage])
  (:import
   (java.io IOException)
   (java.util Locale)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def ^:private user-name #"[a-z0-9_][a-z0-9_.+=-]{0,63}(@[a-z0-9.-]{1,253})?")

(def ^:private points
  ["a number of points, or nil" #(or (nil? %) (and (number? %) (not (NaN? (double %))))) nil])

(def settings
  {:spamd ["an address" #(Endpoint/parse %) "inet:783@127.0.0.1"]
   :timeout ["milliseconds, 1 to 300000" #(and (int? %) (<= 1 (long %) 300000)) 120000]
   :max-size ["a number of bytes, 1 or more" pos-int? 512000]
   :when-larger [":pass, :defer or :reject" #{:pass :defer :reject} :pass]
   :when-down [":defer or :pass" #{:defer :pass} :defer]
   :reject-score points
   :quarantine-score points
   :subject-tag ["a text of printable ASCII, or nil" #(or (nil? %) (re-matches #"[!-~][ -~]*" %)) nil]
   :user [":address, :local-part or :none" #{:address :local-part :none} :none]
   :default-user ["the name of a user, or nil" #(or (nil? %) (re-matches user-name %)) nil]
   :networks ["networks such as [\"192.0.2.0/24\"]" network/networks ["127.0.0.0/8" "::1"]]
   :authenticated? ["true or false" boolean? true]})

(defn- user-of
  "Returns whose preferences hold for recipients, or nil. Addresses that could be no name of a user are none."
  [{:keys [user default-user]} [recipient & more]]
  (let [given (case user
                :address (address/bare recipient)
                :local-part (:user (address/sub-address recipient))
                :none nil)
        lower-case (.toLowerCase (str given) Locale/ROOT)]
    (if (and (nil? more) (re-matches user-name lower-case)) lower-case default-user)))

(defn- without-spam-fields
  [headers]
  (remove (fn [[field]] (re-find #"(?i)^X-Spam-" field)) headers))

(defn- tagged
  "Returns the header fields with the tag before the subject, once, unless that is too long for a line."
  [headers tag]
  (let [subjects (mail/header-values headers "Subject")]
    (cond
      (empty? subjects) (mail/add-header headers "Subject" tag)
      (some #(or (string/starts-with? % tag) (< 900 (count (mail/body-bytes %)))) subjects) headers
      :else (mail/update-headers headers "Subject" #(string/trimr (str tag " " %))))))

(defn- verdict-fields
  [{:keys [spam? score required tests]}]
  (let [status (str (if spam? "Yes" "No") ", score=" score " required=" required " tests="
                    (if (seq tests) (string/join ", " tests) "none"))]
    (concat (when spam? [["X-Spam-Flag" "YES"]])
            (when (<= 1 score) [["X-Spam-Level" (string/join (repeat (min 50 (long score)) "x"))]])
            [["X-Spam-Status" (mail/fold "X-Spam-Status" status)]])))

(defn- unchecked
  "Returns what happens to a mail that was not checked, and why."
  [message context outcome reason details]
  (case outcome
    :defer [(assoc (act/reply-code 451 "4.7.1" "The mail cannot be checked now") :why details)]
    :reject [(assoc (act/reply-code 552 "5.3.4" (str "The mail is " reason)) :why details)]
    :pass (changed context
                   (update message :headers #(cons ["X-Spam-Unchecked" reason] (without-spam-fields %)))
                   (assoc (act/accept) :why details))))

(defn- judged
  [{:keys [reject-score quarantine-score subject-tag]} message context {:keys [spam? score] :as verdict}]
  (if (and reject-score (<= reject-score score))
    [(assoc (act/reply-code 550 "5.7.1" (str "The mail is taken for spam, score " score)) :why verdict)]
    (changed context
             (cond-> (update message :headers #(concat (verdict-fields verdict) (without-spam-fields %)))
               (and spam? subject-tag) (update :headers tagged subject-tag)
               (and quarantine-score (<= quarantine-score score))
               (assoc :quarantine (str "spam, score " score))))))

(defn- ask
  "Returns spamd's verdict, or the IOException for which there is none."
  [{:keys [spamd timeout outage] :as settings} {:keys [headers body recipients]} context]
  (let [fields (cons (received-header context) (without-spam-fields headers))]
    (try
      (let [verdict (spamc/check {:address (.address (Endpoint/parse spamd))
                                  :timeout timeout
                                  :header (mail/message-bytes {:headers fields, :body ""})
                                  :body body
                                  :user (user-of settings recipients)})]
        (outage/worked! outage)
        verdict)
      (catch IOException e
        (outage/failed! outage e)
        e))))

(defn- on-message
  [{:keys [spamd max-size when-larger when-down] :as settings} {:keys [truncated?] :as message} context]
  (let [answer (if truncated? (str "larger than " max-size " bytes") (ask settings message context))]
    (when (and truncated? (= :pass when-larger))
      (log/warn "a mail passes unchecked:" answer))
    (cond
      truncated? (unchecked message context when-larger answer answer)
      (map? answer) (judged settings message context answer)
      :else (unchecked message context when-down "spamd does not answer" (str spamd ": " answer)))))

(defn filter
  ([] (filter nil))
  ([file]
   (let [{:keys [spamd max-size when-down quarantine-score networks authenticated?] :as given} (read-settings file settings)
         settings (assoc given :outage (outage/outage (str "spamd at " spamd)
                                                      {:meanwhile (case when-down
                                                                    :defer "mail is deferred"
                                                                    :pass "mail passes unchecked")}))
         options {:handlers (message-filter #(on-message settings %1 %2)
                                            {:max-message max-size, :when-exceeded :truncate})
                  :wants #{:received-header}
                  :actions (cond-> #{:add-header :change-header} quarantine-score (conj :quarantine))}]
     (if (or (seq networks) authenticated?)
       (wrap-allow options {:networks networks, :authenticated? authenticated?})
       options))))
