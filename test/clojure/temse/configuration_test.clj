(ns temse.configuration-test
  "Settings of a filter, from a file."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.configuration :as configuration]
   [temse.network :as network])
  (:import
   (java.io File)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(def ^:private table
  {:delay ["a number of seconds" nat-int? 300]
   :networks ["networks such as \"192.0.2.0/24\"" network/networks []]
   :note ["a text" string? nil]})

(defn- with-text
  "Calls f with the path of a file that holds the text."
  [^String text f]
  (let [file (File/createTempFile "settings" ".edn")]
    (try
      (spit file text)
      (f (str file))
      (finally
        (io/delete-file file)))))

(defn- settings
  ([text] (settings text table))
  ([text table] (with-text text #(configuration/read-settings % table))))

(defn- mistake
  "Returns what is wrong in a file of this text, without the directory and name of the file."
  ([text] (mistake text table))
  ([text table]
   (with-text text
     (fn [^String file]
       (try
         (configuration/read-settings file table)
         nil
         (catch MilterException e
           (let [message (str (ex-message e))]
             (assert (string/starts-with? message file) message)
             (subs message (count file)))))))))

(deftest a-file-that-says-nothing-leaves-the-defaults
  (is (= {:delay 300, :networks [], :note nil}
         (configuration/read-settings nil table)
         (settings "{}"))))

(deftest what-the-file-says-goes-before-defaults
  (is (= {:delay 5, :networks ["10.0.0.0/8"], :note nil}
         (settings "; ours\n{:delay 5, ; seconds\n :networks [\"10.0.0.0/8\"]}\n; that is all\n"))))

(deftest mistakes-name-the-line-and-what-would-be-right
  (are [text error] (= error (mistake text))
    "{:delay 5\n :dleay 6}" ":2: there is no setting :dleay; did you mean :delay?"
    "{;; {\n\n :delay -1}" ":3: :delay must be a number of seconds, not -1"
    "{:delay 1 ; :zzz\n,\n :zzz 1}" ":3: there is no setting :zzz; there are :delay, :networks, :note"
    "{:delay 5\n :networks\n [\"10.0.0.0/8]}" ":3: EOF while reading string"
    "{:delay 5\n :delay 6}" ":2: Duplicate key: :delay"
    "{}\n{}" ":2: there is more behind the map of settings"
    "[1]" ": a map of settings is wanted, not [1]"
    "" ": it is empty; a map of settings is wanted, such as {}"))

(deftest a-file-that-is-nested-too-deeply-is-refused
  (is (= ":1: it is nested too deeply" (mistake (apply str (repeat 100000 "["))))))

(deftest a-predicate-may-throw-what-is-wrong
  (is (re-find #"^:2: :networks must be networks such as \"192.0.2.0/24\", not \[\"10.0.0.0/33\"\]: .*10\.0\.0\.0/33"
               (mistake "{:delay 5\n :networks [\"10.0.0.0/33\"]}"))))

(deftest settings-may-hold-settings
  (let [limit {:count ["a number" nat-int?], :by [":client or :user" #{:client :user} :client]}
        table {:limits ["a vector of limits" #(every? (configuration/settings? limit) %) []]}]
    (is (= {:limits [{:count 1} {:count 2, :by :user}]}
           (settings "{:limits [{:count 1} {:count 2 :by :user}]}" table)))
    (are [text error] (= error (mistake text table))
      "{:limits\n [{:count 1 :bye :user}]}"
      ":1: :limits must be a vector of limits, not [{:count 1, :bye :user}]: there is no setting :bye; did you mean :by?"

      "{:limits [{:by :user}]}"
      ":1: :limits must be a vector of limits, not [{:by :user}]: :count is missing: a number"

      "{:limits [3]}"
      ":1: :limits must be a vector of limits, not [3]: a map is wanted, not 3")))

(deftest a-setting-without-default-must-be-given
  (let [table {:name ["the name of a host" string?]}]
    (is (= {:name "a"} (settings "{:name \"a\"}" table)))
    (is (= ": :name is missing: the name of a host" (mistake "{}" table)))
    (is (thrown-with-msg? MilterException #"^the settings: :name is missing"
          (configuration/read-settings nil table)))))

(deftest a-file-that-cannot-be-read-is-named
  (is (thrown-with-msg? MilterException #"^/no/such\.edn: there is no such file$"
        (configuration/read-settings "/no/such.edn" table)))
  (testing "and so is a directory"
    (is (thrown-with-msg? MilterException #": it is a directory$"
          (configuration/read-settings (System/getProperty "java.io.tmpdir") table)))))

(defspec no-text-makes-it-throw-anything-else 200
  (prop/for-all [text (gen/one-of [gen/string-ascii
                                   (gen/fmap pr-str gen/any-printable)
                                   (gen/fmap #(str "{:delay " % "}") gen/string-ascii)])]
    (try
      (map? (settings text))
      (catch MilterException _ true))))
