package temse.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.ActionType;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Offer;
import temse.protocol.ProtocolFlag;

/** The MTA's side against a milter of written packets. */
class MtaSessionTest {
  private static final String CONNECT = "Cclient.example.org|4\u009c\u00ae192.0.2.1|";
  private static final String HELO = "Hclient.example.org|";

  private static Mail mail(String message) {
    return Mail.parse(
        "<a@example.org>",
        List.of("<b@example.com>", "<c@example.com>"),
        message.getBytes(StandardCharsets.ISO_8859_1));
  }

  private static final Mail MAIL = mail("Subject: hi\n\ntext\n");

  private static MtaSession sendmail(ScriptedWire milter) throws IOException {
    return new MtaSession(milter, MtaOptions.SENDMAIL);
  }

  private static MtaSession postfix(ScriptedWire milter) throws IOException {
    return new MtaSession(milter, MtaOptions.POSTFIX);
  }

  private static String name(Object keyword) {
    return ((Keyword) keyword).getName();
  }

  private static String verdict(IPersistentMap report) {
    return name(report.valAt(Keyword.intern("verdict")))
        + " at "
        + name(report.valAt(Keyword.intern("at")));
  }

  private static List<String> modifications(IPersistentMap report) {
    return ((List<?>) report.valAt(Keyword.intern("modifications")))
        .stream().map(action -> name(((IPersistentMap) action).valAt(Keys.ACTION))).toList();
  }

  private static IPersistentMap helo() {
    return EventCodec.event(EventType.HELLO, Keys.GREETING, "client.example.org");
  }

  @Test
  @Tag("M1")
  void theOfferComesFirstWithTwelveBytes() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    sendmail(milter);

    assertEquals(
        List.of(ScriptedWire.options(6, 0x1FF, 0x1FFFFF).replace('\0', '|')), milter.written());
  }

  @ParameterizedTest
  @ValueSource(strings = {"c", "O|||\6|||\1|||", "O"})
  @Tag("M2")
  void anAnswerThatIsNoneFailsTheConnection(String answer) {
    ScriptedWire milter = new ScriptedWire(answer);

    assertThrows(MilterException.class, () -> sendmail(milter));
    assertTrue(milter.isClosed());
  }

  @Test
  @Tag("M2")
  void aMilterThatClosesInsteadOfAnsweringFailsTheConnection() {
    ScriptedWire milter = new ScriptedWire(ScriptedWire.CLOSES);

    assertThrows(IOException.class, () -> sendmail(milter));
    assertTrue(milter.isClosed());
  }

  @Test
  @Tag("M3")
  void aVersionAboveTheOfferedFailsWithPostfixAndPassesWithSendmail() throws IOException {
    assertThrows(MilterException.class, () -> postfix(new ScriptedWire(7, 0, 0)));
    assertEquals(7L, sendmail(new ScriptedWire(7, 0, 0)).agreement().valAt(Keys.VERSION));
  }

  @Test
  @Tag("M4")
  void anAnswerThatWantsActionsThatWereNotOfferedFails() {
    MtaOptions modest = MtaOptions.SENDMAIL.withOffer(new Offer(6, 0x01, 0x1FFFFF));

    assertThrows(MilterException.class, () -> new MtaSession(new ScriptedWire(6, 0x02, 0), modest));
  }

  @Test
  @Tag("M5")
  @Tag("M10")
  void macroListsOfTheAnswerReplaceTheUsualOnes() throws IOException {
    String lists = "|||\2{mail_addr} {unheard_of}|" + "|||\3|";
    ScriptedWire strict = new ScriptedWire(ScriptedWire.options(6, 0x100, 0) + lists);
    sendmail(strict).deliver(MAIL);
    List<String> packets = strict.written();
    assertTrue(packets.contains("DM{mail_addr}|a@example.org|"), packets.toString());
    assertFalse(packets.stream().anyMatch(packet -> packet.startsWith("DR")), "an empty list");

    ScriptedWire lenient = new ScriptedWire(ScriptedWire.options(6, 0x100, 0) + lists);
    postfix(lenient).deliver(MAIL);
    packets = lenient.written();
    assertTrue(packets.contains("DM{mail_addr}|a@example.org|"), packets.toString());
    assertTrue(
        packets.stream().anyMatch(packet -> packet.startsWith("DR{rcpt_addr}|b@example.com|")),
        "to Postfix an empty list is none: " + packets);
  }

  @Test
  @Tag("M6")
  void suppressedEventsAreNotSent() throws IOException {
    ScriptedWire milter = new ScriptedWire(6, 0, 0x37F);
    IPersistentMap report = sendmail(milter).deliver(MAIL);

    assertEquals(List.of("E"), milter.commands().subList(1, 2));
    assertEquals("accept at end-of-message", verdict(report));
  }

  @ParameterizedTest
  @EnumSource(MtaStyle.class)
  @Tag("M9")
  void theMacrosOfSuppressedCommandsAreSentAllTheSame(MtaStyle style) throws IOException {
    ScriptedWire milter = new ScriptedWire(6, 0, 0x37F);
    new MtaSession(milter, options(style)).deliver(MAIL);

    String stages =
        milter.written().stream()
            .filter(packet -> packet.startsWith("D"))
            .map(packet -> packet.substring(1, 2))
            .reduce("", String::concat);
    assertEquals(style == MtaStyle.POSTFIX ? "CHMRRTE" : "CHMRRE", stages);
  }

  @Test
  @Tag("M7")
  void noReplyIsAwaitedWhereNoneIsDue() throws IOException {
    ScriptedWire milter = new ScriptedWire(6, 0, 0xFF080);
    for (char code : "CHMRRTLNB".toCharArray()) {
      milter.on(code);
    }
    assertEquals("accept at end-of-message", verdict(sendmail(milter).deliver(MAIL)));
  }

  @ParameterizedTest
  @CsvSource({"2,false,false", "3,false,true", "4,true,true", "6,true,true"})
  @Tag("M8")
  void eventsThatTheVersionLacksAreNotSent(int version, boolean data, boolean unknown)
      throws IOException {
    ScriptedWire milter = new ScriptedWire(version, 0, 0);
    MtaSession mta = sendmail(milter);
    mta.send(EventCodec.event(EventType.UNKNOWN, Keys.COMMAND, "FOO"));
    mta.deliver(MAIL);

    List<String> packets = milter.written();
    assertEquals(data, packets.contains("T"));
    assertEquals(unknown, packets.contains("UFOO|"));
  }

  @Test
  @Tag("M9")
  void macrosComeRightBeforeTheirCommandWithItsLetter() throws IOException {
    for (MtaOptions options : List.of(MtaOptions.POSTFIX, MtaOptions.SENDMAIL)) {
      ScriptedWire milter = new ScriptedWire();
      new MtaSession(milter, options).deliver(MAIL);
      List<String> packets = milter.written();
      for (int i = 0; i < packets.size(); i++) {
        if (packets.get(i).startsWith("D")) {
          assertEquals(packets.get(i).charAt(1), packets.get(i + 1).charAt(0), packets.toString());
        } else if (options == MtaOptions.POSTFIX
            && "CHMRTLNBE".indexOf(packets.get(i).charAt(0)) >= 0) {
          assertTrue(packets.get(i - 1).startsWith("D"), packets.toString());
        }
      }
    }
  }

  @Test
  @Tag("M10")
  void definedMacrosAreSentAndUndefinedOnesLeftOut() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    MtaSession mta =
        new MtaSession(milter, MtaOptions.SENDMAIL.withMacros(Map.of("auth_authen", "ann")));
    mta.deliver(MAIL);

    assertTrue(
        milter
            .written()
            .contains(
                "DMi|4TEMSE0001|{auth_authen}|ann|{mail_mailer}|smtp|{mail_host}|example.org|"
                    + "{mail_addr}|a@example.org|"));
  }

  @Test
  @Tag("M11")
  @Tag("M12")
  void headersTravelAsTheLeadingSpaceFlagSays() throws IOException {
    Mail folded = mail("A: one\nB:  two\nC: x\n  y\n\n");
    ScriptedWire without = new ScriptedWire();
    sendmail(without).deliver(folded);
    assertEquals(List.of("LA|one|", "LB| two|", "LC|x\n  y|"), headers(without));

    ScriptedWire with = new ScriptedWire(6, 0, ProtocolFlag.LEADING_SPACE.mask);
    sendmail(with).deliver(folded);
    assertEquals(List.of("LA| one|", "LB|  two|", "LC| x\n  y|"), headers(with));
  }

  private static List<String> headers(ScriptedWire milter) {
    return milter.written().stream().filter(packet -> packet.startsWith("L")).toList();
  }

  @Test
  @Tag("M13")
  @Tag("M14")
  void theBodyTravelsInPiecesAndTheEndOfMessageIsEmpty() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    sendmail(milter).deliver(mail("\n" + "x".repeat(65535 * 2) + "\n"));

    List<String> packets = milter.commands();
    assertEquals(
        List.of(65536, 65536, 3, 1),
        packets.subList(packets.size() - 4, packets.size()).stream().map(String::length).toList());
    assertEquals("E", packets.get(packets.size() - 1));
  }

  @Test
  @Tag("M13")
  void anEmptyBodyIsNotSent() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    sendmail(milter).deliver(mail("Subject: hi\n\n"));

    assertFalse(milter.written().stream().anyMatch(packet -> packet.startsWith("B")));
  }

  @Test
  @Tag("M15")
  @Tag("M16")
  @Tag("M17")
  void modificationsAreTakenInOrderUpToTheFinalReply() throws IOException {
    ScriptedWire milter =
        new ScriptedWire().on('E', "hX|y|", "p", "bnew", "b text", "p", "qwhy|", "c");
    IPersistentMap report = sendmail(milter).deliver(MAIL);

    assertEquals("accept at end-of-message", verdict(report));
    assertEquals(List.of("add-header", "change-body", "quarantine"), modifications(report));
    List<?> list = (List<?>) report.valAt(Keyword.intern("modifications"));
    assertEquals(
        "new text",
        new String(
            (byte[]) ((IPersistentMap) list.get(1)).valAt(Keys.BODY), StandardCharsets.US_ASCII));
  }

  @ParameterizedTest
  @CsvSource({
    "M,a,accept", "M,r,reject", "M,t,temporary-failure", "M,d,discard",
    "T,a,accept", "L,r,reject", "N,t,temporary-failure", "B,d,discard"
  })
  @Tag("M18")
  void afterAVerdictNothingMoreOfTheMessageIsSent(char at, String reply, String verdict)
      throws IOException {
    ScriptedWire milter = new ScriptedWire().on(at, reply);
    IPersistentMap report = sendmail(milter).deliver(MAIL);

    List<String> packets = milter.commands();
    assertEquals(at, packets.get(packets.size() - 1).charAt(0));
    assertTrue(verdict(report).startsWith(verdict + " at "), verdict(report));
  }

  @Test
  @Tag("M19")
  void afterSkipTheEndOfTheMessageFollows() throws IOException {
    ScriptedWire milter = new ScriptedWire().on('B', "s");
    IPersistentMap report = sendmail(milter).deliver(mail("\n" + "x".repeat(65535 * 3) + "\n"));

    assertEquals(1, milter.written().stream().filter(packet -> packet.startsWith("B")).count());
    assertEquals("accept at end-of-message", verdict(report));
  }

  @Test
  @Tag("M20")
  void aRefusedRecipientIsOneRecipientLess() throws IOException {
    ScriptedWire milter = new ScriptedWire().on('R', "r");
    IPersistentMap report = sendmail(milter).deliver(MAIL);

    assertEquals("accept at end-of-message", verdict(report));
    Map<?, ?> recipients = (Map<?, ?>) report.valAt(Keys.RECIPIENTS);
    assertEquals(
        "reject", name(((IPersistentMap) recipients.get("<b@example.com>")).valAt(Keys.ACTION)));
    assertEquals(
        "continue", name(((IPersistentMap) recipients.get("<c@example.com>")).valAt(Keys.ACTION)));
  }

  @Test
  @Tag("M20")
  void aMessageWithoutAnAcceptedRecipientIsOver() throws IOException {
    ScriptedWire milter = new ScriptedWire().on('R', "r").on('R', "y550 5.1.1 who|");
    IPersistentMap report = sendmail(milter).deliver(MAIL);

    assertEquals("reject at recipient", verdict(report));
    assertFalse(milter.written().contains("T"));
  }

  @ParameterizedTest
  @CsvSource({"C,a,accept at connect", "C,r,reject at connect", "H,a,accept at hello"})
  @Tag("M21")
  void aVerdictOnTheConnectionHoldsForAllItsMail(char at, String reply, String verdict)
      throws IOException {
    ScriptedWire milter = new ScriptedWire().on(at, reply);
    MtaSession mta = sendmail(milter);

    assertEquals(verdict, verdict(mta.deliver(MAIL)));
    assertEquals(verdict, verdict(mta.deliver(MAIL)));
    assertFalse(milter.written().stream().anyMatch(packet -> packet.startsWith("M")));
  }

  @Test
  @Tag("M25")
  void aReplyThatDoesNotComeInTimeEndsTheConnection() throws IOException {
    ScriptedWire milter = new ScriptedWire().on('H');
    MtaSession mta = sendmail(milter);

    assertThrows(IOException.class, () -> mta.send(helo()));
    assertTrue(milter.isClosed());
    assertThrows(
        IOException.class, () -> mta.send(helo()), "a late reply is not taken for another");
    mta.close();
  }

  @Test
  void aMilterThatClosesInsteadOfReplyingEndsTheConnection() throws IOException {
    ScriptedWire milter = new ScriptedWire().on('H', ScriptedWire.CLOSES);
    MtaSession mta = sendmail(milter);

    assertThrows(IOException.class, () -> mta.send(helo()));
    assertTrue(milter.isClosed());
  }

  @ParameterizedTest
  @ValueSource(strings = {"?", "hX|y|", "qwhy|", "bnew", "+<x>|"})
  @Tag("M29")
  void aReplyThatBreaksTheProtocolEndsTheConnection(String reply) throws IOException {
    ScriptedWire milter = new ScriptedWire().on('H', reply, "c");
    MtaSession mta = sendmail(milter);

    assertThrows(MilterException.class, () -> mta.send(helo()));
    assertTrue(milter.isClosed());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "y250 2.0.0 fine|; 451 4.3.5; reject",
        "yoops|; 451 4.3.5; reject",
        "y550 4.7.1 another class|; 451 4.3.5; 550 4.7.1",
        "y550 5.7.1 100%|; 550 5.7.1; reject",
        "y550-5.7.1 one|; 550 5.7.1; 550 5.7.1",
        "y550 5.7.1 a\tb\u0001|; 550 5.7.1; 550 5.7.1"
      })
  @Tag("M22")
  void aReplyTextIsTakenAsTheMtaTakesItAndRemarkedUpon(
      String reply, String postfix, String sendmail) throws IOException {
    IPersistentMap report = postfix(new ScriptedWire().on('H', reply)).deliver(MAIL);
    assertEquals(postfix, reply(report));
    assertEquals(List.of("malformed-reply"), remarks(report));

    report = sendmail(new ScriptedWire().on('H', reply)).deliver(MAIL);
    assertEquals(sendmail, reply(report));
    assertEquals(List.of("malformed-reply"), remarks(report));
  }

  private static String reply(IPersistentMap report) {
    IPersistentMap reply = (IPersistentMap) report.valAt(Keyword.intern("reply"));
    return reply.valAt(Keys.SMTP_CODE) == null
        ? name(reply.valAt(Keys.ACTION))
        : reply.valAt(Keys.SMTP_CODE) + " " + reply.valAt(Keys.ENHANCED_CODE);
  }

  private static List<String> remarks(IPersistentMap report) {
    return report.valAt(Keyword.intern("remarks")) instanceof List<?> list
        ? list.stream()
            .map(remark -> name(((IPersistentMap) remark).valAt(Keyword.intern("remark"))))
            .toList()
        : List.of();
  }

  @Test
  void aBodyThatIsMixedWithOtherChangesDefersOnPostfixAndPassesOnSendmail() throws IOException {
    String[] answer = {"bone", "hX|y|", "btwo", "c"};
    ScriptedWire milter = new ScriptedWire().on('E', answer);
    MtaSession mta = postfix(milter);
    IPersistentMap report = mta.deliver(MAIL);
    assertEquals("temporary-failure at end-of-message", verdict(report));
    assertEquals("451 4.3.5", reply(report));
    assertEquals(List.of("mixed-body"), remarks(report));
    assertTrue(milter.isClosed());
    report = mta.deliver(MAIL);
    assertEquals("temporary-failure at mail", verdict(report));
    assertEquals("451 4.3.5", reply(report));

    report = sendmail(new ScriptedWire().on('E', answer)).deliver(MAIL);
    assertEquals("accept at end-of-message", verdict(report));
    assertEquals(List.of("change-body", "add-header"), modifications(report));
    assertEquals(List.of(), remarks(report));
  }

  @Test
  void aQuarantineBeforeTheEndOfMessageHoldsOnPostfixAndDefersOnSendmail() throws IOException {
    IPersistentMap report = postfix(new ScriptedWire().on('L', "qwhy|", "c")).deliver(MAIL);
    assertEquals("accept at end-of-message", verdict(report));
    assertEquals(List.of("early-quarantine"), remarks(report));

    report = sendmail(new ScriptedWire().on('L', "qwhy|", "c")).deliver(MAIL);
    assertEquals("temporary-failure at header", verdict(report));
    assertEquals(List.of("bogus-answer"), remarks(report));
  }

  @ParameterizedTest
  @EnumSource(MtaStyle.class)
  void aReplyTooManyAnswersTheNextEvent(MtaStyle style) throws IOException {
    ScriptedWire milter = new ScriptedWire().on('L', "c", "r");
    IPersistentMap report = new MtaSession(milter, options(style)).deliver(MAIL);

    assertEquals("reject at end-of-headers", verdict(report));
    assertTrue(remarks(report).contains("surplus-reply"), remarks(report).toString());
  }

  @ParameterizedTest
  @EnumSource(MtaStyle.class)
  void aCarriageReturnInAValueIsRemarkedUpon(MtaStyle style) throws IOException {
    ScriptedWire milter = new ScriptedWire().on('E', "hX|a\r\n b|", "c");
    IPersistentMap report = new MtaSession(milter, options(style)).deliver(MAIL);

    assertEquals("accept at end-of-message", verdict(report));
    assertEquals(List.of("carriage-return"), remarks(report));
  }

  private static MtaOptions options(MtaStyle style) {
    return style == MtaStyle.POSTFIX ? MtaOptions.POSTFIX : MtaOptions.SENDMAIL;
  }

  @ParameterizedTest
  @CsvSource({"C,OC", "H,OCH"})
  void postfixClosesWithoutAWordAfterAVerdictOnTheClient(char at, String said) throws IOException {
    for (String reply : List.of("a", "r", "t", "y421 4.7.0 bye|")) {
      ScriptedWire milter = new ScriptedWire().on(at, reply);
      MtaSession mta = postfix(milter);
      mta.deliver(MAIL);
      mta.close();
      assertEquals(said, letters(milter));
      assertTrue(milter.isClosed());
    }
  }

  @ParameterizedTest
  @CsvSource({"M,OCHM", "R,OCHMR", "T,OCHMRRT", "L,OCHMRRTL", "E,OCHMRRTLNBE"})
  void bothMtasHangUpAtA421(char at, String said) throws IOException {
    for (MtaStyle style : MtaStyle.values()) {
      ScriptedWire milter = new ScriptedWire().on(at, "y421 4.7.0 bye|");
      MtaSession mta = new MtaSession(milter, options(style));
      assertTrue(verdict(mta.deliver(MAIL)).startsWith("temporary-failure at "));
      assertTrue(milter.isClosed());
      assertEquals(said + (style == MtaStyle.POSTFIX ? "AQ" : "Q"), letters(milter));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"y550 |", "y550 5.7.1|", "y550 5.7.1 |", "y550-5.7.1 100%%\r\n550 5.7.1 two|"})
  @Tag("M22")
  void replyTextsOfLibmilterAreTaken(String reply) throws IOException {
    MtaSession mta = sendmail(new ScriptedWire().on('H', reply));

    assertEquals(ActionType.REPLY_CODE.keyword, mta.send(helo()).get(0).valAt(Keys.ACTION));
  }

  @Test
  @Tag("M29")
  void aModificationThatWasNotAgreedIsMadeAllTheSameButForABodyOnSendmail() throws IOException {
    IPersistentMap report =
        postfix(new ScriptedWire(6, 0x01, 0).on('E', "bnew", "c")).deliver(MAIL);
    assertEquals("accept at end-of-message", verdict(report));
    assertEquals(List.of("not-agreed"), remarks(report));

    report = sendmail(new ScriptedWire(6, 0x01, 0).on('E', "+<x@y>|", "c")).deliver(MAIL);
    assertEquals(List.of("add-recipient"), modifications(report));
    assertEquals(List.of("not-agreed"), remarks(report));

    ScriptedWire milter = new ScriptedWire(6, 0x01, 0).on('E', "bnew", "c");
    report = sendmail(milter).deliver(MAIL);
    assertEquals("temporary-failure at end-of-message", verdict(report));
    assertEquals(List.of("bogus-answer"), remarks(report));
    assertTrue(milter.isClosed());
  }

  @Test
  void anEventThatCannotTravelIsTheCallersMistakeAndTheConnectionLivesOn() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    MtaSession mta = sendmail(milter);

    assertThrows(
        MilterException.class,
        () -> mta.send(EventCodec.event(EventType.HELLO, Keys.GREETING, "a\0b")));
    assertEquals(1, mta.send(helo()).size());
  }

  @Test
  @Tag("M26")
  @Tag("M28")
  void postfixAbortsAfterEveryMessageAndBeforeItQuits() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    MtaSession mta = postfix(milter);
    mta.deliver(MAIL);
    mta.deliver(MAIL);
    mta.close();

    assertEquals("OCHMRRTLNBEAMRRTLNBEAAQ", letters(milter));
    assertTrue(milter.isClosed());
  }

  @Test
  @Tag("M27")
  void sendmailAbortsNothingThatIsOver() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    MtaSession mta = sendmail(milter);
    mta.deliver(MAIL);
    mta.deliver(MAIL);
    mta.send(
        EventCodec.event(
            EventType.MAIL, Keys.SENDER, "<a@example.org>", Keys.OPTIONS, PersistentVector.EMPTY));
    mta.close();

    assertEquals("OCHMRRTLNBEMRRTLNBEMQ", letters(milter));
  }

  @Test
  void aDiscardedRecipientEndsTheMessageWithAnAbort() throws IOException {
    ScriptedWire milter = new ScriptedWire().on('R', "d");
    sendmail(milter).deliver(MAIL);

    assertEquals("OCHMRA", letters(milter));
  }

  @Test
  void theClientIsIntroducedOnce() throws IOException {
    ScriptedWire milter = new ScriptedWire();
    MtaSession mta = sendmail(milter);
    mta.deliver(MAIL);
    assertEquals(List.of(CONNECT, HELO), milter.commands().subList(1, 3));
  }

  private static String letters(ScriptedWire milter) {
    return milter.commands().stream()
        .map(packet -> packet.substring(0, 1))
        .reduce("", String::concat);
  }
}
