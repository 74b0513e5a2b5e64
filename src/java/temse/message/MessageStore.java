package temse.message;

import java.nio.file.Path;
import temse.protocol.Budget;
import temse.protocol.MilterException;

/**
 * What all messages that a filter is collecting share: the memory and the temporary files that they
 * may take, and the limits of each. Thread-safe.
 */
public final class MessageStore {
  final Budget memory;
  final TemporaryFiles files;
  final long memoryPerMessage;
  final long maximumMessage;
  final Exceeded whenExceeded;

  private MessageStore(Builder builder, TemporaryFiles files) {
    this.memory = new Budget(builder.messageMemory);
    this.files = files;
    this.memoryPerMessage = builder.memoryPerMessage;
    this.maximumMessage = builder.maximumMessage;
    this.whenExceeded = builder.whenExceeded;
  }

  /** {@return a builder that holds the defaults} */
  public static Builder builder() {
    return new Builder();
  }

  /** {@return a collector for the messages of one MTA connection} */
  public Collector collector() {
    return new Collector(this);
  }

  /** {@return what it means that a message has more octets than one may have} */
  public Exceeded whenExceeded() {
    return whenExceeded;
  }

  /** {@return how many octets of memory the messages take that the filter is collecting} */
  public long memoryTaken() {
    return memory.taken();
  }

  /** Collects the limits. */
  public static final class Builder {
    private long memoryPerMessage = 64 * 1024;
    private long messageMemory = 64L * 1024 * 1024;
    private long maximumMessage = 256L * 1024 * 1024;
    private Exceeded whenExceeded = Exceeded.DEFER;
    private Path directory = Path.of(System.getProperty("java.io.tmpdir"));

    private Builder() {}

    /**
     * Sets the octets of a body that stay in memory; default: 64 KiB. A larger one goes to a file.
     *
     * @param octets not negative
     * @return this builder
     */
    public Builder memoryPerMessage(long octets) {
      memoryPerMessage = notNegative("memory-per-message", octets);
      return this;
    }

    /**
     * Sets the octets of memory that all messages of the server may take together, those of other
     * message filters included; default: 64 MiB. Where they are taken a body goes to a file sooner,
     * and a message whose header finds no room is deferred.
     *
     * @param octets not negative
     * @return this builder
     */
    public Builder messageMemory(long octets) {
      messageMemory = notNegative("message-memory", octets);
      return this;
    }

    /**
     * Sets the octets that a message may have, header and body; default: 256 MiB.
     *
     * @param octets not negative
     * @return this builder
     */
    public Builder maximumMessage(long octets) {
      maximumMessage = notNegative("max-message", octets);
      return this;
    }

    /**
     * Sets what it means that a message has more; default: it is deferred.
     *
     * @param outcome what is done then
     * @return this builder
     */
    public Builder whenExceeded(Exceeded outcome) {
      whenExceeded = outcome;
      return this;
    }

    /**
     * Sets where the temporary files are; default: the system property {@code java.io.tmpdir}.
     *
     * @param path a directory that exists
     * @return this builder
     */
    public Builder directory(Path path) {
      directory = path;
      return this;
    }

    /** {@return the store} */
    public MessageStore build() {
      return build(new TemporaryFiles(directory));
    }

    MessageStore build(TemporaryFiles files) {
      return new MessageStore(this, files);
    }

    private static long notNegative(String option, long octets) {
      if (octets < 0) {
        throw new MilterException(
            MilterException.Category.BAD_OPTIONS,
            option + " must be a number of octets, 0 or more, not " + octets,
            "option",
            option);
      }
      return octets;
    }
  }
}
