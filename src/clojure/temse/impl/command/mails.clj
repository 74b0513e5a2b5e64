(ns temse.impl.command.mails
  "The mails that arguments of a command name: in files, pipes, directories and mailboxes.

  An entry is {:title :mail}, or {:title :problem} for what is no mail that can be sent. Entries are
  read when they are needed."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments]
   [temse.impl.text :as text]
   [temse.mail :as mail])
  (:import
   (java.io File IOException)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(defn- address
  [_ text]
  (if (string/starts-with? text "<") text (str "<" text ">")))

(def envelope-options
  "Rows for the table of a command."
  [["--from ADDRESS" "sender; <> for none (default: <sender@example.org>, in a FILE the
                     Return-Path or From)"
    address]
   ["--rcpt ADDRESS" "recipient, may be repeated (default: <recipient@example.com>, in a
                     FILE those of To, Cc and Bcc)"
    address :repeated]])

(defn envelope
  "Returns the envelope that parsed options give all mails, as far as they give one."
  [{:keys [from rcpt]}]
  (cond-> {}
    from (assoc :sender from)
    rcpt (assoc :recipients rcpt)))

(defn- attempt
  "Returns what f returns, or one entry with its problem."
  [title f]
  (let [failed (fn [e] [{:title title, :problem (or (ex-message e) (str e))}])]
    (try
      (f)
      (catch IOException e (failed e))
      (catch IllegalArgumentException e (failed e))
      (catch MilterException e (failed e)))))

(defn- entry
  [title given]
  (first (attempt title (fn [] [{:title title, :mail (mail/->mail given)}]))))

(defn- files
  "Returns the files of a directory, by name; of a maildir the new mails first, then the others."
  [^File directory]
  (let [maildir (filter #(.isDirectory ^File %) (map #(io/file directory %) ["new" "cur"]))
        mail? (fn [^File file]
                (and (not (.isHidden file))
                     (or (.isFile file) (not (.exists file)))))]
    (for [^File part (if (= 2 (count maildir)) maildir [directory])
          ^File file (sort (.listFiles part))
          :when (mail? file)]
      file)))

(defn- file-entry
  [envelope title file]
  (if-let [problem (arguments/unreadable file)]
    {:title title, :problem problem}
    (entry title (assoc envelope :message file))))

(defn- file-entries
  [envelope title ^File file]
  (if (and (.isDirectory file) (.canRead file))
    (or (seq (map #(file-entry envelope (str %) %) (files file)))
        [{:title title, :problem "there is no mail in this directory"}])
    [(file-entry envelope title file)]))

(defn of-argument
  "Returns the entries of an argument: a file or a pipe, a directory with a mail in each file, a maildir,
  or - for the standard input. The envelope {:sender :recipients} is that of all its mails, as far as
  it has one."
  [envelope argument]
  (if (= "-" argument)
    [(entry argument (assoc envelope :message System/in))]
    (file-entries envelope argument (io/file argument))))

(defn of-mailbox
  "Returns the entries of a mailbox, or of - for one on the standard input."
  [envelope path]
  (if-let [problem (when (not= "-" path)
                     (arguments/unreadable path))]
    [{:title path, :problem problem}]
    (attempt path
             (fn []
               (let [messages (mail/read-mbox (if (= "-" path) System/in (io/file path)) envelope)]
                 (if (seq messages)
                   (map-indexed #(entry (str path " " (inc (long %1))) %2) messages)
                   [{:title path, :problem "the mailbox is empty"}]))))))

(defn entries
  "Returns the entries of arguments and mailboxes."
  [envelope arguments mailboxes]
  (concat (mapcat #(of-argument envelope %) arguments)
          (mapcat #(of-mailbox envelope %) mailboxes)))

;; ---- trees

(defn- by-name
  [^File directory]
  (sort (remove #(.isHidden ^File %) (.listFiles directory))))

(defn- files-below
  "Returns the paths of the files of a path. A directory that lies in itself, by a link, is left out there."
  [path above]
  (let [file (io/file path)
        maildir (filter #(.isDirectory ^File %) (map #(io/file file %) ["new" "cur"]))]
    (if (and (.isDirectory file) (.canRead file))
      (let [directory (.getCanonicalPath file)]
        (when-not (above directory)
          (mapcat #(files-below (str %) (conj above directory))
                  (if (= 2 (count maildir)) maildir (by-name file)))))
      [path])))

(defn tree
  "Returns the paths of the files of an argument, those of a directory however deep they lie; of a maildir
  only its new and cur. The standard input, -, is what it is."
  [argument]
  (if (= "-" argument)
    [argument]
    (files-below argument #{})))

(defn of-file
  "Returns the entries of a file of a tree: one whose name ends in .mbox is a mailbox."
  [envelope path]
  (if (string/ends-with? (text/lower-case path) ".mbox")
    (of-mailbox envelope path)
    (of-argument envelope path)))
