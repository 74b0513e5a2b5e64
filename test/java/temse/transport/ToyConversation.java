package temse.transport;

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
      if (!link.enter(line.charAt(0) & 63)) {
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
