package temse.server.internal;

import clojure.lang.IPersistentMap;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Packet;

/**
 * An event of the {@link Ledger} whose turn will come.
 *
 * @param type its type
 * @param way how it is settled
 * @param event the event map; null where nobody handles it and nobody watches
 * @param packet what it was decoded from; null for an event that the library makes
 * @param reply what settles it if no handler does; null is continue, or none where none is owed
 * @param excess the limit that it goes beyond, or null
 */
record Entry(
    EventType type,
    Way way,
    IPersistentMap event,
    Packet packet,
    IPersistentMap reply,
    MilterException excess) {

  /** How an entry is settled. */
  enum Way {
    /** Its handler is called. */
    CALL,
    /** Its handler is called; it is the last piece of a body, which an end of message carried. */
    CALL_BEFORE_END,
    /** Nobody handles it: by the reply that the entry holds. */
    DEFAULT,
    /** It belongs to what a reply has settled: by that reply again; no handler is called. */
    REPEAT,
    /** It goes beyond a limit: no handler is called. */
    EXCEED
  }

  /** Returns the event map, also of an event that nobody was to receive. */
  IPersistentMap decoded() {
    return event == null && packet != null ? EventCodec.decode(packet) : event;
  }

  /** Returns the event whose reply answers this one. */
  EventType answered() {
    return way == Way.CALL_BEFORE_END ? EventType.END_OF_MESSAGE : type;
  }
}
