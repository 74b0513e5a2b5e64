package temse.server;

import clojure.lang.IPersistentMap;
import java.time.Duration;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Legality;
import temse.protocol.MilterException;

/** How a connection is served, whatever carries its bytes. */
public final class EngineOptions {
  /** The options that nobody has changed. */
  public static final EngineOptions DEFAULTS = builder().build();

  final Map<EventType, IPersistentMap> defaultReplies;
  final Map<EventType, Long> handlerTimeouts;
  final Set<EventType> progressEvents;
  final long progressInterval;
  final long idleTimeout;
  final int maximumPacketSize;
  final boolean keepPayload;

  private EngineOptions(Builder builder) {
    this.defaultReplies = new EnumMap<>(builder.defaultReplies);
    this.handlerTimeouts = new EnumMap<>(builder.handlerTimeouts);
    this.progressEvents = EnumSet.copyOf(builder.progressEvents);
    this.progressInterval = builder.progressInterval.toNanos();
    this.idleTimeout = builder.idleTimeout.toNanos();
    this.maximumPacketSize = builder.maximumPacketSize;
    this.keepPayload = builder.keepPayload;
  }

  IPersistentMap defaultReply(EventType type) {
    return defaultReplies.getOrDefault(type, Actions.proceed());
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
    private Duration progressInterval = Duration.ofSeconds(5);
    private Duration idleTimeout = Duration.ofSeconds(7210);
    private int maximumPacketSize = 2 * 1024 * 1024;
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
      handlerTimeouts.put(type, timeout.toNanos());
      return this;
    }

    /**
     * How often progress is sent while a value is pending; default: 5 s, since Sendmail waits 10.
     */
    public Builder progressInterval(Duration interval) {
      progressInterval = interval;
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
      idleTimeout = timeout;
      return this;
    }

    /** The largest payload in bytes; default: 2 MiB. */
    public Builder maximumPacketSize(int bytes) {
      maximumPacketSize = bytes;
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
  }
}
