package temse.client;

import clojure.lang.IPersistentMap;
import java.io.ByteArrayOutputStream;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import temse.protocol.Action;
import temse.protocol.MacroStage;
import temse.protocol.MtaDialogue;
import temse.protocol.Text;

/**
 * The habits of the two MTAs that milters meet, where the protocol leaves them free: the macros
 * that each sends at which stage, when it aborts, and how it leaves.
 */
public enum MtaStyle {
  /** Postfix 3.7: macros before every command, an abort after every message and before quitting. */
  POSTFIX(
      "Postfix",
      MtaDialogue.POSTFIX,
      Action.replyCode(451, "4.7.1", "Service unavailable - try again later").map(),
      Map.of(
          MacroStage.CONNECT,
          List.of("j", "{daemon_name}", "{daemon_addr}", "v", "_"),
          MacroStage.HELLO,
          List.of("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
          MacroStage.MAIL,
          List.of(
              "i",
              "{auth_type}",
              "{auth_authen}",
              "{auth_author}",
              "{mail_addr}",
              "{mail_host}",
              "{mail_mailer}"),
          MacroStage.RECIPIENT,
          List.of("i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
          MacroStage.DATA,
          List.of("i"),
          MacroStage.END_OF_HEADERS,
          List.of("i"),
          MacroStage.END_OF_MESSAGE,
          List.of("i"))),
  /** Sendmail 8.17: macros where there are some, an abort inside a message only. */
  SENDMAIL(
      "Sendmail",
      MtaDialogue.SENDMAIL,
      Action.replyCode(451, "4.3.2", "Please try again later").map(),
      Map.of(
          MacroStage.CONNECT,
          List.of("j", "_", "{daemon_name}", "{if_name}", "{if_addr}"),
          MacroStage.HELLO,
          List.of("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
          MacroStage.MAIL,
          List.of(
              "i",
              "{auth_type}",
              "{auth_authen}",
              "{auth_ssf}",
              "{auth_author}",
              "{mail_mailer}",
              "{mail_host}",
              "{mail_addr}"),
          MacroStage.RECIPIENT,
          List.of("{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}"),
          MacroStage.DATA,
          List.of(),
          MacroStage.END_OF_HEADERS,
          List.of(),
          MacroStage.END_OF_MESSAGE,
          List.of("{msg_id}")));

  private static final int POSTFIX_FIELD = 60_000;

  private static final Pattern LINE_END = Pattern.compile("\r++(?=\n|\\z)");
  private static final Pattern FROM_NUL = Pattern.compile("\0[^\n]*+");

  /** What a client of Sendmail gets that sends a CR which ends no line. */
  public static final IPersistentMap STRAY =
      Action.replyCode(421, "4.5.0", "Bare carriage return (CR) not allowed").map();

  /** What a client of Postfix gets where a milter's answer is a mistake of the operator to it. */
  static final IPersistentMap MISUSED =
      Action.replyCode(451, "4.3.5", "Server configuration problem - try again later").map();

  /** What a client of Postfix gets where a milter sends the reserved reply for it. */
  static final IPersistentMap SHUTDOWN =
      Action.replyCode(421, "4.7.0", "Server closing connection").map();

  /** The name of the MTA. */
  final String title;

  /** What it may send when its offer was answered. */
  final MtaDialogue dialogue;

  /** What its client gets where a milter has failed, as both MTAs are usually configured to do. */
  final IPersistentMap unavailable;

  /** The macros that the MTA sends at each stage unless the milter asks for others. */
  final Map<MacroStage, List<String>> macroNames;

  /**
   * {@return the macros that the MTA sends at each stage unless its configuration or the milter
   * says otherwise, as the MTA writes their names}
   */
  public Map<MacroStage, List<String>> macroNames() {
    return Collections.unmodifiableMap(macroNames);
  }

  /**
   * {@return what follows the colon of a header field as the MTA keeps it} Where there are milters
   * Postfix cuts a field at 60,000 octets: before the line that would go beyond them, if what stays
   * has more than 54,000, or else in that line.
   *
   * @param name of the field
   * @param raw what follows the colon, folds as LF and white space
   */
  public String kept(String name, String raw) {
    if (this == SENDMAIL || name.length() + 1 + raw.length() <= POSTFIX_FIELD / 4) {
      return raw;
    }
    byte[] field = Text.encodeBytes(name + ":" + raw);
    int line = 0;
    for (int i = 0; i <= field.length; i++) {
      if (i == field.length || field[i] == '\n') {
        if (i > POSTFIX_FIELD) {
          int end = line > POSTFIX_FIELD / 10 * 9 ? line - 1 : POSTFIX_FIELD;
          int start = Text.encodeBytes(name).length + 1;
          return Text.decode(field, Math.min(start, end), end);
        }
        line = i + 1;
      }
    }
    return raw;
  }

  /**
   * {@return what follows the colon of a client's header field as the MTA takes it in: Postfix ends
   * a line at a NUL, takes CR at its end away and others for spaces; Sendmail leaves out NULs}
   *
   * @param name of the field
   * @param raw what follows the colon
   */
  public String received(String name, String raw) {
    if (this == SENDMAIL) {
      return raw.indexOf('\0') < 0 ? raw : raw.replace("\0", "");
    }
    String text = raw.indexOf('\0') < 0 ? raw : FROM_NUL.matcher(raw).replaceAll("");
    return kept(
        name,
        text.indexOf('\r') < 0 ? text : LINE_END.matcher(text).replaceAll("").replace('\r', ' '));
  }

  /**
   * {@return a client's body as the MTA takes it in: Postfix treats CR as in the header}
   *
   * @param body in any bytes
   */
  public byte[] received(byte[] body) {
    if (this == SENDMAIL || !hasStrayCr(body)) {
      return body;
    }
    ByteArrayOutputStream result = new ByteArrayOutputStream(body.length);
    int strays = 0;
    for (byte b : body) {
      if (b == '\r') {
        strays++;
        continue;
      }
      for (; strays > 0; strays--) {
        result.write(b == '\n' ? '\r' : ' ');
        strays = b == '\n' ? 1 : strays;
      }
      result.write(b);
    }
    for (; strays > 0; strays--) {
      result.write(' ');
    }
    return result.toByteArray();
  }

  /**
   * Returns what the MTA itself answers to a mail that it does not take, or null: Sendmail hangs up
   * on clients that send a CR which ends no line.
   */
  IPersistentMap refusal(Mail mail) {
    return this == SENDMAIL
            && (hasStrayCr(mail.body())
                || mail.headers().stream().anyMatch(field -> field.raw().indexOf('\r') >= 0))
        ? STRAY
        : null;
  }

  /**
   * {@return true if the body holds a CR that no LF follows}
   *
   * @param body in any bytes
   */
  public static boolean hasStrayCr(byte[] body) {
    for (int i = 0; i < body.length; i++) {
      if (body[i] == '\r' && (i + 1 == body.length || body[i + 1] != '\n')) {
        return true;
      }
    }
    return false;
  }

  MtaStyle(
      String title,
      MtaDialogue dialogue,
      IPersistentMap unavailable,
      Map<MacroStage, List<String>> macroNames) {
    this.title = title;
    this.dialogue = dialogue;
    this.unavailable = unavailable;
    this.macroNames = new EnumMap<>(macroNames);
  }
}
