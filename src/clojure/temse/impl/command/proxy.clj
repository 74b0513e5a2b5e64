(ns temse.impl.command.proxy
  "The command proxy: shows the live conversation of an MTA and a milter."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.console :as console]
   [temse.proxy :as proxy]
   [temse.record :as record]
   [temse.report :as report])
  (:import
   (java.io Closeable)
   (java.util.concurrent CountDownLatch)
   (sun.misc Signal SignalHandler)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(def usage
  "What `temse proxy --help` prints."
  "temse proxy --listen ADDRESS --milter ADDRESS [OPTIONS]
    stands between an MTA and any milter, passes everything on unchanged, and shows what is said

    --listen ADDRESS   where the MTA connects: inet:20026@127.0.0.1, unix:/run/proxy.sock, or a port
    --milter ADDRESS   where the milter listens
    --record DIR       also keeps the conversations as files, which `temse replay` plays
    --redact           with --record: hashes for addresses, and no bodies
    -v, --verbose      also macros and the flags of the negotiation

  Each line begins with the number of its connection. The milliseconds are those the milter took to
  answer. SIGINT and SIGTERM end it.

  Exit code: 0, or 2 if it cannot be started.")

(defn- fail
  [& message]
  (throw (ex-info (string/join message) {:temse.cli/exit 2})))

(defn- parse
  [args]
  (loop [[arg & more :as args] args, parsed {}]
    (cond
      (empty? args) parsed
      (#{"-v" "--verbose"} arg) (recur more (assoc parsed :verbose? true))
      (= "--redact" arg) (recur more (assoc parsed :redact {:addresses? true, :bodies? true}))
      (#{"--listen" "--milter" "--record"} arg)
      (if (seq more)
        (recur (rest more) (assoc parsed (keyword (subs arg 2)) (first more)))
        (fail arg " needs a value"))
      :else (fail "there is no option " arg "\n\n" usage))))

(defn- lines
  "Returns the lines of an exchange. That a connection is closed was said by nobody."
  [verbose? {:keys [id peer event] :as exchange}]
  (let [line #(apply format (str "%4d  " %1) id %&)]
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

(defn- on-signal
  "Has the latch opened when the process is told to end."
  [^CountDownLatch told]
  (doseq [signal ["TERM" "INT"]]
    (Signal/handle (Signal. signal)
                   (reify SignalHandler
                     (handle [_ _] (.countDown told))))))

(defn- started
  ^Closeable [options]
  (try
    (proxy/start-proxy options)
    (catch MilterException e
      (fail (ex-message e)))))

(defn- serve
  "Runs a proxy until the process is told to end."
  [{:keys [milter] :as options}]
  (let [told (CountDownLatch. 1)]
    (with-open [proxy (started options)]
      (on-signal told)
      (console/print-lines! [(str "proxy listens on " (proxy/proxy-address proxy)
                                  " for the milter at " milter)])
      (.await told))))

(defn- serve-recording
  [options directory redact]
  (with-open [recorder (record/recorder (cond-> {:directory directory} redact (assoc :redact redact)))]
    (serve (assoc options :recorder recorder))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (if (some #{"-h" "--help"} args)
    (do (println usage)
        0)
    (let [{:keys [listen milter record redact verbose?]} (parse args)
          options {:listen listen, :milter milter, :on-exchange #(print-exchange verbose? %)}]
      (when-not (and listen milter)
        (fail "--listen and --milter are needed\n\n" usage))
      (console/log-briefly!)
      (if record
        (serve-recording options record redact)
        (serve options))
      (console/flush!)
      0)))
