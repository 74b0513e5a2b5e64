(ns temse.network-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.network :as network]
   [temse.support :refer [thrown]])
  (:import
   (java.net InetAddress)))

(set! *warn-on-reflection* true)

(def ^:private some-networks
  (network/networks ["192.0.2.0/24" "192.0.2.128/25" "198.51.100.7" "::ffff:203.0.113.0/120"
                     "2001:db8::/32" "IPv6:2001:db8:1::/48" "::1" "0.0.0.0/32" "255.255.255.255"]))

(deftest an-address-is-in-the-narrowest-network-that-has-it
  (are [address entry] (= entry (network/network-of some-networks address))
    "192.0.2.0" "192.0.2.0/24"
    "192.0.2.127" "192.0.2.0/24"
    "192.0.2.128" "192.0.2.128/25"
    "192.0.2.255" "192.0.2.128/25"
    "192.0.1.255" nil
    "192.0.3.0" nil
    "198.51.100.7" "198.51.100.7"
    "198.51.100.8" nil
    "203.0.113.200" "::ffff:203.0.113.0/120"
    "::ffff:192.0.2.1" "192.0.2.0/24"
    "::ffff:c000:201" "192.0.2.0/24"
    "IPv6:2001:db8::1" "2001:db8::/32"
    "2001:DB8:1:0:0:0:0:1" "IPv6:2001:db8:1::/48"
    "2001:db8:2::" "2001:db8::/32"
    "2001:db9::" nil
    "::1" "::1"
    "::" nil
    "0.0.0.0" "0.0.0.0/32"
    "255.255.255.255" "255.255.255.255"))

(deftest what-is-no-address-is-in-no-network
  (let [everything (network/networks ["0.0.0.0/0" "::/0"])]
    (is (network/includes? everything "192.0.2.1"))
    (is (network/includes? everything "2001:db8::1"))
    (doseq [address [nil "" "/run/mail.sock" "localhost" "unknown" "1.2.3" "1.2.3.4.5" "1.2.3.256" "01.2.3.4"
                     "1.2.3.4 " "0x7f.1" "1" "::1%eth0" "[::1]" ":::" "1::2::3" "1:2:3:4:5:6:7" "1:2:3:4:5:6:7:8:9"
                     "1:2:3:4:5:6:7::8" "12345::" "g::" "::1.2.3" "1.2.3.4::" "IPv6:1.2.3.4" "1:2:3:4:5:6:7:1.2.3.4"
                     (apply str (repeat 100000 ":"))]]
      (is (not (network/includes? everything address)) (pr-str address)))))

(deftest all-of-ipv6-has-no-ipv4-in-it
  (is (not (network/includes? (network/networks ["::/0"]) "192.0.2.1")))
  (is (not (network/includes? (network/networks ["::/0"]) "::ffff:192.0.2.1"))))

(deftest no-network-has-no-address
  (is (not (network/includes? (network/networks []) "192.0.2.1"))))

(deftest what-is-no-network-is-refused-with-the-entry
  (are [entries pattern] (re-find pattern (:message (thrown (network/networks entries))))
    ["::1" "192.0.2.1/24"] #"entry 2, \"192.0.2.1/24\", has bits beyond its prefix; did you mean \"192.0.2.0/24\"\?"
    ["2001:db8::1/32"] #"did you mean \"2001:db8:0:0:0:0:0:0/32\"\?"
    ["::ffff:192.0.2.1/120"] #"did you mean \"::ffff:192.0.2.0/120\"\?"
    ["192.0.2.0/33"] #"entry 1.*must be 0 to 32"
    ["::/129"] #"must be 0 to 128"
    ["::ffff:192.0.2.0/24"] #"must be 96 to 128"
    ["192.0.2.0/"] #"wrong length"
    ["192.0.2.0/a"] #"wrong length"
    ["192.0.2.0/24/24"] #"is no network"
    ["mx.example.org"] #"is no network.*names are not looked up"
    ["192.0.2"] #"is no network"
    [nil] #"entry 1, nil, must be a string"
    "192.0.2.0/24" #"networks takes a sequence")
  (is (= :bad-options (:milter/error (thrown (network/networks ["x"])))))
  (is (re-find #"temse.network/networks" (:message (thrown (network/includes? ["::1"] "::1"))))))

(def ^:private nearby-address
  "Addresses that often meet."
  (gen/one-of [(gen/fmap #(apply str (interpose "." (into [192 0] %))) (gen/vector (gen/choose 0 255) 2))
               (gen/fmap (fn [[a b]] (format "2001:db8::%x:%x" a b)) (gen/vector (gen/choose 0 65535) 2))]))

(defn- bits
  [^String address]
  (BigInteger. 1 (.getAddress (InetAddress/getByName address))))

(defn- width
  [^String address]
  (alength (.getAddress (InetAddress/getByName address))))

(defn- within?
  "Says by arithmetic whether an address is in the network of a prefix length."
  [address [network length]]
  (let [shift (- (* 8 (long (width network))) (long length))]
    (and (= (width address) (width network))
         (= (.shiftRight ^BigInteger (bits address) shift) (.shiftRight ^BigInteger (bits network) shift)))))

(defn- text-of
  "Returns the network of a prefix length that an address is in."
  [[address length]]
  (let [n (long (width address))
        shift (- (* 8 n) (long length))
        octets (.toByteArray (.shiftLeft (.shiftRight ^BigInteger (bits address) shift) shift))]
    (str (.getHostAddress (InetAddress/getByAddress
                            (byte-array (take-last n (concat (repeat n 0) octets)))))
         "/" length)))

(def ^:private nearby-network
  (gen/bind nearby-address
            (fn [address]
              (gen/tuple (gen/return address)
                         (gen/choose 8 (* 8 (long (width address))))))))

(defspec networks-have-the-addresses-that-arithmetic-says 300
  (prop/for-all [given (gen/vector nearby-network 0 20)
                 address nearby-address]
    (let [entry (network/network-of (network/networks (map text-of given)) address)
          having (filter #(within? address %) given)]
      (= (some->> (seq having) (apply max-key second) second)
         (some->> entry (re-find #"\d+$") parse-long)))))

(deftest a-set-of-networks-prints-briefly
  (testing "whatever its size"
    (is (re-find #"^#<networks \[\"10.0.0.0\"" (pr-str (network/networks (map #(str "10.0." (quot % 256) "." (mod % 256))
                                                                           (range 10000))))))))

(deftest an-address-is-in-the-network-around-it
  (is (= ["192.0.2.0/24" "192.0.2.77/32" "0.0.0.0/0" "192.0.2.64/26"]
         (map #(network/around "192.0.2.77" % 64) [24 32 0 26])))
  (is (= "192.0.2.0/24" (network/around "IPv6:::ffff:192.0.2.77" 24 64)))
  (is (= ["2001:db8:0:0:0:0:0:0/64" "2001:db8:0:0:1:2:3:4/128"]
         (map #(network/around "2001:DB8::1:2:3:4" 24 %) [64 128])))
  (is (= [nil nil nil] (map #(network/around % 24 64) [nil "" "/run/socket"])))
  (doseq [lengths [[33 64] [-1 64] [24 129] ["24" 64]]]
    (is (= :bad-options (:milter/error (thrown (apply network/around "192.0.2.77" lengths)))) lengths)))

(defspec the-network-around-an-address-includes-it 200
  (prop/for-all [address nearby-address
                 v4 (gen/choose 0 32)
                 v6 (gen/choose 0 128)]
    (let [text (string/replace (text-of [address (* 8 (long (width address)))]) #"/.*" "")]
      (network/includes? (network/networks [(network/around text v4 v6)]) text))))
