(ns temse.impl.failure
  "What went wrong in a filter, as data: {:kind :event :explanation :error :trace}."
  {:no-doc true}
  (:require
   [clojure.string :as string])
  (:import
   (clojure.lang Compiler)
   (temse.client.internal BriefMap)
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(defn handler-text
  "Returns the name of a handler, of a var also its file and line; nil of anything but functions."
  [handler]
  (if (var? handler)
    (let [{:keys [file line]} (meta handler)]
      (str (subs (str handler) 2)
           (when (and file line)
             (str " (" (last (string/split file #"[/\\]")) ":" line ")"))))
    (when (fn? handler)
      (string/replace (Compiler/demunge (.getName (class handler))) #"--\d+" ""))))

(def ^:private foreign-frame
  #"^(java\.|jdk\.|clojure\.|temse\.(impl|server|protocol|milter|check|test|client)[.$])")

(defn- engine-frame?
  "Returns true for what calls handlers."
  [^StackTraceElement frame]
  (or (= ["temse.server.internal.Settlement" "run"] [(.getClassName frame) (.getMethodName frame)])
      (string/starts-with? (.getClassName frame) "temse.impl.handler")))

(defn own-frames
  "Returns the topmost lines of a stack trace that are the filter's."
  [frames]
  (into []
        (comp (take-while (complement engine-frame?))
              (remove #(re-find foreign-frame (.getClassName ^StackTraceElement %)))
              (partition-by #(.getClassName ^StackTraceElement %))
              (map (comp str first))
              (take 5))
        frames))

(defn- message
  "Returns the message of an exception, or its class."
  [^Throwable error]
  (or (try
        (ex-message error)
        (catch Throwable _))
      (.getName (class error))))

(defn of
  "Returns what went wrong at an event in its handler (or nil). The trace names the handler where the
  library has refused what it returned, and no line of its own is in the stack trace."
  [event ^Throwable error handler]
  (let [category (when (instance? MilterException error) (:milter/error (ex-data error)))
        frames (own-frames (.getStackTrace error))
        who (if (and (= :options event) (nil? handler)) ":init" (str "the handler of " event))
        handler (handler-text handler)]
    (BriefMap/of
      {:kind (or category :exception)
       :event event
       :explanation (if category
                      (str "at " event ": " (message error))
                      (str who " threw " (.getName (class error))
                           (when-let [text (try (ex-message error) (catch Throwable _))]
                             (str ": " text))))
       :error error
       :trace (if (and handler (empty? frames)) [handler] frames)})))
