(ns archive
  "Keeps a copy of each mail: on disk before the client receives the reply that it is accepted.

    bin/temse run gallery/archive.clj --listen inet:20025@127.0.0.1 -- archive.edn

  Settings, each with its default:

    :maildir \"archive\"   ; a directory, which is made if it does not exist
    :mbox nil            ; a file in the format mboxrd, in place of :maildir; not both

  Each copy is the header and the body octet by octet as the MTA shows them, with CR LF, below fields of the
  envelope: Return-Path, X-Envelope-From and, one for each recipient, X-Envelope-To, with ESMTP parameters.
  Files have mode 0600. In a Maildir a mail is a file in new/, written and synced in tmp/ and moved when it is
  complete, with a name that no other process or machine makes; what a killed process has left in tmp/ is
  deleted 36 hours later. An mbox is locked (fcntl, as Postfix and Dovecot do), and cut off again where it
  cannot be written; if the machine stops meanwhile, the beginning of a mail may stay there, whose client was
  given no reply and sends it again.

  What cannot be kept, as the disk is full or the directory cannot be written, is deferred. The end of a mail
  is when it is kept, and the MTA has not said yes then: one that a later filter or the MTA still refuses is
  in the archive, too, and one that is sent again is there twice. It is kept as this filter sees it: put the
  filter behind those that change mail. The MTA's own Received field is added later."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [mailboxes :refer [append-to-mbox keep-in-maildir make-maildir]]
   [temse.configuration :refer [bad-setting read-settings]]
   [temse.filter :refer [message-filter]])
  (:import
   (java.io InputStream SequenceInputStream)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- content
  "Returns a stream of a mail below the fields of its envelope."
  ^InputStream [{:keys [sender options recipients recipient-options headers body]}]
  (let [field (fn [field-name value] (str field-name ":" value "\r\n"))
        path (fn [address parameters] (str " " (string/join " " (cons address parameters))))
        header (concat [(field "Return-Path" (path sender nil))
                        (field "X-Envelope-From" (path sender options))]
                       (map #(field "X-Envelope-To" (path %1 %2))
                            recipients
                            (concat recipient-options (repeat nil)))
                       (for [[field-name value raw] headers]
                         (field field-name (string/replace (or raw (str " " value)) "\n" "\r\n")))
                       ["\r\n"])]
    (SequenceInputStream. (io/input-stream (Text/encodeBytes (string/join header)))
                          (io/input-stream body))))

(defn- keeper
  "Returns a function that keeps a message, for the settings in a file."
  [file {:keys [maildir mbox]}]
  (when (and maildir mbox)
    (throw (bad-setting file :mbox "mail is kept in one place: give :maildir or :mbox, not both")))
  (if mbox
    (let [file (.getAbsoluteFile (io/file mbox))]
      (fn [message]
        (with-open [in (content message)]
          (append-to-mbox file (:sender message) in))))
    (let [directory (.getAbsoluteFile (io/file (or maildir "archive")))]
      (make-maildir directory)
      (fn [message]
        (with-open [in (content message)]
          (keep-in-maildir directory in))))))

(def ^:private table
  {:maildir ["the name of a directory, or nil" #(or (nil? %) (string? %)) nil]
   :mbox ["the name of a file, or nil" #(or (nil? %) (string? %)) nil]})

(defn filter
  ([] (filter nil))
  ([file]
   (let [keep! (keeper file (read-settings file table))]
     {:handlers (message-filter (fn [message context] (keep! message) context) {:max-message Long/MAX_VALUE})
      :leading-space? true
      :actions #{}})))
