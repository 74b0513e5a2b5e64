(ns temse.impl.command.demo
  "What `bin/temse demo` shows: a filter at work on three mails, without a mail server."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.impl.command.terminal :as terminal]
   [temse.milter :as milter :refer [respond]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(defn on-recipient
  "Defers mail for a mailbox that is being moved."
  [{:keys [address]} context]
  (if (= "<moving@example.com>" address)
    (respond context (act/reply-code 451 "4.2.1" "This mailbox is being moved, try again later"))
    context))

(defn on-header
  "Remembers the subject."
  [{:keys [name value]} context]
  (if (string/starts-with? (string/lower-case name) "subject")
    (milter/update-message context assoc :subject value)
    context))

(defn on-end-of-message
  "Refuses lotteries, and marks what comes from outside."
  [_event context]
  (let [subject (:subject (milter/message context) "")]
    (if (re-find #"(?i)lottery" subject)
      (respond context (act/reply-code 550 "5.7.1" "No lottery today, 100% sure"))
      (respond context
               (act/change-header "Subject" (str "[external] " subject))
               (act/add-header "X-Seen" "yes")
               (act/accept)))))

(def handlers
  "The filter: a map of event to handler."
  {:recipient #'on-recipient
   :header #'on-header
   :end-of-message #'on-end-of-message})

(def ^:private mails
  [["A mail from outside is marked."
    {:sender "<alice@example.org>"
     :recipients ["<bob@example.com>"]
     :message "From: alice@example.org\nTo: bob@example.com\nSubject: Lunch?\n\nAt noon, as always?\n"}]
   ["A lottery is refused."
    {:sender "<winner@example.net>"
     :recipients ["<bob@example.com>"]
     :message "From: winner@example.net\nSubject: You won the LOTTERY\n\nSend money.\n"}]
   ["Mail for a mailbox that is being moved is deferred."
    {:sender "<alice@example.org>"
     :recipients ["<moving@example.com>"]
     :message "From: alice@example.org\nSubject: Hello\n\nAre you there?\n"}]])

(defn run
  "Starts the filter on a free port, plays the mails through it and prints what happens."
  []
  (milter/with-milter [server {:port 0
                               :handlers #'handlers
                               :actions #{:add-header :change-header}
                               :name "demo"}]
    (println "A milter of three handlers listens on" (milter/milter-address server))
    (doseq [[i [title mail]] (map-indexed vector mails)]
      (println)
      (println (str (inc i) ". " title))
      (println)
      (terminal/print-coloured #(mt/print-report (mt/run-message server mail))))
    (println)
    (println "The filter is src/clojure/temse/impl/command/demo.clj; README.org shows how to write your own.")))
