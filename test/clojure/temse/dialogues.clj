(ns temse.dialogues
  "The dialogues of dialogues.edn, held with a real MTA and with the simulated one, the same filter behind
  both.

  What is compared is what the client hears and what the next hop gets, in which the filter reports what it
  has seen. Taken out of both is what is not the filter's matter: queue ids, the MTA's version, the keywords
  of EHLO, macros, ports, and how many connections are open."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [is testing]]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.options :as options]
   [temse.impl.smtp :as simulated]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.simulate.cases :as cases]
   [temse.simulate.lab :as lab])
  (:import
   (java.io Closeable EOFException)))

(set! *warn-on-reflection* true)

(def dialogues
  "Maps of :says, :lines and :client."
  (edn/read-string (slurp (io/resource "dialogues/dialogues.edn"))))

(def ^:private filter-options
  (delay (options/of-filter (filter-file/load-filter "examples/test_filter.clj" ["default"]))))

;; ---- what is compared

(defn- comparable
  "Returns the reply to a line, [code texts], without what is not the filter's matter."
  [line [code texts]]
  (cond
    (nil? line) (#'cases/heard [code texts] :greeting)
    (re-find #"(?i)^EHLO|^HELO" line) (#'cases/heard [code texts] :hello)
    (= "HELP" line) [code]
    :else (#'cases/heard [code texts] :message)))

(defn- without-chance
  "Returns a message as temse.simulate.cases compares it, without what differs by chance."
  [message]
  (update message :headers
          (fn [headers]
            (for [[field value] headers
                  :when (not= "X-Saw-Macro" field)]
              [field (case field
                       "X-Saw-Connect" (str/replace value #"\d+$" "PORT")
                       "X-Saw-Count" (str/replace value #"open=\d+" "")
                       value)]))))

;; ---- the real MTA

(defn- real-reply
  "Returns a reply as [code texts], or :closed."
  [read]
  (try
    ((juxt :code :lines) (read))
    (catch EOFException _
      :closed)))

(defn- real
  "Returns the replies of a real MTA as pairs of line and reply, the greeting first."
  [port {:keys [lines client]}]
  (with-open [connection (smtp/connect (cond-> {:port port} client (assoc :from client)))]
    (loop [lines lines, content? false, heard [[nil ((juxt :code :lines) (:greeting connection))]]]
      (if-let [[line & more] (seq lines)]
        (do
          (smtp/send-octets connection (str line "\r\n"))
          (if (and content? (not= "." line))
            (recur more true heard)
            (let [reply (real-reply #(smtp/read-reply connection))]
              (recur more (= 354 (first reply)) (conj heard [line reply])))))
        heard))))

;; ---- the simulated one

(defn- simulated-client
  [mta {:keys [client]}]
  {:address (or client "127.0.0.1")
   :host-name (if (and (nil? client) (= :sendmail mta)) "localhost" (str "[" (or client "127.0.0.1") "]"))})

(defn- foreseen
  "Returns the replies of the simulated MTA, and the messages that it delivers."
  [mta {:keys [lines] :as dialogue}]
  (let [[connection {:keys [reply]}] (simulated/open @filter-options {:mta mta
                                                                      :client (simulated-client mta dialogue)
                                                                      :macros {"j" "mx.example.org"}})]
    (loop [lines lines, heard [[nil (#'cases/lines reply)]], delivered []]
      (if-let [[line & more] (seq lines)]
        (if (simulated/closed? connection)
          (recur nil (conj heard [line :closed]) delivered)
          (let [{:keys [reply fate message]} (simulated/send-line! connection line)]
            (recur more
                   (cond-> heard reply (conj [line (#'cases/lines reply)]))
                   (cond-> delivered (= :delivered fate) (conj message)))))
        (do
          (simulated/close! connection)
          {:heard heard, :delivered delivered})))))

;; ---- comparison

(defn- compare-heard
  [pairs]
  (for [[line reply] pairs]
    [line (if (= :closed reply) :closed (comparable line reply))]))

(defn- await-messages
  "Returns the messages that have arrived after the first n, once there are as many as are foreseen."
  [{:keys [messages] :as sink} n more]
  (sink/await-message sink (fn [_] (<= (+ n more) (count @messages))))
  (drop n @messages))

(defn check
  "Holds all dialogues with a real MTA and with the simulated one."
  [mta]
  (let [{:keys [unavailable start address]} (lab/mtas mta)]
    (when-let [reason (unavailable)]
      (runner/skip! reason))
    (let [server (milter/start-milter (assoc @filter-options :address "inet:0@127.0.0.1" :daemon? true))]
      (with-open [^Closeable sink (sink/start)
                  ^Closeable running (start {:sink sink, :milters [(address server)]})]
        (doseq [{:keys [says] :as dialogue} dialogues]
          (testing says
            (let [{:keys [heard delivered]} (foreseen mta dialogue)
                  n (count @(:messages sink))
                  real-heard (real (:port running) dialogue)]
              (is (= (compare-heard real-heard) (compare-heard heard)))
              (is (= (set (map #(without-chance (#'cases/arrived %))
                               (if (seq delivered) (await-messages sink n (count delivered)) [])))
                     (set (map #(without-chance (#'cases/foreseen %)) delivered))))))))
      (milter/stop-milter server))))
