(println "myhostname:" (mta-name context))
(println "message_id:" (queue-id context))
(println "receive_time:" (str (receive-time context)))
(println "add_header(X-Pmilter): Enable")

[(add-header "X-Pmilter" "Enable")]
