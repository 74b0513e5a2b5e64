package temse.server.internal;

import java.util.List;
import temse.protocol.EventType;

/**
 * Fail closed: follows, packet by packet, what has failed and who has decided about it. No message
 * passes of which something was not seen, unless the error policy was asked since and said so.
 */
final class ModelFaults {
  private final Chaos chaos;
  private final ModelWire wire;
  private final boolean lenient;
  private boolean ofMessage;
  private boolean ofClient;
  private boolean clientDecided;

  ModelFaults(Chaos chaos, ModelWire wire, boolean lenient) {
    this.chaos = chaos;
    this.wire = wire;
    this.lenient = lenient;
  }

  /**
   * Takes what has happened for one packet, which has been answered.
   *
   * @param failed the events whose handlers have failed
   * @param asked how often the error policy was asked
   */
  void after(List<EventType> failed, int asked) {
    EventType type = wire.last;
    if (type == EventType.MAIL) {
      ofMessage = false;
      clientDecided = false;
    }
    boolean known = type == EventType.HELLO ? ofClient : ofMessage || ofClient && !clientDecided;
    boolean atOnce = false;
    for (EventType event : failed) {
      atOnce |= note(event, type);
    }
    boolean decides = decidesAbout(type);
    if (decides && (known || atOnce || isEnd(type) && ofMessage)) {
      check(type, asked);
    }
    if (type == EventType.DISCONNECT) {
      ofClient = false;
    }
  }

  /** Returns true if the event itself must be answered in view of the failure. */
  private boolean note(EventType event, EventType type) {
    if (event.inMessage()) {
      boolean with = event == EventType.BODY && isEnd(type);
      if (wire.mayAnswer(event)) {
        return event == type || with;
      }
      ofMessage = true;
    } else if (event == EventType.UNKNOWN && !wire.mayAnswer(event)) {
      ofMessage |= wire.lastInMessage;
      ofClient |= !wire.lastInMessage;
    } else if (event == EventType.DEFINE_MACRO
        || (event == EventType.CONNECT || event == EventType.HELLO) && !wire.mayAnswer(event)) {
      ofClient = true;
      clientDecided = false;
    }
    return false;
  }

  private boolean decidesAbout(EventType type) {
    return (type.inMessage() && wire.lastInMessage || type == EventType.HELLO)
        && wire.mayAnswer(type)
        && !wire.lastRepeated;
  }

  private static boolean isEnd(EventType type) {
    return type == EventType.END_OF_MESSAGE;
  }

  private void check(EventType type, int asked) {
    char reply = wire.lastReply.charAt(0);
    if (!lenient) {
      chaos.check(reply == 't', "what failed is deferred at " + type + ", not " + wire.lastReply);
    }
    chaos.check(
        asked > 0 || reply == 't', "nobody decided about what failed: " + type + " " + reply);
    if (type == EventType.HELLO) {
      ofClient = false;
    } else if (type != EventType.RECIPIENT) {
      ofMessage = false;
      clientDecided = true;
    }
  }
}
