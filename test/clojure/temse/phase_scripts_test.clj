(ns temse.phase-scripts-test
  "Scripts for single events: what they see, what they answer, and what is wrong with them."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.impl.phase-scripts :as phase-scripts]
   [temse.support :as support :refer [with-directory]]
   [temse.test :as mt])
  (:import
   (clojure.lang ExceptionInfo)))

(set! *warn-on-reflection* true)

(defn- with-scripts
  "Calls f with the filter of scripts with these texts, by their events."
  [texts f]
  (with-directory (update-keys texts #(str (name %) ".clj"))
    (fn [directory]
      (f (phase-scripts/load-scripts
           (into {} (for [event (keys texts)] [event (str (io/file directory (str (name event) ".clj")))])))))))

(defn- played
  ([texts] (played texts {}))
  ([texts mail] (with-scripts texts #(mt/run-message % mail))))

(defn- values
  "Returns the values of the fields that a script of the end of the message adds."
  [text]
  (map :value (:modifications (played {:end-of-message text}))))

(defn- mistake
  "Returns what is wrong with a script, without its directory."
  [text]
  (try
    (with-scripts {:mail text} (constantly nil))
    (catch ExceptionInfo e
      (string/replace (str (ex-message e)) #"^/\S.*/(?=mail.clj)" ""))))

(deftest the-value-of-the-last-form-is-the-answer
  (are [text verdict] (= verdict (:verdict (played {:mail text})))
    "[(reject)]" :reject
    "42 [(reject)]" :reject
    "nil" :accept
    "context" :accept
    "(respond context (temporary-failure))" :temporary-failure
    "(future [(reject)])" :reject
    "(when (= :mail (:event event)) [(reject)])" :reject)
  (testing "and a comment is no form"
    (is (= :reject (:verdict (played {:mail "[(reject)]\n(comment 1)\n;; 2\n#_3"}))))))

(deftest an-answer-that-is-none-defers-the-message
  (is (= :temporary-failure (:verdict (played {:mail "(reject)"}))))
  (is (= :temporary-failure (:verdict (played {:mail "42"}))))
  (is (= :temporary-failure (:verdict (played {:mail "(/ 1 0)"})))))

(deftest words-and-namespaces-are-there-without-a-require
  (is (= ["<sender@example.org> example.org a"]
         (values "[(add-header \"X\" (str (sender context) \" \" (address/domain (sender context)) \" \" (string/lower-case \"A\")))]")))
  (are [form] (= ["true"] (values (str "[(add-header \"X\" (str " form "))]")))
    "(network/includes? (network/networks [\"192.0.2.0/24\"]) (client-address context))"
    "(= 1 (count (envelope/recipients context)))"
    "(= \"x\" (:name (act/add-header \"x\" \"y\")))" "(map? (message context))" "(nil? (get-macro context \"auth_type\"))"
    "(agreed? context :add-header)" "(fn? mail/header)" "(do (log/debug 1) (map? milter/events))")
  (testing "also behind an ns form, which goes before them"
    (is (= ["own <sender@example.org>"]
           (values "(ns phase-scripts-test.a (:require [clojure.set :as address]))
                    (defn cipher [_] \"own\")
                    (when (address/subset? #{} #{})
                      [(add-header \"X\" (str (cipher context) \" \" (sender context)))])")))))

(deftest words-that-a-script-mentions-are-asked-for
  (are [text wants] (= wants (with-scripts {:mail text} :wants))
    "nil" #{}
    "(sender context)" #{:sender}
    "(map envelope/cipher [context])" #{:cipher}
    "(ns phase-scripts-test.b (:require [temse.envelope :as e])) (defn f [c] (e/queue-id c)) (f context)" #{:queue-id}
    "(let [x {:a [(client-address context)]}] (received-header context) nil)" #{:client-address :received-header}
    ":sender" #{})
  (testing "in all scripts together"
    (is (= #{:sender :hello-name} (with-scripts {:mail "(sender context)", :hello "(hello-name context)"} :wants)))))

(deftest actions-that-a-script-mentions-are-needed-and-others-are-welcome
  (with-scripts {:end-of-message "(java.util.Date.) [(add-header \"X\" \"1\") (quarantine \"y\")]"}
    (fn [{:keys [actions optional-actions]}]
      (is (= #{:add-header :quarantine} actions))
      (is (= #{:change-header :change-body :change-sender :add-recipient :add-recipient-parameters :delete-recipient}
             optional-actions)))))

(deftest definitions-are-evaluated-once
  (with-scripts {:mail "(require '[clojure.set :as set])
                        (def mails (atom 0))
                        (defn- counted [] (swap! mails inc))
                        (update-message context assoc :count (counted))"
                 :end-of-message "[(add-header \"X\" (str (:count (message context))))]"}
    (fn [filter]
      (with-open [session (mt/connect-to filter)]
        (is (= ["1" "2"] (map #(:value (first (:modifications (mt/run-message session %)))) [{} {}])))))))

(deftest a-file-for-several-events-is-loaded-once
  (with-directory {"both.clj" "(def events (atom [])) (swap! events conj (:event event))
                               (when (= :end-of-message (:event event)) [(add-header \"X\" (str @events))])"}
    (fn [directory]
      (let [path (str (io/file directory "both.clj"))]
        (is (= "[:mail :end-of-message]"
               (:value (first (:modifications
                                (mt/run-message (phase-scripts/load-scripts {:mail path, :end-of-message path}) {}))))))))))

(deftest scripts-that-are-loaded-again-are-new-and-old-ones-go-on
  (with-directory {"m.clj" "(def x 1) (update-message context assoc :x x)"
                   "e.clj" "[(add-header \"X\" (str (:x (message context))))]"}
    (fn [directory]
      (let [paths {:mail (str (io/file directory "m.clj")), :end-of-message (str (io/file directory "e.clj"))}
            marks #(map :value (:modifications (mt/run-message % {})))
            before (phase-scripts/load-scripts paths)]
        (spit (:mail paths) "(def x 2) (update-message context assoc :x x)")
        (is (= ["2"] (marks (phase-scripts/load-scripts paths))))
        (is (= ["1"] (marks before)))
        (spit (:mail paths) "(undefined)")
        (is (thrown? ExceptionInfo (phase-scripts/load-scripts paths)))
        (is (= ["1"] (marks before)))))))

(deftest mistakes-in-a-script-are-named-with-their-place
  (are [text problem] (= problem (mistake text))
    "(foo)" "mail.clj:1:1: Unable to resolve symbol: foo in this context"
    "(println\n  (foo))" "mail.clj:2:3: Unable to resolve symbol: foo in this context"
    "\n(def x (foo))" "mail.clj:2:8: Unable to resolve symbol: foo in this context"
    "(println 1" "mail.clj:2:1: EOF while reading, starting at line 1"
    ")" "mail.clj:1:2: Unmatched delimiter: )"
    "" "mail.clj: there is nothing to do for an event: the script has no form besides definitions"
    "(def x 1)" "mail.clj: there is nothing to do for an event: the script has no form besides definitions"
    "1\n(def x 1)" "mail.clj:2: (def …) comes behind what is done for each event; what defines or requires something comes first")
  (is (string/starts-with? (mistake "\n\n(require 'no.such.namespace)") "mail.clj:3: FileNotFoundException: Could not locate no/such/namespace"))
  (is (thrown-with-msg? ExceptionInfo #"^/no/such.clj: there is no such file$"
        (phase-scripts/load-scripts {:mail "/no/such.clj"}))))

(deftest a-failure-names-the-line-of-the-script
  (support/with-logs _
    (is (re-find #"\(mail.clj:2\)$"
                 (first (:trace (first (:errors (played {:mail "\n(/ 1 0)"})))))))))
