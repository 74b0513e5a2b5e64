(ns temse.action-test
  (:require
   [clojure.test :refer [are deftest is]]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.support :as support :refer [with-handler with-logs]]))

(set! *warn-on-reflection* true)

(deftest each-constructor-returns-the-map-one-could-have-typed
  (are [action typed] (= typed action)
    (act/continue) {:action :continue}
    (act/accept) {:action :accept}
    (act/reject) {:action :reject}
    (act/temporary-failure) {:action :temporary-failure}
    (act/discard) {:action :discard}
    (act/skip) {:action :skip}
    (act/progress) {:action :progress}
    (act/reply-code 550 "no") {:action :reply-code, :smtp-code 550, :text "no"}
    (act/reply-code 550 nil "no") {:action :reply-code, :smtp-code 550, :text "no"}
    (act/reply-code 550 "5.7.1" "no") {:action :reply-code, :smtp-code 550, :enhanced-code "5.7.1"
                                       :text "no"}
    (act/add-header "A" "b") {:action :add-header, :name "A", :value "b"}
    (act/insert-header 1 "A" "b") {:action :add-header, :name "A", :value "b", :position 1}
    (act/change-header "A" "b") {:action :change-header, :name "A", :index 1, :value "b"}
    (act/change-header "A" 2 "b") {:action :change-header, :name "A", :index 2, :value "b"}
    (act/delete-header "A") {:action :change-header, :name "A", :index 1, :value nil}
    (act/delete-header "A" 2) {:action :change-header, :name "A", :index 2, :value nil}
    (act/change-body "new") {:action :change-body, :body "new"}
    (act/add-recipient "<a@b>") {:action :add-recipient, :address "<a@b>"}
    (act/add-recipient "<a@b>" ["X=1"]) {:action :add-recipient, :address "<a@b>"
                                         :parameters ["X=1"]}
    (act/delete-recipient "<a@b>") {:action :delete-recipient, :address "<a@b>"}
    (act/change-sender "<>") {:action :change-sender, :address "<>"}
    (act/change-sender "<>" ["RET=HDRS"]) {:action :change-sender, :address "<>"
                                           :parameters ["RET=HDRS"]}
    (act/quarantine "why") {:action :quarantine, :reason "why"}))

(deftest each-action-is-a-reply-a-modification-or-progress
  (doseq [[action {:keys [kind]}] milter/actions]
    (is (= [(= :reply kind) (= :modification kind)]
           ((juxt act/reply? act/modification?) {:action action}))
        action))
  (is (not-any? act/reply? [{} nil {:action :nonsense} (act/progress)]))
  (is (not-any? act/modification? [{} nil {:action :nonsense} (act/progress)])))

(deftest actions-that-could-not-travel-defer-the-mail-and-say-what-would-be-right
  (are [action text]
       (with-logs logs
         (and (= :temporary-failure (:verdict (with-handler :end-of-message (fn [_ _] [action]))))
              (= :bad-action (:milter/error (ex-data (some :throwable @logs))))
              (re-find text (first (support/messages logs :error)))))
       (act/reply-code 250 "fine") #"the SMTP code is 250, it must be from 400 to 599"
       (act/reply-code "550" "no") #":smtp-code must be a number from 400 to 599"
       (act/reply-code 550 "4.7.1" "no") #"it must begin with 5"
       (act/reply-code 550 "5.7" "no") #"it must look like \"5.7.1\""
       (act/reply-code 550 57 "no") #":enhanced-code must be a string like \"5.7.1\""
       (act/reply-code 550 "5.7.1" :no) #":text must be a string"
       (act/reply-code 550 "a\u0007b") #"control character 0x07"
       (act/reply-code 550 (apply str (repeat 981 "a"))) #"981 bytes, the limit is 980"
       (act/reply-code 550 (apply str (repeat 33 "a\n"))) #"34 lines, the limit is 32"
       (act/add-header "X Y" "b") #":name must hold no space"
       (act/add-header "X:" "b") #":name must hold no space, colon"
       (act/add-header "" "b") #":name must not be empty"
       (act/add-header nil "b") #":name must be a string"
       (act/add-header :x "b") #":name must be a string"
       (act/add-header "X" nil) #":value must be a string"
       (act/add-header "X" 1) #":value must be a string"
       (act/add-header "X" "a\nBcc: b") #":value holds a line that does not begin with a space or tab"
       (act/add-header "X" "a\rb") #":value holds a CR"
       (act/insert-header -1 "X" "b") #":position must be a number from 0"
       (act/change-header "X" "two" "b") #":index must be a number from 0"
       (act/change-body 1) #":body must be a string, bytes"
       (act/change-body nil) #":body must be a string, bytes"
       (act/add-recipient "") #":address must not be empty"
       (act/add-recipient "<a@b>\nX") #":address must hold no CR or LF"
       (act/add-recipient "<a@b>" :x) #":parameters must be a string or a vector of strings"
       (act/change-sender nil) #":address must be a string"
       (act/quarantine nil) #":reason must be a string"
       {:action :nonsense} #"there is no action :nonsense"
       {} #"there is no action"))
