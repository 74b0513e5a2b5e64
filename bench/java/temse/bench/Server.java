package temse.bench;

import java.io.File;
import java.io.IOException;
import java.net.SocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A measured milter, as a process of its own. */
final class Server {
  private static final long PATIENCE = TimeUnit.SECONDS.toNanos(60);

  private final String name;
  private final Process process;
  private final SocketAddress address;

  private Server(String name, Process process, SocketAddress address) {
    this.name = name;
    this.process = process;
    this.address = address;
  }

  /** Starts a milter whose command line ends with the address, and waits until it listens. */
  static Server start(String name, List<String> command, String address, File log)
      throws IOException, InterruptedException {
    List<String> line = new ArrayList<>(command);
    line.add(address);
    ProcessBuilder builder = new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(log);
    builder.environment().put("JAVA_HOME", System.getProperty("java.home"));
    Server server = new Server(name, builder.start(), Address.parse(address));
    Runtime.getRuntime().addShutdownHook(new Thread(server.process::destroyForcibly));
    long until = System.nanoTime() + PATIENCE;
    while (!server.listens()) {
      if (!server.process.isAlive() || System.nanoTime() > until) {
        throw new IOException(name + " did not start:\n" + Files.readString(log.toPath()));
      }
      Thread.sleep(20);
    }
    return server;
  }

  private boolean listens() {
    try (SocketChannel probe = SocketChannel.open(address)) {
      return probe.isConnected();
    } catch (IOException notYet) {
      return false;
    }
  }

  String name() {
    return name;
  }

  SocketAddress address() {
    return address;
  }

  long pid() {
    return process.pid();
  }

  /** Returns the resident memory in bytes. */
  long residentMemory() throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/" + pid() + "/status"))) {
      if (line.startsWith("VmRSS:")) {
        return 1024 * Long.parseLong(line.replaceAll("\\D", ""));
      }
    }
    throw new IOException(name + " has ended");
  }

  void stop() throws InterruptedException {
    process.destroy();
    if (!process.waitFor(10, TimeUnit.SECONDS)) {
      process.destroyForcibly().waitFor();
    }
  }
}
