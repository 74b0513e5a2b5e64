package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.protocol.Printable;
import temse.server.MailInfo;

/**
 * What a log calls a mail by: client, sender, recipients and queue id, as far as the MTA has sent
 * them. It is taken apart only where somebody writes it.
 */
final class Envelope {
  /** Of more recipients the number is written. */
  private static final int SHOWN = 20;

  /** Most characters of one address or name. */
  private static final int LONGEST = 320;

  /** What a log may hold of a connection for long. */
  private static final int LARGEST = 2048;

  private Packet client;
  private Packet sender;
  private final List<Packet> recipients = new ArrayList<>(1);
  private int count;
  private String queueId;

  /** {@return the envelope of the next mail of the same client} */
  Envelope next() {
    Envelope next = new Envelope();
    next.client = client;
    return next;
  }

  /** Takes what the MTA sends of a client or a mail; what is too long for a log is left out. */
  void add(EventType type, Packet packet) {
    Packet kept = packet.payload().length <= LARGEST ? packet : null;
    switch (type) {
      case CONNECT -> client = kept;
      case MAIL -> sender = kept;
      case RECIPIENT -> {
        count++;
        if (kept != null && recipients.size() < SHOWN) {
          recipients.add(kept);
        }
      }
      default -> {}
    }
  }

  /** Keeps the name that the MTA has given to the mail; null changes nothing. */
  void named(String id) {
    queueId = id == null ? queueId : id;
  }

  /** {@return the same as data} */
  MailInfo info() {
    IPersistentMap connect = client == null ? null : decoded(client);
    return new MailInfo(
        queueId,
        client == null ? null : field(connect, Keys.HOST_NAME),
        client == null ? null : emptyToNull(field(connect, Keys.ADDRESS)),
        sender == null ? null : field(sender, Keys.SENDER),
        recipients.stream().map(recipient -> field(recipient, Keys.ADDRESS)).toList(),
        count);
  }

  private static String emptyToNull(String text) {
    return text.isEmpty() ? null : text;
  }

  /** {@return one line such as {@code queue-id=4F3A21 client=a.example[192.0.2.1] from=<b@c>}} */
  @Override
  public String toString() {
    StringBuilder line = new StringBuilder(160);
    if (queueId != null) {
      key(line, "queue-id").append(word(queueId));
    }
    if (client != null) {
      key(line, "client").append(clientText());
    }
    if (sender != null) {
      key(line, "from").append(word(field(sender, Keys.SENDER)));
    }
    for (int i = 0; i < recipients.size(); i++) {
      (i == 0 ? key(line, "to") : line.append(','))
          .append(word(field(recipients.get(i), Keys.ADDRESS)));
    }
    if (count != recipients.size()) {
      key(line, "recipients").append(count);
    }
    return line.toString();
  }

  private static StringBuilder key(StringBuilder line, String key) {
    return line.append(line.length() == 0 ? "" : " ").append(key).append('=');
  }

  private String clientText() {
    IPersistentMap connect = decoded(client);
    String name = field(connect, Keys.HOST_NAME);
    String address = "[" + field(connect, Keys.ADDRESS) + "]";
    return word(address.equals("[]") || name.endsWith(address) ? name : name + address);
  }

  private static String field(Packet packet, Object key) {
    return field(decoded(packet), key);
  }

  private static String field(IPersistentMap event, Object key) {
    if (event == null) {
      return "?";
    }
    Object value = event.valAt(key);
    return value == null ? "" : value.toString();
  }

  /** {@return the event of a packet, or null if it is malformed} */
  private static IPersistentMap decoded(Packet packet) {
    try {
      return EventCodec.decode(packet);
    } catch (MilterException malformed) {
      return null;
    }
  }

  /** In quotes where it might pass for something else. */
  private static String word(String text) {
    return isOneWord(text) ? Printable.of(text, LONGEST) : Printable.quoted(text, LONGEST);
  }

  private static boolean isOneWord(String text) {
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == ' ' || c == ',' || c == '"' || c == '\\') {
        return false;
      }
    }
    return true;
  }
}
