package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

/** The hand-over, in every order in which the steps of the threads can fall. */
class TurnTest {

  /**
   * A loop as the threads see it. The carrier runs user code three times; each time it has lost the
   * loop it gives its connection back. The watcher looks six times, and what it asks for takes over
   * at any later time. A loop serves one event per turn, whoever carries it.
   */
  private static final class Model {
    final Turn turn = new Turn();
    final List<String> log = new ArrayList<>();
    int carriers = 1;
    boolean firstIsCarrier = true;
    long entered = -1;
    long seen = -1;
    long asked = -1;
    List<Long> requests = new ArrayList<>();
    int takenOver;

    void enter() {
      if (firstIsCarrier) {
        entered = turn.giveAway();
        carriers--;
      }
    }

    void leave() {
      if (firstIsCarrier) {
        firstIsCarrier = turn.take(entered);
        if (firstIsCarrier) {
          carriers++;
        }
      }
    }

    void look() {
      long count = turn.count();
      if (count == seen && Turn.isInUserCode(count) && count != asked) {
        asked = count;
        requests.add(count);
      }
      seen = count;
    }

    void takeOver() {
      if (!requests.isEmpty() && turn.take(requests.remove(0))) {
        carriers++;
        takenOver++;
      }
    }
  }

  @Test
  void exactlyOneThreadHasTheLoopInEveryOrderOfSteps() {
    List<Consumer<Model>> carrier = new ArrayList<>();
    List<Consumer<Model>> watcher = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      carrier.add(Model::enter);
      carrier.add(Model::leave);
      watcher.add(Model::look);
      watcher.add(Model::look);
    }
    List<Consumer<Model>> spare = List.of(Model::takeOver, Model::takeOver);
    int[] outcomes = new int[2];
    forEachOrder(
        List.of(carrier, watcher, spare),
        order -> {
          Model model = new Model();
          for (Consumer<Model> step : order) {
            step.accept(model);
            boolean inUserCode = Turn.isInUserCode(model.turn.count());
            assertEquals(inUserCode ? 0 : 1, model.carriers, "carriers");
          }
          assertEquals(model.firstIsCarrier ? 0 : 1, model.takenOver);
          outcomes[model.takenOver]++;
        });
    assertTrue(outcomes[0] > 0 && outcomes[1] > 0, "both outcomes were met");
  }

  private static <T> void forEachOrder(List<List<T>> threads, Consumer<List<T>> action) {
    forEachOrder(threads, new int[threads.size()], new ArrayList<>(), action);
  }

  private static <T> void forEachOrder(
      List<List<T>> threads, int[] next, List<T> order, Consumer<List<T>> action) {
    boolean complete = true;
    for (int i = 0; i < next.length; i++) {
      if (next[i] < threads.get(i).size()) {
        complete = false;
        order.add(threads.get(i).get(next[i]++));
        forEachOrder(threads, next, order, action);
        next[i]--;
        order.remove(order.size() - 1);
      }
    }
    if (complete) {
      action.accept(order);
    }
  }

  @Test
  void anOldNumberTakesNothing() {
    Turn turn = new Turn();
    long first = turn.giveAway();
    assertTrue(turn.take(first));
    assertFalse(turn.take(first));
    long second = turn.giveAway();
    assertFalse(turn.take(first));
    assertTrue(turn.take(second));
  }
}
