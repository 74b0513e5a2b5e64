(ns temse.impl.command.run
  "The command run: serves the filter of a Clojure file, or the milters of a temse.edn.

  What few starts need, such as temse.project and temse.inspector, is loaded when it is needed: to load it takes
  a tenth of a start."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.class-path :as class-path]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.console :as console]
   [temse.impl.command.insight :as insight]
   [temse.impl.command.reload :as reload]
   [temse.impl.command.signals :as signals]
   [temse.impl.file-watch :as file-watch]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.keys :as keys]
   [temse.impl.line :as line]
   [temse.impl.milter-group :as milter-group]
   [temse.impl.options :as options]
   [temse.impl.text :as text]
   [temse.milter :as milter])
  (:import
   (java.io IOException)
   (java.lang ProcessHandle)
   (java.net InetSocketAddress ServerSocket)
   (java.nio.file CopyOption Files OpenOption StandardCopyOption StandardOpenOption)
   (java.time Instant)
   (java.util.concurrent CountDownLatch)))

(set! *warn-on-reflection* true)

(defn- port
  [option text]
  (let [number (when (re-matches #"[0-9]{1,5}" text) (parse-long text))]
    (if (and number (<= (long number) 65535))
      number
      (fail option " needs a port from 0 to 65535, not " (keys/shown text)))))

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse run FILE.clj --listen ADDRESS [OPTIONS] [-- ARGS...]"
           "temse run [DIRECTORY | FILE.edn] [OPTIONS]"]
   :about ["Serves the filter of a Clojure file: its var `filter` or `milter`, or else its"
           "last value, which is a map of handlers, a map of options, or a function of ARGS"
           "that returns one of these. It may require namespaces that lie beside it, and"
           "libraries of the deps.edn that lies there."
           ""
           "If the function returns a whole number, ARGS asked for something else than a"
           "filter, such as a check of its configuration: it is the exit code then."
           ""
           "Without FILE.clj it serves what the temse.edn of a directory says, by default of"
           "the current one: a filter, or a script for each event, or several milters, with"
           "addresses and limits (doc/configuration.org). temse init makes one."
           ""
           "SIGHUP loads it again, and so does, with --watch, a change of temse.edn, of a"
           "file that it names, of a Clojure file that these require, or of the deps.edn."
           "Messages in progress end with the old one. If it does not load, the old one goes"
           "on. SIGTERM and SIGINT end it after the messages in progress, a second one at"
           "once."]
   :args? true
   :options [["--listen ADDRESS" "inet:20025@127.0.0.1, unix:/run/filter.sock, a port, or inherited"
              arguments/listening-address]
             ["--from-sendmail-cf FILE NAME" "the address in the X line of this name of a sendmail.cf, instead of --listen"
              arguments/texts]
             ["--socket-permissions MODE" "of the socket file: rw-rw---- or 0660" arguments/text]
             ["--socket-group GROUP" "of the socket file, such as postfix" arguments/text]
             ["--take-over" "take the address over from another temse that has it"]
             ["--allow NETWORKS" "whose peers may connect over TCP, such as 192.0.2.0/24,2001:db8::7"
              arguments/networks]
             ["--drain-timeout SECONDS" "for open connections when it stops, further messages included (default: none)"
              arguments/milliseconds]
             ["--stop-timeout SECONDS" "for messages in progress after that (default: 5)"
              arguments/milliseconds]
             ["--pid-file FILE" "to hold the number of the process when it listens"
              arguments/text]
             ["--class-path PATH" "directories and jars of the filter, with colons between them"
              arguments/text :repeated]
             ["--deps FILE" "whose :paths and :deps the filter needs (default: the deps.edn beside it)"
              arguments/text]
             ["--metrics ADDRESS" "a port on 127.0.0.1, or HOST:PORT, for Prometheus and health checks"
              insight/address]
             ["--log FORMAT" "of log lines: text or json (default: text)"
              (arguments/one-of {"text" :text, "json" :json})]
             ["--watch" "load it again when its file, one that it requires, or its deps.edn changes"]
             ["--inspect PORT" "a page at 127.0.0.1 that shows live what happens (0: any free port)" port]
             ["-v, --verbose" "every event and every answer, not connections and verdicts only"]]
   :exit "0 after a signal, 2 if the filter cannot be served, or that of the filter's function."})

(def ^:private most-actions
  "Actions of an answer that are printed."
  20)

(defn- exchange-line
  [{:keys [id peer event response millis]}]
  (text/formatted "%d  %-60s %s  %.2f ms"
                  id
                  (if (= :options (:event event))
                    (str "connection from " peer)
                    (line/event-text event))
                  (string/join ", " (concat (map line/action-text (take most-actions response))
                                            (when (seq (drop most-actions response)) ["..."])))
                  (double millis)))

(defn- printing
  "Returns options with which each exchange is printed."
  [{:keys [on-exchange] :as options} log-format]
  (assoc options :on-exchange (fn [exchange]
                                (insight/say log-format (:name options) :debug
                                             (insight/exchange-fields exchange) (exchange-line exchange))
                                (when on-exchange
                                  (on-exchange exchange)))))

(defn- project-file
  "Returns the temse.edn that arguments name, or nil where they name the file of a filter."
  [{[word] :words}]
  (let [path (or word ".")]
    (cond
      (string/ends-with? path ".edn") path
      (.isDirectory (io/file path)) (if (= "." path) "temse.edn" (str (io/file path "temse.edn"))))))

(defn- as-commanded
  "Returns the options of a milter with what the command line says of it."
  [options {:keys [listen socket-permissions socket-group take-over allow drain-timeout stop-timeout verbose log]
            :as parsed}]
  (let [options (cond-> options
                  listen (options/elsewhere listen)
                  socket-permissions (assoc :socket-permissions socket-permissions)
                  socket-group (assoc :socket-group socket-group)
                  take-over (assoc :take-over? true)
                  allow (assoc :allow allow)
                  drain-timeout (assoc :drain-timeout drain-timeout)
                  stop-timeout (assoc :stop-timeout stop-timeout)
                  verbose (printing log))]
    (when-not (some options [:address :port :socket-path])
      (if-let [file (project-file parsed)]
        (fail file ": " (:name options) ": :listen is missing: say where to listen, such as \"inet:20025@127.0.0.1\"")
        (fail "say where to listen: --listen inet:20025@127.0.0.1")))
    (assoc options :join? false)))

(defn- of-filter
  "Returns the one milter that is made of a filter, options of start-milter by its name."
  [filter {[path] :words}]
  (let [options (merge {:name (filter-file/title path), :log-mail? true} (options/of-filter filter))]
    {(:name options) options}))

(defn- check-one
  "Fails if the command line says of several milters what holds for one."
  [milters {:keys [listen socket-permissions socket-group inspect]}]
  (when (next milters)
    (when (or listen socket-permissions socket-group)
      (fail "there are several milters, so temse.edn says of each where it listens, not the command line"))
    (when (and inspect (pos? (long inspect)))
      (fail "there are several milters, each with a page at a port of its own: write --inspect 0"))))

(defn- load-milters
  "Returns the milters to be served: options of start-milter by name, or the exit code of a filter's function."
  [{:keys [words args] :as parsed}]
  (let [file (project-file parsed)
        found (if file
                ((requiring-resolve 'temse.project/milters) file)
                (filter-file/load-filter-or-exit-code (first words) args))]
    (if (int? found)
      found
      (let [milters (if file found (of-filter found parsed))]
        (check-one milters parsed)
        (update-vals milters #(as-commanded % parsed))))))

(defn- set-log-level!
  [parsed]
  (console/log-from! (some-> (project-file parsed) ((requiring-resolve 'temse.project/log-level)))))

(defn- extend-class-path!
  [{:keys [class-path deps words] :as parsed}]
  (filter-file/extend-class-path! (class-path/entries class-path deps (or (project-file parsed) (first words)))))

(defn- load-milters-again
  "Returns the milters to be served from now on. Throws where arguments ask for something else than a filter."
  [{:keys [words] :as parsed}]
  (let [milters (load-milters parsed)]
    (when (int? milters)
      (fail (first words) ": for these arguments it returns no filter, but the exit code " milters))
    milters))

(defn- source
  "Returns what keeps a group of milters current: see temse.impl.command.reload."
  [group {:keys [deps words watch] :as parsed} since]
  (let [whole #(.toFile (.normalize (.toAbsolutePath (.toPath (io/file %)))))
        path (or (project-file parsed) (first words))
        deps-file (whole (class-path/deps-file deps path))
        deps-before (atom (file-watch/snapshot [deps-file]))]
    {:load (fn []
             (filter-file/extend-class-path! [])
             (let [deps-now (file-watch/snapshot [deps-file])]
               (when (not= deps-now @deps-before)
                 (extend-class-path! parsed)
                 (reset! deps-before deps-now)))
             (load-milters-again parsed))
     :change (fn [milters]
               (let [changes (milter-group/change! group milters)]
                 (set-log-level! parsed)
                 changes))
     :files #(into (conj (filter-file/loaded-files) deps-file)
                   (map whole)
                   (if (project-file parsed) ((requiring-resolve 'temse.project/files) path) [path]))
     :directories filter-file/directories
     :since since
     :watch? watch}))

(defn- check
  [{:keys [words args listen socket-permissions socket-group] :as parsed}]
  (when (and (empty? words) (not (.isFile (io/file "temse.edn"))))
    (arguments/misused command "name the file of the filter, or a directory with a temse.edn: there is none here"))
  (when (next words)
    (fail "one file at a time: " (first words) " or " (second words)
          "; arguments of the filter come after --"))
  (when-let [file (and (seq args) (project-file parsed))]
    (fail "the arguments of a filter are its :args in " file ", not what comes after --"))
  (when (and listen (or socket-permissions socket-group) (not (string/starts-with? listen "unix:")))
    (fail (if socket-permissions "--socket-permissions" "--socket-group")
          " goes with --listen unix:PATH, not with " listen)))

(defn- check-free
  "Fails if somebody listens at an address that is given by an option, before the place of a milter is taken over:
  the process that has it could not be connected to any more."
  [option {:keys [host port] :or {host "127.0.0.1"}}]
  (try
    (with-open [socket (ServerSocket.)]
      (.bind socket (InetSocketAddress. ^String host (int port))))
    (catch IOException _
      (fail option " " port ": the port is in use; while the process whose address is taken over"
            " still runs, give this one another port"))))

(defn- check-before-taking-over
  [milters {:keys [metrics inspect]}]
  (when (some :take-over? (vals milters))
    (when metrics
      (check-free "--metrics" metrics))
    (when inspect
      (check-free "--inspect" {:port inspect}))))

(defn- write-pid-file
  "Has a file hold the number of this process, from one moment to the next."
  [path]
  (let [file (.toAbsolutePath (.toPath (io/file path)))
        new (.resolveSibling file (str "." (.getFileName file) "." (.pid (ProcessHandle/current))))]
    (try
      (Files/deleteIfExists new)
      (Files/writeString new
                         (str (.pid (ProcessHandle/current)) "\n")
                         (into-array OpenOption [StandardOpenOption/CREATE_NEW StandardOpenOption/WRITE]))
      (Files/move new file (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE]))
      (catch IOException e
        (Files/deleteIfExists new)
        (fail "--pid-file " path " cannot be written: " (ex-message e))))))

(defn- remove-pid-file
  "Removes the file, unless another process has taken over and written it. That it is gone is no error."
  [path]
  (let [file (io/file path)]
    (when (= (str (.pid (ProcessHandle/current)))
             (try
               (string/trim (slurp file))
               (catch IOException _)))
      (io/delete-file file true))))

(defn- inspector-text
  "Opens the inspector and returns the line that says where it is."
  [server port]
  (str "inspector at " (:url ((requiring-resolve 'temse.inspector/inspect) server {:port port}))))

(defn- serve
  "Serves milters that were loaded since a time until a signal ends them."
  [milters parsed since]
  (check-before-taking-over milters parsed)
  (let [stopped (CountDownLatch. 1)
        group (milter-group/start milters)
        say (fn [title text] (insight/say (:log parsed) title :info {} text))]
    (when (or (:metrics parsed) (:inspect parsed))
      (insight/limit-connections!))
    (signals/on-end (fn []
                      (milter-group/stop! group)
                      (.countDown stopped)))
    (with-open [_ (reload/keep-current #(milter-group/title group) (source group parsed since))
                metrics (insight/metrics #(milter-group/servers group) (:metrics parsed))]
      (doseq [milter (milter-group/servers group)
              :let [title (:name (milter/milter-status milter))]]
        (say title (str title " listens on " (milter/milter-address milter))))
      (when (:metrics parsed)
        (say (string/join ", " (keys milters)) (str metrics)))
      (when-let [port (:inspect parsed)]
        (doseq [milter (milter-group/servers group)]
          (say (:name (milter/milter-status milter)) (inspector-text milter port))))
      (when-let [file (:pid-file parsed)]
        (write-pid-file file))
      (.await stopped)
      (when-let [file (:pid-file parsed)]
        (remove-pid-file file)))
    (console/flush!)))

(defn- located
  "Returns what was parsed, with the address from the sendmail.cf if one was named."
  [{:keys [from-sendmail-cf] :as parsed}]
  (cond-> parsed
    from-sendmail-cf (assoc :listen (apply (requiring-resolve 'temse.impl.setup.x-line/address) from-sendmail-cf))))

(defn- load-and-serve
  [{:keys [listen from-sendmail-cf log] :as given}]
  (when (and listen from-sendmail-cf)
    (fail "say where to listen by --listen or by --from-sendmail-cf, not by both"))
  (let [parsed (doto (located given) check)
        since (Instant/now)]
    (insight/log-lines! log)
    (set-log-level! parsed)
    (extend-class-path! parsed)
    (let [milters (load-milters parsed)]
      (if (int? milters)
        milters
        (do
          (when-let [[file title] from-sendmail-cf]
            ((requiring-resolve 'temse.impl.setup.x-line/warn-of-mistakes) file title (val (first milters))))
          (serve milters parsed since))))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args load-and-serve))
