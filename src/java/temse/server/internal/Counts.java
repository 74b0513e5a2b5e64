package temse.server.internal;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Function;
import temse.protocol.Budget;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.HandlerTimer;

/**
 * What all connections of a server share: what they may take together, counters, who watches them,
 * and what measures their handlers. Any thread.
 */
public final class Counts {
  private static final String QUARANTINED = "quarantined";

  /** The kind of an error that is not the library's. */
  private static final String EXCEPTION = "exception";

  private final Budget unfinished;
  private final Shared shared;
  private final Watchers watchers = new Watchers();
  private final LongAdder limits = new LongAdder();
  private final LongAdder timeouts = new LongAdder();
  private final LongAdder listenerFailures = new LongAdder();
  private final LongAdder probes = new LongAdder();
  private final LongAdder pending = new LongAdder();
  private final LongAdder quarantined = new LongAdder();
  private final LongAdder lost = new LongAdder();
  private final LongAdder[] events = adders(EventType.values().length);
  private final LongAdder[] ended = adders(MessageEndReason.values().length);
  private final CopyOnWriteArrayList<HandlerTimer> timers = new CopyOnWriteArrayList<>();

  /** What is counted of engines within another connection where that is served. */
  private record Shared(
      Budget messages,
      LongAdder spilledBodies,
      LongAdder spilledOctets,
      LongAdder[] errors,
      LongAdder exceptions) {
    Shared() {
      this(
          new Budget(Long.MAX_VALUE),
          new LongAdder(),
          new LongAdder(),
          adders(MilterException.Category.values().length),
          new LongAdder());
    }
  }

  /**
   * Makes the counters of a new server, at zero.
   *
   * @param options with the limit on unfinished packets
   */
  public Counts(EngineOptions options) {
    this(options, new Shared());
  }

  private Counts(EngineOptions options, Shared shared) {
    this.unfinished = new Budget(options.maximumUnfinishedBytes());
    this.shared = shared;
  }

  /**
   * Returns the counters of an engine within another connection: what its messages take, and the
   * errors of its handlers, are counted where that is served.
   */
  static Counts within(ConnectionInfo outer, EngineOptions options) {
    return outer instanceof Served served
        ? new Counts(options, served.counts().shared)
        : new Counts(options);
  }

  private static LongAdder[] adders(int length) {
    LongAdder[] adders = new LongAdder[length];
    Arrays.setAll(adders, i -> new LongAdder());
    return adders;
  }

  // ---- what is shared

  /** {@return the bytes that unfinished packets may take together} */
  Budget unfinished() {
    return unfinished;
  }

  /**
   * {@return the bytes that messages take while they are kept} Whoever keeps them stops at a limit.
   */
  public Budget messages() {
    return shared.messages;
  }

  /** {@return who watches the exchanges of all connections} */
  public Watchers watchers() {
    return watchers;
  }

  /** {@return what receives the times of handlers; it can be changed at any time} */
  public CopyOnWriteArrayList<HandlerTimer> timers() {
    return timers;
  }

  /** {@return true if anything receives the times of handlers} */
  boolean areTimed() {
    return !timers.isEmpty();
  }

  // ---- counting

  /** Counts that something has gone beyond a limit. */
  void limitExceeded() {
    limits.increment();
  }

  /** Counts that an MTA was given up. */
  void timedOut() {
    timeouts.increment();
  }

  /** Counts that a listener has thrown. */
  void listenerFailed() {
    listenerFailures.increment();
  }

  /** Counts a connection of somebody who is no MTA. */
  void probed() {
    probes.increment();
  }

  /** Counts an event whose turn has come. */
  void began(EventType type) {
    events[type.ordinal()].increment();
  }

  /** Counts a message that has ended. */
  void ended(MessageEndReason how, boolean held) {
    if (held && how == MessageEndReason.ACCEPTED) {
      quarantined.increment();
    } else {
      ended[how.ordinal()].increment();
    }
  }

  /** Counts an error by its kind. */
  void failed(Throwable error) {
    if (error instanceof MilterException known) {
      shared.errors[known.category().ordinal()].increment();
    } else {
      shared.exceptions.increment();
    }
  }

  /** Counts a connection that was lost. */
  void lost() {
    lost.increment();
  }

  /** Counts an event that begins to wait for a value. */
  void waits() {
    pending.increment();
  }

  /** Counts an event that waits no more. */
  void waitsNoMore() {
    pending.decrement();
  }

  /**
   * Counts bodies in temporary files, or octets in them.
   *
   * @param bodies how many more, or with a negative number fewer
   * @param octets how many more, or with a negative number fewer
   */
  public void spill(int bodies, long octets) {
    shared.spilledBodies.add(bodies);
    shared.spilledOctets.add(octets);
  }

  /** Gives the time of a handler to what measures them, which is foreign code. */
  void handled(EventType type, long nanos) {
    for (HandlerTimer timer : timers) {
      try {
        timer.record(type, nanos);
      } catch (Throwable e) {
        listenerFailed();
        LastResort.report("measuring a handler", e);
      }
    }
  }

  // ---- what was counted

  /** {@return how often a message, a packet or a connection went beyond a limit} */
  public long limitsExceeded() {
    return limits.sum();
  }

  /**
   * {@return how many connections were closed because the MTA did not negotiate in time, did not
   * finish a packet in time, or was silent for too long}
   */
  public long timeouts() {
    return timeouts.sum();
  }

  /** {@return how often a listener has thrown} */
  public long listenerFailures() {
    return listenerFailures.sum();
  }

  /** {@return how many connections were no MTA's} */
  public long probes() {
    return probes.sum();
  }

  /** {@return how many events wait for a value now} */
  public long pending() {
    return pending.sum();
  }

  /** {@return how many bodies are in temporary files now} */
  public long spilledBodies() {
    return shared.spilledBodies.sum();
  }

  /** {@return how many octets are in temporary files now} */
  public long spilledOctets() {
    return shared.spilledOctets.sum();
  }

  /** {@return the events by their names} */
  public Map<String, Long> events() {
    return sums(EventType.values(), type -> type.keyword.getName(), events);
  }

  /** {@return the messages that have ended, by how} */
  public Map<String, Long> ended() {
    Map<String, Long> sums =
        sums(MessageEndReason.values(), reason -> reason.keyword.getName(), ended);
    sums.put(QUARANTINED, quarantined.sum());
    return sums;
  }

  /** {@return the errors by their kinds} */
  public Map<String, Long> errors() {
    Map<String, Long> sums =
        sums(
            MilterException.Category.values(),
            category -> category.keyword.getName(),
            shared.errors);
    sums.merge(MilterException.Category.CONNECTION_LOST.keyword.getName(), lost.sum(), Long::sum);
    sums.put(EXCEPTION, shared.exceptions.sum());
    return sums;
  }

  private static <T extends Enum<T>> Map<String, Long> sums(
      T[] kinds, Function<T, String> name, LongAdder[] adders) {
    Map<String, Long> sums = new LinkedHashMap<>();
    for (T kind : kinds) {
      sums.put(name.apply(kind), adders[kind.ordinal()].sum());
    }
    return sums;
  }
}
