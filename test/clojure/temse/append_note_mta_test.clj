(ns temse.append-note-mta-test
  "examples/append_note.clj behind real MTAs: the note is in the plain and the HTML text of ordinary mail
  once, and signed, encrypted, reporting and inviting mail arrives as it was sent."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.impl.filter-file :as filter-file]
   [temse.milter :as milter]
   [temse.mime :as mime]
   [temse.runner :as runner])
  (:import
   (java.io Closeable)
   (java.util Base64)))

(set! *warn-on-reflection* true)

(def ^:private note "Näher: Example Ltd")

(defn- base64
  [^String text charset]
  (.encodeToString (Base64/getMimeEncoder) (.getBytes text ^String charset)))

(defn- octets
  [^String text charset]
  (String. (.getBytes text ^String charset) "ISO-8859-1"))

(defn- lines
  [& lines]
  (str (string/join "\r\n" lines) "\r\n"))

(def ^:private alternative
  (lines "--a" "Content-Type: text/plain; charset=us-ascii" "" "Hello" "--a"
         "Content-Type: text/html; charset=utf-8" "" "<html><body>Hello</body></html>" "--a--"))

(def ^:private noted
  "Ordinary mail: [content type, transfer encoding, body, paths of the texts that get the note]."
  {"plain text without MIME" [nil nil "Hello.\r\n" [[]]]
   "plain text" ["text/plain; charset=us-ascii" "7bit" "Hello.\r\n" [[]]]
   "Latin 1" ["text/plain; charset=iso-8859-1" "8bit" (octets "Grüße\r\n" "ISO-8859-1") [[]]]
   "Latin 1, quoted-printable" ["text/plain; charset=iso-8859-1" "quoted-printable" "Gr=FC=DFe\r\n" [[]]]
   "UTF-8" ["text/plain; charset=utf-8" "8bit" (octets "Grüße €\r\n" "UTF-8") [[]]]
   "UTF-8, Base64" ["text/plain; charset=utf-8" "base64" (str (base64 "Grüße €\r\n" "UTF-8") "\r\n") [[]]]
   "ISO-2022-JP" ["text/plain; charset=iso-2022-jp" "7bit" (octets "日本語\r\n" "ISO-2022-JP") [[]]]
   "flowed text" ["text/plain; charset=us-ascii; format=flowed" "7bit" "Hello \r\nworld\r\n" [[]]]
   "HTML" ["text/html; charset=us-ascii" "7bit" "<html><body>Hello</body></html>\r\n" [[]]]
   "alternatives" ["multipart/alternative; boundary=a" nil alternative [[1] [2]]]
   "text and a file" ["multipart/mixed; boundary=m" nil
                      (lines "--m" "Content-Type: text/plain" "" "Hello" "--m"
                             "Content-Type: application/pdf; name=a.pdf" "Content-Transfer-Encoding: base64" "" "JVBERi0=" "--m--")
                      [[1]]]
   "HTML with its picture" ["multipart/related; boundary=r" nil
                            (lines "--r" "Content-Type: text/html" "" "<body>Hello</body>" "--r"
                                   "Content-Type: image/png" "Content-Transfer-Encoding: base64" "" "iVBORw0K" "--r--")
                            [[1]]]
   "alternatives and a file" ["multipart/mixed; boundary=m" nil
                              (str "--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n" alternative
                                   (lines "--m" "Content-Type: image/png" "Content-Transfer-Encoding: base64" "" "iVBORw0K"
                                          "--m--"))
                              [[1 1] [1 2]]]})

(def ^:private left-alone
  "Mail that arrives as it was sent: [content type, body]."
  {"S/MIME, signed" ["multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=b"
                     (lines "--b" "Content-Type: text/plain" "" "signed" "--b"
                            "Content-Type: application/pkcs7-signature; name=smime.p7s" "Content-Transfer-Encoding: base64" ""
                            "MIAG" "--b--")]
   "S/MIME, opaque" ["application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m" (lines "MIAG")]
   "PGP, encrypted" ["multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b"
                     (lines "--b" "Content-Type: application/pgp-encrypted" "" "Version: 1" "--b"
                            "Content-Type: application/octet-stream" "" "-----BEGIN PGP MESSAGE-----" "--b--")]
   "a delivery report" ["multipart/report; report-type=delivery-status; boundary=b"
                        (lines "--b" "Content-Type: text/plain" "" "Sorry" "--b" "Content-Type: message/delivery-status" ""
                               "Reporting-MTA: dns; x" "--b--")]
   "an invitation" ["multipart/alternative; boundary=b"
                    (lines "--b" "Content-Type: text/plain" "" "Come!" "--b" "Content-Type: text/calendar; method=REQUEST" ""
                           "BEGIN:VCALENDAR" "--b--")]})

(defn- start-mta
  ^Closeable [mta options]
  (case mta
    :postfix (postfix/start options)
    :sendmail (sendmail/start options)))

(defn- milter-address
  [mta server]
  (case mta
    :postfix (str "inet:127.0.0.1:" (milter/milter-port server))
    :sendmail (milter/milter-address server)))

(defn- delivered
  "Returns the message map that arrives for a mail."
  [sink connection what content-type encoding body]
  (let [mark #(= [["X-Mark" (str " " what)]] (filter (comp #{"X-Mark"} first) (sink/headers %)))
        {:keys [message] :as replies}
        (smtp/transact connection {:sender "<a@example.org> BODY=8BITMIME"
                                   :headers (remove nil? [["X-Mark" (str " " what)]
                                                          (when content-type ["MIME-Version" " 1.0"])
                                                          (when content-type ["Content-Type" (str " " content-type)])
                                                          (when encoding ["Content-Transfer-Encoding" (str " " encoding)])])
                                   :body body})]
    (is (= 250 (:code message)) (pr-str what replies))
    (let [arrived (sink/await-message sink mark)]
      {:headers (mapv (fn [[field value]] [field (string/replace (string/replace value #"^ " "") "\r\n" "\n")])
                      (sink/headers arrived))
       :body (sink/body arrived)})))

(defn- texts
  [message]
  (into {} (map (juxt :path #(mime/text message %))) (filter mime/text? (mime/parts message))))

(defn- occurrences
  [^String text]
  (count (re-seq #"Example Ltd" text)))

(defn- check-noted
  [what message paths]
  (let [found (texts message)]
    (testing what
      (is (= (zipmap paths (repeat 1))
             (into {} (filter (comp pos? val)) (update-vals found occurrences))))
      (doseq [path paths]
        (is (re-find #"N(ä|&#228;)her: Example Ltd" (found path)))
        (is (re-find #"Hello|Gr.+e|日本語" (found path)))))))

(defn- check
  [mta]
  (when-let [reason (case mta :postfix (postfix/unavailable) :sendmail (sendmail/unavailable))]
    (runner/skip! reason))
  (milter/with-milter [server (assoc (filter-file/load-filter "examples/append_note.clj" [note]) :port 0)]
    (with-open [sink ^Closeable (sink/start)
                running (start-mta mta {:sink sink, :milters [(milter-address mta server)]})
                connection (smtp/connect {:port (:port running)})]
      (smtp/command connection "EHLO client.example.org")
      (doseq [[what [content-type encoding body paths]] noted]
        (check-noted what (delivered sink connection what content-type encoding body) paths))
      (doseq [[what [content-type body]] left-alone]
        (testing what
          (is (= body (smtp/octets (:body (delivered sink connection what content-type nil body))))))))))

(deftest the-note-is-where-it-belongs-behind-postfix
  (check :postfix))

(deftest the-note-is-where-it-belongs-behind-sendmail
  (check :sendmail))
