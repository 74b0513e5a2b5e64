(ns temse.simulate.addresses
  "How real MTAs read addresses in all forms, from clients and from filters, and ESMTP parameters; and
  how the simulation does."
  (:require
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.simulate.cases :as cases]))

(set! *warn-on-reflection* true)

(def ^:private forms
  "Ways to write addresses of example.com that both MTAs can deliver to."
  ["<d@example.com>" "d@example.com" "Dora <d@example.com>" "\"Dora, D\" <d@example.com>"
   "(Dora) <d@example.com>" "d@example.com (Dora)" "d(x)@example.com" "<d@example.com> x"
   "<@r.example:d@example.com>" "@r.example:d@example.com" "<@r.example,@s.example:d@example.com>"
   "\"d\"@example.com" "<\"d d\"@example.com>" "<\"d@e\"@example.com>" "<\"d\\\"e\"@example.com>"
   "<\"d.e\"@example.com>" "<d..e@example.com>" "<.d@example.com>" "<d.@example.com>"
   "<d@example.com.>" "<d@[192.0.2.1]>" "<d@[IPv6:2001:db8::1]>" "d%example.com" "<d%x@example.com>"
   "<x!d@example.com>" "<D@EXAMPLE.com>" "< d@example.com >" "d+x@example.com" "d@example"
   "d@example.com, e@example.com" "<d@example.com>, <e@example.com>" "x: d@example.com, e@example.com;"
   "example.com!d" "<>" "MAILER-DAEMON@example.com" "<j\u00f6rg+x@example.com>" "<\"j \\\\ \u00f6=\"@example.com>"])

(def ^:private daemons
  "Senders that are the host's own MAILER-DAEMON, and some that are not."
  ["MAILER-DAEMON" "<mailer-daemon>" "<Mailer-Daemon@MX.example.org>" "<\"MAILER-DAEMON\">" "<MAILER-DAEMON@example.com>"])

(def ^:private client-forms
  "Ways to write addresses that both MTAs take from clients."
  ["<d@example.com.>" "<\"d\"@example.com>" "<\"d d\"@example.com>" "<@r.example:d@example.com>"
   "d@example.com" "<d(x)@example.com>" "<d..e@example.com>" "<d@[192.0.2.1]>"])

(def ^:private mail
  {:sender "<s@example.org>"
   :options []
   :recipients ["<d@example.com>" "<keep@example.net>"]
   :recipient-options [[] []]
   :headers [["From" "s@example.org"]]
   :body "hello\r\n"})

(def ^:private recipient-parameters
  [["notify=never"] ["Notify=Success,DELAY"] ["NOTIFY=SUCCESS,SUCCESS"] ["orcpt=RFC822;x@example.net"]
   ["ORCPT=x400;/C+3DDE/"] ["ORCPT=utf-8;x@example.net"] ["RET=HDRS"] ["SIZE=10"] ["FOO"] ["NOTIFY=NEVER" "FOO=1"] ["="]])

(def ^:private sender-parameters
  [["ret=full"] ["ENVID=a+20b"] ["envid=z"] ["NOTIFY=NEVER"] ["SIZE=10"] ["BODY=8BITMIME"] ["AUTH=<>"]
   ["SMTPUTF8"] ["FOO" "RET=HDRS"] ["RET=HDRS" "FOO"]])

(def ^:private all-cases
  (concat
    (for [form forms
          action [(act/delete-recipient form)
                  (act/change-sender form ["RET=HDRS"])
                  (act/change-sender form)]]
      {:mail mail, :script {:end-of-message [action]}})
    (for [form forms
          :when (not= "<>" form)
          actions [[(act/add-recipient form)]
                   [(act/add-recipient form) (act/delete-recipient "<d@example.com>")]]]
      {:mail mail, :script {:end-of-message actions}})
    (for [daemon daemons]
      {:mail mail, :script {:end-of-message [(act/change-sender daemon)]}})
    (for [daemon (filter #(.startsWith ^String % "<") daemons)]
      {:mail (assoc mail :sender daemon), :script {}})
    (for [form client-forms
          mail [(assoc mail :sender form)
                (assoc mail :recipients [form "<keep@example.net>"])]
          actions [[] [(act/delete-recipient form)] [(act/delete-recipient "<d@example.com>")]]]
      {:mail mail, :script {:end-of-message actions}})
    (for [action (concat (map #(act/add-recipient "<e@example.com>" %) recipient-parameters)
                         (map #(act/change-sender "<z@example.org>" %) sender-parameters))
          mail [mail (assoc mail :options ["RET=FULL" "ENVID=one"])]
          reply [(act/accept) (act/temporary-failure)]]
      {:mail mail, :script {:end-of-message [action reply]}})))

(defn check
  "Checks that the simulation foresees what the MTA of the lab does."
  [lab]
  (doseq [case all-cases]
    (is (nil? (cases/run lab (atom #{}) case)) (pr-str (select-keys (:mail case) [:sender :recipients]) (:script case)))))
