(ns temse.impl.command.client
  "Options of commands that play an MTA: whose habits it has, who its SMTP client is, and how long it
  waits."
  {:no-doc true}
  (:require
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.keys :as keys])
  (:import
   (java.net InetAddress UnknownHostException)))

(set! *warn-on-reflection* true)

(def ^:private stages
  {"connect" :connect, "helo" :hello, "hello" :hello, "mail" :mail, "rcpt" :recipient, "recipient" :recipient
   "data" :data, "end-of-headers" :end-of-headers, "end-of-message" :end-of-message})

(defn macro
  "Reads a macro as the keys and the value of the option :macros."
  [option text]
  (let [[_ stage macro-name value] (re-matches #"(?s)(?:([^:=]*):)?([^:=]+)=(.*)" text)]
    (cond
      (nil? macro-name) (fail option " needs NAME=VALUE or STAGE:NAME=VALUE, such as auth_authen=alice, not "
                              (keys/shown text))
      (nil? stage) [[macro-name] value]
      :else [[((arguments/one-of stages) (str "the STAGE of " option) stage) macro-name] value])))

(def ^:private ipv4-address
  (let [octet "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"]
    (re-pattern (str octet "(?:\\." octet "){3}"))))

(defn- ipv6-address?
  [text]
  (and (re-matches #"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*" text)
       (try
         (InetAddress/getByName text)
         (catch UnknownHostException _))))

(defn ip-address
  "Reads the IP address of a client."
  [option text]
  (if (or (re-matches ipv4-address text) (ipv6-address? text))
    text
    (fail option " needs an address such as 192.0.2.1 or 2001:db8::1, not " (pr-str text))))

(def options
  "Rows for the table of a command."
  [["--mta postfix|sendmail" "whose habits to have (default: postfix)"
    (arguments/one-of {"postfix" :postfix, "sendmail" :sendmail})]
   ["--version 2|3|4|6" "highest version of the protocol to offer (default: 6)"
    (arguments/one-of {"2" :postfix-2, "3" :postfix-3, "4" :postfix-4, "6" :postfix})]
   ["--macro [STAGE:]NAME=VALUE" "value of a macro, sent at the STAGE connect, helo, mail,
                                 rcpt, data, end-of-headers or end-of-message; without
                                 one, at the stages at which the MTA or the filter
                                 lists it, such as auth_authen=alice, or else at
                                 connect; may be repeated"
    macro :repeated]
   ["--connect-host NAME" "(default: client.example.org)" arguments/text]
   ["--connect-address IP" "(default: 192.0.2.1)" ip-address]
   ["--connect-port PORT" "(default: 40110)" (arguments/whole-number 0 65535)]
   ["--helo NAME" "(default: client.example.org)" arguments/text]
   ["--timeout SECONDS" "longest wait for the connection, for each answer, and for room to
                        write (default: 30)"
    arguments/milliseconds]
   ["--connect-timeout SECONDS" "the same, only for the connection" arguments/milliseconds]
   ["--write-timeout SECONDS" "the same, only to write" arguments/milliseconds]
   ["--end-of-message-timeout SECONDS" "the same, only for the answer to a whole mail"
    arguments/milliseconds]
   ["--total-timeout SECONDS" "for all answers to a mail together, with all progress
                              (default: 600, or --timeout if longer)"
    arguments/milliseconds]])

(defn- timeouts
  [{:keys [timeout connect-timeout write-timeout end-of-message-timeout total-timeout]}]
  (let [timeout (or timeout 30000)]
    {:connect (or connect-timeout timeout)
     :write (or write-timeout timeout)
     :reply timeout
     :end-of-message (or end-of-message-timeout timeout)
     :message (or total-timeout (max 600000 (long timeout) (long (or end-of-message-timeout 0))))}))

(defn macros
  "Returns what `macro` has read as the option :macros of temse.test/connect-to."
  [read]
  (reduce #(apply assoc-in %1 %2) {} read))

(defn session-options
  "Returns parsed options as those of temse.test/connect-to."
  [{:keys [mta version macro] :as parsed}]
  (cond-> {:timeout (timeouts parsed)}
    mta (assoc :mta mta)
    version (assoc :offer version)
    macro (assoc :macros (macros macro))))

(defn identity-of
  "Returns parsed options as the :client and :hello of temse.test/run-message."
  [{:keys [connect-host connect-address connect-port helo]}]
  (doseq [[option value] {"--connect-host" connect-host, "--helo" helo}
          :let [problem (some->> value (keys/unfit :line))]
          :when problem]
    (fail option " " problem))
  {:client (cond-> {}
             connect-host (assoc :host-name connect-host)
             connect-address (assoc :address connect-address)
             connect-port (assoc :port connect-port))
   :hello (or helo "client.example.org")})
