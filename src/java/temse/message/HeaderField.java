package temse.message;

import java.util.Objects;

/**
 * A header field.
 *
 * @param name without the colon
 * @param value what follows the colon, without the one space that {@code spaced} stands for; folds
 *     are LF and white space
 * @param spaced whether a space follows the colon that is not part of the value
 */
public record HeaderField(String name, String value, boolean spaced) {
  /**
   * Makes a field; neither name nor value may be null.
   *
   * @param name without the colon
   * @param value what follows the colon, without the space of {@code spaced}
   * @param spaced whether a space follows the colon that is not part of the value
   */
  public HeaderField {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(value, "value");
  }

  /**
   * Makes a field whose value follows the colon and one space, as usual.
   *
   * @param name without the colon
   * @param value what follows the space; folds kept
   */
  public HeaderField(String name, String value) {
    this(name, value, true);
  }

  /**
   * {@return the field of which all that follows the colon is given}
   *
   * @param name without the colon
   * @param raw what follows the colon
   */
  public static HeaderField ofRaw(String name, String raw) {
    return raw.startsWith(" ")
        ? new HeaderField(name, raw.substring(1), true)
        : new HeaderField(name, raw, false);
  }

  /** {@return all that follows the colon} */
  public String raw() {
    return spaced ? " " + value : value;
  }

  /**
   * {@return true if the field has this name, in any case of letters}
   *
   * @param other without the colon
   */
  public boolean isNamed(String other) {
    return name.equalsIgnoreCase(other);
  }
}
