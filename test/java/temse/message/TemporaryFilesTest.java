package temse.message;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files for bodies: private, without a name, and none is left. */
class TemporaryFilesTest {
  private static final String ID = "-00000000-0000-0000-0000-000000000000.body";

  @TempDir private Path directory;

  private List<String> names() throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  /** Returns the name of a file of a process that has ended. */
  private static String left() throws Exception {
    Process process =
        new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString())
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    process.waitFor();
    return "temse-" + process.pid() + "-1" + ID;
  }

  @Test
  void aFileHasNoNameAsSoonAsItIsOpen() throws IOException {
    BodyFile file = new TemporaryFiles(directory).open();
    file.append(new byte[] {1, 2, 3}, 3);
    byte[] read = new byte[2];
    assertEquals(2, file.read(1, read, 0, 2));
    assertEquals(2, read[0]);
    assertEquals(List.of(), names());
    file.release();
  }

  @Test
  void whereAnOpenFileKeepsItsNameOnlyItsOwnerMayReadItAndItIsDeletedWhenItIsReleased()
      throws IOException {
    Assumptions.assumeTrue(
        directory.getFileSystem().supportedFileAttributeViews().contains("posix"));
    Path path = directory.resolve("kept");
    BodyFile file =
        new BodyFile(
            path,
            FileChannel.open(path, TemporaryFiles.OPTIONS, TemporaryFiles.privately(path)),
            open -> {
              throw new IOException("in use");
            });
    assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(path)));
    file.release();
    assertEquals(List.of(), names());
  }

  @Test
  void aNameThatIsTakenIsLeftToWhoHasIt() throws IOException {
    Path file = Files.writeString(directory.resolve("file"), "precious");
    for (Path target : List.of(file, directory.resolve("nowhere"))) {
      Path link = Files.createSymbolicLink(directory.resolve("to-" + target.getFileName()), target);
      for (Path taken : List.of(link, file)) {
        assertThrows(
            FileAlreadyExistsException.class,
            () -> FileChannel.open(taken, TemporaryFiles.OPTIONS, TemporaryFiles.privately(taken)));
      }
    }
    assertEquals("precious", Files.readString(file));
    assertEquals(List.of("file", "to-file", "to-nowhere"), names());
  }

  @Test
  void whatProcessesThatAreGoneHaveLeftIsDeletedWithTheFirstFile() throws Exception {
    Files.createFile(directory.resolve(left()));
    Files.createFile(directory.resolve("temse-" + Long.MAX_VALUE / 100 + "-0" + ID));
    new TemporaryFiles(directory).open().release();
    assertEquals(List.of(), names());
  }

  @Test
  void filesOfProcessesThatLiveAndOfOthersStay() throws Exception {
    List<String> others = new ArrayList<>();
    long ours = ProcessHandle.current().pid();
    long start = ProcessHandle.current().info().startInstant().orElseThrow().toEpochMilli();
    others.add("temse-" + ours + "-" + start + ID);
    others.add("temse-" + ours + "-0" + ID);
    others.add("temse-999999999-1.body");
    others.add("temse-999999999-1-x.body");
    others.add("other-999999999-1" + ID);
    for (String name : others) {
      Files.createFile(directory.resolve(name));
    }
    Files.createDirectory(directory.resolve("temse-999999998-1" + ID));
    Path link = directory.resolve("temse-999999997-1" + ID);
    Files.createSymbolicLink(link, directory.resolve("other-999999999-1" + ID));
    others.add("temse-999999998-1" + ID);
    others.add("temse-999999997-1" + ID);
    new TemporaryFiles(directory).open().release();
    assertEquals(others.stream().sorted().toList(), names());
  }

  @Test
  void aProcessThatHasGotTheNumberOfOneThatIsGoneDoesNotKeepItsFiles() throws Exception {
    Files.createFile(directory.resolve("temse-" + ProcessHandle.current().pid() + "-1" + ID));
    new TemporaryFiles(directory).open().release();
    assertEquals(List.of(), names());
  }

  @Test
  void filesOfAnotherUserStay() throws Exception {
    Path file = Files.createFile(directory.resolve(left()));
    try {
      Files.setAttribute(file, "unix:uid", 12345);
    } catch (IOException | UnsupportedOperationException notAllowed) {
      Assumptions.abort("only root can give files away");
    }
    new TemporaryFiles(directory).open().release();
    assertEquals(List.of(file.getFileName().toString()), names());
  }

  @Test
  void aDirectoryThatIsMissingIsAnError() {
    TemporaryFiles files = new TemporaryFiles(directory.resolve("missing"));
    assertThrows(IOException.class, files::open);
    assertThrows(IOException.class, files::open);
  }
}
