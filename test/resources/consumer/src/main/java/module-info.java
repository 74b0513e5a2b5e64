module app {
  requires clojure;
  requires temse;
}
