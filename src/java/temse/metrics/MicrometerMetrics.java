package temse.metrics;

import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import temse.metrics.Metric.Reading;
import temse.protocol.EventType;
import temse.server.HandlerTimer;
import temse.server.MilterServer;

/**
 * The numbers of a server for Micrometer, from when they are bound to a registry until the server
 * has stopped, or until this is closed: the names are those of {@link MetricsServer} with dots,
 * such as {@code temse.messages} with the tag {@code verdict}, and {@code temse.handler}, a timer
 * with the tag {@code event}. All have the tags {@code milter}, the server's name, and {@code
 * address}.
 *
 * <pre>{@code
 * new MicrometerMetrics(server).bindTo(registry);
 * }</pre>
 */
public final class MicrometerMetrics implements MeterBinder, AutoCloseable {
  private static final String PREFIX = "temse.";

  private final MilterServer server;
  private final Tags tags;
  private final List<Runnable> undoing = new CopyOnWriteArrayList<>();

  /**
   * Makes the metrics of a server, which are in no registry yet.
   *
   * @param server one that has not stopped
   */
  public MicrometerMetrics(MilterServer server) {
    this.server = server;
    this.tags =
        Tags.of("milter", server.transport().name(), "address", server.endpoint().toString());
  }

  @Override
  public void bindTo(MeterRegistry registry) {
    for (Metric metric : Metric.ALL) {
      for (String key : metric.values().apply(Reading.of(server)).keySet()) {
        remember(registry, bind(metric, key, registry));
      }
    }
    Timers timers = new Timers(registry);
    server.measureWith(timers);
    undoing.add(() -> server.stopMeasuring(timers));
    server.whenStopped(this::close);
  }

  private Meter bind(Metric metric, String key, MeterRegistry registry) {
    String name = PREFIX + metric.name().replace('_', '.');
    String unit = metric.unit().isEmpty() ? null : metric.unit();
    Tags all = metric.label() == null ? tags : tags.and(metric.label(), key);
    return switch (metric.kind()) {
      case COUNTER ->
          FunctionCounter.builder(name, server, metric.reader(key))
              .tags(all)
              .baseUnit(unit)
              .description(metric.help())
              .register(registry);
      case GAUGE ->
          Gauge.builder(name, server, metric.reader(key))
              .tags(all)
              .baseUnit(unit)
              .description(metric.help())
              .strongReference(true)
              .register(registry);
    };
  }

  private void remember(MeterRegistry registry, Meter meter) {
    undoing.add(() -> registry.remove(meter));
  }

  /** Removes what was bound from its registries, and measures no more. */
  @Override
  public void close() {
    for (Runnable undo : undoing) {
      undo.run();
      undoing.remove(undo);
    }
  }

  /** A timer for each event, made at once, so that recording takes no look-up. */
  private final class Timers implements HandlerTimer {
    private final Map<EventType, Timer> timers = new EnumMap<>(EventType.class);

    Timers(MeterRegistry registry) {
      for (EventType type : EventType.values()) {
        Timer timer =
            Timer.builder(PREFIX + "handler")
                .tags(tags.and("event", type.keyword.getName()))
                .description("How long handlers took.")
                .register(registry);
        timers.put(type, timer);
        remember(registry, timer);
      }
    }

    @Override
    public void record(EventType type, long nanos) {
      timers.get(type).record(nanos, TimeUnit.NANOSECONDS);
    }
  }
}
