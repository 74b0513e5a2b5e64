package temse.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/** The CPU time of other processes, including their ended threads: {@code cpu_clock.c}. */
public final class CpuClock {
  private final OutputStream questions;
  private final BufferedReader answers;

  /** Starts the program, which ends with this process. */
  public CpuClock(String program) throws IOException {
    Process process =
        new ProcessBuilder(program).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    questions = process.getOutputStream();
    answers = process.inputReader(StandardCharsets.US_ASCII);
  }

  /** Returns user and system time of the process in nanoseconds. */
  synchronized long nanos(long pid) throws IOException {
    questions.write((pid + "\n").getBytes(StandardCharsets.US_ASCII));
    questions.flush();
    return Long.parseLong(answers.readLine());
  }
}
