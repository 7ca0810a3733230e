"""A WebSocket on a connection that was taken out of uvicorn's hands."""

import asyncio
import logging
import random

from uvicorn.server import ServerState
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from cdc.core.wire.dialect import MESSAGES
from cdc.core.wire.format import Format, websocket_frame
from cdc.fanout.subscriber import CloseReason

from .connection import HandedOverConnection
from .gateway import RETRY_MS, Gateway, SocketOpening
from .websocket_session import TURN_MESSAGES, Evaluator, Session

__all__ = ["WebSocketStream", "frames_logger", "take_apart"]

# `websockets` logs frames and headers at DEBUG, and credentials stand in both; at INFO it logs every connection.
frames_logger = logging.getLogger(__name__ + ".frames")
frames_logger.setLevel(logging.WARNING)

_PLAIN, _DEFLATED = Format(MESSAGES), Format(MESSAGES, coding="deflate")

# Frames larger than this end the connection with 1009; what is merely too large for a message gets an error.
_MAX_FRAME_BYTES = 1024 * 1024


class WebSocketStream(HandedOverConnection):
    """A WebSocket after its handshake. Frames are read by `websockets`, whose parser is kept only while it is needed:
    idle subscribers have none."""

    __slots__ = ("_deflate", "_fragments", "_in_turn", "_is_text", "_opening", "_parser", "_session")

    def __init__(
        self,
        gateway: Gateway,
        transport: asyncio.Transport,
        server_state: ServerState,
        deflate: PerMessageDeflate | None,
        opening: SocketOpening,
        evaluator: Evaluator | None,
    ) -> None:
        super().__init__(gateway, transport, server_state)
        self._deflate = deflate
        self._opening: SocketOpening | None = opening
        self._parser: Protocol | None = None
        self._fragments: list[bytes] = []
        self._is_text = True
        self._in_turn = 0
        # What is compressed once for all uses the whole window; a client with a smaller one gets plain frames.
        can_share = deflate is not None and deflate.local_max_window_bits == 15
        self._session = Session(
            gateway.pipelines,
            self,
            _DEFLATED if can_share else _PLAIN,
            stop_reading=transport.pause_reading,
            read_on=self._read_on,
            entrant=opening.entrant,
            guard=gateway.guard,
            watch=gateway.watch,
            evaluator=evaluator,
        )
        self.subscriber = self._session.subscriber

    def _begin(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            self._gateway.begin_websocket(opening, self.subscriber)

    def close(self, reason: CloseReason, text: str) -> None:
        self._end(_close_frame(reason, text))

    def pause_writing(self) -> None:
        # Who does not take the answers is not asked for more questions: pings alone could fill the memory.
        self._transport.pause_reading()
        super().pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._session.is_behind:
            self._read_on()

    def _read_on(self) -> None:
        if not self.subscriber.is_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.end()
        self._forget_parser()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_heard = True
        parser = self._parser
        if parser is None:
            parser = self._parser = Protocol(SERVER, state=State.OPEN, max_size=_MAX_FRAME_BYTES, logger=frames_logger)
            if self._deflate is not None:
                parser.extensions = [self._deflate]
        self._in_turn = 0
        parser.receive_data(data)
        if parser.state is State.OPEN:
            # Pongs go first, as a ping may come between the fragments of a message; a close comes after all answers.
            self._send_answers(parser)
        for event in parser.events_received():
            if isinstance(event, Frame):
                self._on_frame(parser, event)
        self._send_answers(parser)
        if parser.close_expected():
            self.subscriber.hub.remove(self.subscriber)
            self._transport.close()
        elif not parser.reader.buffer and parser.current_size is None and not self._fragments:
            self._forget_parser()

    def _send_answers(self, parser: Protocol) -> None:
        """Send what the protocol itself has to say: pongs, and the last word of a connection."""
        if answer := b"".join(parser.data_to_send()):
            self.subscriber.hub.say(self.subscriber, answer)

    def _forget_parser(self) -> None:
        if self._parser is not None:
            take_apart(self._parser)
            self._parser = None

    def eof_received(self) -> None:
        self._transport.close()

    def _on_frame(self, parser: Protocol, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        message, self._fragments = b"".join(self._fragments), []
        said: str | bytes = message
        if self._is_text:
            try:
                said = message.decode()
            except UnicodeDecodeError:
                parser.fail(1007, "the message is not UTF-8")
                return
        self._in_turn += 1
        if self._in_turn > TURN_MESSAGES:
            self._session.receive_later(said)
        else:
            self._session.receive(said)

    def _say_goodbye(self) -> None:
        if not self._transport.is_closing():
            delay_ms = random.randint(*RETRY_MS)  # noqa: S311 - jitter, not a secret
            self.close(CloseReason.RESTARTING, f"restarting; come back in {delay_ms} ms")


def take_apart(protocol: Protocol) -> None:
    """Its reader is a generator that refers back to it: end it, so that nothing waits for the collector."""
    protocol.parser.close()


def _close_frame(reason: CloseReason, text: str) -> bytes:
    # RFC 6455, section 5.5: a control frame carries at most 125 bytes, two of which are the code.
    return websocket_frame(reason.value.to_bytes(2, "big") + text.encode()[:123], "close")
