(ns temse.bench.targets
  "What temse is to reach, and whether the results of a benchmark show that it does."
  (:require
   [temse.bench.results :as results :refer [row]]))

(set! *warn-on-reflection* true)

(def ^:private apis
  {:java "Java", :clojure "Clojure", :whole-java "Java", :whole "Clojure"})

(defn- of-apis
  "Returns a target for each API and its limit. `figure` gets the results and the API."
  [id text unit limits figure]
  (for [[api limit] limits]
    {:id (conj id api)
     :text (str text ", " (apis api))
     :limit limit
     :unit unit
     :figure #(figure % api)}))

(defn- cpu
  "Returns targets for the CPU time per message over TCP as a multiple of a peer's."
  [peer limits]
  (for [[workload of-workload] limits
        target (of-apis [:cpu peer workload] (name workload) "" of-workload
                        (fn [{:keys [rows]} server]
                          (let [of #(row rows {:workload workload, :socket :tcp, :server %})]
                            (results/ratio (of server) (of peer)))))]
    target))

(defn- growth
  "Returns the largest factor by which an event costs more as there is more of something."
  [results server over]
  (let [micros (->> (:growth results)
                    (filter #(= [server over] [(:server %) (:over %)]))
                    (sort-by :count)
                    (map :cpu-micros))]
    (when (next micros)
      (apply max (map / (rest micros) (reductions min micros))))))

(def ^:private groups
  [["CPU time per message, event by event, as a multiple of the null server's"
    (cpu :null
         (array-map :W1 {:java 1.20, :clojure 1.45}
                    :W2 {:java 1.20, :clojure 1.40}
                    :W3 {:java 1.50, :clojure 1.55}
                    :W4 {:java 1.20, :clojure 1.40}
                    :A500 {:java 1.25, :clojure 1.45}))]

   ["CPU time per message, whole messages, as a multiple of the silent null server's"
    (cpu :silent-null
         (array-map :W1 {:whole-java 1.80, :whole 2.20}
                    :W2 {:whole-java 2.50, :whole 3.50}
                    :W4 {:whole-java 3.00, :whole 5.00}))]

   ["CPU time per message, event by event, as a multiple of libmilter's"
    (cpu :libmilter
         (for [workload [:W1 :W1r :W2 :W3 :W4 :W6 :W7 :W8 :A500]
               :let [limit (if (= :W3 workload) 0.95 0.60)]]
           [workload {:java limit, :clojure limit}]))]

   ["Growth: the largest factor by which an event costs more as a quantity grows"
    (for [over [:headers :recipients :macros :mebibytes :connections]
          target (of-apis [:growth over] (name over) "" {:java 2, :clojure 2} #(growth %1 %2 over))]
      target)]

   ["Start, until the first connection is accepted"
    (of-apis [:start] "start" " ms" {:java 120, :clojure 350} #(get-in %1 [:start %2]))]

   ["Resident memory"
    (concat
      (of-apis [:memory :at-rest] "at rest" " MiB" {:java 60, :clojure 70}
               #(get-in %1 [:memory %2 :at-rest-mib]))
      (of-apis [:memory :under-load] "under W1" " MiB" {:clojure 110}
               #(get-in %1 [:memory %2 :under-load-mib])))]

   ["Allocation of a header event, from decoding to the reply"
    (of-apis [:allocation] "header" " bytes" {:java 400, :clojure 600} #(get-in %1 [:allocation %2]))]])

(defn judged
  "Returns what results reach: pairs of the title of a group and its targets,

    {:id [:cpu :libmilter :W1 :java] :text \"W1, Java\" :limit 0.6 :unit \"\"
     :figure 0.43 :verdict :met}

  A figure is to be at most the :limit. :verdict is :met or :missed; it and :figure are nil for what was not
  measured."
  [results]
  (for [[title targets] groups]
    [title (for [{:keys [figure limit] :as target} targets
                 :let [reached (figure results)]]
             (assoc target
                    :figure reached
                    :verdict (when reached (if (<= reached limit) :met :missed))))]))
