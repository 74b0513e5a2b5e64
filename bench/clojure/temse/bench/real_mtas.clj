(ns temse.bench.real-mtas
  "How long a client of a real Postfix or Sendmail waits until its mail is accepted, by the filter
  that the MTA asks."
  (:require
   [clojure.string :as string]
   [temse.bench.servers :as servers]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.test :as mt])
  (:import
   (java.io Closeable)))

(set! *warn-on-reflection* true)

(def ^:private mails 20)
(def ^:private warm-up-rounds 2)
(def ^:private warm-up-mails 400)

(def ^:private headers
  [["From" " Ann Example <a@example.org>"]
   ["To" " Bob Example <b@example.com>"]
   ["Cc" " Cecil Example <c@example.com>"]
   ["Subject" " The minutes of yesterday's meeting"]
   ["Date" " Sat, 21 Nov 2026 12:00:00 +0000"]
   ["Message-ID" " <20261121120000.4TEMSE0F00@mail.example.org>"]
   ["MIME-Version" " 1.0"]
   ["Content-Type" " text/plain; charset=us-ascii"]
   ["User-Agent" " Mutt/2.2.9 (2022-11-12)"]
   ["Organization" " Example"]])

(def ^:private body "Dear all,\r\n\r\nplease find the minutes below.\r\n")

(def ^:private seen
  "What the filters report of the mail."
  (str (count headers) " " (count body)))

(defn- milliseconds-to-acceptance
  "Sends a mail and returns the time from the client's connecting to the answer to the mail's end."
  [port sender]
  (let [start (System/nanoTime)]
    (with-open [connection (smtp/connect {:port port})]
      (smtp/command connection "EHLO client.example.org")
      (let [replies (smtp/transact connection {:sender sender
                                               :recipients ["<b@example.com>" "<c@example.com>"]
                                               :headers headers
                                               :body body})
            millis (/ (- (System/nanoTime) start) 1e6)]
        (when-not (= 250 (get-in replies [:message :code]))
          (throw (ex-info "the MTA did not accept the mail" replies)))
        (smtp/command connection "QUIT")
        millis))))

(def ^:private counter (atom 0))

(defn- send-one
  "Returns the time of one mail, once it has arrived as the server should have changed it."
  [sink port server]
  (let [sender (str "<s" (swap! counter inc) "@example.org>")
        millis (milliseconds-to-acceptance port sender)
        arrived (sink/await-message sink #(= sender (:sender %)))
        found (for [[field value] (sink/headers arrived) :when (= "X-Seen" field)] value)]
    (when-not (= found (if (= :none server) [] [(str " " seen)]))
      (throw (ex-info "the mail arrived without the filter's field"
                      {:server server, :found found})))
    millis))

;; ---- servers and MTAs

(def ^:private kinds
  "By MTA: why it cannot be had, how it is started, and how it writes a milter's address. Sendmail
  accepts a mail before it delivers it, as Postfix does; for Sendmail that is the default, too, but
  not in the harness."
  {:sendmail {:unavailable sendmail/unavailable
              :start #(sendmail/start (assoc % :options {"DeliveryMode" "background"}))
              :milter identity}
   :postfix {:unavailable postfix/unavailable
             :start postfix/start
             :milter #(string/replace % #"inet:(\d+)@(.*)" "inet:$2:$1")}})

(def ^:private asked
  "The servers that are measured, and the sockets over which they are asked."
  (for [socket [:tcp :unix]
        server [:libmilter :java :clojure :message]]
    {:socket socket, :server server}))

(defn- close-all [closeables]
  (run! #(.close ^Closeable %) closeables))

(defn- warm-up
  "Plays mails as MTAs do, with a connection for each."
  [address]
  (dotimes [_ warm-up-mails]
    (mt/run-message address {})))

(defn- start-server [{:keys [server socket]}]
  (let [{:keys [address] :as running} (servers/start server {:socket socket})]
    (when-not (= :libmilter server)
      (warm-up address))
    running))

(defn- start-mta
  "Returns an MTA that asks the milter of an address, or none if that is nil."
  [mta sink address]
  (let [{:keys [start milter]} (kinds mta)]
    (start {:sink sink, :milters (when address [(milter address)])})))

(defn- at-once
  "Returns what f returns of each element, called at the same time."
  [f elements]
  (mapv deref (mapv #(future (f %)) elements)))

(defn- percentile [values fraction]
  (nth (sort values) (long (* fraction (dec (count values))))))

(defn- measure-mta
  "Returns rows of an MTA. It runs once without a milter and once for each address, the same in all
  else; each of them takes one mail after the other in turn."
  [mta sink addresses]
  (let [sockets (cons {:socket :none, :server :none} asked)
        running (at-once #(start-mta mta sink %) (cons nil addresses))]
    (try
      (let [round (fn []
                    (mapv #(send-one sink (:port %1) (:server %2)) running sockets))
            rounds (drop warm-up-rounds (doall (repeatedly (+ warm-up-rounds mails) round)))]
        (map (fn [socket times]
               (merge socket {:mta mta
                              :median-ms (percentile times 0.5)
                              :p90-ms (percentile times 0.9)
                              :mails mails}))
             sockets
             (apply map vector rounds)))
      (finally
        (close-all running)))))

(defn- available? [mta]
  (let [reason ((get-in kinds [mta :unavailable]))]
    (when reason
      (println (str "  " (name mta) " is left out: " reason)))
    (nil? reason)))

(defn measure
  "Returns a row for each MTA, server and socket,

    {:mta :sendmail, :socket :tcp, :server :libmilter, :median-ms 341.2, :p90-ms 377.0, :mails 20}

  with :none as server and socket for the MTA without a milter. Prints why an MTA is left out."
  []
  (let [running (at-once start-server asked)]
    (try
      (with-open [sink (sink/start)]
        (into []
              (mapcat #(measure-mta % sink (map :address running)))
              (filter available? (keys kinds))))
      (finally
        (close-all running)))))
