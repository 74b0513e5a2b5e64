package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** The file of a Unix-domain socket: when it is made, replaced and removed. */
@Timeout(60)
class UnixSocketTest {
  private static final TransportOptions DEFAULTS = TransportOptions.builder().build();

  @TempDir private Path directory;

  private final ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> line);
  private final ToyServer.Listener listener = new ToyServer.Listener();

  private SocketServer start(Path path, TransportOptions options) throws IOException {
    return SocketServer.start(List.of(new Endpoint.Unix(path)), options, toys::open, listener);
  }

  private static String ask(Path path, String line) throws IOException {
    try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(path))) {
      channel.write(ByteBuffer.wrap((line + "\n").getBytes()));
      ByteBuffer answer = ByteBuffer.allocate(100);
      while (answer.position() == 0 || answer.get(answer.position() - 1) != '\n') {
        if (channel.read(answer) < 0) {
          return null;
        }
      }
      return new String(answer.array(), 0, answer.position() - 1);
    }
  }

  private List<Path> files() throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.toList();
    }
  }

  @Test
  @Tag("L4")
  void servesAndLeavesNothingBehind() throws Exception {
    Path path = directory.resolve("milter.sock");
    try (SocketServer server = start(path, DEFAULTS)) {
      assertEquals("unix:" + path, server.endpoint().toString());
      assertEquals("x", ask(path, "x"));
      assertEquals(List.of(path), files());
      assertEquals("unix:", listener.opened.peek());
    }
    assertEquals(List.of(), files());
    assertEquals(List.of(), List.copyOf(listener.failures));
  }

  @Test
  void getsItsModeAndGroup() throws Exception {
    Path path = directory.resolve("milter.sock");
    String group = Files.readAttributes(directory, PosixFileAttributes.class).group().getName();
    TransportOptions options =
        TransportOptions.builder().unixMode("rw-rw----").unixGroup(group).build();
    try (SocketServer server = start(path, options)) {
      assertEquals("x", ask(path, "x"));
      PosixFileAttributes attributes = Files.readAttributes(path, PosixFileAttributes.class);
      assertEquals("rw-rw----", PosixFilePermissions.toString(attributes.permissions()));
      assertEquals(group, attributes.group().getName());
      assertEquals(1, server.endpoints().size());
    }
  }

  @Test
  void refusesAGroupThatDoesNotExist() throws Exception {
    TransportOptions options = TransportOptions.builder().unixGroup("no such group").build();
    IOException e = assertThrows(IOException.class, () -> start(directory.resolve("s"), options));
    assertTrue(e.getMessage().contains("there is no group \"no such group\""), e.getMessage());
    assertEquals(List.of(), files());
  }

  @Test
  @Tag("L3")
  void replacesASocketNobodyAnswersOn() throws Exception {
    Path path = directory.resolve("milter.sock");
    try (ServerSocketChannel stale = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      stale.bind(UnixDomainSocketAddress.of(path));
    }
    assertTrue(Files.exists(path));
    try (SocketServer server = start(path, DEFAULTS)) {
      assertEquals("x", ask(path, "x"));
      assertEquals(0, server.counters().refused());
    }
    assertEquals(List.of(), files());
  }

  @Test
  @Tag("L3")
  void leavesASocketAloneThatSomebodyAnswersOn() throws Exception {
    Path path = directory.resolve("milter.sock");
    try (SocketServer server = start(path, DEFAULTS)) {
      IOException e = assertThrows(IOException.class, () -> start(path, DEFAULTS));
      assertTrue(e.getMessage().contains("somebody answers"), e.getMessage());
      assertEquals("x", ask(path, "x"));
      assertEquals(List.of(path), files());
      assertEquals(1, server.endpoints().size());
    }
  }

  @Test
  @Tag("L3")
  void leavesOtherFilesAlone() throws Exception {
    Path file = Files.writeString(directory.resolve("file"), "precious");
    Path folder = Files.createDirectory(directory.resolve("folder"));
    Path link = Files.createSymbolicLink(directory.resolve("link"), directory.resolve("none"));
    for (Path path : List.of(file, folder, link)) {
      IOException e = assertThrows(IOException.class, () -> start(path, DEFAULTS));
      assertTrue(e.getMessage().contains("is not a socket"), e.getMessage());
    }
    assertEquals("precious", Files.readString(file));
    assertTrue(Files.isSymbolicLink(link));
    assertEquals(3, files().size());
  }

  @Test
  void doesNotRemoveTheFileOfASuccessor() throws Exception {
    Path path = directory.resolve("milter.sock");
    try (SocketServer first = start(path, DEFAULTS)) {
      Files.delete(path);
      try (SocketServer second = start(path, DEFAULTS)) {
        first.stop(Duration.ZERO);
        assertEquals("x", ask(path, "x"));
        assertEquals(1, second.endpoints().size());
      }
      assertFalse(Files.exists(path, LinkOption.NOFOLLOW_LINKS));
    }
  }

  @Test
  void saysThatTheDirectoryIsMissing() {
    Path path = directory.resolve("none").resolve("milter.sock");
    IOException e = assertThrows(IOException.class, () -> start(path, DEFAULTS));
    assertEquals(
        "cannot listen on unix:" + path + ": there is no directory " + path.getParent(),
        e.getMessage());
  }

  @Test
  @Tag("L3")
  void leavesASocketAloneThatBelongsToSomebodyElse() throws Exception {
    assumeTrue(isRoot(), "only root can give a file away");
    Path path = directory.resolve("milter.sock");
    try (ServerSocketChannel stale = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      stale.bind(UnixDomainSocketAddress.of(path));
    }
    Files.setAttribute(path, "unix:uid", 12345);
    IOException e = assertThrows(IOException.class, () -> start(path, DEFAULTS));
    assertTrue(e.getMessage().contains("belongs to another user"), e.getMessage());
    assertEquals(List.of(path), files());
  }

  @Test
  void getsAGroupOtherThanThatOfItsProcess() throws Exception {
    assumeTrue(isRoot(), "only root can choose any group");
    Path path = directory.resolve("milter.sock");
    TransportOptions options =
        TransportOptions.builder().unixMode("rwxrwx---").unixGroup("daemon").build();
    try (SocketServer server = start(path, options)) {
      PosixFileAttributes attributes = Files.readAttributes(path, PosixFileAttributes.class);
      assertEquals("daemon", attributes.group().getName());
      assertEquals("rwxrwx---", PosixFilePermissions.toString(attributes.permissions()));
      assertEquals("x", ask(path, "x"));
      assertEquals(1, server.endpoints().size());
    }
  }

  @Test
  void isNeverSeenWithAnotherMode() throws Exception {
    Path path = directory.resolve("milter.sock");
    TransportOptions options = TransportOptions.builder().unixMode("rw-------").build();
    Set<String> modes = ConcurrentHashMap.newKeySet();
    AtomicBoolean over = new AtomicBoolean();
    Thread observer =
        new Thread(
            () -> {
              while (!over.get()) {
                try {
                  modes.add(PosixFilePermissions.toString(Files.getPosixFilePermissions(path)));
                } catch (IOException absent) {
                  Thread.onSpinWait();
                }
              }
            });
    observer.start();
    for (int i = 0; i < 50 || modes.isEmpty(); i++) {
      start(path, options).close();
    }
    over.set(true);
    observer.join();
    assertEquals(Set.of("rw-------"), modes);
  }

  @Test
  @Tag("L2")
  void everyPathOfPermittedLengthWorksOrIsRefusedWithTheLimit() throws Exception {
    int separator = directory.toString().length() + 1;
    for (int name = 1; name <= 6; name++) {
      Path folder = directory.resolve("d".repeat(106 - 1 - name - separator));
      Path path = Files.createDirectory(folder).resolve("s".repeat(name));
      assertEquals(106, path.toString().length());
      if (folder.toString().length() <= 98) {
        try (SocketServer server = start(path, DEFAULTS)) {
          assertEquals("x", ask(path, "x"));
          assertEquals(1, server.endpoints().size());
        }
      } else {
        IOException e = assertThrows(IOException.class, () -> start(path, DEFAULTS));
        assertTrue(e.getMessage().contains("at most 98 bytes"), e.getMessage());
      }
      try (Stream<Path> left = Files.list(folder)) {
        assertEquals(List.of(), left.toList());
      }
    }
  }

  private boolean isRoot() throws IOException {
    return Integer.valueOf(0).equals(Files.getAttribute(directory, "unix:uid"));
  }
}
