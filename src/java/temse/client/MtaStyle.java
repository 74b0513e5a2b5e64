package temse.client;

import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import temse.protocol.MacroStage;

/** The habits of the two MTAs that milters meet, where the protocol leaves them free. */
public enum MtaStyle {
  /** Postfix 3.7: macros before every command, an abort after every message and before quitting. */
  POSTFIX(
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

  /** The macros that the MTA sends at each stage unless the milter asks for others. */
  final Map<MacroStage, List<String>> macroNames;

  MtaStyle(Map<MacroStage, List<String>> macroNames) {
    this.macroNames = new EnumMap<>(macroNames);
  }
}
