package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.EnumSet;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;

/**
 * A handler that answers rightly, wrongly, twice, later, never or fails at random, and keeps what
 * it was called with for use long after. Each change that it wants names the reply it belongs to.
 */
final class ModelHandler implements MilterFactory, MilterHandler {
  private static final List<IPersistentMap> REPLIES =
      List.of(
          Actions.proceed(),
          Actions.proceed(),
          Actions.proceed(),
          Actions.accept(),
          Actions.reject(),
          Actions.temporaryFailure(),
          Actions.discard(),
          Actions.skip(),
          Actions.shutdown(),
          Actions.replyCode(550, "5.7.1", "100% no\nreally"),
          Actions.replyCode(451, null, "later"),
          ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 200L));

  private static final List<IPersistentMap> OTHERS =
      List.of(
          ScriptedHandler.typed("add-header", Keys.NAME, "not a name", Keys.VALUE, "y"),
          Actions.quarantine("why"),
          Actions.addRecipient("<c>", List.of("NOTIFY=NEVER")),
          ScriptedHandler.typed("progress"),
          ScriptedHandler.typed("nonsense"));

  /** What an earlier call was, and which reply it belongs to. */
  private record Kept(MilterConnection call, int serial, int reply) {}

  private final Chaos chaos;
  private final ModelLink link;
  private final ExecutorService elsewhere;
  private final Request request;
  private final List<Kept> kept = new ArrayList<>();
  private final List<CompletableFuture<List<IPersistentMap>>> undecided = new ArrayList<>();
  private final List<ModelStream> streams = new ArrayList<>();
  private int serial;
  private boolean messageSeen;
  private boolean clientOver;

  /** Whether the error policy may let a message pass. */
  final boolean lenient;

  /** What is called while a handler runs, from another thread. */
  Runnable meanwhile = () -> {};

  boolean calm = true;
  boolean closed;
  boolean opened;
  int asked;
  int messages;
  int clients;

  ModelHandler(Chaos chaos, ModelLink link, ExecutorService elsewhere) {
    this.chaos = chaos;
    this.link = link;
    this.elsewhere = elsewhere;
    this.lenient = chaos.random.nextBoolean();
    Request.Builder wishes =
        Request.builder()
            .events(some(ScriptedHandler.ALL, 4))
            .optionalEvents(EnumSet.allOf(EventType.class))
            .optionalActions(EnumSet.allOf(ActionFlag.class))
            .leadingSpace(chaos.random.nextBoolean());
    if (chaos.random.nextBoolean()) {
      wishes.events(EventType.DEFINE_MACRO);
    }
    if (chaos.random.nextBoolean()) {
      wishes.noReplyEvents(some(EnumSet.range(EventType.CONNECT, EventType.BODY), 2));
    }
    this.request = wishes.build();
  }

  private Collection<EventType> some(Collection<EventType> types, int outOfFive) {
    return types.stream().filter(type -> chaos.random.nextInt(5) < outOfFive).toList();
  }

  boolean leaks() {
    return streams.stream().anyMatch(ModelStream::isLeaked);
  }

  // ---- calls of the library

  private void called(String what) {
    chaos.check(link.isInside(), what + " is called between enter and leave");
    chaos.check(!clientOver || !what.equals("onError"), "no error policy after the end");
  }

  private void maybeFail() {
    if (!calm) {
      chaos.maybeThrow();
    }
  }

  @Override
  public MilterHandler open(ConnectionInfo connection) {
    called("open");
    chaos.maybeThrow();
    opened = true;
    return this;
  }

  @Override
  public Request request(MilterConnection connection, IPersistentMap offer) {
    called("request");
    keep(connection);
    chaos.maybeThrow();
    return request;
  }

  @Override
  public void negotiated(Agreement agreement) {
    called("negotiated");
    chaos.maybeThrow();
  }

  @Override
  public List<IPersistentMap> onEvent(MilterConnection call, EventType type, IPersistentMap event) {
    called("onEvent");
    Kept now = keep(call);
    messageSeen = messageSeen || type.inMessage();
    if (calm) {
      return null;
    }
    useKept();
    chaos.maybeThrow();
    if (chaos.oneIn(10)) {
      elsewhere(meanwhile);
    }
    if (chaos.oneIn(4)) {
      call.send(given(anyAction(now.reply)));
    }
    return act(now);
  }

  private List<IPersistentMap> act(Kept now) {
    MilterConnection call = now.call;
    switch (chaos.random.nextInt(16)) {
      case 1, 2 -> {
        CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
        undecided.add(value);
        call.awaitMaps(value, actions -> response(now), this::givenUp);
        return chaos.oneIn(20) ? anyActions(now.reply) : null;
      }
      case 3 -> {
        TrapStage<String> stage =
            new TrapStage<>(chaos.random.nextInt(3), "", chaos.oneIn(3) ? chaos.anything() : null);
        call.awaitMaps(stage, ignored -> response(now), this::givenUp);
      }
      case 4 -> call.progress();
      case 5, 6 -> call.send(given(anyAction(now.reply)));
      case 7 -> {
        if (chaos.oneIn(20)) {
          closed = true;
          call.close();
        }
      }
      case 8, 9, 10 -> {
        return anyActions(now.reply);
      }
      case 11 -> elsewhere(() -> call.send(given(anyAction(now.reply))));
      default -> {}
    }
    return null;
  }

  private List<IPersistentMap> response(Kept now) {
    chaos.check(link.isInside(), "the response is made between enter and leave");
    chaos.maybeThrow();
    if (chaos.oneIn(10)) {
      now.call.awaitMaps(new TrapStage<>(1, "", null), ignored -> response(now), this::givenUp);
      return null;
    }
    return chaos.oneIn(10) ? act(now) : anyActions(now.reply);
  }

  private void givenUp() {
    chaos.check(link.isInside(), "givenUp is called between enter and leave");
    chaos.maybeThrow();
  }

  @Override
  public List<IPersistentMap> onError(
      MilterConnection call, Throwable error, EventType type, IPersistentMap event) {
    called("onError");
    chaos.check(event != null, "the error policy receives the event");
    asked++;
    Kept now = keep(call);
    messageSeen = messageSeen || type.inMessage();
    useKept();
    chaos.maybeThrow();
    if (lenient) {
      return anyActions(now.reply);
    }
    return switch (chaos.random.nextInt(4)) {
      case 0 -> null;
      case 1 -> List.of(ScriptedHandler.typed("nonsense"));
      default -> MilterHandler.super.onError(call, error, type, event);
    };
  }

  @Override
  public void scopeEnded(EventType type) {
    called("scopeEnded");
    if (type == EventType.MESSAGE_END) {
      messages++;
      messageSeen = false;
    } else {
      chaos.check(!messageSeen, "a client ends after its message");
      clients++;
    }
    maybeFail();
  }

  /** The connection is over. */
  void over() {
    chaos.check(!messageSeen, "every message ends");
    chaos.check(messages == 0 || clients > 0, "every client ends");
    clientOver = true;
  }

  // ---- actions, right and wrong

  private IPersistentMap anyAction(int reply) {
    IPersistentMap action =
        switch (chaos.random.nextInt(6)) {
          case 5 -> trap();
          case 0, 1 -> Actions.addHeader("X-Event", "" + reply);
          case 2 -> Actions.changeBody(anyBody());
          case 3 -> chaos.any(OTHERS);
          default -> chaos.any(REPLIES);
        };
    return chaos.oneIn(12)
        ? new TrapAction(
            action, 1 + chaos.random.nextInt(30), chaos.random.nextBoolean(), chaos.anything())
        : action;
  }

  private IPersistentMap trap() {
    return ScriptedHandler.typed(
        "add-recipient",
        Keys.ADDRESS,
        "<c>",
        Keys.PARAMETERS,
        new TrapList(1 + chaos.random.nextInt(30), chaos.anything()));
  }

  private Object anyBody() {
    if (chaos.oneIn(3)) {
      return "new";
    }
    ModelStream stream = new ModelStream(chaos, link, chaos.random.nextInt(300_000));
    streams.add(stream);
    return chaos.random.nextBoolean() ? stream : List.of("new", stream);
  }

  private List<IPersistentMap> anyActions(int reply) {
    List<IPersistentMap> actions = new ArrayList<>();
    while (chaos.oneIn(3)) {
      actions.add(given(anyAction(reply)));
    }
    while (!chaos.oneIn(4) && actions.size() < 4) {
      actions.add(chaos.any(REPLIES));
    }
    if (chaos.oneIn(100)) {
      actions.add(null);
    }
    return actions;
  }

  /** Notes that the library has the streams of the action now, and must close them. */
  private IPersistentMap given(IPersistentMap action) {
    if (!(action instanceof TrapAction)) {
      Object body = action.valAt(Keys.BODY);
      for (Object part : body instanceof List<?> list ? list : Arrays.asList(body)) {
        if (part instanceof ModelStream stream) {
          stream.given = true;
        }
      }
    }
    return action;
  }

  // ---- what comes later

  /** Has pending values come or fail, here or on another thread. */
  void decide() {
    for (CompletableFuture<List<IPersistentMap>> value : undecided) {
      Throwable error = chaos.oneIn(5) ? chaos.anything() : null;
      Runnable completion =
          () -> {
            if (error == null) {
              value.complete(List.of());
            } else {
              value.completeExceptionally(error);
            }
          };
      if (chaos.random.nextBoolean()) {
        elsewhere(completion);
      } else {
        completion.run();
      }
    }
    undecided.clear();
  }

  private Kept keep(MilterConnection call) {
    Kept now = new Kept(call, ++serial, link.finals());
    if (!kept.isEmpty()) {
      chaos.check(call.equals(kept.get(0).call), "calls of one connection are equal");
      chaos.check(call.hashCode() == kept.get(0).call.hashCode(), "and have one hash code");
    }
    kept.add(now);
    return now;
  }

  /** Uses calls of earlier events, from this thread or another. */
  void useKept() {
    while (!kept.isEmpty() && chaos.oneIn(3)) {
      Kept old = chaos.oneIn(2) ? kept.get(kept.size() - 1) : chaos.any(kept);
      boolean dead = clientOver || old.serial < serial || old.reply < link.finals();
      IPersistentMap action =
          switch (chaos.random.nextInt(4)) {
            case 0 -> chaos.any(OTHERS);
            case 1 -> Actions.changeBody(anyBody());
            case 2 -> Actions.accept();
            default -> Actions.addHeader("X-Event", "" + old.reply);
          };
      int use = chaos.random.nextInt(5);
      Runnable work = () -> use(old.call, use, action);
      try {
        if (chaos.random.nextBoolean()) {
          elsewhere(work);
        } else {
          work.run();
        }
        chaos.check(!dead, "a dead call was used: " + use + " " + action);
      } catch (Throwable e) {
        boolean stale =
            e instanceof MilterException known
                && known.category() == MilterException.Category.STALE_CONTEXT;
        chaos.check(!dead || stale, "a dead call is stale, not " + e);
        boolean noMemory = e instanceof OutOfMemoryError && link.hasFailed;
        chaos.check(
            e instanceof MilterException || noMemory,
            "a call is refused by an exception, not " + e);
      }
    }
  }

  private void use(MilterConnection call, int use, IPersistentMap action) {
    switch (use) {
      case 0, 1 -> call.send(given(action));
      case 2 -> call.progress();
      case 3 -> call.macros();
      default ->
          call.awaitMaps(
              new CompletableFuture<List<IPersistentMap>>(), actions -> actions, () -> {});
    }
  }

  /** Runs on another thread and waits for it; what it throws is thrown here. */
  private void elsewhere(Runnable work) {
    try {
      elsewhere.submit(work).get();
    } catch (ExecutionException e) {
      throw Chaos.raise(e.getCause());
    } catch (InterruptedException e) {
      throw Chaos.raise(e);
    }
  }
}
