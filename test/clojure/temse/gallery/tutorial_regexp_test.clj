(ns temse.gallery.tutorial-regexp-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.gallery.archive-samples :as samples]
   [temse.gallery.support :as support]
   [temse.milter :as milter]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(def ^:private by-default
  (delay (support/load-filter "tutorial_regexp")))

(defn- verdict
  ([mail]
   (verdict @by-default mail))
  ([filter mail]
   (:verdict (mt/run-message filter mail))))

(def ^:private refused
  {"the subject" {:headers [["Subject" "Buy viagra!!!"]]}
   "a second subject" {:headers [["Subject" "hi"] ["SUBJECT" "viagra"]]}
   "an encoded subject" {:headers [["Subject" "=?ISO-2022-JP?B?GyRCJVAlJCUiJTAlaRsoQnZpYWdyYQ==?="]]}
   "a subject in two encoded words" {:headers [["Subject" "=?utf-8?q?via?= =?utf-8?b?Z3Jh?="]]}
   "the text" {:body "Buy VIAGRA!!!\r\n"}
   "a text in Base64" {:headers [["Content-Transfer-Encoding" "base64"]], :body (str (samples/base64 "Buy viagra!!!") "\r\n")}
   "a text in quoted-printable" {:headers [["Content-Transfer-Encoding" "quoted-printable"]], :body "via=\r\ngr=61\r\n"}
   "a text in UTF-16" {:headers [["Content-Type" "text/plain; charset=utf-16be"] ["Content-Transfer-Encoding" "base64"]]
                       :body (str (samples/base64 (.getBytes "viagra" "UTF-16BE")) "\r\n")}
   "a text file" (samples/named "a.txt" "text/plain" "Buy viagra!!!")
   "HTML in a multipart" {:headers [["Content-Type" "multipart/alternative; boundary=b"]]
                          :body "--b\r\n\r\nHello\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>viagra</b>\r\n--b--\r\n"}
   "a multipart without boundary" {:headers [["Content-Type" "multipart/mixed"]], :body "viagra\r\n"}})

(def ^:private innocent
  {"no word of it" {:headers [["Subject" "Lunch?"]], :body "At noon?\r\n"}
   "no body" {:headers [["Subject" "Lunch?"]], :body ""}
   "no header" {:headers [], :body "At noon?\r\n"}
   "another field" {:headers [["X-Subject" "viagra"]], :body "At noon?\r\n"}
   "a file that is no text" (samples/named "a.bin" "viagra")
   "broken Base64" {:headers [["Content-Transfer-Encoding" "base64"]], :body "====\r\n?\r\n=\r\n"}})

(deftest the-word-is-found-however-it-is-encoded
  (doseq [[what mail] refused]
    (is (= :reject (verdict (merge {:body "Hello.\r\n"} mail))) what))
  (doseq [[what mail] innocent]
    (is (= :accept (verdict mail)) what)))

(deftest the-word-is-found-wherever-the-body-is-cut
  (doseq [[encoding text] {"7bit" "Buy viagra!!!\r\n"
                           "base64" (str (samples/base64 "Buy viagra!!!") "\r\n")
                           "quoted-printable" "Buy via=\r\n=67ra\r\n"}
          at (range 1 (count text))]
    (is (= :reject (verdict {:headers [["Content-Transfer-Encoding" encoding]]
                             :body [(subs text 0 at) (subs text at)]}))
        [encoding at]))
  (is (= :reject (verdict {:body (conj (vec (map str "viagr")) "a\r\n")}))))

(deftest the-mail-is-refused-as-soon-as-the-word-has-come
  (is (= :header (:at (mt/run-message @by-default {:headers [["Subject" "viagra"]]}))))
  (is (= :body (:at (mt/run-message @by-default {:body ["viagra\r\n" "more\r\n"]}))))
  (is (= {:regexp "(?i)viagra"}
         (->> (mt/run-message @by-default {:headers [["Subject" "viagra"]]}) :conversation last :response peek meta :why))))

(deftest the-expression-is-an-argument-and-its-time-is-linear
  (let [filter (support/load-filter "tutorial_regexp" "^(a+)+$|casino\\b")]
    (is (= :reject (verdict filter {:headers [["Subject" "A casino!"]]})))
    (is (= :accept (verdict filter {:headers [["Subject" (str (apply str (repeat 50000 "a")) "!")]]})))
    (is (= :accept (verdict filter {:body "viagra\r\n"}))))
  (is (thrown-with-msg? Exception #"the filter's function failed: .*missing closing \)"
                        (support/load-filter "tutorial_regexp" "("))))

(deftest a-word-is-found-over-the-wire
  (milter/with-milter [server (assoc @by-default :port 0)]
    (doseq [[_ mail] refused]
      (is (= :reject (verdict server (merge {:body "Hello.\r\n"} mail)))))
    (is (= :accept (verdict server {:body "At noon?\r\n"})))))

(defn- check
  "Checks that mails are refused with the code of the MTA."
  [mta code]
  (support/behind
    mta @by-default {}
    (fn [mta]
      (let [wire (fn [mail] (update mail :headers #(map (fn [[field value]] [field (str " " value)]) %)))]
        (doseq [[what mail] refused]
          (is (= code (:code (:message (support/transact mta (wire mail))))) what))
        (doseq [[what mail] (dissoc innocent "no header")]
          (is (= (string/trim-newline (:body mail)) (string/trim-newline (:body (support/sent mta (wire mail))))) what))
        (testing "where the MTA cuts a long body"
          (doseq [before (range 65520 65536 4)]
            (is (= code (->> (str (string/join (repeat (quot before 80) (str (apply str (repeat 78 "x")) "\r\n")))
                                  (apply str (repeat (rem before 80) "y")) "viagra\r\n")
                             (hash-map :body)
                             (support/transact mta)
                             :message
                             :code)))))))))

(deftest mail-with-the-word-is-refused-behind-postfix
  (check :postfix 550))

(deftest mail-with-the-word-is-refused-behind-sendmail
  (check :sendmail 554))
