package temse.server.internal;

import java.util.AbstractList;

/** Parameters in a list of somebody's own class that throws at its n-th use. */
final class TrapList extends AbstractList<String> {
  private final Throwable trap;
  private int left;

  TrapList(int uses, Throwable trap) {
    this.left = uses;
    this.trap = trap;
  }

  private void use() {
    if (--left == 0) {
      throw Chaos.raise(trap);
    }
  }

  @Override
  public String get(int index) {
    use();
    return "NOTIFY=NEVER";
  }

  @Override
  public int size() {
    use();
    return 1;
  }
}
