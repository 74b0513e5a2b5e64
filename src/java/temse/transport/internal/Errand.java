package temse.transport.internal;

import java.nio.ByteBuffer;
import temse.transport.internal.Conversation.Wish;

/** A call of a conversation, with the input that it has not consumed yet. */
@FunctionalInterface
interface Errand {
  /** The first one: a conversation is made before any errand, if there is none yet. */
  Errand OPEN = (conversation, input, now) -> Wish.READ;

  Errand RECEIVE = Conversation::receive;

  Errand EXPIRE =
      (conversation, input, now) -> goOn(conversation.expired(now), conversation, input, now);

  Errand STOP =
      (conversation, input, now) ->
          conversation.idle()
              ? Wish.CLOSE
              : goOn(conversation.stopping(), conversation, input, now);

  Errand STARVE =
      (conversation, input, now) -> goOn(conversation.starved(now), conversation, input, now);

  Errand PEER_CLOSED = (conversation, input, now) -> conversation.peerClosed(now);

  Errand CLOSE = (conversation, input, now) -> Wish.CLOSE;

  Wish run(Conversation conversation, ByteBuffer input, long now);

  /** Runs a task that the conversation asked for, then has it go on. */
  static Errand of(Runnable task) {
    return (conversation, input, now) -> {
      task.run();
      return conversation.receive(input, now);
    };
  }

  private static Wish goOn(Wish wish, Conversation conversation, ByteBuffer input, long now) {
    return wish == Wish.READ && input.hasRemaining() ? conversation.receive(input, now) : wish;
  }
}
