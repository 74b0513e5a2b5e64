(ns temse.decode-test
  "The command decode: hex dumps of many programs and capture files, here made byte by byte."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.impl.capture.tcp :as tcp]
   [temse.impl.command.decode :as decode]
   [temse.replay :as replay]
   [temse.support :as support])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io File StringWriter)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (temse.protocol ActionCodec EventCodec Offer Packet)))

(set! *warn-on-reflection* true)

;; The conversation

(def ^:private offer (.event Offer/CURRENT))

(defn- event-bytes
  [event]
  (vec (.toBytes (EventCodec/encode event))))

(defn- action-bytes
  [action]
  (into [] (mapcat #(.toBytes ^Packet %)) (ActionCodec/packets action)))

(def ^:private said
  "What the two sides say, in turn."
  [[:mta (event-bytes offer)]
   [:milter (event-bytes (assoc offer :protocol-mask 0x80))]
   [:mta (event-bytes {:event :define-macro, :command \M, :definitions {"i" "4AB"}})]
   [:mta (event-bytes {:event :mail, :sender "<a@example.org>"})]
   [:milter (action-bytes {:action :continue})]
   [:mta (event-bytes {:event :header, :name "Subject", :value "hi"})]
   [:mta (event-bytes {:event :end-of-message})]
   [:milter (into (action-bytes {:action :add-header, :name "X-Seen", :value "yes"})
                  (action-bytes {:action :accept}))]
   [:mta (event-bytes {:event :quit})]])

(def ^:private of-mta
  (into [] (mapcat second) (filter #(= :mta (first %)) said)))

(def ^:private ladder
  ["MTA  --> options version 6"
   "<-- options version 6"
   "MTA  --> mail <a@example.org>"
   "<-- continue"
   "MTA  --> header Subject: hi"
   "MTA  --> end-of-message"
   "<-- add-header X-Seen: yes"
   "<-- accept"
   "MTA  --> quit"])

;; Running the command

(defn- decoded
  "Returns the exit code, output and errors of the command for a file of these bytes or this text."
  [content & args]
  (let [file (File/createTempFile "dump" nil)
        errors (StringWriter.)
        code (volatile! nil)]
    (try
      (if (string? content)
        (spit file content)
        (with-open [out (io/output-stream file)]
          (.write out (byte-array (map unchecked-byte content)))))
      (let [output (support/printed
                     (binding [*err* errors]
                       (vreset! code (try
                                       (decode/run (cons (str file) args))
                                       (catch ExceptionInfo e
                                         (println (ex-message e))
                                         (:temse.cli/exit (ex-data e)))))))]
        {:code @code, :output output, :errors (str errors)})
      (finally
        (.delete file)))))

(defn- steps
  "Returns the lines of a ladder without the numbers of connections and times."
  [{:keys [output]}]
  (map #(string/replace (string/trim (subs % 4)) #"  \(.*ms\)$" "") (string/split-lines output)))

;; Hex dumps

(defn- hex
  [bytes]
  (map #(format "%02x" (bit-and 0xFF (long %))) bytes))

(defn- dump
  "Returns a hex dump of lines that a function makes of an offset and up to 16 bytes in hex."
  [bytes line]
  (string/join "\n" (map-indexed #(line (* 16 (long %1)) %2) (partition-all 16 (hex bytes)))))

(deftest hex-dumps-of-common-programs-are-read
  (are [line] (= (remove #(string/starts-with? % "<--") ladder) (steps (decoded (dump of-mta line))))
    ;; xxd
    (fn [offset row]
      (format "%08x: %-39s  %s" offset (string/join " " (map string/join (partition-all 2 row))) "..00 11ab......."))
    ;; xxd -g 1
    (fn [offset row] (format "%08x: %-47s  %s" offset (string/join " " row) "beef....O......."))
    ;; hexdump -C
    (fn [offset row]
      (format "%08x  %s  %s |%s|" offset (string/join " " (take 8 row)) (string/join " " (drop 8 row)) "..ab cd 01......"))
    ;; od -A x -t x1
    (fn [offset row] (format "%06x %s" offset (string/join " " row)))
    ;; Wireshark
    (fn [offset row] (format "%04x   %-47s   %s" offset (string/join " " row) "....O..........."))
    ;; xxd -p, and digits by themselves
    (fn [_ row] (string/join row))
    (fn [_ row] (string/upper-case (string/join " " row)))
    (fn [_ row] (string/join ":" row))
    (fn [_ row] (str (string/join ", " (map #(str "0x" %) row)) ","))))

(deftest lines-that-hexdump-leaves-out-come-again
  (let [body (event-bytes {:event :body, :data (byte-array 100 (byte 65))})
        bytes (into (event-bytes offer) body)
        all (map-indexed (fn [i row] [(* 16 (long i)) row]) (partition-all 16 (hex bytes)))
        text (loop [[[offset row] & more] all, previous nil, lines []]
               (cond
                 (nil? row) (string/join "\n" (dedupe lines))
                 (= row previous) (recur more row (conj lines "*"))
                 :else (recur more row (conj lines (format "%08x  %s" offset (string/join " " row))))))]
    (is (string/includes? text "*"))
    (is (= ["MTA  --> options version 6" "MTA  --> body, 100 bytes"] (steps (decoded text))))))

(deftest the-bytes-themselves-are-read
  (is (= (remove #(string/starts-with? % "<--") ladder) (steps (decoded of-mta)))))

(deftest a-dump-of-both-sides-or-of-the-milter-alone-is-read
  (is (= ladder (steps (decoded (mapcat second said)))))
  (is (= ["<-- options version 6" "<-- continue" "<-- add-header X-Seen: yes" "<-- accept"]
         (steps (decoded (mapcat second (filter #(= :milter (first %)) said)))))))

(deftest verbose-shows-macros-and-flags
  (let [{:keys [output]} (decoded of-mta "-v")]
    (is (string/includes? output "define-macro mail i=4AB"))
    (is (string/includes? output "actions: add-header add-recipient"))
    (is (string/includes? output "protocol: leading-space no-body"))))

(deftest a-packet-that-cannot-be-decoded-is-shown-with-the-reason
  (let [{:keys [output]} (decoded (concat (event-bytes offer) [0 0 0 2 90 1] (event-bytes {:event :quit})))]
    (is (string/includes? output "<-- packet 'Z' of 1 bytes, not decoded:"))
    (is (string/includes? output "quit"))))

(deftest what-is-no-conversation-is-told
  (are [content problem] (let [{:keys [code errors]} (decoded content)]
                           (and (= 2 code) (string/includes? errors problem)))
    "root:x:0:0" "line 1: \"r\" is no hex digit"
    "" "at offset 0: there is no whole packet in it"
    [0 0 0 13 79 0] "at offset 0: there is no whole packet in it"
    [0 0 0 0] "at offset 0: it is no milter conversation"
    "0000000 0000 0d00 004f 0000" "line 1: it shows words, whose bytes may be swapped")
  (is (= 2 (:code (decoded of-mta "--prot" "1"))))
  (is (= 2 (:code (decoded of-mta "--port" "x"))))
  (let [errors (StringWriter.)]
    (is (= 2 (binding [*err* errors]
               (decode/run ["/no/such"]))))
    (is (= "temse: /no/such: there is no such file\n" (str errors)))))

;; Capture files

(defn- big
  "Returns the n bytes of a number, big-endian."
  [n number]
  (map #(bit-and 0xFF (bit-shift-right (long number) (* 8 (long %)))) (range (dec (long n)) -1 -1)))

(defn- little
  [n number]
  (reverse (big n number)))

(defn- tcp
  "Returns a TCP segment."
  [{:keys [from to sequence flags payload]}]
  (concat (big 2 from) (big 2 to) (big 4 sequence) (big 4 0) [0x50 flags] (big 2 1000) (big 4 0) payload))

(defn- ip4
  [segment]
  (let [body (tcp segment)]
    (concat [0x45 0] (big 2 (+ 20 (count body))) [0 1 0x40 0 64 6 0 0] [127 0 0 1] [127 0 0 1] body)))

(defn- ip6
  [segment]
  (let [body (tcp segment)]
    (concat [0x60 0 0 0] (big 2 (count body)) [6 64] (repeat 15 0) [1] (repeat 15 0) [1] body)))

(def ^:private milter-port 20025)

(defn- segments
  "Returns the TCP segments of what is said: SYN, SYN and ACK, then one for each saying, from sequence
  numbers of which the MTA's wraps."
  [said & {:keys [mta-port start] :or {mta-port 40000, start 0xFFFFFFF0}}]
  (let [syn (fn [from to start flags] {:from from, :to to, :sequence start, :flags flags})
        modulo #(bit-and (long %) 0xFFFFFFFF)]
    (loop [[[side bytes] & more] said
           sequences {:mta (modulo (inc (long start))), :milter 5001}
           done [(syn mta-port milter-port start 2) (syn milter-port mta-port 5000 0x12)]]
      (if side
        (recur more
               (update sequences side #(modulo (+ (long %) (count bytes))))
               (conj done {:from (if (= :mta side) mta-port milter-port)
                           :to (if (= :mta side) milter-port mta-port)
                           :sequence (sequences side)
                           :flags 0x18
                           :payload bytes}))
        done))))

(defn- pcap
  "Returns a capture file in the classic format."
  [link frames & {:keys [magic order] :or {magic 0xA1B2C3D4, order big}}]
  (concat (order 4 magic) (order 2 2) (order 2 4) (order 4 0) (order 4 0) (order 4 65535) (order 4 link)
          (mapcat (fn [i frame]
                    (concat (order 4 1700000000) (order 4 (* 1000 (long i))) (order 4 (count frame)) (order 4 (count frame)) frame))
                  (range) frames)))

(defn- pcapng
  "Returns a capture file in the format pcapng, times in microseconds."
  [link frames order]
  (let [block (fn [type body]
                (let [padded (concat body (repeat (mod (- (count body)) 4) 0))
                      size (+ 12 (count padded))]
                  (concat (order 4 type) (order 4 size) padded (order 4 size))))]
    (concat (block 0x0A0D0D0A (concat (order 4 0x1A2B3C4D) (order 2 1) (order 2 0) (repeat 8 0xFF)))
            (block 1 (concat (order 2 link) (order 2 0) (order 4 0)
                             (order 2 2) (order 2 3) [101 116 104 0] (order 2 9) (order 2 1) [6 0 0 0] (order 4 0)))
            (block 5 (repeat 12 0))
            (mapcat (fn [i frame]
                      (block 6 (concat (order 4 0) (order 4 0) (order 4 (* 1000 (long i)))
                                       (order 4 (count frame)) (order 4 (count frame)) frame)))
                    (range) frames))))

(def ^:private ethernet (concat (repeat 12 2) [8 0]))

(defn- frames
  [header ip segments]
  (map #(concat header (ip %)) segments))

(deftest captures-of-every-link-type-are-read
  (doseq [[link header ip] [[1 ethernet ip4]
                            [1 (concat (repeat 12 2) [0x86 0xDD]) ip6]
                            [1 (concat (repeat 12 2) [0x81 0 0 5 8 0]) ip4]
                            [0 [2 0 0 0] ip4]
                            [108 [0 0 0 2] ip4]
                            [113 (concat (repeat 14 0) [8 0]) ip4]
                            [276 (concat [8 0] (repeat 18 0)) ip4]
                            [101 [] ip4]
                            [101 [] ip6]
                            [228 [] ip4]]]
    (testing link
      (is (= ladder (steps (decoded (pcap link (frames header ip (segments said))))))))))

(deftest captures-of-every-format-are-read
  (let [frames (frames ethernet ip4 (segments said))]
    (are [bytes] (let [decoded (decoded bytes)]
                   (and (= ladder (steps decoded))
                        (string/includes? (:output decoded) "(1.0 ms)")))
      (pcap 1 frames)
      (pcap 1 frames :order little)
      (pcapng 1 frames big)
      (pcapng 1 frames little))
    (is (string/includes? (:output (decoded (pcap 1 frames :magic 0xA1B23C4D, :order little)))
                          "accept  (0.0 ms)"))))

(deftest segments-out-of-order-repeated-or-overlapping-are-put-together
  (let [[syn answer & data] (segments said)
        in-pieces (mapcat (fn [{:keys [sequence payload] :as segment}]
                            [(assoc segment :payload (take 3 payload))
                             (assoc segment
                                    :sequence (bit-and 0xFFFFFFFF (+ 2 (long sequence)))
                                    :payload (drop 2 payload))])
                          data)]
    (are [segments] (= ladder (steps (decoded (pcap 1 (frames ethernet ip4 segments)))))
      (list* syn answer in-pieces)
      (list* syn answer (mapcat reverse (partition-all 2 in-pieces)))
      (list* syn answer (mapcat #(list % %) data))
      (list* syn answer (concat data (take 3 data))))))

(deftest a-part-that-is-missing-is-told
  (let [[before [_ & after]] (split-at 5 (segments said))
        {:keys [output errors]} (decoded (pcap 1 (frames ethernet ip4 (concat before after))))]
    (is (string/includes? errors "connection 1: a part of what the mta sent is missing from the capture"))
    (is (string/includes? output "options version 6"))))

(deftest connections-are-told-apart-and-those-of-others-passed-over
  (let [http [[:mta (map int "GET / HTTP/1.0\r\n\r\n")]]
        interleaved (mapcat list
                            (segments said)
                            (segments said :mta-port 40001)
                            (concat (segments http :mta-port 40002) (repeat nil)))
        {:keys [output]} (decoded (pcap 1 (frames ethernet ip4 (remove nil? interleaved))))]
    (is (= [9 9] (map count (vals (group-by #(subs % 0 4) (string/split-lines output))))))
    (is (not (string/includes? output "GET")))))

(deftest a-segment-that-goes-to-where-it-comes-from-is-passed-over
  (let [shown (fn [segments] (decoded (pcap 1 (frames ethernet ip4 segments))))
        itself {:from 40001, :to 40001, :sequence 0, :flags 2}]
    (is (= (shown (segments said)) (shown (concat [itself] (segments said) [itself]))))))

(deftest a-port-that-is-used-again-is-another-connection
  (let [{:keys [output]} (decoded (pcap 1 (frames ethernet ip4 (concat (segments said) (segments said :start 77)))))]
    (is (= ["   1" "   2"] (distinct (map #(subs % 0 4) (string/split-lines output)))))))

(deftest a-connection-whose-beginning-is-missing-is-shown-for-its-port
  (let [answered (remove #(= (event-bytes {:event :header, :name "Subject", :value "hi"}) (second %)) said)
        bytes (pcap 1 (frames ethernet ip4 (drop 4 (segments answered))))]
    (is (= 2 (:code (decoded bytes))))
    (is (string/includes? (:errors (decoded bytes)) "name the port: --port"))
    (is (= (remove #{"MTA  --> header Subject: hi"} (drop 2 ladder)) (steps (decoded bytes "--port" (str milter-port)))))
    (is (string/includes? (:errors (decoded bytes "--port" "1")) "there is no connection to port 1 in it"))))

(deftest frames-that-cannot-be-read-are-told
  (is (string/includes? (:errors (decoded (pcap 127 (frames [] ip4 (segments said)))))
                        "it holds frames of link type 127; Ethernet, loopback, Linux cooked and raw IP")))

;; Damage

(def ^:private whole-files
  "Files that hold the same conversation, by their kinds."
  (let [frames (frames ethernet ip4 (segments said))]
    {:pcap (pcap 1 frames)
     :pcapng (pcapng 1 frames little)
     :bytes (mapcat second said)
     :hexdump (map int (dump (mapcat second said)
                             (fn [offset row] (format "%08x  %s  |.|" offset (string/join " " row)))))
     :digits (map int (dump (mapcat second said) (fn [_ row] (string/join " " row))))}))

(defn- read-well?
  "Returns true if the command has ended well: with a sentence for each damage, and no stack trace."
  [{:keys [code errors]}]
  (let [sentences (string/split-lines errors)]
    (if (= 0 code)
      (= [""] sentences)
      (and (= 2 code)
           (every? #(re-find #"^temse: (?!null|.*Exception)\S.{10,}" %) sentences)))))

(defn- begins?
  "Returns true if all steps but those of answers that never came are the first ones of the whole."
  [decoded]
  (let [shown (remove #{"<-- no answer"} (if (= "" (:output decoded)) [] (steps decoded)))]
    (= shown (take (count shown) ladder))))

(deftest a-file-that-is-cut-off-is-read-as-far-as-it-goes
  (doseq [[kind whole] whole-files
          n (range 0 (count whole) 7)
          :let [decoded (decoded (take n whole))]]
    (testing [kind n]
      (is (read-well? decoded))
      (is (begins? decoded)))))

(deftest the-end-of-a-file-that-is-cut-off-is-told-with-its-offset
  (are [kind left errors steps-shown]
       (let [decoded (decoded (drop-last left (whole-files kind)))]
         (and (= 2 (:code decoded))
              (re-find errors (:errors decoded))
              (= steps-shown (count (steps decoded)))))
       :pcap 3 #"at offset 838: the file ends within this frame" 8
       :pcapng 8 #"at offset \d+: the file ends within this block" 8
       :bytes 2 #"at offset \d+: it ends within this packet" 8
       :digits 1 #"line 8: a byte has two digits, and the last one has one" 8))

(def ^:private bits
  "Bits to be flipped: a place in a file between 0 and 1, and a mask."
  (gen/vector (gen/tuple (gen/double* {:min 0, :max 1, :NaN? false}) (gen/elements (map #(bit-shift-left 1 %) (range 8)))) 1 5))

(defn- flipped
  [whole bits]
  (reduce (fn [bytes [place mask]]
            (update bytes (long (* (double place) (dec (count bytes)))) bit-xor mask))
          (vec whole)
          bits))

(defspec a-file-with-flipped-bits-is-shown-or-told-and-never-a-stack-trace 150
  (prop/for-all [kind (gen/elements (keys whole-files))
                 bits bits
                 args (gen/elements [[] ["-v"] ["--port" "20025"] ["--edn"]])]
    (let [{:keys [code] :as decoded} (apply decoded (flipped (whole-files kind) bits) args)]
      (if (= ["--edn"] args)
        (contains? #{0 2} code)
        (read-well? decoded)))))

(deftest damage-is-told-and-what-follows-it-is-shown-where-it-can-be
  (let [frames (frames ethernet ip4 (segments said))
        capture (vec (pcapng 1 frames big))]
    (testing "a packet of an interface that is not described is passed over"
      (let [at (first (filter #(= (concat (big 4 6)) (subvec capture % (+ 4 (long %)))) (range 76 (count capture) 4)))
            {:keys [code errors output]} (decoded (assoc capture (+ 11 (long at)) 9))]
        (is (= 2 code))
        (is (string/includes? errors (str "at offset " at ": the packet is of interface 9, which the file does not describe")))
        (is (string/includes? output "add-header"))))
    (testing "a frame that announces too much ends it"
      (let [{:keys [code errors]} (decoded (assoc (vec (pcap 1 frames)) 32 0x7F))]
        (is (= 2 code))
        (is (string/includes? errors "at offset 24: the frame announces 2130706486 bytes"))))
    (testing "a dump of which lines are missing is read up to there"
      (let [lines (string/split-lines (dump of-mta (fn [offset row] (format "%08x  %s" offset (string/join " " row)))))
            {:keys [code errors]} (decoded (string/join "\n" (concat (take 2 lines) (drop 3 lines))))]
        (is (= 2 code))
        (is (string/includes? errors "line 3: its offset is 00000030, which is not that of the bytes before it"))))
    (testing "a line * that stands for more than there can be"
      (is (string/includes? (:errors (decoded "00000000  00 00\n*\n7fffffff  00\n"))
                            "line 3: the bytes for which the line * stands are unknown")))))

(deftest offsets-may-be-octal-or-decimal
  (are [form] (= (remove #(string/starts-with? % "<--") ladder)
                 (steps (decoded (dump of-mta (fn [offset row] (format form offset (string/join " " row)))))))
    "%07o %s"
    "%07d %s"))

;; Foreign milters

(deftest what-mtas-make-of-an-answer-is-shown-below-it
  (are [actions remarks]
       (let [bytes (concat (mapcat second (take 7 said)) actions)]
         (= remarks (map #(second (string/split % #"  !  ")) (filter #(string/includes? % "  !  ")
                                                                     (string/split-lines (:output (decoded bytes)))))))
       (action-bytes {:action :accept}) []

       (concat (action-bytes {:action :change-body, :body (byte-array 1)})
               (action-bytes {:action :add-header, :name "A", :value "b"})
               (action-bytes {:action :change-body, :body (byte-array 1)})
               (action-bytes {:action :accept}))
       [(str "the pieces of the new body are not sent one after the other; Postfix defers by 451 4.3.5 and does"
             " without the milter from then on")]

       [0 0 0 7 (int \h) 65 0 98 13 10 0, 0 0 0 1 (int \a)]
       (for [mta ["Postfix" "Sendmail"]]
         (str "the value of the field \"A\" holds a CR, which " mta " delivers: a line that ends in CR LF arrives with CR CR LF"))

       [0 0 0 1 (int \a), 0 0 0 1 (int \a)]
       (for [mta ["Postfix" "Sendmail"]]
         (str "the milter has sent a reply too many; " mta " takes it for the answer to what it sends next"))))

(deftest a-reply-that-is-missing-is-remarked-upon-where-the-capture-shows-the-end-of-the-connection
  (let [open (segments (take 7 said))
        reset {:from milter-port, :to 40000, :sequence 0, :flags 4}
        remarks (fn [segments]
                  (map #(second (string/split % #"  !  "))
                       (filter #(string/includes? % "  !  ")
                               (string/split-lines (:output (decoded (pcap 1 (frames ethernet ip4 segments))))))))]
    (is (= [] (remarks open)))
    (is (= ["the milter sent no reply at :end-of-message; Postfix defers by 451 4.7.1 and does without the milter from then on"
            "the milter sent no reply at :end-of-message; Sendmail defers by 451 4.3.2 and does without the milter from then on"]
           (remarks (concat open [reset]))))))

;; Bounds

(defn- segment
  [sequence payload & {:as more}]
  (merge {:from ["10.0.0.1" 40000], :to ["10.0.0.2" 20025], :sequence (unchecked-int sequence)
          :payload payload, :nanos 0, :offset 0}
         more))

(deftest segments-in-reverse-order-take-linear-time
  (let [n 100000
        bytes (volatile! 0)
        follow (tcp/follower nil (fn [_ _ _ data _] (vswap! bytes + (count data)) 0) (fn [& _]))]
    (follow (segment 0 (byte-array 0) :syn? true))
    (doseq [i (range (dec n) -1 -1)]
      (follow (segment (inc (long i)) (byte-array 1))))
    (is (= n @bytes))))

(deftest a-part-that-is-missing-does-not-fill-the-memory
  (let [ends (volatile! [])
        payload (byte-array 60000)
        follow (tcp/follower nil (fn [& _] 0) (fn [& ended] (vswap! ends conj ended)))]
    (follow (segment 0 (byte-array 0) :syn? true))
    (dotimes [i 1200]
      (follow (segment (+ 100 (* 60000 i)) payload)))
    (is (= [[1 [:mta] :dropped]] @ends))))

(deftest many-connections-do-not-fill-the-memory
  (let [ends (volatile! [])
        follow (tcp/follower nil (fn [& _] 0) (fn [& ended] (vswap! ends conj ended)))]
    (dotimes [port 1010]
      (follow (segment 0 (byte-array 1) :from ["10.0.0.1" port])))
    (is (= (map #(vector % [] :dropped) (range 1 11)) @ends))
    (follow :end)
    (is (= 1010 (count @ends)))))

(deftest a-connection-ends-when-both-sides-have-ended-it
  (let [ends (volatile! [])
        follow (tcp/follower nil (fn [& _] 0) (fn [& ended] (vswap! ends conj ended)))
        back {:from ["10.0.0.2" 20025], :to ["10.0.0.1" 40000]}]
    (follow (segment 0 (byte-array 0) :syn? true))
    (follow (merge (segment 0 (byte-array 0) :syn? true :ack? true) back))
    (follow (segment 2 (byte-array 1) :fin? true))
    (follow (merge (segment 1 (byte-array 1) :fin? true) back))
    (is (= [] @ends))
    (follow (segment 1 (byte-array 1)))
    (is (= [[1 [] :closed]] @ends))
    (follow (segment 7 (byte-array 1)))
    (follow :end)
    (is (= 1 (count @ends)))))

(deftest a-capture-becomes-recordings-that-replay
  (let [directory (str (Files/createTempDirectory "recordings" (make-array FileAttribute 0)))
        bytes (pcap 1 (frames ethernet ip4 (segments said)))]
    (is (= (str "1 recordings in " directory "\n") (:output (decoded bytes "--record" directory))))
    (is (= {#{:modifications} :end-of-message}
           (into {} (map (juxt :differs (comp :event :event)))
                 (replay/replay directory {:handlers {:mail (fn [_ _])
                                                      :end-of-message (fn [_ _] [{:action :accept}])}}))))
    (is (string/starts-with? (:output (decoded bytes "--edn")) "{:temse/recording 1\n"))))
