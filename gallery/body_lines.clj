(ns body-lines
  "The lines of a body, while it comes in. Both functions return one that takes a piece of the body, a
  byte array, and returns the lines that end in it; without arguments, when the body is over, it
  returns what is left. A line is a string whose characters are bytes, as ISO-8859-1 decodes them.

  LF ends a line, a CR before it belongs to the end, and so does NUL. What is too long for one line is
  cut in pieces, each of which begins with the end of the one before."
  (:require
   [temse.mime :as mime])
  (:import
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private max-line
  "How many bytes wait for the end of their line."
  65536)

(def ^:private overlap
  "With how many of these bytes the next piece begins."
  1024)

(defn- without-cr
  [^String line]
  (if (.endsWith line "\r") (subs line 0 (dec (count line))) line))

(defn- cut
  "Returns the lines that end in a text, and what is left."
  [^String text]
  (loop [from 0, lines []]
    (let [lf (.indexOf text "\n" from)
          nul (.indexOf text "\u0000" from)
          end (if (or (neg? nul) (< -1 lf nul)) lf nul)]
      (cond
        (<= 0 end)
        (let [line (subs text from end)]
          (recur (inc end) (conj lines (if (= lf end) (without-cr line) line))))

        (<= (long max-line) (- (count text) from))
        (recur (- (count text) (long overlap)) (conj lines (subs text from)))

        :else [lines (subs text from)]))))

(defn- scanner
  "Returns a function of texts whose characters are bytes. It returns one line more than the number,
  or, if that is 0, all."
  [max-lines]
  (let [left (volatile! "")
        returned (volatile! 0)
        some-of (fn [lines]
                  (let [room (if (zero? (long max-lines))
                               (count lines)
                               (- (inc (long max-lines)) (long @returned)))]
                    (vswap! returned + (count lines))
                    (take room lines)))]
    (fn
      ([]
       (let [line @left]
         (vreset! left "")
         (some-of (when-not (empty? line) [(without-cr line)]))))
      ([text]
       (let [[lines more] (cut (str @left text))]
         (vreset! left more)
         (some-of lines))))))

(defn raw
  "Returns a scanner of the body as it is."
  [max-lines]
  (let [scan (scanner max-lines)]
    (fn
      ([] (scan))
      ([^bytes piece] (scan (String. piece "ISO-8859-1"))))))

(defn decoded
  "Returns a scanner of the texts in the body, each decoded from transfer encoding and charset, in
  UTF-8. Where a text ends, its last line ends."
  [headers max-lines]
  (let [scan-texts (mime/text-scanner (or headers []))
        scan (scanner max-lines)
        path (volatile! nil)
        taken (fn [{:keys [part text]}]
                (let [before (when (not= @path (:path part)) (scan))]
                  (vreset! path (:path part))
                  (into (vec before) (scan (String. (Text/encodeBytes text) "ISO-8859-1")))))]
    (fn
      ([] (into (into [] (mapcat taken) (scan-texts)) (scan)))
      ([piece] (into [] (mapcat taken) (scan-texts piece))))))
