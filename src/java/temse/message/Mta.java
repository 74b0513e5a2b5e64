package temse.message;

import temse.protocol.MacroTable;

/** Which MTA has sent a message, as far as its macros say. */
public enum Mta {
  /** Postfix, whose macro {@code v} begins so. */
  POSTFIX,
  /** Sendmail, which sends a macro of its network interface, or a {@code v} of another MTA. */
  SENDMAIL,
  /** An MTA that sends none of these macros; what is done for it is right with either. */
  UNKNOWN;

  /**
   * {@return which MTA has sent these macros}
   *
   * @param macros that hold at an event
   */
  public static Mta of(MacroTable macros) {
    String version = macros.get("v");
    if (version != null) {
      return version.startsWith("Postfix") ? POSTFIX : SENDMAIL;
    }
    return macros.get("if_addr") != null || macros.get("if_name") != null ? SENDMAIL : UNKNOWN;
  }
}
