(ns temse.file-watch-test
  (:require
   [clojure.java.io :as io]
   [clojure.test :refer [deftest is testing]]
   [temse.impl.file-watch :as file-watch]
   [temse.support :as support])
  (:import
   (java.io Closeable File)
   (java.nio.file CopyOption Files StandardCopyOption)
   (java.nio.file.attribute FileAttribute FileTime)
   (java.util.concurrent LinkedBlockingQueue TimeUnit)))

(set! *warn-on-reflection* true)

(defn- with-directory
  [f]
  (let [directory (.toFile (Files/createTempDirectory "temse-watch-" (make-array FileAttribute 0)))]
    (try
      (f directory)
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))

(defn- replace-file
  "Puts another file with a text in the place of a file, at once."
  [^File file text]
  (let [new (io/file (.getParentFile file) (str "." (.getName file) ".new"))]
    (spit new text)
    (Files/move (.toPath new) (.toPath file)
                (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE StandardCopyOption/REPLACE_EXISTING]))))

(defn- with-watched
  "Calls f with a file, and a function that returns the names of the files of the next change."
  [options f]
  (with-directory
    (fn [directory]
      (let [files [(io/file directory "a.clj") (io/file directory "below" "b.clj")]
            told (LinkedBlockingQueue.)]
        (run! io/make-parents files)
        (run! #(spit % "1") files)
        (let [known (atom (file-watch/snapshot files))]
          (with-open [_ ^Closeable (file-watch/start
                                     (merge {:files (constantly files)
                                             :known #(deref known)
                                             :directories (constantly [directory])
                                             :on-change (fn [changed]
                                                          (reset! known (file-watch/snapshot files))
                                                          (.add told (map #(.getName ^File %) changed)))}
                                            options))]
            (f files #(.poll told 10 TimeUnit/SECONDS))))))))

(deftest changes-are-told-with-and-without-the-watch-service
  (doseq [options [{:interval 3600000} {:poll? true, :interval 5}]]
    (testing options
      (with-watched options
        (fn [[a b] next-change]
          (spit a "2")
          (is (= ["a.clj"] (next-change)))
          (replace-file b "2")
          (is (= ["b.clj"] (next-change)))
          (io/delete-file b)
          (is (= ["b.clj"] (next-change)))
          (spit b "2")
          (is (= ["b.clj"] (next-change))))))))

(deftest a-directory-that-goes-and-comes-is-watched-again
  (with-watched {:interval 20}
    (fn [[_ ^File b] next-change]
      (io/delete-file b)
      (io/delete-file (.getParentFile b))
      (is (= ["b.clj"] (next-change)))
      (io/make-parents b)
      (spit b "3")
      (is (= ["b.clj"] (next-change)))
      (spit b "4")
      (is (= ["b.clj"] (next-change))))))

(deftest a-file-differs-by-its-content-even-if-its-time-and-size-stay
  (with-directory
    (fn [directory]
      (let [file (io/file directory "a.clj")
            write (fn [text]
                    (spit file text)
                    (Files/setLastModifiedTime (.toPath file) (FileTime/fromMillis 1000)))
            _ (write "(def x 1)")
            before (file-watch/snapshot [file])]
        (write "(def x 2)")
        (is (= [file] (file-watch/changed before (file-watch/snapshot [file]))))
        (write "(def x 1)")
        (is (= [] (file-watch/changed before (file-watch/snapshot [file]))))))))

(deftest a-file-that-is-written-piece-by-piece-settles-when-it-is-whole
  (with-directory
    (fn [directory]
      (let [file (io/file directory "a.clj")
            _ (spit file "old")
            before (file-watch/snapshot [file])
            pieces (atom ["(def " "filter " "{})"])
            slept (atom [])
            write-more (fn [millis]
                         (swap! slept conj millis)
                         (when-let [piece (first @pieces)]
                           (swap! pieces rest)
                           (spit file piece :append true)))]
        (spit file "")
        (let [settled (file-watch/settled before (constantly [file]) write-more)]
          (is (= "(def filter {})" (slurp file)))
          (is (= settled (file-watch/snapshot [file])))
          (is (= [100 100 100 100] @slept)))
        (testing "one that is replaced, sooner, and one that is missing not so soon"
          (let [before (file-watch/snapshot [file])]
            (replace-file file "new")
            (file-watch/settled before (constantly [file]) write-more)
            (is (= 20 (peek @slept)))
            (io/delete-file file)
            (file-watch/settled before (constantly [file]) write-more)
            (is (= 100 (peek @slept)))
            (spit file "")))))))

(deftest what-was-written-in-place-is-told-from-what-was-replaced
  (with-directory
    (fn [directory]
      (let [[written replaced gone same :as files] (map #(io/file directory %) ["a" "b" "c" "d"])]
        (run! #(spit % "1") files)
        (let [before (file-watch/snapshot files)]
          (spit written "2")
          (replace-file replaced "2")
          (io/delete-file gone)
          (let [after (file-watch/snapshot files)]
            (is (= [written replaced gone] (file-watch/changed before after)))
            (is (= [written gone] (file-watch/changed-in-place before after)))
            (is (not-any? #{same} (file-watch/changed before after)))))))))

(deftest directories-below-are-bounded-and-hidden-ones-left-out
  (with-directory
    (fn [directory]
      (let [named (fn [& path] (apply io/file directory path))]
        (run! #(.mkdirs ^File %) [(named "b" "c") (named ".git" "objects")])
        (is (= [directory (named "b") (named "b" "c")] (file-watch/below [directory (named "missing")])))
        (dotimes [n 1100]
          (.mkdir ^File (named "b" (str n))))
        (is (= 1000 (count (file-watch/below [directory]))))))))
