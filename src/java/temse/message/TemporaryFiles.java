package temse.message;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermissions;
import java.nio.file.attribute.UserPrincipal;
import java.time.Instant;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The files of one directory that hold bodies: nobody else may read them, and where the system
 * allows they have no name. Names say which process has made them, so that those of a process that
 * was killed can be deleted. Thread-safe.
 */
class TemporaryFiles {
  private static final Pattern NAME =
      Pattern.compile("temse-(\\d{1,18})-(\\d{1,18})-[0-9a-f-]{36}\\.body");
  static final Set<StandardOpenOption> OPTIONS =
      Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE);
  private static final String PROCESS = processName(ProcessHandle.current());

  private final Path directory;
  private boolean cleaned;

  TemporaryFiles(Path directory) {
    this.directory = directory;
  }

  /** Opens a new file. The first call also deletes what processes that are gone have left. */
  BodyFile open() throws IOException {
    clean();
    while (true) {
      Path path = directory.resolve("temse-" + PROCESS + "-" + UUID.randomUUID() + ".body");
      try {
        return new BodyFile(path, FileChannel.open(path, OPTIONS, privately(path)));
      } catch (FileAlreadyExistsException another) {
        // A name that somebody else has taken is left to them.
      }
    }
  }

  static FileAttribute<?>[] privately(Path path) {
    return path.getFileSystem().supportedFileAttributeViews().contains("posix")
        ? new FileAttribute<?>[] {
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------"))
        }
        : new FileAttribute<?>[0];
  }

  private static String processName(ProcessHandle process) {
    Optional<Instant> start = process.info().startInstant();
    return process.pid() + "-" + start.map(Instant::toEpochMilli).orElse(0L);
  }

  // ---- files that were left

  /** Deletes, once, the files that processes of this user have left and that are gone now. */
  synchronized void clean() throws IOException {
    if (cleaned) {
      return;
    }
    cleaned = true;
    UserPrincipal owner = null;
    try (DirectoryStream<Path> files = Files.newDirectoryStream(directory, "temse-*.body")) {
      for (Path file : files) {
        if (isLeft(file)) {
          owner = owner == null ? owner() : owner;
          if (owner.equals(Files.getOwner(file, LinkOption.NOFOLLOW_LINKS))) {
            Files.deleteIfExists(file);
          }
        }
      }
    }
  }

  private static boolean isLeft(Path file) {
    Matcher name = NAME.matcher(file.getFileName().toString());
    return name.matches()
        && Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)
        && !isAlive(Long.parseLong(name.group(1)), Long.parseLong(name.group(2)));
  }

  /** A process of that number which began at another time is another process. */
  private static boolean isAlive(long pid, long start) {
    Optional<ProcessHandle> process = ProcessHandle.of(pid).filter(ProcessHandle::isAlive);
    return process
        .map(handle -> start == 0 || processName(handle).equals(pid + "-" + start))
        .orElse(false);
  }

  /** Returns who owns the files that this process makes here. */
  private UserPrincipal owner() throws IOException {
    Path probe = Files.createTempFile(directory, "temse-", ".probe");
    try {
      return Files.getOwner(probe);
    } finally {
      Files.deleteIfExists(probe);
    }
  }
}
