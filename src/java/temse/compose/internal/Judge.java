package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import temse.compose.Pretended;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Printable;

/**
 * What becomes of the answers of a filter that only pretends: each is reported and none is given.
 *
 * @param marks whether they become header fields of the message
 * @param report receives each verdict and modification
 */
public record Judge(boolean marks, Consumer<? super Pretended> report) {
  private static final int LONGEST = 320;

  /** Returns what would be done by the actions, reported. */
  List<Pretended> noted(Node node, EventType at, List<IPersistentMap> actions, String mail) {
    List<Pretended> notes = new ArrayList<>();
    for (IPersistentMap action : actions) {
      String verdict = verdict(action);
      if (verdict != null) {
        Pretended note = new Pretended(node.title(), at, verdict, Action.view(action), mail);
        notes.add(note);
        report.accept(note);
      }
    }
    return notes;
  }

  /** Returns what an action would do, or null for nothing. */
  private static @Nullable String verdict(IPersistentMap action) {
    ActionType type = ActionCodec.type(action);
    return switch (type) {
      case CONTINUE, SKIP, ACCEPT, PROGRESS -> null;
      case REPLY_CODE -> ActionCodec.verdict(action).keyword.getName();
      default -> type.keyword.getName();
    };
  }

  /** Returns the header field that says what would have been done. */
  static IPersistentMap field(Pretended note) {
    String text =
        "at "
            + note.at().keyword.getName()
            + " by "
            + Printable.of(note.filter(), LONGEST)
            + note.action().why().map(why -> ": " + why).orElse("");
    return Action.addHeader(name(note.verdict()), text.replaceAll("[^ -~]", "?")).map();
  }

  private static String name(String verdict) {
    StringBuilder name = new StringBuilder("X-Would");
    for (String word : verdict.split("-")) {
      name.append('-').append((char) (word.charAt(0) - 'a' + 'A')).append(word, 1, word.length());
    }
    return name.toString();
  }
}
