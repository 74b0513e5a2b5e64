package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentVector;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.ProtocolFlag;

/** The events by which an MTA reports a mail to a milter. */
final class MailEvents {
  private static final int BODY_PIECE = 65535;

  private MailEvents() {}

  /** Returns the events of the sender and of each recipient. */
  static List<IPersistentMap> envelope(Mail mail) {
    List<IPersistentMap> events = new ArrayList<>();
    PersistentVector options = PersistentVector.create((Iterable<?>) mail.senderParameters());
    events.add(EventCodec.event(EventType.MAIL, Keys.SENDER, mail.sender(), Keys.OPTIONS, options));
    Iterator<List<String>> parameters = mail.recipientParameters().iterator();
    for (String recipient : mail.recipients()) {
      List<String> given = parameters.hasNext() ? parameters.next() : List.of();
      events.add(
          EventCodec.event(
              EventType.RECIPIENT,
              Keys.ADDRESS,
              recipient,
              Keys.OPTIONS,
              PersistentVector.create((Iterable<?>) given)));
    }
    return events;
  }

  /** Returns the events of the header, of the body and of the end, as the MTA takes the mail in. */
  static List<IPersistentMap> content(Mail mail, MtaSession session) {
    List<IPersistentMap> events = new ArrayList<>();
    MtaStyle style = session.options().style();
    boolean exact = session.agreed(ProtocolFlag.LEADING_SPACE);
    for (Mail.Field field : mail.headers()) {
      String raw = style.received(field.name(), field.raw());
      String value = exact ? raw : new Mail.Field(field.name(), raw).value();
      events.add(EventCodec.event(EventType.HEADER, Keys.NAME, field.name(), Keys.VALUE, value));
    }
    events.add(EventCodec.event(EventType.END_OF_HEADERS));
    byte[] body = style.received(mail.body());
    int start = 0;
    for (int cut : mail.cuts()) {
      int end = Math.min(cut, body.length);
      addBody(events, body, start, end);
      start = end;
    }
    addBody(events, body, start, body.length);
    events.add(EventCodec.event(EventType.END_OF_MESSAGE));
    return events;
  }

  /** Adds the events of a part of a body, cut where a packet ends. */
  private static void addBody(List<IPersistentMap> events, byte[] body, int start, int end) {
    for (int from = start; from < end; from += BODY_PIECE) {
      byte[] piece = Arrays.copyOfRange(body, from, Math.min(end, from + BODY_PIECE));
      events.add(EventCodec.event(EventType.BODY, Keys.DATA, piece));
    }
  }
}
