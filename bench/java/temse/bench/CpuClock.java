package temse.bench;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/** The CPU time of other processes, threads that have ended included: {@code cpu_clock.c}. */
final class CpuClock implements Closeable {
  private final OutputStream questions;
  private final BufferedReader answers;

  CpuClock(String program) throws IOException {
    Process process =
        new ProcessBuilder(program).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    questions = process.getOutputStream();
    answers =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.US_ASCII));
  }

  /** Returns user and system time of the process in nanoseconds. */
  long nanos(long pid) throws IOException {
    questions.write((pid + "\n").getBytes(StandardCharsets.US_ASCII));
    questions.flush();
    return Long.parseLong(answers.readLine());
  }

  @Override
  public void close() throws IOException {
    questions.close();
  }
}
