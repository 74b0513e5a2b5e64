(ns temse.impl.setup.sendmail-checks
  "What may be wrong with the configuration of a Sendmail for a filter: a table of checks."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.impl.macros :as macros]
   [temse.impl.setup.common :as common :refer [finding]]
   [temse.impl.setup.needs :as needs]
   [temse.impl.setup.sendmail-cf :as cf]
   [temse.impl.text :as text])
  (:import
   (temse.client MtaStyle)
   (temse.transport Endpoint Endpoint$Inet Endpoint$Unix)))

(set! *warn-on-reflection* true)

;; ---- the lines

(defn- host
  "Returns the host of an endpoint as Sendmail takes it: it knows no literal addresses of IPv6."
  [^Endpoint$Inet endpoint]
  (let [host (common/host-to-connect endpoint)]
    (if (= "::1" host) "localhost" host)))

(defn address-for
  "Returns the address by which Sendmail reaches an endpoint, in its notation: without brackets, and with a
  name in the place of an IPv6 address, which there is for ::1 only."
  [^Endpoint endpoint]
  (if (instance? Endpoint$Unix endpoint)
    (str endpoint)
    (str (if (.v6 ^Endpoint$Inet endpoint) "inet6:" "inet:") (.port ^Endpoint$Inet endpoint) "@" (host endpoint))))

(defn filter-name
  "Returns a title as the name of a filter of Sendmail, which holds no white space and no comma."
  [title]
  (let [plain (string/replace title #"[^A-Za-z0-9_.-]+" "_")]
    (if (seq plain) plain "filter")))

(def ^:private order ["C" "S" "R" "E"])

(defn- duration
  [ms]
  (let [s (common/seconds ms)]
    (if (zero? (rem s 60)) (str (quot s 60) "m") (str s "s"))))

(defn- equates
  "Returns the equates of a filter as both files write them."
  [{:keys [socket flags timeouts]}]
  (let [changed (filter #(not= (timeouts %) (cf/default-timeouts %)) order)]
    (str "S=" socket
         (when (seq flags) (str ", F=" flags))
         (when (seq changed)
           (str ", T=" (string/join ";" (map #(str % ":" (duration (timeouts %))) changed)))))))

(defn filter-lines
  "Returns the lines that define a filter: {:name :socket :flags :timeouts}, see `cf/parse`."
  [{:keys [name] :as milter}]
  [["sendmail.mc" (str "INPUT_MAIL_FILTER(`" name "', `" (equates milter) "')dnl")]
   ["sendmail.cf" (str "X" name ", " (equates milter))]])

(defn- list-lines
  "Returns the lines that name the filters which mail passes, in their order."
  [names]
  [["sendmail.mc" (str "define(`confINPUT_MAIL_FILTERS', `" (string/join ", " names) "')dnl")]
   ["sendmail.cf" (str "O InputMailFilters=" (string/join ", " names))]])

(defn timeouts-for
  "Returns timeouts that are not below given ones, and longer than the handlers of a filter may take."
  [needs timeouts]
  (let [at-least (fn [timeouts letter events progress?]
                   (let [needed (long (needs/patience needs events progress?))]
                     (cond-> timeouts
                       (and (pos? needed) (<= (long (timeouts letter)) needed))
                       (assoc letter (* 1000 (long (common/enough needed)))))))]
    (-> timeouts
        (at-least "R" any? #{:end-of-message})
        (at-least "E" #{:end-of-message} (constantly false)))))

;; ---- which filter is meant

(defn- wrong-notation
  "Returns the endpoint of a socket that is not written as Sendmail wants it, or nil."
  [socket]
  (when (and socket (re-matches #"inet6?:[^@]+:[0-9]+" socket))
    (common/parsed socket)))

(defn- meant?
  "Returns true if a filter of the file is the one of a setup; every one where it is not known where that
  listens."
  [{:keys [endpoint]} {:keys [socket]}]
  (or (nil? endpoint)
      (let [to (some-> socket common/guessed)]
        (boolean (and to (common/reaches? to endpoint))))))

(defn- ours
  [{:keys [cf] :as setup}]
  (filter #(meant? setup %) (:filters cf)))

;; ---- what is right

(defn- right-notation?
  [socket]
  (boolean (re-matches #"(?s)inet6?:[^:@]+@[^:@\[\]]+|(unix|local):/.+|/.+" socket)))

(defn- right-flags
  [flags]
  (let [letters (map (comp text/upper-case str) flags)]
    (if (and (seq flags) (re-matches #"[TR4\s]+" flags))
      flags
      (or (first (filter #{"T" "R" "4"} letters)) "T"))))

(defn- mended
  "Returns a filter of the file with all that is wrong with its X line put right."
  [{:keys [needs] :as setup} {:keys [socket flags timeouts] :as milter}]
  (let [endpoint (when-not (right-notation? (or socket "")) (some-> socket common/guessed))]
    (cond-> (assoc milter :flags (right-flags flags))
      endpoint (assoc :socket (address-for endpoint))
      (and needs (meant? setup milter)) (assoc :timeouts (timeouts-for needs timeouts)))))

(defn- mended-lines
  [setup milter]
  (filter-lines (mended setup milter)))

(defn- breaks-what-was-signed?
  [{:keys [needs endpoint]}]
  (boolean (and endpoint needs (common/breaks-signatures? needs))))

(defn- by-name
  [{:keys [cf]}]
  (into {} (map (juxt :name identity)) (reverse (:filters cf))))

(defn- title-and-socket
  [setup title]
  (str title " " (:socket ((by-name setup) title))))

(defn- ours-by-name?
  [setup title]
  (boolean (some->> title ((by-name setup)) (meant? setup))))

(defn- without-same-sockets
  [setup names]
  (let [socket #(:socket ((by-name setup) %))]
    (reduce (fn [kept title]
              (if (and (socket title) (some #{(socket title)} (map socket kept)))
                kept
                (conj kept title)))
            [] names)))

(defn- mended-list
  "Returns the lines of InputMailFilters with all that is wrong with it put right, and with other names
  added."
  [{:keys [cf] :as setup} & more]
  (let [used (cf/input-filters cf)
        defined (set (map :name (:filters cf)))
        right #(if (defined %) % (keys/closest % (remove (set used) defined)))
        names (without-same-sockets setup (distinct (concat (keep right used) more)))]
    (list-lines (if (breaks-what-was-signed? setup)
                  (common/signed-last names #(title-and-socket setup %) #(ours-by-name? setup %))
                  names))))

;; ---- is it there

(defn- not-configured
  [{:keys [endpoint cf needs] :as setup}]
  (when (and endpoint (empty? (ours setup)))
    (let [title (filter-name (:title needs "filter"))]
      [(apply finding (str "no mail passes the filter: no X line has S=" (address-for endpoint))
              (concat (filter-lines {:name title
                                     :socket (address-for endpoint)
                                     :flags "T"
                                     :timeouts (timeouts-for needs (assoc cf/default-timeouts "S" 30000 "R" 30000))})
                      [["sendmail.cf" (str "O InputMailFilters=" (string/join ", " (concat (cf/input-filters cf) [title])))]]))])))

(defn- not-an-input-filter
  [{:keys [cf] :as setup}]
  (let [used (set (cf/input-filters cf))
        sockets (into #{} (comp (filter (comp used :name)) (map :socket)) (:filters cf))]
    (for [{:keys [name line socket]} (ours setup)
          :when (not (or (used name) (sockets socket)))]
      (apply finding (str "sendmail.cf, line " line ": mail does not pass the filter " name ": the option InputMailFilters does"
                          " not name it. In sendmail.mc, MAIL_FILTER defines a filter, and INPUT_MAIL_FILTER uses it, too")
             (mended-list setup name)))))

(defn- undefined
  [{:keys [cf] :as setup}]
  (for [name (cf/input-filters cf)
        :when (not ((by-name setup) name))]
    (apply finding (str "InputMailFilters names " name ", and no X line defines it: Sendmail does not start")
           (mended-list setup))))

(defn- defined-twice
  [{:keys [cf] :as setup}]
  (for [[name [milter & again]] (group-by :name (:filters cf))
        {:keys [line]} again]
    (apply finding (str "sendmail.cf, line " line ": the filter " name " is defined twice: Sendmail does not start")
           (mended-lines setup milter))))

(defn- same-socket
  [{:keys [cf] :as setup}]
  (for [[socket titles] (group-by #(:socket ((by-name setup) %)) (distinct (cf/input-filters cf)))
        :when (and socket (next titles))]
    (apply finding (str "the filters " (string/join " and " titles) " have one socket, " socket ": each mail passes it twice")
           (mended-list setup))))

(defn- named-twice
  [{:keys [cf] :as setup}]
  (for [[name times] (frequencies (cf/input-filters cf))
        :when (< 1 (long times))]
    (apply finding (str "InputMailFilters names " name " twice: each mail passes it twice")
           (mended-list setup))))

;; ---- the X line

(defn- malformed
  [{:keys [cf] :as setup}]
  (for [{:keys [line problems name socket] :as milter} (:filters cf)
        :when (and (meant? setup milter) (or (seq problems) (string/blank? socket)))]
    (apply finding (str "sendmail.cf, line " line ": the filter " name ": "
                        (string/join "; " (or (seq problems) ["S= is missing: it has no socket"])))
           (when-not (string/blank? socket)
             (mended-lines setup milter)))))

(defn- in-postfix-notation
  [setup]
  (for [{:keys [line socket name] :as milter} (ours setup)
        :let [endpoint (wrong-notation socket)]
        :when endpoint]
    (apply finding (str "sendmail.cf, line " line ": " name ": " socket " is Postfix's notation; Sendmail writes inet:PORT@HOST, and does not"
                        " start")
           (mended-lines setup milter))))

(defn- unknown-transport
  [setup]
  (for [{:keys [line socket name] :as milter} (ours setup)
        :when (not (or (string/blank? socket) (right-notation? socket) (wrong-notation socket)))]
    (apply finding (str "sendmail.cf, line " line ": " name ": " socket " is no address of a milter: Sendmail wants inet:PORT@HOST,"
                        " inet6:PORT@NAME or unix:PATH, with an absolute path, without brackets, and without IPv6 addresses: it"
                        " does not start, or cannot reach the filter")
           (when (common/guessed socket)
             (mended-lines setup milter)))))

(defn- passes
  [setup]
  (for [{:keys [line flags name] :as milter} (ours setup)
        :when (string/blank? flags)]
    (apply finding (str "sendmail.cf, line " line ": " name " has no F=: mail passes unfiltered while the filter does not run, or"
                        " takes too long")
           (mended-lines setup milter))))

(defn- unknown-flags
  [setup]
  (for [{:keys [line flags name] :as milter} (ours setup)
        :when (not (or (string/blank? flags) (= flags (right-flags flags))))]
    (apply finding (str "sendmail.cf, line " line ": " name " has F=" flags ", and Sendmail knows T, R and 4: if it knows no letter,"
                        " mail passes unfiltered while the filter does not run")
           (mended-lines setup milter))))

(defn- short-timeout
  [{:keys [needs] :as setup} letter words]
  (when needs
    (for [{:keys [line name timeouts] :as milter} (ours setup)
          :let [right (timeouts-for needs timeouts)]
          :when (not= (timeouts letter) (right letter))]
      (apply finding (str "sendmail.cf, line " line ": " name ": Sendmail waits " (duration (timeouts letter)) " " words
                          " (T=" letter "), and the filter may take " (- (long (common/seconds (right letter))) 5)
                          "s: the mail is then lost to the filter, and F= decides")
             (mended-lines setup milter)))))

;; ---- macros

(def ^:private stages
  "The names of stages in sendmail.cf and sendmail.mc."
  {:connect ["connect" "CONNECT"]
   :hello ["helo" "HELO"]
   :mail ["envfrom" "ENVFROM"]
   :recipient ["envrcpt" "ENVRCPT"]
   :data ["data" "DATA"]
   :end-of-headers ["eoh" "EOH"]
   :end-of-message ["eom" "EOM"]})

(def own-macros
  "The macros that Sendmail's m4 files configure, stage to bare names."
  (common/own-macros MtaStyle/SENDMAIL))

(defn- configured-macros
  [cf]
  (update-vals stages (fn [[title]]
                        (mapv macros/bare-name (cf/names (cf/option cf (str "Milter.macros." title)))))))

(defn macro-lines
  "Returns the lines with which Sendmail sends macros at a stage."
  [stage names]
  (let [[in-cf in-mc] (stages stage)
        listed (string/join ", " names)]
    [["sendmail.mc" (str "define(`confMILTER_MACROS_" in-mc "', `" listed "')dnl")]
     ["sendmail.cf" (str "O Milter.macros." in-cf "=" listed)]]))

(defn- macro-check
  [check]
  (fn [{:keys [cf needs]}]
    (when needs
      (check :sendmail needs (configured-macros cf) own-macros macro-lines))))

(defn- no-queue-id
  [{:keys [cf needs]}]
  (when needs
    (common/no-queue-id :sendmail needs (configured-macros cf) macro-lines
                        [:mail :recipient :data :end-of-headers :end-of-message])))

(defn- end-of-message-list
  [{:keys [needs]}]
  (when (and (contains? (:given needs) :end-of-message) (not (contains? (:given needs) :end-of-headers)))
    [(finding (str "Sendmail uses the list of macros that a filter asks for at :end-of-message only if there is one of"
                   " :end-of-headers, too")
              (common/request-macros needs {:end-of-headers ["i"]}))]))

;; ---- others

(defn- progress-elsewhere
  [{:keys [needs]}]
  (when-let [elsewhere (seq (sort (disj (:progress-events needs) :end-of-message)))]
    [(finding (str "the filter reports progress at " (string/join ", " elsewhere) ", where Sendmail takes it for a broken answer"
                   " and drops the filter")
              ["filter" ":progress-events #{:end-of-message}"])]))

(defn- signed-before
  [{:keys [cf] :as setup}]
  (when (breaks-what-was-signed? setup)
    (let [signers (common/signed-before (cf/input-filters cf) #(title-and-socket setup %) #(ours-by-name? setup %))]
      (when (seq signers)
        [(apply finding (str "InputMailFilters: " (string/join ", " signers) " signs mail before the filter, which may change it: the"
                             " signatures would be broken")
                (mended-list setup))]))))

(defn- socket-paths
  [{:keys [look endpoint] :as setup}]
  (when look
    (distinct (for [{:keys [socket]} (ours setup)
                    :let [to (some-> socket common/guessed)]
                    :when (and endpoint (instance? Endpoint$Unix to))]
                (str (.path ^Endpoint$Unix to))))))

(defn- unsafe-directories
  [{:keys [look] :as setup}]
  (for [path (socket-paths setup)
        directory (common/directories-above path)
        :let [found (look directory)]
        :when (and found
                   (not (zero? (bit-and 022 (long (:mode found)))))
                   (zero? (bit-and 01000 (long (:mode found)))))]
    (finding (str "Sendmail does not trust a socket below " directory ", in which others than its owner may write, and does not"
                  " start")
             ["shell" (str "chmod go-w " directory)])))

(defn- missing-directories
  [{:keys [look] :as setup}]
  (for [path (socket-paths setup)
        :let [directory (last (common/directories-above path))]
        :when (nil? (look directory))]
    (finding (str "there is no directory " directory ", in which the filter could make its socket")
             ["shell" (str "install -d -o temse -m 0755 " directory)])))

(defn- other-files
  [{:keys [look] :as setup}]
  (for [path (socket-paths setup)
        :let [found (look path)]
        :when (and found (not= :socket (:kind found)))]
    (finding (str path " is no socket, and the filter will not replace it")
             ["shell" (str "mv " path " " path ".old")])))

;; ---- the table

(def x-line-checks
  "The checks of the X line of a filter, in the shape of `checks`."
  [[:malformed "an X line that Sendmail does not understand" malformed]
   [:postfix-notation "S=inet:HOST:PORT in place of inet:PORT@HOST" in-postfix-notation]
   [:unknown-transport "an S= that Sendmail does not take" unknown-transport]
   [:passes "no F=" passes]
   [:unknown-flag "a letter in F= that there is not" unknown-flags]
   [:read-timeout "T=R too short for the filter's handlers" #(short-timeout % "R" "for an answer")]
   [:end-timeout "T=E too short for the filter's end of a message" #(short-timeout % "E" "for the end of a message")]
   [:not-an-input-filter "a filter that InputMailFilters does not name" not-an-input-filter]])

(def checks
  "Every check: its name, what it finds, and a function of a setup that returns findings, see
  temse.impl.setup.common."
  (into x-line-checks
        [[:not-configured "no X line has the filter's address" not-configured]
         [:undefined "InputMailFilters names a filter that no X line defines" undefined]
         [:defined-twice "two X lines of one name" defined-twice]
         [:same-socket "two filters of one socket" same-socket]
         [:duplicate "InputMailFilters names a filter twice" named-twice]
         [:macros-not-sent "macros that the filter reads and Sendmail does not send" (macro-check common/macros-not-sent)]
         [:macros-replaced "a list of macros that leaves out what Sendmail sends of itself and the filter reads"
          (macro-check common/macros-replaced)]
         [:no-queue-id "lists of macros without the queue id" no-queue-id]
         [:end-of-message-list "macros that are asked for at the end of a message alone" end-of-message-list]
         [:unknown-macro "macros that the filter reads and no MTA knows" (fn [{:keys [needs]}] (common/unknown-macros needs))]
         [:progress-elsewhere "progress at other events than the end of a message" progress-elsewhere]
         [:signed-before "a milter that signs mail in front of a filter that changes it" signed-before]
         [:unsafe-directory "a directory above the socket in which others may write" unsafe-directories]
         [:no-directory "the directory of the socket is missing" missing-directories]
         [:no-socket "a file that is no socket in its place" other-files]
         [:open-to-all "a filter that listens on all addresses" (fn [{:keys [endpoint]}] (common/open-to-all endpoint))]]))
