(ns temse.impl.recording.store
  "Where recordings are kept, in memory or in files, and which are forgotten.

  A store is a map of functions for one thread: :keep, of a recording and the bytes of memory that it
  takes, which returns false for one that is too large by itself; and :kept, which returns the
  recordings, the oldest first."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.tools.logging :as log]
   [temse.impl.options :as options]
   [temse.impl.recording.file :as recording-file])
  (:import
   (java.io File IOException)
   (java.util ArrayDeque)))

(set! *warn-on-reflection* true)

(defn- bounded
  "Returns functions of things that are kept within the limits: :add, of a thing and its size, which
  returns false where it is not kept, and :things. Those that are not kept are given to `forget`."
  [{:keys [max-conversations max-bytes]} forget]
  (let [entries (ArrayDeque.)
        total (long-array 1)
        grow (fn [size] (aset total 0 (+ (aget total 0) (long size))))
        forget-oldest (fn []
                        (let [[thing size] (.removeFirst entries)]
                          (grow (- (long size)))
                          (forget thing)))]
    {:add (fn [thing size]
            (if (< (long max-bytes) (long size))
              (do (forget thing)
                  false)
              (do (.addLast entries [thing size])
                  (grow size)
                  (while (or (< (long max-conversations) (.size entries))
                             (< (long max-bytes) (aget total 0)))
                    (forget-oldest))
                  true)))
     :things #(mapv first entries)}))

(defn in-memory
  "Returns a store that holds recordings."
  [options]
  (let [{:keys [add things]} (bounded options identity)]
    {:keep add
     :kept things}))

;; ---- files

(defn- size-of
  [files]
  (transduce (map #(.length ^File %)) + files))

(defn- delete
  [files]
  (run! #(.delete ^File %) files))

(defn read-all
  "Returns the recordings in a directory, the oldest first."
  [directory]
  (mapv (comp recording-file/read-file first) (recording-file/files directory)))

(defn- checked-directory
  ^File [given]
  (let [directory (io/file given)]
    (recording-file/make-directory directory)
    (delete (recording-file/unfinished directory))
    (try
      (when-not (recording-file/private? directory)
        (log/warn "recordings in" given "may be read by other users: its file system keeps no permissions"))
      (catch IOException _
        (throw (options/bad-option :directory given
                                   (str "recordings cannot be written to " directory
                                        ": it is no directory, or not for this process")))))
    directory))

(defn in-directory
  "Returns a store that writes recordings to a directory. The recordings that the directory holds
  already count, too; what an earlier process has left unfinished there is removed.

  Throws :bad-options if the directory cannot be written to."
  [{:keys [directory max-body] :as options}]
  (let [directory (checked-directory directory)
        {:keys [add]} (bounded options delete)
        number (volatile! 0)]
    (run! #(add % (size-of %)) (recording-file/files directory))
    {:keep (fn [recording _]
             (let [file (io/file directory (recording-file/file-name recording (vswap! number inc)))
                   files (recording-file/write recording file max-body)]
               (add files (size-of files))))
     :kept #(read-all directory)}))
