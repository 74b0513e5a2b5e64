package temse.compose.internal;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroStage;
import temse.protocol.MacroTable;
import temse.protocol.Packet;
import temse.protocol.Request;

/** The macros that one of several filters sees: those that it has asked for. */
final class MacroFeed {
  private final Request request;
  private final Map<MacroStage, IPersistentMap> known = new EnumMap<>(MacroStage.class);
  private @Nullable MacroTable table;

  MacroFeed(Request request) {
    this.request = request;
  }

  /** Returns the packets after which the filter knows the macros that hold at an event. */
  List<Packet> packets(EventType type, MacroTable now) {
    List<Packet> packets = new ArrayList<>();
    MacroStage own = MacroStage.ofKeyword(type.keyword);
    if (own == null && now == table) {
      return packets;
    }
    table = now;
    IPersistentMap all = now.toMap();
    for (MacroStage stage : MacroStage.values()) {
      boolean later = own != null && clearsLater(type) && stage.compareTo(own) > 0;
      IPersistentMap defined = (IPersistentMap) all.valAt(stage.keyword);
      IPersistentMap definitions =
          later || defined == null ? PersistentArrayMap.EMPTY : wanted(stage, defined);
      IPersistentMap before = known.put(stage, definitions);
      boolean same = before == null ? definitions.count() == 0 : before.equiv(definitions);
      if (!later && (!same || stage == own && definitions.count() > 0)) {
        packets.add(packet(stage, definitions));
      }
    }
    return packets;
  }

  /** After these events the macros of later stages are gone. */
  private static boolean clearsLater(EventType type) {
    return switch (type) {
      case CONNECT, HELLO, MAIL, RECIPIENT -> true;
      default -> false;
    };
  }

  /** Returns the macros of a stage as an MTA would send them to this filter alone. */
  private IPersistentMap wanted(MacroStage stage, IPersistentMap definitions) {
    List<String> names = request.macros().get(stage);
    if (names == null) {
      return definitions;
    }
    IPersistentMap wanted = PersistentArrayMap.EMPTY;
    for (String name : names) {
      String bare = EventCodec.bareName(name);
      if (definitions.containsKey(bare)) {
        wanted = wanted.assoc(bare, definitions.valAt(bare));
      }
    }
    return wanted;
  }

  private static Packet packet(MacroStage stage, IPersistentMap definitions) {
    return EventCodec.encode(
        EventCodec.event(
            EventType.DEFINE_MACRO,
            Keys.COMMAND,
            (char) stage.letter,
            Keys.DEFINITIONS,
            definitions));
  }
}
