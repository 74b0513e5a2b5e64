package temse.client;

import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import temse.protocol.Output;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.ServerListener;
import temse.server.internal.ConnectionEngine;
import temse.transport.internal.Conversation;
import temse.transport.internal.Link;

/** A connection engine of our own process: the caller's thread runs the handlers. */
final class EngineWire implements Wire, Link {
  private static final AtomicLong IDS = new AtomicLong();

  private final ConnectionEngine engine;
  private final Output output = new Output();
  private final BlockingQueue<Runnable> tasks = new LinkedBlockingQueue<>();
  private final PacketDecoder decoder = new PacketDecoder(16 * 1024 * 1024);
  private ByteBuffer rest = ByteBuffer.allocate(0);
  private ByteBuffer replies = ByteBuffer.allocate(0);
  private Conversation.Wish wish = Conversation.Wish.READ;
  private Packet ahead;
  private boolean ended;

  EngineWire(MilterFactory factory, EngineOptions options, ServerListener listener) {
    this.engine = new ConnectionEngine(factory, options, listener, this, IDS.incrementAndGet());
  }

  @Override
  public void write(byte[] bytes) throws IOException {
    if (ended) {
      throw new IOException("the milter has closed the connection");
    }
    ByteBuffer joined = ByteBuffer.allocate(rest.remaining() + bytes.length);
    rest = joined.put(rest).put(bytes).flip();
    if (wish == Conversation.Wish.READ) {
      follow(engine.receive(rest, System.nanoTime()));
    }
  }

  @Override
  public Packet read(Duration timeout) throws IOException {
    long end = System.nanoTime() + timeout.toNanos();
    while (true) {
      Packet packet = next();
      if (packet != null) {
        return packet;
      }
      if (output.size() > 0) {
        flush();
      } else if (ended) {
        return null;
      } else {
        waitFor(end);
      }
    }
  }

  private synchronized Packet next() {
    Packet packet = ahead == null ? decoder.next(replies) : ahead;
    ahead = null;
    return packet;
  }

  @Override
  public boolean hasPacket() {
    ahead = next();
    return ahead != null;
  }

  private void waitFor(long end) throws IOException {
    long now = System.nanoTime();
    if (now - end >= 0) {
      throw new SocketTimeoutException("timed out, waiting for a reply");
    }
    long patience = Math.max(0, Math.min(end - now, engine.deadline() - now));
    try {
      Runnable task = tasks.poll(patience, TimeUnit.NANOSECONDS);
      if (task != null) {
        task.run();
        follow(engine.receive(rest, System.nanoTime()));
      } else if (System.nanoTime() - engine.deadline() >= 0) {
        Conversation.Wish next = engine.expired(System.nanoTime());
        follow(next == Conversation.Wish.READ ? engine.receive(rest, System.nanoTime()) : next);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted, waiting for a reply", e);
    }
  }

  private void follow(Conversation.Wish next) {
    wish = next;
    if (next == Conversation.Wish.CLOSE) {
      end(Conversation.End.CLOSED_HERE);
    }
  }

  private void end(Conversation.End how) {
    if (!ended) {
      ended = true;
      engine.ended(how, null);
    }
  }

  @Override
  public void close() {
    end(Conversation.End.PEER_CLOSED);
  }

  @Override
  public Output output() {
    return output;
  }

  @Override
  public synchronized void flush() {
    append(output.toByteArray());
    output.clear();
  }

  @Override
  public synchronized void writeNow(byte[] packets) {
    append(packets);
  }

  private void append(byte[] packets) {
    replies =
        ByteBuffer.allocate(replies.remaining() + packets.length).put(replies).put(packets).flip();
  }

  @Override
  public boolean enter(int kind) {
    return true;
  }

  @Override
  public void leave() {}

  @Override
  public void later(Runnable task) {
    tasks.add(task);
  }

  @Override
  public String peer() {
    return "in-process";
  }
}
