;; Called for each header field. A context as the answer carries what is to be remembered of the message.
(when (= "subject" (string/lower-case (:name event)))
  (update-message context assoc :subject (:value event)))
