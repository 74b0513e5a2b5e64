package temse.server;

import org.jspecify.annotations.Nullable;
import temse.protocol.Missing;

/**
 * An open connection that keeps its milter although the server has another one by now: see {@link
 * MilterServer#replace(MilterFactory)}.
 *
 * @param id its number: see {@link ConnectionInfo#id}
 * @param peer the MTA's address: see {@link ConnectionInfo#peer}
 * @param missing what it lacks for the new milter; nothing if that has failed
 * @param failure what the new milter threw when it was asked what it wants of the MTA, or null
 */
public record OutdatedConnection(
    long id, String peer, Missing missing, @Nullable Throwable failure) {}
