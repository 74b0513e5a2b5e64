(ns temse.impl.setup.machine
  "What this machine has: the configuration of its MTA, files as an MTA sees them, and groups of users."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string])
  (:import
   (java.io File IOException)
   (java.nio.file Files LinkOption Path)))

(set! *warn-on-reflection* true)

(def ^:private directories-of-commands
  (delay (distinct (concat (string/split (or (System/getenv "PATH") "") #":") ["/usr/sbin" "/usr/local/sbin" "/sbin"]))))

(defn- command-file
  "Returns the path of a command of this machine, or nil."
  [title]
  (some (fn [directory]
          (let [file (io/file directory title)]
            (when (and (.isFile file) (.canExecute file))
              (str file))))
        @directories-of-commands))

(defn- output
  "Returns what a command prints, or nil if it cannot be run or fails."
  [title & arguments]
  (when-let [command (command-file title)]
    (try
      (let [process (-> (ProcessBuilder. ^java.util.List (cons command arguments))
                        (.redirectError java.lang.ProcessBuilder$Redirect/DISCARD)
                        (.start))
            _ (.close (.getOutputStream process))
            text (slurp (.getInputStream process))]
        (when (zero? (.waitFor process))
          text))
      (catch IOException _))))

(defn postfix-directory
  "Returns the directory of this machine's main.cf, or nil without Postfix."
  ^File []
  (some-> (or (output "postconf" "-h" "config_directory")
              (output "postconf" "-d" "-h" "config_directory"))
          string/trim
          not-empty
          io/file))

(defn groups
  "Returns the names of the groups of a user, a set, at least the one with the user's name."
  [user]
  (into #{user} (some-> (output "id" "-Gn" user) (string/split #"\s+"))))

(def ^:private kinds
  {0140000 :socket, 0040000 :directory, 0100000 :file})

(defn look
  "Returns what is at a path, {:kind :socket, :owner \"temse\", :group \"postfix\", :mode 0660}, or nil if there
  is nothing, or nothing that this user may see. Links are followed. Other kinds are :directory, :file and
  :other."
  [path]
  (try
    (let [found (Files/readAttributes (Path/of path (make-array String 0)) "unix:mode,owner,group" ^"[Ljava.nio.file.LinkOption;" (make-array LinkOption 0))
          mode (long (.get found "mode"))]
      {:kind (kinds (bit-and 0170000 mode) :other)
       :owner (str (.get found "owner"))
       :group (str (.get found "group"))
       :mode (bit-and 07777 mode)})
    (catch IOException _)))
