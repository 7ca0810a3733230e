"""A WebSocket on a connection that was handed over by uvicorn."""

import asyncio
import logging
import random
from types import GeneratorType
from typing import cast

from uvicorn.server import ServerState
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State
from websockets.speedups import apply_mask
from websockets.streams import StreamReader

from cdc.core.wire.dialect import MESSAGES
from cdc.core.wire.format import Format, websocket_frame
from cdc.fanout.subscriber import CloseReason
from cdc.node.pipeline import Pipeline

from .connection import Connection
from .gateway import RETRY_MS, Gateway, WebSocketOpening
from .websocket_evaluation import Evaluator
from .websocket_session import Session

__all__ = ["WebSocketConnection", "break_cycles", "frames_logger"]

# `websockets` logs frames and headers, which contain credentials, at DEBUG, and every connection at INFO.
frames_logger = logging.getLogger(__name__ + ".frames")
frames_logger.setLevel(logging.WARNING)

_PLAIN, _DEFLATED = Format(MESSAGES), Format(MESSAGES, coding="deflate")

# Larger frames close the connection with 1009; a message beyond its own, smaller limit gets an error.
_MAX_FRAME_BYTES = 1024 * 1024

# What one read of a connection takes, which the parser then takes apart in one go: 16 KiB of the smallest frames are
# 2 700, or ten milliseconds. asyncio alone would read 256 KiB. It is empty between two reads, so one serves them all.
_READ = memoryview(bytearray(16 * 1024))

# Where frames are compressed, a thousand bytes may be a frame of a mebibyte.
_READ_DEFLATED = _READ[: 2 * 1024]

# The first byte of an uncompressed text message in one frame, and the bytes of its header (RFC 6455, section 5.2).
_FINAL_TEXT = 0x81
_LEAST_FRAME_BYTES = 6

# Where the parser of `websockets` waits for the next frame.
_BETWEEN_FRAMES = StreamReader.at_eof.__code__


class WebSocketConnection(Connection, asyncio.BufferedProtocol):
    """A WebSocket after its handshake.

    `websockets` parses the frames. Its parser exists only while a frame or a message is incomplete: idle connections
    have none.
    """

    __slots__ = ("_deflate", "_fragments", "_is_text", "_opening", "_parser", "_session")

    def __init__(
        self,
        gateway: Gateway,
        transport: asyncio.Transport,
        server_state: ServerState,
        deflate: PerMessageDeflate | None,
        opening: WebSocketOpening,
        evaluator: Evaluator | None,
    ) -> None:
        super().__init__(gateway, transport, server_state)
        self._deflate = deflate
        self._opening: WebSocketOpening | None = opening
        self._parser: Protocol | None = None
        self._fragments: list[bytes] = []
        self._is_text = True
        # Events are compressed once for all, with the full window; a client with a smaller one gets plain frames.
        can_share = deflate is not None and deflate.local_max_window_bits == 15
        self._session = Session(
            gateway.pipelines,
            self,
            _DEFLATED if can_share else _PLAIN,
            stop_reading=transport.pause_reading,
            resume_reading=self._resume_reading,
            authenticated=opening.authenticated,
            authentication=gateway.authentication,
            credential_expiry=gateway.credential_expiry,
            evaluator=evaluator,
        )
        self.subscriber = self._session.subscriber

    @property
    def pipeline(self) -> Pipeline:
        return self._session.pipeline

    def _begin(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            self._gateway.begin_websocket(opening, self.subscriber)

    def close(self, reason: CloseReason, text: str) -> None:
        self._finish(_close_frame(reason, text))

    def heard_since_last_ping(self) -> bool:
        # While its messages wait for their turn nothing is read: its pongs may be among what is not.
        return super().heard_since_last_ping() or self._session.is_behind

    def pause_writing(self) -> None:
        # Without this, the answers to a client that does not read, to its pings alone, could fill the memory.
        self._transport.pause_reading()
        super().pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._session.is_behind:
            self._resume_reading()

    def _resume_reading(self) -> None:
        if not self.subscriber.is_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.close()
        self._drop_parser()
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _READ if self._deflate is None else _READ_DEFLATED

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_READ[:nbytes]))

    def data_received(self, data: bytes) -> None:
        self._has_heard = True
        self._session.begin_turn()
        try:
            if self._parser is None:
                data = self._take_messages(data)
            if data:
                self._parse(data)
        finally:
            self._session.end_turn()

    def _take_messages(self, data: bytes) -> bytes:
        """Handle the text messages at the begin that are one whole frame each, uncompressed, as most are; returns the
        rest, for the parser. Its states alone take longer than an evaluation."""
        at, size = 0, len(data)
        while at + _LEAST_FRAME_BYTES <= size and data[at] == _FINAL_TEXT:
            length = data[at + 1]
            if length < 0x80:
                break  # not masked
            begin = at + 6
            length &= 0x7F
            if length >= 126:
                begin = at + 8
                # Not the shortest form of a length, or a large frame.
                if length == 127 or (length := int.from_bytes(data[at + 2 : at + 4], "big")) < 126:
                    break
            end = begin + length
            if end > size:
                break
            try:
                content = apply_mask(data[begin:end], data[begin - 4 : begin]).decode()
            except UnicodeDecodeError:
                break
            at = end
            self._session.receive(content)
            if self._transport.is_closing():
                return b""
        return data[at:] if at else data

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = Protocol(SERVER, state=State.OPEN, max_size=_MAX_FRAME_BYTES, logger=frames_logger)
            if self._deflate is not None:
                parser.extensions = [self._deflate]
        parser.receive_data(data)
        if parser.state is State.OPEN:
            # Pongs are sent first, as a ping may arrive between fragments; a close frame follows all answers.
            self._send_protocol_frames(parser)
        for event in parser.events_received():
            if isinstance(event, Frame):
                self._on_frame(parser, event)
        self._send_protocol_frames(parser)
        if parser.close_expected():
            self.subscriber.delivery.remove(self.subscriber)
            self._transport.close()
        elif _is_between_frames(parser) and parser.current_size is None and not self._fragments:
            self._drop_parser()

    def _send_protocol_frames(self, parser: Protocol) -> None:
        """Send the frames of the protocol itself: pongs, and the close frame."""
        if answer := b"".join(parser.data_to_send()):
            self._session.flush()
            self.subscriber.delivery.send(self.subscriber, answer)

    def _drop_parser(self) -> None:
        if self._parser is not None:
            break_cycles(self._parser)
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
        content: str | bytes = message
        if self._is_text:
            try:
                content = message.decode()
            except UnicodeDecodeError:
                parser.fail(1007, "the message is not UTF-8")
                return
        self._session.receive(content)

    def _close_for_restart(self) -> None:
        if not self._transport.is_closing():
            delay_ms = random.randint(*RETRY_MS)  # noqa: S311 - jitter, not a secret
            self.close(CloseReason.RESTARTING, f"server is restarting; reconnect in {delay_ms} ms")


def _is_between_frames(protocol: Protocol) -> bool:
    """Whether no part of a frame has been read. Its buffer does not show that: a header may have arrived alone."""
    parser = cast("GeneratorType[None, None, None]", protocol.parser)
    waits_for = cast("GeneratorType[None, None, bool] | None", parser.gi_yieldfrom)
    return waits_for is not None and waits_for.gi_code is _BETWEEN_FRAMES


def break_cycles(protocol: Protocol) -> None:
    """Free a protocol without the garbage collector: its reader is a generator that refers back to it."""
    protocol.parser.close()


def _close_frame(reason: CloseReason, text: str) -> bytes:
    # RFC 6455, section 5.5: a control frame carries at most 125 bytes, two of which are the code.
    return websocket_frame(reason.value.to_bytes(2, "big") + text.encode()[:123], "close")
