package temse.compose.internal;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentVector;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import temse.message.Body;
import temse.message.Collector;
import temse.message.HeaderField;
import temse.message.Message;
import temse.message.MessageStore;
import temse.message.Mta;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.server.MilterConnection;

/**
 * The content of a message that is kept for those behind a filter that may change it: as the MTA
 * has sent it, and as the filters have left it.
 */
final class Content {
  private final Set<EventType> kept;
  private final Collector collector;
  private boolean begun;

  /** The fields as filters have left them, by the MTAs whose rules may hold; null: unchanged. */
  private @Nullable Map<Mta, List<Field>> fields;

  /** The body that a filter has put in the place of the message's, or null. */
  private @Nullable Body body;

  Content(Set<EventType> kept, MessageStore store) {
    this.kept = kept;
    this.collector = store.collector();
  }

  /** Returns a collector for content alone, whose envelope nobody asks for. */
  static Collector begun(MessageStore store, MilterConnection connection) throws IOException {
    Collector collector = store.collector();
    begin(collector, connection);
    return collector;
  }

  private static void begin(Collector collector, MilterConnection connection) throws IOException {
    collector.take(
        connection,
        EventType.MAIL,
        EventCodec.event(EventType.MAIL, Keys.SENDER, "<>", Keys.OPTIONS, PersistentVector.EMPTY));
  }

  boolean keeps(EventType type) {
    return kept.contains(type);
  }

  /** Keeps an event, if it is one that is kept. */
  void take(MilterConnection connection, EventType type, IPersistentMap event) throws IOException {
    if (keeps(type)) {
      beginOnce(connection);
      collector.take(connection, type, event);
    }
  }

  private void beginOnce(MilterConnection connection) throws IOException {
    if (!begun) {
      begun = true;
      begin(collector, connection);
    }
  }

  /** Returns the reply in the place of those who wait for content that is too much, or null. */
  @Nullable IPersistentMap replyInstead() {
    Action.Reply instead = kept.isEmpty() ? null : collector.replyInstead();
    return instead == null ? null : instead.map();
  }

  void messageEnds() throws IOException {
    begun = false;
    fields = null;
    body = null;
    collector.end();
  }

  // ---- what the next filter is shown

  private Message received(MilterConnection connection) throws IOException {
    beginOnce(connection);
    return collector.message(connection, EventType.END_OF_MESSAGE);
  }

  private List<Field> receivedFields(MilterConnection connection) throws IOException {
    List<Field> received = new ArrayList<>();
    for (HeaderField field : received(connection).headers()) {
      received.add(Field.given(field.name(), field.raw()));
    }
    return received;
  }

  /** Returns the header fields for the next filter. */
  List<Field> shownFields(MilterConnection connection) throws IOException {
    if (fields == null) {
      return receivedFields(connection);
    }
    List<List<Field>> shown = new ArrayList<>();
    fields.forEach(
        (mta, list) ->
            shown.add(
                FieldRules.of(mta).shown(list).stream()
                    .map(field -> Field.given(field.name(), field.raw()))
                    .toList()));
    return same(shown);
  }

  /** Returns the body for the next filter. */
  InputStream shownBody(MilterConnection connection) throws IOException {
    return body == null
        ? received(connection).body().open()
        : body.openLines(Mta.of(connection.macros()));
  }

  private static Set<Mta> mtas(MilterConnection connection) {
    Mta mta = Mta.of(connection.macros());
    return mta == Mta.UNKNOWN ? EnumSet.of(Mta.POSTFIX, Mta.SENDMAIL) : EnumSet.of(mta);
  }

  /** Returns what the rules of all MTAs that may be there come to. */
  private static <T> T same(Collection<T> results) {
    if (new HashSet<>(results).size() > 1) {
      throw new MilterException(
          MilterException.Category.BAD_ACTION,
          "what earlier filters have changed looks different behind Postfix and behind Sendmail,"
              + " and the MTA sends none of the macros v, if_name and if_addr by which it is known;"
              + " ask for the macro v at :connect");
    }
    return results.iterator().next();
  }

  // ---- what a filter changes

  /** Takes a new body in the place of the message's. */
  void replaceBody(Body other) {
    body = other;
  }

  /**
   * Returns the modifications of a filter as they have to be after those of earlier ones, and notes
   * the fields that later ones are shown.
   *
   * @param leadingSpace whether their values begin with what follows the colon
   */
  List<IPersistentMap> passOn(
      MilterConnection connection, List<IPersistentMap> changes, boolean leadingSpace)
      throws IOException {
    if (!keeps(EventType.HEADER) || changes.stream().noneMatch(Content::isOfHeader)) {
      return changes;
    }
    Map<Mta, List<Field>> after = new EnumMap<>(Mta.class);
    List<List<IPersistentMap>> actions = new ArrayList<>();
    for (Mta mta : mtas(connection)) {
      FieldRules rules = FieldRules.of(mta);
      List<Field> before =
          fields == null ? rules.kept(receivedFields(connection)) : fields.get(mta);
      FieldRules.PassedOn passed = rules.passOn(before, changes, leadingSpace);
      after.put(mta, passed.fields());
      actions.add(passed.actions());
    }
    fields = after;
    return same(actions);
  }

  private static boolean isOfHeader(IPersistentMap action) {
    Object type = action.valAt(Keys.ACTION);
    return type == ActionType.ADD_HEADER.keyword || type == ActionType.CHANGE_HEADER.keyword;
  }
}
