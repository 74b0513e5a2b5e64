package temse.metrics;

import java.util.Date;
import java.util.Map;

/**
 * What a server does, in numbers, over JMX: see {@link temse.server.ServerCounters} and {@link
 * temse.server.MilterServer} for what each of them is. Maps have a name as key, such as {@code
 * end-of-message} or {@code rejected}.
 */
public interface MilterMXBean {
  /** {@return the name of the server} */
  String getName();

  /** {@return the addresses on which it listens} */
  String[] getAddresses();

  /** {@return when it was started} */
  Date getStartedAt();

  /** {@return how many seconds ago that was} */
  double getUptimeSeconds();

  /** {@return true until it begins to stop} */
  boolean isListening();

  /** {@return the number of open connections} */
  int getConnections();

  /** {@return the number of connections accepted, including those refused} */
  long getAccepted();

  /** {@return the number of connections refused} */
  long getRefused();

  /** {@return the number of those whose peer had too many} */
  long getRefusedPerPeer();

  /** {@return the number of those whose peer may not connect} */
  long getRefusedByAddress();

  /** {@return the number of connections that were no MTA's} */
  long getProbes();

  /** {@return the numbers of events} */
  Map<String, Long> getEvents();

  /** {@return the numbers of messages by verdict} */
  Map<String, Long> getMessages();

  /** {@return the numbers of errors by kind} */
  Map<String, Long> getErrors();

  /** {@return how long handlers took, by event; empty if they are not measured} */
  Map<String, HandlerMillis> getHandlers();

  /** {@return the number of bytes from MTAs} */
  long getBytesRead();

  /** {@return the number of bytes to MTAs} */
  long getBytesWritten();

  /** {@return the number of events that wait for a value now} */
  long getPendingValues();

  /** {@return the number of bodies in temporary files now} */
  long getSpilledBodies();

  /** {@return the number of bytes in temporary files now} */
  long getSpilledBytes();

  /** {@return how often something went beyond a limit} */
  long getLimitsExceeded();

  /** {@return the number of connections of MTAs that were too slow} */
  long getTimeouts();

  /** {@return how often a listener or timer has failed} */
  long getListenerFailures();

  /** {@return how often the filter was replaced} */
  long getReloads();

  /** {@return how often a loop left its thread to a blocking handler} */
  long getHandOvers();

  /** {@return how often a connection was given to another thread beforehand} */
  long getLent();

  /** {@return how often that had to wait} */
  long getWaits();

  /** {@return the number of connections that waited too long for that} */
  long getStarved();

  /** {@return how often a loop was held up by a handler} */
  long getStalls();

  /** {@return the number of reports that were dropped} */
  long getDroppedReports();
}
