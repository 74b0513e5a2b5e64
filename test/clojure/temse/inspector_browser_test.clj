(ns temse.inspector-browser-test
  "The inspector in a real browser, with mail that would take it over."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.harness.browser :as browser]
   [temse.inspector :as inspector]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.shadow :as shadow]
   [temse.test :as mt])
  (:import
   (java.io Closeable)))

(set! *warn-on-reflection* true)

(def ^:private title-thief
  "<script>document.title='owned'</script>")

(def ^:private script
  (str title-thief "<img src=x onerror=\"document.title='owned'\"><svg onload=\"document.title='owned'\">"))

(def ^:private hostile
  {:sender (str "<" script "@example.org>")
   :recipients [script]
   :headers (into [["Subject" script] ["X-Codes" "\u001b]0;owned\u0007\u202eback"]]
                  (repeat 10000 ["X-Many" script]))
   :body (str script "\r\n" (string/join (repeat (* 25 1024) (str (string/join (repeat 1022 "x")) "\r\n"))))})

(def ^:private options
  {:port 0
   :handlers {:recipient (fn [_ context] context)
              :connect (fn [{:keys [host-name]} context] (assoc context :host host-name script script))
              :mail (fn [_ context] context)
              :header (fn [{:keys [name]} context]
                        (when (= "X-Codes" name)
                          (throw (RuntimeException. (str script "\u001b[31m"))))
                        context)
              :body (fn [_ context] context)
              :end-of-message (fn [_ context]
                                (milter/respond context
                                                (act/add-header "X-Note" script)
                                                (assoc (act/accept) :why {:text script})))}
   :on-error (fn [_ _ _] [(act/continue)])
   :actions #{:add-header}})

(defn- in-browser
  ([f]
   (in-browser options {} f))
  ([options inspector-options f]
   (when-let [reason (browser/unavailable)]
     (runner/skip! reason))
   (milter/with-milter [server options]
     (with-open [^Closeable inspector (inspector/inspect server inspector-options)
                 page (browser/start (:url inspector))]
       (f server page)))))

(defn- chosen
  "Returns the text of the panel after a click on the row that contains a text."
  [page text]
  (browser/evaluate page (str "[...document.querySelectorAll('.row')].find(row => row.textContent.includes('" text "')).click()"))
  (browser/await-true page (str "document.querySelector('.row.chosen')?.textContent.includes('" text "')"))
  (browser/evaluate page "document.getElementById('detail').textContent"))

(deftest hostile-mail-is-shown-as-text-and-runs-no-script
  (in-browser
    (fn [server page]
      (browser/await-true page "document.getElementById('state').textContent === 'live'")
      (mt/run-message server hostile {:client {:host-name script, :address "203.0.113.5"}})
      (mt/run-message server {:sender "<plain@example.org>"})
      (browser/await-true page "document.querySelectorAll('.verdict.accepted').length === 2")
      (browser/evaluate page "document.querySelectorAll('.conversation')[1].click()")
      (browser/await-true page "document.querySelectorAll('.conversation')[1].classList.contains('chosen')")
      (is (string/includes? (chosen page "X-Codes") "\\u001b]0;owned\\u0007\\u202eback"))
      (is (string/includes? (chosen page "add-header X-Note") script))
      (is (string/includes? (browser/evaluate page "document.getElementById('ladder').textContent") script))
      (is (= "temse inspector" (browser/evaluate page "document.title")))
      (is (= "1 0 0" (browser/evaluate page "[...['script', 'img', 'main svg']].map(x => document.querySelectorAll(x).length).join(' ')")))
      (is (> 500 (parse-long (browser/evaluate page "document.querySelectorAll('.row').length")))))))

(deftest what-happens-can-be-filtered-paused-and-seen-in-the-dark
  (in-browser
    (fn [server page]
      (browser/await-true page "document.getElementById('state').textContent === 'live'")
      (doseq [sender ["<ann@example.org>" "<bob@example.org>"]]
        (mt/run-message server {:sender sender}))
      (browser/await-true page "document.querySelectorAll('.verdict.accepted').length === 2")
      (browser/evaluate page "(f => { f.value = 'BOB accepted'; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))")
      (browser/await-true page "document.querySelectorAll('.conversation').length === 1")
      (is (= "<bob@example.org>" (browser/evaluate page "document.querySelector('.sender').textContent")))
      (browser/evaluate page "(f => { f.value = ''; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))")
      (browser/evaluate page "document.getElementById('pause').click()")
      (mt/run-message server {:sender "<carol@example.org>"})
      (browser/await-true page "/paused, [1-9]\\d* waiting/.test(document.getElementById('state').textContent)")
      (is (= "2" (browser/evaluate page "document.querySelectorAll('.conversation').length")))
      (browser/evaluate page "document.getElementById('pause').click()")
      (browser/await-true page "document.querySelectorAll('.conversation').length === 3")
      (is (pos? (parse-long (browser/evaluate page "document.querySelectorAll('#latency circle').length"))))
      (let [background "getComputedStyle(document.body).backgroundColor"
            light (browser/evaluate page background)]
        (browser/evaluate page "document.getElementById('theme').click()")
        (is (not= light (browser/evaluate page background)))))))

(def ^:private refusing
  {:recipient (fn [_ context]
                (milter/respond context (act/reply-code 550 "5.7.1" script)))})

(defn- detail
  "Returns the text of the panel once it contains a text."
  [page text]
  (browser/await-true page (str "document.getElementById('detail').textContent.includes('" text "')"))
  (browser/evaluate page "document.getElementById('detail').textContent"))

(defn- harmless?
  [page]
  (= "temse inspector 1 0"
     (browser/evaluate page "document.title + ' ' + ['script', 'img'].map(x => document.querySelectorAll(x).length).join(' ')")))

(deftest a-conversation-is-replayed-with-the-handlers-of-now-at-the-press-of-a-button
  (in-browser
    (fn [server page]
      (let [press #(browser/evaluate page "document.getElementById('replay').click()")]
        (mt/run-message server {:sender "<ann@example.org>" :recipients ["<bob@example.com>"]})
        (browser/await-true page "document.querySelectorAll('.verdict.accepted').length === 1")
        (press)
        (is (re-find #"answered as they were then" (detail page "No differences")))
        (milter/swap-handlers! server refusing)
        (press)
        (is (string/includes? (detail page "1 difference in") title-thief))
        (is (= "recipient <bob@example.com>" (browser/evaluate page "document.querySelector('.disagreement .event').textContent")))
        (is (= "continue" (browser/evaluate page "document.querySelector('.disagreement .then').textContent")))
        (is (harmless? page))
        (browser/evaluate page "document.querySelector('.row').click()")
        (is (not (string/includes? (detail page "Negotiation") "Replay")))))))

(deftest the-disagreements-of-a-shadow-are-shown
  (let [report (atom {})]
    (in-browser
      (assoc (shadow/shadow (select-keys options [:handlers :actions :on-error]) refusing {:report report}) :port 0)
      {:shadow report}
      (fn [server page]
        (browser/await-true page "document.getElementById('shadow').textContent === 'Shadow: 0 of 0 differ'")
        (mt/run-message server {:sender "<ann@example.org>" :recipients ["<bob@example.com>"]})
        (browser/await-true page "document.getElementById('shadow').textContent === 'Shadow: 1 of 1 differ'")
        (browser/evaluate page "document.getElementById('shadow').click()")
        (is (string/includes? (detail page "Latest disagreements") title-thief))
        (is (harmless? page))))))
