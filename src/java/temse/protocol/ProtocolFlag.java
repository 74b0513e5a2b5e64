package temse.protocol;

import clojure.lang.Keyword;
import java.util.EnumSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** What the MTA sends and waits for, as bits of the negotiation: libmilter's {@code SMFIP_*}. */
public enum ProtocolFlag {
  /** {@code SMFIP_NOCONNECT}. */
  NO_CONNECT(0x000001, "no-connect", "SMFIP_NOCONNECT"),
  /** {@code SMFIP_NOHELO}. */
  NO_HELLO(0x000002, "no-hello", "SMFIP_NOHELO"),
  /** {@code SMFIP_NOMAIL}. */
  NO_MAIL(0x000004, "no-mail", "SMFIP_NOMAIL"),
  /** {@code SMFIP_NORCPT}. */
  NO_RECIPIENT(0x000008, "no-recipient", "SMFIP_NORCPT"),
  /** {@code SMFIP_NOBODY}. */
  NO_BODY(0x000010, "no-body", "SMFIP_NOBODY"),
  /** {@code SMFIP_NOHDRS}. */
  NO_HEADERS(0x000020, "no-headers", "SMFIP_NOHDRS"),
  /** {@code SMFIP_NOEOH}. */
  NO_END_OF_HEADERS(0x000040, "no-end-of-headers", "SMFIP_NOEOH"),
  /** {@code SMFIP_NR_HDR}, also known as {@code SMFIP_NOHREPL}. */
  NO_REPLY_HEADERS(0x000080, "no-reply-headers", "SMFIP_NR_HDR"),
  /** {@code SMFIP_NOUNKNOWN}. */
  NO_UNKNOWN(0x000100, "no-unknown", "SMFIP_NOUNKNOWN"),
  /** {@code SMFIP_NODATA}. */
  NO_DATA(0x000200, "no-data", "SMFIP_NODATA"),
  /** {@code SMFIP_SKIP}: the milter may answer skip. */
  SKIP(0x000400, "skip", "SMFIP_SKIP"),
  /** {@code SMFIP_RCPT_REJ}: also send recipients that the MTA has rejected. */
  REJECTED_RECIPIENTS(0x000800, "rejected-recipients", "SMFIP_RCPT_REJ"),
  /** {@code SMFIP_NR_CONN}. */
  NO_REPLY_CONNECT(0x001000, "no-reply-connect", "SMFIP_NR_CONN"),
  /** {@code SMFIP_NR_HELO}. */
  NO_REPLY_HELLO(0x002000, "no-reply-hello", "SMFIP_NR_HELO"),
  /** {@code SMFIP_NR_MAIL}. */
  NO_REPLY_MAIL(0x004000, "no-reply-mail", "SMFIP_NR_MAIL"),
  /** {@code SMFIP_NR_RCPT}. */
  NO_REPLY_RECIPIENT(0x008000, "no-reply-recipient", "SMFIP_NR_RCPT"),
  /** {@code SMFIP_NR_DATA}. */
  NO_REPLY_DATA(0x010000, "no-reply-data", "SMFIP_NR_DATA"),
  /** {@code SMFIP_NR_UNKN}. */
  NO_REPLY_UNKNOWN(0x020000, "no-reply-unknown", "SMFIP_NR_UNKN"),
  /** {@code SMFIP_NR_EOH}. */
  NO_REPLY_END_OF_HEADERS(0x040000, "no-reply-end-of-headers", "SMFIP_NR_EOH"),
  /** {@code SMFIP_NR_BODY}. */
  NO_REPLY_BODY(0x080000, "no-reply-body", "SMFIP_NR_BODY"),
  /** {@code SMFIP_HDR_LEADSPC}: header values keep the white space after the colon. */
  LEADING_SPACE(0x100000, "leading-space", "SMFIP_HDR_LEADSPC"),
  /** {@code SMFIP_MDS_256K}: payloads of up to 262143 bytes. */
  PAYLOAD_256K(0x10000000, "payload-256k", "SMFIP_MDS_256K"),
  /** {@code SMFIP_MDS_1M}: payloads of up to 1048575 bytes. */
  PAYLOAD_1M(0x20000000, "payload-1m", "SMFIP_MDS_1M");

  /** All flags that Sendmail 8.14 and later and Postfix offer. */
  public static final int ALL = 0x1FFFFF;

  /** What an offer of zero stands for ({@code SMFI_V1_PROT}). */
  public static final int VERSION_1 = 0x3F;

  /** The bit. */
  public final int mask;

  /** The name in sets of protocol flags. */
  public final Keyword keyword;

  /** The name in libmilter. */
  public final String constant;

  ProtocolFlag(int mask, String name, String constant) {
    this.mask = mask;
    this.keyword = Keyword.intern(name);
    this.constant = constant;
  }

  /**
   * {@return the flags whose bits are set; unknown bits are passed over}
   *
   * @param mask {@code SMFIP_*} bits
   */
  public static Set<ProtocolFlag> ofMask(int mask) {
    EnumSet<ProtocolFlag> flags = EnumSet.noneOf(ProtocolFlag.class);
    for (ProtocolFlag flag : values()) {
      if ((mask & flag.mask) != 0) {
        flags.add(flag);
      }
    }
    return flags;
  }

  /**
   * {@return the {@code SMFIP_*} bits of the flags}
   *
   * @param flags may be empty
   */
  public static int mask(Iterable<ProtocolFlag> flags) {
    int mask = 0;
    for (ProtocolFlag flag : flags) {
      mask |= flag.mask;
    }
    return mask;
  }

  /**
   * {@return the flag whose keyword this is, or null}
   *
   * @param keyword such as {@code :no-body}
   */
  public static @Nullable ProtocolFlag ofKeyword(@Nullable Object keyword) {
    for (ProtocolFlag flag : values()) {
      if (flag.keyword == keyword) {
        return flag;
      }
    }
    return null;
  }
}
