package temse.transport;

/** Keeps what a listener throws away from the loops. */
final class QuietListener implements TransportListener {
  private final TransportListener listener;

  QuietListener(TransportListener listener) {
    this.listener = listener;
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

  private static void quietly(Runnable report) {
    try {
      report.run();
    } catch (Throwable ignored) {
      // There is nobody left to tell.
    }
  }
}
