(ns temse.locale-test
  "In every locale the same: in the Turkish one the lower case of I is no i, in German 1.5 is 1,5, in
  Arabic numbers have other digits."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.impl.text :as text]
   [temse.milter :as milter]
   [temse.mta :as mta]
   [temse.report :as report]
   [temse.test :as mt])
  (:import
   (java.io File)
   (java.util Locale)))

(set! *warn-on-reflection* true)

(defn- in-every-locale
  "Calls f in several default locales and checks that it returns the same."
  [f]
  (let [usual (Locale/getDefault)]
    (try
      (let [expected (do (Locale/setDefault Locale/ROOT) (f))]
        (doseq [tag ["tr-TR" "de-DE" "ar-EG" "fa-IR-u-nu-arabext" "th-TH-u-nu-thai"]]
          (Locale/setDefault (Locale/forLanguageTag tag))
          (testing tag
            (is (= expected (f))))))
      (finally
        (Locale/setDefault usual)))))

(deftest numbers-and-case-are-the-same
  (in-every-locale #(vector (text/lower-case "TITLE") (text/upper-case "title") (text/formatted "%4d %.1f" 12 1.5))))

(deftest a-message-fares-the-same
  (let [filter {:handlers {:header (fn [{:keys [name]} context]
                                     (when (.equalsIgnoreCase "LIST-ID" name)
                                       (milter/update-message context assoc :list? true)))
                           :end-of-message (fn [_ context]
                                             [(act/change-header "LIST-ID" 1 (str (:list? (milter/message context))))
                                              (act/add-recipient "<I@EXAMPLE.INFO>")
                                              (act/delete-recipient "<i@example.info>")
                                              (act/accept)])}}
        mail {:headers [["List-Id" "INFO"] ["MIME-Version" "1.0"]], :recipients ["<I@example.info>" "<B@IN.example>"]}]
    (in-every-locale
      #(let [{:keys [verdict modifications message]} (mt/run-message filter mail)]
         [verdict modifications (report/mail-lines message)]))
    (doseq [mta [:postfix :sendmail]]
      (in-every-locale #(let [{:keys [sent conversation]} (mt/run-message filter mail)]
                          (-> (mta/outcome {:mta mta, :message sent, :conversation conversation})
                              (update :message report/mail-lines)))))))

(deftest a-ladder-is-the-same
  (in-every-locale #(report/exchange-lines {:id 12, :millis 1.5, :event {:event :mail, :sender "<I@x>"}
                                            :response [{:action :continue}]}
                                           true)))

(deftest no-source-asks-for-the-default-locale
  (doseq [^File file (file-seq (io/file "src"))
          :when (re-find #"\.(clj|java)$" (.getName file))
          :when (not= "demo.clj" (.getName file))
          [n line] (map-indexed vector (string/split-lines (slurp file)))]
    (testing (str file ":" (inc (long n)))
      (is (not (re-find #"\b(?:string|str)/(?:lower|upper)-case|[( ]format \"|\(apply format|to(?:Lower|Upper)Case\(\)|String\.format\((?!Locale|\s*$)|\.formatted\(" line))))))
