/**
 * Parts of a message (MIME, RFC 2045 to 2049): found in a stream of bytes, decoded and replaced in
 * place.
 *
 * <p>Requires {@code org.apache.james:apache-mime4j-core}, which temse does not bring along.
 */
package temse.mime;
