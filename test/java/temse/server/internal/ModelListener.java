package temse.server.internal;

import java.util.ArrayList;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.ServerListener;

/** A listener that keeps what is reported, then throws at random. */
final class ModelListener implements ServerListener {
  private final Chaos chaos;
  private final ModelLink link;
  private final boolean wantsExchanges;

  /** The events whose failure was reported since somebody cleared it. */
  final List<EventType> failed = new ArrayList<>();

  int closed;
  int violated;

  ModelListener(Chaos chaos, ModelLink link) {
    this.chaos = chaos;
    this.link = link;
    this.wantsExchanges = chaos.random.nextBoolean();
  }

  private void heard() {
    chaos.check(link.isInside(), "reports are delivered between enter and leave");
    chaos.check(closed == 0, "nothing is reported after the end");
    chaos.maybeThrow();
  }

  @Override
  public void negotiated(ConnectionInfo connection) {
    heard();
  }

  @Override
  public boolean wantsExchanges() {
    chaos.maybeThrow();
    return wantsExchanges;
  }

  @Override
  public void exchanged(ConnectionInfo connection, Event event, List<Action> response, long nanos) {
    chaos.check(event != null, "an exchange has an event");
    heard();
  }

  @Override
  public void verdict(
      ConnectionInfo connection, EventType event, Action.Reply reply, MessageEndReason ended) {
    heard();
  }

  @Override
  public void failed(ConnectionInfo connection, EventType type, Event event, Throwable error) {
    failed.add(type);
    heard();
  }

  @Override
  public void violated(ConnectionInfo connection, MilterException error) {
    violated++;
    heard();
  }

  @Override
  public void probed(ConnectionInfo connection, String what) {
    closed(connection, null);
  }

  @Override
  public void closed(ConnectionInfo connection, Throwable error) {
    chaos.check(link.isInside(), "reports are delivered between enter and leave");
    closed++;
    chaos.maybeThrow();
  }
}
