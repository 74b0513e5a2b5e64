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
   [temse.impl.keys :as keys])
  (:import
   (java.util List)
   (temse.network Networks)))

(set! *warn-on-reflection* true)

(defmethod print-method Networks
  [^Networks networks ^java.io.Writer writer]
  (.write writer (str "#<networks " (keys/shown (vec (.entries networks))) ">")))

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
  (doseq [[index entry] (map-indexed vector entries)
          :when (not (string? entry))]
    (throw (keys/bad-option :networks
                            entry
                            (str "in networks, entry " (inc (long index)) ", " (keys/shown entry)
                                 ", must be a string such as \"192.0.2.0/24\""))))
  (Networks/of ^List (vec entries)))

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
  (when (string? address)
    (.orElse (.networkOf ^Networks networks address) nil)))

(defn includes?
  "Returns true if an address is in one of the networks; false also for what is no IP address, such as
  nil or the path of a socket.

    (includes? (networks [\"::1\" \"127.0.0.0/8\"]) \"127.0.0.1\")   ;=> true"
  [networks address]
  (some? (network-of networks address)))

(defn around
  "Returns the network of a prefix length that an address is in, as text, so that the addresses of one site
  count as one; nil for what is no IP address. `ipv6-length` is for IPv6, where a site usually has a /64.

    (around \"192.0.2.77\" 24 64)        ;=> \"192.0.2.0/24\"
    (around \"2001:db8::1:2:3\" 24 64)   ;=> \"2001:db8:0:0:0:0:0:0/64\"

  Throws :bad-options if a length is none."
  [address ipv4-length ipv6-length]
  (doseq [[bits length] [[32 ipv4-length] [128 ipv6-length]]]
    (when-not (and (int? length) (<= 0 (long length) (long bits)))
      (throw (keys/bad-option :length
                              length
                              (str "the length of a prefix must be a number, 0 to " bits ", not "
                                   (keys/shown length))))))
  (when (string? address)
    (.orElse (Networks/around address (int ipv4-length) (int ipv6-length)) nil)))
