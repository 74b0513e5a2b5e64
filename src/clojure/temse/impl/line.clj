(ns temse.impl.line
  "Events and actions as one printable line each, of bounded length, whatever they hold."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.text :as text])
  (:import
   (temse.protocol Printable Why)))

(set! *warn-on-reflection* true)

(def ^:private widest-text 60)

(def ^:private widest-word 320)

(def ^:private widest-line 2000)

(def ^:private most-words 20)

(defn- plain
  "Returns the text of a value, of one that is no text or name its class: printing it may be a user's
  code, or have no end."
  ^String [value]
  (cond
    (nil? value) ""
    (string? value) value
    (keyword? value) (name value)
    (or (int? value) (double? value) (symbol? value) (char? value) (boolean? value)) (str value)
    :else (str "(" (.getName (class value)) ")")))

(defn- shortened
  [value]
  (let [text (plain value)
        beginning (subs text 0 (min (count text) (* 2 (long widest-text))))]
    (Printable/of ^String (string/replace beginning #"\r?\n" "\\\\n") (int widest-text))))

(defn printable
  "Returns the text of a value as one printable line of bounded length."
  ^String [value]
  (Printable/of (plain value) (int widest-line)))

(defn word
  "Returns a value as one printable word of bounded length."
  [value]
  (Printable/of (plain value) (int widest-word)))

(defn- words
  "Returns the values that are there and, one by one, those of a collection in one text."
  [values more]
  (let [more (if (sequential? more) more (when (some? more) [more]))
        shown (take most-words more)]
    (string/join " " (concat (map word (remove nil? values))
                             (map word shown)
                             (when (seq (drop most-words more)) ["..."])))))

(defn why-text
  "Returns the reason of an action, which is data of any kind, in one printable line. The name of one of
  several filters comes first."
  [why]
  (Why/text why))

(defmacro line
  "Returns what the body returns, a text, as a printable line, whatever goes wrong."
  [what & body]
  `(try
     (printable (do ~@body))
     (catch Throwable problem#
       (str ~what " that cannot be shown: " (.getName (class problem#))))))

(defn- body-text
  [body]
  (cond
    (string? body) (str (count body) " characters")
    (bytes? body) (str (alength ^bytes body) " bytes")
    :else "new body"))

(defn- undecodable-text
  [{:keys [code data problem]}]
  (str "packet " (if (<= 33 (long code) 126) (str "'" (char code) "'") (text/formatted "0x%02x" code))
       " of " (alength ^bytes data) " bytes, not decoded: " (plain problem)))

(defn event-text
  "Returns an event in one printable line, in the words of SMTP where there are some. Takes any map."
  [event-map]
  (let [field #(get event-map %)
        event (field :event)]
    (line "an event"
          (case event
            :options (str "options version " (word (field :version)))
            :connect (words ["connect" (field :host-name) (field :address) (field :port)] nil)
            :hello (str "hello " (word (field :greeting)))
            :mail (words ["mail" (field :sender)] (field :options))
            :recipient (words ["recipient" (field :address)] (field :options))
            :header (str "header " (word (field :name)) ": " (shortened (field :value)))
            :body (str "body, " (body-text (or (field :data) (byte-array 0))))
            :unknown (str "unknown " (shortened (field :command)))
            :undecodable (undecodable-text event-map)
            :define-macro (str "define-macro " (word (or (field :stage) :unknown)) " "
                               (string/join " " (map (fn [[k v]] (str (word k) "=" (word v)))
                                                     (take most-words (field :definitions)))))
            (:message-end :disconnect) (str (name event) " (" (word (field :reason)) ")")
            (word event)))))

(defn- plain-action-text
  [action-map]
  (let [field #(get action-map %)
        action (field :action)]
    (line "an action"
          (case action
            :reply-code (str (word (field :smtp-code)) " "
                             (when-let [code (field :enhanced-code)] (str (word code) " "))
                             (shortened (field :text)))
            (:add-header :insert-header)
            (str (name action) " " (when-let [p (field :position)] (str "at " (word p) " "))
                 (word (field :name)) ": " (shortened (field :value)))
            (:change-header :delete-header)
            (let [which (str (word (field :name)) " " (word (or (field :index) 1)))]
              (if (and (= :change-header action) (some? (field :value)))
                (str "change-header " which ": " (shortened (field :value)))
                (str "delete-header " which)))
            (:change-body :replace-body) (str "change-body, " (body-text (field :body)))
            (:add-recipient :delete-recipient :change-sender)
            (words [action (field :address)] (field :parameters))
            :quarantine (str "quarantine " (shortened (field :reason)))
            :options (str "options version " (word (field :version)))
            :undecodable (undecodable-text action-map)
            (if (and (nil? action) (= :options (field :event)))
              (event-text action-map)
              (word (or action (field :event))))))))

(defn action-text
  "Returns an action in one printable line, with the reason that it carries. Takes any map."
  [action-map]
  (let [why (get action-map :why (:why (meta action-map)))]
    (if (nil? why)
      (plain-action-text action-map)
      (line "an action"
            (str (plain-action-text action-map) " (" (why-text why) ")")))))
