(ns temse.impl.command.decode
  "The command decode: what a hex dump or a capture of a milter's connection holds."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [temse.impl.capture.frames :as frames]
   [temse.impl.capture.hex :as hex]
   [temse.impl.capture.input :as input]
   [temse.impl.capture.tcp :as tcp]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.redact :as redact]
   [temse.impl.command.terminal :as terminal]
   [temse.impl.proxy.tap :as tap]
   [temse.record :as record]
   [temse.report :as report])
  (:import
   (java.io Closeable IOException InputStream)
   (java.nio ByteBuffer)
   (java.util HashMap)
   (temse.protocol EventType MilterException Packet PacketDecoder)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse decode FILE [OPTIONS]"]
   :about ["Shows what went over a milter's connection as events and actions."
           ""
           "FILE, or - for the standard input, is one of"
           "  a hex dump of what one side or both sent: of xxd, hexdump -C, od -t x1 or"
           "    Wireshark, or hex digits alone"
           "  a capture file (pcap or pcapng) of tcpdump or Wireshark: TCP over IPv4 or"
           "    IPv6 on Ethernet, loopback, Linux cooked or raw IP; no IP fragments, no"
           "    IPv6 extension headers"
           "  the bytes themselves"
           ""
           "Of a damaged file, what can be read is shown, and where the damage is."]
   :options (into [["--port PORT" "the milter's port in a capture file: also shows connections whose beginning
                             is missing (default: all connections that begin like a milter's)"
                    (arguments/whole-number 0 65535)]
                   ["--edn" "a recording of each connection, which `temse replay` plays"]
                   ["--record DIR" "the same as files" arguments/text]
                   ["-v, --verbose" "also macros and the flags of the negotiation"]]
                  redact/options)
   :exit "0, or 2 if the file is damaged, incomplete, or holds no milter conversation."})

;; ---- what cannot be read

(def ^:private most-printed
  "Sentences about one file that are printed."
  20)

(defn- problem-printer
  "Returns a function that prints what is wrong with a file, and without arguments returns how often
  something was."
  [file]
  (let [problems (volatile! 0)]
    (fn
      ([] @problems)
      ([& text]
       (let [n (long (vswap! problems inc))]
         (cond
           (<= n (long most-printed)) (apply arguments/print-problem file ": " text)
           (= n (inc (long most-printed))) (arguments/print-problem "no more of that is printed")))))))

;; ---- hex dumps and bytes: the packets show which side is which

(defn- offer?
  [^Packet packet]
  (= (.code packet) (.code EventType/OPTIONS)))

(defn- of-milter?
  "Returns true for a packet that only milters send."
  [^Packet packet]
  (nil? (EventType/ofCode (.code packet))))

(defn- sided
  "Returns a function of a packet, or of :end, that gives packets to `on-packet` with their sides. An
  offer and its answer look alike: the second is the answer, and the first if a reply follows it."
  [on-packet]
  (let [first-offer (volatile! nil)
        begun? (volatile! false)
        release (fn [side]
                  (when-let [packet @first-offer]
                    (vreset! first-offer nil)
                    (on-packet side packet)))]
    (fn [packet]
      (cond
        (= :end packet)
        (release :mta)

        (and (offer? packet) (not @begun?))
        (do (vreset! begun? true)
            (vreset! first-offer packet))

        :else
        (do (release (if (of-milter? packet) :milter :mta))
            (on-packet (if (or (offer? packet) (of-milter? packet)) :milter :mta) packet))))))

(defn- packet-reader
  "Returns a function of bytes, or of :end, that gives the packets in them to `on-packet`. What is no
  packet ends it: `on-damage` is called with where it begins, and why."
  [on-packet on-damage]
  (let [decoder (PacketDecoder. 16777216)
        offset (volatile! 0)
        broken? (volatile! false)
        read-all (fn [^ByteBuffer buffer]
                   (when-let [packet (.next decoder buffer)]
                     (vswap! offset + 5 (alength (.payload packet)))
                     (on-packet packet)
                     (recur buffer)))]
    (fn [bytes]
      (cond
        @broken? nil
        (not= :end bytes) (try
                            (read-all (ByteBuffer/wrap bytes))
                            (catch MilterException e
                              (vreset! broken? true)
                              (on-damage @offset (str "it is no milter conversation: " (ex-message e)))))
        (zero? (long @offset)) (on-damage 0 "there is no whole packet in it")
        (.midPacket decoder) (on-damage @offset "it ends within this packet")))))

(defn- decode-stream
  "Where one side is alone, what it sends is not reported to be without answer, or without event."
  [{:keys [stream] :as input} {:keys [on-exchange on-end]} say]
  (let [seen (volatile! #{})
        tap (tap/tap #(on-exchange (cond-> (assoc % :id 1, :peer "dump")
                                     (not (:milter @seen)) (assoc :response [])
                                     (not (:mta @seen)) (dissoc :remarks)))
                     (fn [_ e] (throw e)))
        on-packet (sided (fn [side ^Packet packet]
                           (vswap! seen conj side)
                           (tap side (.toBytes packet) 0)))
        on-bytes (packet-reader on-packet #(say "at offset " %1 ": " %2))]
    (if (= 0 (first (input/peeked input 1)))
      (run! on-bytes (take-while not-empty (repeatedly #(input/taken input 65536))))
      (hex/read-dump stream on-bytes #(say %1 ": " %2)))
    (on-bytes :end)
    (on-packet :end)
    (tap :cut)
    (on-end 1)))

;; ---- capture files

(defn- begins-milter?
  "Returns true if the bytes begin with an offer, as far as they go."
  [side bytes]
  (and (= :mta side)
       (every? true? (map = bytes [0 0 0 13 (.code EventType/OPTIONS)]))))

(defn- taps
  "Returns the functions that `tcp/follower` calls, and :found?, of which the value is true as soon as a
  milter's connection was found."
  [port {:keys [on-exchange on-end]} say]
  (let [taps (HashMap.)
        found? (volatile! false)
        new-tap (fn [id [host mta-port]]
                  (vreset! found? true)
                  (tap/tap #(on-exchange (assoc % :id id, :peer (str "inet:" mta-port "@" host)))
                           (fn [side e]
                             (say "connection " id ": what the " (name side) " sends is no packet: "
                                  (ex-message e)))))]
    {:found? found?
     :on-bytes (fn [id peer side bytes {:keys [nanos]}]
                 (when-not (.containsKey taps id)
                   (.put taps id (when (or port (begins-milter? side bytes))
                                   (new-tap id peer))))
                 (if-let [tap (.get taps id)]
                   (tap side bytes nanos)
                   0))
     :on-end (fn [id incomplete how]
               (when-let [tap (.remove taps id)]
                 (tap (if (and (= :closed how) (empty? incomplete)) :end :cut))
                 (on-end id)
                 (doseq [side incomplete]
                   (say "connection " id ": a part of what the " (name side) " sent is missing from the capture"))
                 (when (= :dropped how)
                   (say "connection " id
                        ": the rest is not shown, since too many or too large connections are open"))))}))

(defn- decode-capture
  [read-frames port hearers say]
  (let [{:keys [found? on-bytes on-end]} (taps port hearers say)
        follow (tcp/follower port on-bytes on-end)
        unreadable (volatile! #{})]
    (read-frames (fn [{:keys [link offset] :as frame}]
                   (cond
                     (tcp/readable? link)
                     (some-> (tcp/segment frame) follow)

                     (not (@unreadable link))
                     (do (vswap! unreadable conj link)
                         (say "at offset " offset ": it holds frames of link type " link
                              "; Ethernet, loopback, Linux cooked and raw IP can be read"))))
                 #(say "at offset " %1 ": " %2))
    (follow :end)
    (when-not @found?
      (say (if port
             (str "there is no connection to port " port " in it")
             "no connection in it begins with a milter's offer; name the port: --port")))))

;; ---- the command

(defn- decode
  "Calls on-exchange with the exchanges in a file, and on-end with the ids of its connections as they
  end. Returns the exit code."
  [file port hearers]
  (let [say (problem-printer file)]
    (try
      (with-open [^InputStream stream (if (= "-" file) System/in (io/input-stream (io/file file)))]
        (let [input (input/input stream)]
          (if-let [read-frames (frames/reader input)]
            (decode-capture read-frames port hearers say)
            (decode-stream input hearers say))))
      (catch IOException e
        (say (cond
               (= "-" file) (ex-message e)
               (.isDirectory (io/file file)) "it is a directory"
               :else (or (arguments/unreadable file) (ex-message e))))))
    (if (zero? (long (say))) 0 2)))

(defn- recording-into
  "Has a recorder keep what a file holds, and calls on-recorded after each conversation. Returns the
  exit code."
  [recorder file port on-recorded]
  (let [recorded (record/exchange-recorder recorder)]
    (decode file port
            {:on-exchange (fn [{:keys [nanos] :as exchange}]
                            (recorded (assoc exchange :millis (/ (long nanos) 1e6))))
             :on-end (fn [id]
                       (recorded {:id id, :event {:event :disconnect, :reason :quit}})
                       (on-recorded))})))

(defn- complete
  "Returns the exit code, unless a recorder that is closed has not kept everything."
  [code recorder file]
  (let [{:keys [recorded cut dropped failed]} (record/recorder-status recorder)
        lost (+ (long cut) (long dropped) (long failed))]
    (cond
      (pos? lost) (fail file ": " lost " conversations are cut or left out, since they take too much memory or"
                        " could not be written")
      (zero? (long recorded)) (fail file ": there is nothing to record, since the MTA's offer is missing")
      :else code)))

(defn- recorder
  "A conversation may take a quarter of the memory; none is forgotten in a directory."
  ^Closeable [options]
  (record/recorder (merge {:max-memory (quot (.maxMemory (Runtime/getRuntime)) 4)
                           :max-conversations Integer/MAX_VALUE
                           :max-bytes Long/MAX_VALUE}
                          options)))

(defn- print-recordings
  [redact file port]
  (let [recorder (recorder {:max-conversations 1, :redact redact})
        printed (volatile! 0)]
    (-> (with-open [recorder recorder]
          (recording-into recorder file port
            (fn []
              (let [kept (record/recordings recorder)
                    {:keys [recorded]} (record/recorder-status recorder)]
                (when (not= @printed recorded)
                  (vreset! printed recorded)
                  (run! #(print (record/recording-text %)) kept))))))
        (complete recorder file))))

(defn- write-recordings
  [directory redact file port]
  (let [recorder (recorder {:directory directory, :redact redact})
        waiting #(:waiting (record/recorder-status recorder))
        code (with-open [recorder recorder]
               (recording-into recorder file port #(while (< 8388608 (long (waiting)))
                                                     (Thread/sleep 1))))]
    (println (:recorded (record/recorder-status recorder)) "recordings in" directory)
    (complete code recorder file)))

(defn- show
  [{:keys [words edn verbose record port] :as parsed}]
  (let [[file & more] words
        redact (redact/of-parsed command parsed)]
    (when-not file
      (arguments/misused command "name a file, or - for the standard input"))
    (when more
      (fail "one file at a time: " file " or " (first more)))
    (when (and edn record)
      (fail "--edn or --record, not both"))
    (when (and redact (not edn) (not record))
      (arguments/misused command "--redact goes with --edn or --record"))
    (cond
      edn (print-recordings redact file port)
      record (write-recordings record redact file port)
      :else (decode file port {:on-exchange #(run! terminal/print-line (report/exchange-lines % verbose)), :on-end identity}))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args show))
