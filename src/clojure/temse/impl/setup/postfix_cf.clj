(ns temse.impl.setup.postfix-cf
  "Reads Postfix's main.cf, or the output of postconf -n, and master.cf."
  {:no-doc true}
  (:require
   [clojure.string :as string])
  (:import
   (java.nio.file Path)
   (temse.transport Endpoint Endpoint$Unix)))

(set! *warn-on-reflection* true)

;; ---- lines

(defn- folded-lines
  "Returns [number text] of each line with those that continue it. A line that begins with white space
  continues the one before; comments and empty lines between do not end it."
  [text]
  (->> (string/split text #"\r?\n")
       (map vector (rest (range)))
       (remove (fn [[_ line]] (re-find #"^\s*(#|$)" line)))
       (reduce (fn [lines [number line]]
                 (if (and (re-find #"^[ \t]" line) (seq lines))
                   (update-in lines [(dec (count lines)) 1] str " " (string/trim line))
                   (conj lines [number line])))
               [])))

;; ---- main.cf

(def defaults
  "What Postfix 3.7 does where main.cf says nothing, as far as milters are concerned."
  {"queue_directory" "/var/spool/postfix"
   "mail_owner" "postfix"
   "mail_name" "Postfix"
   "content_filter" ""
   "smtpd_proxy_filter" ""
   "receive_override_options" ""
   "smtpd_milters" ""
   "smtpd_milter_maps" ""
   "non_smtpd_milters" ""
   "milter_default_action" "tempfail"
   "milter_protocol" "6"
   "milter_connect_timeout" "30s"
   "milter_command_timeout" "30s"
   "milter_content_timeout" "300s"
   "milter_macro_daemon_name" "$myhostname"
   "milter_macro_defaults" ""
   "milter_macro_v" "$mail_name $mail_version"
   "milter_header_checks" ""
   "milter_connect_macros" "j {daemon_name} {daemon_addr} v _"
   "milter_helo_macros" "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}"
   "milter_mail_macros" "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}"
   "milter_rcpt_macros" "i {rcpt_addr} {rcpt_host} {rcpt_mailer}"
   "milter_data_macros" "i"
   "milter_end_of_header_macros" "i"
   "milter_end_of_data_macros" "i"
   "milter_unknown_command_macros" ""})

(defn parse-main
  "Returns the parameters in the text of a main.cf or the output of postconf -n, in their order:
  [{:name \"smtpd_milters\", :value \"inet:127.0.0.1:20025\", :line 12} …]. Lines that set nothing have no name."
  [text]
  (vec (for [[number line] (folded-lines text)
             :let [[_ title given] (re-matches #"(?s)([A-Za-z0-9_.-]+)\s*=\s*(.*)" line)]]
         {:name title, :value (some-> given string/trim), :line number, :text line})))

(defn written
  "Returns the value of a parameter as it is written, the last one if there are several, or nil."
  [main title]
  (:value (peek (filterv #(= title (:name %)) main))))

(def ^:private most-nested 20)

(def ^:private longest-value
  "Characters of a parameter that is put in the place of its name: names within names make it ever longer."
  4096)

(defn expand
  "Returns a value with the parameters that it names in their places. A name stays as it is written where its
  parameter is not known, names itself, is nested too deeply, or is too long."
  [main text]
  (let [values (volatile! {})]
    (letfn [(expanded [text within]
              (string/replace text
                              #"\$\$|\$([A-Za-z0-9_]+)|\$[({]([A-Za-z0-9_]+)[)}]"
                              (fn [[found plain enclosed]]
                                (let [title (or plain enclosed)]
                                  (if title (or (value-of title within) found) "$")))))
            (value-of [title within]
              (when-not (or (contains? within title) (= most-nested (count within)))
                (when-not (contains? @values title)
                  (let [value (some-> (or (written main title) (defaults title))
                                      (expanded (conj within title)))]
                    (vswap! values assoc title (when (<= (count value) (long longest-value)) value))))
                (@values title)))]
      (expanded text #{}))))

(defn without-comment
  "Returns a value as it was meant where a comment stands behind it, which is a part of it to Postfix."
  [text]
  (string/replace text #"(^|\s+)#.*" ""))

(defn value
  "Returns the value of a parameter, or Postfix's own where it is not set, with the parameters that it
  names in their places, and without a comment behind it."
  [main title]
  (let [given (or (written main title) (defaults title) "")]
    (without-comment (expand (remove #(= title (:name %)) main) given))))

(defn milliseconds
  "Returns a time such as 30s in milliseconds, or nil. A number without a unit is seconds."
  [text]
  (when-let [[_ n unit] (re-matches #"([0-9]{1,9})([smhdw]?)" text)]
    (* (long (parse-long n))
       (case unit "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 1000))))

;; ---- master.cf

(def ^:private argument
  "An argument of a service: a word, or what is in braces."
  #"(?:\{(?:[^{}]|\{[^{}]*\})*\}|[^\s{])+")

(defn- override
  "Returns [parameter value] of the argument of -o, which may be in braces."
  [given]
  (let [[_ inner] (re-matches #"(?s)\{\s*(.*?)\s*\}" given)
        [title text] (string/split (or inner given) #"\s*=\s*" 2)]
    [title (or text "")]))

(defn- overrides
  [arguments]
  (into {} (for [[flag given] (partition 2 1 arguments)
                 :when (= "-o" flag)]
             (override given))))

(defn- service-of
  [[number line]]
  (let [[head arguments] (split-at 8 (re-seq argument line))
        [title type _ _ chroot _ _ command] head]
    (when command
      {:name title
       :type type
       :command command
       :chroot? (= "y" chroot)
       :overrides (overrides arguments)
       :head (vec head)
       :arguments (vec arguments)
       :line number})))

(defn parse-master
  "Returns the services in the text of a master.cf: [{:name \"smtp\", :type \"inet\", :command \"smtpd\",
  :chroot? true, :overrides {\"smtpd_milters\" \"\"}, :line 12} …]. A \"-\" for chroot is no, as since
  Postfix 3.0."
  [text]
  (into [] (keep service-of) (folded-lines text)))

(defn service-line
  "Returns a service as master.cf writes it, with a function applied to its arguments."
  [{:keys [head arguments]} f]
  (string/join " " (concat head (f arguments))))

(defn without-override
  "Returns the arguments of a service without an override."
  [arguments title]
  (loop [[flag given & more :as arguments] arguments, kept []]
    (cond
      (empty? arguments) kept
      (and (= "-o" flag) given (= title (first (override given)))) (recur more kept)
      :else (recur (rest arguments) (conj kept flag)))))

;; ---- lists of milters

(defn- milter-of
  [text]
  (let [[_ inner] (re-matches #"(?s)\{\s*(.*?)\s*\}" text)
        [address & options] (if inner (string/split inner #"[,\s]+" 2) [text])]
    {:address address
     :text text
     :options (into {}
                    (map (fn [[_ title given]] [title given]))
                    (re-seq #"([A-Za-z_]+)\s*=\s*([^\s,{}]*)" (or (first options) "")))}))

(defn milters
  "Returns the milters in a list such as smtpd_milters: {:address \"inet:127.0.0.1:20025\", :options
  {\"default_action\" \"accept\"}, :text …}."
  [given]
  (mapv milter-of (re-seq #"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|[^\s,{}]+" given)))

(defn endpoint
  "Returns where Postfix connects to for the address of a milter, or nil if the address is wrong. A path
  is below the queue directory if it is relative, or if the service is chrooted."
  ^Endpoint [address queue-directory chroot?]
  (let [[_ transport given] (re-matches #"(?s)([^:]*):(.*)" address)]
    (try
      (case transport
        "inet" (Endpoint/parse address)
        ("unix" "local") (Endpoint$Unix. (.normalize (if (and chroot? (string/starts-with? given "/"))
                                                       (Path/of (str queue-directory given) (make-array String 0))
                                                       (.resolve (Path/of queue-directory (make-array String 0))
                                                                 ^String given))))
        nil)
      (catch IllegalArgumentException _))))
