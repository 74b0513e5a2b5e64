package temse.compose;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import temse.compose.internal.Judge;
import temse.compose.internal.Node;
import temse.compose.internal.Sequence;
import temse.message.Exceeded;
import temse.message.MessageStore;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.ServerListener;
import temse.server.SystemLoggerListener;

/**
 * A filter made of filters: several behind one connection to the MTA, or one that is there for some
 * clients or messages only, or that only pretends. What it is made of may be a {@link
 * temse.server.Milter}, a {@link temse.message.MessageFilter}, or any other {@link MilterFactory}.
 *
 * <pre>{@code
 * Filter filter =
 *     Filter.inSequence(
 *         Filter.of(spf).named("spf").whenMessage(origin -> !origin.isAuthenticated()),
 *         Filter.of(dkim).named("dkim").pretend(Pretence.LOGGED));
 * MilterServer.builder(filter).listenOn("inet:20025@127.0.0.1").start();
 * }</pre>
 *
 * <p>Immutable; each method returns another filter.
 */
public final class Filter implements MilterFactory {
  private final List<Node> nodes;

  /** What keeps content for filters behind one that may change it, or null: as usual. */
  private final @Nullable MessageStore store;

  private final MessageStore used;

  private Filter(List<Node> nodes, @Nullable MessageStore store) {
    this.nodes = nodes;
    this.store = store;
    this.used = store == null ? MessageStore.builder().build() : store;
  }

  private static Filter of(Node node) {
    return new Filter(List.of(node), null);
  }

  /**
   * {@return the filter, for the methods below}
   *
   * @param milter a {@link temse.server.Milter} or another factory
   */
  public static Filter of(MilterFactory milter) {
    return milter instanceof Filter filter
        ? filter
        : of(new Node(null, milter, EngineOptions.DEFAULTS, null, null, null, null));
  }

  /**
   * {@return a filter that behaves as the filters would as milters of their own, in that order}
   *
   * <ul>
   *   <li>Each has its own state and error policy, sees the macros that it has asked for, and may
   *       do what it has asked for.
   *   <li>An event of the envelope goes to one after the other; the first that refuses, defers or
   *       discards decides, and later ones do not see it. Content (header fields, body, end of
   *       message) goes to the first completely, its modifications are made, and then to the next:
   *       a refusal by an earlier one wins. Later ones see the header fields and the body as
   *       earlier ones have left them, not senders and recipients.
   *   <li>One that accepts is out for the message, or for the client if it does so at CONNECT or
   *       HELLO; the others go on.
   *   <li>One that fails defers the message, unless its error policy says otherwise.
   * </ul>
   *
   * <p>For filters behind one that may change content, the message is kept: see {@link #keepIn}. A
   * filter that is never to change anything should ask for no action.
   *
   * <p>Verdicts and modifications carry the name of their filter in logs and reports.
   *
   * @param filters at least one
   * @throws MilterException BAD_OPTIONS if there is none
   */
  public static Filter inSequence(MilterFactory... filters) {
    return inSequence(List.of(filters));
  }

  /**
   * {@return a filter that behaves as the filters would, as above}
   *
   * @param filters at least one
   * @throws MilterException BAD_OPTIONS if there is none
   */
  public static Filter inSequence(List<? extends MilterFactory> filters) {
    if (filters.isEmpty()) {
      throw new MilterException(
          MilterException.Category.BAD_OPTIONS, "a sequence needs one filter at least");
    }
    List<Node> nodes = new ArrayList<>();
    for (MilterFactory given : filters) {
      Filter filter = of(given);
      if (filter.store == null) {
        nodes.addAll(filter.nodes);
      } else {
        nodes.add(filter.asNode());
      }
    }
    return new Filter(List.copyOf(nodes), null);
  }

  // ---- what stands around it

  /**
   * {@return the filter with a name for verdicts and logs; without one it is {@code filter-1} …}
   *
   * @param name such as {@code spf}
   */
  public Filter named(String name) {
    Objects.requireNonNull(name, "name");
    return around(node -> true, node -> node.withTitle(name));
  }

  /**
   * {@return the filter for those SMTP clients only for which the predicate is true} It is asked
   * when the client connects; authentication comes later. For other clients the filter is not
   * there. What the predicate throws defers.
   *
   * <pre>{@code
   * filter.whenClient(origin -> !origin.isLocal())
   * }</pre>
   *
   * @param predicate called once for each client
   */
  public Filter whenClient(Predicate<? super Origin> predicate) {
    Objects.requireNonNull(predicate, "predicate");
    return around(node -> node.ofClient() == null, node -> node.forClients(predicate));
  }

  /**
   * {@return the filter for those messages only for which the predicate is true} It is asked at
   * MAIL, before any recipient is known, and its result holds for the message and all its
   * recipients: what concerns a recipient belongs into a handler of it. For other messages the
   * filter is not there; it sees CONNECT and HELLO of all clients, and decides about them. What the
   * predicate throws defers.
   *
   * <pre>{@code
   * filter.whenMessage(origin -> !origin.isAuthenticated())
   * }</pre>
   *
   * @param predicate called once for each message
   */
  public Filter whenMessage(Predicate<? super Origin> predicate) {
    Objects.requireNonNull(predicate, "predicate");
    return around(node -> node.ofMessage() == null, node -> node.forMessages(predicate));
  }

  /**
   * {@return the filter without its effect: it is asked, and its answer is reported and not carried
   * out} The first refusal, deferral or discarding of a message is what a real one would have ended
   * with, so that the filter sees no more of the message then. Asks the MTA for none of its
   * actions.
   *
   * <pre>{@code
   * filter.pretend(Pretence.LOGGED.withFields())
   * }</pre>
   *
   * @param how where reports go
   */
  public Filter pretend(Pretence how) {
    Judge judge = new Judge(how.marks(), how.report());
    return around(node -> node.pretence() == null, node -> node.pretending(judge));
  }

  /**
   * {@return the filter with something that receives what happens to it, such as failures of its
   * handlers; default: a {@link SystemLoggerListener}, whose logger is {@code temse.} and the name
   * of the filter} The listener of the server receives what several filters together do.
   *
   * @param reports called on the threads of the server
   */
  public Filter listener(ServerListener reports) {
    Objects.requireNonNull(reports, "listener");
    return around(node -> true, node -> node.reportingTo(reports));
  }

  /**
   * {@return the filter with a store for the content that is kept for filters behind one that may
   * change it; default: a store with the default limits} Where it passes over messages that are too
   * large, the filters that would have to wait for them are not there for those.
   *
   * @param content shared by all connections
   * @throws MilterException BAD_OPTIONS if the store truncates messages: a filter would take a part
   *     for the whole
   */
  public Filter keepIn(MessageStore content) {
    if (content.whenExceeded() == Exceeded.TRUNCATE) {
      throw new MilterException(
          MilterException.Category.BAD_OPTIONS,
          "the store of a sequence cannot truncate messages, filters would see a part of them");
    }
    return new Filter(nodes, content);
  }

  /**
   * Returns a filter of one node, changed; what it stands around already is put into a node of its
   * own first if the node cannot take what is added.
   */
  private Filter around(Predicate<Node> takes, UnaryOperator<Node> added) {
    boolean plain = nodes.size() == 1 && store == null && takes.test(nodes.get(0));
    return of(added.apply(plain ? nodes.get(0) : asNode()));
  }

  private Node asNode() {
    String title = nodes.size() == 1 ? nodes.get(0).title() : null;
    return new Node(title, this, EngineOptions.DEFAULTS, null, null, null, null);
  }

  // ---- serving

  @Override
  public MilterHandler open(ConnectionInfo connection) {
    return new Serving();
  }

  private List<Node> complete() {
    List<Node> complete = new ArrayList<>();
    for (Node node : nodes) {
      Node titled = node.title() == null ? node.withTitle("filter-" + (complete.size() + 1)) : node;
      complete.add(
          titled.listener() == null
              ? titled.reportingTo(
                  new SystemLoggerListener(System.getLogger("temse." + titled.title())))
              : titled);
    }
    return complete;
  }

  private final class Serving implements MilterHandler {
    private final List<Node> complete = complete();
    private Sequence sequence = new Sequence(complete, used);

    @Override
    public Request request(MilterConnection connection, IPersistentMap offer) throws Exception {
      return sequence.negotiate(connection, offer);
    }

    @Override
    public @Nullable List<IPersistentMap> onEvent(
        MilterConnection connection, EventType type, IPersistentMap event) throws Exception {
      return sequence.onEvent(connection, type, event);
    }

    @Override
    public void scopeEnded(EventType type) {
      if (type == EventType.DISCONNECT) {
        sequence = new Sequence(complete, used);
      }
    }
  }
}
