package temse.message;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.MilterException;

/** A body in memory and in a file is the same to its readers. */
class BodyTest {
  @TempDir private Path directory;

  /** Returns a body of generated pieces, which moves to a file after some of them, or never. */
  private Body body(long seed, int moved, ByteArrayOutputStream all) throws IOException {
    Random random = new Random(seed);
    Body body = new Body();
    int pieces = random.nextInt(8);
    for (int i = 0; i < pieces; i++) {
      if (i == moved) {
        body.moveTo(new TemporaryFiles(directory).open());
      }
      byte[] piece = new byte[random.nextInt(100)];
      random.nextBytes(piece);
      int length = random.nextInt(piece.length + 1);
      body.add(piece, length);
      all.write(piece, 0, length);
    }
    return body;
  }

  @ParameterizedTest
  @ValueSource(ints = {-1, 0, 1, 3})
  void whatWasAddedIsReadAnyNumberOfTimesInAnySteps(int moved) throws IOException {
    for (long seed = 0; seed < 300; seed++) {
      ByteArrayOutputStream all = new ByteArrayOutputStream();
      Body body = body(seed, moved, all);
      assertEquals(all.size(), body.size());
      assertEquals(all.size(), body.count());
      assertArrayEquals(all.toByteArray(), body.bytes());
      assertArrayEquals(all.toByteArray(), body.bytes());
      stepwise(body, all.toByteArray(), new Random(seed));
      body.end();
    }
  }

  private static void stepwise(Body body, byte[] all, Random random) throws IOException {
    try (InputStream in = body.open()) {
      int position = 0;
      while (position < all.length) {
        assertEquals(all.length - position, in.available());
        switch (random.nextInt(3)) {
          case 0 -> assertEquals(all[position++] & 0xFF, in.read());
          case 1 -> {
            int wanted = 1 + random.nextInt(20);
            long skipped = in.skip(wanted);
            assertEquals(Math.min(wanted, all.length - position), skipped);
            position += (int) skipped;
          }
          default -> {
            byte[] target = new byte[1 + random.nextInt(40)];
            int count = in.read(target, 0, target.length);
            for (int i = 0; i < count; i++) {
              assertEquals(all[position + i], target[i]);
            }
            position += count;
          }
        }
      }
      assertEquals(-1, in.read());
      assertEquals(0, in.skip(1));
      assertEquals(0, in.read(new byte[0]));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {-1, 0})
  void afterTheEndOfTheMessageNobodyReadsItAnyMore(int moved) throws IOException {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    Body body = body(5, moved, all);
    InputStream open = body.open();
    body.end();
    body.end();
    for (MilterException e :
        new MilterException[] {
          assertThrows(MilterException.class, body::open),
          assertThrows(MilterException.class, body::bytes),
          assertThrows(MilterException.class, open::read)
        }) {
      assertEquals(MilterException.Category.STALE_CONTEXT, e.category());
    }
    assertEquals(all.size(), body.size());
  }
}
