package temse.server;

import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;
import temse.protocol.Action;
import temse.protocol.EventType;
import temse.protocol.Legality;
import temse.protocol.MilterException;
import temse.transport.internal.Nanos;

/**
 * How a connection is served, whatever carries its bytes. Times are in nanoseconds.
 *
 * <pre>{@code
 * EngineOptions.builder().handlerTimeout(Duration.ofSeconds(10)).build()
 * }</pre>
 *
 * @param defaultReplies the replies where nobody gave one; continue for events that it does not
 *     hold (default: none, as in libmilter)
 * @param handlerTimeouts how long a pending value may take at each event; below the MTA's own limit
 *     (default: 25 s, 270 s at end of message)
 * @param progressEvents the events at which progress may be sent. Postfix takes it at any event,
 *     Sendmail drops a milter that sends it elsewhere (default: end of message)
 * @param progressInterval how often progress is sent while a value is pending (default: 5 s, since
 *     Sendmail waits 10)
 * @param idleTimeout how long the MTA may be silent (default: 7210 s, longer than SMTP's own
 *     limits)
 * @param packetTimeout how long the MTA may take from the first byte of a packet to its last; then
 *     the connection is closed (default: 60 s)
 * @param negotiationTimeout how long the MTA may take to negotiate; then the connection is closed
 *     (default: 30 s)
 * @param maximumPacketSize the largest payload in bytes (default: 2 MiB)
 * @param maximumUnfinishedBytes the bytes that unfinished packets of all connections of a server
 *     may take together; the connection whose packet finds no room is closed (default: 64 MiB)
 * @param maximumHeaderFields the header fields of a message; one that has more is deferred
 *     (default: 10,000)
 * @param maximumHeaderBytes the bytes of a message's header; one that has more is deferred
 *     (default: 4 MiB)
 * @param maximumRecipients the recipients of a message; those beyond are deferred one by one, or
 *     with the message where recipients are not answered (default: 50,000)
 * @param maximumMacroBytes the bytes of the macros that hold at one time; a connection that has
 *     more is closed (default: 1 MiB)
 * @param keepPayload whether events carry their exact payload as metadata (default: false)
 * @param keywords whether messages of errors name actions, events and keys by Clojure's keywords,
 *     {@code :add-header}, in place of {@code addHeader} (default: false)
 */
public record EngineOptions(
    Map<EventType, Action.Reply> defaultReplies,
    Map<EventType, Long> handlerTimeouts,
    Set<EventType> progressEvents,
    long progressInterval,
    long idleTimeout,
    long packetTimeout,
    long negotiationTimeout,
    int maximumPacketSize,
    long maximumUnfinishedBytes,
    int maximumHeaderFields,
    long maximumHeaderBytes,
    int maximumRecipients,
    long maximumMacroBytes,
    boolean keepPayload,
    boolean keywords) {
  /** The options that nobody has changed. */
  public static final EngineOptions DEFAULTS = builder().build();

  /**
   * Checks the values.
   *
   * @param defaultReplies each may answer its event
   * @param handlerTimeouts nanoseconds, positive, for every event
   * @param progressEvents any events
   * @param progressInterval nanoseconds, positive
   * @param idleTimeout nanoseconds, positive
   * @param packetTimeout nanoseconds, positive
   * @param negotiationTimeout nanoseconds, positive
   * @param maximumPacketSize positive
   * @param maximumUnfinishedBytes positive
   * @param maximumHeaderFields positive
   * @param maximumHeaderBytes positive
   * @param maximumRecipients positive
   * @param maximumMacroBytes positive
   * @param keepPayload whether events carry their exact payload
   * @param keywords whether errors name Clojure's keywords
   * @throws MilterException BAD_OPTIONS that names the one that is wrong
   */
  public EngineOptions {
    defaultReplies.forEach((type, reply) -> checkDefaultReply(type, reply, keywords));
    if (!handlerTimeouts.keySet().containsAll(Arrays.asList(EventType.values()))) {
      throw bad("handlerTimeouts", "must hold each event");
    }
    handlerTimeouts.values().forEach(timeout -> checkPositive("handlerTimeout", timeout));
    checkPositive("progressInterval", progressInterval);
    checkPositive("idleTimeout", idleTimeout);
    checkPositive("packetTimeout", packetTimeout);
    checkPositive("negotiationTimeout", negotiationTimeout);
    checkPositive("maximumPacketSize", maximumPacketSize);
    checkPositive("maximumUnfinishedBytes", maximumUnfinishedBytes);
    checkPositive("maximumHeaderFields", maximumHeaderFields);
    checkPositive("maximumHeaderBytes", maximumHeaderBytes);
    checkPositive("maximumRecipients", maximumRecipients);
    checkPositive("maximumMacroBytes", maximumMacroBytes);
    defaultReplies = copy(defaultReplies);
    handlerTimeouts = copy(handlerTimeouts);
    EnumSet<EventType> events = EnumSet.noneOf(EventType.class);
    events.addAll(progressEvents);
    progressEvents = Collections.unmodifiableSet(events);
  }

  private static <V> Map<EventType, V> copy(Map<EventType, V> map) {
    EnumMap<EventType, V> copy = new EnumMap<>(EventType.class);
    copy.putAll(map);
    return Collections.unmodifiableMap(copy);
  }

  private static void checkPositive(String option, long number) {
    if (number <= 0) {
      throw bad(option, "must be positive");
    }
  }

  private static void checkDefaultReply(EventType type, Action.Reply reply, boolean keywords) {
    if (!Legality.replies(type).contains(reply.type())) {
      MilterException error =
          new MilterException(
              MilterException.Category.BAD_OPTIONS,
              reply.type().keyword + " cannot be the default reply to " + type.keyword,
              "option",
              "default-reply");
      throw keywords ? error : error.inJava();
    }
  }

  private static MilterException bad(String option, String problem) {
    return new MilterException(
        MilterException.Category.BAD_OPTIONS, option + " " + problem, "option", option);
  }

  /**
   * {@return the reply to the event where nobody gave one}
   *
   * @param type of the event
   */
  public Action.Reply defaultReply(EventType type) {
    return defaultReplies.getOrDefault(type, Action.proceed());
  }

  /**
   * {@return how long a pending value may take at the event, in nanoseconds}
   *
   * @param type of the event
   */
  public long handlerTimeout(EventType type) {
    return handlerTimeouts.get(type);
  }

  /** {@return a builder that holds the defaults} */
  public static Builder builder() {
    return new Builder();
  }

  /** Collects options; see {@link EngineOptions}. */
  public static final class Builder {
    private final Map<EventType, Action.Reply> defaultReplies = new EnumMap<>(EventType.class);
    private final Map<EventType, Long> handlerTimeouts = new EnumMap<>(EventType.class);
    private Set<EventType> progressEvents = Set.of(EventType.END_OF_MESSAGE);
    private long progressInterval = Duration.ofSeconds(5).toNanos();
    private long idleTimeout = Duration.ofSeconds(7210).toNanos();
    private long packetTimeout = Duration.ofSeconds(60).toNanos();
    private long negotiationTimeout = Duration.ofSeconds(30).toNanos();
    private int maximumPacketSize = 2 * 1024 * 1024;
    private long maximumUnfinishedBytes = 64L * 1024 * 1024;
    private int maximumHeaderFields = 10_000;
    private long maximumHeaderBytes = 4L * 1024 * 1024;
    private int maximumRecipients = 50_000;
    private long maximumMacroBytes = 1024L * 1024;
    private boolean keepPayload;
    private boolean keywords;

    private Builder() {
      handlerTimeout(Duration.ofSeconds(25));
      handlerTimeout(EventType.END_OF_MESSAGE, Duration.ofSeconds(270));
    }

    /**
     * Sets the reply where nobody gave one.
     *
     * @param type of the event
     * @param reply one that may answer the event
     * @return this builder
     * @throws MilterException BAD_OPTIONS if the reply may not answer the event
     */
    public Builder defaultReply(EventType type, Action.Reply reply) {
      checkDefaultReply(type, reply, keywords);
      defaultReplies.put(type, reply);
      return this;
    }

    /**
     * Sets how long a pending value may take at any event.
     *
     * @param timeout positive; default: 25 s, 270 s at end of message
     * @return this builder
     */
    public Builder handlerTimeout(Duration timeout) {
      for (EventType type : EventType.values()) {
        handlerTimeout(type, timeout);
      }
      return this;
    }

    /**
     * Sets how long a pending value may take at the event.
     *
     * @param type of the event
     * @param timeout positive
     * @return this builder
     */
    public Builder handlerTimeout(EventType type, Duration timeout) {
      handlerTimeouts.put(type, nanos("handlerTimeout", timeout));
      return this;
    }

    /**
     * Sets how often progress is sent while a value is pending.
     *
     * @param interval positive; default: 5 s
     * @return this builder
     */
    public Builder progressInterval(Duration interval) {
      progressInterval = nanos("progressInterval", interval);
      return this;
    }

    /**
     * Sets the events at which progress may be sent.
     *
     * @param events default: end of message
     * @return this builder
     */
    public Builder progressEvents(Set<EventType> events) {
      progressEvents = events;
      return this;
    }

    /**
     * Sets how long the MTA may be silent.
     *
     * @param timeout positive; default: 7210 s
     * @return this builder
     */
    public Builder idleTimeout(Duration timeout) {
      idleTimeout = nanos("idleTimeout", timeout);
      return this;
    }

    /**
     * Sets how long the MTA may take for a packet.
     *
     * @param timeout positive, from the first byte to the last; default: 60 s
     * @return this builder
     */
    public Builder packetTimeout(Duration timeout) {
      packetTimeout = nanos("packetTimeout", timeout);
      return this;
    }

    /**
     * Sets how long the MTA may take to negotiate.
     *
     * @param timeout positive; default: 30 s
     * @return this builder
     */
    public Builder negotiationTimeout(Duration timeout) {
      negotiationTimeout = nanos("negotiationTimeout", timeout);
      return this;
    }

    /**
     * Sets the largest payload in bytes.
     *
     * @param bytes positive; default: 2 MiB
     * @return this builder
     */
    public Builder maximumPacketSize(int bytes) {
      maximumPacketSize = bytes;
      return this;
    }

    /**
     * Sets the bytes of all unfinished packets of a server.
     *
     * @param bytes positive; default: 64 MiB
     * @return this builder
     */
    public Builder maximumUnfinishedBytes(long bytes) {
      maximumUnfinishedBytes = bytes;
      return this;
    }

    /**
     * Sets the header fields of a message.
     *
     * @param fields positive; default: 10,000
     * @return this builder
     */
    public Builder maximumHeaderFields(int fields) {
      maximumHeaderFields = fields;
      return this;
    }

    /**
     * Sets the bytes of a message's header.
     *
     * @param bytes positive; default: 4 MiB
     * @return this builder
     */
    public Builder maximumHeaderBytes(long bytes) {
      maximumHeaderBytes = bytes;
      return this;
    }

    /**
     * Sets the recipients of a message.
     *
     * @param recipients positive; default: 50,000
     * @return this builder
     */
    public Builder maximumRecipients(int recipients) {
      maximumRecipients = recipients;
      return this;
    }

    /**
     * Sets the bytes of the macros that hold at one time.
     *
     * @param bytes positive; default: 1 MiB
     * @return this builder
     */
    public Builder maximumMacroBytes(long bytes) {
      maximumMacroBytes = bytes;
      return this;
    }

    /**
     * Sets whether events carry their exact payload.
     *
     * @param keep default: false
     * @return this builder
     */
    public Builder keepPayload(boolean keep) {
      keepPayload = keep;
      return this;
    }

    /**
     * Sets whether messages of errors hold Clojure's keywords.
     *
     * @param clojure default: false, names as Java spells them
     * @return this builder
     */
    public Builder keywords(boolean clojure) {
      keywords = clojure;
      return this;
    }

    /**
     * {@return the options}
     *
     * @throws MilterException BAD_OPTIONS that names the one that is wrong
     */
    public EngineOptions build() {
      return new EngineOptions(
          defaultReplies,
          handlerTimeouts,
          progressEvents,
          progressInterval,
          idleTimeout,
          packetTimeout,
          negotiationTimeout,
          maximumPacketSize,
          maximumUnfinishedBytes,
          maximumHeaderFields,
          maximumHeaderBytes,
          maximumRecipients,
          maximumMacroBytes,
          keepPayload,
          keywords);
    }

    private static long nanos(String option, Duration duration) {
      try {
        return Nanos.ofPositive(option, duration);
      } catch (IllegalArgumentException e) {
        throw bad(option, e.getMessage().substring(option.length() + 1));
      }
    }
  }
}
