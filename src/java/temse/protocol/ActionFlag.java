package temse.protocol;

import clojure.lang.Keyword;
import java.util.EnumSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** What a milter may do, as bits of the negotiation: libmilter's {@code SMFIF_*}. */
public enum ActionFlag {
  /** {@code SMFIF_ADDHDRS}: add and insert header fields. */
  ADD_HEADER(0x001, "add-header", "SMFIF_ADDHDRS"),
  /** {@code SMFIF_CHGBODY}: replace the body. */
  CHANGE_BODY(0x002, "change-body", "SMFIF_CHGBODY"),
  /** {@code SMFIF_ADDRCPT}: add recipients. */
  ADD_RECIPIENT(0x004, "add-recipient", "SMFIF_ADDRCPT"),
  /** {@code SMFIF_DELRCPT}: delete recipients. */
  DELETE_RECIPIENT(0x008, "delete-recipient", "SMFIF_DELRCPT"),
  /** {@code SMFIF_CHGHDRS}: change and delete header fields. */
  CHANGE_HEADER(0x010, "change-header", "SMFIF_CHGHDRS"),
  /** {@code SMFIF_QUARANTINE}: hold the message. */
  QUARANTINE(0x020, "quarantine", "SMFIF_QUARANTINE"),
  /** {@code SMFIF_CHGFROM}: replace the envelope sender. */
  CHANGE_SENDER(0x040, "change-sender", "SMFIF_CHGFROM"),
  /** {@code SMFIF_ADDRCPT_PAR}: add recipients with ESMTP parameters. */
  ADD_RECIPIENT_PARAMETERS(0x080, "add-recipient-parameters", "SMFIF_ADDRCPT_PAR"),
  /** {@code SMFIF_SETSYMLIST}: ask for macros. */
  REQUEST_MACROS(0x100, "request-macros", "SMFIF_SETSYMLIST");

  /** All flags: what Sendmail 8.14 and later and Postfix offer. */
  public static final int ALL = 0x1FF;

  /** What an offer of zero stands for ({@code SMFI_V1_ACTS}). */
  public static final int VERSION_1 = 0x0F;

  /** The bit. */
  public final int mask;

  /** The name in sets of actions. */
  public final Keyword keyword;

  /** The name in libmilter. */
  public final String constant;

  ActionFlag(int mask, String name, String constant) {
    this.mask = mask;
    this.keyword = Keyword.intern(name);
    this.constant = constant;
  }

  /**
   * {@return the flags whose bits are set; unknown bits are passed over}
   *
   * @param mask {@code SMFIF_*} bits
   */
  public static Set<ActionFlag> ofMask(int mask) {
    EnumSet<ActionFlag> flags = EnumSet.noneOf(ActionFlag.class);
    for (ActionFlag flag : values()) {
      if ((mask & flag.mask) != 0) {
        flags.add(flag);
      }
    }
    return flags;
  }

  /**
   * {@return the {@code SMFIF_*} bits of the flags}
   *
   * @param flags may be empty
   */
  public static int mask(Iterable<ActionFlag> flags) {
    int mask = 0;
    for (ActionFlag flag : flags) {
      mask |= flag.mask;
    }
    return mask;
  }

  /**
   * {@return the flag whose keyword this is, or null}
   *
   * @param keyword such as {@code :add-header}
   */
  public static @Nullable ActionFlag ofKeyword(@Nullable Object keyword) {
    for (ActionFlag flag : values()) {
      if (flag.keyword == keyword) {
        return flag;
      }
    }
    return null;
  }
}
