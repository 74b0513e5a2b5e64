(ns temse.impl.option-table
  "Options given as a map, checked against a table of what each must be: {option [words predicate]}."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.options :as options]))

(set! *warn-on-reflection* true)

(defn check
  "Throws :bad-options that says what would be right, if one of the options of `what` is unknown or
  wrong."
  [what given table]
  (doseq [[option value] given
          :let [[wanted ok?] (table option)]]
    (cond
      (nil? wanted)
      (throw (options/bad-option option value
                                 (str what " has no option " option "; its options are "
                                      (string/join " " (sort (keys table))))))

      (not (ok? value))
      (throw (options/bad-option option value
                                 (str option " must be " wanted ", not " (pr-str value)))))))
