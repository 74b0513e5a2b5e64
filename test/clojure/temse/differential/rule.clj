(ns temse.differential.rule
  "The twin of `test/c/differential.c`: a temse filter that prints the same lines and gives the same
  answers. What is said there of lines, answers and variants is not said again here."
  (:require
   [clojure.string :as str]
   [temse.action :as act]
   [temse.milter :as milter])
  (:import
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private macro-names ["i" "j" "{x}" "{mail_addr}" "{rcpt_addr}"])

(def ^:private longest-shown 64)

;; FNV-1a

(def ^:private start 2166136261)

(defn- fnv ^long [^long h ^bytes octets]
  (areduce octets i sum h
           (bit-and 0xFFFFFFFF
                    (unchecked-multiply 16777619
                                        (bit-xor sum (bit-and 0xFF (aget octets i)))))))

(defn- octets ^bytes [text]
  (if (bytes? text) text (Text/encode text)))

(defn- fnv-argument ^long [^long h argument]
  (fnv (fnv h (octets argument)) (byte-array 1)))

;; Answers

(def ^:private go-on {:name "continue", :actions []})

(defn- answer [callback ^long h skip?]
  (let [client? (#{"connect" "helo"} callback)
        unknown? (= "unknown" callback)]
    (case (rem (bit-shift-right h 8) 100)
      0 (if unknown? go-on {:name "accept", :actions [(act/accept)]})
      1 {:name "reject", :actions [(act/reject)]}
      2 {:name "tempfail", :actions [(act/temporary-failure)]}
      3 (if (or client? unknown?) go-on {:name "discard", :actions [(act/discard)]})
      4 {:name "reply-550", :actions [(act/reply-code 550 "5.7.1" "Go away: 100% sure")]}
      5 {:name "reply-451", :actions [(act/reply-code 451 "Later")]}
      6 {:name "reply-554", :actions [(act/reply-code 554 "One\nTwo: 50%")]}
      7 {:name "reply-450", :actions [(act/reply-code 450 "4.2.1" "One\n\nGrün")]}
      (8 9 10) (if (and skip? (= "body" callback)) {:name "skip", :actions [(act/skip)]} go-on)
      go-on)))

(defn decide
  "Returns the :answer of a callback and its arguments, and the :last hash after it.

    :last      ; the hash that is kept of the connection
    :variant
    :skip?     ; true if skip was agreed"
  [callback arguments {:keys [last variant skip?]}]
  (let [own (long (reduce fnv-argument (fnv-argument start callback) arguments))
        last (long last)
        h (if (seq arguments)
            own
            (fnv own (byte-array (map #(unchecked-byte (bit-shift-right last (long %)))
                                      [24 16 8 0]))))]
    {:answer (if (and (= :nr variant) (not= "eom" callback))
               {:name "noreply", :actions []}
               (answer callback h skip?))
     :hash h
     :last (if (seq arguments) h last)}))

(defn- modifications [^long h]
  (let [bits (fnv h (octets "modify"))
        bit? #(bit-test bits (long %))]
    (cond-> []
      (bit? 0) (conj (act/progress))
      (bit? 1) (conj (act/add-header "X-Added" "Grün\n\tfolded \uDCFF"))
      (bit? 2) (conj (act/insert-header (rem bits 7) "X-Inserted" ""))
      (bit? 3) (conj (act/change-header "Subject" (inc (rem bits 3)) "changed"))
      (bit? 4) (conj (act/delete-header "X-Old"))
      (bit? 5) (conj (act/add-recipient "<added@example.org>"))
      (bit? 6) (conj (act/add-recipient "<added@example.com>"
                                        ["NOTIFY=NEVER" "ORCPT=rfc822;a@example.com"]))
      (bit? 7) (conj (act/add-recipient "<added@example.net>" []))
      (bit? 8) (conj (act/delete-recipient "<deleted@example.org>"))
      (bit? 9) (conj (act/change-sender "<sender@example.org>"))
      (bit? 10) (conj (act/change-sender "<>" ["RET=HDRS"]))
      (bit? 11) (conj (act/quarantine "5% grün"))
      true (into (case (bit-and 15 (bit-shift-right bits 12))
                   (0 1 2 3) [(act/change-body (byte-array [110 101 119 13 10 0 -1]))]
                   4 [(act/change-body "")]
                   5 [(act/change-body (str/join (repeat 70000 "x")))]
                   [])))))

(defn- agreed? [context {:keys [action parameters]}]
  (or (= :progress action)
      (milter/agreed? context (if parameters
                                ({:add-recipient :add-recipient-parameters} action action)
                                action))))

;; Lines

(defn- shown [text]
  (let [octets (octets text)]
    (if (< longest-shown (alength octets))
      (format "#%d:%08x" (alength octets) (fnv start octets))
      (str/join (for [octet octets]
                  (if (and (< 0x20 (long octet) 0x7F) (not (#{\% \| \= \#} (char octet))))
                    (char octet)
                    (format "%%%02X" octet)))))))

(defn- line [callback arguments context answer]
  (str/join " "
            (concat [callback]
                    (map shown arguments)
                    ["|"]
                    (for [macro macro-names
                          :let [value (milter/get-macro context macro)]
                          :when value]
                      (str macro "=" (shown value)))
                    ["|" (:name answer)])))

;; The filter

(def ^:private callbacks
  {:connect ["connect" (fn [{:keys [host-name family port address]}]
                         (case family
                           :unknown [host-name "unknown"]
                           :unix [host-name "unix" address]
                           [host-name (name family) address (str port)]))]
   :hello ["helo" (juxt :greeting)]
   :mail ["envfrom" #(cons (:sender %) (:options %))]
   :recipient ["envrcpt" #(cons (:address %) (:options %))]
   :data ["data" (constantly [])]
   :header ["header" (juxt :name :value)]
   :end-of-headers ["eoh" (constantly [])]
   :body ["body" (juxt :data)]
   :end-of-message ["eom" (constantly [])]
   :unknown ["unknown" (juxt :command)]})

(defn- handler [variant print-line [callback arguments-of]]
  (fn [event context]
    (let [arguments (arguments-of event)
          skip? (contains? (:capabilities (:milter/agreement context)) :skip)
          {:keys [answer hash last]} (decide callback
                                             arguments
                                             {:last (::last context 0)
                                              :variant variant
                                              :skip? skip?})]
      (print-line (line callback arguments context answer))
      (apply milter/respond
             (assoc context ::last last)
             (concat (when (= "eom" callback)
                       (filter #(agreed? context %) (modifications hash)))
                     (:actions answer))))))

(defn- ask-for-leading-space
  "An :options handler that wants leading spaces where they are offered, and no emulation."
  [event context]
  (assoc context :leading-space? (contains? (:protocol event) :leading-space)))

(def variants
  "Per variant: the events it does without, and what else is asked of the MTA."
  {:all {}
   :nr {:handlers {:options ask-for-leading-space}
        :options {:no-reply-events (remove #{:end-of-message} (keys callbacks))
                  :rejected-recipients? true
                  :request-macros {:mail ["i" "{mail_addr}"], :end-of-message ["{x}"]}}}
   :few {:without [:hello :data :header :unknown]
         :options {:actions [:add-header]}}
   :content {:without [:connect :hello :mail :recipient :unknown]}
   :plain {:options {:actions [:add-header :change-header :add-recipient :quarantine]}}})

(defn filter-options
  "Returns options of start-milter for a variant. Each line is given to `print-line`."
  [variant print-line]
  (let [{:keys [without handlers options]} (variants variant)
        name-only (fn [callback] (fn [_ context] (print-line callback) context))]
    (merge {:handlers (merge (update-vals (apply dissoc callbacks without)
                                          #(handler variant print-line %))
                             {:abort (name-only "abort")
                              :disconnect (name-only "close")}
                             handlers)}
           options)))
