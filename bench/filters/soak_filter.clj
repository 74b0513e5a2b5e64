(ns soak-filter
  "Does with each mail what its sender orders, and reports what it has seen of it, so that every answer can
  be foreseen: for bin/soak. The argument is what it is made of: events, whole or composed.

    bin/temse run bench/filters/soak_filter.clj --listen inet:20025@127.0.0.1 -- events

  A sender is <ACTION.EVENT.TOKEN@soak.example>: what to do, at which event, and a text that refusals
  and reports repeat, so that an answer to another mail is noticed. The actions:

    go                     ; nothing
    refuse defer discard accept
    throw                  ; fails
    block pend             ; answers some milliseconds later: in the thread, without one
    never                  ; waits for a value that does not come
    replace                ; the body, if the mail is seen as a whole"
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.compose :refer [in-sequence named when-message]]
   [temse.filter :refer [changed message-filter]]
   [temse.mail :as mail]
   [temse.milter :as milter :refer [respond]])
  (:import
   (java.util.concurrent CompletableFuture TimeUnit)
   (java.util.function Supplier)
   (java.util.zip CRC32)))

(set! *warn-on-reflection* true)

;; ---- orders

(defn order
  "Returns what a sender orders, {:action :at :token}."
  [sender]
  (let [[_ action at token] (re-matches #"<([a-z]+)\.([a-z-]+)\.([0-9a-z-]+)@soak\.example>" sender)]
    (when-not action
      (throw (ex-info "the sender orders nothing" {:sender sender})))
    {:action (keyword action), :at (keyword at), :token token}))

(def wait-millis
  "How long an answer takes that is to come later."
  20)

(defn- later
  [f]
  (CompletableFuture/supplyAsync
    (reify Supplier (get [_] (f)))
    (CompletableFuture/delayedExecutor (long wait-millis) TimeUnit/MILLISECONDS)))

(defn- obeyed
  "Returns the answer to an event: what is ordered if it is for this event, or else what f returns."
  [{:keys [action at token]} event f]
  (case (when (= at event) action)
    :refuse [(act/reply-code 550 "5.7.1" token)]
    :defer [(act/reply-code 451 "4.7.1" token)]
    :discard [(act/discard)]
    :accept [(act/accept)]
    :throw (throw (ex-info "as ordered" {:token token}))
    :block (do (Thread/sleep (long wait-millis)) (f))
    :pend (later f)
    :never (CompletableFuture.)
    (f)))

;; ---- what was seen of a mail

(defn seen
  "Returns what a report says of a mail: its token, how many header fields and octets of a body it has, and a
  checksum of both."
  [token headers chunks]
  (let [checksum (CRC32.)
        octets (fn [s] (mail/body-bytes (str s)))]
    (doseq [[field value] headers]
      (.update checksum (bytes (octets (str field ":" value "\n")))))
    (doseq [chunk chunks]
      (.update checksum (bytes chunk)))
    (string/join " " [token (count headers) (reduce + (map count chunks))
                      (Long/toHexString (.getValue checksum))])))

;; ---- event by event

(defn- on-mail
  [{:keys [sender]} context]
  (let [ordered (order sender)
        context (milter/update-message context assoc :order ordered, :headers [], :chunks [])]
    (obeyed ordered :mail (constantly context))))

(defn- on-event
  "Returns a handler that keeps what `noted` makes of the message and the event."
  [event noted]
  (fn [received context]
    (let [context (milter/update-message context noted received)]
      (obeyed (:order (milter/message context)) event (constantly context)))))

(defn- on-end-of-message
  [_ context]
  (let [{:keys [headers chunks] ordered :order} (milter/message context)]
    (obeyed ordered
            :end-of-message
            #(respond context (act/add-header "X-Events" (seen (:token ordered) headers chunks))))))

(defn- nothing-noted
  [message _]
  message)

(def ^:private events
  {:handlers {:mail #'on-mail
              :recipient (on-event :recipient nothing-noted)
              :header (on-event :header (fn [message {:keys [name value]}]
                                          (update message :headers conj [name value])))
              :end-of-headers (on-event :end-of-headers nothing-noted)
              :body (on-event :body (fn [message {:keys [data]}]
                                      (update message :chunks conj data)))
              :end-of-message #'on-end-of-message}
   :actions #{:add-header}})

;; ---- as a whole

(defn- on-message
  [{:keys [sender headers body] :as message} context]
  (let [{:keys [action token] :as ordered} (order sender)
        report ["X-Whole" (seen token headers [(mail/body-bytes body)])]]
    (obeyed ordered
            :end-of-message
            #(changed context
                      (cond-> (update message :headers conj report)
                        (= :replace action) (assoc :body (str token "\r\n")))))))

(def ^:private whole
  {:handlers (message-filter #'on-message {:max-message 4000000, :when-exceeded :reject})
   :actions #{:add-header :change-body}})

;; ---- composed

(defn- by-soak?
  [_]
  true)

(def ^:private composed
  (in-sequence (named "events" events)
               (named "whole" (when-message #'by-soak? whole))))

(defn filter
  [kind]
  (case kind
    "events" (assoc events :handler-timeout {:end-of-headers 500})
    "whole" whole
    "composed" composed))
