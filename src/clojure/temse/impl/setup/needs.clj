(ns temse.impl.setup.needs
  "What a filter needs of an MTA, as far as it can be known without a mail: macros, time, and what the MTA
  must offer."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.macros :as macros]
   [temse.impl.negotiation :as negotiation]
   [temse.impl.options :as options])
  (:import
   (clojure.lang LineNumberingPushbackReader)
   (temse.protocol ActionFlag EventType MacroStage Request)))

(set! *warn-on-reflection* true)

;; ---- macros in the source

(defn- strings
  [forms]
  (filter string? forms))

(defn- named-in
  "Returns the names of macros that a form reads, if it is a call of get-macro or a path through :macros."
  [form]
  (cond
    (and (seq? form) (symbol? (first form)) (= "get-macro" (name (first form)))) (take 1 (strings (rest form)))
    (and (vector? form) (some #{:macros} form)) (strings form)
    (and (string? form) (re-matches #"\{\w+\}" form) (macros/known? form)) [form]))

(defn- branches
  "Returns the forms in a form, none in a comment."
  [form]
  (when-not (and (seq? form) (= 'comment (first form)))
    (seq form)))

(defn- forms
  "Returns the forms of a source up to the first that cannot be read."
  [source]
  (with-open [reader (LineNumberingPushbackReader. (io/reader source))]
    (binding [*read-eval* false
              *default-data-reader-fn* tagged-literal]
      (loop [read-forms []]
        (let [form (try
                     (read {:read-cond :allow, :eof ::end} reader)
                     (catch RuntimeException _ ::end))]
          (if (= ::end form)
            read-forms
            (do (when (and (seq? form) (= 'ns (first form)) (find-ns (second form)))
                  (set! *ns* (find-ns (second form))))
                (recur (conj read-forms form)))))))))

(defn macros-read
  "Returns the bare names of the macros that sources read: the literal names in calls of get-macro, in
  paths such as [:macros :mail \"i\"], and all literals such as \"{auth_authen}\". What is computed at run
  time, or read by libraries, cannot be seen."
  [sources]
  (binding [*ns* *ns*]
    (into (sorted-set)
          (comp (mapcat forms)
                (mapcat #(tree-seq coll? branches %))
                (mapcat named-in)
                (map macros/bare-name))
          sources)))

;; ---- what a filter asks for

(defn- events
  "Returns the events that a filter handles: all where only :init knows."
  [{:keys [handlers init default-reply]}]
  (if (and handlers (= identity init))
    (into (set (keys (negotiation/handler-map handlers))) (keys default-reply))
    options/event-names))

(defn- bare-lists
  [lists]
  (into {}
        (map (fn [[^MacroStage stage names]] [(.-keyword stage) (mapv macros/bare-name names)]))
        lists))

(defn of-filter
  "Returns what a filter needs, its sources being files or URLs:

    :title                 its name
    :events                the events that it handles
    :asked                 the macros that it asks for in the negotiation, stage to bare names
    :given                 those that the filter itself names under :request-macros
    :read                  the macros that its sources read, see `macros-read`
    :timeouts              milliseconds by event
    :progress-interval     milliseconds
    :progress-events       the events at which progress is sent
    :actions               the changes that it may make
    :rejected-recipients?  whether it wants to see recipients that the MTA refuses
    :listen                where its options say to listen, or nil

  Throws :bad-options where start-milter does."
  [filter title sources]
  (let [given (options/of-filter filter)
        options (options/check given)
        ^Request request (negotiation/request options)
        handled (events options)]
    {:title (:name given title)
     :events handled
     :asked (bare-lists (.macros request))
     :given (update-vals (or (:request-macros options) {}) #(mapv macros/bare-name %))
     :read (macros-read sources)
     :timeouts (select-keys (options/handler-timeouts options) handled)
     :progress-interval (:progress-interval options)
     :progress-events (into #{} (map #(.-keyword (options/event-type :progress-events %))) (:progress-events options))
     :actions (into #{} (map #(.-keyword ^ActionFlag %)) (concat (.actions request) (.optionalActions request)))
     :rejected-recipients? (boolean (:rejected-recipients? options))
     :listen (when (some options [:address :port :socket-path])
               (options/endpoint options))}))

(defn patience
  "Returns the milliseconds after which an MTA may lose its patience with a filter at some events: the
  longest time without an answer. `events` is a predicate, and so is `progress?`: whether progress counts
  as an answer to an event."
  [{:keys [timeouts progress-events progress-interval]} events progress?]
  (reduce max 0 (for [[event ms] timeouts
                      :when (events event)]
                  (if (and (contains? progress-events event) (progress? event))
                    (min (long ms) (long progress-interval))
                    ms))))
