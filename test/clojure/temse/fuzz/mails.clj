(ns temse.fuzz.mails
  "Fuzz targets: mails, addresses and the values of header fields."
  (:require
   [clojure.string :as string]
   [temse.address :as address]
   [temse.addresses :as addresses]
   [temse.fuzz.support :refer [allowing comparable from must text]]
   [temse.idna :as idna]
   [temse.mail :as mail]
   [temse.mime :as mime]
   [temse.network :as network])
  (:import
   (java.io ByteArrayOutputStream)
   (java.util Arrays)))

(set! *warn-on-reflection* true)

;; ---- mails

(defn mail
  "A mail as a file. What is read is the same when it is written and read again."
  [^bytes input]
  (let [message (mail/read-eml input)
        content #(comparable (select-keys % [:headers :body]))
        written (mail/message-bytes message)]
    (must (= (content message) (content (mail/read-eml written))) message)
    (must (= (content message) (content (mail/message message))))
    (doseq [[field-name value] (:headers message)]
      (let [folded (mail/fold field-name value)]
        (must (= (string/replace value "\n" "") (string/replace folded "\n" "")))
        (must (some #{value} (mail/header-values (:headers message) field-name)))))))

(defn mailbox
  "A mailbox. Messages that are read are the same when they are written and read again."
  [^bytes input]
  (let [messages (try
                   (mail/read-mbox input)
                   (catch IllegalArgumentException _))
        out (ByteArrayOutputStream.)
        content #(comparable (select-keys % [:headers :body]))]
    (mail/write-mbox out messages)
    (must (= (map content messages) (map content (mail/read-mbox (.toByteArray out) {:dialect :mboxrd}))))))

;; ---- addresses

(defn address
  "A path, or the value of a field of addresses. What is read is the same when it is written and read again."
  [input]
  (let [given (text input)
        path (address/parse-path given)
        members (address/parse-list given)]
    (when path
      (must (= path (address/parse-path (address/render-path path))) path)
      (must (= (address/canonical path)
               (address/canonical (address/parse-path (str "<" (address/canonical path) ">"))))
            path)
      (address/sub-address path)
      (must (= (address/smtputf8? path) (address/smtputf8? (address/render-path path)))))
    (must (= members (address/parse-list (address/render-list members))) members)
    (must (not (re-find #"[\r\n\u0000]" (address/render-list members))))))

(def ^:private some-networks
  (network/networks ["192.0.2.0/24" "192.0.2.128/25" "2001:db8::/32" "::1" "0.0.0.0/0"]))

(def ^:private some-addresses
  (addresses/addresses ["ann@example.net" "@example.org" "@b\u00fccher.example" "<>"]))

(defn domain
  "A domain or the address of a client. Forms of domains do not change when they are made again."
  [input]
  (let [given (text input)]
    (when-let [ascii (idna/ascii given)]
      (must (= ascii (idna/ascii ascii)) ascii)
      (must (re-matches #"\p{ASCII}*" ascii)))
    (idna/unicode given)
    (when-let [within (network/network-of some-networks given)]
      (let [around (network/around given 24 64)]
        (must (network/includes? (network/networks [around]) given) around within)))
    (addresses/includes? some-addresses (str "<ann@" given ">") "+")
    (doseq [make [#(network/networks [given]) #(addresses/addresses [given])]]
      (allowing #{:bad-options} (make)))))

;; ---- parts

(defn mime
  "A mail. Its parts lie within it, and it stays the same where nothing is changed."
  [^bytes input]
  (let [message (mail/read-eml input)
        ^bytes body (:body message)
        parts (mime/parts message)]
    (doseq [{:keys [start content-start end] :as part} parts]
      (must (<= 0 start content-start end (alength body)) part)
      (mime/filenames part)
      (must (string? (mime/text message part))))
    (must (identical? message (mime/update-parts message any? (constantly nil))))
    (let [scan (mime/text-scanner (:headers message))
          half (quot (alength body) 2)
          whole (reduce #(str %1 (:text %2)) "" (mime/text-chunks message))]
      (must (= whole
               (string/join (map :text (concat (scan (Arrays/copyOf body half)) (scan (from body half)) (scan)))))))
    (let [forced (mime/update-parts message any? (fn [_ old] (if (string? old) (str old "!") nil)) {:force? true})
          appended (mime/append-text message "-- \r\nnote\r\n" {:once? true})]
      (must (= (count parts) (count (mime/parts forced))) parts)
      (must (= (comparable appended)
               (comparable (mime/append-text appended "-- \r\nnote\r\n" {:once? true})))
            appended))))

(defn decode-header
  "The value of a header field. Without an encoded word only its folds go."
  [input]
  (let [value (text input)
        decoded (mime/decode-header value)]
    (must (string? decoded))
    (when-not (string/includes? value "=?")
      (must (= (string/replace value #"[\r\n]" "") (string/replace decoded #"[\r\n]" "")) decoded))
    (mime/filenames {:headers [["Content-Type" value] ["Content-Disposition" value]]
                     :parameters {}})))
