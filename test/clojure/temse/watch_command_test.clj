(ns temse.watch-command-test
  "`temse run --watch`: a filter in a process of its own, whose files change."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io BufferedReader File)))

(set! *warn-on-reflection* true)

(def ^:private filter-text
  "(ns marking (:require [parts.mark :as mark]))
   (def filter {:end-of-message (fn [_ _] [{:action :add-header, :name \"X-A\", :value mark/value}])})")

(defn- mark-text
  [value]
  (str "(ns parts.mark)\n(def value " (pr-str value) ")"))

(deftest a-file-that-changes-is-served-and-one-that-does-not-load-is-shown
  (support/with-directory {"marking.clj" filter-text, "parts/mark.clj" (mark-text "1"), "unrelated.clj" "(broken"}
    (fn [^File directory]
      (let [file #(io/file directory %)
            process ^Process (support/process ["-m" "temse.cli" "run" (str (file "marking.clj"))
                                               "--listen" "inet:0@127.0.0.1" "--watch"])
            output ^BufferedReader (io/reader (.getInputStream process))
            seen (atom [])
            next-line (fn [pattern]
                        (loop []
                          (let [line (or (.readLine output) (throw (ex-info (string/join "\n" @seen) {})))]
                            (swap! seen conj line)
                            (if (re-find pattern line) line (recur)))))
            reloaded #"marking at \S+ reloaded in \d+ ms after a change of \S.*"
            change (fn [path text]
                     (spit (file path) text)
                     (next-line #"reloaded"))
            marks #(map :value (:modifications (mt/run-message % {})))]
        (try
          (let [address (second (re-find #"listens on (\S+)$" (next-line #"listens on")))]
            (with-open [session (mt/connect-to address)]
              (is (= [["1"] ["1"]] (map marks [address session])))
              (testing "a file that is required"
                (let [line (change "parts/mark.clj" (mark-text "2"))]
                  (is (re-find reloaded line))
                  (is (string/ends-with? line "/parts/mark.clj")))
                (is (= [["2"] ["2"]] (map marks [address session])) "also on a connection that is open"))
              (testing "a mistake is shown with its place, and the old filter goes on"
                (is (string/ends-with? (change "parts/mark.clj" "(ns parts.mark)\n(def value\n  (undefined))")
                                       (str "/parts/mark.clj, the old filter goes on: parts/mark.clj:3:3: Unable to resolve"
                                            " symbol: undefined in this context")))
                (is (re-find #"marking.clj:\d+:\d+: .*EOF while reading" (change "marking.clj" "(ns marking")))
                (is (re-find #"did you mean :end-of-message\?" (change "marking.clj" "{:end-of-mesage (fn [_ _] nil)}")))
                (is (= [["2"] ["2"]] (map marks [address session]))))
              (testing "until it is mended"
                (is (re-find #"after a change of [^,]*/marking.clj, the old filter goes on: parts/mark.clj:3:3: "
                             (change "marking.clj" filter-text)))
                (is (re-find reloaded (change "parts/mark.clj" (mark-text "3"))))
                (is (= [["3"] ["3"]] (map marks [address session]))))))
          (catch Throwable e
            (throw (ex-info (string/join "\n" (cons (str e) @seen)) {} e)))
          (finally
            (.destroyForcibly process)))))))
