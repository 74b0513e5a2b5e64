/**
 * Parts of a message (MIME, RFC 2045 to 2049): found in a stream of bytes, decoded and replaced in
 * place.
 *
 * <p>{@link temse.mime.MimeEditor} holds a message and replaces its parts; {@link
 * temse.mime.PartScanner} finds each {@link temse.mime.MimePart} and {@link temse.mime.TextScanner}
 * its text while a body comes in; {@link temse.mime.ContentStream} reads a part; {@link
 * temse.mime.EncodedWords} decodes the value of a {@link temse.message.HeaderField}; {@link
 * temse.mime.MimeLimits} bounds them all.
 *
 * <p>Requires {@code org.apache.james:apache-mime4j-core}, which temse does not bring along.
 */
@NullMarked
package temse.mime;

import org.jspecify.annotations.NullMarked;
