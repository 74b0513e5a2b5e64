;; Called for MAIL FROM. Actions in a vector are the answer: this one refuses the message.
(when (= "<spam-from@example.com>" (sender context))
  [(reply-code 550 "5.7.1" "We have heard enough from you")])
