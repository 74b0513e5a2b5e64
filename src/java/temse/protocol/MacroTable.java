package temse.protocol;

import clojure.lang.IMapEntry;
import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The macros that hold at one moment of a conversation, by stage; immutable.
 *
 * <p>Like libmilter's table: a packet replaces the whole set of its stage, a command clears the
 * stages after its own, and a later stage hides an earlier one. Packets are decoded when somebody
 * asks.
 */
public final class MacroTable {
  /** No macros. */
  public static final MacroTable EMPTY = new MacroTable(new Macros[MacroStage.values().length], 0);

  private static final MacroStage[] STAGES = MacroStage.values();

  private final Macros[] slots;
  private final long octets;

  private MacroTable(Macros[] slots, long octets) {
    this.slots = slots;
    this.octets = octets;
  }

  /** The macros of a stage. */
  private static final class Macros {
    /** Up to this many names a search is as quick as an index. */
    private static final int FEW = 16;

    final Packet packet;
    private IPersistentMap definitions;
    private Map<String, String> index;

    Macros(Packet packet) {
      this.packet = packet;
    }

    IPersistentMap definitions() {
      if (definitions == null) {
        definitions = (IPersistentMap) EventCodec.decode(packet).valAt(Keys.DEFINITIONS);
      }
      return definitions;
    }

    String get(String bareName) {
      if (definitions().count() <= FEW) {
        return (String) definitions.valAt(bareName);
      }
      if (index == null) {
        Map<String, String> all = new HashMap<>();
        for (Object entry : definitions) {
          all.put((String) ((IMapEntry) entry).key(), (String) ((IMapEntry) entry).val());
        }
        index = all;
      }
      return index.get(bareName);
    }
  }

  /** {@return how many octets the payloads of the macro packets have that are held} */
  public long octets() {
    return octets;
  }

  /**
   * {@return the table after a macro packet; stages that keep no macros change nothing}
   *
   * @param packet the command {@code D}
   */
  public MacroTable with(Packet packet) {
    MacroStage stage =
        packet.payload().length == 0 ? null : MacroStage.ofLetter(packet.payload()[0]);
    if (stage == null) {
      return this;
    }
    Macros known = slots[stage.ordinal()];
    if (known != null && known.packet == packet) {
      return this;
    }
    Macros[] changed = slots.clone();
    changed[stage.ordinal()] = new Macros(packet);
    return new MacroTable(changed, octets - octets(known) + packet.payload().length);
  }

  /**
   * {@return the table after the command: the macros of later stages are gone}
   *
   * @param type of the command
   */
  public MacroTable after(EventType type) {
    return switch (type) {
      case OPTIONS, QUIT, DISCONNECT -> EMPTY;
      case CONNECT -> without(MacroStage.HELLO);
      case HELLO -> without(MacroStage.MAIL);
      case MAIL -> without(MacroStage.RECIPIENT);
      case RECIPIENT -> without(MacroStage.DATA);
      default -> this;
    };
  }

  private MacroTable without(MacroStage first) {
    Macros[] cleared = null;
    long left = octets;
    for (int i = first.ordinal(); i < slots.length; i++) {
      if (slots[i] != null) {
        cleared = cleared == null ? slots.clone() : cleared;
        left -= octets(slots[i]);
        cleared[i] = null;
      }
    }
    return cleared == null ? this : new MacroTable(cleared, left);
  }

  private static int octets(Macros macros) {
    return macros == null ? 0 : macros.packet.payload().length;
  }

  /**
   * {@return the packet that has brought the macros of the stage, or null}
   *
   * @param stage at which they were sent
   */
  public @Nullable Packet packet(MacroStage stage) {
    Macros macros = slots[stage.ordinal()];
    return macros == null ? null : macros.packet;
  }

  /**
   * {@return the value of the macro at the latest stage that has it, or null: libmilter's {@code
   * smfi_getsymval}}
   *
   * @param name with or without braces
   */
  public @Nullable String get(String name) {
    String bare = EventCodec.bareName(name);
    for (int i = slots.length - 1; i >= 0; i--) {
      String value = slots[i] == null ? null : slots[i].get(bare);
      if (value != null) {
        return value;
      }
    }
    return null;
  }

  /** {@return the macros as a map of stage keyword to map of name to value} */
  public IPersistentMap toMap() {
    IPersistentMap map = PersistentArrayMap.EMPTY;
    for (int i = 0; i < slots.length; i++) {
      if (slots[i] != null) {
        map = map.assoc(STAGES[i].keyword, slots[i].definitions());
      }
    }
    return map;
  }
}
