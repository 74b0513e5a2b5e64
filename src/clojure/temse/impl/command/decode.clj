(ns temse.impl.command.decode
  "The command decode: what a hex dump or a capture of a milter's connection says."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.capture :as capture]
   [temse.impl.tap :as tap]
   [temse.record :as record]
   [temse.report :as report])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io ByteArrayOutputStream IOException)
   (java.nio ByteBuffer)
   (temse.protocol EventType MilterException Packet PacketDecoder)))

(set! *warn-on-reflection* true)

(def usage
  "What `temse decode --help` prints."
  "temse decode FILE [OPTIONS]
    shows what went over a milter's connection as events and actions

  FILE, or - for the standard input, is one of
    a hex dump of what one side or both sent: of xxd, hexdump -C, od -A x -t x1 or Wireshark, or hex
      digits alone
    a capture file (pcap or pcapng) of tcpdump or Wireshark: TCP over IPv4 or IPv6 on Ethernet,
      loopback, Linux cooked or raw IP; no IP fragments, no IPv6 extension headers
    the bytes themselves

    --port PORT      the milter's port in a capture file: also shows connections whose beginning is
                     missing (default: all connections that begin like a milter's)
    --edn            a recording of each connection, which `temse replay` plays
    --record DIR     the same as files
    -v, --verbose    also macros and the flags of the negotiation

  Exit code: 0, or 2 if the file cannot be read or holds no milter conversation.")

(defn- fail
  [& message]
  (throw (ex-info (string/join message) {:temse.cli/exit 2})))

(defn- parse
  [args]
  (loop [[arg & more :as args] args, parsed {}]
    (cond
      (empty? args) parsed
      (= "--edn" arg) (recur more (assoc parsed :edn? true))
      (#{"-v" "--verbose"} arg) (recur more (assoc parsed :verbose? true))
      (#{"--port" "--record"} arg) (if (seq more)
                                     (recur (rest more) (assoc parsed (keyword (subs arg 2)) (first more)))
                                     (fail arg " needs a value"))
      (and (string/starts-with? arg "-") (not= "-" arg)) (fail "there is no option " arg "\n\n" usage)
      (:file parsed) (fail "one file at a time: " (:file parsed) " or " arg)
      :else (recur more (assoc parsed :file arg)))))

(defn- port
  [text]
  (when text
    (or (when (re-matches #"[0-9]{1,5}" text) (parse-long text))
        (fail "--port needs a number, such as 20025, not " (pr-str text)))))

(defn- file-bytes
  ^bytes [file]
  (let [bytes (ByteArrayOutputStream.)]
    (try
      (io/copy (if (= "-" file) System/in (io/file file)) bytes)
      (catch IOException e
        (fail file ": " (ex-message e))))
    (.toByteArray bytes)))

;; ---- hex dumps: the sides are told from the packets

(defn- reply-code?
  "Returns true for the code of a packet that only milters send."
  [code]
  (nil? (EventType/ofCode code)))

(defn- packets
  [^bytes bytes]
  (let [decoder (PacketDecoder. 16777216)
        buffer (ByteBuffer/wrap bytes)
        packets (loop [packets []]
                  (if-let [packet (.next decoder buffer)]
                    (recur (conj packets packet))
                    packets))]
    (when (or (empty? packets) (.midPacket decoder))
      (throw (ex-info (if (empty? packets)
                        "there is no whole packet in it"
                        (str "it ends within a packet, after " (count packets) " whole ones"))
                      {})))
    packets))

(defn- sides
  "Returns the side of each packet. An offer and its answer look alike: the second is the answer, and
  the first if nothing but replies follows."
  [packets]
  (let [replies-only? (and (next packets)
                           (every? #(reply-code? (.code ^Packet %)) (rest packets)))]
    (second
      (reduce (fn [[offered? sides] ^Packet packet]
                (let [options? (= (.code packet) (.code EventType/OPTIONS))
                      milter? (if options? (or offered? replies-only?) (reply-code? (.code packet)))]
                  [(or offered? options?) (conj sides (if milter? :milter :mta))]))
              [false []]
              packets))))

(defn- decode-stream
  "What the MTA alone has sent is not told to be without answer."
  [bytes on-exchange]
  (let [packets (packets (capture/stream-bytes bytes))
        sides (sides packets)
        both? (some #{:milter} sides)
        tap (tap/tap #(on-exchange (cond-> (assoc % :id 1, :peer "dump")
                                     (not both?) (assoc :response [])))
                     (fn [_ e] (throw e)))]
    (dorun (map (fn [^Packet packet side] (tap side (.toBytes packet) 0)) packets sides))
    (tap :end)))

;; ---- capture files

(defn- begins-milter?
  "Returns true if the bytes begin with an offer, as far as they go."
  [side bytes]
  (and (= :mta side)
       (every? true? (map = bytes [0 0 0 13 (.code EventType/OPTIONS)]))))

(defn- warn
  [& text]
  (binding [*out* *err*]
    (println (apply str "temse: " text))))

(defn- new-tap
  [id [host port] on-exchange]
  (tap/tap #(on-exchange (assoc % :id id, :peer (str "inet:" port "@" host)))
           (fn [side e]
             (warn "connection " id ": what the " (name side) " sends is no packet: "
                   (ex-message e)))))

(defn- decode-capture
  "Returns false if the bytes are no capture file."
  [bytes port on-exchange]
  (let [taps (volatile! {})
        on-bytes (fn [id peer side data nanos]
                   (when-not (contains? @taps id)
                     (vswap! taps assoc id (when (or port (begins-milter? side data))
                                             (new-tap id peer on-exchange))))
                   (when-let [tap (@taps id)]
                     (tap side data nanos)))
        incomplete (capture/tcp-bytes bytes port on-bytes)]
    (when incomplete
      (when-not (some some? (vals @taps))
        (throw (ex-info (if port
                          (str "there is no connection to port " port " in it")
                          "no connection in it begins with a milter's offer; name the port: --port")
                        {})))
      (doseq [[id tap] (sort-by key @taps)
              :when tap]
        (tap :end)
        (when (incomplete id)
          (warn "connection " id ": a part is missing from the capture")))
      true)))

;; ---- the command

(defn- decode
  [file port on-exchange]
  (let [bytes (file-bytes file)]
    (try
      (or (decode-capture bytes port on-exchange)
          (decode-stream bytes on-exchange))
      (catch ExceptionInfo e
        (fail file ": " (ex-message e)))
      (catch MilterException e
        (fail file ": it is no milter conversation: " (ex-message e))))))

(defn- recordings
  "Returns the recordings of what a file holds, kept by a recorder with these options."
  [options file port]
  (with-open [recorder (record/recorder (assoc options :max-memory Integer/MAX_VALUE))]
    (let [hear (record/hearer recorder)
          ids (volatile! #{})]
      (decode file port (fn [{:keys [id nanos] :as exchange}]
                          (vswap! ids conj id)
                          (hear (assoc exchange :millis (/ (long nanos) 1e6)))))
      (doseq [id @ids]
        (hear {:id id, :event {:event :disconnect, :reason :quit}}))
      (or (seq (record/recordings recorder))
          (fail file ": there is nothing to record, since the MTA's offer is missing")))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (if (some #{"-h" "--help"} args)
    (do (println usage)
        0)
    (let [{:keys [file edn? verbose? record] :as parsed} (parse args)
          port (port (:port parsed))]
      (when-not file
        (fail "name a file, or - for the standard input\n\n" usage))
      (cond
        edn? (run! #(print (record/recording-text %)) (recordings {} file port))
        record (println (count (recordings {:directory record} file port)) "recordings in" record)
        :else (decode file port #(run! println (report/exchange-lines % verbose?))))
      0)))
