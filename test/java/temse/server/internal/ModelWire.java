package temse.server.internal;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import temse.protocol.ActionType;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Phase;

/**
 * What an MTA expects: it follows what was sent and what came back, packet by packet, and counts
 * what has begun and ended by it.
 */
final class ModelWire {
  private final Chaos chaos;
  private final Agreement agreement;
  private final boolean marked;
  private final Deque<String> sent = new ArrayDeque<>();
  private final Deque<String> replies = new ArrayDeque<>();
  private final List<String> changes = new ArrayList<>();
  private Phase session = Phase.START.after(EventType.OPTIONS, false);
  private String settledReply;

  /** The final replies that were read; the first answers the offer. */
  private int finals = 1;

  private boolean clientOpen = true;

  /** How many messages and SMTP clients have ended. */
  int messages;

  int clients;

  /** The last packet that was understood, its reply or null, and whether it was in a message. */
  EventType last;

  String lastReply;
  boolean lastInMessage;
  boolean lastRepeated;
  boolean violated;

  /**
   * Makes a wire.
   *
   * @param marked whether a field X-Event that is added has the number of the event it answers
   */
  ModelWire(Chaos chaos, Agreement agreement, boolean marked) {
    this.chaos = chaos;
    this.agreement = agreement;
    this.marked = marked;
  }

  void send(String packet) {
    sent.add(packet);
  }

  boolean inMessage() {
    return session.inMessage();
  }

  boolean isOver() {
    return session == Phase.CLOSED;
  }

  /** Returns true if all that was sent has been answered, and nothing else. */
  boolean isQuiet() {
    return sent.isEmpty() && replies.isEmpty() && changes.isEmpty();
  }

  @Override
  public String toString() {
    return session + ", open: " + sent + ", came: " + changes + replies;
  }

  /** Follows what has come back. */
  void came(List<String> packets) {
    replies.addAll(packets);
    while (!sent.isEmpty() && !violated && understand(sent.peek())) {
      sent.remove();
    }
    chaos.check(!sent.isEmpty() || replies.isEmpty(), "more comes than is owed: " + this);
  }

  private boolean understand(String packet) {
    EventType type = EventType.ofCode((byte) packet.charAt(0));
    Phase next = after(type);
    if (next == null) {
      violated = true;
      return false;
    }
    String reply = null;
    if (agreement.owesReply(type)) {
      reply = nextFinal(type);
      if (reply == null) {
        return false;
      }
    }
    if (session.aborts(type)) {
      messages++;
    }
    session = next;
    if (type == EventType.QUIT || type == EventType.DISCONNECT) {
      endClient();
    } else if (type != EventType.ABORT && type != EventType.DEFINE_MACRO) {
      clientOpen = true;
    }
    last = type;
    lastReply = reply;
    lastInMessage = session.inMessage();
    lastRepeated = type.inMessage() ? !lastInMessage : session == Phase.CONNECTION_SETTLED;
    if (reply != null) {
      answered(type, reply);
    }
    return true;
  }

  private Phase after(EventType type) {
    try {
      return type == null ? null : session.after(type, agreement.suppresses(EventType.MAIL));
    } catch (MilterException e) {
      return null;
    }
  }

  /** Reads up to the next final reply. */
  private String nextFinal(EventType type) {
    while (!replies.isEmpty()) {
      String packet = replies.remove();
      if (ModelLink.isFinal(packet)) {
        changes.clear();
        finals++;
        return packet;
      }
      changes.add(packet);
      chaos.check(type == EventType.END_OF_MESSAGE, "only the end of message has more: " + this);
      if (marked && packet.startsWith("hX-Event|")) {
        String owner = packet.substring("hX-Event|".length()).replace("|", "").trim();
        chaos.check(owner.equals("" + finals), "a change of " + owner + " reached " + finals);
      }
    }
    return null;
  }

  private void answered(EventType type, String reply) {
    char code = reply.charAt(0);
    chaos.check("cartdsy".indexOf(code) >= 0, "no reply: " + reply);
    chaos.check(code != 's' || type == EventType.BODY, "skip answers the body only");
    if (lastRepeated) {
      String repeated = type == EventType.UNKNOWN ? "c" : settledReply;
      chaos.check(reply.equals(repeated), "a settled " + type + " is answered by " + reply);
      return;
    }
    Phase settled = session.settle(type, verdict(reply));
    if (settled != session) {
      settledReply = reply;
      if (session.inMessage()) {
        messages++;
      }
    }
    session = settled;
  }

  private static ActionType verdict(String reply) {
    return switch (reply.charAt(0)) {
      case 'a' -> ActionType.ACCEPT;
      case 'r' -> ActionType.REJECT;
      case 't' -> ActionType.TEMPORARY_FAILURE;
      case 'd' -> ActionType.DISCARD;
      case 'y' -> reply.charAt(1) == '5' ? ActionType.REJECT : ActionType.TEMPORARY_FAILURE;
      default -> ActionType.CONTINUE;
    };
  }

  /** The connection is over. */
  void ended() {
    if (session.inMessage()) {
      messages++;
    }
    endClient();
  }

  private void endClient() {
    if (clientOpen) {
      clientOpen = false;
      clients++;
    }
  }

  boolean owes(EventType type) {
    return agreement.owesReply(type);
  }

  /** Returns true if the handler may say what answers the event, also when it fails. */
  boolean mayAnswer(EventType type) {
    return agreement.mayAnswer(type) && agreement.owesReply(type)
        || type == EventType.END_OF_MESSAGE;
  }
}
