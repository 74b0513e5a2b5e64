package temse.compose.internal;

import java.io.IOException;
import java.util.List;
import temse.server.MilterConnection;

/** One thing to be done for an event of the MTA. */
@FunctionalInterface
interface Task {
  /** Does it, and returns what is to be done next, before what was to be done already. */
  List<Task> run(MilterConnection connection) throws IOException;
}
