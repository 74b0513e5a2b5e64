(ns temse.address-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.address :as address]
   [temse.support :refer [thrown]])
  (:import
   (java.lang.management ManagementFactory)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

;; ---- paths

(deftest a-path-is-read
  (are [path local-part domain] (= {:local-part local-part, :domain domain} (address/parse-path path))
    "<ann@example.org>" "ann" "example.org"
    "ann@example.org" "ann" "example.org"
    "  <ann@example.org> " "ann" "example.org"
    "<Ann.Lee+tag-1@Mail.Example.ORG>" "Ann.Lee+tag-1" "Mail.Example.ORG"
    "<!#$%&'*+-/=?^_`{|}~@example.org>" "!#$%&'*+-/=?^_`{|}~" "example.org"
    "<bounce+24-bob=shop.example@list.example>" "bounce+24-bob=shop.example" "list.example"
    "<ann@example.org.>" "ann" "example.org."
    "<ann@localhost>" "ann" "localhost"
    "<ann@under_score.example>" "ann" "under_score.example"
    ;; RFC 5321, section 4.1.2: quoted strings
    "<\"ann lee\"@example.org>" "ann lee" "example.org"
    "<\"ann\"@example.org>" "ann" "example.org"
    "<\"a@b\"@example.org>" "a@b" "example.org"
    "<\"a>b\"@example.org>" "a>b" "example.org"
    "<\"a\\\"b\\\\c\"@example.org>" "a\"b\\c" "example.org"
    "<\"\"@example.org>" "" "example.org"
    "<\"(no comment)\"@example.org>" "(no comment)" "example.org"
    ;; RFC 5321, section 4.1.3: literals
    "<ann@[192.0.2.1]>" "ann" "[192.0.2.1]"
    "<ann@[IPv6:2001:db8::1]>" "ann" "[IPv6:2001:db8::1]"
    "<ann@[tag:content]>" "ann" "[tag:content]"
    ;; RFC 5322, sections 3.2.2 and 4.4: comments, white space, obsolete local parts
    "<ann(the one (of two))@example.org>" "ann" "example.org"
    "<ann@(at \\) home)example.org>" "ann" "example.org"
    "(before) <ann@example.org> (after)" "ann" "example.org"
    "< ann . lee @ example . org >" "ann.lee" "example.org"
    "<\"ann\".lee.\"x y\"@example.org>" "ann.lee.x y" "example.org"
    "<ann@\r\n example.org>" "ann" "example.org"
    "<ann@[ 192.0.2.1 ]>" "ann" "[192.0.2.1]"
    ;; RFC 6531
    "<jörg@exämple.org>" "jörg" "exämple.org"
    "<用户@例子.广告>" "用户" "例子.广告"
    "<\"jörg @\"@example.org>" "jörg @" "example.org"
    ;; dots anywhere in a local part
    "<a..b@example.org>" "a..b" "example.org"
    "<.a.@example.org>" ".a." "example.org"))

(deftest a-path-may-lack-a-domain-or-all
  (is (= {:local-part "Postmaster"}
         (address/parse-path "<Postmaster>")
         (address/parse-path "Postmaster")))
  (is (= {:null? true} (address/parse-path "<>") (address/parse-path " < (nobody) > "))))

(deftest a-source-route-is-read
  (are [path route] (= {:local-part "ann", :domain "example.org", :route route}
                       (address/parse-path path))
    "<@a.example:ann@example.org>" ["a.example"]
    "<@a.example,@b.example:ann@example.org>" ["a.example" "b.example"]
    "@a.example,@[192.0.2.1]:ann@example.org" ["a.example" "[192.0.2.1]"]
    "<@a.example, , @b.example : ann@example.org>" ["a.example" "b.example"]))

(deftest what-is-no-path-is-nil
  (are [path] (nil? (address/parse-path path))
    "" " " "<" ">" "<<>>" "@" "<@>" "<ann@>" "<@example.org>" "<ann@example.org" "ann@example.org>"
    "<ann@@example.org>" "<ann@b@example.org>" "<ann lee@example.org>" "<\"ann\"lee@example.org>"
    "<\"ann@example.org>" "<ann(@example.org>" "<ann)@example.org>" "<ann@example..org>"
    "<ann@.example.org>" "<ann@exa mple.org>" "<ann@\"example.org\">" "<ann@[192.0.2.1>"
    "<ann@[]>" "<ann@[a[b]>" "<ann@a[192.0.2.1]>" "<ann\\@example.org>" "<ann\u0000@example.org>"
    "<\"ann\u0000\"@example.org>" "<\"ann\r\nDATA\"@example.org>" "<ann@example.org><bob@example.org>"
    "<ann@example.org>, <bob@example.org>" "Ann <ann@example.org>" "friends: ann@example.org;"
    "<@a.example:>" "<@a.example:ann>" "<@a.example ann@example.org>" "<a.example:ann@example.org>"
    "<@:ann@example.org>" "<ann@example.org> SIZE=100" "ann,bob@example.org")
  (is (nil? (address/parse-path nil))))

;; ---- lists

(defn- canonicals
  [value]
  (map address/canonical (address/parse-list value)))

(deftest the-examples-of-rfc-5322-are-read
  (are [value expected] (= expected (map (juxt :display-name address/canonical :group)
                                         (address/parse-list value)))
    ;; Appendix A.1.2
    "\"Joe Q. Public\" <john.q.public@example.com>"
    [["Joe Q. Public" "john.q.public@example.com" nil]]
    "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>"
    [["Mary Smith" "mary@x.test" nil] [nil "jdoe@example.org" nil] ["Who?" "one@y.test" nil]]
    "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>"
    [[nil "boss@nil.test" nil] ["Giant; \"Big\" Box" "sysservices@example.net" nil]]
    ;; Appendix A.1.3
    "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;"
    [["Ed Jones" "c@a.test" "A Group"] [nil "joe@where.test" "A Group"] ["John" "jdoe@one.test" "A Group"]]
    "Undisclosed recipients:;"
    []
    ;; Appendix A.5
    "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>"
    [["Pete" "pete@silly.test" nil]]
    "A Group(Some people)\n     :Chris Jones <c@(Chris's host.)public.example>,\n         joe@example.org,\n  John <jdoe@one.test> (my dear friend); (the end of the group)"
    [["Chris Jones" "c@public.example" "A Group"] [nil "joe@example.org" "A Group"]
     ["John" "jdoe@one.test" "A Group"]]
    "(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;"
    []
    ;; Appendix A.6
    "Joe Q. Public <john.q.public@example.com>"
    [["Joe Q. Public" "john.q.public@example.com" nil]]
    "Mary Smith <@node.test:mary@example.net>, , jdoe@test   . example"
    [["Mary Smith" "mary@example.net" nil] [nil "jdoe@test.example" nil]]))

(deftest lists-as-people-write-them-are-read
  (are [value expected] (= expected (canonicals value))
    "\"Smith, John\" <john@example.com>,\n Jane (a comment, with (parentheses)) <jane@example.com>"
    ["john@example.com" "jane@example.com"]
    "john@example.com <john@example.com>" ["john@example.com"]
    "'john@example.com' <john@example.com>; jane@example.com" ["john@example.com" "jane@example.com"]
    "Smith, John <john@example.com>" ["Smith" "john@example.com"]
    "[List] Owner <owner@example.com>" ["owner@example.com"]
    "Bob :-) <bob@example.com>" ["bob@example.com"]
    "<a@example.com> <b@example.com>" ["a@example.com" "b@example.com"]
    "<a@example.com> b@example.com" ["a@example.com" "b@example.com"]
    "<a@example.com> x, b" ["a@example.com" "b"]
    "<a@example.com> x: b;" ["a@example.com" "b"]
    "Friends: a@example.com, \"b b\"@example.com;, c@[IPv6:2001:db8::1]"
    ["a@example.com" "\"b b\"@example.com" "c@[ipv6:2001:db8::1]"]
    "=?utf-8?q?J=C3=B6rg?= <joerg@example.com>" ["joerg@example.com"]
    "Jörg Müller <jörg@exämple.com>" ["jörg@exämple.com"]
    "root" ["root"])
  (testing "and what is no address does no harm to the others"
    (are [value expected] (= expected (canonicals value))
      "<x@y" ["x@y"]
      "Ann <x@y, b@example.com" ["x@y" "b@example.com"]
      "<<x@y>" ["x@y"]
      "<x@y>>, b@example.com" ["x@y" "b@example.com"]
      "<>, <@>, ann lee, a@, @b, a@@b, b@example.com" ["b@example.com"]
      "\"open, a@example.com" []
      "a@example.com, (open, b@example.com" ["a@example.com"]
      "" []
      ",;:,,;" [])))

(deftest a-comment-beside-an-address-is-its-name
  (is (= [{:local-part "bob", :domain "example.com", :display-name "Bob (the builder)"}]
         (address/parse-list "bob@example.com (Bob\n (the  builder))"))))

(deftest a-name-has-no-control-characters
  (is (= [{:local-part "a", :domain "example.com", :display-name "Ann [31m Lee"}]
         (address/parse-list "\"Ann\u001b[31m\r\n\tLee\" <a@example.com>"))))

;; ---- writing

(deftest a-path-is-written-with-quotes-where-they-are-needed
  (are [local-part path] (= path (address/render-path {:local-part local-part, :domain "example.org"}))
    "ann" "<ann@example.org>"
    "ann.lee" "<ann.lee@example.org>"
    "jörg" "<jörg@example.org>"
    "ann lee" "<\"ann lee\"@example.org>"
    "a..b" "<\"a..b\"@example.org>"
    ".a" "<\".a\"@example.org>"
    "a@b" "<\"a@b\"@example.org>"
    "a\"\\" "<\"a\\\"\\\\\"@example.org>"
    "" "<\"\"@example.org>")
  (is (= "<>" (address/render-path {:null? true})))
  (is (= "<Postmaster>" (address/render-path {:local-part "Postmaster", :display-name "The one"})))
  (is (= "<@a,@b:c@d>" (address/render-path {:local-part "c", :domain "d", :route ["a" "b"]}))))

(deftest a-list-is-written
  (let [ann {:local-part "ann", :domain "example.org"}]
    (are [addresses value] (= value (address/render-list addresses))
      [] ""
      [ann] "ann@example.org"
      [(assoc ann :display-name "Ann Lee") ann] "Ann Lee <ann@example.org>, ann@example.org"
      [(assoc ann :display-name "Lee, \"Ann\"")] "\"Lee, \\\"Ann\\\"\" <ann@example.org>"
      [(assoc ann :group "a b") (assoc ann :group "a b") ann] "a b: ann@example.org, ann@example.org;, ann@example.org"
      [(assoc ann :route ["x"])] "<@x:ann@example.org>")))

(deftest what-is-no-address-is-not-written
  (are [given problem] (string/includes? (str (:message (thrown (address/render-path given)))) problem)
    {:local-part "a\r\nDATA"} "in an address, :local-part must be a string without CR, LF and NUL"
    {:local-part "a" :domain "b>"} ":domain must be a domain such as"
    {:local-part "a" :domain "b\r\n"} ":domain must be a domain such as"
    {:local-part "a" :domian "b"} "there is no key :domian in an address; did you mean :domain?"
    {:local-part "a" :route []} ":route must be a vector of domains"
    {:local-part "a" :route ["b"]} "and a :domain if it has a :route"
    {:local-part "a" :display-name "b\nBcc: c"} ":display-name must be a text in one line"
    {:domain "b"} "an address has a :local-part"
    {} "an address has a :local-part"
    nil "an address has a :local-part"
    "<a@b>" "an address must be a map"))

(deftest what-is-one-address-has-one-canonical-form
  (are [path canonical] (= canonical (address/canonical (address/parse-path path)))
    "<\"ann\"@Example.ORG.>" "ann@example.org"
    "<@a,@b:ann@example.org>" "ann@example.org"
    "<Ann@example.org>" "Ann@example.org"
    "<\"a b\"@example.org>" "\"a b\"@example.org"
    "<ann@[IPv6:2001:DB8::1]>" "ann@[ipv6:2001:db8::1]"
    "<Postmaster>" "Postmaster"
    "<>" ""))

;; ---- laws

(def ^:private nasty
  "Texts of what addresses are made of, and of what breaks them."
  (gen/fmap string/join
            (gen/vector (gen/frequency
                          [[8 (gen/elements ["a" "b" "ann" "example.org" "@" "<" ">" "," ";" ":" "." " "])]
                           [4 (gen/elements ["\"" "\\" "(" ")" "[" "]" "\\\"" "(x)" "\"q r\"" "[1.2]"
                                             "[IPv6:::1]" "<a@b>" "@r:" "G:"])]
                           [2 (gen/elements ["\r\n " "\n\t" "\r" "\n" "\u0000" "\u007f" "\u001b" "ü" "\u3000"
                                             "\u0085" "\ud83d\ude00" "\udcff"])]
                           [1 gen/string]])
                        0 20)))

(defspec a-path-that-was-read-is-the-same-when-it-is-written-and-read-again 3000
  (prop/for-all [text nasty]
    (let [path (address/parse-path text)]
      (or (nil? path)
          (= path (address/parse-path (address/render-path path)))))))

(defspec so-is-a-list 3000
  (prop/for-all [text nasty]
    (let [addresses (address/parse-list text)]
      (= addresses (address/parse-list (address/render-list addresses))))))

(defspec what-is-written-stays-in-its-line 1000
  (prop/for-all [text nasty]
    (let [addresses (address/parse-list text)]
      (not-any? #(re-find #"[\r\n\u0000]" %)
                (cons (address/render-list addresses) (map address/render-path addresses))))))

(def ^:private one-address
  (let [line (gen/fmap #(string/replace % #"[\r\n\u0000]" "") gen/string)
        domain (gen/elements ["example.org" "b" "exämple.org" "[192.0.2.1]" "example.org."])
        display-name (gen/elements ["Ann" "Ann Lee" "Lee, Ann" "a.b" "a\\\"b" "Jörg" "<a@b>" "(c)" "a:b;"])]
    (gen/let [local-part line
              route (gen/vector domain 0 2)
              domain domain
              display-name (gen/one-of [(gen/return nil) display-name])]
      (cond-> {:local-part local-part, :domain domain}
        display-name (assoc :display-name display-name)
        (seq route) (assoc :route route)))))

(defspec every-address-can-be-written-and-read 1000
  (prop/for-all [addresses (gen/vector one-address 0 4)]
    (and (= addresses (address/parse-list (address/render-list addresses)))
         (= (map #(dissoc % :display-name) addresses)
            (map (comp address/parse-path address/render-path) addresses)))))

(defn- cpu-nanos
  []
  (.getCurrentThreadCpuTime (ManagementFactory/getThreadMXBean)))

(defn- repeated
  [times piece]
  (string/join (repeat times piece)))

(deftest texts-of-any-length-are-read-in-linear-time
  (doseq [text (concat (map #(repeated 50000 %)
                            ["<" ">" "@" "," ":" ";" "(" "[" "\"" "\\" "." "a " "()" "\"\"" "<a@b>" "<@" "<(" "@a,"
                             "<@a," "\r\n " "[a]"])
                       (map #(str "<" (repeated 30000 "()") "@a" (repeated 30000 %)) ["," "()" "<" "@"]))]
    (let [begin (cpu-nanos)]
      (address/parse-path text)
      (address/parse-list text)
      (is (< (- (cpu-nanos) begin) 5000000000) (subs text 0 10)))))

(deftest bytes-that-are-no-utf-8-survive
  (let [text (Text/decode (byte-array [0x3c 0x61 -1 0x40 0x62 0x3e]))]
    (is (= text (address/render-path (address/parse-path text))))))

;; ---- parts

(deftest parts-are-read-from-paths-and-addresses
  (are [path bare local-part domain] (= [bare local-part domain]
                                        ((juxt address/bare address/local-part address/domain) path)
                                        (let [address (address/parse-path path)]
                                          (when address
                                            ((juxt address/bare address/local-part address/domain) address))))
    "<ann@Example.ORG>" "ann@Example.ORG" "ann" "Example.ORG"
    "ann@example.org" "ann@example.org" "ann" "example.org"
    "<@a.example:\"ann lee\"@example.org>" "\"ann lee\"@example.org" "ann lee" "example.org"
    "<ann@[IPv6:2001:db8::1]>" "ann@[IPv6:2001:db8::1]" "ann" "[IPv6:2001:db8::1]"
    "<Postmaster>" "Postmaster" "Postmaster" nil
    "<>" "" nil nil)
  (doseq [text [nil "" "<ann@>" "ann lee@example.org"]]
    (is (= [nil nil nil nil] ((juxt address/bare address/local-part address/domain address/sub-address) text)))))

(deftest a-sub-address-is-divided-at-the-first-separator
  (are [path separators expected] (= expected (address/sub-address path separators))
    "<ann+news@example.org>" "+" {:user "ann", :detail "news"}
    "<ann+news+x@example.org>" "+" {:user "ann", :detail "news+x"}
    "<ann-news+x@example.org>" "+-" {:user "ann", :detail "news+x"}
    "<ann-news@example.org>" "+" {:user "ann-news"}
    "<ann+@example.org>" "+" {:user "ann", :detail ""}
    "<+news@example.org>" "+" {:user "+news"}
    "<\"ann lee+x y\"@example.org>" "+" {:user "ann lee", :detail "x y"}
    "<>" "+" nil)
  (is (= {:user "ann", :detail "x"} (address/sub-address {:local-part "ann+x"})))
  (is (= :bad-options (:milter/error (thrown (address/sub-address "<a@b>" ""))))))

(deftest characters-beyond-ascii-need-smtputf8
  (is (address/smtputf8? "<jörg@example.org>"))
  (is (address/smtputf8? {:local-part "ann", :domain "bücher.example"}))
  (is (not-any? address/smtputf8? ["<ann@xn--bcher-kva.example>" "<>" "no address ü" nil])))

(deftest a-list-says-whether-something-was-left-out
  (doseq [text ["" "ann@example.org" "Ann <ann@example.org>, (nobody), friends:;" "a@b.c,,d@e.f," "<ann@example.org"]]
    (is (= {:left-out? false} (meta (address/parse-list text))) text))
  (doseq [text ["ann@example.org bob@example.org" "<ann@example.org> bob" "<>" "<ann@example.org>, evil@" "@" "a@@b"
                "ann@example.org>" "\"ann" "<ann@example.org, bob@example.org>"]]
    (is (= {:left-out? true} (meta (address/parse-list text))) text)))
