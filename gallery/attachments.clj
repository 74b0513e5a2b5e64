(ns attachments
  "Refuses mail with forbidden files: by name, type and what they are, also in archives and attached mails.

    bin/temse run gallery/attachments.clj --listen inet:20025@127.0.0.1 -- attachments.edn

    {:rules [{:extensions [\"exe\" \"js\"] :then :reject :text \"No programs\"}
             {:names [\"(?i)vbaproject\\\\.bin$\"] :then :quarantine}]}

  The first rule that holds for a file decides about it, and the worst of all decisions about the mail: reject,
  then defer, then quarantine. A rule holds if one of the values under each of its keys does:

    :extensions  ; of the name, without the dot
    :names       ; regular expressions (re2j), found in the name
    :types       ; media types of parts
    :kinds       ; what bytes say, see file_kinds.clj: :executable, :ole, :rar …
    :problems    ; why it cannot be looked into, see mail_files.clj: :encrypted, :damaged, :too-large …
    :then        ; :reject, :defer, :quarantine or :accept, which spares the file, not what is in it, and, without
                 ; :problems, none that cannot be looked into
    :text        ; what the sender reads, %s being the file (default: \"Forbidden attachment: %s\")

  All names count that programs may see, see file_names.clj and mail_files.clj. The other settings:

    :rules              ; (default: programs, shortcuts and scripts of Windows, partial mails)
    :encrypted-archive  ; what becomes of archives with a password (default: :reject)
    :encrypted-mail     ; of parts in S/MIME and OpenPGP (default: :reject)
    :unreadable         ; of what cannot be looked into, such as damaged files; not :accept (default: :reject)
    :max-depth          ; archives and mails in each other (default: 8)
    :max-files          ; files in all of them (default: 10000)
    :max-bytes          ; bytes that they unpack to (default: 268435456)
    :max-ratio          ; by how much an archive may grow, beyond 10 MiB (default: 200)
    :directory          ; where files over 64 KiB lie meanwhile (default: the property java.io.tmpdir)
    :max-message        ; bytes of a mail; a longer one is deferred (default: 268435456)

  Where the directory is full, mail is deferred."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [file-kinds]
   [file-names]
   [mail-files]
   [temse.action :as act]
   [temse.configuration :refer [read-settings settings?]]
   [temse.filter :refer [message-filter]])
  (:import
   (com.google.re2j Pattern)
   (java.util Locale)))

(set! *warn-on-reflection* true)

(def ^:private default-rules
  [{:extensions ["ade" "adp" "app" "appref-ms" "application" "bat" "chm" "cmd" "com" "cpl" "dll" "exe" "gadget" "hlp" "hta"
                 "inf" "ins" "isp" "jar" "js" "jse" "lnk" "mde" "msc" "msi" "msp" "mst" "pif" "ps1" "reg" "scf" "scr"
                 "sct" "shb" "sys" "url" "vb" "vbe" "vbs" "vhd" "vhdx" "wsc" "wsf" "wsh" "xll"]
    :then :reject}
   {:kinds [:executable] :then :reject}
   {:names ["\\.\\{[0-9a-fA-F-]+\\}$"] :then :reject}
   {:types ["message/partial" "message/external-body"] :then :reject}])

(def ^:private severity
  {:accept 0, :quarantine 1, :defer 2, :reject 3})

(defn- sequence-of
  [words right?]
  [(str "a sequence of " words) #(and (sequential? %) (every? right? %)) nil])

(defn- some-of
  [known]
  (sequence-of (str "some of " (string/join ", " (sort known))) known))

(def ^:private rule
  (let [texts (fn [words form] (sequence-of words #(and (string? %) (re-matches form %))))]
    {:extensions (texts "extensions without the dot, such as \"exe\"" #"[^\s.*?/\\]+")
     :types (texts "media types such as \"image/gif\"" #"[^\s/;*?]+/[^\s/;*?]+")
     :kinds (some-of file-kinds/known), :problems (some-of mail-files/problems)
     :names (sequence-of "regular expressions" #(Pattern/compile %))
     :then [":reject, :defer, :quarantine or :accept" severity], :text ["a string" string? nil]}))

(defn- rule?
  [given]
  (and ((settings? rule) given) (some seq (vals (dissoc given :then :text)))))

(def ^:private settings
  (let [outcome [":reject, :defer, :quarantine or :accept" severity :reject]
        number (fn [default] ["a number, 1 or more" pos-int? default])]
    {:rules ["a vector of rules such as {:extensions [\"exe\"] :then :reject}" #(and (sequential? %) (every? rule? %)) default-rules]
     :encrypted-archive outcome
     :encrypted-mail outcome
     :unreadable [":reject, :defer or :quarantine" (dissoc severity :accept) :reject]
     :max-depth (number 8)
     :max-files (number 10000)
     :max-bytes (number 268435456)
     :max-ratio (number 200)
     :directory ["the name of a directory" string? nil]
     :max-message (number 268435456)}))

(defn- holds
  "Returns a rule as a function of a file, a map with its :spellings. One that accepts must hold for all names."
  [{:keys [extensions names types kinds problems then]}]
  (let [fits? (if (= :accept then) #(and (seq %2) (every? %1 %2)) some)
        lower-case #(.toLowerCase ^String % Locale/ROOT)
        extensions (set (map lower-case extensions))
        patterns (mapv #(Pattern/compile %) names)
        types (set (map lower-case types))
        kinds (set kinds)
        problems (set (if (and (= :accept then) (empty? problems)) [nil] problems))
        found? (fn [^String spelling] (some #(.find (.matcher ^Pattern % spelling)) patterns))]
    (apply every-pred
           (cond-> []
             (seq extensions) (conj #(fits? extensions (map file-names/extension (:spellings %))))
             (seq patterns) (conj #(fits? found? (:spellings %)))
             (seq types) (conj #(types (:type %)))
             (seq kinds) (conj #(fits? kinds (:kinds %)))
             (seq problems) (conj #(contains? problems (:problem %)))))))

(defn- decision
  "Returns {:then :text :why} for a file."
  [rules {:keys [encrypted-archive encrypted-mail unreadable]} {:keys [names within problem] :as file}]
  (let [file (assoc file :spellings (distinct (mapcat file-names/spellings names)))
        {:keys [then text] :as rule} (some (fn [[rule holds?]] (when (holds? file) rule)) rules)
        why {:names names, :within within}]
    (cond
      rule {:then then, :text (or text "Forbidden attachment: %s"), :why (assoc why :rule rule)}
      problem {:then ({:encrypted encrypted-archive, :encrypted-mail encrypted-mail} problem unreadable)
               :text (str "Attachment that cannot be examined (" (name problem) "): %s")
               :why (assoc why :problem problem)}
      :else {:then :accept})))

(defn- reply-text
  "Returns a text for an SMTP reply that names a file: up to 200 characters of visible ASCII."
  [text {:keys [names within]}]
  (let [text (-> text
                 (string/replace "%s" (string/join "/" (concat within (take 1 names))))
                 (string/replace #"[^ -~]" "?"))]
    (subs text 0 (min 200 (count text)))))

(defn- actions
  [{:keys [then text why]}]
  (case then
    :reject [(assoc (act/reply-code 550 "5.7.1" (reply-text text why)) :why why)]
    :defer [(assoc (act/reply-code 451 "4.7.1" (reply-text text why)) :why why)]
    :quarantine [(assoc (act/quarantine (reply-text text why)) :why why)]
    :accept []))

(defn filter
  ([] (filter nil))
  ([file]
   (let [{:keys [rules max-message] :as settings} (read-settings file settings)
         rules (mapv (juxt identity holds) rules)]
     {:handlers (message-filter (fn [message _context]
                                  (let [worst (volatile! {:then :accept})]
                                    (mail-files/walk message
                                                     settings
                                                     #(vswap! worst (partial max-key (comp severity :then))
                                                              (decision rules settings %)))
                                    (actions @worst)))
                                {:max-message max-message})
      :actions #{:quarantine}})))
