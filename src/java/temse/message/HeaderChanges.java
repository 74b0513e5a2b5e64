package temse.message;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import temse.protocol.Action;
import temse.protocol.Agreement;
import temse.protocol.MilterException;
import temse.protocol.ProtocolFlag;
import temse.protocol.Text;

/**
 * The actions that make one header of another.
 *
 * <p>New fields come first, from the bottom to the top: so no position depends on what was inserted
 * before it, nor on what will be deleted. Then fields are changed and deleted, from the bottom to
 * the top, too: Postfix counts the fields of a name again after each deletion and Sendmail does
 * not, but what is above a field counts the same for both.
 */
final class HeaderChanges {
  /** A position behind all fields. */
  private static final int END = Integer.MAX_VALUE;

  /** Where fields begin in Postfix's list: behind its own Received. */
  private static final int POSTFIX_FIRST = 1;

  /**
   * Where fields begin in Sendmail's list: behind the nine that it may make itself, of which the
   * first does not count as a position.
   */
  private static final int SENDMAIL_FIRST = 8;

  private static final int POSTFIX_FIELD = 60_000;
  private static final int SENDMAIL_FIELD = 4_000;
  private static final int LINE = 990;

  /** Fields that Sendmail makes where a message has none. */
  private static final Set<String> MADE =
      Set.of("date", "from", "message-id", "resent-date", "resent-from", "resent-message-id");

  private static final Set<String> RESENT =
      Set.of(
          "resent-sender",
          "resent-from",
          "resent-reply-to",
          "resent-to",
          "resent-cc",
          "resent-bcc",
          "resent-message-id",
          "resent-date");

  /** Fields whose addresses Sendmail writes anew. */
  private static final Set<String> OF_ADDRESSES =
      Set.of(
          "from",
          "sender",
          "reply-to",
          "to",
          "cc",
          "errors-to",
          "apparently-to",
          "disposition-notification-to",
          "return-receipt-to",
          "resent-sender",
          "resent-from",
          "resent-reply-to",
          "resent-to",
          "resent-cc");

  private static final String ATOM = "[A-Za-z0-9!#$&'*+/=?^_`{|}~-]+";
  private static final String ADDRESS =
      ATOM + "(?:\\." + ATOM + ")*@" + ATOM + "(?:\\." + ATOM + ")*";
  private static final String MAILBOX =
      "(?:" + ADDRESS + "|" + ATOM + "(?: " + ATOM + ")* <" + ADDRESS + ">)";

  /** A list of addresses that Sendmail leaves as it is. */
  private static final Pattern ADDRESSES = Pattern.compile(MAILBOX + "(?:, " + MAILBOX + ")*");

  /** A list that is the same to Sendmail if spaces separate addresses, too. */
  private static final Pattern PLAIN_ADDRESSES =
      Pattern.compile(ADDRESS + "(?:, " + ADDRESS + ")*");

  /** By what Sendmail knows that a message has no old lists, with spaces between addresses. */
  private static final Pattern NEW_STYLE = Pattern.compile("[,;<(]");

  private static final Set<String> OF_SENDERS =
      Set.of("from", "sender", "reply-to", "resent-sender", "resent-from", "resent-reply-to");

  private final List<HeaderField> before;
  private final List<HeaderField> after;
  private final Agreement agreement;
  private final Mta mta;
  private final Set<String> names = new HashSet<>();
  private final List<Action> actions = new ArrayList<>();

  /** Compares two headers. */
  HeaderChanges(List<HeaderField> before, List<HeaderField> after, Agreement agreement, Mta mta) {
    this.before = before;
    this.after = normalised(after);
    this.agreement = agreement;
    this.mta = mta;
    for (HeaderField field : before) {
      names.add(lower(field.name()));
    }
  }

  /** A field whose value begins with the space that follows the colon is another's twin. */
  private static List<HeaderField> normalised(List<HeaderField> fields) {
    List<HeaderField> normal = new ArrayList<>(fields.size());
    for (HeaderField field : fields) {
      boolean twin = !field.spaced() && field.value().startsWith(" ");
      normal.add(twin ? HeaderField.ofRaw(field.name(), field.value()) : field);
    }
    return normal;
  }

  private static String lower(String name) {
    return name.toLowerCase(Locale.ROOT);
  }

  /**
   * Returns the actions.
   *
   * @throws MilterException BAD_ACTION if the MTA could not make that header
   */
  List<Action> actions() {
    if (before.equals(after)) {
      return actions;
    }
    Alignment alignment = new Alignment(before, after, this::isChangeable);
    List<List<HeaderField>> gaps = gaps(alignment);
    for (List<HeaderField> gap : gaps) {
      gap.forEach(this::check);
    }
    forgetMade(gaps);
    append(gaps.get(before.size()));
    for (int place = before.size() - 1; place >= 0; place--) {
      insert(place, gaps.get(place));
    }
    changeAndDelete(alignment, gaps);
    return actions;
  }

  private boolean isChangeable(HeaderField old, HeaderField wanted) {
    return old.name().equals(wanted.name()) && !sent(wanted).isEmpty();
  }

  /** Returns the value as it travels. */
  private String sent(HeaderField field) {
    return agreement.request().leadingSpace() ? field.raw() : field.value();
  }

  /** Returns the new fields before each field of the old header, and behind the last. */
  private List<List<HeaderField>> gaps(Alignment alignment) {
    List<List<HeaderField>> gaps = new ArrayList<>(before.size() + 1);
    int next = 0;
    for (int place = 0; place < before.size(); place++) {
      int target = alignment.target(place);
      gaps.add(
          target == Alignment.DELETED || target == next ? List.of() : after.subList(next, target));
      next = target == Alignment.DELETED ? next : target + 1;
    }
    gaps.add(after.subList(next, after.size()));
    return gaps;
  }

  // ---- new fields

  /** Sendmail makes some fields where there are none: where one is added, its own must not stay. */
  private void forgetMade(List<List<HeaderField>> gaps) {
    if (mta != Mta.POSTFIX) {
      Set<String> forgotten = new HashSet<>();
      for (List<HeaderField> gap : gaps) {
        for (HeaderField field : gap) {
          String name = lower(field.name());
          if (MADE.contains(name) && !names.contains(name) && forgotten.add(name)) {
            actions.add(Action.deleteHeader(field.name(), 1));
          }
        }
      }
    }
  }

  /**
   * Adds at the end. Sendmail, unlike Postfix, puts an added field before others of its name, among
   * them its own Received.
   */
  private void append(List<HeaderField> fields) {
    Set<String> known = new HashSet<>(names);
    for (HeaderField field : fields) {
      String name = lower(field.name());
      boolean alone = known.add(name) && !MADE.contains(name) && !name.equals("received");
      actions.add(
          alone || mta == Mta.POSTFIX
              ? Action.addHeader(field.name(), sent(field))
              : Action.insertHeader(END, field.name(), sent(field)));
    }
  }

  private void insert(int place, List<HeaderField> fields) {
    for (int i = fields.size() - 1; i >= 0; i--) {
      HeaderField field = fields.get(i);
      actions.add(Action.insertHeader(position(place, field), field.name(), sent(field)));
    }
  }

  private int position(int place, HeaderField field) {
    if (place == 0) {
      return 0;
    }
    return switch (mta) {
      case POSTFIX -> place + POSTFIX_FIRST;
      case SENDMAIL -> place + SENDMAIL_FIRST;
      case UNKNOWN ->
          throw impossible(
              field,
              "it stands between others, and where that is depends on the MTA, which sends none of"
                  + " the macros v, if_name and if_addr by which it is known; put it first or last,"
                  + " or ask for the macro v at :connect");
    };
  }

  // ---- old fields

  private void changeAndDelete(Alignment alignment, List<List<HeaderField>> gaps) {
    Map<String, Integer> count = new HashMap<>();
    int[] index = new int[before.size()];
    for (int place = 0; place < before.size(); place++) {
      for (HeaderField field : gaps.get(place)) {
        count.merge(lower(field.name()), 1, Integer::sum);
      }
      index[place] = count.merge(lower(before.get(place).name()), 1, Integer::sum);
    }
    for (int place = before.size() - 1; place >= 0; place--) {
      HeaderField old = before.get(place);
      int target = alignment.target(place);
      if (target == Alignment.DELETED) {
        actions.add(Action.deleteHeader(old.name(), index[place]));
      } else if (!after.get(target).equals(old)) {
        check(after.get(target));
        actions.add(Action.changeHeader(old.name(), index[place], sent(after.get(target))));
      }
    }
  }

  // ---- what cannot be had

  private void check(HeaderField field) {
    if (!agreement.has(ProtocolFlag.LEADING_SPACE) && !field.spaced()) {
      throw impossible(
          field,
          "no space is to follow its colon, and the MTA adds one: ask for :leading-space?, or give"
              + " name and value only");
    }
    String text = field.name() + ":" + field.raw();
    for (String line : text.split("\n", -1)) {
      if (octets(line) > LINE) {
        throw impossible(
            field,
            "it has a line of more than "
                + LINE
                + " octets, which MTAs break: fold it, as"
                + " temse.mail/fold does");
      }
    }
    int total = octets(text);
    if (mta != Mta.SENDMAIL && total > POSTFIX_FIELD) {
      throw impossible(
          field, "it has more than " + POSTFIX_FIELD + " octets, at which Postfix cuts fields");
    }
    if (mta != Mta.POSTFIX) {
      checkForSendmail(field, total);
    }
  }

  private void checkForSendmail(HeaderField field, int octets) {
    String name = lower(field.name());
    switch (name) {
      case "return-path", "full-name", "content-length" ->
          throw impossible(field, "Sendmail writes it for local delivery only");
      case "bcc", "resent-bcc" -> throw impossible(field, "Sendmail empties it, or leaves it out");
      case "message", "text" -> throw impossible(field, "to Sendmail it ends the header");
      default -> {}
    }
    if (RESENT.contains(name) && names.stream().noneMatch(RESENT::contains)) {
      throw impossible(field, "Sendmail leaves it out of a message that was not sent again");
    }
    if (OF_ADDRESSES.contains(name) && !addresses(name).matcher(field.value()).matches()) {
      throw impossible(
          field,
          "Sendmail writes addresses anew unless they are like bob@example.com, cat@example.com, or"
              + " like Ann Lee <ann@example.org> where the client has sent such ones, too");
    }
    if (octets > SENDMAIL_FIELD && (MADE.contains(name) || name.equals("content-type"))) {
      throw impossible(
          field, "it has more than " + SENDMAIL_FIELD + " octets, at which Sendmail cuts it");
    }
  }

  private Pattern addresses(String name) {
    boolean names =
        OF_SENDERS.contains(name)
            || before.stream()
                .anyMatch(
                    field ->
                        OF_ADDRESSES.contains(lower(field.name()))
                            && NEW_STYLE.matcher(field.value()).find());
    return names ? ADDRESSES : PLAIN_ADDRESSES;
  }

  private static int octets(String text) {
    return Text.encodeBytes(text).length;
  }

  private static MilterException impossible(HeaderField field, String why) {
    return Changes.impossible("the header field " + field.name(), why);
  }
}
