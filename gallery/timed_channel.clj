(ns timed-channel
  "Connections to other servers that end when their time is over, whatever happens on them."
  (:import
   (java.io IOException)
   (java.net SocketAddress SocketTimeoutException StandardProtocolFamily UnixDomainSocketAddress)
   (java.nio.channels SocketChannel)
   (java.util.concurrent CompletableFuture TimeUnit)))

(set! *warn-on-reflection* true)

(defn- opened
  ^SocketChannel [address]
  (if (instance? UnixDomainSocketAddress address)
    (SocketChannel/open StandardProtocolFamily/UNIX)
    (SocketChannel/open)))

(defn connected
  "Connects to an address and returns what f returns of the SocketChannel, which is closed then, and at the
  latest after `ms` milliseconds, connecting included.

  Throws an IOException if that fails, a SocketTimeoutException if the time was over."
  [^SocketAddress address ms f]
  (let [channel (opened address)
        end (.completeOnTimeout (CompletableFuture.) :late ms TimeUnit/MILLISECONDS)]
    (.thenRun end #(.close channel))
    (try
      (.connect channel address)
      (f channel)
      (catch IOException e
        (throw (if (= :late (.getNow end nil))
                 (SocketTimeoutException. (str "no answer within " ms " ms"))
                 e)))
      (finally
        (.complete end :done)))))
