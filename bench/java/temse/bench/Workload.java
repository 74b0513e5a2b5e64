package temse.bench;

/**
 * What the MTA side does.
 *
 * @param name its name in the tables
 * @param connections conversations at a time; 0 if conversations begin at a steady rate
 * @param mails mails of a conversation; 0 for a conversation that goes on for ever
 * @param mail what each of them is made of, or null if the negotiation is all
 * @param idle further connections that negotiate and then say nothing
 * @param slow further connections that negotiate and then send macros, byte by byte
 * @param octetsPerWrite the most that the MTA side writes at a time
 * @param mailsPerSecond conversations begun in a second; 0 if the next begins when one ends
 * @param eventsPerSecond events sent in a second on each connection; 0 if the next follows at once
 */
record Workload(
    String name,
    int connections,
    int mails,
    Mail mail,
    int idle,
    int slow,
    int octetsPerWrite,
    int mailsPerSecond,
    int eventsPerSecond) {

  /**
   * The size of a mail.
   *
   * @param macros further ones of the sender
   * @param bytes of the body; 0 for a mail without
   */
  record Mail(int recipients, int headers, int macros, int bytes) {
    static final Mail TYPICAL = new Mail(2, 12, 0, 8 * 1024);
    static final Mail SMALLEST = new Mail(1, 1, 0, 0);
  }

  private static final int ALL_AT_ONCE = Integer.MAX_VALUE;

  static final Workload W1 = of("W1", 8, 1, Mail.TYPICAL);
  static final Workload W1R = new Workload("W1r", 0, 1, Mail.TYPICAL, 0, 0, ALL_AT_ONCE, 100, 0);
  static final Workload W2 = of("W2", 4, 100, Mail.TYPICAL);
  static final Workload W3 =
      new Workload("W3", 4, 1, new Mail(2, 12, 0, 10 * 1024 * 1024), 0, 0, 24 * 1024, 0, 0);
  static final Workload W4 = of("W4", 8, 1, new Mail(2, 1000, 0, 0));
  static final Workload W5 = of("W5", 500, 1, Mail.TYPICAL);
  static final Workload W6 = new Workload("W6", 8, 1, Mail.TYPICAL, 5000, 0, ALL_AT_ONCE, 0, 0);
  static final Workload W7 = of("W7", 8, 1, null);
  static final Workload W8 = new Workload("W8", 8, 1, Mail.TYPICAL, 0, 200, ALL_AT_ONCE, 0, 0);
  static final Workload A500 = of("A500", 500, 0, Mail.TYPICAL);

  /**
   * Latency. With all processes on one core, or with events sent as fast as answers come, a round
   * trip is mostly a wait in the queue of the driver; here the server has a core for itself and the
   * driver, which never sleeps, sends each event at its time and counts from that time.
   */
  static final Workload L8 = new Workload("L8", 8, 0, Mail.TYPICAL, 0, 0, ALL_AT_ONCE, 0, 1000);

  static Workload of(String name, int connections, int mails, Mail mail) {
    return new Workload(name, connections, mails, mail, 0, 0, ALL_AT_ONCE, 0, 0);
  }

  /** Whether its pace is its own, not the server's. */
  boolean isSteady() {
    return mailsPerSecond > 0 || eventsPerSecond > 0;
  }

  /** Returns the workload without the further connections. */
  Workload alone() {
    return new Workload(
        name, connections, mails, mail, 0, 0, octetsPerWrite, mailsPerSecond, eventsPerSecond);
  }
}
