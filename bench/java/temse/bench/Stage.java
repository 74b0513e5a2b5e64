package temse.bench;

/** The commands of the protocol whose round trips are measured. */
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

  /** The command byte. */
  final char code;

  /** The SMFIP_NO* bit with which a filter says that it does not want to hear of it, or 0. */
  final int noEvent;

  /** The SMFIP_NR_* bit with which a filter says that it sends no reply, or 0. */
  final int noReply;

  Stage(char code, int noEvent, int noReply) {
    this.code = code;
    this.noEvent = noEvent;
    this.noReply = noReply;
  }
}
