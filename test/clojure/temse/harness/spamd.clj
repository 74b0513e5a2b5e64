(ns temse.harness.spamd
  "A real spamd for tests, isolated from the others of the machine: own rules, port and socket, and nothing
  asked of the network.

    (with-open [spamd (spamd/start {:rules \"body PILLS /pills/\\nscore PILLS 6\\n\"})]
      … ask 127.0.0.1 at port (:port spamd), or the socket (:socket spamd) …)

  It needs root and the program spamd, see `unavailable`."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [temse.harness.mta :as mta])
  (:import
   (java.io Closeable File)))

(set! *warn-on-reflection* true)

(defn unavailable
  "Returns the reason why spamd cannot be started here, or nil when it can."
  []
  (cond
    (not= "root" (System/getProperty "user.name"))
    "spamd starts for root only"

    (not-any? #(.canExecute (io/file % "spamd"))
              (conj (str/split (System/getenv "PATH") #":") "/usr/sbin"))
    "spamd is not installed"))

(defn start
  "Starts a spamd and returns it as soon as it listens. Options:

    :rules         ; text of its rules, as Mail::SpamAssassin::Conf has them
    :preferences   ; rules of users, a map of name to text (default: none)

  The result is that of `temse.harness.mta/start`, with the path of its :socket."
  ^Closeable [{:keys [rules preferences]}]
  (let [{:keys [^File queue-directory] :as spamd}
        (mta/start {:script "temse/harness/spamd.sh"
                    :files (fn [port]
                             (into {"port" (str port "\n")
                                    "rules.cf" rules
                                    "plugins.pre" "loadplugin Mail::SpamAssassin::Plugin::Check\n"}
                                   (for [[user text] preferences]
                                     [(str user ".prefs") text])))})]
    (assoc spamd :socket (str (io/file (.getParentFile queue-directory) "spamd.sock")))))
