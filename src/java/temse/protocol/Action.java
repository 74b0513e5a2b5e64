package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import java.util.ArrayList;
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
  /** The replies that consist of nothing but their types, by the ordinals of these. */
  private static final Reply[] PLAIN = new Reply[ActionType.values().length];

  static {
    for (ActionType type : ActionType.values()) {
      if (type.kind == ActionType.Kind.REPLY) {
        PLAIN[type.ordinal()] = new Reply(type, ActionCodec.action(type));
      }
    }
  }

  private final ActionType type;

  private Action(ActionType type, IPersistentMap map) {
    super(Keys.ACTION, map);
    this.type = type;
  }

  /** {@return the type} */
  public ActionType type() {
    return type;
  }

  /**
   * {@return the action with a reason, which is never sent: it is for logs and exchanges}
   *
   * <pre>{@code
   * Action.reject().because("no record")
   * }</pre>
   *
   * @param reason one line
   */
  public Action because(String reason) {
    return view(map().assoc(Keys.WHY, reason));
  }

  /**
   * {@return the reason as logs write it; with the name of the filter if it is one of several:
   * {@code spf: no record}}
   */
  public Optional<String> why() {
    return Optional.ofNullable(map().valAt(Keys.WHY)).map(Why::text);
  }

  /** Settles an event. */
  public static final class Reply extends Action {
    private Reply(ActionType type, IPersistentMap map) {
      super(type, map);
    }

    @Override
    public Reply because(String reason) {
      return (Reply) super.because(reason);
    }

    /** {@return the plain reply of the same effect: see {@link ActionCodec#verdict}} */
    public ActionType verdict() {
      return ActionCodec.verdict(type(), map());
    }

    /** {@return the code of a reply code, from 400 to 599} */
    public OptionalInt smtpCode() {
      return optionalNumber(Keys.SMTP_CODE);
    }

    /** {@return the enhanced status code of a reply code, such as {@code "5.7.1"}} */
    public Optional<String> enhancedCode() {
      return Optional.ofNullable(string(Keys.ENHANCED_CODE));
    }

    /** {@return the text of a reply code, its lines separated by LF} */
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

    /** {@return the name} */
    public String name() {
      return string(Keys.NAME);
    }

    /** {@return the value} */
    public String value() {
      return string(Keys.VALUE);
    }

    /** {@return the position among all fields, 0 being the top; empty below all others} */
    public OptionalInt position() {
      return optionalNumber(Keys.POSITION);
    }
  }

  /** Changes a header field, or deletes it. */
  public static final class ChangeHeader extends Modification {
    private ChangeHeader(IPersistentMap map) {
      super(ActionType.CHANGE_HEADER, map);
    }

    /** {@return the name} */
    public String name() {
      return string(Keys.NAME);
    }

    /** {@return which field of the name it is, from 1} */
    public int index() {
      return optionalNumber(Keys.INDEX).orElse(1);
    }

    /** {@return the new value, empty where the field is deleted} */
    public Optional<String> value() {
      return Optional.ofNullable(string(Keys.VALUE));
    }
  }

  /** Replaces the body. */
  public static final class ChangeBody extends Modification {
    private ChangeBody(IPersistentMap map) {
      super(ActionType.CHANGE_BODY, map);
    }

    /** {@return the body as it was given; in reports of the MTA's side a byte array} */
    public Object body() {
      return map().valAt(Keys.BODY);
    }
  }

  /** Adds or deletes a recipient, or replaces the sender: its type says which. */
  public static final class ChangeEnvelope extends Modification {
    private ChangeEnvelope(ActionType type, IPersistentMap map) {
      super(type, map);
    }

    /** {@return the address} */
    public String address() {
      return string(Keys.ADDRESS);
    }

    /** {@return the ESMTP parameters} */
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

    /** {@return why} */
    public String reason() {
      return string(Keys.REASON);
    }
  }

  OptionalInt optionalNumber(Keyword key) {
    return map().valAt(key) == null ? OptionalInt.empty() : OptionalInt.of(number(key));
  }

  /**
   * {@return the view of an action map}
   *
   * @param map as in {@code doc/spec.org}
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

  /**
   * {@return the view of a normalised action map that a codec has made}
   *
   * @param map with the keys and types that the codec makes
   */
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
              "progress is no part of a response: see MilterConnection.progress");
      default -> map.count() == 1 ? PLAIN[type.ordinal()] : new Reply(type, map);
    };
  }

  /**
   * {@return the maps of the actions, or null for null}
   *
   * @param actions of one response, or null
   */
  public static @Nullable List<IPersistentMap> maps(@Nullable List<? extends Action> actions) {
    if (actions == null || actions.isEmpty()) {
      return actions == null ? null : List.of();
    }
    List<IPersistentMap> maps = new ArrayList<>(actions.size());
    for (Action action : actions) {
      maps.add(action.map());
    }
    return maps;
  }

  /** How much a packet may hold is known after the negotiation only. */
  private static Modification modification(ActionType type, Object... keysAndValues) {
    return (Modification) of(ActionCodec.action(type, keysAndValues));
  }

  /** {@return the reply to go on: {@code SMFIS_CONTINUE}} */
  public static Reply proceed() {
    return PLAIN[ActionType.CONTINUE.ordinal()];
  }

  /** {@return the reply to accept without further filtering: {@code SMFIS_ACCEPT}} */
  public static Reply accept() {
    return PLAIN[ActionType.ACCEPT.ordinal()];
  }

  /** {@return the reply to refuse with the MTA's own text: {@code SMFIS_REJECT}} */
  public static Reply reject() {
    return PLAIN[ActionType.REJECT.ordinal()];
  }

  /** {@return the reply to defer with the MTA's own text: {@code SMFIS_TEMPFAIL}} */
  public static Reply temporaryFailure() {
    return PLAIN[ActionType.TEMPORARY_FAILURE.ordinal()];
  }

  /** {@return the reply to accept and throw away: {@code SMFIS_DISCARD}} */
  public static Reply discard() {
    return PLAIN[ActionType.DISCARD.ordinal()];
  }

  /** {@return the reply to send no more events of this kind in this message: {@code SMFIS_SKIP}} */
  public static Reply skip() {
    return PLAIN[ActionType.SKIP.ordinal()];
  }

  /** {@return the reply to refuse and end the SMTP connection: a 421 reply code} */
  public static Reply shutdown() {
    return PLAIN[ActionType.SHUTDOWN.ordinal()];
  }

  /**
   * {@return the reply to refuse (5xx) or defer (4xx) with a text of one's own: {@code
   * smfi_setreply}} At connect Sendmail replaces the text by one of its own.
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

  /**
   * {@return the addition of a header field: {@code smfi_addheader}}
   *
   * @param name of the field, without the colon
   * @param value of the field; lines are separated by LF
   */
  public static Modification addHeader(String name, String value) {
    return modification(ActionType.ADD_HEADER, Keys.NAME, name, Keys.VALUE, value);
  }

  /**
   * {@return the insertion of a header field: {@code smfi_insheader}}
   *
   * @param position among all fields, 0 being the top
   * @param name of the field, without the colon
   * @param value of the field; lines are separated by LF
   */
  public static Modification insertHeader(int position, String name, String value) {
    return modification(
        ActionType.ADD_HEADER, Keys.NAME, name, Keys.VALUE, value, Keys.POSITION, (long) position);
  }

  /**
   * {@return the change of a header field: {@code smfi_chgheader}}
   *
   * @param name of the field, without the colon
   * @param index 1 for the first field of this name
   * @param value the new value; null or empty deletes the field
   */
  public static Modification changeHeader(String name, int index, @Nullable String value) {
    return modification(
        ActionType.CHANGE_HEADER, Keys.NAME, name, Keys.VALUE, value, Keys.INDEX, (long) index);
  }

  /**
   * {@return the deletion of a header field}
   *
   * @param name of the field, without the colon
   * @param index 1 for the first field of this name
   */
  public static Modification deleteHeader(String name, int index) {
    return changeHeader(name, index, null);
  }

  /**
   * {@return the replacement of the body: {@code smfi_replacebody}}
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

  /**
   * {@return the addition of a recipient: {@code smfi_addrcpt_par}}
   *
   * @param address with angle brackets
   * @param parameters of ESMTP, such as {@code NOTIFY=NEVER}
   */
  public static Modification addRecipient(String address, String... parameters) {
    return envelope(ActionType.ADD_RECIPIENT, address, parameters);
  }

  /**
   * {@return the deletion of a recipient: {@code smfi_delrcpt}}
   *
   * @param address spelled as it came
   */
  public static Modification deleteRecipient(String address) {
    return modification(ActionType.DELETE_RECIPIENT, Keys.ADDRESS, address);
  }

  /**
   * {@return the replacement of the envelope sender: {@code smfi_chgfrom}}
   *
   * @param address with angle brackets
   * @param parameters of ESMTP, such as {@code RET=HDRS}; none leaves those of the message
   */
  public static Modification changeSender(String address, String... parameters) {
    return envelope(ActionType.CHANGE_SENDER, address, parameters);
  }

  /**
   * {@return the order to hold the message: {@code smfi_quarantine}}
   *
   * @param reason for the postmaster, one line
   */
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
