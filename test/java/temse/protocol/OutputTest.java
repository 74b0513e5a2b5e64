package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OutputTest {

  /** Takes what it is told to take. */
  private static final class Channel implements WritableByteChannel {
    final ByteArrayOutputStream written = new ByteArrayOutputStream();
    int room;
    int writes;
    int largest;

    @Override
    public int write(ByteBuffer source) throws IOException {
      if (room < 0) {
        throw new IOException("broken");
      }
      writes++;
      largest = Math.max(largest, source.remaining());
      byte[] bytes = new byte[Math.min(room, source.remaining())];
      source.get(bytes);
      written.writeBytes(bytes);
      room -= bytes.length;
      return bytes.length;
    }

    @Override
    public boolean isOpen() {
      return true;
    }

    @Override
    public void close() {}
  }

  private static Output output(boolean direct) {
    return direct ? Output.direct() : new Output();
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void anIntegerIsReplacedWhereverItStands(boolean direct) throws IOException {
    Random random = new Random(11);
    for (int round = 0; round < 200; round++) {
      Output output = output(direct);
      output.put(new byte[random.nextInt(150_000)]);
      Channel channel = new Channel();
      channel.room = random.nextInt(1 + output.size());
      output.writeTo(channel::write);
      int place = output.size();
      output.putInt(0).put(new byte[random.nextInt(200_000)]);
      byte[] expected = output.toByteArray();
      ByteBuffer.wrap(expected).putInt(place, 0x01020304);

      output.setInt(place, 0x01020304);
      assertArrayEquals(expected, output.toByteArray());
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void holdsWhatWasPut(boolean direct) {
    Output output = output(direct);
    assertEquals(0, output.size());
    assertArrayEquals(new byte[0], output.toByteArray());
    output.putByte(1).putShort(0x0203).putInt(0x04050607).put(new byte[] {8, 9});
    output.put(new byte[] {0, 10, 11, 0}, 1, 2);
    assertArrayEquals(new byte[] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, output.toByteArray());
    assertEquals(11, output.size());
    output.clear();
    assertEquals(0, output.size());
    assertArrayEquals(new byte[] {1}, output.putByte(1).toByteArray());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void growsAsNeeded(boolean direct) {
    Output output = output(direct);
    byte[] bytes = new byte[1_000_003];
    new Random(1).nextBytes(bytes);
    for (int i = 0; i < bytes.length; i += 997) {
      output.put(bytes, i, Math.min(997, bytes.length - i));
    }
    assertArrayEquals(bytes, output.toByteArray());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void writesASmallResponseAtOnce(boolean direct) throws Exception {
    Output output = output(direct).putInt(1).put(new byte[60_000]);
    Channel channel = new Channel();
    channel.room = Integer.MAX_VALUE;
    assertTrue(output.writeTo(channel::write));
    assertEquals(1, channel.writes);
    assertEquals(60_004, channel.written.size());
    assertEquals(0, output.size());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void goesOnWhereAPartialWriteStopped(boolean direct) throws Exception {
    Random random = new Random(2);
    Output output = output(direct);
    Channel channel = new Channel();
    ByteArrayOutputStream expected = new ByteArrayOutputStream();
    for (int i = 0; i < 300; i++) {
      byte[] bytes = new byte[random.nextInt(3000)];
      random.nextBytes(bytes);
      output.put(bytes);
      expected.writeBytes(bytes);
      channel.room = random.nextInt(2500);
      output.writeTo(channel::write);
      assertEquals(expected.size() - channel.written.size(), output.size());
    }
    Output other = new Output().putInt(7);
    other.take(output);
    assertEquals(0, output.size());
    channel.written.reset();
    channel.room = Integer.MAX_VALUE;
    assertTrue(other.writeTo(channel::write));
    assertTrue(channel.largest <= 64 * 1024, "large writes are cut");
    byte[] all = expected.toByteArray();
    int rest = channel.written.size() - 4;
    byte[] end = Arrays.copyOfRange(all, all.length - rest, all.length);
    byte[] written = channel.written.toByteArray();
    assertArrayEquals(end, Arrays.copyOfRange(written, 4, written.length));
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void forgetsWhatComesAfterAPlaceWhereverItIs(boolean direct) throws Exception {
    Random random = new Random(3);
    for (int round = 0; round < 40; round++) {
      Output output = output(direct);
      byte[] bytes = new byte[random.nextInt(400_000)];
      random.nextBytes(bytes);
      for (int i = 0; i < bytes.length; ) {
        int length = Math.min(bytes.length - i, 1 + random.nextInt(100_000));
        output.put(bytes, i, length);
        i += length;
      }
      Channel channel = new Channel();
      channel.room = random.nextInt(bytes.length + 1);
      output.writeTo(channel::write);
      int written = channel.written.size();
      int kept = random.nextInt(output.size() + 1);
      output.truncate(kept);
      assertEquals(kept, output.size());
      output.putInt(0x01020304);
      byte[] expected = Arrays.copyOfRange(bytes, written, written + kept + 4);
      System.arraycopy(new byte[] {1, 2, 3, 4}, 0, expected, kept, 4);
      assertArrayEquals(expected, output.toByteArray());
      Output taker = new Output().putByte(9);
      taker.take(output);
      channel.room = Integer.MAX_VALUE;
      channel.written.reset();
      assertTrue(taker.writeTo(channel::write));
      byte[] taken = channel.written.toByteArray();
      assertArrayEquals(expected, Arrays.copyOfRange(taken, 1, taken.length));
      assertEquals(0, taker.size());
    }
  }

  /** Also when it becomes a backlog. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void needsHardlyMoreMemoryThanItHolds(boolean direct) {
    int size = 64 * 1024 * 1024;
    byte[] part = new byte[1000];
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    Output output = output(direct);
    Output backlog = new Output();
    long before = threads.getThreadAllocatedBytes(Thread.currentThread().getId());
    for (int i = 0; i < size; i += part.length) {
      output.put(part);
    }
    backlog.take(output);
    long allocated = threads.getThreadAllocatedBytes(Thread.currentThread().getId()) - before;
    assertTrue(backlog.size() >= size);
    assertTrue(allocated < size + size / 50, "allocated " + allocated);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void isUsableAfterAFailedWrite(boolean direct) {
    Output output = output(direct).putInt(1);
    Channel channel = new Channel();
    channel.room = -1;
    boolean failed = false;
    try {
      output.writeTo(channel::write);
    } catch (IOException e) {
      failed = true;
    }
    assertTrue(failed);
    assertEquals(4, output.size());
    assertEquals(5, output.putByte(1).size());
    channel.room = 0;
    assertFalse(writesAll(output, channel));
  }

  private static boolean writesAll(Output output, Channel channel) {
    try {
      return output.writeTo(channel::write);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }
}
