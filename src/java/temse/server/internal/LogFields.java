package temse.server.internal;

import java.util.Map;
import java.util.function.Supplier;
import temse.protocol.Action;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.server.ConnectionInfo;
import temse.server.MailInfo;

/**
 * What a log line says, as data, for a formatter that is called while the line is logged by the
 * same thread. It is made only where a formatter asks.
 */
public final class LogFields {
  private static final ThreadLocal<Supplier<Map<String, Object>>> CURRENT = new ThreadLocal<>();

  private LogFields() {}

  /**
   * Logs, with these fields for whoever asks for the {@link #current} ones meanwhile.
   *
   * @param fields makes them
   * @param logging called at once
   */
  public static void during(Supplier<Map<String, Object>> fields, Runnable logging) {
    Supplier<Map<String, Object>> outer = CURRENT.get();
    CURRENT.set(fields);
    try {
      logging.run();
    } finally {
      CURRENT.set(outer);
    }
  }

  /** {@return the fields of the line that this thread logs, none for any other} Never throws. */
  public static Map<String, Object> current() {
    try {
      Supplier<Map<String, Object>> fields = CURRENT.get();
      return fields == null ? Map.of() : fields.get();
    } catch (Throwable e) {
      LastResort.report("the fields of a log line", e);
      return Map.of();
    }
  }

  /**
   * Adds what is known of a connection and of its mail.
   *
   * @param fields to which it is added
   * @param connection may be null
   */
  public static void addConnection(Map<String, Object> fields, ConnectionInfo connection) {
    if (connection == null) {
      return;
    }
    fields.put("connection", connection.id());
    fields.put("peer", connection.peer());
    MailInfo mail = connection.mailInfo();
    add(fields, "queue_id", mail.queueId());
    add(fields, "client", mail.clientName());
    add(fields, "client_address", mail.clientAddress());
    add(fields, "sender", mail.sender());
    if (!mail.recipients().isEmpty()) {
      fields.put("recipients", mail.recipients());
    }
    if (mail.recipientCount() > mail.recipients().size()) {
      fields.put("recipient_count", mail.recipientCount());
    }
  }

  /**
   * Adds a verdict: how the message has ended, or what a reply amounts to that ends none.
   *
   * @param fields to which it is added
   * @param event what the reply answers, or null
   * @param reply the reply, or null
   * @param ended how the message has ended, or null
   */
  public static void addVerdict(
      Map<String, Object> fields, EventType event, Action.Reply reply, MessageEndReason ended) {
    addEvent(fields, event);
    MessageEndReason verdict =
        ended != null || reply == null ? ended : MessageEndReason.of(reply.verdict());
    add(fields, "verdict", verdict == null ? null : verdict.keyword.getName());
    if (reply != null) {
      add(fields, "reply", reply.type().keyword.getName());
      reply.smtpCode().ifPresent(code -> fields.put("code", code));
      reply.enhancedCode().ifPresent(code -> fields.put("enhanced_code", code.toString()));
      reply.text().ifPresent(text -> fields.put("text", text));
      reply.why().ifPresent(why -> fields.put("why", why));
    }
  }

  /**
   * Adds the event that a line is about.
   *
   * @param fields to which it is added
   * @param event may be null
   */
  public static void addEvent(Map<String, Object> fields, EventType event) {
    add(fields, "event", event == null ? null : event.keyword.getName());
  }

  private static void add(Map<String, Object> fields, String name, Object value) {
    if (value != null) {
      fields.put(name, value);
    }
  }
}
