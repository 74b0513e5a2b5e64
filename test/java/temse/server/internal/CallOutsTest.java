package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import temse.compose.Filter;
import temse.compose.Pretence;
import temse.limits.RawMta;
import temse.message.MessageFilter;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Agreement;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.protocol.Offer;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.Milter;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.MilterServer;
import temse.server.ServerListener;
import temse.server.Step;
import temse.transport.TransportOptions;

/**
 * Whatever is thrown wherever foreign code is called: the mail at hand is deferred if that code
 * decides about it, and answered as usual if not; every other mail is answered as usual, and no
 * thread of the server ends.
 */
@Timeout(120)
class CallOutsTest {
  /** What becomes of the mail whose connection has met the error. */
  private enum Effect {
    /** The offer gets no answer: the MTA's own default holds. */
    REFUSED,
    DEFERRED,
    /** One recipient is deferred; the mail goes to the others. */
    RECIPIENT_DEFERRED,
    NONE
  }

  /** Like java.lang.ThreadDeath, which the newest JDKs do not have. */
  private static final class Death extends Error {
    private static final long serialVersionUID = 1;
  }

  /** Nothing can be said about it. */
  private static final class Unspeakable extends RuntimeException {
    private static final long serialVersionUID = 1;

    @Override
    public String getMessage() {
      throw new StackOverflowError("made up, in getMessage");
    }

    @Override
    public String toString() {
      throw new OutOfMemoryError("made up, in toString");
    }
  }

  private static final Map<String, Supplier<Throwable>> ERRORS = new LinkedHashMap<>();

  static {
    ERRORS.put("no memory", () -> new OutOfMemoryError("made up"));
    ERRORS.put("no stack", () -> new StackOverflowError("made up"));
    ERRORS.put("no class", () -> new NoClassDefFoundError("made up"));
    ERRORS.put("no linkage", () -> new ExceptionInInitializerError("made up"));
    ERRORS.put("an assertion", () -> new AssertionError("made up"));
    ERRORS.put("an unsafe access to memory", () -> new InternalError("made up"));
    ERRORS.put("a death", Death::new);
    ERRORS.put("an interruption, sneaked", () -> new InterruptedException("made up"));
    ERRORS.put("a checked exception, sneaked", () -> new IOException("made up"));
    ERRORS.put(
        "one of the library's",
        () -> new MilterException(MilterException.Category.MALFORMED_PACKET, "made up"));
    ERRORS.put("one that cannot be told", Unspeakable::new);
  }

  /** Throws once at the place for which it is armed. */
  private static final class Fuse {
    private volatile String place = "";
    private volatile Throwable error;

    void arm(String where, Throwable what) {
      error = what;
      place = where;
    }

    boolean isFor(String where) {
      return place.equals(where);
    }

    void at(String where) {
      if (isFor(where)) {
        place = "";
        throw Chaos.raise(error);
      }
    }

    boolean hasBlown() {
      return place.isEmpty();
    }
  }

  /** Calls back at every place there is for a handler. */
  private record Places(Fuse fuse) implements MilterFactory, MilterHandler {
    @Override
    public MilterHandler open(ConnectionInfo connection) {
      fuse.at("open");
      return this;
    }

    @Override
    public Request request(MilterConnection connection, IPersistentMap offer) {
      fuse.at("request");
      return Request.builder().events(ScriptedHandler.ALL).actions(ActionFlag.CHANGE_BODY).build();
    }

    @Override
    public void negotiated(Agreement agreement) {
      fuse.at("negotiated");
    }

    @Override
    public List<IPersistentMap> onEvent(
        MilterConnection connection, EventType type, IPersistentMap event) {
      fuse.at(type.keyword.getName());
      if (type == EventType.MAIL && (fuse.isFor("onError") || fuse.isFor("listener failed"))) {
        throw new IllegalStateException("made up, for the error policy and the listener");
      }
      if (type == EventType.HELLO && fuse.isFor("given up")) {
        connection.awaitMaps(
            new CompletableFuture<List<IPersistentMap>>(),
            actions -> actions,
            () -> fuse.at("given up"));
      }
      if (type == EventType.END_OF_MESSAGE) {
        connection.awaitMaps(
            stage(),
            value -> {
              fuse.at("value");
              return List.of(Action.changeBody(body()).map(), Action.accept().map());
            },
            () -> {});
      }
      return null;
    }

    private CompletionStage<String> stage() {
      CompletableFuture<String> stage =
          new CompletableFuture<>() {
            @Override
            public CompletableFuture<String> whenComplete(
                BiConsumer<? super String, ? super Throwable> action) {
              fuse.at("stage");
              return super.whenComplete(action);
            }
          };
      stage.complete("now");
      return stage;
    }

    private InputStream body() {
      return new ByteArrayInputStream("new".getBytes(StandardCharsets.US_ASCII)) {
        @Override
        public int read(byte[] bytes, int offset, int length) {
          fuse.at("read");
          return super.read(bytes, offset, length);
        }

        @Override
        public void close() {
          fuse.at("close");
        }
      };
    }

    @Override
    public List<IPersistentMap> onError(
        MilterConnection connection, Throwable error, EventType type, IPersistentMap event) {
      fuse.at("onError");
      return List.of(Action.temporaryFailure().map());
    }

    @Override
    public Object state() {
      fuse.at("state");
      return 1;
    }

    @Override
    public Object stateBefore() {
      fuse.at("stateBefore");
      return 0;
    }

    @Override
    public void scopeEnded(EventType type) {
      fuse.at("the end of " + type.keyword.getName());
    }
  }

  /** Calls back at every method of a listener. */
  private static ServerListener listener(Fuse fuse) {
    ServerListener wanting =
        new ServerListener() {
          @Override
          public boolean wantsExchanges() {
            return true;
          }
        };
    return (ServerListener)
        Proxy.newProxyInstance(
            ServerListener.class.getClassLoader(),
            new Class<?>[] {ServerListener.class},
            (proxy, method, arguments) -> {
              fuse.at("listener " + method.getName());
              try {
                return method.invoke(wanting, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
  }

  private static final Map<String, Effect> PLACES = new LinkedHashMap<>();

  static {
    for (String place : List.of("open", "request", "negotiated")) {
      PLACES.put(place, Effect.REFUSED);
    }
    for (EventType type :
        List.of(
            EventType.CONNECT,
            EventType.HELLO,
            EventType.MAIL,
            EventType.DATA,
            EventType.HEADER,
            EventType.END_OF_HEADERS,
            EventType.BODY,
            EventType.END_OF_MESSAGE)) {
      PLACES.put(type.keyword.getName(), Effect.DEFERRED);
    }
    PLACES.put(EventType.RECIPIENT.keyword.getName(), Effect.RECIPIENT_DEFERRED);
    for (String place : List.of("onError", "given up", "stage", "value", "read", "close")) {
      PLACES.put(place, Effect.DEFERRED);
    }
    for (String place :
        List.of(
            "message-end",
            "disconnect",
            "the end of message-end",
            "the end of disconnect",
            "state",
            "stateBefore",
            "watcher",
            "timer",
            "listener negotiated",
            "listener wantsExchanges",
            "listener exchanged",
            "listener verdict",
            "listener closed")) {
      PLACES.put(place, Effect.NONE);
    }
    PLACES.put("listener failed", Effect.DEFERRED);
  }

  /** Filters made of others, and filters of whole messages. */
  private static final Map<String, Function<Fuse, MilterFactory>> FILTERS = new LinkedHashMap<>();

  private static final Map<String, Effect> FILTER_EFFECTS = new LinkedHashMap<>();

  private static void filter(String place, Effect effect, Function<Fuse, MilterFactory> filter) {
    FILTERS.put(place, filter);
    FILTER_EFFECTS.put(place, effect);
  }

  private static Milter<String> accepting() {
    return Milter.perClient(() -> "")
        .on(Event.EndOfMessage.class, (event, state) -> Step.next(state).respond(Action.accept()))
        .build();
  }

  private static Milter<String> rejecting() {
    return Milter.perClient(() -> "")
        .on(Event.EndOfMessage.class, (event, state) -> Step.next(state).respond(Action.reject()))
        .build();
  }

  static {
    filter(
        "a predicate of clients",
        Effect.DEFERRED,
        fuse ->
            Filter.of(accepting())
                .whenClient(
                    origin -> {
                      fuse.at("a predicate of clients");
                      return true;
                    }));
    filter(
        "a predicate of messages",
        Effect.DEFERRED,
        fuse ->
            Filter.of(accepting())
                .whenMessage(
                    origin -> {
                      fuse.at("a predicate of messages");
                      return true;
                    }));
    filter(
        "the report of what was pretended",
        Effect.DEFERRED,
        fuse ->
            Filter.inSequence(
                Filter.of(rejecting())
                    .pretend(
                        Pretence.LOGGED.reportTo(
                            pretended -> fuse.at("the report of what was pretended"))),
                accepting()));
    filter(
        "a filter that only pretends",
        Effect.NONE,
        fuse ->
            Filter.inSequence(
                Filter.of(
                        Milter.perClient(() -> "")
                            .on(
                                Event.Mail.class,
                                (event, state) -> {
                                  fuse.at("a filter that only pretends");
                                  return Step.next(state);
                                })
                            .build())
                    .pretend(Pretence.LOGGED.reportTo(pretended -> {})),
                accepting()));
    filter(
        "the second of a sequence",
        Effect.DEFERRED,
        fuse ->
            Filter.inSequence(
                accepting(),
                Milter.perClient(() -> "")
                    .on(
                        Event.EndOfMessage.class,
                        (event, state) -> {
                          fuse.at("the second of a sequence");
                          return Step.next(state).respond(Action.accept());
                        })
                    .build()));
    filter(
        "the listener of one of a sequence",
        Effect.NONE,
        fuse ->
            Filter.inSequence(
                Filter.of(accepting())
                    .listener(
                        new ServerListener() {
                          @Override
                          public void verdict(
                              ConnectionInfo connection,
                              EventType event,
                              Action.Reply reply,
                              MessageEndReason ended) {
                            fuse.at("the listener of one of a sequence");
                          }
                        }),
                accepting()));
    filter(
        "what judges a whole message",
        Effect.DEFERRED,
        fuse ->
            MessageFilter.of(
                    (message, connection) -> {
                      fuse.at("what judges a whole message");
                      return List.of(Action.accept());
                    })
                .build());
    filter(
        "a handler beside what judges a whole message",
        Effect.RECIPIENT_DEFERRED,
        fuse ->
            MessageFilter.of((message, connection) -> List.of(Action.accept()))
                .beside(
                    EventType.RECIPIENT,
                    (event, connection) -> {
                      fuse.at("a handler beside what judges a whole message");
                      return null;
                    })
                .build());
  }

  static Stream<String> errors() {
    return ERRORS.keySet().stream();
  }

  /** Returns the codes of all that the server says to a client with one mail. */
  private static String converse(MilterServer server) throws IOException {
    try (RawMta mta = RawMta.connect(server.port())) {
      mta.sendBytes(Offer.CURRENT.packet().toBytes());
      String codes = mta.readCodes(1);
      if (!codes.isEmpty()) {
        mta.sendBytes(
            DrivenEngine.bytes(
                DrivenEngine.CONNECT,
                DrivenEngine.HELO,
                DrivenEngine.MAIL,
                DrivenEngine.RCPT,
                DrivenEngine.DATA,
                DrivenEngine.HEADER,
                DrivenEngine.EOH,
                DrivenEngine.BODY,
                DrivenEngine.EOM,
                DrivenEngine.QUIT));
        codes += mta.readCodes(Integer.MAX_VALUE);
      }
      return codes;
    }
  }

  private static void check(Effect effect, String usual, String codes, String where) {
    switch (effect) {
      case REFUSED -> assertEquals("", codes, where);
      case DEFERRED -> assertTrue(codes.endsWith("t"), () -> where + ": " + codes);
      case RECIPIENT_DEFERRED -> {
        assertEquals(1, codes.chars().filter(code -> code == 't').count(), where + ": " + codes);
        assertEquals(usual, codes.replace('t', 'c'), where);
      }
      case NONE -> assertEquals(usual, codes, where);
    }
  }

  /** Throws at each place in turn, and has an ordinary mail follow each time. */
  private static void tryAll(
      MilterServer server, Fuse fuse, Map<String, Effect> places, String error) throws Exception {
    String usual = converse(server);
    assertTrue(usual.matches("Oc*b?[ac]"), usual);
    for (Map.Entry<String, Effect> place : places.entrySet()) {
      String where = error + " at " + place.getKey();
      fuse.arm(place.getKey(), ERRORS.get(error).get());
      check(place.getValue(), usual, converse(server), where);
      long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
      while (!fuse.hasBlown()) {
        assertTrue(System.nanoTime() < limit, () -> where + " was never thrown");
        Thread.onSpinWait();
      }
      assertEquals(usual, converse(server), () -> "the mail after " + where);
    }
    assertTrue(server.isResponding(Duration.ofSeconds(10)), "every loop goes on");
  }

  private static MilterServer serve(
      MilterFactory factory, ServerListener listener, Queue<Throwable> fatal) throws IOException {
    return MilterServer.builder(factory)
        .listenOn("inet:0@127.0.0.1")
        .transport(TransportOptions.builder().name("call-outs").onFatal(fatal::add).build())
        .engine(
            EngineOptions.builder().handlerTimeout(EventType.HELLO, Duration.ofMillis(5)).build())
        .listener(listener)
        .start();
  }

  @ParameterizedTest
  @MethodSource("errors")
  void whateverIsThrownByAHandlerOrAListenerHarmsNoOtherMail(String error) throws Exception {
    Fuse fuse = new Fuse();
    Queue<Throwable> fatal = new ConcurrentLinkedQueue<>();
    try (MilterServer server = serve(new Places(fuse), listener(fuse), fatal)) {
      server.watch("key", exchange -> fuse.at("watcher"));
      server.measureWith((type, nanos) -> fuse.at("timer"));
      tryAll(server, fuse, PLACES, error);
      assertEquals(List.of(), List.copyOf(fatal));
    }
  }

  @ParameterizedTest
  @MethodSource("errors")
  void whateverIsThrownInAFilterOfFiltersHarmsNoOtherMail(String error) throws Exception {
    for (Map.Entry<String, Function<Fuse, MilterFactory>> filter : FILTERS.entrySet()) {
      String place = filter.getKey();
      Fuse fuse = new Fuse();
      Queue<Throwable> fatal = new ConcurrentLinkedQueue<>();
      try (MilterServer server =
          serve(filter.getValue().apply(fuse), ServerListener.SILENT, fatal)) {
        tryAll(server, fuse, Map.of(place, FILTER_EFFECTS.get(place)), error);
        assertEquals(List.of(), List.copyOf(fatal));
      }
    }
  }
}
