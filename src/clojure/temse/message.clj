(ns temse.message
  "Messages as maps, and what actions make of them.

  A message is {:sender \"<a@example.org>\" :recipients [\"<b@example.com>\"]
  :headers [[\"Subject\" \"hi\"]] :body bytes}, and may have :options, the ESMTP parameters of the
  sender, and :recipient-options, a vector of them for each recipient. The value of a header field
  is without the space after the colon and has its folds as LF and white space; where no space
  follows the colon, [\"X-Tight\" \"v\" \"v\"] has as third what does."
  (:require
   [temse.simulate.rules :as rules]))

(set! *warn-on-reflection* true)

(defn delivered
  "Returns the message as the next hop gets it after the modifications among the actions: with the
  header fields that the MTA makes, which have {:made true} as metadata, and with the recipients in
  the order of delivery. Options are those of `apply-actions` and

    :refused   ; booleans, whether the filter has refused each recipient (default: none)
    :made      ; values of the fields that the MTA makes, such as {\"Received\" \"from …\"}"
  [message actions {:keys [mta leading-space? refused made]
                    :or {mta :postfix refused (repeat false)}}]
  (let [{:keys [edited in-sending-order]} (rules/of mta)]
    (in-sending-order (edited message refused actions leading-space? made))))

(def ^:private made
  {"Received" "from client.example.org"})

(defn apply-actions
  "Returns the message as the MTA would deliver it after the modifications among the actions,
  without the header fields that the MTA makes itself. Options:

    :mta              ; :postfix or :sendmail, whose rules apply (default: :postfix)
    :leading-space?   ; values in the actions have the space after the colon (default: false)

    (apply-actions {:headers [[\"Subject\" \"hi\"]] …} [(act/add-header \"X-Seen\" \"yes\")])"
  ([message actions]
   (apply-actions message actions {}))
  ([message actions {:keys [mta leading-space?] :or {mta :postfix}}]
   (let [{:keys [edited]} (rules/of mta)]
     (-> (edited message (repeat false) actions leading-space? made)
         (update :headers #(into [] (remove (comp :made meta)) %))))))
