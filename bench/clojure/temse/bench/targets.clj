(ns temse.bench.targets
  "What temse is to reach, and whether the results of a benchmark show that it does.")

(set! *warn-on-reflection* true)

;; Figures, nil if they were not measured

(defn row
  "Returns the first row with these keys and values, or nil."
  [rows wanted]
  (first (filter #(= wanted (select-keys % (keys wanted))) rows)))

(defn- load-figure [results workload socket server & path]
  (get-in (row (get-in results [:load :rows]) {:workload workload, :socket socket, :server server})
          path))

(defn- mail-through-sendmail [results server]
  (:median-ms (row (get-in results [:situations :mtas])
                   {:mta :sendmail, :socket :tcp, :server server})))

(defn- allocation [results benchmark]
  (:bytes (row (get-in results [:micro :rows]) {:benchmark benchmark})))

(defn- ratio [a b]
  (when (and a b (pos? b))
    (/ (double a) b)))

(defn- growth
  "Returns how many times as dear an event is at most with more of a thing as with less of it."
  [results server over]
  (let [micros (->> (get-in results [:load :linear])
                    (filter #(= [server over] [(:server %) (:over %)]))
                    (sort-by :count)
                    (map :cpu-micros))]
    (when (next micros)
      (apply max (map ratio (rest micros) (reductions min micros))))))

(defn- slowest-of-others [results]
  (some->> (get-in results [:situations :slow-handler :beside]) vals (map :p99-ms) (apply max)))

(defn- further-threads [results]
  (let [{:keys [threads threads-without]} (get-in results [:situations :pending])]
    (when (and threads threads-without)
      (max 0 (- threads threads-without)))))

(defn- larger-kib
  "Returns the memory of an idle connection: objects may have found room in a heap that was resident
  already."
  [{:keys [resident-kib objects-kib]}]
  (when resident-kib
    (max resident-kib objects-kib)))

(defn- idle-figure [results server figure]
  (figure (row (get-in results [:situations :idle]) {:server server})))

;; Targets

(def ^:private apis
  {:java "Java"
   :clojure "Clojure"
   :message "Clojure, at the end"
   :whole-java "Java"
   :whole "Clojure"})

(defn- of-apis
  "Returns a target for each API that has a limit; `figure` gets the results and the API."
  [id text limits unit figure]
  (for [[api limit] limits]
    {:id (conj id api)
     :text (str text (apis api))
     :limit limit
     :unit unit
     :figure #(figure % api)}))

(defn- cpu [peer limits]
  (for [[workload of-workload] limits
        target (of-apis [:cpu peer workload]
                        (str (name workload) ", ")
                        (update-vals of-workload #(vector :at-most %))
                        ""
                        #(ratio (load-figure %1 workload :tcp %2 :cpu-micros)
                                (load-figure %1 workload :tcp peer :cpu-micros)))]
    target))

(defn- of-both [id text limit unit figure]
  (of-apis id text {:java limit, :clojure limit} unit figure))

(def ^:private groups
  [["CPU time per message over TCP, libmilter's being 1"
    (cpu :libmilter
         [[:W1 {:java 0.50, :clojure 0.60, :message 0.25}]
          [:W1r {:java 0.80, :clojure 0.80}]
          [:W2 {:java 0.45, :clojure 0.55, :message 0.06}]
          [:W3 {:java 0.80, :clojure 0.85}]
          [:W4 {:java 0.55, :clojure 0.65, :message 0.03}]
          [:W6 {:java 0.08, :clojure 0.10}]
          [:W7 {:java 0.60, :clojure 0.60}]
          [:W8 {:java 0.60, :clojure 0.60}]
          [:A500 {:java 0.35, :clojure 0.42}]])]

   ["CPU time per message over TCP, the null server's being 1"
    (cpu :null
         [[:W1 {:java 1.20, :clojure 1.45}]
          [:W2 {:java 1.20, :clojure 1.40}]
          [:W3 {:java 1.50, :clojure 1.55}]
          [:W4 {:java 1.20, :clojure 1.40}]
          [:W6 {:java 1.25, :clojure 1.50}]
          [:A500 {:java 1.25, :clojure 1.45}]])]

   ["CPU time per message of whole-message filters over TCP, that of the null server at the end being 1"
    (cpu :silent-null
         [[:W1 {:whole-java 1.80, :whole 2.20}]
          [:W2 {:whole-java 2.50, :whole 3.50}]
          [:W4 {:whole-java 3.00, :whole 5.00}]])]

   ["Wall time over TCP, so many times as fast as with libmilter"
    (concat
      (of-both [:mails-per-second :W1] "W1, messages per second, " [:at-least 10] ""
               #(ratio (load-figure %1 :W1 :tcp %2 :messages-per-second)
                       (load-figure %1 :W1 :tcp :libmilter :messages-per-second)))
      (of-both [:sendmail :tcp] "a mail through Sendmail, " [:at-least 15] ""
               #(ratio (mail-through-sendmail %1 :libmilter) (mail-through-sendmail %1 %2))))]

   ["Round trip of an event over a Unix socket, libmilter's being 1"
    (mapcat (fn [[percentile text]]
              (of-both [:round-trip percentile] text [:at-most 1] ""
                       #(ratio (load-figure %1 :L8 :unix %2 :latency-micros percentile)
                               (load-figure %1 :L8 :unix :libmilter :latency-micros percentile))))
            [[:p50 "L8, median, "] [:p99 "L8, 99th percentile, "]])]

   ["Growth: so many times as dear is an event at most with more of a thing than with less"
    (mapcat (fn [over]
              (of-both [:growth over] (str (name over) ", ") [:at-most 2] "" #(growth %1 %2 over)))
            [:headers :recipients :macros :mebibytes :connections])]

   ["Handlers that wait"
    [{:id [:slow-handler]
      :text "99th percentile of other connections beside 200 that sleep"
      :limit [:less-than 5]
      :unit " ms"
      :figure slowest-of-others}
     {:id [:pending]
      :text "further threads for 2,000 pending values"
      :limit [:at-most 0]
      :unit ""
      :figure further-threads}]]

   ["Idle connections"
    (concat
      (of-both [:idle :open] "still open and served, " [:at-least 20000] ""
               #(idle-figure %1 %2 :open))
      (of-both [:idle :resident] "memory of each, " [:at-most 4] " KiB"
               #(idle-figure %1 %2 larger-kib)))]

   ["Cold start of bin/temse run, to the first accepted connection"
    (for [[start text bound] [[:clojure-without-archive "without an archive of classes" 1500]
                              [:clojure-with-archive "with the archive that bin/temse makes" 350]
                              [:java "Java, without an archive" 120]]]
      {:id [:cold-start start]
       :text text
       :limit [:at-most bound]
       :unit " ms"
       :figure #(get-in % [:situations :cold-start start :accepted-ms])})]

   ["Allocation of a header event, from decoding to the reply"
    (of-apis [:allocation :header]
             "header, "
             {:java [:at-most 400], :clojure [:at-most 600]}
             " bytes"
             #(allocation %1 (str "header-" (name %2))))]])

(defn- verdict [[relation bound] figure]
  (when figure
    (if (case relation
          :at-most (<= figure bound)
          :at-least (>= figure bound)
          :less-than (< figure bound))
      :met
      :missed)))

(defn judged
  "Returns what results reach: pairs of the title of a group and its targets,

    {:id [:cpu :libmilter :W1 :java] :text \"W1, Java\" :limit [:at-most 0.5] :unit \"\"
     :figure 0.43 :verdict :met}

  :limit is :at-most, :at-least or :less-than a number; :verdict is :met or :missed, and nil, like
  :figure, for what was not measured."
  [results]
  (for [[title targets] groups]
    [title (for [{:keys [figure limit] :as target} targets
                 :let [reached (figure results)]]
             (assoc target :figure reached :verdict (verdict limit reached)))]))
