package temse.protocol;

import clojure.lang.Keyword;
import org.jspecify.annotations.Nullable;

/**
 * Where macros belong: libmilter's {@code SMFIM_*}, in the order in which the stages of a message
 * come, which is also the order in which later values hide earlier ones.
 *
 * <p>The numbers of end-of-headers and end-of-message on the wire are swapped against that order.
 */
public enum MacroStage {
  /** {@code SMFIM_CONNECT}. */
  CONNECT(0, 'C', "connect"),
  /** {@code SMFIM_HELO}. */
  HELLO(1, 'H', "hello"),
  /** {@code SMFIM_ENVFROM}. */
  MAIL(2, 'M', "mail"),
  /** {@code SMFIM_ENVRCPT}. */
  RECIPIENT(3, 'R', "recipient"),
  /** {@code SMFIM_DATA}. */
  DATA(4, 'T', "data"),
  /** {@code SMFIM_EOH}. */
  END_OF_HEADERS(6, 'N', "end-of-headers"),
  /** {@code SMFIM_EOM}. */
  END_OF_MESSAGE(5, 'E', "end-of-message");

  /** The number in macro lists of the negotiation. */
  public final int id;

  /** The letter in macro packets: the command byte of the stage's event. */
  public final byte letter;

  /** The name in maps of macros. */
  public final Keyword keyword;

  MacroStage(int id, char letter, String name) {
    this.id = id;
    this.letter = (byte) letter;
    this.keyword = Keyword.intern(name);
  }

  /** Returns the stage of a macro packet's letter, or null for one that keeps no macros. */
  public static @Nullable MacroStage ofLetter(byte letter) {
    return switch (letter) {
      case 'C' -> CONNECT;
      case 'H' -> HELLO;
      case 'M' -> MAIL;
      case 'R' -> RECIPIENT;
      case 'T' -> DATA;
      case 'N' -> END_OF_HEADERS;
      case 'E' -> END_OF_MESSAGE;
      default -> null;
    };
  }

  /** Returns the stage of a number in a macro list, or null. */
  public static @Nullable MacroStage ofId(int id) {
    for (MacroStage stage : values()) {
      if (stage.id == id) {
        return stage;
      }
    }
    return null;
  }

  /** Returns the stage whose keyword this is, or null. */
  public static @Nullable MacroStage ofKeyword(@Nullable Object keyword) {
    for (MacroStage stage : values()) {
      if (stage.keyword == keyword) {
        return stage;
      }
    }
    return null;
  }
}
