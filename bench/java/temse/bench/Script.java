package temse.bench;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * The bytes of conversations, made beforehand, with macros as Postfix 3.7 sends them. Pieces of a
 * body are equal, so that a body of a gibibyte needs no more memory than its pieces. Addresses,
 * queue ids and values of header fields differ from mail to mail.
 *
 * <p>Events that the filter does not ask for are left out. Those that it does not reply to are sent
 * together with the next.
 */
final class Script {
  static final byte[] OFFER = {
    0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1, (byte) 0xFF, 0, 0x1F, (byte) 0xFF, (byte) 0xFF
  };
  private static final byte[] CONTINUE = {0, 0, 0, 1, 'c'};
  private static final int CHUNK = 65535;
  private static final int LINE = 76;

  /** The number of mails that differ; then the first is sent again. */
  private static final int DIFFERENT = 8;

  private static final String[] FIELDS = {
    "Received\0from mail.example.org (mail.example.org [192.0.2.25])\n\tby mx.example.com (Postfix)"
        + " with ESMTPS id 4TEMSE1A2B\n\tfor <b@example.com>; Sat, 21 Nov 2026 12:00:00 +0000",
    "Received\0by mail.example.org (Postfix, from userid 1000)\n\tid 4TEMSE0F00; Sat, 21 Nov 2026"
        + " 11:59:58 +0000",
    "DKIM-Signature\0v=1; a=rsa-sha256; c=relaxed/simple; d=example.org;\n\ts=mail; t=1795262398;"
        + "\n\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\n\th=From:To:Subject:Date",
    "From\0Ann Example <a@example.org>",
    "To\0Bob Example <b@example.com>",
    "Cc\0Cecil Example <c@example.com>",
    "Subject\0The minutes of yesterday's meeting, and what comes next",
    "Date\0Sat, 21 Nov 2026 12:00:00 +0000",
    "Message-ID\0<20261121120000.4TEMSE0F00@mail.example.org>",
    "MIME-Version\0001.0",
    "Content-Type\0text/plain; charset=utf-8; format=flowed",
    "User-Agent\0Mutt/2.2.9 (2022-11-12)",
  };

  /** Commands, with their SMFIP_NO* and SMFIP_NR_* bits. */
  enum Stage {
    OPTIONS('O', 0, 0),
    CONNECT('C', 0x01, 0x1000),
    HELLO('H', 0x02, 0x2000),
    MAIL('M', 0x04, 0x4000),
    RECIPIENT('R', 0x08, 0x8000),
    DATA('T', 0x200, 0x10000),
    HEADER('L', 0x20, 0x80),
    END_OF_HEADERS('N', 0x40, 0x40000),
    BODY('B', 0x10, 0x80000),
    END_OF_MESSAGE('E', 0, 0);

    private final char code;
    private final int noEvent;
    private final int noReply;

    Stage(char code, int noEvent, int noReply) {
      this.code = code;
      this.noEvent = noEvent;
      this.noReply = noReply;
    }
  }

  /** A write, the command that is answered, and the bytes that must answer it. */
  record Step(Stage stage, ByteBuffer bytes, byte[] answer) {}

  private final Workload workload;
  private final int agreed;
  private final Map<ByteBuffer, ByteBuffer> made = new HashMap<>();
  private final List<Step> steps = new ArrayList<>();
  private final ByteArrayOutputStream unsent = new ByteArrayOutputStream();
  private final List<Step[]> first = new ArrayList<>();
  private final List<Step[]> next = new ArrayList<>();

  /** What ends a conversation. */
  final ByteBuffer goodbye;

  /**
   * Makes the script of a workload for filters that answer the offer in this way.
   *
   * @param answer a whole packet
   */
  Script(Workload workload, byte[] answer) {
    this.workload = workload;
    agreed = ByteBuffer.wrap(answer).getInt(13);
    for (int number = 0; number < DIFFERENT; number++) {
      steps.add(new Step(Stage.OPTIONS, direct(OFFER), answer));
      if (hasMails()) {
        greeting();
        mail(number);
      }
      first.add(taken());
      if (hasMails()) {
        packet('A', new byte[0], 0);
        mail(number);
      }
      next.add(taken());
    }
    if (hasMails()) {
      packet('A', new byte[0], 0);
      packet('A', new byte[0], 0);
    }
    packet('Q', new byte[0], 0);
    goodbye = direct(unsent.toByteArray());
  }

  private boolean hasMails() {
    return workload.recipients() > 0;
  }

  /** Returns the first mail of a conversation, with what comes before it. */
  Step[] first(long number) {
    return first.get((int) (number % DIFFERENT));
  }

  /** Returns a further mail of a conversation. */
  Step[] next(long number) {
    return next.get((int) (number % DIFFERENT));
  }

  /** Returns the number of answers for each message, or for each conversation without any. */
  double answersPerMessage() {
    int further = next(0).length;
    int before = first(0).length - further;
    return workload.mails() == 0 ? further : further + (double) before / workload.mails();
  }

  private void greeting() {
    macros(
        Stage.CONNECT,
        "j\0mx.example.com\0{daemon_name}\0mx.example.com\0{daemon_addr}\000127.0.0.1\0"
            + "v\0Postfix 3.7.11\0_\0mail.example.org [192.0.2.25]\0");
    command(Stage.CONNECT, "mail.example.org\0004\377\376192.0.2.25\0");
    macros(Stage.HELLO, "");
    command(Stage.HELLO, "mail.example.org\0");
  }

  private void mail(int number) {
    String queueId = "i\0004TEMSE1A2" + number + "\0";
    String sender = "a" + number + "@example.org";
    StringBuilder further = new StringBuilder();
    for (int i = 0; i < workload.macros(); i++) {
      further.append("{macro_").append(i).append("}\0").append(sender).append('\0');
    }
    macros(
        Stage.MAIL,
        "{mail_addr}\0" + sender + "\0{mail_host}\0example.org\0{mail_mailer}\0smtp\0" + further);
    command(Stage.MAIL, "<" + sender + ">\0SIZE=8800\0BODY=8BITMIME\0");
    for (int i = 0; i < workload.recipients(); i++) {
      recipient(i == 0 ? "" : queueId, (char) ('b' + i % 10) + "" + number + "@example.com");
    }
    macros(Stage.DATA, queueId);
    command(Stage.DATA, "");
    for (int i = 0; i < workload.headers(); i++) {
      macros(Stage.HEADER, queueId);
      command(Stage.HEADER, field(i, number));
    }
    macros(Stage.END_OF_HEADERS, queueId);
    command(Stage.END_OF_HEADERS, "");
    body(queueId);
    macros(Stage.END_OF_MESSAGE, queueId);
    command(Stage.END_OF_MESSAGE, new byte[0], 0, seen());
  }

  private String field(int place, int number) {
    String field = FIELDS[place % FIELDS.length] + " (" + number + ")\0";
    return place < FIELDS.length ? field : "X-" + place + field.substring(field.indexOf('\0'));
  }

  private void recipient(String queueId, String address) {
    macros(
        Stage.RECIPIENT,
        queueId + "{rcpt_addr}\0" + address + "\0{rcpt_host}\0example.com\0{rcpt_mailer}\0smtp\0");
    command(Stage.RECIPIENT, "<" + address + ">\0");
  }

  /** Adds the pieces of the body. Those of the same length are one step, again and again. */
  private void body(String queueId) {
    byte[] piece = text(Math.min(CHUNK, workload.bytes()));
    int before = steps.size();
    for (int left = workload.bytes(); left > 0; left -= CHUNK) {
      if (left >= CHUNK && steps.size() > before) {
        steps.add(steps.get(before));
      } else {
        macros(Stage.BODY, queueId);
        command(Stage.BODY, piece, Math.min(CHUNK, left), CONTINUE);
      }
    }
  }

  private static byte[] text(int length) {
    Random random = new Random(length);
    byte[] text = new byte[length];
    for (int i = 0; i < length; i++) {
      int column = i % LINE;
      text[i] =
          (byte) (column == LINE - 2 ? '\r' : column == LINE - 1 ? '\n' : 'a' + random.nextInt(26));
    }
    return text;
  }

  /** The answer to the end of message: X-Seen and continue. */
  private byte[] seen() {
    byte[] field = latin1("X-Seen\0" + workload.headers() + " " + workload.bytes() + "\0");
    return ByteBuffer.allocate(5 + field.length + CONTINUE.length)
        .putInt(1 + field.length)
        .put((byte) 'h')
        .put(field)
        .put(CONTINUE)
        .array();
  }

  private void macros(Stage stage, String definitions) {
    if ((stage.noEvent & agreed) == 0) {
      byte[] payload = latin1(stage.code + definitions);
      packet('D', payload, payload.length);
    }
  }

  private void command(Stage stage, String payload) {
    byte[] bytes = latin1(payload);
    command(stage, bytes, bytes.length, CONTINUE);
  }

  private void command(Stage stage, byte[] payload, int length, byte[] answer) {
    if ((stage.noEvent & agreed) != 0) {
      return;
    }
    packet(stage.code, payload, length);
    if ((stage.noReply & agreed) == 0) {
      steps.add(new Step(stage, direct(unsent.toByteArray()), answer));
      unsent.reset();
    }
  }

  private void packet(char code, byte[] payload, int length) {
    unsent.writeBytes(ByteBuffer.allocate(5).putInt(1 + length).put((byte) code).array());
    unsent.write(payload, 0, length);
  }

  private Step[] taken() {
    Step[] taken = steps.toArray(new Step[0]);
    steps.clear();
    return taken;
  }

  private static byte[] latin1(String text) {
    return text.getBytes(StandardCharsets.ISO_8859_1);
  }

  /** Returns the bytes in a buffer, which equal bytes share. */
  private ByteBuffer direct(byte[] bytes) {
    return made.computeIfAbsent(
        ByteBuffer.wrap(bytes),
        unused -> ByteBuffer.allocateDirect(bytes.length).put(bytes).flip());
  }
}
