(ns temse.harness.fault-proxy-test
  "The proxy between an MTA and a milter, both played by plain sockets."
  (:require
   [clojure.test :refer [are deftest is testing]]
   [temse.harness.fault-proxy :as fault-proxy]
   [temse.support :as support])
  (:import
   (java.io ByteArrayOutputStream IOException InputStream)
   (java.net ServerSocket Socket)))

(set! *warn-on-reflection* true)

(defn- packet
  [text]
  (byte-array (concat [0 0 0 (count text)] (map int text))))

(def ^:private octets
  (vec (mapcat (comp seq packet) ["Maaa" "Rbbb" "Rccc" "E"])))

(defn- received
  "Returns [octets how] of what comes until the end: :end or :reset."
  [^InputStream in]
  (let [bytes (ByteArrayOutputStream.)]
    (loop []
      (let [octet (try
                    (.read in)
                    (catch IOException _ :reset))]
        (if (and (int? octet) (not (neg? (long octet))))
          (do (.write bytes (int octet))
              (recur))
          [(vec (.toByteArray bytes)) (if (= :reset octet) :reset :end)])))))

(defn- passed
  "Returns what each side has received, [octets how] by :milter and :mta, when the MTA sends the packets to a
  milter that sends them back, both end, and this plan befalls them."
  [plan]
  (with-open [milter (ServerSocket. 0)
              proxy (fault-proxy/start #(assoc plan :milter (.getLocalPort milter)))
              mta (Socket. "127.0.0.1" (int (:port proxy)))
              accepted (.accept milter)]
    (run! #(.setSoTimeout ^Socket % 10000) [mta accepted])
    (let [at-milter (future (let [got (received (.getInputStream accepted))]
                              (.close accepted)
                              got))
          at-mta (future (received (.getInputStream mta)))]
      (.write (.getOutputStream accepted) (byte-array octets))
      (.write (.getOutputStream mta) (byte-array octets))
      (try
        (.shutdownOutput mta)
        (catch IOException _))
      {:milter (support/awaited at-milter), :mta (support/awaited at-mta)})))

(deftest every-style-passes-all-bytes
  (doseq [style [:whole :split :dribble :merge]]
    (testing style
      (is (= {:milter [octets :end], :mta [octets :end]}
             (passed {:events {:style style, :seed 3}, :replies {:style style, :seed 4}}))))))

(deftest an-incident-happens-where-it-is-meant-to
  (are [incident milter] (= milter (:milter (passed {:events {:incident incident}})))
    {:fault :half-close, :code \R, :nth 2, :at 0} [(subvec octets 0 16) :end]
    {:fault :half-close, :code \R, :nth 2, :at 1/2} [(subvec octets 0 20) :end]
    {:fault :half-close, :nth 2, :at 1} [(subvec octets 0 16) :end]
    {:fault :half-close, :code \X, :nth 1, :at 0} [octets :end]
    {:fault :delay, :code \E, :nth 1, :at 1/2, :millis 5} [octets :end]
    {:fault :duplicate, :code \M, :nth 1, :at 1} [(into (subvec octets 0 8) octets) :end]))

(deftest a-half-close-leaves-the-other-direction-alone
  (is (= [octets :end] (:mta (passed {:events {:incident {:fault :half-close, :nth 1, :at 0}}})))))

(deftest a-cut-and-a-reset-end-both-sides
  (doseq [fault [:cut :reset]
          direction [:events :replies]]
    (testing [fault direction]
      (let [happened (promise)
            {:keys [milter mta]} (passed {direction {:incident {:fault fault, :code \R, :nth 1, :at 1/2}}
                                          :happened happened})]
        (is (= [fault direction \R 1/2] (support/awaited happened)))
        (is (not-any? #(< (count octets) (count (first %))) [milter mta]))
        (when (= :reset fault)
          (is (= :reset (second (case direction :events milter, :replies mta)))))))))

(deftest what-passes-is-reported-as-the-milter-has-it
  (let [heard (atom {})]
    (passed {:events {:incident {:fault :half-close, :code \R, :nth 1, :at 0}}
             :on-bytes (fn [side bytes] (swap! heard update side (fnil into []) bytes))})
    (is (= {:mta (subvec octets 0 8), :milter octets} @heard))))
