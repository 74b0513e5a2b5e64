(ns temse.impl.command.redact
  "Options of the commands that record: what must not be kept."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments]
   [temse.impl.recording.redaction :as redaction])
  (:import
   (java.io IOException)))

(set! *warn-on-reflection* true)

(def ^:private kinds
  (into {} (map (juxt name identity)) redaction/kinds))

(def options
  "See temse.impl.command.arguments."
  ["Recordings are redacted by:"
   ["--redact" "removes everything that identifies people or their mail"]
   ["--keep KIND" (str "but keeps these: " (string/join ", " (sort (keys kinds))) "; may be repeated, as the next two")
    (arguments/one-of kinds) :repeated]
   ["--keep-header NAME" "but keeps a header field as it is" arguments/text :repeated]
   ["--keep-macro NAME" "but keeps a macro as it is" arguments/text :repeated]
   ["--redact-key FILE" "a text that makes equal hashes in several recordings (default: a random one, which is not kept)"
    arguments/text]])

(defn- key-in
  [file]
  (let [text (try
               (string/trim (slurp file))
               (catch IOException e
                 (arguments/fail "--redact-key: " file ": " (ex-message e))))]
    (if (= "" text)
      (arguments/fail "--redact-key: " file " is empty")
      text)))

(defn of-parsed
  "Returns the option :redact of a recorder that the parsed arguments of a command ask for, or nil."
  [command {:keys [redact keep keep-header keep-macro redact-key]}]
  (cond
    redact (cond-> {:keep (or keep []), :keep-headers (or keep-header []), :keep-macros (or keep-macro [])}
             redact-key (assoc :key (key-in redact-key)))
    (or keep keep-header keep-macro redact-key)
    (arguments/misused command "what is kept, and the key, go with --redact")))
