package temse.transport.internal;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Queue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Answers each line with what a handler makes of it. The handler is user code: it may block. It may
 * return a string, a stage of a string, or null for no answer. The line "quit" closes.
 */
final class ToyConversation implements Conversation {

  /** Made of user code. */
  @FunctionalInterface
  interface Handler {
    Object handle(String line, Link link) throws Exception;
  }

  /** What the conversations of one server have in common, and what they did. */
  static final class Toys {
    final Handler handler;
    final Queue<String> violations = new ConcurrentLinkedQueue<>();
    final Queue<End> ends = new ConcurrentLinkedQueue<>();
    final Queue<Throwable> causes = new ConcurrentLinkedQueue<>();
    final AtomicInteger opened = new AtomicInteger();
    final AtomicInteger ended = new AtomicInteger();
    final AtomicInteger moves = new AtomicInteger();
    volatile CountDownLatch endings = new CountDownLatch(1);
    volatile long timeout = Long.MAX_VALUE;
    volatile Runnable atEnd = () -> {};

    /** What a conversation wants when its peer has closed while it waits. */
    volatile Wish peerClosed = Wish.WAIT;

    final AtomicInteger peersClosed = new AtomicInteger();

    /** What a conversation wants that got no thread in time. */
    volatile Wish starved = Wish.CLOSE;

    /** How often a held connection says so. */
    volatile long heldInterval = Long.MAX_VALUE;

    /** Whether output is written as it grows, and no more input served until it is taken. */
    volatile boolean drains;

    final AtomicInteger drained = new AtomicInteger();

    Toys(Handler handler) {
      this.handler = handler;
    }

    Conversation open(Link link) {
      opened.incrementAndGet();
      return new ToyConversation(this, link);
    }
  }

  private final Toys toys;
  private final Link link;
  private final AtomicBoolean busy = new AtomicBoolean();
  private final ByteArrayOutputStream partial = new ByteArrayOutputStream();
  private String line;
  private boolean waiting;
  private boolean stopping;
  private boolean silent;
  private boolean over;
  private String value;
  private long deadline = Long.MAX_VALUE;
  private volatile long heldDeadline = Long.MAX_VALUE;

  private ToyConversation(Toys toys, Link link) {
    this.toys = toys;
    this.link = link;
  }

  @Override
  public Wish receive(ByteBuffer input, long now) {
    enter("receive");
    try {
      return converse(input, now);
    } finally {
      busy.set(false);
    }
  }

  private Wish converse(ByteBuffer input, long now) {
    while (true) {
      if (toys.drains && link.output().size() > 64 * 1024) {
        link.flush();
      }
      if (toys.drains && link.isCongested()) {
        toys.drained.incrementAndGet();
        return Wish.DRAIN;
      }
      if (waiting) {
        if (value == null) {
          return Wish.WAIT;
        }
        answer(value);
        waiting = false;
        deadline = Long.MAX_VALUE;
      }
      if (stopping && line == null) {
        return Wish.CLOSE;
      }
      if (line == null) {
        line = nextLine(input);
        if (line == null) {
          return Wish.READ;
        }
      }
      if (line.equals("quit")) {
        return Wish.CLOSE;
      }
      if (toys.heldInterval != Long.MAX_VALUE) {
        heldDeadline = System.nanoTime() + toys.heldInterval;
      }
      if (!link.enter(line.charAt(0) & 63)) {
        heldDeadline = Long.MAX_VALUE;
        toys.moves.incrementAndGet();
        return Wish.MOVE;
      }
      Object result;
      try {
        result = toys.handler.handle(line, link);
      } catch (Exception e) {
        result = e.getClass().getSimpleName();
      } finally {
        link.leave();
        heldDeadline = Long.MAX_VALUE;
      }
      line = null;
      silent = result == null;
      if (result instanceof CompletionStage<?> stage) {
        waiting = true;
        value = null;
        if (toys.timeout != Long.MAX_VALUE) {
          deadline = now + toys.timeout;
        }
        stage.whenComplete((v, e) -> link.later(() -> complete(String.valueOf(v))));
      } else if (result != null) {
        answer((String) result);
      }
    }
  }

  private void complete(String v) {
    enter("later");
    value = v;
    busy.set(false);
  }

  private void answer(String text) {
    link.output().put((text + "\n").getBytes(StandardCharsets.UTF_8));
  }

  private String nextLine(ByteBuffer input) {
    while (input.hasRemaining()) {
      byte b = input.get();
      if (b == '\n') {
        String text = partial.toString(StandardCharsets.UTF_8);
        partial.reset();
        return text;
      }
      partial.write(b);
    }
    return null;
  }

  private void enter(String what) {
    if (!busy.compareAndSet(false, true)) {
      toys.violations.add(what + " while another call is running");
    }
    if (over) {
      toys.violations.add(what + " after the end");
    }
  }

  @Override
  public long deadline() {
    return deadline;
  }

  @Override
  public Wish expired(long now) {
    enter("expired");
    try {
      if (now < deadline) {
        toys.violations.add("expired too early");
      }
      deadline = Long.MAX_VALUE;
      waiting = false;
      answer("expired");
      return Wish.READ;
    } finally {
      busy.set(false);
    }
  }

  @Override
  public Wish peerClosed(long now) {
    enter("peerClosed");
    toys.peersClosed.incrementAndGet();
    busy.set(false);
    return toys.peerClosed;
  }

  @Override
  public Wish starved(long now) {
    enter("starved");
    answer("starved");
    line = null;
    busy.set(false);
    return toys.starved;
  }

  @Override
  public long heldDeadline() {
    return heldDeadline;
  }

  @Override
  public void held(long now) {
    if (now < heldDeadline) {
      toys.violations.add("held too early");
    }
    link.writeNow("held\n".getBytes(StandardCharsets.UTF_8));
    heldDeadline = now + toys.heldInterval;
  }

  @Override
  public boolean acknowledgeAtOnce() {
    return silent;
  }

  @Override
  public boolean idle() {
    return line == null && !waiting && partial.size() == 0;
  }

  @Override
  public Wish stopping() {
    stopping = true;
    return waiting ? Wish.WAIT : Wish.READ;
  }

  @Override
  public void ended(End how, Throwable cause) {
    enter("ended");
    over = true;
    if (link.enter(62)) {
      toys.atEnd.run();
      link.leave();
    } else {
      toys.violations.add("no permission to run user code at the end");
    }
    busy.set(false);
    toys.ends.add(how);
    if (cause != null) {
      toys.causes.add(cause);
    }
    toys.ended.incrementAndGet();
    toys.endings.countDown();
  }
}
