(println "env from from args:" (sender context))
(println "env from from symval:" (get-macro context "mail_addr"))
(println "SASL login name:" (authenticated-user context))
(println "SASL login sender:" (get-macro context "auth_author"))
(println "SASL login type:" (get-macro context "auth_type"))

(when (= "<spam-from@example.com>" (sender context))
  [(reject)])
