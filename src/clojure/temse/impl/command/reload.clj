(ns temse.impl.command.reload
  "Filters that are loaded again while they are served: at SIGHUP, and when their files change."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.impl.command.signals :as signals]
   [temse.impl.file-watch :as file-watch])
  (:import
   (java.io Closeable File)
   (java.nio.file Path)
   (java.time Instant)
   (temse.protocol Printable)))

(set! *warn-on-reflection* true)

(def ^:private longest-message 4000)

(def ^:private most-attempts
  "How often a filter is loaded whose files are written meanwhile."
  5)

(def ^:private most-shown
  "Connections and files that a line of the log names."
  5)

(defn- report
  [level & text]
  (log/log "temse" level nil (Printable/of ^String (apply str text) (int longest-message))))

(defn- some-of
  "Returns texts as one, at most five of them."
  [texts separator]
  (let [more (- (count texts) (long most-shown))]
    (str (string/join separator (take most-shown texts))
         (when (pos? more) (str separator "and " more " more")))))

;; ---- which files matter

(defn- source?
  [^File file]
  (re-find #"\.cljc?$" (.getName file)))

(defn- sources-below
  [directories]
  (into []
        (comp (mapcat #(.listFiles ^File %)) (filter #(.isFile ^File %)) (filter source?))
        (file-watch/below directories)))

(defn- files-that-matter
  "Returns the files of a filter; where it does not load, one that lies beside them may mend it."
  [{:keys [files directories]} failed?]
  (distinct (concat (files) (when failed? (sources-below (directories))))))

(defn- known-since
  "Returns a snapshot without the files that were written since a time: what was loaded of them is not
  known."
  [files ^Instant time]
  (into {}
        (remove (fn [[_ {written :time}]] (when written (not (.isBefore (Instant/parse written) time)))))
        (file-watch/snapshot files)))

;; ---- loading again

(defn- attempt
  "Loads the filter, and returns what was :loaded or the :problem, a snapshot :before and when that was, and which
  files were :torn, written while it was loaded."
  [{:keys [load] :as filter} failed?]
  (let [started (Instant/now)
        before (file-watch/snapshot (files-that-matter filter failed?))
        result (try
                 {:loaded (load)}
                 (catch Throwable e
                   {:problem (str (ex-message e))}))]
    (assoc result
           :started started
           :before before
           :torn (file-watch/changed-in-place before (file-watch/snapshot (keys before))))))

(defn- loaded
  "Returns what `attempt` does, with the files as they are when nobody writes them."
  [filter failed?]
  (loop [attempts 1]
    (let [{:keys [torn before] :as result} (attempt filter failed?)]
      (cond
        (empty? torn) result
        (= most-attempts attempts) (-> result
                                       (dissoc :loaded)
                                       (assoc :problem (str (some-of torn ", ") ": written again and again while it is loaded")))
        :else (do (file-watch/settled before #(keys before))
                  (recur (inc attempts)))))))

(defn- served
  "Has what was loaded served; returns that with the :changes, or with the :problem."
  [{:keys [change]} {:keys [problem] :as outcome}]
  (if problem
    outcome
    (try
      (assoc outcome :changes (change (:loaded outcome)))
      (catch Throwable e
        (assoc outcome :problem (str (ex-message e)))))))

(defn- known-of
  "Returns what is known of the files that matter now."
  [filter {:keys [before started problem]}]
  (let [files (files-that-matter filter problem)]
    (merge (known-since files started) (select-keys before files))))

(defn- milliseconds-since
  [start]
  (quot (- (System/nanoTime) (long start)) 1000000))

(defn- report-outdated
  [server {:keys [connections outdated]}]
  (when (seq outdated)
    (report :warn server ": " (count outdated) " of " connections " open connections keep the old filter: "
            (some-of (map (fn [{:keys [id peer missing failure]}]
                            (str id " " peer " " (if failure failure (str "lacks " (pr-str missing)))))
                          outdated)
                     "; "))))

(defn- report-changes
  [{:keys [started changed stopped]} end]
  (doseq [server started]
    (report :info server " started" end))
  (doseq [[server result] changed]
    (report :info server " reloaded" end)
    (report-outdated server result))
  (doseq [server stopped]
    (report :info server " stopped" end)))

(defn- reload!
  "Loads the filter again and has it served, or says why not."
  [title filter state cause]
  (let [start (System/nanoTime)
        {:keys [problem changes] :as outcome} (served filter (loaded filter (:failed? @state)))]
    (reset! state {:known (known-of filter outcome), :failed? (some? problem)})
    (if problem
      (report :error (title) " not reloaded after " cause ", the old filter goes on: " problem)
      (report-changes changes (str " in " (milliseconds-since start) " ms after " cause)))))

(defn- shown-path
  "Returns the path of a file from the working directory, if it is below."
  [^File file]
  (let [path (.toAbsolutePath (.toPath file))
        here (.toAbsolutePath (Path/of "" (make-array String 0)))]
    (str (if (.startsWith path here) (.relativize here path) path))))

(defn keep-current
  "Has what is loaded again served when the process gets SIGHUP, and with :watch? when a file changes. If it
  does not load, or cannot be served, the log says so and the old filter goes on. `title` is a function that
  returns what logs call the servers. Returns a Closeable, which ends the watching. Options:

    :load         ; function that loads the filter; what it throws has a message that says what is wrong
                  ; where
    :change       ; function that has what :load has returned served, and returns which servers have
                  ; :started, have :changed (a map of server to what reload-milter has returned) and are
                  ; :stopped; it throws where none is changed
    :files        ; function that returns the files that the last load has read, or tried to read
    :directories  ; function that returns directories: below them may lie what the filter needs
    :since        ; Instant before which the filter was loaded that is served now
    :watch?       ; whether changes of files matter"
  ^Closeable [title {:keys [directories since watch?] :as filter}]
  (let [state (atom {:known (known-since (files-that-matter filter false) since), :failed? false})
        reload (fn [cause]
                 (locking state
                   (reload! title filter state cause)))]
    (when-not (signals/on-reload #(reload "SIGHUP"))
      (report :info (title) " cannot be loaded again by SIGHUP, which this process ignores, as nohup has it"))
    (if watch?
      (file-watch/start {:files #(files-that-matter filter (:failed? @state))
                         :known #(:known @state)
                         :directories #(cond-> (directories) (:failed? @state) file-watch/below)
                         :on-change #(reload (str "a change of " (some-of (map shown-path %) ", ")))})
      (reify Closeable
        (close [_])))))
