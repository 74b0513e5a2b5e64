package temse.server.internal;

import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.server.EngineOptions;

/** What a message may hold: its header fields and recipients are counted here. */
final class MessageLimits {
  private final EngineOptions options;
  private final HeaderCounter header = new HeaderCounter();
  private int recipients;

  MessageLimits(EngineOptions options) {
    this.options = options;
  }

  void messageBegins() {
    recipients = 0;
    header.clear();
  }

  /** Returns the counter of header fields, which counts by name those that are decoded for it. */
  HeaderCounter header() {
    return header;
  }

  /** Counts what a packet brings, and returns what it goes beyond, or null. */
  MilterException count(EventType type, Packet packet) {
    if (type == EventType.HEADER) {
      header.add(packet.payload().length);
      if (header.fields() > options.maximumHeaderFields()) {
        return exceeded("the message has", options.maximumHeaderFields(), "header fields");
      }
      if (header.octets() > options.maximumHeaderBytes()) {
        return exceeded("the header of the message has", options.maximumHeaderBytes(), "bytes");
      }
    } else if (type == EventType.RECIPIENT && ++recipients > options.maximumRecipients()) {
      return exceeded("the message has", options.maximumRecipients(), "recipients");
    }
    return null;
  }

  static MilterException exceeded(String has, long most, String what) {
    String message = has + " more than " + most + " " + what;
    return new MilterException(MilterException.Category.LIMIT_EXCEEDED, message, "limit", most);
  }
}
