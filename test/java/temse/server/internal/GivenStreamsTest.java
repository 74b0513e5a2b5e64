package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.MAIL;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.transport.internal.Conversation.Wish;

/** Every stream that the library was given as a new body is closed, whatever becomes of it. */
class GivenStreamsTest {
  /** A body that fails at a read, if that is to be, and counts how often it was closed. */
  private static final class Body extends InputStream {
    private final InputStream bytes;
    private final Throwable error;
    private int left;
    int closed;

    Body(int size, int failsAfter, Throwable error) {
      this.bytes = new ByteArrayInputStream(new byte[size]);
      this.left = failsAfter;
      this.error = error;
    }

    Body() {
      this(10, Integer.MAX_VALUE, null);
    }

    @Override
    public int read() throws IOException {
      throw new IOException("read in pieces");
    }

    @Override
    public int read(byte[] into, int offset, int length) throws IOException {
      if (left-- == 0) {
        throw Chaos.raise(error);
      }
      return bytes.read(into, offset, Math.min(length, 10_000));
    }

    @Override
    public void close() {
      closed++;
    }
  }

  private final Body body = new Body();

  private static DrivenEngine mta(ScriptedHandler.Answer atEnd) {
    return DrivenEngine.negotiated(handler(atEnd));
  }

  private static ScriptedHandler handler(ScriptedHandler.Answer atEnd) {
    return ScriptedHandler.hearingAll()
        .asking(wishes -> wishes.actions(ActionFlag.CHANGE_BODY))
        .on(EventType.END_OF_MESSAGE, atEnd);
  }

  private void answers(String last, ScriptedHandler.Answer atEnd) {
    List<String> replies = mta(atEnd).say(MAIL, EOM);
    assertEquals(last, replies.get(replies.size() - 1));
    assertTrue(body.closed > 0, "the stream is closed");
  }

  @Test
  void ifItWasSent() {
    answers("c", (event, call) -> List.of(Actions.changeBody(body)));
  }

  @Test
  void ifTheHandlerFailsAfterSendingIt() {
    answers(
        "t",
        (event, call) -> {
          call.send(Actions.changeBody(body));
          throw new AssertionError("at will");
        });
  }

  @Test
  void ifAnActionAfterItIsWrong() {
    answers(
        "t", (event, call) -> List.of(Actions.changeBody(body), ScriptedHandler.typed("nonsense")));
  }

  @Test
  void ifAnActionBeforeItIsWrongOrThrows() {
    answers(
        "t",
        (event, call) ->
            List.of(
                new TrapAction(Actions.accept(), 1, false, new StackOverflowError("at will")),
                Actions.changeBody(body)));
  }

  @Test
  void ifItIsTheSecondBody() {
    answers("t", (event, call) -> List.of(Actions.changeBody("first"), Actions.changeBody(body)));
  }

  @Test
  void ifAValueIsPendingBesideIt() {
    answers(
        "t",
        (event, call) -> {
          call.await(new CompletableFuture<>(), value -> List.of());
          return List.of(Actions.changeBody(body));
        });
  }

  @Test
  void ifItIsSentWhereNoBodyMayBe() {
    ScriptedHandler handler =
        handler((event, call) -> null).answering(EventType.MAIL, Actions.changeBody(body));
    assertEquals(List.of("t"), DrivenEngine.negotiated(handler).say(MAIL));
    assertTrue(body.closed > 0);
  }

  @Test
  void ifTheErrorPolicyGaveItAndFailed() {
    ScriptedHandler handler =
        handler((event, call) -> null)
            .failing(EventType.END_OF_MESSAGE)
            .onError(
                (event, call) ->
                    List.of(Actions.changeBody(body), Actions.proceed(), Actions.accept()));
    assertEquals(List.of("c", "t"), DrivenEngine.negotiated(handler).say(MAIL, EOM));
    assertTrue(body.closed > 0);
  }

  @Test
  void ifTheCallItWasSentToIsDead() {
    List<MilterConnection> calls = new ArrayList<>();
    DrivenEngine mta =
        mta(
            (event, call) -> {
              calls.add(call);
              return null;
            });
    mta.say(MAIL, EOM);
    assertThrows(MilterException.class, () -> calls.get(0).send(Actions.changeBody(body)));
    assertEquals(1, body.closed);
  }

  private ScriptedHandler.Answer sendingAndWaiting() {
    return (event, call) -> {
      call.send(Actions.changeBody(body));
      call.await(new CompletableFuture<>(), value -> List.of());
      return null;
    };
  }

  @Test
  void ifTheMtaGoesWhileAValueIsPending() {
    DrivenEngine mta = mta(sendingAndWaiting());
    mta.say(MAIL, EOM);
    mta.hangUp();
    assertEquals(1, body.closed);
  }

  @Test
  void ifThePendingValueDoesNotComeInTime() {
    DrivenEngine mta =
        DrivenEngine.negotiated(
            handler(sendingAndWaiting()),
            EngineOptions.builder()
                .handlerTimeout(Duration.ofSeconds(1))
                .progressInterval(Duration.ofSeconds(2))
                .build());
    mta.say(MAIL, EOM);
    assertEquals(List.of("t"), mta.passToDeadline());
    assertEquals(1, body.closed);
  }

  @Test
  void ifNoThreadIsFreeForTheRestAndThenWhereForeignCodeMayRun() {
    DrivenEngine mta =
        mta(
            (event, call) -> {
              call.send(Actions.changeBody(body));
              call.await(CompletableFuture.completedFuture(""), value -> List.of());
              return null;
            });
    mta.say(MAIL);
    int[] entries = new int[1];
    mta.link.refuse(entry -> entries[0]++ > 0);
    ByteBuffer end = ByteBuffer.wrap(DrivenEngine.bytes(EOM));
    Wish wish = mta.engine.receive(end, 0);
    assertEquals(Wish.WAIT, wish);
    mta.link.tasks.remove().run();
    assertEquals(Wish.MOVE, mta.engine.receive(end, 0));
    assertEquals(Wish.MOVE, mta.engine.starved(0));
    assertEquals(List.of("t"), mta.replies());
    assertEquals(0, body.closed, "the loop runs nothing of a stream's");

    mta.hangUp();
    assertEquals(1, body.closed);
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 5, 9, 25})
  void ifItFailsAtItsFirstPieceOrInTheMidst(int reads) {
    for (Throwable error :
        List.of(
            new IOException("at will"),
            new OutOfMemoryError("at will"),
            new InterruptedException("at will"))) {
      Body broken = new Body(300_000, reads, error);
      DrivenEngine mta =
          mta((event, call) -> List.of(Actions.changeBody(broken), Actions.accept()));
      List<String> replies = mta.say(MAIL, EOM, MAIL);

      assertEquals("t", replies.get(replies.size() - 2));
      assertEquals("c", replies.get(replies.size() - 1));
      for (String piece : replies.subList(1, replies.size() - 2)) {
        assertEquals('b', piece.charAt(0));
      }
      assertEquals(1, broken.closed);
    }
  }

  @Test
  void ifItFailsAtItsFirstPieceNothingOfTheResponseLeaves() {
    Body broken = new Body(10, 0, new IOException("at will"));
    DrivenEngine mta =
        DrivenEngine.negotiated(
            handler((event, call) -> List.of(Actions.quarantine("why"), Actions.changeBody(broken)))
                .asking(wishes -> wishes.actions(ActionFlag.QUARANTINE)));
    assertEquals(List.of("c", "t"), mta.say(MAIL, EOM));
    assertEquals(1, broken.closed);
  }

  @Test
  void ifTheMtaGoesInTheMidstOfIt() {
    Body large = new Body(1_000_000, Integer.MAX_VALUE, null);
    DrivenEngine mta = mta((event, call) -> List.of(Actions.changeBody(large)));
    mta.say(MAIL);
    mta.link.congested = false;
    ByteBuffer end = ByteBuffer.wrap(DrivenEngine.bytes(EOM));
    mta.link.refuse(
        entry -> {
          mta.link.congested = true;
          return false;
        });
    assertEquals(Wish.DRAIN, mta.engine.receive(end, 0));
    assertEquals(0, large.closed);
    mta.hangUp();
    assertEquals(1, large.closed);
  }
}
