package temse.server.internal;

import temse.protocol.EventType;

/**
 * Why the filter may not have seen everything of a message, or of an SMTP client: a handler that
 * cannot answer has failed, or a limit was exceeded. Until the error policy has decided about it no
 * such message may pass.
 */
final class Faults {
  private Throwable ofClient;
  private Throwable ofMessage;
  private boolean clientDecided;

  /** Notes why an event was not seen as it should have been. */
  void add(EventType type, Throwable error, boolean inMessage) {
    if (inMessage && (type.inMessage() || type == EventType.UNKNOWN)) {
      ofMessage = ofMessage == null ? error : ofMessage;
    } else if (type.compareTo(EventType.HELLO) <= 0 || type == EventType.UNKNOWN) {
      ofClient = ofClient == null ? error : ofClient;
      clientDecided = false;
    }
  }

  /** Returns what the error policy has to decide at the event, or null. */
  Throwable at(EventType type, boolean inMessage) {
    if (type == EventType.HELLO) {
      return ofClient;
    }
    if (!type.inMessage() || !inMessage) {
      return null;
    }
    return ofMessage != null ? ofMessage : clientDecided ? null : ofClient;
  }

  /**
   * The error policy has answered the event: it has decided about the client at its HELLO, and
   * about the message at an event of it, except at a recipient, which it decides about alone.
   */
  void decided(EventType type) {
    if (type == EventType.HELLO) {
      ofClient = null;
    } else if (type.inMessage() && type != EventType.RECIPIENT) {
      ofMessage = null;
      clientDecided = true;
    }
  }

  void messageBegins() {
    ofMessage = null;
    clientDecided = false;
  }

  void clientEnds() {
    ofClient = null;
    messageBegins();
  }
}
