package temse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.reflect.AccessibleObject;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Member;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.jspecify.annotations.NullMarked;
import org.junit.jupiter.api.Test;
import temse.server.Milter;

/** What users of the Java classes may rely on changes on purpose only. */
class ApiTest {
  private static final Path RECORDED = Path.of("test/resources/java-api.txt");
  private static final Path ACTUAL = Path.of("target/java-api.txt");

  @Test
  void thePublicApiIsTheOneThatIsWrittenDown() throws Exception {
    List<String> actual = new ArrayList<>();
    for (String name : classNames()) {
      Class<?> type = Class.forName(name, false, Milter.class.getClassLoader());
      if (isPublic(type)) {
        actual.add(declaration(type));
        members(type).forEach(member -> actual.add("  " + member));
      }
    }
    Files.write(ACTUAL, actual);
    List<String> recorded = Files.readAllLines(RECORDED);
    assertEquals(
        List.of(List.of(), List.of()),
        List.of(without(actual, recorded), without(recorded, actual)),
        "the public API of the Java classes is not what "
            + RECORDED
            + " says: what is new, and what is gone. If that is meant, say so in the change log and"
            + " run: cp "
            + ACTUAL
            + " "
            + RECORDED
            + "\n");
    assertEquals(recorded, actual, "the order differs: cp " + ACTUAL + " " + RECORDED);
  }

  @Test
  void eachPackageIsMarkedForNullnessAndSaysWhyEachOfItsTypesIsPublic() throws Exception {
    for (String name : classNames()) {
      Class<?> type = Class.forName(name, false, Milter.class.getClassLoader());
      if (isPublic(type) && type.getEnclosingClass() == null) {
        Package home = type.getPackage();
        assertTrue(home.isAnnotationPresent(NullMarked.class), home.getName());
        Path page =
            Path.of("src/java", home.getName().replace('.', '/')).resolve("package-info.java");
        String text = Files.readString(page).replaceAll("\\s*\\R \\*\\s*", " ");
        assertTrue(text.contains("{@link " + name + "}"), page + " does not name " + name);
      }
    }
  }

  /** Returns the declaration as newer JDKs write it: before 21 they leave out "sealed". */
  private static String declaration(Class<?> type) {
    String text = type.toGenericString().replaceFirst("\\b(non-)?sealed ", "");
    return type.isSealed() ? text.replaceFirst("\\b(class|interface) ", "sealed $1 ") : text;
  }

  private static List<String> without(List<String> lines, List<String> others) {
    return lines.stream().filter(line -> !others.contains(line)).toList();
  }

  private static Set<String> classNames() throws IOException, URISyntaxException {
    Path root = Path.of(Milter.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    try (Stream<Path> files = Files.walk(root)) {
      Set<String> names = new TreeSet<>();
      files
          .map(file -> root.relativize(file).toString())
          .filter(file -> file.endsWith(".class") && !file.contains("internal"))
          .map(file -> file.replaceFirst("\\.class$", "").replaceAll("[/\\\\]", "."))
          .forEach(names::add);
      return names;
    }
  }

  private static boolean isPublic(Class<?> type) {
    for (Class<?> each = type; each != null; each = each.getEnclosingClass()) {
      if (!isVisible(each.getModifiers()) || each.isAnonymousClass()) {
        return false;
      }
    }
    return true;
  }

  private static boolean isVisible(int modifiers) {
    return Modifier.isPublic(modifiers) || Modifier.isProtected(modifiers);
  }

  private static Set<String> members(Class<?> type) {
    Set<String> members = new TreeSet<>();
    add(members, type.getDeclaredConstructors());
    for (Class<?> each = type; each != null; each = each.getSuperclass()) {
      if (each == type || !Modifier.isPublic(each.getModifiers())) {
        add(members, each.getDeclaredFields());
        add(members, each.getDeclaredMethods());
      }
    }
    return members;
  }

  private static <M extends AccessibleObject & Member> void add(Set<String> lines, M[] members) {
    for (M member : members) {
      if (isVisible(member.getModifiers()) && !member.isSynthetic()) {
        lines.add(text(member));
      }
    }
  }

  private static String text(Member member) {
    return member instanceof Method method
        ? method.toGenericString()
        : member instanceof Field field
            ? field.toGenericString()
            : ((Constructor<?>) member).toGenericString();
  }
}
