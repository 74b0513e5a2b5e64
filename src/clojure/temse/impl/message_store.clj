(ns temse.impl.message-store
  "Options of what keeps messages: how many bytes, and where."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [temse.impl.keys :as keys]
   [temse.impl.text :as text])
  (:import
   (java.io File)
   (java.nio.file Path)
   (temse.message Exceeded MessageStore MessageStore$Builder)))

(set! *warn-on-reflection* true)

(def ^:private octets
  ["a number of bytes, 0 or more" nat-int?])

(def table
  "Every option: what it must be, in words and as a predicate, and its default."
  {:max-message (conj octets 268435456)
   :when-exceeded [":truncate, :defer, :reject or :accept" #{:truncate :defer :reject :accept}
                   :defer]
   :memory-per-message (conj octets 65536)
   :message-memory (conj octets 67108864)
   :directory ["a directory: a string, File or Path"
               #(some (fn [c] (instance? c %)) [String File Path])
               (System/getProperty "java.io.tmpdir")]})

(defn store
  "Returns the MessageStore of options, of which all may be missing."
  ^MessageStore [given]
  (let [{:keys [max-message when-exceeded memory-per-message message-memory directory]}
        (keys/with-defaults "the options of messages" given table)]
    (-> (doto (MessageStore/builder)
          (.maximumMessage (long max-message))
          (.whenExceeded (Exceeded/valueOf (text/upper-case (name when-exceeded))))
          (.memoryPerMessage (long memory-per-message))
          (.messageMemory (long message-memory))
          (.directory (.toPath (io/file (str directory)))))
        (as-> builder (.build ^MessageStore$Builder builder)))))
