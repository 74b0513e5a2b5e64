package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;

/**
 * The macros that hold at one moment of a conversation, by stage; immutable.
 *
 * <p>Like libmilter's table: a packet replaces the whole set of its stage, a command clears the
 * stages after its own, and a later stage hides an earlier one. Packets are decoded when somebody
 * asks.
 */
public final class MacroTable {
  /** No macros. */
  public static final MacroTable EMPTY = new MacroTable(new Macros[MacroStage.values().length]);

  private static final MacroStage[] STAGES = MacroStage.values();

  private final Macros[] slots;

  private MacroTable(Macros[] slots) {
    this.slots = slots;
  }

  /** The macros of a stage. */
  private static final class Macros {
    final Packet packet;
    private IPersistentMap definitions;

    Macros(Packet packet) {
      this.packet = packet;
    }

    IPersistentMap definitions() {
      if (definitions == null) {
        definitions = (IPersistentMap) EventCodec.decode(packet).valAt(Keys.DEFINITIONS);
      }
      return definitions;
    }
  }

  /** Returns the table after a macro packet; stages that keep no macros change nothing. */
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
    return new MacroTable(changed);
  }

  /** Returns the table after the command: the macros of later stages are gone. */
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
    for (int i = first.ordinal(); i < slots.length; i++) {
      if (slots[i] != null) {
        cleared = cleared == null ? slots.clone() : cleared;
        cleared[i] = null;
      }
    }
    return cleared == null ? this : new MacroTable(cleared);
  }

  /**
   * Returns the value of the macro at the latest stage that has it, or null: libmilter's {@code
   * smfi_getsymval}.
   *
   * @param name with or without braces
   */
  public String get(String name) {
    String bare = EventCodec.bareName(name);
    for (int i = slots.length - 1; i >= 0; i--) {
      if (slots[i] != null && slots[i].definitions().valAt(bare) instanceof String value) {
        return value;
      }
    }
    return null;
  }

  /** Returns the macros as a map of stage keyword to map of name to value. */
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
