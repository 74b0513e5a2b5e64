package temse.message;

import clojure.lang.IPersistentMap;
import clojure.lang.IPersistentVector;
import clojure.lang.Keyword;
import clojure.lang.LazilyPersistentVector;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroTable;

/**
 * A message as the MTA has sent it, or as a filter wants it to be delivered: see {@link Changes}.
 * Immutable, except that the {@link Body} ends with the message.
 */
public final class Message {
  private static final Keyword RECIPIENT_OPTIONS = Keyword.intern("recipient-options");
  private static final Keyword CLIENT = Keyword.intern("client");
  private static final Keyword QUEUE_ID = Keyword.intern("queue-id");
  private static final Keyword TRUNCATED = Keyword.intern("truncated?");

  private final Client client;
  private final String sender;
  private final List<String> senderParameters;
  private final List<String> recipients;
  private final List<List<String>> recipientParameters;
  private final List<HeaderField> headers;
  private final Object body;
  private final MacroTable macros;
  private final EventType at;
  private final boolean truncated;
  private final boolean fieldsLeftOut;

  Message(
      Client client,
      String sender,
      List<String> senderParameters,
      List<String> recipients,
      List<List<String>> recipientParameters,
      List<HeaderField> headers,
      Object body,
      MacroTable macros,
      EventType at,
      boolean truncated,
      boolean fieldsLeftOut) {
    this.client = client;
    this.sender = sender;
    this.senderParameters = senderParameters;
    this.recipients = recipients;
    this.recipientParameters = recipientParameters;
    this.headers = headers;
    this.body = body;
    this.macros = macros;
    this.at = at;
    this.truncated = truncated;
    this.fieldsLeftOut = fieldsLeftOut;
  }

  // ---- what was seen

  /** {@return the SMTP client that sends it} */
  public Client client() {
    return client;
  }

  /** {@return the address of MAIL FROM, such as {@code <a@example.org>}} */
  public String sender() {
    return sender;
  }

  /** {@return the ESMTP parameters of MAIL FROM} */
  public List<String> senderParameters() {
    return senderParameters;
  }

  /** {@return the addresses of RCPT TO that were not refused} */
  public List<String> recipients() {
    return recipients;
  }

  /** {@return the ESMTP parameters of each recipient} */
  public List<List<String>> recipientParameters() {
    return recipientParameters;
  }

  /** {@return the header fields in order} */
  public List<HeaderField> headers() {
    return headers;
  }

  /**
   * {@return the body as it was received; empty at END_OF_HEADERS, and where the filter does not
   * want it}
   */
  public Body body() {
    return (Body) body;
  }

  /** {@return the macros that held when the message was handed over} */
  public MacroTable macros() {
    return macros;
  }

  /** {@return the MTA's name for the message, the macro {@code i}, or null} */
  public @Nullable String queueId() {
    return macros.get("i");
  }

  /** {@return the event at which it was handed over: END_OF_HEADERS or END_OF_MESSAGE} */
  public EventType at() {
    return at;
  }

  /** {@return true if it is longer than the filter takes: then its end is missing} */
  public boolean truncated() {
    return truncated;
  }

  boolean fieldsLeftOut() {
    return fieldsLeftOut;
  }

  // ---- what is to be delivered

  /**
   * {@return the message with another sender, such as {@code <a@example.org>}, or {@code <>}}
   *
   * @param address with angle brackets
   */
  public Message withSender(String address) {
    return with(address, senderParameters, recipients, recipientParameters, headers, body);
  }

  /**
   * {@return the message with other ESMTP parameters of its sender: RET and ENVID}
   *
   * @param parameters such as {@code RET=HDRS}
   */
  public Message withSenderParameters(List<String> parameters) {
    return with(sender, List.copyOf(parameters), recipients, recipientParameters, headers, body);
  }

  /**
   * {@return the message with other recipients, without ESMTP parameters}
   *
   * @param addresses with angle brackets
   */
  public Message withRecipients(List<String> addresses) {
    return withRecipients(addresses, List.of());
  }

  /**
   * {@return the message with other recipients, and ESMTP parameters of the first of them}
   *
   * @param addresses with angle brackets
   * @param parameters one list for each of the first recipients
   */
  public Message withRecipients(List<String> addresses, List<List<String>> parameters) {
    return with(
        sender, senderParameters, List.copyOf(addresses), List.copyOf(parameters), headers, body);
  }

  /**
   * {@return the message with other header fields}
   *
   * @param fields all of them, in order
   */
  public Message withHeaders(List<HeaderField> fields) {
    return with(
        sender, senderParameters, recipients, recipientParameters, List.copyOf(fields), body);
  }

  /**
   * {@return the message with another body}
   *
   * @param content what {@code :change-body} takes: String, byte[], InputStream, Path and more
   */
  public Message withBody(Object content) {
    return with(sender, senderParameters, recipients, recipientParameters, headers, content);
  }

  private Message with(
      String newSender,
      List<String> newSenderParameters,
      List<String> newRecipients,
      List<List<String>> newRecipientParameters,
      List<HeaderField> newHeaders,
      Object newBody) {
    return new Message(
        client,
        newSender,
        newSenderParameters,
        newRecipients,
        newRecipientParameters,
        newHeaders,
        newBody,
        macros,
        at,
        truncated,
        fieldsLeftOut);
  }

  Object content() {
    return body;
  }

  List<String> parametersOf(int recipient) {
    return recipient < recipientParameters.size() ? recipientParameters.get(recipient) : List.of();
  }

  // ---- as a map

  /**
   * {@return the message as Clojure's filters receive it: {@code :sender :options :recipients
   * :headers :body :client :macros :queue-id :at :truncated?}, and {@code :recipient-options} where
   * a recipient has some}
   */
  public IPersistentMap toMap() {
    boolean plain = recipientParameters.stream().allMatch(List::isEmpty);
    IPersistentMap map =
        new PersistentArrayMap(
            new Object[] {
              Keys.SENDER,
              sender,
              Keys.OPTIONS,
              vector(senderParameters),
              Keys.RECIPIENTS,
              vector(recipients),
              Keys.HEADERS,
              fieldVectors(),
              Keys.BODY,
              body,
              CLIENT,
              clientMap(),
              Keys.MACROS,
              macros.toMap(),
              QUEUE_ID,
              queueId(),
              Keys.AT,
              at.keyword,
              TRUNCATED,
              truncated
            });
    return plain
        ? map
        : map.assoc(
            RECIPIENT_OPTIONS, vector(recipientParameters.stream().map(Message::vector).toList()));
  }

  private IPersistentVector fieldVectors() {
    Object[] vectors = new Object[headers.size()];
    for (int i = 0; i < vectors.length; i++) {
      HeaderField field = headers.get(i);
      vectors[i] =
          field.spaced()
              ? LazilyPersistentVector.createOwning(field.name(), field.value())
              : LazilyPersistentVector.createOwning(field.name(), field.value(), field.value());
    }
    return LazilyPersistentVector.createOwning(vectors);
  }

  private IPersistentMap clientMap() {
    IPersistentMap map = PersistentArrayMap.EMPTY;
    map = client.hostName() == null ? map : map.assoc(Keys.HOST_NAME, client.hostName());
    map = client.address() == null ? map : map.assoc(Keys.ADDRESS, client.address());
    map = client.port() == null ? map : map.assoc(Keys.PORT, client.port());
    map = client.family() == null ? map : map.assoc(Keys.FAMILY, client.family());
    return client.greeting() == null ? map : map.assoc(Keys.GREETING, client.greeting());
  }

  private static IPersistentVector vector(List<?> list) {
    return list instanceof IPersistentVector vector
        ? vector
        : PersistentVector.create((Iterable<?>) list);
  }

  @Override
  public String toString() {
    return "message from "
        + sender
        + " to "
        + recipients.size()
        + " recipients, "
        + headers.size()
        + " header fields, "
        + body;
  }
}
