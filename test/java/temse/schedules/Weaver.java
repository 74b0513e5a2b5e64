package temse.schedules;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.FieldVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.commons.ClassRemapper;
import org.objectweb.asm.commons.SimpleRemapper;

/**
 * Loads the classes of {@code temse.transport} and {@code temse.server}, those of the tests
 * included, so that a {@link Scheduler} runs their threads. {@link WovenMethod} describes what
 * becomes of the code.
 */
final class Weaver extends ClassLoader {
  private static final Map<String, String> REPLACED =
      Map.of(
          "java/util/concurrent/CountDownLatch", "temse/schedules/ScheduledLatch",
          "java/util/concurrent/ThreadPoolExecutor", "temse/schedules/ScheduledPool");

  private static final List<String> WOVEN =
      List.of("temse.transport.", "temse.server.", "temse.schedules.sample.");

  private static final String THREAD = "java/lang/Thread";

  /** The modifiers of fields, by class, in the internal form of names. */
  private final Map<String, Map<String, Integer>> fields = new HashMap<>();

  Weaver(ClassLoader parent) {
    super(parent);
  }

  private static boolean weaves(String name) {
    return WOVEN.stream().anyMatch(name::startsWith);
  }

  @Override
  protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
    if (!weaves(name)) {
      return super.loadClass(name, resolve);
    }
    synchronized (getClassLoadingLock(name)) {
      Class<?> loaded = findLoadedClass(name);
      return loaded != null ? loaded : define(name);
    }
  }

  private Class<?> define(String name) throws ClassNotFoundException {
    byte[] bytes = bytes(name.replace('.', '/'));
    if (bytes == null) {
      throw new ClassNotFoundException(name);
    }
    ClassReader reader = new ClassReader(bytes);
    ClassWriter writer = new ClassWriter(ClassWriter.COMPUTE_MAXS);
    ClassVisitor renamer = new ClassRemapper(writer, new SimpleRemapper(Opcodes.ASM9, REPLACED));
    reader.accept(new WovenClass(renamer), ClassReader.EXPAND_FRAMES);
    byte[] woven = writer.toByteArray();
    return defineClass(name, woven, 0, woven.length);
  }

  private byte[] bytes(String internalName) {
    try (InputStream in = getParent().getResourceAsStream(internalName + ".class")) {
      return in == null ? null : in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Returns the modifiers of a field of a woven class; those of a final one for all others. */
  int modifiers(String owner, String field) {
    return weaves(owner.replace('/', '.'))
        ? fields.computeIfAbsent(owner, this::fields).getOrDefault(field, 0)
        : Opcodes.ACC_FINAL;
  }

  private Map<String, Integer> fields(String owner) {
    Map<String, Integer> modifiers = new HashMap<>();
    new ClassReader(bytes(owner))
        .accept(
            new ClassVisitor(Opcodes.ASM9) {
              @Override
              public FieldVisitor visitField(
                  int access, String name, String descriptor, String signature, Object value) {
                modifiers.put(name, access);
                return null;
              }
            },
            ClassReader.SKIP_CODE);
    return modifiers;
  }

  private final class WovenClass extends ClassVisitor {
    private String name;
    private boolean isThread;

    WovenClass(ClassVisitor next) {
      super(Opcodes.ASM9, next);
    }

    @Override
    public void visit(
        int version,
        int access,
        String name,
        String signature,
        String superName,
        String[] interfaces) {
      this.name = name;
      isThread = superName.equals(THREAD);
      String parent = isThread ? WovenMethod.SCHEDULED_THREAD : superName;
      super.visit(version, access, name, signature, parent, interfaces);
    }

    @Override
    public org.objectweb.asm.MethodVisitor visitMethod(
        int access, String method, String descriptor, String signature, String[] exceptions) {
      int unlocked = access & ~Opcodes.ACC_SYNCHRONIZED;
      return new WovenMethod(
          Weaver.this,
          super.visitMethod(unlocked, method, descriptor, signature, exceptions),
          new WovenMethod.Place(name, access, method),
          isThread && method.equals("run") && descriptor.equals("()V"));
    }
  }
}
