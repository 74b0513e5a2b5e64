package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.List;
import temse.message.Mta;

/**
 * What an MTA makes of modifications of header fields, and what it shows of them to further
 * filters. The lists are not changed.
 */
public interface FieldRules {
  /**
   * {@return the rules of Postfix or Sendmail}
   *
   * @param mta which of the two
   */
  static FieldRules of(Mta mta) {
    return switch (mta) {
      case POSTFIX -> PostfixFields.OF_SEQUENCES;
      case SENDMAIL -> SendmailFields.RULES;
      case UNKNOWN -> throw new IllegalArgumentException("an MTA that is not known has no rules");
    };
  }

  /**
   * {@return the list that the MTA has of a message of which it has shown these to a filter}
   *
   * @param shown in order
   */
  List<Field> kept(List<Field> shown);

  /**
   * {@return those of a list that the MTA shows to the next filter}
   *
   * @param fields as the MTA has them
   */
  List<Field> shown(List<Field> fields);

  /**
   * {@return the list after a modification of a filter; others than those of header fields change
   * nothing}
   *
   * @param fields as the MTA has them
   * @param action a normalised modification
   * @param leadingSpace whether its values begin with what follows the colon
   */
  List<Field> edited(List<Field> fields, IPersistentMap action, boolean leadingSpace);

  /**
   * {@return what the modifications of one of several filters come to}
   *
   * @param fields as the MTA has them
   * @param actions normalised modifications in their order
   * @param leadingSpace whether their values begin with what follows the colon
   */
  PassedOn passOn(List<Field> fields, List<IPersistentMap> actions, boolean leadingSpace);

  /**
   * What the modifications of one of several filters come to.
   *
   * @param fields the list after them
   * @param actions what has to be done instead if one filter is to make all the modifications
   */
  record PassedOn(List<Field> fields, List<IPersistentMap> actions) {}
}
