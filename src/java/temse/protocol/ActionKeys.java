package temse.protocol;

import clojure.lang.IMapEntry;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** The keys of each action, its aliases included: which it must have and which it may have. */
final class ActionKeys {
  private static final Map<Keyword, ActionKeys> TABLE = new LinkedHashMap<>();

  /** Those of {@link #TABLE} without the aliases, by the ordinals of their types. */
  private static final ActionKeys[] OF_TYPES = new ActionKeys[ActionType.values().length];

  /** What the value of a key must be. */
  private static final Map<Keyword, String> RIGHT =
      Map.ofEntries(
          Map.entry(Keys.SMTP_CODE, "a number from 400 to 599"),
          Map.entry(Keys.ENHANCED_CODE, "a string like \"5.7.1\""),
          Map.entry(Keys.TEXT, "a string"),
          Map.entry(Keys.NAME, "a string"),
          Map.entry(Keys.VALUE, "a string"),
          Map.entry(Keys.POSITION, "a number from 0 to " + Integer.MAX_VALUE),
          Map.entry(Keys.INDEX, "a number from 0 to " + Integer.MAX_VALUE),
          Map.entry(
              Keys.BODY,
              "a string, bytes, an InputStream, a File, a Path, a Supplier or function of no"
                  + " arguments that returns one, or a sequence of these"),
          Map.entry(Keys.ADDRESS, "a string"),
          Map.entry(Keys.PARAMETERS, "a string or a vector of strings"),
          Map.entry(Keys.REASON, "a string"));

  /** Names that other libraries, SMTP or the next action have for what a key means. */
  private static final Map<String, List<Keyword>> MEANT =
      Map.ofEntries(
          Map.entry("message", List.of(Keys.TEXT, Keys.REASON)),
          Map.entry("reason", List.of(Keys.TEXT)),
          Map.entry("comment", List.of(Keys.TEXT, Keys.REASON)),
          Map.entry("text", List.of(Keys.REASON, Keys.BODY, Keys.VALUE)),
          Map.entry("code", List.of(Keys.SMTP_CODE)),
          Map.entry("status", List.of(Keys.SMTP_CODE)),
          Map.entry("reply-code", List.of(Keys.SMTP_CODE)),
          Map.entry("enhanced-status", List.of(Keys.ENHANCED_CODE)),
          Map.entry("header", List.of(Keys.NAME)),
          Map.entry("field", List.of(Keys.NAME)),
          Map.entry("content", List.of(Keys.BODY, Keys.VALUE)),
          Map.entry("data", List.of(Keys.BODY, Keys.VALUE)),
          Map.entry("index", List.of(Keys.POSITION)),
          Map.entry("position", List.of(Keys.INDEX)),
          Map.entry("recipient", List.of(Keys.ADDRESS)),
          Map.entry("sender", List.of(Keys.ADDRESS)),
          Map.entry("from", List.of(Keys.ADDRESS)),
          Map.entry("to", List.of(Keys.ADDRESS)),
          Map.entry("options", List.of(Keys.PARAMETERS)),
          Map.entry("arguments", List.of(Keys.PARAMETERS)));

  static {
    List<Keyword> none = List.of();
    for (ActionType type : ActionType.values()) {
      define(type.keyword.getName(), none);
    }
    define("reply-code", List.of(Keys.SMTP_CODE), Keys.ENHANCED_CODE, Keys.TEXT);
    define("add-header", List.of(Keys.NAME, Keys.VALUE), Keys.POSITION);
    define("insert-header", List.of(Keys.NAME, Keys.VALUE), Keys.POSITION);
    define("change-header", List.of(Keys.NAME, Keys.VALUE), Keys.INDEX);
    define("delete-header", List.of(Keys.NAME), Keys.INDEX);
    define("change-body", List.of(Keys.BODY));
    define("replace-body", List.of(Keys.BODY));
    define("add-recipient", List.of(Keys.ADDRESS), Keys.PARAMETERS);
    define("delete-recipient", List.of(Keys.ADDRESS));
    define("change-sender", List.of(Keys.ADDRESS), Keys.PARAMETERS);
    define("quarantine", List.of(Keys.REASON));
    for (ActionType type : ActionType.values()) {
      OF_TYPES[type.ordinal()] = TABLE.get(type.keyword);
    }
  }

  private final List<Keyword> required;
  private final List<Keyword> optional;
  private final KnownKeys known;

  private ActionKeys(List<Keyword> required, List<Keyword> optional) {
    this.required = required;
    this.optional = optional;
    List<Keyword> all = new ArrayList<>(required);
    all.addAll(optional);
    all.add(Keys.ACTION);
    all.add(Keys.WHY);
    this.known = KnownKeys.of(all.toArray(new Keyword[0]));
  }

  private static void define(String name, List<Keyword> required, Keyword... optional) {
    TABLE.put(Keyword.intern(name), new ActionKeys(required, List.of(optional)));
  }

  /** {@return the names of all actions, aliases included} */
  static Iterable<Keyword> actions() {
    return TABLE.keySet();
  }

  /** {@return the keys of the action of this name; it must exist} */
  static ActionKeys of(Keyword name) {
    return TABLE.get(name);
  }

  /** {@return the keys that the action must have, besides {@code :action}} */
  List<Keyword> required() {
    return required;
  }

  /** {@return the keys that the action may have, besides {@code :why}} */
  List<Keyword> optional() {
    return optional;
  }

  /** {@return what the value of the key must be: "a string" for example} */
  static String right(Keyword key) {
    return RIGHT.get(key);
  }

  /**
   * Checks that there is the action, that it has no key of another and that none is missing.
   *
   * @throws MilterException BAD_ACTION, with the nearest right action or key
   */
  static void check(IPersistentMap action) {
    named(action).checkAll(action);
  }

  /** Checks a normalised action like {@link #check(IPersistentMap)}, its type being known. */
  static void check(ActionType type, IPersistentMap action) {
    OF_TYPES[type.ordinal()].checkAll(action);
  }

  private void checkAll(IPersistentMap action) {
    checkNoOther(action);
    for (Keyword key : required) {
      if (!action.containsKey(key)) {
        throw ActionFields.bad(action, missing(action, key));
      }
    }
  }

  /**
   * Checks that there is the action and that it has no key of another.
   *
   * @throws MilterException BAD_ACTION, with the nearest right action or key
   */
  static void checkKnown(IPersistentMap action) {
    named(action).checkNoOther(action);
  }

  private static ActionKeys named(IPersistentMap action) {
    ActionKeys keys = action.valAt(Keys.ACTION) instanceof Keyword name ? TABLE.get(name) : null;
    if (keys == null) {
      throw unknown(action);
    }
    return keys;
  }

  private void checkNoOther(IPersistentMap action) {
    for (Object entry : action) {
      Object key = ((IMapEntry) entry).key();
      if (!(key instanceof Keyword keyword && known.keys().contains(keyword))) {
        throw ActionFields.bad(action, problem(key, ((IMapEntry) entry).val()));
      }
    }
  }

  /** {@return the error of an action that does not exist} */
  static MilterException unknown(IPersistentMap action) {
    Object name = action.valAt(Keys.ACTION);
    String problem =
        action.containsKey(Keys.ACTION)
            ? "there is no action "
                + Shown.of(name)
                + KnownKeys.didYouMean(KnownKeys.closest(name, TABLE.keySet()))
            : "there is no action in a map without :action; one would be {:action :accept}";
    return new MilterException(
        MilterException.Category.BAD_ACTION, problem, Keys.ACTION, action, Keys.PROBLEM, problem);
  }

  private static String missing(IPersistentMap action, Keyword key) {
    boolean deletes =
        key == Keys.VALUE && action.valAt(Keys.ACTION) == ActionType.CHANGE_HEADER.keyword;
    return key
        + " must be "
        + right(key)
        + ", it is missing"
        + (deletes ? "; to delete the field write :value nil, or {:action :delete-header …}" : "");
  }

  private String problem(Object key, Object value) {
    StringBuilder problem = new StringBuilder("it has no key ").append(Shown.of(key));
    problem.append(", whose value here is ").append(Shown.of(value)).append(suggestion(key));
    String own =
        known.keys().stream()
            .filter(other -> other != Keys.ACTION && other != Keys.WHY)
            .map(Keyword::toString)
            .collect(Collectors.joining(" "));
    problem.append(own.isEmpty() ? "; it takes no keys" : "; its keys are " + own);
    return problem.toString();
  }

  private String suggestion(Object key) {
    if (key instanceof Keyword keyword) {
      for (Keyword meant : MEANT.getOrDefault(keyword.getName(), List.of())) {
        if (required.contains(meant) || optional.contains(meant)) {
          return KnownKeys.didYouMean(meant);
        }
      }
    }
    return known.suggestion(key);
  }
}
