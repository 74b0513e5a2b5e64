package temse.server.internal;

import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Conversations of {@link ModelTest} in which an input decides instead of chance. */
public final class FuzzedTrial {
  private static final ExecutorService ELSEWHERE =
      Executors.newSingleThreadExecutor(
          task -> {
            Thread thread = new Thread(task, "elsewhere");
            thread.setDaemon(true);
            return thread;
          });

  private FuzzedTrial() {}

  /**
   * Plays a conversation.
   *
   * @param input any bytes; behind them goes on what chance has fixed once for all, so that every
   *     loop ends
   * @return the rules that were broken
   */
  public static List<String> broken(byte[] input) {
    ModelTrial trial = new ModelTrial(new Chaos(new Given(input)), ELSEWHERE);
    trial.run();
    return trial.broken();
  }

  /** The bytes of an input as numbers. */
  private static final class Given extends Random {
    private static final long serialVersionUID = 1;

    private final transient byte[] input;
    private int position;

    Given(byte[] input) {
      super(0);
      this.input = input;
    }

    @Override
    protected int next(int bits) {
      if (input == null || position >= input.length) {
        return super.next(bits);
      }
      int number = 0;
      for (int taken = 0; taken < bits; taken += 8) {
        number = number << 8 | (position < input.length ? input[position++] & 0xFF : 0);
      }
      return bits == 32 ? number : number & (1 << bits) - 1;
    }

    @Override
    public int nextInt(int bound) {
      boolean small = bound <= 256 && position < input.length;
      return small ? (input[position++] & 0xFF) % bound : super.nextInt(bound);
    }
  }
}
