package temse.protocol;

import clojure.lang.IFn;
import clojure.lang.IPersistentMap;
import clojure.lang.PersistentVector;
import clojure.lang.Seqable;
import clojure.lang.Sequential;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Deque;
import java.util.Iterator;
import java.util.function.Supplier;

/**
 * The packets of a replaced body, made one by one on demand.
 *
 * <p>A body is a String, byte[], InputStream, File, Path, a Supplier or Clojure function of no
 * arguments that returns one, or a sequence of these. Each is opened when its turn comes and closed
 * after it; memory is taken for one packet, besides what was given as text or bytes. Byte arrays
 * are copied when the action is accepted. An InputStream can be used for one message only; Files,
 * Paths, Suppliers and functions may be used again.
 *
 * <pre>{@code
 * try (BodyPieces pieces = BodyPieces.of(action)) {
 *   while (pieces.next(output)) {
 *     // wait until the peer has taken the packet
 *   }
 * }
 * }</pre>
 *
 * <p>Not thread-safe. What runs in {@link #next} and {@link #close} may be the user's. A lazy
 * sequence is not kept: it can be larger than memory, provided that nobody else keeps the action.
 */
public final class BodyPieces implements AutoCloseable {
  private static final int MOST_EMPTY = 1_000_000;
  private static final int DEEPEST_DISCARDED = 8;

  private final IPersistentMap action;
  private final Deque<Object> parts = new ArrayDeque<>();
  private final Deque<Iterator<?>> sequences = new ArrayDeque<>();
  private InputStream current;
  private byte[] chunk;
  private long octetsAtMost;
  private boolean sent;
  private boolean closed;

  private BodyPieces(IPersistentMap action) {
    this.action = action.assoc(Keys.BODY, null);
  }

  /**
   * Accepts the body of a {@code :change-body} or {@code :replace-body}. If that fails all of its
   * streams are closed, except those in use for another message.
   *
   * @param action a map with a {@code :body}
   * @return the body in pieces
   * @throws MilterException BAD_ACTION if the action has a wrong key, its body is none, or a stream
   *     was read for another message
   */
  public static BodyPieces of(IPersistentMap action) {
    BodyPieces pieces = new BodyPieces(action);
    boolean accepted = false;
    try {
      ActionKeys.check(action);
      BodyParts.visit(action, action.valAt(Keys.BODY), part -> pieces.accept(action, part));
      accepted = true;
      return pieces;
    } finally {
      if (!accepted) {
        pieces.close();
        discard(action);
      }
    }
  }

  /**
   * Checks what {@link #of} checks, and uses up nothing.
   *
   * @throws MilterException BAD_ACTION as there
   */
  static void check(IPersistentMap action) {
    ActionKeys.check(action);
    BodyParts.visit(
        action,
        action.valAt(Keys.BODY),
        part -> {
          BodyParts.checkType(action, part);
          if (part instanceof InputStream stream && UsedStreams.isUsed(stream)) {
            throw used(action);
          }
        });
  }

  /**
   * Closes the streams of an action that will not be sent and was not accepted here, whatever its
   * type; those in use for another message are left alone. Never throws.
   *
   * @param action a map of any type
   */
  public static void discard(IPersistentMap action) {
    if (action.valAt(Keys.BODY) != null) {
      discard(action, action.valAt(Keys.BODY), 0);
    }
  }

  /** Closes the streams that a part holds, as far as they exist without making it yield more. */
  private static void discard(IPersistentMap action, Object part, int depth) {
    if (depth > DEEPEST_DISCARDED) {
      return;
    }
    try {
      BodyParts.visit(
          action,
          part,
          inner -> {
            if (inner instanceof InputStream stream && UsedStreams.claim(stream)) {
              closeQuietly(stream);
            } else if (inner instanceof Seqable lazy && BodyParts.isSequence(inner)) {
              new SequenceCursor(lazy).realized().forEach(it -> discard(action, it, depth + 1));
            }
          });
    } catch (RuntimeException | Error e) {
      // Nothing more can be found in a collection that cannot be walked.
    }
  }

  /**
   * Appends the next packet, of at most 65535 bytes, to the output; an empty body is one empty
   * packet. Everything is closed after the last packet, and after an error.
   *
   * @param output takes the packet
   * @return true if there was one
   * @throws MilterException BAD_ACTION if the body cannot be read, or a lazy sequence, Supplier or
   *     function has yielded what is no body; what else these throw is thrown on
   */
  public boolean next(Output output) {
    if (closed) {
      return false;
    }
    boolean handed = false;
    try {
      int size = fill();
      if (size > 0 || !sent) {
        Packet.write(ActionType.CHANGE_BODY.code, chunk, size, output);
        handed = true;
        sent = true;
      }
    } catch (IOException e) {
      throw ActionFields.bad(action, "the body cannot be read: " + Shown.of(e.getMessage()), e);
    } finally {
      if (!handed) {
        close();
      }
    }
    return handed;
  }

  /**
   * Closes every stream that was given, opened or not, and does nothing the second time. Of a lazy
   * sequence the streams that it has yielded are closed, whether they were reached or not; it is
   * not made to yield more. What a stream throws when it is closed is dropped: the body is given
   * up.
   */
  @Override
  public void close() {
    closed = true;
    chunk = null;
    if (current != null) {
      closeQuietly(current);
      current = null;
    }
    while (!sequences.isEmpty()) {
      if (sequences.pop() instanceof SequenceCursor cursor) {
        discard(action, cursor.realized(), 0);
      }
    }
    while (!parts.isEmpty()) {
      Object part = parts.poll();
      if (part instanceof InputStream stream) {
        closeQuietly(stream);
      } else {
        discard(action, part, 0);
      }
    }
  }

  private void accept(IPersistentMap given, Object part) {
    BodyParts.checkType(given, part);
    if (part instanceof byte[] bytes) {
      parts.add(bytes.clone());
      octetsAtMost += bytes.length;
    } else if (part instanceof String text) {
      parts.add(text);
      octetsAtMost += 3L * text.length();
    } else {
      octetsAtMost = ActionCodec.MAXIMUM_PAYLOAD;
      claim(given, part);
      parts.add(part);
    }
  }

  private static void claim(IPersistentMap given, Object part) {
    if (part instanceof InputStream stream && !UsedStreams.claim(stream)) {
      throw used(given);
    }
  }

  private static MilterException used(IPersistentMap action) {
    return ActionFields.bad(
        action,
        ":body holds a stream, and this stream was read for another message, or comes twice in this"
            + " one; give a File, a Path, or a Supplier or function that opens a new stream");
  }

  private int fill() throws IOException {
    if (chunk == null) {
      chunk = new byte[(int) Math.min(octetsAtMost, ActionCodec.MAXIMUM_PAYLOAD)];
    }
    int size = 0;
    int nothing = 0;
    while (size < chunk.length && (current != null || open())) {
      int read = current.read(chunk, size, chunk.length - size);
      size += Math.max(read, 0);
      nothing = read > 0 ? 0 : nothing + 1;
      checkProgress(nothing);
      if (read < 0) {
        InputStream ended = current;
        current = null;
        ended.close();
      }
    }
    return size;
  }

  private void checkProgress(int nothing) {
    if (nothing > MOST_EMPTY) {
      throw ActionFields.bad(action, ":body has yielded nothing " + MOST_EMPTY + " times in a row");
    }
  }

  /** Opens the next part; returns false if there is none. */
  private boolean open() throws IOException {
    int yieldedNothing = 0;
    while (current == null) {
      Object part;
      if (sequences.isEmpty()) {
        if (parts.isEmpty()) {
          return false;
        }
        part = parts.poll();
      } else if (sequences.peek().hasNext()) {
        checkProgress(++yieldedNothing);
        part = sequences.peek().next();
        BodyParts.checkType(action, part);
        claim(action, part);
      } else {
        sequences.pop();
        continue;
      }
      open(part);
    }
    return true;
  }

  private void open(Object part) throws IOException {
    if (part instanceof byte[] bytes) {
      current = new ByteArrayInputStream(bytes);
    } else if (part instanceof String text) {
      current = new TextStream(text);
    } else if (part instanceof InputStream stream) {
      current = stream;
    } else if (part instanceof File file) {
      current = new FileInputStream(file);
    } else if (part instanceof Path path) {
      current = Files.newInputStream(path);
    } else {
      BodyParts.checkDepth(action, sequences.size());
      sequences.push(
          BodyParts.isFunction(part)
              ? Collections.singletonList(call(part)).iterator()
              : iterator(part));
    }
  }

  private static Object call(Object function) {
    return function instanceof Supplier<?> supplier ? supplier.get() : ((IFn) function).invoke();
  }

  private static Iterator<?> iterator(Object sequence) {
    if (sequence instanceof Seqable lazy && sequence instanceof Sequential) {
      return new SequenceCursor(lazy);
    }
    return sequence instanceof Collection<?> collection
        ? new SequenceCursor(PersistentVector.create(new ArrayList<>(collection)))
        : ((Iterable<?>) sequence).iterator();
  }

  private static void closeQuietly(InputStream stream) {
    try {
      stream.close();
    } catch (Throwable e) {
      // Nothing is read from it any more.
    }
  }
}
