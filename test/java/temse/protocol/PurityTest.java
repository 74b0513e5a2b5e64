package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.RT;
import java.io.DataInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * The protocol knows no sockets, no threads, nothing above it, and does not load Clojure's core.
 */
class PurityTest {
  private static final List<String> FORBIDDEN =
      List.of(
          "java/net/",
          "java/nio/channels/",
          "java/util/concurrent/",
          "java/lang/Thread",
          "temse/server/",
          "temse/client/",
          "temse/transport/");

  @Test
  void refersToNoSocketsNoThreadsAndNothingAboveIt() throws Exception {
    TreeSet<String> found = new TreeSet<>();
    for (Path file : classFiles()) {
      for (String constant : constants(file)) {
        if (FORBIDDEN.stream().anyMatch(constant::contains)) {
          found.add(file.getFileName() + " refers to " + constant);
        }
      }
    }
    assertEquals(new TreeSet<>(), found);
  }

  @Test
  void theSearchFindsWhatIsThere() throws Exception {
    Path packetDecoder =
        classFiles().stream().filter(file -> file.endsWith("PacketDecoder.class")).findAny().get();
    assertTrue(constants(packetDecoder).contains("java/nio/ByteBuffer"));
  }

  @Test
  void runsWithoutLoadingTheCoreOfClojure() throws Exception {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xlog:class+load",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                Stream.of(Packet.class, PurityTest.class, RT.class)
                    .map(PurityTest::location)
                    .map(Path::toString)
                    .collect(Collectors.joining(File.pathSeparator)),
                Program.class.getName()));
    for (String file : List.of("events.edn", "actions.edn", "malformed.edn")) {
      for (IPersistentMap golden : Wire.cases(file)) {
        command.add((String) golden.valAt(Wire.key("hex")));
      }
    }
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    process.getOutputStream().close();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);

    assertEquals(
        0,
        process.waitFor(),
        () ->
            output
                .lines()
                .filter(l -> !l.contains("class,load"))
                .collect(Collectors.joining("\n")));
    assertTrue(output.contains("temse.protocol.ActionCodec"), "classes are logged");
    assertTrue(output.contains("clojure.lang.PersistentHashSet"), "classes are logged");
    assertFalse(output.contains("clojure.core"), "the core is loaded");
  }

  /** Uses every part of the protocol on the packets that its arguments spell out. */
  static final class Program {
    private Program() {}

    public static void main(String[] packets) {
      Request request =
          Request.builder()
              .events(EventType.values())
              .optionalEvents(List.of(EventType.values()))
              .optionalActions(List.of(ActionFlag.values()))
              .macros(MacroStage.MAIL, List.of("i", "mail_addr"))
              .build();
      Agreement agreement = Negotiation.agree(Offer.CURRENT, request);
      EventCodec.decode(agreement.packet());
      MacroTable macros = MacroTable.EMPTY;
      int refused = 0;
      for (String hex : packets) {
        for (boolean fromFilter : new boolean[] {false, true}) {
          try {
            Packet packet = Wire.packet(hex);
            if (fromFilter) {
              IPersistentMap action = ActionCodec.decode(packet);
              ActionCodec.encode(action, new Output());
              Legality.check(EventType.END_OF_MESSAGE, ActionCodec.type(action), action, agreement);
              Legality.check(EventType.CONNECT, ActionCodec.type(action), action, agreement);
            } else {
              EventCodec.encode(EventCodec.decode(packet));
              macros = macros.with(packet).after(EventCodec.type(packet));
            }
          } catch (MilterException e) {
            refused += e.getData().count();
          } catch (IllegalArgumentException e) {
            refused++;
          }
        }
      }
      macros.toMap().count();
      macros.get("i");
      for (EventType type : EventType.values()) {
        try {
          Phase.CONNECTED.after(type, false).settle(type, ActionType.REJECT);
        } catch (MilterException e) {
          refused += e.getData().count();
        }
      }
      if (refused == 0) {
        throw new IllegalStateException("nothing was refused, errors were not tried");
      }
    }
  }

  private static List<Path> classFiles() throws IOException {
    try (Stream<Path> files = Files.list(location(Packet.class).resolve("temse/protocol"))) {
      return files.filter(file -> file.toString().endsWith(".class")).toList();
    }
  }

  private static Path location(Class<?> type) {
    try {
      return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Returns the strings of a class file's constant pool (JVM specification, section 4.4). */
  private static List<String> constants(Path classFile) throws IOException {
    List<String> strings = new ArrayList<>();
    try (InputStream stream = Files.newInputStream(classFile);
        DataInputStream data = new DataInputStream(stream)) {
      data.skipNBytes(8);
      int count = data.readUnsignedShort();
      for (int i = 1; i < count; i++) {
        int tag = data.readUnsignedByte();
        switch (tag) {
          case 1 -> strings.add(data.readUTF());
          case 5, 6 -> {
            data.skipNBytes(8);
            i++;
          }
          case 7, 8, 16, 19, 20 -> data.skipNBytes(2);
          case 15 -> data.skipNBytes(3);
          default -> data.skipNBytes(4);
        }
      }
    }
    return strings;
  }
}
