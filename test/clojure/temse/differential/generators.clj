(ns temse.differential.generators
  "Conversations, legal and nasty."
  (:require
   [clojure.string :as str]
   [clojure.test.check.generators :as gen]))

(set! *warn-on-reflection* true)

;; Octets

(def ^:private octet
  (gen/frequency [[8 gen/char-alphanumeric]
                  [1 (gen/elements [\space \{ \} \% \< \> \= \| \tab \newline])]
                  [1 (gen/fmap char (gen/choose 1 255))]]))

(def ^:private text
  (gen/frequency [[3 (gen/fmap str/join (gen/vector octet 0 8))]
                  [1 (gen/elements ["" "Gr\u00c3\u00bcn" "\u00ff\u00fe" "100%"])]]))

(defn- strings [& texts]
  (str/join (map #(str % "\u0000") texts)))

(defn- frame [code & parts]
  [code (vec (remove #{""} parts))])

;; Offers

(def ^:private all-actions 0x1FF)

(def ^:private all-protocol 0x1FFFFF)

(def ^:private skip 0x400)

(def ^:private common-offers
  [[6 all-actions all-protocol]
   [6 all-actions all-protocol]
   [6 all-actions all-protocol]
   [5 all-actions 0x37F]
   [4 all-actions 0x37F]
   [3 all-actions 0x17F]
   [2 all-actions 0x7F]
   [2 0x3F 0x7F]
   [2 all-actions 0xFF]])

(defn- bits [mask]
  (filter #(bit-test (long mask) %) (range 32)))

(def ^:private odd-offers
  (gen/one-of
    [(gen/fmap (fn [bit] [6 (bit-clear all-actions bit) all-protocol])
               (gen/elements (bits all-actions)))
     (gen/fmap (fn [bit] [6 all-actions (bit-clear all-protocol bit)])
               (gen/elements (bits all-protocol)))
     (gen/fmap (fn [bit] [6 (bit-shift-left 1 bit) all-protocol]) (gen/elements (bits all-actions)))
     (gen/fmap (fn [bit] [6 all-actions (bit-shift-left 1 bit)]) (gen/elements (bits all-protocol)))
     (gen/tuple (gen/choose 2 6) (gen/choose 0 all-actions) (gen/choose 0 all-protocol))
     (gen/elements [[6 0 0] [2 0 0] [6 all-actions 0] [6 0 all-protocol]
                    [1 all-actions 0x3F] [0 0 0] [7 all-actions all-protocol]
                    [0x7FFFFFFF all-actions all-protocol] [0xFFFFFFFF all-actions all-protocol]
                    [6 all-actions 0x101FFFFF] [6 all-actions 0x201FFFFF] [6 0xFFFF 0x4FFFFFFF]])]))

(defn- without-skip
  "A plain filter asks for no skip, and temse always does."
  [[version actions protocol]]
  [version actions (bit-and-not protocol skip)])

(defn- offer [variant offers]
  (cond->> (gen/fmap #(cond-> % (= :plain variant) without-skip) offers)
    (= :plain variant) (gen/frequency-of-skip)
    true (gen/fmap #(vector "O" %))))
