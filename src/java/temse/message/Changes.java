package temse.message;

import clojure.lang.IPersistentMap;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionFlag;
import temse.protocol.Agreement;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Text;
import temse.server.ConnectionInfo;

/**
 * What a filter answers to have a message delivered as another one: as few actions as possible, in
 * an order that is right with the MTA at hand.
 *
 * <pre>{@code
 * Message wanted = message.withHeaders(fields);
 * return Changes.actions(message, wanted, connection);
 * }</pre>
 */
public final class Changes {
  private static final String ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
  private static final Pattern PATH =
      Pattern.compile(
          "<" + ATOM + "(?:\\." + ATOM + ")*@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?>");
  private static final Set<String> OF_SENDER = Set.of("RET", "ENVID");
  private static final Set<String> OF_RECIPIENT = Set.of("NOTIFY", "ORCPT");

  private final Message message;
  private final Message wanted;
  private final Agreement agreement;
  private final Mta mta;
  private final List<Action> actions = new ArrayList<>();

  private Changes(Message message, Message wanted, Agreement agreement, Mta mta) {
    this.message = message;
    this.wanted = wanted;
    this.agreement = agreement;
    this.mta = mta;
  }

  /**
   * {@return the actions by which the MTA that has sent a message delivers it as wanted; none where
   * nothing differs}
   *
   * @param message as it was received
   * @param wanted what was made of it, by {@link Message#withHeaders} and the like
   * @param connection the connection of the MTA, of which the agreement is looked at
   * @throws MilterException BAD_ACTION, with what and why, if this MTA cannot deliver it so;
   *     ACTION_NOT_NEGOTIATED if an action is needed that was not agreed
   */
  public static List<Action> actions(Message message, Message wanted, ConnectionInfo connection) {
    return actions(message, wanted, connection.agreement(), Mta.of(message.macros()));
  }

  /**
   * {@return the actions as above, for this MTA}
   *
   * @param message as it was received
   * @param wanted what was made of it
   * @param agreement with the MTA
   * @param mta Postfix and Sendmail need different actions
   */
  public static List<Action> actions(
      Message message, Message wanted, Agreement agreement, Mta mta) {
    Changes changes = new Changes(message, wanted, agreement, mta);
    changes.sender();
    changes.recipients();
    changes.headers();
    changes.body();
    return changes.checked();
  }

  // ---- the envelope

  private void sender() {
    Map<String, String> old = parameters(message.senderParameters(), OF_SENDER);
    Map<String, String> asked = parameters(wanted.senderParameters(), OF_SENDER);
    if (!others(message.senderParameters(), OF_SENDER)
        .equals(others(wanted.senderParameters(), OF_SENDER))) {
      throw impossible(
          "another ESMTP parameter of the sender", "only RET and ENVID can be changed");
    }
    if (!asked.keySet().containsAll(old.keySet())) {
      throw impossible(
          "the sender without " + old.keySet(), "MTAs keep a parameter, it can only be replaced");
    }
    boolean moved = !wanted.sender().equals(message.sender());
    if (moved) {
      checkPath("the sender", wanted.sender(), true);
    }
    if (!asked.equals(old)) {
      actions.add(Action.changeSender(wanted.sender(), asked.values().toArray(String[]::new)));
    } else if (moved) {
      actions.add(Action.changeSender(wanted.sender()));
    }
  }

  private void recipients() {
    Map<String, List<String>> old = byAddress(message);
    Map<String, List<String>> asked = byAddress(wanted);
    old.forEach(
        (address, parameters) -> {
          if (!asked.containsKey(address)) {
            actions.add(Action.deleteRecipient(address));
          } else if (!same(parameters, asked.get(address))) {
            if (mta != Mta.POSTFIX) {
              throw impossible(
                  "other ESMTP parameters of the recipient " + address,
                  "Sendmail joins them with the old ones");
            }
            actions.add(Action.deleteRecipient(address));
          }
        });
    Map<String, Integer> spellings = new HashMap<>();
    asked.keySet().forEach(address -> spellings.merge(lower(address), 1, Integer::sum));
    asked.forEach(
        (address, parameters) -> {
          if (!same(old.get(address), parameters)) {
            checkPath("the recipient", address, false);
            if (mta != Mta.SENDMAIL && spellings.get(lower(address)) > 1) {
              throw impossible(
                  "the recipient " + address,
                  "Postfix may take it for another that differs in the case of letters only");
            }
            if (!others(parameters, OF_RECIPIENT).isEmpty()) {
              throw impossible(
                  "the recipient " + address + " with " + parameters,
                  "MTAs take only NOTIFY and ORCPT for a recipient that a filter adds");
            }
            actions.add(Action.addRecipient(address, parameters.toArray(String[]::new)));
          }
        });
  }

  private static Map<String, List<String>> byAddress(Message message) {
    Map<String, List<String>> byAddress = new LinkedHashMap<>();
    for (int i = 0; i < message.recipients().size(); i++) {
      byAddress.putIfAbsent(message.recipients().get(i), message.parametersOf(i));
    }
    return byAddress;
  }

  private static boolean same(List<String> old, List<String> asked) {
    return old != null && new HashSet<>(old).equals(new HashSet<>(asked));
  }

  private void checkPath(String what, String path, boolean mayBeNull) {
    if (mayBeNull && path.equals("<>")) {
      return;
    }
    if (!PATH.matcher(path).matches()) {
      throw impossible(
          what + " " + path, "MTAs would write it in another way; write it as <user@example.org>");
    }
    if (mayBeNull && mta != Mta.SENDMAIL && lower(path).startsWith("<mailer-daemon@")) {
      throw impossible(what + " " + path, "Postfix may take it for the null sender; use <>");
    }
  }

  private static String lower(String text) {
    return text.toLowerCase(Locale.ROOT);
  }

  private static String keyword(String parameter) {
    int sign = parameter.indexOf('=');
    return (sign < 0 ? parameter : parameter.substring(0, sign)).toUpperCase(Locale.ROOT);
  }

  /** {@return the parameters that have one of these keywords, by keyword} */
  private static Map<String, String> parameters(List<String> parameters, Set<String> keywords) {
    Map<String, String> found = new LinkedHashMap<>();
    for (String parameter : parameters) {
      if (keywords.contains(keyword(parameter))) {
        found.put(keyword(parameter), parameter);
      }
    }
    return found;
  }

  private static Set<String> others(List<String> parameters, Set<String> keywords) {
    Set<String> others = new HashSet<>(parameters);
    others.removeIf(parameter -> keywords.contains(keyword(parameter)));
    return others;
  }

  // ---- the header

  private void headers() {
    List<Action> changes =
        new HeaderChanges(message.headers(), wanted.headers(), agreement, mta).actions();
    if (!changes.isEmpty() && message.fieldsLeftOut()) {
      throw impossible(
          "another header", "the message was truncated in its header, the rest is not known");
    }
    actions.addAll(changes);
  }

  // ---- the body

  private void body() {
    Object content = wanted.content();
    if (content == message.content() || isBodyAsItIs(content)) {
      return;
    }
    if (message.truncated()) {
      throw impossible("another body", "the message was truncated, the rest is not known");
    }
    Object sent = content instanceof Body other ? (Supplier<InputStream>) other::open : content;
    actions.add(Action.changeBody(sent));
  }

  /** {@return true for text and bytes that are, with the line ends of mail, the body at hand} */
  private boolean isBodyAsItIs(Object content) {
    byte[] bytes =
        content instanceof String text
            ? Text.encodeBytes(text)
            : content instanceof byte[] given ? given : null;
    if (bytes == null || !(message.content() instanceof Body body)) {
      return false;
    }
    try (InputStream asked = new WireLines(new ByteArrayInputStream(bytes), Mta.POSTFIX);
        InputStream had = body.open()) {
      byte[] part = new byte[8192];
      for (int count; (count = had.readNBytes(part, 0, part.length)) > 0; ) {
        for (int i = 0; i < count; i++) {
          if (asked.read() != (part[i] & 0xFF)) {
            return false;
          }
        }
      }
      return asked.read() < 0;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  // ---- whether it may be sent

  private List<Action> checked() {
    for (Action wanted : actions) {
      IPersistentMap action = wanted.map();
      ActionFlag flag = ActionCodec.flag(wanted.type(), action);
      if (flag != null && !agreement.allows(flag)) {
        throw new MilterException(
            MilterException.Category.ACTION_NOT_NEGOTIATED,
            "the message cannot be delivered as asked: that needs "
                + flag.keyword
                + about(action)
                + ", which was not agreed with the MTA; add it to :actions",
            Keys.ACTION,
            action);
      }
      ActionCodec.check(action, agreement.maximumPayload());
    }
    return actions;
  }

  private static String about(IPersistentMap action) {
    Object name = action.valAt(Keys.NAME);
    Object address = action.valAt(Keys.ADDRESS);
    return name != null ? " for " + name : address != null ? " for " + address : "";
  }

  static MilterException impossible(String what, String why) {
    return new MilterException(
        MilterException.Category.BAD_ACTION,
        what + " cannot be delivered as asked: " + why,
        "what",
        what,
        "why",
        why);
  }
}
