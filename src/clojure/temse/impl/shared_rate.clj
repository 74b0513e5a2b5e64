(ns temse.impl.shared-rate
  "Windows of temse.rate in a database, shared by many processes. This needs com.zaxxer/HikariCP, as
  temse.database does."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.database :as database]
   [temse.impl.keys :as keys]
   [temse.periodic :as periodic]
   [temse.rate :as rate])
  (:import
   (java.security MessageDigest)
   (java.util HexFormat)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private schema
  ["create table if not exists rate_windows (
      window_key text primary key, counts text not null, expires bigint not null)"
   "create index if not exists rate_windows_expires on rate_windows (expires)"])

(defn- as-text
  [counts]
  (string/join " " (mapcat identity counts)))

(defn- of-text
  [text]
  (into {} (map vec) (partition 2 (map parse-long (re-seq #"\d+" text)))))

(def ^:private longest-key
  "Characters: databases cannot find what is much longer."
  200)

(defn- text-of
  "Returns data as a text that is the same for equal ones, in each process. Throws :bad-options for what has none."
  [data]
  (cond
    (map? data) (str "{" (string/join ", " (sort (map (fn [[k value]] (str (text-of k) " " (text-of value))) data))) "}")
    (set? data) (str "#{" (string/join " " (sort (map text-of data))) "}")
    (sequential? data) (str "[" (string/join " " (map text-of data)) "]")

    (inst? data) (str "#inst " (inst-ms data))
    (ident? data) (str data)

    (or (nil? data) (string? data) (number? data) (boolean? data) (char? data) (uuid? data))
    (binding [*print-readably* true]
      (pr-str data))

    :else (throw (keys/bad-option :key data (str ":key must be data, strings, keywords, numbers and collections of"
                                                 " them, where a database counts, not " (keys/shown data))))))

(defn- stored-key
  "Returns the text that a database knows a window by."
  [k]
  (let [text (text-of k)]
    (if (<= (count text) (long longest-key))
      text
      (str "SHA-256 " (.formatHex (HexFormat/of)
                                  (.digest (MessageDigest/getInstance "SHA-256") (Text/encodeBytes text)))))))

(def ^:private locked-counts
  "Locks the row of a window, which it makes if need be, up to the end of the transaction."
  "insert into rate_windows values (?, '', ?)
   on conflict (window_key) do update set counts = rate_windows.counts
   returning counts")

(defn- forget-expired
  "Deletes rows one by one: a statement that locks several could wait for a transaction that waits for it."
  [shared now]
  (doseq [row (database/query shared "select window_key from rate_windows where expires < ? limit 10000" now)]
    (database/execute shared "delete from rate_windows where window_key = ? and expires < ?"
                      (:window-key row) now)))

(defn in-database
  "Returns a function as temse.rate/windows needs it, for the settings of a database."
  [settings clock]
  (let [shared (database/database (assoc settings :schema schema))
        clock (or clock #(System/currentTimeMillis))]
    (periodic/every [::expiry settings] 60000 #(forget-expired shared (clock)))
    (fn [wanted]
      (database/transaction
        shared
        (fn [db]
          (let [now (long (clock))
                ;; All processes lock rows in the same order, and so never wait for each other in a circle.
                locked (into {}
                             (for [k (sort (distinct (map (comp stored-key rate/window-key) wanted)))]
                               [k (of-text (:counts (first (database/query db locked-counts k now))))]))
                {:keys [counts exceeded]} (rate/take-all (comp locked stored-key) wanted now)]
            (doseq [[[per :as k] after] counts]
              (database/execute db "update rate_windows set counts = ?, expires = ? where window_key = ?"
                                (as-text after) (+ now (* 2 (long per))) (stored-key k)))
            exceeded))))))
