(ns temse.impl.file-watch
  "Files that change: what they were at a moment, and a thread that calls a function when they have
  changed and no change follows any more.

  Whether a file has changed is decided by comparing. The JDK's WatchService (inotify on Linux) only
  says when to look; where it does not work, and for file systems of other machines, whose changes it
  does not notice, there is a look at intervals."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log])
  (:import
   (java.io Closeable File IOException)
   (java.nio.file ClosedWatchServiceException Files LinkOption NoSuchFileException Path StandardWatchEventKinds WatchEvent$Kind WatchService)
   (java.nio.file.attribute BasicFileAttributes)
   (java.util.concurrent CountDownLatch TimeUnit)
   (java.util.zip CRC32)))

(set! *warn-on-reflection* true)

;; ---- what files are

(def ^:private largest-compared
  "Bytes of a file whose content is compared: the time of a file may stay while it is written."
  1048576)

(defn- checksum
  [^bytes content]
  (.getValue (doto (CRC32.) (.update content))))

(defn- signature
  "Returns what distinguishes a file from what it was: :missing, or a map in which :key stays while it is
  written and is another one when another file has taken its name."
  [^File file]
  (try
    (let [path (.toPath file)
          attributes (Files/readAttributes path BasicFileAttributes ^"[Ljava.nio.file.LinkOption;" (make-array LinkOption 0))
          size (.size attributes)]
      {:key (str (.fileKey attributes))
       :time (str (.lastModifiedTime attributes))
       :size size
       :checksum (when (and (.isRegularFile attributes) (<= size (long largest-compared)))
                   (checksum (Files/readAllBytes path)))})
    (catch NoSuchFileException _ :missing)
    (catch IOException e [:unreadable (str (class e))])))

(defn snapshot
  "Returns what files are now, a map of file to what is compared."
  [files]
  (into {} (map (juxt identity signature)) files))

(defn changed
  "Returns those files of a snapshot that are different in a later one, sorted; a file that one of the
  two lacks has changed."
  [before after]
  (sort (filter #(not= (get before %) (get after %))
                (keys (merge before after)))))

(defn- rewritten?
  "Returns true if a file may be half-written, as it may not be if another file has taken its name."
  [before after]
  (or (= :missing after) (= (:key before) (:key after))))

(defn changed-in-place
  "Returns those files that were written between two snapshots, or have gone, and not just replaced by
  others."
  [before after]
  (filter #(rewritten? (before %) (after %)) (changed before after)))

;; ---- until nothing changes

(def ^:private replaced
  "Files took the place of others, each of which is whole: how long nothing is to change, and after which
  time what there is counts although changes follow each other. Milliseconds."
  {:quiet 20, :at-most 200})

(def ^:private rewritten
  "The same where a file was written, or has gone."
  {:quiet 100, :at-most 2000})

(defn settled
  "Returns a snapshot of what `files` returns, as soon as no change has followed the last one for a while.
  `sleep` is called with milliseconds."
  ([before files]
   (settled before files #(Thread/sleep (long %))))
  ([before files sleep]
   (let [start (System/nanoTime)]
     (loop [before before
            now (snapshot (files))]
       (let [{:keys [quiet at-most]} (if (seq (changed-in-place before now)) rewritten replaced)]
         (sleep quiet)
         (let [later (snapshot (files))]
           (if (or (= now later) (< (* 1000000 (long at-most)) (- (System/nanoTime) start)))
             later
             (recur now later))))))))

;; ---- when to look

(def ^:private kinds
  (into-array WatchEvent$Kind [StandardWatchEventKinds/ENTRY_CREATE
                               StandardWatchEventKinds/ENTRY_MODIFY
                               StandardWatchEventKinds/ENTRY_DELETE]))

(def ^:private most-directories
  "Directories of which changes are reported; those beyond are looked at."
  1000)

(defn- visible?
  [^File file]
  (and (.isDirectory file) (not (string/starts-with? (.getName file) "."))))

(defn below
  "Returns directories and those below them, the nearest first, and not more than a thousand. Hidden ones
  are left out."
  [directories]
  (loop [found [], level (distinct (filter #(.isDirectory ^File %) directories))]
    (if (or (empty? level) (<= (long most-directories) (count found)))
      (take most-directories (distinct found))
      (recur (into found level)
             (into [] (comp (mapcat #(.listFiles ^File %)) (filter visible?)) level)))))

(defn- register
  "Asks to be told of changes in directories, also of those that it was asked for before."
  [^WatchService service directories]
  (doseq [^File directory directories]
    (try
      (.register (.toPath directory) service kinds)
      (catch NoSuchFileException _))))

(defn- open-service
  "Returns a WatchService for directories, or nil where there can be none."
  [directories]
  (try
    (let [service (.newWatchService (.getFileSystem (Path/of "" (make-array String 0))))]
      (try
        (register service directories)
        service
        (catch IOException _
          (.close service))))
    (catch IOException _)
    (catch UnsupportedOperationException _)))

(defn- await-alarm
  "Waits until something has changed in a directory, at most for the milliseconds."
  [^WatchService service millis]
  (when-let [key (.poll service (long millis) TimeUnit/MILLISECONDS)]
    (loop [key key]
      (.pollEvents key)
      (.reset key)
      (when-let [more (.poll service)]
        (recur more)))))

(defn start
  "Calls `on-change` with the files that have changed, in a thread of its own, until the result is
  closed. Options:

    :files        ; function that returns the files that matter now
    :known        ; function that returns the snapshot with which they are compared
    :directories  ; function that returns directories: what changes in them, and in those of files, is
                  ; noticed at once
    :on-change    ; function of a sequence of files; it makes `known` return a later snapshot
    :poll?        ; whether the WatchService is not to be used (default: false)
    :interval     ; milliseconds between looks (default: 1000, or 200 without a WatchService)"
  ^Closeable [{:keys [files known directories on-change poll? interval]}]
  (let [all-directories #(distinct (concat (directories)
                                           (keep (fn [^File file] (.getParentFile file)) (files))))
        service (when-not poll? (open-service (all-directories)))
        interval (or interval (if service 1000 200))
        closed (CountDownLatch. 1)
        look (fn []
               (when (seq (changed (known) (snapshot (files))))
                 (when-let [files (seq (changed (known) (settled (known) files)))]
                   (on-change files)))
               (when service
                 (try
                   (register service (all-directories))
                   (catch IOException _))))
        run (fn []
              (try
                (while (pos? (.getCount closed))
                  (try
                    (look)
                    (catch InterruptedException e
                      (throw e))
                    (catch ClosedWatchServiceException e
                      (throw e))
                    (catch Exception e
                      (log/log "temse" :error e "a change of files could not be looked at")))
                  (if service
                    (await-alarm service interval)
                    (.await closed (long interval) TimeUnit/MILLISECONDS)))
                (catch ClosedWatchServiceException _)
                (catch InterruptedException _)))
        thread (doto (Thread. ^Runnable run "temse-watch")
                 (.setDaemon true)
                 (.start))]
    (reify Closeable
      (close [_]
        (.countDown closed)
        (when service
          (.close ^WatchService service))
        (.join ^Thread thread 5000)))))
