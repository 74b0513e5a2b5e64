package temse.schedules;

/** What a {@link MemorySelector} looks at. */
interface MemoryChannel {

  /** Returns what is possible now, in the bits of {@link java.nio.channels.SelectionKey}. */
  int readyOps();
}
