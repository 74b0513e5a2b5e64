(ns temse.mime-generators
  "Generators of MIME messages of all shapes, and of what becomes broken of them."
  (:require
   [clojure.string :as string]
   [clojure.test.check.generators :as gen]
   [temse.mail :as mail])
  (:import
   (java.nio.charset Charset StandardCharsets)
   (java.util Base64)))

(set! *warn-on-reflection* true)

(def ^:private words
  (gen/elements ["Hello" "Grüße" "日本語" "a=b" "From the" "--" "-- " " " "  " "\t" "." "..." "€" "😀"
                 "=20" "\r\n" "\r\n" "\r\n\r\n" "</body>" "x-y" "--b0" "--b1--" "ÿ"]))

(def text
  "A text of several lines."
  (gen/fmap string/join (gen/vector words 0 20)))

(def ^:private charsets
  ["us-ascii" "utf-8" "iso-8859-1" "windows-1252" "ISO-2022-JP" "Shift_JIS" "koi8-r" "utf-16" "gb18030"])

(defn octets
  "Returns bytes as a string of one character each."
  ^String [^bytes data]
  (String. data StandardCharsets/ISO_8859_1))

(defn octet-bytes
  "Returns the bytes of a string of one character each."
  ^bytes [^String text]
  (.getBytes text StandardCharsets/ISO_8859_1))

(defn- quoted
  [^bytes data]
  (string/replace
    (string/join (for [line (string/split (octets data) #"\r\n" -1)]
                   (str (string/join "=\r\n"
                                     (map string/join
                                          (partition-all 20 (for [c line]
                                                              (if (re-matches #"[A-Za-z0-9]" (str c))
                                                                c
                                                                (format "=%02X" (int c)))))))
                        "\r\n")))
    #"\r\n\z" ""))

(defn encoded
  "Returns bytes in a transfer encoding, as octets."
  [^bytes data encoding]
  (case encoding
    "base64" (octets (.encode (Base64/getMimeEncoder) data))
    "quoted-printable" (quoted data)
    (octets data)))

(def ^:private leaf
  "Octets of an entity without parts."
  (gen/let [type (gen/elements ["text/plain" "text/plain" "text/html" "text/calendar"
                                "application/pdf" "image/png" "message/delivery-status"])
            charset (gen/elements charsets)
            declared (gen/frequency [[6 (gen/return charset)] [1 (gen/return "x-unknown")]
                                     [1 (gen/elements charsets)] [1 (gen/return nil)]])
            encoding (gen/elements ["7bit" "8bit" "base64" "quoted-printable" nil])
            disposition (gen/elements [nil nil nil "inline" "attachment; filename=\"a b.txt\""])
            flowed? gen/boolean
            content text]
    (str "Content-Type: " type
         (when declared (str ";\r\n charset=\"" declared "\""))
         (when flowed? "; format=flowed")
         "\r\n"
         (when encoding (str "Content-Transfer-Encoding: " encoding "\r\n"))
         (when disposition (str "Content-Disposition: " disposition "\r\n"))
         "\r\n"
         (encoded (.getBytes ^String content (Charset/forName charset)) encoding))))

(defn- multipart
  [type boundary preamble epilogue children]
  (str "Content-Type: multipart/" type "; boundary=\"" boundary "\"\r\n\r\n"
       preamble
       (string/join (map #(str "\r\n--" boundary "\r\n" %) children))
       "\r\n--" boundary "--" epilogue))

(def ^:private entity
  (gen/recursive-gen
    (fn [inner]
      (gen/frequency
        [[6 (gen/let [type (gen/elements ["mixed" "alternative" "related" "signed" "report" "digest"])
                      boundary (gen/fmap #(str "b" %) (gen/choose 2 1000000000))
                      preamble (gen/elements ["" "This is MIME." "a\r\nb\r\n"])
                      epilogue (gen/elements ["" "\r\n" "\r\nend\r\n"])
                      children (gen/vector inner 1 4)]
              (multipart type boundary preamble epilogue children))]
         [1 (gen/let [header (gen/elements ["" "Subject: inner\r\n" "To: a\r\n b\r\n"])
                      content inner]
              (str "Content-Type: message/rfc822\r\n\r\n" header content))]]))
    leaf))

(def octets-of-mail
  "A mail as octets."
  (gen/fmap #(str "From: a@example.org\r\nSubject: test\r\nMIME-Version: 1.0\r\n" %)
            (gen/scale #(min % 30) entity)))

(def message
  "A message map."
  (gen/fmap #(mail/read-eml (octet-bytes %)) octets-of-mail))

(def broken-message
  "A message some of whose bytes are missing, doubled or others."
  (gen/let [^String mail octets-of-mail
            edits (gen/vector (gen/tuple gen/nat gen/nat (gen/choose 0 255)
                                         (gen/elements [:cut :double :set]))
                              1 6)]
    (mail/read-eml
      (octet-bytes
        (reduce (fn [^String mail [a b value kind]]
                  (let [at (min (.length mail) (* 7 (long a)))
                        to (min (.length mail) (+ at (long b)))]
                    (case kind
                      :cut (str (subs mail 0 at) (subs mail to))
                      :double (str (subs mail 0 to) (subs mail at))
                      :set (str (subs mail 0 at) (char value) (subs mail (min to (inc at)))))))
                mail
                edits)))))
