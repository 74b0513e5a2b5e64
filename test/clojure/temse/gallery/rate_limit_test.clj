(ns temse.gallery.rate-limit-test
  "gallery/rate_limit.clj: so many messages and recipients, and the others wait."
  (:require
   [clojure.java.io :as io]
   [clojure.test :refer [deftest is testing]]
   [temse.database :as database]
   [temse.gallery.support :as support :refer [behind load-filter]]
   [temse.harness.postgresql :as postgresql]
   [temse.impl.shared-rate :as shared-rate]
   [temse.periodic :as periodic]
   [temse.runner :as runner]
   [temse.support :refer [thrown with-logs]]
   [temse.test :as mt])
  (:import
   (java.io File)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(def ^:private configured (partial support/configured "rate_limit"))

(defn- limit
  [counted by n]
  {:count counted, :by by, :limit n, :per 3600})

(defn- sent
  "Returns the reply code that a mail ends with; recipients that are refused do not end it."
  [filter {:keys [address user] :as mail}]
  (let [{:keys [verdict reply]} (mt/run-message filter
                                                (dissoc mail :address :user)
                                                {:client {:address (or address "192.0.2.1")}
                                                 :macros (if user {"auth_authen" user} {})})]
    (if (= :accept verdict) 250 (:smtp-code reply))))

(deftest messages-of-a-network-are-limited
  (let [filter (configured {:limits [(limit :messages :client 2)]})]
    (is (= [250 250 450] (map #(sent filter {:address %}) ["192.0.2.1" "192.0.2.2" "192.0.2.1"])))
    (is (= 250 (sent filter {:address "198.51.100.1"})))
    (is (= [250 250 450] (map #(sent filter {:address %}) ["2001:db8::1" "2001:db8::2:3" "2001:db8::ffff:0:0:1"])))
    (is (= 250 (sent filter {:address "2001:db8:0:1::1"}))))
  (testing "however long its prefix is"
    (let [filter (configured {:limits [(limit :messages :client 1)], :network-lengths {:ipv4 32, :ipv6 128}})]
      (is (= [250 250 450] (map #(sent filter {:address %}) ["192.0.2.1" "192.0.2.2" "192.0.2.1"]))))))

(deftest users-are-limited-wherever-they-are
  (let [filter (configured {:limits [(limit :messages :user 1)]})]
    (is (= [250 450] (map #(sent filter {:user "ann" :address %}) ["192.0.2.1" "198.51.100.1"])))
    (is (= [250 250] (repeatedly 2 #(sent filter {})))))
  (let [filter (configured {:limits [(limit :messages :user-or-client 1)]})]
    (is (= [250 250 450 450] (map #(sent filter %) [{:user "ann"} {} {} {:user "ann"}])))))

(deftest senders-are-limited-whatever-their-case
  (let [filter (configured {:limits [(limit :messages :sender 1)]})]
    (is (= [250 450 250] (map #(sent filter {:sender %}) ["<ann@example.org>" "<ANN@Example.org>" "<bob@example.org>"])))
    (is (= [250 250] (repeatedly 2 #(sent filter {:sender "<>"}))))
    (is (= [250 450] (repeatedly 2 #(sent filter {:sender "<no address>"}))))))

(deftest recipients-beyond-the-limit-wait
  (let [filter (configured {:limits [(limit :recipients :client 3)]})
        result (mt/run-message filter {:recipients ["<a@example.com>" "<b@example.com>" "<c@example.com>" "<d@example.com>"]}
                               {:client {:address "192.0.2.1"}})]
    (is (= :accept (:verdict result)))
    (is (= ["<a@example.com>" "<b@example.com>" "<c@example.com>"] (:recipients (:message result))))
    (is (= 450 (:smtp-code (:reply (mt/run-message filter {} {:client {:address "192.0.2.1"}})))))))

(deftest several-limits-hold-together
  (let [filter (configured {:limits [(limit :messages :client 10) (limit :messages :sender 1)]})]
    (is (= [250 450 250] (map #(sent filter {:sender %}) ["<a@example.org>" "<a@example.org>" "<b@example.org>"]))))
  (let [filter (load-filter "rate_limit")]
    (is (= (concat (repeat 100 250) [450]) (repeatedly 101 #(sent filter {}))))))

(deftest some-are-spared
  (let [spared {:networks ["192.0.2.0/24"] :users ["ann"] :senders ["@example.net"] :recipients ["postmaster@example.com"]}
        filter (configured {:limits [(limit :messages :client 0) (limit :recipients :client 0)], :spared spared})
        stranger "198.51.100.1"]
    (is (= [250 250 250 450]
           (map #(sent filter %) [{} {:address stranger :user "ann"} {:address stranger :sender "<a@example.net>"}
                                  {:address stranger}])))
    (is (= 250 (sent (configured {:limits [(limit :recipients :client 0)], :spared spared})
                     {:address stranger :recipients ["<Postmaster@example.com>"]})))))

(deftest a-filter-that-is-loaded-again-goes-on-counting
  (let [file (str (doto (File/createTempFile "temse-" ".edn") .deleteOnExit))
        loaded (fn [n]
                 (spit file (pr-str {:limits [(limit :messages :client n)]}))
                 (load-filter "rate_limit" file))]
    (is (= [250 450 250 450] (map #(sent (loaded %) {}) [1 1 2 2])))))

(deftest a-reply-says-why
  (let [filter (configured {:limits [(limit :messages :client 0)]})]
    (is (= {:more-than 0, :per 3600, :of :messages, :client "192.0.2.0/24"}
           (some #(some (comp :why meta) (:response %))
                 (:conversation (mt/run-message filter {} {:client {:address "192.0.2.1"}})))))))

(deftest a-wrong-setting-is-named
  (is (re-find #"did you mean :limits" (:message (thrown (configured {:limit 5})))))
  (doseq [wrong [{:limits []} {:limits [{}]} {:limits [(dissoc (limit :messages :client 1) :per)]}
                 {:limits [(assoc (limit :messages :client 1) :pre 1)]} {:limits [(limit :message :client 1)]}
                 {:limits [(limit :messages :clients 1)]} {:limits [(limit :messages :client -1)]}
                 {:limits [(limit :messages :client 1) (limit :messages :client 2)]}
                 {:network-lengths {:ipv4 33 :ipv6 64}} {:network-lengths {:ipv4 24}} {:spared {:network ["192.0.2.0/24"]}}
                 {:spared {:networks ["192.0.2.1/24"]}} {:spared {:senders ["example.org"]}} {:spared []}
                 {:when-unavailable :reject} {:max-keys 0}]]
    (is (re-find #"edn:1: :\S+ must be" (:message (thrown (configured wrong)))) wrong))
  (is (re-find #":url" (:message (thrown (configured {:database {}}))))))

;; ---- in a database

(defn- end
  [settings]
  (periodic/stop [::shared-rate/expiry settings])
  (.close (database/database settings)))

(deftest two-filters-with-one-database-count-together
  (let [directory (.toFile (Files/createTempDirectory "temse-rate-limit-" (make-array FileAttribute 0)))
        settings {:url (str "jdbc:sqlite:" (io/file directory "rates.db"))}]
    (try
      (let [filters (vec (repeatedly 2 #(configured {:limits [(limit :messages :client 2)], :database settings})))]
        (is (= [250 250 450 450] (map #(sent % {}) (concat filters filters)))))
      (finally
        (end settings)
        (run! io/delete-file (reverse (file-seq directory)))))))

(deftest while-the-database-is-down-mail-waits-or-passes-as-the-settings-say
  (when-let [reason (postgresql/unavailable)]
    (runner/skip! reason))
  (with-open [running (postgresql/start)]
    (let [settings {:url (postgresql/url running), :user "temse", :timeout 1000}
          given {:limits [(limit :messages :client 1)], :database settings}]
      (try
        (with-logs _
          (let [deferring (configured given)
                accepting (configured (assoc given :when-unavailable :accept))]
            (postgresql/control running "stop")
            (is (= [451 250] [(sent deferring {}) (sent accepting {})]))
            (postgresql/control running "start")
            (is (= [250 450] (repeatedly 2 (fn []
                                             (first (remove #{451} (repeatedly #(sent deferring {}))))))))))
        (finally
          (end settings))))))

;; ---- behind MTAs

(deftest behind-postfix-clients-users-and-recipients-are-limited
  (behind :postfix
          (configured {:limits [(limit :messages :user-or-client 2) (limit :recipients :user-or-client 3)]})
          support/believing
          (fn [mta]
            (let [sent (fn [attributes & recipients]
                         (let [{:keys [mail rcpt message]}
                               (support/transact-as mta attributes
                                                    (when recipients {:recipients (mapv #(str "<" % "@example.org>") recipients)}))]
                           (into [(:code mail)] (conj (mapv :code rcpt) (:code message)))))]
              (testing "clients of one network"
                (is (= [250 250 250] (sent "ADDR=192.0.2.1")))
                (is (= [250 250 250] (sent "ADDR=192.0.2.2")))
                (is (= [450 nil] (sent "ADDR=192.0.2.3")))
                (is (= [250 250 250] (sent "ADDR=IPV6:2001:db8::1"))))
              (testing "a user, wherever"
                (is (= [250 250 250 250] (sent "ADDR=192.0.2.3 LOGIN=ann" "a" "b")))
                (is (= [250 250 450 250] (sent "ADDR=198.51.100.1 LOGIN=ann" "c" "d")))
                (is (= [450 nil] (sent "ADDR=198.51.100.2 LOGIN=ann"))))))))

(deftest behind-sendmail-clients-and-recipients-are-limited
  (behind :sendmail
          (configured {:limits [(limit :messages :sender 2) (limit :recipients :client 3)]})
          {}
          (fn [mta]
            (let [sent (fn [sender & recipients]
                         (let [{:keys [mail rcpt message]}
                               (support/transact mta {:sender sender, :recipients (mapv #(str "<" % "@example.org>") recipients)})]
                           (into [(:code mail)] (conj (mapv :code rcpt) (:code message)))))]
              (is (= [250 250 250] (sent "<a@example.org>" "a")))
              (is (= [250 250 250 450 250] (sent "<A@example.org>" "b" "c" "d")))
              (is (= [450 nil] (sent "<a@EXAMPLE.org>" "a")))
              (is (= [250 450 nil] (sent "<b@example.org>" "a")))))))
