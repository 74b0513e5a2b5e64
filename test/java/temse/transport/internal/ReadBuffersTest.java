package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;

import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

class ReadBuffersTest {

  @Test
  void keepsOnlyAFew() {
    ReadBuffers buffers = new ReadBuffers(1);
    ByteBuffer first = buffers.take();
    ByteBuffer second = buffers.take();
    assertEquals(256 * 1024, first.capacity());
    assertNotSame(first, second);
    buffers.give(first);
    buffers.give(second);
    assertSame(first, buffers.take());
    assertNotSame(second, buffers.take());
    buffers.give(second);
    buffers.clear();
    assertNotSame(second, buffers.take());
  }
}
