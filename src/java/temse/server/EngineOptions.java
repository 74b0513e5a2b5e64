package temse.server;

import clojure.lang.IPersistentMap;
import java.time.Duration;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Legality;
import temse.protocol.MilterException;
import temse.transport.Nanos;

/** How a connection is served, whatever carries its bytes. */
public final class EngineOptions {
  /** The options that nobody has changed. */
  public static final EngineOptions DEFAULTS = builder().build();

  final Map<EventType, IPersistentMap> defaultReplies;
  final Map<EventType, Long> handlerTimeouts;
  final Set<EventType> progressEvents;
  final long progressInterval;
  final long idleTimeout;
  final long packetTimeout;
  final long negotiationTimeout;
  final int maximumPacketSize;
  final long maximumUnfinishedBytes;
  final int maximumHeaderFields;
  final long maximumHeaderBytes;
  final int maximumRecipients;
  final long maximumMacroBytes;
  final boolean keepPayload;

  private EngineOptions(Builder builder) {
    this.defaultReplies = new EnumMap<>(builder.defaultReplies);
    this.handlerTimeouts = new EnumMap<>(builder.handlerTimeouts);
    this.progressEvents = EnumSet.copyOf(builder.progressEvents);
    this.progressInterval = builder.progressInterval;
    this.idleTimeout = builder.idleTimeout;
    this.packetTimeout = builder.packetTimeout;
    this.negotiationTimeout = builder.negotiationTimeout;
    this.maximumPacketSize = builder.maximumPacketSize;
    this.maximumUnfinishedBytes = builder.maximumUnfinishedBytes;
    this.maximumHeaderFields = builder.maximumHeaderFields;
    this.maximumHeaderBytes = builder.maximumHeaderBytes;
    this.maximumRecipients = builder.maximumRecipients;
    this.maximumMacroBytes = builder.maximumMacroBytes;
    this.keepPayload = builder.keepPayload;
  }

  IPersistentMap defaultReply(EventType type) {
    return defaultReplies.getOrDefault(type, Action.proceed().map());
  }

  long handlerTimeout(EventType type) {
    return handlerTimeouts.get(type);
  }

  /** Returns a builder that holds the defaults. */
  public static Builder builder() {
    return new Builder();
  }

  /** Collects options. */
  public static final class Builder {
    private final Map<EventType, IPersistentMap> defaultReplies = new EnumMap<>(EventType.class);
    private final Map<EventType, Long> handlerTimeouts = new EnumMap<>(EventType.class);
    private Set<EventType> progressEvents = EnumSet.of(EventType.END_OF_MESSAGE);
    private long progressInterval = TimeUnit.SECONDS.toNanos(5);
    private long idleTimeout = TimeUnit.SECONDS.toNanos(7210);
    private long packetTimeout = TimeUnit.SECONDS.toNanos(60);
    private long negotiationTimeout = TimeUnit.SECONDS.toNanos(30);
    private int maximumPacketSize = 2 * 1024 * 1024;
    private long maximumUnfinishedBytes = 64L * 1024 * 1024;
    private int maximumHeaderFields = 10_000;
    private long maximumHeaderBytes = 4L * 1024 * 1024;
    private int maximumRecipients = 50_000;
    private long maximumMacroBytes = 1024L * 1024;
    private boolean keepPayload;

    private Builder() {
      handlerTimeout(Duration.ofSeconds(25));
      handlerTimeout(EventType.END_OF_MESSAGE, Duration.ofSeconds(270));
    }

    /**
     * The reply where nobody gave one; default: continue, as in libmilter.
     *
     * @throws MilterException BAD_OPTIONS if the reply may not answer the event
     */
    public Builder defaultReply(EventType type, IPersistentMap reply) {
      ActionType action = ActionType.ofKeyword(reply.valAt(Keys.ACTION));
      if (!Legality.replies(type).contains(action)) {
        throw new MilterException(
            MilterException.Category.BAD_OPTIONS,
            reply.valAt(Keys.ACTION) + " cannot be the default reply to " + type.keyword,
            "option",
            "default-reply");
      }
      defaultReplies.put(type, reply);
      return this;
    }

    /** How long a pending value may take at any event; default: 25 s, 270 s at end of message. */
    public Builder handlerTimeout(Duration timeout) {
      for (EventType type : EventType.values()) {
        handlerTimeout(type, timeout);
      }
      return this;
    }

    /** How long a pending value may take at the event; below the MTA's own limit. */
    public Builder handlerTimeout(EventType type, Duration timeout) {
      handlerTimeouts.put(type, positive("handler-timeout", timeout));
      return this;
    }

    /**
     * How often progress is sent while a value is pending; default: 5 s, since Sendmail waits 10.
     */
    public Builder progressInterval(Duration interval) {
      progressInterval = positive("progress-interval", interval);
      return this;
    }

    /**
     * The events at which progress may be sent; default: end of message. Postfix takes it at any
     * event, Sendmail drops a milter that sends it elsewhere.
     */
    public Builder progressEvents(Set<EventType> events) {
      progressEvents = events.isEmpty() ? EnumSet.noneOf(EventType.class) : EnumSet.copyOf(events);
      return this;
    }

    /** How long the MTA may be silent; default: 7210 s, longer than SMTP's own limits. */
    public Builder idleTimeout(Duration timeout) {
      idleTimeout = positive("idle-timeout", timeout);
      return this;
    }

    /**
     * How long the MTA may take from the first byte of a packet to its last; default: 60 s. Then
     * the connection is closed.
     */
    public Builder packetTimeout(Duration timeout) {
      packetTimeout = positive("packet-timeout", timeout);
      return this;
    }

    /** How long the MTA may take to negotiate; default: 30 s. Then the connection is closed. */
    public Builder negotiationTimeout(Duration timeout) {
      negotiationTimeout = positive("negotiation-timeout", timeout);
      return this;
    }

    /** The largest payload in bytes; default: 2 MiB. */
    public Builder maximumPacketSize(int bytes) {
      maximumPacketSize = (int) positive("max-packet-size", bytes);
      return this;
    }

    /**
     * The bytes that unfinished packets of all connections of a server may take together; default:
     * 64 MiB. The connection whose packet finds no room is closed.
     */
    public Builder maximumUnfinishedBytes(long bytes) {
      maximumUnfinishedBytes = positive("max-unfinished-bytes", bytes);
      return this;
    }

    /** The header fields of a message; default: 10,000. A message that has more is deferred. */
    public Builder maximumHeaderFields(int fields) {
      maximumHeaderFields = (int) positive("max-header-fields", fields);
      return this;
    }

    /** The bytes of a message's header; default: 4 MiB. A message that has more is deferred. */
    public Builder maximumHeaderBytes(long bytes) {
      maximumHeaderBytes = positive("max-header-bytes", bytes);
      return this;
    }

    /**
     * The recipients of a message; default: 50,000. Those beyond are deferred one by one, or with
     * the message where recipients are not answered.
     */
    public Builder maximumRecipients(int recipients) {
      maximumRecipients = (int) positive("max-recipients", recipients);
      return this;
    }

    /**
     * The bytes of the macros that hold at one time; default: 1 MiB. A connection that has more is
     * closed.
     */
    public Builder maximumMacroBytes(long bytes) {
      maximumMacroBytes = positive("max-macro-bytes", bytes);
      return this;
    }

    /** Whether events carry their exact payload as metadata; default: no. */
    public Builder keepPayload(boolean keep) {
      keepPayload = keep;
      return this;
    }

    /** Returns the options. */
    public EngineOptions build() {
      return new EngineOptions(this);
    }

    private static long positive(String option, Duration duration) {
      if (duration == null || duration.isNegative() || duration.isZero()) {
        throw bad(option, "must be a positive duration, not " + duration);
      }
      return Nanos.ofPositive(option, duration);
    }

    private static long positive(String option, long number) {
      if (number <= 0) {
        throw bad(option, "must be a positive number, not " + number);
      }
      return number;
    }

    private static MilterException bad(String option, String problem) {
      return new MilterException(
          MilterException.Category.BAD_OPTIONS, option + " " + problem, "option", option);
    }
  }
}
