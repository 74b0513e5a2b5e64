(ns temse.generators-test
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.impl.mta.edit :as edit]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt]
   [temse.test.check :as check]
   [temse.test.generators :as generators])
  (:import
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- samples
  [generator]
  (map #(gen/generate generator (rem % 60) %) (range 600)))

(defn- check-shown
  "Checks that each predicate holds for some of the samples."
  [samples predicates]
  (doseq [[shown predicate] predicates]
    (is (some predicate samples) shown)))

(def ^:private watchers
  "Handlers of all events that an MTA says in a conversation, which answer nothing."
  (zipmap [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message
           :abort :unknown :disconnect]
          (repeat milter/default-event-handler)))

;; ---- mails

(defn- any-header?
  [predicate]
  (fn [{:keys [headers]}] (some (fn [[field-name value]] (predicate field-name value)) headers)))

(defn- body-text
  [{:keys [body]}]
  (Text/decode body))

(defn- no-utf-8?
  [text]
  (boolean (re-find #"[\uD800-\uDFFF]" (string/replace text #"[\uD800-\uDBFF][\uDC00-\uDFFF]" ""))))

(deftest mails-hold-what-filters-stumble-over
  (check-shown
    (samples generators/mail)
    {"null sender" #(= "<>" (:sender %))
     "long local part" #(some (fn [address] (re-find #"<[^@]{65,}@" address)) (:recipients %))
     "sender that is no UTF-8" #(no-utf-8? (:sender %))
     "SMTPUTF8" #(some #{"SMTPUTF8"} (:options %))
     "several recipients" #(< 2 (count (:recipients %)))
     "no header" #(= [] (:headers %))
     "hundreds of fields" #(< 200 (count (:headers %)))
     "duplicate fields" #(let [names (map first (:headers %))]
                           (and (< 1 (count names)) (apply = names)))
     "folded field" (any-header? (fn [_ value] (re-find #"\n[ \t]" value)))
     "empty value" (any-header? (fn [_ value] (= "" value)))
     "8-bit value" (any-header? (fn [_ value] (no-utf-8? value)))
     "very long line" (any-header? (fn [_ value] (< 65535 (count value))))
     "empty body" #(= "" (body-text %))
     "parts" #(string/includes? (body-text %) "--b--")
     "line of a dot" #(string/starts-with? (body-text %) ".\r\n")
     "lone CR" #(re-find #"\r[^\n]" (body-text %))
     "no end of the last line" #(re-find #"[^\n]$" (body-text %))
     "8-bit body" #(no-utf-8? (body-text %))
     "body of more than 64 KiB" #(< 65536 (count (:body %)))}))

(defn- seen-of
  "Returns the verdict on a mail, and what a filter has seen of it behind Sendmail, which cuts no field."
  [given]
  (let [seen (atom {:headers [], :body []})
        watch (fn [f] (fn [event _] (swap! seen f event) nil))]
    (with-open [session (mt/connect-to
                          {:handlers
                           {:mail (watch #(merge %1 (select-keys %2 [:sender :options])))
                            :header (watch #(update %1 :headers conj [(:name %2) (:value %2)]))
                            :body (watch #(update %1 :body into (:data %2)))}}
                          {:mta :sendmail})]
      [(:verdict (.deliver session (mail/->mail given))) @seen])))

(def ^:private mail-for-sendmail
  "Mails without a CR that ends no line, at which Sendmail hangs up."
  (gen/such-that #(not (edit/stray-cr? (mail/message %))) generators/mail 100))

(defspec every-mail-reaches-the-filter-as-it-is 100
  (prop/for-all [given mail-for-sendmail]
    (= [:accept (-> (mail/message given)
                    (select-keys [:sender :options :headers :body])
                    (update :body vec))]
       (seen-of given))))

(defspec every-mail-can-be-sent-by-either-mta 50
  (prop/for-all [given mail-for-sendmail
                 mta (gen/elements [:postfix :sendmail])]
    (= :accept (:verdict (mt/run-message {:handlers {}} given {:mta mta})))))

;; ---- what comes before

(deftest offers-are-those-of-mtas-of-all-versions
  (let [offers (samples generators/offer)]
    (is (= #{2 3 4 5 6} (set (map :version offers))))
    (is (some #(= #{} (:actions %)) offers))
    (doseq [{:keys [version] :as offer} offers]
      (is (= version (:version (milter/explain-negotiation {:handlers {}} offer)))))))

(defspec macros-reach-the-filter 100
  (prop/for-all [macros generators/macros]
    (let [seen (atom nil)]
      (mt/run-message {:handlers {:hello (fn [_ context]
                                           (reset! seen (milter/get-macro context "cipher_bits"))
                                           nil)}}
                      {}
                      {:macros macros})
      (= (get macros "cipher_bits") @seen))))

;; ---- conversations

(defn- heard-in-full?
  "Returns true if a filter that wants everything hears each event of a conversation, and the
  library finds nothing wrong with it."
  [conversation]
  (support/with-logs records
    (let [exchanges (check/play {:handlers watchers} conversation)]
      (and (= (remove #(= :quit (:event %)) conversation) (map :event exchanges))
           (empty? (support/messages records :warn))))))

(defspec every-conversation-is-legal 150
  (prop/for-all [conversation generators/conversation]
    (heard-in-full? conversation)))

(defspec every-nasty-conversation-is-legal 150
  (prop/for-all [conversation generators/nasty-conversation]
    (heard-in-full? conversation)))

(deftest conversations-end-with-quit
  (is (every? #(= {:event :quit} (peek %)) (samples generators/conversation))))

(defn- pair?
  "Returns a predicate of conversations in which one of these events follows that one."
  [event & followers]
  (fn [conversation]
    (some (fn [[a b]] (and (= event (:event a)) (contains? (set followers) (:event b))))
          (partition 2 1 conversation))))

(deftest conversations-hold-what-smtp-clients-do
  (check-shown
    (samples generators/conversation)
    {"several messages" (pair? :end-of-message :mail)
     "RSET" (pair? :recipient :abort)
     "HELO again" (pair? :end-of-message :hello)
     "unknown command" (pair? :hello :unknown)
     "another client" (pair? :disconnect :connect)
     "parameters of a recipient" #(some (comp seq :options) (filter (comp #{:recipient} :event) %))
     "local submission" #(some (fn [{:keys [event sender]}]
                                 (and (= :mail event) (not (string/starts-with? sender "<"))))
                               %)}))

(deftest nasty-conversations-hold-what-filters-were-not-tried-with
  (check-shown
    (samples generators/nasty-conversation)
    {"abort among the header fields" (pair? :header :abort)
     "abort in the body" (pair? :body :abort)
     "HELO inside a message" (pair? :recipient :hello)
     "MAIL inside a message" (pair? :data :mail)
     "unknown command inside a message" (pair? :header :unknown)
     "another client inside a message" (pair? :body :disconnect)
     "no HELO" (pair? :connect :mail)
     "HELO twice" (pair? :hello :hello)
     "no recipients" (pair? :mail :data)
     "no content" (pair? :end-of-headers :end-of-message)
     "a body in small pieces" (pair? :body :body)
     "the body within the end of message" #(some (fn [{:keys [event data]}]
                                                   (and (= :end-of-message event) data))
                                                 %)
     "loss in the envelope" #(= :recipient (:event (peek %)))
     "loss in the body" #(= :body (:event (peek %)))}))

(deftest smaller-samples-follow-from-a-seed
  (let [[value trees] (generators/sample-tree generators/conversation 7 30)
        [again] (generators/sample-tree generators/conversation 7 30)]
    (is (= (map :event value) (map :event again)))
    (is (some #(< (count (first %)) (count value)) trees))))

(deftest a-missing-library-is-named
  (let [java (str (io/file (System/getProperty "java.home") "bin" "java"))
        class-path (->> (string/split (System/getProperty "java.class.path") #":")
                        (remove #(string/includes? % "test.check"))
                        (string/join ":"))
        {:keys [exit err]} (shell/sh java "-cp" class-path "clojure.main"
                                     "-e" "(set! *e nil) (require 'temse.test.check)")]
    (testing err
      (is (pos? (long exit)))
      (is (string/includes? err "temse.test.generators requires test.check")))))
