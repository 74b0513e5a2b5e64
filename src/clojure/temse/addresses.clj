(ns temse.addresses
  "Sets of addresses and domains, to be asked for the sender or a recipient of a mail.

    (def ours (addresses [\"ann@example.net\" \"@example.org\" \"@.example.org\"]))
    (includes? ours \"<Bob@Example.ORG>\")       ;=> true
    (includes? ours \"<bob@lab.example.org>\")   ;=> true

  An entry is an address; or \"@example.org\", all addresses of a domain; or \"@.example.org\", those of all
  domains below it. The case of letters does not matter, nor does the way in which an address is quoted, nor
  how Unicode composes its characters. bücher.example and xn--bcher-kva.example are two domains here: list
  both."
  (:require
   [clojure.string :as string]
   [temse.address :as address]
   [temse.impl.keys :as keys])
  (:import
   (java.text Normalizer Normalizer$Form)
   (java.util Locale)))

(set! *warn-on-reflection* true)

(defn- folded
  ^String [text]
  (.toLowerCase (Normalizer/normalize text Normalizer$Form/NFC) Locale/ROOT))

(defn- comparable
  "Returns an address as text that is the same for all ways to write it."
  ^String [address]
  (folded (address/canonical (select-keys address [:local-part :domain :null?]))))

(def ^:private domain
  "An entry for a domain, or for those below it. No domain has the characters of patterns and lists."
  #"@\.?[^@\s.*?,;<>]+(?:\.[^@\s.*?,;<>]+)*+\.?")

(defn- entry
  "Returns an entry as it is looked for."
  [index given]
  (let [address (when (string? given) (address/parse-path given))]
    (cond
      (and (string? given) (re-matches domain given)) (string/replace (folded given) #"\.$" "")
      (and (or (:domain address) (:null? address)) (not= "*" (:local-part address))) (comparable address)
      :else (throw (keys/bad-option :addresses
                                    given
                                    (str "in addresses, entry " (inc (long index)) ", " (keys/shown given)
                                         ", must be \"ann@example.org\", an address, or \"@example.org\","
                                         " a domain, or \"@.example.org\", those below it"))))))

(deftype ^:private Addresses [given entries]
  Object
  (toString [_]
    (str "addresses " (keys/shown given))))

(defmethod print-method Addresses
  [addresses ^java.io.Writer writer]
  (.write writer (str "#<" addresses ">")))

(defn addresses
  "Returns a set of addresses and domains for `includes?`, from a sequence of entries; \"<>\" is the null
  path.

  Throws :bad-options that names the entry if one is neither address nor domain.

    (addresses [\"ann@example.net\" \"@example.org\"])"
  [entries]
  (when-not (or (nil? entries) (sequential? entries) (set? entries))
    (throw (keys/bad-option :addresses
                            entries
                            (str "addresses takes a sequence such as [\"ann@example.org\"], not "
                                 (keys/shown entries)))))
  (->Addresses (vec entries) (into #{} (map-indexed entry) entries)))

(def ^:private longest-domain
  "Characters: what is longer is no domain."
  255)

(defn- domains
  "Returns the entries that would include a domain as a whole."
  [domain]
  (cons (str "@" domain)
        (map #(str "@." %) (rest (take-while some? (iterate #(second (string/split % #"\." 2)) domain))))))

(defn includes?
  "Returns true if an address, a map of temse.address or the path of an envelope, is among `addresses` or in a
  domain that is; false also for what is no address.

  With `separators`, see `temse.address/sub-address`, ann+news@example.org is included where
  ann@example.org is.

    (includes? (addresses [\"ann@example.org\"]) \"<ann+news@example.org>\" \"+\")   ;=> true"
  ([addresses address-or-path]
   (includes? addresses address-or-path nil))
  ([addresses address-or-path separators]
   (when-not (instance? Addresses addresses)
     (throw (IllegalArgumentException.
              (str "the first argument must be what temse.addresses/addresses returned, not "
                   (keys/shown addresses)))))
   (let [{:keys [domain null?] :as address} (if (map? address-or-path)
                                              address-or-path
                                              (address/parse-path address-or-path))
         entries (.-entries ^Addresses addresses)
         at (fn [address]
              (let [whole (comparable address)]
                (or (contains? entries whole)
                    (boolean (some entries (domains (subs whole (inc (.lastIndexOf whole "@")))))))))]
     (cond
       null? (contains? entries "")
       (or (nil? domain) (< (long longest-domain) (count domain))) false
       :else (or (at address)
                 (and (some? separators)
                      (contains? entries
                                 (comparable (assoc address :local-part
                                                    (:user (address/sub-address address separators)))))))))))
