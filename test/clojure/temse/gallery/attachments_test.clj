(ns temse.gallery.attachments-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.gallery.archive-samples :as samples :refer [bzip2 gzip named noise octets program seven-zip tar xz zip]]
   [temse.gallery.support :as support]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter]
   [temse.mime-generators :as generators]
   [temse.test :as mt])
  (:import
   (java.io File)
   (java.util Arrays)))

(set! *warn-on-reflection* true)

(def ^:private by-default
  (delay (support/load-filter "attachments")))

(defn- with-settings
  [settings]
  (support/configured "attachments" settings))

(def ^:private limits
  {:max-depth 8, :max-files 1000, :max-bytes 30000000, :max-ratio 200})

(defn- files
  "Returns the files in a mail as the walker reports them."
  ([mail]
   (files mail {}))
  ([mail given]
   @by-default
   (let [found (volatile! [])]
     ((ns-resolve 'mail-files 'walk) mail (merge limits given) #(vswap! found conj %))
     @found)))

(defn- found-names
  [mail]
  (set (mapcat :names (files mail))))

(defn- problems
  ([mail]
   (problems mail {}))
  ([mail given]
   (into #{} (keep :problem) (files mail given))))

(defn- verdict
  ([mail]
   (verdict @by-default mail))
  ([filter mail]
   (:verdict (mt/run-message filter mail))))

;; ---- names

(deftest the-public-ways-around-a-filter-of-names-lead-nowhere
  (doseq [field ["filename=virus.exe"
                 "filename=\"invoice.pdf.exe\""
                 "filename=\"invoice.pdf                                       .exe\""
                 "filename*0=\"vi\"; filename*1=\"rus.e\"; filename*2=xe"
                 "filename*=utf-8''virus%2Eexe"
                 "filename*0*=utf-8''virus%2E; filename*1*=%65xe"
                 "filename=\"virus%2e%65xe\""
                 "filename=name.()bat"
                 "filename=\"name.()bat\""
                 "filename=harmless.txt; filename=virus.exe"
                 "filename=\"=?utf-8?b?dmlydXMuZXhl?=\""
                 "filename=\"virus.ex\\e\""
                 "filename=\"virus.exe.\""
                 "filename=\"virus.exe . . \""
                 "filename=\"virus.EXE\""
                 "filename=\"virus. exe\""
                 "filename=\"virus.exe::$DATA\""
                 "filename=\"c:\\\\temp\\\\virus.exe\""
                 "filename=\"virus.ex\u200be\""
                 "filename=\"virus\u202efdp.exe\""
                 "filename=\"virus.exe\u0001.txt\""
                 "filename=\"virus．ｅｘｅ\""
                 "filename=\"virus.{3050f4d8-98B5-11CF-BB82-00AA00BDCE0B}\""]]
    (is (= :reject (verdict {:headers [["Content-Type" "application/octet-stream"]
                                       ["Content-Disposition" (str "attachment; " field)]]
                             :body "x\r\n"}))
        field))
  (is (= :reject (verdict {:headers [["Content-Type" "application/octet-stream; name=virus.exe"]
                                     ["Content-Disposition" "attachment; filename=harmless.txt"]]
                           :body "x\r\n"}))))

(deftest other-files-pass
  (doseq [file-name ["letter.pdf" "letter" "exe" "exe.txt" "letter.v2.docx" "a.b/c.txt" "100% .txt" "~" "Grüße.odt" ""]]
    (is (= :accept (verdict (named file-name "hello"))) file-name))
  (is (= :accept (verdict {:body "Hello.\r\n"})))
  (is (= :accept (verdict (named "a.txt" "MZ begins many words of a text, and that is no program."))))
  (doseq [archive [(zip "dir/" "" "dir/a.txt" "hello" "b.png" (noise 100000))
                   (zip "a.docx" (zip "[Content_Types].xml" "<a/>" "word/document.xml" "<b/>"))
                   (zip)
                   (tar "a.txt" "hello" (apply str (repeat 300 "long")) "x")
                   (gzip (tar "a.txt" "hello"))
                   (bzip2 "hello")
                   (xz (noise 200000))
                   (seven-zip nil "a.txt" "hello" "b.bin" (noise 100000))]]
    (is (= :accept (verdict (named "archive" archive))))))

;; ---- archives

(def ^:private archives
  "Ways to put a file into an archive."
  {:zip #(zip %1 %2)
   :tar #(tar %1 %2)
   :tar-gzip #(gzip (tar %1 %2))
   :tar-bzip2 #(bzip2 (tar %1 %2))
   :tar-xz #(xz (tar %1 %2))
   :seven-zip #(seven-zip nil %1 %2)
   :zip-in-tar #(tar "x" (zip %1 %2))
   :seven-zip-in-zip-in-gzip #(gzip (zip "x" (seven-zip nil "a.txt" "x" %1 %2)))})

(deftest files-are-found-in-archives-whatever-these-are-called
  (doseq [[kind archive] archives
          outer-name ["archive" "archive.jpg"]
          size [10 100000]]
    (is (contains? (found-names (named outer-name (archive "virus.exe" (noise size)))) "virus.exe") kind)
    (is (= :reject (verdict (named outer-name (archive "virus.exe" (noise size))))) kind)
    (is (= :reject (verdict (named outer-name (archive "letter.txt" program)))) kind))
  (is (= ["a.zip" "b.zip" "c.zip"]
         (:within (last (files (named "a.zip" (zip "b.zip" (zip "c.zip" (zip "virus.exe" "x"))))))))))

(deftest compressed-files-have-the-name-without-the-extension-and-the-stored-one
  (is (contains? (found-names (named "virus.exe.gz" (gzip "x"))) "virus.exe"))
  (is (contains? (found-names (named "letter.gz" (samples/named-gzip "virus.exe" "x"))) "virus.exe"))
  (is (= :reject (verdict (named "letter.bz2" (bzip2 program))))))

(deftest mails-are-looked-into-attached-encoded-and-in-archives
  (let [mail (str "Subject: x\r\nContent-Type: application/octet-stream; name=virus.exe\r\n\r\nx\r\n")]
    (doseq [type ["message/rfc822" "message/global" "message/news"]]
      (is (= :reject (verdict {:headers [["Content-Type" type]] :body mail})) type))
    (is (= :reject (verdict (named "letter" "message/rfc822" mail))))
    (is (= :reject (verdict (named "letter.EML" mail))))
    (is (= :reject (verdict (named "letter" (zip "letter.eml" mail)))))))

(deftest a-zip-archive-counts-with-the-names-before-the-data-and-in-its-directory
  (let [archive (zip "virus.exe" "x" "other.txt" "y")]
    (doseq [n [0 1]]
      (is (contains? (found-names (named "a.zip" (samples/replaced archive "virus.exe" "nones.txt" n))) "virus.exe")
          "one of the two has the name")))
  (testing "where programs differ in what they find"
    (let [hidden (samples/joined (zip "virus.exe" "x") (zip "letter.txt" "y"))]
      (is (contains? (found-names (named "a.zip" hidden)) "virus.exe"))
      (is (= #{:inconsistent} (problems (named "a.zip" hidden)))))
    (is (= #{:inconsistent}
           (problems (named "a.zip" (samples/replaced (zip "a.txt" "aaaa" "b.txt" "bbbb")
                                                      "9\u0000\u0000\u0000b.txt" "\u0000\u0000\u0000\u0000b.txt" 0))))
        "two entries of the directory share their data, as in bombs")))

(deftest a-tar-archive-ends-where-all-programs-end-it
  (is (= #{:inconsistent} (problems (named "a" (samples/joined (tar "a.txt" "x") (tar "virus.exe" "x"))))))
  (let [old (samples/without-tar-mark (tar "virus.exe" "x"))]
    (is (contains? (found-names (named "a" old)) "virus.exe"))
    (is (= #{:inconsistent} (problems (named "a" (samples/joined (tar "a.txt" "x") old))))))
  (is (= #{:damaged} (problems (named "a" (samples/replaced (tar "a.txt" "x" "virus.exe" "x")
                                                            "00000000001 " "00000001001 " 0))))
      "with another size, the first file would hold the second"))

(deftest names-in-tar-archives-do-not-take-all-memory
  (let [long-name #(str (apply str (repeat % "a")) ".exe")]
    (is (= #{} (problems (named "a" (tar (long-name 60000) "x")))))
    (is (= :reject (verdict (named "a" (tar (long-name 60000) "x")))))
    (is (= #{:too-large} (problems (named "a" (gzip (tar (long-name 70000) "x")))))))
  (let [header (subs (octets (tar (apply str (repeat 200 "a")) "x")) 0 1024)]
    (is (= #{:damaged} (problems (named "a" (gzip (apply str (repeat 20000 header))))))
        "a name of a name of a name …")))

(deftest an-archive-may-begin-as-something-else
  (is (contains? (found-names (named "a.gif" (samples/joined "GIF89a" (zip "virus.exe" "x")))) "virus.exe"))
  (let [self-extracting (files (named "a.dat" (samples/joined program (zip "virus.js" "x"))))]
    (is (some :executable (map :kinds self-extracting)))
    (is (some #{"virus.js"} (mapcat :names self-extracting)))))

;; ---- what cannot be looked into

(def ^:private opaque
  "Mails with the problem that they have."
  {"a zip archive with a password" [:encrypted (named "a" (samples/with-password-flag (zip "a.txt" "x")))]
   "one within another" [:encrypted (named "a" (zip "b.zip" (samples/with-password-flag (zip "a.txt" "x"))))]
   "a 7z archive with a password" [:encrypted (named "a" (seven-zip "secret" "a.txt" "hello"))]
   "OpenPGP" [:encrypted-mail {:headers [["Content-Type" "multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b"]]
                               :body (str "--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n"
                                          "Content-Type: application/octet-stream\r\n\r\nx\r\n--b--\r\n")}]
   "S/MIME" [:encrypted-mail {:headers [["Content-Type" "application/pkcs7-mime; smime-type=signed-data"]] :body "MIAG\r\n"}]
   "RAR" [:unsupported (named "a" "Rar!\u001a\u0007\u0000 and more")]
   "TNEF" [:unsupported (named "winmail.dat" "\u0078\u009f\u003e\u0022 and more")]
   "an ISO image" [:unsupported (named "a" (samples/joined (byte-array 32769) "CD001"))]
   "an image in UDF alone" [:unsupported (named "a" (samples/joined (byte-array 32769) "BEA01"))]
   "a part in uuencode" [:unsupported {:headers [["Content-Transfer-Encoding" "x-uuencode"]] :body "begin 644 a\r\n"}]
   "a file within the text" [:uuencoded {:body "Hello\r\nbegin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\n"}]
   "a file at the beginning of the text" [:uuencoded {:body "begin-base64 644 a.txt\r\nQ2F0\r\n====\r\n"}]
   "a truncated zip archive" [:damaged (named "a" (Arrays/copyOf (zip "a.txt" (noise 1000)) 800))]
   "a truncated 7z archive" [:damaged (named "a" (Arrays/copyOf (seven-zip nil "a.txt" (noise 1000)) 800))]
   "a truncated gzip file" [:damaged (named "a" (Arrays/copyOf (gzip (noise 1000)) 800))]
   "a zip archive that is none" [:damaged (named "a.zip" "hello")]
   "a part with two types" [:ambiguous {:headers [["Content-Type" "text/plain"] ["content-type" "text/html"]] :body "x\r\n"}]
   "an empty tar archive" [:damaged (named "a.tar" "")]
   "a multipart without an end in sight" [:unparsed {:headers [["Content-Type" "multipart/mixed"]] :body "x\r\n"}]})

(deftest what-cannot-be-looked-into-is-refused-unless-the-settings-say-otherwise
  (doseq [[what [problem mail]] opaque]
    (testing what
      (is (= #{problem} (problems mail)))
      (let [{:keys [verdict reply]} (mt/run-message @by-default mail)]
        (is (= :reject verdict))
        (is (= 550 (:smtp-code reply)))
        (is (string/includes? (:text reply) (name problem))))
      (let [setting ({:encrypted :encrypted-archive, :encrypted-mail :encrypted-mail} problem :unreadable)]
        (is (= :temporary-failure (verdict (with-settings {setting :defer}) mail)))
        (is (= [:quarantine] (map :action (:modifications (mt/run-message (with-settings {setting :quarantine}) mail)))))
        (when-not (= :unreadable setting)
          (is (= :accept (verdict (with-settings {setting :accept}) mail))))))))

(deftest more-lines-that-may-begin-a-file-than-are-looked-at-are-a-problem
  (let [text (fn [n] {:body (str (apply str (repeat n "beginning\r\n")) "begin 644 virus.exe\r\n#0V%T\r\n`\r\nend\r\n")})]
    (is (= #{:uuencoded} (problems (text 10) {:max-files 10})))
    (is (= #{:too-many-files} (problems (text 11) {:max-files 10})))
    (is (= :reject (verdict (text 20000))))))

(deftest a-multipart-with-several-boundaries-is-ambiguous
  (let [mail (fn [parameters]
               {:headers [["Content-Type" (str "multipart/mixed; " parameters)]]
                :body (str "--a\r\n\r\ntext\r\n--b\r\nContent-Type: text/plain; name=virus.exe\r\n\r\nx\r\n--b--\r\n--a--\r\n")})]
    (doseq [parameters ["boundary=a; boundary=b" "boundary=a; Boundary = \"b\"" "boundary=b; boundary*0=a"
                        "boundary*=''a; boundary=b" "boundary=a; x=\"\\\"; boundary=b; y=\""]]
      (is (contains? (problems (mail parameters)) :ambiguous) parameters)
      (is (= :reject (verdict (mail parameters))) parameters))
    (doseq [parameters ["boundary=a" "x=\"boundary=b\"; boundary=a" "boundary*0=a; boundary*1=\"\"" "boundary=\"a\"; x-boundary=b"]]
      (is (= #{} (problems (mail parameters))) parameters))))

(deftest a-part-whose-header-ends-without-an-empty-line-is-ambiguous
  (let [fields "Content-Type: text/plain; name=virus.exe\r\n\r\nx\r\n"
        mail (fn [part] {:headers [["Content-Type" "multipart/mixed; boundary=b"]], :body (str "--b\r\n" part "\r\n--b--\r\n")})]
    (doseq [part [(str "no field\r\n" fields)
                  (str "Subject: x\r\nno field\r\n" fields)
                  (str "Subject: x\nno field\nCONTENT-disposition : attachment; filename=virus.exe\n\nx")
                  (str "no field\r\n" (apply str (repeat 70000 "a")) "\r\n" fields)
                  (str "Content-Type: message/rfc822\r\n\r\nFrom ann@example.org Sat Nov 28 07:00:00 2026\r\n" fields)
                  (str "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n>From ann@example.org\r\n" fields)]]
      (is (= #{:ambiguous} (problems (mail part))) part)
      (is (= :reject (verdict (mail part))) part))
    (doseq [part ["" "text without a header" "Subject: x\r\nno field\r\n\r\nContent-Type: text/plain\r\n"
                  "\r\nno field\r\nContent-Type: text/plain\r\n\r\n" "\nContent-Type: text/plain\n\n"
                  "Content-Type: text/plain\r\n\r\nno field\r\nContent-Type: text/plain\r\n\r\n"
                  "Subject: x"]]
      (is (= #{} (problems (mail part))) part))
    (is (= #{} (problems {:body (str "no field\r\n" fields)})))))

(deftest archives-stay-within-bounds
  (let [nested (fn [n] (nth (iterate #(zip "a" %) (zip "a.txt" "x")) n))
        zeros (byte-array 16000000)]
    (is (= #{} (problems (named "a" (nested 7)) {:max-depth 8})))
    (is (= #{:too-deep} (problems (named "a" (nested 8)) {:max-depth 8})))
    (is (= #{:too-deep} (problems (named "a" (nth (iterate gzip "x") 9)) {:max-depth 8})))
    (let [ten (apply zip (mapcat #(vector (str % ".txt") "x") (range 10)))]
      (is (= #{} (problems (named "a" ten) {:max-files 12})) "with the text and the archive there are 12")
      (is (= #{:too-many-files} (problems (named "a" ten) {:max-files 11})))
      (is (= #{:too-many-files} (problems (named "a" ten) {:max-files 4})))
      (is (= #{:too-many-files} (problems (named "a" (apply tar (mapcat #(vector (str % ".txt") "x") (range 10))))
                                          {:max-files 11}))))
    (is (= #{:too-large} (problems (named "a" (gzip (noise 100000))) {:max-bytes 150000})))
    (doseq [[kind archive] (dissoc archives :tar)]
      (is (contains? (problems (named "a" (archive "a.txt" zeros)) {:max-bytes 100000000}) :bomb) kind))
    (is (= #{} (problems (named "a" (gzip (byte-array 5000000)))))
        "what is small even unpacked is none")
    (testing "a bomb of bombs ends at the sum"
      (let [bomb (zip "1" (byte-array 1000000) "2" (byte-array 1000000))
            bombs (nth (iterate #(zip "1" % "2" % "3" % "4" %) bomb) 3)]
        (is (= #{:too-large} (problems (named "a" bombs) {:max-bytes 10000000})))))))

(deftest mail-is-deferred-while-the-disk-cannot-be-used
  (let [filter (with-settings {:directory "/nonexistent/directory"})]
    (is (= :temporary-failure (verdict filter (named "a" (noise 100000)))))
    (is (= :accept (verdict filter (named "a" (noise 1000)))))))

(deftest no-file-is-left-behind
  (let [directory (doto (File/createTempFile "temse" "") .delete .mkdir)
        filter (with-settings {:directory (str directory)})]
    (doseq [data [(noise 100000) (zip "a" (noise 100000)) (Arrays/copyOf (zip "a" (noise 200000)) 150000)
                  (gzip (byte-array 20000000))]]
      (verdict filter (named "a" data)))
    (is (= [] (vec (.list directory))))
    (.delete directory)))

(def ^:private damaged-archive
  "An archive with virus.exe in it, under its right name, to which something has happened."
  (gen/let [[extension archive] (gen/elements {".zip" (zip "a.txt" "some text, which is compressed" "virus.exe" (noise 300))
                                               ".tar" (tar "a.txt" "text" "virus.exe" (noise 300))
                                               ".7z" (seven-zip nil "a.txt" "text" "virus.exe" (noise 300))
                                               ".tgz" (gzip (tar "a.txt" "text" "virus.exe" (noise 300)))
                                               ".tar.bz2" (bzip2 (tar "a.txt" "text" "virus.exe" (noise 300)))
                                               ".tar.xz" (xz (tar "a.txt" "text" "virus.exe" (noise 300)))
                                               ".jar" (zip "b.zip" (zip "virus.exe" (noise 300)))})
            from (gen/choose 0 (alength ^bytes archive))
            length (gen/elements [0 1 2 4 30 1000])
            data (gen/one-of [(gen/return "") (gen/fmap octets (gen/resize 40 gen/bytes))
                              (gen/elements ["PK\u0003\u0004" "PK\u0001\u0002" "PK\u0005\u0006" "\u00ff\u00ff\u00ff\u00ff"])])]
    (let [text (octets archive)
          end (min (count text) (+ (long from) (long length)))]
      [extension (str (subs text 0 from) data (subs text end))])))

(defspec a-damaged-archive-shows-its-files-or-has-a-problem 400
  (prop/for-all [[extension data] damaged-archive]
    (let [found (files (named (str "a" extension) data))]
      (or (some :problem found)
          (some #{"virus.exe"} (mapcat :names found))
          ;; Of a tar archive nothing is left where the end is cut off between two files.
          (and (= ".tar" extension) (not (string/includes? data "virus.exe")))))))

(defspec whatever-a-mail-holds-there-is-a-verdict 100
  (prop/for-all [message generators/message
                 [_ data] damaged-archive]
    (and (vector? (files message))
         (vector? (files (assoc message :body (samples/octet-bytes data))))
         (vector? (files (named "a" data))))))

;; ---- rules

(deftest the-first-rule-decides-about-a-file-and-the-worst-decision-about-the-mail
  (let [filter (with-settings {:rules [{:names ["^fine"] :then :accept}
                                       {:extensions ["EXE"] :types ["application/x-fine"] :then :accept}
                                       {:extensions ["exe"] :then :reject :text "No programs: %s"}
                                       {:kinds [:executable] :then :defer}
                                       {:types ["image/GIF"] :then :quarantine}]})
        result #(mt/run-message filter %)]
    (is (= :accept (:verdict (result (named "fine.exe" program)))))
    (is (= :accept (:verdict (result (named "a.exe" "application/x-fine" "x")))))
    (is (= {:action :reply-code, :smtp-code 550, :enhanced-code "5.7.1", :text "No programs: a.exe"}
           (:reply (result (named "a.exe" "x")))))
    (is (= {:action :reply-code, :smtp-code 451, :enhanced-code "4.7.1", :text "Forbidden attachment: a/b"}
           (:reply (result (named "a" (zip "b" program))))))
    (is (= [{:action :quarantine, :reason "Forbidden attachment: a.gif"}]
           (:modifications (result (named "a.gif" "image/gif" "x")))))
    (is (= 550 (:smtp-code (:reply (result (named "a" "image/gif" (zip "b" program "c.exe" "x")))))))
    (is (= :reject (:verdict (result (named "fine.zip" (zip "a.exe" "x"))))) "what is in a file is not spared with it")
    (is (= :reject (:verdict (result (named "fine.txt\"; filename=\"a.exe" "x")))) "a file is spared if all its names are")))

(deftest a-rule-that-accepts-spares-what-cannot-be-looked-into-only-where-it-says-so
  (let [rar (named "a.rar" "Rar!\u001a\u0007\u0000")
        damaged (named "a.zip" "hello")
        with-rule #(with-settings {:rules [%]})]
    (is (= :reject (verdict (with-rule {:kinds [:rar] :then :accept}) rar)))
    (is (= :accept (verdict (with-rule {:kinds [:rar] :problems [:unsupported] :then :accept}) rar)))
    (is (= :temporary-failure (verdict (with-rule {:kinds [:rar] :then :defer}) rar)))
    (is (= :reject (verdict (with-rule {:extensions ["zip"] :then :accept}) damaged)))
    (is (= :accept (verdict (with-rule {:extensions ["zip"] :problems [:damaged] :then :accept}) damaged)))
    (is (= :temporary-failure (verdict (with-rule {:problems [:damaged] :then :defer}) damaged)))))

(deftest what-the-sender-reads-is-one-line-of-ascii
  (let [text (get-in (mt/run-message @by-default (named "Grüße\u001b[31m%s%0d%0a250 ok.exe" "x")) [:reply :text])]
    (is (re-matches #"Forbidden attachment: [ -~]+" text)))
  (is (= 200 (count (get-in (mt/run-message @by-default (named (str (apply str (repeat 5000 "a")) ".exe") "x"))
                            [:reply :text])))))

(deftest mistakes-in-the-settings-are-named
  (doseq [[settings problem]
          {{:rule []} #"\.edn:1: there is no setting :rule; did you mean :rules"
           {:rules [{:extensions ["exe"]}]} #":rules must be a vector of rules"
           {:rules [{:then :reject}]} #":rules must be"
           {:rules [{:extension ["exe"] :then :reject}]} #":rules must be"
           {:rules [{:names ["("] :then :reject}]} #"missing closing \)"
           {:rules [{:extensions [".exe"] :then :reject}]} #":extensions must be .*without the dot"
           {:rules [{:extensions ["*.exe"] :then :reject}]} #":extensions must be"
           {:rules [{:extensions ["tar.gz"] :then :reject}]} #":extensions must be"
           {:rules [{:types ["image"] :then :reject}]} #":types must be"
           {:rules [{:types ["image/*"] :then :reject}]} #":types must be"
           {:rules [{:kinds [:exe] :then :reject}]} #":kinds must be .*:executable"
           {:rules [{:problems [:encypted] :then :quarantine}]} #":problems must be .*:encrypted"
           {:rules nil} #":rules must be a vector of rules"
           {:unreadable :accept} #":unreadable must be :reject, :defer or :quarantine, not :accept"
           {:max-depth 0} #":max-depth must be a number, 1 or more, not 0"}]
    (is (thrown-with-msg? Exception problem (with-settings settings)))))

;; ---- over the wire

(deftest files-are-refused-over-the-wire
  (milter/with-milter [server (assoc @by-default :port 0)]
    (is (= :accept (verdict server (named "a.zip" (zip "a.txt" (noise 200000))))))
    (is (= :reject (verdict server (named "a.zip" (zip "a.txt" (noise 200000) "b.exe" "x")))))
    (is (= :accept (verdict server {:body "Hello.\r\n"})))))

(defn- check
  [mta held]
  (support/behind
    mta (with-settings {:rules [{:extensions ["exe"] :then :reject}
                                {:extensions ["js"] :then :defer}
                                {:extensions ["xlsm"] :then :quarantine}]})
    {}
    (fn [mta]
      (letfn [(wire [mail] (update mail :headers #(map (fn [[field value]] [field (str " " value)]) %)))
              (reply [mail] (:message (support/transact mta (wire mail))))]
        (doseq [mail [{} (named "a.txt" "hello") (named "a.zip" (zip "a.txt" (noise 200000)))]]
          (is (= (:body mail "Hello.\r\n") (:body (support/sent mta (wire mail))))))
        (is (= {:code 550, :lines ["5.7.1 Forbidden attachment: a.zip/b.tgz/b.tar/c.exe"]}
               (reply (named "a.zip" (zip "b.tgz" (gzip (tar "c.exe" "x")))))))
        (is (= 451 (:code (reply (named "a.js" "x")))))
        (doseq [[what [problem mail]] opaque
                ;; An MTA makes a mail of its own of what is no mail.
                :when (not= :unparsed problem)]
          (is (= 550 (:code (reply mail))) what))
        (is (= 250 (:code (reply (named "a.xlsm" "x")))))
        (is (= 1 (count (held mta))))))))

(deftest files-are-refused-behind-postfix
  (check :postfix postfix/hold-queue))

(deftest files-are-refused-behind-sendmail
  (check :sendmail sendmail/quarantined))
