package temse.client;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import temse.protocol.MacroStage;
import temse.protocol.Offer;

/**
 * How the MTA side behaves.
 *
 * @param style whose habits it has
 * @param offer what it offers in the negotiation
 * @param macros values of macros by name, bare or in braces; they win over the values that follow
 *     from the mail, and are sent at the stages whose lists name them, at CONNECT if none does
 * @param stageMacros values of macros that are sent at a stage, whatever its list names
 * @param timeouts how long it waits
 * @param faults what it does wrong on purpose
 */
public record MtaOptions(
    MtaStyle style,
    Offer offer,
    Map<String, String> macros,
    Map<MacroStage, Map<String, String>> stageMacros,
    Timeouts timeouts,
    List<Fault> faults) {
  /** The name of the MTA's host, unless the macro {@code j} is given. */
  public static final String HOST_NAME = "mx.example.com";

  /** A current Postfix. */
  public static final MtaOptions POSTFIX = of(MtaStyle.POSTFIX);

  /** A current Sendmail. */
  public static final MtaOptions SENDMAIL = of(MtaStyle.SENDMAIL);

  private static MtaOptions of(MtaStyle style) {
    Timeouts timeouts = Timeouts.of(Duration.ofSeconds(30));
    return new MtaOptions(style, Offer.CURRENT, Map.of(), Map.of(), timeouts, List.of());
  }

  /**
   * {@return the options with another offer}
   *
   * @param other version and flags
   */
  public MtaOptions withOffer(Offer other) {
    return new MtaOptions(style, other, macros, stageMacros, timeouts, faults);
  }

  /**
   * {@return the options with values of macros}
   *
   * @param values by name, without braces
   */
  public MtaOptions withMacros(Map<String, String> values) {
    return new MtaOptions(style, offer, Map.copyOf(values), stageMacros, timeouts, faults);
  }

  /**
   * {@return the options with values of macros for one stage}
   *
   * @param stage the event to which they belong
   * @param values by name, without braces
   */
  public MtaOptions withMacros(MacroStage stage, Map<String, String> values) {
    Map<MacroStage, Map<String, String>> all = new HashMap<>(stageMacros);
    all.put(stage, Map.copyOf(values));
    return new MtaOptions(style, offer, macros, Map.copyOf(all), timeouts, faults);
  }

  /**
   * {@return the options with another limit on every wait, as {@link Timeouts#of} has it}
   *
   * @param limit positive
   */
  public MtaOptions withTimeout(Duration limit) {
    return withTimeouts(Timeouts.of(limit));
  }

  /**
   * {@return the options with other limits on waits}
   *
   * @param limits for each kind of wait
   */
  public MtaOptions withTimeouts(Timeouts limits) {
    return new MtaOptions(style, offer, macros, stageMacros, limits, faults);
  }

  /**
   * {@return the options with faults: a connection that dies of them ends the report}
   *
   * @param others none is a faultless MTA
   */
  public MtaOptions withFaults(Fault... others) {
    return new MtaOptions(style, offer, macros, stageMacros, timeouts, List.of(others));
  }

  /** {@return true if the events of a message are sent before the ones before them are answered} */
  boolean early() {
    return faults.stream().anyMatch(Fault.Early.class::isInstance);
  }
}
