(println "body chunk;" (string/trim-newline (String. ^bytes (:data event) "UTF-8")))

;; Skips the other pieces of this body: the script is called once for a message.
[(skip)]
