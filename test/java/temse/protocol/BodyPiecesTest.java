package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.AFn;
import clojure.lang.Cons;
import clojure.lang.IPersistentMap;
import clojure.lang.Iterate;
import clojure.lang.LazySeq;
import clojure.lang.PersistentVector;
import clojure.lang.Repeat;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BodyPiecesTest {
  private final Output output = new Output();

  private static final int CHUNK = 65535;
  private static final String USED = "this stream was read for another message";

  // ---- sources

  @Test
  void everySourceYieldsItsBytes(@TempDir Path directory) throws IOException {
    byte[] bytes = random(100_000);
    Path path = Files.write(directory.resolve("body"), bytes);
    Supplier<InputStream> supplier = () -> new ByteArrayInputStream(bytes);
    for (Object body :
        List.<Object>of(
            bytes,
            Text.decode(bytes),
            new ByteArrayInputStream(bytes),
            path,
            path.toFile(),
            supplier,
            function(() -> path),
            List.of(supplier),
            (Iterable<Object>) () -> List.<Object>of(path).iterator(),
            lazily(i -> i == 0 ? bytes : null))) {
      assertArrayEquals(bytes, read(body), body.getClass().getName());
    }
  }

  @Test
  void filesPathsSuppliersAndFunctionsMayBeUsedAgain(@TempDir Path directory) throws IOException {
    Path path = Files.writeString(directory.resolve("body"), "again");
    Supplier<InputStream> supplier = () -> stream("again");
    for (Object body : List.of(path, path.toFile(), supplier, function(() -> "again"))) {
      assertEquals("again", text(body));
      assertEquals("again", text(body));
    }
  }

  @Test
  void textIsNeverCutInsideASurrogatePair() {
    for (int before = 16_380; before < 16_390; before++) {
      String body = "a".repeat(before) + "\uD83D\uDE00" + "\uDCFF" + "z".repeat(40_000);
      assertArrayEquals(Text.encodeBytes(body), read(body));
    }
  }

  @Test
  void partsThatAreEmptyOrNestedAddNothing() {
    assertEquals("ab", text(List.of("", List.of(), List.of("a", List.of(new byte[0])), "b", "")));
  }

  // ---- on demand

  @Test
  void packetsAreMadeOneByOne() {
    AtomicInteger read = new AtomicInteger();
    InputStream endless =
        new InputStream() {
          @Override
          public int read() {
            read.incrementAndGet();
            return 'x';
          }
        };
    BodyPieces pieces = pieces(endless);
    assertEquals(0, read.get(), "nothing is read before it is wanted");
    assertTrue(pieces.next(output));
    assertEquals(5 + CHUNK, output.size());
    assertEquals(CHUNK, read.get());
    pieces.close();
    assertFalse(pieces.next(output));
  }

  @Test
  void aLazySequenceIsRunAsFarAsPacketsAreWanted() {
    AtomicInteger yielded = new AtomicInteger();
    LazySeq endless =
        lazily(
            i -> {
              yielded.incrementAndGet();
              return new byte[CHUNK];
            });
    ActionCodec.check(action(endless));
    BodyPieces pieces = pieces(endless);
    assertEquals(0, yielded.get());
    pieces.next(output);
    assertEquals(1, yielded.get());
  }

  @Test
  void eachSourceIsOpenedWhenItsTurnComesAndClosedAfterIt() {
    Watched first = new Watched("a".repeat(CHUNK));
    AtomicInteger opened = new AtomicInteger();
    Supplier<Object> second =
        () -> {
          opened.incrementAndGet();
          return "b";
        };
    BodyPieces pieces = pieces(List.of(first, second));
    pieces.next(output);
    assertEquals(0, opened.get());
    pieces.next(output);
    assertEquals(List.of(1, 1), List.of(first.closed, opened.get()));
    assertFalse(pieces.next(output));
  }

  @Test
  void everyStreamIsClosedWhenTheBodyIsGivenUp() {
    Watched inLazy = new Watched("c");
    Watched notYielded = new Watched("d");
    LazySeq lazy = lazily(i -> i == 0 ? inLazy : i == 1 ? notYielded : null);
    lazy.seq();
    List<Watched> streams = List.of(new Watched("a"), new Watched("b"), new Watched("e"));
    BodyPieces pieces =
        pieces(List.of(streams.get(0), List.of(streams.get(1)), lazy, streams.get(2)));
    pieces.close();
    pieces.close();
    for (Watched stream : streams) {
      assertEquals(1, stream.closed);
    }
    assertEquals(1, inLazy.closed, "what the sequence has yielded");
    assertEquals(0, notYielded.closed, "what it has not");
  }

  @Test
  void streamsThatAFunctionHasReturnedAreClosedTooWhenTheBodyIsGivenUp() {
    for (Function<List<Object>, Object> as :
        List.<Function<List<Object>, Object>>of(
            list -> list, PersistentVector::create, list -> lazily(i -> i == 0 ? list : null))) {
      Watched first = new Watched("a".repeat(CHUNK));
      Watched second = new Watched("b");
      Watched third = new Watched("c");
      Object returned = as.apply(List.of(first, second, List.of(third)));
      BodyPieces pieces = pieces(function(() -> returned));
      pieces.next(output);
      pieces.close();
      assertEquals(List.of(1, 1, 1), List.of(first.closed, second.closed, third.closed));
    }
  }

  @Test
  void aStreamThatFailsToCloseKeepsNoOtherOpen() {
    Watched last = new Watched("b");
    InputStream stubborn =
        new ByteArrayInputStream(new byte[1]) {
          @Override
          public void close() {
            throw new AssertionError("stubborn");
          }
        };
    pieces(List.of(stubborn, last)).close();
    assertEquals(1, last.closed);
  }

  @Test
  void anErrorInTheMiddleClosesWhatFollows() {
    Watched last = new Watched("b");
    Error error = new OutOfMemoryError("thrown by a test");
    InputStream failing =
        new InputStream() {
          @Override
          public int read() {
            throw error;
          }
        };
    BodyPieces pieces = pieces(List.of("a", failing, last));
    Error thrown = assertThrows(Error.class, () -> pieces.next(output));
    assertSame(error, thrown);
    assertEquals(1, last.closed);
    assertFalse(pieces.next(output));
  }

  @Test
  void noPartOfAPacketIsHandedOverBeforeAFailure() {
    InputStream failing =
        new InputStream() {
          private int left = CHUNK + 10;

          @Override
          public int read() throws IOException {
            if (left-- <= 0) {
              throw new IOException("cut off");
            }
            return 'x';
          }
        };
    BodyPieces pieces = pieces(failing);
    assertTrue(pieces.next(output));
    MilterException refusal = refused(() -> pieces.next(output));
    assertTrue(refusal.getMessage().contains("the body cannot be read: \"cut off\""));
    assertEquals(5 + CHUNK, output.size());
  }

  // ---- used once

  @Test
  void aStreamIsUsedOnce() {
    InputStream stream = stream("once");
    assertEquals("once", text(stream));
    for (Object body : List.of(stream, List.of("a", stream), function(() -> stream))) {
      assertTrue(refused(() -> text(body)).getMessage().contains(USED));
    }
    assertTrue(refused(() -> ActionCodec.check(action(stream))).getMessage().contains(USED));
  }

  @Test
  void aStreamTwiceInOneBodyIsRefused() {
    Watched stream = new Watched("twice");
    refused(() -> text(List.of(stream, stream)));
    assertEquals(1, stream.closed);
  }

  @Test
  void aRefusedBodyLeavesTheStreamOfAnotherMessageOpen() {
    Watched busy = new Watched("busy");
    Watched fresh = new Watched("fresh");
    BodyPieces first = pieces(busy);
    refused(() -> pieces(List.of(fresh, busy)));
    BodyPieces.discard(action(List.of(busy, fresh)));
    assertEquals(List.of(0, 1), List.of(busy.closed, fresh.closed));
    assertEquals("busy", joined(first));
  }

  @Test
  void aCheckUsesNothingUp() {
    Watched stream = new Watched("still there");
    ActionCodec.check(action(stream));
    ActionCodec.check(action(stream));
    assertEquals(0, stream.closed);
    assertEquals("still there", text(stream));
  }

  @Test
  void streamsAreTakenByIdentity() {
    class Equal extends ByteArrayInputStream {
      Equal() {
        super("same".getBytes(StandardCharsets.US_ASCII));
      }

      @Override
      public boolean equals(Object other) {
        throw new AssertionError("equals was called");
      }

      @Override
      public int hashCode() {
        throw new AssertionError("hashCode was called");
      }
    }
    assertEquals("samesame", text(List.of(new Equal(), new Equal())));
  }

  @Test
  void usedStreamsAreNotKept() throws InterruptedException {
    for (int i = 0; i < 10_000; i++) {
      text(stream("short-lived"));
    }
    for (int i = 0; i < 100 && UsedStreams.size() > 1000; i++) {
      System.gc();
      Thread.sleep(10);
    }
    assertTrue(UsedStreams.size() <= 1000, UsedStreams.size() + " are kept");
  }

  @Test
  void twoThreadsNeverUseOneStreamTogether() throws InterruptedException {
    for (int round = 0; round < 200; round++) {
      InputStream stream = stream("contended");
      AtomicInteger won = new AtomicInteger();
      Runnable claim =
          () -> {
            if (UsedStreams.claim(stream)) {
              won.incrementAndGet();
            }
          };
      List<Thread> threads = List.of(new Thread(claim), new Thread(claim));
      threads.forEach(Thread::start);
      for (Thread thread : threads) {
        thread.join();
      }
      assertEquals(1, won.get());
    }
  }

  // ---- changed meanwhile

  @Test
  void whatIsChangedAfterwardsDoesNotChangeTheMail() {
    byte[] bytes = "good".getBytes(StandardCharsets.US_ASCII);
    List<Object> list = new ArrayList<>(List.of(bytes, new ArrayList<>(List.of(bytes))));
    BodyPieces pieces = pieces(list);
    Arrays.fill(bytes, (byte) 'x');
    list.clear();
    assertEquals("goodgood", joined(pieces));
  }

  // ---- what is no body

  @Test
  void whatIsNoBodyIsNamed() {
    String advice = ":body must be a string, bytes, an InputStream, a File, a Path, a Supplier";
    for (Object body : new Object[] {null, 42L, Wire.map("a", "b"), List.of("a", 42L), 'c'}) {
      assertTrue(refused(() -> pieces(body)).getMessage().contains(advice));
      assertTrue(refused(() -> ActionCodec.check(action(body))).getMessage().contains(advice));
    }
    assertTrue(refused(() -> pieces(List.of(42L))).getMessage().contains("among its parts is 42"));
    assertTrue(refused(() -> text(function(() -> 42L))).getMessage().contains(advice));
    assertTrue(refused(() -> text(function(() -> null))).getMessage().contains(advice));
    assertTrue(refused(() -> text(lazily(i -> 42L))).getMessage().contains(advice));
  }

  @Test
  void streamsBesideWhatIsNoBodyAreClosed() {
    Watched before = new Watched("a");
    Watched after = new Watched("b");
    refused(() -> pieces(List.of(before, 42L, after)));
    assertEquals(List.of(1, 1), List.of(before.closed, after.closed));
    Watched misspelt = new Watched("c");
    refused(() -> ActionCodec.encode(action(misspelt).assoc(Wire.key("bdy"), 1), output));
    assertEquals(1, misspelt.closed);
  }

  @Test
  void textThatStandsForNoBytesIsRefusedBeforeAnythingIsSent() {
    String text = "a".repeat(200_000) + "\uDC00";
    MilterException refusal = refused(() -> ActionCodec.encode(action(text), output));
    assertTrue(refusal.getMessage().contains(":body holds the lone surrogate U+DC00"));
    assertEquals(0, output.size());
  }

  @Test
  void sequencesWithoutEndOrBottomAreCheckedAndEndInAnError() {
    ArrayList<Object> itself = new ArrayList<>();
    itself.add(itself);
    itself.add(itself);
    assertTrue(
        refused(() -> ActionCodec.check(action(itself))).getMessage().contains("64 levels deep"));
    Iterable<Object> lazyItself =
        new Iterable<>() {
          @Override
          public Iterator<Object> iterator() {
            return List.<Object>of(this).iterator();
          }
        };
    for (Object body :
        List.of(
            lazyItself,
            Repeat.create(""),
            Repeat.create(PersistentVector.EMPTY),
            function(() -> lazyItself))) {
      ActionCodec.check(action(body));
      refused(() -> text(body));
    }
    ActionCodec.check(
        action(Iterate.create(function(() -> "x"), new Cons("x", Repeat.create("x")))));
  }

  @Test
  void aStreamThatYieldsNothingForEverEndsInAnError() {
    InputStream stuck =
        new InputStream() {
          @Override
          public int read() {
            return 0;
          }

          @Override
          public int read(byte[] target, int offset, int length) {
            return 0;
          }
        };
    assertTrue(refused(() -> text(stuck)).getMessage().contains("yielded nothing"));
  }

  // ---- memory

  @Test
  void aLargeBodyGoesThroughASmallHeap() throws Exception {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx64m",
                "-cp",
                System.getProperty("java.class.path"),
                Large.class.getName())
            .redirectErrorStream(true)
            .start();
    process.getOutputStream().close();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    assertEquals(3L * Large.SIZE, Long.parseLong(output.strip()));
  }

  /** Encodes 500 MB from a stream, from a Supplier and from a sequence. */
  static final class Large {
    static final long SIZE = 500_000_000;
    private static long sent;

    private Large() {}

    public static void main(String[] arguments) {
      for (Function<InputStream, Object> body :
          List.<Function<InputStream, Object>>of(
              stream -> stream,
              stream -> (Supplier<InputStream>) () -> stream,
              stream -> List.of("", stream))) {
        BodyPieces pieces = BodyPieces.of(action(body.apply(zeros())));
        Output output = new Output();
        while (pieces.next(output)) {
          sent += output.size() - 5;
          output.clear();
        }
      }
      System.out.println(sent);
    }

    private static InputStream zeros() {
      return new InputStream() {
        private long left = SIZE;

        @Override
        public int read() {
          return left-- > 0 ? 0 : -1;
        }

        @Override
        public int read(byte[] target, int offset, int length) {
          int count = (int) Math.min(left, length);
          left -= count;
          return count == 0 ? -1 : count;
        }
      };
    }
  }

  private static final class Watched extends ByteArrayInputStream {
    private int closed;

    Watched(String text) {
      super(text.getBytes(StandardCharsets.US_ASCII));
    }

    @Override
    public void close() {
      closed++;
    }
  }

  private static IPersistentMap action(Object body) {
    return ActionCodec.action(ActionType.CHANGE_BODY, Keys.BODY, body);
  }

  private static BodyPieces pieces(Object body) {
    return BodyPieces.of(action(body));
  }

  private static byte[] read(Object body) {
    ByteArrayOutputStream read = new ByteArrayOutputStream();
    ActionCodec.packets(action(body)).forEach(packet -> read.writeBytes(packet.payload()));
    return read.toByteArray();
  }

  private static String text(Object body) {
    return Text.decode(read(body));
  }

  private static String joined(BodyPieces pieces) {
    StringBuilder joined = new StringBuilder();
    Output packet = new Output();
    while (pieces.next(packet)) {
      joined.append(Text.decode(packet.toByteArray(), 5, packet.size()));
      packet.clear();
    }
    return joined.toString();
  }

  private static InputStream stream(String text) {
    return new ByteArrayInputStream(text.getBytes(StandardCharsets.US_ASCII));
  }

  private static AFn function(Supplier<Object> value) {
    return new Thunk(value);
  }

  private static final class Thunk extends AFn implements clojure.lang.Fn {
    private final transient Supplier<Object> value;

    Thunk(Supplier<Object> value) {
      this.value = value;
    }

    @Override
    public Object invoke() {
      return value.get();
    }
  }

  /** Returns a lazy sequence of what the function returns for 0, 1, 2 …, up to a null. */
  private static LazySeq lazily(Function<Integer, Object> part) {
    return lazily(part, 0);
  }

  private static LazySeq lazily(Function<Integer, Object> part, int from) {
    return new LazySeq(
        function(
            () -> {
              Object first = part.apply(from);
              return first == null ? null : new Cons(first, lazily(part, from + 1));
            }));
  }

  private static MilterException refused(Runnable action) {
    MilterException refusal = assertThrows(MilterException.class, action::run);
    assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
    return refusal;
  }

  private static byte[] random(int size) {
    byte[] bytes = new byte[size];
    new Random(size).nextBytes(bytes);
    return bytes;
  }
}
