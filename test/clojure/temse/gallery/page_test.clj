(ns temse.gallery.page-test
  "The settings that doc/gallery.org shows are right."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.database :as database]
   [temse.gallery.support :as support]
   [temse.impl.shared-rate :as shared-rate]
   [temse.periodic :as periodic])
  (:import
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(defn- settings
  "Returns the settings that the page shows below a heading."
  [heading]
  (let [section (second (re-find (re-pattern (str "(?s)\\n\\* " heading "\\n(.*?)(?=\\n\\* |\\z)"))
                                 (slurp "doc/gallery.org")))]
    (edn/read-string (second (re-find #"(?s)#\+begin_src edn\n(.*?)#\+end_src" section)))))

(defn- in-directory
  "Returns settings with names of files and databases that lie in a directory."
  [directory settings]
  (cond-> settings
    (:maildir settings) (update :maildir #(str (io/file directory (.getName (io/file %)))))
    (:database settings) (update-in [:database :url] string/replace "sqlite:" (str "sqlite:" directory "/"))))

(deftest settings-on-the-page-load
  (let [directory (.toFile (Files/createTempDirectory "temse-page-" (make-array FileAttribute 0)))]
    (try
      (doseq [heading ["disclaimer" "attachments" "archive" "own-sender" "authentication-results" "rate-limit" "clacks"]
              :let [shown (in-directory directory (settings heading))]]
        (is (map? (support/configured (string/replace heading "-" "_") shown)) heading)
        (when-let [used (:database shown)]
          (periodic/stop [::shared-rate/expiry used])
          (.close (database/database used))))
      (finally
        (run! io/delete-file (reverse (file-seq directory)))))))
