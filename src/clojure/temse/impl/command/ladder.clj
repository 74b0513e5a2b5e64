(ns temse.impl.command.ladder
  "Exchanges of proxies and captures as lines of a terminal."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.report :as report]))

(set! *warn-on-reflection* true)

(defn- names
  [ks]
  (string/join " " (map name (sort ks))))

(defn- options-text
  [{:keys [version actions protocol macros]}]
  (str "options version " version
       "; actions: " (if (seq actions) (names actions) "none")
       "; protocol: " (if (seq protocol) (names protocol) "none")
       (when macros
         (str "; macros: " (string/join ", " (map (fn [[stage wanted]]
                                                    (string/join " " (cons (name stage) wanted)))
                                                  macros))))))

(defn- undecodable-text
  [{:keys [code data problem]}]
  (str "packet " (if (<= 33 (long code) 126) (str "'" (char code) "'") (str "0x" (format "%02x" code)))
       " of " (alength ^bytes data) " bytes, not decoded: " problem))

(defn- event-text
  [{:keys [event] :as e} verbose?]
  (cond
    (= :undecodable event) (undecodable-text e)
    (and verbose? (= :options event)) (options-text e)
    :else (report/event-text e)))

(defn- action-text
  [{:keys [action event] :as a} verbose?]
  (cond
    (= :undecodable action) (undecodable-text a)
    (= :options event) (if verbose? (options-text a) (report/event-text a))
    :else (report/action-text a)))

(defn lines
  "Returns the lines of an exchange {:id :event :response :millis}, each with the number of its
  connection: the event, and under it the actions that answered it. Macros are for `verbose?` only,
  and the flags of the negotiation."
  [{:keys [id event response millis]} verbose?]
  (when (or verbose? (not= :define-macro (:event event)))
    (concat
      (when-not (= :unasked (:event event))
        [(format "%4d  MTA  --> %s" id (event-text event verbose?))])
      (map-indexed (fn [i action]
                     (str (format "%4d       <-- %s" id (action-text action verbose?))
                          (when (and (= i (dec (count response))) (pos? (double millis)))
                            (format "  (%.1f ms)" (double millis)))))
                   response)
      (when (nil? response)
        [(format "%4d       <-- no answer" id)]))))
