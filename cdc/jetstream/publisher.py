"""Writes to a JetStream stream, each message with the sequence number that it must follow.

Many are in flight at once. As each names the sequence number before it, a failure fails all that follow, and nothing is
ever stored twice or out of order. A write without an answer may or may not have happened, so after any failure the end
of the JetStream stream is read again.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import PubAck

from ..errors import NatsUnavailable, Superseded
from .connection import Connection, nats_errors

__all__ = ["Outgoing", "Publisher"]

_ANSWER_S = 3.0
_WINDOW_MESSAGES = 256
_WINDOW_BYTES = 4 * 1024 * 1024

_NO_RESPONDERS = "503"


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
        self._inbox: str | None = None
        self._answers: dict[str, asyncio.Future[PubAck]] = {}
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
        # The first one alone: a publisher that is behind by less than a window would otherwise store the end of it,
        # because one of its messages names the number that the JetStream stream has reached.
        for messages in (window[:1], window[1:]):
            if messages:
                with nats_errors(self._target):
                    await self._store(messages)

    async def _store(self, messages: Sequence[Outgoing]) -> None:
        client = self._connection.client
        if self._inbox is None:
            self._inbox = client.new_inbox()
            await client.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        answers = {f"{self._inbox}.{place}": asyncio.Future[PubAck]() for place in range(len(messages))}
        self._answers = answers
        try:
            for place, (reply, message) in enumerate(zip(answers, messages, strict=True)):
                headers = {
                    **message.headers,
                    "Nats-Msg-Id": message.message_id,
                    "Nats-Expected-Last-Sequence": str(self.sequence + place),
                }
                await client.publish(message.subject, message.data, reply=reply, headers=headers)
            await asyncio.wait(answers.values(), timeout=_ANSWER_S, return_when=asyncio.FIRST_EXCEPTION)
            for answer in answers.values():
                if not answer.done():
                    raise NatsUnavailable(f"{self._target}: JetStream did not confirm in time")
                self._accept(answer.result())
        finally:
            self._answers = {}
            for answer in answers.values():
                if not answer.done():
                    answer.cancel()
                elif not answer.cancelled():
                    answer.exception()  # Retrieved: the first of them was raised.

    async def _on_answer(self, message: Msg) -> None:
        """Not the driver's `publish_async`, whose own handler fails at a refusal, so that it arrives as a time-out."""
        answer = self._answers.get(message.subject)
        if answer is None or answer.done():
            return  # Of an earlier window, which was given up.
        if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
            answer.set_exception(nats.js.errors.NoStreamResponseError())
            return
        raw = json.loads(message.data)
        if "error" in raw:
            answer.set_exception(_refusal(raw["error"]))
        else:
            answer.set_result(PubAck.from_response(raw))

    def _accept(self, ack: PubAck) -> None:
        if ack.seq != self.sequence + 1:
            raise Superseded(f"{self._target}: message {ack.seq} was stored where {self.sequence + 1} was expected")
        self.sequence += 1


def _refusal(raw: dict[str, Any]) -> Exception:
    try:
        nats.js.errors.APIError.from_error(raw)
    except nats.js.errors.APIError as error:
        return error  # It raises what it should return.
    raise AssertionError("the driver raises every error of the API")
