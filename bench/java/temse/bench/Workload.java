package temse.bench;

/**
 * What the MTA side sends.
 *
 * @param connections conversations at a time; 0 if they begin at a steady rate
 * @param mails mails of a conversation; 0 for a conversation that goes on for ever
 * @param recipients recipients of each mail; 0 if a conversation ends after the negotiation
 * @param headers header fields of each mail
 * @param macros further macros of the sender of each mail
 * @param bytes length of the body; 0 for a mail without
 * @param idle further connections that negotiate and send nothing else
 * @param slow further connections that negotiate and then send macros, byte by byte
 * @param octetsPerWrite the most that the MTA side writes at a time
 * @param mailsPerSecond conversations begun in a second; 0 if the next begins when one ends
 * @param eventsPerSecond events a second on each connection; 0 if the next follows at once
 */
public record Workload(
    int connections,
    int mails,
    int recipients,
    int headers,
    int macros,
    int bytes,
    int idle,
    int slow,
    int octetsPerWrite,
    int mailsPerSecond,
    int eventsPerSecond) {

  boolean isPaced() {
    return eventsPerSecond > 0;
  }
}
