(ns temse.differential-test
  "temse beside libmilter: both get the same conversations, and must give the same replies and call
  back alike, but for the differences in `temse.differential/differences`.

  Conversations are generated from a seed, which is printed; TEMSE_SEED in the environment
  gives it. What the smallest failing one is can be kept below `test/resources/conversations`."
  (:require
   [clojure.string :as str]
   [clojure.test :refer [deftest is use-fixtures]]
   [clojure.test.check :as check]
   [clojure.test.check.properties :as prop]
   [temse.differential :as differential]
   [temse.differential.conversation :as conversation]
   [temse.differential.generators :as generators]
   [temse.differential.peers :as peers]
   [temse.differential.rule :as rule]
   [temse.runner :as runner]))

(set! *warn-on-reflection* true)

(def ^:private trials-per-variant 1300)

(def ^:private largest-size 60)

(def ^:private uses
  "How often each difference has explained that the peers part."
  (atom (into {} (map (juxt :id (constantly 0))) differential/differences)))

(defn- difference
  "Returns the id of the difference that explains that the peers part, :none if they do not, and
  :unexplained if nothing explains it."
  [peers conversation]
  (let [parting (differential/compared peers conversation)
        id (:id (:difference parting))]
    (when id
      (swap! uses update id inc))
    (cond
      (nil? parting) :none
      (nil? id) :unexplained
      :else id)))

(defn- failures-of-recorded
  "Returns reports of those conversations that do not part as `expected` says of their names."
  [variant peers folder expected]
  (for [[title conversation] (conversation/recorded folder)
        :when (= variant (:variant conversation))
        :let [found (difference peers conversation)]
        :when (not= found (expected title))]
    (str folder "/" title ": " found "\n" (differential/report peers conversation))))

(defn- failures-of-generated [variant peers]
  (let [property (prop/for-all [conversation (generators/conversation variant)]
                   (not= :unexplained (difference peers conversation)))
        {:keys [pass? shrunk]} (check/quick-check trials-per-variant property
                                                  :seed runner/seed
                                                  :max-size largest-size)]
    (when-not pass?
      [(differential/report peers (first (:smallest shrunk)))])))

(defn- outcome [variant]
  (let [peers (peers/start variant)]
    (try
      {:alike (doall (failures-of-recorded variant peers "alike" (constantly :none)))
       :different (doall (failures-of-recorded variant peers "different" keyword))
       :generated (doall (failures-of-generated variant peers))}
      (finally
        (peers/stop peers)))))

(def ^:private outcomes
  (delay
    (runner/say "Conversations of seed" runner/seed)
    (let [outcomes (apply merge-with into (pmap outcome (keys rule/variants)))]
      (doseq [[id times] (sort-by val > @uses)]
        (runner/say (format "%7d %s" times (name id))))
      outcomes)))

(use-fixtures :once
  (fn [run]
    (when-let [reason (peers/unavailable)]
      (runner/skip! reason))
    (run)))

(defn- none? [failures]
  (is (zero? (count failures)) (str/join "\n\n" failures)))

(deftest recorded-conversations-are-treated-alike
  (none? (:alike @outcomes)))

(deftest recorded-conversations-are-treated-differently-as-intended
  (none? (:different @outcomes)))

(deftest generated-conversations-are-treated-alike-but-for-the-intended-differences
  (none? (:generated @outcomes)))

(deftest every-intended-difference-is-seen
  @outcomes
  (is (= [] (sort (keys (filter (comp zero? val) @uses))))))
