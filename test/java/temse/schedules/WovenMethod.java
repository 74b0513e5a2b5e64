package temse.schedules;

import java.util.Map;
import java.util.Set;
import org.objectweb.asm.Handle;
import org.objectweb.asm.Label;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;

/**
 * One method with a call of {@link Hooks#point} before each step that other threads may notice:
 * access to a field that is not final, a call of a concurrent or mutable collection, an atomic
 * object, a future or a channel, a monitor. What blocks, threads, the clock and the opening of
 * sockets go to the scheduler. What it does not know fails when it is called.
 */
final class WovenMethod extends MethodVisitor {
  static final String SCHEDULED_THREAD = "temse/schedules/ScheduledThread";

  private static final String OBJECT = "java/lang/Object";
  private static final String THREAD = "java/lang/Thread";
  private static final String HOOKS = "temse/schedules/Hooks";
  private static final String CONCURRENT = "java/util/concurrent/";

  /** A method, and where it is. */
  record Place(String owner, int access, String method) {
    boolean isStatic() {
      return (access & Opcodes.ACC_STATIC) != 0;
    }

    boolean isSynchronized() {
      return (access & Opcodes.ACC_SYNCHRONIZED) != 0;
    }

    boolean isInitializer() {
      return method.equals("<clinit>");
    }

    String at(int line) {
      return owner.substring(owner.lastIndexOf('/') + 1) + "." + method + ":" + line;
    }
  }

  /** Methods of the JDK, and what is called instead; objects are the first argument then. */
  private static final Map<String, String> REDIRECTED =
      Map.ofEntries(
          Map.entry("java/lang/System.nanoTime", "nanoTime"),
          Map.entry("java/lang/System.currentTimeMillis", "currentTimeMillis"),
          Map.entry(THREAD + ".join", "join"),
          Map.entry(THREAD + ".isAlive", "isAlive"),
          Map.entry(THREAD + ".interrupted", "interrupted"),
          Map.entry(THREAD + ".sleep", "sleep"),
          Map.entry(THREAD + ".yield", "yield"),
          Map.entry(THREAD + ".onSpinWait", "onSpinWait"),
          Map.entry("java/util/concurrent/locks/LockSupport.park", "park"),
          Map.entry("java/util/concurrent/locks/LockSupport.parkNanos", "parkNanos"),
          Map.entry("java/util/concurrent/locks/LockSupport.unpark", "unpark"),
          Map.entry(OBJECT + ".wait", "await"),
          Map.entry(OBJECT + ".notify", "signal"),
          Map.entry(OBJECT + ".notifyAll", "signalAll"),
          Map.entry(CONCURRENT + "TimeUnit.timedWait", "timedWait"),
          Map.entry(CONCURRENT + "TimeUnit.sleep", "sleep"),
          Map.entry("java/nio/channels/Selector.open", "openSelector"),
          Map.entry("java/nio/channels/ServerSocketChannel.open", "openServer"));

  /** Classes each of whose methods is one step, unless it is listed as waiting. */
  private static final Set<String> ATOMIC =
      Set.of(
          "java/lang/invoke/VarHandle",
          CONCURRENT + "CompletableFuture",
          CONCURRENT + "CompletionStage",
          CONCURRENT + "ConcurrentHashMap",
          CONCURRENT + "ConcurrentLinkedDeque",
          CONCURRENT + "ConcurrentLinkedQueue",
          CONCURRENT + "ConcurrentMap",
          CONCURRENT + "CopyOnWriteArrayList",
          CONCURRENT + "CountDownLatch",
          CONCURRENT + "Future",
          CONCURRENT + "ThreadPoolExecutor");

  /** Types of objects that may be concurrent collections; often they are not. */
  private static final Set<String> COLLECTIONS =
      Set.of(
          "java/util/Collection",
          "java/util/Deque",
          "java/util/Map",
          "java/util/Queue",
          "java/util/Set");

  /** Classes that have nothing to do with threads. */
  private static final Set<String> HARMLESS =
      Set.of(
          CONCURRENT + "CancellationException",
          CONCURRENT + "CompletionException",
          CONCURRENT + "ExecutionException",
          CONCURRENT + "RejectedExecutionException",
          CONCURRENT + "SynchronousQueue",
          CONCURRENT + "TimeUnit",
          CONCURRENT + "TimeoutException",
          CONCURRENT + "ThreadFactory");

  private static final Set<String> FUTURES =
      Set.of(CONCURRENT + "CompletableFuture", CONCURRENT + "Future");

  private final Weaver weaver;
  private final Place place;
  private final boolean isRun;
  private final Label start = new Label();
  private final Label end = new Label();
  private int line;

  /**
   * @param isRun whether this is what a thread runs
   */
  WovenMethod(Weaver weaver, MethodVisitor next, Place place, boolean isRun) {
    super(Opcodes.ASM9, next);
    this.weaver = weaver;
    this.place = place;
    this.isRun = isRun;
  }

  private boolean isGuarded() {
    return isRun || place.isSynchronized();
  }

  @Override
  public void visitCode() {
    super.visitCode();
    if (place.isInitializer()) {
      hook("quiet", "()V");
    } else if (isRun) {
      hook("begin", "()V");
    } else if (place.isSynchronized()) {
      point("enters");
      if (place.isStatic()) {
        super.visitLdcInsn(Type.getObjectType(place.owner()));
      } else {
        super.visitVarInsn(Opcodes.ALOAD, 0);
      }
      hook("enter", "(Ljava/lang/Object;)V");
    }
    if (isGuarded()) {
      super.visitLabel(start);
    }
  }

  @Override
  public void visitMaxs(int maxStack, int maxLocals) {
    if (isGuarded()) {
      super.visitLabel(end);
      super.visitTryCatchBlock(start, end, end, "java/lang/Throwable");
      Object[] stack = {"java/lang/Throwable"};
      super.visitFrame(Opcodes.F_NEW, 0, new Object[0], 1, stack);
      if (isRun) {
        super.visitInsn(Opcodes.DUP);
        hook("died", "(Ljava/lang/Throwable;)V");
      } else {
        hook("exitLast", "()V");
      }
      super.visitInsn(Opcodes.ATHROW);
    }
    super.visitMaxs(maxStack, maxLocals);
  }

  @Override
  public void visitLineNumber(int number, Label label) {
    line = number;
    super.visitLineNumber(number, label);
  }

  @Override
  public void visitInsn(int opcode) {
    if (opcode == Opcodes.MONITORENTER) {
      point("enters");
      hook("enter", "(Ljava/lang/Object;)V");
    } else if (opcode == Opcodes.MONITOREXIT) {
      hook("exit", "(Ljava/lang/Object;)V");
    } else {
      if (opcode >= Opcodes.IRETURN && opcode <= Opcodes.RETURN) {
        beforeReturn();
      }
      super.visitInsn(opcode);
    }
  }

  private void beforeReturn() {
    if (place.isInitializer()) {
      hook("loud", "()V");
    } else if (isRun) {
      hook("end", "()V");
    } else if (place.isSynchronized()) {
      hook("exitLast", "()V");
    }
  }

  @Override
  public void visitFieldInsn(int opcode, String owner, String name, String descriptor) {
    boolean makes = place.method().equals("<init>") && owner.equals(place.owner());
    int modifiers = makes ? Opcodes.ACC_FINAL : weaver.modifiers(owner, name);
    if ((modifiers & Opcodes.ACC_FINAL) == 0) {
      boolean reads = opcode == Opcodes.GETFIELD || opcode == Opcodes.GETSTATIC;
      boolean isVolatile = (modifiers & Opcodes.ACC_VOLATILE) != 0;
      point(isVolatile ? "point" : "plainPoint", (reads ? "reads " : "writes ") + name);
    }
    super.visitFieldInsn(opcode, owner, name, descriptor);
  }

  @Override
  public void visitTypeInsn(int opcode, String type) {
    boolean makesThread = opcode == Opcodes.NEW && type.equals(THREAD);
    super.visitTypeInsn(opcode, makesThread ? SCHEDULED_THREAD : type);
  }

  @Override
  public void visitMethodInsn(
      int opcode, String owner, String name, String descriptor, boolean isInterface) {
    String hook = REDIRECTED.get(owner + "." + name);
    if (hook != null) {
      if (!hook.endsWith("Time")) {
        point(name);
      }
      hook(hook, redirected(opcode == Opcodes.INVOKESTATIC, owner, descriptor));
      return;
    }
    if (opcode == Opcodes.INVOKESPECIAL && owner.equals(THREAD)) {
      super.visitMethodInsn(opcode, SCHEDULED_THREAD, name, descriptor, isInterface);
      return;
    }
    if (isUnsupported(owner, name)) {
      super.visitLdcInsn(owner + "." + name);
      hook("unsupported", "(Ljava/lang/String;)V");
    } else if (COLLECTIONS.contains(owner)) {
      point("plainPoint", name);
    } else if (!name.equals("<init>") && isStep(owner, name)) {
      point(name);
    }
    if (FUTURES.contains(owner) && (name.equals("get") || name.equals("join"))) {
      hook("awaitDone", "(Ljava/util/concurrent/Future;)Ljava/util/concurrent/Future;");
      super.visitTypeInsn(Opcodes.CHECKCAST, owner);
    }
    super.visitMethodInsn(opcode, owner, name, descriptor, isInterface);
  }

  private static String redirected(boolean isStatic, String owner, String descriptor) {
    return isStatic ? descriptor : "(L" + owner + ";" + descriptor.substring(1);
  }

  private static boolean isStep(String owner, String name) {
    return ATOMIC.contains(owner)
        || owner.startsWith(CONCURRENT + "atomic/")
        || owner.startsWith(CONCURRENT + "ConcurrentHashMap$")
        || owner.startsWith("java/nio/channels/")
        || owner.equals(THREAD) && (name.equals("start") || name.endsWith("nterrupt"));
  }

  private static boolean isUnsupported(String owner, String name) {
    boolean known =
        ATOMIC.contains(owner)
            || HARMLESS.contains(owner)
            || owner.startsWith(CONCURRENT + "atomic/")
            || owner.startsWith(CONCURRENT + "ConcurrentHashMap$");
    return owner.startsWith(CONCURRENT)
        && (!known || name.endsWith("Async") || name.endsWith("Timeout"));
  }

  @Override
  public void visitInvokeDynamicInsn(
      String name, String descriptor, Handle bootstrap, Object... arguments) {
    Object[] mapped = arguments.clone();
    for (int i = 0; i < mapped.length; i++) {
      if (mapped[i] instanceof Handle handle) {
        mapped[i] = redirected(handle);
      }
    }
    super.visitInvokeDynamicInsn(name, descriptor, bootstrap, mapped);
  }

  private static Handle redirected(Handle handle) {
    String hook = REDIRECTED.get(handle.getOwner() + "." + handle.getName());
    if (hook == null) {
      return handle;
    }
    boolean isStatic = handle.getTag() == Opcodes.H_INVOKESTATIC;
    String descriptor = redirected(isStatic, handle.getOwner(), handle.getDesc());
    return new Handle(Opcodes.H_INVOKESTATIC, HOOKS, hook, descriptor, false);
  }

  private void point(String what) {
    point("point", what);
  }

  private void point(String hook, String what) {
    if (!place.isInitializer()) {
      super.visitLdcInsn(place.at(line) + " " + what);
      hook(hook, "(Ljava/lang/String;)V");
    }
  }

  private void hook(String name, String descriptor) {
    super.visitMethodInsn(Opcodes.INVOKESTATIC, HOOKS, name, descriptor, false);
  }
}
