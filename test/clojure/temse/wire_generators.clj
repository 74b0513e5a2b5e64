(ns temse.wire-generators
  "Generators of everything that travels: texts, event maps and action maps.

  What they make is canonical: decoding the packet of a generated map gives the same map again.
  Byte arrays are equal to themselves only; compare with `comparable`."
  (:require
   [clojure.string :as str]
   [clojure.test.check.generators :as gen]
   [temse.test.generators :refer [header-value line text]])
  (:import
   (temse.protocol ActionFlag EventType MacroStage ProtocolFlag Text)))

(set! *warn-on-reflection* true)

(defn comparable
  "Returns the map with its byte arrays as vectors."
  [m]
  (update-vals m #(if (bytes? %) (vec %) %)))

;; texts

(defn- without
  "Bytes that meet where something was taken out may be UTF-8 now, so the rest is decoded anew."
  [pattern]
  (gen/fmap #(Text/decode (Text/encode (str/replace % pattern ""))) text))

(def non-empty-line (gen/such-that seq line))

(def word
  "A text without spaces and line ends, not empty."
  (gen/such-that seq (without #"[\r\n ]")))

(def reply-line
  "A line of a reply text: no control characters but tabs."
  (without #"[\u0000-\u0008\u000A-\u001F\u007F]"))

(def header-name (gen/such-that seq (without #"[\u0000- :\u007F]")))

(def body
  "Any bytes."
  gen/bytes)

(def macro-name
  "A name without braces around it."
  (gen/such-that #(and (seq %) (not (str/starts-with? % "{"))) text))

(def requested-macro
  "A name that can stand in a list of the negotiation."
  (gen/such-that #(and (seq %) (not (str/starts-with? % "{"))) (without #"[ ,]")))

(def port (gen/choose 0 65535))

(def mask
  "32 bits, as a number that is not negative."
  (gen/one-of [(gen/fmap #(bit-and (long %) 0xFFFFFFFF) gen/large-integer)
               (gen/choose 0 0x1FFFFF)
               (gen/elements [0 0x1FF 0x7F 0x37F 0x1FFFFF 0x80000000 0xFFFFFFFF])]))

;; events

(defn- event [type & keys-and-generators]
  (apply gen/hash-map :event (gen/return type) keys-and-generators))

(defn- action-keywords [mask]
  (set (map #(.keyword ^ActionFlag %) (ActionFlag/ofMask (unchecked-int mask)))))

(defn- protocol-keywords [mask]
  (set (map #(.keyword ^ProtocolFlag %) (ProtocolFlag/ofMask (unchecked-int mask)))))

(def options-event
  (gen/let [version mask
            action-mask mask
            protocol-mask mask
            macros (gen/map (gen/elements (mapv #(.keyword ^MacroStage %) (MacroStage/values)))
                            (gen/vector requested-macro 0 3)
                            {:max-elements 3})]
    (cond-> {:event :options
             :version version
             :actions (action-keywords action-mask)
             :action-mask action-mask
             :protocol (protocol-keywords protocol-mask)
             :protocol-mask protocol-mask}
      (seq macros) (assoc :macros macros))))

(def define-macro-event
  (gen/let [letter (gen/one-of [(gen/elements (seq "CHMRTNELBU")) gen/char])
            definitions (gen/map macro-name text {:max-elements 12})]
    (let [type (EventType/ofCode (unchecked-byte (int letter)))]
      {:event :define-macro
       :stage (when type (.keyword type))
       :command letter
       :definitions definitions})))

(def connect-event
  (gen/one-of
    [(event :connect
       :host-name text
       :family (gen/return :unknown))
     (event :connect
       :host-name text
       :family (gen/elements [:inet :unix])
       :port port
       :address text)
     (event :connect
       :host-name text
       :family (gen/return :inet6)
       :port port
       :address (gen/such-that #(not (re-find #"(?i)^ipv6:" %)) text))]))

(defn- envelope-event
  "An address that looks like one with parameters after it is read as such (Sendmail 8.17.1)."
  [type key]
  (event type
    key (gen/such-that #(not (str/includes? % "> ")) text)
    :options (gen/vector text 0 3)))

(def mail-event (envelope-event :mail :sender))

(def recipient-event (envelope-event :recipient :address))

(def message-events
  "Events of a message, MAIL to end of message."
  [mail-event
   recipient-event
   (event :data)
   (event :header :name text :value text)
   (event :end-of-headers)
   (event :body :data body)
   (event :end-of-message)
   (event :end-of-message :data (gen/not-empty body))])

(def any-event
  "Every event that travels."
  (gen/one-of
    (into message-events
          [options-event
           define-macro-event
           connect-event
           (event :hello :greeting text)
           (event :unknown :command text)
           (event :abort)
           (event :quit)
           (event :disconnect)])))

;; actions

(defn- action [type & keys-and-generators]
  (apply gen/hash-map :action (gen/return type) keys-and-generators))

(def plain-action
  "Actions that have no keys."
  (gen/fmap #(hash-map :action %)
            (gen/elements [:continue :accept :reject :temporary-failure :discard :skip :shutdown
                           :connection-failure :progress])))

(def reply-code
  "Without an enhanced code the text is one line and does not begin with something like one."
  (gen/let [smtp-code (gen/choose 400 599)
            subject (gen/choose 0 999)
            detail (gen/choose 0 999)
            lines (gen/vector reply-line 1 32)
            enhanced? gen/boolean]
    (if enhanced?
      {:action :reply-code
       :smtp-code smtp-code
       :enhanced-code (str (quot smtp-code 100) "." subject "." detail)
       :text (str/join "\n" lines)}
      {:action :reply-code
       :smtp-code smtp-code
       :text (str/replace (first lines) #"^[0-9]+" "")})))

(def index (gen/one-of [(gen/choose 0 9) (gen/choose 0 Integer/MAX_VALUE)]))

(def parameters (gen/vector word 1 3))

(def modification
  "Everything that changes a message."
  (gen/one-of
    [(action :add-header :name header-name :value header-value)
     (action :add-header :name header-name :value header-value :position index)
     (action :change-header
       :name header-name
       :value (gen/one-of [(gen/return nil) (gen/such-that seq header-value)])
       :index index)
     (action :change-body :body body)
     (action :add-recipient :address non-empty-line)
     (action :add-recipient :address non-empty-line :parameters (gen/vector word 0 3))
     (action :delete-recipient :address non-empty-line)
     (action :change-sender :address non-empty-line)
     (action :change-sender :address non-empty-line :parameters parameters)
     (action :quarantine :reason non-empty-line)]))

(def any-action
  "Every action."
  (gen/one-of [plain-action reply-code modification]))
