(ns spamc
  "Asks a spamd what it thinks of a mail: the protocol SPAMC/1.5, its command SYMBOLS."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [timed-channel :refer [connected]])
  (:import
   (java.io IOException)
   (java.nio.channels Channels SocketChannel)
   (java.nio.charset StandardCharsets)))

(set! *warn-on-reflection* true)

(def ^:private longest-answer
  "Octets."
  16384)

(defn- request
  ^bytes [length user]
  (-> (str "SYMBOLS SPAMC/1.5\r\n"
           "Content-length: " length "\r\n"
           (when user (str "User: " user "\r\n"))
           "\r\n")
      (.getBytes StandardCharsets/US_ASCII)))

(defn- ask
  "Writes a mail, closes the sending half, and returns the answer, as text of octets."
  [^SocketChannel channel {:keys [^bytes header body user]}]
  (let [out (Channels/newOutputStream channel)]
    (.write out (request (+ (alength header) (count body)) user))
    (.write out header)
    (io/copy body out)
    (.shutdownOutput channel)
    (String. (.readNBytes (Channels/newInputStream channel) (inc (long longest-answer)))
             StandardCharsets/ISO_8859_1)))

(def ^:private points "(-?\\d{1,9}(?:\\.\\d{1,9})?)")

(def ^:private spam-field
  (re-pattern (str "(True|False) ; " points " / " points " *")))

(defn- understood
  "Returns the verdict in an answer of spamd."
  [answer]
  (let [[head content] (string/split answer #"\r\n\r\n" 2)
        [status & fields] (string/split-lines head)
        field #(some (fn [line] (second (re-matches (re-pattern (str "(?i)" % " *: *(.*)")) line))) fields)
        [_ spam? score required] (re-matches spam-field (or (field "Spam") ""))
        tests (some-> content string/trim (string/split #",") (->> (remove string/blank?) vec))]
    (when-not (and (re-matches #"SPAMD/\d+\.\d+ 0 .*" status)
                   spam?
                   (= (field "Content-length") (str (count content)))
                   (every? #(re-matches #"\w+" %) tests))
      (throw (IOException. (str "spamd answers " (pr-str (subs answer 0 (min 100 (count answer))))))))
    {:spam? (= "True" spam?)
     :score (bigdec score)
     :required (bigdec required)
     :tests tests}))

(defn check
  "Returns spamd's verdict on a mail, {:spam? true, :score 6.1M, :required 5.0M, :tests [\"GTUBE\"]}.

    :address   ; the java.net.SocketAddress of spamd
    :timeout   ; milliseconds that it may take
    :header    ; bytes of the header, with the empty line behind it
    :body      ; what is counted, and copied by clojure.java.io
    :user      ; whose preferences hold, or nil; one line of ASCII

  Throws an IOException if there is none: spamd is not there, too slow, or answers something else."
  [{:keys [address timeout] :as mail}]
  (understood (connected address timeout #(ask % mail))))
