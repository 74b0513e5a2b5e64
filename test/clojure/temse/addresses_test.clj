(ns temse.addresses-test
  "Sets of addresses and domains."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.addresses :as addresses :refer [addresses includes?]]
   [temse.support :refer [thrown]]))

(set! *warn-on-reflection* true)

(def ^:private some-addresses
  (addresses ["ann@example.net" "@example.org" "@.lab.example" "<\"b b\"@example.com>" "jo\u0308rg@example.de"]))

(deftest addresses-are-included-however-they-are-written
  (doseq [path ["<ann@example.net>" "ANN@Example.NET" "\"ann\"@example.net." "<@relay.example:ann@example.net>"
                "<anybody@example.org>" "<x@EXAMPLE.org>" "x@a.lab.example" "x@b.a.lab.example" "\"b b\"@example.com"
                "j\u00f6rg@example.de"]]
    (is (true? (includes? some-addresses path)) path)))

(deftest others-are-not-included
  (doseq [path ["<bob@example.net>" "<ann@example.net.evil.example>" "x@a.example.org" "x@lab.example" "x@elab.example"
                "<>" "" "ann" "no address" nil "a.ann@example.net" "ann+news@example.net" "@example.org"
                (str "x@" (apply str (repeat 100 "a.")) "lab.example" (apply str (repeat 30 ".lab.example")))]]
    (is (false? (includes? some-addresses path)) path))
  (is (false? (includes? (addresses nil) "<ann@example.net>"))))

(deftest the-null-path-is-an-entry-of-its-own
  (is (true? (includes? (addresses ["<>"]) "<>")))
  (is (false? (includes? (addresses ["<>"]) "<ann@example.net>"))))

(deftest details-of-sub-addresses-are-left-out-on-request
  (is (true? (includes? some-addresses "<ann+news@example.net>" "+")))
  (is (true? (includes? some-addresses "<ann-news@example.net>" "+-")))
  (is (false? (includes? some-addresses "<ann-news@example.net>" "+")))
  (is (true? (includes? some-addresses {:local-part "ann+x", :domain "example.net"} "+"))))

(deftest what-is-no-entry-is-named
  (doseq [entry ["example.org" "@" "@." "ann" 'ann nil "@a b" "@*.example.org" "@*" "*@example.org" "@example.org>" "@example.org,"
                 "@example.org;@example.net" "@.." "@a..b"]]
    (is (re-find #"entry 2, .* must be" (:message (thrown (addresses ["@example.org" entry])))) entry))
  (is (re-find #"takes a sequence" (:message (thrown (addresses "@example.org")))))
  (is (re-find #"addresses returned" (:message (thrown (includes? ["@example.org"] "<a@example.org>"))))))

(deftest an-address-of-many-labels-takes-no-longer-than-its-length
  (is (false? (includes? some-addresses (str "x@" (string/join "." (repeat 1000000 "a")))))))
