package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentVector;
import java.util.List;

/**
 * Constructors of action maps, for Java. Each throws a {@link MilterException} BAD_ACTION at once
 * if the action could not be sent; only its size is checked later, when it is sent.
 *
 * <pre>{@code
 * List.of(Actions.addHeader("X-Seen", "yes"), Actions.accept());
 * }</pre>
 */
public final class Actions {
  private static final IPersistentMap CONTINUE = ActionCodec.action(ActionType.CONTINUE);
  private static final IPersistentMap ACCEPT = ActionCodec.action(ActionType.ACCEPT);
  private static final IPersistentMap REJECT = ActionCodec.action(ActionType.REJECT);
  private static final IPersistentMap TEMPORARY_FAILURE =
      ActionCodec.action(ActionType.TEMPORARY_FAILURE);
  private static final IPersistentMap DISCARD = ActionCodec.action(ActionType.DISCARD);
  private static final IPersistentMap SKIP = ActionCodec.action(ActionType.SKIP);
  private static final IPersistentMap SHUTDOWN = ActionCodec.action(ActionType.SHUTDOWN);

  private Actions() {}

  /** Go on: {@code SMFIS_CONTINUE}. */
  public static IPersistentMap proceed() {
    return CONTINUE;
  }

  /** Accept without further filtering: {@code SMFIS_ACCEPT}. */
  public static IPersistentMap accept() {
    return ACCEPT;
  }

  /** Refuse with the MTA's own text: {@code SMFIS_REJECT}. */
  public static IPersistentMap reject() {
    return REJECT;
  }

  /** Defer with the MTA's own text: {@code SMFIS_TEMPFAIL}. */
  public static IPersistentMap temporaryFailure() {
    return TEMPORARY_FAILURE;
  }

  /** Accept and throw away: {@code SMFIS_DISCARD}. */
  public static IPersistentMap discard() {
    return DISCARD;
  }

  /** No more events of this kind in this message: {@code SMFIS_SKIP}. */
  public static IPersistentMap skip() {
    return SKIP;
  }

  /** Refuse and end the SMTP connection: a 421 reply code. */
  public static IPersistentMap shutdown() {
    return SHUTDOWN;
  }

  /**
   * Refuse (5xx) or defer (4xx) with a text of one's own: {@code smfi_setreply}. At connect
   * Sendmail replaces the text by one of its own.
   *
   * @param smtpCode 400 to 599
   * @param enhancedCode like {@code "5.7.1"} and of the same class, or null
   * @param text one line, or several separated by {@code \n}; a {@code %} needs no doubling
   */
  public static IPersistentMap replyCode(int smtpCode, String enhancedCode, String text) {
    IPersistentMap action =
        ActionCodec.action(ActionType.REPLY_CODE, Keys.SMTP_CODE, (long) smtpCode, Keys.TEXT, text);
    return checked(enhancedCode == null ? action : action.assoc(Keys.ENHANCED_CODE, enhancedCode));
  }

  /** Add a header field: {@code smfi_addheader}. */
  public static IPersistentMap addHeader(String name, String value) {
    return checked(ActionCodec.action(ActionType.ADD_HEADER, Keys.NAME, name, Keys.VALUE, value));
  }

  /** Insert a header field at a position among all fields, 0 being the top: smfi_insheader. */
  public static IPersistentMap insertHeader(int position, String name, String value) {
    return checked(addHeader(name, value).assoc(Keys.POSITION, (long) position));
  }

  /**
   * Change the index-th header field of the name, from 1: {@code smfi_chgheader}.
   *
   * @param value the new value; null or empty deletes the field
   */
  public static IPersistentMap changeHeader(String name, int index, String value) {
    return checked(
        ActionCodec.action(
            ActionType.CHANGE_HEADER,
            Keys.NAME,
            name,
            Keys.VALUE,
            value,
            Keys.INDEX,
            (long) index));
  }

  /** Delete the index-th header field of the name, from 1. */
  public static IPersistentMap deleteHeader(String name, int index) {
    return changeHeader(name, index, null);
  }

  /**
   * Replace the body: {@code smfi_replacebody}.
   *
   * <p>The body is read while it is sent, in pieces. An InputStream is read once and closed; the
   * others may be used in further actions.
   *
   * @param body a String, byte[], InputStream, File, Path, a Supplier of one, or an Iterable of
   *     these; line ends are CR LF
   */
  public static IPersistentMap changeBody(Object body) {
    return checked(ActionCodec.action(ActionType.CHANGE_BODY, Keys.BODY, body));
  }

  /** Add a recipient: {@code smfi_addrcpt}. */
  public static IPersistentMap addRecipient(String address) {
    return checked(ActionCodec.action(ActionType.ADD_RECIPIENT, Keys.ADDRESS, address));
  }

  /** Add a recipient with ESMTP parameters: {@code smfi_addrcpt_par}. */
  public static IPersistentMap addRecipient(String address, List<String> parameters) {
    return withParameters(addRecipient(address), parameters);
  }

  /** Delete a recipient, spelled as it came: {@code smfi_delrcpt}. */
  public static IPersistentMap deleteRecipient(String address) {
    return checked(ActionCodec.action(ActionType.DELETE_RECIPIENT, Keys.ADDRESS, address));
  }

  /** Replace the envelope sender: {@code smfi_chgfrom}. */
  public static IPersistentMap changeSender(String address) {
    return checked(ActionCodec.action(ActionType.CHANGE_SENDER, Keys.ADDRESS, address));
  }

  /** Replace the envelope sender and its ESMTP parameters: {@code smfi_chgfrom}. */
  public static IPersistentMap changeSender(String address, List<String> parameters) {
    return withParameters(changeSender(address), parameters);
  }

  /** Hold the message: {@code smfi_quarantine}. */
  public static IPersistentMap quarantine(String reason) {
    return checked(ActionCodec.action(ActionType.QUARANTINE, Keys.REASON, reason));
  }

  private static IPersistentMap withParameters(IPersistentMap action, List<String> parameters) {
    return checked(
        action.assoc(
            Keys.PARAMETERS,
            parameters == null ? null : PersistentVector.create((Iterable<?>) parameters)));
  }

  /** How much a packet may hold is known after the negotiation only. */
  private static IPersistentMap checked(IPersistentMap action) {
    ActionCodec.check(action, Integer.MAX_VALUE);
    return action;
  }
}
