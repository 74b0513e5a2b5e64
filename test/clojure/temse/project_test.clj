(ns temse.project-test
  "temse.edn: which milters it stands for, and what is wrong with it."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.impl.options :as options]
   [temse.project :as project]
   [temse.support :refer [thrown with-directory]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def ^:private files
  {"word_filter.clj" "(ns project-test.word-filter (:require [clojure.string :as string]))
                      (defn filter [& words]
                        {:port 1, :max-recipients 5, :actions #{:add-header}
                         :handlers {:header (fn [{:keys [value]} _]
                                              (when (some #(string/includes? value %) words)
                                                [{:action :reject}]))}})"
   "mail.clj" "(when (= \"<spam@example.com>\" (sender context)) [(reject)])"
   "scripts/hello.clj" "(require '[project-test.words :as words])\n(when (words/bad? (hello-name context)) [(reject)])"
   "project_test/words.clj" "(ns project-test.words) (defn bad? [x] (= \"bad\" x))"})

(defn- with-project
  "Calls f with the path of a temse.edn of the text, beside some files."
  [text f]
  (with-directory (assoc files "temse.edn" text)
    #(f (str (io/file % "temse.edn")))))

(defn- milters
  [text]
  (with-project text project/milters))

(defn- mistake
  "Returns what is wrong with a temse.edn of the text, without directories."
  [text]
  (with-project text
    (fn [file]
      (string/replace (str (:message (thrown (project/milters file)))) (str (.getParent (io/file file)) "/") ""))))

(deftest a-filter-gets-its-arguments-and-what-the-file-says-of-it
  (let [{:strs [word_filter] :as all} (milters "{:listen 20025, :filter \"word_filter.clj\", :args [\"a\" \"b\"], :max-connections nil}")]
    (is (= ["word_filter"] (keys all)))
    (is (= {:name "word_filter", :address "inet:20025@127.0.0.1", :max-recipients 5, :actions #{:add-header}
            :log-mail? true, :max-connections nil}
           (dissoc word_filter :handlers)))
    (is (= [:reject :accept] (map #(:verdict (mt/run-message word_filter {:headers [["Subject" %]]})) ["xbx" "x"])))
    (testing "which goes before what the filter says"
      (is (= {:max-recipients 7, :name "n", :port 1}
             (select-keys (get (milters "{:name \"n\", :filter \"word_filter.clj\", :max-recipients 7}") "n")
                          [:max-recipients :name :port :address]))))))

(deftest scripts-find-what-lies-beside-the-file
  (let [{:strs [milter]} (milters "{:mail \"mail.clj\", :hello \"scripts/hello.clj\", :wants #{:cipher}}")]
    (is (= #{:sender :hello-name :cipher} (:wants milter)))
    (is (= :accept (:verdict (mt/run-message milter {}))))
    (is (= [:reject :mail] ((juxt :verdict :at) (mt/run-message milter {:sender "<spam@example.com>"}))))
    (is (= :reject (:verdict (mt/run-message milter {} {:hello "bad"})))))
  (testing "and what the file says about actions replaces what they mention"
    (let [{:strs [milter]} (milters "{:mail \"mail.clj\", :optional-actions #{:quarantine}}")]
      (is (= [nil #{:quarantine}] ((juxt :actions :optional-actions) milter))))))

(deftest several-milters-have-names-and-what-the-file-says-to-all
  (let [found (milters "{:max-recipients 9
                         :milters {\"a\" {:listen \"inet:1@127.0.0.1\", :mail \"mail.clj\"}
                                   \"b\" {:listen \"unix:/run/b\", :filter \"word_filter.clj\", :max-recipients 8}}}")]
    (is (= {"a" ["a" "inet:1@127.0.0.1" 9], "b" ["b" "unix:/run/b" 8]}
           (update-vals found (juxt :name :address :max-recipients))))))

(deftest the-one-milter-is-found-without-its-name
  (with-project "{:mail \"mail.clj\"}"
    #(is (= "milter" (:name (project/milter %)))))
  (with-project "{:milters {\"a\" {:mail \"mail.clj\"} \"b\" {:mail \"mail.clj\"}}}"
    #(is (string/ends-with? (:message (thrown (project/milter %)))
                            "temse.edn:1: there are several milters; `milters` returns them by name"))))

(deftest mistakes-name-file-line-key-and-what-would-be-right
  (are [text problem] (= problem (mistake text))
    "{}"
    "temse.edn: there is no filter: give :filter \"FILE.clj\", or a script for an event, such as :mail \"handler/mail.clj\""

    "{:listen 1\n :mial \"mail.clj\"}"
    "temse.edn:2: there is no setting :mial; did you mean :mail?"

    "{:mail mail.clj}"
    "temse.edn:1: :mail must be the path of a script, not mail.clj"

    "{:filter \"word_filter.clj\"\n :mail \"nope.clj\"}"
    "temse.edn:2: :mail: nope.clj: there is no such file"

    "{\n:filter \"scripts\"}"
    "temse.edn:2: :filter: scripts: it is a directory"

    "{:filter \"word_filter.clj\"\n :mail \"mail.clj\"}"
    "temse.edn:2: :mail is a script and :filter a whole filter; give one or the other"

    "{:mail \"mail.clj\"\n :args [\"a\"]}"
    "temse.edn:2: :args are for a :filter; scripts take none"

    "{:filter \"word_filter.clj\" :args [1]}"
    "temse.edn:1: :args must be a vector of strings, not [1]"

    "{:listen 0, :mail \"mail.clj\"\n :socket-group \"mail\"}"
    "temse.edn:2: :socket-group goes with a :listen of \"unix:PATH\", not with 0"

    "{:mail \"mail.clj\"\n :backlogg 5}"
    "temse.edn:2: there is no setting :backlogg; did you mean :backlog?"

    "{:log-level :notice, :mail \"mail.clj\"}"
    "temse.edn:1: :log-level must be :error, :warn, :info or :debug, not :notice"

    "{:milters {\"a\" {:mail \"mail.clj\"}\n \"b\" {:listen 1\n :mai \"x\"}}}"
    "temse.edn:3: in :milters: \"b\": there is no setting :mai; did you mean :mail?"

    "{:milters\n {\"a\" {:mail \"mail.clj\"\n :max-recipients -1}}}"
    "temse.edn:3: in :milters: \"a\": :max-recipients must be a number, not -1"

    "{:milters {\"a\" {:filter \"word_filter.clj\"\n :mail \"mail.clj\"}}}"
    "temse.edn:2: \"a\": :mail is a script and :filter a whole filter; give one or the other"

    "{:milters {\"a\" 3}}"
    "temse.edn:1: in :milters: \"a\": a map of settings is wanted, not 3"

    "{:milters 3}"
    "temse.edn:1: :milters must be a map of name to settings, not 3"

    "{:milters {}}"
    "temse.edn:1: :milters is empty: give a map of name to settings"

    "{:milters {:a {:mail \"mail.clj\"}}}"
    "temse.edn:1: in :milters, a name is a string, not :a"

    "{:milters {\"a\" {:mail \"mail.clj\"}}\n :listen 1}"
    "temse.edn:2: :listen belongs to one milter: give it in :milters")
  (are [text problem] (string/starts-with? (mistake text) problem)
    "{:mail \"mail.clj\"\n :handlers {}}"
    "temse.edn:2: there is no setting :handlers; there are :abort, :actions, "

    "{:mail \"mail.clj\"\n :actions #{:add-heder}}"
    "temse.edn:2: milter: :actions: there is no action :add-heder; did you mean :add-header?"

    "{:milters {\"a\" {:mail \"mail.clj\"\n :wants #{:sendr}}}}"
    "temse.edn:2: a: :wants: there is no word :sendr; did you mean :sender?"

    "{:listen \"nonsense\" :mail \"mail.clj\"}"
    "temse.edn:1: :listen must be an address such as \"inet:20025@127.0.0.1\""))

(deftest every-option-that-is-data-may-be-in-the-file
  (is (= [:address :bindings :daemon? :handlers :host :init :join? :on-error :on-exchange :on-fatal :port :socket-path]
         (sort (remove project/table (keys options/table))))))
