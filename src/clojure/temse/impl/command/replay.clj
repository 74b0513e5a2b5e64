(ns temse.impl.command.replay
  "The command replay: plays recordings to a filter and shows what it answers differently."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.options :as options]
   [temse.record :as record]
   [temse.replay :as replay])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io IOException)
   (temse.protocol MilterException)
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(def usage
  "What `temse replay --help` prints."
  "temse replay DIR|FILE... (--filter FILE.clj | --to ADDRESS) [OPTIONS] [-- ARGS...]
    plays recordings to a filter as the recorded MTA would, and shows what it answers differently

    --filter FILE.clj   the filter of a Clojure file, as `temse run` takes it, with ARGS
    --to ADDRESS        any milter: inet:20025@127.0.0.1, unix:/run/filter.sock, or a port
    --ignore NAME       a header field whose value may differ, may be repeated
    --timeout SECONDS   to wait for each answer (default: 30)

  Exit code: 0 if nothing differs, 1 if something does, 2 if there was an error.")

(defn- fail
  [& message]
  (throw (ex-info (string/join message) {:temse.cli/exit 2})))

(defn- milliseconds
  [text]
  (let [seconds (when (re-matches #"[0-9]{1,6}(\.[0-9]+)?" text) (parse-double text))]
    (if (and seconds (pos? (double seconds)))
      (max 1 (Math/round (* 1000 (double seconds))))
      (fail "--timeout needs seconds, such as 30 or 0.5, not " (pr-str text)))))

(defn- parse
  [args]
  (loop [[arg & more :as args] args, parsed {:files [], :ignore [], :args []}]
    (let [value (first more)]
      (cond
        (empty? args) parsed
        (= "--" arg) (assoc parsed :args (vec more))
        (not (string/starts-with? arg "-")) (recur more (update parsed :files conj arg))
        (not (#{"--filter" "--to" "--ignore" "--timeout"} arg)) (fail "there is no option " arg "\n\n" usage)
        (nil? value) (fail arg " needs a value")
        (= "--ignore" arg) (recur (rest more) (update parsed :ignore conj value))
        (= "--timeout" arg) (recur (rest more) (assoc parsed :timeout (milliseconds value)))
        :else (recur (rest more) (assoc parsed (keyword (subs arg 2)) value))))))

(defn- file-filter
  "Returns the options of the filter in a Clojure file."
  [file args]
  (let [found (try
                ((requiring-resolve 'temse.cli/load-filter) file args)
                (catch ExceptionInfo e
                  (fail (ex-message e))))]
    (options/of-filter found)))

(defn- filter-of
  [{:keys [filter to args]}]
  (cond
    (= (nil? filter) (nil? to)) (fail "name the filter, either --filter FILE.clj or --to ADDRESS\n\n" usage)
    filter (file-filter filter args)
    :else (try
            (str (Endpoint/parse to))
            (catch IllegalArgumentException e
              (fail "--to: " (ex-message e))))))

(defn- read-all
  [files]
  (when (empty? files)
    (fail "name recordings: files or directories\n\n" usage))
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

(defn run
  "Runs the command and returns its exit code."
  [args]
  (if (some #{"-h" "--help"} args)
    (do (println usage)
        0)
    (let [{:keys [files ignore timeout] :as parsed} (parse args)
          filter (filter-of parsed)
          recordings (read-all files)
          differences (try
                        (replay/replay recordings filter (cond-> {:ignore ignore}
                                                           timeout (assoc :timeout timeout)))
                        (catch IOException e
                          (fail (:to parsed) ": " (ex-message e)))
                        (catch MilterException e
                          (fail (ex-message e))))]
      (replay/print-differences differences)
      (println (summary differences recordings))
      (if (empty? differences) 0 1))))
