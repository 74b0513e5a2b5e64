(ns temse.gallery.archive-test
  "gallery/archive.clj: what is accepted is on disk, octet by octet; what cannot be kept is deferred, and leaves
  nothing."
  (:require
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.gallery.support :as support :refer [behind load-filter]]
   [temse.harness.smtp :as smtp]
   [temse.mail :as mail]
   [temse.runner :as runner]
   [temse.support :refer [awaited messages thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.io File)
   (java.nio.channels FileChannel)
   (java.nio.file CopyOption Files LinkOption OpenOption StandardCopyOption StandardOpenOption)
   (java.nio.file.attribute FileAttribute FileTime PosixFilePermissions)
   (java.util List)))

(set! *warn-on-reflection* true)

(def ^:dynamic ^:private ^File *directory* nil)

(defn- delete-all
  [^File directory]
  (run! io/delete-file (reverse (file-seq directory))))

(defmacro ^:private in-new-directory
  [& body]
  `(binding [*directory* (.toFile (Files/createTempDirectory "temse-archive-" (make-array FileAttribute 0)))]
     (try
       ~@body
       (finally
         (delete-all *directory*)))))

(defn- configured
  "Returns the filter that keeps mail in the directory of a test: :maildir or :mbox."
  [kind]
  (let [file (io/file *directory* "archive.edn")]
    (spit file (pr-str {kind (str (io/file *directory* (name kind)))}))
    (load-filter "archive" (str file))))

(defn- files
  [part]
  (vec (.listFiles (io/file *directory* "maildir" part))))

(defn- kept
  "Returns the octets of the mails in the Maildir."
  []
  (mapv #(smtp/octets (Files/readAllBytes (.toPath ^File %))) (files "new")))

(defn- mode
  [^File file]
  (PosixFilePermissions/toString (Files/getPosixFilePermissions (.toPath file) (make-array LinkOption 0))))

(deftest a-mail-is-kept-below-its-envelope
  (in-new-directory
    (let [filter (configured :maildir)]
      (is (= :accept (:verdict (mt/run-message filter {:sender "<ann@example.org>"
                                                       :options ["SIZE=100" "BODY=8BITMIME"]
                                                       :recipients ["<b@example.com>" "<\"c d\"@example.com>"]
                                                       :recipient-options [["NOTIFY=NEVER"] []]
                                                       :headers [["Subject" "hi\n there"] ["X" "no space" "no space"] ["Y" " two"]
                                                                 ["Z" ""] ["From" "\udcff"]]
                                                       :body "Hello\r\n\r\n.\r\n"}))))
      (is (= [(str "Return-Path: <ann@example.org>\r\n"
                   "X-Envelope-From: <ann@example.org> SIZE=100 BODY=8BITMIME\r\n"
                   "X-Envelope-To: <b@example.com> NOTIFY=NEVER\r\n"
                   "X-Envelope-To: <\"c d\"@example.com>\r\n"
                   "Subject: hi\r\n there\r\nX:no space\r\nY:  two\r\nZ: \r\nFrom: \u00ff\r\n"
                   "\r\nHello\r\n\r\n.\r\n")]
             (kept)))
      (is (= ["rw-------"] (map mode (files "new"))))
      (is (= ["rwx------" "rwx------" "rwx------"] (map #(mode (io/file *directory* "maildir" %)) ["tmp" "new" "cur"])))
      (is (= [] (files "tmp") (files "cur"))))))

(def ^:private mails
  (gen/hash-map :headers (gen/vector (gen/tuple (gen/elements ["Subject" "From " "X-Y"])
                                                (gen/fmap #(string/replace (apply str %) #"\n+(?![ \t])|\s+\z" "")
                                                          (gen/vector (gen/elements ["a" " " "From " "\n " "\u00e9" "\udc80"]))))
                                     0 4)
                :body (gen/fmap (comp smtp/octet-bytes #(str (string/join %) "\r\n"))
                                (gen/vector (gen/elements ["a" "\r\n" "From " ">" "F" "Fro" "\u0000" "\u00ff" "From \r\n" "\r\n\r\n"])))))

(defn- sane
  [mail]
  (update mail :headers (partial mapv (fn [[field-name value]] [(string/trim field-name) value]))))

(defspec every-octet-of-header-and-body-is-kept 40
  (prop/for-all [mail (gen/fmap sane mails)]
    (in-new-directory
      (mt/run-message (configured :maildir) mail)
      (string/ends-with? (first (kept)) (smtp/octets (mail/message-bytes mail))))))

(deftest whatever-octets-an-mta-sends-are-kept
  (in-new-directory
    (with-open [session (mt/connect-to (configured :maildir))]
      (let [octets (byte-array (map unchecked-byte (range 256)))]
        (mt/send-event session {:event :mail :sender "<a@example.org>"})
        (mt/send-event session {:event :recipient :address "<b@example.com>"})
        (mt/send-event session {:event :body :data octets})
        (mt/send-event session {:event :body :data (.getBytes "\r\r\n\n\r")})
        (mt/send-event session {:event :end-of-message})
        (is (string/ends-with? (first (kept)) (str "\r\n\r\n" (smtp/octets octets) "\r\r\n\n\r")))))))

(defspec a-mailbox-gives-back-what-it-was-given 40
  (prop/for-all [given (gen/vector (gen/fmap sane mails) 1 4)]
    (in-new-directory
      (let [filter (configured :mbox)]
        (run! #(mt/run-message filter %) given)
        (let [read (mail/read-mbox (io/file *directory* "mbox") {:dialect :mboxrd})
              plain #(string/replace (mail/message-text (select-keys % [:headers :body])) #"\r?\n|\r" "\n")]
          (and (= (count given) (count read))
               (every? true? (map (fn [one another] (string/ends-with? (plain another) (plain one))) given read))))))))

(deftest a-mailbox-has-one-entry-for-each-mail
  (in-new-directory
    (let [filter (configured :mbox)
          file (io/file *directory* "mbox")]
      (run! #(mt/run-message filter %)
            [{:sender "<ann@example.org>" :headers [["Subject" "1"]] :body "From a\r\n>From b\r\n>>From c\r\n From d\r\nFrom\r\nFromage\r\n"}
             {:sender "<>" :headers [["Subject" "2"]] :body "x\r\nFrom "}
             {:sender "<ann@example.org>" :headers [["Subject" "3"]] :body ""}])
      (let [text (slurp file)]
        (is (= ["From ann@example.org" "From MAILER-DAEMON" "From ann@example.org"]
               (re-seq #"(?md)^From \S+(?= [A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\r$)" text)))
        (is (string/includes? text "\r\n\r\n>From a\r\n>>From b\r\n>>>From c\r\n From d\r\nFrom\r\nFromage\r\n\r\nFrom MAILER"))
        (is (string/includes? text "x\r\n>From \r\n\r\nFrom ann")))
      (is (= "rw-------" (mode file)))
      (is (= ["1" "2" "3"] (map #(mail/header (:headers %) "Subject") (mail/read-mbox file)))))))

(deftest what-a-machine-that-stopped-has-left-does-not-swallow-the-next-mail
  (in-new-directory
    (let [filter (configured :mbox)
          file (io/file *directory* "mbox")]
      (doseq [left ["From a@example.org Thu Jan  1 00:00:00 1970\r\nSubject: half\r\n\r\nhal"
                    "From a@example.org Thu Jan  1 00:00:00 1970\r\nSubject: half\r\n\r\nhalf\r\n"
                    "From a@example.org Thu Jan  1 00:00:00 1970\nSubject: half\n\nhalf\n\n"]]
        (spit file left)
        (mt/run-message filter {:headers [["Subject" "next"]]})
        (is (= ["half" "next"] (map #(mail/header (:headers %) "Subject") (mail/read-mbox file))))))))

(deftest names-do-not-collide
  (in-new-directory
    (let [filter (configured :maildir)
          sending (doall (for [_ (range 8)]
                           (future (doseq [_ (range 10)] (mt/run-message filter {})))))]
      (run! awaited sending)
      (is (= 80 (count (set (map #(.getName ^File %) (files "new"))))))
      (is (every? #(re-matches #"\d+\.[0-9a-f-]{36}\.[^/:]+" (.getName ^File %)) (files "new"))))))

(deftest a-mailbox-takes-mails-of-many-connections
  (in-new-directory
    (let [filter (configured :mbox)
          sending (doall (for [i (range 8)]
                           (future (doseq [k (range 5)]
                                     (mt/run-message filter {:headers [["Subject" (str i "." k)]] :body (byte-array 100000 (byte 65))})))))]
      (run! awaited sending)
      (is (= (set (for [i (range 8) k (range 5)] (str i "." k)))
             (set (map #(mail/header (:headers %) "Subject") (mail/read-mbox (io/file *directory* "mbox")))))))))

(deftest a-mailbox-waits-for-its-lock
  (in-new-directory
    (let [filter (configured :mbox)
          file (io/file *directory* "mbox")
          _ (spit file "")
          locker (-> (ProcessBuilder. ^List (vector "perl" "-e"
                                                    "use Fcntl qw(:DEFAULT F_SETLKW F_WRLCK SEEK_SET);
                                                     open(F, '+<', $ARGV[0]) or die;
                                                     $lock = pack('s s l! l! i', F_WRLCK, SEEK_SET, 0, 0, 0);
                                                     fcntl(F, F_SETLKW, $lock) or die;
                                                     $| = 1; print \"locked\\n\"; <STDIN>; "
                                                    (str file)))
                     (.redirectErrorStream true)
                     .start)
          out (io/reader (.getInputStream locker))]
      (is (= "locked" (.readLine ^java.io.BufferedReader out)))
      (let [sent (future (:verdict (mt/run-message filter {})))]
        (is (= ::waiting (deref sent 300 ::waiting)))
        (is (= 0 (.length file)))
        (.close (.getOutputStream locker))
        (is (= :accept (awaited sent)))
        (is (= 1 (count (mail/read-mbox file))))))))

(deftest what-was-left-long-ago-is-deleted
  (in-new-directory
    (configured :maildir)
    (let [left (fn [file-name hours]
                 (let [file (io/file *directory* "maildir" "tmp" file-name)]
                   (spit file "half")
                   (.setLastModified file (- (System/currentTimeMillis) (* hours 3600000)))))]
      (left "old" 37)
      (left "young" 35)
      (configured :maildir)
      (is (= ["young"] (map #(.getName ^File %) (files "tmp")))))))

(deftest nothing-is-visible-before-it-is-complete
  (in-new-directory
    (let [filter (configured :maildir)]
      (with-open [session (mt/connect-to filter)]
        (mt/send-event session {:event :mail :sender "<a@example.org>"})
        (mt/send-event session {:event :recipient :address "<b@example.com>"})
        (mt/send-event session {:event :body :data (.getBytes "half a mail\r\n")})
        (is (= [] (files "new")))
        (mt/send-event session {:event :abort})
        (is (= [] (files "new") (files "tmp")))))))

;; ---- what cannot be kept

(defn- verdict
  [filter body]
  (:verdict (mt/run-message filter {:body body})))

(deftest where-the-directory-is-gone-mail-is-deferred
  (with-logs records
    (in-new-directory
      (let [filter (configured :maildir)
            new (io/file *directory* "maildir" "new")]
        (.delete new)
        (is (= :temporary-failure (verdict filter "lost?\r\n")))
        (is (= [] (files "tmp")))
        (.mkdir new)
        (is (= :accept (verdict filter "kept\r\n")))))
    (in-new-directory
      (let [filter (configured :mbox)]
        (.mkdir (io/file *directory* "mbox"))
        (is (= :temporary-failure (verdict filter "lost?\r\n")))))
    (is (= 2 (count (messages records :error))))))

(deftest what-a-device-does-not-take-is-deferred
  (with-logs records
    (in-new-directory
      (Files/createSymbolicLink (.toPath (io/file *directory* "mbox")) (.toPath (io/file "/dev/full"))
                                (make-array FileAttribute 0))
      (is (= :temporary-failure (verdict (configured :mbox) "lost?\r\n")))
      (is (re-find #"No space left on device" (str (messages records :error)))))))

(defmacro ^:private with-small-disk
  "Runs the body where the directory of a test is a disk of 256 KiB."
  [& body]
  `(in-new-directory
     (let [{exit# :exit, problem# :err} (shell/sh "mount" "-t" "tmpfs" "-o" "size=256k" "temse-test" (str *directory*))]
       (if (zero? exit#)
         (try
           ~@body
           (finally
             (shell/sh "umount" (str *directory*))))
         (runner/skip! (str "a small disk cannot be mounted here: " problem#))))))

(def ^:private large (apply str (repeat 4000 "sixty-four octets in each line of this body, with its line end\r\n")))

(deftest where-the-disk-is-full-mail-is-deferred-and-leaves-nothing
  (with-logs _
    (with-small-disk
      (let [filter (configured :maildir)]
        (is (= :accept (verdict filter "small\r\n")))
        (is (= :temporary-failure (verdict filter (str large large))))
        (is (= [] (files "tmp")))
        (is (= 1 (count (files "new"))))
        (testing "and where there is room, it goes on"
          (is (= :accept (verdict filter "small\r\n"))))))
    (with-small-disk
      (let [filter (configured :mbox)
            file (io/file *directory* "mbox")]
        (is (= :accept (verdict filter "small\r\n")))
        (let [before (slurp file)]
          (is (= :temporary-failure (verdict filter (str large large))))
          (is (= before (slurp file))))
        (is (= :accept (verdict filter "small\r\n")))
        (is (= 2 (count (mail/read-mbox file))))))))

(deftest a-wrong-setting-is-named
  (in-new-directory
    (let [file (io/file *directory* "archive.edn")]
      (spit file "{:mailbox \"x\"}")
      (is (re-find #"edn:1: there is no setting :mailbox" (:message (thrown (load-filter "archive" (str file))))))
      (spit file "{:maildir \"mails\"\n :mbox \"mails.mbox\"}")
      (is (re-find #"edn:2: .*:maildir or :mbox, not both" (str (:message (thrown (load-filter "archive" (str file))))))))))

;; ---- behind MTAs

(defn- check
  [mta-name]
  (in-new-directory
    (behind mta-name (configured :maildir) {}
            (fn [mta]
              (let [body (str "Hello\r\n\r\n.\r\n.x\r\nFrom me\r\n" large (smtp/octets (byte-array 900 (byte -1))) "\r\nend\r\n")
                    headers [["Subject" " one"] ["X-No-Space" "x"] ["X-Two" "  y"] ["X-Folded" " a\r\n\t b"]]
                    {:keys [mark message]} (support/transact mta {:sender "<a@example.org> BODY=8BITMIME"
                                                                  :recipients ["<b@example.org>" "<c@example.org>"]
                                                                  :headers headers
                                                                  :body body})]
                (is (= 250 (:code message)))
                (let [text (first (kept))
                      envelope (take 4 (string/split-lines text))]
                  (is (= ["Return-Path: <a@example.org>" "X-Envelope-From: <a@example.org> BODY=8BITMIME"
                          "X-Envelope-To: <b@example.org>" "X-Envelope-To: <c@example.org>"]
                         envelope))
                  (is (string/includes? text (str "X-Mark: " mark "\r\n"
                                                  (string/join (for [[field value] headers] (str field ":" value "\r\n"))))))
                  (is (string/ends-with? text (str "\r\n\r\n" body)))))
              (testing "what cannot be kept is deferred"
                (with-logs _
                  (.renameTo (io/file *directory* "maildir" "new") (io/file *directory* "maildir" "away"))
                  (is (= 451 (:code (:message (support/transact mta {})))))))))))

(deftest behind-postfix-mail-is-kept
  (check :postfix))

(deftest behind-sendmail-mail-is-kept
  (check :sendmail))
