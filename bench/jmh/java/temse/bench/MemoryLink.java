package temse.bench;

import java.nio.ByteBuffer;
import temse.protocol.Output;
import temse.server.internal.ConnectionEngine;
import temse.transport.internal.Conversation.Wish;
import temse.transport.internal.Link;

/** An MTA without a socket: what the engine answers is put into the same buffer each time. */
final class MemoryLink implements Link {
  private final Output output = new Output();

  /** Gives all bytes of the buffer to the engine and returns the number of bytes it answers. */
  int say(ConnectionEngine engine, ByteBuffer bytes, Wish expected) {
    output.clear();
    Wish wish = engine.receive(bytes.rewind(), 0);
    if (wish != expected) {
      throw new IllegalStateException("the engine wants to " + wish);
    }
    return output.size();
  }

  /** Returns a copy of the last answer. */
  byte[] answer() {
    return output.toByteArray();
  }

  @Override
  public Output output() {
    return output;
  }

  @Override
  public void flush() {}

  @Override
  public boolean enter(int kind) {
    return true;
  }

  @Override
  public void leave() {}

  @Override
  public void later(Runnable task) {
    throw new UnsupportedOperationException("the measured filters leave no event open");
  }

  @Override
  public String peer() {
    return "inet:40112@127.0.0.1";
  }
}
