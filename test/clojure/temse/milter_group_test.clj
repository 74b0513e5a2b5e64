(ns temse.milter-group-test
  "Several milters of one process: all start or none, all change or none."
  (:require
   [clojure.test :refer [deftest is testing]]
   [temse.impl.milter-group :as group]
   [temse.milter :as milter]
   [temse.support :as support :refer [thrown]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(defn- options
  [name mark & {:as more}]
  {name (merge {:name name, :address "inet:0@127.0.0.1", :daemon? true
                :handlers {:end-of-message (fn [_ _] [{:action :add-header, :name "X", :value mark}])}}
               more)})

(defn- marks
  "Returns what each milter marks mail with, by its name."
  [group]
  (into {}
        (map (fn [server]
               [(:name (milter/milter-status server)) (:value (first (:modifications (mt/run-message server {}))))]))
        (group/servers group)))

(defn- with-group
  [options-by-name f]
  (let [group (group/start options-by-name)]
    (try
      (f group)
      (finally
        (group/stop! group)))))

(deftest all-start-or-none
  (with-group (merge (options "a" "1") (options "b" "2"))
    #(is (= {"a" "1", "b" "2"} (marks %))))
  (let [before (milter/running-milters)]
    (milter/with-milter [taken {:port 0, :handlers {:mail (fn [_ _])}}]
      (is (= :bind-failed (:milter/error (thrown (group/start (into (sorted-map)
                                                                    (merge (options "a" "1")
                                                                           (options "b" "2" :address (milter/milter-address taken)))))))))
      (is (= (conj before taken) (milter/running-milters))))))

(deftest milters-come-and-go-and-change
  (with-group (merge (options "a" "1") (options "b" "2"))
    (fn [group]
      (let [[b] (filter #(= "b" (:name (milter/milter-status %))) (group/servers group))]
        (with-open [open-before (mt/connect-to b)]
          (let [{:keys [started changed stopped]} (group/change! group (merge (options "b" "3") (options "c" "4")))]
            (is (= [["c"] ["b"] ["a"]] (map #(map (comp :name milter/milter-status) %) [started (keys changed) stopped])))
            (is (= {b {:connections 1, :outdated []}} changed))
            (is (= {"b" "3", "c" "4"} (marks group)))
            (is (not-any? (milter/running-milters) stopped))
            (testing "and an open connection changes with its milter"
              (is (= "3" (:value (first (:modifications (mt/run-message open-before {})))))))))))))

(deftest all-change-or-none
  (with-group (into (sorted-map) (merge (options "a" "1") (options "b" "2")))
    (fn [group]
      (testing "where one cannot change"
        (is (= "b: :backlog cannot change while the milter serves, from 1024 to 5; stop it and start it again"
               (:message (thrown (group/change! group (into (sorted-map)
                                                            (merge (options "a" "3") (options "b" "4" :backlog 5) (options "c" "5"))))))))
        (is (= {"a" "1", "b" "2"} (marks group))))
      (testing "where a new one cannot start"
        (is (= :bind-failed
               (:milter/error (thrown (group/change! group (merge (options "a" "3")
                                                                  (options "c" "4" :address (milter/milter-address (first (group/servers group))))))))))
        (is (= {"a" "1", "b" "2"} (marks group))))
      (is (= 2 (count (group/servers group)))))))

(deftest the-one-milter-cannot-change-its-name
  (with-group (options "a" "1")
    (fn [group]
      (is (re-find #":name cannot change" (:message (thrown (group/change! group (options "b" "2"))))))
      (is (= {"a" "1"} (marks group))))))

(deftest none-serves-after-the-stop
  (let [group (group/start (merge (options "a" "1") (options "b" "2")))
        ports (map milter/milter-port (group/servers group))]
    (group/stop! group)
    (is (not-any? support/answers? ports))))
