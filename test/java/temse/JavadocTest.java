package temse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every public and protected member has Javadoc, and doclint finds no fault with it. */
class JavadocTest {
  @TempDir private Path directory;

  @Test
  void everyPublicMemberIsDocumented() throws IOException {
    try (Stream<Path> files = Files.walk(Path.of("src/java"))) {
      List<Path> sources = files.filter(file -> file.toString().endsWith(".java")).toList();
      assertTrue(sources.size() > 50, "the sources are found");
      assertEquals(List.of(), complaints(sources));
    }
  }

  @Test
  void whatIsMissingIsFound() throws IOException {
    Path source =
        Files.writeString(
            directory.resolve("Undocumented.java"),
            "/** Has methods. */\n"
                + "public interface Undocumented {\n"
                + "void method();\n"
                + "/** Counts. */\n"
                + "int count(int from) throws Exception;\n"
                + "}\n");
    assertEquals(
        List.of(
            "Undocumented.java:3: no comment",
            "Undocumented.java:5: no @param for from",
            "Undocumented.java:5: no @return",
            "Undocumented.java:5: no @throws for java.lang.Exception"),
        complaints(List.of(source)));
  }

  private List<String> complaints(List<Path> sources) throws IOException {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    DiagnosticCollector<JavaFileObject> found = new DiagnosticCollector<>();
    List<String> options =
        List.of(
            "-Xdoclint:all/protected",
            "-Xmaxwarns",
            "1000",
            "-proc:none",
            "-cp",
            System.getProperty("java.class.path"),
            "-d",
            directory.toString());
    try (StandardJavaFileManager files = compiler.getStandardFileManager(found, null, null)) {
      compiler
          .getTask(
              new StringWriter(),
              files,
              found,
              options,
              null,
              files.getJavaFileObjectsFromPaths(sources))
          .call();
    }
    return found.getDiagnostics().stream()
        .map(
            complaint ->
                (complaint.getSource() == null
                        ? ""
                        : Path.of(complaint.getSource().getName()).getFileName()
                            + ":"
                            + complaint.getLineNumber()
                            + ": ")
                    + complaint.getMessage(Locale.ENGLISH))
        .toList();
  }
}
