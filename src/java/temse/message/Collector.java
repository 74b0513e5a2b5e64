package temse.message;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.ProtocolFlag;
import temse.server.ConnectionInfo;
import temse.server.MilterConnection;
import temse.server.internal.Counts;
import temse.server.internal.Served;

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
  private @Nullable MilterConnection previous;
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
  private @Nullable Counts server;
  private boolean spills;
  private long spilled;
  private long taken;
  private long used;

  Collector(MessageStore store) {
    this.store = store;
  }

  /**
   * Takes an event; those that are no part of a message are passed over.
   *
   * @param connection as the event's handler sees it: a {@link MilterConnection} if that may answer
   * @param type of the event
   * @param event its map
   * @throws IOException if the temporary file cannot be written
   * @throws MilterException LIMIT_EXCEEDED if there is no memory for the header; BAD_HANDLER_RETURN
   *     if another handler has kept something of the message away; UNEXPECTED_EVENT if the message
   *     had begun before this collector was there
   */
  public void take(ConnectionInfo connection, EventType type, IPersistentMap event)
      throws IOException {
    if (type == EventType.MAIL) {
      end();
      begun = true;
      server = connection instanceof Served served ? served.counts() : null;
      sender = (String) event.valAt(Keys.SENDER);
      senderParameters = strings(event.valAt(Keys.OPTIONS));
      use(OBJECT + sender.length() + weight(senderParameters));
    } else if (type == EventType.CONNECT) {
      client = client(event);
    } else if (type == EventType.HELLO) {
      client = client.withGreeting((String) event.valAt(Keys.GREETING));
    } else {
      checkBegun();
      look(connection instanceof MilterConnection call ? call : null, type);
      switch (type) {
        case RECIPIENT -> recipient(connection, event);
        case HEADER ->
            header(connection, (String) event.valAt(Keys.NAME), (String) event.valAt(Keys.VALUE));
        case BODY -> body((byte[]) event.valAt(Keys.DATA));
        default -> {}
      }
    }
  }

  /**
   * Takes a header field without an event, which no handler may answer.
   *
   * @param connection the connection
   * @param name of the field
   * @param value of the field
   * @throws IOException as {@link #take} does
   * @throws MilterException as {@link #take} does
   */
  public void takeField(ConnectionInfo connection, String name, String value) throws IOException {
    checkBegun();
    look(null, EventType.HEADER);
    header(connection, name, value);
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
  private void look(@Nullable MilterConnection connection, EventType type) {
    if (previous != null) {
      Action.Reply reply = previous.settledBy();
      ActionType verdict = reply == null ? ActionType.CONTINUE : reply.verdict();
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
    if (connection != previous) {
      previous = connection;
      previousType = type;
    }
  }

  private void recipient(ConnectionInfo connection, IPersistentMap event) {
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

  private void header(ConnectionInfo connection, String name, String value) throws IOException {
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
        BodyFile file = store.files.open();
        countFile();
        body.moveTo(file);
        countSpilled(body.size());
      }
      body.add(data, length);
      if (!body.isInMemory()) {
        countSpilled(length);
      }
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
      countFileGone();
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
          "the messages that the server is collecting have no more room in "
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
      if (!tryTake(step) && !tryTake(missing)) {
        return false;
      }
    }
    used += more;
    return true;
  }

  /** Takes memory of the filter, and of the server, where others take theirs, too. */
  private boolean tryTake(long octets) {
    if (!store.memory.tryTake(octets)) {
      return false;
    }
    if (server != null && !server.messages().tryTake(octets, store.memory.limit())) {
      store.memory.give(octets);
      return false;
    }
    taken += octets;
    return true;
  }

  private void giveBack() {
    store.memory.give(taken);
    if (server != null) {
      server.messages().give(taken);
    }
    taken = 0;
    used = 0;
  }

  // ---- counting what is in a file

  private void countFile() {
    spills = true;
    if (server != null) {
      server.spill(1, 0);
    }
  }

  private void countSpilled(long octets) {
    spilled += octets;
    if (server != null) {
      server.spill(0, octets);
    }
  }

  private void countFileGone() {
    if (spills && server != null) {
      server.spill(-1, -spilled);
    }
    spills = false;
    spilled = 0;
  }

  // ---- the message

  /** {@return the reply in the filter's place if the message has too many octets, or null} */
  public Action.@Nullable Reply replyInstead() {
    return isDropped() ? store.whenExceeded.reply() : null;
  }

  /**
   * {@return what was collected} Its body can be read until the message ends.
   *
   * @param connection the connection, for its macros and agreement
   * @param at the event that is being handled: END_OF_HEADERS or END_OF_MESSAGE
   * @throws MilterException as {@link #take} does
   */
  public Message message(MilterConnection connection, EventType at) {
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

  /**
   * Called when the SMTP client has ended, and with it any message.
   *
   * @throws IOException if the temporary file cannot be closed
   */
  public void clientEnds() throws IOException {
    client = Client.UNKNOWN;
    end();
  }

  /**
   * Called when the message has ended, if there is one: gives back its memory and its file.
   *
   * @throws IOException if the temporary file cannot be closed
   */
  public void end() throws IOException {
    giveBack();
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
    countFileGone();
    ended.end();
  }
}
