;; Called when the message is complete. Definitions come first in a file and are evaluated once.
(defn lottery?
  [subject]
  (string/includes? (string/lower-case subject) "lottery"))

(if (lottery? (:subject (message context) ""))
  [(reply-code 550 "5.7.1" "No lottery today")]
  [(add-header "X-Scripts" (str "passed, " (count (recipients context)) " recipients"))
   (accept)])
