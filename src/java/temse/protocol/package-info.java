/**
 * The milter protocol, versions 2 to 6: bytes to immutable maps and back, negotiation, macros, the
 * state of a conversation and what is legal in it. Pure: no sockets, no threads, no clock.
 *
 * <ul>
 *   <li>What handlers get and answer: {@link temse.protocol.Event}, {@link temse.protocol.Action},
 *       and the enums of their values, {@link temse.protocol.EventType}, {@link
 *       temse.protocol.ActionType}, {@link temse.protocol.AddressFamily}, {@link
 *       temse.protocol.MessageEndReason}, {@link temse.protocol.DisconnectReason}.
 *   <li>What is negotiated: {@link temse.protocol.ActionFlag}, {@link temse.protocol.ProtocolFlag},
 *       {@link temse.protocol.MacroStage}, {@link temse.protocol.Offer}, {@link
 *       temse.protocol.Request}, {@link temse.protocol.Agreement}; the macros then: {@link
 *       temse.protocol.MacroTable}; what another milter would not have: {@link
 *       temse.protocol.Missing}.
 *   <li>What is known of client and mail: {@link temse.protocol.Fact}, {@link
 *       temse.protocol.Transaction}.
 *   <li>What goes wrong: {@link temse.protocol.MilterException}; what is safe to log of it: {@link
 *       temse.protocol.Printable}; why a filter acts: {@link temse.protocol.Why}.
 *   <li>To read maps: {@link temse.protocol.Keys}, the keywords in one class; {@link
 *       temse.protocol.Text}, what a string stands for that holds any bytes.
 *   <li>To speak the protocol without temse's server. Events, actions and agreements are made by
 *       these, so that they share the package: {@link temse.protocol.Packet}, {@link
 *       temse.protocol.PacketDecoder}, {@link temse.protocol.EventCodec}, {@link
 *       temse.protocol.ActionCodec}, {@link temse.protocol.BodyPieces}, {@link
 *       temse.protocol.Output}, {@link temse.protocol.Budget}, {@link temse.protocol.Negotiation},
 *       {@link temse.protocol.Legality}, {@link temse.protocol.Phase}, {@link
 *       temse.protocol.MtaDialogue}, {@link temse.protocol.KnownKeys}.
 * </ul>
 *
 * <p>All but {@link temse.protocol.PacketDecoder}, {@link temse.protocol.BodyPieces} and {@link
 * temse.protocol.Output} may be used by several threads.
 */
@NullMarked
package temse.protocol;

import org.jspecify.annotations.NullMarked;
