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
 * body are equal, so that one of a gibibyte needs no more memory than its pieces. What a filter
 * does not reply to travels together with what comes next, and what it does not want to hear of is
 * left out. Addresses, queue ids and values of header fields differ from mail to mail, and of many
 * fields the names differ, too.
 */
final class Script {
  /**
   * A write, and the bytes that must answer it.
   *
   * @param stage the command that is answered
   */
  record Step(Stage stage, ByteBuffer bytes, byte[] answer) {}

  static final byte[] OFFER = {
    0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1, (byte) 0xFF, 0, 0x1F, (byte) 0xFF, (byte) 0xFF
  };
  private static final byte[] CONTINUE = {0, 0, 0, 1, 'c'};
  private static final int CHUNK = 65535;
  private static final int LINE = 76;

  /** So many mails differ before the first comes again. */
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

  private final int agreed;
  private final Map<ByteBuffer, ByteBuffer> made = new HashMap<>();
  private final List<Step> steps = new ArrayList<>();
  private final ByteArrayOutputStream waiting = new ByteArrayOutputStream();
  private final List<Step[]> first = new ArrayList<>();
  private final List<Step[]> next = new ArrayList<>();

  /** What ends a conversation. */
  final ByteBuffer goodbye;

  /**
   * Makes the script of a workload for filters that give this answer to the offer.
   *
   * @param answer a whole packet
   */
  Script(Workload workload, byte[] answer) {
    agreed = ByteBuffer.wrap(answer).getInt(13);
    for (int number = 0; number < DIFFERENT; number++) {
      steps.add(new Step(Stage.OPTIONS, direct(OFFER), answer));
      if (workload.mail() == null) {
        first.add(steps.toArray(new Step[0]));
        next.add(new Step[0]);
        steps.clear();
        continue;
      }
      macros(
          Stage.CONNECT,
          "j\0mx.example.com\0{daemon_name}\0mx.example.com\0{daemon_addr}\000127.0.0.1\0"
              + "v\0Postfix 3.7.11\0_\0mail.example.org [192.0.2.25]\0");
      command(Stage.CONNECT, "mail.example.org\0004\377\376192.0.2.25\0");
      macros(Stage.HELLO, "");
      command(Stage.HELLO, "mail.example.org\0");
      first.add(mail(workload.mail(), number));
      packet('A', new byte[0], 0, 0);
      next.add(mail(workload.mail(), number));
    }
    if (workload.mail() != null) {
      packet('A', new byte[0], 0, 0);
      packet('A', new byte[0], 0, 0);
    }
    packet('Q', new byte[0], 0, 0);
    goodbye = direct(waiting.toByteArray());
  }

  /** Returns the first mail of a conversation, with what comes before it. */
  Step[] first(long number) {
    return first.get((int) (number % DIFFERENT));
  }

  /** Returns a further mail of a conversation. */
  Step[] next(long number) {
    return next.get((int) (number % DIFFERENT));
  }

  /** Returns how many answers a message of the workload takes, or a conversation without. */
  double answersPerMessage(Workload workload) {
    if (workload.mail() == null) {
      return first(0).length;
    }
    int further = next(0).length;
    return workload.mails() == 0
        ? further
        : further + (double) (first(0).length - further) / workload.mails();
  }

  private Step[] mail(Workload.Mail mail, int number) {
    String queueId = "i\0004TEMSE1A2" + number + "\0";
    String sender = "a" + number + "@example.org";
    StringBuilder further = new StringBuilder();
    for (int i = 0; i < mail.macros(); i++) {
      further.append("{macro_").append(i).append("}\0").append(sender).append('\0');
    }
    macros(
        Stage.MAIL,
        "{mail_addr}\0" + sender + "\0{mail_host}\0example.org\0{mail_mailer}\0smtp\0" + further);
    command(Stage.MAIL, "<" + sender + ">\0SIZE=8800\0BODY=8BITMIME\0");
    for (int i = 0; i < mail.recipients(); i++) {
      recipient(i == 0 ? "" : queueId, (char) ('b' + i % 10) + "" + number + "@example.com");
    }
    macros(Stage.DATA, queueId);
    command(Stage.DATA, "");
    for (int i = 0; i < mail.headers(); i++) {
      macros(Stage.HEADER, queueId);
      command(Stage.HEADER, field(i) + " (" + number + ")\0");
    }
    macros(Stage.END_OF_HEADERS, queueId);
    command(Stage.END_OF_HEADERS, "");
    byte[] piece = body(Math.min(CHUNK, mail.bytes()));
    for (int left = mail.bytes(); left > 0; left -= CHUNK) {
      macros(Stage.BODY, queueId);
      command(Stage.BODY, piece, 0, Math.min(CHUNK, left), CONTINUE);
    }
    macros(Stage.END_OF_MESSAGE, queueId);
    command(Stage.END_OF_MESSAGE, new byte[0], 0, 0, seen(mail));
    Step[] done = steps.toArray(new Step[0]);
    steps.clear();
    return done;
  }

  private static String field(int place) {
    String field = FIELDS[place % FIELDS.length];
    return place < FIELDS.length ? field : "X-" + place + field.substring(field.indexOf('\0'));
  }

  private void recipient(String queueId, String address) {
    macros(
        Stage.RECIPIENT,
        queueId
            + ("{rcpt_addr}\0" + address + "\0{rcpt_host}\0example.com\0{rcpt_mailer}\0smtp\0"));
    command(Stage.RECIPIENT, "<" + address + ">\0");
  }

  private static byte[] body(int length) {
    Random random = new Random(length);
    byte[] body = new byte[length];
    for (int i = 0; i < length; i++) {
      int column = i % LINE;
      body[i] =
          (byte) (column == LINE - 2 ? '\r' : column == LINE - 1 ? '\n' : 'a' + random.nextInt(26));
    }
    return body;
  }

  /** The answer to the end of message: X-Seen and continue. */
  private static byte[] seen(Workload.Mail mail) {
    byte[] field = latin1("X-Seen\0" + mail.headers() + " " + mail.bytes() + "\0");
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
      packet('D', payload, 0, payload.length);
    }
  }

  private void command(Stage stage, String payload) {
    byte[] bytes = latin1(payload);
    command(stage, bytes, 0, bytes.length, CONTINUE);
  }

  private void command(Stage stage, byte[] payload, int offset, int length, byte[] answer) {
    if ((stage.noEvent & agreed) != 0) {
      return;
    }
    packet(stage.code, payload, offset, length);
    if ((stage.noReply & agreed) == 0) {
      steps.add(new Step(stage, direct(waiting.toByteArray()), answer));
      waiting.reset();
    }
  }

  private void packet(char code, byte[] payload, int offset, int length) {
    waiting.writeBytes(ByteBuffer.allocate(5).putInt(1 + length).put((byte) code).array());
    waiting.write(payload, offset, length);
  }

  private static byte[] latin1(String text) {
    return text.getBytes(StandardCharsets.ISO_8859_1);
  }

  /** Returns the bytes in a buffer, the same for the same bytes. */
  private ByteBuffer direct(byte[] bytes) {
    return made.computeIfAbsent(
        ByteBuffer.wrap(bytes),
        unused -> ByteBuffer.allocateDirect(bytes.length).put(bytes).flip());
  }
}
