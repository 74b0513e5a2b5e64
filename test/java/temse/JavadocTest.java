package temse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Every public and protected member has Javadoc, and doclint finds no fault with it. Tags may be
 * missing where the first sentence says it all.
 */
class JavadocTest {
  private static final Pattern MISSING_TAG =
      Pattern.compile("no @(param|return|throws)\\b.*", Pattern.DOTALL);

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
            "/** Has a method without. */\npublic interface Undocumented { void method(); }\n");
    assertEquals(List.of("Undocumented.java:2: no comment"), complaints(List.of(source)));
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
        .filter(complaint -> !MISSING_TAG.matcher(complaint.getMessage(Locale.ENGLISH)).matches())
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
