package temse.bench;

/** The commands of the protocol whose round trips are measured. */
enum Stage {
  OPTIONS('O', 0),
  CONNECT('C', 0x1000),
  HELLO('H', 0x2000),
  MAIL('M', 0x4000),
  RECIPIENT('R', 0x8000),
  DATA('T', 0x10000),
  HEADER('L', 0x80),
  END_OF_HEADERS('N', 0x40000),
  BODY('B', 0x80000),
  END_OF_MESSAGE('E', 0);

  /** The command byte. */
  final char code;

  /** The SMFIP_NR_* bit with which a filter says that it sends no reply, or 0. */
  final int noReply;

  Stage(char code, int noReply) {
    this.code = code;
    this.noReply = noReply;
  }
}
