(ns temse.arguments-test
  "Arguments of the commands: what is understood, what is refused, and what --help shows."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.impl.command.arguments :as arguments]
   [temse.impl.command.config :as config]
   [temse.impl.command.decode :as decode]
   [temse.impl.command.doctor :as doctor]
   [temse.impl.command.proxy :as proxy]
   [temse.impl.command.replay :as replay]
   [temse.impl.command.run :as run]
   [temse.impl.command.send :as send]
   [temse.support :as support]))

(set! *warn-on-reflection* true)

(def ^:private command
  {:usage ["temse try FILE [OPTIONS]"]
   :about ["Tries."]
   :options ["heading"
             ["--count N" "how many" (arguments/whole-number 1 9)]
             ["--rcpt ADDRESS" "who" arguments/text :repeated]
             ["--timeout SECONDS" "how long" arguments/milliseconds]
             ["--between FILE NAME" "what" arguments/texts]
             ["--mta a|b" "which" (arguments/one-of {"a" :a, "b" false})]
             ["--listen ADDRESS" "where" arguments/address]
             ["-v, --verbose" "more"]]
   :exit "0."})

(defn- parsed
  [& args]
  (arguments/parse command args))

(deftest options-are-found-under-their-long-names
  (are [args expected] (= (merge {:words []} expected) (apply parsed args))
    [] {}
    ["a" "-" "b"] {:words ["a" "-" "b"]}
    ["--count" "3" "-v"] {:count 3, :verbose true}
    ["--count=3" "--verbose" "x"] {:count 3, :verbose true, :words ["x"]}
    ["--rcpt" "a" "--rcpt=b=c" "--rcpt="] {:rcpt ["a" "b=c" ""]}
    ["--rcpt" "--count"] {:rcpt ["--count"]}
    ["--timeout" "0.5"] {:timeout 500}
    ["--timeout" "0.0001"] {:timeout 1}
    ["--mta=b"] {:mta false}
    ["--between" "a" "--b" "c"] {:between ["a" "--b"], :words ["c"]}
    ["--between=a" "b"] {:between ["a" "b"]}
    ["--listen" "20025"] {:listen "inet:20025@127.0.0.1"}
    ["-v" "-v"] {:verbose true}
    ["-v" "--" "-x" "--count"] {:verbose true, :words ["-x" "--count"]}
    ["a" "--help" "--nonsense"] {:words ["a"], :help true}
    ["-h"] {:help true}))

(deftest what-follows-two-dashes-may-be-for-a-filter
  (is (= {:words ["f.clj"], :args ["-x" "--"], :verbose true}
         (arguments/parse (assoc command :args? true) ["-v" "f.clj" "--" "-x" "--"]))))

(deftest mistakes-are-told-with-what-would-be-right
  (are [args message] (= [2 message]
                         ((juxt :temse.cli/exit :message) (support/thrown (apply parsed args))))
    ["--cuont" "1"] "there is no option --cuont; did you mean --count?; temse try --help shows what it takes"
    ["--xyzzy=1"] "there is no option --xyzzy; temse try --help shows what it takes"
    ["-z"] "there is no option -z; temse try --help shows what it takes"
    ["--count"] "--count needs a value: --count N; temse try --help shows what it takes"
    ["--between" "a"] "--between needs 2 values: --between FILE NAME; temse try --help shows what it takes"
    ["--count" "1" "--count=2"] "--count is given twice; temse try --help shows what it takes"
    ["--verbose=yes"] "--verbose takes no value; temse try --help shows what it takes"
    ["--count" "10"] "--count needs a number from 1 to 9, not \"10\""
    ["--count="] "--count needs a number from 1 to 9, not \"\""
    ["--timeout" "0"] "--timeout needs seconds, such as 30 or 0.5, not \"0\""
    ["--mta" "c"] "--mta is one of a, b, not \"c\"")
  (is (string/starts-with? (:message (support/thrown (parsed "--listen" "nonsense"))) "--listen: ")))

(deftest help-shows-every-option-of-every-command-in-eighty-columns
  (doseq [{:keys [options usage] :as command} [command run/command config/command doctor/command send/command proxy/command
                                               replay/command decode/command]
          :let [help (arguments/help command)]]
    (testing (first usage)
      (is (every? #(<= (count %) 80) (string/split-lines help)))
      (doseq [title (map first (filter vector? (conj options ["-h, --help"])))]
        (is (string/includes? help title))))))

(deftest help-is-printed-instead-of-running
  (is (= (str (arguments/help command) "\n")
         (with-out-str (is (= 0 (arguments/run command ["x" "--help"] #(throw (ex-info "run" %))))))))
  (is (= [1 0 0] (map #(arguments/run command [] (constantly %)) [1 0 nil]))))
