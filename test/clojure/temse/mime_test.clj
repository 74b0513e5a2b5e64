(ns temse.mime-test
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.impl.filter-file :as filter-file]
   [temse.mail :as mail]
   [temse.mime :as mime]
   [temse.mime-generators :as generators]
   [temse.test :as mt])
  (:import
   (java.io ByteArrayInputStream File InputStream SequenceInputStream)
   (java.nio.charset Charset)
   (java.util Arrays Base64 Collections)
   (org.apache.james.mime4j.stream EntityState Field MimeTokenStream)
   (temse.mime MimeLimits)))

(set! *warn-on-reflection* true)

(defn- eml
  "Returns the message of lines."
  [& lines]
  (mail/read-eml (str (string/join "\r\n" lines) "\r\n")))

(defn- body-octets
  [{:keys [body]}]
  (if (string? body) body (generators/octets body)))

(defn- part-at
  [message path]
  (first (filter #(= path (:path %)) (mime/parts message))))

(defn- text-at
  [message path]
  (mime/text message (part-at message path)))

(defn- structure
  [message]
  (mapv (juxt :path :type) (mime/parts message)))

(def ^:private newsletter
  (eml "Subject: News"
       "MIME-Version: 1.0"
       "Content-Type: multipart/mixed; boundary=\"outer\""
       ""
       "This is MIME."
       "--outer"
       "Content-Type: multipart/alternative; boundary=inner"
       ""
       "--inner"
       "Content-Type: text/plain; charset=utf-8"
       "Content-Transfer-Encoding: quoted-printable"
       ""
       "Gr=C3=BC=C3=9Fe"
       "--inner"
       "Content-Type: multipart/related; boundary=rel; start=\"<html@x>\""
       ""
       "--rel"
       "Content-Type: image/png"
       "Content-ID: <image@x>"
       "Content-Transfer-Encoding: base64"
       ""
       "iVBORw0KGgo="
       "--rel"
       "Content-Type: text/html; charset=iso-8859-1"
       "Content-ID: <html@x>"
       ""
       "<html><body>Hello</BODY></html>"
       "--rel--"
       ""
       "--inner--"
       ""
       "--outer"
       "Content-Type: text/plain; name=notes.txt"
       "Content-Disposition: attachment; filename=notes.txt"
       ""
       "notes"
       "--outer--"
       "The end."))

;; ---- parts

(deftest parts-have-paths-types-and-the-range-of-their-bytes
  (is (= [[[] "multipart/mixed"]
          [[1] "multipart/alternative"]
          [[1 1] "text/plain"]
          [[1 2] "multipart/related"]
          [[1 2 1] "image/png"]
          [[1 2 2] "text/html"]
          [[2] "text/plain"]]
         (structure newsletter)))
  (let [body (body-octets newsletter)]
    (is (= ["Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe"
            "Gr=C3=BC=C3=9Fe"]
           (let [{:keys [start content-start end]} (part-at newsletter [1 1])]
             [(subs body start end) (subs body content-start end)])))
    (is (= {:start 0, :content-start 0, :end (count body)}
           (select-keys (part-at newsletter []) [:start :content-start :end]))))
  (is (= {:disposition "attachment", :filename "notes.txt", :encoding "7bit", :within ["multipart/mixed"]
          :headers [["Content-Type" "text/plain; name=notes.txt"]
                    ["Content-Disposition" "attachment; filename=notes.txt"]]}
         (select-keys (part-at newsletter [2]) [:disposition :filename :encoding :within :headers])))
  (is (= "Grüße" (text-at newsletter [1 1])))
  (is (= [-119 80 78 71 13 10 26 10] (vec (mime/content newsletter (part-at newsletter [1 2 1]))))))

(deftest the-body-may-be-whatever-a-stream-can-be-made-of
  (let [body (:body newsletter)
        file (doto (File/createTempFile "temse" ".mime") .deleteOnExit)]
    (io/copy body file)
    (doseq [given [file (.toURI file) [body] [(Arrays/copyOf ^bytes body 10)
                                              (Arrays/copyOfRange ^bytes body 10 (alength ^bytes body))]
                   (body-octets newsletter)]
            :let [message (assoc newsletter :body given)]]
      (is (= (mime/parts newsletter) (mime/parts message)) (class given))
      (is (= "Grüße" (text-at message [1 1])))
      (is (= (seq (:body (mime/append-text newsletter "end")))
             (seq (:body (mime/append-text message "end"))))))
    (is (= (mime/parts newsletter)
           (mime/parts (assoc newsletter :body (ByteArrayInputStream. body)))))))

(deftest a-message-without-content-type-is-plain-text
  (let [[part & more] (mime/parts {:headers [["Subject" "hi"]], :body "hello"})]
    (is (nil? more))
    (is (= {:path [], :type "text/plain", :encoding "7bit", :start 0, :content-start 0, :end 5, :body? true}
           (select-keys part [:path :type :charset :encoding :start :content-start :end :body?])))))

(deftest messages-in-messages-have-parts-of-their-own
  (let [message (eml "Content-Type: multipart/digest; boundary=d" "" "--d" "" "Subject: one" "" "first"
                     "--d" "Content-Type: message/rfc822" "" "Subject: two"
                     "Content-Type: multipart/mixed; boundary=e" "" "--e" "" "second" "--e--" "--d--")]
    (is (= [[[] "multipart/digest"]
            [[1] "message/rfc822"]
            [[1 1] "text/plain"]
            [[2] "message/rfc822"]
            [[2 1] "multipart/mixed"]
            [[2 1 1] "text/plain"]]
           (structure message)))
    (is (= [["Subject" "one"]] (:headers (part-at message [1 1]))))
    (is (= "first" (text-at message [1 1])))
    (is (= "second" (text-at message [2 1 1])))
    (is (= ["multipart/digest" "message/rfc822" "multipart/mixed"] (:within (part-at message [2 1 1]))))))

(defn- mime4j-parts
  "Returns [type decoded-content] of each part without parts, as mime4j's own parser finds them."
  [message]
  (let [stream (MimeTokenStream. (.mimeConfig MimeLimits/DEFAULT))]
    (.parse stream (ByteArrayInputStream. (mail/message-bytes message)))
    (loop [parts []]
      (let [state (.getState stream)]
        (cond
          (= EntityState/T_END_OF_STREAM state)
          parts

          (= EntityState/T_BODY state)
          (let [part [(.getMimeType (.getBodyDescriptor stream))
                      (generators/octets (.readAllBytes (.getDecodedInputStream stream)))]]
            (.next stream)
            (recur (conj parts part)))

          :else
          (do (.next stream)
              (recur parts)))))))

(defspec parts-and-contents-are-those-that-mime4j-finds 300
  (prop/for-all [message generators/message]
    (= (mime4j-parts message)
       (for [part (mime/parts message)
             :when (not (:container? part))]
         [(:type part) (generators/octets (mime/content message part))]))))

;; ---- names and header fields

(deftest encoded-words-are-decoded-wherever-they-were-split
  (doseq [[value expected]
          {"=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=" "Grüße"
           "=?UTF-8?B?R3LD?=\n =?utf-8?B?vMOfZQ==?=" "Grüße"
           "=?utf-8?B?R3LDv?= =?utf-8?B?MOfZQ==?=" "Grüße"
           "=?utf-8?B?R3LD?= =?utf-8?Q?=BC?= x" "Grü x"
           "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?= =?ISO-2022-JP?B?GyRCOGwbKEI=?=" "日本語"
           "=?iso-8859-1?q?a_b?= =?utf-8?q?_=E2=82=AC?=" "a b €"
           "=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=" "Grüße"
           "Re: =?koi8-r?B?8NLJ18XU?=, you" "Re: Привет, you"
           "a =?utf-8?q?b?= c =?utf-8?q?d?=" "a b c d"
           "=?utf-8?q?a b?=" "a b"
           "=?x-nothing?q?abc?=" "abc"
           "=?utf-8?q?=FF?=" "\udcff"
           "=?utf-8?z?abc?=" "=?utf-8?z?abc?="
           "=?utf-8?q?abc" "=?utf-8?q?abc"
           "=?utf-8?b?????=" "=?utf-8?b?????="
           "two\n\tlines" "two\tlines"
           "" ""}]
    (is (= expected (mime/decode-header value)) value)))

(defn- name-of
  [disposition]
  (:filename (part-at (eml (str "Content-Disposition: attachment; " disposition) "" "x") [])))

(deftest file-names-are-decoded-whatever-was-done-to-them
  (doseq [[disposition expected]
          {"filename=plain.txt" "plain.txt"
           "filename=\"a \\\"b\\\";c.txt\"" "a \"b\";c.txt"
           "filename*=utf-8''Gr%C3%BC%C3%9Fe%20%2B+1.txt" "Grüße ++1.txt"
           "filename*=iso-8859-1'de'Gr%FC%DFe.txt" "Grüße.txt"
           "filename*0=\"long \"; filename*1=\"name\"; filename*2=.txt" "long name.txt"
           "filename*1*=%BC%C3%9Fe; filename*0*=utf-8''Gr%C3; filename*2=\"100%25.txt\"" "Grüße100%25.txt"
           "filename*0*=utf-8''a; filename*2*=c" "a"
           "filename=old.txt; filename*=utf-8''new.txt" "new.txt"
           "filename*10*=k; filename*0*=''a; filename*1=b" "ab"
           "filename=\"=?utf-8?B?R3LDvMOfZQ==?=\"" "Grüße"
           "filename*=utf-8''%" "%"
           "filename*=utf-8''%C3%ZZ" "\udcc3%ZZ"
           "filename*=nonsense" "nonsense"
           "filename" ""
           "filename=(comment) x(y).exe" "x.exe"}]
    (is (= expected (name-of disposition)) disposition))
  (is (= "named.pdf"
         (:filename (part-at (eml "Content-Type: application/pdf; name=named.pdf" "" "x") [])))))

;; ---- decoding

(defn- read-as
  "Returns the text of a message of one part."
  [charset encoding content]
  (let [message {:headers [["Content-Type" (str "text/plain; charset=" charset)]
                           ["Content-Transfer-Encoding" encoding]]
                 :body (generators/octet-bytes content)}]
    (text-at message [])))

(defn- names-in
  [& fields]
  (mime/filenames (first (mime/parts (apply eml (concat fields ["" "x"]))))))

(deftest every-name-that-a-reader-may-show-is-found
  (is (= [] (names-in "Subject: name=a.exe")))
  (is (= ["a.txt"] (names-in "Content-Type: text/plain; name=a.txt")))
  (doseq [[shown field]
          {"b.exe" "Content-Disposition: attachment; filename=a.txt; filename=b.exe"
           "c.exe" "Content-Disposition: attachment; filename*1=exe; filename*0=\"c.\""
           "d.exe" "Content-Disposition: attachment; filename*0*=utf-8''%64%2E; filename*1*=%65x; filename*2=e"
           "e.exe" "Content-Disposition: attachment; filename*0=a.; filename*0=e.; filename*1=exe"
           "f.exe" "Content-Disposition: attachment; filename*0=f.; filename*2=exe"
           "g.exe" "Content-Disposition: attachment; filename=\"g%2Eexe\""
           "h.bat" "Content-Disposition: attachment; filename=\"h.()bat\""
           "i.bat" "Content-Disposition: attachment; filename=i.(x)bat"
           "j.exe" "Content-Disposition: attachment filename = j.exe"
           "k.exe" "Content-Disposition: attachment; x=(; filename=k.exe"
           "l.exe" "Content-Disposition: attachment; x=\"; FileName=l.exe"
           "m.exe" "Content-Disposition: attachment; filename=\"=?utf-8?b?bS5leGU=?=\""
           "n.exe" "Content-Disposition: attachment; filename*=iso-8859-1'de'n%2eexe; filename=a.txt"
           "o.exe" "Content-Disposition: attachment; filename=o.exe; filename*=utf-8''a.txt"
           "p.exe" "Content-Type: application/octet-stream; name=p.exe"
           "q.exe" "Content-Disposition: attachment; filename=\"q.e\\x\\e\""}]
    (is (some #{shown} (names-in "Content-Disposition: attachment; filename=z.txt" field "Content-Type: text/plain; name=y.txt"))
        field)
    (is (some #{shown} (names-in field)) field))
  (is (= "ü.exe" (last (names-in "Content-Disposition: attachment; filename=\"%C3%BC.exe\"")))))

(defspec names-of-any-fields-are-found-without-fault 200
  (prop/for-all [values (gen/vector (gen/fmap string/join (gen/vector (gen/elements ["name" "file" "=" "*" "0" "\"" "(" ")" "%" "4" ";" "'"
                                                                                     " " "\\" "=?" "?q?" "ü" "\udc80" "\u0000"])))
                                    3)]
    (every? string? (mime/filenames {:headers (map vector (cycle ["Content-Type" "content-disposition"]) values)}))))

(deftest texts-are-decoded-from-every-encoding-however-it-was-broken
  (doseq [[charset encoding content expected]
          [["iso-2022-jp" "7bit" "\u001b$BF|K\\\u001b(B" "日本"]
           ["utf-8" "BASE64 (really)" "R3LD\r\nvMOf\r\nZQ==" "Grüße"]
           ["utf-8" "base64" "R3#LD-vM_Of ZQ==" "Grüße"]
           ["utf-8" "base64" "R3LDvMOfZQ==R3LDvMOfZQ==" "GrüßeGrüße"]
           ["utf-8" "base64" "R3LDvMOfZ" "Grüß"]
           ["utf-8" "quoted-printable" "a=\r\nb= \t\r\nc=3d=\nd \t\r\ne  =20\r\n=" "abc=d\r\ne   \r\n"]
           ["utf-8" "quoted-printable" "a=b==c=4=4x=" "a=b==c=4=4x"]
           ["utf-8" "quoted-printable" "1=2=\r3" "1=2=\r3"]
           ["us-ascii" "7bit" "Gr\u00c3\u00bc\u00df" "Grü\udcdf"]
           ["utf-8" "8bit" "\u00fcber" "\udcfcber"]
           ["x-unknown" "8bit" "\u00c3\u00bc" "ü"]
           ["\"'; drop\"" "8bit" "a" "a"]
           ["utf-16" "8bit" "\u0000a\u0000" "a\u0000"]
           ["shift_jis" "8bit" "\u0093\u00fa\u0096\u007b\u0081" "日本\udc81"]]]
    (is (= expected (read-as charset encoding content)) [charset encoding content])))

(deftest every-charset-of-java-decodes-any-bytes
  (let [bytes (generators/octets (byte-array (map unchecked-byte (concat (range 256) (range 255 -1 -1)))))]
    (doseq [charset (keys (Charset/availableCharsets))]
      (is (string? (read-as charset "8bit" bytes)) charset))))

;; ---- broken and hostile mail

(defn- nested
  "Returns a message of multiparts in each other."
  [depth]
  {:headers [["Content-Type" "multipart/mixed; boundary=b0"]]
   :body (str (string/join (for [i (range depth)]
                             (str "--b" i "\r\nContent-Type: multipart/mixed; boundary=b" (inc (long i)) "\r\n\r\n")))
              "--b" depth "\r\n\r\ninnermost\r\n"
              (string/join (for [i (range depth -1 -1)] (str "--b" i "--\r\n"))))})

(deftest a-thousand-multiparts-in-each-other-are-taken-apart-if-that-is-allowed
  (let [message (nested 1000)
        parts (mime/parts message {:max-depth 1001})]
    (is (= 1002 (count parts)))
    (is (= (repeat 1001 1) (:path (last parts))))
    (is (= "innermost" (mime/text message (last parts))))
    (is (every? :closed? (butlast parts)))))

(deftest what-lies-too-deep-is-one-part-that-says-so
  (let [parts (mime/parts (nested 1000))]
    (is (= 101 (count parts)))
    (is (= {:type :unparsed, :reason :too-deep, :declared-type "multipart/mixed"}
           (select-keys (last parts) [:type :reason :declared-type])))
    (is (string/includes? (mime/text (nested 1000) (last parts)) "innermost"))))

(deftest a-hundred-thousand-parts-are-found-or-the-rest-is-one-part
  (let [message {:headers [["Content-Type" "multipart/mixed; boundary=b"]]
                 :body (str (string/join (repeat 100000 "--b\r\n\r\nx\r\n")) "--b--\r\n")}]
    (is (= 100001 (count (mime/parts message {:max-parts 200000}))))
    (let [parts (mime/parts message)]
      (is (= 10001 (count parts)))
      (is (= {:type :unparsed, :reason :too-many-parts, :end (count (:body message))}
             (select-keys (last parts) [:type :reason :end]))))))

(deftest multiparts-without-boundaries-are-unparsed-and-their-text-is-there
  (doseq [[type reason] {"multipart/mixed" :no-boundary
                         "multipart/mixed; boundary=\"\"" :no-boundary
                         (str "multipart/mixed; boundary=" (string/join (repeat 1001 "x"))) :no-boundary
                         "multipart/mixed; boundary=b" :boundary-missing}
          :let [message {:headers [["Content-Type" type]], :body "--c\r\n\r\nhidden\r\n"}
                [part & more] (mime/parts message)]]
    (is (nil? more))
    (is (= [:unparsed reason "multipart/mixed"] ((juxt :type :reason :declared-type) part)))
    (is (= "--c\r\n\r\nhidden\r\n" (transduce (map :text) str (mime/text-chunks message))))))

(deftest a-multipart-that-does-not-end-has-its-parts
  (let [message (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" "" "one" "--b" "Content-Type: text/html")]
    (is (= [[[] "multipart/mixed"] [[1] "text/plain"] [[2] "text/html"]] (structure message)))
    (is (false? (:closed? (part-at message []))))
    (is (= "" (text-at message [2])))))

(deftest the-boundary-of-an-outer-part-ends-all-parts-in-it
  (let [message (eml "Content-Type: multipart/mixed; boundary=o" "" "--o"
                     "Content-Type: multipart/mixed; boundary=i" "" "--i" "" "one" "--o" "" "two" "--i" "--o-- " "x")]
    (is (= [[[] "multipart/mixed"] [[1] "multipart/mixed"] [[1 1] "text/plain"] [[2] "text/plain"]]
           (structure message)))
    (is (= ["one" "two\r\n--i"] [(text-at message [1 1]) (text-at message [2])]))))

(deftest headers-that-are-too-long-or-none-begin-the-content
  (let [long-line (str "X: " (string/join (repeat 200000 "x")))
        message (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" long-line "" "one" "--b" "no field" "" "two" "--b--")]
    (is (= [:unparsed :header-too-long] ((juxt :type :reason) (part-at message [1]))))
    (is (= (str long-line "\r\n\r\none") (text-at message [1])))
    (is (= "no field\r\n\r\ntwo" (text-at message [2])))))

(def ^:private megabytes
  "Bodies of 4 MiB that would take hours if time grew with the square of their length."
  (let [size (bit-shift-left 1 22)
        fill (fn [piece] (let [n (quot size (count piece))] (string/join (repeat n piece))))]
    {"one line" (fill "x")
     "hyphens" (fill "-")
     "hyphens on lines" (fill "--\r\n")
     "almost boundaries" (fill "--bx\r\n")
     "boundaries without end" (fill "--b ")
     "parts" (fill "--b\r\n")
     "empty lines" (fill "\r\n")
     "CR" (fill "\r")
     "blanks" (fill " ")
     "equals signs" (fill "=")
     "soft line breaks of blanks" (fill "= \t")
     "field names" (str "--b\r\n" (fill "a:\r\n"))
     "comments" (str "--b\r\nContent-Type: " (fill "("))
     "quotes" (str "--b\r\nContent-Type: a/b" (fill "; a=\"\\"))
     "parameters" (str "--b\r\nContent-Type: a/b" (fill ";a*1*=b"))
     "multiparts" (fill "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n")
     "messages" (fill "--b\r\nContent-Type: message/rfc822\r\n\r\n")}))

(deftest hostile-megabytes-take-linear-time
  (doseq [[what body] megabytes
          [type encoding charset] [["multipart/mixed; boundary=b" "7bit" "utf-8"]
                                   ["text/plain" "base64" "utf-16"]
                                   ["text/plain" "quoted-printable" "iso-2022-jp"]]
          :let [message {:headers [["Content-Type" (str type "; charset=" charset)]
                                   ["Content-Transfer-Encoding" encoding]]
                         :body (generators/octet-bytes body)}]]
    (testing [what encoding type]
      (is (pos? (count (mime/parts message))))
      (is (nat-int? (transduce (map (comp count :text)) + 0 (mime/text-chunks message {:overlap 20})))))))

(deftest hostile-header-fields-take-linear-time
  (doseq [piece ["=?" "=?a?b?" "=?utf-8?q?" "=?utf-8?b?=?=" "=?utf-8?q?=C3?= " " \n" "?=" "=?utf-8?q?_?= \n "]
          :let [value (string/join (repeat (quot 2000000 (count piece)) piece))]]
    (is (string? (mime/decode-header value)) piece))
  (doseq [piece [";" ";a=b" "(" "((\\" "\"" ";filename*0*=''%" "; " "é" ";filename*1=é" "name" "name  =" "%41" "name=%41("]
          :let [value (str "attachment" (string/join (repeat (quot 1000000 (count piece)) piece)))
                parts (mime/parts {:headers [["Content-Disposition" value] ["Content-Type" value]]
                                   :body "x"})]]
    (is (= 1 (count parts)) piece)
    (is (vector? (mime/filenames (first parts))) piece)))

(defspec no-message-makes-anything-throw 500
  (prop/for-all [message (gen/one-of [generators/broken-message
                                      (gen/fmap mail/read-eml gen/bytes)])]
    (let [parts (mime/parts message)]
      (and (every? #(string? (mime/text message %)) parts)
           (every? #(<= 0 (long (:start %)) (long (:content-start %)) (long (:end %))
                        (alength ^bytes (:body message)))
                   parts)
           (every? string? (map (comp mime/decode-header second) (:headers message)))
           (map? (mime/append-text message "the end"))
           (map? (mime/update-parts message (constantly true)
                                    (fn [_ content] (if (string? content) (str content "€") (byte-array 3)))
                                    {:force? true}))))))

;; ---- searching

(defn- chunks
  [message options]
  (into [] (mime/text-chunks message options)))

(defn- found?
  [chunks word]
  (boolean (some #(string/includes? (:text %) word) chunks)))

(defn- pieces
  "Returns bytes in pieces of a length."
  [^bytes data n]
  (for [i (range 0 (alength data) n)]
    (Arrays/copyOfRange data (int i) (int (min (+ (long i) (long n)) (alength data))))))

(deftest a-word-is-found-wherever-the-body-is-cut
  (let [word "Geheimwort"
        plain (eml "Content-Type: text/plain" "" (str "bla " word " bla"))
        base64 (eml "Content-Transfer-Encoding: base64" ""
                    (.encodeToString (Base64/getMimeEncoder) (.getBytes (str "some text, " word " and more text, " word))))
        quoted (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" "Content-Transfer-Encoding: quoted-printable" ""
                    "Geheim=" "wo=72t" "--b--")]
    (doseq [message [plain base64 quoted]
            size [1 2 3 5 7 64]
            :let [scan (mime/text-scanner (:headers message) {:overlap 9})
                  found (into (vec (mapcat scan (pieces (:body message) size))) (scan))]]
      (is (found? found word) size))
    (is (not (found? (chunks plain {}) "Geheimwurst")))
    (is (string/includes? (mime/decode-header "=?utf-8?q?Geheim?= =?utf-8?b?d29ydA==?=") word))))

(defn- texts
  "Returns [part text] of chunks in sequence, those of a part joined."
  [chunks]
  (for [of-part (partition-by :part chunks)]
    [(:part (first of-part)) (string/join (map :text of-part))]))

(defspec the-pieces-in-which-a-body-comes-make-no-difference 300
  (prop/for-all [message (gen/one-of [generators/message generators/broken-message])
                 size (gen/choose 1 40)]
    (let [scan (mime/text-scanner (:headers message))]
      (= (texts (chunks message {}))
         (texts (into (vec (mapcat scan (pieces (:body message) size))) (scan)))))))

(deftest chunks-without-overlap-are-the-text
  (let [message (eml "Content-Type: multipart/mixed; boundary=b" "" "before" "--b" "Content-Transfer-Encoding: base64" ""
                     (.encodeToString (Base64/getMimeEncoder) (.getBytes (string/join (repeat 5000 "Grüße "))))
                     "--b" "Content-Type: image/png" "" "no text" "--b--" "behind")
        by-path (group-by (comp :path :part) (chunks message {}))]
    (is (= (string/join (repeat 5000 "Grüße ")) (string/join (map :text (by-path [1])))))
    (is (< 1 (count (by-path [1]))))
    (is (nil? (by-path [2])))
    (is (= "beforebehind\r\n" (string/join (map :text (by-path [])))))
    (is (= "text/plain" (:type (:part (first (by-path [1]))))))))

(deftest reading-ends-where-the-reduction-ends
  (let [read (atom 0)
        endless (proxy [InputStream] []
                  (read
                    ([] (swap! read inc) 120)
                    ([^bytes buffer] (swap! read + (alength buffer)) (Arrays/fill buffer (byte 120)) (alength buffer))
                    ([^bytes buffer offset length]
                     (swap! read + length)
                     (Arrays/fill buffer (int offset) (int (+ (long offset) (long length))) (byte 120))
                     length)))]
    (is (= "x" (reduce (fn [_ {:keys [text]}] (reduced (subs text 0 1))) nil
                       (mime/text-chunks {:headers [], :body endless}))))
    (is (< (long @read) 100000))))

(deftest a-large-mail-is-searched-as-a-stream
  (let [line (str (string/join (repeat 76 "A")) "\r\n")
        filler #(ByteArrayInputStream. (.getBytes (string/join (repeat 10000 line))))
        word (ByteArrayInputStream. (.encode (Base64/getMimeEncoder) (.getBytes "...Geheimwort...")))
        message {:headers [["Content-Transfer-Encoding" "base64"]]
                 :body (SequenceInputStream.
                         (Collections/enumeration (concat (repeatedly 33 filler) [word] [(filler)])))}]
    (is (true? (reduce (fn [_ {:keys [text]}] (if (string/includes? text "Geheimwort") (reduced true) false))
                       false
                       (mime/text-chunks message {:overlap 9}))))))

;; ---- changing

(defn- outside
  "Returns the octets of a body outside of the parts with the given paths."
  [message paths]
  (let [body (body-octets message)]
    (loop [from 0
           kept []
           [{:keys [start end]} & more] (filter (comp paths :path) (mime/parts message))]
      (if start
        (recur (long end) (conj kept (subs body from start)) more)
        (conj kept (subs body from))))))

(def ^:private selection
  "A set of numbers of parts, one in two on average."
  (gen/fmap set (gen/vector (gen/choose 0 12) 0 8)))

(defspec every-byte-outside-of-an-edited-part-is-identical 1000
  (prop/for-all [message generators/message
                 numbers selection
                 addition generators/text]
    (let [parts (mime/parts message)
          leaves (filterv #(not (or (:container? %) (:reason %))) parts)
          chosen (into #{} (keep #(:path (get leaves %))) numbers)
          changed (mime/update-parts message
                                     (comp chosen :path)
                                     (fn [_ content]
                                       (if (string? content)
                                         (str content addition)
                                         (byte-array (concat content (.getBytes ^String addition "UTF-8")))))
                                     {:force? true})]
      (and (= (outside message chosen) (outside changed chosen))
           (= (map (juxt :path :type :filename :disposition) parts)
              (map (juxt :path :type :filename :disposition) (mime/parts changed)))
           (or (contains? chosen []) (= (:headers message) (:headers changed)))))))

(deftest a-soft-line-break-makes-no-boundary
  (let [message (mail/read-eml (.getBytes (str "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
                                               "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
                                               "old\r\n--b--\r\n")))]
    (doseq [length (range 70 80)
            :let [text (str (string/join (repeat length "x")) "--b and more")
                  changed (mime/update-parts message any? (fn [_ old] (when (string? old) text)))]]
      (is (= 2 (count (mime/parts changed))) length)
      (is (= text (mime/text changed (second (mime/parts changed)))) length))))

(defspec what-was-written-is-what-is-read 300
  (prop/for-all [message generators/message
                 addition generators/text]
    (let [changed (mime/update-parts message mime/text? (fn [_ text] (str text addition)) {:force? true})
          new-parts (into {} (map (juxt :path identity)) (mime/parts changed))]
      (every? (fn [part]
                (let [old (mime/text message part)
                      new-part (new-parts (:path part))]
                  (or (= (str old addition) (mime/text changed new-part))
                      ;; Bytes that nobody could read stay bytes, and may mean something in UTF-8.
                      (and (re-find #"[\udc80-\udcff]" old)
                           (= "utf-8" (:charset new-part))))))
              (filter mime/text? (mime/parts message))))))

(deftest an-empty-part-right-before-a-boundary-can-be-replaced
  (doseq [body ["--d\r\nContent-Type: text/plain\r\n\r\n--d\r\nContent-Type: application/pdf\r\n\r\nx\r\n--d--\r\n"
                "--d\r\n\r\n--d\r\nContent-Type: application/pdf\r\n\r\nx\r\n--d--"
                "--d\n--d\nContent-Type: application/pdf\n\nx\n--d--\n"]
          text ["note\r\n" "x" "--d"]
          :let [message {:headers [["Content-Type" "multipart/mixed; boundary=d"]], :body body}
                changed (mime/append-text message text)]]
    (is (= ["multipart/mixed" "text/plain" "application/pdf"] (map :type (mime/parts changed))))
    (is (= text (mime/text changed (second (mime/parts changed)))))))

(deftest a-part-at-the-very-beginning-of-another-keeps-its-header-to-itself
  (doseq [[inner place] {"--d\r\n\u00f4 no header\r\n\r\nx\r\n--d--" [1 1]
                         "--d\r\nContent-Type: message/rfc822\r\n\u00f4 no header\r\n\r\nx\r\n--d--" [1 1]
                         "--d\r\nContent-Type: message/rfc822\r\n--d--" [1 1]
                         "--d\r\n--d--" [1 1]}
          text ["\u00f4 new" "a: b" "a: b\r\n\r\n\u00f4" ""]
          :let [message {:headers [["Content-Type" "multipart/digest; boundary=d"]]
                         :body (generators/octet-bytes inner)}
                changed (mime/update-parts message #(= place (:path %)) (constantly text))]]
    (is (= (map (juxt :path :type) (mime/parts message))
           (map (juxt :path :type) (mime/parts changed))))
    (is (= text (some #(when (= place (:path %)) (mime/text changed %)) (mime/parts changed)))
        (generators/octets (:body changed)))))

(defspec a-message-that-is-not-changed-is-the-same 200
  (prop/for-all [message generators/message]
    (and (identical? message (mime/update-parts message (constantly true) (fn [_ content] content)))
         (identical? message (mime/update-parts message (constantly true) (constantly nil)))
         (identical? message (mime/update-parts message (constantly false) (constantly "x"))))))

(deftest text-goes-behind-plain-text-and-html-and-nothing-else-changes
  (let [changed (mime/append-text newsletter {:plain "-- \nÜber uns", :html "<p>Über uns</p>"})
        lines #(string/split-lines (body-octets %))]
    (is (= "Grüße\r\n-- \r\nÜber uns" (text-at changed [1 1])))
    (is (= "<html><body>Hello<p>&#220;ber uns</p></BODY></html>" (text-at changed [1 2 2])))
    (is (= (:headers newsletter) (:headers changed)))
    (is (= (remove #{"Gr=C3=BC=C3=9Fe" "<html><body>Hello</BODY></html>"} (lines newsletter))
           (remove #{"Gr=C3=BC=C3=9Fe" "--=20" "=C3=9Cber uns" "<html><body>Hello<p>&#220;ber uns</p></BODY></html>"}
                   (lines changed))))))

(deftest text-is-appended-in-every-charset-and-encoding
  (doseq [[charset-name ^Charset charset] (Charset/availableCharsets)
          :when (.canEncode charset)
          encoding ["7bit" "8bit" "base64" "quoted-printable"]
          :let [content "Hello\r\n"
                bytes (.getBytes content charset)
                type (str "text/plain; format=fixed; charset=\"" charset-name "\"; x=y")
                body (generators/encoded bytes encoding)
                message (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" (str "Content-Type: " type)
                             (str "Content-Transfer-Encoding: " encoding) "" "x" "--b--")
                message (assoc message :body (generators/octet-bytes
                                               (string/replace (body-octets message) "\r\nx\r\n"
                                                               (str "\r\n" (string/re-quote-replacement body) "\r\n"))))]
          ;; What cannot stand in lines as it is is not looked for in them.
          :when (= content (text-at message [1]))]
    (doseq [addition ["plain" "Grüße 日本語 😀"]
            :let [changed (mime/append-text message addition)]]
      (testing [charset-name encoding addition]
        (is (= (str content addition) (text-at changed [1])))
        (is (= "fixed" (get-in (part-at changed [1]) [:parameters "format"])))
        (is (= "y" (get-in (part-at changed [1]) [:parameters "x"])))
        (is (every? #(<= (count %) 998) (string/split (body-octets changed) #"\r\n")))
        (is (not (re-find #"(?<!\r)\n|\r(?!\n)" (body-octets changed))))))))

(deftest the-charset-changes-only-if-it-must-and-the-message-says-so
  (let [latin {:headers [["Subject" "x" "x"] ["content-type" "TEXT/plain;\n charset=ISO-8859-1"]]
               :body "Hello\r\n"}]
    (is (= {:headers [["Subject" "x" "x"] ["content-type" "TEXT/plain;\n charset=ISO-8859-1"]
                      ["Content-Transfer-Encoding" "quoted-printable"] ["MIME-Version" "1.0"]]
            :body "Hello\r\n=FC"}
           (update (mime/append-text latin "ü") :body generators/octets)))
    (is (= {:headers [["Subject" "x" "x"] ["content-type" "TEXT/plain;\n charset=utf-8"]
                      ["Content-Transfer-Encoding" "quoted-printable"] ["MIME-Version" "1.0"]]
            :body "Hello\r\n=E2=82=AC"}
           (update (mime/append-text latin "€") :body generators/octets)))
    (is (= {:headers (:headers latin), :body "Hello\r\nbye"}
           (update (mime/append-text latin "bye") :body generators/octets))))
  (is (= {:headers [["Subject" "x"] ["Content-Type" "text/plain; charset=utf-8"]
                    ["Content-Transfer-Encoding" "quoted-printable"] ["MIME-Version" "1.0"]]
          :body "Hello\r\n=E2=82=AC"}
         (update (mime/append-text {:headers [["Subject" "x"]], :body "Hello"} "€") :body generators/octets))))

(deftest bytes-that-the-charset-does-not-know-survive
  (let [message {:headers [["Content-Type" "text/plain; charset=utf-8"] ["Content-Transfer-Encoding" "8bit"]]
                 :body (generators/octet-bytes "\u00ff\u00c3")}]
    (is (= "\u00ff\u00c3\r\n\u00c3\u00bc" (body-octets (mime/append-text message "ü"))))))

(deftest flowed-text-does-not-flow-into-what-follows
  (let [message (eml "Content-Type: text/plain; format=Flowed" "" "This goes on ")
        body (body-octets (mime/append-text message "-- \n> quoted\nFrom me\nend  "))]
    (is (= "This goes on \r\n\r\n-- \r\n > quoted\r\n From me\r\nend" body)))
  (is (= "This does not \r\nend" (body-octets (mime/append-text (eml "" "This does not ") "end")))))

(deftest a-text-that-holds-a-boundary-is-encoded
  (let [message (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" "" "one" "--b--")
        changed (mime/append-text message "--b--\nnot the end")]
    (is (= "one\r\n--b--\r\nnot the end" (text-at changed [1])))
    (is (= [[[] "multipart/mixed"] [[1] "text/plain"]] (structure changed)))))

(defspec what-is-appended-once-is-there-once 100
  (prop/for-all [message generators/message
                 addition (gen/not-empty gen/string-alphanumeric)
                 html (gen/elements [nil "<p><b>Größe</b></p>" "<img src='logo.png'>"])]
    (let [addition (cond-> {:plain addition} html (assoc :html html))
          once #(mime/append-text % addition {:once? true})
          changed (once message)]
      (identical? changed (once changed)))))

(deftest an-addition-that-ends-the-text-however-it-is-written-is-there-already
  (let [addition {:plain "-- \nGröße & Co KG\nconfidential", :html "<p>Größe &amp; Co KG<br>confidential</p>"}
        same? (fn [& lines]
                (let [message (apply eml lines)]
                  (identical? message (mime/append-text message addition {:once? true}))))
        html "Content-Type: text/html; charset=utf-8"]
    (is (same? "Content-Type: text/plain; charset=utf-8" "" "> Hi" "> > -- " "> > Größe &" "> > Co KG confidential" ""))
    (doseq [written ["Größe &amp; Co KG confidential" "Gr&ouml;&szlig;e <b>&amp;</b>&nbsp;Co KG<br/>confidential"
                     "Gr&#246;&#xDF;e &#38; Co <i>KG</i> confidential"]]
      (is (same? html "" (str "<body>Hi<blockquote><p>" written "</p></blockquote></body></html>")) written))
    (testing "elsewhere it is none that ends the text"
      (is (not (same? "Content-Type: text/plain; charset=utf-8" "" "Größe & Co KG confidential" "" "Yes!")))
      (is (not (same? html "" "<p>Größe &amp; Co KG confidential</p><p>Yes!</p>"))))
    (testing "of two versions, the one that lacks it gets it"
      (let [message (eml "Content-Type: multipart/alternative; boundary=b" "" "--b" "" "bye" "--b" "Content-Type: text/html"
                         "" "<p>Hi</p>" "--b--")
            changed (mime/append-text message "bye" {:once? true})]
        (is (= "bye" (text-at changed [1])))
        (is (= "<p>Hi</p><div>bye</div>" (text-at changed [2])))))))

(def ^:private left-alone
  {"S/MIME, signed" (eml "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b" ""
                         "--b" "Content-Type: text/plain" "" "signed" "--b"
                         "Content-Type: application/pkcs7-signature; name=smime.p7s" "Content-Transfer-Encoding: base64" ""
                         "MIAG" "--b--")
   "S/MIME, opaque" (eml "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m"
                         "Content-Transfer-Encoding: base64" "" "MIAG")
   "signed within a list's mail" (eml "Content-Type: multipart/mixed; boundary=a" "" "--a"
                                      "Content-Type: multipart/signed; boundary=b" "" "--b" "" "signed" "--b"
                                      "Content-Type: application/pgp-signature" "" "x" "--b--" "--a" "" "footer" "--a--")
   "PGP/MIME, encrypted" (eml "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b" ""
                              "--b" "Content-Type: application/pgp-encrypted" "" "Version: 1" "--b"
                              "Content-Type: application/octet-stream" "" "-----BEGIN PGP MESSAGE-----" "--b--")
   "PGP in the text" (eml "" "-----BEGIN PGP SIGNED MESSAGE-----" "Hash: SHA512" "" "hello" "-----BEGIN PGP SIGNATURE-----")
   "PGP in encoded text" (eml "Content-Transfer-Encoding: base64" ""
                              (.encodeToString (Base64/getMimeEncoder)
                                               (.getBytes "-----BEGIN PGP MESSAGE-----\r\n\r\nxyz")))
   "a bounce" (eml "Content-Type: multipart/report; report-type=delivery-status; boundary=b" "" "--b" "" "Sorry" "--b"
                   "Content-Type: message/delivery-status" "" "Reporting-MTA: dns; x" "--b"
                   "Content-Type: message/rfc822" "" "Subject: x" "" "hello" "--b--")
   "an invitation" (eml "Content-Type: multipart/alternative; boundary=b" "" "--b" "" "Come!" "--b"
                        "Content-Type: text/calendar; method=REQUEST" "" "BEGIN:VCALENDAR" "--b--")
   "a calendar" (eml "Content-Type: text/calendar; method=REPLY" "" "BEGIN:VCALENDAR")
   "a file" (eml "Content-Type: application/pdf; name=a.pdf" "Content-Transfer-Encoding: base64" "" "JVBERi0=")
   "a text file" (eml "Content-Type: text/plain" "Content-Disposition: attachment; filename=a.txt" "" "hello")
   "a forwarded mail" (eml "Content-Type: message/rfc822" "" "Subject: x" "" "hello")
   "no multipart" (eml "Content-Type: multipart/mixed" "" "hello")})

(deftest signed-encrypted-reported-and-invited-mail-is-left-alone
  (doseq [[what message] left-alone]
    (is (identical? message (mime/append-text message "addition")) what)))

(deftest kinds-of-mail-are-told-apart
  (let [some-part? (fn [pred what] (boolean (some pred (mime/parts (left-alone what)))))]
    (is (some-part? mime/signed? "S/MIME, signed"))
    (is (some-part? mime/signed? "S/MIME, opaque"))
    (is (some-part? mime/encrypted? "PGP/MIME, encrypted"))
    (is (some-part? mime/report? "a bounce"))
    (is (some-part? mime/calendar? "an invitation"))
    (is (some-part? mime/attachment? "a file"))
    (is (some-part? mime/attachment? "a text file"))
    (is (not-any? #(or (mime/signed? %) (mime/encrypted? %) (mime/report? %) (mime/calendar? %))
                  (mime/parts newsletter)))))

(deftest what-stands-beside-the-text-is-not-touched
  (doseq [[expected message]
          [[[[1]] (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" "" "one" "--b" "Content-Type: image/png" "" "x"
                    "--b" "" "list footer" "--b--")]
           [[[]] (eml "" "begin 644 a.txt" "#0V%T" "`" "end")]
           [[[2]] (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" "Content-Type: text/plain; name=a.txt" "" "one"
                    "--b" "Content-Type: text/html" "" "two" "--b" "Content-Type: message/rfc822" "" "" "three" "--b--")]
           [[[1]] (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" "" "one" "--b"
                    "Content-Type: text/calendar" "Content-Disposition: attachment; filename=x.ics" "" "BEGIN:VCALENDAR" "--b--")]]]
    (is (= expected (map :path (filter mime/body-text? (mime/parts message)))))))

(deftest signed-and-encrypted-parts-are-refused-unless-forced
  (let [message (left-alone "S/MIME, signed")
        edit (fn [options] (mime/update-parts message mime/text? (fn [_ text] (str text "!")) options))]
    (is (thrown-with-msg? IllegalArgumentException #"the part \[1\] text/plain .* is signed: .*force"
                          (edit {})))
    (is (= "signed!" (text-at (edit {:force? true}) [1])))
    (is (thrown-with-msg? IllegalArgumentException #"is encrypted"
                          (mime/update-parts (left-alone "PGP/MIME, encrypted")
                                             (comp #{"application/octet-stream"} :type)
                                             (constantly (byte-array 1)))))
    (is (identical? message (mime/update-parts message mime/text? (constantly nil))))))

(deftest a-message-of-which-only-the-beginning-is-there-is-not-changed
  (let [message (assoc newsletter :truncated? true)]
    (is (thrown-with-msg? IllegalArgumentException #"the message is truncated"
                          (mime/append-text message "note")))
    (is (identical? message (mime/update-parts message mime/text? (constantly nil))))))

(deftest a-part-can-be-replaced-with-its-header
  (let [message (eml "Content-Type: multipart/mixed; boundary=b" "" "--b" "" "one" "--b"
                     "X-Keep:  this" "Content-Type: application/x-dosexec" "Content-Disposition: attachment; filename=a.exe"
                     "Content-Transfer-Encoding: base64" "" "TVo=" "--b--")
        changed (mime/update-parts message mime/attachment?
                                   (fn [{:keys [headers]} _]
                                     {:headers (conj (filterv #(= "X-Keep" (first %)) headers)
                                                     ["Content-Type" "text/plain; charset=utf-8"])
                                      :content "Grüße, a.exe is gone"}))]
    (is (= (string/join "\r\n" ["--b" "" "one" "--b" "X-Keep:  this" "Content-Type: text/plain; charset=utf-8"
                                "Content-Transfer-Encoding: quoted-printable" "" "Gr=C3=BC=C3=9Fe, a.exe is gone" "--b--" ""])
           (body-octets changed)))))

(deftest a-filter-appends-a-note-to-what-is-delivered
  (let [note "-- \nExample Ltd €"
        filter (filter-file/load-filter "examples/append_note.clj" ["-- " "Example Ltd €"])
        delivered (fn [message]
                    (update (select-keys (:message (mt/run-message filter message)) [:headers :body])
                            :body generators/octets))
        line-end #(if (string/ends-with? % "\r\n") % (str % "\r\n"))]
    (doseq [message (list* newsletter
                           (eml "Subject: hi" "" "At noon?")
                           (eml "Content-Type: text/plain;" " charset=iso-8859-1" "Subject: hi" "" "At noon?")
                           (vals left-alone))
            :let [expected (mime/append-text (mail/message message) note)]]
      (is (= {:headers (:headers expected), :body (line-end (body-octets expected))}
             (update (delivered message) :body line-end))))
    (is (= "At noon?\r\n-- \r\nExample Ltd €"
           (string/trim-newline
             (text-at (:message (mt/run-message filter (eml "Subject: hi" "" "At noon?"))) []))))))

(deftest mistakes-are-named
  (is (thrown-with-msg? Exception #"no key :max-deep in the options of parts; did you mean :max-depth"
                        (mime/parts newsletter {:max-deep 1})))
  (is (thrown-with-msg? Exception #":max-parts must be a number, 1 or more, not 0"
                        (mime/parts newsletter {:max-parts 0})))
  (is (thrown-with-msg? Exception #"no key :text in the addition of append-text"
                        (mime/append-text newsletter {:text "x"})))
  (is (thrown-with-msg? Exception #"no key :one\? in the options of append-text; did you mean :once\?"
                        (mime/append-text newsletter "x" {:one? true})))
  (is (thrown-with-msg? Exception #"must return a string, bytes"
                        (mime/update-parts newsletter mime/text? (constantly 1))))
  (is (thrown-with-msg? Exception #"no key :contents in what the function of update-parts returned"
                        (mime/update-parts newsletter mime/text? (constantly {:contents "x"})))))

(deftest without-mime4j-the-namespace-says-what-to-add
  (let [class-path (->> (string/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
                        (remove #(string/includes? % "mime4j"))
                        (string/join File/pathSeparator))
        {:keys [exit err out]} (shell/sh (str (io/file (System/getProperty "java.home") "bin" "java"))
                                         "-cp" class-path "clojure.main" "--report" "stderr"
                                         "-e" "(require 'temse.mime)")]
    (is (= 1 exit))
    (doseq [needed ["temse.mime requires mime4j"
                    "org.apache.james/apache-mime4j-core {:mvn/version \"0.8.14\"}"
                    "[org.apache.james/apache-mime4j-core \"0.8.14\"]"
                    "<artifactId>apache-mime4j-core</artifactId>"]]
      (is (string/includes? (str out err) needed)))
    (is (string/includes? (slurp "deps.edn")
                          "org.apache.james/apache-mime4j-core {:mvn/version \"0.8.14\"}"))))
