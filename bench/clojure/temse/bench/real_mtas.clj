(ns temse.bench.real-mtas
  "How long a client of a real Postfix or Sendmail waits until its message is accepted."
  (:require
   [clojure.string :as string]
   [temse.bench.results :refer [median]]
   [temse.bench.servers :as servers]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.test :as mt])
  (:import
   (java.io Closeable)))

(set! *warn-on-reflection* true)

(def ^:private kinds
  "By MTA: why it cannot be had, how it is started, and how it writes a milter's address. Sendmail
  accepts a message before it delivers it, as Postfix does; for Sendmail that is the default, too, but
  not in the harness."
  {:sendmail {:unavailable sendmail/unavailable
              :start #(sendmail/start (assoc % :options {"DeliveryMode" "background"}))
              :milter identity}
   :postfix {:unavailable postfix/unavailable
             :start postfix/start
             :milter #(string/replace % #"inet:(\d+)@(.*)" "inet:$2:$1")}})

(def ^:private headers
  (for [i (range 10)] [(str "X-" i) " The minutes of yesterday's meeting"]))

(def ^:private body "Dear all,\r\n\r\nplease find the minutes below.\r\n")

(def ^:private seen ["X-Seen" (str " " (count headers) " " (count body))])

(defn- milliseconds
  "Sends a message and returns the time from connecting to the answer to its end. Throws if it arrives without
  the filter's field."
  [sink port number]
  (let [sender (str "<s" number "@example.org>")
        start (System/nanoTime)
        millis (with-open [connection (smtp/connect {:port port})]
                 (smtp/command connection "EHLO client.example.org")
                 (smtp/transact connection
                                {:sender sender
                                 :recipients ["<b@example.com>" "<c@example.com>"]
                                 :headers headers
                                 :body body})
                 (/ (- (System/nanoTime) start) 1e6))
        arrived (sink/await-message sink #(= sender (:sender %)))]
    (when-not (some #{seen} (sink/headers arrived))
      (throw (ex-info "the message arrived without the filter's field" {:arrived arrived})))
    millis))

(defn- measure-one [sink mta socket server]
  (let [{:keys [start milter]} (kinds mta)]
    (with-open [^Closeable running (servers/start server socket)]
      (when-not (= :libmilter server)
        (dotimes [_ 400]
          (mt/run-message (:address running) {})))
      (with-open [^Closeable mta (start {:sink sink, :milters [(milter (:address running))]})]
        (median (drop 2 (mapv #(milliseconds sink (:port mta) %) (range 15))))))))

(defn- available? [mta]
  (let [reason ((get-in kinds [mta :unavailable]))]
    (when reason
      (println (name mta) "is left out:" reason))
    (nil? reason)))

(defn measure
  "Returns [{:mta :sendmail, :socket :tcp, :server :libmilter, :median-ms 341.2}]. Prints why an MTA is left out."
  []
  (vec (for [mta (filter available? (keys kinds))
             socket [:tcp :unix]
             server [:libmilter :java :clojure]]
         (with-open [sink (sink/start)]
           {:mta mta, :socket socket, :server server, :median-ms (measure-one sink mta socket server)}))))
