(ns temse.impl.inspector.disagreement
  "Two answers to the same event as data for the page: those of a recorded and of today's filter, or of a live
  one and its shadow."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.inspector.entry :as entry]
   [temse.impl.line :as line]
   [temse.report :as report])
  (:import
   (java.util Date)))

(set! *warn-on-reflection* true)

(def ^:private most-lines 60)

(defn- answers
  [actions]
  (cond
    (nil? actions) [{:text "no answer", :tone :refuse}]
    (empty? actions) [{:text "continue", :tone :go-on}]
    :else (entry/answers actions)))

(defn- lines
  "Returns the lines in which answers differ that look the same in brief."
  [then now]
  (let [all (report/difference (mapcat entry/action-lines then) (mapcat entry/action-lines now))
        differing (remove #(string/starts-with? % "  ") all)]
    (if (seq differing)
      (take most-lines differing)
      ["  they differ beyond what is shown here"])))

(defn of
  "Returns what two filters have answered to an event."
  [{:keys [event differs problem]} then now]
  (let [[before after] (map answers [then now])]
    (cond-> {:event (line/event-text event)
             :differs (sort (map name differs))
             :then before
             :now after}
      problem (assoc :problem (entry/cut-text problem))
      (= before after) (assoc :lines (lines then now)))))

;; ---- the report of a shadow

(def ^:private most-samples 20)

(defn- sample
  [{:keys [^Date at peer queue-ids live candidate] :as found}]
  (assoc (of found live candidate)
         :at (.getTime at)
         :peer (line/printable (string/join " " (cons peer (take 3 queue-ids))))))

(defn report
  "Returns the report of temse.shadow with its latest samples, the latest first."
  [{:keys [differs samples] :as given}]
  (assoc (select-keys given [:conversations :disagreed :cut :dropped :failed])
         :differs (for [[what n] (sort differs)]
                    [(name what) n])
         :samples (map sample (take most-samples (rseq samples)))))
