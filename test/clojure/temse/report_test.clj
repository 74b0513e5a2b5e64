(ns temse.report-test
  "Events and actions as text, whatever they hold."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.impl.line :as line]
   [temse.test.generators :as generators])
  (:import
   (java.io ByteArrayInputStream File)))

(set! *warn-on-reflection* true)

(deftest texts-say-what-there-is
  (are [action text] (= text (line/action-text action))
    {:action :reply-code, :smtp-code 550, :enhanced-code "5.7.1", :text nil} "550 5.7.1 "
    {:action :reply-code, :smtp-code 550, :text "a\r\nb"} "550 a\\nb"
    {:action :add-header, :name "X", :value "y", :position 0} "add-header at 0 X: y"
    {:action :change-header, :name "X", :value "y"} "change-header X 1: y"
    {:action :change-header, :name "X", :value nil, :index 2} "delete-header X 2"
    {:action :change-body, :body "abc"} "change-body, 3 characters"
    {:action :change-body, :body (byte-array 2)} "change-body, 2 bytes"
    {:action :change-body, :body (repeat "x")} "change-body, new body"
    {:action :change-sender, :address "<a@b>", :parameters ["SIZE=1"]} "change-sender <a@b> SIZE=1"
    {:action :quarantine, :reason "\u001b[2J"} "quarantine \\u001b[2J"
    {:action :accept} "accept"
    {} ""
    nil ""
    42 "")
  (are [event text] (= text (line/event-text event))
    {:event :header, :name "Subject", :value "a\u202eb"} "header Subject: a\\u202eb"
    {:event :body, :data (byte-array 3)} "body, 3 bytes"
    {:event :body} "body, 0 bytes"
    {:event :mail, :sender "<>", :options ["SIZE=1"]} "mail <> SIZE=1"
    {:event :message-end} "message-end ()"
    {:event :define-macro, :definitions {"i" "1\n2"}} "define-macro unknown i=1\\n2"
    {:event nil} ""))

(def ^:private odd-value
  "Values that a user may put anywhere."
  (gen/one-of
    [(gen/elements [nil [] {} #{} (repeat "x") (range) (byte-array 3) (File. "x") (Object.) 1/2 ##NaN
                    (ByteArrayInputStream. (byte-array 0)) \a 'b :c/d [nil] {nil nil} (delay (throw (Error.)))
                    (reify Object (toString [_] (throw (StackOverflowError.))))
                    (lazy-seq (throw (IllegalStateException.)))])
     gen/small-integer
     generators/text
     gen/string
     (gen/vector generators/text 0 30)]))

(def ^:private odd-map
  (gen/let [kind (gen/one-of
                   [(gen/elements [:reply-code :add-header :insert-header :change-header :delete-header
                                   :change-body :replace-body :add-recipient :delete-recipient
                                   :change-sender :quarantine :options :accept :progress])
                    (gen/elements [:connect :hello :mail :recipient :data :header :end-of-headers :body
                                   :unknown :define-macro :message-end :disconnect])
                    odd-value])
            fields (gen/map (gen/elements [:name :value :text :smtp-code :enhanced-code :address :options
                                           :parameters :reason :body :data :position :index :definitions
                                           :sender :host-name :port :greeting :command :version :stage])
                            odd-value)]
    (assoc fields :action kind, :event kind)))

(defn- printable-line?
  [text]
  (and (string? text)
       (<= (count text) 2000)
       (not-any? #(Character/isISOControl ^char %) text)
       (not (string/includes? text "\u202e"))))

(defspec every-map-has-a-printable-line 500
  (prop/for-all [odd odd-map]
    (and (printable-line? (line/action-text odd))
         (printable-line? (line/event-text odd)))))

(defspec every-event-of-an-mta-has-a-printable-line 50
  (prop/for-all [conversation generators/nasty-conversation]
    (every? (comp printable-line? line/event-text) conversation)))
