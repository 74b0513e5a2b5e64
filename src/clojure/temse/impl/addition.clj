(ns temse.impl.addition
  "What is put behind the text of a part: in plain text and in HTML, and whether it is there already."
  {:no-doc true}
  (:require
   [clojure.string :as string]))

(set! *warn-on-reflection* true)

;; ---- HTML

(defn- escaped
  "Returns text for an HTML document in any charset."
  [text]
  (let [out (StringBuilder.)]
    (run! (fn [c]
            (let [c (long c)]
              (if (< c 0x80)
                (.append out (char c))
                (-> out (.append "&#") (.append c) (.append ";")))))
          (iterator-seq (.iterator (.codePoints ^String text))))
    (str out)))

(defn html-of
  "Returns plain text as HTML."
  [plain]
  (str "<div>"
       (-> plain
           (string/replace "&" "&amp;")
           (string/replace "<" "&lt;")
           (string/replace ">" "&gt;")
           (string/replace #"\r?\n" "<br>\r\n"))
       "</div>"))

(defn- last-tag
  "Returns where the last of an HTML document's tags that begin like this stands, or nil."
  [^String html ^String tag]
  (loop [i (- (.length html) (.length tag))]
    (cond
      (neg? i) nil
      (.regionMatches html true i tag 0 (.length tag)) i
      :else (recur (dec i)))))

(defn- body-end
  "Returns where the body of an HTML document ends."
  [html]
  (or (last-tag html "</body") (last-tag html "</html") (count html)))

(defn with-html
  "Returns an HTML document with HTML before the end of its body."
  [html addition]
  (let [at (body-end html)]
    (str (subs html 0 at) (escaped addition) (subs html at))))

;; ---- plain text

(defn- flowed-lines
  "Returns lines as format=flowed has them: none goes on in the next one (RFC 3676)."
  [lines]
  (for [line lines
        :let [line (if (= "-- " line) line (string/trimr line))]]
    (if (re-find #"^(?: |>|From )" line) (str " " line) line)))

(defn with-plain
  "Returns plain text with more behind it."
  [plain addition flowed?]
  (let [goes-on? (and flowed? (re-find #" (?:\r?\n)?\z" plain) (not (re-find #"(?:\A|\n)-- (?:\r?\n)?\z" plain)))
        line-end (if (re-find #"(?<!\r)\n" plain) "\n" "\r\n")
        lines (cond-> (string/split addition #"\r?\n" -1)
                flowed? flowed-lines)]
    (str plain
         (when-not (or (= "" plain) (string/ends-with? plain "\n")) line-end)
         (when goes-on? line-end)
         (string/join line-end lines))))

;; ---- is it there already?

(def ^:private letter-names
  "What HTML calls the letters of Latin 1."
  (zipmap (string/split (str "Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute"
                             " Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc"
                             " Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute"
                             " ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide"
                             " oslash ugrave uacute ucirc uuml yacute thorn yuml")
                        #" ")
          (map (comp str char) (range 0xC0 0x100))))

(defn- reference-text
  "Returns what a character reference of HTML stands for, as far as it may be a letter or digit."
  [[_ decimal hexadecimal letter]]
  (let [code (cond
               decimal (parse-long decimal)
               hexadecimal (Long/parseLong hexadecimal 16))]
    (cond
      (and code (Character/isValidCodePoint (int code))) (Character/toString (int code))
      letter (letter-names letter "")
      :else "")))

(defn- html-text
  [html]
  (-> html
      (string/replace #"<[^<>]*>" "")
      (string/replace #"&(?:#([0-9]{1,7})|#[xX]([0-9A-Fa-f]{1,6})|([A-Za-z]{1,8}));" reference-text)))

(defn- letters
  "Returns the letters and digits of a text, which stay the same when it is quoted or wrapped."
  [text]
  (string/replace text #"[^\p{L}\p{N}]+" ""))

(defn ends-with?
  "Returns true if a text, plain or HTML, ends with an addition, however it is quoted, wrapped or marked up.
  One without letters and digits must be there as it is."
  [text addition html?]
  (let [text (cond-> text html? (subs 0 (body-end text)))
        wanted (letters (cond-> addition html? html-text))]
    (if (= "" wanted)
      (string/ends-with? (string/trimr text) (string/trimr (cond-> addition html? escaped)))
      (string/ends-with? (letters (cond-> text html? html-text)) wanted))))
