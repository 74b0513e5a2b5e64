(ns file-kinds
  "What a file is by its bytes, whatever its name says. Bytes are strings of one character each (ISO-8859-1)."
  (:import
   (java.nio ByteBuffer)
   (java.nio.channels SeekableByteChannel)
   (java.nio.charset StandardCharsets)))

(set! *warn-on-reflection* true)

(defn octets-at
  "Returns the octets of a file from a position on: `length` of them, or fewer at its end."
  ^String [^SeekableByteChannel channel position length]
  (let [buffer (ByteBuffer/allocate length)]
    (.position channel (long position))
    (loop []
      (when (and (.hasRemaining buffer) (<= 0 (.read channel buffer)))
        (recur)))
    (String. (.array buffer) 0 (.position buffer) StandardCharsets/ISO_8859_1)))

(defn number-at
  "Returns the number of `length` octets, the lowest first, at an index of octets; 0 for those that are missing."
  ^long [^String octets index length]
  (reduce (fn [number i] (+ (* 256 (long number)) (if (< (long i) (count octets)) (int (.charAt octets i)) 0)))
          0
          (range (dec (+ (long index) (long length))) (dec (long index)) -1)))

(defn positions
  "Returns where octets stand in a file from a position on, the first `most` of these places."
  [^SeekableByteChannel channel ^String octets position most]
  (let [piece 65536]
    (into []
          (comp (mapcat (fn [from]
                          (let [data (octets-at channel from (+ piece (dec (count octets))))]
                            (->> (iterate #(.indexOf data octets (inc (int %))) (.indexOf data octets))
                                 (take-while nat-int?)
                                 (map #(+ (long from) (long %)))))))
                (take most))
          (range position (.size channel) piece))))

(def ^:private marks
  "Of each kind octets, and where they stand."
  [[:zip 0 "PK\u0003\u0004"] [:zip 0 "PK\u0005\u0006"] [:zip 0 "PK\u0007\u0008"]
   [:seven-zip 0 "7z\u00bc\u00af\u0027\u001c"]
   [:gzip 0 "\u001f\u008b"] [:bzip2 0 "BZh"] [:xz 0 "\u00fd7zXZ\u0000"] [:compress 0 "\u001f\u009d"]
   [:tar 257 "ustar"]
   [:rar 0 "Rar!\u001a\u0007"] [:cab 0 "MSCF"] [:arj 0 "\u0060\u00ea"] [:lzh 2 "-lh"] [:ace 7 "**ACE**"]
   [:zstd 0 "\u0028\u00b5\u002f\u00fd"] [:lz4 0 "\u0004\u0022\u004d\u0018"] [:iso 32769 "CD001"] [:iso 32769 "BEA01"]
   [:tnef 0 "\u0078\u009f\u003e\u0022"]
   [:ole 0 "\u00d0\u00cf\u0011\u00e0\u00a1\u00b1\u001a\u00e1"]
   [:executable 0 "\u007fELF"] [:executable 0 "\u00ca\u00fe\u00ba\u00be"] [:executable 0 "\u00fe\u00ed\u00fa"]
   [:executable 0 "\u00ce\u00fa\u00ed\u00fe"] [:executable 0 "\u00cf\u00fa\u00ed\u00fe"]])

(def known
  "All kinds, see `kinds`."
  (into #{:zip :tar :executable} (map first) marks))

(defn tar-header?
  "Returns true for the header of a file in a tar archive, 512 octets, also of one older than its mark: it holds the
  sum of its bytes."
  [^String beginning]
  (when (= 512 (count beginning))
    (when-let [[_ sum] (re-find #"^ *([0-7]{1,7})[ \u0000]" (subs beginning 148 156))]
      (= (Integer/parseInt sum 8)
         (reduce + (map int (str (subs beginning 0 148) "        " (subs beginning 156))))))))

(defn- dos-program?
  "Returns true for the beginning of a program of DOS or Windows. A text that begins so has no NUL."
  [^String beginning]
  (and (.startsWith beginning "MZ")
       (< -1 (.indexOf beginning "\u0000") 64)))

(defn- zip-at-end?
  "Returns true for what ends as a zip archive, whatever it begins with: programs find archives from their end."
  [^SeekableByteChannel channel]
  (let [start (max 0 (- (.size channel) 65557))
        end (octets-at channel start 65557)
        record (.lastIndexOf end "PK\u0005\u0006")
        directory (- (+ start record) (number-at end (+ record 12) 4))]
    (and (nat-int? record)
         (nat-int? directory)
         (= "PK\u0001\u0002" (octets-at channel directory 4)))))

(defn kinds
  "Returns the kinds of a file, a set: it may be a program and an archive at once.

    :zip :seven-zip :tar :gzip :bzip2 :xz :compress  ; archives and compressed files
    :rar :cab :arj :lzh :ace :zstd :lz4 :iso :tnef   ; those that nothing here opens
    :executable                                      ; programs of Windows, Unix, macOS and Java
    :ole                                             ; older documents of Office, with macros perhaps, and installers"
  [^SeekableByteChannel channel]
  (let [beginning (octets-at channel 0 512)]
    (cond-> (into #{}
                  (keep (fn [[kind position ^String mark]]
                          (when (if (< (long position) 512)
                                  (.startsWith beginning mark (int position))
                                  (= mark (octets-at channel position (count mark))))
                            kind)))
                  marks)
      (tar-header? beginning) (conj :tar)
      (dos-program? beginning) (conj :executable)
      (zip-at-end? channel) (conj :zip))))
