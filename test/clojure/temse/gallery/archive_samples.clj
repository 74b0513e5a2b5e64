(ns temse.gallery.archive-samples
  "Archives, also damaged and hostile ones, and mails that carry files."
  (:require
   [clojure.string :as string])
  (:import
   (java.io ByteArrayOutputStream OutputStream)
   (java.nio.charset StandardCharsets)
   (java.util Arrays Base64 Random)
   (java.util.zip ZipEntry ZipOutputStream)
   (org.apache.commons.compress.archivers.sevenz SevenZOutputFile)
   (org.apache.commons.compress.archivers.tar TarArchiveEntry TarArchiveOutputStream)
   (org.apache.commons.compress.compressors.bzip2 BZip2CompressorOutputStream)
   (org.apache.commons.compress.compressors.gzip GzipCompressorOutputStream GzipParameters)
   (org.apache.commons.compress.compressors.xz XZCompressorOutputStream)
   (org.apache.commons.compress.utils SeekableInMemoryByteChannel)))

(set! *warn-on-reflection* true)

(defn octet-bytes
  "Returns bytes, of octets or of bytes."
  ^bytes [data]
  (if (string? data)
    (.getBytes ^String data StandardCharsets/ISO_8859_1)
    data))

(defn octets
  "Returns bytes as octets, one character each."
  ^String [data]
  (if (string? data)
    data
    (String. ^bytes data StandardCharsets/ISO_8859_1)))

(def program
  "The beginning of a program of Windows."
  "MZ\u0090\u0000\u0003\u0000\u0000\u0000\u0004 a program")

(defn noise
  "Returns n bytes that cannot be compressed, the same each time."
  ^bytes [n]
  (let [data (byte-array n)]
    (.nextBytes (Random. 42) data)
    data))

;; ---- archives of entries, pairs of name and data

(defn zip
  ^bytes [& entries]
  (let [out (ByteArrayOutputStream.)]
    (with-open [zip (ZipOutputStream. out)]
      (doseq [[^String entry-name data] (partition 2 entries)]
        (.putNextEntry zip (ZipEntry. entry-name))
        (.write zip (octet-bytes data))
        (.closeEntry zip)))
    (.toByteArray out)))

(defn tar
  ^bytes [& entries]
  (let [out (ByteArrayOutputStream.)]
    (with-open [tar (doto (TarArchiveOutputStream. out)
                      (.setLongFileMode TarArchiveOutputStream/LONGFILE_GNU))]
      (doseq [[^String entry-name data] (partition 2 entries)
              :let [data (octet-bytes data)
                    entry (doto (TarArchiveEntry. entry-name) (.setSize (alength data)))]]
        (.putArchiveEntry tar entry)
        (.write tar data)
        (.closeArchiveEntry tar)))
    (.toByteArray out)))

(defn without-tar-mark
  "Returns a tar archive of one file as programs wrote it that know no mark."
  [archive]
  (let [[_ before size-and-time behind] (re-matches #"(?s)(.{124})(.{24}).{8}(.*)" (octets archive))
        blank (str before size-and-time "        " (subs behind 0 101) (apply str (repeat 8 \u0000)) (subs behind 109))
        sum (reduce + (map int (subs blank 0 512)))]
    (octet-bytes (str before size-and-time (format "%06o\u0000 " sum) (subs blank 156)))))

(defn seven-zip
  "Returns a 7z archive, whose data have a password unless it is nil."
  ^bytes [password & entries]
  (let [channel (SeekableInMemoryByteChannel.)]
    (with-open [archive (if password
                          (SevenZOutputFile. channel (char-array password))
                          (SevenZOutputFile. channel))]
      (doseq [[^String entry-name data] (partition 2 entries)
              :let [entry (doto (org.apache.commons.compress.archivers.sevenz.SevenZArchiveEntry.)
                            (.setName entry-name))]]
        (.putArchiveEntry archive entry)
        (.write archive (octet-bytes data))
        (.closeArchiveEntry archive)))
    (Arrays/copyOf (.array channel) (int (.size channel)))))

(defn- compressed
  ^bytes [make data]
  (let [out (ByteArrayOutputStream.)]
    (with-open [stream ^OutputStream (make out)]
      (.write stream (octet-bytes data)))
    (.toByteArray out)))

(defn gzip
  ^bytes [data]
  (compressed #(GzipCompressorOutputStream. %) data))

(defn named-gzip
  ^bytes [file-name data]
  (compressed #(GzipCompressorOutputStream. % (doto (GzipParameters.) (.setFileName file-name))) data))

(defn bzip2
  ^bytes [data]
  (compressed #(BZip2CompressorOutputStream. %) data))

(defn xz
  ^bytes [data]
  (compressed #(XZCompressorOutputStream. %) data))

;; ---- changes

(defn joined
  "Returns bytes behind each other."
  ^bytes [& pieces]
  (octet-bytes (string/join (map octets pieces))))

(defn replaced
  "Returns bytes in which the n-th place of some octets, from 0, has others of the same length."
  ^bytes [data ^String old ^String new n]
  (let [text (octets data)
        at (nth (iterate #(.indexOf text old (inc (int %))) (.indexOf text old)) n)]
    (octet-bytes (str (subs text 0 at) new (subs text (+ (long at) (count old)))))))

(defn with-password-flag
  "Returns a zip archive whose entries say that they are encrypted."
  ^bytes [archive]
  (let [data (aclone (octet-bytes archive))
        text (octets data)]
    (doseq [[mark flags] [["PK\u0003\u0004" 6] ["PK\u0001\u0002" 8]]
            at (take-while nat-int? (iterate #(.indexOf text ^String mark (inc (int %))) (.indexOf text ^String mark)))
            :let [at (+ (long at) (long flags))]]
      (aset data at (unchecked-byte (bit-or 1 (aget data at)))))
    data))

;; ---- mails

(defn base64
  ^String [data]
  (.encodeToString (Base64/getMimeEncoder) (octet-bytes data)))

(defn part
  "Returns the header fields and body of a part with a file, as text."
  [fields data]
  (str (string/join (map #(str % "\r\n") fields)) "Content-Transfer-Encoding: base64\r\n\r\n" (base64 data) "\r\n"))

(defn named
  "Returns a mail with a text and a file."
  ([file-name data]
   (named file-name "application/octet-stream" data))
  ([file-name type data]
   {:headers [["MIME-Version" "1.0"] ["Content-Type" "multipart/mixed; boundary=b"]]
    :body (str "--b\r\n\r\nSee the file.\r\n--b\r\n"
               (part [(str "Content-Type: " type)
                      (str "Content-Disposition: attachment; filename=\"" file-name "\"")]
                     data)
               "--b--\r\n")}))
