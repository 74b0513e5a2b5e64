package temse.protocol;

import clojure.lang.Keyword;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Where macros belong: libmilter's {@code SMFIM_*}, in the order in which the stages of a message
 * come, which is also the order in which later values hide earlier ones.
 *
 * <p>The numbers of end-of-headers and end-of-message on the wire are swapped against that order.
 */
public enum MacroStage {
  /** {@code SMFIM_CONNECT}. */
  CONNECT(
      0, 'C', "connect", "j", "_", "v", "{daemon_name}", "{daemon_addr}", "{if_name}", "{if_addr}"),
  /** {@code SMFIM_HELO}. */
  HELLO(
      1,
      'H',
      "hello",
      "{tls_version}",
      "{cipher}",
      "{cipher_bits}",
      "{cert_subject}",
      "{cert_issuer}"),
  /** {@code SMFIM_ENVFROM}. */
  MAIL(
      2,
      'M',
      "mail",
      "i",
      "{auth_type}",
      "{auth_authen}",
      "{auth_ssf}",
      "{auth_author}",
      "{mail_mailer}",
      "{mail_host}",
      "{mail_addr}"),
  /** {@code SMFIM_ENVRCPT}. */
  RECIPIENT(3, 'R', "recipient", "i", "{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}"),
  /** {@code SMFIM_DATA}. */
  DATA(4, 'T', "data", "i"),
  /** {@code SMFIM_EOH}. */
  END_OF_HEADERS(6, 'N', "end-of-headers", "i"),
  /** {@code SMFIM_EOM}. */
  END_OF_MESSAGE(5, 'E', "end-of-message", "i", "{msg_id}");

  /** The number in macro lists of the negotiation. */
  public final int id;

  /** The letter in macro packets: the command byte of the stage's event. */
  public final byte letter;

  /** The name in maps of macros. */
  public final Keyword keyword;

  /**
   * The macros that MTAs send of themselves: the lists that Postfix and Sendmail are configured
   * with.
   */
  public final List<String> usual;

  MacroStage(int id, char letter, String name, String... usual) {
    this.id = id;
    this.letter = (byte) letter;
    this.keyword = Keyword.intern(name);
    this.usual = List.of(usual);
  }

  /**
   * {@return the stage of a macro packet's letter, or null for one that keeps no macros}
   *
   * @param letter the command that follows, such as {@code C} for connect
   */
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

  /**
   * {@return the stage of a number in a macro list, or null}
   *
   * @param id as in {@code smfi_setsymlist}, from 0
   */
  public static @Nullable MacroStage ofId(int id) {
    for (MacroStage stage : values()) {
      if (stage.id == id) {
        return stage;
      }
    }
    return null;
  }

  /**
   * {@return the stage whose keyword this is, or null}
   *
   * @param keyword such as {@code :connect}
   */
  public static @Nullable MacroStage ofKeyword(@Nullable Object keyword) {
    for (MacroStage stage : values()) {
      if (stage.keyword == keyword) {
        return stage;
      }
    }
    return null;
  }
}
