(ns mail-files
  "The files in a mail: its parts, and what is in archives and mails among them, at any depth, within bounds.
  What a file is, its bytes say, not its name. Files are unpacked one at a time, to memory or a temporary
  file."
  (:require
   [clojure.string :as string]
   [file-kinds :refer [number-at octets-at positions tar-header?]]
   [file-names]
   [temse.mail :as mail]
   [temse.mime :as mime])
  (:import
   (java.io IOError IOException InputStream)
   (java.nio ByteBuffer)
   (java.nio.channels Channels SeekableByteChannel)
   (java.nio.charset StandardCharsets)
   (java.nio.file Files OpenOption Path StandardOpenOption)
   (java.nio.file.attribute FileAttribute)
   (org.apache.commons.compress MemoryLimitException PasswordRequiredException)
   (org.apache.commons.compress.archivers.sevenz SevenZArchiveEntry SevenZFile)
   (org.apache.commons.compress.archivers.tar TarArchiveEntry TarArchiveInputStream TarUtils)
   (org.apache.commons.compress.archivers.zip ZipArchiveEntry ZipFile)
   (org.apache.commons.compress.compressors.bzip2 BZip2CompressorInputStream)
   (org.apache.commons.compress.compressors.gzip GzipCompressorInputStream)
   (org.apache.commons.compress.compressors.xz XZCompressorInputStream)
   (org.apache.commons.compress.compressors.z ZCompressorInputStream)
   (org.apache.commons.compress.utils SeekableInMemoryByteChannel)
   (org.apache.commons.io.input CloseShieldInputStream)))

(set! *warn-on-reflection* true)

;; ---- problems and bounds

(def problems
  "All problems, see `walk`."
  #{:encrypted :encrypted-mail :unsupported :damaged :inconsistent :uuencoded :unparsed :ambiguous :too-deep
    :too-many-files :too-large :bomb})

(defn- fail
  "Throws a problem, which ends the reading of the file that has it."
  [problem]
  (throw (ex-info (name problem) {:problem problem})))

(defn- problem-of
  "Returns the problem that an exception stands for."
  [e]
  (cond
    (:problem (ex-data e)) (:problem (ex-data e))
    (instance? PasswordRequiredException e) :encrypted
    (instance? MemoryLimitException e) :too-large
    :else :damaged))

(defn- memory-kib
  "Returns how many KiB of memory a decoder may take: half as many in each further archive."
  [{:keys [within]}]
  (bit-shift-right 131072 (count within)))

(def ^:private small
  "How many bytes an archive may always unpack to, and how large a file may be that stays in memory."
  {:archive 10485760, :in-memory 65536})

(defn- take-from
  "Takes an amount from what is left of a bound, and fails with a problem where it does not suffice."
  [left amount problem]
  (when (neg? (long (vswap! left - amount)))
    (fail problem)))

;; ---- unpacking

(defn- temporary-file
  "Returns a new file, which is gone when it is closed."
  ^SeekableByteChannel [directory]
  (let [attributes (make-array FileAttribute 0)
        path (if directory
               (Files/createTempFile (Path/of directory (make-array String 0)) "temse" nil attributes)
               (Files/createTempFile "temse" nil attributes))]
    (Files/newByteChannel path (into-array OpenOption [StandardOpenOption/READ StandardOpenOption/WRITE
                                                       StandardOpenOption/DELETE_ON_CLOSE]))))

(defmacro ^:private on-our-disk
  "Throws an IOError, which is no problem of the mail, where the disk is full or cannot be used."
  [& body]
  `(try
     ~@body
     (catch IOException e#
       (throw (IOError. e#)))))

(defn- spooled
  "Returns what a stream holds as a file."
  ^SeekableByteChannel [{:keys [bytes-left ratio-left directory]} ^InputStream in]
  (let [spend (fn [amount]
                (take-from bytes-left amount :too-large)
                (take-from ratio-left amount :bomb))
        beginning (.readNBytes in (:in-memory small))]
    (spend (alength beginning))
    (if (< (alength beginning) (long (:in-memory small)))
      (SeekableInMemoryByteChannel. beginning)
      (let [^SeekableByteChannel file (on-our-disk (temporary-file directory))]
        (try
          (loop [^bytes piece beginning]
            (when (pos? (alength piece))
              (on-our-disk (.write file (ByteBuffer/wrap piece)))
              (let [piece (.readNBytes in 8192)]
                (spend (alength piece))
                (recur piece))))
          (catch Throwable e
            (.close file)
            (throw e)))
        file))))

(defn- unpacked
  "Returns what the stream holds that `open-stream` returns as a file, which is to be closed."
  ^SeekableByteChannel [bounds open-stream]
  (with-open [in ^InputStream (open-stream)]
    (spooled bounds in)))

;; ---- files

(defn- stream
  ^InputStream [^SeekableByteChannel content]
  (Channels/newInputStream (.position content 0)))

(declare open)

(defn- extension?
  "Returns true if one of the names has one of the extensions."
  [extensions names]
  (some extensions (map file-names/extension (mapcat file-names/spellings names))))

(defn- reporting
  "Calls f; a file for which that fails is visited with its problem."
  [visit file f]
  (try
    (f)
    (catch Exception e
      (visit (assoc file :problem (problem-of e))))
    ;; An archive that wants all memory, or that a library reads by recursion.
    (catch VirtualMachineError _
      (visit (assoc file :problem :damaged)))))

(defn- take-file
  "Visits a file, whose stream `open-stream` returns, and what is in it."
  [{:keys [visit entries-left within] :as bounds} file open-stream]
  (take-from entries-left 1 :too-many-files)
  (let [file (assoc file :within within)]
    (reporting visit
               file
               #(with-open [content (unpacked bounds open-stream)]
                  (let [file (assoc file :kinds (file-kinds/kinds content))]
                    (visit file)
                    (reporting visit file (fn [] (open bounds file content))))))))

(defn- inside
  "Returns the bounds of what is in a file."
  [{:keys [limits] :as bounds} {:keys [names]} ^SeekableByteChannel content]
  (let [{:keys [within] :as bounds} (update bounds :within conj (first names))]
    (when (< (long (:max-depth limits)) (count within))
      (fail :too-deep))
    (assoc bounds :ratio-left (volatile! (+ (long (:archive small)) (* (long (:max-ratio limits)) (.size content)))))))

;; ---- zip

(def ^:private local-header "PK\u0003\u0004")
(def ^:private directory-header "PK\u0001\u0002")

(defn- local-name
  "Returns the name of an entry that stands before its data."
  [content position]
  (let [length (number-at (octets-at content (+ (long position) 26) 2) 0 2)]
    (octets-at content (+ (long position) 30) length)))

(defn- outside
  "Returns the positions that are in no range of [start end), both in order; nil where ranges overlap."
  [positions ranges]
  (when (every? (fn [[[_ end] [start _]]] (<= (long end) (long start))) (partition 2 1 ranges))
    (loop [positions positions, [[start end] & more :as ranges] ranges, found []]
      (cond
        (empty? positions) found
        (nil? start) (into found positions)
        (<= (long end) (long (first positions))) (recur positions more found)
        (< (long start) (long (first positions))) (recur (rest positions) ranges found)
        :else (recur (rest positions) ranges (conj found (first positions)))))))

(defn- zip-range
  [^ZipArchiveEntry entry]
  [(.getLocalHeaderOffset entry) (+ (.getDataOffset entry) (.getCompressedSize entry))])

(defn- check-zip
  "Visits the names of a zip archive that its directory, which programs use, does not have, and fails if there
  are any: other programs see other files in it. So it does where entries overlap, as in some bombs."
  [{:keys [visit within]} content entries locals directories]
  (let [ranges (sort (map zip-range entries))
        hidden (outside (remove (set (map first ranges)) locals) ranges)]
    (doseq [position hidden]
      (visit {:names [(local-name content position)] :within within}))
    (when (or (nil? hidden) (seq hidden) (not= (count entries) (count (outside directories ranges))))
      (fail :inconsistent))))

(defn- open-zip
  [{:keys [limits] :as bounds} content]
  ;; Before the directory is read, which takes memory: each entry has a header in it.
  (let [most (inc (* 2 (long (:max-files limits))))
        [locals directories] (map #(positions content % 0 most) [local-header directory-header])]
    (when (<= most (max (count locals) (count directories)))
      (fail :too-many-files))
    (with-open [zip (-> (ZipFile/builder) (.setSeekableByteChannel content) ^ZipFile (.get))]
      (let [entries (vec (enumeration-seq (.getEntries zip)))]
        (check-zip bounds content entries locals directories)
        (doseq [^ZipArchiveEntry entry entries
                :let [raw (String. (.getRawName entry) StandardCharsets/ISO_8859_1)]
                :when (not (and (.isDirectory entry) (zero? (.getSize entry))))]
          (take-file bounds
                     {:names (distinct [(.getName entry) raw (local-name content (.getLocalHeaderOffset entry))])}
                     #(cond
                        (.usesEncryption (.getGeneralPurposeBit entry)) (fail :encrypted)
                        (not (.canReadEntryData zip entry)) (fail :unsupported)
                        :else (.getInputStream zip entry))))))))

;; ---- others

(defn- open-seven-zip
  [bounds ^SeekableByteChannel content]
  (with-open [archive (-> (SevenZFile/builder)
                          (.setSeekableByteChannel (.position content 0))
                          (.setMaxMemoryLimitKiB (memory-kib bounds))
                          (.setUseDefaultNameForUnnamedEntries true)
                          ^SevenZFile (.get))]
    (doseq [^SevenZArchiveEntry entry (.getEntries archive)
            :when (not (.isDirectory entry))]
      (take-file bounds {:names [(str (.getName entry))]} #(.getInputStream archive entry)))))

(def ^:private longest-name
  "How many bytes the record of a tar archive may have that holds a name: it is read as a whole."
  65536)

(def ^:private most-names
  "How many records of names and properties may come before a file of a tar archive: usual are one or two. Each
  is read by a method that calls itself."
  16)

(defn- check-tar
  "Fails if a tar archive has a record for a name or other properties that is too long, or too many before a file."
  [^SeekableByteChannel content]
  (loop [position 0, names 0]
    (let [header (octets-at content position 512)]
      (when (and (= 512 (count header)) (not= \u0000 (.charAt header 0)))
        (let [size (TarUtils/parseOctalOrBinary (.getBytes header StandardCharsets/ISO_8859_1) 124 12)
              name? (some? (#{\L \K \x \g \X} (.charAt header 156)))]
          (when (and name? (< (long longest-name) size))
            (fail :too-large))
          (when (and name? (= names (long most-names)))
            (fail :damaged))
          (recur (+ position 512 (* 512 (quot (+ (max 0 size) 511) 512)))
                 (if name? (inc names) 0)))))))

(defn- goes-on?
  "Returns true if there are files in a tar archive behind a position, that of its end."
  [^SeekableByteChannel content end]
  (or (seq (positions content "ustar" end 1))
      (some #(tar-header? (octets-at content % 512))
            (range (* 512 (quot (+ (long end) 511) 512)) (.size content) 512))))

(defn- open-tar
  [bounds content]
  (check-tar content)
  (let [tar (TarArchiveInputStream. (stream content))]
    (loop [end 0]
      (if-let [^TarArchiveEntry entry (.getNextEntry tar)]
        (do
          ;; Programs look for the next header behind one that is wrong, whatever size this one gives.
          (when-not (.isCheckSumOK entry)
            (fail :damaged))
          (when-not (.isDirectory entry)
            (take-file bounds {:names [(.getName entry)]} #(CloseShieldInputStream/wrap tar)))
          (recur (.getBytesRead tar)))
        ;; Some programs go on behind the mark of the end.
        (when (goes-on? content end)
          (fail :inconsistent))))))

(defn- open-compressed
  "Visits the one file in a compressed one: its name is that of the other, without the last extension."
  [bounds {:keys [names]} content decompress]
  (let [in ^InputStream (decompress (stream content) (memory-kib bounds))
        stored (when (instance? GzipCompressorInputStream in)
                 (.getFileName (.getMetaData ^GzipCompressorInputStream in)))
        without-extension #(if (re-matches #"(?i)\.t[gbx]z2?" %) ".tar" "")
        plain (map #(string/replace % #"\.[^.]*$" without-extension) names)]
    (take-file bounds {:names (distinct (cond->> plain stored (cons stored)))} (constantly in))))

(def ^:private decompressors
  {:gzip (fn [in _] (GzipCompressorInputStream. ^InputStream in true))
   :bzip2 (fn [in _] (BZip2CompressorInputStream. ^InputStream in true))
   :xz (fn [in memory] (XZCompressorInputStream. ^InputStream in true memory))
   :compress (fn [in memory] (ZCompressorInputStream. ^InputStream in memory))})

;; ---- mails

(def ^:private largest-mail
  "How many bytes an attached mail may have that is in an encoding: it is read as a whole."
  33554432)

(defn- opaque?
  "Returns true for a part that only its recipient can read, or a reader that knows S/MIME."
  [{:keys [type] :as part}]
  (or (mime/encrypted? part)
      (contains? #{"application/pkcs7-mime" "application/x-pkcs7-mime"} type)))

(defn- boundaries
  "Returns how many boundaries the value of a Content-Type gives; those in quotes are none, unless backslashes make
  it hard to tell what is in quotes."
  [value]
  (let [text (if (string/includes? value "\\") value (string/replace value #"\"[^\"]*+\"?" "\"\""))]
    (count (re-seq #"(?i)(?<![^;\s])boundary(?:\*(?:0\*?)?)?\s*+=" text))))

(defn- ambiguous?
  "Returns true for a part whose type, encoding or boundary is given twice: mail readers differ in which one they
  believe."
  [{:keys [headers]}]
  (let [by-name (group-by #(string/lower-case (first %)) headers)
        types (map second (by-name "content-type"))]
    (or (next types)
        (next (by-name "content-transfer-encoding"))
        (some #(< 1 (long (boundaries %))) types))))

(defn- octets-of
  "Returns the octets of a message between two positions in its body."
  [message start end]
  (with-open [in (mime/content-stream message {:encoding "binary" :content-start start :end end})]
    (String. (.readAllBytes ^InputStream in) StandardCharsets/ISO_8859_1)))

(def ^:private longest-header 65536)

(defn- header-goes-on?
  "Returns true for a part whose header ends at a line that is no field: some mail readers pass over that line, and
  believe the fields behind it."
  [message {:keys [path start content-start end]}]
  (and (seq path)
       (not (re-find #"(?:^|\n)\r?\n$" (octets-of message start content-start)))
       (let [length (min (- (long end) (long content-start)) (long longest-header))
             [lines behind] (string/split (octets-of message content-start (+ (long content-start) length)) #"(?:^|\n)\r?\n" 2)]
         (or (re-find #"(?im)^content-(?:type|disposition|transfer-encoding)[ \t]*:" lines)
             (and (nil? behind) (= length longest-header))))))

(defn- walk-parts
  [{:keys [visit within] :as bounds} message]
  (doseq [{:keys [type declared-type encoding container?] :as part} (mime/parts message)
          :let [file (cond-> {:names (mime/filenames part), :type (or declared-type type)}
                       (or (ambiguous? part) (header-goes-on? message part)) (assoc :problem :ambiguous)
                       (opaque? part) (assoc :problem :encrypted-mail))]]
    (cond
      declared-type (visit (assoc file :within within :problem :unparsed))
      container? (visit (assoc file :within within))
      :else (take-file bounds file #(if (contains? #{"7bit" "8bit" "binary" "base64" "quoted-printable"} encoding)
                                      (mime/content-stream message part)
                                      (fail :unsupported))))))

(defn- open-mail
  [bounds ^SeekableByteChannel content]
  (when (< (long largest-mail) (.size content))
    (fail :too-large))
  (walk-parts bounds (mail/read-eml (stream content))))

(defn- uuencoded
  "Returns the names of the files that stand in a text in uuencode, which some mail readers offer as attachments.
  Fails where more lines than `most` may begin one."
  [content most]
  (let [line-ends (positions content "\nbegin" 0 (inc (long most)))]
    (when (< (long most) (count line-ends))
      (fail :too-many-files))
    (keep (fn [line-end]
            (second (re-find #"^begin(?:-base64)? [0-7]{3,4} ([^\r\n]+)" (octets-at content (inc (long line-end)) 1000))))
          (cons -1 line-ends))))

;; ---- which is which

(def ^:private openers
  (merge {:zip (fn [bounds _ content] (open-zip bounds content))
          :seven-zip (fn [bounds _ content] (open-seven-zip bounds content))
          :tar (fn [bounds _ content] (open-tar bounds content))
          :mail (fn [bounds _ content] (open-mail bounds content))}
         (update-vals decompressors
                      (fn [decompress]
                        (fn [bounds file content] (open-compressed bounds file content decompress))))))

(def ^:private unsupported
  #{:rar :cab :arj :lzh :ace :zstd :lz4 :iso :tnef})

(def ^:private archive-extensions
  #{"zip" "jar" "7z" "tar" "gz" "tgz" "bz2" "tbz" "tbz2" "xz" "txz" "lzma" "z" "rar" "cab" "arj" "lzh" "ace" "zst"})

(defn- mail?
  [{:keys [type names]}]
  (or (contains? #{"message/rfc822" "message/global" "message/news"} type)
      (extension? #{"eml"} names)))

(defn- open
  "Visits what is in a file."
  [{:keys [visit limits within] :as bounds} {:keys [kinds names type] :as file} content]
  (let [kinds (cond-> kinds (mail? file) (conj :mail))]
    (when (= "text/plain" type)
      (doseq [uuencoded-name (uuencoded content (:max-files limits))]
        (visit {:names [uuencoded-name] :within within :problem :uuencoded})))
    (cond
      (some unsupported kinds) (fail :unsupported)
      (some openers kinds) (let [bounds (inside bounds file content)]
                             (doseq [kind kinds
                                     :let [open-kind (openers kind)]
                                     :when open-kind]
                               (open-kind bounds file content)))
      (extension? archive-extensions names) (fail :damaged))))

(defn walk
  "Calls `visit` with each file in a mail, as a map, when it is found:

    :names    ; those that programs may give it; empty for a part without one
    :within   ; the names of the archives and mails that it lies in, from outside
    :type     ; the media type of a part
    :kinds    ; what it is, see file-kinds/kinds
    :problem  ; why it could not be looked into, if it could not

  A file whose reading fails midway is visited again, with its problem:

    :encrypted         ; an archive with a password
    :encrypted-mail    ; S/MIME or OpenPGP
    :unsupported       ; an archive or transfer encoding that cannot be read
    :damaged           ; an archive that is broken, or no archive although it has the name of one
    :inconsistent      ; a zip archive in which different programs see different files
    :uuencoded         ; a file within a text
    :unparsed          ; a part of a mail that cannot be taken apart
    :ambiguous         ; one whose type, transfer encoding or boundary is given twice, or whose header has a line
                      ; that is no field
    :too-deep :too-many-files :too-large :bomb  ; beyond a bound

  The bounds are :max-depth, of files in each other; :max-files; :max-bytes, unpacked, all together; and
  :max-ratio, by how much an archive may grow once it has unpacked 10 MiB. Larger files lie in :directory while
  they are looked at. Throws an IOError if that is full."
  [message {:keys [max-files max-bytes directory] :as limits} visit]
  (try
    (walk-parts {:limits limits
                 :visit visit
                 :within []
                 :directory directory
                 :entries-left (volatile! max-files)
                 :bytes-left (volatile! max-bytes)
                 :ratio-left (volatile! Long/MAX_VALUE)}
                message)
    (catch clojure.lang.ExceptionInfo e
      (visit {:names [] :within [] :problem (problem-of e)}))))
