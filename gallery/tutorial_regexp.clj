(ns tutorial-regexp
  "The filter of milter manager's tutorial: rejects mail whose Subject or text matches a regular expression, of
  re2j's syntax, which is given as an argument (default: (?i)viagra).

    bin/temse run gallery/tutorial_regexp.clj --listen inet:20025@127.0.0.1 -- '(?i)viagra|casino'

  The text is decoded, and searched while it comes in; a match of up to 1001 characters is found wherever the
  MTA cuts the body."
  (:refer-clojure :exclude [filter])
  (:require
   [temse.action :as act]
   [temse.milter :refer [message respond update-message]]
   [temse.mime :as mime])
  (:import
   (com.google.re2j Pattern)))

(set! *warn-on-reflection* true)

(defn filter
  ([]
   (filter "(?i)viagra"))
  ([regexp]
   (let [pattern (Pattern/compile regexp)
         check (fn [context texts]
                 (if (some (fn [^String text] (.find (.matcher pattern text))) texts)
                   (respond context (assoc (act/reject) :why {:regexp regexp}))
                   context))]
     {:header
      (fn [{:keys [name value]} context]
        (check (update-message context update :headers (fnil conj []) [name value])
               (when (.equalsIgnoreCase "Subject" name) [(mime/decode-header value)])))

      :end-of-headers
      (fn [_event context]
        (update-message context (fn [{:keys [headers]}] {:scan (mime/text-scanner headers {:overlap 1000})})))

      :body
      (fn [{:keys [data]} context]
        (check context (map :text ((:scan (message context)) data))))

      :end-of-message
      (fn [_event context]
        (check context (map :text ((:scan (message context))))))})))
