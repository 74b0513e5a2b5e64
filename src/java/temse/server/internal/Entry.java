package temse.server.internal;

import clojure.lang.IPersistentMap;
import temse.protocol.Action;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Packet;

/**
 * An event of the {@link Ledger} whose turn will come.
 *
 * @param type its type
 * @param way how it is settled
 * @param event the event map; null where nobody handles it and nobody watches, and where there is a
 *     field
 * @param field the header field that is collected without an event map, or null
 * @param packet what it was decoded from; null for an event that the library makes
 * @param reply what settles it if no handler does; null is continue, or none where none is owed
 * @param excess the limit that it goes beyond, or null
 */
record Entry(
    EventType type,
    Way way,
    IPersistentMap event,
    EventCodec.Field field,
    Packet packet,
    Action.Reply reply,
    MilterException excess) {

  /** How an entry is settled. */
  enum Way {
    /** Its handler is called. */
    CALL,
    /** Its handler is called; it is the last piece of a body, which an end of message carried. */
    CALL_BEFORE_END,
    /** It is kept by an {@link EventCollector}. */
    COLLECT,
    /** Nobody handles it: by the reply that the entry holds. */
    DEFAULT,
    /** It belongs to what a reply has settled: by that reply again; no handler is called. */
    REPEAT,
    /** It goes beyond a limit: no handler is called. */
    EXCEED,
    /** Another service is to take over the connection; there is no event. */
    CHANGE,
    /**
     * The MTA has sent it before, to an earlier service: nothing is written, a verdict holds for
     * what the client goes on to send.
     */
    REPLAY
  }

  /** Returns the entry of a header field that is collected without an event map. */
  static Entry collecting(EventCodec.Field field, Packet packet) {
    return new Entry(EventType.HEADER, Way.COLLECT, null, field, packet, null, null);
  }

  /** Returns the event map, which is made now for a header field that is collected without. */
  @Override
  public IPersistentMap event() {
    return field == null
        ? event
        : EventCodec.event(type, Keys.NAME, field.name(), Keys.VALUE, field.value());
  }

  /** Returns the event map, also of an event that nobody was to receive. */
  IPersistentMap decoded() {
    IPersistentMap known = event();
    return known == null && packet != null ? EventCodec.decode(packet) : known;
  }

  /** Returns the event whose reply answers this one. */
  EventType answered() {
    return way == Way.CALL_BEFORE_END ? EventType.END_OF_MESSAGE : type;
  }
}
