package temse.server;

import clojure.lang.IPersistentMap;
import temse.protocol.EventType;

/**
 * An event whose turn will come.
 *
 * @param type its type
 * @param event the event map; null where nobody hears of it and nobody watches
 * @param beforeEndOfMessage whether it is the last piece of a body, which an end of message carried
 */
record EventStep(EventType type, IPersistentMap event, boolean beforeEndOfMessage) {}
