package temse.protocol;

import clojure.lang.Keyword;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What can be known of an SMTP client and its mail, behind Postfix and Sendmail alike, with what
 * each needs of the MTA. A milter asks for those that it wants, and {@link Transaction} says what
 * they are.
 */
public enum Fact {
  /** The IP address of the client. */
  CLIENT_ADDRESS("client-address", EventType.CONNECT),
  /** Its verified host name. */
  CLIENT_NAME("client-name", EventType.CONNECT, "_", MacroStage.CONNECT),
  /** Its TCP port. */
  CLIENT_PORT("client-port", EventType.CONNECT),
  /** What it has said in HELO or EHLO. */
  HELLO_NAME("hello-name", EventType.HELLO),
  /** The path of MAIL FROM. */
  SENDER("sender", EventType.MAIL),
  /** The paths of RCPT TO. */
  RECIPIENTS("recipients", EventType.RECIPIENT),
  /** Whether the mail came with SMTPUTF8. */
  SMTPUTF8("smtputf8?", EventType.MAIL),
  /** When MAIL came. */
  RECEIVE_TIME("receive-time", EventType.MAIL),
  /**
   * The name that the MTA has given to the mail; Sendmail's at earlier stages is that of another.
   */
  QUEUE_ID(
      "queue-id",
      EventType.MAIL,
      "i",
      MacroStage.MAIL,
      MacroStage.RECIPIENT,
      MacroStage.DATA,
      MacroStage.END_OF_HEADERS,
      MacroStage.END_OF_MESSAGE),
  /** The host name of the MTA. */
  MTA_NAME("mta-name", null, "j", MacroStage.CONNECT),
  /** The login name that was proved with AUTH. */
  AUTHENTICATED_USER("authenticated-user", null, "{auth_authen}", MacroStage.MAIL),
  /**
   * The version of TLS. A client may start TLS after it has said hello, and not say hello again.
   */
  TLS_VERSION("tls-version", null, "{tls_version}", MacroStage.HELLO, MacroStage.MAIL),
  /** The TLS cipher. */
  CIPHER("cipher", null, "{cipher}", MacroStage.HELLO, MacroStage.MAIL),
  /** The length of its key. */
  CIPHER_BITS("cipher-bits", null, "{cipher_bits}", MacroStage.HELLO, MacroStage.MAIL),
  /** The name in the client's certificate. */
  CERT_SUBJECT("cert-subject", null, "{cert_subject}", MacroStage.HELLO, MacroStage.MAIL),
  /** Who has issued it. */
  CERT_ISSUER("cert-issuer", null, "{cert_issuer}", MacroStage.HELLO, MacroStage.MAIL),
  /**
   * What the Received field is made of that the MTA will add: all other facts, and macros of
   * Sendmail's. The function {@code temse.envelope/received-header} of the Clojure side writes it.
   */
  RECEIVED_HEADER("received-header", null);

  /** What Sendmail makes its Received field of, besides. */
  private static final List<String> OF_SENDMAIL =
      List.of("b", "r", "s", "Z", "{auth_type}", "{auth_ssf}", "{verify}");

  /** The word for it in Clojure. */
  public final Keyword keyword;

  private final @Nullable EventType event;
  private final @Nullable String macro;
  private final List<MacroStage> stages;

  Fact(String word, @Nullable EventType event) {
    this(word, event, null);
  }

  Fact(String word, @Nullable EventType event, @Nullable String macro, MacroStage... stages) {
    this.keyword = Keyword.intern(word);
    this.event = event;
    this.macro = macro;
    this.stages = List.of(stages);
  }

  /**
   * {@return the fact whose keyword this is, or null}
   *
   * @param keyword such as {@code :client-name}
   */
  public static @Nullable Fact ofKeyword(@Nullable Object keyword) {
    for (Fact fact : values()) {
      if (fact.keyword == keyword) {
        return fact;
      }
    }
    return null;
  }

  /** {@return the facts with those that some of them are made of} */
  static Set<Fact> complete(Iterable<Fact> facts) {
    EnumSet<Fact> all = EnumSet.noneOf(Fact.class);
    facts.forEach(all::add);
    return Collections.unmodifiableSet(
        all.contains(RECEIVED_HEADER) ? EnumSet.allOf(Fact.class) : all);
  }

  /**
   * {@return the events that facts need}
   *
   * @param facts may be empty
   */
  public static Set<EventType> events(Iterable<Fact> facts) {
    EnumSet<EventType> events = EnumSet.noneOf(EventType.class);
    for (Fact fact : complete(facts)) {
      if (fact.event != null) {
        events.add(fact.event);
      }
    }
    return events;
  }

  /**
   * {@return the macros that facts need, by stage}
   *
   * @param facts may be empty
   */
  public static Map<MacroStage, List<String>> macros(Iterable<Fact> facts) {
    Map<MacroStage, List<String>> macros = new EnumMap<>(MacroStage.class);
    Set<Fact> complete = complete(facts);
    for (Fact fact : complete) {
      fact.stages.forEach(stage -> add(macros, stage, fact.macro));
    }
    if (complete.contains(RECEIVED_HEADER)) {
      add(macros, MacroStage.CONNECT, "v");
      OF_SENDMAIL.forEach(name -> add(macros, MacroStage.MAIL, name));
    }
    return macros;
  }

  private static void add(
      Map<MacroStage, List<String>> macros, MacroStage stage, @Nullable String name) {
    List<String> names = macros.computeIfAbsent(stage, s -> new ArrayList<>());
    if (name != null && !names.contains(name)) {
      names.add(name);
    }
  }

  /** {@return the name of the macro that has it} */
  String macro() {
    return macro;
  }
}
