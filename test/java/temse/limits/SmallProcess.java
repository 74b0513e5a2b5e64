package temse.limits;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.spi.ToolProvider;

/** A {@link SmallServer} in a process of its own, with little memory. */
final class SmallProcess implements AutoCloseable {
  /** What a process ends with that cannot go on. */
  static final int FATAL = 70;

  final int port;
  private final Process process;
  private final BufferedReader out;
  private final Writer in;

  SmallProcess(String heap, String... arguments) throws IOException {
    this(Map.of(), List.of("-Xmx" + heap, "-XX:+UseG1GC"), arguments);
  }

  /** Starts a process with more in its environment, and flags of the virtual machine. */
  SmallProcess(Map<String, String> environment, List<String> flags, String... arguments)
      throws IOException {
    this(List.of(), environment, flags, System.getProperty("java.class.path"), arguments);
  }

  private SmallProcess(
      List<String> shell,
      Map<String, String> environment,
      List<String> flags,
      String classPath,
      String... arguments)
      throws IOException {
    List<String> command = new ArrayList<>(shell);
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-XX:TieredStopAtLevel=1");
    command.addAll(flags);
    command.addAll(List.of("-cp", classPath, SmallServer.class.getName()));
    command.addAll(List.of(arguments));
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD);
    builder.environment().putAll(environment);
    process = builder.start();
    out = process.inputReader(StandardCharsets.US_ASCII);
    in = process.outputWriter(StandardCharsets.US_ASCII);
    port = Integer.parseInt(out.readLine());
  }

  /**
   * Starts a process under a limit of the system.
   *
   * @param ulimit what the shell's command ulimit takes, such as {@code -n 100}
   * @param directory for the jars of the classes, which are open from the start: to load a class
   *     from a directory takes a descriptor
   * @param flags of the virtual machine
   */
  static SmallProcess limited(
      String ulimit, Path directory, List<String> flags, String... arguments) throws IOException {
    String script = "ulimit " + ulimit + " && exec \"$@\"";
    return new SmallProcess(
        List.of("sh", "-c", script, "sh"), Map.of(), flags, packed(directory), arguments);
  }

  /** Returns the class path with a jar in the place of each directory of classes. */
  private static String packed(Path directory) {
    List<String> path = new ArrayList<>();
    for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
      if (Files.isDirectory(Path.of(entry))) {
        String jar = directory.resolve(path.size() + ".jar").toString();
        ToolProvider.findFirst("jar")
            .orElseThrow()
            .run(System.out, System.err, "--create", "-0", "--file", jar, "-C", entry, ".");
        path.add(jar);
      } else {
        path.add(entry);
      }
    }
    return String.join(File.pathSeparator, path);
  }

  /** Returns what the server answers to a command. */
  long ask(String command) throws IOException {
    in.write(command + "\n");
    in.flush();
    String answer = out.readLine();
    if (answer == null) {
      throw new IOException("the server's process has ended");
    }
    return Long.parseLong(answer);
  }

  boolean isAlive() {
    return process.isAlive();
  }

  /** Returns the exit code of a process that ends by itself. */
  int awaitEnd() throws InterruptedException {
    if (!process.waitFor(30, TimeUnit.SECONDS)) {
      throw new IllegalStateException("the process goes on");
    }
    return process.exitValue();
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
