(ns temse.differential.conversation
  "Conversations as data: what an MTA sends, octet by octet.

    {:variant :all
     :frames [[\"O\" [6 0x1FF 0x1FFFFF]]
              [\"H\" [\"client.example.org\\u0000\"]]
              [\"B\" [[70000 \"x\"]]]
              [\"Q\" [] 0]]
     :cuts [3 1]
     :lost 2}

  A frame is a command, a payload, and the length it announces if that is not the true one. A
  payload is a vector of strings, whose characters are octets, of numbers of 32 bits, and of strings
  with the number of their repetitions. The octets are written in pieces of `:cuts`, the rest in
  one. The last `:lost` octets are not sent."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as str])
  (:import
   (java.io File)
   (java.nio ByteBuffer)
   (java.nio.charset StandardCharsets)))

(set! *warn-on-reflection* true)

(defn- part [part]
  (cond
    (string? part) part
    (int? part) (str/join (for [shift [24 16 8 0]]
                            (char (bit-and 0xFF (bit-shift-right (long part) shift)))))
    :else (let [[times text] part] (str/join (repeat times text)))))

(defn payload
  "Returns the payload of a frame, a string of octets."
  [[_ parts]]
  (str/join (map part parts)))

(defn strings
  "Returns the strings of a frame's payload, and what comes behind the last NUL."
  [frame]
  (let [pieces (str/split (payload frame) #"\u0000" -1)]
    [(pop (vec pieces)) (peek (vec pieces))]))

(defn- frame-bytes ^bytes [[code _ length :as frame]]
  (let [payload (.getBytes ^String (payload frame) StandardCharsets/ISO_8859_1)]
    (-> (ByteBuffer/allocate (+ 5 (alength payload)))
        (.putInt (unchecked-int (or length (inc (alength payload)))))
        (.put (unchecked-byte (int (first code))))
        (.put payload)
        (.array))))

(defn pieces
  "Returns the byte buffers that are written one after the other."
  [{:keys [frames cuts lost] :or {lost 0}}]
  (let [octets (byte-array (mapcat frame-bytes frames))
        end (max 0 (- (alength octets) (long lost)))]
    (loop [from 0, [cut & cuts] cuts, pieces []]
      (if (< from end)
        (let [size (min (long (or cut end)) (- end from))]
          (recur (+ from size) cuts (conj pieces (ByteBuffer/wrap octets from size))))
        pieces))))

(defn prefix
  "Returns the conversation that ends after some frames."
  [{:keys [frames] :as conversation} size]
  (if (= size (count frames))
    conversation
    (-> conversation
        (assoc :frames (subvec frames 0 size))
        (dissoc :cuts :lost))))

;; Text

(defn literal
  "Returns a string of octets as it is written in EDN."
  [text]
  (str \" (str/replace text #"[\\\"]|[^ -~]" #(format "\\u%04X" (int (first %)))) \"))

(defn- part-text [part]
  (cond
    (string? part) (literal part)
    (int? part) (format "0x%X" part)
    :else (format "[%d %s]" (first part) (literal (second part)))))

(defn- frame-text [[code parts & length]]
  (format "[%s [%s]%s]" (literal code) (str/join " " (map part-text parts))
          (str/join (map #(format " 0x%X" %) length))))

(defn text
  "Returns the conversation as EDN, a frame a line."
  [{:keys [frames] :as conversation}]
  (str "{" (str/join "\n " (concat (for [[k v] (dissoc conversation :frames)]
                                     (str k " " (pr-str v)))
                             [(str ":frames\n [" (str/join "\n  " (map frame-text frames)) "]")]))
       "}"))

(defn recorded
  "Returns the conversations of a folder of `test/resources/conversations`, by the names of their
  files."
  [folder]
  (into (sorted-map)
        (for [^File file (.listFiles (io/file (io/resource (str "conversations/" folder))))]
          [(str/replace (.getName file) ".edn" "") (edn/read-string (slurp file))])))
