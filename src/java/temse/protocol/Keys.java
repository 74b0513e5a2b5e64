package temse.protocol;

import clojure.lang.Keyword;

/**
 * The keywords of event maps, action maps and error data.
 *
 * <p>Keywords of events, actions, flags and macro stages are held by their enums: {@link
 * EventType#keyword}, {@link ActionType#keyword}, {@link ActionFlag#keyword}, {@link
 * ProtocolFlag#keyword}, {@link MacroStage#keyword}.
 */
public final class Keys {
  public static final Keyword EVENT = Keyword.intern("event");
  public static final Keyword ACTION = Keyword.intern("action");

  public static final Keyword VERSION = Keyword.intern("version");
  public static final Keyword ACTIONS = Keyword.intern("actions");
  public static final Keyword PROTOCOL = Keyword.intern("protocol");
  public static final Keyword ACTION_MASK = Keyword.intern("action-mask");
  public static final Keyword PROTOCOL_MASK = Keyword.intern("protocol-mask");
  public static final Keyword MACROS = Keyword.intern("macros");

  public static final Keyword STAGE = Keyword.intern("stage");
  public static final Keyword COMMAND = Keyword.intern("command");
  public static final Keyword DEFINITIONS = Keyword.intern("definitions");

  public static final Keyword HOST_NAME = Keyword.intern("host-name");
  public static final Keyword FAMILY = Keyword.intern("family");
  public static final Keyword PORT = Keyword.intern("port");
  public static final Keyword ADDRESS = Keyword.intern("address");
  public static final Keyword GREETING = Keyword.intern("greeting");
  public static final Keyword SENDER = Keyword.intern("sender");
  public static final Keyword OPTIONS = Keyword.intern("options");
  public static final Keyword NAME = Keyword.intern("name");
  public static final Keyword VALUE = Keyword.intern("value");
  public static final Keyword INDEX = Keyword.intern("index");
  public static final Keyword DATA = Keyword.intern("data");
  public static final Keyword REASON = Keyword.intern("reason");

  public static final Keyword SMTP_CODE = Keyword.intern("smtp-code");
  public static final Keyword ENHANCED_CODE = Keyword.intern("enhanced-code");
  public static final Keyword TEXT = Keyword.intern("text");
  public static final Keyword POSITION = Keyword.intern("position");
  public static final Keyword BODY = Keyword.intern("body");
  public static final Keyword PARAMETERS = Keyword.intern("parameters");
  public static final Keyword RECIPIENTS = Keyword.intern("recipients");
  public static final Keyword HEADERS = Keyword.intern("headers");

  /** The key under which {@code ex-data} of every exception of ours holds its category. */
  public static final Keyword ERROR = Keyword.intern("milter", "error");

  /** Metadata key of an event map that holds the packet's exact payload. */
  public static final Keyword PAYLOAD = Keyword.intern("milter", "payload");

  private Keys() {}
}
