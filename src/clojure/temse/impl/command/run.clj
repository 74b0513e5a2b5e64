(ns temse.impl.command.run
  "The command run: serves the filter of a Clojure file."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.impl.class-path :as class-path]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.console :as console]
   [temse.impl.command.signals :as signals]
   [temse.impl.filter-file :as filter-file]
   [temse.impl.line :as line]
   [temse.impl.options :as options]
   [temse.impl.text :as text]
   [temse.milter :as milter])
  (:import
   (java.util.concurrent CountDownLatch)
   (java.util.logging Level)
   (temse.protocol Printable)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse run FILE.clj --listen ADDRESS [OPTIONS] [-- ARGS...]"]
   :about ["Serves the filter of a Clojure file: its var `filter` or `milter`, or else its"
           "last value, which is a map of handlers, a map of options, or a function of ARGS"
           "that returns one of these. It may require namespaces that lie beside it."
           ""
           "SIGHUP loads it again, for MTAs that connect from then on; if it does not load,"
           "the old one goes on. SIGTERM and SIGINT end it after the messages in progress,"
           "a second one at once."]
   :args? true
   :options [["--listen ADDRESS" "inet:20025@127.0.0.1, unix:/run/filter.sock, or a port"
              arguments/address]
             ["--socket-permissions MODE" "of the socket file: rw-rw---- or 0660" arguments/text]
             ["--socket-group GROUP" "of the socket file, such as postfix" arguments/text]
             ["--class-path PATH" "directories and jars of the filter, with colons between them"
              arguments/text :repeated]
             ["--deps FILE" "a deps.edn, whose :paths and :deps the filter needs" arguments/text]
             ["-v, --verbose" "every event and every answer, not connections and verdicts only"]]
   :exit "0 after a signal, 2 if the filter cannot be served."})

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

(defn- file-title
  [file]
  (string/replace (.getName (io/file file)) #"\.[^.]*$" ""))

(defn- elsewhere
  "Returns the options of a filter that listens where the command says."
  [options listen]
  (apply dissoc (assoc options :address listen)
         (concat [:port :host :socket-path]
                 (when-not (string/starts-with? listen "unix:") [:socket-permissions :socket-group]))))

(defn- printing
  "Returns options with which each exchange is printed."
  [{:keys [on-exchange] :as options}]
  (assoc options :on-exchange (fn [exchange]
                                (console/print-lines! [(exchange-line exchange)])
                                (when on-exchange
                                  (on-exchange exchange)))))

(defn- server-options
  "Returns the options of start-milter for the filter in the file."
  [{:keys [words args listen socket-permissions socket-group verbose]}]
  (let [file (first words)
        options (cond-> (merge {:name (file-title file), :log-mail? true}
                               (options/of-filter (filter-file/load-filter file args)))
                  listen (elsewhere listen)
                  socket-permissions (assoc :socket-permissions socket-permissions)
                  socket-group (assoc :socket-group socket-group)
                  verbose printing)]
    (when-not (some options [:address :port :socket-path])
      (fail "say where to listen: --listen inet:20025@127.0.0.1"))
    (assoc options :join? false)))

(defn- reload
  "Loads the filter again for the MTAs that connect from now on."
  [server parsed]
  (try
    (filter-file/extend-class-path! [])
    (milter/reload-milter server (server-options parsed))
    (log/log "temse" :info nil (str server " reloaded; connections that are open keep the old filter"))
    (catch Throwable e
      (log/log "temse" :error nil (str server " not reloaded, the old filter goes on: "
                                       (Printable/of ^String (str (ex-message e)) (int 4000)))))))

(defn- check
  [{:keys [words listen socket-permissions socket-group]}]
  (when (empty? words)
    (arguments/misused command "name the file of the filter"))
  (when (next words)
    (fail "one file at a time: " (first words) " or " (second words)
          "; arguments of the filter come after --"))
  (when (and listen (or socket-permissions socket-group) (not (string/starts-with? listen "unix:")))
    (fail (if socket-permissions "--socket-permissions" "--socket-group")
          " goes with --listen unix:PATH, not with " listen)))

(defn- serve
  [{:keys [class-path deps] :as parsed}]
  (check parsed)
  (console/log-briefly! Level/FINE)
  (filter-file/extend-class-path! (class-path/entries class-path deps))
  (let [options (server-options parsed)
        stopped (CountDownLatch. 1)
        server (milter/start-milter options)]
    (signals/on-end (fn []
                      (milter/stop-milter server)
                      (.countDown stopped)))
    (signals/on-reload #(reload server parsed))
    (console/print-lines! [(str (:name options) " listens on " (milter/milter-address server))])
    (.await stopped)
    (console/flush!)))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args serve))
