import java.util.List;
import org.nightcode.milter.AbstractMilterHandler;
import org.nightcode.milter.Actions;
import org.nightcode.milter.MilterContext;
import org.nightcode.milter.MilterContextImpl;
import org.nightcode.milter.MilterException;
import org.nightcode.milter.MilterHandler;
import org.nightcode.milter.ProtocolSteps;
import org.nightcode.milter.net.MilterGatewayManager;
import org.nightcode.milter.net.MilterPacketSender;
import org.nightcode.milter.net.ServerFactory;
import org.nightcode.milter.util.NetUtils;

/**
 * The measured filter on jmilter: hears of every event, counts header fields (but not its own of
 * earlier hops) and bytes of the body, and adds {@code X-Seen: HEADERS BYTES}.
 */
final class SeenFilter extends AbstractMilterHandler {
  private static final Actions ACTIONS = Actions.builder().addHeader().build();
  private static final ProtocolSteps EVERY_STEP = ProtocolSteps.builder().build();

  private static final class Seen extends MilterContextImpl {
    private long headers;
    private long bytes;

    Seen(MilterHandler handler, MilterPacketSender sender) {
      super(handler, ACTIONS, EVERY_STEP, sender);
    }
  }

  private SeenFilter() {
    super(ACTIONS, EVERY_STEP);
  }

  @Override
  public MilterContext createContext(MilterPacketSender sender) {
    return new Seen(this, sender);
  }

  @Override
  public void envfrom(MilterContext context, List<String> arguments) throws MilterException {
    Seen seen = (Seen) context;
    seen.headers = 0;
    seen.bytes = 0;
    context.sendContinue();
  }

  @Override
  public void header(MilterContext context, String name, String value) throws MilterException {
    if (!name.equalsIgnoreCase("X-Seen")) {
      ((Seen) context).headers++;
    }
    context.sendContinue();
  }

  @Override
  public void body(MilterContext context, byte[] chunk) throws MilterException {
    ((Seen) context).bytes += chunk.length;
    context.sendContinue();
  }

  @Override
  public void eom(MilterContext context, byte[] chunk) throws MilterException {
    Seen seen = (Seen) context;
    messageModificationService.addHeader(context, "X-Seen", seen.headers + " " + seen.bytes);
    context.sendContinue();
  }

  @Override
  public void quit(MilterContext context) {}

  /** Listens on {@code inet:PORT@HOST}. */
  public static void main(String[] args) {
    String[] portAndHost = args[0].substring("inet:".length()).split("@");
    new MilterGatewayManager<>(
            ServerFactory.tcpIpFactory(
                NetUtils.parseAddress(portAndHost[1] + ":" + portAndHost[0])),
            new SeenFilter())
        .bind()
        .join();
  }
}
