(ns temse.idna
  "Internationalised domains, by Unicode Technical Standard 46 without transitional processing: as A-labels,
  in ASCII, and as U-labels.

  Requires com.ibm.icu/icu4j, which temse does not bring along, since few filters need its 14 MB. The
  JDK's own java.net.IDN knows the rules of 2003 only.

  Reading never throws, and takes time in proportion to the text."
  (:require
   [clojure.string :as string]))

(set! *warn-on-reflection* true)

(try
  (import '(com.ibm.icu.text IDNA IDNA$Info))
  (catch ClassNotFoundException _
    (throw (IllegalStateException.
             (str "temse.idna requires ICU4J, 70 or later; add it to the dependencies:\n"
                  "  deps.edn    com.ibm.icu/icu4j {:mvn/version \"76.1\"}\n"
                  "  Leiningen   [com.ibm.icu/icu4j \"76.1\"]\n"
                  "  Maven       <dependency><groupId>com.ibm.icu</groupId>"
                  "<artifactId>icu4j</artifactId><version>76.1</version></dependency>")))))

(def ^:private ^IDNA rules
  (IDNA/getUTS46Instance (bit-or IDNA/NONTRANSITIONAL_TO_ASCII
                                 IDNA/NONTRANSITIONAL_TO_UNICODE
                                 IDNA/CHECK_BIDI
                                 IDNA/CHECK_CONTEXTJ)))

(def ^:private longest
  "Characters of a domain: 253 in ASCII, and room for what the mapping leaves out."
  1000)

(defn- converted
  "Returns what a conversion of a domain name yields, without a dot at its end, or nil."
  [name convert]
  (let [info (IDNA$Info.)
        text (string/replace (convert name (StringBuilder.) info) #"\.$" "")]
    (when-not (or (.hasErrors info) (re-find #"^$|[\x00-\x20\x7F@<>\[\]()\\,:;\"]" text))
      text)))

(defn- form
  "Returns what a conversion makes of a domain, which may be a literal, or nil."
  [domain convert]
  (when (and (string? domain) (<= (count domain) (long longest)))
    (if (re-matches #"\[[!-Z^-~]+\]" domain)
      domain
      (converted domain convert))))

(defn ascii
  "Returns a domain in lower case with A-labels in place of all others: what DNS is asked for, and the
  same for all ways to write one domain. A literal such as \"[192.0.2.1]\" stays as it is. Returns nil
  for what is no domain: labels that UTS 46 forbids, or that are too long.

    (ascii \"Bücher.example\")          ;=> \"xn--bcher-kva.example\"
    (ascii \"xn--bcher-kva.example\")   ;=> \"xn--bcher-kva.example\"
    (ascii \"straße.example\")          ;=> \"xn--strae-oqa.example\""
  [domain]
  (form domain (fn [^String name ^StringBuilder text ^IDNA$Info info]
                 (str (.nameToASCII rules name text info)))))

(defn unicode
  "Returns a domain in lower case with U-labels in place of A-labels, for people to read; nil for what
  is no domain. Do not decide by it: different letters may look the same.

    (unicode \"xn--bcher-kva.example\")   ;=> \"bücher.example\""
  [domain]
  (form domain (fn [^String name ^StringBuilder text ^IDNA$Info info]
                 (str (.nameToUnicode rules name text info)))))
