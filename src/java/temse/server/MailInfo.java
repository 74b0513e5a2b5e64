package temse.server;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What is known of a client and its mail, for reports: as far as the MTA has sent it. Text is as
 * the client sent it, and may hold any character.
 *
 * @param queueId the macro {@code i}; null before the MTA has one
 * @param clientName the host name of the client, as the MTA sees it
 * @param clientAddress the address of the client; null without a network
 * @param sender the address of MAIL, in its brackets
 * @param recipients the addresses of the first 20 recipients
 * @param recipientCount how many recipients there are in all
 */
public record MailInfo(
    @Nullable String queueId,
    @Nullable String clientName,
    @Nullable String clientAddress,
    @Nullable String sender,
    List<String> recipients,
    int recipientCount) {
  /** Of no client. */
  public static final MailInfo NONE = new MailInfo(null, null, null, null, List.of(), 0);
}
