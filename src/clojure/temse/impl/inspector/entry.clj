(ns temse.impl.inspector.entry
  "What the inspector shows of an exchange: data of bounded size whose texts are printable."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.line :as line]
   [temse.mta :as mta]
   [temse.report :as report])
  (:import
   (java.time Instant)
   (temse.protocol ActionFlag ActionType ActionType$Kind ProtocolFlag Text)))

(set! *warn-on-reflection* true)

;; ---- values of strangers, cut

(def ^:private longest-string 400)
(def ^:private most-elements 20)
(def ^:private deepest 4)

(defn- brief
  "Returns a value of anybody as one that is quick to print: deep, long and endless parts are cut."
  [value depth]
  (let [inner #(brief % (inc (long depth)))
        some-of (fn [things]
                  (let [[shown more] (split-at most-elements things)]
                    (cond-> (mapv inner shown)
                      (seq more) (conj (if (counted? things)
                                         (symbol (str "...and-" (- (count things) (long most-elements)) "-more"))
                                         '...)))))]
    (cond
      (string? value) (if (< (long longest-string) (count value))
                        (str (subs value 0 longest-string) "...")
                        value)
      (bytes? value) (symbol (str "bytes[" (alength ^bytes value) "]"))
      (and (coll? value) (<= (long deepest) (long depth))) '...
      (record? value) (symbol (.getName (class value)))
      (map? value) (cond-> (into {} (map (fn [[k v]] [(inner k) (inner v)])) (take most-elements value))
                     (< (long most-elements) (count value)) (assoc '... (count value)))
      (set? value) (set (some-of value))
      (sequential? value) (some-of value)
      (or (nil? value) (boolean? value) (number? value) (char? value) (symbol? value) (keyword? value)) value
      :else (symbol (str "#<" (.getName (class value)) ">")))))

(defn- shown
  [value]
  (try
    (line/printable (binding [*print-length* nil, *print-level* nil] (pr-str (brief value 0))))
    (catch Throwable problem
      (str "a value that cannot be shown: " (.getName (class problem))))))

;; ---- the context

(def ^:private most-changes 50)

(defn- changes
  "Returns what a handler has changed in the context: [key before after], nil for what is not there."
  [{:keys [before after]}]
  (when (and before after)
    (into []
          (comp (remove #(identical? (get before % ::none) (get after % ::none)))
                (map (fn [k]
                       [(shown k)
                        (when (contains? before k) (shown (get before k)))
                        (when (contains? after k) (shown (get after k)))]))
                (remove (fn [[_ before after]] (= before after)))
                (take most-changes))
          (distinct (concat (keys before) (keys after))))))

;; ---- the answer

(def ^:private most-actions 50)

(defn- tone
  "Returns what kind of answer an action is: :go-on, :refuse, :accept or :change."
  [{:keys [action smtp-code]}]
  (case action
    (:continue :skip :progress) :go-on
    :accept :accept
    :reply-code (if (and (int? smtp-code) (< (long smtp-code) 500)) :defer :refuse)
    :temporary-failure :defer
    (let [type (ActionType/ofKeyword action)]
      (if (and type (= ActionType$Kind/REPLY (.-kind type))) :refuse :change))))

(defn- answer
  [action]
  (let [why (get action :why (:why (meta action)))]
    (cond-> {:text (line/action-text (vary-meta (dissoc action :why) dissoc :why))
             :tone (tone action)}
      (some? why) (assoc :why (line/printable (line/why-text (brief why 0)))))))

(defn answers
  "Returns actions as the page shows them."
  [actions]
  (cond-> (mapv answer (take most-actions actions))
    (seq (drop most-actions actions))
    (conj {:text (str "... " (count actions) " actions"), :tone :change})))

;; ---- failures

(defn cut-text
  "Returns a text of anybody as one that is printable and not long."
  [text]
  (let [text (str text)]
    (line/printable (subs text 0 (min 1000 (count text))))))

(defn failure-text
  "Returns what has failed, and why."
  [^Throwable failure]
  (cut-text (str (.getName (class failure)) ": " (ex-message failure))))

;; ---- the negotiation

(defn- flag-text
  [flag]
  (let [flag-name (name flag)]
    (case flag
      :skip "the filter may skip the rest of a body"
      :leading-space "values of header fields come with the space after the colon"
      :rejected-recipients "recipients that the MTA refuses are reported, too"
      (cond
        (string/starts-with? flag-name "no-reply-") (str "the MTA waits for no answer to " (subs flag-name 9))
        (string/starts-with? flag-name "no-") (str "the MTA does not report " (subs flag-name 3))
        :else flag-name))))

(def ^:private action-texts
  {:add-header "add header fields"
   :change-body "replace the body"
   :add-recipient "add recipients"
   :add-recipient-parameters "add recipients with ESMTP parameters"
   :delete-recipient "remove recipients"
   :change-header "change and delete header fields"
   :quarantine "hold the message in quarantine"
   :change-sender "change the sender"
   :request-macros "choose the macros of each stage"})

(defn- negotiation
  "Returns what was offered and agreed, flag by flag."
  [{:keys [event] [agreed] :response}]
  (let [row (fn [k flag constant text]
              {:flag constant
               :text text
               :offered (contains? (get event k) flag)
               :agreed (contains? (get agreed k) flag)})]
    {:version (:version agreed)
     :offered-version (:version event)
     :actions (for [^ActionFlag flag (ActionFlag/values)
                    :let [k (.-keyword flag)]]
                (row :actions k (.-constant flag) (str "may " (action-texts k (name k)))))
     :protocol (for [^ProtocolFlag flag (ProtocolFlag/values)
                     :let [k (.-keyword flag)]]
                 (row :protocol k (.-constant flag) (flag-text k)))
     :macros (for [[stage names] (:macros agreed)]
               [(name stage) (line/printable (string/join " " names))])}))

;; ---- the mail before and after

(def ^:private most-fields
  "Header fields, and recipients, of a mail that is shown before and after."
  1000)

(def ^:private most-octets
  "Bytes of a header, and of the beginning of a body, that is shown before and after."
  65536)

(def ^:private most-lines
  "Lines of a body that are shown."
  60)

(defn- grown
  "Returns the mail with a thing at a key, and without its content where it has become too large."
  [mail k thing size]
  (let [size (+ (long (:size mail)) (long size))]
    (if (or (< (long most-octets) size) (< (long most-fields) (count (get mail k))))
      {:too-large? true, :size 0}
      (-> mail (update k conj thing) (assoc :size size)))))

(defn- text-of
  "Returns the text of the first bytes, at most so many."
  [^bytes data most]
  (Text/decode data 0 (int (min (alength data) (long most)))))

(defn- with-body
  [{:keys [^String body octets] :as mail} ^bytes data]
  (let [room (min (alength data) (- (long most-octets) (count body)))]
    (assoc mail
           :octets (+ (long octets) (alength data))
           :body (if (pos? room)
                   (str body (text-of data room))
                   body))))

(defn collected
  "Returns a mail after an event, for `before-and-after`; nil where none is in progress."
  [{:keys [too-large?] :as mail} {:keys [event sender address name value data]}]
  (case event
    :mail {:sender sender, :recipients [], :headers [], :body "", :octets 0, :size 0}
    (:abort :message-end :disconnect) nil
    (if (or (nil? mail) too-large?)
      mail
      (case event
        :recipient (grown mail :recipients address (count address))
        :header (grown mail :headers [name value] (+ (count name) (count value)))
        :body (with-body mail data)
        mail))))

(defn- cut-body
  [body]
  (cond
    (string? body) (subs body 0 (min (count body) (long most-octets)))
    (bytes? body) (text-of body most-octets)
    :else "(a new body)"))

(defn action-lines
  "Returns what an action does, in lines."
  [{:keys [body] :as action}]
  (if body
    (string/split-lines (cut-body body))
    [(shown action)]))

(defn- mail-lines
  [{:keys [sender recipients headers body]} octets]
  (let [text-lines (string/split-lines (cut-body body))]
    (concat [(str "MAIL FROM: " sender)]
            (map #(str "RCPT TO: " %) recipients)
            [""]
            (map (fn [[field value]] (str field ": " value)) headers)
            [""]
            (take most-lines text-lines)
            (when (or (< (long most-lines) (count text-lines)) (< (count body) (long octets)))
              [(str "... (" octets " bytes)")]))))

(defn- whole?
  "Returns true if the filter receives all that is needed to say what becomes of a mail."
  [agreement]
  (and agreement
       (not-any? (set (:protocol agreement)) [:no-mail :no-recipient :no-headers :no-body])))

(defn before-and-after
  "Returns the lines of a mail at its end, those that its modifications remove and add marked - and +; nil
  where not everything of it was seen."
  [{:keys [too-large? octets] :as mail} agreement mta response]
  (when (and mail (not too-large?) (whole? agreement))
    (let [message (select-keys mail [:sender :recipients :headers :body])
          changes (into []
                        (comp (filter #(= :change (tone %)))
                              (map #(cond-> (dissoc % :why) (:body %) (update :body cut-body))))
                        response)
          after (mta/apply-actions message changes
                                   {:mta mta
                                    :leading-space? (contains? (set (:protocol agreement)) :leading-space)})
          new-octets (or (some #(when (:body %) (count (cut-body (:body %)))) response) octets)]
      (mapv line/printable
            (report/difference (mail-lines message octets) (mail-lines after new-octets))))))

;; ---- the whole

(def ^:private most-details 40)

(defn- details
  "Returns what an event holds, [key text] each."
  [event]
  (into []
        (comp (remove (comp #{:event} key))
              (take most-details)
              (map (fn [[k v]] [(name k) (if (string? v)
                                           (line/printable (subs v 0 (min 2000 (count v))))
                                           (shown v))])))
        event))

(defn of
  "Returns an exchange as data for the page."
  [{:keys [id peer mail event response ^Instant at millis failure] :as exchange}]
  (let [event-name (:event event)
        options? (= :options event-name)
        changed (changes exchange)]
    (cond-> {:id id
             :peer (line/printable peer)
             :mail mail
             :at (.toEpochMilli at)
             :event (name event-name)
             :text (line/event-text event)
             :millis (double millis)
             :details (when-not options? (details event))
             :answers (when-not options? (answers response))}
      options? (assoc :negotiation (negotiation exchange))
      (seq changed) (assoc :changes changed)
      failure (assoc :failure (failure-text failure))
      (= :connect event-name) (assoc :client (line/printable (str (:host-name event) " " (:address event))))
      (= :mail event-name) (assoc :sender (line/printable (:sender event)))
      (= :message-end event-name) (assoc :verdict (name (:reason event))))))
