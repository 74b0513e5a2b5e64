(ns temse.impl.command.terminal
  "What a terminal gets beyond plain lines: colours, and the progress of long work. Where stdout or stderr is
  no terminal, nothing of it is written.

  NO_COLOR and TERM=dumb turn colours off; CLICOLOR_FORCE=1 gives them to a pipe, too."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.text :as text])
  (:import
   (clojure.lang Var)
   (java.io IOException PrintStream)
   (java.lang ProcessBuilder$Redirect)
   (java.nio.file Files LinkOption Path)
   (java.util List)))

(set! *warn-on-reflection* true)

;; ---- what there is

(def ^:private character-device 0x2000)

(defn- device?
  "Returns false if a file descriptor is surely no terminal: a file, a pipe or a socket."
  [descriptor]
  (try
    (let [mode (Files/getAttribute (Path/of (str "/dev/fd/" descriptor) (make-array String 0))
                                   "unix:mode"
                                   (make-array LinkOption 0))]
      (= character-device (bit-and 0xF000 (long mode))))
    (catch Exception _
      true)))

(defn- asks-test?
  "Returns what the program test says of a file descriptor, or whether there is a console where there is no
  such program."
  [descriptor]
  (try
    (zero? (.waitFor (.start (doto (ProcessBuilder. ^List (vector "test" "-t" (str descriptor)))
                               (.redirectInput ProcessBuilder$Redirect/INHERIT)
                               (.redirectOutput ProcessBuilder$Redirect/INHERIT)
                               (.redirectError ProcessBuilder$Redirect/INHERIT)))))
    (catch IOException _
      (some? (System/console)))))

(defn- terminal?
  [descriptor]
  (and (device? descriptor) (asks-test? descriptor)))

(def input?
  "A delay: whether stdin is a terminal."
  (delay (terminal? 0)))

(def ^:private output? (delay (terminal? 1)))

(def ^:private errors? (delay (terminal? 2)))

(defn colours?
  "Returns true if an environment, a java.util.Map, asks for colours on stdout; `terminal?` is a function
  that tells whether it is one."
  [environment terminal?]
  (let [given? #(not (string/blank? (get environment %)))]
    (cond
      (given? "NO_COLOR") false
      (not (contains? #{nil "" "0"} (get environment "CLICOLOR_FORCE"))) true
      (contains? #{nil "" "dumb"} (get environment "TERM")) false
      :else (terminal?))))

(def ^:private coloured? (delay (colours? (System/getenv) #(deref output?))))

(defn- to-stdout?
  "Returns true if what is printed goes to stdout, and is not caught by a caller."
  []
  (identical? *out* (.getRawRoot ^Var #'*out*)))

;; ---- colours

(def ^:private colours
  {:good "32", :bad "31", :doubtful "33", :mine "1", :quiet "2"})

(defn painted
  "Returns a text in a colour: :good, :bad, :doubtful, :mine, what the user has typed, or :quiet."
  [colour text]
  (str "\u001b[" (colours colour) "m" text "\u001b[0m"))

(def ^:private shapes
  "What lines look like, and their colour; the first that fits."
  [[#"^S: [23]" :good]
   [#"^S: 4" :doubtful]
   [#"^S: 5" :bad]
   [#"^C: " :mine]
   [#"^(?:status:|\s*=>) (?:accepted|delivered)" :good]
   [#"^(?:status:|\s*=>) (?:refused|no )" :bad]
   [#"^(?:status:|\s*=>) (?:deferred|discarded|quarantined)" :doubtful]
   [#"^(?:not ok|unmet) " :bad]
   [#"^ *ok  " :good]
   [#"^\s*(?:!|!!!)\s" :bad]
   [#"^\s*MTA  -->" :quiet]
   [#"^\s*<-- (?:accept|add-|insert-|change-|delete-|progress|continue)" :good]
   [#"^\s*<-- (?:reject|5\d\d )" :bad]
   [#"^\s*<-- (?:temporary-failure|discard|quarantine|4\d\d )" :doubtful]
   [#"^  \+ " :good]
   [#"^  - " :bad]])

(defn coloured
  "Returns a line in its colour."
  [line]
  (if-let [colour (some (fn [[shape colour]] (when (re-find shape line) colour)) shapes)]
    (painted colour line)
    line))

;; ---- progress

(def ^:private bar-width 30)

(def ^:private ^{:doc "The text of the bar that is shown now, or nil."} shown (atom nil))

(defn bar
  "Returns a bar for `done` of `total`."
  [label done total]
  (let [filled (quot (* (long bar-width) (long done)) (max 1 (long total)))]
    (text/formatted "%s [%s%s] %d/%d"
      label
      (string/join (repeat filled "="))
      (string/join (repeat (- (long bar-width) filled) " "))
      done
      total)))

(defn- write-error
  [text]
  (let [^PrintStream err System/err]
    (.print err ^String text)
    (.flush err)))

(def ^:private erase "\r\u001b[K")

(def ^:private redraw-nanos 100000000)

(defn with-progress
  "Calls f with a function to be called once for each of `total` steps. A bar on stderr, where it is a
  terminal, shows how many were made, and is gone when f returns."
  [label total f]
  (if (and @errors? (not= "dumb" (System/getenv "TERM")) (< 1 (long total)))
    (let [state (atom {:done 0, :drawn 0})
          step (fn []
                 (let [now (System/nanoTime)
                       [{before :drawn} {:keys [done drawn]}]
                       (swap-vals! state (fn [{:keys [done drawn]}]
                                           {:done (inc (long done))
                                            :drawn (if (< (long redraw-nanos) (- now (long drawn))) now drawn)}))]
                   (when (not= before drawn)
                     (reset! shown (bar label done total))
                     (write-error (str "\r" @shown)))))]
      (try
        (f step)
        (finally
          (reset! shown nil)
          (write-error erase))))
    (f (fn []))))

;; ---- lines

(defn for-stdout
  "Returns a printable line as stdout is to show it."
  [line]
  (if @coloured? (coloured line) line))

(defn print-line
  "Prints a line, which is printable, in its colour, above the bar."
  [line]
  (let [line (if (to-stdout?) (for-stdout line) line)]
    (if-let [bar @shown]
      (do
        (write-error erase)
        (println line)
        (flush)
        (write-error bar))
      (println line))))

(defn print-coloured
  "Calls f, whose lines are printed in their colours."
  [f]
  (if (and (to-stdout?) @coloured?)
    (run! print-line (string/split-lines (with-out-str (f))))
    (f)))
