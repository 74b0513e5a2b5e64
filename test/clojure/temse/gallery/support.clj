(ns temse.gallery.support
  "Filters of the gallery, loaded as `bin/temse run` loads them, and mails sent to them through a real
  Postfix or Sendmail.

    (behind :postfix (load-filter \"disclaimer\" \"disclaimer.edn\") {}
            (fn [mta]
              (:body (sent mta {:body \"Hello.\\r\\n\"}))))"
  (:require
   [clojure.string :as string]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.options :as options]
   [temse.milter :as milter]
   [temse.periodic :as periodic]
   [temse.runner :as runner])
  (:import
   (java.io Closeable File)))

(set! *warn-on-reflection* true)

(defn load-filter
  "Returns the options of a filter of the gallery, by its name, for arguments."
  [filter-name & args]
  (options/of-filter (filter-file/load-filter (str "gallery/" filter-name ".clj") args)))

(defn configured
  "Returns the options of a filter of the gallery with these settings, in a file of EDN."
  [filter-name settings]
  (let [file (doto (File/createTempFile "temse-" ".edn") .deleteOnExit)]
    (spit file (pr-str settings))
    (load-filter filter-name (str file))))

(defn stop-periodic-work
  "Ends what loaded filters do at intervals: it would go on after the test that has loaded them, whose files are
  gone by then, and be logged in others."
  []
  (run! periodic/stop (keys @@#'periodic/started)))

(defn- start-mta
  ^Closeable [mta server given]
  (case mta
    :postfix (postfix/start (merge {:milters [(str "inet:127.0.0.1:" (milter/milter-port server))]} given))
    :sendmail (sendmail/start (merge {:milters [(milter/milter-address server)]} given))))

(defn behind
  "Serves a filter behind a new :postfix or :sendmail, started with the options of its harness besides, and
  returns what f returns for the MTA, a map with :port, :sink and what the harness adds. Skips the test
  where the MTA cannot be started."
  [mta filter given f]
  (when-let [reason (case mta :postfix (postfix/unavailable) :sendmail (sendmail/unavailable))]
    (runner/skip! reason))
  (milter/with-milter [server (assoc filter :port 0)]
    (with-open [sink ^Closeable (sink/start)
                running (start-mta mta server (assoc given :sink sink))]
      (f (assoc (into {} running) :sink sink :mta mta :server server)))))

(defonce ^:private marks (atom 0))

(defn delivered
  "Returns the mail that has arrived for a mark, as {:sender :recipients :headers :body}: values of header
  fields without the space after the colon, with LF in folds, and the body as octets."
  [{:keys [sink]} mark]
  (let [arrived (sink/await-message sink (fn [message]
                                           (some (fn [[field value]]
                                                   (and (= "X-Mark" field) (= mark (string/trim value))))
                                                 (sink/headers message))))]
    {:sender (:sender arrived)
     :recipients (:recipients arrived)
     :headers (mapv (fn [[field value]]
                      [field (string/replace (string/replace value #"^ " "") "\r\n" "\n")])
                    (sink/headers arrived))
     :body (smtp/octets (sink/body arrived))}))

(defn transact
  "Sends a mail over a connection of its own: see `temse.harness.smtp/send-mail`, whose replies it
  returns, with the :mark of a field X-Mark that is added to its header."
  [{:keys [port]} {:keys [headers] :or {headers [["Subject" " A test"]]} :as mail}]
  (let [mark (str "mark-" (swap! marks inc))]
    (assoc (smtp/send-mail (assoc mail
                                  :port port
                                  :headers (into [["X-Mark" (str " " mark)]] headers)))
           :mark mark)))

(defn sent
  "Sends a mail as `transact` does, and returns it as it was `delivered`, or else the replies."
  [mta mail]
  (let [{:keys [mark message] :as replies} (transact mta mail)]
    (if (= 250 (:code message))
      (delivered mta mark)
      replies)))

(def believing
  "Options of the harness for a Postfix that believes what `transact-as` says of its client."
  {:main {"smtpd_authorized_xclient_hosts" "127.0.0.0/8"
          "mynetworks" "0.0.0.0/0 [::]/0"}})

(defn transact-as
  "Sends a mail as `transact` does to a Postfix that is `believing`, from a client that XCLIENT describes, such
  as \"ADDR=192.0.2.1 LOGIN=ann\"."
  [{:keys [port]} attributes mail]
  (with-open [connection (smtp/connect {:port port})]
    (smtp/command connection "EHLO client.example.org")
    (smtp/command connection (str "XCLIENT " attributes))
    (smtp/command connection "EHLO client.example.org")
    (smtp/transact connection mail)))
