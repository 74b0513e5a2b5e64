package temse.client;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import temse.protocol.Offer;

/**
 * How the MTA side behaves.
 *
 * @param style whose habits it has
 * @param offer what it offers in the negotiation
 * @param macros values of macros by name, bare or in braces; they win over the values that follow
 *     from the mail, and are sent at the stages whose lists name them
 * @param timeout how long it waits for each reply
 * @param faults what it does wrong on purpose
 */
public record MtaOptions(
    MtaStyle style, Offer offer, Map<String, String> macros, Duration timeout, List<Fault> faults) {
  /** A current Postfix. */
  public static final MtaOptions POSTFIX =
      new MtaOptions(MtaStyle.POSTFIX, Offer.CURRENT, Map.of(), Duration.ofSeconds(30), List.of());

  /** A current Sendmail. */
  public static final MtaOptions SENDMAIL =
      new MtaOptions(MtaStyle.SENDMAIL, Offer.CURRENT, Map.of(), Duration.ofSeconds(30), List.of());

  /** Returns the options with another offer. */
  public MtaOptions withOffer(Offer other) {
    return new MtaOptions(style, other, macros, timeout, faults);
  }

  /** Returns the options with values of macros. */
  public MtaOptions withMacros(Map<String, String> values) {
    return new MtaOptions(style, offer, Map.copyOf(values), timeout, faults);
  }

  /** Returns the options with another limit on the wait for a reply. */
  public MtaOptions withTimeout(Duration limit) {
    return new MtaOptions(style, offer, macros, limit, faults);
  }

  /** Returns the options with faults: a connection that dies of them ends the report. */
  public MtaOptions withFaults(Fault... others) {
    return new MtaOptions(style, offer, macros, timeout, List.of(others));
  }

  /** Returns true if the events of a message are sent before the ones before them are answered. */
  boolean early() {
    return faults.stream().anyMatch(Fault.Early.class::isInstance);
  }
}
