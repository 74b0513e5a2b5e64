package temse.message;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.ProtocolFlag;
import temse.server.Connection;

/**
 * Collects the messages of one MTA connection, one after the other, from their events: envelope,
 * header fields and body. For the thread that handles the events.
 *
 * <p>What it cannot keep is an error, so that a message of which something is missing is deferred.
 */
public final class Collector {
  /** About what an object costs beside the characters or octets that it holds. */
  private static final int OBJECT = 64;

  /** The step in which memory is taken, so that not every field has to ask. */
  private static final int STEP = 4096;

  private static final String REFUSED_BY_MTA = "error";

  private final MessageStore store;
  private Client client = Client.UNKNOWN;
  private @Nullable Connection previous;
  private @Nullable EventType previousType;

  private boolean begun;
  private @Nullable String sender;
  private List<String> senderParameters;
  private final List<String> recipients = new ArrayList<>(1);
  private final List<List<String>> recipientParameters = new ArrayList<>(1);
  private List<HeaderField> fields = new ArrayList<>();
  private Body body = new Body();
  private long octets;
  private boolean exceeded;
  private boolean fieldsLeftOut;
  private long taken;
  private long used;

  Collector(MessageStore store) {
    this.store = store;
  }

  /**
   * Takes an event; those that are no part of a message are passed over.
   *
   * @throws IOException if the temporary file cannot be written
   * @throws MilterException LIMIT_EXCEEDED if there is no memory for the header; BAD_HANDLER_RETURN
   *     if another handler has kept something of the message away; UNEXPECTED_EVENT if the message
   *     had begun before this collector was there
   */
  public void take(Connection connection, EventType type, IPersistentMap event) throws IOException {
    if (type == EventType.MAIL) {
      end();
      begun = true;
      sender = (String) event.valAt(Keys.SENDER);
      senderParameters = strings(event.valAt(Keys.OPTIONS));
      use(OBJECT + sender.length() + weight(senderParameters));
    } else if (type == EventType.CONNECT) {
      client = client(event);
    } else if (type == EventType.HELLO) {
      client = client.withGreeting((String) event.valAt(Keys.GREETING));
    } else {
      checkBegun();
      look(connection, type);
      switch (type) {
        case RECIPIENT -> recipient(connection, event);
        case HEADER -> header(connection, event);
        case BODY -> body((byte[]) event.valAt(Keys.DATA));
        default -> {}
      }
    }
  }

  private static Client client(IPersistentMap event) {
    return new Client(
        (String) event.valAt(Keys.HOST_NAME),
        (String) event.valAt(Keys.ADDRESS),
        (Long) event.valAt(Keys.PORT),
        (Keyword) event.valAt(Keys.FAMILY),
        null);
  }

  @SuppressWarnings("unchecked")
  private static List<String> strings(Object vector) {
    return (List<String>) vector;
  }

  private void checkBegun() {
    if (!begun) {
      throw new MilterException(
          MilterException.Category.UNEXPECTED_EVENT,
          "the message had begun before this message filter was there: it has not seen all of it");
    }
  }

  /**
   * Looks at how another handler has answered the event before: a recipient that it has refused is
   * none, and what it has skipped will be missing.
   */
  private void look(@Nullable Connection connection, EventType type) {
    if (previous != null) {
      IPersistentMap reply = previous.settledBy();
      ActionType verdict = reply == null ? ActionType.CONTINUE : ActionCodec.verdict(reply);
      if (verdict == ActionType.SKIP) {
        throw new MilterException(
            MilterException.Category.BAD_HANDLER_RETURN,
            "the handler of "
                + previousType.keyword
                + " has answered :skip, so that the message filter beside it does not see the"
                + " whole message");
      }
      boolean refused = verdict == ActionType.REJECT || verdict == ActionType.TEMPORARY_FAILURE;
      if (refused && previousType == EventType.RECIPIENT) {
        recipients.remove(recipients.size() - 1);
        recipientParameters.remove(recipientParameters.size() - 1);
      }
    }
    previous = connection;
    previousType = type;
  }

  private void recipient(Connection connection, IPersistentMap event) {
    if (connection.agreement().has(ProtocolFlag.REJECTED_RECIPIENTS)
        && REFUSED_BY_MTA.equals(connection.macros().get("rcpt_mailer"))) {
      previous = null;
      return;
    }
    String address = (String) event.valAt(Keys.ADDRESS);
    List<String> parameters = strings(event.valAt(Keys.OPTIONS));
    use(OBJECT + address.length() + weight(parameters));
    recipients.add(address);
    recipientParameters.add(parameters);
  }

  private void header(Connection connection, IPersistentMap event) throws IOException {
    String name = (String) event.valAt(Keys.NAME);
    String value = (String) event.valAt(Keys.VALUE);
    octets += name.length() + value.length();
    if (octets > store.maximumMessage) {
      fieldsLeftOut = true;
      exceed();
    } else {
      use(OBJECT + name.length() + value.length());
      boolean raw = connection.agreement().request().leadingSpace();
      fields.add(raw ? HeaderField.ofRaw(name, value) : new HeaderField(name, value));
    }
  }

  private void body(byte[] data) throws IOException {
    long room = Math.max(0, store.maximumMessage - octets);
    octets += data.length;
    int length = (int) Math.min(data.length, room);
    if (length < data.length) {
      exceed();
    }
    if (length > 0 && !isDropped()) {
      if (body.isInMemory() && !staysInMemory(length)) {
        body.moveTo(store.files.open());
      }
      body.add(data, length);
    }
  }

  private boolean staysInMemory(int length) {
    return body.size() + length <= store.memoryPerMessage && tryUse(OBJECT + (long) length);
  }

  /** The message has more octets than a filter takes; what it will not be given is not kept. */
  private void exceed() throws IOException {
    exceeded = true;
    if (isDropped()) {
      fields = new ArrayList<>();
      body.end();
    }
  }

  private boolean isDropped() {
    return exceeded && store.whenExceeded != Exceeded.TRUNCATE;
  }

  // ---- memory

  private static int weight(List<String> strings) {
    int weight = 0;
    for (String string : strings) {
      weight += OBJECT + string.length();
    }
    return weight;
  }

  private void use(long more) {
    if (!tryUse(more)) {
      throw new MilterException(
          MilterException.Category.LIMIT_EXCEEDED,
          "the messages that are being collected have no more room in "
              + store.memory.limit()
              + " octets of memory (:message-memory)",
          "limit",
          store.memory.limit());
    }
  }

  private boolean tryUse(long more) {
    long missing = used + more - taken;
    if (missing > 0) {
      long step = Math.max(STEP, missing);
      if (store.memory.tryTake(step)) {
        taken += step;
      } else if (store.memory.tryTake(missing)) {
        taken += missing;
      } else {
        return false;
      }
    }
    used += more;
    return true;
  }

  // ---- the message

  /** Returns the reply in the filter's place if the message has too many octets, or null. */
  public Action.@Nullable Reply replyInstead() {
    return isDropped() ? store.whenExceeded.reply() : null;
  }

  /**
   * Returns what was collected. Its body can be read until the message ends.
   *
   * @param at the event that is being handled: END_OF_HEADERS or END_OF_MESSAGE
   * @throws MilterException as {@link #take} does
   */
  public Message message(Connection connection, EventType at) {
    checkBegun();
    look(null, at);
    return new Message(
        client,
        sender,
        senderParameters,
        List.copyOf(recipients),
        List.copyOf(recipientParameters),
        List.copyOf(fields),
        body,
        connection.macros(),
        at,
        exceeded,
        fieldsLeftOut);
  }

  /** The SMTP client is over, and with it any message. */
  public void clientEnds() throws IOException {
    client = Client.UNKNOWN;
    end();
  }

  /** The message is over, if there is one: gives back its memory and its file. */
  public void end() throws IOException {
    store.memory.give(taken);
    taken = 0;
    used = 0;
    begun = false;
    previous = null;
    recipients.clear();
    recipientParameters.clear();
    fields = new ArrayList<>();
    octets = 0;
    exceeded = false;
    fieldsLeftOut = false;
    Body ended = body;
    body = new Body();
    ended.end();
  }
}
