package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import temse.protocol.ActionType;
import temse.protocol.Keys;

/**
 * What Sendmail 8.17 makes of modifications of header fields.
 *
 * <p>Sendmail keeps a list of fields that begins with those it may make itself. A field of the
 * client empties the one that Sendmail would have made; what has no value is not written, yet it
 * counts in positions, and a filter that adds a field of that name fills it again.
 */
public final class SendmailFields implements FieldRules {
  /** The rules. */
  public static final SendmailFields RULES = new SendmailFields();

  /** Names of fields that pile up. */
  private static final Set<String> TRACE = Set.of("received", "x400-received", "via", "mail-from");

  private static final Set<String> NEVER_REPLACED =
      Set.of("comments", "return-path", "x-authentication-warning");

  /** Names of the fields that Sendmail makes. */
  public static final List<String> MADE =
      List.of(
          "Return-Path",
          "Received",
          "Resent-Date",
          "Date",
          "Resent-From",
          "From",
          "Full-Name",
          "Resent-Message-Id",
          "Message-Id");

  private static final Pattern SPECIAL = Pattern.compile("[@,;:\\[\\].']");

  private SendmailFields() {}

  private static boolean isOf(Set<String> names, Field field) {
    return names.contains(field.name().toLowerCase(Locale.ROOT));
  }

  // ---- what it receives

  /**
   * {@return the list after the fields of the client}
   *
   * @param values those of the fields that Sendmail makes, by name
   * @param fields of the client, in order
   */
  public List<Field> received(Map<String, String> values, List<Field> fields) {
    Map<String, String> named = withFullName(values, fields);
    List<Field> list = new ArrayList<>();
    MADE.forEach(name -> list.add(Field.made(name, named.get(name))));
    fields.forEach(field -> receive(list, field));
    return list;
  }

  /** The full name that the client gives stands in the fields that Sendmail makes. */
  private static Map<String, String> withFullName(Map<String, String> values, List<Field> fields) {
    for (Field field : fields) {
      if (field.isNamed("full-name") && !field.raw().strip().isEmpty()) {
        String fullName = field.raw().strip();
        String written = SPECIAL.matcher(fullName).find() ? "\"" + fullName + "\"" : fullName;
        Map<String, String> named = new HashMap<>(values);
        for (String from : List.of("From", "Resent-From")) {
          String address = values.get(from);
          named.put(from, written + " <" + (address == null ? "" : address) + ">");
        }
        return named;
      }
    }
    return values;
  }

  private static void receive(List<Field> list, Field field) {
    Predicate<Field> madeHere =
        made ->
            made.isMade()
                && made.isNamed(field.name())
                && !isOf(TRACE, made)
                && !isOf(NEVER_REPLACED, made);
    boolean blank = field.raw().isBlank();
    if (list.stream().anyMatch(madeHere)) {
      if (blank) {
        return;
      }
      list.replaceAll(made -> madeHere.test(made) ? made.withRaw(null) : made);
    }
    list.add(field);
  }

  @Override
  public List<Field> kept(List<Field> shown) {
    List<Field> list = received(Map.of(), List.of());
    for (Field field : shown) {
      receive(list, field.raw().isBlank() ? field.withRaw("-") : field);
      list.set(list.size() - 1, field);
    }
    return list;
  }

  @Override
  public List<Field> shown(List<Field> fields) {
    return fields.stream().filter(field -> field.raw() != null && !field.isMade()).toList();
  }

  // ---- one filter

  @Override
  public List<Field> edited(List<Field> fields, IPersistentMap action, boolean leadingSpace) {
    String raw = Field.raw(action, leadingSpace, " ");
    ActionType type = ActionType.ofKeyword(action.valAt(Keys.ACTION));
    if (type == ActionType.CHANGE_HEADER) {
      return changed(fields, action, raw);
    }
    if (type != ActionType.ADD_HEADER) {
      return fields;
    }
    Field field = Field.given((String) action.valAt(Keys.NAME), raw);
    Number position = (Number) action.valAt(Keys.POSITION);
    return position == null
        ? added(fields, field)
        : Field.inserted(fields, position.longValue() + 1, field);
  }

  /** {@return true for what Sendmail has made, or would have made, under a name} */
  private static Predicate<Field> replaceable(String name) {
    return field -> field.isMade() && field.isNamed(name) && !isOf(TRACE, field);
  }

  private static List<Field> added(List<Field> fields, Field field) {
    int place = Field.firstPlace(fields, replaceable(field.name()));
    return place < 0 ? addedBeforeNamesake(fields, field) : filled(fields, place, field.raw());
  }

  private static List<Field> addedBeforeNamesake(List<Field> fields, Field field) {
    int place = Field.firstPlace(fields, other -> other.isNamed(field.name()));
    return Field.inserted(fields, place < 0 ? fields.size() : place, field);
  }

  private static List<Field> filled(List<Field> fields, int place, @Nullable String raw) {
    return Field.replaced(fields, place, Field.given(fields.get(place).name(), raw));
  }

  private static List<Field> emptied(List<Field> fields, int place) {
    return Field.replaced(fields, place, fields.get(place).withRaw(null));
  }

  private static List<Field> changed(
      List<Field> fields, IPersistentMap action, @Nullable String raw) {
    String name = (String) action.valAt(Keys.NAME);
    int place = place(fields, givenAs(name), Field.index(action), replaceable(name));
    if (Field.isEmpty(action)) {
      return place < 0 ? fields : emptied(fields, place);
    }
    return place < 0
        ? addedBeforeNamesake(fields, Field.given(name, raw))
        : filled(fields, place, raw);
  }

  /** {@return true for what counts among the fields of a name, also without a value} */
  private static Predicate<Field> givenAs(String name) {
    return field -> field.isNamed(name) && !field.isMade();
  }

  /** {@return the index-th place of fields that count, or the last other one, or -1} */
  private static int place(
      List<Field> fields, Predicate<Field> counts, int index, Predicate<Field> other) {
    List<Integer> places = Field.places(fields, counts);
    return index < places.size() ? places.get(index) : Field.lastPlace(fields, other);
  }

  // ---- several filters

  /**
   * Within one filter's modifications a field that was deleted counts, and keeps its place; for the
   * next filter it does not, and its place is free for another of its name.
   */
  @Override
  public PassedOn passOn(List<Field> fields, List<IPersistentMap> actions, boolean leadingSpace) {
    List<Field> begun = new ArrayList<>(fields);
    begun.replaceAll(
        field ->
            field.kind() == Field.Kind.GIVEN && field.raw() == null
                ? field.withKind(Field.Kind.GONE)
                : field);
    PassedOn state = new PassedOn(begun, List.of());
    for (IPersistentMap action : actions) {
      String raw = Field.raw(action, leadingSpace, " ");
      ActionType type = ActionType.ofKeyword(action.valAt(Keys.ACTION));
      state =
          switch (type) {
            case ADD_HEADER ->
                action.valAt(Keys.POSITION) == null
                    ? addition(state, action, raw)
                    : insertion(state, action, raw);
            case CHANGE_HEADER -> change(state, action, raw);
            default -> after(state, state.fields(), action);
          };
    }
    return state;
  }

  private static PassedOn after(PassedOn before, List<Field> fields, IPersistentMap action) {
    List<IPersistentMap> actions = new ArrayList<>(before.actions());
    actions.add(action);
    return new PassedOn(fields, actions);
  }

  /**
   * Returns true for a place that a field of a name takes instead of one of its own: Sendmail's, or
   * one that an earlier filter has deleted.
   */
  private static Predicate<Field> free(String name) {
    return field ->
        field.isNamed(name)
            && (field.isMade() || field.kind() == Field.Kind.GONE)
            && !isOf(TRACE, field);
  }

  /** {@return what the field at a place is called by where deleted fields count, too} */
  private static long indexAt(List<Field> fields, int place, String name) {
    return Field.places(fields.subList(0, place + 1), givenAs(name)).size();
  }

  /**
   * A field without a value cannot take a free place by a change, which would delete it: it is
   * inserted, and the list has a surplus place then.
   */
  private static PassedOn addition(PassedOn state, IPersistentMap action, @Nullable String raw) {
    List<Field> fields = state.fields();
    String name = (String) action.valAt(Keys.NAME);
    int place = Field.firstPlace(fields, free(name));
    if (place < 0 || fields.get(place).kind() != Field.Kind.GONE) {
      return after(state, added(fields, Field.given(name, raw)), action);
    }
    if (!Field.isEmpty(action)) {
      return after(
          state,
          filled(fields, place, raw),
          action
              .assoc(Keys.ACTION, ActionType.CHANGE_HEADER.keyword)
              .assoc(Keys.INDEX, indexAt(fields, place, name)));
    }
    Field gone = fields.get(place);
    List<Field> surplus = Field.replaced(fields, place, gone.withKind(Field.Kind.SURPLUS));
    return after(
        state,
        Field.inserted(surplus, place, Field.given(gone.name(), raw)),
        action.assoc(Keys.NAME, gone.name()).assoc(Keys.POSITION, place - 1L));
  }

  private static PassedOn insertion(PassedOn state, IPersistentMap action, @Nullable String raw) {
    List<Field> fields = state.fields();
    List<Integer> places = Field.places(fields, field -> field.kind() != Field.Kind.SURPLUS);
    long position = ((Number) action.valAt(Keys.POSITION)).longValue();
    int place = position + 1 < places.size() ? places.get((int) position + 1) : fields.size();
    boolean surplus = places.size() < fields.size();
    return after(
        state,
        Field.inserted(fields, place, Field.given((String) action.valAt(Keys.NAME), raw)),
        surplus ? action.assoc(Keys.POSITION, place - 1L) : action);
  }

  private static PassedOn change(PassedOn state, IPersistentMap action, @Nullable String raw) {
    List<Field> fields = state.fields();
    String name = (String) action.valAt(Keys.NAME);
    boolean deletes = Field.isEmpty(action);
    Predicate<Field> seen = field -> field.isNamed(name) && field.kind() == Field.Kind.GIVEN;
    int place = place(fields, seen, Field.index(action), free(name));
    if (deletes && (place < 0 || fields.get(place).kind() == Field.Kind.GONE)) {
      return state;
    }
    boolean own = place >= 0 && !fields.get(place).isMade();
    long behindAll = Field.places(fields, givenAs(name)).size() + 1L;
    IPersistentMap to = action.assoc(Keys.INDEX, own ? indexAt(fields, place, name) : behindAll);
    if (place < 0) {
      return after(state, addedBeforeNamesake(fields, Field.given(name, raw)), to);
    }
    return after(state, deletes ? emptied(fields, place) : filled(fields, place, raw), to);
  }
}
