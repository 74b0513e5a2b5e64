package temse.metrics;

import java.lang.management.ManagementFactory;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;
import javax.management.InstanceAlreadyExistsException;
import javax.management.InstanceNotFoundException;
import javax.management.JMException;
import javax.management.MBeanServer;
import javax.management.ObjectName;
import temse.server.MilterServer;
import temse.server.ServerCounters;
import temse.transport.Endpoint;

/**
 * A server in the process's JMX, from its registration until it has stopped, or until this is
 * closed. It is a {@link MilterMXBean} whose name is made of the server's and its address: {@code
 * temse:type=Milter,name=filter,address="inet:20025@127.0.0.1"}. Should there be one of this name
 * already, {@code instance=2} and so on is added.
 *
 * <pre>{@code
 * MilterJmx.register(server);
 * }</pre>
 */
public final class MilterJmx implements AutoCloseable {
  private static final Pattern PLAIN = Pattern.compile("[\\w.-]+");
  private static final int MOST_INSTANCES = 1000;

  private final MBeanServer beans = ManagementFactory.getPlatformMBeanServer();
  private final ObjectName name;

  private MilterJmx(MilterServer server) throws JMException {
    name = registered(new Bean(server));
    server.whenStopped(this::close);
  }

  /**
   * Registers a server.
   *
   * @param server one that has not stopped
   * @return its registration
   * @throws IllegalStateException if JMX refuses it
   */
  public static MilterJmx register(MilterServer server) {
    try {
      return new MilterJmx(server);
    } catch (JMException e) {
      throw new IllegalStateException("JMX does not take the server: " + e.getMessage(), e);
    }
  }

  private ObjectName registered(Bean bean) throws JMException {
    String base =
        "temse:type=Milter,name="
            + value(bean.getName())
            + ",address="
            + value(bean.server.endpoint().toString());
    for (int instance = 1; ; instance++) {
      ObjectName candidate = new ObjectName(base + (instance == 1 ? "" : ",instance=" + instance));
      try {
        return beans.registerMBean(bean, candidate).getObjectName();
      } catch (InstanceAlreadyExistsException e) {
        if (instance == MOST_INSTANCES) {
          throw e;
        }
      }
    }
  }

  private static String value(String text) {
    return PLAIN.matcher(text).matches() ? text : ObjectName.quote(text);
  }

  /** {@return the name under which the server is registered} */
  public ObjectName name() {
    return name;
  }

  /** Ends the registration, if it has not ended. */
  @Override
  public void close() {
    try {
      beans.unregisterMBean(name);
    } catch (InstanceNotFoundException e) {
      // It was closed before.
    } catch (JMException e) {
      throw new IllegalStateException("JMX keeps the server: " + e.getMessage(), e);
    }
  }

  /** The server, as JMX sees it. */
  private record Bean(MilterServer server) implements MilterMXBean {
    private ServerCounters counters() {
      return server.counters();
    }

    @Override
    public String getName() {
      return server.transport().name();
    }

    @Override
    public String[] getAddresses() {
      return server.endpoints().stream().map(Endpoint::toString).toArray(String[]::new);
    }

    @Override
    public Date getStartedAt() {
      return Date.from(server.startedAt());
    }

    @Override
    public double getUptimeSeconds() {
      return server.uptime().toMillis() / 1e3;
    }

    @Override
    public boolean isListening() {
      return server.isListening();
    }

    @Override
    public int getConnections() {
      return server.connections();
    }

    @Override
    public long getAccepted() {
      return counters().accepted();
    }

    @Override
    public long getRefused() {
      return counters().refused();
    }

    @Override
    public long getRefusedPerPeer() {
      return counters().refusedPerPeer();
    }

    @Override
    public long getRefusedByAddress() {
      return counters().refusedByAddress();
    }

    @Override
    public long getProbes() {
      return counters().probes();
    }

    @Override
    public Map<String, Long> getEvents() {
      return counters().events();
    }

    @Override
    public Map<String, Long> getMessages() {
      return counters().messages();
    }

    @Override
    public Map<String, Long> getErrors() {
      return counters().errors();
    }

    @Override
    public Map<String, HandlerMillis> getHandlers() {
      Map<String, HandlerMillis> handlers = new LinkedHashMap<>();
      server
          .handlerTimes()
          .forEach((event, times) -> handlers.put(event, new HandlerMillis(times)));
      return handlers;
    }

    @Override
    public long getBytesRead() {
      return counters().bytesRead();
    }

    @Override
    public long getBytesWritten() {
      return counters().bytesWritten();
    }

    @Override
    public long getPendingValues() {
      return server.pendingValues();
    }

    @Override
    public long getSpilledBodies() {
      return server.spilledBodies();
    }

    @Override
    public long getSpilledBytes() {
      return server.spilledBytes();
    }

    @Override
    public long getLimitsExceeded() {
      return counters().limitsExceeded();
    }

    @Override
    public long getTimeouts() {
      return counters().timeouts();
    }

    @Override
    public long getListenerFailures() {
      return counters().listenerFailures();
    }

    @Override
    public long getReloads() {
      return counters().reloads();
    }

    @Override
    public long getHandOvers() {
      return counters().handOvers();
    }

    @Override
    public long getLent() {
      return counters().lent();
    }

    @Override
    public long getWaits() {
      return counters().waits();
    }

    @Override
    public long getStarved() {
      return counters().starved();
    }

    @Override
    public long getStalls() {
      return counters().stalls();
    }

    @Override
    public long getDroppedReports() {
      return counters().droppedReports();
    }
  }
}
