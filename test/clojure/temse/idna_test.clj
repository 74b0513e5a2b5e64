(ns temse.idna-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is]]
   [temse.address :as address]
   [temse.idna :as idna])
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

(deftest a-domain-has-one-form-in-ascii
  (are [domain expected] (= expected (idna/ascii domain))
    "Bücher.Example" "xn--bcher-kva.example"
    "XN--BCHER-KVA.example." "xn--bcher-kva.example"
    "bu\u0308cher.example" "xn--bcher-kva.example"
    "straße.example" "xn--strae-oqa.example"
    "例子。广告" "xn--fsqu00a.xn--4rr70v"
    "Mail.Example.ORG" "mail.example.org"
    "_dmarc.example.org" "_dmarc.example.org"
    "[192.0.2.1]" "[192.0.2.1]"
    "[IPv6:2001:db8::1]" "[IPv6:2001:db8::1]"))

(deftest a-domain-has-one-form-for-people
  (are [domain expected] (= expected (idna/unicode domain))
    "xn--bcher-kva.EXAMPLE" "bücher.example"
    "Bücher.example." "bücher.example"
    "example.org" "example.org"
    "[192.0.2.1]" "[192.0.2.1]"))

(deftest what-is-no-domain-has-no-form
  (doseq [domain [nil "" "." "a..b" "xn--a" "xn--\u00fc" "a b" "a@b" "a\u0000b" "-a.example" "\uDC80.example"
                  (string/join (repeat 64 "a")) (string/join (repeat 64 "ü")) "ü\u200d.example"
                  (string/join "." (repeat 200 "ab")) (string/join (repeat 1000000 "ü"))]]
    (is (nil? (idna/ascii domain)) (some-> domain (subs 0 (min 20 (count domain)))))))

(deftest ascii-is-made-alike-in-every-locale
  (let [before (Locale/getDefault)]
    (try
      (Locale/setDefault (Locale. "tr"))
      (is (= "title.example" (idna/ascii "TITLE.example")))
      (finally
        (Locale/setDefault before)))))

(deftest an-address-with-a-domain-beyond-ascii-becomes-one-for-every-mta
  (let [address (address/parse-path "<ann@bücher.example>")]
    (is (address/smtputf8? address))
    (is (= "ann@xn--bcher-kva.example" (address/bare (update address :domain idna/ascii))))
    (is (not (address/smtputf8? (update address :domain idna/ascii))))))

(deftest without-icu4j-it-says-what-to-add
  (let [class-path (->> (string/split (System/getProperty "java.class.path") #":")
                        (remove #(re-find #"icu4j" %))
                        (string/join ":"))
        command [(str (System/getProperty "java.home") "/bin/java") "-cp" class-path "clojure.main" "-e"
                 "(try (require 'temse.idna) (catch Throwable e (println (ex-message (or (ex-cause e) e)))))"]
        process (.start (.redirectErrorStream (ProcessBuilder. ^java.util.List command) true))]
    (is (re-find #"requires ICU4J.*\n.*deps.edn    com.ibm.icu/icu4j \{.*\n.*Leiningen   \[com.ibm.icu/icu4j .*\n.*Maven       <dependency>"
                 (slurp (.getInputStream process))))))

(deftest a-literal-beyond-ascii-is-no-domain
  (doseq [literal ["[192.0.2.\u0661]" "[\udcd2]" "[IPv6:2001:db8::\u00e9]"]]
    (is (nil? (idna/ascii literal)))
    (is (nil? (idna/unicode literal)))))
