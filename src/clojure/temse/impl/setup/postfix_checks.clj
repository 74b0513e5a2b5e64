(ns temse.impl.setup.postfix-checks
  "What may be wrong with the configuration of a Postfix for a filter: a table of checks."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys]
   [temse.impl.macros :as macros]
   [temse.impl.setup.common :as common :refer [finding]]
   [temse.impl.setup.needs :as needs]
   [temse.impl.setup.postfix-cf :as cf]
   [temse.impl.text :as text])
  (:import
   (temse.client MtaStyle)
   (temse.transport Endpoint Endpoint$Inet Endpoint$Unix)))

(set! *warn-on-reflection* true)

;; ---- where milters are named

(defn- smtpd-services
  "Returns the services of a setup that receive mail by SMTP; without a master.cf one of which nothing
  is known but its name."
  [{:keys [master]}]
  (or (seq (filter #(= "smtpd" (:command %)) master))
      [{:name "smtp", :overrides {}, :chroot? nil}]))

(defn- from-content-filter?
  "Returns true for a service that takes mail back from a content filter: it listens on this machine
  only, on a port of its own."
  [service]
  (boolean (re-find #"^(127\.[0-9.]+|localhost|\[::1\]|::1):" (:name service))))

(defn- override
  [service title]
  (get-in service [:overrides title]))

(defn- effective
  "Returns the value of a parameter for a service."
  [{:keys [main]} service title]
  (if-let [given (override service title)]
    (cf/expand main given)
    (cf/value main title)))

(defn- cleanup
  [{:keys [master]}]
  (first (filter #(= "cleanup" (:command %)) master)))

(defn- places
  "Returns the lists of milters in a setup: {:title \"smtpd_milters\", :service …, :chroot? …, :milters …}.
  A list that only names another one is left out."
  [{:keys [main] :as setup}]
  (let [services (smtpd-services setup)]
    (concat
      [{:title "smtpd_milters"
        :chroot? (:chroot? (first (remove #(override % "smtpd_milters") services)))
        :milters (cf/milters (cf/value main "smtpd_milters"))}]
      (when-not (re-matches #"\$[{(]?smtpd_milters[)}]?" (or (cf/written main "non_smtpd_milters") ""))
        [{:title "non_smtpd_milters"
          :chroot? (:chroot? (cleanup setup))
          :milters (cf/milters (cf/value main "non_smtpd_milters"))}])
      (for [service services
            :let [given (override service "smtpd_milters")]
            :when given]
        {:title "smtpd_milters"
         :service service
         :chroot? (:chroot? service)
         :milters (cf/milters (cf/expand main given))}))))

(defn- list-line
  "Returns [file line] that gives a place another list of milters."
  [{:keys [title service]} milters]
  (let [value (string/join ", " (map :text milters))]
    (if service
      ["master.cf" (cf/service-line service #(into (cf/without-override % title)
                                                   ["-o" (str "{ " title " = " value " }")]))]
      ["main.cf" (str title " = " value)])))

(defn- main-line
  [title value]
  ["main.cf" (str title " = " value)])

(defn address-for
  "Returns the address by which Postfix reaches an endpoint, in its notation. A path below the queue
  directory is relative, which is right with and without a chroot."
  [^Endpoint endpoint queue-directory]
  (if (instance? Endpoint$Unix endpoint)
    (let [path (str (.normalize (.path ^Endpoint$Unix endpoint)))
          below (str queue-directory "/")]
      (str "unix:" (if (string/starts-with? path below) (subs path (count below)) path)))
    (let [host (common/host-to-connect endpoint)]
      (str "inet:" (if (string/includes? host ":") (str "[" host "]") host) ":" (.port ^Endpoint$Inet endpoint)))))

(defn- queue-directory
  [{:keys [main]}]
  (cf/value main "queue_directory"))

(defn- right-notation?
  [{:keys [address]}]
  (boolean (re-matches #"inet:(\[[^\]@]+\]|[^:@\[\]]+):[A-Za-z0-9_-]+|(unix|local):.+" address)))

(defn- meant?
  "Returns true if an address, perhaps in a wrong notation or below a wrong directory, stands for the
  filter of a setup; of any address where it is not known where the filter listens."
  [{:keys [endpoint] :as setup} {:keys [address] :as milter}]
  (or (nil? endpoint)
      (some #(and % (common/reaches? % endpoint))
            (cons (when-not (right-notation? milter) (common/guessed address))
                  (for [chroot? [true false]]
                    (cf/endpoint address (queue-directory setup) chroot?))))))

(defn- each-milter
  "Returns what f returns for each place and milter of a setup."
  [setup f]
  (for [place (places setup)
        milter (:milters place)
        :let [found (f place milter)]
        :when found]
    found))

;; ---- what is right

(def ^:private content-events
  #{:header :end-of-headers :body :end-of-message})

(def ^:private timeouts
  "For each timeout the events that it is about, and what Postfix waits for."
  {"milter_connect_timeout" [#{:options} "to connect and to negotiate"]
   "milter_command_timeout" [#{:connect :hello :mail :recipient :data :unknown} "for an SMTP command"]
   "milter_content_timeout" [content-events "for a piece of the content"]})

(defn- too-short?
  "Returns true if a timeout is not longer than handlers of a filter may take. Progress begins it anew."
  [needs title text]
  (let [given (cf/milliseconds text)
        needed (if needs (long (needs/patience needs (first (timeouts title)) any?)) 0)]
    (boolean (and given (pos? needed) (<= (long given) needed)))))

(defn- long-enough
  [needs title]
  (str (common/enough (needs/patience needs (first (timeouts title)) any?)) "s"))

(def ^:private default-actions
  #{"accept" "reject" "tempfail" "quarantine" "shutdown"})

(def ^:private milter-options
  #{"default_action" "connect_timeout" "command_timeout" "content_timeout" "protocol"})

(defn- lost
  "Returns what a filter needs and a version of the protocol lacks."
  [{:keys [events rejected-recipients?]} version]
  (let [version (or (parse-long version) 6)]
    (cond-> []
      (and (< (long version) 4) (contains? events :data)) (conj "the event :data")
      (and (< (long version) 3) (contains? events :unknown)) (conj "the event :unknown")
      (and (< (long version) 6) rejected-recipients?) (conj ":rejected-recipients?"))))

(defn- right-value
  "Returns the value of an option of the filter as it should be."
  [needs title value]
  (let [timeout (str "milter_" title)]
    (cond
      (= ["default_action" "accept"] [title (text/lower-case value)]) "tempfail"
      (and needs (= "protocol" title) (seq (lost needs value))) "6"
      (and (timeouts timeout) (too-short? needs timeout value)) (long-enough needs timeout)
      :else value)))

(defn- right-option
  "Returns [name value] of an option of a milter as it should be, or nil if it stands for none."
  [needs ours? [title value]]
  (when-let [title (if (milter-options title) title (keys/closest title milter-options))]
    [title (if ours? (right-value needs title value) value)]))

(defn- right-address
  "Returns an address as Postfix wants it, and so that it leads to the filter if it is the filter's."
  [{:keys [endpoint] :as setup} {:keys [chroot?]} {:keys [address] :as milter}]
  (let [queue (queue-directory setup)
        to (cf/endpoint address queue chroot?)]
    (cond
      (not (right-notation? milter))
      (if-let [guessed (common/guessed address)]
        (address-for guessed queue)
        address)

      (and endpoint (some? chroot?) (instance? Endpoint$Unix endpoint) (meant? setup milter)
           (not (common/reaches? to endpoint)))
      (address-for endpoint queue)

      :else address)))

(defn- with-options
  "Returns the text of a milter with options."
  [address options]
  (if (seq options)
    (str "{ " (string/join ", " (cons address (map (fn [[title value]] (str title "=" value)) options))) " }")
    address))

(defn- mended
  "Returns a milter of a place with all that is wrong with it put right."
  [{:keys [needs] :as setup} place {:keys [options] :as milter}]
  (let [address (right-address setup place milter)
        right (into {} (keep #(right-option needs (meant? setup milter) %)) options)]
    (cond-> milter
      (not= [address right] [(:address milter) options])
      (assoc :address address, :options right, :text (with-options address right)))))

(defn- first-of-each
  "Returns milters without those whose address came before."
  [milters]
  (reduce (fn [kept milter]
            (if (some #(= (:address milter) (:address %)) kept)
              kept
              (conj kept milter)))
          [] milters))

(defn- mended-list
  "Returns the line of a place with all that is wrong with its milters put right."
  [{:keys [needs endpoint] :as setup} {:keys [milters] :as place}]
  (let [right (first-of-each (map #(mended setup place %) milters))]
    (list-line place (if (and needs endpoint (common/breaks-signatures? needs))
                       (common/signed-last right :text #(boolean (meant? setup %)))
                       right))))

;; ---- is it there

(defn- not-configured
  [{:keys [endpoint main] :as setup}]
  (when (and endpoint
             (not-any? #(some (partial meant? setup) (:milters %)) (places setup)))
    (let [ours (first (cf/milters (address-for endpoint (queue-directory setup))))]
      [(finding (str "no mail passes the filter: smtpd_milters does not name " (:text ours))
                (mended-list setup {:title "smtpd_milters"
                                    :milters (concat (cf/milters (cf/value main "smtpd_milters")) [ours])}))])))

(defn- services-without
  "Services that receive mail from clients and whose own list lacks the filter."
  [setup]
  (for [{:keys [service title milters]} (places setup)
        :when (and service
                   (not (from-content-filter? service))
                   (or (empty? milters) (not-any? #(meant? setup %) milters)))]
    (finding (str "master.cf: -o " title "=" (override service title) " of the service " (:name service)
                  " stands in the place of main.cf's: its mail does not pass the filter")
             ["master.cf" (cf/service-line service #(cf/without-override % title))])))

(defn- switched-off
  [{:keys [main] :as setup}]
  (let [options #(set (re-seq #"\w+" (or % "")))
        without #(string/join ", " (sort (disj (options %) "no_milters")))]
    (concat
      (when ((options (cf/written main "receive_override_options")) "no_milters")
        [(finding "receive_override_options = no_milters: no mail passes any milter"
                  (main-line "receive_override_options" (without (cf/written main "receive_override_options"))))])
      (for [service (smtpd-services setup)
            :let [given (override service "receive_override_options")]
            :when (and ((options given) "no_milters") (not (from-content-filter? service)))]
        (finding (str "master.cf: -o receive_override_options=no_milters: mail of the service " (:name service)
                      " passes no milter")
                 ["master.cf" (cf/service-line service #(cf/without-override % "receive_override_options"))])))))

(defn- behind-a-proxy
  [setup]
  (for [service (smtpd-services setup)
        :when (and (seq (effective setup service "smtpd_proxy_filter"))
                   (not (from-content-filter? service))
                   (seq (effective setup service "smtpd_milters")))]
    (finding (str "smtpd_proxy_filter: Postfix shows milters no header, no body and no end of a message that it passes to"
                  " a proxy: the filter cannot decide about it. Give the content filter its mail after the queue,"
                  " or name the milters at the service that takes the mail back")
             (if (override service "smtpd_proxy_filter")
               ["master.cf" (cf/service-line service #(cf/without-override % "smtpd_proxy_filter"))]
               (main-line "smtpd_proxy_filter" "")))))

(defn- filtered-twice
  [{:keys [main] :as setup}]
  (when (seq (cf/value main "content_filter"))
    (for [service (smtpd-services setup)
          :when (and (from-content-filter? service)
                     (seq (effective setup service "smtpd_milters"))
                     (not (string/includes? (effective setup service "receive_override_options") "no_milters")))]
      (finding (str "mail that comes back from the content filter to the service " (:name service)
                    " passes the milters for the second time")
               ["master.cf" (cf/service-line service #(into (cf/without-override % "smtpd_milters") ["-o" "smtpd_milters="]))]))))

(defn- local-mail
  [{:keys [needs main] :as setup}]
  (when (and needs
             (some content-events (:events needs))
             (some (partial meant? setup) (cf/milters (cf/value main "smtpd_milters")))
             (not-any? (partial meant? setup) (cf/milters (cf/value main "non_smtpd_milters"))))
    [(finding (str "mail that is submitted with the sendmail command, by cron, scripts and web applications, does not pass"
                   " the filter, which looks at the content of mail: non_smtpd_milters does not name it")
              (main-line "non_smtpd_milters"
                         (if (seq (cf/value main "non_smtpd_milters"))
                           (str (cf/written main "non_smtpd_milters") ", "
                                (string/join ", " (map :text (filter #(meant? setup %) (cf/milters (cf/value main "smtpd_milters"))))))
                           "$smtpd_milters")))]))

(defn- duplicates
  [setup]
  (for [{:keys [milters title] :as place} (places setup)
        [address times] (frequencies (map :address milters))
        :when (< 1 (long times))]
    (finding (str title " names " address " twice: each mail passes it twice")
             (mended-list setup place))))

;; ---- addresses

(defn- in-sendmail-notation
  [setup]
  (each-milter setup
               (fn [place {:keys [address]}]
                 (when (re-matches #"inet6?:[0-9]+@.+" address)
                   (finding (str (:title place) ": " address " is Sendmail's notation; Postfix writes inet:HOST:PORT, and its smtpd ends"
                                 " with an error here")
                            (mended-list setup place))))))

(defn- unknown-transports
  [setup]
  (each-milter setup
               (fn [place {:keys [address] :as milter}]
                 (when-not (or (right-notation? milter) (re-matches #"inet6?:[0-9]+@.+" address))
                   (apply finding
                          (str (:title place) ": " address " is no address of a milter: Postfix wants inet:HOST:PORT or unix:PATH, and"
                               " defers mail")
                          (when (common/guessed address)
                            [(mended-list setup place)]))))))

;; ---- what becomes of mail when the filter is down

(defn- in-main?
  "Returns true if main.cf decides about an option of the filter, whose own entry may decide otherwise."
  [setup option]
  (let [ours (filter #(meant? setup %) (mapcat :milters (places setup)))]
    (or (empty? ours) (some #(nil? ((:options %) option)) ours))))

(defn- passes
  [{:keys [main] :as setup}]
  (when (and (= "accept" (text/lower-case (cf/value main "milter_default_action")))
             (in-main? setup "default_action"))
    [(finding "milter_default_action = accept: mail passes unfiltered while the filter does not run, or takes too long"
              (main-line "milter_default_action" "tempfail"))]))

(defn- passes-by-override
  [setup]
  (each-milter setup
               (fn [place {:keys [address options] :as milter}]
                 (when (and (meant? setup milter)
                            (= "accept" (some-> (options "default_action") text/lower-case)))
                   (finding (str (:title place) ": default_action=accept of " address ": mail passes unfiltered while the"
                                 " filter does not run, or takes too long")
                            (mended-list setup place))))))

(defn- unknown-action
  [{:keys [main]}]
  (let [given (text/lower-case (cf/value main "milter_default_action"))]
    (when-not (default-actions given)
      [(finding (str "milter_default_action = " (cf/value main "milter_default_action") ": Postfix knows "
                     (string/join ", " (sort default-actions)) ", and takes no mail while the filter does not run")
                (main-line "milter_default_action" (or (keys/closest given default-actions) "tempfail")))])))

(defn- unknown-options
  [setup]
  (each-milter setup
               (fn [place {:keys [address options]}]
                 (when-let [unknown (seq (remove milter-options (clojure.core/keys options)))]
                   (finding (str (:title place) ": there is no option " (string/join ", " unknown) " of a milter, " address
                                 ": smtpd ends with an error")
                            (mended-list setup place))))))

;; ---- how main.cf is written

(defn- milter-parameter?
  [title]
  (boolean (re-find #"milter" (or title ""))))

(def ^:private milter-parameters
  (filter milter-parameter? (clojure.core/keys cf/defaults)))

(defn- referenced?
  [{:keys [main master]} title]
  (let [reference (re-pattern (str "\\$[{(]?" title "\\b"))]
    (some #(re-find reference %) (concat (keep :value main) (mapcat :arguments master)))))

(defn- misspelt
  [{:keys [main] :as setup}]
  (for [{:keys [name value line]} main
        :let [meant (when (and (milter-parameter? name) (not (contains? cf/defaults name)) (not (referenced? setup name)))
                      (keys/closest name milter-parameters))]
        :when meant]
    (assoc (finding (str "main.cf, line " line ": there is no parameter " name ": Postfix ignores it")
                    (main-line meant (if (= "accept" (text/lower-case value)) "tempfail" value)))
           :replaces name)))

(defn- set-twice
  [{:keys [main]}]
  (for [[title entries] (group-by :name main)
        :when (and (milter-parameter? title) (next entries))
        :let [values (distinct (map :value entries))
              listed? (#{"smtpd_milters" "non_smtpd_milters"} title)]]
    (finding (str "main.cf sets " title " in the lines " (string/join " and " (map :line entries)) ": only the last one holds")
             (main-line title (if listed?
                                (string/join ", " (distinct (map :text (mapcat (comp cf/milters cf/without-comment) values))))
                                (last values))))))

(defn- trailing-comments
  [{:keys [main]}]
  (for [{:keys [name value line]} main
        :when (and (contains? cf/defaults name) (re-find #"(^|\s)#" (or value "")))]
    (finding (str "main.cf, line " line ": a comment stands on a line of its own; here Postfix takes it for a part of the value of " name)
             (main-line name (cf/without-comment value)))))

;; ---- time

(defn- bad-times
  [{:keys [main]}]
  (for [title (sort (clojure.core/keys timeouts))
        :let [given (cf/value main title)]
        :when (not (cf/milliseconds given))]
    (finding (str title " = " given ": this is no time, such as 30s or 5m: smtpd does not start")
             (main-line title (or (re-find #"^[0-9]+" given) (cf/defaults title))))))

(defn- short-timeouts
  "Returns findings about a timeout that is not longer than a handler may take, in main.cf or of a milter."
  [{:keys [main needs] :as setup} title]
  (let [[events words] (timeouts title)
        option (subs title (count "milter_"))
        explained #(str ": Postfix waits no longer " words ", and a handler of the filter may take "
                        (common/seconds (needs/patience needs events any?))
                        "s: the mail is then lost to the filter, and the default action decides")]
    (concat
      (when (and (too-short? needs title (cf/value main title)) (in-main? setup option))
        [(finding (str title " = " (cf/value main title) (explained))
                  (main-line title (long-enough needs title)))])
      (each-milter setup
                   (fn [place {:keys [options address] :as milter}]
                     (when (and (options option) (too-short? needs title (options option)) (meant? setup milter))
                       (finding (str (:title place) ": " option "=" (options option) " of " address (explained))
                                (mended-list setup place))))))))

;; ---- the protocol

(def ^:private versions #{"2" "3" "4" "6"})

(defn- unknown-protocol
  [{:keys [main]}]
  (let [given (cf/value main "milter_protocol")]
    (when-not (versions (first (string/split given #"[,\s]+")))
      [(finding (str "milter_protocol = " given ": Postfix knows 2, 3, 4 and 6, and takes no mail")
                (main-line "milter_protocol" "6"))])))

(defn- old-protocol
  [{:keys [main needs] :as setup}]
  (let [lost-with #(when (and needs (versions %)) (seq (lost needs %)))
        explained #(str "the filter wants " (string/join ", " (lost-with %)) ", which this version lacks")
        given (first (string/split (cf/value main "milter_protocol") #"[,\s]+"))]
    (concat
      (when (lost-with given)
        [(finding (str "milter_protocol = " given ": " (explained given))
                  (main-line "milter_protocol" "6"))])
      (each-milter setup
                   (fn [place {:keys [options address] :as milter}]
                     (let [given (options "protocol")]
                       (when (and given (lost-with given) (meant? setup milter))
                         (finding (str (:title place) ": protocol=" given " of " address ": " (explained given))
                                  (mended-list setup place)))))))))

;; ---- macros

(def ^:private list-names
  {:connect "milter_connect_macros"
   :hello "milter_helo_macros"
   :mail "milter_mail_macros"
   :recipient "milter_rcpt_macros"
   :data "milter_data_macros"
   :end-of-headers "milter_end_of_header_macros"
   :end-of-message "milter_end_of_data_macros"})

(def own-macros
  "The macros that Postfix sends where main.cf says nothing, stage to bare names."
  (common/own-macros MtaStyle/POSTFIX))

(defn- configured-macros
  [main]
  (update-vals list-names (fn [title]
                            (mapv macros/bare-name (re-seq #"[^\s,]+" (cf/value main title))))))

(defn macro-lines
  "Returns the line with which Postfix sends macros at a stage."
  [stage names]
  [(main-line (list-names stage) (string/join " " names))])

(defn- macros-not-sent
  [{:keys [main needs]}]
  (when needs
    (common/macros-not-sent :postfix needs (configured-macros main) own-macros macro-lines)))

(defn- macros-replaced
  [{:keys [main needs]}]
  (when needs
    (common/macros-replaced :postfix needs (configured-macros main) own-macros macro-lines)))

(defn- no-queue-id
  [{:keys [main needs]}]
  (when needs
    (common/no-queue-id :postfix needs (configured-macros main) macro-lines
                        [:recipient :data :end-of-headers :end-of-message])))

;; ---- signatures

(defn- signed-before
  [{:keys [needs endpoint] :as setup}]
  (when (and needs endpoint (common/breaks-signatures? needs))
    (for [{:keys [milters] :as place} (places setup)
          :let [signers (seq (common/signed-before milters :text #(boolean (meant? setup %))))]
          :when signers]
      (finding (str (:title place) ": " (string/join ", " (map :address signers)) " signs mail before the filter, which may change"
                    " it: the signatures would be broken")
               (mended-list setup place)))))

;; ---- Unix-domain sockets

(defn- socket-places
  "Returns [place milter path] of the filter's Unix-domain sockets in the lists, where they are as the
  service sees them."
  [setup]
  (for [place (places setup)
        milter (:milters place)
        :let [to (when (meant? setup milter)
                   (cf/endpoint (:address milter) (queue-directory setup) (:chroot? place)))]
        :when (instance? Endpoint$Unix to)]
    [place milter (str (.path ^Endpoint$Unix to))]))

(defn- in-chroot
  [{:keys [endpoint] :as setup}]
  (when (instance? Endpoint$Unix endpoint)
    (let [listening (str (.normalize (.path ^Endpoint$Unix endpoint)))
          queue (queue-directory setup)]
      (for [[{:keys [chroot? milters] :as place} milter path] (socket-places setup)
            :when (and (some? chroot?) (not= listening path))]
        (if (or (not chroot?) (string/starts-with? listening (str queue "/")))
          (finding (str (:title place) ": " (:address milter) " is " path " to Postfix, "
                        (if chroot? (str "whose service runs in a chroot, below " queue) "whose service runs in no chroot")
                        "; the filter listens on " listening)
                   (mended-list setup place))
          (let [socket (str queue "/temse/" (.getFileName (.path ^Endpoint$Unix endpoint)))]
            (finding (str (:title place) ": Postfix runs in a chroot, below " queue ", and cannot see the socket " listening)
                     ["shell" (str "install -d -o temse -g postfix -m 0750 " queue "/temse")]
                     ["command line" (str "--listen unix:" socket " --socket-permissions 0660 --socket-group postfix")]
                     (mended-list (assoc setup :endpoint (common/parsed socket))
                                  (assoc place :milters (replace {milter (first (cf/milters (with-options (address-for (common/parsed socket) queue)
                                                                                                          (:options milter))))}
                                                                 milters))))))))))

(defn- sockets-of-ours
  "Returns the paths of the filter's socket: only where files can be looked at and it is known which milter is the
  filter."
  [{:keys [endpoint look] :as setup}]
  (when (and look endpoint)
    (distinct (map peek (filter (fn [[place]] (some? (:chroot? place))) (socket-places setup))))))

(defn- mail-owner
  [{:keys [main]}]
  (cf/value main "mail_owner"))

(defn- missing-directories
  [{:keys [look] :as setup}]
  (for [path (sockets-of-ours setup)
        :let [directory (last (common/directories-above path))]
        :when (and (look (queue-directory setup)) (nil? (look directory)))]
    (finding (str "there is no directory " directory ", in which the filter could make its socket")
             ["shell" (str "install -d -o temse -g " (mail-owner setup) " -m 0750 " directory)])))

(defn- closed-directories
  [{:keys [look groups] :as setup}]
  (for [path (sockets-of-ours setup)
        directory (common/directories-above path)
        :let [found (look directory)]
        :when (and found (= :directory (:kind found)) (not (common/may? found (mail-owner setup) groups 1)))]
    (finding (str "the user " (mail-owner setup) " may not enter the directory " directory ", and so not reach the filter's socket")
             ["shell" (str "chgrp " (mail-owner setup) " " directory)]
             ["shell" (str "chmod g+x " directory)])))

(defn- closed-sockets
  [{:keys [look groups] :as setup}]
  (for [path (sockets-of-ours setup)
        :let [found (look path)]
        :when (and found (= :socket (:kind found)) (not (common/may? found (mail-owner setup) groups 2)))]
    (finding (str "the user " (mail-owner setup) " may not write to the socket " path)
             ["shell" (str "chgrp " (mail-owner setup) " " path)]
             ["shell" (str "chmod 0660 " path)]
             ["command line" (str "--socket-permissions 0660 --socket-group " (mail-owner setup))])))

(defn- other-files
  [{:keys [look] :as setup}]
  (for [path (sockets-of-ours setup)
        :let [found (look path)]
        :when (and found (not= :socket (:kind found)))]
    (finding (str path " is no socket, and the filter will not replace it")
             ["shell" (str "mv " path " " path ".old")])))

;; ---- the table

(def checks
  "Every check: its name, what it finds, and a function of a setup that returns findings, see
  temse.impl.setup.common."
  [[:not-configured "no list of milters names the filter" not-configured]
   [:service-without "a service of master.cf overrides smtpd_milters without the filter" services-without]
   [:switched-off "receive_override_options = no_milters" switched-off]
   [:proxy-filter "smtpd_proxy_filter, with which milters see no content" behind-a-proxy]
   [:filtered-twice "mail that comes back from a content filter passes the milters again" filtered-twice]
   [:local-mail "mail of the sendmail command does not pass a filter that looks at content" local-mail]
   [:duplicate "a milter is named twice in a list" duplicates]
   [:sendmail-notation "inet:PORT@HOST in place of inet:HOST:PORT" in-sendmail-notation]
   [:unknown-transport "an address that is neither inet: nor unix:" unknown-transports]
   [:passes "milter_default_action = accept" passes]
   [:passes-by-override "default_action=accept of one milter" passes-by-override]
   [:unknown-action "a milter_default_action that there is not" unknown-action]
   [:unknown-option "an option of one milter that there is not" unknown-options]
   [:misspelt "a parameter about milters that there is not" misspelt]
   [:set-twice "a parameter about milters that is set twice" set-twice]
   [:trailing-comment "a comment behind a value" trailing-comments]
   [:bad-time "a timeout that is no time" bad-times]
   [:connect-timeout "milter_connect_timeout too short for the filter's negotiation" #(short-timeouts % "milter_connect_timeout")]
   [:command-timeout "milter_command_timeout too short for the filter's handlers" #(short-timeouts % "milter_command_timeout")]
   [:content-timeout "milter_content_timeout too short for the filter's handlers" #(short-timeouts % "milter_content_timeout")]
   [:unknown-protocol "a milter_protocol that there is not" unknown-protocol]
   [:old-protocol "a milter_protocol without what the filter needs" old-protocol]
   [:macros-not-sent "macros that the filter reads and Postfix does not send" macros-not-sent]
   [:macros-replaced "a list of macros that leaves out what Postfix sends of itself and the filter reads" macros-replaced]
   [:no-queue-id "lists of macros without the queue id" no-queue-id]
   [:unknown-macro "macros that the filter reads and no MTA knows" (fn [{:keys [needs]}] (common/unknown-macros needs))]
   [:signed-before "a milter that signs mail in front of a filter that changes it" signed-before]
   [:chroot "a socket whose path is another one to Postfix" in-chroot]
   [:no-directory "the directory of the socket is missing" missing-directories]
   [:closed-directory "a directory that Postfix may not enter" closed-directories]
   [:closed-socket "a socket that Postfix may not write to" closed-sockets]
   [:no-socket "a file that is no socket in its place" other-files]
   [:open-to-all "a filter that listens on all addresses" (fn [{:keys [endpoint]}] (common/open-to-all endpoint))]])
