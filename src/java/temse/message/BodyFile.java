package temse.message;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** A temporary file that holds a body. It loses its name at once where the system allows. */
final class BodyFile {
  private final FileChannel channel;
  private final @Nullable Path left;

  /** Deletes a file that is open, where the system allows. */
  interface Deletion {
    void delete(Path path) throws IOException;
  }

  /** Takes over an open file. */
  BodyFile(Path path, FileChannel channel) {
    this(path, channel, Files::delete);
  }

  BodyFile(Path path, FileChannel channel, Deletion deletion) {
    this.channel = channel;
    this.left = isDeleted(path, deletion) ? null : path;
  }

  private static boolean isDeleted(Path path, Deletion deletion) {
    try {
      deletion.delete(path);
      return true;
    } catch (IOException inUse) {
      return false;
    }
  }

  void append(byte[] data, int length) throws IOException {
    ByteBuffer left = ByteBuffer.wrap(data, 0, length);
    while (left.hasRemaining()) {
      channel.write(left);
    }
  }

  /** Reads at an offset, whatever other readers do; returns -1 at the end. */
  int read(long offset, byte[] target, int start, int length) throws IOException {
    return channel.read(ByteBuffer.wrap(target, start, length), offset);
  }

  /** Closes and deletes the file. */
  void release() throws IOException {
    try {
      channel.close();
    } finally {
      if (left != null) {
        Files.deleteIfExists(left);
      }
    }
  }
}
