package temse.transport;

import java.util.List;
import java.util.function.Consumer;

/** Keeps what a listener throws away from the threads that serve. */
final class QuietListener implements TransportListener {
  private final TransportListener listener;
  private final Consumer<Throwable> thrown;

  /**
   * @param thrown receives what the listener throws, in case it concerns more than the report
   */
  QuietListener(TransportListener listener, Consumer<Throwable> thrown) {
    this.listener = listener;
    this.thrown = thrown;
  }

  @Override
  public void opened(String peer) {
    quietly(() -> listener.opened(peer));
  }

  @Override
  public void closed(String peer, Conversation.End how, Throwable cause) {
    quietly(() -> listener.closed(peer, how, cause));
  }

  @Override
  public void refused(String peer, String why) {
    quietly(() -> listener.refused(peer, why));
  }

  @Override
  public void failed(Throwable problem) {
    quietly(() -> listener.failed(problem));
  }

  @Override
  public void leftBehind(List<String> threads) {
    quietly(() -> listener.leftBehind(threads));
  }

  private void quietly(Runnable report) {
    try {
      report.run();
    } catch (Throwable problem) {
      thrown.accept(problem);
    }
  }
}
