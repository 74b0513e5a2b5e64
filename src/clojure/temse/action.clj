(ns temse.action
  "Action maps: what a milter sends to the MTA.

  Each function returns the map you could have typed, for example

    (reply-code 550 \"5.7.1\" \"Go away\")
    ;=> {:action :reply-code, :smtp-code 550, :enhanced-code \"5.7.1\", :text \"Go away\"}

  Replies settle an event: `continue` `accept` `reject` `temporary-failure` `discard` `skip`
  `reply-code`. Modifications change the message, at `:end-of-message` only: `add-header`
  `insert-header` `change-header` `delete-header` `change-body` `add-recipient`
  `delete-recipient` `change-sender` `quarantine`. `progress` is neither.

  The functions check nothing: an action is checked when it is sent. A key that it does not have, or
  lacks, or a value that cannot travel is then an error (:bad-action) with what would be right. Any
  action may carry `:why`, the reason for it: data for logs and reports, never sent."
  (:import
   (temse.protocol ActionType ActionType$Kind)))

(set! *warn-on-reflection* true)

(defn continue
  "Returns the reply that lets the MTA go on (SMFIS_CONTINUE)."
  []
  {:action :continue})

(defn accept
  "Returns the reply that accepts the message, or at `:connect` and `:hello` all messages of the
  SMTP connection, without further filtering (SMFIS_ACCEPT)."
  []
  {:action :accept})

(defn reject
  "Returns the reply that refuses with the MTA's own 5xx text (SMFIS_REJECT). At `:recipient` it
  concerns this recipient only."
  []
  {:action :reject})

(defn temporary-failure
  "Returns the reply that defers with the MTA's own 4xx text (SMFIS_TEMPFAIL). At `:recipient` it
  concerns this recipient only."
  []
  {:action :temporary-failure})

(defn discard
  "Returns the reply that accepts the message and throws it away (SMFIS_DISCARD). Not for
  `:connect`, `:hello` and `:unknown`."
  []
  {:action :discard})

(defn skip
  "Returns the reply that asks for no more events of this kind in this message (SMFIS_SKIP), at
  `:header`, `:recipient` or `:body`. Where the MTA cannot skip, the library does."
  []
  {:action :skip})

(defn reply-code
  "Returns the reply that refuses (5xx) or defers (4xx) with a text of your own (smfi_setreply,
  smfi_setmlreply).

  `smtp-code` is 400 to 599, `enhanced-code` like \"5.7.1\" of the same class or nil, `text` up to
  32 lines of 980 bytes separated by \\n. A % needs no doubling. Code 421 ends the SMTP connection.
  At :connect Sendmail replaces the text by one of its own.

    (reply-code 451 \"4.7.1\" \"Come back in 5 minutes\")"
  ([smtp-code text]
   {:action :reply-code :smtp-code smtp-code :text text})
  ([smtp-code enhanced-code text]
   (cond-> (reply-code smtp-code text)
     enhanced-code (assoc :enhanced-code enhanced-code))))

(defn add-header
  "Returns the modification that adds a header field (smfi_addheader). Postfix puts it at the end,
  Sendmail before the first field of that name. Lines of a folded value are separated by \\n and
  begin with white space."
  [name value]
  {:action :add-header :name name :value value})

(defn insert-header
  "Returns the modification that inserts a header field at `position` among all fields, 0 being the
  top, above the MTA's own Received (smfi_insheader)."
  [position name value]
  {:action :add-header :name name :value value :position position})

(defn change-header
  "Returns the modification that changes the value of the `index`-th field of that name, from 1
  (smfi_chgheader). If there is none the MTA adds one; a nil value deletes."
  ([name value]
   (change-header name 1 value))
  ([name index value]
   {:action :change-header :name name :index index :value value}))

(defn delete-header
  "Returns the modification that deletes the `index`-th field of that name, from 1. To delete
  several begin with the highest: Postfix renumbers after each, Sendmail does not."
  ([name]
   (delete-header name 1))
  ([name index]
   (change-header name index nil)))

(defn change-body
  "Returns the modification that replaces the body (smfi_replacebody) by a string, bytes, an
  InputStream, a File, a Path, a function of no arguments (or Supplier) that returns one of them, or a
  sequence of these, which may be lazy. Line ends are \\r\\n.

  The body is read while it is sent, piece by piece; what is opened or given as a stream is closed. A
  stream can be used in one action only. Files, paths and functions may be used again.

    (change-body (io/file \"notice.txt\"))
    (change-body #(io/input-stream (io/resource \"notice.txt\")))"
  [body]
  {:action :change-body :body body})

(defn add-recipient
  "Returns the modification that adds a recipient such as \"<a@example.org>\" (smfi_addrcpt), with
  ESMTP parameters if given: a vector such as [\"NOTIFY=NEVER\"] (smfi_addrcpt_par)."
  ([address]
   {:action :add-recipient :address address})
  ([address parameters]
   {:action :add-recipient :address address :parameters parameters}))

(defn delete-recipient
  "Returns the modification that deletes a recipient, spelled as in its `:recipient` event
  (smfi_delrcpt)."
  [address]
  {:action :delete-recipient :address address})

(defn change-sender
  "Returns the modification that replaces the envelope sender (smfi_chgfrom); \"<>\" is the null
  sender. ESMTP parameters are a vector such as [\"RET=HDRS\"]."
  ([address]
   {:action :change-sender :address address})
  ([address parameters]
   {:action :change-sender :address address :parameters parameters}))

(defn quarantine
  "Returns the modification that holds the message: Sendmail's quarantine, Postfix's hold queue
  (smfi_quarantine)."
  [reason]
  {:action :quarantine :reason reason})

(defn progress
  "Returns the action that asks the MTA to keep waiting (smfi_progress)."
  []
  {:action :progress})

(defn- kind
  [action]
  (when-let [type (ActionType/ofKeyword (:action action))]
    (.-kind ^ActionType type)))

(defn reply?
  "Returns true if the action settles an event."
  [action]
  (= ActionType$Kind/REPLY (kind action)))

(defn modification?
  "Returns true if the action changes the message."
  [action]
  (= ActionType$Kind/MODIFICATION (kind action)))
