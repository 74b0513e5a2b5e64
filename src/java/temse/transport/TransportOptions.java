package temse.transport;

import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import temse.network.Networks;
import temse.transport.internal.Conversation;
import temse.transport.internal.Nanos;
import temse.transport.internal.ProcessEnd;
import temse.transport.internal.SocketServer;

/**
 * Settings of a {@link SocketServer}.
 *
 * <pre>{@code
 * TransportOptions.builder().name("spam-filter").maxConnections(200).build()
 * }</pre>
 *
 * @param name prefix of thread names (default: {@code "milter"})
 * @param loops number of event loops (default: half the cores, at least 1)
 * @param blockGrace user code that runs longer makes its loop move to a spare thread (default: 1
 *     ms)
 * @param maxBlocked threads that are given to blocking user code at once; beyond it connections
 *     wait their turn (default: 1000). Code that was not known to block may hold more, up to 132
 *     threads per loop
 * @param maxBlockedWait a connection that waits for a thread longer is given up: {@link
 *     Conversation#starved} (default: 20 s)
 * @param maxConnections beyond it connections are accepted and closed at once (default: 1000)
 * @param maxConnectionsPerPeer connections from one IP address beyond it are accepted and closed at
 *     once; 0 is any number. Unix-domain sockets are not counted (default: 0)
 * @param backlog connections that the system accepts for the server before the server takes them;
 *     systems have a limit of their own, in Linux net.core.somaxconn, 4096 (default: 1024)
 * @param writeTimeout a peer that takes no byte of an answer for so long is given up (default: 30
 *     s)
 * @param daemon whether the threads let the JVM exit (default: false)
 * @param unixMode permissions of socket files such as {@code "rw-rw----"}, or null to leave them to
 *     the umask (default: null)
 * @param unixGroup group of socket files, or null to leave it (default: null)
 * @param takeOver whether the place to listen may be taken from a server that has it: a Unix-domain
 *     socket is put in the place of the other one, a TCP port is shared with servers of the same
 *     user that were started with it, too, until they stop (default: false)
 * @param allow the networks whose peers may connect over TCP; connections of others are accepted
 *     and closed at once. Null is anybody (default: null)
 * @param onFatal receives what a loop, or the thread that watches the loops, failed of when it
 *     cannot go on; called once, on any thread. After it the server is stopped without grace. The
 *     default, or null, prints a line on the standard error and ends the process with code 70
 */
public record TransportOptions(
    String name,
    int loops,
    Duration blockGrace,
    int maxBlocked,
    Duration maxBlockedWait,
    int maxConnections,
    int maxConnectionsPerPeer,
    int backlog,
    Duration writeTimeout,
    boolean daemon,
    @Nullable String unixMode,
    @Nullable String unixGroup,
    boolean takeOver,
    @Nullable Networks allow,
    @Nullable Consumer<? super Throwable> onFatal) {

  /**
   * Checks the values.
   *
   * @param name not blank
   * @param loops at least 1
   * @param blockGrace positive
   * @param maxBlocked at least 1
   * @param maxBlockedWait positive
   * @param maxConnections at least 1
   * @param maxConnectionsPerPeer not negative
   * @param backlog at least 1
   * @param writeTimeout positive
   * @param daemon whether the threads let the JVM exit
   * @param unixMode null, or in the notation of {@link PosixFilePermissions}
   * @param unixGroup null, or a group of this machine
   * @param takeOver whether the place to listen may be taken from a server that has it
   * @param allow null for anybody
   * @param onFatal null for the default
   */
  public TransportOptions {
    check(name != null && !name.isBlank(), "name must not be blank");
    check(loops >= 1, "loops must be at least 1");
    Nanos.ofPositive("blockGrace", blockGrace);
    check(maxBlocked >= 1, "maxBlocked must be at least 1");
    Nanos.ofPositive("maxBlockedWait", maxBlockedWait);
    check(maxConnections >= 1, "maxConnections must be at least 1");
    check(maxConnectionsPerPeer >= 0, "maxConnectionsPerPeer must not be negative");
    check(backlog >= 1, "backlog must be at least 1");
    Nanos.ofPositive("writeTimeout", writeTimeout);
    if (unixMode != null) {
      PosixFilePermissions.fromString(unixMode);
    }
    onFatal = onFatal == null ? new ProcessEnd(name) : onFatal;
  }

  private static void check(boolean holds, String message) {
    if (!holds) {
      throw new IllegalArgumentException(message);
    }
  }

  /** {@return a builder that holds the defaults} */
  public static Builder builder() {
    return new Builder();
  }

  /** Collects settings; see {@link TransportOptions}. */
  public static final class Builder {
    private String name = "milter";
    private int loops = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);
    private Duration blockGrace = Duration.ofMillis(1);
    private int maxBlocked = 1000;
    private Duration maxBlockedWait = Duration.ofSeconds(20);
    private int maxConnections = 1000;
    private int maxConnectionsPerPeer;
    private int backlog = 1024;
    private Duration writeTimeout = Duration.ofSeconds(30);
    private boolean daemon;
    private @Nullable String unixMode;
    private @Nullable String unixGroup;
    private boolean takeOver;
    private @Nullable Networks allow;
    private @Nullable Consumer<? super Throwable> onFatal;

    private Builder() {}

    /**
     * Sets the prefix of thread names.
     *
     * @param name not blank; default: {@code milter}
     * @return this builder
     */
    public Builder name(String name) {
      this.name = name;
      return this;
    }

    /**
     * Sets the number of event loops.
     *
     * @param loops at least 1; default: half the cores
     * @return this builder
     */
    public Builder loops(int loops) {
      this.loops = loops;
      return this;
    }

    /**
     * Sets how long user code may run in a loop.
     *
     * @param blockGrace positive; default: 1 ms
     * @return this builder
     */
    public Builder blockGrace(Duration blockGrace) {
      this.blockGrace = blockGrace;
      return this;
    }

    /**
     * Sets how many threads are given to blocking user code at once.
     *
     * @param maxBlocked at least 1; default: 1000
     * @return this builder
     */
    public Builder maxBlocked(int maxBlocked) {
      this.maxBlocked = maxBlocked;
      return this;
    }

    /**
     * Sets how long a connection may wait for a thread.
     *
     * @param maxBlockedWait positive; default: 20 s
     * @return this builder
     */
    public Builder maxBlockedWait(Duration maxBlockedWait) {
      this.maxBlockedWait = maxBlockedWait;
      return this;
    }

    /**
     * Sets the number of connections allowed at once.
     *
     * @param maxConnections at least 1; default: 1000
     * @return this builder
     */
    public Builder maxConnections(int maxConnections) {
      this.maxConnections = maxConnections;
      return this;
    }

    /**
     * Sets the number of connections allowed at once per IP address; 0 is any number.
     *
     * @param maxConnectionsPerPeer default: 0
     * @return this builder
     */
    public Builder maxConnectionsPerPeer(int maxConnectionsPerPeer) {
      this.maxConnectionsPerPeer = maxConnectionsPerPeer;
      return this;
    }

    /**
     * Sets how many connections may wait for the server to take them.
     *
     * @param backlog 1 or more; default: 1024
     * @return this builder
     */
    public Builder backlog(int backlog) {
      this.backlog = backlog;
      return this;
    }

    /**
     * Sets how long a peer may take no byte of an answer.
     *
     * @param writeTimeout positive; default: 30 s
     * @return this builder
     */
    public Builder writeTimeout(Duration writeTimeout) {
      this.writeTimeout = writeTimeout;
      return this;
    }

    /**
     * Sets whether the threads let the JVM exit.
     *
     * @param daemon default: false
     * @return this builder
     */
    public Builder daemon(boolean daemon) {
      this.daemon = daemon;
      return this;
    }

    /**
     * Sets the permissions of socket files.
     *
     * @param unixMode such as {@code "rw-rw----"}; null, the default, leaves them to the umask
     * @return this builder
     */
    public Builder unixMode(@Nullable String unixMode) {
      this.unixMode = unixMode;
      return this;
    }

    /**
     * Sets the group of socket files.
     *
     * @param unixGroup its name; null, the default, leaves it
     * @return this builder
     */
    public Builder unixGroup(@Nullable String unixGroup) {
      this.unixGroup = unixGroup;
      return this;
    }

    /**
     * Sets whether the place to listen may be taken from a server that has it.
     *
     * @param takeOver default: false
     * @return this builder
     */
    public Builder takeOver(boolean takeOver) {
      this.takeOver = takeOver;
      return this;
    }

    /**
     * Sets whose connections over TCP are served.
     *
     * @param allow the networks of the peers; null, the default, is anybody
     * @return this builder
     */
    public Builder allow(@Nullable Networks allow) {
      this.allow = allow;
      return this;
    }

    /**
     * Sets what receives the problem when a loop cannot go on.
     *
     * @param onFatal called once, on any thread; null is the default: {@link TransportOptions}
     * @return this builder
     */
    public Builder onFatal(@Nullable Consumer<? super Throwable> onFatal) {
      this.onFatal = onFatal;
      return this;
    }

    /**
     * {@return the settings}
     *
     * @throws IllegalArgumentException that names the one that is wrong
     */
    public TransportOptions build() {
      return new TransportOptions(
          name,
          loops,
          blockGrace,
          maxBlocked,
          maxBlockedWait,
          maxConnections,
          maxConnectionsPerPeer,
          backlog,
          writeTimeout,
          daemon,
          unixMode,
          unixGroup,
          takeOver,
          allow,
          onFatal);
    }
  }
}
