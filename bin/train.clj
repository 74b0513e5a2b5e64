;; What the JVM sees before it archives the classes that are loaded: bin/temse runs this once, with the
;; namespaces to load as arguments.

(run! (comp require symbol) *command-line-args*)

(temse.impl.command.demo/run)

(let [served (future
               (temse.impl.command.run/run ["examples/add_header.clj" "--listen" "inet:0@127.0.0.1"]))
      server #(first (temse.milter/running-milters))]
  (while (not (or (server) (realized? served)))
    (Thread/sleep 5))
  (when (server)
    (temse.impl.command.send/run [(temse.milter/milter-address (server))])
    (sun.misc.Signal/raise (sun.misc.Signal. "TERM")))
  (deref served))

(shutdown-agents)
