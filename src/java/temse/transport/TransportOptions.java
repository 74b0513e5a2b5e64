package temse.transport;

import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;

/**
 * Settings of a {@link SocketServer}.
 *
 * <pre>{@code
 * TransportOptions.builder().name("spam-filter").maxConnections(200).build()
 * }</pre>
 *
 * @param name begins the names of the threads (default: {@code "milter"})
 * @param loops number of event loops (default: half the cores, at least 1)
 * @param blockGrace user code that runs longer makes its loop move to a spare thread (default: 1
 *     ms)
 * @param maxBlocked threads that may be held by blocking user code at once; beyond it connections
 *     wait their turn (default: 1000)
 * @param maxConnections beyond it connections are accepted and closed at once (default: 1000)
 * @param writeTimeout a peer that takes no byte of an answer for so long is given up (default: 30
 *     s)
 * @param daemon whether the threads let the JVM exit (default: false)
 * @param unixMode permissions of socket files such as {@code "rw-rw----"}, or null to leave them to
 *     the umask (default: null)
 * @param unixGroup group of socket files, or null to leave it (default: null)
 */
public record TransportOptions(
    String name,
    int loops,
    Duration blockGrace,
    int maxBlocked,
    int maxConnections,
    Duration writeTimeout,
    boolean daemon,
    String unixMode,
    String unixGroup) {

  /** Checks the values. */
  public TransportOptions {
    check(name != null && !name.isBlank(), "name must not be blank");
    check(loops >= 1, "loops must be at least 1");
    check(isPositive(blockGrace), "blockGrace must be positive");
    check(maxBlocked >= 1, "maxBlocked must be at least 1");
    check(maxConnections >= 1, "maxConnections must be at least 1");
    check(isPositive(writeTimeout), "writeTimeout must be positive");
    if (unixMode != null) {
      PosixFilePermissions.fromString(unixMode);
    }
  }

  private static boolean isPositive(Duration duration) {
    return !duration.isNegative() && !duration.isZero();
  }

  private static void check(boolean holds, String message) {
    if (!holds) {
      throw new IllegalArgumentException(message);
    }
  }

  /** Returns a builder that holds the defaults. */
  public static Builder builder() {
    return new Builder();
  }

  /** Collects settings; see {@link TransportOptions}. */
  public static final class Builder {
    private String name = "milter";
    private int loops = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);
    private Duration blockGrace = Duration.ofMillis(1);
    private int maxBlocked = 1000;
    private int maxConnections = 1000;
    private Duration writeTimeout = Duration.ofSeconds(30);
    private boolean daemon;
    private String unixMode;
    private String unixGroup;

    private Builder() {}

    /** Says what begins the names of the threads. */
    public Builder name(String name) {
      this.name = name;
      return this;
    }

    /** Says how many event loops there are. */
    public Builder loops(int loops) {
      this.loops = loops;
      return this;
    }

    /** Says for how long user code may run in a loop. */
    public Builder blockGrace(Duration blockGrace) {
      this.blockGrace = blockGrace;
      return this;
    }

    /** Says how many threads blocking user code may hold at once. */
    public Builder maxBlocked(int maxBlocked) {
      this.maxBlocked = maxBlocked;
      return this;
    }

    /** Says how many connections there may be at once. */
    public Builder maxConnections(int maxConnections) {
      this.maxConnections = maxConnections;
      return this;
    }

    /** Says for how long a peer may take no byte of an answer. */
    public Builder writeTimeout(Duration writeTimeout) {
      this.writeTimeout = writeTimeout;
      return this;
    }

    /** Says whether the threads let the JVM exit. */
    public Builder daemon(boolean daemon) {
      this.daemon = daemon;
      return this;
    }

    /** Says what permissions socket files have. */
    public Builder unixMode(String unixMode) {
      this.unixMode = unixMode;
      return this;
    }

    /** Says what group socket files have. */
    public Builder unixGroup(String unixGroup) {
      this.unixGroup = unixGroup;
      return this;
    }

    /**
     * Returns the settings.
     *
     * @throws IllegalArgumentException that says which of them is wrong
     */
    public TransportOptions build() {
      return new TransportOptions(
          name,
          loops,
          blockGrace,
          maxBlocked,
          maxConnections,
          writeTimeout,
          daemon,
          unixMode,
          unixGroup);
    }
  }
}
