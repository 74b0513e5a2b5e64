(ns temse.impl.command.replay
  "The command replay: plays recordings to a filter and shows what it answers differently."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.milters :as milters]
   [temse.impl.command.terminal :as terminal]
   [temse.record :as record]
   [temse.replay :as replay])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io IOException)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse replay DIR|FILE... --filter FILE.clj [OPTIONS] [-- ARGS...]"
           "temse replay DIR|FILE... --to ADDRESS [OPTIONS]"]
   :about ["Plays recordings to a filter as the recorded MTA would, and shows what it"
           "answers differently."]
   :args? true
   :options (concat
              [["--filter FILE.clj" "the filter of a Clojure file, as `temse run` takes it, with ARGS"
                arguments/text]]
              milters/file-options
              [["--to ADDRESS" "any milter: inet:20025@127.0.0.1, unix:/run/filter.sock, or a port"
                arguments/address]
               ["--ignore NAME" "a header field whose value may differ" arguments/text :repeated]
               ["--exact" "compares each answer and what was agreed, not only what comes of the mails"]
               ["--timeout SECONDS" "to wait for each answer (default: 30)" arguments/milliseconds]])
   :exit "0 if nothing differs, 1 if something does, 2 after an error."})

(defn- filter-of
  [{:keys [filter to args class-path deps] :as parsed}]
  (when (= (nil? filter) (nil? to))
    (arguments/misused command "name the filter, either --filter FILE.clj or --to ADDRESS"))
  (when (and to (or args class-path deps))
    (fail "the milter at " to " runs already; arguments and a class path go with --filter"))
  (or to (milters/of-file filter parsed)))

(defn- read-all
  [files]
  (when (empty? files)
    (arguments/misused command "name recordings: files or directories"))
  (run! arguments/check-readable files)
  (let [recordings (try
                     (into [] (mapcat record/read-recordings) files)
                     (catch ExceptionInfo e
                       (fail (ex-message e))))]
    (when (empty? recordings)
      (fail "there are no recordings in " (string/join ", " files)))
    recordings))

(defn- summary
  [differences recordings]
  (let [counted (fn [n thing] (str n " " thing (when-not (= 1 n) "s")))
        recordings (counted (count recordings) "recording")]
    (if (empty? differences)
      (str "no differences in " recordings)
      (str (counted (count differences) "difference") " in "
           (count (distinct (map :recording differences))) " of " recordings))))

(defn- replay
  [{:keys [words ignore exact timeout] :as parsed}]
  (let [filter (filter-of parsed)
        recordings (read-all words)
        differences (try
                      (terminal/with-progress "replayed" (count recordings)
                        (fn [step]
                          (replay/replay recordings filter (cond-> {:ignore (or ignore [])
                                                                    :exact? (boolean exact)
                                                                    :on-recording (fn [_] (step))}
                                                             timeout (assoc :timeout timeout)))))
                      (catch IOException e
                        (fail (:to parsed) ": " (ex-message e)))
                      (catch MilterException e
                        (fail (ex-message e))))]
    (terminal/print-coloured #(replay/print-differences differences))
    (println (summary differences recordings))
    (if (empty? differences) 0 arguments/refused)))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args replay))
