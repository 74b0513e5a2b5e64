(ns temse.impl.repl.session-output
  "What handlers print, for the session that looks: writers that lead to it and never fail."
  {:no-doc true}
  (:import
   (clojure.lang Var)
   (java.io PrintWriter Writer)))

(set! *warn-on-reflection* true)

(defn- root
  [v]
  (.getRawRoot ^Var v))

(defn- attempt
  "Calls f with the writer of the session at hand, or with that of the process if it fails or there is
  none."
  [sessions v f]
  (let [session (peek @sessions)]
    (try
      (f (get session v (root v)))
      (catch Throwable _
        (swap! sessions #(filterv (complement #{session}) %))
        (try
          (f (root v))
          (catch Throwable _))))))

(defn- writer
  "Returns a writer to what the var is in the session at hand."
  ^PrintWriter [sessions v]
  (PrintWriter.
    (proxy [Writer] []
      (write
        ([x]
         (attempt sessions v (fn [^Writer out]
                               (cond
                                 (int? x) (.write out (int x))
                                 (string? x) (.write out ^String x)
                                 :else (.write out ^chars x)))))
        ([x offset length]
         (attempt sessions v (fn [^Writer out]
                               (if (string? x)
                                 (.write out ^String x (int offset) (int length))
                                 (.write out ^chars x (int offset) (int length)))))))
      (flush []
        (attempt sessions v (fn [^Writer out] (.flush out))))
      (close []))))

(defn output
  "Returns an output: the :sessions that it leads to, the last of which receives it, and the :bindings of
  *out* and *err* with which it is written to."
  []
  (let [sessions (atom [])]
    {:sessions sessions
     :bindings {#'*out* (writer sessions #'*out*)
                #'*err* (writer sessions #'*err*)}}))

(defn- here
  "Returns the calling session, or nil where it is the output itself."
  [{:keys [bindings]}]
  (when-not (identical? *out* (bindings #'*out*))
    {#'*out* *out*, #'*err* *err*}))

(defn lead-here!
  "Has the output lead to the calling session from now on."
  [{:keys [sessions] :as output}]
  (when-let [session (here output)]
    (reset! sessions [session])))

(defn leading-here
  "Returns what f returns; meanwhile the output leads to the calling session."
  [{:keys [sessions] :as output} f]
  (if-let [session (here output)]
    (try
      (swap! sessions conj session)
      (f)
      (finally
        (swap! sessions (fn [all] (filterv #(not (identical? session %)) all)))))
    (f)))
