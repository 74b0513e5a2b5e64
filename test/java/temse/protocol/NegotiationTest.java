package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.Arrays;
import java.util.Collection;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class NegotiationTest {
  @TestFactory
  @Tag("F2")
  @Tag("F3")
  @Tag("F4")
  @Tag("F5")
  @Tag("F6")
  @Tag("F7")
  @Tag("F8")
  @Tag("F9")
  @Tag("F11")
  Stream<DynamicTest> goldenOffersGetTheirAnswers() {
    return Wire.cases("negotiation.edn").stream()
        .map(
            golden -> dynamicTest((String) golden.valAt(Wire.key("doc")), () -> negotiate(golden)));
  }

  private static void negotiate(IPersistentMap golden) {
    Packet packet = Wire.packet((String) golden.valAt(Wire.key("offer")));
    Offer offer = Offer.of(EventCodec.decode(packet));
    Request request = request((Map<?, ?>) golden.valAt(Wire.key("request")));
    if (golden.valAt(Wire.key("refused")) instanceof Keyword category) {
      MilterException refusal =
          assertThrows(MilterException.class, () -> Negotiation.agree(offer, request));
      assertEquals(category, refusal.getData().valAt(Keys.ERROR));
      return;
    }
    Agreement agreement = Negotiation.agree(offer, request);
    assertEquals(
        golden.valAt(Wire.key("answer")), Wire.hex(agreement.packet().toBytes()), "the answer");
    if (golden.valAt(Wire.key("events")) instanceof Collection<?> events) {
      assertEquals(new HashSet<>(events), names(agreement.events(), type -> type.keyword));
    }
    if (golden.valAt(Wire.key("actions")) instanceof Collection<?> actions) {
      assertEquals(new HashSet<>(actions), names(agreement.actions(), flag -> flag.keyword));
    }
  }

  @Test
  @Tag("F6")
  void neverAsksForWhatWasNotOffered() {
    Random random = new Random(6);
    for (int i = 0; i < 20_000; i++) {
      Offer offer = new Offer(2 + random.nextInt(6), random.nextInt(), random.nextInt());
      Request request = randomRequest(random);
      Agreement agreement = Negotiation.agree(offer, request);
      assertEquals(0, agreement.actionMask() & ~offer.actions());
      assertEquals(0, agreement.protocolMask() & ~offer.protocol());
      assertEquals(Math.min(6, offer.version()), agreement.version());
    }
  }

  @Test
  void whatEachEventNeedsFollowsFromTheOffer() {
    for (EventType type : EventType.values()) {
      if (type.suppressedBy == null) {
        continue;
      }
      int no = type.suppressedBy.mask;
      int noReply = type.noReplyBy.mask;
      Request unheard = Request.builder().build();
      Request heard = Request.builder().events(type).build();
      Request watched = Request.builder().events(type).noReplyEvents(List.of(type)).build();

      assertEquals(no, asked(type, unheard, no | noReply), "suppressed where it can be");
      assertEquals(noReply, asked(type, unheard, noReply), "else it owes no reply");
      assertEquals(0, asked(type, unheard, 0), "else it is answered");
      assertEquals(0, asked(type, heard, no | noReply), "a handler wants both");
      assertEquals(noReply, asked(type, watched, no | noReply), "a watcher wants to hear");
      assertEquals(0, asked(type, watched, no), "a watcher is answered for");
    }
  }

  private static int asked(EventType type, Request request, int offered) {
    Offer offer = new Offer(6, ActionFlag.ALL, offered | ProtocolFlag.LEADING_SPACE.mask);
    Agreement agreement = Negotiation.agree(offer, request);
    assertEquals(
        type.owesReply() && (agreement.protocolMask() & type.noReplyBy.mask) == 0,
        agreement.owesReply(type));
    assertEquals(
        (agreement.protocolMask() & type.suppressedBy.mask) != 0, agreement.suppresses(type));
    return agreement.protocolMask() & (type.suppressedBy.mask | type.noReplyBy.mask);
  }

  @Test
  void theEventsOfAMessageEndNeverGoWithoutReply() {
    Request request =
        Request.builder()
            .events(EventType.END_OF_MESSAGE)
            .noReplyEvents(List.of(EventType.END_OF_MESSAGE))
            .build();
    assertTrue(Negotiation.agree(Offer.CURRENT, request).owesReply(EventType.END_OF_MESSAGE));
    for (EventType type :
        List.of(EventType.ABORT, EventType.QUIT, EventType.DISCONNECT, EventType.DEFINE_MACRO)) {
      assertFalse(Negotiation.agree(Offer.CURRENT, request).owesReply(type));
    }
  }

  @Test
  void aWatcherMayNotAnswerEvenIfTheMtaWaits() {
    Request request =
        Request.builder()
            .events(EventType.HEADER, EventType.BODY)
            .noReplyEvents(List.of(EventType.HEADER))
            .build();
    Agreement agreement = Negotiation.agree(new Offer(2, 0, 0x7F), request);
    assertTrue(agreement.owesReply(EventType.HEADER));
    assertFalse(agreement.mayAnswer(EventType.HEADER));
    assertTrue(agreement.mayAnswer(EventType.BODY));
  }

  @Test
  void leadingSpaceIsEmulatedWhereItIsWantedAndNotOffered() {
    Request wanted = Request.builder().leadingSpace(true).build();
    Request not = Request.builder().build();
    Offer old = new Offer(2, 0x3F, 0x7F);
    assertTrue(Negotiation.agree(old, wanted).emulatesLeadingSpace());
    assertFalse(Negotiation.agree(Offer.CURRENT, wanted).emulatesLeadingSpace());
    assertFalse(Negotiation.agree(old, not).emulatesLeadingSpace());
  }

  @Test
  void onlyAgreedActionsAreAllowed() {
    Request request = Request.builder().actions(ActionFlag.CHANGE_BODY).build();
    Agreement agreement = Negotiation.agree(Offer.CURRENT, request);
    for (ActionFlag flag : ActionFlag.values()) {
      assertEquals(flag == ActionFlag.CHANGE_BODY, agreement.allows(flag));
    }
    assertTrue(agreement.has(ProtocolFlag.SKIP));
    assertFalse(agreement.has(ProtocolFlag.LEADING_SPACE));
  }

  @Test
  @Tag("F7")
  void refusedActionsAreNamed() {
    Request request =
        Request.builder().actions(ActionFlag.ADD_HEADER, ActionFlag.QUARANTINE).build();
    MilterException refusal =
        assertThrows(
            MilterException.class, () -> Negotiation.agree(new Offer(2, 0x0F, 0x7F), request));
    assertTrue(refusal.getMessage().contains(":quarantine (SMFIF_QUARANTINE)"));
    assertFalse(refusal.getMessage().contains(":add-header"));
    assertEquals(Set.of(Wire.key("quarantine")), refusal.getData().valAt(Wire.key("missing")));
    assertEquals(
        Set.of(Wire.key("quarantine"), Wire.key("add-header")),
        refusal.getData().valAt(Wire.key("requested")));
  }

  @Test
  void refusedEventsAreNamed() {
    Request request = Request.builder().events(EventType.DATA).build();
    MilterException refusal =
        assertThrows(
            MilterException.class, () -> Negotiation.agree(new Offer(3, 0x1FF, 0x17F), request));
    assertEquals(Set.of(Wire.key("data")), refusal.getData().valAt(Wire.key("missing")));
    assertTrue(refusal.getMessage().contains(":optional-events"), refusal.getMessage());
  }

  @Test
  @Tag("F3")
  void refusedVersionsAreNamed() {
    MilterException refusal =
        assertThrows(
            MilterException.class,
            () -> Negotiation.agree(new Offer(1, 0, 0), Request.builder().build()));
    assertEquals(1L, refusal.getData().valAt(Wire.key("offered")));
    assertTrue(refusal.getMessage().contains("version 1"), refusal.getMessage());
  }

  @Test
  void offersMakeTheRoundTrip() {
    assertEquals(Offer.CURRENT, Offer.of(Offer.CURRENT.event()));
    Offer extreme = new Offer(-1, -1, -1);
    assertEquals(extreme, Offer.of(extreme.event()));
  }

  @Test
  void flagsHaveTheValuesOfTheirConstants() {
    Map<String, Integer> expected =
        Map.ofEntries(
            Map.entry("SMFIF_ADDHDRS", 0x1),
            Map.entry("SMFIF_CHGBODY", 0x2),
            Map.entry("SMFIF_ADDRCPT", 0x4),
            Map.entry("SMFIF_DELRCPT", 0x8),
            Map.entry("SMFIF_CHGHDRS", 0x10),
            Map.entry("SMFIF_QUARANTINE", 0x20),
            Map.entry("SMFIF_CHGFROM", 0x40),
            Map.entry("SMFIF_ADDRCPT_PAR", 0x80),
            Map.entry("SMFIF_SETSYMLIST", 0x100));
    assertEquals(
        expected,
        Arrays.stream(ActionFlag.values())
            .collect(Collectors.toMap(flag -> flag.constant, flag -> flag.mask)));
    Map<String, Integer> protocol =
        Map.ofEntries(
            Map.entry("SMFIP_NOCONNECT", 0x1),
            Map.entry("SMFIP_NOHELO", 0x2),
            Map.entry("SMFIP_NOMAIL", 0x4),
            Map.entry("SMFIP_NORCPT", 0x8),
            Map.entry("SMFIP_NOBODY", 0x10),
            Map.entry("SMFIP_NOHDRS", 0x20),
            Map.entry("SMFIP_NOEOH", 0x40),
            Map.entry("SMFIP_NR_HDR", 0x80),
            Map.entry("SMFIP_NOUNKNOWN", 0x100),
            Map.entry("SMFIP_NODATA", 0x200),
            Map.entry("SMFIP_SKIP", 0x400),
            Map.entry("SMFIP_RCPT_REJ", 0x800),
            Map.entry("SMFIP_NR_CONN", 0x1000),
            Map.entry("SMFIP_NR_HELO", 0x2000),
            Map.entry("SMFIP_NR_MAIL", 0x4000),
            Map.entry("SMFIP_NR_RCPT", 0x8000),
            Map.entry("SMFIP_NR_DATA", 0x10000),
            Map.entry("SMFIP_NR_UNKN", 0x20000),
            Map.entry("SMFIP_NR_EOH", 0x40000),
            Map.entry("SMFIP_NR_BODY", 0x80000),
            Map.entry("SMFIP_HDR_LEADSPC", 0x100000),
            Map.entry("SMFIP_MDS_256K", 0x10000000),
            Map.entry("SMFIP_MDS_1M", 0x20000000));
    assertEquals(
        protocol,
        Arrays.stream(ProtocolFlag.values())
            .collect(Collectors.toMap(flag -> flag.constant, flag -> flag.mask)));
  }

  @Test
  void flagsAreFoundByTheirKeywordsAndMasks() {
    for (ActionFlag flag : ActionFlag.values()) {
      assertEquals(flag, ActionFlag.ofKeyword(flag.keyword));
      assertEquals(Set.of(flag), ActionFlag.ofMask(flag.mask));
    }
    for (ProtocolFlag flag : ProtocolFlag.values()) {
      assertEquals(flag, ProtocolFlag.ofKeyword(flag.keyword));
      assertEquals(Set.of(flag), ProtocolFlag.ofMask(flag.mask));
    }
    assertEquals(ActionFlag.ALL, ActionFlag.mask(EnumSet.allOf(ActionFlag.class)));
    assertEquals(null, ActionFlag.ofKeyword(Wire.key("no-such-flag")));
    assertEquals(null, ProtocolFlag.ofKeyword(Wire.key("no-such-flag")));
  }

  @Test
  @Tag("F10")
  void stagesAreFoundByTheirNumbersLettersAndKeywords() {
    MacroStage[] byId = {
      MacroStage.CONNECT,
      MacroStage.HELLO,
      MacroStage.MAIL,
      MacroStage.RECIPIENT,
      MacroStage.DATA,
      MacroStage.END_OF_MESSAGE,
      MacroStage.END_OF_HEADERS
    };
    for (int id = 0; id < byId.length; id++) {
      assertEquals(byId[id], MacroStage.ofId(id));
      assertEquals(byId[id], MacroStage.ofLetter((byte) "CHMRTEN".charAt(id)));
      assertEquals(byId[id], MacroStage.ofKeyword(byId[id].keyword));
    }
    assertEquals(null, MacroStage.ofId(7));
    assertEquals(null, MacroStage.ofId(-1));
    assertEquals(null, MacroStage.ofKeyword(Wire.key("body")));
  }

  private static Request randomRequest(Random random) {
    Request.Builder builder =
        Request.builder()
            .rejectedRecipients(random.nextBoolean())
            .leadingSpace(random.nextBoolean());
    for (EventType type : EventType.values()) {
      if (random.nextBoolean()) {
        builder.events(type).optionalEvents(List.of(type));
      }
      if (random.nextBoolean()) {
        builder.noReplyEvents(List.of(type));
      }
    }
    for (ActionFlag flag : ActionFlag.values()) {
      if (random.nextBoolean()) {
        builder.optionalActions(List.of(flag));
      }
    }
    return random.nextBoolean()
        ? builder.macros(MacroStage.MAIL, List.of("i")).build()
        : builder.build();
  }

  @Test
  void aPayloadSizeIsAgreedOnlyIfPacketsOfThatSizeAreAccepted() {
    int both = ProtocolFlag.PAYLOAD_256K.mask | ProtocolFlag.PAYLOAD_1M.mask;
    Map<Integer, Integer> agreed =
        Map.of(
            1,
            65535,
            262142,
            65535,
            262143,
            262143,
            1048574,
            262143,
            1048575,
            1048575,
            Integer.MAX_VALUE,
            1048575);
    Request request = Request.builder().build();
    agreed.forEach(
        (accepted, size) ->
            assertEquals(
                size,
                Negotiation.agree(
                        new Offer(6, ActionFlag.ALL, ProtocolFlag.ALL | both), request, accepted)
                    .maximumPayload(),
                accepted + " accepted"));
    Offer largeOnly = new Offer(6, ActionFlag.ALL, ProtocolFlag.PAYLOAD_1M.mask);
    assertEquals(65535, Negotiation.agree(largeOnly, request, 300_000).maximumPayload());
    assertEquals(1048575, Negotiation.agree(largeOnly, request).maximumPayload());
  }

  private static Request request(Map<?, ?> wanted) {
    Request.Builder builder =
        Request.builder()
            .events(all(wanted, "events", EventType::ofKeyword))
            .optionalEvents(all(wanted, "optional-events", EventType::ofKeyword))
            .noReplyEvents(all(wanted, "no-reply-events", EventType::ofKeyword))
            .actions(all(wanted, "actions", ActionFlag::ofKeyword))
            .optionalActions(all(wanted, "optional-actions", ActionFlag::ofKeyword))
            .rejectedRecipients(wanted.get(Wire.key("rejected-recipients")) != null)
            .leadingSpace(wanted.get(Wire.key("leading-space")) != null);
    if (wanted.get(Wire.key("macros")) instanceof Map<?, ?> lists) {
      lists.forEach(
          (stage, names) ->
              builder.macros(
                  MacroStage.ofKeyword(stage),
                  ((List<?>) names).stream().map(String.class::cast).toList()));
    }
    return builder.build();
  }

  private static <T> List<T> all(Map<?, ?> wanted, String key, Function<Object, T> ofKeyword) {
    Object keywords = wanted.get(Wire.key(key));
    return keywords == null
        ? List.of()
        : ((Collection<?>) keywords).stream().map(ofKeyword::apply).toList();
  }

  private static <T> Set<Object> names(Set<T> values, Function<T, Object> keyword) {
    return values.stream().map(keyword).collect(Collectors.toSet());
  }
}
