(ns temse.impl.command.signals
  "What a command does when its process gets a signal."
  {:no-doc true}
  (:import
   (sun.misc Signal SignalHandler)))

(set! *warn-on-reflection* true)

(defn- handle
  "Has f called at a signal; returns what was done at it before."
  [signal f]
  (Signal/handle (Signal. signal)
                 (reify SignalHandler
                   (handle [_ signal] (f signal)))))

(defn- in-thread
  [title f]
  (.start (Thread. ^Runnable f ^String title)))

(defn on-end
  "Has f called, in a thread of its own, when the process receives SIGTERM or SIGINT. A second
  one ends the process at once."
  [f]
  (let [asked (atom false)]
    (doseq [name ["TERM" "INT"]]
      (handle name
              (fn [^Signal signal]
                (if (compare-and-set! asked false true)
                  (in-thread "temse-stop" f)
                  (.halt (Runtime/getRuntime) (+ 128 (.getNumber signal)))))))))

(defn on-reload
  "Has f called, in a thread of its own, when the process gets a SIGHUP: never twice at a time. Returns false
  where that cannot be, since the process was started with SIGHUP ignored, as by nohup."
  [f]
  (let [lock (Object.)]
    (not= SignalHandler/SIG_IGN
          (handle "HUP" (fn [_] (in-thread "temse-reload" #(locking lock (f))))))))
