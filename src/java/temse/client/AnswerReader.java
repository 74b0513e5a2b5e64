package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import java.io.EOFException;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionFlag;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MilterException.Category;
import temse.protocol.Packet;
import temse.protocol.Printable;
import temse.protocol.Text;

/**
 * Reads what any milter answers as the MTA of a style does. What the protocol does not say is
 * remarked upon: maps of {@code :remark}, a keyword, {@code :event}, {@code :text}, which says what
 * this MTA makes of it, and {@code :action} where one is concerned.
 */
final class AnswerReader {
  private static final int LONGEST_NAME = 100;

  /**
   * What answers an event.
   *
   * @param actions the reply last; empty where none is owed
   * @param failure why the MTA does without the milter from now on, or null
   */
  record Answer(List<IPersistentMap> actions, MilterException failure) {
    static final Answer NONE = new Answer(List.of(), null);

    IPersistentMap reply() {
      return actions.isEmpty() ? null : actions.get(actions.size() - 1);
    }
  }

  private final Wire wire;
  private final MtaOptions options;
  private final boolean postfix;
  private final int agreed;
  private final AnswerLimits limits;
  private final List<IPersistentMap> remarks = new ArrayList<>();

  AnswerReader(Wire wire, MtaOptions options, int agreed, AnswerLimits limits) {
    this.wire = wire;
    this.options = options;
    this.limits = limits;
    this.postfix = options.style() == MtaStyle.POSTFIX;
    this.agreed = agreed;
  }

  /** {@return the remarks since the last call} */
  List<IPersistentMap> takeRemarks() {
    List<IPersistentMap> taken = List.copyOf(remarks);
    remarks.clear();
    return taken;
  }

  /** Remarks that an answer is there to which nothing was asked. */
  void checkSurplus(EventType next) throws IOException {
    if (wire.hasPacket()) {
      remark(
          "surplus-reply",
          next,
          null,
          "the milter has sent a reply too many; "
              + options.style().title
              + " takes it for the answer to what it sends next");
    }
  }

  /**
   * Returns what answers an event.
   *
   * @throws IOException if the milter closes the connection or does not answer in time
   */
  Answer read(EventType event) throws IOException {
    List<IPersistentMap> actions = new ArrayList<>();
    boolean bodyBegun = false;
    boolean bodyEnded = false;
    while (true) {
      Packet packet = nextPacket(event);
      if (packet.code() == ActionType.REPLY_CODE.code) {
        return replyCode(event, actions, packet);
      }
      IPersistentMap action;
      try {
        action = ActionCodec.decode(payloadIgnored(event, packet));
      } catch (MilterException e) {
        return bogus(event, actions, null, Category.MALFORMED_PACKET, e.getMessage());
      }
      ActionType type = ActionCodec.type(action);
      boolean reserved = type == ActionType.SHUTDOWN || type == ActionType.CONNECTION_FAILURE;
      if (reserved && !(postfix && type == ActionType.SHUTDOWN)) {
        return bogus(
            event,
            actions,
            action,
            Category.REPLY_NOT_ALLOWED,
            "the milter sent the reserved reply " + type.keyword);
      }
      if (type.kind == ActionType.Kind.REPLY) {
        actions.add(reserved ? MtaStyle.SHUTDOWN : action);
        return new Answer(actions, null);
      }
      boolean body = type == ActionType.CHANGE_BODY;
      bodyEnded |= bodyBegun && !body;
      if (body && bodyEnded && postfix) {
        return misused(
            event,
            actions,
            action,
            "mixed-body",
            "the pieces of the new body are not sent one after the other");
      }
      bodyBegun |= body;
      String problem = problem(event, type, action);
      if (problem != null) {
        return bogus(event, actions, action, Category.REPLY_NOT_ALLOWED, problem);
      }
      if (!mayChange(event, type, action)) {
        return bogus(
            event,
            actions,
            action,
            Category.ACTION_NOT_NEGOTIATED,
            "the milter sent " + named(action) + " without having asked for " + type.flag.keyword);
      }
      checkValue(event, action);
      if (limits.keeps(packet)) {
        actions.add(action);
      }
    }
  }

  private Packet nextPacket(EventType event) throws IOException {
    Packet packet;
    try {
      packet = limits.read(wire, event);
    } catch (IOException e) {
      throw unanswered(event, e);
    }
    if (packet == null) {
      throw unanswered(event, new EOFException("the milter closed the connection"));
    }
    return packet;
  }

  /**
   * Remarks that an event gets no answer, and returns an exception that says so. An MTA that has
   * ended the connection itself is not remarked upon.
   */
  IOException unanswered(EventType event, IOException cause) {
    if (cause instanceof FaultyWire.DroppedException) {
      return cause;
    }
    String text =
        cause.getMessage()
            + " at "
            + event.keyword
            + "; "
            + withoutMilter(options.style().unavailable);
    remark("no-reply", event, null, text);
    IOException problem =
        cause instanceof SocketTimeoutException
            ? new SocketTimeoutException(text)
            : new IOException(text);
    problem.initCause(cause);
    return problem;
  }

  private String withoutMilter(IPersistentMap reply) {
    return options.style().title
        + " defers by "
        + reply.valAt(Keys.SMTP_CODE)
        + " "
        + reply.valAt(Keys.ENHANCED_CODE)
        + " and does without the milter from then on";
  }

  /** {@return what an action is and which field or address it concerns, in words} */
  private static String named(IPersistentMap action) {
    String type = ActionCodec.type(action).keyword.toString();
    if (action.valAt(Keys.NAME) instanceof String name) {
      return type + " of the field " + Printable.quoted(name, LONGEST_NAME);
    }
    if (action.valAt(Keys.ADDRESS) instanceof String address) {
      return type + " of " + Printable.quoted(address, LONGEST_NAME);
    }
    return type;
  }

  /** {@return the packet of a plain reply without what follows its code, which Sendmail ignores} */
  private Packet payloadIgnored(EventType event, Packet packet) {
    if (postfix || packet.payload().length == 0 || "cardts".indexOf(packet.code()) < 0) {
      return packet;
    }
    remark("payload", event, null, "the reply has a payload, which Sendmail ignores");
    return new Packet((char) packet.code());
  }

  /** {@return why no answer to the event may hold an action of the type, or null} */
  private String problem(EventType event, ActionType type, IPersistentMap action) {
    boolean early = event != EventType.END_OF_MESSAGE;
    boolean tolerated = postfix && (type == ActionType.PROGRESS || type == ActionType.QUARANTINE);
    return early && !tolerated ? "the milter sent " + named(action) + " at " + event.keyword : null;
  }

  /** {@return true if the MTA does what the action says, whether or not that was agreed} */
  private boolean mayChange(EventType event, ActionType type, IPersistentMap action) {
    if (type == ActionType.QUARANTINE && event != EventType.END_OF_MESSAGE) {
      remark("early-quarantine", event, action, "Postfix holds the message; Sendmail defers it");
    }
    ActionFlag flag = ActionCodec.flag(type, action);
    if (flag == null || (agreed & flag.mask) != 0) {
      return true;
    }
    boolean obeyed = postfix || type != ActionType.CHANGE_BODY;
    if (obeyed) {
      remark(
          "not-agreed",
          event,
          action,
          "the milter sent "
              + named(action)
              + " without having asked for "
              + flag.keyword
              + "; "
              + options.style().title
              + " does it all the same");
    }
    return obeyed;
  }

  private void checkValue(EventType event, IPersistentMap action) {
    if (action.valAt(Keys.VALUE) instanceof String value && value.indexOf('\r') >= 0) {
      remark(
          "carriage-return",
          event,
          action,
          "the value of the field "
              + Printable.quoted((String) action.valAt(Keys.NAME), LONGEST_NAME)
              + " holds a CR, which "
              + options.style().title
              + " delivers: a line that ends in CR LF arrives with CR CR LF");
    }
  }

  private Answer replyCode(EventType event, List<IPersistentMap> actions, Packet packet) {
    IPersistentMap action;
    String problem;
    try {
      action = ActionCodec.decode(packet);
      problem = textProblem(packet, action);
    } catch (MilterException e) {
      action = null;
      problem = e.getMessage();
    }
    byte[] text = packet.payload();
    if (problem == null) {
      actions.add(action);
      return new Answer(actions, null);
    }
    if (postfix && (!codeAndSeparator(text) || enhancedOfOtherClass(text))) {
      return misused(event, actions, action, "malformed-reply", problem);
    }
    if (!postfix && (action == null || !codeOf(text) || singlePercent(Text.decode(text)))) {
      remark("malformed-reply", event, action, problem + "; Sendmail rejects with its own text");
      actions.add(Action.reject().map());
      return new Answer(actions, null);
    }
    if (action == null) {
      return bogus(event, actions, null, Category.MALFORMED_PACKET, problem);
    }
    remark(
        "malformed-reply",
        event,
        action,
        problem + "; " + options.style().title + " passes it on as it is");
    actions.add(
        postfix
            ? action.assoc(Keys.TEXT, ((String) action.valAt(Keys.TEXT)).replace("%", ""))
            : action);
    return new Answer(actions, null);
  }

  private static boolean codeOf(byte[] text) {
    return text.length > 3
        && (text[0] == '4' || text[0] == '5')
        && Character.isDigit(text[1])
        && Character.isDigit(text[2]);
  }

  private static boolean codeAndSeparator(byte[] text) {
    return codeOf(text) && (text[3] == ' ' || text[3] == '-');
  }

  private static boolean enhancedOfOtherClass(byte[] text) {
    return text.length > 4 && Character.isDigit(text[4]) && text[4] != text[0];
  }

  private static boolean singlePercent(String text) {
    return text.replace("%%", "").indexOf('%') >= 0;
  }

  /** {@return what is wrong with a reply text, or null. A last space may be missing} */
  private static String textProblem(Packet packet, IPersistentMap action) {
    Packet good;
    try {
      good = ActionCodec.packets(action).get(0);
    } catch (MilterException e) {
      return e.getMessage();
    }
    return withoutLastSpace(packet.payload()).equals(withoutLastSpace(good.payload()))
        ? null
        : "the lines of its text do not agree, or a % is not doubled";
  }

  private static String withoutLastSpace(byte[] reply) {
    return Text.decode(reply).replace(" \0", "\0");
  }

  /**
   * Returns the answer in whose place Postfix defers: it takes it for a mistake of the operator.
   */
  private Answer misused(
      EventType event,
      List<IPersistentMap> actions,
      IPersistentMap action,
      String remark,
      String problem) {
    return lost(
        event, actions, action, remark, Category.MALFORMED_PACKET, problem, MtaStyle.MISUSED);
  }

  /** {@return the answer in whose place the MTA defers, and does without the milter} */
  private Answer bogus(
      EventType event,
      List<IPersistentMap> actions,
      IPersistentMap action,
      Category category,
      String problem) {
    IPersistentMap reply = options.style().unavailable;
    return lost(event, actions, action, "bogus-answer", category, problem, reply);
  }

  private Answer lost(
      EventType event,
      List<IPersistentMap> actions,
      IPersistentMap action,
      String remark,
      Category category,
      String problem,
      IPersistentMap reply) {
    String text = problem + "; " + withoutMilter(reply);
    remark(remark, event, action, text);
    boolean passes = !postfix && event.compareTo(EventType.DATA) <= 0;
    actions.add(passes ? Action.proceed().map() : reply);
    return new Answer(
        actions, new MilterException(category, text, Keys.ACTION, action, Keys.REPLY, reply));
  }

  private void remark(String kind, EventType event, IPersistentMap action, String text) {
    IPersistentMap remark =
        new PersistentArrayMap(
            new Object[] {
              Keys.REMARK, Keyword.intern(kind), Keys.EVENT, event.keyword, Keys.TEXT, text
            });
    remarks.add(action == null ? remark : remark.assoc(Keys.ACTION, action));
  }
}
