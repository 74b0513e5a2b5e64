(ns temse.bench.idle
  "What a connection costs that has been negotiated and says nothing."
  (:require
   [temse.bench.peer :as peer]
   [temse.bench.servers :as servers]
   [temse.test :as mt])
  (:import
   (java.nio ByteBuffer)
   (java.nio.channels SocketChannel)
   (java.nio.file Files Path)
   (temse.protocol Packet)))

(set! *warn-on-reflection* true)

(def ^:private wanted 20000)
(def ^:private sampled 200)
(def ^:private warm-up-mails 1000)

(def ^:private own-files
  "Files that a process has open besides, at most."
  100)

(defn- possible
  "Returns how many connections the limit of open files lets a process have, at most those wanted."
  []
  (let [limits (Files/readString (Path/of "/proc/self/limits" (make-array String 0)))
        [_ limit] (re-find #"Max open files\s+\d+\s+(\d+)" limits)]
    (min wanted (- (parse-long limit) own-files))))

(defn- header [[header-name value]]
  {:event :header, :name header-name, :value value})

(def ^:private mail
  "The exchanges of a mail with two header fields and a body of eleven bytes."
  (conj (mapv #(vector (peer/packet %) peer/go-on)
              [{:event :connect, :host-name "mail.example.org", :family :inet, :port 40110
                :address "192.0.2.25"}
               {:event :hello, :greeting "mail.example.org"}
               {:event :mail, :sender "<a@example.org>", :options []}
               {:event :recipient, :address "<b@example.com>", :options []}
               {:event :data}
               (header ["From" "a@example.org"])
               (header ["Subject" "Still there?"])
               {:event :end-of-headers}
               {:event :body, :data (.getBytes "Hello you\r\n")}])
        [(peer/packet {:event :end-of-message})
         (byte-array (concat (.toBytes (Packet. (byte \h) (.getBytes "X-Seen\u00002 11\u0000")))
                             peer/go-on))]))

(defn- silent?
  "Returns true if nothing comes from the server, not even the end of the connection."
  [^SocketChannel channel]
  (.configureBlocking channel false)
  (zero? (.read channel (ByteBuffer/allocate 1))))

(defn- warm-up [address]
  (with-open [session (mt/connect-to address)]
    (dotimes [_ warm-up-mails]
      (mt/run-message session {}))))

(defn measure
  "Opens connections to a server, :java or :clojure, and returns

    :server
    :wanted :connections   ; 20,000, and how many of them the limit of open files allows
    :resident-kib          ; resident memory that each of them adds, free heap given back
    :untrimmed-kib         ; the same with the free heap that the JVM prefers to keep
    :objects-kib           ; Java objects of each of them
    :served                ; mails that were played over some of them afterwards, at most 200
    :open                  ; connections that are still open after that

  Memory is that of a server which has had as many connections before, so that its heap has grown
  already, and is measured before and after: `temse.bench.servers/memory`."
  [server]
  (with-open [running (servers/start server {})]
    (warm-up (:address running))
    (let [n (possible)
          fresh (servers/memory running)
          _ (peer/with-connections n (:address running) count)
          _ (servers/await-files running (* 2 own-files))
          before (servers/memory running)]
      (peer/with-connections n
                             (:address running)
                             (fn [channels]
                               (let [after (servers/memory running)
                                     each #(/ (- (double (%1 after)) (%1 %2)) n)
                                     sample (take sampled (take-nth (quot n sampled) channels))]
                                 (run! #(peer/converse % mail) sample)
                                 {:server server
                                  :wanted wanted
                                  :connections n
                                  :resident-kib (each :resident before)
                                  :untrimmed-kib (each :untrimmed before)
                                  :objects-kib (each :objects fresh)
                                  :served (count sample)
                                  :open (count (filter silent? channels))}))))))
