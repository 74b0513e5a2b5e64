(ns temse.append-note-mta-test
  "examples/append_note.clj behind real MTAs: the note is in the plain and the HTML text of ordinary mail
  once, and signed, encrypted, reporting and inviting mail arrives as it was sent."
  (:require
   [clojure.test :refer [deftest]]
   [temse.gallery.support :as support]
   [temse.impl.filter-file :as filter-file]
   [temse.noted-mails :as noted-mails]))

(set! *warn-on-reflection* true)

(defn- check
  [mta]
  (support/behind mta (filter-file/load-filter "examples/append_note.clj" [noted-mails/note]) {} noted-mails/check))

(deftest the-note-is-where-it-belongs-behind-postfix
  (check :postfix))

(deftest the-note-is-where-it-belongs-behind-sendmail
  (check :sendmail))
