(ns temse.terminal-test
  "Colours and progress: when there are some, and what they look like."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is]]
   [temse.impl.command.terminal :as terminal])
  (:import
   (java.io ByteArrayOutputStream PrintStream)
   (java.util Collections)))

(set! *warn-on-reflection* true)

(deftest colours-are-for-terminals-and-for-those-who-ask-for-them
  (are [environment terminal? colours?]
       (= colours? (terminal/colours? (Collections/unmodifiableMap environment) (constantly terminal?)))
       {"TERM" "xterm"} true true
       {"TERM" "xterm"} false false
       {"TERM" "dumb"} true false
       {} true false
       {"TERM" "xterm" "NO_COLOR" "1"} true false
       {"TERM" "xterm" "NO_COLOR" ""} true true
       {"TERM" "xterm" "CLICOLOR_FORCE" "1"} false true
       {"CLICOLOR_FORCE" "0"} false false
       {"CLICOLOR_FORCE" "1" "NO_COLOR" "1"} true false))

(deftest lines-have-the-colour-of-what-they-say
  (are [colour line] (= (if colour (terminal/painted colour line) line) (terminal/coloured line))
    :good "S: 250 2.1.0 Ok"
    :doubtful "S: 451 4.7.1 later"
    :bad "S: 550-5.7.1 no"
    :mine "C: QUIT"
    :good "status: accepted at end-of-message"
    :bad "  => refused at mail"
    :doubtful "  => discarded"
    :quiet "  MTA  --> mail <a@example.org>"
    :bad "       <-- 550 5.7.1 no"
    :doubtful "       <-- temporary-failure"
    :good "       <-- add-header X-Seen: yes"
    :bad "not ok  discard, not defer  a.eml"
    :good "    ok  accept  a.eml"
    nil "header Subject: hi"))

(deftest nothing-but-the-colour-is-added
  (is (= "\u001b[32mS: 250 Ok\u001b[0m" (terminal/coloured "S: 250 Ok"))))

(deftest what-a-caller-catches-has-no-colours
  (with-redefs [terminal/for-stdout (fn [_] (throw (AssertionError. "coloured")))]
    (is (= "S: 250 Ok\n" (with-out-str (terminal/print-line "S: 250 Ok"))))))

(deftest a-bar-fills-up
  (are [done total text] (= text (terminal/bar "sent" done total))
    0 4 (str "sent [" (string/join (repeat 30 " ")) "] 0/4")
    1 2 (str "sent [" (string/join (repeat 15 "=")) (string/join (repeat 15 " ")) "] 1/2")
    4 4 (str "sent [" (string/join (repeat 30 "=")) "] 4/4")))

(defn- written
  "Returns what f writes to stderr, taken for a terminal or not."
  [terminal? f]
  (let [out (ByteArrayOutputStream.)
        err System/err]
    (System/setErr (PrintStream. out))
    (try
      (with-redefs [terminal/errors? (delay terminal?)]
        (f))
      (finally
        (System/setErr err)))
    (str out)))

(deftest progress-is-shown-on-a-terminal-and-gone-at-the-end
  (let [text (written true #(terminal/with-progress "sent" 2 (fn [step] (step) (step) :done)))]
    (is (string/starts-with? text "\rsent [==============="))
    (is (string/ends-with? text "\r\u001b[K"))))

(deftest progress-of-a-single-step-or-without-a-terminal-is-not-shown
  (is (= "" (written true #(terminal/with-progress "sent" 1 (fn [step] (step))))))
  (is (= "" (written false #(terminal/with-progress "sent" 2 (fn [step] (step) (step)))))))

(deftest what-the-work-returns-and-throws-is-passed-on
  (is (= :done (terminal/with-progress "sent" 2 (fn [_] :done))))
  (is (thrown? IllegalStateException
               (terminal/with-progress "sent" 2 (fn [_] (throw (IllegalStateException. "a mistake")))))))
