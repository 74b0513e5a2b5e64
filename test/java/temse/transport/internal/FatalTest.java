package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import temse.transport.TransportOptions;

/** Threads that mail depends on and that cannot go on. */
@Timeout(120)
class FatalTest {
  private final Queue<Throwable> problems = new ConcurrentLinkedQueue<>();

  private ToyServer server(ToyConversation.Handler handler) throws IOException {
    return new ToyServer(handler, options -> options.loops(1).onFatal(problems::add));
  }

  @Test
  void aLoopWhoseSelectorFailsForGoodIsFatalAndTheServerStops() throws Exception {
    RuntimeException sabotage = new IllegalStateException("made up");
    try (ToyServer toy = server((line, link) -> line);
        ToyServer.Client client = toy.connect()) {
      assertEquals("x", client.ask("x"));
      toy.server.loops()[0].sockets().sabotage = sabotage;
      client.send("y\n");
      toy.server.join();
      assertEquals(List.of(sabotage), List.copyOf(problems));
      client.read();
      assertTrue(isRefused(toy), "somebody listens");
    }
  }

  @Test
  void aTaskThatFailsIsNotFatal() throws Exception {
    try (ToyServer toy = server((line, link) -> line);
        ToyServer.Client client = toy.connect()) {
      for (int i = 0; i < 100; i++) {
        toy.server.loops()[0].post(
            () -> {
              throw new OutOfMemoryError("made up");
            });
      }
      assertEquals("x", client.ask("x"));
      ToyServer.await("all were reported", () -> toy.listener.failures.size() == 100);
      assertEquals(List.of(), List.copyOf(problems));
    }
  }

  @Test
  void aWatcherThatFailsIsFatal() throws Exception {
    Spares spares =
        new Spares(TransportOptions.builder().name("fatal").loops(1).build(), problem -> {});
    Watcher watcher = new Watcher(new EventLoop[1], spares, 1_000_000, problems::add);
    Thread thread = new Thread(watcher);
    thread.start();
    thread.join(20_000);
    assertInstanceOf(NullPointerException.class, problems.peek());
    spares.shutdown();
  }

  @Test
  void anErrorOfTheVirtualMachineIsFatalAtOnce() throws Exception {
    InternalError error = new InternalError("made up");
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("x")) {
            throw error;
          }
          return line;
        };
    try (ToyServer toy = server(handler);
        ToyServer.Client client = toy.connect()) {
      assertNull(client.ask("x"));
      toy.server.join();
      assertEquals(List.of(error), List.copyOf(problems));
    }
  }

  @Test
  void anOnFatalThatThrowsStopsTheServerAllTheSame() throws Exception {
    try (ToyServer toy =
        new ToyServer(
            (line, link) -> line,
            options ->
                options.onFatal(
                    problem -> {
                      throw new IllegalStateException(problem);
                    }))) {
      toy.server.fatal(new IllegalStateException("made up"));
      toy.server.join();
    }
  }

  private static boolean isRefused(ToyServer toy) {
    try {
      toy.connect().close();
      return false;
    } catch (IOException e) {
      return true;
    }
  }

  @Test
  void theProcessEndsWithItsOwnCodeAndALineWhenThereIsNoMemory() throws Exception {
    List<String> lines = exitOf("memory");
    assertEquals(1, lines.size(), lines::toString);
    assertTrue(lines.get(0).startsWith("hungry: "), lines::toString);
    assertTrue(lines.get(0).contains("java.lang.OutOfMemoryError"), lines::toString);
  }

  @Test
  void theProcessEndsThoughNobodyReadsItsStandardError() throws Exception {
    exitOf("internal", "clogged");
  }

  /** Returns what a server says on the standard error; expects its code. */
  private static List<String> exitOf(String... arguments) throws Exception {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx32m",
                "-XX:+UseSerialGC",
                "-XX:-UseGCOverheadLimit",
                "-cp",
                System.getProperty("java.class.path"),
                HungryServer.class.getName()));
    command.addAll(List.of(arguments));
    Process process = new ProcessBuilder(command).start();
    try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8)) {
      int port = Integer.parseInt(out.readLine());
      long limit = System.nanoTime() + Duration.ofSeconds(90).toNanos();
      while (process.isAlive() && System.nanoTime() < limit) {
        feed(port);
      }
      assertTrue(process.waitFor(5, TimeUnit.SECONDS), "it goes on without memory");
      assertEquals(ProcessEnd.CODE, process.exitValue());
      return process.errorReader(StandardCharsets.UTF_8).lines().toList();
    } finally {
      process.destroyForcibly();
    }
  }

  private static void feed(int port) {
    try (ToyServer.Client client = new ToyServer.Client(port)) {
      client.socket.setSoTimeout(3000);
      client.ask("more");
    } catch (IOException e) {
      // It may have ended.
    }
  }
}
