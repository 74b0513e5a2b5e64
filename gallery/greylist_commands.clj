(ns greylist-commands
  "The commands of greylist.clj: list, show, expire and import."
  (:require
   [clojure.java.io :as io]
   [greylist-store :as store]
   [temse.network :as network]))

(set! *warn-on-reflection* true)

(defn- print-triplets
  [triplets]
  (println "# Network\tSender\tRecipient\tTime accepted, or until which it is known (AUTO)")
  (run! (comp println store/line-of) triplets))

(defn- import-file
  [settings store file]
  (let [{:keys [triplets wrong examples]} (with-open [reader (io/reader file)]
                                            (store/import-lines! store (line-seq reader) settings))]
    (doseq [[number line] examples]
      (println (str file ":" number ": no triplet: " line)))
    (println (str triplets " triplets imported, " wrong " lines not understood"))
    (if (zero? (long wrong)) 0 1)))

(defn- usage
  []
  (println "The command is list, show ADDRESS, expire or import FILE")
  2)

(defn run
  "Runs a command, prints what it finds, and returns its exit code."
  [{{:keys [ipv4 ipv6]} :network-lengths :as settings} store now command args]
  (case [command (count args)]
    ["list" 0] (do (print-triplets (store/triplets store)) 0)
    ["show" 1] (let [[address] args]
                 (print-triplets (store/about store (network/around address ipv4 ipv6) address))
                 0)
    ["expire" 0] (do (println (str (store/expire! store now) " triplets removed")) 0)
    ["import" 1] (import-file settings store (first args))
    (usage)))
