(ns mailboxes
  "Where gallery/archive.clj keeps mail: in a Maildir or an mbox, on disk when `keep-in-maildir` or
  `append-to-mbox` returns. Files have mode 0600. What cannot be kept throws, and leaves nothing."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.io BufferedInputStream BufferedOutputStream File InputStream OutputStream)
   (java.net InetAddress UnknownHostException)
   (java.nio ByteBuffer)
   (java.nio.channels Channels FileChannel)
   (java.nio.file CopyOption Files OpenOption Path StandardCopyOption StandardOpenOption)
   (java.nio.file.attribute FileAttribute PosixFilePermissions)
   (java.time Instant ZoneOffset)
   (java.time.format DateTimeFormatter)
   (java.util Locale UUID)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- permissions
  [text]
  (into-array FileAttribute [(PosixFilePermissions/asFileAttribute (PosixFilePermissions/fromString text))]))

(defn- open
  "Returns a channel to a file; one that is made has mode 0600."
  ^FileChannel [^Path path & options]
  (FileChannel/open path (set options) (permissions "rw-------")))

(defn- sync-directory
  "Writes to disk which files a directory has."
  [^Path directory]
  (with-open [channel (FileChannel/open directory (into-array OpenOption [StandardOpenOption/READ]))]
    (.force channel true)))

;; ---- Maildir

(def ^:private host
  "The name of this machine as names of files may have it."
  (delay (-> (try
               (.getHostName (InetAddress/getLocalHost))
               (catch UnknownHostException _ "localhost"))
             (string/replace "/" "\\057")
             (string/replace ":" "\\072"))))

(defn make-maildir
  "Makes a Maildir where there is none, and deletes what was left in tmp/ long ago."
  [^File directory]
  (doseq [part ["tmp" "new" "cur"]]
    (Files/createDirectories (.toPath (io/file directory part)) (permissions "rwx------")))
  (sync-directory (.toPath directory))
  (let [long-ago (- (System/currentTimeMillis) (* 36 3600 1000))]
    (doseq [^File file (.listFiles (io/file directory "tmp"))
            :when (< (.lastModified file) long-ago)]
      (.delete file))))

(defn keep-in-maildir
  "Keeps the mail in a stream as a file of its own in a Maildir, where it is seen when it is complete."
  [directory ^InputStream in]
  (let [file-name (str (.getEpochSecond (Instant/now)) "." (UUID/randomUUID) "." @host)
        [^Path unfinished ^Path finished] (map #(.toPath (io/file directory % file-name)) ["tmp" "new"])]
    (try
      (with-open [channel (open unfinished StandardOpenOption/CREATE_NEW StandardOpenOption/WRITE)]
        (io/copy in (Channels/newOutputStream channel))
        (.force channel true))
      (Files/move unfinished finished (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE]))
      (sync-directory (.getParent finished))
      (finally
        (Files/deleteIfExists unfinished)))))

;; ---- mbox

(defn- copy-quoted
  "Copies lines with one > more before those that begin with From, or > and From. Returns the last octet."
  [^InputStream in ^OutputStream out]
  ;; How much of "From " stands at the beginning of the line, behind any >; -1 elsewhere.
  (loop [matched 0, before -1]
    (let [octet (.read in)
          more? (and (<= 0 matched) (= octet (int (.charAt "From " matched))))]
      (cond
        (and more? (= 4 matched)) (do (.write out (.getBytes ">From ")) (recur -1 octet))
        more? (recur (inc matched) octet)
        :else (do (when (pos? matched)
                    (.write out (.getBytes (subs "From " 0 matched))))
                  (if (neg? octet)
                    before
                    (do (.write out octet)
                        (recur (if (or (= 10 octet) (and (zero? matched) (= 62 octet))) 0 -1) octet))))))))

(defn- from-line
  [sender]
  (str "From " (if (= "<>" sender) "MAILER-DAEMON" (string/replace sender #"^<|>$" "")) " "
       (.format (DateTimeFormatter/ofPattern "EEE MMM ppd HH:mm:ss yyyy" Locale/ENGLISH)
                (.atOffset (Instant/now) ZoneOffset/UTC))
       "\r\n"))

(defn- separator
  "Returns the lines that a mailbox lacks before another mail."
  [^FileChannel channel]
  (let [end (ByteBuffer/allocate 3)
        _ (.read channel end (max 0 (- (.size channel) 3)))
        text (String. (.array end) 0 (.position end) "ISO-8859-1")]
    (if (or (= "" text) (re-find #"\n\r?\n\z" text))
      ""
      "\r\n\r\n")))

(defn- append
  [^FileChannel channel sender in]
  (let [out (BufferedOutputStream. (Channels/newOutputStream (.position channel (.size channel))))]
    (.write out (Text/encodeBytes (str (separator channel) (from-line sender))))
    (when-not (= 10 (copy-quoted (BufferedInputStream. in) out))
      (.write out (.getBytes "\r\n")))
    (.write out (.getBytes "\r\n"))
    (.flush out)
    (.force channel true)))

(defn append-to-mbox
  "Appends the mail in a stream to a mailbox, which is locked meanwhile and cut off again if it fails."
  [^File file sender in]
  ;; The lock of a file belongs to the process, so that its threads need another one.
  (locking (.intern (.getPath file))
    (with-open [channel (open (.toPath file)
                              StandardOpenOption/CREATE StandardOpenOption/READ StandardOpenOption/WRITE)]
      (.lock channel)
      (let [size (.size channel)]
        (try
          (append channel sender in)
          (catch Throwable e
            (.truncate channel size)
            (throw e))))
      (sync-directory (.getParent (.toPath file))))))
