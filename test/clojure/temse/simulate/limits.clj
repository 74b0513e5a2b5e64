(ns temse.simulate.limits
  "What is not simulated: the generated comparison leaves it out, and doc/simulate.org lists it."
  (:require
   [clojure.string :as string]))

(set! *warn-on-reflection* true)

(defn- fields
  "Returns the fields of a case, of the client and of the filter, as [name value]."
  [{:keys [mail script]}]
  (concat (map (fn [[field-name value raw]] [field-name (or raw value)]) (:headers mail))
          (keep (fn [{:keys [name value]}] (when value [name value])) (:end-of-message script))))

(defn- named?
  [names [field-name]]
  (contains? names (string/lower-case field-name)))

(defn- long-line?
  [text]
  (some #(< 990 (count %)) (string/split-lines text)))

(def ^:private cut-by-sendmail
  #{"content-type" "date" "from" "full-name" "message-id" "resent-date" "resent-from" "resent-message-id"})

(def not-simulated
  "Of each limit :what it is, the :mtas it concerns, and :matches?, a function of a case of
  temse.simulate.cases that tells whether it meets the limit."
  [{:what "Lines of more than 990 octets, which both MTAs break"
    :mtas #{:postfix :sendmail}
    :matches? (fn [{:keys [mail] :as given}]
                (or (some (comp long-line? second) (fields given))
                    (long-line? (:body mail))))}
   {:what "LF without CR in what the client sends"
    :mtas #{:postfix :sendmail}
    :matches? (fn [{:keys [mail]}] (re-find #"(?<!\r)\n" (:body mail)))}
   {:what (str "Filters that fail, as the MTA's settings say what follows; taken for granted are Postfix's default"
               " and Sendmail's F=T, which defer")
    :mtas #{:postfix :sendmail}
    :matches? (constantly false)}
   {:what (str "The Message-Id, Date and From that Postfix makes for local clients; filters see them, so give them with"
               " the message")
    :mtas #{:postfix}
    :matches? (constantly false)}
   {:what (str "Envelope addresses that RFC 5322 does not know, to which the MTAs send no mail or reply with complaints"
               " of their own")
    :mtas #{:postfix :sendmail}
    :matches? (constantly false)}
   {:what "Parameters of the client that the MTA refuses, such as RET=X and NOTIFY=NEVER,DELAY, or does not know"
    :mtas #{:postfix :sendmail}
    :matches? (constantly false)}
   {:what (str "BY, SIZE beyond the limit, and filters of other libraries that give NOTIFY, ORCPT, RET or ENVID"
               " without a value, at which Sendmail ends without a reply")
    :mtas #{:sendmail}
    :matches? (constantly false)}
   {:what "Address fields in a form that Sendmail writes anew: several addresses, comments, local ones"
    :mtas #{:sendmail}
    :matches? (constantly false)}
   {:what "The fields Message and Text, which end the header"
    :mtas #{:sendmail}
    :matches? #(some (partial named? #{"message" "text"}) (fields %))}
   {:what "A Full-Name with quotes, comments or backslashes"
    :mtas #{:sendmail}
    :matches? #(some (fn [[_ value :as field]]
                       (and (named? #{"full-name"} field) (re-find #"[\"()\\]" value)))
                     (fields %))}
   {:what (str "Values of more than 4,000 octets for Content-Type, Full-Name, and for a field that Sendmail makes"
               " itself: Message-Id, Date, From")
    :mtas #{:sendmail}
    :matches? #(some (fn [[_ value :as field]]
                       (and (named? cut-by-sendmail field) (< 4000 (count value))))
                     (fields %))}])

(defn left-out?
  "Returns true if the simulation of an MTA does not claim to foresee a case."
  [mta given]
  (boolean (some (fn [{:keys [mtas matches?]}] (and (mtas mta) (matches? given))) not-simulated)))

(def ^:private heading "** What is not simulated\n")

(defn section
  "Returns the part of doc/simulate.org that lists it."
  []
  (str heading
       "\nWritten by =clojure -X:test temse.simulate.limits/write!= from the list by which the comparison with"
       "\nthe real MTAs leaves cases out.\n"
       "\n| | Postfix | Sendmail |\n|---|---|---|\n"
       (string/join (for [{:keys [what mtas]} not-simulated
                          :let [mark #(if (mtas %) "x" "")]]
                      (str "| " what " | " (mark :postfix) " | " (mark :sendmail) " |\n")))))

(def page "doc/simulate.org")

(defn write!
  "Writes the section. Arguments are for `clojure -X` and not looked at."
  [& _]
  (let [text (slurp page)
        place (string/index-of text heading)]
    (spit page (str (if place (subs text 0 place) (str text "\n")) (section)))))
