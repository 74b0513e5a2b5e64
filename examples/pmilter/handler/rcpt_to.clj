(println "env to from arg:" (:address event))
(println "env to from symval:" (get-macro context "rcpt_addr"))
