(ns temse.impl.command.dump
  "The command dump: what a filter sees of a mail, as events or as a whole message."
  {:no-doc true}
  (:require
   [clojure.pprint :as pprint]
   [clojure.string :as string]
   [temse.filter :as filter]
   [temse.impl.command.arguments :as arguments]
   [temse.impl.command.client :as client]
   [temse.impl.command.document :as document]
   [temse.impl.command.mails :as mails]
   [temse.impl.command.terminal :as terminal]
   [temse.impl.line :as line]
   [temse.mail :as mail]
   [temse.milter :as milter]
   [temse.test :as mt])
  (:import
   (java.util Arrays)
   (temse.protocol Printable Text)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse dump [OPTIONS] MAIL..."]
   :about ["Shows what a filter sees of mails: the events in turn, or with --message the map"
           "that temse.filter makes of them, and the parts of the mail."
           ""
           "MAIL is a mail in the Internet message format (.eml), a directory with a mail in"
           "each file, a maildir, or - for a mail on the standard input."]
   :options (concat
              ["the mails"]
              mails/envelope-options
              [["--mbox FILE" "all mails of a mailbox, may be repeated" arguments/text :repeated]]
              ["the MTA and its client"]
              (remove (comp #(re-find #"timeout" %) first) client/options)
              ["the output"
               ["-v, --verbose" "the macros before each event, too"]
               ["--message" "the message as a whole, and its MIME parts"]
               ["--edn" "events, or the message, as EDN, one line each"]
               ["--bytes N" "of a body that are shown (default: 2000)" (arguments/whole-number 0 999999999)]])
   :exit "0, or 2 after an error."})

(def ^:private most-bytes 2000)

;; ---- what is seen

(def ^:private events
  [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message])

(defn- seen-events
  "Returns the events that a filter gets of a mail, maps with the macros that have come before under
  :macros."
  [mail options]
  (let [seen (atom [])
        note (fn [{:keys [event] :as e} context]
               (swap! seen conj (assoc e :macros (get (milter/macros context) event)))
               context)]
    (mt/run-message {:handlers (zipmap events (repeat note))} mail options)
    @seen))

(defn- seen-message
  "Returns the message map that a message filter gets of a mail, with its body as bytes."
  [mail options]
  (let [seen (atom nil)]
    (mt/run-message {:handlers (filter/message-filter (fn [{:keys [body] :as message} _]
                                                        (reset! seen (assoc message :body (mail/body-bytes body)))
                                                        nil))}
                    mail
                    options)
    @seen))

;; ---- bodies

(defn- cut
  "Returns the beginning of a body, and how many bytes follow."
  [^bytes body most]
  (let [shown (min (alength body) (long most))]
    [(Text/decode (Arrays/copyOf body (int shown))) (- (alength body) shown)]))

(defn- more-text
  [n]
  (str "... " n " more bytes"))

(defn- body-lines
  [body most]
  (let [[text more] (cut body most)]
    (concat (when (seq text)
              (map #(str "  | " (line/printable %)) (string/split-lines text)))
            (when (pos? (long more))
              [(str "  " (more-text more))]))))

(defn- without-rest
  "Returns a map whose body, bytes under a key, is a text, cut with the number of bytes that follow under
  :more-bytes."
  [m k most]
  (if-let [body (get m k)]
    (let [[text more] (cut body most)]
      (cond-> (assoc m k text)
        (pos? (long more)) (assoc :more-bytes more)))
    m))

;; ---- events

(defn- event-lines
  [{:keys [event name value data macros] :as e} most verbose]
  (concat
    (when (and verbose (seq macros))
      [(line/printable (str "  macros " (string/join " " (for [[k v] (sort macros)] (str k "=" v)))))])
    [(if (= :header event)
       (line/printable (str "header " name ": " value))
       (line/event-text e))]
    (when (= :body event)
      (body-lines data most))))

;; ---- messages

(defn- pretty-lines
  "Returns data as lines of EDN; strings keep their characters but those that would steer a terminal."
  [value]
  (binding [*print-namespace-maps* false
            pprint/*print-right-margin* 100]
    (map #(Printable/of ^String % Integer/MAX_VALUE) (string/split-lines (with-out-str (pprint/pprint value))))))

(defn- mime
  "Returns a function of temse.mime, or nil without mime4j."
  [function-name]
  (try
    (requiring-resolve (symbol "temse.mime" function-name))
    (catch Throwable _)))

(defn- part-line
  [names {:keys [path type declared-type reason charset encoding disposition content-start end body? container? protection] :as part}]
  (str (string/join (repeat (* 2 (count path)) " "))
       (line/word (if (= :unparsed type)
                    (str declared-type ", not taken apart: " (name (or reason :unparsed)))
                    type))
       (string/join
         (for [text [(when charset (str "charset " charset))
                     (when-not container? encoding)
                     disposition
                     (when protection (name protection))
                     (when (seq (names part))
                       (str "named " (string/join ", also " (map pr-str (names part)))))
                     (when (and content-start end) (str (- (long end) (long content-start)) " bytes"))
                     (when body? "the text that readers show")]
               :when text]
           (str ", " (line/word text))))))

(defn- decoded-fields
  "Returns lines of the header fields that hold encoded words."
  [headers]
  (let [decode (mime "decode-header")]
    (for [[field value] headers
          :let [text (decode value)]
          :when (not= text (string/replace value "\n" ""))
          :when (string/includes? value "=?")]
      (line/printable (str "  " field ": " text)))))

(defn- part-lines
  [{:keys [headers] :as message}]
  (if-let [parts (mime "parts")]
    (let [decoded (decoded-fields headers)]
      (concat (when (seq decoded) (cons "decoded" decoded))
              ["parts"]
              (map #(str "  " (part-line (mime "filenames") %)) (parts message))))
    ["parts: not shown, since org.apache.james/apache-mime4j-core is not on the class path"]))

(defn- message-lines
  [message most]
  (concat (pretty-lines (without-rest message :body most))
          (part-lines message)))

;; ---- the command

(defn- lines-of
  [mail options {:keys [message edn verbose bytes]}]
  (let [most (or bytes most-bytes)]
    (cond
      (and message edn) [(document/edn (without-rest (seen-message mail options) :body most))]
      message (message-lines (seen-message mail options) most)
      edn (map #(document/edn (without-rest (if verbose % (dissoc % :macros)) :data most)) (seen-events mail options))
      :else (mapcat #(event-lines % most verbose) (seen-events mail options)))))

(defn- dump
  [{:keys [words mbox edn] :as parsed}]
  (let [entries (mails/entries (mails/envelope parsed) words mbox)
        several? (next entries)
        options (merge (client/session-options parsed) (client/identity-of parsed))]
    (when (empty? entries)
      (arguments/misused command "name mails"))
    (reduce (fn [code [n {:keys [title mail problem]}]]
              (if problem
                (do
                  (arguments/print-problem title ": " problem)
                  arguments/failed)
                (do
                  (when (and several? (not edn))
                    (when (pos? (long n))
                      (println))
                    (arguments/say title))
                  (run! terminal/print-line (lines-of mail options parsed))
                  code)))
            0
            (map-indexed vector entries))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args dump))
