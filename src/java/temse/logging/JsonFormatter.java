package temse.logging;

import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.logging.Formatter;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import temse.logging.internal.JsonText;
import temse.logging.internal.StackTraces;
import temse.server.internal.LogFields;

/**
 * Writes each log record as one line of JSON (RFC 8259) in ASCII, for java.util.logging:
 *
 * <pre>{@code
 * handlers = java.util.logging.ConsoleHandler
 * java.util.logging.ConsoleHandler.level = FINE
 * java.util.logging.ConsoleHandler.formatter = temse.logging.JsonFormatter
 * temse.level = FINE
 * }</pre>
 *
 * <p>Every line has {@code time} (RFC 3339, UTC), {@code level} (ERROR, WARN, INFO, DEBUG or
 * TRACE), {@code logger} and {@code message}; {@code exception}, with its stack trace, where there
 * is one. Lines of a server's listener also have what they are about, as far as it is known: {@code
 * server} (with Clojure), {@code connection}, {@code peer}, {@code queue_id}, {@code client},
 * {@code client_address}, {@code sender}, {@code recipients} (at most 20), {@code recipient_count}
 * (if there are more), {@code event}, {@code verdict}, {@code reply}, {@code code}, {@code
 * enhanced_code}, {@code text} and {@code why}. They are only there if the record is formatted by
 * the thread that logs it, as the handlers of the JDK do.
 *
 * <p>Texts are cut where they are too long. Characters that are no ASCII are escaped; a byte that
 * was no UTF-8 is escaped twice, {@code \\udcxx}, since not all programs can read half a surrogate
 * pair. Never throws.
 */
public final class JsonFormatter extends Formatter {
  private static final int LONGEST_TEXT = 1000;
  private static final int LONGEST_MESSAGE = 8000;

  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'", Locale.ROOT)
          .withZone(ZoneOffset.UTC);

  /** Makes a formatter. */
  public JsonFormatter() {}

  @Override
  public String format(LogRecord record) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("time", TIME.format(record.getInstant()));
    line.put("level", level(record.getLevel()));
    if (record.getLoggerName() != null) {
      line.put("logger", record.getLoggerName());
    }
    line.putAll(LogFields.current());
    line.put("message", message(record));
    StringBuilder json = new StringBuilder(256).append('{');
    line.forEach(
        (name, value) -> {
          json.append(json.length() == 1 ? "" : ",");
          int most = name.equals("message") ? LONGEST_MESSAGE : LONGEST_TEXT;
          JsonText.append(json, name, most).append(':');
          appendValue(json, value, most);
        });
    if (record.getThrown() != null) {
      json.append(",\"exception\":");
      JsonText.append(
          json, StackTraces.of(record.getThrown(), LONGEST_MESSAGE), 2 * LONGEST_MESSAGE);
    }
    return json.append("}\n").toString();
  }

  private static String level(Level level) {
    int value = level.intValue();
    return value >= Level.SEVERE.intValue()
        ? "ERROR"
        : value >= Level.WARNING.intValue()
            ? "WARN"
            : value >= Level.CONFIG.intValue()
                ? "INFO"
                : value >= Level.FINE.intValue() ? "DEBUG" : "TRACE";
  }

  /** {@return the text of a record, whose parameters are a user's objects and may fail} */
  private String message(LogRecord record) {
    String text;
    try {
      text = formatMessage(record);
    } catch (Throwable e) {
      text = record.getMessage();
    }
    return text == null ? "" : text;
  }

  private static void appendValue(StringBuilder json, Object value, int most) {
    if (value instanceof Collection<?> values) {
      json.append('[');
      String comma = "";
      for (Object each : values) {
        JsonText.append(json.append(comma), each.toString(), most);
        comma = ",";
      }
      json.append(']');
    } else if (isPlain(value)) {
      json.append(value);
    } else {
      JsonText.append(json, value.toString(), most);
    }
  }

  /** {@return true for what JSON writes as Java does} */
  private static boolean isPlain(Object value) {
    return value instanceof Integer
        || value instanceof Long
        || value instanceof Boolean
        || value instanceof Double number && Double.isFinite(number);
  }
}
