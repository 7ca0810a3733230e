"""Writes to a JetStream stream, each message with the sequence number that it must follow.

Many are in flight at once. As each names the sequence number before it, a failure fails all that follow, and nothing is
ever stored twice or out of order. A write without an answer may or may not have happened, so after any failure the end
of the JetStream stream is read again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from nats.js.api import PubAck

from ..errors import NatsUnavailable, Superseded
from .connection import Connection, nats_errors

__all__ = ["Outgoing", "Publisher"]

_ANSWER_S = 3.0
_WINDOW_MESSAGES = 256
_WINDOW_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    subject: str
    data: bytes
    headers: dict[str, str]
    message_id: str


class Publisher:
    """Publishes in order; `sequence` is the number of the last message, as far as is known here."""

    def __init__(self, connection: Connection, target: str, sequence: int) -> None:
        self._connection = connection
        self._target = target
        self.sequence = sequence

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Store all, in order; returns when JetStream has them. Raises `Superseded` or `NatsUnavailable`.

        After an error, read the end of the JetStream stream before publishing again.
        """
        window: list[Outgoing] = []
        size_bytes = 0
        for message in messages:
            window.append(message)
            size_bytes += len(message.data)
            if len(window) >= _WINDOW_MESSAGES or size_bytes >= _WINDOW_BYTES:
                await self._send(window)
                window, size_bytes = [], 0
        if window:
            await self._send(window)

    async def _send(self, window: Sequence[Outgoing]) -> None:
        jetstream = self._connection.jetstream
        answers: list[asyncio.Future[PubAck]] = []
        try:
            with nats_errors(self._target):
                for place, message in enumerate(window):
                    headers = {
                        **message.headers,
                        "Nats-Msg-Id": message.message_id,
                        "Nats-Expected-Last-Sequence": str(self.sequence + place),
                    }
                    answers.append(
                        await jetstream.publish_async(
                            message.subject, message.data, headers=headers, wait_stall=_ANSWER_S
                        )
                    )
                _, pending = await asyncio.wait(answers, timeout=_ANSWER_S)
                for answer in answers:
                    if answer in pending:
                        raise NatsUnavailable(f"{self._target}: JetStream did not confirm in time")
                    self._accept(answer.result())
        finally:
            for answer in answers:
                if not answer.done():
                    answer.cancel()
                elif not answer.cancelled():
                    answer.exception()  # Retrieved: the first of them was raised.

    def _accept(self, ack: PubAck) -> None:
        if ack.seq != self.sequence + 1:
            raise Superseded(f"{self._target}: message {ack.seq} was stored where {self.sequence + 1} was expected")
        self.sequence += 1
