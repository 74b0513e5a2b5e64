package temse.bench;

/**
 * What the MTA side does.
 *
 * @param name its name in the tables
 * @param connections conversations at a time; 0 if mails come at a steady rate
 * @param mails mails of a conversation; 0 for a conversation that goes on for ever
 * @param headers header fields of a mail
 * @param bytes bytes of its body
 * @param idle further connections that negotiate and then say nothing
 * @param perSecond conversations begun in a second; 0 if the next begins when one ends
 */
record Workload(
    String name, int connections, int mails, int headers, int bytes, int idle, int perSecond) {
  private static final int HEADERS = 12;
  private static final int BYTES = 8 * 1024;

  static final Workload W1 = of("W1", 8, 1);
  static final Workload W1R = new Workload("W1r", 0, 1, HEADERS, BYTES, 0, 100);
  static final Workload W2 = of("W2", 4, 100);
  static final Workload W3 = new Workload("W3", 4, 1, HEADERS, 10 * 1024 * 1024, 0, 0);
  static final Workload W4 = new Workload("W4", 8, 1, 1000, 0, 0, 0);
  static final Workload W5 = of("W5", 500, 1);
  static final Workload W6 = new Workload("W6", 8, 1, HEADERS, BYTES, 5000, 0);
  static final Workload A10 = of("A10", 10, 0);
  static final Workload A500 = of("A500", 500, 0);
  static final Workload A5000 = of("A5000", 5000, 0);

  private static Workload of(String name, int connections, int mails) {
    return new Workload(name, connections, mails, HEADERS, BYTES, 0, 0);
  }
}
