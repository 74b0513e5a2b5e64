(ns temse.harness.fault-proxy-test
  "The proxy between an MTA and a milter, both played by plain sockets."
  (:require
   [clojure.test :refer [are deftest is testing]]
   [temse.harness.fault-proxy :as fault-proxy]
   [temse.support :as support])
  (:import
   (java.io IOException)
   (java.net InetSocketAddress SocketAddress StandardProtocolFamily)
   (java.nio ByteBuffer)
   (java.nio.channels ServerSocketChannel SocketChannel)
   (java.nio.file Files)
   (temse.transport Endpoint Endpoint$Unix)))

(set! *warn-on-reflection* true)

(defn- packet
  [text]
  (byte-array (concat [0 0 0 (count text)] (map int text))))

(def ^:private octets
  (vec (mapcat (comp seq packet) ["Maaa" "Rbbb" "Rccc" "E"])))

(defn- received
  "Returns [octets how] of what comes until the end: :end or :reset."
  [^SocketChannel socket]
  (let [buffer (ByteBuffer/allocate 1000)
        how (try
              (while (not (neg? (.read socket buffer))))
              :end
              (catch IOException _ :reset))]
    [(vec (take (.position buffer) (.array buffer))) how]))

(defn- with-milter
  "Calls f with a socket that listens at an address, and where that is."
  [address f]
  (let [endpoint (Endpoint/parse address)
        unix? (instance? Endpoint$Unix endpoint)]
    (with-open [milter (ServerSocketChannel/open (if unix? StandardProtocolFamily/UNIX StandardProtocolFamily/INET))]
      (.bind milter (.address endpoint))
      (try
        (f milter (if unix?
                    address
                    (str "inet:" (.getPort ^InetSocketAddress (.getLocalAddress milter)) "@127.0.0.1")))
        (finally
          (when unix?
            (Files/delete (.path ^Endpoint$Unix endpoint))))))))

(defn- passed
  "Returns what each side has received, [octets how] by :milter and :mta, when the MTA sends the packets to a
  milter that sends them back, both end, and this plan befalls them, over sockets of a kind, :tcp or :unix."
  [kind plan]
  (support/with-addresses kind
    (fn [address-of]
      (with-milter (address-of "milter")
        (fn [^ServerSocketChannel milter address]
          (with-open [proxy (fault-proxy/start (address-of "proxy") (constantly (assoc plan :milter address)))
                      mta (SocketChannel/open ^SocketAddress (.address (Endpoint/parse (:address proxy))))
                      accepted (.accept milter)]
            (let [at-milter (future (let [got (received accepted)]
                                      (.close accepted)
                                      got))
                  at-mta (future (received mta))]
              (.write accepted (ByteBuffer/wrap (byte-array octets)))
              (try
                (.write mta (ByteBuffer/wrap (byte-array octets)))
                (.shutdownOutput mta)
                (catch IOException _))
              {:milter (support/awaited at-milter), :mta (support/awaited at-mta)})))))))

(def ^:private kinds [:tcp :unix])

(deftest every-style-passes-all-bytes
  (doseq [kind kinds
          style [:whole :split :dribble :merge]]
    (testing [kind style]
      (is (= {:milter [octets :end], :mta [octets :end]}
             (passed kind {:events {:style style, :seed 3}, :replies {:style style, :seed 4}}))))))

(deftest an-incident-happens-where-it-is-meant-to
  (are [incident milter] (= [milter milter] (map #(:milter (passed % {:events {:incident incident}})) kinds))
    {:fault :half-close, :code \R, :nth 2, :at 0} [(subvec octets 0 16) :end]
    {:fault :half-close, :code \R, :nth 2, :at 1/2} [(subvec octets 0 20) :end]
    {:fault :half-close, :nth 2, :at 1} [(subvec octets 0 16) :end]
    {:fault :half-close, :code \X, :nth 1, :at 0} [octets :end]
    {:fault :delay, :code \E, :nth 1, :at 1/2, :millis 5} [octets :end]
    {:fault :duplicate, :code \M, :nth 1, :at 1} [(into (subvec octets 0 8) octets) :end]))

(deftest a-half-close-leaves-the-other-direction-alone
  (doseq [kind kinds]
    (is (= [octets :end] (:mta (passed kind {:events {:incident {:fault :half-close, :nth 1, :at 0}}}))) kind)))

(deftest a-cut-and-a-reset-end-both-sides
  (doseq [kind kinds
          fault [:cut :reset]
          direction [:events :replies]]
    (testing [kind fault direction]
      (let [happened (promise)
            {:keys [milter mta]} (passed kind {direction {:incident {:fault fault, :code \R, :nth 1, :at 1/2}}
                                               :happened happened})]
        (is (= [fault direction \R 1/2] (support/awaited happened)))
        (is (not-any? #(< (count octets) (count (first %))) [milter mta]))
        (when (= [:tcp :reset] [kind fault])
          (is (= :reset (second (case direction :events milter, :replies mta)))))))))

(deftest what-passes-is-reported-as-the-milter-has-it
  (let [heard (atom {})]
    (passed :tcp {:events {:incident {:fault :half-close, :code \R, :nth 1, :at 0}}
                  :on-bytes (fn [side bytes] (swap! heard update side (fnil into []) bytes))})
    (is (= {:mta (subvec octets 0 8), :milter octets} @heard))))
