(ns temse.impl.milter-group
  "Several milters of one process, which start, change and stop together: all of them or none."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.milter :as milter]))

(set! *warn-on-reflection* true)

(defn- start-all
  "Returns the started milters by name. Where one cannot be started, none is."
  [options-by-name]
  (reduce (fn [started [name options]]
            (try
              (assoc started name {:server (milter/start-milter options), :options options})
              (catch Throwable e
                (run! (comp milter/stop-milter :server) (vals started))
                (throw e))))
          {}
          options-by-name))

(defn start
  "Starts milters, a map of name to options of start-milter, and returns the group. Throws what start-milter
  throws where one of them cannot be started; then none is."
  [options-by-name]
  (atom (start-all options-by-name)))

(defn servers
  "Returns the milters of a group."
  [group]
  (map :server (vals @group)))

(defn title
  "Returns what logs call the milters of a group together."
  [group]
  (string/join ", " (servers group)))

(defn- reload-all
  "Returns the milters with other options. Where one cannot have them, all keep theirs."
  [milters options-by-name]
  (reduce (fn [changed [name options]]
            (let [{:keys [server]} (milters name)]
              (try
                (assoc changed name {:server server, :options options, :result (milter/reload-milter server options)})
                (catch Throwable e
                  (doseq [[name] changed
                          :let [{:keys [server options]} (milters name)]]
                    (milter/reload-milter server options))
                  (throw (ex-info (str name ": " (ex-message e)) (or (ex-data e) {}) e))))))
          {}
          options-by-name))

(defn- renamed
  "Returns the options under the name that the milter has, where there is one and is to be one: that it has
  another name now is for reload-milter to judge."
  [milters options-by-name]
  (if (= 1 (count milters) (count options-by-name))
    {(key (first milters)) (val (first options-by-name))}
    options-by-name))

(defn change!
  "Has the group consist of other milters: those that are new start, those that are no longer there stop after
  their messages in progress, and the others go on with other options, as reload-milter does. Returns the
  milters that have :started and are :stopped, and those that have :changed, a map to what reload-milter has
  returned for them.

  Throws where one of them cannot be started or changed; then the group is as before."
  [group options-by-name]
  (locking group
    (let [before @group
          options-by-name (renamed before options-by-name)
          started (start-all (remove (comp before key) options-by-name))
          changed (try
                    (reload-all before (filter (comp before key) options-by-name))
                    (catch Throwable e
                      (run! (comp milter/stop-milter :server) (vals started))
                      (throw e)))
          stopped (apply dissoc before (keys options-by-name))]
      (reset! group (merge started changed))
      (run! (comp milter/stop-milter :server) (vals stopped))
      {:started (map :server (vals started))
       :changed (into {} (map (juxt :server :result)) (vals changed))
       :stopped (map :server (vals stopped))})))

(defn stop!
  "Stops the milters of a group, all at once."
  [group]
  (run! deref (mapv #(future (milter/stop-milter %)) (servers group))))
