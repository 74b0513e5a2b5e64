(ns temse.impl.command.proxy
  "The command proxy: shows the live conversation of an MTA and a milter."
  {:no-doc true}
  (:require
   [temse.impl.command.arguments :as arguments]
   [temse.impl.command.console :as console]
   [temse.impl.command.redact :as redact]
   [temse.impl.command.signals :as signals]
   [temse.impl.text :as text]
   [temse.proxy :as proxy]
   [temse.record :as record]
   [temse.report :as report])
  (:import
   (java.io Closeable)
   (java.util.concurrent CountDownLatch)
   (java.util.logging Level)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse proxy --listen ADDRESS --milter ADDRESS [OPTIONS]"]
   :about ["Stands between an MTA and any milter, passes everything on unchanged, and shows"
           "what is said. Each line begins with the number of its connection. The"
           "milliseconds are those the milter took to answer. SIGINT and SIGTERM end it."]
   :options (into [["--listen ADDRESS" "where the MTA connects: inet:20026@127.0.0.1, unix:/run/proxy.sock, or a port"
                    arguments/address]
                   ["--milter ADDRESS" "where the milter listens" arguments/address]
                   ["--record DIR" "also keeps the conversations as files, which `temse replay` plays"
                    arguments/text]
                   ["-v, --verbose" "also macros and the flags of the negotiation"]]
                  redact/options)
   :exit "0 after a signal, 2 if it cannot be started or not all conversations could be recorded."})

(defn- lines
  "Returns the lines of an exchange. Neither side sends that a connection is closed."
  [verbose? {:keys [id peer event] :as exchange}]
  (let [line #(apply text/formatted (str "%4d  " %1) id %&)]
    (cond
      (= :options (:event event))
      (cons (line "connection from %s" peer) (report/exchange-lines exchange verbose?))

      (and (= :disconnect (:event event)) (not= :new-connection (:reason event)))
      [(line "connection closed")]

      :else
      (report/exchange-lines exchange verbose?))))

(defn- print-exchange
  [verbose? exchange]
  (console/print-lines! (lines verbose? exchange)))

(defn- started
  ^Closeable [options]
  (try
    (proxy/start-proxy options)
    (catch MilterException e
      (arguments/fail (ex-message e)))))

(defn- serve
  "Runs a proxy until the process receives a signal to end."
  [{:keys [milter] :as options}]
  (let [ended (CountDownLatch. 1)]
    (with-open [proxy (started options)]
      (signals/on-end #(.countDown ended))
      (console/print-lines! [(str "proxy listens on " (proxy/proxy-address proxy)
                                  " for the milter at " milter)])
      (.await ended))))

(defn- serve-recording
  "Fails at the end if a conversation is missing from the recordings."
  [options directory redact]
  (let [^Closeable recorder (record/recorder {:directory directory, :redact redact})]
    (with-open [recorder recorder]
      (serve (assoc options :recorder recorder)))
    (let [{:keys [failed dropped]} (record/recorder-status recorder)
          lost (+ (long failed) (long dropped))]
      (when (pos? lost)
        (arguments/fail directory ": " lost (if (= 1 lost) " conversation is" " conversations are")
                        " missing, which could not be written; the log says why")))))

(defn- serve-parsed
  [{:keys [listen milter record verbose words] :as parsed}]
  (when (seq words)
    (arguments/misused command "it takes no " (first words)))
  (when-not (and listen milter)
    (arguments/misused command "--listen and --milter are needed"))
  (let [options {:listen listen, :milter milter, :on-exchange #(print-exchange verbose %)}
        redact (redact/of-parsed command parsed)]
    (when (and redact (not record))
      (arguments/misused command "--redact goes with --record"))
    (console/log-briefly! Level/FINE)
    (try
      (if record
        (serve-recording options record redact)
        (serve options))
      (finally
        (console/flush!)))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args serve-parsed))
