(ns temse.simulate.lab
  "A scripted filter behind a real MTA: what the SMTP client hears of a scripted mail, what arrives
  at the next hop, and what the filter was asked.

  A script is a map of event to actions: {:end-of-message [modification … reply]}, for :recipient and
  :header a map of their number to actions: {:header {2 [reply]}}."
  (:require
   [clojure.string :as str]
   [temse.filter :as filter]
   [temse.harness.postfix :as postfix]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter :refer [respond]])
  (:import
   (java.io BufferedInputStream Closeable)
   (java.net InetSocketAddress Socket)
   (java.util.concurrent ConcurrentHashMap)
   (temse.protocol ActionCodec)))

(set! *warn-on-reflection* true)

;; ---- the filter

(defn- scripted
  "Returns the actions of the script for an event, the `number`-th of its kind."
  [script event number]
  (if (#{:recipient :header} event)
    (get-in script [event number])
    (get script event)))

(defn- as-sent
  "Returns an action as the MTA reads it: a reply may have got an enhanced code."
  [{:keys [action] :as given}]
  (if (= :reply-code action)
    (ActionCodec/decode (first (ActionCodec/packets given)))
    given))

(defn- play
  "Answers an event as the script says and notes both."
  [{::keys [script conversation] :as context} {:keys [event] :as e}]
  (let [number (inc (count (filter #(= event (:event (:event %))) @conversation)))
        actions (vec (scripted script event number))]
    (swap! conversation conj {:event e, :response (mapv as-sent actions)})
    (if (seq actions)
      (apply respond context actions)
      context)))

(def ^:private events
  [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message])

(defn- handlers
  [^ConcurrentHashMap scripts]
  (-> (into {} (map (fn [event] [event (fn [e context] (play context e))])) events)
      (assoc :connect (fn [{:keys [port] :as e} context]
                        (play (merge context (.get scripts port)) e)))))

;; ---- the SMTP client

(defn- connect
  "Returns a connection of the SMTP client. `register` is called with its port before it is made."
  ^Closeable [port register]
  (let [socket (doto (Socket.) (.bind (InetSocketAddress. "127.0.0.1" 0)))]
    (register (.getLocalPort socket))
    (.connect socket (InetSocketAddress. "127.0.0.1" (int port)) 30000)
    (.setSoTimeout socket 30000)
    (.setTcpNoDelay socket true)
    (let [connection (smtp/->Connection nil socket (BufferedInputStream. (.getInputStream socket))
                                        (.getOutputStream socket))]
      (assoc connection :greeting (smtp/read-reply connection)))))

(defn- with-parameters
  [address parameters]
  (str/join " " (cons address parameters)))

(defn- with-data
  "Returns the replies of a transaction, with that to DATA where the client has named no recipient."
  [{:keys [mail] :as replies} connection {:keys [recipients]}]
  (cond-> replies
    (and (empty? recipients) (= 250 (:code mail)))
    (assoc :data (smtp/command connection "DATA"))))

(defn- send-mail
  [connection {:keys [sender options recipients recipient-options headers body] :as mail}]
  (-> (smtp/transact
        connection
        {:sender (with-parameters sender options)
         :recipients (map with-parameters recipients recipient-options)
         :headers (for [[header-name value raw] headers]
                    [header-name (-> (or raw (str " " value))
                                     (str/replace "\n" "\r\n")
                                     smtp/utf-8)])
         :body (smtp/utf-8 body)})
      (with-data connection mail)))

(defn- refusal?
  [reply]
  (<= 400 (:code reply)))

(defn- transcript
  "Sends the mail over a new connection and returns what the client heard."
  [lab mail register]
  (with-open [connection (connect (:port lab) register)]
    (let [greeting (:greeting connection)]
      (if (= 421 (:code greeting))
        {:greeting greeting}
        (let [hello (smtp/command connection "EHLO client.example.org")]
          (merge {:greeting greeting, :hello hello}
                 (when-not (refusal? hello)
                   (send-mail connection mail))))))))

;; ---- labs

(def mtas
  {:postfix {:unavailable postfix/unavailable
             :start postfix/start
             :held #(zipmap (postfix/hold-queue %) (repeat nil))
             :address #(str "inet:127.0.0.1:" (milter/milter-port %))}
   :sendmail {:unavailable sendmail/unavailable
              :start sendmail/start
              :held sendmail/quarantined
              :address milter/milter-address}})

(defrecord Lab [mta port sink held scripts leading-space? closeables]
  Closeable
  (close [_]
    (run! (fn [^Closeable c] (.close c)) closeables)))

(defn- serving
  "Returns a running lab of an MTA before a server with these options. Close it."
  ^Closeable [mta scripts leading-space? options]
  (let [{:keys [start held address]} (mtas mta)
        server (milter/start-milter (merge {:address "inet:0@127.0.0.1"
                                            :daemon? true
                                            :init #(assoc % :leading-space? @leading-space?)}
                                           options))
        sink (sink/start)
        running (start {:sink sink, :milters [(address server)]})]
    (->Lab mta (:port running) sink #(held running) scripts leading-space? [running sink server])))

(defn start
  "Returns a running lab of an MTA, :postfix or :sendmail. Close it. Its atom :leading-space? says
  what the filter asks for on new connections."
  ^Closeable [mta]
  (let [scripts (ConcurrentHashMap.)]
    (serving mta scripts (atom false) {:handlers (handlers scripts)})))

(defn start-judging
  "Returns a running lab whose filter judges whole messages: `judge` gets a message, the context, and
  what `deliver` was given with it."
  ^Closeable [mta judge]
  (let [scripts (ConcurrentHashMap.)
        found #(.get scripts (:port (:client %)))]
    (serving mta scripts (atom false)
      {:handlers (filter/message-filter (fn [message context]
                                          (judge message context (found message))))})))

(defn deliver
  "Sends the mail and returns what the client heard; `given` is for the judge of the lab."
  [{:keys [^ConcurrentHashMap scripts] :as lab} mail given]
  (transcript lab mail #(.put scripts (long %) given)))

(defn run
  "Sends the mail past a filter that follows the script, and returns {:smtp replies :conversation
  exchanges}."
  [lab mail script]
  (let [conversation (atom [])]
    {:smtp (deliver lab mail {::script script, ::conversation conversation})
     :conversation @conversation}))
