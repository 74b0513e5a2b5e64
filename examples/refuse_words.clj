(ns refuse-words
  "Refuses mail whose subject or body holds one of the words given as arguments.

    bin/temse run examples/refuse_words.clj --listen inet:20025@127.0.0.1 -- lottery viagra

  A word that is cut in two by the border of two body chunks is found all the same."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.milter :refer [message respond update-message]])
  (:import
   (temse.protocol Text)))

(defn- refusal
  [word]
  (act/reply-code 550 "5.7.1" (str "We do not talk about " word)))

(defn- found
  [words text]
  (let [lower (string/lower-case text)]
    (first (clojure.core/filter #(string/includes? lower %) words))))

(defn filter
  "Returns the filter for the words."
  [& given]
  (let [words (map string/lower-case given)
        overlap (apply max 0 (map count words))]
    {:header
     (fn [{:keys [name value]} context]
       (if-let [word (and (.equalsIgnoreCase "Subject" name) (found words value))]
         (respond context (refusal word))
         context))

     :body
     (fn [{:keys [data]} context]
       (let [text (str (:tail (message context)) (Text/decode data))]
         (if-let [word (found words text)]
           (respond context (refusal word))
           (update-message context assoc :tail (subs text (max 0 (- (count text) overlap)))))))}))

(comment
  (require '[temse.test :as mt])
  (mt/print-report (mt/run-message (filter "viagra")
                                   {:headers [["Subject" "hi"]] :body "Buy viagra!\r\n"})))
