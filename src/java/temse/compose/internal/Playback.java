package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.server.MilterConnection;

/** Plays content that was kept to a filter, as earlier ones have left it. */
final class Playback implements Task {
  private static final int PIECE = 65535;

  private final Sequence sequence;
  private final Content content;
  private final Part part;

  Playback(Sequence sequence, Content content, Part part) {
    this.sequence = sequence;
    this.content = content;
    this.part = part;
  }

  @Override
  public List<Task> run(MilterConnection connection) throws IOException {
    IPersistentMap instead = content.replyInstead();
    if (instead != null && Reply.isAgainst(instead)) {
      return sequence.decide(part, instead);
    }
    if (instead != null) {
      part.passOver();
      return List.of();
    }
    List<Task> tasks = new ArrayList<>();
    if (part.wants(EventType.HEADER)) {
      List<Field> fields = content.shownFields(connection);
      tasks.add(c -> field(c, fields, 0));
    }
    tasks.add(this::endOfHeaders);
    if (part.wants(EventType.BODY)) {
      InputStream body = content.shownBody(connection);
      tasks.add(c -> body(c, body));
    }
    tasks.add(
        c -> {
          sequence.isRefusedBy(part);
          return List.of();
        });
    return tasks;
  }

  private List<Task> field(MilterConnection connection, List<Field> fields, int place)
      throws IOException {
    if (place == fields.size() || !part.wants(EventType.HEADER)) {
      return List.of();
    }
    Field field = fields.get(place);
    return List.of(
        sending(
            EventType.HEADER,
            EventCodec.event(
                EventType.HEADER, Keys.NAME, field.name(), Keys.VALUE, part.value(field.raw()))),
        c -> field(c, fields, place + 1));
  }

  private List<Task> endOfHeaders(MilterConnection connection) {
    return part.wants(EventType.END_OF_HEADERS)
        ? List.of(sending(EventType.END_OF_HEADERS, EventCodec.event(EventType.END_OF_HEADERS)))
        : List.of();
  }

  private List<Task> body(MilterConnection connection, InputStream in) throws IOException {
    byte[] data = part.wants(EventType.BODY) ? in.readNBytes(PIECE) : new byte[0];
    if (data.length == 0) {
      in.close();
      return List.of();
    }
    return List.of(
        sending(EventType.BODY, EventCodec.event(EventType.BODY, Keys.DATA, data)),
        c -> body(c, in));
  }

  private Task sending(EventType type, IPersistentMap event) {
    return c -> sequence.send(part, c, event, after -> sequence.afterContent(part, after, type));
  }
}
