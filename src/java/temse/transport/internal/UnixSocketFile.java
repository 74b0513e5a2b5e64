package temse.transport.internal;

import java.io.IOException;
import java.net.BindException;
import java.net.ConnectException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLockInterruptionException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.GroupPrincipal;
import java.nio.file.attribute.PosixFileAttributeView;
import java.nio.file.attribute.PosixFilePermissions;
import java.nio.file.attribute.UserPrincipalNotFoundException;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/**
 * The file of a listening Unix-domain socket.
 *
 * <p>The socket is bound in a private directory beside its place, gets its mode and group there,
 * and is then linked into place, which never replaces anything: nobody can connect before the mode
 * is right. A socket that is there already is removed only if it belongs to the user of this
 * process and nobody answers on it; any other file is never removed. If it may be taken over, the
 * new socket is renamed to the name of the old one, whoever answers on that, so that at each moment
 * one of the two can be connected to.
 */
final class UnixSocketFile {
  private static final int FILE_TYPE = 0170000;
  private static final int SOCKET = 0140000;
  private static final int NAMES = 36 * 36 * 36 * 36;
  private static final long MOST_LOCK_BYTES = 1L << 30;
  private static final Set<OpenOption> LOCK_OPTIONS =
      Set.of(StandardOpenOption.CREATE, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS);
  private static final FileAttribute<?> PRIVATE =
      PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------"));
  private static final int LONGEST_DIRECTORY = Endpoint.Unix.LONGEST_PATH - "/.zzzz/s".length();

  private final Path path;
  private final Object identity;

  private UnixSocketFile(Path path, Object identity) {
    this.path = path;
    this.identity = identity;
  }

  /**
   * Binds the channel to a socket file at {@code path}.
   *
   * @param options mode and group of the file, and whether the place may be taken over
   * @throws BindException if the place is taken, or its directory's path is too long for a private
   *     directory in it
   */
  static UnixSocketFile bind(ServerSocketChannel channel, Path path, TransportOptions options)
      throws IOException {
    String mode = options.unixMode();
    String group = options.unixGroup();
    Path parent = path.getParent();
    checkLength(parent);
    Path directory = privateDirectory(parent == null ? Path.of("") : parent);
    Path socket = directory.resolve("s");
    try {
      channel.bind(UnixDomainSocketAddress.of(socket), options.backlog());
      if (mode != null) {
        Files.setPosixFilePermissions(socket, PosixFilePermissions.fromString(mode));
      }
      if (group != null) {
        giveTo(group, socket);
      }
      Object identity = identity(socket);
      putIntoPlace(socket, path, options.takeOver());
      return new UnixSocketFile(path, identity);
    } finally {
      Files.deleteIfExists(socket);
      Files.delete(directory);
    }
  }

  /** {@return false if the file is gone, or another one has taken its place} */
  boolean isInPlace() {
    try {
      return identity.equals(identity(path));
    } catch (NoSuchFileException gone) {
      return false;
    } catch (IOException unknown) {
      return true;
    }
  }

  /** Removes the file, unless another one has taken its place. */
  void remove() throws IOException {
    alone(
        path,
        () -> {
          if (identity.equals(identity(path))) {
            Files.delete(path);
          }
        });
  }

  private interface Removal {
    void run() throws IOException;
  }

  /**
   * Runs what may remove the file while no other process and no other thread does so: between a
   * look at the file and its removal nobody else can remove it and put another one in its place.
   * The lock is a file beside it, which exists for that time only.
   */
  private static synchronized void alone(Path path, Removal removal) throws IOException {
    Path lock = path.resolveSibling("." + path.getFileName() + ".lock");
    boolean interrupted = Thread.interrupted();
    try {
      while (!ranAlone(lock, removal)) {
        interrupted |= Thread.interrupted();
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** Returns false if another one was faster, or the thread was interrupted. */
  private static boolean ranAlone(Path lock, Removal removal) throws IOException {
    try (FileChannel channel = FileChannel.open(lock, LOCK_OPTIONS, PRIVATE)) {
      channel.lock();
      if (!isThere(lock, channel)) {
        return false;
      }
      try {
        removal.run();
      } finally {
        Files.delete(lock);
      }
      return true;
    } catch (ClosedByInterruptException | FileLockInterruptionException hurry) {
      return false;
    } catch (NoSuchFileException gone) {
      return true;
    } catch (AccessDeniedException e) {
      throw new IOException("this process may not write to " + e.getFile(), e);
    }
  }

  /**
   * Returns true if the locked file is still the one of that name: its last holder deletes it. They
   * are compared by a size that is unlikely to come twice, since a file that is opened and closed
   * once more loses its locks.
   */
  private static boolean isThere(Path lock, FileChannel channel) throws IOException {
    long size = ThreadLocalRandom.current().nextLong(1, MOST_LOCK_BYTES);
    channel.truncate(0);
    channel.write(ByteBuffer.allocate(1), size - 1);
    try {
      return Files.size(lock) == size;
    } catch (NoSuchFileException deleted) {
      return false;
    }
  }

  private static void checkLength(Path parent) throws BindException {
    int length = parent == null ? 0 : parent.toString().getBytes(StandardCharsets.UTF_8).length;
    if (length > LONGEST_DIRECTORY) {
      throw new BindException(
          "the directory of a socket has at most " + LONGEST_DIRECTORY + " bytes, not " + length);
    }
  }

  /** A name of few characters: the path of a socket is limited to about a hundred bytes. */
  private static Path privateDirectory(Path parent) throws IOException {
    while (true) {
      int name = ThreadLocalRandom.current().nextInt(NAMES);
      try {
        return Files.createDirectory(
            parent.resolve("." + Integer.toString(name, 36)),
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
      } catch (FileAlreadyExistsException taken) {
        // Try another name.
      } catch (NoSuchFileException e) {
        throw new IOException("there is no directory " + parent, e);
      } catch (AccessDeniedException e) {
        throw new IOException("this process may not write to the directory " + parent, e);
      }
    }
  }

  private static void giveTo(String name, Path socket) throws IOException {
    GroupPrincipal group = group(name);
    try {
      Files.getFileAttributeView(socket, PosixFileAttributeView.class).setGroup(group);
    } catch (FileSystemException e) {
      throw new IOException(
          "this user may not give the socket to the group \""
              + name
              + "\"; make the user a member of it",
          e);
    }
  }

  private static GroupPrincipal group(String name) throws IOException {
    try {
      return FileSystems.getDefault()
          .getUserPrincipalLookupService()
          .lookupPrincipalByGroupName(name);
    } catch (UserPrincipalNotFoundException e) {
      throw new IOException("there is no group \"" + name + "\"", e);
    }
  }

  private static void putIntoPlace(Path socket, Path path, boolean takeOver) throws IOException {
    Object user = user(socket);
    while (Files.exists(socket, LinkOption.NOFOLLOW_LINKS)) {
      try {
        Files.createLink(path, socket);
        return;
      } catch (FileAlreadyExistsException taken) {
        alone(path, takeOver ? () -> replace(socket, path, user) : () -> removeStale(path, user));
      }
    }
  }

  private static void replace(Path socket, Path path, Object user) throws IOException {
    checkSocketOf(user, path);
    Files.move(socket, path, StandardCopyOption.ATOMIC_MOVE);
  }

  private static void removeStale(Path path, Object user) throws IOException {
    checkSocketOf(user, path);
    if (answers(path)) {
      throw new BindException(path + " is in use: somebody answers on it");
    }
    Files.delete(path);
  }

  private static void checkSocketOf(Object user, Path path) throws IOException {
    int mode = (Integer) Files.getAttribute(path, "unix:mode", LinkOption.NOFOLLOW_LINKS);
    if ((mode & FILE_TYPE) != SOCKET) {
      throw new BindException(path + " exists and is not a socket; it was left alone");
    }
    if (!user.equals(user(path))) {
      throw new BindException(path + " belongs to another user; it was left alone");
    }
  }

  private static boolean answers(Path path) throws IOException {
    try (SocketChannel probe = SocketChannel.open(StandardProtocolFamily.UNIX)) {
      probe.configureBlocking(false);
      probe.connect(UnixDomainSocketAddress.of(path));
      return true;
    } catch (ConnectException refused) {
      return false;
    }
  }

  private static Object user(Path path) throws IOException {
    return Files.getAttribute(path, "unix:uid", LinkOption.NOFOLLOW_LINKS);
  }

  private static Object identity(Path path) throws IOException {
    return Files.readAttributes(path, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
        .fileKey();
  }
}
