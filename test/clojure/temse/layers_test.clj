(ns temse.layers-test
  "Who may require whom. Upper may require lower, never the reverse."
  (:require
   [clojure.java.io :as io]
   [clojure.set :as set]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]])
  (:import
   (java.io File PushbackReader)))

(set! *warn-on-reflection* true)

(def layers
  "Namespaces from bottom to top. Those of one layer do not require each other."
  '[#{temse.action temse.idna temse.impl.addition temse.impl.difference temse.impl.failure temse.impl.file-watch
      temse.impl.json temse.impl.poller temse.impl.text temse.impl.capture.hex temse.impl.capture.input
      temse.impl.capture.tcp temse.impl.command.load temse.impl.command.signals temse.impl.proxy.tap
      temse.impl.recording.weight temse.impl.repl.session-output temse.impl.setup.machine temse.impl.setup.postfix-cf
      temse.impl.setup.sendmail-cf}
    #{temse.impl.brief temse.impl.file-names temse.impl.keys temse.impl.line temse.impl.pending
      temse.impl.capture.frames temse.impl.command.document temse.impl.command.reload temse.impl.command.terminal}
    #{temse.address temse.async temse.configuration temse.mime temse.network temse.rate temse.report
      temse.impl.envelope temse.impl.log temse.impl.macros temse.impl.message-store temse.impl.return-value
      temse.impl.command.arguments temse.impl.command.console}
    #{temse.addresses temse.mail temse.outage temse.periodic temse.test.expect temse.impl.class-path
      temse.impl.filter-file temse.impl.options temse.impl.command.client temse.impl.command.init
      temse.impl.command.insight temse.impl.mta.edit temse.impl.proxy.decoder temse.impl.proxy.passage
      temse.impl.setup.common}
    #{temse.database temse.dns temse.test.generators temse.impl.direct-call temse.impl.events temse.impl.command.mails
      temse.impl.command.milters temse.impl.command.smtp-script temse.impl.command.test temse.impl.mta.postfix
      temse.impl.mta.sendmail temse.impl.repl.exchanges}
    #{temse.impl.negotiation temse.impl.shared-rate temse.impl.mta.commands temse.impl.mta.rules temse.impl.recording.exchange}
    #{temse.impl.handler temse.impl.mta.stages temse.impl.recording.file temse.impl.repl.explanation
      temse.impl.setup.needs}
    #{temse.mta temse.impl.watch temse.impl.compose.sequence temse.impl.recording.conversation
      temse.impl.recording.redaction temse.impl.recording.store temse.impl.setup.postfix-checks
      temse.impl.setup.sendmail-checks}
    #{temse.milter temse.record temse.impl.regression temse.impl.command.redact temse.impl.inspector.entry
      temse.impl.setup.lines temse.impl.setup.x-line}
    #{temse.compose temse.envelope temse.filter temse.metrics temse.proxy temse.replay temse.impl.milter-group
      temse.impl.session temse.impl.command.config temse.impl.command.decode temse.impl.inspector.conversations
      temse.impl.inspector.disagreement temse.impl.inspector.feed}
    #{temse.shadow temse.impl.inspector.rerun temse.impl.phase-scripts temse.impl.played-events temse.impl.smtp
      temse.impl.command.doctor temse.impl.command.proxy temse.impl.command.replay}
    #{temse.inspector temse.project temse.test temse.impl.command.smtp}
    #{temse.repl temse.test.check temse.test.compare temse.impl.command.demo temse.impl.command.dump
      temse.impl.command.run temse.impl.command.send temse.impl.command.try}
    #{temse.cli}])

(def engine-room
  "The namespaces that may meet the Java server."
  '#{temse.milter temse.test temse.test.check
     temse.impl.direct-call temse.impl.handler temse.impl.log temse.impl.options
     temse.impl.return-value temse.impl.compose.sequence temse.impl.session temse.impl.watch})

(def production
  "What users require to write and serve filters."
  '#{temse.milter temse.action temse.async temse.compose temse.filter temse.configuration temse.dns temse.mail temse.mime temse.address temse.envelope temse.idna temse.network temse.record
     temse.addresses temse.database temse.outage temse.periodic temse.rate})

(defn- read-forms
  [^File file]
  (with-open [reader (PushbackReader. (io/reader file))]
    (binding [*read-eval* false]
      (doall (take-while some? (repeatedly 2 #(read {:read-cond :allow, :eof nil} reader)))))))

(def ^:private sources
  "The first two forms of each namespace of the library, by name."
  (delay
    (into {}
          (for [^File file (file-seq (io/file "src/clojure"))
                :when (string/ends-with? (.getName file) ".clj")
                :let [[ns-form :as forms] (read-forms file)]]
            [(second ns-form) forms]))))

(defn- clause
  [[_ & more] kind]
  (mapcat rest (filter #(and (seq? %) (= kind (first %))) more)))

(defn- required
  [ns-form]
  (set (map #(if (coll? %) (first %) %) (clause ns-form :require))))

(defn- imported-packages
  [ns-form]
  (set (map #(if (coll? %) (first %) %) (clause ns-form :import))))

(deftest every-namespace-has-its-layer
  (is (= (set (keys @sources)) (apply set/union layers)))
  (is (= (count (keys @sources)) (reduce + (map count layers)))))

(deftest no-namespace-requires-one-of-its-own-layer-or-above
  (doseq [[n layer] (map-indexed vector layers)
          namespace layer
          :let [below (apply set/union (take n layers))
                ours (filter #(string/starts-with? (name %) "temse.")
                             (required (first (@sources namespace))))]]
    (testing namespace
      (is (= [] (remove below ours))))))

(deftest every-namespace-warns-of-reflection
  (doseq [[namespace [_ second-form]] @sources]
    (is (= '(set! *warn-on-reflection* true) second-form) namespace)))

(deftest what-is-below-impl-is-not-for-users-and-the-rest-is-documented
  (doseq [[namespace [ns-form]] @sources
          :let [attributes (first (filter map? ns-form))]]
    (testing namespace
      (is (string? (nth ns-form 2)))
      (when (string/starts-with? (name namespace) "temse.impl.")
        (is (:no-doc attributes))))))

(deftest only-the-middle-meets-the-java-server
  (doseq [[namespace [ns-form]] @sources
          :when (contains? (imported-packages ns-form) 'temse.server)]
    (is (contains? engine-room namespace))))

(defn- reached
  "Returns the namespaces of the library that are loaded with some of them."
  [namespaces]
  (let [ours (set (keys @sources))]
    (loop [found (set namespaces)]
      (let [more (into found (comp (mapcat #(required (first (@sources %)))) (filter ours)) found)]
        (if (= found more) found (recur more))))))

(deftest serving-loads-no-simulator-no-test-partner-no-printer-and-no-command
  (is (= []
         (filter #(re-find #"^temse\.(metrics|mta|test|report|replay|proxy|cli|impl\.(mta|command|proxy|capture))\b" (name %))
                 (reached production)))))

(deftest core-async-is-required-by-its-own-namespace-only
  (is (= '#{temse.async}
         (set (for [[namespace [ns-form]] @sources
                    :when (contains? (required ns-form) 'clojure.core.async)]
                namespace)))))

(deftest the-command-line-requires-nothing-of-ours-before-it-knows-its-command
  (is (= '#{clojure.java.io clojure.string} (required (first (@sources 'temse.cli))))))

(deftest every-public-name-has-a-docstring
  (doseq [namespace (keys @sources)]
    (require namespace)
    (doseq [[public v] (ns-publics namespace)
            :when (not (re-find #"^->|proxy\$" (name public)))]
      (is (:doc (meta v)) (str namespace "/" public)))))
