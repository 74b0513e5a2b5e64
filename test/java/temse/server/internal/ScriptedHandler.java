package temse.server.internal;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import temse.protocol.Actions;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;

/** A handler that keeps what it hears, and answers as it was told. */
final class ScriptedHandler implements MilterFactory, MilterHandler {
  /** What a handler does with an event. */
  @FunctionalInterface
  interface Answer {
    List<IPersistentMap> to(IPersistentMap event, MilterConnection connection) throws Exception;
  }

  /** The events of an SMTP client and its mail, and the two that the library makes. */
  static final Set<EventType> ALL =
      EnumSet.complementOf(EnumSet.of(EventType.OPTIONS, EventType.DEFINE_MACRO));

  private final Request.Builder wishes = Request.builder();
  private final Map<EventType, Answer> answers = new EnumMap<>(EventType.class);
  private final List<String> heard = new ArrayList<>();
  private Answer onError;

  int statesAskedFor;
  private MilterConnection connection;

  /** Returns an action as somebody may have typed it, right or wrong. */
  static IPersistentMap typed(String name, Object... keysAndValues) {
    IPersistentMap action = Actions.proceed().assoc(Keys.ACTION, Keyword.intern(name));
    for (int i = 0; i < keysAndValues.length; i += 2) {
      action = action.assoc(keysAndValues[i], keysAndValues[i + 1]);
    }
    return action;
  }

  /** Hears everything but macros. */
  static ScriptedHandler hearingAll() {
    ScriptedHandler handler = new ScriptedHandler();
    handler.wishes.events(ALL);
    return handler;
  }

  static ScriptedHandler hearing(EventType... events) {
    ScriptedHandler handler = new ScriptedHandler();
    handler.wishes.events(events);
    return handler;
  }

  ScriptedHandler asking(Consumer<Request.Builder> more) {
    more.accept(wishes);
    return this;
  }

  ScriptedHandler on(EventType type, Answer answer) {
    answers.put(type, answer);
    return this;
  }

  ScriptedHandler answering(EventType type, IPersistentMap... actions) {
    return on(type, (event, connection) -> Arrays.asList(actions));
  }

  ScriptedHandler failing(EventType... types) {
    for (EventType type : types) {
      on(
          type,
          (event, connection) -> {
            throw new IllegalStateException("the handler of " + type + " fails");
          });
    }
    return this;
  }

  ScriptedHandler onError(Answer answer) {
    onError = answer;
    return this;
  }

  MilterConnection connection() {
    return connection;
  }

  /** Returns what was heard since the last call, in order: an event per line. */
  List<String> heard() {
    List<String> lines = List.copyOf(heard);
    heard.clear();
    return lines;
  }

  @Override
  public MilterHandler open(ConnectionInfo opened) {
    return this;
  }

  @Override
  public Request request(MilterConnection opened, IPersistentMap offer) throws Exception {
    connection = opened;
    Answer answer = answers.get(EventType.OPTIONS);
    if (answer != null) {
      answer.to(offer, connection);
    }
    return wishes.build();
  }

  @Override
  public void negotiated(Agreement agreement) {
    heard.add("negotiated");
  }

  @Override
  public List<IPersistentMap> onEvent(
      MilterConnection current, EventType type, IPersistentMap event) throws Exception {
    connection = current;
    heard.add(describe(event));
    Answer answer = answers.get(type);
    return answer == null ? null : answer.to(event, connection);
  }

  @Override
  public List<IPersistentMap> onError(
      MilterConnection current, Throwable error, EventType type, IPersistentMap event) {
    connection = current;
    heard.add("error at " + type.keyword.getName());
    if (onError == null) {
      return MilterHandler.super.onError(current, error, type, event);
    }
    try {
      return onError.to(event, connection);
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public void scopeEnded(EventType type) {
    heard.add("end of " + (type == EventType.MESSAGE_END ? "message" : "client"));
  }

  private static String describe(IPersistentMap event) {
    StringBuilder line = new StringBuilder(((Keyword) event.valAt(Keys.EVENT)).getName());
    for (Keyword key :
        List.of(
            Keys.HOST_NAME, Keys.GREETING, Keys.SENDER, Keys.ADDRESS, Keys.NAME, Keys.COMMAND)) {
      if (event.valAt(key) != null) {
        line.append(' ').append(event.valAt(key));
      }
    }
    if (event.valAt(Keys.INDEX) != null) {
      line.append('#').append(event.valAt(Keys.INDEX));
    }
    if (event.valAt(Keys.VALUE) != null) {
      line.append('=').append(event.valAt(Keys.VALUE));
    }
    if (event.valAt(Keys.DATA) instanceof byte[] data) {
      line.append(' ').append(new String(data, StandardCharsets.ISO_8859_1));
    }
    if (event.valAt(Keys.REASON) instanceof Keyword reason) {
      line.append(' ').append(reason.getName());
    }
    return line.toString();
  }

  @Override
  public Object state() {
    return ++statesAskedFor;
  }
}
