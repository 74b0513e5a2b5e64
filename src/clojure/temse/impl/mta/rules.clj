(ns temse.impl.mta.rules
  "The rules of each MTA, by its keyword."
  {:no-doc true}
  (:require
   [temse.impl.mta.postfix :as postfix]
   [temse.impl.mta.sendmail :as sendmail])
  (:import
   (temse.protocol MtaDialogue)))

(set! *warn-on-reflection* true)

(def ^:private rules
  {:postfix {:edited postfix/edited
             :in-sending-order postfix/in-sending-order
             :approval postfix/approval
             :refusal postfix/refusal
             :refused-greeting postfix/refused-greeting
             :broken postfix/broken
             :hangs-up? #(.hangsUpAt MtaDialogue/POSTFIX (long %))
             :received postfix/taken-in
             :own-refusal (constantly nil)
             :no-recipients postfix/no-recipients
             :held-without-recipients? true
             :early-quarantine? true
             :topic (constantly nil)
             :complaint (constantly nil)}
   :sendmail {:edited sendmail/edited
              :in-sending-order sendmail/in-sending-order
              :approval sendmail/approval
              :refusal sendmail/refusal
              :refused-greeting sendmail/refused-greeting
              :hangs-up? #(.hangsUpAt MtaDialogue/SENDMAIL (long %))
              :received sendmail/taken-in
              :own-refusal sendmail/own-refusal
              :no-recipients sendmail/no-recipients
              :topic sendmail/topic
              :complaint sendmail/complaint}})

(defn of
  "Returns the rules of an MTA, a map: functions, the replies :broken, which ends the filter's part,
  and :no-recipients to a DATA without any, and whether a quarantined mail is held that has no
  recipients left, and one that the filter has quarantined before its end."
  [mta]
  (or (get rules mta)
      (throw (IllegalArgumentException.
               (str ":mta must be :postfix or :sendmail, not " (pr-str mta))))))
