;; Called when a client has connected. The value of the last form is the answer; nil goes on.
(println "client" (client-address context) (or (client-name context) "without a name"))
