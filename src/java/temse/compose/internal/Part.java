package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.compose.Pretended;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.ProtocolFlag;
import temse.server.MilterConnection;

/** One filter of a sequence, and how far it is with the SMTP client and the message. */
final class Part {
  final Node node;
  final Member member;
  final Asked asked;

  /** Whether content is kept for it, since earlier filters may change it. */
  final boolean kept;

  /** Whether it is not there for the client. */
  private boolean absent;

  /** Whether it is not there for the message. */
  private boolean passedOver;

  /** What has ended its part in the client, or null. */
  private @Nullable IPersistentMap clientDone;

  /** What has ended its part in the message, or null. */
  private @Nullable IPersistentMap done;

  /** By what it refuses the message once those before it have had their say, or null. */
  private @Nullable IPersistentMap refusal;

  /** Whether it has received an event of the message. */
  private boolean begun;

  private final List<Pretended> clientNotes = new ArrayList<>();
  private final List<Pretended> notes = new ArrayList<>();

  Part(Asked asked, Member member, boolean kept) {
    this.asked = asked;
    this.node = asked.node();
    this.member = member;
    this.kept = kept;
  }

  // ---- whether it is there

  /** {@return true if the client, and the message, have to do with it} */
  boolean isThere(boolean inMessage) {
    return !absent && clientDone == null && !(inMessage && (passedOver || done != null));
  }

  boolean wants(EventType type) {
    return isThere(type.inMessage())
        && (asked.agreement().handles(type) || type == EventType.MAIL && asked.beginsByMail());
  }

  /** {@return true if it has accepted the message, or has nothing to do with it} */
  boolean accepts() {
    return absent
        || passedOver
        || clientDone != null
        || done != null && Reply.verdict(done) == ActionType.ACCEPT;
  }

  /** {@return true if what stands around it may add something to the message, wherever that is} */
  boolean addsAtEnd() {
    return node.adds() && !absent && !passedOver;
  }

  /** It has nothing to do with the client. */
  void stayAway() {
    absent = true;
  }

  /** It has nothing to do with the message. */
  void passOver() {
    passedOver = true;
  }

  /** It has nothing to do with the client any more. */
  void clientDone(IPersistentMap reply) {
    clientDone = reply;
  }

  /** It has nothing to do with the message any more. */
  void done(IPersistentMap reply) {
    done = reply;
  }

  void refuses(IPersistentMap reply) {
    refusal = reply;
  }

  @Nullable IPersistentMap refusal() {
    return refusal;
  }

  void receives(EventType type) {
    begun |= type.inMessage();
  }

  /** {@return true if it waits for the end of a message} */
  boolean awaitsEnd() {
    return begun && !passedOver && done == null;
  }

  /** Nothing that it has made of one message may decide about another. */
  void forgetMessage() {
    passedOver = false;
    done = null;
    refusal = null;
    begun = false;
    notes.clear();
  }

  // ---- what it answers

  /**
   * What a filter has answered.
   *
   * @param changes modifications that are to be made
   * @param reply the reply that is to be given, or null
   * @param own its own reply, or null: that of one that pretends is not given
   */
  record Answer(
      List<IPersistentMap> changes, @Nullable IPersistentMap reply, @Nullable IPersistentMap own) {}

  /** {@return what it has answered to an event just now} */
  Answer answer(MilterConnection connection, EventType type) {
    List<IPersistentMap> given = member.answers();
    IPersistentMap own = Reply.of(given);
    return node.pretence() == null
        ? new Answer(Reply.without(given), own, own)
        : new Answer(pretended(connection, type, given), null, own);
  }

  /** {@return what stands in the place of actions where it only pretends} */
  List<IPersistentMap> pretended(
      MilterConnection connection, EventType type, List<IPersistentMap> given) {
    boolean ofClient = type == EventType.CONNECT || type == EventType.HELLO;
    (ofClient ? clientNotes : notes)
        .addAll(node.pretence().noted(node, type, given, connection.mail()));
    List<IPersistentMap> fields = new ArrayList<>();
    if (node.adds() && type == EventType.END_OF_MESSAGE) {
      clientNotes.forEach(note -> fields.add(Judge.field(note)));
      notes.forEach(note -> fields.add(Judge.field(note)));
    }
    return fields;
  }

  // ---- the space behind the colon

  /** {@return a header field's value as it is to receive it, of what follows the colon} */
  String value(String raw) {
    return raw.startsWith(" ") && !asked.agreement().has(ProtocolFlag.LEADING_SPACE)
        ? raw.substring(1)
        : raw;
  }

  /** {@return one of its actions for a connection on which values have their leading space} */
  IPersistentMap withSpace(IPersistentMap action) {
    ActionType type = ActionCodec.type(action);
    String value =
        type == ActionType.ADD_HEADER || type == ActionType.CHANGE_HEADER
            ? (String) action.valAt(Keys.VALUE)
            : null;
    boolean deletes = type == ActionType.CHANGE_HEADER && "".equals(value);
    return value == null || deletes || asked.request().leadingSpace()
        ? action
        : action.assoc(Keys.VALUE, " " + value);
  }
}
