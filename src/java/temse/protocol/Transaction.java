package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.IPersistentVector;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.time.Instant;
import java.time.InstantSource;
import java.util.AbstractList;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Who sends a mail to whom, and how the client is connected, at one moment of a conversation: what
 * is otherwise spread over events and macros, and the same behind Postfix and Sendmail. Immutable.
 *
 * <p>What is not known yet, or does not apply, is empty. What concerns the mail is that of the
 * current one. A fact that the milter has not asked for throws BAD_OPTIONS, so that nothing is
 * taken for unknown that nobody has asked about.
 */
public final class Transaction {
  /** A transaction of which nobody has asked for anything. */
  public static final Transaction NONE = of(Set.of());

  private static final Pattern SMTPUTF8 =
      Pattern.compile("(?:^| )SMTPUTF8(?: |$)", Pattern.CASE_INSENSITIVE);

  private static final String REFUSED_BY_MTA = "error";
  private static final String FORGED = "may be forged";

  private final Set<Fact> wanted;

  /** What events have brought, by the keywords of facts. */
  private final IPersistentMap known;

  private final MacroTable macros;

  private Transaction(Set<Fact> wanted, IPersistentMap known, MacroTable macros) {
    this.wanted = wanted;
    this.known = known;
    this.macros = macros;
  }

  /**
   * {@return the transaction of a connection on which nothing has come, for facts}
   *
   * @param wanted of which macros and events are kept
   */
  public static Transaction of(Iterable<Fact> wanted) {
    return new Transaction(Fact.complete(wanted), PersistentArrayMap.EMPTY, MacroTable.EMPTY);
  }

  /**
   * {@return a transaction of which all facts were asked for, to call handlers with}
   *
   * @param known what events have brought, by the keywords of facts
   * @param macros that hold
   */
  public static Transaction known(IPersistentMap known, MacroTable macros) {
    return new Transaction(EnumSet.allOf(Fact.class), known, macros);
  }

  // ---- from event to event

  /**
   * {@return the transaction after an event}
   *
   * @param type of the event
   * @param event its map
   * @param now the macros that hold at it
   * @param clock says when it has come
   */
  public Transaction after(
      EventType type, IPersistentMap event, MacroTable now, InstantSource clock) {
    IPersistentMap after =
        switch (type) {
          case CONNECT -> client(event, now);
          case HELLO -> with(known, Fact.HELLO_NAME, event.valAt(Keys.GREETING));
          case MAIL -> mail(event, clock.instant());
          case RECIPIENT -> recipient(event, now);
          default -> known;
        };
    return new Transaction(wanted, after, now);
  }

  /**
   * {@return the transaction after the end of a message, or of a client (DISCONNECT)}
   *
   * @param type {@code MESSAGE_END} or {@code DISCONNECT}
   */
  public Transaction ended(EventType type) {
    return new Transaction(
        wanted, type == EventType.DISCONNECT ? PersistentArrayMap.EMPTY : withoutMail(), macros);
  }

  private static IPersistentMap with(IPersistentMap known, Fact fact, @Nullable Object value) {
    return value == null ? known : known.assoc(fact.keyword, value);
  }

  private static IPersistentMap client(IPersistentMap event, MacroTable macros) {
    AddressFamily family = AddressFamily.ofKeyword(event.valAt(Keys.FAMILY));
    String name = (String) event.valAt(Keys.HOST_NAME);
    IPersistentMap client = PersistentArrayMap.EMPTY;
    if (isVerified(name, macros.get("_"))) {
      client = with(client, Fact.CLIENT_NAME, name);
    }
    if (family == AddressFamily.INET || family == AddressFamily.INET6) {
      client = with(client, Fact.CLIENT_ADDRESS, event.valAt(Keys.ADDRESS));
      client = with(client, Fact.CLIENT_PORT, event.valAt(Keys.PORT));
    }
    return client;
  }

  private static boolean isVerified(@Nullable String name, @Nullable String description) {
    return name != null
        && !name.equals("unknown")
        && !name.startsWith("[")
        && (description == null || !description.contains(FORGED));
  }

  private IPersistentMap withoutMail() {
    return known
        .without(Fact.SENDER.keyword)
        .without(Fact.RECIPIENTS.keyword)
        .without(Fact.SMTPUTF8.keyword)
        .without(Fact.RECEIVE_TIME.keyword);
  }

  private IPersistentMap mail(IPersistentMap event, Instant time) {
    boolean international =
        event.valAt(Keys.OPTIONS) instanceof List<?> parameters
            && parameters.stream().anyMatch(text -> SMTPUTF8.matcher((String) text).find());
    IPersistentMap mail = with(withoutMail(), Fact.SENDER, event.valAt(Keys.SENDER));
    return mail.assoc(Fact.SMTPUTF8.keyword, international).assoc(Fact.RECEIVE_TIME.keyword, time);
  }

  private IPersistentMap recipient(IPersistentMap event, MacroTable macros) {
    Object address = event.valAt(Keys.ADDRESS);
    if (address == null || REFUSED_BY_MTA.equals(macros.get("rcpt_mailer"))) {
      return known;
    }
    IPersistentVector before =
        (IPersistentVector) known.valAt(Fact.RECIPIENTS.keyword, PersistentVector.EMPTY);
    return known.assoc(Fact.RECIPIENTS.keyword, before.cons(address));
  }

  // ---- what is asked for

  /** {@return the facts that were asked for, with those that they are made of} */
  public Set<Fact> wanted() {
    return wanted;
  }

  /** {@return what events have brought, by the keywords of facts} */
  public IPersistentMap known() {
    return known;
  }

  private void check(Fact fact) {
    if (!wanted.contains(fact)) {
      throw new MilterException(
          MilterException.Category.BAD_OPTIONS,
          "the milter uses the fact " + fact + " and has not asked for it: name it in wants",
          "option",
          Keys.WANTS,
          "value",
          fact.keyword);
    }
  }

  private @Nullable Object fact(Fact fact) {
    check(fact);
    return known.valAt(fact.keyword);
  }

  private Optional<String> text(Fact fact) {
    return Optional.ofNullable((String) fact(fact));
  }

  /** {@return the value of the macro that has a fact, empty also for an empty one} */
  private Optional<String> macro(Fact fact) {
    check(fact);
    return Optional.ofNullable(macros.get(fact.macro())).filter(value -> !value.isEmpty());
  }

  /** {@return the macros that hold} */
  public MacroTable macros() {
    return macros;
  }

  // ---- the client

  /**
   * {@return the IP address of the client, such as {@code 192.0.2.1} or {@code 2001:db8::1}; empty
   * if it has none, being connected otherwise}
   */
  public Optional<String> clientAddress() {
    return text(Fact.CLIENT_ADDRESS);
  }

  /** {@return the TCP port of the client} */
  public OptionalInt clientPort() {
    Number port = (Number) fact(Fact.CLIENT_PORT);
    return port == null ? OptionalInt.empty() : OptionalInt.of(port.intValue());
  }

  /**
   * {@return the host name of the client that DNS has for its address, and whose address that is;
   * empty if the MTA has not found one, or does not believe it}
   */
  public Optional<String> clientName() {
    return text(Fact.CLIENT_NAME);
  }

  /** {@return what the client has said in HELO or EHLO last} It may be anything. */
  public Optional<String> helloName() {
    return text(Fact.HELLO_NAME);
  }

  /**
   * {@return the login name that the client has proved with AUTH for the current mail ({@code
   * {auth_authen}})}
   */
  public Optional<String> authenticatedUser() {
    return macro(Fact.AUTHENTICATED_USER);
  }

  // ---- its connection

  /**
   * {@return the version of TLS, such as {@code TLSv1.3}; empty if the connection is not encrypted
   * ({@code {tls_version}})}
   */
  public Optional<String> tlsVersion() {
    return macro(Fact.TLS_VERSION);
  }

  /** {@return the name of the TLS cipher ({@code {cipher}})} */
  public Optional<String> cipher() {
    return macro(Fact.CIPHER);
  }

  /** {@return the number of bits of the key of the TLS cipher ({@code {cipher_bits}})} */
  public OptionalLong cipherBits() {
    try {
      return macro(Fact.CIPHER_BITS)
          .map(bits -> OptionalLong.of(Long.parseLong(bits)))
          .orElse(OptionalLong.empty());
    } catch (NumberFormatException e) {
      return OptionalLong.empty();
    }
  }

  /**
   * {@return the name in the certificate of the client ({@code {cert_subject}})} Postfix sends it
   * of verified certificates only; Sendmail's {@code {verify}} says whether it has verified one.
   */
  public Optional<String> certSubject() {
    return macro(Fact.CERT_SUBJECT);
  }

  /** {@return who has issued the certificate of the client ({@code {cert_issuer}})} */
  public Optional<String> certIssuer() {
    return macro(Fact.CERT_ISSUER);
  }

  // ---- the mail

  /** {@return the path of MAIL FROM, such as {@code <ann@example.org>} or {@code <>}} */
  public Optional<String> sender() {
    return text(Fact.SENDER);
  }

  /**
   * {@return the paths of RCPT TO that the MTA has asked about for the current mail} Those that
   * this or another filter has refused are among them, those that the MTA has refused itself are
   * not.
   */
  public List<String> recipients() {
    IPersistentVector recipients = (IPersistentVector) fact(Fact.RECIPIENTS);
    return recipients == null ? List.of() : new Strings(recipients);
  }

  /** A vector of strings that prints itself without Clojure's core. */
  private static final class Strings extends AbstractList<String> {
    private final IPersistentVector vector;

    Strings(IPersistentVector vector) {
      this.vector = vector;
    }

    @Override
    public String get(int index) {
      return (String) vector.nth(index);
    }

    @Override
    public int size() {
      return vector.length();
    }
  }

  /** {@return true if the client has sent the current mail with SMTPUTF8 (RFC 6531)} */
  public boolean isSmtpUtf8() {
    return Boolean.TRUE.equals(fact(Fact.SMTPUTF8));
  }

  /** {@return when MAIL of the current mail has come, by the clock of this machine} */
  public Optional<Instant> receiveTime() {
    return Optional.ofNullable((Instant) fact(Fact.RECEIVE_TIME));
  }

  /**
   * {@return the name that the MTA has given to the current mail ({@code i})} Postfix has one from
   * the first accepted recipient on.
   */
  public Optional<String> queueId() {
    Optional<String> id = macro(Fact.QUEUE_ID);
    return known.valAt(Fact.SENDER.keyword) == null ? Optional.empty() : id;
  }

  /** {@return the host name of the MTA ({@code j})} */
  public Optional<String> mtaName() {
    return macro(Fact.MTA_NAME);
  }

  @Override
  public String toString() {
    return "transaction of " + wanted;
  }
}
