(println "header:" {(:name event) (:value event)})
