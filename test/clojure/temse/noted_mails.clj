(ns temse.noted-mails
  "Mails that get a note, and mails that must not get one, sent through an MTA with a filter that appends it."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [is testing]]
   [temse.gallery.support :as support]
   [temse.harness.smtp :as smtp]
   [temse.mime :as mime])
  (:import
   (java.util Base64)))

(set! *warn-on-reflection* true)

(def note
  "What the filter appends, in one line."
  "Näher: Example Ltd")

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

(def noted
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

(def left-alone
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

(defn- arrived
  "Returns the message map that arrives for a mail."
  [mta content-type encoding body]
  (support/sent mta {:sender "<a@example.org> BODY=8BITMIME"
                     :headers (remove nil? [(when content-type ["MIME-Version" " 1.0"])
                                            (when content-type ["Content-Type" (str " " content-type)])
                                            (when encoding ["Content-Transfer-Encoding" (str " " encoding)])])
                     :body body}))

(defn check
  "Checks that the mails arrive through an MTA of `temse.gallery.support/behind` as they should."
  [mta]
  (doseq [[what [content-type encoding body paths]] noted]
    (check-noted what (update (arrived mta content-type encoding body) :body smtp/octet-bytes) paths))
  (doseq [[what [content-type body]] left-alone]
    (testing what
      (is (= body (:body (arrived mta content-type nil body)))))))
