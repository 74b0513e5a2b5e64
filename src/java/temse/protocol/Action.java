package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/**
 * What a milter has the MTA do: an immutable view of an action map. A response is any number of
 * {@link Modification}s, then one {@link Reply} at most.
 *
 * <pre>{@code
 * Step.next(state).respond(Action.addHeader("X-Seen", "yes"), Action.accept());
 * }</pre>
 *
 * <p>Each method that makes one throws a {@link MilterException} BAD_ACTION at once if it could not
 * be sent; only its size is checked later, when it is sent.
 */
public abstract sealed class Action extends MapView {
  private static final Reply CONTINUE = new Reply(ActionType.CONTINUE);
  private static final Reply ACCEPT = new Reply(ActionType.ACCEPT);
  private static final Reply REJECT = new Reply(ActionType.REJECT);
  private static final Reply TEMPORARY_FAILURE = new Reply(ActionType.TEMPORARY_FAILURE);
  private static final Reply DISCARD = new Reply(ActionType.DISCARD);
  private static final Reply SKIP = new Reply(ActionType.SKIP);
  private static final Reply SHUTDOWN = new Reply(ActionType.SHUTDOWN);

  private final ActionType type;

  private Action(ActionType type, IPersistentMap map) {
    super(Keys.ACTION, map);
    this.type = type;
  }

  /** Returns the type. */
  public ActionType type() {
    return type;
  }

  /** Settles an event. */
  public static final class Reply extends Action {
    private Reply(ActionType type) {
      super(type, ActionCodec.action(type));
    }

    private Reply(ActionType type, IPersistentMap map) {
      super(type, map);
    }

    /** Returns the plain reply of the same effect: see {@link ActionCodec#verdict}. */
    public ActionType verdict() {
      return ActionCodec.verdict(map());
    }

    /** Returns the code of a reply code, from 400 to 599. */
    public OptionalInt smtpCode() {
      return optionalNumber(Keys.SMTP_CODE);
    }

    /** Returns the enhanced status code of a reply code, such as {@code "5.7.1"}. */
    public Optional<String> enhancedCode() {
      return Optional.ofNullable(string(Keys.ENHANCED_CODE));
    }

    /** Returns the text of a reply code, its lines separated by LF. */
    public Optional<String> text() {
      return Optional.ofNullable(string(Keys.TEXT));
    }
  }

  /** Changes a message; possible at end of message only. */
  public abstract static sealed class Modification extends Action {
    private Modification(ActionType type, IPersistentMap map) {
      super(type, map);
    }
  }

  /** Adds a header field, at a position or below all others. */
  public static final class AddHeader extends Modification {
    private AddHeader(IPersistentMap map) {
      super(ActionType.ADD_HEADER, map);
    }

    /** Returns the name. */
    public String name() {
      return string(Keys.NAME);
    }

    /** Returns the value. */
    public String value() {
      return string(Keys.VALUE);
    }

    /** Returns the position among all fields, 0 being the top; empty below all others. */
    public OptionalInt position() {
      return optionalNumber(Keys.POSITION);
    }
  }

  /** Changes a header field, or deletes it. */
  public static final class ChangeHeader extends Modification {
    private ChangeHeader(IPersistentMap map) {
      super(ActionType.CHANGE_HEADER, map);
    }

    /** Returns the name. */
    public String name() {
      return string(Keys.NAME);
    }

    /** Returns which field of the name it is, from 1. */
    public int index() {
      return optionalNumber(Keys.INDEX).orElse(1);
    }

    /** Returns the new value, empty where the field is deleted. */
    public Optional<String> value() {
      return Optional.ofNullable(string(Keys.VALUE));
    }
  }

  /** Replaces the body. */
  public static final class ChangeBody extends Modification {
    private ChangeBody(IPersistentMap map) {
      super(ActionType.CHANGE_BODY, map);
    }

    /** Returns the body as it was given; in reports of the MTA's side a byte array. */
    public Object body() {
      return map().valAt(Keys.BODY);
    }
  }

  /** Adds or deletes a recipient, or replaces the sender: its type says which. */
  public static final class ChangeEnvelope extends Modification {
    private ChangeEnvelope(ActionType type, IPersistentMap map) {
      super(type, map);
    }

    /** Returns the address. */
    public String address() {
      return string(Keys.ADDRESS);
    }

    /** Returns the ESMTP parameters. */
    public List<String> parameters() {
      return map().valAt(Keys.PARAMETERS) instanceof String text
          ? EventCodec.words(text)
          : strings(Keys.PARAMETERS);
    }
  }

  /** Holds the message. */
  public static final class Quarantine extends Modification {
    private Quarantine(IPersistentMap map) {
      super(ActionType.QUARANTINE, map);
    }

    /** Returns why. */
    public String reason() {
      return string(Keys.REASON);
    }
  }

  OptionalInt optionalNumber(Keyword key) {
    return map().valAt(key) == null ? OptionalInt.empty() : OptionalInt.of(number(key));
  }

  /**
   * Returns the view of an action map.
   *
   * @throws MilterException BAD_ACTION if it could not be sent, or is progress, which is no part of
   *     a response
   */
  public static Action of(IPersistentMap map) {
    try {
      ActionCodec.check(map, Integer.MAX_VALUE);
      return view(ActionCodec.normalise(map));
    } catch (MilterException e) {
      throw e.inJava();
    }
  }

  /** Returns the view of a normalised action map that a codec has made. */
  public static Action view(IPersistentMap map) {
    ActionType type = ActionCodec.type(map);
    return switch (type) {
      case ADD_HEADER -> new AddHeader(map);
      case CHANGE_HEADER -> new ChangeHeader(map);
      case CHANGE_BODY -> new ChangeBody(map);
      case ADD_RECIPIENT, DELETE_RECIPIENT, CHANGE_SENDER -> new ChangeEnvelope(type, map);
      case QUARANTINE -> new Quarantine(map);
      case PROGRESS ->
          throw new MilterException(
              MilterException.Category.BAD_ACTION,
              "progress is no part of a response: see Connection.progress");
      default -> new Reply(type, map);
    };
  }

  /** How much a packet may hold is known after the negotiation only. */
  private static Modification modification(ActionType type, Object... keysAndValues) {
    return (Modification) of(ActionCodec.action(type, keysAndValues));
  }

  /** Go on: {@code SMFIS_CONTINUE}. */
  public static Reply proceed() {
    return CONTINUE;
  }

  /** Accept without further filtering: {@code SMFIS_ACCEPT}. */
  public static Reply accept() {
    return ACCEPT;
  }

  /** Refuse with the MTA's own text: {@code SMFIS_REJECT}. */
  public static Reply reject() {
    return REJECT;
  }

  /** Defer with the MTA's own text: {@code SMFIS_TEMPFAIL}. */
  public static Reply temporaryFailure() {
    return TEMPORARY_FAILURE;
  }

  /** Accept and throw away: {@code SMFIS_DISCARD}. */
  public static Reply discard() {
    return DISCARD;
  }

  /** No more events of this kind in this message: {@code SMFIS_SKIP}. */
  public static Reply skip() {
    return SKIP;
  }

  /** Refuse and end the SMTP connection: a 421 reply code. */
  public static Reply shutdown() {
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
  public static Reply replyCode(int smtpCode, @Nullable String enhancedCode, String text) {
    IPersistentMap action =
        ActionCodec.action(ActionType.REPLY_CODE, Keys.SMTP_CODE, (long) smtpCode, Keys.TEXT, text);
    return (Reply)
        of(enhancedCode == null ? action : action.assoc(Keys.ENHANCED_CODE, enhancedCode));
  }

  /** Add a header field: {@code smfi_addheader}. */
  public static Modification addHeader(String name, String value) {
    return modification(ActionType.ADD_HEADER, Keys.NAME, name, Keys.VALUE, value);
  }

  /** Insert a header field at a position among all fields, 0 being the top: smfi_insheader. */
  public static Modification insertHeader(int position, String name, String value) {
    return modification(
        ActionType.ADD_HEADER, Keys.NAME, name, Keys.VALUE, value, Keys.POSITION, (long) position);
  }

  /**
   * Change the index-th header field of the name, from 1: {@code smfi_chgheader}.
   *
   * @param value the new value; null or empty deletes the field
   */
  public static Modification changeHeader(String name, int index, @Nullable String value) {
    return modification(
        ActionType.CHANGE_HEADER, Keys.NAME, name, Keys.VALUE, value, Keys.INDEX, (long) index);
  }

  /** Delete the index-th header field of the name, from 1. */
  public static Modification deleteHeader(String name, int index) {
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
  public static Modification changeBody(Object body) {
    return modification(ActionType.CHANGE_BODY, Keys.BODY, body);
  }

  /** Add a recipient, with ESMTP parameters or without: {@code smfi_addrcpt_par}. */
  public static Modification addRecipient(String address, String... parameters) {
    return envelope(ActionType.ADD_RECIPIENT, address, parameters);
  }

  /** Delete a recipient, spelled as it came: {@code smfi_delrcpt}. */
  public static Modification deleteRecipient(String address) {
    return modification(ActionType.DELETE_RECIPIENT, Keys.ADDRESS, address);
  }

  /** Replace the envelope sender, and its ESMTP parameters if some are given: smfi_chgfrom. */
  public static Modification changeSender(String address, String... parameters) {
    return envelope(ActionType.CHANGE_SENDER, address, parameters);
  }

  /** Hold the message: {@code smfi_quarantine}. */
  public static Modification quarantine(String reason) {
    return modification(ActionType.QUARANTINE, Keys.REASON, reason);
  }

  private static Modification envelope(ActionType type, String address, String... parameters) {
    return parameters.length == 0
        ? modification(type, Keys.ADDRESS, address)
        : modification(
            type,
            Keys.ADDRESS,
            address,
            Keys.PARAMETERS,
            PersistentVector.create((Object[]) parameters));
  }
}
