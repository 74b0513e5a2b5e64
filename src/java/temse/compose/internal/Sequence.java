package temse.compose.internal;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import temse.compose.Origin;
import temse.message.MessageStore;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.DisconnectReason;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MessageEndReason;
import temse.protocol.Offer;
import temse.protocol.ProtocolFlag;
import temse.protocol.Request;
import temse.server.MilterConnection;
import temse.transport.internal.Conversation.End;

/**
 * Several filters behind one connection to the MTA, which go on as if each had a connection of its
 * own: what holds for one SMTP client.
 *
 * <p>Events of the envelope go to one after the other. Content goes to each as it comes, up to the
 * first filter that may change it; for those behind it is kept, and {@link Playback} plays it to
 * them at the end of the message as the earlier ones have left it.
 */
public final class Sequence {
  private final List<Node> nodes;
  private final MessageStore store;
  private final Agenda agenda = new Agenda();
  private final EndOfMessage ending = new EndOfMessage(this);
  private List<Part> parts = List.of();
  private Content content;
  private IPersistentMap client = PersistentArrayMap.EMPTY;
  private @Nullable String sender;

  /** The reply that decides the event at hand, or null. */
  private @Nullable IPersistentMap decision;

  /**
   * Makes what holds for one SMTP client, before it has begun.
   *
   * @param nodes the filters in their order
   * @param store keeps content for filters behind one that may change it
   */
  public Sequence(List<Node> nodes, MessageStore store) {
    this.nodes = nodes;
    this.store = store;
  }

  // ---- the negotiation

  /**
   * Opens the filters with the offer of the MTA.
   *
   * @param connection as long as the negotiation goes on
   * @param offer the {@code :options} event
   * @return what they ask for together
   * @throws IOException if the temporary file fails
   */
  public Request negotiate(MilterConnection connection, IPersistentMap offer) throws IOException {
    return open(connection, Offer.of(offer)).request();
  }

  private Union open(MilterConnection connection, Offer offer) throws IOException {
    List<Asked> asked = new ArrayList<>();
    List<Member> members = new ArrayList<>();
    for (Node node : nodes) {
      Member member = new Member(node, store, connection, offer);
      members.add(member);
      asked.add(new Asked(node, member.request(), member.agreement()));
    }
    Union union = new Union(asked);
    List<Part> opened = new ArrayList<>();
    for (int place = 0; place < asked.size(); place++) {
      opened.add(new Part(asked.get(place), members.get(place), union.isKeptFor(place)));
    }
    parts = opened;
    content = new Content(union.keptEvents(), store);
    return union;
  }

  /** Of a second SMTP client of a connection nothing is negotiated. */
  private void openOnce(MilterConnection connection) throws IOException {
    if (parts.isEmpty()) {
      open(connection, connection.agreement().offer()).checkAgreed(connection.agreement());
    }
  }

  // ---- one event of the MTA

  /**
   * {@return the actions that answer an event, or null; it stays open while a filter waits}
   *
   * @param connection for this event only
   * @param type of the event
   * @param event its map
   * @throws IOException if the temporary file fails
   */
  public @Nullable List<IPersistentMap> onEvent(
      MilterConnection connection, EventType type, IPersistentMap event) throws IOException {
    openOnce(connection);
    if (type == EventType.CONNECT) {
      client = event;
    } else if (type == EventType.MAIL) {
      sender = (String) event.valAt(Keys.SENDER);
      parts.forEach(Part::forgetMessage);
    }
    decision = null;
    ending.begin();
    agenda.begin(tasks(connection, type, event), () -> ended(type, event));
    return agenda.goOn(connection, () -> answer(connection, type));
  }

  private List<Task> tasks(MilterConnection connection, EventType type, IPersistentMap event)
      throws IOException {
    return switch (type) {
      case MESSAGE_END -> messageEnd(event);
      case DISCONNECT -> disconnect(event);
      case END_OF_MESSAGE -> endOfMessage(connection, event);
      case HEADER, END_OF_HEADERS, BODY -> content(connection, type, event);
      default -> {
        List<Task> tasks = new ArrayList<>();
        parts.forEach(part -> tasks.add(c -> envelope(part, c, type, event)));
        yield tasks;
      }
    };
  }

  private @Nullable List<IPersistentMap> answer(MilterConnection connection, EventType type) {
    if (type != EventType.DISCONNECT && parts.stream().anyMatch(part -> part.member.isClosed())) {
      connection.close();
    }
    if (!connection.agreement().mayAnswer(type)) {
      return null;
    }
    if (type == EventType.END_OF_MESSAGE) {
      List<IPersistentMap> all = new ArrayList<>(ending.changes());
      if (decision != null) {
        all.add(decision);
      } else if (parts.stream().allMatch(Part::accepts)) {
        all.add(Action.accept().map());
      }
      return all;
    }
    if (decision != null) {
      return List.of(decision);
    }
    if (type == EventType.UNKNOWN) {
      return null;
    }
    boolean inMessage = type.inMessage();
    if (parts.stream().noneMatch(part -> part.isThere(inMessage) || part.addsAtEnd())) {
      return List.of(Action.accept().map());
    }
    return skips(type) ? List.of(Action.skip().map()) : null;
  }

  private boolean skips(EventType type) {
    return type == EventType.BODY
        && !content.keeps(type)
        && parts.stream().noneMatch(part -> part.wants(type));
  }

  // ---- verdicts

  /** {@return an action that says which of several filters has given it, and why} */
  IPersistentMap signed(Part part, IPersistentMap action) {
    if (parts.size() == 1) {
      return action;
    }
    Object why = action.valAt(Keys.WHY);
    IPersistentMap reason = PersistentArrayMap.EMPTY.assoc(Keys.FILTER, part.node.title());
    return action.assoc(Keys.WHY, why == null ? reason : reason.assoc(Keys.WHY, why));
  }

  /** Decides the event, whatever was still to be done for it. */
  List<Task> decide(Part part, IPersistentMap reply) {
    return decide(signed(part, reply));
  }

  /** Decides the event by a reply, as it is. */
  List<Task> decide(IPersistentMap reply) {
    decision = reply;
    agenda.decide();
    return List.of();
  }

  /** {@return true, and decides the event, if the filter has refused the message} */
  boolean isRefusedBy(Part part) {
    IPersistentMap refusal = part.refusal();
    if (refusal != null) {
      decide(part, refusal);
    }
    return refusal != null;
  }

  /** Tells a filter an event; what it answers is looked at by a task. */
  List<Task> send(Part part, MilterConnection connection, IPersistentMap event, Task then)
      throws IOException {
    EventType type = EventType.ofKeyword(event.valAt(Keys.EVENT));
    return agenda.send(part, connection, type, event, then);
  }

  // ---- the envelope

  private List<Task> envelope(
      Part part, MilterConnection connection, EventType type, IPersistentMap event)
      throws IOException {
    if (type == EventType.CONNECT && !isFor(part.node.ofClient(), connection)) {
      part.stayAway();
    }
    if (type == EventType.MAIL
        && part.isThere(false)
        && !isFor(part.node.ofMessage(), connection)) {
      part.passOver();
    }
    boolean refused = type == EventType.RECIPIENT && isRefusedByMta(connection);
    boolean wanted = !refused || part.asked.agreement().has(ProtocolFlag.REJECTED_RECIPIENTS);
    return part.wants(type) && wanted
        ? send(part, connection, event, c -> afterEnvelope(part, c, type))
        : List.of();
  }

  private boolean isFor(
      @Nullable Predicate<? super Origin> predicate, MilterConnection connection) {
    return predicate == null || predicate.test(new Origin(connection, client, sender));
  }

  private static boolean isRefusedByMta(MilterConnection connection) {
    return connection.agreement().has(ProtocolFlag.REJECTED_RECIPIENTS)
        && "error".equals(connection.macros().get("rcpt_mailer"));
  }

  private List<Task> afterEnvelope(Part part, MilterConnection connection, EventType type) {
    Part.Answer answer = part.answer(connection, type);
    ActionType own = Reply.verdict(answer.own());
    if (own != null) {
      switch (type) {
        case CONNECT, HELLO -> {
          if (own == ActionType.ACCEPT
              || own == ActionType.REJECT
              || own == ActionType.TEMPORARY_FAILURE) {
            part.clientDone(answer.own());
          }
        }
        case RECIPIENT -> {
          if (own == ActionType.ACCEPT || own == ActionType.DISCARD) {
            part.done(answer.own());
          }
        }
        case MAIL, DATA -> part.done(answer.own());
        default -> {}
      }
    }
    return Reply.isAgainst(answer.reply()) ? decide(part, answer.reply()) : List.of();
  }

  // ---- content as it comes

  private List<Task> content(MilterConnection connection, EventType type, IPersistentMap event)
      throws IOException {
    content.take(connection, type, event);
    List<Task> tasks = new ArrayList<>();
    for (Part part : parts) {
      if (!part.kept && part.wants(type)) {
        IPersistentMap own = forPart(part, connection, type, event);
        tasks.add(c -> send(part, c, own, after -> afterContent(part, after, type)));
      }
    }
    tasks.add(c -> refuseIfDue());
    return tasks;
  }

  private static IPersistentMap forPart(
      Part part, MilterConnection connection, EventType type, IPersistentMap event) {
    return type == EventType.HEADER && hasSpace(connection)
        ? event.assoc(Keys.VALUE, part.value((String) event.valAt(Keys.VALUE)))
        : event;
  }

  /** {@return true if values of header fields have their space on the connection to the MTA} */
  static boolean hasSpace(MilterConnection connection) {
    return connection.agreement().request().leadingSpace();
  }

  /** Notes what a filter makes of content. */
  List<Task> afterContent(Part part, MilterConnection connection, EventType type) {
    Part.Answer answer = part.answer(connection, type);
    ActionType own = Reply.verdict(answer.own());
    if (own != null && own != ActionType.SKIP) {
      part.done(answer.own());
      if (Reply.isAgainst(answer.reply())) {
        part.refuses(answer.reply());
      }
    }
    return List.of();
  }

  /** The refusal of a filter counts when those before it are out. */
  private List<Task> refuseIfDue() {
    for (Part part : parts) {
      if (isRefusedBy(part) || part.isThere(true)) {
        break;
      }
    }
    return List.of();
  }

  // ---- the end of a message

  /** The end of message may bring the last piece of the body. */
  private List<Task> endOfMessage(MilterConnection connection, IPersistentMap event)
      throws IOException {
    List<Task> tasks = new ArrayList<>();
    Object data = event.valAt(Keys.DATA);
    if (data != null) {
      IPersistentMap last = EventCodec.event(EventType.BODY, Keys.DATA, data);
      tasks.addAll(content(connection, EventType.BODY, last));
    }
    parts.forEach(part -> tasks.add(c -> ending.of(part, content)));
    return tasks;
  }

  // ---- the ends of message and client

  /**
   * Those that have not settled the message learn that it is aborted. Where the connection is lost
   * they receive it.
   */
  private List<Task> messageEnd(IPersistentMap event) {
    List<Task> tasks = new ArrayList<>();
    if (MessageEndReason.ofKeyword(event.valAt(Keys.REASON)) != MessageEndReason.LOST) {
      IPersistentMap abort = EventCodec.event(EventType.ABORT);
      for (Part part : parts) {
        if (!part.member.isClosed() && part.awaitsEnd()) {
          tasks.add(c -> send(part, c, abort, after -> List.of()));
        }
      }
    }
    return tasks;
  }

  private List<Task> disconnect(IPersistentMap event) {
    EventType end =
        switch (DisconnectReason.ofKeyword(event.valAt(Keys.REASON))) {
          case QUIT -> EventType.QUIT;
          case NEW_CONNECTION -> EventType.DISCONNECT;
          default -> null;
        };
    List<Task> tasks = new ArrayList<>();
    if (end != null) {
      for (Part part : parts) {
        if (!part.member.isClosed()) {
          tasks.add(c -> send(part, c, EventCodec.event(end), after -> List.of()));
        }
      }
    }
    return tasks;
  }

  /** An event is over, however it has ended: what belongs to message or client is given back. */
  private void ended(EventType type, IPersistentMap event) throws IOException {
    if (type == EventType.DISCONNECT) {
      boolean stopped =
          DisconnectReason.ofKeyword(event.valAt(Keys.REASON)) == DisconnectReason.STOPPING;
      parts.forEach(part -> part.member.end(stopped ? End.STOPPED : End.PEER_CLOSED));
    }
    if (type == EventType.MESSAGE_END || type == EventType.DISCONNECT) {
      parts.forEach(Part::forgetMessage);
      giveBack();
    }
  }

  /** Gives back all that is kept of the message, also where a temporary file cannot be closed. */
  private void giveBack() throws IOException {
    IOException failure = null;
    List<Agenda.Last> kept = new ArrayList<>();
    parts.forEach(part -> kept.add(part.member::messageEnds));
    kept.add(content::messageEnds);
    for (Agenda.Last each : kept) {
      try {
        each.run();
      } catch (IOException e) {
        failure = e;
      }
    }
    if (failure != null) {
      throw failure;
    }
  }
}
