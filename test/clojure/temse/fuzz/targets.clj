(ns temse.fuzz.targets
  "What is fuzzed: functions of a byte array that throw where a property does not hold. bin/fuzz has
  Jazzer call them, temse.fuzz-test calls them with the inputs below test/fuzz.

  Beside its own properties each target may allocate memory in proportion to its input only."
  (:require
   [clojure.string :as string])
  (:import
   (com.sun.management ThreadMXBean)
   (java.lang.management ManagementFactory)
   (java.util Arrays)))

(set! *warn-on-reflection* true)

(def targets
  "The functions by the names of their targets, in the order in which bin/fuzz runs them."
  (array-map
    "packets" 'temse.fuzz.wire/packets
    "events" 'temse.fuzz.wire/events
    "actions" 'temse.fuzz.wire/actions
    "negotiation" 'temse.fuzz.wire/negotiation
    "engine" 'temse.fuzz.engine/engine
    "engine-model" 'temse.fuzz.engine/engine-model
    "client" 'temse.fuzz.peers/client
    "server" 'temse.fuzz.peers/server
    "tap" 'temse.fuzz.peers/tap
    "mail" 'temse.fuzz.mails/mail
    "mailbox" 'temse.fuzz.mails/mailbox
    "address" 'temse.fuzz.mails/address
    "domain" 'temse.fuzz.mails/domain
    "mime" 'temse.fuzz.mails/mime
    "decode-header" 'temse.fuzz.mails/decode-header
    "header-editing" 'temse.fuzz.edits/header-editing
    "redaction" 'temse.fuzz.files/redaction
    "recording" 'temse.fuzz.files/recording
    "capture" 'temse.fuzz.files/capture
    "postfix-cf" 'temse.fuzz.files/postfix-cf
    "sendmail-cf" 'temse.fuzz.files/sendmail-cf
    "temse-edn" 'temse.fuzz.files/temse-edn
    "milter-regex" 'temse.fuzz.files/milter-regex))

;; ---- memory

(def ^:private least-bytes
  "What a target may allocate whatever its input is."
  16777216)

(def ^:private bytes-per-byte
  "What it may allocate besides for each byte of its input. Most of it is for what Jazzer adds."
  131072)

(def ^:private ^ThreadMXBean threads
  (ManagementFactory/getThreadMXBean))

(defn- allocated
  "Returns how many bytes this thread allocates while f works on an input."
  [f input]
  (let [before (.getCurrentThreadAllocatedBytes threads)]
    (f input)
    (- (.getCurrentThreadAllocatedBytes threads) before)))

(defn bounded
  "Returns a function that runs f and throws where it allocates too much each time of four: what is loaded and
  instrumented meanwhile counts, too."
  [f]
  (fn [^bytes input]
    (let [most (+ (long least-bytes) (* (long bytes-per-byte) (alength input)))]
      (loop [left 4]
        (let [bytes (long (allocated f input))]
          (when (< most bytes)
            (if (< 1 left)
              (recur (dec left))
              (throw (AssertionError. (str "it allocates " bytes " bytes, more than " most ", for " (alength input)))))))))))

;; ---- targets by their names

(declare checked)

(defn- by-first-byte
  "Returns the target of all targets: the first byte says which."
  []
  (let [all (mapv checked (keys targets))]
    (fn [^bytes input]
      (when (pos? (alength input))
        (when-let [target (get all (- (aget input 0) (int \A)))]
          (target (Arrays/copyOfRange input 1 (alength input))))))))

(defn letter
  "Returns the byte that stands for a target where all are fuzzed in one process."
  [title]
  (+ (int \A) (.indexOf ^java.util.List (vec (keys targets)) title)))

(defn checked
  "Returns the function of a target, with the bound on its memory; \"all\" is the target of all."
  [title]
  (if (= "all" title)
    (by-first-byte)
    (bounded (requiring-resolve (or (targets title)
                                    (throw (IllegalArgumentException.
                                             (str "there is no target " title "; there are "
                                                  (string/join ", " (keys targets))))))))))

(defn -main
  "Prints the names of the targets, one a line."
  []
  (run! println (keys targets)))
