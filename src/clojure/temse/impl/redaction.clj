(ns temse.impl.redaction
  "Takes out of a recording what must not be kept, so that its structure stays."
  {:no-doc true}
  (:require
   [clojure.string :as string])
  (:import
   (java.security SecureRandom)
   (java.util HexFormat)
   (javax.crypto Mac)
   (javax.crypto.spec SecretKeySpec)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn secret
  "Returns a random key, without which nobody can try out which address a hash stands for."
  []
  (let [bytes (byte-array 32)]
    (.nextBytes (SecureRandom.) bytes)
    (.formatHex (HexFormat/of) bytes)))

(defn- hash-of
  [^String key ^String text]
  (let [mac (doto (Mac/getInstance "HmacSHA256")
              (.init (SecretKeySpec. (Text/encodeBytes key) "HmacSHA256")))]
    (.formatHex (HexFormat/of) (.doFinal mac (Text/encodeBytes text)) 0 5)))

(defn- hashed-domain
  [key domain]
  (str (hash-of key (string/lower-case domain)) ".example"))

(defn- hashed-address
  "Returns the hash of a bare address; domains are hashed by themselves, so that equal ones stay
  equal."
  [key address]
  (let [at (string/last-index-of address "@")]
    (cond
      (= "" address) ""
      at (str (hash-of key (subs address 0 at)) "@" (hashed-domain key (subs address (inc (long at)))))
      :else (hash-of key address))))

(defn- hashed-path
  [key path]
  (if-let [[_ address] (re-matches #"(?s)<(.*)>" path)]
    (str "<" (hashed-address key address) ">")
    (hashed-address key path)))

(defn- hashed-text
  "Returns the text with the hashes of all addresses in it."
  [key text]
  (string/replace text #"[^\s<>\"(),;:=\[\]]+@[^\s<>\"(),;:=\[\]]+" #(hashed-address key %)))

(defn- hashed-macro
  [key macro-name value]
  (case macro-name
    ("mail_host" "rcpt_host") (hashed-domain key value)
    ("mail_addr" "rcpt_addr" "auth_authen" "auth_author") (hashed-path key value)
    (hashed-text key value)))

(defn- texts
  "Returns the map with the texts under the keys, alone or in a vector, replaced."
  [m ks f]
  (reduce (fn [m k]
            (cond
              (string? (get m k)) (update m k f)
              (vector? (get m k)) (update m k #(mapv f %))
              :else m))
          m
          ks))

(defn- without-addresses
  [{:keys [event action] :as m} key]
  (cond-> (texts m [:value :text :reason :options :parameters] #(hashed-text key %))
    (#{:mail :recipient} event) (texts [:sender :address] #(hashed-path key %))
    (= :unknown event) (texts [:command] #(hashed-text key %))
    (= :define-macro event) (update :definitions
                                    #(into {} (map (fn [[k v]] [k (hashed-macro key k v)])) %))
    action (texts [:address] #(hashed-path key %))))

(defn- dropped
  [body]
  (Text/encodeBytes (str "[" (alength ^bytes body) " bytes]\r\n")))

(defn- without-body
  [m]
  (reduce #(cond-> %1 (bytes? (get %1 %2)) (update %2 dropped)) m [:data :body]))

(defn- without-value
  [{:keys [name value] :as m} names]
  (if (and value name (names (string/lower-case name)))
    (assoc m :value (str "[" (count value) " characters]"))
    m))

(defn redacted
  "Returns the recording without what the option :redact of a recorder names."
  [recording {:keys [addresses? bodies? headers key]}]
  (let [names (into #{} (map string/lower-case) headers)
        clean (fn [m]
                (cond-> (without-value m names)
                  bodies? without-body
                  addresses? (without-addresses key)))]
    (update recording :conversation
            (partial mapv #(-> %
                               (update :event clean)
                               (update :response (fn [response] (some->> response (mapv clean)))))))))
