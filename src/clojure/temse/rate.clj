(ns temse.rate
  "How often something may happen within a time: sliding windows by key, in memory or shared by many
  processes in a database.

    (def seen (windows))

    (defn on-mail [{:keys [sender]} _context]
      (when-let [{:keys [limit]} (exceeded! seen [{:key sender, :limit 100, :per 3600000}])]
        [(act/reply-code 450 \"4.7.1\" (str \"More than \" limit \" mails in an hour\"))]))

  In no time of :per milliseconds more than :limit is let through. What was let through counts for :per
  milliseconds, and up to a twentieth longer: that is how exactly times are kept."
  (:require
   [temse.impl.keys :as keys])
  (:import
   (java.util LinkedHashMap)))

(set! *warn-on-reflection* true)

;; ---- counts: a map of the number of a slot of time to what was let through in it

(def ^:private slots-per-window 20)

(defn- slot-width
  ^long [{:keys [per]}]
  (quot (+ (long per) (dec (long slots-per-window))) (long slots-per-window)))

(defn- recent
  "Returns the counts of a window that matter in a slot. Those of a clock that was ahead matter, too, unless
  it was wrong."
  [counts ^long slot]
  (into {}
        (filter (fn [[counted]] (<= (abs (- slot (long counted))) (long slots-per-window))))
        counts))

(defn- taken
  "Returns the counts with :count more, or nil if there is no room for it."
  [counts {:keys [limit] :as wanted} now]
  (let [slot (quot (long now) (slot-width wanted))
        counts (recent counts slot)
        n (long (:count wanted))]
    (when (<= (+ n (long (reduce + (vals counts)))) (long limit))
      (update counts slot (fnil + 0) n))))

(defn ^:no-doc window-key
  "Returns the key that distinguishes the window of a limit from others."
  [{:keys [key per]}]
  [per key])

(defn ^:no-doc take-all
  "Returns {:counts by key of window} with all that is wanted counted, or {:exceeded limit}. `counts-of`
  returns the counts of a window."
  [counts-of wanted now]
  (reduce (fn [{:keys [counts]} limit]
            (let [k (window-key limit)]
              (if-let [after (taken (or (get counts k) (counts-of k)) limit now)]
                {:counts (assoc counts k after)}
                (reduced {:exceeded limit}))))
          {:counts {}}
          wanted))

;; ---- in memory

(defonce ^:private ^{:doc "Counts of windows that have a name, by it."} named (atom {}))

(defn- counts-by-key
  "Returns the table of the counts of a name, or a new one. What was not asked about for the longest comes
  first."
  ^LinkedHashMap [window-name]
  (let [table (LinkedHashMap. 16 0.75 true)]
    (if (nil? window-name)
      table
      (get (swap! named update window-name #(or % table)) window-name))))

(defn- in-memory
  [{:keys [max-keys clock] window-name :name}]
  (let [kept (counts-by-key window-name)
        clock (or clock #(quot (System/nanoTime) 1000000))]
    (fn [wanted]
      (locking kept
        (let [{:keys [counts exceeded]} (take-all #(.get kept %) wanted (clock))]
          (doseq [[k after] counts]
            (.put kept k after)
            (when (< (long max-keys) (.size kept))
              (doto (.iterator (.entrySet kept)) .next .remove)))
          exceeded)))))

;; ---- windows

(def ^:no-doc options
  "Options of windows."
  {:max-keys ["a number, 1 or more" pos-int? 10000]
   :name ["data" any?]
   :database ["settings of temse.database, a map without :schema"
              #(or (nil? %) (and (map? %) (not (contains? % :schema))))]
   :clock ["a function that returns milliseconds" #(or (nil? %) (ifn? %))]})

(deftype ^:private Windows [exceeded])

(defn windows
  "Returns windows for `exceeded!`: new ones in memory, or those in a database.

    :database  ; settings of temse.database, without :schema: the windows are shared by all processes that
               ; name the same database, in its table rate_windows, and survive their end. Their clocks
               ; should agree. nil keeps the windows in memory (default: nil)
    :max-keys  ; keys that are known in memory; beyond, those that were not asked about for the longest are
               ; forgotten (default: 10000, at most about 25 MB)
    :name      ; data: windows in memory with the same name are the same in all of this process, so that a
               ; filter that is loaded again goes on counting (default: none)
    :clock     ; function that returns milliseconds (default: the time of the JVM; with a database, that
               ; of the machine)

  Throws :bad-options; with :database, an exception whose cause says what to add if a library is missing.

    (windows {:database {:url \"jdbc:postgresql://db.example.org/temse\"}})"
  ([]
   (windows {}))
  ([given]
   (let [{:keys [database clock] :as given} (keys/with-defaults "the options of windows" given options)]
     (->Windows (if database
                  ;; Loaded here, since only this needs the libraries of temse.database.
                  ((requiring-resolve 'temse.impl.shared-rate/in-database) database clock)
                  (in-memory given))))))

(def ^:private limit-table
  {:key ["data with a value" some?]
   :limit ["a number, 0 or more" nat-int?]
   :per keys/milliseconds
   :count ["a number, 0 or more" nat-int? 1]})

(defn- checked
  [limit]
  (let [limit (keys/with-defaults "a limit" limit limit-table)]
    (doseq [k [:key :limit :per]
            :when (not (contains? limit k))]
      (throw (keys/bad-option k limit (str "a limit lacks " k ", " (first (limit-table k))))))
    limit))

(defn exceeded!
  "Returns nil if what is about to happen is within all limits: then it is counted for each. Otherwise
  returns the first limit that has no room for it, and counts nothing. Callers at the same time, in a
  database those of all processes, never get more than there is.

  A limit is a map:

    :key     ; whom or what it concerns, data; with a database strings, keywords, numbers and the like, and
             ; collections of them
    :limit   ; what may happen
    :per     ; milliseconds within which it may; windows of different :per are counted apart
    :count   ; how much is about to happen (default: 1)

  Throws :bad-options, and what temse.database throws while the database is down.

    (exceeded! seen [{:key [:client \"192.0.2.1\"], :limit 10, :per 60000}
                     {:key [:client \"192.0.2.1\"], :limit 100, :per 3600000}])"
  [windows limits]
  (when-not (instance? Windows windows)
    (throw (IllegalArgumentException.
             (str "the first argument must be what temse.rate/windows returned, not " (keys/shown windows)))))
  (when-not (sequential? limits)
    (throw (keys/bad-option :limits limits
                            (str "exceeded! takes a sequence of limits, not " (keys/shown limits)))))
  ((.-exceeded ^Windows windows) (mapv checked limits)))
