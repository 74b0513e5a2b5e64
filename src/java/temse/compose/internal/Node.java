package temse.compose.internal;

import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import temse.compose.Origin;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.ServerListener;

/**
 * One filter of several, and what stands around it. A sequence needs nodes with title and listener.
 *
 * @param title its name in logs and verdicts, or null
 * @param factory the filter
 * @param options how it is served; of the options its default replies count, and in which language
 *     errors speak
 * @param listener receives what happens to it, or null
 * @param ofClient whether it is there for an SMTP client; null: for all
 * @param ofMessage whether it is there for a message; null: for all
 * @param pretence what becomes of its answers if it only pretends, or null
 */
public record Node(
    @Nullable String title,
    MilterFactory factory,
    EngineOptions options,
    @Nullable ServerListener listener,
    @Nullable Predicate<? super Origin> ofClient,
    @Nullable Predicate<? super Origin> ofMessage,
    @Nullable Judge pretence) {
  /** {@return true if what stands around it may add header fields at the end of a message} */
  boolean adds() {
    return pretence != null && pretence.marks();
  }

  /**
   * {@return the node with a name}
   *
   * @param name for verdicts and logs
   */
  public Node withTitle(String name) {
    return new Node(name, factory, options, listener, ofClient, ofMessage, pretence);
  }

  /**
   * {@return the node with something that receives what happens to it}
   *
   * @param reports the listener
   */
  public Node reportingTo(ServerListener reports) {
    return new Node(title, factory, options, reports, ofClient, ofMessage, pretence);
  }

  /**
   * {@return the node for some SMTP clients}
   *
   * @param predicate asked once for each client
   */
  public Node forClients(Predicate<? super Origin> predicate) {
    return new Node(title, factory, options, listener, predicate, ofMessage, pretence);
  }

  /**
   * {@return the node for some messages}
   *
   * @param predicate asked once for each message
   */
  public Node forMessages(Predicate<? super Origin> predicate) {
    return new Node(title, factory, options, listener, ofClient, predicate, pretence);
  }

  /**
   * {@return the node without its effect}
   *
   * @param judge receives what would have been done
   */
  public Node pretending(Judge judge) {
    return new Node(title, factory, options, listener, ofClient, ofMessage, judge);
  }
}
