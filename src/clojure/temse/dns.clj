(ns temse.dns
  "Look-ups in DNS for filters: mail exchangers, addresses, texts, and the names of an address.

    (def dns (resolver {}))
    @(mx dns \"example.org\")
    ;=> {:status :found, :records [{:preference 10, :host \"mx.example.org\"}]}

  Each look-up returns a CompletableFuture, which a handler may wait for with @, or return; it never fails
  and comes within the time limit. Its value is a map:

    :status    ; :found, :none or :failed
    :records   ; what was found, a vector; with :found only
    :reason    ; with :none, :no-such-domain (NXDOMAIN), :no-such-record, or :bad-name for what can be
               ; no name in DNS; with :failed, a text: nobody knows whether there is something

  So a filter can distinguish what does not exist from what cannot be known at the moment (SERVFAIL, no answer,
  nonsense), which it should defer. Names in results are in ASCII, without the dot at their end; what is no
  letter, digit, hyphen or underscore in them may be escaped with backslashes as in zone files. CNAME and
  DNAME are followed. Neither the search list nor the hosts file of the system is used.

  When ten look-ups in turn have failed the log has a line, and another one when an answer has come again, as with
  `temse.outage`. Nothing has to be restarted.

  Requires dnsjava/dnsjava, and com.ibm.icu/icu4j as temse.idna does; temse brings neither along."
  (:require
   [clojure.string :as string]
   [temse.idna :as idna]
   [temse.impl.keys :as keys]
   [temse.outage :as outage])
  (:import
   (java.io ByteArrayOutputStream IOException)
   (java.net InetAddress InetSocketAddress UnknownHostException)
   (java.util.concurrent CompletableFuture CompletionException CompletionStage Executor TimeUnit)
   (java.util.function BiFunction Function)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(try
  (Class/forName "org.xbill.DNS.lookup.LookupSession")
  (catch ClassNotFoundException _
    (throw (IllegalStateException.
             (str "temse.dns requires dnsjava, 3.6 or later; add it to the dependencies:\n"
                  "  deps.edn    dnsjava/dnsjava {:mvn/version \"3.6.3\"}\n"
                  "  Leiningen   [dnsjava \"3.6.3\"]\n"
                  "  Maven       <dependency><groupId>dnsjava</groupId>"
                  "<artifactId>dnsjava</artifactId><version>3.6.3</version></dependency>")))))

(import
  '(org.xbill.DNS AAAARecord ARecord Address Cache DClass ExtendedResolver Flags MXRecord Message Name PTRRecord Rcode Record
                  ResolverConfig ReverseMap Section SimpleResolver TXTRecord TextParseException Type)
  '(org.xbill.DNS.lookup LookupResult LookupSession NoSuchDomainException NoSuchRRSetException))

;; ---- resolvers

(defn- server
  "Returns the address of a server, or nil."
  ^InetSocketAddress [text]
  (when-let [[_ bracketed-ipv6 plain-ipv6 ipv4 port]
             (re-matches #"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)|([0-9.]+))(?::(\d{1,5}))?"
                         (str text))]
    (let [port (if port (parse-long port) SimpleResolver/DEFAULT_PORT)]
      (when (<= 1 (long port) 65535)
        (try
          (InetSocketAddress. (Address/getByAddress (or bracketed-ipv6 plain-ipv6 ipv4)) (int port))
          (catch UnknownHostException _))))))

(defn- amount?
  [x]
  (and (int? x) (<= 1 (long x) Integer/MAX_VALUE)))

(def ^:private table
  {:servers ["addresses such as [\"192.0.2.53\" \"[2001:db8::53]:5353\"]"
             #(or (nil? %) (and (sequential? %) (seq %) (every? server %)))]
   :timeout (conj keys/milliseconds 10000)
   :server-timeout (conj keys/milliseconds 3000)
   :max-names ["a number, 1 or more" amount? 10000]
   :max-ttl (conj keys/milliseconds 86400000)
   :max-negative-ttl (conj keys/milliseconds 900000)})

(def ^:private largest-cached
  "Octets of an answer: what a stranger's server sends at length is asked for again instead."
  1232)

(defn- seconds
  [ms]
  (min (quot (long ms) 1000) Integer/MAX_VALUE))

(def ^:private known-outcomes
  "Codes of answers that say whether there is something."
  #{Rcode/NOERROR Rcode/NXDOMAIN})

(defn- cache
  "Returns what keeps answers, and notes that they come."
  ^Cache [{:keys [max-names max-ttl max-negative-ttl]} outage]
  (let [kept (doto (Cache. DClass/IN)
               (.setMaxEntries max-names)
               (.setMaxCache (seconds max-ttl))
               (.setMaxNCache (seconds max-negative-ttl)))]
    (proxy [Cache] [DClass/IN]
      (addMessage [^Message answer]
        (when (contains? known-outcomes (.getRcode answer))
          (outage/worked! outage))
        (when (<= (alength (.toWire answer)) (long largest-cached))
          (.addMessage kept answer)))
      (lookupRecords [domain type credibility]
        (.lookupRecords kept domain type credibility)))))

(defn- about-its-question?
  "Returns true for a record of the name and type that a message asks for, or one that leads there."
  [^Message message ^Record record]
  (let [question (.getQuestion message)
        of-name? (= (.getName question) (.getName record))]
    (condp = (.getType record)
      (.getType question) of-name?
      Type/CNAME of-name?
      Type/DNAME (.subdomain (.getName question) (.getName record))
      false)))

(defn- fault
  "Returns why a message says nothing about its question, though it may look as if there were nothing; or nil.
  A socket that is its own peer, since the server is down, gets its query back. Of a response without answers, one
  that refers to other servers (RFC 2308 section 2.2), or comes from a server that neither asks others nor has
  authority, is from somebody who does not know. What is truncated comes by TCP: by UDP it was asked for again."
  [^Message message]
  (let [header (.getHeader message)
        flag? #(.getFlag header (int %))
        answers (.getSection message Section/ANSWER)
        authorities (into #{} (map #(.getType ^Record %)) (.getSection message Section/AUTHORITY))]
    (cond
      (not (flag? Flags/QR)) "the query came back instead of a response"
      (flag? Flags/TC) "the response is truncated, by TCP, too"
      (seq answers) (when (not-any? #(about-its-question? message %) answers)
                      "the response answers another question")
      (not= Rcode/NOERROR (.getRcode header)) nil
      (authorities Type/SOA) nil
      (authorities Type/NS) "the server refers to other servers"
      (not (or (flag? Flags/RA) (flag? Flags/AA))) "the server is no resolver")))

(defn- answered
  "Returns a message, which has to say something about its question."
  ^Message [^Message message]
  (when-let [problem (fault message)]
    (throw (IOException. ^String problem)))
  message)

(defn- asking
  "Returns what asks one server."
  ^org.xbill.DNS.Resolver [^InetSocketAddress address timeout]
  (let [client (doto (SimpleResolver. address)
                 (.setTimeout (keys/duration timeout)))]
    (reify org.xbill.DNS.Resolver
      (^CompletionStage sendAsync [_ ^Message query ^Executor executor]
        (.thenApply (.sendAsync client query executor)
                    (reify Function
                      (apply [_ message] (answered message))))))))

(defn- session
  ^LookupSession [{:keys [timeout server-timeout] :as options} addresses outage]
  (let [servers (mapv #(asking % server-timeout) addresses)]
    (-> (LookupSession/builder)
        (.resolver (doto (ExtendedResolver. ^Iterable servers)
                     (.setTimeout (keys/duration timeout))))
        (.cache (cache options outage))
        (.build))))

(deftype ^:private Resolver [^LookupSession session options outage]
  Object
  (toString [_]
    (str "resolver " (keys/shown options))))

(defmethod print-method Resolver
  [resolver ^java.io.Writer writer]
  (.write writer (str "#<" resolver ">")))

(def ^:private failures-of-an-outage
  "How many look-ups in turn have to fail: a single domain may have servers that do not answer."
  10)

(defn- title-of
  [^InetSocketAddress address]
  (str (.getHostString address) ":" (.getPort address)))

(defn- new-resolver
  [{:keys [servers] :as options}]
  (let [addresses (if servers (map server servers) (.servers (ResolverConfig/getCurrentConfig)))
        outage (outage/outage (str "DNS (" (string/join ", " (map title-of addresses)) ")")
                              {:failures failures-of-an-outage})]
    (->Resolver (session options addresses outage) options outage)))

(def ^:private resolvers
  "The resolver of each map of options, in this process."
  (atom {}))

(defn resolver
  "Returns what look-ups are asked of: servers, a cache and time limits. The same options give the same
  resolver, also after a filter was loaded again.

    :servers          ; resolvers that are asked one after the other, with or without ports, as
                      ; [\"192.0.2.53\" \"127.0.0.1:5353\" \"[2001:db8::53]:53\"] (default: those of the
                      ; system, as they are when it is made)
    :timeout          ; milliseconds that a look-up may take (default: 10000)
    :server-timeout   ; milliseconds after which the next server is asked, or the same again; each is
                      ; asked three times at most (default: 3000)
    :max-names        ; names whose answers are kept; those that were not asked for the longest are
                      ; forgotten first (default: 10000)
    :max-ttl          ; milliseconds that answers are kept at most, if their TTL is longer
                      ; (default: 86400000, a day)
    :max-negative-ttl ; the same for what there is not, RFC 2308 (default: 900000)

  Failures are not kept, nor are answers of more than 1232 octets. Throws :bad-options for an option that is
  unknown or wrong.

    (resolver {:servers [\"127.0.0.1\"] :timeout 5000})"
  [options]
  (let [options (keys/with-defaults "the options of resolver" options table)]
    (locking resolvers
      (or (get @resolvers options)
          (get (swap! resolvers assoc options (new-resolver options)) options)))))

;; ---- look-ups

(def ^:private longest-name
  "Characters of a name, escapes included, that are looked at."
  1100)

(defn- domain-name
  "Returns a name, which is taken for absolute, or nil if it can be none."
  ^Name [text]
  (when (and (string? text) (<= 1 (count text) (long longest-name)))
    (when-let [ascii (if (re-find #"[^\p{ASCII}]" text) (idna/ascii text) text)]
      (try
        (Name/fromString ascii Name/root)
        (catch TextParseException _)))))

(defn- text-of
  [^Name host]
  (if (= Name/root host) "." (.toString host true)))

(defn- missing
  [reason]
  {:status :none, :reason reason})

(defn- failed
  [reason]
  {:status :failed, :reason reason})

(defn- cause
  ^Throwable [e]
  (if (and (instance? CompletionException e) (ex-cause e)) (recur (ex-cause e)) e))

(defn- outcome
  "Returns the map of a look-up, of its records or of what it has thrown."
  [^LookupResult found thrown read]
  (let [error (cause thrown)]
    (cond
      (nil? error) (let [records (into [] (comp (mapcat read) (distinct)) (.getRecords found))]
                     (if (seq records)
                       {:status :found, :records records}
                       (missing :no-such-record)))
      (instance? NoSuchDomainException error) (missing :no-such-domain)
      (instance? NoSuchRRSetException error) (missing :no-such-record)
      :else (failed (str (.getSimpleName (class error)) (some->> (ex-message error) (str ": ")))))))

(defn- then
  "Returns the future of what f makes of the value, or of what was thrown."
  ^CompletableFuture [^CompletionStage stage f]
  (-> stage
      (.handle (reify BiFunction
                 (apply [_ value thrown] (f value thrown))))
      (.toCompletableFuture)))

(defn- noted
  "Returns the outcome of a look-up, and notes that it failed if it has."
  [{:keys [status reason] :as outcome} outage]
  (when (= :failed status)
    (outage/failed! outage reason))
  outcome)

(defn- look-up
  "Returns the future of a look-up of a type; `read` returns the values of a record, a sequence."
  ^CompletableFuture [resolver ^Name domain type read]
  (when-not (instance? Resolver resolver)
    (throw (IllegalArgumentException.
             (str "the first argument must be what temse.dns/resolver returned, not " (keys/shown resolver)))))
  (if (nil? domain)
    (CompletableFuture/completedFuture (missing :bad-name))
    (let [timeout (:timeout (.-options ^Resolver resolver))]
      (-> (then (.lookupAsync ^LookupSession (.-session ^Resolver resolver) domain (int type))
                (fn [found thrown]
                  (outcome found thrown read)))
          (.completeOnTimeout (failed (str "no answer within " timeout " ms"))
                              timeout
                              TimeUnit/MILLISECONDS)
          (then (fn [outcome _]
                  (noted outcome (.-outage ^Resolver resolver))))))))

(defn mx
  "Returns the future of the mail exchangers of a domain: records are {:preference 10, :host
  \"mx.example.org\"}, those that are preferred first (RFC 5321 section 5.1). A domain that takes no mail has
  the one host \".\" (RFC 7505); one without records may take mail at its own addresses.

    @(mx (resolver {}) \"example.org\")
    ;=> {:status :found, :records [{:preference 10, :host \"mx.example.org\"}]}"
  ^CompletableFuture [resolver domain]
  (then (look-up resolver (domain-name domain) Type/MX
                 (fn [record]
                   (when (instance? MXRecord record)
                     [{:preference (.getPriority ^MXRecord record)
                       :host (text-of (.getTarget ^MXRecord record))}])))
        (fn [{:keys [records] :as found} _]
          (cond-> found
            records (update :records #(vec (sort-by (juxt :preference :host) %)))))))

(defn- address-of
  "Returns the address of a record as text; RFC 5952 without its rule for zeros is Java's form."
  [record]
  (condp instance? record
    ARecord [(.getHostAddress (.getAddress ^ARecord record))]
    AAAARecord [(.getHostAddress ^InetAddress (.getAddress ^AAAARecord record))]
    nil))

(defn addresses
  "Returns the future of the IP addresses of a host: records are texts, those of IPv4 first, such as
  \"192.0.2.1\" and \"2001:db8:0:0:0:0:0:1\". If one of the two families cannot be found out, those of the other
  count; if there are none of the other, the look-up has failed.

    @(addresses (resolver {}) \"mx.example.org\")
    ;=> {:status :found, :records [\"192.0.2.1\" \"2001:db8:0:0:0:0:0:1\"]}"
  ^CompletableFuture [resolver host]
  (let [domain (domain-name host)
        ipv4 (look-up resolver domain Type/A address-of)
        ipv6 (look-up resolver domain Type/AAAA address-of)]
    (.thenCombine ipv4 ipv6
                  (reify BiFunction
                    (apply [_ a b]
                      (let [by-status (group-by :status [a b])
                            found (mapcat :records (:found by-status))]
                        (if (seq found)
                          {:status :found, :records (vec found)}
                          (or (first (:failed by-status)) a))))))))

(defn- joined
  "Returns the one text that the strings of a TXT record are, RFC 7208 section 3.3."
  [^TXTRecord record]
  (let [all (ByteArrayOutputStream.)]
    (run! #(.writeBytes all %) (.getStringsAsByteArrays record))
    (Text/decode (.toByteArray all))))

(defn txt
  "Returns the future of the texts of a domain: records are strings, each the strings of one TXT record put
  together. Bytes that are no UTF-8 are kept as in the texts of events.

    @(txt (resolver {}) \"_dmarc.example.org\")
    ;=> {:status :found, :records [\"v=DMARC1; p=none\"]}"
  ^CompletableFuture [resolver domain]
  (look-up resolver (domain-name domain) Type/TXT
           (fn [record]
             (when (instance? TXTRecord record)
               [(joined record)]))))

(defn- reverse-name
  "Returns the name that PTR records of an address have, or nil if it is no address."
  ^Name [address]
  (try
    (ReverseMap/fromAddress (Address/getByAddress (string/replace (str address) #"(?i)^ipv6:" "")))
    (catch UnknownHostException _)))

(defn names
  "Returns the future of the names that DNS has for an IP address (PTR): records are texts. Anybody can claim
  any name: only that whose `addresses` include this one belongs to it.

    @(names (resolver {}) \"192.0.2.1\")
    ;=> {:status :found, :records [\"mx.example.org\"]}"
  ^CompletableFuture [resolver address]
  (look-up resolver (reverse-name address) Type/PTR
           (fn [record]
             (when (instance? PTRRecord record)
               [(text-of (.getTarget ^PTRRecord record))]))))
