(ns temse.impl.setup.x-line
  "The X line of a sendmail.cf for a filter: where the filter is to listen, and what is wrong with the line."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [clojure.tools.logging :as log]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.keys :as keys]
   [temse.impl.setup.common :as common]
   [temse.impl.setup.needs :as needs]
   [temse.impl.setup.sendmail-cf :as cf]
   [temse.impl.setup.sendmail-checks :as checks])
  (:import
   (temse.transport Endpoint)))

(set! *warn-on-reflection* true)

(defn- parsed-file
  [file]
  (arguments/check-readable file)
  (cf/parse (slurp file)))

(defn- no-such-filter
  [file title filters]
  (let [names (distinct (map :name filters))
        meant (keys/closest title names)]
    (fail file ": there is no filter " title
          (cond
            meant (keys/did-you-mean meant)
            (seq names) (str "; its X lines are " (string/join ", " names))
            :else "; it has no X line"))))

(defn address
  "Returns where the filter of a name is to listen according to a sendmail.cf, in temse's notation. Fails
  with the line number if the line cannot be understood, and with the nearest name if there is no such
  filter."
  [file title]
  (let [{:keys [filters]} (parsed-file file)
        {:keys [line socket problems text]} (or (first (filter #(= title (:name %)) filters))
                                                (no-such-filter file title filters))
        wrong #(fail file ", line " line ": " (string/join "; " %) ": " text)]
    (when (seq problems)
      (wrong problems))
    (when (string/blank? socket)
      (wrong ["S= is missing: the filter has no socket"]))
    (when-not (re-matches #"(?s)inet6?:[^@]+@.+|((unix|local):)?/.+" socket)
      (wrong [(str "S=" socket " is no address for Sendmail, which wants inet:PORT@HOST, inet6:PORT@NAME or unix:PATH")]))
    (try
      (str (Endpoint/parse socket))
      (catch IllegalArgumentException e
        (wrong [(ex-message e)])))))

(defn warn-of-mistakes
  "Logs what else is wrong with the X line, for a filter that is loaded."
  [file title loaded]
  (let [{:keys [filters] :as parsed} (parsed-file file)
        line (first (filter #(= title (:name %)) filters))
        setup {:cf (assoc parsed :filters [line])
               :needs (needs/of-filter loaded title [])}]
    (doseq [{:keys [problem paste]} (common/findings checks/x-line-checks setup)]
      (log/log "temse" :warn nil
               (str problem "; right is " (string/join ", or in sendmail.mc " (reverse (map second paste))))))))
