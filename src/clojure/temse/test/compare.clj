(ns temse.test.compare
  "Where a filter behaves differently behind Postfix and behind Sendmail.

    (print-comparison (compare-mtas {:handlers handlers} (io/file \"spam.eml\")))"
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.impl.session :as session]
   [temse.mta :as mta]
   [temse.report :as report]
   [temse.test :as test])
  (:import
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private mtas [:postfix :sendmail])

(defn- played
  "Returns the outcome of the mail behind an MTA."
  [filter mail options mta]
  (let [{:keys [sent conversation agreement]}
        (test/run-message filter mail (assoc options :mta mta))]
    (mta/outcome {:mta mta :message sent :conversation conversation :agreement agreement})))

(defn- refusal
  "Returns a reply as one text if it refuses or defers."
  [{:keys [smtp-code enhanced-code text]}]
  (when (and smtp-code (<= 400 smtp-code))
    (string/join " " (remove string/blank? [(str smtp-code) enhanced-code text]))))

(defn- dialogue
  [{:keys [smtp fate]}]
  (into {[:fate] fate
         [:smtp :recipients] (mapv refusal (:recipients smtp))}
        (for [stage [:greeting :hello :mail :data :message]]
          [[:smtp stage] (refusal (get smtp stage))])))

(defn- delivery
  [{{:keys [sender options recipients recipient-options headers body quarantine]} :message}]
  {[:message :sender] sender
   [:message :options] options
   [:message :recipients] (frequencies
                            (map vector recipients (concat recipient-options (repeat []))))
   [:message :headers] (into [] (remove (comp :made meta)) headers)
   [:message :body] (if (bytes? body) (Text/decode body) body)
   [:message :quarantine] quarantine})

(defn- comparable
  "Returns what is compared of an outcome, by its path. Neither what an accepting MTA says nor the
  fields that it makes are the filter's doing."
  [outcome deliveries?]
  (cond-> (dialogue outcome)
    deliveries? (merge (delivery outcome))))

(def ^:private paths
  "All paths, in the order of events."
  [[:smtp :greeting] [:smtp :hello] [:smtp :mail] [:smtp :recipients] [:smtp :data] [:smtp :message]
   [:fate] [:message :sender] [:message :options] [:message :recipients] [:message :headers]
   [:message :body] [:message :quarantine]])

(defn compare-mtas
  "Plays a mail to a filter twice, as Postfix and as Sendmail would, and returns

    :differences   ; vector of {:what :postfix :sendmail}, :what being a path in the outcomes such
                   ; as [:smtp :message]; empty if the filter behaves the same
    :postfix       ; the outcome of temse.mta behind Postfix
    :sendmail      ; and behind Sendmail

  Filter and mail are those of temse.test/run-message, and so are the options, but for :mta. The
  texts of accepting replies, the order of recipients, and the header fields that the MTAs make are
  not compared."
  ([filter mail]
   (compare-mtas filter mail {}))
  ([filter mail options]
   (keys/check "the options of compare-mtas" options (dissoc session/message-options :mta))
   (let [outcomes (into {} (map (juxt identity #(played filter mail options %))) mtas)
         deliveries? (every? :message (vals outcomes))
         {:keys [postfix sendmail]} (update-vals outcomes #(comparable % deliveries?))]
     (assoc outcomes
            :differences (vec (for [path paths
                                    :let [ours (get postfix path)
                                          theirs (get sendmail path)]
                                    :when (not= ours theirs)]
                                {:what path :postfix ours :sendmail theirs}))))))

(defn- text-lines
  "Returns a compared value as lines of text."
  [[_ part] value]
  (cond
    (nil? value) []
    (= :headers part) (mapcat (fn [[header-name value]]
                                (string/split-lines (str header-name ": " value)))
                              value)
    (= :recipients part) (map (fn [recipient] (if (string? recipient) recipient (pr-str recipient)))
                              value)
    (= :body part) (string/split-lines value)
    :else [(if (string? value) value (pr-str value))]))

(defn print-comparison
  "Prints what compare-mtas returned: each difference with what Postfix has marked -, what Sendmail
  has marked +, and what both have unmarked."
  [{:keys [differences] :as comparison}]
  (keys/check-result comparison :differences "compare-mtas")
  (if (empty? differences)
    (println "No difference between Postfix and Sendmail")
    (doseq [{:keys [what postfix sendmail]} differences]
      (println (string/join " " (map name what)))
      (run! #(println (str "  " %))
            (report/difference (text-lines what postfix) (text-lines what sendmail))))))
