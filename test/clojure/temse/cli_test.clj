(ns temse.cli-test
  "The command line: what it refuses in this process, what it does in one of its own."
  (:require
   [clojure.data.json :as json]
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.cli :as cli]
   [temse.impl.class-path :as class-path]
   [temse.impl.command.arguments :as arguments]
   [temse.impl.command.run :as run]
   [temse.impl.filter-file :as filter-file]
   [temse.support :as support :refer [with-directory]]
   [temse.test :as mt])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io BufferedReader File StringWriter)
   (java.net InetAddress ServerSocket Socket StandardProtocolFamily URI UnixDomainSocketAddress)
   (java.nio.channels ServerSocketChannel)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(defn- with-file
  "Calls f with the path of a Clojure file that holds the text."
  [text f]
  (let [file (File/createTempFile "filter_" ".clj")]
    (try
      (spit file text)
      (f (str file))
      (finally
        (io/delete-file file)))))

(defn- loaded
  "Returns the filter of a file of this text."
  [text & args]
  (binding [*err* (StringWriter.)]
    (with-file text #(filter-file/load-filter % args))))

(defn- refused
  "Returns the exit code and the message of a command that does not get far."
  [& args]
  (try
    (apply @#'cli/command [args])
    nil
    (catch ExceptionInfo e
      [(::cli/exit (ex-data e)) (ex-message e)])))

(defn- verdict
  [filter]
  (:verdict (mt/run-message (if (map? filter) filter {:handlers filter}) {})))

(def ^:private rejecting
  "{:mail (fn [_ _] [{:action :reject}])}")

;; Which filter a file holds

(deftest a-filter-is-the-last-value-or-the-var-of-that-name
  (are [text] (= :reject (verdict {:handlers (loaded text)}))
    rejecting
    (str "(def anything " rejecting ")")
    (str "(def filter " rejecting ") :something-else")
    (str "(ns cli-test-a (:refer-clojure :exclude [filter])) (def filter " rejecting ") 42")
    (str "(ns ^:tagged cli-test-b \"Doc.\") (def handlers " rejecting ")")
    (str "#!/usr/bin/env clojure\n" rejecting)
    (str "(fn [] " rejecting ")")
    (str "(def f (constantly " rejecting "))")
    (str "(defn filter [] " rejecting ") 42")))

(deftest the-first-file-of-a-newcomer-gives-no-warning
  (are [text] (let [errors (StringWriter.)]
                (binding [*err* errors]
                  (with-file text #(filter-file/load-filter % nil)))
                (= "" (str errors)))
    (str "(def filter " rejecting ")")
    (str "(ns cli-test-d) (def filter " rejecting ")")
    (str "(ns cli-test-e) (defn filter [] " rejecting ")")
    (str "(ns cli-test-f) (def milter " rejecting ") 42"))
  (testing "and filter is the core function until it is defined"
    (is (= {:name "2"} (loaded "(ns cli-test-g) (def odd (filter odd? [1 2 3])) {:name (str (count odd))}")))
    (is (= {:name "2"} @(loaded "(def odd (filter odd? [1 2 3])) (def filter {:name (str (count odd))})")))))

(deftest a-filter-may-be-the-var-milter
  (is (= {:name "a"} @(loaded "(ns cli-test-h) (def milter {:name \"a\"}) 42")))
  (is (= {:name "b"} @(loaded "(def milter {:name \"a\"}) (def filter {:name \"b\"}) 42"))))

(deftest a-file-may-require-what-lies-beside-it
  (with-directory {"cli_test_words.clj" "(ns cli-test-words) (def words \"a\")"
                   "plain.clj" "(require 'cli-test-words) {:name cli-test-words/words}"
                   "cli_test/acme/filter.clj" "(ns cli-test.acme.filter (:require [cli-test.acme.deep :as d])) {:name d/x}"
                   "cli_test/acme/deep.clj" "(ns cli-test.acme.deep) (def x \"deep\")"}
    (fn [directory]
      (is (= {:name "a"} (filter-file/load-filter (io/file directory "plain.clj") nil)))
      (is (= {:name "deep"} (filter-file/load-filter (io/file directory "cli_test/acme/filter.clj") nil))))))

(deftest what-is-loaded-again-is-new-and-what-does-not-load-changes-nothing
  (with-directory {"cli_test_part.clj" "(ns cli-test-part) (def x 1)"
                   "cli_test_whole.clj" "(ns cli-test-whole (:require [cli-test-part :as part]))
                                         (defn f [] ((fn [] part/x)))
                                         (def filter {:name \"f\", :init #'f})"}
    (fn [directory]
      (let [file (io/file directory "cli_test_whole.clj")
            part (io/file directory "cli_test_part.clj")
            called #((:init @%))
            before (filter-file/load-filter file nil)]
        (spit part "(ns cli-test-part) (def x 2) (undefined)")
        (is (thrown-with-msg? ExceptionInfo #"undefined" (filter-file/load-filter file nil)))
        (is (= 1 (called before) @(resolve 'cli-test-part/x)))
        (spit part "(ns cli-test-part) (def x 3)")
        (is (= 3 (called (filter-file/load-filter file nil))))
        (is (= 1 (called before)))))))

(deftest what-was-loaded-before-keeps-its-vars-when-it-is-called-for-the-first-time
  (with-directory {"cli_test_lazy.clj" ""}
    (fn [directory]
      (let [file (io/file directory "cli_test_lazy.clj")
            load-with (fn [x & more]
                        (spit file (str "(ns cli-test-lazy) (defprotocol P (p [_]))"
                                        "(def x " x ") (defn y [] x)"
                                        "(deftype T [] P (p [_] [x (y)]))"
                                        "(defn f [] [((fn [] x)) ((fn [] (y))) (p (T.))])"
                                        "(def filter {:name \"f\", :init #'f})"
                                        (apply str more)))
                        (filter-file/load-filter file nil))
            called #((:init @%))
            first-one (load-with 1)
            second-one (load-with 2)]
        (testing "while another one is loaded"
          (is (thrown-with-msg? ExceptionInfo #"undefined" (load-with 3 "(undefined)")))
          (is (= [2 2 [2 2]] (called second-one))))
        (testing "when another one was loaded"
          (is (= [1 1 [1 1]] (called first-one))))))))

(deftest a-filter-may-be-a-map-of-options
  (is (= :reject (verdict (loaded (str "{:handlers " rejecting ", :actions #{:add-header}}")))))
  (is (= {:port 1} (loaded "(defn filter [port] {:port (parse-long port)})" "1"))))

(deftest a-filter-that-is-a-function-gets-the-arguments
  (is (= {:name "a b"} (loaded "(fn [x y] {:name (str x \" \" y)})" "a" "b")))
  (is (= {:name "ab"} (loaded "(ns cli-test-c (:refer-clojure :exclude [filter]))
                               (defn filter [& args] {:name (apply str args)})
                               :other"
                              "a" "b"))))

(deftest a-function-may-return-an-exit-code-instead-of-a-filter
  (with-file "(fn [& [n]] (if n (parse-long n) {:port 1}))"
    (fn [file]
      (is (= 3 (run/run [(str file) "--" "3"])))
      (is (= 0 (run/run [(str file) "--" "0"])))
      (testing "where a filter is needed that is an error"
        (is (thrown-with-msg? ExceptionInfo #"for these arguments it returns no filter, but the exit code 3"
              (filter-file/load-filter file ["3"])))))))

(deftest a-filter-that-is-a-var-stays-one
  (is (var? (loaded (str "(def handlers " rejecting ")")))))

(deftest a-file-without-filter-is-told-with-its-value
  (doseq [text ["" "42" ":handlers" "[1]" "(fn [] [42])" "nil"]]
    (is (thrown-with-msg? ExceptionInfo #"(?s)is a map of handlers, a map of options, or a function"
          (loaded text)))))

(deftest arguments-for-a-filter-that-takes-none-are-refused
  (is (thrown-with-msg? ExceptionInfo #"is not a function, so it takes no arguments: a b"
        (loaded rejecting "a" "b"))))

(deftest a-function-that-takes-other-arguments-is-told
  (are [text args error] (= error (try
                                    (apply loaded text args)
                                    (catch ExceptionInfo e
                                      (string/replace (ex-message e) #"^[^:]*: " ""))))
    "(fn [x] {:port 1})" ["a" "b"] "its filter does not take these arguments: a b"
    "(fn [x] {:port 1})" [] "its filter wants arguments; they come after --"))

(deftest a-function-that-fails-is-told-in-one-line
  (are [text error] (try
                      (loaded text "a")
                      false
                      (catch ExceptionInfo e
                        (string/ends-with? (ex-message e)
                                           (str ".clj: the filter's function failed: " error))))
    "(fn [_] (throw (Exception. \"no luck\")))" "Exception: no luck"
    "(fn [_] (throw (IllegalStateException.)))" "class java.lang.IllegalStateException"
    "(defn filter [_] (/ 1 0))" "Divide by zero"))

(deftest a-file-that-does-not-load-is-told-with-its-line
  (are [text line problem] (with-file text
                             (fn [file]
                               (let [[code message] (refused "run" file "--listen" "0")]
                                 (and (= 2 code)
                                      (string/starts-with? message (str file ":" line ":"))
                                      (string/includes? message problem)
                                      (not (string/includes? message "\n"))))))
    "(ns broken)\n\n(defn f [] (undefined))" 3 "Unable to resolve symbol: undefined"
    "(+ 1\n   2" 3 "EOF while reading, starting at line 1"
    "\n\n)" 3 "Unmatched delimiter: )"
    "\n(let [x] x)" 2 ""
    "(ns broken-require\n  (:require [no.such.namespace]))" 1 "no/such/namespace"
    "\n\n(throw (ex-info \"no luck\" {}))" 3 "no luck"
    "\n(require '[temse.milter :refer [define-event-handlers]])\n(define-event-handlers h (:heder 1))"
    3 "did you mean :header?"))

(deftest a-file-that-is-not-there-is-told
  (is (= [2 "/no/such.clj: there is no such file"] (refused "run" "/no/such.clj" "--listen" "0"))))

;; What is refused before anything runs

(deftest a-filter-that-could-not-run-is-told-as-start-milter-does
  (with-file "{:heder (fn [_ context] context)}"
    (fn [file]
      (is (string/includes? (:message (support/thrown (refused "run" file "--listen" "0")))
                            "there is no event :heder; did you mean :header?")))))

(deftest mistakes-in-the-arguments-are-told-with-exit-code-two
  (are [args text] (let [[code message] (apply refused args)]
                     (and (= 2 code) (string/includes? message text)))
    ["rnu"] "there is no command rnu"
    ["run"] "name the file of the filter, or a directory with a temse.edn"
    ["run" "examples/pmilter" "--" "a"] "the arguments of a filter are its :args in examples/pmilter/temse.edn"
    ["run" "examples/pmilter" "--socket-group" "mail" "--listen" "0"] "--socket-group goes with --listen unix:PATH"
    ["run" "--lisen" "0" "f.clj"] "there is no option --lisen"
    ["run" "f.clj" "g.clj"] "one file at a time: f.clj or g.clj"
    ["demo" "x"] "it takes no x"
    ["sned"] "there is no command sned; did you mean send?"
    ["run" "f.clj" "--listen"] "--listen needs a value: --listen ADDRESS"
    ["run" "f.clj" "--listen" "0" "--socket-group" "mail"]
    "--socket-group goes with --listen unix:PATH, not with inet:0@127.0.0.1"
    ["run" "f.clj" "--class-path" "/no/such:/neither"] "--class-path: /no/such: there is no such file"
    ["run" "f.clj" "--deps" "/no/such.edn"] "--deps: /no/such.edn: there is no such file"
    ["run" "f.clj" "--listen" "nonsense"] "write inet:PORT@HOST"
    ["run" "f.clj" "--listen" "inherited" "--socket-group" "mail"] "--socket-group goes with --listen unix:PATH, not with inherited"
    ["run" "f.clj" "--listen" "0" "--drain-timeout" "-1"] "--drain-timeout needs seconds, such as 30 or 0.5"
    ["config" "postfix" "f.clj" "--listen" "inherited"] "cannot understand the address \"inherited\""
    ["run" "f.clj" "--listen" "0" "--from-sendmail-cf" "f.cf" "temse"] "by --listen or by --from-sendmail-cf, not by both"
    ["run" "f.clj" "--from-sendmail-cf" "f.cf"] "--from-sendmail-cf needs 2 values: --from-sendmail-cf FILE NAME"
    ["run" "f.clj" "--from-sendmail-cf" "/no/such.cf" "temse"] "/no/such.cf: there is no such file"
    ["run" "f.clj" "--log" "xml"] "--log is one of json, text, not \"xml\""
    ["run" "f.clj" "--metrics" "localhost"] "--metrics needs a port such as 9100, or a host and a port"
    ["run" "f.clj" "--inspect" "x"] "--inspect needs a port from 0 to 65535, not \"x\""
    ["run" "f.clj" "--inspect" "65536"] "--inspect needs a port from 0 to 65535"
    ["run" "f.clj" "--metrics" "65536"] "--metrics needs a port such as 9100"
    ["run" "f.clj" "--metrics" "::1:9100"] "or [2001:db8::1]:9100, not \"::1:9100\"")
  (with-file rejecting
    (fn [file]
      (is (= [2 "say where to listen: --listen inet:20025@127.0.0.1"] (refused "run" file))))))

(deftest help-and-version-are-printed
  (doseq [args [["help"] ["--help"] ["-h"] []]
          :let [help (with-out-str (apply refused args))]]
    (is (string/includes? help "temse run FILE.clj --listen ADDRESS"))
    (is (every? #(<= (count %) 80) (string/split-lines help))))
  (doseq [command ["demo" "init" "run" "test" "config" "doctor" "smtp" "try" "dump" "send" "proxy" "replay" "decode" "version"]
          args [[command "--help"] ["help" command] [command "-h"]]]
    (is (string/starts-with? (with-out-str (apply refused args)) (str "usage: temse " command)) args))
  (is (= (str "temse " (slurp (io/resource "temse/VERSION")))
         (with-out-str (refused "version")))))

;; Processes

(defn- start
  ^Process [& args]
  (support/process (into ["-m" "temse.cli"] args)))

(defn- exit-code
  [^Process process]
  (if (.waitFor process 30 TimeUnit/SECONDS)
    (.exitValue process)
    (do (.destroyForcibly process)
        :still-running)))

(defn- terminate
  "Sends SIGTERM, and leaves the output open."
  [^Process process]
  (.destroy (.toHandle process)))

(defn- finished
  "Returns the exit code and the output of a command."
  [& args]
  (let [process ^Process (apply start args)
        output (slurp (.getInputStream process))]
    [(exit-code process) output]))

(defn- await-line
  "Returns the first line that matches, having added all lines up to it to `lines`, or nil where the
  output ends without it."
  [^BufferedReader output lines pattern]
  (loop []
    (when-let [line (.readLine output)]
      (swap! lines conj line)
      (if (re-find pattern line)
        line
        (recur)))))

(defn- with-served
  "Calls f with the process, the address and a function that waits for a line, of a filter served from
  a file of the text; then ends the process. Returns its exit code and all it printed."
  [text args f]
  (with-file text
    (fn [file]
      (let [where (when-not (some #{"--from-sendmail-cf"} args) ["--listen" "inet:0@127.0.0.1"])
            process ^Process (apply start "run" file (concat where args))
            lines (atom [])
            limit (future (exit-code process))]
        (try
          (let [output (io/reader (.getInputStream process))
                address (second (re-find #"listens on ([^\s\"]+)"
                                         (str (await-line output lines #"listens on"))))]
            (f process address #(await-line output lines %))
            (terminate process)
            (let [code @limit]
              (await-line output lines #"(?!)")
              [code @lines]))
          (finally
            (.destroyForcibly process)))))))

(deftest the-demo-shows-three-verdicts
  (let [[code output] (finished "demo")]
    (is (= 0 code))
    (is (= ["accepted at end-of-message"
            "refused at end-of-message: 550 5.7.1 No lottery today, 100% sure"
            "deferred at recipient: 451 4.2.1 This mailbox is being moved, try again later"]
           (map second (re-seq #"(?m)^  => (.*)$" output))))
    (is (string/includes? output "  - Subject: Lunch?\n  + Subject: [external] Lunch?"))))

(deftest a-command-that-fails-says-so-in-few-lines
  (with-file "(ns broken)\n\n(defn f [] (undefined))"
    (fn [file]
      (is (= [2 (str "temse: " file ":3:12: Unable to resolve symbol: undefined in this context\n")]
             (finished "run" file "--listen" "0")))))
  (let [[code output] (finished "run" "--nonsense")]
    (is (= 2 code))
    (is (string/starts-with? output "temse: there is no option --nonsense;"))))

(def ^:private marking
  "(ns marking
     (:refer-clojure :exclude [filter])
     (:require [temse.action :as act]))

   (defn filter [value]
     {:header (fn [_ context] context)
      :end-of-message (fn [_ _] [(act/add-header \"X-Marked\" value) (act/accept)])})")

(deftest a-filter-is-served-and-tells-of-connections-and-verdicts
  (let [[code lines]
        (with-served marking ["--" "yes"]
          (fn [_process address await-line]
            (is (= [(act/add-header "X-Marked" "yes")]
                   (:modifications (mt/run-message address {}))))
            (is (await-line #"message accepted"))))]
    (is (= 0 code))
    (doseq [told [#"^filter_\d+ listens on inet:\d+@127.0.0.1$"
                  #"^\S+ \S+ filter_\d+ 1 inet:\d+@127.0.0.1 connected$"
                  #" filter_\d+ 1 inet:\d+@127.0.0.1 queue-id=\S+ client=client.example.org\[192.0.2.1\] from=<sender@example.org> to=<recipient@example.com> message accepted at end-of-message: accept$"
                  #" filter_\d+ 1 inet:\d+@127.0.0.1 closed$"]]
      (is (some #(re-find told %) lines) told))
    (is (not-any? #(re-find #"header Subject" %) lines))))

(deftest a-filter-listens-where-a-sendmail-cf-says-and-replaces-a-stale-socket
  (let [cf (File/createTempFile "sendmail" ".cf")
        socket (io/file (str cf ".sock"))]
    (spit cf (str "O InputMailFilters=marking\nXmarking, S=local:" socket ",\n\tT=R:1m\n"))
    (with-open [stale (ServerSocketChannel/open StandardProtocolFamily/UNIX)]
      (.bind stale (UnixDomainSocketAddress/of (.toPath ^File socket))))
    (let [[code lines] (with-served marking ["--from-sendmail-cf" (str cf) "marking" "--" "yes"]
                         (fn [_ address _]
                           (is (= (str "unix:" socket) address))
                           (is (= :accept (:verdict (mt/run-message address {}))))))]
      (is (= 0 code))
      (is (some #(re-find #"sendmail.cf, line 2: marking has no F=: mail passes unfiltered" %) lines))
      (is (not (.exists ^File socket))))
    (io/delete-file cf)))

(deftest metrics-and-lines-of-json-are-for-programs
  (let [[code lines]
        (with-served marking ["--metrics" "0" "--log" "json" "-v" "--" "yes"]
          (fn [_process address await-line]
            (let [page (second (re-find #"metrics at (http://127\.0\.0\.1:\d+/metrics)" (await-line #"metrics at")))]
              (is (= :accept (:verdict (mt/run-message address {}))))
              (is (await-line #"message accepted"))
              (is (re-find #"temse_messages_total\{.*verdict=\"accepted\"\} 1\n" (slurp page)))
              (is (re-find #"temse_handler_seconds_count\{.*event=\"end-of-message\"\} 1\n" (slurp page))))))
        read (map #(json/read-str % :key-fn keyword) lines)]
    (is (= 0 code))
    (is (every? (every-pred :time :level :message) read))
    (is (= #{"connect" "mail" "recipient" "end-of-message"}
           (set (filter #{"connect" "mail" "recipient" "end-of-message"} (map :event (filter :millis read))))))
    (is (= [{:verdict "accepted", :reply "accept", :sender "<sender@example.org>"}]
           (map #(select-keys % [:verdict :reply :sender]) (filter :verdict read))))))

(deftest the-inspector-opens-beside-the-filter
  (let [[code _]
        (with-served marking ["--inspect" "0" "--" "yes"]
          (fn [_process address await-line]
            (let [page (second (re-find #"inspector at (http://127\.0\.0\.1:\d+/[^/]+/)" (await-line #"inspector at")))]
              (is (= :accept (:verdict (mt/run-message address {}))))
              (is (re-find #"<title>temse inspector</title>" (slurp page)))
              (testing "whose server takes 64 connections"
                (let [port (.getPort (URI. page))
                      sockets (vec (repeatedly 70 #(Socket. "127.0.0.1" port)))]
                  (try
                    (is (= -1 (.read (.getInputStream (doto ^Socket (peek sockets)
                                                        (.setSoTimeout 10000))))))
                    (finally
                      (run! #(.close ^Socket %) sockets))))))))]
    (is (= 0 code))))

(deftest a-directory-without-a-temse-edn-ends-the-command
  (let [[code output] (finished "run" "src")]
    (is (= 2 code))
    (is (re-find #"^temse: src/temse\.edn: there is no such file" output))))

(deftest a-port-for-metrics-that-is-taken-ends-the-command
  (with-open [taken (ServerSocket. 0 1 (InetAddress/getByName "127.0.0.1"))]
    (with-file rejecting
      (fn [file]
        (let [[code output] (finished "run" file "--listen" "0" "--metrics" (str (.getLocalPort taken)))]
          (is (= 2 code))
          (is (re-find #"^temse: cannot listen on inet:\d+@127.0.0.1 for metrics: " output)))))))

(deftest a-signal-lets-the-message-end-and-refuses-new-ones
  (let [[code lines]
        (with-served marking ["-v" "--" "yes"]
          (fn [^Process process address _await-line]
            (let [port (parse-long (re-find #"\d+" address))]
              (with-open [session (mt/connect-to address)]
                (support/send-events session (concat support/opening
                                                     (support/envelope)
                                                     (take 1 support/content)))
                (terminate process)
                (support/await-port port false)
                (testing "while the message goes on"
                  (is (.isAlive process))
                  (is (= [(act/add-header "X-Marked" "yes") (act/accept)]
                         (support/send-events session (rest support/content)))))))
            (is (= 0 (exit-code process)))))]
    (is (= 0 code))
    (testing "and a verbose filter has told of every event"
      (doseq [told [#"header Subject: hi +continue" #"message-end \(accepted\)"]]
        (is (some #(re-find told %) lines) told)))))

(defn- kill
  [^Process process signal]
  (.waitFor (.exec (Runtime/getRuntime) ^"[Ljava.lang.String;" (into-array ["kill" (str "-" signal) (str (.pid process))]))))

(defn- hangup-ignored?
  "Returns true if the processes that are started here ignore SIGHUP, as under nohup."
  []
  (let [^java.util.List words ["sh" "-c" "kill -HUP $$; echo ignored"]
        process (.start (ProcessBuilder. words))]
    (= "ignored" (string/trim (slurp (.getInputStream process))))))

(defn- start-hearing-hangups
  "Starts a command that does not ignore SIGHUP."
  ^Process [& args]
  (support/process (into ["-m" "temse.cli"] args)
                   :by (when (hangup-ignored?)
                         ["env" "--default-signal=HUP"])))

(deftest a-hangup-loads-the-filter-again-and-a-second-signal-ends-it-at-once
  (with-directory {"marking.clj" "{:end-of-message (fn [_ _] [{:action :add-header, :name \"X-A\", :value \"1\"}])}"}
    (fn [directory]
      (let [file (io/file directory "marking.clj")
            process (start-hearing-hangups "run" (str file) "--listen" "0")
            lines (atom [])
            marks #(map :value (:modifications (mt/run-message % {})))]
        (try
          (let [output (io/reader (.getInputStream process))
                address (second (re-find #"listens on (\S+)$" (str (await-line output lines #"listens on"))))]
            (is (= ["1"] (marks address)))
            (spit file "{:end-of-message (fn [_ _] (undefined))}")
            (kill process "HUP")
            (is (string/includes? (str (await-line output lines #"not reloaded")) "Unable to resolve symbol: undefined"))
            (is (= ["1"] (marks address)))
            (with-open [open-before (mt/connect-to address)]
              (spit file "{:end-of-message (fn [_ _] [{:action :add-header, :name \"X-A\", :value \"2\"}])}")
              (kill process "HUP")
              (is (await-line output lines #"marking at \S+ reloaded"))
              (is (= ["2"] (marks address)))
              (is (= ["2"] (marks open-before)))
              (support/send-events open-before (concat (support/envelope) (take 1 support/content)))
              (terminate process)
              (support/await-port (parse-long (re-find #"\d+" address)) false)
              (terminate process)
              (is (= 143 (exit-code process)))))
          (finally
            (.destroyForcibly process)))))))

(defn- classes-after-loads
  "Returns how many classes there are after 60 loads of a filter and after 120, in a JVM that forgets what nobody
  has asked for in a third of a second."
  [file]
  (let [form `(do
                (require 'temse.impl.filter-file)
                (let [loaded# #(do
                                 (dotimes [_# 60]
                                   ((resolve 'temse.impl.filter-file/load-filter) ~(str file) nil)
                                   (System/gc))
                                 (.getLoadedClassCount (java.lang.management.ManagementFactory/getClassLoadingMXBean)))]
                  (println "classes" (loaded#) (loaded#))))]
    (map parse-long
         (rest (re-find #"classes (\d+) (\d+)"
                        (support/evaluated form :by ["env" "JDK_JAVA_OPTIONS=-Xmx64m -XX:SoftRefLRUPolicyMSPerMB=7"]))))))

(deftest what-a-filter-consists-of-goes-when-it-is-loaded-again
  (with-directory {"growing.clj" (string/join "\n"
                                              (cons "(ns growing)"
                                                    (concat (for [n (range 50)]
                                                              (str "(defn handler-" n " [_ context] (update context ::" n " (fn [x] x)))"))
                                                            ["(def filter {:mail handler-1})"])))}
    (fn [directory]
      (let [[after-60 after-120] (classes-after-loads (io/file directory "growing.clj"))]
        (is (< after-120 (+ after-60 3000)) "6000 were made")))))

(deftest it-says-so-where-a-hangup-loads-nothing-again
  (with-file "{:end-of-message (fn [_ _] nil)}"
    (fn [file]
      (let [process (support/process ["-m" "temse.cli" "run" file "--listen" "0"] :by ["nohup"])]
        (try
          (is (await-line (io/reader (.getInputStream ^Process process))
                          (atom [])
                          #"cannot be loaded again by SIGHUP, which this process ignores, as nohup has it$"))
          (finally
            (.destroyForcibly ^Process process)))))))

;; Output that nobody reads

(defn- play
  "Plays mails to an address over one connection and returns how often each verdict was given."
  [address mails]
  (with-open [session (mt/connect-to address)]
    (frequencies (repeatedly mails #(:verdict (mt/run-message session {}))))))

(deftest a-filter-whose-output-nobody-reads-serves-on-and-says-later-what-it-dropped
  (let [[code lines]
        (with-served marking ["-v" "--" "yes"]
          (fn [_process address await-line]
            (is (= {:accept 1500} (play address 1500)))
            (is (await-line #"^temse: \d+ lines dropped here, since the output was not read$"))
            (is (= {:accept 1} (play address 1)))
            (is (await-line #"message-end \(accepted\)"))))
        dropped (keep #(second (re-find #"^temse: (\d+) lines dropped here" %)) lines)]
    (is (= 0 code))
    (is (< 5000 (reduce + (map parse-long dropped)) 20000))
    (testing "and the beginning is whole and in order"
      (let [served (filter #(re-find #" end-of-message " %) lines)]
        (is (< 400 (count served)))))))

(defn- with-address
  "Calls f with the process and the address of a verbose filter whose output is not read after its
  first line, and returns the exit code."
  [f]
  (with-file marking
    (fn [file]
      (let [process ^Process (start "run" file "--listen" "inet:0@127.0.0.1" "-v" "--" "yes")]
        (try
          (let [line (await-line (io/reader (.getInputStream process)) (atom []) #"listens on")]
            (f process (second (re-find #"listens on (\S+)$" line)))
            (terminate process)
            (exit-code process))
          (finally
            (.destroyForcibly process)))))))

(deftest a-filter-whose-output-nobody-reads-ends-when-it-is-asked-to
  (is (= 0 (with-address (fn [_process address]
                           (is (= {:accept 300} (play address 300))))))))

(defn- start-clojure-in-shell
  "Starts a script of sh with a call of clojure.main as its arguments."
  ^Process [script & args]
  (.start (ProcessBuilder. ^java.util.List
                           (into ["sh" "-c" script "sh"
                                  (str (System/getProperty "java.home") "/bin/java")
                                  "-cp" (System/getProperty "java.class.path") "clojure.main"]
                                 args))))

(defn- quoted
  "Returns a word of a script of sh."
  [word]
  (str "'" (string/replace (str word) "'" "'\\''") "'"))

(defn- start-in-shell
  "Starts a script of sh with the command line of temse as its arguments."
  ^Process [script & args]
  (apply start-clojure-in-shell script "-m" "temse.cli" args))

(defn- with-clojure-command
  "Returns what a filter that needs the namespace cli-test-library is loaded as, and the errors, where the
  command `clojure` is a script of sh."
  [clojure-command]
  (with-directory {"bin/clojure" (str "#!/bin/sh\n" clojure-command)
                   "project/deps.edn" "{:paths [\"src\"] :deps {acme/library {:git/sha \"abc\"}}}"
                   "project/src/placeholder" ""
                   "library/cli_test_library.clj" "(ns cli-test-library) (def title \"from the library\")"
                   "f.clj" "(require 'cli-test-library) {:name cli-test-library/title}"}
    (fn [^File directory]
      (.setExecutable (io/file directory "bin/clojure") true)
      (let [program (pr-str `(do (require 'temse.impl.class-path 'temse.impl.filter-file)
                                 (try
                                   ((resolve 'temse.impl.filter-file/extend-class-path!)
                                    ((resolve 'temse.impl.class-path/entries)
                                     nil ~(str (io/file directory "project/deps.edn")) ~(str (io/file directory "f.clj"))))
                                   (prn ((resolve 'temse.impl.filter-file/load-filter) ~(str (io/file directory "f.clj")) nil))
                                   (catch clojure.lang.ExceptionInfo e#
                                     (println (ex-message e#))))
                                 (shutdown-agents)))
            process (start-clojure-in-shell (str "PATH=" (quoted (io/file directory "bin")) ":\"$PATH\" exec \"$@\"")
                                            "-e" program)]
        [(string/trim (slurp (.getInputStream process))) (slurp (.getErrorStream process))]))))

(deftest a-deps-edn-is-looked-up-with-the-clojure-cli-where-it-is-installed
  (testing "in the directory of the file, and its paths are those from there"
    (let [[loaded errors] (with-clojure-command
                            "case \"$1\" in
                               --version) echo 'Clojure CLI version 1.12.0.1530';;
                               -Spath) test -f deps.edn && echo src:../library;;
                             esac")]
      (is (= "{:name \"from the library\"}" loaded))
      (is (string/includes? errors "temse: looking up the dependencies of "))))
  (testing "what it says is shown where it fails"
    (let [[loaded errors] (with-clojure-command
                            "case \"$1\" in
                               --version) echo 'Clojure CLI version 1.12.0.1530';;
                               -Spath) echo 'Error building classpath. Library acme/library has invalid sha' >&2; exit 1;;
                             esac")]
      (is (string/ends-with? loaded "project/deps.edn: its dependencies cannot be fetched"))
      (is (string/includes? errors "Library acme/library has invalid sha"))))
  (testing "and a command of that name which is another program is not taken for it"
    (let [[loaded _] (with-clojure-command "echo 'Clojure 1.11.1'")]
      (is (string/ends-with? loaded "without the Clojure CLI, acme/library needs a :mvn/version or a :local/root")))))

(deftest a-deps-edn-beside-the-filter-is-taken-unless-another-is-given
  (with-directory {"deps.edn" "{:paths [\"lib\"]}"
                   "lib/placeholder" ""
                   "other/deps.edn" "{:paths [\"elsewhere\"]}"
                   "f.clj" "{}"}
    (fn [^File directory]
      (let [entries (fn [deps]
                      (map str (class-path/entries nil deps (str (io/file directory "f.clj")))))]
        (is (= [(str (io/file directory "lib"))] (entries nil)))
        (is (= [(str (io/file directory "other/elsewhere"))] (entries (str (io/file directory "other/deps.edn")))))))))

(deftest what-maven-has-found-is-kept-for-the-next-start
  (with-directory {"bin/mvn" "#!/bin/sh
                              for argument; do
                                case $argument in -Dmdep.outputFile=*) echo \"$JAR\" >\"${argument#*=}\";; esac
                              done
                              echo called >>\"$CALLS\"\n"
                   "cache/placeholder" ""
                   "deps.edn" "{:deps {acme/library {:mvn/version \"1\"}}}"
                   "library.jar" ""
                   "f.clj" "{}"}
    (fn [^File directory]
      (.setExecutable (io/file directory "bin/mvn") true)
      (let [path #(str (io/file directory %))
            program (pr-str `(do (require 'temse.impl.class-path)
                                 (System/setProperty "temse.cache" ~(path "cache"))
                                 (println (last ((resolve 'temse.impl.class-path/entries) nil nil ~(path "f.clj"))))
                                 (shutdown-agents)))
            entry (fn []
                    (string/trim (slurp (.getInputStream
                                          (start-clojure-in-shell
                                            (str "PATH=" (quoted (path "bin")) ":\"$PATH\" JAR=" (quoted (path "library.jar"))
                                                 " CALLS=" (quoted (path "calls")) " exec \"$@\"")
                                            "-e" program)))))
            calls #(count (string/split-lines (slurp (io/file directory "calls"))))]
        (is (= (path "library.jar") (entry)))
        (testing "as copies that other users can read"
          (is (= (path "cache/filters/library.jar") (entry))))
        (is (= 1 (calls)))
        (testing "a jar that is gone is fetched again"
          (io/delete-file (io/file directory "cache/filters/library.jar"))
          (entry)
          (is (= 2 (calls))))))))

(deftest output-that-cannot-be-written-is-an-error
  (let [process (start-in-shell "exec \"$@\" >/dev/full" "help")
        errors (slurp (.getErrorStream process))]
    (is (= [2 "temse: the output could not be written, or not all of it\n"]
           [(exit-code process) errors]))))

(deftest a-reader-that-stops-is-no-error
  (let [process (start-in-shell "exec \"$@\"" "help")]
    (.close (.getInputStream process))
    (is (= "" (slurp (.getErrorStream process))))
    (is (= 0 (exit-code process)))))

(deftest a-name-that-is-no-text-says-why-it-cannot-be-read
  (let [problem "cannot be read: it has bytes that are no text in the locale's encoding, "
        process (start-in-shell "exec \"$@\" \"$(printf 'm\\351')\"" "decode")]
    (is (string/includes? (slurp (.getErrorStream process)) problem))
    (is (= 2 (exit-code process)))
    (with-directory {}
      (fn [^File directory]
        (let [shell #(.waitFor (.start (ProcessBuilder. ^"[Ljava.lang.String;" (into-array ["sh" "-c" % (str directory)]))))]
          (is (= 0 (shell "echo > \"$0/$(printf 'm\\351')\"")))
          (is (string/includes? (str (arguments/unreadable (first (.listFiles directory)))) problem))
          (is (= 0 (shell "rm \"$0\"/m*"))))))
    (is (= "there is no such file" (arguments/unreadable "/no/such")))))

(deftest a-filter-whose-output-is-closed-serves-on
  (is (= 0 (with-address (fn [^Process process address]
                           (.close (.getInputStream process))
                           (is (= {:accept 100} (play address 100))))))))
