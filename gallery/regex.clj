(ns regex
  "Filters mail by the rules of a milter-regex.conf, and decides as milter-regex 3.1 does.

    bin/temse run gallery/regex.clj --listen ADDRESS -- /etc/milter-regex.conf
    bin/temse run gallery/regex.clj -- --check /etc/milter-regex.conf

  Its settings are in that file: see gallery/milter_regex_conf.clj. With each event some terms of the rules
  become true, and those that can no more are false. The first rule that becomes true decides; where none
  can any more, the mail is accepted. Where milter-regex decides otherwise doc/gallery.org says why.

  A faulty file is refused with file, line, column and what would be right. SIGHUP reads it again; if
  it has become faulty, the rules that were there go on. Before its name

    -m LINES   leaves the lines of a body behind these and one more unexamined
    --check    reads the file only; the exit code is 1 if it is faulty"
  (:refer-clojure :exclude [filter])
  (:require
   [body-lines :as lines]
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [milter-regex-conf :as conf]
   [regex-rules :as rules]
   [regex-texts :as texts]
   [temse.action :as act]
   [temse.milter :refer [message respond update-message]]))

(set! *warn-on-reflection* true)

(defn- reply
  "Returns the reply that an action means. A text that is no single line gives way to the MTA's own."
  [{:keys [action ^String text]}]
  (let [[smtp-code enhanced-code] ({:reject [554 "5.7.1"], :temporary-failure [451 "4.7.1"]} action)]
    (if (and smtp-code (not (re-find #"[\r\n]" text)) (<= (count (.getBytes text "UTF-8")) 980))
      (act/reply-code smtp-code enhanced-code text)
      {:action action})))

(defn- answered
  "Returns the context with the reply of the rule that has decided, if one has."
  [context {:keys [file]} {{:keys [action line] :as rule} :decision}]
  (cond-> context
    action (respond (assoc (reply rule)
                           :why (if line {:file file, :line line} "no rule can become true any more")))))

;; ---- events

(defn- on-connect
  [conf event context]
  (assoc context
         ::client (texts/seen event)
         ::connected (rules/connected conf (texts/seen-macros :connect context))))

(defn- greeted
  [conf event context]
  (rules/greeted (::connected context (rules/connected conf [])) conf (::client context)
                 (texts/seen-macros :hello context) (texts/seen event)))

(defn- on-hello
  "No MTA can discard mail here: each is discarded when it comes."
  [conf event context]
  (let [state (greeted conf event context)]
    (cond-> (assoc context ::greeted state)
      (not= :discard (:action (:decision state))) (answered conf state))))

(defn- before-message
  [conf context]
  (::greeted context (rules/connected conf [])))

(defn- state-of
  [conf context]
  (:state (message context) (before-message conf context)))

(defn- go-on
  [context conf state]
  (answered (update-message context assoc :state state) conf state))

(defn- on-mail
  "A client that has said no HELO has said an empty one."
  [conf event context]
  (let [before (or (::greeted context) (greeted conf {:event :hello, :greeting ""} context))
        state (rules/sent before conf (texts/seen event) (texts/seen-macros :mail context))]
    (go-on (update-message context assoc :mail state) conf state)))

(defn- on-recipient
  [conf event context]
  (let [mail (:mail (message context) (before-message conf context))
        state (rules/received (state-of conf context) conf mail
                              (texts/seen event) (texts/seen-macros :recipient context))]
    (answered (update-message context assoc :state (dissoc state :decision)) conf state)))

(defn- on-header
  [{:keys [terms] :as conf} {:keys [name value] :as event} context]
  (-> (cond-> context (:decoded-body terms) (update-message update :headers (fnil conj []) [name value]))
      (go-on conf (rules/headed (state-of conf context) conf (texts/seen event (:decoded-header terms))))))

(defn- on-end-of-headers
  [{:keys [terms max-lines] :as conf} _event context]
  (let [{:keys [headers]} (message context)
        scanners (cond-> {}
                   (:body terms) (assoc :body (lines/raw max-lines))
                   (:decoded-body terms) (assoc :decoded-body (lines/decoded headers max-lines)))]
    (-> (update-message context assoc :scanners scanners)
        (go-on conf (rules/header-ended (state-of conf context) conf)))))

(defn- on-body
  [conf {:keys [data]} context]
  (go-on context conf (rules/read-lines (state-of conf context) conf
                                        (update-vals (:scanners (message context)) #(% data)))))

(defn- on-end-of-message
  [conf _event context]
  (let [left (update-vals (:scanners (message context)) #(%))
        {:keys [decision held] :as state} (rules/ended (state-of conf context) conf left)]
    (if decision
      (answered context conf state)
      (respond context
               (assoc (act/quarantine (string/replace (:text held) #"[\r\n]+" " "))
                      :why {:file (:file conf), :line (:line held)})
               (act/accept)))))

;; ---- the filter

(def ^:private handlers
  {:connect on-connect, :hello on-hello, :mail on-mail, :recipient on-recipient, :header on-header
   :end-of-headers on-end-of-headers, :body on-body, :end-of-message on-end-of-message})

(defn- check
  [path]
  (try
    (let [{:keys [rules warnings]} (conf/read-file path)]
      (run! println (conj warnings (str path ": no fault; number of rules: " (count rules))))
      0)
    (catch Exception e
      (println (ex-message e))
      1)))

(defn filter
  "Returns the filter for the rules of a file, or the exit code of --check."
  [& arguments]
  (let [[_ option number path] (re-matches #"(?:(--check) |-m (\d+) )?(.+)" (string/join " " arguments))]
    (cond
      (nil? path) (throw (ex-info "give the file of rules: [--check | -m LINES] FILE" {}))
      option (check path)
      :else (let [{:keys [rules warnings] :as conf} (conf/read-file path)
                  conf (assoc conf :max-lines (parse-long (or number "0")))]
              (run! #(log/warn %) warnings)
              {:handlers (update-vals (select-keys handlers (texts/needed-events conf))
                                      (fn [handler] #(handler conf %1 %2)))
               :no-reply-events #{:connect}
               :request-macros (texts/needed-macros conf)
               :actions (if (some #(= :quarantine (:action %)) rules) #{:quarantine} #{})}))))
