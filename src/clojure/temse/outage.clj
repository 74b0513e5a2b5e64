(ns temse.outage
  "What a filter depends on may be down for a while: the log has one line when that begins and one when it is
  over, not one for each mail.

    (def scanner (outage \"the scanner at 192.0.2.1:3310\"))

    (defn on-message [message context]
      (try
        (let [verdict (scan message)]
          (worked! scanner)
          (reply-to verdict))
        (catch IOException e
          (failed! scanner e)
          [(act/temporary-failure)])))"
  (:require
   [clojure.tools.logging :as log]
   [temse.impl.keys :as keys]
   [temse.impl.log :as impl.log])
  (:import
   (java.io Writer)
   (temse.protocol Printable)))

(set! *warn-on-reflection* true)

(def ^:private quiet-nanos
  "How long after the line about one outage the next one has none: for what goes and comes all the time."
  60000000000)

(def ^:private longest-problem 500)

(def ^:private table
  {:failures ["a number, 1 or more" pos-int? 1]
   :meanwhile ["a text" string? "what needs it fails"]})

(deftype ^:private Outage [title options state]
  Object
  (toString [_]
    (str "outage of " title)))

(defmethod print-method Outage
  [outage ^Writer writer]
  (.write writer (str "#<" outage ">")))

(defn outage
  "Returns what notes whether something is down, by its name in the log. Thread-safe. Options:

    :failures    ; how many failures, with no success between them, are an outage (default: 1)
    :meanwhile   ; what happens during an outage, for the log (default: \"what needs it fails\")

  Throws :bad-options for an option that is unknown or wrong.

    (outage \"spamd at 127.0.0.1:783\" {:meanwhile \"mail is deferred\"})"
  ([title]
   (outage title {}))
  ([title options]
   (when-not (string? title)
     (throw (keys/bad-option :title title (str "an outage has a name, a string, not " (keys/shown title)))))
   (->Outage title (keys/with-defaults "the options of outage" options table) (atom {:failed 0}))))

(defn- checked
  ^Outage [given]
  (when-not (instance? Outage given)
    (throw (IllegalArgumentException.
             (str "the first argument must be what temse.outage/outage returned, not " (keys/shown given)))))
  given)

(defn- now
  []
  (System/nanoTime))

(defn- after-failure
  "Returns the state after one more failure, at a time: :down? if the log is to have a line about it."
  [{:keys [logged] :as state} failures nanos]
  (let [{:keys [failed] :as state} (-> state
                                       (update :failed inc)
                                       (update :since #(or % nanos)))]
    (if (and (<= (long failures) (long failed))
             (or (nil? logged) (<= (long quiet-nanos) (- (long nanos) (long logged)))))
      (assoc state :down? true, :logged nanos)
      state)))

(defn- problem-text
  [problem]
  (Printable/of ^String (if (instance? Throwable problem) (impl.log/problem-text problem) (str problem))
                (int longest-problem)))

(defn- write
  "Logs a line. That a log fails is no failure of whoever has noted something."
  [level & words]
  (impl.log/quietly
    (log/log "temse" level nil (apply str words))))

(defn failed!
  "Notes that something failed, and why, a text or a Throwable. The failure with which an outage begins is logged
  as an error of the logger temse, unless another outage was logged less than a minute before. Returns nil.

    (failed! scanner \"no answer within 5 s\")"
  [outage problem]
  (let [outage (checked outage)
        {:keys [failures meanwhile]} (.-options outage)
        nanos (now)
        [before after] (swap-vals! (.-state outage)
                                   #(if (:down? %) (update % :failed inc) (after-failure % failures nanos)))]
    (when (and (:down? after) (not (:down? before)))
      (write :error (.-title outage) " is down, and " meanwhile ": " (problem-text problem)))))

(defn worked!
  "Notes that something worked. If that ends an outage of which the log has a line, its end is logged, too. Returns
  nil.

    (worked! scanner)"
  [outage]
  (let [outage (checked outage)
        state (.-state outage)]
    ;; Most calls find nothing to change.
    (when (pos? (long (:failed @state)))
      (let [[{:keys [down? since]} _] (swap-vals! state #(assoc (select-keys % [:logged]) :failed 0))]
        (when down?
          (write :info (.-title outage) " is back after " (quot (- (long (now)) (long since)) 1000000000) " s"))))))
