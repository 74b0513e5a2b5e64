(ns temse.network
  "Sets of IP networks, to be asked for the address of a client. Nothing here asks DNS.

    (def internal (networks [\"192.0.2.0/24\" \"2001:db8::/32\" \"198.51.100.7\"]))
    (includes? internal \"192.0.2.9\")     ;=> true
    (network-of internal \"2001:db8::1\")  ;=> \"2001:db8::/32\"

  Addresses are written as RFC 4291 section 2.2 says, or as four decimal numbers; a prefix \"IPv6:\", as in
  Sendmail's macros and in address literals of mails, is allowed. An IPv4-mapped address such as
  ::ffff:192.0.2.9 is the IPv4 address that it holds, and networks of mapped addresses are networks of
  IPv4. ::/0 has no IPv4 address in it."
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (java.util Arrays Comparator TreeMap)))

(set! *warn-on-reflection* true)

;; ---- addresses

(defn- ipv4
  "Returns the four octets of an address, a vector, or nil."
  [text]
  (when (re-matches #"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})" text)
    (let [octets (mapv parse-long (string/split text #"\."))]
      (when (every? #(<= (long %) 255) octets)
        octets))))

(defn- groups
  "Returns the octets of what is on one side of a ::, or nil. The last group may be an IPv4 address."
  [text]
  (if (= "" text)
    []
    (let [parts (string/split text #":" -1)
          octets (map-indexed (fn [i ^String part]
                                (cond
                                  (re-matches #"[0-9A-Fa-f]{1,4}" part)
                                  (let [number (Integer/parseInt part 16)]
                                    [(bit-shift-right number 8) (bit-and number 0xFF)])

                                  (= (inc (long i)) (count parts))
                                  (ipv4 part)))
                              parts)]
      (when (every? some? octets)
        (into [] cat octets)))))

(defn- ipv6
  "Returns the sixteen octets of an address, a vector, or nil."
  [text]
  (let [[before after & more] (string/split text #"::" -1)
        before-groups (groups before)]
    (cond
      (or (nil? before-groups) more)
      nil

      (nil? after)
      (when (= 16 (count before-groups))
        before-groups)

      ;; An IPv4 address can only be at the end.
      (not (string/includes? before "."))
      (when-let [after-groups (groups after)]
        (let [missing (- 16 (count before-groups) (count after-groups))]
          (when (<= 2 missing)
            (into (into before-groups (repeat missing 0)) after-groups)))))))

(def ^:private mapped
  "The first octets of IPv4-mapped addresses."
  (into (vec (repeat 10 0)) [0xFF 0xFF]))

(def ^:private longest
  "Characters of an address: more are none."
  64)

(defn- octets
  "Returns [octets offset]: the four or sixteen octets of an address, and how many bits of an
  IPv4-mapped one were left out; nil if it is none."
  [text]
  (when (and (string? text) (<= (count text) (long longest)))
    (let [[_ prefix text] (re-matches #"(?is)(ipv6:)?(.*)" text)]
      (or (when-let [found (when-not prefix (ipv4 text))]
            [found 0])
          (when-let [found (ipv6 text)]
            (if (= mapped (subvec found 0 12))
              [(subvec found 12) 96]
              [found 0]))))))

(defn- as-bytes
  ^bytes [octets]
  (byte-array (map unchecked-byte octets)))

;; ---- networks

(defn- ends
  "Returns the first and the last octets of the network of a prefix length."
  [octets length]
  (let [kept (fn [i] (bit-and 0xFF (bit-shift-left 0xFF (- 8 (max 0 (min 8 (- (long length) (* 8 (long i)))))))))]
    [(vec (map-indexed (fn [i octet] (bit-and (long octet) (long (kept i)))) octets))
     (vec (map-indexed (fn [i octet] (bit-or (long octet) (bit-xor 0xFF (long (kept i))))) octets))]))

(defn- bad-network
  [index entry problem]
  (keys/bad-option :networks
                   entry
                   (str "in networks, entry " (inc (long index)) ", " (keys/shown entry) ", " problem)))

(defn- dotted
  [octets]
  (string/join "." octets))

(defn- text-of
  [octets]
  (if (= 4 (count octets))
    (dotted octets)
    (.getHostAddress (java.net.InetAddress/getByAddress (as-bytes octets)))))

(defn- network
  "Returns the network that an entry is: :entry, :first, :last and :length."
  [index entry]
  (when-not (string? entry)
    (throw (bad-network index entry "must be a string such as \"192.0.2.0/24\"")))
  (let [[address length & more] (string/split entry #"/" -1)
        [found offset] (octets address)
        bits (* 8 (count found))
        given (when length
                (when (re-matches #"[0-9]{1,3}" length)
                  (- (long (parse-long length)) (long offset))))]
    (cond
      (or (nil? found) more)
      (throw (bad-network index entry
                          (str "is no network: write an IP address, alone or with the length of its"
                               " prefix, such as \"192.0.2.0/24\" or \"2001:db8::/32\"; names are not"
                               " looked up")))

      (and length (not (and given (<= 0 (long given) bits))))
      (throw (bad-network index entry
                          (str "has a prefix of a wrong length: it must be " offset " to "
                               (+ (long offset) bits))))

      :else
      (let [length (long (or given bits))
            [low high] (ends found length)]
        (when (not= low found)
          (throw (bad-network index entry
                              (str "has bits beyond its prefix; did you mean "
                                   (keys/shown (str (when (= 96 offset) "::ffff:")
                                                    (text-of low) "/" (+ (long offset) length)))
                                   "?"))))
        {:entry entry, :first low, :last high, :length length}))))

(def ^:private by-octets
  (reify Comparator
    (compare [_ a b] (Arrays/compareUnsigned ^bytes a ^bytes b))))

(defn- successor
  "Returns the address after one, or nil after the last."
  [octets]
  (let [n (inc (bigint (BigInteger. 1 (as-bytes octets))))
        text (.toByteArray (biginteger n))
        digits (take-last (count octets) (concat (repeat (count octets) 0) text))]
    (when (<= (.bitLength (biginteger n)) (* 8 (count octets)))
      (mapv #(bit-and 0xFF (long %)) digits))))

(defn- put
  [^TreeMap table octets entry]
  (.put table (as-bytes octets) entry))

(defn- left
  "Returns the networks, narrowest last, that are not left before an address, nil being beyond all. In
  the table the next wider one goes on after each that is."
  [table open address]
  (let [{:keys [last]} (peek open)]
    (if (and last (or (nil? address) (neg? (compare last address))))
      (let [wider (pop open)]
        (when-let [next (successor last)]
          (put table next (:entry (peek wider))))
        (recur table wider address))
      open)))

(defn- table
  "Returns the entry of the narrowest network by the address from which on it holds, up to the next
  address in the table. Two networks are apart, or one is within the other."
  ^TreeMap [networks]
  (let [table (TreeMap. ^Comparator by-octets)]
    (loop [[{:keys [entry] start :first :as network} & more] (sort-by (juxt :first :length) networks)
           open []]
      (let [open (left table open start)]
        (when network
          (put table start entry)
          (recur more (conj open network)))))
    table))

(deftype ^:private Networks [entries ^TreeMap ipv4 ^TreeMap ipv6]
  Object
  (toString [_]
    (str "networks " (keys/shown entries))))

(defmethod print-method Networks
  [networks ^java.io.Writer writer]
  (.write writer (str "#<" networks ">")))

(defn networks
  "Returns a set of networks for `includes?` and `network-of`, from a sequence of texts: networks such as
  \"192.0.2.0/24\" and \"2001:db8::/32\", and single addresses. They may lie within each other.

  Throws :bad-options that names the entry if one is no network, or has bits beyond its prefix as in
  \"192.0.2.1/24\".

    (networks [\"192.0.2.0/24\" \"2001:db8::/32\" \"198.51.100.7\"])"
  [entries]
  (when-not (or (nil? entries) (sequential? entries) (set? entries))
    (throw (keys/bad-option :networks
                            entries
                            (str "networks takes a sequence such as [\"192.0.2.0/24\"], not "
                                 (keys/shown entries)))))
  (let [found (into [] (map-indexed network) entries)
        {v4 4, v6 16} (group-by #(count (:first %)) found)]
    (->Networks (vec entries) (table v4) (table v6))))

(defn network-of
  "Returns the entry of `networks`, as it was given, whose network an address is in, the narrowest one;
  nil if it is in none, or if it is no IP address. It takes time in proportion to the logarithm of the
  number of networks.

    (network-of (networks [\"192.0.2.0/24\" \"192.0.2.128/25\"]) \"192.0.2.200\")   ;=> \"192.0.2.128/25\""
  [networks address]
  (when-not (instance? Networks networks)
    (throw (IllegalArgumentException.
             (str "the first argument must be what temse.network/networks returned, not "
                  (keys/shown networks)))))
  (when-let [[found] (octets address)]
    (let [^TreeMap entries (if (= 4 (count found))
                             (.-ipv4 ^Networks networks)
                             (.-ipv6 ^Networks networks))]
      (some-> (.floorEntry entries (as-bytes found)) val))))

(defn includes?
  "Returns true if an address is in one of the networks; false also for what is no IP address, such as
  nil or the path of a socket.

    (includes? (networks [\"::1\" \"127.0.0.0/8\"]) \"127.0.0.1\")   ;=> true"
  [networks address]
  (some? (network-of networks address)))
