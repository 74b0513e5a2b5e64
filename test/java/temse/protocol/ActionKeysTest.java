package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** An action has its own keys, all that it needs and no other. */
class ActionKeysTest {
  /** Each action with every key that it may have. */
  private static final List<IPersistentMap> WHOLE =
      List.of(
          map("reply-code", "smtp-code", 550L, "enhanced-code", "5.7.1", "text", "no"),
          map("add-header", "name", "X", "value", "v", "position", 0L),
          map("insert-header", "name", "X", "value", "v", "position", 0L),
          map("change-header", "name", "X", "value", "v", "index", 1L),
          map("delete-header", "name", "X", "index", 1L),
          map("change-body", "body", "b"),
          map("replace-body", "body", "b"),
          map("add-recipient", "address", "<a>", "parameters", "A"),
          map("delete-recipient", "address", "<a>"),
          map("change-sender", "address", "<a>", "parameters", "A"),
          map("quarantine", "reason", "why"),
          map("continue"),
          map("accept"),
          map("reject"),
          map("temporary-failure"),
          map("discard"),
          map("skip"),
          map("shutdown"),
          map("connection-failure"),
          map("progress"));

  @Test
  void theExamplesHaveEveryKeyOfEveryAction() {
    List<Object> names = new ArrayList<>();
    for (IPersistentMap action : WHOLE) {
      Keyword name = (Keyword) action.valAt(Keys.ACTION);
      names.add(name);
      ActionKeys keys = ActionKeys.of(name);
      assertEquals(1 + keys.required().size() + keys.optional().size(), action.count());
      ActionCodec.check(action);
      ActionCodec.check(action.assoc(Keys.WHY, new Object()));
      ActionCodec.encode(action, new Output());
    }
    ActionKeys.actions().forEach(name -> assertTrue(names.contains(name), name.toString()));
  }

  @Test
  void anActionRefusesTheKeysOfOthersAndWorksWithoutTheOptionalOnes() {
    for (IPersistentMap action : WHOLE) {
      ActionKeys keys = ActionKeys.of((Keyword) action.valAt(Keys.ACTION));
      for (Object other :
          List.of(
              Keys.SMTP_CODE,
              Keys.TEXT,
              Keys.NAME,
              Keys.VALUE,
              Keys.POSITION,
              Keys.INDEX,
              Keys.BODY,
              Keys.ADDRESS,
              Keys.PARAMETERS,
              Keys.REASON,
              Keys.EVENT,
              Keys.DATA,
              Keyword.intern("my", "value"),
              "value",
              1L)) {
        if (!keys.required().contains(other) && !keys.optional().contains(other)) {
          String message = refusal(action.assoc(other, "given"));
          assertTrue(message.contains("it has no key " + Shown.of(other)), message);
          assertTrue(message.contains("whose value here is \"given\""), message);
          assertTrue(message.contains(action.valAt(Keys.ACTION).toString()), message);
        }
      }
      for (Keyword optional : keys.optional()) {
        ActionCodec.check(action.without(optional));
        ActionCodec.check(action.assoc(optional, null));
      }
      for (Keyword required : keys.required()) {
        String message = refusal(action.without(required));
        assertTrue(message.contains(required + " must be "), message);
        assertTrue(message.contains("it is missing"), message);
      }
    }
  }

  @Test
  void theNearestRightKeyIsNamed() {
    assertMeans("value", map("change-header", "name", "Subject", "vlaue", "x"));
    assertMeans("text", map("reply-code", "smtp-code", 550L, "message", "no"));
    assertMeans("text", map("reply-code", "smtp-code", 550L, "reason", "no"));
    assertMeans("smtp-code", map("reply-code", "code", 550L));
    assertMeans("position", map("add-header", "name", "X", "value", "v", "index", 1L));
    assertMeans("index", map("change-header", "name", "X", "value", "v", "position", 1L));
    assertMeans("reason", map("quarantine", "text", "x"));
    assertMeans("address", map("add-recipient", "recipient", "<a>"));
    assertMeans("address", map("change-sender", "sender", "<a>"));
    assertMeans("parameters", map("add-recipient", "address", "<a>", "options", "A"));
    assertMeans("body", map("change-body", "content", "x"));
    assertMeans("value", map("add-header", "name", "X").assoc("value", "x"));
    assertMeans("value", map("add-header", "name", "X").assoc(Keyword.intern("my", "value"), 1L));
    assertTrue(
        refusal(map("delete-recipient", "address", "<a>", "parameters", "A"))
            .contains("; its keys are :address"));
    assertTrue(refusal(map("accept", "text", "x")).contains("; it takes no keys"));
  }

  @Test
  void aMissingValueDeletesNothing() {
    String message = refusal(map("change-header", "name", "Subject"));
    assertTrue(message.startsWith(":change-header of \"Subject\": :value must be"), message);
    assertTrue(message.contains("write :value nil, or {:action :delete-header"), message);
    ActionCodec.check(map("change-header", "name", "Subject", "value", null));
  }

  @Test
  void aDeletionTakesNoValueEvenIfItsAliasIsResolvedFirst() {
    IPersistentMap action = map("delete-header", "name", "Subject", "value", "x");
    assertTrue(refusal(action).contains("it has no key :value"));
    assertThrows(MilterException.class, () -> ActionCodec.normalise(action));
  }

  @Test
  void theNearestRightActionIsNamed() {
    assertTrue(refusal(map("rejct")).equals("there is no action :rejct; did you mean :reject?"));
    assertTrue(refusal(map("add-heder")).contains("did you mean :add-header?"));
    assertTrue(refusal(map("replace-bdy")).contains("did you mean :replace-body?"));
    assertTrue(refusal(Wire.map("action", "accept")).contains("did you mean :accept?"));
    assertTrue(refusal(Wire.map("reply", "accept")).contains("a map without :action"));
    assertFalse(refusal(Wire.map("action", 1L)).contains("did you mean"));
  }

  @Test
  void aWrongValueIsShownWithItsFieldAndWhatWouldBeRight() {
    assertEquals(
        ":add-header of \"X-Score\": :value must be a string, it is 1; write \"1\"",
        refusal(map("add-header", "name", "X-Score", "value", 1L)));
    assertEquals(
        ":add-header: :name must be a string, it is :x; write \"x\"",
        refusal(map("add-header", "name", Wire.key("x"), "value", "v")));
    assertEquals(
        ":quarantine: :reason must be a string, it is nil",
        refusal(map("quarantine", "reason", null)));
    assertEquals(
        ":reply-code: :smtp-code must be a number from 400 to 599, it is \"550\"",
        refusal(map("reply-code", "smtp-code", "550")));
    assertTrue(refusal(map("reply-code", "smtp-code", 550.5)).contains("it is 550.5"));
    assertTrue(
        refusal(map("add-header", "name", "X", "value", "v", "position", 1.0)).contains("1.0"));
  }

  @Test
  void whatIsShownIsShortEscapedAndCallsNoCodeOfUsers() {
    Object hostile =
        new Object() {
          @Override
          public String toString() {
            throw new AssertionError("toString was called");
          }

          @Override
          public int hashCode() {
            throw new AssertionError("hashCode was called");
          }

          @Override
          public boolean equals(Object other) {
            throw new AssertionError("equals was called");
          }
        };
    assertTrue(refusal(map("quarantine", "reason", hostile)).contains("an instance of "));
    assertTrue(refusal(map("accept", "reason", hostile)).contains("an instance of "));
    assertTrue(refusal(Wire.map("action", hostile)).contains("an instance of "));
    String message =
        refusal(map("add-header", "name", "X", "value", "\u001B[31m\n" + "x".repeat(9999)));
    assertTrue(message.contains("\\u001b[31m\\n") && message.length() < 300, message);
    assertTrue(
        refusal(map("add-header", "name", "\u202E\u0007", "value", "")).contains("\\u202e\\u0007"));
  }

  @Test
  void theActionsOfJavaAreCheckedWhereTheyAreMade() {
    for (Runnable mistake :
        List.<Runnable>of(
            () -> Actions.replyCode(250, null, "fine"),
            () -> Actions.replyCode(550, "4.7.1", "no"),
            () -> Actions.addHeader(null, "v"),
            () -> Actions.addHeader("X", null),
            () -> Actions.addHeader("X", "a\nb"),
            () -> Actions.insertHeader(-1, "X", "v"),
            () -> Actions.changeHeader("X", -1, "v"),
            () -> Actions.deleteHeader("", 1),
            () -> Actions.changeBody(null),
            () -> Actions.changeBody(1),
            () -> Actions.addRecipient(null),
            () -> Actions.addRecipient("<a>", List.of("A\n")),
            () -> Actions.deleteRecipient(""),
            () -> Actions.changeSender("a\0"),
            () -> Actions.quarantine(null))) {
      MilterException refusal = assertThrows(MilterException.class, mistake::run);
      assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
    }
    Actions.addHeader("X", "larger than a packet ".repeat(10_000));
    Actions.changeBody(Path.of("none"));
  }

  @Test
  void aCheckRefusesWhatEncodingRefuses() {
    Random random = new Random(7);
    Object[] values = {
      null, "", "x", "a\nb", "a\r\n b", "\0", "\uDC00", -1L, 1L, 550L, 1.5, List.of("a")
    };
    Object[] keys = {
      Keys.SMTP_CODE, Keys.ENHANCED_CODE, Keys.TEXT, Keys.NAME, Keys.VALUE, Keys.POSITION,
      Keys.INDEX, Keys.ADDRESS, Keys.PARAMETERS, Keys.REASON, Keys.BODY, Keys.WHY
    };
    int refused = 0;
    for (int i = 0; i < 20_000; i++) {
      IPersistentMap action = WHOLE.get(random.nextInt(WHOLE.size()));
      for (int changes = random.nextInt(3); changes > 0; changes--) {
        Object key = keys[random.nextInt(keys.length)];
        action =
            random.nextInt(4) == 0
                ? action.without(key)
                : action.assoc(key, values[random.nextInt(values.length)]);
      }
      IPersistentMap tried = action;
      Output output = new Output();
      String encoding = problem(() -> ActionCodec.encode(tried, output));
      assertEquals(encoding, problem(() -> ActionCodec.check(tried)));
      assertEquals(encoding == null, output.size() > 0);
      refused += encoding == null ? 0 : 1;
    }
    assertTrue(refused > 1000 && refused < 19_000, refused + " were refused");
  }

  @Test
  void theSpecificationListsTheSameKeys() throws IOException {
    Map<Keyword, List<Keyword>> documented = new LinkedHashMap<>();
    String section =
        Files.readString(Path.of("doc/spec.org"))
            .replaceFirst("(?s).*\n\\* Actions\n.*?\n\\*\\* Keys\n", "");
    Matcher row =
        Pattern.compile("(?m)^\\| (?:=:([a-z-]+)=)? *\\| =:([a-z-]+)= \\|")
            .matcher(section.substring(0, section.indexOf("\n#+begin_src")));
    Keyword action = null;
    while (row.find()) {
      action = row.group(1) == null ? action : Keyword.intern(row.group(1));
      documented
          .computeIfAbsent(action, name -> new ArrayList<>())
          .add(Keyword.intern(row.group(2)));
    }
    for (ActionType type : ActionType.values()) {
      ActionKeys keys = ActionKeys.of(type.keyword);
      List<Keyword> all = new ArrayList<>(keys.required());
      all.addAll(keys.optional());
      assertEquals(all, documented.getOrDefault(type.keyword, List.of()), type.name());
    }
  }

  private static void assertMeans(String key, IPersistentMap action) {
    String message = refusal(action);
    assertTrue(message.contains("did you mean :" + key + "?"), message);
  }

  private static String problem(Runnable action) {
    try {
      action.run();
      return null;
    } catch (MilterException e) {
      return e.getMessage();
    }
  }

  private static String refusal(IPersistentMap action) {
    MilterException refusal = assertThrows(MilterException.class, () -> ActionCodec.check(action));
    assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
    assertThrows(MilterException.class, () -> ActionCodec.encode(action, new Output()));
    return refusal.getMessage();
  }

  private static IPersistentMap map(String action, Object... keysAndValues) {
    Object[] all = new Object[2 + keysAndValues.length];
    all[0] = "action";
    all[1] = Wire.key(action);
    System.arraycopy(keysAndValues, 0, all, 2, keysAndValues.length);
    return Wire.map(all);
  }
}
