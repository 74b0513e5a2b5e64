package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.client.MtaStyle;
import temse.protocol.ActionType;
import temse.protocol.Keys;

/** What Postfix 3.7 makes of modifications of header fields. */
public final class PostfixFields implements FieldRules {
  static final PostfixFields OF_SEQUENCES = new PostfixFields(Field.made("Received", null));

  /** Postfix's own Received field. */
  private final Field own;

  /**
   * Makes the rules for a message whose Received field of Postfix is this one.
   *
   * @param own the Received field
   */
  public PostfixFields(Field own) {
    this.own = own;
  }

  @Override
  public List<Field> kept(List<Field> shown) {
    return Field.inserted(shown, 0, own);
  }

  /** {@return all but Postfix's own Received, wherever that stands} */
  @Override
  public List<Field> shown(List<Field> fields) {
    return fields.stream().filter(field -> !field.isMade()).toList();
  }

  @Override
  public List<Field> edited(List<Field> fields, IPersistentMap action, boolean leadingSpace) {
    ActionType type = ActionType.ofKeyword(action.valAt(Keys.ACTION));
    if (type != ActionType.ADD_HEADER && type != ActionType.CHANGE_HEADER) {
      return fields;
    }
    String name = (String) action.valAt(Keys.NAME);
    Field field = Field.given(name, cut(name, Field.raw(action, leadingSpace, "\t")));
    if (type == ActionType.CHANGE_HEADER) {
      return changed(fields, action, field);
    }
    Number position = (Number) action.valAt(Keys.POSITION);
    return position == null
        ? Field.with(fields, field)
        : Field.inserted(fields, position.longValue(), field);
  }

  private static @Nullable String cut(String name, @Nullable String raw) {
    return raw == null ? null : MtaStyle.POSTFIX.kept(name, raw);
  }

  private List<Field> changed(List<Field> fields, IPersistentMap action, Field field) {
    int place = place(fields, field.name(), Field.index(action));
    if (!Field.isEmpty(action)) {
      return place < 0 ? Field.with(fields, field) : Field.replaced(fields, place, field);
    }
    if (place < 0) {
      return fields;
    }
    List<Field> left = new ArrayList<>(fields);
    left.remove(place);
    return left;
  }

  /**
   * Returns the place of the index-th field of a name, or -1. The first that passes for Postfix's
   * own Received does not count.
   */
  private int place(List<Field> fields, String name, int index) {
    List<Integer> places = Field.places(fields, field -> field.isNamed(name));
    for (Integer place : places) {
      if (passesForOwn(fields.get(place))) {
        places.remove(place);
        break;
      }
    }
    return index < places.size() ? places.get(index) : -1;
  }

  /** What begins like Postfix's Received passes for it. */
  private boolean passesForOwn(Field field) {
    return firstLine(own).startsWith(firstLine(field));
  }

  private static String firstLine(Field field) {
    String text = field.name() + ":" + field.raw();
    int end = text.indexOf('\n');
    return end < 0 ? text : text.substring(0, end);
  }

  /** Postfix makes no difference between one filter and several. */
  @Override
  public PassedOn passOn(List<Field> fields, List<IPersistentMap> actions, boolean leadingSpace) {
    List<Field> after = fields;
    for (IPersistentMap action : actions) {
      after = edited(after, action, leadingSpace);
    }
    return new PassedOn(after, actions);
  }
}
