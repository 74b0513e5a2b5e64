(ns temse.inspector-postfix-test
  "The inspector of a milter behind a real Postfix."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.gallery.support :as gallery]
   [temse.inspector :as inspector]
   [temse.milter :as milter])
  (:import
   (java.io BufferedReader Closeable)
   (java.net URL)))

(set! *warn-on-reflection* true)

(def ^:private marking
  {:handlers {:mail (fn [_ context] context)
              :recipient (fn [_ context] context)
              :header (fn [_ context] context)
              :body (fn [_ context] context)
              :end-of-message (fn [_ context] (milter/respond context (act/add-header "X-Seen" "yes")))}
   :actions #{:add-header}})

(deftest a-conversation-is-shown-live-and-what-is-delivered-is-what-the-page-says
  (gallery/behind :postfix marking {}
                  (fn [{:keys [server] :as running}]
                    (with-open [^Closeable inspector (inspector/inspect server)
                                lines (io/reader (.openStream (URL. (str (:url inspector) "events"))))]
                      (let [arrived (gallery/sent running {:sender "<ann@example.org>"})
                            seen (into []
                                       (comp (filter #(string/starts-with? % "data: {\""))
                                             (halt-when #(string/includes? % "\"verdict\":\"accepted\"")
                                                        (fn [seen last-one] (conj seen last-one))))
                                       (line-seq ^BufferedReader lines))]
                        (is (= ["yes"] (keep (fn [[field value]] (when (= "X-Seen" field) value)) (:headers arrived))))
                        (is (some #(string/includes? % "\"sender\":\"<ann@example.org>\"") seen))
                        (is (some #(string/includes? % "\"+ X-Seen: yes\"") seen))
                        (is (string/includes? (peek seen) "\"verdict\":\"accepted\"")))))))
