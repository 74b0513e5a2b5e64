(ns sender-check
  "Refuses mail whose sender could not be answered: its domain does not exist, takes no mail, or has no public
  mail server. On demand it also asks that server for the address: a callout.

    bin/temse run gallery/sender_check.clj --listen inet:20025@127.0.0.1 -- sender_check.edn

  Refused is, at MAIL, a sender without a domain (553 5.1.7), with an address literal or a domain without a
  mail server (550 5.1.8), with a null MX (550 5.7.27, RFC 7505), and one that its server does not know (550
  5.1.7). Deferred is what DNS (451 4.4.3) or the server (450 4.1.7) cannot say now. The null sender passes
  always: bounces, and the callouts of others, have it.

  The settings, a map in the file, with their defaults; times in milliseconds:

    {:networks [\"127.0.0.0/8\" \"::1\"]   ; clients whose mail passes as it is
     :authenticated? true              ; whether the mail of clients with AUTH does
     :domains []                       ; domains of senders that pass, such as [\"example.org\"]
     :literals :reject                 ; senders such as <ann@[192.0.2.1]>: :reject or :pass
     :reachable []                     ; private networks in which mail servers may be, [\"10.0.0.0/8\"]
     :dns-servers nil                  ; resolvers, [\"192.0.2.53\" \"127.0.0.1:5353\"]; nil: the system's
     :dns-timeout 5000                 ; for one look-up; there are two in turn
     :callout? false                   ; whether mail servers are asked. Many sites take that for abuse
     :callout-timeout 15000            ; for all servers of a domain together
     :callout-when-unknown :defer      ; what happens if none of them knows: :defer or :pass
     :callout-port 25                  ; where they listen
     :callout-hello nil                ; our name for them; nil: that of the MTA
     :callouts-per-minute 20           ; how often a server is asked
     :good-ttl 86400000                ; how long good answers are kept
     :bad-ttl 3600000                  ; and bad ones
     :max-addresses 10000}             ; addresses whose answers are kept

  Never asked for are postmasters, addresses beyond ASCII, and domains whose mail server this one is. The MTA
  must wait for 30 s, as Postfix does; in Sendmail say T=S:30s;R:30s;E:5m."
  (:refer-clojure :exclude [filter])
  (:require
   [callout]
   [clojure.string :as string]
   [temse.action :as act]
   [temse.address :as address]
   [temse.compose :refer [wrap-allow]]
   [temse.configuration :refer [read-settings]]
   [temse.dns :as dns]
   [temse.envelope :refer [mta-name]]
   [temse.idna :as idna]
   [temse.network :as network])
  (:import
   (java.net InetAddress NetworkInterface)))

(set! *warn-on-reflection* true)

(def ^:private not-public
  (network/networks ; RFC 6890 and its successors, and multicast
    ["0.0.0.0/8" "10.0.0.0/8" "100.64.0.0/10" "127.0.0.0/8" "169.254.0.0/16" "172.16.0.0/12" "192.0.0.0/24"
     "192.0.2.0/24" "192.168.0.0/16" "198.18.0.0/15" "198.51.100.0/24" "203.0.113.0/24" "224.0.0.0/3"
     "::/127" "64:ff9b:1::/48" "100::/64" "2001:db8::/32" "fc00::/7" "fe80::/10" "ff00::/8"]))

(def ^:private milliseconds ["milliseconds, 1 or more" pos-int?])

(def settings
  {:networks ["networks such as [\"192.0.2.0/24\"]" network/networks ["127.0.0.0/8" "::1"]]
   :authenticated? ["true or false" boolean? true]
   :domains ["domains such as [\"example.org\"]" #(and (sequential? %) (every? idna/ascii %)) []]
   :literals [":reject or :pass" #{:reject :pass} :reject]
   :reachable ["networks such as [\"10.0.0.0/8\"]" network/networks []]
   :dns-servers ["addresses such as [\"127.0.0.1:53\"], or nil" #(dns/resolver {:servers %}) nil]
   :dns-timeout (conj milliseconds 5000)
   :callout? ["true or false" boolean? false]
   :callout-timeout (conj milliseconds 15000)
   :callout-when-unknown [":defer or :pass" #{:defer :pass} :defer]
   :callout-port ["a port" #(and (int? %) (<= 1 (long %) 65535)) 25]
   :callout-hello ["a name, or nil" #(or (nil? %) (idna/ascii %)) nil]
   :callouts-per-minute ["a number, 1 or more" pos-int? 20]
   :good-ttl (conj milliseconds 86400000)
   :bad-ttl (conj milliseconds 3600000)
   :max-addresses ["a number, 1 or more" pos-int? 10000]})

(defn- reply [code enhanced-code text why]
  [(assoc (act/reply-code code enhanced-code text) :why why)])

(defn- in-ascii [domain]
  (or (idna/ascii domain) domain))

(defn- servers
  "Returns :addresses and :hosts of the mail servers of a domain, ten at most; :no-mail, :missing, :failed."
  [{:keys [resolver reachable]} domain]
  (let [{:keys [status reason records]} @(dns/mx resolver domain)
        hosts (cond records (map :host records) (= :no-such-record reason) [domain])
        found (mapv deref (mapv #(dns/addresses resolver %) (take 10 hosts)))
        public? #(or (network/includes? reachable %) (not (network/includes? not-public %)))
        addresses (filterv public? (mapcat :records found))]
    (cond
      (= ["."] hosts) :no-mail
      (seq addresses) {:hosts (set (map in-ascii hosts)), :addresses addresses}
      (some #{:failed} (cons status (map :status found))) :failed
      :else :missing)))

(defn- own?
  "Returns true if this machine is one of the servers."
  [{:keys [hosts addresses]} reachable context]
  (or (contains? hosts (some-> (mta-name context) in-ascii))
      (some #(and (not (network/includes? reachable %))
                  (NetworkInterface/getByInetAddress (InetAddress/getByName %)))
            addresses)))

(defn- on-callout
  [{:keys [memory callout-hello] when-unknown :callout-when-unknown :as settings} address servers context]
  (when-not (or (re-matches #"(?i)postmaster" (:local-part address))
                (address/smtputf8? address)
                (own? servers (:reachable settings) context))
    (let [{:keys [result] why :reply}
          (callout/ask memory {:address (address/canonical address)
                               :exchangers (take 3 (:addresses servers))
                               :port (:callout-port settings)
                               :hello (or callout-hello (mta-name context) "localhost")
                               :timeout (:callout-timeout settings)
                               :per-minute (:callouts-per-minute settings)
                               :ttls {:good (:good-ttl settings), :bad (:bad-ttl settings)}})]
      (cond
        (= :bad result) (reply 550 "5.1.7" "The mail server of the sender does not know it" why)
        (= [:unknown :defer] [result when-unknown]) (reply 450 "4.1.7" "The sender cannot be checked" why)))))

(defn- on-domain
  [{:keys [callout?] :as settings} {:keys [domain] :as address} context]
  (let [found (servers settings domain)]
    (case found
      :no-mail (reply 550 "5.7.27" "The domain of the sender takes no mail" found)
      :missing (reply 550 "5.1.8" "The domain of the sender does not exist, or has no mail server" found)
      :failed (reply 451 "4.4.3" "The domain of the sender cannot be looked up now" found)
      (when callout? (on-callout settings address found context)))))

(defn- on-mail
  [{:keys [domains literals] :as settings} {:keys [sender]} context]
  (let [{:keys [null? domain] :as address} (address/parse-path sender)
        ascii (some-> domain in-ascii)
        literal? (some-> domain (string/starts-with? "["))]
    (cond
      (or null? (contains? domains ascii) (and literal? (= :pass literals))) nil
      (nil? domain) (reply 553 "5.1.7" "The address of the sender has no domain" sender)
      literal? (reply 550 "5.1.8" "The address of the sender has no domain, but an address literal" sender)
      :else (on-domain settings (assoc address :domain ascii) context))))

(defn filter
  ([] (filter nil))
  ([file]
   (let [{:keys [networks authenticated?] :as given} (read-settings file settings)
         known (assoc given :domains (set (map in-ascii (:domains given)))
                      :reachable (network/networks (:reachable given))
                      :resolver (dns/resolver {:servers (:dns-servers given), :timeout (:dns-timeout given)})
                      :memory (callout/memory (:max-addresses given)))]
     (cond-> {:handlers {:mail #(on-mail known %1 %2)}, :wants #{:mta-name}, :actions #{}}
       (or (seq networks) authenticated?) (wrap-allow {:networks networks, :authenticated? authenticated?})))))
