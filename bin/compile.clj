;; Compiles the namespaces that are its arguments for the jar of bin/temse, below the directory of the property
;; temse.classes.
;;
;; Compiled code needs none of the names that its namespace takes from others: they were resolved when it was
;; compiled. To look all of clojure.core up for each namespace is a seventh of a start, and is left out of it.

(require 'clojure.walk)

(defn- refers?
  [form]
  (and (seq? form) (contains? #{`refer `refer-clojure} (first form))))

(alter-var-root
  #'ns
  (fn [expand]
    (fn [& arguments]
      (clojure.walk/postwalk #(if (refers? %) `(when *compile-files* ~%) %)
                             (apply expand arguments)))))

;; A constant is read where those names are missing.
(defmethod print-dup clojure.lang.Namespace
  [namespace ^java.io.Writer writer]
  (.write writer (str "#=(clojure.core/find-ns " namespace ")")))

(binding [*compile-path* (System/getProperty "temse.classes")]
  (run! (comp compile symbol) *command-line-args*))
