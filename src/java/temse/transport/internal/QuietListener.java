package temse.transport.internal;

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
    try {
      listener.opened(peer);
    } catch (Throwable another) {
      thrown.accept(another);
    }
  }

  @Override
  public void closed(String peer, Conversation.End how, Throwable cause) {
    try {
      listener.closed(peer, how, cause);
    } catch (Throwable another) {
      thrown.accept(another);
    }
  }

  @Override
  public void refused(String peer, String why) {
    try {
      listener.refused(peer, why);
    } catch (Throwable another) {
      thrown.accept(another);
    }
  }

  @Override
  public void failed(Throwable problem) {
    try {
      listener.failed(problem);
    } catch (Throwable another) {
      thrown.accept(another);
    }
  }

  @Override
  public void leftBehind(List<String> threads) {
    try {
      listener.leftBehind(threads);
    } catch (Throwable another) {
      thrown.accept(another);
    }
  }
}
