package temse.metrics;

import java.math.BigDecimal;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import temse.metrics.Metric.Reading;
import temse.server.HandlerTimes;
import temse.server.MilterServer;

/**
 * The numbers of servers in Prometheus' text format, version 0.0.4. Each line names its server by
 * the labels {@code milter} and {@code address}.
 */
final class PrometheusText {
  static final String CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

  private static final String PREFIX = "temse_";
  private static final String HANDLERS = PREFIX + "handler_seconds";
  private static final String QUANTILES = PREFIX + "handler_quantile_seconds";

  private final StringBuilder text = new StringBuilder(16384);

  private PrometheusText() {}

  static String of(List<MilterServer> servers) {
    PrometheusText page = new PrometheusText();
    page.write(servers);
    return page.text.toString();
  }

  private void write(List<MilterServer> servers) {
    List<Reading> readings = servers.stream().map(Reading::of).toList();
    for (Metric metric : Metric.ALL) {
      boolean counts = metric.kind() == Metric.Kind.COUNTER;
      String unit = metric.unit().isEmpty() ? "" : "_" + metric.unit();
      String name = PREFIX + metric.name() + unit + (counts ? "_total" : "");
      head(name, metric.help(), counts ? "counter" : "gauge");
      for (Reading now : readings) {
        metric
            .values()
            .apply(now)
            .forEach(
                (key, value) -> {
                  Map<String, String> labels = labels(now.server());
                  if (metric.label() != null) {
                    labels.put(metric.label(), key);
                  }
                  line(name, labels, value);
                });
      }
    }
    writeTimes(servers);
  }

  private void writeTimes(List<MilterServer> servers) {
    List<Map<String, HandlerTimes>> times =
        servers.stream().map(MilterServer::handlerTimes).toList();
    if (times.stream().allMatch(Map::isEmpty)) {
      return;
    }
    head(HANDLERS, "How long handlers took.", "histogram");
    for (int i = 0; i < servers.size(); i++) {
      Map<String, String> labels = labels(servers.get(i));
      times
          .get(i)
          .forEach(
              (event, handlers) -> {
                labels.put("event", event);
                writeHistogram(labels, handlers);
              });
    }
    head(QUANTILES, "How long handlers took at most, since the start, by share.", "gauge");
    for (int i = 0; i < servers.size(); i++) {
      Map<String, String> labels = labels(servers.get(i));
      times
          .get(i)
          .forEach(
              (event, handlers) -> {
                labels.put("event", event);
                writeQuantiles(labels, handlers);
              });
    }
  }

  private void writeHistogram(Map<String, String> labels, HandlerTimes handlers) {
    Map<String, String> bucket = new LinkedHashMap<>(labels);
    handlers
        .atMost()
        .forEach(
            (bound, count) -> {
              bucket.put("le", seconds(bound));
              line(HANDLERS + "_bucket", bucket, count);
            });
    bucket.put("le", "+Inf");
    line(HANDLERS + "_bucket", bucket, handlers.count());
    line(HANDLERS + "_sum", labels, seconds(handlers.sum()));
    line(HANDLERS + "_count", labels, handlers.count());
  }

  private void writeQuantiles(Map<String, String> labels, HandlerTimes handlers) {
    Map<String, String> quantile = new LinkedHashMap<>(labels);
    Map<String, Long> shares = new LinkedHashMap<>();
    shares.put("0.5", handlers.p50());
    shares.put("0.9", handlers.p90());
    shares.put("0.99", handlers.p99());
    shares.put("1", handlers.max());
    shares.forEach(
        (share, nanos) -> {
          quantile.put("quantile", share);
          line(QUANTILES, quantile, seconds(nanos));
        });
  }

  private static Map<String, String> labels(MilterServer server) {
    Map<String, String> labels = new LinkedHashMap<>();
    labels.put("milter", server.transport().name());
    labels.put("address", server.endpoint().toString());
    return labels;
  }

  private void head(String name, String help, String type) {
    text.append("# HELP ").append(name).append(' ').append(help).append('\n');
    text.append("# TYPE ").append(name).append(' ').append(type).append('\n');
  }

  private void line(String name, Map<String, String> labels, Object value) {
    String separator = "{";
    text.append(name);
    for (Map.Entry<String, String> label : labels.entrySet()) {
      text.append(separator).append(label.getKey()).append("=\"");
      text.append(escaped(label.getValue())).append('"');
      separator = ",";
    }
    text.append("} ").append(value).append('\n');
  }

  /** As the format wants the values of labels. */
  private static String escaped(String value) {
    return value.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n");
  }

  private static String seconds(long nanos) {
    return BigDecimal.valueOf(nanos, 9).stripTrailingZeros().toPlainString();
  }
}
