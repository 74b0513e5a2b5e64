(ns temse.inspector-test
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check :as tc]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.action :as act]
   [temse.impl.inspector.conversations :as conversations]
   [temse.impl.inspector.disagreement :as disagreement]
   [temse.impl.inspector.entry :as entry]
   [temse.impl.inspector.feed :as feed]
   [temse.impl.inspector.rerun :as rerun]
   [temse.impl.json :as json]
   [temse.inspector :as inspector]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.shadow :as shadow]
   [temse.support :refer [thrown]]
   [temse.test :as mt])
  (:import
   (java.io BufferedReader Closeable InputStreamReader)
   (java.net Socket URI)
   (java.nio.charset StandardCharsets)
   (java.time Instant)
   (java.util.concurrent Semaphore)))

(set! *warn-on-reflection* true)

(def ^:private filter-options
  {:port 0
   :handlers {:mail (fn [_ context] (assoc context :recipients 0))
              :recipient (fn [_ context] (update context :recipients inc))
              :header (fn [_ context] context)
              :body (fn [_ context] context)
              :end-of-message (fn [_ context]
                                (milter/respond context
                                                (act/add-header "X-Seen" "yes")
                                                (assoc (act/accept) :why {:score 1})))}
   :actions #{:add-header}})

(defn- opened
  "Sends a request and returns its socket and reader."
  [url {:keys [method path host fields] :or {method "GET"}}]
  (let [uri (URI. url)
        socket (doto (Socket. "127.0.0.1" (.getPort uri)) (.setSoTimeout 10000))]
    (.write (.getOutputStream socket)
            (.getBytes (str method " " (or path (.getPath uri)) " HTTP/1.1\r\nHost: "
                            (or host (.getAuthority uri)) "\r\nConnection: close\r\n"
                            (string/join (for [[k v] fields] (str k ": " v "\r\n")))
                            "\r\n")
                       StandardCharsets/ISO_8859_1))
    [socket (BufferedReader. (InputStreamReader. (.getInputStream socket) StandardCharsets/UTF_8))]))

(defn- answer
  "Returns the status, the header fields and the text of an answer."
  [url request]
  (let [[^Socket socket ^BufferedReader reader] (opened url request)]
    (with-open [_ socket]
      (let [[status & fields] (take-while seq (repeatedly #(.readLine reader)))]
        {:status (parse-long (second (re-find #" (\d+)" status)))
         :fields (into {} (map (fn [field]
                                 (let [[k v] (string/split field #": " 2)]
                                   [(string/lower-case k) v])))
                       fields)
         :text (slurp reader)}))))

(defn- status
  [url request]
  (:status (answer url request)))

(defn- with-inspector
  [f]
  (milter/with-milter [server filter-options]
    (with-open [^Closeable inspector (inspector/inspect server)]
      (f server (:url inspector)))))

(defn- streamed
  "Returns the entries that a browser receives, as JSON, up to the first one that fits."
  [url last? send]
  (let [[^Socket socket ^BufferedReader reader] (opened (str url "events") {})]
    (with-open [_ socket]
      (send)
      (loop [entries []]
        (let [line (.readLine reader)]
          (cond
            (nil? line) entries
            (not (string/starts-with? line "data: {\"")) (recur entries)
            (last? line) (conj entries (subs line 6))
            :else (recur (conj entries (subs line 6)))))))))

(deftest only-who-has-the-token-and-comes-from-this-machine-sees-anything
  (with-inspector
    (fn [_ url]
      (let [port (.getPort (URI. url))
            wrong (string/replace url #"/[^/]+/$" "/AAAAAAAAAAAAAAAAAAAAAA/")]
        (is (re-find #"/[A-Za-z0-9_-]{22}/$" url))
        (is (= 200 (status url {})))
        (is (= 200 (status url {:host (str "localhost:" port)})))
        (doseq [path ["/" "/events" "/inspector.js" (.getPath (URI. wrong)) (str (.getPath (URI. wrong)) "events")]]
          (is (= 403 (status url {:path path})) path))
        (doseq [host ["evil.example" (str "evil.example:" port) "127.0.0.1" (str "127.0.0.1:" (inc port)) ""]]
          (is (= 403 (status url {:host host})) host))
        (is (= 405 (status url {:method "POST"})))
        (is (= 404 (status (str url "../deps.edn") {})))
        (is (= 404 (status (str url "%2e%2e/x") {})))))))

(deftest every-answer-forbids-what-the-page-does-not-need
  (with-inspector
    (fn [_ url]
      (doseq [path ["" "inspector.css" "inspector.js" "none"]
              :let [{:keys [fields]} (answer (str url path) {})]]
        (is (string/starts-with? (fields "content-security-policy") "default-src 'none'; script-src 'self';"))
        (is (not (re-find #"unsafe|\*" (fields "content-security-policy"))))
        (is (= ["no-referrer" "no-store" "nosniff" "DENY"]
               (map fields ["referrer-policy" "cache-control" "x-content-type-options" "x-frame-options"]))))
      (testing "and the page has no script or style of its own, and nothing of elsewhere"
        (let [{:keys [text]} (answer url {})]
          (is (not (re-find #"(?i)<script(?! src=\"inspector\.js\")|<style|style=|\bon\w+=|//" text))))
        (is (not (re-find #"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("
                          (:text (answer (str url "inspector.js") {})))))))))

(deftest what-happens-is-streamed-as-it-happens-and-what-has-happened-to-who-comes-late
  (with-inspector
    (fn [server url]
      (let [send #(mt/run-message server {:sender "<a@example.org>" :headers [["Subject" "hi"]] :body "text\r\n"})
            last? #(string/includes? % "\"verdict\":\"accepted\"")
            live (streamed url last? send)
            late (streamed url last? (fn []))]
        (is (= live late))
        (is (some #(string/includes? % "\"negotiation\":{") live))
        (is (some #(string/includes? % "\"changes\":[[\":recipients\",\"0\",\"1\"]]") live))
        (is (some #(string/includes? % "\"why\":\"{:score 1}\"") live))
        (is (some #(string/includes? % "\"+ X-Seen: yes\"") live))))))

(deftest nobody-watches-once-the-inspector-is-closed
  (milter/with-milter [server filter-options]
    (let [{:keys [url] :as inspector} (inspector/inspect server)]
      (.close ^Closeable inspector)
      (is (= "Connection refused" (:message (thrown (status url {}))))))
    (is (= :accept (:verdict (mt/run-message server {}))))))

(deftest wrong-use-is-refused
  (is (re-find #"takes a milter that runs, not 5" (:message (thrown (inspector/inspect 5)))))
  (milter/with-milter [server filter-options]
    (is (re-find #"did you mean :port" (:message (thrown (inspector/inspect server {:prot 1})))))
    (with-open [^Closeable inspector (inspector/inspect server)]
      (is (re-find #"another program listens there"
                   (:message (thrown (inspector/inspect server {:port (.getPort (URI. (:url inspector)))}))))))))

;; ---- replay

(defn- exchange
  [event & [more]]
  (merge {:id 1, :peer "inet:1@127.0.0.1", :mail 1, :event event, :response [{:action :continue}]
          :at (Instant/now), :millis 0.1}
         more))

(def ^:private send-mail
  #(mt/run-message % {:sender "<a@example.org>" :headers [["Subject" "hi"]] :body "text\r\n"}))

(def ^:private accepted? #(string/includes? % "\"verdict\":\"accepted\""))

(defn- sent
  "Sends a mail, and returns the number of its connection when the inspector has seen its end."
  [server url]
  (let [entries (streamed url accepted? #(send-mail server))]
    (second (re-find #"\"id\":(\d+)" (peek entries)))))

(defn- origin
  [url]
  (re-find #"http://[^/]+" url))

(defn- replayed
  [url id]
  (answer url {:method "POST"
               :path (str (.getPath (URI. url)) "replay/" id)
               :fields {"Origin" (origin url), "Sec-Fetch-Site" "same-origin", "Content-Length" 0}}))

(def ^:private refusing
  {:mail (fn [_ context] context)
   :recipient (fn [_ context]
                (milter/respond context (act/reply-code 550 "5.7.1" "Not <b>today</b>")))})

(deftest a-conversation-is-replayed-with-the-handlers-of-now
  (with-inspector
    (fn [server url]
      (let [id (sent server url)
            {:keys [status fields text]} (replayed url id)]
        (is (= [200 "application/json"] [status (fields "content-type")]))
        (is (string/includes? text "\"count\":0,\"differences\":[]") text)
        (is (string/includes? text "\"unseen\":[\"connect\",\"data\",\"end-of-headers\",\"hello\",\"unknown\"]"))
        (milter/swap-handlers! server refusing)
        (let [{:keys [text]} (replayed url id)]
          (is (re-find #"\"count\":[1-9]" text))
          (is (string/includes? text "\"differs\":[\"verdict\"],\"then\":[{\"text\":\"continue\""))
          (is (string/includes? text "550 5.7.1 Not <b>today</b>")))))))

(deftest handlers-that-init-gives-are-replayed-as-they-are-after-a-swap
  (milter/with-milter [server {:port 0
                               :init #(assoc % :handlers (:handlers filter-options))
                               :actions #{:add-header}}]
    (with-open [^Closeable inspector (inspector/inspect server)]
      (let [url (:url inspector)
            id (sent server url)]
        (is (string/includes? (:text (replayed url id)) "\"count\":0"))
        (milter/swap-handlers! server refusing)
        (is (string/includes? (:text (replayed url id)) "550 5.7.1"))
        (milter/reload-milter server (assoc filter-options :daemon? true))
        (is (string/includes? (:text (replayed url id)) "\"count\":0"))))))

(deftest only-the-page-itself-can-ask-for-a-replay
  (let [called (atom 0)]
    (milter/with-milter [server {:port 0, :handlers {:mail (fn [_ context]
                                                             (swap! called inc)
                                                             context)}}]
      (with-open [^Closeable inspector (inspector/inspect server)]
        (let [url (:url inspector)
              path (str (.getPath (URI. url)) "replay/" (sent server url))
              own {"Origin" (origin url), "Content-Length" 0}
              asked #(status url (merge {:method "POST", :path path, :fields own} %))]
          (is (= 200 (asked {})))
          (is (= 2 @called))
          (doseq [origin ["null" "http://evil.example" (str (origin url) ".evil.example") "https://localhost"]]
            (is (= 403 (asked {:fields (assoc own "Origin" origin)})) origin))
          (is (= 403 (asked {:fields (dissoc own "Origin")})))
          (doseq [site ["cross-site" "same-site" "none"]]
            (is (= 403 (asked {:fields (assoc own "Sec-Fetch-Site" site)})) site))
          (is (= 403 (asked {:host "evil.example", :fields (assoc own "Origin" "http://evil.example")})))
          (is (= 403 (asked {:path (string/replace path #"/[^/]+/replay" "/AAAAAAAAAAAAAAAAAAAAAA/replay")})))
          (is (= 405 (asked {:method "GET"})))
          (is (= 405 (asked {:path (str (.getPath (URI. url)) "replay/x")})))
          (is (= 2 @called)))))))

(deftest what-cannot-be-replayed-says-why
  (with-inspector
    (fn [_ url]
      (is (string/includes? (:text (replayed url 77)) "opened after the connection began"))))
  (let [kept (conversations/conversations {:max-conversation-bytes 10000, :max-bytes 16000, :max-conversations 2})
        began (fn [id]
                (conversations/remember kept (exchange {:event :options, :version 6} {:id id}) false))
        body (fn [id size]
               (conversations/remember kept (exchange {:event :body, :data (byte-array size)} {:id id}) false))]
    (began 1)
    (body 1 100)
    (is (= 2 (count (:conversation (conversations/recording kept 1)))))
    (testing "too long, which is not kept from then on"
      (body 1 9000)
      (body 1 1)
      (is (string/includes? (:problem (conversations/recording kept 1)) "was cut")))
    (testing "the oldest is dropped, by bytes and by number, never that which goes on"
      (began 2)
      (body 2 5000)
      (began 3)
      (is (nil? (:problem (conversations/recording kept 2))))
      (is (string/includes? (:problem (conversations/recording kept 1)) "dropped"))
      (body 3 5000)
      (body 2 1)
      (is (= 3 (count (:conversation (conversations/recording kept 2)))))
      (began 4)
      (is (= [true false false] (map #(some? (:problem (conversations/recording kept %))) [2 3 4])))
      (body 4 7000)
      (is (= [true true false] (map #(some? (:problem (conversations/recording kept %))) [2 3 4]))))
    (testing "what has been dropped comes back with its next beginning only"
      (body 2 1)
      (is (some? (:problem (conversations/recording kept 2)))))))

(def ^:private recorded
  {:conversation [{:event {:event :options, :version 6, :actions #{}, :protocol #{}}
                   :response [{:event :options, :version 6, :actions #{}, :protocol #{}}]}
                  {:event {:event :hello, :greeting "mx.example.org"}, :response [{:action :continue}]}
                  {:event {:event :mail, :sender "<a@example.org>"}, :response [{:action :continue}]}]})

(deftest a-replay-that-takes-too-long-is-stopped-and-only-then-may-another-begin
  (let [entered (promise)
        leave (promise)
        calls (atom 0)
        stubborn (fn [_ context]
                   (swap! calls inc)
                   (deliver entered true)
                   (loop []
                     (when-not (try
                                 (deref leave)
                                 (catch InterruptedException _))
                       (recur)))
                   context)
        options {:name "x", :handlers {:hello stubborn, :mail stubborn}}
        runner (rerun/runner 1000)
        first-outcome (future (rerun/outcome runner (constantly recorded) options))]
    @entered
    (is (= "Another replay has not ended yet." (:problem (rerun/outcome runner (constantly recorded) options))))
    (is (string/includes? (:problem @first-outcome) "was stopped: it took longer than 1 seconds"))
    (is (= "Another replay has not ended yet." (:problem (rerun/outcome runner (constantly recorded) options))))
    (deliver leave true)
    (.acquire ^Semaphore (:turn runner))
    (.release ^Semaphore (:turn runner))
    (is (= 1 @calls) "nothing more of it is played")
    (is (= 0 (:count (rerun/outcome runner (constantly recorded) options))))))

(deftest the-failure-of-a-replay-is-a-text
  (let [failing {:name "x", :init (fn [_] (throw (StackOverflowError. "too \u001b deep"))), :handlers {:mail (fn [_ c] c)}}
        runner (rerun/runner)]
    (is (= "The replay failed: java.lang.StackOverflowError: too \\u001b deep"
           (:problem (rerun/outcome runner #(throw (StackOverflowError. "too \u001b deep")) {}))))
    (is (= [{:text "no answer", :tone :refuse}] (:now (first (:differences (rerun/outcome runner (constantly recorded) failing))))))
    (is (re-find #"(?s)The replay failed: .*handlers" (:problem (rerun/outcome runner (constantly recorded) {:name "x", :handlers 5}))))
    (is (= 0 (:count (rerun/outcome runner (constantly recorded) {:name "x", :handlers {:mail (fn [_ c] c)}}))))))

(deftest answers-that-look-the-same-are-shown-with-what-differs-in-them
  (let [differing #(:lines (disagreement/of {:event {:event :end-of-message}, :differs #{:modifications}}
                                            [(act/change-body %1)] [(act/change-body %2)]))]
    (is (= ["- b" "+ c"] (differing "a\r\nb\r\n" "a\r\nc\r\n")))
    (is (> 100 (count (differing (string/join (map #(str "a" % "\r\n") (range 10000)))
                                 (string/join (map #(str "b" % "\r\n") (range 10000)))))))))

;; ---- shadow

(deftest what-a-shadow-reports-is-streamed
  (let [report (atom {})
        live (select-keys filter-options [:handlers :actions])]
    (milter/with-milter [server (assoc (shadow/shadow live refusing {:report report}) :port 0)]
      (with-open [^Closeable inspector (inspector/inspect server {:shadow report})]
        (let [url (:url inspector)
              shown (peek (streamed url #(string/includes? % "\"conversations\":1") #(send-mail server)))
              id (some #(second (re-find #"\"id\":(\d+)" %)) (streamed url accepted? (fn [])))]
          (is (string/includes? shown "\"disagreed\":1"))
          (is (string/includes? shown "Not <b>today</b>"))
          (is (string/includes? shown "\"differs\":[[\"verdict\",1]]"))
          (testing "to which a replay is another conversation"
            (is (seq (streamed url
                               #(string/includes? % "\"conversations\":2")
                               #(is (string/includes? (:text (replayed url id)) "\"count\":0")))))
            (is (= {:conversations 2, :cut 0} (select-keys @report [:conversations :cut])))))))
    (is (re-find #":shadow must be the atom that is the :report"
                 (:message (milter/with-milter [server filter-options]
                             (thrown (inspector/inspect server {:shadow (atom 5)}))))))))

;; ---- JSON

(defn- unescaped
  "Reads a JSON string as JavaScript does."
  [^String json]
  (string/replace (subs json 1 (dec (count json)))
                  #"\\(?:u([0-9a-f]{4})|(.))"
                  (fn [[_ code c]]
                    (if code
                      (str (char (Integer/parseInt code 16)))
                      (get {"n" "\n", "r" "\r", "t" "\t"} c c)))))

(deftest json-is-one-line-of-ascii-that-reads-as-what-was-written
  (let [text (gen/fmap #(apply str (map char %)) (gen/vector (gen/one-of [(gen/choose 0 127) (gen/choose 0 0xD7FF)])))
        {:keys [result fail]} (tc/quick-check
                                500
                                (prop/for-all [s text]
                                  (let [json (json/text s)]
                                    (and (re-matches #"\"[ -~]*\"" json)
                                         (not (re-find #"(?<!\\)(?:\\\\)*\"." (subs json 1)))
                                         (= s (unescaped json)))))
                                :seed runner/seed)]
    (is (true? result) (str fail)))
  (is (= "{\"a\":[1,2.5,null,true,\"k\"],\"b\":{\"x y\":\"\\u00e4\"},\"c\":null}"
         (json/text (array-map :a [1 2.5 nil true :k] :b {"x y" "ä"} :c ##NaN)))))

;; ---- bounds

(deftest texts-of-strangers-are-printable-and-cut
  (let [hostile (str "\u001b]0;x\u0007\u202e\u0000" (apply str (repeat 100000 "long ")))
        endless (range)
        deep (nth (iterate vector 1) 10000)
        shown (json/text (entry/of (exchange {:event :header, :name hostile, :value hostile}
                                             {:before {:a 1}
                                              :after {:a endless, :b deep, :c hostile, hostile (byte-array 10000000)}
                                              :failure (RuntimeException. hostile)
                                              :response (repeat 10000 (act/reply-code 550 "5.7.1" hostile))})))]
    (is (< (count shown) 200000))
    (is (not (re-find #"\\u001b|\\u0007|\\u202e|\\u0000" (string/replace shown "\\\\" ""))))))

(deftest what-is-kept-and-what-waits-for-slow-browsers-is-bounded
  (let [feed (feed/feed {:max-entries 10, :max-queue 5, :max-bytes 100000})
        slow (feed/reader feed 0)]
    (dotimes [_ 100]
      (feed/publish feed (exchange {:event :hello, :greeting "x"})))
    (is (= (range 91 101) (map first (:backlog (feed/reader feed 0)))))
    (is (= [99 100] (map first (:backlog (feed/reader feed 98)))))
    (is (= 95 (feed/lost slow)))
    (is (= 0 (feed/lost slow)))
    (is (= (range 96 101) (repeatedly 5 #(first (feed/next-entry slow 0)))))
    (testing "by bytes, too"
      (let [feed (feed/feed {:max-bytes 2000})]
        (dotimes [_ 100]
          (feed/publish feed (exchange {:event :hello, :greeting "x"})))
        (is (>= 2000 (reduce + (map (comp count second) (:backlog (feed/reader feed 0))))))))))

(deftest of-very-many-header-fields-those-are-shown-that-matter
  (let [feed (feed/feed)]
    (feed/publish feed (exchange {:event :mail, :sender "<a@example.org>"}))
    (dotimes [n 10000]
      (feed/publish feed (exchange {:event :define-macro, :command \L, :stage :header, :definitions {"i" "4AB"}}
                                   {:response nil}))
      (feed/publish feed (exchange {:event :header, :name "X", :value "y", :index (inc n)}
                                   (when (= n 5000) {:response [{:action :reject}]}))))
    (feed/publish feed (exchange {:event :end-of-message}))
    (let [texts (map second (:backlog (feed/reader feed 0)))]
      (is (= 104 (count texts)))
      (is (some #(string/includes? % "\"skipped\":4900") texts))
      (is (some #(string/includes? % "\"skipped\":4999") texts)))))

(deftest a-mail-is-shown-before-and-after-only-if-all-of-it-was-seen
  (let [mail {:sender "<a@example.org>", :recipients ["<b@example.com>"], :headers [["Subject" "hi"]], :body "x\r\n"
              :octets 3, :size 0}
        shown #(entry/before-and-after mail {:protocol %} :postfix [(act/change-header "Subject" 1 "[x] hi") (act/accept)])]
    (is (= ["- Subject: hi" "+ Subject: [x] hi"] (filter #(re-find #"^[-+]" %) (shown #{}))))
    (is (some #{"  b\u00e4r"}
              (entry/before-and-after (entry/collected (assoc mail :body "" :octets 0)
                                                       {:event :body, :data (.getBytes "b\u00e4r\r\n" "UTF-8")})
                                      {:protocol #{}} :postfix [])))
    (is (nil? (shown #{:no-headers})))
    (is (nil? (entry/before-and-after mail nil :postfix [])))
    (is (nil? (entry/before-and-after {:too-large? true} {:protocol #{}} :postfix [])))))
