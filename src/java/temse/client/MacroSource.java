package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroStage;

/** The macros that an MTA knows at each moment, and the packets in which it sends them. */
final class MacroSource {
  private final MtaOptions options;
  private final Map<MacroStage, List<String>> names;
  private final Map<String, String> values = new HashMap<>();
  private final Map<String, String> defined = new HashMap<>();
  private final Set<Byte> sentByCaller = new HashSet<>();
  private int messages;
  private boolean silent;

  MacroSource(MtaOptions options) {
    this.options = options;
    this.names = new HashMap<>(options.style().macroNames);
    put("j", MtaOptions.HOST_NAME);
    put("daemon_name", options.style() == MtaStyle.POSTFIX ? MtaOptions.HOST_NAME : "MTA");
    put("daemon_addr", "127.0.0.1");
    put("v", options.style() == MtaStyle.POSTFIX ? "Postfix 3.7.11" : "8.17.1");
    put("if_name", MtaOptions.HOST_NAME);
  }

  /** Takes over the macro lists of the milter's answer; an empty list is none to Postfix. */
  void requested(Map<?, ?> lists) {
    lists.forEach(
        (stage, list) -> {
          List<String> wanted = ((List<?>) list).stream().map(String.class::cast).toList();
          if (!wanted.isEmpty() || options.style() == MtaStyle.SENDMAIL) {
            names.put(MacroStage.ofKeyword(stage), wanted);
          }
        });
  }

  /** Gives a macro a value from now on, and returns false if it is sent at no stage. */
  boolean define(String name, String value) {
    defined.put(bareName(name), value);
    return names.values().stream().anyMatch(list -> lists(list, name));
  }

  /** Sends nothing from now on. */
  void silence() {
    silent = true;
  }

  /** Learns from an event that is about to be sent. */
  void learn(EventType type, IPersistentMap event) {
    switch (type) {
      case DEFINE_MACRO -> sentByCaller.add((byte) (char) event.valAt(Keys.COMMAND));
      case CONNECT -> {
        Object address = event.valAt(Keys.ADDRESS);
        put("client_name", event.valAt(Keys.HOST_NAME));
        put("client_addr", address);
        put("client_port", event.valAt(Keys.PORT));
        put("_", event.valAt(Keys.HOST_NAME) + " [" + address + "]");
      }
      case MAIL -> {
        messages++;
        String sender = bare((String) event.valAt(Keys.SENDER));
        put("mail_addr", sender);
        put("mail_host", sender.substring(sender.lastIndexOf('@') + 1));
        put("mail_mailer", "smtp");
        put("i", options.style() == MtaStyle.SENDMAIL ? queueId() : null);
      }
      case RECIPIENT -> {
        String recipient = bare((String) event.valAt(Keys.ADDRESS));
        put("rcpt_addr", recipient);
        put("rcpt_host", recipient.substring(recipient.lastIndexOf('@') + 1));
        put("rcpt_mailer", "smtp");
      }
      default -> {}
    }
  }

  /** Learns that a recipient was accepted: Postfix knows its queue id from then on. */
  void recipientAccepted() {
    put("i", queueId());
  }

  /**
   * Returns the {@code :define-macro} event that precedes an event of the type, or null; none does
   * where the caller has just sent one.
   */
  IPersistentMap before(EventType type) {
    if (sentByCaller.remove(type.code) || silent) {
      return null;
    }
    MacroStage stage =
        switch (type) {
          case HEADER -> MacroStage.END_OF_HEADERS;
          case BODY -> MacroStage.END_OF_MESSAGE;
          default -> MacroStage.ofLetter(type.code);
        };
    boolean postfix = options.style() == MtaStyle.POSTFIX;
    boolean own = stage != null && stage.letter == type.code;
    if (!own && !postfix || !type.owesReply()) {
      return null;
    }
    Map<String, String> definitions = new LinkedHashMap<>();
    for (String name : stage == null ? List.<String>of() : names.getOrDefault(stage, List.of())) {
      String value = value(name);
      if (value != null) {
        definitions.put(name, value);
      }
    }
    if (stage != null) {
      definitions.putAll(given(stage));
    }
    boolean listed = stage != null && !names.getOrDefault(stage, List.of()).isEmpty();
    return definitions.isEmpty() && !postfix && !listed ? null : event(type, definitions);
  }

  /**
   * Returns the macros that are sent at a stage whatever its list names, but those that it does.
   */
  private Map<String, String> given(MacroStage stage) {
    Map<String, String> given = new LinkedHashMap<>();
    if (stage == MacroStage.CONNECT) {
      options
          .macros()
          .forEach(
              (name, value) -> {
                if (names.values().stream().noneMatch(list -> lists(list, name))) {
                  given.put(name, value);
                }
              });
    }
    given.putAll(options.stageMacros().getOrDefault(stage, Map.of()));
    return given;
  }

  private static boolean lists(List<String> names, String name) {
    return names.stream().anyMatch(listed -> bareName(listed).equals(bareName(name)));
  }

  private static IPersistentMap event(EventType type, Map<String, String> definitions) {
    IPersistentMap map = PersistentArrayMap.EMPTY;
    for (Map.Entry<String, String> definition : definitions.entrySet()) {
      map = map.assoc(definition.getKey(), definition.getValue());
    }
    return EventCodec.event(
        EventType.DEFINE_MACRO,
        Keys.STAGE,
        type.keyword,
        Keys.COMMAND,
        (char) type.code,
        Keys.DEFINITIONS,
        map);
  }

  private String value(String name) {
    String bare = bareName(name);
    if (defined.containsKey(bare)) {
      return defined.get(bare);
    }
    for (Map.Entry<String, String> macro : options.macros().entrySet()) {
      if (bareName(macro.getKey()).equals(bare)) {
        return macro.getValue();
      }
    }
    return values.get(bare);
  }

  private void put(String name, Object value) {
    values.put(name, value == null ? null : value.toString());
  }

  /** Returns the queue id of the message that was begun last. */
  String queueId() {
    return String.format(Locale.ROOT, "4TEMSE%04X", messages);
  }

  private static String bareName(String name) {
    return name.startsWith("{") && name.endsWith("}") ? name.substring(1, name.length() - 1) : name;
  }

  private static String bare(String address) {
    return address.startsWith("<") && address.endsWith(">")
        ? address.substring(1, address.length() - 1)
        : address;
  }
}
