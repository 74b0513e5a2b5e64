(ns greylist-store
  "What greylist.clj remembers, in a database: triplets of client network, sender and recipient.

  A triplet is new when it is met first, waiting until its delay is over, passed when it is met for the
  first time after that, and known from then on. It expires when it was not met again in its retry
  window, or, known, for as long as :autowhite; then it is new again. Which of these it is now, and that
  it has been met, is one statement: of two processes that meet a triplet at once, one finds it new.

  All times are seconds, those of the caller's clock."
  (:require
   [clojure.string :as string]
   [temse.database :as database]
   [temse.network :as network])
  (:import
   (java.nio.charset StandardCharsets)
   (java.security MessageDigest)))

(set! *warn-on-reflection* true)

(def ^:private schema
  ["create table if not exists greylist (
      network text not null, sender text not null, recipient text not null,
      state text not null, first_seen bigint not null, ready bigint not null, expires bigint not null,
      primary key (network, sender, recipient))"
   "create index if not exists greylist_expires on greylist (expires)"])

(defn open
  "Returns the store in a database, whose settings are those of temse.database."
  [settings]
  (database/database (assoc settings :schema schema)))

;; ---- keys

(def ^:private longest
  "Characters of an address in a key; an index of PostgreSQL has room for no more than a few."
  250)

(defn- brief
  "Returns a text, or one that stands for it alone where it is longer than addresses are."
  [^String text]
  (if (<= (count text) (long longest))
    text
    (let [digest (.digest (MessageDigest/getInstance "SHA-256") (.getBytes text StandardCharsets/UTF_16BE))]
      (str (subs text 0 100) "#" (string/join (map #(format "%02x" %) digest))))))

(defn- key-of
  [{:keys [network sender recipient]}]
  [network (brief sender) (brief recipient)])

(def ^:private anything
  "Sender and recipient of a network that is known as a whole: no MTA sends them."
  {:sender "" :recipient ""})

;; ---- meeting a triplet

(def ^:private apart
  "Seconds by which the times of two statements may differ though no clock is wrong: those of a farm are not quite
  alike, and a statement may wait for the database."
  60)

(def ^:private anew
  "Whether a triplet is new again: it has expired, or it waits for a time that a clock has given which was
  ahead."
  (str "(g.expires < excluded.first_seen
    or g.state in ('new', 'waiting') and g.first_seen > excluded.first_seen + " apart ")"))

(def ^:private meet-sql
  (str "insert into greylist as g (network, sender, recipient, state, first_seen, ready, expires)
        values (?, ?, ?, 'new', ?, ?, ?)
        on conflict (network, sender, recipient) do update set
          state = case when " anew " then 'new'
                       when g.state in ('passed', 'known') then 'known'
                       when g.ready <= excluded.first_seen then 'passed'
                       else 'waiting' end,
          first_seen = case when " anew " then excluded.first_seen else g.first_seen end,
          ready = case when " anew " then excluded.ready else g.ready end,
          expires = case when " anew " then excluded.expires
                         when g.state in ('passed', 'known') or g.ready <= excluded.first_seen then ?
                         else g.expires end
        returning state, first_seen, ready"))

(defn- known-until
  "A triplet that is known for no time has expired at once."
  [now autowhite]
  (if (zero? (long autowhite)) (dec (long now)) (+ (long now) (long autowhite))))

(defn- known-network?
  "Returns true if a network is known as a whole, and remembers that it was met."
  [store {:keys [network]} now autowhite]
  (pos? (long (database/execute store
                                "update greylist set state = 'known', expires = ?
                                 where network = ? and sender = ? and recipient = ? and expires >= ?"
                                (known-until now autowhite) network (:sender anything) (:recipient anything) now))))

(defn- put!
  "Remembers a triplet. Returns 0 if it was there, and leaves it, unless what is remembered lasts longer."
  [store triplet {:keys [state first-seen ready expires]}]
  (let [[network sender recipient] (key-of triplet)]
    (database/execute store
                      "insert into greylist as g (network, sender, recipient, state, first_seen, ready, expires)
                       values (?, ?, ?, ?, ?, ?, ?)
                       on conflict (network, sender, recipient) do update set
                         state = excluded.state, first_seen = excluded.first_seen,
                         ready = excluded.ready, expires = excluded.expires
                       where g.expires < excluded.expires"
                      network sender recipient state first-seen ready expires)))

(defn- meet-triplet!
  [store triplet now {:keys [delay retry-window autowhite]}]
  (let [ready (+ (long now) (long delay))
        [network sender recipient] (key-of triplet)
        [{:keys [state first-seen ready]}]
        (database/query store meet-sql network sender recipient now ready (+ ready (long retry-window))
                        (known-until now autowhite))]
    {:state (keyword state)
     :elapsed (max 0 (- (long now) (long first-seen)))
     :remaining (max 0 (- (long ready) (long now)))}))

(defn meet!
  "Notes that a triplet, a map of :network, :sender and :recipient, is met now. Returns its :state (:new,
  :waiting, :passed or :known), the seconds :elapsed since it was new, and those :remaining until it
  passes. Settings are seconds: :delay, :retry-window and :autowhite; and :lazy-autowhite?, with which the
  networks of triplets that have passed are known as a whole.

    (meet! store {:network \"192.0.2.0/24\" :sender \"<a@example.org>\" :recipient \"<b@example.com>\"} 1764230400
           {:delay 300 :retry-window 172800 :autowhite 3024000})
    ;=> {:state :new, :elapsed 0, :remaining 300}"
  [store triplet now {:keys [autowhite lazy-autowhite?] :as settings}]
  (if (and lazy-autowhite? (known-network? store triplet now autowhite))
    {:state :known, :elapsed 0, :remaining 0}
    (let [{:keys [state] :as met} (meet-triplet! store triplet now settings)]
      (when (and lazy-autowhite? (= :passed state))
        (put! store (merge triplet anything)
              {:state "known" :first-seen now :ready now :expires (known-until now autowhite)}))
      met)))

;; ---- expiry

(def ^:private batch
  "Rows that one statement removes, so that mail waits for none of them."
  500)

(defn expire!
  "Removes what has expired, a few rows at a time, and returns how many."
  [store now]
  (loop [total 0]
    (let [removed (long (database/execute
                          store
                          "delete from greylist
                           where expires < ? and (network, sender, recipient) in
                             (select network, sender, recipient from greylist where expires < ? limit ?)"
                          now now batch))]
      (if (= removed (long batch))
        (recur (+ total removed))
        (+ total removed)))))

;; ---- lists

(defn- page
  "Returns some rows after one, in order."
  [store {:keys [network sender recipient] :or {network "" sender "" recipient ""}}]
  (database/query store
                  "select * from greylist where (network, sender, recipient) > (?, ?, ?)
                   order by network, sender, recipient limit 1000"
                  network sender recipient))

(defn triplets
  "Returns all that is remembered, a lazy sequence of maps."
  [store]
  (->> (iterate #(page store (peek %)) (page store {}))
       (take-while seq)
       (mapcat identity)))

(defn about
  "Returns what is remembered of a network, or of an address of either kind."
  [store network address]
  (let [path (str "<" address ">")]
    (database/query store
                    "select * from greylist where network = ? or sender in (?, ?) or recipient in (?, ?)
                     order by network, sender, recipient"
                    (or network "") address path address path)))

;; ---- the text of milter-greylist's dumps

(defn- written
  "Returns an address as one printable word."
  [address]
  (string/replace address #"[^!-\[\]-~]" #(string/join (map (fn [c] (format "\\u%04x" (int c))) %))))

(defn- unwritten
  [word]
  (string/replace word #"\\u([0-9a-f]{4})" #(str (char (Integer/parseInt (second %) 16)))))

(defn line-of
  "Returns a triplet as a line of a dump: the network, sender, recipient, and the second at which it may
  pass; or with AUTO, until which it is known."
  [{:keys [network sender recipient state ready expires]}]
  (string/join "\t" (concat [network (written sender) (written recipient)]
                            (if (#{"passed" "known"} state) [(str expires " AUTO")] [ready]))))

(defn- triplet-of
  "Returns what a line of a dump remembers, as for put!; nil for a comment; :wrong for what is neither."
  [line {:keys [network-lengths delay retry-window]}]
  (let [text (string/trim (string/replace line #"(?:^|\s)#.*" ""))
        [network sender recipient time auto & more] (string/split text #"\s+")
        seconds (when time (parse-long time))
        {:keys [ipv4 ipv6]} network-lengths]
    (cond
      (= "" text) nil
      (not (and seconds (nil? more) (contains? #{nil "AUTO"} auto))) :wrong
      :else (if-let [network (network/around (string/replace network #"/\d+$" "") ipv4 ipv6)]
              [{:network network :sender (unwritten sender) :recipient (unwritten recipient)}
               (if auto
                 {:state "known" :first-seen seconds :ready seconds :expires seconds}
                 {:state "waiting" :first-seen (- (long seconds) (long delay)) :ready seconds
                  :expires (+ (long seconds) (long retry-window))})]
              :wrong))))

(defn import-lines!
  "Remembers what the lines of a dump say. Returns how many :triplets there were, how many :wrong lines, and
  the first of these as :examples, [number line]. What is remembered for longer already stays."
  [store lines settings]
  (reduce (fn [result [number line]]
            (let [found (triplet-of line settings)]
              (cond
                (nil? found) result
                (= :wrong found) (-> result
                                     (update :wrong inc)
                                     (cond-> (< (count (:examples result)) 20) (update :examples conj [number line])))
                :else (do (apply put! store found)
                          (update result :triplets inc)))))
          {:triplets 0 :wrong 0 :examples []}
          (map-indexed (fn [i line] [(inc (long i)) line]) lines)))
