(ns callout
  "Asks the mail exchangers of a sender whether they would take a bounce for it: a dialogue of SMTP with the
  null sender that ends before DATA. Answers are kept, and each exchanger is asked now and then only."
  (:require
   [clojure.string :as string]
   [timed-channel :refer [connected]])
  (:import
   (java.io BufferedInputStream IOException InputStream OutputStream)
   (java.net InetSocketAddress)
   (java.nio.channels Channels SocketChannel)
   (java.nio.charset StandardCharsets)
   (java.util LinkedHashMap)))

(set! *warn-on-reflection* true)

(defn now
  "Returns milliseconds that never go back."
  []
  (quot (System/nanoTime) 1000000))

;; ---- what is remembered

(defn- bounded
  "Returns a map that forgets what was not asked for the longest beyond a number of entries."
  ^LinkedHashMap [size]
  (proxy [LinkedHashMap] [16 0.75 true]
    (removeEldestEntry [_]
      (< (long size) (.size ^LinkedHashMap this)))))

(defn memory
  "Returns what `ask` remembers of this many addresses, and of as many exchangers."
  [size]
  {:answers (bounded size), :probes (bounded size)})

(defn- remembered
  [{:keys [^LinkedHashMap answers]} address]
  (locking answers
    (when-let [{:keys [until] :as answer} (.get answers address)]
      (when (< (long (now)) (long until))
        (dissoc answer :until)))))

(defn- remember
  [{:keys [^LinkedHashMap answers]} address {:keys [result] :as answer} ttls]
  (when-let [ttl (ttls result)]
    (locking answers
      (.put answers address (assoc answer :until (+ (long (now)) (long ttl))))))
  answer)

(defn- may-probe?
  "Returns true, and counts the probe, if an exchanger was not asked too often in this minute."
  [{:keys [^LinkedHashMap probes]} exchanger limit]
  (locking probes
    (let [minute (quot (long (now)) 60000)
          [then n] (.get probes exchanger)
          n (if (= then minute) (inc (long n)) 1)]
      (.put probes exchanger [minute n])
      (<= n (long limit)))))

;; ---- a dialogue

(def ^:private longest-line 2000)

(def ^:private most-lines 100)

(defn- line
  [^InputStream in]
  (loop [text (StringBuilder.)]
    (let [c (.read in)]
      (cond
        (neg? c) (throw (IOException. "it hangs up"))
        (= 10 c) (string/replace (str text) #"\r$" "")
        (< (.length text) (long longest-line)) (recur (.append text (char c)))
        :else (throw (IOException. "its reply has a line without an end"))))))

(defn- reply
  "Returns the lines of a reply, all with one code, as a text."
  [in]
  (loop [lines []]
    (let [^String text (line in)
          lines (conj lines text)]
      (cond
        (or (< (long most-lines) (count lines))
            (not (re-find #"^[2-5]\d\d([ -]|$)" text))
            (not= (subs text 0 3) (subs (first lines) 0 3)))
        (throw (IOException. (str "it does not speak SMTP: " (pr-str (subs text 0 (min 100 (count text)))))))

        (re-find #"^...-" text) (recur lines)
        :else (string/join "\n" lines)))))

(defn- meaning
  "Returns what a reply means for an address: 554 and 5.7.x refuse us, and other codes want another dialogue, such
  as 503 and 530; 4xx may be greylisting."
  [text]
  (condp re-find text
    #"^25" :good
    #"(?m)^(4|50[0234]|53|55[45]|5..[ -]5\.7\.)" :unknown
    #"^5" :bad
    :unknown))

(defn- converse
  "Returns the meaning of a dialogue about an address, and the reply that has decided."
  [^SocketChannel channel address hello]
  (let [in (BufferedInputStream. (Channels/newInputStream channel))
        out (Channels/newOutputStream channel)
        write #(.write ^OutputStream out (.getBytes (str % "\r\n") StandardCharsets/US_ASCII))
        say #(do (write %) (reply in))
        good? #(= :good (meaning %))
        greeting (reply in)
        hail (when (string/starts-with? greeting "220")
               (let [answer (say (str "EHLO " hello))]
                 (if (string/starts-with? answer "5") (say (str "HELO " hello)) answer)))
        mail (when (and hail (good? hail)) (say "MAIL FROM:<>"))
        decisive (if (and mail (good? mail)) (say (str "RCPT TO:<" address ">")) mail)]
    (write "QUIT")
    (if decisive
      {:result (meaning decisive), :reply decisive}
      {:result :unknown, :reply (or hail greeting)})))

(defn- probe
  [host port address hello ms]
  (try
    (connected (InetSocketAddress. ^String host (int port)) ms #(converse % address hello))
    (catch IOException e
      {:result :unknown, :reply (str e)})))

(defn ask
  "Returns whether an exchanger would take a bounce, {:result :good, :reply \"250 …\"}: :good, :bad, or
  :unknown if it cannot be found out now. Exchangers are asked in turn until one knows.

    :address      ; the address of a sender, in ASCII, without brackets
    :exchangers   ; IP addresses, and their :port
    :hello        ; our name
    :timeout      ; milliseconds for all of it
    :per-minute   ; how often an exchanger is asked
    :ttls         ; how many milliseconds which results are kept, {:good … :bad …}"
  [memory {:keys [address exchangers port hello timeout per-minute ttls]}]
  (or (remembered memory address)
      (let [end (+ (long (now)) (long timeout))]
        (loop [[exchanger & more] exchangers
               answer {:result :unknown, :reply "nobody to ask"}]
          (let [left (- end (long (now)))]
            (cond
              (or (nil? exchanger) (not (pos? left))) answer
              (not (may-probe? memory exchanger per-minute))
              (recur more {:result :unknown, :reply "asked too often"})

              :else (let [ms (if more (quot (inc left) 2) left)
                          {:keys [result] :as answer} (probe exchanger port address hello ms)]
                      (if (= :unknown result)
                        (recur more answer)
                        (remember memory address answer ttls)))))))))
