package temse.message;

import java.io.IOException;
import java.io.InputStream;

/**
 * A text as an MTA writes a body: each line ends in CR LF, in Postfix the last as well. Sendmail
 * takes one CR of each CR LF away when it stores the body, and gives it back only to an LF that has
 * none before it then.
 */
final class WireLines extends InputStream {
  private static final int NONE = -2;

  private final InputStream text;
  private final boolean sendmail;
  private int previous = '\n';
  private int pushed = NONE;
  private int ahead = NONE;

  WireLines(InputStream text, Mta mta) {
    this.text = text;
    this.sendmail = mta == Mta.SENDMAIL;
  }

  @Override
  public int read() throws IOException {
    int next = pushed == NONE ? stored() : pushed;
    pushed = NONE;
    boolean unended = next < 0 && previous != '\n' && !sendmail;
    if (unended || next == '\n' && previous != '\r') {
      pushed = '\n';
      next = '\r';
    }
    previous = next < 0 ? previous : next;
    return next;
  }

  private int stored() throws IOException {
    int next = ahead == NONE ? text.read() : ahead;
    ahead = NONE;
    if (sendmail && next == '\r') {
      ahead = text.read();
      if (ahead == '\n') {
        ahead = NONE;
        return '\n';
      }
    }
    return next;
  }
}
